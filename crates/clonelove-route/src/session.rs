//! What is known of one client session: the facts that routing needs, learnt from what the servers
//! said. Owns no connection and sends nothing.

use clonelove_sql::{
    Charset, Dialect, Effect, Facts, Flavour, Kind, Leaves, Lexer, Modes, Previous, Setting, Value,
    text_to_prepare,
};

use crate::failed::never_ran;
use crate::found_rows::{Found, calculates_found_rows, found_rows};
use crate::journal::{Carry, Journal, Unportable};
use crate::pins::{Pin, Pins, Text};
use crate::position::Position;
use crate::words::{begins_with, changes_password, ends_xa, is_kept_for};

/// The transaction flags of a server's last reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// A transaction is open.
    pub open: bool,
    /// autocommit is on.
    pub autocommit: bool,
}

impl Default for Transaction {
    fn default() -> Self {
        Self { open: false, autocommit: true }
    }
}

/// Which of the session's connections ran a statement. Replicas by their index in the topology.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ran {
    /// None yet.
    Nowhere,
    /// The primary connection.
    Primary,
    /// The connection to this replica.
    Replica(usize),
}

/// What the session wrote, as far as reads of its own must reflect it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum OwnWrites {
    /// Nothing.
    #[default]
    None,
    /// Up to this position.
    Known(Position),
    /// A write whose position its reply did not tell: the primary must be asked.
    Unknown,
}

impl OwnWrites {
    /// A reply told the position of a write.
    pub fn raise(&mut self, position: &Position) {
        match self {
            OwnWrites::None => *self = OwnWrites::Known(position.clone()),
            OwnWrites::Known(known) => {
                known.union(position);
                // Single GTIDs among those of others do not merge: the primary's whole set is shorter.
                if known.len() > MOST_SCATTERED {
                    *self = OwnWrites::Unknown;
                }
            }
            OwnWrites::Unknown => {}
        }
    }
}

/// A position of more pieces than this is asked for anew.
const MOST_SCATTERED: usize = 64;

/// What the statement before left for the next one to ask for, as a server would answer it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Traces {
    /// ROW_COUNT().
    pub row_count: i64,
    /// FOUND_ROWS().
    pub found_rows: u64,
    /// LAST_INSERT_ID(), as last asked for.
    pub last_insert_id: u64,
    /// It may have moved since: the connection that ran the last statement knows.
    pub last_insert_id_moved: bool,
    /// So may FOUND_ROWS(), by rows that were selected into a table, not sent for their LIMIT, or not counted.
    pub found_rows_moved: bool,
}

/// A connection that keeps what the last statement left, until the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// What for.
    pub pin: Pin,
    /// Which.
    pub ran: Ran,
}

/// What has to be done about a setting before another connection can have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Nothing.
    Nothing,
    /// It may be remembered: said again in the same state, it leads to this one.
    Learn(Journal),
    /// These variables are to be read back where it ran; until then it is pinned.
    ReadBack(Vec<String>),
}

/// One client session.
#[derive(Clone, Debug)]
pub struct Session {
    /// The default schema, as the server last said.
    pub schema: Option<String>,
    /// How its statements are to be read.
    pub dialect: Dialect,
    /// The server's word on transactions.
    pub transaction: Transaction,
    /// The connection an open transaction lives on; else the one that ran the last statement.
    pub ran: Ran,
    /// State that ties it to its primary connection.
    pub pins: Pins,
    /// Settings that other connections must hear.
    pub journal: Journal,
    /// What the last statement left behind.
    pub traces: Traces,
    /// A connection is kept for what the last statement left there.
    pub held: Option<Held>,
    /// Variables whose values are still to be read back.
    pub unread: Vec<String>,
    /// What its own reads must reflect.
    pub own_writes: OwnWrites,
    /// SET TRANSACTION for the next transaction is waiting for that transaction.
    pub once: bool,
    /// The replica that served its last read.
    pub last_replica: Option<usize>,
    /// What that replica was known to have then.
    pub seen: Option<std::sync::Arc<Position>>,
    /// Everything to the primary, by configuration of the user or the listener.
    pub primary_only: bool,
    /// The password was changed: the connection that it has may be the last that its log-in opened, also after a reset.
    pub login_is_old: bool,
}

/// What a reply said, as far as the session's state goes.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// The last status flags, if there were any.
    pub transaction: Option<Transaction>,
    /// The reply ended in an error packet.
    pub failed: bool,
    /// Its code.
    pub error: Option<u16>,
    /// The routine that does not exist, as the error's text names it.
    pub missing: Option<Box<[u8]>>,
    /// A new default schema; `Some(None)` when it was dropped.
    pub schema: Option<Option<String>>,
    /// A new sql_mode, as far as it changes how statements are read.
    pub modes: Option<Modes>,
    /// A new character_set_client.
    pub charset: Option<Charset>,
    /// Session state changed in a way that only its fact was reported.
    pub state_changed: bool,
    /// GTIDs of all parts of the reply.
    pub position: Option<Position>,
    /// Rows affected, all parts together.
    pub affected: u64,
    /// Rows affected, as the last part says.
    pub affected_last: u64,
    /// The last insert id that was not 0; 0 when there was none.
    pub insert_id: u64,
    /// Warnings, as the last part says.
    pub warnings: u16,
    /// Rows of the last part; none when it was no result set.
    pub rows: Option<u64>,
    /// The reply's last part ended in a plain EOF, which carries no trackers.
    pub plain_eof: bool,
    /// So did one of its parts.
    pub plain_eofs: bool,
    /// Rows that an UPDATE found, and those of them that it changed; none when the reply does not say.
    pub matched: Option<u64>,
    /// See [`Heard::matched`].
    pub changed: Option<u64>,
}

impl Session {
    /// A session as it stands after log-in.
    pub fn new(schema: Option<String>, dialect: Dialect) -> Self {
        Self {
            schema,
            dialect,
            transaction: Transaction::default(),
            ran: Ran::Nowhere,
            pins: Pins::default(),
            journal: Journal::default(),
            traces: Traces::default(),
            held: None,
            unread: Vec::new(),
            own_writes: OwnWrites::None,
            once: false,
            last_replica: None,
            seen: None,
            primary_only: false,
            login_is_old: false,
        }
    }

    /// Goes on with the connection that it has: what let that in may let in no other.
    pub fn hold_login(&mut self) {
        self.login_is_old = true;
        self.pins.hold(Pin::SessionSetting);
    }

    /// The pin to show, transactions included.
    pub fn pin(&self) -> Option<Pin> {
        if self.transaction.open {
            Some(Pin::Transaction)
        } else if !self.transaction.autocommit {
            Some(Pin::AutocommitOff)
        } else if let Some(pin) = self.pins.current() {
            Some(pin)
        } else {
            (self.once || !self.unread.is_empty()).then_some(Pin::SessionSetting)
        }
    }

    /// Only the primary's connection knows what FOUND_ROWS() is.
    pub fn found_rows_are_on_primary(&self) -> bool {
        self.traces.found_rows_moved && !matches!(self.ran, Ran::Replica(_))
    }

    /// Only the replica's connection knows it.
    pub fn found_rows_are_on_replica(&self) -> bool {
        self.traces.found_rows_moved && matches!(self.ran, Ran::Replica(_))
    }

    /// The pin to show: those of [`Session::pin`], or that a connection is kept for the next statement.
    pub fn shown_pin(&self) -> Option<Pin> {
        self.pin().or_else(|| self.held.map(|held| held.pin))
    }

    /// A command that is no statement was answered here with OK: it has changed no row, and leaves warnings as they were.
    pub fn answered_command(&mut self) {
        self.traces.row_count = 0;
        if !self.transaction.open && !self.found_rows_are_on_replica() {
            self.ran = Ran::Nowhere;
        }
    }

    /// A statement was answered here, as a server does that has nothing to say but OK.
    pub fn answered_here(&mut self) {
        self.answered_command();
        if self.dialect.flavour == Flavour::MySql {
            self.held = None;
        }
    }

    /// COM_RESET_CONNECTION: the schema and what was written stay, all else goes.
    pub fn reset(&mut self, dialect: Dialect) {
        self.dialect = dialect;
        self.transaction = Transaction::default();
        self.ran = Ran::Nowhere;
        self.pins.clear();
        self.journal = Journal::default();
        self.traces = Traces::default();
        self.held = None;
        self.unread.clear();
        self.once = false;
    }

    /// Learns from the reply to a statement of whose routines nothing is known; answers what its settings need.
    pub fn after(&mut self, sql: &[u8], facts: &Facts, ran: Ran, heard: &Heard) -> Settled {
        self.after_leaving(Leaves::Unknown, sql, facts, ran, heard)
    }

    /// The same, where it is known what the routines and triggers that it ran leave in their session.
    pub fn after_leaving(
        &mut self,
        leaves: Leaves,
        sql: &[u8],
        facts: &Facts,
        ran: Ran,
        heard: &Heard,
    ) -> Settled {
        let schema_before = heard.schema.as_ref().map(|_| self.schema.clone());
        // The text that it executes is known to leave nothing: it is as if that had been said itself.
        let text = if leaves == Leaves::Nothing { self.pins.executed(facts) } else { None };
        let executed = text.map(|text| text.facts.clone());
        let facts = executed.as_ref().unwrap_or(facts);
        if let Some(transaction) = heard.transaction {
            self.transaction = transaction;
        }
        if let Some(schema) = &heard.schema {
            self.schema.clone_from(schema);
        }
        // What is set for one statement is reported as if it stayed.
        let changes = heard.state_changed || heard.modes.is_some() || heard.charset.is_some();
        let for_itself = changes && begins_with(sql, &[b"SET", b"STATEMENT"]);
        if changes && !for_itself {
            self.dialect.modes = heard.modes.unwrap_or(self.dialect.modes);
            self.dialect.charset = heard.charset.unwrap_or(self.dialect.charset);
        }
        self.ran = ran;
        let schema = schema_before.as_ref().unwrap_or(&self.schema);
        self.pins.after(facts, schema.as_deref(), !heard.failed);
        if !heard.failed && is_kept_for(sql, facts) {
            self.pins.hold(Pin::SessionSetting);
        }
        if let ([Effect::PrepareText(name)], false) = (facts.effects.as_slice(), heard.failed)
            && let Some(prepared) = text_to_prepare(sql, &self.dialect)
        {
            self.pins.know_text(name, Text { facts: prepared, schema: schema.clone() });
        }
        if !heard.failed && changes_password(sql, facts) {
            self.hold_login();
        }
        let was_once = self.once;
        let settled = self.after_settings(sql, facts, heard);
        if was_once && ran == Ran::Primary && facts.kind != Kind::Session {
            self.once = heard.failed || begins_nothing(facts);
        }
        if facts.effects.contains(&Effect::Xa) && !heard.failed && ends_xa(sql) {
            self.pins.let_go(Pin::Xa);
        }
        // MariaDB says OK to a comment alone.
        let may_leave = may_leave(leaves, facts);
        let unsure = may_leave && !never_ran(leaves, facts, heard) && !is_empty(sql, &self.dialect);
        if unsure || unexplained(facts) && heard.state_changed && !for_itself {
            self.pins.hold(Pin::SessionSetting);
        }
        self.note_write(facts, heard);
        self.note_traces(sql, facts, ran, heard);
        settled
    }

    fn after_settings(&mut self, sql: &[u8], facts: &Facts, heard: &Heard) -> Settled {
        if facts.effects.contains(&Effect::SetTransactionOnce) && !heard.failed {
            self.once = true;
        }
        if !sets(facts) {
            return Settled::Nothing;
        }
        // A SET of several variables that fails may have set the first of them.
        let carry = if heard.failed {
            failed_carry(facts)
        } else {
            Some(self.journal.note(sql, facts, &self.dialect))
        };
        match carry {
            None => {}
            Some(Carry::Replay(journal)) => {
                self.journal = journal.clone();
                let learnable = !self.transaction.open && heard.warnings == 0 && is_literal(facts);
                return if learnable { Settled::Learn(journal) } else { Settled::Nothing };
            }
            Some(Carry::ByValue(names)) => {
                self.unread.clone_from(&names);
                return Settled::ReadBack(names);
            }
            Some(Carry::Here(Unportable::UserVariable)) => self.pins.hold(Pin::UserVariable),
            Some(Carry::Here(Unportable::Setting)) => self.pins.hold(Pin::SessionSetting),
        }
        Settled::Nothing
    }

    /// The values of [`Session::unread`], as SQL literals; none when they could not be had.
    pub fn read_back(&mut self, values: Option<&[(String, String)]>) {
        self.unread.clear();
        match values.map(|values| self.journal.note_values(values)) {
            Some(Carry::Replay(journal)) => self.journal = journal,
            _ => self.pins.hold(Pin::SessionSetting),
        }
    }

    /// What the next statement may ask for about this one.
    fn note_traces(&mut self, sql: &[u8], facts: &Facts, ran: Ran, heard: &Heard) {
        self.traces.row_count = match heard.rows {
            None if !heard.failed => i64::try_from(heard.affected_last).unwrap_or(-1),
            _ => -1,
        };
        let found = found_rows(sql, facts, &self.dialect, heard);
        match found {
            Found::Kept => {}
            Found::Rows(rows) => (self.traces.found_rows, self.traces.found_rows_moved) = (rows, false),
            Found::Unclear => self.traces.found_rows_moved = true,
        }
        if ran == Ran::Primary && may_move_last_insert_id(facts, heard.insert_id) {
            self.traces.last_insert_id_moved = true;
        }
        // The primary is asked at once, where that is worth it; of reads, which are many, only if need be.
        let uncounted = found == Found::Unclear && heard.rows.is_some() && matches!(ran, Ran::Replica(_));
        if heard.failed || heard.warnings > 0 || uncounted || calculates_found_rows(facts) {
            self.held = Some(Held { pin: Pin::Diagnostics, ran });
        } else if self.ends_hold(facts) {
            self.held = None;
        }
    }

    /// Whether what a connection is kept for is gone with this statement, wherever that runs.
    pub fn ends_hold(&self, facts: &Facts) -> bool {
        !facts.previous.contains(Previous::DIAGNOSTICS) && self.clears_diagnostics(facts)
    }

    /// MariaDB keeps the warnings of before while statements use no table.
    fn clears_diagnostics(&self, facts: &Facts) -> bool {
        let known = matches!(facts.kind, Kind::Read | Kind::Write | Kind::Session | Kind::Transaction);
        self.dialect.flavour == Flavour::MySql || !known || uses_tables(facts)
    }

    /// Whatever is not provably a read may have committed something.
    fn note_write(&mut self, facts: &Facts, heard: &Heard) {
        if let Some(position) = &heard.position {
            self.own_writes.raise(position);
            return;
        }
        if facts.why.is_none() || harmless(facts) || self.transaction.open {
            return;
        }
        // What could not be told to be a table may be a view that writes, but not if there is none of the name.
        if facts.why == Some(clonelove_sql::Why::UnknownTable) && never_ran(Leaves::Nothing, facts, heard) {
            return;
        }
        let told_nothing = heard.failed || heard.plain_eof;
        let should_have_told = heard.affected > 0 || facts.kind == Kind::Ddl;
        if told_nothing || should_have_told {
            self.own_writes = OwnWrites::Unknown;
        }
    }
}

fn uses_tables(facts: &Facts) -> bool {
    !facts.tables_read.is_empty() || !facts.tables_written.is_empty() || facts.all_tables
}

/// SET TRANSACTION, or what uses no table: the next transaction may still be to come.
fn begins_nothing(facts: &Facts) -> bool {
    facts.effects.contains(&Effect::SetTransactionOnce) || facts.kind == Kind::Read && !uses_tables(facts)
}

/// An OK's insert id is not LAST_INSERT_ID(): it may be one that the statement itself gave.
fn may_move_last_insert_id(facts: &Facts, insert_id: u64) -> bool {
    let opaque = |effect: &Effect| {
        matches!(effect, Effect::LastInsertIdSet | Effect::Call(_) | Effect::ExecuteText(_))
    };
    let sets_it = |effect: &Effect| {
        let Effect::Settings(assignments) = effect else { return false };
        let names_it = |target: &Setting| matches!(target, Setting::Variable(name) if name == "last_insert_id" || name == "identity");
        assignments.iter().any(|one| names_it(&one.target))
    };
    insert_id != 0
        || facts.kind == Kind::Unknown
        || !facts.functions.is_empty()
        || facts.effects.iter().any(|effect| opaque(effect) || sets_it(effect))
        || facts.parts.iter().any(|part| may_move_last_insert_id(part, 0))
}

/// Each assignment's text tells its value, and the same one every time.
fn is_literal(facts: &Facts) -> bool {
    let literal = |effect: &Effect| match effect {
        Effect::Settings(list) => list.iter().all(|one| one.value == Value::Literal),
        _ => false,
    };
    facts.kind == Kind::Session && facts.parts.is_empty() && facts.effects.iter().all(literal)
}

fn sets(facts: &Facts) -> bool {
    facts.effects.iter().any(|effect| matches!(effect, Effect::Settings(_))) || facts.parts.iter().any(sets)
}

/// One assignment fails whole. Of several, some may have been made: nobody knows which.
fn failed_carry(facts: &Facts) -> Option<Carry> {
    let several = facts.parts.iter().any(sets)
        || facts.effects.iter().any(|effect| matches!(effect, Effect::Settings(list) if list.len() > 1));
    several.then_some(Carry::Here(Unportable::Setting))
}

/// Statements that stay on the primary but commit nothing, whatever their reply.
fn harmless(facts: &Facts) -> bool {
    use clonelove_sql::Why;
    let read =
        facts.kind == Kind::Read && matches!(facts.why, Some(Why::PreviousStatement | Why::ServerSpecific));
    let setting = facts.kind == Kind::Session && facts.parts.is_empty() && !facts.all_tables;
    read || setting
}

/// A state change is explained by what the statement says it does.
fn unexplained(facts: &Facts) -> bool {
    !matches!(facts.kind, Kind::Session | Kind::Transaction)
        && !facts.effects.iter().any(changes_state)
        && facts.parts.is_empty()
        && facts.why.is_some()
}

/// A procedure, a function that is not built in or a statement that was not understood may leave user
/// variables, locks and temporary tables behind, of which servers report next to nothing.
fn may_leave_anything(facts: &Facts) -> bool {
    let opaque = |effect: &Effect| matches!(effect, Effect::Call(_) | Effect::ExecuteText(_));
    facts.kind == Kind::Unknown && facts.parts.is_empty()
        || facts.effects.iter().any(opaque)
        || !facts.functions.is_empty()
        || facts.parts.iter().any(may_leave_anything)
}

pub(crate) fn may_leave(leaves: Leaves, facts: &Facts) -> bool {
    match leaves {
        Leaves::Unknown => may_leave_anything(facts),
        Leaves::Nothing => false,
        Leaves::Something => true,
    }
}

fn is_empty(sql: &[u8], dialect: &Dialect) -> bool {
    !sql.is_empty() && Lexer::new(sql, dialect).next().is_none()
}

/// Whether an effect is one that servers report as a change of session state, and that is kept track of.
fn changes_state(effect: &Effect) -> bool {
    !matches!(
        effect,
        Effect::Call(_) | Effect::Diagnostics | Effect::Kill | Effect::LocalInfile | Effect::CalcFoundRows
    )
}

#[cfg(test)]
mod tests;
