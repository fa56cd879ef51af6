//! Recordings of what an application sent: lines of JSON, one a request, packed or not.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result, bail};
use flate2::read::MultiGzDecoder;
use serde::Deserialize;

const CAPABILITIES: [(&str, u32); 12] = [
    ("LONG_PASSWORD", 1),
    ("FOUND_ROWS", 1 << 1),
    ("LONG_FLAG", 1 << 2),
    ("CONNECT_WITH_DB", 1 << 3),
    ("LOCAL_FILES", 1 << 7),
    ("PROTOCOL_41", 1 << 9),
    ("TRANSACTIONS", 1 << 13),
    ("SECURE_CONNECTION", 1 << 15),
    ("MULTI_STATEMENTS", 1 << 16),
    ("MULTI_RESULTS", 1 << 17),
    ("PLUGIN_AUTH", 1 << 19),
    ("CONNECT_ATTRS", 1 << 20),
];

/// What a visitor asked for, and what the application asked its database in turn.
#[derive(Deserialize)]
pub(crate) struct Request {
    pub(crate) scenario: String,
    pub(crate) request: String,
    pub(crate) commands: Vec<Command>,
}

/// Something sent on one of the request's connections.
#[derive(Deserialize)]
pub(crate) struct Command {
    pub(crate) conn: u64,
    /// Milliseconds since the scenario began.
    #[serde(default)]
    pub(crate) t_ms: f64,
    connect: Option<Connect>,
    com: Option<String>,
    sql: Option<String>,
    sql_base64: Option<String>,
}

/// How a connection began.
#[derive(Clone, Deserialize)]
pub(crate) struct Connect {
    pub(crate) db: String,
    pub(crate) charset: u8,
    pub(crate) capabilities: Vec<String>,
}

/// A command by its kind.
pub(crate) enum Sent<'a> {
    Connect(&'a Connect),
    Query(Vec<u8>),
    Quit,
}

/// Reads a recording; `.gz` tells that it is packed.
pub(crate) fn read(path: &Path) -> Result<Vec<Request>> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    let lines: Box<dyn Read> =
        if is_packed(path) { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    let lines = BufReader::new(lines).lines();
    lines.map(|line| serde_json::from_str(&line?).with_context(|| path.display().to_string())).collect()
}

/// Reads a dump, without the line that only the command-line client understands.
pub(crate) fn read_dump(path: &Path) -> Result<Vec<u8>> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    let mut text = Vec::new();
    if is_packed(path) {
        MultiGzDecoder::new(file).read_to_end(&mut text)?;
    } else {
        BufReader::new(file).read_to_end(&mut text)?;
    }
    if text.starts_with(b"/*M!999999") {
        let end = text.iter().position(|byte| *byte == b'\n').unwrap_or_default();
        text.drain(..=end);
    }
    Ok(text)
}

fn is_packed(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "gz")
}

impl Command {
    pub(crate) fn sent(&self) -> Result<Sent<'_>> {
        if let Some(connect) = &self.connect {
            return Ok(Sent::Connect(connect));
        }
        match (self.com.as_deref(), &self.sql, &self.sql_base64) {
            (Some("QUERY"), Some(sql), _) => Ok(Sent::Query(sql.clone().into_bytes())),
            (Some("QUERY"), None, Some(packed)) => Ok(Sent::Query(decoded(packed))),
            (Some("QUIT"), ..) => Ok(Sent::Quit),
            (com, ..) => bail!("a recorded command that is not understood: {com:?}"),
        }
    }
}

impl Connect {
    pub(crate) fn capability_bits(&self) -> Result<u32> {
        self.capabilities.iter().try_fold(0, |bits, name| {
            let known = CAPABILITIES.iter().find(|(known, _)| known == name);
            Ok(bits | known.with_context(|| format!("an unknown capability: {name}"))?.1)
        })
    }
}

/// Base64 of RFC 4648.
fn decoded(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut held, mut bytes) = (0_u32, 0, Vec::new());
    for digit in text.bytes().filter_map(|byte| DIGITS.iter().position(|known| *known == byte)) {
        bits = bits << 6 | u32::try_from(digit).unwrap_or_default();
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held & 0xff).unwrap_or_default());
        }
    }
    bytes
}
