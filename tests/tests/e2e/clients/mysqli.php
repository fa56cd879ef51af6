<?php
// The suite with mysqli, and what only mysqli can do: change of user, reset, ping, multi_query.

require __DIR__ . '/php_common.php';

mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);

function connect(string $user, string $password, ?string $schema): mysqli
{
    global $host, $port, $socket;
    $db = $socket
        ? new mysqli(null, $user, $password, $schema, 0, $socket)
        : new mysqli($host, $user, $password, $schema, $port);
    $db->set_charset('utf8mb4');
    return $db;
}

function attempt(string $what, callable $act): void
{
    try {
        show($what, $act());
    } catch (mysqli_sql_exception $error) {
        show($what, [$error->getCode(), $error->getSqlState(), $error->getMessage()]);
    }
}

function rows(mysqli $db, string $sql): array
{
    $result = $db->query($sql);
    return $result === true ? [$db->affected_rows, $db->insert_id, $db->warning_count, $db->info] : $result->fetch_all(MYSQLI_ASSOC);
}

/** A session's reads wait for its own writes, and so for those of other connections that came before them. */
function barrier(mysqli $db): void
{
    $db->query('INSERT INTO app.account VALUES (99, 99)');
    $db->query('DELETE FROM app.account WHERE id = 99');
}

[$user, $password] = [getenv('CLIENT_USER'), getenv('CLIENT_PASSWORD')];
attempt('wrong password', fn () => connect($user, 'wrong', 'app'));
attempt('no password', fn () => connect($user, '', 'app'));
$mariadb && attempt('unknown user', fn () => connect('nobody', 'x', 'app'));
attempt('unknown schema', fn () => connect(getenv('CLIENT_WIDE_USER'), getenv('CLIENT_WIDE_PASSWORD'), 'no_such_schema'));
attempt('forbidden schema', fn () => connect($user, $password, 'mysql'));

$suite = setup();
$db = connect($user, $password, 'app');
// Prepared statements keep their connection on the primary; they have one of their own.
$prepared = connect($user, $password, 'app');
show('server', [$db->server_info, $db->server_version, $db->character_set_name()]);
foreach ($suite['setup'] as $sql) {
    show('set up', rows($db, $sql));
}
$result = $db->query('SELECT * FROM kinds ORDER BY id');
show('columns', $result->fetch_fields());
show('text', $result->fetch_all(MYSQLI_ASSOC));
$statement = $prepared->prepare('SELECT * FROM kinds WHERE id >= ? ORDER BY id');
$first = 1;
$statement->bind_param('i', $first);
$statement->execute();
show('prepared', $statement->get_result()->fetch_all(MYSQLI_ASSOC));
$first = 4;
$statement->execute();
show('prepared again', $statement->get_result()->fetch_all(MYSQLI_ASSOC));
$statement->close();

$insert = $prepared->prepare('INSERT INTO words (word) VALUES (?)');
foreach ($suite['words'] as $word) {
    $insert->bind_param('s', $word);
    $insert->execute();
    show('inserted', [$insert->insert_id, $insert->affected_rows]);
}
$insert->close();
barrier($db);
foreach ($suite['words'] as $word) {
    $found = rows($db, "SELECT id, word, HEX(word) AS h FROM words WHERE word = '" . $db->real_escape_string($word) . "'");
    show('found', $found);
    show('equal', $found[0]['word'] === $word);
}
foreach ($suite['reads'] as $what => $sql) {
    attempt($what, fn () => rows($db, $sql));
}
foreach ($suite['faults'] as $sql) {
    attempt($sql, fn () => rows($db, $sql));
}

show('info', rows($db, 'INSERT INTO account VALUES (1, 100), (2, 200)'));
$db->begin_transaction();
rows($db, 'UPDATE account SET amount = amount - 10 WHERE id = 1');
$db->savepoint('one');
show('info', rows($db, 'UPDATE account SET amount = 0'));
show('within', rows($db, 'SELECT * FROM account ORDER BY id'));
rows($db, 'ROLLBACK TO SAVEPOINT one');
show('back at the savepoint', rows($db, 'SELECT * FROM account ORDER BY id'));
$db->commit();
$db->begin_transaction(MYSQLI_TRANS_START_READ_ONLY);
show('a read-only transaction', rows($db, 'SELECT * FROM account ORDER BY id'));
attempt('a write in it', fn () => rows($db, 'DELETE FROM account'));
$db->rollback();
$db->autocommit(false);
rows($db, 'DELETE FROM account');
show('without autocommit', rows($db, 'SELECT COUNT(*) AS n FROM account'));
$db->rollback();
$db->autocommit(true);
show('after the rollback', rows($db, 'SELECT * FROM account ORDER BY id'));

$db->select_db('test');
show('another schema', rows($db, 'SELECT DATABASE() AS d'));
attempt('no such schema', fn () => $db->select_db('no_such_schema'));
show('still there', rows($db, 'SELECT DATABASE() AS d'));
$db->select_db('app');
rows($db, "SET SESSION sql_mode = 'ANSI', time_zone = '+03:00'");
show('as set', rows($db, 'SELECT "id", \'a\' || \'b\' AS ab, ts FROM "kinds" ORDER BY "id"'));
$db->set_charset('latin1');
show('in latin1', array_map(fn ($row) => bin2hex($row['word']), rows($db, 'SELECT word FROM words ORDER BY id')));
$db->set_charset('utf8mb4');
rows($db, "SET SESSION sql_mode = 'ERROR_FOR_DIVISION_BY_ZERO', time_zone = '+00:00'");

rows($db, "INSERT INTO words (word) VALUES ('last')");
show('insert id', [$db->insert_id, rows($db, 'SELECT LAST_INSERT_ID() AS i')]);
rows($db, "UPDATE words SET word = CONCAT(word, '!') WHERE id <= 3");
show('row count', rows($db, 'SELECT ROW_COUNT() AS n'));
rows($db, 'SELECT d FROM digit LIMIT 4');
show('row count after a read', rows($db, 'SELECT ROW_COUNT() AS n'));
rows($db, 'SELECT d FROM digit LIMIT 4');
show('found rows', rows($db, 'SELECT FOUND_ROWS() AS n'));
$db->query("SELECT 1/0 AS q, CAST('7x' AS SIGNED) AS c")->fetch_all();
show('warnings', [$db->warning_count, $db->get_warnings(), rows($db, 'SHOW WARNINGS')]);
rows($db, "SET @one = 1, @text = 'ü'");
show('variables', rows($db, 'SELECT @one AS a, @text AS b'));
rows($db, 'CREATE TEMPORARY TABLE passing AS SELECT d FROM digit');
show('a temporary table', rows($db, 'SELECT SUM(d) AS s FROM passing'));
rows($db, "PREPARE p FROM 'SELECT d + ? AS n FROM digit ORDER BY d LIMIT 2'");
rows($db, 'SET @add = 5');
show('prepared by text', rows($db, 'EXECUTE p USING @add'));
rows($db, 'DEALLOCATE PREPARE p');

foreach (['SELECT 1 AS a; UPDATE account SET amount = amount + 1; SELECT SUM(amount) AS s FROM account; CALL two_results(7)', 'SELECT 1; SELEKT 2; SELECT 3'] as $sql) {
    attempt('several', function () use ($db, $sql) {
        $db->multi_query($sql);
        do {
            $result = $db->store_result();
            show('one of several', $result ? $result->fetch_all(MYSQLI_ASSOC) : [$db->affected_rows, $db->info]);
        } while ($db->more_results() && $db->next_result());
    });
}
show('after', rows($db, 'SELECT * FROM account ORDER BY id'));
$call = $prepared->prepare('CALL two_results(?)');
$n = 3;
$call->bind_param('i', $n);
$call->execute();
do {
    $result = $call->get_result();
    show('a result of the procedure', $result ? $result->fetch_all(MYSQLI_ASSOC) : null);
} while ($call->more_results() && $call->next_result());
$call->close();
barrier($db);

rows($db, 'BEGIN');
rows($db, 'DELETE FROM account');
rows($db, "SET @one = 'kept?', SESSION time_zone = '+09:00'");
show('change of user', $db->change_user($user, $password, 'test'));
show('all is new', rows($db, 'SELECT DATABASE() AS d, @one AS v, @@session.time_zone AS z'));
attempt('no temporary table', fn () => rows($db, 'SELECT * FROM app.passing'));
show('rolled back', rows($db, 'SELECT * FROM app.account ORDER BY id'));
show('to another user', $db->change_user(getenv('CLIENT_WIDE_USER'), getenv('CLIENT_WIDE_PASSWORD'), 'app'));
show('who', rows($db, "SELECT SUBSTRING_INDEX(USER(), '@', 1) AS u, DATABASE() AS d"));
// MySQL wants to see the password itself before it refuses, which the driver words in another way.
$mariadb && attempt('change to a wrong password', fn () => $db->change_user($user, 'wrong', 'app'));

$db = connect($user, $password, null);
show('no schema', rows($db, 'SELECT DATABASE() AS d'));
attempt('no schema selected', fn () => rows($db, 'SELECT * FROM kinds'));
$db->select_db('app');
show('ping', @$db->ping());
show('statistics', preg_replace('/[0-9.]+/', 'N', $db->stat()));
$rows = $db->query('SELECT * FROM digit ORDER BY d', MYSQLI_USE_RESULT);
show('the first of many', $rows->fetch_row());
attempt('one at a time', fn () => $db->query('SELECT 1'));
show('the rest', count($rows->fetch_all()));

if ($heavy) {
    $rows = $db->query($suite['million'], MYSQLI_USE_RESULT);
    [$count, $sum] = [0, 0];
    while ($row = $rows->fetch_row()) {
        $count++;
        $sum += $row[0];
    }
    show('a million rows', [$count, $sum]);
    $value = large_value();
    $insert = $prepared->prepare('INSERT INTO large VALUES (1, ?)');
    $none = null;
    $insert->bind_param('b', $none);
    foreach (str_split($value, 1 << 23) as $piece) {
        $insert->send_long_data(0, $piece);
    }
    show('64 MiB in', $insert->execute());
    $back = rows($prepared, 'SELECT LENGTH(value) AS l, value FROM large')[0];
    show('64 MiB out', [$back['l'], $back['value'] === $value]);
    $insert->close();
    rows($db, 'DELETE FROM large');
    show('as text', rows($db, "INSERT INTO large VALUES (2, '$value')")[0]);
    $back = rows($db, 'SELECT value FROM large WHERE id = 2')[0];
    show('64 MiB out', $back['value'] === $value);
}
// A connection that is used again is reset by a change of user, and nothing of before is left in it.
for ($turn = 1; $turn <= 4; $turn++) {
    $lasting = $socket ? new mysqli(null, $user, $password, 'app', 0, "$socket") : new mysqli("p:$host", $user, $password, 'app', $port);
    show('lasting', rows($lasting, 'SELECT @turn AS t, @@session.sql_mode AS m, DATABASE() AS d, @@autocommit AS a'));
    attempt('no temporary table', fn () => rows($lasting, 'SELECT * FROM passing_by'));
    rows($lasting, "SET @turn = $turn, SESSION sql_mode = 'ANSI'");
    rows($lasting, 'CREATE TEMPORARY TABLE passing_by (n INT)');
    $lasting->autocommit(false);
    rows($lasting, "UPDATE account SET amount = amount + $turn");
    // A kept connection keeps its locks too.
    $turn === 4 && $lasting->rollback();
    $lasting->close();
}
barrier($db);
show('nothing came of it', rows($db, 'SELECT * FROM account ORDER BY id'));

// Many parameters of all kinds, the large one in pieces.
rows($db, 'CREATE TABLE bound (id INT AUTO_INCREMENT PRIMARY KEY, i BIGINT, d DOUBLE, t VARCHAR(200), b LONGBLOB, at DATETIME(6), de DECIMAL(20,6), j JSON)');
$insert = $prepared->prepare('INSERT INTO bound (i, d, t, b, at, de, j) VALUES (?, ?, ?, ?, ?, ?, ?)');
foreach ([[PHP_INT_MIN, 2.25, 'Zürich 😀', '2026-02-28 12:34:56.123456', '12345678901234.123456', '{"a": [1]}'], [null, null, null, null, null, null], [7, -1.5e300, '', '2000-01-01', '-0.000001', 'null']] as [$i, $d, $t, $at, $de, $j]) {
    $b = null;
    $insert->bind_param('idsbsss', $i, $d, $t, $b, $at, $de, $j);
    foreach (["\0\1", "\xff'\"", ''] as $piece) {
        $insert->send_long_data(3, $piece);
    }
    attempt('bound', fn () => [$insert->execute(), $insert->affected_rows, $insert->insert_id]);
}
$find = $prepared->prepare('SELECT * FROM bound WHERE id >= ? ORDER BY id');
$find->bind_param('i', $first);
foreach ([1, 3, 99] as $first) {
    $find->execute();
    show('what was bound', $find->get_result()->fetch_all());
}
echo "done\n";
