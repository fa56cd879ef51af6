//! `clonelove run`: from a checked config to a running proxy, and down again. Owns signals, the order of start
//! and stop, and what systemd is told; the proxy itself is `clonelove-proxy`'s.

mod reload;
mod sockets;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use clonelove_proxy::Proxy;
use clonelove_proxy::metrics::Metrics;
use clonelove_proxy::settings::Rules;
use sd_notify::NotifyState;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use self::reload::Live;
use self::sockets::SocketFiles;
use crate::admin::Control;
use crate::cli::FAILURE;
use crate::config::{self, Config};
use crate::telemetry::{self, LogHandle};
use crate::{admin, output};

/// What the build was made from, where the build knows.
const COMMIT: &str = match option_env!("CLONELOVE_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// Answers on the admin port that are under way at the end get this long.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// Runs the daemon on the config at `path`, until a signal ends it.
pub(crate) fn run(path: &Path) -> ExitCode {
    let config = match config::load(path) {
        Ok(config) => config,
        Err(problems) => return output::complain_of_config(&problems),
    };
    let log = match telemetry::start(config.log) {
        Ok(log) => log,
        Err(error) => return output::complain(FAILURE, &format!("cannot start the log: {error}")),
    };
    raise_descriptor_limit(config.settings.limits.client_connections);
    // Clients are served on threads of the proxy's own.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return output::complain(FAILURE, &format!("cannot start the threads: {error}")),
    };
    match runtime.block_on(serve(path, config, log)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error:#}");
            ExitCode::from(FAILURE)
        }
    }
}

/// The signals that steer the daemon.
struct Signals {
    hangup: Signal,
    interrupt: Signal,
    terminate: Signal,
}

/// The admin port while it is served.
struct AdminPort {
    listener: Option<TcpListener>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

async fn serve(path: &Path, config: Config, log: LogHandle) -> anyhow::Result<()> {
    // Before anything is bound: a signal during the start must not kill what has just begun.
    let mut signals = Signals::catch().context("cannot catch signals")?;
    let mut admin = AdminPort::bind(&config).await?;
    let mut files = SocketFiles::make_room(&config.settings.listen)?;
    let metrics = Metrics::new(env!("CARGO_PKG_VERSION"), COMMIT).context("cannot set up the metrics")?;
    metrics.config_loaded(unix_now());
    let mut settings = config.settings.clone();
    settings.rules = rules();
    let proxy = Proxy::start(settings, Arc::clone(&metrics)).await.context("cannot start")?;
    files.take(&config.settings.listen)?;
    let http = admin.address();
    let live =
        Arc::new(Live::new(path, config.clone(), proxy.clone(), log, Arc::clone(&metrics), http.clone()));
    admin.serve(&live, &metrics, &config);
    notify(&[NotifyState::Ready]);
    info!(
        version = env!("CARGO_PKG_VERSION"),
        mysql = proxy.status().listen.mysql.join(", "),
        http = http.as_deref().unwrap_or("off"),
        servers = config.settings.servers.len(),
        "ready"
    );
    signals.until_end(&live).await;
    drain(&proxy, &mut signals, proxy.settings().limits.drain_timeout).await;
    admin.stop().await;
    info!("stopped");
    Ok(())
}

/// Stops taking clients, waits for transactions, and ends; at once on a second signal.
async fn drain(proxy: &Proxy, signals: &mut Signals, timeout: Duration) {
    info!(timeout_seconds = timeout.as_secs_f64(), "draining: no new clients; a second signal ends at once");
    let longer = timeout.saturating_add(Duration::from_secs(10)).as_micros();
    notify(&[
        NotifyState::Stopping,
        NotifyState::ExtendTimeoutUsec(u32::try_from(longer).unwrap_or(u32::MAX)),
    ]);
    let drained = proxy.drain();
    tokio::pin!(drained);
    tokio::select! {
        () = &mut drained => return,
        () = signals.end() => {}
    }
    warn!("a second signal: closing what is left");
    proxy.force_stop();
    drained.await;
}

impl Signals {
    fn catch() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Reloads on each SIGHUP, until a signal asks for the end.
    async fn until_end(&mut self, live: &Arc<Live>) {
        loop {
            tokio::select! {
                _ = self.hangup.recv() => {}
                _ = self.interrupt.recv() => return,
                _ = self.terminate.recv() => return,
            }
            let live = Arc::clone(live);
            // The outcome is logged where it is known.
            let _ = tokio::task::spawn_blocking(move || live.reload()).await;
        }
    }

    async fn end(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

impl AdminPort {
    async fn bind(config: &Config) -> anyhow::Result<Self> {
        let listener = match &config.http {
            None => None,
            Some(http) => {
                Some(TcpListener::bind((http.host.as_str(), http.port)).await.with_context(|| {
                    format!(
                        "cannot listen on {} for the admin port; set listen.http to another",
                        http.address()
                    )
                })?)
            }
        };
        Ok(Self { listener, tasks: TaskTracker::new(), stop: CancellationToken::new() })
    }

    /// As bound, with the real port.
    fn address(&self) -> Option<String> {
        Some(self.listener.as_ref()?.local_addr().ok()?.to_string())
    }

    fn serve(&mut self, live: &Arc<Live>, metrics: &Metrics, config: &Config) {
        if let (Some(listener), Some(http)) = (self.listener.take(), &config.http) {
            let router = admin::router(Arc::clone(live), metrics.registry().clone(), http);
            self.tasks.spawn(admin::serve(listener, router, self.tasks.clone(), self.stop.clone()));
        }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        // Whoever does not read his answer by now does without.
        let _ = tokio::time::timeout(LAST_ANSWERS, self.tasks.wait()).await;
    }
}

fn unix_now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// Tells systemd, if it is there.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!(%error, "cannot notify systemd");
    }
}

/// Each client needs a descriptor, and up to one more towards a server.
fn raise_descriptor_limit(clients: usize) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })
    {
        warn!(%error, "cannot raise the limit of open files");
    }
    let needed = u64::try_from(clients).unwrap_or(u64::MAX).saturating_mul(2);
    if let Some(current) = getrlimit(Resource::Nofile).current
        && current < needed
    {
        warn!(
            limit = current,
            needed,
            "fewer open files are allowed than limits.client_connections may need: raise LimitNOFILE or ulimit -n"
        );
    }
}

/// The rules of freshness that are in force: all of them. Builds for tests leave out those that are named, so that a
/// test can show what one is for; where two of them guard the same, both are named.
fn rules() -> Rules {
    #[cfg(debug_assertions)]
    if let Ok(names) = std::env::var("CLONELOVE_DROP_RULE") {
        let mut kept = Rules::all();
        for name in names.split('|') {
            match Rules::from_name(name) {
                Some(rule) => {
                    tracing::error!(
                        rule = name,
                        "this rule of freshness is not kept, for a test: reads may be stale"
                    );
                    kept -= rule;
                }
                None => tracing::error!(rule = name, "CLONELOVE_DROP_RULE names no rule of freshness"),
            }
        }
        return kept;
    }
    Rules::all()
}

#[cfg(test)]
pub(crate) mod tests {
    use clonelove_proxy::control::{ClientsStatus, FreshnessStatus, ListenStatus, SchemaStatus, Status};
    use clonelove_proxy::settings::{Freshness, Mode};

    /// The status of a proxy that has nothing to do.
    pub(crate) fn status() -> Status {
        Status {
            version: "0.1.0".to_owned(),
            pid: 1,
            started: "2026-11-22T19:00:00Z".to_owned(),
            uptime_seconds: 1.0,
            draining: false,
            listen: ListenStatus { mysql: vec!["127.0.0.1:3307".to_owned()], http: None },
            primary: None,
            epoch: 0,
            mode: Mode::Split,
            freshness: FreshnessStatus {
                mode: Freshness::Session,
                scope: clonelove_proxy::settings::FreshnessScope::Proxy,
                followed: None,
                degraded: Vec::new(),
                watermarks: std::collections::BTreeMap::new(),
                keeps_on_primary: Vec::new(),
            },
            schema: SchemaStatus::default(),
            users: clonelove_proxy::control::UsersStatus::default(),
            clients: ClientsStatus { now: 0, total: 0, limit: 10_000 },
            queries: std::collections::BTreeMap::new(),
            reads_on_replicas: None,
            servers: Vec::new(),
            pins: Vec::new(),
            pins_total: 0,
            learned: Vec::new(),
            learned_total: 0,
        }
    }
}
