//! Keys and tables of what Drupal 10 really sent, with the schema of the site that it was sent to.
#![expect(clippy::expect_used, reason = "a recording that cannot be read must fail the test")]

mod support;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use clonelove_sql::schema::{Answers, Row};
use clonelove_sql::{Flavour, Kind, Schema, TableId, analyse, keys};
use flate2::read::MultiGzDecoder;

use support::{commands, recordings};

const SITE: &str = "drupal10";

/// What the server would have answered about the tables of a dump, which has a column or a key on each line.
fn schema_of(dump: &Path) -> Schema {
    let reader = BufReader::new(MultiGzDecoder::new(File::open(dump).expect("a dump")));
    let mut answers = Answers::default();
    let mut add = |name, values: &[&str]| {
        let row: Row = values.iter().map(|value| (*value != "NULL").then(|| (*value).to_owned())).collect();
        answers.entry(name).or_default().push(row);
    };
    add("grants", &["GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost`"]);
    let (mut table, mut place) = (String::new(), 0);
    for line in reader.lines() {
        let line = line.expect("a readable dump");
        if let Some(rest) = line.strip_prefix("CREATE TABLE `") {
            table = rest.split('`').next().unwrap_or_default().to_owned();
            place = 0;
            add("tables", &[SITE, &table, "BASE TABLE", "InnoDB"]);
        } else if line.starts_with(") ENGINE") {
            table.clear();
        } else if !table.is_empty() && line.starts_with("  `") {
            place += 1;
            let mut parts = line.trim().splitn(3, ['`']).skip(1);
            let name = parts.next().unwrap_or_default();
            let definition = parts.next().unwrap_or_default().trim();
            let column_type = definition.split(' ').next().unwrap_or_default();
            let data_type = column_type.split('(').next().unwrap_or_default();
            let length = column_type.split(['(', ')']).nth(1).unwrap_or("NULL");
            let collation = definition.split(" COLLATE ").nth(1).and_then(|rest| rest.split(' ').next());
            let collation = match data_type {
                "varchar" | "char" | "text" | "longtext" => collation.unwrap_or("utf8mb4_general_ci"),
                _ => "NULL",
            };
            let unsigned = if definition.contains(" unsigned ") { " unsigned" } else { "" };
            let extra = if definition.contains("AUTO_INCREMENT") { "auto_increment" } else { "" };
            let column_type = format!("{column_type}{unsigned}");
            let place = place.to_string();
            add(
                "columns",
                &[SITE, &table, name, &place, data_type, &column_type, length, collation, extra, "NULL"],
            );
        } else if !table.is_empty() && line.contains("KEY ") {
            let non_unique = if line.trim().starts_with("KEY") { "1" } else { "0" };
            let index = line.split('`').nth(1).filter(|_| !line.contains("PRIMARY")).unwrap_or("PRIMARY");
            let columns = line.split_once(" (").map(|(_, rest)| rest).unwrap_or_default();
            for (at, column) in columns.split('`').skip(1).step_by(2).enumerate() {
                let prefix = if columns.contains(&format!("`{column}`(")) { "10" } else { "NULL" };
                add("indexes", &[SITE, &table, index, non_unique, &(at + 1).to_string(), column, prefix]);
            }
        }
    }
    Schema::build(Flavour::MariaDb, 101_119, &answers)
}

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
    let schema = schema_of(&directory.join("drupal10.sql.gz"));
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
