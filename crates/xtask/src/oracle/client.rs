//! A client of the oracle's own: every byte of a row, every status flag, every tracker, and a time limit.
//!
//! It speaks as PHP's mysqlnd does (no DEPRECATE_EOF) and is written apart from the product's protocol code.

use std::io::{self, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

const LONG_PASSWORD: u32 = 1;
const FOUND_ROWS: u32 = 1 << 1;
const CONNECT_WITH_DB: u32 = 1 << 3;
const PROTOCOL_41: u32 = 1 << 9;
const TRANSACTIONS: u32 = 1 << 13;
const SECURE_CONNECTION: u32 = 1 << 15;
const MULTI_STATEMENTS: u32 = 1 << 16;
const MULTI_RESULTS: u32 = 1 << 17;
const PLUGIN_AUTH: u32 = 1 << 19;
const SESSION_TRACK: u32 = 1 << 23;
const IN_TRANSACTION: u16 = 1;
const AUTOCOMMIT: u16 = 2;
const MORE_RESULTS_EXIST: u16 = 8;
const STATE_CHANGED: u16 = 1 << 14;
const WHOLE_FRAME: usize = 0xff_ffff;

/// A session on one server.
#[derive(Debug)]
pub(super) struct Client {
    stream: BufReader<UnixStream>,
    sequence: u8,
    /// The server's number for it.
    pub(super) id: u32,
}

/// Why there is no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It did not come in time; the connection is of no further use.
    Late,
    /// The connection is lost.
    Lost,
}

/// All that a server answered to one text.
#[derive(Debug, Default)]
pub(super) struct Reply {
    /// The result sets, in order.
    pub(super) results: Vec<Rows>,
    /// The error that ended it.
    pub(super) error: Option<(u16, String)>,
    /// The flags of the last part.
    pub(super) status: u16,
    /// Rows affected, of all parts.
    pub(super) affected: u64,
    /// Session variables that were reported.
    pub(super) variables: Vec<(String, String)>,
    /// The default schema that was reported.
    pub(super) schema: Option<Option<String>>,
    /// A change of session state was reported.
    pub(super) state_changed: bool,
    /// The last part ended in a plain EOF.
    pub(super) plain_eof: bool,
}

/// One result set: rows as they stood on the wire.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Rows {
    /// How many columns.
    pub(super) columns: usize,
    /// Their names.
    pub(super) names: Vec<String>,
    /// Encoded values of a row one after the other.
    pub(super) rows: Vec<Vec<u8>>,
}

impl Reply {
    /// The error's number.
    pub(super) fn code(&self) -> Option<u16> {
        self.error.as_ref().map(|(code, _)| *code)
    }

    /// Whether a transaction is open.
    pub(super) fn in_transaction(&self) -> bool {
        self.status & IN_TRANSACTION != 0
    }

    /// Whether autocommit is on.
    pub(super) fn autocommit(&self) -> bool {
        self.status & AUTOCOMMIT != 0
    }
}

impl Rows {
    /// The rows' values; NULL is `None`.
    pub(super) fn values(&self) -> Vec<Vec<Option<Vec<u8>>>> {
        let values = |row: &Vec<u8>| {
            let mut fields = Fields(row);
            (0..self.columns).map(|_| fields.bytes().map(<[u8]>::to_vec)).collect()
        };
        self.rows.iter().map(values).collect()
    }

    /// The rows as text; NULL is `None`.
    pub(super) fn text(&self) -> Vec<Vec<Option<String>>> {
        let text = |value: Option<Vec<u8>>| value.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        self.values().into_iter().map(|row| row.into_iter().map(text).collect()).collect()
    }
}

impl Client {
    /// Logs in over the socket, without a password. `Err(Some(_))` is the server's refusal.
    pub(super) fn open(
        socket: &Path,
        user: &str,
        schema: Option<&str>,
        found_rows: bool,
    ) -> Result<Self, Option<(u16, String)>> {
        let stream = UnixStream::connect(socket).map_err(|_| None)?;
        let mut client = Self { stream: BufReader::new(stream), sequence: 0, id: 0 };
        client.set_limit(Duration::from_secs(20));
        let greeting = client.read_packet().map_err(|_| None)?;
        if greeting.first() == Some(&0xff) {
            return Err(Some(error_of(&greeting)));
        }
        let version_end = greeting.iter().skip(1).position(|byte| *byte == 0).unwrap_or(0);
        let mut rest = Fields(greeting.get(version_end.saturating_add(2)..).unwrap_or_default());
        client.id = u32::try_from(rest.number(4)).unwrap_or(0);
        let response = handshake_response(user, schema, found_rows);
        client.write_packet(&response).map_err(|_| None)?;
        loop {
            let packet = client.read_packet().map_err(|_| None)?;
            match packet.first() {
                Some(0x00) => return Ok(client),
                // Whatever the method: no password, no proof.
                Some(0xfe) => client.write_packet(&[]).map_err(|_| None)?,
                Some(0x01) => {}
                _ => return Err(Some(error_of(&packet))),
            }
        }
    }

    /// How long a reply may take.
    pub(super) fn set_limit(&self, limit: Duration) {
        let _ = self.stream.get_ref().set_read_timeout(Some(limit));
        let _ = self.stream.get_ref().set_write_timeout(Some(limit));
    }

    /// Runs it and reads all of the reply.
    pub(super) fn ask(&mut self, sql: &[u8]) -> Result<Reply, Fault> {
        self.send(sql)?;
        self.receive()
    }

    /// The first result's rows as text; none when it failed.
    pub(super) fn rows(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>, Fault> {
        let reply = self.ask(sql.as_bytes())?;
        if reply.error.is_some() {
            return Ok(Vec::new());
        }
        Ok(reply.results.first().map(Rows::text).unwrap_or_default())
    }

    /// The first value of the first row; empty when there is none.
    pub(super) fn value(&mut self, sql: &str) -> Result<String, Fault> {
        let first = self.rows(sql)?.into_iter().next().and_then(|row| row.into_iter().next());
        Ok(first.flatten().unwrap_or_default())
    }

    /// Sends it and reads nothing.
    pub(super) fn send(&mut self, sql: &[u8]) -> Result<(), Fault> {
        let mut packet = Vec::with_capacity(sql.len().saturating_add(1));
        packet.push(3);
        packet.extend_from_slice(sql);
        self.sequence = 0;
        self.write_packet(&packet).map_err(fault)
    }

    /// Reads the reply to what was sent.
    pub(super) fn receive(&mut self) -> Result<Reply, Fault> {
        let mut reply = Reply::default();
        loop {
            let more = self.read_part(&mut reply).map_err(fault)?;
            if !more {
                return Ok(reply);
            }
        }
    }

    fn read_part(&mut self, reply: &mut Reply) -> io::Result<bool> {
        let head = self.read_packet()?;
        match head.first() {
            Some(0x00) => {
                reply.take_ok(&head);
                reply.plain_eof = false;
                return Ok(reply.status & MORE_RESULTS_EXIST != 0);
            }
            Some(0xff) => {
                reply.error = Some(error_of(&head));
                return Ok(false);
            }
            // A local file: there is none.
            Some(0xfb) => {
                self.write_packet(&[])?;
                return Ok(true);
            }
            _ => {}
        }
        let columns = usize::try_from(Fields(&head).length().unwrap_or(0)).unwrap_or(0);
        let mut names = Vec::new();
        for _ in 0..columns {
            // Catalogue, schema, table, original table, name, …
            let definition = self.read_packet()?;
            let mut fields = Fields(&definition);
            for _ in 0..4 {
                fields.bytes();
            }
            names.push(fields.text());
        }
        self.read_packet()?;
        let mut rows = Rows { columns, names, rows: Vec::new() };
        loop {
            let packet = self.read_packet()?;
            match packet.first() {
                Some(0xfe) if packet.len() < 9 => {
                    let mut end = Fields(packet.get(3..).unwrap_or_default());
                    reply.status = u16::try_from(end.number(2)).unwrap_or(0);
                    reply.state_changed |= reply.status & STATE_CHANGED != 0;
                    reply.plain_eof = true;
                    reply.results.push(rows);
                    return Ok(reply.status & MORE_RESULTS_EXIST != 0);
                }
                Some(0xff) => {
                    reply.error = Some(error_of(&packet));
                    return Ok(false);
                }
                _ => rows.rows.push(packet),
            }
        }
    }

    fn read_packet(&mut self) -> io::Result<Vec<u8>> {
        let mut payload = Vec::new();
        loop {
            let mut header = [0; 4];
            self.stream.read_exact(&mut header)?;
            let [low, middle, high, sequence] = header;
            self.sequence = sequence.wrapping_add(1);
            let length = u32::from_le_bytes([low, middle, high, 0]) as usize;
            let before = payload.len();
            payload.resize(before.saturating_add(length), 0);
            if let Some(frame) = payload.get_mut(before..) {
                self.stream.read_exact(frame)?;
            }
            if length < WHOLE_FRAME {
                return Ok(payload);
            }
        }
    }

    fn write_packet(&mut self, payload: &[u8]) -> io::Result<()> {
        let mut frames: Vec<&[u8]> = payload.chunks(WHOLE_FRAME).collect();
        if payload.len().is_multiple_of(WHOLE_FRAME) {
            frames.push(&[]);
        }
        for frame in frames {
            let [low, middle, high, _] = u32::try_from(frame.len()).unwrap_or(0).to_le_bytes();
            let mut whole = vec![low, middle, high, self.sequence];
            whole.extend_from_slice(frame);
            self.stream.get_mut().write_all(&whole)?;
            self.sequence = self.sequence.wrapping_add(1);
        }
        Ok(())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.sequence = 0;
        let _ = self.write_packet(&[1]);
    }
}

impl Reply {
    /// An OK packet with its trackers (protocol documentation, "OK_Packet", "Session State Information").
    fn take_ok(&mut self, ok: &[u8]) {
        let mut fields = Fields(ok.get(1..).unwrap_or_default());
        self.affected = self.affected.saturating_add(fields.length().unwrap_or(0));
        fields.length();
        self.status = u16::try_from(fields.number(2)).unwrap_or(0);
        fields.number(2);
        if self.status & STATE_CHANGED == 0 {
            return;
        }
        fields.bytes();
        // In a schema of a wide character set MariaDB puts NULs here.
        while fields.0.len() > 1 && fields.0.first() == Some(&0) {
            fields.take(1);
        }
        let mut changes = Fields(fields.bytes().unwrap_or_default());
        while !changes.0.is_empty() {
            let kind = changes.number(1);
            let mut change = Fields(changes.bytes().unwrap_or_default());
            match kind {
                0 => {
                    while !change.0.is_empty() {
                        let (name, value) = (change.text(), change.text());
                        self.variables.push((name, value));
                    }
                }
                1 => {
                    let schema = change.text();
                    self.schema = Some((!schema.is_empty()).then_some(schema));
                }
                2 => self.state_changed = true,
                _ => {}
            }
        }
    }
}

/// Reads the parts of a packet; what is not there is nought.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn number(&mut self, bytes: usize) -> u64 {
        self.take(bytes).iter().rev().fold(0, |value, byte| (value << 8) | u64::from(*byte))
    }

    fn length(&mut self) -> Option<u64> {
        match self.number(1) {
            0xfb => None,
            0xfc => Some(self.number(2)),
            0xfd => Some(self.number(3)),
            0xfe => Some(self.number(8)),
            small => Some(small),
        }
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.length()?;
        Some(self.take(usize::try_from(length).unwrap_or(usize::MAX)))
    }

    fn text(&mut self) -> String {
        String::from_utf8_lossy(self.bytes().unwrap_or_default()).into_owned()
    }
}

fn fault(error: io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Fault::Late,
        _ => Fault::Lost,
    }
}

fn error_of(packet: &[u8]) -> (u16, String) {
    let mut fields = Fields(packet.get(1..).unwrap_or_default());
    let code = u16::try_from(fields.number(2)).unwrap_or(0);
    if fields.0.first() == Some(&b'#') {
        fields.take(6);
    }
    (code, String::from_utf8_lossy(fields.0).into_owned())
}

fn handshake_response(user: &str, schema: Option<&str>, found_rows: bool) -> Vec<u8> {
    let mut flags = LONG_PASSWORD | PROTOCOL_41 | TRANSACTIONS | SECURE_CONNECTION | PLUGIN_AUTH;
    flags |= MULTI_STATEMENTS | MULTI_RESULTS | SESSION_TRACK;
    flags |= if found_rows { FOUND_ROWS } else { 0 };
    flags |= if schema.is_some() { CONNECT_WITH_DB } else { 0 };
    let mut packet = flags.to_le_bytes().to_vec();
    packet.extend_from_slice(&(1_u32 << 30).to_le_bytes());
    // utf8mb4_general_ci, as mysqlnd says.
    packet.push(45);
    packet.extend_from_slice(&[0; 23]);
    packet.extend_from_slice(user.as_bytes());
    packet.extend_from_slice(&[0, 0]);
    if let Some(schema) = schema {
        packet.extend_from_slice(schema.as_bytes());
        packet.push(0);
    }
    packet.extend_from_slice(b"mysql_native_password\0");
    packet
}
