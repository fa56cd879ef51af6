//! Servers of which the replicas are a second behind, always, and the proxy before them; where its statements went.

use std::collections::BTreeMap;
use std::ops::Sub;

use anyhow::Result;
use clonelove_testkit::{Clonelove, Cluster, ClusterOptions, Config, Flavour};

use crate::checker::relay::Relay;
use crate::checker::stage::replicate_through;

/// In milliseconds: what the primary writes reaches the replicas so much later.
const LAG: u64 = 1000;

/// The servers and the proxy.
pub(crate) struct Behind {
    pub(crate) proxy: Clonelove,
    pub(crate) cluster: Cluster,
    _relays: Vec<Relay>,
}

impl Behind {
    /// Starts all; `load` fills the primary before the replicas fall behind.
    pub(crate) fn start(freshness: &str, load: impl FnOnce(&Cluster) -> Result<()>) -> Result<Self> {
        // Statistics that each server renews in its own time decide the order that ORDER BY leaves open.
        let extra = vec!["--innodb-stats-auto-recalc=0".to_owned()];
        let options = ClusterOptions { extra, ..ClusterOptions::default() };
        let cluster = Cluster::start(Flavour::MariaDbDistribution, options)?;
        load(&cluster)?;
        cluster.wait_caught_up()?;
        let mut relays = Vec::new();
        for replica in &cluster.replicas {
            let relay = Relay::to(cluster.primary.address())?;
            replicate_through(replica, &relay)?;
            relay.delay(LAG, 0);
            relays.push(relay);
        }
        let config = Config::for_cluster(&cluster)
            .set("log", "level", "\"warn\"")
            .set("monitor", "interval", "\"1s\"")
            .set("routing", "warm_up", "\"1ms\"")
            .set("routing", "freshness", &format!("\"{freshness}\""));
        Ok(Self { proxy: Clonelove::start_with(config)?, cluster, _relays: relays })
    }

    /// Where all statements went so far.
    pub(crate) fn routed(&self) -> Result<Routed> {
        let metrics = self.proxy.metrics()?;
        let counted = metrics.into_iter().filter_map(|(series, count)| {
            let labels = series.strip_prefix("clonelove_queries_total{")?;
            let label = |name: &str| labels.split(name).nth(1)?.split('"').nth(1).map(str::to_owned);
            Some(((label("target")?, label("reason")?), count))
        });
        Ok(Routed(counted.collect()))
    }

    /// Tables whose reads stayed on the primary, and how many, the most first.
    pub(crate) fn kept(&self) -> Result<Vec<(String, u64)>> {
        let status = self.proxy.status()?;
        let list = status.pointer("/freshness/keeps_on_primary").and_then(|list| list.as_array());
        let pair = |one: &serde_json::Value| {
            Some((one.get("table")?.as_str()?.to_owned(), one.get("reads")?.as_u64()?))
        };
        Ok(list.into_iter().flatten().filter_map(pair).collect())
    }
}

/// Statements by target and reason.
#[derive(Clone, Debug, Default)]
pub(crate) struct Routed(BTreeMap<(String, String), f64>);

impl Routed {
    pub(crate) fn on_replicas(&self) -> f64 {
        self.0.iter().filter(|((target, _), _)| target == "replica").map(|(_, count)| count).sum()
    }

    pub(crate) fn because(&self, wanted: &str) -> f64 {
        self.0.iter().filter(|((_, reason), _)| reason == wanted).map(|(_, count)| count).sum()
    }

    pub(crate) fn add(&mut self, other: &Routed) {
        for (place, count) in &other.0 {
            *self.0.entry(place.clone()).or_default() += count;
        }
    }

    /// Each reason with its count, for people.
    pub(crate) fn told(&self) -> String {
        let counted = self.0.iter().filter(|(_, count)| **count > 0.0);
        let words: Vec<String> =
            counted.map(|((target, reason), count)| format!("{target} {reason} {count}")).collect();
        words.join(", ")
    }
}

impl Sub for Routed {
    type Output = Routed;

    fn sub(mut self, before: Routed) -> Routed {
        for (place, count) in before.0 {
            *self.0.entry(place).or_default() -= count;
        }
        self
    }
}
