//! Whatever sqlparser takes for something other than a query, we do not call a read; and the tables that it finds in a
//! statement are among ours. Statements are spliced from pieces of others, so that most are like none that was written.

#![expect(clippy::indexing_slicing, reason = "places are taken from the lengths at hand")]

mod sqlparser_dialect;

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use clonelove_sql::{Dialect, Facts, Modes, analyse};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use sqlparser::ast::{ObjectName, Query, SetExpr, Statement, Visit, Visitor};
use sqlparser::parser::Parser;
use sqlparser_dialect::Session;

/// Statements to cut up; pieces are what stands between two spaces.
const SEEDS: &[&str] = &[
    "SELECT a , b FROM t WHERE c = 'x' AND d IN ( 1 , 2 ) ORDER BY e LIMIT 10",
    "SELECT * FROM t JOIN u ON t . a = u . b LEFT JOIN v USING ( a ) WHERE NOT EXISTS ( SELECT 1 FROM w )",
    "SELECT COUNT ( * ) FROM ( SELECT 1 AS expression FROM t ) AS s GROUP BY a HAVING COUNT ( * ) > 1",
    "WITH c AS ( SELECT a FROM t ) SELECT * FROM c , d . u",
    "WITH RECURSIVE c AS ( SELECT 1 AS n UNION ALL SELECT n + 1 FROM c WHERE n < 5 ) SELECT * FROM c",
    "( SELECT a FROM t ) UNION ( SELECT b FROM u ) ORDER BY 1",
    "VALUES ROW ( 1 , 2 ) , ROW ( 3 , 4 )",
    "SELECT a FROM t WHERE b = ( SELECT MAX ( b ) FROM u WHERE u . k = t . k )",
    "SELECT CASE WHEN a THEN 1 ELSE 2 END , CAST ( b AS CHAR ) FROM t",
    "SELECT a FROM t FOR UPDATE",
    "INSERT INTO t ( a , b ) VALUES ( 1 , 'x' ) ON DUPLICATE KEY UPDATE a = VALUES ( a )",
    "INSERT INTO t SELECT * FROM u WHERE a = 1",
    "REPLACE INTO t ( a ) VALUES ( 1 )",
    "UPDATE t SET a = 1 WHERE b = 2",
    "UPDATE t JOIN u ON t . a = u . a SET t . b = u . b",
    "DELETE FROM t WHERE a IN ( SELECT a FROM u )",
    "DELETE t FROM t JOIN u ON t . a = u . a",
    "CREATE TABLE t ( a INT PRIMARY KEY , b VARCHAR ( 10 ) DEFAULT 'x' )",
    "CREATE TABLE t AS SELECT * FROM u",
    "CREATE VIEW v AS SELECT a FROM t",
    "ALTER TABLE t ADD COLUMN c INT",
    "DROP TABLE IF EXISTS t , u",
    "TRUNCATE TABLE t",
    "START TRANSACTION",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT s",
    "SET autocommit = 0",
    "SET NAMES utf8mb4",
    "USE d",
    "LOCK TABLES t WRITE",
    "UNLOCK TABLES",
    "CALL p ( 1 )",
    "SHOW TABLES",
    "SHOW COLUMNS FROM t",
    "EXPLAIN SELECT * FROM t",
    "EXPLAIN UPDATE t SET a = 1",
    "DESCRIBE t",
    "KILL 5",
    "GRANT SELECT ON t TO u",
    "SELECT 1 ; DROP TABLE t",
    "PREPARE p FROM 'SELECT 1'",
    "EXECUTE p",
    "FLUSH TABLES",
    "OPTIMIZE TABLE t",
    "ANALYZE TABLE t",
];

/// What it takes for tables, but no server does: words that are reserved, and the table that is none.
const NO_TABLES: &[&str] = &["dual", "values", "row", "table", "json_table", "lateral"];

/// Whether every statement only asks.
fn asks(statement: &Statement) -> bool {
    fn body(expression: &SetExpr) -> bool {
        match expression {
            SetExpr::Select(select) => select.into.is_none(),
            SetExpr::Query(query) => body_of(query),
            SetExpr::SetOperation { left, right, .. } => body(left) && body(right),
            SetExpr::Values(_) | SetExpr::Table(_) => true,
            _ => false,
        }
    }
    fn body_of(query: &Query) -> bool {
        query.locks.is_empty() && body(&query.body)
    }
    match statement {
        Statement::Query(query) => body_of(query),
        Statement::Explain { analyze: false, statement, .. } => is_described(statement) || asks(statement),
        Statement::Explain { statement, .. } => asks(statement),
        Statement::ExplainTable { .. } => true,
        other => other.to_string().starts_with("SHOW"),
    }
}

/// The servers explain queries and changes of rows; any other word is the name of a table to be described.
fn is_described(statement: &Statement) -> bool {
    let text = statement.to_string();
    let word = text.split([' ', '(']).next().unwrap_or_default();
    let explained =
        ["", "SELECT", "VALUES", "TABLE", "INSERT", "REPLACE", "UPDATE", "DELETE", "MERGE", "WITH"];
    !explained.contains(&word)
}

/// Tables by name, common table expressions apart.
#[derive(Default)]
struct Names {
    tables: BTreeSet<String>,
    expressions: BTreeSet<String>,
}

impl Visitor for Names {
    type Break = ();
    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let all = query.with.iter().flat_map(|with| &with.cte_tables);
        self.expressions.extend(all.map(|expression| expression.alias.name.value.to_lowercase()));
        ControlFlow::Continue(())
    }
    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        let last = relation.0.last().and_then(|part| part.as_ident());
        self.tables.extend(last.map(|name| name.value.to_lowercase()));
        ControlFlow::Continue(())
    }
}

fn parsed(sql: &str, ansi_quotes: bool) -> Option<Vec<Statement>> {
    Parser::parse_sql(&Session::of(modes(ansi_quotes)), sql).ok().filter(|all| !all.is_empty())
}

fn ours(sql: &str, ansi_quotes: bool) -> Facts {
    analyse(sql.as_bytes(), &Dialect { modes: modes(ansi_quotes), ..Dialect::default() })
}

fn modes(ansi_quotes: bool) -> Modes {
    if ansi_quotes { Modes::ANSI_QUOTES } else { Modes::empty() }
}

fn check(sql: &str, ansi_quotes: bool) -> Result<bool, TestCaseError> {
    let Some(statements) = parsed(sql, ansi_quotes) else { return Ok(false) };
    // MariaDB explains a table of values by this; sqlparser takes VALUES for the name of a table to be analysed.
    let mut words = sql.split_ascii_whitespace().map(str::to_ascii_uppercase);
    if words.next().as_deref() == Some("ANALYZE")
        && words.next().is_some_and(|word| word.starts_with("VALUES"))
    {
        return Ok(false);
    }
    let facts = ours(sql, ansi_quotes);
    if !statements.iter().all(asks) {
        prop_assert!(facts.why.is_some(), "no query, but called a read: {sql}");
        return Ok(true);
    }
    // It takes the schema of SHOW TABLES FROM for a table, and DESCRIBE truncate for a statement.
    let otherwise = statements.iter().any(|statement| match statement {
        Statement::Explain { statement, .. } => is_described(statement),
        other => other.to_string().starts_with("SHOW"),
    });
    if facts.why.is_none() && !facts.all_tables && !otherwise {
        let mut names = Names::default();
        let _: ControlFlow<()> = statements.visit(&mut names);
        for table in
            names.tables.difference(&names.expressions).filter(|table| !NO_TABLES.contains(&table.as_str()))
        {
            prop_assert!(facts.tables_read.iter().any(|known| known.name == *table), "lacks {table}: {sql}");
        }
    }
    Ok(true)
}

/// The beginning of one statement, the middle of another, the end of a third, and perhaps one piece elsewhere.
fn spliced() -> impl Strategy<Value = String> {
    let cut = || (0..SEEDS.len(), any::<prop::sample::Index>(), any::<prop::sample::Index>());
    (cut(), cut(), cut(), any::<bool>()).prop_map(|(first, middle, last, whole)| {
        let pieces = |at: usize| SEEDS[at].split(' ').collect::<Vec<_>>();
        let (head, body, tail) = (pieces(first.0), pieces(middle.0), pieces(last.0));
        let end = first.1.index(head.len() + 1);
        let mut all = head[..end].to_vec();
        if whole {
            let (from, to) = (middle.1.index(body.len()), middle.2.index(body.len()));
            all.extend(&body[from.min(to)..=from.max(to)]);
            all.extend(&tail[last.1.index(tail.len())..]);
        } else {
            all.extend(&body[middle.1.index(body.len())..]);
        }
        all.join(" ")
    })
}

#[test]
fn the_seeds_are_understood() {
    let understood = SEEDS.iter().filter(|sql| parsed(sql, false).is_some()).count();
    assert!(understood * 10 >= SEEDS.len() * 8, "{understood} of {}", SEEDS.len());
    for sql in SEEDS {
        check(sql, false).unwrap();
    }
}

proptest! {
    // The same texts every time: the two parsers' own oddities (DESCRIBE of a table called TRUNCATE) are for a
    // person to look at, who gives other seeds by PROPTEST_RNG_SEED.
    #![proptest_config(ProptestConfig {
        cases: 50_000,
        max_shrink_iters: 2_000,
        failure_persistence: None,
        rng_seed: match std::env::var("PROPTEST_RNG_SEED").ok().and_then(|seed| seed.parse().ok()) {
            Some(seed) => RngSeed::Fixed(seed),
            None => RngSeed::Fixed(1),
        },
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_sqlparser_calls_no_query_is_no_read_and_its_tables_are_ours(sql in spliced(), ansi_quotes: bool) {
        check(&sql, ansi_quotes)?;
    }
}
