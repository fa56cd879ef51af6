//! A second opinion: sqlparser, where it understands a statement, on what it is and which tables it names.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use clonelove_sql::Dialect as OurDialect;
use sqlparser::ast::{ObjectName, Query, Statement, Visit, Visitor};
use sqlparser::parser::Parser;

use dialect::Session;

#[path = "../../../clonelove-sql/tests/sqlparser_dialect/mod.rs"]
mod dialect;

/// What it says of a text.
#[derive(Debug, Default)]
pub(super) struct Opinion {
    /// Every statement in it asks, and changes nothing.
    pub(super) query: bool,
    /// The tables it names, `schema.table` in lower case.
    pub(super) tables: BTreeSet<String>,
}

/// Its opinion; none where it does not understand.
pub(super) fn opinion(sql: &[u8], dialect: &OurDialect, schema: Option<&str>) -> Option<Opinion> {
    let text = std::str::from_utf8(sql).ok()?;
    if text.contains("/*!") || text.contains("/*M!") {
        return None;
    }
    let session = Session::of(dialect.modes);
    let statements = Parser::parse_sql(&session, text).ok().filter(|statements| !statements.is_empty())?;
    let mut names = Names { schema: schema.unwrap_or_default().to_lowercase(), ..Names::default() };
    let _: ControlFlow<()> = statements.visit(&mut names);
    let tables = names.tables.difference(&names.expressions).cloned().collect();
    Some(Opinion { query: statements.iter().all(asks), tables })
}

/// Statements that only ask. A query whose body is an INSERT or an UPDATE is none.
fn asks(statement: &Statement) -> bool {
    let query = |query: &Query| {
        let text = query.body.to_string();
        let first =
            text.split(|c: char| !c.is_ascii_alphabetic()).find(|word| !word.is_empty()).unwrap_or_default();
        !["INSERT", "UPDATE", "DELETE", "MERGE"].contains(&first)
    };
    match statement {
        Statement::Query(body) => query(body),
        Statement::Explain { statement, .. } => asks(statement),
        Statement::ExplainTable { .. } => true,
        other => other.to_string().starts_with("SHOW"),
    }
}

#[derive(Default)]
struct Names {
    schema: String,
    tables: BTreeSet<String>,
    /// Common table expressions, as tables of the session's schema would be called.
    expressions: BTreeSet<String>,
}

impl Visitor for Names {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        for expression in query.with.iter().flat_map(|with| &with.cte_tables) {
            self.expressions.insert(format!(
                "{}.{}",
                self.schema,
                expression.alias.name.value.to_lowercase()
            ));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        let parts: Vec<String> = relation
            .0
            .iter()
            .filter_map(|part| part.as_ident())
            .map(|identifier| identifier.value.to_lowercase())
            .collect();
        let name = match parts.as_slice() {
            [schema, table] => format!("{schema}.{table}"),
            [table] => format!("{}.{table}", self.schema),
            _ => return ControlFlow::Continue(()),
        };
        // It takes the options of UPDATE and DELETE for tables.
        if matches!(parts.last().map(String::as_str), Some("ignore" | "low_priority" | "quick")) {
            return ControlFlow::Continue(());
        }
        let own =
            ["information_schema.", "performance_schema."].iter().any(|schema| name.starts_with(schema));
        if !own && !name.ends_with(".dual") {
            self.tables.insert(name);
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use clonelove_sql::Modes;

    use super::*;

    fn say(sql: &str) -> Option<Opinion> {
        let dialect = OurDialect { modes: Modes::ANSI_QUOTES, ..OurDialect::default() };
        opinion(sql.as_bytes(), &dialect, Some("D"))
    }

    #[test]
    fn it_tells_queries_and_tables() {
        let opinion =
            say(r#"SELECT "a" FROM "t" JOIN e."u" ON 1 = 1 WHERE b = 'it\'s' AND c IN (SELECT 1 FROM v)"#)
                .unwrap();
        assert!(opinion.query);
        assert_eq!(opinion.tables.into_iter().collect::<Vec<_>>(), ["d.t", "d.v", "e.u"]);
        let insert = say("INSERT INTO t (a) VALUES (1) ON DUPLICATE KEY UPDATE a = VALUES(a)").unwrap();
        assert!(!insert.query);
        assert_eq!(insert.tables.into_iter().collect::<Vec<_>>(), ["d.t"]);
        let with = say("WITH x AS (SELECT 1 FROM t) SELECT * FROM x").unwrap();
        assert!(with.query && with.tables.into_iter().eq(["d.t".to_owned()]));
        assert!(say("SELECT FROM WHERE (").is_none());
    }
}
