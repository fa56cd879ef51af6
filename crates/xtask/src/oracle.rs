//! `cargo xtask oracle`: real statements on real servers, which say what the analysis should have said. Owns what is
//! run in which order; the judgement is `oracle::judge`'s. docs/oracle.md has the method and the figures.

mod carry;
mod classes;
mod client;
mod difference;
mod judge;
mod parser;
mod play;
mod recordings;
mod script;
mod site;
mod tables;
mod tally;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::setup;
use crate::shell::workspace;
use crate::stages::Outcome;
use judge::Judge;
use play::play;
use site::{Purpose, Site};

const USAGE: &str = "cargo xtask oracle [--suite recordings,main,json] [--files NAME,OTHER*] [--seconds N] [--sample N] \
    [--seed S] [--part 1/4] [--patience N] [--no-tables] [--write]";

/// What CI has time for.
const SAMPLE: &[&str] = &["--suite", "recordings,main", "--sample", "30", "--seed", "1", "--seconds", "100"];

/// Of these suites everything is run; others make no sense here (clusters, crashes, other engines).
const SUITES: &[&str] = &["recordings", "main"];

/// What is to be run.
#[derive(Debug)]
struct Ask {
    suites: Vec<String>,
    files: Option<String>,
    time: Option<Duration>,
    seed: u64,
    sample: Option<usize>,
    /// Which of how many parts, so that several run side by side: each takes every so manieth file.
    part: (usize, usize),
    /// A file may take so long.
    patience: Duration,
    tables: bool,
    /// Put the figures into docs/oracle.md.
    write: bool,
}

/// Runs what was asked for, prints what was found; `false` when something was.
pub(crate) fn run(args: &[&str]) -> Result<bool> {
    let outcome = judged(&Ask::parse(args)?)?;
    outcome.not_covered.iter().for_each(|line| println!("{line}"));
    Ok(outcome.failed.is_empty())
}

/// The stage of CI: the recordings, and some of MariaDB's files, always the same.
pub(crate) fn sampled() -> Result<Outcome> {
    judged(&Ask::parse(SAMPLE)?)
}

fn judged(ask: &Ask) -> Result<Outcome> {
    let mut clock = Clock { begun: Instant::now(), told: Instant::now(), limit: ask.time };
    let (mut outcome, mut figures) = (Outcome::default(), String::new());
    for suite in &ask.suites {
        let judge = match suite.as_str() {
            "recordings" if recordings::sites().is_empty() => {
                outcome.not_covered.push(
                    "NOT COVERED: the oracle's recordings (CLONELOVE_RECORDINGS names their folder)"
                        .to_owned(),
                );
                continue;
            }
            "recordings" => play_recordings(ask, &mut clock)?,
            suite => match setup::mariadb_test_data() {
                Ok(root) => play_suite(ask, (suite, &root), &mut clock)?,
                Err(error) => {
                    outcome
                        .not_covered
                        .push(format!("NOT COVERED: MariaDB's own tests ({error:#})").replace('\n', " "));
                    continue;
                }
            },
        };
        let tally = &judge.tally;
        let section = format!("### {suite}\n\n{}{}\n", tally.report(), tally.lists());
        println!("\n{section}\n{}\n{suite}: {}", tally.details(), tally.progress());
        figures.push_str(&section);
        outcome.passed += usize::from(tally.failures.is_empty());
        outcome
            .failed
            .extend(tally.failures.iter().map(|finding| format!("oracle, {suite}: {}", finding.title())));
        let breaches = tally.breaches(suite == "recordings");
        breaches.iter().for_each(|breach| println!("FAILURE {breach}"));
        outcome.failed.extend(breaches.into_iter().map(|breach| format!("oracle, {suite}: {breach}")));
        if tally.blind {
            outcome.not_covered.push(format!("NOT COVERED: the oracle's look at locks, {suite} (no plugin metadata_lock_info: Debian's package mariadb-server has it)"));
        }
    }
    if ask.write {
        write_figures(figures.trim())?;
    }
    Ok(outcome)
}

/// Puts figures between the marks in docs/oracle.md.
fn write_figures(figures: &str) -> Result<()> {
    const MARKS: [&str; 2] = ["<!-- figures -->", "<!-- end of figures -->"];
    let path = workspace().join("docs/oracle.md");
    let text = std::fs::read_to_string(&path)?;
    let (before, rest) = text.split_once(MARKS[0]).context("docs/oracle.md has no mark for figures")?;
    let (_, after) = rest.split_once(MARKS[1]).context("docs/oracle.md has no end of figures")?;
    std::fs::write(&path, format!("{before}{}\n\n{figures}\n\n{}{after}", MARKS[0], MARKS[1]))?;
    Ok(())
}

/// Time, and when somebody who waits was last told.
struct Clock {
    begun: Instant,
    told: Instant,
    limit: Option<Duration>,
}

impl Clock {
    fn is_over(&self) -> bool {
        self.limit.is_some_and(|limit| self.begun.elapsed() > limit)
    }

    fn tell(&mut self, judge: &Judge, what: &str) {
        if self.told.elapsed() > Duration::from_secs(5) {
            println!("{:>5.0} s  {}  ({what})", self.begun.elapsed().as_secs_f64(), judge.tally.progress());
            self.told = Instant::now();
        }
    }
}

fn play_suite(ask: &Ask, (suite, root): (&str, &Path), clock: &mut Clock) -> Result<Judge> {
    let files = ask.choose(root, suite)?;
    println!("{suite}: {} files", files.len());
    let mut judge = Judge::new(ask.tables);
    let mut site: Option<Site> = None;
    for path in files {
        if clock.is_over() {
            println!("the time is over");
            break;
        }
        let mut here = match site.take() {
            Some(site) => site,
            None => Site::start(Purpose::Suite, Some(&root.join("std_data")))?,
        };
        judge.tally.blind |= !here.sees_locks;
        let end = play(&mut here, &mut judge, root, &path, ask.patience);
        judge.tally.files += 1;
        if let Some(why) = end.why() {
            *judge.tally.files_cut_short.entry(why.to_owned()).or_default() += 1;
        }
        if end.spares_servers() && here.tidy().unwrap_or(false) {
            site = Some(here);
        } else {
            judge.tally.new_servers += 1;
        }
        clock.tell(&judge, &path.display().to_string());
    }
    Ok(judge)
}

fn play_recordings(ask: &Ask, clock: &mut Clock) -> Result<Judge> {
    let mut judge = Judge::new(ask.tables);
    for (name, file) in recordings::sites() {
        let mut site = Site::start(Purpose::Recordings, None)?;
        judge.tally.blind |= !site.sees_locks;
        recordings::play(&mut site, &mut judge, name, &file, &mut |judge| clock.tell(judge, name))?;
    }
    Ok(judge)
}

impl Ask {
    fn parse(args: &[&str]) -> Result<Self> {
        let suites = SUITES.iter().map(|suite| (*suite).to_owned()).collect();
        let mut ask = Self {
            suites,
            files: None,
            time: None,
            seed: 1,
            sample: None,
            part: (1, 1),
            patience: play::FILE,
            tables: true,
            write: false,
        };
        let mut words = args.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} wants a value"));
            match *word {
                "--suite" => ask.suites = value()?.split(',').map(str::to_owned).collect(),
                "--files" => ask.files = Some((*value()?).to_owned()),
                "--seconds" => ask.time = Some(Duration::from_secs_f64(value()?.parse()?)),
                "--seed" => ask.seed = value()?.parse()?,
                "--sample" => ask.sample = Some(value()?.parse()?),
                "--part" => {
                    let (part, parts) = value()?.split_once('/').context("--part wants one like 1/4")?;
                    ask.part = (part.parse()?, parts.parse()?);
                }
                "--patience" => ask.patience = Duration::from_secs(value()?.parse()?),
                "--write" => ask.write = true,
                "--no-tables" => ask.tables = false,
                _ => bail!("not understood: {word}; `{USAGE}`"),
            }
        }
        Ok(ask)
    }

    /// A suite's files, in the order of their names, or so many of them by chance.
    fn choose(&self, root: &Path, suite: &str) -> Result<Vec<PathBuf>> {
        let folders = match suite {
            "main" => vec![root.join("main")],
            _ => vec![root.join("suite").join(suite).join("t"), root.join("suite").join(suite)],
        };
        let mut files = Vec::new();
        for folder in folders.iter().filter(|folder| folder.is_dir()) {
            for entry in std::fs::read_dir(folder)? {
                let path = entry?.path();
                let stem =
                    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
                let wanted = self.files.as_deref().is_none_or(|pattern| matches(&stem, pattern));
                if path.extension().is_some_and(|extension| extension == "test") && wanted {
                    files.push(path);
                }
            }
        }
        files.sort();
        if let Some(sample) = self.sample {
            files.sort_by_key(|path| scrambled(&path.to_string_lossy(), self.seed));
            files.truncate(sample);
        }
        let (part, parts) = self.part;
        Ok(files.into_iter().skip(part.saturating_sub(1)).step_by(parts.max(1)).collect())
    }
}

/// Whether a name matches a pattern in which `*` stands for anything; several are separated by commas.
pub(crate) fn matches(name: &str, pattern: &str) -> bool {
    pattern.split(',').any(|pattern| match pattern.split_once('*') {
        Some((start, end)) => name.starts_with(start) && name.ends_with(end),
        None => name == pattern,
    })
}

/// FNV-1a, begun with the seed.
pub(crate) fn scrambled(text: &str, seed: u64) -> u64 {
    let begin = 0xcbf2_9ce4_8422_2325 ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let hash = text.bytes().fold(begin, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    hash ^ (hash >> 29)
}
