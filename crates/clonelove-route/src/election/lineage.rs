//! Which of the candidates a replication channel comes from.

use super::Candidate;
use crate::report::{Channel, Identity};

/// Where a channel comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The candidate with this index.
    Candidate(usize),
    /// A server that is not among the candidates.
    Elsewhere,
    /// It cannot be told: it may be a candidate that never answered, under an address that we do not know.
    Unknown,
}

/// Finds the source of a channel of candidate `me`.
///
/// A connected channel knows who is at the other end; the address, which may be another one than ours for the same
/// server, counts first only while it is not connected, since it may have been re-pointed.
pub fn source_of(channel: &Channel, me: usize, candidates: &[Candidate<'_>]) -> Source {
    let others = || candidates.iter().enumerate().filter(move |(index, _)| *index != me);
    let by_identity = || others().find(|(_, one)| is_source(channel, one)).map(|(index, _)| index);
    let by_address = || others().find(|(_, one)| is_at(channel, one)).map(|(index, _)| index);
    let found = match channel.io_running {
        true => by_identity().or_else(by_address),
        false => by_address().or_else(by_identity),
    };
    let identified = channel.source_uuid.is_some() || channel.source_id.is_some();
    match found {
        Some(index) => Source::Candidate(index),
        None if identified && others().all(|(_, one)| one.report.is_some()) => Source::Elsewhere,
        None => Source::Unknown,
    }
}

/// Whether the candidate is set up to replicate from another one, or may be. A stopped channel counts: its server
/// was a replica, and has not been promoted.
pub(super) fn may_replicate_from_others(me: usize, candidates: &[Candidate<'_>]) -> bool {
    let channels =
        candidates.get(me).and_then(|one| one.report).map_or(&[][..], |report| &report.replication);
    channels.iter().any(|channel| source_of(channel, me, candidates) != Source::Elsewhere)
}

fn is_source(channel: &Channel, candidate: &Candidate<'_>) -> bool {
    match (candidate.report.map(|report| &report.identity), &channel.source_uuid) {
        (Some(Identity::MySql { server_uuid, .. }), Some(uuid)) => server_uuid == uuid,
        (Some(Identity::MySql { server_id, .. } | Identity::MariaDb { server_id, .. }), None) => {
            channel.source_id == Some(*server_id)
        }
        // A replica of the other flavour knows a UUID or none; the server id is what both have.
        (Some(Identity::MariaDb { server_id, .. }), Some(_)) => channel.source_id == Some(*server_id),
        (None, _) => false,
    }
}

fn is_at(channel: &Channel, candidate: &Candidate<'_>) -> bool {
    let same_host = |host: &str| !host.is_empty() && plain(host) == plain(&channel.source_host);
    if same_host(candidate.host) && candidate.port == channel.source_port {
        return true;
    }
    match candidate.report.map(|report| &report.identity) {
        Some(Identity::MariaDb { hostname, port, .. }) => same_host(hostname) && *port == channel.source_port,
        _ => false,
    }
}

/// One spelling for each host.
fn plain(host: &str) -> String {
    let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_ascii_lowercase();
    if matches!(host.as_str(), "localhost" | "::1") { "127.0.0.1".to_owned() } else { host }
}
