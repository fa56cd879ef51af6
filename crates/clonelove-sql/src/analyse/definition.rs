//! Statements that define: CREATE, ALTER, DROP, RENAME, TRUNCATE.

use super::parser::{Lexeme, Parsed, Parser};
use super::query::{Clause, Until};
use crate::facts::{Effect, Kind, Why};
use crate::lexer::TokenKind;
use crate::words::Keyword;

impl Parser<'_> {
    /// CREATE; the word is passed.
    pub(super) fn create(&mut self, first: Lexeme) -> Parsed {
        self.is(Kind::Ddl, Why::Ddl, first);
        let temporary = self.definition_options()?;
        let object = self.next();
        match object.keyword {
            Keyword::TABLE => self.create_table(temporary),
            Keyword::VIEW | Keyword::SEQUENCE => {
                self.eat_if_exists()?;
                let name = self.qualified_name()?;
                self.writes(name);
                self.skip_rest()
            }
            Keyword::INDEX => self.index_of(),
            Keyword::PROCEDURE | Keyword::FUNCTION | Keyword::EVENT | Keyword::PACKAGE | Keyword::TRIGGER => {
                self.stored_program()
            }
            Keyword::USER | Keyword::ROLE => self.account(),
            Keyword::DATABASE | Keyword::SCHEMA | Keyword::SERVER | Keyword::TABLESPACE => self.skip_rest(),
            Keyword::RESOURCE => self.skip_rest(),
            _ => self.not_understood(),
        }
    }

    /// Everything between the verb and the kind of object; whether TEMPORARY was among it.
    fn definition_options(&mut self) -> Parsed<bool> {
        let mut temporary = false;
        loop {
            let option = self.peek();
            match option.keyword {
                Keyword::TEMPORARY => temporary = true,
                Keyword::OR | Keyword::REPLACE | Keyword::UNIQUE | Keyword::FULLTEXT | Keyword::SPATIAL => {}
                Keyword::ONLINE | Keyword::IGNORE => {}
                Keyword::DEFINER if self.peek_at(1).is(b'=') => {
                    self.next();
                    self.definer()?;
                    continue;
                }
                Keyword::DEFINER => {}
                // AGGREGATE, ALGORITHM = MERGE, SQL SECURITY INVOKER, OFFLINE, UNDO, …
                Keyword::None if option.kind == TokenKind::Word || option.is(b'=') => {}
                _ => return Ok(temporary),
            }
            self.next();
        }
    }

    /// `= user[@host]`, whose names may be those of objects.
    fn definer(&mut self) -> Parsed {
        self.expect_sign(b'=')?;
        let name = self.next();
        if !(name.is_name() || name.kind == TokenKind::Text) {
            return self.not_understood();
        }
        if self.peek().is(b'(') {
            self.parentheses(Clause::Expression)?;
        }
        if self.peek().kind == TokenKind::UserVariable {
            self.next();
        }
        Ok(())
    }

    fn create_table(&mut self, temporary: bool) -> Parsed {
        self.eat_if_exists()?;
        let table = self.qualified_name()?;
        if temporary {
            self.facts.kind = Kind::Write;
            self.facts.why = Some(Why::Write);
            self.effect(Effect::CreateTemporary(table.clone()));
        }
        self.writes(table);
        let inside = self.peek().is(b'(') && self.peek_at(1).keyword == Keyword::LIKE;
        if inside {
            self.next();
        }
        if self.eat(Keyword::LIKE) {
            let model = self.qualified_name()?;
            self.reads(model);
            return self.skip_rest();
        }
        self.calls_matter = false;
        self.scan(Clause::Expression, Until::End)?;
        self.expect_end()
    }

    /// `[IF NOT EXISTS] [name] … ON table …`, of an index that is created or dropped.
    fn index_of(&mut self) -> Parsed {
        while !self.eat(Keyword::ON) {
            let next = self.next();
            if next.is_end() || next.kind == TokenKind::Error {
                return self.not_understood();
            }
        }
        let table = self.qualified_name()?;
        self.writes(table);
        self.skip_rest()
    }

    /// Passes the rest of a statement that holds nothing more of concern.
    fn skip_rest(&mut self) -> Parsed {
        while !self.peek().is_end() {
            if self.peek().kind == TokenKind::Error {
                return self.not_understood();
            }
            self.next();
        }
        Ok(())
    }

    /// A body may hold `;` of its own, so that what follows one may be a further statement, or not.
    fn stored_program(&mut self) -> Parsed {
        self.skip_rest()?;
        while self.pass_end().is_some() {
            if !self.peek().is_end() {
                self.facts.all_tables = true;
            }
            self.skip_rest()?;
        }
        Ok(())
    }

    fn account(&mut self) -> Parsed {
        self.facts.kind = Kind::Admin;
        self.facts.why = Some(Why::Administrative);
        self.effect(Effect::Accounts);
        self.skip_rest()
    }

    /// ALTER; the word is passed.
    pub(super) fn alter(&mut self, first: Lexeme) -> Parsed {
        self.is(Kind::Ddl, Why::Ddl, first);
        self.definition_options()?;
        let object = self.next();
        match object.keyword {
            Keyword::TABLE => self.alter_table(),
            Keyword::VIEW | Keyword::SEQUENCE => {
                self.eat_if_exists()?;
                let name = self.qualified_name()?;
                self.writes(name);
                self.skip_rest()
            }
            Keyword::EVENT | Keyword::PROCEDURE | Keyword::FUNCTION => self.stored_program(),
            Keyword::USER | Keyword::ROLE => self.account(),
            Keyword::INSTANCE => {
                self.facts.kind = Kind::Admin;
                self.facts.why = Some(Why::Administrative);
                self.skip_rest()
            }
            Keyword::DATABASE | Keyword::SCHEMA | Keyword::SERVER | Keyword::TABLESPACE => self.skip_rest(),
            Keyword::RESOURCE => self.skip_rest(),
            _ => self.not_understood(),
        }
    }

    /// `[IF EXISTS] table …`, with the tables that it is renamed to, exchanged with, or refers to.
    fn alter_table(&mut self) -> Parsed {
        self.eat_if_exists()?;
        let table = self.qualified_name()?;
        self.writes(table);
        while !self.peek().is_end() {
            let next = self.next();
            match next.keyword {
                _ if next.kind == TokenKind::Error => return self.not_understood(),
                Keyword::RENAME => {
                    let part = matches!(self.peek_keyword(), Keyword::COLUMN | Keyword::INDEX | Keyword::KEY);
                    if !part {
                        self.eat_all(&[Keyword::TO, Keyword::AS]);
                        self.eat_sign(b'=');
                        let name = self.qualified_name()?;
                        self.writes(name);
                    }
                }
                Keyword::TABLE => {
                    let other = self.qualified_name()?;
                    self.writes(other);
                }
                Keyword::REFERENCES => {
                    let parent = self.qualified_name()?;
                    self.reads(parent);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// DROP; the word is passed.
    pub(super) fn drop_statement(&mut self, first: Lexeme) -> Parsed {
        if self.eat(Keyword::PREPARE) {
            self.is(Kind::Session, Why::SideEffect, first);
            return self.deallocate();
        }
        let temporary = self.eat(Keyword::TEMPORARY);
        if temporary {
            self.is(Kind::Write, Why::Write, first);
        } else {
            self.is(Kind::Ddl, Why::Ddl, first);
        }
        let object = self.next();
        match object.keyword {
            Keyword::TABLE | Keyword::TABLES => self.drop_list(true),
            Keyword::VIEW | Keyword::SEQUENCE => self.drop_list(false),
            Keyword::INDEX => self.index_of(),
            Keyword::USER | Keyword::ROLE => self.account(),
            Keyword::DATABASE | Keyword::SCHEMA => {
                self.facts.all_tables = true;
                self.skip_rest()
            }
            Keyword::PROCEDURE | Keyword::FUNCTION | Keyword::TRIGGER | Keyword::EVENT | Keyword::PACKAGE => {
                self.skip_rest()
            }
            Keyword::SERVER | Keyword::TABLESPACE | Keyword::RESOURCE => self.skip_rest(),
            _ => self.not_understood(),
        }
    }

    /// `[IF EXISTS] a, b … [RESTRICT | CASCADE] [WAIT n]`
    fn drop_list(&mut self, tables: bool) -> Parsed {
        self.eat_if_exists()?;
        let mut dropped = Vec::new();
        loop {
            let name = self.qualified_name()?;
            self.writes(name.clone());
            dropped.push(name);
            if !self.eat_sign(b',') {
                break;
            }
        }
        if tables {
            self.effect(Effect::DropTables(dropped));
        }
        self.skip_rest()
    }

    /// RENAME; the word is passed.
    pub(super) fn rename(&mut self, first: Lexeme) -> Parsed {
        self.is(Kind::Ddl, Why::Ddl, first);
        if self.eat(Keyword::USER) {
            return self.account();
        }
        if !self.eat(Keyword::TABLES) {
            self.expect(Keyword::TABLE)?;
        }
        self.eat_if_exists()?;
        loop {
            let from = self.qualified_name()?;
            self.writes(from);
            self.lock_wait();
            self.expect(Keyword::TO)?;
            let to = self.qualified_name()?;
            self.writes(to);
            if !self.eat_sign(b',') {
                return self.expect_end();
            }
        }
    }

    /// TRUNCATE; the word is passed.
    pub(super) fn truncate(&mut self, first: Lexeme) -> Parsed {
        self.is(Kind::Ddl, Why::Ddl, first);
        self.eat(Keyword::TABLE);
        let table = self.qualified_name()?;
        self.writes(table);
        self.lock_wait();
        self.expect_end()
    }

    /// `[WAIT n | NOWAIT]`
    fn lock_wait(&mut self) {
        if self.eat(Keyword::WAIT) {
            self.next();
        } else {
            self.eat(Keyword::NOWAIT);
        }
    }
}
