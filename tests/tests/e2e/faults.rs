//! What clients notice when servers die, freeze, come back, or lose single connections: nothing, where that can be
//! done; else one clear error.
#![expect(clippy::indexing_slicing, reason = "helpers of tests may fail as tests do")]

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Context, Result, bail, ensure};
use clonelove_testkit::{
    APP_PASSWORD, APP_USER, Clonelove, Cluster, ClusterOptions, Config, Connection, DEFAULT_TIMEOUT, Flavour,
    Port, Server, wait_until,
};
use parking_lot::Mutex;

use crate::support::{
    client, direct, error_of, impatient, kill_connections_of, queries, quick, reason, retries, said_of,
    table, uniform, uniform_of, value, wait_eligible, wait_said,
};

const ROWS: u32 = 20;

/// Readers that work while a test breaks things, each with a new connection for every few reads, as PHP does.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    done: AtomicU64,
    faults: Mutex<Vec<String>>,
}

impl Load {
    /// Runs `test` under the load of `readers` threads; fails when one of them saw an error or a wrong row.
    fn during(proxy: &Clonelove, readers: u32, test: impl FnOnce(&Load) -> Result<()>) -> Result<()> {
        let load = Load::default();
        let outcome = std::thread::scope(|scope| {
            for reader in 0..readers {
                let load = &load;
                scope.spawn(move || {
                    while !load.stop.load(Ordering::Relaxed) {
                        if let Err(error) = load.read(proxy, reader) {
                            load.faults.lock().push(format!("{error:#}"));
                        }
                    }
                });
            }
            let outcome = test(&load);
            load.stop.store(true, Ordering::Relaxed);
            outcome
        });
        let faults = load.faults.into_inner();
        ensure!(
            faults.is_empty(),
            "{} errors of {} reads: {:#?}",
            faults.len(),
            load.done.into_inner(),
            faults
        );
        outcome
    }

    fn read(&self, proxy: &Clonelove, reader: u32) -> Result<()> {
        let mut session = client(proxy)?;
        for at in 0..10 {
            let id = (reader * 7 + at) % ROWS + 1;
            let sql = format!("SELECT v FROM t WHERE id = {id}");
            let got = value(&mut session, &sql)?;
            ensure!(got == id.to_string(), "{sql} gave {got}");
            self.done.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Waits until the readers have done so many more.
    fn go_on(&self, more: u64) -> Result<()> {
        let before = self.done.load(Ordering::Relaxed);
        let what = format!("{more} more reads ({:?})", self.faults.lock().first());
        wait_until(&what, DEFAULT_TIMEOUT, || self.done.load(Ordering::Relaxed) >= before + more)
    }
}

/// The one server among these on which something is under way.
fn busy<'a>(proxy: &Clonelove, servers: &'a [Server]) -> Result<&'a Server> {
    wait_until("a server to have something in flight", DEFAULT_TIMEOUT, || {
        let is_busy =
            |server: &&Server| said_of(proxy, server.name()).is_ok_and(|said| said["in_flight"] == 1);
        servers.iter().find(is_busy)
    })
}

/// Waits until a server, back again, answers reads of new clients.
fn wait_serves(proxy: &Clonelove, server: &str) -> Result<()> {
    wait_eligible(proxy, server)?;
    let before = queries(proxy, server)?;
    wait_until(&format!("{server} to serve again"), DEFAULT_TIMEOUT, || {
        value(&mut client(proxy)?, "SELECT COUNT(*) FROM t")?;
        Ok::<_, anyhow::Error>(queries(proxy, server)? > before)
    })
}

#[test]
fn a_replica_killed_under_read_load_is_not_noticed_and_comes_back_by_itself() -> Result<()> {
    let cluster = uniform(2)?;
    table(&cluster, ROWS)?;
    let proxy = Clonelove::start_with(quick(&cluster))?;
    wait_eligible(&proxy, "replica1")?;
    wait_eligible(&proxy, "replica2")?;
    Load::during(&proxy, 6, |load| {
        for replica in &cluster.replicas {
            load.go_on(100)?;
            replica.kill9()?;
            load.go_on(100)?;
            wait_said(&proxy, replica.name(), "state", "down")?;
            load.go_on(100)?;
            replica.start()?;
            wait_serves(&proxy, replica.name())?;
        }
        load.go_on(100)
    })?;
    assert_eq!(proxy.metric("clonelove_panics_total", &[])?, 0.0);
    Ok(())
}

#[test]
fn a_reply_already_begun_ends_in_an_error_and_never_looks_whole() -> Result<()> {
    let cluster = uniform(2)?;
    cluster.primary.query("CREATE TABLE app.large (a INT PRIMARY KEY, b LONGTEXT)")?;
    for a in 0..20 {
        cluster.primary.query(&format!("INSERT INTO app.large VALUES ({a}, REPEAT('x', 4000000))"))?;
    }
    cluster.wait_caught_up()?;
    let proxy = Clonelove::start_with(quick(&cluster))?;
    wait_eligible(&proxy, "replica1")?;
    let mut session = client(&proxy)?;
    session.send("SELECT b FROM large")?;
    // The number of columns, the column, the end of the columns.
    for _ in 0..3 {
        session.receive_packet()?;
    }
    let server = busy(&proxy, &cluster.replicas)?;
    server.kill9()?;
    let mut rows = 0;
    let end = loop {
        match session.receive_packet() {
            Ok(packet) if packet.first() == Some(&0xff) => break packet,
            Ok(packet) if packet.first() == Some(&0xfe) && packet.len() < 9 => {
                bail!("the reply looks whole after {rows} rows")
            }
            Ok(_) => rows += 1,
            // The reply broke off within a row, where no error packet can be sent.
            Err(_) => return Ok(()),
        }
    };
    assert_eq!(u16::from_le_bytes([end[1], end[2]]), 1927);
    assert!(session.is_closed()?);
    Ok(())
}

#[test]
fn a_read_only_transaction_on_a_replica_that_dies_gets_the_error_and_the_end() -> Result<()> {
    let cluster = uniform(2)?;
    table(&cluster, ROWS)?;
    let proxy = Clonelove::start_with(quick(&cluster))?;
    wait_eligible(&proxy, "replica1")?;
    wait_eligible(&proxy, "replica2")?;
    let mut session = client(&proxy)?;
    session.query("START TRANSACTION READ ONLY")?;
    assert_eq!(value(&mut session, "SELECT v FROM t WHERE id = 3")?, "3");
    let served = |server: &&Server| queries(&proxy, server.name()).is_ok_and(|count| count > 0.0);
    let server = cluster.replicas.iter().find(served).context("no replica served the transaction")?;
    server.kill9()?;
    let error = error_of(session.query("SELECT v FROM t WHERE id = 4"))?;
    assert_eq!(error.code, 1927, "{error}");
    assert!(error.message.contains(server.name()), "{error}");
    assert!(session.is_closed()?);
    Ok(())
}

#[test]
fn a_frozen_replica_loses_its_reads_to_others_once_it_is_declared_down() -> Result<()> {
    let cluster = uniform(2)?;
    table(&cluster, ROWS)?;
    let proxy = Clonelove::start_with(impatient(quick(&cluster)))?;
    wait_eligible(&proxy, "replica1")?;
    wait_eligible(&proxy, "replica2")?;
    let mut in_flight = client(&proxy)?;
    in_flight.send("SELECT SLEEP(4), 'all the same'")?;
    let frozen = busy(&proxy, &cluster.replicas)?;
    Load::during(&proxy, 6, |load| {
        load.go_on(100)?;
        frozen.freeze()?;
        wait_said(&proxy, frozen.name(), "state", "down")?;
        load.go_on(100)?;
        assert_eq!(in_flight.receive()?[0][1].as_deref(), Some("all the same"));
        assert!(retries(&proxy, "frozen")? >= 1.0);
        frozen.thaw()?;
        wait_serves(&proxy, frozen.name())?;
        load.go_on(100)
    })
}

#[test]
fn a_session_with_new_settings_leaves_a_frozen_replica() -> Result<()> {
    let cluster = uniform(2)?;
    table(&cluster, ROWS)?;
    let proxy = Clonelove::start_with(impatient(quick(&cluster)))?;
    wait_eligible(&proxy, "replica1")?;
    wait_eligible(&proxy, "replica2")?;
    let mut session = client(&proxy)?;
    value(&mut session, "SELECT v FROM t WHERE id = 1")?;
    let served = |server: &&Server| queries(&proxy, server.name()).is_ok_and(|count| count > 0.0);
    let frozen = cluster.replicas.iter().find(served).context("no replica served")?;
    session.query("SET @x = 5, sql_mode = 'ANSI'")?;
    frozen.freeze()?;
    assert_eq!(value(&mut session, "SELECT v FROM t WHERE id = @x")?, "5");
    frozen.thaw()?;
    Ok(())
}

#[test]
fn with_the_primary_killed_reads_go_on_and_writes_fail_at_once_until_it_is_back() -> Result<()> {
    primary_killed(Flavour::MariaDbDistribution)
}

#[test]
fn with_the_primary_killed_reads_go_on_and_writes_fail_at_once_until_it_is_back_mysql_sid() -> Result<()> {
    if Flavour::MySqlSid.covered()? { primary_killed(Flavour::MySqlSid) } else { Ok(()) }
}

fn primary_killed(flavour: Flavour) -> Result<()> {
    let cluster = uniform_of(flavour, 2)?;
    table(&cluster, ROWS)?;
    let proxy = Clonelove::start_with(quick(&cluster))?;
    wait_eligible(&proxy, "replica1")?;
    wait_eligible(&proxy, "replica2")?;
    let mut writer = client(&proxy)?;
    writer.query("INSERT INTO t VALUES (1000, 1)")?;
    cluster.wait_caught_up()?;
    let version = writer.version().to_owned();
    Load::during(&proxy, 4, |load| {
        load.go_on(50)?;
        cluster.primary.kill9()?;
        // At once: whether the probe has noticed yet or not.
        refused_by_name(&mut writer)?;
        load.go_on(50)?;
        wait_said(&proxy, "primary", "state", "down")?;
        refused_by_name(&mut writer)?;
        refused_by_name(&mut client(&proxy)?)?;
        load.go_on(50)?;
        drupal_reads(&proxy, &version)?;
        cluster.primary.start()?;
        wait_said(&proxy, "primary", "state", "up")?;
        let again = "INSERT INTO t VALUES (1001, 1)";
        wait_until("writes to work again", DEFAULT_TIMEOUT, || writer.query(again).map(|_| true))?;
        load.go_on(50)
    })?;
    let rows = direct(&cluster.primary)?.query("SELECT id FROM t WHERE id >= 1000 ORDER BY id")?;
    assert_eq!(rows, [[Some("1000".to_owned())], [Some("1001".to_owned())]]);
    Ok(())
}

fn refused_by_name(writer: &mut Connection) -> Result<()> {
    let error = error_of(writer.query("INSERT INTO t VALUES (2000, 1)"))?;
    ensure!((error.code, error.state.as_str()) == (1836, "HY000"), "{error}");
    ensure!(error.message.starts_with("clonelove: ") && error.message.contains("primary"), "{error}");
    Ok(())
}

/// What Drupal sends before its first read, on a connection that names its schema in the handshake.
fn drupal_reads(proxy: &Clonelove, version: &str) -> Result<()> {
    let mut session = client(proxy)?;
    ensure!(session.version() == version, "the greeting says {}", session.version());
    session.query("SET NAMES utf8mb4")?;
    session.query("SET sql_mode = 'ANSI,TRADITIONAL'")?;
    session.query("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")?;
    ensure!(value(&mut session, "SELECT \"v\" FROM \"t\" WHERE \"id\" = 3")? == "3");
    Ok(())
}

#[test]
fn the_greeting_is_the_primarys_and_stays_so_while_it_is_gone() -> Result<()> {
    let replica_extra = vec!["--character-set-server=latin1".to_owned()];
    let options = ClusterOptions { replicas: 1, replica_extra, ..ClusterOptions::default() };
    let cluster = Cluster::start(Flavour::MariaDbDistribution, options)?;
    let greeting = |session: &Connection| (session.version().to_owned(), session.charset());
    let (primarys, replicas) =
        (greeting(&direct(&cluster.primary)?), greeting(&direct(&cluster.replicas[0])?));
    assert!(primarys.0 != replicas.0 && primarys.1 != replicas.1, "{primarys:?}, {replicas:?}");
    let proxy = Clonelove::start_with(quick(&cluster))?;
    wait_eligible(&proxy, "replica1")?;
    assert_eq!(greeting(&client(&proxy)?), primarys);
    cluster.primary.kill9()?;
    wait_said(&proxy, "primary", "state", "down")?;
    assert_eq!(greeting(&client(&proxy)?), primarys);
    Ok(())
}

#[test]
fn with_the_primary_gone_unknown_schemas_are_still_unknown() -> Result<()> {
    let cluster = uniform(1)?;
    let proxy = Clonelove::start_with(quick(&cluster))?;
    wait_eligible(&proxy, "replica1")?;
    cluster.primary.kill9()?;
    wait_said(&proxy, "primary", "state", "down")?;
    let error = error_of(Connection::open_tcp(&proxy.addr(), APP_USER, APP_PASSWORD, Some("nowhere")))?;
    assert!(matches!(error.code, 1044 | 1049), "{error}");
    Ok(())
}

#[test]
fn a_backend_lost_inside_a_transaction_ends_the_client() -> Result<()> {
    let cluster = uniform(1)?;
    table(&cluster, ROWS)?;
    let proxy = Clonelove::start_with(quick(&cluster))?;
    wait_eligible(&proxy, "replica1")?;

    // Killed between two statements: the third must not be executed in autocommit.
    let mut session = client(&proxy)?;
    session.query("START TRANSACTION")?;
    session.query("INSERT INTO t VALUES (500, 1)")?;
    assert!(session.in_transaction());
    kill_connections_of(&cluster.primary, APP_USER)?;
    let error = error_of(session.query("INSERT INTO t VALUES (501, 1)"))?;
    assert_eq!((error.code, error.state.as_str()), (1927, "70100"), "{error}");
    assert!(error.message.contains("Lost connection to MySQL server during query"), "{error}");
    assert!(error.message.contains("primary"), "{error}");
    assert!(session.is_closed()?);

    // Killed within a statement, with its server.
    let mut session = client(&proxy)?;
    session.query("START TRANSACTION")?;
    session.query("INSERT INTO t VALUES (502, 1)")?;
    session.send("UPDATE t SET v = SLEEP(20) WHERE id = 502")?;
    busy(&proxy, std::slice::from_ref(&cluster.primary))?;
    cluster.primary.kill9()?;
    let error = error_of(session.receive())?;
    assert_eq!(error.code, 1927, "{error}");
    assert!(session.is_closed()?);

    cluster.primary.start()?;
    assert_eq!(cluster.primary.value("SELECT COUNT(*) FROM app.t WHERE id >= 500")?, "0");
    Ok(())
}

#[test]
fn killed_connections_of_unpinned_sessions_are_not_noticed() -> Result<()> {
    let cluster = uniform(1)?;
    table(&cluster, ROWS)?;
    let proxy = Clonelove::start_with(quick(&cluster))?;
    wait_eligible(&proxy, "replica1")?;
    let mut session = client(&proxy)?;
    session.query("SET @x = 7")?;
    session.query("UPDATE t SET v = v + 1 WHERE id = 7")?;
    cluster.wait_caught_up()?;
    assert_eq!(value(&mut session, "SELECT v FROM t WHERE id = @x")?, "8");
    for server in cluster.servers() {
        kill_connections_of(server, APP_USER)?;
    }
    assert_eq!(value(&mut session, "SELECT v FROM t WHERE id = @x")?, "8");
    session.query("UPDATE t SET v = v + 1 WHERE id = @x")?;
    assert_eq!(cluster.primary.value("SELECT v FROM app.t WHERE id = 7")?, "9");
    Ok(())
}

#[test]
fn a_killed_connection_of_a_pinned_session_is_told_once() -> Result<()> {
    let cluster = uniform(1)?;
    let proxy = Clonelove::start_with(quick(&cluster))?;
    let mut session = client(&proxy)?;
    session.query("CREATE TEMPORARY TABLE own (a INT)")?;
    kill_connections_of(&cluster.primary, APP_USER)?;
    let error = error_of(session.query("INSERT INTO own VALUES (1)"))?;
    assert_eq!(error.code, 1927, "{error}");
    assert!(session.is_closed()?);
    Ok(())
}

#[test]
fn with_all_replicas_out_the_primary_answers_until_one_is_back() -> Result<()> {
    let cluster = uniform(2)?;
    table(&cluster, ROWS)?;
    let proxy = Clonelove::start_with(quick(&cluster))?;
    wait_eligible(&proxy, "replica1")?;
    wait_eligible(&proxy, "replica2")?;
    Load::during(&proxy, 4, |load| {
        load.go_on(50)?;
        cluster.replicas[0].kill9()?;
        cluster.replicas[1].kill9()?;
        load.go_on(50)?;
        wait_said(&proxy, "replica1", "state", "down")?;
        wait_said(&proxy, "replica2", "state", "down")?;
        let before = reason(&proxy, "no_replica")?;
        load.go_on(50)?;
        assert!(reason(&proxy, "no_replica")? > before);
        cluster.replicas[1].start()?;
        wait_serves(&proxy, "replica2")?;
        load.go_on(50)
    })
}

#[test]
fn a_slow_read_on_a_healthy_replica_is_left_alone() -> Result<()> {
    let cluster = uniform(2)?;
    let proxy = Clonelove::start_with(quick(&cluster).set("monitor", "timeout", "\"200ms\""))?;
    wait_eligible(&proxy, "replica1")?;
    wait_eligible(&proxy, "replica2")?;
    let mut session = client(&proxy)?;
    assert_eq!(value(&mut session, "SELECT SLEEP(5)")?, "0");
    for cause in ["server_lost", "frozen"] {
        assert_eq!(retries(&proxy, cause)?, 0.0, "{cause}");
    }
    assert_eq!(queries(&proxy, "replica1")? + queries(&proxy, "replica2")?, 1.0);
    Ok(())
}

#[test]
fn with_no_server_ever_reached_the_greeting_is_an_error_that_names_each() -> Result<()> {
    let ports = [Port::reserve()?, Port::reserve()?];
    let [one, other] = ports.each_ref().map(|port| format!("127.0.0.1:{}", port.number()));
    let config = Config::default()
        .set("monitor", "user", "\"m\"")
        .set("monitor", "password", "\"p\"")
        .user(APP_USER, APP_PASSWORD)
        .server("east", &one, "")
        .server("west", &other, "");
    let proxy = Clonelove::spawn(config)?;
    let error = error_of(client(&proxy))?;
    assert_eq!((error.code, error.state.as_str()), (1053, ""), "{error}");
    for words in ["clonelove: ", "server east: ", "server west: ", "refused"] {
        assert!(error.message.contains(words), "{words} is not in: {error}");
    }
    assert_eq!(proxy.http_get("/readyz")?.status, 503);
    Ok(())
}

#[test]
fn too_many_clients_are_told_so() -> Result<()> {
    let cluster = uniform(0)?;
    let proxy = Clonelove::start_with(quick(&cluster).set("limits", "client_connections", "3"))?;
    let held = [client(&proxy)?, client(&proxy)?, client(&proxy)?];
    let error = error_of(client(&proxy))?;
    assert_eq!(error.code, 1040, "{error}");
    assert!(error.message.contains("limits.client_connections"), "{error}");
    let counted = ["fault=\"limit\""];
    assert_eq!(proxy.metric("clonelove_client_connections_refused_total", &counted)?, 1.0);
    drop(held);
    wait_until("a place to become free", DEFAULT_TIMEOUT, || client(&proxy).map(|_| true))
}

#[test]
fn too_many_connections_of_a_user_are_told_so() -> Result<()> {
    let cluster = uniform(0)?;
    let config = quick(&cluster).user_with("other", "other-password", "max_connections = 2");
    let proxy = Clonelove::start_with(config)?;
    let open = || Connection::open_tcp(&proxy.addr(), "other", "other-password", None);
    let held = [open()?, open()?];
    let error = error_of(open())?;
    assert_eq!((error.code, error.state.as_str()), (1040, "08004"), "{error}");
    client(&proxy)?;
    drop(held);
    wait_until("a place to become free", DEFAULT_TIMEOUT, || open().map(|_| true))
}

#[test]
fn a_session_that_gets_no_connection_in_time_is_told_so() -> Result<()> {
    let cluster = uniform(0)?;
    let config = quick(&cluster).without_servers().set("pool", "queue_timeout", "\"300ms\"").server(
        "primary",
        &cluster.primary.address(),
        "max_connections = 1",
    );
    let proxy = Clonelove::start_with(config)?;
    let open = || Connection::open_tcp(&proxy.addr(), APP_USER, APP_PASSWORD, None);
    let (mut first, mut second) = (open()?, open()?);
    first.query("START TRANSACTION")?;
    let error = error_of(second.query("CREATE TABLE app.late (a INT)"))?;
    assert_eq!((error.code, error.state.as_str()), (1203, "42000"), "{error}");
    assert!(error.message.contains("primary"), "{error}");
    assert_eq!(reason(&proxy, "queue_timeout")?, 1.0);
    assert_eq!(proxy.metric("clonelove_pool_timeouts_total", &["server=\"primary\""])?, 1.0);
    drop(first);
    wait_until("the connection to become free", DEFAULT_TIMEOUT, || {
        second.query("CREATE TABLE app.late (a INT)").map(|_| true)
    })
}

#[test]
fn without_descriptors_accepting_waits_and_goes_on_later() -> Result<()> {
    let cluster = uniform(0)?;
    let proxy = Clonelove::start(&cluster)?;
    client(&proxy)?;
    let descriptors = proxy.process().open_fds()?;
    limit_descriptors(&proxy, descriptors)?;
    let waiting = (0..4).map(|_| TcpStream::connect(proxy.addr())).collect::<Result<Vec<_>, _>>()?;
    wait_until("the log to tell", DEFAULT_TIMEOUT, || proxy.log().contains("cannot accept; trying again"))?;
    limit_descriptors(&proxy, 10_000)?;
    wait_until("clients to be accepted again", DEFAULT_TIMEOUT, || client(&proxy).map(|_| true))?;
    let told = proxy.log().matches("cannot accept; trying again").count();
    assert!(told < 30, "{told} lines about accepting in a moment");
    drop(waiting);
    Ok(())
}

fn limit_descriptors(proxy: &Clonelove, limit: usize) -> Result<()> {
    let pid = proxy.process().pid().to_string();
    let limit = format!("--nofile={limit}:");
    let status = std::process::Command::new("prlimit").args(["--pid", &pid, &limit]).status()?;
    ensure!(status.success(), "prlimit: {status}");
    Ok(())
}
