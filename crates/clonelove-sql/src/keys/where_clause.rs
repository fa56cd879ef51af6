//! The conditions that bound rows: `column = literal` and `column IN (literals)`, where they stand as a whole among
//! others that all must hold.

use super::Rules;
use super::literal::{is_keyable, slot};
use super::plan::Planned;
use super::tokens::{Lexeme, Tokens};
use crate::lexer::TokenKind;
use crate::schema::{Table, TableId};
use crate::words::Keyword;

/// Parentheses within parentheses are looked into so far.
const DEEPEST: u32 = 16;

/// Gathers the columns that a WHERE clause bounds.
pub(super) struct Conditions<'t> {
    pub(super) rules: Rules,
    pub(super) id: TableId,
    pub(super) table: &'t Table,
    pub(super) found: Vec<Planned>,
}

impl Conditions<'_> {
    /// Reads the clause, up to the word that begins the next one; WHERE is passed.
    pub(super) fn read(&mut self, tokens: &mut Tokens<'_>) -> Option<()> {
        self.list(tokens, 0)
    }

    /// Conditions joined by AND, up to what ends them, which stays ahead. `None`: no telling where that is.
    fn list(&mut self, tokens: &mut Tokens<'_>, depth: u32) -> Option<()> {
        let before = self.found.len();
        let mut doubtful = false;
        loop {
            let mark = self.found.len();
            self.condition(tokens, depth)?;
            let whole = tokens.at(Keyword::AND) || ends_list(tokens.peek(), depth);
            if !whole && self.rules.contains(Rules::WHOLE_RIGHT) {
                self.found.truncate(mark);
            }
            doubtful |= self.skip(tokens, depth)?;
            if !tokens.eat(Keyword::AND) {
                break;
            }
        }
        if doubtful {
            self.found.truncate(before);
        }
        Some(())
    }

    /// Passes what is no condition of ours, up to AND or the end of the list; whether the list is in doubt by it.
    fn skip(&mut self, tokens: &mut Tokens<'_>, depth: u32) -> Option<bool> {
        let (mut between, mut doubtful) = (0u32, false);
        loop {
            let next = tokens.peek();
            match (next.keyword, next.kind) {
                _ if ends_list(next, depth) => return Some(doubtful),
                (Keyword::AND, _) if between == 0 || !self.rules.contains(Rules::BETWEEN) => {
                    return Some(doubtful);
                }
                (Keyword::AND, _) => between = between.saturating_sub(1),
                (Keyword::BETWEEN, _) => between = between.saturating_add(1),
                (Keyword::OR | Keyword::XOR, _) | (_, TokenKind::Assign) => {
                    doubtful |= self.rules.contains(Rules::NO_OR);
                }
                (Keyword::CASE, _) => doubtful |= self.rules.contains(Rules::CASE),
                (Keyword::SELECT, _) | (_, TokenKind::Sign(b',')) => doubtful = true,
                (_, TokenKind::Operator) if tokens.bytes(next) == b"||" => {
                    doubtful |= self.rules.contains(Rules::NO_OR);
                }
                (_, TokenKind::Sign(b'(')) => {
                    tokens.next();
                    tokens.close()?;
                    continue;
                }
                (_, TokenKind::Sign(b')') | TokenKind::Error) => return None,
                (_, TokenKind::Word | TokenKind::Name | TokenKind::QuotedName)
                    if !self.rules.contains(Rules::WHOLE_LEFT) && next.is_name() =>
                {
                    self.comparison(tokens)?;
                    continue;
                }
                _ => {}
            }
            tokens.next();
        }
    }

    /// Tries to read one condition. What it passes of another one is nothing that joins conditions.
    fn condition(&mut self, tokens: &mut Tokens<'_>, depth: u32) -> Option<()> {
        if !tokens.peek().is(b'(') || depth >= DEEPEST {
            return self.comparison(tokens);
        }
        tokens.next();
        self.list(tokens, depth.saturating_add(1))?;
        if !tokens.eat_sign(b')') {
            return None;
        }
        Some(())
    }

    fn comparison(&mut self, tokens: &mut Tokens<'_>) -> Option<()> {
        if !tokens.peek().is_name() {
            return Some(());
        }
        let Some(name) = tokens.column() else {
            // A name that is none, or one that is not told.
            if tokens.peek().is_name() {
                tokens.next();
            }
            return Some(());
        };
        let column = self.table.column(&name).filter(|(_, column)| is_keyable(column, self.rules));
        let Some((place, column)) = column else { return Some(()) };
        let mut planned = Planned::new(self.id, place, column);
        if tokens.eat_sign(b'=') {
            if let Some(slot) = slot(tokens, column, self.rules) {
                planned.slots.push(slot);
                self.found.push(planned);
            }
        } else if tokens.at(Keyword::IN) && tokens.peek_after().is(b'(') {
            tokens.next();
            tokens.next();
            loop {
                match slot(tokens, column, self.rules) {
                    Some(slot) => planned.slots.push(slot),
                    None => return tokens.close(),
                }
                if tokens.eat_sign(b')') {
                    self.found.push(planned);
                    break;
                }
                if !tokens.eat_sign(b',') {
                    return tokens.close();
                }
            }
        }
        Some(())
    }
}

/// Whether the conditions end here.
fn ends_list(next: &Lexeme, depth: u32) -> bool {
    if depth > 0 {
        return next.is(b')');
    }
    next.is_end()
        || matches!(
            next.keyword,
            Keyword::GROUP
                | Keyword::HAVING
                | Keyword::ORDER
                | Keyword::LIMIT
                | Keyword::RETURNING
                | Keyword::WINDOW
        )
}
