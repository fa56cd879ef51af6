"""The suite with PyMySQL or mysqlclient, which share an interface; CLIENT_MODULE says which."""

import hashlib
import importlib
import json
import os

env = os.environ
driver = importlib.import_module(env["CLIENT_MODULE"])
cursors = importlib.import_module(env["CLIENT_MODULE"] + ".cursors")
suite = json.load(open(env["CLIENT_SQL"], encoding="utf-8"))
USER, PASSWORD = env["CLIENT_USER"], env["CLIENT_PASSWORD"]
MULTI_STATEMENTS = 1 << 16
WIDE = env["CLIENT_WIDE_USER"], env["CLIENT_WIDE_PASSWORD"]


def connect(user, password, schema, **more):
    if env.get("CLIENT_SOCKET"):
        more["unix_socket"] = env["CLIENT_SOCKET"]
    else:
        more["host"], more["port"] = env["CLIENT_HOST"], int(env["CLIENT_PORT"])
    if env["CLIENT_MODULE"] == "pymysql":
        more["max_allowed_packet"] = 1 << 30
    return driver.connect(user=user, password=password, database=schema, charset="utf8mb4", **more)


def plain(value):
    """Exactly what came, type and all, in a form that JSON knows; long values by their digest."""
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, (str, bytes)) and len(value) > 2000:
        data = value.encode() if isinstance(value, str) else value
        return f"{len(value)} {hashlib.sha1(data).hexdigest()}"
    if value is None or isinstance(value, (bool, int)):
        return value
    return repr(value)


def show(what, value):
    print(f"{what}: {json.dumps(plain(value), ensure_ascii=False)}", flush=True)


def attempt(what, act):
    try:
        show(what, act())
    except driver.Error as error:
        show(what, [type(error).__name__, list(error.args)])


def rows(db, sql, parameters=None, cursor=None):
    with db.cursor(cursor) as c:
        count = c.execute(sql, parameters)
        described = c.description and [list(column) for column in c.description]
        return [count, c.lastrowid, described, c.fetchall() if described else None]


attempt("wrong password", lambda: connect(USER, "wrong", "app"))
# To users that it does not know, MySQL names an authentication at random: what becomes of them, chance decides.
if env["CLIENT_FAMILY"] == "mariadb":
    attempt("unknown user", lambda: connect("nobody", "x", "app"))
attempt("unknown schema", lambda: connect(*WIDE, "no_such_schema"))
attempt("forbidden schema", lambda: connect(USER, PASSWORD, "mysql"))

db = connect(USER, PASSWORD, "app")
db.autocommit(True)
show("server", db.get_server_info())
for sql in suite["setup"]:
    show("set up", rows(db, sql))
show("kinds", rows(db, "SELECT * FROM kinds ORDER BY id"))
for word in suite["words"]:
    show("inserted", rows(db, "INSERT INTO words (word) VALUES (%s)", [word]))
for word in suite["words"]:
    found = rows(db, "SELECT id, word, HEX(word) FROM words WHERE word = %s", [word])
    show("found", found)
    show("equal", found[3][0][1] == word)
for what, sql in suite["reads"].items():
    attempt(what, lambda: rows(db, sql))
for sql in suite["faults"]:
    attempt(sql, lambda: rows(db, sql))

rows(db, "INSERT INTO account VALUES (1, 100), (2, 200)")
db.autocommit(False)
rows(db, "UPDATE account SET amount = amount - 10 WHERE id = 1")
rows(db, "SAVEPOINT one")
rows(db, "UPDATE account SET amount = 0")
show("within", rows(db, "SELECT * FROM account ORDER BY id"))
rows(db, "ROLLBACK TO SAVEPOINT one")
show("back at the savepoint", rows(db, "SELECT * FROM account ORDER BY id"))
db.commit()
rows(db, "DELETE FROM account")
db.rollback()
show("after the rollback", rows(db, "SELECT * FROM account ORDER BY id"))
db.rollback()
db.autocommit(True)
db.begin()
rows(db, "DELETE FROM account")
db.rollback()
show("after another", rows(db, "SELECT COUNT(*) FROM account"))

db.select_db("test")
show("another schema", rows(db, "SELECT DATABASE()"))
attempt("no such schema", lambda: db.select_db("no_such_schema"))
db.select_db("app")
rows(db, "SET SESSION sql_mode = 'ANSI', time_zone = '+03:00'")
show("as set", rows(db, "SELECT \"id\", 'a' || 'b' AS ab, ts FROM \"kinds\" ORDER BY \"id\""))
rows(db, "SET SESSION sql_mode = 'ERROR_FOR_DIVISION_BY_ZERO', time_zone = '+00:00'")
show("last id", rows(db, "INSERT INTO words (word) VALUES ('last')"))
show("insert id", [rows(db, "SELECT LAST_INSERT_ID()"), db.insert_id()])
rows(db, "UPDATE words SET word = CONCAT(word, '!') WHERE id <= 3")
show("row count", rows(db, "SELECT ROW_COUNT()"))
rows(db, "SELECT d FROM digit LIMIT 4")
show("found rows", rows(db, "SELECT FOUND_ROWS()"))
rows(db, "SELECT 1/0, CAST('7x' AS SIGNED)")
show("warnings", db.show_warnings())
rows(db, "SET @one = 1, @text = 'ü'")
show("variables", rows(db, "SELECT @one, @text"))
rows(db, "CREATE TEMPORARY TABLE passing AS SELECT d FROM digit")
show("a temporary table", rows(db, "SELECT SUM(d) FROM passing"))
rows(db, "DROP TEMPORARY TABLE passing")

with db.cursor() as c:
    c.callproc("two_results", [7])
    show("a result of the procedure", c.fetchall())
    while c.nextset():
        show("a result of the procedure", c.fetchall())

several = connect(USER, PASSWORD, "app", client_flag=MULTI_STATEMENTS)
with several.cursor() as c:
    c.execute("SELECT 1; UPDATE account SET amount = amount + 1; SELECT SUM(amount) FROM account")
    show("one of several", [c.rowcount, c.fetchall()])
    while c.nextset():
        show("one of several", [c.rowcount, c.description and c.fetchall()])
several.commit()
# A session's reads wait for its own writes, and so for those of other connections that came before them.
rows(db, "INSERT INTO words (word) VALUES ('barrier')")
show("after", rows(db, "SELECT * FROM account ORDER BY id"))
attempt("ping", lambda: db.ping())

with db.cursor(cursors.SSCursor) as c:
    c.execute("SELECT d FROM digit ORDER BY d")
    show("the first of many", c.fetchone())
    show("the rest", c.fetchall())
show("by name", rows(db, "SELECT * FROM digit ORDER BY d", cursor=cursors.DictCursor)[3])

if env["CLIENT_HEAVY"] == "1":
    with db.cursor(cursors.SSCursor) as c:
        c.execute(suite["million"])
        count = total = 0
        while batch := c.fetchmany(10_000):
            count += len(batch)
            total += sum(row[0] for row in batch)
        show("a million rows", [count, total])
    piece = b"".join(b"%08x" % (i * 2654435761 % 2**32) for i in range(131071))
    value = b"".join(b"%08d" % i + piece for i in range(64))
    show("64 MiB in", rows(db, "INSERT INTO large VALUES (1, _binary %s)", [value.decode()]))
    back = rows(db, "SELECT value FROM large WHERE id = 1")[3][0][0]
    show("64 MiB out", [len(back), back == value])
print("done")
