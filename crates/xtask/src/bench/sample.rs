//! One run of the load against one contender, and many of them put together. Owns the figures.

use std::ffi::OsString;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clonelove_testkit::{APP_PASSWORD, APP_USER};
use serde_json::Value;

use super::contender::{Contender, built};
use super::network::{Rtt, Site};
use super::site::recordings;
use crate::shell::{on_path, read};

/// For how long system calls are counted.
const SYSCALLS_TIME: Duration = Duration::from_secs(1);

/// What is asked of every contender alike.
pub(crate) struct Ask {
    workload: String,
    clients: usize,
    time: Duration,
    /// Requests per second; else as many as they can.
    rate: Option<f64>,
    /// How far the servers are.
    rtt: Rtt,
    /// Over a unix socket between application and proxy.
    unix: bool,
    /// Over TLS.
    tls: bool,
    /// How many clients more are logged in, and ask nothing.
    beside: usize,
}

impl Ask {
    /// `workload`, with `/unix` or `/tls`, clients that rest beside (`~900`), a round-trip time (`+0.5ms`) and a rate
    /// (`@2000`) behind it, each if wanted.
    pub(crate) fn new(workload: &str, clients: usize, time: Duration) -> Result<Self> {
        let (workload, rate) = match workload.split_once('@') {
            Some((name, rate)) => (name, Some(rate.parse().with_context(|| format!("no rate: {rate:?}"))?)),
            None => (workload, None),
        };
        let (workload, rtt) = match workload.split_once('+') {
            Some((name, rtt)) => (name, Rtt::parse(rtt)?),
            None => (workload, Rtt::default()),
        };
        let (workload, beside) = match workload.split_once('~') {
            Some((name, count)) => {
                (name, count.parse().with_context(|| format!("no number of clients: {count:?}"))?)
            }
            None => (workload, 0),
        };
        let (workload, unix, tls) = match workload.split_once('/') {
            Some((name, "unix")) => (name, true, false),
            Some((name, "tls")) => (name, false, true),
            Some((_, other)) => bail!("no such way: {other:?}; there are /unix and /tls"),
            None => (workload, false, false),
        };
        Ok(Self { workload: workload.to_owned(), clients, time, rate, rtt, unix, tls, beside })
    }

    pub(crate) fn name(&self) -> String {
        let rate = self.rate.map(|rate| format!(" at {rate}/s")).unwrap_or_default();
        let clients = if self.clients == 1 { "client" } else { "clients" };
        let rtt = if self.rtt.is_zero() { String::new() } else { format!(" over {}", self.rtt) };
        let way = match (self.unix, self.tls) {
            (true, _) => " by unix sockets",
            (_, true) => " over TLS",
            _ => "",
        };
        let beside =
            if self.beside == 0 { String::new() } else { format!(" beside {} at rest", self.beside) };
        format!("{}{rate}{way}{rtt}, {} {clients}{beside}", self.workload, self.clients)
    }

    /// Where it goes.
    pub(crate) fn site(&self) -> Site {
        Site { rtt: self.rtt, writes: self.workload == "read_write", tls: self.tls }
    }

    /// Whether a contender can be asked this.
    pub(crate) fn suits(&self, contender: &Contender) -> bool {
        (!self.unix || contender.socket().is_some()) && (self.beside == 0 || contender.shares())
    }

    /// Whether results may take longer than a run, so that only bytes tell how fast they come.
    fn is_large(&self) -> bool {
        matches!(self.workload.as_str(), "rows" | "stream")
    }

    pub(crate) fn has_rate(&self) -> bool {
        self.rate.is_some()
    }

    /// Runs the load once.
    pub(crate) fn run(&self, contender: &Contender) -> Result<Sample> {
        let warm_up = if self.workload == "idle" { "0" } else { "0.5" };
        let mut command = Command::new(built("load"));
        command.args(self.words(contender, self.time)).args(["--warm-up", warm_up]);
        let text = read(&mut command).with_context(|| contender.name())?;
        Sample::parse(&serde_json::from_str(&text)?)
    }

    /// System calls of the process in the middle for a statement; log-in and end of all clients are in it. Apart from
    /// what is timed, because counting makes every system call dearer.
    pub(crate) fn syscalls(&self, contender: &Contender) -> Result<Option<f64>> {
        let Some(pid) = contender.pid().filter(|_| on_path("perf")) else { return Ok(None) };
        let counts = contender.folder().join("perf");
        let mut command = Command::new("perf");
        command.args(["stat", "-x", ",", "-e", "raw_syscalls:sys_enter", "-p", &pid.to_string(), "-o"]);
        command.arg(&counts).arg("--").arg(built("load"));
        command.args(self.words(contender, SYSCALLS_TIME)).args(["--warm-up", "0"]);
        let text = read(&mut command).with_context(|| contender.name())?;
        let queries = serde_json::from_str::<Value>(&text)?.get("queries").and_then(Value::as_f64);
        let said = std::fs::read_to_string(&counts)?;
        let line = said.lines().find(|line| line.contains("raw_syscalls")).context("perf counted nothing")?;
        let calls = line.split(',').next().and_then(|number| number.parse::<f64>().ok());
        Ok(calls.zip(queries.filter(|count| *count > 0.0)).map(|(calls, queries)| calls / queries))
    }

    fn words(&self, contender: &Contender, time: Duration) -> Vec<OsString> {
        let address = match contender.socket().filter(|_| self.unix) {
            Some(socket) => socket.into(),
            None => OsString::from(contender.address()),
        };
        let mut words = vec!["--addr".into(), address, "--recordings".into(), recordings().into()];
        let mut add = |name: &str, value: String| words.extend([OsString::from(name), OsString::from(value)]);
        add("--workload", self.workload.clone());
        add("--user", APP_USER.to_owned());
        add("--password", APP_PASSWORD.to_owned());
        add("--clients", self.clients.to_string());
        add("--seconds", time.as_secs_f64().to_string());
        if let Some(rate) = self.rate {
            add("--rate", rate.to_string());
        }
        if self.tls {
            add("--tls", contender.trusts().display().to_string());
        }
        add("--beside", self.beside.to_string());
        if let Some(pid) = contender.pid() {
            add("--watch", pid.to_string());
        }
        words
    }

    /// The same by sysbench, which cannot tell more than its throughput.
    pub(crate) fn run_sysbench(&self, contender: &Contender) -> Result<Sample> {
        let (host, port) = contender.address().split_once(':').context("no port")?;
        let mut command = Command::new("sysbench");
        command.args(["oltp_point_select", "--db-driver=mysql", "--mysql-db=app", "--db-ps-mode=disable"]);
        command.args([format!("--mysql-host={host}"), format!("--mysql-port={port}")]);
        command.args([format!("--mysql-user={APP_USER}"), format!("--mysql-password={APP_PASSWORD}")]);
        command.args(["--tables=1", "--table-size=100000", "--rand-type=uniform"]);
        command.args([format!("--threads={}", self.clients), format!("--time={}", self.time.as_secs())]);
        command.arg("run");
        let ticks = || contender.pid().map_or(Ok(0), cpu_ticks);
        let before = ticks()?;
        let text = read(&mut command)?;
        let spent = ticks()?.saturating_sub(before);
        let line =
            text.lines().find(|line| line.trim_start().starts_with("queries:")).context("no queries")?;
        let mut numbers =
            line.split(|c: char| !c.is_ascii_digit() && c != '.').filter_map(|word| word.parse::<f64>().ok());
        let (queries, qps) = numbers.next().zip(numbers.next()).context("no numbers")?;
        Ok(Sample { qps, cpu_us: spent as f64 * 10_000.0 / queries, ..Sample::default() })
    }
}

/// User and system time of a process, in hundredths of a second.
fn cpu_ticks(pid: u32) -> Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').context("no name in stat")?;
    Ok(fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum())
}

/// The figures of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    /// Statements a second.
    pub(crate) qps: f64,
    /// Requests a second: connections for workloads that reconnect, else statements.
    pub(crate) rps: f64,
    /// Bytes a second that reached the clients.
    pub(crate) bps: f64,
    /// Microseconds: half of the requests, 99 and 99.9 of 100 took at most so long.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    /// Of the process in the middle: microseconds of processor time a statement.
    pub(crate) cpu_us: f64,
    /// The same a request.
    pub(crate) cpu_us_per_request: f64,
    /// Context switches a statement.
    pub(crate) switches: f64,
    /// The most resident memory there ever was, and that before the load came, in bytes.
    pub(crate) peak: u64,
    pub(crate) rss_before: u64,
    pub(crate) growth_per_client: u64,
    /// Statements refused and connections lost.
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
}

impl Sample {
    fn parse(json: &Value) -> Result<Self> {
        let number = |path: &str| json.pointer(path).and_then(Value::as_f64).unwrap_or_default();
        let (qps, rps) = (number("/qps"), number("/requests_per_second"));
        let whole = |path: &str| json.pointer(path).and_then(Value::as_u64).unwrap_or_default();
        Ok(Self {
            qps: json.get("qps").and_then(Value::as_f64).context("the load told no qps")?,
            rps,
            bps: number("/bytes_per_second"),
            p50: number("/latency_us/p50"),
            p99: number("/latency_us/p99"),
            p999: number("/latency_us/p999"),
            cpu_us: number("/watched/0/cpu_us_per_query"),
            cpu_us_per_request: if rps > 0.0 {
                number("/watched/0/cpu_us_per_query") * qps / rps
            } else {
                0.0
            },
            switches: number("/watched/0/switches_per_query"),
            peak: whole("/watched/0/rss_peak"),
            rss_before: whole("/watched/0/rss_before"),
            growth_per_client: whole("/watched/0/growth_per_client"),
            errors: whole("/refused") + whole("/lost"),
            first_error: json.get("first_error").and_then(Value::as_str).map(str::to_owned),
        })
    }

    pub(crate) fn line(&self) -> String {
        let errors = match &self.first_error {
            Some(first) => format!("  {} errors, the first: {first}", self.errors),
            None => String::new(),
        };
        format!(
            "{:>8.0} q/s {:>7.0} requests/s  p50 {:>7.0} us  p99 {:>7.0} us  CPU {:>6.1} us  switches {:>5.2}{errors}",
            self.qps, self.rps, self.p50, self.p99, self.cpu_us, self.switches
        )
    }
}

/// All samples of one workload and number of clients.
pub(crate) struct Cell {
    pub(crate) name: String,
    pub(crate) has_rate: bool,
    counts_bytes: bool,
    pub(crate) rows: Vec<(&'static str, Vec<Sample>)>,
    /// System calls for a statement, by contender.
    pub(crate) syscalls: Vec<(&'static str, f64)>,
}

impl Cell {
    pub(crate) fn new(ask: &Ask, contenders: &[&Contender]) -> Self {
        let rows = contenders.iter().map(|contender| (contender.name(), Vec::new())).collect();
        Self {
            name: ask.name(),
            has_rate: ask.has_rate(),
            counts_bytes: ask.is_large(),
            rows,
            syscalls: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, at: usize, sample: Sample) {
        if let Some((_, samples)) = self.rows.get_mut(at) {
            samples.push(sample);
        }
    }

    /// Throughput as a part of that contender's of the same round; the median of all rounds.
    pub(crate) fn ratio_to(&self, name: &str, samples: &[Sample]) -> Option<f64> {
        let (_, others) = self.rows.iter().find(|(row, _)| *row == name)?;
        let much = |sample: &Sample| if self.counts_bytes { sample.bps } else { sample.rps };
        Some(median(samples.iter().zip(others).map(|(sample, other)| much(sample) / much(other))))
    }

    /// The same of the direct one.
    pub(crate) fn ratio(&self, samples: &[Sample]) -> f64 {
        self.ratio_to("direct", samples).unwrap_or(f64::NAN)
    }
}

/// The middle one, or the mean of the two in the middle.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut all: Vec<f64> = values.collect();
    all.sort_by(f64::total_cmp);
    let half = all.len() / 2;
    match (all.get(half), half.checked_sub(1).and_then(|before| all.get(before))) {
        (Some(middle), Some(before)) if all.len().is_multiple_of(2) => f64::midpoint(*middle, *before),
        (Some(middle), _) => *middle,
        _ => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), 2.5);
        assert!(median([].into_iter()).is_nan());
    }

    #[test]
    fn rate_and_distance_are_part_of_the_workload() {
        let ask = Ask::new("point@2000", 16, Duration::from_secs(1)).unwrap();
        assert_eq!(ask.name(), "point at 2000/s, 16 clients");
        let near = Ask::new("point/unix", 1, Duration::from_secs(1)).unwrap();
        assert_eq!(near.name(), "point by unix sockets, 1 client");
        assert!(Ask::new("point/udp", 1, Duration::from_secs(1)).is_err());
        let far = Ask::new("php+0.5ms@100", 16, Duration::from_secs(1)).unwrap();
        assert_eq!(far.name(), "php at 100/s over 0.5 ms, 16 clients");
        assert!(Ask::new("point@fast", 1, Duration::from_secs(1)).is_err());
    }
}
