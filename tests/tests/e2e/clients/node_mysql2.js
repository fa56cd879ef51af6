// The suite with mysql2: text protocol (query) and binary protocol (execute).
'use strict';

const crypto = require('crypto');
const fs = require('fs');
const mysql = require('mysql2/promise');

const env = process.env;
const suite = JSON.parse(fs.readFileSync(env.CLIENT_SQL, 'utf8'));
const heavy = env.CLIENT_HEAVY === '1';
const wide = [env.CLIENT_WIDE_USER, env.CLIENT_WIDE_PASSWORD];

function connect(user, password, database, more = {}) {
  const where = env.CLIENT_SOCKET
    ? { socketPath: env.CLIENT_SOCKET }
    : { host: env.CLIENT_HOST, port: Number(env.CLIENT_PORT) };
  const exact = { dateStrings: true, supportBigNumbers: true, bigNumberStrings: true, charset: 'utf8mb4' };
  return mysql.createConnection({ ...where, user, password, database, ...exact, ...more });
}

function plain(value) {
  if (Buffer.isBuffer(value)) {
    return value.length > 2000
      ? `${value.length} ${crypto.createHash('sha1').update(value).digest('hex')}`
      : `bytes ${value.toString('hex')}`;
  }
  if (Array.isArray(value)) return value.map(plain);
  if (value && typeof value === 'object') {
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, key === 'info' ? info(each) : plain(each)]));
  }
  return value;
}

// Without session tracking, which clonelove does not offer, mysql2 takes the text's length for its first character.
const info = (text) => (text.charCodeAt(0) === Buffer.byteLength(text) - 1 ? text.slice(1) : text);

const show = (what, value) => process.stdout.write(`${what}: ${JSON.stringify(plain(value))}\n`);

async function attempt(what, act) {
  try {
    show(what, await act());
  } catch (error) {
    show(what, [error.code, error.errno, error.sqlState, error.message]);
  }
}

const column = (c) => [c.name, c.schema, c.table, c.orgName, c.columnType, c.columnLength, c.flags, c.decimals, c.characterSet];

async function rows(db, sql, values) {
  const [result] = await db.query(sql, values);
  return result;
}

// A session's reads wait for its own writes, and so for those of other connections that came before them.
async function barrier(db) {
  await rows(db, 'INSERT INTO app.account VALUES (99, 99)');
  await rows(db, 'DELETE FROM app.account WHERE id = 99');
}

async function main() {
  const [user, password] = [env.CLIENT_USER, env.CLIENT_PASSWORD];
  await attempt('wrong password', () => connect(user, 'wrong', 'app'));
  // To users that it does not know, MySQL names an authentication at random: what becomes of them, chance decides.
  if (env.CLIENT_FAMILY === 'mariadb') await attempt('unknown user', () => connect('nobody', 'x', 'app'));
  await attempt('unknown schema', () => connect(...wide, 'no_such_schema'));
  await attempt('forbidden schema', () => connect(user, password, 'mysql'));

  const db = await connect(user, password, 'app');
  // Prepared statements stay open until their connection ends; they have one of their own.
  const prepared = await connect(user, password, 'app');
  for (const sql of suite.setup) show('set up', await rows(db, sql));
  const [kinds, fields] = await db.query('SELECT * FROM kinds ORDER BY id');
  show('columns', fields.map(column));
  show('text', kinds);
  const [binary, binaryFields] = await prepared.execute('SELECT * FROM kinds WHERE id >= ? AND (v = ? OR ? IS NULL) ORDER BY id', [1, null, null]);
  show('prepared columns', binaryFields.map(column));
  show('prepared', binary);
  for (const word of suite.words) {
    show('inserted', (await prepared.execute('INSERT INTO words (word) VALUES (?)', [word]))[0]);
  }
  await barrier(db);
  for (const word of suite.words) {
    const [found] = await prepared.execute('SELECT id, word, HEX(word) AS h FROM words WHERE word = ?', [word]);
    show('found', found);
    show('equal', [found[0].word === word, (await rows(db, 'SELECT word FROM words WHERE word = ?', [word]))[0].word === word]);
  }
  for (const [what, sql] of Object.entries(suite.reads)) await attempt(what, () => rows(db, sql));
  for (const sql of suite.faults) {
    await attempt(sql, () => rows(db, sql));
    if (!sql.startsWith('USE')) await attempt('prepared: ' + sql, async () => (await prepared.execute(sql))[0]);
  }

  await rows(db, 'INSERT INTO account VALUES (1, 100), (2, 200)');
  await db.beginTransaction();
  await rows(db, 'UPDATE account SET amount = amount - 10 WHERE id = 1');
  await rows(db, 'SAVEPOINT one');
  await rows(db, 'UPDATE account SET amount = 0');
  show('within', await rows(db, 'SELECT * FROM account ORDER BY id'));
  await rows(db, 'ROLLBACK TO SAVEPOINT one');
  show('back at the savepoint', await rows(db, 'SELECT * FROM account ORDER BY id'));
  await db.commit();
  await db.beginTransaction();
  await rows(db, 'DELETE FROM account');
  await db.rollback();
  await prepared.beginTransaction();
  await prepared.execute('UPDATE account SET amount = ?', [0]);
  show('within, prepared', (await prepared.execute('SELECT * FROM account ORDER BY id'))[0]);
  await prepared.rollback();
  show('after the rollback', await rows(db, 'SELECT * FROM account ORDER BY id'));

  await db.query('USE test');
  show('another schema', await rows(db, 'SELECT DATABASE() AS d'));
  await db.query('USE app');
  await rows(db, "SET SESSION sql_mode = 'ANSI', time_zone = '+03:00'");
  show('as set', await rows(db, 'SELECT "id", \'a\' || \'b\' AS ab, ts FROM "kinds" ORDER BY "id"'));
  await rows(db, "SET SESSION sql_mode = 'ERROR_FOR_DIVISION_BY_ZERO', time_zone = '+00:00'");
  show('insert', await rows(db, "INSERT INTO words (word) VALUES ('last')"));
  show('insert id', await rows(db, 'SELECT LAST_INSERT_ID() AS i'));
  await rows(db, "UPDATE words SET word = CONCAT(word, '!') WHERE id <= 3");
  show('row count', await rows(db, 'SELECT ROW_COUNT() AS n'));
  await rows(db, 'SELECT d FROM digit LIMIT 4');
  show('found rows', await rows(db, 'SELECT FOUND_ROWS() AS n'));
  await rows(db, "SELECT 1/0 AS q, CAST('7x' AS SIGNED) AS c");
  show('warnings', await rows(db, 'SHOW WARNINGS'));
  await rows(db, "SET @one = 1, @text = 'ü'");
  show('variables', await rows(db, 'SELECT @one AS a, @text AS b'));
  await rows(db, 'CREATE TEMPORARY TABLE passing AS SELECT d FROM digit');
  show('a temporary table', await rows(db, 'SELECT SUM(d) AS s FROM passing'));
  show('the procedure', await rows(db, 'CALL two_results(7)'));
  show('the procedure, prepared', (await prepared.execute('CALL two_results(?)', [8]))[0]);
  const several = await connect(user, password, 'app', { multipleStatements: true });
  show('several', await rows(several, 'SELECT 1 AS a; UPDATE account SET amount = amount + 1; SELECT SUM(amount) AS s FROM account'));
  await attempt('several with a fault', () => rows(several, 'SELECT 1 AS a; SELEKT 2; SELECT 3'));
  await attempt('several, not allowed', () => rows(db, 'SELECT 1; SELECT 2'));
  show('ping', await db.ping());

  await barrier(db);
  await rows(db, 'BEGIN');
  await rows(db, 'DELETE FROM account');
  await attempt('change of user', () => db.changeUser({ user: wide[0], password: wide[1], database: 'test' }));
  show('who', await rows(db, "SELECT SUBSTRING_INDEX(USER(), '@', 1) AS u, DATABASE() AS d, @one AS v"));
  show('rolled back', await rows(db, 'SELECT * FROM app.account ORDER BY id'));
  await attempt('no temporary table', () => rows(db, 'SELECT * FROM app.passing'));

  const streamed = [];
  await new Promise((resolve, reject) => {
    const stream = several.connection.query('SELECT d FROM digit ORDER BY d').stream({ highWaterMark: 2 });
    stream.on('data', (row) => streamed.push(row.d)).on('end', resolve).on('error', reject);
  });
  show('streamed', streamed);

  if (heavy) {
    let [count, sum] = [0, 0];
    await new Promise((resolve, reject) => {
      const query = several.connection.query({ sql: suite.million, rowsAsArray: true });
      query.on('result', (row) => { count += 1; sum += Number(row[0]); }).on('end', resolve).on('error', reject);
    });
    show('a million rows', [count, sum]);
    const value = Buffer.alloc(64 << 20);
    for (let i = 0; i < value.length; i += 4) value.writeUInt32LE((i * 2654435761) >>> 0, i);
    show('64 MiB in', (await several.execute('INSERT INTO large VALUES (1, ?)', [value]))[0]);
    const back = (await rows(several, 'SELECT value FROM large WHERE id = 1'))[0].value;
    show('64 MiB out', [back.length, back.equals(value)]);
  }
  await db.end();
  await prepared.end();
  await several.end();
  process.stdout.write('done\n');
}

main().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exit(1);
});
