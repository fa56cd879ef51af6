//! The Drupal recordings (see their README): where they are, and their statements.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use clonelove_sql::schema::{Answers, Row};
use clonelove_sql::{Dialect, Flavour, Modes, Schema};
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

/// What the server would have answered about the tables of a dump, which has a column or a key on each line.
#[allow(dead_code, reason = "not every test asks")]
pub(crate) fn schema_of(site: &str, dump: &Path) -> Schema {
    let reader = BufReader::new(MultiGzDecoder::new(File::open(dump).expect("a dump")));
    let mut answers = Answers::default();
    let mut add = |name, values: &[&str]| {
        let row: Row = values.iter().map(|value| (*value != "NULL").then(|| (*value).to_owned())).collect();
        answers.entry(name).or_default().push(row);
    };
    add("grants", &["GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost`"]);
    let (mut table, mut place) = (String::new(), 0);
    for line in reader.lines() {
        let line = line.expect("a readable dump");
        if let Some(rest) = line.strip_prefix("CREATE TABLE `") {
            table = rest.split('`').next().unwrap_or_default().to_owned();
            place = 0;
            add("tables", &[site, &table, "BASE TABLE", "InnoDB"]);
        } else if line.starts_with(") ENGINE") {
            table.clear();
        } else if !table.is_empty() && line.starts_with("  `") {
            place += 1;
            let mut parts = line.trim().splitn(3, ['`']).skip(1);
            let name = parts.next().unwrap_or_default();
            let definition = parts.next().unwrap_or_default().trim();
            let column_type = definition.split(' ').next().unwrap_or_default();
            let data_type = column_type.split('(').next().unwrap_or_default();
            let length = column_type.split(['(', ')']).nth(1).unwrap_or("NULL");
            let collation = definition.split(" COLLATE ").nth(1).and_then(|rest| rest.split(' ').next());
            let collation = match data_type {
                "varchar" | "char" | "text" | "longtext" => collation.unwrap_or("utf8mb4_general_ci"),
                _ => "NULL",
            };
            let unsigned = if definition.contains(" unsigned ") { " unsigned" } else { "" };
            let extra = if definition.contains("AUTO_INCREMENT") { "auto_increment" } else { "" };
            let column_type = format!("{column_type}{unsigned}");
            let place = place.to_string();
            add(
                "columns",
                &[site, &table, name, &place, data_type, &column_type, length, collation, extra, "NULL"],
            );
        } else if !table.is_empty() && line.contains("KEY ") {
            let non_unique = if line.trim().starts_with("KEY") { "1" } else { "0" };
            let index = line.split('`').nth(1).filter(|_| !line.contains("PRIMARY")).unwrap_or("PRIMARY");
            let columns = line.split_once(" (").map(|(_, rest)| rest).unwrap_or_default();
            for (at, column) in columns.split('`').skip(1).step_by(2).enumerate() {
                let prefix = if columns.contains(&format!("`{column}`(")) { "10" } else { "NULL" };
                add("indexes", &[site, &table, index, non_unique, &(at + 1).to_string(), column, prefix]);
            }
        }
    }
    Schema::build(Flavour::MariaDb, 101_119, &answers)
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
