//! Debian sid roots for servers that the machine's own release does not have. Owns their folder in the cache.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::flavour::Flavour;
use crate::places::cache_folder;
use crate::process::run;

/// How the making of a root ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootState {
    /// It is there and its server has run.
    Ready,
    /// It could not be made.
    Failed(String),
    /// Nobody has tried yet.
    Missing,
}

/// What is known of a flavour's root.
///
/// # Errors
/// When the cache folder cannot be read.
pub fn root_state(flavour: Flavour) -> Result<RootState> {
    let root = root_folder(flavour)?;
    if root.with_extension("ready").exists() {
        return Ok(RootState::Ready);
    }
    match fs::read_to_string(root.with_extension("failed")) {
        Ok(why) => Ok(RootState::Failed(why)),
        Err(_) => Ok(RootState::Missing),
    }
}

/// Makes the flavour's root unless it is there (`again`: even then). Several processes may ask at once: one makes it.
///
/// # Errors
/// When it cannot be made; the reason is kept for the tests to name.
pub fn make_root(flavour: Flavour, again: bool) -> Result<()> {
    let root = root_folder(flavour)?;
    let lock = File::create(root.with_extension("lock"))?;
    lock.lock()?;
    let (ready, failed) = (root.with_extension("ready"), root.with_extension("failed"));
    if ready.exists() && !again {
        return Ok(());
    }
    let _ = fs::remove_file(&ready);
    let made = debootstrap(flavour, &root);
    match &made {
        Ok(version) => {
            let _ = fs::remove_file(&failed);
            fs::write(&ready, version)?;
        }
        Err(error) => fs::write(&failed, format!("{error:#}"))?,
    }
    made.map(|_| ())
}

/// Where the flavour's root is, or will be.
pub(crate) fn root_folder(flavour: Flavour) -> Result<PathBuf> {
    let roots = cache_folder()?.join("roots");
    fs::create_dir_all(&roots).with_context(|| format!("cannot make {}", roots.display()))?;
    Ok(roots.join(flavour.name()))
}

fn debootstrap(flavour: Flavour, root: &PathBuf) -> Result<String> {
    ensure!(rustix::process::geteuid().is_root(), "root is needed for debootstrap and chroot");
    if root.exists() {
        fs::remove_dir_all(root).with_context(|| format!("cannot remove the old {}", root.display()))?;
    }
    let include = format!("--include={}", flavour.packages());
    run(Command::new("debootstrap").args(["--variant=minbase", &include, "sid"]).arg(root))
        .context("debootstrap")?;
    // The packages' own archives are not needed again.
    let _ = fs::remove_dir_all(root.join("var/cache/apt/archives"));
    let version = flavour.version().context("the root is there, but its server does not run in it")?;
    Ok(version)
}
