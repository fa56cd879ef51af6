//! What ties a session to its primary connection, by name, and when that ends. Owns the book-keeping
//! of temporary tables, locks, handlers and the like; must not touch connections.

use std::collections::{BTreeMap, BTreeSet};

use clonelove_sql::{Effect, Facts, Kind, TableName};

/// Why a session is pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names say it; as_str has the published spelling")]
pub enum Pin {
    Transaction,
    AutocommitOff,
    TemporaryTable,
    UserLock,
    TableLock,
    Handler,
    Cursor,
    PreparedText,
    Xa,
    UserVariable,
    SessionSetting,
    LastInsertId,
    Diagnostics,
    LocalInfile,
    Binlog,
    Command,
}

impl Pin {
    /// All of them.
    pub const ALL: [Pin; 16] = [
        Pin::Transaction,
        Pin::AutocommitOff,
        Pin::TemporaryTable,
        Pin::UserLock,
        Pin::TableLock,
        Pin::Handler,
        Pin::Cursor,
        Pin::PreparedText,
        Pin::Xa,
        Pin::UserVariable,
        Pin::SessionSetting,
        Pin::LastInsertId,
        Pin::Diagnostics,
        Pin::LocalInfile,
        Pin::Binlog,
        Pin::Command,
    ];

    /// The metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Pin::Transaction => "transaction",
            Pin::AutocommitOff => "autocommit_off",
            Pin::TemporaryTable => "temporary_table",
            Pin::UserLock => "user_lock",
            Pin::TableLock => "table_lock",
            Pin::Handler => "handler",
            Pin::Cursor => "cursor",
            Pin::PreparedText => "prepared_text",
            Pin::Xa => "xa",
            Pin::UserVariable => "user_variable",
            Pin::SessionSetting => "session_setting",
            Pin::LastInsertId => "last_insert_id",
            Pin::Diagnostics => "diagnostics",
            Pin::LocalInfile => "local_infile",
            Pin::Binlog => "binlog",
            Pin::Command => "command",
        }
    }
}

/// The pins a session holds. Transactions and autocommit are not here: the server reports those.
#[derive(Clone, Debug, Default)]
pub struct Pins {
    temporary: BTreeSet<String>,
    locks: BTreeMap<Vec<u8>, u32>,
    unnamed_lock: bool,
    table_lock: bool,
    handlers: BTreeSet<String>,
    /// By name, with what is known of their text.
    prepared: BTreeMap<String, Option<Box<Text>>>,
    cursors: BTreeSet<u32>,
    lasting: BTreeSet<Pin>,
}

/// The text of a prepared statement.
#[derive(Clone, Debug)]
pub struct Text {
    /// What it says of itself.
    pub facts: Facts,
    /// The default schema that its names are of.
    pub schema: Option<String>,
}

/// How a statement ended.
#[derive(Clone, Copy)]
struct Outcome {
    /// It succeeded.
    certain: bool,
    /// It was the only one in its packet.
    alone: bool,
}

/// More names than this and the pin is kept for good: the book-keeping stays bounded.
const MOST_NAMES: usize = 1_000;

impl Pins {
    /// The pin to show, if there is any.
    pub fn current(&self) -> Option<Pin> {
        if let Some(pin) = self.lasting.first() {
            Some(*pin)
        } else if !self.temporary.is_empty() {
            Some(Pin::TemporaryTable)
        } else if !self.locks.is_empty() || self.unnamed_lock {
            Some(Pin::UserLock)
        } else if self.table_lock {
            Some(Pin::TableLock)
        } else if !self.handlers.is_empty() {
            Some(Pin::Handler)
        } else if !self.prepared.is_empty() {
            Some(Pin::PreparedText)
        } else if !self.cursors.is_empty() {
            Some(Pin::Cursor)
        } else {
            None
        }
    }

    /// Pins until the connection is reset.
    pub fn hold(&mut self, pin: Pin) {
        self.lasting.insert(pin);
    }

    /// Whether [`Pins::hold`] was told of this one, and it is not over.
    pub fn holds(&self, pin: Pin) -> bool {
        self.lasting.contains(&pin)
    }

    /// What [`Pins::hold`] held for is over.
    pub fn let_go(&mut self, pin: Pin) {
        self.lasting.remove(&pin);
    }

    /// A cursor is open on the primary connection, of the statement of this number.
    pub fn cursor(&mut self, statement: u32) {
        self.cursors.insert(statement);
        if self.cursors.len() > MOST_NAMES {
            self.hold(Pin::Cursor);
        }
    }

    /// The cursor was read to its end, or closed.
    pub fn closed(&mut self, statement: u32) {
        self.cursors.remove(&statement);
    }

    /// Whether a name, in a session with this schema, is one of the session's own temporary tables.
    pub fn is_temporary(&self, table: &TableName, schema: Option<&str>) -> bool {
        !self.temporary.is_empty() && self.temporary.contains(&qualified(table, schema))
    }

    /// What a statement prepared by text is known to say. Only what reads or writes rows, and does nothing else, is kept.
    pub fn know_text(&mut self, name: &str, text: Text) {
        let Facts { kind, effects, parts, .. } = &text.facts;
        let plain = matches!(kind, Kind::Read | Kind::Write) && effects.is_empty() && parts.is_empty();
        if let Some(known) = self.prepared.get_mut(name) {
            *known = plain.then(|| Box::new(text));
        }
    }

    /// What a statement executes, if it does nothing but that and the text is known.
    pub fn executed(&self, facts: &Facts) -> Option<&Text> {
        let [Effect::ExecuteText(name)] = facts.effects.as_slice() else { return None };
        let alone = facts.parts.is_empty() && facts.functions.is_empty();
        self.prepared.get(name).filter(|_| alone)?.as_deref()
    }

    /// COM_RESET_CONNECTION, COM_CHANGE_USER: nothing is left.
    pub fn clear(&mut self) {
        *self = Pins::default();
    }

    /// Remembers what a statement may have left behind. To be called for a statement that succeeded,
    /// and with `certain` false for one that failed or whose outcome is unknown: such a one may
    /// add pins that a failure does not undo, and never ends any. `schema` is the session's, when the statement was sent.
    pub fn after(&mut self, facts: &Facts, schema: Option<&str>, certain: bool) {
        self.note(facts, schema, Outcome { certain, alone: true });
        for part in &facts.parts {
            // Of several statements that ended in an error, the first may have succeeded.
            self.note(part, schema, Outcome { certain, alone: false });
        }
        if self.temporary.len().max(self.locks.len()).max(self.handlers.len()).max(self.prepared.len())
            > MOST_NAMES
        {
            self.hold(Pin::SessionSetting);
        }
    }

    fn note(&mut self, facts: &Facts, schema: Option<&str>, outcome: Outcome) {
        for effect in &facts.effects {
            if outcome.certain || !outcome.alone || survives_failure(effect) {
                self.add(effect, schema);
            }
            if outcome.certain {
                self.end(effect, schema);
            }
        }
    }

    fn add(&mut self, effect: &Effect, schema: Option<&str>) {
        match effect {
            Effect::CreateTemporary(table) => {
                self.temporary.insert(qualified(table, schema));
            }
            Effect::GetLock(Some(name)) => {
                let count = self.locks.entry(name.clone()).or_default();
                *count = count.saturating_add(1);
            }
            Effect::GetLock(None) => self.unnamed_lock = true,
            Effect::LockTables => self.table_lock = true,
            Effect::HandlerOpen(name) => {
                self.handlers.insert(name.clone());
            }
            Effect::PrepareText(name) => {
                self.prepared.insert(name.clone(), None);
            }
            Effect::ExecuteText(_) => self.hold(Pin::PreparedText),
            Effect::Xa => self.hold(Pin::Xa),
            Effect::UserVariableWritten => self.hold(Pin::UserVariable),
            Effect::CalcFoundRows => {}
            Effect::LastVal => self.hold(Pin::LastInsertId),
            _ => {}
        }
    }

    fn end(&mut self, effect: &Effect, schema: Option<&str>) {
        match effect {
            Effect::DropTables(tables) => {
                for table in tables {
                    self.temporary.remove(&qualified(table, schema));
                }
            }
            Effect::ReleaseLock(Some(name)) => self.release(name),
            Effect::ReleaseAllLocks => {
                self.locks.clear();
                self.unnamed_lock = false;
            }
            Effect::UnlockTables => self.table_lock = false,
            Effect::HandlerClose(name) => {
                self.handlers.remove(name);
            }
            Effect::DeallocateText(name) => {
                self.prepared.remove(name);
            }
            _ => {}
        }
    }

    fn release(&mut self, name: &[u8]) {
        if let Some(count) = self.locks.get_mut(name) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.locks.remove(name);
            }
        }
    }
}

/// A table, a table lock or a handler that was refused is not there. Of other effects a part may have taken place.
fn survives_failure(effect: &Effect) -> bool {
    !matches!(
        effect,
        Effect::CreateTemporary(_) | Effect::LockTables | Effect::HandlerOpen(_) | Effect::PrepareText(_)
    )
}

/// The same name in two schemas is two tables, so names are kept with the schema they meant then.
fn qualified(table: &TableName, schema: Option<&str>) -> String {
    let schema = table.schema.as_deref().or(schema).unwrap_or_default();
    format!("{}.{}", schema.to_lowercase(), table.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clonelove_sql::{Dialect, analyse};

    /// Statements, each with whether its outcome is certain.
    type Story<'a> = &'a [(&'a str, bool)];

    fn after(statements: Story<'_>) -> Option<Pin> {
        let mut pins = Pins::default();
        for (sql, certain) in statements {
            pins.after(&analyse(sql.as_bytes(), &Dialect::default()), Some("d"), *certain);
        }
        pins.current()
    }

    #[test]
    fn a_pin_ends_when_its_cause_ends() {
        let rows: &[(Story<'_>, Option<Pin>)] = &[
            (&[("SELECT 1", true)], None),
            (&[("CREATE TEMPORARY TABLE t (a INT)", true)], Some(Pin::TemporaryTable)),
            (&[("CREATE TEMPORARY TABLE t (a INT)", true), ("DROP TABLE t", true)], None),
            (&[("CREATE TEMPORARY TABLE t (a INT)", true), ("DROP TABLE D.t", true)], None),
            (
                &[("CREATE TEMPORARY TABLE t (a INT)", true), ("DROP TABLE e.t", true)],
                Some(Pin::TemporaryTable),
            ),
            (
                &[("CREATE TEMPORARY TABLE t (a INT)", true), ("DROP TABLE t", false)],
                Some(Pin::TemporaryTable),
            ),
            (&[("SELECT GET_LOCK('a', 1)", true)], Some(Pin::UserLock)),
            (&[("SELECT GET_LOCK('a', 1)", true), ("SELECT RELEASE_LOCK('A')", true)], None),
            (
                &[
                    ("SELECT GET_LOCK('a', 1)", true),
                    ("SELECT GET_LOCK('a', 1)", true),
                    ("DO RELEASE_LOCK('a')", true),
                ],
                Some(Pin::UserLock),
            ),
            (&[("SELECT GET_LOCK('a', 1)", true), ("SELECT RELEASE_ALL_LOCKS()", true)], None),
            (&[("CREATE TEMPORARY TABLE t (a INT", false)], None),
            (&[("CREATE TEMPORARY TABLE t (a INT); SELECT nonsense", false)], Some(Pin::TemporaryTable)),
            (&[("SELECT @a := 1 FROM t", false)], Some(Pin::UserVariable)),
            (&[("LOCK TABLES t WRITE", true)], Some(Pin::TableLock)),
            (&[("LOCK TABLES t WRITE", true), ("UNLOCK TABLES", true)], None),
            (&[("HANDLER t OPEN", true)], Some(Pin::Handler)),
            (&[("HANDLER t OPEN", true), ("HANDLER t CLOSE", true)], None),
            (&[("PREPARE p FROM 'SELECT 1'", true)], Some(Pin::PreparedText)),
            (&[("PREPARE p FROM 'SELECT 1'", true), ("DEALLOCATE PREPARE p", true)], None),
            (&[("SELECT @a := 1", true)], Some(Pin::UserVariable)),
        ];
        for (statements, expected) in rows {
            assert_eq!(after(statements), *expected, "{statements:?}");
        }
    }
}
