//! What a session tracks, by what it is told.

use super::*;
use clonelove_sql::analyse;

fn run(session: &mut Session, sql: &str, heard: Heard) {
    let facts = analyse(sql.as_bytes(), &session.dialect);
    session.after(sql.as_bytes(), &facts, Ran::Primary, &heard);
}

fn fresh() -> Session {
    Session::new(Some("d".into()), Dialect::default())
}

fn failed() -> Heard {
    Heard { failed: true, ..Heard::default() }
}

#[test]
fn a_setting_that_failed_is_not_replayed() {
    let mut session = fresh();
    run(&mut session, "SET sql_mode = 'NONSENSE'", failed());
    assert_eq!((session.journal.is_empty(), session.pin()), (true, None));
    run(&mut session, "SET time_zone = '+00:00', sql_mode = 'NONSENSE'", failed());
    assert_eq!(session.pin(), Some(Pin::SessionSetting));
}

#[test]
fn a_setting_within_a_transaction_is_carried_too() {
    let mut session = fresh();
    session.transaction.open = true;
    let heard = Heard { transaction: Some(Transaction { open: true, autocommit: true }), ..Heard::default() };
    run(&mut session, "SET sql_mode = 'ANSI'", heard);
    assert!(!session.journal.is_empty());
}

#[test]
fn a_write_without_a_position_is_of_unknown_position() {
    let rows = [
        ("INSERT INTO t VALUES (1)", Heard { affected: 1, ..Heard::default() }, OwnWrites::Unknown),
        ("DELETE FROM t WHERE 0", Heard::default(), OwnWrites::None),
        ("CREATE TABLE t (a INT)", Heard::default(), OwnWrites::Unknown),
        (
            "INSERT INTO t VALUES (1) RETURNING a",
            Heard { plain_eof: true, ..Heard::default() },
            OwnWrites::Unknown,
        ),
        ("CALL p()", failed(), OwnWrites::Unknown),
        ("SELECT f()", Heard { plain_eof: true, ..Heard::default() }, OwnWrites::Unknown),
        ("SELECT 1", Heard { plain_eof: true, ..Heard::default() }, OwnWrites::None),
        ("SELECT LAST_INSERT_ID()", Heard { plain_eof: true, ..Heard::default() }, OwnWrites::None),
        ("SET NAMES utf8mb4", Heard::default(), OwnWrites::None),
    ];
    for (sql, heard, expected) in rows {
        let mut session = fresh();
        run(&mut session, sql, heard);
        assert_eq!(session.own_writes, expected, "{sql}");
    }
}

#[test]
fn a_procedure_that_failed_may_have_left_state() {
    let failed_with = |code| Heard { failed: true, error: Some(code), ..Heard::default() };
    for (code, pin) in [(1062, Some(Pin::SessionSetting)), (1142, Some(Pin::SessionSetting)), (1064, None)] {
        let mut session = fresh();
        run(&mut session, "CALL p()", failed_with(code));
        assert_eq!(session.pin(), pin, "{code}");
    }
    let mut session = fresh();
    run(&mut session, "INSERT INTO t VALUES (1)", failed_with(1062));
    assert_eq!(session.pin(), None);
}

#[test]
fn what_may_leave_anything_behind_pins() {
    for sql in [
        "CALL p()",
        "SELECT f(1) FROM t",
        "GRIBBLE",
        "SELECT 1; CALL p()",
        "SET GLOBAL sort_buffer_size = 65536",
        "FLUSH STATUS",
        "flush local session status",
        "SHOW STATUS",
        "show local status LIKE 'com_select'",
        "SET password=PASSWORD('x')",
        "ALTER USER u IDENTIFIED BY 'x'",
    ] {
        let mut session = fresh();
        run(&mut session, sql, Heard::default());
        assert_eq!(session.pin(), Some(Pin::SessionSetting), "{sql}");
    }
    for sql in [
        "-- nothing",
        "SELECT NOW() FROM t",
        "INSERT INTO t VALUES (1)",
        "FLUSH TABLES",
        "FLUSH PRIVILEGES",
        "SHOW GLOBAL STATUS",
        "SHOW TABLE STATUS",
        "CREATE TABLE t (a INT)",
        "CREATE USER u IDENTIFIED BY 'x'",
    ] {
        let mut session = fresh();
        run(&mut session, sql, Heard::default());
        assert_eq!(session.pin(), None, "{sql}");
    }
}

#[test]
fn what_is_known_to_leave_nothing_does_not_pin_and_what_leaves_something_does() {
    let after = |leaves, sql: &str| {
        let mut session = fresh();
        let facts = analyse(sql.as_bytes(), &session.dialect);
        session.after_leaving(leaves, sql.as_bytes(), &facts, Ran::Primary, &Heard::default());
        session.pin()
    };
    for sql in ["CALL p()", "SELECT f(1) FROM t"] {
        assert_eq!(after(Leaves::Nothing, sql), None, "{sql}");
        assert_eq!(after(Leaves::Unknown, sql), Some(Pin::SessionSetting), "{sql}");
    }
    let sql = "INSERT INTO with_trigger VALUES (1)";
    assert_eq!(after(Leaves::Something, sql), Some(Pin::SessionSetting));
    assert_eq!(after(Leaves::Unknown, sql), None);
    assert_eq!(after(Leaves::Nothing, "SELECT @a := 1"), Some(Pin::UserVariable), "its own words count");
}

#[test]
fn a_read_of_what_may_be_no_table_may_have_written() {
    let after = |heard| {
        let mut session = fresh();
        let mut facts = analyse(b"SELECT * FROM v", &session.dialect);
        facts.why = Some(clonelove_sql::Why::UnknownTable);
        session.after(b"SELECT * FROM v", &facts, Ran::Primary, &heard);
        session.own_writes
    };
    assert_eq!(after(Heard { plain_eof: true, ..Heard::default() }), OwnWrites::Unknown);
    let no_such_table = Heard { failed: true, error: Some(1146), ..Heard::default() };
    assert_eq!(after(no_such_table), OwnWrites::None);
}

#[test]
fn a_connection_is_kept_for_what_the_next_statement_may_ask() {
    let warned = || Heard { warnings: 1, ..Heard::default() };
    let kept = |flavour, then: &str| {
        let mut session = fresh();
        session.dialect.flavour = flavour;
        run(&mut session, "INSERT INTO t VALUES (1)", warned());
        assert!(session.held.is_some());
        run(&mut session, then, Heard::default());
        session.held.is_some()
    };
    let rows = [("SHOW WARNINGS", true, true), ("SELECT 1", true, false), ("SELECT 1 FROM t", false, false)];
    for (then, mariadb, mysql) in rows {
        assert_eq!((kept(Flavour::MariaDb, then), kept(Flavour::MySql, then)), (mariadb, mysql), "{then}");
    }
    let mut session = fresh();
    run(&mut session, "SELECT SQL_CALC_FOUND_ROWS * FROM t LIMIT 1", Heard::default());
    assert_eq!(session.shown_pin(), Some(Pin::Diagnostics));
    run(&mut session, "SELECT 1 FROM t", failed());
    assert_eq!((session.shown_pin(), session.traces.row_count), (Some(Pin::Diagnostics), -1));
}

#[test]
fn traces_are_what_a_server_would_say() {
    let mut session = fresh();
    run(&mut session, "SELECT * FROM t", Heard { rows: Some(3), ..Heard::default() });
    run(&mut session, "UPDATE t SET a = 1", Heard { affected_last: 2, ..Heard::default() });
    assert_eq!((session.traces.row_count, session.traces.found_rows), (2, 3));
    assert!(!session.traces.last_insert_id_moved);
    for (sql, rows, found) in [
        ("SELECT * FROM t LIMIT 20, 5", 3, 23),
        ("select * from t limit 5 offset 20;", 5, 25),
        ("SELECT * FROM t LIMIT 5", 5, 5),
        ("SELECT 1, 2", 1, 1),
        ("SELECT * FROM t ORDER BY a", 3, 3),
    ] {
        run(&mut session, sql, Heard { rows: Some(rows), ..Heard::default() });
        assert_eq!(session.traces.found_rows, found, "{sql}");
    }
    run(&mut session, "SHOW CREATE TABLE t", Heard { rows: Some(1), ..Heard::default() });
    run(&mut session, "DROP TABLE u", Heard::default());
    run(&mut session, "CREATE VIEW v AS SELECT 1", Heard::default());
    assert_eq!((session.traces.found_rows, session.traces.found_rows_moved), (3, false));
    for sql in ["CREATE TABLE u AS SELECT 1", "SET @a = (SELECT MAX(a) FROM t)"] {
        session.traces.found_rows_moved = false;
        run(&mut session, sql, Heard::default());
        assert!(session.traces.found_rows_moved, "{sql}");
    }
    session.answered_here();
    assert_eq!(session.traces.row_count, 0);
    run(&mut session, "INSERT INTO t VALUES (1)", Heard { insert_id: 5, ..Heard::default() });
    assert!(session.traces.last_insert_id_moved);
}

#[test]
fn a_setting_for_the_next_transaction_keeps_the_connection_until_then() {
    let mut session = fresh();
    run(&mut session, "SET TRANSACTION READ ONLY", Heard::default());
    assert_eq!(session.pin(), Some(Pin::SessionSetting));
    run(&mut session, "SELECT 1", Heard::default());
    assert!(session.once);
    run(&mut session, "SELECT 1 FROM t", Heard::default());
    assert_eq!(session.pin(), None);
}

#[test]
fn a_computed_setting_is_read_back() {
    let mut session = fresh();
    run(&mut session, "SET sql_mode = CONCAT(@@sql_mode, ',ANSI')", Heard::default());
    assert_eq!((session.unread.len(), session.pin()), (1, Some(Pin::SessionSetting)));
    session.read_back(Some(&[("sql_mode".to_owned(), "'ANSI'".to_owned())]));
    assert_eq!((session.unread.len(), session.pin(), session.journal.is_empty()), (0, None, false));
    run(&mut session, "SET time_zone = @@global.time_zone", Heard::default());
    session.read_back(None);
    assert_eq!(session.pin(), Some(Pin::SessionSetting));
}

#[test]
fn a_distributed_transaction_pins_until_it_ends() {
    let mut session = fresh();
    for sql in ["XA START 'a'", "XA END 'a'", "XA PREPARE 'a'"] {
        run(&mut session, sql, Heard::default());
        assert_eq!(session.pin(), Some(Pin::Xa), "{sql}");
    }
    run(&mut session, "xa  commit 'a'", Heard::default());
    assert_eq!(session.pin(), None);
}

#[test]
fn an_unexplained_state_change_pins() {
    let mut session = fresh();
    run(&mut session, "DELETE FROM t", Heard { state_changed: true, ..Heard::default() });
    assert_eq!(session.pin(), Some(Pin::SessionSetting));
    let mut session = fresh();
    run(&mut session, "SET NAMES utf8mb4", Heard { state_changed: true, ..Heard::default() });
    assert_eq!(session.pin(), None);
}
