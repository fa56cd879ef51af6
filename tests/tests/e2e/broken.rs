//! What is broken or ended on one side alone: connections that a server closes for being idle, results that a client leaves
//! half read, tables whose files are damaged on one replica.
#![expect(clippy::indexing_slicing, reason = "helpers of tests may fail as tests do")]

use std::fs;

use anyhow::{Context, Result, ensure};
use clonelove_testkit::{
    APP_USER, Break, Clonelove, Cluster, Connection, DEFAULT_TIMEOUT, Family, Flavour, Link, Server,
    wait_until,
};

use crate::sharing::client::{Bind, Client, Side, Way, first_value};
use crate::support::{
    client, error_of, queries, quick, retries, said_of, table, uniform_of, value, wait_defined,
    wait_eligible, wait_said,
};

/// What MySQL says before it closes a connection that was idle for too long: the first packet of an exchange.
fn idle_for_too_long() -> Vec<u8> {
    let mut payload = vec![0xff];
    payload.extend(4031_u16.to_le_bytes());
    payload.extend(b"#HY000The client was disconnected by the server because of inactivity.");
    let length = payload.len().to_le_bytes();
    [vec![length[0], length[1], length[2], 0], payload].concat()
}

fn threads(server: &Server) -> Result<String> {
    server.value(&format!("SELECT COUNT(*) FROM information_schema.processlist WHERE user = '{APP_USER}'"))
}

fn wait_no_thread(server: &Server) -> Result<()> {
    wait_until("the server to have no connection of the application", DEFAULT_TIMEOUT, || {
        anyhow::Ok(threads(server)? == "0")
    })
}

#[test]
fn a_write_after_an_idle_time_runs_once_on_mariadb() -> Result<()> {
    idle_before_a_write(Flavour::MariaDbDistribution)
}

#[test]
fn a_write_after_an_idle_time_runs_once_on_mariadb_sid() -> Result<()> {
    if Flavour::MariaDbSid.covered()? { idle_before_a_write(Flavour::MariaDbSid) } else { Ok(()) }
}

#[test]
fn a_write_after_an_idle_time_runs_once_on_mysql_sid() -> Result<()> {
    if Flavour::MySqlSid.covered()? { idle_before_a_write(Flavour::MySqlSid) } else { Ok(()) }
}

/// The server ends what is idle for a second, and the next write finds out.
fn idle_before_a_write(flavour: Flavour) -> Result<()> {
    let cluster = uniform_of(flavour, 0)?;
    table(&cluster, 3)?;
    cluster.primary.query("SET GLOBAL wait_timeout = 1")?;
    let proxy = Clonelove::start_with(quick(&cluster).set("pool", "min_idle", "0"))?;
    wait_said(&proxy, "primary", "role", "primary")?;
    let mut session = Client { side: Side::Proxied, connection: client(&proxy)? };
    let prepared = session.prepare("UPDATE t SET v = v + ? WHERE id = 1")?;
    let mut written = 1;
    for round in 0..3 {
        wait_no_thread(&cluster.primary)?;
        let answer = if round == 1 {
            session.execute(prepared, &[Bind::Int(1)])?
        } else {
            session.ask("UPDATE t SET v = v + 1 WHERE id = 1", Way::Text)?
        };
        ensure!(first_value(&answer) == "OK", "{answer:?}");
        written += 1;
        let found = cluster.primary.value("SELECT v FROM app.t WHERE id = 1")?;
        ensure!(found == written.to_string(), "{found} after {written}");
    }
    // What lived on the connection is lost: it is said once, and nothing is written without it.
    for pins in ["START TRANSACTION", "SELECT GET_LOCK('own', 0)", "SET autocommit = 0"] {
        let mut session = client(&proxy)?;
        session.query(pins)?;
        if pins.contains("autocommit") {
            // It begins with what needs a server.
            session.send("SELECT v FROM t WHERE id = 2 FOR UPDATE")?;
            let _ = session.receive();
        }
        wait_no_thread(&cluster.primary)?;
        let error = error_of(session.query("UPDATE t SET v = 0")).with_context(|| pins.to_owned())?;
        ensure!(error.code == 1927, "{pins}: {error}");
        ensure!(session.is_closed()?, "{pins}: it goes on");
    }
    ensure!(cluster.primary.value("SELECT COUNT(*) FROM app.t WHERE v = 0")? == "0");
    Ok(())
}

/// A procedure may end in that error too, after it has written.
#[test]
fn what_a_procedure_wrote_before_it_said_so_is_not_repeated_on_mysql_sid() -> Result<()> {
    if !Flavour::MySqlSid.covered()? {
        return Ok(());
    }
    let cluster = uniform_of(Flavour::MySqlSid, 0)?;
    table(&cluster, 1)?;
    cluster.primary.query(
        "CREATE PROCEDURE app.late() BEGIN UPDATE app.t SET v = v + 1; \
         SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 4031; END",
    )?;
    let proxy = Clonelove::start_with(quick(&cluster))?;
    wait_said(&proxy, "primary", "role", "primary")?;
    let error = error_of(client(&proxy)?.query("CALL late()"))?;
    let found = cluster.primary.value("SELECT v FROM app.t WHERE id = 1")?;
    ensure!((error.code, found.as_str()) == (4031, "2"), "{error}, and {found}");
    Ok(())
}

#[test]
fn a_write_that_meets_the_end_of_its_connection_is_lost_or_repeated_by_no_mistake_on_mariadb() -> Result<()> {
    end_meets_a_write(Flavour::MariaDbDistribution)
}

#[test]
fn a_write_that_meets_the_end_of_its_connection_is_lost_or_repeated_by_no_mistake_on_mysql_sid() -> Result<()>
{
    if Flavour::MySqlSid.covered()? { end_meets_a_write(Flavour::MySqlSid) } else { Ok(()) }
}

/// The server ends a connection while the write is on its way there. MySQL says so, and the write runs on another
/// connection; where nothing is said it is not known whether it ran, and the client is told, once.
fn end_meets_a_write(flavour: Flavour) -> Result<()> {
    let mysql = flavour.family() == Family::MySql;
    let cluster = uniform_of(flavour, 0)?;
    table(&cluster, 3)?;
    let link = Link::to(&cluster.primary.address())?;
    let config = quick(&cluster).without_servers().server("primary", &link.address(), "tls = \"disabled\"");
    let proxy = Clonelove::start_with(config)?;
    wait_said(&proxy, "primary", "role", "primary")?;
    let end = if mysql { Break::Answer(idle_for_too_long()) } else { Break::Close };
    let mut session = Client { side: Side::Proxied, connection: client(&proxy)? };
    let prepared = session.prepare("UPDATE t SET v = v + 1 WHERE id = 1 AND ? <> ''")?;
    let mut written = 1;
    for way in [Way::Text, Way::Prepared] {
        let say = |session: &mut Client| match way {
            Way::Text => session.ask("UPDATE t SET v = v + 1 WHERE id = 1 AND '-late-' <> ''", way),
            Way::Prepared => session.execute(prepared, &[Bind::Text("-late-")]),
        };
        for times in ["once", "always", "never"] {
            match times {
                "once" => link.break_once_at("-late-", end.clone()),
                "always" => link.break_at("-late-", end.clone()),
                _ => link.mend(),
            }
            let told = first_value(&say(&mut session)?);
            let runs = times == "never" || mysql && times == "once";
            ensure!(told == if runs { "OK" } else { "error 1927" }, "{way:?}, {times}: {told}");
            written += u32::from(runs);
            let found = cluster.primary.value("SELECT v FROM app.t WHERE id = 1")?;
            ensure!(found == written.to_string(), "{way:?}, {times}: {found}, not {written}");
        }
    }
    // Half a transaction is not continued, whatever the server says.
    session.ask("START TRANSACTION", Way::Text)?;
    session.ask("UPDATE t SET v = 70 WHERE id = 2", Way::Text)?;
    link.break_once_at("-late-", end);
    let told = first_value(&session.ask("UPDATE t SET v = 80 WHERE id = 3 AND '-late-' <> ''", Way::Text)?);
    ensure!(told == "error 1927", "{told}");
    ensure!(session.connection.is_closed()?, "it goes on");
    wait_until("the transaction to be taken back", DEFAULT_TIMEOUT, || {
        anyhow::Ok(cluster.primary.value("SELECT COUNT(*) FROM app.t WHERE v > 60 FOR UPDATE")? == "0")
    })
}

#[test]
fn who_leaves_a_result_half_read_leaves_nothing_of_it_on_mariadb() -> Result<()> {
    half_read(Flavour::MariaDbDistribution)
}

#[test]
fn who_leaves_a_result_half_read_leaves_nothing_of_it_on_mariadb_sid() -> Result<()> {
    if Flavour::MariaDbSid.covered()? { half_read(Flavour::MariaDbSid) } else { Ok(()) }
}

#[test]
fn who_leaves_a_result_half_read_leaves_nothing_of_it_on_mysql_sid() -> Result<()> {
    if Flavour::MySqlSid.covered()? { half_read(Flavour::MySqlSid) } else { Ok(()) }
}

/// Of a result that is larger than what fits between server and client, a part is read; the replica has one connection to
/// give.
fn half_read(flavour: Flavour) -> Result<()> {
    let cluster = uniform_of(flavour, 1)?;
    table(&cluster, 3)?;
    cluster.primary.query("CREATE TABLE app.large (a INT PRIMARY KEY, b LONGTEXT)")?;
    for a in 0..20 {
        cluster.primary.query(&format!("INSERT INTO app.large VALUES ({a}, REPEAT('x', 4000000))"))?;
    }
    cluster.wait_caught_up()?;
    let replica = &cluster.replicas[0];
    let config = quick(&cluster)
        .without_servers()
        .server("primary", &cluster.primary.address(), "")
        .server("replica1", &replica.address(), "max_connections = 1")
        .set("pool", "min_idle", "0");
    let proxy = Clonelove::start_with(config)?;
    wait_eligible(&proxy, "replica1")?;
    wait_defined(&proxy, "large")?;
    for prepared in [false, true] {
        for how in [Connection::vanish as fn(Connection), drop] {
            let mut session = Client { side: Side::Proxied, connection: client(&proxy)? };
            if prepared {
                let statement = session.prepare("SELECT b FROM large")?;
                session.connection.send_command(&[&[0x17], &statement.0[..], &[0, 1, 0, 0, 0]].concat())?;
            } else {
                session.send("SELECT b FROM large")?;
            }
            // The number of columns, the column, the end of the columns, a row.
            for _ in 0..4 {
                session.connection.receive_packet()?;
            }
            ensure!(busy(&proxy)? == 1.0, "the replica does not answer it");
            ensure!(threads(replica)? == "1");
            how(session.connection);
            wait_until("its connection to be free or closed", DEFAULT_TIMEOUT, || {
                anyhow::Ok(busy(&proxy)? == 0.0 && said_of(&proxy, "replica1")?["in_flight"] == 0)
            })?;
            let before = queries(&proxy, "replica1")?;
            let mut next = client(&proxy)?;
            for id in 1..4 {
                let found = value(&mut next, &format!("SELECT v FROM t WHERE id = {id}"))?;
                ensure!(found == id.to_string(), "{found} of {id}");
            }
            ensure!(queries(&proxy, "replica1")? == before + 3.0, "it was not the replica that answered");
            ensure!(threads(replica)? == "1");
        }
    }
    Ok(())
}

fn busy(proxy: &Clonelove) -> Result<f64> {
    proxy.metric("clonelove_server_connections", &["server=\"replica1\"", "use=\"busy\""])
}

#[test]
fn a_table_that_is_broken_on_a_replica_is_read_on_the_primary_on_mariadb() -> Result<()> {
    broken_table(Flavour::MariaDbDistribution)
}

#[test]
fn a_table_that_is_broken_on_a_replica_is_read_on_the_primary_on_mariadb_sid() -> Result<()> {
    if Flavour::MariaDbSid.covered()? { broken_table(Flavour::MariaDbSid) } else { Ok(()) }
}

#[test]
fn a_table_that_is_broken_on_a_replica_is_read_on_the_primary_on_mysql_sid() -> Result<()> {
    if Flavour::MySqlSid.covered()? { broken_table(Flavour::MySqlSid) } else { Ok(()) }
}

/// What was done to the file of a table.
type Damage = (&'static str, &'static str, fn(&mut Vec<u8>));

const DAMAGES: &[Damage] = &[
    ("an index that ends too early", "MYI", |file| file.truncate(1500)),
    ("an index without its head", "MYI", |file| file[..200].fill(0xA5)),
    ("no index", "MYI", Vec::clear),
    ("rows that end too early", "MYD", |file| file.truncate(100)),
    ("rows of anything", "MYD", |file| file[..1500].fill(0xA5)),
];

fn broken_table(flavour: Flavour) -> Result<()> {
    let cluster = uniform_of(flavour, 1)?;
    table(&cluster, 3)?;
    cluster.primary.query(
        "CREATE TABLE app.old (id INT PRIMARY KEY, v VARCHAR(200), KEY (v)) ENGINE = MyISAM CHARACTER SET latin1",
    )?;
    let rows: Vec<String> = (0..60).map(|id| format!("({id}, CONCAT(REPEAT('x', 100), {id}))")).collect();
    cluster.primary.query(&format!("INSERT INTO app.old VALUES {}", rows.join(", ")))?;
    cluster.wait_caught_up()?;
    let replica = &cluster.replicas[0];
    // None is opened but for those who ask.
    let proxy = Clonelove::start_with(quick(&cluster).set("pool", "min_idle", "0"))?;
    wait_eligible(&proxy, "replica1")?;
    wait_defined(&proxy, "old")?;
    let mut session = Client { side: Side::Proxied, connection: client(&proxy)? };
    session.ask("SELECT v FROM t", Way::Text)?;
    let mut codes = Vec::new();
    for (damage, end, change) in DAMAGES {
        let whole = damaged(replica, end, *change)?;
        codes.push(read_with(&cluster, &proxy, &mut session).with_context(|| (*damage).to_owned())?);
        mended(replica, end, &whole)?;
    }
    codes.sort_unstable();
    codes.dedup();
    ensure!(codes.len() > 2, "the replica itself said no more than {codes:?}");
    Ok(())
}

/// Reads the table by its keys through the proxy, which is to answer as ever; the replica's own word is returned.
fn read_with(cluster: &Cluster, proxy: &Clonelove, session: &mut Client) -> Result<u16> {
    let replica = &cluster.replicas[0];
    let sql = "SELECT v FROM old WHERE id = 7";
    let code = error_of(replica.query(&sql.replace("old", "app.old")))?.code;
    let opened = opened(proxy)?;
    for way in [Way::Text, Way::Prepared] {
        let before = retries(proxy, "broken")?;
        let answer = session.ask(sql, way)?;
        ensure!(format!("{answer:?}").contains("xxx7"), "{way:?}: {code} of the replica became {answer:?}");
        ensure!(retries(proxy, "broken")? > before, "{way:?}: the replica was not asked");
        // Also where it has told the columns before it finds out.
        let answer = session.ask("SELECT v FROM old FORCE INDEX (PRIMARY) WHERE id BETWEEN 7 AND 8", way)?;
        ensure!(format!("{answer:?}").contains("xxx8"), "{way:?}: {code} of the replica became {answer:?}");
        // Nor is it the worse for others.
        let on_replica = queries(proxy, "replica1")?;
        session.ask("SELECT v FROM t", way)?;
        ensure!(queries(proxy, "replica1")? > on_replica, "{way:?}: the replica is avoided");
    }
    ensure!(self::opened(proxy)? == opened, "connections to it were closed");
    ensure!(said_of(proxy, "replica1")?["eligible"] == true, "it was banned");
    Ok(code)
}

fn opened(proxy: &Clonelove) -> Result<f64> {
    proxy.metric("clonelove_server_connects_total", &["server=\"replica1\"", "result=\"ok\""])
}

/// Damages a file of the table; what it was is returned.
fn damaged(replica: &Server, end: &str, change: fn(&mut Vec<u8>)) -> Result<Vec<u8>> {
    close_table(replica)?;
    let path = replica.data_folder().join(format!("app/old.{end}"));
    let whole = fs::read(&path)?;
    let mut broken = whole.clone();
    change(&mut broken);
    if broken.is_empty() {
        fs::rename(&path, path.with_extension("away"))?;
    } else {
        fs::write(&path, broken)?;
    }
    Ok(whole)
}

fn mended(replica: &Server, end: &str, whole: &[u8]) -> Result<()> {
    close_table(replica)?;
    let path = replica.data_folder().join(format!("app/old.{end}"));
    if !path.exists() {
        fs::rename(path.with_extension("away"), &path)?;
    }
    fs::write(&path, whole)?;
    close_table(replica)
}

/// The server looks at the files again.
fn close_table(replica: &Server) -> Result<()> {
    replica.query("FLUSH LOCAL TABLES").map(drop)
}
