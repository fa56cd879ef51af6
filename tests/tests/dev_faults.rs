//! x
#[path = "e2e/faults.rs"]
mod faults;
#[path = "e2e/support.rs"]
mod support;
