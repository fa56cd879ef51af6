//! What a statement leaves for the next one to ask for: insert ids, counts, warnings and errors, with two clients taking
//! turns on one connection per server.

use anyhow::{Context, Result, ensure};
use clonelove_testkit::{Clonelove, Flavour};

use super::client::{Answer, Bind, Client, Part, Way, first_value, leaves_diagnostics};
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
    "UPDATE t SET v = 'x' WHERE id > 1000",
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
    // By value; MySQL warns of it.
    "SET sql_mode = CONCAT('NO_ZERO', '_DATE')",
    "SET sql_mode = DEFAULT",
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
    "COM_INIT_DB side_$",
    "COM_PING",
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

/// What may or may not count rows for FOUND_ROWS(), which servers do by rules of their own.
const COUNTED: &[&str] = &[
    "SHOW WARNINGS",
    "SHOW ERRORS",
    "SHOW COUNT(*) WARNINGS",
    "SHOW COUNT(*) ERRORS",
    "SELECT @@warning_count",
    "SELECT @@warning_count, @@error_count",
    "SELECT @@error_count, v FROM t LIMIT 2",
    "GET DIAGNOSTICS @n = NUMBER",
    "SHOW TABLES",
    "SHOW FULL TABLES WHERE 0",
    "SHOW CREATE TABLE t",
    "SHOW COLUMNS FROM t",
    "SHOW INDEX FROM t",
    "SHOW DATABASES",
    "SHOW TABLE STATUS",
    "SHOW TRIGGERS",
    "SHOW CHARACTER SET",
    "SHOW COLLATION LIKE 'utf8mb4_g%'",
    "SHOW GLOBAL VARIABLES LIKE 'auto%'",
    "SHOW ENGINES",
    "SHOW PLUGINS",
    "SHOW PRIVILEGES",
    "SHOW GRANTS",
    "SHOW PROCESSLIST",
    "SHOW PROCEDURE STATUS",
    "DESCRIBE t",
    "DESC t v",
    "EXPLAIN SELECT v FROM t",
    "EXPLAIN SELECT 1",
    "EXPLAIN FORMAT = JSON SELECT v FROM t",
    "EXPLAIN ANALYZE SELECT v FROM t LIMIT 2",
    "ANALYZE SELECT v FROM t LIMIT 2",
    "HELP 'select'",
    "XA RECOVER",
    "CHECKSUM TABLE t",
    "SELECT v FROM t LIMIT 2",
    "SELECT v FROM t WHERE 0",
    "SELECT v FROM t ORDER BY id LIMIT 1, 1",
    "SELECT v FROM t ORDER BY id LIMIT 5, 1",
    "SELECT v FROM t ORDER BY id LIMIT 1 OFFSET 1 FOR UPDATE",
    "SELECT (SELECT v FROM t ORDER BY id LIMIT 1, 1) FROM t",
    "(SELECT v FROM t LIMIT 2)",
    "SELECT v FROM t UNION SELECT 'more'",
    "SELECT v FROM t UNION SELECT 'more' LIMIT 2",
    "SELECT v FROM t UNION ALL SELECT v FROM t LIMIT 1 OFFSET 2",
    "SELECT v FROM t EXCEPT SELECT 'one' LIMIT 1",
    "SELECT * FROM (SELECT v FROM t UNION SELECT 'more') AS d LIMIT 2",
    "SELECT SQL_CALC_FOUND_ROWS v FROM t LIMIT 1",
    "VALUES (1), (2)",
    "VALUES ROW(1), ROW(2)",
    "VALUES (1) UNION SELECT 2",
    "TABLE t",
    "WITH c AS (SELECT v FROM t LIMIT 2) SELECT * FROM c",
    "SELECT 5 INTO @z",
    "SELECT v INTO @z FROM t WHERE id = 2",
    "SET @a = 1",
    "SET @a = (SELECT COUNT(*) FROM t)",
    "DO 1",
    "DO (SELECT 1 FROM t LIMIT 1)",
    "CREATE TABLE made SELECT v FROM t",
    "DROP TABLE made",
    "CHECK TABLE t",
    "SHOW REPLICA STATUS",
    "UPDATE t SET n = 2 WHERE id < 3",
    "UPDATE t, (SELECT 1) AS d SET n = 3 WHERE id < 3",
    "INSERT INTO t (v) VALUES ('made')",
    "DELETE FROM t WHERE v = 'made'",
    "DELETE t FROM t, (SELECT 1) AS d WHERE v = 'none'",
    "SELECT no_such_column FROM t",
    "nonsense",
];

/// FOUND_ROWS() after each of these: at once, after a statement that leaves it as it is and runs elsewhere, and along with
/// what only the primary tells.
fn rows_are_counted_as_the_server_counts(flavour: Flavour) -> Result<()> {
    let Some(stage) = Stage::set(flavour, 1)? else { return Ok(()) };
    let proxy = Clonelove::start_with(stage.config(2))?;
    let (mut a, mut b) = (stage.pair(&proxy)?, stage.pair(&proxy)?);
    let mut wrong = Vec::new();
    for way in [Way::Text, Way::Prepared] {
        for asks in [
            &["SELECT FOUND_ROWS()"][..],
            &["SET NAMES utf8mb4", "SELECT FOUND_ROWS()"],
            &["BEGIN", "SELECT FOUND_ROWS() AS n", "COMMIT"],
            &["SELECT FOUND_ROWS(), LAST_INSERT_ID()"],
        ] {
            for statement in COUNTED {
                a.ask("SELECT v FROM t WHERE id < 3 UNION ALL SELECT v FROM t WHERE id < 4", Way::Text)?;
                // What is shown of users and threads differs by the client.
                for client in [&mut a.direct, &mut a.proxied] {
                    client.ask(statement, way)?;
                }
                a.said = vec![format!("{statement}; {}", asks.join("; "))];
                b.ask("SELECT COUNT(*) FROM t", Way::Text)?;
                for sql in asks {
                    ask(&mut a, sql, way, &mut wrong)?;
                }
                b.ask("SELECT v FROM t LIMIT 1", Way::Text)?;
                if statement.contains('@') {
                    // The variable pins.
                    a.ask("COM_RESET_CONNECTION", Way::Text)?;
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} answers were wrong:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}

#[test]
fn rows_are_counted_as_the_server_counts_on_mariadb() -> Result<()> {
    rows_are_counted_as_the_server_counts(Flavour::MariaDbDistribution)
}

#[test]
fn rows_are_counted_as_the_server_counts_on_new_mariadb() -> Result<()> {
    rows_are_counted_as_the_server_counts(Flavour::MariaDbSid)
}

#[test]
fn rows_are_counted_as_the_server_counts_on_mysql() -> Result<()> {
    rows_are_counted_as_the_server_counts(Flavour::MySqlSid)
}

/// What stands between a read and the question about it: most of it ends on MySQL what was left, on MariaDB little.
const BETWEEN: &[&str] = &[
    "SHOW COUNT(*) WARNINGS",
    "SELECT LAST_INSERT_ID()",
    "SELECT ROW_COUNT()",
    "SET @a = 1",
    "SELECT @a",
    "SELECT 1",
    "SET sql_quote_show_create = 1",
    "SET NAMES utf8mb4",
    "DO 1",
    "SELECT @@server_id = 0",
    "USE side_$",
    "BEGIN",
    "COMMIT",
    "SELECT COUNT(*) FROM t",
    "SELECT COUNT(*) FROM t FOR UPDATE",
    "SAVEPOINT s",
    "SELECT GET_LOCK('lock_$', 0), RELEASE_LOCK('lock_$')",
];

/// What a read left on a replica is there until a statement ends it, wherever those in between run.
fn what_is_left_on_a_replica_stays(flavour: Flavour) -> Result<()> {
    const LEAVE: [&str; 2] =
        ["SELECT CAST(CONCAT(v, 'x') AS SIGNED) FROM t ORDER BY id LIMIT 2", "SELECT no_such_column FROM t"];
    const ASK: [&str; 3] =
        ["SHOW WARNINGS", "SELECT @@warning_count, @@error_count", "GET DIAGNOSTICS @n = NUMBER"];
    let Some(stage) = Stage::set(flavour, 1)? else { return Ok(()) };
    let proxy = Clonelove::start_with(stage.config(2))?;
    let (mut a, mut b) = (stage.pair(&proxy)?, stage.pair(&proxy)?);
    let mut wrong = Vec::new();
    for way in [Way::Text, Way::Prepared] {
        for (between, left) in BETWEEN.iter().flat_map(|between| LEAVE.map(|left| (between, left))) {
            // By text each is asked, otherwise what sets a variable.
            for asks in ASK.iter().filter(|asks| way == Way::Text || asks.contains("@n")) {
                a.said.clear();
                for sql in [left, between, asks, "SELECT @n"] {
                    ask(&mut a, sql, way, &mut wrong)?;
                    b.ask("SELECT COUNT(*) FROM t", Way::Text)?;
                }
                // The variable pins.
                a.ask("COM_RESET_CONNECTION", Way::Text)?;
            }
        }
    }
    assert!(wrong.is_empty(), "{} answers were wrong:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}

#[test]
fn what_is_left_on_a_replica_stays_on_mariadb() -> Result<()> {
    what_is_left_on_a_replica_stays(Flavour::MariaDbDistribution)
}

#[test]
fn what_is_left_on_a_replica_stays_on_mysql() -> Result<()> {
    what_is_left_on_a_replica_stays(Flavour::MySqlSid)
}

/// A read that warns, in a form that is no short text; and how it is said.
type Form = (&'static str, fn(&mut Client) -> Result<Answer>);

const FORMS: &[Form] = &[
    ("with a bound value", |client| {
        let statement = client.prepare(WARNS)?;
        let answer = client.execute(statement, &[Bind::Text("x")])?;
        client.close(statement)?;
        Ok(answer)
    }),
    ("with a bound value, its type said before", |client| {
        let statement = client.prepare(WARNS)?;
        client.execute(statement, &[Bind::Int(5)])?;
        client.execute_again(statement, &[Bind::Int(-3)])
    }),
    ("with a value sent ahead", |client| {
        let statement = client.prepare(WARNS)?;
        client.execute(statement, &[Bind::Long("x")])
    }),
    ("with an error of its preparation", |client| {
        let refused = client.prepare("SELECT no_such_column FROM t WHERE id = ?");
        ensure!(refused.is_err(), "there is such a column");
        Ok(Answer::new())
    }),
    ("of a long text", |client| {
        let long = format!("SELECT CAST(CONCAT(v, 'x') AS SIGNED), '{}' FROM t LIMIT 2", "a".repeat(40_000));
        client.ask(&long, Way::Text)
    }),
    ("of many rows", |client| {
        // 3 to the power of 9.
        let tables: Vec<String> = (1..9).map(|number| format!("t AS t{number}")).collect();
        let many = format!("SELECT CAST(CONCAT(t.v, 'x') AS SIGNED) FROM t, {}", tables.join(", "));
        client.ask(&many, Way::Text)
    }),
];

const WARNS: &str = "SELECT CAST(CONCAT(v, ?) AS SIGNED) FROM t ORDER BY id LIMIT 2";

/// The same of reads in any form, asked for by what runs on the primary alone.
fn reads_of_any_form_leave_theirs(flavour: Flavour) -> Result<()> {
    let Some(stage) = Stage::set(flavour, 1)? else { return Ok(()) };
    let proxy = Clonelove::start_with(stage.config(2))?;
    let (mut a, mut b) = (stage.pair(&proxy)?, stage.pair(&proxy)?);
    let mut wrong = Vec::new();
    for (form, say) in FORMS {
        for asks in [
            &["SHOW COUNT(*) WARNINGS", "SHOW WARNINGS"][..],
            &["GET DIAGNOSTICS @n = NUMBER", "SELECT @n"],
            &["SELECT @@warning_count, LAST_INSERT_ID()"],
            &["BEGIN", "SHOW WARNINGS", "COMMIT"],
            &["SET NAMES utf8mb4", "SET NAMES utf8mb4", "BEGIN", "SHOW COUNT(*) WARNINGS", "COMMIT"],
        ] {
            let (wanted, got) = (say(&mut a.direct)?, say(&mut a.proxied)?);
            if got != wanted {
                wrong.push(format!("{form}: it differs itself"));
            }
            a.said = vec![(*form).to_owned()];
            b.ask("SELECT COUNT(*) FROM t", Way::Text)?;
            for sql in asks {
                ask(&mut a, sql, Way::Text, &mut wrong)?;
            }
            // The variable pins, and what was prepared is closed.
            a.ask("COM_RESET_CONNECTION", Way::Text)?;
        }
    }
    let on_replica = proxy.metric("clonelove_server_queries_total", &["server=\"replica1\""])?;
    assert!(on_replica >= 30.0, "only {on_replica} reads on the replica");
    assert!(wrong.is_empty(), "{} answers were wrong:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}

#[test]
fn reads_of_any_form_leave_theirs_on_mariadb() -> Result<()> {
    reads_of_any_form_leave_theirs(Flavour::MariaDbDistribution)
}

#[test]
fn reads_of_any_form_leave_theirs_on_mysql() -> Result<()> {
    reads_of_any_form_leave_theirs(Flavour::MySqlSid)
}

/// FOUND_ROWS() of what was read, or is being read, by a cursor; asked by text, by execution and by another cursor.
fn rows_of_cursors_are_counted(flavour: Flavour) -> Result<()> {
    let Some(stage) = Stage::set(flavour, 1)? else { return Ok(()) };
    let proxy = Clonelove::start_with(stage.config(2))?;
    let (mut a, mut b) = (stage.pair(&proxy)?, stage.pair(&proxy)?);
    let mut wrong = Vec::new();
    for sql in [
        "SELECT SQL_CALC_FOUND_ROWS v FROM t ORDER BY id LIMIT 2",
        "SELECT SQL_CALC_FOUND_ROWS v FROM t ORDER BY id LIMIT 1",
        "SELECT v FROM t ORDER BY id LIMIT 2",
        "SELECT v FROM t ORDER BY id",
        "SELECT FOUND_ROWS(), v FROM t ORDER BY id",
    ] {
        for fetches in [&[][..], &[1], &[1, 9], &[9], &[2, 1]] {
            for way in [Asks::Text, Asks::Prepared, Asks::Cursor] {
                let of = |client: &mut Client| counted(client, sql, fetches, way);
                let (got, wanted) = (of(&mut a.proxied)?, of(&mut a.direct)?);
                if got != wanted {
                    wrong.push(format!(
                        "{sql}, fetched {fetches:?}, {way:?}: {}, not {}",
                        shown(&got),
                        shown(&wanted)
                    ));
                }
                b.ask("SELECT COUNT(*) FROM t", Way::Text)?;
            }
        }
    }
    assert!(wrong.is_empty(), "{} were wrong:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}

/// The rows of answers alone.
fn shown(answers: &[Answer]) -> String {
    let rows = |part: &Part| match part {
        Part::Rows { rows, warnings, .. } => {
            let rows: Vec<String> = rows.iter().map(|row| row.escape_ascii().to_string()).collect();
            format!("[{} w{warnings}]", rows.join(" "))
        }
        other => format!("{other:?}"),
    };
    answers.iter().flatten().map(rows).collect::<Vec<_>>().join(" ").replace("\\x00", "")
}

/// How FOUND_ROWS() is asked.
#[derive(Clone, Copy, Debug)]
enum Asks {
    Text,
    Prepared,
    Cursor,
}

/// Reads by a cursor, so many rows at a time, and asks how many rows were found: before the cursor is closed, and after.
fn counted(client: &mut Client, sql: &str, fetches: &[u32], way: Asks) -> Result<Vec<Answer>> {
    let question = "SELECT FOUND_ROWS()";
    let statement = client.prepare(sql)?;
    let asking = client.prepare(question)?;
    let ask = |client: &mut Client| match way {
        Asks::Text => Ok(vec![client.ask(question, Way::Text)?]),
        Asks::Prepared => Ok(vec![client.execute(asking, &[])?]),
        Asks::Cursor => anyhow::Ok(vec![client.open_cursor(asking)?, client.fetch(asking, 5)?]),
    };
    let mut answers = vec![client.open_cursor(statement)?];
    for rows in fetches {
        answers.push(client.fetch(statement, *rows)?);
    }
    answers.extend(ask(client)?);
    client.close(statement)?;
    answers.extend(ask(client)?);
    client.close(asking)?;
    Ok(answers)
}

#[test]
fn rows_of_cursors_are_counted_on_mariadb() -> Result<()> {
    rows_of_cursors_are_counted(Flavour::MariaDbDistribution)
}

#[test]
fn rows_of_cursors_are_counted_on_new_mariadb() -> Result<()> {
    rows_of_cursors_are_counted(Flavour::MariaDbSid)
}

#[test]
fn rows_of_cursors_are_counted_on_mysql() -> Result<()> {
    rows_of_cursors_are_counted(Flavour::MySqlSid)
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
