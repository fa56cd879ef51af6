//! Bytes across, steered by the reply tracker: requests to a server, replies to the client, in constant
//! memory. Learns from status packets on the way; must not know SQL, routing or the pool.

mod only_row;

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use clonelove_route::failed::{NO_ROUTINE, missing_routine};
use clonelove_route::freshness::Rules;
use clonelove_route::position::Position;
use clonelove_route::report::Flavour;
use clonelove_route::session::{Heard, Transaction};
use clonelove_sql::{Charset, Modes};
use clonelove_wire::frame::{FrameHead, HEADER, MAX_FRAME};
use clonelove_wire::packet::err::Err as ErrPacket;
use clonelove_wire::packet::ok::{self, Ok as OkPacket};
use clonelove_wire::packet::prepare::PrepareOk;
use clonelove_wire::reply::{EofKind, Event, ProtocolFault, ReplyTracker, Scan, Then};
use clonelove_wire::track::{Change, filter};
use clonelove_wire::{Caps, Status};

use crate::backend::conn::BackendConn;
use crate::error::{Fault, ServerFault};
use crate::freshness::Pending;
use crate::net::Buffered;
use crate::session::Wishes;
pub(crate) use only_row::replace_values;
use std::time::Duration;
use tokio::time::Instant;

/// Where the status stands in an EOF packet's frame: behind the head, a byte and the number of warnings.
const EOF_STATUS: usize = HEADER + 3;

/// ER_CLIENT_INTERACTION_TIMEOUT.
const IDLE_FOR_TOO_LONG: u16 = 4031;

/// From this size on bytes go out without being gathered first.
const DIRECT: usize = 16 * 1024;

/// Both ends of a relay, for one command.
pub(crate) struct Relay<'a> {
    pub(crate) client: &'a mut Buffered,
    pub(crate) client_caps: Caps,
    /// What the client wants to be told of its session.
    pub(crate) wishes: Option<&'a Wishes>,
    /// The server has the client's own settings of session tracking, for this statement.
    pub(crate) as_it_wishes: bool,
    pub(crate) conn: &'a mut BackendConn,
    /// What is to be written next; empty between commands.
    pub(crate) out: &'a mut BytesMut,
    /// Error codes that are kept from the client when nothing of the reply has reached it.
    pub(crate) hold: fn(u16) -> bool,
    /// Nothing is written before all of the reply is there; for short ones only.
    pub(crate) gather: bool,
    /// What the statement may commit: told of positions before anything of the reply goes on to the client.
    pub(crate) pending: Option<&'a Pending>,
    /// The reply is read to its end, whether or not there is a client to have it.
    pub(crate) to_the_end: bool,
    /// The client is gone.
    pub(crate) gone: bool,
    /// The statement loads a file of the client's: the server may ask for one.
    pub(crate) loads_file: bool,
    /// The number that the client knows a statement by that is being prepared.
    pub(crate) prepare_as: u32,
    /// Time spent waiting for either side.
    pub(crate) waited: Duration,
}

/// How a reply ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) heard: Heard,
    /// The code of an error packet that was kept from the client.
    pub(crate) held: Option<u16>,
    /// The code of an error packet, kept or not.
    pub(crate) error: Option<u16>,
    /// A statement was prepared, under the server's number.
    pub(crate) prepared: Option<PrepareOk>,
    /// A cursor is open (true) or at its end (false); none when the reply says nothing of one.
    pub(crate) cursor: Option<bool>,
    /// What the last OK told of the session's state, all of it, where the client tracks.
    pub(crate) told: Vec<u8>,
}

/// Why a relay came to no end.
#[derive(Debug)]
pub(crate) struct RelayFault {
    pub(crate) side: Side,
    /// Something of the reply has reached the client.
    pub(crate) forwarded: bool,
    /// The client stands in the middle of a packet: no error packet can be sent.
    pub(crate) mid_packet: bool,
    /// The number an error packet must have where the reply broke off.
    pub(crate) sequence: u8,
}

impl RelayFault {
    /// A fault when the client has got a part of a reply that it cannot be told of.
    pub(crate) fn after(side: Side) -> Self {
        Self { side, forwarded: true, mid_packet: true, sequence: 0 }
    }

    /// A fault before the first byte of a reply.
    pub(crate) fn before(side: Side) -> Self {
        Self { side, forwarded: false, mid_packet: false, sequence: 1 }
    }
}

/// Whose fault.
#[derive(Debug)]
pub(crate) enum Side {
    Client(io::Error),
    Server(ServerFault),
    /// The probe declared the server down, or its role changed, while it was silent.
    LifeEnded(Arc<str>),
    /// It had ended the connection for being idle before it read the statement, which it says.
    NeverRead(ServerFault),
    /// The client sends more than it may.
    TooLarge,
}

impl Relay<'_> {
    /// Reads the reply that `tracker` follows and passes it on, all but its end: that is left in `out`, so
    /// that what follows from the reply is known here before the client has it.
    pub(crate) async fn reply(&mut self, mut tracker: ReplyTracker) -> Result<Outcome, RelayFault> {
        let mut progress = Progress {
            heard: Heard::default(),
            forwarded: false,
            sequence: tracker.sequence(),
            mid_packet: false,
            error: None,
            prepared: None,
            cursor: None,
            told: Vec::new(),
        };
        self.conn.io.expect(tracker.sequence());
        match self.run(&mut tracker, &mut progress).await {
            Ok(held) => Ok(Outcome {
                heard: progress.heard,
                held,
                error: progress.error,
                prepared: progress.prepared,
                cursor: progress.cursor,
                told: progress.told,
            }),
            Err(side) => {
                // What was gathered and not written never was, as far as the client goes.
                self.out.clear();
                let Progress { forwarded, mid_packet, sequence, .. } = progress;
                Err(RelayFault { side, forwarded, mid_packet, sequence })
            }
        }
    }

    async fn run(
        &mut self,
        tracker: &mut ReplyTracker,
        progress: &mut Progress,
    ) -> Result<Option<u16>, Side> {
        loop {
            let scan = tracker.scan(&self.conn.io.input).map_err(|fault| self.protocol(&fault))?;
            self.pass(&scan, tracker, progress).await?;
            match scan.then {
                Then::End => return Ok(None),
                Then::More | Then::NeedWhole(_) => {
                    self.flush(tracker, progress).await?;
                    let before = Instant::now();
                    let come = self.wait().await;
                    self.waited += before.elapsed();
                    come?;
                }
                Then::Event { event, used } => {
                    let frame = self.conn.io.input.split_to(used.min(self.conn.io.input.len()));
                    if let Some(held) = self.event(event, frame, tracker, progress).await? {
                        return Ok(Some(held));
                    }
                    if event.ends() {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// MySQL said why it closed the connection, before it read the statement; MariaDB has that number for something else.
    fn never_read(&self) -> Side {
        let detail = "it had closed the connection for being idle";
        Side::NeverRead(ServerFault::new(&self.conn.server, Fault::ServerLost, detail))
    }

    /// Forwards what needs no look: gathered when small, as it stands in the buffer when large.
    async fn pass(
        &mut self,
        scan: &Scan,
        tracker: &ReplyTracker,
        progress: &mut Progress,
    ) -> Result<(), Side> {
        let bytes = self.conn.io.input.get(..scan.pass).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(());
        }
        if bytes.len() < DIRECT {
            self.out.extend_from_slice(bytes);
        } else {
            self.raise(progress);
            progress.sends(tracker);
            let mut written = Ok(());
            if !self.out.is_empty() && !self.gone {
                written = self.client.write_all(self.out).await;
            }
            self.out.clear();
            if written.is_ok() && !self.gone {
                written = self.client.write_all(bytes).await;
            }
            left(written, &mut self.gone, self.to_the_end)?;
        }
        let pass = scan.pass.min(self.conn.io.input.len());
        self.conn.io.input.advance(pass);
        Ok(())
    }

    async fn flush(&mut self, tracker: &ReplyTracker, progress: &mut Progress) -> Result<(), Side> {
        if self.out.is_empty() || self.gather {
            return Ok(());
        }
        self.raise(progress);
        progress.sends(tracker);
        let written = if self.gone { Ok(()) } else { self.client.write_all(self.out).await };
        self.out.clear();
        left(written, &mut self.gone, self.to_the_end)
    }

    /// What a part of the reply tells is known here before the client has that part.
    fn raise(&self, progress: &Progress) {
        if let (Some(pending), Some(position)) = (self.pending, &progress.heard.position)
            && pending.keeps(Rules::EVERY_PART)
        {
            pending.raise(position);
        }
    }

    /// Waits for the server, as long as it lives and the client is there.
    async fn wait(&mut self) -> Result<(), Side> {
        poll_fn(|context| self.poll_wait(context)).await
    }

    fn poll_wait(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Side>> {
        let server = &self.conn.server;
        match pin!(self.conn.io.fill()).poll(context) {
            Poll::Ready(Ok(0)) => {
                let fault = ServerFault::new(server, Fault::ServerLost, "it closed the connection");
                return Poll::Ready(Err(Side::Server(fault)));
            }
            Poll::Ready(Ok(_)) => return Poll::Ready(Ok(())),
            Poll::Ready(Err(error)) => {
                return Poll::Ready(Err(Side::Server(ServerFault::lost(server, &error))));
            }
            Poll::Pending => {}
        }
        if self.conn.life.is_over() {
            return Poll::Ready(Err(Side::LifeEnded(Arc::clone(server))));
        }
        if self.gone || !self.client.input.is_empty() {
            return Poll::Pending;
        }
        let Poll::Ready(read) = self.client.poll_fill_working(context) else { return Poll::Pending };
        let gone = match read {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        match left(gone, &mut self.gone, self.to_the_end) {
            // Its next commands have their time.
            Ok(()) => Poll::Pending,
            Err(side) => Poll::Ready(Err(side)),
        }
    }

    async fn event(
        &mut self,
        event: Event,
        frame: BytesMut,
        tracker: &mut ReplyTracker,
        progress: &mut Progress,
    ) -> Result<Option<u16>, Side> {
        match event {
            Event::Ok { head, .. } => {
                let rows = tracker.take_rows();
                progress.heard.rows = (head != ok::HEAD).then_some(rows);
                self.ok(&frame, progress)?;
            }
            Event::Eof { status, kind, warnings, .. } => {
                progress.cursor = cursor(status).or(progress.cursor);
                let heard = &mut progress.heard;
                heard.transaction = Some(transaction(status));
                heard.plain_eof = kind == EofKind::Rows;
                heard.plain_eofs |= heard.plain_eof;
                heard.warnings = warnings;
                if kind == EofKind::Rows {
                    heard.rows = Some(tracker.take_rows());
                }
                self.eof(&frame);
            }
            Event::Err { code: IDLE_FOR_TOO_LONG, in_sequence: false }
                if self.conn.flavour == Flavour::MySql && !progress.forwarded && self.out.is_empty() =>
            {
                return Err(self.never_read());
            }
            Event::Err { code, .. } => {
                progress.heard.failed = true;
                progress.heard.error = Some(code);
                progress.heard.missing = missing(code, &frame);
                progress.error = Some(code);
                if !progress.forwarded && (self.hold)(code) {
                    // Columns may have come before it, which nobody has seen.
                    self.out.clear();
                    return Ok(Some(code));
                }
                self.out.extend_from_slice(&frame);
            }
            Event::LocalInfile if !self.loads_file => {
                let detail = "it asks for a file of the client's, which the statement does not load";
                let fault = ServerFault::new(&self.conn.server, Fault::ServerProtocol, detail);
                return Err(Side::Server(fault));
            }
            Event::LocalInfile => {
                self.out.extend_from_slice(&frame);
                self.flush(tracker, progress).await?;
                self.client.expect(tracker.sequence());
                let last = send_file(self.client, &mut self.conn.io, &self.conn.server).await?;
                self.conn.io.expect(last.wrapping_add(1));
                tracker.expect_sequence(last.wrapping_add(1));
            }
            Event::PrepareOk { prepared, .. } => {
                progress.prepared = Some(prepared);
                let mut frame = frame;
                let number = HEADER.saturating_add(1)..HEADER.saturating_add(5);
                if let Some(place) = frame.get_mut(number) {
                    place.copy_from_slice(&self.prepare_as.to_le_bytes());
                }
                self.out.extend_from_slice(&frame);
            }
            Event::Progress => self.out.extend_from_slice(&frame),
            Event::AuthSwitch | Event::AuthMore => {
                return Err(Side::Server(ServerFault::new(
                    &self.conn.server,
                    Fault::ServerProtocol,
                    "it asks for authentication in the middle of a session",
                )));
            }
        }
        Ok(None)
    }

    /// An EOF packet. It may say that something changed which only we asked to be told of, and does not say what: where
    /// there are rows it is the position of what was written, but for variables set by a procedure.
    fn eof(&mut self, frame: &[u8]) {
        const CHANGED: u8 = Status::SESSION_STATE_CHANGED.bits().to_be_bytes()[0];
        let at = self.out.len().saturating_add(EOF_STATUS).saturating_add(1);
        self.out.extend_from_slice(frame);
        let is_told = self.as_it_wishes || self.wishes.is_some_and(Wishes::include_positions);
        if let Some(high) = self.out.get_mut(at).filter(|_| !is_told) {
            *high &= !CHANGED;
        }
    }

    /// An OK packet: learnt from, and passed on without what only we asked for.
    fn ok(&mut self, frame: &BytesMut, progress: &mut Progress) -> Result<(), Side> {
        let head = FrameHead::parse(frame);
        let payload = frame.get(HEADER..).unwrap_or_default();
        let ok = OkPacket::parse(payload, self.conn.caps).map_err(|error| self.protocol(&error.into()))?;
        if payload.first() != Some(&ok::HEAD) {
            // At the end of a procedure MariaDB still tells of those that it had open itself.
            progress.cursor = cursor(ok.status).or(progress.cursor);
        }
        let heard = &mut progress.heard;
        if self.pending.is_some_and(|pending| !pending.keeps(Rules::EVERY_PART)) {
            heard.position = None;
        }
        heard.transaction = Some(transaction(ok.status));
        heard.affected = heard.affected.saturating_add(ok.affected);
        heard.affected_last = ok.affected;
        heard.warnings = ok.warnings;
        (heard.matched, heard.changed) = matched(ok.info).unzip();
        if ok.insert_id != 0 {
            heard.insert_id = ok.insert_id;
        }
        heard.plain_eof = false;
        if !ok.status.contains(Status::SESSION_STATE_CHANGED) {
            self.out.extend_from_slice(frame);
            return Ok(());
        }
        for change in ok.changes() {
            let change = change.map_err(|error| {
                Side::Server(ServerFault::new(&self.conn.server, Fault::ServerProtocol, error))
            })?;
            learn(change, self.conn.flavour, heard);
        }
        if let Some(schema) = &heard.schema {
            self.conn.schema.clone_from(schema);
        }
        let first = payload.first().copied().unwrap_or_default();
        let mut kept = BytesMut::new();
        if self.as_it_wishes {
            kept.extend_from_slice(ok.state);
        } else if let Some(wishes) = self.wishes {
            progress.told = ok.state.to_vec();
            filter(ok.state, |change| wishes.include(change), &mut kept)
                .map_err(|error| self.protocol(&error.into()))?;
        }
        let mut stripped = BytesMut::with_capacity(payload.len());
        OkPacket { state: &kept, ..ok }.encode(first, self.client_caps, &mut stripped);
        let seq = head.map_or(1, |head| head.seq);
        self.out.extend_from_slice(&FrameHead { len: stripped.len(), seq }.encode());
        self.out.extend_from_slice(&stripped);
        Ok(())
    }

    fn protocol(&self, fault: &ProtocolFault) -> Side {
        Side::Server(ServerFault::new(&self.conn.server, Fault::ServerProtocol, fault))
    }
}

struct Progress {
    heard: Heard,
    forwarded: bool,
    /// Where the client stands: the number of the packet it expects next, and whether within one.
    sequence: u8,
    mid_packet: bool,
    error: Option<u16>,
    prepared: Option<PrepareOk>,
    cursor: Option<bool>,
    told: Vec<u8>,
}

impl Progress {
    /// All that was gathered up to where the tracker is, is about to be written.
    fn sends(&mut self, tracker: &ReplyTracker) {
        self.forwarded = true;
        self.sequence = tracker.sequence();
        self.mid_packet = tracker.mid_packet();
    }
}

/// A client that left is an error, unless the reply matters all the same.
fn left(result: io::Result<()>, gone: &mut bool, to_the_end: bool) -> Result<(), Side> {
    match result {
        Err(_) if to_the_end => {
            *gone = true;
            Ok(())
        }
        other => other.map_err(Side::Client),
    }
}

/// The first two of the three numbers in `Rows matched: 2  Changed: 1  Warnings: 0`, in whatever language.
fn matched(info: &[u8]) -> Option<(u64, u64)> {
    let mut numbers = info.split(|byte| !byte.is_ascii_digit()).filter(|digits| !digits.is_empty());
    let (matched, changed, _) = (numbers.next()?, numbers.next()?, numbers.next()?);
    if numbers.next().is_some() {
        return None;
    }
    let number = |digits| std::str::from_utf8(digits).ok()?.parse().ok();
    Some((number(matched)?, number(changed)?))
}

/// The routine that does not exist, of an error that says so.
fn missing(code: u16, frame: &[u8]) -> Option<Box<[u8]>> {
    if code != NO_ROUTINE {
        return None;
    }
    let error = ErrPacket::parse(frame.get(HEADER..)?).ok()?;
    missing_routine(&error.message).map(Into::into)
}

fn cursor(status: Status) -> Option<bool> {
    if status.contains(Status::LAST_ROW_SENT) { Some(false) } else { status.opens_cursor().then_some(true) }
}

fn transaction(status: Status) -> Transaction {
    Transaction { open: status.contains(Status::IN_TRANS), autocommit: status.contains(Status::AUTOCOMMIT) }
}

fn learn(change: Change<'_>, flavour: Flavour, heard: &mut Heard) {
    match change {
        Change::Schema(name) => {
            let name = String::from_utf8_lossy(name).into_owned();
            heard.schema = Some((!name.is_empty()).then_some(name));
        }
        Change::StateChanged(changed) => heard.state_changed |= changed,
        Change::Gtid(text) => learn_position(flavour, text, heard),
        Change::Variable { name, value } => match name {
            b"last_gtid" => learn_position(flavour, value, heard),
            b"sql_mode" => heard.modes = Some(Modes::from_sql_mode(&String::from_utf8_lossy(value))),
            b"character_set_client" => {
                heard.charset = Some(Charset::from_name(&String::from_utf8_lossy(value)))
            }
            _ => {}
        },
        _ => {}
    }
}

fn learn_position(flavour: Flavour, text: &[u8], heard: &mut Heard) {
    let Ok(position) = Position::parse(flavour, &String::from_utf8_lossy(text)) else { return };
    if position.is_empty() {
        return;
    }
    match &mut heard.position {
        Some(known) => known.union(&position),
        None => heard.position = Some(position),
    }
}

/// The content of a LOCAL INFILE, from the client to the server; answers the last sequence number.
async fn send_file(client: &mut Buffered, server: &mut Buffered, name: &Arc<str>) -> Result<u8, Side> {
    server.continues(true);
    loop {
        let (sent, seq) = forward_frame(client, server, name).await?;
        if sent == 0 {
            server.continues(false);
            client.turn();
            return Ok(seq);
        }
    }
}

/// A packet of up to `limit` bytes from the client to the server, piece by piece; answers the last
/// sequence number.
pub(crate) async fn forward_packet(
    client: &mut Buffered,
    server: &mut Buffered,
    name: &Arc<str>,
    limit: u64,
) -> Result<u8, Side> {
    let mut total = 0_u64;
    loop {
        let next = FrameHead::parse(&client.input).map_or(0, |head| head.len);
        if total.saturating_add(next as u64) > limit {
            return Err(Side::TooLarge);
        }
        let (sent, seq) = forward_frame(client, server, name).await?;
        total = total.saturating_add(sent as u64);
        if sent < MAX_FRAME {
            client.turn();
            return Ok(seq);
        }
    }
}

async fn forward_frame(
    client: &mut Buffered,
    server: &mut Buffered,
    name: &Arc<str>,
) -> Result<(usize, u8), Side> {
    let head = loop {
        if let Some(head) = FrameHead::parse(&client.input) {
            break head;
        }
        fill(client).await?;
    };
    let mut left = head.whole();
    loop {
        let now = left.min(client.input.len());
        let piece = client.input.get(..now).unwrap_or_default();
        server.write_all(piece).await.map_err(|error| Side::Server(ServerFault::lost(name, &error)))?;
        client.input.advance(now);
        left = left.saturating_sub(now);
        if left == 0 {
            return Ok((head.len, head.seq));
        }
        fill(client).await?;
    }
}

async fn fill(client: &mut Buffered) -> Result<(), Side> {
    match client.fill().await {
        Ok(0) => Err(Side::Client(io::ErrorKind::UnexpectedEof.into())),
        Ok(_) => Ok(()),
        Err(error) => Err(Side::Client(error)),
    }
}
