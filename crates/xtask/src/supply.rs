//! What the project depends on: licences, duplicates, bans, sources and advisories, as deny.toml has them.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use clonelove_testkit::cache_folder;

use crate::shell::{cargo, on_path, read, show, workspace};
use crate::stages::Outcome;

/// Checks all of it. The advisory database cannot be had everywhere: without it the rest is checked, and that is said.
pub(crate) fn check() -> Result<Outcome> {
    let deny = cargo_deny()?;
    let run = |checks: &[&str]| {
        let mut command = Command::new(&deny);
        command.current_dir(workspace()).args(["--color", "never", "--workspace", "--locked", "check"]);
        command.args(checks);
        command
    };
    show(run(&["--hide-inclusion-graph", "bans"]).arg("licenses").arg("sources"))?;
    let mut outcome = Outcome::check();
    if let Err(error) = read(&mut run(&["advisories"])) {
        let text = format!("{error:#}");
        if text.contains("failed to fetch advisory database") || text.contains("failed to load advisory") {
            outcome.not_covered.push(format!("NOT COVERED: advisories ({})", last_cause(&text)));
        } else {
            bail!("{text}");
        }
    }
    Ok(outcome)
}

/// The installed cargo-deny, else one built into the cache folder.
fn cargo_deny() -> Result<PathBuf> {
    if on_path("cargo-deny") {
        return Ok("cargo-deny".into());
    }
    let tools = cache_folder()?.join("tools");
    let program = tools.join("bin/cargo-deny");
    if !program.is_file() {
        println!("cargo-deny is not installed: building it once, which takes some minutes");
        let build = tools.join("build");
        let args = ["install", "cargo-deny", "--locked", "--quiet", "--root"];
        show(cargo().args(args).arg(&tools).arg("--target-dir").arg(&build))
            .context("cannot build cargo-deny")?;
        // Only the program is wanted.
        let _ = std::fs::remove_dir_all(&build);
    }
    Ok(program)
}

fn last_cause(text: &str) -> String {
    text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default().to_owned()
}
