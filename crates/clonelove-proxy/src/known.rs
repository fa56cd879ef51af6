//! What servers have accepted before: settings, each in the state it was said in, and default schemas. Owns
//! the memory of them, bounded in number and time; what may be remembered is the session's business.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use clonelove_route::journal::Journal;
use clonelove_sql::Dialect;
use parking_lot::RwLock;
use tokio::time::Instant;

/// Settings remembered.
const MOST_SETTINGS: usize = 10_000;
/// Schemas remembered.
const MOST_SCHEMAS: usize = 10_000;
/// A schema may be dropped, or a right to it taken away, by somebody else.
const SCHEMA_FOR: Duration = Duration::from_secs(60);

/// What servers have accepted before.
#[derive(Default)]
pub(crate) struct Known {
    settings: RwLock<HashMap<u64, Vec<Setting>>>,
    schemas: RwLock<Schemas>,
}

/// By user and the name it was asked for by: its own name, and since when.
type Schemas = HashMap<(Arc<str>, String), (String, Instant)>;

/// The whole state that a setting was said in: in another it may mean something else.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Before {
    pub(crate) user: Arc<str>,
    pub(crate) schema: Option<String>,
    /// Of the log-in.
    pub(crate) charset: u8,
    /// The journal's number, for the hash; the journal itself is compared.
    pub(crate) journal: JournalKey,
    pub(crate) epoch: u64,
    pub(crate) dialect: Dialect,
}

/// A journal that can be a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JournalKey(pub(crate) Journal);

impl Hash for JournalKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id().hash(state);
    }
}

/// What a setting led to.
#[derive(Clone, Debug)]
pub(crate) struct After {
    pub(crate) journal: Journal,
    pub(crate) dialect: Dialect,
    /// What the server told of the session's state, where that is known: a client that tracks is told the same.
    pub(crate) told: Option<Arc<[u8]>>,
}

struct Setting {
    before: Before,
    sql: Box<[u8]>,
    after: After,
}

fn number(before: &Before, sql: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    before.hash(&mut hasher);
    sql.hash(&mut hasher);
    hasher.finish()
}

impl Known {
    /// Where a setting leads from a state, if it was accepted there before.
    pub(crate) fn setting(&self, before: &Before, sql: &[u8]) -> Option<After> {
        let settings = self.settings.read();
        let found = settings.get(&number(before, sql))?.iter();
        let mut same = found.filter(|known| known.before == *before && known.sql.as_ref() == sql);
        same.next().map(|known| known.after.clone())
    }

    /// A server accepted a setting.
    pub(crate) fn learn(&self, before: Before, sql: &[u8], after: After) {
        let mut settings = self.settings.write();
        if settings.len() >= MOST_SETTINGS {
            settings.clear();
        }
        let list = settings.entry(number(&before, sql)).or_default();
        list.retain(|known| known.before != before || known.sql.as_ref() != sql);
        list.push(Setting { before, sql: sql.into(), after });
    }

    /// What a schema is called, if this user could enter it a moment ago.
    pub(crate) fn schema(&self, user: &Arc<str>, name: &str) -> Option<String> {
        let key = (Arc::clone(user), name.to_owned());
        let schemas = self.schemas.read();
        let (called, at) = schemas.get(&key)?;
        (at.elapsed() < SCHEMA_FOR).then(|| called.clone())
    }

    /// A server let this user enter a schema, and calls it so.
    pub(crate) fn learn_schema(&self, user: &Arc<str>, name: &str, called: &str) {
        let mut schemas = self.schemas.write();
        if schemas.len() >= MOST_SCHEMAS {
            schemas.clear();
        }
        schemas.insert((Arc::clone(user), name.to_owned()), (called.to_owned(), Instant::now()));
    }

    /// Something changed that any of it may hang on: a global setting, a grant, the configuration.
    pub(crate) fn forget(&self) {
        self.settings.write().clear();
        self.forget_schemas();
    }

    /// A schema was made or dropped.
    pub(crate) fn forget_schemas(&self) {
        self.schemas.write().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn before(schema: &str) -> Before {
        Before {
            user: "u".into(),
            schema: Some(schema.into()),
            charset: 45,
            journal: JournalKey(Journal::default()),
            epoch: 1,
            dialect: Dialect::default(),
        }
    }

    fn after() -> After {
        After { journal: Journal::default(), dialect: Dialect::default(), told: None }
    }

    #[test]
    fn a_setting_is_known_in_its_own_state_only() {
        let known = Known::default();
        known.learn(before("a"), b"SET x", after());
        assert!(known.setting(&before("a"), b"SET x").is_some());
        assert!(known.setting(&before("b"), b"SET x").is_none());
        assert!(known.setting(&before("a"), b"set x").is_none());
        assert!(known.setting(&Before { epoch: 2, ..before("a") }, b"SET x").is_none());
        assert!(known.setting(&Before { user: "v".into(), ..before("a") }, b"SET x").is_none());
        known.forget();
        assert!(known.setting(&before("a"), b"SET x").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_schema_is_known_for_a_while() {
        let (known, user) = (Known::default(), Arc::from("u"));
        known.learn_schema(&user, "D", "d");
        assert_eq!(known.schema(&user, "D").as_deref(), Some("d"));
        assert_eq!(known.schema(&Arc::from("v"), "D"), None);
        tokio::time::advance(SCHEMA_FOR).await;
        assert_eq!(known.schema(&user, "D"), None);
    }

    #[test]
    fn the_memory_is_bounded() {
        let known = Known::default();
        for number in 0..2 * MOST_SETTINGS {
            known.learn(before("a"), format!("SET @a = {number}").as_bytes(), after());
        }
        assert!(known.settings.read().len() <= MOST_SETTINGS);
    }
}
