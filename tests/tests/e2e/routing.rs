//! What goes where, with the servers' general logs as the witness; and the commands that are no statements.

use anyhow::{Context, Result};
use clonelove_testkit::{
    APP_PASSWORD, APP_USER, Clonelove, Cluster, ClusterOptions, Connection, Flavour, LogEntry, Port,
};

use crate::support::{client, direct, quick, table, uniform, value, wait_eligible};

/// Statements of one session outside transactions, and where each belongs.
const STATEMENTS: &[(&str, &str)] = &[
    ("SELECT id FROM t WHERE id = 1", "replica"),
    ("SELECT COUNT(*) FROM (SELECT id FROM t) AS d", "replica"),
    ("WITH w AS (SELECT id FROM t) SELECT * FROM w", "replica"),
    ("(SELECT 1) UNION (SELECT 2)", "replica"),
    ("SHOW TABLES", "replica"),
    ("SHOW COLUMNS FROM t", "replica"),
    ("DESCRIBE t", "replica"),
    ("EXPLAIN SELECT id FROM t", "replica"),
    ("SELECT 'FOR UPDATE; DELETE FROM t' AS text", "replica"),
    ("SELECT id FROM t FOR UPDATE", "primary"),
    ("SELECT id FROM t LOCK IN SHARE MODE", "primary"),
    ("SELECT id INTO @a FROM t WHERE id = 1", "primary"),
    ("SELECT LAST_INSERT_ID()", "primary"),
    ("SELECT CONNECTION_ID()", "primary"),
    ("SELECT @@server_id", "primary"),
    ("SELECT VERSION()", "primary"),
    ("SHOW VARIABLES LIKE 'port'", "primary"),
    ("SHOW CREATE TABLE t", "primary"),
    ("SELECT /*! SQL_CALC_FOUND_ROWS */ id FROM t LIMIT 1", "primary"),
    ("SELECT app.no_such_function(1)", "primary"),
    ("INSERT INTO t VALUES (1000, 1)", "primary"),
    ("UPDATE t SET v = 2 WHERE id = 1000", "primary"),
    ("DELETE FROM t WHERE id = 1000", "primary"),
    ("ANALYZE TABLE t", "primary"),
    ("SELECT id FROM", "primary"),
    ("nonsense", "primary"),
];

/// Each statement is sent by a session of its own, so that none pins another. A mark in a comment finds it again.
#[test]
fn statements_go_where_they_belong() -> Result<()> {
    let options =
        ClusterOptions { replicas: 2, general_log: true, uniform: true, ..ClusterOptions::default() };
    let cluster = Cluster::start(Flavour::MariaDbDistribution, options)?;
    table(&cluster, 3)?;
    let proxy = Clonelove::start_with(quick(&cluster))?;
    for (at, (sql, _)) in STATEMENTS.iter().enumerate() {
        // Some fail, on the primary as they should.
        let _ = client(&proxy)?.query(&format!("{sql} /* mark {at} */"));
    }
    for (at, (sql, expected)) in STATEMENTS.iter().enumerate() {
        let mark = format!("/* mark {at} */");
        let mut seen = Vec::new();
        for server in cluster.servers() {
            let entries = server.general_log_entries()?;
            // What a replica applies from the binary log is in its log too, under no user.
            let sent = |entry: &&LogEntry| entry.is_statement() && entry.user.as_deref() == Some(APP_USER);
            let hits = entries.iter().filter(sent).filter(|entry| entry.text.contains(&mark)).count();
            seen.extend(std::iter::repeat_n(server.name().to_owned(), hits));
        }
        assert_eq!(seen.len(), 1, "{sql}: reached {seen:?}");
        assert!(seen[0].starts_with(expected), "{sql}: reached {}", seen[0]);
    }
    Ok(())
}

/// Everything between BEGIN and COMMIT stays on the primary, and reads leave it again afterwards.
#[test]
fn a_transaction_stays_on_one_connection() -> Result<()> {
    let cluster = uniform(1)?;
    table(&cluster, 3)?;
    let proxy = Clonelove::start_with(quick(&cluster))?;
    wait_eligible(&proxy, "replica1")?;
    let mut session = client(&proxy)?;
    let own = |session: &mut Connection| value(session, "SELECT CONNECTION_ID()");
    let before = own(&mut session)?;
    session.query("START TRANSACTION")?;
    assert!(session.in_transaction());
    session.query("INSERT INTO t VALUES (10, 10)")?;
    session.query("SAVEPOINT s")?;
    session.query("INSERT INTO t VALUES (11, 11)")?;
    assert_eq!(value(&mut session, "SELECT COUNT(*) FROM t")?, "5", "its own rows, not committed yet");
    session.query("ROLLBACK TO SAVEPOINT s")?;
    assert_eq!(own(&mut session)?, before, "one connection");
    session.query("COMMIT")?;
    assert!(!session.in_transaction());
    assert_eq!(value(&mut session, "SELECT COUNT(*) FROM t")?, "4");
    session.query("BEGIN")?;
    session.query("DELETE FROM t")?;
    session.query("ROLLBACK")?;
    assert_eq!(value(&mut session, "SELECT COUNT(*) FROM t")?, "4");
    let count = |reason| proxy.metric("clonelove_queries_total", &[&format!("reason=\"{reason}\"")]);
    assert!(
        count("read")? + count("read_waited")? + count("stale")? >= 2.0,
        "reads after it may leave again"
    );
    assert_eq!(count("transaction")?, 9.0, "COMMIT and ROLLBACK among them");
    Ok(())
}

/// A command, framed.
fn command(byte: u8, body: &[u8]) -> Vec<u8> {
    let length = u8::try_from(body.len() + 1).unwrap_or(u8::MAX);
    let mut packet = vec![length, 0, 0, 0, byte];
    packet.extend_from_slice(body);
    packet
}

/// Sends a command and reads as many packets as its reply must have.
fn ask(session: &mut Connection, byte: u8, body: &[u8], packets: usize) -> Result<Vec<Vec<u8>>> {
    session.send_raw(&command(byte, body))?;
    (0..packets).map(|_| session.receive_packet()).collect()
}

/// Commands that are no statements get the very bytes that a server answers, in this order on one session.
#[test]
fn each_other_command_is_answered_as_a_server_answers_it() -> Result<()> {
    const COMMANDS: &[(&str, u8, &[u8], usize)] = &[
        ("COM_PING", 0x0E, b"", 1),
        ("COM_INIT_DB", 0x02, b"test", 1),
        ("COM_INIT_DB of no schema", 0x02, b"no_such_schema", 1),
        ("COM_INIT_DB", 0x02, b"app", 1),
        ("COM_FIELD_LIST of t", 0x04, b"t\0", 3),
        ("COM_FIELD_LIST of no table", 0x04, b"no_such_table\0", 1),
        ("COM_DEBUG without the right", 0x0D, b"", 1),
        ("COM_RESET_CONNECTION", 0x1F, b"", 1),
        ("COM_SET_OPTION", 0x1B, b"\0\0", 1),
        ("COM_SET_OPTION of none", 0x1B, b"\x09\0", 1),
        ("a command that there is not", 0x7F, b"", 1),
        ("COM_PING", 0x0E, b"", 1),
    ];
    let cluster = uniform(1)?;
    table(&cluster, 1)?;
    let proxy = Clonelove::start_with(quick(&cluster))?;
    let mut through = client(&proxy)?;
    let mut beside = direct(&cluster.primary)?;
    for (name, byte, body, packets) in COMMANDS {
        let got =
            ask(&mut through, *byte, body, *packets).with_context(|| format!("{name}, through clonelove"))?;
        let want = ask(&mut beside, *byte, body, *packets).with_context(|| format!("{name}, directly"))?;
        assert_eq!(got, want, "{name}");
    }
    let statistics = ask(&mut through, 0x09, b"", 1)?;
    assert!(statistics[0].starts_with(b"Uptime: "), "COM_STATISTICS: {statistics:?}");
    assert_eq!(value(&mut through, "SELECT DATABASE()")?, "app");
    // COM_QUIT ends it without a word.
    through.send_raw(&command(0x01, b""))?;
    assert!(through.is_closed()?);
    Ok(())
}

/// The schema and the settings of a session hold wherever its next statement goes.
#[test]
fn use_and_set_hold_wherever_the_next_statement_goes() -> Result<()> {
    let cluster = uniform(2)?;
    table(&cluster, 1)?;
    cluster.primary.query("CREATE TABLE test.only_here (a INT)")?;
    cluster.primary.query("INSERT INTO test.only_here VALUES (7)")?;
    cluster.wait_caught_up()?;
    let proxy = Clonelove::start_with(quick(&cluster))?;
    wait_eligible(&proxy, "replica1")?;
    wait_eligible(&proxy, "replica2")?;
    let mut session = client(&proxy)?;
    assert_eq!(value(&mut session, "SELECT COUNT(*) FROM t")?, "1");
    for round in 0..3 {
        session.query("USE test")?;
        assert_eq!(value(&mut session, "SELECT a FROM only_here")?, "7");
        session.query("USE app")?;
        session.query("SET sql_mode = 'ANSI'")?;
        assert_eq!(value(&mut session, "SELECT \"v\" FROM \"t\"")?, "1", "an identifier");
        session.query("SET sql_mode = ''")?;
        assert_eq!(value(&mut session, "SELECT \"v\" FROM `t`")?, "v", "a string");
        session.query(&format!("SET @round = {round}"))?;
        assert_eq!(value(&mut session, "SELECT @round + 0 FROM t")?, round.to_string());
        session.query(&format!("SET time_zone = '+0{round}:00'"))?;
        assert_eq!(value(&mut session, "SELECT HOUR(FROM_UNIXTIME(0)) FROM t")?, round.to_string());
    }
    let on_replicas: f64 = proxy.metric("clonelove_queries_total", &["target=\"replica\""])?;
    assert!(on_replicas >= 16.0, "{on_replicas} reads on replicas");
    Ok(())
}

/// One daemon, all kinds of addresses; the greeting is the primary's own.
#[test]
fn clients_connect_over_ipv4_ipv6_and_a_unix_socket() -> Result<()> {
    let cluster = uniform(1)?;
    let port = Port::reserve()?;
    let v6 = format!("[::1]:{}", port.number());
    let proxy = Clonelove::start_with(quick(&cluster).set("listen", "mysql", &format!("[\"{v6}\"]")))?;
    assert_eq!(client(&proxy)?.version(), direct(&cluster.primary)?.version(), "the primary's own greeting");
    let mut session = Connection::open_tcp(&v6, APP_USER, APP_PASSWORD, Some("app"))?;
    assert_eq!(value(&mut session, "SELECT 6 * 7")?, "42", "IPv6");
    let output = std::process::Command::new("mariadb")
        .args(["--no-defaults", "--user", APP_USER, &format!("--password={APP_PASSWORD}"), "--socket"])
        .arg(proxy.socket())
        .args(["--batch", "--skip-column-names", "--execute", "SELECT 42"])
        .output()
        .context("the mariadb client")?;
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "42", "unix socket: {output:?}");
    Ok(())
}
