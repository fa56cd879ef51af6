//! `cargo xtask checker`: reads judged against what was acknowledged before they began, as many as wanted. Owns the
//! choice of how long and on what; the checker is a test, `tests/tests/e2e/checker.rs`, which CI runs for a minute.

use anyhow::{Context, Result, bail};

use crate::shell::{cargo, show, target_folder};

const USAGE: &str = "cargo xtask checker [--reads 10000000] [--on mariadb|mariadb_sid|mysql_sid] \
    [--freshness key|table|strict|session|eventual] [--troubles Nothing,ConstantLag,…] [--visitors 8]";

/// Runs the checker on one kind of server, with the daemon as it is released.
pub(crate) fn run(args: &[&str]) -> Result<bool> {
    let (mut reads, mut on) = ("10000000", "mariadb");
    let mut test = cargo();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let value = *args.next().with_context(|| format!("{arg} wants a value\n{USAGE}"))?;
        match *arg {
            "--reads" => reads = value,
            "--on" => on = value,
            "--freshness" => drop(test.env("CLONELOVE_CHECKER_FRESHNESS", value)),
            "--troubles" => drop(test.env("CLONELOVE_CHECKER_TROUBLES", value)),
            "--visitors" => drop(test.env("CLONELOVE_CHECKER_VISITORS", value)),
            _ => bail!("not understood: {arg}\n{USAGE}"),
        }
    }
    reads.parse::<u64>().with_context(|| format!("--reads {reads} is no number"))?;
    show(cargo().args(["build", "--release", "--package", "clonelove", "--locked"]))?;
    test.env("CLONELOVE_CHECKER_READS", reads);
    test.env("CLONELOVE_BIN", target_folder().join("release/clonelove"));
    let name = format!("checker::every_read_reflects_what_was_acknowledged_on_{on}");
    test.args(["test", "--package", "clonelove-tests", "--test", "e2e", "--locked", "--"]);
    show(test.args(["--exact", "--nocapture", &name]))?;
    Ok(true)
}
