//! Whoever reads the primary's binary log through the proxy: MySQL's tool, by file and by GTIDs, and whole replicas.
#![expect(clippy::indexing_slicing, reason = "helpers of tests may fail as tests do")]

use std::path::Path;

use anyhow::{Context, Result, ensure};
use clonelove_testkit::{Clonelove, Config, DEFAULT_TIMEOUT, Family, Flavour, Server, wait_until};

use super::{ADMIN, with_boss};
use crate::support::{
    client, queries, quick, table, uniform_of, value, wait_defined, wait_eligible, wait_known,
};

/// A config with these servers only.
fn of(servers: &[&Server], config: Config) -> Config {
    servers
        .iter()
        .fold(config.without_servers(), |config, server| config.server(server.name(), &server.address(), ""))
}

#[test]
fn mysqls_tool_reads_the_log_by_file_and_by_gtids() -> Result<()> {
    let flavour = Flavour::MySqlSid;
    if !flavour.covered()? {
        return Ok(());
    }
    let cluster = uniform_of(flavour, 0)?;
    table(&cluster, 3)?;
    let proxy = Clonelove::start_with(with_boss(&cluster, quick(&cluster), true)?)?;
    let file = cluster.primary.value("SHOW BINARY LOG STATUS")?;
    let dump = |port: u16, how: &str| -> Result<String> {
        let (user, password) = ADMIN;
        let mut command = flavour.command(Path::new("/usr/bin/mysqlbinlog"))?;
        command.args(["--no-defaults", "--host=127.0.0.1", "--base64-output=decode-rows", "--verbose"]);
        command.args([
            &format!("--port={port}"),
            &format!("--user={user}"),
            &format!("--password={password}"),
        ]);
        let output = command.arg(format!("--read-from-remote-source={how}")).arg(&file).output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "{how}: {said}");
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    for how in ["BINLOG-DUMP-NON-GTIDS", "BINLOG-DUMP-GTIDS"] {
        let direct = dump(cluster.primary.port(), how).context("directly")?;
        ensure!(direct.contains("### INSERT INTO `app`.`t`"), "{how}: {direct}");
        let through = dump(proxy.port(), how).context("through the proxy")?;
        ensure!(through == direct, "{how}: {through}\nis not\n{direct}");
    }
    Ok(())
}

/// A replica whose source is the proxy.
fn replicates(flavour: Flavour) -> Result<()> {
    if !flavour.covered()? {
        return Ok(());
    }
    let cluster = uniform_of(flavour, 2)?;
    table(&cluster, 3)?;
    let (primary, replica, other) = (&cluster.primary, &cluster.replicas[0], &cluster.replicas[1]);
    let config = with_boss(&cluster, of(&[primary, other], quick(&cluster)), true)?;
    let proxy = Clonelove::start_with(config)?;
    wait_eligible(&proxy, other.name())?;
    wait_defined(&proxy, "t")?;
    let (user, password) = ADMIN;
    let from = |word: &str, port: u16| {
        format!(
            "{word}_HOST='127.0.0.1', {word}_PORT={port}, {word}_USER='{user}', {word}_PASSWORD='{password}', \
             {word}_CONNECT_RETRY=1, {word}_HEARTBEAT_PERIOD=1, {word}_SSL=0"
        )
    };
    replica.query(&match flavour.family() {
        Family::MariaDb => {
            format!("STOP SLAVE; CHANGE MASTER TO {}, MASTER_USE_GTID=slave_pos; START SLAVE", from("MASTER", proxy.port()))
        }
        Family::MySql => format!(
            "STOP REPLICA; CHANGE REPLICATION SOURCE TO {}, SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1; START REPLICA",
            from("SOURCE", proxy.port())
        ),
    })?;
    wait_until("the replica to replicate from the proxy", DEFAULT_TIMEOUT, || {
        let state = replica.replication()?;
        ensure!(state.io == "Yes" && state.sql == "Yes", "{state:?}");
        anyhow::Ok(true)
    })?;
    let mut session = client(&proxy)?;
    for id in 10..20 {
        session.query(&format!("INSERT INTO t VALUES ({id}, {id})"))?;
    }
    replica.wait_caught_up(primary)?;
    ensure!(replica.value("SELECT COUNT(*) FROM app.t")? == "13");
    // It is a session of the proxy, which stays on its connection, and ends as others do.
    let pinned = || -> Result<bool> {
        let pins = proxy.status()?["pins"].as_array().cloned().unwrap_or_default();
        Ok(pins.iter().any(|pin| pin["user"] == user))
    };
    ensure!(pinned()?, "{}", proxy.status()?);
    // It writes nothing: what was written before it came can still be read on replicas.
    let on_replica = queries(&proxy, other.name())?;
    wait_known(&proxy, other, primary)?;
    ensure!(value(&mut session, "SELECT v FROM t WHERE id = 10")? == "10");
    ensure!(queries(&proxy, other.name())? == on_replica + 1.0, "{}", proxy.status()?);
    replica.stop_io_thread()?;
    wait_until("the session to be gone", DEFAULT_TIMEOUT, || anyhow::Ok(!pinned()?))?;
    session.query("INSERT INTO t VALUES (20, 20)")?;
    replica.start_io_thread()?;
    replica.wait_caught_up(primary)?;
    ensure!(replica.value("SELECT COUNT(*) FROM app.t")? == "14");
    Ok(())
}

#[test]
fn a_replica_may_have_the_proxy_for_its_source() -> Result<()> {
    replicates(Flavour::MariaDbDistribution)
}

#[test]
fn a_replica_may_have_the_proxy_for_its_source_on_mysql_sid() -> Result<()> {
    replicates(Flavour::MySqlSid)
}
