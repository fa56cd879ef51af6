//! A connection that the primary sends its binary log on. Owns what is said to begin it, and the way from packets to
//! events; must not know what events mean.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use clonelove_route::position::Position;
use clonelove_route::report::{Flavour, Report};
use clonelove_wire::Command;
use clonelove_wire::binlog::{dump, size_of_event};
use clonelove_wire::frame::{FrameHead, HEADER, MAX_FRAME};
use clonelove_wire::packet::err::Err as ErrPacket;
use tokio::time::timeout;

use crate::backend::conn::BackendConn;
use crate::backend::reply::{Reply, request};
use crate::backend::setup::{Use, check_identity, identity_statement};
use crate::error::{Fault, Refusal, ServerFault};

/// What of an event is kept; the rest of a longer one is read and dropped.
const LONGEST: usize = 16 << 20;
/// A buffer that grew beyond this is let go of.
const KEPT: usize = 1 << 20;
/// An idle primary says so often that it lives.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// One that has said nothing for so long does not.
const SILENCE: Duration = Duration::from_secs(5);
/// How long it may take to answer a question.
const WITHIN: Duration = Duration::from_secs(5);

/// Who we are to the server.
#[derive(Clone, Debug)]
pub(super) struct Replica {
    pub(super) server_id: u32,
    uuid: String,
}

/// The log, as it comes.
pub(super) struct Stream {
    conn: BackendConn,
    seq: u8,
    /// Of the frame under way.
    left: usize,
    /// More frames belong to the packet.
    goes_on: bool,
    /// The first byte of the packet, once it is there.
    status: Option<u8>,
    event: Vec<u8>,
    dropped: usize,
    complete: bool,
}

/// What a packet was.
pub(super) enum Came<'a> {
    /// An event, and whether it is whole.
    Event(&'a [u8], bool),
    /// The server ends the stream in good order.
    End,
}

impl Replica {
    /// Someone whom nobody else will be: servers end an older stream of the same replica.
    pub(super) fn new() -> Self {
        let mut random = [0_u8; 20];
        let _ = aws_lc_rs::rand::fill(&mut random);
        let [a, b, c, d, uuid @ ..] = random;
        Self { server_id: own_server_id(u32::from_le_bytes([a, b, c, d])), uuid: uuid_of(uuid) }
    }
}

/// From 3758096384 up: people number servers from 1, or by IPv4 addresses, and no host has one from 224.0.0.0 up.
fn own_server_id(random: u32) -> u32 {
    (random | 0xE000_0000).min(u32::MAX - 1)
}

fn uuid_of(mut random: [u8; 16]) -> String {
    for (at, byte) in random.iter_mut().enumerate() {
        match at {
            6 => *byte = (*byte & 0x0F) | 0x40,
            8 => *byte = (*byte & 0x3F) | 0x80,
            _ => {}
        }
    }
    let digits = u128::from_be_bytes(random);
    let part = |shift: u32, width: usize, mask: u128| format!("{:0width$x}", (digits >> shift) & mask);
    let parts = [
        part(96, 8, 0xFFFF_FFFF),
        part(80, 4, 0xFFFF),
        part(64, 4, 0xFFFF),
        part(48, 4, 0xFFFF),
        part(0, 12, 0xFFFF_FFFF_FFFF),
    ];
    parts.join("-")
}

/// Who answers, and how far it is.
pub(super) async fn ask(conn: &mut BackendConn, report: Option<&Report>) -> Result<Position, ServerFault> {
    let position = match conn.flavour {
        Flavour::MariaDb => "SELECT @@global.gtid_binlog_pos",
        Flavour::MySql => "SELECT @@global.gtid_executed",
    };
    if let Some(report) = report {
        let who = conn.rows(identity_statement(conn.flavour, Use::Primary), WITHIN).await?;
        let row = who.rows.first().map(Vec::as_slice).unwrap_or_default();
        // One that is read-only and primary all the same is so by a client's word.
        if check_identity(row, report).is_none_or(|read_only| read_only && !report.read_only) {
            let why = "another server answers at its address than the probe saw, or it has become read-only";
            return Err(ServerFault::new(&conn.server, Fault::ServerConnect, why));
        }
    }
    let rows = conn.rows(position, WITHIN).await?;
    let text = rows.rows.first().and_then(|row| row.first()).and_then(Option::as_deref).unwrap_or_default();
    Position::parse(conn.flavour, text)
        .map_err(|error| ServerFault::new(&conn.server, Fault::ServerProtocol, error))
}

impl Stream {
    /// Asks for everything behind a position. Whether the server gives it is told by the first packet.
    pub(super) async fn open(
        mut conn: BackendConn,
        replica: &Replica,
        from: &Position,
    ) -> Result<Self, ServerFault> {
        timeout(WITHIN, introduce(&mut conn, replica, from)).await.map_err(|_| silent(&conn.server))??;
        let dump = match from {
            Position::MariaDb(_) => {
                request(Command::BinlogDump, &dump::from_connect_state(replica.server_id), conn.caps)
            }
            Position::MySql(from) => {
                request(Command::BinlogDumpGtid, &dump::without(replica.server_id, from.iter()), conn.caps)
            }
        };
        conn.io.write_all(&dump).await.map_err(|error| ServerFault::lost(&conn.server, &error))?;
        conn.io.expect(1);
        Ok(Self {
            conn,
            seq: 1,
            left: 0,
            goes_on: false,
            status: None,
            event: Vec::new(),
            dropped: 0,
            complete: true,
        })
    }

    /// The next packet. Cancel safe: what was read is kept.
    pub(super) async fn next(&mut self) -> Result<Came<'_>, ServerFault> {
        if self.complete {
            self.event.clear();
            if self.event.capacity() > KEPT {
                self.event = Vec::new();
            }
            (self.status, self.dropped, self.complete) = (None, 0, false);
        }
        while !self.take()? {
            let filled = timeout(SILENCE, self.conn.io.fill()).await;
            let count = filled
                .map_err(|_| silent(&self.conn.server))?
                .map_err(|error| ServerFault::lost(&self.conn.server, &error))?;
            if count == 0 {
                return Err(ServerFault::new(
                    &self.conn.server,
                    Fault::ServerLost,
                    "it ended the binary log's stream",
                ));
            }
        }
        self.complete = true;
        let whole = self.dropped == 0;
        match self.status {
            Some(0x00) => Ok(Came::Event(&self.event, whole)),
            Some(0xFE) if self.event.len() < 8 => Ok(Came::End),
            Some(0xFF) => Err(self.refusal()),
            _ => Err(self.protocol("a packet that is no event")),
        }
    }

    /// Takes over what has come; whether the packet is complete.
    fn take(&mut self) -> Result<bool, ServerFault> {
        loop {
            if self.left == 0 {
                let Some(head) = FrameHead::parse(&self.conn.io.input) else { return Ok(false) };
                if head.seq != self.seq {
                    return Err(self.protocol("a packet out of sequence"));
                }
                self.conn.io.input.advance(HEADER);
                self.seq = self.seq.wrapping_add(1);
                self.left = head.len;
                self.goes_on = head.len == MAX_FRAME;
            }
            let count = self.left.min(self.conn.io.input.len());
            let part = self.conn.io.input.split_to(count);
            self.left = self.left.saturating_sub(count);
            self.keep(&part);
            if self.left > 0 {
                return Ok(false);
            }
            if !self.goes_on {
                return Ok(true);
            }
        }
    }

    fn keep(&mut self, part: &BytesMut) {
        let mut part: &[u8] = part;
        if self.status.is_none()
            && let Some((first, rest)) = part.split_first()
        {
            self.status = Some(*first);
            part = rest;
        }
        let room = LONGEST.saturating_sub(self.event.len());
        if self.event.is_empty()
            && let Some(size) = size_of_event(part)
        {
            self.event.reserve_exact(size.min(LONGEST).max(part.len().min(room)));
        }
        let kept = part.get(..room.min(part.len())).unwrap_or_default();
        self.event.extend_from_slice(kept);
        self.dropped = self.dropped.saturating_add(part.len().saturating_sub(kept.len()));
    }

    fn refusal(&self) -> ServerFault {
        let mut packet = vec![0xFF];
        packet.extend_from_slice(&self.event);
        let Ok(error) = ErrPacket::parse(&packet) else { return self.protocol("a malformed error") };
        let (code, state, message) = (error.code, error.state, error.text().into_owned());
        let detail = format!("it does not send its binary log: {message} ({code})");
        let fault = ServerFault::new(&self.conn.server, Fault::ServerLost, detail);
        ServerFault { refused: Some(Refusal { code, state, message }), ..fault }
    }

    fn protocol(&self, what: &str) -> ServerFault {
        ServerFault::new(
            &self.conn.server,
            Fault::ServerProtocol,
            format!("in its binary log's stream: {what}"),
        )
    }
}

fn silent(server: &Arc<str>) -> ServerFault {
    ServerFault::new(server, Fault::ServerLost, "it says nothing on the binary log's stream")
}

/// What a replica says before it asks for the log.
async fn introduce(conn: &mut BackendConn, replica: &Replica, from: &Position) -> Result<(), ServerFault> {
    let nanoseconds = HEARTBEAT.as_nanos();
    let (uuid, checksum) = (&replica.uuid, "@@global.binlog_checksum");
    let settings = match from {
        Position::MariaDb(from) => format!(
            "SET @master_heartbeat_period = {nanoseconds}, @master_binlog_checksum = {checksum}, \
             @mariadb_slave_capability = 4, @slave_connect_state = '{from}', @slave_gtid_strict_mode = 0, \
             @slave_gtid_ignore_duplicates = 0"
        ),
        Position::MySql(_) => format!(
            "SET @master_heartbeat_period = {nanoseconds}, @source_heartbeat_period = {nanoseconds}, \
             @master_binlog_checksum = {checksum}, @source_binlog_checksum = {checksum}, \
             @slave_uuid = '{uuid}', @replica_uuid = '{uuid}'"
        ),
    };
    let register = dump::register(replica.server_id);
    let questions = [(Command::Query, settings.as_bytes()), (Command::RegisterSlave, register.as_slice())];
    for reply in conn.ask(&questions).await? {
        if let Reply::Err { code, state, message } = reply {
            let detail = format!(
                "it does not let the monitoring account follow its binary log: {message} ({code}); \
                 GRANT REPLICATION SLAVE ON *.* to it"
            );
            let fault = ServerFault::new(&conn.server, Fault::ServerAuth, detail);
            return Err(ServerFault { refused: Some(Refusal { code, state, message }), ..fault });
        }
    }
    Ok(())
}
