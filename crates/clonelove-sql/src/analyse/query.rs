//! Queries and expressions: which tables they read, and which of their words do more than read.
//!
//! Not a parser of the whole grammar: the server is that. It finds every table, every call and every word that locks,
//! writes or leaves something behind, wherever they stand, and gives up where it cannot be sure to.

use super::parser::{Lexeme, Parsed, Parser, plain_text};
use crate::facts::{Effect, Extent, Kind, Previous, TableName, Why};
use crate::functions::Call;
use crate::lexer::TokenKind;
use crate::names::{Variable, is_server_specific_table};
use crate::words::Keyword;

/// Deeper than this is not followed: the analysis uses the stack.
const DEEPEST: u32 = 160;

/// What is expected of the next token between two parentheses, or at the top.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clause {
    /// Expressions, and every clause made of them.
    Expression,
    /// A table, after FROM, JOIN, or a comma between tables.
    Table,
    /// What may follow a table: an alias, hints, a further table; `condition`: an expression after ON.
    Joined { condition: bool },
}

/// Where a scan ends, other than at the end of the statement or a closing parenthesis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    End,
    Comma,
    CommaOrFor,
    Word(Keyword),
}

impl Until {
    pub(super) fn ends_at(self, next: Lexeme) -> bool {
        match self {
            Until::End => false,
            Until::Comma => next.is(b','),
            Until::CommaOrFor => next.is(b',') || next.keyword == Keyword::FOR,
            Until::Word(word) => next.keyword == word,
        }
    }
}

/// The state between two parentheses, or at the top.
struct Level {
    clause: Clause,
    in_select: bool,
    from_seen: bool,
    /// After MATCH without parentheses, before its AGAINST.
    in_match: bool,
}

impl Level {
    fn new(clause: Clause, in_select: bool) -> Self {
        Level { clause, in_select, from_seen: false, in_match: false }
    }
}

impl Parser<'_> {
    /// A statement that is a query, whose first word is still ahead.
    pub(super) fn query_statement(&mut self) -> Parsed {
        self.facts.kind = Kind::Read;
        self.scan(Clause::Expression, Until::End)?;
        self.expect_end()
    }

    /// Reads on to the end of the statement, a closing parenthesis or `until`, which all stay ahead.
    pub(super) fn scan(&mut self, clause: Clause, until: Until) -> Parsed {
        let mut level = Level::new(clause, false);
        loop {
            let next = self.peek();
            match next.kind {
                _ if next.is_end() && self.depth == 0 => return self.end_of(&level),
                _ if next.is_end() => return self.not_understood(),
                TokenKind::Sign(b')') if self.depth > 0 => return self.end_of(&level),
                TokenKind::Sign(b')') | TokenKind::Error => return self.not_understood(),
                _ if until.ends_at(next) => return Ok(()),
                TokenKind::Sign(b'(') => {
                    let rows = until == Until::End && level.clause == Clause::Expression;
                    if level.clause == Clause::Table || !self.eat_literals(rows) {
                        self.parentheses_at(&mut level)?;
                    }
                }
                TokenKind::Sign(b',') => {
                    self.next();
                    if matches!(level.clause, Clause::Joined { .. }) {
                        level.clause = Clause::Table;
                    }
                }
                _ if level.clause == Clause::Table => self.table_factor(&mut level)?,
                TokenKind::Word | TokenKind::Name | TokenKind::QuotedName => self.word(&mut level)?,
                TokenKind::UserVariable => {
                    self.next();
                    self.mentions(next);
                }
                TokenKind::SystemVariable => self.system_variable()?,
                TokenKind::Assign => {
                    self.next();
                    self.decide(Why::SideEffect, next);
                    self.effect(Effect::UserVariableWritten);
                }
                _ => {
                    self.next();
                }
            }
        }
    }

    fn end_of(&mut self, level: &Level) -> Parsed {
        if level.clause == Clause::Table { self.not_understood() } else { Ok(()) }
    }

    fn parentheses_at(&mut self, level: &mut Level) -> Parsed {
        if level.clause == Clause::Table {
            level.clause = Clause::Joined { condition: false };
            return self.parentheses(Clause::Table);
        }
        self.parentheses(Clause::Expression)
    }

    /// `( … )`, with what it holds.
    pub(super) fn parentheses(&mut self, clause: Clause) -> Parsed {
        self.expect_sign(b'(')?;
        self.rest_of_parentheses(clause)
    }

    fn rest_of_parentheses(&mut self, clause: Clause) -> Parsed {
        if self.depth >= DEEPEST {
            return self.not_understood();
        }
        let in_sight = self.hidden.len();
        self.depth = self.depth.saturating_add(1);
        self.scan(clause, Until::End)?;
        self.depth = self.depth.saturating_sub(1);
        self.hidden.truncate(in_sight);
        self.expect_sign(b')')
    }

    /// A table, or what stands in its place; or the query that a parenthesis turns out to hold.
    fn table_factor(&mut self, level: &mut Level) -> Parsed {
        let next = self.peek();
        let after = self.peek_at(1);
        match next.keyword {
            // Without a parenthesis before it no query stands in the place of a table.
            Keyword::SELECT | Keyword::WITH | Keyword::VALUES | Keyword::TABLE if self.last.is(b'(') => {
                level.clause = Clause::Expression;
                return Ok(());
            }
            Keyword::LATERAL if after.is(b'(') => {
                self.next();
                return Ok(());
            }
            Keyword::JSON_TABLE if after.is(b'(') => {
                self.next();
                level.clause = Clause::Joined { condition: false };
                return self.parentheses(Clause::Expression);
            }
            Keyword::DUAL if !after.is(b'.') => {
                self.next();
                level.clause = Clause::Joined { condition: false };
                return Ok(());
            }
            _ if next.is(b'{') && after.keyword == Keyword::OJ => {
                self.next();
                self.next();
                return Ok(());
            }
            _ => {}
        }
        self.table(self.targets && !level.in_select)?;
        level.clause = Clause::Joined { condition: false };
        Ok(())
    }

    /// A table by name, unless the name is a common table expression's.
    pub(super) fn table(&mut self, written: bool) -> Parsed {
        let first = self.peek();
        if first.keyword.is_reserved() {
            return self.not_understood();
        }
        let alone = !self.peek_at(1).is(b'.');
        if alone && first.is_name() && !self.hidden.is_empty() {
            let name = self.name_text(first);
            // Compared by case, as a server with case-sensitive tables does: too many tables rather than too few.
            if self.hidden.contains(&name) {
                self.next();
                return Ok(());
            }
        }
        let table = self.qualified_name()?;
        if self.peek().is(b'(') || self.peek().is(b'.') {
            return self.not_understood();
        }
        if table.schema.as_deref().is_some_and(|schema| is_server_specific_table(schema, &table.name)) {
            self.decide(Why::ServerSpecific, first);
        }
        if written {
            self.writes(table);
        } else {
            self.reads(table);
        }
        Ok(())
    }

    /// A word where expressions, or what follows a table, stand.
    fn word(&mut self, level: &mut Level) -> Parsed {
        let word = self.peek();
        let after_dot = self.last.is(b'.');
        if after_dot && word.keyword.is_reserved() {
            return self.not_understood();
        }
        if word.kind != TokenKind::Word || after_dot {
            return self.name_chain(level);
        }
        match word.keyword {
            Keyword::None => return self.plain_word(level, word),
            Keyword::SELECT => {
                *level = Level::new(Clause::Expression, true);
                self.calls_matter = true;
            }
            Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT => {
                *level = Level::new(Clause::Expression, false);
                self.facts.extent |= Extent::SET_OPERATION;
            }
            Keyword::FROM => return self.from(level),
            Keyword::INTO => return self.into(level, word),
            Keyword::FOR => return self.for_clause(level),
            Keyword::LOCK => self.decide(Why::LockingRead, word),
            Keyword::WHERE | Keyword::GROUP | Keyword::HAVING | Keyword::ORDER => {
                level.clause = Clause::Expression;
            }
            Keyword::LIMIT => {
                level.clause = Clause::Expression;
                let skips = if self.peek_at(2).is(b',') { Extent::OFFSET } else { Extent::empty() };
                self.facts.extent |= Extent::LIMIT | skips;
            }
            Keyword::WINDOW => return self.window(level),
            Keyword::JOIN | Keyword::STRAIGHT_JOIN if matches!(level.clause, Clause::Joined { .. }) => {
                level.clause = Clause::Table;
            }
            // What would be joined behind WHERE is no table to any server.
            Keyword::JOIN => return self.not_understood(),
            Keyword::ON if matches!(level.clause, Clause::Joined { .. }) => {
                level.clause = Clause::Joined { condition: true };
            }
            Keyword::WITH => return self.with(),
            Keyword::TABLE => {
                self.next();
                return self.table(false);
            }
            Keyword::SQL_CALC_FOUND_ROWS => {
                self.decide(Why::PreviousStatement, word);
                self.effect(Effect::CalcFoundRows);
            }
            Keyword::CURRENT_USER => self.decide(Why::ServerSpecific, word),
            Keyword::NEXT | Keyword::PREVIOUS => return self.sequence_value(level, word),
            Keyword::OFFSET => {
                self.facts.extent |= Extent::OFFSET;
                return self.plain_word(level, word);
            }
            _ => return self.other_keyword(level, word),
        }
        self.next();
        Ok(())
    }

    /// A keyword that means something only in some places.
    fn other_keyword(&mut self, level: &mut Level, word: Lexeme) -> Parsed {
        let called = self.peek_at(1).is(b'(');
        let forbidden = match word.keyword {
            Keyword::INSERT | Keyword::REPLACE => !called,
            Keyword::UPDATE => !(self.last.keyword == Keyword::KEY && self.facts.kind == Kind::Write),
            Keyword::MATCH => {
                level.in_match = !called;
                false
            }
            Keyword::AGAINST if called && level.in_match => {
                // MATCH a, b AGAINST ('x')
                level.in_match = false;
                self.next();
                return Ok(());
            }
            Keyword::PROCEDURE | Keyword::DELETE | Keyword::CALL | Keyword::CREATE | Keyword::ALTER => true,
            Keyword::DROP | Keyword::GRANT | Keyword::REVOKE | Keyword::LOAD | Keyword::KILL => true,
            Keyword::PURGE | Keyword::RENAME | Keyword::RELEASE => true,
            _ => false,
        };
        // Definitions have some of these among their options (ON DELETE CASCADE).
        if forbidden && self.calls_matter {
            return self.not_understood();
        }
        self.plain_word(level, word)
    }

    /// A word without a meaning of its own here: a name, a call, or a keyword of no concern.
    fn plain_word(&mut self, level: &mut Level, word: Lexeme) -> Parsed {
        let after = self.peek_at(1);
        if !after.is(b'(') {
            if after.is(b'.') {
                return self.name_chain(level);
            }
            self.next();
            return Ok(());
        }
        if self.is_column_list(level) {
            self.next();
            return Ok(());
        }
        let call = self.call(word, !word.touches(after));
        if call.is_harmless() {
            self.next();
            return Ok(());
        }
        self.noted_call(word, call)
    }

    /// Whether a name with a parenthesis begins a list of columns (of a derived table, of an index hint), and no call.
    fn is_column_list(&self, level: &Level) -> bool {
        !self.calls_matter
            || level.clause == Clause::Joined { condition: false }
            || self.last.keyword == Keyword::AS
    }

    /// A call that is to be noted; its name is next.
    fn noted_call(&mut self, name: Lexeme, call: Call) -> Parsed {
        let (first, second) = (self.peek_at(2), self.peek_at(3));
        let before = self.last;
        match call {
            Call::Syntax | Call::Harmless => {}
            Call::AfterOperand if before.is_literal() || before.is(b')') => {}
            Call::ServerSpecific => self.decide(Why::ServerSpecific, name),
            Call::ConnectionId => {
                self.facts.previous |= Previous::CONNECTION_ID;
                self.decide(Why::ServerSpecific, name);
            }
            Call::LastInsertId => {
                self.asks_previous(Previous::LAST_INSERT_ID, name);
                if !first.is(b')') {
                    self.effect(Effect::LastInsertIdSet);
                }
            }
            Call::RowCount => self.asks_previous(Previous::ROW_COUNT, name),
            Call::FoundRows => self.asks_previous(Previous::FOUND_ROWS, name),
            Call::GetLock | Call::ReleaseLock => {
                let alone = second.is(b',') || second.is(b')');
                let lock = if alone { plain_text(self.bytes(first)) } else { None };
                self.decide(Why::SideEffect, name);
                self.effect(match call {
                    Call::GetLock => Effect::GetLock(lock),
                    _ => Effect::ReleaseLock(lock),
                });
            }
            Call::ReleaseAllLocks => {
                self.decide(Why::SideEffect, name);
                self.effect(Effect::ReleaseAllLocks);
            }
            Call::NextValue | Call::SetValue | Call::LastValue => {
                self.next();
                self.expect_sign(b'(')?;
                self.sequence(name, call != Call::LastValue)?;
                return self.rest_of_parentheses(Clause::Expression);
            }
            Call::ColumnDefault => {
                self.decide(Why::SideEffect, name);
                if self.facts.kind == Kind::Read {
                    self.facts.kind = Kind::Write;
                    self.facts.all_tables = true;
                }
            }
            Call::Unknown | Call::AfterOperand => {
                let function = TableName { schema: None, name: self.folded(name) };
                self.calls_unknown(function, name);
            }
        }
        self.next();
        Ok(())
    }

    pub(super) fn asks_previous(&mut self, what: Previous, lexeme: Lexeme) {
        self.facts.previous |= what;
        self.decide(Why::PreviousStatement, lexeme);
    }

    /// Names joined by dots; one that is called is a stored function, whatever its name.
    fn name_chain(&mut self, level: &Level) -> Parsed {
        let aliased = self.last.keyword == Keyword::AS;
        let mut schema = None;
        let mut name = self.next();
        while self.peek().is(b'.') && self.peek_at(1).is_name() {
            self.next();
            if self.peek_keyword().is_reserved() {
                return self.not_understood();
            }
            schema = Some(name);
            name = self.next();
        }
        let column_list = aliased || level.clause == Clause::Joined { condition: false };
        if self.peek().is(b'(') && self.calls_matter && (schema.is_some() || !column_list) {
            let schema = schema.map(|schema| self.folded(schema));
            let function = TableName { schema, name: self.folded(name) };
            self.calls_unknown(function, name);
        } else if let Some(sequence) = schema {
            self.sequence_member(sequence, name);
        }
        Ok(())
    }

    /// `s.nextval` and `s.currval` of MariaDB's ORACLE mode.
    fn sequence_member(&mut self, sequence: Lexeme, member: Lexeme) {
        let text = self.bytes(member);
        let is = |name: &[u8]| text.eq_ignore_ascii_case(name);
        if self.calls_matter && (is(b"nextval") || is(b"currval")) {
            let name = self.folded(sequence);
            self.writes(TableName { schema: None, name });
            self.takes_sequence_value(member, true);
        }
    }

    /// NEXT VALUE FOR s, PREVIOUS VALUE FOR s.
    fn sequence_value(&mut self, level: &mut Level, word: Lexeme) -> Parsed {
        if self.peek_at(1).keyword != Keyword::VALUE || self.peek_at(2).keyword != Keyword::FOR {
            return self.plain_word(level, word);
        }
        for _ in 0..3 {
            self.next();
        }
        self.sequence(word, word.keyword == Keyword::NEXT)
    }

    fn sequence(&mut self, at: Lexeme, written: bool) -> Parsed {
        let sequence = self.qualified_name()?;
        if written {
            self.writes(sequence);
        } else {
            self.reads(sequence);
        }
        self.takes_sequence_value(at, written);
        Ok(())
    }

    fn takes_sequence_value(&mut self, at: Lexeme, written: bool) {
        self.decide(Why::SideEffect, at);
        self.effect(Effect::LastVal);
        if written && self.facts.kind == Kind::Read {
            self.facts.kind = Kind::Write;
        }
    }

    /// FROM of a query, or of EXTRACT, TRIM and SUBSTRING.
    fn from(&mut self, level: &mut Level) -> Parsed {
        if level.in_select && !level.from_seen {
            level.from_seen = true;
            level.clause = Clause::Table;
        } else if level.in_select || self.depth == 0 {
            return self.not_understood();
        }
        self.next();
        Ok(())
    }

    fn into(&mut self, level: &mut Level, word: Lexeme) -> Parsed {
        self.next();
        self.decide(Why::SideEffect, word);
        if self.peek().kind == TokenKind::UserVariable {
            self.effect(Effect::UserVariableWritten);
        }
        level.clause = Clause::Expression;
        Ok(())
    }

    /// FOR UPDATE, FOR SHARE, and the other uses of the word.
    fn for_clause(&mut self, level: &mut Level) -> Parsed {
        let of_index_hint = matches!(self.last.keyword, Keyword::INDEX | Keyword::KEY);
        let word = self.next();
        match self.peek_keyword() {
            Keyword::UPDATE | Keyword::SHARE => {
                self.decide(Why::LockingRead, word);
                level.clause = Clause::Expression;
            }
            Keyword::SYSTEM_TIME => {
                // PERIOD FOR SYSTEM_TIME (a, b) of a definition has no table before it.
                if matches!(level.clause, Clause::Joined { .. }) {
                    level.clause = Clause::Joined { condition: true };
                }
                self.next();
                self.eat(Keyword::FROM);
                return Ok(());
            }
            Keyword::PORTION => {
                // FOR PORTION OF period FROM … TO …, of an UPDATE or DELETE
                self.next();
                self.expect(Keyword::OF)?;
                self.identifier()?;
                return self.expect(Keyword::FROM);
            }
            Keyword::JOIN | Keyword::ORDER | Keyword::GROUP if of_index_hint => {}
            _ if level.in_select || self.depth == 0 => return self.not_understood(),
            // SUBSTRING(x FROM 1 FOR 2), COLUMNS (i FOR ORDINALITY)
            _ => return Ok(()),
        }
        self.next();
        Ok(())
    }

    /// WINDOW w AS (…), which in some versions may also be an alias.
    fn window(&mut self, level: &mut Level) -> Parsed {
        if self.peek_at(1).is_name() && self.peek_at(2).keyword == Keyword::AS && self.peek_at(3).is(b'(') {
            level.clause = Clause::Expression;
        }
        self.next();
        Ok(())
    }

    /// WITH: of common table expressions, or WITH ROLLUP, WITH QUERY EXPANSION and the like.
    fn with(&mut self) -> Parsed {
        self.next();
        let (next, after) = (self.peek(), self.peek_at(1));
        let named = next.is_name() && (after.keyword == Keyword::AS || after.is(b'('));
        match next.keyword {
            Keyword::ROLLUP | Keyword::CUBE => Ok(()),
            Keyword::RECURSIVE => self.common_table_expressions(),
            _ if named => self.common_table_expressions(),
            _ => Ok(()),
        }
    }

    /// What follows WITH, up to the statement that uses it.
    pub(super) fn common_table_expressions(&mut self) -> Parsed {
        let recursive = self.eat(Keyword::RECURSIVE);
        loop {
            let name = self.identifier()?;
            let name = self.name_text(name);
            // Unless it is recursive, an expression does not see itself: the name is a table's there.
            if recursive {
                self.hidden.push(name.clone());
            }
            if self.peek().is(b'(') {
                self.parentheses(Clause::Expression)?;
            }
            self.expect(Keyword::AS)?;
            self.parentheses(Clause::Expression)?;
            if !recursive {
                self.hidden.push(name);
            }
            if self.at_word("CYCLE") {
                while !self.at_word("RESTRICT") && !self.peek().is_end() {
                    self.next();
                }
                self.next();
            }
            if !self.eat_sign(b',') {
                return Ok(());
            }
        }
    }

    /// `@@[scope.]name`
    fn system_variable(&mut self) -> Parsed {
        let start = self.next();
        let first = self.identifier()?;
        let mut name = self.folded(first);
        let mut global = false;
        while self.peek().is(b'.') && self.peek_at(1).is_name() {
            self.next();
            let scope = std::mem::take(&mut name);
            let part = self.next();
            name = self.folded(part);
            global |= !matches!(scope.as_str(), "session" | "local");
        }
        if self.peek().is(b'(') {
            return self.not_understood();
        }
        match Variable::of(&name) {
            _ if global => self.decide(Why::ServerSpecific, start),
            Variable::Carried => {}
            Variable::LastInsertId => self.asks_previous(Previous::LAST_INSERT_ID, start),
            Variable::Diagnostics => self.asks_previous(Previous::DIAGNOSTICS, start),
            Variable::ServerSpecific => self.decide(Why::ServerSpecific, start),
        }
        if name == "pseudo_thread_id" && !global {
            self.facts.previous |= Previous::CONNECTION_ID;
        }
        Ok(())
    }
}
