//! Frames: the four-byte head before every piece of at most 16 MiB − 1, and packets made of several of them.
//!
//! Owns lengths and sequence numbers; knows nothing of what a payload means. Reading borrows: only a packet of
//! several frames is copied. Source:
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_packets.html>.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};

use crate::write::PutExt;

/// The longest payload of one frame, in bytes. A frame of this length is followed by another of the same packet.
pub const MAX_FRAME: usize = 0xFF_FFFF;

/// The length of a frame's head, in bytes.
pub const HEADER: usize = 4;

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHead {
    /// The length of the payload in bytes, at most [`MAX_FRAME`].
    pub len: usize,
    /// The sequence number.
    pub seq: u8,
}

impl FrameHead {
    /// The head at the start of `buf`; `None` when fewer than four bytes are there.
    #[must_use]
    #[inline]
    pub fn parse(buf: &[u8]) -> Option<FrameHead> {
        let &[a, b, c, seq] = buf.first_chunk::<HEADER>()?;
        Some(FrameHead { len: u32::from_le_bytes([a, b, c, 0]) as usize, seq })
    }

    /// The four bytes of this head. A length over [`MAX_FRAME`] is cut to it.
    #[must_use]
    pub fn encode(self) -> [u8; HEADER] {
        let [a, b, c, ..] = self.len.min(MAX_FRAME).to_le_bytes();
        [a, b, c, self.seq]
    }

    /// Head and payload together, in bytes.
    #[must_use]
    #[inline]
    pub fn whole(self) -> usize {
        self.len.saturating_add(HEADER)
    }
}

/// Appends `payload` as one or more frames starting at `seq`; returns the next sequence number.
///
/// A payload whose length is a multiple of [`MAX_FRAME`] ends in an empty frame, as the protocol wants it.
pub fn write_packet(out: &mut BytesMut, seq: u8, payload: &[u8]) -> u8 {
    let mut seq = seq;
    let mut rest = payload;
    loop {
        let (piece, after) = rest.split_at_checked(MAX_FRAME).unwrap_or((rest, &[]));
        out.reserve(piece.len().saturating_add(HEADER));
        out.put_u24(u32::try_from(piece.len()).unwrap_or_default());
        out.put_u8(seq);
        out.put_slice(piece);
        seq = seq.wrapping_add(1);
        rest = after;
        if piece.len() < MAX_FRAME {
            return seq;
        }
    }
}

/// What [`look_packet`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Look<'a> {
    /// The packet is not whole yet: at least this many bytes are needed in the buffer altogether.
    Need(usize),
    /// One whole packet.
    Packet {
        /// The payload of all its frames; borrowed when it has only one.
        payload: Cow<'a, [u8]>,
        /// How many bytes of the buffer it takes, heads included.
        used: usize,
        /// The sequence number of its first frame.
        seq_first: u8,
        /// The sequence number of its last frame.
        seq_last: u8,
    },
    /// The payload is longer than the limit; the head of the first frame.
    TooLarge(FrameHead),
    /// A frame's sequence number was not the one that had to come.
    BadSequence {
        /// The number that had to come.
        expected: u8,
        /// The number that came.
        got: u8,
    },
}

/// Looks for one whole packet, all its frames, at the start of `buf`, of at most `limit` bytes of payload.
///
/// With `expect_seq`, its first frame must have that number; its further frames must always count on.
#[must_use]
pub fn look_packet(buf: &[u8], expect_seq: Option<u8>, limit: usize) -> Look<'_> {
    let Some(first) = FrameHead::parse(buf) else {
        return Look::Need(HEADER);
    };
    let mut expected = expect_seq.unwrap_or(first.seq);
    let (mut used, mut total) = (0_usize, 0_usize);
    // Lengths first, so that nothing is copied before the whole packet is there.
    loop {
        let Some(head) = buf.get(used..).and_then(FrameHead::parse) else {
            return Look::Need(used.saturating_add(HEADER));
        };
        if head.seq != expected {
            return Look::BadSequence { expected, got: head.seq };
        }
        total = total.saturating_add(head.len);
        if total > limit {
            return Look::TooLarge(first);
        }
        used = used.saturating_add(head.whole());
        if head.len < MAX_FRAME {
            break;
        }
        expected = expected.wrapping_add(1);
    }
    let Some(frames) = buf.get(..used) else {
        return Look::Need(used);
    };
    let payload = if first.len < MAX_FRAME {
        Cow::Borrowed(frames.get(HEADER..).unwrap_or_default())
    } else {
        let mut joined = Vec::with_capacity(total);
        for_each_frame(frames, |piece| joined.extend_from_slice(piece));
        Cow::Owned(joined)
    };
    Look::Packet { payload, used, seq_first: first.seq, seq_last: expected }
}

/// Calls `visit` with the payload of every whole frame in `buf`.
fn for_each_frame(buf: &[u8], mut visit: impl FnMut(&[u8])) {
    let mut rest = buf;
    while let Some(head) = FrameHead::parse(rest) {
        let Some((frame, after)) = rest.split_at_checked(head.whole()) else {
            return;
        };
        visit(frame.get(HEADER..).unwrap_or_default());
        rest = after;
    }
}

#[cfg(test)]
mod tests;
