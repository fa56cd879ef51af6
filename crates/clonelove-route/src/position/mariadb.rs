//! MariaDB: one GTID `domain-server-sequence` per replication domain.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use super::BadPosition;
use crate::report::Flavour;

/// The last GTID of each domain.
///
/// Within a domain the sequence number alone decides what contains what, as it does in `MASTER_GTID_WAIT`; the
/// server id says who wrote the last one and is only carried along.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MariaDbPosition {
    domains: BTreeMap<u32, Last>,
}

/// Ordered by sequence number first, so that the larger of two is the later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Last {
    sequence: u64,
    server: u32,
}

impl MariaDbPosition {
    /// Reads a comma-separated list of GTIDs; of several in one domain the largest sequence number counts.
    pub(super) fn parse(text: &str) -> Result<Self, BadPosition> {
        let mut position = MariaDbPosition::default();
        if text.trim().is_empty() {
            return Ok(position);
        }
        for part in text.split(',') {
            let (domain, server, sequence) = parse_gtid(part.trim())?;
            position.raise(domain, Last { sequence, server });
        }
        Ok(position)
    }

    /// Whether no domain has a GTID.
    pub fn is_empty(&self) -> bool {
        self.domains.is_empty()
    }

    /// How many domains have a GTID.
    pub fn len(&self) -> usize {
        self.domains.len()
    }

    /// Each domain with the server id and sequence number of its last GTID, in the order of the domains.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u32, u64)> + '_ {
        self.domains.iter().map(|(domain, last)| (*domain, last.server, last.sequence))
    }

    pub(super) fn union(&mut self, other: &Self) {
        for (domain, last) in &other.domains {
            self.raise(*domain, *last);
        }
    }

    pub(super) fn covers(&self, need: &Self) -> bool {
        need.domains.iter().all(|(domain, last)| self.reaches(*domain, last.sequence))
    }

    pub(super) fn subtract(&mut self, done: &Self) {
        self.domains.retain(|domain, last| !done.reaches(*domain, last.sequence));
    }

    fn reaches(&self, domain: u32, sequence: u64) -> bool {
        self.domains.get(&domain).is_some_and(|have| have.sequence >= sequence)
    }

    fn raise(&mut self, domain: u32, last: Last) {
        match self.domains.entry(domain) {
            Entry::Vacant(entry) => {
                entry.insert(last);
            }
            Entry::Occupied(mut entry) => {
                let larger = last.max(*entry.get());
                entry.insert(larger);
            }
        }
    }
}

impl fmt::Display for MariaDbPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (domain, last)) in self.domains.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{domain}-{}-{}", last.server, last.sequence)?;
        }
        Ok(())
    }
}

fn parse_gtid(part: &str) -> Result<(u32, u32, u64), BadPosition> {
    let bad = |problem| BadPosition::new(Flavour::MariaDb, part, problem);
    let mut numbers = part.splitn(3, '-');
    let (Some(domain), Some(server), Some(sequence)) = (numbers.next(), numbers.next(), numbers.next())
    else {
        return Err(bad("a GTID is domain-server-sequence"));
    };
    Ok((
        digits(domain).ok_or_else(|| bad("the domain is no 32-bit number"))?,
        digits(server).ok_or_else(|| bad("the server id is no 32-bit number"))?,
        digits(sequence).ok_or_else(|| bad("the sequence number is no 64-bit number"))?,
    ))
}

/// Plain digits only: `FromStr` of the integers would take a sign too.
fn digits<N: std::str::FromStr>(text: &str) -> Option<N> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}
