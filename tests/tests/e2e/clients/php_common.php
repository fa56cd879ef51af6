<?php
// What both PHP clients share: where to connect, the table of types, how values are shown.

error_reporting(E_ALL);
ini_set('memory_limit', '1G');
ini_set('precision', '17');

$host = getenv('CLIENT_HOST');
$port = (int) getenv('CLIENT_PORT');
$socket = getenv('CLIENT_SOCKET');
$heavy = getenv('CLIENT_HEAVY') === '1';
// To users that it does not know, MySQL names an authentication at random: what becomes of them, chance decides.
$mariadb = getenv('CLIENT_FAMILY') === 'mariadb';

/** One line of output: what was asked, what came. Long values and bytes are shown by their digest. */
function show(string $what, mixed $value): void
{
    echo $what, ': ', json_encode(shown($value), JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES | JSON_THROW_ON_ERROR), "\n";
}

function shown(mixed $value): mixed
{
    if (is_array($value)) {
        return array_map('shown', $value);
    }
    if (is_object($value)) {
        return shown((array) $value);
    }
    if (is_string($value) && (strlen($value) > 2000 || preg_match('//u', $value) !== 1)) {
        return strlen($value) . ' bytes ' . hash('xxh64', $value);
    }
    return $value;
}

function setup(): array
{
    return json_decode(file_get_contents(getenv('CLIENT_SQL')), true, 512, JSON_THROW_ON_ERROR);
}

/** 64 MiB in which no two parts are alike, so that one lost or doubled would show. */
function large_value(): string
{
    $piece = '';
    for ($i = 0; $i < 65536; $i++) {
        $piece .= sprintf('%08x%08x', $i, $i * 2654435761 % 4294967296);
    }
    $value = '';
    for ($i = 0; $i < 64; $i++) {
        $value .= sprintf('%08d', $i) . substr($piece, 8);
    }
    return $value;
}
