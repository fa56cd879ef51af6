//! Keys of rows that were written, by the values in them rather than by a statement's words.
//!
//! Owns what of a row's values may be a key. Who tells them tells each row's, before and after: what a trigger made of
//! them is among them, and of a cascade's rows he must know otherwise.

use super::literal::{Written, is_keyable};
use super::plan::Planned;
use super::{Bound, ColumnKeys, Keys, Rules, Values};
use crate::dialect::Modes;
use crate::schema::{Schema, Sort, TableId};

/// A column of rows that were written.
#[derive(Debug, Clone)]
pub struct RowColumn<'a, V> {
    /// Its place in the table, from 0 up.
    pub place: usize,
    /// Its name, if it is known.
    pub name: Option<&'a str>,
    /// All values that the rows have in it, before and after, but for NULL.
    pub values: V,
}

/// What bounds rows that were written to a table of so many columns; `None`: nothing. Columns whose values are not all
/// known are left out.
pub fn of_rows<'a, V: Iterator<Item = Bound<'a>>>(
    (id, width): (TableId, usize),
    columns: impl Iterator<Item = RowColumn<'a, V>>,
    schema: &Schema,
) -> Option<Keys> {
    let table = schema.table(id).filter(|table| table.keyable && table.sort == Sort::Base)?;
    // Otherwise the table was another when its rows were written, or is now.
    if table.columns.len() != width {
        return None;
    }
    let mut keys = Keys { table: id, columns: Vec::new() };
    for RowColumn { place, name, values } in columns {
        let column = table.columns.get(place)?;
        if name.is_some_and(|name| !name.eq_ignore_ascii_case(&column.name)) {
            return None;
        }
        if !is_keyable(column, Rules::all()) {
            continue;
        }
        let planned = Planned::new(id, u32::try_from(place).ok()?, column);
        let mut known = Values::default();
        let law = (Modes::empty(), Rules::all());
        let mut added = values.map(|value| planned.add(Written::Bound(value), law, &mut known));
        if added.all(|one| one.is_some()) {
            keys.columns.push(ColumnKeys { place: planned.place, column: planned.column, values: known });
        }
    }
    (!keys.columns.is_empty()).then_some(keys)
}
