//! What the schema adds to a statement's own words: whether what it reads only looks like a table, whether what it calls
//! only reads, and whether it changes any of that. Must not touch connections.

use std::sync::Arc;

use clonelove_route::freshness::Rules;
use clonelove_sql::{Effect, Facts, Kind, Known, Resolved, analyse};

use super::ClientSession;
use super::statement::{Made, Statement};
use crate::by_client::Saying;
use crate::cluster::schema::{Changing, Doubts};

impl ClientSession {
    /// What a text says, and what the schema makes of it where there is a snapshot: looked up, if one like it came before.
    pub(super) fn understand(&self, sql: &[u8]) -> (Arc<Facts>, Option<Made>) {
        let view = self.shared.cluster.schema.view();
        let Some(view) = &*view else { return (Arc::new(analyse(sql, &self.state.dialect)), None) };
        let mut scratch = self.local.scratches.lock().pop().unwrap_or_default();
        let session = self.key_session();
        let known = view.look_up(&self.shared.facts, sql, session, &mut scratch);
        // The literals have just been found: later they would have to be looked for again.
        let keys = self.asks_for_keys(&known).then(|| known.keys_in_full(sql, session, &scratch));
        self.local.scratches.lock().push(scratch);
        (Arc::clone(&known.facts), Some(Made::Known(known, keys)))
    }

    /// Whether the rows that a statement touches will be asked for: those of a write, and of a read that its tables alone
    /// may keep from a replica.
    fn asks_for_keys(&self, known: &Known) -> bool {
        match known.facts.kind {
            Kind::Write => self.keeps_keys(),
            Kind::Read => self.may_have_keys(&known.resolved),
            _ => false,
        }
    }

    /// Lets the schema have its say on a statement; without a snapshot its own words are all there is.
    pub(super) fn resolve(&self, statement: &mut Statement) {
        let view = self.shared.cluster.schema.view();
        let Some(view) = &*view else { return };
        // What was looked up a moment ago may have been of the view before this one.
        let current = matches!(&statement.resolved, Some(Made::Known(known, _)) if known.is_of(view.number));
        if !current {
            statement.resolved = Some(match statement.executes() {
                Some(prepared) => Made::Prepared(prepared.meaning(view)),
                None => {
                    let schema = statement.schema(self.state.schema.as_deref());
                    Made::Own(Box::new(view.resolve(&statement.facts, schema)))
                }
            });
        }
        let Some(resolved) = statement.resolved() else { return };
        if !resolved.unknown_tables.is_empty() {
            self.ask_for_unknown(view, resolved);
        }
        let (kind, why, leaves, known) = (resolved.kind, resolved.why, resolved.leaves, !resolved.all_tables);
        if (statement.facts.kind, statement.facts.why) != (kind, why) {
            statement.facts = Arc::new(Facts { kind, why, ..Facts::clone(&statement.facts) });
        }
        // Of a text that is executed, it is known what that leaves.
        let text = self.state.pins.executed(&statement.facts);
        let of_text = text.map(|text| view.resolve(&text.facts, text.schema.as_deref()).leaves);
        statement.leaves = of_text.unwrap_or(leaves);
        statement.known = known;
        statement.generation = view.generation;
        statement.view = view.number;
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

    /// A statement may be about to make the primary read-only, or writable again.
    pub(super) fn sets_read_only(&self, statement: &Statement) -> Option<Saying> {
        fn sets(facts: &Facts) -> bool {
            facts.effects.contains(&Effect::GlobalSetting) || facts.parts.iter().any(sets)
        }
        let named = |sql: &[u8]| sql.windows(9).any(|word| word.eq_ignore_ascii_case(b"read_only"));
        if !sets(&statement.facts) || !named(statement.sql()) {
            return None;
        }
        let snapshot = self.shared.cluster.snapshot();
        let primary = snapshot.topology.primary.and_then(|at| snapshot.servers.get(at))?;
        Some(primary.by_client.begin())
    }

    /// Of some statements nobody knows whether they changed definitions; others change what may be seen of them.
    pub(super) fn note_definitions(&self, statement: &Statement, failed: bool) {
        let facts = &statement.facts;
        let accounts = |facts: &Facts| facts.effects.contains(&Effect::Accounts);
        if accounts(facts) || facts.parts.iter().any(accounts) {
            self.shared.cluster.schema.ask(true);
            self.shared.accounts.changed();
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
