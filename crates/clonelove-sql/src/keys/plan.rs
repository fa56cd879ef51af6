//! Where in a statement the values of its keys stand, apart from what they are: the same for all statements that differ
//! in literals alone.

use super::literal::{Written, add};
use super::{Bound, ColumnId, ColumnKeys, Keys, Rules, Values};
use crate::dialect::Modes;
use crate::schema::{self, Column, TableId, add_to_hash};

/// The columns by which a statement bounds the rows that it touches, and where their values stand in its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub(super) table: TableId,
    pub(super) columns: Vec<Planned>,
    pub(super) rules: Rules,
    pub(super) modes: Modes,
}

/// A column that bounds rows, if all values in its slots can be keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Planned {
    pub(crate) place: u32,
    pub(crate) column: ColumnId,
    pub(crate) values: schema::Values,
    /// 0 is no value of it.
    pub(crate) zero_is_another: bool,
    pub(crate) slots: Vec<Slot>,
}

/// A literal, by its place in the text, or a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) negative: bool,
    pub(crate) parameter: Option<u16>,
}

impl Plan {
    /// The keys of the text that this is the plan of. `bound` tells the value of a parameter, numbered from 0 in the
    /// order of the text; a column with a parameter whose value it does not tell bounds nothing.
    pub fn keys<'b>(&self, sql: &[u8], bound: impl Fn(u16) -> Option<Bound<'b>>) -> Option<Keys> {
        let mut columns = Vec::new();
        for planned in &self.columns {
            let mut values = Values::default();
            if !planned.slots.is_empty()
                && planned.gather(sql, (self.modes, self.rules), &bound, &mut values).is_some()
            {
                columns.push(ColumnKeys { place: planned.place, column: planned.column, values });
            }
        }
        (!columns.is_empty()).then_some(Keys { table: self.table, columns })
    }

    /// Whether some value is a parameter's.
    pub fn has_parameters(&self) -> bool {
        self.columns.iter().flat_map(|planned| &planned.slots).any(|slot| slot.parameter.is_some())
    }

    /// The columns, each with what stands for its values.
    pub fn columns(&self) -> impl Iterator<Item = (ColumnId, impl Iterator<Item = Value> + '_)> + '_ {
        let value = |slot: &Slot| match slot.parameter {
            Some(number) => Value::Parameter(number),
            None => Value::Literal(slot.start..slot.end),
        };
        self.columns.iter().map(move |planned| (planned.column, planned.slots.iter().map(value)))
    }
}

/// What stands for a value in a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A literal at these bytes, without its sign.
    Literal(std::ops::Range<usize>),
    /// The parameter of this number, from 0 in the order of the text.
    Parameter(u16),
}

impl Planned {
    pub(super) fn new(table: TableId, place: u32, column: &Column) -> Planned {
        Planned {
            place,
            column: ColumnId(add_to_hash(table.0, column.name.as_bytes())),
            values: column.values,
            zero_is_another: false,
            slots: Vec::new(),
        }
    }

    fn gather<'b>(
        &self,
        sql: &[u8],
        law: (Modes, Rules),
        bound: &impl Fn(u16) -> Option<Bound<'b>>,
        into: &mut Values,
    ) -> Option<()> {
        for slot in &self.slots {
            let written = match slot.parameter {
                Some(number) => Written::Bound(bound(number)?),
                None => Written::Literal { bytes: sql.get(slot.start..slot.end)?, negative: slot.negative },
            };
            self.add(written, law, into)?;
        }
        Some(())
    }

    /// Adds a value; `None` if the column bounds nothing by it.
    pub(super) fn add(&self, written: Written<'_>, law: (Modes, Rules), into: &mut Values) -> Option<()> {
        add(written, self.values, law, into)?;
        (!self.zero_is_another || into.last() != Some(b"0")).then_some(())
    }
}
