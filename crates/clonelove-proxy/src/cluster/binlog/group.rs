//! From events to transactions: which events are committed together, under which position, and what they wrote. Owns
//! the groups of both families, and what was prepared by XA and is yet to be committed; pure.

use std::collections::HashMap;

use clonelove_route::position::Position;
use clonelove_route::report::Flavour;
use clonelove_wire::binlog::{Event, Gtid, Query, Rows, Value};

use super::statement::Reader;
use super::{Bound, Scalar, Writes, Written};

/// More tables than this in one transaction are not told apart.
const MOST_TABLES: usize = 4096;
/// More values than this of one column, and it bounds nothing.
const MOST_VALUES: usize = 256;
/// A longer value bounds nothing.
const LONGEST_VALUE: usize = 768;
/// More XA transactions than this are not remembered: committing them then touches all tables.
const MOST_PREPARED: usize = 4096;

/// What the events so far came to.
#[derive(Debug)]
pub(super) struct Groups {
    reader: Reader,
    /// Whether the values of columns are wanted.
    keys: bool,
    open: Option<Group>,
    /// By their names, as the server writes them, in lower case.
    prepared: HashMap<String, Writes>,
}

/// Something to tell.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// A transaction was committed.
    Committed(Position, Writes),
    /// Something was written that has no position, or is not in the log at all.
    Unplaced,
}

#[derive(Debug)]
struct Group {
    /// `None`: the server gave it none.
    position: Option<Position>,
    /// Something says where it ends; else it is one statement.
    begun: bool,
    writes: Writes,
}

impl Groups {
    pub(super) fn new(reader: Reader, keys: bool) -> Self {
        Self { reader, keys, open: None, prepared: HashMap::new() }
    }

    /// The stream begins anew with the transaction that was not at its end.
    pub(super) fn break_off(&mut self) {
        self.open = None;
    }

    /// Takes one event in.
    pub(super) fn event(&mut self, event: Event<'_>, told: &mut Vec<Step>) {
        match event {
            Event::Gtid(gtid) => {
                self.end(told);
                self.begin(gtid, told);
            }
            Event::Query(query) => self.query(&query, told),
            Event::Rows(rows) => {
                let keys = self.keys;
                self.writes(told, |writes| add_rows(writes, &rows, keys));
            }
            Event::Commit | Event::XaPrepare { one_phase: true, .. } => self.end(told),
            Event::XaPrepare { one_phase: false, xid } => self.prepare(xid, told),
            Event::Unknown(_) => self.writes(told, |writes| writes.all_tables = true),
            Event::Incident => told.push(Step::Unplaced),
            Event::Heartbeat => {}
        }
    }

    fn begin(&mut self, gtid: Option<Gtid>, told: &mut Vec<Step>) {
        let begun = matches!(&gtid, Some(Gtid::MariaDb(gtid)) if !gtid.standalone);
        let position = gtid.as_ref().and_then(|gtid| position(self.reader.flavour, gtid));
        if gtid.is_some() && position.is_none() {
            told.push(Step::Unplaced);
        }
        self.open = Some(Group { position, begun, writes: Writes::default() });
    }

    /// What is written outside any group has no position.
    fn writes(&mut self, told: &mut Vec<Step>, change: impl FnOnce(&mut Writes)) {
        match &mut self.open {
            Some(group) => {
                change(&mut group.writes);
                if group.writes.tables.len() > MOST_TABLES {
                    group.writes.tables = Vec::new();
                    group.writes.all_tables = true;
                }
            }
            None => told.push(Step::Unplaced),
        }
    }

    fn query(&mut self, query: &Query<'_>, told: &mut Vec<Step>) {
        match Control::of(query.text) {
            Control::Begin => {
                if let Some(group) = &mut self.open {
                    group.begun = true;
                }
            }
            Control::End => self.end(told),
            Control::XaEnds(xid) => {
                // What was prepared before we followed may have written anything.
                let anything = || Writes { all_tables: true, ..Writes::default() };
                let prepared = self.prepared.remove(&xid).unwrap_or_else(anything);
                self.writes(told, |writes| writes.join(prepared));
                self.end(told);
            }
            Control::Within => {}
            Control::None => {
                let reader = self.reader;
                self.writes(told, |writes| reader.add(query, writes));
                if self.open.as_ref().is_some_and(|group| !group.begun) {
                    self.end(told);
                }
            }
        }
    }

    /// The group is complete: its writes can be seen from now on.
    fn end(&mut self, told: &mut Vec<Step>) {
        if let Some(group) = self.open.take() {
            told.push(match group.position {
                Some(position) => Step::Committed(position, group.writes),
                None => Step::Unplaced,
            });
        }
    }

    /// The group is complete, and nothing of it can be seen before it is committed.
    fn prepare(&mut self, xid: String, told: &mut Vec<Step>) {
        if let Some(group) = &mut self.open {
            let writes = std::mem::take(&mut group.writes);
            if self.prepared.len() < MOST_PREPARED {
                self.prepared.insert(xid, writes);
            }
        }
        self.end(told);
    }
}

/// The position that has this GTID and nothing else.
fn position(flavour: Flavour, gtid: &Gtid) -> Option<Position> {
    Position::parse(flavour, &gtid.to_string()).ok()
}

/// What a statement does to its group. Servers write these themselves, always in the same form.
#[derive(Debug, PartialEq, Eq)]
enum Control {
    None,
    /// BEGIN, XA START.
    Begin,
    /// COMMIT; ROLLBACK, of a group in which something remains.
    End,
    /// XA COMMIT, XA ROLLBACK of a name.
    XaEnds(String),
    /// It neither begins nor ends it, and writes nothing.
    Within,
}

impl Control {
    fn of(text: &[u8]) -> Self {
        let after = |prefix: &str| {
            let (head, rest) = text.split_at_checked(prefix.len())?;
            head.eq_ignore_ascii_case(prefix.as_bytes()).then(|| rest.trim_ascii())
        };
        let is = |word: &str| text.eq_ignore_ascii_case(word.as_bytes());
        if is("BEGIN") || is("START TRANSACTION") || after("XA START ").is_some() {
            return Control::Begin;
        }
        if is("COMMIT") || is("ROLLBACK") {
            return Control::End;
        }
        if let Some(xid) = after("XA COMMIT ").or_else(|| after("XA ROLLBACK ")) {
            return Control::XaEnds(String::from_utf8_lossy(xid).to_ascii_lowercase());
        }
        let within = ["XA END ", "SAVEPOINT ", "ROLLBACK TO ", "RELEASE SAVEPOINT "];
        if within.iter().any(|prefix| after(prefix).is_some()) { Control::Within } else { Control::None }
    }
}

fn add_rows(writes: &mut Writes, rows: &Rows<'_>, keys: bool) {
    let Some(table) = &rows.table else {
        writes.all_tables = true;
        return;
    };
    writes.with_table(&table.schema, &table.table, |written, new| {
        let wanted = keys && (new || !written.columns.is_empty());
        if wanted && bound(written, rows, new).is_none() {
            written.columns = Vec::new();
        }
    });
}

/// Takes the values of more rows in; `None` if nothing bounds them.
fn bound(written: &mut Written, rows: &Rows<'_>, mut new: bool) -> Option<()> {
    let mut changes = rows.changes()?;
    while let Some(change) = changes.next() {
        let change = change.ok()?;
        let cells: Vec<_> = change.cells().collect();
        if std::mem::take(&mut new) {
            let names = changes.names().map(|name| name.map(Into::into));
            written.width = cells.len();
            written.columns =
                names.enumerate().map(|(place, name)| Bound { place, name, values: Vec::new() }).collect();
        }
        let was = change.before.is_some();
        written.columns.retain_mut(|column| {
            let Some(cell) = cells.get(column.place) else { return false };
            // Left out of the image after: as it was. Left out of the one before: it could have been anything.
            let known = if was { cell.before.is_some() } else { cell.after.is_some() };
            known && [cell.before, cell.after].iter().flatten().all(|value| column.take(value))
        });
        if written.columns.is_empty() {
            return None;
        }
    }
    Some(())
}

impl Bound {
    /// Takes a value in; false if it cannot bound.
    fn take(&mut self, value: &Value<'_>) -> bool {
        let scalar = match value {
            Value::Null => return true,
            Value::Integer(integer) => Scalar::Integer(*integer),
            Value::Text(text) if text.len() <= LONGEST_VALUE => Scalar::Text((*text).into()),
            Value::Text(_) | Value::Other => return false,
        };
        if self.values.contains(&scalar) {
            return true;
        }
        self.values.push(scalar);
        self.values.len() <= MOST_VALUES
    }
}
