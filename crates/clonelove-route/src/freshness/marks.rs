//! Watermarks by table and by key.
//!
//! Owns the rule by which a bounded read and bounded writes meet: for a column that bounds both, the watermarks of the
//! read's values, and the last write that this column did not bound.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use clonelove_sql::TableId;
use clonelove_sql::keys::{ColumnId, ColumnKeys, KeyId, Keys};

use super::{Reads, Stamp, Writes};
use crate::unhashed::Unhashed;

/// Columns of one table by which keys are kept.
const MOST_COLUMNS: usize = 8;

/// How many watermarks there are, and how many were given up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Of tables.
    pub tables: usize,
    /// Of keys.
    pub keys: usize,
    /// Keys forgotten because there were too many; their tables' took their place.
    pub overflows: u64,
}

#[derive(Debug)]
pub(super) struct Marks {
    /// Writes of any table.
    all: Stamp,
    definitions: Stamp,
    accounts: Stamp,
    /// Any write.
    latest: Stamp,
    tables: IdMap<TableId, Table>,
    keys: usize,
    limit: usize,
    overflows: u64,
}

#[derive(Debug, Default)]
struct Table {
    /// Any write of it.
    any: Stamp,
    columns: Vec<Column>,
}

#[derive(Debug)]
struct Column {
    id: ColumnId,
    /// The last write that this column did not bound.
    others: Stamp,
    keys: IdMap<KeyId, Stamp>,
}

impl Marks {
    pub(super) fn new(limit: usize) -> Self {
        let tables = IdMap::default();
        Self { all: 0, definitions: 0, accounts: 0, latest: 0, tables, keys: 0, limit, overflows: 0 }
    }

    pub(super) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
        self.keep_to_limit();
    }

    pub(super) fn clear(&mut self) {
        let (limit, overflows) = (self.limit, self.overflows);
        *self = Self { overflows, ..Self::new(limit) };
    }

    pub(super) fn raise(&mut self, writes: &Writes, stamp: Stamp) {
        self.latest = self.latest.max(stamp);
        if writes.all {
            self.all = self.all.max(stamp);
        }
        if writes.definitions {
            self.definitions = self.definitions.max(stamp);
        }
        if writes.accounts {
            self.accounts = self.accounts.max(stamp);
        }
        for table in &writes.tables {
            self.tables.entry(*table).or_default().raise(stamp);
        }
        for keys in &writes.keyed {
            self.keys =
                self.keys.saturating_add(self.tables.entry(keys.table).or_default().raise_keys(keys, stamp));
        }
        if self.keys > self.limit {
            self.keep_to_limit();
        }
    }

    /// The tables with most keys lose theirs.
    fn keep_to_limit(&mut self) {
        while self.keys > self.limit {
            let Some(table) = self.tables.values_mut().max_by_key(|table| table.len()) else { return };
            let dropped = table.drop_keys();
            if dropped == 0 {
                return;
            }
            self.keys = self.keys.saturating_sub(dropped);
            self.overflows = self.overflows.saturating_add(dropped as u64);
        }
    }

    #[inline]
    pub(super) fn need(&self, reads: &Reads<'_>) -> Stamp {
        if reads.all {
            return self.latest;
        }
        let mut need = self.accounts;
        if reads.definitions {
            need = need.max(self.definitions);
        }
        if reads.definitions || !reads.tables.is_empty() {
            need = need.max(self.all);
        }
        for id in reads.tables.iter() {
            let Some(table) = self.tables.get(&id) else { continue };
            let of_table = match reads.keys {
                Some(keys) if keys.table == id => table.need(keys),
                _ => table.any,
            };
            need = need.max(of_table);
        }
        need
    }

    pub(super) fn has_keys(&self, table: TableId) -> bool {
        self.tables.get(&table).is_some_and(|table| !table.columns.is_empty())
    }

    /// Watermarks at or below the floor say no more than it does.
    pub(super) fn forget(&mut self, floor: Stamp) {
        let mut keys = 0_usize;
        self.tables.retain(|_, table| {
            if table.any <= floor {
                return false;
            }
            for column in &mut table.columns {
                column.keys.retain(|_, stamp| *stamp > floor);
                // Room for what was written at the busiest time is given back when it is quiet.
                if column.keys.capacity() > column.keys.len().saturating_mul(8).max(64) {
                    column.keys.shrink_to_fit();
                }
                keys = keys.saturating_add(column.keys.len());
            }
            true
        });
        self.keys = keys;
    }

    pub(super) fn counts(&self) -> Counts {
        Counts { tables: self.tables.len(), keys: self.keys, overflows: self.overflows }
    }
}

impl Table {
    fn raise(&mut self, stamp: Stamp) {
        self.any = self.any.max(stamp);
        for column in &mut self.columns {
            column.others = column.others.max(stamp);
        }
    }

    /// Answers how many keys are new.
    fn raise_keys(&mut self, keys: &Keys, stamp: Stamp) -> usize {
        let before = self.any;
        self.any = self.any.max(stamp);
        for column in &mut self.columns {
            if !keys.columns.iter().any(|bound| bound.column == column.id) {
                column.others = column.others.max(stamp);
            }
        }
        keys.columns.iter().map(|bound| self.raise_column(bound, before, stamp)).sum()
    }

    fn raise_column(&mut self, bound: &ColumnKeys, before: Stamp, stamp: Stamp) -> usize {
        if !self.columns.iter().any(|column| column.id == bound.column) {
            if self.columns.len() >= MOST_COLUMNS {
                return 0;
            }
            // Of what was written before, nobody knows which rows.
            self.columns.push(Column { id: bound.column, others: before, keys: IdMap::default() });
        }
        let Some(column) = self.columns.iter_mut().find(|column| column.id == bound.column) else { return 0 };
        let known = column.keys.len();
        for id in bound.ids() {
            let mark = column.keys.entry(id).or_default();
            *mark = stamp.max(*mark);
        }
        column.keys.len().saturating_sub(known)
    }

    /// The lowest that one of the columns gives: each bounds the rows by itself.
    fn need(&self, keys: &Keys) -> Stamp {
        let mut need = self.any;
        for bound in &keys.columns {
            let Some(column) = self.columns.iter().find(|column| column.id == bound.column) else { continue };
            let written = bound.ids().filter_map(|id| column.keys.get(&id).copied());
            need = need.min(written.max().unwrap_or(0).max(column.others));
        }
        need
    }

    fn len(&self) -> usize {
        self.columns.iter().map(|column| column.keys.len()).sum()
    }

    fn drop_keys(&mut self) -> usize {
        let dropped = self.len();
        self.columns.clear();
        dropped
    }
}

/// Ids are hashes already.
type IdMap<K, V> = HashMap<K, V, BuildHasherDefault<Unhashed>>;
