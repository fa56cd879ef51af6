//! What accounts with too few privileges see of a server's definitions: less, never something else, and the grant that
//! mends it is named.

use anyhow::{Context, Result, ensure};
use clonelove_sql::schema::{Answers, queries};
use clonelove_sql::{Dialect, Flavour as Dialects, Kind, Resolved, Schema, TableId, Why, analyse};
use clonelove_testkit::{Cluster, ClusterOptions, Connection, Family, Flavour};

const DEFINITIONS: &[&str] = &[
    "CREATE TABLE t (id INT PRIMARY KEY, k VARCHAR(10) UNIQUE, v INT)",
    "CREATE TABLE child (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES t (id) ON DELETE CASCADE)",
    "CREATE TABLE log (what VARCHAR(20))",
    "CREATE VIEW v AS SELECT id, k FROM t WHERE v > 0",
    "CREATE VIEW vv AS SELECT v.id FROM v JOIN child ON child.p = v.id",
    "CREATE TRIGGER tr AFTER UPDATE ON t FOR EACH ROW INSERT INTO log VALUES ('updated')",
    "CREATE FUNCTION counted() RETURNS INT READS SQL DATA RETURN (SELECT COUNT(*) FROM child)",
    "CREATE FUNCTION logs() RETURNS INT DETERMINISTIC MODIFIES SQL DATA BEGIN INSERT INTO log VALUES ('f'); RETURN 1; END",
    "CREATE PROCEDURE p() BEGIN DELETE FROM child WHERE id = 1; SELECT * FROM log; END",
];

fn dialect(family: Family) -> Dialect {
    match family {
        Family::MariaDb => Dialect::default(),
        Family::MySql => Dialect { flavour: Dialects::MySql, version: 80_400, ..Dialect::default() },
    }
}

/// The snapshot that an account gets.
fn seen_by(cluster: &Cluster, user: &str) -> Result<Schema> {
    let mut connection = Connection::open(&cluster.primary.socket(), user, None)?;
    let dialect = dialect(cluster.primary.flavour().family());
    let mut answers = Answers::new();
    for question in queries(dialect.flavour) {
        match connection.query(question.sql) {
            Ok(rows) => {
                answers.insert(question.name, rows);
            }
            Err(_) if question.optional => {}
            Err(error) => return Err(error).context(question.sql),
        }
    }
    Ok(Schema::build(dialect.flavour, dialect.version, &answers))
}

struct Sight {
    schema: Schema,
    dialect: Dialect,
}

impl Sight {
    fn of(cluster: &Cluster, user: &str) -> Result<Sight> {
        let dialect = dialect(cluster.primary.flavour().family());
        Ok(Sight { schema: seen_by(cluster, user)?, dialect })
    }

    fn resolve(&self, sql: &str) -> Resolved {
        self.schema.resolve(&analyse(sql.as_bytes(), &self.dialect), Some("app"))
    }

    /// The reason to stay on the primary, then the tables written, or `*` for all.
    fn written(&self, sql: &str) -> String {
        let resolved = self.resolve(sql);
        if resolved.all_tables {
            return "*".to_owned();
        }
        let name = |id| self.schema.table(id).map_or("?", |table| &table.name).to_owned();
        let mut names: Vec<String> = resolved.written.iter().map(name).collect();
        names.sort();
        names.join(" ")
    }

    fn missing(&self) -> Vec<String> {
        self.schema.missing_grants().into_iter().map(|missing| missing.hint).collect()
    }
}

fn with_definitions(flavour: Flavour) -> Result<Cluster> {
    let options = ClusterOptions { replicas: 0, uniform: true, ..ClusterOptions::default() };
    let cluster = Cluster::start(flavour, options)?;
    let mut root = cluster.primary.connect()?;
    root.query("USE app")?;
    for sql in DEFINITIONS {
        root.query(sql)?;
    }
    for user in ["blind", "reader", "full", "narrow"] {
        root.query(&format!("CREATE USER {user}@localhost"))?;
    }
    let routines = if flavour.family() == Family::MySql { ", SHOW_ROUTINE" } else { "" };
    for sql in [
        "GRANT PROCESS ON *.* TO blind@localhost".to_owned(),
        "GRANT SELECT ON *.* TO reader@localhost".to_owned(),
        format!("GRANT SELECT, SHOW VIEW, TRIGGER{routines} ON *.* TO full@localhost"),
        "GRANT SELECT, SHOW VIEW, TRIGGER ON `ap_`.* TO narrow@localhost".to_owned(),
    ] {
        root.query(&sql)?;
    }
    Ok(cluster)
}

fn knowledge_is_as_wide_as_the_grants(flavour: Flavour) -> Result<()> {
    if !flavour.covered()? {
        return Ok(());
    }
    let cluster = with_definitions(flavour)?;
    everything_is_known(&Sight::of(&cluster, "full")?)?;

    let reader = Sight::of(&cluster, "reader")?;
    let missing = reader.missing();
    ensure!(missing.iter().any(|hint| hint.contains("GRANT TRIGGER ON *.*")), "{missing:?}");
    ensure!(missing.iter().any(|hint| hint.contains("GRANT SHOW VIEW ON *.*")), "{missing:?}");
    ensure!(reader.resolve("SELECT * FROM t").why.is_none());
    ensure!(reader.resolve("SELECT * FROM v").why == Some(Why::UnknownTable));
    ensure!(reader.written("INSERT INTO t VALUES (1, 'a', 1)") == "*");
    let keyable =
        |sight: &Sight| sight.schema.table(TableId::of("app", "t")).is_some_and(|table| table.keyable);
    ensure!(!keyable(&reader));

    let blind = Sight::of(&cluster, "blind")?;
    ensure!(blind.missing().len() == 4, "{:?}", blind.missing());
    ensure!(blind.resolve("SELECT * FROM t").why == Some(Why::UnknownTable));
    ensure!(blind.resolve("SELECT counted()").why == Some(Why::UnknownFunction));
    ensure!(blind.written("DELETE FROM t") == "*");

    let narrow = Sight::of(&cluster, "narrow")?;
    ensure!(keyable(&narrow) && narrow.resolve("SELECT * FROM vv").why.is_none());
    ensure!(narrow.written("CALL p()") == "*", "a body may name what is not seen");

    by_role(&cluster)?;
    // What is named mends it.
    let mut root = cluster.primary.connect()?;
    for (user, sight) in [("blind", &blind), ("reader", &reader)] {
        for hint in sight.missing() {
            root.query(&hint).with_context(|| hint.clone())?;
        }
        let mended = Sight::of(&cluster, user)?;
        ensure!(mended.missing().is_empty(), "{user}: {:?}", mended.missing());
        everything_is_known(&mended)?;
    }
    Ok(())
}

/// A role counts when it is on. Where a server does not tell what comes from one, that is not seen.
fn by_role(cluster: &Cluster) -> Result<()> {
    let mut root = cluster.primary.connect()?;
    let mariadb = cluster.primary.flavour().family() == Family::MariaDb;
    for sql in [
        "CREATE ROLE watcher",
        "GRANT SELECT, SHOW VIEW, TRIGGER ON *.* TO watcher",
        "CREATE USER masked@localhost",
        "GRANT watcher TO masked@localhost",
    ] {
        root.query(sql)?;
    }
    ensure!(Sight::of(cluster, "masked")?.missing().len() == 4, "a role that is off counts");
    root.query(match mariadb {
        true => "SET DEFAULT ROLE watcher FOR masked@localhost",
        false => "SET DEFAULT ROLE watcher TO masked@localhost",
    })?;
    let on = Sight::of(cluster, "masked")?;
    ensure!(on.missing().is_empty() || !mariadb, "{:?}", on.missing());
    if on.missing().is_empty() { everything_is_known(&on) } else { Ok(()) }
}

/// What an account sees that may see everything.
fn everything_is_known(sight: &Sight) -> Result<()> {
    ensure!(sight.missing().is_empty(), "{:?}", sight.missing());
    for (sql, tables) in [
        ("SELECT * FROM v", "t v"),
        ("SELECT * FROM vv", "child t v vv"),
        ("SELECT counted() FROM log", "child log"),
    ] {
        let resolved = sight.resolve(sql);
        ensure!(resolved.why.is_none() && !resolved.all_tables, "{sql}: {resolved:?}");
        let name = |id| sight.schema.table(id).map_or("?", |table| &table.name).to_owned();
        let mut names: Vec<String> = resolved.read.iter().map(name).collect();
        names.sort();
        ensure!(names.join(" ") == tables, "{sql}: {names:?}");
    }
    for (sql, tables) in [
        ("DELETE FROM t", "child log t"),
        ("UPDATE v SET k = 'x'", "child log t v"),
        ("SELECT logs()", "log"),
        ("CALL p()", "child"),
        ("INSERT INTO child VALUES (logs(), 1)", "child log"),
    ] {
        ensure!(sight.written(sql) == tables, "{sql}: {}", sight.written(sql));
    }
    ensure!(sight.resolve("SELECT logs()").kind == Kind::Write);
    ensure!(sight.resolve("SELECT * FROM nowhere").why == Some(Why::UnknownTable));
    Ok(())
}

#[test]
fn knowledge_is_as_wide_as_the_grants_on_mariadb() -> Result<()> {
    knowledge_is_as_wide_as_the_grants(Flavour::MariaDbDistribution)
}

#[test]
fn knowledge_is_as_wide_as_the_grants_on_mariadb_sid() -> Result<()> {
    knowledge_is_as_wide_as_the_grants(Flavour::MariaDbSid)
}

#[test]
fn knowledge_is_as_wide_as_the_grants_on_mysql_sid() -> Result<()> {
    knowledge_is_as_wide_as_the_grants(Flavour::MySqlSid)
}
