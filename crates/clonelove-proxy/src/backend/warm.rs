//! The states in which a server's connections are kept ready. Owns what each of them consists of; how often each is
//! wanted is the pool's to count, and connections are opened by `server`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use clonelove_route::journal::Journal;
use clonelove_wire::Caps;
use parking_lot::Mutex;

use super::conn::Target;
use super::login::Account;
use super::pool::{Key, TALLIED};
use super::setup::Use;

/// What an idle connection is best kept ready for.
#[derive(Clone)]
pub(crate) struct Warm {
    pub(crate) account: Arc<Account>,
    pub(crate) caps: Caps,
    usage: Use,
    charset: u8,
    schema: Option<String>,
    journal: Journal,
}

impl Warm {
    pub(crate) fn new(account: &Arc<Account>, caps: Caps, target: &Target<'_>) -> Self {
        Self {
            account: Arc::clone(account),
            caps,
            usage: target.usage,
            charset: target.charset,
            schema: target.schema.map(str::to_owned),
            journal: target.journal.clone(),
        }
    }

    pub(crate) fn target<'a>(&'a self, like: &'a (dyn Fn() -> Vec<(String, String)> + Sync)) -> Target<'a> {
        Target {
            usage: self.usage,
            charset: self.charset,
            schema: self.schema.as_deref(),
            journal: &self.journal,
            like,
            last_insert_id: None,
            no_variables: false,
            no_diagnostics: false,
            no_position: false,
            asks_diagnostics: false,
        }
    }

    pub(crate) fn state(&self) -> u64 {
        self.target(&Vec::new).state()
    }
}

/// Of each key a few states, that last needed behind.
#[derive(Default)]
pub(crate) struct States(Mutex<HashMap<Arc<Key>, Vec<Warm>>>);

impl States {
    /// What a new connection, or one that had to change, was wanted for: others will want the same. `most` is the state
    /// that is wanted most often.
    pub(crate) fn remember(
        &self,
        key: &Arc<Key>,
        wanted: u64,
        most: impl FnOnce() -> Option<u64>,
        make: impl FnOnce() -> Warm,
    ) {
        let mut states = self.0.lock();
        let of_key = states.entry(Arc::clone(key)).or_default();
        if let Some(at) = of_key.iter().position(|one| one.state() == wanted) {
            let known = of_key.remove(at);
            of_key.push(known);
            return;
        }
        if of_key.len() >= TALLIED {
            let most = most();
            let least = of_key.iter().position(|one| Some(one.state()) != most);
            of_key.remove(least.unwrap_or(0));
        }
        of_key.push(make());
    }

    /// The state that is wanted most often, if what it is is known, else that last needed.
    pub(crate) fn of(&self, key: &Key, most: Option<u64>) -> Option<Warm> {
        let states = self.0.lock();
        let of_key = states.get(key)?;
        of_key.iter().find(|one| Some(one.state()) == most).or(of_key.last()).cloned()
    }

    /// The server does not take it.
    pub(crate) fn forget(&self, key: &Key, state: u64) {
        if let Some(of_key) = self.0.lock().get_mut(key) {
            of_key.retain(|one| one.state() != state);
        }
    }

    /// Keeps those of these keys alone.
    pub(crate) fn keep(&self, keys: &[(Arc<Key>, Option<u64>)]) {
        let mut states = self.0.lock();
        if states.len() > keys.len() {
            let known: HashSet<&Arc<Key>> = keys.iter().map(|(key, _)| key).collect();
            states.retain(|key, _| known.contains(key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Arc<Key> {
        Arc::new(Key::new("u".into(), (None, None), Caps::empty(), (0, 0)))
    }

    fn remember(states: &States, key: &Arc<Key>, schema: &str, most: Option<u64>) -> u64 {
        let warm = Warm {
            account: Arc::new(Account::new("u", b"p")),
            caps: Caps::empty(),
            usage: Use::Reads,
            charset: 45,
            schema: Some(schema.to_owned()),
            journal: Journal::default(),
        };
        let state = warm.state();
        states.remember(key, state, || most, || warm);
        state
    }

    #[test]
    fn the_state_wanted_most_often_is_not_pushed_out_by_rare_ones() {
        let (states, key) = (States::default(), key());
        let often = remember(&states, &key, "often", None);
        let most = Some(often);
        for rare in ["a", "b", "c", "d", "e", "f"] {
            remember(&states, &key, rare, most);
        }
        let schema = |most| states.of(&key, most).and_then(|warm| warm.schema);
        assert_eq!(schema(most).as_deref(), Some("often"));
        assert_eq!(schema(None).as_deref(), Some("f"), "the last, where it is not known");
        states.forget(&key, often);
        assert_eq!(schema(most).as_deref(), Some("f"));
        states.keep(&[]);
        assert_eq!(schema(most), None);
    }
}
