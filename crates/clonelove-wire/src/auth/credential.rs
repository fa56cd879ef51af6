//! What is known of a password where somebody must prove to know it, and what such a proof leaves in hand to prove it
//! to somebody else.

use core::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::crypt::Crypt;
use super::{CLEAR, ED25519, NATIVE, SHA2, SHA256, Secret, ed25519, native};

/// What is known of a user's password.
#[derive(Clone)]
pub enum Credential {
    /// The password itself.
    Password(Secret),
    /// SHA1(SHA1(password)), as `mysql_native_password` keeps it.
    Native(Box<[u8; native::REPLY]>),
    /// The public key, as MariaDB's `ed25519` keeps it.
    Ed25519(Box<[u8; ed25519::KEY]>),
    /// A hash that only the password itself can be compared with, as `caching_sha2_password` and `sha256_password`
    /// keep it.
    Crypt(Box<Crypt>),
}

impl Credential {
    /// Reads what a server's tables keep for an account: the plugin by the server's name for it, and its text. None
    /// where nothing can be checked by it: an authentication that is not by password, or text that is damaged.
    #[must_use]
    pub fn stored(plugin: &str, text: &[u8]) -> Option<Credential> {
        let plugin = if plugin.is_empty() { NATIVE } else { plugin };
        match plugin {
            NATIVE | SHA2 | SHA256 if text.is_empty() => Some(Credential::Password(Secret::default())),
            NATIVE => native::stored(text).map(Box::new).map(Credential::Native),
            SERVERS_ED25519 => public_key(text).map(Box::new).map(Credential::Ed25519),
            SHA2 => Crypt::of_caching_sha2(text).map(Box::new).map(Credential::Crypt),
            SHA256 => Crypt::of_sha256(text).map(Box::new).map(Credential::Crypt),
            _ => None,
        }
    }

    /// Whether this is the password.
    #[must_use]
    pub fn is_of(&self, given: &[u8]) -> bool {
        match self {
            Credential::Password(password) => password.matches(given),
            Credential::Native(stored) => native::is_of(stored, &Secret::new(given)),
            Credential::Ed25519(key) => **key == ed25519::public_key(&Secret::new(given)),
            Credential::Crypt(crypt) => crypt.matches(given),
        }
    }

    /// Whether a client that knows the password can prove it by this plugin.
    #[must_use]
    pub fn serves(&self, plugin: &str) -> bool {
        match self {
            Credential::Password(_) => true,
            Credential::Native(_) => matches!(plugin, NATIVE | CLEAR),
            Credential::Ed25519(_) => matches!(plugin, ED25519 | CLEAR),
            Credential::Crypt(_) => matches!(plugin, SHA2 | CLEAR),
        }
    }

    /// The plugin by which its account's clients are asked, if they do not name one that serves.
    #[must_use]
    pub fn own_plugin(&self) -> Option<&'static str> {
        match self {
            Credential::Password(_) => None,
            Credential::Native(_) => Some(NATIVE),
            Credential::Ed25519(_) => Some(ED25519),
            Credential::Crypt(_) => Some(SHA2),
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Credential::Password(_) => "Password(…)",
            Credential::Native(_) => "Native(…)",
            Credential::Ed25519(_) => "Ed25519(…)",
            Credential::Crypt(_) => "Crypt(…)",
        })
    }
}

/// What one can log in with.
#[derive(Clone)]
pub enum Login {
    /// The password: by any plugin.
    Password(Secret),
    /// SHA1(password), which a client's proof by `mysql_native_password` reveals to whoever has its hash: by that
    /// plugin only.
    Native(Zeroizing<[u8; native::REPLY]>),
    /// Nothing: the proof cannot be carried on.
    Nothing,
}

impl Login {
    /// The password, where it is known.
    #[must_use]
    pub fn password(&self) -> Option<&Secret> {
        match self {
            Login::Password(password) => Some(password),
            Login::Native(_) | Login::Nothing => None,
        }
    }

    /// The reply to a challenge of `mysql_native_password`.
    #[must_use]
    pub(crate) fn native_reply(&self, salt: &[u8]) -> Option<Vec<u8>> {
        match self {
            Login::Password(password) => Some(native::scramble(password, salt)),
            Login::Native(once) => Some(native::scramble_hash(once, salt)),
            Login::Nothing => None,
        }
    }
}

impl PartialEq for Login {
    /// Takes as long for all of one length.
    fn eq(&self, other: &Login) -> bool {
        match (self, other) {
            (Login::Password(one), Login::Password(other)) => one.expose().ct_eq(other.expose()).into(),
            (Login::Native(one), Login::Native(other)) => one.as_slice().ct_eq(other.as_slice()).into(),
            (Login::Nothing, Login::Nothing) => true,
            _ => false,
        }
    }
}

impl Default for Login {
    fn default() -> Self {
        Login::Password(Secret::default())
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Login::Password(_) => "Password(…)",
            Login::Native(_) => "Native(…)",
            Login::Nothing => "Nothing",
        })
    }
}

/// The server's own name for what clients call `client_ed25519`.
const SERVERS_ED25519: &str = "ed25519";

/// A public key in base64, 43 characters without padding.
fn public_key(text: &[u8]) -> Option<[u8; ed25519::KEY]> {
    if text.len() != 43 {
        return None;
    }
    let (mut bits, mut count) = (0_u32, 0_u32);
    let mut key = [0; ed25519::KEY];
    let mut places = key.iter_mut();
    for byte in text {
        let six = match byte {
            b'A'..=b'Z' => byte.wrapping_sub(b'A'),
            b'a'..=b'z' => byte.wrapping_sub(b'a').wrapping_add(26),
            b'0'..=b'9' => byte.wrapping_sub(b'0').wrapping_add(52),
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(six);
        count = count.wrapping_add(6);
        if count >= 8 {
            count = count.wrapping_sub(8);
            *places.next()? = bits.checked_shr(count)?.to_le_bytes()[0];
        }
    }
    Some(key)
}
