//! Connections to servers end as clients end theirs: with a word. A server counts the others as cut off, and warns of
//! them in its log.
#![expect(clippy::indexing_slicing, reason = "helpers of tests may fail as tests do")]

use anyhow::{Context, Result, ensure};
use clonelove_testkit::{
    APP_USER, Clonelove, Cluster, Connection, DEFAULT_TIMEOUT, Flavour, MONITOR_USER, wait_until,
};

use crate::support::{client, quick, table, uniform_of, value};

/// How many clients each server counts as cut off, and how many are there, over connections that count as none.
struct Witness {
    name: String,
    root: Connection,
    before: u64,
}

impl Witness {
    fn all(cluster: &Cluster) -> Result<Vec<Self>> {
        let begin = |server: &clonelove_testkit::Server| {
            let mut root = server.connect()?;
            let before = cut_off(&mut root)?;
            Ok(Self { name: server.name().to_owned(), root, before })
        };
        cluster.servers().map(begin).collect()
    }

    fn since(&mut self) -> Result<u64> {
        Ok(cut_off(&mut self.root)? - self.before)
    }

    fn wait_gone(&mut self, users: &str) -> Result<()> {
        let list = format!("SELECT COUNT(*) FROM information_schema.processlist WHERE user IN ({users})");
        wait_until("connections to go", DEFAULT_TIMEOUT, || {
            Ok::<_, anyhow::Error>(value(&mut self.root, &list)? == "0")
        })
    }
}

fn cut_off(root: &mut Connection) -> Result<u64> {
    let rows = root.query("SHOW GLOBAL STATUS LIKE 'Aborted_clients'")?;
    Ok(rows.first().and_then(|row| row[1].clone()).context("no such counter")?.parse()?)
}

#[test]
fn servers_hear_of_the_end_of_connections() -> Result<()> {
    parting(Flavour::MariaDbDistribution)
}

#[test]
fn servers_hear_of_the_end_of_connections_on_mysql_sid() -> Result<()> {
    if Flavour::MySqlSid.covered()? { parting(Flavour::MySqlSid) } else { Ok(()) }
}

fn parting(flavour: Flavour) -> Result<()> {
    let cluster = uniform_of(flavour, 1)?;
    table(&cluster, 3)?;
    // A machine with much to do must not make the monitor give up in the middle of a question.
    let config = || quick(&cluster).set("monitor", "timeout", "\"30s\"");
    let brief = config().set("pool", "idle_timeout", "\"1s\"").set("pool", "min_idle", "0");
    let proxy = Clonelove::start_with(brief)?;
    client(&proxy)?.query("DO 1")?;
    let mut witnesses = Witness::all(&cluster)?;
    // What others can use, and goes for being idle.
    let mut session = client(&proxy)?;
    session.query("INSERT INTO t VALUES (10, 10)")?;
    session.query("SELECT COUNT(*) FROM t")?;
    drop(session);
    // What nobody else can use: with a table of its own, in the middle of a transaction.
    for state in ["CREATE TEMPORARY TABLE own (id INT)", "BEGIN", "SET @a = RAND()"] {
        let mut session = client(&proxy)?;
        session.query(state)?;
        session.query("INSERT INTO t VALUES (11, 11)")?;
        session.query("DELETE FROM t WHERE id = 11")?;
    }
    // A KILL says what it says over a connection of its own.
    let mut victim = client(&proxy)?;
    let id = value(&mut victim, "SELECT CONNECTION_ID()")?;
    victim.query("BEGIN")?;
    victim.query("SELECT v FROM t WHERE id = 1 FOR UPDATE")?;
    client(&proxy)?.query(&format!("KILL QUERY {id}"))?;
    drop(victim);
    for witness in &mut witnesses {
        witness.wait_gone(&format!("'{APP_USER}'"))?;
        let cut = witness.since()?;
        ensure!(cut == 0, "{flavour:?}: {} counts {cut} as cut off", witness.name);
    }
    proxy.shut_down()?;

    // And all that is idle when the proxy ends.
    let proxy = Clonelove::start_with(config())?;
    let mut sessions = (0..4).map(|_| client(&proxy)).collect::<Result<Vec<_>>>()?;
    for session in &mut sessions {
        session.query("BEGIN")?;
        session.query("SELECT v FROM t WHERE id = 1")?;
    }
    for session in &mut sessions {
        session.query("COMMIT")?;
    }
    let mut witnesses = Witness::all(&cluster)?;
    let idle = proxy.metric("clonelove_server_connections", &["server=\"primary\"", "use=\"idle\""])?;
    ensure!(idle >= 4.0, "only {idle} are idle");
    drop(sessions);
    proxy.shut_down()?;
    for witness in &mut witnesses {
        witness.wait_gone(&format!("'{APP_USER}', '{MONITOR_USER}'"))?;
        let cut = witness.since()?;
        // The monitor may have been in the middle of a question.
        ensure!(cut <= 1, "{flavour:?}: {} counts {cut} as cut off at the end", witness.name);
    }
    Ok(())
}
