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
fn the_nuls_of_mariadbs_wide_character_sets_do_not_hide_the_state() {
    // As MariaDB 10.11 sent them in schemas of ucs2 and utf32.
    let ucs2 = b"\0\x02\0\x02@\0\0&Records: 2  Duplicates: 0  Warnings: 0\0\x16\0\x14\tlast_gtid\t0-11-2008";
    let read = Ok::parse(ucs2, Caps::SESSION_TRACK).unwrap();
    assert_eq!(read.info, b"Records: 2  Duplicates: 0  Warnings: 0");
    let gtid = Change::Variable { name: b"last_gtid", value: b"0-11-2008" };
    assert_eq!(read.changes().collect::<Vec<_>>(), [Result::Ok(gtid)]);
    let utf32 = b"\0\0\0\x02@\0\0\0\0\0\0\x06\x01\x04\x03zz2";
    let read = Ok::parse(utf32, Caps::SESSION_TRACK).unwrap();
    assert_eq!(read.changes().collect::<Vec<_>>(), [Result::Ok(Change::Schema(b"zz2"))]);
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
