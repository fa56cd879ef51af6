//! Each section's keys: their ranges, and their words. Owns the checks that need
//! one section only.

use std::ops::{Range, RangeInclusive};
use std::sync::Arc;
use std::time::Duration;

use clonelove_proxy::settings::{
    Address, Balance, Caps, Fallback, Freshness, FreshnessScope, Limits, Listen, ListenAddress, Mode,
    Monitor, Network, OverBudget, Pool, RoleSetting, Route, Routing, Secret, ServerSettings, User, UsersFrom,
};
use clonelove_proxy::tls::ClientTls;
use toml::Spanned;
use toml::de::DeValue;

use super::address::{Side, is_loopback, parse_address, parse_host_port, parse_network, same_place};
use super::secret::{self, Sources};
use super::section::Choice::Is;
use super::section::{Choice, Section, kind};
use super::tls::{CLIENT_TLS, NEEDS_CERTIFICATE, Tls, connector};
use super::value::is_name;
use super::{Http, Log, LogFormat};

/// A checked list element and where its keys stand, for the checks across sections.
pub(super) struct Placed<T> {
    /// The element.
    pub(super) value: T,
    /// Where what was written stands.
    pub(super) keys: Places,
}

/// Where the keys of a `[[server]]` or `[[user]]` stand that other sections may collide with.
pub(super) struct Places {
    pub(super) name: Range<usize>,
    pub(super) address: Range<usize>,
    pub(super) role: Range<usize>,
}

const DAY: Duration = Duration::from_secs(86_400);
const MILLISECOND: Duration = Duration::from_millis(1);
/// Longer than anyone means.
const LONG: RangeInclusive<Duration> = MILLISECOND..=Duration::from_secs(365 * 86_400);
const LONG_OR_NONE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(365 * 86_400);
/// More than a process can have.
const MANY: u64 = 1_000_000;

const ROUTES: [(&str, Choice<Route>); 2] = [("split", Is(Route::Split)), ("primary", Is(Route::Primary))];

/// `[listen]`.
pub(super) fn listen(section: &Section<'_>, sources: Sources<'_>, tls: &Tls) -> (Listen, Option<Http>) {
    let listen = Listen {
        mysql: listen_mysql(section, tls),
        proxy_protocol: networks(section, "proxy_protocol", "listen.proxy_protocol"),
        unix_mode: unix_mode(section),
        compression: compression(section),
    };
    let token = secret::read(section, "http_token", sources);
    if token.as_ref().is_some_and(|token| token.expose().is_empty()) {
        section.wrong(
            "http_token",
            "is empty",
            "give a long random one, for instance from openssl rand -hex 32",
        );
    }
    let read_only = section.flag("http_read_only", false);
    let http = http_address(section).map(|(host, port)| Http { host, port, token, read_only });
    if let Some(Http { host, port, token: None, read_only: false }) = &http
        && section.get("http_token").is_none()
        && !is_loopback(host)
    {
        let hint = "set http_token, or http_read_only = true, or listen on 127.0.0.1";
        let problem = format!("= \"{host}:{port}\" can be reached from elsewhere, without a token");
        section.wrong("http", &problem, hint);
    }
    if let Some(Http { host, port, .. }) = &http {
        let address = Address::Tcp { host: host.clone(), port: *port };
        if listen.mysql.iter().any(|each| same_place(&each.address, &address)) {
            section.wrong("http", "is a MySQL address as well", "give each a port of its own");
        }
    }
    (listen, http)
}

/// `[[server]]`.
pub(super) fn server(section: &Section<'_>, sources: Sources<'_>, tls: &Tls) -> Placed<ServerSettings> {
    section.require("address", "write address = \"host:3306\"");
    let address = section.text("address").and_then(|text| address(section, text, Side::Dial));
    let name = match section.text("name") {
        Some(name) if is_name(name) => name.to_owned(),
        Some(name) => {
            let hint = "1 to 64 of a-z, 0-9, dot, underscore, colon and hyphen: it becomes a metric label";
            section.wrong("name", &format!("= {name:?} is no name"), hint);
            String::new()
        }
        None => address.as_ref().map_or_else(String::new, |address| name_of(section, address)),
    };
    let role = section.choice(
        "role",
        RoleSetting::Auto,
        &[
            ("auto", Is(RoleSetting::Auto)),
            ("primary", Is(RoleSetting::Primary)),
            ("replica", Is(RoleSetting::Replica)),
        ],
    );
    let tls = connector(section, address.as_ref(), sources, tls);
    let compression = section.choice(
        "compression",
        Caps::empty(),
        &[("none", Is(Caps::empty())), ("zlib", Is(Caps::COMPRESS)), ("zstd", Is(Caps::ZSTD))],
    );
    let value = ServerSettings {
        name,
        address: address.unwrap_or_else(|| Address::Tcp { host: String::new(), port: 0 }),
        role,
        weight: u32::try_from(section.count("weight", 100, 0..=10_000)).unwrap_or(100),
        zone: zone(section),
        max_connections: section.count_usize("max_connections", 200, 1..=MANY),
        tls: Arc::new(tls),
        compression,
        proxy_protocol: section.flag("proxy_protocol", false),
    };
    let keys = Places {
        name: section.span_of(if section.get("name").is_some() { "name" } else { "address" }),
        address: section.span_of("address"),
        role: section.span_of("role"),
    };
    Placed { value, keys }
}

/// `[monitor]`.
pub(super) fn monitor(section: &Section<'_>, sources: Sources<'_>) -> Monitor {
    const HINT: &str = "the monitoring account; its grants are listed in docs/operations.md";
    if section.is_present() {
        section.require("user", HINT);
        section.require("password", "write password = \"text\", { env = \"NAME\" } or { file = \"/PATH\" }");
    } else {
        section.problems().missing(&section.span(), "section [monitor] is missing", HINT);
    }
    let user = section.text("user").unwrap_or_default();
    if user.is_empty() && section.get("user").is_some_and(|value| value.get_ref().is_str()) {
        section.wrong("user", "is empty", HINT);
    }
    let second = Duration::from_secs(1);
    Monitor {
        user: user.to_owned(),
        password: secret::read(section, "password", sources).unwrap_or_else(|| Secret::new("")),
        interval: section.duration("interval", second, Duration::from_millis(10)..=DAY),
        timeout: section.duration("timeout", second, Duration::from_millis(10)..=DAY),
        fall: u32::try_from(section.count("fall", 3, 1..=1000)).unwrap_or(3),
        rise: u32::try_from(section.count("rise", 2, 1..=1000)).unwrap_or(2),
        schema_interval: section.duration("schema_interval", Duration::from_secs(60), second..=DAY),
    }
}

/// `[[user]]`.
pub(super) fn user(section: &Section<'_>, sources: Sources<'_>, listen: &Listen, tls: &Tls) -> Placed<User> {
    section.require("name", "write name = \"…\", as the application logs in");
    let name = section.text("name").unwrap_or_default();
    if section.get("name").is_some_and(|value| value.get_ref().is_str()) && !(1..=80).contains(&name.len()) {
        section.wrong("name", "must have 1 to 80 bytes", "anonymous accounts are not served");
    }
    let required = section.choice("tls", ClientTls::Optional, &CLIENT_TLS);
    let local = || listen.mysql.iter().any(|one| matches!(one.address, Address::Unix(_)));
    if required == ClientTls::Required && !tls.offered && !local() {
        section.wrong("tls", "= \"required\" can never be met", NEEDS_CERTIFICATE);
    }
    let value = User {
        name: name.to_owned(),
        passwords: passwords(section, sources),
        max_connections: section.count_usize("max_connections", 0, 0..=MANY),
        networks: networks(section, "networks", "user.networks"),
        route: section.choice("route", Route::Split, &ROUTES),
        tls: required,
        admin: section.flag("admin", false),
    };
    let keys = Places { name: section.span_of("name"), address: section.span(), role: section.span() };
    Placed { value, keys }
}

/// `[users]`.
pub(super) fn users(section: &Section<'_>) -> UsersFrom {
    section.choice(
        "from",
        UsersFrom::Config,
        &[("config", Is(UsersFrom::Config)), ("primary", Is(UsersFrom::Primary))],
    )
}

/// `[routing]`.
pub(super) fn routing(section: &Section<'_>) -> Routing {
    let usual = Routing::default();
    let second = Duration::from_secs(1);
    Routing {
        freshness: section.choice(
            "freshness",
            usual.freshness,
            &[
                ("eventual", Is(Freshness::Eventual)),
                ("session", Is(Freshness::Session)),
                ("table", Is(Freshness::Table)),
                ("key", Is(Freshness::Key)),
                ("strict", Is(Freshness::Strict)),
            ],
        ),
        freshness_scope: section.choice(
            "freshness_scope",
            usual.freshness_scope,
            &[("proxy", Is(FreshnessScope::Proxy)), ("cluster", Is(FreshnessScope::Cluster))],
        ),
        fresh_wait: section.duration(
            "fresh_wait",
            usual.fresh_wait,
            Duration::ZERO..=Duration::from_secs(60),
        ),
        max_wait: section.duration("max_wait", usual.max_wait, Duration::ZERO..=DAY),
        max_primary_reads: section.count_usize("max_primary_reads", usual.max_primary_reads, 0..=MANY),
        over_budget: section.choice(
            "over_budget",
            usual.over_budget,
            &[
                ("wait", Is(OverBudget::Wait)),
                ("stale", Is(OverBudget::Stale)),
                ("error", Is(OverBudget::Error)),
            ],
        ),
        max_lag: section.duration("max_lag", usual.max_lag, second..=DAY),
        max_skew: section.duration("max_skew", usual.max_skew, MILLISECOND..=DAY),
        fallback: section.choice(
            "fallback",
            usual.fallback,
            &[("primary", Is(Fallback::Primary)), ("error", Is(Fallback::Error))],
        ),
        balance: section.choice(
            "balance",
            usual.balance,
            &[
                ("least_in_flight", Is(Balance::LeastInFlight)),
                ("weighted_random", Is(Balance::WeightedRandom)),
            ],
        ),
        zone: zone(section),
        warm_up: section.duration("warm_up", usual.warm_up, Duration::ZERO..=DAY),
        mode: section.choice(
            "mode",
            usual.mode,
            &[
                ("split", Is(Mode::Split)),
                ("primary_only", Is(Mode::PrimaryOnly)),
                ("read_only", Is(Mode::ReadOnly)),
            ],
        ),
    }
}

/// `[pool]`.
pub(super) fn pool(section: &Section<'_>) -> Pool {
    let usual = Pool::default();
    let pool = Pool {
        connect_timeout: section.duration("connect_timeout", usual.connect_timeout, MILLISECOND..=DAY),
        queue_timeout: section.duration("queue_timeout", usual.queue_timeout, MILLISECOND..=DAY),
        max_idle: section.count_usize("max_idle", usual.max_idle, 0..=MANY),
        min_idle: section.count_usize("min_idle", usual.min_idle, 0..=MANY),
        idle_timeout: section.duration("idle_timeout", usual.idle_timeout, LONG),
        max_age: section.duration("max_age", usual.max_age, LONG),
        write_reserve: section.share("write_reserve", usual.write_reserve),
    };
    if pool.min_idle > pool.max_idle {
        let key = if section.get("min_idle").is_some() { "min_idle" } else { "max_idle" };
        let problem = format!("leaves min_idle = {} above max_idle = {}", pool.min_idle, pool.max_idle);
        section.wrong(key, &problem, "min_idle is at most max_idle");
    }
    pool
}

/// `[limits]`.
pub(super) fn limits(section: &Section<'_>) -> Limits {
    let usual = Limits::default();
    let packet = (16 << 10)..=(1 << 30);
    let analysed = u64::try_from(usual.analyse_up_to).unwrap_or(16 << 20);
    let limits = Limits {
        client_connections: section.count_usize("client_connections", usual.client_connections, 1..=MANY),
        login_timeout: section.duration("login_timeout", usual.login_timeout, MILLISECOND..=DAY),
        client_idle_timeout: section.duration("client_idle_timeout", usual.client_idle_timeout, LONG),
        drain_timeout: section.duration("drain_timeout", usual.drain_timeout, LONG_OR_NONE),
        max_packet: section.size("max_packet", usual.max_packet, packet),
        analyse_up_to: usize::try_from(section.size("analyse_up_to", analysed, 1024..=(1 << 30)))
            .unwrap_or(usual.analyse_up_to),
        facts_cache: section.count_usize("facts_cache", usual.facts_cache, 1..=10 * MANY),
        watermarks: section.count_usize("watermarks", usual.watermarks, 1..=100 * MANY),
        prepared_per_connection: section.count_usize(
            "prepared_per_connection",
            usual.prepared_per_connection,
            1..=MANY,
        ),
        local_infile: section.flag("local_infile", usual.local_infile),
    };
    if u64::try_from(limits.analyse_up_to).unwrap_or(u64::MAX) > limits.max_packet {
        let key = if section.get("analyse_up_to").is_some() { "analyse_up_to" } else { "max_packet" };
        section.wrong(key, "leaves analyse_up_to above max_packet", "analyse_up_to is at most max_packet");
    }
    limits
}

/// `[log]`.
pub(super) fn log(section: &Section<'_>) -> Log {
    use tracing::Level;
    Log {
        level: section.choice(
            "level",
            Level::INFO,
            &[
                ("error", Is(Level::ERROR)),
                ("warn", Is(Level::WARN)),
                ("info", Is(Level::INFO)),
                ("debug", Is(Level::DEBUG)),
                ("trace", Is(Level::TRACE)),
            ],
        ),
        format: section.choice(
            "format",
            LogFormat::Auto,
            &[("auto", Is(LogFormat::Auto)), ("human", Is(LogFormat::Human)), ("json", Is(LogFormat::Json))],
        ),
    }
}

fn listen_mysql(section: &Section<'_>, tls: &Tls) -> Vec<ListenAddress> {
    let Some(list) = section.list("mysql") else {
        let address = Address::Tcp { host: "127.0.0.1".to_owned(), port: 3307 };
        return vec![ListenAddress { address, route: Route::Split, tls: ClientTls::Optional }];
    };
    if list.is_empty() {
        section.wrong("mysql", "is empty", "give at least one address, for instance \"127.0.0.1:3307\"");
    }
    let mut listeners: Vec<ListenAddress> = Vec::new();
    for (listener, span) in list.iter().filter_map(|element| listener(section, element, tls)) {
        if listeners.iter().any(|other| same_place(&other.address, &listener.address)) {
            section.wrong_at(
                &span,
                format!("listen.mysql names {} twice", listener.address),
                "keep one of them",
            );
        }
        listeners.push(listener);
    }
    listeners
}

fn listener<'a>(
    section: &Section<'a>,
    element: &'a Spanned<DeValue<'a>>,
    tls: &Tls,
) -> Option<(ListenAddress, Range<usize>)> {
    match element.get_ref() {
        DeValue::String(text) => {
            let address = parse_address(text, Side::Listen)
                .map_err(|hint| {
                    section.wrong_at(&element.span(), format!("listen.mysql: {text:?} is no address"), hint);
                })
                .ok()?;
            Some((ListenAddress { address, route: Route::Split, tls: ClientTls::Optional }, element.span()))
        }
        DeValue::Table(table) => {
            let table = Section::new("listen.mysql", table, element.span(), section.problems());
            table.require("address", "write address = \"host:port\"");
            let required = table.choice("tls", ClientTls::Optional, &CLIENT_TLS);
            let route = table.choice("route", Route::Split, &ROUTES);
            let address = address(&table, table.text("address")?, Side::Listen)?;
            if required == ClientTls::Required && !tls.offered && !matches!(address, Address::Unix(_)) {
                table.wrong("tls", "= \"required\" can never be met", NEEDS_CERTIFICATE);
            }
            Some((ListenAddress { address, route, tls: required }, table.span_of("address")))
        }
        other => {
            let hint =
                format!("write \"host:port\" or {{ address = \"host:port\", … }}, not {}", kind(other));
            section.not_a("mysql", element, "a list of addresses", &hint);
            None
        }
    }
}

fn http_address(section: &Section<'_>) -> Option<(String, u16)> {
    let usual = || Some(("127.0.0.1".to_owned(), 9307));
    let Some(value) = section.get("http") else { return usual() };
    match value.get_ref() {
        DeValue::Boolean(false) => None,
        DeValue::String(text) => match parse_host_port(text) {
            Ok(address) => Some(address),
            Err(_) => {
                section.wrong(
                    "http",
                    &format!("= {text:?} is no address"),
                    "write \"127.0.0.1:9307\", or false",
                );
                usual()
            }
        },
        other => {
            let hint = format!("write \"127.0.0.1:9307\", or false, not {}", kind(other));
            section.not_a("http", value, "an address or false", &hint);
            usual()
        }
    }
}

/// How clients may compress.
fn compression(section: &Section<'_>) -> Caps {
    let Some(list) = section.list("compression") else { return Caps::COMPRESS | Caps::ZSTD };
    let named = list.iter().filter_map(|element| match section.as_text("compression", element)? {
        "zlib" => Some(Caps::COMPRESS),
        "zstd" => Some(Caps::ZSTD),
        other => {
            let problem = format!("listen.compression: {other:?} is not known");
            section.wrong_at(&element.span(), problem, "\"zlib\" or \"zstd\", or an empty list for none");
            None
        }
    });
    named.fold(Caps::empty(), |all, one| all | one)
}

fn unix_mode(section: &Section<'_>) -> u32 {
    const USUAL: u32 = 0o777;
    let Some(text) = section.text("unix_mode") else { return USUAL };
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 && text.bytes().all(|b| b.is_ascii_digit()) => mode,
        _ => {
            section.wrong(
                "unix_mode",
                &format!("= {text:?} is no mode"),
                "three or four octal digits, as in \"0770\"",
            );
            USUAL
        }
    }
}

fn passwords(section: &Section<'_>, sources: Sources<'_>) -> Vec<Secret> {
    if section.get("passwords").is_none() {
        let hint = "write password = \"text\", { env = \"NAME\" } or { file = \"/PATH\" }";
        section.require("password", hint);
    } else if section.get("password").is_some() {
        section.wrong("passwords", "stands beside user.password", "keep one of them");
    }
    let several = secret::read_list(section, "passwords", sources);
    several.unwrap_or_else(|| secret::read(section, "password", sources).into_iter().collect())
}

fn networks(section: &Section<'_>, key: &'static str, whole: &str) -> Vec<Network> {
    let Some(list) = section.list(key) else { return Vec::new() };
    list.iter()
        .filter_map(|element| {
            let text = section.as_text(key, element)?;
            parse_network(text)
                .map_err(|hint| {
                    section.wrong_at(&element.span(), format!("{whole}: {text:?} is no network"), hint);
                })
                .ok()
        })
        .collect()
}

fn address(section: &Section<'_>, text: &str, side: Side) -> Option<Address> {
    parse_address(text, side)
        .map_err(|hint| section.wrong("address", &format!("= {text:?} is no address"), hint))
        .ok()
}

/// The name of a server that was given none: its address, as far as that can be a name.
fn name_of(section: &Section<'_>, address: &Address) -> String {
    let name = match address {
        Address::Tcp { host, port } => format!("{host}:{port}").to_ascii_lowercase(),
        Address::Unix(path) => format!("unix:{}", path.display()),
    };
    if is_name(&name) {
        return name;
    }
    section.wrong("address", "cannot serve as the server's name", "add name = \"db1\" or the like");
    String::new()
}

fn zone(section: &Section<'_>) -> String {
    let zone = section.text("zone").unwrap_or_default();
    if !zone.is_empty() && !is_name(zone) {
        let hint = "at most 64 of a-z, 0-9, dot, underscore, colon and hyphen";
        section.wrong("zone", &format!("= {zone:?} is no zone"), hint);
    }
    zone.to_owned()
}
