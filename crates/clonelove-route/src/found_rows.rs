//! What FOUND_ROWS() is after a statement, as far as its text and the reply tell. Owns the servers' rules for that; must not
//! touch sessions.

use clonelove_sql::{Dialect, Effect, Extent, Facts, Flavour, Kind, Lexer, TokenKind};

use crate::session::Heard;

/// From this version on MariaDB selects SHOW REPLICA STATUS from a table (11.8 does, 10.11 does not).
const SELECTS_STATUS: u32 = 110_000;

/// What a statement made of FOUND_ROWS(). What it may also have left alone is never unclear: the connection that ran it need
/// not be the one that ran the statement before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing.
    Kept,
    /// This many.
    Rows(u64),
    /// Only the connection that ran it knows.
    Unclear,
}

/// What FOUND_ROWS() says after a statement with this reply.
pub(crate) fn found_rows(sql: &[u8], facts: &Facts, dialect: &Dialect, heard: &Heard) -> Found {
    if counts_unseen(sql, facts, dialect) {
        return Found::Unclear;
    }
    if heard.failed {
        return Found::Kept;
    }
    if facts.parts.iter().any(|part| part.kind == Kind::Read) {
        return Found::Unclear;
    }
    match heard.rows {
        Some(rows) => of_rows(sql, facts, dialect, rows),
        // What was selected went into variables.
        None if facts.kind == Kind::Read => Found::Unclear,
        None => without_rows(sql, dialect, heard),
    }
}

/// SQL_CALC_FOUND_ROWS.
pub(crate) fn calculates_found_rows(facts: &Facts) -> bool {
    facts.effects.contains(&Effect::CalcFoundRows) || facts.parts.iter().any(calculates_found_rows)
}

/// Rows that the reply does not show may have been counted.
fn counts_unseen(sql: &[u8], facts: &Facts, dialect: &Dialect) -> bool {
    let of_mariadb = dialect.flavour == Flavour::MariaDb;
    let creates = facts.kind == Kind::Ddl && !of_mariadb;
    calculates_found_rows(facts)
        || selects_into_tables(facts) && !creates
        || runs_others(facts)
        || of_mariadb && (assigns_from_tables(facts) || creates_from_select(sql))
}

/// What CALL and EXECUTE run may count rows.
fn runs_others(facts: &Facts) -> bool {
    let runs = |effect: &Effect| matches!(effect, Effect::Call(_) | Effect::ExecuteText(_));
    facts.effects.iter().any(runs) || facts.parts.iter().any(runs_others)
}

fn selects_into_tables(facts: &Facts) -> bool {
    let writes = matches!(facts.kind, Kind::Write | Kind::Ddl) && !facts.tables_read.is_empty();
    writes || facts.parts.iter().any(selects_into_tables)
}

/// SET @a = (SELECT …)
fn assigns_from_tables(facts: &Facts) -> bool {
    facts.kind == Kind::Session && !facts.tables_read.is_empty()
        || facts.parts.iter().any(assigns_from_tables)
}

/// CREATE TABLE … SELECT, were it of no table.
fn creates_from_select(sql: &[u8]) -> bool {
    let is = |word: &[u8], one: &str| word.eq_ignore_ascii_case(one.as_bytes());
    let mut words = sql.split(|byte| !byte.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.next().is_some_and(|word| is(word, "CREATE"))
        && words
            .find(|word| !["OR", "REPLACE", "TEMPORARY"].iter().any(|one| is(word, one)))
            .is_some_and(|word| is(word, "TABLE"))
        && words.any(|word| is(word, "SELECT"))
}

/// An UPDATE or DELETE of several tables selects the rows first. On MySQL an UPDATE of one table finds rows for FOUND_ROWS()
/// too, and DO has always one.
fn without_rows(sql: &[u8], dialect: &Dialect, heard: &Heard) -> Found {
    let mysql = dialect.flavour == Flavour::MySql;
    let mut words = Words { sql, lexer: Lexer::new(sql, dialect) };
    match words.next() {
        Some(word) if is(word, b"DO") && mysql => Found::Rows(1),
        Some(word) if is(word, b"UPDATE") => match heard.matched {
            _ if words.take_while(|word| !is(word, b"SET")).any(joins) => Found::Unclear,
            Some(matched) if mysql => Found::Rows(matched),
            _ => Found::Kept,
        },
        Some(word) if is(word, b"DELETE") => {
            let first = words.find(|word| !OF_DELETE.iter().any(|one| is(word, one)));
            let several = first.is_some_and(|word| !is(word, b"FROM"));
            if several || words.any(|word| is(word, b"USING")) { Found::Unclear } else { Found::Kept }
        }
        Some(word) if is(word, b"WITH") && mysql && heard.matched.is_some() => Found::Unclear,
        _ => Found::Kept,
    }
}

fn joins(word: &[u8]) -> bool {
    word == b"," || is(word, b"JOIN") || is(word, b"STRAIGHT_JOIN")
}

/// What may stand before the tables of a DELETE.
const OF_DELETE: [&[u8]; 4] = [b"LOW_PRIORITY", b"QUICK", b"IGNORE", b"HISTORY"];

/// Rows that are sent are counted if it is a SELECT to the server, as most of what is shown is.
fn of_rows(sql: &[u8], facts: &Facts, dialect: &Dialect, rows: u64) -> Found {
    const ANSWERED: [&[u8]; 13] = [
        b"HELP",
        b"XA",
        b"HANDLER",
        b"CHECK",
        b"CHECKSUM",
        b"OPTIMIZE",
        b"REPAIR",
        b"CACHE",
        b"LOAD",
        b"INSERT",
        b"REPLACE",
        b"DELETE",
        b"UPDATE",
    ];
    let selects = |word: &[u8]| [&b"SELECT"[..], b"WITH", b"TABLE"].iter().any(|one| is(word, one));
    if sql.get(..6).is_some_and(selects) {
        return of_select(sql, facts, dialect, rows);
    }
    let mut words = Words { sql, lexer: Lexer::new(sql, dialect) };
    match words.find(|word| *word != b"(") {
        Some(word) if selects(word) => of_select(sql, facts, dialect, rows),
        Some(word) if is(word, b"VALUES") => of_values(sql, facts, dialect, rows),
        Some(word) if is(word, b"SHOW") => of_show(words, dialect, rows),
        Some(word) if is(word, b"DESCRIBE") || is(word, b"DESC") || is(word, b"EXPLAIN") => {
            of_explanation(words.next(), facts, dialect, rows)
        }
        Some(word) if is(word, b"ANALYZE") && facts.kind == Kind::Admin => Found::Kept,
        Some(word) if ANSWERED.iter().any(|one| is(word, one)) => Found::Kept,
        _ => Found::Unclear,
    }
}

/// MariaDB counts them only if they are a part of a UNION.
fn of_values(sql: &[u8], facts: &Facts, dialect: &Dialect, rows: u64) -> Found {
    match dialect.flavour {
        Flavour::MariaDb if facts.extent.contains(Extent::SET_OPERATION) => Found::Unclear,
        Flavour::MariaDb => Found::Kept,
        Flavour::MySql => of_select(sql, facts, dialect, rows),
    }
}

/// The columns of a table are selected; a statement that is explained is not executed, except by EXPLAIN ANALYZE. In planning
/// one that needs no table, or several parts of one, MariaDB counts none.
fn of_explanation(second: Option<&[u8]>, facts: &Facts, dialect: &Dialect, rows: u64) -> Found {
    let of_columns = facts.tables_read.first().is_some_and(|table| {
        table.name == "columns" && table.schema.as_deref() == Some("information_schema")
    });
    let counts_none = facts.tables_read.is_empty() || facts.extent.contains(Extent::SET_OPERATION);
    match second {
        _ if of_columns => Found::Rows(rows),
        Some(word) if is(word, b"ANALYZE") => Found::Unclear,
        _ if dialect.flavour == Flavour::MariaDb && facts.kind == Kind::Read && counts_none => Found::Rows(0),
        _ => Found::Kept,
    }
}

/// What LIMIT passed over counts too; how much that was where nothing came behind it is not known. MariaDB counts the rows of
/// a UNION as if it had no LIMIT.
fn of_select(sql: &[u8], facts: &Facts, dialect: &Dialect, rows: u64) -> Found {
    let extent = facts.extent;
    let united = extent.contains(Extent::SET_OPERATION) && dialect.flavour == Flavour::MariaDb;
    if united && extent.intersects(Extent::LIMIT | Extent::OFFSET) {
        return Found::Unclear;
    }
    if !extent.contains(Extent::OFFSET) {
        return Found::Rows(rows);
    }
    match skipped_by_limit(sql) {
        Some(0) => Found::Rows(rows),
        Some(skipped) if rows > 0 => Found::Rows(rows.saturating_add(skipped)),
        _ => Found::Unclear,
    }
}

/// Most of what is shown is selected from information_schema; the rest the server answers itself.
fn of_show<'a>(mut words: impl Iterator<Item = &'a [u8]>, dialect: &Dialect, rows: u64) -> Found {
    const ANSWERED: [&[u8]; 18] = [
        b"WARNINGS",
        b"ERRORS",
        b"CREATE",
        b"GRANTS",
        b"PROCESSLIST",
        b"PRIVILEGES",
        b"PROFILES",
        b"BINLOG",
        b"BINARY",
        b"MASTER",
        b"ENGINE",
        b"RELAYLOG",
        b"REPLICAS",
        b"AUTHORS",
        b"CONTRIBUTORS",
        b"EXPLAIN",
        b"ANALYZE",
        b"PARSE_TREE",
    ];
    const OF_REPLICATION: [&[u8]; 3] = [b"SLAVE", b"REPLICA", b"ALL"];
    const BEFORE: [&[u8]; 6] = [b"FULL", b"EXTENDED", b"GLOBAL", b"SESSION", b"LOCAL", b"STORAGE"];
    let among = |list: &[&[u8]], word: &[u8]| list.iter().any(|one| is(word, one));
    let Some(word) = words.find(|word| !among(&BEFORE, word)) else { return Found::Kept };
    let selects_status = dialect.flavour == Flavour::MariaDb && dialect.version >= SELECTS_STATUS;
    let hosts = words.next().is_some_and(|next| is(next, b"HOSTS"));
    if among(&ANSWERED, word) || among(&OF_REPLICATION, word) && (hosts || !selects_status) {
        return Found::Kept;
    }
    Found::Rows(rows)
}

/// The first number of a `LIMIT 2, 1` at the end, or that of a `LIMIT 1 OFFSET 2`; none when it ends otherwise.
fn skipped_by_limit(sql: &[u8]) -> Option<u64> {
    let number = |word: &[u8]| match word.first()? {
        b'0'..=b'9' => std::str::from_utf8(word).ok()?.parse::<u64>().ok(),
        _ => None,
    };
    let (last, rest) = last_word(sql.strip_suffix(b";").unwrap_or(sql));
    let last = number(last)?;
    let (between, rest) = last_word(rest);
    if is(between, b"LIMIT") {
        return Some(0);
    }
    let (first, rest) = last_word(rest);
    let (limit, _) = last_word(rest);
    match number(first) {
        Some(_) if !is(limit, b"LIMIT") => None,
        Some(first) if between == b"," => Some(first),
        Some(_) if is(between, b"OFFSET") => Some(last),
        _ => None,
    }
}

/// The last word or other sign, and what stands before it.
fn last_word(text: &[u8]) -> (&[u8], &[u8]) {
    let text = text.trim_ascii_end();
    let letters = text.iter().rev().take_while(|byte| byte.is_ascii_alphanumeric()).count().max(1);
    let (rest, word) = text.split_at_checked(text.len().saturating_sub(letters)).unwrap_or((&[], text));
    (word, rest)
}

/// The words and signs of a statement, as its server reads them.
struct Words<'a> {
    sql: &'a [u8],
    lexer: Lexer<'a>,
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let token = self.lexer.next()?;
        // Not by its text, which could be that of a word.
        let named = token.kind == TokenKind::QuotedName;
        self.sql.get(token.range).map(|text| if named { &b"`"[..] } else { text })
    }
}

fn is(word: &[u8], name: &[u8]) -> bool {
    word.eq_ignore_ascii_case(name)
}

#[cfg(test)]
mod tests {
    use clonelove_sql::analyse;

    use super::*;

    fn after(flavour: Flavour, sql: &str, heard: &Heard) -> Found {
        let dialect = Dialect { flavour, ..Dialect::default() };
        found_rows(sql.as_bytes(), &analyse(sql.as_bytes(), &dialect), &dialect, heard)
    }

    /// As the servers were found to answer; end to end it is asked of them.
    #[test]
    fn what_is_counted_is_what_the_servers_count() {
        use Found::{Kept, Rows, Unclear};
        for (sql, rows, mariadb, mysql) in [
            ("SELECT v FROM t", 3, Rows(3), Rows(3)),
            ("/* c */ (SELECT v FROM t LIMIT 2)", 2, Rows(2), Rows(2)),
            ("SELECT v FROM t LIMIT 20, 5", 3, Rows(23), Rows(23)),
            ("SELECT v FROM t LIMIT 20, 5", 0, Unclear, Unclear),
            ("SELECT v FROM t LIMIT 5 OFFSET 0", 0, Rows(0), Rows(0)),
            ("SELECT v FROM t LIMIT ?, ?", 3, Unclear, Unclear),
            ("SELECT v FROM t UNION SELECT 1", 4, Rows(4), Rows(4)),
            ("SELECT v FROM t UNION SELECT 1 LIMIT 2", 2, Unclear, Rows(2)),
            ("SHOW COUNT(*) WARNINGS", 1, Rows(1), Rows(1)),
            ("SELECT @@warning_count", 1, Rows(1), Rows(1)),
            ("SHOW WARNINGS", 1, Kept, Kept),
            ("SHOW ERRORS LIMIT 1", 1, Kept, Kept),
            ("SHOW FULL TABLES", 4, Rows(4), Rows(4)),
            ("show create table t", 1, Kept, Kept),
            ("SHOW FULL PROCESSLIST", 4, Kept, Kept),
            ("SHOW REPLICA STATUS", 1, Kept, Kept),
            ("HELP 'x'", 1, Kept, Kept),
            ("CHECK TABLE t", 1, Kept, Kept),
            ("DESC t", 3, Rows(3), Rows(3)),
            ("EXPLAIN SELECT v FROM t", 1, Kept, Kept),
            ("EXPLAIN SELECT 1", 1, Rows(0), Kept),
            ("EXPLAIN ANALYZE SELECT v FROM t", 1, Unclear, Unclear),
            ("VALUES (1), (2)", 2, Kept, Rows(2)),
            ("SELECT v FROM t; SHOW WARNINGS", 1, Unclear, Unclear),
        ] {
            let heard = Heard { rows: Some(rows), ..Heard::default() };
            assert_eq!(after(Flavour::MariaDb, sql, &heard), mariadb, "{sql}");
            assert_eq!(after(Flavour::MySql, sql, &heard), mysql, "{sql}");
        }
        for (sql, mariadb, mysql) in [
            ("DO 1", Kept, Rows(1)),
            ("UPDATE t SET v = 1", Kept, Rows(2)),
            ("UPDATE t, u SET v = 1", Unclear, Unclear),
            ("DELETE QUICK FROM t WHERE v = 1", Kept, Kept),
            ("DELETE t FROM t, u", Unclear, Unclear),
            ("INSERT INTO t VALUES (1)", Kept, Kept),
            ("SELECT 5 INTO @z", Unclear, Unclear),
            ("SET @a = 1", Kept, Kept),
            ("SET @a = (SELECT MAX(v) FROM t)", Unclear, Kept),
            ("CREATE TABLE u SELECT v FROM t", Unclear, Kept),
        ] {
            let heard = Heard { matched: Some(2), ..Heard::default() };
            assert_eq!(after(Flavour::MariaDb, sql, &heard), mariadb, "{sql}");
            assert_eq!(after(Flavour::MySql, sql, &heard), mysql, "{sql}");
        }
    }
}
