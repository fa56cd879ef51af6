//! `cargo xtask oracle`: real statements on real servers, which say what the analysis should have said. Owns what is
//! run in which order; the judgement is `oracle::judge`'s. docs/oracle.md has the method and the figures.

mod carry;
mod classes;
mod client;
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
use judge::Judge;
use play::play;
use site::{Purpose, Site};

const USAGE: &str = "cargo xtask oracle [--suite main,json] [--files NAME] [--seconds N] [--seed S] [--sample N] [--no-tables]";

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
    tables: bool,
}

/// Runs what was asked for, prints what was found; `false` when something was.
pub(crate) fn run(args: &[&str]) -> Result<bool> {
    let ask = Ask::parse(args)?;
    let mut clock = Clock { begun: Instant::now(), told: Instant::now(), limit: ask.time };
    let mut held = true;
    for suite in &ask.suites {
        let judge = match suite.as_str() {
            "recordings" => play_recordings(&ask, &mut clock)?,
            suite => play_suite(&ask, suite, &mut clock)?,
        };
        println!("\n== {suite}\n{}\n{}{}", judge.tally.details(), judge.tally.report(), judge.tally.lists());
        println!("{suite}: {}", judge.tally.progress());
        held &= judge.tally.failures.is_empty();
    }
    Ok(held)
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

fn play_suite(ask: &Ask, suite: &str, clock: &mut Clock) -> Result<Judge> {
    let root = setup::mariadb_test_data()?;
    let files = ask.choose(&root, suite)?;
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
        let end = play(&mut here, &mut judge, &root, &path);
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
        recordings::play(&mut site, &mut judge, name, &file, &mut |judge| clock.tell(judge, name))?;
    }
    Ok(judge)
}

impl Ask {
    fn parse(args: &[&str]) -> Result<Self> {
        let suites = SUITES.iter().map(|suite| (*suite).to_owned()).collect();
        let mut ask = Self { suites, files: None, time: None, seed: 1, sample: None, tables: true };
        let mut words = args.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} wants a value"));
            match *word {
                "--suite" => ask.suites = value()?.split(',').map(str::to_owned).collect(),
                "--files" => ask.files = Some((*value()?).to_owned()),
                "--seconds" => ask.time = Some(Duration::from_secs_f64(value()?.parse()?)),
                "--seed" => ask.seed = value()?.parse()?,
                "--sample" => ask.sample = Some(value()?.parse()?),
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
        Ok(files)
    }
}

/// Whether a name matches a pattern in which `*` stands for anything; several are separated by commas.
fn matches(name: &str, pattern: &str) -> bool {
    pattern.split(',').any(|pattern| match pattern.split_once('*') {
        Some((start, end)) => name.starts_with(start) && name.ends_with(end),
        None => name == pattern,
    })
}

/// FNV-1a, begun with the seed.
fn scrambled(text: &str, seed: u64) -> u64 {
    let begin = 0xcbf2_9ce4_8422_2325 ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let hash = text.bytes().fold(begin, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    hash ^ (hash >> 29)
}
