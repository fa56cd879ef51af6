<?php
// A site's day as Drupal 7 sends it: table names in backticks, changed rows counted, merges made by the client.

declare(strict_types=1);

require __DIR__ . '/site.php';

function connect(): Request
{
    return new Request($_SERVER['argv'][1], 'drupal7', [], function (string $version): array {
        $mode = 'REAL_AS_FLOAT,PIPES_AS_CONCAT,ANSI_QUOTES,IGNORE_SPACE,STRICT_TRANS_TABLES,STRICT_ALL_TABLES,'
            . 'NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO';
        if (version_compare($version, '8.0.11', '<')) {
            $mode .= ',NO_AUTO_CREATE_USER';
        }
        return ['SET NAMES utf8mb4 COLLATE utf8mb4_general_ci', "SET sql_mode = '$mode'"];
    });
}

request('a cold front page');
$db = connect();
$db->run("SELECT cid, data, created, expire, serialized FROM `cache_bootstrap` WHERE cid IN (?)", ['variables']);
$db->run("INSERT INTO `semaphore` (name, value, expire) VALUES (?, ?, ?)", ['variable_init', 'one', '1795375331.6496']);
$db->run('SELECT name, value FROM `variable` ORDER BY name');
$db->merge(
    "SELECT 1 AS expression\nFROM \n`cache_bootstrap` cache_bootstrap\nWHERE ( (cid = ?) )",
    'INSERT INTO `cache_bootstrap` (cid, serialized, created, expire, data) VALUES (?, ?, ?, ?, ?)',
    "UPDATE `cache_bootstrap` SET serialized=?, created=?, expire=?, data=?\nWHERE ( (cid = ?) )",
    ['variables'],
    ['1', '1795375331', '0', "a:1:{s:4:\"site\";s:21:\"It's; \0\"FOR UPDATE\" \\\";}"],
);
$db->run("DELETE FROM `semaphore` \nWHERE  (name = ?) AND (value = ?) ", ['variable_init', 'one']);
$db->run('SELECT cid, data, serialized FROM `cache_bootstrap` WHERE cid IN (?)', ['variables']);
$db->run("SELECT COUNT(*) AS expression\nFROM \n(SELECT 1 AS expression\nFROM \n`node` n\nWHERE  (n.status = ?) ) subquery", ['1']);
$db->run('INSERT INTO `cache_page` (cid, serialized, created, expire, data) VALUES (?, ?, ?, ?, ?)', [
    'http://127.0.0.1/', '0', '1795375331', '-1', "\x1f\x8b\x08\x00\xff\xfe SELECT 'x'; -- \n DROP TABLE node \xc3\x28",
]);
$db->run('SELECT cid, HEX(data) AS data FROM `cache_page` WHERE cid IN (?)', ['http://127.0.0.1/']);
unset($db);

request('log in, and twice the same lock');
$db = connect();
$other = connect();
$db->run("INSERT INTO `semaphore` (name, value, expire) VALUES (?, ?, ?)", ['menu_rebuild', 'mine', '1795375333.1']);
$other->run("INSERT INTO `semaphore` (name, value, expire) VALUES (?, ?, ?)", ['menu_rebuild', 'theirs', '1795375333.2']);
$db->run("UPDATE `semaphore` SET expire=?\nWHERE  (name = ?) AND (value = ?) ", ['1795375363.1', 'menu_rebuild', 'mine']);
$other->run("UPDATE `semaphore` SET expire=?\nWHERE  (name = ?) AND (value = ?) ", ['1795375363.2', 'menu_rebuild', 'theirs']);
$db->run('SELECT u.uid, u.name FROM `users` u WHERE u.name LIKE ? ESCAPE ? AND u.status = ?', ['edi\\_tor%', '\\', '1']);
$db->run("SELECT u.*, s.* FROM `users` u INNER JOIN `sessions` s ON u.uid = s.uid WHERE s.sid = ?", ['session-one']);
$db->merge(
    "SELECT 1 AS expression\nFROM \n`sessions` sessions\nWHERE ( (sid = ?) AND (ssid = ?) )",
    'INSERT INTO `sessions` (sid, ssid, uid, cache, hostname, session, timestamp) VALUES (?, ?, ?, ?, ?, ?, ?)',
    "UPDATE `sessions` SET uid=?, cache=?, hostname=?, session=?, timestamp=?\nWHERE ( (sid = ?) AND (ssid = ?) )",
    ['session-one', ''],
    ['2', '0', '127.0.0.1', 'user|a:1:{s:4:"name";s:9:"Zoë 🜁";}', '1795375333'],
);
$other->run("SELECT u.uid, s.session FROM `users` u INNER JOIN `sessions` s ON u.uid = s.uid WHERE s.sid = ?", ['session-two']);
$db->run("UPDATE `users` SET login=?\nWHERE  (uid = ?) ", ['1795375333', '2']);
$db->run("UPDATE `users` SET login=?\nWHERE  (uid = ?) ", ['1795375333', '2']);
$db->run("DELETE FROM `semaphore` \nWHERE  (name = ?) AND (value = ?) ", ['menu_rebuild', 'mine']);
unset($db, $other);

request('save a node');
$db = connect();
$db->run("SELECT u.*, s.* FROM `users` u INNER JOIN `sessions` s ON u.uid = s.uid WHERE s.sid = ?", ['session-one']);
$db->control('START TRANSACTION');
$nid = $db->run(
    'INSERT INTO `node` (vid, type, language, title, uid, status, created, changed) VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)',
    ['article', 'und', 'Traced one', '2', '1', '1795375340', '1795375340'],
)['id'];
$vid = $db->run(
    'INSERT INTO `node_revision` (nid, uid, title, log, timestamp) VALUES (?, ?, ?, ?, ?)',
    [$nid, '2', 'Traced one', '', '1795375340'],
)['id'];
$db->run("UPDATE `node` SET vid=?\nWHERE  (nid = ?) ", [$vid, $nid]);
$db->run('SELECT nid, status, uid, changed FROM `node` WHERE nid = ?', [$nid]);
$db->control('SAVEPOINT savepoint_1');
$db->run('INSERT INTO `node` (vid, type, title, uid, created) VALUES (?, ?, ?, ?, ?)', [$vid, 'page', 'Taken', '2', '0']);
$db->run('INSERT INTO `watchdog` (uid, type, message, timestamp) VALUES (?, ?, ?, ?)', ['2', 'php', 'Lost', '1795375340']);
$db->control('ROLLBACK TO SAVEPOINT savepoint_1');
$db->control('SAVEPOINT savepoint_1');
$db->run("SELECT nid FROM `node` WHERE vid = ? FOR UPDATE", [$vid]);
$db->control('RELEASE SAVEPOINT savepoint_1');
$db->run("SELECT 1 AS expression\nFROM \n`missing` missing\nWHERE ( (nid = ?) )", [$nid]);
$db->run('SELECT COUNT(*) AS messages FROM `watchdog` WHERE timestamp = ?', ['1795375340']);
$db->control('COMMIT');
$db->run('INSERT INTO `watchdog` (uid, type, message, timestamp) VALUES (?, ?, ?, ?)', ['2', 'content', 'added', '1795375341']);
$db->run("DELETE FROM `cache_page` \nWHERE  (expire <> ?) AND (expire < ?) ", ['0', '1795375340']);
$db->run("UPDATE `sessions` SET session=?\nWHERE ( (sid = ?) AND (ssid = ?) )", ['messages|a:0:{}', 'session-one', '']);
unset($db);

request('land on the node');
$db = connect();
$db->run("SELECT u.name, s.session FROM `users` u INNER JOIN `sessions` s ON u.uid = s.uid WHERE s.sid = ?", ['session-one']);
$db->run('SELECT n.nid, n.vid, r.title FROM `node` n INNER JOIN `node_revision` r ON r.vid = n.vid WHERE n.nid = ?', [$nid]);
$db->run("SELECT n.nid AS nid FROM \n`node` n\nWHERE  (n.title LIKE ? ESCAPE ?) \nORDER BY n.nid DESC\nLIMIT 10 OFFSET 0", ['%Traced%', '\\']);
$db->run('SELECT message FROM `watchdog` WHERE timestamp >= ? ORDER BY wid', ['1795375340']);
$db->run('SELECT message, @@sql_mode AS mode, 1/3 AS third FROM `watchdog` WHERE type = ? || ?', ['con', 'tent']);
unset($db);

request('a save that fails');
$db = connect();
$db->control('START TRANSACTION');
$db->run('INSERT INTO `node_revision` (nid, uid, title, log, timestamp) VALUES (?, ?, ?, ?, ?)', [$nid, '2', 'Never', '', '7']);
$db->run('SELECT vid, title FROM `node_revision` WHERE title = ?', ['Never']);
$db->control('ROLLBACK');
$db->run('SELECT COUNT(*) AS revisions FROM `node_revision` WHERE nid = ?', [$nid]);
unset($db);

request('search by a temporary table, the status report, a cache clear');
$db = connect();
$db->run("CREATE TEMPORARY TABLE `db_temporary_0` Engine=MEMORY SELECT nid, title FROM `node` WHERE status = ?", ['1']);
$db->run('SELECT nid, title FROM `db_temporary_0` ORDER BY nid');
$db->run("CREATE TABLE `drupal_utf8mb4_test` (id INT NOT NULL, PRIMARY KEY (id)) DEFAULT CHARACTER SET utf8mb4");
$db->run("CREATE TABLE `drupal_utf8mb4_test` (id INT NOT NULL, PRIMARY KEY (id)) DEFAULT CHARACTER SET utf8mb4");
$db->run('DROP TABLE `drupal_utf8mb4_test`');
$db->run('INSERT INTO `sequences` () VALUES ()');
$db->run('SELECT MAX(value) AS value FROM `sequences`');
$db->run('TRUNCATE `cache_page` ');
$db->run('SELECT COUNT(*) AS pages FROM `cache_page`');
unset($db);

request('the next visitor');
$db = connect();
$db->run('SELECT COUNT(*) AS pages FROM `cache_page` WHERE expire < ?', ['0']);
$db->run('SELECT nid, title FROM `db_temporary_0` WHERE nid > ? ORDER BY nid', ['0']);
unset($db);
