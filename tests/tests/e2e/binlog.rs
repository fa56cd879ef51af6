//! `freshness_scope = "cluster"`: what is written past this clonelove counts as its own writes do, once the primary's
//! binary log has told of it.
#![expect(clippy::indexing_slicing, reason = "helpers of tests may fail as tests do")]

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clonelove_testkit::{
    Clonelove, Cluster, Config, Connection, DEFAULT_TIMEOUT, Flavour, MONITOR_USER, Server, wait_until,
};

use crate::support::{
    Held, client, direct, queries, quick, reason, table, uniform_of, unwaiting, value, wait_defined,
    wait_eligible, wait_said,
};

/// A replica, and a table of five rows.
fn cluster(flavour: Flavour) -> Result<Cluster> {
    let cluster = uniform_of(flavour, 1)?;
    may_follow(&cluster.primary, true)?;
    table(&cluster, 5)?;
    Ok(cluster)
}

fn may_follow(primary: &Server, may: bool) -> Result<()> {
    let (verb, to) = if may { ("GRANT", "TO") } else { ("REVOKE", "FROM") };
    primary.query(&format!("{verb} REPLICATION SLAVE ON *.* {to} {MONITOR_USER}@'%'"))?;
    Ok(())
}

fn config(cluster: &Cluster) -> Config {
    unwaiting(quick(cluster)).set("routing", "freshness_scope", "\"cluster\"")
}

fn following(cluster: &Cluster) -> Result<Clonelove> {
    let proxy = Clonelove::start_with(config(cluster))?;
    wait_eligible(&proxy, "replica1")?;
    wait_defined(&proxy, "t")?;
    wait_behind(&proxy, false)?;
    Ok(proxy)
}

fn wait_behind(proxy: &Clonelove, behind: bool) -> Result<()> {
    wait_until("the state of following to be shown", DEFAULT_TIMEOUT, || -> Result<bool> {
        let metric = proxy.metric("clonelove_freshness_degraded", &["cause=\"binlog_behind\""])?;
        let said = proxy.status()?["freshness"]["degraded"].to_string().contains("binlog_behind");
        Ok(said == behind && metric == f64::from(u8::from(behind)))
    })
}

fn read(session: &mut Connection, id: u32) -> Result<String> {
    value(session, &format!("SELECT v FROM t WHERE id = {id}"))
}

/// Reads until it is what was written elsewhere; how long that took, and how many reads were older.
fn until_seen(session: &mut Connection, id: u32, wanted: &str) -> Result<(Duration, u32)> {
    let (begun, mut older) = (Instant::now(), 0);
    wait_until("the write to be seen", DEFAULT_TIMEOUT, || -> Result<bool> {
        let seen = read(session, id)? == wanted;
        older += u32::from(!seen);
        Ok(seen)
    })?;
    Ok((begun.elapsed(), older))
}

#[expect(clippy::print_stderr, reason = "the delay that was measured is for people")]
fn others_writes(flavour: Flavour) -> Result<()> {
    let cluster = cluster(flavour)?;
    let (narrow, proxy) = (Clonelove::start_with(unwaiting(quick(&cluster)))?, following(&cluster)?);
    wait_eligible(&narrow, "replica1")?;
    let held = Held::new(&cluster.replicas[0])?;
    let mut writer = direct(&cluster.primary)?;
    let mut reader = client(&proxy)?;
    let mut first = Vec::new();
    for round in 1_u32..=20 {
        let wanted = (100 + round).to_string();
        writer.query(&format!("UPDATE t SET v = {wanted} WHERE id = 1"))?;
        first.push(until_seen(&mut reader, 1, &wanted)?);
    }
    first.sort_unstable();
    let older: u32 = first.iter().map(|(_, older)| older).sum();
    eprintln!(
        "{}: from a commit elsewhere to the first read that has it, median {:?}, longest {:?}; {older} reads were older",
        flavour.name(),
        first[10].0,
        first[19].0
    );
    // Without following, a client of another proxy has no way to know.
    ensure!(read(&mut client(&narrow)?, 1)? == "1", "the replica has it, and this shows nothing");
    // Other rows are as fresh on the replica as they ever were.
    let before = queries(&proxy, "replica1")?;
    ensure!(read(&mut reader, 2)? == "2");
    ensure!(queries(&proxy, "replica1")? == before + 1.0, "{}", reason(&proxy, "stale")?);
    // All of a table, a statement that is logged as such, a transaction, and what is made anew.
    writer.query("DELETE FROM t WHERE id > 3")?;
    let mut count = |sql: &str, wanted: &str| {
        wait_until(sql, DEFAULT_TIMEOUT, || Ok::<_, anyhow::Error>(value(&mut reader, sql)? == wanted))
    };
    count("SELECT COUNT(*) FROM t", "3")?;
    writer.query("BEGIN")?;
    writer.query("INSERT INTO t VALUES (50, 1)")?;
    writer.query("INSERT INTO t VALUES (51, 1)")?;
    writer.query("COMMIT")?;
    count("SELECT COUNT(*) FROM t", "5")?;
    writer.query("CREATE TABLE fresh (id INT PRIMARY KEY) ENGINE = MyISAM")?;
    writer.query("INSERT INTO fresh VALUES (1), (2)")?;
    count("SELECT COUNT(*) FROM fresh", "2")?;
    writer.query("TRUNCATE TABLE t")?;
    count("SELECT COUNT(*) FROM t", "0")?;
    held.release(&cluster.primary)
}

#[test]
fn what_others_write_is_read() -> Result<()> {
    others_writes(Flavour::MariaDbDistribution)
}

#[test]
fn what_others_write_is_read_mariadb_sid() -> Result<()> {
    if Flavour::MariaDbSid.covered()? { others_writes(Flavour::MariaDbSid) } else { Ok(()) }
}

#[test]
fn what_others_write_is_read_mysql_sid() -> Result<()> {
    if Flavour::MySqlSid.covered()? { others_writes(Flavour::MySqlSid) } else { Ok(()) }
}

#[test]
fn what_one_proxy_wrote_is_read_through_another() -> Result<()> {
    let cluster = cluster(Flavour::MariaDbDistribution)?;
    let proxies = [following(&cluster)?, following(&cluster)?];
    let held = Held::new(&cluster.replicas[0])?;
    let mut sessions = [client(&proxies[0])?, client(&proxies[1])?];
    for round in 0..10_usize {
        let wanted = (100 + round).to_string();
        sessions[round % 2].query(&format!("UPDATE t SET v = {wanted} WHERE id = 3"))?;
        ensure!(read(&mut sessions[round % 2], 3)? == wanted);
        until_seen(&mut sessions[(round + 1) % 2], 3, &wanted)?;
    }
    // Its own writes are still known by their rows.
    for (proxy, session) in proxies.iter().zip(&mut sessions) {
        let before = queries(proxy, "replica1")?;
        ensure!(read(session, 2)? == "2" && queries(proxy, "replica1")? == before + 1.0);
    }
    held.release(&cluster.primary)
}

#[test]
fn while_the_log_cannot_be_followed_the_primary_is_asked() -> Result<()> {
    let cluster = cluster(Flavour::MariaDbDistribution)?;
    let proxy = following(&cluster)?;
    may_follow(&cluster.primary, false)?;
    let threads =
        "SELECT id FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%' AND user = ";
    let thread = cluster.primary.value(&format!("{threads}'{MONITOR_USER}'"))?;
    cluster.primary.query(&format!("KILL {thread}"))?;
    wait_behind(&proxy, true)?;
    wait_until("the missing privilege to be named", DEFAULT_TIMEOUT, || -> Result<bool> {
        Ok(proxy.status()?["freshness"]["degraded"].to_string().contains("GRANT REPLICATION SLAVE"))
    })?;
    let held = Held::new(&cluster.replicas[0])?;
    let (mut writer, mut reader) = (direct(&cluster.primary)?, client(&proxy)?);
    for round in 100_u32..110 {
        writer.query(&format!("UPDATE t SET v = {round} WHERE id = 1"))?;
        ensure!(read(&mut reader, 1)? == round.to_string(), "the first read has it");
    }
    may_follow(&cluster.primary, true)?;
    wait_behind(&proxy, false)?;
    held.release(&cluster.primary)
}

#[test]
fn a_new_primary_is_followed() -> Result<()> {
    let cluster = uniform_of(Flavour::MariaDbDistribution, 2)?;
    may_follow(&cluster.primary, true)?;
    table(&cluster, 5)?;
    let proxy = following(&cluster)?;
    let [next, behind] = &cluster.replicas[..] else { anyhow::bail!("two replicas were asked for") };
    cluster.primary.kill9()?;
    next.promote()?;
    behind.repoint(next)?;
    wait_said(&proxy, next.name(), "role", "primary")?;
    wait_eligible(&proxy, behind.name())?;
    wait_behind(&proxy, false)?;
    let held = Held::new(behind)?;
    let (mut writer, mut reader) = (direct(next)?, client(&proxy)?);
    for round in 100_u32..110 {
        writer.query(&format!("UPDATE t SET v = {round} WHERE id = 1"))?;
        until_seen(&mut reader, 1, &round.to_string())?;
    }
    ensure!(direct(behind)?.query("SELECT v FROM t WHERE id = 1")?[0][0].as_deref() == Some("1"));
    held.release(next)
}

#[test]
fn a_reload_begins_and_ends_the_following() -> Result<()> {
    let cluster = cluster(Flavour::MariaDbDistribution)?;
    let proxy =
        Clonelove::start_with(unwaiting(quick(&cluster)).set("routing", "freshness_scope", "\"proxy\""))?;
    wait_eligible(&proxy, "replica1")?;
    wait_defined(&proxy, "t")?;
    ensure!(proxy.status()?["freshness"]["followed"].is_null());
    let reload = |from: &str, to: &str| -> Result<()> {
        let text = std::fs::read_to_string(proxy.config_path())?;
        let scope = |scope: &str| format!("freshness_scope = \"{scope}\"");
        std::fs::write(proxy.config_path(), text.replace(&scope(from), &scope(to)))?;
        ensure!(proxy.http_post("/reload")?.status == 200);
        wait_until("the following to begin or end", DEFAULT_TIMEOUT, || {
            Ok::<_, anyhow::Error>(proxy.status()?["freshness"]["followed"].is_null() == (to == "proxy"))
        })
    };
    reload("proxy", "cluster")?;
    let held = Held::new(&cluster.replicas[0])?;
    let (mut writer, mut reader) = (direct(&cluster.primary)?, client(&proxy)?);
    writer.query("UPDATE t SET v = 100 WHERE id = 1")?;
    until_seen(&mut reader, 1, "100")?;
    reload("cluster", "proxy")?;
    writer.query("UPDATE t SET v = 200 WHERE id = 2")?;
    ensure!(read(&mut client(&proxy)?, 2)? == "2", "what is not followed is not known");
    held.release(&cluster.primary)
}

/// The primary shows a session what another process wrote, before the log has told of it: from then on the session's
/// reads have it.
#[test]
fn a_session_that_the_primary_has_answered_does_not_go_back() -> Result<()> {
    let cluster = cluster(Flavour::MariaDbDistribution)?;
    let proxy = following(&cluster)?;
    let held = Held::new(&cluster.replicas[0])?;
    let (mut writer, mut reader) = (direct(&cluster.primary)?, client(&proxy)?);
    for round in 100_u32..200 {
        writer.query(&format!("UPDATE t SET v = {round} WHERE id = 1"))?;
        let seen = value(&mut reader, "SELECT v FROM t WHERE id = 1 FOR UPDATE")?;
        ensure!(seen == round.to_string());
        let again = read(&mut reader, 1)?;
        ensure!(again == seen, "the session was told {again} after {seen}");
    }
    held.release(&cluster.primary)
}
