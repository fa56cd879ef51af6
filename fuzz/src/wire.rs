//! The protocol: frames, commands, both sides of a log-in, replies.

use bytes::BytesMut;
use clonelove_wire::frame::{HEADER, Look, look_packet, write_packet};
use clonelove_wire::handshake::client::{ClientConfig, ClientExchange, ClientHandshake, ClientStep, Tls};
use clonelove_wire::handshake::server::{Offer, ServerHandshake, ServerStep};
use clonelove_wire::packet::change_user::ChangeUser;
use clonelove_wire::packet::execute::Execute;
use clonelove_wire::packet::{Greeting, Response};
use clonelove_wire::reply::{Event, ReplyTracker, Then};
use clonelove_wire::{Caps, Command, Secret, auth, command};

/// Nobody guesses it.
const PASSWORD: &[u8] = b"correct horse battery staple, written out";
/// More than one packet of each is not what a log-in is about.
const LIMIT: usize = 1 << 16;

/// Bytes in several packets, each behind its length in one byte.
fn packets(mut data: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (&length, rest) = data.split_first()?;
        let (packet, rest) = rest.split_at_checked(length.into()).unwrap_or((rest, &[]));
        data = rest;
        Some(packet)
    })
}

fn caps(data: &[u8]) -> Option<(Caps, &[u8])> {
    let (bits, rest) = data.split_first_chunk::<8>()?;
    Some((Caps::from_bits_retain(u64::from_le_bytes(*bits)), rest))
}

/// A packet that is found is one that was written, and is found only when all of it is there.
pub fn frames(data: &[u8]) {
    let Some((&expected, buf)) = data.split_first() else { return };
    for seq in [Some(expected), None] {
        match look_packet(buf, seq, LIMIT) {
            Look::Packet { payload, used, seq_first, seq_last } => {
                let mut out = BytesMut::new();
                let next = write_packet(&mut out, seq_first, &payload);
                assert_eq!((&buf[..used], seq_last.wrapping_add(1)), (&out[..], next));
                assert!(payload.len() <= LIMIT && seq.is_none_or(|seq| seq == seq_first));
                for cut in [0, HEADER, used / 2, used - 1] {
                    let Some(front) = buf.get(..cut).filter(|_| cut < used) else { continue };
                    let Look::Need(needed) = look_packet(front, seq, LIMIT) else {
                        panic!("found in {cut} of {used}")
                    };
                    assert!(needed > cut && needed <= used);
                }
            }
            Look::Need(needed) => assert!(needed > buf.len()),
            Look::TooLarge(head) => assert!(head.len > 0),
            Look::BadSequence { expected, got } => assert_ne!(expected, got),
        }
    }
}

/// What a command is read as is within its bytes, and what we write of it reads the same.
pub fn commands(data: &[u8]) {
    let Some((caps, payload)) = caps(data) else { return };
    let Some(kind) = Command::of(payload) else { return };
    assert_eq!(kind.as_byte(), payload[0]);
    if let (Ok(text), Ok(before)) =
        (command::query_text(payload, caps), command::query_prefix_len(payload, caps))
    {
        assert_eq!(payload.get(before..), Some(text));
    }
    let _ = command::statement_id(payload);
    // Attributes have names among their types, and are counted in the packet.
    let named = caps.contains(Caps::QUERY_ATTRIBUTES);
    let params = caps.bits().to_le_bytes()[7];
    if let Ok(execute) = Execute::parse(payload, params.into(), caps) {
        let types = vec![0; usize::from(params) * 2];
        let _ = execute.params(&types);
        let mut out = BytesMut::new();
        execute.with_types(payload, &types, &mut out);
        if !named {
            let read = Execute::parse(&out, params.into(), caps).expect("what we wrote is not understood");
            assert_eq!((read.statement_id, read.cursor), (execute.statement_id, execute.cursor));
            assert!(params == 0 || read.types == Some(execute.types.unwrap_or(&types)));
        }
    }
    if let Ok(asked) = ChangeUser::parse(payload, caps) {
        // The plugin is named where it was left out, and in UTF-8.
        let again = |asked: &ChangeUser| {
            ChangeUser::parse(&asked.encode(caps), caps).expect("ours is not understood")
        };
        let once = again(&asked);
        assert!(once == again(&once));
        assert!((&once.user, &once.auth, &once.database) == (&asked.user, &asked.auth, &asked.database));
        assert!((once.charset, &once.attributes) == (asked.charset, &asked.attributes));
    }
    if let Ok(response) = Response::parse(payload, caps) {
        let _ = response.encode();
    }
}

fn greeting(caps: Caps, plugin: &str) -> Greeting {
    Greeting {
        version: "10.11.19-MariaDB".to_owned(),
        connection_id: 7,
        salt: *b"abcdefghijklmnopqrst",
        caps: caps | Caps::PROTOCOL_41 | Caps::SECURE_CONNECTION | Caps::PLUGIN_AUTH,
        charset: 45,
        status: 2,
        auth_plugin: plugin.to_owned(),
    }
}

/// Whatever a client says, it is not let in without the password, and the exchange comes to an end.
pub fn handshake_server(data: &[u8]) {
    let Some((caps, rest)) = caps(data) else { return };
    let Some((&flags, rest)) = rest.split_first() else { return };
    let plugin = if flags & 1 == 0 { auth::NATIVE } else { auth::SHA2 };
    let offer = Offer {
        plugins: [auth::NATIVE, auth::SHA2, auth::CLEAR].map(str::to_owned).to_vec(),
        rsa_public_key_pem: (flags & 2 != 0).then(|| b"a key".to_vec()),
        secure_transport: flags & 4 != 0,
        force_full: flags & 8 != 0,
        carried: flags & 128 != 0,
        ..Offer::default()
    };
    let mut packets = packets(rest);
    let Some(first) = packets.next() else { return };
    let handshake = ServerHandshake::new(greeting(caps, plugin), offer);
    let mut step = match Response::parse(first, caps) {
        Ok(before) if flags & 16 != 0 => handshake.change_user(packets.next().unwrap_or_default(), &before),
        _ => handshake.feed(first),
    };
    loop {
        step = match step {
            ServerStep::UpgradeTls(next) => match packets.next() {
                Some(packet) => next.upgraded().feed(packet),
                None => return,
            },
            ServerStep::Authenticate(next) if flags & 32 != 0 => next.passwords(Vec::new()),
            ServerStep::Authenticate(next) => next.passwords(vec![Secret::new(PASSWORD.to_vec())]),
            ServerStep::Send(_, next) => match packets.next() {
                Some(packet) => next.feed(packet),
                None => return,
            },
            ServerStep::Decrypt(ciphertext, next) => next.decrypted((flags & 64 != 0).then_some(ciphertext)),
            ServerStep::Done(_) => panic!("let in without the password"),
            ServerStep::Reject(_) | ServerStep::Malformed(_) => return,
        }
    }
}

/// Whatever a server says, it never gets the password in clear over a transport on which others listen, nothing is spoken
/// that it did not offer, and the exchange comes to an end.
pub fn handshake_client(data: &[u8]) {
    let Some((wanted, rest)) = caps(data) else { return };
    let Some((&flags, rest)) = rest.split_first() else { return };
    let config = ClientConfig {
        user: b"app".to_vec(),
        login: auth::Login::Password(Secret::new(PASSWORD.to_vec())),
        database: (flags & 1 != 0).then(|| b"shop".to_vec()),
        caps: wanted - Caps::SSL,
        secure_transport: flags & 2 != 0,
        tls: [Tls::Off, Tls::Preferred, Tls::Required, Tls::Off][usize::from(flags >> 2 & 3)],
        ..ClientConfig::default()
    };
    let mut secure = config.secure_transport;
    let mut packets = packets(rest);
    let Ok(mut step) = ClientHandshake::new(config).greeting(packets.next().unwrap_or_default()) else {
        return;
    };
    for _ in 0..64 {
        let next = |exchange: ClientExchange, packet: Option<&[u8]>| exchange.feed(packet?).ok();
        let gone_on = match step {
            ClientStep::UpgradeTls(_, next) => {
                secure = true;
                Some(next.upgraded())
            }
            ClientStep::Send(payload, exchange) => {
                let clear = payload.windows(PASSWORD.len()).any(|window| window == PASSWORD);
                assert!(secure || !clear, "the password in clear");
                next(exchange, packets.next())
            }
            ClientStep::Read(exchange) => next(exchange, packets.next()),
            ClientStep::Encrypt { next, .. } => Some(next.encrypted(b"encrypted")),
            ClientStep::Done(session) => {
                assert!(
                    (session.greeting.caps | Caps::CONNECT_WITH_DB)
                        .contains(session.caps - Caps::CLIENT_MYSQL)
                );
                return;
            }
            ClientStep::Refused(_) => return,
        };
        match gone_on {
            Some(next) => step = next,
            None => return,
        }
    }
    panic!("it does not come to an end");
}

/// What a relay does with a reply that comes in pieces of these lengths: what it passes, what it is told.
fn relayed(command: Command, caps: Caps, reply: &[u8], cut: usize) -> (Vec<Event>, usize, Option<bool>) {
    let mut tracker = ReplyTracker::new(command, caps);
    let (mut events, mut at, mut there) = (Vec::new(), 0, cut.min(reply.len()));
    for _ in 0..4 * reply.len() + 16 {
        let buf = &reply[at..there];
        let Ok(scan) = tracker.scan(buf) else { return (events, at, None) };
        assert!(scan.pass <= buf.len());
        at += scan.pass;
        match scan.then {
            Then::End => return (events, at, Some(true)),
            Then::Event { event, used } => {
                assert!(used >= HEADER && at + used <= there);
                at += used;
                events.push(event);
                if event.ends() {
                    return (events, at, Some(true));
                }
                if matches!(event, Event::LocalInfile | Event::AuthSwitch | Event::AuthMore) {
                    tracker.expect_sequence(tracker.sequence().wrapping_add(1));
                }
            }
            Then::More | Then::NeedWhole(_) if there == reply.len() => return (events, at, Some(false)),
            Then::NeedWhole(needed) => {
                assert!(needed > there - at);
                there = (there + cut.max(1)).min(reply.len());
            }
            Then::More => there = (there + cut.max(1)).min(reply.len()),
        }
    }
    panic!("it does not come to an end");
}

/// A reply is followed the same way however it is cut.
pub fn reply(data: &[u8]) {
    let Some((caps, rest)) = caps(data) else { return };
    let [command, cut, rest @ ..] = rest else { return };
    let command = Command::from_byte(*command);
    let mut reply = BytesMut::new();
    let mut seq = 1;
    for packet in packets(rest) {
        seq = write_packet(&mut reply, seq, packet);
    }
    let whole = relayed(command, caps, &reply, reply.len());
    let pieces = relayed(command, caps, &reply, usize::from(*cut) + 1);
    assert_eq!(whole.0, pieces.0);
    assert_eq!(whole.2, pieces.2);
    // As bytes that are no packets at all.
    relayed(command, caps, rest, rest.len());
}
