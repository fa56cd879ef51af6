//! Idle connections: how long they stay, and in which state.

use anyhow::{Result, bail, ensure};
use clonelove_testkit::{Clonelove, DEFAULT_TIMEOUT, wait_until};

use super::{READS, opened, request, said, several_at_once, threads, wait_threads};
use crate::support::{client, quick, table, uniform, wait_eligible};

#[test]
fn idle_connections_are_closed_but_for_those_kept_warm() -> Result<()> {
    let cluster = uniform(1)?;
    table(&cluster, 1)?;
    let replica = &cluster.replicas[0];
    let config = quick(&cluster).set("pool", "idle_timeout", "\"1s\"").set("pool", "min_idle", "0");
    let proxy = Clonelove::start_with(config)?;
    wait_eligible(&proxy, "replica1")?;
    several_at_once(&proxy, &cluster, 4)?;
    wait_threads(replica, "the idle ones to be closed", <[String]>::is_empty)?;
    proxy.shut_down()?;

    // Two are kept beyond that, and replaced when they are worn.
    let config = quick(&cluster)
        .set("pool", "idle_timeout", "\"30s\"")
        .set("pool", "max_age", "\"3s\"")
        .set("pool", "min_idle", "2");
    let proxy = Clonelove::start_with(config)?;
    wait_eligible(&proxy, "replica1")?;
    request(&proxy)?;
    let first = wait_threads(replica, "two to be kept warm", |now| now.len() == 2)?;
    wait_threads(replica, "two others in their place", |now| {
        now.len() == 2 && now.iter().all(|thread| !first.contains(thread))
    })?;
    wait_threads(&cluster.primary, "two on the primary as well", |now| now.len() == 2)?;
    // Warm is: in the state that was wanted.
    replica.general_log(true)?;
    wait_until("a request that needs no preparation", DEFAULT_TIMEOUT, || {
        let mark = replica.general_log_mark()?;
        let before = threads(replica)?;
        request(&proxy)?;
        let after = threads(replica)?;
        let texts: Vec<String> = said(replica, mark)?.into_iter().map(|entry| entry.text).collect();
        // Unless it met the moment at which they are replaced.
        if before != after {
            bail!("replaced meanwhile");
        }
        ensure!(texts == READS, "{texts:?}");
        Ok(true)
    })
}

#[test]
fn who_wants_something_rare_leaves_the_pool_as_most_want_it() -> Result<()> {
    let cluster = uniform(1)?;
    table(&cluster, 1)?;
    let replica = &cluster.replicas[0];
    let proxy = Clonelove::start_with(quick(&cluster).set("pool", "min_idle", "1"))?;
    wait_eligible(&proxy, "replica1")?;
    for _ in 0..4 {
        request(&proxy)?;
    }
    let kept = wait_threads(replica, "one connection", |now| now.len() == 1)?;
    replica.general_log(true)?;
    let mut rare = client(&proxy)?;
    rare.query("SET time_zone = '+05:00'")?;
    let mark = replica.general_log_mark()?;
    rare.query(READS[1])?;
    drop(rare);
    let said_to_it =
        || -> Result<Vec<String>> { Ok(said(replica, mark)?.into_iter().map(|entry| entry.text).collect()) };
    ensure!(
        said_to_it()?.iter().any(|text| text.contains("+05:00")),
        "it was to take their state: {:?}",
        said_to_it()?
    );
    // Nobody asks for it, and it is made ready for those who mostly come.
    wait_until("it to be brought back", DEFAULT_TIMEOUT, || {
        Ok::<_, anyhow::Error>(said_to_it()?.iter().rev().any(|text| text.contains("ANSI,TRADITIONAL")))
    })?;
    wait_until("it to be free again", DEFAULT_TIMEOUT, || {
        Ok::<_, anyhow::Error>(super::in_use(&proxy, "replica1", "idle")? == 1.0)
    })?;
    let mark = replica.general_log_mark()?;
    request(&proxy)?;
    let texts: Vec<String> = said(replica, mark)?.into_iter().map(|entry| entry.text).collect();
    ensure!(texts == READS, "{texts:?}");
    ensure!(threads(replica)? == kept, "not the same connection");
    ensure!(opened(&proxy, replica)? == 1.0, "another was opened");
    Ok(())
}
