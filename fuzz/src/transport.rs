//! What stands before or around the protocol's frames: headers of the PROXY protocol, compressed packets.

use core::net::SocketAddr;

use bytes::BytesMut;
use clonelove_wire::compress::{Algorithm, HEADER, PackedHead, STORED_BELOW, pack, unpack};
use clonelove_wire::proxied::{Header, LONGEST, Proxied, encode, is_header, parse};

/// A header is found only when all of it is there, is the same whatever follows it, and what it says we can say too; what
/// is broken stays so, and a beginning does not go on for ever.
pub fn proxied(data: &[u8]) {
    let more = [data, b"\x01\r\n more \xff"].concat();
    match parse(data) {
        Ok(Header::Whole(said, used)) => {
            assert!(used <= data.len() && used <= LONGEST && is_header(data));
            for cut in [0, 1, used / 2, used - 1] {
                assert_eq!(parse(&data[..cut]), Ok(Header::Partial), "found in {cut} of {used}");
            }
            assert_eq!(parse(&more), Ok(Header::Whole(said, used)));
            said_again(said);
        }
        Ok(Header::Partial) => assert!(data.len() < LONGEST && (data.is_empty() || is_header(data))),
        Err(_) => assert!(parse(&more).is_err()),
    }
    // What a client of the protocol says first is none: its number is 1.
    let first = [data.get(..3).unwrap_or(&[32, 0, 0]), &[1], data].concat();
    assert!(!is_header(&first));
}

fn said_again(said: Proxied) {
    let to = SocketAddr::from(([127, 0, 0, 1], 3306));
    let client = match said {
        Proxied::From(client) => Some(client),
        Proxied::Own => None,
    };
    let header = encode(client.map(|client| (client, to)));
    let Ok(Header::Whole(read, used)) = parse(&header) else { panic!("ours is not understood") };
    assert_eq!(used, header.len());
    match (read, client) {
        (Proxied::From(read), Some(client)) => {
            assert_eq!((read.ip().to_canonical(), read.port()), (client.ip().to_canonical(), client.port()));
        }
        (Proxied::Own, None) => {}
        other => panic!("{other:?}"),
    }
}

/// A packet holds what its head says or is refused, takes no more memory than that, leaves alone what came before; and what
/// we pack comes out as it was.
pub fn compress(data: &[u8]) {
    let Some((&kind, mut rest)) = data.split_first() else { return };
    let algorithm = match kind {
        0..64 => Algorithm::Zlib,
        _ => Algorithm::Zstd(kind % 23),
    };
    packed(algorithm, kind, rest);
    let mut out = BytesMut::new();
    while let Some(head) = PackedHead::parse(rest) {
        let Some(body) = rest.get(HEADER..head.whole()) else { return };
        let before = out.clone();
        let unpacked = unpack(algorithm, head, body, &mut out);
        let grown = out.len() - before.len();
        assert_eq!(&out[..before.len()], &before[..]);
        match unpacked {
            Ok(()) => assert_eq!(grown, if head.plain == 0 { body.len() } else { head.plain }),
            Err(_) => {
                assert!(head.plain > 0 && grown <= head.plain);
                return;
            }
        }
        packed(algorithm, head.seq, &out[before.len()..]);
        rest = &rest[head.whole()..];
    }
}

fn packed(algorithm: Algorithm, seq: u8, plain: &[u8]) {
    let mut packet = BytesMut::from(&b"before"[..]);
    pack(algorithm, seq, plain, &mut packet);
    let Some(packet) = packet.strip_prefix(b"before") else { panic!("what came before is lost") };
    let Some(head) = PackedHead::parse(packet) else { panic!("no head") };
    assert_eq!((head.seq, head.whole()), (seq, packet.len()));
    match head.plain {
        0 => assert_eq!(head.len, plain.len()),
        said => assert!(said == plain.len() && head.len < said && said >= STORED_BELOW),
    }
    let mut out = BytesMut::new();
    let unpacked = unpack(algorithm, head, &packet[HEADER..], &mut out);
    assert!(unpacked.is_ok() && out == plain, "what was packed does not come out");
}
