//! The watermarks as all sessions share them: one lock, the statements under way, the tables that are in doubt, and who
//! asks the primary about them. Owns when the outside learns of a write; the rules are `clonelove_route::freshness`'s.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use clonelove_route::freshness::{Counts, Freshness as Marks, Kept, Need, Reads, Rules, Stamp, Writes};
use clonelove_route::position::Position;
use clonelove_sql::TableId;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;
use tokio::time::Instant;

/// XA transactions that are prepared and remembered; of the others' COMMIT, any table is written.
const MOST_XA: usize = 1_000;
/// Tables whose reads had to go to the primary, by name.
const MOST_SPILLS: usize = 1_000;
/// Of these, the first have metrics of their own.
const MOST_LABELS: usize = 20;

/// The watermarks of this process.
pub(crate) struct Freshness {
    marks: RwLock<Marks>,
    rules: Rules,
    /// The number of the next statement that may commit, and of the oldest under way: read without the lock.
    next_pending: AtomicU64,
    oldest_pending: AtomicU64,
    /// Grows with every [`Freshness::begin`]: what was sent before is not of this history.
    era: AtomicU64,
    started: Instant,
    /// Wakes whoever asks the primary about what is in doubt.
    doubtful: Notify,
    /// Woken whenever something is in doubt no more.
    settled: Notify,
    /// Woken whenever a statement under way has ended.
    ended: Notify,
    /// What XA transactions wrote that are prepared, by the text of their ids.
    xa: Mutex<HashMap<Vec<u8>, Writes>>,
    /// Reads on the primary at this moment that a fresh replica would have answered.
    spilled: AtomicI64,
    spills: Mutex<HashMap<String, (u64, bool)>>,
}

impl Freshness {
    pub(crate) fn new(limit: usize, rules: Rules) -> Arc<Self> {
        Arc::new(Self {
            marks: RwLock::new(Marks::new(limit, rules)),
            rules,
            next_pending: AtomicU64::new(1),
            oldest_pending: AtomicU64::new(1),
            era: AtomicU64::new(0),
            started: Instant::now(),
            doubtful: Notify::new(),
            settled: Notify::new(),
            ended: Notify::new(),
            xa: Mutex::default(),
            spilled: AtomicI64::new(0),
            spills: Mutex::default(),
        })
    }

    /// Whether a rule is in force: each is, but in tests that show what it is for.
    pub(crate) fn keeps(&self, rule: Rules) -> bool {
        self.rules.contains(rule)
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) fn set_limit(&self, limit: usize) {
        self.marks.write().set_limit(limit);
    }

    /// An epoch begins with the primary at this position; `None`: its writes have none. `former` is where the same
    /// primary was before.
    pub(crate) fn begin(&self, primary: Option<&Position>, former: Option<&Position>) {
        let mut marks = self.marks.write();
        match primary {
            Some(now) if former.is_some_and(|former| !now.covers(former)) => {
                self.begin_anew(&mut marks, now);
            }
            _ => {
                self.begin_era();
                marks.begin(primary, self.now());
            }
        }
    }

    fn begin_anew(&self, marks: &mut Marks, primary: &Position) {
        self.begin_era();
        marks.begin_anew(primary, self.now());
    }

    fn begin_era(&self) {
        self.era.fetch_add(1, Ordering::AcqRel);
        self.xa.lock().clear();
    }

    /// Whether an epoch has begun.
    pub(crate) fn has_begun(&self) -> bool {
        self.era() > 0
    }

    /// The history that positions told from now on belong to.
    pub(crate) fn era(&self) -> u64 {
        self.era.load(Ordering::Acquire)
    }

    /// Whether the primary's writes have positions.
    pub(crate) fn promises(&self) -> bool {
        self.marks.read().promises()
    }

    /// What a server is known to have executed; `None`: that is not known any more.
    pub(crate) fn applied(&self, server: usize, position: Option<&Position>) {
        self.marks.write().applied(server, position);
    }

    /// A server has told how far it is, just now.
    pub(crate) fn told(&self, server: usize) {
        self.marks.write().told(server, self.now());
    }

    /// Those of the servers that may have a stamp within so short a time.
    pub(crate) fn soon(&self, servers: &[usize], stamp: Stamp, within: Duration) -> Vec<usize> {
        let (marks, now) = (self.marks.read(), self.now());
        servers.iter().copied().filter(|server| marks.may_have_soon(*server, stamp, within, now)).collect()
    }

    /// What a read needs of the server that answers it; `observed`: see [`Freshness::observed`].
    pub(crate) fn need(&self, reads: &Reads<'_>, observed: u64) -> Need {
        // Nothing that the session may have seen is still under way.
        let observed = if observed <= self.oldest_pending.load(Ordering::Acquire) { 0 } else { observed };
        self.marks.read().need(reads, observed)
    }

    /// Whether a session that may have seen the pending writes below `observed` would read of one of them.
    pub(crate) fn sees_pending(&self, reads: &Reads<'_>, observed: u64) -> bool {
        observed > self.oldest_pending.load(Ordering::Acquire)
            && self.marks.read().sees_pending(reads, observed)
    }

    /// Which servers have a stamp.
    pub(crate) fn has(&self, server: usize, stamp: Stamp) -> bool {
        self.marks.read().has(server, stamp)
    }

    /// Whether the bounds of single rows could lower what a read of this table needs.
    pub(crate) fn has_keys(&self, table: TableId) -> bool {
        self.marks.read().has_keys(table)
    }

    /// A server answered just now: what is under way below this number may have been seen in the answer.
    pub(crate) fn observed(&self) -> u64 {
        self.next_pending.load(Ordering::Acquire)
    }

    /// A statement that may commit is about to be sent.
    pub(crate) fn pending(self: &Arc<Self>, writes: Writes) -> Pending {
        let mut marks = self.marks.write();
        let id = marks.begin_pending(writes.clone());
        self.show_pending(&marks);
        let (era, sent) = (self.era(), marks.last());
        drop(marks);
        Pending { freshness: Arc::clone(self), era, sent, id, writes, settled: false }
    }

    fn show_pending(&self, marks: &Marks) {
        self.oldest_pending.store(marks.oldest_pending(), Ordering::Release);
        self.next_pending.store(marks.next_pending(), Ordering::Release);
    }

    /// A write that became known otherwise than by the reply to a statement of ours.
    pub(crate) fn raise(&self, writes: &Writes, position: &Position, era: u64) {
        self.raise_since(writes, position, (era, None));
    }

    /// The same of one that the primary's binary log has told of.
    pub(crate) fn raise_logged(&self, writes: &Writes, position: &Position, era: u64) {
        let mut marks = self.marks.write();
        if era == self.era() {
            marks.raise_logged(writes, position, self.now());
        } else {
            marks.doubt(writes.clone());
            self.doubtful.notify_one();
        }
    }

    /// `sent` is the last write that was known before the statement was sent, where it was one of ours.
    fn raise_since(&self, writes: &Writes, position: &Position, (era, sent): (u64, Option<Stamp>)) {
        let mut marks = self.marks.write();
        if era == self.era() && !sent.is_some_and(|sent| suspicious(&mut marks, position, sent)) {
            marks.raise(writes, position, self.now());
        } else {
            marks.doubt(writes.clone());
            self.doubtful.notify_one();
        }
    }

    /// The primary was seen at a position.
    pub(crate) fn reached(&self, position: &Position) -> Stamp {
        self.marks.write().reached(position, self.now())
    }

    /// The position that a server must reach to come nearer to a stamp.
    pub(crate) fn position_towards(&self, server: usize, stamp: Stamp) -> Option<Position> {
        self.marks.read().position_towards(server, stamp).cloned()
    }

    /// How long ago the oldest write that a server lacks became known.
    pub(crate) fn lag(&self, server: usize) -> Option<Duration> {
        self.marks.read().lag(server, self.now())
    }

    /// Forgets what all servers that serve reads have.
    pub(crate) fn forget(&self, serving: impl Iterator<Item = usize>) {
        self.marks.write().forget(serving);
    }

    pub(crate) fn counts(&self) -> Counts {
        self.marks.read().counts()
    }

    /// Tables whose reads stay on the primary, because they were written past the binary log.
    pub(crate) fn unlogged(&self) -> Vec<TableId> {
        self.marks.read().unlogged_tables().collect()
    }

    /// Waits until the primary was asked about what is in doubt, but not for long.
    pub(crate) async fn settled(&self, within: Duration) {
        let mut settled = std::pin::pin!(self.settled.notified());
        settled.as_mut().enable();
        if self.marks.read().is_in_doubt() {
            let _ = tokio::time::timeout(within, settled).await;
        }
    }

    /// Waits until nothing that is numbered below `upto` and writes what is read is under way any more, but not for long.
    pub(crate) async fn outlasted(&self, reads: &Reads<'_>, upto: u64, within: Duration) {
        let over = async {
            loop {
                let mut ended = std::pin::pin!(self.ended.notified());
                ended.as_mut().enable();
                if !self.sees_pending(reads, upto) {
                    return;
                }
                ended.await;
            }
        };
        let _ = tokio::time::timeout(within, over).await;
    }

    /// Asks the primary for its position whenever something is in doubt, for ever.
    pub(crate) async fn settle_doubts<F>(self: Arc<Self>, ask: impl Fn() -> F)
    where
        F: Future<Output = Option<Position>>,
    {
        loop {
            let (asks, era) = {
                let marks = self.marks.read();
                (marks.is_in_doubt().then(|| (marks.doubts_upto(), marks.must_have())), self.era())
            };
            let Some((upto, must_have)) = asks else {
                self.doubtful.notified().await;
                continue;
            };
            if let Some(position) = ask().await {
                let mut marks = self.marks.write();
                if self.era() == era {
                    if must_have.is_some_and(|must_have| !position.covers(&must_have)) {
                        tracing::warn!("the primary's log began anew: what replicas have says nothing of it");
                        self.begin_anew(&mut marks, &position);
                    } else {
                        marks.settle_doubts(upto, &position, self.now());
                    }
                }
                drop(marks);
                self.settled.notify_waiters();
            } else {
                tokio::time::sleep(ASK_AGAIN).await;
            }
        }
    }

    /// An XA transaction is prepared: what it wrote becomes visible when it is committed, by whomever.
    pub(crate) fn xa_prepared(&self, xid: Vec<u8>, writes: Writes) {
        let mut xa = self.xa.lock();
        if xa.len() < MOST_XA {
            xa.insert(xid, writes);
        }
    }

    /// What a prepared XA transaction wrote; `None` when that is not known.
    pub(crate) fn xa_writes(&self, xid: &[u8]) -> Option<Writes> {
        self.xa.lock().get(xid).cloned()
    }

    pub(crate) fn xa_ended(&self, xid: &[u8]) {
        self.xa.lock().remove(xid);
    }

    /// Counts a read that goes to the primary for want of a fresh replica, unless there are `most` already.
    pub(crate) fn spill(self: &Arc<Self>, most: usize) -> Option<Spilled> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        if self.spilled.fetch_add(1, Ordering::AcqRel) >= most && most > 0 {
            self.spilled.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        Some(Spilled(Arc::clone(self)))
    }

    /// Counts it by the table that it was for. Whether that is one of those with a label of their own.
    pub(crate) fn count_spill(&self, table: &str) -> bool {
        let mut spills = self.spills.lock();
        let known = spills.len();
        match spills.get_mut(table) {
            Some((count, labelled)) => {
                *count = count.saturating_add(1);
                *labelled
            }
            None if known < MOST_SPILLS => {
                spills.insert(table.to_owned(), (1, known < MOST_LABELS));
                known < MOST_LABELS
            }
            None => false,
        }
    }

    /// Tables by the reads that they sent to the primary, the most first.
    pub(crate) fn spills(&self) -> Vec<(String, u64)> {
        let mut all: Vec<_> =
            self.spills.lock().iter().map(|(table, (reads, _))| (table.clone(), *reads)).collect();
        all.sort_by(|(a, x), (b, y)| y.cmp(x).then_with(|| a.cmp(b)));
        all
    }
}

/// A primary that did not tell its position is asked again after this.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// A statement that may commit, from before it is sent until what it wrote is known. Dropped without that, it leaves
/// its tables in doubt.
pub(crate) struct Pending {
    freshness: Arc<Freshness>,
    era: u64,
    /// The last write that was known before it was sent.
    sent: Stamp,
    id: u64,
    pub(crate) writes: Writes,
    settled: bool,
}

/// What a reply told of a statement that may have committed.
pub(crate) struct Told<'a> {
    /// The position of what it committed.
    pub(crate) position: Option<&'a Position>,
    /// It may have committed more than that, of which nothing was told.
    pub(crate) in_doubt: bool,
    /// It wrote, and no replica will ever hear of it.
    pub(crate) unlogged: bool,
}

impl Pending {
    /// Its reply has come. `more` is what else of its transaction became visible with it.
    pub(crate) fn settle(mut self, more: Option<&Writes>, told: &Told<'_>) {
        let mut writes = std::mem::take(&mut self.writes);
        if let Some(more) = more {
            writes.add(more);
        }
        self.conclude(&writes, told);
        self.settled = true;
    }

    /// Whether a rule is in force.
    pub(crate) fn keeps(&self, rule: Rules) -> bool {
        self.freshness.keeps(rule)
    }

    /// A part of its reply has come, and goes on to the client before the rest is there.
    pub(crate) fn raise(&self, position: &Position) {
        self.freshness.raise_since(&self.writes, position, (self.era, Some(self.sent)));
    }

    fn conclude(&self, writes: &Writes, told: &Told<'_>) {
        let freshness = &self.freshness;
        let mut marks = freshness.marks.write();
        let of_this_history = freshness.era() == self.era
            && !told.position.is_some_and(|position| suspicious(&mut marks, position, self.sent));
        let mut in_doubt = told.in_doubt || !of_this_history && told.position.is_some();
        if let Some(position) = told.position.filter(|_| of_this_history)
            && !writes.is_empty()
        {
            marks.raise(writes, position, freshness.now());
        }
        if told.unlogged {
            marks.unlogged(writes);
        }
        in_doubt &= !writes.is_empty() && marks.promises();
        if in_doubt {
            marks.doubt(writes.clone());
        }
        marks.end_pending(self.id);
        freshness.show_pending(&marks);
        let asks = marks.is_in_doubt();
        drop(marks);
        freshness.ended.notify_waiters();
        if asks {
            freshness.doubtful.notify_one();
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.settled {
            let writes = std::mem::take(&mut self.writes);
            let in_doubt = self.freshness.keeps(Rules::LOST_CONNECTION);
            self.conclude(&writes, &Told { position: None, in_doubt, unlogged: false });
        }
    }
}

/// Whether a position is none of a write that was sent after `sent` was known: nothing is trusted then until the primary
/// was asked.
fn suspicious(marks: &mut Marks, position: &Position, sent: Stamp) -> bool {
    let suspicious = marks.was_known(position, sent);
    if suspicious {
        marks.suspect();
    }
    suspicious
}

/// A read on the primary that a fresh replica would have answered, for as long as it lasts.
pub(crate) struct Spilled(Arc<Freshness>);

impl Drop for Spilled {
    fn drop(&mut self) {
        self.0.spilled.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Why a read went to the primary, for people.
pub(crate) fn why_kept(kept: Kept) -> &'static str {
    match kept {
        Kept::NoFloor => "the primary's position is not known",
        Kept::InDoubt => "it was written, and the position of that is not known yet",
        Kept::Pending => "it is being written, and this session may have seen that",
        Kept::Unlogged => "it was written past the binary log",
    }
}
