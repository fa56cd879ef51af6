<?php
/**
 * One visitor of the demo's site, in Drupal's manner: each request is a connection of its own, which says the three
 * SETs, does what a page does, and goes.
 *
 * A line on standard input asks for one request; a line of JSON on standard output tells what came of it. The end of
 * the input ends the visitor. With "install" as its first argument it makes the site's tables instead.
 */

declare(strict_types=1);

/** One connection, counting what is asked over it. */
final class Connection
{
    public int $statements = 0;
    private PDO $pdo;
    private array $sample = ['', []];

    public function __construct()
    {
        $this->pdo = new PDO(getenv('DEMO_DSN'), getenv('DEMO_USER'), getenv('DEMO_PASSWORD'), [
            PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION,
            PDO::ATTR_EMULATE_PREPARES => true,
            PDO::MYSQL_ATTR_FOUND_ROWS => true,
            PDO::MYSQL_ATTR_MULTI_STATEMENTS => false,
        ]);
        $this->exec('SET NAMES utf8mb4 COLLATE utf8mb4_general_ci');
        $this->exec("SET sql_mode = 'ANSI,TRADITIONAL'");
        $this->exec('SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED');
    }

    /** Rows affected; with FOUND_ROWS those matched. */
    public function exec(string $sql, array $values = []): int
    {
        return $this->run($sql, $values)->rowCount();
    }

    /** The first column of the first row. */
    public function value(string $sql, array $values = []): ?string
    {
        $value = $this->run($sql, $values)->fetchColumn();
        return $value === false || $value === null ? null : (string) $value;
    }

    public function rows(string $sql, array $values = []): array
    {
        return $this->run($sql, $values)->fetchAll(PDO::FETCH_ASSOC);
    }

    public function insertId(): int
    {
        return (int) $this->pdo->lastInsertId();
    }

    /** One of the statements, as it was sent. */
    public function sample(): string
    {
        [$sql, $values] = $this->sample;
        return strtr($sql, array_map(fn ($value) => $this->pdo->quote((string) $value), $values));
    }

    public function begin(): void
    {
        $this->statements++;
        $this->pdo->beginTransaction();
    }

    public function commit(): void
    {
        // As Drupal does it: PDO knows of a transaction by the status flags of the replies.
        if (!$this->pdo->inTransaction()) {
            throw new RuntimeException('the transaction was not open when it was to be committed');
        }
        $this->statements++;
        $this->pdo->commit();
    }

    private function run(string $sql, array $values): PDOStatement
    {
        $this->statements++;
        // Every statement of a request is as likely to be its sample.
        if (mt_rand(1, $this->statements) === 1) {
            $this->sample = [$sql, $values];
        }
        $statement = $this->pdo->prepare($sql);
        $statement->execute($values);
        return $statement;
    }
}

/** What one visitor does, request after request. */
final class Visitor
{
    private int $requests = 0;
    /** The revision that this visitor's own last save made. */
    private int $saved = 0;
    /** Views that came before the replica had that save. */
    public int $early = 0;

    public function __construct(private readonly int $number)
    {
    }

    /** The next request: most are views, one in six is a save, and the view after it is its redirect. */
    public function next(Connection $site): string
    {
        $this->early = 0;
        $this->requests++;
        if ($this->requests % 6 === $this->number % 6) {
            $this->save($site);
            return 'save';
        }
        if ($this->requests % 2 === 0) {
            $this->cachedPage($site);
            return 'cached page';
        }
        $this->view($site);
        return 'view';
    }

    private function cachedPage(Connection $site): void
    {
        $this->cacheGet($site, 'cache_config', 'system.site');
        $this->cacheGet($site, 'cache_page', "page:{$this->number}");
        $this->checksum($site);
    }

    private function view(Connection $site): void
    {
        $sid = $this->session();
        $site->value('SELECT "session" FROM "sessions" WHERE "sid" = :sid', [':sid' => $sid]);
        $site->rows('SELECT "u".* FROM "users_field_data" "u" WHERE "u"."uid" = :uid', [':uid' => $this->number]);
        $this->cacheGet($site, 'cache_config', 'system.site');
        $this->checksum($site);
        $site->rows(
            'SELECT "n"."nid", "n"."title" FROM "node_field_data" "n" WHERE "n"."status" = 1 ORDER BY "n"."changed" DESC LIMIT 10'
        );
        $this->ownNode($site);
        $cached = $this->cacheGet($site, 'cache_page', "page:{$this->number}");
        if ($cached === null || $this->requests % 5 === 0) {
            $this->cacheSet($site, 'cache_page', "page:{$this->number}", str_repeat('<p>It\'s "content"; -- </p>', 40));
        }
        $this->lock($site, fn () => $this->touchSession($site, $sid));
    }

    /** A page that was asked for after a save on another connection may be older than the save: that is counted. */
    private function ownNode(Connection $site): void
    {
        $vid = (int) $site->value(
            'SELECT "vid" FROM "node_field_data" WHERE "nid" = :nid AND "langcode" = :language',
            [':nid' => $this->number, ':language' => 'en']
        );
        $this->early += $vid < $this->saved ? 1 : 0;
    }

    private function save(Connection $site): void
    {
        $title = "Saved {$this->requests} times by visitor {$this->number}";
        $site->begin();
        $site->exec(
            'INSERT INTO "node_revision" ("nid", "langcode", "title") VALUES (:nid, :language, :title)',
            [':nid' => $this->number, ':language' => 'en', ':title' => $title]
        );
        $vid = $site->insertId();
        $site->exec(
            'UPDATE "node_field_data" SET "vid" = :vid, "title" = :title, "changed" = :now WHERE "nid" = :nid',
            [':vid' => $vid, ':title' => $title, ':now' => time(), ':nid' => $this->number]
        );
        $this->expect($site, $vid, 'inside its transaction');
        $site->commit();
        $this->saved = $vid;
        // Drupal invalidates after the COMMIT, and reads on over the same connection.
        foreach (["node:{$this->number}", 'node_list'] as $tag) {
            $site->exec('UPDATE "cachetags" SET "invalidations" = "invalidations" + 1 WHERE "tag" = :tag', [':tag' => $tag]);
        }
        $this->expect($site, $vid, 'after its own commit');
        $site->exec(
            'INSERT INTO "watchdog" ("uid", "type", "message") VALUES (:uid, :type, :message)',
            [':uid' => $this->number, ':type' => 'content', ':message' => "updated $title"]
        );
        $this->touchSession($site, $this->session());
    }

    /** What this connection wrote, this connection reads: anything else is an error. */
    private function expect(Connection $site, int $vid, string $when): void
    {
        $found = (int) $site->value('SELECT "vid" FROM "node_field_data" WHERE "nid" = :nid', [':nid' => $this->number]);
        if ($found !== $vid) {
            throw new RuntimeException("a connection read revision $found instead of $vid $when");
        }
    }

    /** Drupal's lock: a row that only one can insert. */
    private function lock(Connection $site, callable $work): void
    {
        $name = "cache_rebuild:{$this->number}";
        $value = uniqid('', true);
        $site->exec(
            'INSERT INTO "semaphore" ("name", "value", "expire") VALUES (:name, :value, :expire)',
            [':name' => $name, ':value' => $value, ':expire' => microtime(true) + 30]
        );
        $work();
        $site->exec('DELETE FROM "semaphore" WHERE "name" = :name AND "value" = :value', [':name' => $name, ':value' => $value]);
    }

    /** Drupal's merge: look, then INSERT or UPDATE. A replica that is behind may not show the row yet: then 1062 tells. */
    private function touchSession(Connection $site, string $sid): void
    {
        $values = [':sid' => $sid, ':uid' => $this->number, ':now' => time(), ':session' => "_sf2_meta|{$this->requests}"];
        $update = 'UPDATE "sessions" SET "uid" = :uid, "timestamp" = :now, "session" = :session WHERE "sid" = :sid';
        $there = $site->value('SELECT 1 AS "expression" FROM "sessions" "sessions" WHERE "sid" = :sid', [':sid' => $sid]);
        if ($there !== null) {
            $site->exec($update, $values);
            return;
        }
        try {
            $site->exec(
                'INSERT INTO "sessions" ("sid", "uid", "timestamp", "session") VALUES (:sid, :uid, :now, :session)',
                $values
            );
        } catch (PDOException $duplicate) {
            if (($duplicate->errorInfo[1] ?? 0) !== 1062) {
                throw $duplicate;
            }
            $site->exec($update, $values);
        }
    }

    private function cacheGet(Connection $site, string $bin, string $cid): ?string
    {
        $sql = "SELECT \"cid\", \"data\", \"created\", \"tags\" FROM \"$bin\" WHERE \"cid\" IN ( :cid ) ORDER BY \"cid\"";
        return $site->rows($sql, [':cid' => $cid])[0]['data'] ?? null;
    }

    private function cacheSet(Connection $site, string $bin, string $cid, string $data): void
    {
        $site->exec(
            "INSERT INTO \"$bin\" (\"cid\", \"data\", \"created\", \"tags\") VALUES (:cid, :data, :created, :tags) "
            . 'ON DUPLICATE KEY UPDATE "cid" = VALUES("cid"), "data" = VALUES("data"), "created" = VALUES("created"), '
            . '"tags" = VALUES("tags")',
            [':cid' => $cid, ':data' => $data, ':created' => microtime(true), ':tags' => "node:{$this->number}"]
        );
    }

    private function checksum(Connection $site): void
    {
        $site->rows(
            'SELECT "tag", "invalidations" FROM "cachetags" WHERE "tag" IN ( :own, :list )',
            [':own' => "node:{$this->number}", ':list' => 'node_list']
        );
    }

    private function session(): string
    {
        return hash('sha256', "visitor {$this->number}");
    }
}

/** The site's tables, with one node and one account for each visitor. */
function install(int $visitors): void
{
    $site = new Connection();
    foreach ([
        '"sessions" ("sid" VARCHAR(128) PRIMARY KEY, "uid" INT, "timestamp" BIGINT, "session" LONGBLOB)',
        '"users_field_data" ("uid" INT PRIMARY KEY, "name" VARCHAR(60), "access" BIGINT)',
        '"node_field_data" ("nid" INT, "langcode" VARCHAR(12), "vid" INT, "title" VARCHAR(255), "status" INT, '
            . '"changed" BIGINT, PRIMARY KEY ("nid", "langcode"), KEY ("changed"))',
        '"node_revision" ("vid" INT AUTO_INCREMENT PRIMARY KEY, "nid" INT, "langcode" VARCHAR(12), "title" VARCHAR(255))',
        '"cache_page" ("cid" VARCHAR(255) PRIMARY KEY, "data" LONGBLOB, "created" DECIMAL(14, 3), "tags" LONGTEXT)',
        '"cache_config" ("cid" VARCHAR(255) PRIMARY KEY, "data" LONGBLOB, "created" DECIMAL(14, 3), "tags" LONGTEXT)',
        '"cachetags" ("tag" VARCHAR(255) PRIMARY KEY, "invalidations" INT)',
        '"semaphore" ("name" VARCHAR(255) PRIMARY KEY, "value" VARCHAR(255), "expire" DOUBLE)',
        '"watchdog" ("wid" INT AUTO_INCREMENT PRIMARY KEY, "uid" INT, "type" VARCHAR(64), "message" LONGTEXT)',
    ] as $table) {
        $site->exec("CREATE TABLE $table ENGINE = InnoDB");
    }
    $site->exec('INSERT INTO "cache_config" VALUES (:cid, :data, 0, :tags)', [':cid' => 'system.site', ':data' => 'a:0:{}', ':tags' => '']);
    $site->exec('INSERT INTO "cachetags" VALUES (:tag, 0)', [':tag' => 'node_list']);
    for ($number = 1; $number <= $visitors; $number++) {
        $site->exec('INSERT INTO "users_field_data" VALUES (:uid, :name, 0)', [':uid' => $number, ':name' => "visitor $number"]);
        $site->exec('INSERT INTO "node_field_data" VALUES (:nid, :language, 0, :title, 1, 0)', [
            ':nid' => $number, ':language' => 'en', ':title' => "Node $number",
        ]);
        $site->exec('INSERT INTO "cachetags" VALUES (:tag, 0)', [':tag' => "node:$number"]);
    }
}

[, $what, $number] = $argv;
if ($what === 'install') {
    install((int) $number);
    exit(0);
}
$visitor = new Visitor((int) $number);
while (fgets(STDIN) !== false) {
    $site = null;
    $told = ['request' => '', 'error' => null];
    try {
        $site = new Connection();
        $told['request'] = $visitor->next($site);
    } catch (Throwable $error) {
        $told['error'] = $error->getMessage();
        // Its trace would keep the connection open.
        unset($error);
    }
    $told += ['statements' => $site?->statements ?? 0, 'sample' => $site?->sample() ?? '', 'early' => $visitor->early];
    // The connection ends with the request, before the request is told of.
    $site = null;
    echo json_encode($told, JSON_INVALID_UTF8_SUBSTITUTE), "\n";
}
