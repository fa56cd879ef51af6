//! What a log-in says: the greeting read, the proofs of a password, the response. Owns no socket.

use mysql_common::auth::plugins::client_ed25519::ClientEd25519;
use mysql_common::auth::plugins::{ChallengeResponsePlugin as _, Context as Knowledge};
use sha1::{Digest, Sha1};
use sha2::Sha256;

use super::*;

/// The version, the collation and the 20 bytes of the nonce (Protocol::HandshakeV10).
pub(super) fn parse_greeting(greeting: &[u8]) -> Result<(String, u8, Vec<u8>)> {
    let mut fields = Fields(greeting);
    fields.take(1)?;
    let end = fields.0.iter().position(|byte| *byte == 0).context("a version without an end")?;
    let version = String::from_utf8_lossy(fields.take(end)?).into_owned();
    fields.take(1 + 4)?;
    let mut nonce = fields.take(8)?.to_vec();
    fields.take(1 + 2)?;
    let charset = u8::try_from(fields.number(1)?)?;
    // The status, the rest of the capabilities, a length and what is reserved.
    fields.take(2 + 2 + 1 + 10)?;
    nonce.extend_from_slice(fields.take(12)?);
    Ok((version, charset, nonce))
}

pub(super) fn xor(left: impl AsRef<[u8]>, right: impl AsRef<[u8]>) -> Vec<u8> {
    left.as_ref().iter().zip(right.as_ref()).map(|(a, b)| a ^ b).collect()
}

/// mysql_native_password: SHA1(password) XOR SHA1(nonce, SHA1(SHA1(password))).
pub(super) fn native_proof(password: &str, nonce: &[u8]) -> Vec<u8> {
    if password.is_empty() {
        return Vec::new();
    }
    let once = Sha1::digest(password);
    xor(once, Sha1::new().chain_update(nonce).chain_update(Sha1::digest(once)).finalize())
}

/// caching_sha2_password: SHA256(password) XOR SHA256(SHA256(SHA256(password)), nonce).
pub(super) fn sha2_proof(password: &str, nonce: &[u8]) -> Vec<u8> {
    if password.is_empty() {
        return Vec::new();
    }
    let once = Sha256::digest(password);
    xor(once, Sha256::new().chain_update(Sha256::digest(once)).chain_update(nonce).finalize())
}

/// A password, to be proven by a method.
pub(super) struct Proof<'a> {
    pub(super) method: &'a str,
    pub(super) password: &'a str,
}

impl Proof<'_> {
    /// What is answered to a challenge. No password, no proof, whatever the method.
    pub(super) fn over(&self, nonce: &[u8]) -> Result<Vec<u8>> {
        match self.method {
            "mysql_clear_password" => Ok([self.password.as_bytes(), &[0]].concat()),
            _ if self.password.is_empty() => Ok(Vec::new()),
            "mysql_native_password" => Ok(native_proof(self.password, nonce)),
            "caching_sha2_password" => Ok(sha2_proof(self.password, nonce)),
            "client_ed25519" => signed(self.password, nonce),
            other => bail!("an authentication that is not known here: {other}"),
        }
    }
}

/// MariaDB's ed25519, by an implementation that is not the product's.
fn signed(password: &str, nonce: &[u8]) -> Result<Vec<u8>> {
    struct Known<'a>(&'a str);
    impl Knowledge for Known<'_> {
        fn pass(&self) -> &[u8] {
            self.0.as_bytes()
        }
        fn is_ipc_transport(&self) -> bool {
            false
        }
        fn is_tls_transport(&self) -> bool {
            false
        }
        fn scramble(&self) -> &[u8] {
            &[]
        }
        fn server_key_pem(&self) -> Option<&[u8]> {
            None
        }
    }
    let response = ClientEd25519::default().run(Known(password), nonce)?;
    Ok(response.data().unwrap_or_default().to_vec())
}

/// The answer to Protocol::AuthSwitchRequest.
pub(super) fn switched_proof(password: &str, packet: &[u8]) -> Result<Vec<u8>> {
    let mut parts = packet.get(1..).unwrap_or_default().splitn(2, |byte| *byte == 0);
    let method = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let length = if method == "client_ed25519" { 32 } else { 20 };
    let nonce = parts.next().and_then(|rest| rest.get(..length)).unwrap_or_default();
    Proof { method: &method, password }.over(nonce)
}

pub(super) fn handshake_response(opening: &Opening<'_>, method: &str, proof: &[u8]) -> Vec<u8> {
    let more = opening.flags;
    let [low, extended] =
        [more, more >> 32].map(|half| u32::try_from(half & 0xffff_ffff).unwrap_or_default());
    // Set, it says that no extended flags follow.
    let mut flags = if extended == 0 { LONG_PASSWORD } else { 0 };
    flags |= PROTOCOL_41 | TRANSACTIONS | SECURE_CONNECTION | PLUGIN_AUTH;
    flags |= MULTI_STATEMENTS | MULTI_RESULTS | low;
    flags |= match opening.compression {
        None => 0,
        Some(Compression::Zlib) => COMPRESS,
        Some(Compression::Zstd) => ZSTD,
    };
    for (flag, set) in [(CONNECT_WITH_DB, opening.schema.is_some()), (SSL, opening.tls.is_some())] {
        flags |= if set { flag } else { 0 };
    }
    let mut packet = flags.to_le_bytes().to_vec();
    packet.extend_from_slice(&(1_u32 << 30).to_le_bytes());
    packet.push(UTF8MB4_GENERAL_CI);
    packet.extend_from_slice(&[0; 19]);
    packet.extend_from_slice(&extended.to_le_bytes());
    packet.extend_from_slice(opening.login.0.as_bytes());
    packet.push(0);
    packet.push(u8::try_from(proof.len()).unwrap_or_default());
    packet.extend_from_slice(proof);
    if let Some(schema) = opening.schema {
        packet.extend_from_slice(schema.as_bytes());
        packet.push(0);
    }
    packet.extend_from_slice(method.as_bytes());
    packet.push(0);
    if opening.compression == Some(Compression::Zstd) {
        packet.push(3);
    }
    packet
}
