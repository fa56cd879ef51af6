//! What a server's schemas hold, as an immutable snapshot: tables, views, triggers, foreign keys, stored routines, and
//! what of these the monitoring account could not see.
//!
//! Owns the questions that a snapshot is made of, the making, and the look-ups. Pure: whoever has a connection asks the
//! [`queries`] and hands the answers to [`Schema::build`]. Absence of knowledge is not knowledge: what is not in the
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
}

impl Schema {
    /// From the answers to [`queries`], asked of a server of a version (101119 is 10.11.19). Never fails: what the
    /// answers lack is unknown.
    pub fn build(flavour: Flavour, version: u32, answers: &Answers) -> Schema {
        let build::Built { tables, functions, coverage } = build::build(flavour, version, answers);
        Schema { tables, routines: functions, coverage }
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

    pub(crate) fn routine(&self, id: RoutineId) -> Option<&Touch> {
        self.routines.get(&id)
    }

    /// Privileges without which the snapshot must take things for unknown, each with the statement that grants it.
    pub fn missing_grants(&self) -> Vec<MissingGrant> {
        self.coverage.missing(self.tables.values().map(|table| &*table.schema))
    }
}
