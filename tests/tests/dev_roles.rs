//! x
#[path = "e2e/roles.rs"]
mod roles;
#[path = "e2e/support.rs"]
mod support;
