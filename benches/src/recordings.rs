//! Drupal's recorded requests as scripts of reads, and as plain statements. Owns nothing of how they are sent.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, Result};
use clonelove_wire::Command;
use flate2::read::MultiGzDecoder;
use serde_json::Value;

use crate::workload::{Script, Statement, put_command};

/// The longest statement that takes part in a page view; longer ones would measure one statement.
const LONGEST: usize = 64 * 1024;

/// Every recorded request as the connection it was: its settings and its reads, in order; what wrote is left out.
///
/// # Errors
/// When the recording cannot be read, or holds no page views.
pub fn page_views(file: &Path) -> Result<Vec<Script>> {
    let all: Vec<Vec<String>> = requests(file)?.collect::<Result<_>>()?;
    // These are not there when nothing that writes is replayed.
    let created: Vec<&str> = all.iter().flatten().filter_map(|sql| created_table(sql)).collect();
    let mut scripts = Vec::new();
    for sent in &all {
        let wanted = |sql: &str| {
            let read = sql.starts_with("SELECT") && !created.iter().any(|table| sql.contains(table));
            sql.len() < LONGEST && (read || sql.starts_with("SET "))
        };
        let body: Vec<Statement> =
            sent.iter().filter(|sql| wanted(sql)).map(|sql| framed(sql.as_bytes())).collect();
        if sent.iter().any(|sql| sql.starts_with("SELECT")) {
            scripts.push(Script { before: Vec::new(), body });
        }
    }
    anyhow::ensure!(!scripts.is_empty(), "{}: no page views", file.display());
    Ok(scripts)
}

/// The texts of every recorded request; one that the server answered with an error is left out.
///
/// # Errors
/// When the recording cannot be read.
pub fn requests(file: &Path) -> Result<impl Iterator<Item = Result<Vec<String>>>> {
    let open = File::open(file).with_context(|| format!("no recording {}", file.display()))?;
    Ok(BufReader::new(MultiGzDecoder::new(open)).lines().map(|line| {
        let request: Value = serde_json::from_str(&line?)?;
        let commands = request.get("commands").and_then(Value::as_array).context("no commands")?;
        let answered = commands.iter().filter(|command| command.get("error").is_none());
        Ok(answered.filter_map(|command| Some(command.get("sql")?.as_str()?.to_owned())).collect())
    }))
}

/// The quoted name in a CREATE TABLE, quotes included.
fn created_table(sql: &str) -> Option<&str> {
    let name = sql.strip_prefix("CREATE TABLE ")?;
    name.find(' ').and_then(|end| name.get(..end)).filter(|name| name.len() > 2)
}

fn framed(sql: &[u8]) -> Statement {
    let mut frame = Vec::new();
    put_command(&mut frame, Command::Query, sql);
    Statement::Text(frame)
}
