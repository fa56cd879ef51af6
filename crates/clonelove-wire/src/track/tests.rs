//! Session-state blocks.

use proptest::prelude::*;

use super::*;

fn all(block: &[u8]) -> Vec<Result<Change<'_>, Malformed>> {
    Changes::new(block).collect()
}

#[test]
fn every_kind_of_change_is_told() {
    let block = b"\0\x0f\x0aautocommit\x03OFF\x01\x02\x01d\x02\x02\x011\x03\x05\x00\x03u:1\x04\x05\x04BEGI\x05\x09\x08T_R_WsS_\x09\x02xy";
    let changes = [
        Change::Variable { name: b"autocommit", value: b"OFF" },
        Change::Schema(b"d"),
        Change::StateChanged(true),
        Change::Gtid(b"u:1"),
        Change::TransactionCharacteristics(b"BEGI"),
        Change::TransactionState(b"T_R_WsS_"),
        Change::Unknown(9, b"xy"),
    ];
    assert_eq!(all(block), changes.map(Ok));
}

#[test]
fn an_entry_may_hold_several_variables() {
    let block = b"\0\x08\x01a\x011\x01b\x012\x02\x02\x010";
    let changes = [
        Change::Variable { name: b"a", value: b"1" },
        Change::Variable { name: b"b", value: b"2" },
        Change::StateChanged(false),
    ];
    assert_eq!(all(block), changes.map(Ok));
}

#[test]
fn a_broken_block_ends_in_one_error() {
    for block in [&b"\x01\x05\x04ab"[..], b"\x01", b"\0\x03\x05ab\x01\x02\x01d", b"\x03\x00"] {
        let changes = all(block);
        assert_eq!(changes.iter().filter(|change| change.is_err()).count(), 1, "{block:?}");
        assert!(changes.last().unwrap().is_err());
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_come_to_an_end(block in prop::collection::vec(any::<u8>(), 0..100)) {
        prop_assert!(all(&block).len() <= block.len());
    }
}

#[test]
fn what_is_not_wanted_is_left_out_and_the_rest_stays_as_it_came() {
    let mut block = BytesMut::new();
    let mut two = BytesMut::new();
    for text in ["sql_mode", "ANSI", "autocommit", "OFF"] {
        two.put_lenenc_bytes(text.as_bytes());
    }
    block.put_u8(0);
    block.put_lenenc_bytes(&two);
    let schema = b"\x01\x02\x01d";
    block.extend_from_slice(schema);
    block.extend_from_slice(b"\x02\x011");
    let kept = |keep: &dyn Fn(&Change<'_>) -> bool| {
        let mut out = BytesMut::new();
        filter(&block, keep, &mut out).unwrap();
        out
    };
    assert_eq!(kept(&|_| true), block);
    assert_eq!(kept(&|_| false), b""[..]);
    assert_eq!(kept(&|change| matches!(change, Change::Schema(_))), schema[..]);
    let one = kept(&|change| matches!(change, Change::Variable { name: b"autocommit", .. }));
    assert_eq!(one, b"\x00\x0f\x0aautocommit\x03OFF"[..]);
    assert!(filter(&block[..block.len() - 1], |_| true, &mut BytesMut::new()).is_err());
}
