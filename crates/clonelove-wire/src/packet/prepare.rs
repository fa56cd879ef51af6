//! The first packet of the answer to COM_STMT_PREPARE.
//!
//! Sources: <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_stmt_prepare.html>,
//! <https://mariadb.com/kb/en/com_stmt_prepare/#com_stmt_prepare_ok>.

use bytes::{BufMut, BytesMut};

use crate::read::Reader;
use crate::{Caps, Malformed};

/// A statement was prepared; the definitions of its parameters and columns follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PrepareOk {
    /// The statement's id on this connection.
    pub statement_id: u32,
    /// How many columns its result has.
    pub columns: u16,
    /// How many parameters it takes.
    pub params: u16,
    /// The number of warnings.
    pub warnings: u16,
    /// Whether the definitions follow; always, unless OPTIONAL_RESULTSET_METADATA was negotiated.
    pub definitions: bool,
}

impl PrepareOk {
    /// Reads the packet from a connection that negotiated `caps`.
    pub fn parse(payload: &[u8], caps: Caps) -> Result<PrepareOk, Malformed> {
        let mut reader = Reader::new(payload, "COM_STMT_PREPARE_OK");
        if reader.u8()? != 0 {
            return Err(reader.malformed("it does not begin with 0x00"));
        }
        let statement_id = reader.u32()?;
        let columns = reader.u16()?;
        let params = reader.u16()?;
        reader.u8()?;
        let warnings = reader.u16()?;
        let optional = caps.contains(Caps::OPTIONAL_RESULTSET_METADATA) && !reader.is_empty();
        let definitions = !optional || reader.u8()? != 0;
        Ok(PrepareOk { statement_id, columns, params, warnings, definitions })
    }

    /// Appends the payload for a client that negotiated `caps`.
    pub fn encode(&self, caps: Caps, out: &mut BytesMut) {
        out.put_u8(0);
        out.put_u32_le(self.statement_id);
        out.put_u16_le(self.columns);
        out.put_u16_le(self.params);
        out.put_u8(0);
        out.put_u16_le(self.warnings);
        if caps.contains(Caps::OPTIONAL_RESULTSET_METADATA) {
            out.put_u8(self.definitions.into());
        }
    }
}
