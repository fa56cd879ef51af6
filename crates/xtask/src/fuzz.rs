//! `cargo xtask fuzz`: what must hold for any bytes, under cargo-fuzz where that and a nightly compiler are installed,
//! else by a plain loop of our own without sanitizers; and the committed corpora as plain tests. Owns the running; the
//! targets are the crate's in `fuzz/`, which is outside the workspace.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};

use crate::shell::{cargo, on_path, show, target_folder, workspace};
use crate::stages::Outcome;

const USAGE: &str = "cargo xtask fuzz [TARGET] [--seconds N] [--seed S]";

/// How long each target runs when a person asks.
const HOUR: u64 = 3600;

/// And in CI.
const SHORT: u64 = 10;

/// What is to be run.
#[derive(Debug, PartialEq, Eq)]
struct Ask<'a> {
    target: Option<&'a str>,
    seconds: u64,
    seed: u64,
}

/// Runs what was asked for; false when a target does not hold.
pub(crate) fn run(args: &[&str]) -> Result<bool> {
    let outcome = fuzz(&Ask::parse(args)?)?;
    outcome.failed.iter().for_each(|target| println!("FAILED: {target}"));
    outcome.not_covered.iter().for_each(|line| println!("{line}"));
    Ok(outcome.failed.is_empty())
}

/// The stage of CI.
pub(crate) fn check() -> Result<Outcome> {
    fuzz(&Ask { target: None, seconds: SHORT, seed: 1 })
}

fn fuzz(ask: &Ask<'_>) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let targets: Vec<String> =
        targets()?.into_iter().filter(|name| ask.target.is_none_or(|wanted| wanted == name)).collect();
    if targets.is_empty() {
        bail!("no such target: those in fuzz/fuzz_targets are");
    }
    note(&mut outcome, "corpora", show(of_fuzz(cargo().args(["test", "--quiet", "--locked"]))));
    let covered = has_cargo_fuzz();
    if !covered {
        outcome.not_covered.push(
            "NOT COVERED: coverage and sanitizers of fuzzing (cargo install cargo-fuzz, and a nightly compiler)"
                .to_owned(),
        );
        show(of_fuzz(cargo().args(["build", "--quiet", "--release", "--locked", "--bin", "plain"])))?;
    }
    let run = |target: &String| if covered { by_cargo_fuzz(target, ask) } else { plainly(target, ask) };
    // One for each processor, at the same time.
    for batch in targets.chunks(std::thread::available_parallelism().map_or(1, usize::from)) {
        let ran: Vec<Result<()>> = std::thread::scope(|scope| {
            let running: Vec<_> = batch.iter().map(|target| scope.spawn(|| run(target))).collect();
            let ended = |one: std::thread::ScopedJoinHandle<'_, Result<()>>| {
                one.join().unwrap_or_else(|_| Err(anyhow!("it could not be run")))
            };
            running.into_iter().map(ended).collect()
        });
        batch.iter().zip(ran).for_each(|(target, ran)| note(&mut outcome, target, ran));
    }
    Ok(outcome)
}

fn note(outcome: &mut Outcome, name: &str, ran: Result<()>) {
    match ran {
        Ok(()) => outcome.passed += 1,
        Err(error) => outcome.failed.push(format!("fuzz {name}: {error:#}")),
    }
}

/// Every file for cargo-fuzz is a target; a test there sees to it that each is one for the plain loop too.
fn targets() -> Result<Vec<String>> {
    let folder = workspace().join("fuzz/fuzz_targets");
    let files = std::fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    let mut names = Vec::new();
    for file in files {
        let path = file?.path();
        names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

fn has_cargo_fuzz() -> bool {
    let nightly = || Command::new("cargo").args(["+nightly", "--version"]).output();
    on_path("cargo-fuzz") && nightly().is_ok_and(|output| output.status.success())
}

fn by_cargo_fuzz(target: &str, ask: &Ask<'_>) -> Result<()> {
    let mut command = Command::new("cargo");
    command.current_dir(workspace());
    let name = ["+nightly", "fuzz", "run", "--features", "libfuzzer", target, "--"];
    show(command.args(name).args([
        format!("-max_total_time={}", ask.seconds),
        format!("-seed={}", ask.seed),
        "-timeout=10".to_owned(),
    ]))
}

fn plainly(target: &str, ask: &Ask<'_>) -> Result<()> {
    let mut plain = Command::new(built().join("release/plain"));
    show(plain.args([target, &ask.seconds.to_string(), &ask.seed.to_string()]))
}

/// Has cargo work in `fuzz/`, with what it builds beside all else.
fn of_fuzz(cargo: &mut Command) -> &mut Command {
    cargo.current_dir(workspace().join("fuzz")).env("CARGO_TARGET_DIR", built())
}

fn built() -> PathBuf {
    target_folder().join("fuzz")
}

impl<'a> Ask<'a> {
    fn parse(args: &[&'a str]) -> Result<Ask<'a>> {
        let mut ask = Ask { target: None, seconds: HOUR, seed: 1 };
        let mut words = args.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} wants a value"));
            match *word {
                "--seconds" => ask.seconds = value()?.parse()?,
                "--seed" => ask.seed = value()?.parse()?,
                option if option.starts_with('-') => bail!("not understood: {option}; `{USAGE}`"),
                target => ask.target = Some(target),
            }
        }
        Ok(ask)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_understood() {
        let hour = Ask { target: None, seconds: HOUR, seed: 1 };
        assert_eq!(Ask::parse(&[]).unwrap(), hour);
        let asked = ["sql_cache", "--seconds", "5", "--seed", "7"];
        assert_eq!(Ask::parse(&asked).unwrap(), Ask { target: Some("sql_cache"), seconds: 5, seed: 7 });
        assert!(Ask::parse(&["--minutes"]).is_err() && Ask::parse(&["--seed"]).is_err());
    }

    #[test]
    fn the_targets_are_found() {
        assert!(targets().unwrap().contains(&"sql_analyse".to_owned()));
    }
}
