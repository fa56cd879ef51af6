//! What a statement leaves for the next one to ask for: insert ids, counts, warnings and errors, with two clients taking
//! turns on one connection per server.

use anyhow::{Context, Result, ensure};
use clonelove_testkit::{Clonelove, Flavour};

use super::client::{Way, first_value, leaves_diagnostics};
use super::stage::{Pair, Stage};

/// Statements of one client, and what it may be asked about each. Another client asks the same in between, wherever
/// the first one's connection is not kept for it.
const STATEMENTS: &[&str] = &[
    "INSERT INTO t (v) VALUES ('generated')",
    "INSERT INTO t (v) VALUES ('several'), ('of'), ('them')",
    // The OK tells this id, LAST_INSERT_ID() does not.
    "INSERT INTO t (id, v) VALUES (50, 'explicit')",
    "INSERT INTO t (v, n) VALUES ('later', LAST_INSERT_ID())",
    "INSERT INTO t (v, n) SELECT 'selected', n FROM t WHERE id <= 2",
    "UPDATE t SET n = LAST_INSERT_ID(77) WHERE id = 1",
    "UPDATE t SET v = 'x' WHERE id IN (2, 3)",
    "UPDATE t SET v = 'x' WHERE id IN (2, 3)",
    "SELECT LAST_INSERT_ID(99)",
    "SELECT v FROM t ORDER BY id LIMIT 2",
    "SELECT SQL_CALC_FOUND_ROWS v FROM t ORDER BY id LIMIT 2",
    "SELECT v FROM t WHERE 0",
    "DELETE FROM t WHERE id = 2",
    "REPLACE INTO t (id, v) VALUES (3, 'replaced')",
    "INSERT INTO t (id, v) VALUES (3, 'again') ON DUPLICATE KEY UPDATE v = 'updated', id = LAST_INSERT_ID(id)",
    "INSERT IGNORE INTO t (id, v) VALUES (3, 'ignored')",
    "INSERT INTO t (id, v) VALUES (3, 'twice')",
    "INSERT INTO t (v) VALUES ('longer than a column of twenty takes')",
    "SET @a = 1",
    "SELECT 1",
    "SELECT 1 / 0",
    "SELECT CAST('5x' AS SIGNED)",
    "SELECT no_such_column FROM t",
    "SELECT v FROM no_such_table",
    "nonsense",
    "DROP TABLE IF EXISTS no_such_table",
    "CREATE TABLE more_$.made (id INT) ENGINE = InnoDB",
    "DROP TABLE more_$.made",
    "SHOW TABLES",
    "USE side_$",
    "BEGIN",
    "INSERT INTO t (v) VALUES ('in a transaction')",
    "COMMIT",
    "SET last_insert_id = 4711",
    "DO 1",
    "TRUNCATE TABLE t",
    "INSERT INTO t (v) VALUES ('first'), ('second')",
];

/// What may be asked about a statement.
const QUESTIONS: &[&str] = &[
    "SELECT LAST_INSERT_ID()",
    "SELECT @@last_insert_id, @@identity",
    "SELECT ROW_COUNT()",
    "SELECT FOUND_ROWS()",
    "SELECT ROW_COUNT() AS n, LAST_INSERT_ID(), FOUND_ROWS()",
    "INSERT INTO t (v) VALUES (CONCAT_WS('/', ROW_COUNT(), FOUND_ROWS(), LAST_INSERT_ID()))",
    "SELECT v, LAST_INSERT_ID() FROM t WHERE id = LAST_INSERT_ID()",
    "INSERT INTO t (v, n) VALUES ('asks', LAST_INSERT_ID() % 100)",
    "SHOW WARNINGS",
    "SHOW ERRORS",
    "SHOW COUNT(*) WARNINGS",
    "SELECT @@warning_count, @@error_count",
    "GET DIAGNOSTICS @n = NUMBER",
    "GET DIAGNOSTICS CONDITION 1 @c = RETURNED_SQLSTATE, @m = MESSAGE_TEXT",
    "SET @found = FOUND_ROWS()",
];

/// Asks, and lets go of the connection that is kept for what was left.
fn ask(pair: &mut Pair, sql: &str, way: Way, wrong: &mut Vec<String>) -> Result<()> {
    let about = pair.said.last().cloned().unwrap_or_default();
    match pair.ask(sql, way) {
        Err(error) if format!("{error:#}").contains("through: ") => {
            let text = format!("{error:#}");
            wrong.push(format!(
                "after {about}: {}",
                text.split(" said:").next().unwrap_or_default().replace("\\x", "")
            ));
            Ok(())
        }
        other => other.map(drop),
    }
}

fn traces_are_their_owners(flavour: Flavour, way: Way) -> Result<()> {
    let Some(stage) = Stage::set(flavour, 1)? else { return Ok(()) };
    let mut wrong = Vec::new();
    for mode in ["\"split\"", "\"primary_only\""] {
        let proxy = Clonelove::start_with(stage.config(2).set("routing", "mode", mode))?;
        stage.fresh_table()?;
        let (mut a, mut b) = (stage.pair(&proxy)?, stage.pair(&proxy)?);
        for question in QUESTIONS {
            if !stage.is_mariadb() && question.contains("FOUND_ROWS()") {
                // MySQL counts for UPDATE too, and warns of its use: that is not told yet as it is directly.
                continue;
            }
            for statement in STATEMENTS {
                ask(&mut a, statement, way, &mut wrong)?;
                // The other has something to tell of its own, and leaves nothing that keeps a connection.
                b.ask("INSERT INTO more_$.only_here VALUES (9)", Way::Text)?;
                b.ask("DELETE FROM more_$.only_here WHERE id = 9", Way::Text)?;
                ask(&mut b, question, way, &mut wrong)?;
                b.ask("SELECT COUNT(*) FROM t", Way::Text)?;
                ask(&mut a, question, way, &mut wrong)?;
                ensure!(wrong.len() < 40, "{} answers were wrong:\n{}", wrong.len(), wrong.join("\n"));
            }
            for pair in [&mut a, &mut b] {
                pair.said.clear();
                pair.ask("COM_RESET_CONNECTION", Way::Text)?;
            }
        }
    }
    assert!(wrong.is_empty(), "{} answers were wrong:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}

#[test]
fn traces_are_their_owners_on_mariadb() -> Result<()> {
    traces_are_their_owners(Flavour::MariaDbDistribution, Way::Text)
}

#[test]
fn traces_are_their_owners_on_mariadb_prepared() -> Result<()> {
    traces_are_their_owners(Flavour::MariaDbDistribution, Way::Prepared)
}

#[test]
fn traces_are_their_owners_on_new_mariadb() -> Result<()> {
    traces_are_their_owners(Flavour::MariaDbSid, Way::Text)
}

#[test]
fn traces_are_their_owners_on_new_mariadb_prepared() -> Result<()> {
    traces_are_their_owners(Flavour::MariaDbSid, Way::Prepared)
}

#[test]
fn traces_are_their_owners_on_mysql() -> Result<()> {
    traces_are_their_owners(Flavour::MySqlSid, Way::Text)
}

#[test]
fn traces_are_their_owners_on_mysql_prepared() -> Result<()> {
    traces_are_their_owners(Flavour::MySqlSid, Way::Prepared)
}

/// While a connection is kept for what was left, another client waits its turn, and sees nothing of it.
#[test]
fn who_waits_for_a_kept_connection_sees_nothing_of_it() -> Result<()> {
    for flavour in [Flavour::MariaDbDistribution, Flavour::MySqlSid] {
        let Some(stage) = Stage::set(flavour, 0)? else { continue };
        let proxy = Clonelove::start_with(stage.config(1))?;
        let (mut a, mut b) = (stage.pair(&proxy)?, stage.pair(&proxy)?);
        for (warns, asks) in [
            ("INSERT INTO t (n) VALUES (1000)", "SHOW WARNINGS"),
            ("SELECT CAST('5x' AS SIGNED) FROM t LIMIT 1", "SELECT @@warning_count"),
            ("DROP TABLE no_such_table", "SHOW ERRORS"),
            ("SELECT SQL_CALC_FOUND_ROWS v FROM t LIMIT 1", "SELECT FOUND_ROWS()"),
        ] {
            if asks.contains("FOUND_ROWS") && !stage.is_mariadb() {
                // MySQL warns of its use: then the one who waited keeps the connection in turn.
                continue;
            }
            let left = a.ask(warns, Way::Text)?;
            b.proxied.send(asks)?;
            a.ask(asks, Way::Text)?;
            a.ask("SELECT COUNT(*) FROM t", Way::Text)?;
            b.said.push(asks.to_owned());
            b.receive(asks).with_context(|| format!("after {warns}: {left:?}"))?;
            b.ask("SELECT COUNT(*) FROM t", Way::Text)?;
            ensure!(leaves_diagnostics(&left) || asks.contains("FOUND"), "{warns}: {left:?}");
        }
    }
    Ok(())
}

/// Every client has the number that its greeting told, whatever connection runs its statements.
#[test]
fn connection_id_is_the_clients_own() -> Result<()> {
    for flavour in [Flavour::MariaDbDistribution, Flavour::MySqlSid] {
        let Some(stage) = Stage::set(flavour, 0)? else { continue };
        let proxy = Clonelove::start_with(stage.config(1))?;
        let (mut a, mut b) = (stage.pair(&proxy)?, stage.pair(&proxy)?);
        let mut own = Vec::new();
        for client in [&mut a.proxied, &mut b.proxied] {
            let first = first_value(&client.ask("SELECT CONNECTION_ID()", Way::Text)?);
            own.push(first);
        }
        ensure!(own.first() != own.last(), "two clients of one number: {own:?}");
        for _ in 0..3 {
            for (client, own) in [&mut a.proxied, &mut b.proxied].into_iter().zip(&own) {
                for sql in [
                    "SELECT CONNECTION_ID()",
                    "SELECT CONNECTION_ID() AS number",
                    "SELECT CONNECTION_ID() + 0",
                    "SELECT CONNECTION_ID() FROM t LIMIT 1",
                ] {
                    let value = first_value(&client.ask(sql, Way::Text)?);
                    ensure!(value == *own, "{sql}: {value}, not {own}");
                }
                let answer = client.ask("SELECT CONNECTION_ID() = 1 + 0", Way::Prepared)?;
                ensure!(!answer.is_empty());
            }
        }
    }
    Ok(())
}
