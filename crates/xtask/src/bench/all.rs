//! `cargo xtask bench --all`: every table of docs/performance.md in one go. Owns which runs there are, in which order;
//! each is a process of its own, so that one that fails or hangs takes nothing else with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::contender::built;
use crate::shell::target_folder;

/// One run: its name, whether all of it is on one core, and what it is asked.
struct Part {
    name: &'static str,
    one_core: bool,
    args: &'static str,
}

const PARTS: [Part; 12] = [
    part("point", "--workload point --clients 1,16,128 --seconds 2 --rounds 5"),
    part("php", "--workload php --clients 16 --seconds 2 --rounds 5 --no-idle"),
    part(
        "statements",
        "--workload prepared,read_only,connect,rows,point/unix,point/tls --clients 16 --seconds 1.5 --rounds 3 --no-idle --no-syscalls",
    ),
    part(
        "rates",
        "--workload point@500,point@2000,point@8000 --clients 16 --seconds 1.5 --rounds 3 --no-idle --no-syscalls",
    ),
    part("far", "--workload php+0.5ms --clients 1,4,16 --seconds 1.5 --rounds 3 --no-idle --no-syscalls"),
    part("sites", "--workload drupal7,drupal10 --clients 16 --seconds 2 --rounds 3 --no-idle --no-syscalls"),
    part("writes", "--workload read_write --clients 8 --seconds 2 --rounds 3 --no-idle --no-syscalls"),
    part("stream", "--workload stream --clients 1,8 --seconds 3 --rounds 3 --no-idle --no-syscalls"),
    part(
        "beside",
        "--workload point~9900,point --clients 100 --contenders relay,clonelove --seconds 2 --rounds 3 --no-idle --no-syscalls",
    ),
    Part {
        name: "one-core",
        one_core: true,
        args: "--workload point --clients 16 --seconds 2 --rounds 5 --no-idle --no-syscalls",
    },
    part(
        "mysql",
        "--servers mysql-sid --workload point,prepared --clients 16 --seconds 1.5 --rounds 3 --no-idle --no-syscalls",
    ),
    part("many", "--workload point,drupal10 --clients 1000 --seconds 2 --rounds 3 --no-idle --no-syscalls"),
];

const fn part(name: &'static str, args: &'static str) -> Part {
    Part { name, one_core: false, args }
}

/// No part takes longer than this, unless it hangs.
const LONGEST: Duration = Duration::from_secs(420);

/// Runs all that has not been measured of this very build yet; `--anew` all of it. What fails is named and left out.
pub(crate) fn run(args: &[&str]) -> Result<bool> {
    super::build()?;
    let built = fs::metadata(built("clonelove"))?.modified()?;
    let folder = target_folder().join("bench/all");
    fs::create_dir_all(&folder)?;
    let (mut failed, begun) = (Vec::new(), Instant::now());
    for part in &PARTS {
        let table = folder.join(part.name).with_extension("md");
        let measured = || table.metadata().and_then(|file| file.modified()).is_ok_and(|at| at > built);
        if measured() && !args.contains(&"--anew") {
            println!("== {}: measured already", part.name);
            continue;
        }
        println!("== {} ({} s so far)", part.name, begun.elapsed().as_secs());
        let done = part.run();
        if !matches!(done, Ok(true)) || !measured() {
            println!("== {} failed: {done:?}", part.name);
            failed.push(part);
        }
    }
    let whole = write(&folder)?;
    println!("\nall tables: {}, charts beside them in {}", whole.display(), folder.display());
    for part in &failed {
        println!(
            "NOT MEASURED: {}; again by `cargo xtask bench --all`, alone by `{}`",
            part.name,
            part.command()
        );
    }
    Ok(failed.is_empty())
}

impl Part {
    /// What a person types.
    fn command(&self) -> String {
        let pin = if self.one_core { "taskset -c 0 " } else { "" };
        format!("{pin}cargo xtask bench {}", self.args)
    }

    fn run(&self) -> Result<bool> {
        let mut command = Command::new("timeout");
        command.arg(LONGEST.as_secs().to_string());
        if self.one_core {
            command.args(["taskset", "-c", "0"]);
        }
        command.arg(std::env::current_exe()?);
        command.arg("bench").args(self.args.split(' ')).args(["--as", &format!("all/{}", self.name)]);
        Ok(command.status().context("the run did not start")?.success())
    }
}

/// All tables in one file, each behind its command.
fn write(folder: &Path) -> Result<PathBuf> {
    let mut text = String::new();
    for part in &PARTS {
        if let Ok(table) = fs::read_to_string(folder.join(part.name).with_extension("md")) {
            text.push_str(&format!("\n`{}`\n\n{table}", part.command()));
        }
    }
    let whole = folder.with_extension("md");
    fs::write(&whole, text)?;
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::super::Plan;
    use super::*;

    #[test]
    fn every_part_is_understood_and_has_a_name_of_its_own() {
        for (at, part) in PARTS.iter().enumerate() {
            let args: Vec<&str> = part.args.split(' ').collect();
            let plan = Plan::parse(&args).unwrap();
            plan.asks().unwrap();
            assert!(PARTS.iter().skip(at + 1).all(|other| other.name != part.name), "{}", part.name);
        }
    }

    #[test]
    fn added_latency_is_measured_at_more_than_one_rate() {
        let rates: Vec<&str> = PARTS
            .iter()
            .flat_map(|part| part.args.split([' ', ',']))
            .filter(|word| word.contains('@'))
            .collect();
        assert_eq!(rates, ["point@500", "point@2000", "point@8000"]);
    }
}
