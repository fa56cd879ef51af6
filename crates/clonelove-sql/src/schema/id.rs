//! Short names for tables and stored routines: 64-bit hashes of the folded names.
//!
//! Two objects whose hashes collide count as one, which makes dependence too wide and never too narrow.

use std::borrow::Cow;

/// A table or view, by a hash of schema and name whatever their case. The same in every snapshot and every process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableId(pub u64);

impl TableId {
    /// Of a schema's table or view. Case does not count.
    pub fn of(schema: &str, name: &str) -> TableId {
        TableId(hash(schema, 0, name))
    }
}

/// A stored function or procedure, likewise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RoutineId(u64);

impl RoutineId {
    pub(crate) fn function(schema: &str, name: &str) -> RoutineId {
        RoutineId(hash(schema, 1, name))
    }

    pub(crate) fn procedure(schema: &str, name: &str) -> RoutineId {
        RoutineId(hash(schema, 2, name))
    }
}

/// A name as it is compared: in lower case.
pub(crate) fn folded(name: &str) -> Cow<'_, str> {
    if name.is_ascii() {
        if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return name.to_ascii_lowercase().into();
        }
        return name.into();
    }
    name.to_lowercase().into()
}

/// FNV-1a, 64 bits, of both names with a byte between them that no name holds.
fn hash(schema: &str, sort: u8, name: &str) -> u64 {
    let hash = add(0xcbf2_9ce4_8422_2325, folded(schema).as_bytes());
    add(add(hash, &[sort]), folded(name).as_bytes())
}

/// Goes on with a hash over some more bytes.
pub(crate) fn add(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// Hashes that need no further hashing.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Unhashed(u64);

impl std::hash::Hasher for Unhashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = add(self.0, bytes);
    }

    fn write_u64(&mut self, hash: u64) {
        // The map takes its buckets from the low bits and its tags from the high ones; FNV is weak in the latter.
        self.0 = hash ^ hash.rotate_left(32);
    }
}

pub(crate) type IdMap<K, V> = std::collections::HashMap<K, V, std::hash::BuildHasherDefault<Unhashed>>;
