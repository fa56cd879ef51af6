//! `cargo xtask mtr`: MariaDB's own tests through clonelove. Owns what is run in which order, and what is told of it;
//! the servers are `mtr::site`'s, one run of one test is `mtr::play`'s. docs/mtr.md has the method and the figures.

mod lists;
mod play;
mod site;

use std::collections::{BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use parking_lot::Mutex;

use crate::oracle::{matches, scrambled};
use crate::setup::{self, MariadbTests};
use crate::shell::{cargo, show, target_folder};
use crate::stages::Outcome;
use lists::{Lists, Protocol};
use play::{Verdict, play};
use site::{Place, Site};

const USAGE: &str = "cargo xtask mtr [--protocols text,ps,cursor] [--files NAME,OTHER*] [--every K] [--sample N] \
    [--seed S] [--shard I/N] [--jobs N] [--again] [--list]";

/// What CI has time for: every so many-th of the tests that pass directly, the protocols taking turns.
const EVERY: usize = 12;

/// Tells the runner's own process from the one that a person started: the servers inherit its time zone.
const INSIDE: &str = "CLONELOVE_MTR";

/// The time zone that MariaDB's results were recorded in.
const ZONE: &str = "GMT-3";

/// What is to be run.
#[derive(Debug)]
struct Ask {
    protocols: Vec<Protocol>,
    files: Option<String>,
    every: Option<usize>,
    sample: Option<usize>,
    seed: u64,
    shard: (usize, usize),
    jobs: usize,
    /// Run also what an earlier run has done.
    again: bool,
    /// Find out which tests pass directly, in place of running those through clonelove.
    list: bool,
}

/// One run to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Task {
    test: String,
    protocol: Protocol,
}

/// This very program, also after a build has put another one in its place.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// Runs what was asked for, prints what was found; `false` when a test differs that is not known to.
pub(crate) fn run(args: &[&str]) -> Result<bool> {
    let ask = Ask::parse(args)?;
    if std::env::var_os(INSIDE).is_none() {
        if !ask.list {
            show(cargo().args(["build", "--package", "clonelove", "--locked"]))?;
        }
        // The time zone is inherited, and cannot be set in a process that runs already.
        let mut again = std::process::Command::new(OWN_PROGRAM);
        return Ok(again.arg("mtr").args(args).env("TZ", ZONE).env(INSIDE, "1").status()?.success());
    }
    let tests = setup::mariadb_tests()?;
    if ask.list { list(&ask, &tests) } else { compare(&ask, &tests) }
}

/// The stage of CI.
pub(crate) fn sampled() -> Result<Outcome> {
    if let Err(error) = setup::mariadb_tests() {
        let not_covered = format!("NOT COVERED: MariaDB's own tests ({error:#})").replace('\n', " ");
        return Ok(Outcome { not_covered: vec![not_covered], ..Outcome::default() });
    }
    let every = EVERY.to_string();
    let mut command = std::process::Command::new(OWN_PROGRAM);
    command.args(["mtr", "--every", &every, "--again"]).env("TZ", ZONE).env(INSIDE, "1");
    show(&mut command)?;
    Ok(Outcome::check())
}

/// Finds out which tests pass directly, and writes the list.
fn list(ask: &Ask, tests: &MariadbTests) -> Result<bool> {
    let mut tasks = Vec::new();
    // What does not pass as text is not tried in another way.
    let passing = Lists::read()?;
    for test in lists::candidates(&tests.folder)? {
        if ask.protocols.contains(&Protocol::Text) || passing.passes(&test, Protocol::Text) {
            tasks.extend(
                ask.protocols.iter().map(|protocol| Task { test: test.clone(), protocol: *protocol }),
            );
        }
    }
    let run = Run::new(ask, tests, Place::Directly, tasks)?;
    run.work(|site, task, _| play(site, tests, Place::Directly, task))?;
    let mut lists = Lists::read()?;
    for (task, verdict) in run.all()? {
        lists.note_direct(&task.test, task.protocol, verdict == "passed");
    }
    lists.write_passing()?;
    println!("{} tests pass directly", lists.passing(None).len());
    Ok(true)
}

/// Runs what passes directly through clonelove.
fn compare(ask: &Ask, tests: &MariadbTests) -> Result<bool> {
    let lists = Lists::read()?;
    let mut tasks = Vec::new();
    for (index, (test, protocols)) in lists.passing(None).into_iter().enumerate() {
        let mut chosen: Vec<Protocol> =
            protocols.into_iter().filter(|one| ask.protocols.contains(one)).collect();
        if let Some(every) = ask.every {
            if index % every != 0 || chosen.is_empty() {
                continue;
            }
            let turn = chosen.remove((index / every) % chosen.len());
            chosen = vec![turn];
        }
        tasks.extend(chosen.into_iter().map(|protocol| Task { test: test.clone(), protocol }));
    }
    let run = Run::new(ask, tests, Place::Through, tasks)?;
    run.work(|site, task, run| {
        let verdict = play(site, tests, Place::Through, task)?;
        if verdict.passed() || lists.cause(task).is_some() {
            return Ok(verdict);
        }
        // By chance? New servers, and once more; and does it still pass directly?
        *site = Site::start(tests, Place::Through)?;
        let second = play(site, tests, Place::Through, task)?;
        if second.passed() {
            return Ok(second);
        }
        let mut direct = Site::start(tests, Place::Directly)?;
        if !play(&mut direct, tests, Place::Directly, task)?.passed() {
            run.say(&format!("{} ({}): does not pass directly today", task.test, task.protocol.name()));
            return Ok(Verdict::Skipped);
        }
        Ok(second)
    })?;
    run.report(&lists)
}

/// The tasks of a run, what became of them, and who waits to be told.
struct Run<'a> {
    place: Place,
    tests: &'a MariadbTests,
    jobs: usize,
    tasks: Vec<Task>,
    queue: Mutex<VecDeque<Task>>,
    begun: Instant,
    progress: Mutex<Progress>,
}

struct Progress {
    done: usize,
    differing: usize,
    told: Instant,
}

impl<'a> Run<'a> {
    fn new(ask: &Ask, tests: &'a MariadbTests, place: Place, tasks: Vec<Task>) -> Result<Self> {
        let mut tasks: Vec<Task> = tasks.into_iter().filter(|task| ask.wants(task)).collect();
        if let Some(sample) = ask.sample {
            tasks.sort_by_key(|task| scrambled(&format!("{} {}", task.test, task.protocol.name()), ask.seed));
            tasks.truncate(sample);
        }
        let (shard, shards) = ask.shard;
        let tasks: Vec<Task> = tasks
            .into_iter()
            .enumerate()
            .filter(|(i, _)| i % shards == shard)
            .map(|(_, task)| task)
            .collect();
        let begun = Instant::now();
        let progress = Mutex::new(Progress { done: 0, differing: 0, told: begun });
        let mut run = Self { place, tests, jobs: ask.jobs, tasks, queue: Mutex::default(), begun, progress };
        let known: BTreeSet<(String, &str)> = match ask.again {
            true => BTreeSet::new(),
            false => run.recorded()?.into_iter().map(|(task, _)| (task.test, task.protocol.name())).collect(),
        };
        let open =
            run.tasks.iter().filter(|task| !known.contains(&(task.test.clone(), task.protocol.name())));
        let open: VecDeque<Task> = open.cloned().collect();
        println!("{} runs, {} of them to be made now", run.tasks.len(), open.len());
        run.queue = Mutex::new(open);
        Ok(run)
    }

    /// Makes the runs, several at once.
    fn work(&self, play: impl Fn(&mut Site, &Task, &Self) -> Result<Verdict> + Sync) -> Result<()> {
        let total = self.queue.lock().len();
        let play = &play;
        std::thread::scope(|scope| {
            let workers: Vec<_> =
                (0..self.jobs.min(total)).map(|_| scope.spawn(move || self.worker(total, play))).collect();
            workers.into_iter().try_for_each(|worker| match worker.join() {
                Ok(ended) => ended,
                Err(_) => bail!("a worker panicked"),
            })
        })
    }

    fn worker(&self, total: usize, play: impl Fn(&mut Site, &Task, &Self) -> Result<Verdict>) -> Result<()> {
        let mut site: Option<Site> = None;
        while let Some(task) = self.next() {
            let mut here = match site.take() {
                Some(site) => site,
                None => Site::start(self.tests, self.place)?,
            };
            let begun = Instant::now();
            let verdict = play(&mut here, &task, self).with_context(|| task.test.clone())?;
            self.record(&task, &verdict, begun.elapsed())?;
            self.tell(&task, &verdict, total);
            if here.tidy() {
                site = Some(here);
            }
        }
        Ok(())
    }

    fn next(&self) -> Option<Task> {
        self.queue.lock().pop_front()
    }

    fn say(&self, line: &str) {
        println!("{:>6.0} s  {line}", self.begun.elapsed().as_secs_f64());
    }

    fn tell(&self, task: &Task, verdict: &Verdict, total: usize) {
        let mut progress = self.progress.lock();
        progress.done += 1;
        let differs = self.place == Place::Through && verdict.differs();
        progress.differing += usize::from(differs);
        if differs || progress.told.elapsed() > Duration::from_secs(10) {
            progress.told = Instant::now();
            let (done, differing) = (progress.done, progress.differing);
            self.say(&format!(
                "{done}/{total}, {differing} differ; {} ({}): {}",
                task.test,
                task.protocol.name(),
                verdict.name()
            ));
        }
    }

    fn record(&self, task: &Task, verdict: &Verdict, time: Duration) -> Result<()> {
        let path = self.records();
        let mut file = fs::File::options().create(true).append(true).open(&path)?;
        let line =
            format!("{} {} {} {:.1}\n", task.protocol.name(), task.test, verdict.name(), time.as_secs_f64());
        file.write_all(line.as_bytes())?;
        Ok(())
    }

    fn records(&self) -> PathBuf {
        results_folder().join(format!("{}.txt", self.place.name()))
    }

    /// What was recorded of this run's tasks, now or earlier; the last word counts.
    fn recorded(&self) -> Result<Vec<(Task, String)>> {
        let mut known = std::collections::BTreeMap::new();
        fs::create_dir_all(results_folder())?;
        for line in fs::read_to_string(self.records()).unwrap_or_default().lines() {
            let mut words = line.split(' ');
            let (Some(protocol), Some(test), Some(verdict)) = (words.next(), words.next(), words.next())
            else {
                continue;
            };
            let Some(protocol) = Protocol::named(protocol) else { continue };
            known.insert((test.to_owned(), protocol), verdict.to_owned());
        }
        let task = |(test, protocol): (String, Protocol)| Task { test, protocol };
        let mine = known.into_iter().map(|(key, verdict)| (task(key), verdict));
        Ok(mine.filter(|(task, _)| self.tasks.contains(task)).collect())
    }

    /// The same, when all has been run.
    fn all(&self) -> Result<Vec<(Task, String)>> {
        self.recorded()
    }

    /// Prints what differs, by cause; `false` when something has none, or too much has one.
    fn report(&self, lists: &Lists) -> Result<bool> {
        let all = self.all()?;
        let mut text = String::new();
        let mut good = true;
        for protocol in Protocol::ALL {
            let mine: Vec<_> = all.iter().filter(|(task, _)| task.protocol == protocol).collect();
            let count = |verdict: &str| mine.iter().filter(|(_, is)| is == verdict).count();
            let differ: Vec<_> =
                mine.iter().filter(|(_, is)| !["passed", "skipped"].contains(&is.as_str())).collect();
            let unknown: Vec<_> = differ.iter().filter(|(task, _)| lists.cause(task).is_none()).collect();
            writeln!(
                text,
                "{}: {} run, {} passed, {} skipped, {} differ ({} of them without a known cause)",
                protocol.name(),
                mine.len(),
                count("passed"),
                count("skipped"),
                differ.len(),
                unknown.len()
            )?;
            for (task, verdict) in &unknown {
                writeln!(text, "  DIFFERS: {} ({}): {verdict}", task.test, task.protocol.name())?;
            }
            good &= unknown.is_empty();
        }
        println!("\n{text}the differences are in {}", results_folder().display());
        Ok(good)
    }
}

impl Ask {
    fn parse(args: &[&str]) -> Result<Self> {
        let mut ask = Self {
            protocols: Protocol::ALL.to_vec(),
            files: None,
            every: None,
            sample: None,
            seed: 1,
            shard: (0, 1),
            jobs: 2,
            again: false,
            list: false,
        };
        let mut words = args.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} wants a value"));
            match *word {
                "--protocols" => {
                    let named = value()?
                        .split(',')
                        .map(|name| Protocol::named(name).with_context(|| format!("no protocol {name}")));
                    ask.protocols = named.collect::<Result<_>>()?;
                }
                "--files" => ask.files = Some((*value()?).to_owned()),
                "--every" => ask.every = Some(value()?.parse::<usize>()?.max(1)),
                "--sample" => ask.sample = Some(value()?.parse()?),
                "--seed" => ask.seed = value()?.parse()?,
                "--shard" => {
                    let (shard, shards) = value()?.split_once('/').context("--shard wants I/N")?;
                    let (shard, shards): (usize, usize) = (shard.parse()?, shards.parse()?);
                    if shard == 0 || shard > shards {
                        bail!("--shard 1/4 is the first of four");
                    }
                    ask.shard = (shard - 1, shards);
                }
                "--jobs" => ask.jobs = value()?.parse()?,
                "--again" => ask.again = true,
                "--list" => ask.list = true,
                _ => bail!("not understood: {word}; `{USAGE}`"),
            }
        }
        Ok(ask)
    }

    fn wants(&self, task: &Task) -> bool {
        self.protocols.contains(&task.protocol)
            && self.files.as_deref().is_none_or(|pattern| matches(&task.test, pattern))
    }
}

/// Where results and differences are kept between runs.
fn results_folder() -> PathBuf {
    target_folder().join("mtr")
}

/// Where the output of a run that did not pass is kept.
fn difference_file(place: Place, task: &Task) -> PathBuf {
    Path::new(&results_folder()).join(place.name()).join(format!("{}.{}", task.test, task.protocol.name()))
}
