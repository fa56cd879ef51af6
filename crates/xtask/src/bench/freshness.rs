//! `cargo xtask bench --freshness`: what it costs that no read is stale. How many reads replicas a second behind still
//! answer, and at what throughput; the recorded Drupal sites, whole and in their own pace; and how long a healthy
//! replica takes to have what the primary has acknowledged.

use std::ffi::OsString;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clonelove_testkit::{
    APP_PASSWORD, APP_USER, Cluster, ClusterOptions, Connection, Family, Flavour, Port, Process, Sandbox,
    Server, http_request, wait_until,
};

use super::contender::{Contender, built};
use super::network::{Network, Site};
use super::sample::{Ask, Sample, median};
use crate::shell::{cargo, show};

/// What reaches the replicas is so old.
const LAG: Duration = Duration::from_secs(1);
const WRITE_EVERY: Duration = Duration::from_millis(500);
const CLIENTS: usize = 16;
const SECONDS: u64 = 10;
const ROUNDS: usize = 5;
/// Rows of each table; the `content` workload asks for ids up to this.
const ITEMS: u32 = 2000;
const TABLES: [char; 8] = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'];

/// Runs what is named, or all.
pub(crate) fn run(args: &[&str]) -> Result<bool> {
    let all = args.is_empty();
    if let Some(other) = args.iter().find(|arg| !["share", "drupal", "applied"].contains(arg)) {
        bail!("not understood: {other}; `cargo xtask bench --freshness [share] [drupal] [applied]`");
    }
    if all || args.contains(&"applied") {
        applied()?;
    }
    if args == ["applied"] {
        return Ok(true);
    }
    show(cargo().args(["build", "--release", "--locked", "-p", "clonelove", "-p", "clonelove-benches"]))?;
    if all || args.contains(&"share") {
        share()?;
    }
    if all || args.contains(&"drupal") {
        drupal()?;
    }
    Ok(true)
}

/// The recordings, by the test that plays a part of them in CI.
fn drupal() -> Result<()> {
    show(
        cargo()
            .args(["test", "--locked", "-p", "clonelove-tests", "--test", "e2e", "--", "offload::drupal"])
            .args(["--nocapture", "--test-threads", "1"])
            .envs([("CLONELOVE_OFFLOAD_WHOLE", "1".into()), ("CLONELOVE_BIN", built("clonelove"))]),
    )
}

/// A promise, and how content is written meanwhile.
struct Case {
    freshness: &'static str,
    by_key: bool,
}

impl Case {
    const ALL: [Self; 4] = [
        Self { freshness: "eventual", by_key: false },
        Self { freshness: "table", by_key: false },
        Self { freshness: "eventual", by_key: true },
        Self { freshness: "key", by_key: true },
    ];

    fn name(&self) -> String {
        format!("{}, {}", self.freshness, if self.by_key { "written by key" } else { "written by scans" })
    }
}

fn share() -> Result<()> {
    println!("starting a MariaDB primary with two replicas a second behind");
    let options = ClusterOptions {
        uniform: true,
        extra: vec!["--max-connections=1000".to_owned()],
        ..ClusterOptions::default()
    };
    let cluster = Cluster::start(Flavour::MariaDbDistribution, options)?;
    tables(&cluster)?;
    let _lag = Lag::new(&cluster)?;
    let network = Network::new(&cluster, Site::default())?;
    let mut contenders = Vec::new();
    for case in &Case::ALL {
        let freshness = format!("\"{}\"", case.freshness);
        contenders.push((case, Contender::clonelove(&network, &[("freshness", &freshness)])?, Vec::new()));
    }
    let ask = Ask::new("content", CLIENTS, Duration::from_secs(SECONDS))?;
    for round in 0..ROUNDS {
        let first = round % contenders.len();
        contenders.rotate_left(first);
        for (case, contender, samples) in &mut contenders {
            let (sample, share) = turn(case, contender, &ask)?;
            println!("  {:<28} {share:>5.1} % {}", case.name(), sample.line());
            samples.push((sample, share));
        }
        contenders.rotate_right(first);
    }
    println!("\n| {} clients | reads on replicas | requests/s | of eventual | p50 us | p99 us |", CLIENTS);
    println!("|---|---:|---:|---:|---:|---:|");
    let mut eventual: &[(Sample, f64)] = &[];
    for (case, _, samples) in &contenders {
        if case.freshness == "eventual" {
            eventual = samples;
        }
        let middle = |of: fn(&Sample) -> f64| median(samples.iter().map(|(sample, _)| of(sample)));
        let ratios = samples.iter().zip(eventual).map(|(ours, other)| ours.0.rps / other.0.rps);
        println!(
            "| {} | {:.1} % | {:.0} | {:.2} | {:.0} | {:.0} |",
            case.name(),
            median(samples.iter().map(|(_, share)| *share)),
            middle(|sample| sample.rps),
            median(ratios),
            middle(|sample| sample.p50),
            middle(|sample| sample.p99),
        );
    }
    Ok(())
}

/// One contender under load, with the writer that goes through it as well; and the share of reads on replicas.
fn turn(case: &Case, contender: &Contender, ask: &Ask) -> Result<(Sample, f64)> {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| write(case, contender.address(), &over));
        // Until the first writes are as old as the replicas are behind.
        until(Instant::now() + LAG + WRITE_EVERY);
        let before = reads(contender)?;
        let sample = ask.run(contender);
        let after = reads(contender);
        over.store(true, Ordering::Relaxed);
        writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))??;
        let (after, sample) = (after?, sample?);
        let (on_replicas, all) = (after.0 - before.0, after.1 - before.1);
        Ok((sample, 100.0 * on_replicas / f64::max(all, 1.0)))
    })
}

/// Reads on replicas, and all reads: what is no read here is a write.
fn reads(contender: &Contender) -> Result<(f64, f64)> {
    let text = http_request(&contender.admin(), "GET", "/metrics", &[])?.body;
    let (mut on_replicas, mut all) = (0.0, 0.0);
    for line in text.lines().filter_map(|line| line.strip_prefix("clonelove_queries_total{")) {
        let count: f64 = line.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or_default();
        if line.contains("target=\"replica\"") {
            on_replicas += count;
            all += count;
        } else if line.contains("target=\"primary\"") && !line.contains("reason=\"write\"") {
            all += count;
        }
    }
    Ok((on_replicas, all))
}

/// One table of content each half second, whichever the dice say.
fn write(case: &Case, address: &str, over: &AtomicBool) -> Result<()> {
    let mut connection = Connection::open_tcp(address, APP_USER, APP_PASSWORD, Some("app"))?;
    let mut state = 1_u64;
    let mut dice = |most: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % most
    };
    let mut due = Instant::now();
    while !over.load(Ordering::Relaxed) {
        let table = TABLES.get(usize::try_from(dice(8))?).copied().unwrap_or('a');
        let id = dice(u64::from(ITEMS)) + 1;
        let bound = if case.by_key { format!("id = {id}") } else { "id % 1000 = 7".to_owned() };
        connection.query(&format!("UPDATE content_{table} SET n = n + 1 WHERE {bound}"))?;
        due += WRITE_EVERY;
        until(due);
    }
    Ok(())
}

fn tables(cluster: &Cluster) -> Result<()> {
    let mut root = cluster.primary.connect()?;
    for table in TABLES {
        root.query(&format!(
            "CREATE TABLE app.content_{table} (id INT PRIMARY KEY, n INT NOT NULL, body VARCHAR(200) NOT NULL)"
        ))?;
        root.query(&format!(
            "INSERT INTO app.content_{table} SELECT seq, 0, REPEAT(MD5(seq), 4) FROM app.seq_1_to_{ITEMS}"
        ))?;
    }
    for table in ['a', 'b'] {
        root.query(&format!("CREATE TABLE app.session_{table} (id INT PRIMARY KEY, n INT NOT NULL)"))?;
        root.query(&format!("INSERT INTO app.session_{table} SELECT seq, 0 FROM app.seq_1_to_{ITEMS}"))?;
    }
    cluster.wait_caught_up()
}

#[expect(clippy::disallowed_methods, reason = "the pace is a part of what is measured")]
fn until(moment: Instant) {
    std::thread::sleep(moment.saturating_duration_since(Instant::now()));
}

/// What keeps the replicas behind: a relay on the way of replication.
struct Lag {
    _relay: Process,
    _port: Port,
    _folder: Sandbox,
}

impl Lag {
    fn new(cluster: &Cluster) -> Result<Self> {
        let (folder, port) = (Sandbox::new()?, Port::reserve()?);
        let words =
            [LAG.as_micros().to_string(), format!("127.0.0.1:{}", port.number()), cluster.primary.address()];
        let words: Vec<OsString> = words.into_iter().map(OsString::from).collect();
        let log = folder.path().join("log");
        let relay = Process::spawn(built("delay_relay").as_os_str(), &words, &[], &log)?;
        for replica in &cluster.replicas {
            replica.query(&format!(
                "STOP SLAVE; CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={}, \
                 MASTER_USE_GTID=slave_pos; START SLAVE",
                port.number()
            ))?;
            wait_until("replication through the relay", Duration::from_secs(60), || {
                let state = replica.replication()?;
                if state.io == "Yes" { Ok(true) } else { bail!("{state:?}") }
            })?;
        }
        Ok(Self { _relay: relay, _port: port, _folder: folder })
    }
}

/// From the acknowledgement of a write until a replica's answer says that it has it.
fn applied() -> Result<()> {
    const WRITES: usize = 3000;
    println!("\n| a healthy replica has it after, ms | writers beside | p50 | p90 | p99 | p99.9 |");
    println!("|---|---:|---:|---:|---:|---:|");
    for flavour in Flavour::ALL {
        if !flavour.covered()? {
            continue;
        }
        let options = ClusterOptions { replicas: 1, uniform: true, ..ClusterOptions::default() };
        let cluster = Cluster::start(flavour, options)?;
        let replica = cluster.replicas.first().context("no replica")?;
        cluster.primary.query("CREATE TABLE app.w (id INT PRIMARY KEY, n INT NOT NULL)")?;
        let rows: Vec<String> = (1..=64).map(|id| format!("({id}, 0)")).collect();
        cluster.primary.query(&format!("INSERT INTO app.w VALUES {}", rows.join(",")))?;
        cluster.wait_caught_up()?;
        for beside in [0_usize, 4] {
            let over = AtomicBool::new(false);
            let mut times = std::thread::scope(|scope| {
                for number in 0..beside {
                    let (primary, over) = (&cluster.primary, &over);
                    scope.spawn(move || keep_writing(primary, number + 2, over));
                }
                let times = time_writes(&cluster.primary, replica, WRITES);
                over.store(true, Ordering::Relaxed);
                times
            })?;
            times.sort_unstable();
            let at = |part: f64| {
                let place = (times.len() as f64 * part) as usize;
                times
                    .get(place.min(times.len().saturating_sub(1)))
                    .map_or(f64::NAN, |t| t.as_secs_f64() * 1e3)
            };
            println!(
                "| {} | {beside} | {:.2} | {:.2} | {:.2} | {:.2} |",
                flavour.version()?.split_whitespace().next().unwrap_or_else(|| flavour.name()),
                at(0.5),
                at(0.9),
                at(0.99),
                at(0.999)
            );
        }
    }
    Ok(())
}

fn time_writes(primary: &Server, replica: &Server, writes: usize) -> Result<Vec<Duration>> {
    let (mut writer, mut reader) = (primary.connect()?, replica.connect()?);
    let family = primary.flavour().family();
    let asked = match family {
        Family::MariaDb => "SELECT @@last_gtid",
        Family::MySql => "SELECT @@global.gtid_executed",
    };
    let mut times = Vec::with_capacity(writes);
    for _ in 0..writes {
        writer.query("UPDATE app.w SET n = n + 1 WHERE id = 1")?;
        let begun = Instant::now();
        let position = writer.query(asked)?.into_iter().flatten().next().flatten().context("no position")?;
        let wait = match family {
            Family::MariaDb => format!("SELECT MASTER_GTID_WAIT('{position}', 10)"),
            Family::MySql => format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{position}', 10)"),
        };
        let said = reader.query(&wait)?.into_iter().flatten().next().flatten();
        if said.as_deref() != Some("0") {
            bail!("the replica does not get to {position}: {said:?}");
        }
        times.push(begun.elapsed());
    }
    Ok(times)
}

/// A write each few milliseconds, as visitors do.
fn keep_writing(primary: &Server, id: usize, over: &AtomicBool) -> Result<()> {
    let mut connection = primary.connect()?;
    while !over.load(Ordering::Relaxed) {
        connection.query(&format!("UPDATE app.w SET n = n + 1 WHERE id = {id}"))?;
        until(Instant::now() + Duration::from_millis(5));
    }
    Ok(())
}
