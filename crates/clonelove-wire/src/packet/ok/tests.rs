//! OK packets; their shape is compared with another implementation in `oracle`.

use proptest::prelude::*;

use super::*;
use crate::track::Change;

#[test]
fn a_client_without_session_tracking_gets_no_state() {
    let ok = Ok {
        affected: 2,
        insert_id: 300,
        status: Status::AUTOCOMMIT | Status::SESSION_STATE_CHANGED,
        warnings: 1,
        info: b"Rows matched: 2",
        state: b"\x01\x02\x01d",
    };
    let mut out = BytesMut::new();
    ok.encode(HEAD, Caps::PROTOCOL_41, &mut out);
    let read = Ok::parse(&out, Caps::PROTOCOL_41).unwrap();
    assert_eq!(read, Ok { status: Status::AUTOCOMMIT, state: b"", ..ok });
    // It would read the same with tracking.
    assert_eq!(Ok::parse(&out, Caps::SESSION_TRACK).unwrap(), read);
    let mut out = BytesMut::new();
    ok.encode(HEAD, Caps::SESSION_TRACK, &mut out);
    let read = Ok::parse(&out, Caps::SESSION_TRACK).unwrap();
    assert_eq!(read, ok);
    let changes: Vec<_> = read.changes().collect();
    assert_eq!(changes, [Result::Ok(Change::Schema(b"d"))]);
}

#[test]
fn info_without_its_length_is_taken_as_it_is() {
    let read = Ok::parse(b"\0\0\0\x02\0\0\0Rows matched", Caps::PROTOCOL_41).unwrap();
    assert_eq!(read.info, b"Rows matched");
}

#[test]
fn what_is_too_short_or_begins_otherwise_is_malformed() {
    for payload in [&b""[..], b"\0", b"\0\0\0\x02\0\0", b"\xFE\0\0\x02", b"\x01\0\0\x02\0\0\0"] {
        assert!(Ok::parse(payload, Caps::PROTOCOL_41).is_err(), "{payload:?}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_do_no_harm(bits: u64, bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let payload = [&[0][..], &bytes].concat();
        if let Result::Ok(ok) = Ok::parse(&payload, Caps::from_bits_retain(bits)) {
            ok.changes().for_each(drop);
        }
    }
}
