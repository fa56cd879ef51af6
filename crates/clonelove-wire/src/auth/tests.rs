//! Passwords and scrambles; the scrambles are compared with another implementation in `oracle`.

use super::*;

#[test]
fn a_reply_is_right_for_its_password_and_salt_only() {
    let (right, wrong, empty) = (Secret::new("right"), Secret::new("wrong"), Secret::default());
    let salt = [7; 20];
    type Plugin = (fn(&Secret, &[u8]) -> Vec<u8>, fn(&Secret, &[u8], &[u8]) -> bool);
    let plugins: [Plugin; 2] = [(native::scramble, native::verify), (sha2::scramble, sha2::verify)];
    for (scramble, verify) in plugins {
        let reply = scramble(&right, &salt);
        assert!(verify(&right, &salt, &reply));
        assert!(!verify(&wrong, &salt, &reply));
        assert!(!verify(&right, &[8; 20], &reply));
        assert!(!verify(&right, &salt, &reply[1..]));
        assert!(!verify(&right, &salt, b""));
        assert!(!verify(&empty, &salt, &reply));
        assert!(verify(&empty, &salt, b""));
    }
    assert!(sha2::verify(&empty, &salt, &[0]));
    assert!(!sha2::verify(&right, &salt, &[0]));
}

#[test]
fn a_password_matches_itself_only() {
    let secret = Secret::new("right");
    assert!(secret.matches(b"right"));
    assert!(!secret.matches(b"righ") && !secret.matches(b"right ") && !secret.matches(b""));
    assert!(Secret::default().matches(b"") && Secret::default().is_empty());
}

#[test]
fn the_salt_is_laid_over_a_password_and_taken_off_again() {
    let secret = Secret::new("a password that is longer than twenty bytes");
    let mut bytes = sha2::xor_password_with_salt(&secret, &[9; 20]);
    assert_ne!(&*bytes, &*sha2::with_nul(&secret));
    sha2::xor_with_salt(&mut bytes, &[9; 20]);
    assert_eq!(&*bytes, &*sha2::with_nul(&secret));
    // A server may send an empty challenge.
    assert_eq!(&*sha2::xor_password_with_salt(&secret, &[]), &*sha2::with_nul(&secret));
}

/// Compared with what a server of MariaDB keeps of this password.
#[test]
fn a_signature_is_right_for_its_password_and_challenge_only() {
    let (right, wrong) = (Secret::new("secret"), Secret::new("wrong"));
    let kept = b"ZIgUREUg5PVgQ6LskhXmO+eZLS0nC8be6HPjYWR4YJY";
    assert!(
        matches!(Credential::stored("ed25519", kept), Some(Credential::Ed25519(key)) if *key == ed25519::public_key(&right))
    );
    let challenge = [7; ed25519::CHALLENGE];
    let reply = ed25519::sign(&right, &challenge);
    let key = ed25519::public_key(&right);
    assert!(ed25519::verify(&key, &challenge, &reply));
    assert!(!ed25519::verify(&key, &[8; 32], &reply));
    assert!(!ed25519::verify(&ed25519::public_key(&wrong), &challenge, &reply));
    for at in 0..reply.len() {
        let mut other = reply;
        other[at] ^= 1;
        assert!(!ed25519::verify(&key, &challenge, &other), "{at}");
    }
    assert!(!ed25519::verify(&key, &challenge, &reply[1..]) && !ed25519::verify(&key, &challenge, b""));
    // Neutral elements: a key for which anything can be signed.
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let mut forged = [0; 64];
    forged[0] = 1;
    assert!(!ed25519::verify(&neutral, &challenge, &forged));
}

/// The vectors are of <https://www.akkadia.org/drepper/SHA-crypt.txt>.
#[test]
fn crypt_is_the_published_one() {
    let rows: [(&str, &str); 3] = [
        ("Hello world!", "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5"),
        ("Hello world!", "$5$rounds=10000$saltstringsaltst$3xv.VbSHBb41AL9AvLeujZkZRBAwqFMz2.opqey6IcA"),
        ("a short string", "$5$rounds=123456$asaltof16chars..$gP3VQ/6X7UUEW3HkBn2w1/Ptq2jxPyzV/cZKmF/wJvD"),
    ];
    for (password, kept) in rows {
        let Some(known) = Credential::stored(SHA256, kept.as_bytes()) else { panic!("{kept}") };
        assert!(known.is_of(password.as_bytes()) && !known.is_of(b"another"), "{kept}");
    }
}

#[test]
fn what_is_damaged_lets_nobody_in() {
    let damaged: [(&str, &[u8]); 9] = [
        (NATIVE, b"*93F8"),
        (NATIVE, b"*ZZ97BDA6F1CC1F0B2E9C0C1C9F6E1C8D3B5E0F0C"),
        (NATIVE, b"93F8DF6A0B1BB6A0F2B8E5B1C8D3B5E0F0C8B5F1a"),
        (SHA2, b"$A$005$short"),
        (SHA2, b"$B$005$01234567890123456789aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
        (SHA2, b"$A$FFF"),
        (SHA256, b"$5$"),
        ("ed25519", b"short"),
        ("unix_socket", b""),
    ];
    for (plugin, text) in damaged {
        assert!(Credential::stored(plugin, text).is_none(), "{plugin} {}", String::from_utf8_lossy(text));
    }
    for plugin in [NATIVE, SHA2, SHA256, ""] {
        assert!(Credential::stored(plugin, b"").is_some_and(|known| known.is_of(b"") && !known.is_of(b"x")));
    }
}
