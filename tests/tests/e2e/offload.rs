//! How many reads go to replicas that are a second behind, when every read reflects every write acknowledged before
//! it: requests over a few tables that are written now and then, and what Drupal really sent, in its own pace, by
//! several visitors at once. The share depends on when was written and how far replicas are behind, not on how quick
//! the machine is. `cargo xtask bench --freshness` plays the recordings whole and prints the tables.
#![expect(clippy::print_stdout, reason = "a run tells what it saw; the harness shows it on demand")]

mod behind;
mod requests;
mod site;
mod visitor;

use std::time::Instant;

use anyhow::{Result, ensure};

use requests::Writing;
use site::{Play, Site};

/// When set, recordings are played whole by four visitors; else a part by two.
const WHOLE_ENV: &str = "CLONELOVE_OFFLOAD_WHOLE";

/// Of a hundred reads of tables, one of which is written every half second, how many at least are on replicas. Of
/// eight tables, two at most were written in the last second: there is nothing to be had beyond 78.
const OF_TABLES: f64 = 74.0;
/// The same where reads and writes are of single rows.
const OF_ROWS: f64 = 95.0;
/// Of a hundred SELECTs of a Drupal site, without its upkeep.
const OF_SITE_BY_TABLE: f64 = 55.0;
const OF_SITE_BY_KEY: f64 = 93.0;

/// A part of the recordings that has what visitors usually do: pages, a log-in, content made, a search, a list.
const PART: [&str; 6] =
    ["02-anon-warm", "03-loggedin-view", "04-login", "05-node-create", "08-search", "09-tracker"];

#[test]
fn three_reads_in_four_are_on_replicas_where_one_table_of_eight_is_written_each_half_second() -> Result<()> {
    let share = requests::share("table", Writing::AnyRow)?;
    println!("table: {share:.1} % of the reads on replicas");
    ensure!(share >= OF_TABLES, "{share:.1} % of the reads on replicas");
    Ok(())
}

#[test]
fn nearly_all_reads_are_on_replicas_where_rows_are_written_by_their_keys() -> Result<()> {
    let share = requests::share("key", Writing::OneRow)?;
    println!("key: {share:.1} % of the reads on replicas");
    ensure!(share >= OF_ROWS, "{share:.1} % of the reads on replicas");
    Ok(())
}

#[test]
fn drupal_7_is_answered_the_same_by_replicas_a_second_behind_by_table() -> Result<()> {
    play("drupal7", "table", OF_SITE_BY_TABLE)
}

#[test]
fn drupal_7_is_answered_the_same_by_replicas_a_second_behind_by_key() -> Result<()> {
    play("drupal7", "key", OF_SITE_BY_KEY)
}

#[test]
fn drupal_10_is_answered_the_same_by_replicas_a_second_behind_by_table() -> Result<()> {
    play("drupal10", "table", OF_SITE_BY_TABLE)
}

#[test]
fn drupal_10_is_answered_the_same_by_replicas_a_second_behind_by_key() -> Result<()> {
    play("drupal10", "key", OF_SITE_BY_KEY)
}

/// Waits for a moment: the pace of reads and writes is what the share depends on.
#[expect(
    clippy::disallowed_methods,
    reason = "no condition is awaited: the pace is a part of what is played"
)]
fn until(moment: Instant) {
    std::thread::sleep(moment.saturating_duration_since(Instant::now()));
}

fn play(name: &'static str, freshness: &str, at_least: f64) -> Result<()> {
    let Some(site) = Site::read(name)? else { return Ok(()) };
    let whole = std::env::var_os(WHOLE_ENV).is_some();
    let play = match whole {
        true => Play { site: &site, freshness, visitors: 4, scenarios: None },
        false => Play { site: &site, freshness, visitors: 2, scenarios: Some(&PART) },
    };
    let outcome = play.run()?;
    println!("{outcome}");
    let differences: Vec<&str> = outcome.differences.iter().take(10).map(String::as_str).collect();
    ensure!(differences.is_empty(), "answers differ:\n{}", differences.join("\n"));
    let share = outcome.share();
    ensure!(share >= at_least, "{share:.1} % of the SELECTs on replicas");
    Ok(())
}
