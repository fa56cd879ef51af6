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
