//! A rule as a row of a table, and the playing of it.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clonelove_testkit::{Clonelove, Cluster, ClusterOptions, Config, Family, Flavour, wait_until};

use super::super::checker::FRESHNESS_ENV;
use super::super::checker::client::{Client, Failure, Way};
use super::super::support::{Held, hasty, reason, uniform_of, wait_eligible, wait_known};

/// More than it takes to look at the definitions anew.
const PATIENCE: Duration = Duration::from_secs(5);

/// One rule. In all texts `$` stands for the number of the playing, since each is played with and without
/// DEPRECATE_EOF.
#[derive(Clone, Copy)]
pub(crate) struct Rule {
    /// What a person would call it.
    pub(crate) name: &'static str,
    /// Only servers of this family have it.
    pub(crate) only: Option<Family>,
    /// Made beforehand, as root on the primary.
    pub(crate) given: &'static [&'static str],
    /// Done by one session; `!1062 INSERT …` must come to that error.
    pub(crate) done: &'static [&'static str],
    /// Read by a new session afterwards.
    pub(crate) read: &'static str,
    /// What the replica shows.
    pub(crate) before: &'static str,
    /// What must be shown.
    pub(crate) after: &'static str,
    /// It is known of every read that it does not need this: one of another table stays on the replica.
    pub(crate) spares: &'static str,
    /// It is always read on the primary, for what it is.
    pub(crate) primary_only: bool,
    /// The replica will never have it.
    pub(crate) for_good: bool,
}

/// A rule to begin from.
pub(crate) const RULE: Rule = Rule {
    name: "",
    only: None,
    given: &[],
    done: &[],
    read: "",
    before: "0",
    after: "1",
    spares: "SELECT v FROM onlooker WHERE id = 1",
    primary_only: false,
    for_good: false,
};

/// Servers, a proxy, and the replica that is held back.
pub(crate) struct Scene {
    pub(crate) cluster: Cluster,
    pub(crate) proxy: Clonelove,
}

impl Scene {
    /// One replica, the tables of all rules, and a proxy that waits for no replica.
    pub(crate) fn set(flavour: Flavour, freshness: &str, given: &[String]) -> Result<Self> {
        let cluster = uniform_of(flavour, 1)?;
        Self::on(cluster, given, |config| config.set("routing", "freshness", &format!("\"{freshness}\"")))
    }

    /// The same on a cluster that is there.
    pub(crate) fn on(cluster: Cluster, given: &[String], with: impl Fn(Config) -> Config) -> Result<Self> {
        for server in cluster.servers() {
            server.query("SET GLOBAL log_bin_trust_function_creators = 1")?;
        }
        let mut root = cluster.primary.connect()?;
        root.query("USE app")?;
        let unlogged = match cluster.primary.flavour().family() {
            Family::MariaDb => "BINLOG ADMIN",
            Family::MySql => "SESSION_VARIABLES_ADMIN",
        };
        root.query(&format!("GRANT {unlogged} ON *.* TO app@'%'"))?;
        for table in ["bystander", "onlooker"] {
            root.query(&format!("CREATE TABLE {table} (id INT PRIMARY KEY, v INT NOT NULL)"))?;
            root.query(&format!("INSERT INTO {table} VALUES (1, 1)"))?;
        }
        for sql in given {
            root.query(sql)?;
            if sql.starts_with("XA PREPARE") {
                // It is committed by somebody else.
                root = cluster.primary.connect()?;
                root.query("USE app")?;
            }
        }
        cluster.wait_caught_up()?;
        let proxy = Clonelove::start_with(overridden(with(config(&cluster))))?;
        for replica in &cluster.replicas {
            wait_eligible(&proxy, replica.name())?;
        }
        Ok(Self { cluster, proxy })
    }

    /// A session of its own.
    pub(crate) fn client(&self, deprecate_eof: bool) -> Result<Client> {
        open(&self.proxy, deprecate_eof)
    }

    /// Holds the first replica back, once the proxy knows that it has everything.
    pub(crate) fn hold(&self) -> Result<Held<'_>> {
        wait_known(&self.proxy, &self.cluster.replicas[0], &self.cluster.primary)?;
        Held::new(&self.cluster.replicas[0])
    }

    /// What a new session is told, and whether a replica told it.
    pub(crate) fn told(&self, sql: &str) -> Result<(String, bool)> {
        let mut session = self.client(false)?;
        self.told_to(&mut session, sql)
    }

    /// What the reading is counted under.
    fn reasons(&self, sql: &str) -> Result<String> {
        let counted = || -> Result<BTreeMap<String, f64>> {
            let mut all = self.proxy.metrics()?;
            all.retain(|series, _| series.starts_with("clonelove_queries_total"));
            Ok(all)
        };
        let before = counted()?;
        self.told(sql)?;
        let more = |(series, count): (String, f64)| (before.get(&series) != Some(&count)).then_some(series);
        Ok(counted()?.into_iter().filter_map(more).collect::<Vec<_>>().join(", "))
    }

    /// The same for a session that is there.
    pub(crate) fn told_to(&self, session: &mut Client, sql: &str) -> Result<(String, bool)> {
        let before = on_replicas(&self.proxy)?;
        let said = say(session, sql);
        Ok((said, on_replicas(&self.proxy)? > before))
    }
}

/// The config of all rules' proxies: the replica's position is looked at often, and nothing waits for it.
pub(crate) fn config(cluster: &Cluster) -> Config {
    hasty(Config::for_cluster(cluster)).set("routing", "fresh_wait", "\"1ms\"")
}

thread_local! {
    /// The rules that the proxies of this thread's scenes do not keep.
    static DROPPED: Cell<Option<&'static str>> = const { Cell::new(None) };
}

/// Does something before proxies that do not keep a rule, or several with `|` between them.
pub(crate) fn without<T>(rules: &'static str, act: impl FnOnce() -> T) -> T {
    DROPPED.set(Some(rules));
    let done = act();
    DROPPED.set(None);
    done
}

/// What a person wants to see in place of what a test asks for, and what a test wants to see go wrong.
pub(crate) fn overridden(config: Config) -> Config {
    let config = match DROPPED.get() {
        Some(rules) => config.environment("CLONELOVE_DROP_RULE", rules),
        None => config,
    };
    match std::env::var(FRESHNESS_ENV) {
        Ok(freshness) => config.set("routing", "freshness", &format!("\"{freshness}\"")),
        Err(_) => config,
    }
}

/// A cluster of one replica with these options for it.
pub(crate) fn with_replica(flavour: Flavour, replica_extra: &[&str]) -> Result<Cluster> {
    let replica_extra = replica_extra.iter().map(|option| (*option).to_owned()).collect();
    Cluster::start(
        flavour,
        ClusterOptions { replicas: 1, uniform: true, replica_extra, ..ClusterOptions::default() },
    )
}

/// A session through the proxy, in schema `app`.
pub(crate) fn open(proxy: &Clonelove, deprecate_eof: bool) -> Result<Client> {
    Client::open(&proxy.addr(), deprecate_eof).map_err(|failure| anyhow::anyhow!("log-in: {failure}"))
}

/// The first value, or what came in its place, in words.
pub(crate) fn say(session: &mut Client, sql: &str) -> String {
    match session.ask(sql, Way::Text) {
        Ok(rows) => match rows.first().map(|row| row.first().copied().flatten()) {
            Some(Some(value)) => value.to_string(),
            Some(None) => "NULL".to_owned(),
            None => "nothing".to_owned(),
        },
        Err(Failure::Refused(code, _)) => format!("error {code}"),
        Err(Failure::Lost(how)) => format!("lost: {how}"),
    }
}

fn on_replicas(proxy: &Clonelove) -> Result<f64> {
    Ok(reason(proxy, "read")? + reason(proxy, "read_waited")?)
}

/// Does what a rule says, with the errors it says.
pub(crate) fn perform(session: &mut Client, steps: &[&str], numbered: impl Fn(&str) -> String) -> Result<()> {
    for step in steps {
        let (wanted, sql) = match step.strip_prefix('!').and_then(|rest| rest.split_once(' ')) {
            Some((code, sql)) => (Some(code.parse()?), sql),
            None => (None, *step),
        };
        let (way, sql) = match sql.strip_prefix("PREPARED ") {
            Some(sql) => (Way::Prepared, sql),
            None => (Way::Text, sql),
        };
        let code = match session.ask(&numbered(sql), way) {
            Ok(_) => None,
            Err(failure) => Some(failure.code().with_context(|| format!("{sql}: {failure}"))?),
        };
        ensure!(code == wanted, "{sql} came to {code:?}, not to {wanted:?}");
    }
    Ok(())
}

/// Plays all rules, each twice; tells every one that was broken. `CLONELOVE_RULES` is a part of the names wanted.
pub(crate) fn play_all(flavour: Flavour, freshness: &str, rules: &[Rule]) -> Result<()> {
    let named = std::env::var("CLONELOVE_RULES").unwrap_or_default();
    play(flavour, freshness, rules, |name| name.contains(&named))
}

/// Plays those rules whose names are wanted.
pub(crate) fn play(
    flavour: Flavour,
    freshness: &str,
    rules: &[Rule],
    wanted: impl Fn(&str) -> bool,
) -> Result<()> {
    let here = |rule: &&Rule| rule.only.is_none_or(|only| only == flavour.family()) && wanted(rule.name);
    let mut rules: Vec<&Rule> = rules.iter().filter(here).collect();
    // What the replica never gets keeps reads of all tables from it.
    rules.sort_by_key(|rule| rule.for_good);
    let numbers = |at: usize| [2 * at, 2 * at + 1];
    let mut given = Vec::new();
    for (at, rule) in rules.iter().enumerate() {
        for number in numbers(at) {
            given.extend(rule.given.iter().map(|sql| numbered(sql, number)));
        }
    }
    let scene = Scene::set(flavour, freshness, &given)?;
    let mut broken = String::new();
    for (at, rule) in rules.iter().enumerate() {
        for number in numbers(at) {
            if let Err(error) = play_one(&scene, rule, number) {
                let eof = if number % 2 == 1 { "with" } else { "without" };
                let _ = write!(broken, "\n{} ({eof} DEPRECATE_EOF): {error:#}", rule.name);
            }
        }
    }
    ensure!(broken.is_empty(), "{} of {} rules:{broken}", broken.lines().count() - 1, 2 * rules.len());
    Ok(())
}

fn numbered(sql: &str, number: usize) -> String {
    sql.replace('$', &number.to_string())
}

fn play_one(scene: &Scene, rule: &Rule, number: usize) -> Result<()> {
    let read = numbered(rule.read, number);
    let (before, after) = (numbered(rule.before, number), numbered(rule.after, number));
    // What the rule before did to definitions may still be in doubt.
    wait_until(&format!("{read} to run on the replica, and to give {before}"), PATIENCE, || {
        let told = scene.told(&read)?;
        ensure!(told.0 == before, "it gave {}", told.0);
        let good = told.1 || rule.primary_only || before.starts_with("error");
        if good { Ok(true) } else { anyhow::bail!("{}", scene.reasons(&read)?) }
    })?;
    let held = scene.hold()?;
    let played = (|| {
        let mut session = scene.client(number % 2 == 1)?;
        perform(&mut session, rule.done, |sql| numbered(sql, number))?;
        let told = scene.told(&read)?;
        ensure!(told.0 == after, "{read} gave a new session {}, not {after} (a replica: {})", told.0, told.1);
        if !rule.spares.is_empty() {
            let spared = numbered(rule.spares, number);
            let told = scene.told(&spared)?;
            let why = if told.1 { String::new() } else { scene.reasons(&spared)? };
            ensure!(told.1, "{spared} was kept from the replica, though it has nothing to do with it: {why}");
        }
        Ok(())
    })();
    held.release(&scene.cluster.primary)?;
    played?;
    // What the replica will never have it is never asked for; all else it answers again once it has it, and once what
    // is in doubt was looked up.
    wait_known(&scene.proxy, &scene.cluster.replicas[0], &scene.cluster.primary)?;
    let on_replica = !rule.for_good && !rule.primary_only && !after.starts_with("error");
    wait_until(&format!("{read} to run on the replica: {on_replica}"), PATIENCE, || {
        let told = scene.told(&read)?;
        ensure!(told.0 == after, "{read} gave {}, not {after}, once the replica had all there was", told.0);
        Ok::<_, anyhow::Error>(told.1 == on_replica || after.starts_with("error"))
    })
}
