//! What is said in the sessions of the matrix: a script for each kind of command.

use clonelove_testkit::Family;

use crate::commands::peer::Say;

/// The kinds of commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Prepared,
    Cursor,
    /// COM_STMT_BULK_EXECUTE and direct execution; MariaDB only.
    Bulk,
}

/// What each schema of the matrix has from the start.
pub(crate) const SCHEMA: &[&str] = &[
    "CREATE TABLE m (id INT AUTO_INCREMENT PRIMARY KEY, n BIGINT UNIQUE, d DECIMAL(12,4), f DOUBLE, \
     t VARCHAR(200) CHARACTER SET utf8mb4, b BLOB, dt DATETIME(6), ti TIME(3), da DATE, e ENUM('a', 'b'), \
     s SET('x', 'y'), l TEXT CHARACTER SET latin1, u INT UNSIGNED, bi BIT(9))",
    "CREATE TABLE load_here (id INT)",
    "CREATE PROCEDURE p(IN a INT, OUT c INT) BEGIN SELECT a; SELECT id FROM m WHERE id < a ORDER BY id; \
     SET c = a * 2; END",
    "CREATE VIEW v AS SELECT id, n FROM m WHERE n > 1",
];

/// A value that is bound.
#[derive(Clone, Copy, Debug)]
enum P {
    Null,
    Tiny(i8),
    Int(i32),
    Big(i64),
    Double(f64),
    Text(&'static str),
    /// Year, month, day, hour, minute, second, microsecond.
    DateTime(u16, [u8; 5], u32),
    /// Days, hours, minutes, seconds.
    Time(u32, [u8; 3]),
    /// Said by COM_STMT_SEND_LONG_DATA.
    Long,
}

impl P {
    fn kind(self) -> u8 {
        match self {
            P::Null => 6,
            P::Tiny(_) => 1,
            P::Int(_) => 3,
            P::Big(_) => 8,
            P::Double(_) => 5,
            P::Text(_) => 253,
            P::DateTime(..) => 12,
            P::Time(..) => 11,
            P::Long => 252,
        }
    }

    fn value(self) -> Vec<u8> {
        match self {
            P::Null | P::Long => Vec::new(),
            P::Tiny(value) => value.to_le_bytes().to_vec(),
            P::Int(value) => value.to_le_bytes().to_vec(),
            P::Big(value) => value.to_le_bytes().to_vec(),
            P::Double(value) => value.to_le_bytes().to_vec(),
            P::Text(value) => {
                let length = u8::try_from(value.len()).unwrap_or_default();
                [&[length], value.as_bytes()].concat()
            }
            P::DateTime(year, rest, micros) => {
                [&[11], &year.to_le_bytes()[..], &rest, &micros.to_le_bytes()].concat()
            }
            P::Time(days, rest) => [&[8, 0][..], &days.to_le_bytes(), &rest].concat(),
        }
    }
}

/// COM_STMT_EXECUTE. Without `types` the server goes by those that were said before.
fn execute_with(flags: u8, types: bool, values: &[P]) -> Say {
    let mut rest = vec![flags, 1, 0, 0, 0];
    if !values.is_empty() {
        let mut nulls = vec![0; values.len().div_ceil(8)];
        for (at, _) in values.iter().enumerate().filter(|(_, value)| matches!(value, P::Null)) {
            if let Some(byte) = nulls.get_mut(at / 8) {
                *byte |= 1 << (at % 8);
            }
        }
        rest.extend(nulls);
        rest.push(types.into());
        if types {
            values.iter().for_each(|value| rest.extend([value.kind(), 0]));
        }
        values.iter().for_each(|value| rest.extend(value.value()));
    }
    Say::Prepared(0x17, rest)
}

fn execute(values: &[P]) -> Say {
    execute_with(0, true, values)
}

fn fetch(rows: u32) -> Say {
    Say::Prepared(0x1c, rows.to_le_bytes().to_vec())
}

fn reset() -> Say {
    Say::Prepared(0x1a, Vec::new())
}

fn long_data(param: u16, text: &str) -> Say {
    Say::Prepared(0x18, [&param.to_le_bytes()[..], text.as_bytes()].concat())
}

fn q(sql: &'static str) -> Say {
    Say::Query(sql)
}

/// The rows that every script begins with.
fn begin() -> Vec<Say> {
    vec![
        q("TRUNCATE m"),
        q("INSERT INTO m (n, d, f, t, b, dt, ti, da, e, s, l, u, bi) VALUES \
           (1, 1.5, 1e10, 'plain', x'00ff10', '2026-01-02 03:04:05.678901', '-12:30:00.125', '2026-02-03', 'a', \
           'x,y', 'caf\u{e9}', 4294967295, 257), \
           (2, -0.0001, -2.5, '\u{65e5}\u{672c} \u{1f600}', '', '1999-12-31 23:59:59', '838:59:59', '1000-01-01', \
           'b', '', '', 0, 0), \
           (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)"),
    ]
}

/// The script of a kind of commands for the servers of a family.
pub(crate) fn script(kind: Kind, family: Family, user: (&'static str, &'static str)) -> Vec<Say> {
    let mut all = begin();
    match kind {
        Kind::Text => all.extend(text(family, user)),
        Kind::Prepared => all.extend(prepared(family)),
        Kind::Cursor => all.extend(cursor()),
        Kind::Bulk => all.extend(bulk()),
    }
    all
}

/// What is said as text.
const STATEMENTS: &[&str] = &[
    // Results and what they say of themselves.
    "SELECT LAST_INSERT_ID(), ROW_COUNT()",
    "SELECT * FROM m ORDER BY id",
    "SELECT id AS a, m.n, n + 1 AS 'a name', CONCAT(t, 'x') FROM m AS m WHERE id = 2",
    "SELECT COUNT(*), AVG(n), SUM(d), MAX(t), MIN(dt), GROUP_CONCAT(id ORDER BY id) FROM m",
    "SELECT * FROM m WHERE id = 99",
    "SELECT NULL, '', 0, -1, 1.50, 1e3, x'41', TRUE, DATE '2026-01-01', 'it''s'",
    "SELECT REPEAT('abcdefgh', 40000)",
    "SELECT id, n FROM v ORDER BY id",
    "(SELECT id FROM m WHERE id = 1) UNION ALL (SELECT n FROM m WHERE id = 3) ORDER BY 1 DESC",
    // Writes, and what they leave.
    "UPDATE m SET d = d + 1 WHERE id <= 2",
    "SELECT ROW_COUNT()",
    "UPDATE m SET d = d WHERE id = 1",
    "INSERT INTO m (n) VALUES (50), (51)",
    "SELECT LAST_INSERT_ID()",
    "REPLACE INTO m (id, n) VALUES (3, 33)",
    "INSERT INTO m (n) VALUES (50) ON DUPLICATE KEY UPDATE t = 'again', id = LAST_INSERT_ID(id)",
    "SELECT LAST_INSERT_ID(), t FROM m WHERE n = 50",
    "DELETE FROM m WHERE n >= 50",
    "SELECT SQL_CALC_FOUND_ROWS id FROM m ORDER BY id LIMIT 1",
    "SELECT FOUND_ROWS()",
    // Warnings and errors.
    "INSERT IGNORE INTO m (id, n) VALUES (1, 1), (9, 9)",
    "SHOW WARNINGS",
    "SELECT @@warning_count, @@error_count",
    "SELECT CAST('12x' AS SIGNED), 1 / 0",
    "SHOW WARNINGS LIMIT 1",
    "INSERT INTO m (id) VALUES (1)",
    "SHOW ERRORS",
    "SELECT nothing FROM m",
    "SELECT id FROM nowhere",
    "SELEKT 1",
    "",
    "SELECT 1",
    // Transactions.
    "BEGIN",
    "INSERT INTO m (id, n) VALUES (20, 20)",
    "SAVEPOINT one",
    "UPDATE m SET t = 'lost' WHERE id = 20",
    "ROLLBACK TO SAVEPOINT one",
    "SELECT id, t FROM m WHERE id = 20",
    "COMMIT",
    "START TRANSACTION READ ONLY",
    "SELECT COUNT(*) FROM m",
    "INSERT INTO m (id) VALUES (21)",
    "COMMIT",
    "START TRANSACTION WITH CONSISTENT SNAPSHOT",
    "SELECT COUNT(*) FROM m",
    "ROLLBACK",
    "SET autocommit = 0",
    "SELECT id FROM m WHERE id = 1",
    "DELETE FROM m WHERE id = 20",
    "ROLLBACK AND CHAIN",
    "ROLLBACK",
    "SET autocommit = 1",
    "SELECT id FROM m WHERE id = 20",
    "LOCK TABLES m WRITE",
    "INSERT INTO m (id) VALUES (30)",
    "SELECT id FROM load_here",
    "UNLOCK TABLES",
    "SELECT id FROM m WHERE id = 1 FOR UPDATE",
    // Settings and what they change of results.
    "SET NAMES latin1",
    "SELECT l, t FROM m WHERE id <= 2 ORDER BY id",
    "SET NAMES utf8mb4 COLLATE utf8mb4_bin",
    "SELECT l, t, @@collation_connection FROM m WHERE id = 1",
    "SET sql_mode = 'ANSI'",
    "SELECT \"id\", 'a' || 'b' FROM m WHERE \"id\" = 1",
    "SET sql_mode = DEFAULT",
    "SET time_zone = '+03:00'",
    "SELECT FROM_UNIXTIME(0), @@time_zone",
    "SET @a := 5, @b = 'x', @c = 1.5",
    "SELECT @a, @b, @c, @a + 1, @none",
    "SET no_such_variable = 1",
    "SET SESSION group_concat_max_len = 4",
    "SELECT GROUP_CONCAT(t) FROM m",
    "SHOW VARIABLES LIKE 'group_concat_max_len'",
    "SHOW CREATE TABLE m",
    "SHOW COLUMNS FROM m LIKE 'n'",
    "SHOW TABLES",
    // What lives on one connection.
    "CREATE TEMPORARY TABLE tt (id INT)",
    "INSERT INTO tt SELECT id FROM m WHERE id < 3",
    "SELECT * FROM tt ORDER BY id",
    "DROP TEMPORARY TABLE tt",
    "SELECT GET_LOCK(CONCAT('of ', DATABASE()), 0), IS_FREE_LOCK('nobody')",
    "SELECT RELEASE_LOCK(CONCAT('of ', DATABASE()))",
    "PREPARE st FROM 'SELECT id, t FROM m WHERE id = ?'",
    "SET @p = 2",
    "EXECUTE st USING @p",
    "EXECUTE nothing",
    "DEALLOCATE PREPARE st",
    // Several at once.
    "SELECT 1; INSERT INTO m (id) VALUES (40); SELECT id FROM m WHERE id >= 40; SET @z = 3; SELECT @z",
    "SELECT 1; SELECT nothing; SELECT 3",
    "CALL p(3, @out)",
    "SELECT @out",
    "CALL p(1)",
    "SELECT CONNECTION_ID() > 0, USER() = CURRENT_USER(), DATABASE() IS NULL",
    "KILL QUERY 4000000000",
    "LOAD DATA LOCAL INFILE 'whatever' INTO TABLE load_here",
    "SELECT COUNT(*) FROM load_here",
    "TRUNCATE load_here",
    "DO SLEEP(0)",
];

fn text(family: Family, (user, password): (&'static str, &'static str)) -> Vec<Say> {
    let mut all: Vec<Say> = STATEMENTS.iter().map(|sql| q(sql)).collect();
    all.extend(of_family(family).iter().map(|sql| q(sql)));
    let command = |bytes: &[u8]| Say::Command(bytes.to_vec());
    // From here on in schemas where others may be at work.
    all.extend([
        q("USE test"),
        q("SELECT DATABASE()"),
        q("USE nowhere"),
        command(b"\x02app"),
        q("SELECT DATABASE()"),
        command(b"\x02nowhere"),
        command(b"\x0e"),
        command(b"\x04load_here\0"),
        command(b"\x04nowhere\0"),
        command(b"\x1b\x01\0"),
        q("SELECT 1; SELECT 2"),
        command(b"\x1b\x00\0"),
        q("SELECT 1; SELECT 2"),
        command(b"\x1b\x07\0"),
        command(b"\x70"),
        command(b"\x1f"),
        q("SELECT @a, DATABASE(), @@group_concat_max_len = @@global.group_concat_max_len"),
        Say::ChangeUser(user, password, "test"),
        q("SELECT CURRENT_USER() = USER(), DATABASE(), @b"),
        Say::ChangeUser(user, password, "app"),
        q("SELECT id FROM v WHERE id = 0"),
    ]);
    all
}

fn of_family(family: Family) -> &'static [&'static str] {
    match family {
        Family::MariaDb => &[
            "INSERT INTO m (n) VALUES (60) RETURNING id, n",
            "DELETE FROM m WHERE n = 60 RETURNING n",
            "EXECUTE IMMEDIATE 'SELECT ? + 1' USING 4",
            "SET STATEMENT max_statement_time = 100 FOR SELECT COUNT(*) FROM m",
            "SELECT JSON_ARRAY(1, 'a'), UUID() <> UUID()",
        ],
        Family::MySql => &[
            "SELECT JSON_ARRAY(1, 'a'), CAST('[1, 2]' AS JSON)",
            "SELECT /*+ SET_VAR(sort_buffer_size = 262144) */ COUNT(*) FROM m",
            "TABLE load_here",
            "VALUES ROW(1, 2), ROW(3, 4)",
            "WITH RECURSIVE c AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM c WHERE n < 4) SELECT n FROM c",
        ],
    }
}

fn prepared(family: Family) -> Vec<Say> {
    let insert =
        "INSERT INTO m (n, d, f, t, b, dt, ti, da, e, l, u) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let values = |n: i64| {
        [
            P::Big(n),
            P::Text("12.25"),
            P::Double(0.1),
            P::Text("gr\u{fc}\u{df}e \u{1f600}"),
            P::Text("bytes"),
            P::DateTime(2026, [11, 23, 9, 30, 1], 500_000),
            P::Time(1, [2, 3, 4]),
            P::DateTime(2026, [2, 3, 0, 0, 0], 0),
            P::Text("b"),
            P::Text("latin"),
            P::Int(7),
        ]
    };
    let nulls = [[P::Big(71)].to_vec(), vec![P::Null; 10]].concat();
    let mut all = vec![
        Say::Prepare(insert),
        execute(&values(70)),
        execute_with(0, false, &values(72)),
        execute(&nulls),
        // It is there already.
        execute(&values(70)),
        q("SELECT ROW_COUNT()"),
        Say::Prepare("SELECT * FROM m WHERE id >= ? ORDER BY id"),
        execute(&[P::Int(2)]),
        execute(&[P::Text("5")]),
        execute(&[P::Tiny(1)]),
        execute_with(0, false, &[P::Tiny(99)]),
        // The first one still is what it was.
        Say::Again(0),
        execute(&values(73)),
        Say::Prepare("SELECT LAST_INSERT_ID(), FOUND_ROWS()"),
        execute(&[]),
        Say::Prepare("SELECT ROW_COUNT()"),
        execute(&[]),
        Say::Prepare("SELECT ?, ? + 1, ? IS NULL"),
        execute(&[P::Text("a"), P::Int(4), P::Null]),
        execute(&[P::Int(4), P::Double(0.5), P::Big(-1)]),
        // A long value, in pieces; forgotten by a reset.
        Say::Prepare("UPDATE m SET b = ?, t = ? WHERE id = ?"),
        long_data(0, "the first half, "),
        long_data(0, "the second"),
        execute(&[P::Long, P::Text("long"), P::Int(1)]),
        long_data(0, "never seen"),
        reset(),
        execute(&[P::Text("short"), P::Text("x"), P::Int(2)]),
        q("SELECT id, b, t FROM m WHERE id <= 2 ORDER BY id"),
    ];
    all.extend(prepared_in_state(execute(&values(80))));
    if family == Family::MariaDb {
        all.push(Say::Prepare("INSERT INTO m (n) VALUES (?) RETURNING id, n"));
        all.push(execute(&[P::Int(90)]));
    }
    all
}

/// What is prepared in transactions, under settings, and beside what lives on one connection; the first statement is an
/// INSERT, and this is its execution.
fn prepared_in_state(insert: Say) -> Vec<Say> {
    vec![
        q("BEGIN"),
        Say::Again(0),
        insert,
        Say::Prepare("SELECT COUNT(*) FROM m WHERE n = ?"),
        execute(&[P::Int(80)]),
        q("ROLLBACK"),
        execute(&[P::Int(80)]),
        Say::Prepare("SET @x = ?"),
        execute(&[P::Text("bound")]),
        Say::Prepare("SELECT @x, @y"),
        execute(&[]),
        Say::Close,
        execute(&[]),
        Say::Prepare("CALL p(?, ?)"),
        execute(&[P::Int(3), P::Int(0)]),
        Say::Prepare("CREATE TEMPORARY TABLE tp (id INT)"),
        execute(&[]),
        execute(&[]),
        Say::Prepare("INSERT INTO tp VALUES (?)"),
        execute(&[P::Int(5)]),
        Say::Prepare("SELECT * FROM tp"),
        execute(&[]),
        Say::Prepare("SELECT nothing FROM m"),
        Say::Prepare("SELECT 1; SELECT 2"),
        Say::Prepare("SHOW WARNINGS"),
        Say::Prepare("INSERT IGNORE INTO m (id, n) VALUES (?, 1)"),
        execute(&[P::Int(1)]),
        q("SHOW WARNINGS"),
        Say::Prepare("SELECT REPEAT(?, 30000)"),
        execute(&[P::Text("0123456789")]),
        Say::Prepare("DELETE FROM m WHERE id = ?"),
        execute(&[P::Int(1)]),
        q("SET sql_mode = 'ANSI_QUOTES'"),
        Say::Prepare("SELECT \"id\" FROM m WHERE id > ? ORDER BY id"),
        execute(&[P::Int(3)]),
        q("SET sql_mode = DEFAULT"),
        execute(&[P::Int(4)]),
        Say::Command(vec![0x1f]),
        execute(&[P::Int(4)]),
        q("SELECT 1"),
    ]
}

fn cursor() -> Vec<Say> {
    let open = |values: &[P]| execute_with(1, true, values);
    let mut all = vec![q("INSERT INTO m (n) VALUES (10), (11), (12), (13), (14), (15)")];
    all.push(Say::Prepare("SELECT * FROM m ORDER BY id"));
    all.extend([open(&[]), fetch(2), fetch(1), fetch(100), fetch(1)]);
    // Open again while it is open, reset, closed before its end.
    all.extend([open(&[]), fetch(1), open(&[]), fetch(3), reset(), fetch(1), Say::Close]);
    all.push(Say::Prepare("SELECT id, t FROM m WHERE id > ? ORDER BY id"));
    all.extend([open(&[P::Int(1)]), fetch(1), open(&[P::Int(99)]), fetch(1)]);
    // Two at once, and text in between.
    all.push(Say::Prepare("SELECT n FROM m ORDER BY n DESC"));
    all.extend([open(&[]), fetch(2), Say::Again(1), open(&[P::Int(2)]), fetch(1)]);
    all.extend([q("SELECT COUNT(*) FROM m"), Say::Again(2), fetch(2), Say::Again(1), fetch(50)]);
    // In a transaction that writes, over its end, and after an error.
    all.extend([q("BEGIN"), q("UPDATE m SET t = 'seen' WHERE id = 4"), open(&[P::Int(3)]), fetch(2)]);
    all.extend([q("SELECT nothing"), fetch(1), q("ROLLBACK"), fetch(1)]);
    // No rows to fetch: what writes, what calls, what is none.
    all.push(Say::Prepare("UPDATE m SET t = ? WHERE id = 1"));
    all.extend([open(&[P::Text("by cursor")]), fetch(1), q("SELECT t FROM m WHERE id = 1")]);
    all.push(Say::Prepare("CALL p(?, @out)"));
    all.extend([open(&[P::Int(3)]), q("SELECT @out")]);
    all.push(Say::Prepare("SHOW COLUMNS FROM load_here"));
    all.extend([open(&[]), fetch(10), Say::Close, fetch(1), q("SELECT 1")]);
    all
}

fn bulk() -> Vec<Say> {
    /// The types follow.
    const TYPES: u16 = 128;
    /// A result with a row for each set of values.
    const UNIT_RESULTS: u16 = 64;
    let run = |flags: u16, types: &[u8], rows: &[&[u8]]| {
        Say::Prepared(0xfa, [&flags.to_le_bytes()[..], types, &rows.concat()].concat())
    };
    let direct =
        |command: u8, rest: &[u8]| Say::Command([&[command], &u32::MAX.to_le_bytes()[..], rest].concat());
    let once: &[u8] = &[0, 1, 0, 0, 0];
    let (int, text): (&[u8], &[u8]) = (&[3, 0], &[253, 0]);
    // Each value behind its indicator: a value, NULL, the default, left as it is.
    let rows: &[&[u8]] = &[&[0, 100, 0, 0, 0, 0, 1, b'a'], &[0, 101, 0, 0, 0, 1], &[0, 102, 0, 0, 0, 2]];
    let more: &[&[u8]] = &[&[0, 110, 0, 0, 0, 0, 2, b'b', b'c'], &[1, 0, 0]];
    let both = [int, text].concat();
    vec![
        Say::Prepare("INSERT INTO m (n, t) VALUES (?, ?)"),
        run(TYPES, &both, rows),
        // The types were said before.
        run(0, &[], more),
        // One of them is there already.
        run(TYPES, &both, rows),
        q("SELECT id, n, t FROM m ORDER BY id"),
        q("SELECT ROW_COUNT(), LAST_INSERT_ID()"),
        run(TYPES | UNIT_RESULTS, &both, &[&[0, 120, 0, 0, 0, 1], &[0, 121, 0, 0, 0, 1]]),
        Say::Prepare("UPDATE m SET t = ? WHERE n = ?"),
        run(TYPES, &[text, int].concat(), &[&[0, 1, b'u', 0, 100, 0, 0, 0], &[3, 0, 101, 0, 0, 0]]),
        q("SELECT id, n, t FROM m WHERE n >= 100 ORDER BY id"),
        Say::Prepare("DELETE FROM m WHERE n = ?"),
        run(TYPES, int, &[&[0, 120, 0, 0, 0], &[0, 121, 0, 0, 0]]),
        // What cannot be done in bulk.
        Say::Prepare("SELECT id FROM m WHERE n = ?"),
        run(TYPES, int, &[&[0, 1, 0, 0, 0], &[0, 2, 0, 0, 0]]),
        Say::Prepare("INSERT INTO m (n) VALUES (?) RETURNING id"),
        run(TYPES, int, &[&[0, 130, 0, 0, 0], &[0, 131, 0, 0, 0]]),
        // The last one that was prepared, if it was and is.
        Say::Prepare("SELECT COUNT(*) FROM m"),
        direct(0x17, once),
        Say::Prepare("SELECT nothing FROM nowhere"),
        direct(0x17, once),
        Say::Prepare("SELECT 1"),
        Say::Close,
        direct(0x17, once),
        q("SELECT 1"),
    ]
}
