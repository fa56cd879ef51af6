//! The files of unix sockets: what an earlier process left behind, their mode, and their end. The
//! proxy binds them; files are the binary's business.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clonelove_proxy::settings::{Address, Listen};

/// The socket files of a configuration. Dropping it removes them.
pub(crate) struct Sockets {
    paths: Vec<PathBuf>,
    mode: u32,
}

impl Sockets {
    /// Makes room for the sockets that are to be bound: one that nobody listens on any more is removed,
    /// one in use or a file of another kind is an error.
    pub(crate) fn prepare(listen: &Listen) -> anyhow::Result<Self> {
        let paths = listen.mysql.iter().filter_map(|one| match &one.address {
            Address::Unix(path) => Some(path.clone()),
            Address::Tcp { .. } => None,
        });
        let sockets = Self { paths: paths.collect(), mode: listen.unix_mode };
        for path in &sockets.paths {
            make_room(path)?;
        }
        Ok(sockets)
    }

    /// Gives the bound sockets their mode.
    pub(crate) fn set_modes(&self) -> anyhow::Result<()> {
        for path in &self.paths {
            fs::set_permissions(path, fs::Permissions::from_mode(self.mode))
                .with_context(|| format!("cannot set the mode of {} (listen.unix_mode)", path.display()))?;
        }
        Ok(())
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        for path in &self.paths {
            // One that is gone already is what is wanted.
            let _ = fs::remove_file(path);
        }
    }
}

fn make_room(path: &Path) -> anyhow::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("cannot listen on {}", path.display())),
        Ok(found) if !found.file_type().is_socket() => {
            bail!(
                "cannot listen on {}: a file that is no socket is there; remove it or choose another path",
                path.display()
            )
        }
        Ok(_) => {}
    }
    if UnixStream::connect(path).is_ok() {
        bail!("cannot listen on {}: another process listens there", path.display());
    }
    fs::remove_file(path).with_context(|| format!("cannot remove the old socket {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clonelove_proxy::settings::{ListenAddress, Route};
    use std::os::unix::net::UnixListener;

    fn listen(path: &Path) -> Listen {
        let address = ListenAddress { address: Address::Unix(path.to_owned()), route: Route::Split };
        Listen { mysql: vec![address], unix_mode: 0o700 }
    }

    #[test]
    fn only_what_is_left_behind_is_removed() {
        let folder = std::env::temp_dir().join(format!("clonelove-sockets-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("s.sock");

        let listener = UnixListener::bind(&path).unwrap();
        assert!(Sockets::prepare(&listen(&path)).is_err(), "in use");
        drop(listener);
        let sockets = Sockets::prepare(&listen(&path)).unwrap();
        assert!(!path.exists(), "left behind");

        let listener = UnixListener::bind(&path).unwrap();
        sockets.set_modes().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        drop((listener, sockets));
        assert!(!path.exists(), "removed at the end");

        fs::write(&path, "text").unwrap();
        assert!(Sockets::prepare(&listen(&path)).is_err(), "no socket");
        assert!(path.exists());
        fs::remove_dir_all(&folder).unwrap();
    }
}
