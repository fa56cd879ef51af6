//! The state of one server, folded from its probes, with hysteresis.
//!
//! Owns when a server is up, down, lagging or broken, when connections to it are void, and how warm it is. It runs
//! no probe, knows no clock, and does not say who is primary.

mod judge;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::freshness::Rules;
use crate::report::{Identity, Report};

/// The state of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// In use.
    Up,
    /// Cannot be reached, or not yet.
    #[default]
    Down,
    /// Taken out by the operator.
    Draining,
    /// A replica further behind than `max_lag`.
    Lagging,
    /// Reachable, but its replication does not run or leaves events out.
    Broken,
}

/// When a server changes state.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HealthRules {
    /// Failed probes in sequence until it is down.
    pub fall: u32,
    /// Good probes in sequence until one that was down, lagging or broken is up.
    pub rise: u32,
    /// The lag from which a replica serves no reads.
    pub max_lag: Duration,
    /// The difference between its clock and the primary's from which a replica serves no reads.
    pub max_skew: Duration,
    /// The rules of freshness that are in force.
    pub kept: Rules,
}

/// What the rest of the cluster means for one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// It is the primary: the last writable server is never shunned for lag.
    pub is_primary: bool,
    /// A primary is up. While none is, a replica that cannot reach its source misses nothing, and goes on.
    pub primary_up: bool,
}

/// A change of state, for the log line and the counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The state before.
    pub from: State,
    /// The state now.
    pub to: State,
    /// What brought it about.
    pub why: String,
}

/// The state of one server.
#[derive(Clone, Debug)]
pub struct Health {
    state: State,
    why: String,
    since: Duration,
    reach: Reach,
    condition: Condition,
    identities: Identities,
    surroundings: Surroundings,
    drained: bool,
    /// It has been away, and nothing has warmed it since.
    cold: bool,
    warming_since: Option<Duration>,
    generation: u64,
    last_error: Option<String>,
    last: Option<Seen>,
    /// Seconds behind: what it said last, and from then on the time that has passed if it cannot tell.
    lag: Option<f64>,
}

/// Whether probes get through.
#[derive(Clone, Debug, Default)]
struct Reach {
    reached: bool,
    probed: bool,
    /// It was declared down, so that `rise` applies.
    was_down: bool,
    failures: u32,
    successes: u32,
    suspected: bool,
}

/// What the probes that got through say of its replication.
#[derive(Clone, Debug)]
struct Condition {
    state: State,
    why: String,
    fine: u32,
}

/// Whether one address is one server.
#[derive(Clone, Debug, Default)]
struct Identities {
    /// The server that answered last, to a probe or to a session.
    latest: Option<Identity>,
    /// When that was last another one than before.
    changed: Option<Duration>,
    /// Both names, while it is out for answering as different servers.
    out: Option<String>,
}

#[derive(Clone, Debug)]
struct Seen {
    report: Arc<Report>,
    at: Duration,
}

/// Two changes of identity within this time are no replacement of a server, but several servers at one address.
const IDENTITY_WINDOW: Duration = Duration::from_secs(300);

/// So long it has to answer as the same server again.
const IDENTITY_QUIET: Duration = Duration::from_secs(60);

/// How much an uptime may fall short of the time that passed before it means a restart: both are whole seconds.
const UPTIME_SLACK: Duration = Duration::from_secs(3);

/// A server that begins to warm up gets this part of its weight.
const COLD: f64 = 0.05;

impl State {
    /// The word for it, wherever a person or a program outside reads it.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Up => "up",
            State::Down => "down",
            State::Draining => "draining",
            State::Lagging => "lagging",
            State::Broken => "broken",
        }
    }

    /// All of them, for metrics.
    pub const ALL: [State; 5] = [State::Up, State::Down, State::Draining, State::Lagging, State::Broken];
}

impl Health {
    /// A server that has not been probed yet: down, but never declared so.
    pub fn new() -> Self {
        Health {
            state: State::Down,
            why: "not probed yet".to_owned(),
            since: Duration::ZERO,
            reach: Reach::default(),
            condition: Condition { state: State::Up, why: String::new(), fine: 0 },
            identities: Identities::default(),
            surroundings: Surroundings::default(),
            drained: false,
            cold: false,
            warming_since: None,
            generation: 0,
            last_error: None,
            last: None,
            lag: None,
        }
    }

    /// Takes in one probe: what it learnt, or why it failed. `now` may not go back.
    ///
    /// The first good probe of all counts at once. Bad news of replication counts at once, good news after
    /// [`HealthRules::rise`] probes, so that a replica at the edge does not flap.
    pub fn observe(
        &mut self,
        sample: Result<&Report, &str>,
        rules: &HealthRules,
        now: Duration,
    ) -> Option<Transition> {
        match sample {
            Ok(report) => {
                if self.identities.note(&report.identity, now) {
                    self.void();
                }
                self.learn(report, rules.kept, now);
                if self.identities.is_out(now) {
                    self.reach.lose();
                } else {
                    self.cold |= self.reach.succeed(rules.rise);
                }
                self.rejudge(rules, true);
            }
            Err(why) => {
                self.last_error = Some(why.to_owned());
                if self.reach.fail(rules.fall) {
                    self.void();
                }
            }
        }
        self.settle(now)
    }

    /// Takes in what the election said, and judges the last report in its light.
    pub fn surround(
        &mut self,
        surroundings: Surroundings,
        rules: &HealthRules,
        now: Duration,
    ) -> Option<Transition> {
        if self.surroundings == surroundings {
            return None;
        }
        self.surroundings = surroundings;
        self.rejudge(rules, false);
        self.settle(now)
    }

    /// Takes the server out, or lets it in again, on the operator's word.
    pub fn set_drained(&mut self, drained: bool, now: Duration) -> Option<Transition> {
        self.drained = drained;
        self.settle(now)
    }

    /// A session's connection to it failed: that hastens the next probe, and declares nothing.
    pub fn suspect(&mut self) {
        self.reach.suspected = true;
    }

    /// A data connection found this server at the address. Returns whether it is the one that the probe knows; if
    /// not, that connection is to be closed.
    pub fn recognise_connection(&mut self, identity: &Identity, now: Duration) -> (bool, Option<Transition>) {
        let known = self.last.as_ref().is_none_or(|seen| seen.report.identity == *identity);
        if self.identities.note(identity, now) {
            self.void();
            if self.identities.is_out(now) {
                self.reach.lose();
            }
        }
        (known, self.settle(now))
    }

    /// When the next probe is due after one at `last`: sooner while the server is under suspicion.
    pub fn next_probe(&self, last: Duration, interval: Duration) -> Duration {
        let hasty = self.reach.reached && (self.reach.suspected || self.reach.failures > 0);
        last.saturating_add(if hasty { interval / 10 } else { interval })
    }

    /// The state.
    pub fn state(&self) -> State {
        self.state
    }

    /// Why it is in this state; empty when it is up.
    pub fn why(&self) -> &str {
        &self.why
    }

    /// Since when.
    pub fn since(&self) -> Duration {
        self.since
    }

    /// Whether probes get through, hysteresis included: not so only once it is declared down.
    pub fn is_reachable(&self) -> bool {
        self.reach.reached
    }

    /// Whether a probe has ended, well or badly.
    pub fn is_probed(&self) -> bool {
        self.reach.probed
    }

    /// Whether its position is known: void from a failed probe to the next good one, since a server that went away
    /// may come back with less than it had.
    pub fn has_position(&self) -> bool {
        self.reach.reached && self.reach.failures == 0
    }

    /// Whether the operator took it out.
    pub fn is_drained(&self) -> bool {
        self.drained
    }

    /// The last report, however old.
    pub fn report(&self) -> Option<&Arc<Report>> {
        self.last.as_ref().map(|seen| &seen.report)
    }

    /// Why the last failed probe failed.
    pub fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    /// Grows when the server was declared down, restarted, changed identity or lost transactions: connections made
    /// under a smaller number are to be closed, the probe's own too.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The part of its weight that it gets, 0 to 1: a server that was away gets more and more over `warm_up`.
    pub fn warmth(&self, now: Duration, warm_up: Duration) -> f64 {
        match self.warming_since {
            Some(since) if !warm_up.is_zero() => {
                let part = now.saturating_sub(since).as_secs_f64() / warm_up.as_secs_f64();
                part.clamp(COLD, 1.0)
            }
            _ => 1.0,
        }
    }

    /// Connections made so far are void.
    fn void(&mut self) {
        self.generation = self.generation.saturating_add(1);
    }

    fn learn(&mut self, report: &Report, kept: Rules, now: Duration) {
        let before = self.last.take().filter(|seen| seen.report.identity == report.identity);
        let known_lag = report.lag_by(kept);
        self.lag = match &before {
            Some(seen) if known_lag.is_none() => {
                let passed = now.saturating_sub(seen.at);
                let missed = if self.surroundings.primary_up { passed } else { Duration::ZERO };
                self.lag.map(|lag| lag + missed.as_secs_f64())
            }
            _ => known_lag,
        };
        if before.is_some_and(|seen| has_restarted(&seen, report, now) || has_lost(&seen.report, report)) {
            self.void();
        }
        self.last = Some(Seen { report: Arc::new(report.clone()), at: now });
    }

    /// `counts`: this is a probe's news, not the old one seen in another light.
    fn rejudge(&mut self, rules: &HealthRules, counts: bool) {
        let Some(seen) = &self.last else { return };
        let (state, why) = judge::judge(&seen.report, self.lag, self.surroundings, rules);
        let at_once = self.surroundings.is_primary;
        self.condition.take_in(state, why, if at_once { 0 } else { rules.rise }, counts);
    }

    fn settle(&mut self, now: Duration) -> Option<Transition> {
        let (state, why) = self.current(now);
        let from = std::mem::replace(&mut self.state, state);
        self.why = why;
        if from == state {
            return None;
        }
        self.since = now;
        match state {
            State::Draining => self.cold = true,
            State::Up if std::mem::take(&mut self.cold) => self.warming_since = Some(now),
            _ => {}
        }
        Some(Transition { from, to: state, why: self.why.clone() })
    }

    fn current(&self, now: Duration) -> (State, String) {
        if let Some(servers) = self.identities.out.as_ref().filter(|_| self.identities.is_out(now)) {
            return (
                State::Down,
                format!("answers as different servers ({servers}): give each server an entry of its own"),
            );
        }
        if !self.reach.reached {
            let error = self.last_error.as_deref();
            let coming = "answers again, and is watched before it is used";
            let why = if self.reach.successes > 0 { coming } else { error.unwrap_or("not probed yet") };
            return (State::Down, why.to_owned());
        }
        if self.drained {
            return (State::Draining, "taken out by the operator; undrain lets it in again".to_owned());
        }
        (self.condition.state, self.condition.why.clone())
    }
}

impl Reach {
    /// Returns whether the server is back after having been away.
    fn succeed(&mut self, rise: u32) -> bool {
        self.probed = true;
        self.suspected = false;
        self.failures = 0;
        self.successes = self.successes.saturating_add(1);
        let back = !self.reached && (!self.was_down || self.successes >= rise);
        self.reached |= back;
        back && self.was_down
    }

    /// Returns whether this declares the server down.
    fn fail(&mut self, fall: u32) -> bool {
        self.probed = true;
        self.successes = 0;
        self.failures = self.failures.saturating_add(1);
        if self.failures < fall {
            return false;
        }
        self.was_down = true;
        std::mem::take(&mut self.reached)
    }

    fn lose(&mut self) {
        self.probed = true;
        self.successes = 0;
        self.was_down = true;
        self.reached = false;
    }
}

impl Condition {
    fn take_in(&mut self, state: State, why: String, rise: u32, counts: bool) {
        if state != State::Up {
            *self = Condition { state, why, fine: 0 };
            return;
        }
        self.fine = self.fine.saturating_add(u32::from(counts));
        if self.state == State::Up || self.fine >= rise {
            self.state = State::Up;
            self.why.clear();
        }
    }
}

impl Identities {
    /// Returns whether another server answers than before. One change is a replacement; two in a short time mean
    /// that several servers share the address.
    fn note(&mut self, identity: &Identity, now: Duration) -> bool {
        let Some(before) = self.latest.replace(identity.clone()).filter(|before| before != identity) else {
            return false;
        };
        let recent = |then: Duration| now.saturating_sub(then) < IDENTITY_WINDOW;
        let several = self.changed.is_some_and(recent);
        self.out = several.then(|| format!("{before}; {identity}"));
        self.changed = Some(now);
        true
    }

    fn is_out(&self, now: Duration) -> bool {
        let quiet = |then: Duration| now.saturating_sub(then) >= IDENTITY_QUIET;
        self.out.is_some() && !self.changed.is_some_and(quiet)
    }
}

impl Default for Health {
    fn default() -> Self {
        Health::new()
    }
}

impl Default for Surroundings {
    /// Nothing known: a replica is held to its source.
    fn default() -> Self {
        Surroundings { is_primary: false, primary_up: true }
    }
}

impl Default for HealthRules {
    fn default() -> Self {
        HealthRules {
            fall: 3,
            rise: 2,
            max_lag: Duration::from_secs(30),
            max_skew: Duration::from_secs(1),
            kept: Rules::all(),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn has_restarted(before: &Seen, after: &Report, now: Duration) -> bool {
    let passed = now.saturating_sub(before.at);
    let expected = Duration::from_secs(before.report.uptime_seconds).saturating_add(passed);
    Duration::from_secs(after.uptime_seconds).saturating_add(UPTIME_SLACK) < expected
}

/// Positions move back when a server with relaxed durability was killed, or one was restored or reset. What a server
/// has in its own log is no witness: RESET MASTER empties that of a primary, whose connections are as good as before,
/// and MariaDB names the last GTID of a domain in a replica's, not the largest.
fn has_lost(before: &Report, after: &Report) -> bool {
    match (&before.position, &after.position) {
        (Some(before), Some(after)) => !after.covers(before),
        (Some(_), None) => true,
        (None, _) => false,
    }
}
