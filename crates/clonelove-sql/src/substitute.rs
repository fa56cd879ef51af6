//! Putting values in place of functions and variables that ask about the connection, for a statement that runs on another
//! one.
//!
//! Owns the rewriting alone: which values, and whether it is needed, is its caller's business. The names of result
//! columns stay what they were.

use std::ops::Range;

use crate::dialect::{Dialect, Flavour};
use crate::lexer::{Lexer, Token, TokenKind};

/// What stands for the functions that ask about a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Substitutes {
    /// `ROW_COUNT()`
    pub row_count: Option<i64>,
    /// `FOUND_ROWS()`
    pub found_rows: Option<u64>,
    /// `CONNECTION_ID()`
    pub connection_id: Option<u32>,
    /// `@@wait_timeout`, in seconds
    pub wait_timeout: Option<u64>,
    /// `@@interactive_timeout`, in seconds
    pub interactive_timeout: Option<u64>,
    /// `@@pseudo_thread_id`
    pub pseudo_thread_id: Option<u32>,
}

impl Substitutes {
    /// The value of a function, by its name.
    fn value(&self, name: &[u8]) -> Option<Value> {
        if name.eq_ignore_ascii_case(b"ROW_COUNT") {
            self.row_count.map(Value::Signed)
        } else if name.eq_ignore_ascii_case(b"FOUND_ROWS") {
            self.found_rows.map(Value::Rows)
        } else if name.eq_ignore_ascii_case(b"CONNECTION_ID") {
            self.connection_id.map(Value::Id)
        } else {
            None
        }
    }

    /// The value of a variable of the session, by its name.
    fn variable(&self, name: &[u8]) -> Option<Value> {
        if name.eq_ignore_ascii_case(b"wait_timeout") {
            self.wait_timeout.map(Value::Number)
        } else if name.eq_ignore_ascii_case(b"interactive_timeout") {
            self.interactive_timeout.map(Value::Number)
        } else if name.eq_ignore_ascii_case(b"pseudo_thread_id") {
            self.pseudo_thread_id.map(|id| Value::Number(id.into()))
        } else {
            None
        }
    }
}

/// A number.
#[derive(Clone, Copy)]
enum Value {
    Signed(i64),
    Rows(u64),
    Id(u32),
    Number(u64),
}

impl Value {
    fn of_mysql(self) -> String {
        match self {
            Self::Signed(value) => format!("CAST({value} AS SIGNED)"),
            // Whoever asks is warned.
            Self::Rows(value) => format!("CAST({value} + 0 * FOUND_ROWS() AS SIGNED)"),
            Self::Id(value) => format!("CAST({value} AS UNSIGNED)"),
            Self::Number(value) => format!("CAST({value} AS UNSIGNED)"),
        }
    }

    /// With as many digits as give it the function's own type there, in results and in tables made of them:
    /// BIGINT(21), INT(10) UNSIGNED.
    fn of_mariadb(self) -> String {
        match self {
            Self::Signed(value) => format!("CAST('{value:021}' AS SIGNED)"),
            Self::Rows(value) => format!("CAST('{value:021}' AS SIGNED)"),
            Self::Id(value) => format!("CAST({value:010} AS UNSIGNED)"),
            Self::Number(value) => format!("CAST('{value:021}' AS UNSIGNED)"),
        }
    }
}

/// The values of the only row that a statement answers with, where it does nothing but ask for some: a text for each
/// column whose value is ours, none for those that are the server's own. `None`: it is another statement.
pub fn sole_row(sql: &[u8], dialect: &Dialect, values: &Substitutes) -> Option<Vec<Option<String>>> {
    let text = |range: &Range<usize>| sql.get(range.clone()).unwrap_or_default();
    let mut tokens: Vec<Token> = Lexer::new(sql, dialect).collect();
    tokens.pop_if(|last| last.kind == TokenKind::Sign(b';'));
    let (select, list) = tokens.split_first()?;
    if select.kind != TokenKind::Word || !text(&select.range).eq_ignore_ascii_case(b"SELECT") {
        return None;
    }
    let mut depth = 0_usize;
    let mut items = list.split(|token| {
        match token.kind {
            TokenKind::Sign(b'(') => depth = depth.saturating_add(1),
            TokenKind::Sign(b')') => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && token.kind == TokenKind::Sign(b',')
    });
    let row: Vec<Option<String>> =
        items.by_ref().map(|item| column(item, text, values)).collect::<Option<_>>()?;
    row.iter().any(Option::is_some).then_some(row)
}

/// What a column of [`sole_row`] is: a call or variable whose value is ours, perhaps with another name; or an expression
/// of the server's own, after which no clause follows.
fn column<'a>(
    item: &[Token],
    text: impl Fn(&Range<usize>) -> &'a [u8],
    values: &Substitutes,
) -> Option<Option<String>> {
    let mut depth = 0_usize;
    for token in item {
        match token.kind {
            TokenKind::Error | TokenKind::Sign(b';') => return None,
            TokenKind::Sign(b'(') => depth = depth.saturating_add(1),
            TokenKind::Sign(b')') => depth = depth.saturating_sub(1),
            TokenKind::Word if depth == 0 && ends_list(token, text(&token.range)) => return None,
            _ => {}
        }
    }
    let Some((value, length)) = asked(item, 0, &text, values) else {
        let ours = (0..item.len()).any(|at| asked(item, at, &text, values).is_some());
        return (!ours).then_some(None);
    };
    let is_alias =
        |token: &Token| matches!(token.kind, TokenKind::Word | TokenKind::QuotedName | TokenKind::Text);
    let fits = match item.get(length..)? {
        [] => true,
        [alias] => is_alias(alias),
        [word, alias] => text(&word.range).eq_ignore_ascii_case(b"AS") && is_alias(alias),
        _ => false,
    };
    fits.then(|| {
        Some(match value {
            Value::Signed(value) => value.to_string(),
            Value::Rows(value) | Value::Number(value) => value.to_string(),
            Value::Id(value) => value.to_string(),
        })
    })
}

/// One item of the first SELECT's list.
#[derive(Default)]
struct Item {
    range: Option<Range<usize>>,
    replaced: bool,
    /// The last two tokens.
    last: Option<TokenKind>,
    before_last: Option<TokenKind>,
    ends_in_word: bool,
    named: bool,
}

/// The statement with values in place of the functions; `None` when it has none of them.
pub fn substitute(sql: &[u8], dialect: &Dialect, values: &Substitutes) -> Option<Vec<u8>> {
    let tokens: Vec<Token> = Lexer::new(sql, dialect).collect();
    let text = |range: &Range<usize>| sql.get(range.clone()).unwrap_or_default();
    let mut out = Vec::with_capacity(sql.len().saturating_add(64));
    let mut copied = 0;
    let mut at = 0_usize;
    let mut depth = 0_usize;
    let mut list = List::Before;
    let mut item = Item::default();
    while let Some(token) = tokens.get(at) {
        let word = if token.kind == TokenKind::Word { text(&token.range) } else { b"" };
        if depth == 0 && list == List::Within && ends_list(token, word) {
            item.name(sql, &mut out, &mut copied);
            list = if token.kind == TokenKind::Sign(b',') { List::Within } else { List::After };
            item = Item::default();
            at = at.saturating_add(1);
            continue;
        }
        match token.kind {
            TokenKind::Sign(b'(') => depth = depth.saturating_add(1),
            TokenKind::Sign(b')') => depth = depth.saturating_sub(1),
            TokenKind::Error => return None,
            _ => {}
        }
        let begins = list == List::Before && depth == 0 && word.eq_ignore_ascii_case(b"SELECT");
        if begins {
            list = List::Within;
        } else if let Some((value, length)) = asked(&tokens, at, text, values) {
            let after = at.saturating_add(length);
            let end = tokens.get(after.saturating_sub(1)).map_or(token.range.end, |last| last.range.end);
            out.extend_from_slice(text(&(copied..token.range.start)));
            let written =
                if dialect.flavour == Flavour::MariaDb { value.of_mariadb() } else { value.of_mysql() };
            out.extend_from_slice(written.as_bytes());
            copied = end;
            if list == List::Within {
                item.extend(token.range.start..end, TokenKind::Sign(b')'), false);
                item.replaced = true;
            }
            at = after;
            continue;
        } else if list == List::Within && !(item.range.is_none() && is_option(word)) {
            let ends_expression = word.eq_ignore_ascii_case(b"END");
            item.named |= depth == 0 && word.eq_ignore_ascii_case(b"AS");
            item.extend(token.range.clone(), token.kind, !ends_expression);
        }
        at = at.saturating_add(1);
    }
    item.name(sql, &mut out, &mut copied);
    if copied == 0 {
        return None;
    }
    out.extend_from_slice(text(&(copied..sql.len())));
    Some(out)
}

/// Where the first SELECT's list is.
#[derive(PartialEq, Eq)]
enum List {
    Before,
    Within,
    After,
}

impl Item {
    fn extend(&mut self, range: Range<usize>, kind: TokenKind, may_name: bool) {
        let start = self.range.as_ref().map_or(range.start, |known| known.start);
        self.range = Some(start..range.end);
        self.before_last = self.last;
        self.last = Some(kind);
        self.ends_in_word =
            may_name && matches!(kind, TokenKind::Word | TokenKind::QuotedName | TokenKind::Text);
    }

    /// Keeps the name that the result column had: the expression's own text.
    fn name(&self, sql: &[u8], out: &mut Vec<u8>, copied: &mut usize) {
        let Some(range) = self.range.clone().filter(|_| self.replaced) else { return };
        let after_operand = matches!(
            self.before_last,
            Some(
                TokenKind::Sign(b')')
                    | TokenKind::Word
                    | TokenKind::QuotedName
                    | TokenKind::Name
                    | TokenKind::Number
                    | TokenKind::Text
            )
        );
        if self.named || self.ends_in_word && after_operand {
            return;
        }
        out.extend_from_slice(sql.get((*copied).max(range.start)..range.end).unwrap_or_default());
        *copied = range.end;
        out.extend_from_slice(b" AS `");
        for byte in sql.get(range).unwrap_or_default() {
            if *byte == b'`' {
                out.push(b'`');
            }
            out.push(*byte);
        }
        out.push(b'`');
    }
}

/// `name ( )`, `@@name` or `@@session.name`, as a value, and how many tokens it has.
fn asked<'a>(
    tokens: &[Token],
    at: usize,
    text: impl Fn(&Range<usize>) -> &'a [u8],
    values: &Substitutes,
) -> Option<(Value, usize)> {
    let kind = |after: usize| tokens.get(at.saturating_add(after)).map(|token| token.kind);
    let word = |after: usize| tokens.get(at.saturating_add(after)).map(|token| text(&token.range));
    let call = kind(1) == Some(TokenKind::Sign(b'(')) && kind(2) == Some(TokenKind::Sign(b')'));
    match kind(0)? {
        TokenKind::Word if call => Some((values.value(word(0)?)?, 3)),
        TokenKind::SystemVariable if kind(2) == Some(TokenKind::Sign(b'.')) => {
            let scope = word(1)?;
            let own = [&b"session"[..], b"local"].iter().any(|own| scope.eq_ignore_ascii_case(own));
            Some((values.variable(word(3)?).filter(|_| own)?, 4))
        }
        TokenKind::SystemVariable => Some((values.variable(word(1)?)?, 2)),
        _ => None,
    }
}

/// What ends an item of a SELECT's list, outside parentheses.
fn ends_list(token: &Token, word: &[u8]) -> bool {
    const ENDS: [&[u8]; 12] = [
        b"FROM",
        b"INTO",
        b"WHERE",
        b"UNION",
        b"EXCEPT",
        b"INTERSECT",
        b"LIMIT",
        b"ORDER",
        b"GROUP",
        b"HAVING",
        b"FOR",
        b"LOCK",
    ];
    matches!(token.kind, TokenKind::Sign(b',' | b';'))
        || ENDS.iter().any(|end| word.eq_ignore_ascii_case(end))
}

/// What may stand between SELECT and its list.
fn is_option(word: &[u8]) -> bool {
    const OPTIONS: [&[u8]; 10] = [
        b"ALL",
        b"DISTINCT",
        b"DISTINCTROW",
        b"HIGH_PRIORITY",
        b"STRAIGHT_JOIN",
        b"SQL_SMALL_RESULT",
        b"SQL_BIG_RESULT",
        b"SQL_BUFFER_RESULT",
        b"SQL_NO_CACHE",
        b"SQL_CALC_FOUND_ROWS",
    ];
    OPTIONS.iter().any(|option| word.eq_ignore_ascii_case(option))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: Substitutes = Substitutes {
        row_count: Some(-1),
        found_rows: Some(3),
        connection_id: Some(7),
        wait_timeout: Some(77),
        interactive_timeout: None,
        pseudo_thread_id: Some(7),
    };

    fn rewritten(sql: &str) -> Option<String> {
        let values = VALUES;
        substitute(sql.as_bytes(), &Dialect::default(), &values).map(|sql| String::from_utf8(sql).unwrap())
    }

    #[test]
    fn mysqls_types_need_no_digits() {
        let values = VALUES;
        let dialect = Dialect { flavour: Flavour::MySql, ..Dialect::default() };
        let sql = b"SELECT ROW_COUNT() a, FOUND_ROWS() b, CONNECTION_ID() c";
        let text = substitute(sql, &dialect, &values).map(|sql| String::from_utf8(sql).unwrap());
        let expected =
            "SELECT CAST(-1 AS SIGNED) a, CAST(3 + 0 * FOUND_ROWS() AS SIGNED) b, CAST(7 AS UNSIGNED) c";
        assert_eq!(text.as_deref(), Some(expected));
    }

    #[test]
    fn values_stand_for_functions_and_names_stay() {
        let rows = [
            ("SELECT FOUND_ROWS()", "SELECT CAST('000000000000000000003' AS SIGNED) AS `FOUND_ROWS()`"),
            (
                "select found_rows ( ) ;",
                "select CAST('000000000000000000003' AS SIGNED) AS `found_rows ( )` ;",
            ),
            ("SELECT ROW_COUNT() AS n", "SELECT CAST('-00000000000000000001' AS SIGNED) AS n"),
            ("SELECT ROW_COUNT() n, 1", "SELECT CAST('-00000000000000000001' AS SIGNED) n, 1"),
            ("SELECT ROW_COUNT() `n`", "SELECT CAST('-00000000000000000001' AS SIGNED) `n`"),
            (
                "SELECT 1, CONNECTION_ID() + 1, a FROM t",
                "SELECT 1, CAST(0000000007 AS UNSIGNED) + 1 AS `CONNECTION_ID() + 1`, a FROM t",
            ),
            (
                "SELECT 1 + FOUND_ROWS(), x y",
                "SELECT 1 + CAST('000000000000000000003' AS SIGNED) AS `1 + FOUND_ROWS()`, x y",
            ),
            (
                "SELECT CASE WHEN FOUND_ROWS() THEN 1 END FROM t",
                "SELECT CASE WHEN CAST('000000000000000000003' AS SIGNED) THEN 1 END AS `CASE WHEN FOUND_ROWS() THEN 1 END` FROM t",
            ),
            (
                "SELECT GREATEST(FOUND_ROWS(), `a`) FROM t",
                "SELECT GREATEST(CAST('000000000000000000003' AS SIGNED), `a`) AS `GREATEST(FOUND_ROWS(), ``a``)` FROM t",
            ),
            (
                "INSERT INTO t VALUES (ROW_COUNT(), 'x')",
                "INSERT INTO t VALUES (CAST('-00000000000000000001' AS SIGNED), 'x')",
            ),
            (
                "SELECT a FROM t WHERE id = CONNECTION_ID()",
                "SELECT a FROM t WHERE id = CAST(0000000007 AS UNSIGNED)",
            ),
            ("KILL QUERY CONNECTION_ID()", "KILL QUERY CAST(0000000007 AS UNSIGNED)"),
            (
                "SELECT @@wait_timeout + 1",
                "SELECT CAST('000000000000000000077' AS UNSIGNED) + 1 AS `@@wait_timeout + 1`",
            ),
            ("SELECT @@pseudo_thread_id a", "SELECT CAST('000000000000000000007' AS UNSIGNED) a"),
            (
                "SELECT 1 FROM t WHERE @@Session.WAIT_TIMEOUT > 5",
                "SELECT 1 FROM t WHERE CAST('000000000000000000077' AS UNSIGNED) > 5",
            ),
        ];
        for (sql, expected) in rows {
            assert_eq!(rewritten(sql).as_deref(), Some(expected), "{sql}");
        }
        for sql in [
            "SELECT 1",
            "SELECT 'FOUND_ROWS()'",
            "SELECT found_rows FROM t",
            "SELECT FOUND_ROWS(1)",
            "",
            "SELECT @@global.wait_timeout",
            "SELECT @@interactive_timeout",
            "SELECT @wait_timeout",
        ] {
            assert_eq!(rewritten(sql), None, "{sql}");
        }
    }
    #[test]
    fn the_only_row_is_told_by_its_columns() {
        let row = |sql: &str| {
            let row = sole_row(sql.as_bytes(), &Dialect::default(), &VALUES)?;
            Some(
                row.into_iter()
                    .map(|value| value.unwrap_or_else(|| "-".to_owned()))
                    .collect::<Vec<_>>()
                    .join(" "),
            )
        };
        for (sql, expected) in [
            ("SELECT ROW_COUNT()", "-1"),
            ("select row_count ( ) as n;", "-1"),
            ("SELECT ROW_COUNT() `n`", "-1"),
            ("SELECT ROW_COUNT(), LAST_INSERT_ID() AS id, FOUND_ROWS() f", "-1 - 3"),
            ("SELECT @@wait_timeout, @@sql_mode", "77 -"),
            ("SELECT @@session.wait_timeout w", "77"),
            ("SELECT ROW_COUNT(), CONCAT('a', 1, (SELECT MAX(a) FROM t)) AS c, 5", "-1 - -"),
        ] {
            assert_eq!(row(sql).as_deref(), Some(expected), "{sql}");
        }
        for sql in [
            "SELECT ROW_COUNT() + 1",
            "SELECT 1, ROW_COUNT() + 1, FOUND_ROWS()",
            "SELECT ROW_COUNT() FROM t",
            "SELECT ROW_COUNT(), 1 FROM t",
            "SELECT ROW_COUNT(), a INTO @a, @b",
            "SELECT ROW_COUNT() LIMIT 0",
            "SELECT ROW_COUNT() WHERE",
            "SELECT ROW_COUNT() UNION",
            "SELECT DISTINCT ROW_COUNT()",
            "SELECT LAST_INSERT_ID()",
            "SELECT @@interactive_timeout",
            "DO ROW_COUNT()",
            "",
        ] {
            assert_eq!(row(sql), None, "{sql}");
        }
    }
}
