//! `caching_sha2_password`: SHA256(password) XOR SHA256(SHA256(SHA256(password)), salt).
//!
//! Source: <https://dev.mysql.com/doc/dev/mysql-server/latest/page_caching_sha2_authentication_exchanges.html>.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{Secret, xor};

/// The length of a reply, in bytes, unless the password is empty.
pub const REPLY: usize = 32;
/// What follows 0x01 when the scramble was right: an OK packet comes next.
pub const FAST_OK: u8 = 0x03;
/// What follows 0x01 when the server wants the password itself.
pub const FULL: u8 = 0x04;
/// The client's request for the server's RSA key.
pub const REQUEST_KEY: u8 = 0x02;
/// The request for the server's RSA key in `sha256_password`.
pub const REQUEST_KEY_SHA256: u8 = 0x01;

/// The client's reply to a challenge; empty for the empty password.
#[must_use]
pub fn scramble(password: &Secret, salt: &[u8]) -> Vec<u8> {
    if password.is_empty() {
        return Vec::new();
    }
    let once: [u8; REPLY] = Sha256::digest(password.expose()).into();
    let twice = Sha256::digest(once);
    let salted: [u8; REPLY] = Sha256::new().chain_update(twice).chain_update(salt).finalize().into();
    xor(once, &salted).to_vec()
}

/// Whether `reply` is the reply of someone who knows the password (the fast path); in constant time. The
/// empty password is claimed by an empty reply or one NUL byte.
#[must_use]
pub fn verify(password: &Secret, salt: &[u8], reply: &[u8]) -> bool {
    let reply = if reply == [0] { &[] } else { reply };
    scramble(password, salt).ct_eq(reply).into()
}

/// The password with its NUL byte, XORed with the salt over and over: what is encrypted with RSA-OAEP in the
/// full path without TLS.
#[must_use]
pub fn xor_password_with_salt(password: &Secret, salt: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut out = with_nul(password);
    xor_with_salt(&mut out, salt);
    out
}

/// The password with its NUL byte, as the full path sends it over TLS or a unix socket.
#[must_use]
pub fn with_nul(password: &Secret) -> Zeroizing<Vec<u8>> {
    // Its final size at once: a vector that grows leaves copies behind.
    let mut out = Zeroizing::new(Vec::with_capacity(password.expose().len().saturating_add(1)));
    out.extend_from_slice(password.expose());
    out.push(0);
    out
}

/// Undoes or does the XOR with the salt, in place.
pub fn xor_with_salt(bytes: &mut [u8], salt: &[u8]) {
    for (byte, mask) in bytes.iter_mut().zip(salt.iter().cycle()) {
        *byte ^= mask;
    }
}
