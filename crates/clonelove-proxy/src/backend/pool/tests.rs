use std::sync::atomic::{AtomicUsize, Ordering};

use tokio_util::task::TaskTracker;

use super::*;

/// A connection that counts itself, so that none is lost.
struct Conn {
    id: usize,
    state: u64,
    home: usize,
    born: Instant,
    fit: bool,
    parted: Arc<AtomicUsize>,
    closed: Arc<AtomicUsize>,
    _slot: Slot<Conn>,
}

impl Drop for Conn {
    fn drop(&mut self) {
        self.closed.fetch_add(1, Ordering::Relaxed);
    }
}

impl Pooled for Conn {
    fn is_fit(&mut self) -> bool {
        self.fit
    }

    fn state(&self) -> u64 {
        self.state
    }

    fn home(&self) -> usize {
        self.home
    }

    fn born(&self) -> Instant {
        self.born
    }

    fn worn_at(&self) -> Instant {
        self.born + Duration::from_secs(3_600)
    }

    fn seed(&self) -> u32 {
        u32::try_from(self.id).unwrap()
    }

    fn part(&mut self) {
        self.parted.fetch_add(1, Ordering::Relaxed);
    }
}

struct Fixture {
    pool: Arc<Pool<Conn>>,
    closed: Arc<AtomicUsize>,
    parted: Arc<AtomicUsize>,
    opened: AtomicUsize,
    tasks: TaskTracker,
}

type Leased = (Conn, Leasing<Conn>);

impl Fixture {
    fn new(limit: usize, reserve: usize) -> Arc<Self> {
        let pool = Arc::new(Pool::new(limit));
        pool.set_limit(limit, reserve);
        Arc::new(Self {
            pool,
            closed: Arc::default(),
            parted: Arc::default(),
            opened: AtomicUsize::new(0),
            tasks: TaskTracker::new(),
        })
    }

    async fn lease(&self, user: &str, state: u64, class: Class) -> Result<Leased, QueueTimeout> {
        self.lease_at(user, (state, 0), class).await
    }

    async fn lease_at(
        &self,
        user: &str,
        (state, home): (u64, usize),
        class: Class,
    ) -> Result<Leased, QueueTimeout> {
        let patience = (Duration::from_secs(5), &mut None);
        let (lease, leasing) = self.pool.lease(&key(user), (state, home), class, patience).await?;
        let conn = match lease {
            Lease::Idle(conn) => conn,
            Lease::Slot(slot) => Conn {
                id: self.opened.fetch_add(1, Ordering::Relaxed),
                state,
                home,
                born: Instant::now(),
                fit: true,
                parted: Arc::clone(&self.parted),
                closed: Arc::clone(&self.closed),
                _slot: slot,
            },
        };
        Ok((conn, leasing))
    }

    fn back(&self, user: &str, leased: Leased) {
        self.pool.give_back(&key(user), leased, 50, Instant::now());
    }

    fn open(&self) -> usize {
        self.pool.0.lock().open
    }

    async fn until_waiting(&self, count: u64) {
        while self.pool.counts().waiting != count {
            tokio::task::yield_now().await;
        }
    }
}

fn key(user: &str) -> Arc<Key> {
    Arc::new(Key::new(user.into(), (None, None), Caps::empty(), (0, 0)))
}

#[tokio::test(start_paused = true)]
async fn the_one_in_the_wanted_state_is_preferred() {
    let all = Fixture::new(3, 0);
    let mut leased = Vec::new();
    for state in [1, 2, 3] {
        leased.push(all.lease("u", state, Class::Read).await.unwrap());
    }
    leased.into_iter().for_each(|one| all.back("u", one));
    assert_eq!(all.lease("u", 2, Class::Read).await.unwrap().0.id, 1);
    assert_eq!(all.lease("u", 1, Class::Read).await.unwrap().0.id, 0);
    let (any, _leasing) = all.lease("u", 9, Class::Read).await.unwrap();
    assert!(any.id < 3, "converted, not opened");
}

#[tokio::test(start_paused = true)]
async fn the_one_at_home_is_preferred_and_another_is_better_than_a_new_one() {
    let all = Fixture::new(9, 0);
    let mut leased = Vec::new();
    for wanted in [(1, 0), (1, 1), (2, 0)] {
        leased.push(all.lease_at("u", wanted, Class::Read).await.unwrap());
    }
    leased.into_iter().for_each(|one| all.back("u", one));
    let here = all.lease_at("u", (1, 0), Class::Read).await.unwrap();
    assert_eq!(here.0.id, 0, "though another came back later");
    assert_eq!(
        all.lease_at("u", (1, 0), Class::Read).await.unwrap().0.id,
        1,
        "a state costs more than a move"
    );
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_handed_to_the_first_who_waits() {
    let all = Fixture::new(1, 0);
    let held = all.lease("u", 1, Class::Write).await.unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for (number, class) in [Class::Write, Class::Read, Class::Write, Class::Read].into_iter().enumerate() {
        let (all2, order) = (Arc::clone(&all), Arc::clone(&order));
        tasks.push(all.tasks.spawn(async move {
            let leased = all2.lease("u", 1, class).await.unwrap();
            order.lock().push((number, leased.0.id));
            all2.back("u", leased);
        }));
        all.until_waiting(number as u64 + 1).await;
    }
    all.back("u", held);
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(*order.lock(), [(0, 0), (1, 0), (2, 0), (3, 0)], "in order, and on the same connection");
}

#[tokio::test(start_paused = true)]
async fn who_gave_up_is_passed_over() {
    let all = Fixture::new(1, 0);
    let held = all.lease("u", 1, Class::Write).await.unwrap();
    let wait = |class| {
        let all = Arc::clone(&all);
        all.tasks.clone().spawn(async move { all.lease("u", 1, class).await.unwrap() })
    };
    let gave_up = [wait(Class::Read), wait(Class::Write)];
    all.until_waiting(2).await;
    gave_up.iter().for_each(tokio::task::JoinHandle::abort);
    all.until_waiting(0).await;
    let served = wait(Class::Read);
    all.until_waiting(1).await;
    all.back("u", held);
    let leased = served.await.unwrap();
    let gave_up = wait(Class::Write);
    all.until_waiting(1).await;
    gave_up.abort();
    all.until_waiting(0).await;
    all.back("u", leased);
    let at_once = tokio::time::timeout(Duration::from_millis(1), all.lease("u", 1, Class::Read)).await;
    assert_eq!(at_once.unwrap().unwrap().0.id, 0);
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_does_not_overtake_those_who_wait() {
    let all = Fixture::new(1, 0);
    let held = all.lease("u", 1, Class::Write).await.unwrap();
    let all2 = Arc::clone(&all);
    let first = all.tasks.spawn(async move { all2.lease("u", 1, Class::Write).await.unwrap() });
    all.until_waiting(1).await;
    all.back("u", held);
    // The connection is on its way to the first; it is not to be had for the second.
    let second = tokio::time::timeout(Duration::from_secs(1), all.lease("u", 1, Class::Write));
    assert!(second.await.is_err());
    drop(first.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_with_an_answer_and_leaves_nothing_behind() {
    let all = Fixture::new(1, 0);
    let held = all.lease("u", 1, Class::Write).await.unwrap();
    let Err(timeout) = all.lease("u", 1, Class::Write).await else { panic!("leased twice") };
    assert_eq!((timeout.limit, all.pool.counts().waiting), (1, 0));
    drop(held);
    assert_eq!((all.open(), all.pool.counts().leased), (0, 0));
    all.lease("u", 1, Class::Write).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn reads_leave_the_reserve_to_writes() {
    let all = Fixture::new(4, 1);
    let mut reads = Vec::new();
    for _ in 0..3 {
        reads.push(all.lease("u", 1, Class::Read).await.unwrap());
    }
    let all2 = Arc::clone(&all);
    let fourth = all.tasks.spawn(async move { all2.lease("u", 1, Class::Read).await.unwrap() });
    all.until_waiting(1).await;
    let write = all.lease("u", 1, Class::Write).await.unwrap();
    assert_eq!(all.open(), 4);
    all.back("u", write);
    assert!(!fourth.is_finished(), "the connection of the write is not for reads");
    all.back("u", reads.pop().unwrap());
    fourth.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn idle_connections_of_other_users_give_way() {
    let all = Fixture::new(1, 0);
    let theirs = all.lease("u", 1, Class::Write).await.unwrap();
    all.back("u", theirs);
    let mine = all.lease("v", 1, Class::Write).await.unwrap();
    assert_eq!((all.open(), all.closed.load(Ordering::Relaxed), mine.0.id), (1, 1, 1));
    // The same while somebody waits.
    let all2 = Arc::clone(&all);
    let waiting = all.tasks.spawn(async move { all2.lease("w", 1, Class::Write).await.unwrap().0.id });
    all.until_waiting(1).await;
    all.back("v", mine);
    assert_eq!(waiting.await.unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_unfit_worn_or_from_before_is_not_kept() {
    let all = Fixture::new(9, 0);
    let mut sick = all.lease("u", 1, Class::Write).await.unwrap();
    sick.0.fit = false;
    all.back("u", sick);
    assert_eq!((all.pool.counts().idle, all.open()), (0, 0));
    let old = all.lease("u", 1, Class::Write).await.unwrap();
    tokio::time::advance(Duration::from_secs(1)).await;
    all.pool.clear();
    all.back("u", old);
    assert_eq!((all.pool.counts().idle, all.open()), (0, 0));
    let worn = all.lease("u", 1, Class::Write).await.unwrap();
    tokio::time::advance(Duration::from_secs(3_600)).await;
    all.back("u", worn);
    assert_eq!((all.pool.counts().idle, all.open()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn idle_connections_are_reaped_down_to_the_least() {
    let all = Fixture::new(9, 0);
    let mut leased = Vec::new();
    for _ in 0..4 {
        leased.push(all.lease("u", 1, Class::Write).await.unwrap());
    }
    leased.into_iter().for_each(|one| all.back("u", one));
    all.pool.reap(Duration::from_secs(10), 2);
    assert_eq!(all.pool.counts().idle, 4);
    tokio::time::advance(Duration::from_secs(12)).await;
    all.pool.reap(Duration::from_secs(10), 2);
    assert_eq!((all.pool.counts().idle, all.open()), (2, 2));
    all.pool.clear();
    assert_eq!(
        (all.open(), all.parted.load(Ordering::Relaxed)),
        (0, 4),
        "each takes leave before it is closed"
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_is_kept_of_keys_that_do_not_come_again() {
    let all = Fixture::new(50, 0);
    let known = || all.pool.wanted(Duration::from_secs(3_600)).len();
    for number in 0..3_000 {
        let lent = all.lease(&format!("u{number}"), 0, Class::Read).await;
        drop(lent.unwrap());
    }
    assert!(known() <= 1_000, "{} keys are remembered", known());

    let all = Fixture::new(50, 0);
    let alone = Arc::new(Key::new("u".into(), (None, None), Caps::empty(), (0, Key::ALONE + 7)));
    let patience = (Duration::from_secs(5), &mut None);
    let (_, leasing) = all.pool.lease(&alone, (0, 0), Class::Write, patience).await.unwrap();
    let (conn, _) = all.lease("u", 0, Class::Write).await.unwrap();
    all.pool.give_back(&alone, (conn, leasing), 50, Instant::now());
    assert_eq!((all.pool.counts().idle, all.pool.wanted(Duration::from_secs(3_600)).len()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn what_came_to_rest_together_is_not_closed_together() {
    let all = Fixture::new(50, 0);
    let mut leased = Vec::new();
    for _ in 0..50 {
        leased.push(all.lease("u", 1, Class::Write).await.unwrap());
    }
    leased.into_iter().for_each(|one| all.back("u", one));
    let mut seen = Vec::new();
    for seconds in [899, 100, 102] {
        tokio::time::advance(Duration::from_secs(seconds)).await;
        all.pool.reap(Duration::from_secs(1_000), 0);
        seen.push(all.pool.counts().idle);
    }
    assert!(seen[0] == 50 && (10..40).contains(&seen[1]) && seen[2] == 0, "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn who_rests_in_a_rare_state_can_be_had_for_the_one_wanted_most_often() {
    let (all, second) = (Fixture::new(9, 0), Duration::from_secs(1));
    let (mut often, mut rare) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        often.push(all.lease("u", 1, Class::Read).await.unwrap());
    }
    for _ in 0..2 {
        rare.push(all.lease("u", 2, Class::Read).await.unwrap());
    }
    drop(often);
    rare.into_iter().for_each(|one| all.back("u", one));
    let key = key("u");
    assert_eq!(all.pool.most_wanted(&key), Some(1));
    assert!(all.pool.astray(&key, 1, (1, second)).is_none(), "they may be wanted again at once");
    tokio::time::advance(second).await;
    assert!(all.pool.astray(&key, 2, (2, second)).is_none(), "there are enough");
    let (mut conn, leasing) = all.pool.astray(&key, 1, (1, second)).unwrap();
    assert_eq!((conn.state, all.pool.counts().leased), (2, 1));
    conn.state = 1;
    all.back("u", (conn, leasing));
    assert!(all.pool.astray(&key, 1, (1, second)).is_none());
    assert_eq!((all.pool.counts().leased, all.pool.counts().idle), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn what_is_wanted_is_known_for_as_long_as_it_is_of_use() {
    let (all, minute) = (Fixture::new(9, 0), Duration::from_secs(60));
    drop(all.lease("u", 1, Class::Read).await.unwrap());
    all.pool.reap(minute, 2);
    assert_eq!(all.pool.wanted(minute).len(), 1, "without a connection, too");
    tokio::time::advance(minute).await;
    all.pool.reap(minute, 2);
    assert!(all.pool.wanted(minute).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_lower_limit_takes_effect_as_connections_come_back() {
    let all = Fixture::new(2, 0);
    let (one, two) =
        (all.lease("u", 1, Class::Write).await.unwrap(), all.lease("u", 1, Class::Write).await.unwrap());
    all.pool.set_limit(1, 0);
    drop(one);
    assert!(all.lease("u", 1, Class::Write).await.is_err());
    drop(two);
    all.lease("u", 1, Class::Write).await.unwrap();
}
