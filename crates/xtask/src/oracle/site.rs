//! The servers that statements are tried on: a primary, and a replica that is configured differently. Owns their
//! start, their state between two files, and how a connection to the replica is set up, which is as clonelove does.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clonelove_route::report::{Flavour as Family, Report, ResultRows, probe_statements, report_from};
use clonelove_sql::{Dialect, Facts, Modes, Resolved, Schema, schema};
use clonelove_testkit::{Cluster, ClusterOptions, Flavour, wait_until};

use super::client::{Client, Fault, Reply, Rows};

/// What is at home in the servers, and must not change.
const OWN_SCHEMAS: &[&str] = &["information_schema", "mysql", "performance_schema", "sys", "mtr"];
/// Tables of accounts and the like, whose contents must be as they were before the next file begins.
const OWN_TABLES: &str = "CHECKSUM TABLE mysql.global_priv, mysql.db, mysql.tables_priv, mysql.columns_priv, \
    mysql.procs_priv, mysql.proc, mysql.event, mysql.func, mysql.plugin, mysql.servers, mysql.roles_mapping, \
    mysql.proxies_priv, mysql.time_zone_name, mysql.help_topic";
/// Global variables that move by themselves.
const MOVING: &[&str] =
    &["gtid_", "timestamp", "innodb_buffer_pool_load", "log_bin", "pseudo_", "rand_seed", "last_"];
/// How long a replica may need.
const CATCH_UP: u32 = 20;
/// How long the end of a connection may need.
const GONE: Duration = Duration::from_secs(20);

/// The servers, with a connection of our own to each.
pub(super) struct Site {
    pub(super) cluster: Cluster,
    /// To the primary, for looking on.
    pub(super) side: Client,
    /// To the replica, likewise.
    pub(super) replica_side: Client,
    /// For what clonelove's monitor asks of the schema; its sql_mode is empty.
    knowing: Client,
    /// What was learnt; none when it may be out of date.
    schema: Option<Schema>,
    /// Whether user locks can be seen.
    pub(super) sees_locks: bool,
    globals: BTreeMap<String, String>,
    fingerprint: Vec<Vec<Option<String>>>,
    /// What a replica's connection must hear to be like the primary's.
    settings: Vec<(String, String)>,
    start: Dialect,
    repeatable: bool,
    /// What the replica is known to have applied.
    applied: String,
    /// The replica does not replicate any more: nothing is compared with it, and the next file wants new servers.
    pub(super) replica_lost: bool,
}

/// What is wanted of the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// MariaDB's own tests: latin1, as they want it.
    Suite,
    /// Recordings of Drupal.
    Recordings,
}

impl Site {
    /// Starts the servers.
    pub(super) fn start(purpose: Purpose, data: Option<&Path>) -> Result<Self> {
        let mut extra = vec!["--max-allowed-packet=64M".to_owned(), "--local-infile=1".to_owned()];
        if purpose == Purpose::Suite {
            extra.extend(
                ["--character-set-server=latin1", "--innodb-lock-wait-timeout=3", "--lock-wait-timeout=4"]
                    .map(str::to_owned),
            );
        }
        // Beyond what the testkit's odd replica has: other collations by default.
        let replica_extra =
            ["--character-set-server=utf8mb4", "--collation-server=utf8mb4_bin"].map(str::to_owned);
        let options = ClusterOptions {
            replicas: 1,
            extra,
            replica_extra: replica_extra.to_vec(),
            ..ClusterOptions::default()
        };
        let cluster = Cluster::start(Flavour::MariaDbDistribution, options)?;
        if let Some(data) = data {
            let status = std::process::Command::new("cp")
                .arg("-r")
                .arg(data)
                .arg(cluster.folder().join("std_data"))
                .status()?;
            if !status.success() {
                bail!("cannot copy {}", data.display());
            }
        }
        let open = |server: &clonelove_testkit::Server| {
            Client::open(&server.socket(), "root", None, false)
                .map_err(|refusal| anyhow::anyhow!("{refusal:?}"))
        };
        let mut side = open(&cluster.primary)?;
        let replica = cluster.replicas.first().context("a replica")?;
        let mut replica_side = open(replica)?;
        let mut knowing = open(&cluster.primary)?;
        knowing.set_limit(Duration::from_secs(20));
        ask(&mut knowing, "SET NAMES utf8mb4, sql_mode = ''")?;
        let mut sees_locks = true;
        for client in [&mut side, &mut replica_side] {
            client.set_limit(Duration::from_secs(u64::from(CATCH_UP) + 10));
            let installed = ask(client, "INSTALL SONAME 'metadata_lock_info'");
            sees_locks &= installed.is_ok();
        }
        if purpose == Purpose::Suite {
            prepare_suite(&cluster, &mut side)?;
        }
        let start = Dialect::default();
        let mut site = Self {
            cluster,
            side,
            replica_side,
            knowing,
            schema: None,
            sees_locks,
            replica_lost: false,
            globals: BTreeMap::new(),
            fingerprint: Vec::new(),
            settings: Vec::new(),
            start,
            repeatable: true,
            applied: String::new(),
        };
        site.globals = site.read_globals()?;
        site.fingerprint = rows(&mut site.side, OWN_TABLES)?;
        site.learn_defaults()?;
        let position = site.position()?;
        site.catch_up(&position).map_err(anyhow::Error::msg)?;
        Ok(site)
    }

    /// Definitions may have changed.
    pub(super) fn outdate(&mut self) {
        self.schema = None;
    }

    /// A statement in the light of what the schema says now, which clonelove would know too.
    pub(super) fn resolve(&mut self, facts: &Facts, current: Option<&str>) -> Resolved {
        if self.schema.is_none() {
            let mut answers = schema::Answers::new();
            for question in schema::queries(Family::MariaDb) {
                if let Ok(Reply { error: None, results, .. }) = self.knowing.ask(question.sql.as_bytes()) {
                    answers.insert(question.name, results.first().map(Rows::text).unwrap_or_default());
                }
            }
            self.schema = Some(Schema::build(Family::MariaDb, self.start.version, &answers));
        }
        self.schema.as_ref().map(|schema| schema.resolve(facts, current)).unwrap_or_default()
    }

    /// What a session's statements are read as at its beginning.
    pub(super) fn dialect(&self) -> Dialect {
        self.start
    }

    /// Whether the primary's default isolation keeps one snapshot.
    pub(super) fn repeatable(&self) -> bool {
        self.repeatable
    }

    /// What a connection to the replica hears before it serves reads: clonelove-proxy, `backend::setup::burst`.
    pub(super) fn burst(&self) -> Vec<String> {
        let mut statements = Vec::new();
        let differing: Vec<String> =
            self.settings.iter().map(|(name, value)| format!("SESSION {name} = {value}")).collect();
        if !differing.is_empty() {
            statements.push(format!("SET {}", differing.join(", ")));
        }
        statements.push("SET SESSION TRANSACTION READ ONLY".to_owned());
        statements
    }

    /// Probes both servers as clonelove does, at the start and after SET GLOBAL.
    pub(super) fn learn_defaults(&mut self) -> Result<()> {
        let primary = probe(&mut self.side)?;
        let replica = probe(&mut self.replica_side)?;
        self.settings = replica.settings_like(&primary)?;
        self.start.modes = Modes::from_sql_mode(primary.default_of("sql_mode").unwrap_or_default());
        self.start.version = version_number(&primary.version);
        let isolation = primary.default_of("tx_isolation").unwrap_or_default();
        self.repeatable = matches!(isolation, "REPEATABLE-READ" | "SERIALIZABLE");
        Ok(())
    }

    /// The primary's position.
    pub(super) fn position(&mut self) -> Result<String> {
        self.side
            .value("SELECT @@global.gtid_binlog_pos")
            .map_err(|fault| anyhow::anyhow!("the primary: {fault:?}"))
    }

    /// Leaves the primary, and waits until it has noticed.
    pub(super) fn leave(&mut self, client: Client) {
        let id = client.id;
        drop(client);
        self.until_gone(id);
    }

    /// Waits until the primary has ended that connection: what its end still does (a rollback, the dropping of temporary
    /// tables, which is logged) must not be taken for the next statement's. Where it takes longer than [`GONE`], goes on.
    pub(super) fn until_gone(&mut self, connection: u32) {
        let count = format!("SELECT COUNT(*) FROM information_schema.processlist WHERE id = {connection}");
        let _ =
            wait_until("a connection to end", GONE, || self.side.value(&count).is_ok_and(|left| left == "0"));
    }

    /// Waits until the replica has applied all up to `position`; says why when it does not.
    pub(super) fn catch_up(&mut self, position: &str) -> Result<(), String> {
        if position.is_empty() || self.applied == position {
            return Ok(());
        }
        let answer = self.replica_side.value(&format!("SELECT MASTER_GTID_WAIT('{position}', {CATCH_UP})"));
        match answer.as_deref() {
            Ok("0") => {
                self.applied = position.to_owned();
                Ok(())
            }
            Ok(answer) => {
                let answer = answer.to_owned();
                Err(format!("{} (waited for {position:?}: {answer:?})", self.replication_error()))
            }
            Err(fault) => Err(format!("{fault:?}")),
        }
    }

    fn replication_error(&mut self) -> String {
        let state = self.cluster.replicas.first().map(clonelove_testkit::Server::replication);
        match state {
            Some(Ok(state)) if state.sql == "Yes" => "the replica is too slow".to_owned(),
            Some(Ok(state)) => state.error,
            _ => "the replica does not answer".to_owned(),
        }
    }

    /// Makes all as it was at the start. `false`: that did not work, and new servers are needed.
    pub(super) fn tidy(&mut self) -> Result<bool> {
        if self.replica_lost {
            return Ok(false);
        }
        self.outdate();
        self.forget_transactions()?;
        for row in rows(&mut self.side, "SHOW DATABASES")? {
            let Some(Some(schema)) = row.into_iter().next() else { continue };
            if !OWN_SCHEMAS.contains(&schema.as_str()) {
                ask(&mut self.side, &format!("DROP DATABASE `{}`", schema.replace('`', "``")))?;
            }
        }
        ask(&mut self.side, "CREATE DATABASE test CHARACTER SET latin1")?;
        if !self.restore_globals()? || rows(&mut self.side, OWN_TABLES)? != self.fingerprint {
            return Ok(false);
        }
        self.learn_defaults()?;
        let position = self.position()?;
        // Not further either: a RESET MASTER that was hidden would leave the replica ahead, and deaf.
        let caught_up = self.catch_up(&position).is_ok();
        let theirs = self.replica_side.value("SELECT @@global.gtid_slave_pos").unwrap_or_default();
        Ok(caught_up && theirs == position)
    }

    fn forget_transactions(&mut self) -> Result<()> {
        for row in rows(&mut self.side, "XA RECOVER FORMAT='SQL'")? {
            if let Some(Some(xid)) = row.last() {
                let _ = ask(&mut self.side, &format!("XA ROLLBACK {xid}"));
            }
        }
        let _ = ask(&mut self.side, "UNLOCK TABLES");
        Ok(())
    }

    fn read_globals(&mut self) -> Result<BTreeMap<String, String>> {
        let mut globals = BTreeMap::new();
        for row in rows(&mut self.side, "SHOW GLOBAL VARIABLES")? {
            if let [Some(name), value] = row.as_slice()
                && !MOVING.iter().any(|prefix| name.starts_with(prefix))
            {
                globals.insert(name.clone(), value.clone().unwrap_or_default());
            }
        }
        Ok(globals)
    }

    fn restore_globals(&mut self) -> Result<bool> {
        let changed: Vec<(String, String)> = {
            let now = self.read_globals()?;
            self.globals
                .iter()
                .filter(|(name, value)| now.get(*name) != Some(value))
                .map(|(n, v)| (n.clone(), v.clone()))
                .collect()
        };
        if changed.is_empty() {
            return Ok(true);
        }
        for (name, value) in changed {
            let literal = if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
                value
            } else {
                format!("'{}'", value.replace('\\', "\\\\").replace('\'', "''"))
            };
            let _ = ask(&mut self.side, &format!("SET GLOBAL {name} = {literal}"));
        }
        Ok(self.read_globals()? == self.globals)
    }
}

/// The time zones and the schema that MariaDB's tests take for granted.
fn prepare_suite(cluster: &Cluster, side: &mut Client) -> Result<()> {
    const ZONES: &str = "/usr/share/mysql/mysql_test_data_timezone.sql";
    if let Ok(zones) = std::fs::read(ZONES) {
        for statement in zones.split(|byte| *byte == b';').filter(|text| !text.trim_ascii().is_empty()) {
            let mut sql = b"/* zones */ ".to_vec();
            sql.extend_from_slice(statement.trim_ascii());
            let sql =
                String::from_utf8_lossy(&sql).replace("INSERT INTO time_zone", "INSERT INTO mysql.time_zone");
            let _ = ask(side, &sql);
        }
    }
    ask(side, "CREATE DATABASE mtr")?;
    ask(side, "CREATE PROCEDURE mtr.add_suppression(p TEXT) SELECT 1 FROM DUAL WHERE 0")?;
    for schema in ["app", "drupal7", "drupal10", "test"] {
        ask(side, &format!("DROP DATABASE IF EXISTS {schema}"))?;
    }
    ask(side, "CREATE DATABASE test CHARACTER SET latin1")?;
    cluster.wait_caught_up()
}

fn probe(client: &mut Client) -> Result<Report> {
    let mut results = Vec::new();
    for statement in probe_statements(Family::MariaDb, 101_100) {
        let reply =
            client.ask(statement.as_bytes()).map_err(|fault| anyhow::anyhow!("a probe: {fault:?}"))?;
        if let Some((code, message)) = reply.error {
            bail!("a probe: {message} ({code})");
        }
        let rows = reply.results.first().context("a probe without rows")?;
        results.push(ResultRows { columns: rows.names.clone(), rows: rows.text() });
    }
    Ok(report_from(Family::MariaDb, &results)?)
}

/// Asks, and takes an error for one.
pub(super) fn ask(client: &mut Client, sql: &str) -> Result<()> {
    let start: String = sql.chars().take(80).collect();
    match client.ask(sql.as_bytes()) {
        Ok(reply) => match reply.error {
            Some((code, message)) => bail!("{start}: {message} ({code})"),
            None => Ok(()),
        },
        Err(fault) => bail!("{start}: {fault:?}"),
    }
}

fn rows(client: &mut Client, sql: &str) -> Result<Vec<Vec<Option<String>>>> {
    client.rows(sql).map_err(|fault: Fault| anyhow::anyhow!("{sql}: {fault:?}"))
}

/// 101119 for `10.11.19-MariaDB-log`.
fn version_number(text: &str) -> u32 {
    let mut parts = text.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>().unwrap_or(0));
    let mut part = || parts.next().unwrap_or(0);
    part() * 10_000 + part() * 100 + part()
}
