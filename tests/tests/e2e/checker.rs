//! The checker: writers and readers over many tables while servers lag, stall and die, and a judge who knows what
//! was acknowledged when. Every read must reflect every write that was acknowledged before it began, and no session
//! may see a row older than it saw it. `CLONELOVE_CHECKER_READS` makes a run longer.
#![expect(clippy::indexing_slicing, reason = "helpers of tests may fail as tests do")]
#![expect(clippy::print_stdout, reason = "a run tells what it saw; the harness shows it on demand")]

mod arrivals;
pub(crate) mod client;
pub(crate) mod dice;
mod judge;
pub(crate) mod relay;
pub(crate) mod stage;
mod subjects;
mod visitors;
mod world;

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use anyhow::{Context, Result, ensure};
use clonelove_testkit::{Config, Flavour};

use stage::{Counted, Stage, Trouble};
use visitors::{Habit, inspect, visit};
use world::World;

/// How long a run is to be: reads in all. For `cargo xtask checker`.
const READS_ENV: &str = "CLONELOVE_CHECKER_READS";
/// How many visitors open a new connection for each request.
const VISITORS_ENV: &str = "CLONELOVE_CHECKER_VISITORS";
/// Which `routing.freshness` is checked, in place of the strictest that a test asks for.
pub(crate) const FRESHNESS_ENV: &str = "CLONELOVE_CHECKER_FRESHNESS";
/// Troubles by name, separated by commas; all of them when it is not set.
const TROUBLES_ENV: &str = "CLONELOVE_CHECKER_TROUBLES";

/// What is written and read, by name, separated by commas; everything when it is not set.
const SUBJECTS_ENV: &str = "CLONELOVE_CHECKER_SUBJECTS";

/// Names a rule that the daemon does not keep.
const DROP_ENV: &str = "CLONELOVE_DROP_RULE";

const VISITORS: u64 = 8;
const STAYING: u64 = 2;

/// In so many reads all troubles come up once.
const ROUND: u64 = 100_000;

/// A run.
struct Plan {
    flavour: Flavour,
    freshness: &'static str,
    /// `routing.mode`.
    mode: &'static str,
    /// Processes of clonelove side by side.
    processes: usize,
    /// `routing.freshness_scope`.
    scope: &'static str,
    reads: u64,
    /// A rule that is not kept.
    dropped: &'static str,
    /// An end at the first breach.
    until_caught: bool,
}

/// A run of one process.
const ONE: Plan = Plan {
    flavour: Flavour::MariaDbDistribution,
    freshness: "key",
    mode: "split",
    processes: 1,
    scope: "proxy",
    reads: 0,
    dropped: "",
    until_caught: false,
};

/// Under each trouble: reads, and microseconds.
#[derive(Default)]
struct Shares(Vec<(Trouble, Counted, u64)>);

impl Shares {
    fn add(&mut self, trouble: Trouble, counted: Counted, time: u64) {
        match self.0.iter_mut().find(|one| one.0 == trouble) {
            Some(one) => *one = (trouble, one.1.and(counted), one.2 + time),
            None => self.0.push((trouble, counted, time)),
        }
    }

    fn text(&self) -> String {
        let one = |(trouble, counted, time): &(Trouble, Counted, u64)| {
            format!("{trouble:?} {:.0} % in {:.0} s", 100.0 * counted.share(), *time as f64 / 1e6)
        };
        self.0.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

/// What a run came to.
struct Report {
    text: String,
    reads: u64,
    on_replicas: f64,
    breaches: Vec<String>,
}

fn run(plan: &Plan) -> Result<Report> {
    let freshness = std::env::var(FRESHNESS_ENV).unwrap_or_else(|_| plan.freshness.to_owned());
    // Of several processes, each knows the others' writes a moment later, unless it asks before each read.
    let windowed = plan.processes > 1 && plan.scope == "cluster" && freshness != "strict";
    let subjects = std::env::var(SUBJECTS_ENV).unwrap_or_default();
    let world = World::new(plan.flavour.family(), &subjects, windowed);
    let settings = [("freshness", freshness.as_str()), ("mode", plan.mode), ("freshness_scope", plan.scope)];
    let with = |config: Config| {
        let config =
            if plan.dropped.is_empty() { config } else { config.environment(DROP_ENV, plan.dropped) };
        settings
            .iter()
            .fold(config, |config, (key, value)| config.set("routing", key, &format!("\"{value}\"")))
    };
    let mut stage = Stage::set(&world, plan.flavour, plan.processes, with)?;
    let mut primary = stage.cluster.primary.connect()?;
    let troubles = troubles();
    let mut shares = Shares::default();
    let rounds = usize::try_from(plan.reads / ROUND)?.max(1);
    let outcome = std::thread::scope(|scope| {
        let visitors = number_in(VISITORS_ENV, VISITORS);
        for seed in 0..visitors + STAYING {
            let habit = if seed < visitors { Habit::Requests } else { Habit::Stays };
            let world = &world;
            scope.spawn(move || visit(world, habit, seed));
        }
        if windowed {
            let (world, primary) = (&world, &mut primary);
            scope.spawn(move || {
                if let Err(error) = arrivals::tell(world, primary) {
                    world.note_breach(format!("{error:#}"));
                }
            });
        }
        let mut all = || {
            let turns = troubles.len() * rounds;
            for (turn, trouble) in troubles.iter().cycle().take(turns).enumerate() {
                let begun = world.now();
                let before = stage.counted()?;
                stage.endure(
                    &world,
                    *trouble,
                    share(plan.reads, world.reads.load(Ordering::Relaxed), (turn, turns)),
                )?;
                shares.add(*trouble, stage.counted()?.since(before), world.now() - begun);
                let found = world.breaches.lock().len();
                if world.is_over() || plan.until_caught && found > 0 {
                    break;
                }
            }
            Ok(())
        };
        let outcome: Result<()> = all();
        world.over.store(true, Ordering::Relaxed);
        outcome
    });
    let told = report(&world, &stage, &freshness, &shares);
    outcome
        .with_context(|| told.as_ref().map_or_else(|error| format!("{error:#}"), |told| told.text.clone()))?;
    if told.as_ref().is_ok_and(|told| told.breaches.is_empty()) {
        // At rest every row is what was last acknowledged, everywhere.
        world.over.store(false, Ordering::Relaxed);
        for process in (0..plan.processes).filter(|_| windowed) {
            arrivals::arrive(&world, &mut primary, process)?;
        }
        *world.trouble.lock() = "at rest".to_owned();
        inspect(&world, world.spots());
    }
    report(&world, &stage, &freshness, &shares)
}

/// How many reads a turn takes of all that are wanted: reads go on between turns, while servers catch up, and count.
fn share(wanted: u64, made: u64, (turn, turns): (usize, usize)) -> u64 {
    let least = wanted / turns as u64 * 4 / 5;
    (wanted.saturating_sub(made) / (turns - turn) as u64).max(least)
}

fn troubles() -> Vec<Trouble> {
    let named = std::env::var(TROUBLES_ENV).unwrap_or_default();
    let wanted = |one: &Trouble| named.is_empty() || named.split(',').any(|name| name == format!("{one:?}"));
    Trouble::ALL.into_iter().filter(wanted).collect()
}

fn report(world: &World, stage: &Stage, freshness: &str, shares: &Shares) -> Result<Report> {
    let reads = world.reads.load(Ordering::Relaxed);
    let on_replicas = stage.counted()?.share();
    let breaches = world.breaches.lock().clone();
    let seconds = world.now() as f64 / 1e6;
    let arrivals = world.arrivals.load(Ordering::Relaxed);
    let mut text = format!(
        "{freshness}: {reads} reads, {} writes in {seconds:.0} s; {:.1} % of the reads that replicas may answer ran there ({}): {} breaches",
        world.writes.load(Ordering::Relaxed),
        100.0 * on_replicas,
        shares.text(),
        breaches.len()
    );
    if arrivals > 0 {
        let _ = write!(text, "\n  {arrivals} x seen to have arrived");
    }
    for (failure, count) in world.failures.lock().iter() {
        let _ = write!(text, "\n  {count} x {failure}");
    }
    for breach in breaches.iter().take(10) {
        let _ = write!(text, "\n  {breach}");
    }
    Ok(Report { text, reads, on_replicas, breaches })
}

fn number_in(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn holds(plan: &Plan) -> Result<()> {
    let plan = Plan { reads: number_in(READS_ENV, plan.reads), ..*plan };
    let report = run(&plan)?;
    ensure!(report.breaches.is_empty(), "{}", report.text);
    println!("{}: {}", plan.flavour.name(), report.text);
    ensure!(report.reads >= plan.reads, "{}", report.text);
    ensure!(report.on_replicas > 0.2, "too few reads ran on replicas to show anything: {}", report.text);
    Ok(())
}

fn holds_on(flavour: Flavour, count: u64) -> Result<()> {
    holds(&Plan { flavour, reads: count, ..ONE })
}

/// Two processes, each of which follows the primary's binary log: one's reads reflect the other's writes once they
/// have arrived.
fn two_hold(flavour: Flavour, count: u64) -> Result<()> {
    holds(&Plan { flavour, processes: 2, scope: "cluster", reads: count, ..ONE })
}

/// Two processes that ask the primary before each read: there is no moment in which one misses the other's writes.
fn strict_holds(flavour: Flavour, count: u64) -> Result<()> {
    holds(&Plan { flavour, processes: 2, freshness: "strict", reads: count, ..ONE })
}

fn catches(plan: &Plan) -> Result<()> {
    let report = run(&Plan { until_caught: true, ..*plan })?;
    println!("{}: {}", plan.flavour.name(), report.text);
    ensure!(!report.breaches.is_empty(), "nothing was found: {}", report.text);
    Ok(())
}

fn catches_eventual(flavour: Flavour) -> Result<()> {
    catches(&Plan { flavour, freshness: "eventual", reads: 20_000, ..ONE })
}

/// The judge and the faults themselves: a cluster that only the primary answers for has nothing to be found.
fn finds_nothing(flavour: Flavour) -> Result<()> {
    let report = run(&Plan { flavour, freshness: "eventual", mode: "primary_only", reads: 10_000, ..ONE })?;
    println!("{}: {}", flavour.name(), report.text);
    ensure!(report.breaches.is_empty() && report.on_replicas == 0.0, "{}", report.text);
    Ok(())
}

#[test]
fn every_read_reflects_what_was_acknowledged_on_mariadb() -> Result<()> {
    holds_on(Flavour::MariaDbDistribution, 100_000)
}

#[test]
fn every_read_reflects_what_was_acknowledged_on_mariadb_sid() -> Result<()> {
    if Flavour::MariaDbSid.covered()? { holds_on(Flavour::MariaDbSid, 20_000) } else { Ok(()) }
}

#[test]
fn every_read_reflects_what_was_acknowledged_on_mysql_sid() -> Result<()> {
    if Flavour::MySqlSid.covered()? { holds_on(Flavour::MySqlSid, 100_000) } else { Ok(()) }
}

#[test]
fn two_processes_know_of_each_others_writes_once_they_arrive_on_mariadb() -> Result<()> {
    two_hold(Flavour::MariaDbDistribution, 10_000)
}

#[test]
fn two_processes_know_of_each_others_writes_once_they_arrive_on_mysql_sid() -> Result<()> {
    if Flavour::MySqlSid.covered()? { two_hold(Flavour::MySqlSid, 10_000) } else { Ok(()) }
}

#[test]
fn strict_reads_of_two_processes_miss_nothing_on_mariadb() -> Result<()> {
    strict_holds(Flavour::MariaDbDistribution, 5_000)
}

#[test]
fn strict_reads_of_two_processes_miss_nothing_on_mysql_sid() -> Result<()> {
    if Flavour::MySqlSid.covered()? { strict_holds(Flavour::MySqlSid, 5_000) } else { Ok(()) }
}

/// Each rule for processes side by side, dropped: what one writes never raises anything in the other.
#[test]
fn the_checker_catches_two_processes_that_are_not_told() -> Result<()> {
    let plan = Plan { processes: 2, scope: "cluster", reads: 20_000, dropped: "OTHERS_WRITES", ..ONE };
    catches(&plan)
}

#[test]
fn the_checker_catches_eventual_on_mariadb() -> Result<()> {
    catches_eventual(Flavour::MariaDbDistribution)
}

#[test]
fn the_checker_catches_eventual_on_mysql_sid() -> Result<()> {
    if Flavour::MySqlSid.covered()? { catches_eventual(Flavour::MySqlSid) } else { Ok(()) }
}

#[test]
fn the_checker_finds_nothing_where_all_is_read_on_the_primary_on_mariadb() -> Result<()> {
    finds_nothing(Flavour::MariaDbDistribution)
}

#[test]
fn the_checker_finds_nothing_where_all_is_read_on_the_primary_on_mysql_sid() -> Result<()> {
    if Flavour::MySqlSid.covered()? { finds_nothing(Flavour::MySqlSid) } else { Ok(()) }
}
