//! The demo's application: visitors of a site in Drupal's manner, each a PHP process that makes a connection for every
//! request. Owns the processes and the tally of what they tell.

use std::io::{BufRead, BufReader, PipeReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clonelove_testkit::{APP_PASSWORD, APP_USER, Clonelove};
use serde_json::Value;

use super::{Event, visitor_script};

/// The schema that the site's tables are in.
pub(super) const SCHEMA: &str = "app";
/// Errors that are kept to be shown.
const SHOWN_ERRORS: usize = 3;

/// What the application saw.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Tally {
    /// Requests that ended, well or badly.
    pub(super) requests: u64,
    /// Statements of these.
    pub(super) statements: u64,
    /// Requests that ended in an error.
    pub(super) errors: u64,
    /// The last errors, the newest last.
    pub(super) last_errors: Vec<String>,
    /// Views that were older than a save made before them over another connection.
    pub(super) early: u64,
    /// A statement of the last request.
    pub(super) sample: Option<String>,
}

impl Tally {
    /// Takes what a visitor told: a line of JSON, or whatever PHP says when something is wrong.
    fn take(&mut self, line: &str) {
        let told: Value = serde_json::from_str(line).unwrap_or(Value::Null);
        let number = |key: &str| told.get(key).and_then(Value::as_u64);
        let Some(statements) = number("statements") else {
            self.fail(line);
            return;
        };
        self.requests += 1;
        self.statements += statements;
        self.early += number("early").unwrap_or_default();
        if let Some(sample) = told.get("sample").and_then(Value::as_str).filter(|sample| !sample.is_empty()) {
            self.sample = Some(sample.to_owned());
        }
        if let Some(error) = told.get("error").and_then(Value::as_str) {
            self.fail(error);
        }
    }

    fn fail(&mut self, error: &str) {
        self.errors += 1;
        self.last_errors.push(error.to_owned());
        if self.last_errors.len() > SHOWN_ERRORS {
            self.last_errors.remove(0);
        }
    }
}

/// The visitors; all end when it is dropped.
pub(super) struct Visitors {
    all: Vec<Visitor>,
    /// Whose turn it is.
    turn: usize,
    pub(super) tally: Tally,
}

struct Visitor {
    process: Child,
    /// A line on it asks for a request; its end ends the visitor.
    asks: Option<ChildStdin>,
    busy: bool,
    gone: bool,
}

impl Visitors {
    /// Starts them; they do nothing until they are asked.
    pub(super) fn enter(proxy: &Clonelove, count: usize, events: &Sender<Event>) -> Result<Self> {
        let mut all = Vec::new();
        for at in 0..count {
            let (said, output) = std::io::pipe()?;
            let mut command = php(proxy, &["visit", &(at + 1).to_string()]);
            command.stdin(Stdio::piped()).stdout(output.try_clone()?).stderr(output);
            let mut process = command.spawn().context("cannot start php")?;
            // The command holds the pipe's other end, which is to be the visitor's alone.
            drop(command);
            let asks = process.stdin.take();
            listen(at, said, events.clone());
            all.push(Visitor { process, asks, busy: false, gone: false });
        }
        Ok(Self { all, turn: 0, tally: Tally::default() })
    }

    /// Asks the next visitor who is free for a request; none when all are busy.
    pub(super) fn send_next(&mut self) {
        for _ in 0..self.all.len() {
            self.turn = (self.turn + 1) % self.all.len();
            let Some(visitor) = self.all.get_mut(self.turn) else { return };
            if !visitor.busy && !visitor.gone {
                visitor.busy = true;
                if let Some(asks) = &mut visitor.asks {
                    // One that has ended is told of by the end of its output.
                    let _ = asks.write_all(b"go\n");
                }
                return;
            }
        }
    }

    /// Takes what a visitor told.
    pub(super) fn hear(&mut self, event: Event) {
        match event {
            Event::Told(at, line) => {
                self.tally.take(&line);
                if let Some(visitor) = self.all.get_mut(at) {
                    visitor.busy = false;
                }
            }
            Event::Left(at) => {
                if let Some(visitor) = self.all.get_mut(at) {
                    visitor.gone = true;
                    if visitor.asks.is_some() {
                        self.tally.fail(&format!("visitor {} ended before its time", at + 1));
                    }
                }
            }
            Event::Interrupted => {}
        }
    }

    /// Whether none is left.
    pub(super) fn all_gone(&self) -> bool {
        self.all.iter().all(|visitor| visitor.gone)
    }

    /// No further requests; waits until those under way have ended, but not for ever.
    pub(super) fn leave(&mut self, events: &Receiver<Event>, patience: Duration) {
        for visitor in &mut self.all {
            visitor.asks = None;
        }
        let until = Instant::now() + patience;
        while !self.all_gone() {
            match events.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(event) => self.hear(event),
                Err(RecvTimeoutError::Timeout) => {
                    self.tally.fail(&format!("a request was not answered within {patience:?}"));
                    return;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        // One that has ended already is no fault.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Makes the site's tables, as the application does it: through clonelove.
pub(super) fn install(proxy: &Clonelove, visitors: usize) -> Result<()> {
    let mut command = php(proxy, &["install", &visitors.to_string()]);
    let output = command.stdin(Stdio::null()).output().context("cannot start php")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout);
        bail!("the site's tables could not be made: {}", said.trim());
    }
    Ok(())
}

fn php(proxy: &Clonelove, args: &[&str]) -> Command {
    let mut command = Command::new("php");
    // What PHP has to complain of stands among the lines that are read.
    command.args(["-d", "display_errors=1", "-d", "html_errors=0", "-d", "log_errors=0"]);
    command.arg(visitor_script()).args(args);
    let dsn = format!("mysql:host=127.0.0.1;port={};dbname={SCHEMA};charset=utf8mb4", proxy.port());
    command.env("DEMO_DSN", dsn).env("DEMO_USER", APP_USER).env("DEMO_PASSWORD", APP_PASSWORD);
    // A Ctrl-C is for the demo, which lets requests under way end.
    command.process_group(0);
    command
}

fn listen(at: usize, said: PipeReader, events: Sender<Event>) {
    std::thread::spawn(move || {
        for line in BufReader::new(said).lines().map_while(std::result::Result::ok) {
            if events.send(Event::Told(at, line)).is_err() {
                return;
            }
        }
        // When nobody listens any more the demo is at its end already.
        let _ = events.send(Event::Left(at));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_errors_and_what_is_no_request_are_told_apart() {
        let mut tally = Tally::default();
        tally.take(r#"{"request":"view","error":null,"statements":12,"sample":"SELECT 1","early":1}"#);
        tally.take(r#"{"request":"save","error":"boo","statements":3,"sample":"","early":0}"#);
        tally.take("PHP Fatal error: far from home");
        assert_eq!((tally.requests, tally.statements, tally.errors, tally.early), (2, 15, 2, 1));
        assert_eq!(tally.last_errors, ["boo", "PHP Fatal error: far from home"]);
        assert_eq!(tally.sample.as_deref(), Some("SELECT 1"));
    }
}
