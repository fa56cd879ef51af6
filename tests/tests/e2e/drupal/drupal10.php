<?php
// A site's day as Drupal 10 sends it: every identifier in double quotes, matched rows counted, caches upserted, tables
// made when they are first missed.

declare(strict_types=1);

require __DIR__ . '/site.php';

const UPSERT = ' ON DUPLICATE KEY UPDATE "cid" = VALUES("cid"), "expire" = VALUES("expire"), "tags" = VALUES("tags"), '
    . '"checksum" = VALUES("checksum"), "data" = VALUES("data")';

function connect(): Request
{
    return new Request($_SERVER['argv'][1], 'drupal10', [PDO::MYSQL_ATTR_FOUND_ROWS => true], fn () => [
        'SET NAMES utf8mb4 COLLATE utf8mb4_general_ci',
        "SET sql_mode = 'ANSI,TRADITIONAL'",
        'SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED',
    ]);
}

function cache(Request $db, string $bin, string $cid, string $tags, string $data): void
{
    $sql = "INSERT INTO \"$bin\" (\"cid\", \"expire\", \"tags\", \"checksum\", \"data\") VALUES (?, ?, ?, ?, ?)" . UPSERT;
    $db->run($sql, [$cid, '-1', $tags, '0', $data]);
}

function invalidate(Request $db, string $tag): void
{
    $db->merge(
        "SELECT 1 AS \"expression\"\nFROM\n\"cachetags\" \"cachetags\"\nWHERE \"tag\" = ?",
        'INSERT INTO "cachetags" ("tag", "invalidations") VALUES (?, 1)',
        "UPDATE \"cachetags\" SET \"invalidations\"=\"invalidations\" + 1\nWHERE \"tag\" = ?",
        [$tag],
        [],
    );
}

request('a cold front page');
$db = connect();
$db->run('SELECT "cid", "data", "expire", "tags", "checksum" FROM "cache_page" WHERE "cid" IN ( ? ) ORDER BY "cid"', ['http://127.0.0.1/:']);
$db->run('SELECT "name", "value" FROM "key_value" WHERE "name" IN ( ? ) AND "collection" = ?', ['system.private_key', 'state']);
$db->run('INSERT INTO "semaphore" ("name", "value", "expire") VALUES (?, ?, ?)', ['state', 'one', '1795375331.6496']);
cache($db, 'cache_config', 'system.site', '', 'a:1:{s:4:"name";s:27:"It\'s; \\"FOR UPDATE\\" Zoë 🜁";}');
cache($db, 'cache_config', 'system.site', '', 'a:0:{}');
cache($db, 'cache_config', 'last_write_timestamp_cache_config', '', 'd:1795375331.6;');
$db->run("DELETE FROM \"semaphore\" \nWHERE (\"name\" = ?) AND (\"value\" = ?)", ['state', 'one']);
$db->run('SELECT "tag", "invalidations" FROM "cachetags" WHERE "tag" IN ( ?, ? ) ORDER BY "tag"', ['node_list', 'rendered']);
cache($db, 'cache_page', 'http://127.0.0.1/:', 'node_list rendered', str_repeat("<p>\0\xff</p>\n", 1500));
$db->run('SELECT "cid", LENGTH("data") AS "length", "tags" FROM "cache_page" WHERE "cid" IN ( ? ) ORDER BY "cid"', ['http://127.0.0.1/:']);
$db->run("SELECT COUNT(*) AS \"expression\"\nFROM\n(SELECT 1 AS \"expression\"\nFROM\n\"node_field_data\" \"n\"\nWHERE \"status\" = ?) \"subquery\"", ['1']);
unset($db);

request('log in; a table is missed and made, twice the same lock');
$db = connect();
$other = connect();
$db->run('SELECT COUNT(*) FROM "flood" WHERE "event" = ? AND "identifier" = ?', ['user.failed_login_ip', '127.0.0.1']);
$db->run('SELECT 1 FROM information_schema.tables WHERE ("table_schema" = ?) AND ("table_name" = ?)', ['drupal10', 'flood']);
$create = 'CREATE TABLE "flood" ("fid" INT NOT NULL auto_increment, "event" VARCHAR(64) NOT NULL, "identifier" VARCHAR(128) '
    . 'NOT NULL, PRIMARY KEY ("fid"), INDEX "allow" ("event", "identifier")) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4';
$db->run($create);
$other->run($create);
$db->run('SELECT COUNT(*) FROM "flood" WHERE "event" = ? AND "identifier" = ?', ['user.failed_login_ip', '127.0.0.1']);
$db->run('INSERT INTO "flood" ("event", "identifier") VALUES (?, ?)', ['user.failed_login_ip', '127.0.0.1']);
$db->run("DELETE FROM \"flood\" \nWHERE \"event\" = ?", ['user.failed_login_user']);
$db->run('INSERT INTO "semaphore" ("name", "value", "expire") VALUES (?, ?, ?)', ['router_rebuild', 'mine', '1795375333.1']);
$other->run('INSERT INTO "semaphore" ("name", "value", "expire") VALUES (?, ?, ?)', ['router_rebuild', 'theirs', '1795375333.2']);
$db->run("UPDATE \"semaphore\" SET \"expire\"=?\nWHERE (\"name\" = ?) AND (\"value\" = ?)", ['1795375333.1', 'router_rebuild', 'mine']);
$other->run("UPDATE \"semaphore\" SET \"expire\"=?\nWHERE (\"name\" = ?) AND (\"value\" = ?)", ['1795375333.2', 'router_rebuild', 'theirs']);
$db->run('SELECT "uid", "name" FROM "users_field_data" WHERE "name" LIKE ? ESCAPE ?', ['edi\\_tor%', '\\']);
$db->merge(
    "SELECT 1 AS \"expression\"\nFROM\n\"sessions\" \"sessions\"\nWHERE \"sid\" = ?",
    'INSERT INTO "sessions" ("sid", "uid", "hostname", "session", "timestamp") VALUES (?, ?, ?, ?, ?)',
    "UPDATE \"sessions\" SET \"uid\"=?, \"hostname\"=?, \"session\"=?, \"timestamp\"=?\nWHERE \"sid\" = ?",
    ['session-one'],
    ['2', '127.0.0.1', '_sf2_attributes|a:1:{s:3:"uid";s:1:"2";}', '1795375333'],
);
$db->run("UPDATE \"users_field_data\" SET \"login\"=?\nWHERE \"uid\" = ?", ['1795375333', '2']);
$db->run("UPDATE \"users_field_data\" SET \"login\"=?\nWHERE \"uid\" = ?", ['1795375333', '2']);
$db->run("DELETE FROM \"semaphore\" \nWHERE (\"name\" = ?) AND (\"value\" = ?)", ['router_rebuild', 'mine']);
unset($db, $other);

request('save a node');
$db = connect();
$db->run('SELECT "session" FROM "sessions" WHERE "sid" = ?', ['session-one']);
$db->control('START TRANSACTION');
$nid = $db->run(
    'INSERT INTO "node" ("vid", "type", "uuid", "langcode") VALUES (NULL, ?, ?, ?)',
    ['article', '85fed1f3-2537-45eb-a2e0-d20510501b3f', 'en'],
)['id'];
$vid = $db->run('INSERT INTO "node_revision" ("nid", "langcode", "revision_uid") VALUES (?, ?, ?)', [$nid, 'en', '2'])['id'];
$db->run("UPDATE \"node\" SET \"vid\"=?\nWHERE \"nid\" = ?", [$vid, $nid]);
$db->run("DELETE FROM \"node_field_data\" \nWHERE \"nid\" = ?", [$nid]);
$db->run(
    'INSERT INTO "node_field_data" ("nid", "vid", "status", "uid", "title", "changed") VALUES (?, ?, ?, ?, ?, ?)',
    [$nid, $vid, '1', '2', 'Traced "one" 🜁', '1795375340'],
);
$db->run('SELECT "nid", "status", "uid", "changed" FROM "node_field_data" WHERE "nid" = ? ORDER BY "changed" DESC', [$nid]);
$db->control('SAVEPOINT savepoint_1');
$db->run('INSERT INTO "node" ("vid", "type", "uuid", "langcode") VALUES (?, ?, ?, ?)', [$vid, 'page', 'taken', 'en']);
$db->run('INSERT INTO "watchdog" ("uid", "type", "message", "timestamp") VALUES (?, ?, ?, ?)', ['2', 'php', 'Lost', '1795375340']);
$db->control('ROLLBACK TO SAVEPOINT savepoint_1');
$db->control('SAVEPOINT savepoint_1');
$db->run('SELECT "nid" FROM "node" WHERE "vid" = ? FOR UPDATE', [$vid]);
$db->control('RELEASE SAVEPOINT savepoint_1');
$db->run('SELECT "name" FROM "key_value_expire" WHERE "collection" = ?', ['entity_form']);
$db->run('SELECT COUNT(*) AS "messages" FROM "watchdog" WHERE "timestamp" = ?', ['1795375340']);
cache($db, 'cache_config', 'written.in.a.transaction', '', 'i:1;');
$db->control('COMMIT');
invalidate($db, 'node_list');
invalidate($db, 'node_list:article');
$db->run('INSERT INTO "watchdog" ("uid", "type", "message", "timestamp") VALUES (?, ?, ?, ?)', ['2', 'content', 'added', '1795375341']);
$db->run('SELECT "name", "value" FROM "key_value_expire" WHERE "expire" > ? AND "name" IN ( ? )', ['1795375340', 'node_preview']);
$db->run("UPDATE \"sessions\" SET \"session\"=?\nWHERE \"sid\" = ?", ['_symfony_flashes|a:0:{}', 'session-one']);
unset($db);

request('land on the node');
$db = connect();
$db->run('SELECT "uid", "session" FROM "sessions" WHERE "sid" = ? LIMIT 0, 1', ['session-one']);
$db->run('SELECT "tag", "invalidations" FROM "cachetags" WHERE "tag" IN ( ?, ? ) ORDER BY "tag"', ['node_list', 'node_list:article']);
$db->run("SELECT \"revision\".\"vid\" AS \"vid\", \"base\".\"type\" AS \"type\"\nFROM\n\"node\" \"base\"\nINNER JOIN \"node_revision\" \"revision\" ON \"revision\".\"vid\" = \"base\".\"vid\"\nWHERE \"base\".\"nid\" IN (?)", [$nid]);
$db->run('SELECT "title", "title" || ? AS "more" FROM "node_field_data" WHERE "title" LIKE ? ESCAPE ? ORDER BY "nid"', ['!', '%Traced%', '\\']);
$db->run('SELECT "message" FROM "watchdog" WHERE "timestamp" >= ? ORDER BY "wid"', ['1795375340']);
$db->run('SELECT @@sql_mode AS "mode", 1/3 AS "third", MAX("cid") AS "cid" FROM "cache_config"');
$db->run('SHOW KEYS FROM "semaphore" WHERE Key_name = ?', ['PRIMARY']);
unset($db);

request('a save that fails');
$db = connect();
$db->control('START TRANSACTION');
$db->run('INSERT INTO "node_revision" ("nid", "langcode", "revision_uid") VALUES (?, ?, ?)', [$nid, 'xx', '2']);
$db->run('SELECT "vid", "langcode" FROM "node_revision" WHERE "langcode" = ?', ['xx']);
$db->control('ROLLBACK');
$db->run('SELECT COUNT(*) AS "revisions" FROM "node_revision" WHERE "nid" = ?', [$nid]);
unset($db);

request('search by a temporary table, a queue, a cache clear');
$db = connect();
$db->run('CREATE TEMPORARY TABLE "db_temporary_0" Engine=MEMORY SELECT "nid", "title" FROM "node_field_data" WHERE "status" = ?', ['1']);
$db->run('SELECT "nid", "title" FROM "db_temporary_0" ORDER BY "nid"');
$db->run("UPDATE \"queue\" SET \"expire\"=?\nWHERE (\"item_id\" = ?) AND (\"expire\" = 0)", ['1795375400', '1']);
$db->run("UPDATE \"queue\" SET \"expire\"=?\nWHERE (\"item_id\" = ?) AND (\"expire\" = 0)", ['1795375400', '1']);
$db->run('TRUNCATE "cache_page" ');
$db->run('SELECT COUNT(*) AS "pages" FROM "cache_page"');
unset($db);

request('the next visitor');
$db = connect();
$db->run('SELECT COUNT(*) AS "pages" FROM "cache_page" WHERE "expire" < ?', ['0']);
$db->run('SELECT "nid", "title" FROM "db_temporary_0" WHERE "nid" > ? ORDER BY "nid"', ['0']);
unset($db);
