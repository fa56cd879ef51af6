//! What an administrator and his tools see of a working daemon: readiness, status, metrics, Prometheus, the log.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use clonelove_testkit::{
    APP_PASSWORD, APP_USER, Clonelove, Config, DEFAULT_TIMEOUT, Peer, Port, Process, http_request, wait_until,
};
use serde_json::Value;

use crate::support::{
    blind, client, hasty, queries, quick, reason, table, uniform, value, wait_defined, wait_eligible,
    wait_said,
};

/// Runs `test` while clients read and write.
fn under_load(proxy: &Clonelove, test: impl FnOnce() -> Result<()>) -> Result<()> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (1..=3)
            .map(|id| {
                let stop = &stop;
                scope.spawn(move || -> Result<()> {
                    while !stop.load(Ordering::Relaxed) {
                        let mut session = client(proxy)?;
                        session.query(&format!("UPDATE t SET v = v + 1 WHERE id = {id}"))?;
                        value(&mut session, &format!("SELECT v FROM t WHERE id = {id}"))?;
                    }
                    Ok(())
                })
            })
            .collect();
        let outcome = test();
        stop.store(true, Ordering::Relaxed);
        for worker in workers {
            worker.join().map_err(|_| anyhow::anyhow!("a worker panicked"))??;
        }
        outcome
    })
}

#[test]
fn promtool_accepts_the_metrics_under_load() -> Result<()> {
    let cluster = uniform(1)?;
    table(&cluster, 5)?;
    let proxy = Clonelove::start_with(quick(&cluster))?;
    wait_eligible(&proxy, "replica1")?;
    under_load(&proxy, || {
        for round in 1..=5 {
            let text = proxy.http_get("/metrics")?.body;
            let mut tool = Command::new("promtool")
                .args(["check", "metrics"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .context("promtool is not installed: run `cargo xtask setup`")?;
            tool.stdin.take().context("no input")?.write_all(text.as_bytes())?;
            let output = tool.wait_with_output()?;
            let said = [output.stdout, output.stderr].concat();
            ensure!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
            let before = reason(&proxy, "write")?;
            wait_until(&format!("round {round} of work"), DEFAULT_TIMEOUT, || -> Result<bool> {
                Ok(reason(&proxy, "write")? > before + 10.0)
            })?;
        }
        Ok(())
    })
}

#[test]
fn a_real_prometheus_scrapes_it_and_answers_with_our_series() -> Result<()> {
    let cluster = uniform(1)?;
    table(&cluster, 5)?;
    let proxy = Clonelove::start_with(quick(&cluster))?;
    wait_eligible(&proxy, "replica1")?;
    let port = Port::reserve()?;
    let address = format!("127.0.0.1:{}", port.number());
    let folder = cluster.folder().join("prometheus");
    std::fs::create_dir(&folder)?;
    let config = folder.join("prometheus.yml");
    std::fs::write(
        &config,
        format!(
            "global:\n  scrape_interval: 200ms\n  scrape_timeout: 200ms\nscrape_configs:\n  - job_name: clonelove\n    \
             static_configs:\n      - targets: ['{}']\n",
            proxy.http_addr()
        ),
    )?;
    let args = [
        format!("--config.file={}", config.display()),
        format!("--storage.tsdb.path={}", folder.join("data").display()),
        format!("--web.listen-address={address}"),
    ];
    let args: Vec<_> = args.into_iter().map(Into::into).collect();
    let log = folder.join("log");
    let mut prometheus = Process::spawn("prometheus".as_ref(), &args, &[], &log)?;
    let ask = |query: &str| -> Result<Vec<Value>> {
        let reply = http_request(&address, "GET", &format!("/api/v1/query?query={query}"), &[])?;
        let answer: Value = serde_json::from_str(&reply.body).with_context(|| reply.body.clone())?;
        Ok(answer["data"]["result"].as_array().cloned().unwrap_or_default())
    };
    under_load(&proxy, || {
        wait_until("Prometheus to have seen reads on the replica", DEFAULT_TIMEOUT, || -> Result<bool> {
            if let Some(status) = prometheus.ended()? {
                let told = std::fs::read_to_string(&log)?;
                return Err(anyhow::anyhow!("prometheus ended ({status}): {told}"));
            }
            let series = ask("sum(clonelove_server_queries_total%7Bserver=%22replica1%22%7D)")?;
            let count = series.first().and_then(|one| one["value"][1].as_str()?.parse::<f64>().ok());
            Ok(count.is_some_and(|count| count > 10.0))
        })
    })?;
    let up = ask("up%7Bjob=%22clonelove%22%7D")?;
    assert_eq!(up.first().map(|one| one["value"][1].clone()), Some(Value::from("1")), "{up:?}");
    // A rate needs two samples.
    wait_until("a rate", DEFAULT_TIMEOUT, || -> Result<bool> {
        Ok(ask("rate(clonelove_query_seconds_count%7Btarget=%22primary%22%7D%5B1m%5D)")?.len() == 1)
    })?;
    let roles = ask("clonelove_server_role%20==%201")?;
    assert_eq!(roles.len(), 2, "{roles:?}");
    prometheus.kill9()
}

/// What `/readyz` answers for reads and for writes, with what it says.
fn ready(proxy: &Clonelove) -> Result<((u16, u16), String)> {
    let (reads, writes) = (proxy.http_get("/readyz")?, proxy.http_get("/readyz?writes=1")?);
    ensure!(writes.body.trim_end().lines().count() == 1, "{writes:?}");
    Ok(((reads.status, writes.status), writes.body))
}

#[test]
fn readyz_tells_whether_a_client_could_read_or_write() -> Result<()> {
    let cluster = uniform(1)?;
    let proxy = Clonelove::start_with(quick(&cluster))?;
    wait_eligible(&proxy, "replica1")?;
    assert_eq!(ready(&proxy)?.0, (200, 200));
    cluster.primary.kill9()?;
    wait_said(&proxy, "primary", "state", "down")?;
    let (codes, why) = ready(&proxy)?;
    assert_eq!(codes, (200, 503), "{why}");
    assert!(why.contains("primary"), "{why}");
    cluster.replicas[0].kill9()?;
    wait_said(&proxy, "replica1", "state", "down")?;
    let (codes, why) = ready(&proxy)?;
    assert_eq!(codes, (503, 503), "{why}");
    assert!(why.contains("primary") && why.contains("replica1"), "{why}");
    assert_eq!(proxy.http_get("/healthz")?.status, 200);
    cluster.primary.start()?;
    wait_until("it to be ready again", DEFAULT_TIMEOUT, || {
        Ok::<_, anyhow::Error>(ready(&proxy)?.0 == (200, 200))
    })
}

#[test]
fn readyz_says_that_it_is_starting_until_every_server_was_asked() -> Result<()> {
    // Accepts, and says nothing: the first probe takes as long as it may.
    let silent = Peer::start(|mut stream| {
        let _ = std::io::Read::read(&mut stream, &mut [0]);
    })?;
    let config = hasty(Config::default())
        .set("monitor", "user", "\"m\"")
        .set("monitor", "password", "\"p\"")
        .set("monitor", "timeout", "\"60s\"")
        .set("monitor", "interval", "\"60s\"")
        .user(APP_USER, APP_PASSWORD)
        .server("silent", &silent.address(), "");
    let proxy = Clonelove::spawn(config)?;
    let reply = proxy.http_get("/readyz")?;
    assert_eq!(reply.status, 503);
    assert!(reply.body.contains("starting"), "{}", reply.body);
    assert_eq!(proxy.http_get("/healthz")?.status, 200);
    Ok(())
}

/// `interface.md`, section 5, key by key; `[]` stands for the elements of a list.
const KEYS: &[&str] = &[
    "version",
    "pid",
    "started",
    "uptime_seconds",
    "draining",
    "listen.mysql",
    "listen.http",
    "primary",
    "epoch",
    "mode",
    "freshness.mode",
    "freshness.scope",
    "freshness.followed",
    "freshness.degraded",
    "freshness.watermarks.table",
    "freshness.watermarks.key",
    "freshness.keeps_on_primary",
    "schema.age_seconds",
    "schema.tables",
    "schema.views",
    "schema.routines",
    "schema.triggers",
    "clients.now",
    "clients.total",
    "clients.limit",
    "queries.primary.write",
    "queries.replica.read",
    "queries.local.ping",
    "queries.refused",
    "reads_on_replicas",
    "servers.[].name",
    "servers.[].address",
    "servers.[].role",
    "servers.[].pinned_role",
    "servers.[].state",
    "servers.[].eligible",
    "servers.[].why",
    "servers.[].flavour",
    "servers.[].version",
    "servers.[].weight",
    "servers.[].zone",
    "servers.[].lag_seconds",
    "servers.[].reported_lag_seconds",
    "servers.[].position",
    "servers.[].in_flight",
    "servers.[].connections.idle",
    "servers.[].connections.busy",
    "servers.[].connections.pinned",
    "servers.[].connections.monitor",
    "servers.[].connections.max",
    "servers.[].queries",
    "servers.[].last_error",
    "servers.[].since",
    "pins.[].session",
    "pins.[].user",
    "pins.[].client",
    "pins.[].pin",
    "pins.[].statement",
    "pins.[].seconds",
    "learned.[].digest",
    "learned.[].statement",
    "learned.[].count",
];

/// The value at a path; nothing when a key is missing.
fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(value, |value, key| if key == "[]" { value.get(0) } else { value.get(key) })
}

#[test]
fn the_status_has_every_key_that_scripts_rely_on() -> Result<()> {
    let cluster = uniform(1)?;
    table(&cluster, 5)?;
    for server in cluster.servers() {
        server.query("SET GLOBAL log_bin_trust_function_creators = 1")?;
    }
    cluster.primary.query(
        "CREATE FUNCTION app.f() RETURNS INT MODIFIES SQL DATA BEGIN INSERT INTO app.t VALUES (99, 0); RETURN 1; END",
    )?;
    cluster.primary.query("CREATE VIEW app.writes AS SELECT app.f() AS n")?;
    cluster.wait_caught_up()?;
    // Who sees definitions sends no write to a replica, and learns nothing there.
    let proxy = Clonelove::start_with(blind(&cluster)?)?;
    wait_eligible(&proxy, "replica1")?;
    let mut session = client(&proxy)?;
    value(&mut session, "SELECT v FROM t WHERE id = 1")?;
    value(&mut session, "SELECT n FROM writes")?;
    session.query("UPDATE t SET v = 12345 WHERE id = 1")?;
    session.send_raw(&[1, 0, 0, 0, 0x0e])?;
    session.receive_packet()?;
    session.query("CREATE TEMPORARY TABLE own AS SELECT 'geheim' AS a")?;
    let status = proxy.status()?;
    let missing: BTreeSet<_> = KEYS.iter().filter(|path| at(&status, path).is_none()).collect();
    ensure!(missing.is_empty(), "{missing:?} are not in {status:#}");

    assert_eq!(status["pins"][0]["pin"], "temporary_table");
    assert_eq!(status["pins"][0]["user"], APP_USER);
    let text = status.to_string();
    assert!(!text.contains("geheim") && !text.contains("12345"), "a literal shows: {text}");
    assert_eq!(status["pid"], proxy.process().pid());
    assert_eq!(status["queries"]["local"]["ping"], 1, "{status:#}");
    assert_eq!(status["servers"][1]["queries"], queries(&proxy, "replica1")? as u64);
    assert_eq!(status["servers"][0]["connections"]["pinned"], 1, "{status:#}");
    assert_eq!(status["clients"]["now"], 1);
    Ok(())
}

#[test]
fn the_log_has_one_line_for_a_change_of_state_and_none_for_a_query() -> Result<()> {
    let cluster = uniform(1)?;
    table(&cluster, 5)?;
    let config = quick(&cluster).set("log", "level", "\"info\"").set("log", "format", "\"json\"");
    let proxy = Clonelove::start_with(config)?;
    wait_eligible(&proxy, "replica1")?;
    wait_defined(&proxy, "t")?;
    let lines = || proxy.log().lines().map(str::to_owned).collect::<Vec<_>>();
    let before = lines().len();
    for _ in 0..50 {
        let mut session = client(&proxy)?;
        session.query("UPDATE t SET v = v + 1 WHERE id = 1")?;
        value(&mut session, "SELECT v FROM t WHERE id = 1")?;
        assert!(session.query("SELECT nothing FROM nowhere").is_err());
    }
    assert_eq!(lines().len(), before, "{:#?}", lines());
    cluster.replicas[0].kill9()?;
    wait_said(&proxy, "replica1", "state", "down")?;
    let since: Vec<Value> =
        lines().iter().skip(before).map(|line| serde_json::from_str(line)).collect::<Result<_, _>>()?;
    let changes: Vec<_> = since.iter().filter(|line| line["message"] == "state changed").collect();
    assert_eq!((since.len(), changes.len()), (1, 1), "{since:#?}");
    assert_eq!((changes[0]["server"].as_str(), changes[0]["to"].as_str()), (Some("replica1"), Some("down")));
    Ok(())
}
