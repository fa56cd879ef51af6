//! What a text says of KILL: whom it names and how, or that it hides one where nobody can tell whom it will hit.
//! Pure; must not know who is there.

use clonelove_sql::{Dialect, Effect, Facts, Flavour, Kind, Lexer, TokenKind, analyse};

/// How much of a client a KILL ends, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct How {
    /// Only the statement; else the connection too.
    pub(super) query: bool,
    /// Not where it would leave a table broken (MariaDB).
    pub(super) soft: bool,
}

/// Whom it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named<'a> {
    /// By this number.
    Number(u64),
    /// By what is bound to its only parameter.
    Parameter,
    /// Itself: CONNECTION_ID().
    Itself,
    /// By what a server makes of this.
    Expression(&'a [u8]),
}

/// An account, as KILL USER names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Whom {
    /// None is whoever says it.
    pub(super) user: Option<String>,
    /// None is any.
    pub(super) host: Option<String>,
}

/// What a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said<'a> {
    /// A KILL of a connection, and nothing else.
    Kill(How, Named<'a>),
    /// A KILL of a user's connections, whom [`whom`] reads out of this (MariaDB).
    User(How, &'a [u8]),
    /// Nothing that names a client: by the server's own numbers of queries, or no KILL at all.
    Otherwise,
    /// A KILL beside or inside of something else.
    Hidden,
}

/// Whether a text may have to do with KILL. Nearly all are through after a look at their facts.
pub(in crate::session) fn speaks_of(sql: &[u8], facts: &Facts) -> bool {
    (facts.kind == Kind::Unknown || facts.effects.iter().any(may_hide)) && names_kill(sql)
}

fn may_hide(effect: &Effect) -> bool {
    matches!(effect, Effect::Kill | Effect::PrepareText(_) | Effect::ExecuteText(_))
}

fn names_kill(sql: &[u8]) -> bool {
    sql.windows(b"KILL".len()).any(|part| part.eq_ignore_ascii_case(b"KILL"))
}

/// What a text says. What only defines a stored routine does not run, and says nothing.
pub(super) fn said<'a>(sql: &'a [u8], facts: &Facts, dialect: &Dialect) -> Said<'a> {
    if is_alone(facts) {
        return one(sql, dialect);
    }
    let unknown = facts.kind == Kind::Unknown;
    let prepares = unknown || facts.effects.iter().any(|effect| *effect != Effect::Kill && may_hide(effect));
    let hides = facts.effects.contains(&Effect::Kill)
        || Lexer::new(sql, dialect).any(|token| {
            let text = sql.get(token.range).unwrap_or_default();
            match token.kind {
                TokenKind::Word => unknown && text.eq_ignore_ascii_case(b"KILL"),
                TokenKind::Text => prepares && names_kill(text) && is_kill(inside(text), dialect),
                _ => false,
            }
        });
    if hides { Said::Hidden } else { Said::Otherwise }
}

/// Whether a question leaves its connection as it was: nobody keeps account of one that the client did not ask.
pub(super) fn only_reads(question: &Facts) -> bool {
    question.kind == Kind::Read && question.effects.is_empty() && question.parts.is_empty()
}

/// Whether a literal would be a KILL of somebody if it were prepared. No connection of any server has the number 0.
fn is_kill(sql: &[u8], dialect: &Dialect) -> bool {
    let facts = analyse(sql, dialect);
    if is_alone(&facts) {
        return !matches!(one(sql, dialect), Said::Kill(_, Named::Number(0)));
    }
    facts.effects.contains(&Effect::Kill) || facts.kind == Kind::Unknown
}

/// Whether a text is a KILL, and nothing else.
fn is_alone(facts: &Facts) -> bool {
    facts.effects.as_slice() == [Effect::Kill] && facts.parts.is_empty() && facts.kind == Kind::Admin
}

/// A literal without its quotes.
fn inside(text: &[u8]) -> &[u8] {
    let begin =
        text.iter().position(|byte| matches!(byte, b'\'' | b'"')).map_or(0, |at| at.saturating_add(1));
    text.get(begin..text.len().saturating_sub(1)).unwrap_or_default()
}

/// `KILL [HARD | SOFT] [CONNECTION | QUERY] number`
fn one<'a>(sql: &'a [u8], dialect: &Dialect) -> Said<'a> {
    let tokens: Vec<_> =
        Lexer::new(sql, dialect).take_while(|token| token.kind != TokenKind::Sign(b';')).collect();
    let word = |at: usize| {
        let token = tokens.get(at).filter(|token| token.kind == TokenKind::Word)?;
        Some(sql.get(token.range.clone())?.to_ascii_uppercase())
    };
    if word(0).as_deref() != Some(b"KILL") {
        // SET STATEMENT … FOR KILL …
        return Said::Hidden;
    }
    let (mut how, mut at) = (How::default(), 1);
    if dialect.flavour == Flavour::MariaDb {
        match word(at).as_deref() {
            Some(b"SOFT") => (how.soft, at) = (true, 2),
            Some(b"HARD") => at = 2,
            _ => {}
        }
    }
    match word(at).as_deref() {
        Some(b"QUERY") => (how.query, at) = (true, at.saturating_add(1)),
        Some(b"CONNECTION") => at = at.saturating_add(1),
        _ => {}
    }
    let left = tokens.get(at..).unwrap_or_default();
    let (Some(first), Some(last)) = (left.first(), left.last()) else { return Said::Otherwise };
    match (word(at).as_deref(), left.get(1)) {
        (Some(b"USER"), Some(next)) if next.kind != TokenKind::Sign(b'(') => {
            return Said::User(how, sql.get(next.range.start..last.range.end).unwrap_or_default());
        }
        (Some(b"USER"), None) => return Said::Otherwise,
        (Some(b"ID"), Some(_)) if how.query => return Said::Otherwise,
        _ => {}
    }
    let expression = sql.get(first.range.start..last.range.end).unwrap_or_default();
    let number = || std::str::from_utf8(expression).ok()?.parse().ok();
    let named = match (first.kind, left.len()) {
        (TokenKind::Parameter, 1) => Named::Parameter,
        (TokenKind::Number, 1) => number().map_or(Named::Expression(expression), Named::Number),
        (TokenKind::Word, 3)
            if word(at).as_deref() == Some(b"CONNECTION_ID")
                && matches!(left.get(1).map(|token| token.kind), Some(TokenKind::Sign(b'(')))
                && last.kind == TokenKind::Sign(b')') =>
        {
            Named::Itself
        }
        _ if left.iter().any(|token| token.kind == TokenKind::Parameter) => return Said::Hidden,
        _ => Named::Expression(expression),
    };
    Said::Kill(how, named)
}

/// Whom `user`, `'user'@'host'` or CURRENT_USER is; none where the server will have something to say about it.
pub(super) fn whom(account: &[u8], dialect: &Dialect) -> Option<Whom> {
    let mut tokens = Lexer::new(account, dialect);
    let mut next = || tokens.next().map(|token| (token.kind, account.get(token.range).unwrap_or_default()));
    let (kind, user) = next()?;
    if kind == TokenKind::Word && user.eq_ignore_ascii_case(b"CURRENT_USER") {
        let rest = [next(), next(), next()].map(|token| token.map(|(kind, _)| kind));
        let braces = [Some(TokenKind::Sign(b'(')), Some(TokenKind::Sign(b')')), None];
        let alone = rest == [None, None, None] || rest == braces;
        return alone.then_some(Whom { user: None, host: None });
    }
    let named = matches!(kind, TokenKind::Word | TokenKind::Name | TokenKind::QuotedName | TokenKind::Text);
    let user = Some(unquoted(user)?).filter(|_| named)?;
    let host = match (next(), next()) {
        (None, _) => None,
        (Some((TokenKind::UserVariable, host)), None) => Some(unquoted(host.strip_prefix(b"@")?)?),
        _ => return None,
    };
    Some(Whom { user: Some(user), host: host.filter(|host| host != "%") })
}

/// A name without its quotes; none if it is written in a way that says something else than it shows.
fn unquoted(name: &[u8]) -> Option<String> {
    let quote = name.first().copied().filter(|first| matches!(first, b'\'' | b'"' | b'`'));
    let bare = match quote {
        None => name,
        Some(quote) => name.strip_prefix(&[quote])?.strip_suffix(&[quote])?,
    };
    let plain = !bare.iter().any(|byte| *byte == b'\\' || Some(*byte) == quote);
    String::from_utf8(bare.to_vec()).ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said_of(sql: &str) -> Option<Said<'_>> {
        let dialect = Dialect { flavour: Flavour::MariaDb, ..Dialect::default() };
        let facts = analyse(sql.as_bytes(), &dialect);
        speaks_of(sql.as_bytes(), &facts).then(|| said(sql.as_bytes(), &facts, &dialect))
    }

    #[test]
    fn a_kill_names_a_client_and_how_much_of_it() {
        let kill = |query, soft, named| Some(Said::Kill(How { query, soft }, named));
        assert_eq!(said_of("KILL 7"), kill(false, false, Named::Number(7)));
        assert_eq!(said_of("kill connection 7; "), kill(false, false, Named::Number(7)));
        assert_eq!(said_of("KILL HARD QUERY 7"), kill(true, false, Named::Number(7)));
        assert_eq!(said_of("KILL SOFT 7"), kill(false, true, Named::Number(7)));
        assert_eq!(said_of("KILL QUERY ?"), kill(true, false, Named::Parameter));
        assert_eq!(said_of("KILL CONNECTION_ID()"), kill(false, false, Named::Itself));
        for expression in [
            "7 + 1",
            "CONNECTION_ID() + 1",
            "@a",
            "(SELECT MAX(id) FROM t)",
            "'7'",
            "7.5",
            "0x7",
            "-1",
            "ID",
            "a(7)",
        ] {
            let sql = format!("KILL QUERY /* that */ {expression} ; -- and no more");
            assert_eq!(said_of(&sql), kill(true, false, Named::Expression(expression.as_bytes())), "{sql}");
        }
    }

    #[test]
    fn what_names_no_connection_is_the_servers() {
        let of_nobody = ["PREPARE s FROM 'SELECT skills FROM t'", "PREPARE s FROM ' KILL 0 '"];
        for sql in ["KILL QUERY ID 7", "KILL USER", "KILL"].into_iter().chain(of_nobody) {
            assert_eq!(said_of(sql), Some(Said::Otherwise), "{sql}");
        }
        for sql in [
            "SELECT 7",
            "SELECT `kill` FROM t",
            "INSERT INTO t VALUES ('kill 7')",
            "CREATE PROCEDURE p(n INT) BEGIN SELECT 1; KILL n; END",
        ] {
            assert_eq!(said_of(sql), None, "{sql}");
        }
        let dialect = Dialect { flavour: Flavour::MySql, ..Dialect::default() };
        let sql = b"KILL SOFT QUERY 7";
        let said = said(sql, &analyse(sql, &dialect), &dialect);
        assert_eq!(said, Said::Kill(How::default(), Named::Expression(b"SOFT QUERY 7")));
    }

    #[test]
    fn a_kill_of_a_user_names_who_that_is() {
        let user =
            |query, soft, account: &'static str| Some(Said::User(How { query, soft }, account.as_bytes()));
        assert_eq!(said_of("KILL USER a"), user(false, false, "a"));
        assert_eq!(said_of("kill soft connection user 'a'@'b' ;"), user(false, true, "'a'@'b'"));
        assert_eq!(said_of("KILL QUERY USER a@b"), user(true, false, "a@b"));
        assert_eq!(said_of("SELECT 1; KILL USER a"), Some(Said::Hidden));
        let whom = |account: &str| {
            let dialect = Dialect { flavour: Flavour::MariaDb, ..Dialect::default() };
            whom(account.as_bytes(), &dialect).map(|Whom { user, host }| {
                (user.unwrap_or("itself".to_owned()), host.unwrap_or("any".to_owned()))
            })
        };
        for (account, user, host) in [
            ("a", "a", "any"),
            ("`a b`", "a b", "any"),
            ("'a'@'%'", "a", "any"),
            ("a@localhost", "a", "localhost"),
            ("'a'@'10.0.0.7'", "a", "10.0.0.7"),
            ("CURRENT_USER", "itself", "any"),
            ("current_user()", "itself", "any"),
        ] {
            assert_eq!(whom(account), Some((user.to_owned(), host.to_owned())), "{account}");
        }
        for account in ["7", "a b", "a@b c", "'a''b'", "current_user(7)", ""] {
            assert_eq!(whom(account), None, "{account}");
        }
    }

    #[test]
    fn an_expression_may_read_and_leaves_nothing_behind() {
        let reads = |expression: &str| {
            only_reads(&analyse(
                format!("SELECT CAST(({expression}) AS SIGNED)").as_bytes(),
                &Dialect::default(),
            ))
        };
        for expression in
            ["7 + 1", "@a", "'7'", "-1", "NULL", "CONNECTION_ID() + 1", "(SELECT MAX(id) FROM t)"]
        {
            assert!(reads(expression), "{expression}");
        }
        for expression in [
            "@a := 7",
            "GET_LOCK('a', 0)",
            "RELEASE_ALL_LOCKS()",
            "LAST_INSERT_ID(7)",
            "1) AS SIGNED); DROP TABLE t; SELECT (1",
            "1) AS SIGNED) INTO @a; SELECT CAST((1",
        ] {
            assert!(!reads(expression), "{expression}");
        }
    }

    #[test]
    fn a_kill_inside_of_something_else_is_seen() {
        for sql in [
            "SELECT 1; KILL 7",
            "KILL 7; SELECT 1",
            "KILL 7; KILL 8",
            "KILL ? + 1",
            "PREPARE s FROM 'KILL 7'",
            "PREPARE s FROM 'KILL 0+7'",
            "PREPARE s FROM 'KILL 0; KILL 7'",
            "PREPARE s FROM \"kill ?\"",
            "EXECUTE IMMEDIATE 'kill query 7'",
            "EXECUTE IMMEDIATE CONCAT('KILL ', 7)",
            "SET STATEMENT max_statement_time = 1 FOR KILL 7",
            "BEGIN NOT ATOMIC KILL 7; END",
            "IF 1 THEN KILL 7; END IF",
            "BEGIN NOT ATOMIC EXECUTE IMMEDIATE 'KILL 7'; END",
            "SELECT 1; PREPARE s FROM 'KILL 7'",
        ] {
            assert_eq!(said_of(sql), Some(Said::Hidden), "{sql}");
        }
    }
}
