//! What the analysis says of a pair: as routing will use it.

use clonelove_sql::keys::{self, Rules, Session};
use clonelove_sql::{Dialect, Flavour, Modes, Schema, analyse};
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

    pub(super) fn pair(&self, read: &str, write: &str) -> Verdict {
        self.pair_under(Rules::all(), read, write)
    }

    pub(super) fn pair_under(&self, rules: Rules, read: &str, write: &str) -> Verdict {
        let current = Some("app");
        let (read, write) = (read.as_bytes(), write.as_bytes());
        let (of_read, of_write) = (analyse(read, &self.dialect), analyse(write, &self.dialect));
        let reads = self.schema.resolve(&of_read, current);
        let writes = self.schema.resolve(&of_write, current);
        let common: Vec<_> = reads.read.iter().filter(|table| writes.written.contains(*table)).collect();
        let same_table = !common.is_empty() || reads.all_tables || writes.all_tables;
        // A read that stays on the primary sees everything.
        if reads.why.is_some() || reads.all_tables || writes.all_tables {
            return Verdict { same_table, independent: false };
        }
        let session = Session { dialect: &self.dialect, schema: current, plain_charsets: true };
        let read_keys = keys::of_read_under(rules, read, &of_read, &self.schema, session);
        let write_keys = keys::of_write_under(rules, write, &of_write, &self.schema, session);
        let told_apart = |table| match (&read_keys, &write_keys) {
            (Some(read), Some(write)) if read.table == table && write.table == table => {
                keys::independent(read, write)
            }
            _ => false,
        };
        Verdict { same_table, independent: common.into_iter().all(told_apart) }
    }
}
