//! The RSA exchange of caching_sha2_password without TLS, on both sides. Owns the key pair; must not
//! know packets.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA1_MGF1SHA1, OaepPrivateDecryptingKey, OaepPublicEncryptingKey, PrivateDecryptingKey,
    PublicEncryptingKey,
};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject;

/// The proxy's own key pair, for passwords that clients send.
pub(crate) struct PasswordKey {
    private: OaepPrivateDecryptingKey,
    public_pem: Vec<u8>,
}

/// The operation failed; libraries of this kind do not say why, on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CryptoFailure;

impl PasswordKey {
    /// Makes a key of 2048 bits, as servers do.
    pub(crate) fn generate() -> Result<Self, CryptoFailure> {
        let key = PrivateDecryptingKey::generate(KeySize::Rsa2048).map_err(|_| CryptoFailure)?;
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
