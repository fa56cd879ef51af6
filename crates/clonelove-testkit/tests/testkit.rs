//! The sandboxes themselves: that a cluster replicates, can be broken and mended, and leaves nothing behind.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clonelove_testkit::{
    APP_PASSWORD, APP_USER, Cluster, ClusterOptions, DEFAULT_TIMEOUT, Family, Flavour,
    MONITOR_GRANTS_MARIADB, MONITOR_GRANTS_MYSQL, MONITOR_USER, Server, wait_until,
};

fn one_replica(flavour: Flavour) -> Result<Cluster> {
    Cluster::start(flavour, ClusterOptions { replicas: 1, ..ClusterOptions::default() })
}

/// Writes on the primary, reads on the replicas, through kill -9 of either side.
fn replication_survives_kills(flavour: Flavour) -> Result<()> {
    if !flavour.covered()? {
        return Ok(());
    }
    let cluster = Cluster::start(flavour, ClusterOptions::default())?;
    cluster.primary.query("CREATE TABLE app.t (id INT PRIMARY KEY); INSERT INTO app.t VALUES (1)")?;
    cluster.wait_caught_up()?;
    for replica in &cluster.replicas {
        ensure!(replica.value("SELECT id FROM app.t")? == "1", "{} lacks the row", replica.name());
        ensure!(replica.value("SELECT @@global.read_only")? == "1", "{} is writable", replica.name());
    }

    let [first, second] = cluster.replicas.as_slice() else { anyhow::bail!("two replicas were asked for") };
    ensure!(
        first.value("SELECT @@sql_mode")? != second.value("SELECT @@sql_mode")?,
        "the replicas are alike"
    );
    second.kill9()?;
    ensure!(second.query("SELECT 1").is_err(), "a killed server answers");
    cluster.primary.query("INSERT INTO app.t VALUES (2)")?;
    second.start()?;
    cluster.primary.kill9()?;
    cluster.primary.start()?;
    cluster.primary.query("INSERT INTO app.t VALUES (3)")?;
    cluster.wait_caught_up()?;
    for server in cluster.servers() {
        ensure!(server.value("SELECT count(*) FROM app.t")? == "3", "{} lacks rows", server.name());
    }
    Ok(())
}

#[test]
fn replication_survives_kills_mariadb() -> Result<()> {
    replication_survives_kills(Flavour::MariaDbDistribution)
}

#[test]
fn replication_survives_kills_mariadb_sid() -> Result<()> {
    replication_survives_kills(Flavour::MariaDbSid)
}

#[test]
fn replication_survives_kills_mysql_sid() -> Result<()> {
    replication_survives_kills(Flavour::MySqlSid)
}

#[test]
fn a_frozen_server_answers_after_the_thaw_and_nothing_outlives_the_cluster() -> Result<()> {
    let cluster = one_replica(Flavour::MariaDbDistribution)?;
    let pid = cluster.primary.pid()?;
    cluster.primary.freeze()?;
    wait_until("the primary to be stopped", DEFAULT_TIMEOUT, || Ok(process_state(pid)? == "T"))?;
    cluster.primary.thaw()?;
    ensure!(cluster.primary.value("SELECT 1")? == "1", "no answer after the thaw");

    cluster.primary.freeze()?;
    let folder = cluster.folder().to_owned();
    drop(cluster);
    ensure!(!Path::new(&format!("/proc/{pid}")).exists(), "the frozen primary still runs");
    ensure!(!folder.exists(), "{} is still there", folder.display());
    Ok(())
}

#[test]
fn lag_is_made_and_taken_away() -> Result<()> {
    let cluster = one_replica(Flavour::MariaDbDistribution)?;
    let replica = cluster.replicas.first().context("one replica")?;
    cluster.primary.query("CREATE TABLE app.t (id INT)")?;
    replica.wait_caught_up(&cluster.primary)?;

    replica.stop_sql_thread()?;
    cluster.primary.query("INSERT INTO app.t VALUES (1)")?;
    ensure!(replica.value("SELECT count(*) FROM app.t")? == "0", "a stopped replica has the row");
    replica.start_sql_thread()?;
    replica.wait_caught_up(&cluster.primary)?;

    replica.delay(3600)?;
    let before = replica.applied_position()?;
    cluster.primary.query("INSERT INTO app.t VALUES (2)")?;
    ensure!(replica.applied_position()? == before, "a delayed replica applied at once");
    replica.delay(0)?;
    replica.wait_caught_up(&cluster.primary)
}

#[test]
fn a_replica_is_promoted_and_another_repointed() -> Result<()> {
    let cluster = Cluster::start(Flavour::MariaDbDistribution, ClusterOptions::default())?;
    let [first, second] = cluster.replicas.as_slice() else { anyhow::bail!("two replicas were asked for") };
    cluster.primary.query("CREATE TABLE app.t (id INT)")?;
    cluster.wait_caught_up()?;
    cluster.primary.stop()?;
    first.promote()?;
    second.repoint(first)?;
    first.query("INSERT INTO app.t VALUES (1)")?;
    second.wait_caught_up(first)?;
    ensure!(second.value("SELECT count(*) FROM app.t")? == "1", "the new primary's row did not arrive");
    Ok(())
}

#[test]
fn the_general_log_tells_who_sent_what() -> Result<()> {
    let cluster = Cluster::start(
        Flavour::MariaDbDistribution,
        ClusterOptions { replicas: 0, general_log: true, ..ClusterOptions::default() },
    )?;
    let mark = cluster.primary.general_log_mark()?;
    as_app(&cluster.primary, "SELECT 'two\nlines'")?;
    let log = cluster.primary.general_log_since(mark)?;
    let by_app: Vec<_> =
        log.iter().filter(|e| e.user.as_deref() == Some(APP_USER) && e.is_statement()).collect();
    ensure!(by_app.iter().any(|entry| entry.text == "SELECT 'two\nlines'"), "{by_app:?}");
    Ok(())
}

#[test]
fn the_monitoring_account_has_its_listed_privileges_and_no_more() -> Result<()> {
    for flavour in Flavour::ALL {
        if !flavour.covered()? {
            continue;
        }
        let cluster = Cluster::start(flavour, ClusterOptions { replicas: 0, ..ClusterOptions::default() })?;
        let listed = match flavour.family() {
            Family::MariaDb => MONITOR_GRANTS_MARIADB,
            Family::MySql => MONITOR_GRANTS_MYSQL,
        };
        let mut granted = Vec::new();
        for row in cluster.primary.query(&format!("SHOW GRANTS FOR '{MONITOR_USER}'@'%'"))? {
            let line = row.into_iter().next().flatten().context("an empty grant")?;
            let privileges = line.strip_prefix("GRANT ").and_then(|rest| rest.split_once(" ON *.*"));
            let (privileges, _) = privileges.with_context(|| format!("not on *.*: {line}"))?;
            granted.extend(privileges.split(", ").map(str::to_owned));
        }
        granted.sort();
        let mut wanted: Vec<_> = listed.iter().map(|name| (*name).to_owned()).collect();
        wanted.sort();
        ensure!(granted == wanted, "{}: {granted:?}", flavour.name());
    }
    Ok(())
}

fn as_app(server: &Server, sql: &str) -> Result<()> {
    let output = Command::new("mariadb")
        .args(["--no-defaults", "--host=127.0.0.1", "--user", APP_USER])
        .arg(format!("--password={APP_PASSWORD}"))
        .arg(format!("--port={}", server.port()))
        .args(["--execute", sql])
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// The letter that the system gives for a process's state: `T` is stopped.
fn process_state(pid: u32) -> Result<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = status.rsplit_once(") ").context("no state")?.1;
    Ok(after_name.split(' ').next().unwrap_or_default().to_owned())
}
