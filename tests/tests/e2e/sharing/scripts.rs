//! Each kind of session state, with two clients taking turns on one connection per server: by text and by prepared
//! statements, reading on a replica and with the primary alone.

use anyhow::{Context, Result};
use clonelove_testkit::{Clonelove, Flavour};

use super::client::{Way, first_value, leaves_diagnostics};
use super::stage::{Pair, Stage};

/// Who says it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    A,
    B,
}
use Who::{A, B};

/// Where a script means something.
#[derive(Clone, Copy, PartialEq, Eq)]
enum On {
    Both,
    MariaDb,
    MySql,
}

/// A statement, and the first value of its answer; none where only the equality with the twin counts.
type Step = (Who, &'static str, Option<&'static str>);

/// A kind of state, and a conversation about it.
struct Script(&'static str, On, &'static [Step]);

const fn s(who: Who, sql: &'static str) -> Step {
    (who, sql, None)
}

const fn v(who: Who, sql: &'static str, value: &'static str) -> Step {
    (who, sql, Some(value))
}

const CHARSET: &str = "SELECT CONCAT_WS('/', @@character_set_client, @@character_set_connection, \
                       @@character_set_results, @@collation_connection)";
const MODE: &str = "SELECT @@sql_mode";
const ZONE: &str = "SELECT HOUR(FROM_UNIXTIME(86400))";
const COUNT: &str = "SELECT COUNT(*) FROM t";

const SCRIPTS: &[Script] = &[
    Script(
        "SET NAMES",
        On::Both,
        &[
            v(A, "SET NAMES latin1", "OK"),
            s(B, CHARSET),
            s(A, CHARSET),
            s(B, "SELECT CHARSET('x'), v FROM t"),
            s(A, "SELECT CHARSET('x'), v FROM t"),
            // The tracker of MariaDB tells no difference between these two.
            s(A, "SET NAMES utf8mb4 COLLATE utf8mb4_bin"),
            s(B, "SET NAMES utf8mb4"),
            v(A, "SELECT 'a' = 'A'", "0"),
            v(B, "SELECT 'a' = 'A'", "1"),
            v(A, "SELECT COUNT(*) FROM t WHERE CONCAT(v, '') = 'ONE' COLLATE utf8mb4_bin", "0"),
            v(A, "SELECT @@collation_connection", "utf8mb4_bin"),
            s(B, CHARSET),
            s(B, "SET NAMES no_such_set"),
            s(B, CHARSET),
        ],
    ),
    Script(
        "SET NAMES DEFAULT",
        On::MySql,
        &[s(B, "SET NAMES latin1"), s(A, "SET NAMES DEFAULT"), s(A, CHARSET), s(B, CHARSET), s(A, CHARSET)],
    ),
    Script(
        "SET CHARACTER SET",
        On::Both,
        &[
            s(A, "SET CHARACTER SET latin1"),
            s(B, CHARSET),
            s(A, CHARSET),
            s(A, "USE more_$"),
            s(B, "SET CHARACTER SET utf8mb4"),
            s(A, CHARSET),
            s(A, "SET CHARACTER SET latin1"),
            s(B, CHARSET),
            s(A, CHARSET),
            s(A, "SET character_set_results = NULL"),
            s(B, "SELECT v FROM t"),
            s(A, CHARSET),
            s(B, "SET collation_connection = latin1_german1_ci"),
            s(A, CHARSET),
            s(B, CHARSET),
            s(B, "SET character_set_client = latin1, character_set_results = utf8mb4"),
            s(A, CHARSET),
            s(B, CHARSET),
        ],
    ),
    Script(
        "the default schema",
        On::Both,
        &[
            s(A, "USE more_$"),
            v(B, "SELECT DATABASE() = 'more_$'", "0"),
            v(A, "SELECT DATABASE() = 'more_$'", "1"),
            v(A, "SELECT id FROM only_here", "7"),
            v(B, "SELECT id FROM only_here", "error 1146"),
            v(B, COUNT, "3"),
            v(A, COUNT, "error 1146"),
            v(B, "COM_INIT_DB more_$", "OK"),
            v(A, "COM_INIT_DB side_$", "OK"),
            v(A, COUNT, "3"),
            v(B, "SELECT id FROM only_here", "7"),
            v(B, "USE no_such_schema", "error 1044"),
            v(B, "COM_INIT_DB no_such_schema", "error 1044"),
            v(B, "SELECT id FROM only_here", "7"),
            v(A, COUNT, "3"),
        ],
    ),
    Script(
        "sql_mode",
        On::Both,
        &[
            v(A, "SET sql_mode = 'ANSI_QUOTES'", "OK"),
            s(B, MODE),
            v(A, MODE, "ANSI_QUOTES"),
            v(A, "SELECT \"v\" FROM \"t\" WHERE \"id\" = 1", "one"),
            v(B, "SELECT \"v\" FROM t WHERE id = 1", "v"),
            // Computed.
            s(B, "SET sql_mode = CONCAT(@@sql_mode, ',NO_BACKSLASH_ESCAPES')"),
            v(A, r"SELECT 'a\b'", "a\u{8}"),
            v(B, r"SELECT 'a\b'", r"a\b"),
            s(A, MODE),
            s(B, MODE),
            s(A, "SET sql_mode = DEFAULT"),
            s(A, MODE),
            s(B, MODE),
            s(B, "SET SESSION sql_mode = @@global.sql_mode"),
            s(B, MODE),
            s(A, "SET sql_mode = 'PIPES_AS_CONCAT'"),
            v(B, "SELECT 'a' || 'b'", "0"),
            v(A, "SELECT 'a' || 'b'", "ab"),
            v(A, "SET sql_mode = 'NONSENSE'", "error 1231"),
            v(A, MODE, "PIPES_AS_CONCAT"),
            // Division by zero, within a write and in its state.
            s(A, "SET sql_mode = 'STRICT_ALL_TABLES'"),
            v(A, "INSERT INTO t (n) VALUES (1000)", "error 1264"),
            s(A, "SET sql_mode = ''"),
            s(A, COUNT),
            s(A, COUNT),
            v(A, "INSERT INTO t (v, n) VALUES ('much', 1000)", "OK"),
            s(A, COUNT),
            v(B, "INSERT INTO t (v, n) VALUES ('less', 100)", "OK"),
            v(A, "SELECT n FROM t WHERE v = 'much'", "127"),
            s(B, MODE),
        ],
    ),
    Script(
        "time zones",
        On::Both,
        &[
            s(A, "SET time_zone = '+05:00'"),
            s(B, "SET time_zone = '+00:00'"),
            v(A, ZONE, "5"),
            v(B, ZONE, "0"),
            v(A, "SELECT HOUR(FROM_UNIXTIME(86400)) FROM t LIMIT 1", "5"),
            v(B, "SELECT HOUR(FROM_UNIXTIME(86400)) FROM t LIMIT 1", "0"),
            s(A, "SET time_zone = 'Nowhere/Land'"),
            v(A, ZONE, "5"),
            s(A, "SET time_zone = DEFAULT"),
            s(A, "SELECT @@time_zone"),
            v(B, ZONE, "0"),
            s(B, "SET time_zone = @@global.time_zone"),
            s(A, "SELECT @@time_zone"),
            s(B, "SELECT @@time_zone"),
        ],
    ),
    Script(
        "isolation level",
        On::MariaDb,
        &[
            s(A, "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"),
            v(B, "SELECT @@tx_isolation", "REPEATABLE-READ"),
            v(A, "SELECT @@tx_isolation", "READ-COMMITTED"),
            s(B, "SET tx_isolation = 'SERIALIZABLE'"),
            v(A, "SELECT @@tx_isolation", "READ-COMMITTED"),
            v(B, "SELECT @@tx_isolation", "SERIALIZABLE"),
            s(B, "SET @@tx_isolation = 'READ-UNCOMMITTED'"),
            s(B, "SELECT v FROM t"),
            v(A, "SELECT @@tx_isolation", "READ-COMMITTED"),
            v(B, "SELECT @@tx_isolation", "SERIALIZABLE"),
            s(B, "SET tx_isolation = DEFAULT"),
            s(A, "SET SESSION TRANSACTION READ ONLY"),
            v(A, "INSERT INTO t (v) VALUES ('no')", "error 1792"),
            s(A, COUNT),
            v(B, "INSERT INTO t (v) VALUES ('yes')", "OK"),
            s(A, "SET SESSION TRANSACTION READ WRITE"),
            v(A, "INSERT INTO t (v) VALUES ('yes')", "OK"),
        ],
    ),
    Script(
        "isolation level",
        On::MySql,
        &[
            s(A, "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"),
            v(B, "SELECT @@transaction_isolation", "REPEATABLE-READ"),
            v(A, "SELECT @@transaction_isolation", "READ-COMMITTED"),
            s(B, "SET transaction_isolation = 'SERIALIZABLE'"),
            v(A, "SELECT @@transaction_isolation", "READ-COMMITTED"),
            v(B, "SELECT @@transaction_isolation", "SERIALIZABLE"),
            s(B, "SET @@transaction_isolation = 'READ-UNCOMMITTED'"),
            s(B, "SELECT v FROM t"),
            v(A, "SELECT @@transaction_isolation", "READ-COMMITTED"),
            v(B, "SELECT @@transaction_isolation", "SERIALIZABLE"),
            s(B, "SET transaction_isolation = DEFAULT"),
            s(A, "SET SESSION TRANSACTION READ ONLY"),
            v(A, "INSERT INTO t (v) VALUES ('no')", "error 1792"),
            s(A, COUNT),
            v(B, "INSERT INTO t (v) VALUES ('yes')", "OK"),
            s(A, "SET SESSION TRANSACTION READ WRITE"),
            v(A, "INSERT INTO t (v) VALUES ('yes')", "OK"),
        ],
    ),
    Script(
        "SET TRANSACTION for the next one",
        On::Both,
        &[
            s(B, COUNT),
            v(A, "SET TRANSACTION READ ONLY", "OK"),
            v(A, "INSERT INTO t (v) VALUES ('no')", "error 1792"),
            s(A, COUNT),
            s(A, COUNT),
            v(B, "INSERT INTO t (v) VALUES ('yes')", "OK"),
            s(A, "SET TRANSACTION READ ONLY"),
            s(A, "START TRANSACTION"),
            v(A, "DELETE FROM t", "error 1792"),
            s(A, "COMMIT"),
            s(A, COUNT),
            v(B, "DELETE FROM t WHERE id = 1", "OK"),
            v(A, "DELETE FROM t WHERE id = 2", "OK"),
        ],
    ),
    Script(
        "roles",
        On::Both,
        &[
            s(B, "SELECT CURRENT_ROLE()"),
            v(A, "SET ROLE reader", "OK"),
            s(B, "SELECT CURRENT_ROLE()"),
            s(A, "SELECT CURRENT_ROLE()"),
            s(B, "SELECT v FROM t WHERE id = 1"),
            s(A, "SELECT v FROM t WHERE id = 1"),
            v(A, "SET ROLE NONE", "OK"),
            s(A, "SELECT CURRENT_ROLE()"),
            s(B, "SELECT CURRENT_ROLE()"),
        ],
    ),
    Script(
        "SET STATEMENT",
        On::MariaDb,
        &[
            v(A, "SET STATEMENT group_concat_max_len = 8 FOR SELECT GROUP_CONCAT(v) FROM t", "one,two,"),
            s(A, "SELECT COUNT(*) FROM t"),
            v(B, "SELECT GROUP_CONCAT(v) FROM t", "one,two,three"),
            v(A, "SELECT GROUP_CONCAT(v) FROM t", "one,two,three"),
            s(A, "SET STATEMENT time_zone = '+03:00' FOR SELECT HOUR(FROM_UNIXTIME(86400)) FROM t LIMIT 1"),
            s(B, ZONE),
            s(A, ZONE),
            s(A, "SET STATEMENT sql_mode = '' FOR INSERT INTO t (n) VALUES (1000)"),
            s(A, COUNT),
            v(B, "INSERT INTO t (n) VALUES (1000)", "error 1264"),
            s(B, COUNT),
        ],
    ),
    Script(
        "user variables",
        On::Both,
        &[
            v(A, "SET @a = 'one'", "OK"),
            v(B, "SELECT @a", "NULL"),
            v(A, "SELECT @a", "one"),
            s(B, "SET @a = 2, @b = 3.50"),
            s(A, "SELECT v FROM t WHERE v = @a"),
            v(B, "SELECT @a + @b > 5.49", "1"),
            v(A, "SELECT @b", "NULL"),
            v(B, "SELECT v FROM t WHERE id = @a", "two"),
            s(A, "SET @a = NULL"),
            v(A, "SELECT @a IS NULL", "1"),
            v(B, "SELECT @a", "2"),
            s(A, "SET @`a b` = 'quoted', @'c' = _latin1'x', @A = 0x41"),
            s(B, "SELECT @`a b`, @c, @A"),
            s(A, "SELECT @`a b`, @c, @a, CHARSET(@c)"),
            v(B, "INSERT INTO t (v, n) VALUES ('mine', @a)", "OK"),
            v(B, "SELECT n FROM t WHERE v = 'mine'", "2"),
        ],
    ),
    Script(
        "other settings",
        On::Both,
        &[
            s(A, "SET group_concat_max_len = 8"),
            v(B, "SELECT GROUP_CONCAT(v ORDER BY id) FROM t", "one,two,three"),
            s(A, "SELECT GROUP_CONCAT(v ORDER BY id) FROM t"),
            s(A, COUNT),
            s(A, "SET sql_select_limit = 1"),
            s(B, "SELECT id FROM t ORDER BY id"),
            s(A, "SELECT id FROM t ORDER BY id"),
            s(A, "SET sql_select_limit = DEFAULT, group_concat_max_len = DEFAULT"),
            s(B, "SET lc_time_names = 'de_DE', div_precision_increment = 10"),
            s(A, "SELECT MONTHNAME('2024-05-01'), 1 / 3"),
            s(B, "SELECT MONTHNAME('2024-05-01'), 1 / 3"),
            s(A, "SELECT id FROM t ORDER BY id"),
            s(A, "SET SESSION wait_timeout = 77"),
            v(B, "SELECT @@wait_timeout = 77", "0"),
            v(A, "SELECT @@wait_timeout", "77"),
            v(A, "SELECT @@session.wait_timeout AS seconds, @@sql_mode = 'x'", "77"),
            s(A, "SET @@interactive_timeout = 99"),
            v(A, "SELECT @@interactive_timeout, @@wait_timeout", "99"),
            s(B, "SELECT @@interactive_timeout, @@wait_timeout"),
            s(A, "SET timestamp = 86400"),
            v(A, "SELECT UNIX_TIMESTAMP()", "86400"),
            // The servers report the old value of this.
            s(A, "SET timestamp = DEFAULT"),
            v(A, "SELECT UNIX_TIMESTAMP() = 86400", "0"),
            s(A, "SET timestamp = 86400"),
            s(A, "COM_RESET_CONNECTION"),
            v(B, "SELECT UNIX_TIMESTAMP() = 86400", "0"),
        ],
    ),
    Script(
        "transactions",
        On::Both,
        &[
            s(A, "BEGIN"),
            s(A, "INSERT INTO t (v) VALUES ('a')"),
            s(A, "ROLLBACK"),
            v(B, COUNT, "3"),
            s(B, "START TRANSACTION"),
            s(B, "INSERT INTO t (v) VALUES ('b')"),
            s(B, "SAVEPOINT p"),
            s(B, "INSERT INTO t (v) VALUES ('b')"),
            s(B, "ROLLBACK TO p"),
            s(B, "COMMIT"),
            v(A, COUNT, "4"),
            s(A, "SET autocommit = 0"),
            s(A, "DELETE FROM t"),
            s(A, "ROLLBACK"),
            s(A, "SET autocommit = 1"),
            v(B, COUNT, "4"),
            v(B, "SELECT @@autocommit", "1"),
            s(A, "SET autocommit = 0"),
            s(A, "DELETE FROM t WHERE id = 1"),
            // Commits.
            s(A, "SET autocommit = 1"),
            v(B, COUNT, "3"),
            s(B, "BEGIN"),
            s(B, "SELECT v FROM t"),
            s(B, "COMMIT AND CHAIN"),
            s(B, "SELECT v FROM t"),
            s(B, "COMMIT"),
            s(A, COUNT),
            s(B, "START TRANSACTION READ ONLY"),
            s(B, COUNT),
            s(B, "COMMIT"),
            s(A, COUNT),
        ],
    ),
    Script(
        "statements prepared by text",
        On::Both,
        &[
            s(A, "PREPARE own FROM 'SELECT v FROM t WHERE id = ?'"),
            s(A, "SET @id = 2"),
            s(A, "EXECUTE own USING @id"),
            v(A, "SELECT FOUND_ROWS()", "1"),
            s(A, "DEALLOCATE PREPARE own"),
            // Where the text is said in vain in the other way first, that leaves an error.
            s(A, COUNT),
            v(B, "EXECUTE own", "error 1243"),
            s(B, "PREPARE own FROM 'INSERT INTO t (v) VALUES (''theirs'')'"),
            s(B, "EXECUTE own"),
            s(B, "SELECT ROW_COUNT()"),
            s(B, "DEALLOCATE PREPARE own"),
            s(B, "PREPARE own FROM 'DELETE FROM t WHERE id = 1'"),
            s(B, "EXECUTE own"),
            v(B, "SELECT ROW_COUNT()", "1"),
            s(B, "DEALLOCATE PREPARE own"),
            s(B, "COM_RESET_CONNECTION"),
            s(B, COUNT),
            v(A, "SELECT COUNT(*) FROM t WHERE id = 1", "0"),
            s(A, "EXECUTE own"),
        ],
    ),
    Script(
        "a reset",
        On::Both,
        &[
            s(A, "SET NAMES latin1"),
            s(A, "USE more_$"),
            s(A, "SET @a = 1, sql_mode = 'ANSI'"),
            s(B, "SET time_zone = '+05:00'"),
            v(A, "COM_RESET_CONNECTION", "OK"),
            s(A, "SELECT DATABASE()"),
            s(A, MODE),
            v(A, "SELECT @a", "NULL"),
            s(A, "SELECT @@collation_connection, @@character_set_client"),
            v(B, ZONE, "5"),
            s(A, ZONE),
            v(A, "SELECT id FROM only_here", "7"),
            s(B, "BEGIN"),
            s(B, "DELETE FROM t"),
            v(B, "COM_RESET_CONNECTION", "OK"),
            v(A, "SELECT COUNT(*) FROM side_$.t", "3"),
            s(B, ZONE),
        ],
    ),
];

/// One conversation, in one way, through one proxy.
fn converse(stage: &Stage, proxy: &Clonelove, script: &Script, way: Way) -> Result<()> {
    stage.fresh_table()?;
    let (mut a, mut b) = (stage.pair(proxy)?, stage.pair(proxy)?);
    let mut before = None;
    for (who, sql, value) in script.2 {
        if before.replace(who) != Some(who) {
            // Only its own writes are promised to a session at once.
            stage.cluster.wait_caught_up()?;
        }
        let pair: &mut Pair = if *who == A { &mut a } else { &mut b };
        let answer = pair.ask(sql, way)?;
        if let (Some(value), Way::Text) = (value, way) {
            anyhow::ensure!(
                first_value(&answer) == *value,
                "{sql}: {}, expected {value}",
                first_value(&answer)
            );
        }
        if leaves_diagnostics(&answer) {
            // What it left keeps its connection until its next statement.
            pair.ask("SELECT COUNT(*) FROM side_$.t", way)?;
        }
    }
    Ok(())
}

fn each_kind_of_state_is_its_owners(flavour: Flavour) -> Result<()> {
    let Some(stage) = Stage::set(flavour, 1)? else { return Ok(()) };
    let split = Clonelove::start_with(stage.config(1))?;
    let alone = Clonelove::start_with(stage.config(1).set("routing", "mode", "\"primary_only\""))?;
    let mut wrong = Vec::new();
    for script in SCRIPTS {
        let Script(name, on, _) = script;
        if *on == On::MariaDb && !stage.is_mariadb() || *on == On::MySql && stage.is_mariadb() {
            continue;
        }
        for (place, proxy) in [("split", &split), ("primary alone", &alone)] {
            for way in [Way::Text, Way::Prepared] {
                let done = converse(&stage, proxy, script, way);
                if let Err(error) = done.with_context(|| format!("{name}, {place}, {way:?}")) {
                    wrong.push(format!("{error:#}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} conversations went wrong:\n{}", wrong.len(), wrong.join("\n\n"));
    Ok(())
}

#[test]
fn each_kind_of_state_is_its_owners_on_mariadb() -> Result<()> {
    each_kind_of_state_is_its_owners(Flavour::MariaDbDistribution)
}

#[test]
fn each_kind_of_state_is_its_owners_on_new_mariadb() -> Result<()> {
    each_kind_of_state_is_its_owners(Flavour::MariaDbSid)
}

#[test]
fn each_kind_of_state_is_its_owners_on_mysql() -> Result<()> {
    each_kind_of_state_is_its_owners(Flavour::MySqlSid)
}
