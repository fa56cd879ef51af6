//! `cargo xtask bench --counts`: instructions and allocations by valgrind, which do not depend on how busy the machine
//! is, against the bounds in `benches/bounds.txt`. Owns the comparison; what is counted is the `micro` program's.

use std::process::Command;

use anyhow::{Context, Result, bail};

use super::contender::built;
use crate::shell::{cargo, on_path, show, workspace};
use crate::stages::Outcome;

/// A case may be so much cheaper than its bound before the bound is to be lowered.
const SLACK: f64 = 0.75;

/// What one iteration of a case may take.
#[derive(Debug, PartialEq, Eq)]
struct Bound<'a> {
    case: &'a str,
    instructions: u64,
    allocations: u64,
}

/// Counts every case whose name contains the argument; false when one is above its bound.
pub(crate) fn run(args: &[&str]) -> Result<bool> {
    let outcome = check(args.first().copied().unwrap_or_default())?;
    outcome.failed.iter().for_each(|case| println!("above its bound: {case}"));
    Ok(outcome.failed.is_empty())
}

/// The same as a stage of CI.
pub(crate) fn check(wanted: &str) -> Result<Outcome> {
    if !on_path("valgrind") {
        bail!("no valgrind on PATH: apt-get install valgrind");
    }
    show(cargo().args(["build", "--release", "--locked", "-p", "clonelove-micro"]))?;
    let file = workspace().join("benches/bounds.txt");
    let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let mut outcome = Outcome::default();
    println!("{:<24} {:>14} {:>14} {:>12} {:>8}", "", "instructions", "bound", "allocations", "bound");
    for Bound { case, instructions, allocations } in
        bounds(&text)?.into_iter().filter(|bound| bound.case.contains(wanted))
    {
        let (took, allocated) = (count(case, instructions_of)?, count(case, allocations_of)?);
        let verdict = if took > instructions || allocated > allocations {
            outcome.failed.push(format!("micro {case}"));
            "  ABOVE ITS BOUND"
        } else {
            outcome.passed += 1;
            let far_below = (took as f64) < instructions as f64 * SLACK || allocated < allocations;
            if far_below { "  far below: lower the bound" } else { "" }
        };
        println!("{case:<24} {took:>14} {instructions:>14} {allocated:>12} {allocations:>8}{verdict}");
    }
    Ok(outcome)
}

/// `case instructions allocations` on every line that is no comment.
fn bounds(text: &str) -> Result<Vec<Bound<'_>>> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [case, instructions, allocations] = words.as_slice() else {
                bail!("not a case and its two bounds: {line}")
            };
            let number =
                |word: &str| word.replace('_', "").parse().with_context(|| format!("no number: {line}"));
            Ok(Bound { case, instructions: number(instructions)?, allocations: number(allocations)? })
        })
        .collect()
}

/// Of one iteration: what many of them take more than few.
fn count(case: &str, of: fn(&str, u64) -> Result<u64>) -> Result<u64> {
    const FEW: u64 = 10;
    const MANY: u64 = 30;
    let (few, many) = (of(case, FEW)?, of(case, MANY)?);
    Ok(many.saturating_sub(few) / (MANY - FEW))
}

fn instructions_of(case: &str, times: u64) -> Result<u64> {
    let said =
        valgrind(&["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"], case, times)?;
    let line = said.lines().find(|line| line.contains("I refs:") || line.contains("I   refs:"));
    number(line.and_then(|line| line.rsplit(' ').next()).context("valgrind told no I refs")?)
}

fn allocations_of(case: &str, times: u64) -> Result<u64> {
    let said = valgrind(&["--tool=dhat", "--dhat-out-file=/dev/null"], case, times)?;
    let line = said.lines().find(|line| line.contains("Total:") && line.ends_with(" blocks"));
    number(line.and_then(|line| line.rsplit(' ').nth(1)).context("valgrind told no blocks")?)
}

fn number(word: &str) -> Result<u64> {
    Ok(word.replace(',', "").parse()?)
}

fn valgrind(options: &[&str], case: &str, times: u64) -> Result<String> {
    let mut command = Command::new("valgrind");
    command.args(options).arg(built("micro")).args(["repeat", case, &times.to_string()]);
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        bail!("valgrind: {}: {said}", output.status);
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_read() {
        let known = Bound { case: "a", instructions: 1000, allocations: 2 };
        assert_eq!(bounds("# why\n\na  1_000 2\n").unwrap(), [known]);
        assert!(bounds("a 1\n").is_err() && bounds("a x 1\n").is_err());
    }

    #[test]
    fn the_projects_bounds_can_be_read() {
        let text = std::fs::read_to_string(workspace().join("benches/bounds.txt")).unwrap();
        assert!(!bounds(&text).unwrap().is_empty());
    }
}
