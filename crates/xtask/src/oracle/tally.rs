//! What was counted and found, and how it is told: while running, at the end, and in docs/oracle.md.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clonelove_sql::Why;

use super::judge::Place;
use super::tables::Tables;

/// Of each class, so many examples are kept.
const EXAMPLES: usize = 6;

/// Something that is wrong, with all that is needed to see it again.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    what: &'static str,
    place: Place,
    sql: String,
    detail: String,
}

impl Finding {
    pub(super) fn new(what: &'static str, place: &Place, sql: &[u8], detail: String) -> Self {
        Self { what, place: place.clone(), sql: shown(sql), detail }
    }

    /// Says it at once.
    pub(super) fn tell(&self) {
        println!("FAILURE {}", self.line());
    }

    /// What and where.
    pub(super) fn title(&self) -> String {
        format!("{} at {}:{}", self.what, self.place.file, self.place.line)
    }

    fn line(&self) -> String {
        format!("{} at {}:{}: {}\n    {}", self.what, self.place.file, self.place.line, self.detail, self.sql)
    }
}

/// Reads that were kept on the primary for one reason.
#[derive(Debug, Default, Clone)]
struct Kept {
    all: u64,
    harmless: u64,
    /// Harmless, and without anything that the design excludes.
    wasted: u64,
    examples: Vec<String>,
}

/// All counts.
#[derive(Debug, Default, Clone)]
pub(super) struct Tally {
    pub(super) files: u64,
    /// Locks could not be seen.
    pub(super) blind: bool,
    pub(super) files_cut_short: BTreeMap<String, u64>,
    pub(super) run: u64,
    pub(super) succeeded: u64,
    pub(super) not_run: BTreeMap<&'static str, u64>,
    pub(super) steps_skipped: BTreeMap<&'static str, u64>,
    /// Called reads by the analysis, and looked at before and after.
    pub(super) judged: u64,
    /// SELECTs among them.
    pub(super) selects: u64,
    /// Called reads, but the session could not be looked at.
    pub(super) unseen: u64,
    pub(super) routed: u64,
    /// Of sessions that clonelove pins, their state carried by value.
    pub(super) carried: u64,
    /// Not compared, since the replica had broken in that file.
    pub(super) alone: u64,
    pub(super) equal: u64,
    differing: BTreeMap<&'static str, u64>,
    unready: BTreeMap<String, u64>,
    kept: BTreeMap<&'static str, Kept>,
    stayed: BTreeMap<&'static str, u64>,
    pub(super) tables: Tables,
    pub(super) parser: Tables,
    /// What stored knowledge changed of what the text says.
    known: BTreeMap<String, u64>,
    pub(super) failures: Vec<Finding>,
    pub(super) broken_replication: Vec<String>,
    pub(super) late: u64,
    pub(super) lost: u64,
    pub(super) crashes: Vec<String>,
    pub(super) new_servers: u64,
}

impl Tally {
    /// A SELECT that stays on the primary.
    pub(super) fn keep(
        &mut self,
        why: &'static str,
        harmless: bool,
        excluded: bool,
        place: &Place,
        sql: &[u8],
    ) {
        let kept = self.kept.entry(why).or_default();
        kept.all += 1;
        kept.harmless += u64::from(harmless);
        if harmless && !excluded {
            kept.wasted += 1;
            if kept.examples.len() < EXAMPLES {
                kept.examples.push(format!("{}:{}: {}", place.file, place.line, shown(sql)));
            }
        }
    }

    /// An answer that differs for a reason in the list.
    pub(super) fn differ(&mut self, class: &'static str) {
        *self.differing.entry(class).or_default() += 1;
    }

    /// A connection to the replica that could not be made ready: clonelove then asks the primary.
    pub(super) fn unready(&mut self, why: &str) {
        *self.unready.entry(why.chars().take(100).collect()).or_default() += 1;
    }

    /// What the text says, and what it says in the light of the schema.
    pub(super) fn knowledge(&mut self, text: Option<Why>, known: Option<Why>) {
        let say = |why: Option<Why>| why.map_or("read", Why::as_str);
        if text != known {
            *self
                .known
                .entry(format!("{} by the text, {} by the schema", say(text), say(known)))
                .or_default() += 1;
        }
    }

    /// A read that the session, not the statement, keeps on the primary.
    pub(super) fn stay(&mut self, why: &'static str) {
        *self.stayed.entry(why).or_default() += 1;
    }

    /// Statements not run, by class.
    pub(super) fn skip(&mut self, class: &'static str) {
        *self.not_run.entry(class).or_default() += 1;
    }

    /// Steps of a file that were passed over.
    pub(super) fn pass(&mut self, class: &'static str) {
        *self.steps_skipped.entry(class).or_default() += 1;
    }

    fn wasted(&self) -> u64 {
        self.kept.values().map(|kept| kept.wasted).sum()
    }

    /// The share of needlessly kept SELECTs among those that could have left, in per cent.
    pub(super) fn waste(&self) -> f64 {
        let all = self.wasted() + self.selects;
        if all == 0 { 0.0 } else { 100.0 * self.wasted() as f64 / all as f64 }
    }

    /// What the counts as a whole do not keep to.
    pub(super) fn breaches(&self, recordings: bool) -> Vec<String> {
        /// Of fewer statements a share says little.
        const ENOUGH: u64 = 1000;
        let mut breaches = Vec::new();
        if self.selects >= ENOUGH && self.waste() >= 2.0 {
            breaches
                .push(format!("{:.2} % of the SELECTs are kept on the primary without need", self.waste()));
        }
        for (teller, tables) in [("the server", &self.tables), ("sqlparser", &self.parser)] {
            if recordings && tables.equal * 100 < tables.compared * 99 {
                breaches.push(format!(
                    "only {} of {} times our tables are what {teller} says",
                    tables.equal, tables.compared
                ));
            }
        }
        breaches
    }

    /// One line for a person who waits.
    pub(super) fn progress(&self) -> String {
        format!(
            "{} files, {} run, {} succeeded, {} judged, {} on a replica, {} equal, {} wasted ({:.2} %), {} failures",
            self.files,
            self.run,
            self.succeeded,
            self.judged,
            self.routed,
            self.equal,
            self.wasted(),
            self.waste(),
            self.failures.len()
        )
    }

    /// All counts, as Markdown.
    pub(super) fn report(&self) -> String {
        let mut text = String::from("| what | how many |\n|---|---|\n");
        let mut line = |name: &str, count: u64| {
            let _ = writeln!(text, "| {name} | {count} |");
        };
        line("files", self.files);
        line("statements run", self.run);
        line("succeeded", self.succeeded);
        line("called a read that may leave, succeeded, and judged", self.judged);
        line("the same, but the session could not be looked at", self.unseen);
        line("routed to the replica and run there", self.routed);
        line("... of sessions that clonelove pins, with their state carried by value", self.carried);
        line("not compared with a replica, which had broken in that file", self.alone);
        line("with the same rows", self.equal);
        line("failures", self.failures.len() as u64);
        line("harmless SELECTs kept that name no exclusion", self.wasted());
        let rows =
            ["tables told", "ours are equal", "ours are more", "ours are all there are", "ours are fewer"];
        for (teller, tables) in [("the server's metadata locks", &self.tables), ("sqlparser", &self.parser)] {
            let counts = [tables.compared, tables.equal, tables.more, tables.all, tables.fewer];
            rows.iter().zip(counts).for_each(|(name, count)| line(&format!("{name} by {teller}",), count));
        }
        line("statements over their time", self.late);
        line("connections lost", self.lost);
        line("servers made anew between files", self.new_servers);
        text
    }

    /// The lists below the table.
    pub(super) fn lists(&self) -> String {
        let mut text = String::new();
        list(&mut text, "Answers that differ, by class", &self.differing);
        list(&mut text, "What stored knowledge changed", &self.known);
        list(&mut text, "Reads that the session kept on the primary, by pin", &self.stayed);
        list(&mut text, "Statements not run, by class", &self.not_run);
        list(&mut text, "Steps of the tester passed over", &self.steps_skipped);
        list(&mut text, "Files cut short", &self.files_cut_short);
        let kept: BTreeMap<String, u64> = self
            .kept
            .iter()
            .map(|(why, kept)| {
                (
                    format!(
                        "{why}: {} without effect, {} of them name no exclusion; in all",
                        kept.harmless, kept.wasted
                    ),
                    kept.all,
                )
            })
            .collect();
        list(&mut text, "SELECTs kept on the primary, by reason", &kept);
        text
    }

    /// What is for the screen only: examples and findings.
    pub(super) fn details(&self) -> String {
        let mut text = String::new();
        list(&mut text, "Connections to the replica that could not be made ready", &self.unready);
        for (why, kept) in self.kept.iter().filter(|(_, kept)| !kept.examples.is_empty()) {
            let _ = writeln!(text, "\nkept without need ({why}), for example:");
            kept.examples.iter().for_each(|example| {
                let _ = writeln!(text, "  {example}");
            });
        }
        for finding in &self.failures {
            let _ = writeln!(text, "FAILURE: {}", finding.line());
        }
        self.broken_replication.iter().for_each(|broken| {
            let _ = writeln!(text, "replication broke: {broken}");
        });
        self.crashes.iter().for_each(|crash| {
            let _ = writeln!(text, "a server crashed: {crash}");
        });
        text
    }
}

fn list<K: std::fmt::Display>(text: &mut String, title: &str, counts: &BTreeMap<K, u64>) {
    if counts.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{title}:\n");
    let mut rows: Vec<_> = counts.iter().collect();
    rows.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    rows.iter().for_each(|(name, count)| {
        let _ = writeln!(text, "- {name}: {count}");
    });
}

/// A statement, short enough for a line.
fn shown(sql: &[u8]) -> String {
    let text = String::from_utf8_lossy(sql);
    let one_line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut short: String = one_line.chars().take(400).collect();
    if short.len() < one_line.len() {
        short.push_str(" ...");
    }
    short
}
