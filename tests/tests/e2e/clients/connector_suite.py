"""The suite with MySQL Connector/Python: its own code and libmysqlclient's, text and prepared, a pool, resets."""

import datetime
import decimal
import hashlib
import json
import os

import mysql.connector
from mysql.connector import pooling

env = os.environ
suite = json.load(open(env["CLIENT_SQL"], encoding="utf-8"))
ME = {"user": env["CLIENT_USER"], "password": env["CLIENT_PASSWORD"]}
WIDE = {"user": env["CLIENT_WIDE_USER"], "password": env["CLIENT_WIDE_PASSWORD"]}
WHERE = {"host": env["CLIENT_HOST"], "port": int(env["CLIENT_PORT"]), "charset": "utf8mb4", "collation": "utf8mb4_general_ci", "ssl_disabled": True}


def connect(pure, **more):
    return mysql.connector.connect(**{**WHERE, **ME, "database": "app", "use_pure": pure, "autocommit": True, "consume_results": True, **more})


def plain(value):
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, (str, bytes, bytearray)) and len(value) > 2000:
        data = value.encode() if isinstance(value, str) else bytes(value)
        return f"{len(value)} {hashlib.sha1(data).hexdigest()}"
    if isinstance(value, set):
        return sorted(value)
    if value is None or isinstance(value, (bool, int)):
        return value
    return repr(value)


def show(what, value):
    print(f"{what}: {json.dumps(plain(value), ensure_ascii=False)}", flush=True)


def attempt(what, act):
    try:
        show(what, act())
    except mysql.connector.Error as error:
        show(what, [type(error).__name__, error.errno, error.sqlstate, error.msg])


def rows(db, sql, values=(), **more):
    # What its compiled part prepares it cannot close.
    if not isinstance(db, mysql.connector.connection.MySQLConnection):
        more.pop("prepared", None)
    cursor = db.cursor(**more)
    try:
        cursor.execute(sql, values)
        described = cursor.description
        found = cursor.fetchall() if described else None
        return [cursor.rowcount, cursor.lastrowid, described, found, cursor.warnings]
    finally:
        if cursor.description and db.unread_result:
            cursor.fetchall()
        cursor.close()


def logins(pure):
    # Of a password that it does not remember MySQL wants to see the whole, which the compiled part refuses without TLS.
    if pure or env["CLIENT_FAMILY"] == "mariadb":
        attempt("wrong password", lambda: connect(pure, password="wrong"))
    if env["CLIENT_FAMILY"] == "mariadb":
        attempt("unknown user", lambda: connect(pure, user="nobody", password="x"))
    attempt("unknown schema", lambda: connect(pure, **WIDE, database="no_such_schema"))
    attempt("forbidden schema", lambda: connect(pure, database="mysql"))


def parameters(db):
    rows(db, "DROP TABLE IF EXISTS bound")
    rows(db, "CREATE TABLE bound (id INT AUTO_INCREMENT PRIMARY KEY, i BIGINT, u BIGINT UNSIGNED, d DOUBLE, t VARCHAR(200), b LONGBLOB, at DATETIME(6), da DATE, ti TIME(6), de DECIMAL(20,6), j JSON)")
    sets = [
        (-(2**63), 2**64 - 1, 2.25, "Zürich 😀", b"\0\1\xff", datetime.datetime(2026, 2, 28, 12, 34, 56, 123456), datetime.date(2026, 2, 28), datetime.timedelta(hours=-30, microseconds=5), decimal.Decimal("12345678901234.123456"), '{"a": [1]}'),
        (None,) * 10,
        (7, 7, -1.5e300, "", b"", datetime.datetime(2000, 1, 1), datetime.date(1000, 1, 1), datetime.timedelta(0), decimal.Decimal("-0.000001"), "null"),
    ]
    sql = "INSERT INTO bound (i, u, d, t, b, at, da, ti, de, j) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
    for prepared in (True, False):
        for values in sets:
            attempt("inserted", lambda: rows(db, sql, values, prepared=prepared))
        attempt("what was bound", lambda: rows(db, "SELECT * FROM bound WHERE id >= %s ORDER BY id", (1,), prepared=prepared))
    cursor = db.cursor()
    cursor.executemany("INSERT INTO bound (i, t) VALUES (%s, %s)", [(n, f"many {n}") for n in range(20)])
    show("many", [cursor.rowcount, cursor.lastrowid])
    cursor.close()
    for values in ((7, "x"), (None, None), ("8", "many 3"), (7.0, b"many 4")):
        show("found", rows(db, "SELECT id, t FROM bound WHERE i = %s OR t = %s ORDER BY id", values, prepared=True))
    attempt("not to be prepared", lambda: rows(db, "SELEKT %s", (1,), prepared=True))


def session(db):
    rows(db, "INSERT INTO account VALUES (1, 100), (2, 200)")
    # It takes MariaDB for a server too old for READ ONLY.
    mariadb = env["CLIENT_FAMILY"] == "mariadb"
    for isolation, readonly in ((None, None), ("READ COMMITTED", None if mariadb else False), ("REPEATABLE READ", None if mariadb else True)):
        db.start_transaction(isolation_level=isolation, readonly=readonly)
        attempt("less", lambda: rows(db, "UPDATE account SET amount = amount - 10 WHERE id = 1"))
        attempt("within", lambda: rows(db, "SELECT * FROM account ORDER BY id"))
        show("open", db.in_transaction)
        db.commit() if readonly is None else db.rollback()
    show("afterwards", rows(db, "SELECT * FROM account ORDER BY id"))
    db.database = "test"
    show("another schema", rows(db, "SELECT DATABASE()"))
    attempt("no such schema", lambda: setattr(db, "database", "no_such_schema"))
    db.database = "app"
    for sql in (
        "SET SESSION sql_mode = 'ANSI', time_zone = '+03:00'",
        "SELECT \"id\", 'a' || 'b' AS ab, ts FROM \"kinds\" ORDER BY \"id\"",
        "SET SESSION sql_mode = 'ERROR_FOR_DIVISION_BY_ZERO', time_zone = '+00:00'",
        "INSERT INTO words (word) VALUES ('last')",
        "SELECT LAST_INSERT_ID()",
        "UPDATE words SET word = CONCAT(word, '!') WHERE id <= 3",
        "SELECT ROW_COUNT()",
        "SELECT SQL_CALC_FOUND_ROWS d FROM digit ORDER BY d LIMIT 4",
        "SELECT FOUND_ROWS()",
        "SET @one = 1",
        "SELECT @one",
        "CREATE TEMPORARY TABLE passing AS SELECT d FROM digit",
        "SELECT SUM(d) FROM passing",
    ):
        attempt(sql, lambda: rows(db, sql))
    db.get_warnings = True
    attempt("warnings", lambda: rows(db, "SELECT 1/0, CAST('7x' AS SIGNED)"))
    db.get_warnings = False
    cursor = db.cursor()
    show("the procedure", [cursor.callproc("two_results", (7,)), [each.fetchall() for each in cursor.stored_results()]])
    cursor.close()
    show("reset", db.cmd_reset_connection())
    attempt("no temporary table", lambda: rows(db, "SELECT * FROM passing"))
    show("no variable", rows(db, "SELECT @one"))
    db.cmd_change_user(WIDE["user"], WIDE["password"], "test")
    show("who", rows(db, "SELECT SUBSTRING_INDEX(USER(), '@', 1), DATABASE()"))
    db.cmd_change_user(ME["user"], ME["password"], "app")
    attempt("ping", lambda: db.ping())
    db.reconnect()
    show("again", rows(db, "SELECT DATABASE(), @one"))


def pooled(pure):
    pool = pooling.MySQLConnectionPool(pool_size=3, pool_name="three", **WHERE, **ME, database="app", use_pure=pure, autocommit=True)
    for turn in range(7):
        db = pool.get_connection()
        rows(db, "SET @turn = %s", (turn,))
        show("from the pool", rows(db, "SELECT @turn, @before"))
        rows(db, "SET @before = 1")
        db.close()


def suite_with(pure):
    show("its own code", pure)
    logins(pure)
    db = connect(pure)
    show("server", db.get_server_info() if hasattr(db, "get_server_info") else db.server_info)
    for sql in suite["setup"]:
        show("set up", rows(db, sql))
    attempt("kinds", lambda: rows(db, "SELECT * FROM kinds ORDER BY id"))
    # Its own code does not know YEAR and BIT in binary rows, nor types of its own of MariaDB.
    plain_ones = "id, tu, s, b, bu, de, f, d, da, ti, dt, ts, v, vb, bl, tx"
    attempt("prepared", lambda: rows(db, f"SELECT {plain_ones} FROM kinds WHERE id >= %s ORDER BY id", (1,), prepared=True))
    for word in suite["words"]:
        show("inserted", rows(db, "INSERT INTO words (word) VALUES (%s)", (word,), prepared=True))
    for word in suite["words"]:
        show("found", rows(db, "SELECT id, word, HEX(word) FROM words WHERE word = %s", (word,)))
        show("found, prepared", rows(db, "SELECT id, word, HEX(word) FROM words WHERE word = %s", (word,), prepared=True))
    for what, sql in suite["reads"].items():
        attempt(what, lambda: rows(db, sql))
    for sql in suite["faults"]:
        attempt(sql, lambda: rows(db, sql))
        if not sql.startswith("USE"):
            attempt("prepared: " + sql, lambda: rows(db, sql, prepared=True))
    parameters(db)
    session(db)
    found = connect(pure, client_flags=[mysql.connector.ClientFlag.FOUND_ROWS])
    show("found, not changed", rows(found, "UPDATE digit SET d = d"))
    show("dictionaries", rows(found, "SELECT d, d * 2 AS twice FROM digit ORDER BY d", dictionary=True)[3])
    # Its own code takes too long for what is large.
    if env["CLIENT_HEAVY"] == "1" and not pure:
        piece = b"".join((n * 2654435761 % 2**32).to_bytes(4, "big") for n in range(1 << 16))
        value = b"".join(n.to_bytes(4, "big") + piece for n in range(68))
        attempt("17 MiB in", lambda: rows(found, "INSERT INTO large VALUES (1, %s)", (value,)))
        back = rows(found, "SELECT value FROM large WHERE id = 1")[3][0][0]
        show("17 MiB out", [len(back), bytes(back) == value])
        cursor = found.cursor(buffered=False)
        cursor.execute("SELECT a.d + 10*b.d + 100*c.d + 1000*e.d FROM digit a, digit b, digit c, digit e")
        show("many rows", sum(row[0] for row in cursor))
    pooled(pure)


suite_with(True)
assert mysql.connector.HAVE_CEXT or os.uname().machine != "x86_64", "the package lacks its compiled part"
if mysql.connector.HAVE_CEXT:
    suite_with(False)
print("done")
