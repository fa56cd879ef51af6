//! Responses as clients should not send them; the rest is compared with another implementation in `oracle`.

use proptest::prelude::*;

use super::*;

#[test]
fn a_client_from_before_4_1_is_refused_with_a_clear_error() {
    let error = Response::parse(b"\x05\x24\0\0\0ann\0", Caps::empty()).unwrap_err();
    assert!(error.to_string().contains("before 4.1"), "{error}");
}

#[test]
fn an_ssl_request_ends_before_the_user() {
    let response = Response { caps: Caps::SSL, user: b"ann".to_vec(), ..Response::default() };
    assert!(Response::is_ssl_request(&response.encode_ssl_request()));
    assert!(!Response::is_ssl_request(&response.encode()));
    assert!(!Response::is_ssl_request(&Response::default().encode_ssl_request()[..31]));
    let mut plain = response.encode_ssl_request();
    plain[1] &= !8;
    assert!(!Response::is_ssl_request(&plain));
}

#[test]
fn extended_flags_count_only_between_mariadbs() {
    let caps = Caps::from_halves(Caps::PROTOCOL_41.base(), 0x14);
    let bytes = Response { caps, ..Response::default() }.encode();
    assert_eq!(Response::parse(&bytes, Caps::empty()).unwrap().caps, caps);
    assert_eq!(Response::parse(&bytes, Caps::CLIENT_MYSQL).unwrap().caps.extended(), 0);
}

#[test]
fn what_is_left_out_at_the_end_is_not_there() {
    let caps = Caps::PROTOCOL_41 | Caps::PLUGIN_AUTH | Caps::CONNECT_ATTRS | Caps::SECURE_CONNECTION;
    let whole = Response { caps, auth_plugin: Some("x".into()), auth: vec![1], ..Response::default() };
    let bytes = whole.encode();
    // Without the attributes, and without the plugin's name as well.
    let without = Response::parse(&bytes[..bytes.len() - 1], Caps::empty()).unwrap();
    assert_eq!(without.auth_plugin.as_deref(), Some("x"));
    let without = Response::parse(&bytes[..bytes.len() - 3], Caps::empty()).unwrap();
    assert_eq!(without.auth_plugin, None);
}

#[test]
fn the_level_of_zstd_is_kept() {
    let caps = Caps::PROTOCOL_41 | Caps::ZSTD | Caps::SECURE_CONNECTION;
    let response = Response { caps, zstd_level: Some(7), ..Response::default() };
    assert_eq!(Response::parse(&response.encode(), Caps::empty()), Ok(response));
}

#[test]
fn debug_shows_no_password() {
    let response = Response { auth: b"secret".to_vec(), user: b"ann".to_vec(), ..Response::default() };
    let shown = format!("{response:?}");
    assert!(shown.contains("ann") && !shown.contains("secret") && !shown.contains("115"), "{shown}");
}

proptest! {
    #[test]
    fn arbitrary_bytes_do_no_harm(caps: u32, bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        let _ = Response::parse(&bytes, Caps::empty());
        let head = [&(caps | Caps::PROTOCOL_41.base()).to_le_bytes()[..], &bytes].concat();
        let _ = Response::parse(&head, Caps::empty());
    }
}
