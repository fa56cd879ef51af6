//! The OK packet, which also ends result sets (head 0xFE) when EOF packets are deprecated.
//!
//! Sources: <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_ok_packet.html>,
//! <https://mariadb.com/kb/en/ok_packet/>. Contrary to the first, `info` has its length before it in every case:
//! servers send it so, and their client library reads it so.

use bytes::{BufMut, BytesMut};

use crate::read::Reader;
use crate::track::Changes;
use crate::write::PutExt;
use crate::{Caps, Malformed, Status};

/// The head of an OK packet that answers a command.
pub const HEAD: u8 = 0x00;
/// The head of an OK packet that ends rows.
pub const HEAD_AFTER_ROWS: u8 = 0xFE;

/// A statement went well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ok<'a> {
    /// Rows changed, or found under FOUND_ROWS.
    pub affected: u64,
    /// The first value generated for an AUTO_INCREMENT column, or the one that was given.
    pub insert_id: u64,
    /// The session's status.
    pub status: Status,
    /// The number of warnings.
    pub warnings: u16,
    /// A text for people ("Records: 3  Duplicates: 0 …").
    pub info: &'a [u8],
    /// The raw session-state block; [`Ok::changes`] reads it.
    pub state: &'a [u8],
}

impl<'a> Ok<'a> {
    /// Reads an OK packet, whichever its head, from a connection that negotiated `caps`.
    pub fn parse(payload: &'a [u8], caps: Caps) -> Result<Ok<'a>, Malformed> {
        let mut reader = Reader::new(payload, "OK packet");
        if !matches!(reader.u8()?, HEAD | HEAD_AFTER_ROWS) {
            return Result::Err(reader.malformed("it begins with neither 0x00 nor 0xFE"));
        }
        let mut ok = Ok {
            affected: reader.lenenc_int()?,
            insert_id: reader.lenenc_int()?,
            status: Status::from_bits_retain(reader.u16()?),
            warnings: reader.u16()?,
            ..Ok::default()
        };
        if reader.is_empty() {
            return Result::Ok(ok);
        }
        if !caps.contains(Caps::SESSION_TRACK) {
            let mut text = reader;
            ok.info = match text.lenenc_bytes() {
                Result::Ok(info) if text.is_empty() => info,
                // As the documentation has it: the text is simply the rest.
                _ => reader.rest(),
            };
            return Result::Ok(ok);
        }
        ok.info = reader.lenenc_bytes()?;
        if ok.status.contains(Status::SESSION_STATE_CHANGED) && !reader.is_empty() {
            // MariaDB (seen in 10.11) puts NULs between the two, one or three, where the schema's character set is
            // ucs2, utf16 or utf32. Taken for an empty block, they would hide GTIDs and a new sql_mode.
            while reader.remaining() > 1 && reader.peek() == Some(0) {
                reader.u8()?;
            }
            ok.state = reader.lenenc_bytes()?;
        }
        Result::Ok(ok)
    }

    /// Appends the payload, with the head `header` (0x00, or 0xFE after rows), as a client that negotiated
    /// `caps` reads it.
    ///
    /// SESSION_STATE_CHANGED is set if and only if a state block is sent; a client without SESSION_TRACK gets
    /// neither.
    pub fn encode(&self, header: u8, caps: Caps, out: &mut BytesMut) {
        let tracks = caps.contains(Caps::SESSION_TRACK) && !self.state.is_empty();
        let mut status = self.status;
        status.set(Status::SESSION_STATE_CHANGED, tracks);
        out.put_u8(header);
        out.put_lenenc_int(self.affected);
        out.put_lenenc_int(self.insert_id);
        out.put_u16_le(status.bits());
        out.put_u16_le(self.warnings);
        if tracks || !self.info.is_empty() {
            out.put_lenenc_bytes(self.info);
        }
        if tracks {
            out.put_lenenc_bytes(self.state);
        }
    }

    /// What changed in the session.
    #[must_use]
    pub fn changes(&self) -> Changes<'a> {
        Changes::new(self.state)
    }
}

#[cfg(test)]
mod tests;
