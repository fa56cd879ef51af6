//! Statements as events carry them. Owns what surrounds the text: default schema, SQL mode, character set.

use crate::Malformed;
use crate::read::Reader;

/// A statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query<'a> {
    /// The default schema it ran in; empty for none.
    pub schema: &'a [u8],
    /// Its text.
    pub text: &'a [u8],
    /// The bits of its `sql_mode`, if they are said.
    pub sql_mode: Option<u64>,
    /// The number of a collation of its `character_set_client`, if that is said.
    pub client_collation: Option<u16>,
}

/// Which event it is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Plain,
    /// LOAD DATA: fields of the file stand before the rest.
    Load,
}

/// QUERY_EVENT, EXECUTE_LOAD_QUERY_EVENT.
pub(super) fn read(body: &[u8], shape: Shape) -> Result<Query<'_>, Malformed> {
    let mut reader = Reader::new(body, "query event");
    let _thread = reader.u32()?;
    let _seconds = reader.u32()?;
    let schema = usize::from(reader.u8()?);
    let _error = reader.u16()?;
    let variables = usize::from(reader.u16()?);
    if shape == Shape::Load {
        // File, begin and end of its name in the text, what to do with duplicates.
        reader.bytes(13)?;
    }
    let variables = Variables::read(reader.bytes(variables)?);
    let schema = reader.bytes(schema)?;
    reader.u8()?;
    let text = reader.rest();
    Ok(Query { schema, text, sql_mode: variables.sql_mode, client_collation: variables.client_collation })
}

/// XA_PREPARE_LOG_EVENT: whether it commits at once, and the transaction's name as it is in statements.
pub(super) fn xa_prepare(body: &[u8]) -> Result<(bool, String), Malformed> {
    /// Either part of a name has up to 64 bytes.
    const LONGEST: usize = 64;
    let mut reader = Reader::new(body, "XA prepare event");
    let one_phase = reader.u8()? != 0;
    let format = reader.u32()?;
    let lengths = [reader.u32()?, reader.u32()?].map(|length| usize::try_from(length).unwrap_or(usize::MAX));
    let mut xid = String::new();
    for length in lengths {
        if length > LONGEST {
            return Err(reader.malformed("a name is too long"));
        }
        let digits: String = reader.bytes(length)?.iter().map(|byte| format!("{byte:02x}")).collect();
        xid.push_str(&format!("x'{digits}',"));
    }
    xid.push_str(&format.to_string());
    Ok((one_phase, xid))
}

/// What is said of the session.
#[derive(Default)]
struct Variables {
    sql_mode: Option<u64>,
    client_collation: Option<u16>,
}

impl Variables {
    /// As far as they are known: those that matter stand among the first.
    fn read(bytes: &[u8]) -> Variables {
        let mut variables = Variables::default();
        let mut reader = Reader::new(bytes, "status variables");
        while !reader.is_empty() && variables.one(&mut reader).is_ok() {}
        variables
    }

    fn one(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        let skipped = match reader.u8()? {
            // Flags, auto_increment_increment and _offset.
            0 | 3 => 4,
            1 => {
                self.sql_mode = Some(reader.u64()?);
                0
            }
            // Catalog, with and without a NUL behind it; time zone.
            2 => usize::from(reader.u8()?).saturating_add(1),
            5 | 6 => usize::from(reader.u8()?),
            4 => {
                self.client_collation = Some(reader.u16()?);
                4
            }
            _ => return Err(reader.malformed("an unknown variable")),
        };
        reader.bytes(skipped).map(drop)
    }
}
