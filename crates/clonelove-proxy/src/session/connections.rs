//! The session's connections: one to the primary, one to a replica, each taken for a statement and given
//! back after it, unless the session's state keeps it. Owns taking, bringing up to date and giving back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use clonelove_route::pins::Pin;
use clonelove_route::report::Report;
use clonelove_route::session::{Ran, Session};
use clonelove_sql::{Charset, Dialect, Modes};
use clonelove_wire::{Caps, Command};
use tokio::time::Instant;

use super::login::CARRIED;
use super::needs::Needs;
use super::{ClientSession, Next, login};
use crate::backend::conn::{BackendConn, NotBrought, Target};
use crate::backend::pool::{Class, Key, Leasing, Pooled};
use crate::backend::reply::Reply;
use crate::backend::setup::{SERVER_CHARSET, Use};
use crate::cluster::Snapshot;
use crate::error::{ClientError, Fault, ServerFault};
use crate::server::{Acquired, Need, NoConnection, Server};
use crate::settings::Route;
use crate::shared::Working;

/// A connection held by a session. Dropping it closes the socket.
pub(super) struct Leased {
    pub(super) conn: Box<BackendConn>,
    pub(super) server: Arc<Server>,
    key: Arc<Key>,
    leasing: Leasing<Box<BackendConn>>,
    pinned: PinnedCount,
    working: Option<Working>,
}

/// Shows a lease as pinned for as long as it is.
struct PinnedCount {
    server: Arc<Server>,
    pinned: bool,
}

impl PinnedCount {
    fn set(&mut self, pinned: bool) {
        if pinned && !self.pinned {
            self.server.pinned.fetch_add(1, Ordering::Relaxed);
        } else if !pinned && self.pinned {
            self.server.pinned.fetch_sub(1, Ordering::Relaxed);
        }
        self.pinned = pinned;
    }
}

impl Drop for PinnedCount {
    fn drop(&mut self) {
        self.set(false);
    }
}

impl Leased {
    /// A connection just taken; it counts as leased until this is dropped or given back.
    pub(super) fn new(
        conn: Box<BackendConn>,
        server: &Arc<Server>,
        key: Arc<Key>,
        leasing: Leasing<Box<BackendConn>>,
    ) -> Self {
        let pinned = PinnedCount { server: Arc::clone(server), pinned: false };
        Self { conn, server: Arc::clone(server), key, leasing, pinned, working: None }
    }

    /// From now on it is shared with others than before.
    pub(super) fn becomes(&mut self, key: &Arc<Key>, caps: Caps) {
        self.key = Arc::clone(key);
        self.conn.caps = (self.conn.caps - CARRIED) | caps & CARRIED;
    }

    /// Shows whether the session's state lives on this connection.
    pub(super) fn set_pinned(&mut self, pinned: bool) {
        self.pinned.set(pinned);
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
    /// Whether a server refuses, in words of its own.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Unready::Fault(fault) if fault.refused.is_some())
    }

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
        self.key = None;
        self.open = BTreeMap::new();
        self.next_statement = 1;
        self.last_statement = 0;
        self.to_check = None;
        self.left = None;
        self.timeouts = None;
        self.wrote = None;
        self.begin_tracking();
        self.state.primary_only = self.route == Route::Primary || self.listener == Route::Primary;
        if model.is_some_and(|report| matches!(report.default_of("autocommit"), Some("OFF" | "0"))) {
            self.state.transaction.autocommit = false;
        }
    }

    /// After log-in: a schema that was asked for must exist, and the servers must know the user. Sends
    /// the OK that ends the log-in, or the server's own error in its place.
    pub(super) async fn enter_schema(&mut self, seq: u8, info: &[u8]) -> Next {
        if let Err(error) = self.check_schema().await {
            self.shared.metrics.refused(error.fault);
            tracing::info!(client = %self.view.client(), error = %error.message, "turned away");
            let _ = login::send(&mut self.client, seq, &error.payload()).await;
            return Next::Close;
        }
        let ok = self.ok_payload_with(info);
        match login::send(&mut self.client, seq, &ok).await {
            Ok(_) => Next::Go,
            Err(_) => Next::Close,
        }
    }

    async fn check_schema(&mut self) -> Result<(), ClientError> {
        if self.account.watched {
            Box::pin(self.ask_to_be_let_in()).await?;
        }
        let Some(wanted) = self.state.schema.clone() else { return Ok(()) };
        if let Some(called) = self.shared.known.schema(&self.account.user, &wanted) {
            self.state.schema = Some(called);
        } else {
            self.try_schema().await?;
            self.shared.known.learn_schema(&self.account.user, &wanted, &wanted);
        }
        Ok(())
    }

    async fn try_schema(&mut self) -> Result<(), ClientError> {
        let needs = Needs { only_schema: true, ..Needs::of_class(Class::Write) };
        let tried = match self.ready_primary(needs, None).await {
            Ok(_) => Ok(()),
            Err(Unready::Fault(fault)) if fault.refused.is_some() => {
                Err(Unready::Fault(fault).client_error())
            }
            Err(unready) => self.ready_any_replica(unready).await,
        };
        // What was asked need not be in this session's state.
        self.settle_early(Instant::now());
        tried
    }

    /// With the primary gone, a replica can tell whether user and schema exist.
    async fn ready_any_replica(&mut self, primary: Unready) -> Result<(), ClientError> {
        let snapshot = self.shared.cluster.snapshot();
        for (at, node) in snapshot.topology.servers.iter().enumerate() {
            if !node.eligible {
                continue;
            }
            let needs = Needs { only_schema: true, ..Needs::of_class(Class::Read) };
            match self.ready_replica(at, needs, None).await {
                Ok(_) => return Ok(()),
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

    /// Makes the primary connection ready for the next statement; `along` is sent behind what it must
    /// hear, if it must hear anything: then the answer is true.
    pub(super) async fn ready_primary(
        &mut self,
        needs: Needs,
        along: Option<&[u8]>,
    ) -> Result<bool, Unready> {
        let snapshot = self.shared.cluster.snapshot();
        let at = snapshot.topology.primary;
        if let Some(leased) = &mut self.primary {
            if Some(leased.server.index) == at && leased.conn.is_fit() {
                if leased.conn.expired {
                    Box::pin(self.set_up_expired(&snapshot)).await?;
                }
                return self.bring_primary(&snapshot, needs, along).await;
            }
            let name = Arc::clone(&leased.server.name);
            let kept = self.kept_for(needs);
            self.lose_primary();
            if kept {
                return Err(state_lost(&name));
            }
        }
        let Some(server) = at.and_then(|at| snapshot.servers.get(at)) else {
            return Err(Unready::NoPrimary(snapshot.why_no_primary()));
        };
        let (leased, sent) = self.take(&snapshot, server, Use::Primary, needs, along).await?;
        self.primary = Some(leased);
        Ok(sent)
    }

    /// A connection that was kept hears what changed meanwhile.
    async fn bring_primary(
        &mut self,
        snapshot: &Snapshot,
        needs: Needs,
        along: Option<&[u8]>,
    ) -> Result<bool, Unready> {
        let until = Instant::now() + self.shared.settings.load().pool.connect_timeout;
        let Self { primary, state, response, .. } = self;
        let Some(leased) = primary else { return Ok(false) };
        let name = Arc::clone(&leased.server.name);
        let brought = bring_kept(leased, state, response.charset, (snapshot, needs, along, until)).await;
        brought.map_err(|not| {
            let pinned = self.kept_for(needs);
            self.lose_primary();
            match not {
                NotBrought::Refused(fault) | NotBrought::NoSchema(fault) => Unready::Fault(fault),
                NotBrought::Unfit(_) if pinned => state_lost(&name),
                NotBrought::Unfit(fault) => Unready::Fault(fault),
            }
        })
    }

    /// Whether no other connection to the primary will do for this statement.
    pub(super) fn kept_for(&self, needs: Needs) -> bool {
        let held = self.state.held.is_some_and(|held| held.ran == Ran::Primary);
        // Where LAST_INSERT_ID() or FOUND_ROWS() moved, later statements will want to know where to.
        let moved = self.state.traces.last_insert_id_moved || self.state.found_rows_are_on_primary();
        self.state.pin().is_some() || moved || held && needs.previous
    }

    /// The primary connection is closed, with what it kept for the next statement.
    pub(super) fn lose_primary(&mut self) {
        self.primary = None;
        // What it held of a transaction, the server takes back.
        self.wrote = None;
        self.state.traces.last_insert_id_moved = false;
        self.state.traces.found_rows_moved = self.state.found_rows_are_on_replica();
        if self.state.held.is_some_and(|held| held.ran == Ran::Primary) {
            self.state.held = None;
        }
    }

    /// The replica connection is closed, with what it kept for the next statement.
    pub(super) fn lose_replica(&mut self) {
        self.replica = None;
        self.state.traces.found_rows_moved = self.state.found_rows_are_on_primary();
        if self.state.held.is_some_and(|held| matches!(held.ran, Ran::Replica(_))) {
            self.state.held = None;
        }
    }

    /// An open transaction, or what the last statement left and this one asks for, is where it is, or nowhere.
    pub(super) fn ready_in_transaction(&mut self, at: usize) -> Result<(), Unready> {
        if self.replica.as_mut().is_some_and(|leased| leased.server.index == at && leased.conn.is_fit()) {
            return Ok(());
        }
        let leased = self.replica.as_ref();
        let name = leased.map_or_else(|| Arc::from("replica"), |leased| Arc::clone(&leased.server.name));
        let why = "the connection that held this session's state is gone";
        Err(Unready::StateLost(ServerFault::new(&name, Fault::ServerLost, why)))
    }

    /// Makes a connection to this replica ready for the next statement; as [`Self::ready_primary`].
    pub(super) async fn ready_replica(
        &mut self,
        at: usize,
        needs: Needs,
        along: Option<&[u8]>,
    ) -> Result<bool, Unready> {
        let snapshot = self.shared.cluster.snapshot();
        if let Some(leased) = &mut self.replica {
            let until = Instant::now() + self.shared.settings.load().pool.connect_timeout;
            if leased.server.index == at && leased.conn.is_fit() {
                let kept = (&*snapshot, needs, along, until);
                let brought = bring_kept(leased, &self.state, self.response.charset, kept).await;
                return brought.map_err(|not| {
                    self.lose_replica();
                    let (NotBrought::Refused(fault) | NotBrought::NoSchema(fault) | NotBrought::Unfit(fault)) =
                        not;
                    Unready::Fault(fault)
                });
            }
            self.give_back_replica(Instant::now());
        }
        let Some(server) = snapshot.servers.get(at) else {
            return Err(Unready::NoPrimary("the server is no longer configured".to_owned()));
        };
        let (leased, sent) = self.take(&snapshot, server, Use::Reads, needs, along).await?;
        self.replica = Some(leased);
        Ok(sent)
    }

    /// Replicas that refused this session's settings a moment ago.
    pub(super) fn refusing_replicas(&self) -> Vec<usize> {
        let snapshot = self.shared.cluster.snapshot();
        let refusing = snapshot.servers.iter().filter(|server| server.refuses(self.state.journal.id()));
        refusing.map(|server| server.index).collect()
    }

    async fn take(
        &mut self,
        snapshot: &Snapshot,
        server: &Arc<Server>,
        usage: Use,
        needs: Needs,
        along: Option<&[u8]>,
    ) -> Result<(Leased, bool), Unready> {
        let node = snapshot.topology.servers.get(server.index);
        let Some(report) = node.and_then(|node| node.report.as_ref()) else {
            let fault = ServerFault::new(&server.name, Fault::ServerConnect, "it has not been reached yet");
            return Err(Unready::Fault(fault));
        };
        let key = self.pool_key();
        let like = || snapshot.like_primary(server.index).unwrap_or_default();
        let target = Target {
            usage,
            charset: self.response.charset,
            schema: self.state.schema.as_deref(),
            journal: &self.state.journal,
            like: &like,
            last_insert_id: needs.last_insert_id.then_some(self.state.traces.last_insert_id),
            no_variables: needs.no_variables,
            // What the one before left must not be taken for this session's.
            no_diagnostics: true,
            no_position: true,
            asks_diagnostics: needs.no_diagnostics,
        };
        let need = Need {
            account: &self.account,
            key: &key,
            class: needs.class,
            only_schema: needs.only_schema,
            core: self.local.at,
            caps: (self.caps & (CARRIED | Caps::EXPIRED_PASSWORDS)) | OURS,
            target: &target,
            report,
        };
        let settings = Arc::clone(self.settings.load());
        let acquired = server.acquire(&need, along, &settings.pool, &self.shared.metrics);
        let Some(acquired) = server.life().within(acquired).await else {
            return Err(Unready::Fault(life_ended(&server.name)));
        };
        let Acquired { conn, leasing, sent } = acquired.map_err(|none| match none {
            NoConnection::Queue { limit } => Unready::Queue { server: Arc::clone(&server.name), limit },
            NoConnection::Fault(fault) => {
                if fault.fault == Fault::ServerAuth && self.account.name.is_some() {
                    self.shared.accounts.doubt();
                }
                // Schemas and rights may only be on their way to it.
                let passing = |code: u16| matches!(code, 1044 | 1045 | 1049 | 1142);
                if usage == Use::Reads && fault.refused.as_ref().is_some_and(|it| !passing(it.code)) {
                    server.note_refusal(self.state.journal.id());
                }
                Unready::Fault(fault)
            }
        })?;
        if conn.caps & CARRIED != self.caps & CARRIED {
            let fault = ServerFault::new(
                &server.name,
                Fault::ServerProtocol,
                "it cannot do what this client's connection was promised",
            );
            server.note_fault(&fault);
            return Err(Unready::Fault(fault));
        }
        let mut conn = conn;
        if conn.expired {
            if usage == Use::Reads {
                let why = "the password of the account has expired";
                return Err(Unready::Fault(ServerFault::new(&server.name, Fault::ServerAuth, why)));
            }
            // Whatever is set meanwhile, nobody can be asked for.
            self.state.pins.hold(Pin::SessionSetting);
        }
        conn.io.use_room(&self.local.room);
        let working = Working::begin(&self.view, (server.index, conn.thread));
        let mut leased = Leased::new(conn, server, key, leasing);
        leased.working = Some(working);
        Ok((leased, sent))
    }

    /// Which connections this session can share.
    pub(super) fn pool_key(&mut self) -> Arc<Key> {
        // Whom the server has to let in shares no connection with anybody.
        let alone = Key::ALONE.wrapping_add(self.view.id.into());
        let rights = if self.account.watched { alone } else { self.account.rights };
        let generation = (self.shared.generation.load(Ordering::Relaxed), rights);
        if let Some(key) = self.key.as_ref().filter(|key| key.generation == generation) {
            return Arc::clone(key);
        }
        let user = Arc::clone(&self.account.user);
        let account = self.account.name.clone();
        // One that a server knows by its client's address serves no other's.
        let told = self.shared.settings.load().servers.iter().any(|server| server.proxy_protocol);
        let from = self.account.from.filter(|_| told);
        let caps = self.caps & (CARRIED | Caps::SESSION_TRACK);
        let key = self.local.keys.share(Arc::new(Key::new(user, (account, from), caps, generation)));
        self.key = Some(Arc::clone(&key));
        key
    }

    /// COM_SET_OPTION on the connections that the session keeps; its capabilities are what they will be.
    pub(super) async fn set_option_there(&mut self, option: &[u8]) -> Result<(), ServerFault> {
        self.key = None;
        let (key, caps) = (self.pool_key(), self.caps);
        for leased in [&mut self.primary, &mut self.replica].into_iter().flatten() {
            let life = leased.conn.life.clone();
            let set = [(Command::SetOption, option)];
            let asked = life.run(leased.conn.ask(&set)).await;
            match asked.unwrap_or_else(|| Err(life_ended(&leased.server.name)))?.pop() {
                Some(Reply::Ok) => leased.becomes(&key, caps),
                _ => {
                    let why = "it refuses COM_SET_OPTION";
                    return Err(ServerFault::new(&leased.server.name, Fault::ServerProtocol, why));
                }
            }
        }
        Ok(())
    }

    pub(super) fn give_back_replica(&mut self, now: Instant) {
        // Whatever pins was left here, where there was no primary to leave it on.
        let left = self.state.transaction.open || self.state.pins.current().is_some();
        let open = left && matches!(self.state.ran, Ran::Replica(_));
        let leased = self.replica.take();
        if self.state.held.is_some_and(|held| matches!(held.ran, Ran::Replica(_))) {
            self.state.held = None;
        }
        self.give_back(leased, open, now);
    }

    pub(super) fn give_back_primary(&mut self, now: Instant) {
        let dirty = self.state.pin().is_some();
        let leased = self.primary.take();
        self.give_back(leased, dirty, now);
    }

    /// The session's end: clean connections are kept for others, all else is closed.
    pub(super) fn leave(&mut self) {
        let now = Instant::now();
        self.give_back_primary(now);
        self.give_back_replica(now);
        self.state.held = None;
        self.state.traces.last_insert_id_moved = false;
        self.state.traces.found_rows_moved = false;
    }

    fn give_back(&mut self, leased: Option<Leased>, dirty: bool, now: Instant) {
        let Some(mut leased) = leased else { return };
        self.count_server_bytes(&mut leased);
        if dirty || self.account.watched || leased.working.as_ref().is_some_and(Working::is_being_killed) {
            return leased.conn.part();
        }
        leased.working = None;
        let max_idle = self.settings.load().pool.max_idle;
        let Leased { mut conn, server, key, leasing, .. } = leased;
        conn.native = false;
        if self.state.traces.last_insert_id_moved {
            // Nobody asked for it in time; the next session must not be answered with it.
            conn.last_insert_id = None;
        }
        conn.io.rest();
        server.pool.give_back(&key, (conn, leasing), max_idle, now);
    }

    pub(super) fn count_server_bytes(&self, leased: &mut Leased) {
        let (read, written) = leased.conn.io.take_counts();
        self.shared.metrics.bytes.server_in.inc_by(read);
        self.shared.metrics.bytes.server_out.inc_by(written);
    }
}

/// A connection that its session kept hears what changed meanwhile.
async fn bring_kept(
    leased: &mut Leased,
    state: &Session,
    charset: u8,
    (snapshot, needs, along, until): (&Snapshot, Needs, Option<&[u8]>, Instant),
) -> Result<bool, NotBrought> {
    let server = Arc::clone(&leased.server);
    let like = || snapshot.like_primary(server.index).unwrap_or_default();
    let target = Target {
        usage: leased.conn.usage,
        charset,
        schema: state.schema.as_deref(),
        journal: &state.journal,
        like: &like,
        last_insert_id: needs.last_insert_id.then_some(state.traces.last_insert_id),
        // What it has, the session itself left there.
        no_variables: false,
        no_diagnostics: needs.no_diagnostics,
        no_position: needs.no_position,
        asks_diagnostics: needs.no_diagnostics,
    };
    server.bring(&mut leased.conn, &target, along, || until).await
}

fn state_lost(name: &Arc<str>) -> Unready {
    let why = "the connection that held this session's state is gone";
    Unready::StateLost(ServerFault::new(name, Fault::ServerLost, why))
}

/// What we ask of servers for ourselves.
const OURS: Caps = Caps::SESSION_TRACK
    .union(Caps::TRANSACTIONS)
    .union(Caps::PLUGIN_AUTH)
    .union(Caps::PLUGIN_AUTH_LENENC)
    .union(Caps::CONNECT_ATTRS);

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
