//! Keys and tables of what Drupal 10 really sent, with the schema of the site that it was sent to.
#![expect(clippy::expect_used, reason = "a recording that cannot be read must fail the test")]

mod support;

use std::collections::BTreeMap;

use clonelove_sql::{Kind, TableId, analyse, keys};

use support::{commands, recordings, schema_of};

const SITE: &str = "drupal10";

#[derive(Debug, Default)]
struct Tally {
    all: u32,
    keyed: u32,
    others: BTreeMap<String, u32>,
}

impl Tally {
    fn count(&mut self, keyed: bool, text: &str) {
        self.all += 1;
        if keyed {
            self.keyed += 1;
        } else {
            *self
                .others
                .entry(text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(90).collect())
                .or_default() += 1;
        }
    }

    fn share(&self) -> f64 {
        f64::from(self.keyed) / f64::from(self.all)
    }
}

fn is_hot(table: &str) -> bool {
    table.starts_with("cache_")
        || matches!(table, "cachetags" | "sessions" | "semaphore" | "key_value" | "key_value_expire")
}

#[test]
fn drupals_hot_tables_are_read_and_written_by_key() {
    let Some(directory) = recordings() else {
        println!("NOT COVERED: Drupal recordings (set CLONELOVE_RECORDINGS to their directory)");
        return;
    };
    let schema = schema_of(SITE, &directory.join("drupal10.sql.gz"));
    let (mut reads, mut writes) = (Tally::default(), Tally::default());
    for command in commands(&directory.join("drupal10.jsonl.gz")) {
        let facts = analyse(&command.sql, &command.dialect);
        let resolved = schema.resolve(&facts, Some(SITE));
        let text = String::from_utf8_lossy(&command.sql);
        let [table] = [&facts.tables_read, &facts.tables_written]
            .map(|tables| tables.first())
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()[..]
        else {
            continue;
        };
        let id = TableId::of(SITE, &table.name);
        if schema.table(id).is_none() {
            // Made later, or missing: Drupal asks and takes the error for an answer.
            continue;
        }
        if facts.kind == Kind::Read && !command.failed {
            assert!(resolved.read.contains(id) && resolved.written.is_empty(), "{text}");
        }
        if facts.kind == Kind::Write {
            assert!(resolved.written.contains(id) && !resolved.all_tables, "{text}");
        }
        if !is_hot(&table.name) {
            continue;
        }
        let session = keys::Session { dialect: &command.dialect, schema: Some(SITE), plain_charsets: true };
        match facts.kind {
            Kind::Read if facts.why.is_none() && !text.starts_with("SHOW") => {
                reads.count(keys::of_read(&command.sql, &facts, &schema, session).is_some(), &text);
            }
            Kind::Write => {
                writes.count(keys::of_write(&command.sql, &facts, &schema, session).is_some(), &text)
            }
            _ => {}
        }
    }
    println!("reads: {} of {} by key, writes: {} of {}", reads.keyed, reads.all, writes.keyed, writes.all);
    assert!(reads.all > 5000 && writes.all > 1000);
    assert!(reads.share() >= 0.95, "{reads:?}");
    assert!(writes.share() >= 0.9, "{writes:?}");
}
