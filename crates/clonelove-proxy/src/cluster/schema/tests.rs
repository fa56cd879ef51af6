use clonelove_sql::schema::Answers;
use clonelove_sql::{Dialect, Flavour, analyse};

use super::*;

fn schema(tables: &[&str]) -> Schema {
    let text = |values: &[&str]| values.iter().map(|value| Some((*value).to_owned())).collect::<Vec<_>>();
    let tables = tables.iter().map(|table| text(&["app", table, "BASE TABLE", "InnoDB"])).collect();
    let views = vec![text(&["app", "v", "select `app`.`t`.`a` AS `a` from `app`.`t`"])];
    let mut answers = Answers::from([
        ("tables", tables),
        ("views", views),
        ("routines", vec![text(&["app", "f", "FUNCTION", "NO SQL", "SQL", "RETURN 1", ""])]),
        ("grants", vec![text(&["GRANT ALL PRIVILEGES ON *.* TO `c`@`h`"])]),
    ]);
    answers.entry("tables").or_default().push(text(&["app", "v", "VIEW", ""]));
    Schema::build(Flavour::MariaDb, 101_119, &answers)
}

fn definitions() -> Arc<Definitions> {
    let definitions = Definitions::new(Metrics::new("0", "0").unwrap());
    let reading = definitions.begin();
    assert!(definitions.publish(schema(&["t", "u"]), &reading, true));
    definitions
}

fn why(definitions: &Definitions, sql: &str) -> Option<Why> {
    let facts = analyse(sql.as_bytes(), &Dialect::default());
    definitions.view().as_ref().unwrap().resolve(&facts, Some("app")).why
}

fn change(definitions: &Arc<Definitions>, sql: &str) -> Option<Changing> {
    let facts = analyse(sql.as_bytes(), &Dialect::default());
    Doubts::of(sql.as_bytes(), &facts, Some("app")).map(|doubts| definitions.changing(doubts))
}

/// A reading from its beginning to its end.
fn read(definitions: &Definitions, current: bool) {
    let reading = definitions.begin();
    definitions.publish(schema(&["t", "u"]), &reading, current);
}

#[test]
fn what_a_change_names_is_in_doubt_until_a_reading_that_began_after_it() {
    let definitions = definitions();
    assert_eq!(why(&definitions, "SELECT * FROM t"), None);
    let changing = change(&definitions, "RENAME TABLE t TO x").unwrap();
    assert_eq!(why(&definitions, "SELECT * FROM t"), Some(Why::UnknownTable));
    assert_eq!(why(&definitions, "SELECT * FROM u"), None, "it is not named");
    assert_eq!(
        why(&definitions, "SELECT * FROM v"),
        Some(Why::UnknownTable),
        "a view may be of anything now"
    );
    assert_eq!(why(&definitions, "SELECT f()"), Some(Why::UnknownFunction));
    assert_eq!(why(&definitions, "SELECT 1; SELECT f()"), Some(Why::UnknownFunction));
    read(&definitions, true);
    assert_eq!(why(&definitions, "SELECT * FROM t"), Some(Why::UnknownTable), "it is still under way");
    let begun_before = definitions.begin();
    drop(changing);
    assert_eq!(definitions.wish(), Wish::Certainly);
    definitions.publish(schema(&["t", "u"]), &begun_before, true);
    assert_eq!(
        why(&definitions, "SELECT * FROM t"),
        Some(Why::UnknownTable),
        "it was not over when that began"
    );
    assert!(definitions.in_doubt());
    read(&definitions, false);
    assert_eq!(
        why(&definitions, "SELECT * FROM t"),
        Some(Why::UnknownTable),
        "a replica may not have it yet"
    );
    read(&definitions, true);
    for sql in ["SELECT * FROM t", "SELECT * FROM v", "SELECT f()"] {
        assert_eq!(why(&definitions, sql), None, "{sql}");
    }
    assert!(!definitions.in_doubt());
}

#[test]
fn each_change_casts_its_own_doubts() {
    let after = |sql: &str, read: &str| {
        let definitions = definitions();
        let changing = change(&definitions, sql);
        let facts = analyse(read.as_bytes(), &Dialect::default());
        let resolved = definitions.view().as_ref().unwrap().resolve(&facts, Some("app"));
        drop(changing);
        (resolved.why, resolved.all_tables)
    };
    for sql in [
        "DROP DATABASE app",
        "RENAME TABLE u TO x, t TO u",
        "ALTER TABLE x RENAME TO t",
        "CREATE OR REPLACE VIEW app.T AS SELECT 1",
        "CREATE TABLE t LIKE u",
        "CREATE TABLE t (a INT) ENGINE = FEDERATED CONNECTION = 'x'",
        "CREATE TABLE t (a INT) engine=connect",
        "CREATE TABLE t (a INT, b INT AS (@a := a) VIRTUAL)",
        "SELECT 1; DROP TABLE t",
        "CREATE PROCEDURE p() SELECT 1; DROP TABLE t",
    ] {
        assert_eq!(after(sql, "SELECT * FROM t"), (Some(Why::UnknownTable), true), "{sql}");
        assert_eq!(after(sql, "SELECT f()").0, Some(Why::UnknownFunction), "{sql}");
    }
    for sql in [
        "CREATE FUNCTION g() RETURNS INT RETURN 1",
        "CREATE PROCEDURE p() BEGIN SELECT 1; UPDATE t SET a = 1; END",
        "CREATE DATABASE other",
        "DROP VIEW other.t",
    ] {
        assert_eq!(after(sql, "SELECT * FROM t"), (None, false), "{sql}");
        assert_eq!(after(sql, "SELECT * FROM v").0, Some(Why::UnknownTable), "{sql}");
        assert_eq!(after(sql, "SELECT f()").0, Some(Why::UnknownFunction), "{sql}");
        assert!(after(sql, "INSERT INTO u VALUES (1)").1, "{sql}");
    }
    // What is a table, or gone, may be read anywhere; only which columns it has is in doubt.
    for sql in [
        "CREATE TABLE app.T (a INT, PRIMARY KEY (a)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",
        "ALTER TABLE t ADD c INT",
        "/* x */ drop table if exists T",
        "CREATE UNIQUE INDEX i ON t (a)",
    ] {
        assert_eq!(after(sql, "SELECT * FROM t"), (None, true), "{sql}");
        assert_eq!(after(sql, "SELECT * FROM u"), (None, false), "{sql}");
        assert_eq!(after(sql, "SELECT f()"), (None, false), "{sql}");
        assert!(!after(sql, "INSERT INTO u VALUES (1)").1, "{sql}");
    }
    assert_eq!(after("CREATE TABLE fresh (a INT)", "SELECT * FROM fresh"), (None, true));
    assert!(after("CREATE TABLE x (a INT REFERENCES u (a))", "DELETE FROM u").1, "cascades reach further");
    for sql in [
        "TRUNCATE TABLE t",
        "/* x */ truncate t",
        "INSERT INTO t VALUES (1)",
        "CREATE TEMPORARY TABLE t (a INT)",
    ] {
        assert_eq!(after(sql, "SELECT * FROM t"), (None, false), "{sql}");
        assert_eq!(after(sql, "SELECT f()"), (None, false), "{sql}");
    }
    let definitions = definitions();
    let facts = analyse(b"INSERT INTO t VALUES (1)", &Dialect::default());
    let wide = || definitions.view().as_ref().unwrap().resolve(&facts, Some("app")).all_tables;
    assert!(!wide());
    let changing = change(&definitions, "CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW DELETE FROM u");
    assert!(wide(), "a trigger may be new");
    drop(changing);
}

#[test]
fn many_changes_at_once_put_everything_in_doubt() {
    let definitions = definitions();
    for number in 0..=MOST_CHANGES {
        drop(change(&definitions, &format!("DROP TABLE x{number}")));
    }
    assert!(definitions.state.lock().changes.len() < 3);
    assert_eq!(why(&definitions, "SELECT * FROM t"), Some(Why::UnknownTable));
    assert_eq!(why(&definitions, "SELECT 1"), None, "what uses no definition is beyond doubt");
    read(&definitions, true);
    assert_eq!(why(&definitions, "SELECT * FROM t"), None);
}

#[test]
fn the_number_of_a_snapshot_grows_only_with_its_content() {
    let definitions = definitions();
    assert_eq!(definitions.generation(), 1);
    read(&definitions, true);
    assert_eq!(definitions.generation(), 1);
    let reading = definitions.begin();
    assert!(definitions.publish(schema(&["t", "u", "w"]), &reading, true));
    assert_eq!(definitions.generation(), 2);
}

#[test]
fn a_reading_that_finds_what_was_asked_for_was_not_in_vain() {
    let definitions = definitions();
    let ask = |name: &str| definitions.ask_for(std::iter::once(TableId::of("app", name)));
    ask("t");
    assert_eq!(definitions.wish(), Wish::Perhaps);
    let reading = definitions.begin();
    assert_eq!(definitions.wish(), Wish::No);
    assert!(definitions.publish(schema(&["t", "u"]), &reading, true));
    ask("nowhere");
    let reading = definitions.begin();
    assert!(!definitions.publish(schema(&["t", "u"]), &reading, true));
    definitions.ask(true);
    definitions.ask(false);
    assert_eq!(definitions.wish(), Wish::Certainly);
    (0..100).for_each(|number| ask(&number.to_string()));
    assert_eq!(definitions.state.lock().asked.len(), MOST_ASKED);
}

#[test]
fn only_what_the_snapshot_does_not_hold_is_missed() {
    let definitions = definitions();
    let view = definitions.view().clone().unwrap();
    let named = |schema: Option<&str>, name: &str| TableName {
        schema: schema.map(str::to_owned),
        name: name.to_owned(),
    };
    let unknown = [named(None, "t"), named(None, "x"), named(Some("app"), "v"), named(Some("other"), "t")];
    let missed: Vec<TableId> = view.missed(unknown.iter(), Some("app")).collect();
    assert_eq!(missed, [TableId::of("app", "x"), TableId::of("other", "t")]);
}
