//! `mysql_native_password`: SHA1(password) XOR SHA1(salt, SHA1(SHA1(password))).
//!
//! Source: <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase_authentication_methods_native_password_authentication.html>.

use sha1::{Digest, Sha1};
use subtle::ConstantTimeEq;

use super::{Secret, xor};

/// The length of a reply, in bytes, unless the password is empty.
pub const REPLY: usize = 20;

/// The client's reply to a challenge; empty for the empty password.
#[must_use]
pub fn scramble(password: &Secret, salt: &[u8]) -> Vec<u8> {
    if password.is_empty() {
        return Vec::new();
    }
    let once: [u8; REPLY] = Sha1::digest(password.expose()).into();
    let twice = Sha1::digest(once);
    let salted: [u8; REPLY] = Sha1::new().chain_update(salt).chain_update(twice).finalize().into();
    xor(once, &salted).to_vec()
}

/// Whether `reply` is the reply of someone who knows the password; in constant time.
#[must_use]
pub fn verify(password: &Secret, salt: &[u8], reply: &[u8]) -> bool {
    scramble(password, salt).ct_eq(reply).into()
}
