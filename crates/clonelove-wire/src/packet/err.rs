//! The ERR packet.
//!
//! Sources: <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_err_packet.html>,
//! <https://mariadb.com/kb/en/err_packet/>.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};

use crate::read::Reader;
use crate::{Malformed, code};

/// The head of an ERR packet.
pub const HEAD: u8 = 0xFF;

/// The code by which MariaDB marks a progress report, which has an ERR packet's head but is none.
pub const PROGRESS: u16 = 0xFFFF;

/// Something failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Err<'a> {
    /// The server's error number.
    pub code: u16,
    /// The SQLSTATE; `HY000` when the packet had none.
    pub state: [u8; 5],
    /// The text, in the connection's character_set_results.
    pub message: Cow<'a, [u8]>,
}

impl<'a> Err<'a> {
    /// An error with the SQLSTATE that belongs to its code.
    #[must_use]
    pub fn new(code: u16, message: impl Into<String>) -> Err<'static> {
        Err { code, state: code::sqlstate(code), message: Cow::Owned(message.into().into_bytes()) }
    }

    /// Reads an ERR packet, with or without a SQLSTATE: before the handshake there is none.
    pub fn parse(payload: &'a [u8]) -> Result<Err<'a>, Malformed> {
        let mut reader = Reader::new(payload, "ERR packet");
        if reader.u8()? != HEAD {
            return Result::Err(reader.malformed("it does not begin with 0xFF"));
        }
        let code = reader.u16()?;
        let mut state = *b"HY000";
        let mut marked = reader;
        if marked.u8().is_ok_and(|byte| byte == b'#')
            && let Result::Ok(given) = marked.bytes(state.len())
        {
            state.copy_from_slice(given);
            reader = marked;
        }
        Result::Ok(Err { code, state, message: Cow::Borrowed(reader.rest()) })
    }

    /// Appends the payload, SQLSTATE included.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u8(HEAD);
        out.put_u16_le(self.code);
        out.put_u8(b'#');
        out.put_slice(&self.state);
        out.put_slice(&self.message);
    }

    /// Appends the payload without the SQLSTATE, as it is sent before a greeting.
    pub fn encode_before_handshake(&self, out: &mut BytesMut) {
        out.put_u8(HEAD);
        out.put_u16_le(self.code);
        out.put_slice(&self.message);
    }

    /// The text, with what is not UTF-8 replaced.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.message)
    }

    /// The same error with a message of its own.
    #[must_use]
    pub fn into_owned(self) -> Err<'static> {
        Err { code: self.code, state: self.state, message: Cow::Owned(self.message.into_owned()) }
    }
}

impl core::fmt::Display for Err<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} ({}): {}", self.code, String::from_utf8_lossy(&self.state), self.text())
    }
}

#[cfg(test)]
mod tests;
