//! While it is being made.
#![allow(dead_code)]
#[path = "e2e"]
mod here {
    mod checker;
    mod freshness_rules;
    mod support;
}
