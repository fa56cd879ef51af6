// The suite with MariaDB's connector for Node: text, prepared, batches (in bulk where the server can), a pool.
'use strict';

const crypto = require('crypto');
const fs = require('fs');
const mariadb = require('mariadb');

const env = process.env;
const suite = JSON.parse(fs.readFileSync(env.CLIENT_SQL, 'utf8'));
const where = { host: env.CLIENT_HOST, port: Number(env.CLIENT_PORT), allowPublicKeyRetrieval: true, connectTimeout: 30000 };
const me = { user: env.CLIENT_USER, password: env.CLIENT_PASSWORD, database: 'app' };
const wide = { user: env.CLIENT_WIDE_USER, password: env.CLIENT_WIDE_PASSWORD };
const connect = (more) => mariadb.createConnection({ ...where, ...me, dateStrings: true, ...more });

function plain(value) {
  if (typeof value === 'bigint') return `${value}n`;
  if (Buffer.isBuffer(value)) {
    return value.length > 2000 ? `${value.length} ${crypto.createHash('sha1').update(value).digest('hex')}` : `bytes ${value.toString('hex')}`;
  }
  if (Array.isArray(value)) {
    const rows = value.map(plain);
    return value.meta ? [rows, value.meta.map(column)] : rows;
  }
  if (value instanceof Date) return value.toISOString();
  if (value && typeof value === 'object') return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, plain(each)]));
  return value;
}

const column = (c) => [c.name(), c.db(), c.table(), c.orgName(), c.type, c.columnLength, c.flags, c.scale, String(c.collation && c.collation.name)];
const show = (what, value) => process.stdout.write(`${what}: ${JSON.stringify(plain(value))}\n`);

async function attempt(what, act) {
  try {
    show(what, await act());
  } catch (error) {
    // Its number, which is the server's or clonelove's, stands before the text.
    show(what, [error.code, error.errno, error.sqlState, String(error.sqlMessage)]);
  }
}

async function logins() {
  await attempt('wrong password', () => connect({ password: 'wrong' }));
  // To users that it does not know, MySQL names an authentication at random: what becomes of them, chance decides.
  if (env.CLIENT_FAMILY === 'mariadb') await attempt('unknown user', () => connect({ user: 'nobody', password: 'x' }));
  await attempt('unknown schema', () => connect({ ...wide, database: 'no_such_schema' }));
  await attempt('forbidden schema', () => connect({ database: 'mysql' }));
}

async function parameters(db) {
  await db.query('CREATE TABLE bound (id INT AUTO_INCREMENT PRIMARY KEY, i BIGINT, u BIGINT UNSIGNED, d DOUBLE, t VARCHAR(200), b LONGBLOB, at DATETIME(6), yes BOOLEAN, de DECIMAL(20,6), j JSON)');
  const sql = 'INSERT INTO bound (i, u, d, t, b, at, yes, de, j) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)';
  const sets = [
    [-(2n ** 63n), 2n ** 64n - 1n, 2.25, 'Zürich 😀', Buffer.from([0, 1, 255]), new Date(1772282096123), true, '12345678901234.123456', '{"a": [1]}'],
    [null, null, null, null, null, null, null, null, null],
    [7, 7, -1.5e300, '', Buffer.alloc(0), new Date(946684800000), false, '-0.000001', 'null'],
  ];
  for (const values of sets) {
    await attempt('executed', () => db.execute(sql, values));
    await attempt('queried', () => db.query(sql, values));
  }
  await attempt('a batch', () => db.batch(sql, sets));
  const many = Array.from({ length: 500 }, (_, n) => [n, `many ${n}`]);
  await attempt('a large batch', () => db.batch('INSERT INTO bound (i, t) VALUES (?, ?)', many));
  await attempt('a batch with a fault', () => db.batch('INSERT INTO account VALUES (?, ?)', [[50, 1], [50, 2]]));
  await attempt('what was bound', () => db.execute('SELECT * FROM bound WHERE id >= ? ORDER BY id LIMIT ?', [1, 20]));
  await attempt('as text', () => db.query('SELECT * FROM bound ORDER BY id LIMIT 20'));
  const find = await db.prepare('SELECT id, t FROM bound WHERE i = ? OR t = ? ORDER BY id');
  for (const values of [[7, 'Zürich 😀'], [null, null], ['8', ''], [7.0, 'many 4']]) show('found', await find.execute(values));
  find.close();
  await attempt('not to be prepared', () => db.prepare('SELEKT ?'));
  const several = await Promise.all([1, 2, 3, 4].map((n) => db.query('SELECT ? AS n', [n])));
  show('sent together', several);
}

async function session(db) {
  await db.query('INSERT INTO account VALUES (1, 100), (2, 200)');
  await db.beginTransaction();
  await db.query('UPDATE account SET amount = amount - 10 WHERE id = 1');
  await db.query('SAVEPOINT one');
  await db.execute('UPDATE account SET amount = ?', [0]);
  show('within', await db.query('SELECT * FROM account ORDER BY id'));
  await db.query('ROLLBACK TO SAVEPOINT one');
  await db.commit();
  await db.beginTransaction();
  await db.query('DELETE FROM account');
  await db.rollback();
  show('afterwards', await db.execute('SELECT * FROM account ORDER BY id'));
  const statements = [
    'USE test', 'SELECT DATABASE()', 'USE app', "SET SESSION sql_mode = 'ANSI', time_zone = '+03:00'",
    'SELECT "id", \'a\' || \'b\' AS ab, ts FROM "kinds" ORDER BY "id"', "SET SESSION sql_mode = 'ERROR_FOR_DIVISION_BY_ZERO', time_zone = '+00:00'",
    "INSERT INTO words (word) VALUES ('last')", 'SELECT LAST_INSERT_ID() AS i', "UPDATE words SET word = CONCAT(word, '!') WHERE id <= 3",
    'SELECT ROW_COUNT() AS n', 'SELECT SQL_CALC_FOUND_ROWS d FROM digit ORDER BY d LIMIT 4', 'SELECT FOUND_ROWS() AS n',
    "SELECT 1/0 AS q, CAST('7x' AS SIGNED) AS c", 'SHOW WARNINGS', "SET @one = 1, @text = 'ü'", 'SELECT @one AS a, @text AS b',
    'CREATE TEMPORARY TABLE passing AS SELECT d FROM digit', 'SELECT SUM(d) AS s FROM passing', 'CALL two_results(7)',
  ];
  for (const sql of statements) await attempt(sql, () => db.query(sql));
  await attempt('the procedure, prepared', () => db.execute('CALL two_results(?)', [8]));
  await attempt('several, not allowed', () => db.query('SELECT 1; SELECT 2'));
  await attempt('reset', () => db.reset());
  await attempt('no temporary table', () => db.query('SELECT * FROM passing'));
  show('no variable', await db.query('SELECT @one AS a'));
  await attempt('change of user', () => db.changeUser({ ...wide, database: 'test' }));
  show('who', await db.query("SELECT SUBSTRING_INDEX(USER(), '@', 1) AS u, DATABASE() AS d"));
  await attempt('ping', () => db.ping());
}

async function pooled() {
  const pool = mariadb.createPool({ ...where, ...me, connectionLimit: 3, multipleStatements: true, resetAfterUse: true });
  await Promise.all(Array.from({ length: 12 }, (_, n) => pool.query('INSERT INTO account VALUES (?, ?)', [100 + n, n])));
  show('together', await pool.query('SELECT COUNT(*) AS n, SUM(amount) AS s FROM account WHERE id >= ?', [100]));
  show('several', await pool.query('SELECT 1 AS a; UPDATE account SET amount = amount + 1; SELECT SUM(amount) AS s FROM account'));
  await attempt('several with a fault', () => pool.query('SELECT 1 AS a; SELEKT 2; SELECT 3'));
  const streamed = [];
  const db = await pool.getConnection();
  for await (const row of db.queryStream('SELECT d FROM digit ORDER BY d')) streamed.push(row.d);
  show('streamed', streamed);
  await db.release();
  await pool.end();
}

async function main() {
  await logins();
  const db = await connect({});
  show('server', db.serverVersion());
  for (const sql of suite.setup) show('set up', await db.query(sql));
  await attempt('text', () => db.query('SELECT * FROM kinds ORDER BY id'));
  await attempt('prepared', () => db.execute('SELECT * FROM kinds WHERE id >= ? AND (v = ? OR ? IS NULL) ORDER BY id', [1, null, null]));
  for (const word of suite.words) show('inserted', await db.execute('INSERT INTO words (word) VALUES (?)', [word]));
  for (const word of suite.words) show('found', await db.execute('SELECT id, word, HEX(word) AS h FROM words WHERE word = ?', [word]));
  for (const [what, sql] of Object.entries(suite.reads)) await attempt(what, () => db.query(sql));
  for (const sql of suite.faults) {
    await attempt(sql, () => db.query(sql));
    if (!sql.startsWith('USE')) await attempt(`prepared: ${sql}`, () => db.execute(sql));
  }
  await parameters(db);
  await session(db);
  await db.end();
  await pooled();
  if (env.CLIENT_HEAVY === '1') {
    const large = await connect({});
    const value = Buffer.alloc(17 << 20);
    for (let i = 0; i < value.length; i += 4) value.writeUInt32LE((i * 2654435761) % 4294967296 >>> 0, i);
    await attempt('17 MiB in', () => large.execute('INSERT INTO large VALUES (1, ?)', [value]));
    const [row] = await large.query('SELECT value FROM large WHERE id = 1');
    show('17 MiB out', [row.value.length, row.value.equals(value)]);
    await large.end();
  }
  process.stdout.write('done\n');
}

main().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exit(1);
});
