//! Idle connections of one server, and the right to open further ones. One place changes what a
//! connection is: leased, idle or closed. Must not know what a connection is used for.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use clonelove_wire::Caps;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::conn::BackendConn;

/// Connections that are interchangeable after a reset.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) user: Arc<str>,
    /// Capabilities that change bytes on the wire, or what the server accepts.
    pub(crate) caps: Caps,
    /// Grows with every reload: a changed password leaves old connections behind.
    pub(crate) generation: u64,
}

/// The pool of one server.
pub(crate) struct Pool {
    idle: Mutex<HashMap<Key, VecDeque<Idle>>>,
    slots: Mutex<Arc<Semaphore>>,
    limit: AtomicUsize,
    waiting: AtomicUsize,
    leased: AtomicU64,
}

struct Idle {
    conn: BackendConn,
    since: Instant,
}

/// What was to be had.
pub(crate) enum Lease {
    /// A connection that served somebody else before.
    Idle(Box<BackendConn>),
    /// The right to open one.
    Slot(OwnedSemaphorePermit),
}

/// Nothing became free in time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueTimeout {
    pub(crate) limit: usize,
}

impl Pool {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            idle: Mutex::default(),
            slots: Mutex::new(Arc::new(Semaphore::new(limit))),
            limit: AtomicUsize::new(limit),
            waiting: AtomicUsize::new(0),
            leased: AtomicU64::new(0),
        }
    }

    /// A connection, or the right to open one; first come, first served until `deadline`.
    pub(crate) async fn lease(&self, key: &Key, deadline: Instant) -> Result<Lease, QueueTimeout> {
        if let Some(conn) = self.take_idle(key) {
            return Ok(Lease::Idle(Box::new(conn)));
        }
        let slots = Arc::clone(&self.slots.lock());
        if let Ok(slot) = Arc::clone(&slots).try_acquire_owned() {
            return Ok(Lease::Slot(slot));
        }
        self.close_one_idle();
        let waiting = Waiting::new(&self.waiting);
        let slot = timeout_at(deadline, slots.acquire_owned()).await;
        drop(waiting);
        match slot {
            Ok(Ok(slot)) => Ok(Lease::Slot(slot)),
            _ => Err(QueueTimeout { limit: self.limit.load(Ordering::Relaxed) }),
        }
    }

    fn take_idle(&self, key: &Key) -> Option<BackendConn> {
        loop {
            let mut conn = self.idle.lock().get_mut(key)?.pop_back()?.conn;
            if conn.is_fit() {
                return Some(conn);
            }
        }
    }

    /// Connections of other users must not stand in the way of one that is wanted.
    fn close_one_idle(&self) {
        let oldest = {
            let mut idle = self.idle.lock();
            let key = idle
                .iter()
                .filter_map(|(key, list)| list.front().map(|first| (first.since, key.clone())))
                .min_by_key(|(since, _)| *since);
            key.and_then(|(_, key)| idle.get_mut(&key).and_then(VecDeque::pop_front))
        };
        drop(oldest);
    }

    /// Takes a connection back. One that somebody waits for the slot of is closed.
    pub(crate) fn give_back(&self, key: Key, mut conn: BackendConn, max_idle: usize, max_age: Duration) {
        let now = Instant::now();
        let worn = now.duration_since(conn.born) > max_age;
        if worn || self.waiting.load(Ordering::Relaxed) > 0 || !conn.is_fit() {
            return;
        }
        conn.io.input = bytes::BytesMut::new();
        let mut idle = self.idle.lock();
        let list = idle.entry(key).or_default();
        if list.len() < max_idle {
            list.push_back(Idle { conn, since: now });
        }
    }

    /// Closes what has been idle for too long, or is fit no more.
    pub(crate) fn reap(&self, idle_timeout: Duration) {
        let now = Instant::now();
        let mut gone = Vec::new();
        {
            let mut idle = self.idle.lock();
            for list in idle.values_mut() {
                for mut one in std::mem::take(list) {
                    if now.duration_since(one.since) < idle_timeout && one.conn.is_fit() {
                        list.push_back(one);
                    } else {
                        gone.push(one);
                    }
                }
            }
            idle.retain(|_, list| !list.is_empty());
        }
        drop(gone);
    }

    /// Closes all that is idle.
    pub(crate) fn clear(&self) {
        let all = std::mem::take(&mut *self.idle.lock());
        drop(all);
    }

    /// A changed `max_connections`: those open now count against the old limit until they close.
    pub(crate) fn set_limit(&self, limit: usize) {
        if self.limit.swap(limit, Ordering::Relaxed) != limit {
            *self.slots.lock() = Arc::new(Semaphore::new(limit));
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts {
            idle: self.idle.lock().values().map(VecDeque::len).sum::<usize>() as u64,
            leased: self.leased.load(Ordering::Relaxed),
            waiting: self.waiting.load(Ordering::Relaxed) as u64,
            limit: self.limit.load(Ordering::Relaxed) as u64,
        }
    }

    pub(crate) fn leased(&self) -> &AtomicU64 {
        &self.leased
    }
}

/// How a pool stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counts {
    pub(crate) idle: u64,
    pub(crate) leased: u64,
    pub(crate) waiting: u64,
    pub(crate) limit: u64,
}

/// Counts a waiter for as long as it waits, whatever ends it.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
