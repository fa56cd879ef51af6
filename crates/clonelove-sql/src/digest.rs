//! The normalised text of a statement, and its hash: what statistics and caches know it by.
//!
//! Owns which statements count as the same. Statements with the same digest differ in literals, in how often a list
//! repeats, in white space, comments and the case of keywords, and in nothing else.

use crate::dialect::Dialect;
use crate::lexer::{Lexer, Token, TokenKind};
use crate::words::Keyword;

/// Of a parenthesis that holds literals and more, so many literals are shown.
const SHOWN: u32 = 8;

/// A digest goes no further than this many bytes, and ends in an ellipsis then.
const LONGEST: usize = 16 * 1024;

/// The statement with literals as `?`, lists of them as `...`, repeated lists as one, comments gone, keywords in upper
/// case, and single spaces between tokens. Quoted identifiers are in backticks, whatever quoted them.
pub fn digest_text(sql: &[u8], dialect: &Dialect) -> String {
    let mut digest =
        Digest { sql, text: String::with_capacity(sql.len().min(512)), last: Last::Start, list: None };
    let mut lexer = Lexer::new(sql, dialect).peekable();
    while let Some(token) = lexer.next() {
        let next = lexer.peek().map(|token| token.kind);
        digest.add(&token, next);
        if digest.text.len() > LONGEST {
            digest.text.push_str(" …");
            break;
        }
    }
    digest.text
}

/// The 64-bit FNV-1a hash of a digest text; the same on every machine and in every version.
pub fn digest_hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// What the text ends with, as far as it matters to what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    Start,
    /// Something an operand can follow: an operator, a comma, an opening parenthesis, a keyword.
    Operator,
    /// `?`
    Literal,
    /// IN, VALUES, or `( ... )`: a list of literals may be of any length here.
    List,
    Other,
}

/// A parenthesis that has held nothing but literals so far.
#[derive(Debug, Clone, Copy)]
struct OpenList {
    /// Where its text begins.
    start: usize,
    /// Whether a list of literals, and a comma, stand directly before it.
    repeats: bool,
    /// Whether it follows IN, VALUES, or another list, so that its length does not matter.
    any_length: bool,
    literals: u32,
}

struct Digest<'a> {
    sql: &'a [u8],
    text: String,
    last: Last,
    list: Option<OpenList>,
}

impl Digest<'_> {
    fn add(&mut self, token: &Token, next: Option<TokenKind>) {
        match token.kind {
            TokenKind::Text | TokenKind::Number | TokenKind::Parameter => self.literal(),
            TokenKind::Sign(b'(') => self.open(),
            TokenKind::Sign(b')') => self.close(),
            TokenKind::Sign(b',') => self.comma(),
            // The end of the text is no part of the statement.
            TokenKind::Sign(b';') if next.is_none() => {}
            TokenKind::Sign(b'-' | b'+')
                if matches!(self.last, Last::Start | Last::Operator) && next == Some(TokenKind::Number) =>
            {
                // The sign belongs to the number.
            }
            _ => {
                self.end_list();
                self.other(token);
            }
        }
    }

    fn other(&mut self, token: &Token) {
        let bytes = self.sql.get(token.range.clone()).unwrap_or_default();
        self.space();
        match token.kind {
            TokenKind::Word => {
                let keyword = Keyword::of(bytes);
                let start = self.text.len();
                self.text.push_str(&String::from_utf8_lossy(bytes));
                if keyword != Keyword::None
                    && let Some(word) = self.text.get_mut(start..)
                {
                    word.make_ascii_uppercase();
                }
                self.last = match keyword {
                    Keyword::IN | Keyword::VALUES | Keyword::VALUE => Last::List,
                    Keyword::None => Last::Other,
                    _ => Last::Operator,
                };
                return;
            }
            TokenKind::QuotedName => self.quoted_name(bytes),
            TokenKind::Error => self.text.push('…'),
            _ => self.text.push_str(&String::from_utf8_lossy(bytes)),
        }
        let operator = matches!(token.kind, TokenKind::Sign(_) | TokenKind::Operator | TokenKind::Assign);
        self.last = if operator { Last::Operator } else { Last::Other };
    }

    fn space(&mut self) {
        if !self.text.is_empty() {
            self.text.push(' ');
        }
    }

    fn quoted_name(&mut self, bytes: &[u8]) {
        let inner = match bytes {
            [b'`', ..] => return self.text.push_str(&String::from_utf8_lossy(bytes)),
            [_, inner @ .., _] => inner,
            _ => return,
        };
        self.text.push('`');
        let name = String::from_utf8_lossy(inner);
        let mut letters = name.chars();
        while let Some(letter) = letters.next() {
            match letter {
                // A doubled quote is one.
                '"' => drop(letters.next()),
                '`' => self.text.push('`'),
                _ => {}
            }
            self.text.push(letter);
        }
        self.text.push('`');
    }

    fn literal(&mut self) {
        // 'a' 'b' is one literal.
        if self.last != Last::Literal && self.list.as_mut().is_none_or(OpenList::shows_another) {
            self.space();
            self.text.push('?');
        }
        self.last = Last::Literal;
    }

    fn comma(&mut self) {
        let shown = match (self.list, self.last) {
            (Some(list), Last::Literal) => list.literals < SHOWN,
            _ => {
                self.end_list();
                true
            }
        };
        if shown {
            self.space();
            self.text.push(',');
        }
        self.last = Last::Operator;
    }

    fn open(&mut self) {
        let repeats = self.text.ends_with("( ... ) ,");
        let any_length = repeats || self.last == Last::List;
        self.end_list();
        self.list = Some(OpenList { start: self.text.len(), repeats, any_length, literals: 0 });
        self.space();
        self.text.push('(');
        self.last = Last::Operator;
    }

    fn close(&mut self) {
        if let Some(list) = self.list
            && list.any_length
            && list.literals > 0
            && self.last == Last::Literal
        {
            self.list = None;
            if list.repeats {
                // With the comma before it.
                self.text.truncate(list.start.saturating_sub(2));
            } else {
                self.text.truncate(list.start);
                self.space();
                self.text.push_str("( ... )");
            }
            self.last = Last::List;
            return;
        }
        self.end_list();
        self.space();
        self.text.push(')');
        self.last = Last::Other;
    }

    /// What stands in the parenthesis is more than literals.
    fn end_list(&mut self) {
        if let Some(list) = self.list.take()
            && list.literals > SHOWN
        {
            self.text.push_str(if self.last == Last::Literal { " , ..." } else { " , ... ," });
        }
    }
}

impl OpenList {
    /// Counts a literal, and tells whether it is shown.
    fn shows_another(&mut self) -> bool {
        self.literals = self.literals.saturating_add(1);
        self.literals <= SHOWN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(sql: &str, expected: &str) {
        assert_eq!(digest_text(sql.as_bytes(), &Dialect::default()), expected, "{sql}");
    }

    #[test]
    fn literals_white_space_comments_and_case_do_not_count() {
        check("select  a,b from T where x='1'", "SELECT a , b FROM T WHERE x = ?");
        check("SELECT a, b\nFROM T -- why\nWHERE x = /* this */ 5;", "SELECT a , b FROM T WHERE x = ?");
        check("SELECT f(1, 'a' 'b', x'ff')", "SELECT f ( ? , ? , ? )");
        check("SELECT -1, a - 1, - b, (+1)", "SELECT ? , a - ? , - b , ( ? )");
        check("SELECT `a` FROM d.`b``c`", "SELECT `a` FROM d . `b``c`");
        check("SELECT @x, @@session.sql_mode, :=", "SELECT @x , @@ session . sql_mode , :=");
        check("SELECT 'open", "SELECT …");
        check("", "");
    }

    #[test]
    fn lists_of_literals_are_one_whatever_their_length() {
        let in_list = "SELECT a FROM t WHERE b IN ( ... ) AND c = ?";
        check("SELECT a FROM t WHERE b IN (1) AND c = 1", in_list);
        check("SELECT a FROM t WHERE b IN (1, 2, -3) AND c = 'x'", in_list);
        let many = (0..10_000).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
        check(&format!("SELECT a FROM t WHERE b IN ({many}) AND c = 'x'"), in_list);
        let insert = "INSERT INTO t ( a , b ) VALUES ( ... )";
        check("INSERT INTO t (a,b) VALUES (1,2)", insert);
        check("INSERT INTO t (a,b) VALUES (1,2),(3,4) , (5, 6)", insert);
        let rows = vec!["(1,'x')"; 10_000].join(",");
        check(&format!("INSERT INTO t (a,b) VALUES {rows}"), insert);
        check(
            "INSERT INTO t VALUES (1, now(), 2), (3, 4, 5)",
            "INSERT INTO t VALUES ( ? , now ( ) , ? ) , ( ? , ? , ? )",
        );
        check("SELECT f(1,2,3,4,5,6,7,8,9,10, a)", "SELECT f ( ? , ? , ? , ? , ? , ? , ? , ? , ... , a )");
        check("SELECT (1, 2) IN ((1, 2), (3, 4))", "SELECT ( ? , ? ) IN ( ( ? , ? ) , ( ? , ? ) )");
    }

    #[test]
    fn quotes_do_not_count_but_that_a_name_was_quoted_does() {
        let ansi = Dialect { modes: crate::Modes::ANSI_QUOTES, ..Dialect::default() };
        assert_eq!(digest_text(br#"SELECT "a""b" FROM `c`"#, &ansi), "SELECT `a\"b` FROM `c`");
        assert_eq!(digest_text(br#"SELECT "a""b" FROM `c`"#, &Dialect::default()), "SELECT ? FROM `c`");
        assert_ne!(digest_text(b"SELECT `count`(1)", &ansi), digest_text(b"SELECT count(1)", &ansi));
    }

    #[test]
    fn a_digest_is_bounded() {
        let long = format!("SELECT {}", vec!["a"; 100_000].join("+"));
        let text = digest_text(long.as_bytes(), &Dialect::default());
        assert!(text.len() < LONGEST + 100 && text.ends_with(" …"));
    }

    #[test]
    fn the_hash_is_fnv_1a() {
        // Test vectors of the FNV reference implementation (draft-eastlake-fnv).
        assert_eq!(digest_hash(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(digest_hash("foobar"), 0x8594_4171_f739_67e8);
    }
}
