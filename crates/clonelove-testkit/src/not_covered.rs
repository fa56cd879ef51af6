//! Saying aloud what a run did not cover, so that nothing is skipped in silence.

use std::io::Write;

/// Names the file that collects the lines of a whole run; `cargo xtask test` sets it and counts them.
pub const NOT_COVERED_ENV: &str = "CLONELOVE_NOT_COVERED";

/// Prints `NOT COVERED: what (why)` and adds the line to the run's list.
#[expect(clippy::print_stderr, reason = "the harness captures it with the test's output")]
pub fn not_covered(what: &str, why: &str) {
    let line = format!("NOT COVERED: {what} ({})", why.split_whitespace().collect::<Vec<_>>().join(" "));
    eprintln!("{line}");
    let Some(path) = std::env::var_os(NOT_COVERED_ENV) else { return };
    let written = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .and_then(|mut file| writeln!(file, "{line}"));
    if let Err(error) = written {
        eprintln!("cannot add to {}: {error}", path.display());
    }
}
