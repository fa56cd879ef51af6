//! SET in all its forms.

use super::parser::{Lexeme, Parsed, Parser};
use super::query::{Clause, Until};
use crate::facts::{Assignment, Effect, Kind, Setting, Value, Why};
use crate::lexer::TokenKind;
use crate::words::Keyword;

/// Whose a setting is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// Not said: the session's, but for the characteristics of transactions, which are the next one's then.
    Unsaid,
    Session,
    Global,
}

impl Parser<'_> {
    /// SET; the word is passed.
    pub(super) fn set(&mut self, first: Lexeme) -> Parsed {
        let next = self.peek();
        let after = self.peek_at(1);
        match (next.keyword, after.keyword) {
            (Keyword::STATEMENT, _) if after.is_name() => return self.set_statement(first),
            (Keyword::TRANSACTION, _) => return self.set_transaction(first, Scope::Unsaid),
            (Keyword::SESSION | Keyword::LOCAL, Keyword::TRANSACTION) => {
                self.next();
                return self.set_transaction(first, Scope::Session);
            }
            (Keyword::GLOBAL, Keyword::TRANSACTION) => {
                self.next();
                return self.set_transaction(first, Scope::Global);
            }
            (Keyword::PASSWORD, _) => {
                self.effect(Effect::GlobalSetting);
                self.effect(Effect::Accounts);
                return self.rest_of_administrative(first);
            }
            (Keyword::DEFAULT, Keyword::ROLE) => {
                self.effect(Effect::GlobalSetting);
                self.effect(Effect::Accounts);
                return self.rest_of_administrative(first);
            }
            (Keyword::ROLE, _) if !(after.is(b'=') || after.kind == TokenKind::Assign) => {
                return self.set_role(first);
            }
            (Keyword::RESOURCE, Keyword::GROUP) => return self.not_understood(),
            _ => {}
        }
        self.set_list(first)
    }

    fn set_role(&mut self, first: Lexeme) -> Parsed {
        self.is(Kind::Session, Why::SessionSetting, first);
        self.next();
        let value = if self.at(Keyword::DEFAULT) { Value::Default } else { Value::Literal };
        self.effect(Effect::Settings(vec![Assignment { target: Setting::Role, value }]));
        self.scan(Clause::Expression, Until::End)?;
        self.expect_end()
    }

    /// `TRANSACTION characteristic [, characteristic]`
    fn set_transaction(&mut self, first: Lexeme, scope: Scope) -> Parsed {
        self.expect(Keyword::TRANSACTION)?;
        let mut targets = Vec::new();
        loop {
            if self.eat(Keyword::ISOLATION) {
                self.expect(Keyword::LEVEL)?;
                targets.push(Setting::IsolationLevel);
                // READ COMMITTED, REPEATABLE READ, SERIALIZABLE, …
                while self.peek().is_name() {
                    self.next();
                }
            } else {
                self.expect(Keyword::READ)?;
                if !self.eat(Keyword::ONLY) {
                    self.expect(Keyword::WRITE)?;
                }
                targets.push(Setting::AccessMode);
            }
            if !self.eat_sign(b',') {
                break;
            }
        }
        match scope {
            Scope::Unsaid => {
                self.is(Kind::Transaction, Why::TransactionControl, first);
                self.effect(Effect::SetTransactionOnce);
            }
            Scope::Session => {
                self.is(Kind::Session, Why::SessionSetting, first);
                let literal = |target| Assignment { target, value: Value::Literal };
                self.effect(Effect::Settings(targets.into_iter().map(literal).collect()));
            }
            Scope::Global => {
                self.is(Kind::Admin, Why::Administrative, first);
                self.effect(Effect::GlobalSetting);
            }
        }
        self.expect_end()
    }

    /// SET STATEMENT a = 1, b = 2 FOR statement (MariaDB): settings for that statement alone.
    fn set_statement(&mut self, first: Lexeme) -> Parsed {
        self.next();
        loop {
            self.identifier()?;
            while self.eat_sign(b'.') {
                self.identifier()?;
            }
            self.assignment_sign()?;
            self.setting_value(Until::CommaOrFor)?;
            if !self.eat_sign(b',') {
                break;
            }
        }
        self.expect(Keyword::FOR)?;
        self.statement()?;
        if self.facts.why.is_none() {
            self.decide(Why::SessionSetting, first);
        }
        Ok(())
    }

    /// A list of assignments.
    fn set_list(&mut self, first: Lexeme) -> Parsed {
        let mut settings = Vec::new();
        let mut scoped_before = false;
        loop {
            self.assignment(&mut settings, &mut scoped_before)?;
            if !self.eat_sign(b',') {
                break;
            }
        }
        self.expect_end()?;
        if !settings.is_empty() {
            self.effect(Effect::Settings(settings));
        }
        let global = self.facts.effects.contains(&Effect::GlobalSetting);
        // Where an expression has decided already, that says more.
        match global {
            true => self.is(Kind::Admin, Why::Administrative, first),
            false => self.is(Kind::Session, Why::SessionSetting, first),
        }
        Ok(())
    }

    fn assignment(&mut self, settings: &mut Vec<Assignment>, scoped_before: &mut bool) -> Parsed {
        let (target, after) = (self.peek(), self.peek_at(1));
        let assigned = after.is(b'=') || after.kind == TokenKind::Assign;
        match target.keyword {
            _ if target.kind == TokenKind::UserVariable => return self.user_variable_assignment(settings),
            Keyword::NAMES if !assigned => return self.names(settings, Setting::Names),
            Keyword::CHARSET if !assigned => return self.names(settings, Setting::CharacterSet),
            _ if after.keyword == Keyword::SET
                && (target.keyword == Keyword::CHARACTER || self.at_word("CHAR")) =>
            {
                self.next();
                return self.names(settings, Setting::CharacterSet);
            }
            _ => {}
        }
        let dotted = target.kind == TokenKind::SystemVariable;
        if dotted {
            self.next();
        }
        let scope = self.scope(dotted)?;
        let name = self.variable_name()?;
        self.assignment_sign()?;
        let value = self.setting_value(Until::Comma)?;
        // To old versions, GLOBAL and SESSION hold for what follows them without a scope of its own; to others not.
        if scope == Scope::Unsaid && *scoped_before {
            self.note_setting(settings, name.clone(), value, Scope::Session);
        }
        *scoped_before |= scope != Scope::Unsaid;
        // Without a scope, only `@@` before a variable of transactions means the next one.
        let scope = if scope == Scope::Unsaid && !dotted { Scope::Session } else { scope };
        self.note_setting(settings, name, value, scope);
        Ok(())
    }

    fn assignment_sign(&mut self) -> Parsed {
        if self.peek().kind == TokenKind::Assign {
            self.next();
            return Ok(());
        }
        self.expect_sign(b'=')
    }

    /// `GLOBAL`, `SESSION` and so on before a variable; joined to it by a dot after `@@`.
    fn scope(&mut self, dotted: bool) -> Parsed<Scope> {
        let (word, after) = (self.peek(), self.peek_at(1));
        if !word.is_name() || !(if dotted { after.is(b'.') } else { after.is_name() }) {
            return Ok(Scope::Unsaid);
        }
        let text = self.folded(word);
        let scope = match text.as_str() {
            "session" | "local" => Scope::Session,
            "global" | "persist" | "persist_only" => Scope::Global,
            _ if dotted => return Ok(Scope::Unsaid),
            _ => return self.not_understood(),
        };
        self.next();
        if dotted {
            self.expect_sign(b'.')?;
        }
        Ok(scope)
    }

    fn variable_name(&mut self) -> Parsed<String> {
        let first = self.identifier()?;
        let mut name = self.folded(first);
        while self.eat_sign(b'.') {
            let part = self.identifier()?;
            let part = self.folded(part);
            name.push('.');
            name.push_str(&part);
        }
        Ok(name)
    }

    fn note_setting(&mut self, settings: &mut Vec<Assignment>, name: String, value: Value, scope: Scope) {
        let of_transaction = matches!(
            name.as_str(),
            "tx_isolation" | "transaction_isolation" | "tx_read_only" | "transaction_read_only"
        );
        match scope {
            Scope::Global => return self.effect(Effect::GlobalSetting),
            Scope::Unsaid if of_transaction => return self.effect(Effect::SetTransactionOnce),
            _ => {}
        }
        settings.push(Assignment { target: Setting::Variable(name.clone()), value });
        if name == "autocommit" {
            let switched_on = value == Value::Literal && is_on(self.bytes(self.last));
            self.effect(if switched_on { Effect::AutocommitOn } else { Effect::AutocommitOff });
        }
    }

    fn user_variable_assignment(&mut self, settings: &mut Vec<Assignment>) -> Parsed {
        let variable = self.next();
        let name = self.mentions(variable);
        self.assignment_sign()?;
        let value = self.setting_value(Until::Comma)?;
        if value != Value::Literal {
            self.effect(Effect::UserVariableWritten);
        }
        settings.push(Assignment { target: Setting::UserVariable(name), value });
        Ok(())
    }

    /// `NAMES charset [COLLATE collation]`, `CHARACTER SET charset`; the word before the charset is next.
    fn names(&mut self, settings: &mut Vec<Assignment>, target: Setting) -> Parsed {
        self.next();
        let charset = self.next();
        if !(charset.is_name() || charset.kind == TokenKind::Text) {
            return self.not_understood();
        }
        let mut value = if charset.keyword == Keyword::DEFAULT { Value::Default } else { Value::Literal };
        if self.eat(Keyword::COLLATE) {
            let collation = self.next();
            if !(collation.is_name() || collation.kind == TokenKind::Text) {
                return self.not_understood();
            }
            if collation.keyword == Keyword::DEFAULT {
                value = Value::Default;
            }
        }
        settings.push(Assignment { target, value });
        Ok(())
    }

    /// What a variable is set to; reads up to `until` or the end.
    fn setting_value(&mut self, until: Until) -> Parsed<Value> {
        let mut value = None;
        loop {
            let (next, after) = (self.peek(), self.peek_at(1));
            if next.is_end() || next.is(b',') || until.ends_at(next) {
                return match value {
                    Some(value) => Ok(value),
                    None => self.not_understood(),
                };
            }
            let literal = match next.kind {
                TokenKind::Text | TokenKind::Number => true,
                TokenKind::Sign(b'-' | b'+') => value.is_none() && after.kind == TokenKind::Number,
                // The introducer of a character set, or a keyword or bare name that is the whole value.
                TokenKind::Word if after.kind == TokenKind::Text => self.bytes(next).starts_with(b"_"),
                TokenKind::Word | TokenKind::QuotedName => {
                    let whole = after.is_end() || after.is(b',') || until.ends_at(after);
                    value.is_none() && whole && !is_niladic_function(self.bytes(next))
                }
                _ => false,
            };
            if !literal {
                break;
            }
            self.next();
            value = Some(if next.keyword == Keyword::DEFAULT { Value::Default } else { Value::Literal });
        }
        self.scan(Clause::Expression, until)?;
        Ok(Value::Computed)
    }
}

/// Whether a bare word is a function that needs no parentheses.
fn is_niladic_function(word: &[u8]) -> bool {
    let starts_with = |prefix: &str| {
        word.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
    };
    ["CURRENT_", "LOCALTIME", "UTC_", "SYSDATE", "ROWNUM"].into_iter().any(starts_with)
}

/// Whether a literal switches a boolean variable on.
fn is_on(literal: &[u8]) -> bool {
    let literal = match literal {
        [b'\'' | b'"' | b'`', inner @ .., _] => inner,
        _ => literal,
    };
    literal == b"1" || literal.eq_ignore_ascii_case(b"ON") || literal.eq_ignore_ascii_case(b"TRUE")
}
