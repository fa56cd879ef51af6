//! What servers have executed, asked when somebody needs to know: one monitoring connection per server
//! waits on it for the positions that reads are waiting for. Owns the waiting; must not route.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use clonelove_route::freshness::{Rules, Stamp};
use clonelove_route::position::Position;
use clonelove_route::report::Flavour;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout_at};

use super::probe::{MonitorCount, Monitoring, monitoring_connection};
use super::shown::{self, LogPlace, Shown};
use super::{Cluster, Snapshot};
use crate::backend::conn::BackendConn;
use crate::error::ServerFault;
use crate::server::Server;
use crate::settings::Settings;

/// One question to the server waits so long there before it is asked anew, for whoever came meanwhile.
const STANDING: Duration = Duration::from_millis(20);
/// What the primary has committed can only be looked at, so often.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// Stamps that are remembered for one server; the others are learnt of with these.
const MOST_STAMPS: usize = 256;
/// Readers that wait at one server at a time; the others go on without.
const MOST_WAITING: usize = 10_000;

/// Who waits for a server's position.
#[derive(Default)]
pub(crate) struct Waiters {
    wanted: Mutex<Vec<Wanted>>,
    /// Stamps that reads asked for; the server is asked until it has them, for the reads that will come.
    stamps: Mutex<BTreeSet<Stamp>>,
    /// Woken whenever the server has told how far it is.
    told: Notify,
    any: Notify,
    /// How often there was nobody to be asked.
    gave_up: AtomicU64,
}

enum Wanted {
    Reached(Position, oneshot::Sender<()>),
    Current(oneshot::Sender<Position>),
    /// All that a replica may have shown by now.
    Shown(oneshot::Sender<Shown>),
    /// The primary has committed everything before this place of its log.
    Committed(LogPlace, oneshot::Sender<()>),
}

impl Wanted {
    fn is_given_up(&self) -> bool {
        match self {
            Wanted::Reached(_, sender) => sender.is_closed(),
            Wanted::Current(sender) => sender.is_closed(),
            Wanted::Shown(sender) => sender.is_closed(),
            Wanted::Committed(_, sender) => sender.is_closed(),
        }
    }
}

/// A read that waits.
pub(crate) struct FreshWait<'a> {
    /// Any of these servers will do.
    pub(crate) servers: &'a [usize],
    /// What it must have.
    pub(crate) position: &'a Position,
    /// How long at most.
    pub(crate) within: Duration,
}

impl Cluster {
    /// The position that the primary has reached, asked now.
    pub(crate) async fn primary_position(&self, within: Duration) -> Option<Position> {
        let snapshot = self.snapshot();
        let server = snapshot.servers.get(snapshot.topology.primary?)?;
        ask_primary(server, within).await
    }

    /// Waits until one of these servers is known to have all writes up to a stamp.
    pub(crate) async fn wait_for_stamp(&self, servers: &[usize], stamp: Stamp, until: Instant) -> bool {
        let snapshot = self.snapshot();
        wait_for_stamp(&snapshot, servers, stamp, until).await
    }

    /// Waits until one of these servers has reached a position; answers which.
    pub(crate) async fn wait_fresh(&self, wait: FreshWait<'_>) -> Option<usize> {
        let snapshot = self.snapshot();
        wait_for_one(&snapshot, wait).await
    }
}

/// Waits until one of the servers has reached the position; answers which.
async fn wait_for_one(snapshot: &Snapshot, wait: FreshWait<'_>) -> Option<usize> {
    let deadline = Instant::now() + wait.within;
    let mut waiting = Vec::new();
    for at in wait.servers {
        if let Some(server) = snapshot.servers.get(*at)
            && let Some(receiver) = server.waiters.reached(wait.position)
        {
            waiting.push((*at, receiver));
        }
    }
    while !waiting.is_empty() {
        let first = std::future::poll_fn(|cx| {
            for (place, (_, receiver)) in waiting.iter_mut().enumerate() {
                if let std::task::Poll::Ready(result) = std::pin::Pin::new(receiver).poll(cx) {
                    return std::task::Poll::Ready((place, result.is_ok()));
                }
            }
            std::task::Poll::Pending
        });
        let (place, reached) = timeout_at(deadline, first).await.ok()?;
        let (at, _) = waiting.swap_remove(place);
        if reached {
            return Some(at);
        }
    }
    None
}

/// Waits until one of the servers is known to have a stamp, but not for those that cannot be asked any more. Each goes
/// on being asked for it.
pub(super) async fn wait_for_stamp(
    snapshot: &Snapshot,
    servers: &[usize],
    stamp: Stamp,
    until: Instant,
) -> bool {
    let gave_up = |server: &Server| server.waiters.gave_up.load(Ordering::Relaxed);
    let servers = servers.iter().filter_map(|at| snapshot.servers.get(*at));
    let mut asked: Vec<(&Arc<Server>, u64)> = servers.map(|server| (server, gave_up(server))).collect();
    loop {
        let mut told: Vec<_> =
            asked.iter().map(|(server, _)| Box::pin(server.waiters.told.notified())).collect();
        for waiting in &mut told {
            waiting.as_mut().enable();
        }
        if asked.iter().any(|(server, _)| server.has(stamp)) {
            return true;
        }
        asked.retain(|(server, before)| gave_up(server) == *before);
        for (server, _) in &asked {
            server.waiters.want_stamp(stamp);
        }
        let first = std::future::poll_fn(|cx| {
            if told.iter_mut().any(|waiting| waiting.as_mut().poll(cx).is_ready()) {
                std::task::Poll::Ready(())
            } else {
                std::task::Poll::Pending
            }
        });
        if asked.is_empty() || timeout_at(until, first).await.is_err() {
            return false;
        }
    }
}

/// The position that a primary has reached, asked after this call.
pub(super) async fn ask_primary(server: &Arc<Server>, within: Duration) -> Option<Position> {
    let receiver = server.waiters.current()?;
    timeout_at(Instant::now() + within, receiver).await.ok()?.ok()
}

impl Waiters {
    fn reached(&self, position: &Position) -> Option<oneshot::Receiver<()>> {
        let (sender, receiver) = oneshot::channel();
        self.add(Wanted::Reached(position.clone(), sender)).then_some(receiver)
    }

    fn current(&self) -> Option<oneshot::Receiver<Position>> {
        let (sender, receiver) = oneshot::channel();
        self.add(Wanted::Current(sender)).then_some(receiver)
    }

    pub(super) fn shown(&self) -> Option<oneshot::Receiver<Shown>> {
        let (sender, receiver) = oneshot::channel();
        self.add(Wanted::Shown(sender)).then_some(receiver)
    }

    pub(super) fn committed(&self, place: LogPlace) -> Option<oneshot::Receiver<()>> {
        let (sender, receiver) = oneshot::channel();
        self.add(Wanted::Committed(place, sender)).then_some(receiver)
    }

    /// Nobody can be told anything now.
    fn give_up(&self) {
        self.stamps.lock().clear();
        self.gave_up.fetch_add(1, Ordering::Relaxed);
        self.told.notify_waiters();
    }

    /// A read needs a stamp that this server is not known to have.
    pub(crate) fn want_stamp(&self, stamp: Stamp) {
        let mut stamps = self.stamps.lock();
        if stamps.len() < MOST_STAMPS && stamps.insert(stamp) {
            drop(stamps);
            self.any.notify_one();
        }
    }

    fn add(&self, wanted: Wanted) -> bool {
        let mut list = self.wanted.lock();
        if list.len() >= MOST_WAITING {
            return false;
        }
        list.push(wanted);
        drop(list);
        self.any.notify_one();
        true
    }
}

/// Serves the waiters of one server, for ever.
pub(super) async fn follow(server: Arc<Server>, settings: Arc<ArcSwap<Settings>>) {
    let mut connection: Option<(Monitoring, MonitorCount)> = None;
    // What that connection told last.
    let mut told = None;
    while !server.removed.load(Ordering::Relaxed) {
        let batch = next_batch(&server).await;
        // The server may have closed it for being idle.
        if connection.as_mut().is_none_or(|(conn, _)| !conn.is_fit()) {
            let monitor = settings.load().monitor.clone();
            told = None;
            connection = match monitoring_connection(&server, &monitor).await {
                Ok((conn, _)) => Some((conn, MonitorCount::new(&server))),
                Err(fault) => {
                    server.note_fault(&fault);
                    server.waiters.give_up();
                    None
                }
            };
        }
        // Without a connection the batch is dropped, which tells its readers to go on without.
        let Some((conn, _)) = &mut connection else { continue };
        if let Err(fault) = serve(conn, &server, batch, &mut told).await {
            server.note_fault(&fault);
            server.forget_position();
            server.waiters.give_up();
            connection = None;
        }
    }
}

async fn next_batch(server: &Server) -> Vec<Wanted> {
    loop {
        let mut batch = std::mem::take(&mut *server.waiters.wanted.lock());
        batch.retain(|wanted| !wanted.is_given_up());
        if !batch.is_empty() || server.stamp_to_ask().is_some() {
            return batch;
        }
        server.waiters.any.notified().await;
    }
}

/// One question for the whole batch. Whoever is not served by its answer is put back.
async fn serve(
    conn: &mut BackendConn,
    server: &Server,
    batch: Vec<Wanted>,
    told: &mut Option<Arc<Position>>,
) -> Result<(), ServerFault> {
    let asks_now = batch.iter().any(|wanted| !matches!(wanted, Wanted::Reached(..)));
    let first = batch.iter().find_map(|wanted| match wanted {
        Wanted::Reached(position, _) if !asks_now => Some(position),
        _ => None,
    });
    let towards = server.stamp_to_ask().filter(|_| first.is_none() && !asks_now);
    let sql = question(conn.flavour, first.or(towards.as_ref()));
    let rows = conn.rows(&sql, STANDING + Duration::from_secs(2)).await?;
    let row = rows.rows.first().map(Vec::as_slice).unwrap_or_default();
    let column = |at: usize| {
        let text = row.get(at).and_then(Option::as_deref).unwrap_or_default();
        Position::parse(conn.flavour, text).ok()
    };
    let (mut executed, written) = (column(1), column(2));
    if !server.keeps(Rules::APPLIED_ONLY) {
        executed.clone_from(&written);
    }
    if let Some(executed) = &executed {
        server.told_position(told, executed.clone());
    }
    let asks = |conn: &BackendConn, one: fn(&Wanted) -> bool| {
        conn.flavour == Flavour::MariaDb && batch.iter().any(one)
    };
    let mut answer = Answer { executed: executed.map(Arc::new), written, received: None, committed: None };
    if asks(conn, |wanted| matches!(wanted, Wanted::Shown(_))) {
        answer.received = shown::received(conn).await?;
    }
    let looks = asks(conn, |wanted| matches!(wanted, Wanted::Committed(..)));
    if looks {
        answer.committed = shown::committed(conn).await?;
    }
    let mut back: Vec<Wanted> = batch.into_iter().filter_map(|wanted| wanted.served_by(&answer)).collect();
    let looks_again = looks && back.iter().any(|wanted| matches!(wanted, Wanted::Committed(..)));
    server.waiters.wanted.lock().append(&mut back);
    server.waiters.told.notify_waiters();
    if looks_again {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Ok(())
}

/// What a server has told.
struct Answer {
    executed: Option<Arc<Position>>,
    written: Option<Position>,
    received: Option<(u32, LogPlace)>,
    committed: Option<LogPlace>,
}

impl Wanted {
    /// Tells whoever asked; gives back what this answer does not serve.
    fn served_by(self, answer: &Answer) -> Option<Wanted> {
        match self {
            Wanted::Reached(position, sender) => {
                if !answer.executed.as_ref().is_some_and(|executed| executed.covers(&position)) {
                    return Some(Wanted::Reached(position, sender));
                }
                let _ = sender.send(());
            }
            Wanted::Shown(sender) => {
                if let Some(position) = answer.executed.clone() {
                    let _ = sender.send(Shown { position, received: answer.received });
                }
            }
            Wanted::Committed(place, sender) => {
                if answer.committed.is_none_or(|committed| committed < place) {
                    return Some(Wanted::Committed(place, sender));
                }
                let _ = sender.send(());
            }
            Wanted::Current(sender) => {
                if let Some(written) = &answer.written {
                    let _ = sender.send(written.clone());
                }
            }
        }
        None
    }
}

impl Server {
    /// The position to wait for on behalf of the oldest stamp that is wanted and not there yet.
    fn stamp_to_ask(&self) -> Option<Position> {
        let mut stamps = self.waiters.stamps.lock();
        while let Some(stamp) = stamps.first().copied() {
            if !self.has(stamp)
                && let Some(position) = self.position_towards(stamp)
            {
                return Some(position);
            }
            stamps.pop_first();
        }
        None
    }
}

/// Waits for a position, if one is given, and then tells those of the server: as a replica, and as a
/// primary.
fn question(flavour: Flavour, position: Option<&Position>) -> String {
    let seconds = STANDING.as_secs_f64();
    match (flavour, position) {
        (Flavour::MariaDb, Some(position)) => {
            format!(
                "SELECT MASTER_GTID_WAIT('{}', {seconds}), @@global.gtid_slave_pos, @@global.gtid_binlog_pos",
                position.to_text()
            )
        }
        (Flavour::MariaDb, None) => "SELECT 0, @@global.gtid_slave_pos, @@global.gtid_binlog_pos".to_owned(),
        (Flavour::MySql, Some(position)) => {
            format!(
                "SELECT WAIT_FOR_EXECUTED_GTID_SET('{}', {seconds}), @@global.gtid_executed, @@global.gtid_executed",
                position.to_text()
            )
        }
        (Flavour::MySql, None) => "SELECT 0, @@global.gtid_executed, @@global.gtid_executed".to_owned(),
    }
}
