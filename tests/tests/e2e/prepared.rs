//! Prepared statements are split like text, on connections that others use as well.
#![expect(clippy::indexing_slicing, reason = "helpers of tests may fail as tests do")]

use anyhow::{Context, Result, ensure};
use clonelove_testkit::{
    APP_PASSWORD, APP_USER, Clonelove, Cluster, ClusterOptions, DEFAULT_TIMEOUT, Flavour, Server, wait_until,
};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder};

use crate::support::{direct, queries, quick, table, uniform_of, wait_defined, wait_eligible, wait_known};

/// One replica that reads wait for, and one connection to each server.
fn shared(flavour: Flavour) -> Result<(Cluster, Clonelove)> {
    let cluster = uniform_of(flavour, 1)?;
    table(&cluster, 5)?;
    let proxy = Clonelove::start_with(quick(&cluster))?;
    wait_eligible(&proxy, "replica1")?;
    wait_defined(&proxy, "t")?;
    Ok((cluster, proxy))
}

async fn connect(proxy: &Clonelove) -> Result<Conn> {
    let options = OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(proxy.port())
        .user(Some(APP_USER))
        .pass(Some(APP_PASSWORD))
        .db_name(Some("app"))
        .prefer_socket(false);
    Ok(Conn::new(options).await?)
}

fn prepared_count(cluster: &Cluster) -> Result<u64> {
    cluster.replicas[0].status_counter("Prepared_stmt_count")
}

#[test]
fn executions_go_where_their_text_belongs() -> Result<()> {
    each_where_it_belongs(Flavour::MariaDbDistribution)
}

#[test]
fn executions_go_where_their_text_belongs_on_mysql_sid() -> Result<()> {
    if Flavour::MySqlSid.covered()? { each_where_it_belongs(Flavour::MySqlSid) } else { Ok(()) }
}

#[tokio::main(flavor = "current_thread")]
async fn each_where_it_belongs(flavour: Flavour) -> Result<()> {
    let (cluster, proxy) = shared(flavour)?;
    let mut conn = connect(&proxy).await?;
    let read = conn.prep("SELECT v FROM t WHERE id = ?").await?;
    let write = conn.prep("UPDATE t SET v = ? WHERE id = ?").await?;
    let (on_primary, on_replica) = (queries(&proxy, "primary")?, queries(&proxy, "replica1")?);
    for round in 1..=10_u32 {
        conn.exec_drop(&write, (round * 10, 1)).await?;
        // Who is known to be far behind, as on a busy machine, is not waited for.
        wait_known(&proxy, &cluster.replicas[0], &cluster.primary)?;
        let value: Option<u32> = conn.exec_first(&read, (1,)).await?;
        ensure!(value == Some(round * 10), "a read gave {value:?} in round {round}");
    }
    ensure!(queries(&proxy, "primary")? == on_primary + 10.0, "writes");
    ensure!(queries(&proxy, "replica1")? == on_replica + 10.0, "reads");
    // Open statements pin nothing.
    let pins = proxy.status()?["pins"].as_array().map_or(0, Vec::len);
    ensure!(pins == 0, "{}", proxy.status()?);
    conn.disconnect().await?;
    Ok(())
}

#[test]
fn many_clients_share_the_statements_of_few_connections() -> Result<()> {
    shares(Flavour::MariaDbDistribution)
}

#[test]
fn many_clients_share_the_statements_of_few_connections_on_mysql_sid() -> Result<()> {
    if Flavour::MySqlSid.covered()? { shares(Flavour::MySqlSid) } else { Ok(()) }
}

#[tokio::main(flavor = "current_thread")]
async fn shares(flavour: Flavour) -> Result<()> {
    let (cluster, proxy) = shared(flavour)?;
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut conn = connect(&proxy).await?;
        let read = conn.prep("SELECT v FROM t WHERE id = ?").await?;
        let named = conn.prep("SELECT CONCAT(?, '-', ?)").await?;
        clients.push((conn, read, named));
    }
    for round in 0..3_u32 {
        for (at, (conn, read, named)) in clients.iter_mut().enumerate() {
            let value: Option<u32> = conn.exec_first(&*read, (at % 5 + 1,)).await?;
            ensure!(value.is_some(), "client {at}, round {round}");
            // Each time with other types: what one client said of them is not another one's.
            let (text, number) = (format!("c{at}"), at * 1_000);
            let said: Option<String> = if (at + round as usize).is_multiple_of(2) {
                conn.exec_first(&*named, (text.as_str(), number)).await?
            } else {
                conn.exec_first(&*named, (number, text.as_str())).await?
            };
            let said = said.context("no row")?;
            ensure!(said.contains(&text) && said.contains(&number.to_string()), "client {at}: {said}");
        }
    }
    // At rest they share one connection to the replica, with one statement for each text.
    let open = prepared_count(&cluster)?;
    ensure!(open <= 8, "{open} statements are open on the replica for 20 clients with two each");
    Ok(())
}

/// How many statements a server has prepared, which it tells a moment after they were closed.
fn wait_prepared(server: &Server, is: impl Fn(u64) -> bool) -> Result<()> {
    wait_until("the number of prepared statements", DEFAULT_TIMEOUT, || {
        let count = server.status_counter("Prepared_stmt_count")?;
        ensure!(is(count), "{} has {count}", server.name());
        anyhow::Ok(true)
    })
}

/// Prepares and executes so many statements, none of which was there before; every other one is a write.
async fn run_many(conn: &mut Conn, name: &str, count: usize) -> Result<()> {
    for number in 0..count {
        let sql = match number % 2 {
            0 => format!("SELECT v, '{name} {number}' FROM t WHERE id = ?"),
            _ => format!("UPDATE t SET v = v + 0 * {number} WHERE id = ? AND '{name}' <> ''"),
        };
        let statement = conn.prep(&sql).await.with_context(|| sql.clone())?;
        conn.exec_drop(&statement, (number % 5 + 1,)).await.with_context(|| sql.clone())?;
    }
    Ok(())
}

#[test]
fn what_is_prepared_for_later_leaves_room_on_the_server() -> Result<()> {
    leaves_room(Flavour::MariaDbDistribution)
}

#[test]
fn what_is_prepared_for_later_leaves_room_on_the_server_on_mysql_sid() -> Result<()> {
    if Flavour::MySqlSid.covered()? { leaves_room(Flavour::MySqlSid) } else { Ok(()) }
}

#[tokio::main(flavor = "current_thread")]
async fn leaves_room(flavour: Flavour) -> Result<()> {
    const ALLOWED: u64 = 40;
    let extra = vec![format!("--max-prepared-stmt-count={ALLOWED}")];
    let options = ClusterOptions { replicas: 1, uniform: true, extra, ..ClusterOptions::default() };
    let cluster = Cluster::start(flavour, options)?;
    table(&cluster, 5)?;
    let proxy = Clonelove::start_with(quick(&cluster))?;
    wait_eligible(&proxy, "replica1")?;
    wait_defined(&proxy, "t")?;
    // One after the other on the same connections, and some beside each other on connections of their own.
    for name in ["one", "two"] {
        let mut conn = connect(&proxy).await?;
        run_many(&mut conn, name, 120).await?;
        conn.disconnect().await?;
    }
    let mut beside = Vec::new();
    for at in 0..8 {
        let mut conn = connect(&proxy).await?;
        conn.query_drop("BEGIN").await?;
        run_many(&mut conn, &format!("beside {at}"), 16).await?;
        // Of rows that others do not wait for.
        conn.query_drop("COMMIT; BEGIN").await?;
        beside.push(conn);
    }
    for server in cluster.servers() {
        wait_prepared(server, |count| (1..ALLOWED).contains(&count))?;
    }
    drop(beside);
    // As many as are allowed for each connection, which are the ones used last.
    let few = quick(&cluster).set("limits", "prepared_per_connection", "3");
    let few = Clonelove::start_with(few)?;
    wait_eligible(&few, "replica1")?;
    drop(proxy);
    for server in cluster.servers() {
        wait_prepared(server, |count| count == 0)?;
    }
    let mut conn = connect(&few).await?;
    run_many(&mut conn, "few", 20).await?;
    for server in cluster.servers() {
        wait_prepared(server, |count| count == 3)?;
        let told =
            few.metric("clonelove_server_prepared_statements", &[&format!("server=\"{}\"", server.name())])?;
        ensure!((told - 3.0).abs() < 0.5, "{} is said to have {told}", server.name());
    }
    Ok(())
}

#[test]
fn a_statement_keeps_the_meaning_it_was_prepared_with() -> Result<()> {
    keeps_its_meaning(Flavour::MariaDbDistribution)
}

#[test]
fn a_statement_keeps_the_meaning_it_was_prepared_with_on_mysql_sid() -> Result<()> {
    if Flavour::MySqlSid.covered()? { keeps_its_meaning(Flavour::MySqlSid) } else { Ok(()) }
}

#[tokio::main(flavor = "current_thread")]
async fn keeps_its_meaning(flavour: Flavour) -> Result<()> {
    let (cluster, proxy) = shared(flavour)?;
    for sql in [
        "CREATE DATABASE other",
        "GRANT ALL ON other.* TO 'app'@'%'",
        "CREATE TABLE other.t (id INT PRIMARY KEY, v INT)",
        "INSERT INTO other.t VALUES (1, 777)",
    ] {
        cluster.primary.query(sql)?;
    }
    wait_defined(&proxy, "other.t")?;
    let mut conn = connect(&proxy).await?;
    let before = conn.prep("SELECT v FROM t WHERE id = 1").await?;
    let quoted = conn.prep("SELECT \"v\" FROM t WHERE id = 1").await?;
    let here: Option<u32> = conn.exec_first(&before, ()).await?;
    conn.query_drop("USE other").await?;
    conn.query_drop("SET sql_mode = 'ANSI_QUOTES'").await?;
    // Another client makes the proxy use connections on which nothing was prepared.
    let mut others = Vec::new();
    for _ in 0..3 {
        let mut other = connect(&proxy).await?;
        other.query_drop("START TRANSACTION READ ONLY").await?;
        other.query_drop("SELECT COUNT(*) FROM app.t").await?;
        others.push(other);
    }
    let still: Option<u32> = conn.exec_first(&before, ()).await?;
    ensure!(here == still && still != Some(777), "it read {still:?} of another schema's table");
    let text: Option<String> = conn.exec_first(&quoted, ()).await?;
    ensure!(text.as_deref() == Some("v"), "\"v\" became a column: {text:?}");
    let now: Option<u32> = conn.query_first("SELECT \"v\" FROM t WHERE id = 1").await?;
    ensure!(now == Some(777), "the session is not where it went: {now:?}");
    Ok(())
}

#[test]
fn an_unknown_statement_is_told_as_a_server_tells_it() -> Result<()> {
    let (cluster, proxy) = shared(Flavour::MariaDbDistribution)?;
    let execute = [10, 0, 0, 0, 0x17, 99, 0, 0, 0, 0, 1, 0, 0, 0];
    let mut direct = direct(&cluster.primary)?;
    let mut client = crate::support::client(&proxy)?;
    let mut answers = Vec::new();
    for connection in [&mut direct, &mut client] {
        connection.send_raw(&execute)?;
        answers.push(connection.receive_packet()?);
    }
    ensure!(
        answers[0] == answers[1],
        "{:?}",
        answers.iter().map(|a| String::from_utf8_lossy(a)).collect::<Vec<_>>()
    );
    Ok(())
}
