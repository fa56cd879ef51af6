//! A client that sends what it is told and keeps every byte of the answer: capabilities, charset and schema are the
//! recording's, replies are kept as they came. Written apart from the product's protocol code, as its judge.

use std::fmt;
use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use sha1::{Digest, Sha1};

const COM_QUIT: u8 = 1;
const COM_QUERY: u8 = 3;
const WHOLE_FRAME: usize = 0xff_ffff;
const MORE_RESULTS_EXIST: u16 = 8;
pub(crate) const IN_TRANSACTION: u16 = 1;
/// What mysqlnd says of the packets it takes.
const MAX_PACKET: u32 = 0xc000_0000;
const PATIENCE: Duration = Duration::from_secs(120);
const NATIVE: &str = "mysql_native_password";

/// How a connection begins.
pub(crate) struct Opening<'a> {
    pub(crate) user: &'a str,
    pub(crate) password: &'a str,
    pub(crate) schema: &'a str,
    pub(crate) charset: u8,
    pub(crate) capabilities: u32,
}

/// A connection over TCP.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
    sequence: u8,
}

/// An answer, whole, and what it says.
#[derive(Default)]
pub(crate) struct Reply {
    /// All frames, headers included.
    pub(crate) bytes: Vec<u8>,
    /// Of the last part.
    pub(crate) status: u16,
    pub(crate) warnings: u16,
    pub(crate) said: Said,
}

/// What kind of answer it is; of several parts, the last.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) enum Said {
    #[default]
    Nothing,
    Ok {
        affected: u64,
        insert_id: u64,
    },
    Rows {
        columns: u64,
        count: u64,
    },
    Error {
        number: u16,
        text: String,
    },
}

impl Client {
    pub(crate) fn connect(address: &str, opening: &Opening<'_>) -> Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut client = Self { stream: BufReader::with_capacity(1 << 16, stream), sequence: 0 };
        let greeting = client.packet()?;
        ensure!(greeting.first() == Some(&10), "no greeting: {}", shown(&greeting));
        let salt = salt_of(&greeting).context("a greeting without a salt")?;
        client.send(&handshake_response(opening, &salt))?;
        loop {
            let packet = client.packet()?;
            match packet.split_first() {
                Some((0x00, _)) => return Ok(client),
                Some((0xfe, switch)) => {
                    let mut parts = switch.splitn(2, |byte| *byte == 0);
                    let plugin = parts.next().unwrap_or_default();
                    ensure!(plugin == NATIVE.as_bytes(), "the server asks for {}", shown(plugin));
                    let salt = parts.next().and_then(|rest| rest.get(..20)).context("no salt")?;
                    client.send(&scramble(opening.password, salt))?;
                }
                _ => bail!("log-in at {address}: {}", shown(&packet)),
            }
        }
    }

    /// Sends a statement, without waiting for the answer.
    pub(crate) fn query(&mut self, sql: &[u8]) -> Result<()> {
        let mut payload = Vec::with_capacity(sql.len() + 1);
        payload.push(COM_QUERY);
        payload.extend_from_slice(sql);
        self.sequence = 0;
        self.send(&payload)
    }

    /// Reads the whole answer.
    pub(crate) fn reply(&mut self) -> Result<Reply> {
        let mut reply = Reply::default();
        loop {
            self.part(&mut reply)?;
            if reply.status & MORE_RESULTS_EXIST == 0 {
                return Ok(reply);
            }
        }
    }

    pub(crate) fn quit(mut self) -> Result<()> {
        self.sequence = 0;
        self.send(&[COM_QUIT])
    }

    fn part(&mut self, reply: &mut Reply) -> Result<()> {
        let head = self.kept(reply)?;
        match head.first() {
            Some(0x00) => {
                let mut fields = Fields(head.get(1..).unwrap_or_default());
                reply.said = Said::Ok { affected: fields.length()?, insert_id: fields.length()? };
                reply.status = fields.u16()?;
                reply.warnings = fields.u16()?;
                return Ok(());
            }
            Some(0xff) => return error(&head, reply),
            Some(0xfb) => bail!("the server asks for a file"),
            _ => {}
        }
        let columns = Fields(&head).length()?;
        for _ in 0..columns {
            self.kept(reply)?;
        }
        ensure!(is_eof(&self.kept(reply)?), "no EOF after the columns");
        let mut count = 0;
        loop {
            let packet = self.kept(reply)?;
            if is_eof(&packet) {
                let mut fields = Fields(packet.get(1..).unwrap_or_default());
                reply.warnings = fields.u16()?;
                reply.status = fields.u16()?;
                reply.said = Said::Rows { columns, count };
                return Ok(());
            }
            if packet.first() == Some(&0xff) {
                return error(&packet, reply);
            }
            count += 1;
        }
    }

    /// A packet, of which the frames are kept in the reply.
    fn kept(&mut self, reply: &mut Reply) -> Result<Vec<u8>> {
        self.read(&mut reply.bytes)
    }

    fn packet(&mut self) -> Result<Vec<u8>> {
        self.read(&mut Vec::new())
    }

    fn read(&mut self, raw: &mut Vec<u8>) -> Result<Vec<u8>> {
        let mut payload = Vec::new();
        loop {
            let mut header = [0; 4];
            self.stream.read_exact(&mut header).context("the connection is gone")?;
            let [low, middle, high, sequence] = header;
            let length = u32::from_le_bytes([low, middle, high, 0]) as usize;
            let before = payload.len();
            payload.resize(before + length, 0);
            let frame = payload.get_mut(before..).unwrap_or_default();
            self.stream.read_exact(frame).context("the connection is gone")?;
            raw.extend_from_slice(&header);
            raw.extend_from_slice(frame);
            self.sequence = sequence.wrapping_add(1);
            if length < WHOLE_FRAME {
                return Ok(payload);
            }
        }
    }

    fn send(&mut self, payload: &[u8]) -> Result<()> {
        let mut out = Vec::with_capacity(payload.len() + 8);
        let mut frames: Vec<&[u8]> = payload.chunks(WHOLE_FRAME).collect();
        if payload.len().is_multiple_of(WHOLE_FRAME) {
            frames.push(&[]);
        }
        for frame in frames {
            let [low, middle, high, _] = u32::try_from(frame.len())?.to_le_bytes();
            out.extend_from_slice(&[low, middle, high, self.sequence]);
            out.extend_from_slice(frame);
            self.sequence = self.sequence.wrapping_add(1);
        }
        self.stream.get_mut().write_all(&out).context("the connection is gone")
    }
}

impl Reply {
    pub(crate) fn in_transaction(&self) -> bool {
        self.status & IN_TRANSACTION != 0
    }

    /// Where two answers part: the packet, as both sides have it.
    pub(crate) fn difference(&self, other: &Self) -> Option<String> {
        if self.bytes == other.bytes {
            return None;
        }
        let (mut mine, mut theirs) = (frames(&self.bytes), frames(&other.bytes));
        let mut number = 0;
        loop {
            number += 1;
            let (one, two) = (mine.next(), theirs.next());
            if one != two {
                let text = |frame: Option<&[u8]>| frame.map_or("nothing more".to_owned(), shown);
                let (one, two) = (text(one), text(two));
                return Some(format!("{self} against {other}; packet {number}: {one}\nagainst {two}"));
            }
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?}, status {:#06x}, {} warnings", self.said, self.status, self.warnings)
    }
}

pub(crate) fn frames(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let header = rest.get(..4)?;
        let length = header.iter().take(3).rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        let (frame, after) = rest.split_at_checked(length + 4)?;
        rest = after;
        Some(frame)
    })
}

fn error(packet: &[u8], reply: &mut Reply) -> Result<()> {
    let mut fields = Fields(packet.get(1..).unwrap_or_default());
    let number = fields.u16()?;
    // An error says nothing of the status; that of a transaction stays.
    reply.said = Said::Error { number, text: String::from_utf8_lossy(fields.0).into_owned() };
    reply.status &= !MORE_RESULTS_EXIST;
    Ok(())
}

fn is_eof(packet: &[u8]) -> bool {
    packet.first() == Some(&0xfe) && packet.len() < 9
}

/// The parts of a packet, read from its front.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl Fields<'_> {
    fn number(&mut self, bytes: usize) -> Result<u64> {
        let (taken, rest) = self.0.split_at_checked(bytes).context("a packet ends too early")?;
        self.0 = rest;
        Ok(taken.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }

    fn u16(&mut self) -> Result<u16> {
        Ok(u16::try_from(self.number(2)?)?)
    }

    /// A value of a row; bytes that are not UTF-8 are replaced.
    pub(crate) fn text(&mut self) -> Result<Option<String>> {
        if let Some((0xfb, rest)) = self.0.split_first() {
            self.0 = rest;
            return Ok(None);
        }
        let length = usize::try_from(self.length()?)?;
        let (taken, rest) = self.0.split_at_checked(length).context("a packet ends too early")?;
        self.0 = rest;
        Ok(Some(String::from_utf8_lossy(taken).into_owned()))
    }

    fn length(&mut self) -> Result<u64> {
        Ok(match self.number(1)? {
            0xfc => self.number(2)?,
            0xfd => self.number(3)?,
            0xfe => self.number(8)?,
            small => small,
        })
    }
}

/// Eight bytes after version and connection id, twelve more after 19 of other things.
fn salt_of(greeting: &[u8]) -> Option<Vec<u8>> {
    let version = greeting.get(1..)?.iter().position(|byte| *byte == 0)?;
    let rest = greeting.get(version + 6..)?;
    Some([rest.get(..8)?, rest.get(27..39)?].concat())
}

/// `SHA1(password) XOR SHA1(salt, SHA1(SHA1(password)))`.
fn scramble(password: &str, salt: &[u8]) -> Vec<u8> {
    let once = Sha1::digest(password.as_bytes());
    let twice = Sha1::digest(once);
    let mask = Sha1::new().chain_update(salt).chain_update(twice).finalize();
    once.iter().zip(mask).map(|(byte, mask)| byte ^ mask).collect()
}

fn handshake_response(opening: &Opening<'_>, salt: &[u8]) -> Vec<u8> {
    let mut packet = opening.capabilities.to_le_bytes().to_vec();
    packet.extend_from_slice(&MAX_PACKET.to_le_bytes());
    packet.push(opening.charset);
    packet.extend_from_slice(&[0; 23]);
    packet.extend_from_slice(opening.user.as_bytes());
    packet.extend_from_slice(&[0, 20]);
    packet.extend_from_slice(&scramble(opening.password, salt));
    for text in [opening.schema, NATIVE] {
        packet.extend_from_slice(text.as_bytes());
        packet.push(0);
    }
    let mut attributes = Vec::new();
    for text in ["_client_name", "mysqlnd", "_server_host", "127.0.0.1"] {
        attributes.push(u8::try_from(text.len()).unwrap_or_default());
        attributes.extend_from_slice(text.as_bytes());
    }
    packet.push(u8::try_from(attributes.len()).unwrap_or_default());
    packet.extend_from_slice(&attributes);
    packet
}

fn shown(bytes: &[u8]) -> String {
    const LONGEST: usize = 300;
    bytes.get(..bytes.len().min(LONGEST)).unwrap_or_default().escape_ascii().to_string()
}
