//! Texts that are no single plain statement: several, broken, commented, quoted or encoded.

use super::*;

#[test]
fn several_statements_are_one_unit() {
    check_all("read", &["SELECT 1; SELECT 2", ";;SELECT 1;;", "SELECT 1; TABLE t; SHOW TABLES;"]);
    check("SELECT 1; DELETE FROM t", "write/multi_statement");
    check("DELETE FROM t; SELECT 1", "write/multi_statement");
    check("SELECT 1; SELECT LAST_INSERT_ID()", "read/multi_statement");
    check("SET @a = 1; SELECT @a", "session/multi_statement");
    check("BEGIN; INSERT INTO t VALUES (1); COMMIT", "write/multi_statement");
    check("CREATE TABLE t (a INT); SELECT 1", "ddl/multi_statement");
    check("SELECT 1; nonsense; SELECT 2", "unknown/multi_statement");
    check("SELECT ';'; SELECT \";\" -- ;\n, 1 /* ; */", "read");
    let found = facts("SELECT * FROM a; DELETE FROM b; SELECT * FROM c;");
    assert_eq!((names(&found.tables_read).as_str(), names(&found.tables_written).as_str()), ("a c", "b"));
    assert_eq!(found.parts.len(), 3);
    assert_eq!(found.token, Some(17..23));
    assert!(facts("SELECT 1;").parts.is_empty());
    assert!(facts("SELECT 1; ;").parts.is_empty());
    let many = facts(&"DELETE FROM t;".repeat(5000));
    assert_eq!((many.parts.len(), many.kind, many.all_tables), (MOST_PARTS + 1, Kind::Unknown, true));
}

#[test]
fn what_is_not_understood_is_unknown() {
    check_all(
        "unknown/unknown_statement",
        &[
            "",
            "  ",
            ";",
            "-- nothing",
            "/* nothing */",
            "nonsense",
            "SELECTED 1",
            "SELECT 'open",
            "SELECT `open",
            "SELECT 1 /* open",
            "SELECT 1 /*! open",
            "SELECT 1 /*!99999 open",
            "SELECT (1",
            "SELECT 1)",
            "SELECT (1; SELECT 2)",
            "SELECT 1 \0",
            "SELECT\x001",
            "SELECT `a\0b`",
            "SELECT 1 -- comment\0\n",
            "SELECT * FROM t PROCEDURE ANALYSE()",
            "SELECT * FROM t FROM u",
            "SELECT * FROM",
            "SELECT * FROM f(1)",
            "SELECT * FROM WHERE(1)",
            "SELECT * FROM SELECT t, u",
            "SELECT * FROM SELECT . t",
            "SELECT * FROM t JOIN VALUES (1)",
            "SELECT * FROM t, WITH c AS (SELECT 1) SELECT * FROM c",
            "SELECT * FROM t JOIN u ON WHERE JOIN v",
            "EXPLAIN LOCK t",
            "SELECT 1.e(1)",
            "SELECT x'4G'",
            "SELECT @@ x",
            "SELECT @@",
            "SELECT @@x(1)",
            "SELECT 1 /*! ; */ DELETE FROM t",
            "IF 1 THEN DELETE FROM t; END IF",
            "WHILE 1 DO SELECT 1; END WHILE",
            "DECLARE a INT",
            "'SELECT 1'",
            "1",
            "?",
            "@x",
            "UPDATE t",
            "INSERT INTO",
            "WITH c AS SELECT 1",
            "WITH c AS (SELECT 1)",
            "USE",
            "USE a b",
            "TRUNCATE",
        ],
    );
    // An empty text touches nothing; what is not understood, everything.
    assert!(!facts(" -- x").all_tables);
    assert!(facts("nonsense").all_tables);
    assert!(facts("nonsense; SELECT 1").parts.is_empty());
    check(&format!("SELECT {}1{}", "(".repeat(100), ")".repeat(100)), "read");
    check(&format!("SELECT {}1{}", "(".repeat(100_000), ")".repeat(100_000)), "unknown/unknown_statement");
    let many: String = (0..1000).map(|n| format!(", t{n}")).collect();
    let found = facts(&format!("SELECT * FROM t{many}"));
    assert!(found.all_tables && found.why.is_none() && found.tables_read.len() < 300);
}

#[test]
fn executable_comments_are_code() {
    check_all(
        "read",
        &[
            "SELECT /*!40001 SQL_NO_CACHE */ * FROM t",
            "SELECT /*! STRAIGHT_JOIN */ * FROM t",
            "SELECT 1 /*!50000 + /* nested */ 1 */",
            "SELECT 1 /*!99999 + /* nested */ 1 */",
            "SELECT 1 /* /*! INTO @x */",
            "SELECT 1 /*!0 + 1 */",
            "SELECT '/*! INTO @x */'",
            "SELECT 1 -- /*! INTO @x */",
            "SELECT 1 /*+ /*! INTO @x */",
        ],
    );
    check_all(
        "read/side_effect",
        &[
            "SELECT 1 /*!INTO @x*/",
            "SELECT 1 /*!50000INTO @x*/",
            "SELECT 1 /*!50000 INTO/**/@x*/",
            "SELECT 1 /*! INTO */ @x",
            // Another version would execute these, or would not see what makes them reads.
            "SELECT 1 /*!99999 INTO @x */",
            "SELECT 1 /*!999999 INTO @x */",
            "SELECT 1 /*!50700 INTO @x */",
        ],
    );
    check("/*!50000 EXPLAIN */ DELETE FROM t", "write/write");
    check("/*!40101 SELECT */ 1", "unknown/unknown_statement");
    check("/*!99999 DELETE FROM t */", "unknown/unknown_statement");
    check("SELECT 1 /*!99999 ; DELETE FROM t */", "unknown/unknown_statement");
    check("/*!99999 SELECT 1 FROM */ DELETE", "unknown/unknown_statement");
    check_mariadb("read/side_effect", &["SELECT 1 /*M! INTO @x */", "SELECT 1 /*M!100000 INTO @x */"]);
    check_mysql("read", &["SELECT 1 /*M! INTO @x */"]);
    // A write is a write whatever the version; the tables of every reading count.
    tables("DELETE FROM t /*!99999 WHERE a IN (SELECT b FROM u) */", "u", "t");
    tables("DELETE FROM t /*!50001 WHERE a IN (SELECT b FROM u) */", "u", "t");
}

#[test]
fn versions_decide_what_the_primary_executes() {
    // Which reading counts for kind and effects is seen from a write, since a read must be one in every reading.
    let kind = |dialect: &Dialect, sql: &str| analyse(sql.as_bytes(), dialect).kind;
    let at = |version| Dialect { version, ..mariadb() };
    let sql = "/*!100300 CREATE TEMPORARY TABLE t (a INT) */";
    assert_eq!(kind(&at(100_300), sql), Kind::Write);
    assert_eq!(kind(&at(100_299), sql), Kind::Unknown);
    // MariaDB leaves to MySQL what is marked 5.7 and later, unless marked as its own.
    assert_eq!(kind(&mariadb(), "/*!50699 DELETE FROM t */"), Kind::Write);
    assert_eq!(kind(&mariadb(), "/*!50700 DELETE FROM t */"), Kind::Unknown);
    assert_eq!(kind(&mariadb(), "/*!80000 DELETE FROM t */"), Kind::Unknown);
    assert_eq!(kind(&mariadb(), "/*M!80000 DELETE FROM t */"), Kind::Write);
    assert_eq!(kind(&mysql(), "/*!80000 DELETE FROM t */"), Kind::Write);
    assert_eq!(kind(&mysql(), "/*!80500 DELETE FROM t */"), Kind::Unknown);
    // Six digits: always to MariaDB; before white space to MySQL.
    assert_eq!(kind(&mysql(), "/*!080000 DELETE FROM t */"), Kind::Write);
    assert_eq!(kind(&mysql(), "/*!100300 DELETE FROM t */"), Kind::Unknown);
    assert_eq!(kind(&mariadb(), "/*!100300DELETE FROM t */"), Kind::Write);
}

#[test]
fn comments_end_where_the_server_ends_them() {
    check_all(
        "read",
        &["SELECT 1 # INTO @x", "SELECT 1 -- INTO @x", "SELECT 1 --\tINTO @x", "SELECT 1 --\x01 INTO @x"],
    );
    check_all(
        "read/side_effect",
        &["SELECT 1 # \n INTO @x", "SELECT 1 -- \n INTO @x", "SELECT 5 --1 INTO @x"],
    );
    check_all(
        "read/side_effect",
        &["SELECT 1 /* */ INTO @x /* */", "SELECT 1 /*/ */ INTO @x", "SELECT 1 /***/ INTO @x"],
    );
    // Servers look for the end of a hint outside its quotes.
    check_all(
        "unknown/unknown_statement",
        &["SELECT /*+ QB_NAME(`*/ '`) */ INTO @x -- '", "SELECT /*+ SET_VAR(a='\\'*/'"],
    );
}

#[test]
fn quoting_follows_the_modes() {
    let no_backslash = Dialect { modes: Modes::NO_BACKSLASH_ESCAPES, ..mariadb() };
    check_in(&mariadb(), r"SELECT '\' INTO @x -- '", "read");
    check_in(&no_backslash, r"SELECT '\' INTO @x -- '", "read/side_effect");
    check_in(&no_backslash, r"SELECT 'a\'", "read");
    check_in(&mariadb(), r"SELECT 'a\'", "unknown/unknown_statement");
    check_in(&mariadb(), r#"SELECT "\" INTO @x -- ""#, "read");
    check_in(&ansi(), r#"SELECT "\" INTO @x -- ""#, "read/side_effect");
    check_in(&ansi(), r#"SELECT * FROM "t" WHERE "f"(1)"#, "write/unknown_function");
    check_in(&mariadb(), r#"SELECT * FROM "t""#, "unknown/unknown_statement");
    check_in(&ansi(), r#"SELECT @"x""#, "read");
    assert_eq!(
        Modes::from_sql_mode("ansi"),
        Modes::ANSI_QUOTES | Modes::IGNORE_SPACE | Modes::PIPES_AS_CONCAT
    );
    assert_eq!(
        Modes::from_sql_mode(" STRICT_ALL_TABLES , no_backslash_escapes"),
        Modes::NO_BACKSLASH_ESCAPES
    );
    assert_eq!(Modes::from_sql_mode("ORACLE"), Modes::from_sql_mode("ANSI"));
    assert_eq!(Modes::from_sql_mode(""), Modes::empty());
}

#[test]
fn multi_byte_character_sets() {
    let of = |charset| Dialect { charset, ..mariadb() };
    // 0x5C as the second byte of a character is no escape.
    for (name, lead) in [("gbk", 0xbf), ("cp932", 0x83), ("sjis", 0x83), ("big5", 0xb3), ("gb18030", 0xbf)] {
        let sql = [b"SELECT '".as_slice(), &[lead, b'\\'], b"' INTO @x -- '"].concat();
        check_in(&of(Charset::from_name(name)), &sql, "read/side_effect");
        check_in(&of(Charset::from_name("latin1")), &sql, "read");
        // A lead byte before a quote is a character of its own, and so is one that is escaped.
        let quote = [b"SELECT '".as_slice(), &[lead], b"' INTO @x -- '"].concat();
        check_in(&of(Charset::from_name(name)), &quote, "read/side_effect");
        let escaped = [b"SELECT '\\".as_slice(), &[lead, b'\\'], b"' INTO @x -- '"].concat();
        check_in(&of(Charset::from_name(name)), &escaped, "read");
        // A backtick may be a second byte too.
        let name_of_table = [b"SELECT * FROM `".as_slice(), &[lead], b"`` INTO @x"].concat();
        let found = analyse(&name_of_table, &of(Charset::from_name(name)));
        assert!(found.why.is_some() && found.all_tables);
    }
    let four = [b"SELECT '".as_slice(), &[0x81, b'0', 0x81, b'0'], b"\\' INTO @x'"].concat();
    check_in(&of(Charset::Gb18030), &four, "read");
    // What is white space above ASCII differs from set to set: 0xA0 is in latin1.
    check_in(&of(Charset::AsciiCompatible), b"SELECT 1 INTO\xa0@x", "unknown/unknown_statement");
    check_in(&of(Charset::AsciiCompatible), b"SELECT 1 AS a\xc3\xa0INTO @x", "unknown/unknown_statement");
    check_in(&of(Charset::AsciiCompatible), b"SELECT '\xa0' FROM t", "read");
    check_in(&of(Charset::Utf8), b"SELECT 1 INTO\xa0@x", "unknown/unknown_statement");
    check_in(&of(Charset::Utf8), "SELECT \u{e0} FROM t\u{e9}", "read");
    check_in(&of(Charset::Utf8), b"SELECT \xc3 FROM t", "unknown/unknown_statement");
    check_in(&of(Charset::Gbk), b"SELECT 1 --\xbf\x5c INTO @x", "unknown/unknown_statement");
    // The same table has other bytes in other sets: its name tells nothing.
    check_in(&of(Charset::AsciiCompatible), b"SELECT * FROM `t\xe9`", "read/unknown_table");
    check_in(&of(Charset::Gbk), b"SELECT * FROM `\xbf\x40`", "read/unknown_table");
    assert_eq!(Charset::from_name("UTF8MB3"), Charset::Utf8);
}

#[test]
fn names_are_told_from_keywords() {
    check_all(
        "read",
        &[
            "SELECT t.into, t.for, t.lock FROM t",
            "SELECT into.x, `for`.`update` FROM t",
            "SELECT a AS `into` FROM t",
            "SELECT 1a, 1e, 0xg, 0b2 FROM t",
            "SELECT t.5a, t.1e5 FROM t",
        ],
    );
    check("SELECT 1 into@x", "read/side_effect");
    check("SELECT t. into @x", "unknown/unknown_statement");
    check_mariadb("read", &["SELECT $x FROM t"]);
    check_mysql("unknown/unknown_statement", &["SELECT $$ a $$", "SELECT $x FROM t"]);
}

#[test]
fn the_deciding_token_is_told() {
    let token = |sql: &str| facts(sql).token.map(|range| sql[range].to_owned()).unwrap_or_default();
    assert_eq!(token("SELECT a FROM t FOR UPDATE"), "FOR");
    assert_eq!(token("SELECT a INTO @x FROM t FOR UPDATE"), "INTO");
    assert_eq!(token("SELECT my_f(1), VERSION()"), "my_f");
    assert_eq!(token("SELECT @@hostname"), "@@");
    assert_eq!(token("/* x */ DELETE FROM t"), "DELETE");
    assert_eq!(token("SELECT * FROM mysql.user"), "mysql");
    assert_eq!(token("SELECT 'open"), "'open");
    assert_eq!(token("SELECT 1"), "");
}

#[test]
fn names_of_enums_are_those_of_the_interface() {
    assert_eq!(Why::TransactionControl.as_str(), "transaction_control");
    assert_eq!(Why::TooLarge.as_str(), "too_large");
    assert_eq!(Kind::Ddl.as_str(), "ddl");
}
