//! Every command and every capability: what a session through the proxy is answered, packet by packet, is what the
//! primary answers, and what must not be for everybody is not.

#[path = "commands/binlogs.rs"]
mod binlogs;
#[path = "commands/compression.rs"]
mod compression;
#[path = "commands/kill.rs"]
mod kill;
#[path = "commands/peer.rs"]
pub(crate) mod peer;
#[path = "commands/rare.rs"]
mod rare;
#[path = "commands/tracking.rs"]
mod tracking;

use std::process::Command;

use anyhow::{Context, Result, ensure};
use clonelove_testkit::{APP_USER, Clonelove, Cluster, Config, Family, Flavour, SqlError};

use crate::support::{client, error_of, quick, table, uniform_of, value};
use peer::{
    DEPRECATE_EOF, EXTENDED_TYPES, FOUND_ROWS, IGNORE_SPACE, INTERACTIVE, LOCAL_FILES, MULTI_STATEMENTS,
    OPTIONAL_METADATA, PS_MULTI_RESULTS, Peer, QUERY_ATTRIBUTES, SESSION_TRACK, STMT_BULK, Say,
};

const ADMIN: (&str, &str) = ("boss", "boss-password");

/// A primary with a table of five rows, and a proxy. The replica waits for nothing.
fn begin(flavour: Flavour, change: impl FnOnce(Config) -> Config) -> Result<(Cluster, Clonelove)> {
    let cluster = uniform_of(flavour, 1)?;
    table(&cluster, 5)?;
    // A machine with much to do must not make a server look dead.
    let config = quick(&cluster).set("routing", "fresh_wait", "\"30s\"").set("monitor", "timeout", "\"10s\"");
    let proxy = Clonelove::start_with(change(config))?;
    // Through the proxy, so that a server which wants the whole password once has had it.
    client(&proxy)?.query("DO 1")?;
    Ok((cluster, proxy))
}

/// Plays a script directly and through the proxy, with and without DEPRECATE_EOF; each reply must be the same.
fn same(cluster: &Cluster, proxy: &Clonelove, flags: u64, script: &[Say]) -> Result<()> {
    for eof in [0, DEPRECATE_EOF] {
        let mut direct = Peer::direct(&cluster.primary, flags | eof)?;
        let expected: Vec<String> = script.iter().map(|say| direct.say(say)).collect::<Result<_>>()?;
        drop(direct);
        // What is written directly is nothing that the proxy would wait for.
        cluster.wait_caught_up()?;
        let mut through = Peer::through(proxy, flags | eof)?;
        for (at, (say, expected)) in script.iter().zip(expected).enumerate() {
            let found = through.say(say).with_context(|| format!("{say:?}, where {expected} was due"))?;
            // In whatever order a server reports variables, which is that of a hash table.
            let tracks = flags & SESSION_TRACK != 0;
            let like = if tracks { sorted(&found) == sorted(&expected) } else { found == expected };
            ensure!(like, "{at}: {say:?}, flags {:#x}\n{found}\nis not\n{expected}", flags | eof);
        }
    }
    Ok(())
}

fn sorted(text: &str) -> Vec<Vec<char>> {
    let sorted = |line: &str| {
        let mut chars: Vec<char> = line.chars().collect();
        chars.sort_unstable();
        chars
    };
    text.lines().map(sorted).collect()
}

/// COM_STMT_EXECUTE with integers for its parameters.
fn execute(flags: u8, params: &[i32]) -> Say {
    let mut rest = vec![flags, 1, 0, 0, 0];
    if !params.is_empty() {
        rest.extend(vec![0; params.len().div_ceil(8)]);
        rest.push(1);
        params.iter().for_each(|_| rest.extend([3, 0]));
        params.iter().for_each(|value| rest.extend(value.to_le_bytes()));
    }
    Say::Prepared(0x17, rest)
}

fn fetch(rows: u32) -> Say {
    Say::Prepared(0x1c, rows.to_le_bytes().to_vec())
}

#[test]
fn cursors_and_results_of_procedures_are_as_on_the_server() -> Result<()> {
    cursors_and_procedures(Flavour::MariaDbDistribution)
}

#[test]
fn cursors_and_results_of_procedures_are_as_on_the_server_on_mysql_sid() -> Result<()> {
    if Flavour::MySqlSid.covered()? { cursors_and_procedures(Flavour::MySqlSid) } else { Ok(()) }
}

fn cursors_and_procedures(flavour: Flavour) -> Result<()> {
    let (cluster, proxy) = begin(flavour, |config| config)?;
    let make = "CREATE PROCEDURE app.p(IN a INT, OUT b INT) BEGIN SELECT a; SELECT id FROM t WHERE id < a; \
                SET b = a * 2; END";
    cluster.primary.query(make)?;
    // While it has a cursor open itself, MariaDB says so.
    let own = "CREATE PROCEDURE app.q() BEGIN DECLARE n INT; DECLARE c CURSOR FOR SELECT id FROM t ORDER BY id; \
               OPEN c; FETCH c INTO n; SELECT n; FETCH c INTO n; SELECT n, n; CLOSE c; SELECT 'end'; END";
    cluster.primary.query(own)?;
    cluster.wait_caught_up()?;
    let cursor = |sql| [Say::Prepare(sql), execute(1, &[]), fetch(2), fetch(1), fetch(9), fetch(1)];
    let mut script = cursor("SELECT id, v FROM t ORDER BY id").to_vec();
    script.extend([Say::Prepared(0x1a, Vec::new()), fetch(1), Say::Close]);
    // In a transaction, with a parameter, closed before its end, and asked for again.
    script.extend([Say::Query("BEGIN"), Say::Prepare("SELECT id FROM t WHERE id > ? ORDER BY id")]);
    script.extend([execute(1, &[1]), fetch(1), execute(1, &[3]), fetch(9), Say::Close, Say::Query("COMMIT")]);
    script.extend([
        Say::Query("CALL p(3, @b)"),
        Say::Query("SELECT @b"),
        Say::Prepare("CALL p(?, ?)"),
        execute(0, &[4, 0]),
        Say::Close,
        Say::Prepare("CALL q()"),
        execute(0, &[]),
        fetch(1),
        execute(1, &[]),
        fetch(1),
        Say::Close,
        Say::Query("CALL q()"),
        Say::Query("SELECT 1; SELECT id FROM t WHERE id = 2; DO 1; SELECT 3"),
        Say::Query("SELECT 1; SELECT nothing; SELECT 3"),
        Say::Query("SELECT id FROM t WHERE id = 5"),
    ]);
    same(&cluster, &proxy, PS_MULTI_RESULTS, &script)?;
    Ok(())
}

#[test]
fn several_statements_are_switched_on_and_off() -> Result<()> {
    set_option(Flavour::MariaDbDistribution)
}

#[test]
fn several_statements_are_switched_on_and_off_on_mysql_sid() -> Result<()> {
    if Flavour::MySqlSid.covered()? { set_option(Flavour::MySqlSid) } else { Ok(()) }
}

fn set_option(flavour: Flavour) -> Result<()> {
    let (cluster, proxy) = begin(flavour, |config| config)?;
    let (on, off) = (Say::Command(vec![0x1b, 0, 0]), Say::Command(vec![0x1b, 1, 0]));
    let two = Say::Query("SELECT 1; SELECT 2");
    // MySQL repeats the number of errors of the statement before.
    let one = Say::Query("SELECT 1");
    let mut script = vec![two.clone(), off.clone(), two.clone(), one.clone(), on.clone(), two.clone()];
    // On the connection that the session keeps, too, and not on that of the next session.
    script.extend([Say::Query("BEGIN"), off.clone(), two.clone(), Say::Query("COMMIT"), two.clone(), one]);
    script.extend([on, two.clone(), Say::Command(vec![0x1b, 7, 0]), Say::Query("SELECT 3"), off]);
    same(&cluster, &proxy, 0, &script)?;
    same(&cluster, &proxy, 0, &[two])
}

#[test]
fn several_reads_that_leave_warnings_end_as_on_the_server() -> Result<()> {
    let (cluster, proxy) = begin(Flavour::MariaDbDistribution, |config| config)?;
    let reads = "SELECT CAST('7x' AS SIGNED); SELECT CAST('8x' AS SIGNED)";
    // What begins on the primary must not meet what a replica was asked.
    let script: Vec<Say> =
        ["BEGIN", "SELECT 1", "COMMIT", reads].repeat(20).into_iter().map(Say::Query).collect();
    same(&cluster, &proxy, MULTI_STATEMENTS, &script)
}

#[test]
fn commands_without_a_text_are_as_on_the_server() -> Result<()> {
    other_commands(Flavour::MariaDbDistribution)
}

#[test]
fn commands_without_a_text_are_as_on_the_server_on_mysql_sid() -> Result<()> {
    if Flavour::MySqlSid.covered()? { other_commands(Flavour::MySqlSid) } else { Ok(()) }
}

fn other_commands(flavour: Flavour) -> Result<()> {
    let (cluster, proxy) = begin(flavour, |config| config)?;
    let script = [
        Say::Command(vec![0x0e]),
        Say::Command(b"\x02test".to_vec()),
        Say::Query("SELECT DATABASE()"),
        Say::Command(b"\x02nowhere".to_vec()),
        Say::Command(vec![0x1f]),
        Say::Query("SELECT DATABASE(), @@sql_mode = @@global.sql_mode"),
        // A command that is none, and statements that are none.
        Say::Command(vec![0x70]),
        Say::Prepared(0x17, vec![0, 1, 0, 0, 0]),
        Say::Prepared(0x1a, Vec::new()),
        fetch(1),
        Say::Close,
        Say::Prepare("SELECT nothing FROM nowhere"),
        Say::Query("SELECT 1"),
    ];
    same(&cluster, &proxy, 0, &script)?;
    let mut through = Peer::through(&proxy, 0)?;
    let statistics = through.say(&Say::Command(vec![9]))?;
    ensure!(statistics.contains("Uptime"), "COM_STATISTICS: {statistics}");
    Ok(())
}

#[test]
fn bulk_and_direct_execution_are_as_on_the_server() -> Result<()> {
    bulk(Flavour::MariaDbDistribution)
}

#[test]
fn bulk_and_direct_execution_are_as_on_the_server_on_mariadb_sid() -> Result<()> {
    if Flavour::MariaDbSid.covered()? { bulk(Flavour::MariaDbSid) } else { Ok(()) }
}

fn bulk(flavour: Flavour) -> Result<()> {
    let (cluster, proxy) = begin(flavour, |config| config)?;
    cluster.primary.query("CREATE TABLE app.b (id INT AUTO_INCREMENT PRIMARY KEY, v INT)")?;
    cluster.wait_caught_up()?;
    // Each value behind its indicator: a value, NULL, the column's default.
    let rows = [&[0, 7, 0, 0, 0][..], &[1], &[2], &[0, 9, 0, 0, 0]].concat();
    let said =
        |flags: u16, types: &[u8]| Say::Prepared(0xfa, [&flags.to_le_bytes()[..], types, &rows].concat());
    let last =
        |command: u8, rest: &[u8]| Say::Command([&[command], &u32::MAX.to_le_bytes()[..], rest].concat());
    let once: &[u8] = &[0, 1, 0, 0, 0];
    let script = [
        Say::Query("TRUNCATE b"),
        Say::Prepare("INSERT INTO b (v) VALUES (?)"),
        said(128, &[3, 0]),
        // The types were said before.
        said(0, &[]),
        Say::Query("SELECT id, v FROM b ORDER BY id"),
        Say::Prepare("DELETE FROM b WHERE v = ?"),
        said(128, &[3, 0]),
        Say::Query("SELECT id, v FROM b ORDER BY id"),
        // The last one that was prepared, if it was and is.
        Say::Prepare("SELECT COUNT(*) FROM b"),
        last(0x17, once),
        Say::Prepare("SELECT nothing FROM nowhere"),
        last(0x17, once),
        Say::Prepare("SELECT 1"),
        Say::Close,
        last(0x17, once),
    ];
    same(&cluster, &proxy, STMT_BULK | EXTENDED_TYPES, &script)?;
    // Prepared and executed in one go, as clients do it that do not wait.
    for mut peer in [Peer::direct(&cluster.primary, STMT_BULK)?, Peer::through(&proxy, STMT_BULK)?] {
        let (prepare, execute) = (Say::Prepare("SELECT COUNT(*) FROM b"), last(0x17, once));
        peer.send(&prepare)?;
        peer.send(&execute)?;
        peer.hear(&prepare)?;
        ensure!(peer.hear(&execute)?.contains("COUNT"), "no result of a direct execution");
    }
    Ok(())
}

#[test]
fn found_rows_interactive_spaces_and_optional_metadata_are_as_on_the_server() -> Result<()> {
    for flavour in [Flavour::MariaDbDistribution, Flavour::MySqlSid] {
        if !flavour.covered()? {
            continue;
        }
        let (cluster, proxy) = begin(flavour, |config| config)?;
        cluster.primary.query("SET GLOBAL interactive_timeout = 12345")?;
        let spaced = [
            // A space before the parenthesis.
            Say::Query("SELECT COUNT (*), MAX (id) FROM t"),
            Say::Query("INSERT INTO t SELECT MAX (id) + 1, 0 FROM t"),
            Say::Query("DELETE FROM t WHERE v = 0"),
            Say::Prepare("SELECT MIN (id) FROM t"),
            execute(0, &[]),
        ];
        let mut script = vec![
            Say::Query("DELETE FROM t WHERE id = 1"),
            Say::Query("INSERT INTO t VALUES (1, 1)"),
            Say::Query("UPDATE t SET v = 100 WHERE id = 1"),
            Say::Query("UPDATE t SET v = 100 WHERE id = 1"),
            Say::Query("SELECT @@wait_timeout"),
            Say::Command(vec![0x1f]),
            Say::Query("SELECT @@wait_timeout"),
            Say::Query("SELECT id FROM t WHERE id = 1"),
        ];
        script.splice(0..0, spaced.clone());
        script.extend(spaced.clone());
        let mut flags = FOUND_ROWS | INTERACTIVE | IGNORE_SPACE;
        if flavour.family() == Family::MySql {
            flags |= OPTIONAL_METADATA;
            script.extend([
                Say::Query("SET resultset_metadata = NONE"),
                Say::Query("SELECT id, v FROM t WHERE id > 3 ORDER BY id"),
                Say::Prepare("SELECT id FROM t WHERE id = ?"),
                execute(0, &[2]),
                Say::Query("SELECT ROW_COUNT()"),
                Say::Query("SET resultset_metadata = FULL"),
                Say::Query("SELECT id FROM t WHERE id = 1"),
            ]);
        }
        // The connections are told apart: one without the flags finds none of it.
        same(&cluster, &proxy, flags, &script)?;
        same(&cluster, &proxy, 0, script.get(spaced.len()..spaced.len() + 5).unwrap_or_default())?;
        same(&cluster, &proxy, 0, &spaced)?;
    }
    Ok(())
}

#[test]
fn attributes_of_queries_reach_servers_that_know_them() -> Result<()> {
    if !Flavour::MySqlSid.covered()? {
        return Ok(());
    }
    let (cluster, proxy) = begin(Flavour::MySqlSid, |config| config)?;
    let told = "SELECT mysql_query_attribute_string('a')";
    let has_function = cluster.primary.query("INSTALL COMPONENT 'file://component_query_attributes'").is_ok();
    let told = if has_function { told } else { "SELECT 'no component'" };
    let named = |value: &str| -> Vec<u8> {
        // A parameter and an attribute, with their types and names.
        let mut rest = vec![8, 1, 0, 0, 0, 2, 0, 1, 3, 0, 0, 254, 0, 1, b'a', 2, 0, 0, 0];
        rest.push(u8::try_from(value.len()).unwrap_or_default());
        rest.extend_from_slice(value.as_bytes());
        rest
    };
    let prepared = if has_function {
        "SELECT mysql_query_attribute_string('a'), v FROM t WHERE id = ?"
    } else {
        "SELECT v FROM t WHERE id = ?"
    };
    let script = [
        Say::Attributed(told, "a", "first"),
        Say::Query(told),
        Say::Attributed("SELECT id FROM t WHERE id = 3", "b", "x"),
        Say::Attributed("UPDATE t SET v = 5 WHERE id = 5", "b", "x"),
        Say::Attributed("SELECT ROW_COUNT()", "b", "x"),
        Say::Attributed("SET @x = 5, sql_mode = 'ANSI'", "b", "x"),
        Say::Attributed("SELECT @x, \"id\" FROM t WHERE id = 1", "b", "x"),
        Say::Query("SELECT CONNECTION_ID() > 0"),
        Say::Prepare(prepared),
        Say::Prepared(0x17, named("one")),
        Say::Prepared(0x17, named("two")),
    ];
    same(&cluster, &proxy, QUERY_ATTRIBUTES, &script)?;
    if has_function {
        let mut through = Peer::through(&proxy, QUERY_ATTRIBUTES)?;
        let heard = through.say(&Say::Attributed(told, "a", "heard"))?;
        ensure!(heard.contains("heard"), "{heard}");
    }
    // A session that did not negotiate them shares nothing with those that did.
    same(&cluster, &proxy, 0, &[Say::Query("SELECT id FROM t WHERE id = 3"), Say::Query("DO 1")])
}

#[test]
fn files_come_from_clients_and_only_where_that_is_switched_on() -> Result<()> {
    for flavour in [Flavour::MariaDbDistribution, Flavour::MySqlSid] {
        if !flavour.covered()? {
            continue;
        }
        let (cluster, proxy) = begin(flavour, |config| config.set("limits", "local_infile", "true"))?;
        cluster.primary.query("SET GLOBAL local_infile = 1")?;
        cluster.primary.query("CREATE TABLE app.l (id INT)")?;
        cluster.wait_caught_up()?;
        let load = "LOAD DATA LOCAL INFILE '/etc/hostname' INTO TABLE l";
        let script = [
            Say::Query("TRUNCATE l"),
            // The peer answers with three rows of its own, whatever the name.
            Say::Query(load),
            Say::Query("SELECT COUNT(*), SUM(id) FROM l"),
            Say::Query("LOAD DATA LOCAL INFILE 'x' INTO TABLE nowhere"),
            Say::Query("DO 1; LOAD DATA LOCAL INFILE 'x' INTO TABLE l; SELECT COUNT(*) FROM l"),
            Say::Query("SELECT id FROM t WHERE id = 1"),
        ];
        same(&cluster, &proxy, LOCAL_FILES, &script)?;
        let off = Clonelove::start_with(quick(&cluster))?;
        let mut through = Peer::through(&off, LOCAL_FILES)?;
        let heard = through.say(&Say::Query(load))?;
        ensure!(heard.starts_with("\\xff"), "a file was asked for: {heard}");
        ensure!(through.say(&Say::Query("SELECT 1"))?.contains('1'), "the session did not go on");
    }
    Ok(())
}

/// A user that the servers allow everything, and the configuration some more than others.
fn with_boss(cluster: &Cluster, config: Config, admin: bool) -> Result<Config> {
    let (user, password) = ADMIN;
    cluster.primary.query(&format!("CREATE USER {user}@'%' IDENTIFIED BY '{password}'"))?;
    cluster.primary.query(&format!("GRANT ALL ON *.* TO {user}@'%'"))?;
    cluster.wait_caught_up()?;
    Ok(config.user_with(user, password, &format!("admin = {admin}")))
}

#[test]
fn the_binary_log_and_shutdown_are_for_those_who_may() -> Result<()> {
    let cluster = uniform_of(Flavour::MariaDbDistribution, 0)?;
    table(&cluster, 3)?;
    let proxy = Clonelove::start_with(with_boss(&cluster, quick(&cluster), true)?)?;
    let dump = |port: u16, user: &str, password: &str| -> Result<(bool, String)> {
        let mut command = Command::new("mariadb-binlog");
        command.args([
            "--no-defaults",
            "--read-from-remote-server",
            "--host=127.0.0.1",
            "--base64-output=never",
        ]);
        command
            .arg(format!("--port={port}"))
            .arg(format!("--user={user}"))
            .arg(format!("--password={password}"));
        let file = cluster.primary.value("SHOW MASTER STATUS")?;
        let output = command.arg(file).output().context("mariadb-binlog: is it installed?")?;
        let text = [output.stdout, output.stderr].concat();
        Ok((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
    };
    let (user, password) = ADMIN;
    let direct = dump(cluster.primary.port(), user, password)?;
    let through = dump(proxy.port(), user, password)?;
    ensure!(direct.0 && direct.1.contains("INSERT INTO app.t"), "directly: {}", direct.1);
    ensure!(through == direct, "through the proxy: {}", through.1);
    // Whoever may not, may not, whatever the server would say.
    let (_, refused) = dump(proxy.port(), APP_USER, clonelove_testkit::APP_PASSWORD)?;
    ensure!(refused.contains("admin = true"), "{refused}");
    for command in [8, 18, 21] {
        let heard = Peer::through(&proxy, 0)?.say(&Say::Command(vec![command, 0]))?;
        ensure!(heard.starts_with("\\xff\\xcb\\x04#42000clonelove: "), "command {command}: {heard}");
    }
    value(&mut client(&proxy)?, "SELECT COUNT(*) FROM t")?;
    Ok(())
}

/// How many are in SLEEP(). The process list has a statement before that: a KILL QUERY which comes as it begins is now and
/// then forgotten by the server itself, and answered with OK.
const ASLEEP: &str = "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'SELECT SLEEP%' AND state = 'User sleep'";

#[test]
fn the_work_of_others_is_ended_by_those_who_may() -> Result<()> {
    for flavour in [Flavour::MariaDbDistribution, Flavour::MySqlSid] {
        if !flavour.covered()? {
            continue;
        }
        let cluster = uniform_of(flavour, 0)?;
        let proxy = Clonelove::start_with(with_boss(&cluster, quick(&cluster), false)?)?;
        let open = |user: &str, password: &str| {
            clonelove_testkit::Connection::open_tcp(&proxy.addr(), user, password, None)
        };
        let (user, password) = ADMIN;
        let (mut app, mut boss) = (client(&proxy)?, open(user, password)?);
        let [of_app, of_boss] = [&mut app, &mut boss].map(|one| value(one, "SELECT CONNECTION_ID()"));
        let (of_app, of_boss) = (of_app?, of_boss?);
        let refused = error_of(app.query(&format!("KILL {of_boss}")))?;
        ensure!(refused.code == 1095, "{refused}");
        // A running statement is ended, and its session goes on.
        app.send("SELECT SLEEP(60)")?;
        clonelove_testkit::wait_until("the statement to run", clonelove_testkit::DEFAULT_TIMEOUT, || {
            Ok::<_, anyhow::Error>(cluster.primary.value(ASLEEP)? == "1")
        })?;
        boss.query(&format!("KILL QUERY {of_app}"))?;
        let ended = app.receive();
        let interrupted = match &ended {
            // SLEEP() itself says 1 when it was interrupted.
            Ok(rows) => rows.first().and_then(|row| row.first().cloned()).flatten().as_deref() == Some("1"),
            Err(error) => SqlError::of(error).is_some_and(|error| error.code == 1317),
        };
        ensure!(interrupted, "{ended:?}");
        ensure!(value(&mut app, "SELECT 5")? == "5");
        // An idle session is ended as a whole.
        boss.query(&format!("KILL {of_app}"))?;
        ensure!(app.query("SELECT 5").is_err(), "the session goes on");
        ensure!(value(&mut boss, "SELECT 6")? == "6");
    }
    Ok(())
}
