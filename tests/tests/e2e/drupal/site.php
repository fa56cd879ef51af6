<?php
// What both programs share: connections as PHP's applications open them, one for each request, and statements sent as
// PDO sends them with emulated prepares. Each command and its outcome is printed as a line of JSON, in the words of the
// recordings; before each request a line is awaited, so that whoever looks on can let replicas catch up.

declare(strict_types=1);

final class Request
{
    // What mysqlnd asks for, beside FOUND_ROWS.
    private const CAPABILITIES = [
        'LONG_PASSWORD', 'LONG_FLAG', 'CONNECT_WITH_DB', 'LOCAL_FILES', 'PROTOCOL_41', 'TRANSACTIONS',
        'SECURE_CONNECTION', 'MULTI_RESULTS', 'PLUGIN_AUTH', 'CONNECT_ATTRS',
    ];

    private static int $count = 0;

    private PDO $pdo;

    private int $number;

    // $where is the part of the DSN that tells host and port, or the socket; nothing else differs between two runs.
    public function __construct(string $where, string $schema, array $options, callable $settings)
    {
        [$user, $password] = [getenv('SITE_USER'), getenv('SITE_PASSWORD')];
        $this->pdo = new PDO("mysql:$where;dbname=$schema;charset=utf8mb4", $user, $password, $options + [
            PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION,
            PDO::MYSQL_ATTR_USE_BUFFERED_QUERY => true,
            PDO::ATTR_EMULATE_PREPARES => true,
            PDO::MYSQL_ATTR_MULTI_STATEMENTS => false,
        ]);
        $this->number = ++self::$count;
        $more = ($options[PDO::MYSQL_ATTR_FOUND_ROWS] ?? false) ? ['FOUND_ROWS'] : [];
        $capabilities = [...self::CAPABILITIES, ...$more];
        $this->tell(['connect' => ['db' => $schema, 'charset' => 45, 'capabilities' => $capabilities]]);
        foreach ($settings($this->pdo->getAttribute(PDO::ATTR_SERVER_VERSION)) as $setting) {
            $this->control($setting);
        }
    }

    public function __destruct()
    {
        unset($this->pdo);
        $this->tell(['com' => 'QUIT']);
    }

    // Rows, or what a write's OK says: affected rows and insert id. An error is an outcome like others.
    public function run(string $sql, array $arguments = []): array
    {
        $before = $this->pdo->inTransaction();
        $statement = $this->pdo->prepare($sql);
        try {
            $statement->execute($arguments);
            $outcome = $statement->columnCount() > 0
                ? ['rows' => $statement->fetchAll(PDO::FETCH_NUM), 'columns' => $this->columns($statement)]
                : ['affected' => $statement->rowCount(), 'id' => $this->pdo->lastInsertId()];
        } catch (PDOException $error) {
            $outcome = ['error' => $error->errorInfo];
        }
        $after = $this->pdo->inTransaction();
        $this->tellQuery($this->sent($statement, $sql), $before || $after, $after, $outcome);
        return $outcome;
    }

    // Settings and transaction control go out as text, as PDO and Drupal send them.
    public function control(string $sql): void
    {
        $before = $this->pdo->inTransaction();
        match ($sql) {
            'START TRANSACTION' => $this->pdo->beginTransaction(),
            'COMMIT' => $this->pdo->commit(),
            'ROLLBACK' => $this->pdo->rollBack(),
            default => $this->pdo->exec($sql),
        };
        $after = $this->pdo->inTransaction();
        $this->tellQuery($sql, $before || $after, $after, []);
    }

    // Drupal's own upsert of old: look, then INSERT or UPDATE.
    public function merge(string $look, string $insert, string $update, array $key, array $values): void
    {
        $found = $this->run($look, $key)['rows'] !== [];
        $found ? $this->run($update, [...$values, ...$key]) : $this->run($insert, [...$key, ...$values]);
    }

    private function columns(PDOStatement $statement): array
    {
        return array_map(
            fn (int $at) => $statement->getColumnMeta($at)['name'],
            range(0, $statement->columnCount() - 1),
        );
    }

    private function tellQuery(string $sql, bool $transaction, bool $open, array $outcome): void
    {
        $text = preg_match('//u', $sql) === 1 ? ['sql' => $sql] : ['sql_base64' => base64_encode($sql)];
        $this->tell(['com' => 'QUERY'] + $text + ['transaction' => $transaction, 'open' => $open] + $outcome);
    }

    private function tell(array $what): void
    {
        $flags = JSON_INVALID_UTF8_SUBSTITUTE | JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES | JSON_THROW_ON_ERROR;
        echo json_encode(['conn' => $this->number] + $what, $flags), "\n";
    }

    // What emulation made of the placeholders.
    private function sent(PDOStatement $statement, string $sql): string
    {
        ob_start();
        $statement->debugDumpParams();
        $dump = (string) ob_get_clean();
        $found = preg_match('/^Sent SQL: \[(\d+)\] /m', $dump, $match, PREG_OFFSET_CAPTURE);
        return $found ? substr($dump, $match[0][1] + strlen($match[0][0]), (int) $match[1][0]) : $sql;
    }
}

function request(string $name): void
{
    echo json_encode(['request' => $name]), "\n";
    fgets(STDIN) !== false || exit(1);
}
