//! The files of unix sockets: what an earlier run left there goes, the mode is set, and at the end they go.
//! Owns those files; the sockets themselves are the proxy's.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clonelove_proxy::settings::{Address, Listen};
use tracing::warn;

/// The socket files of this run; they go when it is dropped.
#[derive(Debug)]
pub(super) struct SocketFiles {
    paths: Vec<PathBuf>,
    mode: u32,
}

impl SocketFiles {
    /// Makes room for the sockets that are about to be bound.
    pub(super) fn make_room(listen: &Listen) -> anyhow::Result<Self> {
        for path in unix_paths(listen) {
            remove_stale(path)?;
        }
        // Nothing is ours before it is bound.
        Ok(Self { paths: Vec::new(), mode: listen.unix_mode })
    }

    /// Takes charge of the sockets that have been bound.
    pub(super) fn take(&mut self, listen: &Listen) -> anyhow::Result<()> {
        for path in unix_paths(listen) {
            self.paths.push(path.to_owned());
            fs::set_permissions(path, fs::Permissions::from_mode(self.mode))
                .with_context(|| format!("cannot set the mode of {}", path.display()))?;
        }
        Ok(())
    }
}

impl Drop for SocketFiles {
    fn drop(&mut self) {
        for path in &self.paths {
            if let Err(error) = fs::remove_file(path)
                && error.kind() != ErrorKind::NotFound
            {
                warn!(path = %path.display(), %error, "cannot remove the socket's file");
            }
        }
    }
}

fn unix_paths(listen: &Listen) -> impl Iterator<Item = &Path> {
    listen.mysql.iter().filter_map(|listener| match &listener.address {
        Address::Unix(path) => Some(path.as_path()),
        Address::Tcp { .. } => None,
    })
}

/// Removes a socket that nobody listens at. Anything else is not ours to remove.
fn remove_stale(path: &Path) -> anyhow::Result<()> {
    let shown = path.display();
    let kind = match fs::symlink_metadata(path) {
        Ok(found) => found.file_type(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("cannot look at {shown}")),
    };
    if !kind.is_socket() {
        bail!("{shown} is there and is no socket: move it away, or set listen.mysql to another path");
    }
    match UnixStream::connect(path) {
        Ok(_) => bail!("another process listens on {shown}: end it, or set listen.mysql to another path"),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).with_context(|| format!("cannot remove {shown}, which an earlier run left"))
        }
        Err(error) => Err(error).with_context(|| format!("cannot tell whether {shown} is in use")),
    }
}
