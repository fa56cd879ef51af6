//! The statement in the text that PREPARE is given. Owns the reading of that text, where it is one plain literal; what
//! the statement does is the analysis' business.

use crate::analyse::analyse;
use crate::dialect::Dialect;
use crate::facts::Facts;
use crate::lexer::{Lexer, Token, TokenKind};

/// What the statement in `PREPARE name FROM 'text'` says of itself, if the text stands there as it is.
pub fn text_to_prepare(sql: &[u8], dialect: &Dialect) -> Option<Facts> {
    let text = |token: &Token| sql.get(token.range.clone()).unwrap_or_default();
    let mut tokens: Vec<Token> = Lexer::new(sql, dialect).take(6).collect();
    tokens.pop_if(|last| last.kind == TokenKind::Sign(b';'));
    let [prepare, _, from, literal] = tokens.as_slice() else { return None };
    let said = text(prepare).eq_ignore_ascii_case(b"PREPARE") && text(from).eq_ignore_ascii_case(b"FROM");
    if !said || literal.kind != TokenKind::Text {
        return None;
    }
    let (quote, inner) = match text(literal) {
        [quote @ (b'\'' | b'"'), inner @ .., _] => (*quote, inner),
        _ => return None,
    };
    // Doubled quotes and escapes stand for something else.
    let plain = !inner.iter().any(|byte| *byte == quote || *byte == b'\\' || !byte.is_ascii());
    plain.then(|| analyse(inner, dialect))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{Kind, Why};

    #[test]
    fn a_plain_text_is_read() {
        let of = |sql: &str| text_to_prepare(sql.as_bytes(), &Dialect::default());
        let kind = |sql: &str| of(sql).map(|facts| (facts.kind, facts.why));
        assert_eq!(kind("PREPARE p FROM 'SELECT a FROM t WHERE b = ?'"), Some((Kind::Read, None)));
        assert_eq!(kind("prepare `p` from \"DELETE FROM t\";"), Some((Kind::Write, Some(Why::Write))));
        for sql in [
            "PREPARE p FROM @sql",
            "PREPARE p FROM 'SELECT ' 'GET_LOCK(1, 1)'",
            "PREPARE p FROM 'SELECT ''a'''",
            r"PREPARE p FROM 'SELECT \'a\''",
            "PREPARE p FROM CONCAT('SELECT 1')",
            "PREPARE p FROM N'SELECT 1'",
            "PREPARE p FROM 'SELECT \u{e1}'",
            "EXECUTE p",
            "",
        ] {
            assert!(of(sql).is_none(), "{sql}");
        }
    }
}
