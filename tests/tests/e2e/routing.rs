//! What goes where, with the servers' general logs as the witness.

use anyhow::Result;
use clonelove_testkit::{Clonelove, Cluster, ClusterOptions, Flavour};

#[test]
fn the_proxy_becomes_ready() -> Result<()> {
    let cluster = Cluster::start(Flavour::MariaDbDistribution, ClusterOptions::default())?;
    let proxy = Clonelove::start(&cluster)?;
    assert_eq!(proxy.status()?["primary"], "primary");
    Ok(())
}
