//! sqlx, which prepares whatever it is asked but for raw SQL.

use std::fmt::Write as _;

use anyhow::{Result, ensure};
use clonelove_testkit::{APP_PASSWORD, APP_USER, Family, Flavour};
use futures_util::TryStreamExt;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlSslMode};
use sqlx::{AssertSqlSafe, Connection, Either, Executor, Row};

use super::{Bench, Suite, Target, WIDE_PASSWORD, WIDE_USER, large_value, million_is_whole};

fn options(target: &Target, user: &str, password: &str, schema: &str) -> MySqlConnectOptions {
    let options = MySqlConnectOptions::new()
        .username(user)
        .password(password)
        .database(schema)
        .ssl_mode(MySqlSslMode::Disabled);
    match &target.socket {
        Some(path) => options.socket(path),
        None => options.host("127.0.0.1").port(target.port),
    }
}

/// What was asked and what came, line by line.
struct Log(String);

impl Log {
    fn show(&mut self, what: &str, value: impl std::fmt::Debug) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{what}: {value:?}");
    }

    /// As text, all results.
    async fn raw(&mut self, db: &mut MySqlConnection, sql: &str) {
        let results: Result<Vec<_>, _> = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_many(db).try_collect().await;
        self.show(sql, results);
    }

    /// Prepared, without parameters.
    async fn prepared(&mut self, db: &mut MySqlConnection, sql: &str) {
        let query = sqlx::query(AssertSqlSafe(sql));
        if sql.starts_with("SELECT") {
            self.show(sql, query.fetch_all(db).await);
        } else {
            self.show(sql, query.execute(db).await);
        }
    }

    async fn connect(&mut self, options: MySqlConnectOptions) {
        let outcome = MySqlConnection::connect_with(&options).await;
        self.show("connect", outcome.map(|_| "in"));
    }
}

async fn run(target: &Target) -> Result<String> {
    let mut log = Log(String::new());
    if target.family != Family::MySql {
        // There a server asks for the password itself, before it refuses anybody, and sqlx without RSA gives up.
        log.connect(options(target, APP_USER, "wrong", "app")).await;
        log.connect(options(target, "nobody", "x", "app")).await;
    }
    log.connect(options(target, WIDE_USER, WIDE_PASSWORD, "no_such_schema")).await;
    log.connect(options(target, APP_USER, APP_PASSWORD, "mysql")).await;

    let suite = Suite::read()?;
    // Its own way to set sql_mode depends on what that was, and keeps the session on the primary.
    let plain =
        options(target, APP_USER, APP_PASSWORD, "app").pipes_as_concat(false).no_engine_substitution(false);
    let mut text = MySqlConnection::connect_with(&plain).await?;
    let mut db = MySqlConnection::connect_with(&options(target, APP_USER, APP_PASSWORD, "app")).await?;
    for sql in &suite.setup {
        log.raw(&mut text, sql).await;
    }
    for word in &suite.words {
        let inserted = sqlx::query("INSERT INTO words (word) VALUES (?)").bind(word).execute(&mut db).await?;
        log.show("inserted", inserted);
    }
    let words: Vec<String> =
        sqlx::query_scalar("SELECT word FROM words ORDER BY id").fetch_all(&mut db).await?;
    ensure!(words == suite.words, "{words:?}");
    for sql in suite.reads.values().chain(&suite.faults) {
        log.raw(&mut text, sql).await;
        log.prepared(&mut db, sql).await;
    }
    log.raw(&mut text, "SELECT * FROM kinds ORDER BY id").await;
    log.prepared(&mut db, "SELECT * FROM kinds ORDER BY id").await;
    transactions(&mut log, &mut db).await?;
    for sql in STATEMENTS {
        log.raw(&mut text, sql).await;
    }
    text.ping().await?;
    db.ping().await?;
    if target.heavy {
        heavy(&mut text, &mut db).await?;
    }
    db.close().await?;
    text.close().await?;
    Ok(log.0)
}

const STATEMENTS: &[&str] = &[
    "USE test",
    "SELECT DATABASE()",
    "USE app",
    "SET SESSION sql_mode = 'ANSI', time_zone = '+03:00'",
    "SELECT \"id\", 'a' || 'b', ts FROM \"kinds\" ORDER BY \"id\"",
    "SET SESSION sql_mode = 'ERROR_FOR_DIVISION_BY_ZERO', time_zone = '+00:00'",
    "INSERT INTO words (word) VALUES ('last')",
    "SELECT LAST_INSERT_ID()",
    "UPDATE words SET word = CONCAT(word, '!') WHERE id <= 3",
    "SELECT ROW_COUNT()",
    "SELECT d FROM digit ORDER BY d LIMIT 4",
    "SELECT FOUND_ROWS()",
    "SELECT 1/0, CAST('7x' AS SIGNED)",
    "SHOW WARNINGS",
    "SET @one = 1, @text = 'ü'",
    "SELECT @one, @text",
    "CREATE TEMPORARY TABLE passing AS SELECT d FROM digit",
    "SELECT SUM(d) FROM passing",
    "DROP TEMPORARY TABLE passing",
    "SELECT 1; UPDATE account SET amount = amount + 1; SELECT SUM(amount) FROM account",
    "CALL two_results(7)",
    "SELECT * FROM account ORDER BY id",
];

async fn transactions(log: &mut Log, db: &mut MySqlConnection) -> Result<()> {
    log.prepared(db, "INSERT INTO account VALUES (1, 100), (2, 200)").await;
    let mut outer = db.begin().await?;
    log.prepared(&mut outer, "UPDATE account SET amount = amount - 10 WHERE id = 1").await;
    // A transaction within a transaction is a savepoint.
    let mut inner = outer.begin().await?;
    log.prepared(&mut inner, "UPDATE account SET amount = 0").await;
    log.prepared(&mut inner, "SELECT * FROM account ORDER BY id").await;
    inner.rollback().await?;
    log.prepared(&mut outer, "SELECT * FROM account ORDER BY id").await;
    outer.commit().await?;
    let mut outer = db.begin().await?;
    log.prepared(&mut outer, "DELETE FROM account").await;
    drop(outer);
    log.prepared(db, "SELECT * FROM account ORDER BY id").await;
    Ok(())
}

/// A million rows as they come, and 64 MiB there and back.
async fn heavy(text: &mut MySqlConnection, db: &mut MySqlConnection) -> Result<()> {
    let mut numbers = Vec::with_capacity(1_000_000);
    let mut rows = text.fetch_many(sqlx::raw_sql(super::MILLION));
    while let Some(either) = rows.try_next().await? {
        if let Either::Right(row) = either {
            numbers.push(row.try_get_unchecked::<i64, _>(0).map(i64::cast_unsigned));
        }
    }
    drop(rows);
    million_is_whole(numbers.into_iter())?;
    let value = large_value();
    sqlx::query("INSERT INTO large VALUES (1, ?)").bind(value.as_bytes()).execute(&mut *db).await?;
    let back: Vec<u8> =
        sqlx::query_scalar("SELECT value FROM large WHERE id = ?").bind(1).fetch_one(db).await?;
    ensure!(back == value.as_bytes(), "another value came back");
    Ok(())
}

fn suite(flavour: Flavour) -> Result<()> {
    let bench = Bench::start(flavour)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    bench.compare(10.0, |target| runtime.block_on(run(target)))
}

#[test]
fn sqlx() -> Result<()> {
    suite(Flavour::MariaDbDistribution)
}

#[test]
fn sqlx_on_mysql_sid() -> Result<()> {
    if Flavour::MySqlSid.covered()? { suite(Flavour::MySqlSid) } else { Ok(()) }
}
