//! A small blocking client for the sandbox's own housekeeping: text protocol, unix socket, account without password.
//!
//! It is written apart from the product's protocol code on purpose, so that a mistake there cannot hide here. Tests
//! of the product use real clients.

use std::collections::BTreeMap;
use std::io::{BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// A row of values as text; `None` is NULL.
pub type Row = Vec<Option<String>>;
/// A row by its columns' names.
pub type NamedRow = BTreeMap<String, Option<String>>;

const LONG_PASSWORD: u32 = 1;
const CONNECT_WITH_DB: u32 = 1 << 3;
const PROTOCOL_41: u32 = 1 << 9;
const TRANSACTIONS: u32 = 1 << 13;
const SECURE_CONNECTION: u32 = 1 << 15;
const MULTI_STATEMENTS: u32 = 1 << 16;
const MULTI_RESULTS: u32 = 1 << 17;
const PLUGIN_AUTH: u32 = 1 << 19;
const UTF8MB4_GENERAL_CI: u8 = 45;
const MORE_RESULTS_EXIST: u16 = 8;
const COM_QUIT: u8 = 1;
const COM_QUERY: u8 = 3;
const WHOLE_FRAME: usize = 0xff_ffff;
/// A server that says nothing for so long is stuck, and the test says so instead of hanging.
const PATIENCE: Duration = Duration::from_secs(120);

/// A session of `root` on one server.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<UnixStream>,
    sequence: u8,
}

impl Connection {
    /// Logs in over the unix socket, with `schema` as the default one.
    ///
    /// # Errors
    /// When the server is not there or refuses.
    pub fn open(socket: &Path, user: &str, schema: Option<&str>) -> Result<Self> {
        let stream =
            UnixStream::connect(socket).with_context(|| format!("connect to {}", socket.display()))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut connection = Self { stream: BufReader::new(stream), sequence: 0 };
        let greeting = connection.read_packet()?;
        if greeting.first() == Some(&0xff) {
            bail!("{}", error_text(&greeting));
        }
        connection.write_packet(&handshake_response(user, schema))?;
        loop {
            let packet = connection.read_packet()?;
            match packet.first() {
                Some(0x00) => return Ok(connection),
                Some(0x01) => {}
                // An authentication switch; the account has no password, so the answer is empty everywhere.
                Some(0xfe) => connection.write_packet(&[])?,
                _ => bail!("log-in of {user}: {}", error_text(&packet)),
            }
        }
    }

    /// Runs SQL and gives the rows of its first result set (none for statements without one). All results of a
    /// text with several statements are read.
    ///
    /// # Errors
    /// The server's error as `number (state): text`, or the loss of the connection.
    pub fn query(&mut self, sql: &str) -> Result<Vec<Row>> {
        self.query_bytes(sql.as_bytes())
    }

    /// As [`query`](Self::query), for SQL that is not UTF-8.
    ///
    /// # Errors
    /// As [`query`](Self::query).
    pub fn query_bytes(&mut self, sql: &[u8]) -> Result<Vec<Row>> {
        Ok(self.run(sql)?.rows)
    }

    /// As [`query`](Self::query), each row with its columns' names.
    ///
    /// # Errors
    /// As [`query`](Self::query).
    pub fn query_named(&mut self, sql: &str) -> Result<Vec<NamedRow>> {
        let ResultSet { columns, rows } = self.run(sql.as_bytes())?;
        Ok(rows.into_iter().map(|row| columns.iter().cloned().zip(row).collect()).collect())
    }

    fn run(&mut self, sql: &[u8]) -> Result<ResultSet> {
        let start = String::from_utf8_lossy(sql.get(..120.min(sql.len())).unwrap_or_default()).into_owned();
        self.run_all(sql).with_context(|| format!("in: {start}"))
    }

    fn run_all(&mut self, sql: &[u8]) -> Result<ResultSet> {
        let mut packet = vec![COM_QUERY];
        packet.extend_from_slice(sql);
        self.sequence = 0;
        self.write_packet(&packet)?;
        let mut first = None;
        loop {
            let (result, more) = self.read_result()?;
            if let Some(result) = result {
                first.get_or_insert(result);
            }
            if !more {
                return Ok(first.unwrap_or_default());
            }
        }
    }

    fn read_result(&mut self) -> Result<(Option<ResultSet>, bool)> {
        let head = self.read_packet()?;
        let mut reader = Fields(&head);
        match head.first() {
            Some(0x00) => {
                reader.take(1)?;
                reader.length()?;
                reader.length()?;
                return Ok((None, reader.u16()? & MORE_RESULTS_EXIST != 0));
            }
            Some(0xff) => bail!("{}", error_text(&head)),
            Some(0xfb) => bail!("the server asks for a local file"),
            _ => {}
        }
        let count = usize::try_from(reader.length()?.context("NULL for a column count")?)?;
        let columns = (0..count).map(|_| self.read_column_name()).collect::<Result<Vec<String>>>()?;
        self.read_packet()?;
        let mut rows = Vec::new();
        loop {
            let packet = self.read_packet()?;
            match packet.first() {
                Some(0xfe) if packet.len() < 9 => {
                    let mut end = Fields(&packet);
                    end.take(3)?;
                    return Ok((Some(ResultSet { columns, rows }), end.u16()? & MORE_RESULTS_EXIST != 0));
                }
                Some(0xff) => bail!("{}", error_text(&packet)),
                _ => {}
            }
            let mut fields = Fields(&packet);
            rows.push((0..count).map(|_| fields.text()).collect::<Result<Row>>()?);
        }
    }

    /// A column definition: catalogue, schema, table, original table, name, …
    fn read_column_name(&mut self) -> Result<String> {
        let packet = self.read_packet()?;
        let mut fields = Fields(&packet);
        for _ in 0..4 {
            fields.text()?;
        }
        Ok(fields.text()?.unwrap_or_default())
    }

    fn read_packet(&mut self) -> Result<Vec<u8>> {
        let mut payload = Vec::new();
        loop {
            let mut header = [0; 4];
            self.stream.read_exact(&mut header).context("the server has gone away")?;
            let [low, middle, high, sequence] = header;
            self.sequence = sequence.wrapping_add(1);
            let length = u32::from_le_bytes([low, middle, high, 0]) as usize;
            let before = payload.len();
            payload.resize(before + length, 0);
            let frame = payload.get_mut(before..).context("a frame of no length")?;
            self.stream.read_exact(frame).context("the server has gone away")?;
            if length < WHOLE_FRAME {
                return Ok(payload);
            }
        }
    }

    fn write_packet(&mut self, payload: &[u8]) -> Result<()> {
        let mut frames: Vec<&[u8]> = payload.chunks(WHOLE_FRAME).collect();
        if payload.len().is_multiple_of(WHOLE_FRAME) {
            frames.push(&[]);
        }
        for frame in frames {
            let [low, middle, high, _] = u32::try_from(frame.len())?.to_le_bytes();
            let stream = self.stream.get_mut();
            stream.write_all(&[low, middle, high, self.sequence]).context("the server has gone away")?;
            stream.write_all(frame).context("the server has gone away")?;
            self.sequence = self.sequence.wrapping_add(1);
        }
        Ok(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // A server that hears no farewell logs an aborted connection; one that is gone needs none.
        self.sequence = 0;
        let _ = self.write_packet(&[COM_QUIT]);
    }
}

#[derive(Debug, Default)]
struct ResultSet {
    columns: Vec<String>,
    rows: Vec<Row>,
}

/// Reads the parts of a packet (lengths as in "Protocol::LengthEncodedInteger").
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        ensure!(count <= self.0.len(), "a packet ends too early");
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        Ok(taken)
    }

    fn u16(&mut self) -> Result<u16> {
        Ok(u16::try_from(self.number(2)?)?)
    }

    fn number(&mut self, bytes: usize) -> Result<u64> {
        Ok(self.take(bytes)?.iter().rev().fold(0, |value, byte| (value << 8) | u64::from(*byte)))
    }

    fn length(&mut self) -> Result<Option<u64>> {
        Ok(match self.number(1)? {
            0xfb => None,
            0xfc => Some(self.number(2)?),
            0xfd => Some(self.number(3)?),
            0xfe => Some(self.number(8)?),
            small => Some(small),
        })
    }

    fn text(&mut self) -> Result<Option<String>> {
        let Some(length) = self.length()? else { return Ok(None) };
        let bytes = self.take(usize::try_from(length)?)?;
        Ok(Some(String::from_utf8_lossy(bytes).into_owned()))
    }
}

fn handshake_response(user: &str, schema: Option<&str>) -> Vec<u8> {
    let mut flags = LONG_PASSWORD | PROTOCOL_41 | TRANSACTIONS | SECURE_CONNECTION | PLUGIN_AUTH;
    flags |= MULTI_STATEMENTS | MULTI_RESULTS;
    if schema.is_some() {
        flags |= CONNECT_WITH_DB;
    }
    let mut packet = flags.to_le_bytes().to_vec();
    packet.extend_from_slice(&(1_u32 << 30).to_le_bytes());
    packet.push(UTF8MB4_GENERAL_CI);
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

fn error_text(packet: &[u8]) -> String {
    let mut fields = Fields(packet);
    let parsed = (|| -> Result<String> {
        ensure!(fields.take(1)? == [0xff], "an unexpected packet");
        let number = fields.u16()?;
        if fields.0.first() == Some(&b'#') {
            let state = String::from_utf8_lossy(fields.take(6)?).replace('#', "");
            return Ok(format!("{number} ({state}): {}", String::from_utf8_lossy(fields.0)));
        }
        Ok(format!("{number}: {}", String::from_utf8_lossy(fields.0)))
    })();
    parsed.unwrap_or_else(|error| format!("{error}: {:?}", packet.get(..40.min(packet.len()))))
}
