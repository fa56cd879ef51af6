//! Idle connections of one server, the right to open further ones, and the queue of those who wait for
//! either. One place changes what a connection is: leased, idle or closed. Must not know what a connection
//! is used for, beyond whether for a read.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use clonelove_route::unhashed::Unhashed;
use clonelove_wire::Caps;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

mod tally;

pub(crate) use tally::TALLIED;
use tally::Tally;

/// Connections that are interchangeable after a reset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) user: Arc<str>,
    /// Of the accounts of this name the one that let the client in, where accounts are the primary's.
    pub(crate) account: Option<Arc<str>>,
    /// Where the clients are that share it, where servers are told.
    pub(crate) from: Option<IpAddr>,
    /// Capabilities that change bytes on the wire, or what the server accepts.
    pub(crate) caps: Caps,
    /// Grows with every reload: a changed password leaves old connections behind. And how often rights had been
    /// changed when the client came: a connection has those of its beginning. From [`Key::ALONE`] on: one client's alone.
    pub(crate) generation: (u64, u64),
    /// The hash of all this, made once.
    hash: u64,
}

impl Key {
    /// To this the number of a client is added that shares connections with nobody.
    pub(crate) const ALONE: u64 = 1 << 63;

    pub(crate) fn new(
        user: Arc<str>,
        (account, from): (Option<Arc<str>>, Option<IpAddr>),
        caps: Caps,
        generation: (u64, u64),
    ) -> Self {
        let mut hasher = DefaultHasher::new();
        (&user, &account, from, caps, generation).hash(&mut hasher);
        Self { user, account, from, caps, generation, hash: hasher.finish() }
    }

    /// Nobody wants its connections again.
    fn is_alone(&self) -> bool {
        self.generation.1 >= Self::ALONE
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// What a connection is wanted for, as far as the reserve goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// A read, which leaves the reserve alone.
    Read,
    /// Anything else.
    Write,
}

impl Class {
    const ALL: [Self; 2] = [Self::Read, Self::Write];
}

/// What a pool asks of its connections.
pub(crate) trait Pooled {
    /// Whether it can still be used, as far as can be told without a round trip.
    fn is_fit(&mut self) -> bool;
    /// A number that connections in equal states share.
    fn state(&self) -> u64;
    /// Where it is best used.
    fn home(&self) -> usize;
    /// When it was opened.
    fn born(&self) -> Instant;
    /// When it is too old to be kept.
    fn worn_at(&self) -> Instant;
    /// A number that is another with each.
    fn seed(&self) -> u32;
    /// It is at rest, and about to be closed: takes leave of the other side.
    fn part(&mut self);
}

/// The pool of one server.
pub(crate) struct Pool<C: Pooled>(Arc<Mutex<State<C>>>);

struct State<C: Pooled> {
    idle: HashMap<Arc<Key>, OfKey<C>, BuildHasherDefault<Unhashed>>,
    /// Connections that exist or are being opened.
    open: usize,
    limit: usize,
    /// How many of them reads leave to others.
    reserve: usize,
    leased: usize,
    reading: usize,
    waiting: Waiting<C>,
    /// Connections from before are not taken back.
    cleared: Instant,
}

/// What there is of one key.
struct OfKey<C> {
    idle: Vec<Idle<C>>,
    wanted: Tally,
    /// One was wanted since the pool was last gone through.
    asked: bool,
    /// When one was last wanted, as of then.
    of_use: Instant,
}

impl<C> OfKey<C> {
    fn new() -> Self {
        Self { idle: Vec::new(), wanted: Tally::default(), asked: false, of_use: Instant::now() }
    }
}

/// A connection and what is asked of it before it is chosen: many are looked at, and each is somewhere else in memory.
struct Idle<C> {
    conn: C,
    state: u64,
    home: usize,
    since: Instant,
}

impl<C: Pooled> Idle<C> {
    fn new(conn: C, since: Instant) -> Self {
        Self { state: conn.state(), home: conn.home(), conn, since }
    }
}

/// Those who wait, by class, each class in the order in which they came: who is served next is known without a search,
/// however many wait.
struct Waiting<C: Pooled> {
    reads: VecDeque<Waiter<C>>,
    writes: VecDeque<Waiter<C>>,
    /// Of the next who comes.
    number: u64,
}

struct Waiter<C: Pooled> {
    key: Arc<Key>,
    wanted: (u64, usize),
    /// Grows with each who comes.
    number: u64,
    answer: oneshot::Sender<(Lease<C>, Leasing<C>)>,
}

impl<C: Pooled> Waiting<C> {
    fn of(&mut self, class: Class) -> &mut VecDeque<Waiter<C>> {
        match class {
            Class::Read => &mut self.reads,
            Class::Write => &mut self.writes,
        }
    }

    fn all(&self) -> impl Iterator<Item = &Waiter<C>> {
        self.writes.iter().chain(&self.reads)
    }

    /// Who came first of a class and still waits.
    fn first(&mut self, class: Class) -> Option<&Waiter<C>> {
        let queue = self.of(class);
        while queue.pop_front_if(|waiter| waiter.answer.is_closed()).is_some() {}
        queue.front()
    }
}

/// So many idle connections are looked at, those used last, for one at home.
const LOOKED_AT: usize = 8;

/// What was to be had.
pub(crate) enum Lease<C: Pooled> {
    /// A connection that served somebody else before.
    Idle(C),
    /// The right to open one.
    Slot(Slot<C>),
}

/// Nothing became free in time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueTimeout {
    pub(crate) limit: usize,
}

/// The right to have a connection; held for as long as the connection is.
pub(crate) struct Slot<C: Pooled>(Arc<Mutex<State<C>>>);

impl<C: Pooled> Drop for Slot<C> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.open = state.open.saturating_sub(1);
        serve(&self.0, state);
    }
}

/// Counts a lease for as long as it lasts.
pub(crate) struct Leasing<C: Pooled> {
    pool: Arc<Mutex<State<C>>>,
    class: Class,
}

impl<C: Pooled> Drop for Leasing<C> {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        state.uncount(self.class);
        serve(&self.pool, state);
    }
}

/// What must be dropped, but not under the lock that its drop takes.
struct Debris<C: Pooled> {
    conns: Vec<C>,
    undelivered: Vec<(Option<Slot<C>>, Leasing<C>)>,
}

impl<C: Pooled> Drop for Debris<C> {
    fn drop(&mut self) {
        self.conns.iter_mut().for_each(Pooled::part);
    }
}

impl<C: Pooled> Debris<C> {
    fn none() -> Self {
        Self { conns: Vec::new(), undelivered: Vec::new() }
    }

    fn is_none(&self) -> bool {
        self.conns.is_empty() && self.undelivered.is_empty()
    }
}

impl<C: Pooled> Pool<C> {
    pub(crate) fn new(limit: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            idle: HashMap::default(),
            open: 0,
            limit,
            reserve: 0,
            leased: 0,
            reading: 0,
            waiting: Waiting { reads: VecDeque::new(), writes: VecDeque::new(), number: 0 },
            cleared: Instant::now(),
        })))
    }

    /// A connection, in the state and at the home `wanted` if there is one, or the right to open one; first come,
    /// first served for as long as `within`. `since` is when the wait began, if there has been one.
    pub(crate) async fn lease(
        &self,
        key: &Arc<Key>,
        wanted: (u64, usize),
        class: Class,
        (within, since): (Duration, &mut Option<Instant>),
    ) -> Result<(Lease<C>, Leasing<C>), QueueTimeout> {
        let mut debris = Debris::none();
        let (wait, limit) = {
            let mut state = self.0.lock();
            state.note(key, wanted.0);
            if state.next().is_none()
                && state.admits(class)
                && let Some(found) = state.find(&self.0, key, wanted, &mut debris)
            {
                state.count(class);
                drop(state);
                return Ok((found, Leasing { pool: Arc::clone(&self.0), class }));
            }
            let (answer, wait) = oneshot::channel();
            state.waiting.number = state.waiting.number.wrapping_add(1);
            let number = state.waiting.number;
            let waiter = Waiter { key: Arc::clone(key), wanted, number, answer };
            state.waiting.of(class).push_back(waiter);
            (wait, state.limit)
        };
        // The place of one that had to go is for the first who waits.
        drop(debris);
        let since = *since.get_or_insert_with(Instant::now);
        match timeout_at(since + within, wait).await {
            Ok(Ok(lease)) => Ok(lease),
            _ => Err(QueueTimeout { limit }),
        }
    }

    /// The right to open one more for an idle reserve of `most`, if nobody is in need of it.
    pub(crate) fn spare(&self, key: &Key, most: usize) -> Option<Slot<C>> {
        let mut state = self.0.lock();
        let idle = state.idle.get(key).map_or(0, |all| all.idle.len());
        let room = state.open < state.limit.saturating_sub(state.reserve);
        let waited_for = Class::ALL.iter().any(|class| state.waiting.first(*class).is_some());
        if waited_for || idle >= most || !room {
            return None;
        }
        state.open = state.open.saturating_add(1);
        Some(Slot(Arc::clone(&self.0)))
    }

    /// Each key of which one was wanted within that time, and the state in which it was wanted most often.
    pub(crate) fn wanted(&self, within: Duration) -> Vec<(Arc<Key>, Option<u64>)> {
        let now = Instant::now();
        let state = self.0.lock();
        let lately = state.idle.iter().filter(|(_, all)| now.duration_since(all.of_use) < within);
        lately.map(|(key, all)| (Arc::clone(key), all.wanted.most())).collect()
    }

    /// The state in which one of this key was wanted most often.
    pub(crate) fn most_wanted(&self, key: &Key) -> Option<u64> {
        self.0.lock().idle.get(key)?.wanted.most()
    }

    /// One that has been idle for as long as `rest` in another state, if fewer than `least` are idle in this one.
    pub(crate) fn astray(
        &self,
        key: &Key,
        wanted: u64,
        (least, rest): (usize, Duration),
    ) -> Option<(C, Leasing<C>)> {
        let now = Instant::now();
        let mut state = self.0.lock();
        let list = &mut state.idle.get_mut(key)?.idle;
        if list.iter().filter(|one| one.state == wanted).count() >= least {
            return None;
        }
        let astray = |one: &Idle<C>| one.state != wanted && now.duration_since(one.since) >= rest;
        let conn = list.swap_remove(list.iter().position(astray)?).conn;
        state.count(Class::Read);
        drop(state);
        Some((conn, Leasing { pool: Arc::clone(&self.0), class: Class::Read }))
    }

    /// Takes a connection back, or hands it to the first who waits.
    pub(crate) fn give_back(
        &self,
        key: &Arc<Key>,
        (conn, leasing): (C, Leasing<C>),
        max_idle: usize,
        now: Instant,
    ) {
        let surplus = self.keep(key, conn, max_idle, now);
        drop(leasing);
        close(surplus);
    }

    /// Puts a connection that nobody leased among the idle ones.
    pub(crate) fn add(&self, key: &Arc<Key>, conn: C, max_idle: usize) {
        let surplus = self.keep(key, conn, max_idle, Instant::now());
        serve(&self.0, self.0.lock());
        close(surplus);
    }

    fn keep(&self, key: &Arc<Key>, mut conn: C, max_idle: usize, now: Instant) -> Option<C> {
        if conn.worn_at() <= now || !conn.is_fit() || key.is_alone() {
            return Some(conn);
        }
        let mut state = self.0.lock();
        if conn.born() < state.cleared || state.open > state.limit {
            return Some(conn);
        }
        let waited_for = state.waiting.all().any(|waiter| waiter.key == *key);
        let idle = state.idle.get(key).map_or(0, |all| all.idle.len());
        if idle >= max_idle && !waited_for {
            return Some(conn);
        }
        state.of(key).idle.push(Idle::new(conn, now));
        None
    }

    /// Closes what has been idle for too long, or is fit no more; of each key `min_idle` may stay until they
    /// are worn.
    pub(crate) fn reap(&self, idle_timeout: Duration, min_idle: usize) {
        let now = Instant::now();
        let mut gone = Vec::new();
        {
            let mut state = self.0.lock();
            for all in state.idle.values_mut() {
                if std::mem::take(&mut all.asked) {
                    all.of_use = now;
                }
                let mut left = all.idle.len();
                for mut one in std::mem::take(&mut all.idle) {
                    let time = jittered(idle_timeout, one.conn.seed());
                    let fresh = now.duration_since(one.since) < time || left <= min_idle;
                    if fresh && one.conn.worn_at() > now && one.conn.is_fit() {
                        all.idle.push(one);
                    } else {
                        left = left.saturating_sub(1);
                        gone.push(one.conn);
                    }
                }
            }
            let of_use = |all: &OfKey<C>| now.duration_since(all.of_use) < idle_timeout;
            state.idle.retain(|_, all| !all.idle.is_empty() || of_use(all));
        }
        close(gone);
    }

    /// Closes all that is idle, and of the rest each as it comes back.
    pub(crate) fn clear(&self) {
        let all = {
            let mut state = self.0.lock();
            state.cleared = Instant::now();
            let lists = state.idle.values_mut().flat_map(|all| std::mem::take(&mut all.idle));
            lists.map(|one| one.conn).collect::<Vec<_>>()
        };
        close(all);
    }

    /// Changed limits; connections above them stay until they come back.
    pub(crate) fn set_limit(&self, limit: usize, reserve: usize) {
        let mut state = self.0.lock();
        let reserve = reserve.min(limit.saturating_sub(1));
        if (state.limit, state.reserve) != (limit, reserve) {
            state.limit = limit;
            state.reserve = reserve;
            serve(&self.0, state);
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        let state = self.0.lock();
        Counts {
            idle: state.idle.values().map(|all| all.idle.len()).sum::<usize>() as u64,
            leased: state.leased as u64,
            waiting: state.waiting.all().filter(|waiter| !waiter.answer.is_closed()).count() as u64,
            limit: state.limit as u64,
        }
    }
}

impl<C: Pooled> State<C> {
    fn of(&mut self, key: &Arc<Key>) -> &mut OfKey<C> {
        self.idle.entry(Arc::clone(key)).or_insert_with(OfKey::new)
    }

    /// Somebody wants one in this state. Where each client has a key of its own, or each address, there are many, and few
    /// come again.
    fn note(&mut self, key: &Arc<Key>, state: u64) {
        const MOST_KEYS: usize = 1_000;
        let full = self.idle.len() >= MOST_KEYS;
        let all = match self.idle.get_mut(key) {
            Some(all) => all,
            None if full || key.is_alone() => return,
            None => self.of(key),
        };
        all.asked = true;
        all.wanted.note(state);
    }

    /// Whether one more of this class may be leased.
    fn admits(&self, class: Class) -> bool {
        class == Class::Write || self.reading < self.limit.saturating_sub(self.reserve)
    }

    /// Of those who wait and may have one, the class of who came first.
    fn next(&mut self) -> Option<Class> {
        let fronts = Class::ALL.map(|class| {
            let admitted = self.admits(class);
            admitted.then(|| self.waiting.first(class).map(|waiter| (waiter.number, class))).flatten()
        });
        fronts.into_iter().flatten().min_by_key(|(number, _)| *number).map(|(_, class)| class)
    }

    fn count(&mut self, class: Class) {
        self.leased = self.leased.saturating_add(1);
        if class == Class::Read {
            self.reading = self.reading.saturating_add(1);
        }
    }

    fn uncount(&mut self, class: Class) {
        self.leased = self.leased.saturating_sub(1);
        if class == Class::Read {
            self.reading = self.reading.saturating_sub(1);
        }
    }

    /// An idle connection, or the right to open one. What turns out unfit, or has to go for the sake of
    /// this one, is left in `debris`.
    fn find(
        &mut self,
        pool: &Arc<Mutex<State<C>>>,
        key: &Arc<Key>,
        (state, home): (u64, usize),
        debris: &mut Debris<C>,
    ) -> Option<Lease<C>> {
        if let Some(list) = self.idle.get_mut(key).map(|all| &mut all.idle) {
            while !list.is_empty() {
                // Another state costs a round trip, another home only a registration, and a long search more than that.
                let first = list.len().saturating_sub(LOOKED_AT);
                let here = |one: &Idle<C>| one.home == home && one.state == state;
                let exact = list.iter().skip(first).rposition(here).map(|at| at.saturating_add(first));
                let at = exact
                    .or_else(|| list.iter().rposition(|one| one.state == state))
                    .unwrap_or(list.len().saturating_sub(1));
                let mut conn = list.swap_remove(at).conn;
                if conn.is_fit() {
                    return Some(Lease::Idle(conn));
                }
                debris.conns.push(conn);
            }
        }
        if self.open < self.limit {
            self.open = self.open.saturating_add(1);
            return Some(Lease::Slot(Slot(Arc::clone(pool))));
        }
        // Connections of other users must not stand in the way of one that is wanted.
        if debris.conns.is_empty() {
            debris.conns.extend(self.oldest());
        }
        None
    }

    fn oldest(&mut self) -> Option<C> {
        let lists = self.idle.values_mut().filter_map(|all| {
            let list = &mut all.idle;
            let at = (0..list.len()).min_by_key(|at| list.get(*at).map(|one| one.since))?;
            Some((list.get(at)?.since, at, list))
        });
        let (_, at, list) = lists.min_by_key(|(since, ..)| *since)?;
        Some(list.swap_remove(at).conn)
    }
}

/// Closes connections that are at rest.
fn close<C: Pooled>(conns: impl IntoIterator<Item = C>) {
    for mut conn in conns {
        conn.part();
    }
}

/// Gives what there is to those who wait for it, in their order. Lets the lock go.
fn serve<'a, C: Pooled>(pool: &'a Arc<Mutex<State<C>>>, mut state: MutexGuard<'a, State<C>>) {
    loop {
        let mut debris = Debris::none();
        give(pool, &mut state, &mut debris);
        drop(state);
        if debris.is_none() {
            return;
        }
        drop(debris);
        state = pool.lock();
    }
}

fn give<C: Pooled>(pool: &Arc<Mutex<State<C>>>, state: &mut State<C>, debris: &mut Debris<C>) {
    while let Some(class) = state.next() {
        let Some((key, wanted)) = state.waiting.first(class).map(|one| (Arc::clone(&one.key), one.wanted))
        else {
            return;
        };
        let Some(found) = state.find(pool, &key, wanted, debris) else { return };
        let Some(waiter) = state.waiting.of(class).pop_front() else { return };
        state.count(class);
        let leasing = Leasing { pool: Arc::clone(pool), class };
        match waiter.answer.send((found, leasing)) {
            Ok(()) => {}
            Err((Lease::Idle(conn), leasing)) => {
                state.of(&key).idle.push(Idle::new(conn, Instant::now()));
                debris.undelivered.push((None, leasing));
            }
            Err((Lease::Slot(slot), leasing)) => debris.undelivered.push((Some(slot), leasing)),
        }
    }
}

/// Between nine and eleven tenths of a time, so that what began together does not end together.
pub(crate) fn jittered(time: Duration, seed: u32) -> Duration {
    let tenth = time / 10;
    let share = seed.wrapping_mul(0x9E37_79B9) >> 16;
    time.saturating_sub(tenth).saturating_add(tenth.saturating_mul(share.saturating_mul(2)) / 0x1_0000)
}

/// How a pool stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counts {
    pub(crate) idle: u64,
    pub(crate) leased: u64,
    pub(crate) waiting: u64,
    pub(crate) limit: u64,
}

#[cfg(test)]
mod tests;
