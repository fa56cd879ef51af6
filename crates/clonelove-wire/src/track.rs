//! The session-state block of an OK packet: what changed in the session, entry by entry.
//!
//! Owns the entries' shapes; what follows from a change is the caller's affair. Sources:
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_ok_packet.html#sect_protocol_basic_ok_packet_sessinfo>
//! and <https://mariadb.com/kb/en/ok_packet/#session-change-type>.

use bytes::{BufMut, BytesMut};

use crate::Malformed;
use crate::read::Reader;
use crate::write::PutExt;

/// One change of the session's state, as the server reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change<'a> {
    /// \[0\] A tracked system variable was set.
    Variable {
        /// Its name.
        name: &'a [u8],
        /// Its value now.
        value: &'a [u8],
    },
    /// \[1\] The schema is this one now; empty when there is none.
    Schema(&'a [u8]),
    /// \[2\] Some state of the session changed (`true`), or tracking says it did not.
    StateChanged(bool),
    /// \[3\] The GTIDs of what was committed, as text (MySQL).
    Gtid(&'a [u8]),
    /// \[4\] The statements that would begin the present transaction again; empty when there is none.
    TransactionCharacteristics(&'a [u8]),
    /// \[5\] The state of the transaction, eight characters such as `T_R_WsS_`.
    TransactionState(&'a [u8]),
    /// An entry of another type, as it came.
    Unknown(u8, &'a [u8]),
}

/// The changes in a session-state block.
///
/// Yields at most one error, and nothing after it.
#[derive(Debug, Clone)]
pub struct Changes<'a> {
    block: Reader<'a>,
    /// What is left of an entry of system variables: MariaDB may put several into one.
    variables: Reader<'a>,
}

impl<'a> Changes<'a> {
    /// Over the `state` of an [`crate::packet::ok::Ok`].
    #[must_use]
    pub fn new(state: &'a [u8]) -> Self {
        Changes { block: Reader::new(state, PACKET), variables: Reader::new(&[], PACKET) }
    }

    fn read(&mut self) -> Result<Change<'a>, Malformed> {
        if self.variables.is_empty() {
            let kind = self.block.u8()?;
            let data = self.block.lenenc_bytes()?;
            if kind != SYSTEM_VARIABLES {
                return change(kind, data);
            }
            self.variables = Reader::new(data, PACKET);
        }
        let name = self.variables.lenenc_bytes()?;
        let value = self.variables.lenenc_bytes()?;
        Ok(Change::Variable { name, value })
    }
}

impl<'a> Iterator for Changes<'a> {
    type Item = Result<Change<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.block.is_empty() && self.variables.is_empty() {
            return None;
        }
        let item = self.read();
        if item.is_err() {
            *self = Changes::new(&[]);
        }
        Some(item)
    }
}

/// Appends the entries of a block that `keep` agrees to, as they came, to `out`.
///
/// # Errors
/// [`Malformed`] when the block is.
pub fn filter(
    state: &[u8],
    mut keep: impl FnMut(&Change<'_>) -> bool,
    out: &mut BytesMut,
) -> Result<(), Malformed> {
    let mut block = Reader::new(state, PACKET);
    while !block.is_empty() {
        let kind = block.u8()?;
        let data = block.lenenc_bytes()?;
        if kind != SYSTEM_VARIABLES {
            if keep(&change(kind, data)?) {
                out.put_u8(kind);
                out.put_lenenc_bytes(data);
            }
            continue;
        }
        let mut kept = BytesMut::new();
        let mut variables = Reader::new(data, PACKET);
        while !variables.is_empty() {
            let (name, value) = (variables.lenenc_bytes()?, variables.lenenc_bytes()?);
            if keep(&Change::Variable { name, value }) {
                kept.put_lenenc_bytes(name);
                kept.put_lenenc_bytes(value);
            }
        }
        if !kept.is_empty() {
            out.put_u8(kind);
            out.put_lenenc_bytes(&kept);
        }
    }
    Ok(())
}

const PACKET: &str = "session-state block";
const SYSTEM_VARIABLES: u8 = 0;

fn change(kind: u8, data: &[u8]) -> Result<Change<'_>, Malformed> {
    let mut reader = Reader::new(data, PACKET);
    Ok(match kind {
        1 => Change::Schema(reader.lenenc_bytes()?),
        // One character, without the length before it that the documentation has: seen of both flavours.
        2 => Change::StateChanged(data.last() != Some(&b'0')),
        3 => {
            // An encoding specification stands first; 0, text, is the only one there is.
            if reader.u8()? != 0 {
                return Ok(Change::Unknown(kind, data));
            }
            Change::Gtid(reader.lenenc_bytes()?)
        }
        4 => Change::TransactionCharacteristics(reader.lenenc_bytes()?),
        5 => Change::TransactionState(reader.lenenc_bytes()?),
        _ => Change::Unknown(kind, data),
    })
}

#[cfg(test)]
mod tests;
