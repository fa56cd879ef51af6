use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
const B: &str = "4e11fa47-71ca-11e1-9e33-c80aa9429562";

fn maria(text: &str) -> Position {
    Position::parse(Flavour::MariaDb, text).unwrap()
}

fn mysql(text: &str) -> Position {
    Position::parse(Flavour::MySql, text).unwrap()
}

/// A set of GTIDs as a plain set of members: source, tag, number.
type Members = BTreeSet<(usize, usize, u64)>;

const UUIDS: [&str; 2] = [A, B];
const TAGS: [&str; 3] = ["", "a", "tag_2"];

/// The members written one by one, in whatever order they come.
fn text_of<'a>(members: impl IntoIterator<Item = &'a (usize, usize, u64)>) -> String {
    let one = |(uuid, tag, number): &(usize, usize, u64)| match TAGS[*tag] {
        "" => format!("{}:{number}", UUIDS[*uuid]),
        tag => format!("{}:{tag}:{number}", UUIDS[*uuid]),
    };
    members.into_iter().map(one).collect::<Vec<_>>().join(",")
}

fn set_of(members: &Members) -> Position {
    mysql(&text_of(members))
}

fn members() -> impl Strategy<Value = Members> {
    proptest::collection::btree_set((0..UUIDS.len(), 0..TAGS.len(), 1..12u64), 0..30)
}

/// Domains with server and sequence number. One writer a domain, as in a healthy cluster, unless `servers` is larger.
fn vectors(servers: u32) -> impl Strategy<Value = BTreeMap<u32, (u32, u64)>> {
    proptest::collection::btree_map(0..4u32, (1..=servers, 1..6u64), 0..4)
}

fn vector_of(domains: &BTreeMap<u32, (u32, u64)>) -> Position {
    let gtid = |(domain, (server, sequence)): (&u32, &(u32, u64))| format!("{domain}-{server}-{sequence}");
    maria(&domains.iter().map(gtid).collect::<Vec<_>>().join(","))
}

/// Any position of either flavour, small enough that two of them meet often.
fn positions() -> impl Strategy<Value = (Position, Position, Position)> {
    let sets = (members(), members(), members()).prop_map(|(a, b, c)| (set_of(&a), set_of(&b), set_of(&c)));
    let vectors = (vectors(1), vectors(1), vectors(1))
        .prop_map(|(a, b, c)| (vector_of(&a), vector_of(&b), vector_of(&c)));
    prop_oneof![sets, vectors]
}

fn joined(one: &Position, other: &Position) -> Position {
    let mut joined = one.clone();
    joined.union(other);
    joined
}

proptest! {
    #[test]
    fn union_is_commutative_associative_and_idempotent((a, b, c) in positions()) {
        prop_assert_eq!(joined(&a, &b), joined(&b, &a));
        prop_assert_eq!(joined(&joined(&a, &b), &c), joined(&a, &joined(&b, &c)));
        prop_assert_eq!(joined(&a, &a), a.clone());
        prop_assert_eq!(joined(&a, &Position::empty(a.flavour())), a);
    }

    #[test]
    fn union_is_deterministic_whoever_wrote(a in vectors(3), b in vectors(3), c in vectors(3)) {
        let (a, b, c) = (vector_of(&a), vector_of(&b), vector_of(&c));
        prop_assert_eq!(joined(&a, &b), joined(&b, &a));
        prop_assert_eq!(joined(&joined(&a, &b), &c), joined(&a, &joined(&b, &c)));
    }

    #[test]
    fn covers_is_a_partial_order((a, b, c) in positions()) {
        prop_assert!(a.covers(&a));
        prop_assert!(!(a.covers(&b) && b.covers(&a)) || a == b);
        prop_assert!(!(a.covers(&b) && b.covers(&c)) || a.covers(&c));
    }

    #[test]
    fn union_is_the_least_that_covers_both((a, b, c) in positions()) {
        let both = joined(&a, &b);
        prop_assert!(both.covers(&a) && both.covers(&b));
        prop_assert_eq!(c.covers(&a) && c.covers(&b), c.covers(&both));
    }

    #[test]
    fn text_reads_back_the_same((a, _, _) in positions()) {
        prop_assert_eq!(Position::parse(a.flavour(), &a.to_text()), Ok(a));
    }

    #[test]
    fn sets_agree_with_their_members(a in members(), b in members()) {
        let (one, other) = (set_of(&a), set_of(&b));
        prop_assert_eq!(one.covers(&other), a.is_superset(&b));
        prop_assert_eq!(joined(&one, &other), set_of(&a.union(&b).copied().collect()));
        let mut rest = one.clone();
        rest.subtract(&other);
        prop_assert_eq!(rest, set_of(&a.difference(&b).copied().collect()));
        prop_assert_eq!(one.is_empty(), a.is_empty());
    }

    #[test]
    fn sets_do_not_depend_on_the_order_of_their_members(
        shuffled in members().prop_map(|set| set.into_iter().collect::<Vec<_>>()).prop_shuffle()
    ) {
        let sorted: Members = shuffled.iter().copied().collect();
        prop_assert_eq!(mysql(&text_of(&shuffled)), set_of(&sorted));
    }

    #[test]
    fn sets_are_as_short_as_can_be(a in members()) {
        let follows = |(uuid, tag, number): &&(usize, usize, u64)| a.contains(&(*uuid, *tag, number - 1));
        prop_assert_eq!(set_of(&a).len(), a.len() - a.iter().filter(follows).count());
    }

    #[test]
    fn vectors_agree_with_their_numbers(a in vectors(3), b in vectors(3)) {
        let expected = b.iter().all(|(domain, (_, need))| a.get(domain).is_some_and(|(_, have)| have >= need));
        prop_assert_eq!(vector_of(&a).covers(&vector_of(&b)), expected);
    }

    #[test]
    fn what_is_done_needs_no_remembering((need, done, have) in positions()) {
        let mut rest = need.clone();
        rest.subtract(&done);
        let have = joined(&have, &done);
        prop_assert_eq!(have.covers(&rest), have.covers(&need));
    }

    #[test]
    fn no_text_panics(text in "[0-9a-f:,\\- _g]{0,60}", other in ".{0,40}") {
        for flavour in [Flavour::MariaDb, Flavour::MySql] {
            for text in [&text, &other] {
                let _ = Position::parse(flavour, text).map(|position| position.to_text());
            }
        }
    }
}

#[test]
fn reads_what_mariadb_says() {
    assert_eq!(maria("").to_text(), "");
    assert_eq!(maria("0-1-50,7-2-9").to_text(), "0-1-50,7-2-9");
    assert_eq!(maria(" 7-2-9 , 0-1-50 ").to_text(), "0-1-50,7-2-9");
    assert_eq!(maria("0-1-50,0-2-49").to_text(), "0-1-50", "the larger number of one domain");
    assert_eq!(maria("0-4294967295-18446744073709551615").to_text(), "0-4294967295-18446744073709551615");
}

#[test]
fn reads_what_mysql_says() {
    let all_forms = [
        (String::new(), String::new()),
        (format!("{A}:1-5:7-9,\n{B}:3"), format!("{A}:1-5:7-9,{B}:3")),
        (format!("{}:1-3", A.to_uppercase()), format!("{A}:1-3")),
        (format!("{}:1", A.replace('-', "")), format!("{A}:1")),
        (format!("{A}:1-7:taga:1"), format!("{A}:1-7:taga:1")),
        (format!("{A}:Tag:1-3:Other_tag:4:6"), format!("{A}:other_tag:4:6:tag:1-3")),
        (format!("{A}:5:1-4:3-9,{A}:10"), format!("{A}:1-10")),
        (format!(" {A} : 1 - 3 : TAGA : 1 , "), format!("{A}:1-3:taga:1")),
        (format!("{A}:1-9223372036854775806"), format!("{A}:1-9223372036854775806")),
    ];
    for (text, expected) in all_forms {
        assert_eq!(mysql(&text).to_text(), expected, "{text}");
    }
}

#[test]
fn refuses_what_is_no_position() {
    for text in ["0", "0-1", "0-1-", "a-1-2", "0-1-2-3", "0--1-2", "+0-1-2", "4294967296-1-1", "0-1-2,", A] {
        assert!(Position::parse(Flavour::MariaDb, text).is_err(), "{text}");
    }
    let bodies =
        ["", ":", ":0", ":3-2", ":1-", ":-1", ":1:tag", ":tag", ":a:b:1", ":1:2-9223372036854775807", ":1;2"];
    for text in bodies.iter().map(|body| format!("{A}{body}")).chain(["0-1-50".into(), "uuid:1".into()]) {
        assert!(Position::parse(Flavour::MySql, &text).is_err(), "{text}");
    }
    let long = format!("{A}:{}:1", "t".repeat(33));
    assert!(Position::parse(Flavour::MySql, &long).is_err(), "a tag has at most 32 characters");
    let error = Position::parse(Flavour::MariaDb, "0-1-x").unwrap_err().to_string();
    assert_eq!(error, "not a mariadb GTID position, at `0-1-x`: the sequence number is no 64-bit number");
}

#[test]
fn flavours_do_not_mix() {
    assert!(maria("").covers(&mysql("")));
    assert!(maria("0-1-5").covers(&mysql("")));
    assert!(!maria("0-1-5").covers(&mysql(&format!("{A}:1"))));
    let mut mixed = maria("0-1-5");
    mixed.union(&mysql(&format!("{A}:1")));
    assert_eq!(mixed, maria("0-1-5"));
    let mut empty = maria("");
    empty.union(&mysql(&format!("{A}:1")));
    assert_eq!(empty, mysql(&format!("{A}:1")));
}

#[test]
fn text_can_stand_between_quotes() {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "-_:,".contains(c);
    assert!(maria("0-1-50,7-2-9").to_text().chars().all(harmless));
    assert!(mysql(&format!("{A}:1-5:tag_1:7,{B}:3")).to_text().chars().all(harmless));
}
