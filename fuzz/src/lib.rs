//! What must hold for any bytes. A target is a function that panics when it does not; `fuzz_targets` hands it to
//! cargo-fuzz, `plain` and the test over the corpora take it from [`TARGETS`].
#![forbid(unsafe_code)]

pub mod sql;
pub mod transport;
pub mod wire;

/// Each target with its name, which is that of its folder in `corpus` and of its file in `fuzz_targets`.
pub const TARGETS: &[(&str, fn(&[u8]))] = &[
    ("sql_lexer", sql::lexer),
    ("sql_analyse", sql::analyse),
    ("sql_cache", sql::cache),
    ("wire_frames", wire::frames),
    ("wire_commands", wire::commands),
    ("wire_handshake_server", wire::handshake_server),
    ("wire_handshake_client", wire::handshake_client),
    ("wire_reply", wire::reply),
    ("wire_proxied", transport::proxied),
    ("wire_compress", transport::compress),
];
