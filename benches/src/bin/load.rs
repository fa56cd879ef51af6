//! The load generator: so many clients ask the same thing for so long; prints one JSON object.
//!
//! It reads the processor time, context switches and memory of the processes given by `--watch` itself, at both ends
//! of the time that counts, so that what they spent belongs to what was asked.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "its result goes to its caller")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clonelove_benches::client::Target;
use clonelove_benches::drive::{self, Load, Observer};
use clonelove_benches::workload::Workload;
use clonelove_wire::Secret;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};

const USAGE: &str = "load --addr HOST:PORT|SOCKET --workload NAME [--clients N] [--threads N] [--seconds S] [--warm-up S] \
[--rate R] [--beside RESTING_CLIENTS] [--tls CA_FILE] [--user U] [--password P] [--recordings FOLDER] [--watch PID]...";

/// A tick of the processor times in /proc, in microseconds: USER_HZ is 100 on every Linux that these benches run on.
const TICK: u64 = 10_000;

fn main() -> Result<()> {
    let options = Options::parse(std::env::args().skip(1))?;
    let workload = Workload::named(&options.workload, &options.recordings)?;
    if options.rate.is_some() && workload.reconnect {
        bail!("a fixed rate is for clients that stay connected, which those of {} do not", options.workload);
    }
    let idle = options.workload == "idle";
    allow_descriptors();
    let load = Load {
        target: Arc::new(Target {
            address: options.addr.parse()?,
            user: options.user.clone(),
            password: Secret::new(options.password.clone()),
            tls: options.tls.as_deref().map(trust).transpose()?,
        }),
        workload: Arc::new(workload),
        clients: options.clients,
        beside: options.beside,
        threads: options.threads.min(options.clients),
        warm_up: options.warm_up,
        time: options.time,
        rate: options.rate,
    };
    let before: Vec<_> = options.watch.iter().map(|pid| Usage::of(*pid)).collect::<Result<_>>()?;
    let mut watch = Watch { pids: options.watch.clone(), begin: Vec::new(), end: Vec::new() };
    let (tally, took) = drive::run(&load, &mut watch)?;
    let queries = tally.queries;
    let watched: Vec<Value> = watch
        .begin
        .iter()
        .zip(&watch.end)
        .zip(&before)
        .map(|((begin, end), before)| {
            let per_query = |count: u64| if queries == 0 { 0.0 } else { count as f64 / queries as f64 };
            let growth = end.rss.saturating_sub(before.rss);
            json!({
                "cpu_us": end.cpu.saturating_sub(begin.cpu),
                "cpu_us_per_query": per_query(end.cpu.saturating_sub(begin.cpu)),
                "switches_per_query": per_query(end.switches.saturating_sub(begin.switches)),
                "voluntary_switches_per_query": per_query(end.voluntary.saturating_sub(begin.voluntary)),
                "rss_before": before.rss,
                "rss": end.rss,
                "rss_peak": end.peak,
                "growth_per_client": if idle { growth / options.clients as u64 } else { 0 },
            })
        })
        .collect();
    let at = |quantile: f64| tally.latency.value_at_quantile(quantile) as f64 / 1000.0;
    let seconds = took.as_secs_f64();
    println!(
        "{}",
        json!({
            "workload": options.workload, "clients": options.clients, "seconds": seconds,
            "queries": queries, "requests": tally.requests,
            "qps": queries as f64 / seconds, "requests_per_second": tally.requests as f64 / seconds,
            "bytes_per_second": tally.bytes as f64 / seconds,
            "refused": tally.refused, "lost": tally.lost, "first_error": tally.first_error,
            "latency_us": {"p50": at(0.5), "p99": at(0.99), "p999": at(0.999), "mean": tally.latency.mean() / 1000.0},
            "watched": watched,
        })
    );
    Ok(())
}

struct Options {
    addr: String,
    workload: String,
    clients: usize,
    threads: usize,
    time: Duration,
    warm_up: Duration,
    rate: Option<f64>,
    beside: usize,
    tls: Option<PathBuf>,
    user: String,
    password: String,
    recordings: PathBuf,
    watch: Vec<u32>,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self {
            addr: String::new(),
            workload: String::new(),
            clients: 16,
            threads: 1,
            time: Duration::from_secs(5),
            warm_up: Duration::from_secs(1),
            rate: None,
            beside: 0,
            tls: None,
            user: "app".to_owned(),
            password: "app-password".to_owned(),
            recordings: Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/drupal"),
            watch: Vec::new(),
        };
        while let Some(name) = args.next() {
            let value = args.next().with_context(|| format!("{name} wants a value\n{USAGE}"))?;
            match name.as_str() {
                "--addr" => options.addr = value,
                "--workload" => options.workload = value,
                "--clients" => options.clients = value.parse()?,
                "--threads" => options.threads = value.parse()?,
                "--seconds" => options.time = Duration::from_secs_f64(value.parse()?),
                "--warm-up" => options.warm_up = Duration::from_secs_f64(value.parse()?),
                "--rate" => options.rate = Some(value.parse()?),
                "--beside" => options.beside = value.parse()?,
                "--tls" => options.tls = Some(value.into()),
                "--user" => options.user = value,
                "--password" => options.password = value,
                "--recordings" => options.recordings = value.into(),
                "--watch" => options.watch.push(value.parse()?),
                _ => bail!("not understood: {name}\n{USAGE}"),
            }
        }
        if options.addr.is_empty()
            || options.workload.is_empty()
            || options.clients == 0
            || options.threads == 0
        {
            bail!("{USAGE}");
        }
        Ok(options)
    }
}

/// Each client is a descriptor.
fn allow_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Where it is not allowed, connecting says so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// Who trusts the authority in this file, and nobody else.
fn trust(file: &Path) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file)? {
        roots.add(certificate?)?;
    }
    Ok(Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()))
}

/// The watched processes at both ends of the time that counts.
struct Watch {
    pids: Vec<u32>,
    begin: Vec<Usage>,
    end: Vec<Usage>,
}

impl Observer for Watch {
    fn begin(&mut self) -> Result<()> {
        self.begin = self.pids.iter().map(|pid| Usage::of(*pid)).collect::<Result<_>>()?;
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        self.end = self.pids.iter().map(|pid| Usage::of(*pid)).collect::<Result<_>>()?;
        Ok(())
    }
}

/// What a process has used so far.
struct Usage {
    /// Processor time of all its threads, in microseconds.
    cpu: u64,
    /// Context switches of its living threads.
    switches: u64,
    /// Those of them because a thread had nothing to do.
    voluntary: u64,
    /// Resident memory, in bytes.
    rss: u64,
    /// The most it ever was.
    peak: u64,
}

impl Usage {
    fn of(pid: u32) -> Result<Self> {
        let folder = PathBuf::from(format!("/proc/{pid}"));
        let read = |path: PathBuf| {
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        let stat = read(folder.join("stat"))?;
        // The name, in parentheses, may hold anything; user and system time are the 14th and 15th fields.
        let (_, fields) = stat.rsplit_once(')').context("no name in stat")?;
        let ticks = fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap_or(0));
        let (mut voluntary, mut all) = (0, 0);
        for task in std::fs::read_dir(folder.join("task"))? {
            // A thread may end while it is looked at.
            let status = read(task?.path().join("status")).unwrap_or_default();
            let waits = number(&status, "voluntary_ctxt_switches:");
            voluntary += waits;
            all += waits + number(&status, "nonvoluntary_ctxt_switches:");
        }
        let status = read(folder.join("status"))?;
        Ok(Self {
            cpu: ticks.sum::<u64>() * TICK,
            switches: all,
            voluntary,
            rss: number(&status, "VmRSS:") * 1024,
            peak: number(&status, "VmHWM:") * 1024,
        })
    }
}

fn number(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()).and_then(|word| word.parse().ok()).unwrap_or(0)
}
