//! What is known of the definitions of tables, views, routines and triggers: the last snapshot of them, and what of it
//! is in doubt since. Owns when a snapshot may still be believed, and who asks for the next one; how it is read is
//! `read`'s, what follows from definitions is `clonelove-sql`'s.

mod once;
mod read;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwapOption, Guard};
use clonelove_sql::keys::{self, Keys, Plan};
use clonelove_sql::schema::{Counts, MissingGrant};
use clonelove_sql::{
    Context, Facts, FactsCache, Kind, Known, Leaves, Resolved, Schema, Scratch, TableId, TableName, Why,
};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

pub use once::{Told, explain_schema};
pub(super) use read::keep;

use crate::metrics::Metrics;

/// How long the first clients wait for the first snapshot.
const FIRST_WITHIN: Duration = Duration::from_secs(2);
/// More changes than this at once are not told apart: everything is in doubt then.
const MOST_CHANGES: usize = 256;
/// More unknown names than this are not remembered between two readings.
const MOST_ASKED: usize = 16;

/// The definitions, as all sessions see them.
pub(crate) struct Definitions {
    view: ArcSwapOption<View>,
    state: Mutex<State>,
    nudge: Notify,
    numbers: AtomicU64,
    /// The first reading came to its end, good or bad.
    tried: watch::Sender<bool>,
    metrics: Arc<Metrics>,
}

/// A snapshot, and what of it is in doubt.
pub(crate) struct View {
    schema: Arc<Schema>,
    doubts: Doubts,
    /// Grows with each snapshot that differs from the one before.
    pub(crate) generation: u64,
    /// Another one for each view: with the same, statements are resolved alike.
    pub(crate) number: u64,
    read_at: Instant,
    counts: Counts,
    missing: Arc<[MissingGrant]>,
}

/// Definitions that may have changed since the snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Doubts {
    /// All of them.
    all: bool,
    /// What views, routines and triggers do.
    derived: bool,
    /// How far writes reach: cascades and triggers.
    wider: bool,
    /// What bears these names.
    tables: Vec<TableId>,
    /// The columns and keys of these, which are tables, or gone.
    columns: Vec<TableId>,
}

#[derive(Default)]
struct State {
    next: u64,
    changes: Vec<Change>,
    /// Names that reads asked for in vain.
    asked: Vec<TableId>,
    wish: Wish,
}

/// Whether a new snapshot is wanted before its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Wish {
    #[default]
    No,
    /// Something may have changed.
    Perhaps,
    /// Something changed.
    Certainly,
}

/// A statement that changes definitions.
struct Change {
    id: u64,
    doubts: Doubts,
    ended: bool,
}

/// Held while a statement that changes definitions is under way; what it names stays in doubt until a snapshot that was
/// begun after its end.
pub(crate) struct Changing {
    definitions: Arc<Definitions>,
    id: u64,
}

/// What a reading takes with it from its beginning to its end.
struct Reading {
    /// Changes that were over when it began.
    over: Vec<u64>,
    asked: Vec<TableId>,
}

impl Definitions {
    pub(super) fn new(metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            view: ArcSwapOption::empty(),
            state: Mutex::default(),
            nudge: Notify::new(),
            numbers: AtomicU64::new(0),
            tried: watch::Sender::new(false),
            metrics,
        })
    }

    /// Whether clients need not wait for the first reading any more.
    pub(crate) fn was_tried(&self) -> bool {
        *self.tried.borrow()
    }

    /// Waits until the first reading came to its end, but not for long: clients are better served without it than not.
    pub(super) async fn first_reading(&self) {
        let mut tried = self.tried.subscribe();
        let read = tried.wait_for(|tried| *tried);
        let _ = timeout(FIRST_WITHIN, read).await;
    }

    /// The snapshot, if one was read.
    pub(crate) fn view(&self) -> Guard<Option<Arc<View>>> {
        self.view.load()
    }

    /// The number of the snapshot; 0 before the first.
    pub(crate) fn generation(&self) -> u64 {
        self.view.load().as_ref().map_or(0, |view| view.generation)
    }

    /// A statement that changes definitions is about to be sent.
    pub(crate) fn changing(self: &Arc<Self>, doubts: Doubts) -> Changing {
        let mut state = self.state.lock();
        let id = state.next;
        state.next = id.wrapping_add(1);
        state.changes.push(Change { id, doubts, ended: false });
        self.show_doubts(&state);
        Changing { definitions: Arc::clone(self), id }
    }

    fn ended(&self, id: u64) {
        let mut state = self.state.lock();
        if let Some(change) = state.changes.iter_mut().find(|change| change.id == id) {
            change.ended = true;
        }
        let over = |change: &&Change| change.ended;
        if state.changes.iter().filter(over).count() > MOST_CHANGES {
            state.changes.retain(|change| !change.ended);
            let doubts = Doubts { all: true, ..Doubts::default() };
            state.changes.push(Change { id, doubts, ended: true });
            self.show_doubts(&state);
        }
        state.wish = Wish::Certainly;
        drop(state);
        self.nudge.notify_one();
    }

    /// Something that ran may have changed definitions, or what the monitoring account sees of them.
    pub(crate) fn ask(&self, certainly: bool) {
        let wish = if certainly { Wish::Certainly } else { Wish::Perhaps };
        let mut state = self.state.lock();
        if state.wish < wish {
            state.wish = wish;
            self.nudge.notify_one();
        }
    }

    /// A statement named tables that the snapshot does not hold.
    pub(crate) fn ask_for(&self, tables: impl Iterator<Item = TableId>) {
        let mut state = self.state.lock();
        for table in tables {
            if state.asked.len() < MOST_ASKED && !state.asked.contains(&table) {
                state.asked.push(table);
            }
        }
        if state.wish < Wish::Perhaps {
            state.wish = Wish::Perhaps;
            self.nudge.notify_one();
        }
    }

    fn wish(&self) -> Wish {
        self.state.lock().wish
    }

    /// A reading begins: what is wanted from now on is wanted of the next one.
    fn begin(&self) -> Reading {
        let mut state = self.state.lock();
        state.wish = Wish::No;
        let over = state.changes.iter().filter(|change| change.ended).map(|change| change.id).collect();
        Reading { over, asked: std::mem::take(&mut state.asked) }
    }

    /// A reading came to its end; `current`: of a server that has all changes that were over when it began. Answers
    /// whether it brought anything new.
    fn publish(&self, schema: Schema, reading: &Reading, current: bool) -> bool {
        let mut state = self.state.lock();
        if current {
            state.changes.retain(|change| !reading.over.contains(&change.id));
        }
        let before = self.view.load_full();
        let known = before.as_ref().filter(|before| *before.schema == schema);
        let changed = known.is_none();
        let found = reading.asked.iter().any(|id| schema.table(*id).is_some());
        let view = View {
            counts: schema.counts(),
            missing: match known {
                Some(before) => Arc::clone(&before.missing),
                None => schema.missing_grants().into(),
            },
            schema: known.map_or_else(|| Arc::new(schema), |before| Arc::clone(&before.schema)),
            doubts: state.doubts(),
            generation: before
                .as_ref()
                .map_or(0, |before| before.generation)
                .wrapping_add(u64::from(changed)),
            number: self.next_number(),
            read_at: Instant::now(),
        };
        let view = Arc::new(view);
        self.view.store(Some(Arc::clone(&view)));
        drop(state);
        self.tell(before.as_deref(), &view);
        changed || found
    }

    /// One log line for a change, and one for each grant that is missing now.
    fn tell(&self, before: Option<&View>, view: &View) {
        self.metrics.schema_refreshed(true);
        self.metrics.degraded_no_privilege.set(i64::from(!view.missing.is_empty()));
        if before.is_some_and(|before| before.generation == view.generation) {
            return;
        }
        let Counts { tables, views, routines, triggers } = view.counts;
        tracing::info!(
            tables,
            views,
            routines,
            triggers,
            "the definitions of tables and routines changed, or are known now"
        );
        if before.is_some_and(|before| before.missing == view.missing) {
            return;
        }
        for MissingGrant { cause, hint } in &*view.missing {
            tracing::warn!(
                unseen = cause.as_str(),
                mend = %hint,
                "the monitoring account may not see all definitions: what is not seen is unknown"
            );
        }
        if view.missing.is_empty() && before.is_some_and(|before| !before.missing.is_empty()) {
            tracing::info!("the monitoring account sees all definitions now");
        }
    }

    fn show_doubts(&self, state: &State) {
        let Some(view) = self.view.load_full() else { return };
        let View { generation, read_at, counts, .. } = *view;
        let (schema, missing) = (Arc::clone(&view.schema), Arc::clone(&view.missing));
        let doubts = state.doubts();
        let number = self.next_number();
        let view = View { schema, doubts, generation, number, read_at, counts, missing };
        self.view.store(Some(Arc::new(view)));
    }

    fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
    }

    /// Whether a change that is over is still to be read.
    fn in_doubt(&self) -> bool {
        self.state.lock().changes.iter().any(|change| change.ended)
    }
}

impl State {
    fn doubts(&self) -> Doubts {
        let mut whole = Doubts::default();
        for Change { doubts, .. } in &self.changes {
            whole.add(doubts);
        }
        whole
    }
}

impl View {
    /// What a statement is and touches, as far as can be said at this moment. What the monitoring account may not see is
    /// taken for base tables, as without a snapshot: only what would be seen is missed. Where `all_tables` is set, keys
    /// must not be taken from the snapshot: columns may have changed.
    pub(crate) fn resolve(&self, facts: &Facts, schema: Option<&str>) -> Resolved {
        let mut resolved = self.schema.resolve_leniently(facts, schema, &self.doubts.columns);
        if self.doubts != Doubts::default() {
            self.doubts.cast_on(facts, &mut resolved);
        }
        resolved
    }

    /// Those of a statement's unknown tables that a new snapshot may hold.
    pub(crate) fn missed<'a>(
        &'a self,
        unknown: impl Iterator<Item = &'a TableName> + 'a,
        schema: Option<&'a str>,
    ) -> impl Iterator<Item = TableId> + 'a {
        let id = move |table: &TableName| Some(TableId::of(table.schema.as_deref().or(schema)?, &table.name));
        unknown.filter_map(id).filter(|id| self.schema.table(*id).is_none())
    }

    /// `schema.table`, of one that it holds.
    pub(crate) fn name(&self, id: TableId) -> Option<String> {
        self.schema.table(id).map(|table| format!("{}.{}", table.schema, table.name))
    }

    /// What bounds the rows that a read touches; `resolved` is what [`View::resolve`] said of it.
    pub(crate) fn keys_of_read(
        &self,
        sql: &[u8],
        facts: &Facts,
        resolved: &Resolved,
        session: keys::Session<'_>,
    ) -> Option<Keys> {
        if resolved.all_tables || resolved.derived {
            return None;
        }
        keys::of_read(sql, facts, &self.schema, session)
    }

    /// What bounds the rows that a write touches, before and after.
    pub(crate) fn keys_of_write(
        &self,
        sql: &[u8],
        facts: &Facts,
        resolved: &Resolved,
        session: keys::Session<'_>,
    ) -> Option<Keys> {
        if resolved.all_tables || self.doubts.wider {
            return None;
        }
        keys::of_write(sql, facts, &self.schema, session)
    }

    /// Where the values stand that bound what a statement touches, if it is to be executed with others for its parameters.
    pub(crate) fn plan(
        &self,
        sql: &[u8],
        facts: &Facts,
        resolved: &Resolved,
        session: keys::Session<'_>,
    ) -> Option<Plan> {
        let as_written = (resolved.kind, resolved.why) == (facts.kind, facts.why);
        let reads = facts.kind == Kind::Read && !resolved.derived;
        let writes = facts.kind == Kind::Write && !self.doubts.wider && resolved.written.len() == 1;
        if resolved.all_tables || !as_written || !(reads || writes) {
            return None;
        }
        keys::plan(sql, facts, &self.schema, session)
    }

    /// What bounds rows that were written to a table of so many columns, by the values in them.
    pub(crate) fn keys_of_rows<'a, V: Iterator<Item = keys::Bound<'a>>>(
        &self,
        table: TableId,
        width: usize,
        columns: impl Iterator<Item = keys::RowColumn<'a, V>>,
        resolved: &Resolved,
    ) -> Option<Keys> {
        if resolved.all_tables || self.doubts.wider {
            return None;
        }
        keys::of_rows((table, width), columns, &self.schema)
    }

    /// What is known of a statement: from the cache, or by analysis.
    pub(crate) fn look_up(
        &self,
        cache: &FactsCache,
        sql: &[u8],
        session: keys::Session<'_>,
        scratch: &mut Scratch,
    ) -> Arc<Known> {
        let context = Context { session, schema: Some(&self.schema), snapshot: self.number };
        cache.look_up(sql, context, scratch, |facts| self.resolve(facts, session.schema)).known
    }

    /// When it was read.
    pub(crate) fn read_at(&self) -> Instant {
        self.read_at
    }

    /// How much it holds.
    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// Privileges without which parts of it are unknown.
    pub(crate) fn missing(&self) -> &[MissingGrant] {
        &self.missing
    }
}

impl Doubts {
    /// What a statement may change, if it changes definitions; `schema` is its session's.
    pub(crate) fn of(sql: &[u8], facts: &Facts, schema: Option<&str>) -> Option<Doubts> {
        let statements = if facts.parts.is_empty() { std::slice::from_ref(facts) } else { &facts.parts };
        let mut whole = None;
        for facts in statements.iter().filter(|facts| facts.kind == Kind::Ddl && !truncates(sql, facts)) {
            let doubts: &mut Doubts = whole.get_or_insert_default();
            let of_table = !facts.all_tables && is_of_table(sql, facts);
            doubts.derived |= !of_table;
            doubts.wider |= !of_table || has_word(sql, &[b"REFERENCES"]);
            doubts.all |= facts.all_tables && !is_program(sql, facts);
            let names = if of_table { &mut doubts.columns } else { &mut doubts.tables };
            for table in &facts.tables_written {
                match table.schema.as_deref().or(schema) {
                    Some(schema) => names.push(TableId::of(schema, &table.name)),
                    None => doubts.all = true,
                }
            }
        }
        whole
    }

    /// All definitions.
    pub(crate) fn of_everything() -> Doubts {
        Doubts { all: true, ..Doubts::default() }
    }

    pub(crate) fn add(&mut self, other: &Doubts) {
        self.all |= other.all;
        self.derived |= other.derived;
        self.wider |= other.wider;
        self.tables.extend_from_slice(&other.tables);
        self.columns.extend_from_slice(&other.columns);
    }

    /// Takes for unknown what may have changed.
    fn cast_on(&self, facts: &Facts, resolved: &mut Resolved) {
        let among = |names: &[TableId]| {
            resolved.read.iter().chain(resolved.written.iter()).any(|id| names.contains(&id))
        };
        let (named, columns) = (among(&self.tables), among(&self.columns));
        let derived = self.derived && resolved.derived;
        let wider = self.wider && !resolved.written.is_empty();
        let in_doubt = self.all || named || derived;
        resolved.all_tables |= in_doubt || columns || wider;
        if !in_doubt {
            return;
        }
        resolved.leaves =
            if resolved.leaves == Leaves::Something { Leaves::Something } else { Leaves::Unknown };
        if resolved.why.is_some() || resolved.read.is_empty() && !resolved.derived {
            return;
        }
        let calls = |facts: &Facts| !facts.functions.is_empty();
        if calls(facts) || facts.parts.iter().any(calls) {
            (resolved.kind, resolved.why) = (Kind::Write, Some(Why::UnknownFunction));
        } else {
            resolved.why = Some(Why::UnknownTable);
        }
    }
}

impl Drop for Changing {
    fn drop(&mut self) {
        self.definitions.ended(self.id);
    }
}

/// CREATE, ALTER and DROP TABLE, and indexes: what they name is a table whose rows are its own, or is gone.
fn is_of_table(sql: &[u8], facts: &Facts) -> bool {
    let mut words =
        sql.get(facts.token.clone().map_or(0, |token| token.start)..).unwrap_or_default().split(is_no_letter);
    let mut next = || words.find(|word| !word.is_empty()).unwrap_or_default();
    let is = |word: &[u8], list: &[&str]| list.iter().any(|one| word.eq_ignore_ascii_case(one.as_bytes()));
    if !is(next(), &["CREATE", "ALTER", "DROP"]) {
        return false;
    }
    let mut object = next();
    while is(object, &["OR", "REPLACE", "ONLINE", "IGNORE", "UNIQUE", "FULLTEXT", "SPATIAL"]) {
        object = next();
    }
    // What has another engine, computes with variables or is renamed may be anything.
    is(object, &["TABLE", "TABLES", "INDEX"])
        && !sql.contains(&b'@')
        && !sql.contains(&b';')
        && !has_word(sql, &[b"RENAME", b"LIKE", b"CONNECTION", b"UNION", b"EXCHANGE"])
        && of_plain_engine(sql)
}

/// A routine, trigger or event whose body has several statements: only what stands between its semicolons might be a
/// further statement that defines.
fn is_program(sql: &[u8], facts: &Facts) -> bool {
    let start = facts.token.clone().map_or(0, |token| token.start);
    let text = sql.get(start..).unwrap_or_default();
    let behind = text.iter().position(|byte| *byte == b';').and_then(|at| text.get(at..)).unwrap_or_default();
    has_word(text, &[b"PROCEDURE", b"FUNCTION", b"TRIGGER", b"EVENT", b"PACKAGE"])
        && !has_word(behind, &[b"CREATE", b"ALTER", b"DROP", b"RENAME"])
}

/// Whether every ENGINE that it names is one whose rows are the table's own.
fn of_plain_engine(sql: &[u8]) -> bool {
    const PLAIN: [&[u8]; 6] = [b"INNODB", b"MYISAM", b"ARIA", b"MEMORY", b"HEAP", b"ARCHIVE"];
    let mut words = sql.split(is_no_letter).filter(|word| !word.is_empty());
    while let Some(word) = words.next() {
        if word.eq_ignore_ascii_case(b"ENGINE") {
            let name = words.next().unwrap_or_default();
            if !PLAIN.iter().any(|plain| name.eq_ignore_ascii_case(plain)) {
                return false;
            }
        }
    }
    true
}

fn has_word(sql: &[u8], list: &[&[u8]]) -> bool {
    sql.split(is_no_letter).any(|word| list.iter().any(|one| word.eq_ignore_ascii_case(one)))
}

fn is_no_letter(byte: &u8) -> bool {
    !byte.is_ascii_alphabetic() && *byte != b'_'
}

/// TRUNCATE counts as a definition to servers; it changes none.
fn truncates(sql: &[u8], facts: &Facts) -> bool {
    let word = facts.token.clone().and_then(|token| sql.get(token));
    word.is_some_and(|word| word.eq_ignore_ascii_case(b"TRUNCATE"))
}

#[cfg(test)]
mod tests;
