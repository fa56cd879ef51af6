//! A way to a server that takes its time: replication goes through it, so that a replica lags as one far away does,
//! and so that its acknowledgements come late. Owns bytes and clocks; knows no protocol.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use clonelove_testkit::Peer;
use parking_lot::{Condvar, Mutex};

/// Forwards to one server, each way after a delay that can be changed at any time.
pub(crate) struct Relay {
    peer: Peer,
    delays: Arc<Delays>,
}

/// In milliseconds.
#[derive(Default)]
struct Delays {
    from_server: AtomicU64,
    to_server: AtomicU64,
}

impl Relay {
    /// A relay to `target` that forwards at once.
    pub(crate) fn to(target: String) -> Result<Self> {
        Self::choosing(move || target.clone())
    }

    /// One to whichever server `target` names when a connection comes.
    pub(crate) fn choosing(target: impl Fn() -> String + Send + Sync + 'static) -> Result<Self> {
        Self::delaying(target, |_| true)
    }

    /// One that delays what the server says only where it sends its binary log; everything else passes at once.
    pub(crate) fn of_logs(target: String) -> Result<Self> {
        // COM_BINLOG_DUMP, COM_BINLOG_DUMP_GTID: commands begin at the fifth byte of what a client sends, and are the
        // first of their sequence.
        Self::delaying(move || target.clone(), |said| matches!(said, [_, _, _, 0, 0x12 | 0x1e, ..]))
    }

    /// Delays a connection from when its client has said something that is `meant`.
    fn delaying(
        target: impl Fn() -> String + Send + Sync + 'static,
        meant: fn(&[u8]) -> bool,
    ) -> Result<Self> {
        let delays = Arc::new(Delays::default());
        let given = Arc::clone(&delays);
        let peer = Peer::start(move |client| {
            let Ok(server) = TcpStream::connect(target()) else { return };
            let _ = (client.set_nodelay(true), server.set_nodelay(true));
            let (Ok(client_too), Ok(server_too)) = (client.try_clone(), server.try_clone()) else { return };
            let delays = Arc::clone(&given);
            let is_meant = Arc::new(AtomicBool::new(meant(&[])));
            let of_it = Arc::clone(&is_meant);
            std::thread::spawn(move || {
                let delay = || {
                    if of_it.load(Ordering::SeqCst) { delays.from_server.load(Ordering::Relaxed) } else { 0 }
                };
                carry(&server_too, &client_too, &delay, &|_| ());
            });
            let look = |said: &[u8]| {
                is_meant.store(is_meant.load(Ordering::SeqCst) || meant(said), Ordering::SeqCst)
            };
            carry(&client, &server, &|| given.to_server.load(Ordering::Relaxed), &look);
        })?;
        Ok(Self { peer, delays })
    }

    /// Its port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.peer.address().rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or_default()
    }

    /// From now on, what the server says arrives so many milliseconds later, and what it is told so many.
    pub(crate) fn delay(&self, from_server: u64, to_server: u64) {
        self.delays.from_server.store(from_server, Ordering::Relaxed);
        self.delays.to_server.store(to_server, Ordering::Relaxed);
    }
}

/// What is on its way.
#[derive(Default)]
struct Underway {
    chunks: Mutex<VecDeque<(Instant, Vec<u8>)>>,
    more: Condvar,
}

/// Forwards one direction until either end closes; what comes is looked at first.
fn carry(from: &TcpStream, to: &TcpStream, delay: &dyn Fn() -> u64, look: &(dyn Fn(&[u8]) + Sync)) {
    let underway = Underway::default();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut buffer = vec![0; 64 * 1024];
            let mut from = from;
            loop {
                let count = from.read(&mut buffer).unwrap_or_default();
                look(&buffer[..count]);
                underway.chunks.lock().push_back((Instant::now(), buffer[..count].to_vec()));
                underway.more.notify_one();
                if count == 0 {
                    return;
                }
            }
        });
        deliver(&underway, to, delay);
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    });
}

/// An empty chunk is the end.
fn deliver(underway: &Underway, mut to: &TcpStream, delay: &dyn Fn() -> u64) {
    let mut chunks = underway.chunks.lock();
    loop {
        let Some((at, bytes)) = chunks.front() else {
            underway.more.wait(&mut chunks);
            continue;
        };
        if bytes.is_empty() {
            return;
        }
        let due = *at + Duration::from_millis(delay());
        let now = Instant::now();
        if due > now {
            // The delay may be shortened meanwhile.
            let _ = underway.more.wait_for(&mut chunks, (due - now).min(Duration::from_millis(20)));
            continue;
        }
        let Some((_, bytes)) = chunks.pop_front() else { continue };
        let written = parking_lot::MutexGuard::unlocked(&mut chunks, || to.write_all(&bytes));
        if written.is_err() {
            return;
        }
    }
}
