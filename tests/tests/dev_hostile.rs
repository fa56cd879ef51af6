//! x
#[path = "e2e/hostile.rs"]
mod hostile;
#[path = "e2e/support.rs"]
mod support;
