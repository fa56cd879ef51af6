//! The one error of parsing: a packet that does not have the shape the protocol gives it.

/// A packet was not what the protocol says it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed {packet}: {what}")]
pub struct Malformed {
    /// Which packet, in the protocol's words ("handshake response").
    pub packet: &'static str,
    /// What was wrong with it.
    pub what: &'static str,
}
