//! What a log-in says: the greeting read, the proofs of a password, the response. Owns no socket.

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

/// The answer to Protocol::AuthSwitchRequest.
pub(super) fn switched_proof(password: &str, packet: &[u8]) -> Result<Vec<u8>> {
    let mut parts = packet.get(1..).unwrap_or_default().splitn(2, |byte| *byte == 0);
    let plugin = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let nonce = parts.next().and_then(|rest| rest.get(..20)).unwrap_or_default();
    match plugin.as_str() {
        // No password, no proof, whatever the method.
        _ if password.is_empty() => Ok(Vec::new()),
        "mysql_native_password" => Ok(native_proof(password, nonce)),
        "caching_sha2_password" => Ok(sha2_proof(password, nonce)),
        _ => bail!("an authentication that is not known here: {plugin}"),
    }
}

pub(super) fn handshake_response(user: &str, proof: &[u8], schema: Option<&str>, more: u64) -> Vec<u8> {
    let [low, extended] =
        [more, more >> 32].map(|half| u32::try_from(half & 0xffff_ffff).unwrap_or_default());
    // Set, it says that no extended flags follow.
    let mut flags = if extended == 0 { LONG_PASSWORD } else { 0 };
    flags |= PROTOCOL_41 | TRANSACTIONS | SECURE_CONNECTION | PLUGIN_AUTH;
    flags |= MULTI_STATEMENTS | MULTI_RESULTS | low;
    if schema.is_some() {
        flags |= CONNECT_WITH_DB;
    }
    let mut packet = flags.to_le_bytes().to_vec();
    packet.extend_from_slice(&(1_u32 << 30).to_le_bytes());
    packet.push(UTF8MB4_GENERAL_CI);
    packet.extend_from_slice(&[0; 19]);
    packet.extend_from_slice(&extended.to_le_bytes());
    packet.extend_from_slice(user.as_bytes());
    packet.push(0);
    packet.push(u8::try_from(proof.len()).unwrap_or_default());
    packet.extend_from_slice(proof);
    if let Some(schema) = schema {
        packet.extend_from_slice(schema.as_bytes());
        packet.push(0);
    }
    packet.extend_from_slice(b"mysql_native_password\0");
    packet
}
