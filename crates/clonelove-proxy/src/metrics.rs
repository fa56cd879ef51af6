//! Every metric, by name, with its handles resolved once: no look-up by label on a query's way. Owns
//! the names and the help texts; must not know HTTP.

use std::sync::Arc;

use clonelove_route::pins::Pin;
use clonelove_route::reason::{Reason, Target};
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, exponential_buckets,
};

use crate::error::Fault;

/// The proxy's metrics.
pub struct Metrics {
    registry: Registry,
    queries: Vec<IntCounter>,
    query_seconds: Vec<Histogram>,
    /// The proxy's own part of a query.
    pub proxy_seconds: Histogram,
    /// Clients connected.
    pub client_connections: IntGauge,
    /// Clients since the start.
    pub client_connections_total: IntCounter,
    refused: Vec<IntCounter>,
    errors: Vec<IntCounter>,
    pins: Vec<IntGauge>,
    /// Time spent waiting for a free backend connection.
    pub pool_wait: Histogram,
    /// Time reads waited for a replica.
    pub fresh_wait: Histogram,
    /// Grows with each change of primary.
    pub epoch: IntGauge,
    /// Panics that ended a session.
    pub panics: IntCounter,
    /// Bytes by side and direction.
    pub bytes: Bytes,
    /// Retries by cause.
    pub retries: Retries,
    /// Session settings by how they were met.
    pub settings: SettingCounts,
    /// Since the definitions of tables and routines were read; NaN before the first time.
    pub schema_age: Gauge,
    /// 1 while the monitoring account may not see all definitions.
    pub degraded_no_privilege: IntGauge,
    /// 1 while the primary's writes have no positions.
    pub degraded_no_gtid: IntGauge,
    /// 1 while writes made elsewhere should be known, and are not.
    pub degraded_binlog_behind: IntGauge,
    /// Watermarks of tables, and of keys.
    pub watermarks: (IntGauge, IntGauge),
    /// Keys forgotten because there were too many.
    pub watermark_overflows: IntCounter,
    stale_spills: IntCounterVec,
    refreshes: IntCounterVec,
    /// Accounts known of the primary.
    pub accounts: IntGauge,
    /// Since they were read; NaN before the first time, and where they are not asked for.
    pub accounts_age: Gauge,
    account_refreshes: IntCounterVec,
    reloads: IntCounterVec,
    loaded: Gauge,
    pub(crate) by_server: ByServer,
}

/// `clonelove_bytes_total`.
pub struct Bytes {
    /// From clients.
    pub client_in: IntCounter,
    /// To clients.
    pub client_out: IntCounter,
    /// From servers.
    pub server_in: IntCounter,
    /// To servers.
    pub server_out: IntCounter,
}

/// `clonelove_retries_total`.
pub struct Retries {
    /// The server went away.
    pub server_lost: IntCounter,
    /// A replica refused a statement as read-only.
    pub read_only: IntCounter,
    /// The server was declared down while it was silent.
    pub frozen: IntCounter,
    /// A replica refused access.
    pub access: IntCounter,
    /// A replica lacks what was named.
    pub missing: IntCounter,
    /// A replica's table or file is damaged.
    pub broken: IntCounter,
}

/// `clonelove_settings_total`.
pub struct SettingCounts {
    /// Accepted by a server for the first time in their state.
    pub learnt: IntCounter,
    /// Answered here.
    pub answered: IntCounter,
    /// Sent to a server by a client's word.
    pub sent: IntCounter,
}

/// Vectors with a `server` label, from which each server takes its handles.
pub(crate) struct ByServer {
    queries: IntCounterVec,
    errors: IntCounterVec,
    error_replies: IntCounterVec,
    pub(crate) up: IntGaugeVec,
    pub(crate) role: IntGaugeVec,
    pub(crate) eligible: IntGaugeVec,
    pub(crate) weight: IntGaugeVec,
    pub(crate) lag: GaugeVec,
    pub(crate) reported_lag: GaugeVec,
    pub(crate) in_flight: IntGaugeVec,
    pub(crate) prepared: IntGaugeVec,
    pub(crate) connections: IntGaugeVec,
    connects: IntCounterVec,
    pub(crate) state_changes: IntCounterVec,
    probe: prometheus::HistogramVec,
    pub(crate) waiting: IntGaugeVec,
    pool_timeouts: IntCounterVec,
}

/// One server's handles.
pub(crate) struct ServerMetrics {
    pub(crate) queries: IntCounter,
    errors: Vec<IntCounter>,
    pub(crate) replies_retryable: IntCounter,
    pub(crate) replies_read_only: IntCounter,
    pub(crate) replies_sql: IntCounter,
    pub(crate) connects_ok: IntCounter,
    pub(crate) connects_failed: IntCounter,
    pub(crate) probe: Histogram,
    pub(crate) pool_timeouts: IntCounter,
}

/// What a reading of the accounts came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AccountsRead {
    Ok,
    Failed,
    /// The monitoring account may not.
    NoPrivilege,
}

impl AccountsRead {
    const fn as_str(self) -> &'static str {
        match self {
            AccountsRead::Ok => "ok",
            AccountsRead::Failed => "failed",
            AccountsRead::NoPrivilege => "no_privilege",
        }
    }
}

impl Metrics {
    /// Makes and registers them all.
    pub fn new(version: &str, commit: &str) -> Result<Arc<Metrics>, prometheus::Error> {
        let make = Maker { registry: Registry::new() };
        let build = make.gauges(
            "clonelove_build_info",
            "Always 1; the labels tell the build.",
            &["version", "commit"],
        )?;
        build.with_label_values(&[version, commit]).set(1);
        #[cfg(target_os = "linux")]
        make.registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        let (queries, query_seconds) = make.queries()?;
        let (refused, errors) = make.faults()?;
        let [degraded_no_privilege, degraded_no_gtid, degraded_binlog_behind] = make.degraded()?;
        Ok(Arc::new(Metrics {
            queries,
            query_seconds,
            refused,
            errors,
            proxy_seconds: make.latency(
                "clonelove_proxy_seconds",
                "The proxy's own part of a query, without waiting for servers and clients.",
            )?,
            client_connections: make.gauge("clonelove_client_connections", "Clients connected.")?,
            client_connections_total: make
                .counter("clonelove_client_connections_total", "Clients that connected.")?,
            pins: make.pins()?,
            pool_wait: make
                .latency("clonelove_pool_wait_seconds", "Waiting for a free backend connection.")?,
            fresh_wait: make
                .latency("clonelove_fresh_wait_seconds", "Reads waiting for a replica to catch up.")?,
            epoch: make.gauge("clonelove_epoch", "Grows with each change of primary.")?,
            panics: make.counter(
                "clonelove_panics_total",
                "Panics; each ended one session and is a bug to report.",
            )?,
            bytes: make.bytes()?,
            retries: make.retries()?,
            settings: make.settings()?,
            schema_age: make.float("clonelove_schema_age_seconds", "Since the schema was last read.")?,
            degraded_no_privilege,
            degraded_no_gtid,
            degraded_binlog_behind,
            watermarks: make.watermarks()?,
            watermark_overflows: make.counter(
                "clonelove_watermark_overflows_total",
                "Watermarks of keys that gave way to their tables' because there were too many.",
            )?,
            stale_spills: make.spills()?,
            refreshes: make.refreshes()?,
            accounts: make.gauge("clonelove_accounts", "Accounts known of the primary.")?,
            accounts_age: make
                .float("clonelove_accounts_age_seconds", "Since the accounts were last read.")?,
            account_refreshes: make.account_refreshes()?,
            reloads: make.reloads()?,
            loaded: make.float(
                "clonelove_config_loaded_timestamp_seconds",
                "When the running configuration was loaded, Unix time.",
            )?,
            by_server: ByServer::new(&make)?,
            registry: make.registry,
        }))
    }

    /// For the scraper.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// A reload was applied or refused; `now` is Unix time.
    pub fn config_reloaded(&self, ok: bool) {
        self.reloads.with_label_values(&[if ok { "ok" } else { "refused" }]).inc();
    }

    /// The schema was read, or could not be.
    pub(crate) fn schema_refreshed(&self, ok: bool) {
        self.refreshes.with_label_values(&[if ok { "ok" } else { "failed" }]).inc();
    }

    /// The accounts were read, or could not be.
    pub(crate) fn accounts_read(&self, read: AccountsRead) {
        self.account_refreshes.with_label_values(&[read.as_str()]).inc();
    }

    /// The running configuration was loaded at this Unix time.
    pub fn config_loaded(&self, unix_seconds: f64) {
        self.loaded.set(unix_seconds);
    }

    /// A read went to the primary for want of a fresh replica. The first tables have labels of their own.
    pub(crate) fn spilled(&self, label: &str) {
        self.stale_spills.with_label_values(&[label]).inc();
    }

    /// One command was answered.
    pub fn query(&self, reason: Reason, seconds: f64) {
        if let Some(counter) = self.queries.get(reason as usize) {
            counter.inc();
        }
        if let Some(histogram) = self.query_seconds.get(reason.target() as usize) {
            histogram.observe(seconds);
        }
    }

    /// How often a reason applied.
    pub fn queries_by(&self, reason: Reason) -> u64 {
        self.queries.get(reason as usize).map_or(0, IntCounter::get)
    }

    /// A fault that no client connection was refused for.
    pub fn error(&self, fault: Fault) {
        if let Some(counter) = self.errors.get(fault as usize) {
            counter.inc();
        }
    }

    /// A client was turned away.
    pub fn refused(&self, fault: Fault) {
        if let Some(counter) = self.refused.get(fault as usize) {
            counter.inc();
        }
        self.error(fault);
    }

    /// The gauge of one pin.
    pub fn pin(&self, pin: Pin) -> Option<&IntGauge> {
        self.pins.get(pin as usize)
    }

    pub(crate) fn server(&self, name: &str) -> ServerMetrics {
        let by = &self.by_server;
        let reply = |class: &str| by.error_replies.with_label_values(&[name, class]);
        ServerMetrics {
            queries: by.queries.with_label_values(&[name]),
            errors: Fault::ALL.iter().map(|f| by.errors.with_label_values(&[name, f.as_str()])).collect(),
            replies_retryable: reply("retryable"),
            replies_read_only: reply("read_only"),
            replies_sql: reply("sql"),
            connects_ok: by.connects.with_label_values(&[name, "ok"]),
            connects_failed: by.connects.with_label_values(&[name, "failed"]),
            probe: by.probe.with_label_values(&[name]),
            pool_timeouts: by.pool_timeouts.with_label_values(&[name]),
        }
    }
}

impl ServerMetrics {
    pub(crate) fn error(&self, fault: Fault) {
        if let Some(counter) = self.errors.get(fault as usize) {
            counter.inc();
        }
    }
}

impl ByServer {
    fn new(make: &Maker) -> Result<Self, prometheus::Error> {
        Ok(Self {
            queries: make.counters(
                "clonelove_server_queries_total",
                "Statements sent to a server for clients.",
                &["server"],
            )?,
            errors: make.counters(
                "clonelove_server_errors_total",
                "Faults of a server.",
                &["server", "fault"],
            )?,
            error_replies: make.counters(
                "clonelove_error_replies_total",
                "Error packets a server answered with.",
                &["server", "class"],
            )?,
            up: make.gauges("clonelove_server_up", "1 while the probe reaches the server.", &["server"])?,
            role: make.gauges(
                "clonelove_server_role",
                "1 for the role the server has, 0 for the others.",
                &["server", "role"],
            )?,
            eligible: make.gauges(
                "clonelove_server_eligible",
                "1 while the server may answer reads.",
                &["server"],
            )?,
            weight: make.gauges("clonelove_server_weight", "The configured weight.", &["server"])?,
            lag: make.floats(
                "clonelove_server_lag_seconds",
                "Age of the oldest write the replica lacks, by positions; NaN when unknown.",
                &["server"],
            )?,
            reported_lag: make.floats(
                "clonelove_server_reported_lag_seconds",
                "The lag the server reports; NaN when it reports none.",
                &["server"],
            )?,
            in_flight: make.gauges("clonelove_server_in_flight", "Statements under way.", &["server"])?,
            prepared: make.gauges(
                "clonelove_server_prepared_statements",
                "Statements prepared on the connections to the server.",
                &["server"],
            )?,
            connections: make.gauges(
                "clonelove_server_connections",
                "Backend connections, by use.",
                &["server", "use"],
            )?,
            connects: make.counters(
                "clonelove_server_connects_total",
                "Connections opened to a server.",
                &["server", "result"],
            )?,
            state_changes: make.counters(
                "clonelove_server_state_changes_total",
                "Changes of a server's state, by the new one.",
                &["server", "state"],
            )?,
            probe: make.histograms(
                "clonelove_probe_seconds",
                "How long a probe of a server took.",
                &["server"],
                latencies()?,
            )?,
            waiting: make.gauges(
                "clonelove_pool_waiting",
                "Sessions waiting for a backend connection.",
                &["server"],
            )?,
            pool_timeouts: make.counters(
                "clonelove_pool_timeouts_total",
                "Waits for a backend connection that were given up.",
                &["server"],
            )?,
        })
    }
}

/// 50 microseconds to about 26 seconds.
fn latencies() -> Result<Vec<f64>, prometheus::Error> {
    exponential_buckets(0.000_05, 2.0, 20)
}

/// Makes a metric and registers it.
struct Maker {
    registry: Registry,
}

impl Maker {
    fn add<C: prometheus::core::Collector + Clone + 'static>(
        &self,
        metric: C,
    ) -> Result<C, prometheus::Error> {
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        self.add(IntCounter::new(name, help)?)
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
        self.add(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        self.add(IntGauge::new(name, help)?)
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, prometheus::Error> {
        self.add(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    fn float(&self, name: &str, help: &str) -> Result<Gauge, prometheus::Error> {
        self.add(Gauge::new(name, help)?)
    }

    fn floats(&self, name: &str, help: &str, labels: &[&str]) -> Result<GaugeVec, prometheus::Error> {
        self.add(GaugeVec::new(Opts::new(name, help), labels)?)
    }

    fn histogram(&self, name: &str, help: &str, buckets: Vec<f64>) -> Result<Histogram, prometheus::Error> {
        self.add(Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets))?)
    }

    fn histograms(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: Vec<f64>,
    ) -> Result<prometheus::HistogramVec, prometheus::Error> {
        self.add(prometheus::HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets), labels)?)
    }

    fn latency(&self, name: &str, help: &str) -> Result<Histogram, prometheus::Error> {
        self.histogram(name, help, latencies()?)
    }

    fn queries(&self) -> Result<(Vec<IntCounter>, Vec<Histogram>), prometheus::Error> {
        let help = "Commands that ask for something, by where they were answered and why.";
        let queries = self.counters("clonelove_queries_total", help, &["target", "reason"])?;
        let help = "From the first byte of a command to the last of its reply.";
        let seconds = self.histograms("clonelove_query_seconds", help, &["target"], latencies()?)?;
        let by_reason = |r: &Reason| queries.with_label_values(&[r.target().as_str(), r.as_str()]);
        let by_target = |t: &Target| seconds.with_label_values(&[t.as_str()]);
        Ok((Reason::ALL.iter().map(by_reason).collect(), Target::ALL.iter().map(by_target).collect()))
    }

    fn faults(&self) -> Result<(Vec<IntCounter>, Vec<IntCounter>), prometheus::Error> {
        let help = "Clients turned away, by whose fault.";
        let refused = self.counters("clonelove_client_connections_refused_total", help, &["fault"])?;
        let errors = self.counters("clonelove_errors_total", "Faults, by whose they are.", &["fault"])?;
        let each = |vector: &IntCounterVec| -> Vec<IntCounter> {
            Fault::ALL.iter().map(|fault| vector.with_label_values(&[fault.as_str()])).collect()
        };
        Ok((each(&refused), each(&errors)))
    }

    fn pins(&self) -> Result<Vec<IntGauge>, prometheus::Error> {
        let help = "Sessions tied to their primary connection, by what ties them.";
        let pins = self.gauges("clonelove_pins", help, &["pin"])?;
        Ok(Pin::ALL.iter().map(|pin| pins.with_label_values(&[pin.as_str()])).collect())
    }

    fn bytes(&self) -> Result<Bytes, prometheus::Error> {
        let bytes = self.counters("clonelove_bytes_total", "Bytes moved.", &["side", "direction"])?;
        Ok(Bytes {
            client_in: bytes.with_label_values(&["client", "in"]),
            client_out: bytes.with_label_values(&["client", "out"]),
            server_in: bytes.with_label_values(&["server", "in"]),
            server_out: bytes.with_label_values(&["server", "out"]),
        })
    }

    fn reloads(&self) -> Result<IntCounterVec, prometheus::Error> {
        let help = "Reloads of the configuration, by result.";
        let reloads = self.counters("clonelove_config_reloads_total", help, &["result"])?;
        for result in ["ok", "refused"] {
            reloads.with_label_values(&[result]);
        }
        Ok(reloads)
    }

    fn account_refreshes(&self) -> Result<IntCounterVec, prometheus::Error> {
        let name = "clonelove_account_refreshes_total";
        let refreshes = self.counters(name, "Readings of the accounts.", &["result"])?;
        for result in [AccountsRead::Ok, AccountsRead::Failed, AccountsRead::NoPrivilege] {
            refreshes.with_label_values(&[result.as_str()]);
        }
        Ok(refreshes)
    }

    fn refreshes(&self) -> Result<IntCounterVec, prometheus::Error> {
        let refreshes =
            self.counters("clonelove_schema_refreshes_total", "Readings of the schema.", &["result"])?;
        for result in ["ok", "failed"] {
            refreshes.with_label_values(&[result]);
        }
        Ok(refreshes)
    }

    /// All causes are there from the start; answers no_privilege, no_gtid and binlog_behind.
    fn degraded(&self) -> Result<[IntGauge; 3], prometheus::Error> {
        let degraded = self.gauges(
            "clonelove_freshness_degraded",
            "1 while something keeps the freshness promise from being whole.",
            &["cause"],
        )?;
        for cause in ["no_gtid", "no_tracking", "no_privilege", "binlog_behind"] {
            degraded.with_label_values(&[cause]).set(0);
        }
        Ok(["no_privilege", "no_gtid", "binlog_behind"].map(|cause| degraded.with_label_values(&[cause])))
    }

    fn watermarks(&self) -> Result<(IntGauge, IntGauge), prometheus::Error> {
        let watermarks = self.gauges("clonelove_watermarks", "Watermarks held, by scope.", &["scope"])?;
        Ok((watermarks.with_label_values(&["table"]), watermarks.with_label_values(&["key"])))
    }

    fn spills(&self) -> Result<IntCounterVec, prometheus::Error> {
        let help = "Reads sent to the primary for freshness, by table: the first 20 tables, and the rest.";
        let spills = self.counters("clonelove_stale_spills_total", help, &["table"])?;
        spills.with_label_values(&["other"]);
        Ok(spills)
    }

    fn retries(&self) -> Result<Retries, prometheus::Error> {
        let help = "Statements moved to another server before a byte of the reply reached the client.";
        let retries = self.counters("clonelove_retries_total", help, &["cause"])?;
        Ok(Retries {
            server_lost: retries.with_label_values(&["server_lost"]),
            read_only: retries.with_label_values(&["read_only"]),
            frozen: retries.with_label_values(&["frozen"]),
            access: retries.with_label_values(&["access"]),
            missing: retries.with_label_values(&["missing"]),
            broken: retries.with_label_values(&["broken"]),
        })
    }

    fn settings(&self) -> Result<SettingCounts, prometheus::Error> {
        let settings =
            self.counters("clonelove_settings_total", "Session settings, by how they were met.", &["how"])?;
        Ok(SettingCounts {
            learnt: settings.with_label_values(&["learnt"]),
            answered: settings.with_label_values(&["answered"]),
            sent: settings.with_label_values(&["sent"]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_register_and_encode() {
        let metrics = Metrics::new("0.1.0", "abc").unwrap();
        metrics.server("db1").error(Fault::ServerLost);
        metrics.query(Reason::Read, 0.001);
        let text = prometheus::TextEncoder::new().encode_to_string(&metrics.registry().gather()).unwrap();
        assert!(text.contains("clonelove_queries_total{reason=\"read\",target=\"replica\"} 1"), "{text}");
        assert!(text.contains("clonelove_server_errors_total{fault=\"server_lost\",server=\"db1\"} 1"));
        assert_eq!(metrics.queries_by(Reason::Read), 1);
    }
}
