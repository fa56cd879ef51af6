//! A statement's tokens to its facts.
//!
//! Each file here owns the statements its name says; all of them gather into the one [`Facts`] of the parser. The law
//! they share: a statement is a read only if every token of it was understood as part of one.

mod definition;
mod manipulation;
mod parser;
mod query;
mod session;
mod show;
mod statement;
mod transaction;

use crate::dialect::Dialect;
use crate::facts::{Facts, Kind, Why};
use crate::lexer::Conditional;
use parser::{NotUnderstood, Parser};

/// More statements in one text than this are not told apart.
const MOST_PARTS: usize = 1000;

/// Tells what a statement, or several joined by `;`, is and does. Never fails: what is not understood is
/// [`Kind::Unknown`] and touches all tables.
pub fn analyse(sql: &[u8], dialect: &Dialect) -> Facts {
    analyse_for_all(sql, dialect).0
}

/// [`analyse`], and whether the facts are the same whatever the text's literals say.
pub(crate) fn analyse_for_all(sql: &[u8], dialect: &Dialect) -> (Facts, bool) {
    if sql.len() > parser::LONGEST {
        return (Facts { why: Some(Why::TooLarge), all_tables: true, ..Facts::default() }, false);
    }
    let (mut facts, conditional, saw_literal) = analyse_as(sql, dialect, Conditional::ByVersion);
    if conditional {
        // A server of another version reads another statement, which must be a read too.
        for reading in [Conditional::Code, Conditional::Comment] {
            let (other, ..) = analyse_as(sql, dialect, reading);
            widen(&mut facts, other);
        }
    }
    (facts, !conditional && !saw_literal)
}

/// One reading of the text, whether a version decided what was a comment, and whether literals were looked at.
fn analyse_as(sql: &[u8], dialect: &Dialect, conditional: Conditional) -> (Facts, bool, bool) {
    let mut parser = Parser::new(sql, dialect, conditional);
    let mut first: Option<Facts> = None;
    let mut parts = Vec::new();
    loop {
        let empty = parser.peek().is_end();
        if !empty {
            let part = one_statement(&mut parser, parts.len());
            match first.take() {
                None if parts.is_empty() => first = Some(part),
                None => parts.push(part),
                Some(before) => parts.extend([before, part]),
            }
        }
        if parser.pass_end().is_none() {
            break;
        }
    }
    let facts = match first {
        Some(only) => only,
        None if parts.is_empty() => nothing(),
        None => unit(parts),
    };
    (facts, parser.saw_conditional(), parser.saw_literal())
}

fn one_statement(parser: &mut Parser, before: usize) -> Facts {
    let parsed = if before < MOST_PARTS { parser.statement() } else { parser.not_understood() };
    if let Err(NotUnderstood(token)) = parsed {
        parser.swallow();
        let mut facts = parser.take_facts();
        facts.kind = Kind::Unknown;
        facts.why = Some(Why::UnknownStatement);
        facts.token = Some(token);
        facts.all_tables = true;
        facts.apart = None;
        return facts;
    }
    parser.take_facts()
}

/// White space and comments alone: the server's answer is an error, and nothing is touched.
fn nothing() -> Facts {
    Facts { why: Some(Why::UnknownStatement), ..Facts::default() }
}

/// Several statements as the one that they are routed as.
fn unit(parts: Vec<Facts>) -> Facts {
    let mut whole = Facts { kind: Kind::Read, ..Facts::default() };
    for part in &parts {
        if weight(part.kind) > weight(whole.kind) {
            whole.kind = part.kind;
        }
        if part.why.is_some() && whole.why.is_none() {
            whole.why = Some(Why::MultiStatement);
            whole.token.clone_from(&part.token);
        }
        whole.effects.extend(part.effects.iter().cloned());
        whole.previous |= part.previous;
        whole.extent |= part.extent;
        add_names(&mut whole, part);
    }
    whole.parts = parts;
    whole
}

/// Which kind several statements together are: the one that asks for most care.
fn weight(kind: Kind) -> u8 {
    match kind {
        Kind::Read => 0,
        Kind::Session => 1,
        Kind::Transaction => 2,
        Kind::Admin => 3,
        Kind::Write => 4,
        Kind::Ddl => 5,
        Kind::Unknown => 6,
    }
}

/// Takes in what another version of the server would make of the same text.
fn widen(facts: &mut Facts, other: Facts) {
    // Two readings of which only one calls a routine have no single answer to what they are apart from it.
    facts.apart = None;
    add_names(facts, &other);
    facts.previous |= other.previous;
    facts.extent |= other.extent;
    if facts.why.is_none() && other.why.is_some() {
        facts.kind = other.kind;
        facts.why = other.why;
        facts.token = other.token;
        facts.effects.extend(other.effects);
        facts
            .assumed
            .push("an executable comment that another version of the server would read otherwise".to_owned());
    }
}

fn add_names(facts: &mut Facts, other: &Facts) {
    facts.all_tables |= other.all_tables;
    add(&mut facts.tables_read, &other.tables_read);
    add(&mut facts.tables_written, &other.tables_written);
    add(&mut facts.functions, &other.functions);
    add(&mut facts.user_variables, &other.user_variables);
    add(&mut facts.assumed, &other.assumed);
}

fn add<T: Clone + Ord>(into: &mut Vec<T>, from: &[T]) {
    for new in from {
        if !into.contains(new) {
            into.push(new.clone());
        }
    }
}

#[cfg(test)]
mod tests;
