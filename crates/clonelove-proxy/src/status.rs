//! What the outside sees: the status, readiness, gauges computed at scrape time, and the differences
//! between two settings. Reads everything, changes nothing but gauges.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clonelove_route::health::State;
use clonelove_route::reason::{Reason, Target};
use clonelove_route::report::FlavourName;
use clonelove_route::topology::{Node, Role};

use crate::cluster::Snapshot;
use crate::control::{
    ClientsStatus, ConnectionsStatus, Degraded, FreshnessStatus, KeepsOnPrimary, LearnedStatus, ListenStatus,
    PinStatus, SchemaStatus, ServerStatus, Status, UsersStatus,
};
use crate::proxy::Readiness;
use crate::server::Server;
use crate::settings::{FreshnessScope, Settings, UsersFrom};
use crate::shared::Shared;

/// Lists of the status are cut at this.
const MOST: usize = 100;

pub(crate) fn status(shared: &Shared, listen: &[String]) -> Status {
    let settings = shared.settings.load_full();
    let snapshot = shared.cluster.snapshot();
    let pins = shared.clients.pinned();
    let learned = shared.learned.list();
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        started: rfc3339(shared.started_at),
        uptime_seconds: shared.started.elapsed().as_secs_f64(),
        draining: shared.draining.is_cancelled(),
        listen: ListenStatus { mysql: listen.to_vec(), http: None },
        primary: snapshot.topology.primary_node().map(|node| node.name.clone()),
        epoch: snapshot.topology.epoch,
        mode: settings.routing.mode,
        freshness: FreshnessStatus {
            mode: settings.routing.freshness,
            scope: settings.routing.freshness_scope,
            followed: shared.cluster.follower.following().position.map(|position| position.to_text()),
            degraded: degraded(shared),
            watermarks: watermarks(shared),
            keeps_on_primary: keeps_on_primary(shared),
        },
        schema: schema(shared),
        users: users(shared, settings.users_from),
        clients: ClientsStatus {
            now: shared.clients.now() as u64,
            total: shared.metrics.client_connections_total.get(),
            limit: settings.limits.client_connections as u64,
        },
        queries: queries(shared),
        reads_on_replicas: reads_on_replicas(shared),
        servers: servers(shared, &snapshot),
        pins_total: pins.len(),
        pins: pins
            .into_iter()
            .take(MOST)
            .map(|(view, pinned)| PinStatus {
                session: u64::from(view.id),
                user: view.user.lock().clone(),
                client: view.client().to_owned(),
                pin: pinned.pin.as_str(),
                statement: pinned.statement,
                seconds: pinned.since.elapsed().as_secs_f64(),
            })
            .collect(),
        learned_total: learned.len(),
        learned: learned
            .into_iter()
            .take(MOST)
            .map(|(digest, refused)| LearnedStatus {
                digest: format!("{digest:016x}"),
                statement: refused.text,
                count: refused.count,
            })
            .collect(),
    }
}

fn watermarks(shared: &Shared) -> BTreeMap<&'static str, u64> {
    let counts = shared.cluster.freshness.counts();
    BTreeMap::from([("table", counts.tables as u64), ("key", counts.keys as u64)])
}

/// Tables whose reads went to the primary, and those whose reads must.
fn keeps_on_primary(shared: &Shared) -> Vec<KeepsOnPrimary> {
    let freshness = &shared.cluster.freshness;
    let mut list: Vec<_> = freshness
        .spills()
        .into_iter()
        .take(MOST)
        .map(|(table, reads)| KeepsOnPrimary { table, reads, unlogged: false })
        .collect();
    let view = shared.cluster.schema.view();
    for id in freshness.unlogged().into_iter().take(MOST) {
        let name = view.as_ref().and_then(|view| view.name(id)).unwrap_or_else(|| format!("#{:016x}", id.0));
        match list.iter_mut().find(|one| one.table == name) {
            Some(known) => known.unlogged = true,
            None => list.push(KeepsOnPrimary { table: name, reads: 0, unlogged: true }),
        }
    }
    list
}

/// What keeps the promise from being whole.
fn degraded(shared: &Shared) -> Vec<Degraded> {
    let view = shared.cluster.schema.view();
    let missing = view.as_ref().map(|view| view.missing()).unwrap_or_default();
    let mut degraded: Vec<Degraded> =
        missing.iter().map(|one| Degraded { cause: "no_privilege", hint: one.hint.clone() }).collect();
    if !shared.cluster.freshness.promises() {
        let hint = "switch the primary's binary log on (log_bin), on MySQL with gtid_mode=ON: until then a read may \
                    miss what was written before it";
        degraded.push(Degraded { cause: "no_gtid", hint: hint.to_owned() });
    }
    if let Some(hint) = unknown_writes(shared) {
        degraded.push(Degraded { cause: "binlog_behind", hint });
    }
    degraded
}

/// Why writes made elsewhere are not known in time, if they should be.
fn unknown_writes(shared: &Shared) -> Option<String> {
    let routing = &shared.settings.load().routing;
    let follower = &shared.cluster.follower;
    if routing.freshness_scope == FreshnessScope::Proxy
        || !routing.freshness.is_global()
        || follower.keeps_up()
    {
        return None;
    }
    let state = follower.following();
    let late = || "the primary wrote faster than its binary log could be followed".to_owned();
    let why = state.why.filter(|_| state.since.is_none()).unwrap_or_else(late);
    Some(format!("until its binary log is followed again the primary is asked before each read: {why}"))
}

fn schema(shared: &Shared) -> SchemaStatus {
    let view = shared.cluster.schema.view();
    let Some(view) = &*view else { return SchemaStatus::default() };
    let counts = view.counts();
    SchemaStatus {
        age_seconds: Some(view.read_at().elapsed().as_secs_f64()),
        tables: Some(counts.tables as u64),
        views: Some(counts.views as u64),
        routines: Some(counts.routines as u64),
        triggers: Some(counts.triggers as u64),
    }
}

fn users(shared: &Shared, from: UsersFrom) -> UsersStatus {
    let (accounts, age, problem) = shared.accounts.told();
    let problem = problem.filter(|_| from == UsersFrom::Primary);
    UsersStatus {
        from,
        accounts: age.is_some().then_some(accounts as u64),
        age_seconds: age.map(|age| age.as_secs_f64()),
        problem: problem.as_ref().map(|problem| problem.what.clone()),
        hint: problem.and_then(|problem| problem.grant),
    }
}

fn queries(shared: &Shared) -> BTreeMap<&'static str, BTreeMap<&'static str, u64>> {
    let mut by_target: BTreeMap<_, BTreeMap<_, _>> =
        Target::ALL.iter().map(|target| (target.as_str(), BTreeMap::new())).collect();
    for reason in Reason::ALL {
        let count = shared.metrics.queries_by(*reason);
        if count > 0
            && let Some(reasons) = by_target.get_mut(reason.target().as_str())
        {
            reasons.insert(reason.as_str(), count);
        }
    }
    by_target
}

/// Of what could have gone to a replica, the share that did.
fn reads_on_replicas(shared: &Shared) -> Option<f64> {
    const KEPT: [Reason; 8] = [
        Reason::Stale,
        Reason::Pending,
        Reason::NoReplica,
        Reason::ReadOnlyRefused,
        Reason::Learned,
        Reason::Retried,
        Reason::Configured,
        Reason::UnknownTable,
    ];
    let sum = |list: &[Reason]| list.iter().map(|reason| shared.metrics.queries_by(*reason)).sum::<u64>();
    let there = sum(&[Reason::Read, Reason::ReadWaited, Reason::ReadOnlyTransaction]);
    let all = there.saturating_add(sum(&KEPT));
    (all > 0).then(|| there as f64 / all as f64)
}

fn servers(shared: &Shared, snapshot: &Snapshot) -> Vec<ServerStatus> {
    let present = snapshot.servers.iter().zip(&snapshot.topology.servers);
    present
        .filter(|(server, _)| !server.removed.load(Ordering::Relaxed))
        .map(|(server, node)| server_status(shared, server, node))
        .collect()
}

fn server_status(shared: &Shared, server: &Server, node: &Node) -> ServerStatus {
    let settings = server.settings.load();
    let ago = shared.cluster.moment(node.since).elapsed();
    let position = if node.role == Role::Primary {
        node.report
            .as_ref()
            .and_then(|report| report.binlog_position.as_ref())
            .map(|position| position.to_text())
    } else {
        server.known().map(|position| position.to_text())
    };
    ServerStatus {
        name: node.name.clone(),
        address: settings.address.to_string(),
        role: node.role.as_str(),
        pinned_role: node.pinned,
        state: node.state.as_str(),
        eligible: node.eligible,
        why: if node.why.is_empty() {
            "is up and fresh enough for reads".to_owned()
        } else {
            node.why.clone()
        },
        flavour: node.report.as_ref().map(|report| report.flavour.as_str()),
        version: node.report.as_ref().map(|report| report.version.clone()),
        weight: settings.weight,
        zone: settings.zone.clone(),
        lag_seconds: node.lag,
        reported_lag_seconds: node.reported_lag,
        position,
        in_flight: u64::from(server.in_flight.load(Ordering::Relaxed)),
        connections: connections(server),
        queries: server.queries.load(Ordering::Relaxed),
        last_error: server.last_error.lock().clone().or_else(|| node.last_error.clone()),
        since: rfc3339(SystemTime::now().checked_sub(ago).unwrap_or(UNIX_EPOCH)),
    }
}

fn connections(server: &Server) -> ConnectionsStatus {
    let counts = server.pool.counts();
    let pinned = server.pinned.load(Ordering::Relaxed).min(counts.leased);
    ConnectionsStatus {
        idle: counts.idle,
        busy: counts.leased.saturating_sub(pinned),
        pinned,
        monitor: server.monitors.load(Ordering::Relaxed),
        max: counts.limit,
    }
}

pub(crate) fn readiness(shared: &Shared, writes: bool) -> Readiness {
    if shared.draining.is_cancelled() {
        return Readiness::NotReady("draining: the proxy is shutting down".to_owned());
    }
    let snapshot = shared.cluster.snapshot();
    if !snapshot.probed {
        return Readiness::NotReady("starting: not every server has been probed yet".to_owned());
    }
    if !shared.cluster.schema.was_tried() {
        return Readiness::NotReady("starting: the servers' definitions have not been read yet".to_owned());
    }
    let primary = snapshot.topology.primary.is_some();
    if primary || (!writes && snapshot.topology.eligible().next().is_some()) {
        return Readiness::Ready;
    }
    Readiness::NotReady(format!("{}; {}", snapshot.why_no_primary(), snapshot.faults()))
}

pub(crate) fn refresh_metrics(shared: &Shared) {
    let snapshot = shared.cluster.snapshot();
    let age = shared.cluster.schema.view().as_ref().map(|view| view.read_at().elapsed().as_secs_f64());
    shared.metrics.schema_age.set(age.unwrap_or(f64::NAN));
    let (accounts, age, _) = shared.accounts.told();
    shared.metrics.accounts.set(i64::try_from(accounts).unwrap_or(i64::MAX));
    shared.metrics.accounts_age.set(age.map_or(f64::NAN, |age| age.as_secs_f64()));
    shared.metrics.degraded_binlog_behind.set(i64::from(unknown_writes(shared).is_some()));
    let counts = shared.cluster.freshness.counts();
    let (tables, keys) = &shared.metrics.watermarks;
    tables.set(i64::try_from(counts.tables).unwrap_or(i64::MAX));
    keys.set(i64::try_from(counts.keys).unwrap_or(i64::MAX));
    let overflows = &shared.metrics.watermark_overflows;
    overflows.inc_by(counts.overflows.saturating_sub(overflows.get()));
    let by = &shared.metrics.by_server;
    let as_gauge = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    for (server, node) in snapshot.servers.iter().zip(&snapshot.topology.servers) {
        let name: &str = &server.name;
        if server.removed.load(Ordering::Relaxed) {
            continue;
        }
        by.up.with_label_values(&[name]).set(i64::from(node.state != State::Down));
        for role in Role::ALL {
            by.role.with_label_values(&[name, role.as_str()]).set(i64::from(node.role == role));
        }
        by.eligible.with_label_values(&[name]).set(i64::from(node.eligible));
        by.weight.with_label_values(&[name]).set(i64::from(server.settings.load().weight));
        by.lag.with_label_values(&[name]).set(node.lag.unwrap_or(f64::NAN));
        by.reported_lag.with_label_values(&[name]).set(node.reported_lag.unwrap_or(f64::NAN));
        by.in_flight.with_label_values(&[name]).set(i64::from(server.in_flight.load(Ordering::Relaxed)));
        by.prepared.with_label_values(&[name]).set(server.prepared.open());
        by.waiting.with_label_values(&[name]).set(as_gauge(server.pool.counts().waiting));
        let connections = connections(server);
        for (usage, count) in [
            ("idle", connections.idle),
            ("busy", connections.busy),
            ("pinned", connections.pinned),
            ("monitor", connections.monitor),
        ] {
            by.connections.with_label_values(&[name, usage]).set(as_gauge(count));
        }
    }
}

/// One line for each part of the settings that a reload changed; no values, for some are secret.
pub(crate) fn differences(before: &Settings, after: &Settings) -> Vec<String> {
    let mut lines = Vec::new();
    for server in &after.servers {
        match before.servers.iter().find(|old| old.name == server.name) {
            None => lines.push(format!("server {} added", server.name)),
            Some(old) if old != server => lines.push(format!("server {} changed", server.name)),
            Some(_) => {}
        }
    }
    for old in &before.servers {
        if !after.servers.iter().any(|server| server.name == old.name) {
            lines.push(format!("server {} removed", old.name));
        }
    }
    for (changed, what) in [
        (before.monitor != after.monitor, "[monitor] changed"),
        (before.users != after.users, "[[user]] changed"),
        (before.users_from != after.users_from, "[users] changed"),
        (before.routing != after.routing, "[routing] changed"),
        (before.pool != after.pool, "[pool] changed"),
        (before.limits != after.limits, "[limits] changed"),
        (
            (&before.tls, &before.rsa_key) != (&after.tls, &after.rsa_key),
            "[tls] changed: new connections use it",
        ),
    ] {
        if changed {
            lines.push(what.to_owned());
        }
    }
    lines
}

/// RFC 3339 in UTC, to the second.
fn rfc3339(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil_from_days(days);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", of_day / 3600, of_day / 60 % 60, of_day % 60)
}

/// The proleptic Gregorian date of a day since 1970, by Howard Hinnant's days-to-civil algorithm.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_people_and_programs_read_them() {
        let at = |seconds| rfc3339(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(at(1_795_460_399), "2026-11-23T18:59:59Z");
    }
}
