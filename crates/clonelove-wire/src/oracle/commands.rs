//! Commands, and what compression makes of packets.

use mysql_common::auth::plugins::client_ed25519::ClientEd25519;
use mysql_common::auth::plugins::{ChallengeResponsePlugin as _, Context as Knowledge};
use mysql_common::constants::StmtBulkExecuteFlags;
use mysql_common::packets::BinlogDumpFlags;
use mysql_common::packets::caching_sha2_password::PublicKeyRequest;
use mysql_common::proto::codec::{self, Compression, PacketCodec};

use super::*;
use crate::auth::ed25519;
use crate::binlog::dump;
use crate::command::statement_id;
use crate::compress::{Algorithm, HEADER, PackedHead, pack, unpack};

/// The columns of rows of values, as a bulk execution says them: those of the first row, which has no NULL.
fn row() -> impl Strategy<Value = Vec<Value>> {
    vec(value().prop_filter("NULL has no type", |value| *value != Value::NULL), 1..6)
}

/// What their methods ask about a log-in.
struct Known<'a>(&'a [u8]);

impl Knowledge for Known<'_> {
    fn pass(&self) -> &[u8] {
        self.0
    }
    fn is_ipc_transport(&self) -> bool {
        false
    }
    fn is_tls_transport(&self) -> bool {
        false
    }
    fn scramble(&self) -> &[u8] {
        &[]
    }
    fn server_key_pem(&self) -> Option<&[u8]> {
        None
    }
}

proptest! {
    #[test]
    fn our_signatures_are_theirs(password in vec(1_u8.., 1..70), challenge: [u8; 32]) {
        let secret = Secret::new(password.clone());
        let reply = ClientEd25519::default().run(Known(&password), &challenge).unwrap();
        let theirs = reply.data().unwrap_or_default();
        prop_assert_eq!(&ed25519::sign(&secret, &challenge)[..], theirs);
        prop_assert!(ed25519::verify(&ed25519::public_key(&secret), &challenge, theirs));
    }

    #[test]
    fn bulk_executions_are_the_same(id: u32, row in row(), results: bool) {
        let flags = StmtBulkExecuteFlags::SEND_TYPES_TO_SERVER;
        let unit = if results { StmtBulkExecuteFlags::SEND_UNIT_RESULTS } else { StmtBulkExecuteFlags::empty() };
        let theirs = |flags| theirs::ComStmtBulkExecuteRequest::new(id, flags, vec![row.clone()]).unwrap();
        let (with, without) = (theirs(flags | unit), theirs(unit));
        let (bytes, bare) = (encode(&with), encode(&without));
        let count = u16::try_from(row.len()).unwrap();
        let ours = Execute::parse(&bytes, count, Caps::STMT_BULK).unwrap();
        prop_assert_eq!((ours.statement_id, ours.cursor), (id, false));
        let types = ours.types.unwrap();
        prop_assert_eq!(types.len(), row.len() * 2);
        // What we write is what they write. (What they read of it takes three bytes for a type that has two.)
        let untyped = Execute::parse(&bare, count, Caps::STMT_BULK).unwrap();
        prop_assert_eq!(untyped.types, None);
        let mut out = BytesMut::new();
        untyped.with_types(&bare, types, &mut out);
        prop_assert_eq!(&out[..], &bytes[..]);
    }

    #[test]
    fn an_execution_gets_the_types_that_they_say(id: u32, row in row()) {
        let (packet, _) = theirs::ComStmtExecuteRequestBuilder::new(id).build(&row);
        let bytes = encode(&packet);
        let count = u16::try_from(row.len()).unwrap();
        let types = Execute::parse(&bytes, count, Caps::PROTOCOL_41).unwrap().types.unwrap().to_vec();
        // The same without its types, and the byte before them that says whether they are there.
        let at = 10 + row.len().div_ceil(8);
        let bare = [&bytes[..at], &[0], &bytes[at + 1 + types.len()..]].concat();
        let ours = Execute::parse(&bare, count, Caps::PROTOCOL_41).unwrap();
        let mut out = BytesMut::new();
        ours.with_types(&bare, &types, &mut out);
        prop_assert_eq!(&out[..], &bytes[..]);
        prop_assert_eq!(ours.params(&types), Some(row.iter().map(as_param).collect()));
    }

    #[test]
    fn what_names_a_statement_names_it_to_both(id: u32, param: u16, data in text()) {
        let long = encode(&theirs::ComStmtSendLongData::new(id, param, &*data));
        let close = encode(&theirs::ComStmtClose::new(id));
        for (bytes, command) in [(long, crate::Command::StmtSendLongData), (close, crate::Command::StmtClose)] {
            prop_assert_eq!((crate::Command::of(&bytes), statement_id(&bytes)), (Some(command), Ok(id)));
            prop_assert!(!command.has_reply());
        }
    }

    #[test]
    fn our_requests_for_the_binary_log_are_theirs(
        id: u32, sets in vec((any::<[u8; 16]>(), option::of("[a-z_][a-z0-9_]{0,31}"), vec((1..1_u64 << 40, 0..99_u64), 0..4)), 0..4),
    ) {
        let command = |byte: crate::Command, rest: Vec<u8>| [&[byte.as_byte()], &rest[..]].concat();
        let register = command(crate::Command::RegisterSlave, dump::register(id));
        prop_assert_eq!(&register, &encode(&theirs::ComRegisterSlave::new(id)));
        let dumped = command(crate::Command::BinlogDump, dump::from_connect_state(id));
        prop_assert_eq!(&dumped, &encode(&theirs::ComBinlogDump::new(id).with_pos(4)));
        let sets: Vec<_> = sets
            .iter()
            .map(|(uuid, tag, list)| {
                let list: Vec<(u64, u64)> = list.iter().map(|(first, more)| (*first, first + more)).collect();
                (uuid, tag.clone().unwrap_or_default(), list)
            })
            .collect();
        let ours = dump::without(id, sets.iter().map(|(uuid, tag, list)| (*uuid, &**tag, &**list)));
        let bytes = command(crate::Command::BinlogDumpGtid, ours);
        let read = decode::<theirs::ComBinlogDumpGtid<'_>>(&bytes, ());
        prop_assert_eq!((read.server_id(), read.pos(), read.filename_raw()), (id, 4, &b""[..]));
        prop_assert!(read.flags().contains(BinlogDumpFlags::BINLOG_THROUGH_GTID));
        let found: Vec<_> = read
            .sids()
            .iter()
            .map(|sid| {
                let list: Vec<_> = sid.intervals().iter().map(|one| (one.start(), one.end() - 1)).collect();
                (sid.uuid(), sid.tag().map(|tag| tag.as_str().to_owned()).unwrap_or_default(), list)
            })
            .collect();
        let sent: Vec<_> = sets.iter().map(|(uuid, tag, list)| (**uuid, tag.clone(), list.clone())).collect();
        prop_assert_eq!(found, sent);
    }

    #[test]
    fn the_public_key_is_asked_for_and_told_alike(key in "[ -~]{1,200}") {
        prop_assert_eq!(encode(&PublicKeyRequest::new()), [2]);
        let bytes = encode(&theirs::PublicKeyResponse::new(key.as_bytes()));
        prop_assert_eq!(AuthMore::parse(&bytes), Ok(AuthMore(key.as_bytes())));
        let mut ours = BytesMut::new();
        AuthMore(key.as_bytes()).encode(&mut ours);
        let read: theirs::PublicKeyResponse<'_> = decode(&ours, ());
        prop_assert_eq!(read.rsa_key(), key);
    }

    #[test]
    fn compressed_packets_are_the_same(payload in vec(any::<u8>(), 0..200), times in 1..40_usize, level in 0..9_u32) {
        let payload = payload.repeat(times);
        let mut plain = BytesMut::new();
        write_packet(&mut plain, 0, &payload);
        // Theirs to us. (Without room beyond the length of what is packed, they leave the end of it out.)
        let (mut source, mut packed) = (plain.clone(), BytesMut::with_capacity(plain.len() * 2 + 100));
        codec::compress(0, Compression::new(level), 1 << 24, &mut source, &mut packed).unwrap();
        let head = PackedHead::parse(&packed).unwrap();
        prop_assert_eq!((head.whole(), head.seq), (packed.len(), 0));
        let mut out = BytesMut::new();
        unpack(Algorithm::Zlib, head, &packed[HEADER..], &mut out).unwrap();
        prop_assert_eq!(&out, &plain);
        // Ours to them.
        let mut ours = BytesMut::new();
        pack(Algorithm::Zlib, 0, &plain, &mut ours);
        let mut theirs = PacketCodec::default();
        theirs.compress(Compression::new(level));
        let mut read = Vec::new();
        prop_assert!(theirs.decode(&mut ours, &mut read).unwrap() && ours.is_empty());
        prop_assert_eq!(read, payload);
    }
}
