use proptest::prelude::*;

use super::*;

const ALL: [Algorithm; 3] = [Algorithm::Zlib, Algorithm::Zstd(1), Algorithm::Zstd(19)];

fn unpacked(algorithm: Algorithm, packet: &[u8]) -> Result<BytesMut, Malformed> {
    let head = PackedHead::parse(packet).unwrap();
    assert_eq!(head.whole(), packet.len());
    let mut out = BytesMut::new();
    unpack(algorithm, head, &packet[HEADER..], &mut out).map(|()| out)
}

#[test]
fn what_is_short_or_does_not_shrink_is_stored() {
    for algorithm in ALL {
        let mut out = BytesMut::new();
        pack(algorithm, 7, &[b'a'; STORED_BELOW - 1], &mut out);
        assert_eq!(out[..HEADER], [49, 0, 0, 7, 0, 0, 0]);
        out.clear();
        pack(algorithm, 0, &[b'a'; STORED_BELOW], &mut out);
        assert!(out.len() < STORED_BELOW && out[4..7] == [50, 0, 0], "{out:?}");
        let mut noise = 1_u32;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            noise.to_be_bytes()[0]
        })
        .take(200)
        .collect();
        out.clear();
        pack(algorithm, 0, &noise, &mut out);
        assert_eq!(PackedHead::parse(&out), Some(PackedHead { len: 200, seq: 0, plain: 0 }));
    }
}

#[test]
fn a_packet_holds_what_its_head_says_or_is_malformed() {
    for algorithm in ALL {
        let mut out = BytesMut::new();
        pack(algorithm, 0, &[b'a'; 1000], &mut out);
        assert_eq!(unpacked(algorithm, &out).unwrap(), [b'a'; 1000][..]);
        for lie in [999_u16, 1001] {
            out[4..6].copy_from_slice(&lie.to_le_bytes());
            unpacked(algorithm, &out).unwrap_err();
        }
    }
}

#[test]
fn a_bomb_goes_off_as_far_as_its_head_says() {
    for algorithm in ALL {
        let mut bomb = BytesMut::new();
        let body = packed(algorithm, &vec![0; 64 << 20]).unwrap();
        bomb.extend_from_slice(&PackedHead { len: body.len(), seq: 0, plain: 1000 }.encode());
        bomb.extend_from_slice(&body);
        let head = PackedHead::parse(&bomb).unwrap();
        let mut out = BytesMut::new();
        unpack(algorithm, head, &bomb[HEADER..], &mut out).unwrap_err();
        assert!(out.capacity() < 1 << 20, "{} bytes were taken", out.capacity());
        // A head that promises much, before a body that holds nothing, takes no memory for it.
        let head = PackedHead { len: 3, seq: 0, plain: MAX };
        let mut out = BytesMut::new();
        unpack(algorithm, head, &[1, 2, 3], &mut out).unwrap_err();
        assert!(out.capacity() < 1 << 20, "{} bytes were taken", out.capacity());
    }
}

#[test]
fn zlib_goes_before_zstd() {
    let both = Caps::COMPRESS | Caps::ZSTD;
    assert_eq!(Algorithm::agreed(both, Some(5)), Some(Algorithm::Zlib));
    assert_eq!(Algorithm::agreed(Caps::ZSTD, Some(5)), Some(Algorithm::Zstd(5)));
    assert_eq!(Algorithm::agreed(Caps::ZSTD, Some(200)), Some(Algorithm::Zstd(ZSTD_LEVEL)));
    assert_eq!(Algorithm::agreed(Caps::empty(), Some(5)), None);
}

proptest! {
    #[test]
    fn what_was_packed_comes_out(plain: Vec<u8>, times in 1..50_usize, which in 0..3_usize) {
        let plain = plain.repeat(times);
        let mut out = BytesMut::new();
        pack(ALL[which], 3, &plain, &mut out);
        prop_assert_eq!(unpacked(ALL[which], &out).unwrap(), plain);
    }

    #[test]
    fn no_bytes_panic(body: Vec<u8>, plain in 0..2000_usize, which in 0..3_usize) {
        let head = PackedHead { len: body.len(), seq: 0, plain };
        let mut out = BytesMut::new();
        let _ = unpack(ALL[which], head, &body, &mut out);
        prop_assert!(out.len() <= plain.max(body.len()));
    }
}
