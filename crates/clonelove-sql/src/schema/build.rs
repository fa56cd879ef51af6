//! Answers of information_schema to a snapshot. The rows are whatever a server sent: what does not fit is passed over,
//! and what is passed over is unknown.

use std::collections::hash_map::Entry;

use crate::analyse::analyse;
use crate::dialect::{Dialect, Flavour};
use crate::facts::{Facts, Kind, TableName, Why};
use crate::names::is_server_specific_table;

use super::bodies::{Body, Names, SYSTEM_SCHEMAS};
use super::grants::{Coverage, Sight, text};
use super::id::{IdMap, RoutineId, TableId, folded};
use super::queries::{Answers, Row};
use super::table::{Column, KeyPart, Sort, Table, UniqueKey, Values};
use super::touch::{Draft, Drafts, Routine, Step, Touch};

/// Engines whose tables show rows that are not their own.
const FOREIGN_ENGINES: [&str; 9] =
    ["MRG_MYISAM", "MERGE", "FEDERATED", "FEDERATEDX", "CONNECT", "SPIDER", "OQGRAPH", "CSV", "SPHINX"];

/// Rows of any one answer beyond this many are not looked at, and everything is unknown then.
const MOST_ROWS: usize = 4_000_000;

pub(super) struct Built {
    pub(super) tables: IdMap<TableId, Table>,
    pub(super) functions: IdMap<RoutineId, Touch>,
    pub(super) coverage: Coverage,
    pub(super) triggers: usize,
}

pub(super) fn build(flavour: Flavour, version: u32, answers: &Answers) -> Built {
    let overflow = answers.values().any(|rows| rows.len() > MOST_ROWS);
    let mut builder = Builder {
        server: (flavour, version),
        coverage: if overflow { Coverage::default() } else { Coverage::of(flavour, answers) },
        tables: IdMap::default(),
        drafts: Drafts::default(),
    };
    let rows = |name: &str| match overflow {
        true => [].iter(),
        false => answers.get(name).map(Vec::as_slice).unwrap_or_default().iter(),
    };
    rows("tables").for_each(|row| builder.table(row));
    rows("columns").for_each(|row| builder.column(row));
    builder.order_columns();
    builder.indexes(rows("indexes"));
    rows("foreign_keys").for_each(|row| builder.foreign_key(row));
    // Names first: bodies may call what comes later.
    for row in rows("routines") {
        if let Some(id) = routine_id(row) {
            builder.drafts.routines.insert(id, Routine::default());
        }
    }
    rows("routines").for_each(|row| builder.routine(row));
    rows("triggers").for_each(|row| builder.trigger(row));
    rows("views").for_each(|row| builder.view(row));
    builder.finish()
}

struct Builder {
    server: (Flavour, u32),
    coverage: Coverage,
    tables: IdMap<TableId, (Table, Vec<u32>)>,
    drafts: Drafts,
}

impl Names for Drafts {
    fn is_table(&self, id: TableId) -> bool {
        self.tables.contains_key(&id)
    }

    fn is_routine(&self, id: RoutineId) -> bool {
        self.routines.contains_key(&id)
    }
}

impl Builder {
    fn table(&mut self, row: &Row) {
        let (schema, name) = (folded(text(row, 0)), folded(text(row, 1)));
        let engine = text(row, 3);
        let sort = match text(row, 2) {
            _ if schema.is_empty() || name.is_empty() => return,
            // A table's engine is NULL where it cannot be opened.
            "BASE TABLE" | "SYSTEM VERSIONED" if engine.is_empty() => Sort::Opaque,
            "BASE TABLE" | "SYSTEM VERSIONED"
                if FOREIGN_ENGINES.iter().any(|foreign| foreign.eq_ignore_ascii_case(engine)) =>
            {
                Sort::Opaque
            }
            "BASE TABLE" | "SYSTEM VERSIONED" => Sort::Base,
            "VIEW" => Sort::View,
            "SEQUENCE" => Sort::Sequence,
            _ => return,
        };
        let id = TableId::of(&schema, &name);
        let triggers_known = self.coverage.sees(Sight::Triggers, &schema);
        let keyable = sort == Sort::Base && triggers_known && self.coverage.sees(Sight::Tables, &schema);
        let table = Table {
            schema: schema.into(),
            name: name.into(),
            sort,
            columns: Box::default(),
            unique: Box::default(),
            triggers: !triggers_known,
            cascades_to_itself: false,
            keyable,
            on_read: None,
            on_write: None,
        };
        let draft = Draft { sort, cascades: Vec::new(), triggers: Vec::new(), triggers_known, view: None };
        match self.tables.entry(id) {
            Entry::Vacant(free) => {
                free.insert((table, Vec::new()));
                self.drafts.tables.insert(id, draft);
            }
            Entry::Occupied(mut taken) => {
                // Names that differ in case, or hashes that collide.
                let (table, _) = taken.get_mut();
                table.sort = Sort::Opaque;
                table.keyable = false;
                if let Some(draft) = self.drafts.tables.get_mut(&id) {
                    draft.sort = Sort::Opaque;
                }
            }
        }
    }

    fn column(&mut self, row: &Row) {
        let id = TableId::of(text(row, 0), text(row, 1));
        let Some((table, places)) = self.tables.get_mut(&id) else { return };
        let Ok(place) = text(row, 3).parse() else {
            table.keyable = false;
            return;
        };
        let extra = text(row, 8).to_ascii_uppercase();
        let generated = !text(row, 9).is_empty()
            || ["VIRTUAL", "STORED", "PERSISTENT"].iter().any(|word| extra.contains(word));
        if extra.contains("VIRTUAL") && !computes(self.server, text(row, 9)) {
            // Whoever reads the column does what the expression does.
            table.sort = Sort::Opaque;
            table.keyable = false;
            if let Some(draft) = self.drafts.tables.get_mut(&id) {
                draft.sort = Sort::Opaque;
            }
        }
        let mut columns = std::mem::take(&mut table.columns).into_vec();
        columns.push(Column {
            name: folded(text(row, 2)).into(),
            values: Values::of(text(row, 4), text(row, 5), text(row, 6)),
            collation: row.get(7).and_then(Option::as_deref).map(Into::into),
            generated,
            auto_increment: extra.contains("AUTO_INCREMENT"),
            invisible: extra.contains("INVISIBLE"),
            indexed: false,
        });
        places.push(place);
        table.columns = columns.into_boxed_slice();
    }

    fn order_columns(&mut self) {
        for (table, places) in self.tables.values_mut() {
            let columns = std::mem::take(&mut table.columns).into_vec();
            let mut placed: Vec<(u32, Column)> = places.drain(..).zip(columns).collect();
            placed.sort_by_key(|(place, _)| *place);
            let names_differ = placed.windows(2).all(|pair| match pair {
                [(one, _), (other, _)] => one != other,
                _ => true,
            });
            table.keyable &= names_differ && !placed.is_empty();
            table.columns = placed.into_iter().map(|(_, column)| column).collect();
        }
    }

    fn indexes<'a>(&mut self, rows: impl Iterator<Item = &'a Row>) {
        let mut unique: std::collections::BTreeMap<(TableId, &str), Vec<KeyPart>> = Default::default();
        for row in rows {
            let id = TableId::of(text(row, 0), text(row, 1));
            let Some((table, _)) = self.tables.get_mut(&id) else { continue };
            let column = table.column(&folded(text(row, 5))).map(|(at, _)| at);
            if let Some(column) = column
                && let Some(column) = table.columns.get_mut(column as usize)
            {
                column.indexed = true;
            }
            if text(row, 3) == "0" {
                let prefix = row.get(6).is_some_and(Option::is_some);
                unique.entry((id, text(row, 2))).or_default().push(KeyPart { column, prefix });
            }
        }
        for ((id, _), parts) in unique {
            if let Some((table, _)) = self.tables.get_mut(&id) {
                let mut keys = std::mem::take(&mut table.unique).into_vec();
                keys.push(UniqueKey { parts: parts.into_boxed_slice() });
                table.unique = keys.into_boxed_slice();
            }
        }
    }

    fn foreign_key(&mut self, row: &Row) {
        let child = TableId::of(text(row, 0), text(row, 1));
        let parent = TableId::of(text(row, 2), text(row, 3));
        let changes = |rule: &str| !matches!(rule, "RESTRICT" | "NO ACTION");
        if (changes(text(row, 4)) || changes(text(row, 5)))
            && let Some(draft) = self.drafts.tables.get_mut(&parent)
        {
            draft.cascades.push(child);
        }
    }

    fn body(&self, body: &str, home: &str, sql_mode: &str) -> Body {
        let mut body = Body::of(body, home, sql_mode, self.server, &self.drafts);
        // It may name a table that cannot be seen.
        body.unknown |= !self.coverage.sees_everywhere(Sight::Tables);
        body
    }

    fn routine(&mut self, row: &Row) {
        let Some(id) = routine_id(row) else { return };
        let home = folded(text(row, 0));
        let body = match (text(row, 4), row.get(5).and_then(Option::as_deref)) {
            ("SQL", Some(body)) if !body.is_empty() => Some(self.body(body, &home, text(row, 6))),
            _ => None,
        };
        let declared_read = matches!(text(row, 3), "NO SQL" | "READS SQL DATA");
        self.drafts.routines.insert(id, Routine { declared_read, body });
    }

    fn trigger(&mut self, row: &Row) {
        let id = TableId::of(text(row, 0), text(row, 1));
        let body = match text(row, 3) {
            "" => Body { unknown: true, ..Body::default() },
            body => self.body(body, &folded(text(row, 2)), text(row, 4)),
        };
        if let Some((table, _)) = self.tables.get_mut(&id) {
            table.triggers = true;
        }
        if let Some(draft) = self.drafts.tables.get_mut(&id) {
            draft.triggers.push(body);
        }
    }

    fn view(&mut self, row: &Row) {
        let home = folded(text(row, 0));
        let id = TableId::of(&home, text(row, 1));
        let definition = text(row, 2);
        if definition.is_empty() {
            return;
        }
        // Definitions are stored in one form, whatever the sql_mode they were made under.
        let (flavour, version) = self.server;
        let dialect = Dialect { flavour, version, ..Dialect::default() };
        let body = view_body(&analyse(definition.as_bytes(), &dialect), &home);
        if let Some(draft) = self.drafts.tables.get_mut(&id) {
            draft.view = Some(body);
        }
    }

    fn finish(self) -> Built {
        let Builder { coverage, mut tables, drafts, .. } = self;
        for (id, (table, _)) in &mut tables {
            let Some(draft) = drafts.tables.get(id) else { continue };
            let alone = draft.triggers.is_empty() && draft.cascades.iter().all(|child| child == id);
            let plain = draft.sort == Sort::Base;
            table.cascades_to_itself = draft.cascades.contains(id);
            if !plain {
                table.on_read = Some(Box::new(drafts.walk(Step::Read(*id))));
            }
            if !(plain && alone && draft.triggers_known) {
                let touch = drafts.walk(Step::Write(*id));
                table.cascades_to_itself |= touch.again;
                table.on_write = Some(Box::new(touch));
            }
        }
        let triggers = drafts.tables.values().map(|draft| draft.triggers.len()).sum();
        let functions = drafts.routines.keys().map(|id| (*id, drafts.walk(Step::Call(*id)))).collect();
        let tables = tables.into_iter().map(|(id, (table, _))| (id, table)).collect();
        Built { tables, functions, coverage, triggers }
    }
}

/// What a view's query reads, as a body.
fn view_body(facts: &Facts, home: &str) -> Body {
    let schema = |name: &TableName| name.schema.clone().unwrap_or_else(|| home.to_owned());
    let apart = facts.apart.as_deref();
    let (kind, why, all) = match apart {
        Some(apart) => (apart.kind, apart.why, apart.all_tables),
        None => (facts.kind, facts.why, facts.all_tables),
    };
    let mut body = Body { why, unknown: all || kind != Kind::Read, ..Body::default() };
    for table in facts.tables_read.iter().chain(&facts.tables_written) {
        let schema = schema(table);
        if SYSTEM_SCHEMAS.contains(&schema.as_str()) {
            let server_specific = is_server_specific_table(&schema, &table.name);
            let why = if server_specific { Why::ServerSpecific } else { Why::UnknownTable };
            body.why.get_or_insert(why);
        } else {
            body.reads.push(TableId::of(&schema, &table.name));
        }
    }
    for function in &facts.functions {
        body.calls.push(RoutineId::function(&schema(function), &function.name));
    }
    body
}

fn routine_id(row: &Row) -> Option<RoutineId> {
    match text(row, 2) {
        "FUNCTION" => Some(RoutineId::function(text(row, 0), text(row, 1))),
        "PROCEDURE" => Some(RoutineId::procedure(text(row, 0), text(row, 1))),
        _ => None,
    }
}

/// Whether a virtual column's expression does nothing but compute, the same for every session. MariaDB takes
/// assignments to user variables there; MySQL, which shows expressions with escapes of its own, takes nothing of the like.
fn computes((flavour, version): (Flavour, u32), expression: &str) -> bool {
    if flavour == Flavour::MySql {
        return true;
    }
    let facts = analyse(
        format!("SELECT {expression}").as_bytes(),
        &Dialect { flavour, version, ..Dialect::default() },
    );
    facts.why.is_none() && facts.user_variables.is_empty()
}
