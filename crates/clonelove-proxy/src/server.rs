//! One configured server while the proxy runs: its pool, its life, what is known of its position, its
//! counters. Owns how a session gets a connection to it; who may use it is routing's business.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use clonelove_route::position::Position;
use clonelove_route::report::Report;
use clonelove_wire::Caps;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::backend::conn::BackendConn;
use crate::backend::login::{Wish, log_in};
use crate::backend::pool::{Key, Lease, Pool};
use crate::backend::setup::{self, Use};
use crate::cluster::Waiters;
use crate::error::{Fault, ServerFault};
use crate::metrics::{Metrics, ServerMetrics};
use crate::settings::{Pool as PoolSettings, ServerSettings};

/// One configured server.
pub(crate) struct Server {
    pub(crate) index: usize,
    pub(crate) name: Arc<str>,
    pub(crate) settings: ArcSwap<ServerSettings>,
    pub(crate) pool: Pool,
    pub(crate) in_flight: AtomicU32,
    pub(crate) queries: AtomicU64,
    pub(crate) pinned: AtomicU64,
    pub(crate) monitors: AtomicU64,
    /// What it is known to have executed; none while its monitoring connection is broken.
    pub(crate) known: ArcSwapOption<Position>,
    /// Who waits for its position.
    pub(crate) waiters: Waiters,
    pub(crate) metrics: ServerMetrics,
    /// Asks for a probe now.
    pub(crate) nudge: Notify,
    pub(crate) drained: AtomicBool,
    /// No longer in the configuration.
    pub(crate) removed: AtomicBool,
    life: ArcSwap<CancellationToken>,
    pub(crate) last_error: Mutex<Option<String>>,
}

/// What a session needs of a connection.
pub(crate) struct Need<'a> {
    pub(crate) wish: &'a Wish,
    pub(crate) key: &'a Key,
    pub(crate) usage: Use,
    /// What the probe last saw.
    pub(crate) report: &'a Report,
    /// The primary's session defaults where they differ.
    pub(crate) like: &'a [(String, String)],
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
    pub(crate) fn new(index: usize, settings: ServerSettings, metrics: &Metrics) -> Self {
        let name: Arc<str> = settings.name.as_str().into();
        Self {
            index,
            pool: Pool::new(settings.max_connections),
            in_flight: AtomicU32::new(0),
            queries: AtomicU64::new(0),
            pinned: AtomicU64::new(0),
            monitors: AtomicU64::new(0),
            known: ArcSwapOption::empty(),
            waiters: Waiters::default(),
            metrics: metrics.server(&name),
            nudge: Notify::new(),
            drained: AtomicBool::new(false),
            removed: AtomicBool::new(false),
            life: ArcSwap::from_pointee(CancellationToken::new()),
            last_error: Mutex::new(None),
            settings: ArcSwap::from_pointee(settings),
            name,
        }
    }

    /// Ends all that began before: connections are closed, replies under way are given up.
    pub(crate) fn end_life(&self) {
        let old = self.life.swap(Arc::new(CancellationToken::new()));
        old.cancel();
        self.pool.clear();
        self.known.store(None);
    }

    pub(crate) fn life(&self) -> CancellationToken {
        CancellationToken::clone(&self.life.load())
    }

    /// A fault of this server: counted, shown, and a reason to look at it now.
    pub(crate) fn note_fault(&self, fault: &ServerFault) {
        self.metrics.error(fault.fault);
        *self.last_error.lock() = Some(fault.detail.clone());
        if matches!(fault.fault, Fault::ServerLost | Fault::ServerConnect) {
            self.nudge.notify_one();
        }
    }

    /// A connection fit for a session: an idle one after a reset, else a new one.
    pub(crate) async fn acquire(
        &self,
        need: &Need<'_>,
        settings: &PoolSettings,
        metrics: &Metrics,
    ) -> Result<BackendConn, NoConnection> {
        let begun = Instant::now();
        let queue_until = begun + settings.queue_timeout;
        loop {
            let lease = self.pool.lease(need.key, queue_until).await.map_err(|timeout| {
                self.metrics.pool_timeouts.inc();
                NoConnection::Queue { limit: timeout.limit }
            })?;
            metrics.pool_wait.observe(begun.elapsed().as_secs_f64());
            let until = Instant::now() + settings.connect_timeout;
            match lease {
                Lease::Idle(conn) => {
                    if let Some(conn) = self.renew(*conn, need, until).await {
                        return Ok(conn);
                    }
                }
                Lease::Slot(slot) => {
                    let life = self.life();
                    let opened = life.run_until_cancelled(self.open(need, slot, until)).await;
                    let gone =
                        || Err(ServerFault::new(&self.name, Fault::ServerLost, "it was declared down"));
                    return match opened.unwrap_or_else(gone) {
                        Ok(conn) => {
                            self.metrics.connects_ok.inc();
                            Ok(conn)
                        }
                        Err(fault) => {
                            self.metrics.connects_failed.inc();
                            self.note_fault(&fault);
                            Err(NoConnection::Fault(fault))
                        }
                    };
                }
            }
        }
    }

    /// An idle connection that cannot be made fit is closed, and that is all: the next is tried.
    async fn renew(&self, mut conn: BackendConn, need: &Need<'_>, until: Instant) -> Option<BackendConn> {
        let names = setup::set_names(need.wish.charset, need.report.flavour)?;
        if need.wish.schema.is_none() && conn.schema.is_some() {
            return None;
        }
        conn.wish = need.wish.clone();
        timeout_at(until, conn.renew(&names, need.usage, need.like)).await.ok()?.ok()?;
        Some(conn)
    }

    async fn open(
        &self,
        need: &Need<'_>,
        slot: tokio::sync::OwnedSemaphorePermit,
        until: Instant,
    ) -> Result<BackendConn, ServerFault> {
        let life = self.life();
        let settings = self.settings.load_full();
        let (io, session) = log_in(&self.name, &settings, need.wish, until).await?;
        let mut conn = BackendConn {
            io,
            caps: session.caps,
            server: Arc::clone(&self.name),
            life,
            usage: need.usage,
            schema: need.wish.schema.clone(),
            heard: 0,
            flavour: need.report.flavour,
            wish: need.wish.clone(),
            born: Instant::now(),
            _slot: Some(slot),
        };
        if !session.caps.contains(Caps::SESSION_TRACK) {
            return Err(ServerFault::new(
                &self.name,
                Fault::ServerProtocol,
                "it does not offer session tracking, which is needed",
            ));
        }
        let set_up = conn.set_up(need.report, need.like);
        timeout_at(until, set_up).await.map_err(|_| {
            ServerFault::new(&self.name, Fault::ServerConnect, "setting up a connection took too long")
        })??;
        Ok(conn)
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
