//! The daemon in front of real servers, steered as an administrator steers it: drain, reload, taking servers out,
//! the monitoring account's privileges, and the metrics that the documentation names.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clonelove_testkit::{
    APP_PASSWORD, APP_USER, Clonelove, Cluster, ClusterOptions, Config, Connection, DEFAULT_TIMEOUT, Family,
    Flavour, not_covered, wait_until,
};
use serde_json::Value;

fn cluster(flavour: Flavour) -> Result<Cluster> {
    let cluster =
        Cluster::start(flavour, ClusterOptions { replicas: 1, uniform: true, ..ClusterOptions::default() })?;
    cluster.primary.query("CREATE TABLE app.t (id INT PRIMARY KEY)")?;
    cluster.wait_caught_up()?;
    Ok(cluster)
}

fn client(proxy: &Clonelove) -> Result<Connection> {
    Connection::open_tcp(&proxy.addr(), APP_USER, APP_PASSWORD, Some("app"))
}

/// A client in the middle of a transaction that has written row `id`.
fn writing(proxy: &Clonelove, id: u32) -> Result<Connection> {
    let mut client = client(proxy)?;
    client.query("START TRANSACTION")?;
    client.query(&format!("INSERT INTO t VALUES ({id})"))?;
    Ok(client)
}

fn wait_draining(proxy: &Clonelove) -> Result<()> {
    wait_until("the drain to begin", DEFAULT_TIMEOUT, || -> Result<bool> {
        Ok(proxy.http_get("/readyz")?.status == 503)
    })?;
    Ok(())
}

fn wait_lost(client: &mut Connection) -> Result<()> {
    wait_until("the client to be disconnected", DEFAULT_TIMEOUT, || client.is_closed())?;
    Ok(())
}

#[test]
fn a_drain_lets_a_transaction_end_and_takes_no_new_client() -> Result<()> {
    let cluster = cluster(Flavour::MariaDbDistribution)?;
    let mut proxy = Clonelove::start(&cluster)?;
    let mut busy = writing(&proxy, 1)?;
    let mut idle = client(&proxy)?;
    proxy.process().terminate()?;
    wait_draining(&proxy)?;
    let ready = proxy.http_get("/readyz")?;
    ensure!(ready.body.contains("draining") && ready.body.lines().count() == 1, "{ready:?}");
    ensure!(proxy.http_get("/healthz")?.status == 200);
    ensure!(proxy.status()?["draining"] == true);
    wait_lost(&mut idle)?;
    ensure!(client(&proxy).is_err(), "a new client was taken");
    busy.query("INSERT INTO t VALUES (2)")?;
    busy.query("COMMIT")?;
    let status = proxy.process_mut().wait_ended(DEFAULT_TIMEOUT)?;
    ensure!(status.code() == Some(0), "{status}");
    ensure!(cluster.primary.value("SELECT COUNT(*) FROM app.t")? == "2");
    Ok(())
}

#[test]
fn the_drain_timeout_or_a_second_signal_ends_what_is_left() -> Result<()> {
    let cluster = cluster(Flavour::MariaDbDistribution)?;
    for (timeout, second) in [("\"100ms\"", false), ("\"1h\"", true)] {
        let config = Config::for_cluster(&cluster).set("limits", "drain_timeout", timeout);
        let mut proxy = Clonelove::start_with(config)?;
        let mut busy = writing(&proxy, 3)?;
        proxy.process().terminate()?;
        if second {
            wait_draining(&proxy)?;
            proxy.process().terminate()?;
        }
        wait_lost(&mut busy)?;
        let status = proxy.process_mut().wait_ended(DEFAULT_TIMEOUT)?;
        ensure!(status.code() == Some(0), "{status}");
        wait_until("the transaction to be rolled back", DEFAULT_TIMEOUT, || -> Result<bool> {
            Ok(cluster.primary.value("SELECT COUNT(*) FROM information_schema.innodb_trx")? == "0")
        })?;
        ensure!(cluster.primary.value("SELECT COUNT(*) FROM app.t")? == "0");
    }
    Ok(())
}

#[test]
fn a_reload_is_taken_whole_and_its_differences_are_told() -> Result<()> {
    let cluster = cluster(Flavour::MariaDbDistribution)?;
    let proxy = Clonelove::start(&cluster)?;
    let mut old = client(&proxy)?;
    ensure!(Connection::open_tcp(&proxy.addr(), "second", "geheim", None).is_err());
    for server in cluster.servers() {
        server
            .query("SET SESSION sql_log_bin = 0; CREATE USER second IDENTIFIED BY 'geheim'")
            .or_else(|_| server.query("CREATE USER IF NOT EXISTS second IDENTIFIED BY 'geheim'"))?;
    }
    let good = proxy.config().clone().user("second", "geheim").set("log", "level", "\"info\"");
    std::fs::write(proxy.config_path(), good.to_toml())?;
    let reply = proxy.http_post("/reload")?;
    let answer: Value = serde_json::from_str(&reply.body)?;
    let changes = answer["changes"].as_array().context("no changes")?;
    ensure!(reply.status == 200 && changes.len() >= 2, "{reply:?}");
    ensure!(!reply.body.contains("geheim") && !proxy.log().contains("geheim"), "a secret was shown");
    for change in changes.iter().filter_map(Value::as_str) {
        ensure!(proxy.log().contains(change), "{change:?} is not in the log");
    }
    Connection::open_tcp(&proxy.addr(), "second", "geheim", None)?;

    let bad = good.set("users", "from", "\"elsewhere\"").set("pool", "max_idle", "3");
    std::fs::write(proxy.config_path(), bad.to_toml())?;
    proxy.process().hang_up()?;
    wait_until("the refusal to be logged", DEFAULT_TIMEOUT, || proxy.log().contains("config not reloaded"))?;
    ensure!(proxy.log().contains("users.from = \"elsewhere\" is not known"), "{}", proxy.log());
    ensure!(proxy.metric("clonelove_config_reloads_total", &["result=\"ok\""])? == 1.0);
    ensure!(proxy.metric("clonelove_config_reloads_total", &["result=\"refused\""])? == 1.0);
    ensure!(proxy.metric("clonelove_config_loaded_timestamp_seconds", &[])? > 1e9);
    old.query("SELECT * FROM t")?;
    proxy.shut_down()
}

#[test]
fn a_drained_server_gets_no_reads_until_it_is_undrained() -> Result<()> {
    let cluster = cluster(Flavour::MariaDbDistribution)?;
    let proxy = Clonelove::start(&cluster)?;
    let name = cluster.replicas.first().context("a replica")?.name().to_owned();
    let label = format!("server=\"{name}\"");
    let eligible = |wanted: f64| {
        wait_until("the server's eligibility", DEFAULT_TIMEOUT, || -> Result<bool> {
            Ok(proxy.metric("clonelove_server_eligible", &[&label])? == wanted)
        })
    };
    let reads = || proxy.metric("clonelove_server_queries_total", &[&label]);
    let mut client = client(&proxy)?;
    eligible(1.0)?;
    client.query("SELECT * FROM t")?;
    let before = reads()?;
    ensure!(before > 0.0, "the replica got no read at first");
    ensure!(proxy.http_post(&format!("/servers/{name}/drain"))?.status == 200);
    eligible(0.0)?;
    client.query("SELECT * FROM t")?;
    ensure!(reads()? == before, "a drained server got a read");
    ensure!(proxy.http_post(&format!("/servers/{name}/undrain"))?.status == 200);
    eligible(1.0)?;
    client.query("SELECT * FROM t")?;
    ensure!(reads()? > before, "an undrained server got no read");
    ensure!(proxy.http_post("/servers/nobody/drain")?.status == 404);
    proxy.shut_down()
}

/// docs/operations.md, "The monitoring account": the one privilege that is needed now is enough, and without it the
/// status says what was refused.
fn one_privilege_is_enough(flavour: Flavour) -> Result<()> {
    if !flavour.covered()? {
        return Ok(());
    }
    let cluster = cluster(flavour)?;
    let privilege = match flavour.family() {
        Family::MariaDb => "SLAVE MONITOR",
        Family::MySql => "REPLICATION CLIENT",
    };
    cluster.primary.query("CREATE USER least IDENTIFIED BY 'geheim'")?;
    cluster.wait_caught_up()?;
    let config = Config::for_cluster(&cluster).set("monitor", "user", "\"least\"").set(
        "monitor",
        "password",
        "\"geheim\"",
    );
    let mut proxy = Clonelove::spawn(config)?;
    wait_until("the status to name the refused statement", DEFAULT_TIMEOUT, || -> Result<bool> {
        let status = proxy.status()?.to_string();
        Ok(status.contains("the monitoring account may not ask `SHOW")
            && status.contains("docs/operations.md"))
    })?;
    ensure!(proxy.http_get("/readyz")?.status == 503);
    cluster.primary.query(&format!("GRANT {privilege} ON *.* TO least"))?;
    proxy.wait_ready()?;
    client(&proxy)?.query("SELECT * FROM t")?;
    proxy.shut_down()
}

#[test]
fn the_monitoring_account_needs_one_privilege_mariadb() -> Result<()> {
    one_privilege_is_enough(Flavour::MariaDbDistribution)
}

#[test]
fn the_monitoring_account_needs_one_privilege_mariadb_sid() -> Result<()> {
    one_privilege_is_enough(Flavour::MariaDbSid)
}

#[test]
fn the_monitoring_account_needs_one_privilege_mysql_sid() -> Result<()> {
    one_privilege_is_enough(Flavour::MySqlSid)
}

/// Name and type of every metric that dashboards rely on.
const METRICS: [(&str, &str); 44] = [
    ("clonelove_queries_total", "counter"),
    ("clonelove_server_queries_total", "counter"),
    ("clonelove_query_seconds", "histogram"),
    ("clonelove_proxy_seconds", "histogram"),
    ("clonelove_client_connections", "gauge"),
    ("clonelove_client_connections_total", "counter"),
    ("clonelove_client_connections_refused_total", "counter"),
    ("clonelove_errors_total", "counter"),
    ("clonelove_server_errors_total", "counter"),
    ("clonelove_error_replies_total", "counter"),
    ("clonelove_server_up", "gauge"),
    ("clonelove_server_role", "gauge"),
    ("clonelove_server_eligible", "gauge"),
    ("clonelove_server_weight", "gauge"),
    ("clonelove_server_lag_seconds", "gauge"),
    ("clonelove_server_reported_lag_seconds", "gauge"),
    ("clonelove_server_in_flight", "gauge"),
    ("clonelove_server_connections", "gauge"),
    ("clonelove_server_connects_total", "counter"),
    ("clonelove_server_state_changes_total", "counter"),
    ("clonelove_probe_seconds", "histogram"),
    ("clonelove_pins", "gauge"),
    ("clonelove_pool_waiting", "gauge"),
    ("clonelove_pool_wait_seconds", "histogram"),
    ("clonelove_pool_timeouts_total", "counter"),
    ("clonelove_retries_total", "counter"),
    ("clonelove_fresh_wait_seconds", "histogram"),
    ("clonelove_watermarks", "gauge"),
    ("clonelove_watermark_overflows_total", "counter"),
    ("clonelove_epoch", "gauge"),
    ("clonelove_stale_spills_total", "counter"),
    ("clonelove_freshness_degraded", "gauge"),
    ("clonelove_schema_age_seconds", "gauge"),
    ("clonelove_schema_refreshes_total", "counter"),
    ("clonelove_settings_total", "counter"),
    ("clonelove_bytes_total", "counter"),
    ("clonelove_config_reloads_total", "counter"),
    ("clonelove_config_loaded_timestamp_seconds", "gauge"),
    ("clonelove_panics_total", "counter"),
    ("clonelove_build_info", "gauge"),
    ("process_cpu_seconds_total", "counter"),
    ("process_open_fds", "gauge"),
    ("process_resident_memory_bytes", "gauge"),
    ("process_start_time_seconds", "gauge"),
];

#[test]
fn the_metrics_are_the_documented_ones_and_prometheus_accepts_them() -> Result<()> {
    let cluster = cluster(Flavour::MariaDbDistribution)?;
    let proxy = Clonelove::start(&cluster)?;
    let mut client = client(&proxy)?;
    client.query("INSERT INTO t VALUES (1)")?;
    client.query("SELECT * FROM t")?;
    proxy.http_post("/reload")?;
    let text = proxy.http_get("/metrics")?.body;
    let served: BTreeSet<(&str, &str)> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let missing: Vec<_> = METRICS.iter().filter(|metric| !served.contains(metric)).collect();
    ensure!(missing.is_empty(), "not served: {missing:?}");

    let documented = std::fs::read_to_string(project_file("docs/metrics.md"))?;
    let word = |name: &str| documented.contains(&format!("`{name}`"));
    let silent: Vec<_> = served.iter().filter(|(name, _)| !word(name)).collect();
    ensure!(silent.is_empty(), "not in docs/metrics.md: {silent:?}");
    for label in ["reason", "pin", "fault", "state", "cause", "use", "class", "how", "target"] {
        for value in label_values(&text, label) {
            let known = word(&value) || matches!(label, "pin");
            ensure!(known, "{label}=\"{value}\" is not in docs/metrics.md");
        }
    }
    check_with("promtool", &["check", "metrics"], &text)?;
    proxy.shut_down()
}

#[test]
fn the_packaging_files_pass_the_tools_that_read_them() -> Result<()> {
    let unit = std::fs::read_to_string(project_file("dist/clonelove.service"))?;
    let folder = std::env::temp_dir().join(format!("clonelove-unit-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let path = folder.join("clonelove.service");
    // The program and its user are not installed where tests run.
    let unit = unit.replace("/usr/bin/clonelove", env!("CARGO_BIN_EXE_clonelove"));
    std::fs::write(&path, unit.replace("User=clonelove\n", "").replace("Group=clonelove\n", ""))?;
    let verified = check_with("systemd-analyze", &["verify", &path.display().to_string()], "");
    std::fs::remove_dir_all(&folder)?;
    verified?;
    check_with("promtool", &["check", "config", &project_file("docker/prometheus.yml")], "")?;
    check_with("docker-compose", &["--file", &project_file("docker/compose.yaml"), "config", "--quiet"], "")
}

#[test]
fn the_container_config_is_right() -> Result<()> {
    let output = Command::new(env!("CARGO_BIN_EXE_clonelove"))
        .args(["check", "--config", &project_file("docker/clonelove.toml")])
        .envs([("CLONELOVE_HTTP_TOKEN", "t"), ("CLONELOVE_MONITOR_PASSWORD", "p"), ("DRUPAL_PASSWORD", "p")])
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

#[test]
fn a_user_that_the_config_does_not_name_is_refused() -> Result<()> {
    let cluster = cluster(Flavour::MariaDbDistribution)?;
    let proxy = Clonelove::start(&cluster)?;
    let Err(error) = Connection::open_tcp(&proxy.addr(), "nobody", "x", None) else { bail!("it was let in") };
    let error = error.root_cause().to_string();
    ensure!(error.contains("1045"), "{error}");
    // It is told first, and counted then.
    wait_until("the refusal to be counted", DEFAULT_TIMEOUT, || -> Result<bool> {
        let refused = ["fault=\"client_auth\""];
        Ok(proxy.metric("clonelove_client_connections_refused_total", &refused)? == 1.0)
    })?;
    proxy.shut_down()
}

fn project_file(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name).display().to_string()
}

fn label_values(text: &str, label: &str) -> BTreeSet<String> {
    let start = format!("{label}=\"");
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let at = line
                .find(&start)
                .filter(|at| matches!(line.as_bytes().get(at.wrapping_sub(1)), Some(b'{' | b',')))?;
            let rest = line.get(at.checked_add(start.len())?..)?;
            rest.split('"').next().map(str::to_owned)
        })
        .collect()
}

/// Has a tool read something, and takes its word for it; a tool that is not installed is said aloud.
fn check_with(tool: &str, args: &[&str], input: &str) -> Result<()> {
    let spawned = Command::new(tool)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            not_covered(&format!("{tool} {}", args.first().unwrap_or(&"")), "the tool is not installed");
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    child.stdin.take().context("no input")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    let told =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).join("");
    ensure!(output.status.success(), "{tool} {args:?}: {told}");
    Ok(())
}
