//! Tables as the schema snapshot holds them: columns, unique keys, and what decides whether a column's literals can be
//! keys.

use super::touch::Touch;
use crate::keys::Rules;

/// A table, a view or a sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The schema, in lower case.
    pub schema: Box<str>,
    /// The name, in lower case.
    pub name: Box<str>,
    /// What it is.
    pub sort: Sort,
    /// Its columns by position; empty where the account may not see them.
    pub columns: Box<[Column]>,
    /// Its primary and unique keys.
    pub unique: Box<[UniqueKey]>,
    /// Whether it has a trigger, or may have.
    pub triggers: bool,
    /// Whether a write of it may come back to it by a cascade.
    pub cascades_to_itself: bool,
    /// Whether all that keys depend on is known.
    pub keyable: bool,
    /// What a read of it touches; `None`: itself.
    pub(crate) on_read: Option<Box<Touch>>,
    /// What a write of it touches; `None`: itself.
    pub(crate) on_write: Option<Box<Touch>>,
}

/// What bears a table's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// A table whose rows are its own.
    Base,
    /// A view.
    View,
    /// A sequence.
    Sequence,
    /// A table whose rows are elsewhere (MERGE, FEDERATED, …), or a name that two objects share but for case.
    Opaque,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// In lower case.
    pub name: Box<str>,
    /// What its values are.
    pub values: Values,
    /// Its collation, of a column of characters.
    pub collation: Option<Box<str>>,
    /// Its values come from other columns, or from row versioning.
    pub generated: bool,
    /// AUTO_INCREMENT: 0 and NULL become something else.
    pub auto_increment: bool,
    /// Left out where a statement lists no columns.
    pub invisible: bool,
    /// Part of some index: worth a key.
    pub indexed: bool,
}

/// What a column's values are, as far as keys can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// An integer type.
    Integer {
        /// The least value.
        min: i128,
        /// The greatest.
        max: i128,
    },
    /// CHAR or VARCHAR.
    Characters {
        /// Its length in characters.
        longest: u32,
    },
    /// Anything else.
    Other,
}

/// A primary or unique key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UniqueKey {
    /// Its parts; a part that is an expression has no column.
    pub parts: Box<[KeyPart]>,
}

/// A part of a unique key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyPart {
    /// The column's place in [`Table::columns`].
    pub column: Option<u32>,
    /// Only the beginning of the column counts.
    pub prefix: bool,
}

impl Table {
    /// A column and its place, by a name in lower case.
    pub fn column(&self, name: &str) -> Option<(u32, &Column)> {
        let at = self.columns.iter().position(|column| *column.name == *name)?;
        Some((u32::try_from(at).ok()?, self.columns.get(at)?))
    }

    /// Whether each unique key has this column, whole, among its parts: rows that collide then agree in it.
    pub(crate) fn bounds_every_unique_key(&self, column: u32, rules: Rules) -> bool {
        let whole = |part: &KeyPart| !part.prefix || !rules.contains(Rules::PREFIX);
        let bounds = |part: &KeyPart| part.column == Some(column) && whole(part);
        self.unique.iter().all(|key| key.parts.iter().any(bounds))
    }
}

impl Values {
    /// From information_schema's DATA_TYPE, COLUMN_TYPE and CHARACTER_MAXIMUM_LENGTH.
    pub(super) fn of(data_type: &str, column_type: &str, length: &str) -> Values {
        let bits = match data_type.to_ascii_lowercase().as_str() {
            "tinyint" => 8,
            "smallint" => 16,
            "mediumint" => 24,
            "int" => 32,
            "bigint" => 64,
            "char" | "varchar" => {
                return match length.parse() {
                    Ok(longest) => Values::Characters { longest },
                    Err(_) => Values::Other,
                };
            }
            _ => return Values::Other,
        };
        let column_type = column_type.to_ascii_lowercase();
        let span = 1i128.wrapping_shl(bits);
        if column_type.contains("unsigned") || column_type.contains("zerofill") {
            return Values::Integer { min: 0, max: span.wrapping_sub(1) };
        }
        let half = span.wrapping_shr(1);
        Values::Integer { min: half.wrapping_neg(), max: half.wrapping_sub(1) }
    }
}
