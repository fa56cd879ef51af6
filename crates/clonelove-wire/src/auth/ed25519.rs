//! MariaDB's `ed25519`, known to clients as `client_ed25519`: the challenge is signed with a key that is made of the
//! password.
//!
//! It is the Ed25519 of RFC 8032 but for one thing: where that hashes a seed of 32 bytes, this hashes the password,
//! whatever its length. Sources: <https://mariadb.com/kb/en/authentication-plugin-ed25519/>,
//! <https://www.rfc-editor.org/rfc/rfc8032#section-5.1.6>.
#![expect(clippy::arithmetic_side_effects, reason = "scalars and points of the curve: nothing overflows")]

use curve25519_dalek::constants::ED25519_BASEPOINT_TABLE;
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::{Scalar, clamp_integer};
use sha2::{Digest, Sha512};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::Secret;

/// The length of a challenge, in bytes.
pub const CHALLENGE: usize = 32;
/// The length of a reply, in bytes.
pub const REPLY: usize = 64;
/// The length of a public key, in bytes.
pub const KEY: usize = 32;

/// The client's reply to a challenge: a signature.
#[must_use]
pub fn sign(password: &Secret, challenge: &[u8]) -> [u8; REPLY] {
    let expanded = Expanded::of(password);
    let public = expanded.public();
    let nonce = Zeroizing::new(hash(&[expanded.prefix(), challenge]));
    let point = EdwardsPoint::mul_base(&nonce).compress();
    let digest = hash(&[point.as_bytes(), &public, challenge]);
    let answer = *nonce + digest * *expanded.scalar;
    let mut reply = [0; REPLY];
    let bytes = point.as_bytes().iter().chain(answer.as_bytes());
    for (to, from) in reply.iter_mut().zip(bytes) {
        *to = *from;
    }
    reply
}

/// The public key of a password: what the server keeps.
#[must_use]
pub fn public_key(password: &Secret) -> [u8; KEY] {
    Expanded::of(password).public()
}

/// Whether `reply` is the signature of whoever knows the password of this public key.
#[must_use]
pub fn verify(public: &[u8; KEY], challenge: &[u8], reply: &[u8]) -> bool {
    let Some((point, answer)) = reply.split_first_chunk::<32>() else { return false };
    let Ok(answer) = <[u8; 32]>::try_from(answer) else { return false };
    let Some(answer) = Option::<Scalar>::from(Scalar::from_canonical_bytes(answer)) else { return false };
    let Some(key) = CompressedEdwardsY(*public).decompress() else { return false };
    // Whoever has a key of small order could sign for anything.
    if key.is_small_order() {
        return false;
    }
    let digest = hash(&[point, public, challenge]);
    let expected = &answer * ED25519_BASEPOINT_TABLE - key * digest;
    expected.compress().as_bytes().ct_eq(point).into()
}

/// A password, hashed: the secret scalar, and what the nonces of signatures are made of.
struct Expanded {
    bytes: Zeroizing<[u8; 64]>,
    scalar: Zeroizing<Scalar>,
}

impl Expanded {
    fn of(password: &Secret) -> Self {
        let bytes: Zeroizing<[u8; 64]> = Zeroizing::new(Sha512::digest(password.expose()).into());
        let mut half = Zeroizing::new([0; 32]);
        half.copy_from_slice(bytes.split_at(32).0);
        let scalar = Zeroizing::new(Scalar::from_bytes_mod_order(clamp_integer(*half)));
        Expanded { bytes, scalar }
    }

    fn prefix(&self) -> &[u8] {
        self.bytes.split_at(32).1
    }

    fn public(&self) -> [u8; KEY] {
        EdwardsPoint::mul_base(&self.scalar).compress().to_bytes()
    }
}

fn hash(parts: &[&[u8]]) -> Scalar {
    let mut hasher = Sha512::new();
    for part in parts {
        hasher.update(part);
    }
    let wide: [u8; 64] = hasher.finalize().into();
    Scalar::from_bytes_mod_order_wide(&wide)
}
