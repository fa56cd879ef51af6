//! What changes transactions and settings, and what is left in a session.

use super::*;

#[test]
fn transaction_control() {
    check_all(
        "transaction/transaction_control",
        &[
            "BEGIN",
            "begin work",
            "START TRANSACTION",
            "START TRANSACTION READ ONLY, WITH CONSISTENT SNAPSHOT",
            "COMMIT",
            "COMMIT WORK AND NO CHAIN NO RELEASE",
            "ROLLBACK",
            "ROLLBACK AND CHAIN",
            "ROLLBACK TO SAVEPOINT a",
            "ROLLBACK WORK TO a",
            "SAVEPOINT savepoint_1",
            "RELEASE SAVEPOINT savepoint_1",
            "XA START 'a'",
            "XA COMMIT 'a' ONE PHASE",
            "LOCK TABLES t READ, u AS v LOW_PRIORITY WRITE",
            "UNLOCK TABLES",
            "SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ ONLY",
        ],
    );
    let begin = |read_only, consistent_snapshot| vec![Effect::Begin { read_only, consistent_snapshot }];
    effects("START TRANSACTION", &begin(None, false));
    effects("START TRANSACTION READ ONLY", &begin(Some(true), false));
    effects("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ WRITE", &begin(Some(false), true));
    effects("BEGIN WORK", &begin(None, false));
    effects("COMMIT AND CHAIN", &[Effect::Commit { chain: true, release: false }]);
    effects("COMMIT RELEASE", &[Effect::Commit { chain: false, release: true }]);
    effects("ROLLBACK AND NO CHAIN RELEASE", &[Effect::Rollback { chain: false, release: true }]);
    effects("ROLLBACK TO a", &[Effect::Savepoint]);
    effects("XA PREPARE 'a'", &[Effect::Xa]);
    effects("LOCK TABLES t READ", &[Effect::LockTables]);
    effects("UNLOCK TABLES", &[Effect::UnlockTables]);
    effects("SET TRANSACTION READ ONLY", &[Effect::SetTransactionOnce]);
    check_all(
        "unknown/unknown_statement",
        &[
            "BEGIN NOT ATOMIC DELETE FROM t; END",
            "COMMIT now",
            "START TRANSACTION READ",
            "BEGIN SELECT 1; END",
        ],
    );
    assert!(facts("BEGIN NOT ATOMIC SELECT 1; END; SELECT 2").all_tables);
    assert!(facts("BEGIN NOT ATOMIC SELECT 1; END; SELECT 2").parts.is_empty());
}

#[test]
fn settings() {
    check_all(
        "session/session_setting",
        &[
            "SET NAMES utf8mb4",
            "SET NAMES 'utf8mb4' COLLATE 'utf8mb4_bin'",
            "SET CHARACTER SET utf8",
            "SET CHARSET DEFAULT",
            "SET sql_mode = 'ANSI,TRADITIONAL'",
            "SET SESSION sql_mode := ''",
            "SET @@session.time_zone = '+00:00', @x = 5, autocommit = 1",
            "SET @a = 1",
            "SET @a = (SELECT MAX(b) FROM t)",
            "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
            "SET LOCAL TRANSACTION READ ONLY",
            "SET ROLE r",
            "USE d",
        ],
    );
    check_all(
        "admin/administrative",
        &[
            "SET GLOBAL max_connections = 5",
            "SET @@global.read_only = 1",
            "SET sql_mode = '', GLOBAL x = 1",
            "SET GLOBAL TRANSACTION READ ONLY",
            "SET PASSWORD = 'x'",
            "SET PASSWORD FOR 'a'@'b' = PASSWORD('x')",
            "SET DEFAULT ROLE r TO u",
        ],
    );
    check_mysql("admin/administrative", &["SET PERSIST a = 1", "SET @@persist_only.a = 1"]);
    check("SET @a = f(1)", "session/unknown_function");
    check("SET @a = GET_LOCK('x', 1)", "session/side_effect");
    check("SET @a = LAST_INSERT_ID()", "session/previous_statement");
    check_mariadb(
        "read/session_setting",
        &[
            "SET STATEMENT max_statement_time = 1 FOR SELECT * FROM t",
            "SET STATEMENT a=1, b='x' FOR (SELECT 1)",
        ],
    );
    check_mariadb("write/write", &["SET STATEMENT a = 1 FOR DELETE FROM t"]);
    check_all("unknown/unknown_statement", &["SET", "SET a", "SET a =", "SET foo bar = 1", "SET x.a.b.c"]);
}

#[test]
fn assignments_tell_what_is_set_to_what_sort_of_value() {
    use Value::{Computed, Default as DefaultValue, Literal};
    #[track_caller]
    fn assigned(sql: &str, expected: &[(Setting, Value)]) {
        let found = facts(sql).effects.iter().find_map(|effect| match effect {
            Effect::Settings(settings) => Some(settings.clone()),
            _ => None,
        });
        let expected: Vec<_> = expected
            .iter()
            .map(|(target, value)| Assignment { target: target.clone(), value: *value })
            .collect();
        assert_eq!(found.unwrap_or_default(), expected, "{sql}");
    }
    let variable = |name: &str| Setting::Variable(name.to_owned());
    let user = |name: &str| Setting::UserVariable(name.to_owned());
    assigned("SET NAMES utf8mb4", &[(Setting::Names, Literal)]);
    assigned("SET NAMES DEFAULT", &[(Setting::Names, DefaultValue)]);
    assigned("SET NAMES utf8, @a = 1", &[(Setting::Names, Literal), (user("a"), Literal)]);
    assigned("SET CHARACTER SET 'utf8'", &[(Setting::CharacterSet, Literal)]);
    assigned("SET sql_mode = 'ANSI'", &[(variable("sql_mode"), Literal)]);
    assigned("SET @@SQL_MODE = ANSI", &[(variable("sql_mode"), Literal)]);
    assigned("SET LOCAL Time_Zone = '+00:00'", &[(variable("time_zone"), Literal)]);
    assigned("SET @@local.time_zone = DEFAULT", &[(variable("time_zone"), DefaultValue)]);
    assigned(
        "SET a = -5, b = +1.5, c = 'x' 'y', d = _latin1'x', e = NULL, f = ON, g = `h`",
        &[
            (variable("a"), Literal),
            (variable("b"), Literal),
            (variable("c"), Literal),
            (variable("d"), Literal),
            (variable("e"), Literal),
            (variable("f"), Literal),
            (variable("g"), Literal),
        ],
    );
    for computed in [
        "@b",
        "@@b",
        "b + 1",
        "CONCAT(b)",
        "(SELECT 1)",
        "(1)",
        "1 + 1",
        "CURRENT_TIMESTAMP",
        "?",
        "'a' COLLATE x",
    ] {
        assigned(
            &format!("SET a = {computed}, c = 1"),
            &[(variable("a"), Computed), (variable("c"), Literal)],
        );
    }
    assigned("SET @A = 'x', @`b c` = NOW()", &[(user("a"), Literal), (user("b c"), Computed)]);
    assigned(
        "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ WRITE",
        &[(Setting::IsolationLevel, Literal), (Setting::AccessMode, Literal)],
    );
    assigned("SET ROLE DEFAULT", &[(Setting::Role, DefaultValue)]);
    assigned("SET ROLE `r`@`h`", &[(Setting::Role, Literal)]);
    // GLOBAL may or may not hold for what follows it.
    assigned("SET GLOBAL a = 1, b = 2", &[(variable("b"), Literal), (variable("b"), Literal)]);
    assigned("SET @@transaction_isolation = 'READ-COMMITTED'", &[]);
    let session_wide = [(variable("transaction_isolation"), Literal)];
    assigned("SET transaction_isolation = 'READ-COMMITTED'", &session_wide);
    assigned("SET SESSION tx_isolation = 'READ-COMMITTED'", &[(variable("tx_isolation"), Literal)]);
    effects("SET @@transaction_read_only = 1", &[Effect::SetTransactionOnce]);
    assert!(facts("SET autocommit = 0").effects.contains(&Effect::AutocommitOff));
    assert!(facts("SET @@session.autocommit = 'OFF'").effects.contains(&Effect::AutocommitOff));
    assert!(facts("SET autocommit = @x").effects.contains(&Effect::AutocommitOff));
    for on in ["1", "ON", "'on'", "TRUE"] {
        assert!(facts(&format!("SET autocommit = {on}")).effects.contains(&Effect::AutocommitOn), "{on}");
    }
    assert!(!facts("SET @a = 5").effects.contains(&Effect::UserVariableWritten));
    assert!(facts("SET @a = 5 + 1").effects.contains(&Effect::UserVariableWritten));
    assert!(facts("SET @a = (@b := 1)").effects.contains(&Effect::UserVariableWritten));
    tables("SET @a = (SELECT MAX(b) FROM t)", "t", "");
    effects("USE `My``Db`", &[Effect::UseSchema("My`Db".to_owned())]);
}

#[test]
fn prepared_statements_handlers_and_diagnostics() {
    check_all(
        "session/side_effect",
        &[
            "PREPARE s FROM 'SELECT 1'",
            "PREPARE s FROM @x",
            "DEALLOCATE PREPARE s",
            "DROP PREPARE s",
            "HANDLER t OPEN",
            "HANDLER d.t OPEN AS x",
            "HANDLER t CLOSE",
            "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'x'",
            "RESIGNAL",
        ],
    );
    check("HANDLER t READ FIRST WHERE a = 1", "read/side_effect");
    check("EXECUTE s USING @a, @b", "write/side_effect");
    check_mariadb("write/side_effect", &["EXECUTE IMMEDIATE 'DELETE FROM t'", "EXECUTE IMMEDIATE @x"]);
    check("GET DIAGNOSTICS @a = NUMBER", "session/previous_statement");
    check("GET CURRENT DIAGNOSTICS CONDITION 1 @a = MESSAGE_TEXT", "session/previous_statement");
    effects("PREPARE S FROM 'SELECT 1'", &[Effect::PrepareText("s".into())]);
    effects("EXECUTE s", &[Effect::ExecuteText("s".into())]);
    effects("EXECUTE IMMEDIATE 'x'", &[Effect::ExecuteText(String::new())]);
    effects("DROP PREPARE `s`", &[Effect::DeallocateText("s".into())]);
    effects("HANDLER d.T OPEN", &[Effect::HandlerOpen("t".into())]);
    effects("HANDLER t OPEN AS x", &[Effect::HandlerOpen("x".into())]);
    effects("HANDLER x CLOSE", &[Effect::HandlerClose("x".into())]);
}

#[test]
fn user_variables_are_listed() {
    let found = facts("SELECT @A, @`b c`, @'d', @a FROM t WHERE x = @e.f");
    assert_eq!(found.user_variables, ["a", "b c", "d", "e.f"]);
    assert!(facts("SELECT a FROM t WHERE b = 'x@y.z'").user_variables.is_empty());
    assert!(facts("SELECT @@sql_mode").user_variables.is_empty());
}
