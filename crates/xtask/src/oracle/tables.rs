//! Which tables a statement touches, as the server knows it: the metadata locks it holds within a transaction name
//! every table it opened. Owns the comparison with ours.

use std::collections::BTreeSet;

use clonelove_sql::{Facts, Resolved, TableId};

use super::client::Client;

/// How the tables told compare.
#[derive(Debug, Default, Clone)]
pub(super) struct Tables {
    /// Statements whose tables the server told.
    pub(super) compared: u64,
    /// Ours are the same.
    pub(super) equal: u64,
    /// Ours are those and more.
    pub(super) more: u64,
    /// Ours are all there are.
    pub(super) all: u64,
    /// Ours lack some.
    pub(super) fewer: u64,
}

impl Tables {
    /// Counts one statement.
    pub(super) fn compare<T: Ord>(&mut self, opened: &BTreeSet<T>, ours: &BTreeSet<T>, all: bool) {
        self.compared += 1;
        let counter = match () {
            () if all => &mut self.all,
            () if opened == ours => &mut self.equal,
            () if opened.is_subset(ours) => &mut self.more,
            () => &mut self.fewer,
        };
        *counter += 1;
    }
}

/// The tables of a statement in our words, as `schema.table`; those of information_schema are none that it opens.
pub(super) fn ours(facts: &Facts, schema: Option<&str>) -> BTreeSet<String> {
    let schema = schema.unwrap_or_default().to_lowercase();
    let all = facts.tables_read.iter().chain(&facts.tables_written);
    all.map(|table| (table.schema.clone().unwrap_or_else(|| schema.clone()), &table.name))
        .filter(|(schema, _)| schema != "information_schema" && schema != "performance_schema")
        .map(|(schema, table)| format!("{schema}.{table}"))
        .collect()
}

/// The tables of a statement with what stored knowledge adds: views' tables, stored functions' tables.
pub(super) fn known(facts: &Facts, resolved: &Resolved) -> BTreeSet<TableId> {
    let own = |schema: &str| matches!(schema, "information_schema" | "performance_schema");
    let virtual_ones: Vec<TableId> = facts
        .tables_read
        .iter()
        .filter_map(|table| table.schema.as_deref().map(|schema| (schema, &table.name)))
        .filter(|(schema, _)| own(schema))
        .map(|(schema, name)| TableId::of(schema, name))
        .collect();
    resolved.read.iter().chain(resolved.written.iter()).filter(|id| !virtual_ones.contains(id)).collect()
}

/// Names, each as [`opened`] tells it, as ids.
pub(super) fn ids(names: &BTreeSet<String>) -> BTreeSet<TableId> {
    let id = |name: &String| name.split_once('\t').map(|(schema, table)| TableId::of(schema, table));
    names.iter().filter_map(id).collect()
}

/// Runs a statement once more in a transaction, and asks what is locked: schema and table, with a tabulator between
/// them, as either may have a dot. `None` where that cannot be told.
pub(super) fn opened(client: &mut Client, side: &mut Client, sql: &[u8]) -> Option<BTreeSet<String>> {
    client.ask(b"START TRANSACTION").ok()?.error.is_none().then_some(())?;
    let reply = client.ask(sql).ok()?;
    let locks = format!(
        "SELECT DISTINCT CONCAT(LOWER(table_schema), '\t', LOWER(table_name)) FROM information_schema.metadata_lock_info \
         WHERE thread_id = {} AND lock_type = 'Table metadata lock' AND table_name <> ''",
        client.id
    );
    let rows = side.rows(&locks).ok()?;
    client.ask(b"ROLLBACK").ok()?;
    reply.error.is_none().then_some(())?;
    Some(rows.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect())
}
