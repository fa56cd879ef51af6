//! The data that the workloads read: sysbench's table, and Drupal's sites. Owns nothing of the measuring.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clonelove_testkit::{APP_PASSWORD, APP_USER, Authority, Cluster, ClusterOptions, Family, Flavour};

use crate::shell::{read, workspace};

/// Rows in each table of a site; `benches/src/workload.rs` asks for ids up to this.
const ITEMS: u32 = 2000;

/// The file of the authority that has signed the certificate of servers and proxies, in the cluster's folder.
pub(crate) const AUTHORITY: &str = "authority.pem";

/// A primary with two replicas, all with a certificate.
pub(crate) fn start(flavour: Flavour) -> Result<Cluster> {
    println!("starting a primary with two replicas: {}", flavour.name());
    let authority = Authority::new("benches")?;
    let issued = authority.issue("server", &["127.0.0.1", "localhost"])?;
    let extra = [
        "--max-connections=4000",
        "--innodb-buffer-pool-size=512M",
        "--back-log=4000",
        "--ssl-cert=s.pem",
        "--ssl-key=s.key",
    ];
    let options = ClusterOptions {
        uniform: true,
        extra: extra.map(str::to_owned).to_vec(),
        files: vec![
            ("s.pem".to_owned(), issued.certificate.clone()),
            ("s.key".to_owned(), issued.key.clone()),
        ],
        ..ClusterOptions::default()
    };
    let cluster = Cluster::start(flavour, options)?;
    issued.write(cluster.folder(), "s")?;
    std::fs::write(cluster.folder().join(AUTHORITY), authority.pem())?;
    if flavour.family() == Family::MySql {
        // Logging in over a unix socket tells a server the password, which from then on can be proved.
        for server in cluster.servers() {
            let mut client = flavour.command(Path::new("/usr/bin/mysql"))?;
            client.arg(format!("--socket={}", server.socket().display()));
            client.args(["--user", APP_USER, &format!("--password={APP_PASSWORD}"), "--execute=SELECT 1"]);
            read(&mut client).with_context(|| server.name().to_owned())?;
        }
    }
    Ok(cluster)
}

/// Numbers from 1 to `most`, as a table with the column `seq`.
fn numbers(cluster: &Cluster, most: u32) -> String {
    if cluster.primary.flavour().family() == Family::MariaDb {
        return format!("app.seq_1_to_{most}");
    }
    let digits = (1..10).fold("SELECT 0 AS n".to_owned(), |all, n| format!("{all} UNION ALL SELECT {n}"));
    let (mut tables, mut sum, mut unit) = (Vec::new(), "1".to_owned(), 1);
    while unit < most {
        let name = format!("d{unit}");
        tables.push(format!("({digits}) AS {name}"));
        sum = format!("{sum} + {unit} * {name}.n");
        unit = unit.saturating_mul(10);
    }
    let all = format!("SELECT {sum} AS seq FROM {}", tables.join(", "));
    format!("(SELECT seq FROM ({all}) AS every WHERE seq <= {most}) AS numbers")
}

/// As sysbench makes it, so that sysbench can read it; filled in one statement.
pub(crate) fn make_table(cluster: &Cluster) -> Result<()> {
    let mut root = cluster.primary.connect()?;
    // MySQL wants a default schema for tables that have no name in one.
    root.query("USE app")?;
    root.query(
        "CREATE TABLE app.sbtest1 (id INT NOT NULL AUTO_INCREMENT, k INT NOT NULL DEFAULT 0, \
         c CHAR(120) NOT NULL DEFAULT '', pad CHAR(60) NOT NULL DEFAULT '', PRIMARY KEY (id), KEY k_1 (k))",
    )?;
    root.query(&format!(
        "INSERT INTO app.sbtest1 SELECT seq, 1 + MOD(seq * 7919, 100000), \
         RPAD(CONCAT(SHA2(seq, 224), '-', SHA2(seq + 1, 224)), 119, '0'), RPAD(SHA2(seq, 224), 59, '0') \
         FROM {}",
        numbers(cluster, 100_000)
    ))?;
    root.query("ANALYZE TABLE app.sbtest1")?;
    Ok(())
}

/// The tables that Drupal 10 reads on a page, as its own schema has them, filled with rows of usual sizes: what is
/// measured is the pattern, and not one container of 400 KB.
pub(crate) fn make_caches(cluster: &Cluster) -> Result<()> {
    let mut root = cluster.primary.connect()?;
    root.query("USE app")?;
    let items = numbers(cluster, ITEMS);
    for bin in ["bootstrap", "config", "data", "discovery", "dynamic_page_cache"] {
        root.query(&format!(
            "CREATE TABLE app.cache_{bin} (cid VARCHAR(255) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '', \
             data LONGBLOB, expire BIGINT NOT NULL DEFAULT 0, created DECIMAL(14,3) NOT NULL DEFAULT 0, \
             serialized SMALLINT NOT NULL DEFAULT 0, tags LONGTEXT, checksum VARCHAR(255) CHARACTER SET ascii NOT NULL, \
             PRIMARY KEY (cid), KEY expire (expire), KEY created (created)) CHARSET=utf8mb4"
        ))?;
        // 200 bytes to 6 KB, most of them small.
        root.query(&format!(
            "INSERT INTO app.cache_{bin} SELECT CONCAT('{bin}:', seq), \
             RPAD('a:1:{{', 200 + MOD(seq * 7919, 5) * MOD(seq * 31, 1450), 's:4:\"name\";'), -1, 1795375516.835, 1, \
             'config:system.site', '5' FROM {items}"
        ))?;
    }
    root.query("CREATE TABLE app.cachetags (tag VARCHAR(255) CHARACTER SET ascii NOT NULL PRIMARY KEY, invalidations INT NOT NULL)")?;
    root.query(&format!("INSERT INTO app.cachetags SELECT CONCAT('node:', seq), MOD(seq, 7) FROM {items}"))?;
    root.query("CREATE TABLE app.sessions (sid VARCHAR(128) CHARACTER SET ascii NOT NULL PRIMARY KEY, uid INT NOT NULL, session LONGBLOB)")?;
    root.query(&format!(
        "INSERT INTO app.sessions SELECT CONCAT('sid-', seq), seq, REPEAT('_sf2_meta|', 20) FROM {items}"
    ))?;
    root.query(
        "CREATE TABLE app.users_field_data (uid INT NOT NULL PRIMARY KEY, langcode VARCHAR(12) CHARACTER SET ascii NOT NULL, \
         name VARCHAR(60) NOT NULL, pass VARCHAR(255), mail VARCHAR(254), status TINYINT NOT NULL, access INT NOT NULL, \
         default_langcode TINYINT NOT NULL)",
    )?;
    root.query(&format!(
        "INSERT INTO app.users_field_data SELECT seq, 'en', CONCAT('user', seq), REPEAT('x', 60), \
         CONCAT('user', seq, '@example.org'), 1, 1795375516, 1 FROM {items}"
    ))?;
    root.query(
        "CREATE TABLE app.key_value (collection VARCHAR(128) CHARACTER SET ascii NOT NULL, name VARCHAR(128) CHARACTER SET \
         ascii NOT NULL, value LONGBLOB NOT NULL, PRIMARY KEY (collection, name))",
    )?;
    root.query(
        "INSERT INTO app.key_value VALUES ('state', 'system.css_js_query_string', 's:6:\"s1abcd\";')",
    )?;
    Ok(())
}

/// A recorded site's database, as it stood before the recording.
pub(crate) fn load_site(cluster: &Cluster, site: &str) -> Result<()> {
    let dump = recordings().join(format!("{site}.sql.gz"));
    let mut unpack = Command::new("zcat").arg(&dump).stdout(Stdio::piped()).spawn()?;
    let text = unpack.stdout.take().context("no output of zcat")?;
    let status = Command::new("mariadb")
        .arg(format!("--socket={}", cluster.primary.socket().display()))
        .args(["--user=root", "--default-character-set=utf8mb4", site])
        .stdin(text)
        .status()?;
    if !(status.success() && unpack.wait()?.success()) {
        bail!("cannot load {}", dump.display());
    }
    Ok(())
}

/// Where the recordings of Drupal's traffic are.
pub(crate) fn recordings() -> std::path::PathBuf {
    match std::env::var_os("CLONELOVE_RECORDINGS") {
        Some(folder) => folder.into(),
        None => workspace().join("../shared/drupal"),
    }
}
