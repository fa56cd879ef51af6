//! Keys and knowledge against real servers: whatever a write changes in what a read answers, the analysis must have
//! called the two dependent.
//!
//! Random schemas, random pairs of a read and a write; the write is rolled back after each. The snapshot is made of what
//! the monitoring account sees, as the daemon makes it. `CLONELOVE_KEYS_PAIRS` sets how many pairs are tried,
//! `CLONELOVE_KEYS_SEED` which ones.
#![expect(clippy::indexing_slicing, reason = "helpers of tests may fail as tests do")]

mod dice;
mod schemas;
mod statements;
mod traps;
mod verdict;

use anyhow::{Context, Result, ensure};
use clonelove_sql::schema::{Answers, queries};
use clonelove_sql::{Modes, Schema};
use clonelove_testkit::{
    Cluster, ClusterOptions, Connection, Family, Flavour, MONITOR_GRANTS_MARIADB, MONITOR_GRANTS_MYSQL, Row,
    SqlError,
};

use dice::Dice;
use schemas::Made;
use verdict::{Judge, Look};

/// Pairs tried in one run of a test.
const PAIRS: u64 = 20_000;
/// Writes tried on one schema, and reads around each.
const WRITES: usize = 24;
const READS: usize = 20;

/// Modes under which text is split otherwise, values are stored otherwise, or both.
const MODES: [&str; 9] = [
    "STRICT_ALL_TABLES",
    "STRICT_TRANS_TABLES,NO_ZERO_DATE",
    "",
    "NO_AUTO_VALUE_ON_ZERO",
    "NO_BACKSLASH_ESCAPES",
    "PIPES_AS_CONCAT,STRICT_ALL_TABLES",
    "HIGH_NOT_PRECEDENCE",
    "ANSI_QUOTES",
    "PAD_CHAR_TO_FULL_LENGTH",
];

/// An account with the monitoring account's privileges, that needs no TLS to log in.
const WATCHER: &str = "watcher";

fn one_server(flavour: Flavour) -> Result<Cluster> {
    let options = ClusterOptions { replicas: 0, uniform: true, ..ClusterOptions::default() };
    let cluster = Cluster::start(flavour, options)?;
    let grants = match flavour.family() {
        Family::MariaDb => MONITOR_GRANTS_MARIADB,
        Family::MySql => MONITOR_GRANTS_MYSQL,
    };
    cluster.primary.query(&format!("CREATE USER {WATCHER}@localhost"))?;
    cluster.primary.query(&format!("GRANT {} ON *.* TO {WATCHER}@localhost", grants.join(", ")))?;
    Ok(cluster)
}

/// What the daemon would know of a server.
fn snapshot(cluster: &Cluster, family: Family) -> Result<Schema> {
    let mut monitor = Connection::open(&cluster.primary.socket(), WATCHER, None)?;
    let flavour = verdict::flavour(family);
    let mut answers = Answers::new();
    for question in queries(flavour) {
        match monitor.query(question.sql) {
            Ok(rows) => {
                answers.insert(question.name, rows);
            }
            Err(_) if question.optional => {}
            Err(error) => return Err(error).context(question.sql),
        }
    }
    let schema = Schema::build(flavour, verdict::version(family), &answers);
    ensure!(schema.missing_grants().is_empty(), "{:?}", schema.missing_grants());
    Ok(schema)
}

/// A statement's answer: rows in any order, or the error's number.
type Answer = Result<Vec<Row>, u16>;

fn in_any_order(answer: Result<Vec<Row>, SqlError>) -> Answer {
    answer.map_err(|refused| refused.code).map(|mut rows| {
        rows.sort();
        rows
    })
}

fn answer(connection: &mut Connection, sql: &str) -> Result<Answer> {
    match connection.query(sql) {
        Ok(mut rows) => {
            rows.sort();
            Ok(Ok(rows))
        }
        Err(error) => match SqlError::of(&error) {
            Some(refused) => Ok(Err(refused.code)),
            None => Err(error).with_context(|| sql.to_owned()),
        },
    }
}

/// What came of the pairs of one run.
#[derive(Debug, Default)]
struct Tally {
    pairs: u64,
    changed: u64,
    same_table: u64,
    independent: u64,
    violations: Vec<String>,
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[expect(clippy::print_stdout, reason = "the numbers are what the test is for")]
fn no_change_is_missed(flavour: Flavour, seed: u64) -> Result<()> {
    if !flavour.covered()? {
        return Ok(());
    }
    let cluster = one_server(flavour)?;
    let pairs = number("CLONELOVE_KEYS_PAIRS", PAIRS);
    let mut dice = Dice::new(number("CLONELOVE_KEYS_SEED", seed));
    let mut tally = Tally::default();
    while tally.pairs < pairs && tally.violations.len() < 5 {
        one_schema(&cluster, flavour.family(), &mut dice, &mut tally)?;
    }
    let Tally { pairs, changed, same_table, independent, .. } = tally;
    println!("{pairs} pairs: {changed} changed, {independent} of {same_table} on the same table independent");
    ensure!(tally.violations.is_empty(), "changes were missed:\n{}", tally.violations.join("\n\n"));
    ensure!(changed * 5 >= pairs, "only {changed} of {pairs} pairs changed anything");
    ensure!(independent * 5 >= same_table, "only {independent} of {same_table} pairs were told apart");
    Ok(())
}

fn one_schema(cluster: &Cluster, family: Family, dice: &mut Dice, tally: &mut Tally) -> Result<()> {
    let made = schemas::make(dice, family);
    let mut root = cluster.primary.connect()?;
    for sql in ["DROP SCHEMA IF EXISTS app", "CREATE SCHEMA app CHARACTER SET utf8mb4", "USE app"] {
        root.query(sql)?;
    }
    let mut made_of = Vec::new();
    for sql in &made.definitions {
        // Not every combination is one that a server accepts.
        if root.query(sql).is_ok() {
            made_of.push(sql.clone());
        } else if sql.starts_with("CREATE TABLE t ") {
            return Ok(());
        }
    }
    root.query("SET sql_mode = ''")?;
    for sql in &made.rows {
        let _ = answer(&mut root, sql)?;
    }
    let mode = dice.pick(&MODES);
    root.query(&format!("SET sql_mode = '{mode}'"))?;
    let judge = Judge::new(snapshot(cluster, family)?, family, Modes::from_sql_mode(mode));
    let pool = Pool::ask(&mut root, &judge, &made, dice)?;
    for (write, reads) in pool.writes.iter().zip(pool.reads.chunks(READS)) {
        let mut said = vec!["START TRANSACTION", write];
        said.extend(reads.iter().map(|read| read.sql.as_str()));
        said.push("ROLLBACK");
        let mut answers = root.query_ahead(&said)?.into_iter().map(in_any_order);
        let wrote = answers.nth(1).context("what the write answered")?;
        let of_write = judge.look(write);
        for (read, after) in reads.iter().zip(answers) {
            let changed = read.before != after;
            let verdict = read.look.meets(&of_write);
            tally.pairs += 1;
            tally.changed += u64::from(changed);
            tally.same_table += u64::from(verdict.same_table);
            tally.independent += u64::from(verdict.same_table && verdict.independent);
            if changed && verdict.independent {
                tally.violations.push(format!(
                    "{}\nsql_mode {mode:?}\n{}\n{write} -> {wrote:?}\nbefore {:?}\nafter {after:?}",
                    made_of.join(";\n"),
                    read.sql,
                    read.before
                ));
            }
        }
    }
    Ok(())
}

/// What is tried on one schema.
struct Pool {
    writes: Vec<String>,
    /// So many for each write, one after another.
    reads: Vec<Read>,
}

struct Read {
    sql: String,
    look: Look,
    /// What it answers while nothing is written.
    before: Answer,
}

impl Pool {
    fn ask(root: &mut Connection, judge: &Judge, made: &Made, dice: &mut Dice) -> Result<Pool> {
        let (mut writes, mut texts) = (Vec::new(), Vec::new());
        for _ in 0..WRITES {
            let write = statements::write(dice, made);
            texts.extend((0..READS).map(|_| statements::read(dice, made, &write)));
            writes.push(write);
        }
        let said: Vec<&str> = texts.iter().map(String::as_str).collect();
        let before: Vec<Answer> = root.query_ahead(&said)?.into_iter().map(in_any_order).collect();
        let read = |(sql, before): (String, Answer)| Read { look: judge.look(&sql), sql, before };
        Ok(Pool { reads: texts.into_iter().zip(before).map(read).collect(), writes })
    }
}

#[test]
fn keys_miss_no_change_on_mariadb() -> Result<()> {
    no_change_is_missed(Flavour::MariaDbDistribution, 1)
}

#[test]
fn keys_miss_no_change_on_mariadb_sid() -> Result<()> {
    no_change_is_missed(Flavour::MariaDbSid, 2)
}

#[test]
fn keys_miss_no_change_on_mysql_sid() -> Result<()> {
    no_change_is_missed(Flavour::MySqlSid, 3)
}

#[test]
fn each_rule_of_keys_is_needed_on_mariadb() -> Result<()> {
    traps::each_rule_is_needed(Flavour::MariaDbDistribution)
}

#[test]
fn each_rule_of_keys_is_needed_on_mysql_sid() -> Result<()> {
    traps::each_rule_is_needed(Flavour::MySqlSid)
}

/// The folding of keys is at least as coarse as each collation that they are used under.
fn tested_collations_fold_no_more_than_case_and_space(flavour: Flavour) -> Result<()> {
    if !flavour.covered()? {
        return Ok(());
    }
    let cluster = one_server(flavour)?;
    let mut root = cluster.primary.connect()?;
    root.query("USE app")?;
    let mut texts: Vec<String> = (b' '..=b'~').map(|byte| char::from(byte).to_string()).collect();
    for one in b'a'..=b'z' {
        texts.extend((b'a'..=b'z').map(|other| format!("{}{}", char::from(one), char::from(other))));
        texts.extend(
            [b'-', b'\'', b'_', b' '].map(|other| format!("{}{}", char::from(one), char::from(other))),
        );
    }
    let values: Vec<String> =
        texts.iter().map(|text| format!("('{}')", text.replace('\\', "\\\\").replace('\'', "''"))).collect();
    let names = root.query(
        "SELECT COLLATION_NAME FROM information_schema.COLLATION_CHARACTER_SET_APPLICABILITY \
         WHERE CHARACTER_SET_NAME IN ('ascii', 'latin1', 'utf8', 'utf8mb3', 'utf8mb4')",
    )?;
    let full_names = root.query(
        "SELECT FULL_COLLATION_NAME FROM information_schema.COLLATION_CHARACTER_SET_APPLICABILITY \
         WHERE CHARACTER_SET_NAME IN ('ascii', 'latin1', 'utf8', 'utf8mb3', 'utf8mb4')",
    );
    let mut tested = 0;
    for name in full_names.unwrap_or(names).into_iter().flatten().flatten() {
        if !clonelove_sql::keys::is_tested_collation(&name) {
            continue;
        }
        tested += 1;
        root.query("DROP TABLE IF EXISTS texts")?;
        root.query(&format!("CREATE TABLE texts (s VARCHAR(3) COLLATE {name}, KEY (s))"))?;
        root.query(&format!("INSERT INTO texts VALUES {}", values.join(",")))?;
        let pairs = root.query(
            "SELECT a.s, b.s FROM texts a JOIN texts b ON a.s = b.s \
             WHERE LOWER(TRIM(TRAILING ' ' FROM CONVERT(a.s USING utf8mb4)) COLLATE utf8mb4_bin) \
             <> LOWER(TRIM(TRAILING ' ' FROM CONVERT(b.s USING utf8mb4)) COLLATE utf8mb4_bin) LIMIT 5",
        )?;
        ensure!(pairs.is_empty(), "{name} calls equal: {pairs:?}");
    }
    ensure!(tested >= 12, "only {tested} collations were tested");
    Ok(())
}

#[test]
fn tested_collations_fold_no_more_than_case_and_space_on_mariadb() -> Result<()> {
    tested_collations_fold_no_more_than_case_and_space(Flavour::MariaDbDistribution)
}

#[test]
fn tested_collations_fold_no_more_than_case_and_space_on_mariadb_sid() -> Result<()> {
    tested_collations_fold_no_more_than_case_and_space(Flavour::MariaDbSid)
}

#[test]
fn tested_collations_fold_no_more_than_case_and_space_on_mysql_sid() -> Result<()> {
    tested_collations_fold_no_more_than_case_and_space(Flavour::MySqlSid)
}
