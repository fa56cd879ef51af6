//! Headers as the specification and others write them, and as nobody should.

use proptest::prelude::*;

use super::*;

fn from(bytes: &[u8]) -> Result<Header, Malformed> {
    parse(bytes)
}

fn at(text: &str, used: usize) -> Result<Header, Malformed> {
    Ok(Header::Whole(Proxied::From(text.parse().unwrap()), used))
}

#[test]
fn lines_of_version_1() {
    let line = b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\nmore";
    assert_eq!(from(line), at("192.168.0.1:56324", 47));
    assert_eq!(from(b"PROXY TCP6 2001:db8::1 ::1 1 65535\r\n"), at("[2001:db8::1]:1", 36));
    assert_eq!(from(b"PROXY UNKNOWN\r\n"), Ok(Header::Whole(Proxied::Own, 15)));
    let longest = b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n";
    assert_eq!(from(longest), Ok(Header::Whole(Proxied::Own, longest.len())));
    for cut in 0..line.len() - 4 - 1 {
        assert_eq!(from(&line[..cut]), Ok(Header::Partial), "{cut}");
    }
    for broken in [
        "PROXY TCP4 192.168.0.1 192.168.0.11 56324\r\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443 1\r\n",
        "PROXY TCP4 ::1 ::1 1 1\r\n",
        "PROXY TCP6 192.168.0.1 192.168.0.11 56324 443\r\n",
        "PROXY TCP4 192.168.0.256 192.168.0.11 56324 443\r\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 65536 443\r\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 056 443\r\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 -1 443\r\n",
        "PROXY TCP4  192.168.0.1 192.168.0.11 1 443\r\n",
        "PROXY UDP4 192.168.0.1 192.168.0.11 1 443\r\n",
        "PROXY  \r\n",
        "PROXY\r\n",
        "proxy TCP4 192.168.0.1 192.168.0.11 56324 443\r\n",
    ] {
        assert!(from(broken.as_bytes()).is_err(), "{broken}");
    }
    assert!(from(&[&b"PROXY UNKNOWN "[..], &[b'x'; 100]].concat()).is_err(), "a line without end");
}

#[test]
fn headers_of_version_2() {
    let own = encode(None);
    assert_eq!(from(&own), Ok(Header::Whole(Proxied::Own, 16)));
    // A check of health may say anything behind its command.
    let mut said = own.to_vec();
    said[15] = 5;
    said.extend_from_slice(b"12345rest");
    assert_eq!(from(&said), Ok(Header::Whole(Proxied::Own, 21)));
    let mut unix = [&SIGNATURE[..], &[0x21, 0x31, 0, 216], &[7; 216]].concat();
    assert_eq!(from(&unix), Ok(Header::Whole(Proxied::Own, 232)));
    unix[15] = 215;
    assert!(from(&unix).is_err());
    for broken in [
        [0x31, 0x11, 0, 12],
        [0x22, 0x11, 0, 12],
        [0x21, 0x12, 0, 12],
        [0x21, 0x11, 0, 11],
        [0x21, 0x21, 0, 12],
    ] {
        let bytes = [&SIGNATURE[..], &broken, &[1; 40]].concat();
        assert!(from(&bytes).is_err(), "{broken:?}");
    }
    assert!(
        from(&[&SIGNATURE[..], &[0x21, 0x11, 0xFF, 0xFF]].concat()).is_err(),
        "it is never longer than a page"
    );
}

#[test]
fn the_checksum_of_a_header_must_be_right() {
    // RFC 3720, appendix B.4: 32 bytes of zeros.
    assert_eq!(crc32c([0; 32].into_iter()), 0x8A91_36AA);
    let mut header =
        [&SIGNATURE[..], &[0x21, 0x11, 0, 12 + 3 + 1 + 7], &[10, 0, 0, 1, 10, 0, 0, 2, 1, 2, 3, 4]].concat();
    header.extend_from_slice(&[0x04, 0, 1, 0xAA, 0x03, 0, 4, 0, 0, 0, 0]);
    assert!(from(&header).is_err());
    let checksum = crc32c(header.iter().copied());
    let end = header.len() - 4;
    header[end..].copy_from_slice(&checksum.to_be_bytes());
    assert_eq!(from(&header), at("10.0.0.1:258", header.len()));
    header[20] ^= 1;
    assert!(from(&header).is_err());
    // An extension that goes beyond the end.
    let mut header = [&SIGNATURE[..], &[0x21, 0x11, 0, 16], &[1; 12]].concat();
    header.extend_from_slice(&[0x04, 0, 9, 0xAA]);
    assert!(from(&header).is_err());
}

#[test]
fn what_a_client_of_the_protocol_says_first_is_no_header() {
    for packet in [&b"\x20\0\0\x01"[..], b"\x01\0\0\0\x01", b"P\0\0\x01", b"\r\0\0\x01"] {
        assert!(!is_header(packet) && from(packet).is_err(), "{packet:?}");
    }
    assert!(!is_header(b"") && is_header(b"P") && is_header(b"\r\n"));
}

proptest! {
    #[test]
    fn what_we_write_we_read(source: [u8; 16], target: [u8; 16], ports: (u16, u16), v4: bool, rest: Vec<u8>) {
        let ip = |bytes: [u8; 16]| -> IpAddr {
            if v4 { Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into() } else { Ipv6Addr::from(bytes).into() }
        };
        let client = SocketAddr::new(ip(source).to_canonical(), ports.0);
        let header = encode(Some((client, SocketAddr::new(ip(target), ports.1))));
        let bytes = [&header[..], &rest].concat();
        let Ok(Header::Whole(Proxied::From(read), used)) = parse(&bytes) else { panic!("{bytes:?}") };
        prop_assert_eq!(SocketAddr::new(read.ip().to_canonical(), read.port()), client);
        prop_assert_eq!(used, header.len());
        for cut in 0..header.len() {
            prop_assert_eq!(parse(&header[..cut]), Ok(Header::Partial));
        }
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>, v2: bool, kind in any::<[u8; 4]>()) {
        let _ = parse(&bytes);
        let head: &[u8] = if v2 { SIGNATURE } else { WORD };
        let bytes = [head, if v2 { &kind } else { &[] }, &bytes].concat();
        if let Ok(Header::Whole(_, used)) = parse(&bytes) {
            prop_assert!(used <= bytes.len());
        }
    }

    /// What was read does not change by what follows it.
    #[test]
    fn a_header_ends_where_it_ends(mut bytes: Vec<u8>, more: Vec<u8>) {
        bytes.splice(0..0, *WORD);
        if let Ok(whole @ Header::Whole(..)) = parse(&bytes) {
            bytes.extend(more);
            prop_assert_eq!(parse(&bytes), Ok(whole));
        }
    }
}
