//! What ends a session, or a server's life, from outside, and how those concerned learn of it. Owns flags and
//! wake-ups; must not know what a session does about them.
//!
//! A session looks at flags whenever its task is polled, and whoever sets one wakes that task: nothing is registered
//! for each wait, and sessions share no lock. Tasks that are no sessions wait for tokens.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};

use atomic_waker::AtomicWaker;
use tokio_util::sync::CancellationToken;

/// Why a session has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Why {
    /// Everything ends now.
    Stopped = 1,
    /// Somebody ended it by KILL.
    Killed = 2,
    /// It ends when its transaction does.
    Draining = 4,
}

/// One session's ending.
pub(crate) struct Ending {
    flags: AtomicU8,
    /// The tick at which it has waited for its client for too long.
    patience: AtomicU64,
    /// The ticks that are over.
    now: AtomicU64,
    task: AtomicWaker,
}

impl Ending {
    /// Of a session that begins at a tick, with what has been said to all before.
    pub(crate) fn new(said: u8, now: u64) -> Self {
        Self {
            flags: AtomicU8::new(said),
            patience: AtomicU64::new(u64::MAX),
            now: AtomicU64::new(now),
            task: AtomicWaker::new(),
        }
    }

    /// Tells the session.
    pub(crate) fn tell(&self, why: Why) {
        self.flags.fetch_or(why as u8, Ordering::Release);
        self.task.wake();
    }

    /// Lets the session look at what it waits for.
    pub(crate) fn wake(&self) {
        self.task.wake();
    }

    /// Whether the session was told so.
    pub(crate) fn is(&self, why: Why) -> bool {
        self.flags.load(Ordering::Acquire) & why as u8 != 0
    }

    /// A wait for the client begins, of so many ticks at most; the one that is under way does not count.
    pub(crate) fn begin_wait(&self, ticks: u64) {
        let until = self.now.load(Ordering::Relaxed).saturating_add(ticks).saturating_add(1);
        self.patience.store(until, Ordering::Relaxed);
    }

    /// It is over.
    pub(crate) fn end_wait(&self) {
        self.patience.store(u64::MAX, Ordering::Relaxed);
    }

    /// Whether it has taken too long.
    pub(crate) fn is_too_long(&self) -> bool {
        self.now.load(Ordering::Relaxed) > self.patience.load(Ordering::Relaxed)
    }

    /// A tick is over.
    pub(crate) fn tick(&self, now: u64) {
        self.now.store(now, Ordering::Relaxed);
        if self.is_too_long() {
            self.task.wake();
        }
    }

    /// Runs all of the session's task, unless everything ends before: from here on it can be told.
    pub(crate) async fn attend<F: Future>(&self, task: F) -> Option<F::Output> {
        let mut task = pin!(task);
        poll_fn(|context| {
            self.task.register(context.waker());
            self.poll_unless(Why::Stopped, task.as_mut(), context)
        })
        .await
    }

    /// Runs a part of it, unless it is told so before.
    pub(crate) async fn unless<F: Future>(&self, why: Why, part: F) -> Option<F::Output> {
        let mut part = pin!(part);
        poll_fn(|context| self.poll_unless(why, part.as_mut(), context)).await
    }

    fn poll_unless<F: Future>(
        &self,
        why: Why,
        part: std::pin::Pin<&mut F>,
        context: &mut Context<'_>,
    ) -> Poll<Option<F::Output>> {
        if self.is(why) { Poll::Ready(None) } else { part.poll(context).map(Some) }
    }
}

/// A server's life: it ends when the server is declared down, restarts, or changes its role.
#[derive(Clone, Debug, Default)]
pub(crate) struct Life(Arc<LifeState>);

#[derive(Debug, Default)]
struct LifeState {
    ended: AtomicBool,
    token: CancellationToken,
}

impl Life {
    /// Ends it. Sessions must be woken behind it.
    pub(crate) fn end(&self) {
        self.0.ended.store(true, Ordering::Release);
        self.0.token.cancel();
    }

    /// Whether it is over.
    pub(crate) fn is_over(&self) -> bool {
        self.0.ended.load(Ordering::Acquire)
    }

    /// Does something within it, in the task of a session, which is woken when a life ends.
    pub(crate) async fn within<F: Future>(&self, work: F) -> Option<F::Output> {
        let mut work = pin!(work);
        poll_fn(
            |context| {
                if self.is_over() { Poll::Ready(None) } else { work.as_mut().poll(context).map(Some) }
            },
        )
        .await
    }

    /// Does something within it, in any task.
    pub(crate) async fn run<F: Future>(&self, work: F) -> Option<F::Output> {
        self.0.token.run_until_cancelled(work).await
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::time::Duration;

    use tokio_util::task::TaskTracker;

    use super::*;

    fn ending() -> Arc<Ending> {
        Arc::new(Ending::new(0, 0))
    }

    #[tokio::test]
    async fn who_waits_for_ever_is_woken_by_what_ends_it() {
        for (why, ended) in [(Why::Stopped, None), (Why::Killed, Some(None))] {
            let ending = ending();
            let told = Arc::clone(&ending);
            let task = TaskTracker::new()
                .spawn(async move { ending.attend(ending.unless(Why::Killed, pending::<()>())).await });
            tokio::task::yield_now().await;
            told.tell(why);
            assert_eq!(task.await.unwrap(), ended);
        }
    }

    #[tokio::test]
    async fn a_session_is_woken_when_a_life_ends() {
        let (ending, life) = (ending(), Life::default());
        let (woken, lived) = (Arc::clone(&ending), life.clone());
        let task =
            TaskTracker::new().spawn(async move { ending.attend(lived.within(pending::<()>())).await });
        tokio::task::yield_now().await;
        life.end();
        woken.wake();
        assert_eq!(task.await.unwrap(), Some(None));
        assert!(life.is_over());
        assert_eq!(life.run(pending::<()>()).await, None);
    }

    #[tokio::test]
    async fn what_was_told_before_a_session_began_ends_it_too() {
        let ending = Ending::new(Why::Stopped as u8, 0);
        assert_eq!(ending.attend(pending::<()>()).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_is_too_long_after_its_ticks_and_never_before() {
        let ending = ending();
        ending.tick(5);
        assert!(!ending.is_too_long(), "nothing is waited for");
        ending.begin_wait(2);
        for (now, too_long) in [(6, false), (7, false), (8, false), (9, true)] {
            ending.tick(now);
            assert_eq!(ending.is_too_long(), too_long, "{now}");
        }
        ending.end_wait();
        assert!(!ending.is_too_long());
        let waited = tokio::time::timeout(Duration::from_secs(1), ending.attend(pending::<()>())).await;
        assert!(waited.is_err(), "nobody ended it");
    }
}
