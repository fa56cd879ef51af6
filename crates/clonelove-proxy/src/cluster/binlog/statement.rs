//! What a statement in the log writes, by its text. Owns the way from an event's session to a dialect, and what of the
//! analysis counts there; pure.

use clonelove_sql::{Charset, Dialect, Effect, Facts, Flavour, Kind, Modes, analyse};
use clonelove_wire::binlog::Query;

use super::{By, Writes};
use crate::cluster::schema::Doubts;

/// How the primary's statements are read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader {
    pub(super) flavour: Flavour,
    pub(super) version: u32,
}

impl Reader {
    /// Adds what a statement may have written.
    pub(super) fn add(self, query: &Query<'_>, writes: &mut Writes) {
        let facts = analyse(query.text, &self.dialect(query));
        let schema = std::str::from_utf8(query.schema).ok().filter(|schema| !schema.is_empty());
        let told = is_told(&facts);
        writes.all_tables |= !told;
        writes.accounts |= changes_accounts(&facts);
        if let Some(doubts) = doubts(query.text, &facts, schema, told) {
            writes.doubts.get_or_insert_default().add(&doubts);
        }
        let by = if facts.kind == Kind::Ddl { By::Definition } else { By::Statement };
        for table in &facts.tables_written {
            match table.schema.as_deref().or(schema) {
                Some(schema) => writes.with_table(schema, &table.name, |written, _| {
                    written.by = written.by.max(by);
                    written.columns.clear();
                }),
                None => writes.all_tables = true,
            }
        }
    }

    fn dialect(self, query: &Query<'_>) -> Dialect {
        let collation = query.client_collation.unwrap_or(UTF8MB4_GENERAL_CI);
        let collation = mysql_common::collations::Collation::resolve(collation.into());
        Dialect {
            flavour: self.flavour,
            version: self.version,
            modes: modes(query.sql_mode.unwrap_or(0)),
            charset: Charset::from_name(collation.charset()),
        }
    }
}

const UTF8MB4_GENERAL_CI: u16 = 45;

/// The bits that change how a statement is read (`sql_class.h`, `system_variables.h`).
fn modes(bits: u64) -> Modes {
    const BITS: [(u64, Modes); 4] = [
        (1 << 1, Modes::PIPES_AS_CONCAT),
        (1 << 2, Modes::ANSI_QUOTES),
        (1 << 3, Modes::IGNORE_SPACE),
        (1 << 20, Modes::NO_BACKSLASH_ESCAPES),
    ];
    BITS.iter().filter(|(bit, _)| bits & bit != 0).fold(Modes::empty(), |modes, (_, mode)| modes | *mode)
}

/// Whether the tables that it names are all that it writes. What is in the log is no read: a query there is a function
/// that writes.
fn is_told(facts: &Facts) -> bool {
    let named = match facts.kind {
        Kind::Write => !facts.tables_written.is_empty(),
        // Some define what has no rows.
        Kind::Ddl => true,
        _ => false,
    };
    named
        && !changes_accounts(facts)
        && !facts.all_tables
        && facts.functions.is_empty()
        && facts.parts.is_empty()
}

fn changes_accounts(facts: &Facts) -> bool {
    facts.effects.iter().any(|effect| matches!(effect, Effect::Accounts))
}

/// Which definitions may have changed. A function that writes defines nothing, nor does TRUNCATE; of what is not
/// understood that cannot be said.
fn doubts(text: &[u8], facts: &Facts, schema: Option<&str>, told: bool) -> Option<Doubts> {
    let runs = !facts.functions.is_empty();
    let understood = told || runs || changes_accounts(facts) || facts.kind == Kind::Ddl;
    if understood { Doubts::of(text, facts, schema) } else { Some(Doubts::of_everything()) }
}
