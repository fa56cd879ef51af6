//! Who is primary: the one server that is writable and replicates from none of the others.
//!
//! Owns the rule and its memory. It fences nobody and promotes nobody; where there is no clear order, there is no
//! primary, and the reason says what a person should do.

mod lineage;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use lineage::{Source, source_of};

use crate::freshness::Rules;
use crate::position::Position;
use crate::report::Report;

/// The role that the configuration gives a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Pinned {
    /// To be found out.
    #[default]
    Auto,
    /// Primary, whenever it can be written.
    Primary,
    /// Never primary.
    Replica,
}

/// What the election knows of one server.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Its configured name.
    pub name: &'a str,
    /// Its configured role.
    pub pinned: Pinned,
    /// The host in its configured address; empty for a unix socket.
    pub host: &'a str,
    /// The port in its configured address.
    pub port: u16,
    /// Whether a probe of it has ended, well or badly.
    pub probed: bool,
    /// Whether it is reachable: not yet, or not any more, once it is declared down.
    pub up: bool,
    /// Whether its last probe succeeded: false from the first failure, before it is declared down.
    pub answering: bool,
    /// The last that is known of it, from before it went down too.
    pub report: Option<&'a Report>,
    /// The server that it was last seen replicating from. [`Election::hold`] fills it in.
    pub followed: Option<usize>,
    /// If it is read-only, a client of the proxy made it so, as it may make any setting.
    pub read_only_by_client: bool,
}

/// Who is primary. Numbers are indices into the candidates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// This one: reachable, writable, and undisputed.
    Primary(usize),
    /// One is known to have been, or by its replicas' word must be, and cannot be written now.
    Gone {
        /// Which.
        last: Option<usize>,
        /// Why it cannot be written, and why nobody takes its place.
        why: String,
    },
    /// Two claim to be, and nothing says which of them came after the other.
    Conflict {
        /// One.
        a: usize,
        /// The other.
        b: usize,
        /// Both by name, and what to do.
        why: String,
    },
    /// None is known.
    None {
        /// Why each server is none.
        why: String,
    },
}

/// The election with its memory: who was primary, and who replicated from whom.
#[derive(Clone, Debug, Default)]
pub struct Election {
    current: Option<String>,
    followed: BTreeMap<String, String>,
    rules: Rules,
}

impl Election {
    /// Nothing remembered.
    pub fn new() -> Self {
        Election::default()
    }

    /// The same by these rules: all, but in tests that show what one of them is for.
    pub fn by(rules: Rules) -> Self {
        Election { rules, ..Election::default() }
    }

    /// Says who is primary now, and remembers it. Servers are remembered by name, so that the list may change.
    pub fn hold(&mut self, candidates: &mut [Candidate<'_>]) -> Verdict {
        self.remember_followers(candidates);
        let index_of = |name: &String| candidates.iter().position(|one| one.name == *name);
        let followed: Vec<Option<usize>> =
            candidates.iter().map(|one| self.followed.get(one.name).and_then(index_of)).collect();
        let current = self.current.as_ref().and_then(index_of);
        for (candidate, followed) in candidates.iter_mut().zip(followed) {
            candidate.followed = followed;
        }
        let verdict = elect(current, candidates, self.rules);
        // One that its replicas merely miss was not seen to be primary.
        if let Verdict::Primary(index) = verdict {
            self.current = candidates.get(index).map(|one| one.name.to_owned());
        }
        verdict
    }

    /// The name of the primary, or of the last that was seen.
    pub fn current(&self) -> Option<&str> {
        self.current.as_deref()
    }

    /// A server that stands by itself, writable, beside a healthy primary is no heir any more: it was taken out, and
    /// what it has grows old. In a failover the primary goes first.
    fn remember_followers(&mut self, candidates: &[Candidate<'_>]) {
        let present = candidates.iter().find(|one| Some(one.name) == self.current());
        let healthy = present.is_some_and(|one| one.answering && one.is_writable());
        let rivals = if healthy { claimants(candidates, self.rules) } else { Vec::new() };
        let names: Vec<&str> = rivals.iter().filter_map(|index| Some(candidates.get(*index)?.name)).collect();
        let known = |name: &str| candidates.iter().any(|one| one.name == name);
        self.followed.retain(|name, _| known(name) && !names.contains(&name.as_str()));
        for (index, candidate) in candidates.iter().enumerate() {
            if let Some(source) = followed_now(index, candidates).and_then(|source| candidates.get(source)) {
                self.followed.insert(candidate.name.to_owned(), source.name.to_owned());
            }
        }
    }
}

/// Says who is primary, given who was. See [`Election`] for the same with a memory.
///
/// - Where servers are pinned as primary, only they count.
/// - The present one stays while it is reachable and writable, unless it replicates from one that claims.
/// - A challenger claims by being reachable, writable and replicating from none of the others; it is accepted when
///   the present one is unreachable or read-only, and it was the present one's replica.
/// - One that a client of the proxy made read-only stays all the same, until somebody claims: it refuses writes itself.
/// - With nobody present, one claimant is it, unless the replicas say that another one is.
pub fn elect(current: Option<usize>, candidates: &[Candidate<'_>], rules: Rules) -> Verdict {
    if candidates.iter().any(|one| one.pinned == Pinned::Primary) {
        return elect_pinned(current, candidates, rules);
    }
    let present = current.and_then(|index| Some((index, candidates.get(index)?)));
    match present.filter(|(_, one)| one.pinned != Pinned::Replica) {
        Some((index, one)) => keep_or_replace(index, one, candidates, rules),
        None => elect_first(candidates, rules),
    }
}

impl Candidate<'_> {
    fn is_writable(&self) -> bool {
        self.up && self.report.is_some_and(|report| !report.read_only)
    }

    /// Whether it is reachable, and refuses writes because a client of the proxy wants it to.
    fn is_held_by_client(&self) -> bool {
        self.up && self.read_only_by_client && self.report.is_some()
    }

    /// What keeps it from being written, or from claiming.
    fn obstacle(&self) -> String {
        let name = self.name;
        match self.report {
            _ if !self.probed => format!("{name} has not been probed yet"),
            _ if !self.up => format!("{name} is down"),
            Some(report) if report.read_only => format!("{name} is read-only"),
            Some(report) if report.replication.iter().any(|channel| channel.is_started()) => {
                format!("{name} replicates from another server")
            }
            Some(report) if !report.replication.is_empty() => {
                format!(
                    "{name} is set up to replicate from another server, though stopped (RESET SLAVE ALL ends that)"
                )
            }
            _ if self.pinned == Pinned::Replica => format!("{name} is configured as a replica"),
            _ => format!("{name} is writable"),
        }
    }
}

fn elect_pinned(current: Option<usize>, candidates: &[Candidate<'_>], rules: Rules) -> Verdict {
    let pinned = || candidates.iter().enumerate().filter(|(_, one)| one.pinned == Pinned::Primary);
    let writable: Vec<usize> =
        pinned().filter(|(_, one)| one.is_writable()).map(|(index, _)| index).collect();
    let held = |index: usize| {
        let one = candidates.get(index).filter(|one| one.pinned == Pinned::Primary);
        writable.is_empty() && one.is_some_and(Candidate::is_held_by_client)
    };
    let present = current.filter(|index| writable.contains(index) || held(*index));
    match (present, writable.as_slice()) {
        (Some(index), _) | (None, &[index]) => Verdict::Primary(index),
        (None, []) => Verdict::Gone {
            last: current
                .filter(|at| pinned().any(|(index, _)| index == *at))
                .or(pinned().next().map(|(at, _)| at)),
            why: format!(
                "{}; role = \"primary\" keeps others from taking its place",
                list(pinned().map(|(_, one)| one.obstacle()))
            ),
        },
        (None, &[a, b, ..]) => conflict(a, b, candidates, rules),
    }
}

fn keep_or_replace(
    present: usize,
    one: &Candidate<'_>,
    candidates: &[Candidate<'_>],
    rules: Rules,
) -> Verdict {
    let claimants = claimants(candidates, rules);
    let heirs: Vec<usize> = claimants
        .iter()
        .copied()
        .filter(|index| *index != present && may_succeed(*index, present, candidates, rules))
        .collect();
    if one.is_writable() && (rules.contains(Rules::PRESENT_STAYS) || heirs.is_empty()) {
        let source = sources(present, candidates).find(|source| claimants.contains(source));
        return Verdict::Primary(source.unwrap_or(present));
    }
    match heirs.as_slice() {
        [heir] => Verdict::Primary(*heir),
        [a, b, ..] => conflict(*a, *b, candidates, rules),
        [] if claimants.is_empty() && one.is_held_by_client() => Verdict::Primary(present),
        [] => Verdict::Gone { last: Some(present), why: no_heir(present, one, &claimants, candidates) },
    }
}

fn no_heir(present: usize, one: &Candidate<'_>, claimants: &[usize], candidates: &[Candidate<'_>]) -> String {
    let reason = |(index, other): (usize, &Candidate<'_>)| {
        if claimants.contains(&index) {
            format!(
                "{} is writable, but was not its replica (role = \"primary\" makes it the primary)",
                other.name
            )
        } else {
            other.obstacle()
        }
    };
    let others = candidates.iter().enumerate().filter(|(index, _)| *index != present).map(reason);
    let others = list(others);
    if others.is_empty() {
        one.obstacle()
    } else {
        format!("{}, and nobody takes its place: {others}", one.obstacle())
    }
}

fn elect_first(candidates: &[Candidate<'_>], rules: Rules) -> Verdict {
    if let Some(unprobed) = candidates.iter().find(|one| !one.probed) {
        return Verdict::None { why: unprobed.obstacle() };
    }
    let leader = absent_leader(candidates);
    match (claimants(candidates, rules).as_slice(), leader) {
        ([a, b, ..], _) => conflict(*a, *b, candidates, rules),
        (&[claimant], Some(leader)) if !is_heir(claimant, leader, candidates, rules) => {
            disputed(claimant, leader, candidates)
        }
        ([claimant], _) => Verdict::Primary(*claimant),
        ([], Some(leader)) => Verdict::Gone { last: Some(leader), why: reasons(candidates) },
        ([], None) => Verdict::None { why: reasons(candidates) },
    }
}

fn is_heir(claimant: usize, leader: usize, candidates: &[Candidate<'_>], rules: Rules) -> bool {
    is_followed(claimant, candidates) || may_succeed(claimant, leader, candidates, rules)
}

/// A server that nobody follows claims, while the replicas follow one that is away: it may be an old primary that
/// came back, and writes to it would be lost.
fn disputed(claimant: usize, leader: usize, candidates: &[Candidate<'_>]) -> Verdict {
    let name = |index| candidates.get(index).map_or("", |one: &Candidate<'_>| one.name);
    let why = format!(
        "{} cannot be written, yet the replicas replicate from it; {} is writable, but no server replicates from it \
         (role = \"primary\" makes it the primary)",
        name(leader),
        name(claimant)
    );
    Verdict::Gone { last: Some(leader), why }
}

fn conflict(a: usize, b: usize, candidates: &[Candidate<'_>], rules: Rules) -> Verdict {
    if !rules.contains(Rules::TWO_CLAIMANTS) {
        return Verdict::Primary(a);
    }
    let name = |index| candidates.get(index).map_or("", |one: &Candidate<'_>| one.name);
    let why = format!(
        "{} and {} are both writable and neither replicates from the other: make one of them read-only, or give one \
         role = \"primary\"",
        name(a),
        name(b)
    );
    Verdict::Conflict { a, b, why }
}

fn claimants(candidates: &[Candidate<'_>], rules: Rules) -> Vec<usize> {
    let claims = |(index, one): (usize, &Candidate<'_>)| {
        let writable =
            one.is_writable() || one.up && one.report.is_some() && !rules.contains(Rules::WRITABLE);
        let independent =
            !lineage::may_replicate_from_others(index, candidates) || !rules.contains(Rules::INDEPENDENT);
        (one.pinned != Pinned::Replica && writable && independent).then_some(index)
    };
    candidates.iter().enumerate().filter_map(claims).collect()
}

/// The servers among the candidates that this one is set up to replicate from.
fn sources<'a>(index: usize, candidates: &'a [Candidate<'a>]) -> impl Iterator<Item = usize> + 'a {
    let channels =
        candidates.get(index).and_then(|one| one.report).map_or(&[][..], |report| &report.replication);
    channels.iter().filter_map(move |channel| match source_of(channel, index, candidates) {
        Source::Candidate(source) => Some(source),
        Source::Elsewhere | Source::Unknown => None,
    })
}

fn followed_now(index: usize, candidates: &[Candidate<'_>]) -> Option<usize> {
    candidates.get(index).filter(|one| one.up)?;
    sources(index, candidates).next()
}

fn is_followed(index: usize, candidates: &[Candidate<'_>]) -> bool {
    (0..candidates.len()).any(|other| followed_now(other, candidates) == Some(index))
}

/// The one server, not writable now, that reachable replicas follow and that follows nobody.
fn absent_leader(candidates: &[Candidate<'_>]) -> Option<usize> {
    let leads = |index: &usize| {
        let away =
            candidates.get(*index).is_some_and(|one| !one.is_writable() && one.pinned != Pinned::Replica);
        away && is_followed(*index, candidates) && sources(*index, candidates).next().is_none()
    };
    let mut leaders = (0..candidates.len()).filter(leads);
    let leader = leaders.next()?;
    leaders.next().is_none().then_some(leader)
}

/// Whether one that claims may take the other's place.
fn may_succeed(index: usize, present: usize, candidates: &[Candidate<'_>], rules: Rules) -> bool {
    was_replica_of(index, present, candidates) || !rules.contains(Rules::HEIR)
}

/// Seen replicating from it; or it has executed all that the other was last known to have written. On MariaDB only
/// what came by replication counts: a former primary that was written in vain has high numbers too.
fn was_replica_of(index: usize, source: usize, candidates: &[Candidate<'_>]) -> bool {
    let Some(one) = candidates.get(index) else { return false };
    let written = candidates.get(source).and_then(|source| source.report?.binlog_position.as_ref());
    let executed = one.report.and_then(|report| report.position.as_ref());
    let has_all =
        |(executed, written): (&Position, &Position)| !written.is_empty() && executed.covers(written);
    one.followed == Some(source) || executed.zip(written).is_some_and(has_all)
}

fn reasons(candidates: &[Candidate<'_>]) -> String {
    let each = list(candidates.iter().map(Candidate::obstacle));
    format!("{each} (role = \"primary\" makes a writable one the primary)")
}

fn list(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join("; ")
}
