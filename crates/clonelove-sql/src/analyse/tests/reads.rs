//! What may leave the primary, and what keeps a query there.

use super::*;

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
