//! What must hold for any bytes. A target is a function that panics when it does not; `fuzz_targets` hands it to
//! cargo-fuzz, `plain` and the test over the corpora take it from [`TARGETS`].
#![forbid(unsafe_code)]

pub mod sql;

/// Each target with its name, which is that of its folder in `corpus` and of its file in `fuzz_targets`.
pub const TARGETS: &[(&str, fn(&[u8]))] =
    &[("sql_lexer", sql::lexer), ("sql_analyse", sql::analyse), ("sql_cache", sql::cache)];
