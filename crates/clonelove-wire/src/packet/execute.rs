//! COM_STMT_EXECUTE and the head of MariaDB's COM_STMT_BULK_EXECUTE: what stands before the parameters' values, and of
//! one execution those values whose type leaves no doubt of what they are.
//!
//! Sources: <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_stmt_execute.html>,
//! <https://mariadb.com/kb/en/com_stmt_execute/>, <https://mariadb.com/kb/en/com_stmt_bulk_execute/>.

use bytes::{BufMut, BytesMut};

use crate::read::Reader;
use crate::{Caps, Command, Malformed};

/// A request to execute a prepared statement, as far as its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Execute<'a> {
    /// The statement's id, as the client knows it.
    pub statement_id: u32,
    /// A cursor is asked for.
    pub cursor: bool,
    /// The types of the parameters, two bytes each, and with QUERY_ATTRIBUTES each followed by a name; `None`: as they
    /// were said before.
    pub types: Option<&'a [u8]>,
    /// Where in the payload the types stand, or would.
    types_at: usize,
    /// The types are followed by names.
    named: bool,
    /// A bit for each parameter that is NULL; none in a bulk execution, which has rows of values.
    nulls: Option<&'a [u8]>,
    /// What follows the types.
    values: &'a [u8],
}

/// What is bound to a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Param<'a> {
    /// Of an integer type, with its sign.
    Integer(i128),
    /// Of a type of characters, as the client wrote it.
    Text(&'a [u8]),
    /// NULL, or of another type.
    Other,
}

/// Of the flags of an execution, those that ask for a cursor; others change what follows.
const CURSORS: u8 = 1 | 2 | 4;

/// Of the flags of an execution: it says how many parameters there are, attributes among them.
const COUNTS_PARAMETERS: u8 = 8;

/// Of a bulk execution: the types are in the packet.
const SENDS_TYPES: u16 = 128;

impl<'a> Execute<'a> {
    /// Reads the payload of either command, for a statement of `params` parameters, from a client that negotiated
    /// `caps`.
    ///
    /// # Errors
    /// [`Malformed`] when it ends before its types do.
    pub fn parse(payload: &'a [u8], params: u16, caps: Caps) -> Result<Execute<'a>, Malformed> {
        let mut reader = Reader::new(payload, "COM_STMT_EXECUTE");
        let command = Command::from_byte(reader.u8()?);
        let statement_id = reader.u32()?;
        let mut params = usize::from(params);
        let (mut nulls, mut named) = (None, false);
        let (cursor, has_types) = if command == Command::StmtBulkExecute {
            (false, reader.u16()? & SENDS_TYPES != 0)
        } else {
            let flags = reader.u8()?;
            reader.u32()?; // iteration_count, always 1
            named = caps.contains(Caps::QUERY_ATTRIBUTES);
            if named && (params > 0 || flags & COUNTS_PARAMETERS != 0) {
                let count = reader.lenenc_int()?;
                params = usize::try_from(count).map_err(|_| reader.malformed("too many parameters"))?;
            }
            let cursor = flags & CURSORS != 0;
            if params == 0 {
                let (types_at, values) = (payload.len(), reader.rest());
                return Ok(Execute { statement_id, cursor, types: None, types_at, named, nulls, values });
            }
            let bits = reader.bytes(params.div_ceil(8))?;
            let known = if named { CURSORS | COUNTS_PARAMETERS } else { CURSORS };
            nulls = (flags & !known == 0).then_some(bits);
            // Any value but 0, to servers.
            (cursor, reader.u8()? != 0)
        };
        let types_at = payload.len().saturating_sub(reader.remaining());
        let types = if has_types { Some(types(&mut reader, params, named)?) } else { None };
        let values = reader.rest();
        Ok(Execute { statement_id, cursor, types, types_at, named, nulls, values })
    }

    /// What is bound to each parameter, and behind them to each attribute; `types` as they were last said, which this
    /// packet may say anew. None of them may have been sent by COM_STMT_SEND_LONG_DATA. `None`: the packet is not exactly
    /// as its types say.
    pub fn params(&self, types: &[u8]) -> Option<Vec<Param<'a>>> {
        let mut types = Reader::new(self.types.unwrap_or(types), "types");
        let nulls = self.nulls?;
        let mut reader = Reader::new(self.values, "COM_STMT_EXECUTE");
        let mut params = Vec::new();
        while !types.is_empty() {
            let kind = types.u16().ok()?.to_le_bytes();
            if self.named {
                types.lenenc_bytes().ok()?;
            }
            let at = params.len();
            let null = nulls.get(at.wrapping_shr(3))?.wrapping_shr(u32::try_from(at & 7).ok()?) & 1 != 0;
            params.push(if null { Param::Other } else { param(kind, &mut reader)? });
        }
        (reader.is_empty() && nulls.len() == params.len().div_ceil(8)).then_some(params)
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

/// The value of a parameter by its type, as both families read it; `None`: they do not read it alike.
fn param<'a>([kind, flags]: [u8; 2], reader: &mut Reader<'a>) -> Option<Param<'a>> {
    let unsigned = match flags {
        0 => false,
        0x80 => true,
        _ => return None,
    };
    let signed = |value: u64, bits: u32| {
        let negative = !unsigned && value.wrapping_shr(bits.saturating_sub(1)) & 1 != 0;
        i128::from(value).wrapping_sub(if negative { 1_i128.wrapping_shl(bits) } else { 0 })
    };
    Some(match kind {
        1 => Param::Integer(signed(reader.u8().ok()?.into(), 8)),
        2 => Param::Integer(signed(reader.u16().ok()?.into(), 16)),
        3 => Param::Integer(signed(reader.u32().ok()?.into(), 32)),
        8 => Param::Integer(signed(reader.u64().ok()?, 64)),
        // VARCHAR, VAR_STRING, STRING.
        15 | 253 | 254 => Param::Text(reader.lenenc_bytes().ok()?),
        // FLOAT, DOUBLE.
        4 => reader.bytes(4).ok().map(|_| Param::Other)?,
        5 => reader.bytes(8).ok().map(|_| Param::Other)?,
        // TIMESTAMP, DATE, TIME, DATETIME.
        7 | 10..=12 => {
            let len = reader.u8().ok()?;
            reader.bytes(len.into()).ok().map(|_| Param::Other)?
        }
        // DECIMAL, NEWDECIMAL, the BLOBs.
        0 | 246 | 249..=252 => reader.lenenc_bytes().ok().map(|_| Param::Other)?,
        _ => return None,
    })
}

/// The block of types, with their names.
fn types<'a>(reader: &mut Reader<'a>, params: usize, named: bool) -> Result<&'a [u8], Malformed> {
    if !named {
        return reader.bytes(params.saturating_mul(2));
    }
    let mut after = *reader;
    for _ in 0..params {
        after.u16()?;
        after.lenenc_bytes()?;
    }
    reader.bytes(reader.remaining().saturating_sub(after.remaining()))
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
        let parsed = Execute::parse(&with, 2, Caps::empty()).unwrap();
        assert_eq!((parsed.statement_id, parsed.cursor, parsed.types), (7, false, Some(&[3, 0, 254, 0][..])));
        let parsed = Execute::parse(&without, 2, Caps::empty()).unwrap();
        assert_eq!(parsed.types, None);
        let mut out = BytesMut::new();
        parsed.with_types(&without, &[3, 0, 254, 0], &mut out);
        assert_eq!(out, with);
    }

    #[test]
    fn a_bulk_execution_says_its_types_by_a_flag() {
        let with = [0xFA, 7, 0, 0, 0, 128, 0, 3, 0, 0, 42, 0, 0, 0];
        let without = [0xFA, 7, 0, 0, 0, 0, 0, 0, 42, 0, 0, 0];
        assert_eq!(Execute::parse(&with, 1, Caps::empty()).unwrap().types, Some(&[3, 0][..]));
        let mut out = BytesMut::new();
        Execute::parse(&without, 1, Caps::empty()).unwrap().with_types(&without, &[3, 0], &mut out);
        assert_eq!(out[..], with);
    }

    /// An execution with these types and values.
    fn of(types: &[[u8; 2]], nulls: &[u8], values: &[u8]) -> Vec<u8> {
        let mut payload = vec![0x17, 7, 0, 0, 0, 0, 1, 0, 0, 0];
        payload.extend(nulls);
        payload.push(1);
        payload.extend(types.iter().flatten());
        payload.extend(values);
        payload
    }

    fn params(types: &[[u8; 2]], values: &[u8]) -> Option<Vec<String>> {
        let payload = of(types, &vec![0; types.len().div_ceil(8)], values);
        let parsed = Execute::parse(&payload, u16::try_from(types.len()).unwrap(), Caps::empty()).unwrap();
        Some(parsed.params(&[])?.iter().map(|param| format!("{param:?}")).collect())
    }

    #[test]
    fn values_are_what_their_types_say() {
        let integers = [[1, 0], [1, 0x80], [2, 0], [2, 0x80], [3, 0], [3, 0x80], [8, 0], [8, 0x80]];
        let told = params(&integers, &[0xFF; 30]).unwrap();
        let wanted = [-1, 255, -1, 65_535, -1, 4_294_967_295, -1, i128::from(u64::MAX)];
        assert_eq!(told, wanted.map(|value| format!("{:?}", Param::Integer(value))));
        assert_eq!(params(&[[1, 0]], &[0x80]).unwrap(), ["Integer(-128)"]);
        assert_eq!(params(&[[3, 0]], &[5, 0, 0, 0]).unwrap(), ["Integer(5)"]);
        for kind in [15, 253, 254] {
            assert_eq!(params(&[[kind, 0]], &[1, b'x']).unwrap(), ["Text([120])"]);
        }
        // What is no integer and no text is passed over: a float, a time of eight bytes, a decimal, a blob.
        let others = [[4, 0], [11, 0], [246, 0], [252, 0], [1, 0]];
        let values = [0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 3, b'1', b'.', b'5', 1, b'x', 9];
        assert_eq!(params(&others, &values).unwrap(), ["Other", "Other", "Other", "Other", "Integer(9)"]);
    }

    #[test]
    fn values_that_are_not_as_their_types_say_are_none() {
        assert_eq!(params(&[[3, 0]], &[1, 0, 0]), None, "too short");
        assert_eq!(params(&[[3, 0]], &[1, 0, 0, 0, 0]), None, "too long");
        assert_eq!(params(&[[253, 0]], &[5, b'x']), None, "a text that is not all there");
        assert_eq!(params(&[[3, 0x40]], &[1, 0, 0, 0]), None, "a flag that nobody knows");
        for kind in [6, 9, 13, 14, 16, 245, 247, 248, 255] {
            assert_eq!(params(&[[kind, 0]], &[1, b'x', 0, 0]), None, "{kind} is read in different ways");
        }
    }

    #[test]
    fn nulls_have_no_value_and_types_may_have_been_said_before() {
        let (with, without) = (payload(true), payload(false));
        let integer = vec![Param::Integer(42), Param::Other];
        assert_eq!(Execute::parse(&with, 2, Caps::empty()).unwrap().params(&[]), Some(integer.clone()));
        let parsed = Execute::parse(&without, 2, Caps::empty()).unwrap();
        assert_eq!(parsed.params(&[3, 0, 254, 0]), Some(integer));
        assert_eq!(parsed.params(&[]), None, "never said");
        assert_eq!(parsed.params(&[3, 0, 254, 0, 3, 0, 3, 0, 3, 0, 3, 0, 3, 0, 3, 0, 3, 0]), None);
        // Nine parameters, the last of which is NULL.
        let nine = of(&[[1, 0]; 9], &[0, 1], &[7; 8]);
        let told = Execute::parse(&nine, 9, Caps::empty()).unwrap().params(&[]).unwrap();
        assert_eq!((told.len(), told[7], told[8]), (9, Param::Integer(7), Param::Other));
    }

    #[test]
    fn what_is_laid_out_otherwise_has_no_values() {
        let mut attributes = payload(true);
        attributes[5] = 8;
        assert_eq!(Execute::parse(&attributes, 2, Caps::empty()).unwrap().params(&[]), None);
        let bulk = [0xFA, 7, 0, 0, 0, 128, 0, 3, 0, 0, 42, 0, 0, 0];
        assert_eq!(Execute::parse(&bulk, 1, Caps::empty()).unwrap().params(&[]), None);
        assert_eq!(
            Execute::parse(&[0x17, 1, 0, 0, 0, 0, 1, 0, 0, 0], 0, Caps::empty()).unwrap().params(&[]),
            None
        );
    }

    #[test]
    fn attributes_have_names_and_may_stand_alone() {
        let caps = Caps::QUERY_ATTRIBUTES;
        // One parameter, and one attribute that is called "a".
        let mut with = vec![0x17, 7, 0, 0, 0, 8, 1, 0, 0, 0, 2, 0, 1];
        let mut without = with.clone();
        without[12] = 0;
        let types = [3, 0, 0, 254, 0, 1, b'a'];
        with.extend(types);
        for payload in [&mut with, &mut without] {
            payload.extend([42, 0, 0, 0, 1, b'x']);
        }
        let parsed = Execute::parse(&with, 1, caps).unwrap();
        assert_eq!((parsed.cursor, parsed.types), (false, Some(&types[..])));
        let mut out = BytesMut::new();
        Execute::parse(&without, 1, caps).unwrap().with_types(&without, &types, &mut out);
        assert_eq!(out[..], with);
        // No parameter, and none that is said.
        let none = [0x17, 1, 0, 0, 0, 1, 1, 0, 0, 0];
        assert_eq!(Execute::parse(&none, 0, caps).unwrap().types, None);
        for end in 10..20 {
            assert!(Execute::parse(&with[..end], 1, caps).is_err(), "{end}");
        }
    }

    #[test]
    fn what_is_too_short_is_malformed() {
        let with = payload(true);
        for end in 0..with.len().saturating_sub(4) {
            assert!(Execute::parse(&with[..end], 2, Caps::empty()).is_err(), "{end}");
        }
        assert!(Execute::parse(&[0x17, 1, 0, 0, 0, 1, 1, 0, 0, 0], 0, Caps::empty()).unwrap().cursor);
    }
}
