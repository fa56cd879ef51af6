//! How far a read or a write reaches: views to their tables, writes along cascades, triggers and routines.
//!
//! Each object is walked from once, when the snapshot is made; no cycle of definitions can hold it up.

use std::collections::HashSet;

use crate::facts::Why;

use super::id::{IdMap, RoutineId, TableId};
use super::{bodies::Body, table::Sort};

/// What reading, writing or calling something touches in all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Touch {
    pub(crate) reads: Box<[TableId]>,
    pub(crate) writes: Box<[TableId]>,
    /// It may touch any table.
    pub(crate) all: bool,
    /// Why a query that does it belongs on the primary.
    pub(crate) why: Option<Why>,
    /// It may leave something in the session that does it.
    pub(crate) leaves: bool,
    /// The walk came back to where it began.
    pub(crate) again: bool,
}

/// A table before the walks.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub(super) sort: Sort,
    /// Children that an ON DELETE or ON UPDATE of it changes.
    pub(super) cascades: Vec<TableId>,
    /// What its triggers do.
    pub(super) triggers: Vec<Body>,
    /// Its triggers can be seen.
    pub(super) triggers_known: bool,
    /// What it is made of, of a view that can be seen.
    pub(super) view: Option<Body>,
}

/// A stored function or procedure.
#[derive(Debug, Clone, Default)]
pub(super) struct Routine {
    /// NO SQL or READS SQL DATA, and a function.
    pub(super) declared_read: bool,
    /// What it does, where that can be seen.
    pub(super) body: Option<Body>,
}

/// All of a snapshot's definitions by their direct references.
#[derive(Debug, Default)]
pub(super) struct Drafts {
    pub(super) tables: IdMap<TableId, Draft>,
    pub(super) routines: IdMap<RoutineId, Routine>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Step {
    Read(TableId),
    Write(TableId),
    Call(RoutineId),
}

impl Drafts {
    /// Everything that follows from one step.
    pub(super) fn walk(&self, first: Step) -> Touch {
        let mut walk =
            Walk { drafts: self, first, seen: HashSet::new(), open: vec![first], touch: Touch::default() };
        walk.seen.insert(first);
        while let Some(step) = walk.open.pop() {
            match step {
                Step::Read(table) => walk.read(table),
                Step::Write(table) => walk.write(table),
                Step::Call(routine) => walk.call(routine),
            }
        }
        let tables = |wanted: fn(&Step) -> Option<TableId>| {
            let mut tables: Vec<TableId> = walk.seen.iter().filter_map(wanted).collect();
            tables.sort_unstable();
            tables.into_boxed_slice()
        };
        let reads = tables(|step| if let Step::Read(table) = step { Some(*table) } else { None });
        let writes = tables(|step| if let Step::Write(table) = step { Some(*table) } else { None });
        Touch { reads, writes, ..walk.touch }
    }
}

struct Walk<'a> {
    drafts: &'a Drafts,
    first: Step,
    seen: HashSet<Step>,
    open: Vec<Step>,
    touch: Touch,
}

impl Walk<'_> {
    fn go(&mut self, step: Step) {
        self.touch.again |= step == self.first;
        if self.seen.insert(step) {
            self.open.push(step);
        }
    }

    fn decide(&mut self, why: Why) {
        self.touch.why.get_or_insert(why);
    }

    fn read(&mut self, table: TableId) {
        let drafts = self.drafts;
        let Some(draft) = drafts.tables.get(&table) else {
            self.decide(Why::UnknownTable);
            return;
        };
        match (draft.sort, &draft.view) {
            (Sort::Base, _) => {}
            (Sort::Sequence, _) => self.decide(Why::ServerSpecific),
            (Sort::View, Some(view)) => self.body(view, false),
            (Sort::View | Sort::Opaque, _) => self.decide(Why::UnknownTable),
        }
    }

    fn write(&mut self, table: TableId) {
        let drafts = self.drafts;
        let Some(draft) = drafts.tables.get(&table) else {
            self.touch.all = true;
            return;
        };
        match (draft.sort, &draft.view) {
            (Sort::Base, _) => {
                self.touch.all |= !draft.triggers_known;
                for child in &draft.cascades {
                    self.go(Step::Write(*child));
                }
                for trigger in &draft.triggers {
                    self.body(trigger, false);
                }
            }
            (Sort::Sequence, _) => {}
            (Sort::View, Some(view)) => self.body(view, true),
            (Sort::View | Sort::Opaque, _) => self.touch.all = true,
        }
    }

    fn call(&mut self, routine: RoutineId) {
        let drafts = self.drafts;
        let known = drafts.routines.get(&routine);
        match known.and_then(|routine| routine.body.as_ref()) {
            Some(body) => {
                self.body(body, false);
                if !body.writes.is_empty() || !known.is_some_and(|routine| routine.declared_read) {
                    self.decide(Why::UnknownFunction);
                }
            }
            None => {
                self.touch.all = true;
                self.decide(Why::UnknownFunction);
            }
        }
    }

    /// What a body does; `through`: what it reads is written, because it is a view's.
    fn body(&mut self, body: &Body, through: bool) {
        if body.unknown {
            self.touch.all = true;
            self.decide(Why::UnknownFunction);
        }
        if let Some(why) = body.why {
            self.decide(why);
        }
        self.touch.leaves |= body.leaves;
        for table in &body.reads {
            self.go(if through { Step::Write(*table) } else { Step::Read(*table) });
        }
        for table in &body.writes {
            self.go(Step::Write(*table));
        }
        for routine in &body.calls {
            self.go(Step::Call(*routine));
        }
    }
}
