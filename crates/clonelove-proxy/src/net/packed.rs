//! The compressed side of a stream: what came packed becomes bytes, what is to go out is packed. Owns the numbers of
//! compressed packets and what of them is not whole yet; reads and writes no socket.

use std::io;

use bytes::BytesMut;
use clonelove_wire::Malformed;
use clonelove_wire::compress::{Algorithm, PackedHead, pack, unpack};
use clonelove_wire::frame::{FrameHead, HEADER};

/// What is packed into one packet.
const PIECE: usize = 64 * 1024;
/// So much unpacked is enough before some of it was used.
const ENOUGH: usize = 64 * 1024;
/// What is asked of a socket at one time, at least.
const READ_AT_LEAST: usize = 8 * 1024;

/// Who speaks first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    /// We do: each command begins anew with number 0.
    First,
    /// The other side does: we go on from its numbers.
    Second,
}

/// One compressed connection, without its socket.
pub(crate) struct Packed {
    algorithm: Algorithm,
    speaks: Speaks,
    /// Read, not yet unpacked: parts of packets, as far as they came.
    pub(crate) incoming: BytesMut,
    /// The number of the last packet that came.
    last: u8,
    /// The number of the next one to go.
    next: u8,
    /// What is written belongs to the command before: no number in it begins a new one.
    continues: bool,
    /// What is still to come of the frame that was begun, towards a server.
    left: usize,
    frames: Frames,
}

/// The numbers of the frames that come: inside compressed packets they mean nothing, and are what each side makes them.
/// All but the two ends go by them, so that they are put right here.
#[derive(Default)]
struct Frames {
    /// The number that the next frame is to have.
    next: u8,
    /// What is still to come of the frame that was begun.
    left: usize,
    /// What has come of a head that is not whole.
    head: usize,
}

impl Frames {
    /// Numbers the frames in `bytes`, of which what stands before `from` was looked at already.
    fn number(&mut self, bytes: &mut [u8], from: usize) {
        let mut at = from.saturating_sub(self.head);
        self.head = 0;
        loop {
            let skipped = self.left.min(bytes.len().saturating_sub(at));
            self.left = self.left.saturating_sub(skipped);
            at = at.saturating_add(skipped);
            let Some(rest) = bytes.get_mut(at..).filter(|_| self.left == 0) else { return };
            let Some(head) = FrameHead::parse(rest) else {
                self.head = rest.len();
                return;
            };
            if let Some(number) = rest.get_mut(HEADER.saturating_sub(1)) {
                *number = self.next;
            }
            self.next = self.next.wrapping_add(1);
            self.left = head.whole();
        }
    }
}

impl Packed {
    /// Begins; `first` is what came already.
    pub(crate) fn new(algorithm: Algorithm, speaks: Speaks, first: BytesMut) -> Box<Self> {
        let (last, next) = (0, 0);
        let frames = Frames::default();
        Box::new(Self { algorithm, speaks, incoming: first, last, next, continues: false, left: 0, frames })
    }

    /// Room for what the next read of the socket brings.
    pub(crate) fn make_room(&mut self) {
        let whole = PackedHead::parse(&self.incoming).map_or(0, |head| head.whole());
        let missing = whole.saturating_sub(self.incoming.len());
        self.incoming.reserve(missing.clamp(READ_AT_LEAST, ENOUGH));
    }

    /// Lets go of a buffer that holds nothing.
    pub(crate) fn rest(&mut self) {
        if self.incoming.is_empty() {
            self.incoming = BytesMut::new();
        }
    }

    /// Appends what is in the packets that are whole, to `plain`, until that is enough, but always of one if there is
    /// one: whoever asks wants more than is there. Answers how much it was.
    pub(crate) fn unpack(&mut self, plain: &mut BytesMut) -> io::Result<usize> {
        let before = plain.len();
        while plain.len() < ENOUGH || plain.len() == before {
            let Some(head) = PackedHead::parse(&self.incoming) else { break };
            if self.incoming.len() < head.whole() {
                break;
            }
            let packet = self.incoming.split_to(head.whole());
            let body = packet.get(clonelove_wire::compress::HEADER..).unwrap_or_default();
            let from = plain.len();
            unpack(self.algorithm, head, body, plain).map_err(invalid)?;
            self.frames.number(plain, from);
            self.last = head.seq;
        }
        Ok(plain.len().saturating_sub(before))
    }

    /// The first frame in `plain`, or the next that comes, is to have this number.
    pub(crate) fn expect(&mut self, next: u8, plain: &mut [u8]) {
        self.frames = Frames { next, ..Frames::default() };
        self.frames.number(plain, 0);
    }

    /// The other side has said what it had to say, and we answer. With `more` of it there already, that was more than
    /// one command.
    pub(crate) fn turn(&mut self, more: bool) {
        if self.speaks == Speaks::Second {
            let last = if more { 0 } else { self.last };
            self.next = last.wrapping_add(1);
        }
    }

    /// What is written from now on belongs to the command before, as the content of a file does; or no more.
    pub(crate) fn continues(&mut self, continues: bool) {
        self.continues = continues;
        if continues {
            self.next = self.last.wrapping_add(1);
        }
    }

    /// Packs the front of `bytes` into `out`, and takes it off.
    pub(crate) fn pack(&mut self, bytes: &mut &[u8], out: &mut BytesMut) {
        let len = match self.speaks {
            Speaks::First if !self.continues => self.command(bytes),
            _ => bytes.len(),
        };
        let (piece, rest) = bytes.split_at_checked(len.min(PIECE)).unwrap_or((bytes, &[]));
        if self.speaks == Speaks::First && !self.continues {
            self.left = self.left.saturating_sub(piece.len());
        }
        pack(self.algorithm, self.next, piece, out);
        self.next = self.next.wrapping_add(1);
        *bytes = rest;
    }

    /// How much of `bytes` is to be packed together: up to the end of a frame. A frame whose number is 0 begins a
    /// command, and with it our numbers.
    fn command(&mut self, bytes: &[u8]) -> usize {
        if self.left == 0 {
            let Some(head) = FrameHead::parse(bytes) else { return bytes.len() };
            if head.seq == 0 {
                self.next = 0;
            }
            self.left = head.whole().max(HEADER);
        }
        self.left.min(bytes.len())
    }
}

fn invalid(error: Malformed) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clonelove_wire::frame::write_packet;

    fn numbers(mut packets: &[u8]) -> Vec<u8> {
        let mut numbers = Vec::new();
        while let Some(head) = PackedHead::parse(packets) {
            numbers.push(head.seq);
            packets = packets.get(head.whole()..).unwrap();
        }
        assert!(packets.is_empty());
        numbers
    }

    fn packed(packed: &mut Packed, mut bytes: &[u8]) -> BytesMut {
        let mut out = BytesMut::new();
        while !bytes.is_empty() {
            packed.pack(&mut bytes, &mut out);
        }
        out
    }

    #[test]
    fn each_command_towards_a_server_begins_anew() {
        let mut ours = Packed::new(Algorithm::Zlib, Speaks::First, BytesMut::new());
        let mut commands = BytesMut::new();
        write_packet(&mut commands, 0, b"\x03SELECT 1");
        write_packet(&mut commands, 0, &[3; 3 * PIECE]);
        write_packet(&mut commands, 0, b"\x0e");
        let out = packed(&mut ours, &commands);
        assert_eq!(numbers(&out), [0, 0, 1, 2, 3, 0]);
        let mut theirs = Packed::new(Algorithm::Zlib, Speaks::Second, out);
        let mut plain = BytesMut::new();
        let mut whole = BytesMut::new();
        while theirs.unpack(&mut plain).unwrap() > 0 {
            whole.extend_from_slice(&plain.split());
        }
        // Numbered as they came, until somebody says what they should be.
        for (at, seq) in [(3, 0), (16, 1), (16 + 4 + 3 * PIECE, 2)] {
            assert_eq!(std::mem::take(&mut whole[at]), seq);
        }
        assert!(whole == commands, "other bytes came out");
    }

    #[test]
    fn replies_and_the_content_of_files_go_on_from_what_came() {
        let mut client = Packed::new(Algorithm::Zstd(3), Speaks::First, BytesMut::new());
        let mut server = Packed::new(Algorithm::Zstd(3), Speaks::Second, BytesMut::new());
        let mut frame = BytesMut::new();
        write_packet(&mut frame, 0, b"\x03LOAD DATA");
        server.incoming = packed(&mut client, &frame);
        server.unpack(&mut BytesMut::new()).unwrap();
        server.turn(false);
        let asked = packed(&mut server, b"\x02\0\0\x01\xFBf");
        assert_eq!(numbers(&asked), [1]);
        client.incoming = asked;
        client.unpack(&mut BytesMut::new()).unwrap();
        client.continues(true);
        // Frames of the content may have any number, 0 among them.
        frame.clear();
        write_packet(&mut frame, 0, &[b'x'; 300]);
        write_packet(&mut frame, 1, b"");
        let content = packed(&mut client, &frame);
        assert_eq!(numbers(&content), [2]);
        client.continues(false);
        server.incoming = content;
        server.unpack(&mut BytesMut::new()).unwrap();
        server.turn(false);
        assert_eq!(numbers(&packed(&mut server, &[0; 2 * PIECE])), [3, 4]);
        // Another command is there already.
        server.turn(true);
        assert_eq!(numbers(&packed(&mut server, b"reply")), [1]);
    }

    #[test]
    fn frames_get_the_numbers_that_they_should_have() {
        let mut frames = BytesMut::new();
        for (seq, len) in [(0, 3), (0, 0), (7, 100), (9, 5)] {
            write_packet(&mut frames, seq, &vec![b'x'; len]);
        }
        // However they are cut.
        for cut in 1..20 {
            let mut packets = BytesMut::new();
            for piece in frames.chunks(cut) {
                pack(Algorithm::Zlib, 0, piece, &mut packets);
            }
            let mut theirs = Packed::new(Algorithm::Zlib, Speaks::First, packets);
            let mut plain = BytesMut::new();
            theirs.expect(1, &mut plain);
            theirs.unpack(&mut plain).unwrap();
            let first = plain.split_to(7);
            assert_eq!((first[3], plain[3]), (1, 2));
            // A reply ended there, and another one begins.
            theirs.expect(1, &mut plain);
            assert_eq!((plain[3], plain[7], plain[111]), (1, 2, 3), "{cut}");
        }
    }

    #[test]
    fn no_more_is_unpacked_than_is_enough() {
        let mut packets = BytesMut::new();
        for _ in 0..20 {
            pack(Algorithm::Zlib, 0, &[0; ENOUGH], &mut packets);
        }
        let mut theirs = Packed::new(Algorithm::Zlib, Speaks::Second, packets);
        let mut plain = BytesMut::new();
        // Each time one packet of so much, also where there is as much already that is not used yet.
        for times in 1..=20 {
            assert_eq!(theirs.unpack(&mut plain).unwrap(), ENOUGH);
            assert_eq!(plain.len(), times * ENOUGH);
        }
        assert_eq!(theirs.unpack(&mut plain).unwrap(), 0);
    }
}
