//! Authentication: [`Secret`], the plugins' names, and their maths: scrambles ([`native`], [`sha2`], [`ed25519`]), what
//! servers keep of passwords ([`crypt`], [`Credential`]), and what a proof leaves in hand ([`Login`]).
//!
//! Knows no users, no RSA and no TLS: who a user is, and what needs a key, is the caller's affair.

mod credential;
pub mod crypt;
pub mod ed25519;
pub mod native;
pub mod sha2;

use ::sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

pub use credential::{Credential, Login};

/// `mysql_native_password`.
pub const NATIVE: &str = "mysql_native_password";
/// `caching_sha2_password`.
pub const SHA2: &str = "caching_sha2_password";
/// `mysql_clear_password`: the password as it is.
pub const CLEAR: &str = "mysql_clear_password";
/// `sha256_password`.
pub const SHA256: &str = "sha256_password";
/// MariaDB's `client_ed25519`.
pub const ED25519: &str = "client_ed25519";

/// A password. It is wiped from memory when dropped, and has no `Debug`.
#[derive(Clone, Default)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes a password.
    #[must_use]
    pub fn new(password: impl Into<Vec<u8>>) -> Secret {
        Secret(Zeroizing::new(password.into()))
    }

    /// The password's bytes.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Whether it is the empty password.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `given` is this password, in a time that tells nothing of how much of it is right.
    #[must_use]
    pub fn matches(&self, given: &[u8]) -> bool {
        // Digests have one length, so that the comparison does not tell the password's.
        Sha256::digest(self.expose()).as_slice().ct_eq(Sha256::digest(given).as_slice()).into()
    }
}

/// `a` XOR `b`, as long as the shorter one.
fn xor<const N: usize>(a: [u8; N], b: &[u8; N]) -> [u8; N] {
    let mut out = a;
    for (to, from) in out.iter_mut().zip(b) {
        *to ^= from;
    }
    out
}

#[cfg(test)]
mod tests;
