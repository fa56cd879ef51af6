//! `cargo xtask demo`: clonelove in front of real servers, with traffic, for a person to watch.

use anyhow::{Result, bail};

/// Runs the demo until Ctrl-C, or for the time given by `--for`.
pub(crate) fn run(_args: &[&str]) -> Result<bool> {
    bail!("the demo is not built yet")
}
