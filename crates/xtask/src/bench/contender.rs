//! Those that are compared: how each is configured and started. Owns their processes, which end with it.

use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clonelove_testkit::{
    APP_PASSWORD, APP_USER, Config, DEFAULT_TIMEOUT, Family, Flavour, MONITOR_PASSWORD, MONITOR_USER, Port,
    Process, Sandbox, http_request, wait_until,
};

use super::network::Network;
use super::site::AUTHORITY;
use crate::shell::{on_path, read, target_folder};

/// Somebody between clients and servers, or nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Clients talk to a replica.
    Direct,
    /// Through our relay that looks at nothing.
    Relay,
    /// Through HAProxy in TCP mode.
    HaProxy,
    /// Through MySQL Router, which cannot split without the tables of a cluster's metadata.
    Router,
    /// All servers, reads split.
    Clonelove,
    /// Another build of it, given by `--against`.
    Before,
    /// All servers, reads split by its rules.
    ProxySql,
    /// All servers, readwritesplit.
    MaxScale,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::Direct,
        Self::Relay,
        Self::HaProxy,
        Self::Router,
        Self::Clonelove,
        Self::ProxySql,
        Self::MaxScale,
    ];

    /// Those that can be started here, in front of servers of this family.
    pub(crate) fn available(family: Family) -> Vec<Self> {
        let there = |kind: &Self| match (kind, family) {
            (Self::Router, Family::MariaDb) | (Self::MaxScale, Family::MySql) => false,
            (Self::Router, Family::MySql) => router("--version").is_ok_and(|mut ask| read(&mut ask).is_ok()),
            _ => kind.program().is_none_or(on_path),
        };
        Self::ALL.into_iter().filter(there).collect()
    }

    /// Whether many clients share few connections to servers.
    fn shares(self) -> bool {
        matches!(self, Self::Clonelove | Self::Before | Self::ProxySql)
    }

    pub(crate) fn named(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == name);
        found.with_context(|| format!("no contender {name:?}; there are {:?}", Self::ALL.map(Self::name)))
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Relay => "relay",
            Self::HaProxy => "haproxy",
            Self::Router => "router",
            Self::Clonelove => "clonelove",
            Self::Before => "before",
            Self::ProxySql => "proxysql",
            Self::MaxScale => "maxscale",
        }
    }

    /// The program that must be on PATH.
    fn program(self) -> Option<&'static str> {
        match self {
            Self::Direct | Self::Relay | Self::Router | Self::Clonelove | Self::Before => None,
            other => Some(other.name()),
        }
    }
}

/// One of them, running.
pub(crate) struct Contender {
    kind: Kind,
    address: String,
    /// Another way in, for those that have it.
    socket: Option<PathBuf>,
    process: Option<Process>,
    ports: Vec<Port>,
    folder: Sandbox,
    /// The authority that has signed the certificate shown there, for those who use TLS.
    authority: PathBuf,
}

impl Contender {
    /// Starts it and waits until it serves; `before` is the program of [`Kind::Before`].
    pub(crate) fn start(kind: Kind, network: &Network<'_>, before: Option<&Path>) -> Result<Self> {
        Self::start_with(kind, network, before, &[])
    }

    /// Starts clonelove with keys of its `[routing]`.
    pub(crate) fn clonelove(network: &Network<'_>, routing: &[(&str, &str)]) -> Result<Self> {
        Self::start_with(Kind::Clonelove, network, None, routing)
    }

    fn start_with(
        kind: Kind,
        network: &Network<'_>,
        before: Option<&Path>,
        routing: &[(&str, &str)],
    ) -> Result<Self> {
        let folder = Sandbox::new()?;
        let ports = vec![Port::reserve()?, Port::reserve()?];
        let [port, admin] = ports.as_slice() else { bail!("no ports") };
        let address = format!("127.0.0.1:{}", port.number());
        let place = Place { folder: folder.path(), port: port.number(), admin: admin.number() };
        let single = network.single()?;
        let own_socket = folder.path().join("socket");
        let process = match kind {
            Kind::Direct => None,
            Kind::Relay => Some(place.relay(&single)?),
            Kind::HaProxy => Some(place.haproxy(&single)?),
            Kind::Router => Some(place.router(&single)?),
            Kind::Clonelove => Some(place.clonelove(&built("clonelove"), network, routing)?),
            Kind::Before => Some(place.clonelove(before.context("no --against")?, network, routing)?),
            Kind::ProxySql => Some(place.proxysql(network)?),
            Kind::MaxScale => Some(place.maxscale(network)?),
        };
        let (address, socket) = match kind {
            Kind::Direct => (single, network.single_socket()),
            Kind::MaxScale | Kind::Router => (address, None),
            _ => (address, Some(own_socket)),
        };
        let authority = network.cluster.folder().join(AUTHORITY);
        let mut contender = Self { kind, address, socket, process, ports, folder, authority };
        contender.wait_serving()?;
        Ok(contender)
    }

    pub(crate) fn name(&self) -> &'static str {
        self.kind.name()
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Whose signature counts.
    pub(crate) fn trusts(&self) -> &Path {
        &self.authority
    }

    /// Whether many clients share few connections to servers.
    pub(crate) fn shares(&self) -> bool {
        self.kind.shares()
    }

    pub(crate) fn socket(&self) -> Option<&Path> {
        self.socket.as_deref()
    }

    /// Where clonelove tells its metrics.
    pub(crate) fn admin(&self) -> String {
        let port = self.ports.last().map_or(0, Port::number);
        format!("127.0.0.1:{port}")
    }

    /// Its own folder, which goes away with it.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// The file it was configured by, if there is one.
    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("config")
    }

    /// A greeting comes: it serves, and its server does.
    fn wait_serving(&mut self) -> Result<()> {
        let what = format!("{} to greet", self.name());
        let (address, process) = (self.address.clone(), &mut self.process);
        wait_until(&what, DEFAULT_TIMEOUT, || {
            if let Some(status) = process.as_mut().map(Process::ended).transpose()?.flatten() {
                bail!("it has ended: {status}");
            }
            let mut stream = TcpStream::connect(&address)?;
            stream.set_read_timeout(Some(Duration::from_secs(2)))?;
            let mut head = [0; 5];
            stream.read_exact(&mut head)?;
            Ok((head.last() == Some(&10)).then_some(()))
        })
    }
}

/// A program of our own, as it would be shipped.
pub(crate) fn built(name: &str) -> PathBuf {
    target_folder().join("release").join(name)
}

/// Where a contender lives.
struct Place<'a> {
    folder: &'a Path,
    port: u16,
    admin: u16,
}

impl Place<'_> {
    fn spawn(&self, program: &Path, args: &[&str]) -> Result<Process> {
        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
        Process::spawn(program.as_os_str(), &args, &[], &self.folder.join("log"))
    }

    /// Writes its config file and starts it with the path of that.
    fn spawn_with(&self, program: &Path, config: &str, args: &[&str]) -> Result<Process> {
        let file = self.folder.join("config");
        fs::write(&file, config)?;
        let file = file.to_string_lossy().into_owned();
        let args: Vec<&str> =
            args.iter().map(|arg| if *arg == "CONFIG" { file.as_str() } else { arg }).collect();
        self.spawn(program, &args)
    }

    fn socket(&self) -> String {
        self.folder.join("socket").display().to_string()
    }

    fn relay(&self, server: &str) -> Result<Process> {
        let listen = format!("127.0.0.1:{},{}", self.port, self.socket());
        self.spawn(&built("blind_relay"), &[&listen, server])
    }

    fn clonelove(&self, program: &Path, network: &Network<'_>, routing: &[(&str, &str)]) -> Result<Process> {
        let mut config = Config::for_cluster(network.cluster)
            .without_servers()
            .set("monitor", "interval", "\"1s\"")
            .set("log", "level", "\"info\"")
            .set("listen", "mysql", &format!("[\"127.0.0.1:{}\", \"unix:{}\"]", self.port, self.socket()))
            .set("listen", "http", &format!("\"127.0.0.1:{}\"", self.admin));
        for (key, value) in routing {
            config = config.set("routing", key, value);
        }
        let tls = network.site.tls;
        if tls {
            let files = network.cluster.folder();
            let quoted = |name: &str| format!("\"{}\"", files.join(name).display());
            config = config.set("tls", "cert", &quoted("s.pem")).set("tls", "key", &quoted("s.key"));
            config = config.set("tls", "server_ca", &quoted(AUTHORITY));
        }
        let tls = if tls { "verify-ca" } else { "disabled" };
        // The relays open as many connections as there are clients; so may this one.
        let more = format!("max_connections = 3000\ntls = \"{tls}\"");
        config = config.set("limits", "client_connections", "20000");
        for server in network.servers() {
            config = config.server(&server.name, &server.address(), &more);
        }
        let process = self.spawn_with(program, &config.to_toml(), &["run", "--config", "CONFIG"])?;
        let admin = format!("127.0.0.1:{}", self.admin);
        wait_until("clonelove to be ready", DEFAULT_TIMEOUT, || {
            let reply = http_request(&admin, "GET", "/readyz?writes=1", &[])?;
            Ok((reply.status == 200).then_some(()))
        })?;
        Ok(process)
    }

    fn haproxy(&self, server: &str) -> Result<Process> {
        let config = format!(
            "global\n  maxconn 4000\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  \
             timeout server 1h\nlisten mysql\n  bind 127.0.0.1:{}\n  bind unix@{}\n  server single {server}\n",
            self.port,
            self.socket()
        );
        self.spawn_with(Path::new("haproxy"), &config, &["-db", "-f", "CONFIG"])
    }

    fn router(&self, server: &str) -> Result<Process> {
        let folder = self.folder.display();
        let config = format!(
            "[DEFAULT]\nlogging_folder={folder}\nruntime_folder={folder}\ndata_folder={folder}\n\
             max_total_connections=4000\n[logger]\nlevel=WARNING\n\
             [routing:single]\nbind_address=127.0.0.1\nbind_port={}\ndestinations={server}\n\
             routing_strategy=first-available\nprotocol=classic\nmax_connections=4000\n\
             client_ssl_mode=PASSTHROUGH\nserver_ssl_mode=AS_CLIENT\n",
            self.port
        );
        let file = self.folder.join("config");
        fs::write(&file, config)?;
        let ask = router(&format!("--config={}", file.display()))?;
        let args: Vec<OsString> = ask.get_args().map(OsString::from).collect();
        Process::spawn(ask.get_program(), &args, &[], &self.folder.join("log"))
    }

    fn proxysql(&self, network: &Network<'_>) -> Result<Process> {
        let servers: Vec<String> = network
            .servers()
            .iter()
            .enumerate()
            .map(|(at, server)| {
                let group = u8::from(at > 0);
                format!(
                    "{{ address=\"127.0.0.1\", port={}, hostgroup={group}, max_connections=3000 }}",
                    server.port
                )
            })
            .collect();
        let config = format!(
            "datadir=\"{}\"\nadmin_variables=\n{{\n  mysql_ifaces=\"127.0.0.1:{}\"\n}}\n\
             mysql_variables=\n{{\n  threads=2\n  max_connections=4000\n  interfaces=\"127.0.0.1:{};{}\"\n  \
             monitor_username=\"{MONITOR_USER}\"\n  monitor_password=\"{MONITOR_PASSWORD}\"\n}}\n\
             mysql_servers=\n(\n  {}\n)\n\
             mysql_users=\n(\n  {{ username=\"{APP_USER}\", password=\"{APP_PASSWORD}\", default_hostgroup=0 }}\n)\n\
             mysql_query_rules=\n(\n  {{ rule_id=1, active=1, match_digest=\"^SELECT.*FOR UPDATE\", \
             destination_hostgroup=0, apply=1 }},\n  {{ rule_id=2, active=1, match_digest=\"^SELECT\", \
             destination_hostgroup=1, apply=1 }}\n)\n",
            self.folder.display(),
            self.admin,
            self.port,
            self.socket(),
            servers.join(",\n  ")
        );
        self.spawn_with(Path::new("proxysql"), &config, &["--foreground", "--initial", "-c", "CONFIG"])
    }

    fn maxscale(&self, network: &Network<'_>) -> Result<Process> {
        use std::fmt::Write as _;
        let folder = self.folder.display();
        let mut config = format!(
            "[maxscale]\nthreads=2\nadmin_enabled=false\nlogdir={folder}\ndatadir={folder}\ncachedir={folder}\n\
             piddir={folder}\npersistdir={folder}\n"
        );
        let names: Vec<&str> = network.servers().iter().map(|server| server.name.as_str()).collect();
        for server in network.servers() {
            // Writing to a String cannot fail.
            let _ = writeln!(
                config,
                "[{}]\ntype=server\naddress=127.0.0.1\nport={}\nprotocol=MariaDBBackend",
                server.name, server.port
            );
        }
        let account =
            format!("user={MONITOR_USER}\npassword={MONITOR_PASSWORD}\nservers={}\n", names.join(","));
        let _ = writeln!(
            config,
            "[monitor]\ntype=monitor\nmodule=mariadbmon\nmonitor_interval=1000ms\n{account}"
        );
        let _ = writeln!(config, "[split]\ntype=service\nrouter=readwritesplit\n{account}");
        let _ = writeln!(
            config,
            "[listener]\ntype=listener\nservice=split\nprotocol=MariaDBClient\naddress=127.0.0.1\nport={}",
            self.port
        );
        let user = if is_root() { "--user=root" } else { "--nodaemon" };
        self.spawn_with(Path::new("maxscale"), &config, &["--nodaemon", user, "--config", "CONFIG"])
    }
}

/// MySQL Router, from the root that MySQL comes from.
fn router(arg: &str) -> Result<Command> {
    let mut command = Flavour::MySqlSid.command(Path::new("/usr/bin/mysqlrouter"))?;
    command.arg(arg);
    Ok(command)
}

/// Whether this process may do everything; MaxScale wants to be told.
fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0)
}
