//! The kinds of servers that tests run against, and how each is started. No version is named here or in a test.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::not_covered::not_covered;
use crate::places::sandbox_base;
use crate::process::{guarded, run, server_user};
use crate::root::{RootState, root_folder, root_state};

/// Which family a server is of: what SQL it is spoken to in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// MariaDB: positions are `domain-server-sequence`.
    MariaDb,
    /// MySQL: positions are sets of `uuid:intervals`.
    MySql,
}

/// A kind of server under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flavour {
    /// The MariaDB installed on this machine.
    MariaDbDistribution,
    /// MariaDB from a Debian sid root.
    MariaDbSid,
    /// MySQL from a Debian sid root.
    MySqlSid,
}

/// Whether a flavour can be started here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// It can.
    Ready,
    /// Its root could not be made; the error says why.
    NotCovered(String),
}

impl Flavour {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::MariaDbDistribution, Self::MariaDbSid, Self::MySqlSid];

    /// The name in folders, messages and test names.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::MariaDbDistribution => "mariadb",
            Self::MariaDbSid => "mariadb-sid",
            Self::MySqlSid => "mysql-sid",
        }
    }

    /// The family it belongs to.
    #[must_use]
    pub fn family(self) -> Family {
        match self {
            Self::MariaDbDistribution | Self::MariaDbSid => Family::MariaDb,
            Self::MySqlSid => Family::MySql,
        }
    }

    /// Whether a test can run on it; if not, that is said by [`not_covered`](crate::not_covered()) and the test ends.
    ///
    /// # Errors
    /// As [`readiness`](Self::readiness).
    pub fn covered(self) -> Result<bool> {
        match self.readiness()? {
            Readiness::Ready => Ok(true),
            Readiness::NotCovered(why) => {
                not_covered(self.name(), &why);
                Ok(false)
            }
        }
    }

    /// Whether it can be started.
    ///
    /// # Errors
    /// When the root was never made (`cargo xtask servers` makes it), or the server of this machine is not installed.
    pub fn readiness(self) -> Result<Readiness> {
        match self {
            Self::MariaDbDistribution => {
                find_program("mariadbd")?;
                Ok(Readiness::Ready)
            }
            Self::MariaDbSid | Self::MySqlSid => match root_state(self)? {
                RootState::Ready => Ok(Readiness::Ready),
                RootState::Failed(why) => Ok(Readiness::NotCovered(why)),
                RootState::Missing => {
                    bail!("no root for {}: run `cargo xtask servers`, which makes it", self.name())
                }
            },
        }
    }

    /// Whether it comes from a root that [`make_root`](crate::make_root) makes.
    #[must_use]
    pub fn needs_root(self) -> bool {
        self != Self::MariaDbDistribution
    }

    /// What the server says of its version.
    ///
    /// # Errors
    /// When it is not installed, or does not run.
    pub fn version(self) -> Result<String> {
        let said = run(self.command(&self.server_program()?)?.arg("--version"))?;
        let (_, version) =
            said.trim().split_once("Ver ").with_context(|| format!("no version in: {said}"))?;
        Ok(version.to_owned())
    }

    /// A command that runs one of the flavour's programs, such as its own clients: inside its root if it has one,
    /// where sandboxes have the same paths. Arguments may be added.
    ///
    /// # Errors
    /// When the cache folder cannot be found.
    pub fn command(self, program: &Path) -> Result<Command> {
        let words = self.words(program.to_owned(), &[], &[&sandbox_base()?], None)?;
        let (first, rest) = words.split_first().context("nothing to start")?;
        let mut command = Command::new(first);
        command.args(rest).current_dir("/");
        Ok(command)
    }

    /// Debian's packages for the root: server and clients, without what would start a service; and MySQL Router, which
    /// the benches compare with.
    pub(crate) fn packages(self) -> &'static str {
        match self.family() {
            Family::MariaDb => "mariadb-server-core,mariadb-client-core",
            Family::MySql => "mysql-server-core,mysql-client-core,mysql-router",
        }
    }

    /// Where the server's program is, as seen from inside its root.
    pub(crate) fn server_program(self) -> Result<PathBuf> {
        Ok(match self {
            Self::MariaDbDistribution => find_program("mariadbd")?,
            Self::MariaDbSid => "/usr/sbin/mariadbd".into(),
            Self::MySqlSid => "/usr/sbin/mysqld".into(),
        })
    }

    /// The command line that runs `program` unprivileged, inside the flavour's root if it has one, with `shared`
    /// folders visible there under their own paths. The process that starts it keeps its id all the way.
    pub(crate) fn words(
        self,
        program: PathBuf,
        args: &[OsString],
        shared: &[&Path],
        user: Option<u32>,
    ) -> Result<Vec<OsString>> {
        let mut words = Vec::new();
        if self.needs_root() {
            let root = root_folder(self)?;
            // The mounts live in a namespace of the server's own and go away with it.
            let mut script = String::from("set -e; root=$1; shift; mount --rbind /dev \"$root/dev\"; ");
            script.push_str("mount -t proc proc \"$root/proc\"; ");
            for path in shared {
                let path = path.to_str().context("a sandbox path that is not UTF-8")?;
                script.push_str(&format!("mkdir -p \"$root{path}\"; mount --bind {path} \"$root{path}\"; "));
            }
            script.push_str("exec chroot \"$root\" \"$@\"");
            words.extend(["unshare", "--mount", "sh", "-c"].map(OsString::from));
            words.extend([OsString::from(script), "sh".into(), root.into()]);
        }
        words.extend(guarded(user));
        words.push(program.into());
        words.extend_from_slice(args);
        Ok(words)
    }

    /// [`words`](Self::words) as the account that servers run as.
    pub(crate) fn server_words(self, args: &[OsString], shared: &[&Path]) -> Result<Vec<OsString>> {
        self.words(self.server_program()?, args, shared, server_user())
    }
}

/// Looks a program up on PATH and in the administrator's folders, where servers live.
pub(crate) fn find_program(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .with_context(|| format!("{name} is not installed: run `cargo xtask setup`, or install it"))
}
