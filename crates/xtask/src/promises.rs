//! docs/promises.md: every promise has a row, and what is said to be shown was shown in this run.

use std::fs;

use anyhow::{Result, bail};

use crate::shell::workspace;
use crate::stages::Outcome;
use crate::tests_run::TestResults;

/// One row of the table.
#[derive(Debug, PartialEq, Eq)]
struct Promise {
    line: usize,
    text: String,
    shown_by: Vec<String>,
    state: State,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Shown,
    NotYet,
}

/// Fails when a row is malformed, or says `shown` of a test that did not pass in this run. A check that is no test is
/// named `stage::name`; `held` has those that held.
pub(crate) fn check(results: &TestResults, held: &[String]) -> Result<Outcome> {
    let text = fs::read_to_string(workspace().join("docs/promises.md"))?;
    let promises = parse(&text)?;
    let (shown, waiting): (Vec<_>, Vec<_>) =
        promises.into_iter().partition(|promise| promise.state == State::Shown);
    println!("{} promises shown, {} not yet", shown.len(), waiting.len());
    let faults = faults(&shown, results, held);
    if !faults.is_empty() {
        bail!("\n{}", faults.join("\n"));
    }
    Ok(Outcome::check())
}

fn faults(shown: &[Promise], results: &TestResults, held: &[String]) -> Vec<String> {
    let mut faults = Vec::new();
    for promise in shown {
        for name in &promise.shown_by {
            let fate = if results.passed.contains(name) || held.contains(name) {
                continue;
            } else if let Some(why) = results.not_covered.get(name) {
                // The run counts and names it as skipped.
                println!("not shown in this run: {} ({why})", promise.text);
                continue;
            } else if results.failed.contains(name) {
                "failed"
            } else {
                "does not exist or did not run"
            };
            faults.push(format!("docs/promises.md:{}: {name} {fate} ({})", promise.line, promise.text));
        }
    }
    faults
}

fn parse(text: &str) -> Result<Vec<Promise>> {
    let mut promises = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let row = line.trim();
        let heading = row.starts_with("| promise") || row.starts_with("|---") || row.starts_with("| ---");
        if !row.starts_with('|') || heading {
            continue;
        }
        promises.push(parse_row(index + 1, row)?);
    }
    Ok(promises)
}

fn parse_row(line: usize, row: &str) -> Result<Promise> {
    // `\|` is how a table's cell holds a bar.
    let whole = row.replace("\\|", "\u{1}");
    let cells: Vec<String> =
        whole.trim_matches('|').split('|').map(|cell| cell.trim().replace('\u{1}', "|")).collect();
    let [text, shown_by, state] = cells.as_slice() else {
        bail!("docs/promises.md:{line}: a row has three cells: promise, shown by, state");
    };
    let shown_by: Vec<String> = shown_by
        .split(',')
        .map(|name| name.trim().trim_matches('`').to_owned())
        .filter(|name| !name.is_empty())
        .collect();
    let state = match state.as_str() {
        "shown" if shown_by.is_empty() => bail!("docs/promises.md:{line}: shown, but by no test"),
        "shown" => State::Shown,
        waiting if waiting.strip_prefix("not yet:").is_some_and(|why| !why.trim().is_empty()) => {
            State::NotYet
        }
        other => bail!("docs/promises.md:{line}: `{other}` is neither `shown` nor `not yet: why`"),
    };
    Ok(Promise { line, text: text.clone(), shown_by, state })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "# T\n\n| promise | shown by | state |\n|---|---|---|\n";

    #[test]
    fn rows_are_read() {
        let rows =
            parse(&format!("{TABLE}| a \\| b | `p::t`, `p::u` | shown |\n| c | | not yet: later |")).unwrap();
        let names: Vec<_> = rows.iter().map(|row| (row.text.as_str(), row.shown_by.len())).collect();
        assert_eq!(names, [("a | b", 2), ("c", 0)]);
    }

    #[test]
    fn a_row_that_says_shown_needs_a_test() {
        assert!(parse(&format!("{TABLE}| a | | shown |")).is_err());
        assert!(parse(&format!("{TABLE}| a | x | perhaps |")).is_err());
        assert!(parse(&format!("{TABLE}| a | x | not yet: |")).is_err());
    }

    #[test]
    fn a_shown_promise_fails_when_its_test_did_not_pass() {
        let row = [parse_row(7, "| a | `p::t` | shown |").unwrap()];
        let name = || "p::t".to_owned();
        let none = TestResults::default();
        assert!(faults(&row, &none, &[]).concat().contains("promises.md:7: p::t does not exist"));
        let failed = TestResults { failed: vec![name()], ..TestResults::default() };
        assert!(faults(&row, &failed, &[]).concat().contains("p::t failed"));
        let passed = TestResults { passed: [name()].into(), ..TestResults::default() };
        assert!(faults(&row, &passed, &[]).is_empty());
        assert!(faults(&row, &none, &[name()]).is_empty());
        let skipped =
            TestResults { not_covered: [(name(), "why".to_owned())].into(), ..TestResults::default() };
        assert!(faults(&row, &skipped, &[]).is_empty());
    }
}
