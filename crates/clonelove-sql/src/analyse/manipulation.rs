//! Statements that change rows: INSERT, REPLACE, UPDATE, DELETE, LOAD DATA.

use super::parser::{Lexeme, Parsed, Parser};
use super::query::{Clause, Until};
use crate::facts::{Effect, Kind, TableName, Why};
use crate::lexer::TokenKind;
use crate::words::Keyword;

impl Parser<'_> {
    /// INSERT and REPLACE; the verb is passed.
    pub(super) fn insert(&mut self, verb: Lexeme) -> Parsed {
        self.is(Kind::Write, Why::Write, verb);
        self.eat_all(&[Keyword::LOW_PRIORITY, Keyword::DELAYED, Keyword::HIGH_PRIORITY, Keyword::IGNORE]);
        self.eat(Keyword::INTO);
        let table = self.qualified_name()?;
        self.writes(table);
        if self.eat(Keyword::PARTITION) {
            self.parentheses(Clause::Expression)?;
        }
        self.scan(Clause::Expression, Until::End)?;
        self.expect_end()
    }

    /// UPDATE; the verb is passed.
    pub(super) fn update(&mut self, verb: Lexeme) -> Parsed {
        self.is(Kind::Write, Why::Write, verb);
        self.eat_all(&[Keyword::LOW_PRIORITY, Keyword::IGNORE]);
        self.targets = true;
        self.scan(Clause::Table, Until::Word(Keyword::SET))?;
        self.expect(Keyword::SET)?;
        self.scan(Clause::Expression, Until::End)?;
        self.expect_end()
    }

    /// DELETE in its three forms; the verb is passed.
    pub(super) fn delete(&mut self, verb: Lexeme) -> Parsed {
        self.is(Kind::Write, Why::Write, verb);
        self.eat_all(&[Keyword::LOW_PRIORITY, Keyword::QUICK, Keyword::IGNORE]);
        if self.at(Keyword::HISTORY) && self.peek_at(1).keyword == Keyword::FROM {
            self.next();
        }
        self.targets = true;
        if self.eat(Keyword::FROM) {
            for table in self.delete_targets()? {
                self.writes(table);
            }
            let clause = match self.eat(Keyword::USING) {
                true => Clause::Table,
                false => Clause::Joined { condition: false },
            };
            self.scan(clause, Until::End)?;
        } else {
            // Names of the tables that follow, or their aliases.
            self.delete_targets()?;
            self.expect(Keyword::FROM)?;
            self.scan(Clause::Table, Until::End)?;
        }
        self.expect_end()
    }

    /// `a, d.b.*`
    fn delete_targets(&mut self) -> Parsed<Vec<TableName>> {
        let mut targets = Vec::new();
        loop {
            let first = self.identifier()?;
            let mut target = TableName { schema: None, name: self.folded(first) };
            while self.eat_sign(b'.') {
                if self.eat_sign(b'*') {
                    break;
                }
                let name = self.identifier()?;
                let name = self.folded(name);
                target.schema = Some(std::mem::replace(&mut target.name, name));
            }
            targets.push(target);
            if !self.eat_sign(b',') {
                return Ok(targets);
            }
        }
    }

    /// LOAD DATA, LOAD XML, LOAD INDEX; the verb is passed.
    pub(super) fn load(&mut self, verb: Lexeme) -> Parsed {
        if self.eat(Keyword::INDEX) {
            return self.rest_of_administrative(verb);
        }
        self.is(Kind::Write, Why::Write, verb);
        if !self.eat(Keyword::DATA) {
            self.expect(Keyword::XML)?;
        }
        let mut table = None;
        while !self.peek().is_end() {
            let next = self.next();
            match next.keyword {
                Keyword::LOCAL => self.effect(Effect::LocalInfile),
                Keyword::INTO if self.eat(Keyword::TABLE) => {
                    table = Some(self.qualified_name()?);
                    break;
                }
                _ if next.kind == TokenKind::Error => return self.not_understood(),
                _ => {}
            }
        }
        let Some(table) = table else { return self.not_understood() };
        self.writes(table);
        let variables = self.facts.user_variables.len();
        self.scan(Clause::Joined { condition: true }, Until::End)?;
        if self.facts.user_variables.len() > variables {
            self.effect(Effect::UserVariableWritten);
        }
        self.expect_end()
    }
}
