//! Results as they write and read them, and as we follow them: columns, rows of both forms, files, progress reports.

use std::sync::Arc;

use mysql_common::constants::{ColumnFlags, ColumnType};
use mysql_common::packets::Column;
use mysql_common::proto::{Binary, Text};
use mysql_common::row::RowDeserializer;
use mysql_common::value::ServerSide;

use super::*;
use crate::Command;
use crate::reply::{Event, ReplyTracker, Then};

/// A column of theirs, with values of its type.
fn column() -> impl Strategy<Value = Column> {
    let kind = prop_oneof![
        Just(ColumnType::MYSQL_TYPE_LONGLONG),
        Just(ColumnType::MYSQL_TYPE_VAR_STRING),
        Just(ColumnType::MYSQL_TYPE_DOUBLE),
    ];
    (kind, text(), text(), any::<u32>(), any::<u16>(), any::<u8>()).prop_map(
        |(kind, name, table, length, charset, decimals)| {
            let flags = ColumnFlags::NUM_FLAG;
            Column::new(kind)
                .with_schema(b"app")
                .with_name(&name)
                .with_table(&table)
                .with_column_length(length)
                .with_character_set(charset)
                .with_flags(flags)
                .with_decimals(decimals)
        },
    )
}

/// A value for a column, from what chance gives.
fn value_of(column: &Column, (number, text): &(Option<i64>, Vec<u8>)) -> Value {
    match (number, column.column_type()) {
        (None, _) => Value::NULL,
        (Some(number), ColumnType::MYSQL_TYPE_LONGLONG) => Value::Int(*number),
        (Some(number), ColumnType::MYSQL_TYPE_DOUBLE) => {
            Value::Double(f64::from_bits(number.unsigned_abs() >> 12))
        }
        _ => Value::Bytes(text.clone()),
    }
}

fn text_row(values: &[Value]) -> Vec<u8> {
    let mut row = Vec::new();
    for value in values {
        match value {
            Value::NULL => row.push(0xFB),
            Value::Bytes(_) => value.serialize(&mut row),
            other => Value::Bytes(other.as_sql(true).into_bytes()).serialize(&mut row),
        }
    }
    row
}

fn binary_row(values: &[Value]) -> Vec<u8> {
    let mut nulls = vec![0; (values.len() + 2).div_ceil(8)];
    let mut row = Vec::new();
    for (at, value) in values.iter().enumerate() {
        if *value == Value::NULL {
            nulls[(at + 2) / 8] |= 1 << ((at + 2) % 8);
        } else {
            value.serialize(&mut row);
        }
    }
    [&[0], &nulls[..], &row].concat()
}

/// What is heard of a reply that comes in pieces, and the rows that were passed.
fn followed(command: Command, caps: Caps, reply: &[u8], cut: usize) -> (Vec<Event>, u64) {
    let mut tracker = ReplyTracker::new(command, caps);
    let (mut at, mut there, mut events) = (0, 0, Vec::new());
    loop {
        let scan = tracker.scan(&reply[at..there]).expect("their reply is not understood");
        at += scan.pass;
        match scan.then {
            Then::End => break,
            Then::Event { event, used } => {
                at += used;
                events.push(event);
                if event.ends() || event == Event::LocalInfile {
                    break;
                }
            }
            Then::More | Then::NeedWhole(_) => {
                assert!(there < reply.len(), "the reply does not end");
                there = (there + cut).min(reply.len());
            }
        }
    }
    assert_eq!(at, reply.len());
    (events, tracker.take_rows())
}

proptest! {
    #[test]
    fn their_results_are_followed(
        columns in vec(column(), 1..6), rows in vec(vec((option::of(any::<i64>()), text()), 6), 0..8),
        binary: bool, deprecate: bool, cut in 1..200_usize, warnings: u16,
    ) {
        let mut caps = Caps::PROTOCOL_41;
        caps.set(Caps::DEPRECATE_EOF, deprecate);
        let (mut reply, mut seq) = (BytesMut::new(), 1);
        let mut put = |payload: &[u8]| seq = write_packet(&mut reply, seq, payload);
        put(&[u8::try_from(columns.len()).unwrap()]);
        for column in &columns {
            let bytes = encode(column);
            // They write length and character set the other way round from how they read them, and servers do.
            let read: Column = decode(&bytes, ());
            prop_assert_eq!((read.name_ref(), read.column_type()), (column.name_ref(), column.column_type()));
            put(&bytes);
        }
        let mut end = BytesMut::new();
        Eof { warnings, status: Status::AUTOCOMMIT }.encode(&mut end);
        if !deprecate {
            put(&end);
        }
        let shared: Arc<[Column]> = columns.clone().into();
        for row in &rows {
            let values: Vec<Value> = columns.iter().zip(row).map(|(column, chance)| value_of(column, chance)).collect();
            if binary {
                let bytes = binary_row(&values);
                let read: RowDeserializer<ServerSide, Binary> = decode(&bytes, Arc::clone(&shared));
                prop_assert_eq!(read.into_inner().unwrap(), values);
                put(&bytes);
            } else {
                let bytes = text_row(&values);
                let read: RowDeserializer<ServerSide, Text> = decode(&bytes, Arc::clone(&shared));
                let found = read.into_inner().unwrap();
                prop_assert!(found.iter().zip(&values).all(|(found, sent)| (*found == Value::NULL) == (*sent == Value::NULL)));
                put(&bytes);
            }
        }
        if deprecate {
            end.clear();
            OkPacket { status: Status::AUTOCOMMIT, warnings, ..OkPacket::default() }.encode(ok::HEAD_AFTER_ROWS, caps, &mut end);
        }
        put(&end);
        let command = if binary { Command::StmtExecute } else { Command::Query };
        let (events, passed) = followed(command, caps, &reply, cut);
        prop_assert_eq!(passed, u64::try_from(rows.len()).unwrap());
        prop_assert_eq!(events.len(), if deprecate { 1 } else { 2 });
        let last = events.last().copied();
        let ended = match last {
            Some(Event::Ok { head, warnings: told, .. }) => deprecate && head == ok::HEAD_AFTER_ROWS && told == warnings,
            Some(Event::Eof { warnings: told, .. }) => !deprecate && told == warnings,
            _ => false,
        };
        prop_assert!(ended, "{last:?}");
    }

    #[test]
    fn their_requests_for_files_are_ours(name in text()) {
        let bytes = encode(&theirs::LocalInfilePacket::new(&*name));
        let read: theirs::LocalInfilePacket<'_> = decode(&bytes, ());
        prop_assert_eq!(read.file_name_ref(), &*name);
        let mut reply = BytesMut::new();
        write_packet(&mut reply, 1, &bytes);
        prop_assert_eq!(followed(Command::Query, Caps::PROTOCOL_41, &reply, 5).0, [Event::LocalInfile]);
    }

    #[test]
    fn their_progress_reports_are_ours(stage: u8, stages: u8, progress in 0..100_001_u32, info in text(), times in 1..4_usize) {
        let report = theirs::ProgressReport::new(stage, stages, progress, &*info);
        let bytes = encode(&theirs::ErrPacket::Progress(report.clone()));
        let read: theirs::ErrPacket<'_> = decode(&bytes, CapabilityFlags::CLIENT_PROGRESS_OBSOLETE);
        prop_assert_eq!(read.progress_report(), &report);
        let (mut reply, mut seq, mut end) = (BytesMut::new(), 1, BytesMut::new());
        for _ in 0..times {
            seq = write_packet(&mut reply, seq, &bytes);
        }
        let caps = Caps::PROTOCOL_41 | Caps::PROGRESS;
        OkPacket::default().encode(ok::HEAD, caps, &mut end);
        write_packet(&mut reply, seq, &end);
        let (events, _) = followed(Command::Query, caps, &reply, 7);
        prop_assert_eq!(events.len(), times + 1);
        prop_assert!(events[..times].iter().all(|event| *event == Event::Progress));
    }
}
