//! Servers with few connections to have, proxies before them, and two worlds of names on the primary.

use anyhow::{Context, Result, ensure};
use clonelove_testkit::{APP_USER, Clonelove, Cluster, ClusterOptions, Config, Family, Flavour};

use super::client::{Answer, Client, Side, Way, first_value};

/// Servers, with the schemas that both sides need.
pub(crate) struct Stage {
    pub(crate) cluster: Cluster,
    pub(crate) flavour: Flavour,
}

impl Stage {
    /// None where the flavour cannot run here.
    pub(crate) fn set(flavour: Flavour, replicas: usize) -> Result<Option<Self>> {
        if !flavour.covered()? {
            return Ok(None);
        }
        let options = ClusterOptions { replicas, uniform: true, ..ClusterOptions::default() };
        let cluster = Cluster::start(flavour, options)?;
        let stage = Self { cluster, flavour };
        for side in Side::BOTH {
            for schema in ["side_$", "more_$"] {
                stage.root(&side.names(&format!("CREATE SCHEMA {schema} CHARACTER SET utf8mb4")))?;
                stage
                    .root(&side.names(&format!("GRANT ALL PRIVILEGES ON {schema}.* TO '{APP_USER}'@'%'")))?;
            }
            stage.root(&side.names("CREATE TABLE more_$.only_here (id INT PRIMARY KEY)"))?;
            stage.root(&side.names("INSERT INTO more_$.only_here VALUES (7)"))?;
        }
        stage.root("CREATE ROLE reader")?;
        stage.root(&format!("GRANT reader TO '{APP_USER}'@'%'"))?;
        stage.fresh_table()?;
        Ok(Some(stage))
    }

    pub(crate) fn is_mariadb(&self) -> bool {
        self.flavour.family() == Family::MariaDb
    }

    pub(crate) fn root(&self, sql: &str) -> Result<()> {
        self.cluster.primary.query(sql).map(drop).with_context(|| sql.to_owned())
    }

    /// Makes the table `t` anew on both sides, with three rows.
    pub(crate) fn fresh_table(&self) -> Result<()> {
        for side in Side::BOTH {
            self.root(&side.names("DROP TABLE IF EXISTS side_$.t"))?;
            self.root(&side.names(
                "CREATE TABLE side_$.t (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(20), n TINYINT)",
            ))?;
            self.root(
                &side.names("INSERT INTO side_$.t (v, n) VALUES ('one', 1), ('two', 2), ('three', 3)"),
            )?;
        }
        self.cluster.wait_caught_up()
    }

    /// Makes `t0` to as many as are asked for, on both sides, with a row each.
    pub(crate) fn tables(&self, count: usize) -> Result<()> {
        for side in Side::BOTH {
            for number in 0..count {
                self.root(&side.names(&format!(
                    "CREATE TABLE side_$.t{number} (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(20), n TINYINT, \
                     at TIMESTAMP NULL)"
                )))?;
                self.root(&side.names(&format!("INSERT INTO side_$.t{number} (v, n) VALUES ('one', 1)")))?;
            }
        }
        self.cluster.wait_caught_up()
    }

    /// A config with this many connections to each server.
    pub(crate) fn config(&self, connections: usize) -> Config {
        // Servers are slow where tests are many, and none of these is about one that is gone.
        let mut config = Config::for_cluster(&self.cluster)
            .without_servers()
            .set("routing", "warm_up", "\"1ms\"")
            .set("monitor", "timeout", "\"15s\"");
        for server in self.cluster.servers() {
            let more = format!("max_connections = {connections}");
            config = config.server(server.name(), &server.address(), &more);
        }
        config
    }

    /// A pair of a client through this proxy and its twin.
    pub(crate) fn pair(&self, proxy: &Clonelove) -> Result<Pair> {
        Ok(Pair {
            proxied: Client::open(Side::Proxied, &proxy.addr())?,
            direct: Client::open(Side::Direct, &self.cluster.primary.address())?,
            said: Vec::new(),
        })
    }
}

/// A client through the proxy, and its twin.
pub(crate) struct Pair {
    pub(crate) proxied: Client,
    pub(crate) direct: Client,
    /// What both were told, for the message of a failure.
    pub(crate) said: Vec<String>,
}

impl Pair {
    /// Asks both; they must agree.
    pub(crate) fn ask(&mut self, sql: &str, way: Way) -> Result<Answer> {
        self.said.push(sql.to_owned());
        let wanted = self.direct.ask(sql, way)?;
        let got = self.proxied.ask(sql, way)?;
        self.compare(got, &wanted, sql)
    }

    /// What the proxied client was sent by [`Client::send`] is answered as its twin is.
    pub(crate) fn receive(&mut self, sql: &str) -> Result<Answer> {
        let wanted = self.direct.ask(sql, Way::Text)?;
        let got = self.proxied.receive().with_context(|| sql.to_owned())?;
        self.compare(got, &wanted, sql)
    }

    fn compare(&self, got: Answer, wanted: &Answer, sql: &str) -> Result<Answer> {
        let said = || self.said.join(";\n  ");
        ensure!(got == *wanted, "{sql}\n through: {got:?}\n direct:  {wanted:?}\n said:\n  {}", said());
        Ok(got)
    }

    /// Asks both by text; they must agree on this first value.
    pub(crate) fn says(&mut self, sql: &str, value: &str) -> Result<()> {
        let answer = self.ask(sql, Way::Text)?;
        let first = first_value(&answer);
        ensure!(first == value, "{sql}: {first}, expected {value}");
        Ok(())
    }

    /// Both become their user again.
    pub(crate) fn change_user(&mut self) -> Result<()> {
        self.said.push("COM_CHANGE_USER".to_owned());
        self.direct.change_user()?;
        self.proxied.change_user()
    }
}
