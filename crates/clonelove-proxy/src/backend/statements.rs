//! The statements that one connection has prepared: by text and the state they were prepared in. Owns their number and
//! which of them go first; must not know clients' numbers for them.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Buf;
use clonelove_route::journal::Journal;
use clonelove_wire::frame::HEADER;
use clonelove_wire::packet::err::Err as ErrPacket;
use clonelove_wire::packet::prepare::PrepareOk;
use clonelove_wire::reply::{Event, ReplyTracker, Then};
use clonelove_wire::{Caps, Command};

use super::conn::BackendConn;
use super::reply::request;
use crate::error::{Fault, Refusal, ServerFault};

/// What all connections to one server have prepared, and how much of that may be for later.
#[derive(Debug)]
pub(crate) struct OnServer {
    open: AtomicI64,
    /// More than this and each connection keeps one only: servers allow so many, of all their clients together.
    most: AtomicI64,
}

impl OnServer {
    /// Servers allow 16,382 by default.
    const HALF_OF_USUAL: i64 = 8_000;

    /// The server told how many it allows: half of them are for what is at work, and for others.
    pub(crate) fn allow(&self, told: Option<u32>) {
        let most = told.map_or(Self::HALF_OF_USUAL, |told| i64::from(told / 2));
        self.most.store(most, Ordering::Relaxed);
    }

    /// How many there are.
    pub(crate) fn open(&self) -> i64 {
        self.open.load(Ordering::Relaxed)
    }

    fn is_crowded(&self) -> bool {
        self.open() >= self.most.load(Ordering::Relaxed)
    }
}

impl Default for OnServer {
    fn default() -> Self {
        Self { open: AtomicI64::new(0), most: AtomicI64::new(Self::HALF_OF_USUAL) }
    }
}

/// A statement, with the state that gave its text a meaning when it was prepared.
#[derive(Debug)]
pub(crate) struct What {
    pub(crate) sql: Box<[u8]>,
    pub(crate) charset: u8,
    pub(crate) schema: Option<String>,
    pub(crate) journal: Journal,
}

impl PartialEq for What {
    fn eq(&self, other: &What) -> bool {
        self.sql == other.sql
            && self.charset == other.charset
            && self.schema == other.schema
            && self.journal == other.journal
    }
}

impl Eq for What {}

impl Hash for What {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.sql.hash(state);
        self.schema.hash(state);
        self.journal.id().hash(state);
    }
}

/// A prepared statement, on its connection.
#[derive(Debug)]
pub(crate) struct There {
    pub(crate) id: u32,
    /// The types of the parameters that the server was told last.
    pub(crate) types: Arc<[u8]>,
    used: u64,
}

/// What one connection has prepared.
#[derive(Debug)]
pub(crate) struct Statements {
    known: HashMap<Arc<What>, There>,
    clock: u64,
    /// To be closed there before anything else is sent.
    closing: Vec<u32>,
    /// How many there are on the whole server.
    on_server: Arc<OnServer>,
}

impl Statements {
    /// None yet. In a box: most connections have none.
    pub(crate) fn new(on_server: &Arc<OnServer>) -> Box<Self> {
        let on_server = Arc::clone(on_server);
        Box::new(Self { known: HashMap::new(), clock: 0, closing: Vec::new(), on_server })
    }

    pub(crate) fn find(&mut self, what: &What) -> Option<&mut There> {
        self.clock = self.clock.wrapping_add(1);
        let there = self.known.get_mut(what)?;
        there.used = self.clock;
        Some(there)
    }

    /// One more was prepared; of more than `most`, the one that was longest not used is closed.
    pub(crate) fn add(&mut self, what: Arc<What>, id: u32, most: usize) {
        let most = if self.on_server.is_crowded() { 1 } else { most.max(1) };
        while self.known.len() >= most {
            let oldest = self.known.iter().min_by_key(|(_, there)| there.used);
            let Some(oldest) = oldest.map(|(what, _)| Arc::clone(what)) else { break };
            self.drop_one(&oldest);
        }
        self.clock = self.clock.wrapping_add(1);
        self.on_server.open.fetch_add(1, Ordering::Relaxed);
        let there = There { id, types: Arc::default(), used: self.clock };
        if let Some(before) = self.known.insert(what, there) {
            self.on_server.open.fetch_sub(1, Ordering::Relaxed);
            self.closing.push(before.id);
        }
    }

    /// It is to be closed on the server: what it left open there must not stay.
    pub(crate) fn drop_one(&mut self, what: &What) {
        if let Some(there) = self.known.remove(what) {
            self.on_server.open.fetch_sub(1, Ordering::Relaxed);
            self.closing.push(there.id);
        }
    }

    /// COM_RESET_CONNECTION: the server has none of them any more.
    pub(crate) fn clear(&mut self) {
        let known = i64::try_from(self.known.len()).unwrap_or(i64::MAX);
        self.on_server.open.fetch_sub(known, Ordering::Relaxed);
        self.known.clear();
        self.closing.clear();
    }

    /// The commands that close what is to be closed. They have no replies.
    pub(crate) fn take_closing(&mut self) -> Option<bytes::BytesMut> {
        if self.closing.is_empty() {
            return None;
        }
        let mut out = bytes::BytesMut::new();
        for id in self.closing.drain(..) {
            out.extend_from_slice(&request(Command::StmtClose, &id.to_le_bytes(), Caps::empty()));
        }
        Some(out)
    }
}

impl Drop for Statements {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Why a statement could not be prepared.
#[derive(Debug)]
pub(crate) enum NotPrepared {
    /// The server says so.
    Refused(Refusal),
    /// The connection failed.
    Fault(ServerFault),
}

impl BackendConn {
    /// Prepares a statement in the state that the connection is in.
    pub(crate) async fn prepare(&mut self, what: &Arc<What>, most: usize) -> Result<(), NotPrepared> {
        let mut out = self.statements.take_closing().unwrap_or_default();
        out.extend_from_slice(&request(Command::StmtPrepare, &what.sql, self.caps));
        self.native = false;
        let lost = |error| NotPrepared::Fault(ServerFault::lost(&self.server, &error));
        self.io.write_all(&out).await.map_err(lost)?;
        let prepared = self.read_prepared().await?;
        self.statements.add(Arc::clone(what), prepared.statement_id, most);
        Ok(())
    }

    /// The reply to COM_STMT_PREPARE; the definitions in it are the client's business, which has had its own.
    async fn read_prepared(&mut self) -> Result<PrepareOk, NotPrepared> {
        let tracker = ReplyTracker::new(Command::StmtPrepare, self.caps);
        let (mut told, mut error) = (None, None);
        let hear = |event, frame: &[u8]| match event {
            Event::PrepareOk { prepared, .. } => told = Some(prepared),
            Event::Err { .. } => error = Some(frame.to_vec()),
            _ => {}
        };
        self.pass_over(tracker, hear).await.map_err(NotPrepared::Fault)?;
        if let Some(frame) = error {
            return Err(self.refused(&frame));
        }
        told.ok_or_else(|| {
            NotPrepared::Fault(self.wrong("it did not answer a request to prepare a statement"))
        })
    }

    /// Says what a client has said elsewhere, for the sake of what that leaves here: nobody wants the answer.
    pub(crate) async fn say_again(
        &mut self,
        command: Command,
        (request, reply_sequence): (&[u8], u8),
    ) -> Result<(), ServerFault> {
        let mut out = self.statements.take_closing().unwrap_or_default();
        out.extend_from_slice(request);
        self.native = false;
        self.io.write_all(&out).await.map_err(|error| ServerFault::lost(&self.server, &error))?;
        let mut tracker = ReplyTracker::new(command, self.caps);
        tracker.expect_sequence(reply_sequence);
        let mut prepared = None;
        let hear = |event, _: &[u8]| {
            if let Event::PrepareOk { prepared: there, .. } = event {
                prepared = Some(there.statement_id);
            }
        };
        self.pass_over(tracker, hear).await?;
        self.statements.closing.extend(prepared);
        Ok(())
    }

    /// Reads a reply to its end, in constant memory.
    async fn pass_over(
        &mut self,
        mut tracker: ReplyTracker,
        mut hear: impl FnMut(Event, &[u8]) + Send,
    ) -> Result<(), ServerFault> {
        self.io.expect(tracker.sequence());
        loop {
            let scan = tracker.scan(&self.io.input).map_err(|fault| self.wrong(fault))?;
            self.io.input.advance(scan.pass.min(self.io.input.len()));
            match scan.then {
                Then::End => return Ok(()),
                Then::More | Then::NeedWhole(_) => {
                    let read = self.io.fill().await;
                    if read.map_err(|error| ServerFault::lost(&self.server, &error))? == 0 {
                        return Err(self.wrong("it closed the connection"));
                    }
                }
                Then::Event { event, used } => {
                    let frame = self.io.input.split_to(used.min(self.io.input.len()));
                    if let Event::LocalInfile = event {
                        return Err(self.wrong("it asks for a file"));
                    }
                    hear(event, &frame);
                    if event.ends() {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn refused(&self, frame: &[u8]) -> NotPrepared {
        match ErrPacket::parse(frame.get(HEADER..).unwrap_or_default()) {
            Ok(error) => {
                let message = String::from_utf8_lossy(&error.message).into_owned();
                NotPrepared::Refused(Refusal { code: error.code, state: error.state, message })
            }
            Err(error) => NotPrepared::Fault(self.wrong(error)),
        }
    }

    fn wrong(&self, what: impl std::fmt::Display) -> ServerFault {
        ServerFault::new(&self.server, Fault::ServerProtocol, what)
    }
}
