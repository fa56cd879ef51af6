//! Tables of statements and what they are; the laws that hold for all of them are in `tests/laws.rs`.

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

#[test]
fn plain_reads_may_leave_the_primary() {
    check_all(
        "read",
        &[
            "SELECT 1",
            "select 1",
            "SELECT 1;",
            "SELECT 1 ; ; -- end",
            "SELECT * FROM t",
            "(SELECT 1)",
            "((SELECT 1) UNION ALL (SELECT 2)) LIMIT 1",
            "SELECT 1 UNION SELECT 2 INTERSECT SELECT 3 EXCEPT SELECT 4",
            "WITH c AS (SELECT 1) SELECT * FROM c",
            "WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 5) SELECT * FROM c",
            "WITH a AS (SELECT 1), b AS (SELECT * FROM a) (SELECT * FROM b)",
            "VALUES (1, 2), (3, 4)",
            "TABLE t",
            "TABLE t ORDER BY a LIMIT 3",
            "SELECT DISTINCT SQL_NO_CACHE a FROM t WHERE b = 1 GROUP BY a HAVING COUNT(*) > 1 ORDER BY a DESC LIMIT 1, 2",
            "SELECT STRAIGHT_JOIN a FROM t STRAIGHT_JOIN u NATURAL LEFT OUTER JOIN v",
            "SELECT a FROM t USE INDEX FOR ORDER BY (i), u FORCE INDEX (j) IGNORE KEY FOR JOIN (k)",
            "SELECT EXISTS (SELECT 1), a IN (1), NOT (b), CASE WHEN (c) THEN (d) ELSE (e) END, IF(f, g, h)",
            "SELECT SUBSTRING('abc' FROM 2 FOR 1), TRIM(BOTH 'x' FROM y), EXTRACT(YEAR FROM z), POSITION('a' IN b)",
            "SELECT CAST(a AS CHAR(10)), CONVERT(b, DECIMAL(10, 2)), CONVERT(c USING utf8mb4), CHAR(65 USING ascii)",
            "SELECT CAST(a AS INTERVAL DAY_SECOND(6)) FROM t",
            "SELECT CAST(a AS DATETIME(6)), CAST(b AS UNSIGNED INTEGER), BINARY(c)",
            "SELECT MATCH (a, b) AGAINST ('x' IN NATURAL LANGUAGE MODE WITH QUERY EXPANSION) FROM t",
            "SELECT MATCH a, t.b AGAINST ('x'), c LIKE 'd' ESCAPE ('e') FROM t",
            "SELECT a FROM t GROUP BY a WITH ROLLUP",
            "SELECT ROW_NUMBER() OVER (PARTITION BY a ORDER BY b ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM t",
            "SELECT SUM(a) OVER w, MAX(a) OVER v FROM t WINDOW w AS (PARTITION BY b), v AS (ORDER BY c)",
            "SELECT GROUP_CONCAT(DISTINCT a ORDER BY b DESC SEPARATOR ', ') FROM t",
            "SELECT DATE_ADD(a, INTERVAL 1 DAY), b + INTERVAL (c) HOUR FROM t",
            "SELECT NOW(), CURRENT_TIMESTAMP, CURRENT_DATE(), UTC_TIMESTAMP(6), UNIX_TIMESTAMP(), SYSDATE()",
            "SELECT RAND(), UUID(), SLEEP(0), BENCHMARK(1, MD5('a')), DATABASE(), SCHEMA()",
            "SELECT JSON_EXTRACT(a, '$.b'), JSON_OBJECT('a', 1), JSON_ARRAYAGG(c) FROM t",
            "SELECT ST_AsText(a), ST_Distance(b, c), POINT(1, 2) FROM t",
            "SELECT a REGEXP 'x', b RLIKE ('y'), REGEXP_REPLACE(c, 'd', 'e') FROM t",
            "SELECT SHA2(a, 256), AES_ENCRYPT(b, 'k'), TO_BASE64(c), CRC32(d) FROM t",
            "SELECT INSERT('abc', 1, 2, 'x'), REPLACE(a, 'b', 'c'), LEFT(a, 1), RIGHT(a, 1), REPEAT('a', 3), MOD(5, 2)",
            "SELECT t.`select`, t.delete, t.into, t.update FROM t",
            "SELECT 'FOR UPDATE', \"INTO @x\", `LOCK IN SHARE MODE`, 'it''s', 'it\\'s' FROM t",
            "SELECT @x, @`y z`, @'w' FROM t WHERE a = @b",
            "SELECT @@sql_mode, @@session.time_zone, @@local.autocommit, @@collation_connection",
            "SELECT {d '2020-01-01'}, {fn CONCAT('a', 'b')}",
            "SELECT * FROM { OJ t LEFT OUTER JOIN u ON t.a = u.a }",
            "SELECT a.b.c, `d`.`e`.* FROM d.e",
            "SELECT * FROM (SELECT 1 AS a) AS x (b), (t CROSS JOIN u) LEFT JOIN (v, w) ON TRUE",
            "SELECT * FROM JSON_TABLE('[1]', '$[*]' COLUMNS (i FOR ORDINALITY, a VARCHAR(10) PATH '$', NESTED PATH '$.b[*]' \
             COLUMNS (c INT PATH '$'))) AS j",
            "SELECT 1 FROM DUAL",
            "SELECT _utf8mb4'a' COLLATE utf8mb4_bin, N'b', x'4D', 0x4D, b'01', 0b01, 1e5, .5, 1., 1.5e-3",
            "SELECT a FROM t PARTITION (p0, p1) AS x WHERE 1",
            "SELECT a FROM t LIMIT 5 OFFSET 3",
            "SELECT -1, - - 1, 5--1, 2*/* comment */3",
            "SELECT a <=> b, a << 1, a >> 1, a != b, a || b, a && b, !a, ~a, a ^ b, a DIV b",
            "SELECT ALL a FROM t WHERE (a, b) = ALL (SELECT 1, 2) OR c > ANY (SELECT 3) OR d = SOME (SELECT 4)",
            "SELECT VALUES(b) FROM t",
            "SELECT ? FROM t WHERE a = ? LIMIT ?",
        ],
    );
}

#[test]
fn reads_of_one_flavour() {
    check_mariadb(
        "read",
        &[
            "SELECT * FROM t FOR SYSTEM_TIME AS OF TIMESTAMP('2020-01-01 00:00:00') AS a JOIN u",
            "SELECT * FROM t FOR SYSTEM_TIME FROM '2020-01-01' TO NOW() WHERE a = 1",
            "SELECT * FROM t FOR SYSTEM_TIME BETWEEN (1) AND (2), u FOR SYSTEM_TIME ALL",
            "SELECT PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY a) OVER (PARTITION BY b) FROM t",
            "SELECT * FROM t LIMIT ROWS EXAMINED 10",
            "SELECT * FROM t ORDER BY a OFFSET 1 ROWS FETCH FIRST 2 ROWS WITH TIES",
            "WITH RECURSIVE c AS (SELECT 1 AS a UNION SELECT a FROM c) CYCLE a RESTRICT SELECT * FROM c",
            "SELECT NVL(a, b), COLUMN_GET(c, 'd' AS CHAR(10)), MEDIAN(e) OVER (PARTITION BY f) FROM t",
            "SELECT \\N, $a FROM t",
            "ANALYZE SELECT * FROM t",
            "ANALYZE FORMAT=JSON SELECT * FROM t",
            "EXPLAIN EXTENDED SELECT * FROM t",
        ],
    );
    check_mysql(
        "read",
        &[
            "SELECT a->'$.b', a->>'$.c', 'x' MEMBER OF ('[\"x\"]') FROM t",
            "SELECT BIN_TO_UUID(a), ANY_VALUE(b), REGEXP_LIKE(c, 'd'), GROUPING(e) FROM t GROUP BY e WITH ROLLUP",
            "SELECT * FROM t, LATERAL (SELECT * FROM u WHERE u.a = t.a) AS x",
            "VALUES ROW(1, 2), ROW(3, 4) ORDER BY column_0",
            "SELECT * FROM (VALUES ROW(1), ROW(2)) AS v (a)",
            "EXPLAIN ANALYZE SELECT * FROM t",
            "EXPLAIN FORMAT=TREE SELECT * FROM t",
            "SELECT /*+ MAX_EXECUTION_TIME(1000) QB_NAME(`a`) */ * FROM t",
        ],
    );
    check_mysql(
        "write/unknown_function",
        &["SELECT NVL(a, b) FROM t", "SELECT X(p) FROM t", "SELECT NEXTVAL(s)"],
    );
    check_mariadb("write/unknown_function", &["SELECT BIN_TO_UUID(a) FROM t", "SELECT ANY_VALUE(a) FROM t"]);
}

#[test]
fn locking_reads() {
    check_all(
        "read/locking_read",
        &[
            "SELECT * FROM t FOR UPDATE",
            "SELECT * FROM t FOR UPDATE /* a comment after it */",
            "SELECT * FROM t FOR/**/UPDATE -- and another",
            "SELECT * FROM t FOR UPDATE NOWAIT",
            "SELECT * FROM t FOR UPDATE SKIP LOCKED",
            "SELECT * FROM t WHERE a IN (SELECT b FROM u FOR UPDATE)",
            "SELECT * FROM t LOCK IN SHARE MODE",
            "(SELECT * FROM t LOCK IN SHARE MODE) UNION (SELECT 1)",
            "SELECT * FROM t /*!FOR UPDATE*/",
            "SELECT * FROM t /*! FOR */ UPDATE",
            "WITH c AS (SELECT * FROM t FOR UPDATE) SELECT * FROM c",
            "EXPLAIN SELECT * FROM t FOR UPDATE",
            "SELECT * FROM t FOR SHARE",
            "SELECT * FROM t, u FOR SHARE OF t SKIP LOCKED",
            "SELECT 1 UNION SELECT a FROM t FOR UPDATE OF t, u",
        ],
    );
    check("SELECT * FROM t FOR NO KEY UPDATE", "unknown/unknown_statement");
    check("SELECT * FROM t FOR something", "unknown/unknown_statement");
}

#[test]
fn side_effects() {
    check_all(
        "read/side_effect",
        &[
            "SELECT 1 INTO @x",
            "SELECT a, b INTO @x, @y FROM t",
            "SELECT a, b FROM t INTO @x, @y",
            "SELECT a FROM t INTO OUTFILE '/tmp/x' FIELDS TERMINATED BY ','",
            "SELECT a INTO DUMPFILE '/tmp/x' FROM t",
            "SELECT @x := 1",
            "SELECT a FROM t WHERE (@n := @n + 1) < 5",
            "SELECT (SELECT a FROM t LIMIT 1 INTO @x)",
            "SELECT GET_LOCK('a', 1)",
            "SELECT get_lock ('a', 1)",
            "SELECT IF(a, GET_LOCK('a', 1), 0) FROM t",
            "SELECT RELEASE_LOCK('a')",
            "SELECT RELEASE_ALL_LOCKS()",
            "EXPLAIN SELECT 1 INTO @x",
        ],
    );
    check_mariadb(
        "write/side_effect",
        &[
            "SELECT NEXTVAL(s)",
            "SELECT nextval(d.s), 1",
            "SELECT NEXT VALUE FOR s",
            "SELECT SETVAL(s, 5, TRUE)",
            "SELECT s.nextval",
            "SELECT d.s.NEXTVAL FROM t",
        ],
    );
    check_mariadb("read/side_effect", &["SELECT LASTVAL(s)", "SELECT PREVIOUS VALUE FOR s"]);
    check_all("read", &["SELECT next FROM t", "SELECT next value FROM t", "SELECT previous, t.next FROM t"]);
    tables("SELECT NEXTVAL(d.s) FROM t", "t", "d.s");
    // The default may be the next value of a sequence.
    check_all("write/side_effect", &["SELECT DEFAULT(a) FROM t", "SELECT * FROM t WHERE DEFAULT(t.a) > 0"]);
    assert!(facts("SELECT DEFAULT(a) FROM t").all_tables);
    tables("SELECT LASTVAL(s)", "s", "");
    effects(
        "SELECT GET_LOCK('Job', 1), RELEASE_LOCK('x'), GET_LOCK(CONCAT('a', 'b'), 1), GET_LOCK('Job', 1)",
        &[
            Effect::GetLock(Some(b"job".to_vec())),
            Effect::ReleaseLock(Some(b"x".to_vec())),
            Effect::GetLock(None),
            Effect::GetLock(Some(b"job".to_vec())),
        ],
    );
    effects("SELECT GET_LOCK('a' 'b', 1)", &[Effect::GetLock(None)]);
    effects("SELECT GET_LOCK('a\\'b', 1)", &[Effect::GetLock(None)]);
    effects("SELECT 1 INTO @x", &[Effect::UserVariableWritten]);
    effects("SELECT NEXT VALUE FOR s", &[Effect::LastVal]);
}

#[test]
fn questions_about_the_previous_statement() {
    check_all(
        "read/previous_statement",
        &[
            "SELECT LAST_INSERT_ID()",
            "SELECT last_insert_id(5)",
            "SELECT ROW_COUNT()",
            "SELECT FOUND_ROWS()",
            "SELECT SQL_CALC_FOUND_ROWS * FROM t LIMIT 1",
            "SELECT @@last_insert_id",
            "SELECT @@identity",
            "SELECT @@session.warning_count",
            "SELECT @@error_count",
            "SHOW WARNINGS",
            "SHOW ERRORS LIMIT 5",
            "SHOW COUNT(*) WARNINGS",
            "SHOW COUNT(*) ERRORS",
            "SELECT * FROM t WHERE id = LAST_INSERT_ID ( )",
        ],
    );
    let previous = |sql| facts(sql).previous;
    assert_eq!(
        previous("SELECT LAST_INSERT_ID(), ROW_COUNT()"),
        Previous::LAST_INSERT_ID | Previous::ROW_COUNT
    );
    assert_eq!(previous("SHOW WARNINGS"), Previous::DIAGNOSTICS);
    assert_eq!(
        previous("INSERT INTO t VALUES (LAST_INSERT_ID(), FOUND_ROWS())"),
        Previous::LAST_INSERT_ID | Previous::FOUND_ROWS
    );
    assert_eq!(previous("SELECT 1"), Previous::empty());
    assert_eq!(previous("GET DIAGNOSTICS @n = NUMBER"), Previous::DIAGNOSTICS);
    effects("SELECT LAST_INSERT_ID()", &[]);
    effects("UPDATE t SET a = LAST_INSERT_ID(a + 1)", &[Effect::LastInsertIdSet]);
    effects("SELECT SQL_CALC_FOUND_ROWS 1", &[Effect::CalcFoundRows]);
    effects("SHOW WARNINGS", &[Effect::Diagnostics]);
}

#[test]
fn what_tells_one_server_from_another() {
    check_all(
        "read/server_specific",
        &[
            "SELECT CONNECTION_ID()",
            "SELECT VERSION()",
            "SELECT USER()",
            "SELECT CURRENT_USER",
            "SELECT CURRENT_USER(), SESSION_USER()",
            "SELECT LOAD_FILE('/etc/passwd')",
            "SELECT MASTER_POS_WAIT('a', 1)",
            "SELECT IS_FREE_LOCK('a')",
            "SELECT IS_USED_LOCK('a')",
            "SELECT @@version",
            "SELECT @@version_comment LIMIT 1",
            "SELECT @@hostname",
            "SELECT @@server_id",
            "SELECT @@read_only, @@super_read_only",
            "SELECT @@global.sql_mode",
            "SELECT @@GLOBAL.time_zone",
            "SELECT @@`global`.`sql_mode`",
            "SELECT @@persist.sql_mode",
            "SELECT @@gtid_binlog_pos",
            "SELECT @@gtid_executed",
            "SELECT @@max_allowed_packet",
            "SELECT @@wait_timeout",
            "SELECT @@tx_read_only",
            "SELECT @@hot_cache.key_buffer_size",
            "SELECT * FROM performance_schema.threads",
            "SELECT * FROM sys.session",
            "SELECT * FROM mysql.user",
            "SELECT * FROM `MySQL`.`User`",
            "SELECT * FROM information_schema.processlist",
            "SELECT * FROM INFORMATION_SCHEMA.INNODB_TRX",
            "SELECT * FROM information_schema.global_status",
            "SELECT event_name, status FROM information_schema.events",
            "SELECT * FROM information_schema.optimizer_trace",
            "SELECT * FROM t WHERE a IN (SELECT id FROM information_schema.PROCESSLIST)",
            "SHOW STATUS",
            "SHOW GLOBAL VARIABLES LIKE 'a%'",
            "SHOW VARIABLES WHERE Variable_name = 'x'",
            "SHOW PROCESSLIST",
            "SHOW FULL PROCESSLIST",
            "SHOW TABLE STATUS FROM d LIKE 't'",
            "SHOW CREATE TABLE t",
            "SHOW CREATE VIEW v",
            "SHOW MASTER STATUS",
            "SHOW BINARY LOGS",
            "SHOW SLAVE STATUS",
            "SHOW ENGINES",
            "SHOW ENGINE INNODB STATUS",
            "SHOW GRANTS",
            "SHOW GRANTS FOR 'a'@'b'",
            "SHOW PROFILE FOR QUERY 1",
            "SHOW TRIGGERS",
            "SHOW OPEN TABLES",
            "SHOW CHARACTER SET",
            "SHOW COLLATION",
            "EXPLAIN FOR CONNECTION 5",
            "EXPLAIN FORMAT=JSON FOR CONNECTION 5",
            "HELP 'SELECT'",
        ],
    );
    check_mariadb(
        "read/server_specific",
        &["SELECT MASTER_GTID_WAIT('0-1-2')", "SELECT BINLOG_GTID_POS('a', 4)"],
    );
    check_mysql(
        "read/server_specific",
        &[
            "SELECT WAIT_FOR_EXECUTED_GTID_SET('a:1')",
            "SELECT PS_CURRENT_THREAD_ID()",
            "SELECT ROLES_GRAPHML()",
        ],
    );
    assert!(is_specific("performance_schema", "x"));
    assert!(is_specific("information_schema", "innodb_metrics"));
    assert!(!is_specific("information_schema", "tables"));
    assert!(!is_specific("d", "user"));
}

fn is_specific(schema: &str, table: &str) -> bool {
    crate::is_server_specific_table(schema, table)
}

#[test]
fn definitions_may_be_read_anywhere() {
    check_all(
        "read",
        &[
            "SELECT 1 FROM information_schema.tables WHERE table_schema = 'd' AND table_name = 'flood'",
            "SELECT * FROM INFORMATION_SCHEMA.COLUMNS c JOIN information_schema.STATISTICS s USING (table_name)",
            "SHOW DATABASES",
            "SHOW SCHEMAS LIKE 'a%'",
            "SHOW TABLES",
            "SHOW FULL TABLES FROM d WHERE Table_type = 'VIEW'",
            "SHOW COLUMNS FROM t",
            "SHOW FULL FIELDS IN t IN d LIKE 'a%'",
            "SHOW INDEX FROM d.t",
            "SHOW KEYS FROM t WHERE Key_name = 'PRIMARY'",
            "DESCRIBE t",
            "DESC d.t a",
            "EXPLAIN t 'a%'",
            "EXPLAIN SELECT * FROM t",
            "DESC (SELECT 1)",
            "EXPLAIN WITH c AS (SELECT 1) SELECT * FROM c",
            "DESCRIBE extended",
            "DESC `select`",
        ],
    );
    tables("SHOW COLUMNS FROM T FROM D", "information_schema.columns d.t", "");
    tables("DESCRIBE d.t", "information_schema.columns d.t", "");
    tables("SHOW TABLES", "information_schema.tables", "");
    check("SHOW TABLES WHERE f(1)", "write/unknown_function");
    check("SHOW TABLES WHERE LAST_INSERT_ID() = 1", "read/previous_statement");
    check("SHOW", "unknown/unknown_statement");
}

#[test]
fn unknown_functions_are_taken_for_writers() {
    check_all(
        "write/unknown_function",
        &[
            "SELECT my_function()",
            "SELECT d.my_function(1) FROM t",
            "SELECT `my_function`(1)",
            "SELECT `count`(1)",
            "SELECT `d`.count(1)",
            "SELECT d . count (1)",
            "SELECT * FROM t WHERE a = f(b)",
            "SELECT * FROM t JOIN u ON f(t.a)",
            "SELECT a FROM t ORDER BY g(a)",
            "SELECT NOT lateral(1)",
            "SELECT against(1)",
            "SELECT columns(1), escape(2)",
            "SELECT MATCH (a) AGAINST ('x'), AGAINST(1)",
            "SELECT (SELECT MATCH a) + AGAINST(1)",
            "SELECT sys.ps_thread_id(1)",
        ],
    );
    check_mariadb(
        "write/unknown_function",
        &["SELECT * FROM (t FOR SYSTEM_TIME AS OF f(1), u)", "SELECT * FROM t FOR SYSTEM_TIME AS OF f(1)"],
    );
    let found = facts("SELECT f(1), D.G(2), f(3), concat('a')");
    assert_eq!(names(&found.functions), "f d.g");
    assert!(found.all_tables);
    assert_eq!(found.assumed.len(), 2);
}

#[test]
fn a_space_before_the_parenthesis_matters_without_ignore_space() {
    let spaced = [
        "SELECT count (*) FROM t",
        "SELECT max\n(a) FROM t",
        "SELECT now/**/()",
        "SELECT SUBSTRING (a, 1) FROM t",
    ];
    for sql in spaced {
        check(sql, "write/unknown_function");
        check_in(&ansi(), sql, "read");
    }
    // These are built in by name.
    check_all(
        "read",
        &["SELECT concat ('a')", "SELECT abs (1)", "SELECT IF (1, 2, 3)", "SELECT LEFT ('a', 1)"],
    );
}

#[test]
fn writes() {
    check_all(
        "write/write",
        &[
            "INSERT INTO t VALUES (1)",
            "insert t values (1)",
            "INSERT IGNORE INTO d.t (a, b) VALUES (1, 2) ON DUPLICATE KEY UPDATE a = VALUES(a), b = b + 1",
            "INSERT INTO t SET a = 1, b = DEFAULT",
            "INSERT INTO t SELECT * FROM u",
            "INSERT INTO t (a) WITH c AS (SELECT 1) SELECT * FROM c",
            "INSERT INTO t (SELECT 1)",
            "INSERT INTO t TABLE u",
            "INSERT INTO t () VALUES ()",
            "INSERT LOW_PRIORITY INTO t PARTITION (p) (a) VALUE (1)",
            "REPLACE INTO t VALUES (1)",
            "REPLACE t SET a = 1",
            "UPDATE t SET a = 1",
            "UPDATE LOW_PRIORITY IGNORE t SET a = (SELECT MAX(b) FROM u) WHERE c = 1 ORDER BY d LIMIT 1",
            "DELETE FROM t",
            "DELETE QUICK FROM t WHERE a IN (SELECT 1) LIMIT 5",
            "DELETE FROM t AS x WHERE x.a = 1",
            "DELETE t, u FROM t JOIN u",
            "DELETE FROM t, u USING t JOIN u ON t.a = u.a",
            "WITH c AS (SELECT 1) DELETE FROM t WHERE a IN (SELECT * FROM c)",
            "WITH c AS (SELECT 1) UPDATE t, c SET a = 1",
            "WITH RECURSIVE c AS (SELECT 1) INSERT INTO t SELECT * FROM c",
            "LOAD DATA INFILE 'x' INTO TABLE t",
            "LOAD DATA LOCAL INFILE 'x' REPLACE INTO TABLE t FIELDS TERMINATED BY ',' (a, @b) SET c = @b + 1",
            "LOAD XML INFILE 'x' INTO TABLE t ROWS IDENTIFIED BY '<r>'",
            "CALL p()",
            "CALL d.p(1, @x)",
            "CALL p",
            "EXPLAIN UPDATE t SET a = 1",
            "EXPLAIN DELETE FROM t",
            "DESC INSERT INTO t VALUES (1)",
            "BINLOG 'abc'",
            "CREATE TEMPORARY TABLE t (a INT)",
            "CREATE TEMPORARY TABLE t Engine=MEMORY SELECT * FROM u",
            "DROP TEMPORARY TABLE IF EXISTS t",
            "/* SELECT */ INSERT INTO t VALUES (1)",
            "/*! INSERT INTO t VALUES (1) */",
            "# SELECT\nDELETE FROM t",
            "-- SELECT\n\tDELETE FROM t",
            "--\nDELETE FROM t",
        ],
    );
    check_mariadb(
        "write/write",
        &[
            "INSERT INTO t VALUES (1) RETURNING a, b",
            "DELETE FROM t WHERE a = 1 RETURNING *",
            "REPLACE INTO t VALUES (1) RETURNING a",
            "DELETE HISTORY FROM t BEFORE SYSTEM_TIME '2020-01-01'",
            "DELETE FROM t FOR PORTION OF p FROM '2000-01-01' TO '2001-01-01'",
            "UPDATE t FOR PORTION OF p FROM '2000-01-01' TO '2001-01-01' SET a = 1",
            "ANALYZE UPDATE t SET a = 1",
            "ANALYZE FORMAT=JSON DELETE FROM t",
            "/*M! DELETE FROM t */",
        ],
    );
    check_mysql(
        "write/write",
        &[
            "EXPLAIN ANALYZE DELETE FROM t",
            "INSERT INTO t VALUES (1) AS new ON DUPLICATE KEY UPDATE a = new.a",
            "INSERT INTO t (a) VALUES (1) AS new(m) ON DUPLICATE KEY UPDATE a = m",
            "INSERT INTO t (a) VALUES (1) AS `new` (m) ON DUPLICATE KEY UPDATE a = m",
        ],
    );
    check("DO SLEEP(0)", "write/side_effect");
    check("DO f(1), GET_LOCK('a', 1)", "write/side_effect");
    check("SELECT * FROM (DELETE FROM t)", "unknown/unknown_statement");
    check("WITH c AS (DELETE FROM t) SELECT 1", "unknown/unknown_statement");
}

#[test]
fn tables_of_queries() {
    tables("SELECT * FROM a, B.C x, `d``e`, `f`.`g`", "a b.c d`e f.g", "");
    tables(
        "SELECT (SELECT 1 FROM a) FROM b WHERE c IN (SELECT d FROM e) ORDER BY (SELECT f FROM g)",
        "a b e g",
        "",
    );
    tables("SELECT * FROM (SELECT * FROM a) x JOIN (b, c) ON (SELECT 1 FROM d), e", "a b c d e", "");
    tables("SELECT * FROM ((a JOIN b) JOIN (c)) LEFT JOIN d USING (x), e", "a b c d e", "");
    tables("SELECT * FROM a UNION SELECT * FROM b UNION (SELECT * FROM c) ORDER BY 1", "a b c", "");
    tables("(SELECT * FROM a) UNION ((SELECT * FROM b) EXCEPT (TABLE c))", "a b c", "");
    tables("SELECT * FROM a, a, A", "a", "");
    tables("SELECT a.b FROM c WHERE d.e = f.g", "c", "");
    tables("TABLE d.t", "d.t", "");
    tables("SELECT * FROM t USE INDEX (i), u AS v (w), x", "t u x", "");
    tables("SELECT * FROM t FOR SYSTEM_TIME AS OF NOW() x, u", "t u", "");
    tables("SELECT * FROM t, JSON_TABLE((SELECT j FROM u), '$' COLUMNS (a INT PATH '$')) x, v", "t u v", "");
    tables("SELECT EXTRACT(YEAR FROM a) FROM b", "b", "");
    tables("SELECT * FROM a WHERE EXISTS (SELECT * FROM b WHERE b.x = a.x) GROUP BY c, d", "a b", "");
    tables("SELECT * FROM a LEFT JOIN b ON a.x = b.x AND a.y IN (1, 2) , c WHERE 1", "a b c", "");
    tables("SELECT * FROM a WINDOW w AS (ORDER BY b), v AS (ORDER BY c)", "a", "");
    tables("SELECT * FROM a window JOIN b", "a b", "");
    tables("SELECT 1 FROM dual", "", "");
    tables("SELECT 1 FROM .t", "t", "");
    tables("SELECT * FROM caf\u{e9}, CAF\u{c9}", "caf\u{e9}", "");
    tables_in(
        &ansi(),
        "SELECT \"a\".\"b\" FROM \"node\" \"n\" INNER JOIN \"d\".\"User\" ON 1",
        "node d.user",
        "",
    );
    tables_in(&mysql(), "SELECT * FROM a, LATERAL (SELECT * FROM b) x, c", "a b c", "");
    tables_in(&mysql(), "SELECT * FROM (VALUES ROW(1), ROW(2)) v, t", "t", "");
}

#[test]
fn common_table_expressions_are_no_tables() {
    tables("WITH c AS (SELECT * FROM t) SELECT * FROM c", "t", "");
    tables("WITH c AS (SELECT * FROM c) SELECT * FROM c", "c", "");
    tables("WITH RECURSIVE c AS (SELECT * FROM t UNION SELECT * FROM c) SELECT * FROM c", "t", "");
    tables("WITH c AS (SELECT 1), d AS (SELECT * FROM c JOIN e) SELECT * FROM d", "e", "");
    tables("(WITH c AS (SELECT 1) SELECT * FROM c) UNION SELECT * FROM c", "c", "");
    tables("SELECT * FROM (WITH c AS (SELECT 1) SELECT * FROM c) x, c", "c", "");
    tables("WITH c AS (SELECT 1) SELECT * FROM d.c", "d.c", "");
    // On a server with case-sensitive tables that is another name.
    tables("WITH c AS (SELECT 1) SELECT * FROM C", "c", "");
    tables("WITH c AS (SELECT * FROM t) DELETE FROM u WHERE a IN (SELECT * FROM c)", "t", "u");
    tables("INSERT INTO t WITH c AS (SELECT * FROM u) SELECT * FROM c", "u", "t");
}

#[test]
fn tables_of_writes() {
    tables("INSERT INTO d.T (a) VALUES (1)", "", "d.t");
    tables("INSERT INTO t SELECT * FROM u JOIN v", "u v", "t");
    tables("INSERT INTO t VALUES ((SELECT MAX(a) FROM u))", "u", "t");
    tables("INSERT INTO t (a) VALUES (f(1))", "", "t*");
    tables("INSERT INTO t (concat, b) VALUES (1, 2)", "", "t");
    tables("REPLACE t SELECT * FROM t", "t", "t");
    tables("UPDATE t SET a = (SELECT b FROM u) WHERE c = 1", "u", "t");
    tables("UPDATE t AS x, u JOIN v USING (a) SET x.b = 1", "", "t u v");
    tables("UPDATE (t JOIN u ON t.a = u.a), v SET t.b = 1", "", "t u v");
    tables("UPDATE t JOIN (SELECT * FROM u) x SET t.a = x.a", "u", "t");
    tables("UPDATE t LEFT JOIN u ON t.a = (SELECT MAX(b) FROM v), w SET t.a = 1", "v", "t u w");
    tables("DELETE FROM t WHERE a IN (SELECT b FROM u)", "u", "t");
    tables("DELETE a FROM t AS a JOIN u AS b ON a.x = b.x", "", "t u");
    tables("DELETE a.*, d.b.* FROM a JOIN d.b", "", "a d.b");
    tables("DELETE FROM a, b USING t AS a JOIN u AS b JOIN v", "", "a b t u v");
    tables("DELETE FROM t AS x WHERE x.a = 1 LIMIT 3", "", "t");
    tables("LOAD DATA INFILE 'x' INTO TABLE d.t (a, b)", "", "d.t");
    tables("CALL p()", "", "*");
    tables("DO 1", "", "");
    tables("DO f()", "", "*");
    tables("EXECUTE s", "", "*");
    effects(
        "LOAD DATA LOCAL INFILE 'x' INTO TABLE t (a, @b)",
        &[Effect::LocalInfile, Effect::UserVariableWritten],
    );
    effects("CALL d.P(1)", &[Effect::Call(TableName { schema: Some("d".into()), name: "p".into() })]);
}

#[test]
fn definitions() {
    check_all(
        "ddl/ddl",
        &[
            "CREATE TABLE t (a INT)",
            "CREATE OR REPLACE TABLE t (a INT)",
            "CREATE TABLE IF NOT EXISTS d.t LIKE u",
            "CREATE TABLE t AS SELECT * FROM u",
            "CREATE UNIQUE INDEX i ON t (a)",
            "CREATE OR REPLACE ALGORITHM=MERGE DEFINER=`a`@`b` SQL SECURITY INVOKER VIEW v AS SELECT 1",
            "CREATE SQL SECURITY DEFINER VIEW v AS SELECT 1",
            "CREATE DEFINER=event@localhost PROCEDURE p() BEGIN SELECT 1; END",
            "CREATE TRIGGER r BEFORE INSERT ON t FOR EACH ROW SET NEW.a = 1",
            "CREATE FUNCTION f() RETURNS INT DETERMINISTIC RETURN 1",
            "CREATE AGGREGATE FUNCTION f RETURNS INTEGER SONAME 'x.so'",
            "CREATE DEFINER = CURRENT_USER() EVENT e ON SCHEDULE EVERY 1 DAY DO DELETE FROM t",
            "CREATE DATABASE d CHARACTER SET utf8mb4",
            "CREATE SCHEMA IF NOT EXISTS d",
            "ALTER TABLE t ADD COLUMN a INT",
            "ALTER IGNORE TABLE t DROP a",
            "ALTER DATABASE d CHARACTER SET latin1",
            "ALTER VIEW v AS SELECT 1",
            "DROP TABLE t",
            "DROP TABLE IF EXISTS t, u CASCADE",
            "DROP VIEW v",
            "DROP INDEX i ON t",
            "DROP DATABASE d",
            "DROP PROCEDURE p",
            "DROP TRIGGER IF EXISTS d.r",
            "RENAME TABLE a TO b, c TO d.e",
            "TRUNCATE TABLE t",
            "TRUNCATE t",
        ],
    );
    tables("CREATE TABLE t (a INT, FOREIGN KEY (a) REFERENCES u (b) ON DELETE CASCADE, KEY k (a))", "", "t");
    tables("CREATE TABLE t (a VARCHAR(10) DEFAULT (f(1)), b INT CHECK (b > 0)) ENGINE=InnoDB", "", "t");
    tables("CREATE TABLE t (a INT) SELECT f(x) FROM u", "u", "t*");
    tables(
        "CREATE TABLE t (a INT, PERIOD FOR SYSTEM_TIME (b, c), INDEX (b), KEY (c)) WITH SYSTEM VERSIONING",
        "",
        "t",
    );
    tables("CREATE TABLE t LIKE d.u", "d.u", "t");
    tables("CREATE TABLE t (LIKE u)", "u", "t");
    tables("ALTER TABLE t RENAME TO u, RENAME COLUMN a TO b", "", "t u");
    tables("ALTER TABLE t EXCHANGE PARTITION p WITH TABLE u", "", "t u");
    tables("ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES d.u (b)", "d.u", "t");
    tables("RENAME TABLE a TO b, b TO d.c", "", "a b d.c");
    tables("TRUNCATE d.t", "", "d.t");
    tables("DROP TABLE t, d.u", "", "t d.u");
    tables("DROP VIEW IF EXISTS v, w", "", "v w");
    tables("DROP INDEX i ON t", "", "t");
    tables("CREATE INDEX i USING BTREE ON d.t (a)", "", "d.t");
    tables("DROP DATABASE d", "", "*");
    tables("CREATE PROCEDURE p() BEGIN DELETE FROM t; END", "", "*");
    tables("CREATE PROCEDURE p() DELETE FROM t", "", "");
    let table = |name: &str| TableName { schema: None, name: name.to_owned() };
    effects("CREATE TEMPORARY TABLE T (a INT)", &[Effect::CreateTemporary(table("t"))]);
    effects("DROP TEMPORARY TABLE t", &[Effect::DropTables(vec![table("t")])]);
    effects("DROP TABLES t, U", &[Effect::DropTables(vec![table("t"), table("u")])]);
    effects("CREATE TABLE t (a INT)", &[]);
}

#[test]
fn transaction_control() {
    check_all(
        "transaction/transaction_control",
        &[
            "BEGIN",
            "begin work",
            "START TRANSACTION",
            "START TRANSACTION READ ONLY, WITH CONSISTENT SNAPSHOT",
            "COMMIT",
            "COMMIT WORK AND NO CHAIN NO RELEASE",
            "ROLLBACK",
            "ROLLBACK AND CHAIN",
            "ROLLBACK TO SAVEPOINT a",
            "ROLLBACK WORK TO a",
            "SAVEPOINT savepoint_1",
            "RELEASE SAVEPOINT savepoint_1",
            "XA START 'a'",
            "XA COMMIT 'a' ONE PHASE",
            "LOCK TABLES t READ, u AS v LOW_PRIORITY WRITE",
            "UNLOCK TABLES",
            "SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ ONLY",
        ],
    );
    let begin = |read_only, consistent_snapshot| vec![Effect::Begin { read_only, consistent_snapshot }];
    effects("START TRANSACTION", &begin(None, false));
    effects("START TRANSACTION READ ONLY", &begin(Some(true), false));
    effects("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ WRITE", &begin(Some(false), true));
    effects("BEGIN WORK", &begin(None, false));
    effects("COMMIT AND CHAIN", &[Effect::Commit { chain: true, release: false }]);
    effects("COMMIT RELEASE", &[Effect::Commit { chain: false, release: true }]);
    effects("ROLLBACK AND NO CHAIN RELEASE", &[Effect::Rollback { chain: false, release: true }]);
    effects("ROLLBACK TO a", &[Effect::Savepoint]);
    effects("XA PREPARE 'a'", &[Effect::Xa]);
    effects("LOCK TABLES t READ", &[Effect::LockTables]);
    effects("UNLOCK TABLES", &[Effect::UnlockTables]);
    effects("SET TRANSACTION READ ONLY", &[Effect::SetTransactionOnce]);
    check_all(
        "unknown/unknown_statement",
        &[
            "BEGIN NOT ATOMIC DELETE FROM t; END",
            "COMMIT now",
            "START TRANSACTION READ",
            "BEGIN SELECT 1; END",
        ],
    );
    assert!(facts("BEGIN NOT ATOMIC SELECT 1; END; SELECT 2").all_tables);
    assert!(facts("BEGIN NOT ATOMIC SELECT 1; END; SELECT 2").parts.is_empty());
}

#[test]
fn settings() {
    check_all(
        "session/session_setting",
        &[
            "SET NAMES utf8mb4",
            "SET NAMES 'utf8mb4' COLLATE 'utf8mb4_bin'",
            "SET CHARACTER SET utf8",
            "SET CHARSET DEFAULT",
            "SET sql_mode = 'ANSI,TRADITIONAL'",
            "SET SESSION sql_mode := ''",
            "SET @@session.time_zone = '+00:00', @x = 5, autocommit = 1",
            "SET @a = 1",
            "SET @a = (SELECT MAX(b) FROM t)",
            "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
            "SET LOCAL TRANSACTION READ ONLY",
            "SET ROLE r",
            "USE d",
        ],
    );
    check_all(
        "admin/administrative",
        &[
            "SET GLOBAL max_connections = 5",
            "SET @@global.read_only = 1",
            "SET sql_mode = '', GLOBAL x = 1",
            "SET GLOBAL TRANSACTION READ ONLY",
            "SET PASSWORD = 'x'",
            "SET PASSWORD FOR 'a'@'b' = PASSWORD('x')",
            "SET DEFAULT ROLE r TO u",
        ],
    );
    check_mysql("admin/administrative", &["SET PERSIST a = 1", "SET @@persist_only.a = 1"]);
    check("SET @a = f(1)", "session/unknown_function");
    check("SET @a = GET_LOCK('x', 1)", "session/side_effect");
    check("SET @a = LAST_INSERT_ID()", "session/previous_statement");
    check_mariadb(
        "read/session_setting",
        &[
            "SET STATEMENT max_statement_time = 1 FOR SELECT * FROM t",
            "SET STATEMENT a=1, b='x' FOR (SELECT 1)",
        ],
    );
    check_mariadb("write/write", &["SET STATEMENT a = 1 FOR DELETE FROM t"]);
    check_all("unknown/unknown_statement", &["SET", "SET a", "SET a =", "SET foo bar = 1", "SET x.a.b.c"]);
}

#[test]
fn assignments_tell_what_is_set_to_what_sort_of_value() {
    use Value::{Computed, Default as DefaultValue, Literal};
    #[track_caller]
    fn assigned(sql: &str, expected: &[(Setting, Value)]) {
        let found = facts(sql).effects.iter().find_map(|effect| match effect {
            Effect::Settings(settings) => Some(settings.clone()),
            _ => None,
        });
        let expected: Vec<_> = expected
            .iter()
            .map(|(target, value)| Assignment { target: target.clone(), value: *value })
            .collect();
        assert_eq!(found.unwrap_or_default(), expected, "{sql}");
    }
    let variable = |name: &str| Setting::Variable(name.to_owned());
    let user = |name: &str| Setting::UserVariable(name.to_owned());
    assigned("SET NAMES utf8mb4", &[(Setting::Names, Literal)]);
    assigned("SET NAMES DEFAULT", &[(Setting::Names, DefaultValue)]);
    assigned("SET NAMES utf8, @a = 1", &[(Setting::Names, Literal), (user("a"), Literal)]);
    assigned("SET CHARACTER SET 'utf8'", &[(Setting::CharacterSet, Literal)]);
    assigned("SET sql_mode = 'ANSI'", &[(variable("sql_mode"), Literal)]);
    assigned("SET @@SQL_MODE = ANSI", &[(variable("sql_mode"), Literal)]);
    assigned("SET LOCAL Time_Zone = '+00:00'", &[(variable("time_zone"), Literal)]);
    assigned("SET @@local.time_zone = DEFAULT", &[(variable("time_zone"), DefaultValue)]);
    assigned(
        "SET a = -5, b = +1.5, c = 'x' 'y', d = _latin1'x', e = NULL, f = ON, g = `h`",
        &[
            (variable("a"), Literal),
            (variable("b"), Literal),
            (variable("c"), Literal),
            (variable("d"), Literal),
            (variable("e"), Literal),
            (variable("f"), Literal),
            (variable("g"), Literal),
        ],
    );
    for computed in [
        "@b",
        "@@b",
        "b + 1",
        "CONCAT(b)",
        "(SELECT 1)",
        "(1)",
        "1 + 1",
        "CURRENT_TIMESTAMP",
        "?",
        "'a' COLLATE x",
    ] {
        assigned(
            &format!("SET a = {computed}, c = 1"),
            &[(variable("a"), Computed), (variable("c"), Literal)],
        );
    }
    assigned("SET @A = 'x', @`b c` = NOW()", &[(user("a"), Literal), (user("b c"), Computed)]);
    assigned(
        "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ WRITE",
        &[(Setting::IsolationLevel, Literal), (Setting::AccessMode, Literal)],
    );
    assigned("SET ROLE DEFAULT", &[(Setting::Role, DefaultValue)]);
    assigned("SET ROLE `r`@`h`", &[(Setting::Role, Literal)]);
    // GLOBAL may or may not hold for what follows it.
    assigned("SET GLOBAL a = 1, b = 2", &[(variable("b"), Literal), (variable("b"), Literal)]);
    assigned("SET @@transaction_isolation = 'READ-COMMITTED'", &[]);
    let session_wide = [(variable("transaction_isolation"), Literal)];
    assigned("SET transaction_isolation = 'READ-COMMITTED'", &session_wide);
    assigned("SET SESSION tx_isolation = 'READ-COMMITTED'", &[(variable("tx_isolation"), Literal)]);
    effects("SET @@transaction_read_only = 1", &[Effect::SetTransactionOnce]);
    assert!(facts("SET autocommit = 0").effects.contains(&Effect::AutocommitOff));
    assert!(facts("SET @@session.autocommit = 'OFF'").effects.contains(&Effect::AutocommitOff));
    assert!(facts("SET autocommit = @x").effects.contains(&Effect::AutocommitOff));
    for on in ["1", "ON", "'on'", "TRUE"] {
        assert!(facts(&format!("SET autocommit = {on}")).effects.contains(&Effect::AutocommitOn), "{on}");
    }
    assert!(!facts("SET @a = 5").effects.contains(&Effect::UserVariableWritten));
    assert!(facts("SET @a = 5 + 1").effects.contains(&Effect::UserVariableWritten));
    assert!(facts("SET @a = (@b := 1)").effects.contains(&Effect::UserVariableWritten));
    tables("SET @a = (SELECT MAX(b) FROM t)", "t", "");
    effects("USE `My``Db`", &[Effect::UseSchema("My`Db".to_owned())]);
}

#[test]
fn administration() {
    check_all(
        "admin/administrative",
        &[
            "KILL 5",
            "KILL QUERY 5",
            "FLUSH TABLES",
            "FLUSH LOCAL PRIVILEGES",
            "FLUSH TABLES WITH READ LOCK",
            "ANALYZE TABLE t",
            "ANALYZE LOCAL TABLE t, u",
            "OPTIMIZE TABLE t",
            "OPTIMIZE NO_WRITE_TO_BINLOG TABLE t",
            "REPAIR TABLE t QUICK",
            "CHECK TABLE t FAST",
            "CHECKSUM TABLE t EXTENDED",
            "RESET MASTER",
            "RESET QUERY CACHE",
            "PURGE BINARY LOGS TO 'x'",
            "CHANGE MASTER TO MASTER_HOST='x'",
            "START SLAVE",
            "STOP SLAVE",
            "GRANT ALL ON *.* TO 'a'@'b'",
            "REVOKE ALL PRIVILEGES, GRANT OPTION FROM a",
            "CREATE USER 'a'@'%' IDENTIFIED BY 'x'",
            "DROP USER a",
            "CREATE ROLE r",
            "ALTER USER a ACCOUNT LOCK",
            "RENAME USER a TO b",
            "INSTALL PLUGIN p SONAME 'x'",
            "UNINSTALL PLUGIN p",
            "SHUTDOWN",
            "LOAD INDEX INTO CACHE t",
            "CACHE INDEX t IN c",
            "LOCK INSTANCE FOR BACKUP",
        ],
    );
    check_mariadb("admin/administrative", &["BACKUP STAGE START", "BACKUP LOCK t"]);
    check_mysql(
        "admin/administrative",
        &["CLONE LOCAL DATA DIRECTORY = 'x'", "RESTART", "ALTER INSTANCE RELOAD TLS"],
    );
    effects("KILL 5", &[Effect::Kill]);
    effects("FLUSH PRIVILEGES", &[Effect::Accounts]);
    effects("FLUSH TABLES WITH READ LOCK", &[Effect::LockTables]);
    effects("FLUSH TABLES t FOR EXPORT", &[Effect::LockTables]);
    effects("FLUSH TABLES t", &[]);
    effects("GRANT SELECT ON d.* TO u", &[Effect::Accounts]);
    tables("OPTIMIZE TABLE t, d.u", "", "t d.u");
}

#[test]
fn prepared_statements_handlers_and_diagnostics() {
    check_all(
        "session/side_effect",
        &[
            "PREPARE s FROM 'SELECT 1'",
            "PREPARE s FROM @x",
            "DEALLOCATE PREPARE s",
            "DROP PREPARE s",
            "HANDLER t OPEN",
            "HANDLER d.t OPEN AS x",
            "HANDLER t CLOSE",
            "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'x'",
            "RESIGNAL",
        ],
    );
    check("HANDLER t READ FIRST WHERE a = 1", "read/side_effect");
    check("EXECUTE s USING @a, @b", "write/side_effect");
    check_mariadb("write/side_effect", &["EXECUTE IMMEDIATE 'DELETE FROM t'", "EXECUTE IMMEDIATE @x"]);
    check("GET DIAGNOSTICS @a = NUMBER", "session/previous_statement");
    check("GET CURRENT DIAGNOSTICS CONDITION 1 @a = MESSAGE_TEXT", "session/previous_statement");
    effects("PREPARE S FROM 'SELECT 1'", &[Effect::PrepareText("s".into())]);
    effects("EXECUTE s", &[Effect::ExecuteText("s".into())]);
    effects("EXECUTE IMMEDIATE 'x'", &[Effect::ExecuteText(String::new())]);
    effects("DROP PREPARE `s`", &[Effect::DeallocateText("s".into())]);
    effects("HANDLER d.T OPEN", &[Effect::HandlerOpen("t".into())]);
    effects("HANDLER t OPEN AS x", &[Effect::HandlerOpen("x".into())]);
    effects("HANDLER x CLOSE", &[Effect::HandlerClose("x".into())]);
}

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
fn user_variables_are_listed() {
    let found = facts("SELECT @A, @`b c`, @'d', @a FROM t WHERE x = @e.f");
    assert_eq!(found.user_variables, ["a", "b c", "d", "e.f"]);
    assert!(facts("SELECT a FROM t WHERE b = 'x@y.z'").user_variables.is_empty());
    assert!(facts("SELECT @@sql_mode").user_variables.is_empty());
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
