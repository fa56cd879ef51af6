//! Frames: heads, packets of several frames, limits.

use proptest::prelude::*;

use super::*;

fn framed(seq: u8, payload: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    write_packet(&mut out, seq, payload);
    out
}

#[test]
fn a_head_is_three_bytes_of_length_and_one_of_sequence() {
    let head = FrameHead { len: 0x01_0203, seq: 9 };
    assert_eq!(head.encode(), [3, 2, 1, 9]);
    assert_eq!(FrameHead::parse(&[3, 2, 1, 9, 77]), Some(head));
    assert_eq!(FrameHead::parse(&[3, 2, 1]), None);
    assert_eq!(head.whole(), 0x01_0203 + 4);
}

#[test]
fn a_packet_is_split_at_the_longest_frame() {
    for (len, frames) in
        [(0, 1), (1, 1), (MAX_FRAME - 1, 1), (MAX_FRAME, 2), (MAX_FRAME + 1, 2), (2 * MAX_FRAME, 3)]
    {
        let payload = vec![7; len];
        let mut out = BytesMut::new();
        assert_eq!(write_packet(&mut out, 254, &payload), 254_u8.wrapping_add(frames), "{len}");
        assert_eq!(out.len(), len + HEADER * usize::from(frames));
        let used = out.len();
        let seq_last = 253_u8.wrapping_add(frames);
        let whole = Look::Packet { payload: payload.into(), used, seq_first: 254, seq_last };
        assert!(look_packet(&out, Some(254), len) == whole, "{len}");
        for short in [3, 4, len / 2, used - 1].into_iter().filter(|short| *short < used) {
            match look_packet(&out[..short], None, len) {
                Look::Need(needed) => assert!(needed > short && needed <= used, "{len} {short} {needed}"),
                other => panic!("{len} {short}: {other:?}"),
            }
        }
    }
}

#[test]
fn one_frame_is_borrowed() {
    let out = framed(0, b"abc");
    assert!(matches!(look_packet(&out, None, 3), Look::Packet { payload: Cow::Borrowed(b"abc"), .. }));
}

#[test]
fn too_large_is_known_by_the_head() {
    let out = framed(3, b"abc");
    let head = FrameHead { len: 3, seq: 3 };
    assert_eq!(look_packet(&out[..4], None, 2), Look::TooLarge(head));
    let big = framed(3, &vec![0; MAX_FRAME + 10]);
    let head = FrameHead { len: MAX_FRAME, seq: 3 };
    assert_eq!(look_packet(&big, None, MAX_FRAME + 9), Look::TooLarge(head));
}

#[test]
fn sequence_numbers_must_be_right() {
    let out = framed(3, b"abc");
    assert_eq!(look_packet(&out, Some(0), 10), Look::BadSequence { expected: 0, got: 3 });
    let mut big = framed(3, &vec![0; MAX_FRAME + 10]);
    big[HEADER + MAX_FRAME + 3] = 9;
    assert_eq!(look_packet(&big, None, usize::MAX), Look::BadSequence { expected: 4, got: 9 });
}

proptest! {
    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..50), seq: Option<u8>, limit: usize) {
        match look_packet(&bytes, seq, limit) {
            Look::Need(needed) => prop_assert!(needed > bytes.len()),
            Look::Packet { payload, used, .. } => prop_assert_eq!(payload.len() + HEADER, used),
            Look::TooLarge(head) => prop_assert!(head.len > limit),
            Look::BadSequence { expected, got } => prop_assert_ne!(expected, got),
        }
    }
}
