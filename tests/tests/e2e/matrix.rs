//! The matrix: sessions of every kind, by every method, over every transport, directly and through the proxy, compared
//! packet payload by packet payload. What may differ is in `matrix/differences.rs`.

#[path = "matrix/differences.rs"]
mod differences;
#[path = "matrix/methods.rs"]
mod methods;
#[path = "matrix/script.rs"]
mod script;

use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use clonelove_testkit::{
    APP_PASSWORD, APP_USER, Authority, Clonelove, Cluster, ClusterOptions, Compression, Config, Connection,
    Family, Flavour, Issued, Opening, Server, not_covered,
};
use rustls::ClientConfig;

use crate::commands::peer::{
    BULK_UNIT_RESULTS, DEPRECATE_EOF, EXTENDED_TYPES, LOCAL_FILES, PS_MULTI_RESULTS, Peer, STMT_BULK, Say,
};
use crate::support::quick;
use script::{Kind, SCHEMA, script};

/// An account, and the method that its server asks for.
#[derive(Clone, Copy, Debug)]
struct Account {
    user: &'static str,
    password: &'static str,
    method: &'static str,
}

const NATIVE: Account = Account { user: APP_USER, password: APP_PASSWORD, method: "mysql_native_password" };
const SHA2: Account = Account { user: APP_USER, password: APP_PASSWORD, method: "caching_sha2_password" };
const SIGNS: Account = Account { user: "signs", password: "signs-password", method: "client_ed25519" };

/// The accounts of servers, one for each of their methods.
fn accounts(cluster: &Cluster) -> Result<&'static [Account]> {
    let signs = "SELECT COUNT(*) FROM mysql.global_priv WHERE user = 'signs'";
    Ok(match cluster.primary.flavour().family() {
        Family::MariaDb if cluster.primary.value(signs)? == "1" => &[NATIVE, SIGNS],
        Family::MariaDb => &[NATIVE],
        Family::MySql => &[SHA2],
    })
}

/// Where sessions run: transports side by side, each in a schema of its own.
const TRANSPORTS: [(bool, &str); 2] = [(false, "app"), (true, "drupal7")];
const COMPRESSIONS: [Option<Compression>; 3] = [None, Some(Compression::Zlib), Some(Compression::Zstd)];

/// Servers with a certificate, each account and each schema.
fn servers(flavour: Flavour, issued: &Issued) -> Result<Cluster> {
    let extra = ["--ssl-cert=s.pem", "--ssl-key=s.key", "--local-infile=1"].map(str::to_owned).to_vec();
    let files =
        vec![("s.pem".to_owned(), issued.certificate.clone()), ("s.key".to_owned(), issued.key.clone())];
    let options = ClusterOptions { replicas: 1, uniform: true, extra, files, ..ClusterOptions::default() };
    let cluster = Cluster::start(flavour, options)?;
    let primary = &cluster.primary;
    let installed = |server: &Server| server.query("INSTALL SONAME 'auth_ed25519'").map(drop);
    if flavour.family() == Family::MySql {
        // It has none.
    } else if let Err(error) = cluster.servers().try_for_each(installed) {
        not_covered(flavour.name(), &format!("ed25519: {error:#}"));
    } else {
        let Account { user, password, .. } = SIGNS;
        let make = format!("CREATE USER {user}@'%' IDENTIFIED VIA ed25519 USING PASSWORD('{password}')");
        primary.query(&make)?;
        for schema in clonelove_testkit::APP_SCHEMAS {
            primary.query(&format!("GRANT ALL ON `{schema}`.* TO {user}@'%'"))?;
        }
    }
    for (_, schema) in TRANSPORTS {
        let mut session = Connection::open(&primary.socket(), "root", Some(schema))?;
        for statement in SCHEMA {
            session.query(statement)?;
        }
    }
    cluster.wait_caught_up()?;
    Ok(cluster)
}

/// A proxy that speaks to its servers as its clients of one transport and compression speak to it.
fn config(cluster: &Cluster, issued: &Issued, tls: bool, compression: &str) -> Result<Config> {
    let (cert, key) = issued.write(cluster.folder(), "proxy")?;
    let quoted = |path: &std::path::Path| format!("\"{}\"", path.display());
    let mut config = quick(cluster)
        .without_servers()
        .set("tls", "cert", &quoted(&cert))
        .set("tls", "key", &quoted(&key))
        .set("limits", "local_infile", "true")
        // A machine with much to do must not make a server look dead, or a replica late.
        .set("routing", "fresh_wait", "\"30s\"")
        .set("monitor", "timeout", "\"20s\"")
        .set("pool", "connect_timeout", "\"20s\"")
        .user(SIGNS.user, SIGNS.password);
    let tls = if tls { "required" } else { "disabled" };
    for server in cluster.servers() {
        let more = format!("tls = \"{tls}\"\ncompression = \"{compression}\"");
        config = config.server(server.name(), &server.address(), &more);
    }
    Ok(config)
}

/// What clients trust; sessions of TLS that are resumed are kept apart.
struct Trust {
    servers: Arc<ClientConfig>,
    proxy: Arc<ClientConfig>,
}

/// One session of the matrix.
#[derive(Clone, Copy, Debug)]
struct Session {
    account: Account,
    schema: &'static str,
    compression: Option<Compression>,
    kind: Kind,
    deprecate_eof: bool,
}

impl Session {
    fn opening(&self, tls: Option<&Arc<ClientConfig>>, family: Family) -> Opening<'static> {
        let mut flags = PS_MULTI_RESULTS | LOCAL_FILES;
        flags |= if self.deprecate_eof { DEPRECATE_EOF } else { 0 };
        if family == Family::MariaDb {
            flags |= STMT_BULK | EXTENDED_TYPES | BULK_UNIT_RESULTS;
        }
        Opening {
            login: (self.account.user, self.account.password),
            schema: Some(self.schema),
            flags,
            method: Some(self.account.method),
            tls: tls.cloned(),
            compression: self.compression,
        }
    }

    /// Plays the session directly and through the proxy.
    fn compare(&self, direct: &str, through: &str, tls: Option<&Trust>, family: Family) -> Result<()> {
        let script = script(self.kind, family, (self.account.user, self.account.password));
        let mut opening = self.opening(tls.map(|trust| &trust.proxy), family);
        let through = play(through, &opening, &script, family).context("through the proxy")?;
        if family == Family::MariaDb && self.compression == Some(Compression::Zstd) {
            // MariaDB's servers have no zstd.
            opening.compression = None;
        }
        opening.tls = tls.map(|trust| Arc::clone(&trust.servers));
        let direct = play(direct, &opening, &script, family).context("directly")?;
        ensure!(direct.len() == through.len(), "{} replies and {}", direct.len(), through.len());
        let differing = through.iter().zip(&direct).filter(|((_, found), (_, expected))| found != expected);
        let told: Vec<String> = differing
            .map(|((say, found), (_, expected))| format!("{say}\n  {found}\nis not\n  {expected}"))
            .collect();
        ensure!(told.is_empty(), "{} differ:\n{}", told.len(), told.join("\n"));
        Ok(())
    }
}

/// What was said, and the payloads that were heard.
fn play(
    address: &str,
    opening: &Opening<'_>,
    script: &[Say],
    family: Family,
) -> Result<Vec<(String, String)>> {
    let mut peer = Peer::open(address, opening)?;
    let (greeting, welcome) = peer.log_in();
    let greeting = differences::greeting(greeting, family).context("a broken greeting")?;
    let mut heard =
        vec![("log-in".to_owned(), greeting), ("welcome".to_owned(), differences::welcome(welcome))];
    for (at, say) in script.iter().enumerate() {
        let reply = peer.say(say).with_context(|| format!("{at}: {say:?}"))?;
        heard.push((format!("{at}: {say:?}"), differences::reply(say, &reply, family)));
    }
    Ok(heard)
}

fn matrix(flavour: Flavour) -> Result<()> {
    if !flavour.covered()? {
        return Ok(());
    }
    let authority = Authority::new("test authority")?;
    let issued = authority.issue("matrix", &["localhost", "127.0.0.1"])?;
    let cluster = servers(flavour, &issued)?;
    let trusted = Trust { servers: authority.trusted()?, proxy: authority.trusted()? };
    let family = flavour.family();
    // Where a server has none of the password yet it wants it as it is, which is sent over TLS only.
    let accounts = accounts(&cluster)?;
    for account in accounts {
        let session = Session {
            account: *account,
            schema: "app",
            compression: None,
            kind: Kind::Text,
            deprecate_eof: false,
        };
        for server in cluster.servers() {
            drop(Connection::open_as(&server.address(), &session.opening(Some(&trusted.servers), family))?);
        }
    }
    let outcomes: Vec<Result<usize>> = std::thread::scope(|scope| {
        let run = |(tls, schema): (bool, &'static str)| {
            let (cluster, issued, trusted) = (&cluster, &issued, tls.then_some(&trusted));
            scope.spawn(move || over(cluster, issued, trusted, schema, accounts))
        };
        let threads = TRANSPORTS.map(run);
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| bail!("it panicked"))).collect()
    });
    let mut count = 0;
    for outcome in outcomes {
        count += outcome?;
    }
    let expected = accounts.len() * 2 * 3 * kinds(family).len() * 2;
    ensure!(count == expected, "{count} sessions, not {expected}");
    Ok(())
}

fn kinds(family: Family) -> &'static [Kind] {
    match family {
        Family::MariaDb => &[Kind::Text, Kind::Prepared, Kind::Cursor, Kind::Bulk],
        Family::MySql => &[Kind::Text, Kind::Prepared, Kind::Cursor],
    }
}

/// All sessions over one transport; how many there were.
fn over(
    cluster: &Cluster,
    issued: &Issued,
    tls: Option<&Trust>,
    schema: &'static str,
    accounts: &[Account],
) -> Result<usize> {
    let family = cluster.primary.flavour().family();
    let (mut count, mut failed) = (0, Vec::new());
    for compression in COMPRESSIONS {
        let towards = match (compression, family) {
            (None, _) => "none",
            (Some(Compression::Zstd), Family::MySql) => "zstd",
            (Some(_), _) => "zlib",
        };
        let proxy = Clonelove::start_with(config(cluster, issued, tls.is_some(), towards)?)?;
        for account in accounts {
            for kind in kinds(family) {
                for deprecate_eof in [false, true] {
                    let session =
                        Session { account: *account, schema, compression, kind: *kind, deprecate_eof };
                    let outcome = session.compare(&cluster.primary.address(), &proxy.addr(), tls, family);
                    if let Err(error) = outcome {
                        failed.push(format!("{session:?}, TLS: {}: {error:#}", tls.is_some()));
                    }
                    count += 1;
                }
            }
        }
        proxy.shut_down()?;
    }
    ensure!(failed.is_empty(), "{} sessions differ:\n{}", failed.len(), failed.join("\n\n"));
    Ok(count)
}

#[test]
fn sessions_of_every_kind_are_as_on_the_server() -> Result<()> {
    matrix(Flavour::MariaDbDistribution)
}

#[test]
fn sessions_of_every_kind_are_as_on_the_server_on_mariadb_sid() -> Result<()> {
    matrix(Flavour::MariaDbSid)
}

#[test]
fn sessions_of_every_kind_are_as_on_the_server_on_mysql_sid() -> Result<()> {
    matrix(Flavour::MySqlSid)
}
