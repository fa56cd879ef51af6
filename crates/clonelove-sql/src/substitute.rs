//! Putting values in place of functions that ask about the connection, for a statement that runs on another one.
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
}

/// A number.
#[derive(Clone, Copy)]
enum Value {
    Signed(i64),
    Rows(u64),
    Id(u32),
}

impl Value {
    fn of_mysql(self) -> String {
        match self {
            Self::Signed(value) => format!("CAST({value} AS SIGNED)"),
            Self::Rows(value) => format!("CAST({value} AS UNSIGNED)"),
            Self::Id(value) => format!("CAST({value} AS UNSIGNED)"),
        }
    }

    /// With as many digits as give it the function's own type there, in results and in tables made of them:
    /// BIGINT(21), INT(10) UNSIGNED.
    fn of_mariadb(self) -> String {
        match self {
            Self::Signed(value) => format!("CAST('{value:021}' AS SIGNED)"),
            Self::Rows(value) => format!("CAST('{value:021}' AS SIGNED)"),
            Self::Id(value) => format!("CAST({value:010} AS UNSIGNED)"),
        }
    }
}

/// The value that a statement asks for, if one of the functions is all that it asks for: the text of the only value
/// of its only row.
pub fn sole_value(sql: &[u8], dialect: &Dialect, values: &Substitutes) -> Option<String> {
    let text = |token: &Token| sql.get(token.range.clone()).unwrap_or_default();
    let mut tokens: Vec<Token> = Lexer::new(sql, dialect).collect();
    tokens.pop_if(|last| last.kind == TokenKind::Sign(b';'));
    let [select, name, open, close, alias @ ..] = tokens.as_slice() else { return None };
    let is_alias =
        |token: &Token| matches!(token.kind, TokenKind::Word | TokenKind::QuotedName | TokenKind::Text);
    let alias_fits = match alias {
        [] => true,
        [alias] => is_alias(alias),
        [word, alias] => text(word).eq_ignore_ascii_case(b"AS") && is_alias(alias),
        _ => false,
    };
    let call = open.kind == TokenKind::Sign(b'(') && close.kind == TokenKind::Sign(b')');
    if !text(select).eq_ignore_ascii_case(b"SELECT") || !call || !alias_fits {
        return None;
    }
    values.value(text(name)).map(|value| match value {
        Value::Signed(value) => value.to_string(),
        Value::Rows(value) => value.to_string(),
        Value::Id(value) => value.to_string(),
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
        } else if let Some((value, end)) = call(&tokens, at, text, (values, dialect.flavour)) {
            out.extend_from_slice(text(&(copied..token.range.start)));
            out.extend_from_slice(value.as_bytes());
            copied = end;
            if list == List::Within {
                item.extend(token.range.start..end, TokenKind::Sign(b')'), false);
                item.replaced = true;
            }
            at = at.saturating_add(3);
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

/// `name ( )`, as a value, and where it ends.
fn call<'a>(
    tokens: &[Token],
    at: usize,
    text: impl Fn(&Range<usize>) -> &'a [u8],
    (values, flavour): (&Substitutes, Flavour),
) -> Option<(String, usize)> {
    let token = tokens.get(at).filter(|token| token.kind == TokenKind::Word)?;
    let open = tokens.get(at.saturating_add(1))?;
    let close = tokens.get(at.saturating_add(2))?;
    if open.kind != TokenKind::Sign(b'(') || close.kind != TokenKind::Sign(b')') {
        return None;
    }
    let value = values.value(text(&token.range))?;
    let value = if flavour == Flavour::MariaDb { value.of_mariadb() } else { value.of_mysql() };
    Some((value, close.range.end))
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

    fn rewritten(sql: &str) -> Option<String> {
        let values = Substitutes { row_count: Some(-1), found_rows: Some(3), connection_id: Some(7) };
        substitute(sql.as_bytes(), &Dialect::default(), &values).map(|sql| String::from_utf8(sql).unwrap())
    }

    #[test]
    fn mysqls_types_need_no_digits() {
        let values = Substitutes { row_count: Some(-1), found_rows: Some(3), connection_id: Some(7) };
        let dialect = Dialect { flavour: Flavour::MySql, ..Dialect::default() };
        let sql = b"SELECT ROW_COUNT() a, FOUND_ROWS() b, CONNECTION_ID() c";
        let text = substitute(sql, &dialect, &values).map(|sql| String::from_utf8(sql).unwrap());
        let expected = "SELECT CAST(-1 AS SIGNED) a, CAST(3 AS UNSIGNED) b, CAST(7 AS UNSIGNED) c";
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
        ];
        for (sql, expected) in rows {
            assert_eq!(rewritten(sql).as_deref(), Some(expected), "{sql}");
        }
        let values = Substitutes { row_count: Some(-1), ..Substitutes::default() };
        let sole = |sql: &str| sole_value(sql.as_bytes(), &Dialect::default(), &values);
        for sql in ["SELECT ROW_COUNT()", "select row_count ( ) as n;", "SELECT ROW_COUNT() `n`"] {
            assert_eq!(sole(sql).as_deref(), Some("-1"), "{sql}");
        }
        for sql in
            ["SELECT ROW_COUNT() + 1", "SELECT ROW_COUNT(), 1", "SELECT FOUND_ROWS()", "DO ROW_COUNT()"]
        {
            assert_eq!(sole(sql), None, "{sql}");
        }
        for sql in
            ["SELECT 1", "SELECT 'FOUND_ROWS()'", "SELECT found_rows FROM t", "SELECT FOUND_ROWS(1)", ""]
        {
            assert_eq!(rewritten(sql), None, "{sql}");
        }
    }
}
