//! A client as lean as a checker wants it: numbers only, text or prepared statements, with and without
//! DEPRECATE_EOF. Owns the reading of answers; knows nothing of what they mean.

use std::fmt;

use clonelove_testkit::{APP_PASSWORD, APP_USER, Connection, SqlError};

use super::dice::Dice;
use super::world::Param;

const DEPRECATE_EOF: u32 = 1 << 24;
const COM_QUERY: u8 = 0x03;
const COM_STMT_PREPARE: u8 = 0x16;
const COM_STMT_EXECUTE: u8 = 0x17;
const COM_STMT_CLOSE: u8 = 0x19;
const MORE_RESULTS: u16 = 8;

/// Rows of numbers; what is no number is `None`, as NULL is.
pub(crate) type Rows = Vec<Vec<Option<i64>>>;

/// How a statement is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Text,
    /// Prepared, executed and closed.
    Prepared,
    /// The same, with parameters in place of literals.
    Bound,
}

impl Way {
    /// Text mostly.
    pub(crate) fn any(dice: &mut Dice) -> Self {
        match dice.below(10) {
            0 => Way::Prepared,
            1 | 2 => Way::Bound,
            _ => Way::Text,
        }
    }
}

/// Why a statement was not answered as wanted.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// An error packet.
    Refused(u16, String),
    /// The connection is gone: what was asked may have been done or not.
    Lost(String),
}

impl Failure {
    /// The error packet's number.
    pub(crate) fn code(&self) -> Option<u16> {
        match self {
            Failure::Refused(code, _) => Some(*code),
            Failure::Lost(_) => None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Refused(code, text) => write!(f, "{code}: {text}"),
            Failure::Lost(how) => write!(f, "lost: {how}"),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        match SqlError::of(&error) {
            Some(error) => Failure::Refused(error.code, error.message.clone()),
            None => Failure::Lost(format!("{error:#}")),
        }
    }
}

/// One connection through the proxy.
pub(crate) struct Client {
    connection: Connection,
    /// Result sets end in an OK packet, which carries trackers, and not in an EOF packet, which cannot.
    pub(crate) deprecate_eof: bool,
}

impl Client {
    /// Logs in to schema `app`.
    pub(crate) fn open(address: &str, deprecate_eof: bool) -> Result<Self, Failure> {
        let flags = if deprecate_eof { DEPRECATE_EOF } else { 0 };
        let connection = Connection::open_tcp_with(address, (APP_USER, APP_PASSWORD), Some("app"), flags)?;
        Ok(Self { connection, deprecate_eof })
    }

    /// Runs a statement to the end of its answer; the rows of its first result set.
    pub(crate) fn ask(&mut self, sql: &str, way: Way) -> Result<Rows, Failure> {
        match way {
            Way::Text => {
                self.command(COM_QUERY, sql.as_bytes())?;
                self.answer(false)
            }
            Way::Prepared | Way::Bound => self.execute(sql, (sql, &[])),
        }
    }

    /// Prepares a statement, executes it with these parameters, and closes it; what cannot be prepared is said as text.
    pub(crate) fn execute(&mut self, text: &str, (sql, params): (&str, &[Param])) -> Result<Rows, Failure> {
        self.command(COM_STMT_PREPARE, sql.as_bytes())?;
        let head = self.packet()?;
        if head[0] == 0xFF {
            return match refused(&head) {
                Failure::Refused(1295 | 1064, _) => self.ask(text, Way::Text),
                other => Err(other),
            };
        }
        let id = head[1..5].to_vec();
        let number = |at: usize| usize::from(u16::from_le_bytes([head[at], head[at + 1]]));
        for count in [number(7), number(5)].into_iter().filter(|count| *count > 0) {
            for _ in 0..count + usize::from(!self.deprecate_eof) {
                self.packet()?;
            }
        }
        let values = bound(params);
        self.command(COM_STMT_EXECUTE, &[id.as_slice(), &[0, 1, 0, 0, 0], &values].concat())?;
        let answer = self.answer(true);
        self.command(COM_STMT_CLOSE, &id)?;
        answer
    }

    fn command(&mut self, command: u8, body: &[u8]) -> Result<(), Failure> {
        let length = u32::try_from(body.len() + 1).unwrap_or(u32::MAX);
        let mut frame = Vec::with_capacity(body.len() + 5);
        frame.extend_from_slice(&length.to_le_bytes()[..3]);
        frame.extend_from_slice(&[0, command]);
        frame.extend_from_slice(body);
        Ok(self.connection.send_raw(&frame)?)
    }

    fn packet(&mut self) -> Result<Vec<u8>, Failure> {
        let packet = self.connection.receive_packet()?;
        if packet.is_empty() { Err(Failure::Lost("an empty packet".to_owned())) } else { Ok(packet) }
    }

    fn answer(&mut self, binary: bool) -> Result<Rows, Failure> {
        let mut first = None;
        loop {
            let (rows, more) = self.part(binary)?;
            if let Some(rows) = rows {
                first.get_or_insert(rows);
            }
            if !more {
                return Ok(first.unwrap_or_default());
            }
        }
    }

    fn part(&mut self, binary: bool) -> Result<(Option<Rows>, bool), Failure> {
        let head = self.packet()?;
        match head[0] {
            0x00 => return Ok((None, status_of_ok(&head) & MORE_RESULTS != 0)),
            0xFF => return Err(refused(&head)),
            _ => {}
        }
        let count = Fields(&head).length().unwrap_or(0);
        let mut types = Vec::new();
        for _ in 0..count {
            types.push(type_of(&self.packet()?));
        }
        if !self.deprecate_eof {
            self.packet()?;
        }
        let mut rows = Vec::new();
        loop {
            let packet = self.packet()?;
            match packet[0] {
                0xFE if self.deprecate_eof && packet.len() < 0xFF_FFFF => {
                    return Ok((Some(rows), status_of_ok(&packet) & MORE_RESULTS != 0));
                }
                0xFE if !self.deprecate_eof && packet.len() < 9 => {
                    let status = u16::from_le_bytes([packet[3], packet[4]]);
                    return Ok((Some(rows), status & MORE_RESULTS != 0));
                }
                0xFF => return Err(refused(&packet)),
                _ if binary => rows.push(binary_row(&packet, &types)),
                _ => {
                    let mut fields = Fields(&packet);
                    rows.push(types.iter().map(|_| fields.number()).collect());
                }
            }
        }
    }
}

/// Parameters as COM_STMT_EXECUTE carries them: none is NULL, and their types are said.
fn bound(params: &[Param]) -> Vec<u8> {
    const LONGLONG: u8 = 8;
    const VAR_STRING: u8 = 253;
    if params.is_empty() {
        return Vec::new();
    }
    let mut bytes = vec![0; params.len().div_ceil(8)];
    bytes.push(1);
    for param in params {
        let kind = if matches!(param, Param::Number(_)) { LONGLONG } else { VAR_STRING };
        bytes.extend_from_slice(&[kind, 0]);
    }
    for param in params {
        match param {
            Param::Number(number) => bytes.extend_from_slice(&number.to_le_bytes()),
            Param::Text(text) => {
                bytes.push(u8::try_from(text.len()).unwrap_or_default());
                bytes.extend_from_slice(text.as_bytes());
            }
        }
    }
    bytes
}

fn refused(packet: &[u8]) -> Failure {
    let text = String::from_utf8_lossy(packet.get(9..).unwrap_or_default()).into_owned();
    Failure::Refused(u16::from_le_bytes([packet[1], packet[2]]), text)
}

fn status_of_ok(packet: &[u8]) -> u16 {
    let mut fields = Fields(&packet[1..]);
    let _ = (fields.length(), fields.length());
    let status = fields.take(2);
    u16::from_le_bytes([status[0], status[1]])
}

/// A column's type (Protocol::ColumnDefinition41): after six texts and a length come the character set, the width
/// and the type.
fn type_of(definition: &[u8]) -> u8 {
    let mut fields = Fields(definition);
    for _ in 0..6 {
        let length = fields.length().unwrap_or(0);
        fields.take(usize::try_from(length).unwrap_or_default());
    }
    fields.take(1 + 2 + 4);
    fields.take(1)[0]
}

fn binary_row(packet: &[u8], types: &[u8]) -> Vec<Option<i64>> {
    let nulls = (types.len() + 9) / 8;
    let mut fields = Fields(&packet[1 + nulls..]);
    let is_null = |at: usize| packet[1 + (at + 2) / 8] & (1 << ((at + 2) % 8)) != 0;
    let all = types.iter().enumerate();
    all.map(|(at, kind)| match kind {
        _ if is_null(at) => None,
        1 => Some(fields.little(1)),
        2 | 13 => Some(fields.little(2)),
        3 | 9 => Some(fields.little(4)),
        8 => Some(fields.little(8)),
        _ => fields.number(),
    })
    .collect()
}

struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn length(&mut self) -> Option<u64> {
        let bytes = match self.take(1).first()? {
            0xFB => return None,
            0xFC => self.take(2),
            0xFD => self.take(3),
            0xFE => self.take(8),
            small => return Some(u64::from(*small)),
        };
        Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn number(&mut self) -> Option<i64> {
        let length = usize::try_from(self.length()?).ok()?;
        std::str::from_utf8(self.take(length)).ok()?.parse().ok()
    }

    /// All numbers here are small and not negative.
    fn little(&mut self, bytes: usize) -> i64 {
        self.take(bytes).iter().rev().fold(0, |number, byte| number << 8 | i64::from(*byte))
    }
}
