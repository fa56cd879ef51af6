//! A running daemon as the admin port and SIGHUP see it. Owns the reload: the new config is checked whole,
//! then applied whole or refused whole.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clonelove_proxy::control::Status;
use clonelove_proxy::metrics::Metrics;
use clonelove_proxy::{Proxy, Readiness, ServerCall};
use parking_lot::Mutex;
use sd_notify::NotifyState;
use tracing::{error, info};

use super::{notify, unix_now};
use crate::admin::{Control, Refused};
use crate::config::{self, Config, Log};
use crate::telemetry::{LogHandle, level_name};

/// The running daemon.
pub(super) struct Live {
    path: PathBuf,
    /// The config that holds; locked for the length of a reload, so that two do not cross.
    config: Mutex<Config>,
    proxy: Proxy,
    log: LogHandle,
    metrics: Arc<Metrics>,
    /// The admin port as bound.
    http: Option<String>,
}

impl Live {
    pub(super) fn new(
        path: &Path,
        config: Config,
        proxy: Proxy,
        log: LogHandle,
        metrics: Arc<Metrics>,
        http: Option<String>,
    ) -> Self {
        Self { path: path.to_owned(), config: Mutex::new(config), proxy, log, metrics, http }
    }

    fn take(&self) -> Result<Vec<String>, Refused> {
        let mut config = self.config.lock();
        let new = config::load(&self.path).map_err(|problems| Refused {
            error: "the config has problems; the old one still holds".to_owned(),
            hint: format!("clonelove check --config {} tells them as well", self.path.display()),
            problems,
        })?;
        let fixed = needs_restart(&config, &new);
        if !fixed.is_empty() {
            return Err(Refused {
                error: format!(
                    "{} cannot change while clonelove runs; the old config still holds",
                    fixed.join(", ")
                ),
                hint: "restart clonelove, or put the old value back and reload for the rest".to_owned(),
                problems: Vec::new(),
            });
        }
        let mut changes = self.proxy.reload(new.settings.clone());
        changes.extend(log_changes(config.log, new.log));
        self.log.apply(new.log);
        *config = new;
        self.metrics.config_loaded(unix_now());
        Ok(changes)
    }
}

impl Control for Live {
    fn status(&self) -> Status {
        let mut status = self.proxy.status();
        status.listen.http.clone_from(&self.http);
        status
    }

    fn ready(&self, writes: bool) -> Result<(), String> {
        match self.proxy.ready(writes) {
            Readiness::Ready => Ok(()),
            Readiness::NotReady(why) => Err(why),
        }
    }

    fn drain_server(&self, name: &str) -> bool {
        self.proxy.drain_server(name) == ServerCall::Done
    }

    fn undrain_server(&self, name: &str) -> bool {
        self.proxy.undrain_server(name) == ServerCall::Done
    }

    fn refresh_metrics(&self) {
        self.proxy.refresh_metrics();
    }

    fn reload(&self) -> Result<Vec<String>, Refused> {
        let mut told = vec![NotifyState::Reloading];
        told.extend(NotifyState::monotonic_usec_now());
        notify(&told);
        let outcome = self.take();
        self.metrics.config_reloaded(outcome.is_ok());
        match &outcome {
            Ok(changes) => {
                for change in changes {
                    info!("config: {change}");
                }
                info!(changes = changes.len(), "config reloaded");
            }
            Err(refused) => {
                for problem in &refused.problems {
                    error!("{problem}");
                }
                error!(hint = refused.hint, "config not reloaded: {}", refused.error);
            }
        }
        notify(&[NotifyState::Ready]);
        outcome
    }
}

/// The keys that differ and are fixed at start.
fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let http = |config: &Config| config.http.as_ref().map(|http| (http.host.clone(), http.port));
    let token = |config: &Config| config.http.as_ref().and_then(|http| http.token.clone());
    let read_only = |config: &Config| config.http.as_ref().map(|http| http.read_only);
    let both = old.http.is_some() && new.http.is_some();
    let (a, b) = (&old.settings, &new.settings);
    [
        ("listen.mysql", a.listen.mysql != b.listen.mysql),
        ("listen.unix_mode", a.listen.unix_mode != b.listen.unix_mode),
        ("listen.compression", a.listen.compression != b.listen.compression),
        ("listen.http", http(old) != http(new)),
        ("listen.http_token", both && token(old) != token(new)),
        ("listen.http_read_only", both && read_only(old) != read_only(new)),
        ("limits.client_connections", a.limits.client_connections != b.limits.client_connections),
    ]
    .into_iter()
    .filter_map(|(key, changed)| changed.then_some(key))
    .collect()
}

fn log_changes(old: Log, new: Log) -> Vec<String> {
    let mut changes = Vec::new();
    if old.level != new.level {
        changes.push(format!("log.level: {} -> {}", level_name(old.level), level_name(new.level)));
    }
    if old.format != new.format {
        changes.push(format!("log.format: {:?} -> {:?}", old.format, new.format).to_ascii_lowercase());
    }
    changes
}
