//! What holds for every statement that knowledge is brought to: no input panics, and values that the servers call
//! equal have equal keys.

use clonelove_sql::schema::{Answers, Row, queries};
use clonelove_sql::{Dialect, Flavour, Kind, Modes, Schema, analyse, keys};
use proptest::prelude::*;

fn schema() -> Schema {
    let mut answers = Answers::default();
    let mut add = |name, values: &[&str]| {
        let row: Row = values.iter().map(|value| (*value != "NULL").then(|| (*value).to_owned())).collect();
        answers.entry(name).or_default().push(row);
    };
    add("grants", &["GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost`"]);
    add("tables", &["app", "t", "BASE TABLE", "InnoDB"]);
    let ascii = "ascii_general_ci";
    add("columns", &["app", "t", "k", "1", "varchar", "varchar(30)", "30", ascii, "", "NULL"]);
    add("columns", &["app", "t", "n", "2", "bigint", "bigint(20)", "NULL", "NULL", "", "NULL"]);
    add("columns", &["app", "t", "v", "3", "int", "int(11)", "NULL", "NULL", "", "NULL"]);
    add("indexes", &["app", "t", "PRIMARY", "0", "1", "k", "NULL"]);
    add("indexes", &["app", "t", "n", "1", "1", "n", "NULL"]);
    Schema::build(Flavour::MariaDb, 101_119, &answers)
}

fn keys_of(sql: &[u8], dialect: &Dialect, schema: &Schema) -> Option<keys::Keys> {
    let facts = analyse(sql, dialect);
    let _ = schema.resolve(&facts, Some("app"));
    let session = keys::Session { dialect, schema: Some("app"), plain_charsets: true };
    let (read, write) =
        (keys::of_read(sql, &facts, schema, session), keys::of_write(sql, &facts, schema, session));
    assert!(read.is_none() || write.is_none());
    assert!(read.is_none() || facts.kind == Kind::Read);
    read.or(write)
}

fn dialects() -> impl Strategy<Value = Dialect> {
    (0u8..32, any::<bool>()).prop_map(|(modes, mysql)| Dialect {
        modes: Modes::from_bits_truncate(modes),
        flavour: if mysql { Flavour::MySql } else { Flavour::MariaDb },
        ..Dialect::default()
    })
}

/// Pieces of statements, so that many of the texts made of them are nearly statements.
const PIECES: &[&str] = &[
    "SELECT",
    "v",
    "FROM",
    "t",
    "WHERE",
    "k",
    "=",
    "'x'",
    "AND",
    "OR",
    "IN",
    "(",
    ")",
    ",",
    "n",
    "5",
    "-",
    "NOT",
    "BETWEEN",
    "CASE",
    "END",
    "INSERT INTO",
    "VALUES",
    "ON DUPLICATE KEY UPDATE",
    "UPDATE",
    "SET",
    "DELETE",
    "REPLACE",
    "\"k\"",
    "`t`",
    ".",
    "AS",
    "||",
    "XOR",
    "LIMIT 1",
    "ORDER BY v",
    "\\",
    "'",
    "--",
    "/*",
    "*/",
    "/*!50000",
    ";",
    "VALUES(k)",
    "é",
    "?",
    "@a",
    ":=",
];

/// Values that rows of information_schema hold, and some that they never should.
const VALUES: &[&str] = &[
    "app",
    "t",
    "T",
    "u",
    "k",
    "1",
    "2",
    "-1",
    "0",
    "BASE TABLE",
    "VIEW",
    "SEQUENCE",
    "InnoDB",
    "varchar",
    "int unsigned",
    "30",
    "utf8mb4_bin",
    "STORED GENERATED",
    "PRIMARY",
    "CASCADE",
    "FUNCTION",
    "PROCEDURE",
    "NO SQL",
    "SQL",
    "ANSI",
    "",
    "'",
    "`((",
    "select `app`.`t`.`k` from `app`.`u`",
    "BEGIN CALL t(); UPDATE t SET k = u(1); END",
    "GRANT ALL ON `a%\\`.* TO `b`@`c`",
    "GRANT SELECT ON *.* TO",
    "99999999999999999999",
    "\u{fffd}",
];

proptest! {
    #[test]
    fn no_rows_make_the_snapshot_panic(
        rows in proptest::collection::vec(
            (0usize..9, proptest::collection::vec(proptest::option::of(proptest::sample::select(VALUES)), 0..11)),
            0..60,
        ),
        mysql in any::<bool>(),
    ) {
        let flavour = if mysql { Flavour::MySql } else { Flavour::MariaDb };
        let questions = queries(flavour);
        let mut answers = Answers::default();
        for (question, row) in rows {
            let Some(question) = questions.get(question) else { continue };
            let row: Row = row.into_iter().map(|value| value.map(str::to_owned)).collect();
            answers.entry(question.name).or_default().push(row);
        }
        let schema = Schema::build(flavour, 80_400, &answers);
        schema.missing_grants();
        for sql in ["SELECT u(1) FROM t JOIN app.u", "UPDATE t SET k = 'x' WHERE k = 'y'", "CALL t()", "REPLACE INTO t VALUES ('x')"] {
            keys_of(sql.as_bytes(), &Dialect::default(), &schema);
        }
    }

    #[test]
    fn no_text_makes_the_keys_panic(
        pieces in proptest::collection::vec(proptest::sample::select(PIECES), 0..30),
        noise in proptest::collection::vec(any::<u8>(), 0..6),
        dialect in dialects(),
    ) {
        let mut sql = pieces.join(" ").into_bytes();
        sql.extend(noise);
        keys_of(&sql, &dialect, &schema());
    }

    /// Anything put around a conjunction leaves a read without a key, or with one that its conditions imply: what is
    /// joined by OR at the top never has one.
    #[test]
    fn nothing_beside_or_has_a_key(
        left in proptest::sample::select(&["v = 1", "k = 'y'", "(n = 2)", "v BETWEEN 1 AND 2", "NOT v"][..]),
        or in proptest::sample::select(&["OR", "or", "XOR", "||"][..]),
        more in proptest::sample::select(&["", " AND v = 3", " AND (k = 'z')"][..]),
        dialect in dialects(),
    ) {
        let sql = format!("SELECT v FROM t WHERE k = 'x' AND {left} {or} n = 5{more}");
        let keys = keys_of(sql.as_bytes(), &dialect, &schema());
        prop_assert_eq!(keys, None, "{}", sql);
    }

    #[test]
    fn equal_values_have_equal_keys(text in "[ -~]{0,20}", spaces in 0usize..5, upper in any::<bool>()) {
        let schema = schema();
        let dialect = Dialect { modes: Modes::NO_BACKSLASH_ESCAPES, ..Dialect::default() };
        let written = text.replace('\'', "''");
        let other = if upper { written.to_ascii_uppercase() } else { written.to_ascii_lowercase() };
        let read = format!("SELECT v FROM t WHERE k = '{written}'");
        let write = format!("INSERT INTO t (k, n) VALUES ('{other}{}', 1)", " ".repeat(spaces));
        let read = keys_of(read.as_bytes(), &dialect, &schema).expect("keys of a read");
        let write = keys_of(write.as_bytes(), &dialect, &schema).expect("keys of a write");
        prop_assert!(!keys::independent(&read, &write));
        prop_assert_eq!(
            read.columns.iter().flat_map(keys::ColumnKeys::ids).collect::<Vec<_>>(),
            write.columns.iter().take(1).flat_map(keys::ColumnKeys::ids).collect::<Vec<_>>()
        );
    }

    #[test]
    fn integers_have_one_form(number in any::<i64>(), zeros in 0usize..4) {
        let schema = schema();
        let dialect = Dialect::default();
        let digits = format!("{}{}", "0".repeat(zeros), number.unsigned_abs());
        let sign = if number < 0 { "-" } else { "" };
        let read = format!("SELECT v FROM t WHERE n = {sign} {digits}");
        let write = format!("UPDATE t SET v = 1 WHERE n IN ({number})");
        let read = keys_of(read.as_bytes(), &dialect, &schema).expect("keys of a read");
        let write = keys_of(write.as_bytes(), &dialect, &schema).expect("keys of a write");
        prop_assert!(!keys::independent(&read, &write));
        let text = number.to_string();
        prop_assert!(read.columns.iter().all(|column| column.values.contains(text.as_bytes())));
    }
}
