//! Saying aloud what a run did not cover, so that nothing is skipped in silence.

use std::io::Write;

/// Names the file that collects the lines of a whole run; `cargo xtask test` sets it and counts them.
pub const NOT_COVERED_ENV: &str = "CLONELOVE_NOT_COVERED";
/// Names the test program that runs, as nextest does by itself.
pub const TEST_BINARY_ENV: &str = "NEXTEST_BINARY_ID";

/// Prints `NOT COVERED: what (why)` and adds the line to the run's list, with a tab and the full name of the test.
/// To be called in the test's own thread, which bears its name.
#[expect(clippy::print_stderr, reason = "the harness captures it with the test's output")]
pub fn not_covered(what: &str, why: &str) {
    let line = format!("NOT COVERED: {what} ({})", why.split_whitespace().collect::<Vec<_>>().join(" "));
    eprintln!("{line}");
    let Some(path) = std::env::var_os(NOT_COVERED_ENV) else { return };
    let written = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .and_then(|mut file| file.write_all(format!("{line}\t{}\n", this_test()).as_bytes()));
    if let Err(error) = written {
        eprintln!("cannot add to {}: {error}", path.display());
    }
}

fn this_test() -> String {
    let binary = std::env::var(TEST_BINARY_ENV).unwrap_or_default();
    format!("{binary}::{}", std::thread::current().name().unwrap_or_default())
}
