"""A session by libmariadb, compressed or not: prints what it was told, large values as their checksums."""

import hashlib
import os
import random
import sys
import tempfile

import MySQLdb

port, user, password, compress, large = sys.argv[1:6]
login = {"host": "127.0.0.1", "port": int(port), "user": user, "passwd": password, "db": "app", "local_infile": 1}
login["client_flag"] = 1 << 16  # several statements
if compress == "compress":
    login["compress"] = True
connection = MySQLdb.connect(**login)
cursor = connection.cursor()


def say(sql, *values):
    cursor.execute(sql, *values)
    while True:
        for row in cursor.fetchall():
            for value in row:
                data = value if isinstance(value, bytes) else str(value).encode()
                print(data.decode() if len(data) < 100 else hashlib.sha256(data).hexdigest())
        print(cursor.rowcount)
        if not cursor.nextset():
            break


connection.change_user(user, password, "app")
noise = random.Random(7).randbytes(1 << 18)
say("SELECT COUNT(*) FROM t")
say("SELECT REPEAT('a', 300000)")
say("SELECT a.id, b.id, REPEAT('x', 100) FROM t a, t b, t c, t d, t e ORDER BY 1, 2")
say("DROP TABLE IF EXISTS c")
say("CREATE TABLE c (id INT PRIMARY KEY, v LONGBLOB)")
say("INSERT INTO c VALUES (1, %s), (2, %s)", (noise, b"b" * int(large)))
connection.commit()
say("SELECT id, LENGTH(v), SHA2(v, 256) FROM c ORDER BY id")
say("SELECT v FROM c WHERE id = 1")
say("SELECT 1; SELECT REPEAT('b', 100000); SELECT 2")
with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
    file.writelines(f"{n}\t{'line' * 1_000}\n" for n in range(10, 310))
    file.flush()
    os.chmod(file.name, 0o644)
    say(f"LOAD DATA LOCAL INFILE '{file.name}' INTO TABLE c")
say("SELECT COUNT(*), SUM(LENGTH(v)) FROM c WHERE id > 2")
connection.rollback()
connection.change_user(user, password, "test")
say("SELECT DATABASE()")
connection.ping()
say("SELECT 'the end'")
