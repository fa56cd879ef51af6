//! A client that keeps all of an answer: counts, flags, warnings, columns' definitions and rows as they came.
#![expect(clippy::indexing_slicing, reason = "helpers of tests may fail as tests do")]

use std::fmt;

use anyhow::{Context, Result, ensure};
use clonelove_testkit::{APP_PASSWORD, APP_USER, Connection};

const COM_INIT_DB: u8 = 0x02;
const COM_QUERY: u8 = 0x03;
const COM_PING: u8 = 0x0E;
const COM_STMT_PREPARE: u8 = 0x16;
const COM_STMT_EXECUTE: u8 = 0x17;
const COM_STMT_SEND_LONG_DATA: u8 = 0x18;
const COM_STMT_CLOSE: u8 = 0x19;
const COM_STMT_RESET: u8 = 0x1A;
const COM_STMT_FETCH: u8 = 0x1C;
/// Of an execution: a cursor is asked for, to read.
const READ_ONLY_CURSOR: u8 = 1;
/// Of a reply: its rows are still to be fetched.
const CURSOR_EXISTS: u16 = 0x40;
const COM_RESET_CONNECTION: u8 = 0x1F;
/// IN_TRANS and AUTOCOMMIT; other flags are of the server's plan or of what it tracks.
const STATUS: u16 = 3;
const MORE_RESULTS: u16 = 8;

/// What stands for the letter of a side in names that both sides share a server with.
const SIDE: char = '$';

/// One of the two worlds: the proxied clients', and their twins'. They differ in the last letter of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Proxied,
    Direct,
}

impl Side {
    pub(crate) const BOTH: [Self; 2] = [Side::Proxied, Side::Direct];

    /// A text with this side's names: `side_$` is `side_a` or `side_b`.
    pub(crate) fn names(self, text: &str) -> String {
        text.replace(
            SIDE,
            match self {
                Side::Proxied => "a",
                Side::Direct => "b",
            },
        )
    }

    /// The names of an answer, as if it were the other side's.
    fn common(self, mut bytes: Vec<u8>) -> Vec<u8> {
        if self == Side::Direct {
            for at in 5..bytes.len() {
                let name = &bytes[at - 5..at];
                if bytes[at] == b'b' && [&b"side_"[..], b"more_", b"lock_"].contains(&name) {
                    bytes[at] = b'a';
                }
            }
        }
        bytes
    }
}

/// How statements are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Text,
    /// Prepared, executed and closed, if it can be prepared.
    Prepared,
}

/// A value to be bound to a parameter, of the type it is named after.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bind<'a> {
    Tiny(i8),
    UnsignedTiny(u8),
    Int(i32),
    Big(i64),
    UnsignedBig(u64),
    Double(f64),
    Text(&'a str),
    Blob(&'a str),
    Null,
    /// Sent before the execution.
    Long(&'a str),
}

impl Bind<'_> {
    /// Its type, and its bytes in an execution.
    fn encoded(self) -> ([u8; 2], Vec<u8>) {
        let text = |text: &str| {
            let mut bytes = vec![u8::try_from(text.len()).unwrap_or(250)];
            bytes.extend(text.as_bytes());
            bytes
        };
        match self {
            Bind::Tiny(value) => ([1, 0], value.to_le_bytes().into()),
            Bind::UnsignedTiny(value) => ([1, 0x80], vec![value]),
            Bind::Int(value) => ([3, 0], value.to_le_bytes().into()),
            Bind::Big(value) => ([8, 0], value.to_le_bytes().into()),
            Bind::UnsignedBig(value) => ([8, 0x80], value.to_le_bytes().into()),
            Bind::Double(value) => ([5, 0], value.to_le_bytes().into()),
            Bind::Text(value) => ([253, 0], text(value)),
            Bind::Blob(value) => ([252, 0], text(value)),
            Bind::Null => ([253, 0], Vec::new()),
            Bind::Long(_) => ([253, 0], Vec::new()),
        }
    }
}

/// A statement that a client has prepared, by the number it has for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stmt(pub(crate) [u8; 4]);

/// One part of an answer.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Part {
    Ok { affected: u64, insert_id: u64, status: u16, warnings: u16, info: Vec<u8> },
    Error { code: u16, message: Vec<u8> },
    Rows { columns: Vec<Vec<u8>>, rows: Vec<Vec<u8>>, status: u16, warnings: u16 },
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes: &Vec<u8>| bytes.escape_ascii().to_string();
        match self {
            Part::Ok { affected, insert_id, status, warnings, info } => {
                let info = text(info);
                write!(f, "OK affected {affected} id {insert_id} status {status} warnings {warnings} {info}")
            }
            Part::Error { code, message } => write!(f, "error {code} {}", text(message)),
            Part::Rows { columns, rows, status, warnings } => {
                let (columns, rows): (Vec<_>, Vec<_>) =
                    (columns.iter().map(text).collect(), rows.iter().map(text).collect());
                write!(f, "rows status {status} warnings {warnings} {rows:?} of {columns:?}")
            }
        }
    }
}

/// All of an answer.
pub(crate) type Answer = Vec<Part>;

/// Whether something is left for SHOW WARNINGS.
pub(crate) fn leaves_diagnostics(answer: &Answer) -> bool {
    match answer.last() {
        Some(Part::Ok { warnings, .. } | Part::Rows { warnings, .. }) => *warnings > 0,
        Some(Part::Error { .. }) => true,
        None => false,
    }
}

/// The transaction flags of the last part that has any.
pub(crate) fn status(answer: &Answer) -> Option<u16> {
    answer.iter().rev().find_map(|part| match part {
        Part::Ok { status, .. } | Part::Rows { status, .. } => Some(*status),
        Part::Error { .. } => None,
    })
}

/// The first value of an answer in text, or the error's number.
pub(crate) fn first_value(answer: &Answer) -> String {
    match answer.first() {
        Some(Part::Error { code, .. }) => format!("error {code}"),
        Some(Part::Rows { rows, .. }) => match rows.first() {
            None => "no row".to_owned(),
            Some(row) if row.first() == Some(&0xFB) => "NULL".to_owned(),
            Some(row) => {
                let mut fields = Fields(row);
                let length = fields.length().unwrap_or_default();
                String::from_utf8_lossy(fields.take(usize::try_from(length).unwrap_or_default())).into_owned()
            }
        },
        _ => "OK".to_owned(),
    }
}

/// A client of one side.
pub(crate) struct Client {
    pub(crate) side: Side,
    pub(crate) connection: Connection,
}

impl Client {
    /// Logs in at an address, in schema `side_$`.
    pub(crate) fn open(side: Side, address: &str) -> Result<Self> {
        let schema = side.names("side_$");
        let connection = Connection::open_tcp(address, APP_USER, APP_PASSWORD, Some(&schema))?;
        Ok(Self { side, connection })
    }

    /// Sends a statement, or a command by its name.
    pub(crate) fn send(&mut self, sql: &str) -> Result<()> {
        let sql = self.side.names(sql);
        let (command, body) = match sql.split_once(' ') {
            Some(("COM_INIT_DB", schema)) => (COM_INIT_DB, schema.as_bytes().to_vec()),
            _ if sql == "COM_PING" => (COM_PING, Vec::new()),
            _ if sql == "COM_RESET_CONNECTION" => (COM_RESET_CONNECTION, Vec::new()),
            _ => (COM_QUERY, sql.into_bytes()),
        };
        self.command(command, &body)
    }

    fn command(&mut self, command: u8, body: &[u8]) -> Result<()> {
        let [low, middle, high, _] = u32::try_from(body.len() + 1)?.to_le_bytes();
        let mut frame = vec![low, middle, high, 0, command];
        frame.extend_from_slice(body);
        self.connection.send_raw(&frame)
    }

    /// The answer to what was sent.
    pub(crate) fn receive(&mut self) -> Result<Answer> {
        let mut parts = Vec::new();
        loop {
            let (part, more) = self.part()?;
            parts.push(part);
            if !more {
                return Ok(parts);
            }
        }
    }

    /// Sends a statement in this way and reads its answer.
    pub(crate) fn ask(&mut self, sql: &str, way: Way) -> Result<Answer> {
        let asked = self.asked(sql, way);
        asked.with_context(|| format!("{:?}: {sql}", self.side))
    }

    fn asked(&mut self, sql: &str, way: Way) -> Result<Answer> {
        if way == Way::Text || sql.starts_with("COM_") {
            self.send(sql)?;
            return self.receive();
        }
        let statement = match self.prepared(sql)? {
            Ok(statement) => statement,
            // What cannot be prepared is said as text.
            Err(Part::Error { code: 1295, .. }) => return self.asked(sql, Way::Text),
            Err(other) => return Ok(vec![other]),
        };
        let answer = self.execute(statement, &[])?;
        self.close(statement)?;
        Ok(answer)
    }

    /// Prepares a statement; the inner error is the server's.
    fn prepared(&mut self, sql: &str) -> Result<Result<Stmt, Part>> {
        self.command(COM_STMT_PREPARE, self.side.names(sql).as_bytes())?;
        let head = self.packet()?;
        if head[0] == 0xFF {
            return Ok(Err(error(&head)));
        }
        let id = head[1..5].try_into()?;
        let number = |at: usize| usize::from(u16::from_le_bytes([head[at], head[at + 1]]));
        for count in [number(7), number(5)].into_iter().filter(|count| *count > 0) {
            for _ in 0..=count {
                self.packet()?;
            }
        }
        Ok(Ok(Stmt(id)))
    }

    /// Prepares a statement.
    pub(crate) fn prepare(&mut self, sql: &str) -> Result<Stmt> {
        self.prepared(sql)?.map_err(|refused| anyhow::anyhow!("{sql}: {refused:?}"))
    }

    /// Executes a prepared statement with these values, whose types it says.
    pub(crate) fn execute(&mut self, statement: Stmt, values: &[Bind<'_>]) -> Result<Answer> {
        self.send_execution(statement, values, (0, true))?;
        self.receive()
    }

    /// The same, with the types as they were said before.
    pub(crate) fn execute_again(&mut self, statement: Stmt, values: &[Bind<'_>]) -> Result<Answer> {
        self.send_execution(statement, values, (0, false))?;
        self.receive()
    }

    fn send_execution(
        &mut self,
        Stmt(id): Stmt,
        values: &[Bind<'_>],
        (flags, says_types): (u8, bool),
    ) -> Result<()> {
        let mut nulls = vec![0_u8; values.len().div_ceil(8)];
        let (mut types, mut bytes) = (Vec::new(), Vec::new());
        for (at, value) in values.iter().enumerate() {
            let (kind, encoded) = value.encoded();
            types.extend(kind);
            bytes.extend(encoded);
            match value {
                Bind::Null => nulls[at / 8] |= 1 << (at % 8),
                Bind::Long(data) => {
                    let param = u16::try_from(at)?.to_le_bytes();
                    self.command(COM_STMT_SEND_LONG_DATA, &[&id[..], &param, data.as_bytes()].concat())?;
                }
                _ => {}
            }
        }
        let mut body = [&id[..], &[flags, 1, 0, 0, 0]].concat();
        if !values.is_empty() {
            body.extend(nulls);
            body.push(u8::from(says_types));
            body.extend(if says_types { types } else { Vec::new() });
            body.extend(bytes);
        }
        self.command(COM_STMT_EXECUTE, &body)
    }

    /// Executes a prepared statement, whose rows are to be fetched.
    pub(crate) fn open_cursor(&mut self, statement: Stmt) -> Result<Answer> {
        self.send_execution(statement, &[], (READ_ONLY_CURSOR, true))?;
        self.receive()
    }

    /// The next rows of a cursor, at most so many.
    pub(crate) fn fetch(&mut self, Stmt(id): Stmt, rows: u32) -> Result<Answer> {
        self.command(COM_STMT_FETCH, &[id, rows.to_le_bytes()].concat())?;
        Ok(vec![self.rows(Vec::new())?.0])
    }

    /// Forgets what was bound to a statement, and its cursor.
    pub(crate) fn reset_statement(&mut self, Stmt(id): Stmt) -> Result<Answer> {
        self.command(COM_STMT_RESET, &id)?;
        self.receive()
    }

    /// Closes a prepared statement, and its cursor.
    pub(crate) fn close(&mut self, Stmt(id): Stmt) -> Result<()> {
        self.command(COM_STMT_CLOSE, &id)
    }

    /// Becomes the same user again, as a persistent connection of PHP does.
    pub(crate) fn change_user(&mut self) -> Result<()> {
        self.connection.change_user(APP_USER, APP_PASSWORD, &self.side.names("side_$"))
    }

    fn packet(&mut self) -> Result<Vec<u8>> {
        let packet = self.connection.receive_packet()?;
        ensure!(!packet.is_empty(), "an empty packet");
        Ok(self.side.common(packet))
    }

    fn part(&mut self) -> Result<(Part, bool)> {
        let head = self.packet()?;
        match head[0] {
            0x00 => return ok(&head),
            0xFF => return Ok((error(&head), false)),
            _ => {}
        }
        let count = Fields(&head).length()?;
        let columns = (0..count).map(|_| self.packet()).collect::<Result<Vec<_>>>()?;
        let end = self.packet()?;
        let status = Fields(end.get(3..).unwrap_or_default()).u16();
        if end[0] == 0xFE && status & CURSOR_EXISTS != 0 {
            return Ok((
                Part::Rows { columns, rows: Vec::new(), status: status & STATUS, warnings: 0 },
                false,
            ));
        }
        self.rows(columns)
    }

    fn rows(&mut self, columns: Vec<Vec<u8>>) -> Result<(Part, bool)> {
        let mut rows = Vec::new();
        loop {
            let packet = self.packet()?;
            match packet[0] {
                0xFE if packet.len() < 9 => {
                    let mut end = Fields(&packet[1..]);
                    let (warnings, status) = (end.u16(), end.u16());
                    let part = Part::Rows { columns, rows, status: status & STATUS, warnings };
                    return Ok((part, status & MORE_RESULTS != 0));
                }
                0xFF => return Ok((error(&packet), false)),
                _ => rows.push(packet),
            }
        }
    }
}

fn ok(packet: &[u8]) -> Result<(Part, bool)> {
    let mut fields = Fields(&packet[1..]);
    let (affected, insert_id) = (fields.length()?, fields.length()?);
    let (status, warnings) = (fields.u16(), fields.u16());
    let info = fields.0.to_vec();
    let part = Part::Ok { affected, insert_id, status: status & STATUS, warnings, info };
    Ok((part, status & MORE_RESULTS != 0))
}

fn error(packet: &[u8]) -> Part {
    Part::Error { code: u16::from_le_bytes([packet[1], packet[2]]), message: packet[3..].to_vec() }
}

struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn u16(&mut self) -> u16 {
        self.take(2).iter().rev().fold(0, |number, byte| number << 8 | u16::from(*byte))
    }

    fn length(&mut self) -> Result<u64> {
        let first = *self.take(1).first().context("no length")?;
        let bytes = match first {
            0xFC => self.take(2),
            0xFD => self.take(3),
            0xFE => self.take(8),
            small => return Ok(u64::from(small)),
        };
        Ok(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }
}
