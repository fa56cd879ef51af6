//! What Drupal really sent (see the recordings' README): nothing that wrote may be called a read, and nearly every
//! SELECT must be one.
#![expect(clippy::expect_used, reason = "a recording that cannot be read must fail the test")]

mod support;

use std::collections::BTreeMap;

use clonelove_sql::{Kind, analyse};

use support::{Command, commands, recordings};

#[derive(Default)]
struct Tally {
    statements: u32,
    selects: u32,
    selects_kept: BTreeMap<String, u32>,
}

#[test]
fn no_recorded_write_is_a_read_and_nearly_every_select_is_one() {
    let Some(directory) = recordings() else {
        println!("NOT COVERED: Drupal recordings (set CLONELOVE_RECORDINGS to their directory)");
        return;
    };
    let mut tally = Tally::default();
    for file in ["drupal7.jsonl.gz", "drupal10.jsonl.gz"] {
        for Command { sql, wrote, dialect, .. } in commands(&directory.join(file)) {
            let facts = analyse(&sql, &dialect);
            let text = String::from_utf8_lossy(&sql);
            let first = text.trim_start().split([' ', '\n', '(']).next().unwrap_or_default().to_uppercase();
            tally.statements += 1;
            assert_ne!(facts.kind, Kind::Unknown, "{text}");
            let reads = facts.why.is_none();
            let may_read = matches!(first.as_str(), "SELECT" | "SHOW" | "DESCRIBE" | "EXPLAIN");
            assert!(!(reads && (wrote || !may_read)), "called a read: {text}");
            if matches!(first.as_str(), "INSERT" | "UPDATE" | "DELETE") {
                assert_eq!(facts.kind, Kind::Write, "{text}");
                assert!(facts.tables_written.len() == 1 && !facts.all_tables, "{text}\n{facts:?}");
            }
            if first == "SELECT" && !text.to_lowercase().contains("information_schema") {
                tally.selects += 1;
                if !reads {
                    *tally.selects_kept.entry(text.chars().take(80).collect()).or_default() += 1;
                }
            }
        }
    }
    let kept: u32 = tally.selects_kept.values().sum();
    println!(
        "{} statements, {} SELECTs, {kept} kept: {:?}",
        tally.statements, tally.selects, tally.selects_kept
    );
    assert!(tally.selects > 10_000);
    assert!(f64::from(kept) <= 0.005 * f64::from(tally.selects), "{:?}", tally.selects_kept);
}
