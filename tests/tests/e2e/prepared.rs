//! Prepared statements are split like text, on connections that others use as well.
#![expect(clippy::indexing_slicing, reason = "helpers of tests may fail as tests do")]

use anyhow::{Context, Result, ensure};
use clonelove_testkit::{APP_PASSWORD, APP_USER, Clonelove, Cluster, Flavour};
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
