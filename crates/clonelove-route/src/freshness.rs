//! Which reads a replica may answer without being stale: what was written, up to where, and who has it.
//!
//! Owns the watermarks: of every table, and where statements allow it of every key, the last write whose success a
//! client was told. Writes are numbered in the order in which they became known (a *stamp*); a replica has applied all
//! stamps up to one. So a read needs one number, and a replica has one. Pure: knows no servers but by their index, no
//! clocks (time is an argument), sends nothing. The rules, each from a trap: `docs/freshness.md`.

mod log;
mod marks;
mod rules;
mod touch;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use clonelove_sql::TableId;

use crate::position::Position;
use log::{By, Log};
use marks::Marks;

pub use marks::Counts;
pub use rules::Rules;
pub use touch::{Reads, Writes};

/// The number of a write in the order in which writes became known. Grows for as long as the process lives.
pub type Stamp = u64;

/// Watermarks, and how far the replicas are.
#[derive(Debug)]
pub struct Freshness {
    log: Log,
    /// What lies at or below it was forgotten: a server that lacks any of it gets no read. `None` until a position of
    /// the primary is known.
    floor: Option<Stamp>,
    /// This primary gives its writes no positions: nothing can be promised, and nothing is held back.
    powerless: bool,
    marks: Marks,
    /// By the server's index in the topology.
    servers: Vec<Applied>,
    /// All that the primary had when it was last asked, and the last write that was known then.
    seen: Option<(Stamp, Position)>,
    /// A write was given a position that was known before it was sent: the primary may have begun a new history. Numbered
    /// as doubts are.
    suspected: Option<u64>,
    next_pending: u64,
    pending: BTreeMap<u64, Writes>,
    next_doubt: u64,
    doubts: Vec<(u64, Writes)>,
    /// Written without a trace in the binary log: no replica will ever have it.
    unlogged: HashSet<TableId>,
    rules: Rules,
}

/// How far one server is.
#[derive(Clone, Debug, Default)]
struct Applied {
    upto: Stamp,
    position: Option<Position>,
    told: Option<Told>,
    /// Where it was when the primary's history began anew below that: its positions are of the former one until it has
    /// been set back.
    former: Option<Position>,
}

/// When a server last told how far it is, and how old the oldest write was that it lacked then.
#[derive(Clone, Copy, Debug)]
struct Told {
    at: Duration,
    behind: Duration,
}

/// What a server told is taken for how it is doing for so long.
const TOLD_LASTS: Duration = Duration::from_millis(250);

/// What a read needs of the server that answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// All writes up to this one.
    Stamp(Stamp),
    /// The primary: no replica can be known to have what it needs.
    Primary(Kept),
}

/// Why only the primary can answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// No position of the primary is known yet.
    NoFloor,
    /// Something was committed of which no position was told, and it has not been asked for yet.
    InDoubt,
    /// The session may have seen a write whose reply is still to come.
    Pending,
    /// What it reads was written past the binary log.
    Unlogged,
}

impl Default for Freshness {
    fn default() -> Self {
        Self::new(100_000, Rules::all())
    }
}

impl Freshness {
    /// Knows nothing yet, so that every read needs the primary. Holds at most `limit` keys.
    pub fn new(limit: usize, rules: Rules) -> Self {
        Self {
            log: Log::default(),
            floor: None,
            powerless: false,
            marks: Marks::new(limit),
            servers: Vec::new(),
            seen: None,
            suspected: None,
            next_pending: 1,
            pending: BTreeMap::new(),
            next_doubt: 1,
            doubts: Vec::new(),
            unlogged: HashSet::new(),
            rules,
        }
    }

    /// The number of keys that may be held.
    pub fn set_limit(&mut self, limit: usize) {
        self.marks.set_limit(limit);
    }

    /// An epoch begins: what was known is of another history. Every server must have this position, the primary's
    /// now, before it gets a read; `None`: the primary has no positions, and nothing is promised.
    pub fn begin(&mut self, primary: Option<&Position>, now: Duration) {
        self.marks.clear();
        self.unlogged.clear();
        self.doubts.clear();
        self.log.clear();
        self.powerless = primary.is_none();
        let floor = primary.map_or(self.log.last(), |position| self.log.append(position, now, By::Primary));
        self.floor = Some(if self.rules.contains(Rules::FLOOR_AT_START) { floor } else { 0 });
        self.seen = primary.map(|position| (floor, position.clone()));
        self.suspected = None;
        for server in &mut self.servers {
            server.upto = 0;
        }
        self.advance_all();
    }

    /// The same, of a primary whose log began anew or lost transactions: what a server has beyond this position is of the
    /// former history, and says nothing of this one.
    pub fn begin_anew(&mut self, primary: &Position, now: Duration) {
        for server in self.servers.iter_mut().filter(|_| self.rules.contains(Rules::HISTORY)) {
            let beyond = server.position.take_if(|position| !primary.covers(position));
            server.former = beyond.or(server.former.take());
        }
        self.begin(Some(primary), now);
    }

    /// There is no primary whose position is known: no replica can be trusted until [`Freshness::begin`].
    pub fn end(&mut self) {
        self.floor = None;
        self.powerless = false;
    }

    /// Whether anything is promised: the primary's writes have positions.
    pub fn promises(&self) -> bool {
        !self.powerless
    }

    /// A write became known, with its position: raises what it wrote, before its client hears of it.
    pub fn raise(&mut self, writes: &Writes, position: &Position, now: Duration) -> Stamp {
        self.raise_told(writes, position, (now, By::Primary))
    }

    /// The same of one that the binary log has told of: the primary may commit it only now.
    pub fn raise_logged(&mut self, writes: &Writes, position: &Position, now: Duration) -> Stamp {
        self.raise_told(writes, position, (now, By::BinaryLog))
    }

    fn raise_told(&mut self, writes: &Writes, position: &Position, (now, by): (Duration, By)) -> Stamp {
        let stamp = self.append(position, now, by);
        if writes.definitions {
            for table in &writes.tables {
                self.unlogged.remove(table);
            }
        }
        self.marks.raise(writes, stamp);
        stamp
    }

    /// The primary was seen at a position: the stamp that a server needs to have it.
    pub fn reached(&mut self, position: &Position, now: Duration) -> Stamp {
        self.append(position, now, By::Primary)
    }

    fn append(&mut self, position: &Position, now: Duration, by: By) -> Stamp {
        let stamp = self.log.append(position, now, by);
        // A replica may have told of it before the primary did.
        self.advance_all();
        stamp
    }

    /// Whether a write that was sent when this was the last known one has a position of before. It has in a history that
    /// began anew in between, and where what it was told belongs to an earlier statement.
    pub fn was_known(&self, position: &Position, sent: Stamp) -> bool {
        let seen = self.seen.as_ref().filter(|(upto, _)| *upto <= sent).map(|(_, seen)| seen);
        let mut known = self.log.at_most(sent).into_iter().chain(seen);
        self.rules.contains(Rules::HISTORY) && known.any(|known| known.covers(position))
    }

    /// Positions may be of a new history: servers have nothing until the primary was asked.
    pub fn suspect(&mut self) {
        self.suspected = Some(self.number_doubt());
    }

    /// What the primary must still have if its history goes on: to be taken before it is asked for its position.
    pub fn must_have(&self) -> Option<Position> {
        let seen = self.seen.as_ref().map(|(_, seen)| seen);
        let mut known = self.log.last_of_primary().into_iter().chain(seen);
        let mut all = known.next()?.clone();
        known.for_each(|known| all.union(known));
        Some(all)
    }

    /// What a server is known to have executed; `None`: that is not known any more.
    pub fn applied(&mut self, server: usize, position: Option<&Position>) {
        if self.servers.len() <= server {
            self.servers.resize_with(server.saturating_add(1), Applied::default);
        }
        let Some(applied) = self.servers.get_mut(server) else { return };
        if let (Some(former), Some(position)) = (&applied.former, position)
            && !position.covers(former)
        {
            applied.former = None;
        }
        match position.filter(|_| applied.former.is_none()) {
            None => *applied = Applied { former: applied.former.take(), ..Applied::default() },
            Some(position) => {
                applied.upto = self.log.advance(applied.upto, position, self.rules);
                applied.position = Some(position.clone());
            }
        }
    }

    fn advance_all(&mut self) {
        for server in &mut self.servers {
            if let Some(position) = &server.position {
                server.upto = self.log.advance(server.upto, position, self.rules);
            }
        }
    }

    /// All writes that a server is known to have, up to which.
    #[inline]
    pub fn applied_upto(&self, server: usize) -> Stamp {
        self.servers.get(server).map_or(0, |server| server.upto)
    }

    /// Whether a server has all that a need names.
    #[inline]
    pub fn has(&self, server: usize, stamp: Stamp) -> bool {
        self.powerless
            || self.applied_upto(server) >= stamp
                && self.suspected.is_none()
                && !self.is_of_former_history(server)
    }

    #[inline]
    fn is_of_former_history(&self, server: usize) -> bool {
        self.servers.get(server).is_some_and(|server| server.former.is_some())
    }

    /// What a read needs. `observed`: the pending writes numbered below it may have been seen by its session.
    pub fn need(&self, reads: &Reads<'_>, observed: u64) -> Need {
        let Some(floor) = self.floor else { return Need::Primary(Kept::NoFloor) };
        if self.powerless {
            return Need::Stamp(0);
        }
        if self.suspected.is_some() {
            return Need::Primary(Kept::InDoubt);
        }
        if !self.unlogged.is_empty() && self.reads_unlogged(reads) {
            return Need::Primary(Kept::Unlogged);
        }
        if self.doubts.iter().any(|(_, writes)| writes.touch(reads)) {
            return Need::Primary(Kept::InDoubt);
        }
        if self.sees_pending(reads, observed) {
            return Need::Primary(Kept::Pending);
        }
        Need::Stamp(self.marks.need(reads).max(floor))
    }

    fn reads_unlogged(&self, reads: &Reads<'_>) -> bool {
        reads.all || reads.tables.iter().any(|table| self.unlogged.contains(&table))
    }

    /// Whether a session that may have seen the pending writes below `observed` reads of one of them.
    pub fn sees_pending(&self, reads: &Reads<'_>, observed: u64) -> bool {
        self.rules.contains(Rules::PENDING)
            && self.pending.range(..observed).any(|(_, writes)| writes.touch(reads))
    }

    /// Whether the bounds of single rows could lower what a read of this table needs.
    pub fn has_keys(&self, table: TableId) -> bool {
        self.marks.has_keys(table)
    }

    /// A statement that may commit is about to be sent; answers its number.
    pub fn begin_pending(&mut self, writes: Writes) -> u64 {
        let id = self.next_pending;
        self.next_pending = id.saturating_add(1);
        self.pending.insert(id, writes);
        id
    }

    /// The statement's reply has come, and what it wrote was raised or put in doubt.
    pub fn end_pending(&mut self, id: u64) {
        self.pending.remove(&id);
    }

    /// The number that the next pending statement will have: a session that got an answer now may have seen all below.
    pub fn next_pending(&self) -> u64 {
        self.next_pending
    }

    /// The oldest statement under way; the next one's number when there is none.
    pub fn oldest_pending(&self) -> u64 {
        self.pending.first_key_value().map_or(self.next_pending, |(id, _)| *id)
    }

    /// Something may have been committed of which no position was told.
    pub fn doubt(&mut self, writes: Writes) {
        if writes.is_empty() {
            return;
        }
        let id = self.number_doubt();
        self.doubts.push((id, writes));
    }

    fn number_doubt(&mut self) -> u64 {
        let id = self.next_doubt;
        self.next_doubt = id.saturating_add(1);
        id
    }

    /// A number above those of all doubts so far: to be taken before the primary is asked for its position.
    pub fn doubts_upto(&self) -> u64 {
        self.next_doubt
    }

    /// Whether anything is in doubt.
    pub fn is_in_doubt(&self) -> bool {
        self.suspected.is_some() || !self.doubts.is_empty()
    }

    /// The primary, asked after all doubts numbered below `upto` had come up, is at this position.
    pub fn settle_doubts(&mut self, upto: u64, position: &Position, now: Duration) {
        let stamp = self.reached(position, now);
        self.seen = Some((stamp, position.clone()));
        self.suspected = self.suspected.filter(|id| *id >= upto);
        let marks = &mut self.marks;
        self.doubts.retain(|(id, writes)| {
            let settled = *id < upto;
            if settled {
                marks.raise(writes, stamp);
            }
            !settled
        });
    }

    /// Tables were written past the binary log: their reads stay on the primary until a logged change of their
    /// definitions.
    pub fn unlogged(&mut self, writes: &Writes) {
        /// More tables than this are not told apart from one another by an operator either.
        const MOST: usize = 100_000;
        let keyed = writes.keyed.iter().map(|keys| keys.table);
        for table in writes.tables.iter().copied().chain(keyed) {
            if self.unlogged.len() < MOST {
                self.unlogged.insert(table);
            }
        }
    }

    /// Tables whose reads stay on the primary.
    pub fn unlogged_tables(&self) -> impl Iterator<Item = TableId> + '_ {
        self.unlogged.iter().copied()
    }

    /// The position that brings a server that lacks a stamp nearer to it; `None` when none is known.
    pub fn position_towards(&self, server: usize, stamp: Stamp) -> Option<&Position> {
        let applied = self.servers.get(server);
        if self.is_of_former_history(server) {
            // It would say at once that it has that.
            return None;
        }
        let wanted = self.log.at_least(stamp)?;
        let has = applied.and_then(|applied| applied.position.as_ref()).is_some_and(|at| at.covers(wanted));
        if has { self.log.at_least(self.applied_upto(server).saturating_add(1)) } else { Some(wanted) }
    }

    /// How long ago the oldest write that a server lacks became known; `None` while its position is not known.
    pub fn lag(&self, server: usize, now: Duration) -> Option<Duration> {
        if self.powerless || self.floor.is_none() {
            return None;
        }
        let applied = self.servers.get(server).filter(|applied| applied.position.is_some())?;
        Some(
            self.log
                .since(applied.upto.saturating_add(1))
                .map_or(Duration::ZERO, |at| now.saturating_sub(at)),
        )
    }

    /// A server has told how far it is, just now.
    pub fn told(&mut self, server: usize, now: Duration) {
        let behind = self.lag(server, now);
        if let (Some(applied), Some(behind)) = (self.servers.get_mut(server), behind) {
            applied.told = Some(Told { at: now, behind });
        }
    }

    /// Whether waiting so long for a server to have a stamp may be of use. It is not where the server was known to
    /// lack older writes a moment ago, and has not come nearer to this one since than it usually is.
    pub fn may_have_soon(&self, server: usize, stamp: Stamp, within: Duration, now: Duration) -> bool {
        let told = self.servers.get(server).and_then(|applied| applied.told);
        let Some(Told { at, behind }) = told else { return true };
        if behind <= within || now.saturating_sub(at) > TOLD_LASTS {
            return true;
        }
        let age = self.log.since(stamp).map_or(Duration::ZERO, |since| now.saturating_sub(since));
        age < behind && behind.saturating_sub(age) <= within
    }

    /// Forgets what all of these servers have: the floor rises to the lowest of them. Nobody below it gets a read.
    pub fn forget(&mut self, serving: impl Iterator<Item = usize>) {
        let Some(floor) = self.floor else { return };
        let lowest = serving.map(|server| self.applied_upto(server)).filter(|upto| *upto >= floor).min();
        let Some(lowest) = lowest.filter(|lowest| *lowest > floor) else { return };
        if self.rules.contains(Rules::FLOOR_ON_FORGET) {
            self.floor = Some(lowest);
        }
        self.log.forget_below(lowest);
        self.marks.forget(lowest);
    }

    /// How many watermarks there are.
    pub fn counts(&self) -> Counts {
        self.marks.counts()
    }

    /// The last stamp given.
    pub fn last(&self) -> Stamp {
        self.log.last()
    }
}
