//! One configured server while the proxy runs: its pool, its life, what is known of its position, its
//! counters. Owns how a session gets a connection to it; who may use it is routing's business.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use clonelove_route::freshness::{Rules, Stamp};
use clonelove_route::journal::{Journal, says_transaction};
use clonelove_route::position::Position;
use clonelove_route::report::Report;
use clonelove_wire::Caps;
use clonelove_wire::handshake::client::Session;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

use crate::backend::conn::{BackendConn, NotBrought, Target};
use crate::backend::login::{Account, Wish, log_in};
use crate::backend::pool::{Class, Key, Lease, Leasing, Pool, Slot, jittered};
use crate::backend::statements::{OnServer, Statements};
use crate::backend::warm::{States, Warm};
use crate::by_client::ByClient;
use crate::cluster::Waiters;
use crate::cores::NOWHERE;
use crate::ending::Life;
use crate::error::{Fault, ServerFault};
use crate::freshness::Freshness;
use crate::metrics::{Metrics, ServerMetrics};
use crate::net::Buffered;
use crate::session::version_number;
use crate::settings::{Pool as PoolSettings, ServerSettings};
use crate::shared::Clients;

/// One configured server.
pub(crate) struct Server {
    pub(crate) index: usize,
    pub(crate) name: Arc<str>,
    pub(crate) settings: ArcSwap<ServerSettings>,
    pub(crate) pool: Pool<Box<BackendConn>>,
    /// What its connections are wanted for.
    warm: States,
    pub(crate) in_flight: AtomicU32,
    pub(crate) queries: AtomicU64,
    pub(crate) pinned: AtomicU64,
    pub(crate) monitors: AtomicU64,
    /// Statements prepared on its connections.
    pub(crate) prepared: Arc<OnServer>,
    /// What it is known to have executed; none while its monitoring connection is broken.
    known: ArcSwapOption<Position>,
    /// Where that is weighed against what was written.
    freshness: Arc<Freshness>,
    /// Who waits for its position.
    pub(crate) waiters: Waiters,
    pub(crate) metrics: ServerMetrics,
    /// Asks for a probe now.
    pub(crate) nudge: Notify,
    /// How many probes have come to their end.
    pub(crate) probes: watch::Sender<u64>,
    /// Who made it read-only.
    pub(crate) by_client: Arc<ByClient>,
    pub(crate) drained: AtomicBool,
    /// No longer in the configuration.
    pub(crate) removed: AtomicBool,
    life: ArcSwap<Life>,
    /// Whose sessions are woken when a life ends.
    clients: Arc<Clients>,
    /// States that it refused, by their journals' numbers, and when.
    refused: Mutex<Vec<(u64, Instant)>>,
    any_refused: AtomicBool,
    /// Of users with several passwords, which one it takes.
    right_login: Mutex<HashMap<Arc<str>, usize>>,
    pub(crate) last_error: Mutex<Option<String>>,
}

/// What a session needs of a connection.
pub(crate) struct Need<'a> {
    pub(crate) account: &'a Arc<Account>,
    pub(crate) key: &'a Arc<Key>,
    pub(crate) class: Class,
    /// Of the target an idle connection need only be in the schema, which it is asked for in any case.
    pub(crate) only_schema: bool,
    /// Where it runs.
    pub(crate) core: usize,
    /// What bytes on the wire should look like.
    pub(crate) caps: Caps,
    pub(crate) target: &'a Target<'a>,
    /// What the probe last saw.
    pub(crate) report: &'a Report,
}

/// A connection in the state that was asked for.
pub(crate) struct Acquired {
    pub(crate) conn: Box<BackendConn>,
    pub(crate) leasing: Leasing<Box<BackendConn>>,
    /// What was to go along was sent.
    pub(crate) sent: bool,
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum NoConnection {
    /// All are in use.
    Queue { limit: usize },
    /// The server's or the network's fault.
    Fault(ServerFault),
}

impl Server {
    pub(crate) fn new(
        index: usize,
        settings: ServerSettings,
        metrics: &Metrics,
        freshness: &Arc<Freshness>,
        clients: &Arc<Clients>,
    ) -> Self {
        let name: Arc<str> = settings.name.as_str().into();
        Self {
            index,
            pool: Pool::new(settings.max_connections),
            warm: States::default(),
            in_flight: AtomicU32::new(0),
            queries: AtomicU64::new(0),
            pinned: AtomicU64::new(0),
            monitors: AtomicU64::new(0),
            prepared: Arc::default(),
            known: ArcSwapOption::empty(),
            freshness: Arc::clone(freshness),
            waiters: Waiters::default(),
            metrics: metrics.server(&name),
            nudge: Notify::new(),
            probes: watch::Sender::new(0),
            by_client: Arc::default(),
            drained: AtomicBool::new(false),
            removed: AtomicBool::new(false),
            life: ArcSwap::from_pointee(Life::default()),
            clients: Arc::clone(clients),
            refused: Mutex::default(),
            any_refused: AtomicBool::new(false),
            right_login: Mutex::default(),
            last_error: Mutex::new(None),
            settings: ArcSwap::from_pointee(settings),
            name,
        }
    }

    /// Ends all that began before: connections are closed, replies under way are given up.
    pub(crate) fn end_life(&self) {
        let old = self.life.swap(Arc::new(Life::default()));
        old.end();
        self.clients.wake_all();
        self.by_client.forget();
        self.pool.clear();
        self.forget_position();
    }

    /// How long ago the oldest write that it lacks became known, in seconds; none while its position is unknown.
    pub(crate) fn lag(&self) -> Option<f64> {
        self.freshness.lag(self.index).map(|lag| lag.as_secs_f64())
    }

    /// Whether it is known to have all writes up to one.
    pub(crate) fn has(&self, stamp: Stamp) -> bool {
        self.freshness.has(self.index, stamp)
    }

    /// The position that brings it nearer to a stamp.
    pub(crate) fn position_towards(&self, stamp: Stamp) -> Option<Position> {
        self.freshness.position_towards(self.index, stamp)
    }

    /// What it is known to have executed.
    pub(crate) fn known(&self) -> Option<Arc<Position>> {
        self.known.load_full()
    }

    /// Whether a rule is in force.
    pub(crate) fn keeps(&self, rule: Rules) -> bool {
        self.freshness.keeps(rule)
    }

    /// Its position is not known any more: it may have gone back.
    pub(crate) fn forget_position(&self) {
        if !self.freshness.keeps(Rules::VOID_ON_BREAK) {
            return;
        }
        self.known.store(None);
        self.freshness.applied(self.index, None);
    }

    /// It told what it has executed. `last` is what it told on the same connection before: a server that lacks any of
    /// that has lost transactions, and all that was known of it is void. False then.
    pub(crate) fn told_position(&self, last: &mut Option<Arc<Position>>, position: Position) -> bool {
        let position = Arc::new(position);
        let before = last.replace(Arc::clone(&position));
        let kept = self.freshness.keeps(Rules::NO_WAY_BACK);
        if kept && before.is_some_and(|before| !position.covers(&before)) {
            tracing::warn!(server = %self.name, "its position moved backwards: it lost transactions");
            self.end_life();
            return false;
        }
        // What another connection told meanwhile may be ahead of this.
        if self.known.load().as_ref().is_none_or(|known| !known.covers(&position)) {
            self.freshness.applied(self.index, Some(&position));
            self.known.store(Some(position));
        }
        self.freshness.told(self.index);
        true
    }

    /// A connection that was made just now must find the server no earlier than it was known to be before.
    pub(crate) fn went_back(&self, before: Option<&Position>, now: &Position) -> bool {
        let kept = self.freshness.keeps(Rules::NO_WAY_BACK);
        let went_back = kept && before.is_some_and(|before| !now.covers(before));
        if went_back {
            tracing::warn!(server = %self.name, "its position moved backwards: it lost transactions");
            self.end_life();
            self.nudge.notify_one();
        }
        went_back
    }

    /// It cannot be brought to these settings, as a replica without time-zone tables cannot.
    pub(crate) fn note_refusal(&self, journal: u64) {
        const MOST: usize = 64;
        let mut refused = self.refused.lock();
        refused.retain(|(known, at)| *known != journal && at.elapsed() < REFUSED_FOR);
        if refused.len() < MOST {
            refused.push((journal, Instant::now()));
        }
        self.any_refused.store(true, Ordering::Relaxed);
    }

    /// Whether it refused these settings a moment ago.
    pub(crate) fn refuses(&self, journal: u64) -> bool {
        self.any_refused.load(Ordering::Relaxed)
            && self.refused.lock().iter().any(|(known, at)| *known == journal && at.elapsed() < REFUSED_FOR)
    }

    pub(crate) fn life(&self) -> Life {
        Life::clone(&self.life.load())
    }

    /// A fault of this server: counted, shown, and a reason to look at it now.
    pub(crate) fn note_fault(&self, fault: &ServerFault) {
        self.metrics.error(fault.fault);
        *self.last_error.lock() = Some(fault.detail.clone());
        if matches!(fault.fault, Fault::ServerLost | Fault::ServerConnect) {
            self.nudge.notify_one();
        }
    }

    /// A connection in the state a statement needs: an idle one, brought there, else a new one. `along` is
    /// sent behind what it must hear, where it hears anything.
    pub(crate) async fn acquire(
        &self,
        need: &Need<'_>,
        along: Option<&[u8]>,
        settings: &PoolSettings,
        metrics: &Metrics,
    ) -> Result<Acquired, NoConnection> {
        let mut queued = None;
        // In whatever state it is: best in the one that others will want it in next.
        let most = if need.only_schema { self.pool.most_wanted(need.key) } else { None };
        let wanted = most.unwrap_or_else(|| need.target.state());
        loop {
            let patience = (settings.queue_timeout, &mut queued);
            let lease = self.pool.lease(need.key, (wanted, need.core), need.class, patience).await;
            let (lease, leasing) = lease.map_err(|timeout| {
                self.metrics.pool_timeouts.inc();
                NoConnection::Queue { limit: timeout.limit }
            })?;
            metrics.pool_wait.observe(queued.map_or(0.0, |since: Instant| since.elapsed().as_secs_f64()));
            let soon = || Instant::now() + settings.connect_timeout;
            let (mut conn, until) = match lease {
                Lease::Idle(mut conn) => {
                    if conn.home != need.core && conn.move_to(need.core).is_err() {
                        continue;
                    }
                    (conn, None)
                }
                Lease::Slot(slot) => {
                    let until = soon();
                    let opened = Box::pin(self.open_counted(need, slot, settings, until)).await;
                    (opened?, Some(until))
                }
            };
            let fresh = until.is_some();
            let only = need.target.schema.filter(|_| need.only_schema && !fresh);
            let brought = match only.filter(|schema| conn.tells_of(schema)) {
                Some(schema) => self.enter(&mut conn, schema, soon()).await,
                None => self.bring(&mut conn, need.target, along, || until.unwrap_or_else(soon)).await,
            };
            match brought {
                Ok(sent) => {
                    if (sent || fresh) && !need.account.watched {
                        let warm = || Warm::new(need.account, need.caps, need.target);
                        self.warm.remember(need.key, wanted, || self.pool.most_wanted(need.key), warm);
                    }
                    return Ok(Acquired { conn, leasing, sent });
                }
                Err(NotBrought::Refused(fault)) => return Err(NoConnection::Fault(fault)),
                Err(NotBrought::NoSchema(fault)) => {
                    self.pool.give_back(need.key, (conn, leasing), settings.max_idle, Instant::now());
                    return Err(NoConnection::Fault(fault));
                }
                Err(NotBrought::Unfit(fault)) if fresh => {
                    self.note_fault(&fault);
                    return Err(NoConnection::Fault(fault));
                }
                // One from before that cannot be made fit is closed, and that is all: the next is tried.
                Err(NotBrought::Unfit(fault)) => {
                    tracing::debug!(server = %self.name, why = %fault.detail, "an idle connection is closed");
                }
            }
        }
    }

    /// Brings a connection to a state, where that is to be done by then; answers whether `along` was sent behind the
    /// steps.
    pub(crate) async fn bring(
        &self,
        conn: &mut BackendConn,
        target: &Target<'_>,
        along: Option<&[u8]>,
        until: impl FnOnce() -> Instant + Send,
    ) -> Result<bool, NotBrought> {
        let unfit = |what: &str| NotBrought::Unfit(ServerFault::new(&self.name, Fault::ServerLost, what));
        let steps = conn.steps(target).ok_or_else(|| unfit("it has state that the session does not want"))?;
        if steps.is_empty() {
            return Ok(false);
        }
        let life = conn.life.clone();
        let take = Box::pin(conn.take(&steps, target, along));
        match timeout_at(until(), life.run(take)).await {
            Ok(Some(Ok(()))) => Ok(along.is_some()),
            Ok(Some(Err(fault))) => Err(fault),
            Ok(None) => Err(unfit("it was declared down")),
            Err(_) => Err(unfit("bringing a connection up to date took too long")),
        }
    }

    /// Has a connection enter a schema, were it in that already: rights may have changed since. Its state is else what
    /// it was.
    async fn enter(&self, conn: &mut BackendConn, schema: &str, until: Instant) -> Result<bool, NotBrought> {
        let (before, journal) = (conn.schema.take(), conn.journal.clone());
        let target = Target {
            usage: conn.usage,
            charset: conn.charset,
            schema: Some(schema),
            journal: &journal,
            like: &Vec::new,
            last_insert_id: None,
            no_variables: false,
            no_diagnostics: false,
            no_position: false,
            asks_diagnostics: false,
        };
        let entered = self.bring(conn, &target, None, || until).await;
        if entered.is_err() {
            conn.schema = before;
        }
        entered
    }

    async fn open_counted(
        &self,
        need: &Need<'_>,
        slot: Slot<Box<BackendConn>>,
        settings: &PoolSettings,
        until: Instant,
    ) -> Result<Box<BackendConn>, NoConnection> {
        let life = self.life();
        let opened = life.run(self.open(need, slot, settings.max_age, until)).await;
        let gone = || Err(ServerFault::new(&self.name, Fault::ServerLost, "it was declared down"));
        match opened.unwrap_or_else(gone) {
            Ok(conn) => {
                self.metrics.connects_ok.inc();
                Ok(conn)
            }
            Err(fault) => {
                self.metrics.connects_failed.inc();
                self.note_fault(&fault);
                Err(NoConnection::Fault(fault))
            }
        }
    }

    async fn open(
        &self,
        need: &Need<'_>,
        slot: Slot<Box<BackendConn>>,
        max_age: Duration,
        until: Instant,
    ) -> Result<Box<BackendConn>, ServerFault> {
        let life = self.life();
        let settings = self.settings.load_full();
        let target = need.target;
        let wish = Wish {
            account: Arc::clone(need.account),
            schema: target.schema.map(str::to_owned),
            caps: need.caps,
            charset: target.charset,
        };
        let born = Instant::now();
        let before = self.known();
        let (io, session) = self.log_in(&settings, &wish, until).await?;
        let mut conn = Box::new(BackendConn {
            io,
            caps: session.caps,
            server: Arc::clone(&self.name),
            thread: session.greeting.connection_id,
            home: need.core,
            life,
            usage: target.usage,
            flavour: need.report.flavour,
            says_transaction: says_transaction(need.report.flavour, version_number(&need.report.version)),
            tracks: need.key.caps.contains(Caps::SESSION_TRACK),
            charset: target.charset,
            schema: wish.schema,
            journal: Journal::default(),
            last_insert_id: Some(0),
            tainted: false,
            diagnostics: false,
            owes_position: false,
            statements: Statements::new(&self.prepared),
            expired: false,
            native: false,
            born,
            worn_at: born + jittered(max_age, session.greeting.connection_id),
            _slot: Some(slot),
        });
        if !session.caps.contains(Caps::SESSION_TRACK) {
            return Err(ServerFault::new(
                &self.name,
                Fault::ServerProtocol,
                "it does not offer session tracking, which is needed",
            ));
        }
        let position = self.set_up(&mut conn, (need.report, &(target.like)()), until).await?;
        let applied = position.filter(|_| self.keeps(Rules::APPLIED_ONLY));
        if applied.is_some_and(|now| self.went_back(before.as_deref(), &now)) {
            return Err(ServerFault::new(&self.name, Fault::ServerLost, "it lost transactions that it had"));
        }
        Ok(conn)
    }

    /// Sets a new connection up; answers what a replica has executed.
    pub(crate) async fn set_up(
        &self,
        conn: &mut BackendConn,
        (report, like): (&Report, &[(String, String)]),
        until: Instant,
    ) -> Result<Option<Position>, ServerFault> {
        let by_client = || self.by_client.holds();
        let kept = |rule| self.keeps(rule);
        let set_up = conn.set_up(report, like, &by_client, &kept);
        timeout_at(until, set_up).await.map_err(|_| {
            ServerFault::new(&self.name, Fault::ServerConnect, "setting up a connection took too long")
        })?
    }

    /// Connects and logs in, beginning with what of a user's passwords was right before.
    pub(crate) async fn log_in(
        &self,
        settings: &ServerSettings,
        wish: &Wish,
        until: Instant,
    ) -> Result<(Buffered, Session), ServerFault> {
        let user = &wish.account.user;
        let several = wish.account.logins.len() > 1;
        let first = if several { self.right_login.lock().get(user).copied().unwrap_or(0) } else { 0 };
        let (io, session, right) = log_in(&self.name, settings, wish, first, until).await?;
        if several && right != first {
            self.right_login.lock().insert(Arc::clone(user), right);
        }
        Ok((io, session))
    }

    /// For each key that has been in use lately and has fewer than `min_idle` idle in the state that it is wanted in most
    /// often: opens one, or brings one there that rests in another.
    pub(crate) async fn keep_warm(
        &self,
        report: &Report,
        like: &(dyn Fn() -> Vec<(String, String)> + Sync),
        settings: &PoolSettings,
    ) {
        const REST: Duration = Duration::from_secs(1);
        let wanted = self.pool.wanted(settings.idle_timeout);
        self.warm.keep(&wanted);
        for (key, most) in wanted {
            let Some(warm) = self.warm.of(&key, most) else { continue };
            let until = Instant::now() + settings.connect_timeout;
            if let Some(slot) = self.pool.spare(&key, settings.min_idle) {
                let Ok(conn) = self.open_warm(&key, &warm, (report, like), (slot, settings), until).await
                else {
                    return;
                };
                if let Some(conn) = conn {
                    self.pool.add(&key, conn, settings.max_idle);
                }
            } else if let Some((mut conn, leasing)) =
                self.pool.astray(&key, warm.state(), (settings.min_idle, REST))
                && self.bring_warm(&mut conn, &key, &warm, like, until).await
            {
                self.pool.give_back(&key, (conn, leasing), settings.max_idle, Instant::now());
            }
        }
    }

    async fn open_warm(
        &self,
        key: &Arc<Key>,
        warm: &Warm,
        (report, like): (&Report, &(dyn Fn() -> Vec<(String, String)> + Sync)),
        (slot, settings): (Slot<Box<BackendConn>>, &PoolSettings),
        until: Instant,
    ) -> Result<Option<Box<BackendConn>>, NoConnection> {
        let account = Arc::new(warm.account.for_nobody(key.from));
        let target = warm.target(like);
        let class = Class::Read;
        let need = Need {
            account: &account,
            key,
            class,
            only_schema: false,
            core: NOWHERE,
            caps: warm.caps,
            target: &target,
            report,
        };
        let mut conn = self.open_counted(&need, slot, settings, until).await?;
        Ok(self.bring_warm(&mut conn, key, warm, like, until).await.then_some(conn))
    }

    async fn bring_warm(
        &self,
        conn: &mut BackendConn,
        key: &Key,
        warm: &Warm,
        like: &(dyn Fn() -> Vec<(String, String)> + Sync),
        until: Instant,
    ) -> bool {
        let brought = self.bring(conn, &warm.target(like), None, || until).await;
        if let Err(NotBrought::Refused(_) | NotBrought::NoSchema(_)) = brought {
            self.warm.forget(key, warm.state());
        }
        brought.is_ok()
    }

    /// Counts a statement for as long as it is under way.
    pub(crate) fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.queries.fetch_add(1, Ordering::Relaxed);
        self.metrics.queries.inc();
        InFlight(Arc::clone(self))
    }
}

/// A statement under way.
pub(crate) struct InFlight(Arc<Server>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A refused state is tried again after this.
const REFUSED_FOR: Duration = Duration::from_secs(30);
