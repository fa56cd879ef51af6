//! What a replica has: how far it is, what it lost, and what is remembered of what it must have.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use clonelove_testkit::{
    Clonelove, ClusterOptions, Connection, DEFAULT_TIMEOUT, Family, Flavour, MONITOR_USER, Server, wait_until,
};

use super::super::checker::relay::Relay;
use super::super::support::{uniform_of, wait_eligible, wait_known, wait_said};
use super::rule::{Scene, config, open, overridden, perform, say, with_replica};

const ONE: &str = "CREATE TABLE one (id INT PRIMARY KEY, v INT NOT NULL)";
const ROWS: &str = "INSERT INTO one VALUES (1, 0), (2, 0)";
const READ: &str = "SELECT v FROM one WHERE id = 1";
const WRITE: &str = "UPDATE one SET v = 1 WHERE id = 1";
const BYSTANDER: &str = "SELECT v FROM bystander WHERE id = 1";

fn given() -> Vec<String> {
    [ONE, ROWS].map(str::to_owned).to_vec()
}

fn write(scene: &Scene, steps: &[&str]) -> Result<()> {
    perform(&mut scene.client(true)?, steps, str::to_owned)
}

fn must_be_told(scene: &Scene, read: &str, wanted: &str, on_replica: bool) -> Result<()> {
    let told = scene.told(read)?;
    ensure!(
        told == (wanted.to_owned(), on_replica),
        "{read} gave {told:?}, not {wanted:?} (a replica: {on_replica})"
    );
    Ok(())
}

/// A replica restored from a backup, under the name and with the identity that it had before. Its delay, which the
/// backup brought along, keeps it where it is.
pub(super) fn a_replica_that_came_back_earlier(flavour: Flavour) -> Result<()> {
    let scene = Scene::on(uniform_of(flavour, 1)?, &given(), |config| {
        config.set("routing", "freshness", "\"table\"").set("routing", "max_lag", "\"24h\"")
    })?;
    let replica = &scene.cluster.replicas[0];
    let data = scene.cluster.folder().join("replica1/data");
    let backup = scene.cluster.folder().join("replica1/backup");
    replica.delay(3600)?;
    replica.stop()?;
    copy(&data, &backup)?;
    replica.start()?;
    replica.delay(0)?;
    write(&scene, &[WRITE])?;
    wait_known(&scene.proxy, replica, &scene.cluster.primary)?;
    wait_eligible(&scene.proxy, replica.name())?;
    must_be_told(&scene, READ, "1", true)?;

    replica.kill9()?;
    std::fs::remove_dir_all(&data)?;
    copy(&backup, &data)?;
    replica.start()?;
    ensure!(replica.value("SELECT v FROM app.one WHERE id = 1")? == "0", "the backup is not old enough");
    let position = replica.applied_position()?;
    let mut stale = None;
    wait_until("the replica to be known again", DEFAULT_TIMEOUT, || {
        let told = scene.told(READ)?;
        if told.0 == "0" {
            stale = Some(told);
            return Ok(true);
        }
        ensure!(!told.1 && told.0 == "1", "{READ} gave {told:?} while the replica came back");
        wait_said_now(&scene.proxy, &position)
    })?;
    if let Some(told) = stale {
        anyhow::bail!("{READ} gave {told:?} while the replica came back");
    }
    wait_eligible(&scene.proxy, replica.name())?;
    for _ in 0..20 {
        must_be_told(&scene, READ, "1", false)?;
    }
    Ok(())
}

/// A replica is set back while it runs, as a restored one would be, and the connections that watch it break: what it
/// told over them says nothing any more.
pub(super) fn set_back_unseen(flavour: Flavour) -> Result<()> {
    set_back(flavour, true)
}

/// A write is known to have come to a replica, and the proxy sees nothing from then on: the replica, and where it was
/// before.
fn unwatched_after_a_write(scene: &Scene) -> Result<(&Server, String)> {
    let replica = &scene.cluster.replicas[0];
    let earlier = replica.applied_position()?;
    write(scene, &[WRITE])?;
    wait_known(&scene.proxy, replica, &scene.cluster.primary)?;
    must_be_told(scene, READ, "1", true)?;
    scene.proxy.process().freeze()?;
    Ok((replica, earlier))
}

/// A replica is set back, the connections that watch it break, and no other can be made: reads over those that are open
/// go on as before, and nobody can tell how far it is.
pub(super) fn set_back_unwatched(flavour: Flavour) -> Result<()> {
    let scene = Scene::on(uniform_of(flavour, 1)?, &given(), |config| {
        let config = config.set("routing", "freshness", "\"table\"").set("routing", "max_lag", "\"24h\"");
        // A new connection would tell how far the replica is.
        config.set("monitor", "fall", "1000").set("pool", "min_idle", "0")
    })?;
    let (replica, earlier) = unwatched_after_a_write(&scene)?;
    replica.query(&format!(
        "STOP SLAVE; RESET MASTER; SET GLOBAL gtid_slave_pos = '{earlier}'; SET sql_log_bin = 0; \
         UPDATE app.one SET v = 0; ALTER USER {MONITOR_USER}@'%' ACCOUNT LOCK; KILL USER {MONITOR_USER}"
    ))?;
    scene.proxy.process().thaw()?;
    wait_until("the proxy to see that it is not told anything", DEFAULT_TIMEOUT, || {
        let status = scene.proxy.status()?;
        let servers = status["servers"].as_array().context("no servers")?;
        let said = servers.iter().find(|server| server["name"] == "replica1").context("no replica1")?;
        let refused = said["last_error"].as_str().is_some_and(|error| error.contains("locked"));
        Ok::<_, anyhow::Error>(refused && said["eligible"] == true)
    })?;
    for _ in 0..20 {
        must_be_told(&scene, READ, "1", false)?;
    }
    Ok(())
}

/// The same over the connections that watch it: they tell an earlier position than before.
pub(super) fn set_back_in_sight(flavour: Flavour) -> Result<()> {
    set_back(flavour, false)
}

/// MariaDB's: MySQL's executed set only shrinks with its log.
fn set_back(flavour: Flavour, unseen: bool) -> Result<()> {
    let scene = Scene::on(uniform_of(flavour, 1)?, &given(), |config| {
        config.set("routing", "freshness", "\"table\"").set("routing", "max_lag", "\"24h\"")
    })?;
    let (replica, earlier) = unwatched_after_a_write(&scene)?;
    replica.query(&format!(
        "STOP SLAVE; RESET MASTER; SET GLOBAL gtid_slave_pos = '{earlier}'; SET sql_log_bin = 0; \
         UPDATE app.one SET v = 0"
    ))?;
    replica.delay(3600)?;
    if unseen {
        replica.query(&format!("KILL USER {MONITOR_USER}"))?;
    }
    scene.proxy.process().thaw()?;
    wait_probed(replica)?;
    wait_eligible(&scene.proxy, replica.name())?;
    for _ in 0..20 {
        must_be_told(&scene, READ, "1", false)?;
    }
    Ok(())
}

/// Waits until the proxy has looked at a server several times.
fn wait_probed(server: &Server) -> Result<()> {
    let looks = |server: &Server| {
        server.status_counter(match server.flavour().family() {
            Family::MariaDb => "Com_show_slave_status",
            Family::MySql => "Com_show_replica_status",
        })
    };
    let before = looks(server)?;
    wait_until("the server to be looked at", DEFAULT_TIMEOUT, || {
        Ok::<_, anyhow::Error>(looks(server)? >= before + 10)
    })
}

/// RESET MASTER: positions begin anew, below those that the replica has from before.
pub(super) fn reset_log(flavour: Flavour) -> Result<()> {
    let reads = |scene: &Scene| {
        write(scene, &[WRITE])?;
        (0..20).try_for_each(|_| must_be_told(scene, READ, "1", false))
    };
    after_reset(flavour, "table", &reads)
}

/// The same for a session that is promised no more than its own writes.
pub(super) fn reset_log_in_session(flavour: Flavour) -> Result<()> {
    let reads = |scene: &Scene| {
        let mut session = scene.client(true)?;
        perform(&mut session, &[WRITE], str::to_owned)?;
        for _ in 0..20 {
            let told = scene.told_to(&mut session, READ)?;
            ensure!(
                told == ("1".to_owned(), false),
                "{READ} gave the session {told:?} after it had written 1"
            );
        }
        Ok(())
    };
    after_reset(flavour, "session", &reads)
}

/// The same before any probe has noticed.
pub(super) fn reset_log_just_now(flavour: Flavour) -> Result<()> {
    for freshness in ["table", "session"] {
        let scene = Scene::on(uniform_of(flavour, 1)?, &given(), |config| {
            let config = config.set("routing", "freshness", &format!("\"{freshness}\""));
            config.set("routing", "max_lag", "\"24h\"").set("monitor", "interval", "\"5s\"")
        })?;
        let replica = &scene.cluster.replicas[0];
        for _ in 0..20 {
            write(&scene, &["UPDATE one SET v = v + 1 WHERE id = 2"])?;
        }
        wait_known(&scene.proxy, replica, &scene.cluster.primary)?;
        let lock = hold(replica)?;
        let mut session = scene.client(true)?;
        scene.cluster.primary.query(reset_of(flavour))?;
        perform(&mut session, &[WRITE], str::to_owned)?;
        for _ in 0..20 {
            let told = scene.told_to(&mut session, READ)?;
            ensure!(told == ("1".to_owned(), false), "{freshness}: {READ} gave {told:?} after 1 was written");
        }
        if freshness == "table" {
            (0..20).try_for_each(|_| must_be_told(&scene, READ, "1", false))?;
        }
        drop(lock);
    }
    Ok(())
}

fn reset_of(flavour: Flavour) -> &'static str {
    match flavour.family() {
        Family::MariaDb => "RESET MASTER",
        Family::MySql => "RESET BINARY LOGS AND GTIDS",
    }
}

fn after_reset(flavour: Flavour, freshness: &str, reads: &dyn Fn(&Scene) -> Result<()>) -> Result<()> {
    let scene = Scene::on(uniform_of(flavour, 1)?, &given(), |config| {
        let config = config.set("routing", "freshness", &format!("\"{freshness}\""));
        config.set("routing", "max_lag", "\"24h\"")
    })?;
    let replica = &scene.cluster.replicas[0];
    for _ in 0..20 {
        write(&scene, &["UPDATE one SET v = v + 1 WHERE id = 2"])?;
    }
    wait_known(&scene.proxy, replica, &scene.cluster.primary)?;
    let lock = hold(replica)?;
    let epoch = scene.proxy.status()?["epoch"].as_u64();
    scene.cluster.primary.query(reset_of(flavour))?;
    wait_until("the new history to be noticed", DEFAULT_TIMEOUT, || {
        Ok::<_, anyhow::Error>(scene.proxy.status()?["epoch"].as_u64() > epoch)
    })?;
    reads(&scene)?;
    drop(lock);
    Ok(())
}

/// Another server answers at a replica's address, as where a name stands for several: one that is as far, and lacks the
/// rows. The connections that watch the replica are still to the one they began with.
pub(super) fn another_server_at_its_address(flavour: Flavour) -> Result<()> {
    let cluster = uniform_of(flavour, 2)?;
    let [known, other] = &cluster.replicas[..] else { anyhow::bail!("two replicas were asked for") };
    let is_other = Arc::new(AtomicBool::new(false));
    let (addresses, asked) = ([known.address(), other.address()], Arc::clone(&is_other));
    let relay = Relay::choosing(move || addresses[usize::from(asked.load(Ordering::SeqCst))].clone())?;
    for sql in given() {
        cluster.primary.query(&format!("USE app; {sql}"))?;
    }
    cluster.wait_caught_up()?;
    leave_out(other)?;
    let config = config(&cluster).without_servers().set("routing", "freshness", "\"table\"");
    let config = config.set("pool", "min_idle", "0").server("primary", &cluster.primary.address(), "");
    let address = format!("127.0.0.1:{}", relay.port());
    let proxy = Clonelove::start_with(overridden(config.server(known.name(), &address, "")))?;
    wait_eligible(&proxy, known.name())?;
    let scene = Scene { cluster, proxy };
    let [known, other] = &scene.cluster.replicas[..] else { anyhow::bail!("two replicas were asked for") };
    is_other.store(true, Ordering::SeqCst);
    write(&scene, &[WRITE])?;
    wait_known(&scene.proxy, known, &scene.cluster.primary)?;
    other.wait_caught_up(&scene.cluster.primary)?;
    ensure!(other.value("SELECT v FROM app.one WHERE id = 1")? == "0", "nothing was left out");
    must_be_told(&scene, READ, "1", false)?;
    ensure!(scene.proxy.log().contains("another server answers at its address"), "nobody was told why");
    Ok(())
}

/// A replica applies everything but what is written to one table.
fn leave_out(replica: &Server) -> Result<()> {
    replica.query(match replica.flavour().family() {
        Family::MariaDb => "STOP SLAVE; SET GLOBAL replicate_ignore_table = 'app.one'; START SLAVE",
        Family::MySql => {
            "STOP REPLICA; CHANGE REPLICATION FILTER REPLICATE_IGNORE_TABLE = (app.one); START REPLICA"
        }
    })?;
    Ok(())
}

/// A replica that leaves a table out goes on in its position, and lacks the rows.
pub(super) fn filters(flavour: Flavour) -> Result<()> {
    let scene = Scene::on(uniform_of(flavour, 1)?, &given(), |config| {
        config.set("routing", "freshness", "\"table\"")
    })?;
    let replica = &scene.cluster.replicas[0];
    leave_out(replica)?;
    write(&scene, &[WRITE])?;
    replica.wait_caught_up(&scene.cluster.primary)?;
    ensure!(replica.value("SELECT v FROM app.one WHERE id = 1")? == "0", "nothing was left out");
    wait_probed(replica)?;
    for _ in 0..20 {
        must_be_told(&scene, READ, "1", false)?;
    }
    Ok(())
}

fn wait_said_now(proxy: &Clonelove, position: &str) -> Result<bool> {
    let status = proxy.status()?;
    let servers = status["servers"].as_array().context("no servers")?;
    let replica = servers.iter().find(|server| server["name"] == "replica1").context("no replica1")?;
    Ok(replica["position"] == position && replica["eligible"] == true)
}

fn copy(from: &std::path::Path, to: &std::path::Path) -> Result<()> {
    let done = Command::new("cp").args(["--archive", "--no-target-directory"]).arg(from).arg(to).status()?;
    ensure!(done.success(), "cp {} {}: {done}", from.display(), to.display());
    Ok(())
}

/// kill -9 and an end in good order: what the process knew is gone, what it promised is not.
pub(super) fn a_restart_of_clonelove(flavour: Flavour) -> Result<()> {
    let freshness = |config: clonelove_testkit::Config| config.set("routing", "freshness", "\"table\"");
    let mut scene = Scene::on(uniform_of(flavour, 1)?, &given(), freshness)?;
    wait_known(&scene.proxy, &scene.cluster.replicas[0], &scene.cluster.primary)?;
    // Held by hand: what holds it must outlive two proxies.
    let lock = hold(&scene.cluster.replicas[0])?;
    must_be_told(&scene, READ, "0", true)?;
    write(&scene, &[WRITE])?;
    for kill in [true, false] {
        let next = overridden(freshness(config(&scene.cluster)));
        if kill {
            scene.proxy.process_mut().kill9()?;
            scene.proxy = Clonelove::start_with(next)?;
        } else {
            std::mem::replace(&mut scene.proxy, Clonelove::spawn(next)?).shut_down()?;
            scene.proxy.wait_ready()?;
        }
        must_be_told(&scene, READ, "1", false)?;
        wait_said(&scene.proxy, "replica1", "state", "up")?;
        must_be_told(&scene, READ, "1", false)?;
        // Nobody knows what was written before: the replica has to have all of it.
        must_be_told(&scene, BYSTANDER, "1", false)?;
    }
    drop(lock);
    wait_known(&scene.proxy, &scene.cluster.replicas[0], &scene.cluster.primary)?;
    must_be_told(&scene, READ, "1", true)
}

fn hold(server: &Server) -> Result<Connection> {
    let mut lock = server.connect()?;
    lock.query("FLUSH TABLES WITH READ LOCK")?;
    Ok(lock)
}

/// Writes to more tables, and to more keys, than there is memory for.
pub(super) fn more_than_is_remembered(flavour: Flavour) -> Result<()> {
    for freshness in ["table", "key"] {
        let mut given = given();
        given.extend(
            (0..40).map(|number| format!("CREATE TABLE t_{number} (id INT PRIMARY KEY, v INT NOT NULL)")),
        );
        let scene = Scene::on(uniform_of(flavour, 1)?, &given, |config| {
            config.set("routing", "freshness", &format!("\"{freshness}\"")).set("limits", "watermarks", "10")
        })?;
        let held = scene.hold()?;
        let mut writes: Vec<String> =
            (0..40).map(|number| format!("INSERT INTO t_{number} VALUES (1, 1)")).collect();
        writes.extend((10..50).map(|number| format!("INSERT INTO one VALUES ({number}, 1)")));
        let steps: Vec<&str> = writes.iter().map(String::as_str).collect();
        write(&scene, &steps)?;
        for number in 0..40 {
            must_be_told(&scene, &format!("SELECT v FROM t_{number} WHERE id = 1"), "1", false)?;
        }
        for number in 10..50 {
            must_be_told(&scene, &format!("SELECT v FROM one WHERE id = {number}"), "1", false)?;
        }
        held.release(&scene.cluster.primary)?;
        wait_known(&scene.proxy, &scene.cluster.replicas[0], &scene.cluster.primary)?;
        must_be_told(&scene, "SELECT v FROM t_0 WHERE id = 1", "1", true)?;
    }
    Ok(())
}

/// What all replicas that serve have is forgotten; one that comes to serve later must have it all the same.
pub(super) fn a_replica_that_serves_later(flavour: Flavour) -> Result<()> {
    let with = |max_lag: &'static str| {
        move |config: clonelove_testkit::Config| {
            config.set("routing", "freshness", "\"table\"").set("routing", "max_lag", max_lag)
        }
    };
    let scene = Scene::on(uniform_of(flavour, 2)?, &given(), with("\"30s\""))?;
    let [late, serving] = &scene.cluster.replicas[..] else { anyhow::bail!("two replicas were asked for") };
    late.delay(3600)?;
    wait_said(&scene.proxy, late.name(), "eligible", false)?;
    write(&scene, &[WRITE])?;
    wait_known(&scene.proxy, serving, &scene.cluster.primary)?;
    wait_until("the write to be forgotten", DEFAULT_TIMEOUT, || {
        Ok::<_, anyhow::Error>(scene.proxy.metric("clonelove_watermarks", &["scope=\"table\""])? == 0.0)
    })?;
    let text = std::fs::read_to_string(scene.proxy.config_path())?;
    std::fs::write(scene.proxy.config_path(), text.replace("max_lag = \"30s\"", "max_lag = \"24h\""))?;
    ensure!(scene.proxy.http_post("/reload")?.status == 200);
    wait_eligible(&scene.proxy, late.name())?;
    ensure!(scene.proxy.http_post(&format!("/servers/{}/drain", serving.name()))?.status == 200);
    wait_said(&scene.proxy, serving.name(), "eligible", false)?;
    for _ in 0..20 {
        must_be_told(&scene, READ, "1", false)?;
    }
    Ok(())
}

/// A replica that has applied a later write and not an earlier one: MySQL's with its commit order off, MariaDB's
/// with a second domain.
pub(super) fn gaps(flavour: Flavour) -> Result<()> {
    match flavour.family() {
        Family::MariaDb => {
            let steps = [WRITE, "SET SESSION gtid_domain_id = 1", "UPDATE two SET v = 1"];
            gap(flavour, &["--slave-parallel-threads=4"], &steps, "SELECT v FROM app.two")
        }
        Family::MySql => {
            let extra = ["--replica-preserve-commit-order=OFF", "--replica-parallel-workers=4"];
            let steps = [WRITE, "UPDATE one SET v = 1 WHERE id = 2"];
            gap(flavour, &extra, &steps, "SELECT v FROM app.one WHERE id = 2")
        }
    }
}

/// A block that writes in two of MariaDB's domains tells the last one's position only.
pub(super) fn gap_in_a_block(flavour: Flavour) -> Result<()> {
    gap(flavour, &["--slave-parallel-threads=4"], &["CALL both_domains()"], "SELECT v FROM app.two")
}

fn gap(flavour: Flavour, replica_extra: &[&str], steps: &[&str], later: &str) -> Result<()> {
    let mut given = given();
    given.push("CREATE TABLE two (id INT PRIMARY KEY, v INT NOT NULL)".to_owned());
    given.push("INSERT INTO two VALUES (1, 0)".to_owned());
    if flavour.family() == Family::MariaDb {
        given.push("GRANT BINLOG REPLAY ON *.* TO app@'%'".to_owned());
        given.push(
            "CREATE PROCEDURE both_domains() BEGIN UPDATE one SET v = 1 WHERE id = 1; \
             SET SESSION gtid_domain_id = 1; UPDATE two SET v = 1; SET SESSION gtid_domain_id = 0; END"
                .to_owned(),
        );
    }
    let table = |config: clonelove_testkit::Config| config.set("routing", "freshness", "\"table\"");
    let scene = Scene::on(with_replica(flavour, replica_extra)?, &given, table)?;
    let replica = &scene.cluster.replicas[0];
    wait_known(&scene.proxy, replica, &scene.cluster.primary)?;
    let mut lock = replica.connect()?;
    lock.query("BEGIN")?;
    lock.query("SELECT * FROM app.one WHERE id = 1 FOR UPDATE")?;
    must_be_told(&scene, READ, "0", true)?;
    write(&scene, steps)?;
    wait_until("the replica to have the later write", DEFAULT_TIMEOUT, || {
        Ok::<_, anyhow::Error>(replica.value(later)? == "1")
    })?;
    let position = replica.applied_position()?;
    wait_said(&scene.proxy, "replica1", "position", position)?;
    for _ in 0..20 {
        must_be_told(&scene, READ, "1", false)?;
    }
    lock.query("ROLLBACK")?;
    wait_known(&scene.proxy, replica, &scene.cluster.primary)?;
    must_be_told(&scene, READ, "1", true)
}

/// What a replica wrote itself gives its binlog a higher number than the primary's, and its rows nothing.
pub(super) fn own_binlog(flavour: Flavour) -> Result<()> {
    let scene = Scene::on(with_replica(flavour, &["--gtid-strict-mode=0"])?, &given(), |config| {
        config.set("routing", "freshness", "\"table\"")
    })?;
    let replica = &scene.cluster.replicas[0];
    wait_known(&scene.proxy, replica, &scene.cluster.primary)?;
    let mut lock = replica.connect()?;
    lock.query("BEGIN")?;
    lock.query("SELECT * FROM app.one WHERE id = 1 FOR UPDATE")?;
    replica.query("CREATE TABLE test.own (a INT)")?;
    for _ in 0..20 {
        replica.query("INSERT INTO test.own VALUES (1)")?;
    }
    write(&scene, &[WRITE])?;
    ensure!(replica.value("SELECT v FROM app.one WHERE id = 1")? == "0", "the replica was not held back");
    let before = replica.status_counter("Com_select")?;
    // The proxy asks how far it is, again and again.
    while replica.status_counter("Com_select")? <= before + 20 {
        must_be_told(&scene, READ, "1", false)?;
    }
    lock.query("ROLLBACK").map(drop)
}

/// A delay on purpose is a lag like any other.
pub(super) fn intended_delay(flavour: Flavour) -> Result<()> {
    let scene = Scene::on(uniform_of(flavour, 1)?, &given(), |config| {
        config.set("routing", "freshness", "\"table\"").set("routing", "max_lag", "\"24h\"")
    })?;
    scene.cluster.replicas[0].delay(3600)?;
    wait_eligible(&scene.proxy, "replica1")?;
    write(&scene, &[WRITE])?;
    must_be_told(&scene, READ, "1", false)?;
    wait_until("other tables to be read on the replica", DEFAULT_TIMEOUT, || {
        scene.told(BYSTANDER).map(|told| told.1)
    })?;
    must_be_told(&scene, READ, "1", false)
}

/// The replica that is far behind stays so under the new primary, which has what the old one acknowledged.
pub(super) fn change_of_primary(flavour: Flavour) -> Result<()> {
    let options = ClusterOptions { replicas: 2, uniform: true, ..ClusterOptions::default() };
    let scene = Scene::on(clonelove_testkit::Cluster::start(flavour, options)?, &given(), |config| {
        config.set("routing", "freshness", "\"table\"").set("routing", "max_lag", "\"24h\"")
    })?;
    let [next, behind] = &scene.cluster.replicas[..] else { anyhow::bail!("two replicas were asked for") };
    behind.delay(3600)?;
    write(&scene, &[WRITE])?;
    next.wait_caught_up(&scene.cluster.primary)?;
    scene.cluster.primary.kill9()?;
    next.promote()?;
    behind.repoint(next)?;
    ensure!(behind.value("SELECT v FROM app.one WHERE id = 1")? == "0", "the replica is not behind any more");
    wait_said(&scene.proxy, next.name(), "role", "primary")?;
    wait_eligible(&scene.proxy, behind.name())?;
    for _ in 0..20 {
        must_be_told(&scene, READ, "1", false)?;
    }
    // Told to a session that was there before, too.
    let mut session = open(&scene.proxy, true)?;
    ensure!(say(&mut session, READ) == "1");
    Ok(())
}
