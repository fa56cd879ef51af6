//! Which replica answers a read: one that is eligible and has what the read must reflect, now or in a moment.
//! Owns the wait for it, and what happens when it is in vain; that a read may go to one at all is the plan's business.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clonelove_route::balance::Balance as How;
use clonelove_route::decide::{Chosen, Moment, choose};
use clonelove_route::freshness::{Kept, Need, Reads, Rules, Stamp};
use clonelove_route::position::Position;
use clonelove_route::reason::Reason;
use clonelove_route::session::OwnWrites;
use clonelove_sql::keys::Keys;
use clonelove_sql::{Kind, Resolved, TableSet};
use tokio::time::Instant;

use super::ClientSession;
use super::statement::Statement;
use crate::cluster::{FreshWait, Snapshot};
use crate::error::ClientError;
use crate::freshness::why_kept;
use crate::settings::{Balance, Fallback, Freshness, FreshnessScope, OverBudget, Routing};

/// How long the primary may take to tell its position.
const ASK_PRIMARY: Duration = Duration::from_secs(1);
/// What a read needs may change while it waits, so often at most.
const MOST_ROUNDS: u32 = 8;
/// How much earlier a replica may show a write than the primary, at most; a statement that is under way for longer has
/// not come to its commit yet.
const MOST_EARLY: Duration = Duration::from_secs(2);
/// While the primary may not be asked, what a read needs is looked at again after this.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Which replica a read may use.
pub(super) enum Replica {
    /// This one, for this reason.
    Use(usize, Reason),
    /// None: the primary, for this reason.
    Primary(Reason),
    /// None, and the primary is not to be asked.
    Refuse(ClientError, Reason),
}

/// The statements under way that this session may have seen something of: those numbered below.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Observed {
    /// In an answer that its last replica need not have: the primary's, or one of a replica before that.
    elsewhere: u64,
    /// In any answer.
    anywhere: u64,
    /// In answers of replicas that read what was being written. The primary may show it later than they: what is not
    /// transactional when its statement ends, and with acknowledgements awaited before the commit all else.
    early: u64,
    /// How far its last replica was when it answered is not known; and the primary need not show all of that answer.
    unsure: bool,
    unshown: bool,
    /// The primary has answered since the log was known to tell of all that it showed: others' writes may be among that.
    ahead: bool,
}

impl Observed {
    /// A replica answered: what was under way below `pending` may have been in it, if that was `read` at all.
    pub(super) fn on_replica(&mut self, pending: u64, read: bool) {
        self.anywhere = pending;
        (self.unsure, self.unshown) = (true, true);
        if read {
            self.early = pending;
        }
    }

    /// The next answer is another replica's.
    pub(super) fn leave_replica(&mut self) {
        self.elsewhere = self.elsewhere.max(self.anywhere);
    }

    /// The primary answered, and may have `shown` something of what was written.
    pub(super) fn on_primary(&mut self, pending: u64, shown: bool) {
        self.anywhere = pending;
        self.elsewhere = pending;
        self.ahead |= shown;
    }
}

/// Where to look for a replica.
struct Search<'a> {
    snapshot: &'a Snapshot,
    not: &'a [usize],
    routing: &'a Routing,
    /// What it must have in any case.
    floor: Stamp,
}

/// What became of a choice.
enum Found {
    Replica(usize),
    /// None has it, but these may.
    NotYet(Vec<usize>, Stamp),
    /// None can be known to.
    Kept(Kept),
    None,
}

/// The primary is asked for everything it has, or only for as much as it has shown this session.
#[derive(Clone, Copy)]
struct Strict(bool);

impl ClientSession {
    pub(super) async fn choose_replica(
        &mut self,
        statement: &mut Statement,
        not: &[usize],
        reason: Reason,
    ) -> Replica {
        let settings = Arc::clone(self.settings.load());
        let routing = &settings.routing;
        if !routing.freshness.is_global() || statement.facts.kind == Kind::Session {
            return Box::pin(self.choose_for_itself(not, routing, reason)).await;
        }
        let asked = match self.wants_floor(routing) {
            None => Ok(0),
            Some(strict) => Box::pin(self.ask_floor(routing, strict)).await,
        };
        let Ok(floor) = asked else {
            return self.spill_or_not(statement, not, routing, "the primary did not answer").await;
        };
        self.find_in_time(statement, not, routing, (floor, reason)).await
    }

    /// A replica that is fresh, or becomes so within `fresh_wait`; else what follows from there being none.
    async fn find_in_time(
        &mut self,
        statement: &mut Statement,
        not: &[usize],
        routing: &Routing,
        (floor, reason): (Stamp, Reason),
    ) -> Replica {
        let mut begun = None;
        let mut rounds = 0_u32;
        loop {
            let found = self.find_fresh(statement, not, routing, floor);
            if let Found::Replica(at) = found {
                let reason = if rounds > 0 && reason == Reason::Read { Reason::ReadWaited } else { reason };
                return Replica::Use(at, reason);
            }
            let begun = *begun.get_or_insert_with(Instant::now);
            let left = routing.fresh_wait.saturating_sub(begun.elapsed());
            // What a replica has is asked for at least once: later reads want to know, too.
            let goes_on = rounds == 0 || !left.is_zero() && rounds < MOST_ROUNDS;
            if self.may_find_more(statement, routing).await {
                continue;
            }
            match found {
                Found::Replica(at) => return Replica::Use(at, reason),
                Found::None => return self.none_eligible(routing),
                Found::NotYet(eligible, stamp) => {
                    if !goes_on || !Box::pin(self.wait_for_soon(&eligible, stamp, left)).await {
                        let why = "no replica has what was written to it yet";
                        return Box::pin(self.spill_or_not(statement, not, routing, why)).await;
                    }
                }
                Found::Kept(Kept::InDoubt) if goes_on => {
                    Box::pin(self.shared.cluster.freshness.settled(left)).await;
                }
                Found::Kept(kept) => return Box::pin(self.kept(statement, not, routing, kept)).await,
            }
            rounds = rounds.saturating_add(1);
        }
    }

    /// Looks at what else the session may have seen; whether it is to be searched for a replica once more.
    async fn may_find_more(&mut self, statement: &Statement, routing: &Routing) -> bool {
        self.outlast_early(statement).await
            || self.observed.unsure && self.others_come_early(routing) && Box::pin(self.ask_former()).await
    }

    /// Whether a replica may have shown this session what is not known here to be under way, and is nowhere else yet.
    fn others_come_early(&self, routing: &Routing) -> bool {
        let cluster = &self.shared.cluster;
        let known =
            routing.freshness == Freshness::Strict || routing.freshness_scope == FreshnessScope::Cluster;
        known && cluster.replicas_are_first() && cluster.freshness.keeps(Rules::OTHERS_EARLY)
    }

    /// Asks the session's last replica how far it is: no less than when it answered. Another must be as far.
    async fn ask_former(&mut self) -> bool {
        self.observed.unsure = false;
        let Some(last) = self.state.last_replica else { return false };
        let shown = self.shared.cluster.shown_by(last, ASK_PRIMARY).await;
        self.state.seen = shown.map(|shown| shown.position).or(self.state.seen.take());
        true
    }

    /// Before the primary is asked for what a replica may have shown: waits until it has committed that, for `max_wait` at
    /// most.
    pub(super) async fn outlast_others(&mut self) {
        if !self.observed.unshown {
            return;
        }
        let settings = Arc::clone(self.settings.load());
        let routing = &settings.routing;
        if !routing.freshness.is_global() || !self.others_come_early(routing) {
            return;
        }
        self.observed.unshown = false;
        let Some(last) = self.state.last_replica else { return };
        if !self.shared.cluster.primary_shows(last, routing.max_wait).await {
            tracing::debug!("the primary may not show yet what a replica has shown");
        }
    }

    /// Before the primary is asked for what a replica has shown of a write under way: waits for the write's end, but not
    /// for long. Whether there was anything to wait for.
    async fn outlast_early(&mut self, statement: &Statement) -> bool {
        let freshness = Arc::clone(&self.shared.cluster.freshness);
        let (none, early) = (TableSet::default(), self.observed.early);
        let reads = reads_of(statement, &none, None);
        if !freshness.keeps(Rules::SHOWN_EARLY) || !freshness.sees_pending(&reads, early) {
            return false;
        }
        Box::pin(freshness.outlasted(&reads, early, MOST_EARLY)).await;
        self.observed.early = 0;
        true
    }

    /// A replica has answered this.
    pub(super) fn note_replica_read(&mut self, statement: &Statement) {
        let freshness = &self.shared.cluster.freshness;
        let pending = freshness.observed();
        let read = freshness.sees_pending(&reads_of(statement, &TableSet::default(), None), pending);
        self.observed.on_replica(pending, read);
    }

    fn none_eligible(&self, routing: &Routing) -> Replica {
        if routing.fallback == Fallback::Error {
            let why = self.shared.cluster.snapshot().why_not_eligible();
            let why = format!("none is eligible ({why}) and routing.fallback is \"error\"");
            return Replica::Refuse(ClientError::not_fresh(&why), Reason::NoServer);
        }
        Replica::Primary(Reason::NoReplica)
    }

    async fn kept(
        &mut self,
        statement: &mut Statement,
        not: &[usize],
        routing: &Routing,
        kept: Kept,
    ) -> Replica {
        match self.spill_or_not(statement, not, routing, why_kept(kept)).await {
            Replica::Primary(Reason::Stale) if kept == Kept::Pending => Replica::Primary(Reason::Pending),
            other => other,
        }
    }

    /// `strict`, or others' writes should be known and are not, or the primary has shown this session what the log has
    /// not told yet: the primary is asked how far it is, one question for all who ask at a time.
    fn wants_floor(&self, routing: &Routing) -> Option<Strict> {
        let cluster = &self.shared.cluster;
        let strict = routing.freshness == Freshness::Strict || self.misses_others_writes(routing);
        let behind = self.observed.ahead
            && cluster.freshness.keeps(Rules::AHEAD_OF_LOG)
            && routing.freshness_scope == FreshnessScope::Cluster;
        let behind = behind && cluster.snapshot().topology.primary.is_some();
        ((strict || behind) && cluster.freshness.promises()).then_some(Strict(strict))
    }

    async fn ask_floor(&mut self, routing: &Routing, Strict(strict): Strict) -> Result<Stamp, ()> {
        let cluster = Arc::clone(&self.shared.cluster);
        let position = cluster.primary_position(ASK_PRIMARY).await.ok_or(())?;
        self.observed.ahead = false;
        // What the primary showed of others' writes the watermarks know once the log has told as much.
        if !strict && cluster.follower.has_told(&position, routing.fresh_wait).await {
            return Ok(0);
        }
        Ok(cluster.freshness.reached(&position))
    }

    /// Without a primary there is nobody to ask, nor anybody who writes.
    fn misses_others_writes(&self, routing: &Routing) -> bool {
        let cluster = &self.shared.cluster;
        routing.freshness_scope == FreshnessScope::Cluster
            && !cluster.follower.keeps_up()
            && cluster.snapshot().topology.primary.is_some()
    }

    /// Looks for a replica that has what a read needs: by its tables first, by its rows only where that may help.
    fn find_fresh(&mut self, statement: &Statement, not: &[usize], routing: &Routing, floor: Stamp) -> Found {
        let snapshot = self.shared.cluster.snapshot();
        let search = Search { snapshot: &snapshot, not, routing, floor };
        let by_tables = self.find_with(&search, statement, None);
        let settled = matches!(by_tables, Found::Replica(_) | Found::None);
        if settled || !statement.resolved().is_some_and(|resolved| self.may_have_keys(resolved)) {
            return by_tables;
        }
        match self.keys_of_read(statement) {
            Some(keys) => self.find_with(&search, statement, Some(&keys)),
            None => by_tables,
        }
    }

    /// Whether rows of what a statement reads are told apart.
    pub(super) fn may_have_keys(&self, resolved: &Resolved) -> bool {
        let mut tables = resolved.read.iter();
        let (Some(only), None) = (tables.next(), tables.next()) else { return false };
        self.keeps_keys() && self.shared.cluster.freshness.has_keys(only)
    }

    fn find_with(&mut self, search: &Search<'_>, statement: &Statement, keys: Option<&Keys>) -> Found {
        let snapshot = search.snapshot;
        let none = TableSet::default();
        let reads = reads_of(statement, &none, keys);
        let dice = self.dice.roll();
        let freshness = &self.shared.cluster.freshness;
        let stamp = match freshness.need(&reads, self.observed.elsewhere) {
            Need::Stamp(stamp) => stamp.max(search.floor),
            Need::Primary(kept) => return Found::Kept(kept),
        };
        // What its last replica showed it, another may not have yet, if it is still under way.
        let elsewhere = !freshness.sees_pending(&reads, self.observed.anywhere);
        let elsewhere = elsewhere && !(self.observed.unsure && self.others_come_early(search.routing));
        let last = self.state.last_replica;
        let seen = &self.state.seen;
        let fresh = |at: usize| {
            let same = last == Some(at);
            let has_seen = || seen.as_deref().is_none_or(|seen| knows(snapshot, at, seen));
            let later =
                || last.is_none() || elsewhere && has_seen() || !freshness.keeps(Rules::SAME_OR_LATER);
            freshness.has(at, stamp) && (same || later())
        };
        match self.choose_among(snapshot, search.not, (search.routing, dice), &fresh) {
            Chosen::Replica(at) => Found::Replica(at),
            Chosen::NotYet(eligible) => Found::NotYet(eligible, stamp),
            Chosen::None => Found::None,
        }
    }

    fn choose_among(
        &self,
        snapshot: &Snapshot,
        not: &[usize],
        (routing, dice): (&Routing, u64),
        fresh: &dyn Fn(usize) -> bool,
    ) -> Chosen {
        let in_flight =
            |at: usize| snapshot.servers.get(at).map_or(0, |server| server.in_flight.load(Ordering::Relaxed));
        let moment = Moment {
            in_flight: &in_flight,
            fresh,
            balance: match routing.balance {
                Balance::LeastInFlight => How::LeastInFlight,
                Balance::WeightedRandom => How::WeightedRandom,
            },
            zone: &routing.zone,
            dice,
        };
        choose(&snapshot.topology, &self.state, not, &moment)
    }

    /// Waits for those of the servers that may be in time. Where all are far behind, waiting would make reads slow and
    /// no fresher: those go to the primary at once, and the servers go on being asked.
    async fn wait_for_soon(&self, eligible: &[usize], stamp: Stamp, within: Duration) -> bool {
        let snapshot = self.shared.cluster.snapshot();
        for server in eligible.iter().filter_map(|at| snapshot.servers.get(*at)) {
            server.waiters.want_stamp(stamp);
        }
        let soon = self.shared.cluster.freshness.soon(eligible, stamp, within);
        !soon.is_empty() && self.wait_for(&soon, stamp, within).await
    }

    /// Waits until one of these servers has a stamp, or may have; each goes on being asked when the wait is over, for
    /// the reads that will come.
    async fn wait_for(&self, eligible: &[usize], stamp: Stamp, within: Duration) -> bool {
        let begun = Instant::now();
        let cluster = &self.shared.cluster;
        let reached = cluster.wait_for_stamp(eligible, stamp, begun + within).await;
        self.shared.metrics.fresh_wait.observe(begun.elapsed().as_secs_f64());
        reached
    }

    /// No replica is fresh enough: the primary, if it may be asked.
    async fn spill_or_not(
        &mut self,
        statement: &mut Statement,
        not: &[usize],
        routing: &Routing,
        why: &'static str,
    ) -> Replica {
        let table = self.culprit(statement);
        let freshness = &self.shared.cluster.freshness;
        let there = self.shared.cluster.snapshot().topology.primary.is_some();
        if there && let Some(spilled) = freshness.spill(routing.max_primary_reads) {
            statement.spilled = Some(spilled);
            self.count_spill(&table);
            return Replica::Primary(Reason::Stale);
        }
        match routing.over_budget {
            OverBudget::Stale => {
                let dice = self.dice.roll();
                let snapshot = self.shared.cluster.snapshot();
                match self.choose_among(&snapshot, not, (routing, dice), &|_| true) {
                    Chosen::Replica(at) => Replica::Use(at, Reason::OverBudgetStale),
                    _ => self.none_eligible(routing),
                }
            }
            // With the primary gone, no replica comes nearer.
            OverBudget::Wait if there => self.wait_or_refuse(statement, not, routing, (&table, why)).await,
            _ if !there => Replica::Primary(Reason::Stale),
            _ => Replica::Refuse(ClientError::over_budget(&table, why), Reason::OverBudget),
        }
    }

    async fn wait_or_refuse(
        &mut self,
        statement: &mut Statement,
        not: &[usize],
        routing: &Routing,
        (table, why): (&str, &'static str),
    ) -> Replica {
        let until = Instant::now() + routing.max_wait;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Replica::Refuse(ClientError::over_budget(table, why), Reason::OverBudget);
            }
            match self.find_fresh(statement, not, routing, 0) {
                Found::Replica(at) => return Replica::Use(at, Reason::ReadWaited),
                Found::NotYet(eligible, stamp) => {
                    if !self.wait_for(&eligible, stamp, left).await {
                        tokio::time::sleep(LOOK_AGAIN.min(left)).await;
                    }
                }
                Found::Kept(_) => tokio::time::sleep(LOOK_AGAIN.min(left)).await,
                Found::None => return self.none_eligible(routing),
            }
            if let Some(spilled) = self.shared.cluster.freshness.spill(routing.max_primary_reads) {
                statement.spilled = Some(spilled);
                self.count_spill(table);
                return Replica::Primary(Reason::Stale);
            }
        }
    }

    /// The table that a read has to go to the primary for, for people: of several, one that alone would have to.
    fn culprit(&self, statement: &Statement) -> String {
        let (Some(resolved), view) = (statement.resolved(), self.shared.cluster.schema.view()) else {
            return "?".to_owned();
        };
        let snapshot = self.shared.cluster.snapshot();
        let freshness = &self.shared.cluster.freshness;
        let stale = |set: &TableSet| {
            let reads = Reads { all: false, definitions: false, tables: set, keys: None };
            match freshness.need(&reads, self.observed.elsewhere) {
                Need::Primary(_) => true,
                Need::Stamp(stamp) => !snapshot.topology.eligible().any(|(at, _)| freshness.has(at, stamp)),
            }
        };
        let alone = resolved.read.iter().find(|table| {
            let mut set = TableSet::default();
            set.add(*table);
            stale(&set)
        });
        let table = alone.or_else(|| resolved.read.iter().next());
        table.and_then(|table| view.as_ref()?.name(table)).unwrap_or_else(|| "*".to_owned())
    }

    fn count_spill(&self, table: &str) {
        let label = self.shared.cluster.freshness.count_spill(table);
        self.shared.metrics.spilled(if label { table } else { "other" });
    }

    /// `eventual` and `session`: what the session itself wrote and saw, at most.
    async fn choose_for_itself(&mut self, not: &[usize], routing: &Routing, reason: Reason) -> Replica {
        let needs = routing.freshness == Freshness::Session;
        if needs && self.state.own_writes == OwnWrites::Unknown {
            match Box::pin(self.shared.cluster.primary_position(ASK_PRIMARY)).await {
                Some(position) => self.state.own_writes = OwnWrites::Known(position),
                None => return Replica::Primary(Reason::Stale),
            }
        }
        let dice = self.dice.roll();
        let snapshot = self.shared.cluster.snapshot();
        let own = match &self.state.own_writes {
            OwnWrites::Known(position) if needs => Some(position.clone()),
            _ => None,
        };
        let (last, seen) = (self.state.last_replica, self.state.seen.clone().filter(|_| needs));
        let fresh = |at: usize| {
            let has = |need: Option<&Position>| need.is_none_or(|need| knows(&snapshot, at, need));
            if needs && !self.is_of_this_history(at) {
                return false;
            }
            // A session does not go back in time when it changes its replica.
            has(own.as_ref()) && has(seen.as_deref().filter(|_| last != Some(at)))
        };
        match self.choose_among(&snapshot, not, (routing, dice), &fresh) {
            Chosen::Replica(at) => Replica::Use(at, reason),
            Chosen::NotYet(mut eligible) => {
                eligible.retain(|at| self.is_of_this_history(*at));
                self.wait_for_own(&eligible, routing.fresh_wait, reason).await
            }
            Chosen::None => self.none_eligible(routing),
        }
    }

    /// Whether the positions that a server tells count from where the primary's do.
    fn is_of_this_history(&self, at: usize) -> bool {
        self.shared.cluster.freshness.has(at, 0)
    }

    async fn wait_for_own(&mut self, eligible: &[usize], within: Duration, reason: Reason) -> Replica {
        let own = match &self.state.own_writes {
            OwnWrites::Known(position) => Some(position.clone()),
            _ => None,
        };
        let need = match (own, &self.state.seen) {
            (Some(mut own), Some(seen)) => {
                own.union(seen);
                own
            }
            (Some(own), None) => own,
            (None, Some(seen)) => seen.as_ref().clone(),
            (None, None) => return Replica::Primary(Reason::Stale),
        };
        let begun = Instant::now();
        let wait = FreshWait { servers: eligible, position: &need, within };
        let reached = self.shared.cluster.wait_fresh(wait).await;
        self.shared.metrics.fresh_wait.observe(begun.elapsed().as_secs_f64());
        match reached {
            Some(at) if reason == Reason::Read => Replica::Use(at, Reason::ReadWaited),
            Some(at) => Replica::Use(at, reason),
            None => Replica::Primary(Reason::Stale),
        }
    }
}

fn knows(snapshot: &Snapshot, at: usize, need: &Position) -> bool {
    let known = snapshot.servers.get(at).and_then(|server| server.known());
    known.is_some_and(|known| known.covers(need))
}

/// What a statement reads. Without knowledge of the schema that may be anything, and so it is for a transaction whose
/// statements are still to come.
fn reads_of<'a>(statement: &'a Statement, none: &'a TableSet, keys: Option<&'a Keys>) -> Reads<'a> {
    match statement.resolved() {
        Some(resolved) if statement.facts.kind == Kind::Read => Reads {
            all: resolved.all_tables,
            // A routine has no watermark of its own.
            definitions: resolved.reads_definitions || resolved.derived,
            tables: &resolved.read,
            keys,
        },
        _ => Reads { all: true, definitions: true, tables: none, keys: None },
    }
}
