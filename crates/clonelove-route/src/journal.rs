//! The settings a session has made, as a value: what a connection must have heard to serve it. Owns what
//! may be replayed, what supersedes what, and the way from one such state to another; must not send
//! anything.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use clonelove_sql::{Assignment, Dialect, Effect, Facts, Flavour, Setting, Value};

/// One setting statement to be replayed.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Entry {
    /// The statement, as the client sent it or as it was read back.
    sql: Vec<u8>,
    /// What may stand in a SET of several settings, in place of the statement.
    part: Option<Vec<u8>>,
    /// Not for connections that serve reads only.
    primary_only: bool,
    /// Means the same whatever was set before it.
    plain: bool,
    /// The variables it sets.
    sets: Vec<String>,
}

/// The settings a session has made, in the order of their effect. Cheap to clone, compared by content.
#[derive(Clone, Debug)]
pub struct Journal(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    entries: Vec<Arc<Entry>>,
    id: u64,
}

/// What to do with a session-setting statement that succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carry {
    /// The state that it leads to: other connections can be brought there.
    Replay(Journal),
    /// Its text does not tell what it set: these variables' values must be read back.
    ByValue(Vec<String>),
    /// Its effect lives on the connection that ran it, which is thereby pinned.
    Here(Unportable),
}

/// What kind of state stays behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unportable {
    /// A user variable.
    UserVariable,
    /// Anything else.
    Setting,
}

/// How a connection gets from one state to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// By these statements, in order; none when it is there already.
    Say(Vec<Vec<u8>>),
    /// It must go back to the beginning first.
    Reset,
    /// Not at all: it has something that a reset does not take back.
    Never,
}

/// Sessions that need more than this pin instead.
const MOST_ENTRIES: usize = 100;
/// As do statements longer than this.
const LONGEST: usize = 16 * 1024;

/// Settings for one statement only, of this one connection, or of our own: never to be replayed.
const NEVER: &[&str] = &[
    "insert_id",
    "last_insert_id",
    "identity",
    "timestamp",
    "rand_seed1",
    "rand_seed2",
    "pseudo_thread_id",
    "pseudo_slave_mode",
    "pseudo_replica_mode",
    "sql_log_bin",
    "sql_log_off",
    "server_id",
    "skip_replication",
    "default_master_connection",
    "debug",
    "debug_sync",
    "transaction_allow_batching",
    "original_commit_timestamp",
    "immediate_server_version",
    "original_server_version",
];
/// What the optimizer traced, and profiles, are asked for on the connection that did the work.
const NEVER_PREFIXES: &[&str] = &["gtid_", "binlog_", "wsrep_", "rpl_", "optimizer_trace", "profiling"];

/// What a client is told of its session: between it and us, for servers track for us.
const TRACKING: &str = "session_track_";

/// What is set changes a part of them and leaves the rest as it was.
const PARTIAL: &[&str] = &["optimizer_switch"];

/// Replica connections are read-only by our own hand; the client's word on that is for the primary.
const PRIMARY_ONLY: &[&str] = &["tx_read_only", "transaction_read_only", "autocommit"];

/// What SET NAMES sets; what moves one of the latter two moves both.
const NAMES: &[&str] =
    &["character_set_client", "character_set_results", "character_set_connection", "collation_connection"];

/// Settings that say what a later SET NAMES means.
const COLOURING: &[&str] = &["character_set_collations", "default_collation_for_utf8mb4", "old_mode"];

/// COM_RESET_CONNECTION leaves a role in place.
const ROLE: &str = "role";

impl Default for Journal {
    fn default() -> Self {
        Journal::of(Vec::new())
    }
}

impl PartialEq for Journal {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || (self.0.id == other.0.id && self.0.entries == other.0.entries)
    }
}

impl Eq for Journal {}

impl Journal {
    fn of(entries: Vec<Arc<Entry>>) -> Self {
        let mut hasher = DefaultHasher::new();
        for entry in &entries {
            entry.sql.hash(&mut hasher);
        }
        Journal(Arc::new(Inner { entries, id: hasher.finish() }))
    }

    /// A number that equal states share, and others all but never.
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// Nothing was set.
    pub fn is_empty(&self) -> bool {
        self.0.entries.is_empty()
    }

    /// The last statement that set the isolation level, if any did.
    pub fn isolation(&self) -> Option<&[u8]> {
        let sets_it = |entry: &&Arc<Entry>| entry.sets.iter().any(|name| name == "tx_isolation");
        self.0.entries.iter().rev().find(sets_it).map(|entry| entry.sql.as_slice())
    }

    /// The system variables that the last statement set.
    pub fn last_set(&self) -> impl Iterator<Item = &str> {
        let last = self.0.entries.last().map(|entry| entry.sets.as_slice()).unwrap_or_default();
        last.iter().map(String::as_str).filter(|name| !name.starts_with('@') && *name != ROLE)
    }

    /// Whether any of them may lead to a character set in which letters have other bytes than in ASCII: one that says so
    /// (swe7), or one that is the server's default, whatever that is.
    pub fn changes_letters(&self) -> bool {
        let has =
            |sql: &[u8], word: &[u8]| sql.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word));
        let names = |entry: &Arc<Entry>| entry.sets.iter().any(|name| name.starts_with("character_set_"));
        self.0
            .entries
            .iter()
            .any(|entry| has(&entry.sql, b"swe7") || names(entry) && has(&entry.sql, b"DEFAULT"))
    }

    /// Whether a user variable of this name has a value here.
    pub fn sets_user_variable(&self, name: &str) -> bool {
        self.0.entries.iter().any(|entry| {
            entry.sets.iter().any(|set| set.strip_prefix('@').is_some_and(|variable| variable == name))
        })
    }

    /// What follows from a session-setting statement that a server accepted.
    pub fn note(&self, sql: &[u8], facts: &Facts, dialect: &Dialect) -> Carry {
        let mut sets = Vec::new();
        let mut how = Portable { primary_only: false, by_value: false };
        let mut tracks = false;
        let assignments = facts.effects.iter().filter_map(|effect| match effect {
            Effect::Settings(assignments) => Some(assignments),
            _ => None,
        });
        for assignment in assignments.flatten() {
            if matches!(&assignment.target, Setting::Variable(name) if name.starts_with(TRACKING)) {
                tracks = true;
                continue;
            }
            match portable(assignment, &mut sets) {
                Err(unportable) => return Carry::Here(unportable),
                Ok(one) => {
                    how.primary_only |= one.primary_only;
                    how.by_value |= one.by_value;
                }
            }
        }
        if sets.is_empty() && tracks {
            return Carry::Replay(self.clone());
        }
        if sets.is_empty() || sql.len() > LONGEST || !facts.parts.is_empty() {
            return Carry::Here(Unportable::Setting);
        }
        // The text says more than others are to hear.
        how.by_value |= tracks;
        if how.by_value {
            // A user variable's value is more than its text: type, character set, collation.
            return if sets.iter().any(|name| name.starts_with('@') || name == ROLE) {
                Carry::Here(Unportable::Setting)
            } else {
                Carry::ByValue(sets)
            };
        }
        let coloured = sets.iter().any(|name| COLOURING.contains(&name.as_str()));
        // A text that a user variable is set to has the character set of that moment.
        let text = sets.iter().any(|name| name.starts_with('@')) && sql.contains(&b'\'');
        let plain = is_plain(sql) && !coloured && !text;
        let part = plain.then(|| part_of(sql, facts, dialect)).flatten();
        self.with(Entry { sql: sql.to_vec(), part, primary_only: how.primary_only, plain, sets })
    }

    /// The state after variables were read back: names, and SQL literals.
    pub fn note_values(&self, values: &[(String, String)]) -> Carry {
        let list: Vec<String> =
            values.iter().map(|(name, value)| format!("SESSION {name} = {value}")).collect();
        let part = list.join(", ").into_bytes();
        if list.is_empty() || part.len() > LONGEST {
            return Carry::Here(Unportable::Setting);
        }
        let mut sets = Vec::new();
        for (name, _) in values {
            add_names(name, &mut sets);
        }
        let primary_only = sets.iter().any(|name| PRIMARY_ONLY.contains(&name.as_str()));
        let plain = is_plain(&part) && !sets.iter().any(|name| COLOURING.contains(&name.as_str()));
        let sql = [b"SET ".as_slice(), &part].concat();
        self.with(Entry { sql, part: plain.then_some(part), primary_only, plain, sets })
    }

    fn with(&self, entry: Entry) -> Carry {
        let mut entries = self.0.entries.clone();
        if entries.last().is_some_and(|last| **last == entry) {
            return Carry::Replay(self.clone());
        }
        forget_superseded(&mut entries, &entry);
        if entries.len() >= MOST_ENTRIES {
            return Carry::Here(Unportable::Setting);
        }
        entries.push(Arc::new(entry));
        Carry::Replay(Journal::of(entries))
    }

    /// How a connection in the state `actual` gets here. `reads`: it serves reads only.
    pub fn way_from(&self, actual: &Journal, reads: bool) -> Way {
        if self == actual {
            return Way::Say(Vec::new());
        }
        let (mine, theirs) = (&self.0.entries, &actual.0.entries);
        let common = mine.iter().zip(theirs).take_while(|(a, b)| a == b).count();
        let to_say = mine.get(common..).unwrap_or_default();
        let to_undo = theirs.get(common..).unwrap_or_default();
        if !covers(to_say, to_undo) {
            return if actual.outlives_reset() { Way::Never } else { Way::Reset };
        }
        Way::Say(statements(to_say.iter().filter(|entry| !(reads && entry.primary_only))))
    }

    /// How a connection that has heard nothing gets here.
    pub fn way_from_nothing(&self, reads: bool) -> Vec<Vec<u8>> {
        statements(self.0.entries.iter().filter(|entry| !(reads && entry.primary_only)))
    }

    /// What a reset leaves of it.
    #[must_use]
    pub fn after_reset(&self) -> Self {
        let stays = |entry: &&Arc<Entry>| entry.sets.iter().any(|name| name == ROLE);
        Self::of(self.0.entries.iter().filter(stays).cloned().collect())
    }

    /// Whether a reset does not bring a connection in this state back to the beginning.
    pub fn outlives_reset(&self) -> bool {
        self.0.entries.iter().any(|entry| entry.sets.iter().any(|name| name == ROLE))
    }
}

/// Whether saying these undoes those: each variable set there is set here, and no text's meaning hangs on
/// what was set before it.
fn covers(to_say: &[Arc<Entry>], to_undo: &[Arc<Entry>]) -> bool {
    if to_undo.is_empty() {
        return true;
    }
    let plain = to_say.iter().chain(to_undo).all(|entry| entry.plain);
    let set_again = |name: &String| to_say.iter().any(|entry| entry.sets.contains(name));
    plain && to_undo.iter().all(|entry| entry.sets.iter().all(set_again))
}

/// The statements for some entries: neighbours that can share a SET do.
fn statements<'a>(entries: impl Iterator<Item = &'a Arc<Entry>>) -> Vec<Vec<u8>> {
    let mut statements: Vec<Vec<u8>> = Vec::new();
    let mut open = false;
    for entry in entries {
        match (&entry.part, statements.last_mut()) {
            (Some(part), Some(last)) if open => {
                last.extend_from_slice(b", ");
                last.extend_from_slice(part);
            }
            (Some(part), _) => statements.push([b"SET ".as_slice(), part].concat()),
            (None, _) => statements.push(entry.sql.clone()),
        }
        open = entry.part.is_some();
    }
    statements
}

/// An entry goes when the new one sets all that it set. Texts whose meaning hangs on what was set before
/// keep the order around them, and so stop the search.
fn forget_superseded(entries: &mut Vec<Arc<Entry>>, new: &Entry) {
    let variables = |entry: &Entry| entry.sets.iter().all(|name| name.starts_with('@'));
    if variables(new) {
        // Nothing hangs on these.
        entries.retain(|entry| !variables(entry) || !entry.sets.iter().all(|name| new.sets.contains(name)));
    }
    if !new.plain {
        return;
    }
    let keep_from = entries.iter().rposition(|entry| !entry.plain).map_or(0, |at| at.saturating_add(1));
    let mut at = 0_usize;
    entries.retain(|entry| {
        let fixed = at < keep_from;
        at = at.saturating_add(1);
        fixed || !entry.sets.iter().all(|name| new.sets.contains(name))
    });
}

/// Whether a text means the same under every sql_mode and character set.
fn is_plain(sql: &[u8]) -> bool {
    sql.iter().all(|byte| byte.is_ascii() && !matches!(byte, b'"' | b'\\' | b'|' | b'!'))
}

/// The settings of a SET without the word itself, where they may stand beside others.
fn part_of(sql: &[u8], facts: &Facts, dialect: &Dialect) -> Option<Vec<u8>> {
    let targets: Vec<&Setting> = facts
        .effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Settings(list) => Some(list.iter().map(|assignment| &assignment.target)),
            _ => None,
        })
        .flatten()
        .collect();
    if let [Setting::IsolationLevel] = targets.as_slice() {
        return isolation_part(sql, dialect);
    }
    let listable = |target: &&Setting| {
        matches!(target, Setting::Names | Setting::Variable(_) | Setting::UserVariable(_))
    };
    let text = sql.trim_ascii();
    let text = text.strip_suffix(b";").unwrap_or(text);
    let commented = [b"/*".as_slice(), b"--", b"#", b";"]
        .iter()
        .any(|mark| text.windows(mark.len()).any(|window| window == *mark));
    let (word, rest) = text.split_at_checked(3)?;
    let apart = rest.first().is_some_and(u8::is_ascii_whitespace);
    let fits = word.eq_ignore_ascii_case(b"SET") && apart && !commented && targets.iter().all(listable);
    fits.then(|| rest.trim_ascii().to_vec())
}

fn isolation_part(sql: &[u8], dialect: &Dialect) -> Option<Vec<u8>> {
    const LEVELS: [(&str, &str); 4] = [
        ("READ UNCOMMITTED", "READ-UNCOMMITTED"),
        ("READ COMMITTED", "READ-COMMITTED"),
        ("REPEATABLE READ", "REPEATABLE-READ"),
        ("SERIALIZABLE", "SERIALIZABLE"),
    ];
    let text = String::from_utf8_lossy(sql).to_ascii_uppercase();
    let words: Vec<&str> = text.trim_end_matches(';').split_ascii_whitespace().collect();
    let level = words.join(" ");
    let (_, value) = LEVELS.iter().find(|(words, _)| level.ends_with(words))?;
    let name = if says_transaction(dialect.flavour, dialect.version) {
        "transaction_isolation"
    } else {
        "tx_isolation"
    };
    Some(format!("SESSION {name} = '{value}'").into_bytes())
}

/// Whether a server's variables for transactions are called transaction_…, as they are in MySQL, and in
/// MariaDB from 11.1 on, where tx_… draws a warning.
pub fn says_transaction(flavour: Flavour, version: u32) -> bool {
    flavour == Flavour::MySql || version >= 110_101
}

struct Portable {
    primary_only: bool,
    by_value: bool,
}

fn portable(assignment: &Assignment, sets: &mut Vec<String>) -> Result<Portable, Unportable> {
    let literal = assignment.value == Value::Literal;
    let mut portable = Portable { primary_only: false, by_value: !literal };
    match &assignment.target {
        Setting::Names => sets.extend(NAMES.iter().map(|name| (*name).to_owned())),
        // What it sets the connection's to is the default schema's.
        Setting::CharacterSet => {
            portable.by_value = true;
            sets.extend(NAMES.iter().map(|name| (*name).to_owned()));
        }
        Setting::Role if literal => sets.push(ROLE.to_owned()),
        Setting::Role => return Err(Unportable::Setting),
        Setting::IsolationLevel => sets.push("tx_isolation".to_owned()),
        Setting::AccessMode => {
            portable.primary_only = true;
            sets.push("tx_read_only".to_owned());
        }
        Setting::UserVariable(_) if !literal => return Err(Unportable::UserVariable),
        Setting::UserVariable(name) => sets.push(format!("@{name}")),
        Setting::Variable(name) => {
            if NEVER.contains(&name.as_str()) || NEVER_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
            {
                return Err(Unportable::Setting);
            }
            portable.by_value |= PARTIAL.contains(&name.as_str());
            portable.primary_only = PRIMARY_ONLY.contains(&name.as_str());
            add_names(name, sets);
        }
    }
    Ok(portable)
}

/// A variable by the one name it has here, with what it moves.
fn add_names(name: &str, sets: &mut Vec<String>) {
    match name {
        "transaction_isolation" => sets.push("tx_isolation".to_owned()),
        "transaction_read_only" => sets.push("tx_read_only".to_owned()),
        "character_set_connection" | "collation_connection" => {
            sets.extend(["character_set_connection", "collation_connection"].map(str::to_owned));
        }
        other => sets.push(other.to_owned()),
    }
}

#[cfg(test)]
mod tests;
