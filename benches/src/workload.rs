//! What the load generator asks: statements in scripts, and which of them go over one connection. Knows no sockets.

use std::path::Path;

use anyhow::{Result, bail};
use clonelove_wire::Command;
use clonelove_wire::frame::{FrameHead, HEADER};

use crate::recordings;

/// The table of point selects, as sysbench makes it, has ids from 1 to this.
pub const ROWS: u64 = 100_000;

/// The tables of a site that the `php` workload reads have ids from 1 to this.
const ITEMS: u64 = 2000;

/// The names of all workloads.
pub const NAMES: [&str; 11] = [
    "point",
    "prepared",
    "connect",
    "php",
    "content",
    "rows",
    "stream",
    "read_only",
    "read_write",
    "drupal7",
    "drupal10",
];

/// What a client asks.
#[derive(Debug)]
pub struct Workload {
    /// The default schema.
    pub schema: String,
    /// Clients take these in turn.
    pub scripts: Vec<Script>,
    /// A connection for every run of a script, ended by COM_QUIT; else one connection for good.
    pub reconnect: bool,
    /// Whether the client is Drupal, which wants matched rows counted, not changed ones.
    pub is_drupal: bool,
}

/// One connection's statements.
#[derive(Debug, Default)]
pub struct Script {
    /// Once, after logging in.
    pub before: Vec<Statement>,
    /// Again and again, or once when the workload reconnects.
    pub body: Vec<Statement>,
}

/// One command.
#[derive(Debug)]
pub enum Statement {
    /// A query, framed.
    Text(Vec<u8>),
    /// A select of one row by a random id, as text.
    Point,
    /// A query with a random id, from 1 to the number, in every place marked by `#`, and the last one again in those
    /// marked by `^`.
    Drawn(String, u64),
    /// The preparation of that select.
    Prepare,
    /// Its execution for a random id.
    Execute,
}

impl Workload {
    /// The workload of that name; `recordings` is the folder of the recorded sites.
    ///
    /// # Errors
    /// When there is none of that name, or the recordings cannot be read.
    pub fn named(name: &str, recordings: &Path) -> Result<Self> {
        let persistent = |before, body| Self::of(Script { before, body }, false);
        Ok(match name {
            "point" => persistent(vec![], vec![Statement::Point]),
            "prepared" => persistent(vec![Statement::Prepare], vec![Statement::Execute]),
            "connect" => Self::of(Script { before: vec![], body: vec![Statement::Point] }, true),
            "php" => {
                let mut body: Vec<_> = DRUPAL_SETS.into_iter().map(text).collect();
                body.extend(drupal_reads());
                Self { is_drupal: true, ..Self::of(Script { before: vec![], body }, true) }
            }
            "content" => Self { scripts: content(), ..Self::of(Script::default(), true) },
            "rows" => persistent(vec![], vec![text("SELECT id, k, c FROM sbtest1 LIMIT 10000")]),
            // 16,384 rows of 64 KiB: 1 GiB.
            "stream" => {
                persistent(vec![], vec![text("SELECT REPEAT('x', 65536) FROM sbtest1 WHERE id <= 16384")])
            }
            "read_only" => persistent(vec![], oltp(&[])),
            "read_write" => persistent(vec![], oltp(&OLTP_WRITES)),
            // What the idle clients did before they were idle.
            "idle" => persistent(vec![text("SET NAMES utf8mb4"), Statement::Point], vec![]),
            "drupal7" | "drupal10" => {
                let scripts = recordings::page_views(&recordings.join(format!("{name}.jsonl.gz")))?;
                Self { schema: name.to_owned(), scripts, reconnect: true, is_drupal: name == "drupal10" }
            }
            _ => bail!("no workload {name:?}; there are {}", NAMES.join(", ")),
        })
    }

    fn of(script: Script, reconnect: bool) -> Self {
        Self { schema: "app".to_owned(), scripts: vec![script], reconnect, is_drupal: false }
    }
}

/// What Drupal 10 sends on every connection.
const DRUPAL_SETS: [&str; 3] = [
    "SET NAMES utf8mb4 COLLATE utf8mb4_general_ci",
    "SET sql_mode = 'ANSI,TRADITIONAL'",
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
];

/// Twenty reads of a page of a logged-in visitor, in Drupal 10's own words and about the order of the recordings: its
/// caches, the tags that say whether they are still good, a session, a user, a state.
fn drupal_reads() -> Vec<Statement> {
    let cache = |bin: &str, ids: &str| {
        Statement::Drawn(
            format!(
                "SELECT \"cid\", \"data\", \"created\", \"expire\", \"serialized\", \"tags\", \"checksum\" FROM \"cache_{bin}\" \
             WHERE \"cid\" IN ( {ids} ) ORDER BY \"cid\""
            ),
            ITEMS,
        )
    };
    let one = |bin: &str| cache(bin, &format!("'{bin}:#'"));
    let tags = |count: usize| {
        let ids = vec!["'node:#'"; count].join(", ");
        Statement::Drawn(
            format!("SELECT \"tag\", \"invalidations\" FROM \"cachetags\" WHERE \"tag\" IN ( {ids} )"),
            ITEMS,
        )
    };
    let drawn = |sql: &str| Statement::Drawn(sql.to_owned(), ITEMS);
    let state = "SELECT \"name\", \"value\" FROM \"key_value\" WHERE \"name\" IN ( 'system.css_js_query_string' ) AND \
                 \"collection\" = 'state'";
    vec![
        one("bootstrap"),
        drawn("SELECT \"session\" FROM \"sessions\" WHERE \"sid\" = 'sid-#' LIMIT 0, 1"),
        drawn(
            "SELECT * FROM \"users_field_data\" \"u\" WHERE \"u\".\"uid\" = '#' AND \"u\".\"default_langcode\" = 1",
        ),
        one("config"),
        one("config"),
        one("data"),
        tags(1),
        one("discovery"),
        one("discovery"),
        tags(1),
        cache("config", "'config:#', 'config:#'"),
        one("bootstrap"),
        text(state),
        one("dynamic_page_cache"),
        tags(15),
        one("config"),
        cache("config", "'config:#', 'config:#', 'config:#', 'config:#'"),
        one("data"),
        tags(2),
        one("discovery"),
    ]
}

/// Tables of content that the `content` workload reads.
pub const CONTENT_TABLES: u64 = 8;

/// Requests that read a row of each of eight tables, each beginning with another one, and write one of two tables of
/// sessions.
fn content() -> Vec<Script> {
    let drawn = |sql: String| Statement::Drawn(sql, ITEMS);
    let request = |first: u64| {
        let tables = (0..CONTENT_TABLES).map(|table| (first + table) % CONTENT_TABLES);
        let letters = tables.filter_map(|table| char::from_digit(table as u32 + 10, 36));
        let mut body: Vec<_> = letters
            .map(|letter| drawn(format!("SELECT body, n FROM content_{letter} WHERE id = #")))
            .collect();
        let session = if first.is_multiple_of(2) { "a" } else { "b" };
        body.push(drawn(format!("UPDATE session_{session} SET n = n + 1 WHERE id = #")));
        Script { before: vec![], body }
    };
    (0..CONTENT_TABLES).map(request).collect()
}

/// The statement that is prepared.
const PREPARED: &str = "SELECT c FROM sbtest1 WHERE id=?";

/// What sysbench's oltp_read_write writes: an indexed and a plain update, and a row removed and put back.
const OLTP_WRITES: [&str; 4] = [
    "UPDATE sbtest1 SET k=k+1 WHERE id=#",
    "UPDATE sbtest1 SET c=CONCAT(MD5(#), '-updated') WHERE id=#",
    "DELETE FROM sbtest1 WHERE id=#",
    "INSERT INTO sbtest1 (id, k, c, pad) VALUES (^, ^, 'c-^', 'pad-^')",
];

/// sysbench's oltp_read_only, and with `writes` its oltp_read_write: ten point selects and four ranges in a
/// transaction. The ranges are the same ones always, of its size.
fn oltp(writes: &[&str]) -> Vec<Statement> {
    let range = "FROM sbtest1 WHERE id BETWEEN 50001 AND 50100";
    let mut all = vec![text("BEGIN")];
    all.extend((0..10).map(|_| Statement::Point));
    all.extend(
        [
            format!("SELECT c {range}"),
            format!("SELECT SUM(k) {range}"),
            format!("SELECT c {range} ORDER BY c"),
            format!("SELECT DISTINCT c {range} ORDER BY c"),
        ]
        .iter()
        .map(|sql| text(sql)),
    );
    all.extend(writes.iter().map(|sql| Statement::Drawn((*sql).to_owned(), ROWS)));
    all.push(text("COMMIT"));
    all
}

/// A query.
#[must_use]
pub fn text(sql: &str) -> Statement {
    let mut frame = Vec::with_capacity(sql.len() + HEADER + 1);
    put_command(&mut frame, Command::Query, sql.as_bytes());
    Statement::Text(frame)
}

impl Statement {
    /// Writes the command, framed, into `out`, which is emptied first.
    pub fn write(&self, out: &mut Vec<u8>, dice: &mut Dice, prepared: u32) {
        out.clear();
        match self {
            Statement::Text(frame) => out.extend_from_slice(frame),
            Statement::Point => {
                let sql = format!("SELECT c FROM sbtest1 WHERE id={}", dice.id());
                put_command(out, Command::Query, sql.as_bytes());
            }
            Statement::Drawn(template, most) => {
                let mut sql = String::with_capacity(template.len() + 64);
                let mut rest = template.as_str();
                while let Some((front, back)) = rest.split_once(['#', '^']) {
                    let again = rest.as_bytes().get(front.len()) == Some(&b'^');
                    let id = if again { dice.last } else { dice.upto(*most) };
                    sql.push_str(front);
                    sql.push_str(&id.to_string());
                    rest = back;
                }
                sql.push_str(rest);
                put_command(out, Command::Query, sql.as_bytes());
            }
            Statement::Prepare => put_command(out, Command::StmtPrepare, PREPARED.as_bytes()),
            Statement::Execute => {
                let mut body = Vec::with_capacity(21);
                body.extend_from_slice(&prepared.to_le_bytes());
                // No cursor, one iteration, nothing NULL, types follow: BIGINT.
                body.extend_from_slice(&[0, 1, 0, 0, 0, 0, 1, 8, 0]);
                body.extend_from_slice(&dice.id().to_le_bytes());
                put_command(out, Command::StmtExecute, &body);
            }
        }
    }
}

/// Frames a command.
pub fn put_command(out: &mut Vec<u8>, command: Command, body: &[u8]) {
    out.extend_from_slice(&FrameHead { len: body.len() + 1, seq: 0 }.encode());
    out.push(command.as_byte());
    out.extend_from_slice(body);
}

/// Random ids, the same in every run.
#[derive(Debug)]
pub struct Dice {
    state: u64,
    last: u64,
}

impl Dice {
    /// A sequence of its own for every seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: (seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1, last: 1 }
    }

    /// A row of the table.
    pub fn id(&mut self) -> u64 {
        self.upto(ROWS)
    }

    /// From 1 to `most`, by xorshift64* (Vigna, 2016).
    fn upto(&mut self, most: u64) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.last = (self.state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % most + 1;
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_drawn_and_repeated() {
        let (mut out, mut dice) = (Vec::new(), Dice::new(1));
        Statement::Drawn("a # b ^, #".to_owned(), 9).write(&mut out, &mut dice, 0);
        let sql = String::from_utf8(out.split_off(HEADER + 1)).unwrap();
        let ids: Vec<&str> = sql.split(|c: char| !c.is_ascii_digit()).filter(|id| !id.is_empty()).collect();
        assert!(matches!(ids.as_slice(), [a, b, _] if a == b), "{sql}");
    }

    #[test]
    fn a_page_has_twenty_reads() {
        assert_eq!(drupal_reads().len(), 20);
    }
}
