//! What the analysis says of a pair: as routing will use it.

use clonelove_sql::keys::{self, Keys, Rules, Session};
use clonelove_sql::{Dialect, Flavour, Modes, Resolved, Schema, analyse};
use clonelove_testkit::Family;

pub(super) fn flavour(family: Family) -> Flavour {
    match family {
        Family::MariaDb => Flavour::MariaDb,
        Family::MySql => Flavour::MySql,
    }
}

/// A version that the flavour's servers in the tests are at least of.
pub(super) fn version(family: Family) -> u32 {
    match family {
        Family::MariaDb => 101_100,
        Family::MySql => 80_400,
    }
}

pub(super) struct Judge {
    schema: Schema,
    dialect: Dialect,
}

/// Of a read and a write.
#[derive(Debug, Clone, Copy)]
pub(super) struct Verdict {
    /// They name a table in common, or could.
    pub(super) same_table: bool,
    /// The write cannot change what the read answers.
    pub(super) independent: bool,
}

impl Judge {
    pub(super) fn new(schema: Schema, family: Family, modes: Modes) -> Judge {
        let dialect =
            Dialect { flavour: flavour(family), version: version(family), modes, ..Dialect::default() };
        Judge { schema, dialect }
    }

    /// What is known of a statement before it meets another.
    pub(super) fn look(&self, sql: &str) -> Look {
        self.look_under(Rules::all(), sql)
    }

    pub(super) fn look_under(&self, rules: Rules, sql: &str) -> Look {
        let (sql, current) = (sql.as_bytes(), Some("app"));
        let facts = analyse(sql, &self.dialect);
        let session = Session { dialect: &self.dialect, schema: current, plain_charsets: true };
        Look {
            resolved: self.schema.resolve(&facts, current),
            read_keys: keys::of_read_under(rules, sql, &facts, &self.schema, session),
            write_keys: keys::of_write_under(rules, sql, &facts, &self.schema, session),
        }
    }

    pub(super) fn pair(&self, read: &str, write: &str) -> Verdict {
        self.look(read).meets(&self.look(write))
    }

    pub(super) fn pair_under(&self, rules: Rules, read: &str, write: &str) -> Verdict {
        self.look_under(rules, read).meets(&self.look_under(rules, write))
    }
}

/// Of one statement.
pub(super) struct Look {
    resolved: Resolved,
    read_keys: Option<Keys>,
    write_keys: Option<Keys>,
}

impl Look {
    /// A read, and a write.
    pub(super) fn meets(&self, write: &Look) -> Verdict {
        let (reads, writes) = (&self.resolved, &write.resolved);
        let common: Vec<_> = reads.read.iter().filter(|table| writes.written.contains(*table)).collect();
        let same_table = !common.is_empty() || reads.all_tables || writes.all_tables;
        // A read that stays on the primary sees everything.
        if reads.why.is_some() || reads.all_tables || writes.all_tables {
            return Verdict { same_table, independent: false };
        }
        let told_apart = |table| match (&self.read_keys, &write.write_keys) {
            (Some(read), Some(write)) if read.table == table && write.table == table => {
                keys::independent(read, write)
            }
            _ => false,
        };
        Verdict { same_table, independent: common.into_iter().all(told_apart) }
    }
}
