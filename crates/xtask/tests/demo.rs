//! `cargo xtask demo`, as a person runs it: it ends in good order by itself and by Ctrl-C, and leaves nothing behind.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use anyhow::{Context, Result, ensure};

/// Three servers, clonelove, and the visitors.
const PROCESSES: usize = 3 + 1 + 5;

#[test]
fn it_ends_by_itself_with_a_summary_and_leaves_nothing() -> Result<()> {
    let mut demo = Demo::start(&["--for", "5s"])?;
    let children = demo.wait_for_traffic()?;
    let (status, said) = demo.end()?;
    assert!(status.success(), "{status}: {said}");
    assert_eq!(nothing_left(demo.process.id(), &children), [""; 0]);
    let summary = summary(&said);
    assert!(summary[0] > 0 && summary[1] > summary[0], "{said}");
    assert_eq!(summary.last(), Some(&0), "errors: {said}");
    assert!(said.contains("replica    read ") && said.contains("primary    transaction "), "{said}");
    assert!(said.contains("goes to   "), "no statement was explained: {said}");
    Ok(())
}

#[test]
fn ctrl_c_ends_all_that_it_started() -> Result<()> {
    let mut demo = Demo::start(&[])?;
    let children = demo.wait_for_traffic()?;
    let pid = demo.process.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status()?.success());
    let (status, said) = demo.end()?;
    assert!(status.success(), "{status}: {said}");
    assert!(said.contains("because it was asked to"), "{said}");
    assert_eq!(summary(&said).last(), Some(&0), "errors: {said}");
    assert_eq!(nothing_left(demo.process.id(), &children), [""; 0]);
    Ok(())
}

#[test]
fn arguments_that_are_not_understood_start_nothing() {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask")).args(["demo", "--for", "soon"]).output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("write 20s"));
    assert!(output.stdout.is_empty());
}

/// A running demo.
struct Demo {
    process: Child,
    output: BufReader<ChildStdout>,
    said: String,
}

impl Demo {
    fn start(args: &[&str]) -> Result<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.arg("demo").args(args).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = command.spawn()?;
        let output = BufReader::new(process.stdout.take().context("no output")?);
        Ok(Self { process, output, said: String::new() })
    }

    /// Reads until visitors have been served; answers the processes that run then.
    fn wait_for_traffic(&mut self) -> Result<Vec<u32>> {
        loop {
            let mut line = String::new();
            let read = self.output.read_line(&mut line)?;
            self.said.push_str(&line);
            ensure!(read > 0, "it ended before there was traffic: {}", self.said);
            if line.contains("] requests ") && !line.contains("] requests 0,") {
                break;
            }
        }
        let children = children_of(self.process.id());
        ensure!(children.len() >= PROCESSES, "{children:?}: {}", self.said);
        Ok(children)
    }

    fn end(&mut self) -> Result<(ExitStatus, String)> {
        self.output.read_to_string(&mut self.said)?;
        Ok((self.process.wait()?, std::mem::take(&mut self.said)))
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // One that has ended already is no fault.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The numbers of the last line.
fn summary(said: &str) -> Vec<u64> {
    let last = said.lines().last().unwrap_or_default();
    assert!(last.starts_with("summary: ") && last.contains("% of the reads on replicas"), "{said}");
    last.split([' ', ',']).filter_map(|word| word.parse().ok()).collect()
}

/// What is still there of a demo that has ended: its processes, its sandboxes.
fn nothing_left(pid: u32, children: &[u32]) -> Vec<String> {
    let running = children.iter().filter(|child| parent_of(**child).is_some());
    let mut left: Vec<String> = running.map(|child| format!("process {child}")).collect();
    for base in [PathBuf::from("/dev/shm"), std::env::temp_dir()] {
        for sandboxes in entries(&base).filter(|path| named(path, "clonelove-")) {
            let own = entries(&sandboxes).filter(|path| named(path, &format!("{pid}-")));
            left.extend(own.map(|path| path.display().to_string()));
        }
    }
    left
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn named(path: &Path, prefix: &str) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix))
}

fn children_of(pid: u32) -> Vec<u32> {
    let all = entries(Path::new("/proc"))
        .filter_map(|path| path.file_name().and_then(|name| name.to_str()?.parse().ok()));
    all.filter(|child| parent_of(*child) == Some(pid)).collect()
}

/// The parent of a process that has not ended.
fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may have blanks in it.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    fields.next()?.parse().ok().filter(|_| state != "Z")
}
