//! Commands other than statements: those answered here, and those passed to the primary unread. Owns
//! what each does to the session's state.

use bytes::BytesMut;
use clonelove_route::pins::Pin;
use clonelove_route::reason::Reason;
use clonelove_route::session::Ran;
use clonelove_sql::{Dialect, Facts, Flavour, Kind, Modes, Previous, Why};
use clonelove_wire::frame::{HEADER, write_packet};
use clonelove_wire::packet::eof::Eof;
use clonelove_wire::packet::ok::{HEAD, HEAD_AFTER_ROWS, Ok as OkPacket};
use clonelove_wire::track::filter;
use clonelove_wire::{Caps, Command, Status};

use super::connections::{Unready, life_ended};
use super::login::{self, NoLogin};
use super::needs::Needs;
use super::statement::{Statement, opaque};
use super::{ClientSession, Next, UserCount};
use crate::backend::pool::Class;
use crate::backend::setup::SERVER_CHARSET;
use crate::error::{ClientError, Fault, ServerFault};
use crate::relay::{Side, forward_packet};

impl ClientSession {
    pub(super) async fn command(&mut self, command: Command, frame: BytesMut) -> Next {
        if self.refuses_expired(command).await {
            return self.refuse_expired(&Statement::opaque(command, frame)).await;
        }
        match command {
            Command::Ping => self.ping(frame).await,
            Command::ResetConnection => self.reset().await,
            Command::ChangeUser => self.change_user(&frame).await,
            Command::InitDb => self.init_db(frame).await,
            Command::ProcessKill => {
                let mut statement = Statement::opaque(command, frame);
                let facts = Facts { kind: Kind::Admin, why: Some(Why::Administrative), ..Facts::default() };
                statement.facts = facts.into();
                Box::pin(self.kill_or_run(statement)).await
            }
            Command::StmtPrepare => self.prepare(frame).await,
            Command::StmtExecute | Command::StmtBulkExecute => self.execute_prepared(command, frame).await,
            Command::StmtSendLongData => self.keep_long_data(&frame),
            Command::StmtReset => self.reset_statement(frame).await,
            Command::StmtFetch => self.fetch(frame).await,
            Command::StmtClose => self.close_statement(&frame),
            Command::SetOption => self.set_option(frame).await,
            _ if needs_admin(command) && !self.admin => self.refuse_admin(command, frame).await,
            _ => self.forward_command(command, frame).await,
        }
    }

    /// The payload of an OK of our own, with honest status flags and a text.
    pub(super) fn ok_payload_with(&self, info: &[u8]) -> BytesMut {
        let mut out = BytesMut::new();
        OkPacket { status: self.status(), info, ..OkPacket::default() }.encode(HEAD, self.caps, &mut out);
        out
    }

    /// What the session's state is, as servers say it.
    fn status(&self) -> Status {
        let mut status = Status::empty();
        status.set(Status::AUTOCOMMIT, self.state.transaction.autocommit);
        status.set(Status::IN_TRANS, self.state.transaction.open);
        // Servers show these two parts of sql_mode here as well.
        let Dialect { flavour, modes, .. } = self.state.dialect;
        status.set(Status::NO_BACKSLASH_ESCAPES, modes.contains(Modes::NO_BACKSLASH_ESCAPES));
        let ansi_quotes = flavour == Flavour::MariaDb && modes.contains(Modes::ANSI_QUOTES);
        status.set(Status::ANSI_QUOTES, ansi_quotes);
        status
    }

    pub(super) async fn answer_ok(&mut self, reason: Reason) -> Next {
        self.answer_told(reason, b"").await
    }

    /// The same with what a server told of the session's state, as far as the client wants to be told.
    pub(super) async fn answer_told(&mut self, reason: Reason, told: &[u8]) -> Next {
        self.shared.metrics.query(reason, 0.0);
        let (mut out, mut payload, mut state) = (BytesMut::new(), BytesMut::new(), BytesMut::new());
        if let Some(wishes) = &self.wishes {
            // It was understood when it came.
            let _ = filter(told, |change| wishes.include(change), &mut state);
        }
        OkPacket { status: self.status(), state: &state, ..OkPacket::default() }.encode(
            HEAD,
            self.caps,
            &mut payload,
        );
        write_packet(&mut out, 1, &payload);
        match self.client.write_all(&out).await {
            Ok(()) => Next::Go,
            Err(_) => Next::Close,
        }
    }

    /// COM_RESET_CONNECTION: the connections go back, or are closed with the state they carry. One that no other could
    /// take the place of is reset.
    async fn reset(&mut self) -> Next {
        let last = self.primary.take_if(|_| self.state.login_is_old);
        self.leave();
        let schema = self.state.schema.take();
        let own_writes = std::mem::take(&mut self.state.own_writes);
        let (found_rows, journal) = (self.state.traces.found_rows, self.state.journal.after_reset());
        // MySQL takes its own character set in place of the log-in's, which MariaDB goes back to.
        if self.state.dialect.flavour == Flavour::MySql {
            self.response.charset = SERVER_CHARSET;
        }
        // What a log-in makes of the time that an interactive client may be idle, and of sql_mode, goes too, on MariaDB.
        if self.state.dialect.flavour == Flavour::MariaDb {
            self.caps.remove(Caps::INTERACTIVE | Caps::IGNORE_SPACE);
        }
        self.begin_state();
        self.state.schema = schema;
        self.state.own_writes = own_writes;
        // Servers keep these, and the role that was taken.
        (self.state.traces.found_rows, self.state.journal) = (found_rows, journal);
        if let Some(last) = last
            && let Err(fault) = Box::pin(self.reset_last(last)).await
        {
            let error = ClientError::server_lost(&fault);
            let _ = login::send(&mut self.client, 1, &error.payload()).await;
            return Next::Close;
        }
        self.answer_ok(Reason::AnsweredHere).await
    }

    async fn change_user(&mut self, frame: &BytesMut) -> Next {
        // As MariaDB does, which then knows the command no more; MySQL ends the connection at once.
        const CHANCES: u8 = 3;
        let mariadb = self.state.dialect.flavour == Flavour::MariaDb;
        if mariadb && self.refused_users >= CHANCES {
            let sent = login::send(&mut self.client, 1, &ClientError::unknown_command().payload()).await;
            return if sent.is_ok() { Next::Go } else { Next::Close };
        }
        let payload = frame.get(HEADER..).unwrap_or_default();
        let salt = self.response.auth.first_chunk().copied().unwrap_or_default();
        let who = (self.view.id, self.address, salt);
        let login = login::change_user(&self.shared, &mut self.client, payload, &self.response, who).await;
        let logged_in = match login {
            Ok(logged_in) => logged_in,
            Err(no_login) => {
                if let Some(fault) = login::fault_of(&no_login) {
                    self.shared.metrics.error(fault);
                }
                let NoLogin::Refused(error) = no_login else { return Next::Close };
                tracing::info!(client = %self.view.client(), error = %error.message, "change of user refused");
                if mariadb && error.fault == Fault::ClientAuth {
                    self.refused_users = self.refused_users.saturating_add(1);
                    return Next::Go;
                }
                return Next::Close;
            }
        };
        self.leave();
        self.user_count = None;
        match UserCount::enter(&self.shared, &logged_in.user) {
            Ok(count) => self.user_count = Some(count),
            Err(error) => {
                self.shared.metrics.error(error.fault);
                let _ = login::send(&mut self.client, logged_in.seq, &error.payload()).await;
                return Next::Close;
            }
        }
        self.view.user.lock().clone_from(&logged_in.user.name);
        self.account = logged_in.account;
        self.key = None;
        self.caps.set(Caps::INTERACTIVE, logged_in.caps.contains(Caps::INTERACTIVE));
        (self.admin, self.route) = (logged_in.user.admin, logged_in.user.route);
        self.response = logged_in.response;
        self.response.auth = salt.to_vec();
        // It is the same connection still: what it wrote, it sees.
        let own_writes = std::mem::take(&mut self.state.own_writes);
        self.begin_state();
        self.state.own_writes = own_writes;
        self.shared.metrics.query(Reason::AnsweredHere, 0.0);
        self.enter_schema(logged_in.seq, &logged_in.info).await
    }

    /// COM_PING asks whether anybody is here. On MySQL it is also told how many warnings the statement before has left.
    async fn ping(&mut self, frame: BytesMut) -> Next {
        if self.state.held.is_some() && self.state.dialect.flavour == Flavour::MySql {
            let facts = Facts {
                kind: Kind::Read,
                why: Some(Why::PreviousStatement),
                previous: Previous::DIAGNOSTICS,
                ..Facts::default()
            };
            return self.execute(Statement::new(Command::Ping, frame, facts)).await;
        }
        self.state.answered_command();
        self.answer_ok(Reason::Ping).await
    }

    /// COM_INIT_DB is USE, but that it leaves warnings as they were, and counts them: the server says whether the schema exists.
    async fn init_db(&mut self, frame: BytesMut) -> Next {
        let name = frame.get(HEADER.saturating_add(1)..).unwrap_or_default();
        let schema = String::from_utf8_lossy(name).into_owned();
        let kept = self.state.held.is_some();
        let facts = Facts {
            kind: Kind::Session,
            why: Some(Why::SessionSetting),
            effects: vec![clonelove_sql::Effect::UseSchema(schema)],
            previous: if kept { Previous::DIAGNOSTICS } else { Previous::empty() },
            ..Facts::default()
        };
        if !kept && let Some(called) = self.known_schema(&facts) {
            return self.answer_schema(called, Command::InitDb).await;
        }
        self.execute(Statement::new(Command::InitDb, frame, facts)).await
    }

    /// COM_SET_OPTION: several statements in one text, or not. That is a capability, so it decides which connections
    /// this session shares.
    async fn set_option(&mut self, frame: BytesMut) -> Next {
        let option = frame.get(HEADER.saturating_add(1)..).unwrap_or_default();
        let on = match option {
            [0, 0] => true,
            [1, 0] => false,
            _ => {
                let statement = Statement::opaque(Command::SetOption, frame);
                return self.refuse(&statement, &ClientError::unknown_command(), Reason::AnsweredHere).await;
            }
        };
        self.caps.set(Caps::MULTI_STATEMENTS, on);
        if let Err(fault) = self.set_option_there(option).await {
            // What was on that connection is gone with it.
            let error = ClientError::server_lost(&fault);
            self.drop_connections();
            let _ = login::send(&mut self.client, 1, &error.payload()).await;
            return Next::Close;
        }
        self.shared.metrics.query(Reason::AnsweredHere, 0.0);
        let (mut payload, status) = (BytesMut::new(), self.status());
        if self.caps.contains(Caps::DEPRECATE_EOF) {
            OkPacket { status, ..OkPacket::default() }.encode(HEAD_AFTER_ROWS, self.caps, &mut payload);
        } else {
            Eof { status, warnings: 0 }.encode(&mut payload);
        }
        match login::send(&mut self.client, 1, &payload).await {
            Ok(_) => Next::Go,
            Err(_) => Next::Close,
        }
    }

    async fn refuse_admin(&mut self, command: Command, frame: BytesMut) -> Next {
        let user = self.view.user.lock().clone();
        tracing::info!(client = %self.view.client(), %user, command = command.name(), "not allowed");
        let error = ClientError::needs_admin(command.name(), &user);
        let statement = Statement::opaque(command, frame);
        self.refuse(&statement, &error, Reason::NotAllowed).await
    }

    /// Everything else is asked of the primary. What prepares something there pins until it is closed.
    async fn forward_command(&mut self, command: Command, frame: BytesMut) -> Next {
        let mut statement = Statement::opaque(command, frame);
        match command {
            Command::FieldList
            | Command::Statistics
            | Command::Debug
            | Command::ProcessInfo
            | Command::Refresh
            | Command::Shutdown => {
                let facts = Facts { kind: Kind::Admin, why: Some(Why::Administrative), ..Facts::default() };
                statement.facts = facts.into();
            }
            Command::BinlogDump | Command::BinlogDumpGtid | Command::RegisterSlave => {
                self.state.pins.hold(Pin::Binlog);
                // It writes nothing, however long it lasts, and nobody wants its end when the client is gone.
                statement.facts = of_prepared().into();
            }
            _ => self.state.pins.hold(Pin::Command),
        }
        match self.replica_of_transaction() {
            Some(at) => self.run_where_it_lives(statement, at, Reason::ReadOnlyTransaction).await,
            None => self.run_on_primary(statement, Reason::Command).await,
        }
    }

    /// The replica that an open read-only transaction lives on.
    pub(super) fn replica_of_transaction(&self) -> Option<usize> {
        match self.state.ran {
            Ran::Replica(at) if self.state.transaction.open => Some(at),
            _ => None,
        }
    }

    /// A command too long to be read: forwarded as it arrives, to the primary, or to where the open
    /// transaction is.
    pub(super) async fn long(&mut self, command: Command) -> Next {
        if is_of_prepared(command) {
            return Box::pin(self.long_prepared(command)).await;
        }
        let mut statement = Statement::opaque(command, BytesMut::new());
        statement.facts = opaque(Why::TooLarge).into();
        let reason = if command == Command::Query { Reason::TooLarge } else { Reason::Command };
        if command != Command::Query {
            self.state.pins.hold(Pin::Command);
        }
        if self.refuses_writes() {
            return self.refuse_long(ClientError::read_only_mode(), Reason::ReadOnlyMode).await;
        }
        let ran = self.replica_of_transaction().map_or(Ran::Primary, Ran::Replica);
        let ready = match ran {
            Ran::Replica(at) => self.ready_in_transaction(at),
            _ => self.ready_primary(Needs::of_class(Class::Write), None).await.map(drop),
        };
        if let Err(unready) = ready {
            let next = if matches!(unready, Unready::StateLost(_)) { Next::Close } else { Next::Go };
            let told = self.refuse_long(unready.client_error(), Reason::NoPrimary).await;
            return if next == Next::Close { next } else { told };
        }
        let limit = self.shared.settings.load().limits.max_packet;
        if ran == Ran::Primary {
            (statement.pending, statement.saying) = self.begin_write(&statement);
        }
        let leased = match ran {
            Ran::Replica(_) => &mut self.replica,
            _ => &mut self.primary,
        };
        let Some(leased) = leased else { return Next::Close };
        let name = std::sync::Arc::clone(&leased.server.name);
        let life = leased.conn.life.clone();
        let forwarded = forward_packet(&mut self.client, &mut leased.conn.io, &name, limit);
        let forwarded = life.run(forwarded).await;
        match forwarded.unwrap_or_else(|| Err(Side::Server(life_ended(&name)))) {
            Ok(last) => self.answer_long(statement, ran, reason, last).await,
            Err(Side::Server(fault)) => self.long_refused(statement, ran, reason, &fault).await,
            Err(Side::TooLarge) => {
                // What the server has of it is half a packet: it never becomes a statement.
                self.drop_connections();
                self.refuse(&statement, &ClientError::too_large(limit), Reason::Limit).await;
                Next::Close
            }
            Err(_) => {
                self.drop_connections();
                Next::Close
            }
        }
    }

    /// The server stopped reading, most likely because the statement is longer than it takes. Its own
    /// word on that is passed on, if it left one; then both sides part, as they would without us.
    async fn long_refused(
        &mut self,
        statement: Statement,
        ran: Ran,
        reason: Reason,
        fault: &ServerFault,
    ) -> Next {
        let leased = match ran {
            Ran::Replica(_) => &mut self.replica,
            _ => &mut self.primary,
        };
        let unasked = leased
            .as_mut()
            .is_some_and(|leased| !leased.conn.io.input.is_empty() || leased.conn.io.has_unasked());
        if unasked {
            self.answer_long(statement, ran, reason, 0).await;
        } else {
            let error = ClientError::server_lost(fault);
            let _ = login::send(&mut self.client, 1, &error.payload()).await;
        }
        self.drop_connections();
        Next::Close
    }

    /// Closes both: what they were in the middle of must not be continued.
    pub(super) fn drop_connections(&mut self) {
        self.lose_primary();
        self.lose_replica();
    }

    /// The client is told only after it has sent all: it does not read before.
    async fn refuse_long(&mut self, error: ClientError, reason: Reason) -> Next {
        self.shared.metrics.query(reason, 0.0);
        self.shared.metrics.error(error.fault);
        match self.swallow_packet().await {
            Ok(seq) => match login::send(&mut self.client, seq.wrapping_add(1), &error.payload()).await {
                Ok(_) => Next::Go,
                Err(_) => Next::Close,
            },
            Err(_) => Next::Close,
        }
    }
}

/// What shows more than a client's own data, or ends the server: the server's rights decide, but only for users that
/// the configuration lets through.
fn needs_admin(command: Command) -> bool {
    matches!(
        command,
        Command::Shutdown | Command::BinlogDump | Command::BinlogDumpGtid | Command::RegisterSlave
    )
}

fn is_of_prepared(command: Command) -> bool {
    matches!(
        command,
        Command::StmtPrepare
            | Command::StmtExecute
            | Command::StmtBulkExecute
            | Command::StmtSendLongData
            | Command::StmtReset
            | Command::StmtFetch
            | Command::StmtClose
    )
}

/// What belongs to a statement that was prepared, and needs nothing but its connection.
pub(super) fn of_prepared() -> Facts {
    Facts { kind: Kind::Read, why: Some(Why::PreviousStatement), ..Facts::default() }
}
