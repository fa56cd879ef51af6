//! Asks the cache of facts and a fresh analysis, and compares: for the tests here, and for the fuzz targets.

use std::sync::{Arc, LazyLock};

use clonelove_sql::keys::{self, KeyIds, Session};
use clonelove_sql::schema::{Answers, Row};
use clonelove_sql::{
    Context, Dialect, Facts, FactsCache, Flavour, Schema, Scratch, analyse, digest_hash, digest_text,
};

/// Two tables with keys.
pub(crate) static SCHEMA: LazyLock<Arc<Schema>> = LazyLock::new(|| Arc::new(schema()));

fn schema() -> Schema {
    let mut answers = Answers::default();
    let mut add = |name, values: &[&str]| {
        let row: Row = values.iter().map(|value| (*value != "NULL").then(|| (*value).to_owned())).collect();
        answers.entry(name).or_default().push(row);
    };
    add("grants", &["GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost`"]);
    for table in ["t", "u"] {
        let ascii = "ascii_general_ci";
        add("tables", &["app", table, "BASE TABLE", "InnoDB"]);
        add("columns", &["app", table, "k", "1", "varchar", "varchar(30)", "30", ascii, "", "NULL"]);
        let extra = if table == "u" { "auto_increment" } else { "" };
        add("columns", &["app", table, "n", "2", "bigint", "bigint(20)", "NULL", "NULL", extra, "NULL"]);
        add("columns", &["app", table, "v", "3", "int", "int(11)", "NULL", "NULL", "", "NULL"]);
        add("indexes", &["app", table, "PRIMARY", "0", "1", "k", "NULL"]);
        add("indexes", &["app", table, "n", "1", "1", "n", "NULL"]);
    }
    Schema::build(Flavour::MariaDb, 101_119, &answers)
}

/// All but where the deciding token stands.
pub(crate) fn essence(facts: &Facts) -> Facts {
    let mut facts = facts.clone();
    facts.token = None;
    facts.parts = facts.parts.iter().map(essence).collect();
    facts
}

/// A cache, and what is needed to ask it.
pub(crate) struct Asker {
    /// The cache.
    pub(crate) cache: FactsCache,
    scratch: Scratch,
    ids: KeyIds,
    schema: Arc<Schema>,
    /// How many statements were seen before.
    pub(crate) seen: u32,
}

impl Asker {
    /// One with a cache of so many entries.
    pub(crate) fn new(entries: usize, schema: Arc<Schema>) -> Asker {
        let (cache, scratch) = (FactsCache::new(entries, [3, 4]), Scratch::default());
        Asker { cache, scratch, ids: KeyIds::default(), schema, seen: 0 }
    }

    /// Asks of a statement, and compares the answer with a fresh one.
    pub(crate) fn check(&mut self, sql: &[u8], dialect: &Dialect, current: Option<&str>, snapshot: u64) {
        let session = Session { dialect, schema: current, plain_charsets: true };
        let context = Context { session, schema: Some(&self.schema), snapshot };
        let resolve = |facts: &Facts| self.schema.resolve(facts, current);
        let found = self.cache.look_up(sql, context, &mut self.scratch, resolve);
        self.seen += u32::from(found.seen_before);
        let text = String::from_utf8_lossy(sql);
        let fresh = analyse(sql, dialect);
        let resolved = self.schema.resolve(&fresh, current);
        assert_eq!(essence(&found.known.facts), essence(&fresh), "{text}");
        assert_eq!(found.known.resolved, resolved, "{text}");
        let digest = found.known.digest(sql, session);
        assert_eq!(digest, digest_hash(&digest_text(sql, dialect)), "{text}");
        let fresh = keys::of_read(sql, &fresh, &self.schema, session)
            .or_else(|| keys::of_write(sql, &fresh, &self.schema, session))
            .filter(|_| !resolved.all_tables);
        let mut wanted = KeyIds::default();
        wanted.take(fresh.as_ref());
        found.known.keys(sql, session, &self.scratch, &mut self.ids);
        assert_eq!(shown(&self.ids), shown(&wanted), "{text}");
        assert_eq!(found.known.keys_in_full(sql, session, &self.scratch), fresh, "{text}");
    }
}

fn shown(ids: &KeyIds) -> String {
    format!("{:?} {:?}", ids.table(), ids.columns().collect::<Vec<_>>())
}
