//! SHA-256 crypt, by which MySQL keeps the passwords of `caching_sha2_password` and `sha256_password`.
//!
//! Source: <https://www.akkadia.org/drepper/SHA-crypt.txt>. MySQL's salts are longer than that allows (20 bytes), and
//! any bytes. It takes thousands of rounds on purpose: milliseconds.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::Secret;

/// What is kept of a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Crypt {
    rounds: u32,
    salt: Vec<u8>,
    digest: [u8; TEXT],
}

/// A digest as text, in bytes.
const TEXT: usize = 43;
/// More than any server takes; a bound on what a table may make us do.
const MOST_ROUNDS: u32 = 4_095_000;
/// The rounds of `sha256_password`, and of crypt where nothing else is said.
const USUAL_ROUNDS: u32 = 5000;
const SALT: usize = 20;

impl Crypt {
    /// Reads what `caching_sha2_password` stores: `$A$`, thousands of rounds in three hexadecimal digits, `$`, a salt of
    /// 20 bytes, the digest.
    #[must_use]
    pub fn of_caching_sha2(stored: &[u8]) -> Option<Crypt> {
        let rest = stored.strip_prefix(b"$A$")?;
        let (thousands, rest) = rest.split_at_checked(3)?;
        let thousands = u32::from_str_radix(core::str::from_utf8(thousands).ok()?, 16).ok()?;
        let (salt, digest) = rest.strip_prefix(b"$")?.split_at_checked(SALT)?;
        Crypt::new(thousands.checked_mul(1000)?, salt, digest)
    }

    /// Reads what `sha256_password` stores: `$5$`, perhaps `rounds=`n`$`, the salt, `$`, the digest.
    #[must_use]
    pub fn of_sha256(stored: &[u8]) -> Option<Crypt> {
        let mut rest = stored.strip_prefix(b"$5$")?;
        let mut rounds = USUAL_ROUNDS;
        if let Some(given) = rest.strip_prefix(b"rounds=") {
            let end = given.iter().position(|byte| *byte == b'$')?;
            let (digits, behind) = given.split_at_checked(end)?;
            rounds = core::str::from_utf8(digits).ok()?.parse().ok()?;
            rest = behind.strip_prefix(b"$")?;
        }
        let (before, digest) = rest.split_at_checked(rest.len().checked_sub(TEXT)?)?;
        Crypt::new(rounds, before.strip_suffix(b"$")?, digest)
    }

    fn new(rounds: u32, salt: &[u8], digest: &[u8]) -> Option<Crypt> {
        let digest = digest.try_into().ok()?;
        (1000..=MOST_ROUNDS).contains(&rounds).then(|| Crypt { rounds, salt: salt.to_vec(), digest })
    }

    /// What would be kept of this password.
    #[must_use]
    pub fn of(password: &Secret, salt: &[u8], rounds: u32) -> Crypt {
        Crypt { rounds, salt: salt.to_vec(), digest: digest(password.expose(), salt, rounds) }
    }

    /// Whether this is the password. Takes milliseconds.
    #[must_use]
    pub fn matches(&self, password: &[u8]) -> bool {
        digest(password, &self.salt, self.rounds).ct_eq(&self.digest).into()
    }
}

fn digest(password: &[u8], salt: &[u8], rounds: u32) -> [u8; TEXT] {
    let both = sha(&[password, salt, password]);
    let mut hasher = Sha256::new().chain_update(password).chain_update(salt);
    for chunk in repeated(&both, password.len()) {
        hasher.update([chunk]);
    }
    let mut bits = password.len();
    while bits > 0 {
        if bits & 1 == 1 {
            hasher.update(&both[..]);
        } else {
            hasher.update(password);
        }
        bits >>= 1;
    }
    let mut last = Zeroizing::new(<[u8; 32]>::from(hasher.finalize()));

    let mut hasher = Sha256::new();
    for _ in 0..password.len() {
        hasher.update(password);
    }
    let once = Zeroizing::new(<[u8; 32]>::from(hasher.finalize()));
    let mut long = Zeroizing::new(Vec::with_capacity(password.len()));
    long.extend(repeated(&once, password.len()));

    let mut hasher = Sha256::new();
    let times = last.first().copied().map_or(16, |first| usize::from(first).saturating_add(16));
    for _ in 0..times {
        hasher.update(salt);
    }
    let salted: [u8; 32] = hasher.finalize().into();
    let salted: Vec<u8> = repeated(&salted, salt.len()).collect();

    for round in 0..rounds {
        let odd = round & 1 == 1;
        let mut hasher = Sha256::new();
        hasher.update(if odd { &long[..] } else { &last[..] });
        if round % 3 != 0 {
            hasher.update(&salted);
        }
        if round % 7 != 0 {
            hasher.update(&long[..]);
        }
        hasher.update(if odd { &last[..] } else { &long[..] });
        *last = hasher.finalize().into();
    }
    text(&last)
}

fn sha(parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    Zeroizing::new(hasher.finalize().into())
}

fn repeated(bytes: &[u8; 32], length: usize) -> impl Iterator<Item = u8> + '_ {
    bytes.iter().copied().cycle().take(length)
}

/// The digest as crypt writes it: bytes in an order of its own, six bits a character, the lowest first.
fn text(digest: &[u8; 32]) -> [u8; TEXT] {
    const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let byte = |at: usize| digest.get(at).copied().unwrap_or(0);
    let mut out = [b'.'; TEXT];
    let mut places = out.iter_mut();
    let mut put = |group: u32, characters: u32| {
        for at in 0..characters {
            let index = group.checked_shr(at.saturating_mul(6)).unwrap_or(0) & 63;
            if let (Some(place), Some(letter)) = (places.next(), ALPHABET.get(index as usize)) {
                *place = *letter;
            }
        }
    };
    // The three bytes of each group are ten apart, and which of them comes first goes round.
    for at in 0..10_usize {
        let mut three = [at, at.saturating_add(10), at.saturating_add(20)];
        three.rotate_left(at.saturating_mul(2) % 3);
        let [high, middle, low] = three.map(byte);
        put(u32::from_be_bytes([0, high, middle, low]), 4);
    }
    put(u32::from_be_bytes([0, 0, byte(31), byte(30)]), 3);
    out
}
