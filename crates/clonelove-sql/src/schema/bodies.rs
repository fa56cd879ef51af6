//! What triggers, stored functions and procedures touch, by the names in their bodies.
//!
//! No parser of the stored-program language: every name that is a table's counts as that table, so that what is found
//! is never too little. A body is cut at its semicolons; a piece with a verb that writes writes all of its tables.

use crate::dialect::{Dialect, Flavour, Modes};
use crate::facts::Why;
use crate::functions::Call;
use crate::lexer::{Lexer, Token, TokenKind};
use crate::words::Keyword;

use super::id::{RoutineId, TableId};

/// Longer bodies are not looked into.
const LONGEST: usize = 4 << 20;

/// Schemas that are the server's own.
pub(super) const SYSTEM_SCHEMAS: [&str; 4] = ["information_schema", "performance_schema", "mysql", "sys"];

/// Words of the stored-program language that a parenthesis may follow.
const PROGRAM_WORDS: [&str; 4] = ["RETURN", "ELSEIF", "WHILE", "UNTIL"];

/// What exists, as far as a body can name it.
pub(super) trait Names {
    fn is_table(&self, id: TableId) -> bool;
    fn is_routine(&self, id: RoutineId) -> bool;
}

/// What one body does by itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Body {
    pub(super) reads: Vec<TableId>,
    pub(super) writes: Vec<TableId>,
    pub(super) calls: Vec<RoutineId>,
    /// It may do anything.
    pub(super) unknown: bool,
    /// Why a query that executes it belongs on the primary, apart from what it writes.
    pub(super) why: Option<Why>,
    /// It may leave something in the session that executes it: a user variable, a setting, a lock, a temporary table.
    pub(super) leaves: bool,
}

impl Body {
    /// Of the text of a trigger or routine of schema `home`, stored with a sql_mode.
    pub(super) fn of(
        text: &str,
        home: &str,
        sql_mode: &str,
        server: (Flavour, u32),
        names: &impl Names,
    ) -> Body {
        let mut body = Body::default();
        if text.len() > LONGEST {
            body.unknown = true;
            return body;
        }
        let (flavour, version) = server;
        let dialect =
            Dialect { flavour, version, modes: Modes::from_sql_mode(sql_mode), ..Dialect::default() };
        let mut reader = Reader {
            text,
            home,
            dialect,
            names,
            body,
            piece: Vec::new(),
            writing: false,
            hands_out: false,
            before: ";",
        };
        reader.read();
        reader.body
    }
}

struct Reader<'a, N> {
    text: &'a str,
    home: &'a str,
    dialect: Dialect,
    names: &'a N,
    body: Body,
    /// The tables since the last semicolon.
    piece: Vec<TableId>,
    writing: bool,
    /// Values go into variables in this piece: INTO, or what a procedure is called with.
    hands_out: bool,
    /// The token before.
    before: &'a str,
}

impl<'a, N: Names> Reader<'a, N> {
    fn bytes(&self, token: &Token) -> &'a str {
        self.text.get(token.range.clone()).unwrap_or_default()
    }

    fn read(&mut self) {
        let dialect = self.dialect;
        let mut lexer = Lexer::new(self.text.as_bytes(), &dialect).peekable();
        while let Some(token) = lexer.next() {
            let word = match token.kind {
                TokenKind::Word => Keyword::of(self.bytes(&token).as_bytes()),
                _ => Keyword::None,
            };
            match token.kind {
                TokenKind::Error => self.body.unknown = true,
                TokenKind::Sign(b';') => self.end_piece(),
                TokenKind::SystemVariable => self.decide(Why::ServerSpecific),
                TokenKind::Assign => self.body.leaves = true,
                TokenKind::UserVariable => {
                    self.decide(Why::SideEffect);
                    self.body.leaves |= self.hands_out;
                }
                TokenKind::Word | TokenKind::Name | TokenKind::QuotedName => {
                    let mut chain = vec![token.clone()];
                    while lexer.next_if(|token| token.kind == TokenKind::Sign(b'.')).is_some() {
                        let Some(part) = lexer.next_if(is_name) else { break };
                        chain.push(part);
                    }
                    let called = lexer.peek().is_some_and(|token| token.kind == TokenKind::Sign(b'('));
                    let spaced = match (chain.last(), lexer.peek()) {
                        (Some(name), Some(next)) => name.range.end != next.range.start,
                        _ => false,
                    };
                    self.session(word);
                    self.chain(&chain, word, called.then_some(spaced));
                }
                _ => {}
            }
            self.before = self.bytes(&token);
        }
        self.end_piece();
    }

    fn end_piece(&mut self) {
        for table in self.piece.drain(..) {
            let into = if self.writing { &mut self.body.writes } else { &mut self.body.reads };
            if !into.contains(&table) {
                into.push(table);
            }
        }
        self.writing = false;
        self.hands_out = false;
    }

    fn decide(&mut self, why: Why) {
        self.body.why.get_or_insert(why);
    }

    /// Names joined by dots; `called`: a parenthesis follows, and whether white space stands before it.
    fn chain(&mut self, chain: &[Token], word: Keyword, called: Option<bool>) {
        let name = |at: usize| chain.get(at).map(|token| unquoted(self.bytes(token))).unwrap_or_default();
        let (first, second) = (name(0), name(1));
        let alone = chain.len() == 1;
        let own = TableId::of(self.home, &first);
        let other = TableId::of(&first, &second);
        let mut found = false;
        for id in [Some(own), (!alone).then_some(other)].into_iter().flatten() {
            if self.names.is_table(id) {
                found = true;
                self.piece.push(id);
            }
        }
        if !alone && SYSTEM_SCHEMAS.iter().any(|schema| first.eq_ignore_ascii_case(schema)) {
            self.decide(Why::ServerSpecific);
        }
        if self.before.eq_ignore_ascii_case("CALL") {
            return self.calls(match alone {
                true => RoutineId::procedure(self.home, &first),
                false => RoutineId::procedure(&first, &second),
            });
        }
        let Some(spaced) = called else { return self.word(word) };
        let call = match chain {
            [only] if only.kind == TokenKind::Word => {
                Call::of(self.bytes(only).as_bytes(), spaced, &self.dialect)
            }
            _ => Call::Unknown,
        };
        match call {
            Call::Syntax | Call::Harmless | Call::AfterOperand => {}
            Call::ServerSpecific => self.decide(Why::ServerSpecific),
            Call::Unknown => {
                let function = match alone {
                    true => RoutineId::function(self.home, &first),
                    false => RoutineId::function(&first, &second),
                };
                // A table before a parenthesis is followed by its columns.
                let grammar = alone && PROGRAM_WORDS.iter().any(|word| first.eq_ignore_ascii_case(word));
                if self.names.is_routine(function) || !(found || grammar) {
                    self.calls(function);
                }
            }
            _ => {
                self.body.leaves = true;
                self.decide(Why::SideEffect);
            }
        }
    }

    fn calls(&mut self, routine: RoutineId) {
        if !self.names.is_routine(routine) {
            self.body.unknown = true;
        } else if !self.body.calls.contains(&routine) {
            self.body.calls.push(routine);
        }
    }

    /// What a word may do to the session. In doubt it does.
    fn session(&mut self, word: Keyword) {
        let before = |words: &[&str]| words.iter().any(|word| self.before.eq_ignore_ascii_case(word));
        let leaves = match word {
            // SET is a statement, unless it is a part of INSERT, REPLACE, UPDATE or LOAD.
            Keyword::SET => !self.writing || before(&["THEN", "ELSE", "DO", "LOOP", "REPEAT", "BEGIN"]),
            Keyword::HANDLER => !before(&["CONTINUE", "EXIT", "UNDO"]),
            Keyword::PREPARE | Keyword::EXECUTE | Keyword::TEMPORARY | Keyword::LOCK | Keyword::XA => true,
            Keyword::SQL_CALC_FOUND_ROWS | Keyword::NEXT | Keyword::PREVIOUS | Keyword::USE => true,
            Keyword::INTO if !before(&["INSERT", "REPLACE", "IGNORE"]) => {
                self.hands_out = true;
                false
            }
            Keyword::CALL => {
                self.hands_out = true;
                false
            }
            _ => false,
        };
        self.body.leaves |= leaves;
    }

    /// A word that no parenthesis follows.
    fn word(&mut self, word: Keyword) {
        match word {
            Keyword::INSERT | Keyword::REPLACE | Keyword::UPDATE | Keyword::DELETE | Keyword::LOAD => {
                self.writing = true;
            }
            Keyword::TRUNCATE | Keyword::LOCK => self.writing = true,
            Keyword::NEXT | Keyword::PREVIOUS => self.decide(Why::SideEffect),
            Keyword::CREATE | Keyword::DROP | Keyword::ALTER | Keyword::RENAME | Keyword::GRANT => {
                self.body.unknown = true;
            }
            Keyword::PREPARE | Keyword::EXECUTE | Keyword::REVOKE => self.body.unknown = true,
            Keyword::OPTIMIZE | Keyword::REPAIR | Keyword::FLUSH => self.body.unknown = true,
            Keyword::CURRENT_USER => self.decide(Why::ServerSpecific),
            _ => {}
        }
    }
}

fn is_name(token: &Token) -> bool {
    matches!(token.kind, TokenKind::Word | TokenKind::Name | TokenKind::QuotedName)
}

/// A name without its quotes.
pub(super) fn unquoted(name: &str) -> String {
    let Some(quote @ ('`' | '"')) = name.chars().next() else { return name.to_owned() };
    let inner = name.strip_prefix(quote).and_then(|name| name.strip_suffix(quote)).unwrap_or(name);
    inner.replace(&format!("{quote}{quote}"), &quote.to_string())
}
