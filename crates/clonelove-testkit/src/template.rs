//! Prepared data directories: made once for each flavour and version, copied for each server.

use std::fs::{self, File};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::accounts;
use crate::flavour::{Family, Flavour, find_program};
use crate::places::{Sandbox, cache_folder};
use crate::process::{Process, run, server_user};
use crate::server::await_up;

/// Raise it when the making below changes in a way that the accounts' statements do not show.
const EDITION: u32 = 1;

/// The data directory to copy for a new server of this flavour, made first if need be.
pub(crate) fn prepared(flavour: Flavour) -> Result<PathBuf> {
    let family = flavour.family();
    let statements = accounts::statements(family);
    let ingredients = format!("{EDITION} {} {statements:?} {:?}", flavour.version()?, server_user());
    let folder = cache_folder()?.join("templates");
    fs::create_dir_all(&folder)?;
    let ready = folder.join(format!("{}-{:016x}", flavour.name(), fnv(&ingredients)));
    if ready.exists() {
        return Ok(ready);
    }
    let lock = File::create(ready.with_extension("lock"))?;
    lock.lock()?;
    if !ready.exists() {
        make(flavour, &statements, &ready)
            .with_context(|| format!("cannot prepare a data directory for {}", flavour.name()))?;
    }
    Ok(ready)
}

/// Copies a data directory, owners and all.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    run(Command::new("cp").args(["--archive", "--no-target-directory"]).arg(from).arg(to)).map(|_| ())
}

/// Gives a path to the account that servers run as.
pub(crate) fn hand_over(path: &Path) -> Result<()> {
    match server_user() {
        Some(id) => Ok(chown(path, Some(id), Some(id))?),
        None => Ok(()),
    }
}

fn make(flavour: Flavour, statements: &[String], ready: &Path) -> Result<()> {
    let sandbox = Sandbox::new()?;
    let (data, log) = (sandbox.path().join("data"), sandbox.path().join("log"));
    fs::create_dir(&data)?;
    hand_over(sandbox.path())?;
    hand_over(&data)?;
    initialise(flavour, &data, sandbox.path())?;

    let socket = sandbox.path().join("sock");
    let mut args = vec!["--no-defaults".into(), "--skip-networking".into(), "--skip-log-bin".into()];
    args.extend(small_files(flavour.family()));
    args.push("--secure-file-priv=".into());
    args.push(format!("--datadir={}", data.display()));
    args.push(format!("--socket={}", socket.display()));
    args.push(format!("--pid-file={}", sandbox.path().join("pid").display()));
    let args: Vec<_> = args.into_iter().map(Into::into).collect();
    let words = flavour.server_words(&args, &[sandbox.path()])?;
    let mut server = Process::spawn_words("the server being prepared", &words, &[], &log)?;
    let mut root = await_up(&mut server, &socket, &log)?;
    for statement in statements {
        root.query(statement)?;
    }
    root.query("SHUTDOWN")?;
    server.wait_ended(Duration::from_secs(60))?;

    // A server without it makes an identity of its own at its first start.
    let _ = fs::remove_file(data.join("auto.cnf"));
    let half = ready.with_extension("half");
    let _ = fs::remove_dir_all(&half);
    copy(&data, &half)?;
    fs::rename(&half, ready)?;
    Ok(())
}

fn initialise(flavour: Flavour, data: &Path, shared: &Path) -> Result<()> {
    let data_arg = format!("--datadir={}", data.display());
    let (program, mut args) = match flavour.family() {
        Family::MariaDb => {
            let installer = match flavour {
                Flavour::MariaDbDistribution => find_program("mariadb-install-db")?,
                _ => "/usr/bin/mariadb-install-db".into(),
            };
            (
                installer,
                vec![
                    "--no-defaults",
                    "--auth-root-authentication-method=normal",
                    "--skip-test-db",
                    "--force",
                ],
            )
        }
        Family::MySql => {
            (flavour.server_program()?, vec!["--no-defaults", "--initialize-insecure", "--secure-file-priv="])
        }
    };
    args.push(&data_arg);
    let sizes = small_files(flavour.family());
    args.extend(sizes.iter().map(String::as_str));
    let args: Vec<_> = args.into_iter().map(Into::into).collect();
    let words = flavour.words(program, &args, &[shared], server_user())?;
    let (program, args) = words.split_first().context("nothing to start")?;
    run(Command::new(program).args(args).current_dir("/")).map(|_| ())
}

/// Options that decide how large the files of a data directory are; every start must repeat them.
pub(crate) fn small_files(family: Family) -> Vec<String> {
    let options: &[&str] = match family {
        Family::MariaDb => &["--innodb-log-file-size=16M", "--innodb-data-file-path=ibdata1:12M:autoextend"],
        Family::MySql => {
            &["--innodb-redo-log-capacity=16M", "--innodb-data-file-path=ibdata1:12M:autoextend"]
        }
    };
    options.iter().map(|option| (*option).to_owned()).collect()
}

/// A short name for a text (FNV-1a); no secret hangs on it.
fn fnv(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
