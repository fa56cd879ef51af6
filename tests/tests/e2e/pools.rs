//! Few connections for many sessions: how many are opened, what they hear, who gets them, and when they go.
#![expect(clippy::indexing_slicing, reason = "helpers of tests may fail as tests do")]

use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clonelove_testkit::{
    APP_PASSWORD, APP_USER, Clonelove, Cluster, Connection, DEFAULT_TIMEOUT, Flavour, LogEntry, Port, Server,
    wait_until,
};

use crate::clients::php_extensions;
use crate::commands::peer::{DEPRECATE_EOF, FOUND_ROWS, IGNORE_SPACE, MULTI_STATEMENTS, Peer, Say};
use crate::support::{
    client, error_of, kill_connections_of, queries, quick, reason, retries, said_of, table, uniform,
    uniform_of, value, wait_eligible,
};

mod warm;

/// What Drupal says before it asks anything.
const DRUPAL: [&str; 3] = [
    "SET NAMES utf8mb4 COLLATE utf8mb4_general_ci",
    "SET sql_mode = 'ANSI,TRADITIONAL'",
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
];
const READS: [&str; 3] =
    ["SELECT v FROM t WHERE id = 1", "SELECT COUNT(*) FROM t", "SELECT \"v\" FROM \"t\""];
/// Others may be at work on this machine: nobody waits in vain for a connection that is to become free.
const PATIENT: &str = "\"60s\"";

/// A client that has said what Drupal says.
fn drupal(proxy: &Clonelove) -> Result<Connection> {
    let mut session = client(proxy)?;
    for set in DRUPAL {
        session.query(set)?;
    }
    Ok(session)
}

/// A whole request: connect, settings, some reads, quit.
fn request(proxy: &Clonelove) -> Result<()> {
    let mut session = drupal(proxy)?;
    for read in READS {
        session.query(read)?;
    }
    Ok(())
}

/// What a server says of itself, asked on one connection, which counts as none.
struct Witness<'a> {
    server: &'a Server,
    root: Connection,
    connections: u64,
    settings: u64,
    opened: f64,
}

impl<'a> Witness<'a> {
    fn begin(server: &'a Server, proxy: &Clonelove) -> Result<Self> {
        let mut root = server.connect()?;
        let connections = counter(&mut root, "Connections")?;
        let settings = counter(&mut root, "Com_set_option")?;
        Ok(Self { server, root, connections, settings, opened: opened(proxy, server)? })
    }

    /// Connections and SETs since, by the server's own counters, and connections by the proxy's.
    fn since(&mut self, proxy: &Clonelove) -> Result<(u64, u64, u64)> {
        let connections = counter(&mut self.root, "Connections")? - self.connections;
        let settings = counter(&mut self.root, "Com_set_option")? - self.settings;
        let opened = opened(proxy, self.server)? - self.opened;
        Ok((connections, settings, opened as u64))
    }
}

fn counter(root: &mut Connection, name: &str) -> Result<u64> {
    let rows = root.query(&format!("SHOW GLOBAL STATUS LIKE '{name}'"))?;
    let value = rows.first().and_then(|row| row[1].clone());
    Ok(value.with_context(|| format!("no counter {name}"))?.parse()?)
}

/// Connections for sessions that were ever opened to a server.
fn opened(proxy: &Clonelove, server: &Server) -> Result<f64> {
    let label = format!("server=\"{}\"", server.name());
    proxy.metric("clonelove_server_connects_total", &[&label, "result=\"ok\""])
}

fn in_use(proxy: &Clonelove, server: &str, how: &str) -> Result<f64> {
    let labels = [format!("server=\"{server}\""), format!("use=\"{how}\"")];
    proxy.metric("clonelove_server_connections", &[&labels[0], &labels[1]])
}

fn answered_settings(proxy: &Clonelove) -> Result<f64> {
    proxy.metric("clonelove_settings_total", &["how=\"answered\""])
}

/// Waits until each server was probed so many times more.
fn probes_pass(proxy: &Clonelove, cluster: &Cluster, times: f64) -> Result<()> {
    let count = |server: &Server| {
        proxy.metric("clonelove_probe_seconds_count", &[&format!("server=\"{}\"", server.name())])
    };
    for server in cluster.servers() {
        let before = count(server)?;
        wait_until("probes", DEFAULT_TIMEOUT, || Ok::<_, anyhow::Error>(count(server)? >= before + times))?;
    }
    Ok(())
}

/// The threads of the application on a server.
fn threads(server: &Server) -> Result<Vec<String>> {
    let list = format!("SELECT id FROM information_schema.processlist WHERE user = '{APP_USER}' ORDER BY id");
    Ok(server.query(&list)?.into_iter().flatten().flatten().collect())
}

fn wait_threads(server: &Server, what: &str, wanted: impl Fn(&[String]) -> bool) -> Result<Vec<String>> {
    wait_until(what, DEFAULT_TIMEOUT, || {
        let now = threads(server)?;
        if wanted(&now) { Ok(Some(now)) } else { bail!("{} has {now:?}", server.name()) }
    })
}

/// What the application said to a server since a mark in its log.
fn said(server: &Server, mark: u64) -> Result<Vec<LogEntry>> {
    let entries = server.general_log_since(mark)?;
    Ok(entries.into_iter().filter(|entry| entry.user.as_deref() == Some(APP_USER)).collect())
}

/// Runs `work` in `count` threads at once.
fn at_once<T: Send>(count: usize, work: impl Fn(usize) -> Result<T> + Sync) -> Result<Vec<T>> {
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..count).map(|index| scope.spawn(move || work(index))).collect();
        let panicked = |_| anyhow::anyhow!("a thread panicked");
        threads.into_iter().map(|thread| thread.join().map_err(panicked)?).collect()
    })
}

#[test]
fn drupals_set_up_is_said_once_for_a_connection_on_mariadb() -> Result<()> {
    set_up_is_said_once(Flavour::MariaDbDistribution)
}

#[test]
fn drupals_set_up_is_said_once_for_a_connection_on_mariadb_sid() -> Result<()> {
    if Flavour::MariaDbSid.covered()? { set_up_is_said_once(Flavour::MariaDbSid) } else { Ok(()) }
}

#[test]
fn drupals_set_up_is_said_once_for_a_connection_on_mysql_sid() -> Result<()> {
    if Flavour::MySqlSid.covered()? { set_up_is_said_once(Flavour::MySqlSid) } else { Ok(()) }
}

fn set_up_is_said_once(flavour: Flavour) -> Result<()> {
    let cluster = uniform_of(flavour, 1)?;
    table(&cluster, 3)?;
    thousand_requests(&cluster, 1)?;
    thousand_requests(&cluster, 8)
}

/// A thousand requests of Drupal to a proxy that has just begun, so many at a time.
fn thousand_requests(cluster: &Cluster, concurrency: usize) -> Result<()> {
    // What is opened ahead of use is besides the point here, and so is what the monitor opens once a minute.
    let config = quick(cluster).set("pool", "min_idle", "0").set("pool", "queue_timeout", PATIENT).set(
        "monitor",
        "schema_interval",
        "\"1h\"",
    );
    let proxy = Clonelove::start_with(config)?;
    wait_eligible(&proxy, "replica1")?;
    let mut witnesses =
        cluster.servers().map(|server| Witness::begin(server, &proxy)).collect::<Result<Vec<_>>>()?;
    probes_pass(&proxy, cluster, 3.0)?;
    for witness in &mut witnesses {
        assert_eq!(witness.since(&proxy)?, (0, 0, 0), "the probes alone leave the counters as they are");
    }
    request(&proxy)?;
    at_once(concurrency, |_| (0..1_000 / concurrency).try_for_each(|_| request(&proxy)))?;
    let mut sum = (0, 0);
    for witness in &mut witnesses {
        let (connections, settings, opened) = witness.since(&proxy)?;
        let name = witness.server.name();
        assert_eq!(connections, opened, "{name}: the server counts as the proxy does");
        assert!(opened >= 1 && opened <= concurrency as u64, "{name}: {opened} for {concurrency} at a time");
        sum = (sum.0 + opened, sum.1 + settings);
    }
    let (opened, settings) = sum;
    assert!(settings <= 3 * opened, "{settings} SETs on {opened} connections");
    let all = 3.0 * 1_001.0;
    assert_eq!(answered_settings(&proxy)?, all - 3.0, "each is asked of a server once");
    assert_eq!(proxy.metric("clonelove_settings_total", &["how=\"learnt\""])?, 3.0);
    assert_eq!(reason(&proxy, "setting_known")?, all - 3.0);
    proxy.shut_down()
}

#[test]
fn a_learnt_set_up_says_nothing_to_any_server_on_mariadb() -> Result<()> {
    nothing_is_said(Flavour::MariaDbDistribution)
}

#[test]
fn a_learnt_set_up_says_nothing_to_any_server_on_mysql_sid() -> Result<()> {
    if Flavour::MySqlSid.covered()? { nothing_is_said(Flavour::MySqlSid) } else { Ok(()) }
}

fn nothing_is_said(flavour: Flavour) -> Result<()> {
    let cluster = uniform_of(flavour, 1)?;
    table(&cluster, 3)?;
    let proxy = Clonelove::start_with(quick(&cluster).set("pool", "min_idle", "0"))?;
    wait_eligible(&proxy, "replica1")?;
    request(&proxy)?;
    let replica = &cluster.replicas[0];
    let marks = cluster
        .servers()
        .map(|server| {
            server.general_log(true)?;
            server.general_log_mark()
        })
        .collect::<Result<Vec<_>>>()?;
    let mut sessions = (0..5).map(|_| drupal(&proxy)).collect::<Result<Vec<_>>>()?;
    for session in &mut sessions {
        session.send_raw(&[1, 0, 0, 0, 0x0E])?;
        assert_eq!(session.receive_packet()?.first(), Some(&0), "a ping");
    }
    assert_eq!(reason(&proxy, "ping")?, 5.0);
    // What came before the reads would be in the logs before them.
    for session in &mut sessions {
        session.query(READS[2])?;
    }
    let texts: Vec<String> = said(replica, marks[1])?.into_iter().map(|entry| entry.text).collect();
    assert_eq!(texts, [READS[2]; 5], "the state of the connection fits already");
    assert_eq!(said(&cluster.primary, marks[0])?.len(), 0);
    // And it is the state that was asked for.
    let asked = "SELECT CONCAT(@@session.collation_connection, ' ', @@session.sql_mode)";
    let (mut direct, last) = (crate::support::direct(replica)?, &mut sessions[4]);
    DRUPAL.iter().try_for_each(|set| direct.query(set).map(drop))?;
    assert_eq!(value(last, asked)?, value(&mut direct, asked)?);
    Ok(())
}

#[test]
fn a_new_look_at_the_schema_leaves_connections_in_their_state_on_mariadb() -> Result<()> {
    new_look(Flavour::MariaDbDistribution)
}

#[test]
fn a_new_look_at_the_schema_leaves_connections_in_their_state_on_mysql_sid() -> Result<()> {
    if Flavour::MySqlSid.covered()? { new_look(Flavour::MySqlSid) } else { Ok(()) }
}

/// What is known of schemas is forgotten once a minute, and with each change of a definition.
fn new_look(flavour: Flavour) -> Result<()> {
    let cluster = uniform_of(flavour, 1)?;
    table(&cluster, 3)?;
    let proxy = Clonelove::start_with(quick(&cluster).set("pool", "min_idle", "0"))?;
    wait_eligible(&proxy, "replica1")?;
    request(&proxy)?;
    let marks = cluster
        .servers()
        .map(|server| {
            server.general_log(true)?;
            server.general_log_mark()
        })
        .collect::<Result<Vec<_>>>()?;
    let mut before = Vec::new();
    for number in 0..3 {
        let create = format!("CREATE TABLE made{number} (id INT PRIMARY KEY)");
        drupal(&proxy)?.query(&create)?;
        before.push(create);
        request(&proxy)?;
    }
    let entries = said(&cluster.primary, marks[0])?;
    let looked = entries.iter().filter(|entry| entry.command == "Init DB" && entry.text == "app").count();
    assert_eq!(looked, 3, "each is asked of the server: {entries:?}");
    let texts: Vec<_> = entries.into_iter().filter(LogEntry::is_statement).map(|entry| entry.text).collect();
    assert_eq!(texts, before, "and nothing but what the clients said");
    for server in cluster.servers() {
        assert_eq!(opened(&proxy, server)?, 1.0, "{}", server.name());
    }
    // The look is one indeed: an idle connection is in that schema still.
    cluster.primary.query("DROP DATABASE app; CREATE TABLE test.made (id INT PRIMARY KEY)")?;
    let mut elsewhere = Connection::open_tcp(&proxy.addr(), APP_USER, APP_PASSWORD, None)?;
    elsewhere.query("CREATE TABLE test.made_too (id INT PRIMARY KEY)")?;
    let error = error_of(client(&proxy))?;
    assert!(matches!(error.code, 1044 | 1049), "{error}");
    Ok(())
}

#[test]
fn two_thousand_idle_clients_share_fifty_connections() -> Result<()> {
    const LIMIT: usize = 50;
    let cluster = uniform(1)?;
    table(&cluster, 3)?;
    let more = format!("max_connections = {LIMIT}");
    let mut config = quick(&cluster).without_servers().set("pool", "queue_timeout", PATIENT);
    for server in cluster.servers() {
        config = config.server(server.name(), &server.address(), &more);
    }
    let proxy = Clonelove::start_with(config)?;
    wait_eligible(&proxy, "replica1")?;
    let mut sessions = at_once(20, |_| {
        let one = |_| {
            let mut session = client(&proxy)?;
            session.query("SET NAMES utf8mb4")?;
            session.query(READS[1])?;
            Ok(session)
        };
        (0..100).map(one).collect::<Result<Vec<_>>>()
    })?;
    assert_eq!(proxy.metric("clonelove_client_connections", &[])?, 2_000.0);
    within_limit(&proxy, &cluster, LIMIT)?;
    // All of them at once.
    sessions.iter_mut().flatten().try_for_each(|session| session.send(READS[0]))?;
    within_limit(&proxy, &cluster, LIMIT)?;
    for session in sessions.iter_mut().flatten() {
        ensure!(session.receive()? == [[Some("1".to_owned())]], "the row");
    }
    within_limit(&proxy, &cluster, LIMIT)?;
    assert_eq!(proxy.metric("clonelove_pool_timeouts_total", &[])?, 0.0);
    assert_eq!(proxy.metric("clonelove_server_connects_total", &["result=\"failed\""])?, 0.0);
    Ok(())
}

fn within_limit(proxy: &Clonelove, cluster: &Cluster, limit: usize) -> Result<()> {
    for server in cluster.servers() {
        let monitors = in_use(proxy, server.name(), "monitor")? as usize;
        let count = threads(server)?.len();
        ensure!(count <= limit, "{}: {count} connections for sessions", server.name());
        let connected = server.query(
            "SELECT COUNT(*) FROM information_schema.processlist WHERE user IN ('app', 'clonelove')",
        )?;
        let connected: usize = connected[0][0].as_deref().unwrap_or_default().parse()?;
        // The monitor may be opening one while it is asked.
        ensure!(connected <= limit + monitors + 2, "{}: {connected} in all", server.name());
    }
    Ok(())
}

#[test]
fn a_kill_between_statements_is_not_noticed_on_mariadb() -> Result<()> {
    killed_between(Flavour::MariaDbDistribution)
}

#[test]
fn a_kill_between_statements_is_not_noticed_on_mysql_sid() -> Result<()> {
    if Flavour::MySqlSid.covered()? { killed_between(Flavour::MySqlSid) } else { Ok(()) }
}

fn killed_between(flavour: Flavour) -> Result<()> {
    let cluster = uniform_of(flavour, 1)?;
    table(&cluster, 3)?;
    cluster.primary.query("CREATE TABLE app.n (id INT AUTO_INCREMENT PRIMARY KEY, v INT)")?;
    cluster.wait_caught_up()?;
    let proxy = Clonelove::start_with(quick(&cluster))?;
    wait_eligible(&proxy, "replica1")?;
    let kill = || cluster.servers().try_for_each(|server| kill_connections_of(server, APP_USER));

    // Settings, a variable and the last insert id are on another connection what they were.
    let mut session = drupal(&proxy)?;
    session.query("SET @own = 7")?;
    session.query("INSERT INTO n (v) VALUES (1), (2)")?;
    let mut id = value(&mut session, "SELECT LAST_INSERT_ID()")?;
    for _ in 0..3 {
        kill()?;
        let text = "SELECT CONCAT(@own, ' ', LAST_INSERT_ID(), ' ', @@session.tx_isolation)";
        let text = if flavour == Flavour::MySqlSid {
            text.replace("tx_isolation", "transaction_isolation")
        } else {
            text.to_owned()
        };
        assert_eq!(value(&mut session, &text)?, format!("7 {id} READ-COMMITTED"));
        kill()?;
        session.query("INSERT INTO n (id, v) VALUES (NULL, LAST_INSERT_ID())")?;
        session.query("UPDATE t SET v = v + 1 WHERE id = 1")?;
        kill()?;
        // That made an id of its own.
        id = value(&mut session, "SELECT MAX(id) FROM n FOR UPDATE")?;
    }
    assert_eq!(cluster.primary.value("SELECT v FROM app.t WHERE id = 1")?, "4");

    // Where something lived on the connection, the client is told, once, and disconnected.
    let lost: [&[&str]; 4] = [
        &["START TRANSACTION", "UPDATE t SET v = 0"],
        &["CREATE TEMPORARY TABLE own (a INT)"],
        &["SET autocommit = 0", "UPDATE t SET v = 0"],
        &["SELECT GET_LOCK('own', 0)"],
    ];
    for statements in lost {
        let mut session = drupal(&proxy)?;
        statements.iter().try_for_each(|sql| session.query(sql).map(drop))?;
        kill()?;
        let error = error_of(session.query("UPDATE t SET v = 9"))?;
        assert_eq!(error.code, 1927, "{statements:?}: {error}");
        assert!(session.is_closed()?, "{statements:?}");
    }
    // So it is with warnings, if it is they that are asked for.
    for warns in ["SELECT CAST('x' AS SIGNED) FROM t", "INSERT IGNORE INTO t VALUES (1, 1)"] {
        let mut session = drupal(&proxy)?;
        session.query("SET sql_mode = ''")?;
        session.query(warns)?;
        kill()?;
        session.query("UPDATE t SET v = v")?;
        session.query(warns)?;
        kill()?;
        let error = error_of(session.query("SHOW WARNINGS"))?;
        assert_eq!(error.code, 1927, "{warns}: {error}");
        assert!(session.is_closed()?, "{warns}");
    }
    // A generated id that only the lost connection knew is never answered with an older one.
    let mut session = drupal(&proxy)?;
    session.query("SET sql_mode = ''")?;
    session.query("INSERT IGNORE INTO n (v) VALUES ('x')")?;
    kill()?;
    let error = error_of(session.query("UPDATE t SET v = v"))?;
    assert_eq!(error.code, 1927, "{error}");
    assert_eq!(cluster.primary.value("SELECT v FROM app.t WHERE id = 1")?, "4");
    Ok(())
}

#[test]
fn connections_that_the_server_closed_are_found_out_without_asking_on_mariadb() -> Result<()> {
    closed_by_the_server(Flavour::MariaDbDistribution)
}

#[test]
fn connections_that_the_server_closed_are_found_out_without_asking_on_mysql_sid() -> Result<()> {
    if Flavour::MySqlSid.covered()? { closed_by_the_server(Flavour::MySqlSid) } else { Ok(()) }
}

/// MySQL says why (4031) before it closes: bytes that nobody asked for.
fn closed_by_the_server(flavour: Flavour) -> Result<()> {
    let cluster = uniform_of(flavour, 1)?;
    table(&cluster, 1)?;
    cluster.servers().try_for_each(|server| server.query("SET GLOBAL wait_timeout = 1").map(drop))?;
    let proxy = Clonelove::start_with(quick(&cluster).set("pool", "min_idle", "0"))?;
    wait_eligible(&proxy, "replica1")?;
    let mut session = drupal(&proxy)?;
    for round in 2..4 {
        session.query("UPDATE t SET v = v + 1")?;
        cluster.wait_caught_up()?;
        assert_eq!(value(&mut session, "SELECT v FROM t")?, round.to_string());
        for server in cluster.servers() {
            wait_threads(server, "the server to close what is idle", <[String]>::is_empty)?;
            // It is gone from the list a little before its end arrives here.
            wait_until("the end to be found", DEFAULT_TIMEOUT, || {
                Ok::<_, anyhow::Error>(in_use(&proxy, server.name(), "idle")? == 0.0)
            })?;
        }
    }
    assert_eq!(retries(&proxy, "server_lost")?, 0.0);
    assert_eq!(proxy.metric("clonelove_server_errors_total", &["fault=\"server_lost\""])?, 0.0);
    Ok(())
}

#[test]
fn whoever_came_first_gets_a_connection_first() -> Result<()> {
    let cluster = uniform(0)?;
    table(&cluster, 1)?;
    let config = quick(&cluster).without_servers().set("pool", "queue_timeout", PATIENT).server(
        "primary",
        &cluster.primary.address(),
        "max_connections = 1",
    );
    let proxy = Clonelove::start_with(config)?;
    let mut holder = client(&proxy)?;
    let mut sessions = (0..6).map(|_| client(&proxy)).collect::<Result<Vec<_>>>()?;
    holder.query("START TRANSACTION")?;
    cluster.primary.general_log(true)?;
    let mark = cluster.primary.general_log_mark()?;
    let text = |number: usize| format!("UPDATE t SET v = {number}");
    for (number, session) in sessions.iter_mut().enumerate() {
        session.send(&text(number))?;
        wait_waiting(&proxy, "primary", number as f64 + 1.0)?;
    }
    holder.query("COMMIT")?;
    sessions.iter_mut().try_for_each(|session| session.receive().map(drop))?;
    let entries = said(&cluster.primary, mark)?;
    let updates: Vec<&str> =
        entries.iter().map(|entry| &*entry.text).filter(|text| text.starts_with("UPDATE")).collect();
    assert_eq!(updates, (0..6).map(text).collect::<Vec<_>>());
    let threads: std::collections::BTreeSet<u64> = entries.iter().map(|entry| entry.thread).collect();
    assert_eq!(threads.len(), 1, "all on the one connection");
    Ok(())
}

fn wait_waiting(proxy: &Clonelove, server: &str, count: f64) -> Result<()> {
    wait_until(&format!("{count} to wait for a connection"), DEFAULT_TIMEOUT, || {
        let now = proxy.metric("clonelove_pool_waiting", &[&format!("server=\"{server}\"")])?;
        if now == count { Ok(true) } else { bail!("{now} wait") }
    })
}

#[test]
fn the_limit_of_a_server_is_kept_under_load_on_mariadb() -> Result<()> {
    limit_is_kept(Flavour::MariaDbDistribution)
}

#[test]
fn the_limit_of_a_server_is_kept_under_load_on_mysql_sid() -> Result<()> {
    if Flavour::MySqlSid.covered()? { limit_is_kept(Flavour::MySqlSid) } else { Ok(()) }
}

/// The servers themselves refuse one connection more, so that the client would see it.
fn limit_is_kept(flavour: Flavour) -> Result<()> {
    const LIMIT: usize = 4;
    let cluster = uniform_of(flavour, 1)?;
    table(&cluster, 8)?;
    cluster.primary.query(&format!("ALTER USER '{APP_USER}'@'%' WITH MAX_USER_CONNECTIONS {LIMIT}"))?;
    cluster.wait_caught_up()?;
    let mut config = quick(&cluster).without_servers().set("pool", "queue_timeout", PATIENT);
    for server in cluster.servers() {
        config = config.server(server.name(), &server.address(), &format!("max_connections = {LIMIT}"));
    }
    let proxy = Clonelove::start_with(config)?;
    wait_eligible(&proxy, "replica1")?;
    at_once(4 * LIMIT, |number| {
        let mut session = drupal(&proxy)?;
        for _ in 0..20 {
            session.query(READS[1])?;
            session.query(&format!("UPDATE t SET v = v + 1 WHERE id = {}", number % 8 + 1))?;
            session.query("START TRANSACTION")?;
            session.query(&format!("SELECT v FROM t WHERE id = {}", number % 8 + 1))?;
            session.query("COMMIT")?;
        }
        Ok(())
    })?;
    for server in cluster.servers() {
        ensure!(threads(server)?.len() <= LIMIT);
        assert_eq!(opened(&proxy, server)?, LIMIT as f64, "{}: all of them were of use", server.name());
    }
    assert_eq!(proxy.metric("clonelove_server_connects_total", &["result=\"failed\""])?, 0.0);
    assert_eq!(proxy.metric("clonelove_pool_timeouts_total", &[])?, 0.0);
    assert_eq!(cluster.primary.value("SELECT SUM(v) FROM app.t")?, (36 + 4 * LIMIT * 20).to_string());
    Ok(())
}

#[test]
fn reads_leave_writes_their_share_of_the_primary_and_the_monitor_gets_through() -> Result<()> {
    let cluster = uniform(0)?;
    table(&cluster, 1)?;
    cluster.primary.query("CREATE TABLE app.other (v INT)")?;
    let config = quick(&cluster)
        .without_servers()
        .set("pool", "queue_timeout", PATIENT)
        .set("pool", "write_reserve", "0.2")
        .server("primary", &cluster.primary.address(), "max_connections = 5");
    let proxy = Clonelove::start_with(config)?;
    let (mut writer, mut late) = (client(&proxy)?, client(&proxy)?);
    let mut readers = (0..8).map(|_| client(&proxy)).collect::<Result<Vec<_>>>()?;
    // As long as the table is locked, each read keeps its connection.
    let mut lock = cluster.primary.connect()?;
    lock.query("LOCK TABLES app.t WRITE")?;
    readers.iter_mut().try_for_each(|reader| reader.send(READS[1]))?;
    wait_waiting(&proxy, "primary", 4.0)?;
    assert_eq!(in_use(&proxy, "primary", "busy")?, 4.0);
    for number in 0..3 {
        writer.query(&format!("INSERT INTO other VALUES ({number})"))?;
    }
    // Writes use the reserve, and no more than it.
    writer.query("START TRANSACTION")?;
    late.send("INSERT INTO other VALUES (9)")?;
    wait_waiting(&proxy, "primary", 5.0)?;
    probes_pass(&proxy, &cluster, 3.0)?;
    assert_eq!(said_of(&proxy, "primary")?["state"], "up");
    writer.query("COMMIT")?;
    late.receive()?;
    lock.query("UNLOCK TABLES")?;
    for reader in &mut readers {
        assert_eq!(reader.receive()?, [[Some("1".to_owned())]]);
    }
    wait_waiting(&proxy, "primary", 0.0)?;
    assert_eq!(opened(&proxy, &cluster.primary)?, 5.0);
    Ok(())
}

/// Lets so many connections to the replica come about.
fn several_at_once(proxy: &Clonelove, cluster: &Cluster, count: usize) -> Result<()> {
    let mut sessions = (0..count).map(|_| client(proxy)).collect::<Result<Vec<_>>>()?;
    let replica = &cluster.replicas[0];
    let mut lock = replica.connect()?;
    lock.query("LOCK TABLES app.t WRITE")?;
    sessions.iter_mut().try_for_each(|session| session.send(READS[1]))?;
    wait_threads(replica, "as many connections", |now| now.len() == count)?;
    lock.query("UNLOCK TABLES")?;
    sessions.iter_mut().try_for_each(|session| session.receive().map(drop))?;
    wait_until("them to be idle", DEFAULT_TIMEOUT, || {
        Ok::<_, anyhow::Error>(in_use(proxy, replica.name(), "busy")? == 0.0)
    })
}

#[test]
fn who_says_how_long_it_may_be_idle_is_put_out_alone_on_mariadb() -> Result<()> {
    put_out_alone(Flavour::MariaDbDistribution)
}

#[test]
fn who_says_how_long_it_may_be_idle_is_put_out_alone_on_mysql_sid() -> Result<()> {
    if Flavour::MySqlSid.covered()? { put_out_alone(Flavour::MySqlSid) } else { Ok(()) }
}

/// It is between the client and the proxy: the connection to the server serves others, and hears nothing of it.
fn put_out_alone(flavour: Flavour) -> Result<()> {
    let cluster = uniform_of(flavour, 0)?;
    table(&cluster, 1)?;
    let proxy = Clonelove::start_with(quick(&cluster).set("pool", "min_idle", "0"))?;
    let (mut brief, mut other) = (client(&proxy)?, client(&proxy)?);
    other.query(READS[1])?;
    let before = threads(&cluster.primary)?;
    brief.query("SET SESSION wait_timeout = 1")?;
    assert_eq!(value(&mut brief, "SELECT CONCAT(@@wait_timeout, ' ', COUNT(*)) FROM t")?, "1 1");
    assert!(brief.is_closed()?);
    assert_eq!(value(&mut other, "SELECT COUNT(*) FROM t WHERE @@wait_timeout > 1")?, "1");
    // Had the server heard of it, it would have closed the connection by now.
    assert_eq!(threads(&cluster.primary)?, before, "on the same connection");
    Ok(())
}

#[test]
fn clients_of_other_capabilities_get_other_connections_on_mariadb() -> Result<()> {
    of_other_capabilities(Flavour::MariaDbDistribution)
}

#[test]
fn clients_of_other_capabilities_get_other_connections_on_mysql_sid() -> Result<()> {
    if Flavour::MySqlSid.covered()? { of_other_capabilities(Flavour::MySqlSid) } else { Ok(()) }
}

/// What a server counts, ends its rows with, and takes for one statement, hangs on what its connection began with.
fn of_other_capabilities(flavour: Flavour) -> Result<()> {
    let cluster = uniform_of(flavour, 0)?;
    table(&cluster, 2)?;
    let config = quick(&cluster).without_servers().set("pool", "queue_timeout", PATIENT).server(
        "primary",
        &cluster.primary.address(),
        "max_connections = 1",
    );
    let proxy = Clonelove::start_with(config)?;
    // A server that wants the whole password once has had it then.
    client(&proxy)?.query("DO 1")?;
    let both = |flags| Ok((Peer::direct(&cluster.primary, flags)?, Peer::through(&proxy, flags)?));
    let kinds = [0, FOUND_ROWS, MULTI_STATEMENTS, DEPRECATE_EOF, IGNORE_SPACE];
    let mut pairs = kinds.into_iter().map(both).collect::<Result<Vec<_>>>()?;
    for sql in [
        "UPDATE t SET v = 1 WHERE id = 1",
        "SELECT v FROM t ORDER BY id",
        "SELECT 1; SELECT 2",
        "SELECT COUNT (*) FROM t",
        "SELECT v FROM t ORDER BY id",
    ] {
        for (kind, (direct, through)) in pairs.iter_mut().enumerate() {
            let (wanted, got) = (direct.say(&Say::Query(sql))?, through.say(&Say::Query(sql))?);
            ensure!(got == wanted, "{kind}: {sql}\n{got}\nis not\n{wanted}");
            // An error keeps the connection until the next statement.
            let next = Say::Query("SELECT COUNT(*) FROM t");
            ensure!(through.say(&next)? == direct.say(&next)?, "{kind}: after {sql}");
        }
    }
    Ok(())
}

#[test]
fn a_restart_and_a_change_of_roles_empty_the_pool() -> Result<()> {
    let cluster = uniform(1)?;
    table(&cluster, 1)?;
    let proxy = Clonelove::start_with(quick(&cluster).set("pool", "min_idle", "0"))?;
    wait_eligible(&proxy, "replica1")?;
    let replica = &cluster.replicas[0];
    let mut session = drupal(&proxy)?;
    several_at_once(&proxy, &cluster, 4)?;
    assert_eq!(in_use(&proxy, "replica1", "idle")?, 4.0);
    let errors = proxy.metric("clonelove_server_errors_total", &[])?;

    // A restart: nobody is given a connection from before.
    replica.stop()?;
    replica.start()?;
    wait_until("the old connections to be gone", DEFAULT_TIMEOUT, || {
        Ok::<_, anyhow::Error>(in_use(&proxy, "replica1", "idle")? == 0.0)
    })?;
    wait_eligible(&proxy, "replica1")?;
    session.query(READS[2])?;
    assert_eq!(proxy.metric("clonelove_retries_total", &["cause=\"server_lost\""])?, 0.0);
    ensure!(errors < 1.0, "{errors}");

    // A change of roles: what was opened for reads is not used for writes, and the other way about.
    cluster.wait_caught_up()?;
    session.query("UPDATE t SET v = 5")?;
    cluster.wait_caught_up()?;
    let before = [threads(&cluster.primary)?, threads(replica)?];
    ensure!(before.iter().all(|list| !list.is_empty()), "{before:?}");
    cluster.primary.set_read_only(true)?;
    replica.promote()?;
    cluster.primary.repoint(replica)?;
    wait_until("the new primary", DEFAULT_TIMEOUT, || {
        Ok::<_, anyhow::Error>(proxy.status()?["primary"] == "replica1")
    })?;
    for (server, before) in cluster.servers().zip(&before) {
        let none_left = |now: &[String]| now.iter().all(|thread| !before.contains(thread));
        wait_threads(server, "the connections of the old role to be closed", none_left)?;
    }
    session.query("UPDATE t SET v = 6")?;
    assert_eq!(replica.value("SELECT v FROM app.t")?, "6");
    Ok(())
}

#[test]
fn changed_defaults_of_the_servers_reach_new_clients_on_mariadb() -> Result<()> {
    changed_defaults(Flavour::MariaDbDistribution)
}

#[test]
fn changed_defaults_of_the_servers_reach_new_clients_on_mysql_sid() -> Result<()> {
    if Flavour::MySqlSid.covered()? { changed_defaults(Flavour::MySqlSid) } else { Ok(()) }
}

fn changed_defaults(flavour: Flavour) -> Result<()> {
    let cluster = uniform_of(flavour, 1)?;
    table(&cluster, 1)?;
    let proxy = Clonelove::start_with(quick(&cluster))?;
    wait_eligible(&proxy, "replica1")?;
    several_at_once(&proxy, &cluster, 3)?;
    // Read as a new client reads it, from a replica and from the primary.
    let seen = |name: &str| -> Result<[String; 2]> {
        let read = value(&mut client(&proxy)?, &format!("SELECT CONCAT(@@session.{name}) FROM t"))?;
        let locking = format!("SELECT CONCAT(@@session.{name}) FROM t FOR UPDATE");
        Ok([read, value(&mut client(&proxy)?, &locking)?])
    };
    for (name, wanted) in [("sql_mode", "ANSI_QUOTES"), ("group_concat_max_len", "77"), ("sql_mode", "")] {
        seen(name)?;
        cluster.primary.query(&format!("SET GLOBAL {name} = {}", literal(wanted)))?;
        wait_until("new clients to begin with the new default", DEFAULT_TIMEOUT, || {
            let now = seen(name)?;
            if now == [wanted, wanted] { Ok(true) } else { bail!("{name} is {now:?}") }
        })?;
        for _ in 0..6 {
            assert_eq!(seen(name)?, [wanted, wanted], "{name}");
        }
    }
    Ok(())
}

fn literal(text: &str) -> String {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.to_owned()
    } else {
        format!("'{text}'")
    }
}

#[test]
fn users_and_addresses_for_the_primary_are_not_split() -> Result<()> {
    let cluster = uniform(1)?;
    table(&cluster, 1)?;
    let (whole, port) = (("whole", "whole-password"), Port::reserve()?);
    cluster.primary.query(&format!("CREATE USER '{}'@'%' IDENTIFIED BY '{}'", whole.0, whole.1))?;
    cluster.primary.query(&format!("GRANT ALL PRIVILEGES ON app.* TO '{}'@'%'", whole.0))?;
    cluster.wait_caught_up()?;
    let listen = format!("[{{ address = \"127.0.0.1:{}\", route = \"primary\" }}]", port.number());
    let config =
        quick(&cluster).set("listen", "mysql", &listen).user_with(whole.0, whole.1, "route = \"primary\"");
    let proxy = Clonelove::start_with(config)?;
    wait_eligible(&proxy, "replica1")?;
    let second = format!("127.0.0.1:{}", port.number());
    let mut of_user = Connection::open_tcp(&proxy.addr(), whole.0, whole.1, Some("app"))?;
    let mut of_address = Connection::open_tcp(&second, APP_USER, APP_PASSWORD, Some("app"))?;
    let mut counted = 0.0;
    for session in [&mut of_user, &mut of_address] {
        for sql in [READS[0], READS[1], "START TRANSACTION READ ONLY", READS[0], "COMMIT"] {
            session.query(sql)?;
        }
        assert_eq!(queries(&proxy, "replica1")?, 0.0);
        counted += 2.0;
        assert!(reason(&proxy, "configured")? >= counted);
    }
    assert_eq!(proxy.metric("clonelove_pins", &[])?, 0.0, "they share connections all the same");
    // Others are split as ever.
    client(&proxy)?.query(READS[0])?;
    assert_eq!(queries(&proxy, "replica1")?, 1.0);
    Ok(())
}

#[test]
fn a_log_in_to_no_schema_costs_no_idle_connection_on_mariadb() -> Result<()> {
    no_schema(Flavour::MariaDbDistribution)
}

#[test]
fn a_log_in_to_no_schema_costs_no_idle_connection_on_mysql_sid() -> Result<()> {
    if Flavour::MySqlSid.covered()? { no_schema(Flavour::MySqlSid) } else { Ok(()) }
}

fn no_schema(flavour: Flavour) -> Result<()> {
    let cluster = uniform_of(flavour, 1)?;
    table(&cluster, 1)?;
    let proxy = Clonelove::start_with(quick(&cluster).set("pool", "min_idle", "0"))?;
    wait_eligible(&proxy, "replica1")?;
    request(&proxy)?;
    let before = threads(&cluster.primary)?;
    ensure!(!before.is_empty());
    for name in ["nowhere", "mysql", "no`such"] {
        let refused = Connection::open_tcp(&proxy.addr(), APP_USER, APP_PASSWORD, Some(name));
        let error = error_of(refused)?;
        assert!(matches!(error.code, 1044 | 1049), "{name}: {error}");
    }
    assert_eq!(threads(&cluster.primary)?, before);
    assert_eq!(opened(&proxy, &cluster.primary)?, 1.0);
    // And the state of what is left is known.
    let mut session = drupal(&proxy)?;
    session.query("UPDATE t SET v = 3")?;
    assert_eq!(value(&mut session, "SELECT CONCAT(DATABASE(), \"v\") FROM t FOR UPDATE")?, "app3");
    assert_eq!(threads(&cluster.primary)?, before);
    Ok(())
}

/// Requests of PHP that keep their connection between them, as with PDO::ATTR_PERSISTENT and mysqli's "p:".
const PERSISTENT: &str = r#"
mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
[$port, $user, $password] = array_slice($argv, 1);
$sets = ["SET NAMES utf8mb4 COLLATE utf8mb4_general_ci", "SET sql_mode = 'ANSI,TRADITIONAL'"];
for ($i = 0; $i < 20; $i++) {
    $pdo = new PDO("mysql:host=127.0.0.1;port=$port;dbname=app", $user, $password, [
        PDO::ATTR_PERSISTENT => true, PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION]);
    foreach ($sets as $set) { $pdo->exec($set); }
    $pdo->exec("UPDATE t SET v = v + 1");
    echo $pdo->query('SELECT CONCAT("v", \' \', @@session.sql_mode = \'\') FROM t')->fetchColumn(), "\n";
    $pdo = null;
}
for ($i = 0; $i < 20; $i++) {
    $db = new mysqli('p:127.0.0.1', $user, $password, 'app', (int) $port);
    // What the request before has set is gone.
    echo json_encode($db->query('SELECT @own, DATABASE()')->fetch_row()), "\n";
    foreach ($sets as $set) { $db->query($set); }
    $db->query("SET @own = $i");
    $db->query("CREATE TEMPORARY TABLE kept (a INT)");
    $db->query("UPDATE t SET v = v + 1");
    echo $db->query('SELECT CONCAT("v", \' \', @own) FROM t')->fetch_row()[0], "\n";
    $db->close();
}
"#;

#[test]
fn persistent_connections_of_php_work_on_mariadb() -> Result<()> {
    persistent(Flavour::MariaDbDistribution)
}

#[test]
fn persistent_connections_of_php_work_on_mysql_sid() -> Result<()> {
    if Flavour::MySqlSid.covered()? { persistent(Flavour::MySqlSid) } else { Ok(()) }
}

fn persistent(flavour: Flavour) -> Result<()> {
    let cluster = uniform_of(flavour, 1)?;
    table(&cluster, 1)?;
    let proxy = Clonelove::start_with(quick(&cluster).set("routing", "fresh_wait", "\"30s\""))?;
    wait_eligible(&proxy, "replica1")?;
    let run = |port: u16| -> Result<String> {
        cluster.primary.query("UPDATE app.t SET v = 1")?;
        cluster.wait_caught_up()?;
        let mut php = Command::new("php");
        php.arg("-n").args(php_extensions()?).args(["-r", PERSISTENT, "--"]);
        php.args([&port.to_string(), APP_USER, APP_PASSWORD]);
        let output = php.output().context("php: run `cargo xtask setup`")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success() && complaint.is_empty(), "{}: {text}{complaint}", output.status);
        Ok(text)
    };
    let expected = run(cluster.primary.port())?;
    assert_eq!(run(proxy.port())?, expected);
    assert_eq!(expected.lines().count(), 60, "{expected}");
    assert_eq!(proxy.metric("clonelove_client_connections_total", &[])?, 2.0, "one for each extension");
    // The temporary tables ended with their requests, and with them the pins.
    wait_until("the pins to end", DEFAULT_TIMEOUT, || {
        Ok::<_, anyhow::Error>(proxy.metric("clonelove_pins", &[])? == 0.0)
    })?;
    assert!(queries(&proxy, "replica1")? >= 20.0);
    Ok(())
}
