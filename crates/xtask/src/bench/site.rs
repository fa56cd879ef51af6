//! The data that the workloads read: sysbench's table, and Drupal's sites. Owns nothing of the measuring.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clonelove_testkit::Cluster;

use crate::shell::workspace;

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
