//! Plays a file of MariaDB's tests: the tester's commands as far as statements hang on them (variables, connections,
//! loops, included files), and every statement through the judge. Results that the file expects are of no concern.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::classes::{self, Text};
use super::client::Fault;
use super::judge::{Judge, Place, Player};
use super::script::{Step, What, steps};
use super::site::Site;

/// A statement may take so long.
const STATEMENT: Duration = Duration::from_secs(6);
/// A file may take so long, and run so many statements.
pub(super) const FILE: Duration = Duration::from_secs(60);
const MOST_STATEMENTS: u64 = 6000;
/// So many statements over their time, and the file is given up.
const MOST_LATE: u32 = 3;
/// A loop is left after so many rounds.
const MOST_ROUNDS: u32 = 300;
/// Files include each other no deeper.
const DEEPEST: u32 = 6;
/// Files that need what no release build has, or other servers than these.
const NOT_OURS: &[&str] = &[
    "have_debug.inc",
    "have_debug_sync.inc",
    "big_test.inc",
    "master-slave.inc",
    "galera_cluster.inc",
    "have_wsrep.inc",
    "have_rocksdb.inc",
    "windows.inc",
    "is_embedded.inc",
    "restart_mysqld.inc",
    "have_valgrind.inc",
    "have_asan.inc",
    "have_example_plugin.inc",
    "rpl_init.inc",
    "have_s3.inc",
];

/// Why a file was not played to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It was.
    Finished,
    /// `exit`, `skip` or `die`.
    Left,
    NotOurs,
    TooLong,
    TooManyLate,
    /// The replica does not replicate any more: the rest was judged on the primary alone, and new servers are needed.
    BrokenReplication,
    /// The primary is gone: likewise.
    Crashed,
}

impl End {
    /// For the list of files cut short.
    pub(super) fn why(self) -> Option<&'static str> {
        match self {
            End::Finished | End::Left => None,
            End::NotOurs => Some("needs a debug build or other servers"),
            End::TooLong => Some("over its time or its number of statements"),
            End::TooManyLate => Some("several statements over their time"),
            End::BrokenReplication => Some("replication broke: the rest was judged on the primary alone"),
            End::Crashed => Some("the server crashed or hung"),
        }
    }

    /// Whether the servers can be used again.
    pub(super) fn spares_servers(self) -> bool {
        !matches!(self, End::BrokenReplication | End::Crashed)
    }
}

/// A file being played.
pub(super) struct Play<'a> {
    site: &'a mut Site,
    judge: &'a mut Judge,
    root: &'a Path,
    folder: PathBuf,
    file: String,
    players: BTreeMap<String, Option<Player>>,
    /// Connections with a statement under way.
    sent: BTreeMap<String, ()>,
    current: String,
    variables: BTreeMap<String, Vec<u8>>,
    begun: Instant,
    patience: Duration,
    first_run: u64,
    late: u32,
    send_next: bool,
    delimiter: Vec<u8>,
}

/// Plays one file of the suite below `root`.
pub(super) fn play(site: &mut Site, judge: &mut Judge, root: &Path, path: &Path, patience: Duration) -> End {
    let Ok(text) = fs::read(path) else { return End::Left };
    let file = path.strip_prefix(root).unwrap_or(path).display().to_string();
    let first_run = judge.tally.run;
    let mut play = Play {
        site,
        judge,
        root,
        folder: path.parent().unwrap_or(root).to_path_buf(),
        file,
        players: BTreeMap::new(),
        sent: BTreeMap::new(),
        current: "default".to_owned(),
        variables: BTreeMap::new(),
        begun: Instant::now(),
        patience,
        first_run,
        late: 0,
        send_next: false,
        delimiter: b";".to_vec(),
    };
    play.set_up();
    let ended = play.steps_of(&text, 0);
    (play.judge.busy_others, play.judge.delayed) = (false, false);
    play.judge.disturbed();
    match ended.err().unwrap_or(End::Finished) {
        End::Finished | End::Left if play.site.replica_lost => End::BrokenReplication,
        end => end,
    }
}

impl Play<'_> {
    fn set_up(&mut self) {
        let sandbox = self.site.cluster.folder().display().to_string();
        let given = [
            ("MYSQLTEST_VARDIR", sandbox.clone()),
            ("MYSQL_TMP_DIR", sandbox.clone()),
            ("MYSQLD_DATADIR", format!("{sandbox}/primary/data")),
            ("MYSQL_TEST_DIR", self.root.display().to_string()),
            ("MYSQL_STD_DATA", format!("{sandbox}/std_data")),
            ("MASTER_MYPORT", self.site.cluster.primary.port().to_string()),
            ("MASTER_MYSOCK", self.site.cluster.primary.socket().display().to_string()),
            ("engine_type", "InnoDB".to_owned()),
            ("default_engine", "InnoDB".to_owned()),
            ("mysql_errno", "0".to_owned()),
        ];
        self.variables.extend(given.map(|(name, value)| (name.to_owned(), value.into_bytes())));
        self.open("default", "root", Some("test"));
    }

    fn open(&mut self, name: &str, user: &str, schema: Option<&str>) {
        let player = Player::open(self.site, user, schema, false);
        if player.is_err() {
            self.judge.tally.pass("connections that could not be opened (passwords, TLS)");
        }
        let player = player.ok().inspect(|player| player.client.set_limit(STATEMENT));
        self.players.insert(name.to_owned(), player);
        self.current = name.to_owned();
        self.judge.disturbed();
        // The character set of mysqltest itself.
        let _ = self.run(0, b"SET NAMES latin1");
    }

    fn steps_of(&mut self, text: &[u8], depth: u32) -> Result<(), End> {
        let mut delimiter = std::mem::take(&mut self.delimiter);
        let all = steps(text, &mut delimiter);
        self.delimiter = delimiter;
        self.block(&all, depth).map(|_| ())
    }

    /// Plays steps to the end, or to the brace that closes the block; gives back how many were passed.
    fn block(&mut self, all: &[Step], depth: u32) -> Result<usize, End> {
        let mut at = 0;
        while let Some(step) = all.get(at) {
            at += 1;
            match &step.what {
                What::Close => return Ok(at),
                What::Open { repeats, condition } => {
                    let body = all.get(at..).unwrap_or_default();
                    at += self.conditional(body, *repeats, condition, depth)?;
                }
                What::Statement(sql) => {
                    let sql = sql.clone();
                    if std::mem::take(&mut self.send_next) {
                        self.send(&sql)?;
                    } else {
                        self.run(step.line, &sql)?;
                    }
                }
                What::Command(name, rest) => self.command(step.line, name, rest, depth)?,
            }
        }
        Ok(at)
    }

    fn conditional(
        &mut self,
        body: &[Step],
        repeats: bool,
        condition: &[u8],
        depth: u32,
    ) -> Result<usize, End> {
        let length = block_length(body);
        let mut rounds = 0;
        loop {
            match self.holds(condition) {
                None => {
                    self.judge.tally.pass("blocks whose condition cannot be told");
                    break;
                }
                Some(false) => break,
                Some(true) => {
                    self.block(body, depth)?;
                }
            }
            rounds += 1;
            if !repeats || rounds >= MOST_ROUNDS {
                break;
            }
        }
        Ok(length)
    }

    fn command(&mut self, line: usize, name: &str, rest: &[u8], depth: u32) -> Result<(), End> {
        match name {
            "let" => self.assign(rest),
            "inc" | "dec" => self.step_variable(rest, if name == "inc" { 1 } else { -1 }),
            "eval" | "evalp" => {
                let sql = self.expanded(rest);
                if std::mem::take(&mut self.send_next) { self.send(&sql)? } else { self.run(line, &sql)? }
            }
            "query" | "query_vertical" | "query_horizontal" => {
                let sql = self.expanded(rest);
                self.run(line, &sql)?;
            }
            "send" if rest.is_empty() => self.send_next = true,
            "send" | "send_eval" => {
                let sql = self.expanded(rest);
                self.send(&sql)?;
            }
            "reap" => self.drain()?,
            "source" => self.source(rest, depth)?,
            "connect" => self.connect(rest),
            "connection" => self.switch(rest),
            "disconnect" | "dirty_close" => self.disconnect(rest),
            "reset_connection" | "change_user" => {
                self.judge.tally.pass("change_user, reset_connection (taken as a new connection)");
                let name = self.current.clone();
                self.sent.remove(&name);
                self.open(&name, "root", Some("test"));
            }
            "exit" | "skip" | "die" => return Err(End::Left),
            "exec" | "execw" | "system" | "perl" => self.judge.tally.pass("programs (exec, perl)"),
            "shutdown_server" | "send_shutdown" => return Err(End::NotOurs),
            _ => {}
        }
        Ok(())
    }

    /// Runs a statement on the current connection, judged.
    fn run(&mut self, line: usize, sql: &[u8]) -> Result<(), End> {
        self.within_limits()?;
        let text = Text::of(sql);
        if let Some(class) = classes::not_run(&text, sql) {
            self.judge.tally.skip(class);
            return Ok(());
        }
        self.drain()?;
        let name = self.current.clone();
        let Some(mut player) = self.players.get_mut(&name).and_then(Option::take) else {
            self.judge.tally.skip("connections that are not there");
            return Ok(());
        };
        let place = Place { file: self.file.clone(), line };
        self.judge.busy_others = !self.sent.is_empty();
        match self.judge.statement(self.site, &mut player, sql, &place) {
            Ok(reply) => {
                let code = reply.code().unwrap_or(0);
                self.variables.insert("mysql_errno".to_owned(), code.to_string().into_bytes());
                self.players.insert(name, Some(player));
            }
            Err(fault) => return self.failed(fault, player, sql, line),
        }
        Ok(())
    }

    fn within_limits(&self) -> Result<(), End> {
        let many = self.judge.tally.run.saturating_sub(self.first_run) > MOST_STATEMENTS;
        if many || self.begun.elapsed() > self.patience { Err(End::TooLong) } else { Ok(()) }
    }

    /// A connection that is late or lost is opened anew; a primary that is gone ends the file.
    fn failed(&mut self, fault: Fault, player: Player, sql: &[u8], line: usize) -> Result<(), End> {
        self.judge.disturbed();
        let id = player.client.id;
        drop(player);
        if self.site.side.value("SELECT 1").as_deref() != Ok("1") {
            let start: String = String::from_utf8_lossy(sql).chars().take(200).collect();
            self.judge.tally.crashes.push(format!("{}:{line}: {start}", self.file));
            return Err(End::Crashed);
        }
        match fault {
            Fault::Late => {
                self.judge.tally.late += 1;
                self.late += 1;
                let _ = self.site.side.value(&format!("KILL CONNECTION {id}"));
            }
            Fault::Lost => self.judge.tally.lost += 1,
        }
        self.site.until_gone(id);
        if self.late > MOST_LATE {
            return Err(End::TooManyLate);
        }
        let name = self.current.clone();
        self.open(&name, "root", Some("test"));
        Ok(())
    }

    /// Sends a statement whose reply is read later. It is not judged: others run meanwhile.
    fn send(&mut self, sql: &[u8]) -> Result<(), End> {
        self.within_limits()?;
        self.drain()?;
        if let Some(class) = classes::not_run(&Text::of(sql), sql) {
            self.judge.tally.skip(class);
            return Ok(());
        }
        let name = self.current.clone();
        let Some(Some(player)) = self.players.get_mut(&name) else { return Ok(()) };
        self.judge.tally.run += 1;
        self.judge.disturbed();
        let facts = clonelove_sql::analyse(sql, &player.model.dialect);
        // What it did cannot be seen in time: from here on the session is as pinned as it may have become.
        player.model.pins.after(&facts, None, false);
        player.model.pins.hold(clonelove_route::pins::Pin::SessionSetting);
        if player.client.send(sql).is_ok() {
            self.sent.insert(name, ());
        }
        Ok(())
    }

    /// Reads what the current connection still has to say.
    fn drain(&mut self) -> Result<(), End> {
        let name = self.current.clone();
        if self.sent.remove(&name).is_none() {
            return Ok(());
        }
        self.judge.disturbed();
        let Some(Some(player)) = self.players.get_mut(&name) else { return Ok(()) };
        match player.client.receive() {
            Ok(reply) => {
                self.judge.tally.succeeded += u64::from(reply.error.is_none());
                let facts = clonelove_sql::Facts::default();
                player.learn(b"", &facts, &reply);
                Ok(())
            }
            Err(fault) => match self.players.get_mut(&name).and_then(Option::take) {
                Some(player) => self.failed(fault, player, b"a statement that was sent", 0),
                None => Ok(()),
            },
        }
    }

    fn source(&mut self, rest: &[u8], depth: u32) -> Result<(), End> {
        let name = String::from_utf8_lossy(&self.expanded(rest)).trim().to_owned();
        let base =
            Path::new(&name).file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if NOT_OURS.contains(&base.as_str()) {
            return Err(End::NotOurs);
        }
        if base.starts_with("have_")
            || base.starts_with("not_")
            || base.starts_with("no_")
            || base.starts_with("wait_")
        {
            return Ok(());
        }
        let found = [self.root.join(&name), self.folder.join(&name)].into_iter().find(|path| path.is_file());
        let Some(text) = found.filter(|_| depth < DEEPEST).and_then(|path| fs::read(path).ok()) else {
            self.judge.tally.pass("included files that are not there");
            return Ok(());
        };
        let delimiter = std::mem::replace(&mut self.delimiter, b";".to_vec());
        let inner = format!("{} -> {name}", self.file);
        let outer = std::mem::replace(&mut self.file, inner);
        let ended = self.steps_of(&text, depth + 1);
        self.file = outer;
        self.delimiter = delimiter;
        // A file that is included may leave by itself, when a server is not of its kind.
        match ended {
            Err(End::Left) if depth == 0 => Err(End::Left),
            other => other,
        }
    }

    /// `connect (name, host, user, password, schema, …)`
    fn connect(&mut self, rest: &[u8]) {
        let text = String::from_utf8_lossy(&self.expanded(rest)).into_owned();
        let inner = text.trim().trim_start_matches('(').trim_end_matches(')');
        let words: Vec<&str> =
            inner.split(',').map(|word| word.trim().trim_matches(|c| matches!(c, '\'' | '"'))).collect();
        let word = |at: usize| words.get(at).copied().unwrap_or_default();
        if !word(3).is_empty() {
            self.judge.tally.pass("connections with a password");
            self.players.insert(word(0).to_owned(), None);
            self.current = word(0).to_owned();
            return;
        }
        let user = if word(2).is_empty() { "root" } else { word(2) };
        let schema = match word(4) {
            "" => Some("test"),
            "*NO-ONE*" => None,
            schema => Some(schema),
        };
        self.open(word(0), user, schema);
    }

    fn switch(&mut self, rest: &[u8]) {
        let name = String::from_utf8_lossy(&self.expanded(rest)).trim().to_owned();
        if self.players.contains_key(&name) {
            self.current = name;
        } else {
            // Statements for a connection that is not there are counted as such.
            self.players.insert(name.clone(), None);
            self.current = name;
        }
    }

    fn disconnect(&mut self, rest: &[u8]) {
        let name = String::from_utf8_lossy(&self.expanded(rest)).trim().to_owned();
        self.sent.remove(&name);
        if let Some(player) = self.players.remove(&name).flatten() {
            self.site.leave(player.client);
        }
        self.judge.disturbed();
    }

    /// `$name = value`, also with a query in backticks.
    fn assign(&mut self, rest: &[u8]) {
        let Some(equals) = rest.iter().position(|byte| *byte == b'=') else { return };
        let (name, value) = rest.split_at(equals);
        let name = String::from_utf8_lossy(name).trim().trim_start_matches('$').to_owned();
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        let value = match value {
            [b'`', query @ .., b'`'] => {
                let query = self.expanded(query);
                self.first_value(&query)
            }
            _ if value.starts_with(b"query_get_value") => self.query_get_value(value),
            _ => self.expanded(value),
        };
        self.variables.insert(name, value);
    }

    /// `query_get_value(statement, column, row)`
    fn query_get_value(&mut self, call: &[u8]) -> Vec<u8> {
        let text = String::from_utf8_lossy(&self.expanded(call)).into_owned();
        let inner =
            text.trim_start_matches("query_get_value").trim().trim_start_matches('(').trim_end_matches(')');
        let mut parts = inner.rsplitn(3, ',');
        let (row, column, sql) = (parts.next(), parts.next(), parts.next());
        let (Some(row), Some(column), Some(sql)) = (row, column, sql) else { return Vec::new() };
        let wanted = row.trim().parse::<usize>().unwrap_or(1).saturating_sub(1);
        let Some(reply) = self.ask(sql.as_bytes()) else { return Vec::new() };
        let Some(rows) = reply.results.first() else { return Vec::new() };
        let at = rows.names.iter().position(|name| name.eq_ignore_ascii_case(column.trim())).unwrap_or(0);
        let value = rows.text().get(wanted).and_then(|row| row.get(at).cloned()).flatten();
        value.unwrap_or_else(|| "No such row".to_owned()).into_bytes()
    }

    fn first_value(&mut self, sql: &[u8]) -> Vec<u8> {
        let Some(reply) = self.ask(sql) else { return Vec::new() };
        let first = reply.results.first().and_then(|rows| rows.text().into_iter().next());
        let value = first.and_then(|row| row.into_iter().next()).flatten();
        value.map(String::into_bytes).unwrap_or_default()
    }

    /// A question of the tester's own, on the current connection.
    fn ask(&mut self, sql: &[u8]) -> Option<super::client::Reply> {
        if classes::not_run(&Text::of(sql), sql).is_some() || self.sent.contains_key(&self.current) {
            return None;
        }
        self.judge.disturbed();
        let player = self.players.get_mut(&self.current)?.as_mut()?;
        let reply = player.client.ask(sql).ok()?;
        let facts = clonelove_sql::analyse(sql, &player.model.dialect);
        player.learn(sql, &facts, &reply);
        Some(reply)
    }

    fn step_variable(&mut self, rest: &[u8], by: i64) {
        let name = String::from_utf8_lossy(rest).trim().trim_start_matches('$').to_owned();
        let value =
            self.variables.get(&name).map(|value| String::from_utf8_lossy(value).trim().parse::<i64>());
        let value = value.and_then(Result::ok).unwrap_or(0);
        self.variables.insert(name, value.saturating_add(by).to_string().into_bytes());
    }

    /// Puts variables in the places of their names.
    fn expanded(&self, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(text.len());
        let mut rest = text;
        while let Some(first) = rest.first() {
            if *first == b'\\' && matches!(rest.get(1), Some(b'$' | b'`')) {
                out.extend(rest.get(1));
                rest = rest.get(2..).unwrap_or_default();
                continue;
            }
            let name: Vec<u8> = match *first {
                b'$' => rest
                    .iter()
                    .skip(1)
                    .copied()
                    .take_while(|b| b.is_ascii_alphanumeric() || *b == b'_')
                    .collect(),
                _ => Vec::new(),
            };
            match self.variables.get(String::from_utf8_lossy(&name).as_ref()) {
                Some(value) if !name.is_empty() => {
                    out.extend_from_slice(value);
                    rest = rest.get(name.len() + 1..).unwrap_or_default();
                }
                // A variable that was never set is empty.
                None if !name.is_empty() => rest = rest.get(name.len() + 1..).unwrap_or_default(),
                _ => {
                    out.push(*first);
                    rest = rest.get(1..).unwrap_or_default();
                }
            }
        }
        out
    }

    /// Whether a condition holds; `None` when that cannot be told.
    fn holds(&mut self, condition: &[u8]) -> Option<bool> {
        let condition = condition.trim_ascii();
        if let Some(rest) = condition.strip_prefix(b"!") {
            return self.holds(rest).map(|holds| !holds);
        }
        if let [b'`', query @ .., b'`'] = condition {
            let query = self.expanded(query);
            return Some(is_true(&self.first_value(&query)));
        }
        let text = String::from_utf8_lossy(condition).into_owned();
        for operator in ["==", "!=", "<=", ">=", "<", ">"] {
            if let Some((left, right)) = text.split_once(operator) {
                let left = self.operand(left);
                let right = self.operand(right);
                return Some(compares(&left, operator, &right));
            }
        }
        Some(is_true(&self.expanded(condition)))
    }

    fn operand(&mut self, text: &str) -> String {
        let text = text.trim();
        let value = match text.as_bytes() {
            [b'`', query @ .., b'`'] => {
                let query = self.expanded(query);
                self.first_value(&query)
            }
            bytes => self.expanded(bytes),
        };
        String::from_utf8_lossy(&value).trim().trim_matches(|c| matches!(c, '\'' | '"')).to_owned()
    }
}

fn is_true(value: &[u8]) -> bool {
    !matches!(value.trim_ascii(), b"" | b"0" | b"NULL")
}

fn compares(left: &str, operator: &str, right: &str) -> bool {
    let order = match (left.parse::<i64>(), right.parse::<i64>()) {
        (Ok(left), Ok(right)) => left.cmp(&right),
        _ => left.to_lowercase().cmp(&right.to_lowercase()),
    };
    match operator {
        "==" => order.is_eq(),
        "!=" => order.is_ne(),
        "<=" => order.is_le(),
        ">=" => order.is_ge(),
        "<" => order.is_lt(),
        _ => order.is_gt(),
    }
}

/// How many steps a block has, its closing brace included.
fn block_length(body: &[Step]) -> usize {
    let mut depth = 1_u32;
    for (at, step) in body.iter().enumerate() {
        match step.what {
            What::Open { .. } => depth += 1,
            What::Close => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    body.len()
}
