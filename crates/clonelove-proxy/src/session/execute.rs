//! Getting one statement answered: the plan, the server, the relay, and what follows when a server
//! fails on the way. Owns retries and the errors of our own; must not touch the pool.

use std::pin::pin;
use std::time::Duration;

use bytes::BytesMut;
use clonelove_route::decide::{Plan, Policy, plan};
use clonelove_route::freshness::Rules;
use clonelove_route::pins::Pin;
use clonelove_route::reason::Reason;
use clonelove_route::session::{Heard, OwnWrites, Ran, Settled, Traces};
use clonelove_sql::{Facts, Kind, Leaves, Why};
use clonelove_wire::Command;
use clonelove_wire::command::query_prefix_len;
use clonelove_wire::frame::{HEADER, write_packet};
use clonelove_wire::reply::ReplyTracker;
use tokio::time::Instant;

use super::choice::Replica;
use super::connections::{Unready, life_ended};
use super::exchange::{
    ends_connection, exchange, held_back, is_access, is_damage, is_missing, is_read_only, refuses_as_replica,
    vanished, writes,
};
use super::kill::speaks_of;
use super::prepared::NotPut;
use super::statement::{Statement, digest, shown, timed};
use super::{ClientSession, Next, login, tracking};
use crate::error::{ClientError, Fault};
use crate::relay::{Outcome, Relay, RelayFault, Side};
use crate::settings::Mode;

/// What came of trying a replica.
enum Tried {
    /// The client has its answer.
    Answered(Next),
    /// This replica could not; another may.
    Elsewhere(Statement),
    /// The primary must, for this reason.
    Primary(Statement, Reason),
}

impl ClientSession {
    pub(super) async fn query(&mut self, frame: BytesMut) -> Next {
        let text_at = match query_prefix_len(frame.get(HEADER..).unwrap_or_default(), self.caps) {
            Ok(prefix) => HEADER.saturating_add(prefix),
            Err(malformed) => {
                return Box::pin(self.broken(&ClientError::malformed(&malformed.to_string()))).await;
            }
        };
        let sql = frame.get(text_at..).unwrap_or_default();
        if let Some(after) = self.known_setting(sql) {
            return self.answer_setting(after).await;
        }
        let (facts, made) = self.understand(sql);
        if let Some(called) = self.known_schema(&facts) {
            return self.answer_schema(called, Command::Query).await;
        }
        if let Some(patience) = self.own_patience(sql, &facts).filter(|_| !self.is_expired()) {
            return Box::pin(self.answer_patience(sql, patience)).await;
        }
        let kill = speaks_of(sql, &facts);
        let mut statement = Statement::new(Command::Query, frame, facts);
        statement.text_at = text_at;
        statement.tracking = tracking::speaks_of(statement.sql(), &statement.facts, self.caps);
        statement.resolved = made;
        if kill { Box::pin(self.kill_or_run(statement)).await } else { self.execute(statement).await }
    }

    /// Finds out where a statement belongs, and has it answered there.
    pub(super) async fn execute(&mut self, mut statement: Statement) -> Next {
        self.resolve(&mut statement);
        if self.must_leave_replica(&statement)
            && let Err(fault) = Box::pin(self.move_transaction()).await
        {
            return Box::pin(self.lost_before(&statement, &fault)).await;
        }
        if statement.tracking && self.replica_of_transaction().is_none() {
            return Box::pin(self.run_on_primary(statement, Reason::SessionSetting)).await;
        }
        let policy = Policy {
            primary_only: self.settings.load().routing.mode == Mode::PrimaryOnly,
            repeatable_by_default: self.repeatable_by_default(&statement),
        };
        let plan = plan(&statement.facts, &self.state, policy);
        if self.state.held.is_some()
            && let Err(fault) = Box::pin(self.let_go_for(plan, &statement)).await
        {
            return Box::pin(self.lost_before(&statement, &fault)).await;
        }
        match plan {
            Plan::Primary(_) if self.refuses_writes() && writes(statement.facts.kind) => {
                let error = ClientError::read_only_mode();
                Box::pin(self.refuse(&statement, &error, Reason::ReadOnlyMode)).await
            }
            Plan::Primary(reason) => {
                let statement = self.with_traces(statement);
                self.run_on_primary(statement, reason).await
            }
            Plan::Stay(at, reason) => {
                let executes = statement.command == Command::StmtExecute;
                let statement = if executes { self.with_traces(statement) } else { statement };
                Box::pin(self.run_where_it_lives(statement, at, reason)).await
            }
            Plan::Replica(reason) => self.run_on_replica(statement, reason).await,
        }
    }

    pub(super) fn refuses_writes(&self) -> bool {
        self.shared.settings.load().routing.mode == Mode::ReadOnly
    }

    fn repeatable_by_default(&self, statement: &Statement) -> bool {
        if statement.facts.kind != Kind::Transaction {
            return false;
        }
        let snapshot = self.shared.cluster.snapshot();
        let model = snapshot.model();
        let level = model.as_ref().and_then(|report| {
            report.default_of("transaction_isolation").or_else(|| report.default_of("tx_isolation"))
        });
        matches!(level, Some("REPEATABLE-READ" | "SERIALIZABLE"))
    }

    /// The primary answers, or the client learns why not.
    pub(super) async fn run_on_primary(&mut self, mut statement: Statement, reason: Reason) -> Next {
        let _changing = self.changing(&statement);
        let mut again = statement.is_read() && self.state.pin().is_none();
        // What a server says it never read may be a write as well.
        let mut unread = true;
        let needs = self.needs(&statement.facts, statement.sql());
        loop {
            // A statement that writes must not run before the state it is meant for is certain.
            let (ready, waited) = timed(pin!(self.ready_primary(needs, statement.along()))).await;
            statement.waited += waited;
            let sent = match ready {
                Ok(sent) => sent,
                Err(unready) => return Box::pin(self.without_primary(statement, unready)).await,
            };
            match self.put_prepared(Ran::Primary, &mut statement).await {
                Ok(()) => {}
                Err(NotPut::Refused(error)) => {
                    return Box::pin(self.refused_by_server(&statement, Ran::Primary, &error, reason)).await;
                }
                Err(NotPut::Fault(fault)) => {
                    let fault = RelayFault::before(Side::Server(fault));
                    return Box::pin(self.failed_on_primary(&statement, fault, reason)).await;
                }
            }
            (statement.pending, statement.saying) = self.begin_write(&statement);
            match self.exchange_on_primary(&mut statement, sent).await {
                Ok(outcome) => return self.answered(&mut statement, Ran::Primary, outcome, reason).await,
                Err(fault) if again && !fault.forwarded && !matches!(fault.side, Side::Client(_)) => {
                    again = false;
                    self.lose_primary();
                    self.count_retry(&fault);
                }
                Err(fault) if unread && matches!(fault.side, Side::NeverRead(_)) && !self.kept_for(needs) => {
                    unread = false;
                    self.lose_primary();
                    self.count_retry(&fault);
                }
                Err(fault) => return Box::pin(self.failed_on_primary(&statement, fault, reason)).await,
            }
        }
    }

    /// What can still be done without a primary: settings and schemas are made where reads go on.
    async fn without_primary(&mut self, statement: Statement, unready: Unready) -> Next {
        let unpinned = self.state.pin().is_none();
        let elsewhere = matches!(statement.facts.kind, Kind::Session) && unpinned;
        if elsewhere && matches!(unready, Unready::NoPrimary(_) | Unready::Fault(_)) {
            return Box::pin(self.run_on_replica(statement, Reason::Read)).await;
        }
        let (reason, next) = match &unready {
            Unready::Queue { .. } => (Reason::QueueTimeout, Next::Go),
            Unready::StateLost(_) => (Reason::NoPrimary, Next::Close),
            Unready::NoPrimary(_) | Unready::Fault(_) => (Reason::NoPrimary, Next::Go),
        };
        let told = self.refuse(&statement, &unready.client_error(), reason).await;
        if next == Next::Close { Next::Close } else { told }
    }

    async fn exchange_on_primary(
        &mut self,
        statement: &mut Statement,
        sent: bool,
    ) -> Result<Outcome, RelayFault> {
        if statement.tracking {
            self.show_wishes().await.map_err(|fault| RelayFault::before(Side::Server(fault)))?;
        }
        let Self { client, caps, primary, out, wishes, .. } = self;
        let Some(leased) = primary else { return Err(vanished()) };
        let outcome =
            exchange(client, (*caps, wishes.as_deref()), leased, out, statement, (sent, |_| false)).await?;
        if statement.tracking {
            // Without its own settings the connection is of no use to us.
            self.hear_wishes().await.map_err(|fault| RelayFault::after(Side::Server(fault)))?;
        }
        Ok(outcome)
    }

    /// A connection to the primary broke under a statement. Whether that was executed is not known, so
    /// it is not repeated; half a transaction is never continued.
    async fn failed_on_primary(&mut self, statement: &Statement, fault: RelayFault, reason: Reason) -> Next {
        let held_state = self.state.pin().is_some();
        self.lose_primary();
        self.shared.metrics.query(reason, statement.begun.elapsed().as_secs_f64());
        if !statement.is_read() {
            self.state.own_writes = OwnWrites::Unknown;
        }
        let next = self.tell_fault(&fault).await;
        if held_state { Next::Close } else { next }
    }

    /// The client is told of a server's fault, as far as its place in the reply allows.
    async fn tell_fault(&mut self, fault: &RelayFault) -> Next {
        let server_fault = match &fault.side {
            Side::Client(error) => {
                tracing::debug!(client = %self.view.client(), %error, "left during a statement");
                self.shared.metrics.error(Fault::ClientNetwork);
                return Next::Close;
            }
            Side::TooLarge => return Next::Close,
            Side::Server(server_fault) | Side::NeverRead(server_fault) => server_fault.clone(),
            Side::LifeEnded(server) => life_ended(server),
        };
        let error = ClientError::server_lost(&server_fault);
        self.shared.metrics.error(error.fault);
        if fault.mid_packet {
            return Next::Close;
        }
        let sent = login::send(&mut self.client, fault.sequence, &error.payload()).await;
        // After a part of a reply the client's idea of what comes next may differ from ours.
        if fault.forwarded || sent.is_err() { Next::Close } else { Next::Go }
    }

    /// A transaction, or the statement before, lives on the replica connection.
    pub(super) async fn run_where_it_lives(
        &mut self,
        mut statement: Statement,
        at: usize,
        reason: Reason,
    ) -> Next {
        if let Err(unready) = self.ready_in_transaction(at) {
            self.refuse(&statement, &unready.client_error(), Reason::NoServer).await;
            return Next::Close;
        }
        match self.put_prepared(Ran::Replica(at), &mut statement).await {
            Ok(()) => {}
            Err(NotPut::Refused(error)) => {
                return self.refused_by_server(&statement, Ran::Replica(at), &error, reason).await;
            }
            Err(NotPut::Fault(fault)) => {
                self.lose_replica();
                self.tell_fault(&RelayFault::before(Side::Server(fault))).await;
                return Next::Close;
            }
        }
        let Self { client, caps, replica, out, wishes, .. } = self;
        let Some(leased) = replica else { return Next::Close };
        let flavour = leased.conn.flavour;
        let hold = if writes(statement.facts.kind) { refuses_as_replica } else { |_| false };
        match exchange(client, (*caps, wishes.as_deref()), leased, out, &mut statement, (false, hold)).await {
            Ok(outcome) => {
                if outcome.held.is_some() {
                    let error = ClientError::in_read_only_transaction(flavour).payload();
                    write_packet(&mut self.out, 1, &error);
                }
                self.answered(&mut statement, Ran::Replica(at), outcome, reason).await
            }
            Err(fault) => {
                self.shared.metrics.query(reason, statement.begun.elapsed().as_secs_f64());
                self.lose_replica();
                self.tell_fault(&fault).await;
                Next::Close
            }
        }
    }

    /// A replica answers; when one fails before the first byte, another; else the primary.
    pub(super) async fn run_on_replica(&mut self, mut statement: Statement, reason: Reason) -> Next {
        if reason == Reason::Read && !self.shared.learned.is_empty() {
            self.shared.learned.under(self.shared.cluster.schema.generation());
            let (hash, _) = digest(statement.sql(), &self.state.dialect);
            if self.shared.learned.contains(hash) {
                return Box::pin(self.run_on_primary(statement, Reason::Learned)).await;
            }
        }
        let mut not = self.refusing_replicas();
        let first = not.len();
        loop {
            let (at, reason) = match self.choose_replica(&mut statement, &not, reason).await {
                Replica::Use(at, reason) => (at, reason),
                Replica::Primary(why) => {
                    let why = if not.len() == first { why } else { Reason::Retried };
                    return Box::pin(self.spill(statement, why)).await;
                }
                Replica::Refuse(error, reason) => {
                    return Box::pin(self.refuse(&statement, &error, reason)).await;
                }
            };
            statement = match self.try_replica(statement, at, reason).await {
                Tried::Answered(next) => return next,
                Tried::Primary(statement, reason) => {
                    return Box::pin(self.run_on_primary(statement, reason)).await;
                }
                Tried::Elsewhere(statement) => {
                    not.push(at);
                    statement
                }
            };
        }
    }

    /// A read goes to the primary after all. A setting came from there: nothing is left for it.
    async fn spill(&mut self, statement: Statement, reason: Reason) -> Next {
        if statement.facts.kind == Kind::Session {
            let why = self.shared.cluster.snapshot().faults();
            return self.refuse(&statement, &ClientError::no_server(&why), Reason::NoServer).await;
        }
        self.outlast_others().await;
        self.run_on_primary(statement, reason).await
    }

    async fn try_replica(&mut self, mut statement: Statement, at: usize, reason: Reason) -> Tried {
        let needs = self.needs(&statement.facts, statement.sql());
        let (ready, waited) = timed(pin!(self.ready_replica(at, needs, statement.along()))).await;
        statement.waited += waited;
        let sent = match ready {
            Ok(sent) => sent,
            Err(unready) => {
                tracing::debug!(?unready, "replica not used");
                self.shared.metrics.retries.server_lost.inc();
                return Tried::Elsewhere(statement);
            }
        };
        match self.put_prepared(Ran::Replica(at), &mut statement).await {
            Ok(()) => {}
            Err(NotPut::Refused(error)) if is_missing(error.code) || is_damage(error.code) => {
                return self.held(statement, error.code);
            }
            Err(_) => {
                // Another server may have what this one refuses; what it broke on is closed.
                self.lose_replica();
                self.shared.metrics.retries.server_lost.inc();
                return Tried::Elsewhere(statement);
            }
        }
        let seen = self.replica.as_ref().and_then(|leased| leased.server.known());
        let Self { client, caps, replica, out, wishes, .. } = self;
        let Some(leased) = replica else { return Tried::Elsewhere(statement) };
        match exchange(client, (*caps, wishes.as_deref()), leased, out, &mut statement, (sent, held_back))
            .await
        {
            Ok(Outcome { held: Some(code), .. }) => self.held(statement, code),
            Ok(outcome) => {
                let same = self.state.last_replica.replace(at) == Some(at);
                if !same && self.shared.cluster.freshness.keeps(Rules::FORMER_REPLICA) {
                    self.observed.leave_replica();
                }
                self.state.seen = seen.or(self.state.seen.take());
                Tried::Answered(self.answered(&mut statement, Ran::Replica(at), outcome, reason).await)
            }
            Err(fault) => {
                self.lose_replica();
                if fault.forwarded || matches!(fault.side, Side::Client(_)) {
                    self.shared.metrics.query(reason, statement.begun.elapsed().as_secs_f64());
                    return Tried::Answered(Box::pin(self.tell_fault(&fault)).await);
                }
                self.count_retry(&fault);
                Tried::Elsewhere(statement)
            }
        }
    }

    /// A replica refused, and the client has not heard of it.
    fn held(&mut self, statement: Statement, code: u16) -> Tried {
        let Some(leased) = &mut self.replica else { return Tried::Elsewhere(statement) };
        leased.conn.diagnostics = true;
        if is_read_only(code) {
            leased.server.metrics.replies_read_only.inc();
            self.shared.metrics.retries.read_only.inc();
            if statement.is_read() {
                let (hash, text) = digest(statement.sql(), &self.state.dialect);
                self.shared.learned.under(self.shared.cluster.schema.generation());
                self.shared.learned.add(hash, text);
            }
            return Tried::Primary(statement, Reason::ReadOnlyRefused);
        }
        leased.server.metrics.replies_retryable.inc();
        if is_access(code) {
            self.shared.metrics.retries.access.inc();
            return Tried::Primary(statement, Reason::Retried);
        }
        if is_missing(code) {
            self.shared.metrics.retries.missing.inc();
            return Tried::Primary(statement, Reason::Retried);
        }
        if is_damage(code) {
            self.shared.metrics.retries.broken.inc();
            return Tried::Elsewhere(statement);
        }
        self.shared.metrics.retries.server_lost.inc();
        self.lose_replica();
        Tried::Elsewhere(statement)
    }

    fn count_retry(&self, fault: &RelayFault) {
        match &fault.side {
            Side::LifeEnded(_) => self.shared.metrics.retries.frozen.inc(),
            _ => self.shared.metrics.retries.server_lost.inc(),
        }
    }

    /// The client has its answer: the session learns from it.
    async fn answered(
        &mut self,
        statement: &mut Statement,
        ran: Ran,
        outcome: Outcome,
        reason: Reason,
    ) -> Next {
        let leased = match ran {
            Ran::Replica(_) => &mut self.replica,
            _ => &mut self.primary,
        };
        if outcome.error.is_some()
            && let Some(leased) = leased
        {
            leased.server.metrics.replies_sql.inc();
        }
        if !statement.command.has_reply() {
            return Next::Go;
        }
        let before = self.before(&statement.facts);
        let (traces, heard) = (self.state.traces, &outcome.heard);
        let settled = self.learn(statement, ran, heard);
        let before_reply = self.shared.cluster.freshness.keeps(Rules::RAISED_BEFORE_REPLY);
        if before_reply {
            self.note_writes(statement, ran, heard);
        }
        if let Some(told) = outcome.prepared {
            self.note_prepared(ran, statement, told);
        }
        self.note_left(statement, heard);
        self.note_cursor(ran, statement, outcome.cursor, traces);
        let sql = statement.sql();
        let moved = self.state.traces.last_insert_id_moved && !traces.last_insert_id_moved;
        self.note_on_connection(ran, statement, heard, moved);
        self.remember(before.filter(|_| !statement.tracking), sql, settled, &outcome.told);
        if self.forget_after(&statement.facts) && !outcome.heard.failed {
            Box::pin(self.shared.cluster.look_again()).await;
        }
        self.note_definitions(statement, outcome.heard.failed);
        self.explain_pin(|| shown(sql, &self.state.dialect, statement.command));
        let now = self.finish(statement, reason);
        if !outcome.error.is_some_and(|code| ends_connection(code, self.state.dialect.flavour)) {
            self.settle_early(now);
        }
        self.show_pin();
        // Only now: whoever has the reply may rely on its being known here.
        let sent = self.client.write_all(&self.out).await;
        self.out.clear();
        if !before_reply {
            tokio::time::sleep(Duration::from_millis(500)).await;
            self.note_writes(statement, ran, &outcome.heard);
        }
        if let Err(error) = sent {
            tracing::debug!(client = %self.view.client(), %error, "left before its reply");
            self.shared.metrics.error(Fault::ClientNetwork);
            return Next::Close;
        }
        match outcome.error {
            Some(code) if ends_connection(code, self.state.dialect.flavour) => {
                self.drop_connections();
                Next::Close
            }
            _ => Next::Go,
        }
    }

    /// What the session's state comes to. What is only prepared does nothing yet.
    fn learn(&mut self, statement: &Statement, ran: Ran, heard: &Heard) -> Settled {
        if statement.command == Command::StmtPrepare {
            let facts = Facts { kind: Kind::Read, why: Some(Why::PreviousStatement), ..Facts::default() };
            let traces = self.state.traces;
            let settled = self.state.after_leaving(Leaves::Nothing, b"", &facts, ran, heard);
            let row_count = if heard.failed { -1 } else { traces.row_count };
            self.state.traces = Traces { row_count, ..traces };
            return settled;
        }
        self.state.after_leaving(statement.leaves, statement.sql(), &statement.facts, ran, heard)
    }

    /// Tells the watermarks what was written, and remembers what else may have been seen in the answer.
    fn note_writes(&mut self, statement: &mut Statement, ran: Ran, heard: &Heard) {
        if let Ran::Replica(_) = ran {
            return self.note_replica_read(statement);
        }
        let pending = self.shared.cluster.freshness.observed();
        let facts = &statement.facts;
        self.observed.on_primary(pending, facts.kind != Kind::Session || !facts.tables_read.is_empty());
        let caps = self.caps;
        self.end_write(statement, heard, caps);
    }

    /// Counts it, and tells when that was.
    fn finish(&self, statement: &Statement, reason: Reason) -> Instant {
        let now = Instant::now();
        let whole = now.saturating_duration_since(statement.begun);
        self.shared.metrics.query(reason, whole.as_secs_f64());
        self.shared.metrics.proxy_seconds.observe(whole.saturating_sub(statement.waited).as_secs_f64());
        now
    }

    /// A server's own error, of a command that was made for this statement.
    async fn refused_by_server(
        &mut self,
        statement: &Statement,
        ran: Ran,
        error: &ClientError,
        reason: Reason,
    ) -> Next {
        self.state.held = Some(clonelove_route::session::Held { pin: Pin::Diagnostics, ran });
        self.finish(statement, reason);
        match login::send(&mut self.client, statement.reply_sequence(), &error.payload()).await {
            Ok(_) => Next::Go,
            Err(_) => Next::Close,
        }
    }

    /// An error of our own in place of a reply.
    pub(super) async fn refuse(
        &mut self,
        statement: &Statement,
        error: &ClientError,
        reason: Reason,
    ) -> Next {
        self.shared.metrics.error(error.fault);
        self.finish(statement, reason);
        tracing::debug!(client = %self.view.client(), error = %error.message, "refused");
        match login::send(&mut self.client, statement.reply_sequence(), &error.payload()).await {
            Ok(_) => Next::Go,
            Err(_) => Next::Close,
        }
    }

    /// The reply to a command that was forwarded as it arrived; `last` is the number of its last frame.
    pub(super) async fn answer_long(
        &mut self,
        mut statement: Statement,
        ran: Ran,
        reason: Reason,
        last: u8,
    ) -> Next {
        let Self { client, caps, primary, replica, out, wishes, .. } = self;
        let leased = match ran {
            Ran::Replica(_) => replica,
            _ => primary,
        };
        let Some(leased) = leased else { return Next::Close };
        let _in_flight = leased.server.begin();
        let mut tracker = ReplyTracker::new(statement.command, leased.conn.caps);
        tracker.expect_sequence(last.wrapping_add(1));
        let conn = &mut leased.conn;
        let mut relay = Relay {
            client,
            client_caps: *caps,
            wishes: wishes.as_deref(),
            as_it_wishes: false,
            conn,
            out,
            hold: |_| false,
            gather: false,
            pending: statement.pending.as_ref(),
            to_the_end: statement.pending.is_some(),
            gone: false,
            loads_file: false,
            prepare_as: 0,
            waited: Duration::ZERO,
        };
        let result = relay.reply(tracker).await;
        let waited = relay.waited;
        statement.waited += waited;
        match result {
            Ok(outcome) => self.answered(&mut statement, ran, outcome, reason).await,
            Err(fault) => self.failed_on_primary(&statement, fault, reason).await,
        }
    }
}
