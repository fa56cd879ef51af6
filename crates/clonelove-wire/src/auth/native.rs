//! `mysql_native_password`: SHA1(password) XOR SHA1(salt, SHA1(SHA1(password))).
//!
//! Source: <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase_authentication_methods_native_password_authentication.html>.

use sha1::{Digest, Sha1};
use sha2::Sha256;
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

/// What MariaDB's clients of 11.4 and later take for a proof that a server with a certificate that they cannot
/// verify knows the password, and is nobody in between: the text of the OK that ends a log-in over TLS.
///
/// `fingerprint` is the SHA-256 of the server's certificate. Sources:
/// <https://mariadb.org/mission-impossible-zero-configuration-ssl/>, `run_plugin_auth` of MariaDB Connector/C 3.4.
#[must_use]
pub fn certificate_proof(password: &Secret, salt: &[u8], fingerprint: &[u8]) -> Vec<u8> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let twice = Sha1::digest(Sha1::digest(password.expose()));
    let digest = Sha256::new().chain_update(twice).chain_update(salt).chain_update(fingerprint).finalize();
    let digits = digest.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let digits = digits.filter_map(|digit| HEX.get(usize::from(digit)).copied());
    core::iter::once(1).chain(digits).collect()
}

/// Whether `reply` is the reply of someone who knows the password; in constant time.
#[must_use]
pub fn verify(password: &Secret, salt: &[u8], reply: &[u8]) -> bool {
    scramble(password, salt).ct_eq(reply).into()
}
