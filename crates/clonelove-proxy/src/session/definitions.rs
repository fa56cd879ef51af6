//! What the schema adds to a statement's own words: whether what it reads only looks like a table, whether what it calls
//! only reads, and whether it changes any of that. Must not touch connections.

use clonelove_route::freshness::Rules;
use clonelove_sql::{Effect, Facts, Kind, Resolved};

use super::ClientSession;
use super::statement::Statement;
use crate::cluster::schema::{Changing, Doubts};

impl ClientSession {
    /// Lets the schema have its say on a statement; without a snapshot its own words are all there is.
    pub(super) fn resolve(&self, statement: &mut Statement) {
        let view = self.shared.cluster.schema.view();
        let Some(view) = &*view else { return };
        let schema = statement.schema(self.state.schema.as_deref());
        let resolved = view.resolve(&statement.facts, schema);
        if !resolved.unknown_tables.is_empty() {
            self.ask_for_unknown(view, &resolved);
        }
        statement.facts.kind = resolved.kind;
        statement.facts.why = resolved.why;
        statement.leaves = resolved.leaves;
        statement.known = !resolved.all_tables;
        statement.generation = view.generation;
        statement.resolved = Some(Box::new(resolved));
    }

    /// A new snapshot may hold what this one does not, but for what is the session's own.
    fn ask_for_unknown(&self, view: &crate::cluster::schema::View, resolved: &Resolved) {
        let schema = self.state.schema.as_deref();
        let shared =
            resolved.unknown_tables.iter().filter(|table| !self.state.pins.is_temporary(table, schema));
        let mut missed = view.missed(shared, schema).peekable();
        if missed.peek().is_some() {
            self.shared.cluster.schema.ask_for(missed);
        }
    }

    /// A statement is about to be sent to the primary: what it changes is in doubt from now on, and stays so until the
    /// schema was read after the end of what this answers.
    pub(super) fn changing(&self, statement: &Statement) -> Option<Changing> {
        let facts = &statement.facts;
        let kept = self.shared.cluster.freshness.keeps(Rules::DEFINITIONS_BEFORE);
        if !kept || facts.kind != Kind::Ddl && facts.parts.is_empty() {
            return None;
        }
        let doubts = Doubts::of(statement.sql(), facts, self.state.schema.as_deref())?;
        Some(self.shared.cluster.schema.changing(doubts))
    }

    /// Of some statements nobody knows whether they changed definitions; others change what may be seen of them.
    pub(super) fn note_definitions(&self, statement: &Statement, failed: bool) {
        let facts = &statement.facts;
        let accounts = |facts: &Facts| facts.effects.contains(&Effect::Accounts);
        if accounts(facts) || facts.parts.iter().any(accounts) {
            self.shared.cluster.schema.ask(true);
        } else if !failed
            && (is_opaque(facts) || facts.parts.iter().any(is_opaque))
            // A routine that the schema knows does not define anything.
            && !statement.known
        {
            self.shared.cluster.schema.ask(false);
        }
    }
}

/// It may run statements that its text does not show.
fn is_opaque(facts: &Facts) -> bool {
    let opaque = |effect: &Effect| matches!(effect, Effect::Call(_) | Effect::ExecuteText(_));
    facts.kind == Kind::Unknown || facts.effects.iter().any(opaque)
}
