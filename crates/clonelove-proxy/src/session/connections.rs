//! The session's connections: one to the primary, one to a replica, each taken when first needed and
//! kept to the session's end. Owns taking, bringing up to date and giving back.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use clonelove_route::report::Report;
use clonelove_route::session::Session;
use clonelove_sql::{Charset, Dialect, Modes};
use clonelove_wire::{Caps, Command};

use super::login::CARRIED;
use super::{ClientSession, Next, login};
use crate::backend::conn::BackendConn;
use crate::backend::login::Wish;
use crate::backend::pool::Key;
use crate::backend::reply::Reply;
use crate::backend::setup::{SERVER_CHARSET, Use};
use crate::error::{ClientError, Fault, Refusal, ServerFault};
use crate::server::{Need, NoConnection, Server};
use crate::settings::Route;

/// A connection held by a session. Dropping it closes the socket.
pub(super) struct Leased {
    pub(super) conn: BackendConn,
    pub(super) server: Arc<Server>,
    key: Key,
    count: LeaseCount,
}

/// Counts a lease for as long as it lasts.
struct LeaseCount {
    server: Arc<Server>,
    pinned: bool,
}

impl LeaseCount {
    fn new(server: &Arc<Server>) -> Self {
        server.pool.leased().fetch_add(1, Ordering::Relaxed);
        Self { server: Arc::clone(server), pinned: false }
    }

    fn set_pinned(&mut self, pinned: bool) {
        if pinned && !self.pinned {
            self.server.pinned.fetch_add(1, Ordering::Relaxed);
        } else if !pinned && self.pinned {
            self.server.pinned.fetch_sub(1, Ordering::Relaxed);
        }
        self.pinned = pinned;
    }
}

impl Drop for LeaseCount {
    fn drop(&mut self) {
        self.set_pinned(false);
        self.server.pool.leased().fetch_sub(1, Ordering::Relaxed);
    }
}

impl Leased {
    /// A connection just taken; it counts as leased until this is dropped or taken apart.
    pub(super) fn new(conn: BackendConn, server: &Arc<Server>, key: Key) -> Self {
        Self { conn, server: Arc::clone(server), key, count: LeaseCount::new(server) }
    }

    /// Shows whether the session's state lives on this connection.
    pub(super) fn set_pinned(&mut self, pinned: bool) {
        self.count.set_pinned(pinned);
    }
}

/// Why there is no connection to work with; for the client, the one to the primary.
#[derive(Debug)]
pub(super) enum Unready {
    /// No server has the role.
    NoPrimary(String),
    /// All connections are in use.
    Queue { server: Arc<str>, limit: usize },
    /// The server's fault, before it got the statement.
    Fault(ServerFault),
    /// The connection that the session's state lived on is gone.
    StateLost(ServerFault),
}

impl Unready {
    pub(super) fn client_error(&self) -> ClientError {
        match self {
            Unready::NoPrimary(why) => ClientError::no_primary(why),
            Unready::Queue { server, limit } => ClientError::queue_timeout(server, *limit),
            Unready::StateLost(fault) => ClientError::server_lost(fault),
            Unready::Fault(fault) => match &fault.refused {
                Some(refusal) => ClientError::refused(fault, refusal),
                None => ClientError::no_primary(&fault.to_string()),
            },
        }
    }
}

impl ClientSession {
    /// The state of a session that has done nothing yet.
    pub(super) fn begin_state(&mut self) {
        let schema = self
            .response
            .database
            .as_ref()
            .filter(|name| !name.is_empty())
            .map(|name| String::from_utf8_lossy(name).into_owned());
        let snapshot = self.shared.cluster.snapshot();
        let model = snapshot.model();
        let charset = match (self.response.charset, &snapshot.greeting) {
            (SERVER_CHARSET, Some(greeting)) => greeting.charset,
            (own, _) => own,
        };
        let mut dialect = dialect(model.as_deref(), charset);
        if self.caps.contains(Caps::IGNORE_SPACE) {
            // Servers turn the capability into a part of sql_mode.
            dialect.modes |= Modes::IGNORE_SPACE;
        }
        self.state = Session::new(schema, dialect);
        self.state.primary_only = self.user.route == Route::Primary || self.listener == Route::Primary;
        if model.is_some_and(|report| matches!(report.default_of("autocommit"), Some("OFF" | "0"))) {
            self.state.transaction.autocommit = false;
        }
    }

    /// After log-in: a schema that was asked for must exist, and the servers must know the user. Sends
    /// the OK that ends the log-in, or the server's own error in its place.
    pub(super) async fn enter_schema(&mut self, seq: u8, info: &[u8]) -> Next {
        if self.state.schema.is_some() {
            let ready = match self.ready_primary().await {
                Ok(()) => Ok(()),
                Err(Unready::Fault(fault)) if fault.refused.is_some() => {
                    Err(Unready::Fault(fault).client_error())
                }
                Err(unready) => self.ready_any_replica(unready).await,
            };
            if let Err(error) = ready {
                self.shared.metrics.refused(error.fault);
                tracing::info!(client = %self.view.client, error = %error.message, "turned away");
                let _ = login::send(&mut self.client, seq, &error.payload()).await;
                return Next::Close;
            }
        }
        let ok = self.ok_payload_with(info);
        match login::send(&mut self.client, seq, &ok).await {
            Ok(_) => Next::Go,
            Err(_) => Next::Close,
        }
    }

    /// With the primary gone, a replica can tell whether user and schema exist.
    async fn ready_any_replica(&mut self, primary: Unready) -> Result<(), ClientError> {
        let snapshot = self.shared.cluster.snapshot();
        for (at, node) in snapshot.topology.servers.iter().enumerate() {
            if !node.eligible {
                continue;
            }
            match self.ready_replica(at).await {
                Ok(()) => return Ok(()),
                Err(Unready::Fault(fault)) if fault.refused.is_some() => {
                    return Err(Unready::Fault(fault).client_error());
                }
                Err(_) => {}
            }
        }
        Err(match primary {
            Unready::Queue { .. } => primary.client_error(),
            _ => ClientError::no_server(&snapshot.faults()),
        })
    }

    /// Makes the primary connection ready for the next statement.
    pub(super) async fn ready_primary(&mut self) -> Result<(), Unready> {
        let snapshot = self.shared.cluster.snapshot();
        let at = snapshot.topology.primary;
        if let Some(leased) = &mut self.primary {
            if Some(leased.server.index) == at && leased.conn.is_fit() {
                return self.sync_primary().await;
            }
            let name = Arc::clone(&leased.server.name);
            self.primary = None;
            if self.state.pin().is_some() {
                let fault = ServerFault::new(
                    &name,
                    Fault::ServerLost,
                    "the connection that held this session's state is gone",
                );
                return Err(Unready::StateLost(fault));
            }
        }
        let Some(server) = at.and_then(|at| snapshot.servers.get(at)) else {
            return Err(Unready::NoPrimary(snapshot.why_no_primary()));
        };
        let leased = self.take(server, Use::Primary).await?;
        self.primary = Some(leased);
        self.sync_primary().await
    }

    async fn sync_primary(&mut self) -> Result<(), Unready> {
        let Some(leased) = &mut self.primary else { return Ok(()) };
        let synced = bring_up_to_date(&mut leased.conn, &self.state, false).await;
        if synced.is_err() {
            self.primary = None;
        }
        synced.map_err(Unready::Fault)
    }

    /// An open transaction goes on where it is, or not at all.
    pub(super) fn ready_in_transaction(&mut self, at: usize) -> Result<(), Unready> {
        if self.replica.as_mut().is_some_and(|leased| leased.server.index == at && leased.conn.is_fit()) {
            return Ok(());
        }
        let leased = self.replica.as_ref();
        let name = leased.map_or_else(|| Arc::from("replica"), |leased| Arc::clone(&leased.server.name));
        let why = "the connection of this read-only transaction is gone";
        Err(Unready::StateLost(ServerFault::new(&name, Fault::ServerLost, why)))
    }

    /// Makes a connection to this replica ready for the next statement.
    pub(super) async fn ready_replica(&mut self, at: usize) -> Result<(), Unready> {
        let fit =
            self.replica.as_mut().is_some_and(|leased| leased.server.index == at && leased.conn.is_fit());
        if !fit {
            self.give_back_replica();
            let snapshot = self.shared.cluster.snapshot();
            let Some(server) = snapshot.servers.get(at) else {
                return Err(Unready::NoPrimary("the server is no longer configured".to_owned()));
            };
            let leased = self.take(server, Use::Reads).await?;
            self.replica = Some(leased);
        }
        let Some(leased) = &mut self.replica else { return Ok(()) };
        let synced = bring_up_to_date(&mut leased.conn, &self.state, true).await;
        if synced.is_err() {
            self.replica = None;
        }
        synced.map_err(Unready::Fault)
    }

    async fn take(&self, server: &Arc<Server>, usage: Use) -> Result<Leased, Unready> {
        let snapshot = self.shared.cluster.snapshot();
        let node = snapshot.topology.servers.get(server.index);
        let Some(report) = node.and_then(|node| node.report.clone()) else {
            let fault = ServerFault::new(&server.name, Fault::ServerConnect, "it has not been reached yet");
            return Err(Unready::Fault(fault));
        };
        let wish = Wish {
            account: self.account.clone(),
            schema: self.state.schema.clone(),
            caps: (self.caps & CARRIED) | OURS,
            charset: self.response.charset,
        };
        let key = Key {
            user: Arc::clone(&self.account.user),
            caps: self.caps & CARRIED,
            generation: self.shared.generation.load(Ordering::Relaxed),
        };
        let like = snapshot.like_primary(server.index).unwrap_or_default();
        let need = Need { wish: &wish, key: &key, usage, report: &report, like: &like };
        let pool = self.shared.settings.load().pool.clone();
        let acquired = server.acquire(&need, &pool, &self.shared.metrics);
        let Some(acquired) = server.life().run_until_cancelled(acquired).await else {
            return Err(Unready::Fault(life_ended(&server.name)));
        };
        let conn = acquired.map_err(|none| match none {
            NoConnection::Queue { limit } => Unready::Queue { server: Arc::clone(&server.name), limit },
            NoConnection::Fault(fault) => Unready::Fault(fault),
        })?;
        let leased = Leased::new(conn, server, key);
        if leased.conn.caps & CARRIED != self.caps & CARRIED {
            let fault = ServerFault::new(
                &server.name,
                Fault::ServerProtocol,
                "it cannot do what this client's connection was promised",
            );
            server.note_fault(&fault);
            return Err(Unready::Fault(fault));
        }
        Ok(leased)
    }

    pub(super) fn give_back_replica(&mut self) {
        let open = self.state.transaction.open;
        let leased = self.replica.take();
        self.give_back(leased, open);
    }

    /// The session's end: clean connections are kept for others, all else is closed.
    pub(super) fn leave(&mut self) {
        let open = self.state.transaction.open;
        let (primary, replica) = (self.primary.take(), self.replica.take());
        self.give_back(primary, open || self.state.pin().is_some());
        self.give_back(replica, open);
    }

    fn give_back(&self, leased: Option<Leased>, dirty: bool) {
        let Some(leased) = leased else { return };
        if !dirty {
            let settings = self.shared.settings.load();
            let Leased { conn, server, key, .. } = leased;
            server.pool.give_back(key, conn, settings.pool.max_idle, settings.pool.max_age);
        }
    }
}

/// What we ask of servers for ourselves.
const OURS: Caps = Caps::SESSION_TRACK
    .union(Caps::TRANSACTIONS)
    .union(Caps::PLUGIN_AUTH)
    .union(Caps::PLUGIN_AUTH_LENENC)
    .union(Caps::CONNECT_ATTRS);

/// Sends what the connection has not heard of the session's schema and settings, and waits for it: a
/// statement must never run in another state than the client's.
async fn bring_up_to_date(conn: &mut BackendConn, state: &Session, reads: bool) -> Result<(), ServerFault> {
    let mut statements: Vec<(Command, &[u8])> = Vec::new();
    let schema = state.schema.as_deref().filter(|schema| conn.schema.as_deref() != Some(schema));
    if let Some(schema) = schema {
        statements.push((Command::InitDb, schema.as_bytes()));
    } else if state.schema.is_none() && conn.schema.is_some() {
        return Err(ServerFault::new(
            &conn.server,
            Fault::Internal,
            "a connection cannot go back to no schema",
        ));
    }
    let unheard = state.journal.after(conn.heard).filter(|entry| !(reads && entry.primary_only));
    statements.extend(unheard.map(|entry| (Command::Query, entry.sql.as_slice())));
    if !statements.is_empty() {
        let life = conn.life.clone();
        let replies = life.run_until_cancelled(conn.ask(&statements)).await;
        for reply in replies.unwrap_or_else(|| Err(life_ended(&conn.server)))? {
            if let Reply::Err { code, state, message } = reply {
                let detail = format!("it refused a setting of this session: {message} ({code})");
                let fault = ServerFault::new(&conn.server, Fault::ServerConnect, detail);
                return Err(ServerFault { refused: Some(Refusal { code, state, message }), ..fault });
            }
        }
        conn.schema.clone_from(&state.schema);
    }
    conn.heard = state.journal.last();
    Ok(())
}

/// The probe has given the server up: it may be frozen, and never answer.
pub(super) fn life_ended(server: &Arc<str>) -> ServerFault {
    ServerFault::new(server, Fault::ServerLost, "it was declared down, or changed its role")
}

/// How a session's statements are to be read, before it has said anything.
fn dialect(model: Option<&Report>, charset: u8) -> Dialect {
    let mut dialect = Dialect { charset: charset_of(charset), ..Dialect::default() };
    if let Some(report) = model {
        dialect.flavour = report.flavour;
        dialect.version = version_number(&report.version);
        dialect.modes = Modes::from_sql_mode(report.default_of("sql_mode").unwrap_or_default());
    }
    dialect
}

fn charset_of(collation: u8) -> Charset {
    let collation = mysql_common::collations::Collation::resolve(u16::from(collation).into());
    Charset::from_name(collation.charset())
}

/// 101119 for `10.11.19-MariaDB-log`.
pub(crate) fn version_number(text: &str) -> u32 {
    let mut parts =
        text.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>().unwrap_or(0).min(9_999));
    let mut part = || parts.next().unwrap_or(0);
    let (major, minor, patch) = (part(), part().min(99), part().min(99));
    major.saturating_mul(10_000).saturating_add(minor.saturating_mul(100)).saturating_add(patch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_as_executable_comments_write_them() {
        assert_eq!(version_number("10.11.19-MariaDB-0+deb12u1"), 101_119);
        assert_eq!(version_number("9.7.4"), 90_704);
        assert_eq!(version_number("8.0.36-28"), 80_036);
        assert_eq!(version_number("nonsense"), 0);
    }
}
