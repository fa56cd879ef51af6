//! `clonelove explain` with a config whose servers it may ask for their definitions.
#![expect(clippy::indexing_slicing, reason = "what is missing in JSON is null")]

use std::path::PathBuf;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use clonelove_testkit::{Cluster, ClusterOptions, Config, Flavour, MONITOR_PASSWORD, MONITOR_USER};
use serde_json::{Value, json};

fn with_definitions(flavour: Flavour) -> Result<Cluster> {
    let cluster =
        Cluster::start(flavour, ClusterOptions { replicas: 1, uniform: true, ..ClusterOptions::default() })?;
    let mut root = cluster.primary.connect()?;
    for sql in [
        "USE app",
        "CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR(20) UNIQUE)",
        "CREATE TABLE log (what VARCHAR(20))",
        "CREATE VIEW v AS SELECT id FROM t",
        "CREATE TRIGGER tr AFTER DELETE ON t FOR EACH ROW INSERT INTO log VALUES ('x')",
        "CREATE FUNCTION counted() RETURNS INT READS SQL DATA RETURN (SELECT COUNT(*) FROM t)",
    ] {
        root.query(sql)?;
    }
    cluster.wait_caught_up()?;
    Ok(cluster)
}

/// The program, and a config file; that is gone when this is dropped.
struct Explain {
    config: PathBuf,
}

impl Drop for Explain {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.config);
    }
}

impl Explain {
    /// A config on which the program can ask.
    fn with(name: &str, config: &Config) -> Result<Self> {
        let file = format!("clonelove-explain-{}-{name}.toml", std::process::id());
        let explain = Self { config: std::env::temp_dir().join(file) };
        std::fs::write(&explain.config, config.to_toml())?;
        Ok(explain)
    }

    fn run(&self, args: &[&str]) -> Result<Output> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_clonelove"));
        command.arg("explain").arg("--config").arg(&self.config).args(args);
        command.output().context("clonelove explain")
    }

    fn json(&self, sql: &str) -> Result<Value> {
        let output = self.run(&["--json", "--schema", "app", sql])?;
        ensure!(output.status.success(), "{sql}: {output:?}");
        serde_json::from_slice(&output.stdout).with_context(|| format!("{sql}: {output:?}"))
    }
}

fn the_schema_has_its_say(flavour: Flavour) -> Result<()> {
    if !flavour.covered()? {
        return Ok(());
    }
    let cluster = with_definitions(flavour)?;
    let explain = Explain::with(flavour.name(), &Config::for_cluster(&cluster))?;
    for (sql, kind, target, reason, read, written) in [
        ("SELECT * FROM v", "read", "replica", "read", json!(["app.v", "app.t"]), json!([])),
        ("SELECT counted()", "read", "replica", "read", json!(["app.t"]), json!([])),
        ("SELECT * FROM nowhere", "read", "primary", "unknown_table", json!(["app.nowhere"]), json!([])),
        ("SELECT nowhere()", "write", "primary", "unknown_function", json!([]), json!([])),
        (
            "DELETE FROM t WHERE name = 'A'",
            "write",
            "primary",
            "write",
            json!([]),
            json!(["app.t", "app.log"]),
        ),
    ] {
        let said = explain.json(sql)?;
        let told = ["kind", "target", "reason"].map(|field| said[field].as_str().unwrap_or_default());
        ensure!(told == [kind, target, reason], "{said}");
        ensure!(said["tables_read"] == read && said["tables_written"] == written, "{said}");
        let unknown = reason.starts_with("unknown");
        ensure!(said["assumed"].as_array().is_some_and(|list| list.is_empty() != unknown), "{said}");
    }
    let said = explain.json("SELECT * FROM t WHERE name = 'Abc'")?;
    ensure!(said["keys"] == json!([{ "table": "app.t", "column": "name", "values": ["abc"] }]), "{said}");
    ensure!(said["all_tables"] == false, "{said}");
    let people = explain.run(&["--schema", "app", "SELECT * FROM t WHERE id IN (1, 2)"])?;
    let text = String::from_utf8_lossy(&people.stdout).into_owned();
    ensure!(text.contains("app.t.id = 1, 2") && text.contains("goes to   replica"), "{text}");
    Ok(())
}

#[test]
fn with_a_config_the_schema_has_its_say() -> Result<()> {
    the_schema_has_its_say(Flavour::MariaDbDistribution)
}

#[test]
fn with_a_config_the_schema_has_its_say_mysql_sid() -> Result<()> {
    the_schema_has_its_say(Flavour::MySqlSid)
}

/// What the account may not see: no keys, any table, and the grants that mend it.
#[test]
fn a_poor_account_explains_less_and_says_so() -> Result<()> {
    let cluster = with_definitions(Flavour::MariaDbDistribution)?;
    let primary = &cluster.primary;
    primary.query("CREATE USER poor@'%' IDENTIFIED BY 'poor-password'")?;
    primary.query("GRANT SELECT ON *.* TO poor@'%'")?;
    let poor = |config: Config| {
        config.set("monitor", "user", "\"poor\"").set("monitor", "password", "\"poor-password\"")
    };
    let explain = Explain::with("poor", &poor(Config::for_cluster(&cluster)))?;
    let read = explain.json("SELECT * FROM t WHERE name = 'abc'")?;
    ensure!(read["keys"] == json!([]) && read["target"] == "replica", "{read}");
    let write = explain.json("UPDATE t SET name = 'x' WHERE id = 1")?;
    ensure!(write["keys"] == json!([]) && write["all_tables"] == true, "{write}");
    ensure!(explain.json("SELECT * FROM v")?["reason"] == "unknown_table");
    for privilege in ["SHOW VIEW", "TRIGGER"] {
        ensure!(write["assumed"].to_string().contains(&format!("GRANT {privilege} ON *.*")), "{write}");
    }
    Ok(())
}

#[test]
fn a_server_that_does_not_answer_is_named() -> Result<()> {
    let config = Config::default()
        .set("monitor", "user", &format!("\"{MONITOR_USER}\""))
        .set("monitor", "password", &format!("\"{MONITOR_PASSWORD}\""))
        .server("gone", "127.0.0.1:1", "")
        .user("app", "secret");
    let output = Explain::with("gone", &config)?.run(&["SELECT 1"])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(1) && said.contains("server gone: "), "{output:?}");
    Ok(())
}
