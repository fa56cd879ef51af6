//! The stages of a run: each with a budget, a time and an outcome; the last line sums them up.

use std::time::{Duration, Instant};

use anyhow::Result;

/// What a stage found.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Tests that passed.
    pub(crate) passed: usize,
    /// Tests that failed, by name.
    pub(crate) failed: Vec<String>,
    /// What was not covered, and why.
    pub(crate) not_covered: Vec<String>,
}

impl Outcome {
    /// A check that held.
    pub(crate) fn check() -> Self {
        Self { passed: 1, ..Self::default() }
    }
}

/// The stages run so far.
#[derive(Debug, Default)]
pub(crate) struct Stages {
    rows: Vec<(&'static str, Duration, Duration, bool)>,
    total: Outcome,
}

impl Stages {
    /// Runs one. An error counts as one failure; later stages run all the same. Gives back whether it held.
    pub(crate) fn run(
        &mut self,
        name: &'static str,
        budget_minutes: u64,
        stage: impl FnOnce() -> Result<Outcome>,
    ) -> bool {
        println!("\n=== {name}");
        let begun = Instant::now();
        let outcome = stage().unwrap_or_else(|error| {
            println!("{name} FAILED: {error:#}");
            Outcome { failed: vec![format!("stage {name}")], ..Outcome::default() }
        });
        let held = outcome.failed.is_empty();
        self.rows.push((name, begun.elapsed(), Duration::from_secs(60 * budget_minutes), held));
        self.total.passed += outcome.passed;
        self.total.failed.extend(outcome.failed);
        self.total.not_covered.extend(outcome.not_covered);
        held
    }

    /// Prints the table, what failed, and as the very last line the sum. Gives back whether all held.
    pub(crate) fn finish(self, covered: &[String]) -> bool {
        println!("\n{:<12} {:>9} {:>9}", "stage", "time", "budget");
        for (name, time, budget, held) in &self.rows {
            let verdict = if *held { "" } else { "  FAILED" };
            let late = if time > budget { "  OVER BUDGET" } else { "" };
            println!("{name:<12} {:>8.1}s {:>8}s{verdict}{late}", time.as_secs_f64(), budget.as_secs());
        }
        let all: Duration = self.rows.iter().map(|(_, time, _, _)| *time).sum();
        println!("{:<12} {:>8.1}s", "together", all.as_secs_f64());
        for name in &self.total.failed {
            println!("FAILED: {name}");
        }
        for line in covered {
            println!("covered: {line}");
        }
        for line in &self.total.not_covered {
            println!("{line}");
        }
        println!("{}", self.last_line());
        self.total.failed.is_empty()
    }

    /// The stages that held, as `stage::name`.
    pub(crate) fn held(&self) -> Vec<String> {
        self.rows.iter().filter(|row| row.3).map(|row| format!("stage::{}", row.0)).collect()
    }

    fn last_line(&self) -> String {
        let Outcome { passed, failed, not_covered } = &self.total;
        format!("{passed} passed, {} failed, {} skipped", failed.len(), not_covered.len())
    }
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn the_last_line_counts_tests_checks_failures_and_what_was_not_covered() {
        let mut stages = Stages::default();
        assert!(stages.run("check", 1, || Ok(Outcome::check())));
        assert!(!stages.run("broken", 1, || bail!("it is")));
        let tests = || {
            Ok(Outcome {
                passed: 7,
                failed: vec!["t".to_owned()],
                not_covered: vec!["NOT COVERED: x".to_owned()],
            })
        };
        assert!(!stages.run("tests", 1, tests));
        assert_eq!(stages.last_line(), "8 passed, 2 failed, 1 skipped");
        assert_eq!(stages.held(), ["stage::check"]);
        assert!(!stages.finish(&[]));
    }
}
