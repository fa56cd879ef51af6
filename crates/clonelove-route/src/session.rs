//! What is known of one client session: the facts that routing needs, learnt from what the servers
//! said. Owns no connection and sends nothing.

use clonelove_sql::{Charset, Dialect, Effect, Facts, Kind, Modes};

use crate::journal::{Carry, Journal, Unportable};
use crate::pins::{Pin, Pins};
use crate::position::Position;

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
    /// What its own reads must reflect.
    pub own_writes: OwnWrites,
    /// SET TRANSACTION for the next transaction is waiting for that transaction.
    pub once: bool,
    /// The replica that served its last read.
    pub last_replica: Option<usize>,
    /// What that replica was known to have then.
    pub seen: Option<Position>,
    /// Everything to the primary, by configuration of the user or the listener.
    pub primary_only: bool,
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
    /// The reply's last part ended in a plain EOF, which carries no trackers.
    pub plain_eof: bool,
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
            own_writes: OwnWrites::None,
            once: false,
            last_replica: None,
            seen: None,
            primary_only: false,
        }
    }

    /// The pin to show, transactions included.
    pub fn pin(&self) -> Option<Pin> {
        if self.transaction.open {
            Some(Pin::Transaction)
        } else if !self.transaction.autocommit {
            Some(Pin::AutocommitOff)
        } else {
            self.pins.current()
        }
    }

    /// COM_RESET_CONNECTION: the schema and what was written stay, all else goes.
    pub fn reset(&mut self, dialect: Dialect) {
        self.dialect = dialect;
        self.transaction = Transaction::default();
        self.ran = Ran::Nowhere;
        self.pins.clear();
        self.journal.clear();
        self.once = false;
    }

    /// Learns from the reply to a statement.
    pub fn after(&mut self, sql: &[u8], facts: &Facts, ran: Ran, heard: &Heard) {
        let schema_before = self.schema.clone();
        if let Some(transaction) = heard.transaction {
            self.transaction = transaction;
        }
        if let Some(schema) = &heard.schema {
            self.schema.clone_from(schema);
        }
        self.dialect.modes = heard.modes.unwrap_or(self.dialect.modes);
        self.dialect.charset = heard.charset.unwrap_or(self.dialect.charset);
        self.ran = ran;
        self.pins.after(facts, schema_before.as_deref(), !heard.failed);
        if !heard.failed && !self.transaction.open || facts.kind == Kind::Session {
            self.after_settings(sql, facts, heard);
        }
        if ran == Ran::Primary && facts.kind != Kind::Session {
            self.once = false;
        }
        if unexplained(facts) && (heard.state_changed || may_have_begun(facts, heard)) {
            self.pins.hold(Pin::SessionSetting);
        }
        self.note_write(facts, heard);
    }

    fn after_settings(&mut self, sql: &[u8], facts: &Facts, heard: &Heard) {
        if facts.effects.contains(&Effect::SetTransactionOnce) && !heard.failed {
            self.once = true;
        }
        if !sets(facts) {
            return;
        }
        // A SET of several variables that fails may have set the first of them.
        let carry = if heard.failed { failed_carry(facts) } else { Some(self.journal.note(sql, facts)) };
        match carry {
            None | Some(Carry::Noted) => {}
            Some(Carry::Here(Unportable::UserVariable)) => self.pins.hold(Pin::UserVariable),
            Some(Carry::Here(Unportable::Setting)) => self.pins.hold(Pin::SessionSetting),
        }
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
        let told_nothing = heard.failed || heard.plain_eof;
        let should_have_told = heard.affected > 0 || facts.kind == Kind::Ddl;
        if told_nothing || should_have_told {
            self.own_writes = OwnWrites::Unknown;
        }
    }
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
    let read = facts.kind == Kind::Read
        && matches!(facts.why, Some(Why::PreviousStatement | Why::ServerSpecific | Why::UnknownTable));
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

/// An error packet reports no change of state: a procedure that failed may have left a temporary table or
/// a lock behind, unless the error says that it was never entered.
fn may_have_begun(facts: &Facts, heard: &Heard) -> bool {
    /// Syntax, no such procedure, wrong number of arguments, no right to it.
    const NEVER_ENTERED: [u16; 6] = [1044, 1064, 1142, 1305, 1318, 1370];
    let call = facts.effects.iter().any(|effect| matches!(effect, Effect::Call(_)));
    heard.failed && call && !heard.error.is_some_and(|code| NEVER_ENTERED.contains(&code))
}

/// Whether an effect is one that servers report as a change of session state, and that is kept track of.
fn changes_state(effect: &Effect) -> bool {
    !matches!(
        effect,
        Effect::Call(_) | Effect::Diagnostics | Effect::Kill | Effect::LocalInfile | Effect::CalcFoundRows
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use clonelove_sql::analyse;

    fn run(session: &mut Session, sql: &str, heard: Heard) {
        let facts = analyse(sql.as_bytes(), &session.dialect);
        session.after(sql.as_bytes(), &facts, Ran::Primary, &heard);
    }

    fn fresh() -> Session {
        Session::new(Some("d".into()), Dialect::default())
    }

    fn failed() -> Heard {
        Heard { failed: true, ..Heard::default() }
    }

    #[test]
    fn a_setting_that_failed_is_not_replayed() {
        let mut session = fresh();
        run(&mut session, "SET sql_mode = 'NONSENSE'", failed());
        assert_eq!((session.journal.last(), session.pin()), (0, None));
        run(&mut session, "SET time_zone = '+00:00', sql_mode = 'NONSENSE'", failed());
        assert_eq!(session.pin(), Some(Pin::SessionSetting));
    }

    #[test]
    fn a_setting_within_a_transaction_is_carried_too() {
        let mut session = fresh();
        session.transaction.open = true;
        let heard =
            Heard { transaction: Some(Transaction { open: true, autocommit: true }), ..Heard::default() };
        run(&mut session, "SET sql_mode = 'ANSI'", heard);
        assert_eq!(session.journal.last(), 1);
    }

    #[test]
    fn a_write_without_a_position_is_of_unknown_position() {
        let rows = [
            ("INSERT INTO t VALUES (1)", Heard { affected: 1, ..Heard::default() }, OwnWrites::Unknown),
            ("DELETE FROM t WHERE 0", Heard::default(), OwnWrites::None),
            ("CREATE TABLE t (a INT)", Heard::default(), OwnWrites::Unknown),
            (
                "INSERT INTO t VALUES (1) RETURNING a",
                Heard { plain_eof: true, ..Heard::default() },
                OwnWrites::Unknown,
            ),
            ("CALL p()", failed(), OwnWrites::Unknown),
            ("SELECT f()", Heard { plain_eof: true, ..Heard::default() }, OwnWrites::Unknown),
            ("SELECT 1", Heard { plain_eof: true, ..Heard::default() }, OwnWrites::None),
            ("SELECT LAST_INSERT_ID()", Heard { plain_eof: true, ..Heard::default() }, OwnWrites::None),
            ("SET NAMES utf8mb4", Heard::default(), OwnWrites::None),
        ];
        for (sql, heard, expected) in rows {
            let mut session = fresh();
            run(&mut session, sql, heard);
            assert_eq!(session.own_writes, expected, "{sql}");
        }
    }

    #[test]
    fn a_procedure_that_failed_may_have_left_state() {
        let failed_with = |code| Heard { failed: true, error: Some(code), ..Heard::default() };
        for (code, pin) in [(1062, Some(Pin::SessionSetting)), (1305, None), (1064, None)] {
            let mut session = fresh();
            run(&mut session, "CALL p()", failed_with(code));
            assert_eq!(session.pin(), pin, "{code}");
        }
        let mut session = fresh();
        run(&mut session, "INSERT INTO t VALUES (1)", failed_with(1062));
        assert_eq!(session.pin(), None);
    }

    #[test]
    fn an_unexplained_state_change_pins() {
        let mut session = fresh();
        run(&mut session, "CALL p()", Heard { state_changed: true, ..Heard::default() });
        assert_eq!(session.pin(), Some(Pin::SessionSetting));
        let mut session = fresh();
        run(&mut session, "SET NAMES utf8mb4", Heard { state_changed: true, ..Heard::default() });
        assert_eq!(session.pin(), None);
    }
}
