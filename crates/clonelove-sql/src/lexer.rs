//! Bytes of a statement to tokens, as the server would split them.
//!
//! Borrows the statement, allocates nothing; owns comments, quoting, numbers and multi-byte characters, and knows no
//! grammar. Where two servers would split a text differently, or none would accept it, the lexer ends with
//! [`TokenKind::Error`], so that whoever reads the tokens fails closed.
//!
//! The rules are those of the servers' own lexers (`sql/sql_lex.cc` of MariaDB 10.11 and of MySQL 8 and 9).

use std::ops::Range;

use memchr::{memchr, memchr2, memmem};

use crate::dialect::{Charset, Dialect, Flavour, Modes};

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// An unquoted identifier or a keyword.
    Word,
    /// An unquoted identifier that is no keyword whatever its letters, because it stands beside a dot (`t.select`) or
    /// begins with a digit.
    Name,
    /// A quoted identifier, its quotes included.
    QuotedName,
    /// A string literal, its quotes and its prefix (`N'…'`) included.
    Text,
    /// A number, a hexadecimal or bit literal, or `\N`.
    Number,
    /// `?`, a prepared statement's parameter.
    Parameter,
    /// `@name`, with its quotes where it has some.
    UserVariable,
    /// `@@`, before a system variable's name.
    SystemVariable,
    /// `:=`
    Assign,
    /// Any other operator of several bytes.
    Operator,
    /// Any other single byte.
    Sign(u8),
    /// What no server would read as a token, or two would read differently: an open quote or comment, a NUL byte.
    /// Always the last token; it reaches to the end of the text.
    Error,
}

/// A token and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: TokenKind,
    /// Its bytes in the statement.
    pub range: Range<usize>,
}

/// Which of the executable comments that depend on a version are code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Conditional {
    /// Those that fit the dialect's version.
    #[default]
    ByVersion,
    /// All.
    Code,
    /// None.
    Comment,
}

/// What the token before demands of the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    Anything,
    /// An identifier ended directly before a dot that an identifier follows.
    Dot,
    /// A dot ended directly before an identifier.
    Name,
    Nothing,
}

/// Splits a statement into tokens, comments and white space left out.
#[derive(Debug, Clone)]
pub struct Lexer<'a> {
    sql: &'a [u8],
    at: usize,
    dialect: Dialect,
    conditional: Conditional,
    saw_conditional: bool,
    in_executable_comment: bool,
    expect: Expect,
}

/// What comes before a token: nothing of note, the end of the text, or something no server accepts.
enum Gap {
    Token,
    End,
    Error(usize),
}

impl<'a> Lexer<'a> {
    /// A lexer at the beginning of a text.
    pub fn new(sql: &'a [u8], dialect: &Dialect) -> Self {
        Self::with_conditional(sql, dialect, Conditional::ByVersion)
    }

    pub(crate) fn with_conditional(sql: &'a [u8], dialect: &Dialect, conditional: Conditional) -> Self {
        Lexer {
            sql,
            at: 0,
            dialect: *dialect,
            conditional,
            saw_conditional: false,
            in_executable_comment: false,
            expect: Expect::Anything,
        }
    }

    /// Whether an executable comment was met so far that another version would treat differently.
    pub(crate) fn saw_conditional(&self) -> bool {
        self.saw_conditional
    }

    /// The byte at a place, and NUL beyond the end, as the server's buffer has it.
    fn byte(&self, at: usize) -> u8 {
        self.sql.get(at).copied().unwrap_or(0)
    }

    fn tail(&self, from: usize) -> &'a [u8] {
        self.sql.get(from..).unwrap_or_default()
    }

    fn token(&mut self, kind: TokenKind, start: usize, end: usize) -> Option<Token> {
        self.at = end;
        Some(Token { kind, range: start..end })
    }

    fn error(&mut self, start: usize) -> Option<Token> {
        self.expect = Expect::Nothing;
        self.token(TokenKind::Error, start, self.sql.len())
    }

    /// Passes over white space and comments.
    fn skip_gap(&mut self) -> Gap {
        loop {
            let start = self.at;
            match (self.byte(start), self.byte(start.saturating_add(1))) {
                (b' ' | b'\t'..=b'\r', _) => self.at = start.saturating_add(1),
                (b'#', _) => self.skip_line(start),
                (b'-', b'-') => match self.byte(start.saturating_add(2)) {
                    0..=b' ' | 0x7f => self.skip_line(start),
                    // Which bytes above ASCII are white space differs from set to set.
                    0x80.. if self.dialect.charset != Charset::Utf8 => return Gap::Error(start),
                    _ => return Gap::Token,
                },
                (b'/', b'*') => {
                    if self.skip_comment(start).is_none() {
                        return Gap::Error(start);
                    }
                }
                (b'*', b'/') if self.in_executable_comment => {
                    self.in_executable_comment = false;
                    self.at = start.saturating_add(2);
                }
                _ if start >= self.sql.len() && self.in_executable_comment => return Gap::Error(start),
                _ if start >= self.sql.len() => return Gap::End,
                _ => return Gap::Token,
            }
        }
    }

    /// To the end of the line; a NUL byte ends a comment too, and is then met as the error that it is.
    fn skip_line(&mut self, start: usize) {
        let tail = self.tail(start);
        self.at = start.saturating_add(memchr2(b'\n', 0, tail).unwrap_or(tail.len()));
    }

    /// Passes over `/* … */`, or only over the opening of an executable comment; `None` if it is not closed, or if
    /// servers would not agree where it closes.
    fn skip_comment(&mut self, start: usize) -> Option<()> {
        let body = start.saturating_add(2);
        let marked = match (self.dialect.flavour, self.byte(body), self.byte(body.saturating_add(1))) {
            (_, b'!', _) => Some((body.saturating_add(1), false)),
            (Flavour::MariaDb, b'M', b'!') => Some((body.saturating_add(2), true)),
            _ => None,
        };
        let Some((code, mariadb_only)) = marked else {
            let end = self.plain_comment_end(body)?;
            if self.byte(body) == b'+' && !closed_hint(self.sql.get(body..end).unwrap_or_default()) {
                return None;
            }
            self.at = end;
            return Some(());
        };
        let Some((version, digits)) = self.comment_version(code) else {
            self.in_executable_comment = true;
            self.at = code;
            return Some(());
        };
        self.saw_conditional = true;
        let is_code = match self.conditional {
            Conditional::Code => true,
            Conditional::Comment => false,
            Conditional::ByVersion => self.version_fits(version, mariadb_only),
        };
        if is_code {
            self.in_executable_comment = true;
            self.at = code.saturating_add(digits);
        } else {
            self.at = self.nested_comment_end(code)?;
        }
        Some(())
    }

    /// The version an executable comment asks for, and how many digits it has. MySQL reads a sixth digit as the
    /// version's only before white space, MariaDB always.
    fn comment_version(&self, at: usize) -> Option<(u32, usize)> {
        let digits = self.tail(at).iter().take(6).take_while(|byte| byte.is_ascii_digit()).count();
        let six = match self.dialect.flavour {
            Flavour::MariaDb => digits == 6,
            Flavour::MySql => digits == 6 && is_space(self.byte(at.saturating_add(6))),
        };
        let length = match digits {
            0..5 => return None,
            _ if six => 6,
            _ => 5,
        };
        let version = self.tail(at).iter().take(length).fold(0u32, |version, digit| {
            version.wrapping_mul(10).wrapping_add(u32::from(digit.wrapping_sub(b'0')))
        });
        Some((version, length))
    }

    /// MariaDB passes over what is meant for MySQL 5.7 and later.
    fn version_fits(&self, version: u32, mariadb_only: bool) -> bool {
        let foreign = match self.dialect.flavour {
            Flavour::MariaDb => !mariadb_only && (50_700..=99_999).contains(&version),
            Flavour::MySql => false,
        };
        version <= self.dialect.version && !foreign
    }

    fn plain_comment_end(&self, body: usize) -> Option<usize> {
        memmem::find(self.tail(body), b"*/").map(|at| body.saturating_add(at).saturating_add(2))
    }

    /// The end of an executable comment that is not executed: one level of plain comments may stand in it.
    fn nested_comment_end(&self, body: usize) -> Option<usize> {
        let mut at = body;
        loop {
            at = at.saturating_add(memchr2(b'*', b'/', self.tail(at))?);
            match (self.byte(at), self.byte(at.saturating_add(1))) {
                (b'/', b'*') => at = self.plain_comment_end(at.saturating_add(2))?,
                (b'*', b'/') => return Some(at.saturating_add(2)),
                _ => at = at.saturating_add(1),
            }
        }
    }

    /// How many bytes the character at a place outside quotes has; `None` where it is none of the character set's.
    fn character(&self, at: usize) -> Option<usize> {
        let lead = self.byte(at);
        if lead < 0x80 {
            return Some(1);
        }
        match self.dialect.charset {
            Charset::Utf8 => utf8_length(self.tail(at)),
            Charset::AsciiCompatible => None,
            charset => multi_byte_length(charset, self.tail(at)),
        }
    }

    /// The end of the unquoted identifier that goes on at a place; `None` if it runs into bytes that are no
    /// characters.
    fn identifier_end(&self, from: usize) -> Option<usize> {
        let mut at = from;
        loop {
            let run = self.tail(at).iter().take_while(|byte| is_ascii_identifier(**byte)).count();
            at = at.saturating_add(run);
            if self.byte(at) < 0x80 {
                return Some(at);
            }
            at = at.saturating_add(self.character(at)?);
        }
    }

    /// Whether an identifier may go on with the byte at a place.
    fn goes_on(&self, at: usize) -> bool {
        let byte = self.byte(at);
        is_ascii_identifier(byte) || byte >= 0x80
    }

    /// An identifier's token; a dot directly after it, and an identifier directly after that, make it a plain name.
    fn identifier(&mut self, start: usize, scan_from: usize, kind: TokenKind) -> Option<Token> {
        let Some(end) = self.identifier_end(scan_from) else { return self.error(start) };
        let before_dot = self.byte(end) == b'.' && self.goes_on(end.saturating_add(1));
        self.expect = if before_dot { Expect::Dot } else { Expect::Anything };
        self.token(if before_dot { TokenKind::Name } else { kind }, start, end)
    }

    fn dot(&mut self, start: usize) -> Option<Token> {
        let end = start.saturating_add(1);
        self.expect = if self.goes_on(end) { Expect::Name } else { Expect::Anything };
        self.token(TokenKind::Sign(b'.'), start, end)
    }

    /// A token where one may begin with anything.
    fn start(&mut self, start: usize) -> Option<Token> {
        let (first, second) = (self.byte(start), self.byte(start.saturating_add(1)));
        match first {
            b'n' | b'N' if second == b'\'' => self.text(start, start.saturating_add(1)),
            b'x' | b'X' | b'b' | b'B' if second == b'\'' => self.digits_in_quotes(start, first),
            // MySQL 9 opens a quoted text with $tag$, earlier versions an identifier.
            b'$' if self.dialect.flavour == Flavour::MySql => self.error(start),
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'$' | 0x80.. => {
                self.identifier(start, start, TokenKind::Word)
            }
            b'0'..=b'9' => self.number(start),
            b'.' if second.is_ascii_digit() => self.real(start, start.saturating_add(1)),
            b'.' => self.dot(start),
            b'\'' => self.text(start, start),
            b'"' if self.dialect.modes.contains(Modes::ANSI_QUOTES) => self.quoted_name(start),
            b'"' => self.text(start, start),
            b'`' => self.quoted_name(start),
            b'@' => self.variable(start),
            b'?' if !self.goes_on(start.saturating_add(1)) => {
                self.token(TokenKind::Parameter, start, start.saturating_add(1))
            }
            b'\\' if second == b'N' => self.token(TokenKind::Number, start, start.saturating_add(2)),
            b';' if self.in_executable_comment => self.error(start),
            0 => self.error(start),
            _ => self.sign(start, first, second),
        }
    }

    fn sign(&mut self, start: usize, first: u8, second: u8) -> Option<Token> {
        let third = self.byte(start.saturating_add(2));
        let (kind, length) = match (first, second, third) {
            (b':', b'=', _) => (TokenKind::Assign, 2),
            (b'<', b'=', b'>') | (b'-', b'>', b'>') => (TokenKind::Operator, 3),
            (b'<', b'=' | b'>' | b'<', _)
            | (b'>', b'=' | b'>', _)
            | (b'!', b'=', _)
            | (b'|', b'|', _)
            | (b'&', b'&', _)
            | (b'-', b'>', _) => (TokenKind::Operator, 2),
            _ => (TokenKind::Sign(first), 1),
        };
        self.token(kind, start, start.saturating_add(length))
    }

    /// A number, or an identifier that begins with digits.
    fn number(&mut self, start: usize) -> Option<Token> {
        if let Some(end) = self.prefixed_number_end(start) {
            return self.token(TokenKind::Number, start, end);
        }
        let end = self.digits_end(start);
        match self.byte(end) {
            b'.' if self.byte(end.saturating_add(1)) != b'.' => self.real(start, end.saturating_add(1)),
            b'e' | b'E' => match self.exponent_end(end) {
                Some(end) => self.token(TokenKind::Number, start, end),
                None => self.identifier(start, end, TokenKind::Name),
            },
            _ if self.goes_on(end) => self.identifier(start, end, TokenKind::Name),
            _ => self.token(TokenKind::Number, start, end),
        }
    }

    /// The end of `0x1F` or `0b01`, where those digits are all there is.
    fn prefixed_number_end(&self, start: usize) -> Option<usize> {
        let digits = start.saturating_add(2);
        let of_base: fn(&u8) -> bool = match (self.byte(start), self.byte(start.saturating_add(1))) {
            (b'0', b'x') => u8::is_ascii_hexdigit,
            (b'0', b'b') => |byte| matches!(byte, b'0' | b'1'),
            _ => return None,
        };
        let count = self.tail(digits).iter().take_while(|byte| of_base(byte)).count();
        let end = digits.saturating_add(count);
        (count > 0 && !self.goes_on(end)).then_some(end)
    }

    fn digits_end(&self, from: usize) -> usize {
        from.saturating_add(self.tail(from).iter().take_while(|byte| byte.is_ascii_digit()).count())
    }

    /// The end of the exponent at an `e`; `None` if digits are missing.
    fn exponent_end(&self, at: usize) -> Option<usize> {
        let after = at.saturating_add(1);
        let digits = match self.byte(after) {
            b'+' | b'-' => after.saturating_add(1),
            _ => after,
        };
        self.byte(digits).is_ascii_digit().then(|| self.digits_end(digits))
    }

    /// A number whose decimal point is behind us. `1.e(` makes the servers drop the number: an error here.
    fn real(&mut self, start: usize, after_point: usize) -> Option<Token> {
        let end = self.digits_end(after_point);
        match self.byte(end) {
            b'e' | b'E' => match self.exponent_end(end) {
                Some(end) => self.token(TokenKind::Number, start, end),
                None => self.error(start),
            },
            _ => self.token(TokenKind::Number, start, end),
        }
    }

    /// `x'1F'` or `b'01'`.
    fn digits_in_quotes(&mut self, start: usize, prefix: u8) -> Option<Token> {
        let body = start.saturating_add(2);
        let is_digit = |byte: &u8| match prefix {
            b'x' | b'X' => byte.is_ascii_hexdigit(),
            _ => matches!(byte, b'0' | b'1'),
        };
        let count = self.tail(body).iter().take_while(|byte| is_digit(byte)).count();
        let end = body.saturating_add(count);
        if self.byte(end) == b'\'' {
            return self.token(TokenKind::Number, start, end.saturating_add(1));
        }
        self.error(start)
    }

    /// A string literal whose opening quote stands at `quote_at`.
    fn text(&mut self, start: usize, quote_at: usize) -> Option<Token> {
        match self.text_end(quote_at) {
            Some(end) => self.token(TokenKind::Text, start, end),
            None => self.error(start),
        }
    }

    fn text_end(&self, quote_at: usize) -> Option<usize> {
        let quote = self.byte(quote_at);
        let escapes = !self.dialect.modes.contains(Modes::NO_BACKSLASH_ESCAPES);
        let mut at = quote_at.saturating_add(1);
        loop {
            let tail = self.tail(at);
            let found = match (self.dialect.charset, escapes) {
                (Charset::Utf8 | Charset::AsciiCompatible, true) => memchr2(quote, b'\\', tail),
                (Charset::Utf8 | Charset::AsciiCompatible, false) => memchr(quote, tail),
                (charset, _) => find_character(charset, quote, escapes.then_some(b'\\'), tail),
            }?;
            let special = at.saturating_add(found);
            if self.byte(special) == b'\\' && quote != b'\\' {
                // Exactly one byte is escaped, also where it leads a character of several.
                at = special.saturating_add(2);
            } else if self.byte(special.saturating_add(1)) == quote {
                at = special.saturating_add(2);
            } else {
                return Some(special.saturating_add(1));
            }
        }
    }

    fn quoted_name(&mut self, start: usize) -> Option<Token> {
        match self.quoted_name_end(start) {
            Some(end) => self.token(TokenKind::QuotedName, start, end),
            None => self.error(start),
        }
    }

    /// The end of an identifier in backticks or double quotes; it may hold no NUL.
    fn quoted_name_end(&self, start: usize) -> Option<usize> {
        let quote = self.byte(start);
        let mut at = start.saturating_add(1);
        loop {
            let tail = self.tail(at);
            let found = match self.dialect.charset {
                Charset::Utf8 | Charset::AsciiCompatible => memchr2(quote, 0, tail),
                charset => find_character(charset, quote, Some(0), tail),
            }?;
            let special = at.saturating_add(found);
            if self.byte(special) != quote {
                return None;
            }
            if self.byte(special.saturating_add(1)) != quote {
                return Some(special.saturating_add(1));
            }
            at = special.saturating_add(2);
        }
    }

    /// `@name`, `@'name'`, or the `@@` of a system variable, which its name must follow at once.
    fn variable(&mut self, start: usize) -> Option<Token> {
        let name = start.saturating_add(1);
        let end = match self.byte(name) {
            b'@' => {
                let end = name.saturating_add(1);
                if !(is_ascii_identifier(self.byte(end)) || self.byte(end) == b'`') {
                    return self.error(start);
                }
                return self.token(TokenKind::SystemVariable, start, end);
            }
            b'`' => self.quoted_name_end(name),
            b'"' if self.dialect.modes.contains(Modes::ANSI_QUOTES) => self.quoted_name_end(name),
            b'\'' | b'"' => self.text_end(name),
            _ => {
                let in_name = |byte: &&u8| is_ascii_identifier(**byte) || **byte == b'.';
                let end = name.saturating_add(self.tail(name).iter().take_while(in_name).count());
                (self.byte(end) < 0x80).then_some(end)
            }
        };
        match end {
            Some(end) => self.token(TokenKind::UserVariable, start, end),
            None => self.error(start),
        }
    }
}

impl Iterator for Lexer<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        match std::mem::replace(&mut self.expect, Expect::Anything) {
            Expect::Dot => self.dot(self.at),
            Expect::Name => self.identifier(self.at, self.at, TokenKind::Name),
            Expect::Anything => match self.skip_gap() {
                Gap::Token => self.start(self.at),
                Gap::Error(at) => self.error(at),
                Gap::End => None,
            },
            Expect::Nothing => {
                self.expect = Expect::Nothing;
                None
            }
        }
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

fn is_ascii_identifier(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$'
}

/// Whether every quote in an optimizer hint closes in it. A server reads quoted names in hints, and so would find the
/// end of a hint elsewhere than we if `*/` stood in one.
fn closed_hint(hint: &[u8]) -> bool {
    let mut open = None;
    for byte in hint {
        match (open, *byte) {
            (_, b'\\') => return false,
            (None, b'\'' | b'"' | b'`') => open = Some(*byte),
            (Some(quote), byte) if byte == quote => open = None,
            _ => {}
        }
    }
    open.is_none()
}

/// The first place of one of two ASCII bytes that is a character of its own.
fn find_character(charset: Charset, one: u8, other: Option<u8>, bytes: &[u8]) -> Option<usize> {
    let mut at = 0usize;
    loop {
        let byte = *bytes.get(at)?;
        if byte == one || other == Some(byte) {
            return Some(at);
        }
        // As in the server, a lead byte without a fitting tail counts as a character of its own.
        let length = match byte {
            0..0x80 => 1,
            _ => multi_byte_length(charset, bytes.get(at..).unwrap_or_default()).unwrap_or(1),
        };
        at = at.saturating_add(length);
    }
}

/// The length of the UTF-8 character that some bytes begin with.
fn utf8_length(bytes: &[u8]) -> Option<usize> {
    let length = match *bytes.first()? {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return None,
    };
    let tail = bytes.get(1..length)?;
    tail.iter().all(|byte| matches!(byte, 0x80..=0xbf)).then_some(length)
}

/// The length of the character of several bytes that some bytes begin with, by the servers' tables
/// (`strings/ctype-gbk.c`, `ctype-sjis.c`, `ctype-big5.c`, `ctype-gb18030.c`).
fn multi_byte_length(charset: Charset, bytes: &[u8]) -> Option<usize> {
    let (lead, tail) = (*bytes.first()?, *bytes.get(1)?);
    let fits = match charset {
        Charset::Utf8 | Charset::AsciiCompatible => false,
        Charset::Gbk => matches!(lead, 0x81..=0xfe) && matches!(tail, 0x40..=0x7e | 0x80..=0xfe),
        Charset::Sjis => {
            matches!(lead, 0x81..=0x9f | 0xe0..=0xfc) && matches!(tail, 0x40..=0x7e | 0x80..=0xfc)
        }
        Charset::Big5 => matches!(lead, 0xa1..=0xf9) && matches!(tail, 0x40..=0x7e | 0xa1..=0xfe),
        Charset::Gb18030 => {
            if matches!(lead, 0x81..=0xfe) && tail.is_ascii_digit() {
                let rest = (*bytes.get(2)?, *bytes.get(3)?);
                return matches!(rest, (0x81..=0xfe, b'0'..=b'9')).then_some(4);
            }
            matches!(lead, 0x81..=0xfe) && matches!(tail, 0x40..=0x7e | 0x80..=0xfe)
        }
    };
    fits.then_some(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tokens of a text: their kinds' first letters and their bytes.
    fn tokens(sql: &str, dialect: &Dialect) -> String {
        let kind = |kind| match kind {
            TokenKind::Word => "w",
            TokenKind::Name => "n",
            TokenKind::QuotedName => "q",
            TokenKind::Text => "t",
            TokenKind::Number => "#",
            TokenKind::Parameter => "p",
            TokenKind::UserVariable => "u",
            TokenKind::SystemVariable => "s",
            TokenKind::Assign | TokenKind::Operator => "o",
            TokenKind::Sign(_) => "",
            TokenKind::Error => "!",
        };
        let each = |token: Token| format!("{}{}", kind(token.kind), &sql[token.range]);
        Lexer::new(sql.as_bytes(), dialect).map(each).collect::<Vec<_>>().join(" ")
    }

    #[track_caller]
    fn check(sql: &str, expected: &str) {
        assert_eq!(tokens(sql, &Dialect::default()), expected, "{sql}");
    }

    #[test]
    fn identifiers_beside_dots_are_no_keywords() {
        check("a.b", "na . nb");
        check("select.from.into", "nselect . nfrom . ninto");
        check("a . b", "wa . wb");
        check("a. b", "wa . wb");
        check("a .b", "wa . nb");
        check("a.`b`.c", "wa . q`b` . nc");
        check("`a`.b.5c", "q`a` . nb . n5c");
        check("a.5 a .5", "na . n5 wa #.5");
        check("$a a$b _c", "w$a wa$b w_c");
    }

    #[test]
    fn numbers_end_where_the_servers_end_them() {
        check("1 1.5 .5 1. 1e5 1.5E-3 1.e5", "#1 #1.5 #.5 #1. #1e5 #1.5E-3 #1.e5");
        check("1e 1e+ 1ea 5a 0x 0xg 0X1f 0b2", "n1e n1e + n1ea n5a n0x n0xg n0X1f n0b2");
        check("0x1F 0b01 x'1f' B'01' N'a' n 'a'", "#0x1F #0b01 #x'1f' #B'01' tN'a' wn t'a'");
        check("1.a 1.from", "#1. wa #1. wfrom");
        check("1..2", "#1 . #.2");
        check("1.e x", "!1.e x");
        check("x'1g'", "!x'1g'");
        check(r"\N \M", r"#\N \ wM");
        check("-1 +-2", "- #1 + - #2");
    }

    #[test]
    fn strings_and_names_in_quotes() {
        check(r"'a''b' 'a\'b' '\\' 'a' 'b'", r"t'a''b' t'a\'b' t'\\' t'a' t'b'");
        check("`a``b` ``", "q`a``b` q``");
        check(r"`a\` `b`", r"q`a\` q`b`");
        check("\"a\"\"b\"", "t\"a\"\"b\"");
        check("'a\0b'", "t'a\0b'");
        check("'open", "!'open");
        check("`a\0b`", "!`a\0b`");
        let ansi = Dialect { modes: Modes::ANSI_QUOTES, ..Dialect::default() };
        assert_eq!(tokens(r#""a\" "b""#, &ansi), r#"q"a\" q"b""#);
        let plain = Dialect { modes: Modes::NO_BACKSLASH_ESCAPES, ..Dialect::default() };
        assert_eq!(tokens(r"'a\' 'b'", &plain), r"t'a\' t'b'");
    }

    #[test]
    fn variables() {
        check("@a @a.b @ @`b c` @'d' @\"e\"", "u@a u@a.b u@ u@`b c` u@'d' u@\"e\"");
        check("@@a @@global.b @@`c`", "s@@ wa s@@ nglobal . nb s@@ q`c`");
        check("@@ a", "!@@ a");
        check("@a:=1", "u@a o:= #1");
        check("u@h", "wu u@h");
    }

    #[test]
    fn operators_and_signs() {
        check("a<=>b<=c<>d!=e<<f>>g||h&&i", "wa o<=> wb o<= wc o<> wd o!= we o<< wf o>> wg o|| wh o&& wi");
        check("a->b->>c=-d", "wa o-> wb o->> wc = - wd");
        check("(?),?a;", "( p? ) , ? wa ;");
    }

    #[test]
    fn comments_and_what_is_none() {
        check("a--b", "wa - - wb");
        check("a-- b\nc", "wa wc");
        check("a#b\nc", "wa wc");
        check("a/*b*/c/**/d", "wa wc wd");
        check("a*/b", "wa * / wb");
        check("2*/*c*/3", "#2 * #3");
        check("a/*!b*/c", "wa wb wc");
        check("a/*!50000b*/c/*!99999d*/e", "wa wb wc we");
        check("a/*!99999b/*c*/d*/e", "wa we");
        check("a/*!b/*c*/d*/e", "wa wb wd we");
        check("a/*!b/*!c*/d", "wa wb wc wd");
        check("a/*b", "wa !/*b");
        check("a/*!b", "wa wb !");
        check("a/*!b;", "wa wb !;");
    }
}
