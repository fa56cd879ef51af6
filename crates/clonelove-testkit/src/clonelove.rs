//! The real daemon in front of a cluster: its config, its process, its admin port.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::accounts::{APP_PASSWORD, APP_USER, MONITOR_PASSWORD, MONITOR_USER};
use crate::cluster::Cluster;
use crate::http::{HttpReply, http_request};
use crate::places::{Port, Sandbox};
use crate::process::{Process, describe, tail};
use crate::wait::{DEFAULT_TIMEOUT, wait_until};

/// Names the binary to test; without it the one beside the test's own target folder is taken.
const BINARY_ENV: &str = "CLONELOVE_BIN";

/// A config file in the making. Values are TOML: strings carry their quotes.
#[derive(Debug, Clone, Default)]
pub struct Config {
    sections: BTreeMap<String, BTreeMap<String, String>>,
    servers: Vec<String>,
    users: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Config {
    /// All servers of the cluster, the monitoring account, the user `app`; probes often, so that tests are quick.
    #[must_use]
    pub fn for_cluster(cluster: &Cluster) -> Self {
        let mut config = Self::default()
            .set("monitor", "user", &quoted(MONITOR_USER))
            .set("monitor", "password", &quoted(MONITOR_PASSWORD))
            .set("monitor", "interval", "\"100ms\"")
            .set("log", "level", "\"debug\"")
            .set("log", "format", "\"human\"")
            .user(APP_USER, APP_PASSWORD);
        for server in cluster.servers() {
            config = config.server(server.name(), &server.address(), "");
        }
        config
    }

    /// Sets a key of a section, in place of an earlier value.
    #[must_use]
    pub fn set(mut self, section: &str, key: &str, value: &str) -> Self {
        self.sections.entry(section.to_owned()).or_default().insert(key.to_owned(), value.to_owned());
        self
    }

    /// Adds a server; `more` are further lines of its table.
    #[must_use]
    pub fn server(mut self, name: &str, address: &str, more: &str) -> Self {
        self.servers.push(format!("name = {}\naddress = {}\n{more}\n", quoted(name), quoted(address)));
        self
    }

    /// Leaves the servers out that were added so far.
    #[must_use]
    pub fn without_servers(mut self) -> Self {
        self.servers.clear();
        self
    }

    /// Sets an environment variable of the daemon's.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a user of clonelove and of the servers behind it.
    #[must_use]
    pub fn user(self, name: &str, password: &str) -> Self {
        self.user_with(name, password, "")
    }

    /// As [`user`](Self::user); `more` are further lines of its table.
    #[must_use]
    pub fn user_with(mut self, name: &str, password: &str, more: &str) -> Self {
        self.users.push(format!("name = {}\npassword = {}\n{more}\n", quoted(name), quoted(password)));
        self
    }

    /// Adds a user by the lines of its table.
    #[must_use]
    pub fn user_table(mut self, lines: &str) -> Self {
        self.users.push(lines.to_owned());
        self
    }

    /// Leaves the users out that were added so far.
    #[must_use]
    pub fn without_users(mut self) -> Self {
        self.users.clear();
        self
    }

    /// What a test put into `listen.mysql`, to stand behind the daemon's usual listeners.
    fn further_listeners(&self) -> String {
        let list = self.sections.get("listen").and_then(|keys| keys.get("mysql"));
        let inner = list.and_then(|list| list.strip_prefix('[')?.strip_suffix(']'));
        inner.map(|inner| format!(", {inner}")).unwrap_or_default()
    }

    /// The file's text.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        for (section, keys) in &self.sections {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "[{section}]");
            for (key, value) in keys {
                let _ = writeln!(text, "{key} = {value}");
            }
            text.push('\n');
        }
        for (kind, tables) in [("server", &self.servers), ("user", &self.users)] {
            for table in tables {
                let _ = writeln!(text, "[[{kind}]]\n{table}");
            }
        }
        text
    }
}

/// The running daemon; ended when dropped, with the end of its log among the test's output.
#[derive(Debug)]
pub struct Clonelove {
    process: Process,
    mysql: Port,
    http: Port,
    sandbox: Sandbox,
    config: Config,
    ended_well: bool,
}

impl Clonelove {
    /// Starts it in front of the cluster with [`Config::for_cluster`] and waits until it is ready for reads and writes.
    ///
    /// # Errors
    /// When it ends or does not become ready.
    pub fn start(cluster: &Cluster) -> Result<Self> {
        Self::start_with(Config::for_cluster(cluster))
    }

    /// Starts it with this config and waits until it is ready for reads and writes.
    ///
    /// # Errors
    /// When it ends or does not become ready.
    pub fn start_with(config: Config) -> Result<Self> {
        let mut daemon = Self::spawn(config)?;
        daemon.wait_ready()?;
        Ok(daemon)
    }

    /// Starts it and waits only until it serves, ready or not. Its listeners are put into the config, before those
    /// that are there.
    ///
    /// # Errors
    /// When the binary is not there, or ends at once.
    pub fn spawn(config: Config) -> Result<Self> {
        let (mysql, http, sandbox) = (Port::reserve()?, Port::reserve()?, Sandbox::new()?);
        let socket = sandbox.path().join("clonelove.sock");
        let further = config.further_listeners();
        let listen = format!("[\"127.0.0.1:{}\", \"unix:{}\"{further}]", mysql.number(), socket.display());
        let config = config.set("listen", "mysql", &listen).set(
            "listen",
            "http",
            &format!("\"127.0.0.1:{}\"", http.number()),
        );
        let file = sandbox.path().join("clonelove.toml");
        std::fs::write(&file, config.to_toml())?;
        let args = ["run".into(), "--config".into(), file.into()];
        let process = Process::spawn(binary()?.as_os_str(), &args, &config.environment, &log_path(&sandbox))?;
        let mut daemon = Self { process, mysql, http, sandbox, config, ended_well: false };
        daemon.wait_http("clonelove to serve its admin port", "/healthz")?;
        Ok(daemon)
    }

    /// Waits until a client could read.
    ///
    /// # Errors
    /// When it is not ready in time.
    pub fn wait_ready(&mut self) -> Result<()> {
        self.wait_http("clonelove to be ready", "/readyz?writes=1")
    }

    /// `127.0.0.1:port` for MySQL clients.
    #[must_use]
    pub fn addr(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    /// The port for MySQL clients.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.mysql.number()
    }

    /// The unix socket for MySQL clients.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.sandbox.path().join("clonelove.sock")
    }

    /// `127.0.0.1:port` of the admin port.
    #[must_use]
    pub fn http_addr(&self) -> String {
        format!("127.0.0.1:{}", self.http.number())
    }

    /// The config it was started with, listeners included.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The config file, to be changed before a reload.
    #[must_use]
    pub fn config_path(&self) -> PathBuf {
        self.sandbox.path().join("clonelove.toml")
    }

    /// Its process: signals, memory, descriptors.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Its process, to end it.
    #[must_use]
    pub fn process_mut(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Asks it to end (SIGTERM) and waits until it has. Nothing is said of its log when it ended well.
    ///
    /// # Errors
    /// When it does not end in time, or with another exit status than 0.
    pub fn shut_down(mut self) -> Result<()> {
        self.process.terminate()?;
        let status = self.process.wait_ended(DEFAULT_TIMEOUT)?;
        ensure!(status.success(), "clonelove ended: {}", describe(status));
        self.ended_well = true;
        Ok(())
    }

    /// GET from the admin port.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn http_get(&self, path: &str) -> Result<HttpReply> {
        http_request(&self.http_addr(), "GET", path, &[])
    }

    /// POST to the admin port, with the header that it asks for.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn http_post(&self, path: &str) -> Result<HttpReply> {
        http_request(&self.http_addr(), "POST", path, &[("X-Clonelove", "1"), ("Content-Length", "0")])
    }

    /// The metrics by name with labels, as they are written: `clonelove_server_up{server="primary"}`.
    ///
    /// # Errors
    /// When they cannot be had or read.
    pub fn metrics(&self) -> Result<BTreeMap<String, f64>> {
        let reply = self.http_get("/metrics")?;
        ensure!(reply.status == 200, "/metrics: {} {}", reply.status, reply.body);
        let lines = reply.body.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        lines
            .map(|line| {
                let (name, value) = line.rsplit_once(' ').with_context(|| format!("no metric: {line}"))?;
                let value =
                    value.replace("Inf", "inf").parse().with_context(|| format!("no number: {line}"))?;
                Ok((name.to_owned(), value))
            })
            .collect()
    }

    /// The sum of all series of a metric whose labels contain all of `labels` (such as `target="replica"`).
    ///
    /// # Errors
    /// When the metrics cannot be had.
    pub fn metric(&self, name: &str, labels: &[&str]) -> Result<f64> {
        let fits = |series: &str| {
            let (base, rest) = series.split_once('{').unwrap_or((series, ""));
            base == name && labels.iter().all(|label| rest.contains(label))
        };
        Ok(self.metrics()?.iter().filter(|(series, _)| fits(series)).map(|(_, value)| value).sum())
    }

    /// `GET /status`.
    ///
    /// # Errors
    /// When it cannot be had.
    pub fn status(&self) -> Result<serde_json::Value> {
        let reply = self.http_get("/status")?;
        serde_json::from_str(&reply.body).with_context(|| format!("/status: {} {}", reply.status, reply.body))
    }

    /// All that it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(log_path(&self.sandbox)).unwrap_or_default()).into_owned()
    }

    fn wait_http(&mut self, what: &str, path: &str) -> Result<()> {
        let address = self.http_addr();
        let process = &mut self.process;
        let outcome = wait_until(what, DEFAULT_TIMEOUT, || match process.ended() {
            Ok(Some(status)) => Ok(Some(Err(anyhow::anyhow!("clonelove ended ({})", describe(status))))),
            Ok(None) => {
                let reply = http_request(&address, "GET", path, &[])?;
                ensure!(reply.status == 200, "{} {}", reply.status, reply.body.trim());
                Ok(Some(Ok(())))
            }
            Err(error) => Err(error),
        });
        outcome.and_then(|inner| inner).with_context(|| format!("its log ends:\n{}", tail(&self.log(), 20)))
    }
}

impl Drop for Clonelove {
    #[expect(clippy::print_stderr, reason = "the harness shows it only when the test fails")]
    fn drop(&mut self) {
        if self.ended_well {
            return;
        }
        eprintln!("--- the end of clonelove's log\n{}\n---", tail(&self.log(), 60));
    }
}

/// The binary under test.
pub(crate) fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(BINARY_ENV) {
        return Ok(path.into());
    }
    let own = std::env::current_exe()?;
    let beside = own.ancestors().skip(1).map(|folder| folder.join("clonelove")).find(|path| path.is_file());
    beside.with_context(|| {
        format!(
            "no clonelove beside {}: build it (`cargo build -p clonelove`), or set {BINARY_ENV}",
            own.display()
        )
    })
}

fn log_path(sandbox: &Sandbox) -> PathBuf {
    Path::new(sandbox.path()).join("clonelove.log")
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
