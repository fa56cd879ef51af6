//! State that ties a session to its connection: named, shown, and over when its cause is; and what a session that
//! leaves must not leave behind.

use anyhow::{Context, Result, ensure};
use clonelove_testkit::{Clonelove, DEFAULT_TIMEOUT, Flavour, wait_until};

use super::client::{Side, Way, first_value};
use super::stage::Stage;

/// A pin, what causes it, and what ends it.
type Cause = (&'static str, &'static [&'static str], &'static [&'static str]);

const CAUSES: &[Cause] = &[
    ("transaction", &["BEGIN", "INSERT INTO t (v) VALUES ('x')"], &["COMMIT"]),
    ("transaction", &["START TRANSACTION WITH CONSISTENT SNAPSHOT"], &["ROLLBACK"]),
    ("autocommit_off", &["SET autocommit = 0"], &["SET autocommit = 1"]),
    ("temporary_table", &["CREATE TEMPORARY TABLE own (id INT)"], &["DROP TABLE own"]),
    ("temporary_table", &["CREATE TEMPORARY TABLE own (id INT)"], &["DROP TEMPORARY TABLE own"]),
    ("user_lock", &["SELECT GET_LOCK('lock_$', 1)"], &["SELECT RELEASE_LOCK('lock_$')"]),
    ("user_lock", &["DO GET_LOCK('lock_$', 1)"], &["DO RELEASE_ALL_LOCKS()"]),
    ("table_lock", &["LOCK TABLES t WRITE"], &["UNLOCK TABLES"]),
    ("handler", &["HANDLER t OPEN"], &["HANDLER t CLOSE"]),
    ("prepared_text", &["PREPARE own FROM 'SELECT 1'"], &["DEALLOCATE PREPARE own"]),
    (
        "prepared_text",
        &["PREPARE own FROM 'SELECT v FROM t WHERE id = 1'", "EXECUTE own", "EXECUTE own"],
        &["DEALLOCATE PREPARE own"],
    ),
    (
        "prepared_text",
        &["PREPARE own FROM 'UPDATE t SET n = 5 WHERE id = 1'", "EXECUTE own"],
        &["DEALLOCATE PREPARE own"],
    ),
    // What such a text leaves is not known.
    (
        "prepared_text",
        &["PREPARE own FROM 'SELECT @own := 1'", "EXECUTE own", "DEALLOCATE PREPARE own"],
        &["COM_RESET_CONNECTION"],
    ),
    ("transaction", &["XA START 'lock_$'", "DELETE FROM t"], &["XA END 'lock_$'", "XA ROLLBACK 'lock_$'"]),
    ("user_variable", &["SELECT @own := 1"], &["COM_RESET_CONNECTION"]),
    ("user_variable", &["SELECT 5 INTO @own"], &["COM_RESET_CONNECTION"]),
    ("user_variable", &["SET @own = CONCAT('a', 'b')"], &["COM_RESET_CONNECTION"]),
    ("session_setting", &["SET timestamp = 86400"], &["COM_RESET_CONNECTION"]),
    ("session_setting", &["SET TRANSACTION READ ONLY"], &["SELECT COUNT(*) FROM t"]),
    ("temporary_table", &["CREATE TEMPORARY TABLE own (id INT)"], &["COM_RESET_CONNECTION"]),
    ("diagnostics", &["SELECT no_such_column FROM t"], &["SELECT COUNT(*) FROM t"]),
    ("diagnostics", &["INSERT INTO t (n) VALUES (1000)"], &["DELETE FROM t WHERE 0"]),
];

/// What only MariaDB has.
const CAUSES_ON_MARIADB: &[Cause] = &[
    ("last_insert_id", &["SELECT NEXTVAL(more_$.s)", "SELECT LASTVAL(more_$.s)"], &["COM_RESET_CONNECTION"]),
    ("last_insert_id", &["SELECT PREVIOUS VALUE FOR more_$.s"], &["COM_RESET_CONNECTION"]),
];

/// Of a procedure only its definition tells what it leaves.
const CAUSES_OF_ROUTINES: &[Cause] =
    &[("session_setting", &["CALL more_$.locks()"], &["COM_RESET_CONNECTION"])];

/// The pins that the proxy shows, with the statements that made them.
fn shown(proxy: &Clonelove) -> Result<Vec<(String, String)>> {
    let status = proxy.status()?;
    let pins = status.get("pins").and_then(|pins| pins.as_array()).context("no pins in the status")?;
    let text = |one: &serde_json::Value, key: &str| {
        one.get(key).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
    };
    Ok(pins.iter().map(|one| (text(one, "pin"), text(one, "statement"))).collect())
}

fn each_pin_ends_with_its_cause(flavour: Flavour) -> Result<()> {
    let Some(stage) = Stage::set(flavour, 0)? else { return Ok(()) };
    for side in Side::BOTH {
        stage.root(&side.names("CREATE PROCEDURE more_$.locks() DO GET_LOCK('lock_$', 1)"))?;
        if stage.is_mariadb() {
            stage.root(&side.names("CREATE SEQUENCE more_$.s"))?;
        }
    }
    let of_mariadb = if stage.is_mariadb() { CAUSES_ON_MARIADB } else { &[] };
    let proxy = Clonelove::start_with(stage.config(1))?;
    let (mut a, mut b) = (stage.pair(&proxy)?, stage.pair(&proxy)?);
    for (pin, causes, ends) in CAUSES.iter().chain(CAUSES_OF_ROUTINES).chain(of_mariadb) {
        let about = || format!("{pin} by {causes:?}");
        b.ask("SELECT COUNT(*) FROM t", Way::Text)?;
        for sql in *causes {
            a.ask(sql, Way::Text).with_context(about)?;
        }
        let cause = || {
            wait_until("the pin to be shown", DEFAULT_TIMEOUT, || {
                Ok::<_, anyhow::Error>(
                    shown(&proxy)?.iter().any(|(one, text)| one == pin && !text.is_empty()),
                )
            })
        };
        cause().with_context(about)?;
        ensure!(proxy.metric("clonelove_pins", &[&format!("\"{pin}\"")])? >= 1.0, "{}: gauge", about());
        // The only connection is taken: the other's statement waits until it is free again.
        b.proxied.send("SELECT 42 FROM t LIMIT 1")?;
        for sql in *ends {
            a.ask(sql, Way::Text).with_context(about)?;
        }
        b.receive("SELECT 42 FROM t LIMIT 1").with_context(about)?;
        wait_until("no pin to be shown", DEFAULT_TIMEOUT, || {
            Ok::<_, anyhow::Error>(shown(&proxy)?.is_empty() && proxy.metric("clonelove_pins", &[])? == 0.0)
        })
        .with_context(about)?;
    }
    Ok(())
}

#[test]
fn each_pin_ends_with_its_cause_on_mariadb() -> Result<()> {
    each_pin_ends_with_its_cause(Flavour::MariaDbDistribution)
}

#[test]
fn each_pin_ends_with_its_cause_on_new_mariadb() -> Result<()> {
    each_pin_ends_with_its_cause(Flavour::MariaDbSid)
}

#[test]
fn each_pin_ends_with_its_cause_on_mysql() -> Result<()> {
    each_pin_ends_with_its_cause(Flavour::MySqlSid)
}

/// A cursor lives on one connection, until it is read to its end, closed, or its statement is.
fn a_cursor_pins_until_it_ends(flavour: Flavour) -> Result<()> {
    let Some(stage) = Stage::set(flavour, 0)? else { return Ok(()) };
    let proxy = Clonelove::start_with(stage.config(1))?;
    let (mut a, mut b) = (stage.pair(&proxy)?, stage.pair(&proxy)?);
    for end in ["read to its end", "reset", "closed"] {
        b.ask("SELECT COUNT(*) FROM t", Way::Text)?;
        let sql = "SELECT v FROM t ORDER BY id";
        let (there, here) = (a.direct.prepare(sql)?, a.proxied.prepare(sql)?);
        let (wanted, got) = (a.direct.open_cursor(there)?, a.proxied.open_cursor(here)?);
        ensure!(got == wanted, "{end}: {got:?}, directly {wanted:?}");
        wait_until("the pin to be shown", DEFAULT_TIMEOUT, || {
            Ok::<_, anyhow::Error>(
                shown(&proxy)?.iter().any(|(pin, text)| pin == "cursor" && !text.is_empty()),
            )
        })?;
        b.proxied.send("SELECT 42 FROM t LIMIT 1")?;
        for rows in [1, 1] {
            let (wanted, got) = (a.direct.fetch(there, rows)?, a.proxied.fetch(here, rows)?);
            ensure!(got == wanted, "{end}: {got:?}, directly {wanted:?}");
        }
        let cursors = proxy.metric("clonelove_pins", &["\"cursor\""])?;
        ensure!(cursors == 1.0, "{end}: {cursors} cursors");
        match end {
            "read to its end" => {
                let (wanted, got) = (a.direct.fetch(there, 9)?, a.proxied.fetch(here, 9)?);
                ensure!(got == wanted, "{end}: {got:?}, directly {wanted:?}");
            }
            "reset" => ensure!(a.direct.reset_statement(there)? == a.proxied.reset_statement(here)?, "{end}"),
            _ => {}
        }
        if end != "read to its end" {
            a.direct.close(there)?;
            a.proxied.close(here)?;
        }
        b.receive("SELECT 42 FROM t LIMIT 1").with_context(|| end.to_owned())?;
        wait_until("no pin to be shown", DEFAULT_TIMEOUT, || {
            Ok::<_, anyhow::Error>(shown(&proxy)?.is_empty())
        })?;
    }
    Ok(())
}

#[test]
fn a_cursor_pins_until_it_ends_on_mariadb() -> Result<()> {
    a_cursor_pins_until_it_ends(Flavour::MariaDbDistribution)
}

#[test]
fn a_cursor_pins_until_it_ends_on_new_mariadb() -> Result<()> {
    a_cursor_pins_until_it_ends(Flavour::MariaDbSid)
}

#[test]
fn a_cursor_pins_until_it_ends_on_mysql() -> Result<()> {
    a_cursor_pins_until_it_ends(Flavour::MySqlSid)
}

/// Whatever a client was in the middle of when it left, the next on its connection finds nothing of it.
#[test]
fn who_leaves_leaves_nothing_behind() -> Result<()> {
    for flavour in [Flavour::MariaDbDistribution, Flavour::MySqlSid] {
        let Some(stage) = Stage::set(flavour, 0)? else { continue };
        let proxy = Clonelove::start_with(stage.config(1))?;
        for (leaves, looks, finds) in [
            (&["BEGIN", "DELETE FROM t"][..], "SELECT COUNT(*) FROM t", "3"),
            (&["SET autocommit = 0", "DELETE FROM t"], "SELECT COUNT(*) FROM t", "3"),
            (&["SET autocommit = 0"], "SELECT @@autocommit", "1"),
            (&["SET @own = 1"], "SELECT @own", "NULL"),
            (&["SELECT @own := 1"], "SELECT @own", "NULL"),
            (&["DO GET_LOCK('lock_$', 1)"], "SELECT GET_LOCK('lock_$', 60)", "1"),
            (&["CREATE TEMPORARY TABLE t (id INT)"], "SELECT COUNT(*) FROM t", "3"),
            (&["LOCK TABLES t WRITE"], "SELECT COUNT(*) FROM more_$.only_here", "1"),
            (&["SELECT no_such_column FROM t"], "SELECT @@error_count", "0"),
            (
                &["INSERT INTO t (id, v) VALUES (NULL, 'x')", "DELETE FROM t WHERE v = 'x'"],
                "SELECT LAST_INSERT_ID()",
                "0",
            ),
            (
                &["SET NAMES latin1", "USE more_$"],
                "SELECT CONCAT(@@character_set_client, COUNT(*)) FROM t",
                "utf8mb43",
            ),
        ] {
            for farewell in [true, false] {
                let mut leaving = stage.pair(&proxy)?;
                for sql in leaves {
                    leaving.ask(sql, Way::Text)?;
                }
                if farewell {
                    leaving.proxied.connection.send_raw(&[1, 0, 0, 0, 1])?;
                    leaving.direct.connection.send_raw(&[1, 0, 0, 0, 1])?;
                }
                drop(leaving);
                let mut next = stage.pair(&proxy)?;
                let found = first_value(&next.proxied.ask(looks, Way::Text)?);
                ensure!(found == finds, "after {leaves:?}: {looks}: {found}, not {finds}");
            }
        }
    }
    Ok(())
}

/// COM_RESET_CONNECTION switches the servers' trackers off: they are on again for whoever comes next, so that reads
/// still reflect what was written.
#[test]
fn own_writes_are_read_after_a_reset() -> Result<()> {
    for flavour in [Flavour::MariaDbDistribution, Flavour::MySqlSid] {
        let Some(stage) = Stage::set(flavour, 1)? else { continue };
        let config = stage.config(1).set("routing", "fresh_wait", "\"30s\"");
        let proxy = Clonelove::start_with(config)?;
        let (mut a, mut b) = (stage.pair(&proxy)?, stage.pair(&proxy)?);
        for round in 0..20 {
            // Going back from these is a reset of the connection.
            b.ask("SET lc_time_names = 'de_DE'", Way::Text)?;
            b.ask("INSERT INTO t (v) VALUES ('other')", Way::Text)?;
            if round % 2 == 0 {
                a.ask("COM_RESET_CONNECTION", Way::Text)?;
            }
            a.ask("INSERT INTO t (v) VALUES ('own')", Way::Text)?;
            a.ask("SELECT COUNT(*) FROM t", Way::Text)?;
            b.ask("COM_RESET_CONNECTION", Way::Text)?;
            b.ask("INSERT INTO t (v) VALUES ('other')", Way::Text)?;
            b.ask("SELECT MAX(id) FROM t WHERE v = 'other'", Way::Text)?;
        }
        let on_replica = proxy.metric("clonelove_queries_total", &["target=\"replica\""])?;
        ensure!(on_replica >= 20.0, "only {on_replica} reads on the replica");
    }
    Ok(())
}

/// COM_CHANGE_USER begins a session anew, on the same connection of the client's.
#[test]
fn a_change_of_user_begins_anew() -> Result<()> {
    for flavour in [Flavour::MariaDbDistribution, Flavour::MySqlSid] {
        let Some(stage) = Stage::set(flavour, 0)? else { continue };
        let proxy = Clonelove::start_with(stage.config(1))?;
        let (mut a, mut b) = (stage.pair(&proxy)?, stage.pair(&proxy)?);
        for sql in
            ["SET NAMES latin1", "SET @own = 1", "USE more_$", "SET sql_mode = 'ANSI'", "SELECT @own := 2"]
        {
            a.ask(sql, Way::Text)?;
        }
        a.change_user()?;
        b.says("SELECT @own", "NULL")?;
        a.says("SELECT @own", "NULL")?;
        a.says("SELECT COUNT(*) FROM t", "3")?;
        a.ask("SELECT @@sql_mode, @@character_set_client, DATABASE()", Way::Text)?;
        a.ask("BEGIN", Way::Text)?;
        a.ask("DELETE FROM t", Way::Text)?;
        a.change_user()?;
        b.says("SELECT COUNT(*) FROM t", "3")?;
    }
    Ok(())
}

/// However often a client sets the same things, what is kept of that stays small.
#[test]
fn a_setting_said_thousands_of_times_stays_small() -> Result<()> {
    let Some(stage) = Stage::set(Flavour::MariaDbDistribution, 0)? else { return Ok(()) };
    let proxy = Clonelove::start_with(stage.config(1))?;
    let (mut a, mut b) = (stage.pair(&proxy)?, stage.pair(&proxy)?);
    for number in 0..2_000 {
        let sql = match number % 4 {
            0 => format!("SET @own = {number}"),
            1 => format!("SET group_concat_max_len = {}", 1_000 + number),
            2 => "SET NAMES utf8mb4 COLLATE utf8mb4_bin".to_owned(),
            _ => "SET sql_mode = ''".to_owned(),
        };
        a.ask(&sql, Way::Text)?;
    }
    a.says("SELECT @own", "1996")?;
    a.says("SELECT @@group_concat_max_len", "2997")?;
    ensure!(shown(&proxy)?.is_empty(), "it pins: {:?}", shown(&proxy)?);
    // What another connection has to hear for it is one short statement.
    b.says("SELECT @own", "NULL")?;
    let before = stage.cluster.primary.status_counter("Com_set_option")?;
    a.says("SELECT @own", "1996")?;
    let said = stage.cluster.primary.status_counter("Com_set_option")? - before;
    ensure!(said <= 6, "{said} SETs to go from one session to the other");
    Ok(())
}
