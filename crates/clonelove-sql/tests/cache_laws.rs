//! What the cache of facts answers is what a fresh analysis answers, whatever came before: for random statements, for
//! mutations of them, and for what Drupal really sent.
#![expect(clippy::expect_used, reason = "a recording that cannot be read must fail the test")]

mod asker;
mod support;

use std::sync::Arc;

use asker::{Asker, SCHEMA, essence};
use clonelove_sql::keys::Session;
use clonelove_sql::{Charset, Context, Dialect, Facts, FactsCache, Flavour, Modes, Scratch, analyse};
use proptest::prelude::*;
use support::{commands, recordings};

const STATEMENTS: &[&str] = &[
    "SELECT v FROM t WHERE k = 'x' AND n = 5 LIMIT 3",
    "SELECT v FROM t WHERE k IN ('a', 'b') AND n IN (1, -2, 3)",
    "SELECT v, 'a', -1.5e3 FROM t WHERE (k = 'x') AND v BETWEEN 1 AND 3 ORDER BY n",
    "SELECT v FROM t, u WHERE t.k = 'x'",
    "INSERT INTO t (k, n, v) VALUES ('a', 1, 2), ('b', -2, 3), ('c', 3, 4)",
    "INSERT INTO u VALUES ('a', 1, 2), ('b', 0, 3)",
    "INSERT INTO t SET k = 'a', n = 7 ON DUPLICATE KEY UPDATE n = VALUES(n), v = 5",
    "REPLACE INTO t (k, v) VALUE ('x', 1)",
    "UPDATE t SET v = 5, n = 7 WHERE k = 'x' AND n IN (4)",
    "DELETE FROM t WHERE k = 'x' LIMIT 1",
    "SELECT 1; DELETE FROM t WHERE k = 'x'",
    "SELECT GET_LOCK('a', 5), f(1, 2), t.k IN (1), (2)",
    "SET autocommit = 1, @a = 'x', NAMES 'utf8mb4'",
    "SHOW TABLES LIKE 'a%'",
    "BEGIN",
    "PREPARE s FROM 'SELECT 1'",
    "SELECT k FROM t WHERE k = N'x' OR n = 0x1F OR n = x'1F' AND v = .5",
];

/// What takes the place of a literal, a gap, or anything else.
const PIECES: &[&str] = &[
    "''",
    "'x'",
    "'it''s'",
    "'a\\'b'",
    "\"q\"",
    "`n`",
    "5",
    "-5",
    "0",
    "1.5",
    "1e5",
    "1.e",
    ".5",
    "0x1f",
    "NULL",
    "null",
    "?",
    "N'x'",
    "_utf8'x'",
    "  ",
    "\n\n",
    "'y'",
    "7",
    "@a",
    "@'b'",
    "@`c`",
    "@@d",
    " ",
    "",
    "/* c */",
    "-- c\n",
    "/*!50000 ",
    "*/",
    "(",
    ")",
    ",",
    "),(",
    ";",
    "IN",
    "VALUES",
    "AND",
    "OR",
    "t",
    "u",
    ".",
    "=",
    "-",
    "+",
    "\\",
    "'",
    "\0",
    "\u{e9}",
    "x",
];

fn dialects() -> impl Strategy<Value = Dialect> {
    let flavour = prop_oneof![Just((Flavour::MariaDb, 101_119)), Just((Flavour::MySql, 80_400))];
    let charset = prop_oneof![
        6 => Just(Charset::Utf8),
        1 => Just(Charset::AsciiCompatible),
        1 => Just(Charset::Gbk),
        1 => Just(Charset::Sjis)
    ];
    (flavour, 0u8..32, charset).prop_map(|((flavour, version), modes, charset)| Dialect {
        flavour,
        version,
        modes: Modes::from_bits_truncate(modes),
        charset,
    })
}

/// Where a piece is put.
#[derive(Debug, Clone, Copy)]
enum Place {
    Token,
    BeforeToken,
    GapBeforeToken,
}

/// Puts a piece into a statement.
fn changed(sql: &[u8], (at, place, piece): (prop::sample::Index, Place, &str)) -> Vec<u8> {
    let tokens: Vec<_> =
        clonelove_sql::Lexer::new(sql, &Dialect::default()).map(|token| token.range).collect();
    let at = at.index(tokens.len().max(1));
    let Some(token) = tokens.get(at) else { return piece.into() };
    let before = at.checked_sub(1).and_then(|before| tokens.get(before)).map_or(0, |before| before.end);
    let range = match place {
        Place::Token => token.clone(),
        Place::BeforeToken => token.start..token.start,
        Place::GapBeforeToken => before..token.start,
    };
    let mut sql = sql.to_vec();
    sql.splice(range, piece.bytes());
    sql
}

/// A statement, a few changes to it, and at one place further on one piece after another.
fn relatives() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let place = || {
        let places = vec![Place::Token, Place::BeforeToken, Place::GapBeforeToken];
        (any::<prop::sample::Index>(), prop::sample::select(places))
    };
    let piece = || prop::sample::select(PIECES);
    let changes = prop::collection::vec((place(), piece()), 0..3);
    let family = (place(), prop::collection::vec(piece(), 1..24));
    (prop::sample::select(STATEMENTS), changes, family).prop_map(|(sql, changes, ((at, place), pieces))| {
        let of = |sql: Vec<u8>, ((at, place), piece)| changed(&sql, (at, place, piece));
        let parent = changes.into_iter().fold(sql.as_bytes().to_vec(), of);
        let children = pieces.into_iter().map(|piece| changed(&parent, (at, place, piece)));
        children.chain([parent.clone()]).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn relatives_of_a_statement_do_not_get_its_facts(texts in relatives(), dialect in dialects()) {
        let mut asker = Asker::new(100, Arc::clone(&SCHEMA));
        for sql in &texts {
            asker.check(sql, &dialect, Some("app"), 1);
            asker.check(sql, &dialect, Some("app"), 1);
        }
    }

    #[test]
    fn literals_of_any_bytes_change_nothing_but_keys(
        sql in prop::sample::select(STATEMENTS),
        literals in prop::collection::vec((any::<i32>(), "\\PC{0,12}"), 1..30),
    ) {
        let mut asker = Asker::new(100, Arc::clone(&SCHEMA));
        let dialect = Dialect::default();
        asker.check(sql.as_bytes(), &dialect, Some("app"), 1);
        let mut other = Vec::new();
        let mut at = 0;
        let mut literals = literals.iter().cycle();
        for token in clonelove_sql::Lexer::new(sql.as_bytes(), &dialect) {
            let Some((number, text)) = literals.next() else { break };
            other.extend_from_slice(&sql.as_bytes()[at..token.range.start]);
            match token.kind {
                clonelove_sql::TokenKind::Text => {
                    let text = text.replace('\\', "\\\\").replace('\'', "\\'");
                    other.extend_from_slice(format!("'{text}'").as_bytes());
                }
                clonelove_sql::TokenKind::Number => {
                    other.extend_from_slice(number.unsigned_abs().to_string().as_bytes());
                }
                _ => other.extend_from_slice(&sql.as_bytes()[token.range.clone()]),
            }
            at = token.range.end;
        }
        other.extend_from_slice(&sql.as_bytes()[at..]);
        asker.check(&other, &dialect, Some("app"), 1);
        asker.check(&other, &dialect, Some("app"), 2);
    }
}

#[test]
fn drupals_statements_are_known_as_afresh_and_nearly_all_were_seen_before() {
    let Some(directory) = recordings() else {
        println!("NOT COVERED: Drupal recordings (set CLONELOVE_RECORDINGS to their directory)");
        return;
    };
    let mut asker =
        Asker::new(10_000, Arc::new(support::schema_of("drupal10", &directory.join("drupal10.sql.gz"))));
    let mut asked = 0u32;
    for command in commands(&directory.join("drupal10.jsonl.gz")) {
        asker.check(&command.sql, &command.dialect, Some("drupal10"), 1);
        asked += 1;
    }
    println!("{} of {asked} were seen before, {} entries", asker.seen, asker.cache.len());
    assert!(asked > 10_000);
    assert!(f64::from(asker.seen) > 0.9 * f64::from(asked), "{} of {asked}", asker.seen);
}

#[test]
fn many_may_ask_at_once() {
    let cache = Arc::new(FactsCache::new(64, [5, 6]));
    let dialect = Dialect::default();
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let cache = Arc::clone(&cache);
            scope.spawn(move || {
                let (schema, mut scratch) = (&SCHEMA, Scratch::default());
                for round in 0..2000u64 {
                    let sql = format!("SELECT v{} FROM t WHERE k = 'x{round}'", (round * (thread + 1)) % 100);
                    let session = Session { dialect: &dialect, schema: Some("app"), plain_charsets: true };
                    let context = Context { session, schema: Some(schema), snapshot: round / 500 };
                    let resolve = |facts: &Facts| schema.resolve(facts, Some("app"));
                    let found = cache.look_up(sql.as_bytes(), context, &mut scratch, resolve);
                    assert_eq!(essence(&found.known.facts), essence(&analyse(sql.as_bytes(), &dialect)));
                }
            });
        }
    });
    assert!(cache.len() <= 64);
}
