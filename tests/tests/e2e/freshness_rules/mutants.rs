//! What each rule is for: without it, one of these tests finds a stale read.

use std::fmt::Write as _;

use anyhow::{Result, ensure};
use clonelove_testkit::{Family, Flavour};

use super::rule::without;
use super::{early, late, positions, roles, writes};

/// A rule that the proxy does not keep, or several with `|` between them where each guards what the other does.
struct Mutant {
    dropped: &'static str,
    /// Only on servers of this family there is a difference.
    only: Option<Family>,
    caught_by: CaughtBy,
}

enum CaughtBy {
    /// A rule of [`writes`], by its name.
    Rule(&'static str),
    Check(fn(Flavour) -> Result<()>),
    /// A rule of [`writes`], not by a stale read, but by one that is kept on the primary for nothing.
    Wide(&'static str),
    /// Not by a stale read, but by a write that should not have been taken.
    Write(fn(Flavour) -> Result<()>),
}

const fn rule(dropped: &'static str, name: &'static str) -> Mutant {
    Mutant { dropped, only: None, caught_by: CaughtBy::Rule(name) }
}

const fn check(dropped: &'static str, check: fn(Flavour) -> Result<()>) -> Mutant {
    Mutant { dropped, only: None, caught_by: CaughtBy::Check(check) }
}

const fn wide(dropped: &'static str, name: &'static str) -> Mutant {
    Mutant { dropped, only: None, caught_by: CaughtBy::Wide(name) }
}

const fn write(dropped: &'static str, check: fn(Flavour) -> Result<()>) -> Mutant {
    Mutant { dropped, only: None, caught_by: CaughtBy::Write(check) }
}

const fn mariadb(mutant: Mutant) -> Mutant {
    Mutant { only: Some(Family::MariaDb), ..mutant }
}

const fn mysql(mutant: Mutant) -> Mutant {
    Mutant { only: Some(Family::MySql), ..mutant }
}

const MUTANTS: &[Mutant] = &[
    rule("RAISED_BEFORE_REPLY", "INSERT"),
    // MariaDB tells the position once more at the end.
    mysql(rule("EVERY_PART", "CALL that selects and ends with nothing")),
    rule("DOUBT_AFTER_ERROR", "an error after a commit"),
    mariadb(rule("DOUBT_AFTER_PLAIN_EOF", "INSERT … RETURNING")),
    mysql(rule("DOUBT_AFTER_PLAIN_EOF", "SELECT of a function that writes")),
    rule("UNLOGGED", "never logged"),
    rule("TRANSACTION", "COMMIT of what several statements wrote"),
    mariadb(check("KEPT_TO_THE_END", early::a_position_amid_a_transaction)),
    wide("XA", "XA COMMIT"),
    check("UNKNOWN_XA", early::an_unknown_commit_is_lost),
    check("LOST_CONNECTION", early::a_lost_connection),
    rule("DEFINITIONS_BEFORE", "a trigger that is just made"),
    check("SCHEMA_AT_REPLY", early::a_schema_that_changes_meanwhile),
    rule("ACCOUNTS", "REVOKE"),
    check("PENDING", early::what_the_primary_shows_early),
    check("SAME_OR_LATER", early::another_replica),
    check("UNION", positions::gaps),
    mariadb(check("SEVERAL_COMMITS", positions::gap_in_a_block)),
    // Here either guards what the other does: a server that is back has new connections, and those are looked at.
    check("VOID_ON_BREAK|NO_WAY_BACK", positions::a_replica_that_came_back_earlier),
    mariadb(check("VOID_ON_BREAK", positions::set_back_unwatched)),
    mariadb(check("NO_WAY_BACK", positions::set_back_in_sight)),
    mariadb(check("APPLIED_ONLY", positions::own_binlog)),
    check("FORMER_REPLICA", early::what_a_former_replica_showed),
    check("AHEAD_OF_LOG", early::what_the_log_has_not_told),
    check("FILTERED", positions::filters),
    check("HISTORY", positions::reset_log),
    check("HISTORY", positions::reset_log_in_session),
    check("HISTORY", positions::reset_log_just_now),
    check("SHOWN_EARLY", early::what_a_replica_shows_early),
    check("OTHERS_EARLY", early::what_a_replica_shows_early_of_others),
    mariadb(check("LATE_POSITION", late::a_position_that_comes_late)),
    mariadb(check("LATE_POSITION", late::a_position_that_comes_to_another)),
    check("ONE_SERVER", positions::another_server_at_its_address),
    check("FLOOR_ON_FORGET", positions::a_replica_that_serves_later),
    check("FLOOR_AT_START", positions::a_restart_of_clonelove),
    write("FOUND_WRITABLE", roles::a_primary_that_has_become_read_only),
    // Who is primary, and who is fit for reads, is `clonelove_route`'s, which shows it by its own tests.
    mariadb(write("ROLE_CHANGE", roles::another_primary)),
];

/// Every mutant is seen to be wrong. `CLONELOVE_RULES` is a part of the names wanted.
pub(super) fn are_caught(flavour: Flavour) -> Result<()> {
    let named = std::env::var("CLONELOVE_RULES").unwrap_or_default();
    let mut survived = String::new();
    for Mutant { dropped, only, caught_by } in MUTANTS {
        if only.is_some_and(|only| only != flavour.family()) || !dropped.contains(&named) {
            continue;
        }
        let found = without(dropped, || match caught_by {
            CaughtBy::Rule(name) | CaughtBy::Wide(name) => writes::hold_one(flavour, name),
            CaughtBy::Check(check) | CaughtBy::Write(check) => check(flavour),
        });
        // Anything else that goes wrong is no catch.
        let caught = match caught_by {
            CaughtBy::Rule(_) | CaughtBy::Check(_) => is_stale,
            CaughtBy::Wide(_) => is_wide,
            CaughtBy::Write(_) => is_astray,
        };
        match found {
            Err(error) if caught(&format!("{error:#}")) => {}
            Err(error) => drop(write!(survived, "\n{dropped}: not as expected: {error:#}")),
            Ok(()) => drop(write!(survived, "\n{dropped}: nothing")),
        }
    }
    ensure!(survived.is_empty(), "not found out:{survived}");
    Ok(())
}

fn is_stale(error: &str) -> bool {
    ["gave a new session", "gave (", "gave the session", "was told", "a replica said"]
        .iter()
        .any(|words| error.contains(words))
}

fn is_astray(error: &str) -> bool {
    error.contains("the write was taken")
}

fn is_wide(error: &str) -> bool {
    error.contains("was kept from the replica")
}
