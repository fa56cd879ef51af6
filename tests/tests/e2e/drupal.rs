//! PHP programs that send what Drupal 7 and Drupal 10 send, told nothing but another host and port: they must print the
//! same through clonelove as directly, and the replicas' general logs must have none of what is not for them.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use clonelove_testkit::{
    APP_PASSWORD, APP_USER, Clonelove, Cluster, ClusterOptions, Config, Connection, Family, Flavour,
    LogEntry, Server,
};
use serde_json::{Value, json};

use crate::support::{wait_defined, wait_eligible};

/// When set, the small recordings are written anew.
const BLESS_ENV: &str = "CLONELOVE_BLESS";
const SITES: [&str; 2] = ["drupal7", "drupal10"];

#[test]
fn drupal_7_works_on_mariadb() -> Result<()> {
    prints_the_same("drupal7", Flavour::MariaDbDistribution)
}

#[test]
fn drupal_10_works_on_mariadb() -> Result<()> {
    prints_the_same("drupal10", Flavour::MariaDbDistribution)
}

#[test]
fn drupal_7_works_on_mariadb_sid() -> Result<()> {
    prints_the_same("drupal7", Flavour::MariaDbSid)
}

#[test]
fn drupal_10_works_on_mariadb_sid() -> Result<()> {
    prints_the_same("drupal10", Flavour::MariaDbSid)
}

#[test]
fn drupal_7_works_on_mysql_sid() -> Result<()> {
    prints_the_same("drupal7", Flavour::MySqlSid)
}

#[test]
fn drupal_10_works_on_mysql_sid() -> Result<()> {
    prints_the_same("drupal10", Flavour::MySqlSid)
}

/// The recordings that `replay` always has are what the programs send, and that is what servers hear.
#[test]
fn the_small_recordings_are_what_the_programs_send() -> Result<()> {
    let options = ClusterOptions { replicas: 0, general_log: true, ..ClusterOptions::default() };
    let cluster = Cluster::start(Flavour::MariaDbDistribution, options)?;
    for site in SITES {
        load(site, &cluster)?;
        let mark = cluster.primary.general_log_mark()?;
        let lines = run(site, &tcp(cluster.primary.port()), || Ok(()))?;
        let heard = statements(&cluster.primary, mark)?;
        // What the log has of other than text is not the same text.
        let said: Vec<Option<String>> = lines.iter().filter(|line| line["com"] == "QUERY").map(sql).collect();
        ensure!(heard.len() == said.len(), "{site}: {} statements, {} in the log", said.len(), heard.len());
        for (entry, sql) in heard.iter().zip(said) {
            ensure!(sql.is_none_or(|sql| entry.text == sql.trim()), "{site}: the log has {}", entry.text);
        }
        let recording = recording(&lines);
        let file = folder().join(format!("{site}.jsonl"));
        if std::env::var_os(BLESS_ENV).is_some() {
            std::fs::write(&file, &recording)?;
        }
        let known = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        ensure!(known == recording, "{} is not what {site}.php sends: set {BLESS_ENV}", file.display());
    }
    Ok(())
}

fn prints_the_same(site: &str, flavour: Flavour) -> Result<()> {
    if !flavour.covered()? {
        return Ok(());
    }
    let cluster = Cluster::start(flavour, ClusterOptions { general_log: true, ..ClusterOptions::default() })?;
    let config = Config::for_cluster(&cluster).set("routing", "fresh_wait", "\"30s\"");
    load(site, &cluster)?;
    let direct = run(site, &tcp(cluster.primary.port()), || Ok(()))?;
    judge_direct(site, &direct)?;
    let by_tcp: fn(&Clonelove) -> String = |proxy| tcp(proxy.port());
    for place in [by_tcp, |proxy| format!("unix_socket={}", proxy.socket().display())] {
        load(site, &cluster)?;
        // One that watched the tables go and come might know of some only.
        let proxy = Clonelove::start_with(config.clone())?;
        if flavour.family() == Family::MySql {
            both_sides_use_caching_sha2(&cluster, &proxy)?;
        }
        for replica in &cluster.replicas {
            wait_eligible(&proxy, replica.name())?;
        }
        wait_defined(&proxy, &format!("{site}.semaphore"))?;
        let marks = cluster.servers().map(Server::general_log_mark).collect::<Result<Vec<u64>>>()?;
        let place = place(&proxy);
        let through = run(site, &place, || cluster.wait_caught_up())?;
        for (one, two) in direct.iter().zip(&through) {
            ensure!(one == two, "directly:\n{one}\nthrough clonelove at {place}:\n{two}");
        }
        ensure!(direct.len() == through.len(), "{} lines against {}", direct.len(), through.len());
        witness(&cluster, &marks, &through)?;
    }
    Ok(())
}

/// The servers know the application by this plugin, and clonelove greets it with it.
fn both_sides_use_caching_sha2(cluster: &Cluster, proxy: &Clonelove) -> Result<()> {
    const PLUGIN: &str = "caching_sha2_password";
    for server in cluster.servers() {
        let plugin = server.value(&format!("SELECT plugin FROM mysql.user WHERE user = '{APP_USER}'"))?;
        ensure!(plugin == PLUGIN, "{} uses {plugin}", server.name());
    }
    let mut stream = TcpStream::connect(proxy.addr())?;
    let mut header = [0; 4];
    stream.read_exact(&mut header)?;
    let [low, middle, ..] = header;
    let mut greeting = vec![0; usize::from(u16::from_le_bytes([low, middle]))];
    stream.read_exact(&mut greeting)?;
    ensure!(greeting.ends_with(format!("{PLUGIN}\0").as_bytes()), "{}", greeting.escape_ascii());
    Ok(())
}

/// The program has gone through all that it is for; a test of two equal failures would be none.
fn judge_direct(site: &str, lines: &[Value]) -> Result<()> {
    let errors: BTreeSet<i64> = lines.iter().filter_map(|line| line.pointer("/error/1")?.as_i64()).collect();
    ensure!(errors == BTreeSet::from([1050, 1062, 1146]), "{site}: errors {errors:?}");
    let read_inside =
        lines.iter().filter(|line| line["transaction"] == true && line.pointer("/rows/0").is_some()).count();
    ensure!(read_inside >= 4, "{site}: only {read_inside} SELECTs in transactions gave rows");
    ensure!(lines.iter().any(|line| line["id"].as_str().is_some_and(|id| id != "0")), "no insert id");
    // The second of two equal UPDATEs: Drupal 10 counts rows found, Drupal 7 rows changed.
    let logins = lines.iter().filter(|line| {
        sql(line).is_some_and(|sql| sql.starts_with("UPDATE \"users") || sql.starts_with("UPDATE `users"))
    });
    let affected: Vec<&Value> = logins.map(|line| &line["affected"]).collect();
    let second = if site == "drupal7" { 0 } else { 1 };
    ensure!(affected == [&json!(1), &json!(second)], "{site}: affected rows {affected:?}");
    Ok(())
}

/// Nothing but reads outside transactions reached a replica, and many did; all else reached the primary.
fn witness(cluster: &Cluster, marks: &[u64], lines: &[Value]) -> Result<()> {
    let mut on_replicas = Vec::new();
    for (server, mark) in cluster.servers().zip(marks).skip(1) {
        on_replicas.extend(statements(server, *mark)?.into_iter().map(|entry| entry.text));
    }
    let on_primary = statements(&cluster.primary, *marks.first().context("no mark")?)?;
    let mut reads = 0;
    for line in lines.iter().filter(|line| line["com"] == "QUERY") {
        let Some(sql) = sql(line) else { continue };
        let sql = sql.trim();
        let may = sql.starts_with("SELECT") || sql.starts_with("SHOW");
        let setting = sql.starts_with("SET ");
        let replica = on_replicas.iter().any(|text| text == sql);
        ensure!(!replica || setting || may && line["transaction"] == false, "reached a replica: {sql}");
        // A setting that a server has accepted before is answered without.
        let reached = replica || on_primary.iter().any(|entry| entry.text == sql);
        ensure!(reached || setting, "reached no server: {sql}");
        reads += usize::from(replica && may);
    }
    ensure!(reads >= 15, "only {reads} reads reached the replicas");
    for text in &on_replicas {
        let known = ["SELECT", "SHOW", "SET "].iter().any(|start| text.starts_with(start));
        ensure!(known, "reached a replica: {text}");
    }
    Ok(())
}

/// Runs the program and gives what it printed; `before_request` is called while it waits.
fn run(site: &str, place: &str, before_request: impl Fn() -> Result<()>) -> Result<Vec<Value>> {
    let mut php = Command::new("php")
        .args(["-d", "display_errors=stderr", "-d", "memory_limit=256M"])
        .arg(folder().join(format!("{site}.php")))
        .arg(place)
        .envs([("SITE_USER", APP_USER), ("SITE_PASSWORD", APP_PASSWORD)])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start php")?;
    let mut input = php.stdin.take().context("no stdin")?;
    let output = BufReader::new(php.stdout.take().context("no stdout")?);
    let mut lines = Vec::new();
    for line in output.lines() {
        let line = line?;
        let line: Value =
            serde_json::from_str(&line).with_context(|| format!("{site}.php at {place}: {line}"))?;
        if line.get("request").is_some() {
            before_request()?;
            input.write_all(b"\n")?;
        }
        lines.push(line);
    }
    let status = php.wait()?;
    ensure!(status.success(), "{site}.php at {place}: {status}; it got as far as {:?}", lines.last());
    Ok(lines)
}

fn load(site: &str, cluster: &Cluster) -> Result<()> {
    let tables = std::fs::read(folder().join(format!("{site}.sql")))?;
    Connection::open(&cluster.primary.socket(), "root", Some(site))?.query_bytes(&tables)?;
    cluster.wait_caught_up()
}

/// What the application's account sent.
fn statements(server: &Server, mark: u64) -> Result<Vec<LogEntry>> {
    let mut entries = server.general_log_since(mark)?;
    entries.retain(|entry| entry.user.as_deref() == Some(APP_USER) && entry.is_statement());
    Ok(entries)
}

/// The lines of a recording: a request each, with its commands, without their outcomes.
fn recording(lines: &[Value]) -> String {
    let mut requests: Vec<Value> = Vec::new();
    for line in lines {
        if let Some(request) = line.get("request") {
            requests.push(json!({ "scenario": "program", "request": request, "commands": [] }));
            continue;
        }
        let kept = ["conn", "connect", "com", "sql", "sql_base64"].into_iter();
        let command: Value = kept.filter_map(|key| Some((key.to_owned(), line.get(key)?.clone()))).collect();
        if let Some(commands) = requests.last_mut().and_then(|request| request["commands"].as_array_mut()) {
            commands.push(command);
        }
    }
    requests.iter().map(|request| format!("{request}\n")).collect()
}

fn sql(line: &Value) -> Option<String> {
    Some(line["sql"].as_str()?.to_owned())
}

fn tcp(port: u16) -> String {
    format!("host=127.0.0.1;port={port}")
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/drupal")
}
