//! The project's own commands. Each is what a person types and what CI types; there is no third way.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program speaks to its caller")]

mod bench;
mod checker;
mod ci;
mod demo;
mod fuzz;
mod layering;
mod mtr;
mod oracle;
mod promises;
mod servers;
mod setup;
mod shell;
mod stages;
mod supply;
mod tests_run;

use std::process::ExitCode;

use anyhow::{Result, bail};

const USAGE: &str = "\
cargo xtask demo [--for 20s]   clonelove in front of a real primary and two replicas, with traffic to watch
cargo xtask test [FILTER]      all tests, or those whose names contain FILTER, real servers included
cargo xtask ci                 everything that must hold before a change lands
cargo xtask full               ci, and the long runs that only a command asks for
cargo xtask bench [--quick]    beside a direct connection, a blind relay and peers; --counts, --freshness, --sysbench
cargo xtask oracle             the analysis against real servers: MariaDB's own tests and the recordings
cargo xtask mtr                MariaDB's own tests through clonelove, those that pass directly; --list finds these out
cargo xtask fuzz [TARGET]      what must hold for any bytes, each target for an hour; --seconds N, --seed S
cargo xtask checker [--reads N] reads against what was acknowledged before, while servers lag and die
cargo xtask layering           the layout's rules alone, in a second
cargo xtask servers [--again]  make the Debian sid roots with other servers (--again: remake them)
cargo xtask setup              install what the tests need with apt and npm";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the command; `false` is a failure that has been told already.
fn run(words: &[&str]) -> Result<bool> {
    match words {
        ["demo", rest @ ..] => demo::run(rest),
        ["test", filter @ ..] => ci::test(filter),
        ["ci"] => ci::ci(),
        ["full"] => ci::full(),
        ["bench", rest @ ..] => bench::run(rest),
        ["oracle", rest @ ..] => oracle::run(rest),
        ["mtr", rest @ ..] => mtr::run(rest),
        ["fuzz", rest @ ..] => fuzz::run(rest),
        ["checker", rest @ ..] => checker::run(rest),
        ["layering"] => layering::check().map(|_| true),
        ["servers"] => servers::run(false),
        ["servers", "--again"] => servers::run(true),
        ["setup"] => setup::run(),
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(true)
        }
        _ => bail!("not understood: {words:?}\n{USAGE}"),
    }
}
