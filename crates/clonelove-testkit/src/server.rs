//! One real server in a sandbox: its process, its faults, its replication. Owns what SQL each family is spoken to in.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use parking_lot::Mutex;

use crate::accounts::{REPLICATION_PASSWORD, REPLICATION_USER};
use crate::connection::{Connection, NamedRow, Row};
use crate::flavour::{Family, Flavour};
use crate::general_log::{LogEntry, parse};
use crate::places::Port;
use crate::plugins::put_plugins;
use crate::process::{Process, describe, tail};
use crate::template::{copy, hand_over, prepared, small_files};
use crate::wait::{DEFAULT_TIMEOUT, wait_until};

/// A real server. All methods take `&self`, so that a test can break it while others use it.
#[derive(Debug)]
pub struct Server {
    name: String,
    flavour: Flavour,
    port: Port,
    folder: PathBuf,
    args: Vec<String>,
    process: Mutex<Option<Process>>,
    /// Who was connected when the general log was switched on.
    known_users: Mutex<HashMap<u64, String>>,
}

/// What a replica says of its replication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicationState {
    /// The thread that fetches events: `Yes`, `No`, `Connecting`, `Preparing`.
    pub io: String,
    /// The thread that applies them: `Yes` or `No`.
    pub sql: String,
    /// The last errors of both, empty when there are none.
    pub error: String,
    /// What the server takes for its lag, in seconds.
    pub seconds_behind: Option<u64>,
}

/// Starting, ending, breaking.
impl Server {
    /// A new server with a copied data directory, up and alone.
    pub(crate) fn create(
        name: &str,
        flavour: Flavour,
        server_id: u32,
        folder: PathBuf,
        (extra, files): (&[String], &[(String, String)]),
    ) -> Result<Self> {
        let port = Port::reserve()?;
        fs::create_dir(&folder)?;
        hand_over(&folder)?;
        copy(&prepared(flavour)?, &folder.join("data"))?;
        for (name, content) in files {
            put_file(&folder.join("data").join(name), content)?;
        }
        let mut args = arguments(flavour, server_id, port.number(), &folder);
        args.extend(put_plugins(flavour, &folder)?);
        args.extend_from_slice(extra);
        let (process, known_users) = (Mutex::new(None), Mutex::new(HashMap::new()));
        let server = Self { name: name.to_owned(), flavour, port, folder, args, process, known_users };
        server.start()?;
        Ok(server)
    }

    /// Starts it again after [`stop`](Self::stop) or [`kill9`](Self::kill9), on the same port and data, and waits
    /// until it answers. A replica takes up its replication by itself.
    ///
    /// # Errors
    /// When it ends or does not answer; the message has the last of its log.
    pub fn start(&self) -> Result<()> {
        let mut process = self.process.lock();
        ensure!(process.is_none(), "{} is running already", self.name);
        let args: Vec<OsString> = self.args.iter().map(OsString::from).collect();
        let words = self.flavour.server_words(&args, &[&self.folder])?;
        let log = self.folder.join("error.log");
        let mut started = Process::spawn_words(&self.name, &words, &[], &log)?;
        await_up(&mut started, &self.socket(), &log)?;
        *process = Some(started);
        Ok(())
    }

    /// Ends it in good order.
    ///
    /// # Errors
    /// When it is not running, or does not end.
    pub fn stop(&self) -> Result<()> {
        let mut process = self.take()?;
        process.terminate()?;
        process.wait_ended(DEFAULT_TIMEOUT)?;
        Ok(())
    }

    /// SIGKILL: connections break at once, nothing is said.
    ///
    /// # Errors
    /// When it is not running.
    pub fn kill9(&self) -> Result<()> {
        self.take()?.kill9()
    }

    /// SIGSTOP: connections stay, nothing is answered.
    ///
    /// # Errors
    /// When it is not running.
    pub fn freeze(&self) -> Result<()> {
        self.running(Process::freeze)
    }

    /// SIGCONT: ends a freeze.
    ///
    /// # Errors
    /// When it is not running.
    pub fn thaw(&self) -> Result<()> {
        self.running(Process::thaw)
    }

    /// The process id.
    ///
    /// # Errors
    /// When it is not running.
    pub fn pid(&self) -> Result<u32> {
        self.running(|process| Ok(process.pid()))
    }

    fn take(&self) -> Result<Process> {
        self.process.lock().take().with_context(|| format!("{} is not running", self.name))
    }

    fn running<T>(&self, act: impl FnOnce(&Process) -> Result<T>) -> Result<T> {
        let process = self.process.lock();
        act(process.as_ref().with_context(|| format!("{} is not running", self.name))?)
    }
}

/// What it is and where.
impl Server {
    /// Its name in a cluster and in clonelove's config: `primary`, `replica1`, …
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What kind of server it is.
    #[must_use]
    pub fn flavour(&self) -> Flavour {
        self.flavour
    }

    /// `127.0.0.1:port`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    /// Its TCP port, on 127.0.0.1 only.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Its unix socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.join("sock")
    }

    /// A file of its data directory.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn read_file(&self, name: &str) -> Result<String> {
        fs::read_to_string(self.folder.join("data").join(name))
            .with_context(|| format!("{}: {name}", self.name))
    }

    /// Puts a file into its data directory, in place of an older one.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_file(&self, name: &str, content: &str) -> Result<()> {
        put_file(&self.folder.join("data").join(name), content)
    }

    /// Its data directory.
    #[must_use]
    pub fn data_folder(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The last lines of its error log.
    #[must_use]
    pub fn error_log_tail(&self, lines: usize) -> String {
        let bytes = fs::read(self.folder.join("error.log")).unwrap_or_default();
        tail(&String::from_utf8_lossy(&bytes), lines)
    }
}

/// SQL as `root` over the unix socket.
impl Server {
    /// A session of its own, for what needs one (transactions, locks, SET).
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn connect(&self) -> Result<Connection> {
        Connection::open(&self.socket(), "root", None).with_context(|| self.name.clone())
    }

    /// Runs SQL in a session of its own and gives the rows of the first result set.
    ///
    /// # Errors
    /// The server's error, or that it is not there.
    pub fn query(&self, sql: &str) -> Result<Vec<Row>> {
        self.connect()?.query(sql).with_context(|| self.name.clone())
    }

    /// The first value of the first row; NULL and no row at all are empty.
    ///
    /// # Errors
    /// As [`query`](Self::query).
    pub fn value(&self, sql: &str) -> Result<String> {
        let first = self.query(sql)?.into_iter().next().and_then(|row| row.into_iter().next());
        Ok(first.flatten().unwrap_or_default())
    }

    /// A counter of SHOW GLOBAL STATUS, such as `Com_select`.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn status_counter(&self, name: &str) -> Result<u64> {
        let rows = self.query(&format!("SHOW GLOBAL STATUS LIKE '{name}'"))?;
        let value = rows.into_iter().next().and_then(|row| row.into_iter().nth(1).flatten());
        value
            .with_context(|| format!("no counter {name}"))?
            .parse()
            .with_context(|| format!("{name} is no number"))
    }

    /// Switches the general log on or off.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn general_log(&self, on: bool) -> Result<()> {
        let mut connection = self.connect()?;
        if on {
            let mut known = self.known_users.lock();
            for row in connection.query("SELECT id, user FROM information_schema.processlist")? {
                if let [Some(id), Some(user)] = row.as_slice() {
                    known.insert(id.parse()?, user.clone());
                }
            }
        }
        connection.query(if on { "SET GLOBAL general_log=1" } else { "SET GLOBAL general_log=0" })?;
        Ok(())
    }

    /// Where the general log ends now; see [`general_log_since`](Self::general_log_since).
    ///
    /// # Errors
    /// When the log was never on.
    pub fn general_log_mark(&self) -> Result<u64> {
        Ok(fs::metadata(self.general_log_path()).context("the general log was never on")?.len())
    }

    /// All that the general log has.
    ///
    /// # Errors
    /// When the log was never on.
    pub fn general_log_entries(&self) -> Result<Vec<LogEntry>> {
        self.general_log_since(0)
    }

    /// What the general log has since the mark.
    ///
    /// # Errors
    /// When the log was never on.
    pub fn general_log_since(&self, mark: u64) -> Result<Vec<LogEntry>> {
        let bytes = fs::read(self.general_log_path()).context("the general log was never on")?;
        let mut entries = parse(&bytes, self.known_users.lock().clone());
        entries.retain(|entry| entry.offset >= mark);
        Ok(entries)
    }

    fn general_log_path(&self) -> PathBuf {
        self.folder.join("general.log")
    }
}

/// Replication.
impl Server {
    /// Makes it replicate from `source`, by GTID, from wherever it is.
    ///
    /// # Errors
    /// When a server does not answer or refuses.
    pub fn repoint(&self, source: &Server) -> Result<()> {
        let port = source.port();
        let login = |prefix: &str| {
            format!(
                "{prefix}_HOST='127.0.0.1', {prefix}_PORT={port}, {prefix}_USER='{REPLICATION_USER}', \
                 {prefix}_PASSWORD='{REPLICATION_PASSWORD}', {prefix}_CONNECT_RETRY=1, {prefix}_HEARTBEAT_PERIOD=1, \
                 {prefix}_SSL=0"
            )
        };
        match self.family() {
            Family::MariaDb => self.query(&format!(
                "STOP SLAVE; CHANGE MASTER TO {}, MASTER_USE_GTID=slave_pos; START SLAVE",
                login("MASTER")
            )),
            Family::MySql => self.query(&format!(
                "STOP REPLICA; CHANGE REPLICATION SOURCE TO {}, SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1; \
                 START REPLICA",
                login("SOURCE")
            )),
        }?;
        wait_until(&format!("{} to replicate from {}", self.name, source.name), DEFAULT_TIMEOUT, || {
            let state = self.replication()?;
            if state.io == "Yes" && state.sql == "Yes" { Ok(true) } else { Err(anyhow!("{state:?}")) }
        })
    }

    /// Ends its replication for good and makes it writable.
    ///
    /// # Errors
    /// When the server does not answer or refuses.
    pub fn promote(&self) -> Result<()> {
        self.replication_sql("STOP {}; RESET {} ALL; SET GLOBAL read_only=0")
    }

    /// Applies events only when they are `seconds` old.
    ///
    /// # Errors
    /// When the server does not answer or refuses.
    pub fn delay(&self, seconds: u32) -> Result<()> {
        self.query(&match self.family() {
            Family::MariaDb => format!("STOP SLAVE; CHANGE MASTER TO MASTER_DELAY={seconds}; START SLAVE"),
            Family::MySql => {
                format!("STOP REPLICA; CHANGE REPLICATION SOURCE TO SOURCE_DELAY={seconds}; START REPLICA")
            }
        })?;
        Ok(())
    }

    /// Stops applying events.
    ///
    /// # Errors
    /// When the server does not answer or refuses.
    pub fn stop_sql_thread(&self) -> Result<()> {
        self.replication_sql("STOP {} SQL_THREAD")
    }

    /// Applies events again.
    ///
    /// # Errors
    /// When the server does not answer or refuses.
    pub fn start_sql_thread(&self) -> Result<()> {
        self.replication_sql("START {} SQL_THREAD")
    }

    /// Stops fetching events.
    ///
    /// # Errors
    /// When the server does not answer or refuses.
    pub fn stop_io_thread(&self) -> Result<()> {
        self.replication_sql("STOP {} IO_THREAD")
    }

    /// Fetches events again.
    ///
    /// # Errors
    /// When the server does not answer or refuses.
    pub fn start_io_thread(&self) -> Result<()> {
        self.replication_sql("START {} IO_THREAD")
    }

    /// `SET GLOBAL read_only`; it holds until the next start.
    ///
    /// # Errors
    /// When the server does not answer or refuses.
    pub fn set_read_only(&self, on: bool) -> Result<()> {
        self.query(&format!("SET GLOBAL read_only={}", u8::from(on)))?;
        Ok(())
    }

    /// What it says of its replication.
    ///
    /// # Errors
    /// When it does not answer, or does not replicate.
    pub fn replication(&self) -> Result<ReplicationState> {
        let status = self.connect()?.query_named(&self.spoken("SHOW {} STATUS"))?;
        let row = status.first().with_context(|| format!("{} does not replicate", self.name))?;
        let field = |mariadb: &str, mysql: &str| field(row, mariadb).or_else(|| field(row, mysql));
        let errors = ["Last_IO_Error", "Last_SQL_Error"].map(|name| field(name, name).unwrap_or_default());
        Ok(ReplicationState {
            io: field("Slave_IO_Running", "Replica_IO_Running").unwrap_or_default(),
            sql: field("Slave_SQL_Running", "Replica_SQL_Running").unwrap_or_default(),
            error: errors.join(" ").trim().to_owned(),
            seconds_behind: field("Seconds_Behind_Master", "Seconds_Behind_Source")
                .and_then(|s| s.parse().ok()),
        })
    }

    /// The GTID position of what it has written to its binlog (as a primary).
    ///
    /// # Errors
    /// When it does not answer.
    pub fn binlog_position(&self) -> Result<String> {
        self.position("SELECT @@global.gtid_binlog_pos")
    }

    /// The GTID position of what it has applied (as a replica).
    ///
    /// # Errors
    /// When it does not answer.
    pub fn applied_position(&self) -> Result<String> {
        self.position("SELECT @@global.gtid_slave_pos")
    }

    /// Waits until it has applied all that `source` has written so far.
    ///
    /// # Errors
    /// When it does not get there, with the state of its replication.
    pub fn wait_caught_up(&self, source: &Server) -> Result<()> {
        let position = source.binlog_position()?;
        if position.is_empty() {
            return Ok(());
        }
        let seconds = DEFAULT_TIMEOUT.as_secs();
        let answer = self.value(&match self.family() {
            Family::MariaDb => format!("SELECT MASTER_GTID_WAIT('{position}', {seconds})"),
            Family::MySql => format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{position}', {seconds})"),
        })?;
        if answer != "0" {
            bail!("{} has not reached {position} in {seconds} s: {:?}", self.name, self.replication()?);
        }
        Ok(())
    }

    fn position(&self, mariadb: &str) -> Result<String> {
        match self.family() {
            Family::MariaDb => self.value(mariadb),
            Family::MySql => Ok(self.value("SELECT @@global.gtid_executed")?.replace('\n', "")),
        }
    }

    fn replication_sql(&self, sql: &str) -> Result<()> {
        self.query(&self.spoken(sql)).map(|_| ())
    }

    /// Puts the family's word for a replica in.
    fn spoken(&self, sql: &str) -> String {
        sql.replace("{}", if self.family() == Family::MariaDb { "SLAVE" } else { "REPLICA" })
    }

    fn family(&self) -> Family {
        self.flavour.family()
    }
}

/// Waits until a started server lets root in; gives up as soon as it has ended.
pub(crate) fn await_up(process: &mut Process, socket: &Path, log: &Path) -> Result<Connection> {
    let said = || tail(&String::from_utf8_lossy(&fs::read(log).unwrap_or_default()), 15);
    wait_until("a server to come up", Duration::from_secs(60), || match process.ended() {
        Ok(Some(status)) => Some(Err(anyhow!("it ended ({})", describe(status)))),
        Ok(None) => Connection::open(socket, "root", None).ok().map(Ok),
        Err(error) => Some(Err(error)),
    })
    .and_then(|outcome| outcome)
    .with_context(|| format!("the server does not start; its log ends:\n{}", said()))
}

fn put_file(path: &Path, content: &str) -> Result<()> {
    fs::write(path, content)?;
    hand_over(path)
}

fn field(row: &NamedRow, name: &str) -> Option<String> {
    row.get(name).cloned().flatten()
}

/// Small, fast to start, safe against SIGKILL (not against a power cut), and with GTIDs.
fn arguments(flavour: Flavour, server_id: u32, port: u16, folder: &Path) -> Vec<String> {
    let path = |name: &str| folder.join(name).display().to_string();
    let mut args = vec!["--no-defaults".to_owned()];
    args.extend([
        format!("--datadir={}", path("data")),
        format!("--socket={}", path("sock")),
        format!("--pid-file={}", path("pid")),
        format!("--tmpdir={}", folder.display()),
        format!("--general-log-file={}", path("general.log")),
        format!("--port={port}"),
        format!("--report-port={port}"),
        format!("--server-id={server_id}"),
    ]);
    args.extend(small_files(flavour.family()));
    let family: &[&str] = match flavour.family() {
        Family::MariaDb => {
            &["--log-slave-updates", "--gtid-domain-id=0", "--gtid-strict-mode=1", "--binlog-format=ROW"]
        }
        Family::MySql => &[
            "--log-replica-updates",
            "--gtid-mode=ON",
            "--enforce-gtid-consistency=ON",
            "--mysqlx=OFF",
            "--log-error-verbosity=2",
        ],
    };
    let common = [
        "--bind-address=127.0.0.1",
        "--report-host=127.0.0.1",
        "--skip-name-resolve",
        "--log-bin=binlog",
        "--relay-log=relay",
        "--sync-binlog=0",
        "--innodb-flush-log-at-trx-commit=2",
        "--innodb-doublewrite=0",
        "--innodb-use-native-aio=0",
        "--innodb-buffer-pool-size=64M",
        "--key-buffer-size=1M",
        "--performance-schema=OFF",
        "--max-connections=1000",
        "--max-allowed-packet=1G",
        "--character-set-server=utf8mb4",
        "--secure-file-priv=",
    ];
    args.extend(common.iter().chain(family).map(|option| (*option).to_owned()));
    args
}
