//! What a statement needs of the connection that runs it, beyond the session's settings. Pure but for the session it is
//! asked of; must not take a connection.

use clonelove_sql::{Effect, Facts, Kind, Previous};

use super::ClientSession;
use crate::backend::pool::Class;

/// What a statement needs of its connection, beyond the session's settings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Needs {
    pub(super) class: Class,
    pub(super) last_insert_id: bool,
    pub(super) no_variables: bool,
    pub(super) no_diagnostics: bool,
    /// It asks for what the statement before left on its connection.
    pub(super) previous: bool,
    /// If its reply tells no position, what it wrote was not logged.
    pub(super) no_position: bool,
    /// It only asks whether the server lets this user into the schema, which a connection tells in any state.
    pub(super) only_schema: bool,
}

impl Needs {
    /// Nothing special.
    pub(super) fn of_class(class: Class) -> Self {
        Self {
            class,
            last_insert_id: false,
            no_variables: false,
            no_diagnostics: false,
            previous: false,
            no_position: false,
            only_schema: false,
        }
    }
}

impl ClientSession {
    /// What a statement needs of the connection that runs it.
    pub(super) fn needs(&self, facts: &Facts, sql: &[u8]) -> Needs {
        let asks_id = facts.previous.contains(Previous::LAST_INSERT_ID)
            // With a number of its own it leaves the one of before, whatever its reply says.
            || may_insert(facts, sql)
            // A function that only reads does not ask for it.
            || !facts.functions.is_empty() && facts.why.is_some()
            || facts.effects.iter().any(|effect| matches!(effect, Effect::Call(_) | Effect::ExecuteText(_)))
            || facts.kind == Kind::Unknown;
        let unset = |name: &String| !self.state.journal.sets_user_variable(name);
        let previous =
            facts.previous.intersects(Previous::DIAGNOSTICS | Previous::ROW_COUNT | Previous::FOUND_ROWS);
        Needs {
            class: if facts.why.is_none() { Class::Read } else { Class::Write },
            // While it may have moved, the connection that moved it is kept.
            last_insert_id: asks_id && !self.state.traces.last_insert_id_moved,
            no_variables: facts.user_variables.iter().any(unset),
            no_diagnostics: facts.previous.contains(Previous::DIAGNOSTICS) && self.state.held.is_none(),
            previous,
            no_position: matches!(facts.kind, Kind::Write | Kind::Ddl)
                && !self.state.transaction.open
                && !previous,
            only_schema: false,
        }
    }
}

/// Whether it may add rows: neither UPDATE nor DELETE, as most other writes are.
fn may_insert(facts: &Facts, sql: &[u8]) -> bool {
    let only_changes =
        |word: &[u8]| [&b"UPDATE"[..], b"DELETE"].iter().any(|one| word.eq_ignore_ascii_case(one));
    facts.kind == Kind::Write
        && (!facts.parts.is_empty() || !sql.trim_ascii_start().get(..6).is_some_and(only_changes))
}
