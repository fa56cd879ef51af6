//! The handle by which the outside (admin port, signals) sees and steers a running proxy. Owns the
//! shape of the status; must not know HTTP.

use serde::Serialize;
use std::collections::BTreeMap;

/// The answer of `GET /status`; field by field the shape that scripts rely on.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The program's version.
    pub version: String,
    /// The process.
    pub pid: u32,
    /// RFC 3339, UTC.
    pub started: String,
    /// Since then.
    pub uptime_seconds: f64,
    /// Whether a drain is under way.
    pub draining: bool,
    /// Where clients and scrapers connect.
    pub listen: ListenStatus,
    /// The primary's name, if there is one.
    pub primary: Option<String>,
    /// Grows with each change of primary.
    pub epoch: u64,
    /// `[routing] mode`.
    pub mode: crate::settings::Mode,
    /// What reads reflect.
    pub freshness: FreshnessStatus,
    /// What is known of the schema.
    pub schema: SchemaStatus,
    /// Who may log in.
    pub users: UsersStatus,
    /// Clients connected.
    pub clients: ClientsStatus,
    /// Commands by target and reason.
    pub queries: BTreeMap<&'static str, BTreeMap<&'static str, u64>>,
    /// Of the reads, the share that replicas answered; null before the first.
    pub reads_on_replicas: Option<f64>,
    /// One for each configured server.
    pub servers: Vec<ServerStatus>,
    /// The first hundred pinned sessions.
    pub pins: Vec<PinStatus>,
    /// How many there are in all.
    pub pins_total: usize,
    /// The first hundred statements learnt to be no reads.
    pub learned: Vec<LearnedStatus>,
    /// How many there are in all.
    pub learned_total: usize,
}

/// `listen` of [`Status`].
#[derive(Clone, Debug, Serialize)]
pub struct ListenStatus {
    /// As bound, with real ports.
    pub mysql: Vec<String>,
    /// The admin port; filled in by the binary.
    pub http: Option<String>,
}

/// `freshness` of [`Status`].
#[derive(Clone, Debug, Serialize)]
pub struct FreshnessStatus {
    /// `[routing] freshness`.
    pub mode: crate::settings::Freshness,
    /// `[routing] freshness_scope`.
    pub scope: crate::settings::FreshnessScope,
    /// Everything up to this position of the primary's binary log is known; null: it is not followed.
    pub followed: Option<String>,
    /// What keeps the promise from being whole.
    pub degraded: Vec<Degraded>,
    /// Watermarks held.
    pub watermarks: BTreeMap<&'static str, u64>,
    /// Tables whose reads stay on the primary.
    pub keeps_on_primary: Vec<KeepsOnPrimary>,
}

/// Why freshness is not what it could be.
#[derive(Clone, Debug, Serialize)]
pub struct Degraded {
    /// no_gtid | no_tracking | no_privilege | binlog_behind
    pub cause: &'static str,
    /// What to do.
    pub hint: String,
}

/// A table whose reads stay on the primary.
#[derive(Clone, Debug, Serialize)]
pub struct KeepsOnPrimary {
    /// `schema.table`.
    pub table: String,
    /// Reads so far.
    pub reads: u64,
    /// It was written past the binary log: its reads stay there until a logged change of its definition.
    pub unlogged: bool,
}

/// `schema` of [`Status`]: null until the schema is read.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SchemaStatus {
    /// Since the last reading.
    pub age_seconds: Option<f64>,
    /// Base tables.
    pub tables: Option<u64>,
    /// Views.
    pub views: Option<u64>,
    /// Procedures and functions.
    pub routines: Option<u64>,
    /// Triggers.
    pub triggers: Option<u64>,
}

/// `users` of [`Status`].
#[derive(Clone, Debug, Default, Serialize)]
pub struct UsersStatus {
    /// `[users] from`.
    pub from: crate::settings::UsersFrom,
    /// Accounts known of the primary; null while they were never read.
    pub accounts: Option<u64>,
    /// Since they were last read.
    pub age_seconds: Option<f64>,
    /// Why they cannot be read.
    pub problem: Option<String>,
    /// The statement that would help.
    pub hint: Option<String>,
}

/// `clients` of [`Status`].
#[derive(Clone, Debug, Serialize)]
pub struct ClientsStatus {
    /// Connected now.
    pub now: u64,
    /// Since the start.
    pub total: u64,
    /// `client_connections`.
    pub limit: u64,
}

/// One server of [`Status`].
#[derive(Clone, Debug, Serialize)]
pub struct ServerStatus {
    /// Configured name.
    pub name: String,
    /// Configured address.
    pub address: String,
    /// primary | replica | unknown
    pub role: &'static str,
    /// Whether the config pins the role.
    pub pinned_role: bool,
    /// up | down | draining | lagging | broken
    pub state: &'static str,
    /// For reads.
    pub eligible: bool,
    /// Why it is not, or is.
    pub why: String,
    /// mariadb | mysql, once known.
    pub flavour: Option<&'static str>,
    /// As the server says it.
    pub version: Option<String>,
    /// Configured weight.
    pub weight: u32,
    /// Configured zone.
    pub zone: String,
    /// By positions.
    pub lag_seconds: Option<f64>,
    /// What the server says.
    pub reported_lag_seconds: Option<f64>,
    /// GTID position, as text.
    pub position: Option<String>,
    /// Statements under way.
    pub in_flight: u64,
    /// Backend connections.
    pub connections: ConnectionsStatus,
    /// Statements sent.
    pub queries: u64,
    /// The last fault of its probe or connections.
    pub last_error: Option<String>,
    /// RFC 3339 time of the last change of state.
    pub since: String,
}

/// `connections` of [`ServerStatus`].
#[derive(Clone, Debug, Default, Serialize)]
pub struct ConnectionsStatus {
    /// In the pool.
    pub idle: u64,
    /// Leased.
    pub busy: u64,
    /// Leased by a pinned session.
    pub pinned: u64,
    /// Of the probes.
    pub monitor: u64,
    /// `max_connections`.
    pub max: u64,
}

/// A pinned session.
#[derive(Clone, Debug, Serialize)]
pub struct PinStatus {
    /// The client's connection id.
    pub session: u64,
    /// Its user.
    pub user: String,
    /// Its address.
    pub client: String,
    /// The pin's name.
    pub pin: &'static str,
    /// Digest text of the statement that pinned.
    pub statement: String,
    /// For how long.
    pub seconds: f64,
}

/// A statement that a replica refused as no read.
#[derive(Clone, Debug, Serialize)]
pub struct LearnedStatus {
    /// 16 hex digits.
    pub digest: String,
    /// Digest text.
    pub statement: String,
    /// Refusals.
    pub count: u64,
}
