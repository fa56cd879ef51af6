//! Following the primary's binary log, as a replica does: what was written by whomever, a moment after its commit. Owns
//! the task that follows and what it tells of itself; what a write raises is [`Raise`]'s business, what events look
//! like is `clonelove-wire`'s.

mod follow;
mod group;
mod raise;
mod statement;
mod stream;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use clonelove_route::position::Position;
use clonelove_sql::TableId;
use clonelove_wire::binlog::Integer;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

pub(super) use follow::keep;

use super::schema::Doubts;

/// Who is told what was written. Calls come in the order of the binary log, one at a time.
pub(crate) trait Raise: Send + Sync {
    /// A transaction was committed under this position. An XA transaction's writes come with its commit, and its
    /// preparation without any.
    fn committed(&self, position: &Position, writes: &Writes);

    /// What was written up to this position may not have been told: at the begin, and when the log could not be taken
    /// up where it was left.
    fn gap(&self, up_to: &Position);
}

/// What a transaction wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Writes {
    /// The tables, each once, in the order in which they first occur.
    pub(crate) tables: Vec<Written>,
    /// And any other.
    pub(crate) all_tables: bool,
    /// Definitions were changed: what of them is in doubt.
    pub(crate) doubts: Option<Doubts>,
    /// Accounts were changed, or their rights.
    pub(crate) accounts: bool,
}

/// A table that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    /// Schema and table, as the server names them.
    pub(crate) schema: Box<str>,
    /// The table.
    pub(crate) name: Box<str>,
    /// How both are known elsewhere.
    pub(crate) id: TableId,
    /// How many columns it has, where rows were logged.
    pub(crate) width: usize,
    /// What bounds the rows: each column by itself. Empty: nothing does.
    pub(crate) columns: Vec<Bound>,
    /// How it is known.
    pub(crate) by: By,
}

/// How it is known that a table was written. If in several ways, the last of them counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum By {
    /// Its rows were logged, and those that triggers wrote. Those of cascades are in no log of MariaDB's, and in none of
    /// MySQL's before 9.6.
    Rows,
    /// It was defined, emptied or dropped; what was then put into it reaches nothing else.
    Definition,
    /// A statement was logged that writes it. What its triggers and cascades wrote is not in the log.
    Statement,
}

/// A column in which every row that was written has one of these values, or NULL, before and after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bound {
    /// Its place in the table, from 0 up.
    pub(crate) place: usize,
    /// Its name, where the server says it.
    pub(crate) name: Option<Box<str>>,
    /// The values, each once.
    pub(crate) values: Vec<Scalar>,
}

/// A value that can be a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scalar {
    /// Of an integer column.
    Integer(Integer),
    /// Of a column of characters or bytes, in the column's character set, without trailing spaces for CHAR.
    Text(Box<[u8]>),
}

/// The state of following, for whoever asks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Following {
    /// Since when the log is followed without a break; `None`: it is not.
    pub(crate) since: Option<Instant>,
    /// When the server last said anything.
    pub(crate) last_heard: Option<Instant>,
    /// When it last said that something was written.
    pub(crate) last_write: Option<Instant>,
    /// Everything up to here was told.
    pub(crate) position: Option<Position>,
    /// The primary was seen to have more, and that is still not told.
    pub(crate) behind: bool,
    /// Why it is not followed, or was not the last time.
    pub(crate) why: Option<String>,
    /// Transactions told.
    pub(crate) transactions: u64,
    /// Connections made to follow.
    pub(crate) connections: u64,
    /// Times that [`Raise::gap`] was called.
    pub(crate) gaps: u64,
}

/// What the task tells of itself.
#[derive(Debug, Default)]
pub(crate) struct Follower {
    state: Mutex<Following>,
    /// Woken whenever more was told.
    more: Notify,
}

impl Follower {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// As of now.
    pub(crate) fn following(&self) -> Following {
        self.state.lock().clone()
    }

    /// Whether writes of others are told, as far as it can be known: the cause `binlog_behind` is in force otherwise.
    pub(crate) fn keeps_up(&self) -> bool {
        let state = self.state.lock();
        state.since.is_some() && !state.behind
    }

    /// Waits until everything up to a position was told, but not for long; whether it was.
    pub(crate) async fn has_told(&self, position: &Position, within: Duration) -> bool {
        let told = async {
            loop {
                let mut more = std::pin::pin!(self.more.notified());
                more.as_mut().enable();
                if self.state.lock().position.as_ref().is_some_and(|told| told.covers(position)) {
                    return;
                }
                more.await;
            }
        };
        timeout(within, told).await.is_ok()
    }
}

impl Writes {
    /// Gives the table's entry, made if there is none, and whether it was made.
    fn with_table(&mut self, schema: &str, name: &str, change: impl FnOnce(&mut Written, bool)) {
        let id = TableId::of(schema, name);
        match self.tables.iter_mut().find(|table| table.id == id) {
            Some(known) => change(known, false),
            None => {
                let (schema, name) = (schema.into(), name.into());
                let (columns, by) = (Vec::new(), By::Rows);
                let mut written = Written { schema, name, id, width: 0, columns, by };
                change(&mut written, true);
                self.tables.push(written);
            }
        }
    }

    /// Everything of another transaction's too.
    fn join(&mut self, other: Writes) {
        self.all_tables |= other.all_tables;
        self.accounts |= other.accounts;
        if let Some(doubts) = other.doubts {
            self.doubts.get_or_insert_default().add(&doubts);
        }
        for table in other.tables {
            match self.tables.iter_mut().find(|known| known.id == table.id) {
                Some(known) => {
                    known.columns.clear();
                    known.by = known.by.max(table.by);
                }
                None => self.tables.push(table),
            }
        }
    }
}
