//! What a server's schemas hold, as an immutable snapshot: tables, views, triggers, foreign keys, stored routines, and
//! what of these the monitoring account could not see.
//!
//! Owns the questions that a snapshot is made of, the making, and the look-ups. Pure: whoever has a connection asks the
//! [`queries()`] and hands the answers to [`Schema::build`]. Absence of knowledge is not knowledge: what is not in the
//! snapshot is unknown, not absent.

mod bodies;
mod build;
mod grants;
mod id;
mod queries;
mod table;
mod touch;

#[cfg(test)]
pub(crate) mod tests;

use crate::dialect::Flavour;

pub use grants::{MissingGrant, Sight};
pub use id::TableId;
pub(crate) use id::{RoutineId, add as add_to_hash, folded};
pub use queries::{Answers, Question, Row, queries};
pub use table::{Column, KeyPart, Sort, Table, UniqueKey, Values};
pub(crate) use touch::Touch;

use grants::Coverage;
use id::IdMap;

/// A snapshot. The default one knows nothing, so that every table is unknown.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Schema {
    tables: IdMap<TableId, Table>,
    routines: IdMap<RoutineId, Touch>,
    coverage: Coverage,
    triggers: usize,
}

/// How much a snapshot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Tables and sequences.
    pub tables: usize,
    /// Views.
    pub views: usize,
    /// Stored functions and procedures.
    pub routines: usize,
    /// Triggers.
    pub triggers: usize,
}

impl Schema {
    /// From the answers to [`queries()`], asked of a server of a version (101119 is 10.11.19). Never fails: what the
    /// answers lack is unknown.
    pub fn build(flavour: Flavour, version: u32, answers: &Answers) -> Schema {
        let build::Built { tables, functions, coverage, triggers } = build::build(flavour, version, answers);
        Schema { tables, routines: functions, coverage, triggers }
    }

    /// A table, view or sequence.
    #[inline]
    pub fn table(&self, id: TableId) -> Option<&Table> {
        self.tables.get(&id)
    }

    /// All tables, views and sequences, in no order.
    pub fn tables(&self) -> impl Iterator<Item = (TableId, &Table)> {
        self.tables.iter().map(|(id, table)| (*id, table))
    }

    /// How much it holds.
    pub fn counts(&self) -> Counts {
        let views = self.tables.values().filter(|table| table.sort == Sort::View).count();
        Counts {
            tables: self.tables.len().saturating_sub(views),
            views,
            routines: self.routines.len(),
            triggers: self.triggers,
        }
    }

    /// Whether a table of this schema, named in lower case, would be in the snapshot if there was one.
    pub(crate) fn sees_tables_of(&self, schema: &str) -> bool {
        self.coverage.sees(Sight::Tables, schema)
    }

    pub(crate) fn routine(&self, id: RoutineId) -> Option<&Touch> {
        self.routines.get(&id)
    }

    /// Privileges without which the snapshot must take things for unknown, each with the statement that grants it.
    pub fn missing_grants(&self) -> Vec<MissingGrant> {
        self.coverage.missing(self.tables.values().map(|table| &*table.schema))
    }
}
