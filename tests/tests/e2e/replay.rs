//! What Drupal really sent, sent again: once directly, once through clonelove, statement by statement on both, and
//! every byte of the answers compared. The replicas may catch up before each SELECT, so that routing is what is
//! tested; their general logs are the witness of what reached them.

pub(crate) mod client;
pub(crate) mod order;
pub(crate) mod recording;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use client::{Client, Opening, Reply, Said};
use clonelove_testkit::{
    APP_PASSWORD, APP_USER, Clonelove, Cluster, ClusterOptions, Config, Connection, Flavour, not_covered,
};
use order::{Answers, Asker};
use recording::{Connect, Sent};

pub(crate) const RECORDINGS_ENV: &str = "CLONELOVE_RECORDINGS";
/// Of the SELECTs outside transactions, how many in a hundred may go to the primary.
const MOST_ON_PRIMARY: f64 = 5.0;
/// The same in the small recordings, which use temporary tables as no recorded site does.
const MOST_ON_PRIMARY_SMALL: f64 = 20.0;
const DIFFERENCES_SHOWN: usize = 10;
/// Two servers side by side, with no proxy at all, differ by two or three in the recordings.
const MOST_REORDERED: usize = 8;

#[test]
fn the_drupal_7_recording_answers_the_same_through_clonelove() -> Result<()> {
    recorded_elsewhere("drupal7")
}

#[test]
fn the_drupal_10_recording_answers_the_same_through_clonelove() -> Result<()> {
    recorded_elsewhere("drupal10")
}

/// What this project's own PHP programs send: always at hand, and with statements that the recorded sites lack.
#[test]
fn the_small_recordings_answer_the_same_through_clonelove() -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/drupal");
    for site in ["drupal7", "drupal10"] {
        let (dump, recording) = (format!("{site}.sql"), format!("{site}.jsonl"));
        replay(site, &folder.join(dump), &folder.join(recording), MOST_ON_PRIMARY_SMALL)?;
    }
    Ok(())
}

fn recorded_elsewhere(site: &str) -> Result<()> {
    let folder = match std::env::var_os(RECORDINGS_ENV) {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/drupal"),
    };
    let recording = folder.join(format!("{site}.jsonl.gz"));
    if !recording.exists() {
        let why = format!("no {}; {RECORDINGS_ENV} can name another folder", recording.display());
        not_covered(&format!("the recording of {site}"), &why);
        return Ok(());
    }
    replay(site, &folder.join(format!("{site}.sql.gz")), &recording, MOST_ON_PRIMARY)
}

/// Replays on freshly loaded servers and judges what came of it.
fn replay(site: &str, dump: &Path, recording: &Path, most_on_primary: f64) -> Result<()> {
    let dump = recording::read_dump(dump)?;
    let direct = loaded(site, &dump, 0)?;
    let behind = loaded(site, &dump, 2)?;
    // The replicas have caught up before each read; that clonelove hears of it may take longer than it would wait.
    let config = Config::for_cluster(&behind).set("routing", "fresh_wait", "\"5s\"");
    let proxy = Clonelove::start_with(config)?;
    behind.servers().try_for_each(|server| server.general_log(true))?;

    let requests = recording::read(recording)?;
    let mut replay = Replay::new(&direct, &behind, &proxy)?;
    for request in &requests {
        let place = format!("{}, {}", request.scenario, request.request);
        for command in &request.commands {
            replay.command(command.conn, &command.sent()?).with_context(|| place.clone())?;
        }
        ensure!(replay.connections.is_empty(), "{place}: a connection does not end");
    }
    let witness = Witness::hear(&behind, &replay.statements)?;
    let Replay { statements, differences, reordered, .. } = &replay;
    ensure!(!statements.is_empty(), "the recording is empty");
    let shown: Vec<&str> = differences.iter().take(DIFFERENCES_SHOWN).map(String::as_str).collect();
    let (all, differing) = (statements.len(), differences.len());
    ensure!(shown.is_empty(), "{differing} of {all} answers differ:\n{}", shown.join("\n"));
    report(format_args!(
        "{} answers in another order that ORDER BY leaves open: {reordered:#?}",
        reordered.len()
    ));
    ensure!(reordered.len() <= MOST_REORDERED, "too many of them");
    witness.judge(site, statements, most_on_primary)
}

/// A primary with replicas that have all of the dump.
///
/// Statistics that each server renews in its own time decide what SHOW KEYS estimates: they stay as they are, so that
/// what differs between two servers is not that.
fn loaded(site: &str, dump: &[u8], replicas: usize) -> Result<Cluster> {
    let extra = vec!["--innodb-stats-auto-recalc=0".to_owned()];
    let options = ClusterOptions { replicas, extra, ..ClusterOptions::default() };
    let cluster = Cluster::start(Flavour::MariaDbDistribution, options)?;
    Connection::open(&cluster.primary.socket(), "root", Some(site))?.query_bytes(dump)?;
    cluster.wait_caught_up()?;
    Ok(cluster)
}

/// The two sides of one recorded connection.
struct Pair<'a> {
    connect: &'a Connect,
    /// The settings made on it so far.
    settings: Vec<Vec<u8>>,
    direct: Client,
    proxied: Client,
    in_transaction: bool,
}

/// A statement that was sent, and where the servers' general logs ended before.
struct Statement {
    sql: Vec<u8>,
    /// A transaction was open before it or after it.
    in_transaction: bool,
    /// It was answered with rows.
    gave_rows: bool,
    failed: bool,
    marks: Vec<u64>,
}

/// Both sides, in step.
struct Replay<'a> {
    direct: &'a Cluster,
    behind: &'a Cluster,
    proxy: String,
    connections: BTreeMap<u64, Pair<'a>>,
    statements: Vec<Statement>,
    differences: Vec<String>,
    /// Statements whose rows came in another order that ORDER BY leaves open.
    reordered: Vec<String>,
    catch_up: CatchUp,
}

impl<'a> Replay<'a> {
    fn new(direct: &'a Cluster, behind: &'a Cluster, proxy: &Clonelove) -> Result<Self> {
        Ok(Self {
            direct,
            behind,
            proxy: proxy.addr(),
            connections: BTreeMap::new(),
            statements: Vec::new(),
            differences: Vec::new(),
            reordered: Vec::new(),
            catch_up: CatchUp::new(behind)?,
        })
    }

    fn command(&mut self, connection: u64, sent: &Sent<'a>) -> Result<()> {
        match sent {
            Sent::Connect(connect) => {
                let direct = open(&self.direct.primary.address(), connect)?;
                let proxied = open(&self.proxy, connect)?;
                let pair = Pair { connect, settings: Vec::new(), direct, proxied, in_transaction: false };
                let before = self.connections.insert(connection, pair);
                ensure!(before.is_none(), "connection {connection} begins twice");
            }
            Sent::Query(sql) => self.query(connection, sql)?,
            Sent::Quit => {
                let pair = self.connections.remove(&connection).context("no such connection")?;
                pair.direct.quit()?;
                pair.proxied.quit()?;
            }
        }
        Ok(())
    }

    fn query(&mut self, connection: u64, sql: &[u8]) -> Result<()> {
        if sql.starts_with(b"SELECT") || sql.starts_with(b"SHOW") {
            self.catch_up.wait()?;
        }
        let logs = self.behind.servers().map(|server| server.general_log_mark());
        let marks = logs.collect::<Result<Vec<u64>>>()?;
        let pair = self.connections.get_mut(&connection).context("no such connection")?;
        let text = || String::from_utf8_lossy(sql.get(..sql.len().min(400)).unwrap_or_default()).into_owned();
        pair.direct.query(sql)?;
        pair.proxied.query(sql)?;
        let direct = pair.direct.reply().with_context(|| format!("directly: {}", text()))?;
        let proxied = pair.proxied.reply().with_context(|| format!("through clonelove: {}", text()))?;
        if let Some(difference) = direct.difference(&proxied) {
            let asker = Asker { connect: pair.connect, settings: &pair.settings, sql };
            let answers = Answers { direct: &direct, proxied: &proxied };
            let read = sql.starts_with(b"SELECT") && !pair.in_transaction;
            match read && order::alone_differs(&answers, &asker, self.direct, self.behind)? {
                true => self.reordered.push(text()),
                false => self.differences.push(format!("{}\n{difference}", text())),
            }
        }
        if sql.starts_with(b"SET ") {
            pair.settings.push(sql.to_vec());
        }
        let failed = matches!(direct.said, Said::Error { .. });
        let after = if failed { pair.in_transaction } else { direct.in_transaction() };
        self.catch_up.note(&direct);
        self.statements.push(Statement {
            sql: sql.to_vec(),
            in_transaction: pair.in_transaction || after,
            gave_rows: matches!(direct.said, Said::Rows { .. }),
            failed,
            marks,
        });
        pair.in_transaction = after;
        Ok(())
    }
}

pub(crate) fn open(address: &str, connect: &Connect) -> Result<Client> {
    let capabilities = connect.capability_bits()?;
    let Connect { db: schema, charset, .. } = connect;
    let opening = Opening { user: APP_USER, password: APP_PASSWORD, schema, charset: *charset, capabilities };
    Client::connect(address, &opening)
}

/// Lets the replicas catch up, where something was written since they last did.
struct CatchUp {
    primary: Connection,
    replicas: Vec<Connection>,
    written: bool,
}

impl CatchUp {
    fn new(cluster: &Cluster) -> Result<Self> {
        let replicas = cluster.replicas.iter().map(|replica| replica.connect()).collect::<Result<_>>()?;
        Ok(Self { primary: cluster.primary.connect()?, replicas, written: false })
    }

    /// All that is not rows may have written.
    fn note(&mut self, reply: &Reply) {
        self.written |= !matches!(reply.said, Said::Rows { .. });
    }

    fn wait(&mut self) -> Result<()> {
        if !self.written {
            return Ok(());
        }
        let position =
            first(self.primary.query("SELECT @@global.gtid_binlog_pos")?).context("no position")?;
        for replica in &mut self.replicas {
            let answer = first(replica.query(&format!("SELECT MASTER_GTID_WAIT('{position}', 30)"))?);
            ensure!(answer.as_deref() == Some("0"), "a replica has not reached {position}: {answer:?}");
        }
        self.written = false;
        Ok(())
    }
}

fn first(rows: Vec<Vec<Option<String>>>) -> Option<String> {
    rows.into_iter().next()?.into_iter().next()?
}

/// As servers log it: without the spaces and semicolons around it.
fn trimmed(sql: &str) -> &str {
    sql.trim_matches(|c: char| c.is_ascii_whitespace() || c == ';')
}

/// Which statements of the replay each server has in its general log.
struct Witness {
    on_primary: BTreeSet<usize>,
    on_replicas: BTreeSet<usize>,
    replicas_used: usize,
    /// What else the application's account sent to replicas.
    own: BTreeSet<String>,
}

impl Witness {
    fn hear(cluster: &Cluster, statements: &[Statement]) -> Result<Self> {
        let mut witness = Self {
            on_primary: BTreeSet::new(),
            on_replicas: BTreeSet::new(),
            replicas_used: 0,
            own: BTreeSet::new(),
        };
        for (at, server) in cluster.servers().enumerate() {
            let mut heard = BTreeSet::new();
            for entry in server.general_log_entries()? {
                if entry.user.as_deref() != Some(APP_USER) || !entry.is_statement() {
                    continue;
                }
                // The last statement before which the log was no longer than where the entry begins.
                let after = statements.partition_point(|statement| {
                    statement.marks.get(at).is_some_and(|mark| *mark <= entry.offset)
                });
                let number = after.wrapping_sub(1);
                let text = statements.get(number).map(|statement| String::from_utf8_lossy(&statement.sql));
                // What is not the statement is clonelove's own: a log-in's settings, a session's.
                if text.is_some_and(|text| trimmed(&entry.text) == trimmed(&text)) {
                    heard.insert(number);
                } else if at > 0 {
                    witness.own.insert(entry.text);
                }
            }
            match at {
                0 => witness.on_primary = heard,
                _ => {
                    witness.replicas_used += usize::from(!heard.is_empty());
                    witness.on_replicas.append(&mut heard);
                }
            }
        }
        Ok(witness)
    }

    fn judge(&self, site: &str, statements: &[Statement], most_on_primary: f64) -> Result<()> {
        let (mut selects, mut spilled) = (0_u32, Vec::new());
        for (number, statement) in statements.iter().enumerate() {
            let text = String::from_utf8_lossy(&statement.sql);
            let primary = self.on_primary.contains(&number);
            let replica = self.on_replicas.contains(&number);
            let is_select = statement.sql.starts_with(b"SELECT");
            let is_setting = statement.sql.starts_with(b"SET ");
            // One that a server has accepted before is answered without.
            ensure!(primary || replica || is_setting, "no server has it in its log: {text}");
            let may = is_select || statement.sql.starts_with(b"SHOW ");
            let read = may && (statement.gave_rows || statement.failed) && !statement.in_transaction;
            ensure!(!replica || read || is_setting, "reached a replica: {text}");
            if is_select && !statement.in_transaction {
                selects += 1;
                if primary {
                    spilled.push(text);
                }
            }
        }
        for own in &self.own {
            let clears = ["DO (SELECT 1 FROM (SELECT 1) AS t)", "SELECT 1 FROM (SELECT 1) AS t"];
            // After a read with an OFFSET beyond the last row, as cron has them.
            let counts = "SELECT FOUND_ROWS()";
            let own_affair = ["SET ", "SELECT @@server_id, @@hostname", clears[0], clears[1], counts];
            ensure!(
                own_affair.iter().any(|start| own.starts_with(start)),
                "clonelove itself sent to a replica: {own}"
            );
        }
        let share = 100.0 * f64::from(u32::try_from(spilled.len())?) / f64::from(selects.max(1));
        report(format_args!(
            "{site}: {} statements, the same answers; {selects} SELECTs outside transactions, {share:.2} % of them \
             reached the primary:\n{spilled:#?}",
            statements.len()
        ));
        ensure!(share <= most_on_primary, "{share:.2} % of the SELECTs outside transactions: {spilled:#?}");
        ensure!(self.replicas_used == 2, "only {} replica was used", self.replicas_used);
        Ok(())
    }
}

#[expect(clippy::print_stdout, reason = "the harness captures it with the test's output")]
fn report(what: std::fmt::Arguments<'_>) {
    println!("{what}");
}
