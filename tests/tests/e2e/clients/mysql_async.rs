//! mysql_async.

use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};
use clonelove_testkit::{APP_PASSWORD, APP_USER, Family, Flavour};
use futures_util::StreamExt;
use mysql_async::prelude::{Query, Queryable, StatementLike};
use mysql_async::{ChangeUserOpts, Conn, OptsBuilder, Params, Row, TxOpts, Value};

use super::{Bench, Suite, Target, WIDE_PASSWORD, WIDE_USER, large_value, million_is_whole};

fn options(target: &Target, user: &str, password: &str, schema: &str) -> OptsBuilder {
    let options = OptsBuilder::default()
        .user(Some(user))
        .pass(Some(password))
        .db_name(Some(schema))
        .prefer_socket(false)
        .max_allowed_packet(Some(1 << 30));
    match &target.socket {
        Some(path) => options.socket(Some(path.display().to_string())),
        None => options.ip_or_hostname("127.0.0.1").tcp_port(target.port),
    }
}

/// What was asked and what came, line by line.
struct Log(String);

impl Log {
    fn show(&mut self, what: &str, value: impl std::fmt::Debug) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{what}: {value:?}");
    }

    /// All results of a text: rows with their columns, affected rows, insert id, warnings, info.
    async fn ask(&mut self, conn: &mut Conn, sql: &str) {
        let outcome = async {
            let mut result = conn.query_iter(sql).await?;
            let mut all = Vec::new();
            loop {
                let columns = result.columns().map(|list| format!("{list:?}"));
                let rows: Vec<Row> = result.collect().await?;
                let end = (result.affected_rows(), result.last_insert_id(), result.warnings());
                all.push((columns, rows, end, result.info().into_owned()));
                if result.is_empty() {
                    return Ok::<_, mysql_async::Error>(all);
                }
            }
        };
        match outcome.await {
            Ok(all) => self.show(sql, all),
            Err(error) => self.show(sql, error),
        }
    }

    async fn execute(
        &mut self,
        conn: &mut Conn,
        statement: impl StatementLike + Clone + std::fmt::Debug,
        parameters: impl Into<Params> + Send,
    ) {
        let what = format!("{statement:?}");
        let rows: Result<Vec<Row>, _> = conn.exec(statement, parameters).await;
        self.show(&what, (rows, conn.affected_rows(), conn.last_insert_id()));
    }

    async fn connect(&mut self, target: &Target, user: &str, password: &str, schema: &str) {
        let outcome = Conn::new(options(target, user, password, schema)).await;
        self.show("connect", outcome.map(|_| "in"));
    }
}

async fn run(target: &Target) -> Result<String> {
    let mut log = Log(String::new());
    log.connect(target, APP_USER, "wrong", "app").await;
    if target.family == Family::MariaDb {
        // MySQL names an authentication at random to users that it does not know.
        log.connect(target, "nobody", "x", "app").await;
    }
    log.connect(target, WIDE_USER, WIDE_PASSWORD, "no_such_schema").await;
    log.connect(target, APP_USER, APP_PASSWORD, "mysql").await;

    let suite = Suite::read()?;
    let mut conn = Conn::new(options(target, APP_USER, APP_PASSWORD, "app")).await?;
    log.show("server", conn.server_version());
    for sql in &suite.setup {
        log.ask(&mut conn, sql).await;
    }
    for word in &suite.words {
        let insert = format!("INSERT INTO words (word) VALUES ({})", Value::from(word).as_sql(false));
        log.ask(&mut conn, &insert).await;
    }
    log.ask(&mut conn, "SELECT * FROM kinds ORDER BY id").await;
    log.ask(&mut conn, "SELECT id, word, HEX(word) FROM words ORDER BY id").await;
    let words: Vec<String> = conn.query("SELECT word FROM words ORDER BY id").await?;
    ensure!(words == suite.words, "{words:?}");
    for sql in suite.reads.values().chain(&suite.faults) {
        log.ask(&mut conn, sql).await;
    }
    transactions(&mut log, &mut conn).await?;
    for sql in STATEMENTS {
        log.ask(&mut conn, sql).await;
    }
    prepared(&mut log, target).await?;
    new_sessions(&mut log, conn).await?;
    if target.heavy {
        heavy(target).await?;
    }
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
    "SELECT 1; SELEKT 2; SELECT 3",
    "CALL two_results(7)",
    "SELECT * FROM account ORDER BY id",
];

async fn transactions(log: &mut Log, conn: &mut Conn) -> Result<()> {
    log.ask(conn, "INSERT INTO account VALUES (1, 100), (2, 200)").await;
    let mut transaction = conn.start_transaction(TxOpts::default()).await?;
    "UPDATE account SET amount = amount - 10 WHERE id = 1".ignore(&mut transaction).await?;
    "SAVEPOINT one".ignore(&mut transaction).await?;
    "UPDATE account SET amount = 0".ignore(&mut transaction).await?;
    let within: Vec<Row> = transaction.query("SELECT * FROM account ORDER BY id").await?;
    log.show("within", within);
    "ROLLBACK TO SAVEPOINT one".ignore(&mut transaction).await?;
    transaction.commit().await?;
    log.ask(conn, "SELECT * FROM account ORDER BY id").await;
    let mut transaction = conn.start_transaction(TxOpts::default()).await?;
    "DELETE FROM account".ignore(&mut transaction).await?;
    transaction.rollback().await?;
    log.ask(conn, "SELECT * FROM account ORDER BY id").await;
    let mut transaction = conn.start_transaction(TxOpts::default().with_readonly(true).clone()).await?;
    let refused = "DELETE FROM account".ignore(&mut transaction).await;
    log.show("a write in a read-only transaction", refused);
    transaction.rollback().await?;
    Ok(())
}

async fn prepared(log: &mut Log, target: &Target) -> Result<()> {
    let mut conn = Conn::new(options(target, APP_USER, APP_PASSWORD, "app")).await?;
    log.execute(&mut conn, "SELECT * FROM kinds WHERE id >= ? ORDER BY id", (1,)).await;
    log.execute(&mut conn, "SELECT id FROM words WHERE word = ?", ("😀👩‍👩‍👧!",)).await;
    log.execute(&mut conn, "INSERT INTO words (word) VALUES (?)", ("by the binary protocol",)).await;
    log.execute(&mut conn, "INSERT INTO words (word) VALUES (?)", ("by the binary protocol",)).await;
    log.execute(&mut conn, "SELEKT ?", (1,)).await;
    log.execute(&mut conn, "CALL two_results(?)", (5,)).await;
    conn.disconnect().await?;
    Ok(())
}

/// Ping, reset, change of user: what they take away is gone, what they leave is there.
async fn new_sessions(log: &mut Log, mut conn: Conn) -> Result<()> {
    conn.ping().await?;
    // A session's reads wait for its own writes, and so for those of other connections that came before them.
    "INSERT INTO words (word) VALUES ('barrier')".ignore(&mut conn).await?;
    "CREATE TEMPORARY TABLE passing (n INT)".ignore(&mut conn).await?;
    "SET @one = 2, SESSION time_zone = '+09:00'".ignore(&mut conn).await?;
    "BEGIN".ignore(&mut conn).await?;
    "DELETE FROM account".ignore(&mut conn).await?;
    log.show("reset", conn.reset().await);
    for sql in
        ["SELECT @one, @@session.time_zone, DATABASE()", "SELECT * FROM passing", "SELECT * FROM account"]
    {
        log.ask(&mut conn, sql).await;
    }
    "SET @one = 3".ignore(&mut conn).await?;
    let user = ChangeUserOpts::new()
        .with_user(Some(WIDE_USER.into()))
        .with_pass(Some(WIDE_PASSWORD.into()))
        .with_db_name(Some("test".into()));
    log.show("change of user", conn.change_user(user).await);
    log.ask(&mut conn, "SELECT @one, SUBSTRING_INDEX(USER(), '@', 1), DATABASE()").await;
    conn.disconnect().await?;
    Ok(())
}

/// A million rows as they come, and 64 MiB there and back, by either protocol.
async fn heavy(target: &Target) -> Result<()> {
    let mut conn = Conn::new(options(target, APP_USER, APP_PASSWORD, "app")).await?;
    let mut numbers = Vec::with_capacity(1_000_000);
    let mut stream = conn.query_stream::<u64, _>(super::MILLION).await?;
    while let Some(number) = stream.next().await {
        numbers.push(number);
    }
    drop(stream);
    million_is_whole(numbers.into_iter())?;
    let value = large_value();
    conn.exec_drop("INSERT INTO large VALUES (1, ?)", (value.as_bytes(),)).await?;
    let back: Option<Vec<u8>> = conn.exec_first("SELECT value FROM large WHERE id = ?", (1,)).await?;
    ensure!(back.context("no row")? == value.as_bytes(), "another value came back, prepared");
    format!("INSERT INTO large VALUES (2, '{value}')").ignore(&mut conn).await?;
    let back: Option<Vec<u8>> = conn.query_first("SELECT value FROM large WHERE id = 2").await?;
    ensure!(back.context("no row")? == value.as_bytes(), "another value came back, as text");
    conn.disconnect().await?;
    Ok(())
}

fn suite(flavour: Flavour) -> Result<()> {
    if !flavour.covered()? {
        return Ok(());
    }
    let bench = Bench::start(flavour)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    bench.compare(20.0, |target| runtime.block_on(run(target)))
}

#[test]
fn mysql_async() -> Result<()> {
    suite(Flavour::MariaDbDistribution)
}

#[test]
fn mysql_async_on_mariadb_sid() -> Result<()> {
    suite(Flavour::MariaDbSid)
}

#[test]
fn mysql_async_on_mysql_sid() -> Result<()> {
    suite(Flavour::MySqlSid)
}
