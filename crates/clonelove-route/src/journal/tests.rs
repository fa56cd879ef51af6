use super::*;
use clonelove_sql::{Dialect, analyse};

fn carry(journal: &Journal, sql: &str) -> Carry {
    let facts = analyse(sql.as_bytes(), &Dialect::default());
    journal.note(sql.as_bytes(), &facts, &Dialect::default())
}

fn after(statements: &[&str]) -> Journal {
    statements.iter().fold(Journal::default(), |journal, sql| match carry(&journal, sql) {
        Carry::Replay(next) => next,
        other => panic!("{sql}: {other:?}"),
    })
}

fn texts(statements: Vec<Vec<u8>>) -> Vec<String> {
    statements.into_iter().map(|sql| String::from_utf8(sql).unwrap()).collect()
}

fn way(from: &[&str], to: &[&str]) -> Option<Vec<String>> {
    match after(to).way_from(&after(from), false) {
        Way::Say(statements) => Some(texts(statements)),
        _ => None,
    }
}

const DRUPAL: [&str; 3] = [
    "SET NAMES utf8mb4 COLLATE utf8mb4_general_ci",
    "SET sql_mode = 'ANSI,TRADITIONAL'",
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
];

#[test]
fn a_later_setting_supersedes_an_earlier_one() {
    let mut journal = after(&["SET sql_mode = 'ANSI,TRADITIONAL'", DRUPAL[2]]);
    for i in 0..1_000 {
        let Carry::Replay(next) = carry(&journal, &format!("SET @a = {i}")) else { panic!("{i}") };
        journal = next;
    }
    let Carry::Replay(journal) = carry(&journal, "SET sql_mode = ''") else { panic!() };
    assert_eq!(
        texts(journal.way_from_nothing(false)),
        ["SET SESSION tx_isolation = 'READ-COMMITTED', @a = 999, sql_mode = ''"]
    );
}

#[test]
fn equal_states_are_equal_whoever_made_them() {
    let (one, other) = (after(&DRUPAL), after(&DRUPAL));
    assert_eq!((one.id(), &one), (other.id(), &other));
    assert_ne!(after(&DRUPAL[..2]), one);
    assert_eq!(one.way_from(&other, false), Way::Say(vec![]));
}

#[test]
fn settings_that_stand_beside_others_share_a_statement() {
    assert_eq!(
        texts(after(&DRUPAL).way_from_nothing(true)),
        ["SET NAMES utf8mb4 COLLATE utf8mb4_general_ci, sql_mode = 'ANSI,TRADITIONAL', \
          SESSION tx_isolation = 'READ-COMMITTED'"]
    );
    let apart =
        after(&["SET @a = 1", "SET /* x */ @b = 1", "SET SESSION TRANSACTION READ WRITE", "set @c=2 ;"]);
    assert_eq!(
        texts(apart.way_from_nothing(false)),
        ["SET @a = 1", "SET /* x */ @b = 1", "SET SESSION TRANSACTION READ WRITE", "SET @c=2"]
    );
}

#[test]
fn only_what_differs_is_said() {
    assert_eq!(way(&DRUPAL[..2], &DRUPAL).unwrap(), ["SET SESSION tx_isolation = 'READ-COMMITTED'"]);
    assert_eq!(way(&["SET sql_mode = ''"], &["SET sql_mode = 'ANSI'"]).unwrap(), ["SET sql_mode = 'ANSI'"]);
    assert_eq!(
        way(&["SET collation_connection = utf8mb4_bin"], &["SET NAMES latin1"]).unwrap(),
        ["SET NAMES latin1"]
    );
}

#[test]
fn what_only_the_other_state_has_needs_a_reset() {
    assert_eq!(way(&DRUPAL, &DRUPAL[..2]), None);
    assert_eq!(way(&["SET @a = 1"], &[]), None);
    assert_eq!(way(&["SET NAMES latin1"], &["SET character_set_client = latin1"]), None);
}

#[test]
fn what_hangs_on_what_was_before_is_not_said_after_something_else() {
    assert_eq!(way(&["SET sql_mode = ''"], &["SET sql_mode = 'ANSI'", "SET time_zone = \"+01:00\""]), None);
    let colour = "SET character_set_collations = 'utf8mb4=uca1400_ai_ci'";
    assert_eq!(way(&[colour], &["SET NAMES utf8mb4", colour]), None);
    let journal = after(&["SET sql_mode = ''", "SET time_zone = \"+01:00\"", "SET sql_mode = 'ANSI'"]);
    assert_eq!(texts(journal.way_from_nothing(false)).len(), 3);
}

#[test]
fn a_repeated_setting_adds_nothing() {
    let mut journal = after(&["SET sql_mode = ''"]);
    for _ in 0..1_000 {
        let Carry::Replay(next) = carry(&journal, "SET time_zone = \"+01:00\"") else { panic!() };
        journal = next;
    }
    assert_eq!(journal.0.entries.len(), 2);
}

#[test]
fn a_setting_of_a_part_is_carried_as_a_whole() {
    let switch = "SET optimizer_switch = 'materialization=off'";
    assert_eq!(carry(&Journal::default(), switch), Carry::ByValue(vec!["optimizer_switch".to_owned()]));
}

#[test]
fn what_cannot_be_replayed_stays_here() {
    for sql in [
        "SET timestamp = 1",
        "SET gtid_domain_id = 2",
        "SET insert_id = 5",
        "SET optimizer_trace = 'enabled=on'",
        "SET profiling = 1",
    ] {
        assert_eq!(carry(&Journal::default(), sql), Carry::Here(Unportable::Setting), "{sql}");
    }
    assert_eq!(carry(&Journal::default(), "SET @a = NOW()"), Carry::Here(Unportable::UserVariable));
    assert_eq!(
        carry(&Journal::default(), "SET @a = 1, sql_mode = CONCAT(@@sql_mode, '')"),
        Carry::Here(Unportable::Setting)
    );
}

#[test]
fn what_clients_are_told_of_their_sessions_is_no_servers_business() {
    let journal = after(&["SET sql_mode = ''"]);
    assert_eq!(carry(&journal, "SET session_track_schema = 0"), Carry::Replay(journal.clone()));
    assert_eq!(
        carry(&journal, "SET session_track_schema = 0, time_zone = '+01:00'"),
        Carry::ByValue(vec!["time_zone".into()])
    );
}

#[test]
fn what_the_text_does_not_tell_is_read_back() {
    for sql in ["SET sql_mode = DEFAULT", "SET sql_mode = CONCAT(@@sql_mode, ',ANSI')"] {
        assert_eq!(carry(&Journal::default(), sql), Carry::ByValue(vec!["sql_mode".into()]), "{sql}");
    }
    let Carry::ByValue(names) = carry(&Journal::default(), "SET CHARACTER SET utf8mb4") else { panic!() };
    assert_eq!(names, NAMES);
    let values =
        [("sql_mode".to_owned(), "'ANSI'".to_owned()), ("group_concat_max_len".to_owned(), "7".to_owned())];
    let Carry::Replay(journal) = Journal::default().note_values(&values) else { panic!() };
    assert_eq!(
        texts(journal.way_from_nothing(false)),
        ["SET SESSION sql_mode = 'ANSI', SESSION group_concat_max_len = 7"]
    );
}

#[test]
fn the_access_mode_is_for_the_primary() {
    let journal = after(&["SET SESSION TRANSACTION READ WRITE", "SET autocommit = 0"]);
    assert_eq!(journal.way_from_nothing(true).len(), 0);
    assert_eq!(journal.way_from_nothing(false).len(), 2);
}

#[test]
fn a_role_outlives_a_reset() {
    let role = after(&["SET ROLE r"]);
    assert!(role.outlives_reset());
    assert_eq!(Journal::default().way_from(&role, false), Way::Never);
    assert_eq!(way(&["SET ROLE r"], &["SET ROLE s"]).unwrap(), ["SET ROLE s"]);
}
