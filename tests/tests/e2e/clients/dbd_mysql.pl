# The suite with DBD::mysql; CLIENT_PREPARES says whether the server prepares.
use strict;
use warnings;
use DBI qw(:sql_types);
use Digest::SHA qw(sha1_hex);
use JSON::PP;

binmode STDOUT, ':raw';
$| = 1;
my %env = %ENV;
my $suite = do { local (@ARGV, $/) = ($env{CLIENT_SQL}); decode_json(<>) };
my $json = JSON::PP->new->canonical->allow_nonref;
my $server = $env{CLIENT_PREPARES} eq 'server' ? 1 : 0;

sub plain {
    my ($value) = @_;
    return [map { plain($_) } @$value] if ref $value eq 'ARRAY';
    return undef if !defined $value;
    return length($value) . ' ' . sha1_hex($value) if length($value) > 2000;
    return $value =~ /^[\x20-\x7e]*$/ ? "$value" : 'bytes ' . unpack('H*', $value);
}

sub show { my ($what, $value) = @_; utf8::encode($what) if utf8::is_utf8($what); print $what, ': ', $json->encode(plain($value)), "\n"; }

sub connected {
    my ($user, $password, $schema, %more) = @_;
    my $dsn = "DBI:mysql:database=$schema;host=$env{CLIENT_HOST};port=$env{CLIENT_PORT};mysql_get_server_pubkey=1";
    my $db = DBI->connect($dsn, $user, $password, { RaiseError => 0, PrintError => 0, mysql_server_prepare => $server, mysql_auto_reconnect => 0, %more })
        or return undef;
    $db->do('SET NAMES utf8mb4');
    return $db;
}

sub fault { my ($of) = @_; return [$of->err, $of->state, bytes($of->errstr)] }
sub bytes { my ($text) = @_; utf8::encode($text) if utf8::is_utf8($text); return $text }

sub attempt_login {
    my ($what, @whom) = @_;
    my $db = connected(@whom);
    show($what, $db ? 'let in' : [$DBI::err, $DBI::state, bytes($DBI::errstr)]);
}

# Everything that can be known of a statement's answer.
sub answer {
    my ($st, @values) = @_;
    my $rows = $st->execute(@values);
    return fault($st) if !defined $rows;
    my @all = ($rows);
    if ($st->{NUM_OF_FIELDS}) {
        push @all, [map { my $of = $_; [@{ $st->{$of} }] } qw(NAME TYPE PRECISION SCALE NULLABLE mysql_type mysql_length mysql_is_blob mysql_is_key mysql_is_num mysql_is_auto_increment)];
        while (my $row = $st->fetchrow_arrayref) { push @all, [@$row] }
        push @all, fault($st) if $st->err;
    }
    push @all, $st->{mysql_insertid}, $st->{mysql_warning_count}, $st->rows;
    return \@all;
}

sub told {
    my ($db, $sql, @values) = @_;
    my $st = $db->prepare($sql) or return ['not prepared', @{ fault($db) }];
    my $answer = answer($st, @values);
    $st->finish;
    return $answer;
}

attempt_login('wrong password', $env{CLIENT_USER}, 'wrong', 'app');
attempt_login('unknown user', 'nobody', 'x', 'app') if $env{CLIENT_FAMILY} eq 'mariadb';
attempt_login('unknown schema', $env{CLIENT_WIDE_USER}, $env{CLIENT_WIDE_PASSWORD}, 'no_such_schema');
attempt_login('forbidden schema', $env{CLIENT_USER}, $env{CLIENT_PASSWORD}, 'mysql');

my @me = ($env{CLIENT_USER}, $env{CLIENT_PASSWORD}, 'app');
my $db = connected(@me) or die $DBI::errstr;
show('server', $db->{mysql_serverinfo});
for my $sql (@{ $suite->{setup} }) { show('set up', defined $db->do(bytes($sql)) ? 1 : fault($db)) }
show('text', told($db, 'SELECT * FROM kinds ORDER BY id'));
show('bound', told($db, 'SELECT * FROM kinds WHERE id >= ? AND (v = ? OR ? IS NULL) ORDER BY id', 1, undef, undef));
for my $word (@{ $suite->{words} }) { show('inserted', told($db, 'INSERT INTO words (word) VALUES (?)', bytes($word))) }
for my $word (@{ $suite->{words} }) { show('found', told($db, 'SELECT id, word, HEX(word) FROM words WHERE word = ?', bytes($word))) }
for my $what (sort keys %{ $suite->{reads} }) { show($what, told($db, $suite->{reads}{$what})) }
for my $sql (@{ $suite->{faults} }) { show($sql, told($db, $sql)) }

show('table', told($db, 'CREATE TABLE bound (id INT AUTO_INCREMENT PRIMARY KEY, i BIGINT, u BIGINT UNSIGNED, d DOUBLE, t VARCHAR(200), b LONGBLOB, at DATETIME(6), da DATE, de DECIMAL(20,6), j JSON)'));
my $insert = $db->prepare('INSERT INTO bound (i, u, d, t, b, at, da, de, j) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)');
my @types = (SQL_BIGINT, SQL_BIGINT, SQL_DOUBLE, SQL_VARCHAR, SQL_BLOB, SQL_TIMESTAMP, SQL_DATE, SQL_DECIMAL, SQL_VARCHAR);
for my $values (
    [-9223372036854775807, '9223372036854775807', 2.25, "Z\xc3\xbcrich", "\0\1\xff'\"", '2026-02-28 12:34:56.123456', '2026-02-28', '12345678901234.123456', '{"a": [1]}'],
    [(undef) x 9],
    [7, 7, -1.5e300, '', '', '2000-01-01 00:00:00', '1000-01-01', '-0.000001', 'null'],
) {
    $insert->bind_param($_ + 1, $values->[$_], $types[$_]) for 0 .. 8;
    show('inserted', answer($insert));
}
show('what was bound', told($db, 'SELECT * FROM bound WHERE id >= ? ORDER BY id', 1));
my $find = $db->prepare('SELECT id, t FROM bound WHERE i = ? OR t = ? ORDER BY id');
show('found', answer($find, @$_)) for [7, "Z\xc3\xbcrich"], [undef, undef], ['8', ''], [7, 'no'];
show('too few', told($db, 'SELECT ?'));
show('limits', told($db, 'SELECT d FROM digit ORDER BY d LIMIT ?, ?', 2, 3));

show('accounts', told($db, 'INSERT INTO account VALUES (?, ?), (?, ?)', 1, 100, 2, 200));
$db->begin_work;
show('less', told($db, 'UPDATE account SET amount = amount - ? WHERE id = 1', 10));
show('savepoint', told($db, 'SAVEPOINT one'));
show('nothing', told($db, 'UPDATE account SET amount = 0'));
show('within', told($db, 'SELECT * FROM account ORDER BY id'));
show('back', told($db, 'ROLLBACK TO SAVEPOINT one'));
show('a fault within', told($db, 'INSERT INTO account VALUES (1, 1)'));
$db->commit;
$db->{AutoCommit} = 0;
show('deleted', told($db, 'DELETE FROM account'));
$db->rollback;
show('after the rollback', told($db, 'SELECT * FROM account ORDER BY id'));
$db->commit;
$db->{AutoCommit} = 1;

show($_, told($db, $_)) for 'USE test', 'SELECT DATABASE()', 'USE app', "SET SESSION sql_mode = 'ANSI', time_zone = '+03:00'",
    q{SELECT "id", 'a' || 'b' AS ab, ts FROM "kinds" ORDER BY "id"}, "SET SESSION sql_mode = 'ERROR_FOR_DIVISION_BY_ZERO', time_zone = '+00:00'",
    "INSERT INTO words (word) VALUES ('last')", 'SELECT LAST_INSERT_ID()', "UPDATE words SET word = CONCAT(word, '!') WHERE id <= 3",
    'UPDATE words SET word = word', 'SELECT ROW_COUNT()', 'SELECT SQL_CALC_FOUND_ROWS d FROM digit ORDER BY d LIMIT 4', 'SELECT FOUND_ROWS()',
    "SELECT 1/0, CAST('7x' AS SIGNED)", 'SHOW WARNINGS', 'SET @one = 1', 'SELECT @one, @one + 1', 'CREATE TEMPORARY TABLE passing AS SELECT d FROM digit',
    'SELECT SUM(d) FROM passing', 'DROP TEMPORARY TABLE passing';
show('last id', $db->last_insert_id(undef, undef, undef, undef));
show('known tables', [sort map { $_ =~ s/.*\.//r } $db->tables(undef, 'app', '%', 'TABLE')]);
show('columns', $db->column_info(undef, 'app', 'words', '%')->fetchall_arrayref([0 .. 10]));
show('keys', [$db->primary_key(undef, 'app', 'words')]);

my $text = connected(@me, mysql_server_prepare => 0, mysql_multi_statements => 1);
for my $sql ('CALL two_results(7)', 'SELECT 1 AS a; UPDATE account SET amount = amount + 1; SELECT SUM(amount) AS s FROM account', 'SELECT 1 AS a; SELEKT 2; SELECT 3') {
    my $st = $text->prepare($sql);
    $st->execute;
    do {
        show('one of several', [$st->rows, $st->{NUM_OF_FIELDS} ? $st->fetchall_arrayref : undef]);
    } while ($st->more_results);
    show('its end', fault($st)) if $st->err;
}
show('ping', $text->ping ? 1 : 0);
my $other = connected(@me, mysql_client_found_rows => 0);
show('changed', told($other, 'UPDATE digit SET d = d'));

if ($env{CLIENT_HEAVY} eq '1' && !$server) {
    my $piece = join '', map { pack 'N', ($_ * 2654435761) % 4294967296 } 1 .. 65536;
    my $large = join '', map { pack('N', $_) . $piece } 1 .. 68;
    my $in = $db->prepare('INSERT INTO large VALUES (1, ?)');
    $in->bind_param(1, $large, SQL_BLOB);
    show('17 MiB in', answer($in));
    my ($back) = $db->selectrow_array('SELECT value FROM large WHERE id = 1');
    show('17 MiB out', [length $back, $back eq $large ? 1 : 0]);
    my $st = $db->prepare('SELECT a.d + 10*b.d + 100*c.d + 1000*e.d AS n FROM digit a, digit b, digit c, digit e', { mysql_use_result => 1 });
    $st->execute;
    my ($count, $sum) = (0, 0);
    while (my ($n) = $st->fetchrow_array) { $count++; $sum += $n }
    show('many rows', [$count, $sum]);
}
$_->disconnect for $db, $text, $other;
print "done\n";
