<?php
// The suite with PDO. CLIENT_PREPARES says whether the server prepares.

require __DIR__ . '/php_common.php';

$native = getenv('CLIENT_PREPARES') === 'native';
$where = $socket ? "unix_socket=$socket" : "host=$host;port=$port";

function connect(string $user, string $password, string $schema, array $more = []): PDO
{
    global $where, $native;
    $options = $more + [
        PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION,
        PDO::ATTR_EMULATE_PREPARES => !$native,
        PDO::ATTR_DEFAULT_FETCH_MODE => PDO::FETCH_ASSOC,
    ];
    return new PDO("mysql:$where;dbname=$schema;charset=utf8mb4", $user, $password, $options);
}

function attempt(string $what, callable $act): void
{
    try {
        show($what, $act());
    } catch (PDOException $error) {
        show($what, ['error' => $error->errorInfo ?? [$error->getCode()], 'text' => $error->getMessage()]);
    }
}

[$user, $password] = [getenv('CLIENT_USER'), getenv('CLIENT_PASSWORD')];
attempt('wrong password', fn () => connect($user, 'wrong', 'app'));
$mariadb && attempt('unknown user', fn () => connect('nobody', 'x', 'app'));
attempt('unknown schema', fn () => connect(getenv('CLIENT_WIDE_USER'), getenv('CLIENT_WIDE_PASSWORD'), 'no_such_schema'));
attempt('forbidden schema', fn () => connect($user, $password, 'mysql'));

$suite = setup();
$db = connect($user, $password, 'app');
show('server', $db->getAttribute(PDO::ATTR_SERVER_VERSION));
foreach ($suite['setup'] as $sql) {
    $db->exec($sql);
}

show('text', $db->query('SELECT * FROM kinds ORDER BY id')->fetchAll());
$statement = $db->prepare('SELECT * FROM kinds WHERE id >= ? AND (v = ? OR ? IS NULL) ORDER BY id');
$statement->execute([1, null, null]);
show('prepared', $statement->fetchAll());
$statement->execute([4, "Zürich 日本語", 'x']);
show('prepared again', $statement->fetchAll());
for ($i = 0; $i < $statement->columnCount(); $i++) {
    show("column $i", $statement->getColumnMeta($i));
}
$statement->closeCursor();

$insert = $db->prepare('INSERT INTO words (word) VALUES (:word)');
foreach ($suite['words'] as $word) {
    $insert->execute(['word' => $word]);
    show('inserted', [$db->lastInsertId(), $insert->rowCount()]);
}
attempt('the same word', fn () => $insert->execute(['word' => $suite['words'][0]]));
$find = $db->prepare('SELECT id, word, CHAR_LENGTH(word) AS l, HEX(word) AS h FROM words WHERE word = ?');
foreach ($suite['words'] as $word) {
    $find->execute([$word]);
    $rows = $find->fetchAll();
    show('found', $rows);
    show('equal', $rows[0]['word'] === $word);
}

foreach ($suite['reads'] as $what => $sql) {
    attempt($what, fn () => $db->query($sql)->fetchAll());
}
foreach ($suite['faults'] as $sql) {
    attempt($sql, fn () => $db->query($sql)->fetchAll());
}

$db->exec('INSERT INTO account VALUES (1, 100), (2, 200)');
show('a transaction begins', [$db->beginTransaction(), $db->inTransaction()]);
$db->exec('UPDATE account SET amount = amount - 10 WHERE id = 1');
$db->exec('SAVEPOINT one');
$db->exec('UPDATE account SET amount = 0');
show('within', $db->query('SELECT * FROM account ORDER BY id')->fetchAll());
$db->exec('ROLLBACK TO SAVEPOINT one');
show('back at the savepoint', $db->query('SELECT * FROM account ORDER BY id')->fetchAll());
attempt('a fault within', fn () => $db->exec('INSERT INTO account VALUES (1, 1)'));
show('still open', $db->inTransaction());
show('commit', [$db->commit(), $db->inTransaction()]);
show('after the commit', $db->query('SELECT * FROM account ORDER BY id')->fetchAll());
$db->beginTransaction();
$db->exec('DELETE FROM account');
show('rollback', [$db->rollBack(), $db->inTransaction()]);
show('after the rollback', $db->query('SELECT * FROM account ORDER BY id')->fetchAll());
$db->beginTransaction();
$db->exec('CREATE TABLE IF NOT EXISTS kinds (id INT)');
show('DDL has committed', $db->inTransaction());

$db->exec('USE test');
show('another schema', $db->query('SELECT DATABASE() AS d')->fetchAll());
attempt('no table there', fn () => $db->query('SELECT * FROM kinds')->fetchAll());
$db->exec('USE app');
$db->exec("SET SESSION sql_mode = 'ANSI,TRADITIONAL', time_zone = '+03:00'");
show('as set', $db->query('SELECT "id", \'a\' || \'b\' AS ab, ts, @@session.time_zone AS z FROM "kinds" ORDER BY "id"')->fetchAll());
$db->exec("SET SESSION sql_mode = '', time_zone = '+00:00', NAMES utf8mb4");
show('as set again', $db->query('SELECT 1/0 AS q, "a" AS a, ts FROM kinds ORDER BY id')->fetchAll());

$db->exec("INSERT INTO words (word) VALUES ('last')");
show('insert id', [$db->lastInsertId(), $db->query('SELECT LAST_INSERT_ID() AS i')->fetchAll()]);
show('after reads too', [$db->query('SELECT COUNT(*) AS n FROM words')->fetchAll(), $db->query('SELECT LAST_INSERT_ID() AS i')->fetchAll()]);
show('changed', $db->exec("UPDATE words SET word = CONCAT(word, '!') WHERE id <= 3"));
show('row count', $db->query('SELECT ROW_COUNT() AS n')->fetchAll());
$db->query('SELECT d FROM digit ORDER BY d LIMIT 4')->fetchAll();
show('found rows', $db->query('SELECT FOUND_ROWS() AS n')->fetchAll());
$db->query('SELECT SQL_CALC_FOUND_ROWS d FROM digit ORDER BY d LIMIT 4')->fetchAll();
show('found rows, calculated', $db->query('SELECT FOUND_ROWS() AS n')->fetchAll());

$db->exec("SET SESSION sql_mode = 'ERROR_FOR_DIVISION_BY_ZERO'");
$db->query("SELECT 1/0 AS q, CAST('7x' AS SIGNED) AS c")->fetchAll();
show('warnings', $db->query('SHOW WARNINGS')->fetchAll());
show('warnings again', $db->query('SHOW COUNT(*) WARNINGS')->fetchAll());

$db->exec("SET @one = 1, @text = 'ü'");
show('variables', $db->query('SELECT @one AS a, @text AS b')->fetchAll());
$db->query('SELECT @two := COUNT(*) FROM digit')->fetchAll();
show('an assigned variable', $db->query('SELECT @two AS c')->fetchAll());
$db->exec('CREATE TEMPORARY TABLE passing (n INT)');
$db->exec('INSERT INTO passing SELECT d FROM digit');
show('a temporary table', $db->query('SELECT SUM(n) AS s FROM passing')->fetchAll());
$db->exec('DROP TEMPORARY TABLE passing');

if (!$native) {
    $several = $db->query('SELECT 1 AS a; UPDATE account SET amount = amount + 1; SELECT SUM(amount) AS s FROM account');
    do {
        show('one of several', [$several->columnCount(), $several->rowCount(), $several->columnCount() ? $several->fetchAll() : null]);
    } while ($several->nextRowset());
    attempt('several with a fault', function () use ($db) {
        $several = $db->query('SELECT 1 AS a; SELEKT 2; SELECT 3');
        show('the first', $several->fetchAll());
        return $several->nextRowset();
    });
}
$call = $db->query('CALL two_results(7)');
do {
    show('a result of the procedure', $call->columnCount() ? $call->fetchAll() : $call->rowCount());
} while ($call->nextRowset());
show('after the procedure', $db->query('SELECT * FROM account ORDER BY id')->fetchAll());

$found = connect($user, $password, 'app', [PDO::MYSQL_ATTR_FOUND_ROWS => true]);
show('rows found, not changed', $found->exec('UPDATE digit SET d = d'));

$unbuffered = connect($user, $password, 'app', [PDO::MYSQL_ATTR_USE_BUFFERED_QUERY => false]);
$rows = $unbuffered->query('SELECT * FROM digit ORDER BY d');
show('the first of many', $rows->fetch());
attempt('one at a time', fn () => $unbuffered->query('SELECT 1')->fetchAll());
show('the rest', count($rows->fetchAll()));

// The same connection again and again, with all that was left in it.
for ($turn = 1; $turn <= 4; $turn++) {
    $lasting = connect($user, $password, 'app', [PDO::ATTR_PERSISTENT => true]);
    show('lasting', $lasting->query('SELECT @turn AS t, @@session.sql_mode AS m, DATABASE() AS d, CONNECTION_ID() AS i')->fetch()['t']);
    $lasting->exec("SET @turn = $turn");
    $lasting->exec("SET SESSION sql_mode = '" . ($turn % 2 ? 'ANSI' : 'TRADITIONAL') . "'");
    show('its mode', $lasting->query("SELECT @@session.sql_mode AS m, 'a' || 'b' AS c")->fetchAll());
    $lasting->beginTransaction();
    show('in it', $lasting->exec("UPDATE account SET amount = amount + $turn"));
    // Given up with it open: it is rolled back.
    unset($lasting);
}
show('nothing came of it', $db->query('SELECT * FROM account ORDER BY id')->fetchAll());

// Many parameters of all kinds.
$db->exec('CREATE TABLE bound (id INT AUTO_INCREMENT PRIMARY KEY, i BIGINT, u BIGINT UNSIGNED, d DOUBLE, t VARCHAR(200), b LONGBLOB, at DATETIME(6), yes BOOLEAN, de DECIMAL(20,6), j JSON)');
$insert = $db->prepare('INSERT INTO bound (i, u, d, t, b, at, yes, de, j) VALUES (:i, :u, :d, :t, :b, :at, :yes, :de, :j)');
foreach ([
    [PHP_INT_MIN, '18446744073709551615', 2.25, 'Zürich 😀', "\0\1\xff'\"", '2026-02-28 12:34:56.123456', true, '12345678901234.123456', '{"a": [1]}'],
    array_fill(0, 9, null),
    [7, 7, -1.5e300, '', '', '2000-01-01', false, '-0.000001', 'null'],
] as $values) {
    $kinds = [PDO::PARAM_INT, PDO::PARAM_STR, PDO::PARAM_STR, PDO::PARAM_STR, PDO::PARAM_LOB, PDO::PARAM_STR, PDO::PARAM_BOOL, PDO::PARAM_STR, PDO::PARAM_STR];
    foreach (['i', 'u', 'd', 't', 'b', 'at', 'yes', 'de', 'j'] as $at => $name) {
        $insert->bindValue($name, $values[$at], $values[$at] === null ? PDO::PARAM_NULL : $kinds[$at]);
    }
    attempt('bound', fn () => [$insert->execute(), $insert->rowCount(), $db->lastInsertId()]);
}
$bound = $db->prepare('SELECT * FROM bound WHERE id >= ? ORDER BY id LIMIT ?');
$bound->bindValue(1, 1, PDO::PARAM_INT);
$bound->bindValue(2, 10, PDO::PARAM_INT);
$bound->execute();
show('what was bound', $bound->fetchAll());

if ($heavy) {
    $rows = $unbuffered->query($suite['million']);
    [$count, $sum] = [0, 0];
    while ($row = $rows->fetch(PDO::FETCH_NUM)) {
        $count++;
        $sum += $row[0];
    }
    show('a million rows', [$count, $sum]);
    $value = large_value();
    $insert = $db->prepare('INSERT INTO large VALUES (1, ?)');
    $insert->bindValue(1, $value, PDO::PARAM_LOB);
    show('64 MiB in', $insert->execute());
    $back = $db->query('SELECT LENGTH(value) AS l, value FROM large')->fetch();
    show('64 MiB out', [$back['l'], $back['value'] === $value]);
}
echo "done\n";
