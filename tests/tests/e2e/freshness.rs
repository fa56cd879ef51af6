//! What a session's reads reflect: its own writes, never something older than it has seen, and no server's own
//! settings but the primary's.
#![expect(clippy::indexing_slicing, reason = "helpers of tests may fail as tests do")]

use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use clonelove_testkit::{
    APP_USER, Clonelove, Cluster, ClusterOptions, Config, Connection, DEFAULT_TIMEOUT, Family, Flavour,
    LogEntry, MONITOR_USER, Server, wait_until,
};

use crate::support::{
    Held, client, direct, error_of, kill_connections_of, queries, quick, reason, said_of, table, uniform,
    uniform_of, unwaiting, value, wait_defined, wait_eligible, wait_known, wait_out, wait_said,
};

/// One replica, and a proxy that does not wait long for it.
fn with_one_replica(flavour: Flavour, fresh_wait: &str) -> Result<(Cluster, Clonelove)> {
    let cluster = uniform_of(flavour, 1)?;
    table(&cluster, 5)?;
    let proxy = Clonelove::start_with(quick(&cluster).set("routing", "fresh_wait", fresh_wait))?;
    wait_eligible(&proxy, "replica1")?;
    Ok((cluster, proxy))
}

const READ: &str = "SELECT v FROM t WHERE id = 1";

#[test]
fn a_session_sees_its_own_writes_on_the_primary_until_the_replica_has_them() -> Result<()> {
    own_writes(Flavour::MariaDbDistribution)
}

#[test]
fn a_session_sees_its_own_writes_on_the_primary_until_the_replica_has_them_mariadb_sid() -> Result<()> {
    if Flavour::MariaDbSid.covered()? { own_writes(Flavour::MariaDbSid) } else { Ok(()) }
}

#[test]
fn a_session_sees_its_own_writes_on_the_primary_until_the_replica_has_them_mysql_sid() -> Result<()> {
    if Flavour::MySqlSid.covered()? { own_writes(Flavour::MySqlSid) } else { Ok(()) }
}

fn own_writes(flavour: Flavour) -> Result<()> {
    let cluster = uniform_of(flavour, 1)?;
    table(&cluster, 5)?;
    let session = unwaiting(quick(&cluster)).set("routing", "freshness", "\"session\"");
    let proxy = Clonelove::start_with(session)?;
    wait_eligible(&proxy, "replica1")?;
    let held = Held::new(&cluster.replicas[0])?;
    let mut writer = client(&proxy)?;
    for round in 1_u32..=10 {
        writer.query(&format!("UPDATE t SET v = {} WHERE id = 1", 100 + round))?;
        assert_eq!(value(&mut writer, READ)?, (100 + round).to_string());
        assert_eq!(reason(&proxy, "stale")?, f64::from(round));
    }
    // Other sessions wrote nothing: the replica is fresh enough for them.
    let before = reason(&proxy, "read")?;
    assert_eq!(value(&mut client(&proxy)?, READ)?, "1");
    assert_eq!((reason(&proxy, "read")?, reason(&proxy, "stale")?), (before + 1.0, 10.0));

    held.release(&cluster.primary)?;
    wait_known(&proxy, &cluster.replicas[0], &cluster.primary)?;
    let before = queries(&proxy, "replica1")?;
    assert_eq!(value(&mut writer, READ)?, "110");
    assert_eq!((queries(&proxy, "replica1")?, reason(&proxy, "stale")?), (before + 1.0, 10.0));

    // A transaction's writes count as well, from its commit on.
    let held = Held::new(&cluster.replicas[0])?;
    writer.query("START TRANSACTION")?;
    writer.query("UPDATE t SET v = 200 WHERE id = 1")?;
    writer.query("COMMIT")?;
    assert_eq!(value(&mut writer, READ)?, "200");
    assert_eq!(reason(&proxy, "stale")?, 11.0);
    held.release(&cluster.primary)
}

#[test]
fn a_read_waits_for_the_replica_as_long_as_it_may() -> Result<()> {
    let (cluster, proxy) = with_one_replica(Flavour::MariaDbDistribution, "\"30s\"")?;
    let replica = &cluster.replicas[0];
    let held = Held::new(replica)?;
    let mut session = client(&proxy)?;
    session.query("UPDATE t SET v = 100 WHERE id = 1")?;
    session.send(READ)?;
    let waits =
        "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'SELECT MASTER_GTID_WAIT%'";
    wait_until("the read to wait at the replica", DEFAULT_TIMEOUT, || {
        Ok::<_, anyhow::Error>(replica.value(waits)? == "1")
    })?;
    held.release(&cluster.primary)?;
    assert_eq!(session.receive()?[0][0].as_deref(), Some("100"));
    assert_eq!((reason(&proxy, "read_waited")?, reason(&proxy, "stale")?), (1.0, 0.0));
    assert_eq!(queries(&proxy, "replica1")?, 1.0);
    assert_eq!(proxy.metric("clonelove_fresh_wait_seconds_count", &[])?, 1.0);
    Ok(())
}

/// A replica is only made to wait for a position while somebody needs to know; else it is looked at now and then.
fn nobody_waits_in_vain(flavour: Flavour) -> Result<()> {
    let (cluster, proxy) = with_one_replica(flavour, "\"30s\"")?;
    let replica = &cluster.replicas[0];
    replica.general_log(true)?;
    let waits = |entries: Vec<LogEntry>| {
        let name = match flavour.family() {
            Family::MariaDb => "MASTER_GTID_WAIT",
            Family::MySql => "WAIT_FOR_EXECUTED_GTID_SET",
        };
        let ours = |entry: &&LogEntry| entry.user.as_deref() == Some(MONITOR_USER);
        entries.iter().filter(ours).filter(|entry| entry.is_statement() && entry.text.contains(name)).count()
    };
    let mut session = client(&proxy)?;
    session.query("UPDATE t SET v = 100 WHERE id = 1")?;
    wait_known(&proxy, replica, &cluster.primary)?;
    ensure!(waits(replica.general_log_entries()?) == 0, "nobody read what was written");
    let held = Held::new(replica)?;
    session.query("UPDATE t SET v = 101 WHERE id = 1")?;
    session.send(READ)?;
    wait_until("the read to wait at the replica", DEFAULT_TIMEOUT, || {
        Ok::<_, anyhow::Error>(waits(replica.general_log_entries()?) >= 1)
    })?;
    held.release(&cluster.primary)?;
    assert_eq!(session.receive()?[0][0].as_deref(), Some("101"));
    assert_eq!((reason(&proxy, "read_waited")?, reason(&proxy, "stale")?), (1.0, 0.0));
    Ok(())
}

#[test]
fn replicas_wait_for_a_position_while_somebody_needs_it_on_mariadb() -> Result<()> {
    nobody_waits_in_vain(Flavour::MariaDbDistribution)
}

#[test]
fn replicas_wait_for_a_position_while_somebody_needs_it_on_mysql_sid() -> Result<()> {
    if Flavour::MySqlSid.covered()? { nobody_waits_in_vain(Flavour::MySqlSid) } else { Ok(()) }
}

/// By the oldest write that the replica lacks; and which table's reads stay on the primary meanwhile.
fn lag_and_spills(flavour: Flavour) -> Result<()> {
    let cluster = uniform_of(flavour, 1)?;
    table(&cluster, 5)?;
    cluster.primary.query("CREATE TABLE app.other (v INT); INSERT INTO app.other VALUES (7)")?;
    cluster.wait_caught_up()?;
    let proxy = Clonelove::start_with(unwaiting(quick(&cluster)).set("routing", "max_lag", "\"1h\""))?;
    wait_eligible(&proxy, "replica1")?;
    wait_known(&proxy, &cluster.replicas[0], &cluster.primary)?;
    let lag = || -> Result<f64> { said_of(&proxy, "replica1")?["lag_seconds"].as_f64().context("no lag") };
    wait_said(&proxy, "replica1", "lag_seconds", 0.0)?;

    let held = Held::new(&cluster.replicas[0])?;
    let (sent, mut session) = (Instant::now(), client(&proxy)?);
    session.query("UPDATE t SET v = 100 WHERE id = 1")?;
    let before = wait_until("half a second of lag", DEFAULT_TIMEOUT, || -> Result<_> {
        let lag = lag()?;
        ensure!(lag <= sent.elapsed().as_secs_f64(), "{lag} s, though nothing is as old");
        Ok((lag >= 0.5).then_some(lag))
    })?;
    session.query("UPDATE t SET v = 101 WHERE id = 1")?;
    let after = wait_until("the lag to be told anew", DEFAULT_TIMEOUT, || -> Result<_> {
        let lag = lag()?;
        Ok((lag != before).then_some(lag))
    })?;
    ensure!(
        after > before,
        "a newer write made the replica seem less far behind: {before} s, then {after} s"
    );
    assert!(proxy.metric("clonelove_server_lag_seconds", &["server=\"replica1\""])? > before);

    for _ in 0..3 {
        assert_eq!(value(&mut client(&proxy)?, READ)?, "101");
    }
    assert_eq!(value(&mut client(&proxy)?, "SELECT v FROM other")?, "7");
    let status = proxy.status()?;
    let kept = &status["freshness"]["keeps_on_primary"];
    assert_eq!(*kept, serde_json::json!([{ "table": "app.t", "reads": 3, "unlogged": false }]), "{status}");
    assert_eq!(status["reads_on_replicas"], 0.25, "{status}");
    assert_eq!(status["queries"]["primary"]["stale"], 3, "{status}");
    assert_eq!(proxy.metric("clonelove_stale_spills_total", &["table=\"app.t\""])?, 3.0);
    held.release(&cluster.primary)?;
    wait_said(&proxy, "replica1", "lag_seconds", 0.0)
}

#[test]
fn the_status_tells_how_old_the_oldest_missing_write_is_and_what_stays_on_the_primary_on_mariadb()
-> Result<()> {
    lag_and_spills(Flavour::MariaDbDistribution)
}

#[test]
fn the_status_tells_how_old_the_oldest_missing_write_is_and_what_stays_on_the_primary_on_mysql_sid()
-> Result<()> {
    if Flavour::MySqlSid.covered()? { lag_and_spills(Flavour::MySqlSid) } else { Ok(()) }
}

#[test]
fn where_the_primary_has_no_positions_nothing_is_promised_and_the_status_says_so() -> Result<()> {
    let extra = vec!["--skip-log-bin".to_owned()];
    let options = ClusterOptions { replicas: 0, uniform: true, extra, ..ClusterOptions::default() };
    let cluster = Cluster::start(Flavour::MariaDbDistribution, options)?;
    let proxy = Clonelove::start_with(quick(&cluster))?;
    wait_until("the status to say so", DEFAULT_TIMEOUT, || -> Result<_> {
        let degraded = proxy.status()?["freshness"]["degraded"].clone();
        let causes = degraded.as_array().into_iter().flatten();
        Ok(causes.filter(|one| one["cause"] == "no_gtid" && one["hint"].is_string()).count() == 1)
    })?;
    assert_eq!(proxy.metric("clonelove_freshness_degraded", &["cause=\"no_gtid\""])?, 1.0);
    Ok(())
}

/// Statements whose replies carry no GTID although they commit something; each with the read that shows it.
struct Silent {
    write: &'static str,
    fails_with: Option<u16>,
    read: &'static str,
    shows: &'static str,
}

const SILENT: [Silent; 3] = [
    Silent {
        write: "CALL half()",
        fails_with: Some(1644),
        read: "SELECT COUNT(*) FROM t WHERE id = 300",
        shows: "1",
    },
    Silent {
        write: "INSERT INTO my VALUES (1), (2), (1)",
        fails_with: Some(1062),
        read: "SELECT COUNT(*) FROM my",
        shows: "2",
    },
    Silent {
        write: "SELECT f()",
        fails_with: None,
        read: "SELECT COUNT(*) FROM t WHERE id = 301",
        shows: "1",
    },
];

const RETURNING: Silent = Silent {
    write: "INSERT INTO t VALUES (302, 0) RETURNING id",
    fails_with: None,
    read: "SELECT COUNT(*) FROM t WHERE id = 302",
    shows: "1",
};

#[test]
fn a_write_whose_reply_tells_no_position_counts_all_the_same() -> Result<()> {
    silent_writes(Flavour::MariaDbDistribution)
}

#[test]
fn a_write_whose_reply_tells_no_position_counts_all_the_same_mariadb_sid() -> Result<()> {
    if Flavour::MariaDbSid.covered()? { silent_writes(Flavour::MariaDbSid) } else { Ok(()) }
}

#[test]
fn a_write_whose_reply_tells_no_position_counts_all_the_same_mysql_sid() -> Result<()> {
    if Flavour::MySqlSid.covered()? { silent_writes(Flavour::MySqlSid) } else { Ok(()) }
}

fn silent_writes(flavour: Flavour) -> Result<()> {
    let (cluster, proxy) = with_one_replica(flavour, "\"5ms\"")?;
    for server in cluster.servers() {
        server.query("SET GLOBAL log_bin_trust_function_creators = 1")?;
    }
    for sql in [
        "CREATE TABLE app.my (id INT PRIMARY KEY) ENGINE = MyISAM",
        "CREATE PROCEDURE app.half() BEGIN INSERT INTO app.t VALUES (300, 0); SIGNAL SQLSTATE '45000'; END",
        "CREATE FUNCTION app.f() RETURNS INT MODIFIES SQL DATA \
         BEGIN INSERT INTO app.t VALUES (301, 0); RETURN 1; END",
    ] {
        cluster.primary.query(sql)?;
    }
    cluster.wait_caught_up()?;
    wait_defined(&proxy, "my")?;
    let held = Held::new(&cluster.replicas[0])?;
    let mut all: Vec<&Silent> = SILENT.iter().collect();
    if flavour.family() == Family::MariaDb {
        all.push(&RETURNING);
    }
    for Silent { write, fails_with, read, shows } in all {
        let mut session = client(&proxy)?;
        let stale = reason(&proxy, "stale")?;
        let code = session
            .query(write)
            .map_or_else(|error| error_of::<()>(Err(error)).map(|e| Some(e.code)), |_| Ok(None))?;
        ensure!(code == *fails_with, "{write}: {code:?}");
        // A call that failed may have left the session pinned: a reset ends that, and must not end the memory.
        reset(&mut session)?;
        ensure!(value(&mut session, read)? == *shows, "after {write} the session does not see it");
        ensure!(reason(&proxy, "stale")? == stale + 1.0, "{write}: {}", proxy.status()?["queries"]);
    }
    held.release(&cluster.primary)
}

/// COM_RESET_CONNECTION.
fn reset(session: &mut Connection) -> Result<()> {
    session.send_raw(&[1, 0, 0, 0, 0x1f])?;
    let reply = session.receive_packet()?;
    ensure!(reply.first() == Some(&0), "{reply:?}");
    Ok(())
}

#[test]
fn a_write_that_is_never_logged_is_read_on_the_primary() -> Result<()> {
    let (cluster, proxy) = with_one_replica(Flavour::MariaDbDistribution, "\"5ms\"")?;
    cluster.primary.query(&format!("GRANT BINLOG ADMIN ON *.* TO {APP_USER}@'%'"))?;
    let mut session = client(&proxy)?;
    session.query("SET SESSION sql_log_bin = 0")?;
    session.query("INSERT INTO t VALUES (400, 0)")?;
    session.query("SET SESSION sql_log_bin = 1")?;
    assert_eq!(value(&mut session, "SELECT COUNT(*) FROM t WHERE id = 400")?, "1");
    Ok(())
}

#[test]
fn eventual_reads_never_wait() -> Result<()> {
    let cluster = uniform(1)?;
    table(&cluster, 5)?;
    let proxy = Clonelove::start_with(quick(&cluster).set("routing", "freshness", "\"eventual\""))?;
    wait_eligible(&proxy, "replica1")?;
    let held = Held::new(&cluster.replicas[0])?;
    let mut session = client(&proxy)?;
    session.query("UPDATE t SET v = 100 WHERE id = 1")?;
    assert_eq!(value(&mut session, READ)?, "1");
    assert_eq!((reason(&proxy, "read")?, reason(&proxy, "stale")?), (1.0, 0.0));
    assert_eq!(proxy.metric("clonelove_fresh_wait_seconds_count", &[])?, 0.0);
    held.release(&cluster.primary)
}

#[test]
fn a_session_that_changes_its_replica_does_not_go_back_in_time() -> Result<()> {
    monotonic(Flavour::MariaDbDistribution)
}

#[test]
fn a_session_that_changes_its_replica_does_not_go_back_in_time_mariadb_sid() -> Result<()> {
    if Flavour::MariaDbSid.covered()? { monotonic(Flavour::MariaDbSid) } else { Ok(()) }
}

#[test]
fn a_session_that_changes_its_replica_does_not_go_back_in_time_mysql_sid() -> Result<()> {
    if Flavour::MySqlSid.covered()? { monotonic(Flavour::MySqlSid) } else { Ok(()) }
}

fn monotonic(flavour: Flavour) -> Result<()> {
    let cluster = uniform_of(flavour, 2)?;
    table(&cluster, 5)?;
    let proxy = Clonelove::start_with(unwaiting(quick(&cluster)))?;
    let [ahead, behind] = &cluster.replicas[..] else { bail!("two replicas were asked for") };
    wait_eligible(&proxy, behind.name())?;
    drain(&proxy, behind)?;
    wait_eligible(&proxy, ahead.name())?;
    let held = Held::new(behind)?;
    cluster.primary.query("UPDATE app.t SET v = 100 WHERE id = 1")?;
    wait_known(&proxy, ahead, &cluster.primary)?;
    let mut session = client(&proxy)?;
    assert_eq!(value(&mut session, READ)?, "100");
    assert_eq!(queries(&proxy, ahead.name())?, 1.0);

    undrain(&proxy, behind)?;
    drain(&proxy, ahead)?;
    let fresh_eyes = value(&mut client(&proxy)?, READ)?;
    assert_eq!(fresh_eyes, "1", "the other replica is behind, and who has seen nothing reads there");
    assert_eq!(value(&mut session, READ)?, "100");
    assert_eq!(reason(&proxy, "stale")?, 1.0);
    assert_eq!(queries(&proxy, behind.name())?, 1.0);

    held.release(&cluster.primary)?;
    wait_known(&proxy, behind, &cluster.primary)?;
    assert_eq!(value(&mut session, READ)?, "100");
    assert_eq!(queries(&proxy, behind.name())?, 2.0);
    Ok(())
}

fn drain(proxy: &Clonelove, server: &Server) -> Result<()> {
    ensure!(proxy.http_post(&format!("/servers/{}/drain", server.name()))?.status == 200);
    wait_out(proxy, server.name())
}

fn undrain(proxy: &Clonelove, server: &Server) -> Result<()> {
    ensure!(proxy.http_post(&format!("/servers/{}/undrain", server.name()))?.status == 200);
    wait_eligible(proxy, server.name())
}

/// A replica that differs from the primary in all that changes answers, and a proxy before both.
fn with_an_odd_replica(flavour: Flavour) -> Result<(Cluster, Clonelove)> {
    let cluster = Cluster::start(flavour, ClusterOptions { replicas: 1, ..ClusterOptions::default() })?;
    table(&cluster, 5)?;
    cluster.primary.query("CREATE TABLE test.u (a INT)")?;
    cluster.primary.query("INSERT INTO test.u VALUES (77)")?;
    cluster.wait_caught_up()?;
    if flavour.family() == Family::MariaDb {
        cluster.replicas[0].query("SET GLOBAL old_passwords = 1")?;
    }
    let proxy = Clonelove::start_with(quick(&cluster))?;
    wait_eligible(&proxy, "replica1")?;
    let own = cluster.replicas[0].value("SELECT 1/3")?;
    ensure!(own == "0.33", "the replica is not odd enough for this test: {own}");
    Ok((cluster, proxy))
}

/// Reads whose answers hang on settings that the servers differ in.
const TELLING: [&str; 9] = [
    "SELECT 1/3",
    r"SELECT LENGTH('a\\b'), LENGTH('a\nb')",
    "SELECT 'a' || 'b'",
    "SELECT \"v\" FROM t WHERE id = 2",
    "SELECT FROM_UNIXTIME(0), UNIX_TIMESTAMP('2026-01-01 00:00:00')",
    "SELECT GROUP_CONCAT(REPEAT('x', 40)) FROM t",
    "SELECT COLLATION('x'), CHARSET('x'), DATABASE()",
    "SELECT id FROM t ORDER BY id",
    "SELECT CAST('2026-02-30' AS DATE), 1/0",
];

/// The same of what MariaDB alone has.
const TELLING_ON_MARIADB: [&str; 1] = ["SELECT PASSWORD('x')"];

/// Runs reads through the proxy and directly; they must say the same, and the replica must have answered.
fn same_answers(
    proxy: &Clonelove,
    session: &mut Connection,
    twin: &mut Connection,
    after: &str,
) -> Result<()> {
    let more: &[&str] = if twin.version().contains("MariaDB") { &TELLING_ON_MARIADB } else { &[] };
    for sql in TELLING.iter().chain(more) {
        let before = queries(proxy, "replica1")?;
        let through = session.query(sql).map_err(|error| format!("{error:#}"));
        let directly = twin.query(sql).map_err(|error| format!("{error:#}"));
        ensure!(through == directly, "after {after}: {sql} gave {through:?}, directly {directly:?}");
        let warned = session.query("SHOW WARNINGS")?;
        let warned_directly = twin.query("SHOW WARNINGS")?;
        ensure!(
            warned == warned_directly,
            "after {after}: {sql} warned {warned:?}, directly {warned_directly:?}"
        );
        ensure!(queries(proxy, "replica1")? > before, "after {after}: {sql} did not run on the replica");
    }
    Ok(())
}

#[test]
fn a_replicas_own_settings_never_show_and_the_sessions_settings_always_do() -> Result<()> {
    settings_witness(Flavour::MariaDbDistribution)
}

#[test]
fn a_replicas_own_settings_never_show_and_the_sessions_settings_always_do_mariadb_sid() -> Result<()> {
    if Flavour::MariaDbSid.covered()? { settings_witness(Flavour::MariaDbSid) } else { Ok(()) }
}

#[test]
fn a_replicas_own_settings_never_show_and_the_sessions_settings_always_do_mysql_sid() -> Result<()> {
    if Flavour::MySqlSid.covered()? { settings_witness(Flavour::MySqlSid) } else { Ok(()) }
}

fn settings_witness(flavour: Flavour) -> Result<()> {
    let (cluster, proxy) = with_an_odd_replica(flavour)?;
    let (mut session, mut twin) = (client(&proxy)?, direct(&cluster.primary)?);
    same_answers(&proxy, &mut session, &mut twin, "nothing")?;
    for setting in [
        "SET NAMES utf8mb4",
        "SET sql_mode = 'ANSI,TRADITIONAL'",
        "SET time_zone = '+03:00'",
        "SET SESSION div_precision_increment = 7, group_concat_max_len = 100",
        "SET NAMES latin1",
        "SET sql_mode = 'NO_BACKSLASH_ESCAPES'",
        "SET SESSION sql_select_limit = 2",
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
        "SET sql_mode = ''",
    ] {
        session.query(setting)?;
        twin.query(setting)?;
        same_answers(&proxy, &mut session, &mut twin, setting)?;
    }
    // On connections that are opened only now, too: the primary's and the replica's are both dropped.
    for server in cluster.servers() {
        kill_connections_of(server, APP_USER)?;
    }
    let mut twin = direct(&cluster.primary)?;
    for setting in [
        "SET NAMES latin1",
        "SET time_zone = '+03:00'",
        "SET sql_mode = '', sql_select_limit = 2, div_precision_increment = 7, group_concat_max_len = 100",
    ] {
        twin.query(setting)?;
    }
    same_answers(&proxy, &mut session, &mut twin, "a change of connections")?;

    // The schema goes along, and so does a user variable.
    session.query("SET @a = 5")?;
    session.query("USE test")?;
    let on_replica = queries(&proxy, "replica1")?;
    assert_eq!(value(&mut session, "SELECT a + @a FROM u")?, "82");
    assert_eq!(queries(&proxy, "replica1")?, on_replica + 1.0);
    session.query("INSERT INTO u VALUES (78)")?;
    assert_eq!(cluster.primary.value("SELECT COUNT(*) FROM test.u")?, "2");
    let error = error_of(session.query("USE nowhere"))?;
    assert!(matches!(error.code, 1044 | 1049), "{error}");
    assert_eq!(value(&mut session, "SELECT DATABASE()")?, "test");
    Ok(())
}

/// A read of a written table that stays on the primary for a while.
const SLOW: &str = "SELECT SLEEP(30), v FROM t WHERE id = 1";

/// One read that only the primary can answer is one too many.
fn with_budget(cluster: &Cluster, over_budget: &str) -> Result<Config> {
    table(cluster, 5)?;
    let config = quick(cluster).set("routing", "fresh_wait", "\"1ms\"");
    Ok(config.set("routing", "max_primary_reads", "1").set("routing", "over_budget", over_budget))
}

/// Something is written that the replica lacks, and a read of it goes on on the primary.
fn spend_the_budget<'a>(cluster: &'a Cluster, proxy: &Clonelove) -> Result<(Held<'a>, Connection)> {
    wait_eligible(proxy, "replica1")?;
    let held = Held::new(&cluster.replicas[0])?;
    client(proxy)?.query("UPDATE t SET v = 500 WHERE id = 1")?;
    let mut slow = client(proxy)?;
    slow.send(SLOW)?;
    let listed = "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'SELECT SLEEP(30)%'";
    wait_until("the slow read to be on the primary", DEFAULT_TIMEOUT, || {
        Ok::<_, anyhow::Error>(cluster.primary.value(listed)? == "1")
    })?;
    Ok((held, slow))
}

/// What becomes of a read beyond the budget: `over_budget` is the policy.
fn beyond_the_budget(over_budget: &str) -> Result<(Cluster, Clonelove, Result<String>)> {
    let cluster = uniform_of(Flavour::MariaDbDistribution, 1)?;
    let config = with_budget(&cluster, over_budget)?.set("routing", "max_wait", "\"300ms\"");
    let proxy = Clonelove::start_with(config)?;
    let (held, slow) = spend_the_budget(&cluster, &proxy)?;
    let answer = value(&mut client(&proxy)?, READ);
    slow.vanish();
    held.release(&cluster.primary)?;
    Ok((cluster, proxy, answer))
}

#[test]
fn reads_beyond_the_budget_are_refused_with_the_tables_name() -> Result<()> {
    for policy in ["\"error\"", "\"wait\""] {
        let (_cluster, proxy, answer) = beyond_the_budget(policy)?;
        let error = error_of(answer)?;
        ensure!(error.code == 1205 && error.message.contains("app.t "), "{policy}: {error:?}");
        assert_eq!((reason(&proxy, "over_budget")?, reason(&proxy, "stale")?), (1.0, 1.0), "{policy}");
    }
    Ok(())
}

/// Whoever waits beyond the budget is answered once a replica has what was written.
#[test]
fn reads_beyond_the_budget_wait_for_a_replica() -> Result<()> {
    let cluster = uniform_of(Flavour::MariaDbDistribution, 1)?;
    let config = with_budget(&cluster, "\"wait\"")?.set("routing", "max_wait", "\"60s\"");
    let proxy = Clonelove::start_with(config)?;
    let (held, slow) = spend_the_budget(&cluster, &proxy)?;
    let mut session = client(&proxy)?;
    session.send(READ)?;
    let waits =
        "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'SELECT MASTER_GTID_WAIT%'";
    wait_until("the read to wait at the replica", DEFAULT_TIMEOUT, || {
        Ok::<_, anyhow::Error>(cluster.replicas[0].value(waits)? == "1")
    })?;
    held.release(&cluster.primary)?;
    assert_eq!(session.receive()?[0][0].as_deref(), Some("500"));
    assert_eq!((reason(&proxy, "over_budget")?, queries(&proxy, "replica1")?), (0.0, 1.0));
    slow.vanish();
    Ok(())
}

#[test]
fn reads_beyond_the_budget_may_be_stale_by_the_operators_choice() -> Result<()> {
    let (_cluster, proxy, answer) = beyond_the_budget("\"stale\"")?;
    assert_eq!(answer?, "1");
    assert_eq!(reason(&proxy, "over_budget_stale")?, 1.0);
    Ok(())
}
