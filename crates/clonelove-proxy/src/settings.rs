//! What the proxy runs on: checked values, no text that is really an enum. Owns the shape of the
//! settings and their defaults; must not read files or know TOML (the binary does).

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use clonelove_route::freshness::Rules;
pub use clonelove_wire::Caps;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::crypto::PasswordKey;
use crate::tls::{Acceptor, ClientTls, Connector};

/// A password or token. Zeroised on drop, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes of a secret.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// The secret itself, for the one place that must have it.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Everything the proxy needs to know. A reload publishes a new one whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Fixed at start.
    pub listen: Listen,
    /// The servers, in the order of the file; never empty.
    pub servers: Vec<ServerSettings>,
    /// The monitoring account and the pace of the probes.
    pub monitor: Monitor,
    /// The users that may log in.
    pub users: Vec<User>,
    /// Whether the accounts of the primary may log in beside them.
    pub users_from: UsersFrom,
    /// How statements are routed.
    pub routing: Routing,
    /// Backend connections.
    pub pool: Pool,
    /// Bounds, each by name.
    pub limits: Limits,
    /// How clients are taken over TLS; none when there is no certificate, and TLS is not offered.
    pub tls: Option<Arc<Acceptor>>,
    /// By which clients encrypt passwords without TLS; none is one made at the start.
    pub rsa_key: Option<Arc<PasswordKey>>,
    /// The rules of freshness: all, but for tests that show what one of them is for.
    pub rules: Rules,
}

impl Settings {
    /// Takes over from the settings before what is the same in both, so that sessions of TLS can be resumed
    /// across a reload.
    pub(crate) fn keep_tls_of(&mut self, before: &Settings) {
        if self.tls == before.tls {
            self.tls.clone_from(&before.tls);
        }
        for server in &mut self.servers {
            let old = before.servers.iter().find(|old| old.name == server.name);
            if let Some(old) = old.filter(|old| old.tls == server.tls) {
                server.tls = Arc::clone(&old.tls);
            }
        }
    }
}

/// `[listen]`: needs a restart.
#[derive(Clone, Debug, PartialEq)]
pub struct Listen {
    /// MySQL listeners; never empty.
    pub mysql: Vec<ListenAddress>,
    /// Who must tell by the PROXY protocol whom it speaks for, and is believed; empty is nobody.
    pub proxy_protocol: Vec<Network>,
    /// Mode of the unix sockets, for instance 0o777.
    pub unix_mode: u32,
    /// How clients may compress: COMPRESS (zlib), ZSTD, both or none.
    pub compression: Caps,
}

/// One MySQL listener.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenAddress {
    /// Where.
    pub address: Address,
    /// Whether reads may leave the primary.
    pub route: Route,
    /// Whether clients must use TLS.
    pub tls: ClientTls,
}

/// Where a server or listener is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// `host:port`, `[v6]:port`; the host may be a name.
    Tcp {
        /// A name or an address, without brackets.
        host: String,
        /// The port; 0 lets the system choose (listeners only).
        port: u16,
    },
    /// `unix:PATH`.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp { host, port } => write!(f, "{host}:{port}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// `route`: may reads be split off, or does everything go to the primary?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Route {
    /// Reads go to replicas.
    #[default]
    Split,
    /// Everything goes to the primary.
    Primary,
}

/// One `[[server]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerSettings {
    /// The metric label; unique.
    pub name: String,
    /// Where it listens.
    pub address: Address,
    /// Found out, or pinned by the administrator.
    pub role: RoleSetting,
    /// 0 to 10000; 0 is a last resort.
    pub weight: u32,
    /// Empty when zones are not used.
    pub zone: String,
    /// Backend connections at most.
    pub max_connections: usize,
    /// Whether and how it is connected to over TLS.
    pub tls: Arc<Connector>,
    /// How we compress towards it, if it can: COMPRESS (zlib), ZSTD or none.
    pub compression: Caps,
    /// Whether it is told by the PROXY protocol where a client is.
    pub proxy_protocol: bool,
}

/// `role`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RoleSetting {
    /// Found out by the probe.
    #[default]
    Auto,
    /// Pinned: may be the primary only.
    Primary,
    /// Pinned: never the primary.
    Replica,
}

/// `[monitor]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Monitor {
    /// The monitoring account.
    pub user: String,
    /// Its password.
    pub password: Secret,
    /// Between two probes of a server.
    pub interval: Duration,
    /// A probe that takes longer has failed.
    pub timeout: Duration,
    /// Failed probes in a row until a server is down.
    pub fall: u32,
    /// Good probes in a row until it is up again.
    pub rise: u32,
    /// Between two readings of the schema.
    pub schema_interval: Duration,
}

/// One `[[user]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct User {
    /// The account's name.
    pub name: String,
    /// One, or several during a rotation; the first is used towards servers.
    pub passwords: Vec<Secret>,
    /// Client connections at once; 0 is no limit.
    pub max_connections: usize,
    /// Where clients may come from; empty is anywhere.
    pub networks: Vec<Network>,
    /// Whether this user's reads may leave the primary.
    pub route: Route,
    /// Whether this user must use TLS.
    pub tls: ClientTls,
    /// Whether this user may give commands that show or end more than its own.
    pub admin: bool,
}

/// `[users] from`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UsersFrom {
    /// Those of `[[user]]`, and no others.
    #[default]
    Config,
    /// Those of `[[user]]`, and the accounts of the primary.
    Primary,
}

/// An IP network, `address/bits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// The network's address.
    pub address: IpAddr,
    /// Leading bits that count.
    pub bits: u8,
}

impl Network {
    /// Whether `address` lies in this network. An IPv4 address mapped into IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        fn cut(value: u128, width: u32, bits: u8) -> u128 {
            let drop = width.saturating_sub(u32::from(bits));
            value.checked_shr(drop).unwrap_or(0)
        }
        match (self.address.to_canonical(), address.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                cut(u32::from(net).into(), 32, self.bits) == cut(u32::from(ip).into(), 32, self.bits)
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                cut(net.into(), 128, self.bits) == cut(ip.into(), 128, self.bits)
            }
            _ => false,
        }
    }
}

/// `[routing]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Routing {
    /// What a read must reflect.
    pub freshness: Freshness,
    /// Whose writes.
    pub freshness_scope: FreshnessScope,
    /// How long a read waits for a replica to have what it needs.
    pub fresh_wait: Duration,
    /// The longest wait under `over_budget = "wait"`.
    pub max_wait: Duration,
    /// Reads at once that may go to the primary for want of a fresh replica; 0 is no limit.
    pub max_primary_reads: usize,
    /// What happens to those beyond it, and to those for which there is no primary.
    pub over_budget: OverBudget,
    /// A replica further behind gets no reads.
    pub max_lag: Duration,
    /// A replica whose clock is further off gets no reads.
    pub max_skew: Duration,
    /// What happens when no replica is eligible.
    pub fallback: Fallback,
    /// How a replica is chosen among the eligible.
    pub balance: Balance,
    /// The proxy's own zone; empty when zones are not used.
    pub zone: String,
    /// How long a returning replica takes to get its full share.
    pub warm_up: Duration,
    /// What is let through at all.
    pub mode: Mode,
}

/// `freshness`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Freshness {
    /// Bounded by `max_lag` only.
    Eventual,
    /// A connection sees its own writes.
    Session,
    /// A read reflects every acknowledged write of the tables it touches.
    Table,
    /// The same, by rows where both statements bound a column by literals.
    Key,
    /// The same for writers elsewhere: the primary is asked before each read.
    Strict,
}

impl Freshness {
    /// Whether reads reflect what other sessions wrote.
    pub fn is_global(self) -> bool {
        matches!(self, Freshness::Table | Freshness::Key | Freshness::Strict)
    }
}

/// `freshness_scope`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FreshnessScope {
    /// Those of this proxy's clients.
    Proxy,
    /// Anybody's, once the primary's binary log has told of them.
    Cluster,
}

/// `over_budget`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverBudget {
    /// The read waits for a replica, up to `max_wait`.
    Wait,
    /// It gets what a replica has.
    Stale,
    /// It is refused.
    Error,
}

/// `fallback`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// Reads go to the primary.
    Primary,
    /// Reads get an error.
    Error,
}

/// `balance`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// Fewest statements in flight for its weight, of two drawn by weight.
    LeastInFlight,
    /// Drawn by weight.
    WeightedRandom,
}

/// `mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The normal one.
    Split,
    /// Everything to the primary.
    PrimaryOnly,
    /// Writes are refused.
    ReadOnly,
}

/// `[pool]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// To connect and log in to a server.
    pub connect_timeout: Duration,
    /// To wait for a free connection.
    pub queue_timeout: Duration,
    /// Idle connections kept for each server and user.
    pub max_idle: usize,
    /// Idle connections kept warm.
    pub min_idle: usize,
    /// An idle connection older than this is closed.
    pub idle_timeout: Duration,
    /// A connection older than this is closed when it comes back.
    pub max_age: Duration,
    /// The share of `max_connections` kept for writes.
    pub write_reserve: f64,
}

/// `[limits]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Clients at once.
    pub client_connections: usize,
    /// To complete the log-in.
    pub login_timeout: Duration,
    /// A client silent for longer is closed.
    pub client_idle_timeout: Duration,
    /// What a drain waits for transactions.
    pub drain_timeout: Duration,
    /// The largest packet from a client, in bytes.
    pub max_packet: u64,
    /// A longer statement is forwarded unread, in bytes.
    pub analyse_up_to: usize,
    /// Statement facts remembered.
    pub facts_cache: usize,
    /// Watermarks remembered.
    pub watermarks: usize,
    /// Prepared statements on a backend connection.
    pub prepared_per_connection: usize,
    /// Whether servers may ask clients for the files that their LOAD DATA LOCAL names.
    pub local_infile: bool,
}

/// A client's address as seen by the listener; none on a unix socket.
pub type PeerAddress = Option<SocketAddr>;

impl Default for Routing {
    fn default() -> Self {
        Self {
            freshness: Freshness::Key,
            freshness_scope: FreshnessScope::Proxy,
            fresh_wait: Duration::from_millis(5),
            max_wait: Duration::from_secs(10),
            max_primary_reads: 0,
            over_budget: OverBudget::Wait,
            max_lag: Duration::from_secs(30),
            max_skew: Duration::from_secs(1),
            fallback: Fallback::Primary,
            balance: Balance::LeastInFlight,
            zone: String::new(),
            warm_up: Duration::from_secs(30),
            mode: Mode::Split,
        }
    }
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(2),
            queue_timeout: Duration::from_secs(5),
            max_idle: 50,
            min_idle: 2,
            idle_timeout: Duration::from_secs(300),
            max_age: Duration::from_secs(3600),
            write_reserve: 0.2,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            client_connections: 10_000,
            login_timeout: Duration::from_secs(10),
            client_idle_timeout: Duration::from_secs(8 * 3600),
            drain_timeout: Duration::from_secs(30),
            max_packet: 1 << 30,
            analyse_up_to: 16 << 20,
            facts_cache: 10_000,
            watermarks: 100_000,
            prepared_per_connection: 500,
            local_infile: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_its_addresses_only() {
        let net = Network { address: "10.1.0.0".parse().unwrap(), bits: 16 };
        assert!(net.contains("10.1.2.3".parse().unwrap()));
        assert!(net.contains("::ffff:10.1.2.3".parse().unwrap()));
        assert!(!net.contains("10.2.0.1".parse().unwrap()));
        assert!(!net.contains("::1".parse().unwrap()));
        let all = Network { address: "0.0.0.0".parse().unwrap(), bits: 0 };
        assert!(all.contains("1.2.3.4".parse().unwrap()));
        let one = Network { address: "::1".parse().unwrap(), bits: 128 };
        assert!(one.contains("::1".parse().unwrap()) && !one.contains("::2".parse().unwrap()));
    }
}
