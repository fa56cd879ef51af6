//! Dumps: what `mariadb-dump` and `mysqldump` write through clonelove is what they write directly, and comes back
//! whole through clonelove.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clonelove_testkit::Flavour;

use super::cli::Maker;
use super::{Bench, Suite, Target, WIDE_PASSWORD, WIDE_USER, finish, printed, same};

/// What dumps have besides tables and rows.
const MORE: &[&str] = &[
    "INSERT INTO words (word) VALUES ('äöüß€'), ('日本語'), ('😀'), ('a\\0b'), ('quote \\' \" \\\\ %'), ('')",
    "INSERT INTO account VALUES (1, 100), (2, -200)",
    "INSERT INTO large VALUES (1, REPEAT(x'00ff2700', 700000)), (2, NULL)",
    "CREATE VIEW richest AS SELECT id, amount FROM account ORDER BY amount DESC LIMIT 1",
    "CREATE TRIGGER no_debt BEFORE INSERT ON account FOR EACH ROW SET NEW.amount = GREATEST(NEW.amount, -1000)",
    "CREATE FUNCTION doubled(n INT) RETURNS INT DETERMINISTIC RETURN n * 2",
    "CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY STARTS '2030-01-01 00:00:00' DISABLE DO DELETE FROM account",
    "CREATE TABLE parts (id INT PRIMARY KEY, at DATE) PARTITION BY HASH (id) PARTITIONS 3",
    "INSERT INTO parts VALUES (1, '2026-01-01'), (2, NULL), (3, '2026-03-03')",
];

/// Everything in one moment; with what is not said otherwise, and with all that can be asked for.
const ALL: &[&str] =
    &["--single-transaction", "--skip-dump-date", "--routines", "--triggers", "--events", "--hex-blob"];
const PLAIN: &[&str] = &["--single-transaction", "--skip-dump-date"];

/// The dumping program of the same maker, where the client would connect.
fn dump(maker: Maker, target: &Target, options: &[&str], schema: &str) -> Result<String> {
    let mut command = match maker {
        Maker::MariaDb => Command::new("mariadb-dump"),
        Maker::MySql => Flavour::MySqlSid.command(Path::new("/usr/bin/mysqldump"))?,
    };
    maker.connect(&mut command, target, WIDE_USER, WIDE_PASSWORD);
    if matches!(maker, Maker::MySql) {
        command.arg("--set-gtid-purged=OFF");
    }
    printed(&finish(command.args(options).arg(schema), None)?)
}

fn round_trip(flavour: Flavour, maker: Maker) -> Result<()> {
    if !flavour.covered()? {
        return Ok(());
    }
    let bench = Bench::start(flavour)?;
    let primary = &bench.cluster.primary;
    let [[direct, proxied], _] = bench.pairs();
    let mut side = primary.connect()?;
    side.query("SET NAMES utf8mb4")?;
    side.query("USE app")?;
    for sql in Suite::read()?.setup.iter().map(String::as_str).chain(MORE.iter().copied()) {
        side.query(sql).with_context(|| sql.to_owned())?;
    }
    bench.cluster.wait_caught_up()?;
    let positioned = match maker {
        Maker::MariaDb => [ALL, &["--master-data=2", "--gtid"]].concat(),
        Maker::MySql => [ALL, &["--source-data=2"]].concat(),
    };
    let mut whole = String::new();
    for options in [PLAIN, ALL, &positioned] {
        let expected = dump(maker, &direct, options, "app").context("directly")?;
        let found = dump(maker, &proxied, options, "app").context("through clonelove")?;
        same(&expected, &found).with_context(|| options.join(" "))?;
        ensure!(found.contains("-- Dump completed"), "the dump does not come to its end");
        if options == ALL {
            whole = found;
        }
    }
    let path = bench.cluster.folder().join("dump.sql");
    fs::write(&path, &whole)?;
    let mut restore = maker.command(&proxied, WIDE_USER, WIDE_PASSWORD)?;
    printed(&finish(restore.arg("test"), Some(File::open(&path)?))?).context("the dump is read in")?;
    let told = |text: String| {
        text.replace("`test`", "`app`").replace("atabase: test", "atabase: app").replace("'test'", "'app'")
    };
    same(&whole, &told(dump(maker, &direct, ALL, "test")?)).context("what was read in is what was dumped")?;
    // Written by one connection, read by another: nothing of it may be missing.
    same(&whole, &told(dump(maker, &proxied, ALL, "test")?)).context("and so through clonelove")
}

#[test]
fn mariadb_dump_and_back() -> Result<()> {
    round_trip(Flavour::MariaDbDistribution, Maker::MariaDb)
}

#[test]
fn mysqldump_and_back_on_mysql_sid() -> Result<()> {
    round_trip(Flavour::MySqlSid, Maker::MySql)
}
