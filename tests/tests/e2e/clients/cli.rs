//! The command-line clients: MariaDB's, and MySQL's from its own root.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail, ensure};
use clonelove_testkit::{APP_PASSWORD, APP_USER, Family, Flavour};

use super::{Bench, MILLION, Target, finish, large_value, million_is_whole, printed};

/// Whose client.
#[derive(Clone, Copy, Debug)]
pub(super) enum Maker {
    MariaDb,
    MySql,
}

impl Maker {
    /// The client, connecting to the target as `user`.
    pub(super) fn command(self, target: &Target, user: &str, password: &str) -> Result<Command> {
        let mut command = match self {
            Self::MariaDb => Command::new("mariadb"),
            Self::MySql => Flavour::MySqlSid.command(Path::new("/usr/bin/mysql"))?,
        };
        self.connect(&mut command, target, user, password);
        Ok(command)
    }

    /// The options that say where to connect, which all programs of a maker share.
    pub(super) fn connect(self, command: &mut Command, target: &Target, user: &str, password: &str) {
        command.arg("--no-defaults").arg(format!("--user={user}")).env("MYSQL_PWD", password);
        command.args(["--default-character-set=utf8mb4", "--max-allowed-packet=1G"]);
        match &target.socket {
            Some(path) => command.arg("--protocol=socket").arg(format!("--socket={}", path.display())),
            None => {
                command.args(["--protocol=tcp", "--host=127.0.0.1"]).arg(format!("--port={}", target.port))
            }
        };
        match self {
            Self::MariaDb => command.arg("--skip-ssl"),
            Self::MySql => command.args(["--ssl-mode=DISABLED", "--get-server-public-key"]),
        };
    }

    fn app(self, target: &Target) -> Result<Command> {
        self.command(target, APP_USER, APP_PASSWORD)
    }
}

fn suite(flavour: Flavour, maker: Maker) -> Result<()> {
    if !flavour.covered()? || matches!(maker, Maker::MySql) && !Flavour::MySqlSid.covered()? {
        return Ok(());
    }
    let bench = Bench::start(flavour)?;
    bench.compare(20.0, |target| {
        let mut command = maker.app(target)?;
        command.args(["--force", "--unbuffered", "--batch", "--column-type-info", "--show-warnings", "-vv"]);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/clients/cli.sql");
        let output = finish(command.arg("app"), Some(File::open(script)?))?;
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(text.contains("\ndone\n"), "the suite did not come to its end:\n{text}");
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        for schema in ["no_such_schema", "mysql"] {
            text.push_str(&refused(maker.app(target)?.args(["-e", "SELECT 1", schema]))?);
        }
        text.push_str(&refused(maker.command(target, APP_USER, "wrong")?.args(["-e", "SELECT 1"]))?);
        if target.family == Family::MariaDb {
            // MySQL names an authentication at random to users that it does not know.
            text.push_str(&refused(maker.command(target, "nobody", "x")?.args(["-e", "SELECT 1"]))?);
        }
        if target.heavy {
            heavy(&bench, maker, target)?;
        }
        Ok(text)
    })
}

/// What a client says that is not let in.
fn refused(command: &mut Command) -> Result<String> {
    let output = finish(command, None)?;
    ensure!(!output.status.success(), "it was let in");
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A million rows, not buffered by the client, and a statement and a value of 64 MiB.
fn heavy(bench: &Bench, maker: Maker, target: &Target) -> Result<()> {
    let mut command = maker.app(target)?;
    command.args(["--quick", "--batch", "--skip-column-names", "-e", MILLION, "app"]);
    million_is_whole(printed(&finish(&mut command, None)?)?.lines().map(str::parse))?;

    let value = large_value();
    let path = bench.cluster.folder().join("large.sql");
    let text = format!("INSERT INTO large VALUES (1, '{value}');\nSELECT value FROM large WHERE id = 1;\n");
    std::fs::write(&path, text)?;
    let mut command = maker.app(target)?;
    let output = finish(command.args(["--batch", "--skip-column-names", "app"]), Some(File::open(&path)?))?;
    let text = printed(&output)?;
    if text.trim_end() != value {
        bail!("64 MiB went in, {} other bytes came out", text.len());
    }
    Ok(())
}

#[test]
fn mariadb() -> Result<()> {
    suite(Flavour::MariaDbDistribution, Maker::MariaDb)
}

#[test]
fn mysql() -> Result<()> {
    suite(Flavour::MariaDbDistribution, Maker::MySql)
}

#[test]
fn mysql_on_mariadb_sid() -> Result<()> {
    suite(Flavour::MariaDbSid, Maker::MySql)
}

#[test]
fn mysql_on_mysql_sid() -> Result<()> {
    suite(Flavour::MySqlSid, Maker::MySql)
}
