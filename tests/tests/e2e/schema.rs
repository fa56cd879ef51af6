//! What the running daemon knows of the servers' definitions, and what it makes of it: stored functions, views,
//! procedures and triggers; changes of them seen passing by; accounts that may not see them.
#![expect(clippy::indexing_slicing, reason = "what is missing in JSON is null")]

use anyhow::{Context, Result, ensure};
use clonelove_testkit::{
    APP_USER, Clonelove, Cluster, ClusterOptions, Config, Connection, DEFAULT_TIMEOUT, Family, Flavour,
    LogEntry, wait_until,
};

use crate::support::{client, quick, reason, wait_eligible};

const DEFINITIONS: &[&str] = &[
    "CREATE TABLE t (id INT PRIMARY KEY, v INT)",
    "CREATE TABLE log (what VARCHAR(20))",
    "CREATE TABLE watched (id INT PRIMARY KEY)",
    "CREATE FUNCTION counted() RETURNS INT READS SQL DATA RETURN (SELECT COUNT(*) FROM t)",
    "CREATE FUNCTION twice(a INT) RETURNS INT DETERMINISTIC NO SQL RETURN 2 * a",
    "CREATE FUNCTION undeclared(a INT) RETURNS INT DETERMINISTIC CONTAINS SQL RETURN 2 * a",
    "CREATE FUNCTION writes_log() RETURNS INT DETERMINISTIC MODIFIES SQL DATA BEGIN INSERT INTO log VALUES ('f'); RETURN 1; END",
    "CREATE VIEW v AS SELECT id FROM t WHERE v > 0",
    "CREATE VIEW vv AS SELECT v.id, twice(v.id) AS d FROM v JOIN t ON t.id = v.id",
    "CREATE VIEW by_writer AS SELECT writes_log() AS l FROM t",
    "CREATE PROCEDURE tidy(IN a INT) MODIFIES SQL DATA DELETE FROM log WHERE what = a",
    "CREATE PROCEDURE sets() SET @left_behind = 1",
    "CREATE PROCEDURE dynamic() BEGIN PREPARE s FROM 'SELECT 1'; EXECUTE s; END",
    "CREATE TRIGGER tr AFTER INSERT ON watched FOR EACH ROW SET @left_behind = 2",
];

/// Statements of sessions of their own, and where each belongs.
const STATEMENTS: &[(&str, &str)] = &[
    ("SELECT counted()", "replica"),
    ("SELECT app.twice(id) FROM t", "replica"),
    ("SELECT * FROM v", "replica"),
    ("SELECT * FROM vv WHERE id IN (SELECT id FROM v)", "replica"),
    ("SELECT 1; SELECT counted(); SELECT * FROM vv", "replica"),
    ("SELECT writes_log()", "primary"),
    ("SELECT undeclared(1)", "primary"),
    ("SELECT counted(), writes_log()", "primary"),
    ("SELECT * FROM by_writer", "primary"),
    ("SELECT * FROM v JOIN by_writer", "primary"),
    ("SELECT * FROM nowhere", "primary"),
    ("SELECT counted() FROM t FOR UPDATE", "primary"),
    ("CALL tidy(1)", "primary"),
];

fn with_definitions(flavour: Flavour) -> Result<Cluster> {
    let options =
        ClusterOptions { replicas: 1, general_log: true, uniform: true, ..ClusterOptions::default() };
    let cluster = Cluster::start(flavour, options)?;
    let mut root = cluster.primary.connect()?;
    root.query("USE app")?;
    for sql in DEFINITIONS {
        root.query(sql).with_context(|| (*sql).to_owned())?;
    }
    if flavour.family() == Family::MariaDb {
        root.query("CREATE SEQUENCE seq")?;
        root.query("CREATE VIEW by_sequence AS SELECT NEXT VALUE FOR seq AS n")?;
    }
    root.query("INSERT INTO t VALUES (1, 1), (2, 2)")?;
    cluster.wait_caught_up()?;
    Ok(cluster)
}

/// A proxy that reads the definitions at its start, and then only when it has a reason to.
fn proxy(config: Config) -> Result<Clonelove> {
    let config = config.set("monitor", "schema_interval", "\"1h\"").set("routing", "fresh_wait", "\"30s\"");
    let proxy = Clonelove::start_with(config)?;
    wait_eligible(&proxy, "replica1")?;
    wait_schema(&proxy, "tables", |tables| tables > 0)?;
    Ok(proxy)
}

fn wait_schema(proxy: &Clonelove, part: &str, wanted: impl Fn(i64) -> bool) -> Result<()> {
    wait_until(&format!("the definitions ({part})"), DEFAULT_TIMEOUT, || {
        let status = proxy.status()?;
        Ok::<_, anyhow::Error>(status["schema"][part].as_i64().is_some_and(&wanted))
    })
}

/// Which servers got a statement from the application.
fn reached(cluster: &Cluster, mark: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for server in cluster.servers() {
        let entries = server.general_log_entries()?;
        let sent = |entry: &&LogEntry| entry.is_statement() && entry.user.as_deref() == Some(APP_USER);
        let hits = entries.iter().filter(sent).filter(|entry| entry.text.contains(mark)).count();
        names.extend(std::iter::repeat_n(server.name().to_owned(), hits));
    }
    Ok(names)
}

/// Sends a statement with a mark of its own, and tells where it went.
fn went(cluster: &Cluster, session: &mut Connection, sql: &str, number: &mut usize) -> Result<String> {
    *number += 1;
    let mark = format!("/* mark {number} */");
    // Some fail, as they should.
    let _ = session.query(&format!("{mark} {sql}"));
    let mut names = reached(cluster, &mark)?;
    // Several statements sent as one are several entries, of which one has the mark.
    names.dedup();
    ensure!(names.len() == 1, "{sql}: reached {names:?}");
    names.pop().context("a server")
}

fn statements_go_where_the_schema_says(flavour: Flavour) -> Result<()> {
    if !flavour.covered()? {
        return Ok(());
    }
    let cluster = with_definitions(flavour)?;
    let proxy = proxy(quick(&cluster))?;
    let status = proxy.status()?;
    ensure!(status["freshness"]["degraded"] == serde_json::json!([]), "{}", status["freshness"]);
    let mariadb = flavour.family() == Family::MariaDb;
    let (tables, views) = if mariadb { (4, 4) } else { (3, 3) };
    let schema = &status["schema"];
    let told = ["tables", "views", "routines", "triggers"].map(|part| schema[part].as_i64());
    ensure!(told == [Some(tables), Some(views), Some(7), Some(1)], "{schema}");
    ensure!(proxy.metric("clonelove_schema_age_seconds", &[])? >= 0.0);
    ensure!(proxy.metric("clonelove_schema_refreshes_total", &["result=\"ok\""])? >= 1.0);
    let mut number = 0;
    let sequences = [("SELECT * FROM by_sequence", "primary"), ("SELECT * FROM seq", "primary")];
    for (sql, expected) in STATEMENTS.iter().chain(if mariadb { &sequences[..] } else { &[] }) {
        let at = went(&cluster, &mut client(&proxy)?, sql, &mut number)?;
        ensure!(at.starts_with(expected), "{sql}: reached {at}");
    }
    ensure!(reason(&proxy, "unknown_table")? >= 1.0);
    proxy.shut_down()
}

#[test]
fn statements_go_where_the_schema_says_on_mariadb() -> Result<()> {
    statements_go_where_the_schema_says(Flavour::MariaDbDistribution)
}

#[test]
fn statements_go_where_the_schema_says_on_mariadb_sid() -> Result<()> {
    statements_go_where_the_schema_says(Flavour::MariaDbSid)
}

#[test]
fn statements_go_where_the_schema_says_on_mysql_sid() -> Result<()> {
    statements_go_where_the_schema_says(Flavour::MySqlSid)
}

/// From the moment that a change is sent, nothing goes by what was known before; soon the new definitions are known.
#[test]
fn definitions_seen_passing_by_are_in_doubt_at_once_and_known_soon() -> Result<()> {
    let cluster = with_definitions(Flavour::MariaDbDistribution)?;
    cluster.primary.query("SET GLOBAL log_bin_trust_function_creators = 1")?;
    let proxy = proxy(quick(&cluster))?;
    let mut session = client(&proxy)?;
    let mut number = 0;
    let mut goes = |session: &mut Connection, sql: &str| went(&cluster, session, sql, &mut number);
    ensure!(goes(&mut session, "SELECT * FROM v")? == "replica1");
    ensure!(goes(&mut session, "SELECT counted()")? == "replica1");
    for (change, read) in [
        ("CREATE OR REPLACE VIEW v AS SELECT writes_log() AS id", "SELECT * FROM v"),
        ("DROP FUNCTION counted", "SELECT counted()"),
        ("RENAME TABLE t TO x, x TO t", "SELECT * FROM t"),
    ] {
        session.query(change)?;
        ensure!(goes(&mut session, read)? == "primary", "{read} after {change}");
    }
    session
        .query("CREATE FUNCTION counted() RETURNS INT DETERMINISTIC MODIFIES SQL DATA RETURN writes_log()")?;
    // What is surely a table is no unknown one.
    let unknown = reason(&proxy, "unknown_table")?;
    session.query("CREATE TABLE brandnew (id INT PRIMARY KEY)")?;
    session.query("SELECT * FROM brandnew")?;
    ensure!(reason(&proxy, "unknown_table")? == unknown);
    wait_schema(&proxy, "tables", |tables| tables == 5)?;
    // What is known now, says where they go.
    ensure!(goes(&mut session, "SELECT * FROM v")? == "primary");
    ensure!(goes(&mut session, "SELECT counted()")? == "primary");
    session.query("CREATE OR REPLACE VIEW v AS SELECT id FROM t")?;
    for read in ["SELECT * FROM v", "SELECT * FROM t", "SELECT * FROM brandnew"] {
        wait_until(&format!("{read} on the replica"), DEFAULT_TIMEOUT, || {
            Ok::<_, anyhow::Error>(goes(&mut session, read)? == "replica1")
        })?;
    }
    // TRUNCATE changes no definition.
    let unknown = reason(&proxy, "unknown_table")?;
    session.query("TRUNCATE TABLE brandnew")?;
    session.query("SELECT * FROM brandnew")?;
    ensure!(reason(&proxy, "unknown_table")? == unknown);
    proxy.shut_down()
}

#[test]
fn an_unknown_table_is_looked_for_at_once() -> Result<()> {
    let cluster = with_definitions(Flavour::MariaDbDistribution)?;
    let proxy = proxy(quick(&cluster))?;
    let mut session = client(&proxy)?;
    let mut number = 0;
    let mut goes = |session: &mut Connection, sql: &str| went(&cluster, session, sql, &mut number);
    cluster.primary.query("CREATE TABLE app.behind_its_back (a INT)")?;
    cluster.wait_caught_up()?;
    let sql = "SELECT * FROM behind_its_back";
    let before = reason(&proxy, "unknown_table")?;
    ensure!(goes(&mut session, sql)? == "primary");
    ensure!(reason(&proxy, "unknown_table")? == before + 1.0);
    wait_until("the table to be known", DEFAULT_TIMEOUT, || {
        Ok::<_, anyhow::Error>(goes(&mut session, sql)? == "replica1")
    })?;
    // A table of the session's own is not looked for.
    let refreshes = || proxy.metric("clonelove_schema_refreshes_total", &["result=\"ok\""]);
    session.query("CREATE TEMPORARY TABLE own (a INT)")?;
    let before = refreshes()?;
    for _ in 0..3 {
        session.query("SELECT * FROM own")?;
        session.query("INSERT INTO own VALUES (1)")?;
    }
    ensure!(refreshes()? == before);
    proxy.shut_down()
}

/// Routines that leave nothing behind cost no connection; those that do, and triggers that do, pin.
#[test]
fn only_what_may_leave_something_behind_pins() -> Result<()> {
    let cluster = with_definitions(Flavour::MariaDbDistribution)?;
    let proxy = proxy(quick(&cluster))?;
    let pins = |sql: &str| -> Result<bool> {
        let before = reason(&proxy, "pinned")?;
        let mut session = client(&proxy)?;
        session.query(sql)?;
        session.query("SELECT id FROM t")?;
        Ok(reason(&proxy, "pinned")? > before)
    };
    for sql in
        ["CALL tidy(1)", "SELECT counted()", "SELECT undeclared(1)", "INSERT INTO t VALUES (9, writes_log())"]
    {
        ensure!(!pins(sql)?, "{sql} pins");
    }
    for sql in ["CALL sets()", "CALL dynamic()", "INSERT INTO watched VALUES (1)"] {
        ensure!(pins(sql)?, "{sql} does not pin");
    }
    let mut session = client(&proxy)?;
    session.query("INSERT INTO watched VALUES (2)")?;
    let rows = session.query("SELECT @left_behind")?;
    ensure!(rows == [[Some("2".to_owned())]], "{rows:?}");
    proxy.shut_down()
}

/// An account of few rights: what it may not see is unknown, and the grants that mend it are named.
fn a_poor_account_is_told_of(flavour: Flavour, replication: &str, seen: &str, unseen: &[&str]) -> Result<()> {
    if !flavour.covered()? {
        return Ok(());
    }
    let cluster = with_definitions(flavour)?;
    let plugin = if flavour.family() == Family::MySql { "WITH caching_sha2_password " } else { "" };
    cluster.primary.query(&format!("CREATE USER poor@'%' IDENTIFIED {plugin}BY 'poor-password'"))?;
    cluster.primary.query(&format!("GRANT {replication}{seen} ON *.* TO poor@'%'"))?;
    cluster.wait_caught_up()?;
    let config = quick(&cluster)
        .set("routing", "fresh_wait", "\"30s\"")
        .set("monitor", "user", "\"poor\"")
        .set("monitor", "password", "\"poor-password\"")
        .set("monitor", "schema_interval", "\"1s\"");
    let proxy = Clonelove::start_with(config)?;
    wait_eligible(&proxy, "replica1")?;
    wait_schema(&proxy, "tables", |_| true)?;

    let hints = |proxy: &Clonelove| -> Result<Vec<String>> {
        let status = proxy.status()?;
        let list = status["freshness"]["degraded"].as_array().context("degraded")?.clone();
        ensure!(list.iter().all(|one| one["cause"] == "no_privilege"), "{list:?}");
        Ok(list.iter().filter_map(|one| Some(one["hint"].as_str()?.to_owned())).collect())
    };
    let said = hints(&proxy)?;
    ensure!(said.len() == unseen.len(), "{said:?}");
    let log = proxy.log();
    for (hint, privilege) in said.iter().zip(unseen) {
        ensure!(hint.starts_with(&format!("GRANT {privilege} ON ")), "{hint}: {privilege}");
        ensure!(log.contains(hint.as_str()), "not in the log: {hint}");
    }
    let degraded = || proxy.metric("clonelove_freshness_degraded", &["cause=\"no_privilege\""]);
    ensure!(degraded()? == 1.0);

    let mut number = 0;
    let mut goes = |sql: &str| went(&cluster, &mut client(&proxy)?, sql, &mut number);
    ensure!(goes("SELECT * FROM t")? == "replica1", "tables are taken for tables");
    ensure!(goes("SELECT writes_log()")? == "primary");
    if unseen.contains(&"SELECT") {
        ensure!(goes("SELECT counted()")? == "primary", "a function that cannot be seen");
        // Nothing is known of it: a replica is asked, and, since it has no such table, the primary.
        let both = goes("SELECT * FROM nowhere").map_err(|error| error.to_string());
        ensure!(
            both.as_ref().is_err_and(|why| why.ends_with(r#"reached ["primary", "replica1"]"#)),
            "{both:?}"
        );
    } else {
        ensure!(goes("SELECT * FROM v")? == "primary", "a view that cannot be seen into");
        ensure!(goes("SELECT * FROM nowhere")? == "primary");
    }

    for hint in said {
        cluster.primary.query(&hint).with_context(|| hint.clone())?;
    }
    wait_until("the grants to be noticed", DEFAULT_TIMEOUT, || {
        Ok::<_, anyhow::Error>(hints(&proxy)?.is_empty() && degraded()? == 0.0)
    })?;
    for sql in ["SELECT counted()", "SELECT * FROM v"] {
        ensure!(goes(sql)? == "replica1", "{sql}");
    }
    ensure!(proxy.log().contains("sees all definitions now"));
    proxy.shut_down()
}

#[test]
fn an_account_that_sees_nothing_is_told_of_on_mariadb() -> Result<()> {
    let rights = "REPLICATION CLIENT, PROCESS, SLAVE MONITOR";
    let unseen = ["SELECT", "SHOW VIEW", "TRIGGER", "SELECT"];
    a_poor_account_is_told_of(Flavour::MariaDbDistribution, rights, "", &unseen)
}

#[test]
fn an_account_that_sees_tables_alone_is_told_of_on_mariadb() -> Result<()> {
    let rights = "REPLICATION CLIENT, PROCESS, SLAVE MONITOR";
    a_poor_account_is_told_of(Flavour::MariaDbDistribution, rights, ", SELECT", &["SHOW VIEW", "TRIGGER"])
}

#[test]
fn an_account_that_sees_nothing_is_told_of_on_mysql_sid() -> Result<()> {
    let unseen = ["SELECT", "SHOW VIEW", "TRIGGER", "SHOW_ROUTINE"];
    a_poor_account_is_told_of(Flavour::MySqlSid, "REPLICATION CLIENT, PROCESS", "", &unseen)
}
