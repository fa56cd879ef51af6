//! A client that sends commands byte by byte and shows the payloads of their replies: what a server and the proxy in
//! front of it answer is to be the same.

use std::fmt::Write as _;

use anyhow::{Context, Result, bail, ensure};
use clonelove_testkit::{APP_PASSWORD, APP_USER, Clonelove, Connection, Opening, Server};

/// Capabilities, as both protocols number them.
pub(crate) const FOUND_ROWS: u64 = 1 << 1;
pub(crate) const LOCAL_FILES: u64 = 1 << 7;
pub(crate) const IGNORE_SPACE: u64 = 1 << 8;
pub(crate) const INTERACTIVE: u64 = 1 << 10;
pub(crate) const MULTI_STATEMENTS: u64 = 1 << 16;
pub(crate) const PS_MULTI_RESULTS: u64 = 1 << 18;
pub(crate) const EXPIRED_PASSWORDS: u64 = 1 << 22;
pub(crate) const SESSION_TRACK: u64 = 1 << 23;
pub(crate) const DEPRECATE_EOF: u64 = 1 << 24;
pub(crate) const OPTIONAL_METADATA: u64 = 1 << 25;
pub(crate) const QUERY_ATTRIBUTES: u64 = 1 << 27;
pub(crate) const PROGRESS: u64 = 1 << 32;
pub(crate) const STMT_BULK: u64 = 1 << 34;
pub(crate) const EXTENDED_TYPES: u64 = 1 << 35;
pub(crate) const BULK_UNIT_RESULTS: u64 = 1 << 37;

const CURSOR_EXISTS: u16 = 0x40;
const LAST_ROW_SENT: u16 = 0x80;
const MORE_RESULTS: u16 = 8;
const OUT_PARAMETERS: u16 = 0x1000;

/// One session, and how its replies are shaped.
pub(crate) struct Peer {
    connection: Connection,
    flags: u64,
    /// The server's number for the statement prepared last.
    pub(crate) prepared: u32,
    all_prepared: Vec<u32>,
    /// Reports of progress, in the order in which they came.
    pub(crate) progress: Vec<Vec<u8>>,
}

/// What is said, and how its reply is to be read.
#[derive(Clone, Debug)]
pub(crate) enum Say {
    /// COM_QUERY.
    Query(&'static str),
    /// COM_QUERY with an attribute, a text of this name and value.
    Attributed(&'static str, &'static str, &'static str),
    /// COM_STMT_PREPARE.
    Prepare(&'static str),
    /// A command on the statement prepared last: its byte, and what follows the number.
    Prepared(u8, Vec<u8>),
    /// From now on that is the statement which was prepared as this one, counted from 0; nothing is sent.
    Again(usize),
    /// COM_STMT_CLOSE of it.
    Close,
    /// COM_CHANGE_USER, to this user with this password and schema. Its reply is what ends it.
    ChangeUser(&'static str, &'static str, &'static str),
    /// Any other command.
    Command(Vec<u8>),
}

impl Peer {
    pub(crate) fn direct(server: &Server, flags: u64) -> Result<Self> {
        Self::over(&server.address(), flags)
    }

    pub(crate) fn through(proxy: &Clonelove, flags: u64) -> Result<Self> {
        Self::over(&proxy.addr(), flags)
    }

    fn over(address: &str, flags: u64) -> Result<Self> {
        let login = (APP_USER, APP_PASSWORD);
        Self::open(address, &Opening { login, schema: Some("app"), flags, ..Opening::default() })
    }

    /// A session opened in any way.
    pub(crate) fn open(address: &str, opening: &Opening<'_>) -> Result<Self> {
        let connection = Connection::open_as(address, opening)?;
        Ok(Self {
            connection,
            flags: opening.flags,
            prepared: 0,
            all_prepared: Vec::new(),
            progress: Vec::new(),
        })
    }

    /// The payloads of the greeting and of the OK packet that ended the log-in.
    pub(crate) fn log_in(&self) -> (&[u8], &[u8]) {
        (self.connection.greeting(), self.connection.welcome())
    }

    /// Says it, and answers the payloads of the reply, one a line, with the numbers of statements left out.
    pub(crate) fn say(&mut self, say: &Say) -> Result<String> {
        self.send(say)?;
        self.hear(say)
    }

    pub(crate) fn send(&mut self, say: &Say) -> Result<()> {
        let attributes = self.flags & QUERY_ATTRIBUTES != 0;
        let mut payload = Vec::new();
        match say {
            Say::Query(sql) => {
                payload.push(3);
                payload.extend_from_slice(if attributes { &[0, 1] } else { &[] });
                payload.extend_from_slice(sql.as_bytes());
            }
            Say::Attributed(sql, name, value) => {
                ensure!(attributes, "attributes were not negotiated");
                // One attribute in one set: no NULLs, types said, a text.
                payload.extend_from_slice(&[3, 1, 1, 0, 1, 254, 0]);
                for text in [name, value] {
                    payload.push(u8::try_from(text.len())?);
                    payload.extend_from_slice(text.as_bytes());
                }
                payload.extend_from_slice(sql.as_bytes());
            }
            Say::Prepare(sql) => {
                payload.push(0x16);
                payload.extend_from_slice(sql.as_bytes());
            }
            Say::Prepared(command, rest) => {
                payload.push(*command);
                payload.extend_from_slice(&self.prepared.to_le_bytes());
                payload.extend_from_slice(rest);
            }
            Say::Close => {
                payload.push(0x19);
                payload.extend_from_slice(&self.prepared.to_le_bytes());
            }
            Say::Command(bytes) => payload.extend_from_slice(bytes),
            Say::Again(at) => {
                self.prepared = *self.all_prepared.get(*at).context("no such statement was prepared")?;
                return Ok(());
            }
            Say::ChangeUser(user, password, schema) => {
                return self.connection.change_user(user, password, schema);
            }
        }
        self.connection.send_command(&payload)
    }

    pub(crate) fn hear(&mut self, say: &Say) -> Result<String> {
        let mut heard = Heard::default();
        match say {
            Say::Close | Say::Again(_) => {}
            Say::ChangeUser(..) => heard.note(self.connection.welcome()),
            Say::Prepare(_) => self.hear_prepared(&mut heard)?,
            // COM_STMT_SEND_LONG_DATA has no reply, COM_STMT_FETCH nothing before its rows, COM_STATISTICS one text.
            Say::Prepared(0x18, _) => {}
            Say::Prepared(0x1c, _) => drop(self.hear_rows(&mut heard)?),
            Say::Command(bytes) if bytes.first() == Some(&9) => drop(self.packet(&mut heard)?),
            // COM_FIELD_LIST has no head before its definitions.
            Say::Command(bytes) if bytes.first() == Some(&4) => drop(self.hear_rows(&mut heard)?),
            _ => while self.hear_result(&mut heard)? {},
        }
        // Errors name it as well.
        let number = format!("({})", self.prepared);
        let named = |line: &str| match line.starts_with("\\xff") {
            true => line.replace(&number, "(n)"),
            false => line.to_owned(),
        };
        Ok(heard.text.lines().map(|line| named(line) + "\n").collect())
    }

    /// A result; whether another one follows.
    fn hear_result(&mut self, heard: &mut Heard) -> Result<bool> {
        let first = self.packet(heard)?;
        match first.first() {
            Some(0) => return Ok(status_of_ok(&first)? & MORE_RESULTS != 0),
            Some(0xfe | 0xff) => return Ok(false),
            Some(0xfb) => {
                for content in [&b"1\n2\n"[..], b"3\n", b""] {
                    self.connection.send_answer(content)?;
                }
                return self.hear_result(heard);
            }
            _ => {}
        }
        let defined = self.flags & OPTIONAL_METADATA == 0 || first.get(1) != Some(&0);
        let columns = *first.first().context("an empty packet")?;
        for _ in 0..if defined { columns } else { 0 } {
            self.packet(heard)?;
        }
        if self.flags & DEPRECATE_EOF == 0 {
            let end = self.packet(heard)?;
            let status = status_of_eof(&end)?;
            // With more to come it is a procedure's own.
            if status & (CURSOR_EXISTS | MORE_RESULTS) == CURSOR_EXISTS {
                return Ok(false);
            }
            if status & OUT_PARAMETERS != 0 {
                // What follows is said here only.
                self.hear_rows(heard)?;
                return Ok(true);
            }
        }
        Ok(self.hear_rows(heard)? & (MORE_RESULTS | LAST_ROW_SENT) == MORE_RESULTS)
    }

    /// Rows and their end; its status.
    fn hear_rows(&mut self, heard: &mut Heard) -> Result<u16> {
        loop {
            let packet = self.packet(heard)?;
            match packet.first() {
                Some(0xff) => return Ok(0),
                Some(0xfe) if self.flags & DEPRECATE_EOF != 0 => return status_of_ok(&packet),
                Some(0xfe) if packet.len() < 9 => return status_of_eof(&packet),
                _ => {}
            }
        }
    }

    fn hear_prepared(&mut self, heard: &mut Heard) -> Result<()> {
        let mut first = self.connection.receive_packet()?;
        if first.first() == Some(&0)
            && let Some(number) = first.get_mut(1..5)
        {
            self.prepared = u32::from_le_bytes((&*number).try_into()?);
            self.all_prepared.push(self.prepared);
            number.fill(0);
        }
        heard.note(&first);
        let number = |at: usize| first.get(at).copied().map_or(0, usize::from);
        if first.first() != Some(&0) {
            return Ok(());
        }
        for count in [number(7), number(5)] {
            let defined = self.flags & OPTIONAL_METADATA == 0 || first.get(12) != Some(&0);
            for _ in 0..if defined { count } else { 0 } {
                self.packet(heard)?;
            }
            if count > 0 && self.flags & DEPRECATE_EOF == 0 {
                self.packet(heard)?;
            }
        }
        Ok(())
    }

    fn packet(&mut self, heard: &mut Heard) -> Result<Vec<u8>> {
        let packet = loop {
            let packet = self.connection.receive_packet()?;
            // A report of progress is an error of a number of its own, after which the reply goes on.
            if self.flags & PROGRESS == 0 || !packet.starts_with(&[0xff; 3]) {
                break packet;
            }
            self.progress.push(packet);
        };
        heard.note(&packet);
        if packet.starts_with(&[0xff]) && heard.text.len() > 1 << 20 {
            bail!("no end of errors");
        }
        Ok(packet)
    }
}

#[derive(Default)]
struct Heard {
    text: String,
}

impl Heard {
    fn note(&mut self, packet: &[u8]) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{}", packet.escape_ascii());
    }
}

fn status_of_eof(packet: &[u8]) -> Result<u16> {
    let status = packet.get(3..5).context("an EOF packet that ends early")?;
    Ok(u16::from_le_bytes(status.try_into()?))
}

/// Behind two numbers, each of one byte or more.
fn status_of_ok(packet: &[u8]) -> Result<u16> {
    let mut at = 1;
    for _ in 0..2 {
        at += match packet.get(at).context("an OK packet that ends early")? {
            0xfc => 3,
            0xfd => 4,
            0xfe => 9,
            _ => 1,
        };
    }
    let status = packet.get(at..at + 2).context("an OK packet that ends early")?;
    Ok(u16::from_le_bytes(status.try_into()?))
}
