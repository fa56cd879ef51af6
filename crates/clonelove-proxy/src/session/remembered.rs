//! Statements that are answered without a server, or with help of what is known of the one before: settings
//! and schemas that servers accepted already, and functions that ask about the connection. Owns when that is
//! exact; must not touch connections.

use std::time::Duration;

use bytes::BytesMut;
use clonelove_route::pins::Pin;
use clonelove_route::reason::Reason;
use clonelove_route::session::{Ran, Settled};
use clonelove_sql::{
    Assignment, Charset, Dialect, Effect, Facts, Flavour, Kind, Lexer, Modes, Previous, Setting, Substitutes,
    TokenKind, Value, sole_row, substitute,
};
use clonelove_wire::frame::{HEADER, MAX_FRAME, write_packet};
use clonelove_wire::{Caps, Command};

use super::prepared::Prepared;
use super::statement::Statement;
use super::tracking::entered;
use super::{ClientSession, Next};
use crate::known::{After, Before, JournalKey};

impl ClientSession {
    /// Whether settings may be answered here: in a transaction, or where the session's state lives on one
    /// connection, that connection is told. What a read left on a replica was left in the settings of its time.
    fn may_answer(&self) -> bool {
        let kept = self.state.held.is_some() && self.state.dialect.flavour == Flavour::MariaDb;
        self.primary.is_none() && !kept && !self.state.transaction.open && self.state.pin().is_none()
    }

    /// Where a setting leads, if it was accepted before in this very state.
    pub(super) fn known_setting(&self, sql: &[u8]) -> Option<After> {
        let set = sql.get(..4).is_some_and(|word| word.eq_ignore_ascii_case(b"SET "));
        if !set || !self.may_answer() {
            return None;
        }
        let known = self.shared.known.setting(&self.state_before(), sql);
        known.filter(|after| self.wishes.is_none() || after.told.is_some())
    }

    pub(super) async fn answer_setting(&mut self, after: After) -> Next {
        self.state.journal = after.journal;
        self.state.dialect = after.dialect;
        self.state.answered_here();
        self.shared.metrics.settings.answered.inc();
        self.answer_told(Reason::SettingKnown, after.told.as_deref().unwrap_or_default()).await
    }

    /// What USE leads to, if this user could enter that schema a moment ago.
    pub(super) fn known_schema(&self, facts: &Facts) -> Option<String> {
        let [Effect::UseSchema(name)] = facts.effects.as_slice() else { return None };
        // What else changes with a schema is told by a server.
        let wants_more = self.wishes.as_ref().is_some_and(|wishes| wishes.include_more_of_schemas());
        if !self.may_answer() || !facts.parts.is_empty() || wants_more {
            return None;
        }
        self.shared.known.schema(&self.account.user, name)
    }

    pub(super) async fn answer_schema(&mut self, called: String, command: Command) -> Next {
        let told = entered(&called);
        self.state.schema = Some(called);
        if command == Command::InitDb {
            self.state.answered_command();
        } else {
            self.state.answered_here();
        }
        self.shared.metrics.settings.answered.inc();
        self.answer_told(Reason::SettingKnown, &told).await
    }

    /// The state before a setting, for when it is accepted.
    pub(super) fn before(&self, facts: &Facts) -> Option<Before> {
        (facts.kind == Kind::Session).then(|| self.state_before())
    }

    fn state_before(&self) -> Before {
        Before {
            user: self.account.user.clone(),
            schema: self.state.schema.clone(),
            charset: self.response.charset,
            journal: JournalKey(self.state.journal.clone()),
            epoch: self.shared.cluster.snapshot().topology.epoch,
            dialect: self.state.dialect,
        }
    }

    /// A setting was accepted: said again in the same state, it need not be sent.
    pub(super) fn remember(&mut self, before: Option<Before>, sql: &[u8], settled: Settled, told: &[u8]) {
        let Some(before) = before else { return };
        self.shared.metrics.settings.sent.inc();
        if let Settled::Learn(journal) = settled
            && self.state.ran == Ran::Primary
        {
            let told = self.wishes.is_some().then(|| told.into());
            let after = After { journal, dialect: self.state.dialect, told };
            self.to_check = Some(Box::new(ToCheck { before, sql: sql.into(), after }));
        }
    }

    /// SET of how long the client may be idle: that is between the client and us, for the servers' connections
    /// serve others too. None for anything else, and for values that a server would have something to say about.
    pub(super) fn own_patience(&self, sql: &[u8], facts: &Facts) -> Option<Duration> {
        const LONGEST: u64 = 31_536_000;
        let [Effect::Settings(list)] = facts.effects.as_slice() else { return None };
        let [Assignment { target: Setting::Variable(name), value: Value::Literal }] = list.as_slice() else {
            return None;
        };
        if !matches!(name.as_str(), "wait_timeout" | "interactive_timeout") || !facts.parts.is_empty() {
            return None;
        }
        let number =
            Lexer::new(sql, &self.state.dialect).filter(|token| token.kind == TokenKind::Number).last()?;
        let seconds: u64 = std::str::from_utf8(sql.get(number.range)?).ok()?.parse().ok()?;
        (1..=LONGEST).contains(&seconds).then(|| Duration::from_secs(seconds))
    }

    pub(super) async fn answer_patience(&mut self, sql: &[u8], patience: Duration) -> Next {
        // Of the two a client goes by the one that its log-in names.
        let interactive = self.caps.contains(Caps::INTERACTIVE);
        let names_interactive = sql.to_ascii_lowercase().windows(11).any(|word| word == b"interactive");
        let timeouts = self.timeouts.get_or_insert_default();
        if !names_interactive || interactive {
            timeouts.patience = Some(patience);
        }
        let told = if names_interactive { &mut timeouts.interactive } else { &mut timeouts.wait };
        *told = Some(patience.as_secs());
        self.state.answered_here();
        self.answer_ok(Reason::AnsweredHere).await
    }

    /// What may make something remembered untrue. Whether what new sessions begin with has changed.
    pub(super) fn forget_after(&self, facts: &Facts) -> bool {
        if facts.kind == Kind::Ddl {
            self.shared.learned.forget();
            self.shared.known.forget_schemas();
        }
        if facts.kind == Kind::Admin || facts.kind == Kind::Unknown || facts.effects.iter().any(is_global) {
            self.shared.known.forget();
        }
        let mut begins = facts.effects.contains(&Effect::GlobalSetting);
        if begins {
            // Who comes from now on begins with the new values.
            self.shared.cluster.snapshot().servers.iter().for_each(|server| server.pool.clear());
        }
        for part in &facts.parts {
            begins |= self.forget_after(part);
        }
        begins
    }

    /// The statement with values for what it asks of the one before, where another connection ran that, and of what is
    /// kept here.
    pub(super) fn with_traces(&self, statement: Statement) -> Statement {
        if !self.asks_for_traces(&statement.facts, statement.sql()) {
            return statement;
        }
        let executes = statement.command == Command::StmtExecute;
        if !executes && !matches!(statement.command, Command::Query | Command::StmtPrepare) {
            return statement;
        }
        // What is prepared first, or told first, is what the server was told last.
        let native = !executes
            && !statement.facts.previous.contains(Previous::LAST_INSERT_ID)
            && self.state.ran == Ran::Primary
            && self.primary.as_ref().is_some_and(|leased| leased.conn.native);
        let traces = self.traces();
        let values = Substitutes {
            row_count: (!native).then_some(self.state.traces.row_count),
            connection_id: traces.connection_id.filter(|_| !tells_threads(&statement)),
            ..traces
        };
        let dialect = statement.executes().map_or(self.state.dialect, Prepared::dialect);
        if statement.command != Command::StmtPrepare
            // What is fetched comes later, and then from a text that has the values.
            && !statement.cursor
            // A row in binary tells nothing without its columns' definitions.
            && !(executes && self.caps.intersects(Caps::OPTIONAL_RESULTSET_METADATA | Caps::CACHE_METADATA))
            && let Some(row) = sole_row(statement.sql(), &dialect, &values)
        {
            return Statement { values: Some(row), ..statement };
        }
        if executes {
            return statement;
        }
        let Some(sql) = substitute(statement.sql(), &self.state.dialect, &values) else { return statement };
        // With its attributes, if it has any.
        let before = statement.frame.get(HEADER..statement.text_at).unwrap_or_default();
        let mut payload = Vec::with_capacity(sql.len().saturating_add(before.len()));
        payload.extend_from_slice(before);
        payload.extend_from_slice(&sql);
        if payload.len() >= MAX_FRAME {
            return statement;
        }
        let mut frame = BytesMut::with_capacity(payload.len().saturating_add(4));
        write_packet(&mut frame, 0, &payload);
        Statement { frame, ..statement }
    }

    /// Whether a statement asks for something that no server connection of ours may be asked for.
    pub(super) fn asks_for_traces(&self, facts: &Facts, sql: &[u8]) -> bool {
        let asked = Previous::ROW_COUNT | Previous::FOUND_ROWS | Previous::CONNECTION_ID;
        facts.previous.intersects(asked) || self.timeouts.is_some() && names_timeout(sql)
    }

    /// What holds now of what a statement may ask for.
    pub(super) fn traces(&self) -> Substitutes {
        let traces = &self.state.traces;
        Substitutes {
            row_count: Some(traces.row_count),
            // Settings leave it as it was, on whatever connection.
            found_rows: (!traces.found_rows_moved).then_some(traces.found_rows),
            connection_id: Some(self.view.id),
            // Unless the client has set it.
            pseudo_thread_id: (!self.state.pins.holds(Pin::SessionSetting)).then_some(self.view.id),
            wait_timeout: self.timeouts.as_ref().and_then(|set| set.wait),
            interactive_timeout: self.timeouts.as_ref().and_then(|set| set.interactive),
        }
    }
}

/// What the client has set of how long it may be idle, as it asks for it in seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Timeouts {
    /// By which it goes.
    pub(super) patience: Option<Duration>,
    wait: Option<u64>,
    interactive: Option<u64>,
}

fn names_timeout(sql: &[u8]) -> bool {
    const NAME: &[u8] = b"_timeout";
    sql.windows(NAME.len()).any(|part| part.eq_ignore_ascii_case(NAME))
}

/// A setting that was accepted, in the state it was said in, and what it is thought to lead to.
pub(super) struct ToCheck {
    pub(super) before: Before,
    pub(super) sql: Box<[u8]>,
    pub(super) after: After,
}

impl ToCheck {
    /// The variables concerned.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.after.journal.last_set()
    }

    /// Whether statements will be read as the server now reads them.
    pub(super) fn agrees_with<'a>(&self, told: impl Iterator<Item = (&'a str, Option<&'a str>)>) -> bool {
        let Dialect { modes, charset, .. } = self.after.dialect;
        told.into_iter().all(|(name, value)| match (name, value) {
            ("sql_mode", Some(value)) => Modes::from_sql_mode(value) == modes,
            ("character_set_client", Some(value)) => Charset::from_name(value) == charset,
            _ => true,
        })
    }
}

/// Whether it asks for servers' numbers of connections: who looks for itself among them, or for whether a lock is its own,
/// is to find the connection that asks.
fn tells_threads(statement: &Statement) -> bool {
    const LOCK: &[u8] = b"IS_USED_LOCK";
    let own = |schema: &str| schema.eq_ignore_ascii_case("information_schema");
    let listed = statement.facts.tables_read.iter().any(|table| {
        table.name.eq_ignore_ascii_case("processlist") && table.schema.as_deref().is_none_or(own)
    });
    listed || statement.sql().windows(LOCK.len()).any(|word| word.eq_ignore_ascii_case(LOCK))
}

fn is_global(effect: &Effect) -> bool {
    matches!(effect, Effect::GlobalSetting | Effect::Accounts)
}

#[cfg(test)]
mod tests {
    use clonelove_route::journal::Journal;

    use super::*;

    #[test]
    fn a_setting_that_came_to_something_else_is_not_remembered() {
        let dialect = Dialect { modes: Modes::from_sql_mode("ANSI_QUOTES"), ..Dialect::default() };
        let before = Before {
            user: "u".into(),
            schema: None,
            charset: 45,
            journal: JournalKey(Journal::default()),
            epoch: 1,
            dialect: Dialect::default(),
        };
        let after = After { journal: Journal::default(), dialect, told: None };
        let check = ToCheck { before, sql: b"SET sql_mode = @@what".as_slice().into(), after };
        let agrees = |name, value| check.agrees_with([(name, value)].into_iter());
        assert!(agrees("sql_mode", Some("ANSI_QUOTES")));
        assert!(!agrees("sql_mode", Some("")));
        assert!(!agrees("sql_mode", Some("ANSI_QUOTES,NO_BACKSLASH_ESCAPES")));
        assert!(agrees("character_set_client", Some("utf8mb4")));
        assert!(!agrees("character_set_client", Some("sjis")));
        assert!(agrees("time_zone", Some("+05:00")), "how statements are read does not hang on it");
    }
}
