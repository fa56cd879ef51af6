//! Runs the tests with nextest where it is installed, else binary by binary, and knows each test's fate.
//!
//! A test's full name is `package::name` for unit tests and `package::binary::name` for integration tests.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use clonelove_testkit::{NOT_COVERED_ENV, TEST_BINARY_ENV};

use crate::shell::{cargo, on_path, read, target_folder, workspace};

/// What became of the tests.
#[derive(Debug, Default)]
pub(crate) struct TestResults {
    /// Full names.
    pub(crate) passed: BTreeSet<String>,
    /// Full names.
    pub(crate) failed: Vec<String>,
    /// Full names, and what each did not cover and why. Such a test counts as skipped, not as passed.
    pub(crate) not_covered: BTreeMap<String, String>,
}

/// Runs the tests whose names contain one of the words of `filter`; all when there is none.
pub(crate) fn run_tests(filter: &[&str]) -> Result<TestResults> {
    let list = target_folder().join("not-covered.txt");
    fs::create_dir_all(target_folder())?;
    fs::write(&list, "")?;
    let mut results =
        if on_path("cargo-nextest") { with_nextest(filter, &list)? } else { one_by_one(filter, &list)? };
    results.take_not_covered(&fs::read_to_string(&list)?);
    Ok(results)
}

impl TestResults {
    /// Reads the lines that tests left: what and why, a tab, the test.
    fn take_not_covered(&mut self, lines: &str) {
        for (line, test) in lines.lines().filter_map(|line| line.split_once('\t')) {
            self.passed.remove(test);
            self.not_covered.insert(test.to_owned(), line.to_owned());
        }
    }
}

fn with_nextest(filter: &[&str], list: &Path) -> Result<TestResults> {
    // nextest keeps its store there whatever the target folder is.
    let report = workspace().join("target/nextest/default/junit.xml");
    let _ = fs::remove_file(&report);
    let args = ["nextest", "run", "--workspace", "--locked", "--no-fail-fast", "--no-tests=pass"];
    let status = cargo().args(args).args(filter).env(NOT_COVERED_ENV, list).status()?;
    let Ok(text) = fs::read_to_string(&report) else {
        anyhow::bail!("nextest ended ({status}) without a report: the tests do not build, or none was run");
    };
    let results = parse_junit(&text);
    if !status.success() && results.failed.is_empty() {
        anyhow::bail!("nextest ended: {status}");
    }
    Ok(results)
}

/// Reads nextest's report: a `testcase` has the binary's id as `classname`; a failed one is not closed at once and
/// has a `failure` or `error` inside.
fn parse_junit(text: &str) -> TestResults {
    let mut results = TestResults::default();
    for case in text.split("<testcase ").skip(1) {
        let (head, rest) = case.split_once('>').unwrap_or((case, ""));
        let (Some(name), Some(class)) = (attribute(head, "name"), attribute(head, "classname")) else {
            continue;
        };
        let full = format!("{class}::{name}");
        let body = rest.split("</testcase>").next().unwrap_or_default();
        if !head.ends_with('/') && (body.contains("<failure") || body.contains("<error")) {
            results.failed.push(full);
        } else {
            results.passed.insert(full);
        }
    }
    results
}

fn attribute(head: &str, name: &str) -> Option<String> {
    let rest = head.split(&format!("{name}=\"")).nth(1).filter(|_| head.contains(&format!("{name}=\"")))?;
    let value = rest.split('"').next()?;
    Some(value.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
}

/// A test program, its full name's beginning, and the folder it runs in.
struct TestProgram {
    id: String,
    executable: PathBuf,
    folder: PathBuf,
}

fn one_by_one(filter: &[&str], list: &Path) -> Result<TestResults> {
    println!(
        "cargo-nextest is not installed: the test programs run one after the other, without time limits"
    );
    let mut results = TestResults::default();
    for program in test_programs()? {
        let mut command = Command::new(&program.executable);
        command.args(["--test-threads=2", "--color=never"]).args(filter).current_dir(&program.folder);
        command.env(NOT_COVERED_ENV, list).env(TEST_BINARY_ENV, &program.id);
        command.env("CARGO_MANIFEST_DIR", &program.folder);
        let output = command.stdin(Stdio::null()).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        println!("--- {}\n{text}", program.id);
        if !output.status.success() {
            println!("{}", String::from_utf8_lossy(&output.stderr));
        }
        let before = results.failed.len();
        add_libtest_lines(&program.id, &text, &mut results);
        if !output.status.success() && results.failed.len() == before {
            results.failed.push(format!("{} ({})", program.id, output.status));
        }
    }
    Ok(results)
}

fn add_libtest_lines(id: &str, text: &str, results: &mut TestResults) {
    for line in text.lines() {
        let Some((name, fate)) = line.strip_prefix("test ").and_then(|rest| rest.rsplit_once(" ... ")) else {
            continue;
        };
        let full = format!("{id}::{}", name.trim_end_matches(" - should panic"));
        match fate {
            "ok" => {
                results.passed.insert(full);
            }
            "FAILED" => results.failed.push(full),
            _ => {}
        }
    }
}

fn test_programs() -> Result<Vec<TestProgram>> {
    let args = ["test", "--workspace", "--locked", "--no-run", "--message-format=json"];
    let messages = read(cargo().args(args)).context("the tests do not build")?;
    let mut programs = Vec::new();
    for line in messages.lines() {
        let message: serde_json::Value = serde_json::from_str(line)?;
        let text = |pointer: &str| message.pointer(pointer).and_then(serde_json::Value::as_str);
        let (Some(executable), Some(manifest)) = (text("/executable"), text("/manifest_path")) else {
            continue;
        };
        let folder = Path::new(manifest).parent().unwrap_or(Path::new("/")).to_path_buf();
        let package = package_name(&folder)?;
        let target = text("/target/name").unwrap_or_default();
        let id = match text("/target/kind/0") {
            Some("lib") => package,
            Some("bin") => format!("{package}::bin/{target}"),
            _ => format!("{package}::{target}"),
        };
        if message.pointer("/profile/test") == Some(&serde_json::Value::Bool(true)) {
            programs.push(TestProgram { id, executable: executable.into(), folder });
        }
    }
    Ok(programs)
}

/// The folder's name is the package's name, but for the two that stand at the root.
fn package_name(folder: &Path) -> Result<String> {
    let name = folder.file_name().context("a package without a folder")?.to_string_lossy();
    Ok(if folder.parent() == Some(&workspace()) { format!("clonelove-{name}") } else { name.into_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_junit_report_is_read() {
        let text = r#"<testsuites><testsuite name="a::b" tests="2">
            <testcase name="m::good" classname="a::b" timestamp="x" time="0.1"></testcase>
            <testcase name="m::short" classname="a" time="0.1"/>
            <testcase name="m::bad" classname="a::b" time="1"><failure type="x">boo</failure></testcase>
            </testsuite></testsuites>"#;
        let results = parse_junit(text);
        assert_eq!(results.passed.into_iter().collect::<Vec<_>>(), ["a::b::m::good", "a::m::short"]);
        assert_eq!(results.failed, ["a::b::m::bad"]);
    }

    #[test]
    fn a_test_that_did_not_cover_is_not_counted_as_passed() {
        let mut results =
            TestResults { passed: BTreeSet::from(["a::t".to_owned()]), ..TestResults::default() };
        results.take_not_covered("NOT COVERED: x (why)\ta::t\n");
        assert!(results.passed.is_empty());
        assert_eq!(results.not_covered.get("a::t").map(String::as_str), Some("NOT COVERED: x (why)"));
    }

    #[test]
    fn the_lines_of_a_test_program_are_read() {
        let mut results = TestResults::default();
        let text = "running 3 tests\ntest m::good ... ok\ntest m::bad ... FAILED\ntest m::not ... ignored\n";
        add_libtest_lines("a", text, &mut results);
        assert_eq!(results.passed.into_iter().collect::<Vec<_>>(), ["a::m::good"]);
        assert_eq!(results.failed, ["a::m::bad"]);
    }
}
