//! Both machines against each other, over every combination of plugin, transport and password. RSA is played by a
//! transformation that the test can undo.

use crate::auth::crypt::Crypt;
use crate::auth::{CLEAR, Credential, ED25519, Login, NATIVE, SHA2, Secret, ed25519};
use crate::handshake::client::{ClientConfig, ClientExchange, ClientHandshake, ClientStep, Session, Tls};
use crate::handshake::server::{Established, Offer, Rejected, ServerHandshake, ServerStep};
use crate::packet::err::Err as ErrPacket;
use crate::packet::ok::Ok as OkPacket;
use crate::packet::{Greeting, Response};
use crate::{Caps, code};
use bytes::BytesMut;

pub(super) const SALT: [u8; 20] = *b"0123456789abcdefghij";
pub(super) const CHALLENGE: [u8; 32] = *b"0123456789abcdefghijABCDEFGHIJ\0\0";
const KEY: &[u8] = b"-----BEGIN PUBLIC KEY-----";

pub(super) fn greeting(plugin: &str) -> Greeting {
    Greeting {
        version: "8.0.40".into(),
        connection_id: 7,
        salt: SALT,
        caps: Caps::from_halves(u32::MAX, 0)
            .difference(Caps::ZSTD | Caps::COMPRESS)
            .difference(Caps::DEPRECATE_EOF),
        charset: 45,
        status: 2,
        auth_plugin: plugin.into(),
    }
}

pub(super) fn offer(secure_transport: bool) -> Offer {
    Offer {
        plugins: vec![SHA2.into(), NATIVE.into(), ED25519.into(), CLEAR.into()],
        rsa_public_key_pem: Some(KEY.to_vec()),
        secure_transport,
        force_full: false,
        ed25519_challenge: Some(CHALLENGE),
        carried: false,
    }
}

pub(super) fn config(password: &str, secure_transport: bool) -> ClientConfig {
    ClientConfig {
        user: b"ann".to_vec(),
        login: Login::Password(Secret::new(password)),
        database: Some(b"d".to_vec()),
        caps: Caps::all(),
        charset: 45,
        attributes: vec![(b"program_name".to_vec(), b"test".to_vec())],
        max_packet: 1 << 24,
        secure_transport,
        tls: Tls::Off,
    }
}

fn crypt(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| byte ^ 0x5A).collect()
}

/// How a pair of machines ended.
enum Outcome {
    In(Box<Established>, Box<Session>),
    Out(Box<Rejected>, ErrPacket<'static>),
}

/// Carries packets between the two until both are done. `passwords` are those the server knows.
fn shake(server: ServerHandshake, config: ClientConfig, passwords: &[&str]) -> Outcome {
    let known: Vec<Credential> =
        passwords.iter().map(|password| Credential::Password(Secret::new(*password))).collect();
    shake_knowing(server, config, &known)
}

fn shake_knowing(server: ServerHandshake, config: ClientConfig, known: &[Credential]) -> Outcome {
    let greeting = server.greeting().encode();
    let step = ClientHandshake::new(config).greeting(&greeting).unwrap();
    match step {
        ClientStep::UpgradeTls(request, next) => {
            let ServerStep::UpgradeTls(upgrade) = server.feed(&request) else {
                panic!("the server does not see the request for TLS");
            };
            let (response, client) = sent(next.upgraded());
            carry(upgrade.upgraded().feed(&response), client, known)
        }
        step => {
            let (response, client) = sent(step);
            carry(server.feed(&response), client, known)
        }
    }
}

fn sent(step: ClientStep) -> (BytesMut, ClientExchange) {
    match step {
        ClientStep::Send(payload, next) => (payload, next),
        ClientStep::Encrypt { public_key_pem, xored_password, next } => {
            assert_eq!(public_key_pem, KEY);
            sent(next.encrypted(&crypt(&xored_password)))
        }
        ClientStep::Refused(error) => panic!("refused: {error}"),
        _ => panic!("nothing is sent"),
    }
}

fn carry(mut server: ServerStep, mut client: ClientExchange, known: &[Credential]) -> Outcome {
    for _ in 0..20 {
        server = match server {
            ServerStep::Authenticate(step) => {
                assert_eq!(step.user(), b"ann");
                step.credentials(known.to_vec())
            }
            ServerStep::Send(payload, next) => {
                let (reply, then) = sent(client.feed(&payload).unwrap());
                client = then;
                next.feed(&reply)
            }
            ServerStep::Decrypt(ciphertext, next) => next.decrypted(Some(crypt(&ciphertext))),
            ServerStep::Done(established) => return let_in(established, client),
            ServerStep::Reject(rejected) => {
                let mut out = BytesMut::new();
                ErrPacket::new(code::ACCESS_DENIED, "no").encode(&mut out);
                let ClientStep::Refused(error) = client.feed(&out).unwrap() else {
                    panic!("the client does not understand that it was refused");
                };
                return Outcome::Out(Box::new(rejected), error);
            }
            ServerStep::Malformed(error) => panic!("{error}"),
            ServerStep::UpgradeTls(_) => panic!("TLS once more"),
        };
    }
    panic!("it does not come to an end");
}

fn let_in(established: Box<Established>, mut client: ClientExchange) -> Outcome {
    if let Some(before) = &established.before_ok {
        let ClientStep::Read(next) = client.feed(before).unwrap() else {
            panic!("the client has something to say to {before:?}");
        };
        client = next;
    }
    let mut out = BytesMut::new();
    OkPacket { status: crate::Status::AUTOCOMMIT, ..OkPacket::default() }.encode(
        0,
        established.caps,
        &mut out,
    );
    match client.feed(&out).unwrap() {
        ClientStep::Done(session) => Outcome::In(established, session),
        _ => panic!("the client does not see that it is in"),
    }
}

#[test]
fn whoever_knows_the_password_gets_in_and_nobody_else() {
    for greeted in [NATIVE, SHA2, CLEAR, "client_ed25519"] {
        for offered in [vec![NATIVE], vec![SHA2], vec![ED25519], vec![SHA2, NATIVE]] {
            for (secure, force_full) in [(false, false), (true, false), (false, true), (true, true)] {
                for (password, known) in cases() {
                    let plugins = offered.iter().map(|plugin| (*plugin).to_owned()).collect();
                    let offer = Offer { plugins, force_full, ..offer(secure) };
                    let server = ServerHandshake::new(greeting(greeted), offer);
                    let outcome = shake(server, config(password, secure), &known);
                    let what = format!("{greeted} {offered:?} {secure} {force_full} {password:?} {known:?}");
                    match outcome {
                        Outcome::In(established, session) => {
                            assert!(known.contains(&password), "{what}");
                            assert_eq!(
                                established.login.password().unwrap().expose(),
                                password.as_bytes(),
                                "{what}"
                            );
                            assert!(offered.contains(&established.plugin.as_str()), "{what}");
                            assert_eq!(established.plugin, session.plugin, "{what}");
                            assert_eq!(established.caps, session.caps, "{what}");
                            assert_eq!(established.response.database.as_deref(), Some(&b"d"[..]));
                            assert_eq!(established.response.attributes.len(), 1);
                        }
                        Outcome::Out(rejected, error) => {
                            assert!(!known.contains(&password), "{what}");
                            // A signature is always one.
                            let sent = !password.is_empty() || offered == [ED25519];
                            assert_eq!(rejected.using_password, sent, "{what}");
                            assert_eq!(error.code, 1045, "{what}");
                        }
                    }
                }
            }
        }
    }
}

/// What the client gives, and what the server knows; none is an unknown user.
fn cases() -> Vec<(&'static str, Vec<&'static str>)> {
    vec![
        ("secret", vec!["secret"]),
        ("secret", vec!["old", "secret"]),
        ("secret", vec!["secret", "new"]),
        ("", vec![""]),
        ("secret", vec!["other"]),
        ("secret", vec![]),
        ("secret", vec![""]),
        ("", vec!["secret"]),
        ("", vec![]),
        (
            "a rather long one, longer than the salt that is laid over it",
            vec!["a rather long one, longer than the salt that is laid over it"],
        ),
    ]
}

#[test]
fn tls_is_taken_where_it_is_wanted_and_offered() {
    for (tls, offered, expected) in [
        (Tls::Off, true, false),
        (Tls::Preferred, true, true),
        (Tls::Preferred, false, false),
        (Tls::Required, true, true),
    ] {
        let mut greeting = greeting(SHA2);
        greeting.caps.set(Caps::SSL, offered);
        let server = ServerHandshake::new(greeting, offer(false));
        let Outcome::In(established, session) =
            shake(server, ClientConfig { tls, ..config("x", false) }, &["x"])
        else {
            panic!("refused");
        };
        assert_eq!(session.secure_transport, expected);
        assert_eq!(established.caps.contains(Caps::SSL), expected);
    }
}

#[test]
fn change_user_asks_for_a_challenge_to_be_answered_anew() {
    for plugin in [NATIVE, SHA2] {
        for (known, gets_in) in [("new", true), ("other", false)] {
            let server = ServerHandshake::new(greeting(plugin), offer(false));
            let Outcome::In(established, session) = shake(server, config("old", false), &["old"]) else {
                panic!("refused");
            };
            let (payload, client) = ClientExchange::change_user(*session, config("new", false));
            let server = ServerHandshake::new(greeting(plugin), offer(false));
            let step = server.change_user(&payload, &established.response);
            let outcome = carry(step, client, &[Credential::Password(Secret::new(known))]);
            assert_eq!(matches!(outcome, Outcome::In(..)), gets_in);
        }
    }
}

#[test]
fn negotiated_is_what_both_want() {
    let mut greeting = greeting(NATIVE);
    greeting.caps = Caps::from_halves(greeting.caps.base() & !1, 0x1d);
    greeting.caps.remove(Caps::SSL | Caps::MULTI_STATEMENTS);
    let server = ServerHandshake::new(greeting.clone(), offer(false));
    let wanted = ClientConfig { caps: Caps::MULTI_STATEMENTS | Caps::CACHE_METADATA, ..config("x", false) };
    let Outcome::In(established, session) = shake(server, wanted, &["x"]) else {
        panic!("refused");
    };
    assert_eq!(session.caps, established.caps);
    assert!(session.caps.contains(Caps::CACHE_METADATA | Caps::PROTOCOL_41 | Caps::CONNECT_WITH_DB));
    assert!(!session.caps.intersects(Caps::MULTI_STATEMENTS | Caps::CLIENT_MYSQL | Caps::STMT_BULK));
    assert_eq!(Response::parse(&established.response.encode(), greeting.caps), Ok(established.response));
}

/// What servers keep of a password lets in whoever knows it, and what the proof leaves in hand opens a server.
#[test]
fn what_servers_keep_of_a_password_is_enough() {
    let right = Secret::new("right");
    let native = Credential::stored(NATIVE, b"*93F8DF6A0B1BB6A0F2B8E5B1C8D3B5E0F0C8B5F1");
    assert!(native.is_some());
    let crypt =
        |password: &Secret| Credential::Crypt(Box::new(Crypt::of(password, b"0123456789abcdefghij", 1000)));
    let public = |password: &Secret| Credential::Ed25519(Box::new(ed25519::public_key(password)));
    let twice = |password: &Secret| Credential::Native(Box::new(crate::auth::native::twice(password)));
    type Kept<'a> = (&'static str, Box<dyn Fn(&Secret) -> Credential + 'a>);
    let kinds: [Kept<'_>; 3] =
        [(NATIVE, Box::new(twice)), (SHA2, Box::new(crypt)), (ED25519, Box::new(public))];
    for (plugin, keep) in &kinds {
        for greeted in [NATIVE, SHA2] {
            for (secure, carried) in [(false, false), (true, false), (false, true), (true, true)] {
                for (kept, gets_in) in [("right", true), ("wrong", false)] {
                    let what = format!("{plugin} {greeted} {secure} {carried} {kept}");
                    let offer = Offer { carried, ..offer(secure) };
                    let server = ServerHandshake::new(greeting(greeted), offer);
                    let known = [keep(&Secret::new(kept)), keep(&Secret::new("other"))];
                    // A signature leaves nothing; the password is asked for where nobody can listen.
                    let sealed = *plugin == ED25519 && carried;
                    match shake_knowing(server, config("right", secure), &known) {
                        Outcome::In(established, session) => {
                            assert!(gets_in && (secure || !sealed), "{what}");
                            let used = if sealed { SHA2 } else { plugin };
                            assert_eq!(
                                (established.plugin.as_str(), session.plugin.as_str()),
                                (used, used),
                                "{what}"
                            );
                            match (established.login, used) {
                                (Login::Password(password), SHA2) => {
                                    assert!(password.matches(b"right"), "{what}")
                                }
                                (Login::Native(once), NATIVE) => {
                                    let login = Login::Native(once);
                                    assert_eq!(
                                        login.native_reply(b"another salt"),
                                        Login::Password(right.clone()).native_reply(b"another salt"),
                                    );
                                }
                                (Login::Nothing, ED25519) => {}
                                (login, used) => panic!("{what}: {login:?} {used}"),
                            }
                        }
                        Outcome::Out(..) => assert!(!gets_in || (sealed && !secure), "{what}"),
                    }
                }
            }
        }
    }
}

/// Once the password is known, every method does, fast.
#[test]
fn a_remembered_password_beside_a_hash_goes_the_fast_path() {
    let crypt = Credential::Crypt(Box::new(Crypt::of(&Secret::new("right"), b"0123456789abcdefghij", 1000)));
    let known = [Credential::Password(Secret::new("right")), crypt];
    let server = ServerHandshake::new(greeting(SHA2), Offer { rsa_public_key_pem: None, ..offer(false) });
    assert!(matches!(shake_knowing(server, config("right", false), &known), Outcome::In(..)));
}
