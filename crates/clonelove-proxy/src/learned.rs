//! Statements that looked like reads and that a replica refused as writes. Owns the memory of them,
//! bounded in number and time; must not decide what counts as a refusal.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Refusals remembered.
const MOST: usize = 1_000;
/// A refusal older than this is tried again: functions and rights change.
const FOR: Duration = Duration::from_secs(3600);

/// The statements, by digest.
#[derive(Default)]
pub(crate) struct Learned {
    any: AtomicBool,
    /// The number of the schema that it was learnt under.
    schema: AtomicU64,
    by_digest: Mutex<HashMap<u64, Refused>>,
}

/// One of them.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    pub(crate) text: String,
    pub(crate) count: u64,
    at: Instant,
}

impl Learned {
    /// Whether nothing is remembered: then there is no need to make a digest.
    pub(crate) fn is_empty(&self) -> bool {
        !self.any.load(Ordering::Relaxed)
    }

    pub(crate) fn contains(&self, digest: u64) -> bool {
        let mut by_digest = self.by_digest.lock();
        match by_digest.get(&digest) {
            Some(refused) if refused.at.elapsed() < FOR => true,
            Some(_) => {
                by_digest.remove(&digest);
                self.any.store(!by_digest.is_empty(), Ordering::Relaxed);
                false
            }
            None => false,
        }
    }

    pub(crate) fn add(&self, digest: u64, text: String) {
        let mut by_digest = self.by_digest.lock();
        if by_digest.len() >= MOST && !by_digest.contains_key(&digest) {
            let oldest = by_digest.iter().min_by_key(|(_, refused)| refused.at).map(|(digest, _)| *digest);
            if let Some(oldest) = oldest {
                by_digest.remove(&oldest);
            }
        }
        let now = Instant::now();
        let refused = by_digest.entry(digest).or_insert(Refused { text, count: 0, at: now });
        refused.count = refused.count.saturating_add(1);
        refused.at = now;
        self.any.store(true, Ordering::Relaxed);
    }

    /// The schema has this number now; under another one, what was learnt is forgotten.
    pub(crate) fn under(&self, schema: u64) {
        if self.schema.swap(schema, Ordering::Relaxed) != schema {
            self.forget();
        }
    }

    /// The schema changed: what was refused may be none now.
    pub(crate) fn forget(&self) {
        self.by_digest.lock().clear();
        self.any.store(false, Ordering::Relaxed);
    }

    pub(crate) fn list(&self) -> Vec<(u64, Refused)> {
        let mut all: Vec<_> =
            self.by_digest.lock().iter().map(|(digest, refused)| (*digest, refused.clone())).collect();
        all.sort_by(|a, b| b.1.count.cmp(&a.1.count).then(a.0.cmp(&b.0)));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_was_refused_is_remembered_for_an_hour() {
        let learned = Learned::default();
        assert!(learned.is_empty() && !learned.contains(1));
        learned.add(1, "SELECT f ( )".into());
        learned.add(1, "SELECT f ( )".into());
        assert!(!learned.is_empty() && learned.contains(1) && !learned.contains(2));
        assert_eq!(learned.list()[0].1.count, 2);
        tokio::time::advance(FOR).await;
        assert!(!learned.contains(1) && learned.is_empty());
    }

    #[tokio::test]
    async fn another_schema_is_a_new_start() {
        let learned = Learned::default();
        learned.under(1);
        learned.add(1, String::new());
        learned.under(1);
        assert!(learned.contains(1));
        learned.under(2);
        assert!(learned.is_empty());
    }

    #[tokio::test]
    async fn the_memory_is_bounded() {
        let learned = Learned::default();
        for digest in 0..2_000 {
            learned.add(digest, String::new());
        }
        assert_eq!(learned.list().len(), MOST);
        learned.forget();
        assert!(learned.is_empty());
    }
}
