//! `cargo xtask bench --counts`: instructions by valgrind, which do not depend on how busy the machine is, against
//! the bounds in `benches/instruction-bounds.txt`. Owns the comparison; what is counted is the `micro` program's.

use std::process::Command;

use anyhow::{Context, Result, bail};

use super::contender::built;
use crate::shell::{cargo, on_path, show, workspace};

/// A case may be so much cheaper than its bound before the bound is to be lowered.
const SLACK: f64 = 0.75;

/// Counts every case; false when one is above its bound.
pub(crate) fn run(args: &[&str]) -> Result<bool> {
    let wanted = args.first().copied().unwrap_or_default();
    if !on_path("valgrind") {
        bail!("no valgrind on PATH: apt-get install valgrind");
    }
    show(cargo().args(["build", "--release", "--locked", "-p", "clonelove-benches", "--bin", "micro"]))?;
    let file = workspace().join("benches/instruction-bounds.txt");
    let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let mut held = true;
    println!("{:<24} {:>14} {:>14}", "instructions", "counted", "bound");
    for (case, bound) in bounds(&text)?.into_iter().filter(|(case, _)| case.contains(wanted)) {
        let counted = count(case)?;
        let verdict = if counted > bound {
            held = false;
            "  ABOVE ITS BOUND"
        } else if (counted as f64) < bound as f64 * SLACK {
            "  far below: lower the bound"
        } else {
            ""
        };
        println!("{case:<24} {counted:>14} {bound:>14}{verdict}");
    }
    Ok(held)
}

/// `case bound` on every line that is no comment.
fn bounds(text: &str) -> Result<Vec<(&str, u64)>> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (case, bound) =
                line.split_once(char::is_whitespace).with_context(|| format!("no bound: {line}"))?;
            let bound =
                bound.trim().replace('_', "").parse().with_context(|| format!("no number: {line}"))?;
            Ok((case, bound))
        })
        .collect()
}

/// Instructions of one iteration: what many of them take more than few.
fn count(case: &str) -> Result<u64> {
    const FEW: u64 = 10;
    const MANY: u64 = 30;
    let (few, many) = (instructions(case, FEW)?, instructions(case, MANY)?);
    Ok(many.saturating_sub(few) / (MANY - FEW))
}

fn instructions(case: &str, times: u64) -> Result<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"])
        .arg(built("micro"))
        .args(["repeat", case, &times.to_string()])
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("valgrind: {}: {said}", output.status);
    }
    let line = said.lines().find(|line| line.contains("I refs:") || line.contains("I   refs:"));
    let number = line.and_then(|line| line.rsplit(' ').next()).context("valgrind told no I refs")?;
    Ok(number.replace(',', "").parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_read() {
        assert_eq!(bounds("# why\n\na  1_000\nb 2\n").unwrap(), [("a", 1000), ("b", 2)]);
        assert!(bounds("a\n").is_err() && bounds("a x\n").is_err());
    }

    #[test]
    fn the_projects_bounds_can_be_read() {
        let text = std::fs::read_to_string(workspace().join("benches/instruction-bounds.txt")).unwrap();
        assert!(!bounds(&text).unwrap().is_empty());
    }
}
