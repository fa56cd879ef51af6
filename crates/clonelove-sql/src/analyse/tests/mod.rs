//! Tables of statements and what they are; the laws that hold for all of them are in `tests/laws.rs`.

mod reads;
mod sessions;
mod texts;
mod writes;

use super::*;
use crate::{
    Assignment, Charset, Dialect, Effect, Flavour, Kind, Modes, Previous, Setting, TableName, Value, Why,
};

fn mariadb() -> Dialect {
    Dialect { version: 101_119, ..Dialect::default() }
}

fn mysql() -> Dialect {
    Dialect { flavour: Flavour::MySql, version: 80_400, ..Dialect::default() }
}

fn ansi() -> Dialect {
    Dialect { modes: Modes::from_sql_mode("ANSI,TRADITIONAL"), ..mariadb() }
}

fn facts(sql: &str) -> Facts {
    analyse(sql.as_bytes(), &mariadb())
}

/// `read` for what may leave the primary, else `kind/why`.
fn verdict(facts: &Facts) -> String {
    match facts.why {
        None => {
            assert_eq!(facts.kind, Kind::Read, "only a read may leave the primary: {facts:?}");
            "read".to_owned()
        }
        Some(why) => format!("{}/{}", facts.kind.as_str(), why.as_str()),
    }
}

#[track_caller]
fn check_in(dialect: &Dialect, sql: impl AsRef<[u8]>, expected: &str) {
    let sql = sql.as_ref();
    let facts = analyse(sql, dialect);
    assert_eq!(verdict(&facts), expected, "{}\n{facts:?}", String::from_utf8_lossy(sql));
    if let Some(token) = facts.token {
        assert!(sql.get(token).is_some());
    }
}

#[track_caller]
fn check(sql: &str, expected: &str) {
    check_in(&mariadb(), sql, expected);
    check_in(&mysql(), sql, expected);
}

#[track_caller]
fn check_all(expected: &str, statements: &[&str]) {
    for sql in statements {
        check(sql, expected);
    }
}

#[track_caller]
fn check_mariadb(expected: &str, statements: &[&str]) {
    for sql in statements {
        check_in(&mariadb(), sql, expected);
    }
}

#[track_caller]
fn check_mysql(expected: &str, statements: &[&str]) {
    for sql in statements {
        check_in(&mysql(), sql, expected);
    }
}

fn names(tables: &[TableName]) -> String {
    let name = |table: &TableName| match &table.schema {
        Some(schema) => format!("{schema}.{}", table.name),
        None => table.name.clone(),
    };
    tables.iter().map(name).collect::<Vec<_>>().join(" ")
}

/// Tables read and written, separated by spaces; a `*` at the end of either stands for all tables.
#[track_caller]
fn tables_in(dialect: &Dialect, sql: &str, read: &str, written: &str) {
    let facts = analyse(sql.as_bytes(), dialect);
    assert_ne!(facts.kind, Kind::Unknown, "{sql}\n{facts:?}");
    let (expected, all) = match written.strip_suffix('*') {
        Some(written) => (written.trim_end(), true),
        None => (written, false),
    };
    assert_eq!(
        (names(&facts.tables_read).as_str(), names(&facts.tables_written).as_str()),
        (read, expected),
        "{sql}"
    );
    assert_eq!(facts.all_tables, all, "{sql}");
}

#[track_caller]
fn tables(sql: &str, read: &str, written: &str) {
    tables_in(&mariadb(), sql, read, written);
}

#[track_caller]
fn effects(sql: &str, expected: &[Effect]) {
    assert_eq!(facts(sql).effects, expected, "{sql}");
}
