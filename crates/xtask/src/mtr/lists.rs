//! Which tests are there, which pass directly, and which are known to differ through clonelove, with the cause. Owns
//! the two committed lists.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::Task;
use crate::shell::workspace;

/// What a test's text must not have: it would need a runner that restarts servers, replication of its own, a client
/// library of its own, or a server built for debugging.
const UNSUITED: &[&str] = &[
    "restart_mysqld",
    "shutdown_server",
    "shutdown_mysqld",
    "kill_mysqld",
    "kill_and_restart",
    "start_mysqld",
    "expect_crash",
    "crash_mysqld",
    "master-slave.inc",
    "rpl_init.inc",
    "big_test.inc",
    "have_debug.inc",
    "have_debug_sync.inc",
    "have_ssl_communication.inc",
    "mysql_upgrade",
    "mysql_client_test",
    "have_perfschema.inc",
    "is_embedded.inc",
];

/// How a test's statements are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Protocol {
    Text,
    Ps,
    Cursor,
}

impl Protocol {
    pub(super) const ALL: [Self; 3] = [Self::Text, Self::Ps, Self::Cursor];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Ps => "ps",
            Self::Cursor => "cursor",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    /// What the client is told; a cursor is opened by a prepared statement.
    pub(super) fn options(self) -> &'static [&'static str] {
        match self {
            Self::Text => &[],
            Self::Ps => &["--ps-protocol"],
            Self::Cursor => &["--ps-protocol", "--cursor-protocol"],
        }
    }
}

/// The two committed lists.
#[derive(Debug, Default)]
pub(super) struct Lists {
    passing: BTreeMap<String, Vec<Protocol>>,
    /// Test to cause.
    differing: BTreeMap<String, Vec<(Protocol, String)>>,
}

impl Lists {
    pub(super) fn read() -> Result<Self> {
        let mut lists = Self::default();
        for line in content("passing.txt")? {
            let (test, protocols) =
                line.split_once(' ').with_context(|| format!("no test and protocols: {line}"))?;
            lists.passing.insert(test.to_owned(), protocols_of(protocols)?);
        }
        for line in content("differing.txt")? {
            let words: Vec<&str> = line.splitn(3, ' ').collect();
            let [test, protocols, cause] = words.as_slice() else {
                bail!("no test, protocols and cause: {line}")
            };
            let known = protocols_of(protocols)?.into_iter().map(|protocol| (protocol, (*cause).to_owned()));
            lists.differing.entry((*test).to_owned()).or_default().extend(known);
        }
        Ok(lists)
    }

    /// The tests that pass directly, sorted, with the protocols in which they do.
    pub(super) fn passing(&self, only: Option<Protocol>) -> Vec<(String, Vec<Protocol>)> {
        let wanted = |protocols: &Vec<Protocol>| only.is_none_or(|one| protocols.contains(&one));
        let passing = self.passing.iter().filter(|(_, protocols)| wanted(protocols));
        passing.map(|(test, protocols)| (test.clone(), protocols.clone())).collect()
    }

    pub(super) fn passes(&self, test: &str, protocol: Protocol) -> bool {
        self.passing.get(test).is_some_and(|protocols| protocols.contains(&protocol))
    }

    /// Why the test is known to differ.
    pub(super) fn cause(&self, task: &Task) -> Option<&str> {
        let known = self.differing.get(&task.test)?.iter();
        known.filter(|(protocol, _)| *protocol == task.protocol).map(|(_, cause)| cause.as_str()).next()
    }

    pub(super) fn note_direct(&mut self, test: &str, protocol: Protocol, passed: bool) {
        let known = self.passing.entry(test.to_owned()).or_default();
        known.retain(|one| *one != protocol);
        if passed {
            known.push(protocol);
            known.sort();
        }
        if known.is_empty() {
            self.passing.remove(test);
        }
    }

    pub(super) fn write_passing(&self) -> Result<()> {
        let mut text =
            "# Tests of MariaDB that pass on a sandbox's primary, by `cargo xtask mtr --list`.\n".to_owned();
        for (test, protocols) in &self.passing {
            let names: Vec<&str> = protocols.iter().map(|protocol| protocol.name()).collect();
            writeln!(text, "{test} {}", names.join(","))?;
        }
        Ok(fs::write(folder().join("passing.txt"), text)?)
    }
}

/// The tests that may be tried.
pub(super) fn candidates(root: &Path) -> Result<Vec<String>> {
    let folder = root.join("main");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let Some(name) = path.file_stem().and_then(|name| name.to_str()) else { continue };
        if path.extension().is_some_and(|extension| extension == "test") && is_suited(&path, name) {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Whether it wants nothing of the servers but that they run.
fn is_suited(path: &Path, name: &str) -> bool {
    let beside = ["-master.opt", "-master.sh", "-slave.opt", "-client.opt", ".opt", ".cnf", ".combinations"];
    let bare = !beside.iter().any(|end| path.with_file_name(format!("{name}{end}")).exists());
    let recorded = path.with_extension("result").exists();
    let text = fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    bare && recorded && !UNSUITED.iter().any(|word| text.contains(word))
}

fn protocols_of(text: &str) -> Result<Vec<Protocol>> {
    text.split(',')
        .map(|name| Protocol::named(name).with_context(|| format!("no protocol {name:?}")))
        .collect()
}

fn folder() -> PathBuf {
    workspace().join("crates/xtask/src/mtr")
}

/// The lines of a list, without comments.
fn content(file: &str) -> Result<Vec<String>> {
    let text = fs::read_to_string(folder().join(file)).with_context(|| file.to_owned())?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(str::to_owned).collect())
}
