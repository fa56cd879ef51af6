//! Peers that misbehave as told: a scripted server, and a link to a real one that breaks at a statement of the
//! test's choice. They know bytes, and of the protocol only what a script brings along.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::Result;
use parking_lot::{Condvar, Mutex};

/// A server made of a script: it is run for each connection, in a thread of its own. It ends when it is dropped.
#[derive(Debug)]
pub struct Peer {
    address: SocketAddr,
    open: Arc<Open>,
}

/// What is open, so that it can be closed.
#[derive(Debug, Default)]
struct Open {
    ended: AtomicBool,
    accepted: AtomicUsize,
    streams: Mutex<Vec<TcpStream>>,
}

impl Peer {
    /// Listens on a port of the system's choice.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn start(script: impl Fn(TcpStream) + Send + Sync + 'static) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let open = Arc::new(Open::default());
        let (script, shared) = (Arc::new(script), Arc::clone(&open));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if shared.ended.load(Ordering::Relaxed) {
                    return;
                }
                shared.accepted.fetch_add(1, Ordering::Relaxed);
                shared.keep(&stream);
                let script = Arc::clone(&script);
                std::thread::spawn(move || script(stream));
            }
        });
        Ok(Self { address, open })
    }

    /// `127.0.0.1:port`.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// How many connections there have been.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.open.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.open.ended.store(true, Ordering::Relaxed);
        for stream in self.open.streams.lock().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // Wakes the listening thread, which sees the end.
        let _ = TcpStream::connect(self.address);
    }
}

impl Open {
    fn keep(&self, stream: &TcpStream) {
        if let Ok(stream) = stream.try_clone() {
            self.streams.lock().push(stream);
        }
    }
}

/// What a [`Link`] does in place of forwarding a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Break {
    /// Answers these bytes itself and closes; the server never sees the request.
    Answer(Vec<u8>),
    /// Closes both ends; the server never sees the request.
    Close,
    /// Forwards the request, then closes after so many bytes of the reply.
    CutReply(usize),
    /// Keeps the request until the link is mended, and forwards it then.
    Hold,
}

/// A way to a real server that forwards everything, until a request contains an agreed mark.
#[derive(Debug)]
pub struct Link {
    peer: Peer,
    rule: Arc<Rule>,
}

/// A mark, and what to do at it.
#[derive(Debug, Default)]
struct Rule {
    at: Mutex<Option<(Vec<u8>, Break)>>,
    once: AtomicBool,
    changed: Condvar,
    held: AtomicUsize,
}

impl Rule {
    fn set(&self, at: Option<(Vec<u8>, Break)>, once: bool) {
        let mut rule = self.at.lock();
        *rule = at;
        self.once.store(once, Ordering::SeqCst);
        self.changed.notify_all();
    }

    fn found_in(&self, bytes: &[u8]) -> Option<Break> {
        let mut rule = self.at.lock();
        let (_, how) = rule.clone().filter(|(mark, _)| contains(bytes, mark))?;
        if self.once.load(Ordering::SeqCst) {
            *rule = None;
        }
        Some(how)
    }

    /// Returns once requests like this one are held no longer.
    fn wait(&self, bytes: &[u8]) {
        self.held.fetch_add(1, Ordering::SeqCst);
        let mut at = self.at.lock();
        while at.as_ref().is_some_and(|(mark, how)| *how == Break::Hold && contains(bytes, mark)) {
            self.changed.wait(&mut at);
        }
        self.held.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Link {
    /// A link to the server at `target` (`host:port`).
    ///
    /// # Errors
    /// When the system refuses.
    pub fn to(target: &str) -> Result<Self> {
        let rule = Arc::<Rule>::default();
        let (target, rules) = (target.to_owned(), Arc::clone(&rule));
        let peer = Peer::start(move |client| {
            if let Ok(server) = TcpStream::connect(&target) {
                // A pump ends with its connection.
                let _ = forward(&client, &server, &rules);
                let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
            }
        })?;
        Ok(Self { peer, rule })
    }

    /// `127.0.0.1:port`.
    #[must_use]
    pub fn address(&self) -> String {
        self.peer.address()
    }

    /// From now on, breaks at requests that contain `mark`.
    pub fn break_at(&self, mark: &str, how: Break) {
        self.rule.set(Some((mark.as_bytes().to_vec(), how)), false);
    }

    /// Breaks at the next request that contains `mark`, and at none after it.
    pub fn break_once_at(&self, mark: &str, how: Break) {
        self.rule.set(Some((mark.as_bytes().to_vec(), how)), true);
    }

    /// Forwards everything again.
    pub fn mend(&self) {
        self.rule.set(None, false);
    }

    /// How many requests are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.rule.held.load(Ordering::SeqCst)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // Whoever holds a request lets it go.
        self.mend();
    }
}

fn forward(client: &TcpStream, server: &TcpStream, rule: &Rule) -> Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let left = Arc::new(AtomicUsize::new(usize::MAX));
    let (from, to, allowed) = (server.try_clone()?, client.try_clone()?, Arc::clone(&left));
    std::thread::spawn(move || {
        let _ = pump_replies(&from, &to, &allowed);
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    });
    let mut buffer = vec![0; 64 * 1024];
    let (mut from, mut to) = (client, server);
    loop {
        let count = from.read(&mut buffer)?;
        let bytes = buffer.get(..count).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(());
        }
        match rule.found_in(bytes) {
            None => to.write_all(bytes)?,
            Some(Break::Hold) => {
                rule.wait(bytes);
                to.write_all(bytes)?;
            }
            Some(Break::Answer(answer)) => return Ok(from.write_all(&answer)?),
            Some(Break::Close) => return Ok(()),
            Some(Break::CutReply(after)) => {
                left.store(after, Ordering::SeqCst);
                to.write_all(bytes)?;
            }
        }
    }
}

fn pump_replies(mut from: &TcpStream, mut to: &TcpStream, left: &AtomicUsize) -> Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = from.read(&mut buffer)?;
        let allowed = left.load(Ordering::SeqCst);
        to.write_all(buffer.get(..count.min(allowed)).unwrap_or_default())?;
        if count == 0 || count >= allowed {
            return Ok(());
        }
        if allowed != usize::MAX {
            left.store(allowed - count, Ordering::SeqCst);
        }
    }
}

fn contains(bytes: &[u8], mark: &[u8]) -> bool {
    bytes.windows(mark.len().max(1)).any(|window| window == mark)
}
