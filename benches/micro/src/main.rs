//! The parts of a query's way through the proxy, each alone and in memory: `micro time [CASE]` in nanoseconds,
//! `micro repeat CASE TIMES` for counting instructions under valgrind (`cargo xtask bench --counts`).
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "its result goes to its caller")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clonelove_route::balance::Balance;
use clonelove_route::decide::{Moment, Plan, Policy, choose, plan};
use clonelove_route::freshness::{Freshness, Need, Reads, Rules, Writes};
use clonelove_route::health::State;
use clonelove_route::position::Position;
use clonelove_route::session::{Heard, Ran, Session, Transaction};
use clonelove_route::topology::{Node, Role, Topology};
use clonelove_sql::keys::{self, KeyIds};
use clonelove_sql::schema::{Answers, Row};
use clonelove_sql::{
    Context, Dialect, Facts, FactsCache, Flavour, Modes, Schema, Scratch, TableId, TableSet, analyse,
    digest_text,
};
use clonelove_wire::frame::{FrameHead, Look, look_packet};
use clonelove_wire::reply::{ReplyTracker, Then};
use clonelove_wire::{Caps, Command};

/// A point select as sysbench sends it.
const POINT: &str = "SELECT c FROM sbtest1 WHERE id=50417";
/// The hot read of Drupal 10, about 200 bytes.
const DRUPAL: &str = "SELECT \"cid\", \"data\", \"created\", \"expire\", \"serialized\", \"tags\", \"checksum\" FROM \
\"cache_page\" WHERE \"cid\" IN ( 'https://www.example.org/news/2024/a-page:html', 'route:/node/17' ) ORDER BY \"cid\"";
/// What an upsert of Drupal's service container carries.
const LARGE: usize = 400_000;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["repeat", case, times] => {
            let times = times.parse()?;
            let (_, run) = cases().into_iter().find(|(name, _)| name == case).context("no such case")?;
            repeat(run, times);
        }
        ["time", filter @ ..] => {
            for (name, run) in cases() {
                if filter.iter().all(|part| name.contains(part)) {
                    println!("{name:<24} {:>12.0} ns", nanoseconds(run));
                }
            }
        }
        _ => bail!("usage: micro time [CASE], or micro repeat CASE TIMES"),
    }
    Ok(())
}

type Case = Box<dyn FnMut()>;

fn cases() -> Vec<(&'static str, Case)> {
    vec![
        ("frame_scan_1000", frame_scan()),
        ("classify_point", classify(POINT.as_bytes().to_vec())),
        ("classify_drupal", classify(DRUPAL.as_bytes().to_vec())),
        ("classify_insert_400k", classify(large_insert())),
        ("classify_rows_400k", classify(many_row_insert())),
        ("known_point", known(vec![POINT.as_bytes().to_vec()])),
        ("known_drupal", known(vec![DRUPAL.as_bytes().to_vec()])),
        ("known_insert_400k", known(vec![large_insert()])),
        ("unknown_drupal", known((b'a'..=b'p').map(drupal_on).collect())),
        ("digest_drupal", digest()),
        ("decision", decision()),
        ("fresh_by_table", fresh(None)),
        ("fresh_by_key", fresh(Some(DRUPAL))),
        ("raise_key", raise()),
        ("reply_point", reply(one_row(), Command::Query)),
        ("reply_10000_rows", reply(many_rows(), Command::Query)),
        ("round_point", round(POINT)),
        ("round_drupal", round(DRUPAL)),
    ]
}

fn repeat(mut run: Case, times: u64) {
    for _ in 0..times {
        run();
    }
}

/// The shortest of many short batches: what disturbs only ever adds, and among so many some are left alone even on a
/// machine that is busy.
fn nanoseconds(mut run: Case) -> f64 {
    const BATCH: Duration = Duration::from_micros(100);
    const BATCHES: u32 = 5000;
    let mut times = 1_u32;
    loop {
        let begun = Instant::now();
        (0..times).for_each(|_| run());
        if begun.elapsed() > BATCH {
            break;
        }
        times = times.saturating_mul(2);
    }
    let timed = (0..BATCHES).map(|_| {
        let begun = Instant::now();
        (0..times).for_each(|_| run());
        begun.elapsed().as_nanos() as f64 / f64::from(times)
    });
    timed.fold(f64::INFINITY, f64::min)
}

/// Drupal's dialect.
fn dialect() -> Dialect {
    Dialect { version: 101_119, modes: Modes::from_sql_mode("ANSI,TRADITIONAL"), ..Dialect::default() }
}

fn put_command(out: &mut Vec<u8>, command: Command, body: &[u8]) {
    out.extend_from_slice(&FrameHead { len: body.len() + 1, seq: 0 }.encode());
    out.push(command.as_byte());
    out.extend_from_slice(body);
}

fn frame_scan() -> Case {
    let mut buffer = Vec::new();
    (0..1000).for_each(|_| put_command(&mut buffer, Command::Query, b"SELECT 1 FROM dual"));
    Box::new(move || {
        let mut rest = black_box(buffer.as_slice());
        while let Look::Packet { used, .. } = look_packet(rest, Some(0), 1 << 24) {
            rest = rest.get(used..).unwrap_or_default();
        }
        black_box(rest);
    })
}

fn classify(sql: Vec<u8>) -> Case {
    let dialect = dialect();
    Box::new(move || {
        black_box(analyse(black_box(&sql), &dialect));
    })
}

/// Statements, one after another, that the cache of facts is asked of, and their keys. It has room for eight: when there
/// are many more, each has to be analysed again.
fn known(texts: Vec<Vec<u8>>) -> Case {
    let (cache, mut scratch, mut keys) = (FactsCache::new(8, [1, 2]), Scratch::default(), KeyIds::default());
    let (dialect, schema) = (dialect(), schema());
    let mut next = 0_usize;
    Box::new(move || {
        let Some(sql) = texts.get(next) else { return };
        next = (next + 1) % texts.len();
        let session = keys::Session { dialect: &dialect, schema: Some("app"), plain_charsets: true };
        let context = Context { session, schema: Some(&schema), snapshot: 1 };
        let resolve = |facts: &Facts| schema.resolve(facts, Some("app"));
        let found = cache.look_up(black_box(sql), context, &mut scratch, resolve);
        found.known.keys(sql, session, &scratch, &mut keys);
        assert!(keys.table().is_some(), "the statement has keys");
        black_box(&keys);
    })
}

/// As a bulk load sends them: rows of short values.
fn many_row_insert() -> Vec<u8> {
    let mut sql =
        b"INSERT INTO \"search_index\" (\"word\", \"langcode\", \"sid\", \"type\", \"score\") VALUES "
            .to_vec();
    let mut row = 0_u32;
    while sql.len() < LARGE {
        let comma = if row == 0 { "" } else { ", " };
        let word = "a longer word, it says".get(..(row % 20) as usize).unwrap_or_default();
        sql.extend_from_slice(format!("{comma}('{word}', 'en', {row}, 'node_search', -{row}.5)").as_bytes());
        row += 1;
    }
    sql
}

/// [`DRUPAL`], of another table.
fn drupal_on(letter: u8) -> Vec<u8> {
    DRUPAL.replace("cache_page", &format!("cache_pag{}", char::from(letter))).into_bytes()
}

/// The tables of the statements here, with the columns that matter.
fn schema() -> Schema {
    let mut answers = Answers::default();
    let mut add = |name, values: &[&str]| {
        let row: Row = values.iter().map(|value| (*value != "NULL").then(|| (*value).to_owned())).collect();
        answers.entry(name).or_default().push(row);
    };
    add("grants", &["GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost`"]);
    let pages = (b'a'..=b'p').map(|letter| format!("cache_pag{}", char::from(letter)));
    for table in pages.chain(["cache_container".to_owned()]) {
        let ascii = "ascii_general_ci";
        add("tables", &["app", &table, "BASE TABLE", "InnoDB"]);
        add("columns", &["app", &table, "cid", "1", "varchar", "varchar(255)", "255", ascii, "", "NULL"]);
        add("columns", &["app", &table, "data", "2", "longblob", "longblob", "NULL", "NULL", "", "NULL"]);
        add("indexes", &["app", &table, "PRIMARY", "0", "1", "cid", "NULL"]);
    }
    add("tables", &["app", "sbtest1", "BASE TABLE", "InnoDB"]);
    add("columns", &["app", "sbtest1", "id", "1", "int", "int(11)", "NULL", "NULL", "", "NULL"]);
    add("indexes", &["app", "sbtest1", "PRIMARY", "0", "1", "id", "NULL"]);
    Schema::build(Flavour::MariaDb, 101_119, &answers)
}

fn digest() -> Case {
    let dialect = dialect();
    Box::new(move || {
        black_box(digest_text(black_box(DRUPAL.as_bytes()), &dialect));
    })
}

/// Like serialized PHP: quotes that are escaped, zero bytes, words that look like SQL.
fn large_insert() -> Vec<u8> {
    let mut sql = b"INSERT INTO \"cache_container\" (\"cid\", \"data\") VALUES ('container', '".to_vec();
    while sql.len() < LARGE {
        sql.extend_from_slice(
            b"s:12:\\\"FOR UPDATE; \\0\\\";O:8:\\\"stdClass\\\":1:{s:4:\\\"name\\\";s:5:\\\"it\\'s\\\";}",
        );
    }
    sql.extend_from_slice(
        b"') ON DUPLICATE KEY UPDATE \"cid\" = VALUES(\"cid\"), \"data\" = VALUES(\"data\")",
    );
    sql
}

fn decision() -> Case {
    let facts = analyse(POINT.as_bytes(), &dialect());
    let (session, topology) = (Session::new(Some("app".to_owned()), dialect()), topology());
    let mut dice = 0_u64;
    Box::new(move || {
        dice = dice.wrapping_add(0x9E37_79B9_7F4A_7C15);
        black_box(decide(black_box(&facts), &session, &topology, dice));
    })
}

fn decide(facts: &clonelove_sql::Facts, session: &Session, topology: &Topology, dice: u64) -> Option<usize> {
    let Plan::Replica(_) = plan(facts, session, Policy::default()) else { return None };
    let moment =
        Moment { in_flight: &|_| 3, fresh: &|_| true, balance: Balance::LeastInFlight, zone: "", dice };
    match choose(topology, session, &[], &moment) {
        clonelove_route::decide::Chosen::Replica(at) => Some(at),
        _ => None,
    }
}

const TOUCHED: u64 = 20_000;
const BATCH: u64 = 1000;

/// Many rows of the table of [`DRUPAL`] were written; the replicas have most of it.
fn watermarks(schema: &Schema) -> Freshness {
    let mut freshness = Freshness::new(TOUCHED as usize, Rules::all());
    freshness.begin(position(1).as_ref(), Duration::ZERO);
    let dialect = dialect();
    for batch in 0..TOUCHED / BATCH {
        let first = batch * BATCH;
        let rows: Vec<String> = (first..first + BATCH).map(|row| format!("('route:/node/{row}')")).collect();
        let sql = format!("INSERT INTO \"cache_page\" (\"cid\") VALUES {}", rows.join(", "));
        let keys =
            keys::of_write(sql.as_bytes(), &analyse(sql.as_bytes(), &dialect), schema, session(&dialect));
        let writes = Writes { keyed: keys.into_iter().collect(), ..Writes::default() };
        if let Some(position) = position(batch + 2) {
            freshness.raise(&writes, &position, Duration::from_micros(batch));
        }
    }
    for server in [1, 2] {
        freshness.applied(server, position(10).as_ref());
    }
    assert_eq!(freshness.counts().keys, TOUCHED as usize, "each row has a watermark");
    freshness
}

fn position(number: u64) -> Option<Position> {
    Position::parse(clonelove_route::report::Flavour::MariaDb, &format!("0-1-{number}")).ok()
}

fn session(dialect: &Dialect) -> keys::Session<'_> {
    keys::Session { dialect, schema: Some("app"), plain_charsets: true }
}

/// What a read needs, by its table or by its rows, and which of two replicas have it.
fn fresh(bounded: Option<&str>) -> Case {
    let (schema, dialect) = (schema(), dialect());
    let freshness = watermarks(&schema);
    let keys = bounded.and_then(|sql| {
        keys::of_read(sql.as_bytes(), &analyse(sql.as_bytes(), &dialect), &schema, session(&dialect))
    });
    assert!(keys.is_some() || bounded.is_none(), "the statement has keys");
    let mut tables = TableSet::default();
    tables.add(TableId::of("app", "cache_page"));
    Box::new(move || {
        let reads = Reads { all: false, definitions: false, tables: &tables, keys: keys.as_ref() };
        let need = freshness.need(black_box(&reads), 0);
        if let Need::Stamp(stamp) = need {
            black_box((freshness.has(1, stamp), freshness.has(2, stamp)));
        }
    })
}

/// A write of one row becomes known, by the text of its position.
fn raise() -> Case {
    let (schema, dialect) = (schema(), dialect());
    let mut freshness = watermarks(&schema);
    let sql = "DELETE FROM \"cache_page\" WHERE \"cid\" = 'route:/node/17'";
    let keys = keys::of_write(sql.as_bytes(), &analyse(sql.as_bytes(), &dialect), &schema, session(&dialect));
    let writes = Writes { keyed: keys.into_iter().collect(), ..Writes::default() };
    let mut number = TOUCHED + 10;
    Box::new(move || {
        number += 1;
        if let Some(position) = position(number) {
            black_box(freshness.raise(&writes, &position, Duration::from_micros(number)));
        }
    })
}

/// A primary with two replicas, all well.
fn topology() -> Topology {
    let node = |name: &str, role: Role| Node {
        name: name.to_owned(),
        report: None,
        state: State::Up,
        role,
        pinned: false,
        eligible: role == Role::Replica,
        why: String::new(),
        weight: 100,
        zone: String::new(),
        warm: 1.0,
        lag: None,
        reported_lag: None,
        since: Duration::ZERO,
        last_error: None,
        identity_generation: 1,
        position_known: true,
    };
    let servers = vec![node("db1", Role::Primary), node("db2", Role::Replica), node("db3", Role::Replica)];
    Topology { servers, primary: Some(0), ..Topology::unknown() }
}

const EOF: &[u8] = &[0xFE, 0, 0, 2, 0];

fn framed(payloads: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut all = Vec::new();
    for (seq, payload) in (1_u8..=u8::MAX).chain((0..=u8::MAX).cycle()).zip(payloads) {
        all.extend_from_slice(&FrameHead { len: payload.len(), seq }.encode());
        all.extend_from_slice(&payload);
    }
    all
}

fn rows(count: usize) -> Vec<u8> {
    let definition =
        b"\x03def\x03app\x07sbtest1\x07sbtest1\x01c\x01c\x0c\x2d\0\xe0\x01\0\0\xfe\x01\0\0\0\0".to_vec();
    let mut row = vec![119];
    row.extend_from_slice(&[b'x'; 119]);
    let rows = std::iter::repeat_n(row, count);
    let front = [vec![1], definition, EOF.to_vec()];
    framed(front.into_iter().chain(rows).chain([EOF.to_vec()]))
}

fn one_row() -> Vec<u8> {
    rows(1)
}

fn many_rows() -> Vec<u8> {
    rows(10_000)
}

/// Follows a reply that came whole.
fn follow(bytes: &[u8], command: Command) -> usize {
    let mut tracker = ReplyTracker::new(command, caps());
    let mut at = 0_usize;
    while let Ok(scan) = tracker.scan(bytes.get(at..).unwrap_or_default()) {
        at += scan.pass;
        match scan.then {
            Then::Event { event, used } => {
                at += used;
                if event.ends() {
                    break;
                }
            }
            _ => break,
        }
    }
    at
}

fn caps() -> Caps {
    Caps::PROTOCOL_41 | Caps::TRANSACTIONS | Caps::SESSION_TRACK
}

fn reply(bytes: Vec<u8>, command: Command) -> Case {
    Box::new(move || {
        assert_eq!(follow(black_box(&bytes), command), bytes.len(), "the reply was not followed to its end");
    })
}

/// All that is not I/O between a query's arrival and the end of its reply.
fn round(sql: &'static str) -> Case {
    let mut frame = Vec::new();
    put_command(&mut frame, Command::Query, sql.as_bytes());
    let (mut session, topology, answer) =
        (Session::new(Some("app".to_owned()), dialect()), topology(), one_row());
    Box::new(move || {
        let Look::Packet { payload, .. } = look_packet(black_box(&frame), Some(0), 1 << 24) else { return };
        let sql = payload.get(1..).unwrap_or_default();
        let facts = analyse(sql, &session.dialect);
        let chosen = decide(&facts, &session, &topology, 7);
        black_box(follow(black_box(&answer), Command::Query));
        let transaction = Some(Transaction { open: false, autocommit: true });
        let heard = Heard { transaction, plain_eof: true, ..Heard::default() };
        session.after(sql, &facts, chosen.map_or(Ran::Primary, Ran::Replica), &heard);
        session.last_replica = chosen;
    })
}
