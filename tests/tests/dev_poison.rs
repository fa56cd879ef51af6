//! While it is being made.
#![allow(dead_code)]
#[path = "e2e"]
mod here {
    mod checker;
    mod poisoning;
    mod support;
}
