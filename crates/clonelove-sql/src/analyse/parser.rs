//! The cursor over a statement's tokens, and the facts being gathered from them.
//!
//! Owns look-ahead, names, and the rules by which one finding gives way to another. Knows no statement.

use std::ops::Range;

use crate::dialect::{Charset, Dialect};
use crate::facts::{Apart, Effect, Facts, Kind, TableName, Why};
use crate::functions::Call;
use crate::lexer::{Conditional, Lexer, TokenKind};
use crate::words::Keyword;

/// Texts longer than this are not analysed.
pub(super) const LONGEST: usize = u32::MAX as usize;

/// More tables, functions or variables than this in one statement are taken for all there are.
const MOST_NAMES: usize = 256;

/// A token with the keyword that it may be. The end of a statement is a lexeme too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lexeme {
    pub(super) kind: TokenKind,
    pub(super) keyword: Keyword,
    // Four bytes each: lexemes are copied a lot.
    start: u32,
    end: u32,
}

impl Lexeme {
    pub(super) fn is(&self, sign: u8) -> bool {
        self.kind == TokenKind::Sign(sign)
    }

    pub(super) fn is_end(&self) -> bool {
        self.keyword == Keyword::End
    }

    pub(super) fn is_name(&self) -> bool {
        !self.is_end() && matches!(self.kind, TokenKind::Word | TokenKind::Name | TokenKind::QuotedName)
    }

    pub(super) fn is_literal(&self) -> bool {
        matches!(self.kind, TokenKind::Text | TokenKind::Number | TokenKind::Parameter)
    }

    pub(super) fn range(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// Whether the other lexeme follows without a gap.
    pub(super) fn touches(&self, next: Lexeme) -> bool {
        self.end == next.start
    }
}

/// A place in a text, whose length [`LONGEST`] bounds.
fn place(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// A statement that is not understood, and where that became clear.
#[derive(Debug)]
pub(super) struct NotUnderstood(pub(super) Range<usize>);

pub(super) type Parsed<T = ()> = Result<T, NotUnderstood>;

const NOTHING: Lexeme = Lexeme { kind: TokenKind::Sign(0), keyword: Keyword::End, start: 0, end: 0 };

/// Reads one statement of a text after another.
pub(super) struct Parser<'a> {
    sql: &'a [u8],
    pub(super) dialect: &'a Dialect,
    pub(super) facts: Facts,
    /// Names of common table expressions in sight.
    pub(super) hidden: Vec<String>,
    /// How many parentheses are open.
    pub(super) depth: u32,
    /// Whether a name before a parenthesis is a call; in column definitions it is not.
    pub(super) calls_matter: bool,
    /// Whether the tables outside sub-selects are written.
    pub(super) targets: bool,
    /// What decides apart from the stored routines that are called.
    pub(super) besides: Option<Why>,
    /// A stored function or a procedure is called.
    pub(super) calls_routine: bool,
    /// A stored function is what made a read a write.
    read_apart: bool,
    /// The bytes of a literal were looked at.
    saw_literal: bool,
    lexer: Lexer<'a>,
    ahead: [Lexeme; 4],
    filled: usize,
    /// The token before the next one.
    pub(super) last: Lexeme,
}

impl<'a> Parser<'a> {
    pub(super) fn new(sql: &'a [u8], dialect: &'a Dialect, conditional: Conditional) -> Self {
        Parser {
            sql,
            dialect,
            facts: Facts::default(),
            hidden: Vec::new(),
            depth: 0,
            calls_matter: true,
            targets: false,
            besides: None,
            calls_routine: false,
            read_apart: false,
            saw_literal: false,
            lexer: Lexer::with_conditional(sql, dialect, conditional),
            ahead: [NOTHING; 4],
            filled: 0,
            last: NOTHING,
        }
    }

    /// Whether another version of the server might read other tokens.
    pub(super) fn saw_conditional(&self) -> bool {
        self.lexer.saw_conditional()
    }

    /// Whether the facts may depend on what literals say.
    pub(super) fn saw_literal(&self) -> bool {
        self.saw_literal
    }

    /// Makes ready for the next statement, and hands out what was gathered of this one.
    pub(super) fn take_facts(&mut self) -> Facts {
        self.hidden.clear();
        self.depth = 0;
        self.calls_matter = true;
        self.targets = false;
        let mut facts = std::mem::take(&mut self.facts);
        let (besides, read_apart) = (self.besides.take(), std::mem::take(&mut self.read_apart));
        if std::mem::take(&mut self.calls_routine) {
            let read = read_apart && facts.tables_written.is_empty();
            let kind = if read { Kind::Read } else { facts.kind };
            facts.apart = Some(Box::new(Apart { kind, why: besides, all_tables: facts.all_tables }));
            facts.all_tables = true;
        }
        facts
    }

    fn read(&mut self) -> Lexeme {
        let Some(token) = self.lexer.next() else {
            let end = place(self.sql.len());
            return Lexeme { start: end, end, ..NOTHING };
        };
        let keyword = match token.kind {
            TokenKind::Word => Keyword::of(self.sql.get(token.range.clone()).unwrap_or_default()),
            TokenKind::Sign(b';') => Keyword::End,
            _ => Keyword::None,
        };
        Lexeme { kind: token.kind, keyword, start: place(token.range.start), end: place(token.range.end) }
    }

    /// The next lexeme but `n` (at most 3), which stays where it is. The end of a statement hides what follows it.
    #[inline]
    pub(super) fn peek_at(&mut self, n: usize) -> Lexeme {
        if self.filled <= n {
            self.fill(n);
        }
        self.ahead.get(n).copied().unwrap_or(NOTHING)
    }

    fn fill(&mut self, n: usize) {
        while self.filled <= n {
            let before = self.filled.checked_sub(1).and_then(|last| self.ahead.get(last)).copied();
            let lexeme = match before {
                Some(before) if before.is_end() => before,
                _ => self.read(),
            };
            let Some(slot) = self.ahead.get_mut(self.filled) else { return };
            *slot = lexeme;
            self.filled = self.filled.saturating_add(1);
        }
    }

    #[inline]
    pub(super) fn peek(&mut self) -> Lexeme {
        self.peek_at(0)
    }

    /// The next lexeme. The end of the statement is never passed but by [`Self::pass_end`].
    pub(super) fn next(&mut self) -> Lexeme {
        let lexeme = self.peek();
        if !lexeme.is_end() {
            self.shift();
            self.last = lexeme;
        }
        lexeme
    }

    fn shift(&mut self) {
        let [_, second, third, fourth] = self.ahead;
        self.ahead = [second, third, fourth, NOTHING];
        self.filled = self.filled.saturating_sub(1);
    }

    /// Passes `( … )` if it holds nothing but literals, and with `rows` also further ones after commas. There is nothing
    /// to be found in them, however long they are.
    pub(super) fn eat_literals(&mut self, rows: bool) -> bool {
        // What was read ahead is not to be read again.
        let ahead = self.filled != 1 || !self.peek().is(b'(');
        if ahead || !self.lexer.skip_literals(rows) {
            return false;
        }
        let end = place(self.lexer.at());
        let start = end.saturating_sub(1);
        self.last = Lexeme { kind: TokenKind::Sign(b')'), keyword: Keyword::None, start, end };
        self.filled = 0;
        true
    }

    /// Passes the `;` that ends a statement; `None` at the end of the text.
    pub(super) fn pass_end(&mut self) -> Option<Lexeme> {
        let end = self.peek();
        if !end.is(b';') {
            return None;
        }
        self.filled = 0;
        self.last = NOTHING;
        Some(end)
    }

    /// Reads to the end of the text, as part of the present statement.
    pub(super) fn swallow(&mut self) {
        loop {
            while !self.next().is_end() {}
            if self.pass_end().is_none() {
                return;
            }
        }
    }

    pub(super) fn bytes(&mut self, lexeme: Lexeme) -> &'a [u8] {
        // Whatever was seen of a literal may be in the facts.
        self.saw_literal |= lexeme.is_literal();
        self.sql.get(lexeme.range()).unwrap_or_default()
    }

    pub(super) fn peek_keyword(&mut self) -> Keyword {
        self.peek().keyword
    }

    pub(super) fn at(&mut self, keyword: Keyword) -> bool {
        self.peek_keyword() == keyword
    }

    /// Passes a keyword if it is next.
    pub(super) fn eat(&mut self, keyword: Keyword) -> bool {
        let found = self.at(keyword);
        if found {
            self.next();
        }
        found
    }

    pub(super) fn eat_sign(&mut self, sign: u8) -> bool {
        let found = self.peek().is(sign);
        if found {
            self.next();
        }
        found
    }

    /// Passes any number of these keywords.
    pub(super) fn eat_all(&mut self, keywords: &[Keyword]) {
        while keywords.contains(&self.peek_keyword()) {
            self.next();
        }
    }

    pub(super) fn expect(&mut self, keyword: Keyword) -> Parsed {
        if self.eat(keyword) { Ok(()) } else { self.not_understood() }
    }

    pub(super) fn expect_sign(&mut self, sign: u8) -> Parsed {
        if self.eat_sign(sign) { Ok(()) } else { self.not_understood() }
    }

    pub(super) fn expect_end(&mut self) -> Parsed {
        if self.peek().is_end() { Ok(()) } else { self.not_understood() }
    }

    /// Gives up at the next token.
    pub(super) fn not_understood<T>(&mut self) -> Parsed<T> {
        Err(NotUnderstood(self.peek().range()))
    }

    /// Passes `IF EXISTS` or `IF NOT EXISTS`.
    pub(super) fn eat_if_exists(&mut self) -> Parsed {
        if self.eat(Keyword::IF) {
            self.eat(Keyword::NOT);
            self.expect(Keyword::EXISTS)?;
        }
        Ok(())
    }

    /// Whether the next lexeme is this word, whatever its case; for words too rare to be keywords.
    pub(super) fn at_word(&mut self, word: &str) -> bool {
        let next = self.peek();
        next.kind == TokenKind::Word && self.bytes(next).eq_ignore_ascii_case(word.as_bytes())
    }

    /// An identifier as text: unquoted, as it was written.
    pub(super) fn name_text(&mut self, lexeme: Lexeme) -> String {
        let bytes = unquoted(self.bytes(lexeme), lexeme.kind == TokenKind::QuotedName);
        if self.dialect.charset != Charset::Utf8 && !bytes.is_ascii() {
            // The same table would have another name to a session with another character set.
            self.touch_all_tables(Why::UnknownTable, lexeme);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// An identifier as it is compared: unquoted, in lower case.
    pub(super) fn folded(&mut self, lexeme: Lexeme) -> String {
        let text = self.name_text(lexeme);
        if text.is_ascii() {
            let mut text = text;
            text.make_ascii_lowercase();
            return text;
        }
        text.to_lowercase()
    }

    pub(super) fn identifier(&mut self) -> Parsed<Lexeme> {
        if self.peek().is_name() { Ok(self.next()) } else { self.not_understood() }
    }

    /// `[schema.]name`, also `.name`.
    pub(super) fn qualified_name(&mut self) -> Parsed<TableName> {
        self.eat_sign(b'.');
        let first = self.identifier()?;
        let mut name = self.folded(first);
        let mut schema = None;
        if self.eat_sign(b'.') {
            let second = self.identifier()?;
            schema = Some(std::mem::replace(&mut name, self.folded(second)));
        }
        Ok(TableName { schema, name })
    }

    /// Sets why the statement must stay on the primary, unless something before already has.
    pub(super) fn decide(&mut self, why: Why, lexeme: Lexeme) {
        if self.besides.is_none() && why != Why::UnknownFunction {
            self.besides = Some(why);
        }
        if self.facts.why.is_none() {
            self.facts.why = Some(why);
            self.facts.token = Some(lexeme.range());
        }
    }

    /// Sets what the statement is, at the word that tells.
    pub(super) fn is(&mut self, kind: Kind, why: Why, lexeme: Lexeme) {
        self.facts.kind = kind;
        self.decide(why, lexeme);
    }

    pub(super) fn touch_all_tables(&mut self, why: Why, lexeme: Lexeme) {
        self.facts.all_tables = true;
        self.decide(why, lexeme);
    }

    /// Notes an effect, but not the same one twice in a row.
    pub(super) fn effect(&mut self, effect: Effect) {
        if self.facts.effects.last() != Some(&effect) {
            self.facts.effects.push(effect);
        }
    }

    pub(super) fn reads(&mut self, table: TableName) {
        Self::note(&mut self.facts.tables_read, table, &mut self.facts.all_tables);
    }

    pub(super) fn writes(&mut self, table: TableName) {
        Self::note(&mut self.facts.tables_written, table, &mut self.facts.all_tables);
    }

    pub(super) fn reads_information_schema(&mut self, name: &str) {
        self.reads(TableName { schema: Some("information_schema".to_owned()), name: name.to_owned() });
    }

    /// Notes a user variable by its token.
    pub(super) fn mentions(&mut self, variable: Lexeme) -> String {
        let name = user_variable(self.bytes(variable));
        let known = &mut self.facts.user_variables;
        if !known.contains(&name) {
            if known.len() >= MOST_NAMES {
                self.facts.all_tables = true;
                self.decide(Why::UnknownStatement, variable);
                return name;
            }
            self.facts.user_variables.push(name.clone());
        }
        name
    }

    /// Notes a call of a function that is not built in.
    pub(super) fn calls_unknown(&mut self, function: TableName, lexeme: Lexeme) {
        self.decide(Why::UnknownFunction, lexeme);
        self.calls_routine = true;
        if self.facts.functions.len() >= MOST_NAMES {
            self.facts.all_tables = true;
            self.besides.get_or_insert(Why::UnknownFunction);
        } else if !self.facts.functions.contains(&function) {
            let name = &function.name;
            self.facts
                .assumed
                .push(format!("{name} is no known built-in function: taken for one that writes"));
            self.facts.functions.push(function);
        }
        if self.facts.kind == Kind::Read {
            self.facts.kind = Kind::Write;
            self.read_apart = true;
        }
    }

    pub(super) fn call(&mut self, name: Lexeme, spaced: bool) -> Call {
        Call::of(self.bytes(name), spaced, self.dialect)
    }

    fn note(tables: &mut Vec<TableName>, table: TableName, all_tables: &mut bool) {
        if tables.contains(&table) {
            return;
        }
        if tables.len() >= MOST_NAMES {
            *all_tables = true;
        } else {
            tables.push(table);
        }
    }
}

/// An identifier without its quotes, doubled ones made single.
fn unquoted(token: &[u8], quoted: bool) -> std::borrow::Cow<'_, [u8]> {
    match token {
        [quote, inner @ .., _] if quoted => {
            if !inner.contains(quote) {
                return inner.into();
            }
            let mut text = Vec::with_capacity(inner.len());
            let mut bytes = inner.iter();
            while let Some(byte) = bytes.next() {
                text.push(*byte);
                if byte == quote {
                    bytes.next();
                }
            }
            text.into()
        }
        _ => token.into(),
    }
}

/// The name in `@name`, `@'name'` or `` @`name` ``, in lower case. Escapes are left as they are: the same name spelt
/// in two ways then counts as two, which no rule minds.
fn user_variable(token: &[u8]) -> String {
    let name = match token {
        [b'@', b'\'' | b'"' | b'`', inner @ .., _] => inner,
        [b'@', name @ ..] => name,
        _ => token,
    };
    String::from_utf8_lossy(name).to_lowercase()
}

/// The bytes of a plain string literal, in lower case; `None` where an escape or a prefix makes them uncertain.
pub(super) fn plain_text(token: &[u8]) -> Option<Vec<u8>> {
    match token {
        [quote @ (b'\'' | b'"'), inner @ .., _] if !inner.contains(quote) && !inner.contains(&b'\\') => {
            Some(inner.to_ascii_lowercase())
        }
        _ => None,
    }
}
