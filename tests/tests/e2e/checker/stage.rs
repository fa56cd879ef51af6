//! The servers, the proxy before them, and what is done to both. Owns the faults and their end; judges nothing.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clonelove_testkit::{
    APP_USER, Clonelove, Cluster, ClusterOptions, Config, Connection, Family, Flavour, MONITOR_USER, Server,
    wait_until,
};

use super::dice::Dice;
use super::relay::Relay;
use super::world::{Process, World};

/// How many statements of a thousand write, whatever the trouble.
const WRITES_ENV: &str = "CLONELOVE_CHECKER_WRITES";

/// What ails the servers, or the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    Nothing,
    /// Both replicas are a second behind, always.
    ConstantLag,
    /// Now one replica applies nothing, now the other, though they seem well.
    Stutter,
    /// The applying thread of one replica or the other, as the dice will, is stopped for a while.
    StoppedApplier,
    /// One replica applies nothing at all, the other is a little behind.
    OneFarBehind,
    /// SIGSTOP and SIGCONT.
    Frozen,
    /// SIGKILL of a replica that does not write through: it comes back with less than it had.
    KilledReplica,
    /// The primary answers long after it shows a commit, or shows it long after replicas do.
    SemiSync,
    /// Replicas apply transactions in another order than the primary wrote them.
    CommitOrderOff,
    /// kill -9 of clonelove, of now one process and now the other if there are two, and its restart, while replicas lag.
    KilledProxy,
}

impl Trouble {
    /// Each of them, beginning with none.
    pub(crate) const ALL: [Trouble; 10] = [
        Trouble::Nothing,
        Trouble::ConstantLag,
        Trouble::Stutter,
        Trouble::StoppedApplier,
        Trouble::OneFarBehind,
        Trouble::Frozen,
        Trouble::KilledReplica,
        Trouble::SemiSync,
        Trouble::CommitOrderOff,
        Trouble::KilledProxy,
    ];

    /// How many statements of a thousand write: where replicas lag for long, fewer, so that some reads still run there.
    fn write_share(self) -> usize {
        match self {
            Trouble::Nothing
            | Trouble::Stutter
            | Trouble::StoppedApplier
            | Trouble::KilledReplica
            | Trouble::CommitOrderOff => 80,
            Trouble::ConstantLag
            | Trouble::OneFarBehind
            | Trouble::Frozen
            | Trouble::SemiSync
            | Trouble::KilledProxy => 10,
        }
    }
}

/// A cluster whose replication goes through relays, and the proxy, or several.
pub(crate) struct Stage {
    pub(crate) cluster: Cluster,
    proxies: Vec<Clonelove>,
    config: Config,
    relays: Vec<Relay>,
    /// As former processes counted.
    before: Counted,
}

/// Reads that replicas may answer, as clonelove counts them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counted {
    pub(crate) all: f64,
    pub(crate) on_replicas: f64,
}

impl Counted {
    /// Why a read that a replica may answer was answered elsewhere.
    const KEPT: [&str; 7] =
        ["stale", "pending", "no_replica", "unknown_table", "learned", "read_only_refused", "retried"];

    fn by(proxy: &Clonelove) -> Result<Self> {
        let mut counted = Self::default();
        for (series, count) in proxy.metrics()? {
            let Some(labels) = series.strip_prefix("clonelove_queries_total") else { continue };
            let on_replica = labels.contains("target=\"replica\"");
            if on_replica || Self::KEPT.iter().any(|why| labels.contains(&format!("reason=\"{why}\""))) {
                counted.all += count;
                counted.on_replicas += if on_replica { count } else { 0.0 };
            }
        }
        Ok(counted)
    }

    pub(crate) fn and(self, more: Self) -> Self {
        Self { all: self.all + more.all, on_replicas: self.on_replicas + more.on_replicas }
    }

    /// What was counted since `before`.
    pub(crate) fn since(self, before: Self) -> Self {
        Self { all: self.all - before.all, on_replicas: self.on_replicas - before.on_replicas }
    }

    /// The part that ran on replicas.
    pub(crate) fn share(self) -> f64 {
        self.on_replicas / self.all.max(1.0)
    }
}

impl Stage {
    pub(crate) fn set(
        world: &World,
        flavour: Flavour,
        processes: usize,
        with: impl Fn(Config) -> Config,
    ) -> Result<Self> {
        let cluster = Cluster::start(flavour, options(flavour))?;
        let mut relays = Vec::new();
        for replica in &cluster.replicas {
            let relay = Relay::to(cluster.primary.address())?;
            replicate_through(replica, &relay)?;
            relays.push(relay);
        }
        for server in cluster.servers() {
            server.query("SET GLOBAL log_bin_trust_function_creators = 1")?;
        }
        semi_sync(&cluster, flavour.family())?;
        cluster.primary.query(&format!("GRANT REPLICATION SLAVE ON *.* TO {MONITOR_USER}@'%'"))?;
        world.set_up(in_app(&cluster.primary)?)?;
        cluster.wait_caught_up()?;
        let config = Config::for_cluster(&cluster)
            .set("log", "level", "\"warn\"")
            .set("monitor", "timeout", "\"500ms\"")
            .set("routing", "warm_up", "\"1ms\"");
        let config = with(config);
        let proxies = (0..processes).map(|_| Clonelove::start_with(config.clone()));
        let stage = Self {
            cluster,
            proxies: proxies.collect::<Result<_>>()?,
            config,
            relays,
            before: Counted::default(),
        };
        stage.announce(world);
        Ok(stage)
    }

    /// Tells the visitors where the processes are.
    fn announce(&self, world: &World) {
        let place = |proxy: &Clonelove| Process { address: proxy.addr(), admin: proxy.http_addr() };
        *world.processes.lock() = self.proxies.iter().map(place).collect();
    }

    /// How many reads ran on replicas so far, and how many might have.
    pub(crate) fn counted(&self) -> Result<Counted> {
        let now: Vec<Counted> = self.proxies.iter().map(Counted::by).collect::<Result<_>>()?;
        Ok(now.into_iter().fold(self.before, Counted::and))
    }

    /// Lets so many reads pass under this trouble, and ends it.
    pub(crate) fn endure(&mut self, world: &World, trouble: Trouble, reads: u64) -> Result<()> {
        *world.trouble.lock() = format!("{trouble:?}");
        let share = std::env::var(WRITES_ENV).ok().and_then(|text| text.parse().ok());
        world.write_share.store(share.unwrap_or(trouble.write_share()), Ordering::Relaxed);
        world.spare_xa.store(trouble == Trouble::KilledReplica, Ordering::Relaxed);
        let goal = world.reads.load(Ordering::Relaxed) + reads;
        match trouble {
            Trouble::Nothing => pass(world, goal)?,
            Trouble::ConstantLag => {
                self.delay([(1000, 0), (1000, 0)]);
                pass(world, goal)?;
            }
            Trouble::Stutter => self.stutter(world, goal)?,
            Trouble::StoppedApplier => self.stop_appliers(world, goal)?,
            Trouble::OneFarBehind => {
                let held = hold(&self.cluster.replicas[0])?;
                self.delay([(0, 0), (200, 0)]);
                pass(world, goal)?;
                drop(held);
            }
            Trouble::Frozen => self.freeze(world, goal)?,
            Trouble::KilledReplica => self.kill_replicas(world, goal)?,
            Trouble::SemiSync => {
                self.delay([(60, 100), (250, 100)]);
                let half = goal.saturating_sub(world.reads.load(Ordering::Relaxed)) / 2;
                for (wait_point, to) in [("AFTER_COMMIT", goal - half), ("AFTER_SYNC", goal)] {
                    switch_semi_sync(&self.cluster, Some(wait_point))?;
                    self.proxies.iter().try_for_each(|proxy| probed(proxy, "primary"))?;
                    pass(world, to)?;
                }
                switch_semi_sync(&self.cluster, None)?;
            }
            Trouble::CommitOrderOff => {
                self.commit_order(false)?;
                self.delay([(50, 0), (300, 0)]);
                pass(world, goal)?;
                self.commit_order(true)?;
            }
            Trouble::KilledProxy => self.kill_proxy(world, goal)?,
        }
        self.delay([(0, 0), (0, 0)]);
        self.cluster.wait_caught_up().with_context(|| self.processes())
    }

    /// What the servers are doing, for who must explain why they do not get on.
    fn processes(&self) -> String {
        let mut all = String::new();
        for server in self.cluster.servers() {
            all.push_str(&format!("{} has {:?}\n", server.name(), server.applied_position()));
            let rows = server.query("SHOW FULL PROCESSLIST").unwrap_or_default();
            let busy =
                rows.iter().filter(|row| row.get(4).is_some_and(|what| what.as_deref() != Some("Sleep")));
            for row in busy {
                let row: Vec<&str> = row.iter().map(|field| field.as_deref().unwrap_or("NULL")).collect();
                all.push_str(&format!("{}: {}\n", server.name(), row.join(" | ")));
            }
        }
        all
    }

    fn delay(&self, milliseconds: [(u64, u64); 2]) {
        for (relay, (from_primary, to_primary)) in self.relays.iter().zip(milliseconds) {
            relay.delay(from_primary, to_primary);
        }
    }

    fn stutter(&self, world: &World, goal: u64) -> Result<()> {
        for replica in self.cluster.replicas.iter().cycle() {
            if passed(world, goal) {
                break;
            }
            let held = hold(replica)?;
            pass_some(world, goal, 250)?;
            drop(held);
            pass_some(world, goal, 50)?;
        }
        Ok(())
    }

    fn stop_appliers(&self, world: &World, goal: u64) -> Result<()> {
        let mut dice = Dice::new(goal);
        while !passed(world, goal) {
            let replica = &self.cluster.replicas[dice.below(self.cluster.replicas.len())];
            replica.stop_sql_thread()?;
            pass_some(world, goal, 50 + dice.below(400) as u64)?;
            replica.start_sql_thread()?;
            pass_some(world, goal, 100 + dice.below(600) as u64)?;
        }
        Ok(())
    }

    fn freeze(&self, world: &World, goal: u64) -> Result<()> {
        self.delay([(100, 0), (100, 0)]);
        for replica in self.cluster.replicas.iter().cycle() {
            if passed(world, goal) {
                break;
            }
            replica.freeze()?;
            pass_some(world, goal, 600)?;
            replica.thaw()?;
            pass_some(world, goal, 600)?;
        }
        Ok(())
    }

    /// What it fetches again comes late, so that it stays behind for a while.
    fn kill_replicas(&self, world: &World, goal: u64) -> Result<()> {
        for (replica, delays) in
            self.cluster.replicas.iter().zip([[(3000, 0), (0, 0)], [(0, 0), (3000, 0)]]).cycle()
        {
            pass_some(world, goal, 1500)?;
            if passed(world, goal) {
                break;
            }
            replica.kill9()?;
            self.delay(delays);
            replica.start()?;
            pass_some(world, goal, 2500)?;
            self.delay([(0, 0), (0, 0)]);
        }
        Ok(())
    }

    fn kill_proxy(&mut self, world: &World, goal: u64) -> Result<()> {
        let step = goal.saturating_sub(world.reads.load(Ordering::Relaxed)) / 3;
        self.delay([(1500, 0), (400, 0)]);
        let held = hold(&self.cluster.replicas[1])?;
        for round in 0..2 {
            pass_some(world, goal, step)?;
            let at = round % self.proxies.len();
            let proxy = &mut self.proxies[at];
            self.before = self.before.and(Counted::by(proxy)?);
            // It opens no further connection while they are looked at.
            proxy.process().freeze()?;
            let ports = ports_of(proxy.process().pid())?;
            proxy.process_mut().kill9()?;
            let killed = world.now();
            gone_of_app(&self.cluster.primary, &ports)?;
            world.settle(killed);
            self.proxies[at] = Clonelove::start_with(self.config.clone())?;
            self.announce(world);
        }
        drop(held);
        pass(world, goal)
    }

    /// MariaDB keeps the order within a domain always; there are two.
    fn commit_order(&self, keep: bool) -> Result<()> {
        let (keep, workers) = if keep { ("ON", 0) } else { ("OFF", 4) };
        for replica in &self.cluster.replicas {
            replica.stop_sql_thread()?;
            replica.query(&match replica.flavour().family() {
                Family::MariaDb => {
                    format!("STOP SLAVE; SET GLOBAL slave_parallel_threads = {workers}; START SLAVE")
                }
                Family::MySql => format!(
                    "SET GLOBAL replica_preserve_commit_order = {keep}; \
                     SET GLOBAL replica_parallel_workers = {}; START REPLICA SQL_THREAD",
                    workers.max(1)
                ),
            })?;
        }
        Ok(())
    }
}

/// MariaDB's replicas forget up to a second when they are killed, and take it well when they are told again what they
/// have; but now and then one comes back without a prepared XA transaction that its position has, and replicates no
/// more. MySQL's write their log at once whatever they are told, and survive XA only with a binary log of their own;
/// that they come back earlier is tried with a backup, in `freshness_rules`. So nobody uses XA while replicas are killed.
fn options(flavour: Flavour) -> ClusterOptions {
    let replica_extra: &[&str] = match flavour.family() {
        Family::MariaDb => {
            &["--log-slave-updates=0", "--slave-exec-mode=IDEMPOTENT", "--innodb-flush-log-at-trx-commit=0"]
        }
        Family::MySql => &["--innodb-flush-log-at-trx-commit=1", "--sync-binlog=1"],
    };
    let replica_extra = replica_extra.iter().map(|option| (*option).to_owned()).collect();
    ClusterOptions { uniform: true, replica_extra, ..ClusterOptions::default() }
}

/// Waits until clonelove has looked anew at how a server is set.
pub(crate) fn probed(proxy: &Clonelove, server: &str) -> Result<()> {
    let label = format!("server=\"{server}\"");
    let count = || proxy.metric("clonelove_probe_seconds_count", &[&label]);
    let before = count()?;
    // One may have been under way.
    wait_until("the proxy to look at a server anew", Duration::from_secs(30), || {
        Ok::<_, anyhow::Error>(count()? >= before + 2.0)
    })
}

fn in_app(server: &Server) -> Result<Connection> {
    let mut root = server.connect()?;
    root.query("USE app")?;
    Ok(root)
}

pub(crate) fn replicate_through(replica: &Server, relay: &Relay) -> Result<()> {
    let port = relay.port();
    replica.query(&match replica.flavour().family() {
        Family::MariaDb => format!(
            "STOP SLAVE; CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={port}, \
             MASTER_USE_GTID=slave_pos; START SLAVE"
        ),
        Family::MySql => format!(
            "STOP REPLICA; CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT={port}, \
             SOURCE_AUTO_POSITION=1; START REPLICA"
        ),
    })?;
    wait_receiving(replica)
}

fn wait_receiving(replica: &Server) -> Result<()> {
    wait_until("a replica to receive again", Duration::from_secs(30), || {
        let state = replica.replication()?;
        if state.io == "Yes" { Ok(true) } else { bail!("{state:?}") }
    })
}

/// Made ready, and switched off.
pub(crate) fn semi_sync(cluster: &Cluster, family: Family) -> Result<()> {
    if family == Family::MySql {
        cluster.primary.query("INSTALL PLUGIN rpl_semi_sync_source SONAME 'semisync_source.so'")?;
        for replica in &cluster.replicas {
            replica.query("INSTALL PLUGIN rpl_semi_sync_replica SONAME 'semisync_replica.so'")?;
        }
    }
    Ok(())
}

/// The primary answers when a replica has acknowledged, and shows the commit before or then: by the wait point.
pub(crate) fn switch_semi_sync(cluster: &Cluster, wait_point: Option<&str>) -> Result<()> {
    let (on, wait_point) =
        (if wait_point.is_some() { "ON" } else { "OFF" }, wait_point.unwrap_or("AFTER_SYNC"));
    let (source, replica) = match cluster.primary.flavour().family() {
        Family::MariaDb => ("rpl_semi_sync_master", "rpl_semi_sync_slave"),
        Family::MySql => ("rpl_semi_sync_source", "rpl_semi_sync_replica"),
    };
    cluster.primary.query(&format!(
        "SET GLOBAL {source}_wait_point = '{wait_point}'; SET GLOBAL {source}_timeout = 10000; \
         SET GLOBAL {source}_enabled = {on}"
    ))?;
    for one in &cluster.replicas {
        one.query(&format!("SET GLOBAL {replica}_enabled = {on}"))?;
        one.stop_io_thread()?;
        one.start_io_thread()?;
    }
    for one in &cluster.replicas {
        wait_receiving(one)?;
    }
    Ok(())
}

/// Applies nothing for as long as this lives, though its threads run and reads go on.
fn hold(server: &Server) -> Result<Connection> {
    let mut lock = server.connect()?;
    lock.query("FLUSH TABLES WITH READ LOCK")?;
    Ok(lock)
}

/// The local ports of a process' TCP connections.
fn ports_of(pid: u32) -> Result<HashSet<u16>> {
    let mut inodes: HashSet<u64> = HashSet::new();
    for file in std::fs::read_dir(format!("/proc/{pid}/fd"))? {
        let target = std::fs::read_link(file?.path()).unwrap_or_default();
        let name = target.to_str().and_then(|name| name.strip_prefix("socket:[")?.strip_suffix(']'));
        inodes.extend(name.and_then(|inode| inode.parse::<u64>().ok()));
    }
    let sockets = std::fs::read_to_string(format!("/proc/{pid}/net/tcp"))?;
    let port = |line: &str| {
        let mut fields = line.split_whitespace();
        let (_, port) = fields.nth(1)?.split_once(':')?;
        let inode: u64 = fields.nth(7)?.parse().ok()?;
        inodes.contains(&inode).then(|| u16::from_str_radix(port, 16).ok())?
    };
    Ok(sockets.lines().skip(1).filter_map(port).collect())
}

/// Waits until nothing of what a dead proxy has asked for over these ports is under way any more.
fn gone_of_app(primary: &Server, ports: &HashSet<u16>) -> Result<()> {
    wait_until("the dead proxy's connections to be gone", Duration::from_secs(60), || {
        let hosts = format!("SELECT host FROM information_schema.processlist WHERE user = '{APP_USER}'");
        let left = primary.query(&hosts)?.into_iter().flatten().flatten();
        let port = |host: String| host.rsplit(':').next().and_then(|port| port.parse::<u16>().ok());
        Ok::<_, anyhow::Error>(!left.filter_map(port).any(|port| ports.contains(&port)))
    })
}

fn passed(world: &World, goal: u64) -> bool {
    world.is_over() || world.reads.load(Ordering::Relaxed) >= goal
}

/// Waits until so many reads were made, however long that takes, as long as there are any.
fn pass(world: &World, goal: u64) -> Result<()> {
    let mut last = world.reads.load(Ordering::Relaxed);
    while !passed(world, goal) {
        wait_until("reads to go on", Duration::from_secs(60), || {
            passed(world, goal) || world.reads.load(Ordering::Relaxed) > last
        })?;
        last = world.reads.load(Ordering::Relaxed);
    }
    Ok(())
}

/// The same for the next `some` of them.
fn pass_some(world: &World, goal: u64, some: u64) -> Result<()> {
    pass(world, goal.min(world.reads.load(Ordering::Relaxed) + some))
}
