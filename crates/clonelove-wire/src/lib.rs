//! The MySQL and MariaDB client/server protocol, without I/O.
//!
//! This crate owns bytes: frames ([`frame`]), packets ([`packet`]), capabilities ([`caps`]), the two sides of
//! the handshake ([`handshake`]) with their authentication maths ([`auth`]), and the [`reply`] tracker that
//! steers a relay through a server's answer without decoding rows.
//!
//! It knows no sockets, no runtime, no clock, no randomness and no RSA: whoever calls hands bytes in, gets
//! bytes and steps back, and does the rest. It never looks into the text of a statement.
//!
//! Where to begin reading: [`frame::look_packet`] for how bytes become packets,
//! [`handshake::server::ServerHandshake`] and [`handshake::client::ClientHandshake`] for how a connection
//! begins, and [`reply::ReplyTracker`] for how a reply is followed.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

pub mod auth;
pub mod binlog;
pub mod caps;
pub mod code;
pub mod command;
pub mod compress;
mod error;
pub mod frame;
pub mod handshake;
pub mod packet;
pub mod proxied;
pub mod read;
pub mod reply;
pub mod status;
pub mod track;
pub mod write;

#[cfg(test)]
mod oracle;

pub use auth::Secret;
pub use caps::Caps;
pub use command::Command;
pub use error::Malformed;
pub use status::Status;
