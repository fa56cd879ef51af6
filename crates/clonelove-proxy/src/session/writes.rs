//! What the session's statements write, told to the watermarks before the client hears of it. Owns the transaction's
//! write set and the judgement of a reply that told no position; the watermarks are `freshness`'s.

use clonelove_route::failed::never_ran;
use clonelove_route::freshness::{Rules, Writes};
use clonelove_route::journal::Journal;
use clonelove_route::report::Flavour;
use clonelove_route::session::Heard;
use clonelove_sql::keys::{Keys, Session as KeySession};
use clonelove_sql::{Effect, Facts, Kind, Lexer, Resolved, TableId, Why};
use clonelove_wire::Caps;
use mysql_common::collations::Collation;

use super::ClientSession;
use super::statement::Statement;
use crate::by_client::Saying;
use crate::cluster::schema::View;
use crate::freshness::{Pending, Told};
use crate::settings::Freshness;

/// What an open transaction has written so far.
#[derive(Debug, Default)]
pub(super) struct Wrote {
    writes: Writes,
    /// Rows were changed.
    affected: bool,
}

/// What an XA statement does with its transaction, and its id as it was written.
enum Xa {
    Prepare(Vec<u8>),
    Commit(Vec<u8>, bool),
    Rollback(Vec<u8>),
    Other,
}

impl ClientSession {
    /// Marks what a statement may commit as under way, for as long as its reply is to come.
    pub(super) fn begin_write(&self, statement: &Statement) -> (Option<Pending>, Option<Saying>) {
        (self.begin_writing(statement), self.sets_read_only(statement))
    }

    fn begin_writing(&self, statement: &Statement) -> Option<Pending> {
        let mut writes = self.written(statement)?;
        if may_end_transaction(statement)
            && let Some(wrote) = &self.wrote
        {
            writes.add(&wrote.writes);
        }
        if let Some(Xa::Commit(xid, one_phase)) = xa(statement) {
            writes.add(&self.of_xa(&xid, one_phase));
        }
        // Without anything to write, a GTID may still come for something: it is looked at then.
        Some(self.shared.cluster.freshness.pending(writes))
    }

    fn of_xa(&self, xid: &[u8], one_phase: bool) -> Writes {
        let own = self.wrote.as_ref().filter(|_| one_phase).map(|wrote| wrote.writes.clone());
        let known = || self.shared.cluster.freshness.xa_writes(xid);
        let unknown = || if self.keeps(Rules::UNKNOWN_XA) { Writes::anything() } else { Writes::default() };
        own.or_else(known).unwrap_or_else(unknown)
    }

    /// What a statement writes by its words and the schema; `None`: nothing, whatever comes of it.
    fn written(&self, statement: &Statement) -> Option<Writes> {
        let facts = &statement.facts;
        if is_harmless(facts) {
            return None;
        }
        let view = self.shared.cluster.schema.view();
        let schema = statement.schema(self.state.schema.as_deref());
        let Some(view) = &*view else { return Some(Writes::anything()) };
        if let Some(resolved) = statement.resolved().filter(|_| statement.view == view.number) {
            return Some(self.of_resolved(view, statement, resolved));
        }
        Some(self.of_resolved(view, statement, &view.resolve(facts, schema)))
    }

    fn of_resolved(&self, view: &View, statement: &Statement, resolved: &Resolved) -> Writes {
        let facts = &statement.facts;
        // What a definition puts in doubt is what later statements do; itself, it writes what it names.
        let defines = facts.kind == Kind::Ddl && facts.functions.is_empty() && facts.parts.is_empty();
        let all = if defines { facts.all_tables } else { resolved.all_tables };
        let mut writes = Writes {
            all: all && !is_transaction_control(facts),
            definitions: resolved.changes_definitions,
            accounts: facts.effects.contains(&Effect::Accounts) && self.keeps(Rules::ACCOUNTS),
            ..Writes::default()
        };
        if facts.kind == Kind::Read && facts.why == Some(Why::UnknownTable) {
            // It may be a view that calls what writes.
            writes.all = true;
        }
        if !writes.all
            && let Some(keys) = self.keys_of_write(view, statement, resolved)
        {
            writes.keyed.push(keys);
            return writes;
        }
        let own: Vec<TableId> = self.own_temporary(statement);
        for table in resolved.written.iter().filter(|table| !own.contains(table)) {
            writes.add_table(table);
        }
        writes
    }

    /// The tables that a statement names and that are nobody else's.
    fn own_temporary(&self, statement: &Statement) -> Vec<TableId> {
        let facts = &statement.facts;
        let schema = statement.schema(self.state.schema.as_deref());
        let defines = facts.effects.iter().any(|effect| matches!(effect, Effect::CreateTemporary(_)));
        facts
            .tables_written
            .iter()
            .filter(|table| defines || self.state.pins.is_temporary(table, schema))
            .filter_map(|table| Some(TableId::of(table.schema.as_deref().or(schema)?, &table.name)))
            .collect()
    }

    fn keys_of_write(&self, view: &View, statement: &Statement, resolved: &Resolved) -> Option<Keys> {
        let only = resolved.written.len() == 1;
        let plain = statement.facts.kind == Kind::Write && self.keeps_keys() && only;
        if !plain || !self.own_temporary(statement).is_empty() {
            return None;
        }
        if let Some(prepared) = statement.executes() {
            return self.keys_of_execution(view, statement, prepared);
        }
        if let Some(keys) = statement.known_keys(view.number) {
            return keys.cloned();
        }
        let text = statement.text()?;
        view.keys_of_write(text, &statement.facts, resolved, self.key_session())
    }

    /// What bounds the rows that a read touches.
    pub(super) fn keys_of_read(&self, statement: &Statement) -> Option<Keys> {
        let view = self.shared.cluster.schema.view();
        if let Some(prepared) = statement.executes() {
            return self.keys_of_execution(view.as_ref()?, statement, prepared);
        }
        if let Some(keys) = statement.known_keys(view.as_ref()?.number) {
            return keys.cloned();
        }
        let text = statement.text()?;
        let resolved = statement.resolved()?;
        view.as_ref()?.keys_of_read(text, &statement.facts, resolved, self.key_session())
    }

    pub(super) fn keeps_keys(&self) -> bool {
        matches!(self.shared.settings.load().routing.freshness, Freshness::Key | Freshness::Strict)
    }

    pub(super) fn key_session(&self) -> KeySession<'_> {
        let plain_charsets = leaves_letters(self.response.charset, &self.state.journal);
        KeySession { dialect: &self.state.dialect, schema: self.state.schema.as_deref(), plain_charsets }
    }

    /// A reply has come from the primary, and the session has learnt from it: what it tells of writes is raised, and
    /// what it may have kept back is put in doubt.
    pub(super) fn end_write(&mut self, statement: &mut Statement, heard: &Heard, caps: Caps) {
        statement.saying = None;
        let pending = statement.pending.take();
        let Some(pending) = pending else {
            if let Some(position) = &heard.position {
                self.raise_unexpected(statement, position);
            }
            return;
        };
        let mut own = pending.writes.clone();
        // What the schema says now may reach further than what it said when this was sent.
        if let Some(now) = self.written_now(statement) {
            own.add(&now);
        }
        let (failed, affected) = (heard.failed, changed_rows(statement, heard, caps));
        let nothing_told = heard.position.is_none();
        let open = self.state.transaction.open;
        let ends = may_end_transaction(statement);
        let mut in_doubt = self.is_in_doubt(statement, heard);
        let mut unlogged = false;
        let wrote = self.wrote.take();
        if nothing_told && !failed && !in_doubt {
            let commits_something = ends && wrote.as_ref().is_some_and(|wrote| wrote.affected);
            in_doubt |= commits_something && !rolls_back(&statement.facts);
            if !open && wrote.is_none() && !own.is_empty() {
                let wanted = affected && statement.facts.kind == Kind::Write;
                let defined = statement.facts.kind == Kind::Ddl && heard.warnings == 0;
                let (certain, known) = (wanted || defined, !own.all && statement.facts.parts.is_empty());
                unlogged = certain && known && !is_opaque(&statement.facts);
                in_doubt |= certain && !unlogged;
            }
        }
        unlogged &= self.keeps(Rules::UNLOGGED);
        let wrote = wrote.filter(|_| self.keeps(Rules::TRANSACTION));
        self.note_xa(statement, &wrote, failed);
        let unseen = own.is_empty() && wrote.is_none() && self.keeps(Rules::TRANSACTION);
        if heard.position.is_some() && unseen && is_transaction_control(&statement.facts) {
            // Nobody saw what it committed.
            own = Writes::anything();
        }
        let told = Told { position: heard.position.as_ref(), in_doubt, unlogged };
        let goes_on = open && (!ends || failed);
        if goes_on {
            let mut wrote = wrote.unwrap_or_default();
            wrote.writes.add(&own);
            wrote.affected |= affected;
            pending.settle(Some(&wrote.writes), &told);
            let emptied = heard.position.is_some() && !self.keeps(Rules::KEPT_TO_THE_END);
            self.wrote = Some(if emptied { Box::default() } else { wrote });
        } else {
            own.add(&wrote.unwrap_or_default().writes);
            pending.settle(Some(&own), &told);
        }
    }

    fn written_now(&self, statement: &Statement) -> Option<Writes> {
        let generation = self.shared.cluster.schema.generation();
        let same = statement.generation == generation && statement.facts.kind != Kind::Ddl;
        if same || !self.keeps(Rules::SCHEMA_AT_REPLY) {
            return None;
        }
        self.written(statement)
    }

    /// Whether something may have been committed of which nothing was told.
    fn is_in_doubt(&self, statement: &Statement, heard: &Heard) -> bool {
        let facts = &statement.facts;
        if never_ran(statement.leaves, facts, heard) {
            return false;
        }
        let kept_back = heard.failed && self.keeps(Rules::DOUBT_AFTER_ERROR)
            || heard.plain_eofs && self.keeps(Rules::DOUBT_AFTER_PLAIN_EOF);
        // Of several commits in one statement only the last one's domain is told.
        let several = self.keeps(Rules::SEVERAL_COMMITS)
            && is_opaque(facts)
            && heard.position.is_some()
            && self.flavour() == Flavour::MariaDb;
        kept_back && !matches!(facts.kind, Kind::Session) || several
    }

    fn keeps(&self, rule: Rules) -> bool {
        self.shared.cluster.freshness.keeps(rule)
    }

    fn flavour(&self) -> Flavour {
        self.state.dialect.flavour
    }

    /// A position for something that was taken for no write at all.
    fn raise_unexpected(&mut self, statement: &Statement, position: &clonelove_route::position::Position) {
        let freshness = &self.shared.cluster.freshness;
        let mut writes = self.wrote.as_ref().map(|wrote| wrote.writes.clone()).unwrap_or_default();
        if writes.is_empty() && !is_transaction_control(&statement.facts) {
            writes = Writes::anything();
        }
        freshness.raise(&writes, position, freshness.era());
    }

    fn note_xa(&mut self, statement: &Statement, wrote: &Option<Box<Wrote>>, failed: bool) {
        let freshness = &self.shared.cluster.freshness;
        match xa(statement) {
            Some(Xa::Prepare(xid)) if !failed && self.keeps(Rules::XA) => {
                let writes = wrote.as_ref().map(|wrote| wrote.writes.clone());
                freshness.xa_prepared(xid, writes.unwrap_or_default());
            }
            Some(Xa::Commit(xid, _) | Xa::Rollback(xid)) if !failed => freshness.xa_ended(&xid),
            _ => {}
        }
    }
}

/// What reads, whatever it is kept on the primary for.
fn is_harmless(facts: &Facts) -> bool {
    let harmless = match (facts.kind, facts.why) {
        (Kind::Read, why) => {
            matches!(why, None | Some(Why::LockingRead | Why::PreviousStatement | Why::ServerSpecific))
                || why == Some(Why::SideEffect) && facts.effects.iter().all(is_user_lock)
        }
        _ => false,
    };
    harmless && facts.tables_written.is_empty() && facts.parts.is_empty() && facts.functions.is_empty()
}

/// GET_LOCK() and the like write nothing; a client that leaves while it waits for one wants it no more.
fn is_user_lock(effect: &Effect) -> bool {
    matches!(effect, Effect::GetLock(_) | Effect::ReleaseLock(_) | Effect::ReleaseAllLocks)
}

fn is_transaction_control(facts: &Facts) -> bool {
    matches!(facts.kind, Kind::Transaction | Kind::Session) && facts.parts.is_empty()
}

/// Whether a transaction may end with it: by its own words, or because definitions and the like commit.
fn may_end_transaction(statement: &Statement) -> bool {
    let facts = &statement.facts;
    match xa(statement) {
        None => {}
        Some(Xa::Other) => return false,
        Some(Xa::Prepare(_) | Xa::Commit(..) | Xa::Rollback(_)) => return true,
    }
    let savepoint = facts.effects.contains(&Effect::Savepoint);
    match facts.kind {
        Kind::Read | Kind::Write => is_opaque(facts),
        Kind::Transaction => !savepoint || !facts.parts.is_empty(),
        Kind::Session | Kind::Ddl | Kind::Admin | Kind::Unknown => true,
    }
}

fn rolls_back(facts: &Facts) -> bool {
    facts.effects.iter().any(|effect| matches!(effect, Effect::Rollback { .. }))
}

/// It may commit several times.
fn is_opaque(facts: &Facts) -> bool {
    let runs = |effect: &Effect| matches!(effect, Effect::Call(_) | Effect::ExecuteText(_));
    facts.kind == Kind::Unknown || !facts.parts.is_empty() || facts.effects.iter().any(runs)
}

/// Whether rows were changed. Clients that asked for FOUND_ROWS are told of those that were found; an UPDATE then says
/// in its text how many it changed, and an INSERT that updates does not say it at all.
fn changed_rows(statement: &Statement, heard: &Heard, caps: Caps) -> bool {
    if heard.affected == 0 {
        return false;
    }
    if !caps.contains(Caps::FOUND_ROWS) {
        return true;
    }
    match heard.changed {
        Some(changed) => changed > 0,
        None => {
            !statement.sql().windows(b"DUPLICATE".len()).any(|word| word.eq_ignore_ascii_case(b"DUPLICATE"))
        }
    }
}

/// Whether printable ASCII stays as it is, in a session that logged in with this collation and made these settings.
pub(super) fn leaves_letters(charset: u8, settings: &Journal) -> bool {
    Collation::resolve(u16::from(charset).into()).charset() != "swe7" && !settings.changes_letters()
}

/// The verb of an XA statement and its transaction's id: all that follows, but for white space.
fn xa(statement: &Statement) -> Option<Xa> {
    if !statement.facts.effects.contains(&Effect::Xa) {
        return None;
    }
    let dialect = clonelove_sql::Dialect::default();
    let sql = statement.sql();
    let mut tokens = Lexer::new(sql, &dialect);
    let mut next = || tokens.next().and_then(|token| sql.get(token.range)).unwrap_or_default();
    let (first, verb) = (next(), next());
    if !first.eq_ignore_ascii_case(b"XA") {
        return Some(Xa::Other);
    }
    let mut xid = Vec::new();
    loop {
        let word = next();
        if word.is_empty() || word == b";" {
            break;
        }
        xid.extend_from_slice(word);
        xid.push(b' ');
    }
    let is = |word: &[u8]| verb.eq_ignore_ascii_case(word);
    let one_phase = xid.to_ascii_uppercase().ends_with(b"ONE PHASE ");
    if one_phase {
        xid.truncate(xid.len().saturating_sub(b"ONE PHASE ".len()));
    }
    Some(match () {
        () if is(b"PREPARE") => Xa::Prepare(xid),
        () if is(b"COMMIT") => Xa::Commit(xid, one_phase),
        () if is(b"ROLLBACK") => Xa::Rollback(xid),
        () => Xa::Other,
    })
}
