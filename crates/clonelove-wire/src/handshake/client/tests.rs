//! The client's side alone: servers that do something unusual.

use proptest::prelude::*;

use super::*;
use crate::auth::native;
use crate::handshake::tests::{config, greeting};

fn exchange(secure: bool) -> ClientExchange {
    match ClientHandshake::new(config("secret", secure)).greeting(&greeting(auth::SHA2).encode()) {
        Ok(ClientStep::Send(_, next)) => next,
        _ => panic!("no response"),
    }
}

fn fault(result: Result<ClientStep, ClientFault>) -> ClientFault {
    result.err().expect("it is no fault")
}

#[test]
fn an_error_may_stand_in_the_greetings_place() {
    for payload in [&b"\xFF\x10\x04Too many connections"[..], b"\xFF\x10\x04#08004Too many connections"] {
        let step = ClientHandshake::new(config("x", false)).greeting(payload);
        let Ok(ClientStep::Refused(error)) = step else {
            panic!("not refused");
        };
        assert_eq!((error.code, error.text().as_ref()), (1040, "Too many connections"));
    }
}

#[test]
fn what_is_not_possible_is_said() {
    let mut without_tls = greeting(auth::NATIVE);
    without_tls.caps.remove(Caps::SSL);
    let wants = ClientConfig { tls: Tls::Required, ..config("x", false) };
    assert_eq!(
        fault(ClientHandshake::new(wants).greeting(&without_tls.encode())),
        ClientFault::TlsNotOffered
    );

    let mut old = greeting(auth::NATIVE);
    old.caps.remove(Caps::PROTOCOL_41);
    assert!(matches!(
        fault(ClientHandshake::new(config("x", false)).greeting(&old.encode())),
        ClientFault::Malformed(_)
    ));

    let unknown = fault(exchange(false).feed(b"\xFEdialog\0"));
    assert_eq!(unknown, ClientFault::UnsupportedPlugin("dialog".into()));
    assert_eq!(fault(exchange(false).feed(b"\xFEmysql_clear_password\0")), ClientFault::ClearPasswordRefused);
    assert!(
        matches!(fault(exchange(true).feed(b"\xFE")), ClientFault::Malformed(_)),
        "the old authentication"
    );
}

#[test]
fn a_password_goes_in_clear_where_nobody_can_listen() {
    let Ok(ClientStep::Send(payload, _)) = exchange(true).feed(b"\xFEmysql_clear_password\0") else {
        panic!("nothing is sent");
    };
    assert_eq!(&*payload, b"secret\0");
    let Ok(ClientStep::Send(payload, _)) = exchange(true).feed(&[1, 4]) else {
        panic!("nothing is sent");
    };
    assert_eq!(&*payload, b"secret\0");
}

#[test]
fn without_tls_the_key_is_asked_for_and_used() {
    let Ok(ClientStep::Send(payload, next)) = exchange(false).feed(&[1, 4]) else {
        panic!("nothing is sent");
    };
    assert_eq!(&*payload, [2]);
    let Ok(ClientStep::Encrypt { public_key_pem, xored_password, next }) = next.feed(b"\x01PEM") else {
        panic!("nothing to encrypt");
    };
    assert_eq!(public_key_pem, b"PEM");
    assert_eq!(
        *xored_password,
        *sha2::xor_password_with_salt(&Secret::new("secret"), &greeting(auth::SHA2).salt)
    );
    let ClientStep::Send(payload, _) = next.encrypted(b"cipher") else {
        panic!("nothing is sent");
    };
    assert_eq!(&*payload, b"cipher");
}

#[test]
fn after_a_switch_its_own_challenge_is_answered() {
    let salt = [7; 20];
    let secret = Secret::new("secret");
    for (plugin, reply) in
        [(auth::NATIVE, native::scramble(&secret, &salt)), (auth::SHA2, sha2::scramble(&secret, &salt))]
    {
        let mut asked = BytesMut::new();
        AuthSwitch { plugin: plugin.as_bytes(), data: &salt }.encode(&mut asked);
        let Ok(ClientStep::Send(payload, _)) = exchange(false).feed(&asked) else {
            panic!("nothing is sent");
        };
        assert_eq!(&*payload, reply);
    }
}

#[test]
fn a_server_that_never_ends_is_left() {
    let mut client = exchange(false);
    for _ in 0..1000 {
        client = match client.feed(b"\xFEmysql_native_password\x0001234567890123456789\0") {
            Ok(ClientStep::Send(_, next)) => next,
            Err(fault) => {
                assert_eq!(fault, ClientFault::Endless);
                return;
            }
            _ => panic!("it goes another way"),
        };
    }
    panic!("endless");
}

proptest! {
    #[test]
    fn arbitrary_packets_do_no_harm(
        secure: bool, first in prop::collection::vec(any::<u8>(), 0..100),
        packets in prop::collection::vec(
            (prop::sample::select(vec![0_u8, 1, 0xFE, 0xFF, 7]), prop::collection::vec(any::<u8>(), 0..40)), 0..6),
    ) {
        drop(ClientHandshake::new(config("x", secure)).greeting(&first));
        let mut client = exchange(secure);
        for (head, rest) in packets {
            let payload = [&[head][..], &rest].concat();
            client = match client.feed(&payload) {
                Ok(ClientStep::Send(_, next) | ClientStep::Read(next)) => next,
                Ok(ClientStep::Encrypt { next, .. }) => match next.encrypted(b"x") {
                    ClientStep::Send(_, next) => next,
                    _ => panic!("nothing is sent"),
                },
                _ => break,
            };
        }
    }
}
