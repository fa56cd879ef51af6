//! The servers as a whole: folds what the probes find into a topology that everybody reads. Owns the
//! servers, their order and the moment a change takes effect; how a probe is made is `probe`'s.

pub(crate) mod binlog;
mod positions;
mod probe;
pub(crate) mod schema;
mod shown;

pub(crate) use positions::{FreshWait, Waiters};
pub(crate) use probe::{for_ever, monitoring_connection};

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwap;
use clonelove_route::election::{Candidate, Election, Pinned, Verdict};
use clonelove_route::freshness::Rules;
use clonelove_route::health::{Health, HealthRules, State, Surroundings, Transition};
use clonelove_route::position::Position;
use clonelove_route::report::{Report, UnlikeDefaults};
use clonelove_route::topology::{Member, Role, Topology};
use clonelove_wire::Caps;
use clonelove_wire::packet::Greeting;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::binlog::Follower;
use self::schema::Definitions;
use crate::freshness::Freshness;
use crate::metrics::Metrics;
use crate::server::Server;
use crate::settings::{Address, RoleSetting, ServerSettings, Settings};
use crate::shared::Clients;

/// All servers, and what is known of them.
pub(crate) struct Cluster {
    state: Mutex<Fold>,
    snapshot: ArcSwap<Snapshot>,
    pub(crate) changed: watch::Sender<u64>,
    metrics: Arc<Metrics>,
    clients: Arc<Clients>,
    started: Instant,
    /// What is known of the definitions of tables and routines.
    pub(crate) schema: Arc<Definitions>,
    /// What was written, and who has it.
    pub(crate) freshness: Arc<Freshness>,
    /// Whether others' writes are known too.
    pub(crate) follower: Arc<Follower>,
}

/// What everybody reads: the topology, and the running servers by the same indices.
#[derive(Clone)]
pub(crate) struct Snapshot {
    pub(crate) topology: Topology,
    pub(crate) servers: Vec<Arc<Server>>,
    /// The primary's greeting, or the last known one.
    pub(crate) greeting: Option<Arc<Greeting>>,
    /// What all servers seen so far can do.
    pub(crate) common_caps: Caps,
    /// Every server has been probed once, well or badly.
    pub(crate) probed: bool,
}

/// The state behind the snapshots.
struct Fold {
    slots: Vec<Slot>,
    election: Election,
    topology: Topology,
    rules: HealthRules,
    warm_up: Duration,
    /// The share of the primary's connections that is not for reads.
    write_reserve: f64,
    /// The primary's defaults, and each server's, as of the snapshot before.
    defaults: Vec<Option<Arc<Report>>>,
    model: Option<Arc<Greeting>>,
}

struct Slot {
    server: Arc<Server>,
    /// Its name while it is configured; then one that no other server can have.
    label: String,
    health: Health,
    greeting: Option<Arc<Greeting>>,
}

/// What a probe that got through brings.
pub(crate) struct Found {
    pub(crate) report: Report,
    pub(crate) greeting: Arc<Greeting>,
    /// The position that the same connection told before.
    pub(crate) last: Option<Arc<Position>>,
    /// When it began to ask.
    pub(crate) begun: Instant,
}

/// How long the primary may take to tell its position.
const ASK_PRIMARY: Duration = Duration::from_secs(1);

impl Cluster {
    pub(crate) fn new(settings: &Settings, metrics: Arc<Metrics>, clients: Arc<Clients>) -> Arc<Self> {
        let freshness = Freshness::new(settings.limits.watermarks, settings.rules);
        let slots = settings
            .servers
            .iter()
            .enumerate()
            .map(|(at, one)| Slot::new(Server::new(at, one.clone(), &metrics, &freshness, &clients)))
            .collect();
        let fold = Fold {
            slots,
            election: Election::by(settings.rules),
            topology: Topology::unknown(),
            rules: rules(settings),
            warm_up: settings.routing.warm_up,
            write_reserve: settings.pool.write_reserve,
            defaults: Vec::new(),
            model: None,
        };
        let snapshot = Snapshot {
            topology: Topology::unknown(),
            servers: fold.slots.iter().map(|slot| Arc::clone(&slot.server)).collect(),
            greeting: None,
            common_caps: Caps::all(),
            probed: false,
        };
        Arc::new(Self {
            state: Mutex::new(fold),
            snapshot: ArcSwap::from_pointee(snapshot),
            changed: watch::Sender::new(0),
            schema: Definitions::new(Arc::clone(&metrics)),
            metrics,
            clients,
            started: Instant::now(),
            freshness,
            follower: Follower::new(),
        })
    }

    /// Begins to probe every server and to read what they hold, until `stopped`.
    pub(crate) fn start(
        self: &Arc<Self>,
        settings: &Arc<ArcSwap<Settings>>,
        tasks: &TaskTracker,
        stopped: &CancellationToken,
    ) {
        for server in &self.snapshot().servers {
            self.start_one(server, settings, tasks, stopped);
        }
        let (cluster, wishes) = (Arc::clone(self), Arc::clone(settings));
        let make = move || schema::keep(Arc::clone(&cluster), Arc::clone(&wishes));
        tasks.spawn(probe::for_ever(make, tasks.clone(), stopped.clone(), Arc::clone(&self.metrics)));
        let (cluster, wishes) = (Arc::clone(self), Arc::clone(settings));
        let make = move || binlog::keep(Arc::clone(&cluster), Arc::clone(&wishes));
        tasks.spawn(probe::for_ever(make, tasks.clone(), stopped.clone(), Arc::clone(&self.metrics)));
        let cluster = Arc::clone(self);
        let make = move || {
            let asked = Arc::clone(&cluster);
            Arc::clone(&cluster.freshness).settle_doubts(move || {
                let asked = Arc::clone(&asked);
                async move { asked.primary_position(ASK_PRIMARY).await }
            })
        };
        tasks.spawn(probe::for_ever(make, tasks.clone(), stopped.clone(), Arc::clone(&self.metrics)));
    }

    /// Begins to probe one server.
    pub(crate) fn start_one(
        self: &Arc<Self>,
        server: &Arc<Server>,
        settings: &Arc<ArcSwap<Settings>>,
        tasks: &TaskTracker,
        stopped: &CancellationToken,
    ) {
        probe::start(self, server, settings, tasks, stopped);
    }

    /// Takes over changed settings; answers the servers that are new and have yet to be probed.
    pub(crate) fn reload(&self, settings: &Settings) -> Vec<Arc<Server>> {
        let mut fold = self.state.lock();
        fold.rules = rules(settings);
        fold.warm_up = settings.routing.warm_up;
        self.freshness.set_limit(settings.limits.watermarks);
        let mut fresh = Vec::new();
        for (at, slot) in fold.slots.iter_mut().enumerate() {
            let still = settings.servers.iter().find(|one| one.name == slot.server.name.as_ref());
            match still {
                Some(one)
                    if !slot.server.removed.load(Ordering::Relaxed)
                        && one.address == slot.server.settings.load().address =>
                {
                    slot.server.settings.store(Arc::new(one.clone()));
                }
                _ => {
                    slot.label = format!("{} (removed, {at})", slot.server.name);
                    slot.server.removed.store(true, Ordering::Relaxed);
                    slot.server.end_life();
                }
            }
        }
        for one in &settings.servers {
            let known = fold.slots.iter().any(|slot| {
                slot.server.name.as_ref() == one.name && !slot.server.removed.load(Ordering::Relaxed)
            });
            if !known {
                let (at, one) = (fold.slots.len(), one.clone());
                let slot = Slot::new(Server::new(at, one, &self.metrics, &self.freshness, &self.clients));
                fresh.push(Arc::clone(&slot.server));
                fold.slots.push(slot);
            }
        }
        fold.write_reserve = settings.pool.write_reserve;
        self.publish(&mut fold);
        fresh
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Waits until every server has been probed once, well or badly.
    pub(crate) async fn first_round(&self) {
        let mut changed = self.changed.subscribe();
        while !self.snapshot.load().probed {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// Waits until the servers and what they hold were looked at once, as far as that can be had.
    pub(crate) async fn first_look(&self) {
        self.first_round().await;
        self.schema.first_reading().await;
    }

    /// Waits until the primary was probed anew, for what a client has changed there that is read from it; not for ever.
    pub(crate) async fn look_again(&self) {
        const LONGEST: Duration = Duration::from_secs(2);
        let snapshot = self.snapshot();
        let Some(server) = snapshot.topology.primary.and_then(|at| snapshot.servers.get(at)) else { return };
        let mut probes = server.probes.subscribe();
        let probed = async {
            // One may have been under way.
            for _ in 0..2 {
                server.nudge.notify_one();
                let _ = probes.changed().await;
            }
        };
        let _ = tokio::time::timeout(LONGEST, probed).await;
    }

    /// When a server is to be probed next, after a probe that began at `begun`: sooner when in doubt.
    fn next_probe(&self, at: usize, begun: Instant, interval: Duration) -> Instant {
        let last = begun.saturating_duration_since(self.started);
        let fold = self.state.lock();
        let due = fold.slots.get(at).map_or(last + interval, |slot| slot.health.next_probe(last, interval));
        self.started + due
    }

    /// Since the start, which is what health and topology count in.
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// The moment that health and topology call `since`.
    pub(crate) fn moment(&self, since: Duration) -> Instant {
        self.started + since
    }

    /// A probe came to its end.
    fn observe(&self, at: usize, mut found: Result<Found, String>) -> Option<Arc<Position>> {
        let now = self.now();
        let mut fold = self.state.lock();
        let rules = fold.rules;
        let slot = fold.slots.get_mut(at)?;
        let before = slot.health.generation();
        let transition = match &found {
            Ok(found) => {
                slot.greeting = Some(Arc::clone(&found.greeting));
                slot.server.by_client.seen(found.report.read_only, found.begun);
                slot.health.observe(Ok(&found.report), &rules, now)
            }
            Err(why) => {
                *slot.server.last_error.lock() = Some(why.clone());
                slot.server.forget_position();
                slot.health.observe(Err(why), &rules, now)
            }
        };
        slot.note(transition.as_ref(), &self.metrics);
        if slot.health.generation() != before {
            slot.server.end_life();
        }
        if let Ok(Found { report, last, .. }) = &mut found
            && let Some(position) = report.position.clone()
        {
            slot.server.told_position(last, position);
        }
        self.publish(&mut fold);
        found.ok()?.last
    }

    /// The operator takes a server out, or lets it in again. False when there is none of that name.
    pub(crate) fn set_drained(&self, name: &str, drained: bool) -> bool {
        let now = self.now();
        let mut fold = self.state.lock();
        let slot = fold
            .slots
            .iter_mut()
            .find(|slot| slot.server.name.as_ref() == name && !slot.server.removed.load(Ordering::Relaxed));
        let Some(slot) = slot else { return false };
        slot.server.drained.store(drained, Ordering::Relaxed);
        let transition = slot.health.set_drained(drained, now);
        slot.note(transition.as_ref(), &self.metrics);
        self.publish(&mut fold);
        true
    }

    /// Holds the election and gives everybody the outcome.
    fn publish(&self, fold: &mut Fold) {
        let now = self.now();
        let verdict = fold.elect();
        let primary = if let Verdict::Primary(at) = verdict { Some(at) } else { None };
        for (at, slot) in fold.slots.iter_mut().enumerate() {
            let surroundings =
                Surroundings { is_primary: primary == Some(at), primary_up: primary.is_some() };
            let transition = slot.health.surround(surroundings, &fold.rules, now);
            slot.note(transition.as_ref(), &self.metrics);
        }
        let settings = fold.settings();
        let members: Vec<Member<'_>> =
            fold.slots.iter().zip(&settings).map(|(slot, one)| slot.member(one)).collect();
        let next = fold.topology.next(&members, verdict, &fold.rules, fold.warm_up, now);
        self.tell_of_change(&fold.topology, &next, &fold.slots);
        self.begin_epoch(&fold.topology, &next);
        let serving = next.eligible().map(|(at, _)| at);
        self.freshness.forget(serving);
        fold.topology = next;
        if let Some(greeting) =
            primary.and_then(|at| fold.slots.get(at)).and_then(|slot| slot.greeting.clone())
        {
            fold.model = Some(greeting);
        }
        fold.limit_pools();
        let snapshot = fold.snapshot();
        fold.note_defaults(&snapshot);
        self.snapshot.store(Arc::new(snapshot));
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// With another primary, or one that lost transactions, what was known of writes is of the past.
    fn begin_epoch(&self, before: &Topology, after: &Topology) {
        let Some(node) = after.primary_node() else { return self.begin_without_primary(after) };
        let Some(report) = node.report.as_deref() else { return };
        let writes = report.gtid.writes;
        if before.epoch == after.epoch && self.freshness.promises() == writes {
            return;
        }
        let former = before.primary_node().filter(|former| former.name == node.name);
        let former = former.and_then(|former| former.report.as_deref()?.written());
        self.freshness.begin(report.written().filter(|_| writes).as_ref(), former.as_ref());
        self.metrics.degraded_no_gtid.set(i64::from(!writes));
        if !writes {
            let why = "its writes have no positions: replicas may be asked for what they lack (see docs/freshness.md)";
            tracing::warn!(server = %node.name, "{why}");
        }
    }

    /// A start without a primary: what some server has is all there is.
    fn begin_without_primary(&self, found: &Topology) {
        let unknown = found.servers.iter().any(|node| node.report.is_none() && node.state != State::Down);
        if found.epoch > 0 || self.freshness.has_begun() || unknown {
            return;
        }
        let mut positions = found.servers.iter().filter_map(|node| node.position().cloned());
        let Some(mut all) = positions.next() else { return };
        positions.for_each(|position| all.union(&position));
        self.freshness.begin(Some(&all), None);
    }

    /// One log line for a change of primary; connections made under the old roles are closed.
    fn tell_of_change(&self, before: &Topology, after: &Topology, slots: &[Slot]) {
        self.metrics.epoch.set(i64::try_from(after.epoch).unwrap_or(i64::MAX));
        if before.primary == after.primary {
            return;
        }
        match after.primary_node() {
            Some(node) => tracing::info!(server = %node.name, epoch = after.epoch, "is the primary"),
            None => {
                tracing::error!(why = %why(&after.verdict), "there is no primary: reads go on, writes are refused")
            }
        }
        // A primary that only went away keeps its role; another one in its place changes two roles.
        let now = after.primary.and_then(|at| slots.get(at)).map(|slot| &*slot.server.name);
        let was = before.last_primary.as_deref();
        let changes = now.is_some() && was.is_some() && now != was;
        if changes && self.freshness.keeps(Rules::ROLE_CHANGE) {
            let either = |slot: &&Slot| [now, was].contains(&Some(&*slot.server.name));
            slots.iter().filter(either).for_each(|slot| slot.server.end_life());
        }
    }
}

impl Slot {
    fn new(server: Server) -> Self {
        let label = server.name.to_string();
        Self { server: Arc::new(server), label, health: Health::new(), greeting: None }
    }

    /// One log line, one count, for a change of state.
    fn note(&self, transition: Option<&Transition>, metrics: &Metrics) {
        let Some(Transition { from, to, why }) = transition else { return };
        metrics.by_server.state_changes.with_label_values(&[&self.server.name, to.as_str()]).inc();
        let (server, from, to_text) = (&*self.server.name, from.as_str(), to.as_str());
        match to {
            State::Up | State::Draining => tracing::info!(server, from, to = to_text, why, "state changed"),
            State::Down | State::Lagging | State::Broken => {
                tracing::warn!(server, from, to = to_text, why, "state changed");
            }
        }
    }

    fn member<'a>(&'a self, settings: &'a ServerSettings) -> Member<'a> {
        let (host, port) = host_and_port(&settings.address);
        Member {
            name: &self.label,
            host,
            port,
            pinned: if self.is_removed() { Pinned::Replica } else { pinned(settings.role) },
            weight: settings.weight,
            zone: &settings.zone,
            lag: self.server.lag(),
            health: &self.health,
        }
    }

    fn is_removed(&self) -> bool {
        self.server.removed.load(Ordering::Relaxed)
    }
}

impl Fold {
    fn settings(&self) -> Vec<Arc<ServerSettings>> {
        self.slots.iter().map(|slot| slot.server.settings.load_full()).collect()
    }

    /// Only the primary has writes to keep connections for.
    fn limit_pools(&self) {
        for (at, slot) in self.slots.iter().enumerate() {
            let limit = slot.server.settings.load().max_connections;
            let share = if self.topology.primary == Some(at) { self.write_reserve } else { 0.0 };
            slot.server.pool.set_limit(limit, reserved(limit, share));
        }
    }

    /// Connections made under other session defaults are not used any more: neither the server's own, nor
    /// those of the primary that were set on them.
    fn note_defaults(&mut self, snapshot: &Snapshot) {
        let reports: Vec<Option<Arc<Report>>> =
            snapshot.topology.servers.iter().map(|node| node.report.clone()).collect();
        let changed = |before: &Option<Arc<Report>>, now: &Option<Arc<Report>>| matches!((before, now), (Some(before), Some(now)) if before.defaults != now.defaults);
        let of_primary = snapshot.topology.primary.is_some_and(
            |at| matches!((self.defaults.get(at), reports.get(at)), (Some(a), Some(b)) if changed(a, b)),
        );
        for (at, slot) in self.slots.iter().enumerate() {
            let own = matches!((self.defaults.get(at), reports.get(at)), (Some(a), Some(b)) if changed(a, b));
            if own || of_primary {
                slot.server.pool.clear();
            }
        }
        self.defaults = reports;
    }

    fn elect(&mut self) -> Verdict {
        let settings = self.settings();
        let mut candidates: Vec<Candidate<'_>> = self
            .slots
            .iter()
            .zip(&settings)
            .map(|(slot, one)| {
                let candidate = slot.member(one).candidate();
                let up = candidate.up && !slot.is_removed();
                Candidate { up, read_only_by_client: slot.server.by_client.holds(), ..candidate }
            })
            .collect();
        self.election.hold(&mut candidates)
    }

    fn snapshot(&self) -> Snapshot {
        let greetings =
            self.slots.iter().filter(|slot| !slot.is_removed()).filter_map(|slot| slot.greeting.as_ref());
        let common_caps = greetings.clone().fold(Caps::all(), |common, greeting| common & greeting.caps);
        let mut topology = self.topology.clone();
        for (node, slot) in topology.servers.iter_mut().zip(&self.slots) {
            if slot.is_removed() {
                node.eligible = false;
                "no longer in the configuration".clone_into(&mut node.why);
            }
        }
        Snapshot {
            topology,
            servers: self.slots.iter().map(|slot| Arc::clone(&slot.server)).collect(),
            greeting: self.model.clone().or_else(|| greetings.clone().next().cloned()),
            common_caps,
            probed: self.slots.iter().all(|slot| slot.health.is_probed() || slot.is_removed()),
        }
    }
}

impl Snapshot {
    /// The report that sessions take their defaults from: the primary's, or the last known one's.
    pub(crate) fn model(&self) -> Option<Arc<Report>> {
        let leader = self.topology.last_primary.as_deref().and_then(|name| self.topology.find(name));
        leader
            .and_then(|(_, node)| node.report.clone())
            .or_else(|| self.topology.servers.iter().find_map(|node| node.report.clone()))
    }

    /// The settings that make sessions on a server begin as on the primary.
    pub(crate) fn like_primary(&self, at: usize) -> Result<Vec<(String, String)>, UnlikeDefaults> {
        let (Some(model), Some(report)) =
            (self.model(), self.topology.servers.get(at).and_then(|node| node.report.as_ref()))
        else {
            return Ok(Vec::new());
        };
        report.settings_like(&model)
    }

    /// Each server and what is wrong with it.
    pub(crate) fn faults(&self) -> String {
        let each: Vec<String> = self
            .servers
            .iter()
            .zip(&self.topology.servers)
            .filter(|(server, _)| !server.removed.load(Ordering::Relaxed))
            .map(|(server, node)| {
                let in_use = node.eligible || node.role == Role::Primary;
                let error = server.last_error.lock().clone();
                let known = if in_use || node.why.is_empty() { error } else { Some(node.why.clone()) };
                format!("server {}: {}", server.name, known.unwrap_or_else(|| "no fault known".to_owned()))
            })
            .collect();
        each.join("; ")
    }

    /// Why nothing accepts writes, by server.
    pub(crate) fn why_no_primary(&self) -> String {
        why(&self.topology.verdict).to_owned()
    }

    /// Why each server gets no reads.
    pub(crate) fn why_not_eligible(&self) -> String {
        let each: Vec<String> =
            self.topology.servers.iter().map(|node| format!("{}: {}", node.name, node.why)).collect();
        each.join("; ")
    }
}

fn why(verdict: &Verdict) -> &str {
    match verdict {
        Verdict::Primary(_) => "",
        Verdict::Gone { why, .. } | Verdict::Conflict { why, .. } | Verdict::None { why } => why,
    }
}

/// How many of `limit` connections a share is.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a small count")]
fn reserved(limit: usize, share: f64) -> usize {
    (f64::from(u32::try_from(limit).unwrap_or(u32::MAX)) * share.clamp(0.0, 1.0)) as usize
}

fn rules(settings: &Settings) -> HealthRules {
    HealthRules {
        fall: settings.monitor.fall,
        rise: settings.monitor.rise,
        max_lag: settings.routing.max_lag,
        max_skew: settings.routing.max_skew,
        kept: settings.rules,
    }
}

fn pinned(role: RoleSetting) -> Pinned {
    match role {
        RoleSetting::Auto => Pinned::Auto,
        RoleSetting::Primary => Pinned::Primary,
        RoleSetting::Replica => Pinned::Replica,
    }
}

fn host_and_port(address: &Address) -> (&str, u16) {
    match address {
        Address::Tcp { host, port } => (host, *port),
        Address::Unix(_) => ("", 0),
    }
}
