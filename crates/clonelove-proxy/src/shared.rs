//! What all sessions share: settings, servers, metrics, and the list of who is connected. Owns no
//! logic of its own.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use clonelove_route::pins::Pin;
use clonelove_sql::{FactsCache, Scratch};
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accounts::Accounts;
use crate::backend::login::Account;
use crate::backend::pool::Key;
use crate::cluster::Cluster;
use crate::cores::{Cores, NOWHERE};
use crate::crypto::PasswordKey;
use crate::ending::{Ending, Why};
use crate::error::{ClientError, StartError};
use crate::known::Known;
use crate::learned::Learned;
use crate::metrics::Metrics;
use crate::net::Room;
use crate::session::Turns;
use crate::settings::{Settings, User};

/// What all sessions share.
pub(crate) struct Shared {
    pub(crate) settings: Arc<ArcSwap<Settings>>,
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) metrics: Arc<Metrics>,
    /// For as long as the settings name none.
    own_key: Arc<PasswordKey>,
    pub(crate) learned: Learned,
    pub(crate) known: Known,
    /// What is known of statements that came before.
    pub(crate) facts: FactsCache,
    /// By core, and last what is no core's.
    locals: Vec<Arc<Local>>,
    /// Where sessions run.
    pub(crate) cores: Arc<Cores>,
    pub(crate) clients: Arc<Clients>,
    /// Whom servers know, where that is asked of the primary.
    pub(crate) accounts: Accounts,
    /// All tasks, so that a drain can wait for them.
    pub(crate) tasks: TaskTracker,
    /// Sessions only.
    pub(crate) sessions: TaskTracker,
    /// No new clients; sessions end when their transaction does.
    pub(crate) draining: CancellationToken,
    /// Everything ends now.
    pub(crate) stopped: CancellationToken,
    pub(crate) started: Instant,
    pub(crate) started_at: SystemTime,
    pub(crate) generation: AtomicU64,
}

/// What sessions of one core share, and no others: kept by nobody who waits, and never sought by two cores at once.
pub(crate) struct Local {
    /// The core's number.
    pub(crate) at: usize,
    /// Room to read statements in.
    pub(crate) scratches: Mutex<Vec<Scratch>>,
    /// Buffers for what is read.
    pub(crate) room: Arc<Room>,
    /// Room for sessions at work.
    pub(crate) turns: Turns,
    /// Whom its sessions log in as.
    pub(crate) accounts: Alike<Account>,
    /// What connections they share.
    pub(crate) keys: Alike<Key>,
}

/// What many sessions have alike is there once: those that were last seen, for as long as somebody has them.
pub(crate) struct Alike<T>(Mutex<VecDeque<Weak<T>>>);

impl<T> Default for Alike<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: PartialEq> Alike<T> {
    /// How many are looked at.
    const MOST: usize = 8;

    /// The same, or one that is equal to it.
    pub(crate) fn share(&self, one: Arc<T>) -> Arc<T> {
        let mut seen = self.0.lock();
        if let Some(known) = seen.iter().filter_map(Weak::upgrade).find(|known| *known == one) {
            return known;
        }
        seen.truncate(Self::MOST.saturating_sub(1));
        seen.push_front(Arc::downgrade(&one));
        one
    }
}

impl Local {
    fn of(at: usize) -> Self {
        Self {
            at,
            scratches: Mutex::default(),
            room: Arc::default(),
            turns: Turns::default(),
            accounts: Alike::default(),
            keys: Alike::default(),
        }
    }
}

impl Default for Local {
    /// Of no core.
    fn default() -> Self {
        Self::of(NOWHERE)
    }
}

impl Shared {
    /// Everything as it is before the first client; nothing runs yet.
    pub(crate) fn new(
        settings: Settings,
        metrics: Arc<Metrics>,
        cores: Arc<Cores>,
    ) -> Result<Arc<Self>, StartError> {
        let own_key = Arc::new(PasswordKey::generate().map_err(|_| StartError::RsaKey)?);
        let clients = Arc::<Clients>::default();
        let cluster = Cluster::new(&settings, Arc::clone(&metrics), Arc::clone(&clients));
        let accounts = Accounts::new(Arc::clone(&metrics));
        let facts = FactsCache::new(settings.limits.facts_cache, seed());
        Ok(Arc::new(Self {
            settings: Arc::new(ArcSwap::from_pointee(settings)),
            cluster,
            metrics,
            own_key,
            learned: Learned::default(),
            known: Known::default(),
            facts,
            locals: (0..cores.count()).chain([NOWHERE]).map(|at| Arc::new(Local::of(at))).collect(),
            cores,
            clients,
            accounts,
            tasks: TaskTracker::new(),
            sessions: TaskTracker::new(),
            draining: CancellationToken::new(),
            stopped: CancellationToken::new(),
            started: Instant::now(),
            started_at: SystemTime::now(),
            generation: AtomicU64::new(0),
        }))
    }

    /// What a core keeps for its sessions.
    pub(crate) fn local(&self, core: usize) -> Arc<Local> {
        self.locals.get(core).or(self.locals.last()).cloned().unwrap_or_default()
    }

    /// What clients encrypt their passwords with.
    pub(crate) fn password_key(&self) -> Arc<PasswordKey> {
        let named = self.settings.load().rsa_key.clone();
        named.unwrap_or_else(|| Arc::clone(&self.own_key))
    }
}

impl Shared {
    /// No new clients; sessions end when their transaction does.
    pub(crate) fn begin_drain(&self) {
        self.draining.cancel();
        self.clients.tell_all(Why::Draining);
    }

    /// Everything ends now.
    pub(crate) fn stop(&self) {
        self.stopped.cancel();
        self.clients.tell_all(Why::Stopped);
    }
}

/// A random number that nobody outside can know.
fn seed() -> [u64; 2] {
    [0, 1].map(|half: u8| RandomState::new().hash_one(half))
}

/// Who is connected.
#[derive(Default)]
pub(crate) struct Clients {
    next_id: AtomicU32,
    connected: Mutex<HashMap<u32, Arc<View>>>,
    by_user: Mutex<HashMap<String, usize>>,
    /// What has been said to all, as flags of [`Why`]; changed under the lock of `connected`.
    said: AtomicU8,
    ticks: AtomicU64,
}

/// What the outside may see of a session.
pub(crate) struct View {
    pub(crate) id: u32,
    /// Who connected.
    peer: String,
    /// Who is behind that, where it said so and may.
    pub(crate) behind: OnceLock<String>,
    pub(crate) user: Mutex<String>,
    pub(crate) pin: Mutex<Option<Pinned>>,
    pub(crate) work: Mutex<Work>,
    /// How it is ended from outside.
    pub(crate) ending: Ending,
}

impl View {
    /// Where the client is, for people.
    pub(crate) fn client(&self) -> &str {
        self.behind.get().unwrap_or(&self.peer)
    }

    /// Whether that is this host.
    pub(crate) fn is_at(&self, host: &str) -> bool {
        let client = self.client();
        let address = client.rsplit_once(':').map_or(client, |(address, _)| address).trim_matches(['[', ']']);
        address == host || client == "unix" && host == "localhost"
    }
}

/// Which connections a session holds, for those who would end its work.
#[derive(Default)]
pub(crate) struct Work {
    /// Servers by index, with their numbers for the connections.
    pub(crate) on: Vec<(usize, u32)>,
    /// KILLs of it that are under way.
    pub(crate) kills: u32,
    /// Those of its connections that a KILL was sent to which has not returned in time: it may still come.
    pub(crate) expecting: Vec<(usize, u32)>,
}

impl Work {
    /// A KILL may come to this one of its connections at any time, if it has it still.
    pub(crate) fn expect(&mut self, on: (usize, u32)) {
        if self.on.contains(&on) && !self.expecting.contains(&on) {
            self.expecting.push(on);
        }
    }
}

/// One connection in a session's [`Work`], for as long as it is held.
pub(crate) struct Working {
    view: Arc<View>,
    on: (usize, u32),
}

impl Working {
    pub(crate) fn begin(view: &Arc<View>, on: (usize, u32)) -> Self {
        view.work.lock().on.push(on);
        Self { view: Arc::clone(view), on }
    }

    /// Whether a KILL may still be on its way to the connection, which then is for nobody else.
    pub(crate) fn is_being_killed(&self) -> bool {
        let work = self.view.work.lock();
        work.kills > 0 || work.expecting.contains(&self.on)
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        let mut work = self.view.work.lock();
        if let Some(at) = work.on.iter().position(|on| *on == self.on) {
            work.on.swap_remove(at);
        }
        work.expecting.retain(|on| *on != self.on);
    }
}

/// A pin, and what caused it.
#[derive(Clone)]
pub(crate) struct Pinned {
    pub(crate) pin: Pin,
    pub(crate) statement: String,
    pub(crate) since: Instant,
}

impl Clients {
    /// A new client's id and place in the list; `None` when the limit is reached.
    pub(crate) fn enter(&self, client: String, limit: usize) -> Option<Arc<View>> {
        let mut connected = self.connected.lock();
        if connected.len() >= limit {
            return None;
        }
        let id = loop {
            let id = self.next_id.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
            if id != 0 && !connected.contains_key(&id) {
                break id;
            }
        };
        let view = Arc::new(View {
            id,
            peer: client,
            behind: OnceLock::new(),
            user: Mutex::default(),
            pin: Mutex::default(),
            work: Mutex::new(Work { on: Vec::with_capacity(2), ..Work::default() }),
            ending: Ending::new(self.said.load(Ordering::Acquire), self.ticks.load(Ordering::Relaxed)),
        });
        connected.insert(id, Arc::clone(&view));
        Some(view)
    }

    /// Tells all who are there, and all who come.
    pub(crate) fn tell_all(&self, why: Why) {
        let connected = self.connected.lock();
        self.said.fetch_or(why as u8, Ordering::Release);
        for view in connected.values() {
            view.ending.tell(why);
        }
    }

    /// Lets every session look at what it waits for: something that many depend on has ended.
    pub(crate) fn wake_all(&self) {
        for view in self.connected.lock().values() {
            view.ending.wake();
        }
    }

    /// A second is over: who has waited for its client for too long is woken.
    pub(crate) fn tick(&self) {
        let now = self.ticks.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        for view in self.connected.lock().values() {
            view.ending.tick(now);
        }
    }

    /// The client of this number.
    pub(crate) fn find(&self, id: u32) -> Option<Arc<View>> {
        self.connected.lock().get(&id).cloned()
    }

    /// The clients of this user, in the order they came.
    pub(crate) fn of_user(&self, user: &str) -> Vec<Arc<View>> {
        let mut found: Vec<_> =
            self.connected.lock().values().filter(|view| *view.user.lock() == *user).cloned().collect();
        found.sort_unstable_by_key(|view| view.id);
        found
    }

    pub(crate) fn leave(&self, id: u32) {
        self.connected.lock().remove(&id);
    }

    pub(crate) fn now(&self) -> usize {
        self.connected.lock().len()
    }

    /// Counts a log-in of a user against its limit; 0 is none.
    pub(crate) fn enter_user(&self, user: &User) -> Result<(), ClientError> {
        let mut by_user = self.by_user.lock();
        let count = by_user.entry(user.name.clone()).or_default();
        if user.max_connections != 0 && *count >= user.max_connections {
            return Err(ClientError::too_many_clients(user.max_connections, "max_connections of the user"));
        }
        *count = count.saturating_add(1);
        Ok(())
    }

    pub(crate) fn leave_user(&self, user: &str) {
        let mut by_user = self.by_user.lock();
        if let Some(count) = by_user.get_mut(user) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                by_user.remove(user);
            }
        }
    }

    /// The sessions that are pinned.
    pub(crate) fn pinned(&self) -> Vec<(Arc<View>, Pinned)> {
        let views: Vec<Arc<View>> = self.connected.lock().values().cloned().collect();
        views
            .into_iter()
            .filter_map(|view| {
                let pin = view.pin.lock().clone();
                pin.map(|pin| (view, pin))
            })
            .collect()
    }
}
