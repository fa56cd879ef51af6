//! Where things lie: the cache folder, sandboxes, ports. Owns the rules that keep test processes out of each
//! other's way and that clean up after one that was killed.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail};

/// Overrides where roots and prepared data directories are kept.
pub const CACHE_ENV: &str = "CLONELOVE_CACHE";

/// Below the kernel's range for outgoing connections, so that only other listeners can be in the way.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
/// A memory file system smaller than this is not used for data directories.
const ROOM_WANTED: u64 = 4 << 30;

/// The folder for what is made once and used by many runs: `CLONELOVE_CACHE`, else `$XDG_CACHE_HOME/clonelove`,
/// else `~/.cache/clonelove`. It is made if it does not exist.
///
/// # Errors
/// When none of these variables is set, or the folder cannot be made.
pub fn cache_folder() -> Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = set(CACHE_ENV)
        .or_else(|| set("XDG_CACHE_HOME").map(|base| base.join("clonelove")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/clonelove")))
        .context("no cache folder: set CLONELOVE_CACHE or HOME")?;
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

/// The folder that holds all sandboxes of this user: in memory where there is room, else among temporary files.
pub(crate) fn sandbox_base() -> Result<PathBuf> {
    let memory = Path::new("/dev/shm");
    let room = rustix::fs::statvfs(memory).map(|fs| fs.f_bavail.saturating_mul(fs.f_frsize)).unwrap_or(0);
    let parent = if room >= ROOM_WANTED { memory.to_path_buf() } else { std::env::temp_dir() };
    let base = parent.join(format!("clonelove-{}", rustix::process::geteuid().as_raw()));
    fs::create_dir_all(&base).with_context(|| format!("cannot make {}", base.display()))?;
    Ok(base)
}

/// A folder of one test's own, removed at drop. The name carries the process id: what a killed process left behind
/// is removed when the next sandbox is made.
#[derive(Debug)]
pub struct Sandbox {
    path: PathBuf,
}

impl Sandbox {
    /// Makes an empty folder.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let base = sandbox_base()?;
        remove_left_behind(&base);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = base.join(format!("{}-{number}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { path })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next sandbox's sweep.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// A TCP port that no other test gets while this value lives. It is not bound, so that a server can bind it, and
/// bind it again after a restart.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    /// Takes a free port.
    ///
    /// # Errors
    /// When none is free, or the lock files cannot be written.
    pub fn reserve() -> Result<Self> {
        let folder = sandbox_base()?.join("ports");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let span = u32::from(PORTS.end - PORTS.start);
        // Processes begin at different places, so that they seldom meet.
        let offset = std::process::id().wrapping_mul(131) % span;
        for number in PORTS.cycle_from(offset) {
            let path = folder.join(number.to_string());
            let lock = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
            if lock.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", number)).is_ok() {
                return Ok(Self { number, _lock: lock });
            }
        }
        bail!("no free port from {} to {}: end what listens there", PORTS.start, PORTS.end);
    }

    /// The port's number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }
}

trait CycleFrom {
    fn cycle_from(self, offset: u32) -> impl Iterator<Item = u16>;
}

impl CycleFrom for std::ops::Range<u16> {
    fn cycle_from(self, offset: u32) -> impl Iterator<Item = u16> {
        let count = self.len();
        self.cycle().skip(offset as usize).take(count)
    }
}

fn remove_left_behind(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner =
            name.to_str().and_then(|name| name.split('-').next()).and_then(|pid| pid.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_ports_are_never_the_same() {
        let first = Port::reserve().unwrap();
        let second = Port::reserve().unwrap();
        assert_ne!(first.number(), second.number());
    }

    #[test]
    fn a_dead_owners_sandbox_is_swept_and_a_living_ones_kept() {
        let sandbox = Sandbox::new().unwrap();
        let dead = sandbox.path().join("4194305-0");
        let living = sandbox.path().join(format!("{}-9", std::process::id()));
        fs::create_dir(&dead).unwrap();
        fs::create_dir(&living).unwrap();
        remove_left_behind(sandbox.path());
        assert!(!dead.exists() && living.exists());
    }
}
