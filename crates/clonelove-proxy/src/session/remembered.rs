//! Statements that are answered without a server, or with help of what is known of the one before: settings
//! and schemas that servers accepted already, and functions that ask about the connection. Owns when that is
//! exact; must not touch connections.

use bytes::BytesMut;
use clonelove_route::reason::Reason;
use clonelove_route::session::{Ran, Settled};
use clonelove_sql::{Effect, Facts, Kind, Previous, Substitutes, sole_value, substitute};
use clonelove_wire::Command;
use clonelove_wire::frame::{MAX_FRAME, write_packet};

use super::statement::Statement;
use super::{ClientSession, Next};
use crate::known::{After, Before, JournalKey};

impl ClientSession {
    /// Whether settings may be answered here: in a transaction, or where the session's state lives on one
    /// connection, that connection is told.
    fn may_answer(&self) -> bool {
        self.primary.is_none() && !self.state.transaction.open && self.state.pin().is_none()
    }

    /// Where a setting leads, if it was accepted before in this very state.
    pub(super) fn known_setting(&self, sql: &[u8]) -> Option<After> {
        let set = sql.get(..4).is_some_and(|word| word.eq_ignore_ascii_case(b"SET "));
        if !set || !self.may_answer() {
            return None;
        }
        self.shared.known.setting(&self.state_before(), sql)
    }

    pub(super) async fn answer_setting(&mut self, after: After) -> Next {
        self.state.journal = after.journal;
        self.state.dialect = after.dialect;
        self.state.answered_here();
        self.shared.metrics.settings.answered.inc();
        self.answer_ok(Reason::SettingKnown).await
    }

    /// What USE leads to, if this user could enter that schema a moment ago.
    pub(super) fn known_schema(&self, facts: &Facts) -> Option<String> {
        let [Effect::UseSchema(name)] = facts.effects.as_slice() else { return None };
        if !self.may_answer() || !facts.parts.is_empty() {
            return None;
        }
        self.shared.known.schema(&self.account.user, name)
    }

    pub(super) async fn answer_schema(&mut self, called: String) -> Next {
        self.state.schema = Some(called);
        self.state.answered_here();
        self.shared.metrics.settings.answered.inc();
        self.answer_ok(Reason::SettingKnown).await
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
    pub(super) fn remember(&self, before: Option<Before>, sql: &[u8], settled: Settled) {
        let Some(before) = before else { return };
        self.shared.metrics.settings.sent.inc();
        if let Settled::Learn(journal) = settled {
            self.shared.metrics.settings.learnt.inc();
            let after = After { journal, dialect: self.state.dialect };
            self.shared.known.learn(before, sql, after);
        }
    }

    /// What may make something remembered untrue.
    pub(super) fn forget_after(&self, facts: &Facts) {
        if facts.kind == Kind::Ddl {
            self.shared.learned.forget();
            self.shared.known.forget_schemas();
        }
        if facts.kind == Kind::Admin || facts.kind == Kind::Unknown || facts.effects.iter().any(is_global) {
            self.shared.known.forget();
        }
        facts.parts.iter().for_each(|part| self.forget_after(part));
    }

    /// The statement with values for what it asks of the one before, where another connection ran that.
    pub(super) fn with_traces(&self, statement: Statement) -> Statement {
        let asked =
            statement.facts.previous & (Previous::ROW_COUNT | Previous::FOUND_ROWS | Previous::CONNECTION_ID);
        if asked.is_empty() || !matches!(statement.command, Command::Query | Command::StmtPrepare) {
            return statement;
        }
        let native =
            self.state.ran == Ran::Primary && self.primary.as_ref().is_some_and(|leased| leased.conn.native);
        let traces = &self.state.traces;
        let values = Substitutes {
            row_count: (!native).then_some(traces.row_count),
            found_rows: (!native).then_some(traces.found_rows),
            connection_id: Some(self.view.id),
        };
        if statement.command == Command::Query
            && let Some(value) = sole_value(statement.sql(), &self.state.dialect, &values)
        {
            return Statement { value: Some(value), ..statement };
        }
        let Some(sql) = substitute(statement.sql(), &self.state.dialect, &values) else { return statement };
        let mut payload = Vec::with_capacity(sql.len().saturating_add(1));
        payload.push(statement.command.as_byte());
        payload.extend_from_slice(&sql);
        if payload.len() >= MAX_FRAME {
            return statement;
        }
        let mut frame = BytesMut::with_capacity(payload.len().saturating_add(4));
        write_packet(&mut frame, 0, &payload);
        Statement { frame, ..statement }
    }
}

fn is_global(effect: &Effect) -> bool {
    matches!(effect, Effect::GlobalSetting | Effect::Accounts)
}
