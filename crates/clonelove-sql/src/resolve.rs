//! A statement's facts in the light of the schema: which tables it touches in all, and whether it may leave the primary.
//!
//! Owns what follows from knowledge and from its absence. Knows no text: that is `analyse`'s business.

use crate::facts::{Effect, Facts, Kind, TableName, Why};
use crate::names::is_server_specific_table;
use crate::schema::{RoutineId, Schema, TableId, Touch, folded};

/// Some tables, each once.
#[derive(Debug, Clone, Default)]
pub struct TableSet {
    few: [Option<TableId>; 4],
    more: Vec<TableId>,
}

/// What a statement leaves in its session through the routines and triggers that it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Leaves {
    /// Whatever they can: they are not known.
    #[default]
    Unknown,
    /// Nothing: no user variable, no setting, no lock, no temporary table.
    Nothing,
    /// Something, or it may.
    Something,
}

/// What a statement is and touches, as far as the schema tells.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resolved {
    /// What it is.
    pub kind: Kind,
    /// Why it must run on the primary; `None`: a read that may leave it.
    pub why: Option<Why>,
    /// Tables it reads: those it names, and what views and functions read.
    pub read: TableSet,
    /// Tables it writes: those it names, and what views, triggers, cascades and routines write.
    pub written: TableSet,
    /// It may touch any table: reads of any for a read, reads and writes of any for everything else.
    pub all_tables: bool,
    /// It reads definitions: it needs a replica that has all changes of them.
    pub reads_definitions: bool,
    /// The definitions that it reads tell of data too (AUTO_INCREMENT, TABLE_ROWS): `all_tables` is set as well.
    pub data_dependent: bool,
    /// It changes definitions: the snapshot is out of date from when it is sent.
    pub changes_definitions: bool,
    /// Definitions of views, routines, triggers or cascades had a part in this.
    pub derived: bool,
    /// What it leaves in its session.
    pub leaves: Leaves,
    /// Tables it names that the snapshot does not know: a new snapshot is wanted. Temporary tables are among them.
    pub unknown_tables: Vec<TableName>,
}

impl TableSet {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.few.first().is_none_or(Option::is_none)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether this one is among them.
    pub fn contains(&self, table: TableId) -> bool {
        self.iter().any(|known| known == table)
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = TableId> + '_ {
        self.few.iter().flatten().chain(&self.more).copied()
    }

    /// Adds one.
    pub fn add(&mut self, table: TableId) {
        for place in &mut self.few {
            match place {
                Some(known) if *known == table => return,
                Some(_) => {}
                None => {
                    *place = Some(table);
                    return;
                }
            }
        }
        if !self.more.contains(&table) {
            self.more.push(table);
        }
    }
}

impl PartialEq for TableSet {
    fn eq(&self, other: &TableSet) -> bool {
        self.len() == other.len() && self.iter().all(|table| other.contains(table))
    }
}

impl Eq for TableSet {}

impl Extend<TableId> for TableSet {
    fn extend<I: IntoIterator<Item = TableId>>(&mut self, tables: I) {
        tables.into_iter().for_each(|table| self.add(table));
    }
}

impl Schema {
    /// What a statement is and touches, in a session with this default schema.
    pub fn resolve(&self, facts: &Facts, current: Option<&str>) -> Resolved {
        self.resolve_by(facts, current, None)
    }

    /// The same, but two sorts of unknown names are taken for base tables: those of a schema whose tables the account
    /// may not see, and those of `bases`. A read of them may leave the primary, and reads any table.
    pub fn resolve_leniently(&self, facts: &Facts, current: Option<&str>, bases: &[TableId]) -> Resolved {
        self.resolve_by(facts, current, Some(bases))
    }

    fn resolve_by(&self, facts: &Facts, current: Option<&str>, lenient: Option<&[TableId]>) -> Resolved {
        let current = current.map(folded);
        let resolver = Resolver { schema: self, current: current.as_deref(), lenient };
        if facts.parts.is_empty() {
            return resolver.statement(facts);
        }
        let leaves = Leaves::Nothing;
        let mut whole = Resolved { kind: facts.kind, why: facts.why, leaves, ..Resolved::default() };
        let mut reads = true;
        for part in &facts.parts {
            let part = resolver.statement(part);
            reads &= part.why.is_none();
            whole.read.extend(part.read.iter());
            whole.written.extend(part.written.iter());
            whole.all_tables |= part.all_tables;
            whole.reads_definitions |= part.reads_definitions;
            whole.data_dependent |= part.data_dependent;
            whole.changes_definitions |= part.changes_definitions;
            whole.derived |= part.derived;
            whole.leaves = whole.leaves.and(part.leaves);
            whole.unknown_tables.extend(part.unknown_tables);
        }
        // The text as a whole may be under a doubt of its own (another version's reading).
        let doubt = facts.all_tables && !facts.parts.iter().any(|part| part.all_tables);
        whole.all_tables |= doubt;
        whole.why = match facts.why {
            _ if !reads => Some(Why::MultiStatement),
            Some(Why::MultiStatement) => None,
            other => other,
        };
        if whole.why.is_none() {
            whole.kind = Kind::Read;
        }
        whole
    }
}

impl Leaves {
    fn and(self, other: Leaves) -> Leaves {
        match (self, other) {
            (Leaves::Something, _) | (_, Leaves::Something) => Leaves::Something,
            (Leaves::Unknown, _) | (_, Leaves::Unknown) => Leaves::Unknown,
            (Leaves::Nothing, Leaves::Nothing) => Leaves::Nothing,
        }
    }
}

struct Resolver<'a> {
    schema: &'a Schema,
    current: Option<&'a str>,
    /// Whether to be lenient, and what else is a base table.
    lenient: Option<&'a [TableId]>,
}

impl Resolver<'_> {
    fn statement(&self, facts: &Facts) -> Resolved {
        let mut resolved = match &facts.apart {
            None => Resolved {
                kind: facts.kind,
                why: facts.why,
                all_tables: facts.all_tables,
                ..Resolved::default()
            },
            Some(apart) => {
                let (kind, why, all_tables) = (apart.kind, apart.why, apart.all_tables);
                let mut resolved = Resolved { kind, why, all_tables, ..Resolved::default() };
                self.routines(facts, &mut resolved);
                resolved
            }
        };
        resolved.changes_definitions = facts.kind == Kind::Ddl;
        resolved.leaves = self.leaves(facts);
        for table in &facts.tables_read {
            self.reads(table, &mut resolved);
        }
        for table in &facts.tables_written {
            self.writes(table, facts, &mut resolved);
        }
        resolved
    }

    fn routines(&self, facts: &Facts, resolved: &mut Resolved) {
        for function in &facts.functions {
            let id = self.within(function).map(|schema| RoutineId::function(schema, &function.name));
            match id.and_then(|id| self.schema.routine(id)) {
                Some(touch) => touched(touch, resolved),
                None => {
                    resolved.all_tables = true;
                    decide(resolved, Why::UnknownFunction);
                }
            }
        }
        for effect in &facts.effects {
            let Effect::Call(procedure) = effect else { continue };
            let id = self.within(procedure).map(|schema| RoutineId::procedure(schema, &procedure.name));
            match id.and_then(|id| self.schema.routine(id)) {
                Some(touch) => touched(touch, resolved),
                None => resolved.all_tables = true,
            }
        }
    }

    /// What the routines it calls leave. What a procedure hands out goes into variables.
    fn leaves(&self, facts: &Facts) -> Leaves {
        if facts.kind == Kind::Unknown {
            return Leaves::Unknown;
        }
        let of = |id: Option<RoutineId>| match id.and_then(|id| self.schema.routine(id)) {
            Some(touch) if touch.leaves => Leaves::Something,
            Some(touch) if !touch.all => Leaves::Nothing,
            _ => Leaves::Unknown,
        };
        let function =
            |name: &TableName| of(self.within(name).map(|schema| RoutineId::function(schema, &name.name)));
        let called = |effect: &Effect| match effect {
            Effect::Call(_) if !facts.user_variables.is_empty() => Leaves::Something,
            Effect::Call(name) => {
                of(self.within(name).map(|schema| RoutineId::procedure(schema, &name.name)))
            }
            Effect::ExecuteText(_) => Leaves::Unknown,
            _ => Leaves::Nothing,
        };
        let all = facts.functions.iter().map(function).chain(facts.effects.iter().map(called));
        all.fold(Leaves::Nothing, Leaves::and)
    }

    fn within<'t>(&'t self, name: &'t TableName) -> Option<&'t str> {
        name.schema.as_deref().or(self.current)
    }

    fn reads(&self, table: &TableName, resolved: &mut Resolved) {
        let Some(schema) = self.within(table) else { return unknown(table, resolved) };
        let id = TableId::of(schema, &table.name);
        resolved.read.add(id);
        let Some(known) = self.schema.table(id) else {
            return self.reads_system(schema, table, id, resolved);
        };
        let Some(touch) = &known.on_read else { return };
        touched(touch, resolved);
        if touch.why == Some(Why::UnknownTable) {
            resolved.unknown_tables.push(table.clone());
        }
    }

    /// A table that the snapshot does not hold.
    fn reads_system(&self, schema: &str, table: &TableName, id: TableId, resolved: &mut Resolved) {
        /// Of these, columns tell of rows: how many there are, or the next number.
        const OF_DATA: [&str; 3] = ["tables", "statistics", "partitions"];
        if is_server_specific_table(schema, &table.name) {
            decide(resolved, Why::ServerSpecific);
        } else if schema == "information_schema" {
            resolved.reads_definitions = true;
            if OF_DATA.contains(&table.name.as_str()) {
                resolved.data_dependent = true;
                resolved.all_tables = true;
            }
        } else if self.taken_for_base(schema, id) || is_generated(&table.name) {
            resolved.all_tables = true;
        } else {
            unknown(table, resolved);
        }
    }

    fn taken_for_base(&self, schema: &str, id: TableId) -> bool {
        self.lenient.is_some_and(|bases| bases.contains(&id) || !self.schema.sees_tables_of(schema))
    }

    fn writes(&self, table: &TableName, facts: &Facts, resolved: &mut Resolved) {
        let Some(schema) = self.within(table) else {
            resolved.unknown_tables.push(table.clone());
            resolved.all_tables = true;
            return;
        };
        let id = TableId::of(schema, &table.name);
        resolved.written.add(id);
        // Definitions fire no triggers.
        if matches!(facts.kind, Kind::Ddl | Kind::Admin) {
            return;
        }
        match self.schema.table(id) {
            Some(known) => {
                if let Some(touch) = &known.on_write {
                    touched(touch, resolved);
                }
            }
            None if defines_temporary(facts) => {}
            None => {
                if !self.taken_for_base(schema, id) {
                    resolved.unknown_tables.push(table.clone());
                }
                resolved.all_tables = true;
            }
        }
    }
}

fn touched(touch: &Touch, resolved: &mut Resolved) {
    resolved.read.extend(touch.reads.iter().copied());
    resolved.written.extend(touch.writes.iter().copied());
    resolved.all_tables |= touch.all;
    resolved.derived = true;
    if touch.leaves {
        resolved.leaves = Leaves::Something;
    }
    if let Some(why) = touch.why {
        decide(resolved, why);
    }
}

/// Keeps a read on the primary.
fn decide(resolved: &mut Resolved, why: Why) {
    if resolved.why.is_none() {
        resolved.why = Some(why);
        if why == Why::UnknownFunction && resolved.kind == Kind::Read {
            resolved.kind = Kind::Write;
        }
    }
}

fn unknown(table: &TableName, resolved: &mut Resolved) {
    decide(resolved, Why::UnknownTable);
    resolved.unknown_tables.push(table.clone());
}

/// `seq_1_to_10`, `seq_1_to_10_step_3`: MariaDB's SEQUENCE engine has a table of every such name, and lists none.
fn is_generated(name: &str) -> bool {
    let number = |text: Option<&str>| text.is_some_and(|text| text.parse::<u64>().is_ok());
    let mut words = name.split('_');
    let plain = words.next() == Some("seq")
        && number(words.next())
        && words.next() == Some("to")
        && number(words.next());
    plain
        && (words.next().is_none_or(|word| word == "step" && number(words.next())) && words.next().is_none())
}

/// CREATE TEMPORARY TABLE and DROP TEMPORARY TABLE, whose table is nobody else's.
fn defines_temporary(facts: &Facts) -> bool {
    let defines = |effect: &Effect| matches!(effect, Effect::CreateTemporary(_) | Effect::DropTables(_));
    facts.effects.iter().any(defines)
}
