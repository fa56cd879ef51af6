//! A primary and its replicas, replicating by GTID, in one sandbox.

use anyhow::{Context, Result};

use crate::flavour::{Family, Flavour};
use crate::places::Sandbox;
use crate::server::Server;
use crate::template::{hand_over, prepared};

/// How a cluster is to be.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// How many replicas.
    pub replicas: usize,
    /// Whether the general log is on from the start.
    pub general_log: bool,
    /// Whether all servers have the same settings; else the last replica differs in all that a test may trip over.
    pub uniform: bool,
    /// Further server options, for all servers (`--name=value`).
    pub extra: Vec<String>,
    /// Further server options, for replicas only.
    pub replica_extra: Vec<String>,
    /// Files, by name and content, that every server has in its data directory from the start.
    pub files: Vec<(String, String)>,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            replicas: 2,
            general_log: false,
            uniform: false,
            extra: Vec::new(),
            replica_extra: Vec::new(),
            files: Vec::new(),
        }
    }
}

/// Running servers; all end when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    /// The writable one.
    pub primary: Server,
    /// The others, `read_only`.
    pub replicas: Vec<Server>,
    // Last, so that its folder goes after the servers have ended.
    sandbox: Sandbox,
}

impl Cluster {
    /// Starts the servers and waits until the replicas replicate.
    ///
    /// # Errors
    /// When a server does not start; the message has the last of its log.
    pub fn start(flavour: Flavour, options: ClusterOptions) -> Result<Self> {
        prepared(flavour)?;
        let sandbox = Sandbox::new()?;
        hand_over(sandbox.path())?;
        let (given, place) = (&options, &sandbox);
        let mut servers =
            in_parallel((0..=options.replicas).map(|index| move || create(flavour, index, given, place)))?;
        let replicas = servers.split_off(1);
        let primary = servers.pop().context("a cluster has a primary")?;
        in_parallel(replicas.iter().map(|replica| || replica.repoint(&primary)))?;
        Ok(Self { primary, replicas, sandbox })
    }

    /// Waits until every replica has applied all that the primary has written so far.
    ///
    /// # Errors
    /// When one does not get there.
    pub fn wait_caught_up(&self) -> Result<()> {
        self.replicas.iter().try_for_each(|replica| replica.wait_caught_up(&self.primary))
    }

    /// The primary, then the replicas.
    pub fn servers(&self) -> impl Iterator<Item = &Server> {
        std::iter::once(&self.primary).chain(&self.replicas)
    }

    /// The server of that name.
    ///
    /// # Errors
    /// When there is none.
    pub fn server(&self, name: &str) -> Result<&Server> {
        self.servers().find(|server| server.name() == name).with_context(|| format!("no server {name}"))
    }

    /// A folder that goes away with the cluster, for files of the test.
    #[must_use]
    pub fn folder(&self) -> &std::path::Path {
        self.sandbox.path()
    }
}

/// Does all at once and gives the results in order, or the first error.
fn in_parallel<T: Send>(jobs: impl Iterator<Item = impl FnOnce() -> Result<T> + Send>) -> Result<Vec<T>> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = jobs.map(|job| scope.spawn(job)).collect();
        let panicked = |_| anyhow::anyhow!("a thread panicked");
        threads.into_iter().map(|thread| thread.join().map_err(panicked)?).collect()
    })
}

fn create(flavour: Flavour, index: usize, options: &ClusterOptions, sandbox: &Sandbox) -> Result<Server> {
    let mut extra = options.extra.clone();
    if options.general_log {
        extra.push("--general-log=1".to_owned());
    }
    if index > 0 {
        extra.push("--read-only=1".to_owned());
        extra.extend_from_slice(&options.replica_extra);
    }
    if index > 0 && index == options.replicas && !options.uniform {
        extra.extend(odd_settings(flavour)?);
    }
    let name = if index == 0 { "primary".to_owned() } else { format!("replica{index}") };
    let id = 11 + u32::try_from(index)?;
    Server::create(&name, flavour, id, sandbox.path().join(&name), (&extra, &options.files))
        .with_context(|| format!("{name} ({})", flavour.name()))
}

/// Settings in which two servers of one installation may differ, and which change what the same statement answers.
fn odd_settings(flavour: Flavour) -> Result<Vec<String>> {
    let mut settings = [
        "--sql-mode=NO_ENGINE_SUBSTITUTION",
        "--default-time-zone=+05:30",
        "--div-precision-increment=2",
        "--group-concat-max-len=64",
    ]
    .map(str::to_owned)
    .to_vec();
    if flavour.family() == Family::MariaDb {
        // The version can be chosen there; its comment can be chosen nowhere.
        let said = flavour.version()?;
        settings.push(format!("--version={}-odd", said.split(' ').next().unwrap_or_default()));
    }
    Ok(settings)
}
