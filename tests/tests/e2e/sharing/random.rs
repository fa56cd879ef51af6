//! Hundreds of sessions at once over a few connections, each doing what comes to its mind, against twins that each
//! have a connection of their own. `CLONELOVE_SHARING_SEED` repeats a run.

use anyhow::{Context, Result};
use clonelove_testkit::{Clonelove, Flavour};

use super::client::{Answer, Way, leaves_diagnostics, status};
use super::stage::{Pair, Stage};

/// What the dice begin with, unless another seed is asked for.
const SEED: u64 = 4;
/// Sessions at a time.
const SESSIONS: usize = 100;
/// Statements of a run.
const STATEMENTS: usize = 6_000;
/// Connections per server.
const CONNECTIONS: usize = 4;
/// How many of them may be kept by sessions; the others go on with the rest.
const MOST_KEPT: usize = 2;
const IN_TRANSACTION: u16 = 1;
const AUTOCOMMIT: u16 = 2;

/// SplitMix64 (Steele, Lea, Flood 2014): the same run for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) % u64::try_from(end.max(1)).unwrap_or(1)).unwrap_or(0)
    }

    fn one_of<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list.get(self.below(list.len())).copied().unwrap_or("DO 1")
    }
}

/// Settings that are replayed.
const SETTINGS: &[&str] = &[
    "SET NAMES utf8mb4",
    "SET NAMES utf8mb4 COLLATE utf8mb4_bin",
    "SET NAMES latin1",
    "SET CHARACTER SET utf8mb4",
    "SET sql_mode = ''",
    "SET sql_mode = 'ANSI_QUOTES'",
    "SET SESSION sql_mode = 'STRICT_ALL_TABLES'",
    "SET sql_mode = CONCAT(@@sql_mode, ',PIPES_AS_CONCAT')",
    "SET sql_mode = DEFAULT",
    "SET time_zone = '+05:00'",
    "SET time_zone = '-03:30'",
    "SET time_zone = DEFAULT",
    "SET group_concat_max_len = 9",
    "SET group_concat_max_len = DEFAULT, div_precision_increment = 7",
    "SET lc_time_names = 'de_DE'",
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    "SET sql_select_limit = 2",
    "SET sql_select_limit = DEFAULT",
    "SET @number = 5, @text = 'five'",
    "SET @number = 6",
    "SET @text = _latin1'six'",
    "SET ROLE reader",
    "SET ROLE NONE",
    "SET nonsense = 1",
    "SET sql_mode = 'NONSENSE'",
    "USE more_$",
    "USE side_$",
    "COM_INIT_DB side_$",
];

/// What shows settings and variables, on any server.
const LOOKS: &[&str] = &[
    "SELECT @@sql_mode, @@time_zone, @@group_concat_max_len, @@collation_connection",
    "SELECT HOUR(FROM_UNIXTIME(0)), 1 / 3, 'a' || 'b', 'a' = 'A', CHARSET('x')",
    "SELECT @number, @text, CHARSET(@text)",
    "SELECT DATABASE(), MONTHNAME('2024-05-01')",
    "SELECT LAST_INSERT_ID()",
    "SELECT ROW_COUNT()",
    "SHOW WARNINGS",
    "SHOW COUNT(*) WARNINGS",
    "SELECT @@warning_count",
    "SELECT \"v\" FROM side_$.% ORDER BY id LIMIT 3",
    "SELECT GROUP_CONCAT(v ORDER BY id) FROM side_$.%",
    "SELECT id, v, n, at FROM side_$.% WHERE n = @number",
    "SELECT COUNT(*), MAX(id) FROM side_$.%",
    "SELECT v, HOUR(at) FROM side_$.% ORDER BY id",
    "SELECT id FROM side_$.% WHERE v = 'FIVE'",
    "SELECT SQL_CALC_FOUND_ROWS id FROM side_$.% LIMIT 1",
    "SELECT v FROM scratch ORDER BY id",
    "SELECT no_such_column FROM side_$.%",
    "SELECT @@last_insert_id, @@identity",
    "SELECT CONNECTION_ID() = CONNECTION_ID()",
    "SELECT v, LAST_INSERT_ID() FROM side_$.% ORDER BY id DESC LIMIT 1",
    "SELECT EXISTS (SELECT 1 FROM side_$.% WHERE id = LAST_INSERT_ID())",
    "SELECT id FROM side_$.% ORDER BY id LIMIT 1 FOR UPDATE",
    "SELECT CURRENT_ROLE(), CURRENT_USER()",
    "DESCRIBE side_$.%",
    "SHOW CREATE TABLE side_$.%",
    "COM_PING",
];

const WRITES: &[&str] = &[
    "INSERT INTO side_$.% (v, n) VALUES ('five', 5)",
    "INSERT INTO side_$.% (v, n, at) VALUES ('when', 1, '2024-05-01 12:00:00')",
    "INSERT INTO side_$.% (v, n) VALUES ('last', LAST_INSERT_ID() % 100)",
    "INSERT INTO side_$.% (v, n) VALUES ('too much', 1000)",
    "INSERT INTO side_$.% (id, v) VALUES (1, 'twice')",
    "UPDATE side_$.% SET n = n + 1 WHERE n < 50",
    "UPDATE side_$.% SET v = CONCAT(v, '!') WHERE id = 2",
    "DELETE FROM side_$.% WHERE n > 20",
    "INSERT INTO scratch (v) VALUES ('kept here')",
    "REPLACE INTO side_$.% (id, v) VALUES (1, 'replaced')",
    "INSERT INTO side_$.% (id, v) VALUES (1, 'x') ON DUPLICATE KEY UPDATE v = 'again', id = LAST_INSERT_ID(id)",
    "INSERT INTO side_$.% (v, n) SELECT 'of it', n FROM side_$.% WHERE id = 1",
    "UPDATE side_$.% SET n = LAST_INSERT_ID(55) WHERE id = 1",
    "DELETE FROM side_$.% ORDER BY id LIMIT 1",
    "SAVEPOINT here",
];

/// What makes a connection its session's own, while there is one to spare.
const KEEPS: &[&str] = &[
    "BEGIN",
    "START TRANSACTION",
    "SET autocommit = 0",
    "CREATE TEMPORARY TABLE scratch (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(20))",
    "SELECT @number := 7",
    "SET @text = CONCAT('seven', @number)",
    // Where they have no value yet, this makes them.
    "INSERT INTO side_$.% (v, n) VALUES (@text, @number), ('six', 6)",
];

/// A session, its twin, and what is known of their state.
struct Session {
    pair: Pair,
    table: String,
    scratch: bool,
    own_variables: bool,
    /// What the last answer left.
    left: bool,
    transaction: bool,
    autocommit: bool,
}

impl Session {
    /// A new one, whose first statement is a write, so that what it reads is at least as new as that.
    fn begin(stage: &Stage, proxy: &Clonelove, slot: usize) -> Result<Self> {
        let mut session = Self {
            pair: stage.pair(proxy)?,
            table: format!("t{slot}"),
            scratch: false,
            own_variables: false,
            left: false,
            transaction: false,
            autocommit: true,
        };
        session.say("INSERT INTO side_$.% (v, n) VALUES ('here', 1)", Way::Text)?;
        Ok(session)
    }

    fn say(&mut self, sql: &str, way: Way) -> Result<()> {
        let sql = sql.replace(" side_$.%", &format!(" side_$.{}", self.table));
        let answer = self.pair.ask(&sql, way)?;
        self.learn(&sql, &answer);
        Ok(())
    }

    fn learn(&mut self, sql: &str, answer: &Answer) {
        if let Some(status) = status(answer) {
            self.transaction = status & IN_TRANSACTION != 0;
            self.autocommit = status & AUTOCOMMIT != 0;
        }
        // MariaDB keeps the warnings of before while statements use no table.
        let uses_tables = [" side_$.t", " scratch"].iter().any(|name| sql.contains(name));
        self.left = leaves_diagnostics(answer) || sql.contains("SQL_CALC") || self.left && !uses_tables;
        let failed = matches!(answer.last(), Some(super::client::Part::Error { .. }));
        match sql {
            "COM_RESET_CONNECTION" | "COM_CHANGE_USER" => {
                (self.scratch, self.own_variables, self.left) = (false, false, false);
            }
            _ if sql.starts_with("CREATE TEMPORARY") && !failed => self.scratch = true,
            _ if sql.starts_with("DROP TEMPORARY") && !failed => self.scratch = false,
            _ if sql.contains(":=")
                || sql.contains("(@text, @number)")
                || sql.starts_with("SET @text = CONCAT") =>
            {
                self.own_variables = true
            }
            // MySQL warns of some modes, and whoever asked for the value would ask in vain for that.
            _ if sql.contains("= CONCAT(") && self.left => self.own_variables = true,
            _ => {}
        }
    }

    fn keeps(&self) -> bool {
        self.left || self.transaction || !self.autocommit || self.scratch || self.own_variables
    }

    /// The next statement on the way to keeping nothing.
    fn tidy(&mut self, dice: &mut Dice) -> Result<()> {
        let sql = if self.transaction {
            dice.one_of(&["COMMIT", "ROLLBACK"])
        } else if !self.autocommit {
            "SET autocommit = 1"
        } else if self.own_variables {
            "COM_RESET_CONNECTION"
        } else if self.scratch {
            "DROP TEMPORARY TABLE scratch"
        } else {
            "SELECT COUNT(*) FROM side_$.%"
        };
        self.say(sql, Way::Text)
    }

    fn act(&mut self, dice: &mut Dice, may_keep: bool) -> Result<()> {
        let kind = dice.below(100);
        if kind == 99 {
            self.pair.change_user()?;
            self.learn("COM_CHANGE_USER", &Vec::new());
            (self.left, self.transaction, self.autocommit) = (false, false, true);
            return Ok(());
        }
        let sql = match kind {
            0..30 => dice.one_of(SETTINGS),
            30..60 => dice.one_of(LOOKS),
            60..80 => dice.one_of(WRITES),
            80..97 if may_keep => dice.one_of(KEEPS),
            97 | 98 => "COM_RESET_CONNECTION",
            _ => dice.one_of(LOOKS),
        };
        // Prepared, these ask about the connection that they were prepared on.
        let of_text = ["SET ", "ROW_COUNT()", "WARNINGS", "warning_count"];
        let of_text = of_text.iter().any(|part| sql.contains(part));
        let way = if !of_text && dice.below(5) == 0 { Way::Prepared } else { Way::Text };
        self.say(sql, way)
    }
}

fn run(flavour: Flavour, replicas: usize) -> Result<()> {
    let Some(stage) = Stage::set(flavour, replicas)? else { return Ok(()) };
    stage.tables(SESSIONS)?;
    let proxy = Clonelove::start_with(stage.config(CONNECTIONS))?;
    let seed = match std::env::var("CLONELOVE_SHARING_SEED") {
        Ok(seed) => seed.parse().context("CLONELOVE_SHARING_SEED is a number")?,
        Err(_) => SEED,
    };
    let story = converse(&stage, &proxy, &mut Dice(seed));
    story.with_context(|| format!("CLONELOVE_SHARING_SEED={seed} repeats it"))?;
    let there = proxy.metric("clonelove_queries_total", &["target=\"replica\""])?;
    assert!(replicas == 0 || there > 500.0, "replicas answered {there}");
    Ok(())
}

fn converse(stage: &Stage, proxy: &Clonelove, dice: &mut Dice) -> Result<()> {
    let mut sessions = Vec::new();
    let mut begun = 0;
    for slot in 0..SESSIONS {
        let mut session = Session::begin(stage, proxy, slot)?;
        while session.keeps() {
            session.tidy(dice)?;
        }
        sessions.push(Some(session));
        begun += 1;
    }
    for _ in 0..STATEMENTS {
        let kept: Vec<usize> = (0..SESSIONS)
            .filter(|at| sessions.get(*at).and_then(Option::as_ref).is_some_and(Session::keeps))
            .collect();
        let full = kept.len() >= MOST_KEPT;
        let at = match kept.get(dice.below(kept.len())) {
            Some(at) if full || dice.below(3) == 0 => *at,
            _ => dice.below(SESSIONS),
        };
        let Some(place) = sessions.get_mut(at) else { continue };
        let Some(session) = place else { continue };
        if dice.below(25) == 0 {
            // Leaves as it stands, in a transaction too; another takes its table over.
            *place = None;
            *place = Some(Session::begin(stage, proxy, at)?);
            begun += 1;
            continue;
        }
        let done = if session.keeps() && dice.below(3) == 0 {
            session.tidy(dice)
        } else {
            session.act(dice, session.keeps() || kept.len() < MOST_KEPT)
        };
        done.with_context(|| {
            let pins =
                proxy.status().map(|status| status.get("pins").map(ToString::to_string)).unwrap_or_default();
            format!("kept by {kept:?}; pinned: {pins:?}")
        })?;
    }
    assert!(begun >= 200, "only {begun} sessions");
    let opened = proxy.metric("clonelove_server_connects_total", &[])?;
    let reused = f64::from(u32::try_from(STATEMENTS)?) / opened.max(1.0);
    assert!(reused > 2.0, "{opened} connections opened: hardly any was shared");
    Ok(())
}

#[test]
fn random_sessions_answer_as_their_twins_on_mariadb() -> Result<()> {
    run(Flavour::MariaDbDistribution, 0)
}

#[test]
fn random_sessions_answer_as_their_twins_on_mysql() -> Result<()> {
    run(Flavour::MySqlSid, 0)
}

#[test]
fn random_sessions_answer_as_their_twins_with_replicas_on_mariadb_sid() -> Result<()> {
    run(Flavour::MariaDbSid, 2)
}

#[test]
fn random_sessions_answer_as_their_twins_with_replicas_on_mysql_sid() -> Result<()> {
    run(Flavour::MySqlSid, 2)
}
