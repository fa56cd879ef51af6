//! What one probe learns about one server, and how to read it out of the rows that the server sent.
//!
//! Owns the statements of a probe and the meaning of their columns in both flavours. Running them, and judging
//! what they say, belongs to others.

mod defaults;
#[cfg(test)]
pub(crate) mod fixture;
mod rows;
#[cfg(test)]
mod tests;

use std::fmt;

pub use clonelove_sql::Flavour;
pub use defaults::UnlikeDefaults;
pub use rows::{
    BadReport, PROBE_MARIADB, PROBE_MYSQL, PROBE_MYSQL_OLD, ResultRows, channel_from_row, probe_statements,
    report_from,
};

use crate::freshness::Rules;
use crate::position::Position;

/// The word for a flavour, wherever a person or a program outside reads it.
pub trait FlavourName {
    /// `mariadb` or `mysql`.
    fn as_str(&self) -> &'static str;
}

impl FlavourName for Flavour {
    fn as_str(&self) -> &'static str {
        match self {
            Flavour::MariaDb => "mariadb",
            Flavour::MySql => "mysql",
        }
    }
}

/// What a probe of one server found out.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Which server answered.
    pub identity: Identity,
    /// Its family.
    pub flavour: Flavour,
    /// `@@version`, as the server says it.
    pub version: String,
    /// Whether it refuses ordinary users' writes: `read_only`, `super_read_only` or `innodb_read_only`.
    pub read_only: bool,
    /// The replication channels configured on it, running or not. None on a primary.
    pub replication: Vec<Channel>,
    /// What it has executed: `gtid_slave_pos` on MariaDB, `gtid_executed` on MySQL. `None` when it has no GTIDs.
    pub position: Option<Position>,
    /// What it has as a primary: `gtid_binlog_pos` on MariaDB, `gtid_executed` on MySQL. `None` when it has no GTIDs.
    pub binlog_position: Option<Position>,
    /// What can be promised of its GTIDs.
    pub gtid: GtidSupport,
    /// It commits when a replica has acknowledged and not before (semi-synchronous replication, AFTER_SYNC): replicas
    /// may show a write earlier than it does.
    pub commits_last: bool,
    /// Whether it asks for the names of clients' hosts, so that who comes from its own machine is `localhost`.
    pub resolves_names: bool,
    /// How many prepared statements it holds at most, of all its clients together (`max_prepared_stmt_count`).
    pub most_prepared: Option<u32>,
    /// How far its clock is ahead of the prober's, in seconds; negative when behind. Zero until
    /// [`Report::measure_clock`] was called.
    pub clock_skew: f64,
    /// Its clock while it answered, in seconds since 1970.
    pub server_clock: f64,
    /// The values with which a session begins, of the variables that change what a read returns.
    pub defaults: Vec<(String, String)>,
    /// The time zone that `SYSTEM` stands for, as its offsets from UTC at fixed moments.
    pub system_zone: String,
    /// How long it has been running.
    pub uptime_seconds: u64,
}

/// What tells one server from another, restarts notwithstanding.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    /// MariaDB has no identifier that is unique by promise, so that everything it says of itself is taken together.
    MariaDb {
        /// `@@server_id`: unique among the servers of one replication set-up.
        server_id: u32,
        /// `@@hostname`.
        hostname: String,
        /// `@@port`; 0 when it listens on a socket only.
        port: u16,
        /// `@@datadir`: tells apart servers of one machine.
        datadir: String,
        /// `@@server_uid`, where there is one (from 10.5.26, 10.6.19, 10.11.9, 11.4.3).
        server_uid: String,
    },
    /// MySQL.
    MySql {
        /// `@@server_uuid`.
        server_uuid: String,
        /// `@@server_id`.
        server_id: u32,
    },
}

/// One replication channel of a replica.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Channel {
    /// The host it replicates from, as configured there.
    pub source_host: String,
    /// The port it replicates from.
    pub source_port: u16,
    /// The source's server id, once it has been connected.
    pub source_id: Option<u32>,
    /// The source's UUID (MySQL), once it has been connected.
    pub source_uuid: Option<String>,
    /// The receiving thread runs and is connected.
    pub io_running: bool,
    /// The receiving thread runs and tries to connect.
    pub io_connecting: bool,
    /// The applying thread runs.
    pub sql_running: bool,
    /// `Seconds_Behind_Master` as the server says it; `None` for its NULL.
    pub lag: Option<f64>,
    /// The delay that it keeps on purpose (`MASTER_DELAY`), in seconds.
    pub intended_delay: u64,
    /// Some events are left out, so that its position moves on without their rows.
    pub filtered: bool,
    /// It asks its source by GTID rather than by file and offset.
    pub uses_gtid: bool,
    /// What stopped it; empty when nothing did.
    pub last_error: String,
}

/// What can be promised of a server's GTIDs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GtidSupport {
    /// A write on this server gets a GTID and is logged: binary log on and, on MySQL, `gtid_mode=ON`.
    pub writes: bool,
    /// What it replicates goes into its own binary log too, so that it can take over as a source.
    pub relays: bool,
    /// Transactions become visible in the order of their numbers: always so within a domain of MariaDB; on MySQL
    /// with `replica_preserve_commit_order`.
    pub ordered: bool,
    /// It is a node of a Galera cluster, whose GTIDs make no promise here.
    pub cluster: bool,
}

impl Report {
    /// Measures the clock, given the prober's own clock (seconds since 1970) when the probe's statements were sent
    /// and when the last answer was there. A server clock between the two counts as right: the way of the packets
    /// is no skew.
    pub fn measure_clock(&mut self, sent: f64, received: f64) {
        self.clock_skew = if self.server_clock > received {
            self.server_clock - received
        } else if self.server_clock < sent {
            self.server_clock - sent
        } else {
            0.0
        };
    }

    /// All that it has, as a primary: what it wrote, and what it replicated before.
    pub fn written(&self) -> Option<Position> {
        let mut written = self.binlog_position.clone()?;
        if let Some(replicated) = &self.position {
            written.union(replicated);
        }
        Some(written)
    }

    /// The largest lag that its channels admit to, an intended delay included, in seconds. `None` when there is no
    /// channel, or one cannot tell.
    pub fn reported_lag(&self) -> Option<f64> {
        self.lag_by(Rules::all())
    }

    pub(crate) fn lag_by(&self, kept: Rules) -> Option<f64> {
        let lags = self.replication.iter().map(|channel| {
            let delay =
                if kept.contains(Rules::INTENDED_DELAY) { channel.intended_delay as f64 } else { 0.0 };
            Some(channel.lag?.max(delay))
        });
        lags.reduce(|one, other| Some(one?.max(other?))).flatten()
    }

    /// The server id.
    pub fn server_id(&self) -> u32 {
        match &self.identity {
            Identity::MariaDb { server_id, .. } | Identity::MySql { server_id, .. } => *server_id,
        }
    }
}

impl Channel {
    /// Whether either thread is at work.
    pub fn is_started(&self) -> bool {
        self.io_running || self.io_connecting || self.sql_running
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Identity::MariaDb { server_id, hostname, port, .. } => {
                write!(f, "server_id {server_id} on {hostname}:{port}")
            }
            Identity::MySql { server_uuid, server_id } => {
                write!(f, "server_uuid {server_uuid} (server_id {server_id})")
            }
        }
    }
}
