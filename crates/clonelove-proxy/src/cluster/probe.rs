//! The probe of one server: a monitoring connection that asks, again and again, who it is and how it
//! is. Owns the pace and the connection; what the answers mean is `clonelove-route`'s.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use clonelove_route::freshness::Rules;
use clonelove_route::journal::Journal;
use clonelove_route::position::Position;
use clonelove_route::report::{Flavour, Report, ResultRows, probe_statements, report_from};
use clonelove_wire::packet::Greeting;
use clonelove_wire::{Caps, Command};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Cluster, Found, positions};
use crate::backend::conn::BackendConn;
use crate::backend::login::{Account, Wish, log_in};
use crate::backend::reply::Reply;
use crate::backend::setup::Use;
use crate::backend::statements::Statements;
use crate::cores::NOWHERE;
use crate::error::{Fault, Refusal, ServerFault};
use crate::metrics::Metrics;
use crate::server::Server;
use crate::session::version_number;
use crate::settings::{Monitor, Settings};
use crate::tls::Connector;

/// utf8mb4_general_ci, which every server knows.
const CHARSET: u8 = 45;

/// Begins to probe a server, and to follow its position on request.
pub(super) fn start(
    cluster: &Arc<Cluster>,
    server: &Arc<Server>,
    settings: &Arc<ArcSwap<Settings>>,
    tasks: &TaskTracker,
    stopped: &CancellationToken,
) {
    let make_probe = {
        let (cluster, server, settings) = (Arc::clone(cluster), Arc::clone(server), Arc::clone(settings));
        move || run(Arc::clone(&cluster), Arc::clone(&server), Arc::clone(&settings))
    };
    let make_follow = {
        let (server, settings) = (Arc::clone(server), Arc::clone(settings));
        move || positions::follow(Arc::clone(&server), Arc::clone(&settings))
    };
    let metrics = &cluster.metrics;
    tasks.spawn(for_ever(make_probe, tasks.clone(), stopped.clone(), Arc::clone(metrics)));
    tasks.spawn(for_ever(make_follow, tasks.clone(), stopped.clone(), Arc::clone(metrics)));
}

/// Runs a task until it ends or `stopped`; one that panics is counted and begun again.
pub(crate) async fn for_ever<F: Future<Output = ()> + Send + 'static>(
    make: impl Fn() -> F,
    tasks: TaskTracker,
    stopped: CancellationToken,
    metrics: Arc<Metrics>,
) {
    while !stopped.is_cancelled() {
        let (task, stopped) = (make(), stopped.clone());
        let ended = tasks.spawn(async move { stopped.run_until_cancelled(task).await }).await;
        match ended {
            Err(error) if error.is_panic() => {
                metrics.panics.inc();
                metrics.error(Fault::Internal);
                tracing::error!("the watch over the servers panicked and begins again: please report this");
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
            _ => return,
        }
    }
}

async fn run(cluster: Arc<Cluster>, server: Arc<Server>, settings: Arc<ArcSwap<Settings>>) {
    let mut connection: Option<Probe> = None;
    while !server.removed.load(Ordering::Relaxed) {
        let current = settings.load_full();
        let begun = Instant::now();
        let result = probe(&server, &current, &mut connection).await;
        server.metrics.probe.observe(begun.elapsed().as_secs_f64());
        if let Err(fault) = &result {
            connection = None;
            server.metrics.error(fault.fault);
            tracing::debug!(server = %server.name, error = %fault.detail, "probe failed");
        }
        let told = cluster.observe(server.index, result.map_err(|fault| fault.detail));
        server.probes.send_modify(|count| *count = count.wrapping_add(1));
        if let Some(probe) = &mut connection {
            probe.told = told;
        }
        // After a restart or a change behind the address even our own connection is of the past.
        // And a reload may ask for a safer one.
        connection =
            connection.filter(|probe| !probe.conn.life.is_over() && probe.tls == server.settings.load().tls);
        let interval = current.monitor.interval;
        let due = cluster.next_probe(server.index, begun, interval);
        pause(&server, begun + interval / 10, due).await;
    }
}

/// Until the next probe is due, or somebody has a reason to ask; never before `earliest`.
async fn pause(server: &Server, earliest: Instant, due: Instant) {
    tokio::time::sleep_until(earliest).await;
    tokio::select! {
        () = tokio::time::sleep_until(due) => {}
        () = server.nudge.notified() => {}
    }
}

struct Probe {
    conn: Monitoring,
    greeting: Arc<Greeting>,
    flavour: Flavour,
    version: u32,
    /// As it was connected by.
    tls: Arc<Connector>,
    /// The position it told last.
    told: Option<Arc<Position>>,
    _count: MonitorCount,
}

async fn probe(
    server: &Arc<Server>,
    settings: &Settings,
    connection: &mut Option<Probe>,
) -> Result<Found, ServerFault> {
    let within = settings.monitor.timeout;
    let late = || {
        ServerFault::new(
            &server.name,
            Fault::ServerConnect,
            format!("it did not answer a probe within {within:?}"),
        )
    };
    timeout(within, ask(server, settings, connection)).await.map_err(|_| late())?
}

async fn ask(
    server: &Arc<Server>,
    settings: &Settings,
    connection: &mut Option<Probe>,
) -> Result<Found, ServerFault> {
    if connection.is_none() {
        *connection = Some(open(server, &settings.monitor).await?);
    }
    let Some(probe) = connection else {
        return Err(ServerFault::new(&server.name, Fault::Internal, "no monitoring connection"));
    };
    let (begun, sent) = (Instant::now(), unix_now());
    let texts = probe_statements(probe.flavour, probe.version);
    let statements: Vec<(Command, &[u8])> =
        texts.iter().map(|sql| (Command::Query, sql.as_bytes())).collect();
    let replies = probe.conn.ask(&statements).await?;
    let mut results = Vec::with_capacity(replies.len());
    for (reply, sql) in replies.into_iter().zip(texts) {
        results.push(rows(server, reply, sql)?);
    }
    let mut report: Report = report_from(probe.flavour, &results)
        .map_err(|error| ServerFault::new(&server.name, Fault::ServerProtocol, error))?;
    report.measure_clock(sent, unix_now());
    server.prepared.allow(report.most_prepared);
    for channel in report.replication.iter_mut().filter(|_| !server.keeps(Rules::FILTERED)) {
        channel.filtered = false;
    }
    if !server.keeps(Rules::APPLIED_ONLY) {
        report.position.clone_from(&report.binlog_position);
    }
    if !server.keeps(Rules::NO_WAY_BACK)
        && let Some((position, before)) = report.position.as_mut().zip(probe.told.as_ref())
    {
        position.union(before);
    }
    Ok(Found { report, greeting: Arc::clone(&probe.greeting), last: probe.told.take(), begun })
}

fn rows(server: &Arc<Server>, reply: Reply, sql: &str) -> Result<ResultRows, ServerFault> {
    match reply {
        Reply::Rows(rows) => Ok(ResultRows { columns: rows.columns, rows: rows.rows }),
        Reply::Ok => Ok(ResultRows { columns: Vec::new(), rows: Vec::new() }),
        Reply::Err { code, state, message } => {
            let what: String = sql.chars().take(40).collect();
            let detail = format!(
                "the monitoring account may not ask `{what}…`: {message} ({code}); \
                 give it the privileges that docs/operations.md lists"
            );
            let fault = ServerFault::new(&server.name, Fault::ServerAuth, detail);
            Err(ServerFault { refused: Some(Refusal { code, state, message }), ..fault })
        }
    }
}

async fn open(server: &Arc<Server>, monitor: &Monitor) -> Result<Probe, ServerFault> {
    let tls = Arc::clone(&server.settings.load().tls);
    let (conn, greeting) = monitoring_connection(server, monitor).await?;
    let flavour = if greeting.is_mariadb() { Flavour::MariaDb } else { Flavour::MySql };
    let version = version_number(greeting.version.trim_start_matches("5.5.5-"));
    Ok(Probe {
        conn,
        greeting: Arc::new(greeting),
        flavour,
        version,
        tls,
        told: None,
        _count: MonitorCount::new(server),
    })
}

/// A connection of the monitoring account, over which nothing goes but whole questions: it takes leave when it is dropped.
pub(crate) struct Monitoring(BackendConn);

impl Deref for Monitoring {
    type Target = BackendConn;

    fn deref(&self) -> &BackendConn {
        &self.0
    }
}

impl DerefMut for Monitoring {
    fn deref_mut(&mut self) -> &mut BackendConn {
        &mut self.0
    }
}

impl Drop for Monitoring {
    fn drop(&mut self) {
        self.0.part();
    }
}

/// A connection of the monitoring account. It takes no slot of the pool: the monitor always gets through.
pub(crate) async fn monitoring_connection(
    server: &Arc<Server>,
    monitor: &Monitor,
) -> Result<(Monitoring, Greeting), ServerFault> {
    let (conn, greeting) = connect(server, monitor).await?;
    Ok((Monitoring(conn), greeting))
}

/// The same for other uses than questions.
pub(super) async fn connect(
    server: &Arc<Server>,
    monitor: &Monitor,
) -> Result<(BackendConn, Greeting), ServerFault> {
    let wish = Wish {
        account: Arc::new(Account::new(&monitor.user, monitor.password.expose())),
        schema: None,
        caps: Caps::TRANSACTIONS | Caps::DEPRECATE_EOF | Caps::CONNECT_ATTRS | Caps::PLUGIN_AUTH,
        charset: CHARSET,
    };
    let settings = server.settings.load_full();
    let life = server.life();
    let until = Instant::now() + monitor.timeout;
    let (io, session, _) = log_in(&server.name, &settings, &wish, 0, until).await?;
    let flavour = if session.greeting.is_mariadb() { Flavour::MariaDb } else { Flavour::MySql };
    let conn = BackendConn {
        io,
        caps: session.caps,
        server: Arc::clone(&server.name),
        life,
        thread: session.greeting.connection_id,
        home: NOWHERE,
        usage: Use::Reads,
        flavour,
        says_transaction: false,
        tracks: false,
        charset: CHARSET,
        schema: None,
        journal: Journal::default(),
        last_insert_id: None,
        tainted: false,
        diagnostics: false,
        owes_position: false,
        statements: Statements::new(&server.prepared),
        expired: false,
        native: false,
        born: Instant::now(),
        worn_at: Instant::now(),
        _slot: None,
    };
    Ok((conn, session.greeting))
}

/// Counts a monitoring connection for as long as it is open.
pub(super) struct MonitorCount(Arc<Server>);

impl MonitorCount {
    pub(super) fn new(server: &Arc<Server>) -> Self {
        server.monitors.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(server))
    }
}

impl Drop for MonitorCount {
    fn drop(&mut self) {
        self.0.monitors.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Seconds since 1970, by this machine's clock: compared with the server's, never kept.
fn unix_now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_panics_begins_again_and_is_counted() {
        let metrics = Metrics::new("0", "0").unwrap();
        let (tasks, stopped) = (TaskTracker::new(), CancellationToken::new());
        let begun = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&begun);
        let make = move || {
            let times = count.fetch_add(1, Ordering::SeqCst);
            async move { assert!(times >= 2, "the first two panic") }
        };
        for_ever(make, tasks, stopped, Arc::clone(&metrics)).await;
        assert_eq!((begun.load(Ordering::SeqCst), metrics.panics.get()), (3, 2));
    }
}
