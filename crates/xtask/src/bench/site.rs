//! The data that the workloads read: sysbench's table, and Drupal's sites. Owns nothing of the measuring.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clonelove_testkit::Cluster;

use crate::shell::workspace;

/// Rows in each table of a site; `benches/src/workload.rs` asks for ids up to this.
const ITEMS: u32 = 2000;

/// As sysbench makes it, so that sysbench can read it; filled in one statement.
pub(crate) fn make_table(cluster: &Cluster) -> Result<()> {
    let mut root = cluster.primary.connect()?;
    root.query(
        "CREATE TABLE app.sbtest1 (id INT NOT NULL AUTO_INCREMENT, k INT NOT NULL DEFAULT 0, \
         c CHAR(120) NOT NULL DEFAULT '', pad CHAR(60) NOT NULL DEFAULT '', PRIMARY KEY (id), KEY k_1 (k))",
    )?;
    root.query(
        "INSERT INTO app.sbtest1 SELECT seq, 1 + MOD(seq * 7919, 100000), \
         RPAD(CONCAT(MD5(seq), '-', MD5(seq + 1), '-', MD5(seq + 2)), 119, '0'), RPAD(MD5(seq), 59, '0') \
         FROM app.seq_1_to_100000",
    )?;
    root.query("ANALYZE TABLE app.sbtest1")?;
    Ok(())
}

/// The tables that Drupal 10 reads on a page, as its own schema has them, filled with rows of usual sizes: what is
/// measured is the pattern, and not one container of 400 KB.
pub(crate) fn make_caches(cluster: &Cluster) -> Result<()> {
    let mut root = cluster.primary.connect()?;
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
             'config:system.site', '5' FROM app.seq_1_to_{ITEMS}"
        ))?;
    }
    root.query("CREATE TABLE app.cachetags (tag VARCHAR(255) CHARACTER SET ascii NOT NULL PRIMARY KEY, invalidations INT NOT NULL)")?;
    root.query(&format!(
        "INSERT INTO app.cachetags SELECT CONCAT('node:', seq), MOD(seq, 7) FROM app.seq_1_to_{ITEMS}"
    ))?;
    root.query("CREATE TABLE app.sessions (sid VARCHAR(128) CHARACTER SET ascii NOT NULL PRIMARY KEY, uid INT NOT NULL, session LONGBLOB)")?;
    root.query(&format!(
        "INSERT INTO app.sessions SELECT CONCAT('sid-', seq), seq, REPEAT('_sf2_meta|', 20) FROM app.seq_1_to_{ITEMS}"
    ))?;
    root.query(
        "CREATE TABLE app.users_field_data (uid INT NOT NULL PRIMARY KEY, langcode VARCHAR(12) CHARACTER SET ascii NOT NULL, \
         name VARCHAR(60) NOT NULL, pass VARCHAR(255), mail VARCHAR(254), status TINYINT NOT NULL, access INT NOT NULL, \
         default_langcode TINYINT NOT NULL)",
    )?;
    root.query(&format!(
        "INSERT INTO app.users_field_data SELECT seq, 'en', CONCAT('user', seq), REPEAT('x', 60), \
         CONCAT('user', seq, '@example.org'), 1, 1795375516, 1 FROM app.seq_1_to_{ITEMS}"
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
