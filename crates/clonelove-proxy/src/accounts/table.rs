//! The accounts of the servers as a value: whose is whose, in the order in which servers look. Owns patterns of hosts
//! and their order; asks nobody.
//!
//! Sources: <https://dev.mysql.com/doc/refman/8.4/en/connection-access.html>,
//! <https://dev.mysql.com/doc/refman/8.4/en/account-names.html>,
//! <https://mariadb.com/kb/en/create-user/#account-names>.

use std::cmp::Reverse;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use clonelove_route::report::Flavour;
use clonelove_wire::auth::Credential;
use zeroize::Zeroize;

/// An account as the servers' tables have it.
pub(crate) struct Account {
    pub(crate) user: String,
    pub(crate) host: String,
    /// How the server lets it in, each by its plugin's name and what is kept for it.
    pub(crate) ways: Vec<(String, Vec<u8>)>,
    pub(crate) locked: bool,
    /// It must use TLS.
    pub(crate) tls: bool,
    /// Connections at once; 0 is no limit.
    pub(crate) max_connections: usize,
    /// Its password has expired or is about to, or too many wrong ones lock it: what only the server knows.
    pub(crate) watched: bool,
}

impl Account {
    /// `'user'@'host'`.
    pub(crate) fn name(&self) -> String {
        format!("'{}'@'{}'", self.user, self.host)
    }

    /// What a proof can be compared with; nothing where no way in is by a password that is known here.
    pub(crate) fn credentials(&self) -> Vec<Credential> {
        self.ways.iter().filter_map(|(plugin, text)| Credential::stored(plugin, text)).collect()
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        // Hashes are as good as passwords to who has time.
        for (_, text) in &mut self.ways {
            text.zeroize();
        }
    }
}

/// All of them.
#[derive(Default)]
pub(crate) struct Table {
    /// In the order in which the server looks.
    accounts: Vec<(Pattern, Arc<Account>)>,
    /// Whether the server takes who comes from its own machine for `localhost`, as it does unless it is told not to
    /// ask for names.
    resolves: bool,
}

impl Table {
    pub(crate) fn new(mut accounts: Vec<Account>, flavour: Flavour, resolves: bool) -> Self {
        accounts.sort_by_cached_key(|account| order(account, flavour));
        let accounts = accounts.into_iter();
        let accounts =
            accounts.map(|account| (Pattern::of(&account.host, flavour), Arc::new(account))).collect();
        Self { accounts, resolves }
    }

    /// The account that a client of this name and address is, as the server would have it. Who has no address came
    /// by a unix socket.
    pub(crate) fn find(&self, user: &[u8], address: Option<IpAddr>) -> Option<&Arc<Account>> {
        let address = address.map(|ip| ip.to_canonical());
        let local = address.is_none_or(|ip| self.resolves && ip.is_loopback());
        let origin = Origin {
            name: local.then_some("localhost"),
            ip: address,
            text: address.map(|ip| ip.to_string()),
        };
        self.accounts
            .iter()
            .find(|(pattern, account)| {
                (account.user.is_empty() || account.user.as_bytes() == user) && pattern.matches(&origin)
            })
            .map(|(_, account)| account)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Account>> {
        self.accounts.iter().map(|(_, account)| account)
    }

    pub(crate) fn len(&self) -> usize {
        self.accounts.len()
    }
}

/// Where a client comes from, in the forms that hosts of accounts are compared with.
struct Origin {
    name: Option<&'static str>,
    ip: Option<IpAddr>,
    text: Option<String>,
}

/// The host of an account.
#[derive(Debug, PartialEq, Eq)]
enum Pattern {
    /// A network of IPv4.
    Net { address: u32, mask: u32 },
    /// Text with `%` and `_`.
    Text(String),
}

impl Pattern {
    fn of(host: &str, flavour: Flavour) -> Self {
        match network(host, flavour) {
            Some((address, mask, _)) => Pattern::Net { address, mask },
            None => Pattern::Text(host.to_owned()),
        }
    }

    fn matches(&self, origin: &Origin) -> bool {
        match self {
            Pattern::Net { address, mask } => {
                matches!(origin.ip, Some(IpAddr::V4(ip)) if u32::from(ip) & mask == *address)
            }
            Pattern::Text(text) if text.is_empty() => true,
            Pattern::Text(text) => {
                let candidates = [origin.name, origin.text.as_deref()];
                candidates.into_iter().flatten().any(|candidate| like(candidate.as_bytes(), text.as_bytes()))
            }
        }
    }
}

/// Where an account stands among those that match: smaller is looked at first.
type Order = ((u8, u8, Reverse<u32>), Reverse<u16>, u8, String);

/// Hosts without wildcards come first, then those whose first wildcard stands last; of the same host the named user
/// comes before the nameless one. MySQL puts addresses and networks of IPv4 before all of that, single ones first,
/// then those with a prefix's length, then those with a mask, smaller networks first.
fn order(account: &Account, flavour: Flavour) -> Order {
    let network = match flavour {
        Flavour::MySql => network(&account.host, flavour).filter(|(address, ..)| *address != 0),
        Flavour::MariaDb => None,
    };
    let network = match network {
        Some((_, mask, kind)) => (0, kind, Reverse(mask)),
        None => (1, 0, Reverse(0)),
    };
    let rank = (u16::from(rank(&account.host)) << 8) | u16::from(rank(&account.user));
    // `localhost` before the addresses of the same machine, else by name, so that the order is one.
    let local = u8::from(account.host != "localhost");
    (network, Reverse(rank), local, account.host.clone())
}

/// How much a text says before its first wildcard: 128 if there is none, 0 if there is no text.
fn rank(text: &str) -> u8 {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'%' | b'_' => return u8::try_from(at).unwrap_or(127).saturating_add(1).min(127),
            _ => {}
        }
    }
    if text.is_empty() { 0 } else { 128 }
}

/// An address of IPv4, alone or with a mask or, on MySQL, a prefix's length: the network, its mask, and which of the
/// three.
fn network(host: &str, flavour: Flavour) -> Option<(u32, u32, u8)> {
    let (address, mask, kind) = match host.split_once('/') {
        Some((_, bits)) if flavour == Flavour::MariaDb && bits.parse::<u32>().is_ok() => return None,
        None => (host, u32::MAX, 0),
        Some((address, bits)) => match bits.parse::<u32>() {
            Ok(bits @ 0..=32) => (address, u32::MAX.checked_shl(32 - bits).unwrap_or(0), 1),
            Ok(_) => return None,
            Err(_) => (address, u32::from(bits.parse::<Ipv4Addr>().ok()?), 2),
        },
    };
    let address = u32::from(address.parse::<Ipv4Addr>().ok()?);
    Some((address, mask, kind))
}

/// LIKE, without regard to ASCII case: `%` is any text, `_` any one byte, a backslash takes what follows as it is.
fn like(text: &[u8], pattern: &[u8]) -> bool {
    let (mut at, mut in_pattern) = (0, 0);
    // Where the last `%` stands, and how much of the text it has taken.
    let mut retry: Option<(usize, usize)> = None;
    while at < text.len() {
        let (wanted, step) = match pattern.get(in_pattern) {
            Some(b'\\') if in_pattern + 1 < pattern.len() => (pattern.get(in_pattern + 1), 2),
            Some(b'%') => {
                retry = Some((in_pattern, at));
                in_pattern += 1;
                continue;
            }
            Some(b'_') => {
                at += 1;
                in_pattern += 1;
                continue;
            }
            other => (other, 1),
        };
        if wanted.is_some_and(|wanted| text.get(at).is_some_and(|byte| byte.eq_ignore_ascii_case(wanted))) {
            at += 1;
            in_pattern += step;
        } else if let Some((wildcard, taken)) = retry {
            in_pattern = wildcard + 1;
            at = taken + 1;
            retry = Some((wildcard, at));
        } else {
            return false;
        }
    }
    pattern.get(in_pattern..).is_none_or(|rest| rest.iter().all(|byte| *byte == b'%'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(user: &str, host: &str) -> Account {
        Account {
            user: user.to_owned(),
            host: host.to_owned(),
            ways: Vec::new(),
            locked: false,
            tls: false,
            max_connections: 0,
            watched: false,
        }
    }

    fn table(hosts: &[(&str, &str)], flavour: Flavour, resolves: bool) -> Table {
        Table::new(hosts.iter().map(|(user, host)| account(user, host)).collect(), flavour, resolves)
    }

    fn found(table: &Table, user: &str, ip: &str) -> String {
        let ip = (!ip.is_empty()).then(|| ip.parse().unwrap());
        table.find(user.as_bytes(), ip).map_or_else(String::new, |account| account.name())
    }

    #[test]
    fn the_most_specific_host_comes_first_and_a_nameless_account_may_win() {
        let all = [
            ("app", "%"),
            ("app", "10.%"),
            ("app", "10.0.0._"),
            ("app", "10.0.0.7"),
            ("app", "localhost"),
            ("", "10.1.0.1"),
            ("", ""),
        ];
        for flavour in [Flavour::MariaDb, Flavour::MySql] {
            let table = table(&all, flavour, true);
            for (ip, expected) in [
                ("10.0.0.7", "'app'@'10.0.0.7'"),
                ("10.0.0.8", "'app'@'10.0.0._'"),
                ("10.0.1.8", "'app'@'10.%'"),
                ("192.168.0.1", "'app'@'%'"),
                ("::ffff:10.0.0.7", "'app'@'10.0.0.7'"),
                ("127.0.0.1", "'app'@'localhost'"),
                ("::1", "'app'@'localhost'"),
                ("", "'app'@'localhost'"),
                ("10.1.0.1", "''@'10.1.0.1'"),
            ] {
                assert_eq!(found(&table, "app", ip), expected, "{flavour:?} {ip}");
            }
            assert_eq!(found(&table, "other", "10.0.0.7"), "''@''");
        }
        assert_eq!(found(&table(&all, Flavour::MariaDb, false), "app", "127.0.0.1"), "'app'@'%'");
    }

    #[test]
    fn networks_have_their_own_order_on_mysql() {
        let all = [
            ("app", "10.0.0.0/255.0.0.0"),
            ("app", "10.1.0.0/16"),
            ("app", "10.1.2.0/24"),
            ("app", "10.1.2.3"),
            ("app", "10.1.2.%"),
        ];
        let mysql = table(&all, Flavour::MySql, true);
        for (ip, expected) in [
            ("10.1.2.3", "'app'@'10.1.2.3'"),
            ("10.1.2.4", "'app'@'10.1.2.0/24'"),
            ("10.1.3.4", "'app'@'10.1.0.0/16'"),
            ("10.2.3.4", "'app'@'10.0.0.0/255.0.0.0'"),
            ("11.0.0.1", ""),
            ("", ""),
        ] {
            assert_eq!(found(&mysql, "app", ip), expected, "{ip}");
        }
        let text = table(&[("app", "10.1.2.%"), ("app", "10.1.0.0/16")], Flavour::MySql, true);
        assert_eq!(found(&text, "app", "10.1.2.9"), "'app'@'10.1.0.0/16'");
    }

    #[test]
    fn patterns_of_hosts_are_those_of_like() {
        for (text, pattern, expected) in [
            ("localhost", "%", true),
            ("localhost", "LOCAL%", true),
            ("10.0.0.1", "10.%.1", true),
            ("10.0.0.1", "10.%.2", false),
            ("10.0.0.1", "10.0.0._", true),
            ("10.0.0.12", "10.0.0._", false),
            ("a_b", "a\\_b", true),
            ("axb", "a\\_b", false),
            ("", "%", true),
            ("", "_", false),
            ("aaaaaaaaaaaaaaaaaaaaaaaaaaab", "%a%a%a%a%a%a%a%a%c", false),
            ("abc", "abc%%", true),
        ] {
            assert_eq!(like(text.as_bytes(), pattern.as_bytes()), expected, "{text} {pattern}");
        }
        assert_eq!(["", "%", "a%", "a\\_b", "abc"].map(rank), [0, 1, 2, 128, 128]);
    }
}
