//! Plugins that MariaDB's server needs for some accounts and that its own package does not bring. Owns where they are kept;
//! nothing is installed for them, since they come with a whole server installation.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::flavour::{Family, Flavour};
use crate::places::cache_folder;
use crate::process::run;
use crate::root::root_folder;
use crate::template::hand_over;

const PACKAGE: &str = "mariadb-server";
/// A mirror's lists of sid may be older than they should be; debootstrap does not mind that either.
const UPDATE: &str = "apt-get --quiet --option Acquire::Check-Valid-Until=false update";
/// Where Debian's package has it.
const INSIDE: &str = "usr/lib/mysql/plugin";
/// Accounts that sign, and a table of the locks that statements hold: what tests load by `INSTALL SONAME`.
const PLUGINS: [&str; 2] = ["auth_ed25519.so", "metadata_lock_info.so"];

/// Fetches the flavour's plugins unless they are there. The flavour's root must be there, if it needs one.
///
/// # Errors
/// When the package cannot be fetched; servers then start without its plugins, and tests of these fail.
pub fn fetch_plugins(flavour: Flavour) -> Result<()> {
    let kept = kept(flavour)?;
    if flavour.family() == Family::MySql || PLUGINS.iter().all(|plugin| kept.join(plugin).exists()) {
        return Ok(());
    }
    let folder = if flavour.needs_root() { root_folder(flavour)? } else { cache_folder()? };
    // As seen by the commands: from inside of the root, where there is one.
    let (half, seen) = match flavour.needs_root() {
        true => (folder.join("plugins.half"), PathBuf::from("/plugins.half")),
        false => (folder.join("plugins.half"), folder.join("plugins.half")),
    };
    let _ = fs::remove_dir_all(&half);
    fs::create_dir_all(&half)?;
    let fetch = format!(
        "cd {} && apt-get --quiet download {PACKAGE} && dpkg-deb -x {PACKAGE}_*.deb .",
        seen.display()
    );
    let mut command = match flavour.needs_root() {
        true => {
            let mut command = Command::new("chroot");
            command.arg(&folder).args(["sh", "-c", &format!("{UPDATE} && {fetch}")]);
            command
        }
        false => {
            let mut command = Command::new("sh");
            command.args(["-c", &fetch]);
            command
        }
    };
    run(&mut command).with_context(|| format!("{PACKAGE} cannot be fetched for {}", flavour.name()))?;
    fs::create_dir_all(&kept)?;
    for plugin in PLUGINS {
        fs::copy(half.join(INSIDE).join(plugin), kept.join(plugin))
            .with_context(|| format!("{PACKAGE} has no {plugin}"))?;
    }
    fs::remove_dir_all(&half)?;
    Ok(())
}

fn kept(flavour: Flavour) -> Result<PathBuf> {
    Ok(cache_folder()?.join("plugins").join(flavour.name()))
}

/// Puts the flavour's plugins into a server's folder; answers the option that names their place. None where they were
/// not fetched: the server then has its own.
pub(crate) fn put_plugins(flavour: Flavour, server: &Path) -> Result<Option<String>> {
    let kept = kept(flavour)?;
    if !kept.exists() {
        return Ok(None);
    }
    let folder = server.join("plugins");
    fs::create_dir(&folder)?;
    for plugin in PLUGINS {
        fs::copy(kept.join(plugin), folder.join(plugin))?;
    }
    hand_over(&folder)?;
    Ok(Some(format!("--plugin-dir={}", folder.display())))
}
