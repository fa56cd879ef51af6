//! Stands in for the running proxy until that is there.
#![allow(missing_docs, clippy::unused_async, clippy::needless_pass_by_value)]
use clonelove_proxy::control::*;
use clonelove_proxy::settings::Settings;
use prometheus::Registry;
use std::sync::Arc;

pub(crate) struct Metrics(Registry);
impl Metrics {
    pub(crate) fn new(_: &str, _: &str) -> Result<Arc<Metrics>, prometheus::Error> {
        Ok(Arc::new(Metrics(Registry::new())))
    }
    pub(crate) fn registry(&self) -> &Registry {
        &self.0
    }
    pub(crate) fn config_reloaded(&self, _ok: bool) {}
}
#[derive(Clone)]
pub(crate) struct Proxy(Arc<Settings>);
pub(crate) enum Readiness {
    Ready,
    NotReady(String),
}
#[derive(PartialEq)]
pub(crate) enum ServerCall {
    Done,
    UnknownServer,
}
impl Proxy {
    pub(crate) async fn start(settings: Settings, _: Arc<Metrics>) -> Result<Proxy, std::io::Error> {
        Ok(Proxy(Arc::new(settings)))
    }
    pub(crate) fn reload(&self, _: Settings) -> Vec<String> {
        vec![]
    }
    pub(crate) fn settings(&self) -> Arc<Settings> {
        self.0.clone()
    }
    pub(crate) fn status(&self) -> Status {
        Status {
            version: "0".into(),
            pid: std::process::id(),
            started: String::new(),
            uptime_seconds: 0.0,
            draining: false,
            listen: ListenStatus { mysql: vec![], http: None },
            primary: None,
            epoch: 0,
            mode: self.0.routing.mode,
            freshness: FreshnessStatus {
                mode: self.0.routing.freshness,
                scope: "proxy",
                degraded: vec![],
                watermarks: Default::default(),
                keeps_on_primary: vec![],
            },
            schema: SchemaStatus::default(),
            clients: ClientsStatus { now: 0, total: 0, limit: 0 },
            queries: Default::default(),
            reads_on_replicas: None,
            servers: vec![],
            pins: vec![],
            pins_total: 0,
            learned: vec![],
            learned_total: 0,
        }
    }
    pub(crate) fn ready(&self, writes: bool) -> Readiness {
        if writes { Readiness::NotReady("no".into()) } else { Readiness::Ready }
    }
    pub(crate) fn drain_server(&self, name: &str) -> ServerCall {
        if self.0.servers.iter().any(|s| s.name == name) {
            ServerCall::Done
        } else {
            ServerCall::UnknownServer
        }
    }
    pub(crate) fn undrain_server(&self, name: &str) -> ServerCall {
        self.drain_server(name)
    }
    pub(crate) fn refresh_metrics(&self) {}
    pub(crate) async fn drain(&self) {}
    pub(crate) fn force_stop(&self) {}
}
