//! Requests as PHP makes them, a new connection each, over eight tables of content, one of which is written each half
//! second, and two tables of sessions that every request writes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clonelove_testkit::{APP_PASSWORD, APP_USER, Cluster, Connection};

use super::behind::Behind;
use super::until;

const TABLES: u64 = 8;
const ROWS: u64 = 1000;
const VISITORS: u64 = 4;
/// Reads of a request.
const READS: u64 = 8;
const WRITE_EVERY: Duration = Duration::from_millis(500);
/// Until writes are as old as the replicas are behind, there is nothing stale.
const BEFORE: Duration = Duration::from_secs(2);
const COUNTED: Duration = Duration::from_secs(16);
/// Visitors take their time, so that the tests beside this one have some.
const PAUSE: Duration = Duration::from_millis(10);

/// How content is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writing {
    /// By a condition that no key bounds.
    AnyRow,
    /// By the key of a row.
    OneRow,
}

/// What all who take part share.
struct World {
    address: String,
    reads: AtomicU64,
    over: AtomicBool,
}

/// Of a hundred reads, how many ran on replicas.
pub(crate) fn share(freshness: &str, writing: Writing) -> Result<f64> {
    let behind = Behind::start(freshness, tables)?;
    let world =
        World { address: behind.proxy.addr(), reads: AtomicU64::new(0), over: AtomicBool::new(false) };
    std::thread::scope(|scope| {
        let world = &world;
        let visitors: Vec<_> = (0..VISITORS).map(|seed| scope.spawn(move || visit(world, seed))).collect();
        let writer = scope.spawn(move || write(world, writing));
        let begun = Instant::now();
        let counted = (|| {
            until(begun + BEFORE);
            let before = (behind.routed()?, world.reads.load(Ordering::Relaxed));
            until(begun + BEFORE + COUNTED);
            let after = (behind.routed()?, world.reads.load(Ordering::Relaxed));
            let (routed, reads) = (after.0 - before.0, after.1.saturating_sub(before.1));
            println!("{} reads; {}; {:?}", reads, routed.told(), behind.kept()?);
            Ok(100.0 * routed.on_replicas() / (reads as f64).max(1.0))
        })();
        world.over.store(true, Ordering::Relaxed);
        for thread in visitors.into_iter().chain([writer]) {
            thread.join().map_err(|_| anyhow::anyhow!("a visitor panicked"))??;
        }
        counted
    })
}

fn tables(cluster: &Cluster) -> Result<()> {
    let mut root = cluster.primary.connect()?;
    for table in 0..TABLES {
        root.query(&format!(
            "CREATE TABLE app.content_{table} (id INT PRIMARY KEY, n INT NOT NULL, body VARCHAR(100) NOT NULL)"
        ))?;
        root.query(&format!(
            "INSERT INTO app.content_{table} SELECT seq, 0, MD5(seq) FROM app.seq_1_to_{ROWS}"
        ))?;
    }
    for table in 0..2 {
        root.query(&format!("CREATE TABLE app.session_{table} (id INT PRIMARY KEY, n INT NOT NULL)"))?;
        root.query(&format!("INSERT INTO app.session_{table} SELECT seq, 0 FROM app.seq_1_to_{ROWS}"))?;
    }
    Ok(())
}

fn connect(world: &World) -> Result<Connection> {
    Connection::open_tcp(&world.address, APP_USER, APP_PASSWORD, Some("app"))
}

fn visit(world: &World, seed: u64) -> Result<()> {
    let mut dice = Dice(seed + 1);
    while !world.over.load(Ordering::Relaxed) {
        let mut connection = connect(world)?;
        for _ in 0..READS {
            let (table, id) = (dice.below(TABLES), dice.below(ROWS) + 1);
            let rows = connection.query(&format!("SELECT body, n FROM content_{table} WHERE id = {id}"))?;
            rows.first().context("no row")?;
            world.reads.fetch_add(1, Ordering::Relaxed);
        }
        let (table, id) = (dice.below(2), dice.below(ROWS) + 1);
        connection.query(&format!("UPDATE session_{table} SET n = n + 1 WHERE id = {id}"))?;
        drop(connection);
        until(Instant::now() + PAUSE);
    }
    Ok(())
}

/// One of the tables each half second, whichever the dice say.
fn write(world: &World, writing: Writing) -> Result<()> {
    let mut dice = Dice(77);
    let mut due = Instant::now();
    while !world.over.load(Ordering::Relaxed) {
        let (table, id) = (dice.below(TABLES), dice.below(ROWS) + 1);
        let bound = match writing {
            Writing::AnyRow => "id % 500 = 7".to_owned(),
            Writing::OneRow => format!("id = {id}"),
        };
        connect(world)?.query(&format!("UPDATE content_{table} SET n = n + 1 WHERE {bound}"))?;
        due += WRITE_EVERY;
        until(due);
    }
    Ok(())
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (word ^ (word >> 31)) % most
    }
}
