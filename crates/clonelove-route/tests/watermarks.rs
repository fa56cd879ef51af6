//! What a million watermarks weigh: in a process of their own, whose memory is theirs alone.
#![expect(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

use std::time::Duration;

use clonelove_route::freshness::{Freshness, Reads, Rules, Writes};
use clonelove_route::position::Position;
use clonelove_route::report::Flavour;
use clonelove_sql::keys::{Session, of_read, of_write};
use clonelove_sql::schema::{Answers, Row};
use clonelove_sql::{Dialect, Schema, TableId, TableSet, analyse};

const KEYS: usize = 1_000_000;
const BATCH: usize = 4000;
const MOST: usize = 64 << 20;

#[test]
fn a_million_keys_take_64_mib_at_most() {
    let (schema, dialect) = (schema(), Dialect::default());
    let session = Session { dialect: &dialect, schema: Some("d"), plain_charsets: true };
    let mut freshness = Freshness::new(KEYS, Rules::all());
    freshness.begin(Some(&at(0)), Duration::ZERO);
    let write = |ids: std::ops::Range<i64>| {
        let rows: Vec<String> = ids.map(|id| format!("({id})")).collect();
        let sql = format!("INSERT INTO t (id) VALUES {}", rows.join(","));
        let facts = analyse(sql.as_bytes(), &dialect);
        let keys = of_write(sql.as_bytes(), &facts, &schema, session).unwrap();
        Writes { keyed: vec![keys], ..Writes::default() }
    };
    let before = resident();
    for batch in 0..KEYS / BATCH {
        let first = (batch * BATCH) as i64;
        // As many positions as are kept, and more.
        for more in 1..200 {
            freshness.reached(&at(batch * 200 + more), Duration::from_millis(batch as u64));
        }
        let writes = write(first..first + BATCH as i64);
        freshness.raise(&writes, &at(batch * 200 + 200), Duration::from_millis(batch as u64));
    }
    let grown = resident().saturating_sub(before);
    let counts = freshness.counts();
    assert_eq!((counts.keys, counts.overflows), (KEYS, 0));
    println!("{KEYS} keys: {} KiB", grown >> 10);
    assert!(grown <= MOST, "{} KiB", grown >> 10);

    // They are there: the last of them is told from its neighbour, which nobody wrote.
    let mut tables = TableSet::default();
    tables.add(TableId::of("d", "t"));
    let need = |freshness: &Freshness, id: usize| {
        let sql = format!("SELECT v FROM t WHERE id = {id}");
        let keys = of_read(sql.as_bytes(), &analyse(sql.as_bytes(), &dialect), &schema, session);
        let reads = Reads { all: false, definitions: false, tables: &tables, keys: keys.as_ref() };
        freshness.need(&reads, 0)
    };
    assert_ne!(need(&freshness, KEYS - 1), need(&freshness, KEYS));

    freshness.raise(&write(-1..0), &at(KEYS + 2), Duration::from_secs(2));
    let counts = freshness.counts();
    assert!(counts.keys <= KEYS && counts.overflows > 0, "{counts:?}");
    assert_eq!(need(&freshness, KEYS - 1), need(&freshness, KEYS), "the table's takes their place");
}

fn at(number: usize) -> Position {
    Position::parse(Flavour::MariaDb, &format!("0-1-{number}")).unwrap()
}

fn schema() -> Schema {
    let mut answers = Answers::default();
    let mut add = |name, values: &[&str]| {
        let row: Row = values.iter().map(|value| (*value != "NULL").then(|| (*value).to_owned())).collect();
        answers.entry(name).or_default().push(row);
    };
    add("grants", &["GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost`"]);
    add("tables", &["d", "t", "BASE TABLE", "InnoDB"]);
    add("columns", &["d", "t", "id", "1", "int", "int(11)", "NULL", "NULL", "", "NULL"]);
    add("columns", &["d", "t", "v", "2", "int", "int(11)", "NULL", "NULL", "", "NULL"]);
    add("indexes", &["d", "t", "PRIMARY", "0", "1", "id", "NULL"]);
    Schema::build(clonelove_sql::Flavour::MariaDb, 101_119, &answers)
}

/// Bytes of this process that are in memory.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<usize>().unwrap() << 10
}
