//! The head of COM_STMT_EXECUTE and MariaDB's COM_STMT_BULK_EXECUTE: what stands before the parameters' values.
//!
//! Sources: <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_stmt_execute.html>,
//! <https://mariadb.com/kb/en/com_stmt_execute/>, <https://mariadb.com/kb/en/com_stmt_bulk_execute/>.

use bytes::{BufMut, BytesMut};

use crate::read::Reader;
use crate::{Command, Malformed};

/// A request to execute a prepared statement, as far as its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Execute<'a> {
    /// The statement's id, as the client knows it.
    pub statement_id: u32,
    /// A cursor is asked for.
    pub cursor: bool,
    /// The types of the parameters, two bytes each; `None`: as they were said before.
    pub types: Option<&'a [u8]>,
    /// Where in the payload the types stand, or would.
    types_at: usize,
}

/// Of a bulk execution: the types are in the packet.
const SENDS_TYPES: u16 = 128;

impl<'a> Execute<'a> {
    /// Reads the payload of either command, for a statement of `params` parameters.
    ///
    /// # Errors
    /// [`Malformed`] when it ends before its types do.
    pub fn parse(payload: &'a [u8], params: u16) -> Result<Execute<'a>, Malformed> {
        let mut reader = Reader::new(payload, "COM_STMT_EXECUTE");
        let command = Command::from_byte(reader.u8()?);
        let statement_id = reader.u32()?;
        let params = usize::from(params);
        let (cursor, has_types) = if command == Command::StmtBulkExecute {
            (false, reader.u16()? & SENDS_TYPES != 0)
        } else {
            let flags = reader.u8()?;
            reader.u32()?; // iteration_count, always 1
            if params == 0 {
                let types_at = payload.len();
                return Ok(Execute { statement_id, cursor: flags != 0, types: None, types_at });
            }
            reader.bytes(params.div_ceil(8))?;
            (flags != 0, reader.u8()? == 1)
        };
        let mut values = reader;
        let types_at = payload.len().saturating_sub(values.rest().len());
        let types = if has_types { Some(reader.bytes(params.saturating_mul(2))?) } else { None };
        Ok(Execute { statement_id, cursor, types, types_at })
    }

    /// Appends the payload with these types said, where it does not say them itself.
    pub fn with_types(&self, payload: &[u8], types: &[u8], out: &mut BytesMut) {
        let (head, values) = payload.split_at_checked(self.types_at).unwrap_or((payload, &[]));
        if self.types.is_some() || types.is_empty() {
            out.put_slice(payload);
            return;
        }
        let from = out.len();
        out.put_slice(head);
        let bulk = payload.first() == Some(&Command::StmtBulkExecute.as_byte());
        let flag_at = if bulk { from.saturating_add(5) } else { out.len().saturating_sub(1) };
        if let Some(flag) = out.get_mut(flag_at) {
            *flag |= if bulk { 128 } else { 1 };
        }
        out.put_slice(types);
        out.put_slice(values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two parameters, the second of which is NULL.
    fn payload(bound: bool) -> Vec<u8> {
        let mut payload = vec![0x17, 7, 0, 0, 0, 0, 1, 0, 0, 0, 0b10, u8::from(bound)];
        if bound {
            payload.extend([3, 0, 254, 0]);
        }
        payload.extend([42, 0, 0, 0]);
        payload
    }

    #[test]
    fn types_are_found_and_put_back() {
        let (with, without) = (payload(true), payload(false));
        let parsed = Execute::parse(&with, 2).unwrap();
        assert_eq!((parsed.statement_id, parsed.cursor, parsed.types), (7, false, Some(&[3, 0, 254, 0][..])));
        let parsed = Execute::parse(&without, 2).unwrap();
        assert_eq!(parsed.types, None);
        let mut out = BytesMut::new();
        parsed.with_types(&without, &[3, 0, 254, 0], &mut out);
        assert_eq!(out, with);
    }

    #[test]
    fn a_bulk_execution_says_its_types_by_a_flag() {
        let with = [0xFA, 7, 0, 0, 0, 128, 0, 3, 0, 0, 42, 0, 0, 0];
        let without = [0xFA, 7, 0, 0, 0, 0, 0, 0, 42, 0, 0, 0];
        assert_eq!(Execute::parse(&with, 1).unwrap().types, Some(&[3, 0][..]));
        let mut out = BytesMut::new();
        Execute::parse(&without, 1).unwrap().with_types(&without, &[3, 0], &mut out);
        assert_eq!(out[..], with);
    }

    #[test]
    fn what_is_too_short_is_malformed() {
        let with = payload(true);
        for end in 0..with.len().saturating_sub(4) {
            assert!(Execute::parse(&with[..end], 2).is_err(), "{end}");
        }
        assert!(Execute::parse(&[0x17, 1, 0, 0, 0, 1, 1, 0, 0, 0], 0).unwrap().cursor);
    }
}
