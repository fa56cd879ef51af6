//! Table maps: which table the rows that follow are of, and what its columns are. Owns the event, and its optional
//! part as far as values need it.

use crate::Malformed;
use crate::read::Reader;

/// A table, as it was when its rows were written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableMap {
    /// The schema, as the server names it.
    pub schema: Box<str>,
    /// The table, likewise.
    pub table: Box<str>,
    /// What follows the names: read only when somebody wants values.
    columns: Box<[u8]>,
}

/// The columns of a table.
#[derive(Debug, Default)]
pub(super) struct Columns {
    pub(super) list: Vec<Column>,
}

/// One of them.
#[derive(Debug, Default, Clone)]
pub(super) struct Column {
    /// The type's number, as it is in rows.
    pub(super) kind: u8,
    pub(super) meta: u16,
    /// Whether an integer is unsigned, if the server says so.
    pub(super) unsigned: Option<bool>,
    /// If the server says it (binlog_row_metadata = FULL).
    pub(super) name: Option<Box<str>>,
}

/// Numbers of types (`enum_field_types`).
pub(super) mod types {
    pub(in super::super) const TINY: u8 = 1;
    pub(in super::super) const SHORT: u8 = 2;
    pub(in super::super) const LONG: u8 = 3;
    pub(in super::super) const FLOAT: u8 = 4;
    pub(in super::super) const DOUBLE: u8 = 5;
    pub(in super::super) const NULL: u8 = 6;
    pub(in super::super) const TIMESTAMP: u8 = 7;
    pub(in super::super) const LONGLONG: u8 = 8;
    pub(in super::super) const INT24: u8 = 9;
    pub(in super::super) const DATE: u8 = 10;
    pub(in super::super) const TIME: u8 = 11;
    pub(in super::super) const DATETIME: u8 = 12;
    pub(in super::super) const YEAR: u8 = 13;
    pub(in super::super) const NEWDATE: u8 = 14;
    pub(in super::super) const VARCHAR: u8 = 15;
    pub(in super::super) const BIT: u8 = 16;
    pub(in super::super) const TIMESTAMP2: u8 = 17;
    pub(in super::super) const DATETIME2: u8 = 18;
    pub(in super::super) const TIME2: u8 = 19;
    /// MariaDB's COMPRESSED columns.
    pub(in super::super) const BLOB_COMPRESSED: u8 = 140;
    pub(in super::super) const VARCHAR_COMPRESSED: u8 = 141;
    pub(in super::super) const VECTOR: u8 = 242;
    pub(in super::super) const JSON: u8 = 245;
    pub(in super::super) const NEWDECIMAL: u8 = 246;
    pub(in super::super) const ENUM: u8 = 247;
    pub(in super::super) const SET: u8 = 248;
    pub(in super::super) const TINY_BLOB: u8 = 249;
    pub(in super::super) const MEDIUM_BLOB: u8 = 250;
    pub(in super::super) const LONG_BLOB: u8 = 251;
    pub(in super::super) const BLOB: u8 = 252;
    pub(in super::super) const VAR_STRING: u8 = 253;
    pub(in super::super) const STRING: u8 = 254;
    pub(in super::super) const GEOMETRY: u8 = 255;
}

impl TableMap {
    /// The event's number for the table, and the table.
    pub(super) fn read(body: &[u8]) -> Result<(u64, TableMap), Malformed> {
        let mut reader = Reader::new(body, "table map event");
        let id = table_id(&mut reader)?;
        let _flags = reader.u16()?;
        let schema = name(&mut reader)?;
        let table = name(&mut reader)?;
        Ok((id, TableMap { schema, table, columns: reader.rest().into() }))
    }

    /// What it takes to keep it.
    pub(super) fn size(&self) -> usize {
        let names = self.schema.len().saturating_add(self.table.len());
        self.columns.len().saturating_add(names).saturating_add(size_of::<Self>())
    }

    pub(super) fn columns(&self) -> Result<Columns, Malformed> {
        let mut reader = Reader::new(&self.columns, "table map event");
        let count = length(&mut reader)?;
        let kinds = reader.bytes(count)?;
        let meta_length = length(&mut reader)?;
        let mut metas = Reader::new(reader.bytes(meta_length)?, "table map event");
        let mut list = Vec::with_capacity(count);
        for kind in kinds {
            list.push(Column { kind: *kind, meta: meta(*kind, &mut metas)?, ..Column::default() });
        }
        reader.bytes(count.div_ceil(8))?;
        let mut columns = Columns { list };
        // What is optional may be missing, or of a kind that is not known.
        while !reader.is_empty() && columns.optional(&mut reader).is_ok() {}
        Ok(columns)
    }
}

impl Columns {
    fn optional(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        const SIGNEDNESS: u8 = 1;
        const NAMES: u8 = 4;
        let sort = reader.u8()?;
        let content = reader.lenenc_bytes()?;
        let mut reader = Reader::new(content, "table map event");
        match sort {
            SIGNEDNESS => {
                let numeric = self.list.iter_mut().filter(|column| is_numeric(column.kind));
                for (at, column) in numeric.enumerate() {
                    column.unsigned = content.get(at / 8).map(|byte| byte & (0x80 >> (at % 8)) != 0);
                }
            }
            NAMES => {
                for column in &mut self.list {
                    let name = reader.lenenc_bytes()?;
                    column.name = std::str::from_utf8(name).ok().map(Into::into);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Six bytes.
pub(super) fn table_id(reader: &mut Reader<'_>) -> Result<u64, Malformed> {
    let low = u64::from(reader.u32()?);
    Ok(low | u64::from(reader.u16()?) << 32)
}

pub(super) fn length(reader: &mut Reader<'_>) -> Result<usize, Malformed> {
    let length = reader.lenenc_int()?;
    usize::try_from(length).map_err(|_| reader.malformed("a length does not fit in memory"))
}

/// A name, and the NUL behind it.
fn name(reader: &mut Reader<'_>) -> Result<Box<str>, Malformed> {
    let name = reader.lenenc_bytes()?;
    let name = std::str::from_utf8(name).map_err(|_| reader.malformed("a name is no text"))?.into();
    reader.u8()?;
    Ok(name)
}

/// Those that the flags of signedness are about.
fn is_numeric(kind: u8) -> bool {
    use types::{DOUBLE, FLOAT, INT24, LONG, LONGLONG, NEWDECIMAL, SHORT, TINY, YEAR};
    matches!(kind, TINY | SHORT | INT24 | LONG | LONGLONG | FLOAT | DOUBLE | NEWDECIMAL | YEAR)
}

/// How many bytes say more of a type; two are in the order in which they are written.
fn meta(kind: u8, metas: &mut Reader<'_>) -> Result<u16, Malformed> {
    use types::*;
    match kind {
        FLOAT | DOUBLE | TIMESTAMP2 | DATETIME2 | TIME2 | VECTOR | JSON | TINY_BLOB | MEDIUM_BLOB
        | LONG_BLOB | BLOB | GEOMETRY | BLOB_COMPRESSED => metas.u8().map(u16::from),
        VARCHAR | BIT | VARCHAR_COMPRESSED | NEWDECIMAL | ENUM | SET | VAR_STRING | STRING => metas.u16(),
        TINY | SHORT | LONG | NULL | TIMESTAMP | LONGLONG | INT24 | DATE | TIME | DATETIME | YEAR
        | NEWDATE => Ok(0),
        _ => Err(metas.malformed("a column of an unknown type")),
    }
}
