//! The server's first packet (`Protocol::HandshakeV10`).
//!
//! A server that does not want to talk sends an ERR packet instead, with or without a SQLSTATE; see
//! [`crate::packet::err`]. Sources:
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase_packets_protocol_handshake_v10.html>,
//! <https://mariadb.com/kb/en/connection/#initial-handshake-packet>.

use bytes::{BufMut, BytesMut};

use crate::read::Reader;
use crate::write::PutExt;
use crate::{Caps, Malformed, Status, auth};

/// The length of the challenge, in bytes.
pub const SALT: usize = 20;

/// What a server says of itself when a connection begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    /// The version, with what is not UTF-8 replaced. MariaDB puts `5.5.5-` before its own.
    pub version: String,
    /// The connection's id on the server, its low 32 bits.
    pub connection_id: u32,
    /// The challenge of the authentication.
    pub salt: [u8; SALT],
    /// What the server can do, MariaDB's extended flags included.
    pub caps: Caps,
    /// The low byte of the server's default collation.
    pub charset: u8,
    /// The status flags.
    pub status: u16,
    /// The authentication that the salt is meant for.
    pub auth_plugin: String,
}

impl Greeting {
    /// Reads a greeting.
    ///
    /// A challenge shorter than 20 bytes is filled up with zeros: such a server goes on with an
    /// authentication switch anyway.
    pub fn parse(payload: &[u8]) -> Result<Greeting, Malformed> {
        let mut reader = Reader::new(payload, "greeting");
        if reader.u8()? != PROTOCOL {
            return Err(reader.malformed("the protocol version is not 10"));
        }
        let version = String::from_utf8_lossy(reader.nul_bytes()?).into_owned();
        let connection_id = reader.u32()?;
        let salt_begin = reader.bytes(SALT_BEGIN)?;
        reader.u8()?;
        let low = reader.u16()?;
        if reader.is_empty() {
            return Err(reader.malformed("the server is older than 4.1"));
        }
        let charset = reader.u8()?;
        let status = reader.u16()?;
        let high = reader.u16()?;
        let salt_len = usize::from(reader.u8()?);
        reader.bytes(6)?;
        let extended = reader.u32()?;
        let base = u32::from(low) | u32::from(high) << 16;
        let mut caps = Caps::from_halves(base, 0);
        if !caps.contains(Caps::CLIENT_MYSQL) {
            caps = Caps::from_halves(base, extended);
        }
        let mut salt_end: &[u8] = &[];
        if caps.intersects(Caps::SECURE_CONNECTION | Caps::PLUGIN_AUTH) {
            let len = salt_len.saturating_sub(SALT_BEGIN).max(13).min(reader.remaining());
            salt_end = reader.bytes(len)?;
        }
        let auth_plugin = if caps.contains(Caps::PLUGIN_AUTH) {
            String::from_utf8_lossy(reader.nul_or_rest()).into_owned()
        } else {
            auth::NATIVE.to_owned()
        };
        let mut salt = [0; SALT];
        for (to, from) in salt.iter_mut().zip(salt_begin.iter().chain(salt_end)) {
            *to = *from;
        }
        Ok(Greeting { version, connection_id, salt, caps, charset, status, auth_plugin })
    }

    /// The payload of this greeting.
    #[must_use]
    pub fn encode(&self) -> BytesMut {
        let mut out = BytesMut::with_capacity(128);
        let [low_0, low_1, high_0, high_1] = self.caps.base().to_le_bytes();
        let (salt_begin, salt_end) = self.salt.split_at(SALT_BEGIN);
        out.put_u8(PROTOCOL);
        out.put_nul(self.version.as_bytes());
        out.put_u32_le(self.connection_id);
        out.put_slice(salt_begin);
        out.put_u8(0);
        out.put_slice(&[low_0, low_1]);
        out.put_u8(self.charset);
        out.put_u16_le(self.status);
        out.put_slice(&[high_0, high_1]);
        let plugins = self.caps.contains(Caps::PLUGIN_AUTH);
        out.put_u8(if plugins { SALT_WITH_NUL } else { 0 });
        out.put_slice(&[0; 6]);
        out.put_u32_le(if self.caps.contains(Caps::CLIENT_MYSQL) { 0 } else { self.caps.extended() });
        out.put_slice(salt_end);
        out.put_u8(0);
        if plugins {
            out.put_nul(self.auth_plugin.as_bytes());
        }
        out
    }

    /// Whether this is a MariaDB server: it leaves CLIENT_MYSQL clear, or names itself in its version.
    #[must_use]
    pub fn is_mariadb(&self) -> bool {
        !self.caps.contains(Caps::CLIENT_MYSQL) || self.version.contains("MariaDB")
    }

    /// The status flags as [`Status`].
    #[must_use]
    pub fn status(&self) -> Status {
        Status::from_bits_retain(self.status)
    }
}

const PROTOCOL: u8 = 10;
const SALT_BEGIN: usize = 8;
const SALT_WITH_NUL: u8 = 21;

#[cfg(test)]
mod tests;
