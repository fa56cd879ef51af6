//! What a SQL text says about itself: kind, effects, tables, digest.
//!
//! This crate owns the lexer, the statement analysis, the digest, what a snapshot of the schema adds to these, and a cache
//! of it all. It works on the bytes of a statement as they stand on the wire, in the dialect of the session that sent
//! them, and fails closed: what is not provably a read belongs on the primary. It must not touch packets, sockets, files, clocks or global state.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod analyse;
mod cache;
mod dialect;
mod digest;
mod facts;
mod functions;
mod hash;
pub mod keys;
mod lexer;
mod names;
mod resolve;
pub mod schema;
mod substitute;
mod texts;
mod words;

pub use analyse::analyse;
pub use cache::{Context, FactsCache, Found, Known, Scratch};
pub use dialect::{Charset, Dialect, Flavour, Modes};
pub use digest::{digest_hash, digest_text};
pub use facts::{Apart, Assignment, Effect, Extent, Facts, Kind, Previous, Setting, TableName, Value, Why};
pub use hash::hash as hash_of;
pub use lexer::{Lexer, Token, TokenKind};
pub use names::is_server_specific_table;
pub use resolve::{Leaves, Resolved, TableSet};
pub use schema::{Schema, TableId};
pub use substitute::{Substitutes, sole_row, substitute};
pub use texts::text_to_prepare;
