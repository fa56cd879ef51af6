//! Bytes of a statement to tokens, as the server would split them.
//!
//! Borrows the statement, allocates nothing; owns comments, quoting and numbers, and knows no grammar.

use std::ops::Range;

use crate::dialect::Dialect;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// An unquoted identifier or a keyword.
    Word,
    /// A quoted identifier, its quotes included.
    QuotedName,
    /// A string literal, its quotes and its prefix (`N'…'`) included.
    Text,
    /// A number, hexadecimal or bit literal.
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
    /// What no server would read as a token: an open quote or comment, a NUL byte. Always the last token.
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

/// Splits a statement into tokens, comments and white space left out.
#[derive(Debug, Clone)]
pub struct Lexer<'a> {
    sql: &'a [u8],
    dialect: Dialect,
}

impl<'a> Lexer<'a> {
    /// A lexer at the beginning of a text.
    pub fn new(sql: &'a [u8], dialect: &Dialect) -> Self {
        Lexer { sql, dialect: *dialect }
    }
}

impl Iterator for Lexer<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        let _ = (self.sql, self.dialect);
        None
    }
}
