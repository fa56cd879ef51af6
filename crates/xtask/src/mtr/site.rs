//! The servers of a run, configured as MariaDB's runner configures them, clonelove before them if wanted. Owns their
//! start and their state between two tests.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clonelove_testkit::{Clonelove, Cluster, ClusterOptions, Config, Connection, Flavour};

use crate::setup::MariadbTests;

/// What is at home in the servers, and must not change.
const OWN_SCHEMAS: &[&str] = &["information_schema", "mysql", "performance_schema", "sys", "mtr", "test"];
/// Tables of accounts and the like, whose contents must be as they were before the next test begins.
const OWN_TABLES: &str = "CHECKSUM TABLE mysql.global_priv, mysql.db, mysql.tables_priv, mysql.columns_priv, \
    mysql.procs_priv, mysql.proc, mysql.event, mysql.func, mysql.plugin, mysql.servers, mysql.roles_mapping, \
    mysql.proxies_priv, mysql.time_zone_name, mysql.help_topic, mysql.table_stats, mysql.column_stats, \
    mysql.index_stats, mysql.general_log, mysql.slow_log";
/// Global variables that move by themselves.
const MOVING: &[&str] =
    &["gtid_", "timestamp", "innodb_buffer_pool_load", "log_bin", "pseudo_", "rand_seed", "last_"];
/// The servers' options in MariaDB's runner (`include/default_mysqld.cnf`), as far as results show them.
const OPTIONS: &[&str] = &[
    "--character-set-server=latin1",
    "--default-storage-engine=MyISAM",
    "--use-stat-tables=preferably",
    "--histogram-type=json_hb",
    "--local-infile=1",
    "--log-bin-trust-function-creators=1",
    "--key-buffer-size=1M",
    "--sort-buffer-size=256K",
    "--max-heap-table-size=1M",
    "--max-allowed-packet=16M",
    "--max-connections=151",
    "--binlog-direct-non-transactional-updates=1",
    "--plugin-maturity=unknown",
    "--binlog-format=MIXED",
    "--gtid-strict-mode=0",
];
/// How long one of our own statements may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where tests are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Directly,
    Through,
}

impl Place {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Directly => "direct",
            Self::Through => "through",
        }
    }
}

/// Servers, and the daemon where tests go through it.
pub(super) struct Site {
    // Before the servers, so that it ends first.
    daemon: Option<Clonelove>,
    cluster: Cluster,
    globals: BTreeMap<String, String>,
    fingerprint: Vec<Vec<Option<String>>>,
}

impl Site {
    pub(super) fn start(tests: &MariadbTests, place: Place) -> Result<Self> {
        let through = place == Place::Through;
        let options = ClusterOptions {
            replicas: usize::from(through),
            extra: OPTIONS.iter().map(|option| (*option).to_owned()).collect(),
            ..ClusterOptions::default()
        };
        let cluster = Cluster::start(Flavour::MariaDbDistribution, options)?;
        furnish(&cluster, &tests.folder)?;
        lay_out(&tests.folder, &cluster.folder().join("suite"))?;
        let daemon = if through { Some(Clonelove::start_with(config(&cluster))?) } else { None };
        let mut site = Self { daemon, cluster, globals: BTreeMap::new(), fingerprint: Vec::new() };
        let mut side = site.side(&site.cluster.primary.socket())?;
        site.globals = read_globals(&mut side)?;
        site.fingerprint = side.query(OWN_TABLES)?;
        site.write_client_config()?;
        Ok(site)
    }

    /// Where tests find their files: the folder in which the servers' folders are.
    pub(super) fn folder(&self) -> &Path {
        self.cluster.folder()
    }

    pub(super) fn port(&self) -> u16 {
        self.daemon.as_ref().map_or_else(|| self.cluster.primary.port(), Clonelove::port)
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.daemon.as_ref().map_or_else(|| self.cluster.primary.socket(), Clonelove::socket)
    }

    /// Where the client finds `main` and `include`.
    pub(super) fn suite(&self) -> PathBuf {
        self.folder().join("suite")
    }

    pub(super) fn client_config(&self) -> PathBuf {
        self.folder().join("my.cnf")
    }

    /// Makes all as it was at the start. `false`: that did not work, and new servers are needed.
    pub(super) fn tidy(&mut self) -> bool {
        self.try_tidy().unwrap_or(false)
    }

    fn try_tidy(&mut self) -> Result<bool> {
        let mut side = self.side(&self.cluster.primary.socket())?;
        ensure!(side.query("XA RECOVER")?.is_empty(), "a prepared transaction is left");
        // By the way that tests take, so that clonelove knows of it.
        let mut ours = self.side(&self.socket())?;
        for row in ours.query("SHOW DATABASES")? {
            let Some(Some(schema)) = row.into_iter().next() else { continue };
            if !OWN_SCHEMAS.contains(&schema.as_str()) {
                ours.query(&format!("DROP DATABASE `{}`", schema.replace('`', "``")))?;
            }
        }
        ours.query("DROP DATABASE IF EXISTS test")?;
        ours.query("CREATE DATABASE test CHARACTER SET latin1")?;
        let tmp = self.folder().join("tmp");
        fs::remove_dir_all(&tmp)?;
        make_open_folder(&tmp)?;
        if !self.restore_globals(&mut side)? || side.query(OWN_TABLES)? != self.fingerprint {
            return Ok(false);
        }
        self.replicas_are_level(&mut side)
    }

    /// Whether replicas have all, and nothing of their own.
    fn replicas_are_level(&self, side: &mut Connection) -> Result<bool> {
        let position = value(side, "SELECT @@global.gtid_binlog_pos")?;
        for replica in &self.cluster.replicas {
            let mut there = self.side(&replica.socket())?;
            let seconds = PATIENCE.as_secs() / 2;
            let waited = value(&mut there, &format!("SELECT MASTER_GTID_WAIT('{position}', {seconds})"))?;
            let theirs = value(&mut there, "SELECT @@global.gtid_slave_pos")?;
            if waited != "0" || theirs != position {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn side(&self, socket: &Path) -> Result<Connection> {
        let connection = Connection::open(socket, "root", None)?;
        connection.set_patience(PATIENCE)?;
        Ok(connection)
    }

    fn restore_globals(&self, side: &mut Connection) -> Result<bool> {
        let now = read_globals(side)?;
        let changed: Vec<_> =
            self.globals.iter().filter(|(name, value)| now.get(*name) != Some(value)).collect();
        if changed.is_empty() {
            return Ok(true);
        }
        for (name, value) in changed {
            let is_number = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit() || b == b'.');
            let literal = if is_number {
                value.clone()
            } else {
                format!("'{}'", value.replace('\\', "\\\\").replace('\'', "''"))
            };
            // What cannot be set is seen right below.
            let _ = side.query(&format!("SET GLOBAL {name} = {literal}"));
        }
        Ok(read_globals(side)? == self.globals)
    }

    /// What the command-line clients read that tests call.
    fn write_client_config(&self) -> Result<()> {
        let (port, socket) = (self.port(), self.socket());
        let mut text = format!(
            "[client]\nuser=root\npassword=\nport={port}\nsocket={}\nhost=localhost\n",
            socket.display()
        );
        text.push_str("[mysqltest]\nskip-ssl\n");
        for program in ["mysql", "mysqlshow", "mysqlimport", "mysqlcheck"] {
            text.push_str(&format!("[{program}]\ndefault-character-set=latin1\n"));
        }
        Ok(fs::write(self.client_config(), text)?)
    }
}

/// As it comes, but that users are the primary's, for tests make some; that servers are reached as tests reach them, for
/// accounts have hosts; and that idle connections soon end, because tests wait for the processlist to be as short as at
/// their begin.
fn config(cluster: &Cluster) -> Config {
    let mut config = Config::for_cluster(cluster)
        .without_servers()
        .without_users()
        .set("users", "from", "\"primary\"")
        .set("limits", "local_infile", "true")
        .set("log", "level", "\"info\"")
        // A busy machine is no broken server.
        .set("monitor", "timeout", "\"30s\"")
        .set("monitor", "interval", "\"500ms\"")
        .set("pool", "min_idle", "0")
        .set("pool", "idle_timeout", "\"1s\"");
    for server in cluster.servers() {
        config = config.server(server.name(), &format!("unix:{}", server.socket().display()), "");
    }
    config
}

/// What the tests take for granted: folders, files, schemas, time zones.
fn furnish(cluster: &Cluster, tests: &Path) -> Result<()> {
    const ZONES: &str = "/usr/share/mysql/mysql_test_data_timezone.sql";
    let copied = Command::new("cp").arg("-r").arg(tests.join("std_data")).arg(cluster.folder()).status()?;
    if !copied.success() {
        bail!("cannot copy std_data into {}", cluster.folder().display());
    }
    for folder in ["tmp", "log"] {
        make_open_folder(&cluster.folder().join(folder))?;
    }
    let mut side = cluster.primary.connect()?;
    side.query("USE mysql")?;
    // Tests make nameless accounts of this machine, which go before those of any host.
    for row in side.query("SHOW GRANTS FOR 'clonelove'@'%'")? {
        let Some(Some(grant)) = row.into_iter().next() else { continue };
        side.query(&grant.replace("`@`%`", "`@`localhost`"))?;
    }
    // Where they are not installed, their tests do not pass directly.
    let zones = fs::read_to_string(ZONES).unwrap_or_default();
    let zones: Vec<&str> = zones.lines().filter(|line| !line.starts_with("--")).collect();
    for statement in zones.join("\n").split(';').map(str::trim).filter(|text| !text.is_empty()) {
        side.query(statement)?;
    }
    for schema in cluster.primary.query("SHOW DATABASES")? {
        let Some(Some(schema)) = schema.into_iter().next() else { continue };
        if !OWN_SCHEMAS.contains(&schema.as_str()) {
            side.query(&format!("DROP DATABASE `{schema}`"))?;
        }
    }
    side.query("CREATE DATABASE mtr")?;
    side.query("CREATE PROCEDURE mtr.add_suppression(p TEXT) BEGIN END")?;
    side.query("DROP DATABASE IF EXISTS test")?;
    side.query("CREATE DATABASE test CHARACTER SET latin1")?;
    cluster.wait_caught_up()
}

/// The folder in which the client runs: the suite as it is, but that tests which wait for others to leave do not count
/// clonelove's own connections and the replica's, and that the server's number is not worked out from its port.
fn lay_out(tests: &Path, folder: &Path) -> Result<()> {
    const COUNTED: &str = "query_get_value(SHOW STATUS LIKE 'Threads_connected', Value, 1);";
    const OTHERS: &str = "`SELECT COUNT(*) FROM information_schema.processlist \
        WHERE user NOT IN ('clonelove', 'replication', 'system user', 'event_scheduler')`;";
    const BY_PORT: &str = "`SELECT 1 + @@PORT - $MASTER_MYPORT`";
    let changed = [
        ("count_sessions.inc", COUNTED, OTHERS),
        ("wait_until_count_sessions.inc", COUNTED, OTHERS),
        ("write_result_to_file.inc", BY_PORT, "1"),
    ];
    fs::create_dir_all(folder.join("include"))?;
    for entry in fs::read_dir(tests)? {
        let entry = entry?;
        if entry.file_name() != "include" {
            symlink(entry.path(), folder.join(entry.file_name()))?;
        }
    }
    for entry in fs::read_dir(tests.join("include"))? {
        let entry = entry?;
        let to = folder.join("include").join(entry.file_name());
        match changed.iter().find(|(name, ..)| entry.file_name() == *name) {
            Some((_, from, into)) => fs::write(to, fs::read_to_string(entry.path())?.replace(from, into))?,
            None => symlink(entry.path(), to)?,
        }
    }
    Ok(())
}

/// The servers run as somebody else.
fn make_open_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o777)).with_context(|| path.display().to_string())
}

fn read_globals(side: &mut Connection) -> Result<BTreeMap<String, String>> {
    let mut globals = BTreeMap::new();
    for row in side.query("SHOW GLOBAL VARIABLES")? {
        if let [Some(name), value] = row.as_slice()
            && !MOVING.iter().any(|prefix| name.starts_with(prefix))
        {
            globals.insert(name.clone(), value.clone().unwrap_or_default());
        }
    }
    Ok(globals)
}

fn value(side: &mut Connection, sql: &str) -> Result<String> {
    Ok(side.query(sql)?.into_iter().flatten().next().flatten().unwrap_or_default())
}
