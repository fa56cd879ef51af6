//! What one stale read does to a site for ever: an editor saves in a loop, visitors who find their caches cold rebuild
//! them from what they read. When the editor rests, no cached copy may be older than the content.
//!
//! A visitor who reads before a save and writes the cache after it poisons it on a single server, too. Here nobody
//! rebuilds while the editor saves, so that whatever is old was read from a server that was behind.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Result, bail, ensure};
use clonelove_testkit::{Clonelove, Cluster, DEFAULT_TIMEOUT, Flavour, wait_until};
use parking_lot::{Mutex, RwLock};

use super::checker::client::{Client, Failure, Rows, Way};
use super::checker::dice::Dice;
use super::checker::relay::Relay;
use super::checker::stage::replicate_through;
use super::support::{quick, reason, uniform_of, wait_eligible};

const NODES: usize = 24;
const SAVES: u64 = 40;
const VISITORS: u64 = 4;
/// Pages that are visited between two saves.
const VISITS: u64 = 30;
/// Milliseconds by which both replicas are behind.
const LAG: u64 = 1000;

const TABLES: [&str; 5] = [
    "CREATE TABLE node (nid INT PRIMARY KEY, title BIGINT NOT NULL)",
    "CREATE TABLE node_body (nid INT PRIMARY KEY, body BIGINT NOT NULL)",
    "CREATE TABLE cache_entity (cid VARCHAR(64) PRIMARY KEY, title BIGINT NOT NULL, body BIGINT NOT NULL)",
    "CREATE TABLE cachetags (tag VARCHAR(64) PRIMARY KEY, invalidations BIGINT NOT NULL)",
    "INSERT INTO cachetags VALUES ('node_list', 0)",
];

/// A site, and what goes on there.
struct Site {
    proxy: Clonelove,
    /// Taken by whoever rebuilds, and alone by the editor.
    saving: RwLock<()>,
    visits: AtomicU64,
    rebuilt: AtomicU64,
    closed: AtomicBool,
    trouble: Mutex<Option<String>>,
}

impl Site {
    fn ask(&self, client: &mut Client, sql: &str) -> Result<Rows> {
        client.ask(sql, Way::Text).map_err(|failure: Failure| anyhow::anyhow!("{sql}: {failure}"))
    }

    /// A request of PHP: a connection of its own, without DEPRECATE_EOF.
    fn request(&self) -> Result<Client> {
        let mut client = Client::open(&self.proxy.addr(), false)
            .map_err(|failure| anyhow::anyhow!("log-in: {failure}"))?;
        self.ask(&mut client, "SET NAMES utf8mb4 COLLATE utf8mb4_general_ci")?;
        self.ask(&mut client, "SET sql_mode = 'ANSI,TRADITIONAL'")?;
        Ok(client)
    }

    /// What Drupal does at a save: the content in a transaction, then the caches and their tags.
    fn save(&self, node: usize, version: u64) -> Result<()> {
        let _alone = self.saving.write();
        let mut client = self.request()?;
        for sql in [
            "START TRANSACTION".to_owned(),
            format!("UPDATE node SET title = '{version}' WHERE nid = '{node}'"),
            format!("UPDATE node_body SET body = '{version}' WHERE nid = '{node}'"),
            "COMMIT".to_owned(),
            format!("DELETE FROM cache_entity WHERE cid IN ('values:node:{node}')"),
            "UPDATE cachetags SET invalidations = invalidations + 1 WHERE tag = 'node_list'".to_owned(),
        ] {
            self.ask(&mut client, &sql)?;
        }
        Ok(())
    }

    /// A page: from the cache, or built anew and put there.
    fn visit(&self, node: usize) -> Result<()> {
        let _nobody_saves = self.saving.read();
        let mut client = self.request()?;
        self.ask(&mut client, "SELECT tag, invalidations FROM cachetags WHERE tag IN ('node_list')")?;
        let cached = format!("SELECT title, body FROM cache_entity WHERE cid IN ('values:node:{node}')");
        if self.ask(&mut client, &cached)?.is_empty() {
            let title = self.ask(&mut client, &format!("SELECT title FROM node WHERE nid = '{node}'"))?;
            let body = self.ask(&mut client, &format!("SELECT body FROM node_body WHERE nid = '{node}'"))?;
            let (Some(Some(title)), Some(Some(body))) = (first(&title), first(&body)) else {
                bail!("node {node} is gone: {title:?} {body:?}");
            };
            self.ask(
                &mut client,
                &format!(
                    "INSERT INTO cache_entity (cid, title, body) VALUES ('values:node:{node}', '{title}', '{body}') \
                     ON DUPLICATE KEY UPDATE title = VALUES(title), body = VALUES(body)"
                ),
            )?;
            self.rebuilt.fetch_add(1, Ordering::Relaxed);
        }
        self.visits.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn note<T>(&self, done: Result<T>) {
        if let Err(error) = done {
            self.trouble.lock().get_or_insert(format!("{error:#}"));
            self.closed.store(true, Ordering::Relaxed);
        }
    }

    fn go_on_visiting(&self, seed: u64) {
        let mut dice = Dice::new(seed);
        while !self.closed.load(Ordering::Relaxed) {
            self.note(self.visit(1 + dice.skewed(NODES)));
        }
    }

    fn go_on_saving(&self) -> Result<()> {
        let mut dice = Dice::new(99);
        for version in 1..=SAVES {
            self.save(1 + dice.skewed(NODES), version)?;
            let goal = self.visits.load(Ordering::Relaxed) + VISITS;
            wait_until("visitors", DEFAULT_TIMEOUT, || {
                self.visits.load(Ordering::Relaxed) >= goal || self.closed.load(Ordering::Relaxed)
            })?;
        }
        Ok(())
    }
}

fn first(rows: &Rows) -> Option<Option<i64>> {
    rows.first()?.first().copied()
}

/// What became of the caches.
struct Outcome {
    /// Copies that are older than the content, or of two ages.
    poisoned: Vec<String>,
    /// The share of reads that ran on replicas.
    on_replicas: f64,
    rebuilt: u64,
}

fn run(flavour: Flavour, freshness: &str) -> Result<Outcome> {
    let cluster = uniform_of(flavour, 2)?;
    let mut relays = Vec::new();
    for replica in &cluster.replicas {
        let relay = Relay::to(cluster.primary.address())?;
        replicate_through(replica, &relay)?;
        relays.push(relay);
    }
    fill(&cluster)?;
    let config = quick(&cluster).set("routing", "freshness", &format!("\"{freshness}\""));
    let site = Site {
        proxy: Clonelove::start_with(config)?,
        saving: RwLock::default(),
        visits: 0.into(),
        rebuilt: 0.into(),
        closed: AtomicBool::new(false),
        trouble: Mutex::default(),
    };
    for replica in &cluster.replicas {
        wait_eligible(&site.proxy, replica.name())?;
    }
    for relay in &relays {
        relay.delay(LAG, 0);
    }
    std::thread::scope(|scope| {
        let site = &site;
        for seed in 0..VISITORS {
            scope.spawn(move || site.go_on_visiting(seed));
        }
        site.note(site.go_on_saving());
        site.closed.store(true, Ordering::Relaxed);
    });
    if let Some(trouble) = site.trouble.lock().take() {
        bail!(trouble);
    }
    let reads = site.proxy.metric("clonelove_queries_total", &["target=\"replica\""])?;
    let others = reason(&site.proxy, "stale")? + reason(&site.proxy, "pending")?;
    Ok(Outcome {
        poisoned: poisoned(&cluster)?,
        on_replicas: reads / (reads + others),
        rebuilt: site.rebuilt.load(Ordering::Relaxed),
    })
}

fn fill(cluster: &Cluster) -> Result<()> {
    let mut root = cluster.primary.connect()?;
    root.query("USE app")?;
    for sql in TABLES {
        root.query(sql)?;
    }
    for node in 1..=NODES {
        root.query(&format!("INSERT INTO node VALUES ({node}, 0)"))?;
        root.query(&format!("INSERT INTO node_body VALUES ({node}, 0)"))?;
    }
    cluster.wait_caught_up()
}

/// What the primary, which has it all, says of the caches.
fn poisoned(cluster: &Cluster) -> Result<Vec<String>> {
    let rows = cluster.primary.query(
        "SELECT CONCAT_WS(' ', c.cid, 'has', c.title, c.body, 'and should have', n.title, b.body) \
         FROM app.cache_entity c JOIN app.node n ON c.cid = CONCAT('values:node:', n.nid) \
         JOIN app.node_body b ON b.nid = n.nid WHERE c.title <> n.title OR c.body <> b.body",
    )?;
    Ok(rows.into_iter().flatten().flatten().collect())
}

fn stays_clean(flavour: Flavour, freshness: &str, share: f64) -> Result<()> {
    let Outcome { poisoned, on_replicas, rebuilt } = run(flavour, freshness)?;
    ensure!(poisoned.is_empty(), "{freshness}: old copies in the cache for ever: {poisoned:?}");
    ensure!(rebuilt > SAVES / 2, "the caches were rebuilt {rebuilt} times only");
    ensure!(on_replicas >= share, "{freshness}: only {on_replicas:.2} of the reads ran on replicas");
    Ok(())
}

/// That this test sees what it is for.
fn is_poisoned(flavour: Flavour) -> Result<()> {
    let Outcome { poisoned, .. } = run(flavour, "eventual")?;
    ensure!(!poisoned.is_empty(), "eventual reads from replicas a second behind poisoned nothing");
    Ok(())
}

#[test]
fn no_cached_copy_is_older_than_the_content_on_mariadb() -> Result<()> {
    stays_clean(Flavour::MariaDbDistribution, "table", 0.0)?;
    stays_clean(Flavour::MariaDbDistribution, "key", 0.1)
}

#[test]
fn no_cached_copy_is_older_than_the_content_on_mysql_sid() -> Result<()> {
    if Flavour::MySqlSid.covered()? { stays_clean(Flavour::MySqlSid, "key", 0.1) } else { Ok(()) }
}

#[test]
fn eventual_reads_poison_the_cache_for_ever() -> Result<()> {
    is_poisoned(Flavour::MariaDbDistribution)
}
