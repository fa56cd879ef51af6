//! x
#[path = "e2e/freshness.rs"]
mod freshness;
#[path = "e2e/support.rs"]
mod support;
