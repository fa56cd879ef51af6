//! What holds for every statement: no input panics, no write ever becomes a read, and how a statement is laid out does
//! not change what it is.

use clonelove_sql::{
    Charset, Dialect, Facts, Flavour, Kind, Lexer, Modes, TokenKind, analyse, digest_hash, digest_text,
};
use proptest::prelude::*;

/// Statements that must never leave the primary.
const WRITES: &[&str] = &[
    "INSERT INTO t (a, b) VALUES (1, 'x') ON DUPLICATE KEY UPDATE a = VALUES(a)",
    "REPLACE INTO t SELECT * FROM u",
    "UPDATE t SET a = a + 1 WHERE b = 'it''s'",
    "DELETE FROM t WHERE a IN (1, 2)",
    "DELETE a FROM t a JOIN u ON a.b = u.b",
    "WITH c AS (SELECT 1) DELETE FROM t",
    "CREATE TABLE t (a INT)",
    "DROP TABLE t",
    "TRUNCATE t",
    "ALTER TABLE t ADD a INT",
    "START TRANSACTION",
    "COMMIT",
    "SAVEPOINT a",
    "SET sql_mode = 'ANSI'",
    "SET @a = 1",
    "CALL p(1)",
    "DO f(1)",
    "LOCK TABLES t WRITE",
    "HANDLER t OPEN",
    "PREPARE s FROM 'SELECT 1'",
    "EXECUTE s",
    "XA START 'a'",
    "LOAD DATA INFILE 'x' INTO TABLE t",
    "KILL 5",
    "FLUSH TABLES",
    "GRANT ALL ON *.* TO a",
    "SELECT * FROM t FOR UPDATE",
    "SELECT * FROM t LOCK IN SHARE MODE",
    "SELECT a INTO @x FROM t",
    "SELECT a FROM t INTO OUTFILE 'x'",
    "SELECT @a := 1",
    "SELECT GET_LOCK('a', 1)",
    "SELECT my_function(1)",
    "SELECT d.f(1)",
    "SELECT LAST_INSERT_ID()",
    "SELECT @@hostname",
    "SELECT SQL_CALC_FOUND_ROWS * FROM t",
    "SELECT NEXTVAL(s)",
    "SHOW WARNINGS",
];

const READS: &[&str] = &[
    "SELECT a, b FROM t WHERE c = 'x' AND d IN (1, 2) ORDER BY e LIMIT 5",
    "SELECT COUNT(*) AS n FROM (SELECT 1 FROM t JOIN u USING (a)) x",
    "WITH `c` AS (SELECT * FROM t) SELECT MAX(a) FROM `c`",
    "SELECT t.select, `from`, 1.5e3, x'4D', @v FROM t UNION ALL (SELECT 2)",
    "TABLE t",
    "SHOW TABLES LIKE 'a%'",
    "DESCRIBE t",
    "SELECT EXTRACT(YEAR FROM a), -1 - 2 FROM t GROUP BY b WITH ROLLUP",
];

fn dialects() -> impl Strategy<Value = Dialect> {
    let flavour = prop_oneof![Just((Flavour::MariaDb, 101_119)), Just((Flavour::MySql, 80_400))];
    let charset = prop_oneof![
        Just(Charset::Utf8),
        Just(Charset::AsciiCompatible),
        Just(Charset::Gbk),
        Just(Charset::Sjis),
        Just(Charset::Big5),
        Just(Charset::Gb18030)
    ];
    (flavour, 0u8..32, charset).prop_map(|((flavour, version), modes, charset)| Dialect {
        flavour,
        version,
        modes: Modes::from_bits_truncate(modes),
        charset,
    })
}

/// Bytes in which the lexer and the analysis find much to do.
fn sql_like() -> impl Strategy<Value = Vec<u8>> {
    let fragment = prop_oneof![
        4 => prop::sample::select(WRITES).prop_map(|sql| sql.as_bytes().to_vec()),
        4 => prop::sample::select(READS).prop_map(|sql| sql.as_bytes().to_vec()),
        8 => prop::sample::select(vec![
            "(", ")", ",", ";", ".", "'", "\"", "`", "\\", "@", "@@", ":=", "/*", "*/", "/*!", "/*!50000", "/*!99999",
            "/*M!", "/*+", "--", "-- ", "#", "\n", " ", "\0", "0x", "x'", "1e", "1.e", "?", "$$", "{", "}", "SELECT", "FROM",
            "WITH", "AS", "JOIN", "INTO", "FOR", "UPDATE", "SET", "VALUES", "TABLE", "f(", "count(", "NEXT VALUE FOR",
            "EXPLAIN", "ANALYZE", "DESC", "UNION", "WHERE", "ON", "SHOW", "CREATE", "DEFINER=", "ALTER", "RENAME TO",
            "STATEMENT", "GLOBAL", "NAMES", "COLLATE", "IN", "DATA", "a", "b.c",
        ]).prop_map(|sql| sql.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ];
    let glue = prop::sample::select(vec!["", " ", " ", "\n"]);
    prop::collection::vec((fragment, glue), 0..12).prop_map(|fragments| {
        fragments
            .into_iter()
            .flat_map(|(fragment, glue)| [fragment, glue.as_bytes().to_vec()].concat())
            .collect()
    })
}

/// What may stand between two tokens without changing anything.
fn gap() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        " ",
        "\n",
        "\t \r\n",
        " /* FOR UPDATE; DELETE FROM t ' */ ",
        " -- INTO @x \"\n",
        " # SELECT '\n",
        "/**/",
        " /* /* */ ",
    ])
    .prop_map(str::to_owned)
}

/// The same statement with other gaps between its tokens, and other letter case in its words. A gap is put only where
/// there is one, since elsewhere it may matter (`count (`).
fn relaid(sql: &str, gaps: &[String], upper: &[bool]) -> String {
    let mut out = String::new();
    let mut at = 0;
    let mut choices = gaps.iter().cycle().zip(upper.iter().cycle());
    for token in Lexer::new(sql.as_bytes(), &Dialect::default()) {
        let Some((gap, upper)) = choices.next() else { break };
        if token.range.start > at && at > 0 {
            out.push_str(gap);
        }
        let text = &sql[token.range.clone()];
        match token.kind {
            TokenKind::Word if *upper => out.push_str(&text.to_uppercase()),
            TokenKind::Word => out.push_str(&text.to_lowercase()),
            _ => out.push_str(text),
        }
        at = token.range.end;
    }
    out
}

/// All but where the deciding token stands.
fn essence(facts: &Facts) -> Facts {
    let mut facts = facts.clone();
    facts.token = None;
    facts.parts = facts.parts.iter().map(essence).collect();
    facts
}

fn is_read(facts: &Facts) -> bool {
    facts.why.is_none()
}

fn check_consistent(facts: &Facts, sql: &[u8]) {
    if is_read(facts) {
        assert_eq!(facts.kind, Kind::Read);
        assert!(facts.tables_written.is_empty() && facts.functions.is_empty() && facts.previous.is_empty());
        assert!(facts.effects.is_empty(), "{facts:?}");
    }
    if facts.kind == Kind::Unknown && !facts.all_tables {
        assert!(Lexer::new(sql, &Dialect::default()).all(|token| token.kind == TokenKind::Sign(b';')));
    }
    for token in facts.token.iter().chain(facts.parts.iter().filter_map(|part| part.token.as_ref())) {
        assert!(sql.get(token.clone()).is_some());
    }
    assert!(facts.parts.is_empty() || facts.parts.iter().all(is_read) == is_read(facts));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(sql in prop::collection::vec(any::<u8>(), 0..200), dialect in dialects()) {
        let facts = analyse(&sql, &dialect);
        prop_assert!(facts.why.is_some() || facts.kind == Kind::Read);
        digest_hash(&digest_text(&sql, &dialect));
    }

    #[test]
    fn statement_like_bytes_never_panic_and_facts_agree_with_themselves(sql in sql_like(), dialect in dialects()) {
        let facts = analyse(&sql, &dialect);
        if dialect == Dialect::default() {
            check_consistent(&facts, &sql);
        }
        prop_assert!(facts.why.is_some() || facts.effects.is_empty());
        digest_text(&sql, &dialect);
    }

    #[test]
    fn tokens_are_in_order_and_cover_all_but_gaps(sql in sql_like(), dialect in dialects()) {
        let mut at = 0;
        for token in Lexer::new(&sql, &dialect) {
            prop_assert!(token.range.start >= at && token.range.end <= sql.len());
            // An executable comment that is never closed is an error at the very end.
            prop_assert!(token.range.end > token.range.start || token.kind == TokenKind::Error);
            at = token.range.end;
        }
    }

    #[test]
    fn layout_does_not_change_what_a_statement_is(
        sql in prop::sample::select([WRITES, READS].concat()),
        gaps in prop::collection::vec(gap(), 1..8),
        upper in prop::collection::vec(any::<bool>(), 1..8),
        before in prop::sample::select(vec!["", " ", "/* SELECT 1; */", "-- x\n", "#'\n"]),
        after in prop::sample::select(vec!["", " ", ";", " ; ", " -- SELECT 1", "/* ' */", "#", ";;--\n"]),
    ) {
        let dialect = Dialect { version: 101_119, ..Dialect::default() };
        let other = format!("{before}{}{after}", relaid(sql, &gaps, &upper));
        let (plain, laid) = (analyse(sql.as_bytes(), &dialect), analyse(other.as_bytes(), &dialect));
        // Names that are kept as they were written differ in case.
        let folded = |facts: &Facts| format!("{:?}", essence(facts)).to_lowercase();
        prop_assert_eq!(folded(&plain), folded(&laid), "{}", other);
        prop_assert_eq!(
            digest_text(sql.as_bytes(), &dialect).to_lowercase(),
            digest_text(other.trim_end_matches([';', '-', '\n', ' ']).as_bytes(), &dialect).to_lowercase()
        );
    }

    #[test]
    fn quoting_of_names_does_not_change_what_a_statement_is(
        sql in prop::sample::select([WRITES, READS].concat()),
        quoted in prop::collection::vec(any::<bool>(), 1..8),
        ansi: bool,
    ) {
        let modes = if ansi { Modes::ANSI_QUOTES } else { Modes::empty() };
        let dialect = Dialect { version: 101_119, modes, ..Dialect::default() };
        let quote = if ansi { '"' } else { '`' };
        let (mut other, mut at, mut choices) = (String::new(), 0, quoted.iter().cycle());
        for token in Lexer::new(sql.as_bytes(), &dialect) {
            let word = &sql[token.range.clone()];
            // Names here are single letters; what is called may be a built-in only without quotes.
            let name = token.kind == TokenKind::Word && word.len() == 1 && !sql[token.range.end..].starts_with('(');
            if name && choices.next().is_some_and(|quoted| *quoted) {
                other.push_str(&sql[at..token.range.start]);
                other.push_str(&format!("{quote}{word}{quote}"));
                at = token.range.end;
            }
        }
        other.push_str(&sql[at..]);
        let (plain, quoted) = (analyse(sql.as_bytes(), &dialect), analyse(other.as_bytes(), &dialect));
        prop_assert_eq!(essence(&plain), essence(&quoted), "{}", other);
    }

    #[test]
    fn a_write_among_other_statements_stays_a_write(
        before in prop::sample::select(READS),
        write in prop::sample::select(WRITES),
        after in prop::sample::select(READS),
        executable in prop::sample::select(vec!["", "!", "!50000 ", "!99999 ", "!100100 ", "M!"]),
        dialect in dialects(),
    ) {
        let dialect = Dialect { charset: Charset::Utf8, ..dialect };
        let joined = format!("{before};{write};{after}");
        prop_assert!(!is_read(&analyse(joined.as_bytes(), &dialect)));
        if !executable.is_empty() && (dialect.flavour == Flavour::MariaDb || executable != "M!") {
            let hidden = format!("/*{executable}{write}*/");
            prop_assert!(!is_read(&analyse(hidden.as_bytes(), &dialect)), "{}", hidden);
        }
    }

    #[test]
    fn a_write_with_bytes_put_in_or_taken_out_is_none_or_a_read_of_its_own(
        write in prop::sample::select(WRITES),
        suffix in sql_like(),
    ) {
        // Whatever follows, the statement began as no read.
        if !write.starts_with("SELECT") && !write.starts_with("SHOW") && !write.starts_with("WITH") {
            let sql = [write.as_bytes(), b" ", &suffix].concat();
            prop_assert!(!is_read(&analyse(&sql, &Dialect::default())));
        }
    }

    #[test]
    fn literals_do_not_change_the_digest(number in any::<u64>(), text in "[a-z ]{0,20}", many in 1usize..50) {
        let dialect = Dialect::default();
        let list = vec![number.to_string(); many].join(", ");
        let sql = format!("SELECT a FROM t WHERE b = {number} AND c = '{text}' AND d IN ({list})");
        let expected = "SELECT a FROM t WHERE b = ? AND c = ? AND d IN ( ... )";
        prop_assert_eq!(digest_text(sql.as_bytes(), &dialect), expected);
    }
}
