//! Rows are told apart by what is bound to the parameters of prepared statements, where that is certain: reads of rows
//! that nobody wrote stay on a replica that lags, and all others do not.
#![expect(clippy::indexing_slicing, reason = "helpers of tests may fail as tests do")]

use anyhow::{Result, ensure};
use clonelove_testkit::{Clonelove, DEFAULT_TIMEOUT, Flavour, wait_until};

use crate::sharing::client::Bind::{
    self, Big, Blob, Double, Int, Long, Null, Text, Tiny, UnsignedBig, UnsignedTiny,
};
use crate::sharing::client::{Stmt, Way};
use crate::sharing::stage::{Pair, Stage};
use crate::support::{Held, queries, wait_defined, wait_eligible};

/// A write and a read of one table, and whether the read is certain not to see the write.
type Case = (&'static str, &'static [Bind<'static>], &'static str, &'static [Bind<'static>], bool);

const UPDATE: &str = "UPDATE T SET v = v + 1 WHERE k = ?";
const SELECT: &str = "SELECT v FROM T WHERE k = ?";
const UPDATE_N: &str = "UPDATE T SET v = v + 1 WHERE n = ?";
const SELECT_N: &str = "SELECT v FROM T WHERE n = ?";
const UPDATE_U: &str = "UPDATE T SET v = v + 1 WHERE u = ?";
const SELECT_U: &str = "SELECT v FROM T WHERE u = ?";

/// Each on a table of its own.
const CASES: &[Case] = &[
    (UPDATE, &[Text("a")], SELECT, &[Text("b")], true),
    (UPDATE, &[Text("a")], SELECT, &[Text("a")], false),
    (UPDATE, &[Text("a")], SELECT, &[Text("A ")], false),
    (UPDATE, &[Text("a")], "SELECT v FROM T WHERE k = 'b'", &[], true),
    (UPDATE, &[Text("a")], "SELECT v FROM T WHERE k = 'a'", &[], false),
    ("UPDATE T SET v = v + 1 WHERE k = 'a'", &[], SELECT, &[Text("b")], true),
    ("UPDATE T SET v = v + 1 WHERE k = 'a'", &[], SELECT, &[Text("a")], false),
    (
        "UPDATE T SET v = ? WHERE k = ?",
        &[Int(7), Text("a")],
        "SELECT v, ? FROM T WHERE k IN (?, ?)",
        &[Int(1), Text("b"), Text("c")],
        true,
    ),
    (
        "UPDATE T SET v = ? WHERE k = ?",
        &[Int(7), Text("a")],
        "SELECT v, ? FROM T WHERE k IN (?, ?)",
        &[Int(1), Text("b"), Text("a")],
        false,
    ),
    ("INSERT INTO T (k, n, v) VALUES (?, ?, 1)", &[Text("d"), Int(4)], SELECT, &[Text("a")], true),
    ("INSERT INTO T (k, n, v) VALUES (?, ?, 1)", &[Text("d"), Int(4)], SELECT_N, &[Int(4)], false),
    (
        "INSERT INTO T (k, v) VALUES (?, ?) ON DUPLICATE KEY UPDATE v = VALUES(v)",
        &[Text("a"), Int(9)],
        SELECT,
        &[Text("b")],
        true,
    ),
    ("REPLACE INTO T (k, v) VALUES (?, ?)", &[Text("a"), Int(9)], SELECT, &[Text("a")], false),
    ("DELETE FROM T WHERE k = ?", &[Text("a")], SELECT, &[Text("b")], true),
    // Integers of any length, and with either sign.
    (UPDATE_N, &[Int(1)], SELECT_N, &[Tiny(2)], true),
    (UPDATE_N, &[Int(1)], SELECT_N, &[Big(1)], false),
    (UPDATE_N, &[Tiny(-1)], SELECT_N, &[UnsignedTiny(255)], true),
    (UPDATE_N, &[Tiny(-1)], SELECT_N, &[Big(-1)], false),
    (UPDATE_N, &[UnsignedTiny(255)], SELECT_N, &[Int(255)], false),
    (UPDATE_U, &[UnsignedBig(u64::MAX)], SELECT_U, &[UnsignedBig(u64::MAX - 1)], true),
    (UPDATE_U, &[UnsignedBig(u64::MAX)], SELECT_U, &[UnsignedBig(u64::MAX)], false),
    // What is not exactly of the column's type may equal more than one value.
    (UPDATE_N, &[Text("1")], SELECT_N, &[Int(2)], false),
    (UPDATE_N, &[Int(1)], SELECT_N, &[Text("1abc")], false),
    (UPDATE_N, &[Double(1.0)], SELECT_N, &[Int(2)], false),
    (UPDATE, &[Text("a")], SELECT, &[Int(0)], false),
    (UPDATE, &[Blob("a")], SELECT, &[Text("b")], false),
    (UPDATE_U, &[UnsignedBig(1)], SELECT_U, &[Tiny(-1)], false),
    // Of these nobody knows what they equal.
    (UPDATE, &[Text("á")], SELECT, &[Text("b")], false),
    ("UPDATE T SET v = v + 1 WHERE k IN (?, ?)", &[Text("a"), Null], SELECT, &[Text("b")], false),
    (UPDATE, &[Text("a")], SELECT, &[Null], false),
    (UPDATE, &[Long("a")], SELECT, &[Text("b")], false),
    (UPDATE, &[Text("a")], SELECT, &[Long("a")], false),
    // What came before shifts the values that follow.
    ("UPDATE T SET v = ? WHERE k = ?", &[Long("5"), Text("a")], SELECT, &[Text("b")], false),
    ("UPDATE T SET v = ? WHERE k = ? AND n > ?", &[Null, Text("a"), Int(0)], SELECT, &[Text("b")], true),
    (
        "UPDATE T SET v = ? WHERE k = ? AND n > ?",
        &[Double(1.5), Text("a"), Int(0)],
        SELECT,
        &[Text("a")],
        false,
    ),
];

fn made(stage: &Stage, tables: usize) -> Result<Clonelove> {
    for schema in ["side_a", "side_b"] {
        for number in 0..tables {
            let primary = &stage.cluster.primary;
            primary.query(&format!(
                "CREATE TABLE {schema}.kv{number} (k VARCHAR(20) PRIMARY KEY, n INT, u BIGINT UNSIGNED, v INT, \
                 KEY (n), KEY (u))"
            ))?;
            primary.query(&format!(
                "INSERT INTO {schema}.kv{number} VALUES ('a', 1, 1, 10), ('b', 2, 2, 20), ('c', 3, 3, 30), \
                 ('x', -1, 18446744073709551615, 40), ('y', 255, 18446744073709551614, 50)"
            ))?;
        }
    }
    stage.cluster.wait_caught_up()?;
    let config =
        stage.config(4).set("routing", "freshness", "\"key\"").set("routing", "fresh_wait", "\"1ms\"");
    let proxy = Clonelove::start_with(config)?;
    wait_eligible(&proxy, "replica1")?;
    wait_defined(&proxy, &format!("side_a.kv{}", tables - 1))?;
    Ok(proxy)
}

/// Prepares and executes on both sides; the answers must agree. Whether a replica was asked.
fn run(pair: &mut Pair, proxy: &Clonelove, sql: &str, values: &[Bind<'_>]) -> Result<bool> {
    let (there, here) = (pair.direct.prepare(sql)?, pair.proxied.prepare(sql)?);
    let before = queries(proxy, "replica1")?;
    let (wanted, got) = (pair.direct.execute(there, values)?, pair.proxied.execute(here, values)?);
    ensure!(got == wanted, "{sql} with {values:?}\n through: {got:?}\n direct:  {wanted:?}");
    let after = queries(proxy, "replica1")?;
    pair.direct.close(there)?;
    pair.proxied.close(here)?;
    Ok(after > before)
}

fn rows_are_told_apart(flavour: Flavour) -> Result<()> {
    let Some(stage) = Stage::set(flavour, 1)? else { return Ok(()) };
    let proxy = made(&stage, CASES.len())?;
    let mut pair = stage.pair(&proxy)?;
    let held = Held::new(&stage.cluster.replicas[0])?;
    let mut failures = Vec::new();
    for (number, (write, written, read, values, apart)) in CASES.iter().enumerate() {
        let name = |sql: &str| sql.replace(" T ", &format!(" kv{number} "));
        let (write, read) = (name(write), name(read));
        run(&mut pair, &proxy, &write, written)?;
        let on_replica = run(&mut pair, &proxy, &read, values)?;
        if on_replica != *apart {
            let there = if on_replica { "on the replica" } else { "kept on the primary" };
            failures.push(format!("{read} with {values:?} was {there} after {write} with {written:?}"));
        }
    }
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    held.release(&stage.cluster.primary)
}

#[test]
fn rows_are_told_apart_by_what_is_bound_on_mariadb() -> Result<()> {
    rows_are_told_apart(Flavour::MariaDbDistribution)
}

#[test]
fn rows_are_told_apart_by_what_is_bound_on_mariadb_sid() -> Result<()> {
    rows_are_told_apart(Flavour::MariaDbSid)
}

#[test]
fn rows_are_told_apart_by_what_is_bound_on_mysql_sid() -> Result<()> {
    rows_are_told_apart(Flavour::MySqlSid)
}

/// The proxied client executes what it has prepared; whether a replica was asked.
fn again(pair: &mut Pair, proxy: &Clonelove, statement: Stmt, values: &[Bind<'_>]) -> Result<bool> {
    let before = queries(proxy, "replica1")?;
    pair.proxied.execute_again(statement, values)?;
    Ok(queries(proxy, "replica1")? > before)
}

fn what_is_bound_is_read_as_it_is_meant(flavour: Flavour) -> Result<()> {
    let Some(stage) = Stage::set(flavour, 1)? else { return Ok(()) };
    let proxy = made(&stage, 3)?;
    let mut pair = stage.pair(&proxy)?;
    let primary = &stage.cluster.primary;
    // Types are said once.
    let write = pair.proxied.prepare("UPDATE kv0 SET v = v + ? WHERE k = ?")?;
    let read = pair.proxied.prepare("SELECT v FROM kv0 WHERE k = ?")?;
    pair.proxied.execute(write, &[Int(1), Text("c")])?;
    pair.proxied.execute(read, &[Text("c")])?;
    let held = Held::new(&stage.cluster.replicas[0])?;
    pair.proxied.execute_again(write, &[Int(1), Text("a")])?;
    ensure!(again(&mut pair, &proxy, read, &[Text("b")])?, "types that were said before");
    ensure!(!again(&mut pair, &proxy, read, &[Text("a")])?, "types that were said before");
    // In a character set in which bytes may mean something else, nothing is certain.
    let write = pair.proxied.prepare("UPDATE kv1 SET v = v + 1 WHERE k = ?")?;
    let read = pair.proxied.prepare("SELECT v FROM kv1 WHERE k = ?")?;
    pair.proxied.execute(write, &[Text("a")])?;
    pair.proxied.execute(read, &[Text("b")])?;
    ensure!(again(&mut pair, &proxy, read, &[Text("b")])?, "before another character set");
    pair.proxied.ask("SET NAMES gbk", Way::Text)?;
    ensure!(!again(&mut pair, &proxy, read, &[Text("b")])?, "in another character set");
    held.release(primary)?;
    pair.proxied.ask("SET NAMES utf8mb4", Way::Text)?;

    // A statement's keys are those of the definitions as they are: here another unique key may make it replace rows.
    let write = pair.proxied.prepare("REPLACE INTO kv2 (k, n, v) VALUES (?, ?, 5)")?;
    let other = pair.proxied.prepare("UPDATE kv2 SET u = u + 1 WHERE k = ?")?;
    let read = pair.proxied.prepare("SELECT v FROM kv2 WHERE k = ?")?;
    pair.proxied.execute(write, &[Text("new"), Int(9)])?;
    pair.proxied.execute(other, &[Text("c")])?;
    pair.proxied.execute(read, &[Text("b")])?;
    pair.proxied.ask("ALTER TABLE kv2 ADD UNIQUE (v)", Way::Text)?;
    let mut held = None;
    wait_until("the new definition to be known", DEFAULT_TIMEOUT, || {
        // What was written while the definition was in doubt concerns all rows, until the replica has it.
        if let Some(held) = held.take() {
            Held::release(held, primary)?;
        }
        stage.cluster.wait_caught_up()?;
        held = Some(Held::new(&stage.cluster.replicas[0])?);
        pair.proxied.execute_again(other, &[Text("c")])?;
        again(&mut pair, &proxy, read, &[Text("b")])
    })?;
    pair.proxied.execute_again(write, &[Text("a"), Int(9)])?;
    ensure!(!again(&mut pair, &proxy, read, &[Text("b")])?, "by the definitions as they were");
    held.map_or(Ok(()), |held| held.release(primary))
}

#[test]
fn what_is_bound_is_read_as_it_is_meant_on_mariadb() -> Result<()> {
    what_is_bound_is_read_as_it_is_meant(Flavour::MariaDbDistribution)
}

#[test]
fn what_is_bound_is_read_as_it_is_meant_on_mysql_sid() -> Result<()> {
    what_is_bound_is_read_as_it_is_meant(Flavour::MySqlSid)
}
