//! Commands that few send: COM_SHUTDOWN by whoever may, COM_PROCESS_INFO, reports of progress, KILL in all its forms; and
//! what is offered to clients at all.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clonelove_testkit::{Clonelove, Connection, DEFAULT_TIMEOUT, Family, Flavour, Opening, wait_until};

use super::peer::{BULK_UNIT_RESULTS, DEPRECATE_EOF, EXTENDED_TYPES, PROGRESS, Peer, Say};
use super::{ADMIN, begin, with_boss};
use crate::support::{client, error_of, quick, uniform_of, value};

/// The session of a user who may more than others, directly or through the proxy.
fn as_boss(address: &str, flags: u64) -> Result<Peer> {
    Peer::open(address, &Opening { login: ADMIN, flags, ..Opening::default() })
}

#[test]
fn whoever_may_shuts_the_primary_down() -> Result<()> {
    for through in [false, true] {
        let cluster = uniform_of(Flavour::MariaDbDistribution, 0)?;
        let proxy = Clonelove::start_with(with_boss(&cluster, quick(&cluster), true)?)?;
        let address = if through { proxy.addr() } else { cluster.primary.address() };
        let heard = as_boss(&address, 0)?.say(&Say::Command(vec![8]))?;
        ensure!(heard == "\\xfe\\x00\\x00\\x02\\x00\n", "through the proxy: {through}: {heard}");
        wait_until("the server to be gone", DEFAULT_TIMEOUT, || {
            Ok::<_, anyhow::Error>(cluster.primary.connect().is_err())
        })?;
        if through {
            let refused = error_of(client(&proxy))?;
            ensure!(refused.message.starts_with("clonelove: no server can be used"), "{refused}");
        }
    }
    Ok(())
}

#[test]
fn the_list_of_processes_has_the_servers_columns() -> Result<()> {
    for flavour in [Flavour::MariaDbDistribution, Flavour::MySqlSid] {
        if !flavour.covered()? {
            continue;
        }
        let (cluster, proxy) = begin(flavour, |config| config)?;
        for flags in [0, DEPRECATE_EOF] {
            let say = Say::Command(vec![0x0a]);
            let [direct, through] =
                [Peer::direct(&cluster.primary, flags)?.say(&say)?, Peer::through(&proxy, flags)?.say(&say)?];
            // The number of columns and their definitions; or that there is no such command any more.
            let columns = |text: &str| -> Vec<String> {
                text.lines()
                    .take_while(|line| !line.starts_with("\\xfe"))
                    .take(9)
                    .map(str::to_owned)
                    .collect()
            };
            ensure!(columns(&direct) == columns(&through), "{direct}\nand\n{through}");
            let mut session = Peer::through(&proxy, flags)?;
            let rows = session.say(&say)?;
            let told = rows.contains("app") || rows.starts_with("\\xff");
            ensure!(told && session.say(&Say::Query("SELECT 1"))?.contains('1'), "{rows}");
        }
    }
    Ok(())
}

#[test]
fn reports_of_progress_reach_those_who_want_them() -> Result<()> {
    let (cluster, proxy) = begin(Flavour::MariaDbDistribution, |config| config)?;
    cluster.primary.query("SET GLOBAL progress_report_time = 1")?;
    cluster.primary.query("CREATE TABLE app.slow (id INT) SELECT id FROM app.t")?;
    cluster.wait_caught_up()?;
    let script = [
        Say::Query("SET progress_report_time = 1"),
        Say::Query("ALTER TABLE slow ADD COLUMN s INT, ALGORITHM = COPY"),
        Say::Query("ALTER TABLE slow DROP COLUMN s, ALGORITHM = COPY"),
        Say::Query("SELECT COUNT(*) FROM slow"),
    ];
    for wants in [true, false] {
        let flags = EXTENDED_TYPES | if wants { PROGRESS } else { 0 };
        let mut heard = Vec::new();
        for mut peer in [Peer::direct(&cluster.primary, flags)?, Peer::through(&proxy, flags)?] {
            let replies: Vec<String> = script.iter().map(|say| peer.say(say)).collect::<Result<_>>()?;
            ensure!(
                peer.progress.is_empty() != wants,
                "{} reports, wanted: {wants}; {replies:?}",
                peer.progress.len()
            );
            // One string; stages, of which two; so much done; what is done.
            let shape = |report: &Vec<u8>| report.get(3..6).map(<[u8]>::to_vec);
            heard.push((replies, peer.progress.first().and_then(shape)));
        }
        ensure!(heard.first() == heard.get(1), "{heard:?}");
        if !wants {
            break;
        }
    }
    Ok(())
}

/// The capabilities in a greeting, MariaDB's extended ones from bit 32 on.
fn offered(greeting: &[u8]) -> Result<u64> {
    let end = greeting.iter().position(|byte| *byte == 0).context("a version without an end")?;
    // Its number, eight bytes of salt and a zero.
    let rest = greeting.get(end + 1 + 4 + 8 + 1..).context("a greeting that ends early")?;
    let number = |from: usize, to: usize| -> Result<u64> {
        let bytes = rest.get(from..to).context("a greeting that ends early")?;
        Ok(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    };
    Ok(number(0, 2)? | number(5, 7)? << 16 | number(14, 18)? << 32)
}

#[test]
fn what_is_offered_is_what_all_servers_can() -> Result<()> {
    if !Flavour::MariaDbSid.covered()? {
        return Ok(());
    }
    // The newer one can answer bulk executions row by row.
    let (older, newer) = (uniform_of(Flavour::MariaDbDistribution, 0)?, uniform_of(Flavour::MariaDbSid, 0)?);
    let through = |servers: &[(&str, &str)]| -> Result<u64> {
        let mut config = quick(&newer).without_servers();
        for (role, address) in servers {
            config = config.server(role, address, &format!("role = \"{role}\""));
        }
        let proxy = Clonelove::start_with(config)?;
        let mut peer = Peer::through(&proxy, EXTENDED_TYPES)?;
        ensure!(peer.say(&Say::Query("SELECT 7"))?.contains('7'));
        offered(peer.log_in().0)
    };
    let (old, new) = (older.primary.address(), newer.primary.address());
    let alone = [through(&[("primary", &old)])?, through(&[("primary", &new)])?];
    let both = [
        through(&[("primary", &old), ("replica", &new)])?,
        through(&[("primary", &new), ("replica", &old)])?,
    ];
    let common = alone[0] & alone[1];
    ensure!(alone[1] & BULK_UNIT_RESULTS != 0 && alone[0] & BULK_UNIT_RESULTS == 0, "{alone:x?}");
    ensure!(both == [common, common], "{both:x?}, alone {alone:x?}");
    Ok(())
}

#[test]
fn long_data_has_a_limit_and_its_statement_goes_on_after_a_reset() -> Result<()> {
    for flavour in [Flavour::MariaDbDistribution, Flavour::MySqlSid] {
        if !flavour.covered()? {
            continue;
        }
        let (cluster, proxy) = begin(flavour, |config| {
            config.set("limits", "max_packet", "\"64KiB\"").set("limits", "analyse_up_to", "\"16KiB\"")
        })?;
        cluster
            .primary
            .query("CREATE TABLE app.long_data (id INT AUTO_INCREMENT PRIMARY KEY, v LONGBLOB)")?;
        cluster.wait_caught_up()?;
        let long = |piece: &[u8]| Say::Prepared(0x18, [&[0, 0], piece].concat());
        // One parameter of bytes, which came before.
        let execute = Say::Prepared(0x17, vec![0, 1, 0, 0, 0, 0, 1, 252, 0]);
        let mut peer = Peer::through(&proxy, 0)?;
        ensure!(peer.say(&Say::Prepare("INSERT INTO long_data (v) VALUES (?)"))?.starts_with("\\x00"));
        // Each is within the limit, all of them are not.
        for _ in 0..3 {
            peer.send(&long(&[b'x'; 30_000]))?;
        }
        for _ in 0..2 {
            let heard = peer.say(&execute)?;
            ensure!(
                heard.starts_with("\\xff\\x81\\x04#08S01clonelove: ") && heard.contains("max_packet"),
                "{heard}"
            );
        }
        let reset = peer.say(&Say::Prepared(0x1a, Vec::new()))?;
        ensure!(reset.starts_with("\\x00"), "{reset}");
        for piece in [&[b'y'; 30_000][..], &[b'z'; 30_000]] {
            peer.send(&long(piece))?;
        }
        let heard = peer.say(&execute)?;
        ensure!(heard.starts_with("\\x00\\x01"), "{heard}");
        let there = "SELECT COUNT(*), SUM(LENGTH(v)), MAX(LEFT(v, 2)), MAX(RIGHT(v, 2)) FROM app.long_data";
        let row = cluster.primary.query(there)?.into_iter().flatten().flatten().collect::<Vec<_>>();
        ensure!(row == ["1", "60000", "yy", "zz"], "{row:?}");
    }
    Ok(())
}

/// Whether the connection is closed by the other side, whatever that has said before.
pub(super) fn is_ended(session: &mut Connection) -> Result<bool> {
    session.set_patience(Duration::from_secs(30))?;
    while session.receive_packet().is_ok() {}
    session.is_closed()
}

/// COM_STMT_EXECUTE with a number of eight bytes.
pub(super) fn execute(id: u64) -> Say {
    let mut rest = vec![0, 1, 0, 0, 0, 0, 1, 8, 0x80];
    rest.extend(id.to_le_bytes());
    Say::Prepared(0x17, rest)
}

#[test]
fn a_kill_may_name_its_victim_by_a_parameter() -> Result<()> {
    for flavour in [Flavour::MariaDbDistribution, Flavour::MySqlSid] {
        if !flavour.covered()? {
            continue;
        }
        let (cluster, proxy) = begin(flavour, |config| config)?;
        let mut killer = Peer::through(&proxy, 0)?;
        for sql in ["KILL ?", "KILL CONNECTION ?"] {
            let (mut victim, mut other) = (client(&proxy)?, client(&proxy)?);
            let id = value(&mut victim, "SELECT CONNECTION_ID()")?.parse()?;
            let prepared = killer.say(&Say::Prepare(sql))?;
            if flavour.family() == Family::MySql && prepared.starts_with("\\xff") {
                // It cannot be prepared there.
                continue;
            }
            let heard = killer.say(&execute(id))?;
            ensure!(heard.starts_with("\\x00"), "{flavour:?}: {heard}");
            ensure!(is_ended(&mut victim)?, "{sql}: the victim lives");
            ensure!(value(&mut other, "SELECT 2")? == "2", "{sql}: another one was meant");
            // Nobody's number any more, as soon as its session is gone: the client hears of its end a moment before.
            wait_until("its number to be nobody's", DEFAULT_TIMEOUT, || {
                killer.say(&execute(id)).map(|again| again.starts_with("\\xff"))
            })?;
        }
        // The command of its own, where there still is one.
        let command = |id: u32| Say::Command([&[0x0c], &id.to_le_bytes()[..]].concat());
        let nobody = command(4_000_000_000);
        let direct = Peer::direct(&cluster.primary, 0)?.say(&nobody)?;
        ensure!(killer.say(&nobody)? == direct, "{flavour:?}: it is {direct} directly");
        if direct.contains("4000000000") {
            let mut victim = client(&proxy)?;
            let id = value(&mut victim, "SELECT CONNECTION_ID()")?.parse()?;
            let heard = killer.say(&command(id))?;
            ensure!(heard.starts_with("\\x00") && is_ended(&mut victim)?, "{flavour:?}: {heard}");
        }
        // Its own, by the function.
        let mut own = client(&proxy)?;
        own.send("KILL CONNECTION_ID()")?;
        ensure!(is_ended(&mut own)?, "it lives on");
        let mut left = Connection::open_tcp(
            &proxy.addr(),
            clonelove_testkit::APP_USER,
            clonelove_testkit::APP_PASSWORD,
            None,
        )?;
        ensure!(value(&mut left, "SELECT 3")? == "3");
    }
    Ok(())
}
