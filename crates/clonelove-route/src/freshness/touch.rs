//! What a statement reads, and what a statement or a transaction wrote.

use clonelove_sql::keys::{Keys, independent};
use clonelove_sql::{TableId, TableSet};

/// More bounded writes than this in one transaction are taken for writes of their tables.
const MOST_KEYED: usize = 64;

/// What a read touches.
#[derive(Clone, Copy, Debug)]
pub struct Reads<'a> {
    /// Any table.
    pub all: bool,
    /// Definitions.
    pub definitions: bool,
    /// Tables, those that views and functions read among them.
    pub tables: &'a TableSet,
    /// Of its only table, no more than these rows.
    pub keys: Option<&'a Keys>,
}

/// What a statement, or a transaction, wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Writes {
    /// Any table.
    pub all: bool,
    /// Definitions: those of [`Writes::tables`], or any.
    pub definitions: bool,
    /// Accounts and their rights: what any read may depend on.
    pub accounts: bool,
    /// Tables, any of their rows.
    pub tables: Vec<TableId>,
    /// Tables of which only some rows.
    pub keyed: Vec<Keys>,
}

impl Writes {
    /// Any table, and the definitions.
    pub fn anything() -> Self {
        Self { all: true, definitions: true, ..Self::default() }
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        let Self { all, definitions, accounts, tables, keyed } = self;
        !all && !definitions && !accounts && tables.is_empty() && keyed.is_empty()
    }

    /// Any row of a table.
    pub fn add_table(&mut self, table: TableId) {
        if !self.tables.contains(&table) {
            self.tables.push(table);
        }
    }

    /// What else was written.
    pub fn add(&mut self, other: &Writes) {
        self.all |= other.all;
        self.definitions |= other.definitions;
        self.accounts |= other.accounts;
        for table in &other.tables {
            self.add_table(*table);
        }
        for keys in &other.keyed {
            if self.keyed.len() >= MOST_KEYED {
                self.widen();
                self.add_table(keys.table);
            } else if !self.keyed.contains(keys) {
                self.keyed.push(keys.clone());
            }
        }
    }

    fn widen(&mut self) {
        for keys in std::mem::take(&mut self.keyed) {
            self.add_table(keys.table);
        }
    }

    /// Whether a read may see some of it.
    pub fn touch(&self, reads: &Reads<'_>) -> bool {
        if self.accounts || self.definitions && reads.definitions {
            return true;
        }
        if self.all {
            return reads.all || reads.definitions || !reads.tables.is_empty();
        }
        if reads.all {
            return !self.is_empty();
        }
        let seen = |keys: &Keys| match reads.keys {
            Some(read) if read.table == keys.table => !independent(read, keys),
            _ => reads.tables.contains(keys.table),
        };
        self.tables.iter().any(|table| reads.tables.contains(*table)) || self.keyed.iter().any(seen)
    }
}
