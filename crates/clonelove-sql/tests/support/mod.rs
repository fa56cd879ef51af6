//! The Drupal recordings (see their README): where they are, and their statements.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use clonelove_sql::{Dialect, Modes};
use flate2::read::MultiGzDecoder;
use serde_json::Value;

/// Their directory, if there is one.
pub(crate) fn recordings() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let directory = match std::env::var_os("CLONELOVE_RECORDINGS") {
        Some(directory) => PathBuf::from(directory),
        None => root.join("../shared/drupal"),
    };
    directory.join("drupal10.jsonl.gz").exists().then_some(directory)
}

/// A recorded statement.
pub(crate) struct Command {
    /// Its bytes.
    pub(crate) sql: Vec<u8>,
    /// The reply shows that it wrote.
    #[allow(dead_code, reason = "not every test asks")]
    pub(crate) wrote: bool,
    /// The reply was an error.
    #[allow(dead_code, reason = "not every test asks")]
    pub(crate) failed: bool,
    /// What its connection spoke by then.
    pub(crate) dialect: Dialect,
}

/// All statements of a recording.
pub(crate) fn commands(file: &Path) -> impl Iterator<Item = Command> + use<> {
    let reader = BufReader::new(MultiGzDecoder::new(File::open(file).expect("a recording")));
    let mut dialects: BTreeMap<u64, Dialect> = BTreeMap::new();
    let start = Dialect { version: 101_119, ..Dialect::default() };
    reader.lines().flat_map(move |line| {
        let request: Value = serde_json::from_str(&line.expect("a readable recording")).expect("JSON");
        let commands = request.get("commands").and_then(Value::as_array).cloned().unwrap_or_default();
        let mut found = Vec::new();
        for command in commands {
            let connection = command.get("conn").and_then(Value::as_u64).unwrap_or_default();
            if command.get("connect").is_some() {
                dialects.insert(connection, start);
                continue;
            }
            let base64 = command.get("sql_base64").and_then(Value::as_str).map(decoded);
            let Some(sql) =
                command.get("sql").and_then(Value::as_str).map(|sql| sql.as_bytes().to_vec()).or(base64)
            else {
                continue;
            };
            let dialect = dialects.entry(connection).or_insert(start);
            if let Some(modes) = sql.strip_prefix(b"SET sql_mode = '") {
                dialect.modes = Modes::from_sql_mode(&String::from_utf8_lossy(modes).replace('\'', ""));
            }
            let wrote = command.pointer("/ok/affected").and_then(Value::as_u64).unwrap_or_default() > 0;
            let failed = command.get("error").is_some();
            found.push(Command { sql, wrote, failed, dialect: *dialect });
        }
        found
    })
}

/// Base64, which the recordings use for the few statements that are not UTF-8.
fn decoded(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut held, mut bytes) = (0u32, 0, Vec::new());
    for digit in text.bytes().filter_map(|byte| DIGITS.iter().position(|digit| *digit == byte)) {
        bits = bits << 6 | digit as u32;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    bytes
}
