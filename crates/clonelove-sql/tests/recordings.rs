//! What Drupal really sent (see the recordings' README): nothing that wrote may be called a read, and nearly every
//! SELECT must be one.
#![expect(clippy::expect_used, reason = "a recording that cannot be read must fail the test")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use clonelove_sql::{Dialect, Kind, Modes, analyse};
use flate2::read::MultiGzDecoder;
use serde_json::Value;

fn recordings() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let directory = match std::env::var_os("CLONELOVE_RECORDINGS") {
        Some(directory) => PathBuf::from(directory),
        None => root.join("../shared/drupal"),
    };
    directory.join("drupal10.jsonl.gz").exists().then_some(directory)
}

#[derive(Default)]
struct Tally {
    statements: u32,
    selects: u32,
    selects_kept: BTreeMap<String, u32>,
}

/// Statement, whether the reply shows that it wrote, and the dialect that the connection had by then.
fn commands(file: &Path) -> impl Iterator<Item = (Vec<u8>, bool, Dialect)> + use<> {
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
            found.push((sql, wrote, *dialect));
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

#[test]
fn no_recorded_write_is_a_read_and_nearly_every_select_is_one() {
    let Some(directory) = recordings() else {
        println!("NOT COVERED: Drupal recordings (set CLONELOVE_RECORDINGS to their directory)");
        return;
    };
    let mut tally = Tally::default();
    for file in ["drupal7.jsonl.gz", "drupal10.jsonl.gz"] {
        for (sql, wrote, dialect) in commands(&directory.join(file)) {
            let facts = analyse(&sql, &dialect);
            let text = String::from_utf8_lossy(&sql);
            let first = text.trim_start().split([' ', '\n', '(']).next().unwrap_or_default().to_uppercase();
            tally.statements += 1;
            assert_ne!(facts.kind, Kind::Unknown, "{text}");
            let reads = facts.why.is_none();
            let may_read = matches!(first.as_str(), "SELECT" | "SHOW" | "DESCRIBE" | "EXPLAIN");
            assert!(!(reads && (wrote || !may_read)), "called a read: {text}");
            if matches!(first.as_str(), "INSERT" | "UPDATE" | "DELETE") {
                assert_eq!(facts.kind, Kind::Write, "{text}");
                assert!(facts.tables_written.len() == 1 && !facts.all_tables, "{text}\n{facts:?}");
            }
            if first == "SELECT" && !text.to_lowercase().contains("information_schema") {
                tally.selects += 1;
                if !reads {
                    *tally.selects_kept.entry(text.chars().take(80).collect()).or_default() += 1;
                }
            }
        }
    }
    let kept: u32 = tally.selects_kept.values().sum();
    println!(
        "{} statements, {} SELECTs, {kept} kept: {:?}",
        tally.statements, tally.selects, tally.selects_kept
    );
    assert!(tally.selects > 10_000);
    assert!(f64::from(kept) <= 0.005 * f64::from(tally.selects), "{:?}", tally.selects_kept);
}
