//! Keys of a query of one table.

use super::plan::Plan;
use super::tokens::Tokens;
use super::where_clause::Conditions;
use super::{Rules, Session};
use crate::lexer::TokenKind;
use crate::schema::{Table, TableId};
use crate::words::Keyword;

/// `SELECT … FROM table [[AS] alias] WHERE …`, without another query in it.
pub(super) fn plan(
    rules: Rules,
    sql: &[u8],
    id: TableId,
    table: &Table,
    session: Session<'_>,
) -> Option<Plan> {
    let mut tokens = Tokens::new(sql, session.dialect);
    if !tokens.eat(Keyword::SELECT) {
        return None;
    }
    to_from(&mut tokens)?;
    tokens.table(id, session.schema)?;
    tokens.alias()?;
    if rules.contains(Rules::ONE_TABLE) {
        if !tokens.eat(Keyword::WHERE) {
            return None;
        }
    } else {
        while !tokens.eat(Keyword::WHERE) {
            if tokens.next().is_end() {
                return None;
            }
        }
    }
    let mut conditions = Conditions { rules, id, table, found: Vec::new() };
    conditions.read(&mut tokens)?;
    let mut before = Keyword::None;
    while !tokens.peek().is_end() {
        let next = tokens.next();
        if next.kind == TokenKind::Error {
            return None;
        }
        // LIMIT ROWS EXAMINED counts rows that are not in the answer.
        let limit = before == Keyword::LIMIT;
        if limit && next.kind == TokenKind::Word && tokens.bytes(&next).eq_ignore_ascii_case(b"ROWS") {
            return None;
        }
        before = next.keyword;
    }
    // Another query may stand anywhere in the text.
    if tokens.queries() != 1 && rules.contains(Rules::ONE_TABLE) {
        return None;
    }
    if tokens.saw_conditional() || (tokens.ranks() && rules.contains(Rules::RANKING)) {
        return None;
    }
    Some(Plan { table: id, columns: conditions.found, rules, modes: session.dialect.modes })
}

/// Passes the select list and FROM.
fn to_from(tokens: &mut Tokens<'_>) -> Option<()> {
    loop {
        let next = tokens.next();
        match (next.keyword, next.kind) {
            (Keyword::FROM, _) => return Some(()),
            (Keyword::End, _) | (_, TokenKind::Error | TokenKind::Sign(b')')) => return None,
            (_, TokenKind::Sign(b'(')) => tokens.close()?,
            _ => {}
        }
    }
}
