//! Packets of authentication; their shape is compared with another implementation in `oracle`.

use proptest::prelude::*;

use super::*;

#[test]
fn a_long_challenge_keeps_its_last_byte() {
    let salt = [&[5; 31][..], &[0]].concat();
    let mut out = BytesMut::new();
    AuthSwitch { plugin: b"client_ed25519", data: &salt }.encode(&mut out);
    assert_eq!(AuthSwitch::parse(&out).unwrap().data, salt);
}

#[test]
fn the_authentication_from_before_4_1_is_refused() {
    assert!(AuthSwitch::parse(&[0xFE]).is_err());
}

proptest! {
    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let _ = AuthSwitch::parse(&[&[0xFE][..], &bytes].concat());
        let _ = AuthMore::parse(&bytes);
        let _ = crate::packet::eof::Eof::parse(&bytes);
        let _ = crate::packet::prepare::PrepareOk::parse(&bytes, crate::Caps::all());
    }
}
