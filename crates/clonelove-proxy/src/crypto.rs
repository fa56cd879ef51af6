//! The RSA exchange of caching_sha2_password and sha256_password without TLS, on both sides. Owns the key pair; must
//! not know packets.

use std::fmt;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA1_MGF1SHA1, OaepPrivateDecryptingKey, OaepPublicEncryptingKey, PrivateDecryptingKey,
    PublicEncryptingKey,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer};
use zeroize::Zeroizing;

/// The proxy's own key pair, for passwords that clients send.
pub struct PasswordKey {
    private: OaepPrivateDecryptingKey,
    public_pem: Vec<u8>,
}

/// The operation failed; libraries of this kind do not say why, on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CryptoFailure;

impl PasswordKey {
    /// Makes a key of 2048 bits, as servers do.
    pub(crate) fn generate() -> Result<Self, CryptoFailure> {
        Self::new(PrivateDecryptingKey::generate(KeySize::Rsa2048).map_err(|_| CryptoFailure)?)
    }

    /// Reads a key in PEM, in either form that openssl writes (PKCS #8, or PKCS #1 as servers make theirs).
    ///
    /// # Errors
    /// When there is no RSA key in it, or one that is too short (2048 bits) or too long (8192).
    pub fn from_pem(pem: &[u8]) -> Result<Self, CryptoFailure> {
        let key = match PrivateKeyDer::from_pem_slice(pem).map_err(|_| CryptoFailure)? {
            PrivateKeyDer::Pkcs8(key) => PrivateDecryptingKey::from_pkcs8(key.secret_pkcs8_der()),
            PrivateKeyDer::Pkcs1(key) => PrivateDecryptingKey::from_pkcs8(&pkcs8(key.secret_pkcs1_der())),
            _ => return Err(CryptoFailure),
        };
        Self::new(key.map_err(|_| CryptoFailure)?)
    }

    fn new(key: PrivateDecryptingKey) -> Result<Self, CryptoFailure> {
        let der: PublicKeyX509Der<'_> = key.public_key().as_der().map_err(|_| CryptoFailure)?;
        let public_pem = pem(der.as_ref());
        Ok(Self { private: OaepPrivateDecryptingKey::new(key).map_err(|_| CryptoFailure)?, public_pem })
    }

    /// The public half, in PEM, as a client asks for it.
    pub(crate) fn public_pem(&self) -> &[u8] {
        &self.public_pem
    }

    /// Decrypts what a client sent.
    pub(crate) fn decrypt(&self, ciphertext: &[u8]) -> Result<Vec<u8>, CryptoFailure> {
        let mut out = vec![0; self.private.min_output_size()];
        let plain = self
            .private
            .decrypt(&OAEP_SHA1_MGF1SHA1, ciphertext, &mut out, None)
            .map_err(|_| CryptoFailure)?
            .len();
        out.truncate(plain);
        Ok(out)
    }
}

impl fmt::Debug for PasswordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordKey(…)")
    }
}

impl PartialEq for PasswordKey {
    fn eq(&self, other: &Self) -> bool {
        self.public_pem == other.public_pem
    }
}

/// Puts an RSA key of PKCS #1 into the envelope of PKCS #8 (RFC 5958, RFC 8017).
fn pkcs8(pkcs1: &[u8]) -> Zeroizing<Vec<u8>> {
    /// The version, 0, and the algorithm: rsaEncryption without parameters.
    const HEAD: [u8; 18] = [
        0x02, 0x01, 0x00, 0x30, 0x0D, 0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01, 0x05,
        0x00,
    ];
    let octets = element(0x04, pkcs1);
    let mut inner = Zeroizing::new(Vec::with_capacity(octets.len().saturating_add(HEAD.len())));
    inner.extend_from_slice(&HEAD);
    inner.extend_from_slice(&octets);
    element(0x30, &inner)
}

/// One element of DER.
fn element(tag: u8, content: &[u8]) -> Zeroizing<Vec<u8>> {
    let length = (content.len() as u64).to_be_bytes();
    let length = length.get(length.iter().take_while(|byte| **byte == 0).count()..).unwrap_or_default();
    let mut out = Zeroizing::new(Vec::with_capacity(content.len().saturating_add(10)));
    out.push(tag);
    if content.len() >= 128 {
        out.push(0x80 | u8::try_from(length.len()).unwrap_or(8));
    }
    out.extend_from_slice(length);
    out.extend_from_slice(content);
    out
}

/// Encrypts with a server's public key, given in PEM.
pub(crate) fn encrypt(public_key_pem: &[u8], plain: &[u8]) -> Result<Vec<u8>, CryptoFailure> {
    let der = SubjectPublicKeyInfoDer::from_pem_slice(public_key_pem).map_err(|_| CryptoFailure)?;
    let key = PublicEncryptingKey::from_der(der.as_ref()).map_err(|_| CryptoFailure)?;
    let key = OaepPublicEncryptingKey::new(key).map_err(|_| CryptoFailure)?;
    let mut out = vec![0; key.ciphertext_size()];
    let size = key.encrypt(&OAEP_SHA1_MGF1SHA1, plain, &mut out, None).map_err(|_| CryptoFailure)?.len();
    out.truncate(size);
    Ok(out)
}

/// PEM of a SubjectPublicKeyInfo, RFC 7468.
fn pem(der: &[u8]) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = Vec::new();
    for chunk in der.chunks(3) {
        let bytes = [0, 1, 2].map(|at| chunk.get(at).copied().unwrap_or(0));
        let group = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]);
        for at in 0..4_u32 {
            let index = (group >> (18 - 6 * at)) & 63;
            let pad = at as usize > chunk.len();
            text.push(if pad { b'=' } else { ALPHABET.get(index as usize).copied().unwrap_or(b'=') });
        }
    }
    let mut out = b"-----BEGIN PUBLIC KEY-----\n".to_vec();
    for line in text.chunks(64) {
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    out.extend_from_slice(b"-----END PUBLIC KEY-----\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encrypted_for_us_we_can_read() {
        let key = PasswordKey::generate().unwrap();
        let ciphertext = encrypt(key.public_pem(), b"secret\0").unwrap();
        assert_eq!(key.decrypt(&ciphertext).unwrap(), b"secret\0");
        assert_eq!(key.decrypt(&ciphertext[1..]), Err(CryptoFailure));
        assert_eq!(encrypt(b"nonsense", b"x"), Err(CryptoFailure));
    }
}
