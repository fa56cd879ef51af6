//! While it is being made.
#[path = "e2e"]
mod here {
    mod checker;
    mod freshness_rules;
    mod support;
}
