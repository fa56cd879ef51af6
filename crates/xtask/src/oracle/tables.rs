//! Which tables a statement touches, as the server knows it: the metadata locks it holds within a transaction name
//! every table it opened. Owns the comparison with ours.

use std::collections::BTreeSet;

use clonelove_sql::Facts;

use super::client::Client;
use super::site::Site;

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
    pub(super) fn compare(&mut self, opened: &BTreeSet<String>, ours: &BTreeSet<String>, all: bool) {
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

/// Runs a statement once more in a transaction, and asks what is locked. `None` where that cannot be told.
pub(super) fn opened(client: &mut Client, side: &mut Client, sql: &[u8]) -> Option<BTreeSet<String>> {
    client.ask(b"START TRANSACTION").ok()?.error.is_none().then_some(())?;
    let reply = client.ask(sql).ok()?;
    let locks = format!(
        "SELECT DISTINCT CONCAT(LOWER(table_schema), '.', LOWER(table_name)) FROM information_schema.metadata_lock_info \
         WHERE thread_id = {} AND lock_type = 'Table metadata lock' AND table_name <> ''",
        client.id
    );
    let rows = side.rows(&locks).ok()?;
    client.ask(b"ROLLBACK").ok()?;
    reply.error.is_none().then_some(())?;
    Some(rows.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect())
}

/// Whether it names a view or a sequence, whose meaning the text does not tell.
pub(super) fn names_view_or_sequence(site: &mut Site, facts: &Facts) -> bool {
    let names: Vec<String> = facts
        .tables_read
        .iter()
        .map(|table| format!("'{}'", table.name.replace('\\', "\\\\").replace('\'', "''")))
        .collect();
    if names.is_empty() {
        return false;
    }
    let sql = format!(
        "SELECT COUNT(*) FROM information_schema.tables WHERE LOWER(table_name) IN ({}) \
         AND table_type IN ('VIEW', 'SEQUENCE')",
        names.join(", ")
    );
    site.side.value(&sql).is_ok_and(|count| count != "0" && !count.is_empty())
}
