//! Command bytes, and what stands before a statement's text.

use proptest::prelude::*;

use super::*;

#[test]
fn every_byte_is_a_command_and_back() {
    for byte in 0..=u8::MAX {
        assert_eq!(Command::from_byte(byte).as_byte(), byte);
    }
    assert_eq!(Command::of(&[3, 1]), Some(Command::Query));
    assert_eq!(Command::of(&[]), None);
    assert_eq!(Command::from_byte(0x1D), Command::Other(0x1D));
}

#[test]
fn command_bytes_are_those_of_an_implementation_that_is_not_ours() {
    use mysql_common::constants::Command as Theirs;
    for (theirs, ours) in [
        (Theirs::COM_QUIT, Command::Quit),
        (Theirs::COM_INIT_DB, Command::InitDb),
        (Theirs::COM_QUERY, Command::Query),
        (Theirs::COM_FIELD_LIST, Command::FieldList),
        (Theirs::COM_CREATE_DB, Command::CreateDb),
        (Theirs::COM_DROP_DB, Command::DropDb),
        (Theirs::COM_REFRESH, Command::Refresh),
        (Theirs::COM_STATISTICS, Command::Statistics),
        (Theirs::COM_PROCESS_INFO, Command::ProcessInfo),
        (Theirs::COM_PROCESS_KILL, Command::ProcessKill),
        (Theirs::COM_DEBUG, Command::Debug),
        (Theirs::COM_PING, Command::Ping),
        (Theirs::COM_CHANGE_USER, Command::ChangeUser),
        (Theirs::COM_BINLOG_DUMP, Command::BinlogDump),
        (Theirs::COM_REGISTER_SLAVE, Command::RegisterSlave),
        (Theirs::COM_STMT_PREPARE, Command::StmtPrepare),
        (Theirs::COM_STMT_EXECUTE, Command::StmtExecute),
        (Theirs::COM_STMT_SEND_LONG_DATA, Command::StmtSendLongData),
        (Theirs::COM_STMT_CLOSE, Command::StmtClose),
        (Theirs::COM_STMT_RESET, Command::StmtReset),
        (Theirs::COM_SET_OPTION, Command::SetOption),
        (Theirs::COM_STMT_FETCH, Command::StmtFetch),
        (Theirs::COM_BINLOG_DUMP_GTID, Command::BinlogDumpGtid),
        (Theirs::COM_RESET_CONNECTION, Command::ResetConnection),
    ] {
        assert_eq!(theirs as u8, ours.as_byte());
    }
}

#[test]
fn the_text_follows_the_command() {
    assert_eq!(query_text(b"\x03SELECT 1", Caps::empty()), Ok(&b"SELECT 1"[..]));
    assert_eq!(query_text(b"\x03", Caps::empty()), Ok(&b""[..]));
    assert!(query_text(b"\x02d", Caps::empty()).is_err());
    assert!(query_text(b"", Caps::empty()).is_err());
}

#[test]
fn attributes_are_stepped_over() {
    let caps = Caps::QUERY_ATTRIBUTES;
    let none = b"\x03\x00\x01SELECT 1";
    assert_eq!(query_text(none, caps), Ok(&b"SELECT 1"[..]));
    assert_eq!(query_prefix_len(none, caps), Ok(3));
    // Four attributes: a text, a NULL, an INT, a DATETIME; the second bit of the NULLs is set.
    let payload = [
        &b"\x03\x04\x01\x02\x01"[..],
        b"\xFE\x00\x01a",
        b"\x06\x00\x01b",
        b"\x03\x00\x01c",
        b"\x0C\x00\x01d",
        b"\x05value",
        b"\x2A\x00\x00\x00",
        b"\x04\xE6\x07\x01\x02",
        b"SELECT 1",
    ]
    .concat();
    assert_eq!(query_text(&payload, caps), Ok(&b"SELECT 1"[..]));
    assert_eq!(query_prefix_len(&payload, caps), Ok(payload.len() - 8));
    for short in 1..payload.len() - 8 {
        assert!(query_text(&payload[..short], caps).is_err(), "{short}");
    }
}

#[test]
fn a_statement_has_an_id() {
    assert_eq!(statement_id(b"\x17\x01\x02\x00\x00rest"), Ok(0x0201));
    assert!(statement_id(b"\x17\x01").is_err());
}

proptest! {
    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..60), bits: u64) {
        let payload = [&[3][..], &bytes].concat();
        if let Ok(text) = query_text(&payload, Caps::from_bits_retain(bits)) {
            prop_assert!(payload.ends_with(text));
        }
    }
}
