//! `mysql_native_password`: SHA1(password) XOR SHA1(salt, SHA1(SHA1(password))).
//!
//! Source: <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase_authentication_methods_native_password_authentication.html>.

use sha1::{Digest, Sha1};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{Login, Secret, xor};

/// The length of a reply, in bytes, unless the password is empty.
pub const REPLY: usize = 20;

/// The client's reply to a challenge; empty for the empty password.
#[must_use]
pub fn scramble(password: &Secret, salt: &[u8]) -> Vec<u8> {
    if password.is_empty() {
        return Vec::new();
    }
    scramble_hash(&once(password), salt)
}

/// The reply of someone who knows SHA1(password), which is as good as the password here.
#[must_use]
pub fn scramble_hash(once: &[u8; REPLY], salt: &[u8]) -> Vec<u8> {
    let twice: [u8; REPLY] = Sha1::digest(once).into();
    xor(*once, &salted(&twice, salt)).to_vec()
}

/// Takes SHA1(password) out of a reply, given what the server keeps, SHA1(SHA1(password)); none if the reply is not of
/// someone who knows the password.
#[must_use]
pub fn recover(stored: &[u8; REPLY], salt: &[u8], reply: &[u8]) -> Option<Zeroizing<[u8; REPLY]>> {
    let reply: [u8; REPLY] = reply.try_into().ok()?;
    let once = Zeroizing::new(xor(reply, &salted(stored, salt)));
    let twice: [u8; REPLY] = Sha1::digest(*once).into();
    bool::from(twice.ct_eq(stored)).then_some(once)
}

/// Reads what a server keeps: an asterisk, and SHA1(SHA1(password)) in hexadecimal digits.
#[must_use]
pub fn stored(text: &[u8]) -> Option<[u8; REPLY]> {
    let digits = core::str::from_utf8(text.strip_prefix(b"*")?).ok()?;
    if digits.len() != 2 * REPLY || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut hash = [0; REPLY];
    for (place, at) in hash.iter_mut().zip((0_usize..).step_by(2)) {
        *place = u8::from_str_radix(digits.get(at..at.checked_add(2)?)?, 16).ok()?;
    }
    Some(hash)
}

/// Whether what a server keeps is of this password.
#[must_use]
pub fn is_of(stored: &[u8; REPLY], password: &Secret) -> bool {
    !password.is_empty() && bool::from(twice(password).ct_eq(stored))
}

/// What a server keeps of this password.
#[must_use]
pub fn twice(password: &Secret) -> [u8; REPLY] {
    Sha1::digest(*once(password)).into()
}

fn once(password: &Secret) -> Zeroizing<[u8; REPLY]> {
    Zeroizing::new(Sha1::digest(password.expose()).into())
}

fn salted(twice: &[u8; REPLY], salt: &[u8]) -> [u8; REPLY] {
    Sha1::new().chain_update(salt).chain_update(twice).finalize().into()
}

/// What MariaDB's clients of 11.4 and later take for a proof that a server with a certificate that they cannot
/// verify knows the password, and is nobody in between: the text of the OK that ends a log-in over TLS.
///
/// Empty where nothing can be proven. `fingerprint` is the SHA-256 of the server's certificate. Sources:
/// <https://mariadb.org/mission-impossible-zero-configuration-ssl/>, `run_plugin_auth` of MariaDB Connector/C 3.4.
#[must_use]
pub fn certificate_proof(login: &Login, salt: &[u8], fingerprint: &[u8]) -> Vec<u8> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let twice = match login {
        Login::Password(password) if !password.is_empty() => Sha1::digest(*once(password)),
        Login::Native(once) => Sha1::digest(**once),
        Login::Password(_) | Login::Nothing => return Vec::new(),
    };
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
