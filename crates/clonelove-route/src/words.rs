//! What a statement's first words say of its connection that its facts do not. Must not touch sessions.

use clonelove_sql::{Effect, Facts};

/// Whether a session that said this goes on with the connection that heard it.
pub(crate) fn is_kept_for(sql: &[u8], facts: &Facts) -> bool {
    keeps_old_values(facts) || watches_counters(sql)
}

/// XA COMMIT, XA ROLLBACK: nothing of the transaction is left on the connection.
pub(crate) fn ends_xa(sql: &[u8]) -> bool {
    begins_with(sql, &[b"XA", b"COMMIT"]) || begins_with(sql, &[b"XA", b"ROLLBACK"])
}

/// SET GLOBAL leaves the session that says it as it was, and changes what new ones begin with, on whatever connection
/// they are.
fn keeps_old_values(facts: &Facts) -> bool {
    let sets = facts.effects.contains(&Effect::GlobalSetting) && !facts.effects.contains(&Effect::Accounts);
    sets || facts.parts.iter().any(keeps_old_values)
}

/// SET PASSWORD, ALTER USER: what a client proved when it came may not let its next connection in.
pub(crate) fn changes_password(sql: &[u8], facts: &Facts) -> bool {
    if !facts.effects.contains(&Effect::Accounts) {
        return false;
    }
    let mut words = words(sql);
    let (Some(first), Some(second)) = (words.next(), words.next()) else { return false };
    let named =
        |one: &[u8], other: &[u8]| first.eq_ignore_ascii_case(one) && second.eq_ignore_ascii_case(other);
    named(b"SET", b"PASSWORD") || named(b"ALTER", b"USER")
}

/// FLUSH STATUS, SHOW SESSION STATUS: who looks at counters, or begins to count anew, means to look again, and they are
/// to be those of the client's own statements.
fn watches_counters(sql: &[u8]) -> bool {
    let mut words = words(sql);
    let is = |word: Option<&[u8]>, name: &[u8]| word.is_some_and(|word| word.eq_ignore_ascii_case(name));
    let first = words.next();
    if is(first, b"FLUSH") {
        return words.take(3).any(|word| is(Some(word), b"STATUS"));
    }
    let mut second = words.next();
    if is(second, b"SESSION") || is(second, b"LOCAL") {
        second = words.next();
    }
    is(first, b"SHOW") && is(second, b"STATUS")
}

fn words(sql: &[u8]) -> impl Iterator<Item = &[u8]> {
    sql.split(|byte| !byte.is_ascii_alphabetic() && *byte != b'_').filter(|word| !word.is_empty())
}

/// Whether its first words are these.
pub(crate) fn begins_with(sql: &[u8], words: &[&[u8]]) -> bool {
    let mut rest = sql;
    words.iter().all(|word| {
        let Some((said, behind)) = rest.trim_ascii_start().split_at_checked(word.len()) else { return false };
        rest = behind;
        said.eq_ignore_ascii_case(word) && rest.first().is_none_or(u8::is_ascii_whitespace)
    })
}
