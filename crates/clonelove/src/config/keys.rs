//! Every key that a config may have, with its default. Owns the names; what a value means is the business of
//! the sections.

/// One key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// The section it stands in; `listen.mysql` is the table form of a listener.
    pub(super) section: &'static str,
    /// Its name.
    pub(super) name: &'static str,
    /// What holds when it is not written.
    pub(super) default: Unwritten,
}

/// What holds when a key is not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unwritten {
    /// This, as TOML.
    Is(&'static str),
    /// It must be written, or something that stands in for it.
    Required,
    /// Nothing: the key is absent, and no value says the same.
    Absent,
}

/// Sections written `[[name]]`.
pub(super) const LISTS: [&str; 2] = ["server", "user"];

/// Sections written `[name]`.
pub(super) const TABLES: [&str; 8] =
    ["listen", "monitor", "users", "routing", "pool", "tls", "limits", "log"];

/// The keys of one section.
pub(super) fn of_section(section: &str) -> impl Iterator<Item = &'static str> {
    KEYS.iter().filter(move |key| key.section == section).map(|key| key.name)
}

/// The section that a key belongs to, if there is exactly one.
pub(super) fn section_of(name: &str) -> Option<&'static str> {
    let mut sections = KEYS.iter().filter(|key| key.name == name).map(|key| key.section);
    sections.next().filter(|_| sections.next().is_none())
}

const fn is(section: &'static str, name: &'static str, default: &'static str) -> Key {
    Key { section, name, default: Unwritten::Is(default) }
}

const fn required(section: &'static str, name: &'static str) -> Key {
    Key { section, name, default: Unwritten::Required }
}

const fn absent(section: &'static str, name: &'static str) -> Key {
    Key { section, name, default: Unwritten::Absent }
}

/// All of them, in the order of the documentation.
pub(super) const KEYS: &[Key] = &[
    is("listen", "mysql", "[\"127.0.0.1:3307\"]"),
    is("listen", "http", "\"127.0.0.1:9307\""),
    absent("listen", "http_token"),
    is("listen", "http_read_only", "false"),
    is("listen", "unix_mode", "\"0777\""),
    is("listen", "compression", "[\"zlib\", \"zstd\"]"),
    is("listen", "proxy_protocol", "[]"),
    required("listen.mysql", "address"),
    is("listen.mysql", "route", "\"split\""),
    is("listen.mysql", "tls", "\"optional\""),
    required("server", "address"),
    absent("server", "name"),
    is("server", "role", "\"auto\""),
    is("server", "weight", "100"),
    is("server", "zone", "\"\""),
    is("server", "max_connections", "200"),
    is("server", "tls", "\"preferred\""),
    absent("server", "tls_ca"),
    is("server", "compression", "\"none\""),
    is("server", "proxy_protocol", "false"),
    required("monitor", "user"),
    required("monitor", "password"),
    is("monitor", "interval", "\"1s\""),
    is("monitor", "timeout", "\"1s\""),
    is("monitor", "fall", "3"),
    is("monitor", "rise", "2"),
    is("monitor", "schema_interval", "\"60s\""),
    required("user", "name"),
    required("user", "password"),
    absent("user", "passwords"),
    is("user", "max_connections", "0"),
    is("user", "tls", "\"optional\""),
    is("user", "networks", "[]"),
    is("user", "route", "\"split\""),
    is("user", "admin", "false"),
    is("users", "from", "\"config\""),
    is("routing", "freshness", "\"key\""),
    is("routing", "freshness_scope", "\"proxy\""),
    is("routing", "fresh_wait", "\"5ms\""),
    is("routing", "max_wait", "\"10s\""),
    is("routing", "max_lag", "\"30s\""),
    is("routing", "max_skew", "\"1s\""),
    is("routing", "max_primary_reads", "0"),
    is("routing", "over_budget", "\"wait\""),
    is("routing", "fallback", "\"primary\""),
    is("routing", "balance", "\"least_in_flight\""),
    is("routing", "zone", "\"\""),
    is("routing", "warm_up", "\"30s\""),
    is("routing", "mode", "\"split\""),
    is("pool", "connect_timeout", "\"2s\""),
    is("pool", "queue_timeout", "\"5s\""),
    is("pool", "max_idle", "50"),
    is("pool", "min_idle", "2"),
    is("pool", "idle_timeout", "\"5m\""),
    is("pool", "max_age", "\"1h\""),
    is("pool", "write_reserve", "0.2"),
    absent("tls", "cert"),
    absent("tls", "key"),
    absent("tls", "client_ca"),
    absent("tls", "server_ca"),
    is("tls", "min_version", "\"1.2\""),
    absent("tls", "rsa_key"),
    is("limits", "client_connections", "10000"),
    is("limits", "login_timeout", "\"10s\""),
    is("limits", "client_idle_timeout", "\"8h\""),
    is("limits", "drain_timeout", "\"30s\""),
    is("limits", "max_packet", "\"1GiB\""),
    is("limits", "analyse_up_to", "\"16MiB\""),
    is("limits", "facts_cache", "10000"),
    is("limits", "watermarks", "100000"),
    is("limits", "prepared_per_connection", "500"),
    is("limits", "local_infile", "false"),
    is("log", "level", "\"info\""),
    is("log", "format", "\"auto\""),
];
