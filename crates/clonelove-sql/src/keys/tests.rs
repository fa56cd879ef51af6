//! The grammar of keys, and for each rule a pair of statements that it keeps dependent.

use super::*;
use crate::analyse;
use crate::dialect::Modes;
use crate::schema::tests::Server;

fn server() -> Server {
    Server::new()
        .table(
            "t",
            &[
                "k varchar(10) pk",
                "n int index",
                "v int",
                "u bigint unsigned index",
                "b varchar(10) index utf8mb4_bin",
                "c char(10) index ascii_general_ci",
                "f varchar(10) index utf8mb4_lithuanian_ci",
                "d decimal(10) index",
                "g varchar(10) index generated",
            ],
        )
        .table("two", &["id int pk auto", "name varchar(20) unique", "v int"])
        .table("prefixed", &["k varchar(20) pk prefix", "v int"])
        .table("hidden", &["id int pk invisible", "k varchar(10) index", "v int"])
        .table("tree", &["id int pk", "parent int index"])
        .cascade("tree", "tree")
        .table("loud", &["id int pk", "k varchar(10) index"])
        .trigger("loud", "SET NEW.k = 'other'")
        .view("view", "select `app`.`t`.`k` AS `k` from `app`.`t`")
        .function("pure", "NO SQL", "RETURN 1")
}

fn dialect(modes: Modes) -> Dialect {
    Dialect { modes, ..Dialect::default() }
}

fn keys_under(rules: Rules, sql: &str, dialect: &Dialect) -> Option<Keys> {
    let facts = analyse(sql.as_bytes(), dialect);
    let schema = server().schema();
    let session = Session { dialect, schema: Some("App"), plain_charsets: true };
    of_read_under(rules, sql.as_bytes(), &facts, &schema, session)
        .or_else(|| of_write_under(rules, sql.as_bytes(), &facts, &schema, session))
}

fn shown(keys: Option<Keys>) -> String {
    let schema = server().schema();
    let Some(keys) = keys else { return "-".to_owned() };
    let table = schema.table(keys.table).expect("a table");
    let mut columns = Vec::new();
    for column in &keys.columns {
        let values: Vec<_> = column.values.iter().map(|value| String::from_utf8_lossy(value)).collect();
        columns.push(format!("{}={}", table.columns[column.place as usize].name, values.join("|")));
    }
    columns.join(" ")
}

#[track_caller]
fn check_in(modes: Modes, sql: &str, expected: &str) {
    assert_eq!(shown(keys_under(Rules::all(), sql, &dialect(modes))), expected, "{sql}");
}

#[track_caller]
fn check(sql: &str, expected: &str) {
    check_in(Modes::empty(), sql, expected);
}

#[test]
fn reads_bounded_by_literals() {
    check("SELECT v FROM t WHERE k = 'x'", "k=x");
    check("select * from App.T as q where q.K = 'X ' order by v limit 1", "k=x");
    check("SELECT v FROM t x WHERE app.x.k IN ('a', \"B\") AND v > 1", "k=a|b");
    check("SELECT v FROM t WHERE (k = 'x') AND ((n = 5 AND v = 3)) GROUP BY v", "k=x n=5");
    check("SELECT v FROM t WHERE v BETWEEN 1 AND 3 AND k = 'x' AND NOT v = 5 HAVING 1", "k=x");
    check("SELECT v FROM t WHERE k = 'x' AND (v = 1 OR v = 2) AND f(v) IS NULL", "-");
    check("SELECT v FROM t WHERE k = 'x' AND (v = 1 OR v = 2) AND ABS(v) IS NULL", "k=x");
    check("SELECT v FROM t WHERE n = -5 AND u = 007", "n=-5 u=7");
    check(
        "SELECT v FROM t WHERE n IN (+1, 2) AND k = 'it''s' AND c = 'a\\'b\\\\c\\%'",
        "n=1|2 k=it's c=a'b\\c\\%",
    );
    check("SELECT v FROM t WHERE b = 'Ab'", "b=ab");
    check("SELECT COUNT(*), EXTRACT(YEAR FROM NOW()) FROM t WHERE k = 'x';", "k=x");
    check("SELECT v FROM t WHERE k = 'x' -- and the rest\n AND /* b */ `n`=1", "k=x n=1");
    check_in(Modes::ANSI_QUOTES, r#"SELECT "v" FROM "t" "t" WHERE ("k" IN ('x')) AND ("n" = 1)"#, "k=x n=1");
    check_in(Modes::NO_BACKSLASH_ESCAPES, r"SELECT v FROM t WHERE k = 'a\'", r"k=a\");
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of traps, a line each")]
fn reads_that_are_not() {
    for condition in [
        "k = 'x' = 0",
        "k = 'x' IS FALSE",
        "v BETWEEN 0 AND k = 'x'",
        "k = 'ab' 'c'",
        "k = 'x' || 'y'",
        "k = 'x' COLLATE utf8mb4_bin",
        "NOT k = 'x'",
        "NOT (k = 'x')",
        "! k = 'x'",
        "k NOT IN ('x')",
        "k IN ('x') = 0",
        "(k = 'x') = 0",
        "(k, n) = ('x', 1)",
        "(k = 'x', 1) = (0, 1)",
        "k = 'x' OR v = 1",
        "v = 1 OR k = 'x'",
        "v = 1 OR n = 2 AND k = 'x'",
        "(k = 'x' OR v = 1)",
        "k = 'x' XOR v = 1",
        "k = 'x' || v",
        "@a := v AND k = 'x'",
        "CASE WHEN 1 AND k = 'x' THEN 0 ELSE 1 END",
        "k = 'x' AND v IN (SELECT v FROM t)",
        "k = 'x' AND EXISTS (TABLE t)",
        "k = 5",
        "k = N'x'",
        "k = _utf8mb4'x'",
        "k = 'é'",
        "k = 'a\\tb'",
        "k = 0x61",
        "k = NULL",
        "k <=> 'x'",
        "k LIKE 'x'",
        "k > 'x'",
        "k = ?",
        "k = @x",
        "k = n",
        "k IN ('x', n)",
        "k IN ('x', 5)",
        "k IN (('x'))",
        "k = '01234567890'",
        "n = '5abc'",
        "n = '5'",
        "n = 5 + 1",
        "n = 1.5",
        "n = 5e0",
        "n = - -5",
        "n = 3000000000",
        "u = -1",
        "f = 'y'",
        "d = 5",
        "g = 'x'",
        "v = 5",
        "nowhere = 'x'",
        "CURRENT_DATE = 'x'",
        "MATCH (k) AGAINST ('y') AND k = 'x'",
        "k = 'x' LIMIT ROWS EXAMINED 5",
        "k = 'x' UNION SELECT v FROM t",
        "k = 'x' /*!50000 AND n = 1 */",
        "k = 'x' FOR UPDATE",
        "k = 'x' AND pure() = 1",
    ] {
        check(&format!("SELECT v FROM t WHERE {condition}"), "-");
    }
    for sql in [
        "SELECT v FROM t",
        "SELECT 1",
        "SELECT t.v FROM t, two WHERE k = 'x'",
        "SELECT t.v FROM t JOIN t AS o WHERE t.k = 'x'",
        "SELECT t.v FROM t JOIN two USING (v) WHERE k = 'x'",
        "SELECT (SELECT MAX(v) FROM t) FROM t WHERE k = 'x'",
        "SELECT v FROM (SELECT * FROM t) AS t WHERE k = 'x'",
        "WITH t AS (SELECT * FROM t) SELECT v FROM t WHERE k = 'x'",
        "SELECT v FROM view WHERE k = 'x'",
        "SELECT v FROM t FOR SYSTEM_TIME ALL WHERE k = 'x'",
        "SELECT v FROM nowhere WHERE k = 'x'",
        "SELECT v FROM t WHERE k = 'x'; SELECT 1",
        "EXPLAIN SELECT v FROM t WHERE k = 'x'",
        "SELECT MATCH (k) AGAINST ('y') FROM t WHERE k = 'x'",
    ] {
        check(sql, "-");
    }
    check_in(Modes::ANSI_QUOTES, r#"SELECT v FROM t WHERE k = "x""#, "-");
    check_in(Modes::PIPES_AS_CONCAT, "SELECT v FROM t WHERE k = 'x' || 'y'", "-");
    check_in(Modes::HIGH_NOT_PRECEDENCE, "SELECT v FROM t WHERE NOT k = 'x'", "-");
}

#[test]
fn writes_bounded_by_literals() {
    check("INSERT INTO t (k, n, v) VALUES ('x', 1, 2), ('Y', -1, NOW())", "k=x|y n=1|-1");
    check("INSERT t VALUES ('x', 1, 2, 3, 'b', 'c', 'f', 4, DEFAULT)", "k=x n=1 u=3 b=b c=c");
    check("INSERT INTO t (k, n) VALUES ('x', 1), ('y', 1 + 1)", "k=x|y");
    check("INSERT IGNORE INTO t SET k = 'x', n = NULL", "k=x");
    check("REPLACE INTO t (k, n) VALUE ('x', 1)", "k=x");
    check(
        "INSERT INTO t (k, n) VALUES ('x', 1) ON DUPLICATE KEY UPDATE k = VALUES(k), n = VALUES(n) + 1",
        "k=x",
    );
    check("INSERT INTO t (k, n) VALUES ('x', 1) AS new ON DUPLICATE KEY UPDATE k = new.k, v = 5", "k=x");
    check("INSERT INTO t (k) VALUES ('x') RETURNING k", "k=x");
    check("INSERT INTO two (id, name) VALUES (5, 'x')", "id=5 name=x");
    check("INSERT INTO hidden VALUES ('x', 1)", "k=x");
    check("UPDATE t SET v = v + 1 WHERE k = 'x'", "k=x");
    check(
        "UPDATE t AS q SET q.v = (SELECT MAX(v) FROM two), n = 3 WHERE k IN ('x') AND n = 4 ORDER BY v LIMIT 1",
        "k=x",
    );
    check("DELETE FROM t WHERE k = 'x' AND n IN (1, 2)", "k=x n=1|2");
    check("DELETE FROM t WHERE (k = 'x') AND (v = 1 OR v = 2) LIMIT 1", "k=x");
    check("INSERT INTO tree VALUES (1, 1)", "id=1 parent=1");
    check_in(
        Modes::ANSI_QUOTES,
        r#"INSERT INTO "t" ("k") VALUES ('x') ON DUPLICATE KEY UPDATE "k" = VALUES("k")"#,
        "k=x",
    );
}

#[test]
fn writes_that_are_not() {
    for sql in [
        "INSERT INTO t (k, n, n) VALUES ('x', 1, 2), ('x', 1, 2)",
        "INSERT INTO t (k) SELECT 'x'",
        "INSERT INTO t () VALUES ()",
        "INSERT INTO t (k) VALUES (UPPER('x'))",
        "INSERT INTO t (k) VALUES ('x' 'y')",
        "INSERT INTO t (k) VALUES (5)",
        "INSERT INTO t (k) VALUES (DEFAULT)",
        "INSERT INTO t (k) VALUES (NULL)",
        "INSERT INTO t (n) VALUES ('5')",
        "INSERT INTO t (g) VALUES ('5')",
        "INSERT INTO t (k) VALUES ('x'), (v)",
        "INSERT INTO t (k, n) VALUES ('x')",
        "INSERT INTO two (id) VALUES (0)",
        "INSERT INTO two (id) VALUES (5), (-0)",
        "INSERT INTO two (id, name) VALUES (5, 'x') ON DUPLICATE KEY UPDATE v = 1",
        "REPLACE INTO two (id, name) VALUES (5, 'x')",
        "REPLACE INTO prefixed (k) VALUES ('x')",
        "INSERT INTO t (k, n) VALUES ('x', 1) ON DUPLICATE KEY UPDATE k = 'y'",
        "INSERT INTO t (k, b) VALUES ('x', 'y') ON DUPLICATE KEY UPDATE k = VALUES(b)",
        "INSERT INTO t (k, n) VALUES ('x', 1) ON DUPLICATE KEY UPDATE k = CONCAT(VALUES(k), 'y')",
        "INSERT INTO t (k, n) VALUES ('x', 1) ON DUPLICATE KEY UPDATE k = VALUES(k) + 1",
        "REPLACE INTO tree VALUES (1, 2)",
        "UPDATE t SET k = 'y' WHERE k = 'x'",
        "UPDATE t SET v = 1",
        "UPDATE t, two SET t.v = 1 WHERE k = 'x'",
        "UPDATE t JOIN two SET t.v = 1 WHERE k = 'x'",
        "UPDATE t SET v = 1 WHERE k = 'x' OR n = 1",
        "UPDATE tree SET parent = 1 WHERE id = 1",
        "UPDATE view SET k = 'y' WHERE k = 'x'",
        "DELETE FROM t",
        "DELETE t FROM t WHERE k = 'x'",
        "DELETE FROM t USING t JOIN two WHERE t.k = 'x'",
        "DELETE FROM tree WHERE id = 1",
        "INSERT INTO loud (id) VALUES (1)",
        "UPDATE loud SET k = 'y' WHERE id = 1",
        "INSERT INTO t (k) VALUES ('x'); DELETE FROM t",
        "INSERT INTO t (k, n) VALUES ('x', nobody_knows(1))",
        "TRUNCATE t",
    ] {
        check(sql, "-");
    }
}

#[test]
fn parameters_of_prepared_statements_are_keys_by_what_is_bound_to_them() {
    let dialect = dialect(Modes::empty());
    let schema = server().schema();
    let session = Session { dialect: &dialect, schema: Some("app"), plain_charsets: true };
    let plan_of = |sql: &str| plan(sql.as_bytes(), &analyse(sql.as_bytes(), &dialect), &schema, session);
    let bound = |sql: &str, values: &[Option<Bound<'static>>]| {
        let plan = plan_of(sql).expect("a plan");
        shown(plan.keys(sql.as_bytes(), |number| values.get(usize::from(number)).copied().flatten()))
    };
    let (text, number) =
        (|text: &'static str| Some(Bound::Text(text.as_bytes())), |n| Some(Bound::Integer(n)));
    let read = "SELECT v, ? FROM t WHERE k = ? AND n IN (?, 7) AND v > ?";
    let values = [number(1), text("It's \\ "), number(-3), number(9)];
    assert_eq!(bound(read, &values), "k=it's \\ n=-3|7");
    assert_eq!(bound(read, &[number(1), text("x"), None, number(9)]), "k=x");
    assert_eq!(bound(read, &[number(1), number(5), text("5"), number(9)]), "-");
    assert_eq!(bound(read, &[number(1), text("é"), number(1 << 40), number(9)]), "-");
    assert_eq!(bound(read, &[number(1), text("much too long"), number(5)]), "n=5|7");
    let write = "INSERT INTO two (name, id, v) VALUES (?, ?, ?), ('B', ?, 5)";
    let values = [text("A"), number(1), number(2), number(3)];
    assert_eq!(bound(write, &values), "name=a|b id=1|3");
    assert_eq!(bound(write, &[text("A"), number(1), number(2), number(0)]), "name=a|b");
    assert_eq!(bound("UPDATE t SET v = ? WHERE k = ?", &[number(1), text("x")]), "k=x");
    assert_eq!(bound("DELETE FROM t WHERE n = ?", &[number(7)]), "n=7");
    let told: Vec<Vec<_>> =
        plan_of(read).expect("a plan").columns().map(|(_, values)| values.collect()).collect();
    assert_eq!(told, [vec![Value::Parameter(1)], vec![Value::Parameter(2), Value::Literal(44..45)]]);
    assert!(plan_of(read).is_some_and(|plan| plan.has_parameters()));
    assert!(plan_of("SELECT v FROM t WHERE k = 'x' AND v = ?").is_some_and(|plan| !plan.has_parameters()));
    // What is no key whatever is bound.
    for sql in [
        "SELECT v FROM t WHERE n = -?",
        "SELECT v FROM t WHERE k = ? COLLATE utf8mb4_bin",
        "SELECT v FROM t WHERE k = ? OR n = ?",
        "SELECT v FROM t WHERE d = ?",
        "UPDATE t SET k = ? WHERE k = ?",
    ] {
        let none = plan_of(sql).is_none_or(|plan| plan.keys(sql.as_bytes(), |_| number(1)).is_none());
        assert!(none, "{sql}");
    }
}

#[test]
fn in_an_unusual_session_there_are_none() {
    let schema = server().schema();
    let sql = b"SELECT v FROM t WHERE k = 'x'";
    let of = |dialect: &Dialect, schema_name, plain_charsets| {
        let session = Session { dialect, schema: schema_name, plain_charsets };
        of_read(sql, &analyse(sql, dialect), &schema, session).is_some()
    };
    let usual = Dialect::default();
    assert!(of(&usual, Some("app"), true));
    assert!(!of(&usual, Some("app"), false));
    assert!(!of(&usual, Some("other"), true));
    assert!(!of(&usual, None, true));
    assert!(!of(&Dialect { charset: Charset::Gbk, ..usual }, Some("app"), true));
}

#[test]
fn a_poor_account_gives_no_keys() {
    let poor = server().without_grants().grant("GRANT SELECT ON *.* TO `c`@`%`").schema();
    let dialect = Dialect::default();
    let session = Session { dialect: &dialect, schema: Some("app"), plain_charsets: true };
    for sql in ["SELECT v FROM t WHERE k = 'x'", "DELETE FROM t WHERE k = 'x'"] {
        let facts = analyse(sql.as_bytes(), &dialect);
        assert_eq!(of_read(sql.as_bytes(), &facts, &poor, session), None);
        assert_eq!(of_write(sql.as_bytes(), &facts, &poor, session), None);
    }
}

#[test]
fn collations_of_a_language_are_not_among_the_tested() {
    for tested in [
        "utf8mb4_general_ci",
        "utf8mb4_0900_ai_ci",
        "latin1_swedish_ci",
        "ascii_bin",
        "utf8mb4_uca1400_ai_ci",
    ] {
        assert!(literal::is_tested(tested), "{tested}");
    }
    for other in [
        "utf8mb4_lithuanian_ci",
        "utf8mb4_swedish_ci",
        "swe7_swedish_ci",
        "utf16_bin",
        "utf8mb4_lt_0900_ai_ci",
        "binary",
    ] {
        assert!(!literal::is_tested(other), "{other}");
    }
}

/// A read and a write that touches a row of its answer, and the rule without which they would count as independent.
#[rustfmt::skip]
const TRAPS: &[(Rules, &str, &str)] = &[
    (Rules::WHOLE_RIGHT, "SELECT v FROM t WHERE k = 'x' = 0", "DELETE FROM t WHERE k = 'y'"),
    (Rules::WHOLE_RIGHT, "SELECT v FROM t WHERE k = 'x' IS FALSE", "DELETE FROM t WHERE k = 'y'"),
    (Rules::WHOLE_RIGHT, "SELECT v FROM t WHERE k = 'ab' 'c'", "DELETE FROM t WHERE k = 'abc'"),
    (Rules::WHOLE_RIGHT, "SELECT v FROM t WHERE k = 'x' COLLATE utf8mb4_lithuanian_ci", "DELETE FROM t WHERE k = 'y'"),
    (Rules::WHOLE_RIGHT, "SELECT v FROM t WHERE (k = 'x') = 0", "DELETE FROM t WHERE k = 'y'"),
    (Rules::WHOLE_RIGHT, "SELECT v FROM t WHERE k IN ('x') = 0", "DELETE FROM t WHERE k = 'y'"),
    (Rules::WHOLE_LEFT, "SELECT v FROM t WHERE NOT k = 'x'", "DELETE FROM t WHERE k = 'y'"),
    (Rules::WHOLE_LEFT, "SELECT v FROM t WHERE 0 = k = 'x'", "DELETE FROM t WHERE k = 'y'"),
    (Rules::NO_OR, "SELECT v FROM t WHERE k = 'x' AND v = 1 OR v = 2", "DELETE FROM t WHERE k = 'y'"),
    (Rules::NO_OR, "SELECT v FROM t WHERE k = 'x' AND v = 1 XOR v = 2", "DELETE FROM t WHERE k = 'y'"),
    (Rules::NO_OR, "SELECT v FROM t WHERE (k = 'x' AND v = 1 || v = 2)", "DELETE FROM t WHERE k = 'y'"),
    (Rules::BETWEEN, "SELECT v FROM t WHERE v BETWEEN 0 AND k = 'x'", "DELETE FROM t WHERE k = 'y'"),
    (Rules::CASE, "SELECT v FROM t WHERE CASE WHEN v AND k = 'x' AND 1 THEN 0 ELSE 1 END", "DELETE FROM t WHERE k = 'y'"),
    (Rules::ONE_TABLE, "SELECT v FROM t WHERE k = 'x' AND v = (SELECT MAX(v) FROM t)", "DELETE FROM t WHERE k = 'y'"),
    (Rules::ONE_TABLE, "SELECT o.v FROM t JOIN t AS o WHERE t.k = 'x'", "DELETE FROM t WHERE k = 'y'"),
    (Rules::TYPES, "SELECT v FROM t WHERE n = '5abc'", "DELETE FROM t WHERE n = 5"),
    (Rules::TYPES, "SELECT v FROM t WHERE k = 5", "DELETE FROM t WHERE k = '5abc'"),
    (Rules::TYPES, "SELECT v FROM t WHERE d = 5", "DELETE FROM t WHERE d = 5.0"),
    (Rules::RANGE, "SELECT v FROM t WHERE n = 2147483647", "INSERT IGNORE INTO t (n) VALUES (3000000000)"),
    (Rules::LENGTH, "SELECT v FROM t WHERE k = '0123456789'", "INSERT IGNORE INTO t (k) VALUES ('0123456789abc')"),
    (Rules::PRINTABLE, "SELECT v FROM t WHERE k = 'a'", "DELETE FROM t WHERE k = 'á'"),
    (Rules::COLLATION, "SELECT v FROM t WHERE f = 'i'", "DELETE FROM t WHERE f = 'y'"),
    (Rules::CASE_FOLDED, "SELECT v FROM t WHERE k = 'a'", "DELETE FROM t WHERE k = 'A'"),
    (Rules::SPACE_FOLDED, "SELECT v FROM t WHERE k = 'a'", "DELETE FROM t WHERE k = 'a '"),
    (Rules::GENERATED, "SELECT v FROM t WHERE g = 'new'", "UPDATE t SET v = 1 WHERE g = 'old'"),
    (Rules::AUTO_INCREMENT, "SELECT v FROM two WHERE id = 7", "INSERT INTO two (id) VALUES (0)"),
    (Rules::UNIQUE_KEYS, "SELECT v FROM two WHERE id = 7", "REPLACE INTO two (id, name) VALUES (5, 'of 7')"),
    (Rules::UNIQUE_KEYS, "SELECT v FROM two WHERE id = 7", "INSERT INTO two (id, name) VALUES (5, 'of 7') ON DUPLICATE KEY UPDATE v = 1"),
    (Rules::PREFIX, "SELECT v FROM prefixed WHERE k = 'abcdef'", "REPLACE INTO prefixed (k) VALUES ('abcxyz')"),
    (Rules::ASSIGNED, "SELECT v FROM t WHERE k = 'y'", "UPDATE t SET k = 'y' WHERE k = 'x'"),
    (Rules::ASSIGNED, "SELECT v FROM t WHERE k = 'y'", "INSERT INTO t (k) VALUES ('x') ON DUPLICATE KEY UPDATE k = 'y'"),
    (Rules::SAME_VALUE, "SELECT v FROM t WHERE k = 'y'", "INSERT INTO t (k, b) VALUES ('x', 'y') ON DUPLICATE KEY UPDATE k = VALUES(b)"),
    (Rules::TRIGGERS, "SELECT id FROM loud WHERE k = 'other'", "INSERT INTO loud (id, k) VALUES (1, 'x')"),
    (Rules::CASCADES, "SELECT parent FROM tree WHERE id = 2", "DELETE FROM tree WHERE id = 1"),
    (Rules::RANKING, "SELECT MATCH (k) AGAINST ('z') FROM t WHERE k = 'x'", "DELETE FROM t WHERE k = 'y'"),
];

#[test]
fn every_rule_keeps_a_trap_shut() {
    let dialect = Dialect::default();
    let apart = |rules, read: &str, write: &str| match (
        keys_under(rules, read, &dialect),
        keys_under(rules, write, &dialect),
    ) {
        (Some(read), Some(write)) => independent(&read, &write),
        _ => false,
    };
    let mut needed = Rules::empty();
    for (rule, read, write) in TRAPS {
        assert!(!apart(Rules::all(), read, write), "independent: {read}; {write}");
        // Some traps are shut by two rules: this one alone must do for the rest.
        assert!(apart(Rules::all().difference(*rule), read, write), "{rule:?} does nothing: {read}; {write}");
        needed |= *rule;
    }
    assert_eq!(needed, Rules::all(), "a rule without a trap");
    assert!(apart(Rules::all(), "SELECT v FROM t WHERE k = 'x'", "DELETE FROM t WHERE k = 'y'"));
    assert!(apart(Rules::all(), "SELECT v FROM t WHERE k = 'x'", "DELETE FROM two WHERE id = 1"));
}

#[test]
fn hashes_of_values_tell_columns_and_values_apart() {
    let of = |sql: &str| {
        let keys = keys_under(Rules::all(), sql, &Dialect::default()).expect("keys");
        keys.columns.iter().flat_map(ColumnKeys::ids).collect::<Vec<_>>()
    };
    assert_eq!(of("SELECT v FROM t WHERE k = 'X'"), of("DELETE FROM t WHERE k = 'x '"));
    assert_ne!(of("SELECT v FROM t WHERE k = 'x'"), of("SELECT v FROM t WHERE c = 'x'"));
    assert_ne!(of("SELECT v FROM t WHERE n = 1"), of("SELECT v FROM t WHERE n = 11"));
    assert_eq!(of("SELECT v FROM t WHERE k IN ('a', 'b')").len(), 2);
}
