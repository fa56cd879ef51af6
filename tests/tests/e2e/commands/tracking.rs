//! Session tracking: a client is told what it asked for, as by the server, and nothing that was asked for by us.

use anyhow::{Result, ensure};
use clonelove_testkit::{Family, Flavour};

use super::peer::{Peer, SESSION_TRACK, Say};
use super::{begin, same};
use crate::support::{client, queries, value};

const WISHES: &str = "SELECT @@session_track_schema, @@session_track_state_change, \
     @@session_track_system_variables, @@session_track_transaction_info";

#[test]
fn a_client_is_told_what_it_asked_for() -> Result<()> {
    told(Flavour::MariaDbDistribution)
}

#[test]
fn a_client_is_told_what_it_asked_for_on_mysql_sid() -> Result<()> {
    if Flavour::MySqlSid.covered()? { told(Flavour::MySqlSid) } else { Ok(()) }
}

fn told(flavour: Flavour) -> Result<()> {
    let (cluster, proxy) = begin(flavour, |config| config)?;
    let changes = [
        Say::Query("SET NAMES latin1"),
        Say::Query("SET time_zone = '+01:00'"),
        Say::Query("SET sql_mode = 'ANSI'"),
        Say::Query("SET @a = 1"),
        Say::Query("USE test"),
        Say::Command(b"\x02app".to_vec()),
        Say::Query("SELECT id FROM t WHERE id = 1"),
    ];
    // Asked for: MySQL reports some of it until it is told not to, which our connections are.
    let transaction =
        [Say::Query("BEGIN"), Say::Query("UPDATE t SET v = v WHERE id = 1"), Say::Query("COMMIT")];
    // Rows and a write: an EOF packet tells that something changed, if that is to be told.
    let returning = [
        Say::Query("INSERT INTO t VALUES (90, 90) RETURNING id"),
        Say::Query("DELETE FROM t WHERE id = 90 RETURNING id"),
    ];
    // As the server has it by default, and under one wish after the other.
    let mut script = vec![Say::Query(WISHES)];
    script.extend(changes.clone());
    for wish in [
        "SET session_track_state_change = 1",
        "SET session_track_system_variables = 'sql_mode', session_track_schema = 0",
        "SET session_track_system_variables = CONCAT(@@session_track_system_variables, ',time_zone')",
        "SET session_track_schema = 1, session_track_state_change = 0, autocommit = 1",
        "SET session_track_system_variables = 'no_such_variable'",
        "SET session_track_transaction_info = 'CHARACTERISTICS'",
    ] {
        script.extend([Say::Query(wish), Say::Query(WISHES)]);
        script.extend(changes.clone());
        script.extend(returning.iter().filter(|_| flavour.family() == Family::MariaDb).cloned());
    }
    script.extend(transaction);
    // A reset takes the wishes back.
    script.extend([Say::Command(vec![0x1f]), Say::Query(WISHES), Say::Query("SET time_zone = '+02:00'")]);
    // The second time much of it is known, and answered without a server.
    same(&cluster, &proxy, SESSION_TRACK, &script)?;
    let answered = || proxy.metric("clonelove_settings_total", &["how=\"answered\""]);
    let before = answered()?;
    same(&cluster, &proxy, SESSION_TRACK, &script)?;
    ensure!(answered()? >= before + 6.0, "{} settings were answered, {before} before", answered()?);
    // Whoever cannot be told is not, and can still say what it likes.
    same(&cluster, &proxy, 0, &[Say::Query("SET session_track_schema = 0"), Say::Query("USE test")])?;
    let mut plain = client(&proxy)?;
    plain.query("SET session_track_system_variables = ''")?;
    plain.query("UPDATE t SET v = 77 WHERE id = 2")?;
    ensure!(value(&mut client(&proxy)?, "SELECT v FROM t WHERE id = 2")? == "77", "a stale read");
    Ok(())
}

#[test]
fn whoever_tracks_still_reads_from_replicas_and_learns_positions() -> Result<()> {
    for flavour in [Flavour::MariaDbDistribution, Flavour::MySqlSid] {
        if !flavour.covered()? {
            continue;
        }
        let (cluster, proxy) = begin(flavour, |config| config)?;
        crate::support::wait_eligible(&proxy, "replica1")?;
        let mut peer = Peer::through(&proxy, SESSION_TRACK)?;
        let (wish, sign) = match flavour.family() {
            Family::MariaDb => ("SET session_track_system_variables = 'last_gtid'", "last_gtid".to_owned()),
            Family::MySql => {
                ("SET session_track_gtids = 'OWN_GTID'", cluster.primary.value("SELECT @@server_uuid")?)
            }
        };
        let write = Say::Query("UPDATE t SET v = v + 1 WHERE id = 3");
        let before = peer.say(&write)?;
        ensure!(!before.contains(&sign), "nobody asked for positions: {before}");
        peer.say(&Say::Query(wish))?;
        let after = peer.say(&write)?;
        ensure!(after.contains(&sign), "no position: {after}");
        let on_replica = queries(&proxy, "replica1")?;
        for _ in 0..5 {
            peer.say(&Say::Query("SELECT v FROM t WHERE id = 1"))?;
        }
        ensure!(queries(&proxy, "replica1")? >= on_replica + 5.0, "{}", proxy.status()?);
        drop(cluster);
    }
    Ok(())
}
