//! What is known of statements that came before: a bounded cache, so that one that comes again costs a pass of the lexer
//! and a look-up.
//!
//! Owns what counts as the same statement (`normal`), what is kept of it, and what has to go. Knows no clock and no
//! session: whoever asks says in which dialect, schema and snapshot of the definitions. It never answers anything but
//! what a fresh analysis would:
//!
//! - an entry is found by the whole of its form, byte by byte; the hash only tells where to look, so that no collision,
//!   wanted or not, gives one statement the facts of another;
//! - facts that hang on what a literal says are not kept. The analysis itself notes that it looked at one;
//! - values of keys are taken from the literals of the very text, by where an entry's plan says they stand;
//! - what the definitions add is kept for one snapshot, and made anew for the next.
//!
//! A hostile client can fill the cache, as it can send many statements; entries go by least use within sets of eight,
//! whose choice by a keyed hash it cannot foresee.

mod normal;

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use crate::analyse::analyse_for_all;
use crate::digest::{digest_hash, digest_text};
use crate::facts::{Facts, Kind};
use crate::hash::hash;
use crate::keys::{self, KeyIds, Keys, Pattern, Plan, Session};
use crate::resolve::Resolved;
use crate::schema::Schema;

pub use normal::Scratch;
pub(crate) use normal::Sort;

/// Entries in a set.
const WAYS: usize = 8;

/// What the entries of a set may take together, in bytes by [`Known::weight`].
const SET_WEIGHT: usize = 32 * 1024;

/// What is known of statements, by their form. To be shared by all sessions.
#[derive(Debug)]
pub struct FactsCache {
    sets: Box<[Mutex<Vec<Arc<Known>>>]>,
    ways: usize,
    seed: [u64; 2],
}

/// What a look-up depends on beside the text.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The session that the statement comes from.
    pub session: Session<'a>,
    /// The definitions; without them there are no keys.
    pub schema: Option<&'a Schema>,
    /// The number of the definitions and of all that is in doubt of them: with the same number, whoever asks resolves a
    /// statement in the same way.
    pub snapshot: u64,
}

/// What is known of a statement.
#[derive(Debug)]
pub struct Known {
    /// What its text says. Of what came out of the cache, [`Facts::token`] is not told.
    pub facts: Arc<Facts>,
    /// What the definitions make of it, as the one who asked resolved it.
    pub resolved: Resolved,
    snapshot: u64,
    hash: u64,
    form: Box<[u8]>,
    keys: Template,
    digest: OnceLock<u64>,
}

/// What a look-up found.
#[derive(Debug)]
pub struct Found {
    /// What is known.
    pub known: Arc<Known>,
    /// Whether the text was not analysed, because one like it had been before.
    pub seen_before: bool,
}

/// Where the values of keys stand.
#[derive(Debug)]
enum Template {
    None,
    /// In this one text.
    Plan(Plan),
    /// In all texts of the form.
    Pattern(Pattern),
}

impl FactsCache {
    /// A cache of at most so many entries (0: none), which take up to 4 KiB each on average. `seed` should be random,
    /// and known to nobody.
    pub fn new(entries: usize, seed: [u64; 2]) -> FactsCache {
        let ways = entries.min(WAYS);
        let sets = entries.checked_div(ways).unwrap_or_default();
        FactsCache { sets: (0..sets).map(|_| Mutex::default()).collect(), ways, seed }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.sets.iter().map(|set| set.lock().len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is known of a statement, from the cache or by analysis. `resolve` lets the definitions have their say; it is
    /// asked where nothing is known for this snapshot yet.
    pub fn look_up(
        &self,
        sql: &[u8],
        context: Context<'_>,
        scratch: &mut Scratch,
        resolve: impl FnOnce(&Facts) -> Resolved,
    ) -> Found {
        let session = context.session;
        let has_form = !self.sets.is_empty()
            && scratch.read(sql, session.dialect, |form| {
                let plain = u8::from(session.plain_charsets);
                form.extend_from_slice(&normal::front(
                    session.dialect,
                    [plain, u8::from(session.schema.is_some())],
                ));
                // No name holds a NUL.
                form.extend_from_slice(session.schema.unwrap_or_default().as_bytes());
                form.push(0);
            });
        if !has_form {
            return Found { known: Arc::new(Known::alone(sql, context, resolve)), seen_before: false };
        }
        let hash = hash(&scratch.form, self.seed);
        let before = self.set(hash).and_then(|set| find(set, hash, &scratch.form));
        match before {
            Some(known) if known.snapshot == context.snapshot => Found { known, seen_before: true },
            before => self.learn(sql, context, scratch, hash, (before, resolve)),
        }
    }

    fn set(&self, hash: u64) -> Option<&Mutex<Vec<Arc<Known>>>> {
        let wide = u128::from(hash).wrapping_mul(self.sets.len() as u128);
        self.sets.get(usize::try_from(wide.wrapping_shr(64)).ok()?)
    }

    /// Makes an entry, of what is known for another snapshot if it is; and keeps it if others may use it.
    fn learn(
        &self,
        sql: &[u8],
        context: Context<'_>,
        scratch: &Scratch,
        hash: u64,
        (before, resolve): (Option<Arc<Known>>, impl FnOnce(&Facts) -> Resolved),
    ) -> Found {
        let seen_before = before.is_some();
        let (facts, digest) = match before {
            Some(before) => (Arc::clone(&before.facts), before.digest.clone()),
            None => {
                let (mut facts, for_all) = analyse_for_all(sql, context.session.dialect);
                if !for_all || !is_worth(&facts) {
                    let resolved = resolve(&facts);
                    let known = Known::of(sql, context, Arc::new(facts), resolved);
                    return Found { known: Arc::new(known), seen_before };
                }
                forget_token(&mut facts);
                (Arc::new(facts), OnceLock::new())
            }
        };
        let resolved = resolve(&facts);
        let mut known = Known::of(sql, context, facts, resolved);
        (known.hash, known.form, known.digest) = (hash, scratch.form.as_slice().into(), digest);
        if let Template::Plan(plan) = std::mem::replace(&mut known.keys, Template::None)
            && let Some(pattern) = Pattern::of(plan, scratch)
        {
            known.keys = Template::Pattern(pattern);
        }
        let known = Arc::new(known);
        if let Some(set) = self.set(hash) {
            keep(set, self.ways, &known);
        }
        Found { known, seen_before }
    }
}

impl Known {
    /// Whether it was resolved with the definitions of this number.
    pub fn is_of(&self, snapshot: u64) -> bool {
        self.snapshot == snapshot
    }

    /// Of a text that is of no form.
    fn alone(sql: &[u8], context: Context<'_>, resolve: impl FnOnce(&Facts) -> Resolved) -> Known {
        let facts = analyse_for_all(sql, context.session.dialect).0;
        let resolved = resolve(&facts);
        Known::of(sql, context, Arc::new(facts), resolved)
    }

    fn of(sql: &[u8], context: Context<'_>, facts: Arc<Facts>, resolved: Resolved) -> Known {
        // Where the definitions are in doubt, columns are too.
        let schema = context.schema.filter(|_| !resolved.all_tables);
        let plan = schema.and_then(|schema| keys::plan(sql, &facts, schema, context.session));
        Known {
            facts,
            resolved,
            snapshot: context.snapshot,
            hash: 0,
            form: Box::default(),
            keys: plan.map_or(Template::None, Template::Plan),
            digest: OnceLock::new(),
        }
    }

    /// What bounds the rows that the statement reads, if it is a read, or writes. `scratch` must be as the look-up left
    /// it, and text and session must be the same.
    pub fn keys(&self, sql: &[u8], session: Session<'_>, scratch: &Scratch, into: &mut KeyIds) {
        match &self.keys {
            Template::None => into.clear(),
            Template::Plan(plan) => into.take(plan.keys(sql, |_| None).as_ref()),
            Template::Pattern(pattern) => pattern.keys(sql, session.dialect, scratch, into),
        }
    }

    /// The same with the values themselves, which takes memory of its own.
    pub fn keys_in_full(&self, sql: &[u8], session: Session<'_>, scratch: &Scratch) -> Option<Keys> {
        match &self.keys {
            Template::None => None,
            Template::Plan(plan) => plan.keys(sql, |_| None),
            Template::Pattern(pattern) => pattern.keys_in_full(sql, session.dialect, scratch),
        }
    }

    /// The hash of its digest.
    pub fn digest(&self, sql: &[u8], session: Session<'_>) -> u64 {
        *self.digest.get_or_init(|| digest_hash(&digest_text(sql, session.dialect)))
    }

    /// What it takes, about: its names stand in its form too.
    fn weight(&self) -> usize {
        const OTHERWISE: usize = 1024;
        self.form.len().saturating_mul(2).saturating_add(OTHERWISE)
    }
}

/// Whether statements like this one come again. Of a definition it is asked where the deciding token stands.
fn is_worth(facts: &Facts) -> bool {
    let common =
        |facts: &Facts| matches!(facts.kind, Kind::Read | Kind::Write | Kind::Transaction | Kind::Session);
    common(facts) && facts.parts.iter().all(common)
}

/// In another text of the same form it stands elsewhere.
fn forget_token(facts: &mut Facts) {
    facts.token = None;
    facts.parts.iter_mut().for_each(forget_token);
}

/// Finds an entry, and makes it the last that has to go.
fn find(set: &Mutex<Vec<Arc<Known>>>, hash: u64, form: &[u8]) -> Option<Arc<Known>> {
    let mut set = set.lock();
    let at = set.iter().position(|known| known.hash == hash && *known.form == *form)?;
    if let Some(front) = set.get_mut(..=at) {
        front.rotate_right(1);
    }
    set.first().map(Arc::clone)
}

/// Puts an entry in front, in place of one of the same form; the last ones go if there are too many.
fn keep(set: &Mutex<Vec<Arc<Known>>>, ways: usize, known: &Arc<Known>) {
    let mut set = set.lock();
    set.retain(|other| other.hash != known.hash || other.form != known.form);
    set.insert(0, Arc::clone(known));
    let mut weight = 0usize;
    let fits = |known: &&Arc<Known>| {
        weight = weight.saturating_add(known.weight());
        weight <= SET_WEIGHT
    };
    let fitting = set.iter().take(ways).take_while(fits).count();
    set.truncate(fitting);
}

#[cfg(test)]
mod tests;
