//! What counts as the same statement, what is kept, and for how long.

use super::*;
use crate::dialect::{Dialect, Modes};
use crate::schema::tests::Server;

fn schema() -> Schema {
    let columns = ["k varchar(10) pk", "n int index", "v int"];
    Server::new().table("t", &columns).table("u", &columns).schema()
}

/// A cache, and what a session asks it with.
struct Asker {
    cache: FactsCache,
    scratch: Scratch,
    dialect: Dialect,
    schema: Schema,
    current: Option<&'static str>,
    snapshot: u64,
}

impl Asker {
    fn new(entries: usize) -> Asker {
        Asker {
            cache: FactsCache::new(entries, [1, 2]),
            scratch: Scratch::default(),
            dialect: Dialect::default(),
            schema: schema(),
            current: Some("app"),
            snapshot: 1,
        }
    }

    fn ask(&mut self, sql: &str) -> (Found, String) {
        let session = Session { dialect: &self.dialect, schema: self.current, plain_charsets: true };
        let context = Context { session, schema: Some(&self.schema), snapshot: self.snapshot };
        let resolve = |facts: &Facts| self.schema.resolve(facts, self.current);
        let found = self.cache.look_up(sql.as_bytes(), context, &mut self.scratch, resolve);
        let mut ids = KeyIds::default();
        found.known.keys(sql.as_bytes(), session, &self.scratch, &mut ids);
        let columns: Vec<_> = ids.columns().map(|(column, ids)| (column, ids.to_vec())).collect();
        let facts = &found.known.facts;
        let fresh = keys::of_read(sql.as_bytes(), facts, &self.schema, session)
            .or_else(|| keys::of_write(sql.as_bytes(), facts, &self.schema, session));
        let fresh: Vec<_> = fresh
            .iter()
            .flat_map(|keys| &keys.columns)
            .map(|column| (column.column, column.ids().collect::<Vec<_>>()))
            .collect();
        assert_eq!(columns, fresh, "{sql}");
        let counts: Vec<_> = columns.iter().map(|(_, ids)| ids.len().to_string()).collect();
        (found, counts.join("+"))
    }

    /// Whether the second text is known by the first, and how many values its keys have.
    fn same(&mut self, one: &str, other: &str) -> (bool, String) {
        self.ask(one);
        let (found, keys) = self.ask(other);
        (found.seen_before, keys)
    }
}

#[test]
fn a_text_is_known_by_one_that_differs_in_literals_gaps_and_lengths_of_lists() {
    for (one, other, keys) in [
        ("SELECT v FROM t WHERE k = 'x'", "SELECT  v FROM t /* why */ WHERE k = 'it''s \\'y' -- so", "1"),
        ("SELECT v FROM t WHERE n = 5 LIMIT 1", "SELECT v FROM t WHERE n = 70 LIMIT 20", "1"),
        ("SELECT v FROM t WHERE k IN ('x')", "SELECT v FROM t WHERE k IN ( 'a', 'b' ,\n'c')", "3"),
        (
            "SELECT v FROM t WHERE n IN (1,2) AND k='a'",
            "SELECT v FROM t WHERE n IN (-5,6,+7) AND k='bc'",
            "3+1",
        ),
        (
            "INSERT INTO t (n, k) VALUES (1, 'a'), (2, 'b')",
            "INSERT INTO t (n, k) VALUES (7, 'x'), (8, 'y'), (-9 ,'z')",
            "3+3",
        ),
        ("DELETE FROM t WHERE k = 'x'", "DELETE FROM t WHERE k = 'y'", "1"),
        // Whether a literal can be a key is told of each text.
        ("SELECT v FROM t WHERE k = 'x'", "SELECT v FROM t WHERE k = 'too long for that'", ""),
        ("SELECT v FROM t WHERE k = 'much too long'", "SELECT v FROM t WHERE k = 'x'", "1"),
        ("SELECT v FROM t WHERE n = 1.5 AND k = 'a'", "SELECT v FROM t WHERE n = 15 AND k = 'é'", "1"),
    ] {
        assert_eq!(Asker::new(100).same(one, other), (true, keys.to_owned()), "{one}\n{other}");
    }
}

#[test]
fn a_text_is_not_known_by_one_that_differs_otherwise() {
    for (one, other) in [
        ("SELECT v FROM t WHERE k = 'x'", "SELECT v FROM u WHERE k = 'x'"),
        ("SELECT v FROM t WHERE k = 'x'", "SELECT v FROM t WHERE k = 5"),
        ("SELECT v FROM t WHERE k = 'x'", "SELECT v FROM t WHERE k = 'x' 'y'"),
        ("SELECT v FROM t WHERE k = 'x'", "SELECT v FROM t WHERE k = ?"),
        ("SELECT v FROM t WHERE n = 5", "SELECT v FROM t WHERE n = -5"),
        ("SELECT v FROM t WHERE k IN ('x')", "SELECT v FROM t WHERE k IN (5)"),
        ("SELECT v FROM t WHERE k IN ('x', 'y')", "SELECT v FROM t WHERE k IN ('x', 5)"),
        ("SELECT v FROM t WHERE k IN ('x', 'y')", "SELECT v FROM t WHERE k IN ('x', NULL)"),
        ("SELECT v FROM t WHERE k IN ('x')", "SELECT v FROM t WHERE k IN (?)"),
        ("INSERT INTO t (n, k) VALUES (1, 'a'), (2, 'b')", "INSERT INTO t (n, k) VALUES (1, 'a'), ('b', 2)"),
        ("INSERT INTO t (n, k) VALUES (1, 'a'), (2, 'b')", "INSERT INTO t (n, k) VALUES (1, 'a'), (2)"),
        ("SELECT max(v) FROM t", "SELECT max (v) FROM t"),
        ("SELECT a.b FROM t", "SELECT a. b FROM t"),
        ("SELECT @'a' FROM t", "SELECT @'b' FROM t"),
        ("SELECT 1 a FROM t", "SELECT 1a FROM t"),
    ] {
        assert!(!Asker::new(100).same(one, other).0, "{one}\n{other}");
    }
}

#[test]
fn what_hangs_on_literals_versions_or_places_is_not_kept() {
    for sql in [
        "SELECT GET_LOCK('a', 1)",
        "SET autocommit = 1",
        "SELECT /*!50000 1 */",
        "SELECT 'open",
        "CREATE TABLE x (a INT)",
        "KILL 5",
        "HELLO 'x'",
        "SELECT @'\0' FROM t",
        "SELECT 1; DROP TABLE t",
        &format!("SELECT {}", vec!["a"; 3000].join("+")),
        &format!("SELECT {}", vec!["1"; 5000].join("+")),
    ] {
        let mut asker = Asker::new(100);
        assert!(!asker.same(sql, sql).0, "{sql}");
        assert!(asker.cache.is_empty());
    }
    let (found, _) = Asker::new(100).ask("CREATE TABLE x (a INT)");
    assert_eq!(found.known.facts.token, Some(0..6));
}

#[test]
fn dialect_schema_and_character_sets_tell_the_same_text_apart() {
    let sql = "SELECT \"v\" FROM t WHERE k = 'x'";
    let mut asker = Asker::new(100);
    assert!(asker.same(sql, sql).0);
    asker.dialect.modes = Modes::ANSI_QUOTES;
    assert!(!asker.ask(sql).0.seen_before);
    asker.current = Some("other");
    let (found, keys) = asker.ask(sql);
    assert!(!found.seen_before && keys.is_empty());
    asker.current = None;
    assert!(!asker.ask(sql).0.seen_before);
    (asker.dialect.modes, asker.current) = (Modes::empty(), Some("app"));
    assert!(asker.ask(sql).0.seen_before);
}

#[test]
fn another_snapshot_is_asked_but_the_text_is_not_analysed_again() {
    let sql = "SELECT v FROM t WHERE k = 'x'";
    let mut asker = Asker::new(100);
    let (first, keys) = asker.ask(sql);
    assert_eq!((keys.as_str(), first.known.resolved.why), ("1", None));
    let digest = first.known.digest(sql.as_bytes(), session_of(&asker.dialect));
    asker.schema = Server::new().view("t", "select 1 AS `v`").schema();
    asker.snapshot = 2;
    let (second, keys) = asker.ask(sql);
    assert!(second.seen_before && keys.is_empty() && Arc::ptr_eq(&first.known.facts, &second.known.facts));
    assert_eq!(second.known.digest(b"", session_of(&asker.dialect)), digest);
    assert_eq!(asker.cache.len(), 1);
}

fn session_of(dialect: &Dialect) -> Session<'_> {
    Session { dialect, schema: Some("app"), plain_charsets: true }
}

#[test]
fn a_cache_is_bounded_and_forgets_what_was_not_asked_for_longest() {
    let mut asker = Asker::new(8);
    let text = |n: usize| format!("SELECT v{n} FROM t");
    for n in 0..8 {
        asker.ask(&text(n));
    }
    assert!(asker.ask(&text(0)).0.seen_before);
    asker.ask(&text(8));
    assert_eq!(asker.cache.len(), 8);
    assert!(asker.ask(&text(0)).0.seen_before && !asker.ask(&text(1)).0.seen_before);
    for (entries, sets) in [(0, 0), (1, 1), (7, 1), (20, 2), (10_000, 1250)] {
        let mut asker = Asker::new(entries);
        assert_eq!(asker.cache.sets.len(), sets);
        (0..40).for_each(|n| drop(asker.ask(&text(n))));
        assert!(asker.cache.len() <= entries);
    }
}

#[test]
fn large_entries_leave_room_for_fewer() {
    let mut asker = Asker::new(8);
    for n in 0..8 {
        asker.ask(&format!("SELECT v{n}{} FROM t", " + v".repeat(1000)));
    }
    assert!(asker.cache.len() < 8);
    let weight: usize = asker.cache.sets[0].lock().iter().map(|known| known.weight()).sum();
    assert!(weight <= SET_WEIGHT);
}

#[test]
fn texts_whose_hashes_collide_are_told_apart() {
    let mut asker = Asker::new(100);
    let sql = ["SELECT v FROM t", "DELETE FROM t"];
    let known = sql.map(|sql| asker.ask(sql).0.known);
    let set = Mutex::default();
    for known in &known {
        let mut twin = Known { hash: 7, form: known.form.clone(), ..bare(known) };
        twin.snapshot = known.snapshot;
        keep(&set, 8, &Arc::new(twin));
    }
    for known in &known {
        let found = find(&set, 7, &known.form).unwrap();
        assert_eq!(found.facts, known.facts);
    }
    assert!(find(&set, 7, b"another").is_none());
}

fn bare(known: &Known) -> Known {
    Known {
        facts: Arc::clone(&known.facts),
        resolved: known.resolved.clone(),
        snapshot: 0,
        hash: 0,
        form: Box::default(),
        keys: Template::None,
        digest: OnceLock::new(),
    }
}
