//! `cargo xtask bench`: clonelove beside a direct connection, a blind relay and its peers, in one run, in turns.
//! Owns what is compared and in which order; docs/performance.md has the method and the results.

mod all;
mod contender;
mod counts;
mod freshness;
#[cfg(test)]
mod goals;
mod network;
mod report;
mod sample;
pub(crate) mod site;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clonelove_testkit::{Cluster, Flavour};

use crate::shell::{cargo, on_path, show};
use crate::stages::Outcome;
use contender::{Contender, Kind};
use network::{Network, Site};
use report::Report;
use sample::{Ask, Cell, Sample};

/// Clients that were busy once, for the memory of an idle client.
const IDLE_CLIENTS: usize = 1500;

/// What is measured when nothing else is asked for.
const WORKLOADS: [&str; 6] = ["point", "prepared", "connect", "rows", "php", "php+0.5ms"];

/// What is to be measured.
struct Plan {
    workloads: Vec<String>,
    clients: Vec<usize>,
    time: Duration,
    rounds: usize,
    kinds: Vec<Kind>,
    idle: bool,
    /// Whether system calls are counted, in a run of their own.
    syscalls: bool,
    /// Another build of clonelove, to be compared with this one.
    before: Option<PathBuf>,
    /// In front of which servers.
    flavour: Flavour,
    /// What its report is called.
    name: Option<String>,
}

/// Runs the benches; writes the report to standard output and below `target/bench`.
pub(crate) fn run(args: &[&str]) -> Result<bool> {
    match args {
        ["--all", rest @ ..] => return all::run(rest),
        ["--counts", rest @ ..] => return counts::run(rest),
        ["--sysbench"] => return agreement(),
        ["--hold"] => return hold(),
        ["--freshness", rest @ ..] => return freshness::run(rest),
        _ => {}
    }
    let plan = Plan::parse(args)?;
    build()?;
    let cluster = start_cluster(&plan)?;
    let mut report = Report::new(&cluster, args)?;
    if plan.idle {
        let network = Network::new(&cluster, Site::default())?;
        for kind in plan.kinds.iter().filter(|kind| **kind != Kind::Direct) {
            report.idle.push(idle_memory(*kind, &network, plan.before.as_deref())?);
        }
    }
    let asks = plan.asks()?;
    for same_site in asks.chunk_by(|one, next| one.site() == next.site()) {
        let site = same_site.first().map(Ask::site).unwrap_or_default();
        if !site.rtt.is_zero() {
            report.facts.push(site.rtt.measured()?);
        }
        let network = Network::new(&cluster, site)?;
        let contenders = plan.start(&network)?;
        for ask in same_site {
            let who: Vec<&Contender> = contenders.iter().filter(|contender| ask.suits(contender)).collect();
            let mut cell = in_turns(ask, &who, plan.rounds)?;
            if plan.syscalls {
                for contender in who {
                    cell.syscalls.extend(ask.syscalls(contender)?.map(|calls| (contender.name(), calls)));
                }
            }
            report.cells.push(cell);
        }
    }
    report.write(plan.name.as_deref())
}

/// Instructions and allocations of the pure parts against their bounds, as a stage of CI.
pub(crate) fn check_counts() -> Result<Outcome> {
    counts::check("")
}

impl Plan {
    fn parse(args: &[&str]) -> Result<Self> {
        let mut plan = Self {
            workloads: WORKLOADS.map(str::to_owned).to_vec(),
            clients: vec![1, 16, 128],
            time: Duration::from_secs(5),
            rounds: 3,
            kinds: Vec::new(),
            idle: true,
            syscalls: on_path("perf"),
            before: None,
            flavour: Flavour::MariaDbDistribution,
            name: None,
        };
        let mut words = args.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} wants a value"));
            match *word {
                "--quick" => {
                    plan.workloads.truncate(1);
                    plan.clients = vec![16];
                    (plan.time, plan.rounds) = (Duration::from_secs(2), 3);
                    (plan.idle, plan.syscalls) = (false, false);
                }
                "--workload" => plan.workloads = value()?.split(',').map(str::to_owned).collect(),
                "--clients" => {
                    plan.clients = value()?.split(',').map(str::parse).collect::<Result<_, _>>()?;
                }
                "--seconds" => plan.time = Duration::from_secs_f64(value()?.parse()?),
                "--rounds" => plan.rounds = value()?.parse()?,
                "--idle" => (plan.workloads, plan.idle) = (Vec::new(), true),
                "--servers" => {
                    let name = value()?;
                    let known = Flavour::ALL.into_iter().find(|flavour| flavour.name() == *name);
                    plan.flavour = known.with_context(|| format!("no servers {name:?}"))?;
                }
                "--as" => plan.name = Some(value()?.to_string()),
                "--against" => plan.before = Some(value()?.into()),
                "--no-syscalls" => plan.syscalls = false,
                "--no-idle" => plan.idle = false,
                "--contenders" => {
                    plan.kinds = value()?.split(',').map(Kind::named).collect::<Result<_>>()?;
                }
                _ => bail!(
                    "not understood: {word}; `cargo xtask bench [--quick] [--workload point/unix,point/tls,php+0.5ms,point@2000,point~900] \
                     [--clients 1,16] [--seconds 5] [--rounds 3] [--contenders direct,relay,clonelove] [--idle | --no-idle] \
                     [--servers mysql-sid] [--no-syscalls] [--against OTHER_CLONELOVE] [--as NAME]`, \
                     or `cargo xtask bench --all [--anew]`, `--counts`, `--freshness`, `--sysbench` or `--hold`"
                ),
            }
        }
        if plan.kinds.is_empty() {
            plan.kinds = Kind::available(plan.flavour.family());
        }
        plan.kinds.extend(plan.before.is_some().then_some(Kind::Before));
        // Ratios are to this one.
        plan.kinds.retain(|kind| *kind != Kind::Direct);
        plan.kinds.insert(0, Kind::Direct);
        Ok(plan)
    }

    /// Every workload with every number of clients, those of the same site together.
    fn asks(&self) -> Result<Vec<Ask>> {
        let pairs =
            self.workloads.iter().flat_map(|name| self.clients.iter().map(move |clients| (name, *clients)));
        let mut asks: Vec<Ask> =
            pairs.map(|(name, clients)| Ask::new(name, clients, self.time)).collect::<Result<_>>()?;
        asks.sort_by_key(Ask::site);
        Ok(asks)
    }

    /// Everybody who is compared.
    fn start(&self, network: &Network<'_>) -> Result<Vec<Contender>> {
        let start = |kind: &Kind| Contender::start(*kind, network, self.before.as_deref());
        self.kinds.iter().map(start).collect()
    }
}

/// The programs that are compared, as they would be shipped.
fn build() -> Result<()> {
    show(cargo().args(["build", "--release", "--locked", "-p", "clonelove", "-p", "clonelove-benches"]))
}

fn start_cluster(plan: &Plan) -> Result<Cluster> {
    let cluster = site::start(plan.flavour)?;
    println!("making the tables");
    site::make_table(&cluster)?;
    for workload in &plan.workloads {
        if let Some(site @ ("drupal7" | "drupal10")) = workload.split(['/', '+', '@', '~']).next() {
            site::load_site(&cluster, site)?;
        }
    }
    if plan.workloads.iter().any(|workload| workload.starts_with("php")) {
        site::make_caches(&cluster)?;
    }
    cluster.wait_caught_up()?;
    Ok(cluster)
}

/// One cell of the report: all contenders, again and again, beginning with another one in every round.
fn in_turns(ask: &Ask, contenders: &[&Contender], rounds: usize) -> Result<Cell> {
    let mut cell = Cell::new(ask, contenders);
    for round in 0..rounds {
        for turn in 0..contenders.len() {
            let at = (turn + round) % contenders.len();
            let Some(contender) = contenders.get(at) else { continue };
            let sample = ask.run(contender)?;
            println!("  {:<18} {:<10} {}", ask.name(), contender.name(), sample.line());
            cell.add(at, sample);
        }
    }
    Ok(cell)
}

/// The memory of clients that have nothing to do, of a process that served nobody else.
fn idle_memory(kind: Kind, network: &Network<'_>, before: Option<&Path>) -> Result<(String, Sample)> {
    let contender = Contender::start(kind, network, before)?;
    // So that code and tables that everybody needs are there before anything is counted.
    Ask::new("point", 16, Duration::from_millis(300))?.run(&contender)?;
    let sample = Ask::new("idle", IDLE_CLIENTS, Duration::from_secs(1))?.run(&contender)?;
    println!("  {:<18} {:<10} {} bytes per client", "idle", contender.name(), sample.growth_per_client);
    Ok((contender.name().to_owned(), sample))
}

/// Everything started and nothing asked, for perf, strace and the load generator by hand; ends with its input.
fn hold() -> Result<bool> {
    let plan = Plan::parse(&["--workload", "point,php,drupal10"])?;
    build()?;
    let cluster = start_cluster(&plan)?;
    for server in cluster.servers() {
        println!("{:<10} {} pid {}", server.name(), server.address(), server.pid()?);
    }
    let network = Network::new(&cluster, Site::default())?;
    let contenders = plan.start(&network)?;
    for contender in &contenders {
        let pid = contender.pid().map_or_else(String::new, |pid| format!(" pid {pid}"));
        println!(
            "{:<10} {}{pid}  config {}",
            contender.name(),
            contender.address(),
            contender.config().display()
        );
    }
    println!("end the input (Ctrl-D) to end them");
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(true)
}

/// The load generator beside sysbench, where both can go: they must tell the same of the same server.
fn agreement() -> Result<bool> {
    if !on_path("sysbench") {
        bail!("no sysbench on PATH: apt-get install sysbench");
    }
    let plan = Plan::parse(&["--quick", "--contenders", "direct,clonelove"])?;
    build()?;
    let cluster = start_cluster(&plan)?;
    let network = Network::new(&cluster, Site::default())?;
    let ask = Ask::new("point", 16, Duration::from_secs(4))?;
    for kind in plan.kinds {
        let contender = Contender::start(kind, &network, None)?;
        for _ in 0..3 {
            let (ours, theirs) = (ask.run(&contender)?, ask.run_sysbench(&contender)?);
            println!(
                "  {:<10} ours {:>8.0} q/s, {:>5.1} us of CPU   sysbench {:>8.0} q/s, {:>5.1} us of CPU",
                contender.name(),
                ours.qps,
                ours.cpu_us,
                theirs.qps,
                theirs.cpu_us
            );
        }
    }
    Ok(true)
}
