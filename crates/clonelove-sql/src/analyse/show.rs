//! SHOW, DESCRIBE, EXPLAIN and ANALYZE.

use super::parser::{Lexeme, Parsed, Parser};
use super::query::{Clause, Until};
use crate::facts::{Effect, Kind, Previous, TableName, Why};
use crate::lexer::TokenKind;
use crate::words::Keyword;

impl Parser<'_> {
    /// SHOW; the word is passed. Only what is replicated with the definitions may be asked of a replica.
    pub(super) fn show(&mut self, first: Lexeme) -> Parsed {
        self.facts.kind = Kind::Read;
        self.eat_all(&[Keyword::EXTENDED, Keyword::FULL]);
        let object = self.next();
        match object.keyword {
            Keyword::DATABASES | Keyword::SCHEMAS => self.reads_information_schema("schemata"),
            Keyword::TABLES => {
                self.reads_information_schema("tables");
                self.of_schema()?;
            }
            Keyword::COLUMNS | Keyword::FIELDS => {
                self.reads_information_schema("columns");
                self.of_table()?;
            }
            Keyword::INDEX | Keyword::INDEXES | Keyword::KEYS => {
                self.reads_information_schema("statistics");
                self.of_table()?;
            }
            Keyword::WARNINGS | Keyword::ERRORS => self.asks_diagnostics(object),
            Keyword::COUNT if self.peek_at(3).keyword == Keyword::WARNINGS => self.asks_diagnostics(object),
            Keyword::COUNT if self.peek_at(3).keyword == Keyword::ERRORS => self.asks_diagnostics(object),
            Keyword::End => return self.not_understood(),
            _ => return self.show_of_server(first),
        }
        // LIKE, or WHERE with any expression
        self.scan(Clause::Expression, Until::End)?;
        self.expect_end()
    }

    fn asks_diagnostics(&mut self, object: Lexeme) {
        self.asks_previous(Previous::DIAGNOSTICS, object);
        self.effect(Effect::Diagnostics);
    }

    /// Anything else that can be shown; what stands there is of no concern.
    fn show_of_server(&mut self, first: Lexeme) -> Parsed {
        self.decide(Why::ServerSpecific, first);
        self.rest_of_administrative(first)?;
        self.facts.kind = Kind::Read;
        Ok(())
    }

    fn of_schema(&mut self) -> Parsed {
        if self.eat(Keyword::FROM) || self.eat(Keyword::IN) {
            self.identifier()?;
        }
        Ok(())
    }

    /// `FROM table [FROM schema]`
    fn of_table(&mut self) -> Parsed {
        if !self.eat(Keyword::FROM) {
            self.expect(Keyword::IN)?;
        }
        let mut table = self.qualified_name()?;
        if self.eat(Keyword::FROM) || self.eat(Keyword::IN) {
            let schema = self.identifier()?;
            table.schema = Some(self.folded(schema));
        }
        self.reads(table);
        Ok(())
    }

    /// DESCRIBE, DESC, EXPLAIN; the word is passed. Of a statement, they are taken for the statement itself: what the
    /// servers evaluate in explaining is not always nothing.
    pub(super) fn explain(&mut self) -> Parsed {
        if self.eat(Keyword::ANALYZE) {
            return self.explained_statement();
        }
        let after = self.peek_at(1);
        let is_table = self.peek().is_name() && (after.is_end() || after.is(b'.'));
        match self.peek_keyword() {
            _ if is_table => return self.describe(),
            Keyword::EXTENDED | Keyword::PARTITIONS if is_statement_verb(after) => {
                self.next();
            }
            _ => {}
        }
        if is_statement_verb(self.peek()) || self.at(Keyword::FORMAT) || self.at(Keyword::FOR) {
            return self.explained_statement();
        }
        self.describe()
    }

    /// `[FORMAT = name] statement`, or `FOR CONNECTION n`
    fn explained_statement(&mut self) -> Parsed {
        if self.eat(Keyword::FORMAT) {
            self.expect_sign(b'=')?;
            self.next();
        }
        let verb = self.peek();
        if verb.keyword == Keyword::FOR && self.peek_at(1).keyword == Keyword::CONNECTION {
            self.facts.kind = Kind::Read;
            self.decide(Why::ServerSpecific, verb);
            for _ in 0..3 {
                self.next();
            }
            return self.expect_end();
        }
        if !is_statement_verb(verb) {
            return self.not_understood();
        }
        self.statement()
    }

    /// `[schema.]table [column | 'pattern']`
    fn describe(&mut self) -> Parsed {
        if self.peek_keyword().is_reserved() {
            return self.not_understood();
        }
        self.facts.kind = Kind::Read;
        self.reads_information_schema("columns");
        let table: TableName = self.qualified_name()?;
        self.reads(table);
        if self.peek().is_name() || self.peek().kind == TokenKind::Text {
            self.next();
        }
        self.expect_end()
    }

    /// ANALYZE TABLE, or MariaDB's ANALYZE of a statement, which it executes; the word is passed.
    pub(super) fn analyze(&mut self, first: Lexeme) -> Parsed {
        let statement = is_statement_verb(self.peek()) && !self.at(Keyword::TABLE);
        if statement || self.at(Keyword::FORMAT) {
            return self.explained_statement();
        }
        self.maintenance(first)
    }
}

/// Whether a statement that can be explained begins here.
fn is_statement_verb(word: Lexeme) -> bool {
    word.is(b'(')
        || matches!(
            word.keyword,
            Keyword::SELECT
                | Keyword::WITH
                | Keyword::VALUES
                | Keyword::TABLE
                | Keyword::INSERT
                | Keyword::REPLACE
        )
        || matches!(word.keyword, Keyword::UPDATE | Keyword::DELETE)
}
