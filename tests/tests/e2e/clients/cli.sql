-- The suite for the command-line clients; what a fault answers is part of the output (--force).
DROP TABLE IF EXISTS kinds, words, account, large, digit;
DROP PROCEDURE IF EXISTS two_results;
CREATE TABLE kinds (id INT PRIMARY KEY, t TINYINT UNSIGNED, b BIGINT, de DECIMAL(30,10), f FLOAT, d DOUBLE, bi BIT(12), da DATE, ti TIME(3), dt DATETIME(6), ts TIMESTAMP(2) NULL, y YEAR, c CHAR(5), v VARCHAR(50), vb VARBINARY(20), bl BLOB, e ENUM('a','b'), st SET('x','y','z'), j JSON);
INSERT INTO kinds VALUES (1, 5, -5000000000, '12345678901234567890.0123456789', 1.5, 2.25, b'101010101010', '2026-02-28', '12:34:56.789', '2026-02-28 12:34:56.123456', '2026-02-28 12:34:56.12', 2026, 'abc', 'Zürich 日本語 😀', 'vb', 'blob', 'a', 'x,z', '{"a": [1, 2, null], "b": "ü"}');
INSERT INTO kinds (id) VALUES (2);
SELECT * FROM kinds ORDER BY id;
SELECT id, bi + 0, HEX(vb), bl IS NULL FROM kinds ORDER BY id;
CREATE TABLE words (id INT AUTO_INCREMENT PRIMARY KEY, word VARCHAR(100) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, UNIQUE KEY word (word));
INSERT INTO words (word) VALUES ('äöüß€'), ('日本語'), ('😀👩‍👩‍👧'), ('a\0b'), ('');
SELECT id, word, HEX(word), CHAR_LENGTH(word) FROM words ORDER BY id;
SELECT word FROM words WHERE word = '😀👩‍👩‍👧';
CREATE TABLE digit (d INT PRIMARY KEY);
INSERT INTO digit VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9);
SELECT 1/3, 10/4;
SELECT GROUP_CONCAT(CONCAT('entry number ', d) ORDER BY d SEPARATOR ', ') FROM digit;
SELECT @@session.sql_mode, @@session.time_zone, @@character_set_client, @@collation_connection;
SHOW TABLES LIKE 'kind%';
SELEKT 1;
SELECT * FROM no_such_table;
SELECT (SELECT d FROM digit);
SELECT CAST(9223372036854775807 AS SIGNED) + id FROM kinds;
INSERT INTO words (word) VALUES ('');
USE no_such_schema;
CREATE TABLE account (id INT PRIMARY KEY, amount INT NOT NULL);
INSERT INTO account VALUES (1, 100), (2, 200);
BEGIN;
UPDATE account SET amount = amount - 10 WHERE id = 1;
SAVEPOINT one;
UPDATE account SET amount = 0;
SELECT * FROM account ORDER BY id;
ROLLBACK TO SAVEPOINT one;
SELECT * FROM account ORDER BY id;
COMMIT;
START TRANSACTION;
DELETE FROM account;
ROLLBACK;
SELECT * FROM account ORDER BY id;
USE test;
SELECT DATABASE();
USE app;
SET SESSION sql_mode = 'ANSI', time_zone = '+03:00';
SELECT "id", 'a' || 'b', ts FROM "kinds" ORDER BY "id";
SET SESSION sql_mode = 'ERROR_FOR_DIVISION_BY_ZERO', time_zone = '+00:00';
INSERT INTO words (word) VALUES ('last');
SELECT LAST_INSERT_ID();
UPDATE words SET word = CONCAT(word, '!') WHERE id <= 3;
SELECT ROW_COUNT();
SELECT d FROM digit ORDER BY d LIMIT 4;
SELECT FOUND_ROWS();
SELECT 1/0, CAST('7x' AS SIGNED);
SHOW WARNINGS;
SET @one = 1, @text = 'ü';
SELECT @one, @text;
CREATE TEMPORARY TABLE passing AS SELECT d FROM digit;
SELECT SUM(d) FROM passing;
DROP TEMPORARY TABLE passing;
PREPARE p FROM 'SELECT d + ? AS n FROM digit ORDER BY d LIMIT 2';
SET @add = 5;
EXECUTE p USING @add;
DEALLOCATE PREPARE p;
DELIMITER //
CREATE PROCEDURE two_results(IN n INT)
BEGIN
  SELECT n AS first;
  SELECT id, amount FROM account ORDER BY id;
  UPDATE account SET amount = amount + n;
END//
SELECT 1 AS a; UPDATE account SET amount = amount + 1; SELEKT 2; SELECT 3 AS c//
SELECT 1 AS a; UPDATE account SET amount = amount + 1; SELECT SUM(amount) AS s FROM account//
DELIMITER ;
CALL two_results(7);
SELECT * FROM account ORDER BY id;
CREATE TABLE large (id INT PRIMARY KEY, value LONGBLOB);
SELECT 'done' AS done;
