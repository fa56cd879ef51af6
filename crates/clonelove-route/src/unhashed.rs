//! A hasher for keys that bring their hash, so that none is made of it again. Must not be used for hashes that
//! others can choose.

use std::hash::Hasher;

/// Takes what is written for the hash.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unhashed(u64);

impl Hasher for Unhashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        // Tables look at the lowest and at the highest bits: a hash may be good in one half only.
        self.0 = hash ^ hash.rotate_left(32);
    }
}
