//! What the tests of faults, roles and freshness share: clients of the proxy, and conditions on what it says of
//! itself.
#![expect(clippy::indexing_slicing, reason = "helpers of tests may fail as tests do")]

use anyhow::{Context, Result, bail};
use clonelove_testkit::{
    APP_PASSWORD, APP_USER, Clonelove, Cluster, ClusterOptions, Config, Connection, DEFAULT_TIMEOUT, Family,
    Flavour, Server, SqlError, wait_until,
};
use serde_json::Value;

/// Servers without differences, for tests of anything but those.
pub(crate) fn uniform(replicas: usize) -> Result<Cluster> {
    uniform_of(Flavour::MariaDbDistribution, replicas)
}

/// The same on another flavour.
pub(crate) fn uniform_of(flavour: Flavour, replicas: usize) -> Result<Cluster> {
    Cluster::start(flavour, ClusterOptions { replicas, uniform: true, ..ClusterOptions::default() })
}

/// A config whose proxy looks often, and gives a returning server its full share at once.
pub(crate) fn quick(cluster: &Cluster) -> Config {
    hasty(Config::for_cluster(cluster))
}

/// The same for a config that names its servers itself.
pub(crate) fn hasty(config: Config) -> Config {
    // On a busy machine a server that is well takes its time.
    patience(config, ["2s", "10s"]).set("routing", "warm_up", "\"1ms\"").set(
        "routing",
        "fresh_wait",
        "\"30s\"",
    )
}

/// For reads that are to leave a replica that is held back.
pub(crate) fn unwaiting(config: Config) -> Config {
    config.set("routing", "fresh_wait", "\"5ms\"")
}

/// For servers that are to be found frozen soon.
pub(crate) fn impatient(config: Config) -> Config {
    patience(config, ["500ms", "1s"])
}

fn patience(config: Config, [probe, connect]: [&str; 2]) -> Config {
    config.set("monitor", "timeout", &format!("\"{probe}\"")).set(
        "pool",
        "connect_timeout",
        &format!("\"{connect}\""),
    )
}

/// A session through the proxy, in schema `app`.
pub(crate) fn client(proxy: &Clonelove) -> Result<Connection> {
    Connection::open_tcp(&proxy.addr(), APP_USER, APP_PASSWORD, Some("app"))
}

/// A session of the application on one server, in schema `app`.
pub(crate) fn direct(server: &Server) -> Result<Connection> {
    Connection::open_tcp(&server.address(), APP_USER, APP_PASSWORD, Some("app"))
}

/// The first value of the first row.
pub(crate) fn value(connection: &mut Connection, sql: &str) -> Result<String> {
    let rows = connection.query(sql)?;
    rows.into_iter().flatten().next().flatten().with_context(|| format!("no value: {sql}"))
}

/// Makes `app.t` with these rows and waits until all replicas have it.
pub(crate) fn table(cluster: &Cluster, rows: u32) -> Result<()> {
    cluster.primary.query("CREATE TABLE app.t (id INT PRIMARY KEY, v INT NOT NULL)")?;
    for id in 1..=rows {
        cluster.primary.query(&format!("INSERT INTO app.t VALUES ({id}, {id})"))?;
    }
    cluster.wait_caught_up()
}

/// The error packet that a statement came to.
pub(crate) fn error_of<T: std::fmt::Debug>(result: Result<T>) -> Result<SqlError> {
    match result {
        Ok(done) => bail!("it went well: {done:?}"),
        Err(error) => SqlError::of(&error).cloned().with_context(|| format!("no error packet: {error:#}")),
    }
}

/// What the status says of one server.
pub(crate) fn said_of(proxy: &Clonelove, server: &str) -> Result<Value> {
    let status = proxy.status()?;
    let servers = status["servers"].as_array().context("no servers in the status")?;
    servers
        .iter()
        .find(|one| one["name"] == server)
        .cloned()
        .with_context(|| format!("no {server} in {status}"))
}

/// Waits until the status says this of a server's key.
pub(crate) fn wait_said(proxy: &Clonelove, server: &str, key: &str, wanted: impl Into<Value>) -> Result<()> {
    let wanted = wanted.into();
    wait_until(&format!("{server} to have {key} = {wanted}"), DEFAULT_TIMEOUT, || {
        let said = said_of(proxy, server)?;
        if said[key] == wanted { Ok(true) } else { bail!("{said}") }
    })
}

/// Waits until the server gets reads.
pub(crate) fn wait_eligible(proxy: &Clonelove, server: &str) -> Result<()> {
    wait_said(proxy, server, "eligible", true)
}

/// Waits until the proxy knows a table of `app` that came into being behind its back.
pub(crate) fn wait_defined(proxy: &Clonelove, table: &str) -> Result<()> {
    wait_until(&format!("{table} to be known"), DEFAULT_TIMEOUT, || {
        let before = reason(proxy, "unknown_table")?;
        client(proxy)?.query(&format!("SELECT 1 FROM {table} LIMIT 1"))?;
        Ok::<_, anyhow::Error>(reason(proxy, "unknown_table")? == before)
    })
}

/// A config whose monitoring account may watch the servers, and sees none of their definitions.
pub(crate) fn blind(cluster: &Cluster) -> Result<Config> {
    let (rights, plugin) = match cluster.primary.flavour().family() {
        Family::MariaDb => ("REPLICATION CLIENT, PROCESS, SLAVE MONITOR", ""),
        Family::MySql => ("REPLICATION CLIENT, PROCESS", "WITH caching_sha2_password "),
    };
    let primary = &cluster.primary;
    primary.query(&format!("CREATE USER blind@'%' IDENTIFIED {plugin}BY 'blind-password'"))?;
    primary.query(&format!("GRANT {rights} ON *.* TO blind@'%'"))?;
    cluster.wait_caught_up()?;
    Ok(quick(cluster).set("monitor", "user", "\"blind\"").set("monitor", "password", "\"blind-password\""))
}

/// Waits until the server gets none.
pub(crate) fn wait_out(proxy: &Clonelove, server: &str) -> Result<()> {
    wait_said(proxy, server, "eligible", false)
}

/// How many statements a server got from clients.
pub(crate) fn queries(proxy: &Clonelove, server: &str) -> Result<f64> {
    proxy.metric("clonelove_server_queries_total", &[&format!("server=\"{server}\"")])
}

/// How many commands had this reason.
pub(crate) fn reason(proxy: &Clonelove, reason: &str) -> Result<f64> {
    proxy.metric("clonelove_queries_total", &[&format!("reason=\"{reason}\"")])
}

/// How many statements were moved to another server for this cause.
pub(crate) fn retries(proxy: &Clonelove, cause: &str) -> Result<f64> {
    proxy.metric("clonelove_retries_total", &[&format!("cause=\"{cause}\"")])
}

/// A replica that applies nothing for as long as this lives, though its threads run and reads go on.
pub(crate) struct Held<'a> {
    server: &'a Server,
    _lock: Connection,
}

impl<'a> Held<'a> {
    /// Holds a replica.
    pub(crate) fn new(server: &'a Server) -> Result<Self> {
        let mut lock = server.connect()?;
        lock.query("FLUSH TABLES WITH READ LOCK")?;
        Ok(Self { server, _lock: lock })
    }

    /// Lets it go on, and waits until it has caught up.
    pub(crate) fn release(self, primary: &Server) -> Result<()> {
        let server = self.server;
        drop(self);
        server.wait_caught_up(primary)
    }
}

/// Waits until the proxy knows that a server has what the primary has now.
pub(crate) fn wait_known(proxy: &Clonelove, server: &Server, primary: &Server) -> Result<()> {
    server.wait_caught_up(primary)?;
    let position = server.applied_position()?;
    wait_said(proxy, server.name(), "position", position)
}

/// Kills all connections of a user on a server, and waits until they are gone.
pub(crate) fn kill_connections_of(server: &Server, user: &str) -> Result<()> {
    let list = format!("SELECT id FROM information_schema.processlist WHERE user = '{user}'");
    let killed = server.query(&list)?;
    for row in &killed {
        let id = row.first().and_then(Option::as_deref).context("a connection without a number")?;
        server.query(&format!("KILL {id}"))?;
    }
    // Others may have been opened in their place meanwhile.
    wait_until("the killed connections to be gone", DEFAULT_TIMEOUT, || {
        Ok::<_, anyhow::Error>(!server.query(&list)?.iter().any(|row| killed.contains(row)))
    })
}
