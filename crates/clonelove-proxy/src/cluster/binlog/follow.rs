//! The task that follows: to whom it is connected, from where it goes on, when it begins anew. Owns the pace and the
//! state that others see.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use clonelove_route::position::Position;
use clonelove_route::report::Report;
use clonelove_wire::binlog::Decoder;
use tokio::time::{Instant, interval, sleep};

use super::super::probe::{MonitorCount, connect};
use super::super::{Cluster, Snapshot};
use super::group::{Groups, Step};
use super::raise::Watermarks;
use super::statement::Reader;
use super::stream::{Came, Replica, Stream, ask};
use super::{Follower, Raise};
use crate::error::{Fault, ServerFault};
use crate::server::Server;
use crate::session::version_number;
use crate::settings::{Freshness, FreshnessScope, Monitor, Settings};

/// Between two tries, at first and at most.
const LEAST_PAUSE: Duration = Duration::from_millis(50);
const MOST_PAUSE: Duration = Duration::from_secs(5);
/// How often it is looked whether the primary has more than was told.
const LOOK: Duration = Duration::from_millis(500);
/// ER_MASTER_FATAL_ERROR_READING_BINLOG: what we ask for is no longer there, or never was.
const NOT_THERE: u16 = 1236;
/// So many streams in a row that break at the same place are not taken up there again.
const MOST_STUCK: u32 = 3;

/// What following is to be like.
#[derive(Clone)]
pub(super) struct Follow {
    /// Who is told.
    pub(super) raise: Arc<dyn Raise>,
    /// Where the state is shown.
    pub(super) follower: Arc<Follower>,
    /// Whether the values of rows are told too.
    pub(super) keys: Keys,
}

/// Whether the values of rows are told too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keys {
    /// Tables are enough.
    Ignored,
    /// They are.
    Told,
}

/// Follows whoever is the primary, while the settings want it.
pub(in super::super) async fn keep(cluster: Arc<Cluster>, settings: Arc<ArcSwap<Settings>>) {
    let replica = Replica::new();
    let follower = Arc::clone(&cluster.follower);
    let mut changed = cluster.changed.subscribe();
    loop {
        changed.mark_unchanged();
        // Before the topology: a history that begins meanwhile ends what is begun now.
        let era = cluster.freshness.era();
        let snapshot = cluster.snapshot();
        let wanted = wanted(&settings.load());
        let primary = primary(&snapshot);
        let Some((keys, (server, report))) = wanted.zip(primary) else {
            follower.rests(wanted.map(|_| snapshot.why_no_primary()));
            // A reload of the settings is published as a change too.
            if changed.changed().await.is_err() {
                return;
            }
            continue;
        };
        let raise = Arc::new(Watermarks::new(&cluster.freshness, &cluster.schema, era));
        let follow = Follow { raise, follower: Arc::clone(&follower), keys };
        let mut one = One::new(&follow, &replica);
        let goes_on = || {
            let now = cluster.snapshot();
            cluster.freshness.era() == era
                && now.topology.epoch == snapshot.topology.epoch
                && now.topology.primary == Some(server.index)
                && self::wanted(&settings.load()) == Some(keys)
        };
        let over = async { while goes_on() && changed.changed().await.is_ok() {} };
        let seen = || {
            let snapshot = cluster.snapshot();
            snapshot.topology.servers.get(server.index)?.report.as_ref()?.binlog_position.clone()
        };
        tokio::select! {
            () = over => {}
            () = one.run(&server, &settings, Some(&report), &seen) => {}
        }
        follower.rests(Some("another primary is followed, or under other settings".to_owned()));
    }
}

/// Whether the settings want others' writes to be known, and how closely.
fn wanted(settings: &Settings) -> Option<Keys> {
    let routing = &settings.routing;
    let global = routing.freshness_scope == FreshnessScope::Cluster && routing.freshness.is_global();
    let keys = if routing.freshness == Freshness::Table { Keys::Ignored } else { Keys::Told };
    global.then_some(keys)
}

fn primary(snapshot: &Snapshot) -> Option<(Arc<Server>, Arc<Report>)> {
    let at = snapshot.topology.primary?;
    let node = snapshot.topology.servers.get(at)?;
    Some((Arc::clone(snapshot.servers.get(at)?), node.report.clone()?))
}

/// Following one primary.
pub(super) struct One<'a> {
    follow: &'a Follow,
    replica: &'a Replica,
    groups: Option<Groups>,
    /// Everything up to here was told.
    told: Option<Position>,
    /// Streams in a row that broke without having told anything new.
    stuck: u32,
}

impl<'a> One<'a> {
    pub(super) fn new(follow: &'a Follow, replica: &'a Replica) -> Self {
        Self { follow, replica, groups: None, told: None, stuck: 0 }
    }

    /// As if everything up to a position had been told before.
    #[cfg(test)]
    pub(super) fn told(mut self, position: Position) -> Self {
        self.told = Some(position);
        self
    }

    /// Follows a server, stream by stream, for ever.
    pub(super) async fn run(
        &mut self,
        server: &Arc<Server>,
        settings: &ArcSwap<Settings>,
        report: Option<&Report>,
        seen: &(dyn Fn() -> Option<Position> + Sync),
    ) {
        let mut pause = LEAST_PAUSE;
        let mut said = String::new();
        loop {
            let monitor = settings.load().monitor.clone();
            let before = self.follow.follower.following().transactions;
            let life = server.life();
            let stream = life.run(self.stream(server, &monitor, report, seen));
            let fault = stream.await.unwrap_or_else(|| {
                ServerFault::new(&server.name, Fault::ServerLost, "it was declared down, or changed its role")
            });
            let progress = self.follow.follower.following().transactions != before;
            self.broke(&fault, progress);
            if progress {
                pause = LEAST_PAUSE;
                said.clear();
            }
            // One line for each cause, not for each try.
            if said != fault.detail {
                said.clone_from(&fault.detail);
                tracing::warn!(server = %fault.server, error = %fault.detail, "the binary log is not followed: the primary is asked before each read until it is again");
            }
            sleep(pause).await;
            pause = pause.saturating_mul(2).min(MOST_PAUSE);
        }
    }

    /// The stream is over: is its place still good to go on from?
    fn broke(&mut self, fault: &ServerFault, progress: bool) {
        if let Some(groups) = &mut self.groups {
            groups.break_off();
        }
        let not_there = fault.refused.as_ref().is_some_and(|refused| refused.code == NOT_THERE);
        let damaged = fault.fault == Fault::ServerProtocol;
        self.stuck = if progress || !damaged { 0 } else { self.stuck.saturating_add(1) };
        if not_there || self.stuck >= MOST_STUCK {
            self.told = None;
            self.stuck = 0;
        }
        self.follow.follower.broke(&fault.detail);
    }

    /// One connection, until it breaks.
    async fn stream(
        &mut self,
        server: &Arc<Server>,
        monitor: &Monitor,
        report: Option<&Report>,
        seen: &(dyn Fn() -> Option<Position> + Sync),
    ) -> ServerFault {
        match self.stream_on(server, monitor, report, seen).await {
            Ok(never) => match never {},
            Err(fault) => fault,
        }
    }

    async fn stream_on(
        &mut self,
        server: &Arc<Server>,
        monitor: &Monitor,
        report: Option<&Report>,
        seen: &(dyn Fn() -> Option<Position> + Sync),
    ) -> Result<std::convert::Infallible, ServerFault> {
        let (mut conn, greeting) = connect(server, monitor).await?;
        let _count = MonitorCount::new(server);
        let now = ask(&mut conn, report).await?;
        let version = version_number(greeting.version.trim_start_matches("5.5.5-"));
        let reader = Reader { flavour: conn.flavour, version };
        let from = match &self.told {
            Some(told) => told.clone(),
            None => {
                self.gap(&now);
                now
            }
        };
        let keys = self.follow.keys == Keys::Told;
        let mut stream = Stream::open(conn, self.replica, &from).await?;
        let mut decoder = Decoder::new();
        let mut look = interval(LOOK);
        let mut missing: Option<Position> = None;
        let mut told = Vec::new();
        let mut first = true;
        loop {
            let came = tokio::select! {
                biased;
                came = stream.next() => came?,
                _ = look.tick() => {
                    self.look(&mut missing, seen());
                    continue;
                }
            };
            let Came::Event(bytes, whole) = came else {
                return Err(ServerFault::new(
                    &server.name,
                    Fault::ServerLost,
                    "it ended the binary log's stream",
                ));
            };
            let groups = self.groups.get_or_insert_with(|| Groups::new(reader, keys));
            let read = decoder.event(bytes, whole, &mut |event| groups.event(event, &mut told));
            read.map_err(|error| ServerFault::new(&server.name, Fault::ServerProtocol, error))?;
            self.follow.follower.heard(std::mem::take(&mut first));
            for step in told.drain(..) {
                match step {
                    Step::Committed(position, writes) => {
                        self.follow.raise.committed(&position, &writes);
                        if let Some(told) = &mut self.told {
                            told.union(&position);
                        }
                        self.follow.follower.told(&position);
                    }
                    // Nothing says what it was: only a new begin makes it good.
                    Step::Unplaced => {
                        self.told = None;
                        let why = "its binary log has events without a position, or with an incident";
                        return Err(ServerFault::new(&server.name, Fault::ServerLost, why));
                    }
                }
            }
        }
    }

    fn gap(&mut self, up_to: &Position) {
        self.told = Some(up_to.clone());
        self.follow.raise.gap(up_to);
        self.follow.follower.gap(up_to);
        tracing::info!(position = %up_to, "following the binary log from here: writes of others before this are not known one by one");
    }

    /// Compares with what a probe saw of the primary; what was missing the last time is too late now.
    fn look(&self, missing: &mut Option<Position>, seen: Option<Position>) {
        let told = |position: &Position| self.told.as_ref().is_some_and(|told| told.covers(position));
        let late = missing.take().filter(|missing| !told(missing));
        self.follow.follower.late(late.is_some());
        *missing = late.or_else(|| seen.filter(|seen| !told(seen)));
    }
}

impl Follower {
    fn heard(&self, first: bool) {
        let now = Instant::now();
        let mut state = self.state.lock();
        state.last_heard = Some(now);
        if first {
            state.since = Some(now);
            state.why = None;
            state.connections = state.connections.saturating_add(1);
        }
    }

    fn told(&self, position: &Position) {
        let mut state = self.state.lock();
        state.last_write = Some(Instant::now());
        state.transactions = state.transactions.saturating_add(1);
        if let Some(told) = &mut state.position {
            told.union(position);
        }
        drop(state);
        self.more.notify_waiters();
    }

    fn gap(&self, up_to: &Position) {
        let mut state = self.state.lock();
        state.position = Some(up_to.clone());
        state.gaps = state.gaps.saturating_add(1);
        drop(state);
        self.more.notify_waiters();
    }

    fn late(&self, late: bool) {
        self.state.lock().behind = late;
    }

    fn broke(&self, why: &str) {
        let mut state = self.state.lock();
        state.since = None;
        state.why = Some(why.to_owned());
    }

    /// Nobody is followed: it is not wanted, or there is none.
    pub(super) fn rests(&self, why: Option<String>) {
        let mut state = self.state.lock();
        (state.since, state.behind, state.why) = (None, false, why);
        // Of another primary it would say nothing.
        state.position = None;
    }
}
