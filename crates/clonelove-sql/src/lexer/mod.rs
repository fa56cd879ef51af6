//! Bytes of a statement to tokens, as the server would split them.
//!
//! Borrows the statement, allocates nothing; owns comments, quoting, numbers and multi-byte characters, and knows no
//! grammar. Where two servers would split a text differently, or none would accept it, the lexer ends with
//! [`TokenKind::Error`], so that whoever reads the tokens fails closed.
//!
//! The rules are those of the servers' own lexers (`sql/sql_lex.cc` of MariaDB 10.11 and of MySQL 8 and 9).

mod characters;
mod gaps;
mod lists;
mod literals;
mod strings;

#[cfg(test)]
mod tests;

use std::ops::Range;

use crate::dialect::{Charset, Dialect, Flavour, Modes};
use characters::{Class, is_ascii_identifier};
use gaps::Gap;
pub(crate) use lists::Sorts;

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
    /// A backslash in a string escapes.
    escapes: bool,
    /// A quote or a backslash is never part of another character.
    plain: bool,
    /// Double quotes enclose names.
    ansi: bool,
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
            escapes: !dialect.modes.contains(Modes::NO_BACKSLASH_ESCAPES),
            plain: matches!(dialect.charset, Charset::Utf8 | Charset::AsciiCompatible),
            ansi: dialect.modes.contains(Modes::ANSI_QUOTES),
        }
    }

    /// Whether an executable comment was met so far that another version would treat differently.
    pub(crate) fn saw_conditional(&self) -> bool {
        self.saw_conditional
    }

    /// Where the next token, or the gap before it, begins.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// The byte at a place, and NUL beyond the end, as the server's buffer has it.
    fn byte(&self, at: usize) -> u8 {
        self.sql.get(at).copied().unwrap_or(0)
    }

    fn tail(&self, from: usize) -> &'a [u8] {
        self.sql.get(from..).unwrap_or_default()
    }

    #[inline]
    fn token(&mut self, kind: TokenKind, start: usize, end: usize) -> Option<Token> {
        self.at = end;
        Some(Token { kind, range: start..end })
    }

    fn error(&mut self, start: usize) -> Option<Token> {
        self.expect = Expect::Nothing;
        self.token(TokenKind::Error, start, self.sql.len())
    }

    /// What most tokens are: a name, a word or a byte of its own, after a single space or none. It is passed.
    #[inline(always)]
    pub(crate) fn common(&mut self) -> Common {
        if self.expect != Expect::Anything {
            return Common::Rest;
        }
        let at = self.at.wrapping_add(usize::from(self.byte(self.at) == b' '));
        let first = self.byte(at);
        let (kind, end) = match Class::of(first) {
            Class::Alone => (TokenKind::Sign(first), Some(at.wrapping_add(1))),
            Class::Letter if self.byte(at.wrapping_add(1)) != b'\'' => {
                (TokenKind::Word, self.plain_word_end(at))
            }
            Class::Quote if self.plain && (first == b'`' || self.ansi) => {
                (TokenKind::QuotedName, self.plain_name_end(at))
            }
            Class::Gap => return Common::Rest,
            Class::Digit | Class::Letter | Class::Quote | Class::Other => return Common::Start(at),
        };
        let Some(end) = end else { return Common::Start(at) };
        self.at = end;
        Common::Simple(kind, at, end)
    }

    /// What [`Self::common`] did not pass.
    pub(crate) fn other(&mut self, common: &Common) -> Option<Token> {
        match *common {
            Common::Simple(kind, start, end) => Some(Token { kind, range: start..end }),
            Common::Start(at) => self.start(at),
            Common::Rest => self.after_gap(),
        }
    }

    /// The next token, when something is expected of it or there may be more than a space before it.
    fn after_gap(&mut self) -> Option<Token> {
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
            b'a'..=b'z' | b'A'..=b'Z' | b'_' if second != b'\'' => {
                self.identifier(start, start, TokenKind::Word)
            }
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
            b'"' if self.ansi => self.quoted_name(start),
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
            b'"' if self.ansi => self.quoted_name_end(name),
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
        match self.common() {
            Common::Simple(kind, start, end) => Some(Token { kind, range: start..end }),
            common => self.other(&common),
        }
    }
}

/// What [`Lexer::common`] found.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Common {
    /// A token that hangs on nothing before it.
    Simple(TokenKind, usize, usize),
    /// Another one, which begins here.
    Start(usize),
    /// Something is expected, or there is more before the next token.
    Rest,
}
