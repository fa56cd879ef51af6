//! What was acknowledged, and whether what is seen reflects it. Owns the verdicts; sends nothing.
//!
//! Every row, or table that is taken for one, is a *cell* that counts its versions. A version is written only by
//! who holds the cell's pen, so that versions are acknowledged in their order, and judging a read is a comparison:
//! it must be at least the version that was acknowledged when the read began. A version that is even is kept, one
//! that is odd was taken back and must never be seen.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};

/// What a write makes of its cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Becomes {
    /// The row has the new version.
    Kept,
    /// There is no row.
    Gone,
    /// Nothing: the new version was taken back.
    Undone,
}

/// Processes of clonelove side by side, at most.
pub(crate) const PROCESSES: usize = 2;

/// Which writes a read must reflect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Promise {
    /// All that were acknowledged, by whichever process.
    All,
    /// Those that this process acknowledged, and others' whose events are known to have arrived there.
    OwnAndArrived(usize),
}

/// One row whose versions are counted.
#[derive(Debug)]
pub(crate) struct Cell {
    pen: Mutex<Pen>,
    /// The highest version that somebody began to write.
    begun: AtomicU64,
    /// The highest version that somebody was told had been written.
    acked: AtomicU64,
    /// The same by the process that told it.
    acked_by: [AtomicU64; PROCESSES],
    /// The highest version of any process that is known to have arrived at each.
    arrived: [AtomicU64; PROCESSES],
    /// The highest version that somebody began to write and that takes the row away.
    gone: AtomicU64,
    acked_at: AtomicU64,
    /// How the last version that was begun is written.
    how: Mutex<&'static [&'static str]>,
}

#[derive(Debug)]
struct Pen {
    present: bool,
    /// A write of it was never answered: nobody can tell any more in which order versions come.
    in_doubt: bool,
    /// What the last version makes of the row, and when that began.
    becomes: Becomes,
    began: u64,
}

/// The right to write a cell's next version.
pub(crate) struct Write<'a> {
    cell: &'a Cell,
    pen: MutexGuard<'a, Pen>,
    version: u64,
}

impl Cell {
    pub(crate) fn new(present: bool) -> Self {
        let pen = Mutex::new(Pen { present, in_doubt: false, becomes: Becomes::Kept, began: 0 });
        let (acked_by, arrived) = Default::default();
        Self {
            pen,
            begun: 0.into(),
            acked: 0.into(),
            acked_by,
            arrived,
            gone: 0.into(),
            acked_at: 0.into(),
            how: Mutex::default(),
        }
    }

    /// The pen, unless somebody else has it, or it was lost.
    pub(crate) fn take_pen(&self) -> Option<Write<'_>> {
        let pen = self.pen.try_lock()?;
        let version = self.begun.load(Ordering::SeqCst) + 2;
        (!pen.in_doubt).then_some(Write { cell: self, pen, version })
    }

    /// No write that began before `then` can be carried out any more: where it makes no difference whether one was, the
    /// cell may be written again.
    pub(crate) fn settle(&self, then: u64) {
        let Some(mut pen) = self.pen.try_lock() else { return };
        let either_way = pen.present && pen.becomes != Becomes::Gone;
        if pen.in_doubt && pen.began < then && either_way {
            pen.in_doubt = false;
        }
    }

    /// What a read that begins now must reflect.
    pub(crate) fn floor(&self, promise: Promise) -> u64 {
        match promise {
            Promise::All => self.acked.load(Ordering::SeqCst),
            Promise::OwnAndArrived(process) => {
                let own = self.acked_by[process].load(Ordering::SeqCst);
                own.max(self.arrived[process].load(Ordering::SeqCst))
            }
        }
    }

    /// All versions up to this one have arrived at a process.
    pub(crate) fn has_arrived(&self, process: usize, version: u64) {
        self.arrived[process].fetch_max(version, Ordering::SeqCst);
    }

    /// How it was written last, or is being written, for who must explain a verdict.
    pub(crate) fn last_write(&self) -> &'static [&'static str] {
        *self.how.lock()
    }

    /// When its last version was acknowledged, in microseconds of the caller's clock.
    pub(crate) fn acked_at(&self) -> u64 {
        self.acked_at.load(Ordering::Relaxed)
    }
}

impl Write<'_> {
    /// Whether there is a row now.
    pub(crate) fn present(&self) -> bool {
        self.pen.present
    }

    /// The version that is written.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// The write is on its way: from now on the version may be seen.
    pub(crate) fn begin(&mut self, becomes: Becomes, how: &'static [&'static str], now: u64) {
        *self.cell.how.lock() = how;
        self.pen.becomes = becomes;
        self.pen.began = now;
        self.pen.in_doubt = true;
        if becomes != Becomes::Undone {
            self.cell.begun.store(self.version, Ordering::SeqCst);
        }
        if becomes == Becomes::Gone {
            self.cell.gone.store(self.version, Ordering::SeqCst);
        }
    }

    /// The write was acknowledged by a process: from now on nobody may see less.
    pub(crate) fn acknowledge(&mut self, becomes: Becomes, now: u64, process: usize) {
        self.pen.in_doubt = false;
        self.cell.acked_at.store(now, Ordering::Relaxed);
        if becomes != Becomes::Undone {
            self.pen.present = becomes == Becomes::Kept;
            self.cell.acked_by[process].store(self.version, Ordering::SeqCst);
            self.cell.acked.store(self.version, Ordering::SeqCst);
        }
    }

    /// The write certainly did not happen.
    pub(crate) fn did_not_happen(&mut self) {
        self.pen.in_doubt = false;
    }
}

/// What a connection has seen of each row: by cell, and by the table that shows it.
pub(crate) type Memory = HashMap<(usize, u8), u64>;

/// Something that must not be.
#[derive(Debug)]
pub(crate) enum Breach {
    /// Older than what was acknowledged before the read began.
    Stale { floor: u64, seen: Option<u64> },
    /// Older than what this session had seen.
    BackInTime { before: u64, seen: Option<u64> },
    /// A version that was taken back, or never written.
    NeverWritten { seen: u64, begun: u64 },
    /// Two rows that are written together are different in one statement.
    Torn { one: Option<i64>, other: Option<i64> },
    /// What had to be there is not.
    Missing(String),
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |version: &Option<u64>| {
            version.map_or("no row".to_owned(), |version| format!("version {version}"))
        };
        match self {
            Breach::Stale { floor, seen } => {
                write!(f, "STALE: {}, though {floor} was acknowledged", row(seen))
            }
            Breach::BackInTime { before, seen } => {
                write!(f, "BACK IN TIME: {}, after the session had seen {before}", row(seen))
            }
            Breach::NeverWritten { seen, begun } => {
                write!(f, "NEVER WRITTEN: version {seen}; the highest that was begun is {begun}")
            }
            Breach::Torn { one, other } => write!(f, "TORN: {one:?} and {other:?} in one statement"),
            Breach::Missing(error) => write!(f, "MISSING: {error}"),
        }
    }
}

/// Judges one row: `floor` is the cell's [`Cell::floor`] from before the read was sent.
pub(crate) fn judge(
    cell: &Cell,
    floor: u64,
    seen: Option<i64>,
    memory: &mut Memory,
    place: (usize, u8),
) -> Option<Breach> {
    let before = memory.get(&place).copied().unwrap_or(0);
    let gone = cell.gone.load(Ordering::SeqCst);
    let Some(seen) = seen.map(|seen| u64::try_from(seen).unwrap_or(u64::MAX)) else {
        // It may be gone by any version that takes it away, or by being not there yet.
        return match () {
            () if gone < floor => Some(Breach::Stale { floor, seen: None }),
            () if gone < before => Some(Breach::BackInTime { before, seen: None }),
            () => None,
        };
    };
    let begun = cell.begun.load(Ordering::SeqCst);
    if seen > begun || !seen.is_multiple_of(2) {
        return Some(Breach::NeverWritten { seen, begun });
    }
    if seen < floor {
        return Some(Breach::Stale { floor, seen: Some(seen) });
    }
    if seen < before {
        return Some(Breach::BackInTime { before, seen: Some(seen) });
    }
    memory.insert(place, seen);
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(cell: &Cell, becomes: Becomes, acknowledged: bool) {
        let mut write = cell.take_pen().unwrap();
        write.begin(becomes, &[], 1);
        if acknowledged {
            write.acknowledge(becomes, 0, 0);
        } else {
            write.did_not_happen();
        }
    }

    fn breach(cell: &Cell, seen: Option<i64>, memory: &mut Memory) -> Option<Breach> {
        judge(cell, cell.floor(Promise::All), seen, memory, (0, 0))
    }

    #[test]
    fn what_was_acknowledged_must_be_seen_and_what_is_under_way_may_be() {
        let cell = Cell::new(true);
        let nobody = &mut Memory::new();
        write(&cell, Becomes::Kept, true);
        assert!(matches!(breach(&cell, Some(0), nobody), Some(Breach::Stale { floor: 2, seen: Some(0) })));
        assert!(matches!(breach(&cell, None, nobody), Some(Breach::Stale { floor: 2, seen: None })));
        assert!(breach(&cell, Some(2), nobody).is_none());
        assert!(matches!(breach(&cell, Some(4), nobody), Some(Breach::NeverWritten { .. })));
        write(&cell, Becomes::Kept, false);
        assert!(breach(&cell, Some(4), &mut Memory::new()).is_none());
        assert!(breach(&cell, Some(2), &mut Memory::new()).is_none());
    }

    #[test]
    fn what_another_process_told_must_be_seen_once_it_has_arrived() {
        let cell = Cell::new(true);
        write(&cell, Becomes::Kept, true);
        let stale = |process: usize| {
            let floor = cell.floor(Promise::OwnAndArrived(process));
            judge(&cell, floor, Some(0), &mut Memory::new(), (0, 0)).is_some()
        };
        assert!(stale(0), "its own");
        assert!(!stale(1), "another's");
        cell.has_arrived(1, 2);
        assert!(stale(1), "another's that has arrived");
    }

    #[test]
    fn a_session_does_not_go_back_in_time() {
        let cell = Cell::new(true);
        let memory = &mut Memory::new();
        write(&cell, Becomes::Kept, false);
        assert!(breach(&cell, Some(2), memory).is_none());
        assert!(matches!(breach(&cell, Some(0), memory), Some(Breach::BackInTime { before: 2, .. })));
        assert!(matches!(breach(&cell, None, memory), Some(Breach::BackInTime { before: 2, .. })));
    }

    #[test]
    fn a_row_that_was_taken_away_may_be_missing_and_one_that_came_back_may_not() {
        let cell = Cell::new(true);
        let nobody = &mut Memory::new();
        write(&cell, Becomes::Gone, true);
        assert!(breach(&cell, None, nobody).is_none());
        assert!(matches!(breach(&cell, Some(0), nobody), Some(Breach::Stale { .. })));
        write(&cell, Becomes::Kept, true);
        assert!(matches!(breach(&cell, None, nobody), Some(Breach::Stale { floor: 4, seen: None })));
    }

    #[test]
    fn what_was_taken_back_is_never_seen_and_what_is_in_doubt_is_not_written_again() {
        let cell = Cell::new(true);
        write(&cell, Becomes::Undone, true);
        assert!(matches!(breach(&cell, Some(3), &mut Memory::new()), Some(Breach::NeverWritten { .. })));
        let mut lost = cell.take_pen().unwrap();
        lost.begin(Becomes::Kept, &[], 1);
        drop(lost);
        cell.settle(1);
        assert!(cell.take_pen().is_none());
        cell.settle(2);
        assert_eq!(cell.take_pen().unwrap().version(), 4);
    }
}
