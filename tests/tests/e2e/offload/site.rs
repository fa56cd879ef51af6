//! A recorded site, played by visitors at once, each in a schema of its own, against replicas that are behind; and
//! what came of it, scenario by scenario.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clonelove_testkit::{APP_USER, Cluster, ClusterOptions, Connection, Flavour, not_covered};

use super::behind::{Behind, Routed};
use super::visitor::{Tally, Visitor};
use crate::replay::RECORDINGS_ENV;
use crate::replay::recording::{self, Request};

/// What a site does when nobody looks: no visitor's share.
const UPKEEP: [&str; 3] = ["10-cron", "11-cache-clear", "14-module-enable"];
/// Visitors are so far apart, so that they do not do the same at the very same time.
const APART: Duration = Duration::from_millis(230);
/// In the place of a letter of the schema's name, which stays as long as it is.
const LETTERS: [u8; 4] = *b"lwxz";
/// Two servers side by side, with no proxy at all, differ by two or three in the recordings.
const MOST_REORDERED: usize = 8;

/// A recording and the database that it began with.
pub(crate) struct Site {
    pub(crate) name: &'static str,
    dump: Vec<u8>,
    requests: Vec<Request>,
}

/// A run to be made.
pub(crate) struct Play<'a> {
    pub(crate) site: &'a Site,
    pub(crate) freshness: &'a str,
    pub(crate) visitors: usize,
    /// Only these.
    pub(crate) scenarios: Option<&'a [&'a str]>,
}

/// What a run came to.
pub(crate) struct Outcome {
    title: String,
    scenarios: Vec<(String, Tally, Routed)>,
    kept: Vec<(String, u64)>,
    reordered: usize,
    pub(crate) differences: Vec<String>,
}

impl Site {
    /// Reads a recording; `None`, with a word about it, where there is none.
    pub(crate) fn read(name: &'static str) -> Result<Option<Self>> {
        let folder = match std::env::var_os(RECORDINGS_ENV) {
            Some(folder) => PathBuf::from(folder),
            None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/drupal"),
        };
        let file = folder.join(format!("{name}.jsonl.gz"));
        if !file.exists() {
            let why = format!("no {}; {RECORDINGS_ENV} can name another folder", file.display());
            not_covered(&format!("the recording of {name}"), &why);
            return Ok(None);
        }
        let dump = recording::read_dump(&folder.join(format!("{name}.sql.gz")))?;
        Ok(Some(Self { name, dump, requests: recording::read(&file)? }))
    }

    /// The schema of a visitor, and the bytes that stand for it: its letter in the place of one of the recorded name.
    fn letter(visitor: usize) -> u8 {
        LETTERS.get(visitor).copied().unwrap_or(b'l')
    }

    /// What is sent or loaded for a visitor in place of what was recorded.
    pub(crate) fn renamed(&self, visitor: usize, text: &[u8]) -> Vec<u8> {
        // "drupal7": the `l`.
        let (name, place) = (self.name.as_bytes(), 5);
        let mut renamed = text.to_vec();
        let mut at = 0;
        while let Some(found) =
            renamed.get(at..).and_then(|rest| rest.windows(name.len()).position(|word| word == name))
        {
            if let Some(byte) = renamed.get_mut(at + found + place) {
                *byte = Self::letter(visitor);
            }
            at += found + name.len();
        }
        renamed
    }

    pub(crate) fn schema(&self, visitor: usize) -> String {
        String::from_utf8_lossy(&self.renamed(visitor, self.name.as_bytes())).into_owned()
    }

    fn load(&self, cluster: &Cluster, visitors: usize) -> Result<()> {
        for visitor in 0..visitors {
            let schema = self.schema(visitor);
            cluster.primary.query(&format!("CREATE SCHEMA IF NOT EXISTS {schema} CHARACTER SET utf8mb4"))?;
            cluster.primary.query(&format!("GRANT ALL PRIVILEGES ON {schema}.* TO '{APP_USER}'@'%'"))?;
            let mut root = Connection::open(&cluster.primary.socket(), "root", Some(&schema))?;
            root.query_bytes(&self.renamed(visitor, &self.dump))?;
        }
        Ok(())
    }
}

impl Play<'_> {
    pub(crate) fn run(&self) -> Result<Outcome> {
        let extra = vec!["--innodb-stats-auto-recalc=0".to_owned()];
        let options = ClusterOptions { replicas: 0, extra, ..ClusterOptions::default() };
        let direct = Cluster::start(Flavour::MariaDbDistribution, options)?;
        self.site.load(&direct, self.visitors)?;
        let behind = Behind::start(self.freshness, |cluster| self.site.load(cluster, self.visitors))?;
        let mut visitors: Vec<Visitor<'_>> =
            (0..self.visitors).map(|number| Visitor::new(number, self.site, &direct, &behind)).collect();
        let mut scenarios = Vec::new();
        let wanted = |scenario: &str| self.scenarios.is_none_or(|only| only.contains(&scenario));
        for requests in self.site.requests.chunk_by(|one, two| one.scenario == two.scenario) {
            let Some(first) = requests.first().filter(|first| wanted(&first.scenario)) else { continue };
            // How long the site was at rest before a scenario was not recorded.
            behind.cluster.wait_caught_up()?;
            let before = behind.routed()?;
            let tally = together(&mut visitors, requests)?;
            scenarios.push((first.scenario.clone(), tally, behind.routed()? - before));
        }
        let (mut differences, mut reordered) = (Vec::new(), 0);
        for visitor in &mut visitors {
            differences.append(&mut visitor.differences);
            reordered += visitor.reordered;
        }
        ensure!(reordered <= MOST_REORDERED * self.visitors, "{reordered} answers in another order");
        let (name, freshness, count) = (self.site.name, self.freshness, self.visitors);
        let title = format!("{name}, {freshness}, {count} visitors, replicas 1 s behind");
        Ok(Outcome { title, scenarios, kept: behind.kept()?, reordered, differences })
    }
}

/// One scenario, by all visitors.
fn together(visitors: &mut [Visitor<'_>], requests: &[Request]) -> Result<Tally> {
    let begun = Instant::now();
    let tallies: Vec<Result<Tally>> = std::thread::scope(|scope| {
        let threads: Vec<_> = visitors
            .iter_mut()
            .zip(0_u32..)
            .map(|(visitor, number)| scope.spawn(move || visitor.play(requests, begun + APART * number)))
            .collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined.map(|told| told.map_err(|_| anyhow::anyhow!("a visitor panicked"))?).collect()
    });
    let mut all = Tally::default();
    for tally in tallies {
        all.add(&tally?);
    }
    Ok(all)
}

impl Outcome {
    /// Of a hundred SELECTs, those inside transactions among them, how many ran on replicas; upkeep left out.
    pub(crate) fn share(&self) -> f64 {
        self.share_of(|name| !UPKEEP.contains(&name))
    }

    fn share_of(&self, wanted: impl Fn(&str) -> bool) -> f64 {
        let (mut selects, mut there) = (0.0, 0.0);
        for (_, tally, routed) in self.scenarios.iter().filter(|(name, ..)| wanted(name)) {
            selects += tally.selects as f64;
            there += on_replicas(tally, routed);
        }
        100.0 * there / f64::max(selects, 1.0)
    }
}

/// SHOW may run there as well, and is no SELECT.
fn on_replicas(tally: &Tally, routed: &Routed) -> f64 {
    (routed.on_replicas() - tally.shows as f64).max(0.0)
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}: {:.1} % of the SELECTs on replicas", self.title, self.share())?;
        let all = self.share_of(|_| true);
        writeln!(out, "with {}: {all:.1} %", UPKEEP.join(", "))?;
        writeln!(
            out,
            "| scenario | SELECTs | on replicas | stale | pending | in transactions | else | late s |"
        )?;
        writeln!(out, "|---|---:|---:|---:|---:|---:|---:|---:|")?;
        let mut all = Routed::default();
        for (name, tally, routed) in &self.scenarios {
            let selects = tally.selects as f64;
            let there = on_replicas(tally, routed);
            let (stale, pending) = (routed.because("stale"), routed.because("pending"));
            let inside = tally.in_transactions as f64;
            let other = selects - there - stale - pending - inside;
            let share = 100.0 * there / selects.max(1.0);
            writeln!(
                out,
                "| {name} | {selects} | {share:.1} % | {stale} | {pending} | {inside} | {other} | {:.1} |",
                tally.late.as_secs_f64()
            )?;
            all.add(routed);
        }
        writeln!(out, "all statements: {}", all.told())?;
        let kept: Vec<String> =
            self.kept.iter().take(25).map(|(table, reads)| format!("{table} {reads}")).collect();
        writeln!(out, "kept on the primary: {}", kept.join(", "))?;
        write!(
            out,
            "{} answers in an order that ORDER BY leaves open; others differ: {}",
            self.reordered,
            self.differences.len()
        )
    }
}
