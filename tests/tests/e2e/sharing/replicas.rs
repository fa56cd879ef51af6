//! Replicas that lack what the primary has, and sessions whose state is on one: the answers are the primary's.

use anyhow::{Context, Result, bail, ensure};
use clonelove_testkit::{APP_USER, Clonelove, DEFAULT_TIMEOUT, Flavour, wait_until};

use super::client::{Side, Way, first_value};
use super::stage::Stage;
use crate::support::{reason, retries, said_of};

/// Says the same on one server alone, for both sides.
fn here_alone(stage: &Stage, server: &str, statements: &[&str]) -> Result<()> {
    let mut root = stage.cluster.server(server)?.connect()?;
    root.query("SET SESSION sql_log_bin = 0")?;
    for side in Side::BOTH {
        for sql in statements {
            root.query(&side.names(sql)).with_context(|| (*sql).to_owned())?;
        }
    }
    Ok(())
}

fn on_replicas(proxy: &Clonelove) -> Result<f64> {
    proxy.metric("clonelove_queries_total", &["target=\"replica\""])
}

/// Tables and rights that only the primary has: the replica's word on them is not passed on, and the replica is none
/// the worse for it.
fn what_a_replica_lacks(flavour: Flavour) -> Result<()> {
    let Some(stage) = Stage::set(flavour, 1)? else { return Ok(()) };
    here_alone(
        &stage,
        "primary",
        &["CREATE TABLE side_$.only_here (id INT PRIMARY KEY)", "INSERT INTO side_$.only_here VALUES (7)"],
    )?;
    here_alone(&stage, "replica1", &[&format!("REVOKE ALL PRIVILEGES ON more_$.* FROM '{APP_USER}'@'%'")])?;
    let proxy = Clonelove::start_with(stage.config(2))?;
    let mut a = stage.pair(&proxy)?;
    // Once its definition is known it looks like any other table.
    wait_until("the table to be known", DEFAULT_TIMEOUT, || {
        let before = reason(&proxy, "unknown_table")?;
        a.ask("SELECT id FROM only_here", Way::Text)?;
        if reason(&proxy, "unknown_table")? == before { Ok(true) } else { bail!("unknown as yet") }
    })?;
    let mut last = [retries(&proxy, "missing")?, retries(&proxy, "access")?];
    for sql in ["SELECT id FROM only_here", "SELECT id FROM more_$.only_here"] {
        for way in [Way::Text, Way::Prepared] {
            let answer = a.ask(sql, way)?;
            ensure!(way == Way::Prepared || first_value(&answer) == "7", "{sql}: {answer:?}");
            let now = [retries(&proxy, "missing")?, retries(&proxy, "access")?];
            ensure!(now != last, "{sql}, {way:?}: no replica was asked");
            last = now;
            let before = on_replicas(&proxy)?;
            a.ask("SELECT COUNT(*) FROM t", way)?;
            ensure!(on_replicas(&proxy)? > before, "{sql}, {way:?}: the replica is avoided");
        }
    }
    // Prepared while the replica had it.
    let (there, here) = (a.direct.prepare("SELECT v FROM t")?, a.proxied.prepare("SELECT v FROM t")?);
    here_alone(&stage, "replica1", &["RENAME TABLE side_$.t TO side_$.away"])?;
    for _ in 0..2 {
        let (wanted, got) = (a.direct.execute(there, &[])?, a.proxied.execute(here, &[])?);
        ensure!(got == wanted, "{got:?}, directly {wanted:?}");
    }
    for sql in ["SELECT id FROM no_such_table", "SELECT id FROM no_such_schema.no_such_table"] {
        a.ask(sql, Way::Text)?;
        a.ask(sql, Way::Prepared)?;
    }
    Ok(())
}

#[test]
fn what_a_replica_lacks_the_primary_answers_on_mariadb() -> Result<()> {
    what_a_replica_lacks(Flavour::MariaDbDistribution)
}

#[test]
fn what_a_replica_lacks_the_primary_answers_on_mysql() -> Result<()> {
    what_a_replica_lacks(Flavour::MySqlSid)
}

/// A time zone that only the primary knows: who sets it reads on the primary, all others on the replica as ever.
fn a_setting_that_a_replica_refuses(flavour: Flavour) -> Result<()> {
    let Some(stage) = Stage::set(flavour, 1)? else { return Ok(()) };
    let mut root = stage.cluster.primary.connect()?;
    for sql in [
        "SET SESSION sql_log_bin = 0",
        "INSERT INTO mysql.time_zone (Time_zone_id, Use_leap_seconds) VALUES (9999, 'N')",
        "INSERT INTO mysql.time_zone_name (Name, Time_zone_id) VALUES ('Primary/Only', 9999)",
        "INSERT INTO mysql.time_zone_transition_type \
         (Time_zone_id, Transition_type_id, `Offset`, Is_DST, Abbreviation) VALUES (9999, 0, 7200, 0, 'PO')",
    ] {
        root.query(sql).with_context(|| sql.to_owned())?;
    }
    let proxy = Clonelove::start_with(stage.config(2))?;
    let (mut a, mut b) = (stage.pair(&proxy)?, stage.pair(&proxy)?);
    for _ in 0..3 {
        a.says("SET time_zone = 'Primary/Only'", "OK")?;
        for way in [Way::Text, Way::Prepared] {
            a.ask("SELECT HOUR(FROM_UNIXTIME(0)), v FROM t WHERE id = 1", way)?;
        }
        a.says("SELECT HOUR(FROM_UNIXTIME(0)) FROM t LIMIT 1", "2")?;
        let before = on_replicas(&proxy)?;
        b.says("SELECT HOUR(FROM_UNIXTIME(0)) = 2 FROM t LIMIT 1", "0")?;
        a.says("SET time_zone = '+00:00'", "OK")?;
        a.says("SELECT HOUR(FROM_UNIXTIME(0)) FROM t LIMIT 1", "0")?;
        ensure!(on_replicas(&proxy)? == before + 2.0, "the replica is avoided");
    }
    ensure!(said_of(&proxy, "replica1")?.get("eligible") == Some(&true.into()), "it was banned");
    Ok(())
}

#[test]
fn a_setting_that_a_replica_refuses_is_no_error_on_mariadb() -> Result<()> {
    a_setting_that_a_replica_refuses(Flavour::MariaDbDistribution)
}

#[test]
fn a_setting_that_a_replica_refuses_is_no_error_on_mysql() -> Result<()> {
    a_setting_that_a_replica_refuses(Flavour::MySqlSid)
}

const BEGIN: &str = "START TRANSACTION READ ONLY";

/// What is said in a read-only transaction, which lives on a replica, and what is asked after it.
const LEFT_BY_TRANSACTIONS: &[(&str, &str)] = &[
    ("SET @kept = 7", "SELECT @kept"),
    ("SET @kept = CONCAT('a', 'b')", "SELECT @kept"),
    ("SELECT 5 INTO @kept", "SELECT @kept"),
    ("SELECT COUNT(*) INTO @kept FROM t", "SELECT @kept"),
    ("SELECT @kept := MAX(v) FROM t", "SELECT @kept"),
    ("SET NAMES latin1", "SELECT @@character_set_client, @@collation_connection"),
    ("SET SESSION sql_mode = CONCAT(@@sql_mode, ',ANSI_QUOTES')", "SELECT @@sql_mode"),
    ("SET timestamp = 86400", "SELECT UNIX_TIMESTAMP() = 86400"),
    ("USE more_$", "SELECT DATABASE()"),
    ("SET autocommit = 0", "SELECT @@autocommit"),
    ("SELECT GET_LOCK('lock_$', 0)", "SELECT IS_FREE_LOCK('lock_$')"),
    ("PREPARE own FROM 'SELECT COUNT(*) FROM t'", "EXECUTE own"),
    ("HANDLER t OPEN", "HANDLER t READ FIRST"),
    ("SELECT LAST_INSERT_ID(77)", "SELECT LAST_INSERT_ID()"),
    ("SELECT SQL_CALC_FOUND_ROWS v FROM t LIMIT 1", "SELECT FOUND_ROWS()"),
    ("SELECT CAST(v AS SIGNED) FROM t LIMIT 1", "SHOW WARNINGS"),
    ("GET DIAGNOSTICS @kept = NUMBER", "SELECT @kept"),
    ("INSERT INTO t (v) VALUES ('no')", "SELECT COUNT(*) FROM t"),
    ("SAVEPOINT s", "SELECT COUNT(*) FROM t"),
    ("LOCK TABLES t READ", "SELECT COUNT(*) FROM t"),
    ("CREATE TEMPORARY TABLE own (id INT)", "SELECT COUNT(*) FROM own"),
    ("DO RELEASE_ALL_LOCKS()", "SELECT 1"),
];

/// What a read-only transaction leaves in its session is there when it is over, and nobody else sees it.
fn what_read_only_transactions_leave(flavour: Flavour) -> Result<()> {
    let Some(stage) = Stage::set(flavour, 1)? else { return Ok(()) };
    let proxy = Clonelove::start_with(stage.config(1))?;
    let mut wrong = Vec::new();
    for way in [Way::Text, Way::Prepared] {
        for (leaves, asks) in LEFT_BY_TRANSACTIONS {
            for first in ["SELECT COUNT(*) FROM t", "SAVEPOINT none"] {
                let (mut a, mut b) = (stage.pair(&proxy)?, stage.pair(&proxy)?);
                let mut said = || {
                    for sql in [BEGIN, first, leaves, asks, "ROLLBACK TO none", "COMMIT", asks, asks] {
                        a.ask(sql, way)?;
                    }
                    a.ask("COM_RESET_CONNECTION", Way::Text)?;
                    // How many rows were found before a session's first is not defined: MariaDB has that of another one.
                    let looks = if asks.contains("FOUND_ROWS") { "SELECT v FROM t" } else { asks };
                    for sql in [BEGIN, looks, "COMMIT"] {
                        b.ask(sql, way)?;
                    }
                    anyhow::Ok(())
                };
                if let Err(error) = said() {
                    wrong.push(format!("{way:?}, {first}, {leaves}: {error:#}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} were wrong:\n{}", wrong.len(), wrong.join("\n\n"));
    Ok(())
}

#[test]
fn what_read_only_transactions_leave_is_kept_on_mariadb() -> Result<()> {
    what_read_only_transactions_leave(Flavour::MariaDbDistribution)
}

#[test]
fn what_read_only_transactions_leave_is_kept_on_mysql() -> Result<()> {
    what_read_only_transactions_leave(Flavour::MySqlSid)
}
