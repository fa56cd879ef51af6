//! Transaction control, and the locks that the servers treat as its like.

use super::parser::{Lexeme, Parsed, Parser};
use crate::facts::{Effect, Kind, TableName, Why};
use crate::words::Keyword;

impl Parser<'_> {
    /// START, BEGIN, COMMIT, ROLLBACK; the word is passed.
    pub(super) fn transaction(&mut self, first: Lexeme) -> Parsed {
        match first.keyword {
            Keyword::START if !self.at(Keyword::TRANSACTION) => return self.rest_of_administrative(first),
            _ => self.is(Kind::Transaction, Why::TransactionControl, first),
        }
        match first.keyword {
            Keyword::START => self.start_transaction()?,
            Keyword::BEGIN => {
                // BEGIN NOT ATOMIC opens a block of statements, and so does BEGIN with anything else after it.
                self.eat(Keyword::WORK);
                self.effect(Effect::Begin { read_only: None, consistent_snapshot: false });
            }
            Keyword::COMMIT => {
                self.eat(Keyword::WORK);
                let (chain, release) = self.completion()?;
                self.effect(Effect::Commit { chain, release });
            }
            _ => {
                self.eat(Keyword::WORK);
                if self.eat(Keyword::TO) {
                    self.eat(Keyword::SAVEPOINT);
                    self.identifier()?;
                    self.effect(Effect::Savepoint);
                } else {
                    let (chain, release) = self.completion()?;
                    self.effect(Effect::Rollback { chain, release });
                }
            }
        }
        self.expect_end()
    }

    /// `TRANSACTION [WITH CONSISTENT SNAPSHOT] [, READ ONLY | READ WRITE]`
    fn start_transaction(&mut self) -> Parsed {
        self.expect(Keyword::TRANSACTION)?;
        let (mut read_only, mut consistent_snapshot) = (None, false);
        while !self.peek().is_end() {
            if self.eat(Keyword::WITH) {
                self.expect(Keyword::CONSISTENT)?;
                self.expect(Keyword::SNAPSHOT)?;
                consistent_snapshot = true;
            } else {
                self.expect(Keyword::READ)?;
                read_only = Some(self.eat(Keyword::ONLY));
                if read_only == Some(false) {
                    self.expect(Keyword::WRITE)?;
                }
            }
            if !self.eat_sign(b',') {
                break;
            }
        }
        self.effect(Effect::Begin { read_only, consistent_snapshot });
        Ok(())
    }

    /// `[AND [NO] CHAIN] [[NO] RELEASE]`
    fn completion(&mut self) -> Parsed<(bool, bool)> {
        let (mut chain, mut release) = (false, false);
        if self.eat(Keyword::AND) {
            chain = !self.eat(Keyword::NO);
            self.expect(Keyword::CHAIN)?;
        }
        if self.eat(Keyword::NO) {
            self.expect(Keyword::RELEASE)?;
        } else if self.eat(Keyword::RELEASE) {
            release = true;
        }
        Ok((chain, release))
    }

    /// SAVEPOINT and RELEASE SAVEPOINT; the first word is passed.
    pub(super) fn savepoint(&mut self, first: Lexeme) -> Parsed {
        if first.keyword == Keyword::RELEASE {
            self.expect(Keyword::SAVEPOINT)?;
        }
        self.is(Kind::Transaction, Why::TransactionControl, first);
        self.identifier()?;
        self.effect(Effect::Savepoint);
        self.expect_end()
    }

    pub(super) fn xa(&mut self, first: Lexeme) -> Parsed {
        self.is(Kind::Transaction, Why::TransactionControl, first);
        self.effect(Effect::Xa);
        self.rest_of_administrative(first)
    }

    /// LOCK TABLES, LOCK INSTANCE FOR BACKUP, and their UNLOCK; the first word is passed.
    pub(super) fn lock(&mut self, first: Lexeme) -> Parsed {
        let release = first.keyword == Keyword::UNLOCK;
        self.effect(if release { Effect::UnlockTables } else { Effect::LockTables });
        if self.eat(Keyword::INSTANCE) {
            return self.rest_of_administrative(first);
        }
        self.is(Kind::Transaction, Why::TransactionControl, first);
        if !self.eat(Keyword::TABLES) {
            self.expect(Keyword::TABLE)?;
        }
        if release {
            return self.expect_end();
        }
        // Their names are of no concern, but a statement that is no list of them is none that we know.
        loop {
            let _table: TableName = self.qualified_name()?;
            while !(self.peek().is_end() || self.peek().is(b',')) {
                if !self.next().is_name() {
                    return self.not_understood();
                }
            }
            if !self.eat_sign(b',') {
                return self.expect_end();
            }
        }
    }
}
