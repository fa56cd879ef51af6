//! What others told has arrived at a process once that has followed the primary's binary log so far. Owns the looking;
//! until then a read through that process may miss it, and from then on it must not.

use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clonelove_testkit::{Connection, Family, http_request, wait_until};

use super::world::World;

/// Goes on telling the judge what has arrived where, until all is over.
pub(crate) fn tell(world: &World, primary: &mut Connection) -> Result<()> {
    let processes = world.processes.lock().len();
    while !world.is_over() {
        for process in 0..processes {
            arrive(world, primary, process)?;
        }
    }
    Ok(())
}

/// Waits until all that was acknowledged so far has arrived at a process, and tells the judge.
pub(crate) fn arrive(world: &World, primary: &mut Connection, process: usize) -> Result<()> {
    let acknowledged = world.acknowledged();
    let position = value(
        primary,
        match world.family {
            Family::MariaDb => "SELECT @@gtid_binlog_pos",
            Family::MySql => "SELECT @@GLOBAL.gtid_executed",
        },
    )?;
    let arrived = wait_until("others' writes to arrive", Duration::from_secs(120), || -> Result<bool> {
        // A process that was killed comes back at another place.
        let admin = world.processes.lock()[process].admin.clone();
        let status: serde_json::Value =
            serde_json::from_str(&http_request(&admin, "GET", "/status", &[])?.body)?;
        let Some(followed) = status["freshness"]["followed"].as_str() else { bail!("it follows nothing") };
        match world.family {
            Family::MariaDb => Ok(covers(followed, &position)),
            Family::MySql => {
                let asked = format!("SELECT GTID_SUBSET('{position}', '{followed}')");
                Ok(value(primary, &asked)? == "1")
            }
        }
    });
    arrived.with_context(|| format!("process {process}, {position}"))?;
    world.has_arrived(process, &acknowledged);
    world.arrivals.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

fn value(connection: &mut Connection, sql: &str) -> Result<String> {
    connection.query(sql)?.into_iter().flatten().next().flatten().with_context(|| format!("no value: {sql}"))
}

/// Whether one of MariaDB's positions is at or after another, in every domain.
fn covers(position: &str, other: &str) -> bool {
    let domains = |position: &str| -> Vec<(String, u64)> {
        let one = |gtid: &str| {
            let (domain, rest) = gtid.trim().split_once('-')?;
            Some((domain.to_owned(), rest.rsplit('-').next()?.parse().ok()?))
        };
        position.split(',').filter_map(one).collect()
    };
    let has = domains(position);
    domains(other).iter().all(|(domain, number)| has.iter().any(|one| one.0 == *domain && one.1 >= *number))
}
