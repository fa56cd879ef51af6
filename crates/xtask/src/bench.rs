//! `cargo xtask bench`: clonelove beside a direct connection, a blind relay and its peers, in one run, in turns.
//! Owns what is compared and in which order; docs/performance.md has the method and the results.

mod contender;
mod counts;
mod report;
mod sample;
mod site;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clonelove_testkit::{Cluster, ClusterOptions, Flavour};

use crate::shell::{cargo, on_path, show};
use contender::{Contender, Kind};
use report::Report;
use sample::{Ask, Cell, Sample};

/// Clients that were busy once, for the memory of an idle client.
const IDLE_CLIENTS: usize = 1500;

/// What is to be measured.
struct Plan {
    workloads: Vec<String>,
    clients: Vec<usize>,
    time: Duration,
    rounds: usize,
    kinds: Vec<Kind>,
    idle: bool,
    /// Another build of clonelove, to be compared with this one.
    before: Option<PathBuf>,
}

/// Runs the benches; writes the report to standard output and below `target/bench`.
pub(crate) fn run(args: &[&str]) -> Result<bool> {
    match args {
        ["--counts", rest @ ..] => return counts::run(rest),
        ["--sysbench"] => return agreement(),
        ["--hold"] => return hold(),
        _ => {}
    }
    let plan = Plan::parse(args)?;
    build()?;
    let cluster = start_cluster(&plan)?;
    let mut report = Report::new(&cluster, args)?;
    if plan.idle {
        for kind in &plan.kinds {
            if *kind != Kind::Direct {
                report.idle.push(idle_memory(*kind, &cluster, plan.before.as_deref())?);
            }
        }
    }
    let contenders: Vec<Contender> = plan
        .kinds
        .iter()
        .map(|kind| Contender::start(*kind, &cluster, plan.before.as_deref()))
        .collect::<Result<_>>()?;
    for workload in &plan.workloads {
        for clients in &plan.clients {
            let ask = Ask::new(workload, *clients, plan.time)?;
            report.cells.push(in_turns(&ask, &contenders, plan.rounds)?);
        }
    }
    report.write()
}

impl Plan {
    fn parse(args: &[&str]) -> Result<Self> {
        let mut plan = Self {
            workloads: ["point", "prepared", "connect", "php", "rows"].map(str::to_owned).to_vec(),
            clients: vec![1, 16, 128],
            time: Duration::from_secs(5),
            rounds: 3,
            kinds: Kind::available(),
            idle: true,
            before: None,
        };
        let mut words = args.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} wants a value"));
            match *word {
                "--quick" => {
                    plan.workloads.truncate(1);
                    plan.clients = vec![16];
                    (plan.time, plan.rounds, plan.idle) = (Duration::from_secs(2), 3, false);
                }
                "--workload" => plan.workloads = value()?.split(',').map(str::to_owned).collect(),
                "--clients" => {
                    plan.clients = value()?.split(',').map(str::parse).collect::<Result<_, _>>()?;
                }
                "--seconds" => plan.time = Duration::from_secs_f64(value()?.parse()?),
                "--rounds" => plan.rounds = value()?.parse()?,
                "--against" => plan.before = Some(value()?.into()),
                "--no-idle" => plan.idle = false,
                "--contenders" => {
                    plan.kinds = value()?.split(',').map(Kind::named).collect::<Result<_>>()?;
                }
                _ => bail!(
                    "not understood: {word}; `cargo xtask bench [--quick] [--workload point,php@500] [--clients 1,16] \
                     [--seconds 5] [--rounds 3] [--contenders direct,relay,clonelove] [--no-idle] [--against OTHER_CLONELOVE]`, \
                     or `cargo xtask bench --counts`, `--sysbench` or `--hold`"
                ),
            }
        }
        plan.kinds.extend(plan.before.is_some().then_some(Kind::Before));
        // Ratios are to this one.
        plan.kinds.retain(|kind| *kind != Kind::Direct);
        plan.kinds.insert(0, Kind::Direct);
        Ok(plan)
    }
}

/// The programs that are compared, as they would be shipped.
fn build() -> Result<()> {
    show(cargo().args(["build", "--release", "--locked", "-p", "clonelove", "-p", "clonelove-benches"]))
}

fn start_cluster(plan: &Plan) -> Result<Cluster> {
    println!("starting a MariaDB primary with two replicas");
    let extra = ["--max-connections=4000", "--innodb-buffer-pool-size=512M", "--back-log=4000"];
    let options = ClusterOptions {
        uniform: true,
        extra: extra.map(str::to_owned).to_vec(),
        ..ClusterOptions::default()
    };
    let cluster = Cluster::start(Flavour::MariaDbDistribution, options)?;
    println!("making the tables");
    site::make_table(&cluster)?;
    for workload in &plan.workloads {
        if let Some(site @ ("drupal7" | "drupal10")) = workload.split('@').next() {
            site::load_site(&cluster, site)?;
        }
    }
    cluster.wait_caught_up()?;
    Ok(cluster)
}

/// One cell of the report: all contenders, again and again, beginning with another one in every round.
fn in_turns(ask: &Ask, contenders: &[Contender], rounds: usize) -> Result<Cell> {
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
fn idle_memory(kind: Kind, cluster: &Cluster, before: Option<&Path>) -> Result<(String, Sample)> {
    let contender = Contender::start(kind, cluster, before)?;
    // So that code and tables that everybody needs are there before anything is counted.
    Ask::new("point", 16, Duration::from_millis(300))?.run(&contender)?;
    let sample = Ask::new("idle", IDLE_CLIENTS, Duration::from_secs(1))?.run(&contender)?;
    println!("  {:<18} {:<10} {} bytes per client", "idle", contender.name(), sample.growth_per_client);
    Ok((contender.name().to_owned(), sample))
}

/// Everything started and nothing asked, for perf, strace and the load generator by hand; ends with its input.
fn hold() -> Result<bool> {
    let plan = Plan::parse(&["--workload", "point,drupal10"])?;
    build()?;
    let cluster = start_cluster(&plan)?;
    for server in cluster.servers() {
        println!("{:<10} {} pid {}", server.name(), server.address(), server.pid()?);
    }
    let contenders: Vec<Contender> = plan
        .kinds
        .iter()
        .map(|kind| Contender::start(*kind, &cluster, plan.before.as_deref()))
        .collect::<Result<_>>()?;
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
    let ask = Ask::new("point", 16, Duration::from_secs(4))?;
    for kind in plan.kinds {
        let contender = Contender::start(kind, &cluster, None)?;
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
