//! Keys: of a statement that touches only rows whose column equals one of some literals, that column and the literals.
//!
//! Owns the grammar under which that is proven, and the form in which literals are compared. Two statements on a table
//! are independent if some column is bounded in both to sets of values that do not meet; so whatever the server could
//! call equal must have equal bytes here. In doubt there is no key, and the whole table counts.

mod literal;
mod pattern;
mod plan;
mod reads;
mod rows;
mod tokens;
mod where_clause;
mod writes;

#[cfg(test)]
mod tests;

use crate::dialect::{Charset, Dialect};
use crate::facts::{Facts, Kind, TableName, Why};
use crate::hash::hash;
use crate::schema::{Schema, Sort, Table, TableId};

pub use pattern::KeyIds;
pub(crate) use pattern::Pattern;
pub use plan::{Plan, Value};
pub use rows::{RowColumn, of_rows};

/// More values than this in one statement are not told apart.
const MOST_VALUES: usize = 4096;

/// The session that a statement comes from, as far as keys depend on it.
#[derive(Debug, Clone, Copy)]
pub struct Session<'a> {
    /// How its statements are read.
    pub dialect: &'a Dialect,
    /// Its default schema.
    pub schema: Option<&'a str>,
    /// `character_set_client` and `character_set_connection` are both known to leave printable ASCII as it is (utf8mb4,
    /// utf8mb3, latin1, ascii, …, but not swe7). Without that there are no keys.
    pub plain_charsets: bool,
}

/// What bounds the rows of one table that a statement touches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// The table.
    pub table: TableId,
    /// Each column that bounds them by itself; never empty.
    pub columns: Vec<ColumnKeys>,
}

/// A column and the values that every touched row has in it, before and after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnKeys {
    /// The column's place in [`Table::columns`].
    pub place: u32,
    /// The column, by a hash of the names that is the same in every snapshot.
    pub column: ColumnId,
    /// The values, in the form in which they compare.
    pub values: Values,
}

/// A column of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ColumnId(pub u64);

/// A value of a column, by a hash: values that collide count as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(pub u64);

/// A list of values in one buffer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Values {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

bitflags::bitflags! {
    /// The rules that make keys sound. All are in force; tests drop one at a time, to show what it is for.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Rules: u32 {
        /// A condition counts only if it is the first thing after WHERE, AND or its parenthesis.
        const WHOLE_LEFT = 1;
        /// And if nothing but AND, its parenthesis or the next clause follows.
        const WHOLE_RIGHT = 1 << 1;
        /// Nothing beside OR, XOR, `||` or `:=` counts.
        const NO_OR = 1 << 2;
        /// The AND of a BETWEEN is no conjunction.
        const BETWEEN = 1 << 3;
        /// Nor is one between CASE and END.
        const CASE = 1 << 4;
        /// A read is of one table, which occurs once.
        const ONE_TABLE = 1 << 5;
        /// Integers for integers, quoted text for characters, nothing for other types.
        const TYPES = 1 << 6;
        /// Integers that the column can hold.
        const RANGE = 1 << 7;
        /// Texts that the column can hold.
        const LENGTH = 1 << 8;
        /// Texts of printable ASCII.
        const PRINTABLE = 1 << 9;
        /// Collations that were tested.
        const COLLATION = 1 << 10;
        /// Upper case equals lower case.
        const CASE_FOLDED = 1 << 11;
        /// Spaces at the end do not count.
        const SPACE_FOLDED = 1 << 12;
        /// No generated columns.
        const GENERATED = 1 << 13;
        /// 0 is no value of an AUTO_INCREMENT column that is inserted.
        const AUTO_INCREMENT = 1 << 14;
        /// What replaces or updates rows that collide is bounded only by what every unique key has a part of.
        const UNIQUE_KEYS = 1 << 15;
        /// A column that is assigned to does not bound the rows as they are afterwards.
        const ASSIGNED = 1 << 16;
        /// A trigger may change any column.
        const TRIGGERS = 1 << 17;
        /// A cascade may come back to the table.
        const CASCADES = 1 << 18;
        /// What ranks rows among all others (MATCH) depends on all of them.
        const RANKING = 1 << 19;
        /// A unique key bounds a column only if it has the whole of it.
        const PREFIX = 1 << 20;
        /// An assignment of the inserted value leaves the column bounded only if it is that column's own.
        const SAME_VALUE = 1 << 21;
    }
}

/// A value that is bound to a parameter of a prepared statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound<'a> {
    /// Of an integer type.
    Integer(i128),
    /// Of a type of characters, in `character_set_client`.
    Text(&'a [u8]),
}

/// What bounds the rows that a query reads; `None`: nothing, or it is no query of one table.
pub fn of_read(sql: &[u8], facts: &Facts, schema: &Schema, session: Session<'_>) -> Option<Keys> {
    of_read_under(Rules::all(), sql, facts, schema, session)
}

/// [`of_read`], under some of the rules only.
pub fn of_read_under(
    rules: Rules,
    sql: &[u8],
    facts: &Facts,
    schema: &Schema,
    session: Session<'_>,
) -> Option<Keys> {
    plan_of_read(rules, sql, facts, schema, session)?.keys(sql, |_| None)
}

/// What bounds the rows that a write touches, before and after; `None`: nothing, or it is no write of one table.
pub fn of_write(sql: &[u8], facts: &Facts, schema: &Schema, session: Session<'_>) -> Option<Keys> {
    of_write_under(Rules::all(), sql, facts, schema, session)
}

/// [`of_write`], under some of the rules only.
pub fn of_write_under(
    rules: Rules,
    sql: &[u8],
    facts: &Facts,
    schema: &Schema,
    session: Session<'_>,
) -> Option<Keys> {
    plan_of_write(rules, sql, facts, schema, session)?.keys(sql, |_| None)
}

/// Where the values stand that bound what a statement reads, if it is a read, or writes: of a text that is executed more
/// than once with other values for its parameters. `None`: whatever they are, nothing is bounded.
pub fn plan(sql: &[u8], facts: &Facts, schema: &Schema, session: Session<'_>) -> Option<Plan> {
    match facts.kind {
        Kind::Read => plan_of_read(Rules::all(), sql, facts, schema, session),
        Kind::Write => plan_of_write(Rules::all(), sql, facts, schema, session),
        _ => None,
    }
}

fn plan_of_read(
    rules: Rules,
    sql: &[u8],
    facts: &Facts,
    schema: &Schema,
    session: Session<'_>,
) -> Option<Plan> {
    if facts.kind != Kind::Read || facts.why.is_some() || !facts.tables_written.is_empty() {
        return None;
    }
    let named = match facts.tables_read.as_slice() {
        [only] => only,
        [first, ..] if !rules.contains(Rules::ONE_TABLE) => first,
        _ => return None,
    };
    let (id, table) = target(named, facts, schema, session)?;
    reads::plan(rules, sql, id, table, session).filter(|plan| !plan.columns.is_empty())
}

fn plan_of_write(
    rules: Rules,
    sql: &[u8],
    facts: &Facts,
    schema: &Schema,
    session: Session<'_>,
) -> Option<Plan> {
    if facts.kind != Kind::Write || facts.why != Some(Why::Write) {
        return None;
    }
    let [named] = facts.tables_written.as_slice() else { return None };
    let (id, table) = target(named, facts, schema, session)?;
    if table.triggers && rules.contains(Rules::TRIGGERS) {
        return None;
    }
    writes::plan(rules, sql, id, table, session).filter(|plan| !plan.columns.is_empty())
}

/// The one table that keys may be of.
fn target<'s>(
    named: &TableName,
    facts: &Facts,
    schema: &'s Schema,
    session: Session<'_>,
) -> Option<(TableId, &'s Table)> {
    let plain = matches!(session.dialect.charset, Charset::Utf8 | Charset::AsciiCompatible);
    if !plain || !session.plain_charsets || facts.all_tables {
        return None;
    }
    if facts.apart.is_some() || !facts.functions.is_empty() || !facts.parts.is_empty() {
        return None;
    }
    let id = TableId::of(named.schema.as_deref().or(session.schema)?, &named.name);
    let table = schema.table(id)?;
    (table.keyable && table.sort == Sort::Base).then_some((id, table))
}

/// Whether literals may be keys under a collation, by its name: those that a test asked the servers about.
pub fn is_tested_collation(name: &str) -> bool {
    literal::is_tested(name)
}

/// Whether a read cannot see what a write of the same table does.
pub fn independent(read: &Keys, write: &Keys) -> bool {
    let apart = |one: &ColumnKeys, other: &ColumnKeys| {
        one.column == other.column && !one.values.iter().any(|value| other.values.contains(value))
    };
    read.table != write.table
        || read.columns.iter().any(|one| write.columns.iter().any(|other| apart(one, other)))
}

impl ColumnKeys {
    /// The values as the hashes that watermarks are kept by.
    pub fn ids(&self) -> impl Iterator<Item = KeyId> + '_ {
        self.values.ids(self.column)
    }
}

impl Values {
    /// Each value.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> + '_ {
        let mut start = 0usize;
        self.ends.iter().map(move |end| {
            let end = *end as usize;
            self.bytes.get(std::mem::replace(&mut start, end)..end).unwrap_or_default()
        })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Whether this one is among them.
    pub fn contains(&self, value: &[u8]) -> bool {
        self.iter().any(|known| known == value)
    }

    /// Each value of a column as a hash.
    fn ids(&self, column: ColumnId) -> impl Iterator<Item = KeyId> + '_ {
        // Collisions make dependence too wide and never too narrow: no secret is needed.
        self.iter().map(move |value| KeyId(hash(value, [column.0, 0x9e37_79b9_7f4a_7c15])))
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// The last one.
    fn last(&self) -> Option<&[u8]> {
        let (last, before) = self.ends.split_last()?;
        self.bytes.get(before.last().map_or(0, |end| *end as usize)..*last as usize)
    }

    /// Adds what was written behind the last value; `None` if there are too many.
    fn end_value(&mut self) -> Option<()> {
        if self.ends.len() >= MOST_VALUES {
            return None;
        }
        self.ends.push(u32::try_from(self.bytes.len()).ok()?);
        Some(())
    }

    /// Takes back what was written behind the last value.
    fn drop_value(&mut self) {
        self.bytes.truncate(self.ends.last().map_or(0, |end| *end as usize));
    }
}
