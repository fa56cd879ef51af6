//! What the primary shows before it says so, and what it did without saying so.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, ensure};
use clonelove_testkit::{Break, Cluster, DEFAULT_TIMEOUT, Flavour, Link, MONITOR_USER, Server, wait_until};

use super::super::checker::client::Way;
use super::super::checker::relay::Relay;
use super::super::checker::stage::{probed, replicate_through, semi_sync, switch_semi_sync};
use super::super::support::{uniform_of, wait_known, wait_said};
use super::rule::{Scene, perform, say};

const ONE: &str = "CREATE TABLE one (id INT PRIMARY KEY, v INT NOT NULL)";
const READ: &str = "SELECT v FROM one WHERE id = 1";
/// Longer than any test.
const NEVER: u64 = 3_600_000;

/// Ways to hear from the primary of a row that somebody else's write, still without an answer, has made.
///
/// The last leaves the table in doubt for everybody, and so would hide what the others are for.
const OBSERVATIONS: [&[&str]; 5] = [
    &["SELECT v FROM one WHERE id = 1 FOR UPDATE"],
    &["BEGIN", "SELECT v FROM one WHERE id = 1", "COMMIT"],
    &["UPDATE one SET v = 1 WHERE id = 1"],
    &["INSERT IGNORE INTO one VALUES (1, 1)"],
    &["!1062 INSERT INTO one VALUES (1, 1)"],
];

/// A commit is seen on the primary before its OK arrives: whoever saw it must go on seeing it.
pub(super) fn what_the_primary_shows_early(flavour: Flavour) -> Result<()> {
    let cluster = uniform_of(flavour, 1)?;
    let relay = Relay::to(cluster.primary.address())?;
    replicate_through(&cluster.replicas[0], &relay)?;
    semi_sync(&cluster, flavour.family())?;
    let table = |config: clonelove_testkit::Config| config.set("routing", "freshness", "\"table\"");
    let scene = Scene::on(cluster, &[ONE.to_owned()], table)?;
    switch_semi_sync(&scene.cluster, Some("AFTER_COMMIT"))?;
    receive(&scene)?;
    let held = scene.hold()?;
    // The replica gets what is written, and its acknowledgement is on its way for ever.
    relay.delay(0, NEVER);
    let answered = AtomicBool::new(false);
    let mut writer = scene.client(false)?;
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let answer = writer.ask("INSERT INTO one VALUES (1, 1)", Way::Text);
            answered.store(true, Ordering::SeqCst);
            answer.map_err(|failure| anyhow::anyhow!("{failure}"))
        });
        let observed = observe(&scene, &answered);
        relay.delay(0, 0);
        let written = writing.join().map_err(|_| anyhow::anyhow!("the writer panicked"))?;
        observed?;
        written.map(drop)
    })?;
    let told = scene.told(READ)?;
    ensure!(told == ("1".to_owned(), false), "after the answer a new session was told {told:?}");
    held.release(&scene.cluster.primary)
}

/// Waits until all replicas have got something over the connections that they have now. They say that they receive
/// before they have asked for anything, and what they say may be about to be held up.
fn receive(scene: &Scene) -> Result<()> {
    scene.cluster.primary.query("INSERT INTO app.bystander SELECT MAX(id) + 1, 1 FROM app.bystander")?;
    scene.cluster.wait_caught_up()
}

/// Two replicas behind relays, ready for semi-synchronous replication.
fn acknowledging(flavour: Flavour) -> Result<(Cluster, Vec<Relay>)> {
    let cluster = uniform_of(flavour, 2)?;
    let mut relays = Vec::new();
    for replica in &cluster.replicas {
        let relay = Relay::to(cluster.primary.address())?;
        replicate_through(replica, &relay)?;
        relays.push(relay);
    }
    semi_sync(&cluster, flavour.family())?;
    Ok((cluster, relays))
}

fn shows_the_row(replica: &Server) -> Result<()> {
    wait_until("the row to be seen on a replica", DEFAULT_TIMEOUT, || {
        Ok::<_, anyhow::Error>(replica.value("SELECT COUNT(*) FROM app.one")? == "1")
    })
}

/// Acknowledged before it is committed, a write is seen on a replica before it is seen on the primary: whoever saw it
/// must go on seeing it, on another replica and on the primary.
pub(super) fn what_a_replica_shows_early(flavour: Flavour) -> Result<()> {
    let (cluster, relays) = acknowledging(flavour)?;
    let table = |config: clonelove_testkit::Config| config.set("routing", "freshness", "\"table\"");
    let scene = Scene::on(cluster, &[ONE.to_owned()], table)?;
    let [behind, ahead] = &scene.cluster.replicas[..] else { anyhow::bail!("two replicas were asked for") };
    switch_semi_sync(&scene.cluster, Some("AFTER_SYNC"))?;
    receive(&scene)?;
    drain(&scene, behind, "drain")?;
    let held = scene.hold()?;
    // Both get what is written, and their acknowledgements are on their way for ever.
    relays.iter().for_each(|relay| relay.delay(0, NEVER));
    let mut writer = scene.client(false)?;
    let mut session = scene.client(true)?;
    let told = std::thread::scope(|scope| -> Result<String> {
        let writing = scope.spawn(|| writer.ask("INSERT INTO one VALUES (1, 1)", Way::Text));
        let released = Released(&relays);
        shows_the_row(ahead)?;
        ensure!(scene.cluster.primary.value("SELECT COUNT(*) FROM app.one")? == "0");
        let seen = scene.told_to(&mut session, READ)?;
        ensure!(seen == ("1".to_owned(), true), "{seen:?}");
        drain(&scene, behind, "undrain")?;
        drain(&scene, ahead, "drain")?;
        let reading = scope.spawn(|| say(&mut session, READ));
        // That it is not answered cannot be awaited: another is, meanwhile. It waits for 2 s at most, which a busy machine
        // may take for a few.
        scene.told("SELECT v FROM bystander WHERE id = 1")?;
        drop(released);
        let written = writing.join().map_err(|_| anyhow::anyhow!("the writer panicked"))?;
        written.map_err(|failure| anyhow::anyhow!("{failure}"))?;
        reading.join().map_err(|_| anyhow::anyhow!("the reader panicked"))
    })?;
    ensure!(told == "1", "{READ} gave the session {told} after it had given 1");
    held.release(&scene.cluster.primary)
}

/// The same of a write that this proxy knows nothing of, where a read reflects others' writes: the session's next
/// replica has it too, and the primary is asked once it has.
pub(super) fn what_a_replica_shows_early_of_others(flavour: Flavour) -> Result<()> {
    let (cluster, relays) = acknowledging(flavour)?;
    let strict = |config: clonelove_testkit::Config| config.set("routing", "freshness", "\"strict\"");
    let scene = Scene::on(cluster, &[ONE.to_owned()], strict)?;
    let [behind, ahead] = &scene.cluster.replicas[..] else { anyhow::bail!("two replicas were asked for") };
    switch_semi_sync(&scene.cluster, Some("AFTER_SYNC"))?;
    receive(&scene)?;
    probed(&scene.proxy, "primary")?;
    drain(&scene, behind, "drain")?;
    let held = scene.hold()?;
    relays.iter().for_each(|relay| relay.delay(0, NEVER));
    let mut writer = scene.cluster.primary.connect()?;
    let mut session = scene.client(true)?;
    let told = std::thread::scope(|scope| -> Result<(String, String)> {
        let writing = scope.spawn(move || writer.query("INSERT INTO app.one VALUES (1, 1)").map(drop));
        let released = Released(&relays);
        shows_the_row(ahead)?;
        ensure!(scene.cluster.primary.value("SELECT COUNT(*) FROM app.one")? == "0");
        wait_said(&scene.proxy, ahead.name(), "position", ahead.applied_position()?)?;
        let seen = scene.told_to(&mut session, READ)?;
        ensure!(seen == ("1".to_owned(), true), "{seen:?}");
        drain(&scene, behind, "undrain")?;
        drain(&scene, ahead, "drain")?;
        let reading = scope.spawn(move || (say(&mut session, READ), session));
        scene.told("SELECT v FROM bystander WHERE id = 1")?;
        drop(released);
        writing.join().map_err(|_| anyhow::anyhow!("the writer panicked"))??;
        let (first, mut session) = reading.join().map_err(|_| anyhow::anyhow!("the reader panicked"))?;
        Ok((first, say(&mut session, READ)))
    })?;
    ensure!(told.0 == "1" && told.1 == "1", "{READ} gave the session {told:?} after it had given 1");
    held.release(&scene.cluster.primary)
}

/// The same session is answered by another replica in between, about something else: that one need not have what the
/// first has shown.
pub(super) fn what_a_former_replica_showed(flavour: Flavour) -> Result<()> {
    let (cluster, relays) = acknowledging(flavour)?;
    switch_semi_sync(&cluster, Some("AFTER_SYNC"))?;
    // That the first replica has more than the second is not to be known otherwise.
    let table = |config: clonelove_testkit::Config| {
        config
            .set("routing", "freshness", "\"table\"")
            .set("monitor", "interval", "\"1h\"")
            .set("monitor", "timeout", "\"1m\"")
    };
    let scene = Scene::on(cluster, &[ONE.to_owned()], table)?;
    let [behind, ahead] = &scene.cluster.replicas[..] else { anyhow::bail!("two replicas were asked for") };
    drain(&scene, behind, "drain")?;
    let held = scene.hold()?;
    relays.iter().for_each(|relay| relay.delay(0, NEVER));
    let mut writer = scene.client(false)?;
    let mut session = scene.client(true)?;
    let told = std::thread::scope(|scope| -> Result<String> {
        let writing = scope.spawn(|| writer.ask("INSERT INTO one VALUES (1, 1)", Way::Text));
        let released = Released(&relays);
        shows_the_row(ahead)?;
        let seen = scene.told_to(&mut session, READ)?;
        ensure!(seen == ("1".to_owned(), true), "{seen:?}");
        drain(&scene, behind, "undrain")?;
        drain(&scene, ahead, "drain")?;
        let other = scene.told_to(&mut session, "SELECT v FROM bystander WHERE id = 1")?;
        ensure!(other == ("1".to_owned(), true), "the other replica is not read from: {other:?}");
        let reading = scope.spawn(|| say(&mut session, READ));
        scene.told("SELECT v FROM bystander WHERE id = 1")?;
        drop(released);
        let written = writing.join().map_err(|_| anyhow::anyhow!("the writer panicked"))?;
        written.map_err(|failure| anyhow::anyhow!("{failure}"))?;
        reading.join().map_err(|_| anyhow::anyhow!("the reader panicked"))
    })?;
    ensure!(told == "1", "{READ} gave the session {told} after it had given 1");
    held.release(&scene.cluster.primary)
}

/// The primary shows a session what somebody else wrote there, and the log, which is late, has not told of it.
pub(super) fn what_the_log_has_not_told(flavour: Flavour) -> Result<()> {
    let cluster = uniform_of(flavour, 1)?;
    cluster.primary.query(&format!("GRANT REPLICATION SLAVE ON *.* TO {MONITOR_USER}@'%'"))?;
    let relay = Relay::of_logs(cluster.primary.address())?;
    let (primary, replica) = (format!("127.0.0.1:{}", relay.port()), cluster.replicas[0].address());
    // Nor does a probe see that the primary has more than the log told.
    let scene = Scene::on(cluster, &[ONE.to_owned()], |config| {
        let config = config
            .set("routing", "freshness", "\"table\"")
            .set("monitor", "interval", "\"1h\"")
            .set("monitor", "timeout", "\"1m\"");
        let config = config.set("routing", "freshness_scope", "\"cluster\"").without_servers();
        config.server("primary", &primary, "tls = \"disabled\"").server("replica1", &replica, "")
    })?;
    wait_until("the log to be followed", DEFAULT_TIMEOUT, || {
        Ok::<_, anyhow::Error>(scene.proxy.status()?["freshness"]["followed"].is_string())
    })?;
    let held = scene.hold()?;
    ensure!(scene.told(READ)? == ("nothing".to_owned(), true));
    relay.delay(NEVER, 0);
    scene.cluster.primary.query("INSERT INTO app.one VALUES (1, 1)")?;
    let mut session = scene.client(true)?;
    perform(&mut session, &["BEGIN"], str::to_owned)?;
    let seen = say(&mut session, READ);
    ensure!(seen == "1", "the primary says {seen}");
    perform(&mut session, &["COMMIT"], str::to_owned)?;
    let told = say(&mut session, READ);
    relay.delay(0, 0);
    ensure!(told == "1", "{READ} gave the session {told} after it had given 1");
    held.release(&scene.cluster.primary)
}

/// The log tells of a write that the primary has not committed yet, and the primary is asked meanwhile how far it is: what
/// it does not have yet it has not lost.
pub(super) fn what_the_log_tells_early(flavour: Flavour) -> Result<()> {
    let (cluster, relays) = acknowledging(flavour)?;
    cluster.primary.query(&format!("GRANT REPLICATION SLAVE ON *.* TO {MONITOR_USER}@'%'"))?;
    let scene = Scene::on(cluster, &[ONE.to_owned()], |config| {
        config.set("routing", "freshness", "\"table\"").set("routing", "freshness_scope", "\"cluster\"")
    })?;
    let followed = || -> Result<String> { Ok(scene.proxy.status()?["freshness"]["followed"].to_string()) };
    switch_semi_sync(&scene.cluster, Some("AFTER_SYNC"))?;
    receive(&scene)?;
    let position = scene.cluster.primary.value("SELECT @@gtid_executed")?;
    wait_until("the log to be followed", DEFAULT_TIMEOUT, || {
        Ok::<_, anyhow::Error>(followed()?.contains(&position))
    })?;
    relays.iter().for_each(|relay| relay.delay(0, NEVER));
    let mut writer = scene.client(false)?;
    let mut session = scene.client(true)?;
    std::thread::scope(|scope| -> Result<()> {
        let writing = scope.spawn(|| writer.ask("INSERT INTO one VALUES (1, 1)", Way::Text));
        let released = Released(&relays);
        wait_until("the log to tell of it", DEFAULT_TIMEOUT, || {
            Ok::<_, anyhow::Error>(!followed()?.contains(&position))
        })?;
        shows_the_row(&scene.cluster.replicas[0])?;
        perform(&mut session, &["!1062 INSERT INTO bystander VALUES (1, 1)"], str::to_owned)?;
        wait_until("the primary to be asked", DEFAULT_TIMEOUT, || {
            Ok::<_, anyhow::Error>(scene.told("SELECT v FROM bystander WHERE id = 1")?.1)
        })?;
        ensure!(scene.cluster.primary.value("SELECT COUNT(*) FROM app.one")? == "0");
        drop(released);
        let written = writing.join().map_err(|_| anyhow::anyhow!("the writer panicked"))?;
        written.map(drop).map_err(|failure| anyhow::anyhow!("{failure}"))
    })?;
    ensure!(!scene.proxy.log().contains("began anew"), "the primary is taken for one that lost something");
    Ok(())
}

/// Acknowledgements are delivered again when this goes.
struct Released<'a>(&'a [Relay]);

impl Drop for Released<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(|relay| relay.delay(0, 0));
    }
}

fn observe(scene: &Scene, answered: &AtomicBool) -> Result<()> {
    wait_until("the row to be seen on the primary", DEFAULT_TIMEOUT, || {
        Ok::<_, anyhow::Error>(scene.cluster.primary.value("SELECT v FROM app.one WHERE id = 1")? == "1")
    })?;
    for steps in OBSERVATIONS {
        for deprecate_eof in [false, true] {
            let mut session = scene.client(deprecate_eof)?;
            perform(&mut session, steps, str::to_owned)?;
            let told = say(&mut session, READ);
            ensure!(told == "1", "after {steps:?} the session was told {told}");
            let again = say(&mut session, READ);
            ensure!(again == "1", "after {steps:?} the session was told {again} the second time");
        }
    }
    ensure!(!answered.load(Ordering::SeqCst), "the write was answered too early for this test");
    Ok(())
}

/// A trigger comes between the sending of a write and its execution: the write reaches further than was known.
pub(super) fn a_schema_that_changes_meanwhile(flavour: Flavour) -> Result<()> {
    let given = [ONE.to_owned(), ONE.replace("one", "two")];
    let scene = Scene::set(flavour, "table", &given)?;
    let count = "SELECT COUNT(*) FROM one";
    let held = scene.hold()?;
    ensure!(scene.told(count)? == ("0".to_owned(), true));
    let mut maker = scene.client(true)?;
    perform(&mut maker, &["LOCK TABLES two WRITE, one WRITE"], str::to_owned)?;
    let mut writer = scene.client(true)?;
    std::thread::scope(|scope| {
        let writing = scope.spawn(move || say(&mut writer, "INSERT INTO two VALUES (1, 1)"));
        let waits = "SELECT COUNT(*) FROM information_schema.processlist \
                     WHERE info LIKE 'INSERT INTO two%' AND state LIKE 'Waiting for table metadata lock%'";
        wait_until("the write to wait for the lock", DEFAULT_TIMEOUT, || {
            Ok::<_, anyhow::Error>(scene.cluster.primary.value(waits)? == "1")
        })?;
        let trigger =
            "CREATE TRIGGER more AFTER INSERT ON two FOR EACH ROW INSERT INTO one VALUES (NEW.id, NEW.v)";
        perform(&mut maker, &[trigger], str::to_owned)?;
        wait_until("the trigger to be known", DEFAULT_TIMEOUT, || {
            Ok::<_, anyhow::Error>(scene.proxy.status()?["schema"]["triggers"] == 1)
        })?;
        perform(&mut maker, &["UNLOCK TABLES"], str::to_owned)?;
        let said = writing.join().map_err(|_| anyhow::anyhow!("the writer panicked"))?;
        ensure!(said == "nothing", "the write came to {said}");
        Ok(())
    })?;
    let told = scene.told(count)?;
    ensure!(told.0 == "1", "{count} gave a new session {told:?}, not 1");
    held.release(&scene.cluster.primary)
}

/// A table without transactions is written amid one and has its position at once; the transaction has another.
pub(super) fn a_position_amid_a_transaction(flavour: Flavour) -> Result<()> {
    let legacy = "CREATE TABLE two (id INT PRIMARY KEY, v INT NOT NULL) ENGINE = MyISAM";
    let scene = Scene::set(flavour, "table", &[ONE.to_owned(), legacy.to_owned()])?;
    let mut session = scene.client(true)?;
    let first = ["BEGIN", "INSERT INTO one VALUES (1, 1)", "INSERT INTO two VALUES (1, 1)"];
    perform(&mut session, &first, str::to_owned)?;
    let held = scene.hold()?;
    ensure!(scene.told(READ)? == ("nothing".to_owned(), true));
    perform(&mut session, &["COMMIT"], str::to_owned)?;
    let told = scene.told(READ)?;
    ensure!(told.0 == "1", "{READ} gave a new session {told:?}, not 1");
    held.release(&scene.cluster.primary)
}

/// A session that changes its replica does not go back in time, also in what nobody wrote through the proxy.
pub(super) fn another_replica(flavour: Flavour) -> Result<()> {
    let scene = Scene::on(uniform_of(flavour, 2)?, &[ONE.to_owned()], |config| config)?;
    let [behind, ahead] = &scene.cluster.replicas[..] else { anyhow::bail!("two replicas were asked for") };
    drain(&scene, behind, "drain")?;
    let held = scene.hold()?;
    scene.cluster.primary.query("INSERT INTO app.one VALUES (1, 1)")?;
    wait_known(&scene.proxy, ahead, &scene.cluster.primary)?;
    let mut session = scene.client(true)?;
    let seen = scene.told_to(&mut session, READ)?;
    ensure!(seen == ("1".to_owned(), true), "{seen:?}");
    drain(&scene, behind, "undrain")?;
    drain(&scene, ahead, "drain")?;
    let fresh_eyes = scene.told(READ)?;
    ensure!(fresh_eyes == ("nothing".to_owned(), true), "who has seen nothing reads there: {fresh_eyes:?}");
    let told = scene.told_to(&mut session, READ)?;
    ensure!(told.0 == "1", "{READ} gave the session {told:?} after it had given 1");
    held.release(&scene.cluster.primary)
}

fn drain(scene: &Scene, server: &Server, how: &str) -> Result<()> {
    let path = format!("/servers/{}/{how}", server.name());
    ensure!(scene.proxy.http_post(&path)?.status == 200);
    wait_said(&scene.proxy, server.name(), "eligible", how == "undrain")
}

/// A transaction that was prepared past the proxy is committed through it, and the answer never comes: whatever that
/// was may be written.
pub(super) fn an_unknown_commit_is_lost(flavour: Flavour) -> Result<()> {
    let prepared = "XA START 'u'; INSERT INTO app.one VALUES (1, 1); XA END 'u'; XA PREPARE 'u'";
    lost(flavour, "one", |scene| scene.cluster.primary.query(prepared).map(drop), "XA COMMIT 'u'")
}

/// The server carries a write out, and its answer never comes.
pub(super) fn a_lost_connection(flavour: Flavour) -> Result<()> {
    lost(flavour, "one", |_| Ok(()), "INSERT INTO one VALUES (1, 1)")?;
    let steps = ["BEGIN", "INSERT INTO two VALUES (1, 1)"];
    lost_after(flavour, "two", |_| Ok(()), &steps, "COMMIT")
}

fn lost(
    flavour: Flavour,
    table: &str,
    given: impl Fn(&Scene) -> Result<()>,
    last: &'static str,
) -> Result<()> {
    lost_after(flavour, table, given, &[], last)
}

fn lost_after(
    flavour: Flavour,
    table: &str,
    given: impl Fn(&Scene) -> Result<()>,
    steps: &[&str],
    last: &'static str,
) -> Result<()> {
    let cluster = uniform_of(flavour, 1)?;
    let link = Link::to(&cluster.primary.address())?;
    let replica = cluster.replicas[0].address();
    let scene = Scene::on(cluster, &[ONE.to_owned(), ONE.replace("one", "two")], |config| {
        let config = config.set("routing", "freshness", "\"table\"").without_servers();
        config.server("primary", &link.address(), "tls = \"disabled\"").server("replica1", &replica, "")
    })?;
    given(&scene)?;
    let held = scene.hold()?;
    let read = format!("SELECT v FROM {table} WHERE id = 1");
    ensure!(scene.told(&read)? == ("nothing".to_owned(), true));
    let mut session = scene.client(true)?;
    perform(&mut session, steps, str::to_owned)?;
    link.break_at(last, Break::CutReply(0));
    let answer = session.ask(last, Way::Text);
    ensure!(answer.is_err(), "{last} was answered: {answer:?}");
    link.mend();
    wait_until("the write to be done all the same", DEFAULT_TIMEOUT, || {
        Ok::<_, anyhow::Error>(
            scene.cluster.primary.value(&format!("SELECT COUNT(*) FROM app.{table}"))? == "1",
        )
    })?;
    // The loss made the primary look dead for a moment.
    wait_until("the write to be read", DEFAULT_TIMEOUT, || {
        let told = scene.told(&read)?;
        ensure!(!told.1, "a replica said {}", told.0);
        Ok::<_, anyhow::Error>(told.0 == "1")
    })?;
    held.release(&scene.cluster.primary)
}
