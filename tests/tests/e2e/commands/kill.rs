//! KILL goes by the numbers that clients know, however they are said, and never comes to a server with one of them.

use anyhow::{Context, Result, ensure};
use clonelove_testkit::{
    Break, Clonelove, Cluster, Connection, DEFAULT_TIMEOUT, Family, Flavour, Link, SqlError, wait_until,
};

use super::peer::{Peer, Say};
use super::rare::{execute, is_ended};
use super::{ADMIN, begin, with_boss};
use crate::support::{
    client, direct, error_of, quick, table, uniform, uniform_of, value, wait_eligible, wait_said,
};

/// What a KILL of a number that no client has is answered with.
const NOBODY: u16 = 1094;
/// And one of which nobody can tell whom it would hit.
const HIDDEN: u16 = 1235;

/// Somebody on the primary itself, with a number that none of the first clients of a proxy has.
fn bystander(cluster: &Cluster) -> Result<(Connection, u64)> {
    let mut before = Vec::new();
    loop {
        let mut one = direct(&cluster.primary)?;
        let number: u64 = value(&mut one, "SELECT CONNECTION_ID()")?.parse()?;
        if number > 30 {
            return Ok((one, number));
        }
        before.push(one);
    }
}

fn still_there(bystander: &mut Connection, number: u64, after: &str) -> Result<()> {
    let says =
        value(bystander, "SELECT CONNECTION_ID()").with_context(|| format!("it was hit by {after}"))?;
    ensure!(says == number.to_string(), "{after}: {says}");
    Ok(())
}

#[test]
fn no_kill_reaches_a_server_with_a_clients_number() -> Result<()> {
    for flavour in [Flavour::MariaDbDistribution, Flavour::MySqlSid] {
        if flavour.covered()? {
            astray(flavour)?;
        }
    }
    Ok(())
}

fn astray(flavour: Flavour) -> Result<()> {
    let (cluster, proxy) = begin(flavour, |config| config)?;
    let mariadb = flavour.family() == Family::MariaDb;
    let (mut bystander, number) = bystander(&cluster)?;
    let mut killer = client(&proxy)?;
    killer.query(&format!("SET @n = {number}"))?;
    let nobody =
        ["{}", "QUERY {}", "CONNECTION {}", "{} + 0", "@n", "QUERY @n", "(SELECT {})", "'{}'", "0x{x}"];
    let nobody = nobody.map(|form| (format!("KILL {form}"), NOBODY));
    let hidden =
        ["SELECT 1; KILL {}", "KILL {}; SELECT 1", "PREPARE s FROM 'KILL {}'", "PREPARE s FROM 'KILL ?'"];
    let of_mariadb = [
        "EXECUTE IMMEDIATE 'KILL {}'",
        "EXECUTE IMMEDIATE CONCAT('KILL ', {})",
        "SET STATEMENT max_statement_time = 9 FOR KILL {}",
        "BEGIN NOT ATOMIC KILL {}; END",
        "BEGIN NOT ATOMIC SELECT 1; KILL {}; END",
        "IF 1 THEN KILL {}; END IF",
    ];
    let hidden = hidden.iter().chain(of_mariadb.iter().filter(|_| mariadb));
    let hidden = hidden.map(|form| ((*form).to_owned(), HIDDEN));
    for (form, code) in nobody.into_iter().chain(hidden) {
        let sql = form.replace("{}", &number.to_string()).replace("{x}", &format!("{number:x}"));
        let refused = error_of(killer.query(&sql)).with_context(|| sql.clone())?;
        ensure!(refused.code == code, "{flavour:?}: {sql}: {refused}");
        still_there(&mut bystander, number, &sql)?;
    }
    // Nor does it leave anything on the connection that is asked for its number.
    let refused = error_of(killer.query("KILL GET_LOCK('left', 0)"))?;
    ensure!(refused.code == HIDDEN, "{flavour:?}: {refused}");
    ensure!(value(&mut direct(&cluster.primary)?, "SELECT IS_FREE_LOCK('left')")? == "1", "it holds a lock");
    // Prepared, with and without a parameter, and the command of its own.
    let mut peer = Peer::through(&proxy, 0)?;
    for prepared in ["KILL ?", "KILL QUERY ?", "KILL ? + 0"] {
        if peer.say(&Say::Prepare(prepared))?.starts_with("\\x00") {
            let heard = peer.say(&execute(number))?;
            ensure!(heard.starts_with("\\xff"), "{prepared}: {heard}");
            still_there(&mut bystander, number, prepared)?;
        }
    }
    let id = u32::try_from(number)?.to_le_bytes();
    let heard = peer.say(&Say::Command([&[0x0c], &id[..]].concat()))?;
    ensure!(heard.starts_with("\\xff"), "COM_PROCESS_KILL: {heard}");
    still_there(&mut bystander, number, "COM_PROCESS_KILL")?;
    // A definition runs nothing, and what merely looks like one does what it does.
    killer.query("CREATE PROCEDURE kills(n INT) BEGIN DECLARE m INT; SET m = n; KILL n; END")?;
    killer.query("PREPARE s FROM 'SELECT 7 AS skills'")?;
    ensure!(value(&mut killer, "EXECUTE s")? == "7");
    Ok(())
}

#[test]
fn a_kill_may_name_its_victim_by_any_expression() -> Result<()> {
    for flavour in [Flavour::MariaDbDistribution, Flavour::MySqlSid] {
        if flavour.covered()? {
            let (cluster, proxy) = begin(flavour, |config| config)?;
            by_expression(flavour, &proxy)?;
            as_directly(flavour, &cluster, &proxy)?;
        }
    }
    Ok(())
}

fn by_expression(flavour: Flavour, proxy: &Clonelove) -> Result<()> {
    let mut killer = client(proxy)?;
    let ends = |sql: &str, killer: &mut Connection| -> Result<()> {
        let (mut victim, mut other) = (client(proxy)?, client(proxy)?);
        let id = value(&mut victim, "SELECT CONNECTION_ID()")?;
        for part in sql.replace("{}", &id).split("; ") {
            killer.query(part).with_context(|| format!("{flavour:?}: {sql}"))?;
        }
        ensure!(is_ended(&mut victim)?, "{sql}: the victim lives");
        ensure!(value(&mut other, "SELECT 2")? == "2", "{sql}: another one was meant");
        Ok(())
    };
    for sql in ["KILL {} + 0", "KILL (SELECT {})", "KILL CONNECTION '{}'", "SET @v = {}; KILL @v"] {
        ends(sql, &mut killer)?;
    }
    // A variable that only the session's own connection has, also in a transaction.
    ends("SELECT {} + id - 1 INTO @v FROM t WHERE id = 1; KILL @v", &mut killer)?;
    ends("START TRANSACTION READ ONLY; SET @v = {}; SELECT id FROM t; KILL @v; COMMIT", &mut killer)?;
    ends("BEGIN; UPDATE t SET v = 70 WHERE id = 2; KILL @v + {} - @v; COMMIT", &mut killer)?;
    ensure!(value(&mut killer, "SELECT v FROM t WHERE id = 2")? == "70", "the transaction was lost");
    if flavour.family() == Family::MariaDb {
        ends("KILL HARD {}", &mut killer)?;
        ends("KILL SOFT CONNECTION {}", &mut killer)?;
    }
    // Its statement alone, and itself.
    let refused = error_of(killer.query("KILL QUERY CONNECTION_ID() + 1000000"))?;
    ensure!(refused.code == NOBODY, "{refused}");
    killer.send("KILL CONNECTION_ID() + 0")?;
    ensure!(is_ended(&mut killer)?, "it lives on");
    Ok(())
}

fn as_directly(flavour: Flavour, cluster: &Cluster, proxy: &Clonelove) -> Result<()> {
    let function = "CREATE FUNCTION app.whom() RETURNS INT DETERMINISTIC RETURN 4000000";
    cluster.primary.query(function)?;
    cluster.wait_caught_up()?;
    let script = [
        "KILL 4000000",
        "SHOW WARNINGS",
        "KILL QUERY 4000000",
        "SELECT ROW_COUNT()",
        "KILL -1",
        "KILL 4299000000",
        "KILL 99999999999999999999999",
        "KILL 4000000.6",
        "KILL '4000000'",
        "KILL NULL",
        "KILL 0",
        "SET @a = 4000000",
        "KILL @a + 1",
        "KILL whom()",
        "KILL QUERY ID 4000000",
        "KILL SOFT 4000000",
        "KILL USER nobody",
        "KILL (SELECT id FROM t LIMIT 1)",
        "KILL (SELECT COUNT(*) FROM nowhere) + 1",
        "KILL",
        "SELECT 7",
        "KILL QUERY CONNECTION_ID()",
        "SELECT 8",
        "KILL CONNECTION_ID()",
    ];
    let (mut direct, mut through) = (Peer::direct(&cluster.primary, 0)?, Peer::through(proxy, 0)?);
    for sql in script {
        // What is no statement of this server is not told in the same words, if its number had to be asked for.
        if flavour.family() == Family::MySql && sql.starts_with("KILL SOFT") {
            continue;
        }
        let (expected, found) = (direct.say(&Say::Query(sql))?, through.say(&Say::Query(sql))?);
        ensure!(found == expected, "{flavour:?}: {sql}\n{found}\nis not\n{expected}");
    }
    Ok(())
}

/// Whom the primary does not see, for having no connection there at the moment, is one of the user's all the same.
#[test]
fn a_kill_of_a_user_ends_who_has_no_connection_there_too() -> Result<()> {
    let cluster = uniform(1)?;
    table(&cluster, 3)?;
    let other = ("other", "other-password");
    cluster.primary.query(&format!("CREATE USER {}@'%' IDENTIFIED BY '{}'", other.0, other.1))?;
    cluster.primary.query(&format!("GRANT SELECT ON app.* TO {}@'%'", other.0))?;
    cluster.wait_caught_up()?;
    let config = with_boss(&cluster, quick(&cluster), false)?.user(other.0, other.1);
    let proxy = Clonelove::start_with(config)?;
    wait_eligible(&proxy, "replica1")?;
    let open = |(user, password)| Connection::open_tcp(&proxy.addr(), user, password, Some("app"));
    let (mut app, mut boss, mut idle) = (client(&proxy)?, open(ADMIN)?, open(other)?);
    value(&mut idle, "SELECT v FROM t WHERE id = 1")?;

    // By those alone who may, and nobody at another host.
    let refused = error_of(app.query("KILL USER other"))?;
    ensure!(refused.code == 1095, "{refused}");
    boss.query("KILL USER 'other'@'10.9.8.7'")?;
    boss.query("KILL USER nobody")?;
    ensure!(value(&mut idle, "SELECT 2")? == "2");

    // Only what it does, which may be on a replica.
    idle.send("SELECT SLEEP(60) FROM t LIMIT 1")?;
    wait_until("the statement to run", DEFAULT_TIMEOUT, || {
        let counts =
            cluster.servers().map(|server| server.value(super::ASLEEP)).collect::<Result<Vec<_>>>()?;
        Ok::<_, anyhow::Error>(counts.iter().any(|count| count == "1"))
    })?;
    boss.query("KILL QUERY USER other")?;
    match idle.receive() {
        Ok(rows) => ensure!(rows == [[Some("1".to_owned())]], "{rows:?}"),
        Err(error) => ensure!(SqlError::of(&error).is_some_and(|error| error.code == 1317), "{error:#}"),
    }
    ensure!(value(&mut idle, "SELECT 3")? == "3");

    // All of it, at rest and at work.
    let mut working = open(other)?;
    working.query("START TRANSACTION")?;
    boss.query("KILL USER other")?;
    for session in [&mut idle, &mut working] {
        ensure!(is_ended(session)?, "it lives on");
    }
    ensure!(value(&mut app, "SELECT 4")? == "4" && value(&mut boss, "SELECT 5")? == "5");

    // And whoever says it is one of them.
    let mut second = client(&proxy)?;
    app.send("KILL USER CURRENT_USER")?;
    for session in [&mut app, &mut second] {
        ensure!(is_ended(session)?, "it lives on");
    }
    ensure!(value(&mut client(&proxy)?, "SELECT 6")? == "6" && value(&mut boss, "SELECT 7")? == "7");
    Ok(())
}

/// A KILL that is late hits nobody who has the connection next: that stays with its session until the KILL has returned,
/// and is closed if it does not.
#[test]
fn a_kill_under_way_hits_nobody_else_on_mariadb() -> Result<()> {
    late_kill(Flavour::MariaDbDistribution)
}

#[test]
fn a_kill_under_way_hits_nobody_else_on_mariadb_sid() -> Result<()> {
    if Flavour::MariaDbSid.covered()? { late_kill(Flavour::MariaDbSid) } else { Ok(()) }
}

#[test]
fn a_kill_under_way_hits_nobody_else_on_mysql_sid() -> Result<()> {
    if Flavour::MySqlSid.covered()? { late_kill(Flavour::MySqlSid) } else { Ok(()) }
}

fn late_kill(flavour: Flavour) -> Result<()> {
    let cluster = uniform_of(flavour, 0)?;
    table(&cluster, 5)?;
    let link = Link::to(&cluster.primary.address())?;
    // Of one connection whoever comes next gets that of the one before.
    let config = quick(&cluster)
        .without_servers()
        .server("primary", &link.address(), "max_connections = 1\ntls = \"disabled\"")
        .set("pool", "min_idle", "0");
    let proxy = Clonelove::start_with(config)?;
    wait_said(&proxy, "primary", "role", "primary")?;
    for returns_in_time in [true, false] {
        let (mut victim, mut killer, mut next) = (client(&proxy)?, client(&proxy)?, client(&proxy)?);
        let id = value(&mut victim, "SELECT CONNECTION_ID()")?;
        value(&mut next, "SELECT CONNECTION_ID()")?;
        let (mut first, mut second) = (locked(&cluster, 1)?, locked(&cluster, 2)?);
        let kills = cluster.primary.status_counter("Com_kill")?;

        victim.send("UPDATE t SET v = v + 1 WHERE id = 1")?;
        wait_updates(&cluster, 1)?;
        link.break_at("KILL QUERY", Break::Hold);
        killer.send(&format!("KILL QUERY {id}"))?;
        wait_until("the KILL to be on its way", DEFAULT_TIMEOUT, || anyhow::Ok(link.held() == 1))?;
        if !returns_in_time {
            // Whoever said it does not wait for ever.
            killer.receive()?;
        }
        first.query("COMMIT")?;
        victim.receive().context("nothing has come to the victim yet")?;

        next.send("UPDATE t SET v = v + 1 WHERE id = 2")?;
        wait_updates(&cluster, 1)?;
        link.mend();
        if returns_in_time {
            killer.receive()?;
        }
        wait_until("the KILL to be heard", DEFAULT_TIMEOUT, || {
            anyhow::Ok(cluster.primary.status_counter("Com_kill")? > kills)
        })?;
        second.query("COMMIT")?;
        next.receive().with_context(|| format!("returns in time: {returns_in_time}"))?;
        // Nothing of it is left.
        ensure!(value(&mut victim, "SELECT v FROM t WHERE id = 3")? == "3");
    }
    ensure!(cluster.primary.value("SELECT SUM(v) FROM app.t WHERE id < 3")? == "7");
    Ok(())
}

/// Somebody who has locked a row.
fn locked(cluster: &Cluster, id: u32) -> Result<Connection> {
    let mut root = cluster.primary.connect()?;
    root.query("BEGIN")?;
    root.query(&format!("SELECT v FROM app.t WHERE id = {id} FOR UPDATE"))?;
    Ok(root)
}

fn wait_updates(cluster: &Cluster, count: u32) -> Result<()> {
    // From then on a KILL of theirs is not forgotten by the server.
    let list = "SELECT COUNT(*) FROM information_schema.processlist \
                WHERE info LIKE 'UPDATE t SET%' AND state = 'updating'";
    wait_until("updates to wait for their rows", DEFAULT_TIMEOUT, || {
        anyhow::Ok(cluster.primary.value(list)? == count.to_string())
    })
}
