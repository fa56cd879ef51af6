//! What writes, defines or administers, and the tables of statements.

use super::*;

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
