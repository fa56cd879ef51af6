//! Starting, steering and stopping the whole proxy. Owns the order in which its parts come up and go
//! down; the parts themselves live in their own modules.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use clonelove_route::topology::Role;
use tokio::time::{interval, timeout};

use crate::accounts;
use crate::cluster::for_ever;
use crate::control::Status;
use crate::cores::Cores;
use crate::error::StartError;
use crate::listener;
use crate::metrics::Metrics;
use crate::settings::{ServerSettings, Settings};
use crate::shared::Shared;
use crate::status;

/// A running proxy. Cheap to clone; all clones speak of the same one.
#[derive(Clone)]
pub struct Proxy {
    shared: Arc<Shared>,
    listen: Arc<Vec<String>>,
}

/// Whether a client could work now; the answer of `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It could.
    Ready,
    /// It could not: one line that says why.
    NotReady(String),
}

/// What an admin call for one server came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerCall {
    /// Done, or already so.
    Done,
    /// No server of that name.
    UnknownServer,
}

impl Proxy {
    /// Binds the listeners and starts to probe the servers. Returns once the listeners are bound;
    /// log-ins wait for the first round of probes.
    pub async fn start(settings: Settings, metrics: Arc<Metrics>) -> Result<Proxy, StartError> {
        let listeners = listener::bind(&settings.listen).await?;
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let cores = Cores::start(count).map_err(StartError::Threads)?;
        let shared = Shared::new(settings, metrics, cores)?;
        shared.cluster.start(&shared.settings, &shared.tasks, &shared.stopped);
        let listen = Arc::new(listeners.iter().map(|one| one.address.clone()).collect());
        for (at, one) in listeners.into_iter().enumerate() {
            // Beside half of those who come, if there are two cores: they need not be sent elsewhere.
            let core = at % count;
            let run = listener::run(one, Arc::clone(&shared), core);
            shared.tasks.spawn_on(run, &shared.cores.runtime(core));
        }
        shared.tasks.spawn(reap(Arc::clone(&shared)));
        shared.tasks.spawn(tick(Arc::clone(&shared)));
        shared.tasks.spawn(watch_accounts(Arc::clone(&shared)));
        Ok(Proxy { shared, listen })
    }

    /// Replaces the settings by already checked ones, whole; answers one line per difference.
    /// Settings that need a restart must be equal: the caller has refused the rest.
    pub fn reload(&self, mut settings: Settings) -> Vec<String> {
        settings.keep_tls_of(&self.shared.settings.load());
        let settings = Arc::new(settings);
        let before = self.shared.settings.swap(Arc::clone(&settings));
        let differences = status::differences(&before, &settings);
        let servers_tls = |settings: &Settings| -> Vec<_> {
            let of = |server: &ServerSettings| {
                (server.name.clone(), Arc::clone(&server.tls), server.proxy_protocol)
            };
            settings.servers.iter().map(of).collect()
        };
        let users = |settings: &Settings| (settings.users.clone(), settings.users_from);
        if users(&before) != users(&settings) || servers_tls(&before) != servers_tls(&settings) {
            // Connections of old passwords, or less safe ones than asked for now, serve nobody else.
            self.shared.generation.fetch_add(1, Ordering::Relaxed);
        }
        self.shared.known.forget();
        self.shared.accounts.doubt();
        let fresh = self.shared.cluster.reload(&settings);
        let shared = &self.shared;
        for server in &fresh {
            shared.cluster.start_one(server, &shared.settings, &shared.tasks, &shared.stopped);
        }
        differences
    }

    /// The settings it runs on.
    pub fn settings(&self) -> Arc<Settings> {
        self.shared.settings.load_full()
    }

    /// All that can be told of it. `listen.http` is left to the caller.
    pub fn status(&self) -> Status {
        status::status(&self.shared, &self.listen)
    }

    /// Whether a client could read now, or write.
    pub fn ready(&self, writes: bool) -> Readiness {
        status::readiness(&self.shared, writes)
    }

    /// Takes a server out of use for new statements.
    pub fn drain_server(&self, name: &str) -> ServerCall {
        self.set_drained(name, true)
    }

    /// Lets a server be used again.
    pub fn undrain_server(&self, name: &str) -> ServerCall {
        self.set_drained(name, false)
    }

    fn set_drained(&self, name: &str, drained: bool) -> ServerCall {
        if self.shared.cluster.set_drained(name, drained) {
            ServerCall::Done
        } else {
            ServerCall::UnknownServer
        }
    }

    /// Brings gauges that are computed at scrape time up to date.
    pub fn refresh_metrics(&self) {
        status::refresh_metrics(&self.shared);
    }

    /// Stops accepting, lets transactions end up to `drain_timeout`, then closes all.
    /// [`Proxy::force_stop`] cuts it short.
    pub async fn drain(&self) {
        let shared = &self.shared;
        shared.begin_drain();
        shared.sessions.close();
        let patience = shared.settings.load().limits.drain_timeout;
        let all_gone = timeout(patience, async {
            tokio::select! {
                () = shared.sessions.wait() => {}
                () = shared.stopped.cancelled() => {}
            }
        });
        if all_gone.await.is_err() {
            tracing::warn!(clients = shared.clients.now(), "drain_timeout is over: closing the rest");
        }
        shared.stop();
        shared.sessions.wait().await;
        shared.tasks.close();
        shared.tasks.wait().await;
        shared.cluster.snapshot().servers.iter().for_each(|server| server.pool.clear());
        shared.cores.end();
    }

    /// Everything ends now.
    pub fn force_stop(&self) {
        self.shared.begin_drain();
        self.shared.stop();
    }
}

/// Tells sessions the time, as far as their patience with clients goes.
async fn tick(shared: Arc<Shared>) {
    let mut tick = interval(std::time::Duration::from_secs(1));
    tick.tick().await;
    loop {
        tokio::select! {
            () = shared.stopped.cancelled() => return,
            _ = tick.tick() => shared.clients.tick(),
        }
    }
}

/// Keeps the primary's accounts known.
async fn watch_accounts(shared: Arc<Shared>) {
    let make = {
        let shared = Arc::clone(&shared);
        move || accounts::keep(Arc::clone(&shared))
    };
    let (tasks, stopped) = (shared.tasks.clone(), shared.stopped.clone());
    for_ever(make, tasks, stopped, Arc::clone(&shared.metrics)).await;
}

/// Closes idle backend connections whose time is over, and keeps some ready.
async fn reap(shared: Arc<Shared>) {
    let mut tick = interval(std::time::Duration::from_secs(1));
    loop {
        tokio::select! {
            () = shared.stopped.cancelled() => return,
            _ = tick.tick() => {}
        }
        let pool = shared.settings.load().pool.clone();
        let snapshot = shared.cluster.snapshot();
        for server in &snapshot.servers {
            server.pool.reap(pool.idle_timeout, pool.min_idle);
            let node = snapshot.topology.servers.get(server.index);
            let in_use = node.is_some_and(|node| node.eligible || node.role == Role::Primary);
            if let (true, Some(report)) = (in_use, node.and_then(|node| node.report.clone())) {
                let like = || snapshot.like_primary(server.index).unwrap_or_default();
                server.keep_warm(&report, &like, &pool).await;
            }
        }
    }
}
