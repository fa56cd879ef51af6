//! The checker: writers and readers over many tables while servers lag, stall and die, and a judge who knows what
//! was acknowledged when. Every read must reflect every write that was acknowledged before it began, and no session
//! may see a row older than it saw it. `CLONELOVE_CHECKER_READS` makes a run longer.
#![expect(clippy::indexing_slicing, reason = "helpers of tests may fail as tests do")]
#![expect(clippy::print_stdout, reason = "a run tells what it saw; the harness shows it on demand")]

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
use clonelove_testkit::Flavour;

use stage::{Stage, Trouble};
use visitors::{Habit, inspect, visit};
use world::World;

/// How long a run is to be: reads in all. For `cargo xtask checker`.
const READS_ENV: &str = "CLONELOVE_CHECKER_READS";
/// Which `routing.freshness` is checked, in place of the strictest that a test asks for.
pub(crate) const FRESHNESS_ENV: &str = "CLONELOVE_CHECKER_FRESHNESS";
/// Troubles by name, separated by commas; all of them when it is not set.
const TROUBLES_ENV: &str = "CLONELOVE_CHECKER_TROUBLES";

/// What is written and read, by name, separated by commas; everything when it is not set.
const SUBJECTS_ENV: &str = "CLONELOVE_CHECKER_SUBJECTS";

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
    reads: u64,
    /// An end at the first breach.
    until_caught: bool,
}

/// Under each trouble: reads, those on replicas, microseconds.
#[derive(Default)]
struct Shares(Vec<(Trouble, f64, f64, u64)>);

impl Shares {
    fn add(&mut self, trouble: Trouble, (reads, on_replicas): (f64, f64), time: u64) {
        match self.0.iter_mut().find(|one| one.0 == trouble) {
            Some(one) => *one = (trouble, one.1 + reads, one.2 + on_replicas, one.3 + time),
            None => self.0.push((trouble, reads, on_replicas, time)),
        }
    }

    fn text(&self) -> String {
        let one = |(trouble, reads, on_replicas, time): &(Trouble, f64, f64, u64)| {
            format!("{trouble:?} {:.0} % in {:.0} s", 100.0 * on_replicas / reads, *time as f64 / 1e6)
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
    let world = World::new(plan.flavour.family(), &std::env::var(SUBJECTS_ENV).unwrap_or_default());
    let freshness = std::env::var(FRESHNESS_ENV).unwrap_or_else(|_| plan.freshness.to_owned());
    let settings = [("freshness", freshness.as_str()), ("mode", plan.mode)];
    let mut stage = Stage::set(&world, plan.flavour, &settings)?;
    let troubles = troubles();
    let mut shares = Shares::default();
    let rounds = usize::try_from(plan.reads / ROUND)?.max(1);
    let outcome = std::thread::scope(|scope| {
        for seed in 0..VISITORS + STAYING {
            let habit = if seed < VISITORS { Habit::Requests } else { Habit::Stays };
            let world = &world;
            scope.spawn(move || visit(world, habit, seed));
        }
        let mut all = || {
            for trouble in troubles.iter().cycle().take(troubles.len() * rounds) {
                let begun = world.now();
                let before = (world.reads.load(Ordering::Relaxed) as f64, stage.on_replicas()?);
                stage.endure(&world, *trouble, plan.reads / (troubles.len() * rounds) as u64)?;
                let now = (world.reads.load(Ordering::Relaxed) as f64, stage.on_replicas()?);
                shares.add(*trouble, (now.0 - before.0, now.1 - before.1), world.now() - begun);
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
        // At rest every row is what was last acknowledged.
        world.over.store(false, Ordering::Relaxed);
        *world.trouble.lock() = "at rest".to_owned();
        inspect(&world, world.spots());
    }
    report(&world, &stage, &freshness, &shares)
}

fn troubles() -> Vec<Trouble> {
    let named = std::env::var(TROUBLES_ENV).unwrap_or_default();
    let wanted = |one: &Trouble| named.is_empty() || named.split(',').any(|name| name == format!("{one:?}"));
    Trouble::ALL.into_iter().filter(wanted).collect()
}

fn report(world: &World, stage: &Stage, freshness: &str, shares: &Shares) -> Result<Report> {
    let reads = world.reads.load(Ordering::Relaxed);
    let on_replicas = stage.on_replicas()? / reads.max(1) as f64;
    let breaches = world.breaches.lock().clone();
    let seconds = world.now() as f64 / 1e6;
    let mut text = format!(
        "{freshness}: {reads} reads, {} writes in {seconds:.0} s; {:.1} % of the reads on replicas ({}): {} breaches",
        world.writes.load(Ordering::Relaxed),
        100.0 * on_replicas,
        shares.text(),
        breaches.len()
    );
    for (failure, count) in world.failures.lock().iter() {
        let _ = write!(text, "\n  {count} x {failure}");
    }
    for breach in breaches.iter().take(10) {
        let _ = write!(text, "\n  {breach}");
    }
    Ok(Report { text, reads, on_replicas, breaches })
}

/// How many reads a test makes.
fn reads(otherwise: u64) -> u64 {
    std::env::var(READS_ENV).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn holds(flavour: Flavour, count: u64) -> Result<()> {
    let plan = Plan { flavour, freshness: "key", mode: "split", reads: reads(count), until_caught: false };
    let report = run(&plan)?;
    ensure!(report.breaches.is_empty(), "{}", report.text);
    println!("{}: {}", flavour.name(), report.text);
    ensure!(report.reads >= plan.reads, "{}", report.text);
    ensure!(report.on_replicas > 0.2, "too few reads ran on replicas to show anything: {}", report.text);
    Ok(())
}

fn catches_eventual(flavour: Flavour) -> Result<()> {
    let plan = Plan { flavour, freshness: "eventual", mode: "split", reads: 20_000, until_caught: true };
    let report = run(&plan)?;
    println!("{}: {}", flavour.name(), report.text);
    ensure!(!report.breaches.is_empty(), "nothing was found: {}", report.text);
    Ok(())
}

/// The judge and the faults themselves: a cluster that only the primary answers for has nothing to be found.
fn finds_nothing(flavour: Flavour) -> Result<()> {
    let (freshness, mode) = ("eventual", "primary_only");
    let report = run(&Plan { flavour, freshness, mode, reads: 10_000, until_caught: false })?;
    println!("{}: {}", flavour.name(), report.text);
    ensure!(report.breaches.is_empty() && report.on_replicas == 0.0, "{}", report.text);
    Ok(())
}

#[test]
fn every_read_reflects_what_was_acknowledged_on_mariadb() -> Result<()> {
    holds(Flavour::MariaDbDistribution, 100_000)
}

#[test]
fn every_read_reflects_what_was_acknowledged_on_mariadb_sid() -> Result<()> {
    if Flavour::MariaDbSid.covered()? { holds(Flavour::MariaDbSid, 20_000) } else { Ok(()) }
}

#[test]
fn every_read_reflects_what_was_acknowledged_on_mysql_sid() -> Result<()> {
    if Flavour::MySqlSid.covered()? { holds(Flavour::MySqlSid, 100_000) } else { Ok(()) }
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
