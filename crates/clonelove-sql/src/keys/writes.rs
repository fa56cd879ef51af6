//! Keys of INSERT, REPLACE, UPDATE and DELETE of one table.

use super::literal::{is_keyable, slot};
use super::plan::{Plan, Planned};
use super::tokens::{Lexeme, Tokens};
use super::where_clause::Conditions;
use super::{Rules, Session};
use crate::lexer::TokenKind;
use crate::schema::{Column, Table, TableId};
use crate::words::Keyword;

pub(super) fn plan(
    rules: Rules,
    sql: &[u8],
    id: TableId,
    table: &Table,
    session: Session<'_>,
) -> Option<Plan> {
    let mut tokens = Tokens::new(sql, session.dialect);
    let mut write = Write { rules, id, table, session, columns: Vec::new(), named_twice: false };
    let verb = tokens.next().keyword;
    match verb {
        Keyword::INSERT => write.insert(&mut tokens, false)?,
        Keyword::REPLACE => write.insert(&mut tokens, true)?,
        Keyword::UPDATE => write.update(&mut tokens)?,
        Keyword::DELETE => write.delete(&mut tokens)?,
        _ => return None,
    }
    let broken = write.named_twice || tokens.peek().kind == TokenKind::Error;
    if !tokens.peek().is_end() || broken || tokens.saw_conditional() {
        return None;
    }
    Some(Plan { table: id, columns: write.columns, rules, modes: session.dialect.modes })
}

struct Write<'t> {
    rules: Rules,
    id: TableId,
    table: &'t Table,
    session: Session<'t>,
    columns: Vec<Planned>,
    /// A column is named twice, which servers refuse.
    named_twice: bool,
}

impl<'t> Write<'t> {
    /// A column whose literals may be keys.
    fn keyable(&self, place: u32) -> Option<&'t Column> {
        self.table.columns.get(place as usize).filter(|column| is_keyable(column, self.rules))
    }

    /// The table may be changed again by what the write sets off.
    fn comes_back(&self) -> bool {
        self.table.cascades_to_itself && self.rules.contains(Rules::CASCADES)
    }

    /// INSERT and REPLACE of literal rows; the verb is passed.
    fn insert(&mut self, tokens: &mut Tokens<'_>, replace: bool) -> Option<()> {
        tokens.eat_all(&[Keyword::LOW_PRIORITY, Keyword::HIGH_PRIORITY, Keyword::IGNORE]);
        tokens.eat(Keyword::INTO);
        tokens.table(self.id, self.session.schema)?;
        if tokens.eat(Keyword::SET) {
            self.set_list(tokens)?;
        } else {
            let places = match tokens.peek().is(b'(') {
                true => self.column_list(tokens)?,
                false => self.all_columns(),
            };
            if !tokens.eat(Keyword::VALUES) && !tokens.eat(Keyword::VALUE) {
                return None;
            }
            self.rows(tokens, &places)?;
        }
        let alias = match tokens.eat(Keyword::AS) {
            true => Some(tokens.next()),
            false => None,
        };
        let mut collides = replace;
        if tokens.eat(Keyword::ON) {
            collides = true;
            self.on_duplicate_key(tokens, alias.as_ref())?;
        }
        if tokens.at(Keyword::RETURNING) {
            while !tokens.next().is_end() {}
        }
        if collides {
            if self.comes_back() {
                return None;
            }
            let (table, rules) = (self.table, self.rules);
            self.columns.retain(|keys| {
                !rules.contains(Rules::UNIQUE_KEYS) || table.bounds_every_unique_key(keys.place, rules)
            });
        }
        Some(())
    }

    /// `(a, b, …)`
    fn column_list(&mut self, tokens: &mut Tokens<'_>) -> Option<Vec<Option<u32>>> {
        tokens.next();
        let mut places = Vec::new();
        loop {
            let name = tokens.column()?;
            places.push(self.begin(&name));
            if tokens.eat_sign(b')') {
                return Some(places);
            }
            if !tokens.eat_sign(b',') {
                return None;
            }
        }
    }

    /// The columns of rows that come without a list.
    fn all_columns(&mut self) -> Vec<Option<u32>> {
        let table = self.table;
        let visible = table.columns.iter().filter(|column| !column.invisible);
        visible.map(|column| self.begin(&column.name)).collect()
    }

    /// Begins to gather values of a column, if they can be keys.
    fn begin(&mut self, name: &str) -> Option<u32> {
        let (place, column) = self.table.column(name)?;
        self.keyable(place)?;
        self.named_twice |= self.columns.iter().any(|planned| planned.place == place);
        let mut planned = Planned::new(self.id, place, column);
        // 0 may stand for the next number.
        planned.zero_is_another = column.auto_increment && self.rules.contains(Rules::AUTO_INCREMENT);
        self.columns.push(planned);
        Some(place)
    }

    fn give_up(&mut self, place: u32) {
        self.columns.retain(|keys| keys.place != place);
    }

    /// `(…), (…)`
    fn rows(&mut self, tokens: &mut Tokens<'_>, places: &[Option<u32>]) -> Option<()> {
        loop {
            // MySQL's VALUES ROW(…) is another statement's.
            if !tokens.eat_sign(b'(') || tokens.peek().is(b')') {
                return None;
            }
            let mut places = places.iter();
            loop {
                // A row with too many values is an error.
                let place = *places.next()?;
                if let Some(place) = place {
                    self.value(tokens, place);
                }
                pass_expression(tokens)?;
                if tokens.eat_sign(b')') {
                    break;
                }
                if !tokens.eat_sign(b',') {
                    return None;
                }
            }
            if places.next().is_some() {
                return None;
            }
            if !tokens.eat_sign(b',') {
                return Some(());
            }
        }
    }

    /// Adds an inserted value, or gives up its column if it is no literal alone.
    fn value(&mut self, tokens: &mut Tokens<'_>, place: u32) {
        let Some(column) = self.keyable(place) else { return };
        let slot = slot(tokens, column, self.rules);
        let alone = ends_value(tokens.peek());
        match (slot, self.columns.iter_mut().find(|planned| planned.place == place)) {
            (Some(slot), Some(planned)) if alone => planned.slots.push(slot),
            (_, Some(_)) => self.give_up(place),
            (_, None) => {}
        }
    }

    /// `a = 1, b = 'x'` of INSERT … SET.
    fn set_list(&mut self, tokens: &mut Tokens<'_>) -> Option<()> {
        loop {
            let name = tokens.column()?;
            if !tokens.eat_sign(b'=') {
                return None;
            }
            if let Some(place) = self.begin(&name) {
                self.value(tokens, place);
            }
            pass_expression(tokens)?;
            if !tokens.eat_sign(b',') {
                return Some(());
            }
        }
    }

    /// `DUPLICATE KEY UPDATE a = …, b = …`
    fn on_duplicate_key(&mut self, tokens: &mut Tokens<'_>, alias: Option<&Lexeme>) -> Option<()> {
        for word in [Keyword::DUPLICATE, Keyword::KEY, Keyword::UPDATE] {
            if !tokens.eat(word) {
                return None;
            }
        }
        let alias = match alias {
            Some(alias) => Some(tokens.name(alias)?),
            None => None,
        };
        loop {
            let name = tokens.column()?;
            if !tokens.eat_sign(b'=') {
                return None;
            }
            let inserted = inserted_value(tokens, alias.as_deref());
            let same = inserted
                .is_some_and(|inserted| *inserted == *name || !self.rules.contains(Rules::SAME_VALUE))
                && ends_value(tokens.peek());
            if !same
                && self.rules.contains(Rules::ASSIGNED)
                && let Some((place, _)) = self.table.column(&name)
            {
                self.give_up(place);
            }
            pass_expression(tokens)?;
            if !tokens.eat_sign(b',') {
                return Some(());
            }
        }
    }

    /// UPDATE of one table; the verb is passed.
    fn update(&mut self, tokens: &mut Tokens<'_>) -> Option<()> {
        tokens.eat_all(&[Keyword::LOW_PRIORITY, Keyword::IGNORE]);
        tokens.table(self.id, self.session.schema)?;
        tokens.alias()?;
        if !tokens.eat(Keyword::SET) {
            return None;
        }
        let mut assigned = Vec::new();
        loop {
            let name = tokens.column()?;
            if !tokens.eat_sign(b'=') {
                return None;
            }
            assigned.push(self.table.column(&name)?.0);
            pass_expression(tokens)?;
            if !tokens.eat_sign(b',') {
                break;
            }
        }
        self.condition(tokens)?;
        if self.rules.contains(Rules::ASSIGNED) {
            self.columns.retain(|keys| !assigned.contains(&keys.place));
        }
        Some(())
    }

    /// DELETE of one table; the verb is passed.
    fn delete(&mut self, tokens: &mut Tokens<'_>) -> Option<()> {
        tokens.eat_all(&[Keyword::LOW_PRIORITY, Keyword::QUICK, Keyword::IGNORE]);
        if !tokens.eat(Keyword::FROM) {
            return None;
        }
        tokens.table(self.id, self.session.schema)?;
        tokens.alias()?;
        self.condition(tokens)
    }

    fn condition(&mut self, tokens: &mut Tokens<'_>) -> Option<()> {
        if !tokens.eat(Keyword::WHERE) || self.comes_back() {
            return None;
        }
        let (rules, id, table) = (self.rules, self.id, self.table);
        let mut conditions = Conditions { rules, id, table, found: Vec::new() };
        conditions.read(tokens)?;
        self.columns = conditions.found;
        // ORDER BY, LIMIT, RETURNING
        while !tokens.peek().is_end() {
            tokens.next();
        }
        Some(())
    }
}

/// The column of `VALUES(column)`, `VALUE(column)` or `alias.column`; what of it is there is passed.
fn inserted_value<'a>(tokens: &mut Tokens<'a>, alias: Option<&str>) -> Option<std::borrow::Cow<'a, str>> {
    if matches!(tokens.peek().keyword, Keyword::VALUES | Keyword::VALUE) && tokens.peek_after().is(b'(') {
        tokens.next();
        tokens.next();
        let name = tokens.column();
        return match (name, tokens.peek().is(b')')) {
            (Some(name), true) => {
                tokens.next();
                Some(name)
            }
            _ => {
                tokens.close();
                None
            }
        };
    }
    let (next, after) = (tokens.peek().clone(), tokens.peek_after().is(b'.'));
    if !after || !next.is_name() || tokens.name(&next).as_deref() != alias {
        return None;
    }
    tokens.next();
    tokens.next();
    tokens.column()
}

/// Passes the rest of an expression, up to a comma, a closing parenthesis or the next clause.
fn pass_expression(tokens: &mut Tokens<'_>) -> Option<()> {
    while !ends_value(tokens.peek()) {
        let next = tokens.next();
        match next.kind {
            TokenKind::Error => return None,
            TokenKind::Sign(b'(') => tokens.close()?,
            _ => {}
        }
    }
    Some(())
}

/// Whether an expression ends before this.
fn ends_value(next: &Lexeme) -> bool {
    next.is_end()
        || next.is(b',')
        || next.is(b')')
        || matches!(
            next.keyword,
            Keyword::WHERE | Keyword::ORDER | Keyword::LIMIT | Keyword::ON | Keyword::RETURNING | Keyword::AS
        )
}
