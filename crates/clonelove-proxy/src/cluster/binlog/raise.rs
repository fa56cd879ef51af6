//! What follows from a write that the binary log tells of: the watermarks it raises, the definitions it casts doubts on.
//! Owns the step from the log's words to those of the watermarks; both ends belong to others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clonelove_route::freshness::{Rules, Writes as Raised};
use clonelove_route::position::Position;
use clonelove_sql::keys::{Bound as Value, Keys, RowColumn};
use clonelove_sql::{Facts, Kind, Resolved, TableName, Why};

use super::{By, Raise, Scalar, Writes, Written};
use crate::cluster::schema::{Definitions, Doubts, View};
use crate::freshness::Freshness;

/// Raises the watermarks of one history.
pub(super) struct Watermarks {
    freshness: Arc<Freshness>,
    schema: Arc<Definitions>,
    era: u64,
    /// A gap was told: the next one is one in what was known.
    begun: AtomicBool,
}

impl Watermarks {
    pub(super) fn new(freshness: &Arc<Freshness>, schema: &Arc<Definitions>, era: u64) -> Self {
        let (freshness, schema) = (Arc::clone(freshness), Arc::clone(schema));
        Self { freshness, schema, era, begun: AtomicBool::new(false) }
    }

    fn raised(&self, writes: &Writes) -> Raised {
        let mut raised = Raised {
            all: writes.all_tables,
            definitions: writes.doubts.is_some(),
            accounts: writes.accounts,
            ..Raised::default()
        };
        let view = self.schema.view();
        for table in &writes.tables {
            match (&*view, table.by) {
                (_, By::Definition) => raised.add_table(table.id),
                (None, _) => raised.all = true,
                (Some(view), _) => self.add(view, table, &mut raised),
            }
        }
        raised
    }

    /// A table, with whatever a write of it reaches: what an own write of it would raise.
    fn add(&self, view: &View, table: &Written, raised: &mut Raised) {
        let facts = Facts {
            kind: Kind::Write,
            why: Some(Why::Write),
            tables_written: vec![TableName {
                schema: Some(table.schema.to_lowercase()),
                name: table.name.to_lowercase(),
            }],
            ..Facts::default()
        };
        let resolved = view.resolve(&facts, None);
        let mut missed = view.missed(resolved.unknown_tables.iter(), None).peekable();
        if missed.peek().is_some() {
            self.schema.ask_for(missed);
        }
        raised.all |= resolved.all_tables;
        match keys(view, table, &resolved) {
            Some(keys) => raised.add(&Raised { keyed: vec![keys], ..Raised::default() }),
            None => resolved.written.iter().for_each(|written| raised.add_table(written)),
        }
    }
}

impl Raise for Watermarks {
    fn committed(&self, position: &Position, writes: &Writes) {
        if let Some(doubts) = &writes.doubts {
            // It is over already: the next reading settles it.
            drop(self.schema.changing(doubts.clone()));
        }
        if writes.accounts {
            self.schema.ask(true);
        }
        let raised = self.raised(writes);
        if !raised.is_empty() && self.freshness.keeps(Rules::OTHERS_WRITES) {
            self.freshness.raise_logged(&raised, position, self.era);
        }
    }

    fn gap(&self, up_to: &Position) {
        if self.begun.swap(true, Ordering::Relaxed) {
            drop(self.schema.changing(Doubts::of_everything()));
        } else {
            self.schema.ask(true);
        }
        self.freshness.raise(&Raised::anything(), up_to, self.era);
    }
}

/// What bounds the rows, if they are all that was written.
fn keys(view: &View, table: &Written, resolved: &Resolved) -> Option<Keys> {
    if table.by != By::Rows || resolved.written.len() != 1 {
        return None;
    }
    let columns = table.columns.iter().map(|column| RowColumn {
        place: column.place,
        name: column.name.as_deref(),
        values: column.values.iter().map(|value| match value {
            // Of an unsigned column that is not said to be one, a large value looks negative, and can be no key.
            Scalar::Integer(integer) if integer.unsigned == Some(true) => {
                Value::Integer(integer.unsigned().into())
            }
            Scalar::Integer(integer) => Value::Integer(integer.signed().into()),
            Scalar::Text(text) => Value::Text(text),
        }),
    });
    view.keys_of_rows(table.id, table.width, columns, resolved)
}
