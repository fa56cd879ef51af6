//! The positions of the writes that became known, by their stamps.
//!
//! Owns the order and its bound: where there are too many, neighbours become one, which asks more of a replica and
//! never less.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Rules, Stamp};
use crate::position::Position;

/// More entries than this are made fewer.
const MOST: usize = 32_768;

/// Positions in the order of their stamps.
#[derive(Debug, Default)]
pub(super) struct Log {
    entries: VecDeque<Entry>,
    last: Stamp,
}

#[derive(Debug)]
struct Entry {
    stamp: Stamp,
    position: Position,
    at: Duration,
    by: By,
}

/// Who told of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// The primary, in an answer: it has it.
    Primary,
    /// Its binary log, from which MySQL sends before it commits: it may have it only later.
    BinaryLog,
}

impl Log {
    /// The stamp of a write at this position. One that the last entry's position contains has that entry's stamp.
    pub(super) fn append(&mut self, position: &Position, at: Duration, by: By) -> Stamp {
        if let Some(last) = self.entries.back_mut()
            && last.position.covers(position)
            && last.stamp == self.last
        {
            if by == By::Primary {
                last.by = by;
            }
            return self.last;
        }
        self.last = self.last.saturating_add(1);
        self.entries.push_back(Entry { stamp: self.last, position: position.clone(), at, by });
        if self.entries.len() > MOST {
            self.thin_out();
        }
        self.last
    }

    /// Makes one of each two neighbours in the older half. What has the later one's stamp has both.
    fn thin_out(&mut self) {
        let half = self.entries.len() / 2;
        let rest = self.entries.split_off(half);
        let mut fewer = VecDeque::with_capacity(MOST);
        while let Some(mut entry) = self.entries.pop_front() {
            if let Some(mut next) = self.entries.pop_front() {
                next.take_in(&entry.position, entry.by);
                next.at = entry.at;
                entry = next;
            }
            fewer.push_back(entry);
        }
        fewer.extend(rest);
        self.entries = fewer;
    }

    /// How far a server at this position is that was at `from` before: it has every entry up to there.
    pub(super) fn advance(&self, from: Stamp, position: &Position, rules: Rules) -> Stamp {
        let start = self.entries.partition_point(|entry| entry.stamp <= from);
        let mut upto = from;
        for entry in self.entries.iter().skip(start) {
            if !position.covers(&entry.position) {
                if rules.contains(Rules::UNION) {
                    return upto;
                }
                continue;
            }
            upto = entry.stamp;
        }
        upto
    }

    /// The position of the first entry at or after a stamp.
    pub(super) fn at_least(&self, stamp: Stamp) -> Option<&Position> {
        self.first_from(stamp).map(|entry| &entry.position)
    }

    /// The position of the last entry at or before a stamp.
    pub(super) fn at_most(&self, stamp: Stamp) -> Option<&Position> {
        let after = self.entries.partition_point(|entry| entry.stamp <= stamp);
        self.entries.get(after.checked_sub(1)?).map(|entry| &entry.position)
    }

    /// The position of the last entry that the primary is known to have.
    pub(super) fn last_of_primary(&self) -> Option<&Position> {
        self.entries.iter().rev().find(|entry| entry.by == By::Primary).map(|entry| &entry.position)
    }

    /// When the first entry at or after a stamp became known.
    pub(super) fn since(&self, stamp: Stamp) -> Option<Duration> {
        self.first_from(stamp).map(|entry| entry.at)
    }

    fn first_from(&self, stamp: Stamp) -> Option<&Entry> {
        let at = self.entries.partition_point(|entry| entry.stamp < stamp);
        self.entries.get(at)
    }

    /// Entries before this one need not be told apart from it any more: what lacks them lacks it.
    pub(super) fn forget_below(&mut self, stamp: Stamp) {
        let mut forgotten: Option<Entry> = None;
        while self.entries.front().is_some_and(|entry| entry.stamp < stamp) {
            let Some(entry) = self.entries.pop_front() else { break };
            match &mut forgotten {
                Some(all) => all.take_in(&entry.position, entry.by),
                None => forgotten = Some(entry),
            }
        }
        if let (Some(forgotten), Some(first)) = (forgotten, self.entries.front_mut()) {
            first.take_in(&forgotten.position, forgotten.by);
        }
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }

    pub(super) fn last(&self) -> Stamp {
        self.last
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

impl Entry {
    /// It stands for another as well.
    fn take_in(&mut self, position: &Position, by: By) {
        self.position.union(position);
        if by == By::BinaryLog {
            self.by = by;
        }
    }
}
