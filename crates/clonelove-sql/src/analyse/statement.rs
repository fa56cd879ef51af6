//! Which statement it is, by its first words; and those statements that need no file of their own.

use super::parser::{Lexeme, Parsed, Parser};
use super::query::{Clause, Until};
use crate::facts::{Effect, Kind, Previous, TableName, Why};
use crate::lexer::TokenKind;
use crate::words::Keyword;

impl Parser<'_> {
    /// Reads one statement, and leaves its end ahead.
    pub(super) fn statement(&mut self) -> Parsed {
        let first = self.peek();
        if first.is(b'(') {
            return self.query_statement();
        }
        match first.keyword {
            Keyword::SELECT | Keyword::VALUES | Keyword::TABLE => self.query_statement(),
            Keyword::WITH => self.with_statement(),
            _ => {
                self.next();
                self.other_statement(first)
            }
        }
    }

    /// Any statement but a query; its first word is passed.
    fn other_statement(&mut self, first: Lexeme) -> Parsed {
        match first.keyword {
            Keyword::INSERT | Keyword::REPLACE => self.insert(first),
            Keyword::UPDATE => self.update(first),
            Keyword::DELETE => self.delete(first),
            Keyword::LOAD => self.load(first),
            Keyword::SET => self.set(first),
            Keyword::SHOW => self.show(first),
            Keyword::DESC | Keyword::DESCRIBE | Keyword::EXPLAIN => self.explain(),
            Keyword::ANALYZE => self.analyze(first),
            Keyword::START | Keyword::BEGIN | Keyword::COMMIT | Keyword::ROLLBACK => self.transaction(first),
            Keyword::SAVEPOINT | Keyword::RELEASE => self.savepoint(first),
            Keyword::XA => self.xa(first),
            Keyword::LOCK | Keyword::UNLOCK => self.lock(first),
            Keyword::CREATE => self.create(first),
            Keyword::ALTER => self.alter(first),
            Keyword::DROP => self.drop_statement(first),
            Keyword::RENAME => self.rename(first),
            Keyword::TRUNCATE => self.truncate(first),
            Keyword::USE => self.use_schema(first),
            Keyword::CALL => self.call_procedure(first),
            Keyword::DO => self.do_expressions(first),
            Keyword::HANDLER => self.handler(first),
            Keyword::PREPARE | Keyword::EXECUTE | Keyword::DEALLOCATE => self.prepared(first),
            Keyword::HELP => self.help(first),
            Keyword::GET | Keyword::SIGNAL | Keyword::RESIGNAL => self.diagnostics(first),
            _ => self.administrative(first),
        }
    }

    /// WITH … SELECT, UPDATE, DELETE, …
    fn with_statement(&mut self) -> Parsed {
        self.next();
        self.common_table_expressions()?;
        let verb = self.peek();
        match verb.keyword {
            Keyword::UPDATE | Keyword::DELETE | Keyword::INSERT | Keyword::REPLACE => {
                // What the expressions alone had decided gives way to the write that they serve.
                self.facts.why = None;
                self.besides = None;
                self.next();
                self.other_statement(verb)
            }
            Keyword::SELECT | Keyword::VALUES | Keyword::TABLE => self.query_statement(),
            _ if verb.is(b'(') => self.query_statement(),
            _ => self.not_understood(),
        }
    }

    fn use_schema(&mut self, first: Lexeme) -> Parsed {
        self.is(Kind::Session, Why::SessionSetting, first);
        let name = self.identifier()?;
        let name = self.name_text(name);
        self.effect(Effect::UseSchema(name));
        self.expect_end()
    }

    fn call_procedure(&mut self, first: Lexeme) -> Parsed {
        self.is(Kind::Write, Why::Write, first);
        self.calls_routine = true;
        let procedure = self.qualified_name()?;
        self.facts.assumed.push(format!("procedure {} unknown: may touch all tables", procedure.name));
        self.effect(Effect::Call(procedure));
        if self.peek().is(b'(') {
            self.parentheses(Clause::Expression)?;
        }
        self.expect_end()
    }

    fn do_expressions(&mut self, first: Lexeme) -> Parsed {
        self.is(Kind::Write, Why::SideEffect, first);
        self.scan(Clause::Expression, Until::End)?;
        self.expect_end()
    }

    fn handler(&mut self, first: Lexeme) -> Parsed {
        self.is(Kind::Session, Why::SideEffect, first);
        let table = self.qualified_name()?;
        let name = table.name.clone();
        match self.next().keyword {
            Keyword::OPEN => {
                self.reads(table);
                self.eat(Keyword::AS);
                let alias = if self.peek().is_end() {
                    name
                } else {
                    let alias = self.identifier()?;
                    self.folded(alias)
                };
                self.effect(Effect::HandlerOpen(alias));
                self.expect_end()
            }
            Keyword::CLOSE => {
                self.effect(Effect::HandlerClose(name));
                self.expect_end()
            }
            Keyword::READ => {
                self.facts.kind = Kind::Read;
                // The name may be an alias of the table that was opened.
                self.facts.all_tables = true;
                self.reads(table);
                self.scan(Clause::Expression, Until::End)
            }
            _ => self.not_understood(),
        }
    }

    fn prepared(&mut self, first: Lexeme) -> Parsed {
        self.is(Kind::Session, Why::SideEffect, first);
        match first.keyword {
            Keyword::PREPARE => {
                let name = self.statement_name()?;
                self.effect(Effect::PrepareText(name));
                self.expect(Keyword::FROM)?;
                self.scan(Clause::Expression, Until::End)
            }
            Keyword::DEALLOCATE => {
                self.expect(Keyword::PREPARE)?;
                self.deallocate()
            }
            _ => {
                self.facts.kind = Kind::Write;
                self.facts.all_tables = true;
                let immediate = self.at(Keyword::IMMEDIATE) && {
                    let after = self.peek_at(1);
                    !(after.is_end() || after.keyword == Keyword::USING)
                };
                let name = if immediate {
                    self.next();
                    String::new()
                } else {
                    self.statement_name()?
                };
                self.effect(Effect::ExecuteText(name));
                self.scan(Clause::Expression, Until::End)
            }
        }
    }

    /// The rest of DEALLOCATE PREPARE and DROP PREPARE.
    pub(super) fn deallocate(&mut self) -> Parsed {
        let name = self.statement_name()?;
        self.effect(Effect::DeallocateText(name));
        self.expect_end()
    }

    fn statement_name(&mut self) -> Parsed<String> {
        let name = self.identifier()?;
        Ok(self.folded(name))
    }

    fn help(&mut self, first: Lexeme) -> Parsed {
        self.is(Kind::Read, Why::ServerSpecific, first);
        self.next();
        self.expect_end()
    }

    /// GET DIAGNOSTICS, SIGNAL, RESIGNAL.
    fn diagnostics(&mut self, first: Lexeme) -> Parsed {
        self.facts.kind = Kind::Session;
        self.effect(Effect::Diagnostics);
        if first.keyword == Keyword::GET {
            self.asks_previous(Previous::DIAGNOSTICS, first);
            if !self.eat(Keyword::CURRENT) && self.at_word("STACKED") {
                self.next();
            }
            self.expect(Keyword::DIAGNOSTICS)?;
            self.effect(Effect::UserVariableWritten);
        } else {
            self.decide(Why::SideEffect, first);
        }
        self.scan(Clause::Expression, Until::End)
    }

    /// What acts on the server. Their grammar is of no concern, but for what pins the session.
    fn administrative(&mut self, first: Lexeme) -> Parsed {
        match first.keyword {
            Keyword::KILL => self.effect(Effect::Kill),
            Keyword::GRANT | Keyword::REVOKE => self.effect(Effect::Accounts),
            Keyword::FLUSH => self.flush(),
            Keyword::BACKUP => match self.peek_keyword() {
                Keyword::UNLOCK => self.effect(Effect::UnlockTables),
                _ => self.effect(Effect::LockTables),
            },
            Keyword::OPTIMIZE | Keyword::REPAIR => return self.maintenance(first),
            Keyword::CHECK | Keyword::CHECKSUM => return self.maintenance(first),
            Keyword::BINLOG => {
                self.is(Kind::Write, Why::Write, first);
                self.facts.all_tables = true;
            }
            Keyword::IMPORT => {
                self.is(Kind::Ddl, Why::Ddl, first);
                self.facts.all_tables = true;
            }
            Keyword::RESET | Keyword::PURGE | Keyword::CHANGE | Keyword::STOP | Keyword::CACHE => {}
            Keyword::INSTALL | Keyword::UNINSTALL | Keyword::SHUTDOWN | Keyword::RESTART | Keyword::CLONE => {
            }
            _ => return Err(super::parser::NotUnderstood(first.range())),
        }
        self.rest_of_administrative(first)
    }

    /// Passes the rest of an administrative statement, whatever it is.
    pub(super) fn rest_of_administrative(&mut self, first: Lexeme) -> Parsed {
        if self.facts.why.is_none() {
            self.is(Kind::Admin, Why::Administrative, first);
        }
        while !self.peek().is_end() {
            if self.next().kind == TokenKind::Error {
                return Err(super::parser::NotUnderstood(first.range()));
            }
        }
        Ok(())
    }

    fn flush(&mut self) {
        if matches!(self.peek_keyword(), Keyword::NO_WRITE_TO_BINLOG | Keyword::LOCAL) {
            self.next();
        }
        match self.peek_keyword() {
            Keyword::PRIVILEGES => self.effect(Effect::Accounts),
            Keyword::TABLES | Keyword::TABLE => self.flush_tables(),
            _ => {}
        }
    }

    /// FLUSH TABLES … WITH READ LOCK, … FOR EXPORT hold locks until UNLOCK TABLES.
    fn flush_tables(&mut self) {
        while !self.peek().is_end() {
            if matches!(self.next().keyword, Keyword::LOCK | Keyword::EXPORT) {
                self.effect(Effect::LockTables);
            }
        }
    }

    /// OPTIMIZE, REPAIR, CHECK, CHECKSUM, ANALYZE TABLE a, b …
    pub(super) fn maintenance(&mut self, first: Lexeme) -> Parsed {
        self.is(Kind::Admin, Why::Administrative, first);
        self.eat_all(&[Keyword::NO_WRITE_TO_BINLOG, Keyword::LOCAL]);
        if !self.eat(Keyword::TABLES) && !self.eat(Keyword::TABLE) {
            // ANALYZE, CHECK and REPAIR of a view, of a user's statistics, …
            return self.rest_of_administrative(first);
        }
        loop {
            let table: TableName = self.qualified_name()?;
            self.writes(table);
            if !self.eat_sign(b',') {
                break;
            }
        }
        self.rest_of_administrative(first)
    }
}
