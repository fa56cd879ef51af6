//! ERR packets; their shape is compared with another implementation in `oracle`.

use proptest::prelude::*;

use super::*;

#[test]
fn a_sqlstate_may_be_missing() {
    let read = Err::parse(b"\xFF\x10\x04Too many connections").unwrap();
    assert_eq!((read.code, &read.state, read.text().as_ref()), (1040, b"HY000", "Too many connections"));
    let read = Err::parse(b"\xFF\x10\x04#08004Too many connections").unwrap();
    assert_eq!((read.code, &read.state, read.text().as_ref()), (1040, b"08004", "Too many connections"));
    let read = Err::parse(b"\xFF\x10\x04#080").unwrap();
    assert_eq!((&read.state, read.text().as_ref()), (b"HY000", "#080"));
}

#[test]
fn a_new_error_has_the_sqlstate_of_its_code() {
    let error = Err::new(1045, "Access denied");
    assert_eq!(error.to_string(), "1045 (28000): Access denied");
}

proptest! {
    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
        let _ = Err::parse(&[&[0xFF][..], &bytes].concat());
    }
}
