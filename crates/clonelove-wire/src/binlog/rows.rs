//! Rows as events carry them. Owns their images, and the values of integer and text columns in them; the others are
//! passed over by their lengths.

use std::sync::Arc;

use super::table::{Column, Columns, TableMap, length, table_id, types};
use crate::Malformed;
use crate::read::Reader;

/// Rows of one table.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows<'a> {
    /// Which table; `None`: it is not known.
    pub table: Option<Arc<TableMap>>,
    shape: Shape,
    columns: usize,
    before: &'a [u8],
    after: &'a [u8],
    /// `None`: they were too long.
    images: Option<&'a [u8]>,
}

/// One row.
#[derive(Debug, Clone, PartialEq)]
pub struct Change<'a> {
    /// What it was; `None` for a new one.
    pub before: Option<Image<'a>>,
    /// What it is; `None` for one that is gone.
    pub after: Option<Image<'a>>,
}

/// A row's values by their columns; `None` for those that the server left out (`binlog_row_image`).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Image<'a> {
    pub(super) values: Vec<Option<Value<'a>>>,
}

/// One column of one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell<'a> {
    /// The column's place, from 0 up.
    pub column: usize,
    /// Its value before; `None`: there is none, or it was left out.
    pub before: Option<Value<'a>>,
    /// Its value after, likewise.
    pub after: Option<Value<'a>>,
}

/// A value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// NULL.
    Null,
    /// Of an integer column.
    Integer(Integer),
    /// Of a CHAR, VARCHAR, BINARY or VARBINARY column, in the column's character set.
    Text(&'a [u8]),
    /// Of another type.
    Other,
}

/// An integer, whose sign is the column's affair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Integer {
    raw: u64,
    bytes: u8,
    /// Whether the column is unsigned, where the server says so (MariaDB does not by itself).
    pub unsigned: Option<bool>,
}

/// Which of the events it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    has_before: bool,
    has_after: bool,
    extra: bool,
    partial: bool,
    pub(super) packed: bool,
}

/// What stands before the images.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head<'a> {
    pub(super) table: u64,
    pub(super) ends_statement: bool,
    columns: usize,
    before: &'a [u8],
    after: &'a [u8],
    pub(super) images: &'a [u8],
}

impl Shape {
    /// WRITE_ROWS, UPDATE_ROWS, DELETE_ROWS, in their versions.
    pub(super) fn of(kind: u8) -> Option<Shape> {
        let (action, extra, partial, packed) = match kind {
            23..=25 => (kind.wrapping_sub(23), false, false, false),
            30..=32 => (kind.wrapping_sub(30), true, false, false),
            39 => (1, true, true, false),
            166..=168 => (kind.wrapping_sub(166), false, false, true),
            169..=171 => (kind.wrapping_sub(169), true, false, true),
            _ => return None,
        };
        Some(Shape { has_before: action != 0, has_after: action != 2, extra, partial, packed })
    }

    pub(super) fn head(self, body: &[u8]) -> Result<Head<'_>, Malformed> {
        const ENDS_STATEMENT: u16 = 1;
        let mut reader = Reader::new(body, "rows event");
        let table = table_id(&mut reader)?;
        let flags = reader.u16()?;
        if self.extra {
            let length = usize::from(reader.u16()?).checked_sub(2);
            reader.bytes(length.ok_or_else(|| reader.malformed("a length is too small"))?)?;
        }
        let columns = length(&mut reader)?;
        let bitmap = columns.div_ceil(8);
        let first = reader.bytes(bitmap)?;
        let second = if self.has_before && self.has_after { reader.bytes(bitmap)? } else { first };
        Ok(Head {
            table,
            ends_statement: flags & ENDS_STATEMENT != 0,
            columns,
            before: if self.has_before { first } else { &[] },
            after: second,
            images: reader.rest(),
        })
    }
}

impl<'a> Rows<'a> {
    pub(super) fn new(
        table: Option<Arc<TableMap>>,
        shape: Shape,
        head: Head<'a>,
        images: Option<&'a [u8]>,
    ) -> Self {
        let Head { columns, before, after, .. } = head;
        Rows { table, shape, columns, before, after, images }
    }

    /// The rows' values, as far as they can be told; `None` when they cannot.
    #[must_use]
    pub fn changes(&self) -> Option<Changes<'a>> {
        let columns = self.table.as_ref()?.columns().ok()?;
        let rest = Reader::new(self.images?, "rows event");
        let known = !self.shape.partial && columns.list.len() == self.columns;
        let (before, after) = (self.before, self.after);
        known.then_some(Changes { columns, shape: self.shape, before, after, rest })
    }
}

/// The rows of one event, one after the other. An error is the last item.
#[derive(Debug)]
pub struct Changes<'a> {
    columns: Columns,
    shape: Shape,
    before: &'a [u8],
    after: &'a [u8],
    rest: Reader<'a>,
}

impl<'a> Changes<'a> {
    fn row(&mut self) -> Result<Change<'a>, Malformed> {
        let list = &self.columns.list;
        let mut one = |there: bool, present| {
            if there { image(list, present, &mut self.rest).map(Some) } else { Ok(None) }
        };
        let before = one(self.shape.has_before, self.before)?;
        let after = one(self.shape.has_after, self.after)?;
        Ok(Change { before, after })
    }

    /// The names of the columns, by their places, where the server says them (`binlog_row_metadata = FULL`).
    pub fn names(&self) -> impl Iterator<Item = Option<&str>> {
        self.columns.list.iter().map(|column| column.name.as_deref())
    }
}

impl<'a> Iterator for Changes<'a> {
    type Item = Result<Change<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let remaining = self.rest.remaining();
        let row = self.row();
        if row.is_err() || self.rest.remaining() == remaining {
            let _ = self.rest.rest();
        }
        Some(row)
    }
}

impl<'a> Change<'a> {
    /// Each column, with its value before and after.
    pub fn cells(&self) -> impl Iterator<Item = Cell<'a>> + '_ {
        let of = |image: &Option<Image<'a>>, column: usize| {
            image.as_ref().and_then(|image| image.values.get(column).copied().flatten())
        };
        let width = |image: &Option<Image<'a>>| image.as_ref().map_or(0, |image| image.values.len());
        (0..width(&self.before).max(width(&self.after))).map(move |column| Cell {
            column,
            before: of(&self.before, column),
            after: of(&self.after, column),
        })
    }
}

impl<'a> Image<'a> {
    /// The value of a column; `None` if it was left out.
    #[must_use]
    pub fn get(&self, column: usize) -> Option<Value<'a>> {
        self.values.get(column).copied().flatten()
    }
}

impl Integer {
    /// Its value in an unsigned column.
    #[must_use]
    pub fn unsigned(self) -> u64 {
        self.raw
    }

    /// Its value in a signed column.
    #[must_use]
    pub fn signed(self) -> i64 {
        let shift = 64_u32.saturating_sub(u32::from(self.bytes).saturating_mul(8));
        let high = self.raw.checked_shl(shift).unwrap_or(0);
        high.cast_signed().checked_shr(shift).unwrap_or(0)
    }
}

fn bit(bitmap: &[u8], at: usize) -> bool {
    bitmap.get(at / 8).is_some_and(|byte| byte & (1 << (at % 8)) != 0)
}

/// One image: which of the columns in it are NULL, then the others' values.
fn image<'a>(columns: &[Column], present: &[u8], reader: &mut Reader<'a>) -> Result<Image<'a>, Malformed> {
    let count = (0..columns.len()).filter(|at| bit(present, *at)).count();
    let nulls = reader.bytes(count.div_ceil(8))?;
    let mut values = Vec::with_capacity(columns.len());
    let mut place = 0_usize;
    for (at, column) in columns.iter().enumerate() {
        if !bit(present, at) {
            values.push(None);
            continue;
        }
        let null = bit(nulls, place);
        place = place.saturating_add(1);
        values.push(Some(if null { Value::Null } else { value(column, reader)? }));
    }
    Ok(Image { values })
}

fn value<'a>(column: &Column, reader: &mut Reader<'a>) -> Result<Value<'a>, Malformed> {
    use types::*;
    let [low, high] = column.meta.to_le_bytes();
    let fraction = |base: usize| base.saturating_add(usize::from(low).div_ceil(2));
    let skipped = match column.kind {
        TINY => return integer(column, reader, 1),
        SHORT => return integer(column, reader, 2),
        INT24 => return integer(column, reader, 3),
        LONG => return integer(column, reader, 4),
        LONGLONG => return integer(column, reader, 8),
        VARCHAR | VAR_STRING => return text(reader, column.meta).map(Value::Text),
        VARCHAR_COMPRESSED => return text(reader, column.meta).map(|_| Value::Other),
        STRING => return string(low, high, reader),
        NULL => 0,
        YEAR => 1,
        DATE | NEWDATE | TIME => 3,
        FLOAT | TIMESTAMP => 4,
        DOUBLE | DATETIME => 8,
        TIMESTAMP2 => fraction(4),
        DATETIME2 => fraction(5),
        TIME2 => fraction(3),
        BIT => usize::from(high).saturating_add(usize::from(low > 0)),
        ENUM | SET => usize::from(high),
        NEWDECIMAL => decimal(low, high),
        JSON | VECTOR | TINY_BLOB | MEDIUM_BLOB | LONG_BLOB | BLOB | GEOMETRY | BLOB_COMPRESSED => {
            blob(reader, low)?
        }
        _ => return Err(reader.malformed("a column of an unknown type")),
    };
    reader.bytes(skipped)?;
    Ok(Value::Other)
}

fn integer<'a>(column: &Column, reader: &mut Reader<'a>, bytes: u8) -> Result<Value<'a>, Malformed> {
    let mut raw = [0_u8; 8];
    for (to, from) in raw.iter_mut().zip(reader.bytes(bytes.into())?) {
        *to = *from;
    }
    Ok(Value::Integer(Integer { raw: u64::from_le_bytes(raw), bytes, unsigned: column.unsigned }))
}

/// A text with its length before it, in as many bytes as the longest takes.
fn text<'a>(reader: &mut Reader<'a>, longest: u16) -> Result<&'a [u8], Malformed> {
    let length = if longest < 256 { usize::from(reader.u8()?) } else { usize::from(reader.u16()?) };
    reader.bytes(length)
}

/// CHAR, BINARY, ENUM and SET share a type. The length of a long CHAR has two bits among those of the type, turned over.
fn string<'a>(kind: u8, length: u8, reader: &mut Reader<'a>) -> Result<Value<'a>, Malformed> {
    const TWO_BITS: u8 = 0x30;
    if kind & TWO_BITS != TWO_BITS {
        let high = u16::from((kind & TWO_BITS) ^ TWO_BITS) << 4;
        return text(reader, u16::from(length) | high).map(Value::Text);
    }
    if matches!(kind, types::ENUM | types::SET) {
        reader.bytes(length.into())?;
        return Ok(Value::Other);
    }
    text(reader, length.into()).map(Value::Text)
}

/// How many bytes a DECIMAL takes: four for each nine digits on either side of the point, fewer for the rest.
fn decimal(precision: u8, scale: u8) -> usize {
    const REST: [usize; 10] = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4];
    let digits = |count: u8| {
        let rest = REST.get(usize::from(count % 9)).copied().unwrap_or(0);
        usize::from(count / 9).saturating_mul(4).saturating_add(rest)
    };
    digits(precision.saturating_sub(scale)).saturating_add(digits(scale))
}

fn blob(reader: &mut Reader<'_>, width: u8) -> Result<usize, Malformed> {
    Ok(match width {
        1 => usize::from(reader.u8()?),
        2 => usize::from(reader.u16()?),
        3 => usize::try_from(reader.u24()?).unwrap_or(usize::MAX),
        4 => usize::try_from(reader.u32()?).unwrap_or(usize::MAX),
        _ => return Err(reader.malformed("a length of an unknown width")),
    })
}
