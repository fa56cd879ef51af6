//! Recordings of real servers, read by us and by mysql_common; and bytes that are nothing of the kind.
//!
//! The recordings are written anew by `cargo test -p clonelove-proxy --lib record -- --ignored`.

use mysql_common::Value as TheirValue;
use mysql_common::binlog::consts::BinlogVersion;
use mysql_common::binlog::events::EventData;
use mysql_common::binlog::row::BinlogRow;
use mysql_common::binlog::value::BinlogValue;
use mysql_common::binlog::{EventStreamReader, events::Event as TheirEvent};
use proptest::prelude::*;

use std::io::Read as _;

use super::*;

const RECORDINGS: [(&str, &[u8]); 3] = [
    ("mariadb", include_bytes!("recordings/mariadb.events")),
    ("mariadb-sid", include_bytes!("recordings/mariadb-sid.events")),
    ("mysql-sid", include_bytes!("recordings/mysql-sid.events")),
];

/// The events of a recording.
fn split(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut events = Vec::new();
    while let Some(size) = size_of_event(bytes) {
        let (event, rest) = bytes.split_at(size);
        events.push(event);
        bytes = rest;
    }
    assert!(bytes.is_empty());
    events
}

fn read(decoder: &mut Decoder, event: &[u8]) -> Result<Vec<String>, Malformed> {
    let mut said = Vec::new();
    decoder.event(event, true, &mut |event| said.push(words(&event)))?;
    Ok(said)
}

/// What of an event both can say.
fn words(event: &Event<'_>) -> String {
    let text = String::from_utf8_lossy;
    match event {
        Event::Gtid(Some(gtid)) => format!("gtid {gtid}"),
        Event::Query(query) => format!("query {}: {}", text(query.schema), text(query.text)),
        Event::Rows(rows) => {
            let Some(table) = &rows.table else { return "rows of nothing".to_owned() };
            let changes: Vec<String> = match rows.changes() {
                Some(changes) => changes.map(|change| row(&change.unwrap())).collect(),
                None => Vec::new(),
            };
            format!("rows {}.{} {}", table.schema, table.table, changes.join(" "))
        }
        other => format!("{other:?}"),
    }
}

fn row(change: &Change<'_>) -> String {
    let image = |image: &Option<Image<'_>>| match image {
        None => "-".to_owned(),
        Some(image) => image
            .values
            .iter()
            .map(|value| value.map_or("absent".into(), shown))
            .collect::<Vec<_>>()
            .join(","),
    };
    format!("({} {})", image(&change.before), image(&change.after))
}

fn shown(value: Value<'_>) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Integer(integer) if integer.unsigned == Some(true) => integer.unsigned().to_string(),
        Value::Integer(integer) => integer.signed().to_string(),
        Value::Text(text) => String::from_utf8_lossy(text).into_owned(),
        Value::Other => "other".to_owned(),
    }
}

/// The same in mysql_common's view; `None` where it has none, or says it otherwise.
fn their_words(reader: &mut EventStreamReader, event: &TheirEvent) -> Option<Vec<String>> {
    let one = |said: String| Some(vec![said]);
    match event.read_data().ok()?? {
        EventData::GtidEvent(gtid) => {
            let gtid = Gtid::MySql(MySqlGtid {
                uuid: gtid.sid(),
                tag: gtid.tag().map(|tag| tag.to_string()).unwrap_or_default(),
                number: gtid.gno(),
            });
            one(format!("gtid {gtid}"))
        }
        EventData::QueryEvent(query) => one(format!("query {}: {}", query.schema(), query.query())),
        EventData::XidEvent(_) => one("Commit".to_owned()),
        EventData::RowsEvent(rows) => {
            let table = reader.get_tme(rows.table_id())?;
            let mut changes = Vec::new();
            for row in rows.rows(table) {
                let (before, after) = row.ok()?;
                changes.push(format!("({} {})", their_image(before)?, their_image(after)?));
            }
            one(format!("rows {}.{} {}", table.database_name(), table.table_name(), changes.join(" ")))
        }
        EventData::TransactionPayloadEvent(payload) => {
            let mut inner = payload.decompressed().unwrap();
            let mut all = Vec::new();
            while inner.has_data_left().unwrap() {
                let event = reader.read_decompressed(&mut inner).unwrap().unwrap();
                all.extend(their_words(reader, &event).unwrap_or_default());
            }
            Some(all)
        }
        _ => None,
    }
}

fn their_image(row: Option<BinlogRow>) -> Option<String> {
    let Some(row) = row else { return Some("-".to_owned()) };
    let mut values = Vec::new();
    for at in 0..row.len() {
        values.push(match row.as_ref(at) {
            None => "absent".to_owned(),
            Some(BinlogValue::Value(TheirValue::NULL)) => "null".to_owned(),
            Some(BinlogValue::Value(TheirValue::Int(value))) => value.to_string(),
            Some(BinlogValue::Value(TheirValue::UInt(value))) => value.to_string(),
            Some(BinlogValue::Value(TheirValue::Bytes(text))) => String::from_utf8_lossy(text).into_owned(),
            Some(_) => return None,
        });
    }
    Some(values.join(","))
}

#[test]
fn what_mysql_common_knows_we_read_as_it_does() {
    for (name, recording) in RECORDINGS {
        let mut decoder = Decoder::new();
        let mut reader = EventStreamReader::new(BinlogVersion::Version4);
        let (mut compared, mut values) = (0, 0);
        // The first is the name of the file, before the format.
        for event in split(recording).into_iter().skip(1) {
            let ours = read(&mut decoder, event).unwrap();
            let their = reader.read(event).unwrap().unwrap();
            if let Some(theirs) = their_words(&mut reader, &their) {
                assert_eq!(ours, theirs, "{name}");
                compared += 1;
                values += usize::from(theirs.iter().any(|said| said.starts_with("rows")));
            }
        }
        assert!(compared > 50 && values > 20, "{name}: {compared} events, {values} with values");
    }
}

#[test]
fn nothing_in_the_recordings_is_unknown() {
    for (name, recording) in RECORDINGS {
        let mut decoder = Decoder::new();
        let (mut gtids, mut ends) = (0, 0);
        for event in split(recording) {
            for said in read(&mut decoder, event).unwrap() {
                assert!(!said.starts_with("Unknown") && !said.contains("of nothing"), "{name}: {said}");
                gtids += usize::from(said.starts_with("gtid"));
                ends += usize::from(said == "Commit" || said.starts_with("XaPrepare"));
            }
        }
        assert!(gtids > 40 && ends > 20, "{name}: {gtids} {ends}");
    }
}

#[test]
fn a_wrong_checksum_is_an_error() {
    for (name, recording) in RECORDINGS {
        let events = split(recording);
        let mut decoder = Decoder::new();
        let format = events.iter().position(|event| event[4] == kind::FORMAT_DESCRIPTION).unwrap();
        read(&mut decoder, events[format]).unwrap();
        let mut damaged = events.last().unwrap().to_vec();
        damaged[HEADER] ^= 1;
        assert_eq!(read(&mut decoder, &damaged), Err(malformed("its checksum is wrong")), "{name}");
    }
}

#[test]
fn what_is_cut_is_unknown_and_what_is_unknown_is_said() {
    let mut decoder = Decoder::new();
    let events = split(RECORDINGS[2].1);
    let format = events.iter().position(|event| event[4] == kind::FORMAT_DESCRIPTION).unwrap();
    for event in &events[..=format] {
        read(&mut decoder, event).unwrap();
    }
    let mut said = Vec::new();
    for event in &events[format + 1..] {
        let kind = event[4];
        let half = &event[..event.len().min(60)];
        let cut = decoder.event(half, false, &mut |event| said.push((kind, words(&event))));
        assert!(cut.is_ok() || kind == kind::GTID, "{kind}: {cut:?}");
    }
    let of = |kind: u8| said.iter().filter(move |(one, _)| *one == kind).map(|(_, said)| said.as_str());
    assert!(of(kind::QUERY).all(|said| said == "Unknown(2)"));
    assert!(of(kind::TRANSACTION_PAYLOAD).all(|said| said == "Unknown(40)"));
    assert!(of(30).all(|said| said == "rows of nothing"));
    assert!(of(30).count() > 3);
    // A type of the future, and one that may be passed over.
    let mut event = vec![0, 0, 0, 0, 200, 1, 0, 0, 0, 23, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut decoder = unchecked();
    event.extend_from_slice(&[0; 4]);
    assert_eq!(read(&mut decoder, &event).unwrap(), ["Unknown(200)"]);
    event[17] = 0x80;
    assert_eq!(read(&mut decoder, &event).unwrap(), Vec::<String>::new());
}

/// One whose stream has no checksums.
fn unchecked() -> Decoder {
    Decoder { begun: true, checksums: false, tables: Tables::default() }
}

/// A recording's events after the format, without their checksums.
fn plain(recording: &[u8]) -> Vec<Vec<u8>> {
    let events = split(recording).into_iter().skip(1).filter(|event| event[4] != kind::FORMAT_DESCRIPTION);
    events
        .map(|event| {
            let mut event = event[..event.len() - 4].to_vec();
            let size = u32::try_from(event.len()).unwrap();
            event[9..13].copy_from_slice(&size.to_le_bytes());
            event
        })
        .collect()
}

/// Reads whatever comes, and all that can be asked of it.
fn devour(decoder: &mut Decoder, event: &[u8], whole: bool) {
    let _ = decoder.event(event, whole, &mut |event| {
        if let Event::Rows(rows) = &event
            && let Some(mut changes) = rows.changes()
        {
            for change in changes.by_ref().flatten() {
                let _ = change.cells().count();
            }
            let _ = changes.names().count();
        }
    });
    assert!(decoder.tables.bytes <= MOST_KEPT);
}

#[test]
fn without_checksums_it_says_the_same() {
    for (name, recording) in RECORDINGS {
        let (mut checked, mut decoder) = (Decoder::new(), unchecked());
        let with: Vec<String> =
            split(recording).iter().flat_map(|event| read(&mut checked, event).unwrap()).collect();
        let without: Vec<String> =
            plain(recording).iter().flat_map(|event| read(&mut decoder, event).unwrap()).collect();
        assert_eq!(with, without, "{name}");
    }
}

#[test]
fn table_maps_beyond_the_bound_are_forgotten() {
    let mut decoder = unchecked();
    let mut map = vec![0_u8; HEADER];
    map[4] = kind::TABLE_MAP;
    for id in 0..300_u32 {
        map.truncate(HEADER);
        map.extend_from_slice(&id.to_le_bytes());
        map.extend_from_slice(&[0, 0, 1, 0, 1, b's', 0, 1, b't', 0]);
        map.resize(100_000, 0);
        map[9..13].copy_from_slice(&100_000_u32.to_le_bytes());
        devour(&mut decoder, &map, true);
    }
    assert!(decoder.tables.by_id.len() < 200);
    // Rows of a table that was forgotten are of an unknown one.
    let mut rows = vec![0_u8; HEADER];
    rows[4] = 30;
    rows.extend_from_slice(&[0x2B, 1, 0, 0, 0, 0, 0, 0, 2, 0, 0]);
    let size = u32::try_from(rows.len()).unwrap();
    rows[9..13].copy_from_slice(&size.to_le_bytes());
    assert_eq!(read(&mut decoder, &rows).unwrap(), ["rows of nothing"]);
}

#[test]
fn what_unpacks_to_more_than_it_may_is_refused() {
    // It says that it is small, and is not; it says that it is large.
    let mut zlib =
        flate2::read::ZlibEncoder::new(std::io::repeat(0).take(1 << 20), flate2::Compression::best());
    let mut packed = Vec::new();
    zlib.read_to_end(&mut packed).unwrap();
    let with = |head: &[u8]| [head, &packed].concat();
    assert_eq!(packed::mariadb(&with(&[0x81, 5]), 1 << 20).unwrap().len(), 5);
    assert!(packed::mariadb(&with(&[0x84, 0x7F, 0, 0, 0]), 1 << 20).is_err());
    assert_eq!(packed::mariadb(&with(&[0x83, 0x10, 0, 0]), 1 << 20).unwrap().len(), 1 << 20);
    // Another way of packing.
    assert!(packed::mariadb(&with(&[0x93, 0x10, 0, 0]), 1 << 20).is_err());
}

#[test]
fn a_set_is_asked_for_as_servers_write_it() {
    use mysql_common::binlog::BinlogCtx;
    use mysql_common::binlog::events::{FormatDescriptionEvent, PreviousGtidsEvent};
    use mysql_common::io::ParseBuf;
    use mysql_common::proto::MyDeserialize;

    let uuid = [7_u8; 16];
    let intervals: &[(u64, u64)] = &[(1, 5), (7, 7)];
    for tags in [&[""][..], &["", "someone"]] {
        let dump = dump::without(9, tags.iter().map(|tag| (&uuid, *tag, intervals)));
        let set = &dump[22..];
        assert_eq!(u32::from_le_bytes(dump[18..22].try_into().unwrap()) as usize, set.len());
        let format = FormatDescriptionEvent::new(BinlogVersion::Version4);
        let ctx = BinlogCtx::new(set.len(), &format, 35);
        let read = PreviousGtidsEvent::deserialize(ctx, &mut ParseBuf(set)).unwrap();
        let text = format!("{read:?}");
        assert_eq!(text.matches("GnoInterval").count(), 2 * tags.len(), "{text}");
        assert_eq!(text.contains("someone"), tags.len() == 2, "{text}");
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(events in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..400), any::<bool>()), 1..8)) {
        let (mut fresh, mut begun) = (Decoder::new(), unchecked());
        for (event, whole) in &events {
            devour(&mut fresh, event, *whole);
            devour(&mut begun, event, *whole);
        }
    }

    #[test]
    fn no_body_of_any_type_panics(kind: u8, body in prop::collection::vec(any::<u8>(), 0..600), whole: bool) {
        let mut event = vec![0_u8; HEADER];
        event[4] = kind;
        event.extend_from_slice(&body);
        let size = u32::try_from(event.len()).unwrap();
        event[9..13].copy_from_slice(&size.to_le_bytes());
        devour(&mut unchecked(), &event, whole);
        devour(&mut Decoder::new(), &event, whole);
    }

    #[test]
    fn no_damage_panics(which in 0..3_usize, damages in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 1..30)) {
        let mut events = plain(RECORDINGS[which].1);
        for (event, at, byte, cut) in damages {
            let event = event.index(events.len());
            let event = &mut events[event];
            let at = at.index(event.len());
            if cut {
                event.truncate(at.max(HEADER));
                let size = u32::try_from(event.len()).unwrap();
                event[9..13].copy_from_slice(&size.to_le_bytes());
            } else if !(9..13).contains(&at) && at < event.len() {
                event[at] = byte;
            }
        }
        let mut decoder = unchecked();
        for event in &events {
            devour(&mut decoder, event, true);
        }
    }
}
