//! A look at a statement's tokens, two ahead, with the names and literals in them.

use std::borrow::Cow;
use std::ops::Range;

use crate::dialect::{Charset, Dialect};
use crate::lexer::{Lexer, TokenKind};
use crate::schema::{TableId, folded};
use crate::words::Keyword;

/// A token with the keyword that it may be; after the last one comes the end.
#[derive(Debug, Clone)]
pub(super) struct Lexeme {
    pub(super) kind: TokenKind,
    pub(super) keyword: Keyword,
    pub(super) range: Range<usize>,
}

impl Lexeme {
    pub(super) fn is(&self, sign: u8) -> bool {
        self.kind == TokenKind::Sign(sign)
    }

    pub(super) fn is_end(&self) -> bool {
        self.keyword == Keyword::End
    }

    pub(super) fn is_name(&self) -> bool {
        match self.kind {
            TokenKind::Word => !self.is_end() && !self.keyword.is_reserved(),
            TokenKind::Name | TokenKind::QuotedName => true,
            _ => false,
        }
    }
}

pub(super) struct Tokens<'a> {
    sql: &'a [u8],
    dialect: &'a Dialect,
    lexer: Lexer<'a>,
    next: Lexeme,
    after: Lexeme,
    /// Words read so far that begin a query or join it to another.
    queries: u32,
    /// A word was read that ranks rows among all others.
    ranks: bool,
    /// Parameters passed.
    parameters: u16,
}

impl<'a> Tokens<'a> {
    pub(super) fn new(sql: &'a [u8], dialect: &'a Dialect) -> Tokens<'a> {
        let end = Lexeme { kind: TokenKind::Sign(0), keyword: Keyword::End, range: 0..0 };
        let lexer = Lexer::new(sql, dialect);
        let mut tokens = Tokens {
            sql,
            dialect,
            lexer,
            next: end.clone(),
            after: end,
            queries: 0,
            ranks: false,
            parameters: 0,
        };
        tokens.next = tokens.read();
        tokens.after = tokens.read();
        tokens
    }

    fn read(&mut self) -> Lexeme {
        let Some(token) = self.lexer.next() else {
            let end = self.sql.len();
            return Lexeme { kind: TokenKind::Sign(0), keyword: Keyword::End, range: end..end };
        };
        let keyword = match token.kind {
            TokenKind::Word => Keyword::of(self.sql.get(token.range.clone()).unwrap_or_default()),
            // The facts told that nothing follows.
            TokenKind::Sign(b';') => Keyword::End,
            _ => Keyword::None,
        };
        match keyword {
            Keyword::SELECT | Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT | Keyword::TABLE => {
                self.queries = self.queries.saturating_add(1);
            }
            Keyword::MATCH => self.ranks = true,
            _ => {}
        }
        Lexeme { kind: token.kind, keyword, range: token.range }
    }

    /// How many words so far begin a query or join it to another.
    pub(super) fn queries(&self) -> u32 {
        self.queries
    }

    /// Whether there was a word so far that ranks rows among all others.
    pub(super) fn ranks(&self) -> bool {
        self.ranks
    }

    /// Whether another version of the server might read other tokens.
    pub(super) fn saw_conditional(&self) -> bool {
        self.lexer.saw_conditional()
    }

    /// How many parameters were passed: the number, from 0, of the next one. A statement has at most 65,535.
    pub(super) fn parameter(&self) -> u16 {
        self.parameters
    }

    pub(super) fn peek(&self) -> &Lexeme {
        &self.next
    }

    pub(super) fn peek_after(&self) -> &Lexeme {
        &self.after
    }

    pub(super) fn next(&mut self) -> Lexeme {
        if self.next.is_end() {
            return self.next.clone();
        }
        self.parameters = self.parameters.saturating_add(u16::from(self.next.kind == TokenKind::Parameter));
        let after = match self.after.is_end() {
            true => self.after.clone(),
            false => self.read(),
        };
        std::mem::replace(&mut self.next, std::mem::replace(&mut self.after, after))
    }

    pub(super) fn bytes(&self, lexeme: &Lexeme) -> &'a [u8] {
        self.sql.get(lexeme.range.clone()).unwrap_or_default()
    }

    pub(super) fn at(&self, keyword: Keyword) -> bool {
        self.next.keyword == keyword
    }

    pub(super) fn eat(&mut self, keyword: Keyword) -> bool {
        let found = self.at(keyword);
        if found {
            self.next();
        }
        found
    }

    pub(super) fn eat_sign(&mut self, sign: u8) -> bool {
        let found = self.next.is(sign);
        if found {
            self.next();
        }
        found
    }

    pub(super) fn eat_all(&mut self, keywords: &[Keyword]) {
        while keywords.contains(&self.next.keyword) {
            self.next();
        }
    }

    /// A name in lower case; `None` where its bytes depend on the character set.
    pub(super) fn name(&self, lexeme: &Lexeme) -> Option<Cow<'a, str>> {
        let text = std::str::from_utf8(self.bytes(lexeme)).ok()?;
        if self.dialect.charset != Charset::Utf8 && !text.is_ascii() {
            return None;
        }
        if lexeme.kind != TokenKind::QuotedName {
            return Some(folded(text));
        }
        let quote = text.chars().next()?;
        let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
        match inner.contains(quote) {
            true => {
                let single = inner.replace(&format!("{quote}{quote}"), quote.encode_utf8(&mut [0; 4]));
                Some(folded(&single).into_owned().into())
            }
            false => Some(folded(inner)),
        }
    }

    /// `[schema.]table`, if it is this one.
    pub(super) fn table(&mut self, wanted: TableId, current: Option<&str>) -> Option<()> {
        let first = self.name_next()?;
        let id = match self.eat_sign(b'.') {
            true => TableId::of(&first, &self.name_next()?),
            false => TableId::of(current?, &first),
        };
        (id == wanted).then_some(())
    }

    fn name_next(&mut self) -> Option<Cow<'a, str>> {
        if !self.next.is_name() {
            return None;
        }
        let lexeme = self.next();
        self.name(&lexeme)
    }

    /// Passes `[AS] alias`.
    pub(super) fn alias(&mut self) -> Option<()> {
        if self.eat(Keyword::AS) {
            return self.name_next().map(drop);
        }
        let plain = self.next.kind == TokenKind::QuotedName || self.next.keyword == Keyword::None;
        if plain && self.next.is_name() {
            self.next();
        }
        Some(())
    }

    /// The column of `[[schema.]table.]column`.
    pub(super) fn column(&mut self) -> Option<Cow<'a, str>> {
        if self.next.kind == TokenKind::Word && !self.after.is(b'.') && is_constant(self.bytes(&self.next)) {
            return None;
        }
        let mut name = self.name_next()?;
        while self.next.is(b'.') {
            self.next();
            name = self.name_next()?;
        }
        Some(name)
    }

    /// Passes everything up to the parenthesis that closes the one just passed, and that one.
    pub(super) fn close(&mut self) -> Option<()> {
        let mut depth = 1u32;
        loop {
            match self.next().kind {
                TokenKind::Sign(b'(') => depth = depth.saturating_add(1),
                TokenKind::Sign(b')') => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        return Some(());
                    }
                }
                TokenKind::Error => return None,
                _ if self.next.is_end() => return None,
                _ => {}
            }
        }
    }
}

/// Words that call a function without parentheses, in some version.
fn is_constant(word: &[u8]) -> bool {
    const CONSTANTS: [&[u8]; 12] = [
        b"CURRENT_DATE",
        b"CURRENT_TIME",
        b"CURRENT_TIMESTAMP",
        b"CURRENT_ROLE",
        b"LOCALTIME",
        b"LOCALTIMESTAMP",
        b"UTC_DATE",
        b"UTC_TIME",
        b"UTC_TIMESTAMP",
        b"SYSDATE",
        b"ROWNUM",
        b"ROW_NUMBER",
    ];
    CONSTANTS.iter().any(|constant| constant.eq_ignore_ascii_case(word))
}
