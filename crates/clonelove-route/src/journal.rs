//! The settings a session has made, in order, so that whatever connection it uses next can hear them.
//! Owns what may be replayed and what supersedes what; must not send anything.

use clonelove_sql::Effect;
use clonelove_sql::{Assignment, Facts, Setting, Value};

/// The number of a journal entry; connections remember the last they have heard. 0 is none.
pub type Serial = u64;

/// One statement to be replayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the order.
    pub serial: Serial,
    /// The statement, as the client sent it.
    pub sql: Vec<u8>,
    /// Not for connections that serve reads only.
    pub primary_only: bool,
    sets: Vec<String>,
}

/// The settings a session has made.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    entries: Vec<Entry>,
    last: Serial,
}

/// What to do with a session-setting statement that succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carry {
    /// It was noted: other connections can hear it.
    Noted,
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
    "wsrep_on",
    "wsrep_osu_method",
];
const NEVER_PREFIXES: &[&str] = &["gtid_", "binlog_", "session_track_", "wsrep_", "rpl_"];

/// Replica connections are read-only by our own hand; the client's word on that is for the primary.
const PRIMARY_ONLY: &[&str] = &["tx_read_only", "transaction_read_only", "autocommit"];

impl Journal {
    /// The last serial given out.
    pub fn last(&self) -> Serial {
        self.last
    }

    /// The entries a connection that has heard up to `heard` must hear, in order.
    pub fn after(&self, heard: Serial) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.serial > heard)
    }

    /// The last statement that set the isolation level, if any did.
    pub fn isolation(&self) -> Option<&[u8]> {
        let entry =
            self.entries.iter().rev().find(|entry| entry.sets.iter().any(|name| name == "tx_isolation"))?;
        Some(&entry.sql)
    }

    /// COM_RESET_CONNECTION, COM_CHANGE_USER: nothing is left. Serials go on, so that no connection
    /// mistakes the new entries for ones it has heard.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// Notes a session-setting statement that a server accepted.
    pub fn note(&mut self, sql: &[u8], facts: &Facts) -> Carry {
        let mut sets = Vec::new();
        let mut primary_only = false;
        for effect in &facts.effects {
            let Effect::Settings(assignments) = effect else { continue };
            for assignment in assignments {
                match portable(assignment) {
                    Err(unportable) => return Carry::Here(unportable),
                    Ok(Names { names, only_primary }) => {
                        primary_only |= only_primary;
                        sets.extend(names);
                    }
                }
            }
        }
        if sets.is_empty() || sql.len() > LONGEST || !facts.parts.is_empty() {
            return Carry::Here(Unportable::Setting);
        }
        self.forget_superseded(&sets, sql);
        if self.entries.len() >= MOST_ENTRIES {
            return Carry::Here(Unportable::Setting);
        }
        self.last = self.last.saturating_add(1);
        self.entries.push(Entry { serial: self.last, sql: sql.to_vec(), primary_only, sets });
        Carry::Noted
    }

    /// An entry goes when the new one sets all that it set. Texts whose meaning hangs on sql_mode or
    /// the character set keep the order around them, and so stop the search.
    fn forget_superseded(&mut self, sets: &[String], sql: &[u8]) {
        if !plain(sql) {
            return;
        }
        let keep_from =
            self.entries.iter().rposition(|entry| !plain(&entry.sql)).map_or(0, |at| at.saturating_add(1));
        let mut at = 0_usize;
        self.entries.retain(|entry| {
            let fixed = at < keep_from;
            at = at.saturating_add(1);
            fixed || !entry.sets.iter().all(|name| sets.contains(name))
        });
    }
}

/// Whether a text means the same under every sql_mode and character set.
fn plain(sql: &[u8]) -> bool {
    sql.iter().all(|byte| byte.is_ascii() && !matches!(byte, b'"' | b'\\' | b'|' | b'!'))
}

struct Names {
    names: Vec<String>,
    only_primary: bool,
}

fn portable(assignment: &Assignment) -> Result<Names, Unportable> {
    let user_variable = matches!(assignment.target, Setting::UserVariable(_));
    if assignment.value != Value::Literal {
        return Err(if user_variable { Unportable::UserVariable } else { Unportable::Setting });
    }
    let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
    let (names, only_primary) = match &assignment.target {
        Setting::Names => (
            names(&[
                "character_set_client",
                "character_set_connection",
                "character_set_results",
                "collation_connection",
            ]),
            false,
        ),
        // Its effect depends on the default schema of the connection; a role, on the accounts.
        Setting::CharacterSet | Setting::Role => return Err(Unportable::Setting),
        Setting::IsolationLevel => (names(&["tx_isolation"]), false),
        Setting::AccessMode => (names(&["tx_read_only"]), true),
        Setting::UserVariable(name) => (vec![format!("@{name}")], false),
        Setting::Variable(name) => {
            if NEVER.contains(&name.as_str()) || NEVER_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
            {
                return Err(Unportable::Setting);
            }
            // The character set and its collation move each other: neither supersedes the other.
            let name = match name.as_str() {
                "transaction_isolation" => "tx_isolation",
                other => other,
            };
            (vec![name.to_owned()], PRIMARY_ONLY.contains(&name))
        }
    };
    Ok(Names { names, only_primary })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clonelove_sql::{Dialect, analyse};

    fn note(journal: &mut Journal, sql: &str) -> Carry {
        journal.note(sql.as_bytes(), &analyse(sql.as_bytes(), &Dialect::default()))
    }

    fn texts(journal: &Journal, heard: Serial) -> Vec<String> {
        journal.after(heard).map(|entry| String::from_utf8_lossy(&entry.sql).into_owned()).collect()
    }

    #[test]
    fn a_later_setting_supersedes_an_earlier_one() {
        let mut journal = Journal::default();
        note(&mut journal, "SET sql_mode = 'ANSI,TRADITIONAL'");
        note(&mut journal, "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED");
        for i in 0..1_000 {
            assert_eq!(note(&mut journal, &format!("SET @a = {i}")), Carry::Noted);
        }
        note(&mut journal, "SET sql_mode = ''");
        assert_eq!(
            texts(&journal, 0),
            ["SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED", "SET @a = 999", "SET sql_mode = ''"]
        );
        assert_eq!(texts(&journal, journal.last()), [""; 0]);
        assert_eq!(texts(&journal, journal.last() - 1), ["SET sql_mode = ''"]);
    }

    #[test]
    fn texts_that_hang_on_the_mode_keep_their_order() {
        let mut journal = Journal::default();
        note(&mut journal, "SET sql_mode = ''");
        note(&mut journal, "SET time_zone = \"+01:00\"");
        note(&mut journal, "SET sql_mode = 'ANSI'");
        assert_eq!(texts(&journal, 0).len(), 3);
    }

    #[test]
    fn what_cannot_be_replayed_stays_here() {
        for sql in [
            "SET sql_mode = DEFAULT",
            "SET sql_mode = CONCAT(@@sql_mode, ',ANSI')",
            "SET timestamp = 1",
            "SET gtid_domain_id = 2",
            "SET session_track_schema = 0",
            "SET CHARACTER SET utf8mb4",
            "SET insert_id = 5",
        ] {
            let mut journal = Journal::default();
            assert_eq!(note(&mut journal, sql), Carry::Here(Unportable::Setting), "{sql}");
            assert_eq!(texts(&journal, 0).len(), 0);
        }
        let mut journal = Journal::default();
        assert_eq!(note(&mut journal, "SET @a = NOW()"), Carry::Here(Unportable::UserVariable));
    }

    #[test]
    fn the_access_mode_is_for_the_primary() {
        let mut journal = Journal::default();
        note(&mut journal, "SET SESSION TRANSACTION READ WRITE");
        note(&mut journal, "SET autocommit = 0");
        assert!(journal.after(0).all(|entry| entry.primary_only));
        assert_eq!(journal.after(0).count(), 2);
    }
}
