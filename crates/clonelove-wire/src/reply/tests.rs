//! Whole replies, written as packets, driven through the tracker as a relay would: at once, byte by byte, and cut
//! anywhere.

use bytes::{BufMut, BytesMut};
use proptest::prelude::*;

use super::*;
use crate::frame::write_packet;
use crate::write::PutExt;

const EOFS: Caps = Caps::PROTOCOL_41.union(Caps::SESSION_TRACK);
const NO_EOFS: Caps = EOFS.union(Caps::DEPRECATE_EOF);

const MORE: Status = Status::MORE_RESULTS;
const QUIET: Status = Status::AUTOCOMMIT;

/// A reply under construction.
#[derive(Clone, Debug, Default)]
struct Reply {
    bytes: BytesMut,
    seq: u8,
}

impl Reply {
    fn new() -> Self {
        Reply { bytes: BytesMut::new(), seq: 1 }
    }

    fn packet(mut self, payload: &[u8]) -> Self {
        self.seq = write_packet(&mut self.bytes, self.seq, payload);
        self
    }

    fn ok(self, head: u8, status: Status) -> Self {
        let mut out = BytesMut::new();
        OkPacket { status, warnings: 3, ..OkPacket::default() }.encode(head, EOFS, &mut out);
        self.packet(&out)
    }

    fn eof(self, status: Status) -> Self {
        let mut out = BytesMut::new();
        Eof { warnings: 3, status }.encode(&mut out);
        self.packet(&out)
    }

    fn err(self, code: u16) -> Self {
        let mut out = BytesMut::new();
        ErrPacket::new(code, "no").encode(&mut out);
        self.packet(&out)
    }

    fn column(self) -> Self {
        self.packet(b"\x03def\x01d\x01t\x01t\x01c\x01c\x0c\x3f\0\x0b\0\0\0\x03\x81\0\0\0\0")
    }

    fn row(self, text: &[u8]) -> Self {
        let mut out = BytesMut::new();
        out.put_lenenc_bytes(text);
        self.packet(&out)
    }

    /// One column, two rows, and whatever ends rows.
    fn result_set(self, caps: Caps, status: Status) -> Self {
        let reply = self.packet(&[1]).column().definitions_end(caps).row(b"a").row(b"b");
        reply.rows_end(caps, status)
    }

    fn definitions_end(self, caps: Caps) -> Self {
        if caps.contains(Caps::DEPRECATE_EOF) { self } else { self.eof(QUIET) }
    }

    fn rows_end(self, caps: Caps, status: Status) -> Self {
        if caps.contains(Caps::DEPRECATE_EOF) { self.ok(0xFE, status) } else { self.eof(status) }
    }
}

/// What a relay saw: every event with the offset of its frame, and how it ended.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    events: Vec<(usize, Event)>,
    /// How far the bytes were consumed.
    consumed: usize,
    end: Result<bool, ProtocolFault>,
}

/// Relays `bytes`, which become readable up to each of `cuts` and at last whole.
fn relay(tracker: &mut ReplyTracker, bytes: &[u8], cuts: &[usize]) -> Seen {
    let mut seen = Seen { events: Vec::new(), consumed: 0, end: Ok(false) };
    let mut cuts = cuts.iter().copied().chain([bytes.len()]);
    let mut readable = cuts.next().unwrap();
    loop {
        let buf = &bytes[seen.consumed.min(readable)..readable];
        let scan = match tracker.scan(buf) {
            Ok(scan) => scan,
            Err(fault) => {
                seen.end = Err(fault);
                return seen;
            }
        };
        assert!(scan.pass <= buf.len());
        seen.consumed += scan.pass;
        match scan.then {
            Then::End => {
                seen.end = Ok(true);
                return seen;
            }
            Then::Event { event, used } => {
                assert_eq!(scan.event_frame(buf).len(), used);
                assert_eq!(scan.event_payload(buf).len(), used - HEADER);
                seen.events.push((seen.consumed, event));
                seen.consumed += used;
                assert_eq!(tracker.is_done(), event.ends());
                if event.ends() {
                    seen.end = Ok(true);
                    return seen;
                }
            }
            Then::More | Then::NeedWhole(_) => {
                if let Then::NeedWhole(needed) = scan.then {
                    assert!(needed > buf.len() - scan.pass, "it has what it asks for");
                }
                match cuts.next() {
                    Some(next) => readable = next,
                    None => return seen,
                }
            }
        }
    }
}

/// Relays at once and byte by byte; both must see the same. Gives the events.
fn follow(command: Command, caps: Caps, reply: &Reply) -> Vec<Event> {
    let seen = relay(&mut ReplyTracker::new(command, caps), &reply.bytes, &[]);
    let bytewise: Vec<usize> = (0..reply.bytes.len()).collect();
    assert_eq!(seen, relay(&mut ReplyTracker::new(command, caps), &reply.bytes, &bytewise));
    assert_eq!(seen.end, Ok(true), "{command:?}: {:?}", seen.events);
    assert_eq!(seen.consumed, reply.bytes.len(), "{command:?} ended early or late");
    seen.events.into_iter().map(|(_, event)| event).collect()
}

fn fault(command: Command, caps: Caps, reply: &Reply) -> ProtocolFault {
    relay(&mut ReplyTracker::new(command, caps), &reply.bytes, &[]).end.expect_err("it is no fault")
}

fn ok_event(head: u8, status: Status) -> Event {
    Event::Ok { head, status, warnings: 3, end: !status.contains(MORE) }
}

fn eof_event(kind: EofKind, status: Status, end: bool) -> Event {
    Event::Eof { status, warnings: 3, kind, end }
}

fn rows_end_event(caps: Caps, status: Status) -> Event {
    if caps.contains(Caps::DEPRECATE_EOF) {
        ok_event(0xFE, status)
    } else {
        eof_event(EofKind::Rows, status, !status.contains(MORE))
    }
}

fn result_set_events(caps: Caps, status: Status) -> Vec<Event> {
    let mut events = Vec::new();
    if !caps.contains(Caps::DEPRECATE_EOF) {
        events.push(eof_event(EofKind::Definitions, QUIET, false));
    }
    events.push(rows_end_event(caps, status));
    events
}

#[test]
fn an_ok_or_an_error_is_a_whole_reply() {
    for command in
        [Command::Query, Command::Ping, Command::InitDb, Command::ResetConnection, Command::StmtReset]
    {
        for caps in [EOFS, NO_EOFS] {
            let status = QUIET | Status::IN_TRANS;
            assert_eq!(follow(command, caps, &Reply::new().ok(0, status)), [ok_event(0, status)]);
            let error = Event::Err { code: 1146, in_sequence: true };
            assert_eq!(follow(command, caps, &Reply::new().err(1146)), [error]);
        }
    }
}

#[test]
fn a_result_set_ends_where_its_rows_end() {
    for command in [Command::Query, Command::StmtExecute, Command::ProcessInfo, Command::StmtBulkExecute] {
        for caps in [EOFS, NO_EOFS] {
            let reply = Reply::new().result_set(caps, QUIET);
            assert_eq!(follow(command, caps, &reply), result_set_events(caps, QUIET));
        }
    }
}

#[test]
fn results_follow_each_other_while_the_server_says_so() {
    for caps in [EOFS, NO_EOFS] {
        let reply = Reply::new().result_set(caps, MORE).ok(0, MORE).result_set(caps, MORE).ok(0, QUIET);
        let events = [
            result_set_events(caps, MORE),
            vec![ok_event(0, MORE)],
            result_set_events(caps, MORE),
            vec![ok_event(0, QUIET)],
        ];
        assert_eq!(follow(Command::Query, caps, &reply), events.concat());
    }
}

#[test]
fn an_error_ends_a_reply_wherever_it_comes() {
    let error = Event::Err { code: 1317, in_sequence: true };
    for caps in [EOFS, NO_EOFS] {
        let head = Reply::new().packet(&[2]).column();
        assert_eq!(follow(Command::Query, caps, &head.clone().err(1317)), [error]);
        let rows = head.column().definitions_end(caps).row(b"a").err(1317);
        assert_eq!(follow(Command::Query, caps, &rows).last(), Some(&error));
        let second = Reply::new().ok(0, MORE).err(1317);
        assert_eq!(follow(Command::Query, caps, &second).last(), Some(&error));
    }
}

#[test]
fn rows_may_begin_with_any_byte_of_a_length() {
    // 0xFB is NULL, 0xFC and 0xFD are lengths of two and three bytes; 0x00 is the empty string or a binary row.
    for first in [0x00, 0x01, 0xFA, 0xFB, 0xFC, 0xFD] {
        for caps in [EOFS, NO_EOFS] {
            let reply = Reply::new().packet(&[1]).column().definitions_end(caps);
            let reply = reply.packet(&[first, 1, 2, 3]).packet(&[first]).rows_end(caps, QUIET);
            assert_eq!(follow(Command::Query, caps, &reply), result_set_events(caps, QUIET), "{first:#x}");
        }
    }
}

#[test]
fn rows_are_counted_whole_or_in_pieces() {
    let reply = Reply::new().result_set(NO_EOFS, MORE).result_set(NO_EOFS, QUIET);
    for cuts in [vec![], (1..reply.bytes.len()).collect::<Vec<_>>()] {
        let mut tracker = ReplyTracker::new(Command::Query, NO_EOFS);
        relay(&mut tracker, &reply.bytes, &cuts);
        assert_eq!((tracker.take_rows(), tracker.take_rows()), (4, 0), "{cuts:?}");
    }
}

#[test]
fn a_row_of_several_frames_is_a_row() {
    // A text column over 16 MiB has a length that begins with 0xFE; its second frame may begin with anything.
    for (first, second) in [(0xFE, 0xFE), (0xFE, 0xFF), (0xFF, 0x00), (0x00, 0xFE), (0x00, 0xFF)] {
        let mut row = vec![7; MAX_FRAME + 5];
        row[0] = first;
        row[MAX_FRAME] = second;
        for caps in [EOFS, NO_EOFS] {
            let reply = Reply::new().packet(&[1]).column().definitions_end(caps).packet(&row);
            let reply = reply.row(b"x").rows_end(caps, QUIET);
            let mut tracker = ReplyTracker::new(Command::Query, caps);
            let len = reply.bytes.len();
            let whole = relay(&mut ReplyTracker::new(Command::Query, caps), &reply.bytes, &[]);
            assert_eq!((whole.consumed, whole.end), (len, Ok(true)), "all there at once");
            let cuts = [20, 200, 300, MAX_FRAME, MAX_FRAME + 40, len - 30, len - 25, len - 10];
            let seen = relay(&mut tracker, &reply.bytes, &cuts);
            let events: Vec<Event> = seen.events.into_iter().map(|(_, event)| event).collect();
            assert_eq!((events, seen.end), (result_set_events(caps, QUIET), Ok(true)));
            assert_eq!(seen.consumed, reply.bytes.len());
        }
    }
}

#[test]
fn a_row_of_exactly_one_full_frame_has_an_empty_one_after_it() {
    let mut row = vec![1; MAX_FRAME];
    row[0] = 0xFE;
    for caps in [EOFS, NO_EOFS] {
        let reply =
            Reply::new().packet(&[1]).column().definitions_end(caps).packet(&row).rows_end(caps, QUIET);
        let seen = relay(&mut ReplyTracker::new(Command::Query, caps), &reply.bytes, &[]);
        let events: Vec<Event> = seen.events.into_iter().map(|(_, event)| event).collect();
        assert_eq!(events, result_set_events(caps, QUIET));
        assert_eq!((seen.consumed, seen.end), (reply.bytes.len(), Ok(true)));
    }
}

#[test]
fn an_empty_frame_is_not_judged_by_the_frame_after_it() {
    // The next frame's length begins with what would be the head of an EOF or an ERR packet.
    for len in [0xFE, 0xFF] {
        for caps in [EOFS, NO_EOFS] {
            let reply = Reply::new().packet(&[1]).column().definitions_end(caps).packet(&[]);
            let reply = reply.packet(&vec![1; len]).rows_end(caps, QUIET);
            assert_eq!(follow(Command::Query, caps, &reply), result_set_events(caps, QUIET));
        }
        let reply = Reply { seq: 7, ..Reply::default() }.packet(&[]).packet(&vec![1; len]);
        assert_eq!(fault(Command::Query, EOFS, &reply), ProtocolFault::Sequence { expected: 1, got: 7 });
        let reply = Reply::new().packet(&[1]).packet(&[]).packet(&vec![1; len]);
        assert!(matches!(fault(Command::Query, EOFS, &reply), ProtocolFault::Unexpected { first: 0, .. }));
    }
}

#[test]
fn big_frames_are_passed_in_pieces() {
    let mut tracker = ReplyTracker::new(Command::Query, NO_EOFS);
    let reply = Reply::new().packet(&[1]).column().packet(&vec![1; 1 << 20]);
    let front = reply.bytes.len() - (1 << 20) + 10;
    let scan = tracker.scan(&reply.bytes[..front]).unwrap();
    assert_eq!(scan, Scan { pass: front, then: Then::More });
    assert!(tracker.mid_packet());
    let scan = tracker.scan(&reply.bytes[front..]).unwrap();
    assert_eq!(scan, Scan { pass: reply.bytes.len() - front, then: Then::More });
    assert!(!tracker.mid_packet());
}

#[test]
fn many_rows_are_one_pass() {
    let mut reply = Reply::new().packet(&[1]).column();
    for _ in 0..1000 {
        reply = reply.row(b"something");
    }
    let reply = reply.rows_end(NO_EOFS, QUIET);
    let mut tracker = ReplyTracker::new(Command::Query, NO_EOFS);
    let scan = tracker.scan(&reply.bytes).unwrap();
    assert!(matches!(scan.then, Then::Event { .. }), "{scan:?}");
    assert_eq!(scan.pass + scan.event_frame(&reply.bytes).len(), reply.bytes.len());
}

#[test]
fn in_rows_an_eof_is_short_and_an_ok_is_not_a_full_frame() {
    // Without DEPRECATE_EOF, nine bytes beginning with 0xFE are a row, as client libraries read it.
    let reply = Reply::new().packet(&[1]).column().eof(QUIET).packet(&[0xFE; 9]).eof(QUIET);
    assert_eq!(follow(Command::Query, EOFS, &reply), result_set_events(EOFS, QUIET));
    // With it, the OK packet may be long: it carries the session's state.
    let state = vec![b'x'; 70_000];
    let ok = OkPacket { status: QUIET, warnings: 3, state: &state, ..OkPacket::default() };
    let mut out = BytesMut::new();
    ok.encode(0xFE, NO_EOFS, &mut out);
    let reply = Reply::new().packet(&[1]).column().row(b"a").packet(&out);
    let status = QUIET | Status::SESSION_STATE_CHANGED;
    assert_eq!(follow(Command::Query, NO_EOFS, &reply), [ok_event(0xFE, status)]);
}

#[test]
fn a_cursor_sends_definitions_only() {
    let open = QUIET | Status::CURSOR_EXISTS;
    let reply = Reply::new().packet(&[1]).column().eof(open);
    assert_eq!(follow(Command::StmtExecute, EOFS, &reply), [eof_event(EofKind::Definitions, open, true)]);
    let reply = Reply::new().packet(&[1]).column().ok(0xFE, open);
    assert_eq!(follow(Command::StmtExecute, NO_EOFS, &reply), [ok_event(0xFE, open)]);
    for caps in [EOFS, NO_EOFS] {
        let last = QUIET | Status::LAST_ROW_SENT;
        let reply = Reply::new().packet(b"\0\0a").packet(b"\0\0b").rows_end(caps, last);
        assert_eq!(follow(Command::StmtFetch, caps, &reply), [rows_end_event(caps, last)]);
        assert_eq!(follow(Command::StmtFetch, caps, &Reply::new().err(1421)).len(), 1);
    }
}

#[test]
fn a_procedures_own_cursor_is_not_the_clients() {
    let inside = QUIET | Status::CURSOR_EXISTS | Status::MORE_RESULTS;
    let row = b"\0\0\x01";
    let reply = Reply::new().packet(&[1]).column().eof(inside).packet(row).eof(inside).ok(0, QUIET);
    let events = [
        eof_event(EofKind::Definitions, inside, false),
        eof_event(EofKind::Rows, inside, false),
        ok_event(0, QUIET),
    ];
    assert_eq!(follow(Command::StmtExecute, EOFS, &reply), events);
    let reply = Reply::new().packet(&[1]).column().packet(row).ok(0xFE, inside).ok(0, QUIET);
    let events = [Event::Ok { head: 0xFE, status: inside, warnings: 3, end: false }, ok_event(0, QUIET)];
    assert_eq!(follow(Command::StmtExecute, NO_EOFS, &reply), events);
}

#[test]
fn a_prepared_statement_has_its_definitions_after_it() {
    for caps in [EOFS, NO_EOFS] {
        for (params, columns) in [(0, 0), (2, 0), (0, 2), (1, 3)] {
            let prepared = PrepareOk { statement_id: 7, columns, params, warnings: 0, definitions: true };
            let mut out = BytesMut::new();
            prepared.encode(caps, &mut out);
            let mut reply = Reply::new().packet(&out);
            let mut events = vec![Event::PrepareOk { prepared, end: params == 0 && columns == 0 }];
            for (count, last) in [(params, columns == 0), (columns, true)] {
                for _ in 0..count {
                    reply = reply.column();
                }
                if count > 0 && caps == EOFS {
                    reply = reply.eof(QUIET);
                    events.push(eof_event(EofKind::Definitions, QUIET, last));
                }
            }
            assert_eq!(follow(Command::StmtPrepare, caps, &reply), events, "{params} {columns}");
        }
        assert_eq!(follow(Command::StmtPrepare, caps, &Reply::new().err(1064)).len(), 1);
    }
}

#[test]
fn definitions_may_be_left_out() {
    for extra in [Caps::CACHE_METADATA, Caps::OPTIONAL_RESULTSET_METADATA] {
        for caps in [EOFS | extra, NO_EOFS | extra] {
            let reply = Reply::new().packet(&[2, 0]).definitions_end(caps).row(b"a").rows_end(caps, QUIET);
            assert_eq!(follow(Command::StmtExecute, caps, &reply), result_set_events(caps, QUIET));
            let reply = Reply::new().packet(&[1, 1]).column().definitions_end(caps).row(b"a");
            let reply = reply.rows_end(caps, QUIET);
            assert_eq!(follow(Command::StmtExecute, caps, &reply), result_set_events(caps, QUIET));
        }
    }
    for caps in [EOFS | Caps::OPTIONAL_RESULTSET_METADATA, NO_EOFS | Caps::OPTIONAL_RESULTSET_METADATA] {
        for (params, columns) in [(0, 0), (2, 0), (0, 3), (2, 3)] {
            let prepared = PrepareOk { columns, params, definitions: false, ..PrepareOk::default() };
            let mut out = BytesMut::new();
            prepared.encode(caps, &mut out);
            let mut reply = Reply::new().packet(&out);
            // The EOF packets come all the same.
            let eofs = [params, columns].iter().filter(|&&count| count > 0).count();
            let eofs = if caps.contains(Caps::DEPRECATE_EOF) { 0 } else { eofs };
            let mut events = vec![Event::PrepareOk { prepared, end: eofs == 0 }];
            for index in 1..=eofs {
                reply = reply.eof(QUIET);
                events.push(eof_event(EofKind::Definitions, QUIET, index == eofs));
            }
            assert_eq!(follow(Command::StmtPrepare, caps, &reply), events, "{params} {columns}");
        }
    }
}

#[test]
fn a_column_count_may_have_several_bytes() {
    let mut reply = Reply::new().packet(&[0xFC, 0x2C, 0x01]);
    for _ in 0..300 {
        reply = reply.column();
    }
    let reply = reply.row(b"a").rows_end(NO_EOFS, QUIET);
    assert_eq!(follow(Command::Query, NO_EOFS, &reply), result_set_events(NO_EOFS, QUIET));
}

#[test]
fn some_commands_have_replies_of_their_own() {
    for caps in [EOFS, NO_EOFS] {
        let reply = Reply::new().packet(b"Uptime: 1  Threads: 2");
        assert_eq!(follow(Command::Statistics, caps, &reply), []);
        assert_eq!(follow(Command::Statistics, caps, &Reply::new().err(1227)).len(), 1);
        let reply = Reply::new().column().column().rows_end(caps, QUIET);
        assert_eq!(follow(Command::FieldList, caps, &reply), [rows_end_event(caps, QUIET)]);
        let reply = Reply::new().packet(b"\0event").packet(b"\0event").eof(QUIET);
        let events = follow(Command::BinlogDump, caps, &reply);
        assert_eq!(events, [eof_event(EofKind::Rows, QUIET, true)]);
        // Servers answer with either, whatever was negotiated.
        for command in [Command::SetOption, Command::Debug, Command::Shutdown] {
            let events = follow(command, caps, &Reply::new().eof(QUIET));
            assert_eq!(events, [eof_event(EofKind::Command, QUIET, true)]);
            assert_eq!(follow(command, caps, &Reply::new().ok(0xFE, QUIET)), [ok_event(0xFE, QUIET)]);
        }
    }
}

#[test]
fn commands_without_a_reply_are_over_at_once() {
    for command in [Command::Quit, Command::StmtClose, Command::StmtSendLongData] {
        let mut tracker = ReplyTracker::new(command, EOFS);
        assert!(tracker.is_done());
        assert_eq!(tracker.scan(&[]), Ok(Scan { pass: 0, then: Then::End }));
        // What is there already is the reply to the next command.
        assert_eq!(tracker.scan(&[1]), Ok(Scan { pass: 0, then: Then::End }));
    }
}

#[test]
fn a_file_is_asked_for_and_the_reply_goes_on() {
    let mut tracker = ReplyTracker::new(Command::Query, EOFS);
    let request = Reply::new().packet(b"\xFBpath");
    let seen = relay(&mut tracker, &request.bytes, &[]);
    assert_eq!(seen.events, [(0, Event::LocalInfile)]);
    assert_eq!(seen.end, Ok(false));
    tracker.expect_sequence(5);
    let mut reply = Reply { seq: 5, ..Reply::default() };
    reply = reply.ok(0, QUIET);
    assert_eq!(relay(&mut tracker, &reply.bytes, &[]).events, [(0, ok_event(0, QUIET))]);
}

#[test]
fn change_user_authenticates_anew() {
    let mut tracker = ReplyTracker::new(Command::ChangeUser, EOFS);
    let switch = Reply::new().packet(b"\xFEcaching_sha2_password\0salt");
    assert_eq!(relay(&mut tracker, &switch.bytes, &[3, 9]).events, [(0, Event::AuthSwitch)]);
    tracker.expect_sequence(3);
    let rest = Reply { seq: 3, ..Reply::default() }.packet(&[1, 3]).ok(0, QUIET);
    let events = relay(&mut tracker, &rest.bytes, &[]).events;
    assert_eq!(events, [(0, Event::AuthMore), (6, ok_event(0, QUIET))]);
    assert_eq!(follow(Command::ChangeUser, EOFS, &Reply::new().err(1045)).len(), 1);
}

#[test]
fn progress_reports_are_no_errors_where_they_were_negotiated() {
    let report = b"\xFF\xFF\xFF\x01\x01\x02\x10\x27\x00\x04Copy";
    let caps = EOFS | Caps::PROGRESS;
    let reply = Reply::new().packet(report).packet(report).ok(0, QUIET);
    let events = follow(Command::Query, caps, &reply);
    assert_eq!(events, [Event::Progress, Event::Progress, ok_event(0, QUIET)]);
    let events = follow(Command::Query, EOFS, &Reply::new().packet(report));
    assert_eq!(events, [Event::Err { code: 0xFFFF, in_sequence: true }]);
}

#[test]
fn started_tells_what_can_be_tried_elsewhere() {
    let mut tracker = ReplyTracker::new(Command::Query, EOFS | Caps::PROGRESS);
    let report = Reply::new().packet(b"\xFF\xFF\xFF\x01\x01\x02\x10\x27\x00\x04Copy").err(1290);
    relay(&mut tracker, &report.bytes, &[]);
    assert!(!tracker.started());
    let mut tracker = ReplyTracker::new(Command::Query, EOFS);
    relay(&mut tracker, &Reply::new().packet(&[1]).bytes[..4], &[]);
    assert!(!tracker.started());
    relay(&mut tracker, &Reply::new().packet(&[1]).bytes, &[]);
    assert!(tracker.started());
    let mut tracker = ReplyTracker::new(Command::Query, EOFS);
    relay(&mut tracker, &Reply::new().ok(0, QUIET).bytes, &[]);
    assert!(tracker.started());
}

#[test]
fn sequence_numbers_count_and_wrap() {
    let mut reply = Reply::new().packet(&[1]).column().eof(QUIET);
    for _ in 0..1000 {
        reply = reply.row(b"a");
    }
    let reply = reply.eof(QUIET);
    assert_eq!(follow(Command::Query, EOFS, &reply), result_set_events(EOFS, QUIET));
    let mut tracker = ReplyTracker::new(Command::Query, EOFS);
    tracker.expect_sequence(4);
    let reply = Reply { seq: 4, ..Reply::default() }.ok(0, QUIET);
    assert_eq!(relay(&mut tracker, &reply.bytes, &[]).end, Ok(true));
}

#[test]
fn a_wrong_sequence_number_is_a_fault() {
    let wrong = ProtocolFault::Sequence { expected: 1, got: 2 };
    assert_eq!(fault(Command::Query, EOFS, &Reply { seq: 2, ..Reply::default() }.ok(0, QUIET)), wrong);
    assert_eq!(fault(Command::Query, EOFS, &Reply { seq: 2, ..Reply::default() }.packet(&[1])), wrong);
    let mut reply = Reply::new().packet(&[1]);
    reply.seq = 9;
    let mut row = Reply::new().packet(&[1]).column().row(b"a");
    row.seq = 9;
    let wrong = ProtocolFault::Sequence { expected: 4, got: 9 };
    assert_eq!(fault(Command::Query, NO_EOFS, &row.row(b"b").rows_end(NO_EOFS, QUIET)), wrong);
    let wrong = ProtocolFault::Sequence { expected: 2, got: 9 };
    assert_eq!(fault(Command::Query, EOFS, &reply.clone().column()), wrong);
    assert_eq!(fault(Command::Query, EOFS, &reply.err(1)), wrong);
}

#[test]
fn an_error_out_of_sequence_is_heard_if_it_comes_first() {
    // 4031, sent before the command was read.
    let reply = Reply { seq: 0, ..Reply::default() }.err(4031);
    let events = follow(Command::Query, EOFS, &reply);
    assert_eq!(events, [Event::Err { code: 4031, in_sequence: false }]);
}

#[test]
fn what_has_no_place_is_a_fault() {
    let unexpected = |fault| matches!(fault, ProtocolFault::Unexpected { .. });
    let empty = Reply::new().packet(&[]);
    assert!(unexpected(fault(Command::Query, EOFS, &empty)));
    assert!(unexpected(fault(Command::Query, EOFS, &Reply::new().packet(&[1]).packet(&[]))));
    let row_for_eof = Reply::new().packet(&[1]).column().row(b"a");
    assert!(unexpected(fault(Command::Query, EOFS, &row_for_eof)));
    assert!(unexpected(fault(Command::StmtPrepare, EOFS, &Reply::new().packet(&[1]))));
    assert!(unexpected(fault(Command::ChangeUser, EOFS, &Reply::new().packet(&[7]))));
    let malformed = |fault| matches!(fault, ProtocolFault::Malformed(_));
    assert!(malformed(fault(Command::Query, EOFS, &Reply::new().packet(&[0, 0]))));
    assert!(malformed(fault(Command::Query, EOFS, &Reply::new().packet(&[1, 2, 3]))));
    assert!(malformed(fault(Command::Query, EOFS, &Reply::new().packet(&[0xFF, 1]))));
}

#[test]
fn a_status_packet_has_a_limit() {
    let mut head = BytesMut::new();
    head.put_u24(u32::try_from(MAX_EVENT).unwrap() + 1);
    head.put_slice(&[1, 0]);
    let mut tracker = ReplyTracker::new(Command::Query, EOFS);
    assert_eq!(tracker.scan(&head), Err(ProtocolFault::TooLarge(MAX_EVENT + 1)));
}

/// What a generated reply consists of.
#[derive(Debug, Clone)]
enum Part {
    Ok,
    Rows { columns: u8, rows: Vec<Vec<u8>> },
    Progress,
}

fn part() -> impl Strategy<Value = Part> {
    prop_oneof![
        Just(Part::Ok),
        Just(Part::Progress),
        (1..5_u8, prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20))
            .prop_map(|(columns, rows)| Part::Rows { columns, rows }),
    ]
}

/// A reply of these parts; the second to last and all before say that more follows.
fn compose(parts: &[Part], last_fails: bool, caps: Caps) -> (Reply, Vec<Event>) {
    let (mut reply, mut events) = (Reply::new(), Vec::new());
    for (index, part) in parts.iter().enumerate() {
        let status = if index + 1 < parts.len() || last_fails { MORE } else { QUIET };
        reply = match part {
            Part::Ok => reply.ok(0, status),
            Part::Progress => {
                events.push(Event::Progress);
                reply.packet(b"\xFF\xFF\xFF\x01\x01\x02\x10\x27\x00\x04Copy").ok(0, status)
            }
            Part::Rows { columns, rows } => {
                let mut reply = reply.packet(&[*columns]);
                for _ in 0..*columns {
                    reply = reply.column();
                }
                reply = reply.definitions_end(caps);
                for row in rows {
                    reply = reply.row(row);
                }
                events.extend(result_set_events(caps, status));
                reply.rows_end(caps, status)
            }
        };
        if !matches!(part, Part::Rows { .. }) {
            events.push(ok_event(0, status));
        }
    }
    if last_fails {
        reply = reply.err(1213);
        events.push(Event::Err { code: 1213, in_sequence: true });
    }
    (reply, events)
}

fn any_command() -> impl Strategy<Value = Command> {
    any::<u8>().prop_map(Command::from_byte)
}

proptest! {
    #[test]
    fn a_reply_is_the_same_however_it_is_cut(
        parts in prop::collection::vec(part(), 1..5), last_fails: bool, eofs: bool,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let caps = Caps::PROGRESS | if eofs { EOFS } else { NO_EOFS };
        let (reply, expected) = compose(&parts, last_fails, caps);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(reply.bytes.len())).collect();
        cuts.sort_unstable();
        let whole = relay(&mut ReplyTracker::new(Command::Query, caps), &reply.bytes, &[]);
        let cut = relay(&mut ReplyTracker::new(Command::Query, caps), &reply.bytes, &cuts);
        prop_assert_eq!(&whole, &cut);
        prop_assert_eq!((whole.consumed, whole.end), (reply.bytes.len(), Ok(true)));
        prop_assert_eq!(whole.events.into_iter().map(|(_, event)| event).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(
        command in any_command(), bits: u64, bytes in prop::collection::vec(any::<u8>(), 0..400),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
    ) {
        let caps = Caps::from_bits_retain(bits);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        relay(&mut ReplyTracker::new(command, caps), &bytes, &cuts);
    }

    #[test]
    fn arbitrary_packets_are_the_same_however_they_are_cut(
        command in any_command(), bits: u64,
        packets in prop::collection::vec(prop::collection::vec(prop_oneof![
            Just(0_u8), Just(1), Just(0xFB), Just(0xFE), Just(0xFF), any::<u8>(),
        ], 0..24), 0..12),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..9),
    ) {
        let caps = Caps::from_bits_retain(bits);
        let reply = packets.iter().fold(Reply::new(), |reply, packet| reply.packet(packet));
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(reply.bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let whole = relay(&mut ReplyTracker::new(command, caps), &reply.bytes, &[]);
        let cut = relay(&mut ReplyTracker::new(command, caps), &reply.bytes, &cuts);
        prop_assert_eq!(&whole.events, &cut.events);
        prop_assert_eq!(&whole.end, &cut.end);
        // A fault is found before what stands before it was given out, or after: nothing beyond it is, ever.
        if whole.end.is_ok() {
            prop_assert_eq!(whole.consumed, cut.consumed);
        }
    }
}
