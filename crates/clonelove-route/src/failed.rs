//! What an error says of how far its statement came. Must not touch sessions.

use clonelove_sql::{Effect, Facts, Leaves, TableName};

use crate::session::{Heard, may_leave};

/// There is no such routine.
pub const NO_ROUTINE: u16 = 1305;

/// The error says that nothing was begun. What a routine does may have met it in the middle.
#[must_use]
pub fn never_ran(leaves: Leaves, facts: &Facts, heard: &Heard) -> bool {
    /// Syntax, an empty statement.
    const NEVER_READ: [u16; 3] = [1064, 1065, 1149];
    /// No right, no database, syntax, no such column, table, procedure, function or prepared statement, an empty
    /// statement, the wrong number of arguments, something that this version cannot do.
    const NEVER_ENTERED: [u16; 14] =
        [1044, 1046, 1054, 1064, 1065, 1142, 1146, 1149, 1235, 1243, NO_ROUTINE, 1318, 1370, 1630];
    let says_so: &[u16] = if may_leave(leaves, facts) { &NEVER_READ } else { &NEVER_ENTERED };
    heard.error.is_some_and(|code| says_so.contains(&code))
        || heard.missing.as_ref().is_some_and(|missing| calls(facts, missing))
}

/// The routine that the text of a [`NO_ROUTINE`] names; none where the server speaks another language.
#[must_use]
pub fn missing_routine(message: &[u8]) -> Option<&[u8]> {
    let named = message.strip_prefix(b"FUNCTION ").or_else(|| message.strip_prefix(b"PROCEDURE "))?;
    named.strip_suffix(b" does not exist")
}

/// Whether it is the statement itself that calls this: what does not exist has called nothing.
fn calls(facts: &Facts, routine: &[u8]) -> bool {
    let is = |name: &TableName| {
        let at = routine.len().checked_sub(name.name.len());
        let Some((before, last)) = at.and_then(|at| routine.split_at_checked(at)) else { return false };
        let schema = before.strip_suffix(b".");
        let said = name.schema.as_deref().map(str::as_bytes);
        last.eq_ignore_ascii_case(name.name.as_bytes())
            && (schema.is_some() || before.is_empty())
            && said.is_none_or(|said| schema.is_some_and(|schema| schema.eq_ignore_ascii_case(said)))
    };
    facts.functions.iter().any(is)
        || facts.effects.iter().any(|effect| matches!(effect, Effect::Call(name) if is(name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clonelove_sql::{Dialect, analyse};

    #[test]
    fn what_calls_a_routine_that_does_not_exist_never_ran() {
        let ran = |sql: &str, message: &str| {
            let facts = analyse(sql.as_bytes(), &Dialect::default());
            let missing = missing_routine(message.as_bytes()).map(Into::into);
            !never_ran(
                Leaves::Unknown,
                &facts,
                &Heard { failed: true, error: Some(NO_ROUTINE), missing, ..Heard::default() },
            )
        };
        assert!(!ran("SELECT No_Such(1)", "FUNCTION app.no_such does not exist"));
        assert!(!ran("SELECT other.f(1)", "FUNCTION other.f does not exist"));
        assert!(!ran("CALL p(1)", "PROCEDURE app.p does not exist"));
        assert!(!ran("CALL app.p(1)", "PROCEDURE app.p does not exist"));
        assert!(ran("SELECT f(1)", "FUNCTION app.g does not exist"), "f called it");
        assert!(ran("SELECT f(1)", "FUNCTION app.gf does not exist"), "f called it");
        assert!(ran("CALL p(1)", "PROCEDURE app.q does not exist"));
        assert!(ran("CALL app.p(1)", "PROCEDURE other.p does not exist"));
        assert!(ran("SELECT f(1)", "FUNKTION app.f existiert nicht"));
        assert!(ran("SELECT f(1)", ""));
    }
}
