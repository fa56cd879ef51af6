//! The two sides of the handshake as state machines by value: each step consumes a state and returns the next.
//!
//! They take payloads and return payloads. Frames, sequence numbers (previous + 1), sockets, TLS, user lookup and
//! RSA are the caller's.

pub mod client;
pub mod server;

#[cfg(test)]
mod tests;
