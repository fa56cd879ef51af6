//! The server's side alone: clients that do something unusual.

use proptest::prelude::*;

use super::*;
use crate::auth::{CLEAR, NATIVE, SHA2};
use crate::handshake::tests::{SALT, greeting, offer};

fn response(plugin: Option<&str>, auth: &[u8]) -> Response {
    Response {
        caps: greeting(NATIVE).caps.difference(Caps::SSL | Caps::CONNECT_ATTRS),
        user: b"ann".to_vec(),
        auth: auth.to_vec(),
        auth_plugin: plugin.map(str::to_owned),
        ..Response::default()
    }
}

fn begin(greeted: &str, offer: Offer, response: &Response) -> ServerStep {
    match ServerHandshake::new(greeting(greeted), offer).feed(&response.encode()) {
        ServerStep::Authenticate(step) => step.passwords(vec![Secret::new("secret")]),
        step => step,
    }
}

fn switch_of(step: ServerStep) -> (String, Vec<u8>, AwaitReply) {
    let ServerStep::Send(payload, next) = step else {
        panic!("it does not ask to switch");
    };
    let switch = AuthSwitch::parse(&payload).unwrap();
    (String::from_utf8(switch.plugin.to_vec()).unwrap(), switch.data.to_vec(), next)
}

#[test]
fn a_client_is_asked_to_switch_to_the_plugin_it_names() {
    for (greeted, named) in [(NATIVE, SHA2), (SHA2, NATIVE)] {
        let (plugin, salt, next) = switch_of(begin(greeted, offer(false), &response(Some(named), b"")));
        assert_eq!((plugin.as_str(), &*salt), (named, &SALT[..]));
        let secret = Secret::new("secret");
        let reply =
            if named == NATIVE { native::scramble(&secret, &salt) } else { sha2::scramble(&secret, &salt) };
        assert!(matches!(next.feed(&reply), ServerStep::Done(done) if done.plugin == named));
    }
}

#[test]
fn a_client_that_names_what_we_have_not_is_asked_to_switch_to_the_greetings() {
    for greeted in [NATIVE, SHA2] {
        let (plugin, ..) =
            switch_of(begin(greeted, offer(false), &response(Some("sha256_password"), &[1; 64])));
        assert_eq!(plugin, greeted);
    }
    let only_native = Offer { plugins: vec![NATIVE.into()], ..offer(false) };
    let (plugin, ..) = switch_of(begin(SHA2, only_native, &response(Some(SHA2), &[1; 32])));
    assert_eq!(plugin, NATIVE);
}

#[test]
fn data_that_does_not_fit_its_plugin_is_asked_for_again() {
    for (plugin, auth) in [(NATIVE, &[1; 32][..]), (SHA2, &[1; 20])] {
        let (asked, ..) = switch_of(begin(plugin, offer(false), &response(Some(plugin), auth)));
        assert_eq!(asked, plugin);
    }
}

#[test]
fn a_client_without_plugins_speaks_native() {
    let secret = Secret::new("secret");
    let mut plain = response(None, &native::scramble(&secret, &SALT));
    plain.caps.remove(Caps::PLUGIN_AUTH | Caps::PLUGIN_AUTH_LENENC);
    assert!(matches!(begin(NATIVE, offer(false), &plain), ServerStep::Done(_)));
    assert!(matches!(begin(SHA2, offer(false), &plain), ServerStep::Reject(_)));
}

#[test]
fn a_clear_password_is_taken_over_a_secure_transport_only() {
    let named = response(Some(CLEAR), b"secret\0");
    let (plugin, _, next) = switch_of(begin(NATIVE, offer(true), &named));
    assert_eq!(plugin, CLEAR);
    assert!(matches!(next.feed(b"secret\0"), ServerStep::Done(_)));
    let (plugin, ..) = switch_of(begin(NATIVE, offer(false), &named));
    assert_eq!(plugin, NATIVE);
    let (_, _, next) = switch_of(begin(NATIVE, offer(true), &named));
    assert!(matches!(next.feed(b"secret2\0"), ServerStep::Reject(_)));
}

#[test]
fn the_full_path_without_tls_needs_a_key() {
    let reply = sha2::scramble(&Secret::new("secret"), &SALT);
    let forced = Offer { force_full: true, rsa_public_key_pem: None, ..offer(false) };
    let ServerStep::Send(payload, next) = begin(SHA2, forced, &response(Some(SHA2), &reply)) else {
        panic!("no full path");
    };
    assert_eq!(&*payload, [1, 4]);
    assert!(matches!(next.feed(&[sha2::REQUEST_KEY]), ServerStep::Reject(_)));
}

#[test]
fn what_cannot_be_decrypted_is_a_wrong_password() {
    let reply = sha2::scramble(&Secret::new("secret"), &SALT);
    let forced = Offer { force_full: true, ..offer(false) };
    let ServerStep::Send(_, next) = begin(SHA2, forced, &response(Some(SHA2), &reply)) else {
        panic!("no full path");
    };
    let ServerStep::Decrypt(ciphertext, next) = next.feed(&[9; 256]) else {
        panic!("nothing to decrypt");
    };
    assert_eq!(ciphertext, [9; 256]);
    assert!(matches!(next.decrypted(None), ServerStep::Reject(rejected) if rejected.using_password));
}

#[test]
fn an_unknown_user_is_refused_as_a_wrong_password_is() {
    for plugin in [NATIVE, SHA2] {
        for force_full in [false, true] {
            let length = if plugin == NATIVE { 20 } else { 32 };
            let trace = |passwords: Vec<Secret>| {
                let offer = Offer { force_full, ..offer(true) };
                let said = response(Some(plugin), &vec![1; length]).encode();
                let ServerStep::Authenticate(step) =
                    ServerHandshake::new(greeting(plugin), offer).feed(&said)
                else {
                    panic!("no response");
                };
                match step.passwords(passwords) {
                    ServerStep::Send(payload, next) => {
                        assert!(matches!(next.feed(b"x\0"), ServerStep::Reject(_)));
                        Some(payload)
                    }
                    ServerStep::Reject(_) => None,
                    _ => panic!("it goes another way"),
                }
            };
            assert_eq!(trace(vec![]), trace(vec![Secret::new("secret")]));
        }
    }
}

#[test]
fn whether_a_password_was_used_is_told_by_the_last_reply() {
    // Switched: what counts is the answer to the switch, not what came before it.
    for (first, then, used) in
        [(&b""[..], &[1; 32][..], true), (&[1; 20], b"", false), (&[1; 20], &[0], false)]
    {
        let (_, _, next) = switch_of(begin(NATIVE, offer(false), &response(Some(SHA2), first)));
        let ServerStep::Reject(rejected) = next.feed(then) else {
            panic!("it is not refused");
        };
        assert_eq!(rejected.using_password, used);
    }
}

#[test]
fn the_empty_password_waits_for_nothing_but_ok() {
    for (reply, known) in [(&b""[..], ""), (&[0], "")] {
        let said = response(Some(SHA2), reply).encode();
        let ServerStep::Authenticate(step) = ServerHandshake::new(greeting(SHA2), offer(false)).feed(&said)
        else {
            panic!("no response");
        };
        let ServerStep::Done(established) = step.passwords(vec![Secret::new(known)]) else {
            panic!("not in");
        };
        assert_eq!(established.before_ok, None);
    }
    let reply = sha2::scramble(&Secret::new("secret"), &SALT);
    let ServerStep::Done(established) = begin(SHA2, offer(false), &response(Some(SHA2), &reply)) else {
        panic!("not in");
    };
    assert_eq!(established.before_ok.as_deref(), Some(&[1, sha2::FAST_OK][..]));
}

#[test]
fn tls_that_was_not_offered_is_malformed() {
    let mut without = greeting(NATIVE);
    without.caps.remove(Caps::SSL);
    let request = response(Some(NATIVE), b"").encode_ssl_request();
    let step = ServerHandshake::new(without, offer(false)).feed(&request);
    assert!(matches!(step, ServerStep::Malformed(_)));
    let step = ServerHandshake::new(greeting(NATIVE), offer(false)).feed(&request);
    assert!(matches!(step, ServerStep::UpgradeTls(_)));
}

proptest! {
    #[test]
    fn arbitrary_packets_never_get_in(
        greeted in prop::sample::select(vec![NATIVE, SHA2]), secure: bool, force_full: bool,
        packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 1..6),
    ) {
        let offer = Offer { force_full, ..offer(secure) };
        let mut step = ServerHandshake::new(greeting(greeted), offer).feed(&packets[0]);
        let mut rest = packets.iter().skip(1);
        loop {
            step = match step {
                ServerStep::UpgradeTls(next) => match rest.next() {
                    Some(packet) => next.upgraded().feed(packet),
                    None => break,
                },
                ServerStep::Authenticate(next) => next.passwords(vec![Secret::new("secret")]),
                ServerStep::Send(_, next) => match rest.next() {
                    Some(packet) => next.feed(packet),
                    None => break,
                },
                ServerStep::Decrypt(text, next) => next.decrypted(Some(text)),
                ServerStep::Done(_) => panic!("it got in"),
                ServerStep::Reject(_) | ServerStep::Malformed(_) => break,
            };
        }
    }
}
