//! Property tests against `mysql_common`, an implementation that is not ours: what we encode it decodes to the same,
//! and the other way round.

mod commands;
mod results;

use std::collections::HashMap;

use bytes::BytesMut;
use mysql_common::constants::{CapabilityFlags, MariadbCapabilities, StatusFlags};
use mysql_common::io::ParseBuf;
use mysql_common::packets as theirs;
use mysql_common::proto::{MyDeserialize, MySerialize};
use mysql_common::value::Value;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::auth::{Secret, native, sha2};
use crate::frame::{Look, look_packet, write_packet};
use crate::packet::auth::{AuthMore, AuthSwitch};
use crate::packet::change_user::ChangeUser;
use crate::packet::eof::Eof;
use crate::packet::err::Err as ErrPacket;
use crate::packet::execute::{Execute, Param};
use crate::packet::ok::{self, Ok as OkPacket};
use crate::packet::prepare::PrepareOk;
use crate::packet::{Greeting, Response};
use crate::track::{Change, Changes};
use crate::{Caps, Status};

/// Flags that the other implementation knows; it drops the rest.
const KNOWN: u32 = CapabilityFlags::all().bits();
const KNOWN_EXTENDED: u32 = MariadbCapabilities::all().bits();

fn decode<'a, T: MyDeserialize<'a>>(bytes: &'a [u8], ctx: T::Ctx) -> T {
    T::deserialize(ctx, &mut ParseBuf(bytes)).expect("what we encoded is not understood")
}

fn encode(packet: &impl MySerialize) -> Vec<u8> {
    let mut out = Vec::new();
    packet.serialize(&mut out);
    out
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    vec(1_u8.., 0..40)
}

fn name() -> impl Strategy<Value = String> {
    "[a-z_0-9]{1,24}"
}

fn status() -> impl Strategy<Value = Status> {
    any::<u16>().prop_map(|bits| Status::from_bits_retain(bits & StatusFlags::all().bits()))
}

prop_compose! {
    fn greeting()(
        version in "[ -~]{1,30}", connection_id: u32, salt in prop::array::uniform20(1_u8..),
        base: u32, extended: u32, charset: u8, status in status(), auth_plugin in name(),
    ) -> Greeting {
        let base = base & KNOWN | (Caps::SECURE_CONNECTION | Caps::PLUGIN_AUTH | Caps::PROTOCOL_41).base();
        let extended = if base & 1 == 0 { extended & KNOWN_EXTENDED } else { 0 };
        let caps = Caps::from_halves(base, extended);
        Greeting { version, connection_id, salt, caps, charset, status: status.bits(), auth_plugin }
    }
}

prop_compose! {
    fn attributes()(map in prop::collection::hash_map(name(), name(), 0..5)) -> HashMap<String, String> {
        map
    }
}

prop_compose! {
    fn response()(
        base: u32, extended: u32, max_packet: u32, charset: u8, user in text(), auth in vec(1_u8.., 0..=32),
        database in option::of(vec(1_u8.., 1..20)), plugin in option::of(name()), attributes in attributes(),
    ) -> Response {
        let base = base & KNOWN | Caps::PROTOCOL_41.base();
        let extended = if base & 1 == 0 { extended & KNOWN_EXTENDED } else { 0 };
        let mut caps = Caps::from_halves(base, extended);
        caps.remove(Caps::ZSTD); // its level is not known there
        caps.set(Caps::CONNECT_WITH_DB, database.is_some());
        caps.set(Caps::PLUGIN_AUTH, plugin.is_some());
        let attributes = if caps.contains(Caps::CONNECT_ATTRS) { pairs(&attributes) } else { Vec::new() };
        Response { caps, max_packet, charset, user, auth, database, auth_plugin: plugin, attributes, zstd_level: None }
    }
}

fn pairs(attributes: &HashMap<String, String>) -> Vec<(Vec<u8>, Vec<u8>)> {
    attributes.iter().map(|(key, value)| (key.clone().into_bytes(), value.clone().into_bytes())).collect()
}

proptest! {
    #[test]
    fn our_greeting_is_theirs(ours in greeting()) {
        let bytes = ours.encode();
        let read: theirs::HandshakePacket<'_> = decode(&bytes, ());
        prop_assert_eq!(read.server_version_ref(), ours.version.as_bytes());
        prop_assert_eq!(read.connection_id(), ours.connection_id);
        prop_assert_eq!(read.nonce(), ours.salt.to_vec());
        prop_assert_eq!(read.capabilities().bits(), ours.caps.base());
        prop_assert_eq!(read.mariadb_ext_capabilities().bits(), ours.caps.extended());
        prop_assert_eq!(read.default_collation(), ours.charset);
        prop_assert_eq!(read.status_flags().bits(), ours.status);
        prop_assert_eq!(read.auth_plugin_name_ref(), Some(ours.auth_plugin.as_bytes()));
        prop_assert_eq!(Greeting::parse(&bytes), Ok(ours));
    }

    #[test]
    fn their_greeting_is_ours(expected in greeting()) {
        let (begin, end) = expected.salt.split_at(8);
        let packet = theirs::HandshakePacket::new(
            10,
            expected.version.as_bytes(),
            expected.connection_id,
            begin.try_into().unwrap(),
            Some([end, &[0]].concat()),
            CapabilityFlags::from_bits_retain(expected.caps.base()),
            expected.charset,
            StatusFlags::from_bits_retain(expected.status),
            Some(expected.auth_plugin.as_bytes()),
        )
        .with_mariadb_ext_capabilities(MariadbCapabilities::from_bits_retain(expected.caps.extended()));
        prop_assert_eq!(Greeting::parse(&encode(&packet)), Ok(expected));
    }

    #[test]
    fn our_response_is_theirs(ours in response()) {
        let bytes = ours.encode();
        let read: theirs::HandshakeResponse<'_> = decode(&bytes, ());
        prop_assert_eq!(read.capabilities().bits(), ours.caps.base());
        prop_assert_eq!(read.mariadb_ext_capabilities().bits(), ours.caps.extended());
        prop_assert_eq!(read.collation(), ours.charset);
        prop_assert_eq!(read.user(), &*ours.user);
        prop_assert_eq!(read.scramble_buf(), &*ours.auth);
        prop_assert_eq!(read.db_name(), ours.database.as_deref());
        prop_assert_eq!(
            read.auth_plugin().map(|plugin| plugin.as_bytes().to_vec()),
            ours.auth_plugin.clone().map(String::into_bytes)
        );
        prop_assert_eq!(
            read.connect_attributes().map(|map| map.len()),
            ours.caps.contains(Caps::CONNECT_ATTRS).then_some(ours.attributes.len())
        );
        prop_assert!(Response::parse(&bytes, Caps::empty()) == Ok(ours));
    }

    #[test]
    fn their_response_is_ours(expected in response()) {
        let map = expected.attributes.iter();
        let map = map.map(|(key, value)| (utf8(key), utf8(value))).collect::<HashMap<_, _>>();
        let packet = theirs::HandshakeResponse::new(
            Some(expected.auth.clone()),
            (8, 0, 0),
            Some(expected.user.clone()),
            expected.database.clone(),
            expected.auth_plugin.as_ref().map(|plugin| theirs::AuthPlugin::from_bytes(plugin.as_bytes())),
            CapabilityFlags::from_bits_retain(expected.caps.base()),
            expected.caps.contains(Caps::CONNECT_ATTRS).then_some(map),
            expected.max_packet,
        )
        .with_mariadb_ext_capabilities(MariadbCapabilities::from_bits_retain(expected.caps.extended()));
        let mut read = Response::parse(&encode(&packet), Caps::empty()).unwrap();
        prop_assert_eq!(read.charset, 45); // fixed there
        read.charset = expected.charset;
        read.attributes.sort();
        let mut expected = expected;
        expected.attributes.sort();
        prop_assert!(read == expected);
    }

    #[test]
    fn our_ssl_request_is_theirs(ours in response()) {
        let bytes = ours.encode_ssl_request();
        prop_assert!(Response::is_ssl_request(&bytes));
        let read: theirs::SslRequest = decode(&bytes, ());
        prop_assert_eq!(read.capabilities().bits(), (ours.caps | Caps::SSL).base());
        prop_assert_eq!(read.max_packet_size(), ours.max_packet);
        prop_assert_eq!(read.character_set(), ours.charset);
    }

    #[test]
    fn our_change_user_is_theirs(
        user in text(), auth in vec(any::<u8>(), 0..=32), database in option::of(vec(1_u8.., 1..20)),
        charset in option::of(any::<u16>()), plugin in name(), attributes in attributes(),
    ) {
        let caps = Caps::SECURE_CONNECTION | Caps::PLUGIN_AUTH | Caps::CONNECT_ATTRS;
        let more = charset.is_some();
        let ours = ChangeUser {
            user: user.clone(),
            auth: auth.clone(),
            database: database.clone(),
            charset,
            auth_plugin: more.then(|| plugin.clone()),
            attributes: if more { pairs(&attributes) } else { Vec::new() },
        };
        let packet = theirs::ComChangeUser::new()
            .with_user(Some(user))
            .with_auth_plugin_data(Some(auth))
            .with_database(database)
            .with_more_data(charset.map(|charset| {
                theirs::ComChangeUserMoreData::new(charset)
                    .with_auth_plugin(Some(theirs::AuthPlugin::from_bytes(plugin.as_bytes())))
                    .with_connect_attributes(Some(attributes.clone()))
            }));
        let flags = CapabilityFlags::from_bits_truncate(caps.base());
        let bytes = ours.encode(caps);
        let read = decode::<theirs::ComChangeUser<'_>>(&bytes, flags);
        prop_assert_eq!(read.into_owned(), packet.clone().into_owned());
        let mut read = ChangeUser::parse(&encode(&packet), caps).unwrap();
        read.attributes.sort();
        let mut ours = ours;
        ours.attributes.sort();
        prop_assert!(read == ours);
    }

    #[test]
    fn our_ok_is_theirs(
        affected: u64, insert_id: u64, status in status(), warnings: u16, info in text(), state in text(),
        tracks: bool, after_rows: bool,
    ) {
        let mut caps = Caps::PROTOCOL_41;
        caps.set(Caps::SESSION_TRACK, tracks);
        let ours = OkPacket { affected, insert_id, status, warnings, info: &info, state: &state };
        let head = if after_rows { ok::HEAD_AFTER_ROWS } else { ok::HEAD };
        let mut bytes = BytesMut::new();
        ours.encode(head, caps, &mut bytes);
        let flags = CapabilityFlags::from_bits_truncate(caps.base());
        let read = if after_rows {
            decode::<theirs::OkPacketDeserializer<'_, theirs::ResultSetTerminator>>(&bytes, flags).into_inner()
        } else {
            let read: theirs::OkPacketDeserializer<'_, theirs::CommonOkPacket> = decode(&bytes, flags);
            let read = read.into_inner();
            prop_assert_eq!(read.affected_rows(), affected);
            prop_assert_eq!(read.last_insert_id().unwrap_or(0), insert_id);
            read
        };
        let shown: &[u8] = if tracks { &state } else { &[] };
        let mut sent = status;
        sent.set(Status::SESSION_STATE_CHANGED, !shown.is_empty());
        prop_assert_eq!(read.status_flags().bits(), sent.bits());
        prop_assert_eq!(read.warnings(), warnings);
        prop_assert_eq!(read.info_ref().unwrap_or_default(), &*info);
        prop_assert_eq!(read.session_state_info_ref().unwrap_or_default(), shown);
        prop_assert_eq!(OkPacket::parse(&bytes, caps), Ok(OkPacket { status: sent, state: shown, ..ours }));
    }

    #[test]
    fn our_err_is_theirs(code: u16, state in prop::array::uniform5(b'0'..=b'Z'), message in text()) {
        let ours = ErrPacket { code, state, message: message.clone().into() };
        let mut bytes = BytesMut::new();
        ours.encode(&mut bytes);
        let read: theirs::ErrPacket<'_> = decode(&bytes, CapabilityFlags::CLIENT_PROTOCOL_41);
        let state = theirs::SqlState::new(state);
        let packet = theirs::ErrPacket::Error(theirs::ServerError::new(code, Some(state), message.clone()));
        prop_assert_eq!(&read, &packet);
        let back = encode(&packet);
        prop_assert_eq!(ErrPacket::parse(&back), Ok(ours));
    }

    #[test]
    fn our_early_err_is_theirs(code in 0..u16::MAX, message in "[a-zA-Z][ -~]{0,30}") {
        let ours = ErrPacket { code, state: *b"HY000", message: message.clone().into_bytes().into() };
        let mut bytes = BytesMut::new();
        ours.encode_before_handshake(&mut bytes);
        let read: theirs::ErrPacket<'_> = decode(&bytes, CapabilityFlags::empty());
        prop_assert_eq!(read.server_error().message_ref(), message.as_bytes());
        prop_assert_eq!(ErrPacket::parse(&bytes), Ok(ours));
    }

    #[test]
    fn our_auth_packets_are_theirs(salt in prop::array::uniform20(1_u8..), data in text(), at in 0..2_usize) {
        let plugin = [crate::auth::NATIVE, crate::auth::SHA2][at].as_bytes();
        let mut bytes = BytesMut::new();
        AuthSwitch { plugin, data: &salt }.encode(&mut bytes);
        let read: theirs::AuthSwitchRequest<'_> = decode(&bytes, ());
        prop_assert!(read.auth_plugin().as_bytes() == plugin);
        prop_assert_eq!(read.plugin_data(), &salt[..]);
        let back = encode(&theirs::AuthSwitchRequest::new(plugin, [&salt[..], &[0]].concat()));
        prop_assert_eq!(AuthSwitch::parse(&back), Ok(AuthSwitch { plugin, data: &salt }));

        let mut bytes = BytesMut::new();
        AuthMore(&data).encode(&mut bytes);
        let read: theirs::AuthMoreData<'_> = decode(&bytes, ());
        prop_assert_eq!(read.data(), &*data);
        let back = encode(&theirs::AuthMoreData::new(&*data));
        prop_assert_eq!(AuthMore::parse(&back), Ok(AuthMore(&data)));
    }

    #[test]
    fn our_prepare_ok_is_theirs(statement_id: u32, columns: u16, params: u16, warnings: u16) {
        let ours = PrepareOk { statement_id, columns, params, warnings, definitions: true };
        let mut bytes = BytesMut::new();
        ours.encode(Caps::PROTOCOL_41, &mut bytes);
        let read: theirs::StmtPacket = decode(&bytes, ());
        prop_assert_eq!(
            (read.statement_id(), read.num_columns(), read.num_params(), read.warning_count()),
            (statement_id, columns, params, warnings)
        );
        prop_assert_eq!(PrepareOk::parse(&encode(&read), Caps::PROTOCOL_41), Ok(ours));
    }

    #[test]
    fn our_eof_is_theirs(status in status(), warnings: u16) {
        let mut bytes = BytesMut::new();
        Eof { warnings, status }.encode(&mut bytes);
        let flags = CapabilityFlags::CLIENT_PROTOCOL_41;
        let read: theirs::OkPacketDeserializer<'_, theirs::OldEofPacket> = decode(&bytes, flags);
        let read = read.into_inner();
        prop_assert_eq!((read.status_flags().bits(), read.warnings()), (status.bits(), warnings));
        prop_assert_eq!(Eof::parse(&bytes), Ok(Eof { warnings, status }));
    }

    #[test]
    fn their_executions_are_ours(statement_id: u32, values in vec(value(), 0..40)) {
        let (packet, _) = theirs::ComStmtExecuteRequestBuilder::new(statement_id).build(&values);
        let bytes = encode(&packet);
        let ours = Execute::parse(&bytes, u16::try_from(values.len()).unwrap(), Caps::PROTOCOL_41).unwrap();
        prop_assert_eq!((ours.statement_id, ours.cursor), (statement_id, false));
        prop_assert_eq!(crate::command::statement_id(&bytes), Ok(statement_id));
        if !values.is_empty() {
            let expected: Vec<Param<'_>> = values.iter().map(as_param).collect();
            prop_assert_eq!(ours.params(&[]), Some(expected));
        }
    }

    #[test]
    fn their_session_states_are_ours(entries in vec((0_u8..6, text(), text()), 0..6)) {
        let mut block = Vec::new();
        for (kind, name, value) in &entries {
            let data = state_entry(*kind, name, value);
            block.push(*kind);
            block.push(u8::try_from(data.len()).unwrap());
            block.extend(data);
        }
        let flags = CapabilityFlags::CLIENT_SESSION_TRACK;
        let mut bytes = BytesMut::new();
        let packet = OkPacket { state: &block, ..OkPacket::default() };
        packet.encode(ok::HEAD, Caps::SESSION_TRACK, &mut bytes);
        let read: theirs::OkPacketDeserializer<'_, theirs::CommonOkPacket> = decode(&bytes, flags);
        let read = read.into_inner();
        let infos = read.session_state_info().unwrap();
        let ours = Changes::new(&block).collect::<Result<Vec<_>, _>>().unwrap();
        prop_assert_eq!(infos.len(), ours.len());
        for (info, ours) in infos.iter().zip(ours) {
            prop_assert!(same_change(&info.decode().unwrap(), ours), "{ours:?}");
        }
    }

    #[test]
    fn our_scrambles_are_theirs(password in vec(any::<u8>(), 0..70), salt: [u8; 20]) {
        use mysql_common::auth::plugins::caching_sha2_password::scramble_sha256;
        use mysql_common::auth::plugins::mysql_native_password::scramble_native;
        let secret = Secret::new(password.clone());
        let theirs = scramble_native(&salt, &password).map(Vec::from).unwrap_or_default();
        prop_assert_eq!(native::scramble(&secret, &salt), theirs);
        let theirs = scramble_sha256(&salt, &password).map(Vec::from).unwrap_or_default();
        prop_assert_eq!(sha2::scramble(&secret, &salt), theirs);
    }

    #[test]
    fn our_frames_are_theirs(payload in vec(any::<u8>(), 0..300), seq: u8) {
        let mut ours = BytesMut::new();
        let next = write_packet(&mut ours, seq, &payload);
        let mut out = BytesMut::new();
        let their_next = mysql_common::proto::codec::packet_to_chunks(seq, &mut &*payload, &mut out);
        prop_assert_eq!((&out, their_next), (&ours, next));
        let look = look_packet(&out, Some(seq), 1000);
        let used = out.len();
        prop_assert_eq!(look, Look::Packet { payload: payload.into(), used, seq_first: seq, seq_last: seq });
    }
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::NULL),
        text().prop_map(Value::Bytes),
        any::<i64>().prop_map(Value::Int),
        any::<u64>().prop_map(Value::UInt),
        any::<f64>().prop_map(Value::Double),
        (0..9_999_u16, 1..13_u8, 1..29_u8, 0..1_000_000_u32)
            .prop_map(|(year, month, day, micros)| Value::Date(year, month, day, 1, 2, 3, micros)),
        (any::<bool>(), 0..1_000_u32, 0..1_000_000_u32)
            .prop_map(|(negative, days, micros)| Value::Time(negative, days, 4, 5, 6, micros)),
    ]
}

fn as_param(value: &Value) -> Param<'_> {
    match value {
        Value::Bytes(text) => Param::Text(text),
        Value::Int(number) => Param::Integer((*number).into()),
        Value::UInt(number) => Param::Integer((*number).into()),
        _ => Param::Other,
    }
}

fn utf8(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn state_entry(kind: u8, name: &[u8], value: &[u8]) -> Vec<u8> {
    let lenenc = |text: &[u8]| [&[u8::try_from(text.len()).unwrap()], text].concat();
    match kind {
        0 => [lenenc(name), lenenc(value)].concat(),
        2 => b"\x011".to_vec(),
        3 => [vec![0], lenenc(value)].concat(),
        _ => lenenc(value),
    }
}

fn same_change(theirs: &theirs::session_state_change::SessionStateChange<'_>, ours: Change<'_>) -> bool {
    use theirs::session_state_change::SessionStateChange as Theirs;
    match (theirs, ours) {
        (Theirs::SystemVariables(all), Change::Variable { name, value }) => {
            all.len() == 1 && all[0].name_bytes() == name && all[0].value_bytes() == value
        }
        (Theirs::Schema(text), Change::Schema(ours)) => text.as_bytes() == ours,
        (Theirs::IsTracked(yes), Change::StateChanged(ours)) => *yes == ours,
        // Taken whole there, with the encoding specification and the length before the text.
        (Theirs::Gtids(text), Change::Gtid(ours)) => text.as_bytes().ends_with(ours),
        (Theirs::TransactionCharacteristics(text), Change::TransactionCharacteristics(ours)) => {
            text.as_bytes() == ours
        }
        (Theirs::TransactionState(text), Change::TransactionState(ours)) => text.as_bytes() == ours,
        _ => false,
    }
}
