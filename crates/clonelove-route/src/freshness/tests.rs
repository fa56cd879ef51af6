//! Shows that watermarks ask for enough, always, and for no more where the rules say so.

use std::time::Duration;

use clonelove_sql::keys::{Keys, Session, independent, of_read, of_write};
use clonelove_sql::schema::Answers;
use clonelove_sql::{Dialect, Schema, TableId, TableSet, analyse};
use proptest::prelude::*;

use super::*;
use crate::report::Flavour;

const NOW: Duration = Duration::from_secs(1);

fn at(text: &str) -> Position {
    Position::parse(Flavour::MariaDb, text).unwrap()
}

fn table(name: &str) -> TableId {
    TableId::of("d", name)
}

fn set(names: &[&str]) -> TableSet {
    let mut set = TableSet::default();
    names.iter().for_each(|name| set.add(table(name)));
    set
}

fn writes(names: &[&str]) -> Writes {
    Writes { tables: names.iter().map(|name| table(name)).collect(), ..Writes::default() }
}

fn reads(tables: &TableSet) -> Reads<'_> {
    Reads { all: false, definitions: false, tables, keys: None }
}

/// An epoch that begins at 0-1-10.
fn begun() -> Freshness {
    let mut freshness = Freshness::new(1_000, Rules::all());
    freshness.begin(Some(&at("0-1-10")), NOW);
    freshness
}

fn may_read(freshness: &Freshness, server: usize, names: &[&str]) -> bool {
    match freshness.need(&reads(&set(names)), 0) {
        Need::Stamp(stamp) => freshness.has(server, stamp),
        Need::Primary(_) => false,
    }
}

#[test]
fn nothing_may_be_read_before_the_primarys_position_is_known() {
    let freshness = Freshness::new(10, Rules::all());
    assert_eq!(freshness.need(&reads(&set(&["t"])), 0), Need::Primary(Kept::NoFloor));
}

#[test]
fn a_server_below_the_floor_gets_no_read() {
    let mut freshness = begun();
    assert!(!may_read(&freshness, 0, &["t"]), "its position is not known");
    freshness.applied(0, Some(&at("0-1-9")));
    assert!(!may_read(&freshness, 0, &["t"]));
    freshness.applied(0, Some(&at("0-1-10")));
    assert!(may_read(&freshness, 0, &["t"]));
    freshness.applied(0, None);
    assert!(!may_read(&freshness, 0, &["t"]), "its position is void");
}

#[test]
fn a_write_keeps_reads_of_its_tables_from_servers_that_lack_it_and_no_others() {
    let mut freshness = begun();
    freshness.applied(0, Some(&at("0-1-10")));
    freshness.raise(&writes(&["t"]), &at("0-1-11"), NOW);
    assert!(!may_read(&freshness, 0, &["t"]) && !may_read(&freshness, 0, &["u", "t"]));
    assert!(may_read(&freshness, 0, &["u"]) && may_read(&freshness, 0, &[]));
    let any = set(&[]);
    let all = Reads { all: true, ..reads(&any) };
    assert_eq!(freshness.need(&all, 0), Need::Stamp(freshness.last()));
    freshness.applied(0, Some(&at("0-1-11")));
    assert!(may_read(&freshness, 0, &["t"]));
}

#[test]
fn what_any_read_may_depend_on_keeps_all_of_them() {
    for everything in [Writes::anything(), Writes { accounts: true, ..Writes::default() }] {
        let mut freshness = begun();
        freshness.applied(0, Some(&at("0-1-10")));
        freshness.raise(&everything, &at("0-1-11"), NOW);
        assert!(!may_read(&freshness, 0, &["t"]), "{everything:?}");
        assert_eq!(may_read(&freshness, 0, &[]), !everything.accounts, "{everything:?}");
    }
    let mut freshness = begun();
    freshness.applied(0, Some(&at("0-1-10")));
    freshness.raise(&Writes { definitions: true, ..writes(&["t"]) }, &at("0-1-11"), NOW);
    let none = set(&[]);
    let of_definitions = Reads { definitions: true, ..reads(&none) };
    assert_ne!(freshness.need(&of_definitions, 0), freshness.need(&reads(&none), 0));
}

#[test]
fn positions_are_vectors_and_sets() {
    let mut freshness = begun();
    freshness.raise(&writes(&["t"]), &at("1-1-5"), NOW);
    freshness.applied(0, Some(&at("0-1-99")));
    assert!(!may_read(&freshness, 0, &["t"]), "the other domain is not there");
    freshness.applied(0, Some(&at("0-1-99,1-1-5")));
    assert!(may_read(&freshness, 0, &["t"]));

    let of = |text: &str| Position::parse(Flavour::MySql, text).unwrap();
    let uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    let mut freshness = Freshness::new(10, Rules::all());
    freshness.begin(Some(&of(&format!("{uuid}:1-10"))), NOW);
    freshness.raise(&writes(&["t"]), &of(&format!("{uuid}:11")), NOW);
    freshness.applied(0, Some(&of(&format!("{uuid}:1-10:12-13"))));
    assert!(!may_read(&freshness, 0, &["t"]), "applied out of order: 11 is missing");
    freshness.applied(0, Some(&of(&format!("{uuid}:1-13"))));
    assert!(may_read(&freshness, 0, &["t"]));
}

#[test]
fn what_is_in_doubt_is_the_primarys_until_it_has_told() {
    let mut freshness = begun();
    freshness.applied(0, Some(&at("0-1-10")));
    freshness.doubt(writes(&["t"]));
    let asked = freshness.doubts_upto();
    freshness.doubt(writes(&["u"]));
    let need = |freshness: &Freshness, name| freshness.need(&reads(&set(&[name])), 0);
    assert_eq!(need(&freshness, "t"), Need::Primary(Kept::InDoubt));
    assert!(may_read(&freshness, 0, &["v"]));
    freshness.settle_doubts(asked, &at("0-1-12"), NOW);
    assert!(matches!(need(&freshness, "t"), Need::Stamp(_)) && !may_read(&freshness, 0, &["t"]));
    assert_eq!(need(&freshness, "u"), Need::Primary(Kept::InDoubt), "it came up after the question");
    freshness.applied(0, Some(&at("0-1-12")));
    assert!(may_read(&freshness, 0, &["t"]));
}

#[test]
fn a_session_that_may_have_seen_a_write_under_way_stays_with_the_primary() {
    let mut freshness = begun();
    freshness.applied(0, Some(&at("0-1-10")));
    let before = freshness.next_pending();
    let id = freshness.begin_pending(writes(&["t"]));
    let after = freshness.next_pending();
    let t = set(&["t"]);
    assert_eq!(freshness.need(&reads(&t), after), Need::Primary(Kept::Pending));
    assert!(matches!(freshness.need(&reads(&t), before), Need::Stamp(_)), "it saw nothing since");
    assert!(matches!(freshness.need(&reads(&set(&["u"])), after), Need::Stamp(_)));
    freshness.end_pending(id);
    assert!(matches!(freshness.need(&reads(&t), after), Need::Stamp(_)));
}

#[test]
fn what_no_replica_will_ever_have_stays_until_its_definition_changes() {
    let mut freshness = begun();
    freshness.applied(0, Some(&at("0-1-99")));
    freshness.unlogged(&writes(&["t"]));
    assert_eq!(freshness.need(&reads(&set(&["t"])), 0), Need::Primary(Kept::Unlogged));
    freshness.raise(&writes(&["t"]), &at("0-1-11"), NOW);
    assert_eq!(freshness.need(&reads(&set(&["t"])), 0), Need::Primary(Kept::Unlogged));
    freshness.raise(&Writes { definitions: true, ..writes(&["t"]) }, &at("0-1-12"), NOW);
    assert!(may_read(&freshness, 0, &["t"]));
}

#[test]
fn an_epoch_forgets_the_history_before_it() {
    let mut freshness = begun();
    freshness.applied(0, Some(&at("0-1-10")));
    freshness.raise(&writes(&["t"]), &at("0-1-500"), NOW);
    freshness.begin(Some(&at("0-2-100")), NOW);
    assert!(!may_read(&freshness, 0, &["u"]));
    freshness.applied(0, Some(&at("0-2-100")));
    assert!(may_read(&freshness, 0, &["t"]), "the write of before is no one's any more");
}

#[test]
fn without_positions_nothing_is_promised_and_nothing_held_back() {
    let mut freshness = Freshness::new(10, Rules::all());
    freshness.begin(None, NOW);
    freshness.doubt(writes(&["t"]));
    assert!(!freshness.promises() && may_read(&freshness, 3, &["t"]));
}

#[test]
fn forgetting_raises_the_floor() {
    let mut freshness = begun();
    for server in 0..3 {
        freshness.applied(server, Some(&at("0-1-10")));
    }
    freshness.raise(&writes(&["t"]), &at("0-1-11"), NOW);
    freshness.raise(&writes(&["u"]), &at("0-1-12"), NOW);
    freshness.applied(0, Some(&at("0-1-12")));
    freshness.applied(1, Some(&at("0-1-11")));
    freshness.forget([0, 1].into_iter());
    assert_eq!(freshness.counts().tables, 1, "t's is forgotten");
    assert!(may_read(&freshness, 1, &["t"]) && !may_read(&freshness, 1, &["u"]));
    assert!(!may_read(&freshness, 2, &["v"]), "server 2 lacks what was forgotten");
    freshness.applied(2, Some(&at("0-1-11")));
    assert!(may_read(&freshness, 2, &["v"]));
}

#[test]
fn a_position_that_was_void_is_measured_from_the_beginning() {
    let mut freshness = begun();
    for number in 11..40 {
        freshness.raise(&writes(&["t"]), &at(&format!("0-1-{number}")), NOW);
    }
    freshness.applied(0, Some(&at("0-1-39")));
    freshness.applied(0, None);
    freshness.applied(0, Some(&at("0-1-20")));
    assert!(!may_read(&freshness, 0, &["t"]));
    assert_eq!(freshness.position_towards(0, freshness.last()), Some(&at("0-1-39")));
}

#[test]
fn a_log_that_is_too_long_asks_for_more_never_for_less() {
    let mut freshness = begun();
    let mut stamps = Vec::new();
    for number in 11_u64..100_011 {
        stamps.push((number, freshness.raise(&writes(&["t"]), &at(&format!("0-1-{number}")), NOW)));
    }
    assert!(freshness.log.len() <= 40_000, "{}", freshness.log.len());
    for (number, stamp) in stamps.iter().step_by(997) {
        freshness.applied(0, None);
        freshness.applied(0, Some(&at(&format!("0-1-{}", number - 1))));
        assert!(!freshness.has(0, *stamp), "{number}");
        freshness.applied(0, None);
        freshness.applied(0, Some(&at(&format!("0-1-{}", number + 100_000))));
        assert!(freshness.has(0, *stamp), "{number}");
    }
}

#[test]
fn lag_is_the_age_of_the_oldest_write_that_is_missing() {
    let mut freshness = begun();
    freshness.applied(0, Some(&at("0-1-10")));
    assert_eq!(freshness.lag(0, Duration::from_secs(9)), Some(Duration::ZERO));
    freshness.raise(&writes(&["t"]), &at("0-1-11"), Duration::from_secs(3));
    freshness.raise(&writes(&["t"]), &at("0-1-12"), Duration::from_secs(8));
    assert_eq!(freshness.lag(0, Duration::from_secs(9)), Some(Duration::from_secs(6)));
    freshness.applied(0, Some(&at("0-1-11")));
    assert_eq!(freshness.lag(0, Duration::from_secs(9)), Some(Duration::from_secs(1)));
    assert_eq!(freshness.lag(1, Duration::from_secs(9)), None);
}

fn keys_of(schema: &Schema, sql: &str) -> Option<Keys> {
    let dialect = Dialect::default();
    let session = Session { dialect: &dialect, schema: Some("d"), plain_charsets: true };
    let facts = analyse(sql.as_bytes(), &dialect);
    of_read(sql.as_bytes(), &facts, schema, session)
        .or_else(|| of_write(sql.as_bytes(), &facts, schema, session))
}

/// `d.t (a INT PRIMARY KEY, b INT, x INT, KEY (b))`, as a server tells of it to an account that sees everything.
fn one_table() -> Schema {
    let row = |values: &[&str]| {
        values.iter().map(|value| (*value != "NULL").then(|| (*value).to_owned())).collect()
    };
    let column = |name, place| row(&["d", "t", name, place, "int", "int", "NULL", "NULL", "", "NULL"]);
    let answers = Answers::from([
        ("grants", vec![row(&["GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost` WITH GRANT OPTION"])]),
        ("tables", vec![row(&["d", "t", "BASE TABLE", "InnoDB"])]),
        ("columns", vec![column("a", "1"), column("b", "2"), column("x", "3")]),
        (
            "indexes",
            vec![
                row(&["d", "t", "PRIMARY", "0", "1", "a", "NULL"]),
                row(&["d", "t", "b", "1", "1", "b", "NULL"]),
            ],
        ),
    ]);
    Schema::build(Flavour::MariaDb, 101_119, &answers)
}

fn write_texts() -> impl Strategy<Value = String> {
    let value = 0..4_u32;
    prop_oneof![
        value.clone().prop_map(|v| format!("UPDATE t SET x = 1 WHERE a = {v}")),
        value.clone().prop_map(|v| format!("DELETE FROM t WHERE b = {v}")),
        (value.clone(), value.clone()).prop_map(|(v, w)| format!("DELETE FROM t WHERE a = {v} AND b = {w}")),
        (value.clone(), value.clone()).prop_map(|(v, w)| format!("UPDATE t SET x = 2 WHERE b IN ({v}, {w})")),
        (value.clone(), value).prop_map(|(v, w)| format!("INSERT INTO t (a, b, x) VALUES ({v}, {w}, 3)")),
        Just("UPDATE t SET x = x + 1".to_owned()),
    ]
}

fn read_texts() -> impl Strategy<Value = String> {
    let value = 0..4_u32;
    prop_oneof![
        value.clone().prop_map(|v| format!("SELECT * FROM t WHERE a = {v}")),
        value.clone().prop_map(|v| format!("SELECT * FROM t WHERE b = {v}")),
        (value.clone(), value)
            .prop_map(|(v, w)| format!("SELECT * FROM t WHERE a IN ({v}, {w}) AND b = {v}")),
        Just("SELECT COUNT(*) FROM t".to_owned()),
    ]
}

proptest! {
    /// Whatever is written and read: a read needs each write before it that it depends on; where both are bounded by
    /// one column alone, no other.
    #[test]
    fn a_read_needs_every_write_it_depends_on(
        written in prop::collection::vec(write_texts(), 1..30),
        read in read_texts(),
        limit in prop_oneof![Just(1_000_usize), 0..6_usize],
    ) {
        let schema = one_table();
        let mut freshness = Freshness::new(limit, Rules::all());
        freshness.begin(Some(&at("0-1-1")), NOW);
        let t = set(&["t"]);
        let read_keys = keys_of(&schema, &read);
        let mut least = 0;
        for (number, sql) in written.iter().enumerate() {
            let keys = keys_of(&schema, sql);
            let depends = match (&read_keys, &keys) {
                (Some(read), Some(write)) => !independent(read, write),
                _ => true,
            };
            let mut writes = Writes::default();
            match keys {
                Some(keys) => writes.keyed.push(keys),
                None => writes.add_table(table("t")),
            }
            let stamp = freshness.raise(&writes, &at(&format!("0-1-{}", number + 2)), NOW);
            if depends {
                least = stamp;
            }
        }
        let need = freshness.need(&Reads { keys: read_keys.as_ref(), ..reads(&t) }, 0);
        let Need::Stamp(need) = need else { panic!("nothing is in doubt") };
        prop_assert!(need >= least, "{read}: {need} < {least} after {written:?}");
    }

    #[test]
    fn bounds_are_no_wider_than_they_must_be(values in prop::collection::vec(0..50_u32, 1..40), asked in 0..50_u32) {
        let schema = one_table();
        let mut freshness = begun();
        let mut expected = 1;
        for (number, value) in values.iter().enumerate() {
            let keys = keys_of(&schema, &format!("UPDATE t SET x = 1 WHERE a = {value}")).unwrap();
            let writes = Writes { keyed: vec![keys], ..Writes::default() };
            let stamp = freshness.raise(&writes, &at(&format!("0-1-{}", number + 11)), NOW);
            if *value == asked {
                expected = stamp;
            }
        }
        let keys = keys_of(&schema, &format!("SELECT * FROM t WHERE a = {asked}"));
        let t = set(&["t"]);
        let need = freshness.need(&Reads { keys: keys.as_ref(), ..reads(&t) }, 0);
        prop_assert_eq!(need, Need::Stamp(expected));
    }
}

#[test]
fn too_many_keys_give_way_to_their_table() {
    let schema = one_table();
    let mut freshness = Freshness::new(100, Rules::all());
    freshness.begin(Some(&at("0-1-10")), NOW);
    for number in 11_u64..200 {
        let keys = keys_of(&schema, &format!("UPDATE t SET x = 1 WHERE a = {number}")).unwrap();
        let writes = Writes { keyed: vec![keys], ..Writes::default() };
        freshness.raise(&writes, &at(&format!("0-1-{number}")), NOW);
        assert!(freshness.counts().keys <= 100);
    }
    assert!(freshness.counts().overflows >= 100);
    let keys = keys_of(&schema, "SELECT * FROM t WHERE a = 11");
    let t = set(&["t"]);
    let Need::Stamp(need) = freshness.need(&Reads { keys: keys.as_ref(), ..reads(&t) }, 0) else {
        panic!("nothing is in doubt")
    };
    freshness.applied(0, Some(&at("0-1-11")));
    assert!(!freshness.has(0, need), "what was forgotten of one key is the table's");
}

#[test]
fn a_server_that_lacked_older_writes_a_moment_ago_is_not_waited_for() {
    let ms = Duration::from_millis;
    let (wait, begin) = (ms(5), NOW);
    let mut freshness = begun();
    freshness.applied(0, Some(&at("0-1-10")));
    let first = freshness.raise(&writes(&["t"]), &at("0-1-11"), begin);
    assert!(freshness.may_have_soon(0, first, wait, begin), "it has told nothing since");
    freshness.told(0, begin + ms(4));
    assert!(freshness.may_have_soon(0, first, wait, begin + ms(4)), "it may be as quick as a healthy one");
    freshness.told(0, begin + ms(20));
    assert!(!freshness.may_have_soon(0, first, wait, begin + ms(21)), "it is later than that");
    // It is always 20 ms behind, and so it will have what is 16 ms old in 4.
    let second = freshness.raise(&writes(&["t"]), &at("0-1-12"), begin + ms(5));
    assert!(!freshness.may_have_soon(0, second, wait, begin + ms(15)));
    assert!(freshness.may_have_soon(0, second, wait, begin + ms(21)));
    assert!(freshness.may_have_soon(0, first, wait, begin + ms(400)), "nobody knows how it is now");
    freshness.applied(0, Some(&at("0-1-12")));
    freshness.told(0, begin + ms(410));
    assert!(freshness.may_have_soon(0, second, wait, begin + ms(411)), "it lacks nothing");
    freshness.told(0, begin + ms(420));
    freshness.applied(0, None);
    assert!(freshness.may_have_soon(0, first, wait, begin + ms(421)), "nothing is known of it");
}

#[test]
fn what_is_of_a_former_history_says_nothing_until_it_is_set_back() {
    let mut freshness = begun();
    freshness.applied(0, Some(&at("0-1-30")));
    freshness.applied(1, Some(&at("0-1-2")));
    freshness.begin_anew(&at("0-1-3"), NOW);
    freshness.raise(&writes(&["t"]), &at("0-1-4"), NOW);
    assert!(!may_read(&freshness, 0, &["t"]) && !may_read(&freshness, 0, &["u"]));
    freshness.applied(0, Some(&at("0-1-31")));
    assert!(!may_read(&freshness, 0, &["t"]), "it went on in the former history");
    freshness.applied(0, None);
    freshness.applied(0, Some(&at("0-1-31")));
    assert!(!may_read(&freshness, 0, &["t"]), "and was restarted");
    freshness.applied(1, Some(&at("0-1-4")));
    assert!(may_read(&freshness, 1, &["t"]), "who was below it belongs to the new one");
    freshness.applied(0, Some(&at("0-1-3")));
    freshness.applied(0, Some(&at("0-1-4")));
    assert!(may_read(&freshness, 0, &["t"]), "it was set back");
}

#[test]
fn a_position_from_before_its_statement_was_sent_is_none_of_it() {
    let mut freshness = begun();
    freshness.applied(0, Some(&at("0-1-30")));
    freshness.raise(&writes(&["t"]), &at("0-1-20"), NOW);
    let sent = freshness.last();
    assert!(!freshness.was_known(&at("0-1-21"), sent));
    assert!(freshness.was_known(&at("0-1-20"), sent) && freshness.was_known(&at("0-1-1"), sent));
    // Others became known while it was under way.
    freshness.raise(&writes(&["u"]), &at("0-1-22"), NOW);
    assert!(!freshness.was_known(&at("0-1-21"), sent), "it was told late, and that is all");
    assert!(freshness.was_known(&at("0-1-21"), freshness.last()));

    let must_have = freshness.must_have().unwrap();
    freshness.suspect();
    assert!(!may_read(&freshness, 0, &["t"]) && !freshness.has(0, 0) && freshness.is_in_doubt());
    // It goes on: the position was another statement's.
    assert!(at("0-1-22").covers(&must_have) && !at("0-1-2").covers(&must_have));
    freshness.settle_doubts(freshness.doubts_upto(), &at("0-1-23"), NOW);
    assert!(may_read(&freshness, 0, &["t"]) && !freshness.is_in_doubt());
    // It began anew.
    freshness.suspect();
    freshness.begin_anew(&at("0-1-2"), NOW);
    assert!(!freshness.is_in_doubt() && !may_read(&freshness, 0, &["t"]));
}

#[test]
fn what_only_the_log_has_told_of_need_not_be_there_yet() {
    let mut freshness = begun();
    freshness.raise(&writes(&["t"]), &at("0-1-20"), NOW);
    freshness.raise_logged(&writes(&["t"]), &at("0-1-21"), NOW);
    assert_eq!(freshness.must_have(), Some(at("0-1-20")));
    assert!(freshness.was_known(&at("0-1-21"), freshness.last()), "it has its number all the same");
    freshness.raise(&writes(&["t"]), &at("0-1-21"), NOW);
    assert_eq!(freshness.must_have(), Some(at("0-1-21")), "its writer was answered");
}

#[test]
fn a_suspicion_outlasts_an_asking_that_began_before_it() {
    let mut freshness = begun();
    freshness.applied(0, Some(&at("0-1-30")));
    freshness.suspect();
    let upto = freshness.doubts_upto();
    freshness.suspect();
    freshness.settle_doubts(upto, &at("0-1-30"), NOW);
    assert!(!may_read(&freshness, 0, &["t"]) && freshness.is_in_doubt());
    freshness.settle_doubts(freshness.doubts_upto(), &at("0-1-30"), NOW);
    assert!(may_read(&freshness, 0, &["t"]) && !freshness.is_in_doubt());
}

#[test]
fn what_the_primary_had_when_it_was_asked_was_known_of_sets_too() {
    let mut freshness = Freshness::new(1_000, Rules::all());
    let uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    let set = |interval: &str| Position::parse(Flavour::MySql, &format!("{uuid}:{interval}")).unwrap();
    freshness.begin(Some(&set("1-50")), NOW);
    freshness.raise(&writes(&["t"]), &set("51"), NOW);
    let sent = freshness.last();
    assert!(freshness.was_known(&set("1"), sent), "from the set, not from the last that was told");
    assert!(freshness.was_known(&set("51"), sent) && !freshness.was_known(&set("52"), sent));
    assert_eq!(freshness.must_have(), Some(set("1-51")));
}
