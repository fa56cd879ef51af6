//! What `test`, `ci` and `full` run, in which order and within which time.

use anyhow::Result;

use crate::shell::{cargo, show};
use crate::stages::{Outcome, Stages};
use crate::tests_run::{TestResults, run_tests};
use crate::{bench, checker, fuzz, layering, mtr, oracle, promises, servers, setup, supply};

/// All tests, or those that the filter names.
pub(crate) fn test(filter: &[&str]) -> Result<bool> {
    let mut stages = Stages::default();
    prepare(&mut stages);
    let mut results = TestResults::default();
    stages.run("tests", 25, || tests(filter, &mut results));
    Ok(stages.finish(&servers::covered()))
}

/// Everything that must hold before a change lands.
pub(crate) fn ci() -> Result<bool> {
    let mut stages = Stages::default();
    stages.run("format", 1, || checked(cargo().args(["fmt", "--all", "--check"])));
    stages.run("layering", 1, layering::check);
    prepare(&mut stages);
    stages.run("supply", 7, supply::check);
    stages.run("clippy", 6, || {
        let args = ["clippy", "--workspace", "--all-targets", "--locked", "--"];
        checked(cargo().args(args).args(["-D", "warnings", "-D", "clippy::too_many_lines"]))
    });
    stages.run("docs", 4, || {
        let args = ["doc", "--workspace", "--no-deps", "--document-private-items", "--locked"];
        checked(cargo().args(args).env("RUSTDOCFLAGS", "-D warnings"))
    });
    let mut results = TestResults::default();
    stages.run("tests", 25, || tests(&[], &mut results));
    stages.run("doctests", 2, || {
        checked(cargo().args(["test", "--doc", "--workspace", "--locked", "--quiet"]))
    });
    stages.run("fuzz", 5, fuzz::check);
    stages.run("oracle", 4, oracle::sampled);
    stages.run("mtr", 4, mtr::sampled);
    stages.run("counts", 8, bench::check_counts);
    let held = stages.held();
    stages.run("promises", 1, || promises::check(&results, &held));
    Ok(stages.finish(&servers::covered()))
}

/// As [`ci`], and what takes longer than CI may: all that the oracle has, and ten million reads on each kind of server.
pub(crate) fn full() -> Result<bool> {
    let held = ci()?;
    let held = oracle::run(&[])? && held;
    let checked = ["mariadb", "mariadb_sid", "mysql_sid"].map(|on| checker::run(&["--on", on]).is_ok());
    Ok(held && checked == [true; 3])
}

fn prepare(stages: &mut Stages) {
    stages.run("setup", 4, setup::install);
    stages.run("servers", 5, || servers::make(false));
}

/// Builds the daemon, which the tests start, and runs them.
fn tests(filter: &[&str], results: &mut TestResults) -> Result<Outcome> {
    show(cargo().args(["build", "--package", "clonelove", "--locked"]))?;
    *results = run_tests(filter)?;
    Ok(Outcome {
        passed: results.passed.len(),
        failed: results.failed.clone(),
        not_covered: results.not_covered.iter().map(|(test, line)| format!("{line}: {test}")).collect(),
    })
}

fn checked(command: &mut std::process::Command) -> Result<Outcome> {
    show(command).map(|()| Outcome::check())
}

#[cfg(test)]
mod tests {
    use crate::shell::workspace;

    #[test]
    fn the_script_runs_the_command() {
        let script = std::fs::read_to_string(workspace().join(".ci/run")).unwrap();
        assert_eq!(script.lines().last(), Some("exec cargo xtask ci"));
    }
}
