//! Who is primary, who may serve reads, and why not: roles found out, failover, conflicts, weights, drain.
#![expect(clippy::indexing_slicing, reason = "helpers of tests may fail as tests do")]

use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clonelove_testkit::{
    APP_PASSWORD, APP_USER, Clonelove, Cluster, Connection, DEFAULT_TIMEOUT, Flavour, Server, wait_until,
};

use crate::support::{
    Held, blind, client, direct, error_of, queries, quick, reason, retries, said_of, table, uniform,
    uniform_of, unwaiting, value, wait_eligible, wait_out, wait_said,
};

#[test]
fn roles_are_found_out_and_told() -> Result<()> {
    let cluster = uniform(2)?;
    let proxy = Clonelove::start_with(quick(&cluster))?;
    wait_eligible(&proxy, "replica1")?;
    wait_eligible(&proxy, "replica2")?;
    let status = proxy.status()?;
    assert_eq!((status["primary"].as_str(), status["epoch"].as_u64()), (Some("primary"), Some(1)));
    for (name, role) in [("primary", "primary"), ("replica1", "replica"), ("replica2", "replica")] {
        let said = said_of(&proxy, name)?;
        assert_eq!((said["role"].as_str(), said["state"].as_str()), (Some(role), Some("up")), "{said}");
        let labels = [format!("server=\"{name}\""), format!("role=\"{role}\"")];
        assert_eq!(proxy.metric("clonelove_server_role", &[&labels[0], &labels[1]])?, 1.0);
        assert_eq!(proxy.metric("clonelove_server_role", &[&labels[0]])?, 1.0, "exactly one role is 1");
    }
    assert_eq!(said_of(&proxy, "primary")?["why"], "is the primary");
    Ok(())
}

/// A write that the proxy acknowledges; tells on which server it arrived.
fn write_lands_on<'a>(session: &mut Connection, cluster: &'a Cluster, id: u32) -> Result<&'a str> {
    session.query(&format!("INSERT INTO t VALUES ({id}, 0)"))?;
    let sql = format!("SELECT COUNT(*) FROM app.t WHERE id = {id}");
    for server in cluster.servers() {
        // A server that is down has not got it.
        if server.value("SELECT @@global.read_only").is_ok_and(|read_only| read_only == "0")
            && server.value(&sql)? == "1"
        {
            return Ok(server.name());
        }
    }
    bail!("no writable server has row {id}")
}

#[test]
fn after_a_failover_writes_go_to_the_promoted_replica_and_never_to_the_old_primary() -> Result<()> {
    failover(Flavour::MariaDbDistribution)
}

#[test]
fn after_a_failover_writes_go_to_the_promoted_replica_and_never_to_the_old_primary_mysql_sid() -> Result<()> {
    if Flavour::MySqlSid.covered()? { failover(Flavour::MySqlSid) } else { Ok(()) }
}

fn failover(flavour: Flavour) -> Result<()> {
    let cluster = uniform_of(flavour, 2)?;
    table(&cluster, 5)?;
    let proxy = Clonelove::start_with(quick(&cluster))?;
    wait_eligible(&proxy, "replica1")?;
    wait_eligible(&proxy, "replica2")?;
    let mut session = client(&proxy)?;
    assert_eq!(write_lands_on(&mut session, &cluster, 100)?, "primary");
    cluster.wait_caught_up()?;
    let epoch = proxy.metric("clonelove_epoch", &[])?;

    let [new, other] = &cluster.replicas[..] else { bail!("two replicas were asked for") };
    cluster.primary.kill9()?;
    wait_said(&proxy, "primary", "state", "down")?;
    new.promote()?;
    other.repoint(new)?;
    wait_until("the promotion to be noticed", DEFAULT_TIMEOUT, || {
        Ok::<_, anyhow::Error>(proxy.status()?["primary"] == "replica1")
    })?;
    assert!(proxy.metric("clonelove_epoch", &[])? > epoch);
    assert_eq!(write_lands_on(&mut session, &cluster, 101)?, "replica1");
    wait_eligible(&proxy, "replica2")?;

    // The old primary comes back and is as writable as ever: it gets nothing.
    cluster.primary.start()?;
    wait_said(&proxy, "primary", "state", "up")?;
    let before = queries(&proxy, "primary")?;
    for id in 102..110 {
        assert_eq!(write_lands_on(&mut client(&proxy)?, &cluster, id)?, "replica1");
        value(&mut client(&proxy)?, "SELECT COUNT(*) FROM t")?;
    }
    assert_eq!(cluster.primary.value("SELECT COUNT(*) FROM app.t WHERE id > 100")?, "0");
    assert_eq!(queries(&proxy, "primary")?, before);
    let said = said_of(&proxy, "primary")?;
    assert_eq!(said["eligible"], false, "{said}");
    Ok(())
}

#[test]
fn a_primary_made_read_only_hands_over_to_its_promoted_replica() -> Result<()> {
    let cluster = uniform(2)?;
    table(&cluster, 5)?;
    let proxy = Clonelove::start_with(quick(&cluster))?;
    wait_eligible(&proxy, "replica1")?;
    let mut session = client(&proxy)?;
    assert_eq!(write_lands_on(&mut session, &cluster, 100)?, "primary");
    cluster.wait_caught_up()?;
    cluster.primary.set_read_only(true)?;
    wait_until("the lack of a primary to be noticed", DEFAULT_TIMEOUT, || {
        Ok::<_, anyhow::Error>(proxy.status()?["primary"].is_null())
    })?;
    let error = error_of(session.query("INSERT INTO t VALUES (101, 0)"))?;
    assert_eq!(error.code, 1836, "{error}");
    assert!(error.message.contains("primary is read-only"), "{error}");
    assert_eq!(proxy.http_get("/readyz?writes=1")?.status, 503);
    cluster.replicas[0].promote()?;
    wait_until("the promotion to be noticed", DEFAULT_TIMEOUT, || {
        Ok::<_, anyhow::Error>(proxy.status()?["primary"] == "replica1")
    })?;
    assert_eq!(write_lands_on(&mut session, &cluster, 101)?, "replica1");
    cluster.primary.set_read_only(false)?;
    assert_eq!(write_lands_on(&mut session, &cluster, 102)?, "replica1");
    Ok(())
}

/// Until a probe has ended that began after now.
fn wait_looked_at(proxy: &Clonelove, server: &str) -> Result<()> {
    let label = format!("server=\"{server}\"");
    let probed = || proxy.metric("clonelove_probe_seconds_count", &[&label]);
    let before = probed()?;
    wait_until("the server to be looked at", DEFAULT_TIMEOUT, || {
        Ok::<_, anyhow::Error>(probed()? > before + 2.0)
    })
}

#[test]
fn a_client_that_makes_the_primary_read_only_goes_on_speaking_to_it() -> Result<()> {
    let cluster = uniform(1)?;
    cluster.primary.query(&format!("GRANT READ_ONLY ADMIN ON *.* TO {APP_USER}"))?;
    cluster.primary.query("CREATE USER plain IDENTIFIED BY 'plain-password'")?;
    cluster.primary.query("GRANT ALL ON app.* TO plain")?;
    table(&cluster, 5)?;
    let proxy = Clonelove::start_with(quick(&cluster).user("plain", "plain-password"))?;
    wait_eligible(&proxy, "replica1")?;
    let epoch = proxy.status()?["epoch"].clone();
    let mut other = Connection::open_tcp(&proxy.addr(), "plain", "plain-password", Some("app"))?;
    assert_eq!(value(&mut other, "SELECT GET_LOCK('kept', 0)")?, "1");
    let mut session = client(&proxy)?;
    for to in ["@@GLOBAL.read_only = 1", "GLOBAL read_only = ON"] {
        session.query(&format!("SET {to}"))?;
        assert_eq!(cluster.primary.value("SELECT @@global.read_only")?, "1");
        wait_looked_at(&proxy, cluster.primary.name())?;
        assert_eq!(proxy.status()?["primary"], "primary");
        // The server's own word, on the connection that it is kept for; who may write all the same writes.
        let error = error_of(other.query("INSERT INTO t VALUES (100, 0)"))?;
        assert_eq!(error.code, 1290, "{error}");
        assert_eq!(value(&mut other, "SELECT IS_USED_LOCK('kept') = CONNECTION_ID()")?, "1");
        session.query("REPLACE INTO t VALUES (101, 0)")?;
        session.query("SET GLOBAL read_only = 0")?;
        other.query("REPLACE INTO t VALUES (102, 0)")?;
        assert_eq!(proxy.status()?["epoch"], epoch);
    }
    // An operator's word is another matter, once the server was seen to be writable.
    wait_looked_at(&proxy, cluster.primary.name())?;
    cluster.primary.set_read_only(true)?;
    wait_until("the lack of a primary to be noticed", DEFAULT_TIMEOUT, || {
        Ok::<_, anyhow::Error>(proxy.status()?["primary"].is_null())
    })?;
    assert_eq!(error_of(client(&proxy)?.query("REPLACE INTO t VALUES (103, 0)"))?.code, 1836);
    Ok(())
}

#[test]
fn a_replica_takes_over_from_a_primary_that_a_client_made_read_only() -> Result<()> {
    let cluster = uniform(1)?;
    table(&cluster, 5)?;
    cluster.primary.query(&format!("GRANT READ_ONLY ADMIN ON *.* TO {APP_USER}"))?;
    let proxy = Clonelove::start_with(quick(&cluster))?;
    wait_eligible(&proxy, "replica1")?;
    let mut session = client(&proxy)?;
    session.query("SET GLOBAL read_only = 1")?;
    drop(session);
    cluster.wait_caught_up()?;
    cluster.replicas[0].promote()?;
    wait_until("the promotion to be noticed", DEFAULT_TIMEOUT, || {
        Ok::<_, anyhow::Error>(proxy.status()?["primary"] == "replica1")
    })?;
    assert_eq!(write_lands_on(&mut client(&proxy)?, &cluster, 101)?, "replica1");
    Ok(())
}

#[test]
fn a_log_that_begins_anew_ends_no_session() -> Result<()> {
    let cluster = uniform(1)?;
    table(&cluster, 5)?;
    let proxy = Clonelove::start_with(quick(&cluster))?;
    wait_eligible(&proxy, "replica1")?;
    let epoch = proxy.status()?["epoch"].as_u64();
    let mut session = client(&proxy)?;
    session.query("BEGIN")?;
    session.query("INSERT INTO t VALUES (100, 0)")?;
    let other = &mut client(&proxy)?;
    assert_eq!(value(other, "SELECT GET_LOCK('kept', 0)")?, "1");
    cluster.primary.query("RESET MASTER")?;
    wait_until("the new history to be noticed", DEFAULT_TIMEOUT, || {
        Ok::<_, anyhow::Error>(proxy.status()?["epoch"].as_u64() > epoch)
    })?;
    session.query("INSERT INTO t VALUES (101, 0)")?;
    session.query("COMMIT")?;
    assert_eq!(value(other, "SELECT IS_USED_LOCK('kept') = CONNECTION_ID()")?, "1");
    assert_eq!(value(other, "SELECT COUNT(*) FROM t WHERE id >= 100")?, "2");
    Ok(())
}

#[test]
fn of_two_that_claim_to_be_primary_writes_get_an_error_that_names_both() -> Result<()> {
    let cluster = uniform(2)?;
    table(&cluster, 5)?;
    cluster.replicas[1].promote()?;
    let mut proxy = Clonelove::spawn(quick(&cluster))?;
    wait_said(&proxy, "replica1", "state", "up")?;
    wait_said(&proxy, "replica2", "state", "up")?;
    let mut session = client(&proxy)?;
    let error = error_of(session.query("INSERT INTO t VALUES (100, 0)"))?;
    assert_eq!((error.code, error.state.as_str()), (1836, "HY000"), "{error}");
    assert!(error.message.contains("primary and replica2 are both writable"), "{error}");
    assert!(proxy.status()?["primary"].is_null());
    for server in cluster.servers() {
        assert_eq!(server.value("SELECT COUNT(*) FROM app.t WHERE id = 100")?, "0");
    }

    // The administrator's word ends it.
    let named = |name: &str, more: &str| {
        let address = cluster.server(name).map(Server::address).unwrap_or_default();
        (name.to_owned(), address, more.to_owned())
    };
    let mut config = proxy.config().clone().without_servers();
    for (name, address, more) in
        [named("primary", "role = \"primary\""), named("replica1", ""), named("replica2", "")]
    {
        config = config.server(&name, &address, &more);
    }
    std::fs::write(proxy.config_path(), config.to_toml())?;
    assert_eq!(proxy.http_post("/reload")?.status, 200);
    proxy.wait_ready()?;
    assert_eq!(write_lands_on(&mut session, &cluster, 101)?, "primary");
    assert_eq!(said_of(&proxy, "primary")?["pinned_role"], true);
    Ok(())
}

#[test]
fn the_present_primary_stays_when_another_server_becomes_writable() -> Result<()> {
    let cluster = uniform(2)?;
    table(&cluster, 5)?;
    let proxy = Clonelove::start_with(quick(&cluster))?;
    wait_eligible(&proxy, "replica2")?;
    let mut session = client(&proxy)?;
    assert_eq!(write_lands_on(&mut session, &cluster, 100)?, "primary");
    let epoch = proxy.metric("clonelove_epoch", &[])?;
    cluster.replicas[1].promote()?;
    wait_out(&proxy, "replica2")?;
    for id in 101..105 {
        assert_eq!(write_lands_on(&mut client(&proxy)?, &cluster, id)?, "primary");
    }
    assert_eq!(proxy.metric("clonelove_epoch", &[])?, epoch);
    assert_eq!(cluster.replicas[1].value("SELECT COUNT(*) FROM app.t WHERE id > 100")?, "0");
    Ok(())
}

#[test]
fn a_server_pinned_as_replica_is_never_the_primary() -> Result<()> {
    let cluster = uniform(1)?;
    table(&cluster, 5)?;
    let config = quick(&cluster).without_servers().server("primary", &cluster.primary.address(), "").server(
        "replica1",
        &cluster.replicas[0].address(),
        "role = \"replica\"",
    );
    let proxy = Clonelove::start_with(config)?;
    wait_eligible(&proxy, "replica1")?;
    cluster.primary.kill9()?;
    wait_said(&proxy, "primary", "state", "down")?;
    cluster.replicas[0].promote()?;
    wait_said(&proxy, "replica1", "role", "unknown")?;
    let mut session = Connection::open_tcp(&proxy.addr(), APP_USER, APP_PASSWORD, None)?;
    let error = error_of(session.query("INSERT INTO app.t VALUES (100, 0)"))?;
    assert_eq!(error.code, 1836, "{error}");
    assert!(error.message.contains("replica1 is configured as a replica"), "{error}");
    // Nobody is left who could say whether the schema exists.
    let error = error_of(client(&proxy))?;
    assert_eq!(error.code, 1053, "{error}");
    assert!(error.message.contains("server replica1: replicates from no server"), "{error}");
    Ok(())
}

/// Does something to replica1; its state and the reason must be told, no read may go there; undone, it is used again.
fn is_left_out(
    proxy: &Clonelove,
    replica: &Server,
    state: &str,
    why: &str,
    harm: &str,
    mend: &str,
) -> Result<()> {
    replica.query(harm)?;
    wait_out(proxy, replica.name())?;
    let said = said_of(proxy, replica.name())?;
    ensure!(said["state"] == state, "{harm}: {said}");
    ensure!(said["why"].as_str().is_some_and(|said| said.contains(why)), "{harm}: {said}");
    let (before, on_primary) = (queries(proxy, replica.name())?, reason(proxy, "no_replica")?);
    value(&mut client(proxy)?, "SELECT COUNT(*) FROM t")?;
    ensure!(queries(proxy, replica.name())? == before, "{harm}: a read went there");
    ensure!(reason(proxy, "no_replica")? > on_primary, "{harm}: the read did not go to the primary");
    replica.query(mend)?;
    wait_eligible(proxy, replica.name())?;
    value(&mut client(proxy)?, "SELECT COUNT(*) FROM t")?;
    ensure!(queries(proxy, replica.name())? > before, "{mend}: it is not used again");
    Ok(())
}

#[test]
fn a_replica_that_is_filtered_stopped_or_delayed_gets_no_reads_and_the_status_says_why() -> Result<()> {
    let cluster = uniform(1)?;
    table(&cluster, 5)?;
    let proxy = Clonelove::start_with(quick(&cluster).set("routing", "max_lag", "\"30s\""))?;
    wait_eligible(&proxy, "replica1")?;
    let replica = &cluster.replicas[0];
    let cases = [
        (
            "broken",
            "is filtered",
            "STOP SLAVE; SET GLOBAL replicate_ignore_table = 'app.x'; START SLAVE",
            "STOP SLAVE; SET GLOBAL replicate_ignore_table = ''; START SLAVE",
        ),
        ("broken", "SQL", "STOP SLAVE SQL_THREAD", "START SLAVE"),
        ("broken", "IO", "STOP SLAVE IO_THREAD", "START SLAVE"),
        (
            "lagging",
            "on purpose",
            "STOP SLAVE; CHANGE MASTER TO MASTER_DELAY = 3600; START SLAVE",
            "STOP SLAVE; CHANGE MASTER TO MASTER_DELAY = 0; START SLAVE",
        ),
    ];
    for (state, why, harm, mend) in cases {
        is_left_out(&proxy, replica, state, why, harm, mend)?;
    }
    Ok(())
}

#[test]
fn a_replica_that_lags_more_than_allowed_gets_no_reads_until_it_has_caught_up() -> Result<()> {
    let cluster = uniform(1)?;
    table(&cluster, 5)?;
    let proxy = Clonelove::start_with(unwaiting(quick(&cluster)).set("routing", "max_lag", "\"1s\""))?;
    wait_eligible(&proxy, "replica1")?;
    let held = Held::new(&cluster.replicas[0])?;
    cluster.primary.query("UPDATE app.t SET v = 0")?;
    wait_said(&proxy, "replica1", "state", "lagging")?;
    let said = said_of(&proxy, "replica1")?;
    assert_eq!(said["eligible"], false, "{said}");
    assert!(said["why"].as_str().is_some_and(|why| why.contains("max_lag")), "{said}");
    let lag = proxy.metric("clonelove_server_reported_lag_seconds", &["server=\"replica1\""])?;
    assert!(lag > 1.0, "{lag}");
    held.release(&cluster.primary)?;
    wait_eligible(&proxy, "replica1")
}

#[test]
fn replicas_get_reads_by_their_weight_and_weight_0_is_the_last_resort() -> Result<()> {
    let cluster = uniform(3)?;
    table(&cluster, 5)?;
    let mut config = quick(&cluster).without_servers().set("routing", "balance", "\"weighted_random\"");
    for (server, weight) in cluster.servers().zip(["100", "300", "100", "0"]) {
        config = config.server(server.name(), &server.address(), &format!("weight = {weight}"));
    }
    let proxy = Clonelove::start_with(config)?;
    for replica in &cluster.replicas {
        wait_eligible(&proxy, replica.name())?;
    }
    // Past the warm-up, whose length is one millisecond here.
    for _ in 0..400 {
        value(&mut client(&proxy)?, "SELECT COUNT(*) FROM t")?;
    }
    let [heavy, light, last] = ["replica1", "replica2", "replica3"].map(|name| queries(&proxy, name));
    let (heavy, light, last) = (heavy?, light?, last?);
    assert_eq!((heavy + light, last), (400.0, 0.0));
    // 300 expected; nine standard deviations around it.
    assert!((220.0..380.0).contains(&heavy), "{heavy} of 400 with three quarters of the weight");
    for name in ["replica1", "replica2"] {
        assert_eq!(proxy.http_post(&format!("/servers/{name}/drain"))?.status, 200);
        wait_out(&proxy, name)?;
    }
    value(&mut client(&proxy)?, "SELECT COUNT(*) FROM t")?;
    assert_eq!(queries(&proxy, "replica3")?, 1.0);
    Ok(())
}

/// `clonelove drain|undrain|status` from the command line, against this daemon.
fn command_line(proxy: &Clonelove, args: &[&str]) -> Result<String> {
    let program = std::env::current_exe()?
        .ancestors()
        .map(|folder| folder.join("clonelove"))
        .find(|path| path.is_file())
        .context("no clonelove beside the tests: cargo build -p clonelove")?;
    let output = Command::new(program).args(args).args(["--config"]).arg(proxy.config_path()).output()?;
    ensure!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_server_is_drained_and_undrained_from_the_command_line() -> Result<()> {
    let cluster = uniform(2)?;
    table(&cluster, 5)?;
    let proxy = Clonelove::start_with(quick(&cluster))?;
    wait_eligible(&proxy, "replica1")?;
    wait_eligible(&proxy, "replica2")?;
    // A transaction that lives there goes on there.
    let mut staying = client(&proxy)?;
    staying.query("START TRANSACTION READ ONLY")?;
    value(&mut staying, "SELECT v FROM t WHERE id = 1")?;
    let served = |name: &&&str| queries(&proxy, name).is_ok_and(|count| count > 0.0);
    let name = *["replica1", "replica2"].iter().find(served).context("no replica served")?;
    let other = if name == "replica1" { "replica2" } else { "replica1" };

    assert_eq!(command_line(&proxy, &["drain", name])?, format!("{name}: draining\n"));
    wait_said(&proxy, name, "state", "draining")?;
    let (before, others) = (queries(&proxy, name)?, queries(&proxy, other)?);
    for _ in 0..10 {
        value(&mut client(&proxy)?, "SELECT COUNT(*) FROM t")?;
    }
    assert_eq!((queries(&proxy, name)?, queries(&proxy, other)?), (before, others + 10.0));
    assert_eq!(value(&mut staying, "SELECT v FROM t WHERE id = 2")?, "2");
    assert_eq!(queries(&proxy, name)?, before + 1.0);
    staying.query("COMMIT")?;

    let status: serde_json::Value = serde_json::from_str(&command_line(&proxy, &["status", "--json"])?)?;
    assert!(status["servers"].to_string().contains("\"draining\""), "{status}");
    assert_eq!(command_line(&proxy, &["undrain", name])?, format!("{name}: in use\n"));
    wait_eligible(&proxy, name)?;
    wait_until("reads to go there again", DEFAULT_TIMEOUT, || {
        value(&mut client(&proxy)?, "SELECT COUNT(*) FROM t")?;
        Ok::<_, anyhow::Error>(queries(&proxy, name)? > before + 2.0)
    })
}

/// A view that looks like any table, and writes whenever it is read.
fn writing_view(cluster: &Cluster) -> Result<()> {
    let primary = &cluster.primary;
    primary.query("CREATE TABLE app.seen (a INT)")?;
    for server in cluster.servers() {
        server.query("SET GLOBAL log_bin_trust_function_creators = 1")?;
    }
    primary.query(
        "CREATE FUNCTION app.note() RETURNS INT MODIFIES SQL DATA BEGIN INSERT INTO app.seen VALUES (1); RETURN 1; END",
    )?;
    primary.query("CREATE VIEW app.noted AS SELECT app.note() AS n")?;
    cluster.wait_caught_up()
}

#[test]
fn a_replicas_read_only_refusal_is_retried_on_the_primary_and_remembered() -> Result<()> {
    refusal_retried(Flavour::MariaDbDistribution)
}

#[test]
fn a_replicas_read_only_refusal_is_retried_on_the_primary_and_remembered_mysql_sid() -> Result<()> {
    if Flavour::MySqlSid.covered()? { refusal_retried(Flavour::MySqlSid) } else { Ok(()) }
}

fn refusal_retried(flavour: Flavour) -> Result<()> {
    let cluster = uniform_of(flavour, 1)?;
    writing_view(&cluster)?;
    // Who sees definitions does not take it for a table.
    let proxy = Clonelove::start_with(blind(&cluster)?)?;
    wait_eligible(&proxy, "replica1")?;
    let mut session = client(&proxy)?;
    assert_eq!(value(&mut session, "SELECT n FROM noted")?, "1");
    assert_eq!((reason(&proxy, "read_only_refused")?, retries(&proxy, "read_only")?), (1.0, 1.0));
    assert_eq!(value(&mut client(&proxy)?, "SELECT n FROM noted")?, "1");
    assert_eq!((reason(&proxy, "read_only_refused")?, reason(&proxy, "learned")?), (1.0, 1.0));
    let status = proxy.status()?;
    assert_eq!(status["learned"][0]["count"], 1, "{status}");
    assert_eq!(cluster.primary.value("SELECT COUNT(*) FROM app.seen")?, "2");

    // Who asked for a read-only transaction gets what a server gives.
    let refused = |session: &mut Connection| -> Result<u16> {
        session.query("START TRANSACTION READ ONLY")?;
        let error = error_of(session.query("SELECT n FROM noted"))?;
        session.query("ROLLBACK")?;
        Ok(error.code)
    };
    let directly = refused(&mut direct(&cluster.primary)?)?;
    let on_replica = reason(&proxy, "read_only_transaction")?;
    assert_eq!((directly, refused(&mut session)?), (1792, 1792));
    assert!(reason(&proxy, "read_only_transaction")? > on_replica, "it did not run on the replica");
    assert_eq!(cluster.primary.value("SELECT COUNT(*) FROM app.seen")?, "2");

    // A change of the schema may make it a read: it is tried again.
    session.query("CREATE OR REPLACE VIEW noted AS SELECT 1 AS n")?;
    let learned = reason(&proxy, "learned")?;
    assert_eq!(value(&mut session, "SELECT n FROM noted")?, "1");
    assert_eq!(reason(&proxy, "learned")?, learned);
    assert_eq!(proxy.status()?["learned"].as_array().map(Vec::len), Some(0));
    Ok(())
}
