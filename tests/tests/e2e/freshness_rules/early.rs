//! What the primary shows before it says so, and what it did without saying so.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, ensure};
use clonelove_testkit::{Break, DEFAULT_TIMEOUT, Flavour, Link, wait_until};

use super::super::checker::client::Way;
use super::super::checker::relay::Relay;
use super::super::checker::stage::{replicate_through, semi_sync, switch_semi_sync};
use super::super::support::uniform_of;
use super::rule::{Scene, perform, say};

const ONE: &str = "CREATE TABLE one (id INT PRIMARY KEY, v INT NOT NULL)";
const READ: &str = "SELECT v FROM one WHERE id = 1";
/// Longer than any test.
const NEVER: u64 = 3_600_000;

/// Ways to hear from the primary of a row that somebody else's write, still without an answer, has made.
const OBSERVATIONS: [&[&str]; 5] = [
    &["!1062 INSERT INTO one VALUES (1, 1)"],
    &["UPDATE one SET v = 1 WHERE id = 1"],
    &["SELECT v FROM one WHERE id = 1 FOR UPDATE"],
    &["BEGIN", "SELECT v FROM one WHERE id = 1", "COMMIT"],
    &["INSERT IGNORE INTO one VALUES (1, 1)"],
];

/// A commit is seen on the primary before its OK arrives: whoever saw it must go on seeing it.
pub(super) fn what_the_primary_shows_early(flavour: Flavour) -> Result<()> {
    let cluster = uniform_of(flavour, 1)?;
    let relay = Relay::to(cluster.primary.address())?;
    replicate_through(&cluster.replicas[0], &relay)?;
    semi_sync(&cluster, flavour.family())?;
    let table = |config: clonelove_testkit::Config| config.set("routing", "freshness", "\"table\"");
    let scene = Scene::on(cluster, &[ONE.to_owned()], table)?;
    switch_semi_sync(&scene.cluster, true)?;
    scene.cluster.wait_caught_up()?;
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

fn observe(scene: &Scene, answered: &AtomicBool) -> Result<()> {
    wait_until("the row to be seen on the primary", DEFAULT_TIMEOUT, || {
        Ok::<_, anyhow::Error>(scene.cluster.primary.value("SELECT v FROM app.one WHERE id = 1")? == "1")
    })?;
    for deprecate_eof in [false, true] {
        for steps in OBSERVATIONS {
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

/// The server carries a write out, and its answer never comes.
pub(super) fn a_lost_connection(flavour: Flavour) -> Result<()> {
    let cluster = uniform_of(flavour, 1)?;
    let link = Link::to(&cluster.primary.address())?;
    let replica = cluster.replicas[0].address();
    let scene = Scene::on(cluster, &[ONE.to_owned(), ONE.replace("one", "two")], |config| {
        let config = config.set("routing", "freshness", "\"table\"").without_servers();
        config.server("primary", &link.address(), "tls = \"disabled\"").server("replica1", &replica, "")
    })?;
    let held = scene.hold()?;
    for (table, steps, last) in [
        ("one", &[][..], "INSERT INTO one VALUES (1, 1)"),
        ("two", &["BEGIN", "INSERT INTO two VALUES (1, 1)"][..], "COMMIT"),
    ] {
        let read = format!("SELECT v FROM {table} WHERE id = 1");
        ensure!(scene.told(&read)? == ("nothing".to_owned(), true));
        let mut session = scene.client(true)?;
        perform(&mut session, steps, str::to_owned)?;
        link.break_at(last, Break::CutReply(0));
        let answer = session.ask(last, Way::Text);
        ensure!(answer.is_err(), "{last} was answered: {answer:?}");
        link.mend();
        wait_until("the write to be done all the same", DEFAULT_TIMEOUT, || {
            Ok::<_, anyhow::Error>(scene.cluster.primary.value(&format!("SELECT v FROM app.{table}"))? == "1")
        })?;
        // The loss made the primary look dead for a moment.
        wait_until("the write to be read", DEFAULT_TIMEOUT, || {
            let told = scene.told(&read)?;
            ensure!(!told.1, "a replica said {}", told.0);
            Ok::<_, anyhow::Error>(told.0 == "1")
        })?;
    }
    held.release(&scene.cluster.primary)
}
