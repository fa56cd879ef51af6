//! Greetings as servers send them, and as they should not.

use proptest::prelude::*;

use super::*;

/// As MariaDB 10.11 sends it: the extended flags in the filler.
fn mariadb() -> Vec<u8> {
    let mut out = b"\x0a5.5.5-10.11.19-MariaDB\0\x07\0\0\0abcdefgh\0\xfe\xf7\x2d\x02\0\xff\x81\x15\0\0\0\0\0\0\x1d\0\0\0".to_vec();
    out.extend(b"ijklmnopqrst\0mysql_native_password\0");
    out
}

#[test]
fn mariadb_has_extended_capabilities() {
    let greeting = Greeting::parse(&mariadb()).unwrap();
    assert!(greeting.is_mariadb());
    assert_eq!(greeting.caps, Caps::from_halves(0x81ff_f7fe, 0x1d));
    assert!(greeting.caps.contains(Caps::CACHE_METADATA | Caps::STMT_BULK | Caps::PROGRESS));
    assert_eq!(greeting.salt, *b"abcdefghijklmnopqrst");
    assert_eq!((greeting.connection_id, greeting.charset, greeting.status), (7, 45, 2));
    assert_eq!(&*greeting.encode(), mariadb());
}

#[test]
fn mysql_has_none_whatever_the_filler_holds() {
    let mut payload = mariadb();
    let flags = payload.iter().position(|&byte| byte == 0xFE).unwrap();
    payload[flags] |= 1;
    let greeting = Greeting::parse(&payload).unwrap();
    assert_eq!(greeting.caps.extended(), 0);
    assert!(greeting.is_mariadb(), "its version says so");
    assert!(!Greeting { version: "9.7.4".into(), ..greeting }.is_mariadb());
}

#[test]
fn a_greeting_as_mysql_leaves_the_filler_empty() {
    let ours = Greeting { caps: Caps::from_halves(u32::MAX, 0x1d), ..Greeting::parse(&mariadb()).unwrap() };
    let bytes = ours.encode();
    let salt = bytes.windows(12).position(|part| part == b"ijklmnopqrst").unwrap();
    assert_eq!(bytes[salt - 10..salt], [0; 10]);
}

#[test]
fn unknown_capabilities_survive() {
    let greeting = Greeting {
        caps: Caps::from_halves(0xFFFF_FFFE, 0xFFFF_FFFF),
        ..Greeting::parse(&mariadb()).unwrap()
    };
    assert_eq!(Greeting::parse(&greeting.encode()), Ok(greeting));
}

#[test]
fn the_plugins_name_may_lack_its_nul() {
    let payload = mariadb();
    let greeting = Greeting::parse(&payload[..payload.len() - 1]).unwrap();
    assert_eq!(greeting.auth_plugin, auth::NATIVE);
}

#[test]
fn another_protocol_is_refused() {
    assert!(Greeting::parse(b"\x095.0\0").is_err());
    assert!(Greeting::parse(b"").is_err());
    let payload = mariadb();
    for short in 0..payload.len() - 40 {
        assert!(Greeting::parse(&payload[..short]).is_err(), "{short}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        let _ = Greeting::parse(&bytes);
        let _ = Greeting::parse(&[b"\x0a8.0\0", &bytes[..]].concat());
    }
}
