//! The rules of the workspace's layout that neither the compiler nor clippy checks; docs/ARCHITECTURE.md has the why.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::shell::{cargo, read, workspace};
use crate::stages::Outcome;

/// Crates that are pure: no runtime, no sockets, no clocks, no files, no state of the process.
const PURE: [&str; 3] = ["clonelove-wire", "clonelove-sql", "clonelove-route"];
/// What must not be anywhere below a pure crate.
const NO_RUNTIME: [&str; 8] = ["tokio", "mio", "socket2", "hyper", "axum", "rustls", "async-std", "smol"];
/// What a pure crate's source must not say.
const IMPURE: [&str; 10] = [
    "std::net",
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "Instant::now",
    "SystemTime",
    "thread_local!",
    "tokio",
    "println!",
];
/// What the proxy's source must not say: it is given its settings.
const OUTSIDE: [&str; 6] = ["std::fs", "std::env", "tokio::fs", "toml::", "clap::", "axum::"];
/// What only the program itself may depend on.
const PROGRAM_ONLY: [&str; 3] = ["toml", "clap", "axum"];
/// Which of the product's crates each may depend on.
const MAY_USE: [(&str, &[&str]); 5] = [
    ("clonelove-wire", &[]),
    ("clonelove-sql", &[]),
    ("clonelove-route", &["clonelove-wire", "clonelove-sql"]),
    ("clonelove-proxy", &["clonelove-wire", "clonelove-sql", "clonelove-route"]),
    ("clonelove", &["clonelove-wire", "clonelove-sql", "clonelove-route", "clonelove-proxy"]),
];
const MAX_LINES: usize = 600;

/// Checks all rules and names every breach at once.
pub(crate) fn check() -> Result<Outcome> {
    let mut breaches = Vec::new();
    dependencies(&mut breaches)?;
    for name in PURE {
        runtime_below(name, &mut breaches)?;
        let root = workspace().join("crates").join(name).join("src/lib.rs");
        if !fs::read_to_string(&root)?.contains("#![forbid(unsafe_code)]") {
            breaches.push(format!("{}: wants #![forbid(unsafe_code)]", shown(&root)));
        }
    }
    for path in sources()? {
        let text = fs::read_to_string(&path).with_context(|| shown(&path))?;
        source_rules(&path, &text, &mut breaches);
    }
    if !breaches.is_empty() {
        bail!("\n{}", breaches.join("\n"));
    }
    Ok(Outcome::check())
}

/// Direct dependencies that point the wrong way.
fn dependencies(breaches: &mut Vec<String>) -> Result<()> {
    let text = read(cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&text)?;
    let packages = metadata.get("packages").and_then(Value::as_array).context("no packages")?;
    for package in packages {
        let name = package.get("name").and_then(Value::as_str).unwrap_or_default();
        let Some((_, allowed)) = MAY_USE.iter().find(|(product, _)| *product == name) else { continue };
        let all = package.get("dependencies").and_then(Value::as_array).context("no dependencies")?;
        // A dependency's kind is null when it is neither for tests nor for building.
        let normal = all.iter().filter(|dependency| dependency.get("kind").is_some_and(Value::is_null));
        for used in normal.filter_map(|dependency| dependency.get("name").and_then(Value::as_str)) {
            let ours = used.starts_with("clonelove") || used == "xtask";
            if ours && !allowed.contains(&used) {
                breaches.push(format!("{name} must not depend on {used}"));
            }
            if PROGRAM_ONLY.contains(&used) && name != "clonelove" {
                breaches.push(format!("{name} must not depend on {used}: only the program itself may"));
            }
        }
    }
    Ok(())
}

fn runtime_below(name: &str, breaches: &mut Vec<String>) -> Result<()> {
    let tree = read(cargo().args(["tree", "--package", name, "--edges", "normal", "--prefix", "none"]))?;
    for line in tree.lines() {
        let below = line.split(' ').next().unwrap_or_default();
        if NO_RUNTIME.contains(&below) {
            breaches.push(format!("{name} must stay pure, but has {below} below it"));
        }
    }
    Ok(())
}

/// Every Rust file that git knows or would take.
fn sources() -> Result<Vec<PathBuf>> {
    let args = ["ls-files", "--cached", "--others", "--exclude-standard", "--", "*.rs"];
    let list = read(Command::new("git").args(args).current_dir(workspace()))?;
    let files = list.lines().map(|line| workspace().join(line)).filter(|path| path.is_file());
    Ok(files.collect())
}

fn source_rules(path: &Path, text: &str, breaches: &mut Vec<String>) {
    let place = shown(path);
    let is_test = place.ends_with("tests.rs") || place.contains("/tests/") || place.starts_with("fuzz/");
    if is_test {
        return;
    }
    let first = text.lines().find(|line| !line.trim().is_empty() && !line.starts_with("#!"));
    if !first.is_some_and(|line| line.starts_with("//!")) {
        breaches.push(format!("{place}: wants a `//!` line that says what it owns"));
    }
    let code = before_tests(text);
    let lines = code.lines().count();
    if lines > MAX_LINES {
        breaches.push(format!("{place}: {lines} lines without its tests; at most {MAX_LINES}"));
    }
    let of = |name: &str| place.starts_with(&format!("crates/{name}/src/"));
    let pure = PURE.iter().any(|name| of(name));
    let forbidden: &[&str] = if pure {
        &IMPURE
    } else if of("clonelove-proxy") {
        &OUTSIDE
    } else {
        &[]
    };
    for (index, line) in code.lines().enumerate() {
        let line = line.split("//").next().unwrap_or_default();
        for word in forbidden.iter().filter(|word| line.contains(**word)) {
            breaches.push(format!("{place}:{}: must not use {word}", index + 1));
        }
        if (pure || of("clonelove-proxy")) && is_static(line) {
            breaches.push(format!("{place}:{}: no statics: state belongs to a value", index + 1));
        }
    }
}

/// The text up to its test module, which stands last.
fn before_tests(text: &str) -> &str {
    text.find("\n#[cfg(test)]\nmod ").and_then(|end| text.get(..end)).unwrap_or(text)
}

fn is_static(line: &str) -> bool {
    let mut words = line.split_whitespace().skip_while(|word| word.starts_with("pub"));
    words.next() == Some("static")
}

fn shown(path: &Path) -> String {
    path.strip_prefix(workspace()).unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaches(place: &str, text: &str) -> Vec<String> {
        let mut found = Vec::new();
        source_rules(&workspace().join(place), text, &mut found);
        found
    }

    #[test]
    fn a_clock_in_a_pure_crate_is_found_but_not_in_its_comments_and_tests() {
        let place = "crates/clonelove-wire/src/a.rs";
        let text =
            "//! A.\n// Instant::now\nfn f() {}\n#[cfg(test)]\nmod tests { fn g() { Instant::now(); } }\n";
        assert_eq!(breaches(place, text), Vec::<String>::new());
        assert_eq!(breaches(place, "//! A.\nfn f() { Instant::now(); }").len(), 1);
        assert_eq!(breaches("crates/clonelove/src/a.rs", "//! A.\nfn f() { Instant::now(); }").len(), 0);
    }

    #[test]
    fn statics_are_found_and_lifetimes_are_not() {
        let place = "crates/clonelove-route/src/a.rs";
        assert_eq!(breaches(place, "//! A.\npub(crate) static X: u8 = 1;").len(), 1);
        assert_eq!(breaches(place, "//! A.\nfn f(x: &'static str) {}").len(), 0);
    }

    #[test]
    fn a_file_that_is_too_long_or_does_not_say_what_it_owns_is_found() {
        let place = "crates/clonelove/src/a.rs";
        assert_eq!(breaches(place, &format!("//! A.\n{}", "\n".repeat(MAX_LINES))).len(), 1);
        assert_eq!(breaches(place, "fn f() {}").len(), 1);
    }
}
