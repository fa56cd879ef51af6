//! One run of one test by MariaDB's own client. Owns its command line, its environment and what its end means.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::site::{Place, Site};
use super::{Task, difference_file};
use crate::setup::MariadbTests;

/// How long a test may take directly; through clonelove three times that.
const PATIENCE: u64 = 40;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Passed,
    /// The test wants what is not there.
    Skipped,
    /// The output is not what was recorded.
    Failed,
    TooSlow,
}

impl Verdict {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
            Self::TooSlow => "too_slow",
        }
    }

    pub(super) fn passed(self) -> bool {
        self == Self::Passed
    }

    pub(super) fn differs(self) -> bool {
        matches!(self, Self::Failed | Self::TooSlow)
    }
}

/// Runs the test; what it printed is kept when it did not pass.
pub(super) fn play(site: &mut Site, tests: &MariadbTests, place: Place, task: &Task) -> Result<Verdict> {
    let kept = difference_file(place, task);
    if let Some(folder) = kept.parent() {
        fs::create_dir_all(folder)?;
    }
    let said = fs::File::create(&kept).with_context(|| kept.display().to_string())?;
    let status = command(site, tests, place, task).stdout(said.try_clone()?).stderr(said).status()?;
    let verdict = match status.code() {
        Some(0) => Verdict::Passed,
        Some(62) => Verdict::Skipped,
        Some(124 | 137) => Verdict::TooSlow,
        _ => Verdict::Failed,
    };
    if matches!(verdict, Verdict::Passed | Verdict::Skipped) {
        fs::remove_file(&kept)?;
    }
    Ok(verdict)
}

fn command(site: &Site, tests: &MariadbTests, place: Place, task: &Task) -> Command {
    let var = site.folder();
    let patience = if place == Place::Through { 3 * PATIENCE } else { PATIENCE };
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", &patience.to_string()]);
    command.arg(&tests.client).arg(format!("--defaults-file={}", site.client_config().display()));
    command.arg("--silent").args(task.protocol.options());
    let path = |name: &str, inside: &str| format!("--{name}={}", var.join(inside).display());
    command.args([path("tmpdir", "tmp"), path("logdir", "log"), path("timer-file", "log/timer")]);
    command.args([
        "--character-sets-dir=/usr/share/mysql/charsets".to_owned(),
        "--database=test".to_owned(),
        "--user=root".to_owned(),
        "--password=".to_owned(),
        "--tail-lines=20".to_owned(),
        format!("--test-file=main/{}.test", task.test),
        format!("--result-file=main/{}.result", task.test),
    ]);
    command.current_dir(site.suite()).stdin(Stdio::null());
    environment(&mut command, site, tests);
    command
}

/// What MariaDB's runner tells its client, as far as tests of the main suite ask for it.
fn environment(command: &mut Command, site: &Site, tests: &MariadbTests) {
    let var = site.folder();
    let datadir = format!("{}/", var.join("primary/data").display());
    let config = site.client_config();
    let tool = |name: &str| format!("/usr/bin/{name} --defaults-file={}", config.display());
    let text = |path: &Path| path.display().to_string();
    command.envs([
        ("LC_ALL", "C".to_owned()),
        // The servers, which run as somebody else, read what the client writes.
        ("UMASK", "0666".to_owned()),
        ("UMASK_DIR", "0777".to_owned()),
        ("LD_LIBRARY_PATH", text(&tests.libraries)),
        ("MYSQL_TEST_DIR", text(&tests.folder)),
        ("MYSQLTEST_VARDIR", text(var)),
        ("MYSQLTEST_REAL_VARDIR", text(var)),
        ("MYSQL_TMP_DIR", text(&var.join("tmp"))),
        ("MYSQLD_DATADIR", datadir.clone()),
        ("MARIADB_DATADIR", datadir.clone()),
        ("MARIADB_TOPDIR", datadir),
        ("MASTER_MYPORT", site.port().to_string()),
        ("MASTER_MYSOCK", text(&site.socket())),
        ("DEFAULT_MASTER_PORT", "3306".to_owned()),
        ("MYSQL_SHAREDIR", "/usr/share/mysql".to_owned()),
        ("MYSQL_CHARSETSDIR", "/usr/share/mysql/charsets".to_owned()),
        ("MYSQL_BINDIR", "/usr/bin".to_owned()),
        ("SECURE_LOAD_PATH", text(&var.join("std_data"))),
        ("HAVE_BROKEN_DNS", "0".to_owned()),
        ("USE_RUNNING_SERVER", "0".to_owned()),
        ("MYSQL", tool("mariadb")),
        ("EXE_MYSQL", "/usr/bin/mariadb".to_owned()),
        ("MYSQL_DUMP", tool("mariadb-dump")),
        ("MYSQL_IMPORT", tool("mariadb-import")),
        ("MYSQL_SHOW", tool("mariadb-show")),
        ("MYSQL_CHECK", tool("mariadb-check")),
        ("MYSQL_BINLOG", tool("mariadb-binlog")),
        ("MYSQL_SLAP", tool("mariadb-slap")),
        ("MYSQLADMIN", tool("mariadb-admin")),
    ]);
}
