//! Following a reply to its end with as little work as a client can do. Apart from the product's own tracker on
//! purpose: a mistake there cannot hide here, and its cost is not the load generator's. Knows no sockets.

use anyhow::{Result, bail};
use clonelove_wire::frame::{FrameHead, HEADER, MAX_FRAME};

const OK: u8 = 0x00;
const EOF: u8 = 0xFE;
const ERR: u8 = 0xFF;
/// An EOF packet is shorter than this; a row that begins with 0xFE is longer.
const EOF_BELOW: usize = 9;

/// Where a reply stands, for a client without DEPRECATE_EOF.
#[derive(Debug, Default)]
pub struct Follower {
    state: State,
    /// Bytes of a row or a definition that are still to come, and that nobody looks at.
    skip: usize,
    /// The front of a packet that is to be looked at.
    carry: Vec<u8>,
}

/// How a reply ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// Well.
    Ok,
    /// With a prepared statement of this id.
    Prepared(u32),
    /// With an error packet: its number and text.
    Error(u16, String),
    /// The packet that was waited for while logging in.
    Packet(Vec<u8>),
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A packet of the handshake.
    #[default]
    Packet,
    Head,
    PrepareHead,
    Definitions,
    Rows,
    /// So many lists of definitions, each ended by an EOF packet, follow a prepared statement.
    Prepared(u32, u8),
}

impl Follower {
    /// The next thing is one packet, whatever it is.
    pub fn expect_packet(&mut self) {
        self.state = State::Packet;
    }

    /// The next thing is the reply to a query or an execution.
    pub fn expect_reply(&mut self) {
        self.state = State::Head;
    }

    /// The next thing is the reply to a prepare.
    pub fn expect_prepared(&mut self) {
        self.state = State::PrepareHead;
    }

    /// Takes bytes as they came. `None` when the reply goes on.
    ///
    /// # Errors
    /// When there are bytes behind the end, or frames that no bench makes.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Option<End>> {
        if self.carry.is_empty() {
            return self.walk(bytes);
        }
        let mut joined = std::mem::take(&mut self.carry);
        joined.extend_from_slice(bytes);
        self.walk(&joined)
    }

    fn walk(&mut self, bytes: &[u8]) -> Result<Option<End>> {
        let mut rest = bytes;
        loop {
            let skipped = self.skip.min(rest.len());
            self.skip -= skipped;
            rest = rest.get(skipped..).unwrap_or_default();
            let (Some(head), Some(first)) = (FrameHead::parse(rest), rest.get(HEADER)) else { break };
            if head.len == MAX_FRAME {
                bail!("a packet of several frames");
            }
            if self.is_passed_over(*first, head.len) {
                self.skip = head.whole();
                continue;
            }
            let Some((frame, after)) = rest.split_at_checked(head.whole()) else { break };
            rest = after;
            if let Some(end) = self.judge(frame.get(HEADER..).unwrap_or_default())? {
                if !rest.is_empty() {
                    bail!("{} bytes behind the end of a reply", rest.len());
                }
                return Ok(Some(end));
            }
        }
        self.carry = rest.to_vec();
        Ok(None)
    }

    /// Whether a packet is a row or a definition.
    fn is_passed_over(&self, first: u8, len: usize) -> bool {
        let within = matches!(self.state, State::Definitions | State::Rows | State::Prepared(..));
        within && first != ERR && !(first == EOF && len < EOF_BELOW)
    }

    fn judge(&mut self, payload: &[u8]) -> Result<Option<End>> {
        let first = payload.first().copied().unwrap_or_default();
        if first == ERR && self.state != State::Packet {
            return Ok(Some(error(payload)));
        }
        match (self.state, first) {
            // caching_sha2_password: the proof is right, and the OK follows.
            (State::Packet, 1) if payload == [1, 3] => {}
            (State::Packet, _) => return Ok(Some(End::Packet(payload.to_vec()))),
            (State::Head, OK) => return Ok(Some(End::Ok)),
            (State::Head, _) => self.state = State::Definitions,
            (State::PrepareHead, OK) => {
                let &[_, a, b, c, d, columns, columns_high, params, params_high, ..] = payload else {
                    bail!("a short reply to a prepare");
                };
                let lists = u8::from(columns | columns_high > 0) + u8::from(params | params_high > 0);
                let id = u32::from_le_bytes([a, b, c, d]);
                if lists == 0 {
                    return Ok(Some(End::Prepared(id)));
                }
                self.state = State::Prepared(id, lists);
            }
            (State::Definitions, EOF) => self.state = State::Rows,
            (State::Rows, EOF) => return Ok(Some(End::Ok)),
            (State::Prepared(id, 1), EOF) => return Ok(Some(End::Prepared(id))),
            (State::Prepared(id, lists), EOF) => self.state = State::Prepared(id, lists - 1),
            (state, first) => bail!("a packet {first:#04x} where it cannot be ({state:?})"),
        }
        Ok(None)
    }
}

/// What an error packet says.
fn error(payload: &[u8]) -> End {
    let code = payload.get(1..3).and_then(|bytes| bytes.first_chunk()).map_or(0, |b| u16::from_le_bytes(*b));
    let text = payload.get(3..).unwrap_or_default();
    let text = if text.first() == Some(&b'#') { text.get(6..).unwrap_or_default() } else { text };
    End::Error(code, String::from_utf8_lossy(text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(payloads: &[&[u8]]) -> Vec<u8> {
        let mut all = Vec::new();
        for (at, payload) in payloads.iter().enumerate() {
            let seq = u8::try_from(at + 1).unwrap();
            all.extend_from_slice(&FrameHead { len: payload.len(), seq }.encode());
            all.extend_from_slice(payload);
        }
        all
    }

    fn rows() -> Vec<u8> {
        let eof: &[u8] = &[EOF, 0, 0, 2, 0];
        framed(&[&[1], b"definition", eof, b"\x05hello", b"\xfb", eof])
    }

    /// Fed in two pieces, cut at every place.
    #[track_caller]
    fn check(bytes: &[u8], expect: fn(&mut Follower), end: &End) {
        for cut in 0..bytes.len() {
            let mut follower = Follower::default();
            expect(&mut follower);
            let (front, back) = bytes.split_at(cut);
            let early = follower.feed(front).unwrap();
            assert_eq!(early, None, "cut at {cut}");
            assert_eq!(follower.feed(back).unwrap().as_ref(), Some(end), "cut at {cut}");
        }
    }

    #[test]
    fn replies_end_where_they_end_however_they_are_cut() {
        check(&rows(), Follower::expect_reply, &End::Ok);
        check(&framed(&[&[0, 0, 0, 2, 0, 0, 0]]), Follower::expect_reply, &End::Ok);
        let refused = End::Error(1146, "no such table".into());
        check(&framed(&[b"\xff\x7a\x04#42S02no such table"]), Follower::expect_reply, &refused);
        let eof: &[u8] = &[EOF, 0, 0, 2, 0];
        let prepared = framed(&[&[0, 7, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0], b"parameter", eof, b"column", eof]);
        check(&prepared, Follower::expect_prepared, &End::Prepared(7));
        check(&framed(&[b"\xffanything"]), Follower::expect_packet, &End::Packet(b"\xffanything".to_vec()));
    }

    #[test]
    fn an_error_among_rows_ends_them() {
        let eof: &[u8] = &[EOF, 0, 0, 2, 0];
        let bytes = framed(&[&[1], b"definition", eof, b"\x05hello", b"\xff\x25\x05#70100killed"]);
        check(&bytes, Follower::expect_reply, &End::Error(1317, "killed".into()));
    }

    #[test]
    fn bytes_behind_the_end_are_found() {
        let mut follower = Follower::default();
        follower.expect_reply();
        assert!(follower.feed(&[rows(), vec![1]].concat()).is_err());
    }
}
