//! The EOF packet, which ends column definitions and rows unless DEPRECATE_EOF was negotiated.
//!
//! Source: <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_eof_packet.html>.

use bytes::{BufMut, BytesMut};

use crate::read::Reader;
use crate::{Malformed, Status};

/// The head of an EOF packet.
pub const HEAD: u8 = 0xFE;

/// Something ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Eof {
    /// The number of warnings.
    pub warnings: u16,
    /// The session's status.
    pub status: Status,
}

impl Eof {
    /// Reads an EOF packet.
    pub fn parse(payload: &[u8]) -> Result<Eof, Malformed> {
        let mut reader = Reader::new(payload, "EOF packet");
        if reader.u8()? != HEAD {
            return Err(reader.malformed("it does not begin with 0xFE"));
        }
        let eof = Eof { warnings: reader.u16()?, status: Status::from_bits_retain(reader.u16()?) };
        if reader.is_empty() { Ok(eof) } else { Err(reader.malformed("it is too long")) }
    }

    /// Appends the payload.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u8(HEAD);
        out.put_u16_le(self.warnings);
        out.put_u16_le(self.status.bits());
    }
}
