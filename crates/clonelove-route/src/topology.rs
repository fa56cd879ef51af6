//! The cluster as it is known at one moment: an immutable snapshot that every decision reads.
//!
//! Owns which server may serve reads and why not, and when an epoch begins. It probes nothing and counts nothing.

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::election::{Candidate, Pinned, Source, Verdict, source_of};
use crate::health::{Health, HealthRules, State, Surroundings};
use crate::position::Position;
use crate::report::{FlavourName, Report};

/// What a server is in the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// The one that is written.
    Primary,
    /// It replicates from another.
    Replica,
    /// Neither, or not known.
    #[default]
    Unknown,
}

/// The cluster at one moment.
#[derive(Clone, Debug)]
pub struct Topology {
    /// The servers, in the order of the configuration.
    pub servers: Vec<Node>,
    /// The one to write to.
    pub primary: Option<usize>,
    /// What the election said, with its reason when there is no primary.
    pub verdict: Verdict,
    /// The name of the primary, or of the last there was.
    pub last_primary: Option<String>,
    /// Grows with every change of primary, and when the primary lost transactions. 0 until the first.
    pub epoch: u64,
}

/// One server.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its configured name.
    pub name: String,
    /// The last that is known of it.
    pub report: Option<Arc<Report>>,
    /// Its state.
    pub state: State,
    /// Its role.
    pub role: Role,
    /// Whether its role is the configuration's word.
    pub pinned: bool,
    /// Whether it may serve reads as a replica.
    pub eligible: bool,
    /// Why it may not; empty when it may.
    pub why: String,
    /// Its configured weight.
    pub weight: u32,
    /// Its configured zone.
    pub zone: String,
    /// The part of its weight that it gets, 0 to 1.
    pub warm: f64,
    /// How far behind it is by positions, in seconds.
    pub lag: Option<f64>,
    /// How far behind it says it is, in seconds.
    pub reported_lag: Option<f64>,
    /// Since when it has been in its state.
    pub since: Duration,
    /// Why the last failed probe failed.
    pub last_error: Option<String>,
    /// See [`Health::generation`].
    pub identity_generation: u64,
    /// Whether the position in its report still holds.
    pub position_known: bool,
}

/// What a snapshot is made of, for one server.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// Its configured name.
    pub name: &'a str,
    /// The host in its configured address; empty for a unix socket.
    pub host: &'a str,
    /// The port in its configured address.
    pub port: u16,
    /// Its configured role.
    pub pinned: Pinned,
    /// Its configured weight.
    pub weight: u32,
    /// Its configured zone.
    pub zone: &'a str,
    /// How far behind it is by positions, in seconds.
    pub lag: Option<f64>,
    /// Its probes, folded.
    pub health: &'a Health,
}

impl Topology {
    /// Nothing known yet.
    pub fn unknown() -> Self {
        Topology {
            servers: Vec::new(),
            primary: None,
            verdict: Verdict::None { why: "no server has been probed yet".to_owned() },
            last_primary: None,
            epoch: 0,
        }
    }

    /// The snapshot after `self`. A round of the monitor is: [`Health::observe`] for each server, the election over
    /// [`Member::candidate`], [`Health::surround`] for each with [`surroundings`], and this.
    pub fn next(
        &self,
        members: &[Member<'_>],
        verdict: Verdict,
        rules: &HealthRules,
        warm_up: Duration,
        now: Duration,
    ) -> Topology {
        let primary = match verdict {
            Verdict::Primary(index) => Some(index),
            Verdict::Gone { .. } | Verdict::Conflict { .. } | Verdict::None { .. } => None,
        };
        let last = match verdict {
            Verdict::Primary(index) | Verdict::Gone { last: Some(index), .. } => members.get(index),
            Verdict::Gone { last: None, .. } | Verdict::Conflict { .. } | Verdict::None { .. } => None,
        };
        let last_primary = last.map(|one| one.name.to_owned()).or_else(|| self.last_primary.clone());
        let mut servers: Vec<Node> = members.iter().map(|one| Node::new(one, warm_up, now)).collect();
        assign_roles(&mut servers, primary);
        let leader = last_primary.as_ref().and_then(|name| members.iter().position(|one| one.name == *name));
        for index in 0..servers.len() {
            let verdict = eligibility(index, leader, &servers, members, rules);
            if let Some(node) = servers.get_mut(index) {
                (node.eligible, node.why) = verdict;
            }
        }
        let epoch = self.epoch_with(primary.and_then(|index| servers.get(index)));
        Topology { servers, primary, verdict, last_primary, epoch }
    }

    /// The server to write to.
    pub fn primary_node(&self) -> Option<&Node> {
        self.primary.and_then(|index| self.servers.get(index))
    }

    /// The server of this name, with its index.
    pub fn find(&self, name: &str) -> Option<(usize, &Node)> {
        self.servers.iter().enumerate().find(|(_, node)| node.name == name)
    }

    /// The replicas that may serve reads, with their indices.
    pub fn eligible(&self) -> impl Iterator<Item = (usize, &Node)> {
        self.servers.iter().enumerate().filter(|(_, node)| node.eligible)
    }

    fn epoch_with(&self, primary: Option<&Node>) -> u64 {
        let Some(primary) = primary else { return self.epoch };
        let same = self.last_primary.as_ref() == Some(&primary.name) && self.epoch > 0;
        let before = self.find(&primary.name).and_then(|(_, node)| node.report.as_deref());
        let lost = before.is_some_and(|before| !has_all_of(primary.report.as_deref(), before));
        if same && !lost { self.epoch } else { self.epoch.saturating_add(1) }
    }
}

impl Node {
    /// The position that the server is known to have reached.
    pub fn position(&self) -> Option<&Position> {
        self.report.as_ref().filter(|_| self.position_known)?.position.as_ref()
    }

    fn new(member: &Member<'_>, warm_up: Duration, now: Duration) -> Self {
        let health = member.health;
        Node {
            name: member.name.to_owned(),
            report: health.report().cloned(),
            state: health.state(),
            role: Role::Unknown,
            pinned: member.pinned != Pinned::Auto,
            eligible: false,
            why: health.why().to_owned(),
            weight: member.weight,
            zone: member.zone.to_owned(),
            warm: health.warmth(now, warm_up),
            lag: member.lag,
            reported_lag: health
                .report()
                .filter(|_| health.is_reachable())
                .and_then(|report| report.reported_lag()),
            since: health.since(),
            last_error: health.last_error().map(str::to_owned),
            identity_generation: health.generation(),
            position_known: health.has_position(),
        }
    }
}

impl<'a> Member<'a> {
    /// The same server as the election sees it.
    pub fn candidate(&self) -> Candidate<'a> {
        Candidate {
            name: self.name,
            pinned: self.pinned,
            host: self.host,
            port: self.port,
            probed: self.health.is_probed(),
            up: self.health.is_reachable(),
            answering: self.health.has_position(),
            report: self.health.report().map(|report| &**report),
            followed: None,
            read_only_by_client: false,
        }
    }
}

impl Role {
    /// The word for it, wherever a person or a program outside reads it.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Primary => "primary",
            Role::Replica => "replica",
            Role::Unknown => "unknown",
        }
    }

    /// All of them, for metrics.
    pub const ALL: [Role; 3] = [Role::Primary, Role::Replica, Role::Unknown];
}

impl Default for Topology {
    fn default() -> Self {
        Topology::unknown()
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the verdict means for server `index`, see [`Health::surround`].
pub fn surroundings(verdict: &Verdict, index: usize) -> Surroundings {
    match verdict {
        Verdict::Primary(primary) => Surroundings { is_primary: *primary == index, primary_up: true },
        Verdict::Gone { .. } | Verdict::Conflict { .. } | Verdict::None { .. } => {
            Surroundings { is_primary: false, primary_up: false }
        }
    }
}

/// Whether a server may serve reads as a replica, and if not, why: the first reason that applies. `leader` is the
/// primary or, while there is none, the last there was; its replicas go on serving reads.
pub fn eligibility(
    index: usize,
    leader: Option<usize>,
    servers: &[Node],
    members: &[Member<'_>],
    rules: &HealthRules,
) -> (bool, String) {
    match obstacle(index, leader, servers, members, rules) {
        Some(why) => (false, why),
        None => (true, String::new()),
    }
}

fn obstacle(
    index: usize,
    leader: Option<usize>,
    servers: &[Node],
    members: &[Member<'_>],
    rules: &HealthRules,
) -> Option<String> {
    let node = servers.get(index)?;
    if node.role == Role::Primary {
        return Some("is the primary".to_owned());
    }
    if node.state != State::Up {
        return Some(node.why.clone());
    }
    let Some(report) = &node.report else { return Some("not probed yet".to_owned()) };
    if report.replication.is_empty() {
        return Some("replicates from no server".to_owned());
    }
    if let Some(lag) = node.lag.filter(|lag| *lag > rules.max_lag.as_secs_f64()) {
        return Some(format!("{lag:.0} s behind by its position, which is more than max_lag"));
    }
    let (leader_index, leader) = leader.and_then(|at| Some((at, servers.get(at)?)))?;
    if !follows(index, leader_index, members) {
        return Some(format!("does not replicate from {}", leader.name));
    }
    let primary = leader.report.as_ref()?;
    if report.flavour != primary.flavour {
        return Some(format!("is {}, the primary is {}", report.flavour.as_str(), primary.flavour.as_str()));
    }
    let skew = report.clock_skew - primary.clock_skew;
    if skew.abs() > rules.max_skew.as_secs_f64() {
        let direction = if skew > 0.0 { "ahead of" } else { "behind" };
        return Some(format!("its clock is {:.1} s {direction} the primary's (max_skew)", skew.abs()));
    }
    report.settings_like(primary).err().map(|unlike| unlike.to_string())
}

/// Whether it replicates from `leader`, directly or through others.
fn follows(index: usize, leader: usize, members: &[Member<'_>]) -> bool {
    let candidates: Vec<Candidate<'_>> = members.iter().map(Member::candidate).collect();
    let mut reached = vec![index];
    let mut next = 0;
    while let Some(at) = reached.get(next).copied() {
        if at == leader {
            return true;
        }
        let channels =
            candidates.get(at).and_then(|one| one.report).map_or(&[][..], |report| &report.replication);
        for channel in channels {
            if let Source::Candidate(source) = source_of(channel, at, &candidates)
                && !reached.contains(&source)
            {
                reached.push(source);
            }
        }
        next += 1;
    }
    false
}

fn assign_roles(servers: &mut [Node], primary: Option<usize>) {
    for (index, node) in servers.iter_mut().enumerate() {
        let replicates = node.report.as_ref().is_some_and(|report| !report.replication.is_empty());
        node.role = match replicates {
            _ if primary == Some(index) => Role::Primary,
            true => Role::Replica,
            false => Role::Unknown,
        };
    }
}

/// Whether nothing that the primary had is missing: it may have been reset, restored, or killed with relaxed
/// durability. One that replicates from outside cannot be told by this: MariaDB names the last GTID of a domain in
/// its log, not the largest.
fn has_all_of(after: Option<&Report>, before: &Report) -> bool {
    match (after.and_then(|report| report.binlog_position.as_ref()), &before.binlog_position) {
        _ if after.is_some_and(|report| !report.replication.is_empty()) => true,
        (Some(after), Some(before)) => after.covers(before),
        (None, Some(_)) => false,
        (_, None) => true,
    }
}
