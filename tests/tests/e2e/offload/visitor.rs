//! One visitor: what was recorded, at the times that were recorded, sent directly and through the proxy at once, and
//! the answers compared.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clonelove_testkit::Cluster;

use super::behind::Behind;
use super::site::Site;
use super::until;
use crate::replay::client::{Client, Said};
use crate::replay::open;
use crate::replay::order::{self, Answers, Asker};
use crate::replay::recording::{Connect, Request, Sent};

/// Plays recorded requests in a schema of its own.
pub(crate) struct Visitor<'a> {
    number: usize,
    site: &'a Site,
    direct: &'a Cluster,
    behind: &'a Behind,
    connections: BTreeMap<u64, Pair>,
    pub(crate) differences: Vec<String>,
    pub(crate) reordered: usize,
}

/// What was sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) selects: u64,
    /// Of these.
    pub(crate) in_transactions: u64,
    pub(crate) shows: u64,
    /// How much later than recorded the last command was sent.
    pub(crate) late: Duration,
}

/// The two sides of one recorded connection.
struct Pair {
    connect: Connect,
    /// The settings made on it so far.
    settings: Vec<Vec<u8>>,
    direct: Client,
    proxied: Client,
    in_transaction: bool,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Tally) {
        self.selects += other.selects;
        self.in_transactions += other.in_transactions;
        self.shows += other.shows;
        self.late = self.late.max(other.late);
    }
}

impl<'a> Visitor<'a> {
    pub(crate) fn new(number: usize, site: &'a Site, direct: &'a Cluster, behind: &'a Behind) -> Self {
        let (connections, differences) = (BTreeMap::new(), Vec::new());
        Self { number, site, direct, behind, connections, differences, reordered: 0 }
    }

    /// Plays the requests of a scenario that begins then.
    pub(crate) fn play(&mut self, requests: &[Request], begun: Instant) -> Result<Tally> {
        let mut tally = Tally::default();
        for request in requests {
            let place = format!("visitor {}, {}, {}", self.number, request.scenario, request.request);
            for command in &request.commands {
                let due = begun + Duration::from_secs_f64(command.t_ms / 1000.0);
                tally.late = Instant::now().saturating_duration_since(due);
                until(due);
                self.command(command.conn, &command.sent()?, &mut tally).with_context(|| place.clone())?;
            }
            ensure!(self.connections.is_empty(), "{place}: a connection does not end");
        }
        Ok(tally)
    }

    fn command(&mut self, connection: u64, sent: &Sent<'_>, tally: &mut Tally) -> Result<()> {
        match sent {
            Sent::Connect(connect) => {
                let connect = Connect { db: self.site.schema(self.number), ..(*connect).clone() };
                let direct = open(&self.direct.primary.address(), &connect)?;
                let proxied = open(&self.behind.proxy.addr(), &connect)?;
                let pair = Pair { connect, settings: Vec::new(), direct, proxied, in_transaction: false };
                let before = self.connections.insert(connection, pair);
                ensure!(before.is_none(), "connection {connection} begins twice");
            }
            Sent::Query(sql) => {
                let sql = self.site.renamed(self.number, sql);
                self.query(connection, &sql, tally)?;
            }
            Sent::Quit => {
                let pair = self.connections.remove(&connection).context("no such connection")?;
                pair.direct.quit()?;
                pair.proxied.quit()?;
            }
        }
        Ok(())
    }

    fn query(&mut self, connection: u64, sql: &[u8], tally: &mut Tally) -> Result<()> {
        let pair = self.connections.get_mut(&connection).context("no such connection")?;
        let text = || String::from_utf8_lossy(sql.get(..sql.len().min(400)).unwrap_or_default()).into_owned();
        let select = sql.starts_with(b"SELECT");
        tally.selects += u64::from(select);
        tally.in_transactions += u64::from(select && pair.in_transaction);
        tally.shows += u64::from(sql.starts_with(b"SHOW"));
        pair.direct.query(sql)?;
        pair.proxied.query(sql)?;
        let direct = pair.direct.reply().with_context(|| format!("directly: {}", text()))?;
        let proxied = pair.proxied.reply().with_context(|| format!("through clonelove: {}", text()))?;
        if let Some(difference) = direct.difference(&proxied) {
            let asker = Asker { connect: &pair.connect, settings: &pair.settings, sql };
            let answers = Answers { direct: &direct, proxied: &proxied };
            let read = select && !pair.in_transaction;
            if read && !order::plan_alone_differs(&answers)? {
                // Nobody else writes into this schema, so that it now comes to rest everywhere.
                self.behind.cluster.wait_caught_up()?;
                if order::alone_differs(&answers, &asker, self.direct, &self.behind.cluster)? {
                    self.reordered += 1;
                } else {
                    self.differences.push(format!("visitor {}: {}\n{difference}", self.number, text()));
                }
            } else if !read {
                self.differences.push(format!("visitor {}: {}\n{difference}", self.number, text()));
            }
        }
        if sql.starts_with(b"SET ") {
            pair.settings.push(sql.to_vec());
        }
        if !matches!(direct.said, Said::Error { .. }) {
            pair.in_transaction = direct.in_transaction();
        }
        Ok(())
    }
}
