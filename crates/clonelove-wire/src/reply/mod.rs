//! Following a server's reply to one command, without decoding it.
//!
//! [`ReplyTracker`] walks frame heads and says how many bytes may go to the client as they are. Only packets that
//! mean something to a proxy (OK, EOF, ERR, …) are looked at whole and come as an [`Event`]; rows and column
//! definitions are passed, big ones in pieces. It owns the shape of replies; what an event means for routing or
//! pooling is the caller's affair.
//!
//! The loop of a relay, for one command:
//!
//! ```text
//! scan(buf) -> Scan { pass, then }
//!   forward buf[..pass], drop it from buf
//!   then = More         read more bytes, scan again
//!          NeedWhole(n) read until buf holds n bytes, scan again
//!          Event        deal with buf[..used], drop it from buf; done if event.ends(), else scan again
//!          End          done
//! ```
//!
//! Sources: <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_command_phase.html>,
//! <https://mariadb.com/kb/en/4-server-response-packets/>.

use crate::frame::{FrameHead, HEADER, MAX_FRAME};
use crate::packet::auth::{AuthMore, AuthSwitch};
use crate::packet::eof::Eof;
use crate::packet::err::{self, Err as ErrPacket};
use crate::packet::ok::{self, Ok as OkPacket};
use crate::packet::prepare::PrepareOk;
use crate::read::Reader;
use crate::{Caps, Command, Malformed, Status};

/// The longest packet that is looked at whole, in bytes of payload.
pub const MAX_EVENT: usize = 1 << 20;

/// What [`ReplyTracker::scan`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scan {
    /// How many bytes at the front of the buffer are to be forwarded as they are.
    pub pass: usize,
    /// What comes after them.
    pub then: Then,
}

impl Scan {
    /// The frame of the event, head included, in the buffer that was scanned; empty without an event.
    #[must_use]
    pub fn event_frame<'b>(&self, buf: &'b [u8]) -> &'b [u8] {
        match self.then {
            Then::Event { used, .. } => {
                buf.get(self.pass..self.pass.saturating_add(used)).unwrap_or_default()
            }
            _ => &[],
        }
    }

    /// The payload of the event, in the buffer that was scanned; empty without an event.
    #[must_use]
    pub fn event_payload<'b>(&self, buf: &'b [u8]) -> &'b [u8] {
        self.event_frame(buf).get(HEADER..).unwrap_or_default()
    }
}

/// What comes after the bytes that may be passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Nothing that can be judged yet: read more.
    More,
    /// A packet that must be seen whole: that many bytes are needed, counted from `pass` on.
    NeedWhole(usize),
    /// A packet that means something.
    Event {
        /// What it means.
        event: Event,
        /// The bytes of its frame, head included, from `pass` on.
        used: usize,
    },
    /// The reply is over, and its last packet was passed (prepared definitions, COM_STATISTICS, no reply at all).
    End,
}

/// A packet that was looked at whole. The caller forwards it, re-encodes it, or keeps it to itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// An OK packet; [`ok::Ok::parse`] of [`Scan::event_payload`] has the rest of it.
    Ok {
        /// Its head: 0x00, or 0xFE after rows.
        head: u8,
        /// The session's status.
        status: Status,
        /// The number of warnings.
        warnings: u16,
        /// Whether it was the last packet of the reply.
        end: bool,
    },
    /// An EOF packet.
    Eof {
        /// The session's status.
        status: Status,
        /// The number of warnings.
        warnings: u16,
        /// What it ended.
        kind: EofKind,
        /// Whether it was the last packet of the reply.
        end: bool,
    },
    /// An ERR packet; it ends the reply always. [`err::Err::parse`] has its text.
    Err {
        /// The server's error number.
        code: u16,
        /// Whether it had the sequence number that was due. If not, the server spoke before it had read the
        /// whole command, or unasked, before it closes the connection.
        in_sequence: bool,
    },
    /// A progress report of MariaDB, meant for a client that negotiated them. The reply goes on.
    Progress,
    /// The server asks for a file. The client answers with packets of content and an empty one; then
    /// [`ReplyTracker::expect_sequence`], and the reply goes on.
    LocalInfile,
    /// A statement was prepared; definitions follow unless `end`.
    PrepareOk {
        /// The packet.
        prepared: PrepareOk,
        /// Whether it was the last packet of the reply.
        end: bool,
    },
    /// The server asks for another authentication, within COM_CHANGE_USER. The client answers with a packet; then
    /// [`ReplyTracker::expect_sequence`], and the reply goes on.
    AuthSwitch,
    /// Authentication goes on, within COM_CHANGE_USER. If the client has to answer:
    /// [`ReplyTracker::expect_sequence`] afterwards.
    AuthMore,
}

impl Event {
    /// Whether this was the last packet of the reply.
    #[must_use]
    pub fn ends(&self) -> bool {
        match self {
            Event::Ok { end, .. } | Event::Eof { end, .. } | Event::PrepareOk { end, .. } => *end,
            Event::Err { .. } => true,
            Event::Progress | Event::LocalInfile | Event::AuthSwitch | Event::AuthMore => false,
        }
    }
}

/// What an EOF packet ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EofKind {
    /// Column or parameter definitions.
    Definitions,
    /// Rows.
    Rows,
    /// Nothing: it answers a command by itself (COM_SET_OPTION, COM_DEBUG).
    Command,
}

/// The server broke the protocol; the connection to it cannot be used any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolFault {
    /// A sequence number was wrong.
    #[error("the server sent packet number {got} where {expected} was due")]
    Sequence {
        /// The number that was due.
        expected: u8,
        /// The number that came.
        got: u8,
    },
    /// A packet was malformed.
    #[error("the server sent a broken packet: {0}")]
    Malformed(#[from] Malformed),
    /// A packet that had to be seen whole was longer than [`MAX_EVENT`].
    #[error("the server sent a status packet of {0} bytes")]
    TooLarge(usize),
    /// A packet came that has no place there.
    #[error("the server sent a packet beginning with {first:#04x} in a reply to {command}, {place}")]
    Unexpected {
        /// The packet's first byte; 0 if it was empty.
        first: u8,
        /// [`Command::name`].
        command: &'static str,
        /// Where in the reply.
        place: &'static str,
    },
}

/// Follows one reply. See the module's documentation.
#[derive(Debug, Clone)]
pub struct ReplyTracker {
    command: Command,
    caps: Caps,
    state: State,
    /// The sequence number that is due.
    sequence: u8,
    /// How many bytes of a frame whose front was passed are still to come.
    partial: usize,
    /// Whether the next frame continues the packet of the frame before.
    continues: bool,
    /// Whether no packet came yet since it was the server's turn.
    fresh: bool,
    started: bool,
    /// Rows passed since the last that were taken.
    rows: u64,
    /// The rows are the out parameters of a procedure, behind which its OK packet comes.
    out_params: bool,
}

/// Where in a reply we are: what the next packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The first packet of a result.
    Head,
    /// Definitions: that many are still to come.
    Definitions(u64, After),
    /// The EOF packet that ends definitions.
    DefinitionsEnd(After),
    /// Rows, or what ends them.
    Rows,
    /// Nothing: the reply is over.
    Done,
}

/// What follows definitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    /// The rows of a result set.
    Rows,
    /// The definitions of that many columns of a prepared statement.
    Columns(u16),
    /// The end of the definitions of columns, which are left out.
    ColumnsLeftOut,
    /// Nothing.
    Nothing,
}

/// What is to be done with the frame at hand.
enum Judgement {
    /// It goes to the client as it is; the state goes on to this one.
    Pass(State),
    /// It must be looked at whole.
    Whole,
}

impl ReplyTracker {
    /// Follows the reply to `command` on a connection that negotiated `caps` with its server.
    #[must_use]
    pub fn new(command: Command, caps: Caps) -> Self {
        let state = match command {
            _ if !command.has_reply() => State::Done,
            Command::StmtFetch | Command::FieldList | Command::BinlogDump | Command::BinlogDumpGtid => {
                State::Rows
            }
            _ => State::Head,
        };
        ReplyTracker {
            command,
            caps,
            state,
            sequence: 1,
            partial: 0,
            continues: false,
            fresh: true,
            started: false,
            rows: 0,
            out_params: false,
        }
    }

    /// How many rows were passed since this was last asked. At the end of a result set: its rows.
    pub fn take_rows(&mut self) -> u64 {
        std::mem::take(&mut self.rows)
    }

    /// Says which sequence number the server's next packet will have: after a command of several frames, and
    /// after the client answered a [`Event::LocalInfile`] or an authentication packet. One more than the number of
    /// the last frame that went to the server.
    pub fn expect_sequence(&mut self, next: u8) {
        self.sequence = next;
        self.fresh = true;
    }

    /// The sequence number that is due.
    #[must_use]
    pub fn sequence(&self) -> u8 {
        self.sequence
    }

    /// Whether the reply is over.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done && self.partial == 0 && !self.continues
    }

    /// Whether anything of the reply was given out, other than an ERR packet or progress reports: from then on a
    /// statement cannot be tried elsewhere.
    #[must_use]
    pub fn started(&self) -> bool {
        self.started
    }

    /// Whether the front of a frame was passed whose rest is still to come: nothing else may be sent to the
    /// client in between.
    #[must_use]
    pub fn mid_packet(&self) -> bool {
        self.partial > 0 || self.continues
    }

    /// Looks at `buf`, the bytes that were not forwarded yet. Says how much of its front may be forwarded as it is,
    /// and what comes then. Bytes after the end are not looked at: they belong to the next reply, if commands were
    /// pipelined.
    pub fn scan(&mut self, buf: &[u8]) -> Result<Scan, ProtocolFault> {
        let mut pass = 0;
        let then = loop {
            let Some(rest) = self.finish_frame(buf, &mut pass) else {
                break Then::More;
            };
            if self.is_done() {
                break Then::End;
            }
            let rest = self.pass_rows(rest, &mut pass);
            let Some(head) = FrameHead::parse(rest) else {
                break Then::More;
            };
            // An empty frame has no first byte, though bytes of the next frame may lie there.
            let first = if head.len == 0 { None } else { rest.get(HEADER).copied() };
            if first.is_none() && head.len > 0 {
                break Then::More;
            }
            let in_sequence = head.seq == self.sequence;
            let excused = self.fresh && !self.continues && first == Some(err::HEAD);
            if !in_sequence && !excused {
                return Err(ProtocolFault::Sequence { expected: self.sequence, got: head.seq });
            }
            match self.judge(first, head.len)? {
                Judgement::Pass(next) => self.begin_frame(head, next),
                Judgement::Whole if head.len > MAX_EVENT => return Err(ProtocolFault::TooLarge(head.len)),
                Judgement::Whole => {
                    let Some(frame) = rest.get(..head.whole()) else {
                        break Then::NeedWhole(head.whole());
                    };
                    let payload = frame.get(HEADER..).unwrap_or_default();
                    match self.event(payload, in_sequence)? {
                        Some(event) => break Then::Event { event, used: head.whole() },
                        None => self.begin_frame(head, self.state),
                    }
                }
            }
        };
        self.started |= pass > 0;
        Ok(Scan { pass, then })
    }

    /// Passes what is left of the frame at hand. `None` if it does not end in `buf`, else what follows it.
    #[inline]
    fn finish_frame<'b>(&mut self, buf: &'b [u8], pass: &mut usize) -> Option<&'b [u8]> {
        let rest = buf.get(*pass..).unwrap_or_default();
        if self.partial > rest.len() {
            *pass = buf.len();
            self.partial = self.partial.saturating_sub(rest.len());
            return None;
        }
        *pass = pass.saturating_add(self.partial);
        let after = rest.get(self.partial..);
        self.partial = 0;
        after
    }

    /// Passes the rows at the front of `rest` that are whole and plainly rows; gives what follows them. All else is
    /// judged one by one, and would judge these the same: this is the short way for what is nearly all of a reply.
    #[inline]
    fn pass_rows<'b>(&mut self, rest: &'b [u8], pass: &mut usize) -> &'b [u8] {
        if self.state != State::Rows || self.continues {
            return rest;
        }
        // In registers, not in `self`, while the loop runs.
        let (mut left, mut sequence, mut rows) = (rest, self.sequence, 0_u64);
        while let Some(head) = FrameHead::parse(left) {
            let Some((frame, after)) = left.split_at_checked(head.whole()) else {
                break;
            };
            let plain = frame.get(HEADER).is_some_and(|first| *first < ok::HEAD_AFTER_ROWS);
            if !plain || head.len == MAX_FRAME || head.seq != sequence {
                break;
            }
            sequence = sequence.wrapping_add(1);
            rows = rows.wrapping_add(1);
            left = after;
        }
        self.sequence = sequence;
        self.fresh &= rows == 0;
        self.rows = self.rows.wrapping_add(rows);
        *pass = pass.saturating_add(rest.len().saturating_sub(left.len()));
        left
    }

    /// Takes a frame to be passed, head and all.
    #[inline]
    fn begin_frame(&mut self, head: FrameHead, next: State) {
        if self.state == State::Rows && !self.continues {
            self.rows = self.rows.wrapping_add(1);
        }
        self.partial = head.whole();
        self.continues = head.len == MAX_FRAME;
        self.sequence = self.sequence.wrapping_add(1);
        self.fresh = false;
        self.state = next;
    }

    /// What to do with a frame that begins with `first` (`None` if it is empty).
    #[inline]
    fn judge(&self, first: Option<u8>, len: usize) -> Result<Judgement, ProtocolFault> {
        if self.continues {
            return Ok(Judgement::Pass(self.state));
        }
        // A packet of several frames is data, whatever it begins with: 0xFE may be a long column's length.
        let status_packet = len < MAX_FRAME;
        match (self.state, first) {
            (State::Rows, Some(err::HEAD)) if status_packet => Ok(Judgement::Whole),
            (State::Rows, Some(ok::HEAD_AFTER_ROWS)) if self.ends_rows(len) => Ok(Judgement::Whole),
            (State::Rows, _) => Ok(Judgement::Pass(State::Rows)),
            (State::Definitions(..), Some(err::HEAD)) if status_packet => Ok(Judgement::Whole),
            (State::Definitions(left, after), Some(_)) => {
                Ok(Judgement::Pass(self.after_definition(left, after)))
            }
            (State::DefinitionsEnd(_) | State::Head, Some(_)) => self.judge_head(first, len),
            (state, _) => Err(self.unexpected(first, state)),
        }
    }

    fn judge_head(&self, first: Option<u8>, len: usize) -> Result<Judgement, ProtocolFault> {
        if self.command == Command::Statistics && first != Some(err::HEAD) && len < MAX_FRAME {
            return Ok(Judgement::Pass(State::Done));
        }
        Ok(Judgement::Whole)
    }

    /// Whether a packet that begins with 0xFE, among rows, is what ends them.
    #[inline]
    fn ends_rows(&self, len: usize) -> bool {
        if self.caps.contains(Caps::DEPRECATE_EOF) { len < MAX_FRAME } else { len < EOF_BOUND }
    }

    /// The state after one of `left` definitions.
    fn after_definition(&self, left: u64, after: After) -> State {
        match left.saturating_sub(1) {
            0 if self.caps.contains(Caps::DEPRECATE_EOF) => self.after_definitions(after),
            0 => State::DefinitionsEnd(after),
            left => State::Definitions(left, after),
        }
    }

    fn after_definitions(&self, after: After) -> State {
        match after {
            After::Rows => State::Rows,
            After::Columns(0) | After::Nothing => State::Done,
            After::Columns(count) => State::Definitions(count.into(), After::Nothing),
            After::ColumnsLeftOut => State::DefinitionsEnd(After::Nothing),
        }
    }

    /// Understands a whole packet. `None` if it goes to the client as it is; the state was changed then.
    fn event(&mut self, payload: &[u8], in_sequence: bool) -> Result<Option<Event>, ProtocolFault> {
        let first = payload.first().copied();
        let event = match (self.state, first) {
            (_, Some(err::HEAD)) => self.error(payload, in_sequence)?,
            (State::Rows, _) => self.end_of(payload, EofKind::Rows)?,
            (State::DefinitionsEnd(after), Some(ok::HEAD_AFTER_ROWS)) => {
                self.end_of_definitions(payload, after)?
            }
            (State::Head, Some(_)) => match self.head(payload)? {
                Some(event) => event,
                None => return Ok(None),
            },
            (state, _) => return Err(self.unexpected(first, state)),
        };
        self.sequence = self.sequence.wrapping_add(1);
        self.fresh = false;
        self.started |= !matches!(event, Event::Err { .. } | Event::Progress);
        if event.ends() {
            self.state = State::Done;
        }
        Ok(Some(event))
    }

    /// Understands the first packet of a result.
    fn head(&mut self, payload: &[u8]) -> Result<Option<Event>, ProtocolFault> {
        let first = payload.first().copied();
        let event = match (self.command, first) {
            (Command::StmtPrepare, Some(0)) => self.prepared(PrepareOk::parse(payload, self.caps)?),
            (Command::StmtPrepare, _) => return Err(self.unexpected(first, State::Head)),
            (Command::ChangeUser, Some(AuthSwitch::HEAD)) => Event::AuthSwitch,
            (Command::ChangeUser, Some(AuthMore::HEAD)) => Event::AuthMore,
            (_, Some(ok::HEAD)) => self.ok(payload)?,
            (_, Some(ok::HEAD_AFTER_ROWS)) => self.end_of(payload, EofKind::Command)?,
            (Command::ChangeUser, _) => return Err(self.unexpected(first, State::Head)),
            (_, Some(LOCAL_INFILE)) => Event::LocalInfile,
            _ => {
                self.state = self.column_count(payload)?;
                return Ok(None);
            }
        };
        Ok(Some(event))
    }

    fn column_count(&self, payload: &[u8]) -> Result<State, ProtocolFault> {
        let mut reader = Reader::new(payload, "column count");
        let columns = reader.lenenc_int()?;
        let optional = self.caps.intersects(Caps::OPTIONAL_RESULTSET_METADATA | Caps::CACHE_METADATA);
        let follow = !optional || reader.is_empty() || reader.u8()? != 0;
        if !reader.is_empty() {
            return Err(reader.malformed("it is too long").into());
        }
        Ok(match follow {
            true => State::Definitions(columns, After::Rows),
            false if self.caps.contains(Caps::DEPRECATE_EOF) => State::Rows,
            false => State::DefinitionsEnd(After::Rows),
        })
    }

    fn prepared(&mut self, prepared: PrepareOk) -> Event {
        let PrepareOk { params, columns, definitions, .. } = prepared;
        self.state = match (params, columns) {
            (0, 0) => State::Done,
            (0, columns) if definitions => State::Definitions(columns.into(), After::Nothing),
            (params, columns) if definitions => State::Definitions(params.into(), After::Columns(columns)),
            // Definitions that are left out have their EOF packets all the same, contrary to the documentation.
            _ if self.caps.contains(Caps::DEPRECATE_EOF) => State::Done,
            (0, _) | (_, 0) => State::DefinitionsEnd(After::Nothing),
            _ => State::DefinitionsEnd(After::ColumnsLeftOut),
        };
        Event::PrepareOk { prepared, end: self.state == State::Done }
    }

    fn ok(&mut self, payload: &[u8]) -> Result<Event, ProtocolFault> {
        let OkPacket { status, warnings, .. } = OkPacket::parse(payload, self.caps)?;
        let end = self.next_result(status);
        let head = payload.first().copied().unwrap_or_default();
        Ok(Event::Ok { head, status, warnings, end })
    }

    /// An EOF packet, or the OK packet that stands in its place; told apart by length.
    fn end_of(&mut self, payload: &[u8], kind: EofKind) -> Result<Event, ProtocolFault> {
        if payload.len() > EOF {
            return self.ok(payload);
        }
        let Eof { status, warnings } = Eof::parse(payload)?;
        let end = self.next_result(status);
        Ok(Event::Eof { status, warnings, kind, end })
    }

    fn end_of_definitions(&mut self, payload: &[u8], after: After) -> Result<Event, ProtocolFault> {
        let Eof { status, warnings } = Eof::parse(payload)?;
        self.state = self.after_definitions(after);
        // MySQL says so before the rows only.
        self.out_params = status.contains(Status::PS_OUT_PARAMS | Status::MORE_RESULTS);
        // An open cursor's rows come by COM_STMT_FETCH; nothing but the definitions comes now.
        if after == After::Rows && self.command == Command::StmtExecute && status.opens_cursor() {
            self.state = State::Done;
        }
        let end = self.state == State::Done;
        Ok(Event::Eof { status, warnings, kind: EofKind::Definitions, end })
    }

    /// Goes on to the next result if there is one; else the reply is over, and this is `true`.
    fn next_result(&mut self, status: Status) -> bool {
        let more = std::mem::take(&mut self.out_params) && self.state == State::Rows;
        let end = !more && !status.contains(Status::MORE_RESULTS);
        self.state = if end { State::Done } else { State::Head };
        end
    }

    fn error(&self, payload: &[u8], in_sequence: bool) -> Result<Event, ProtocolFault> {
        let ErrPacket { code, .. } = ErrPacket::parse(payload)?;
        let reports = self.caps.intersects(Caps::PROGRESS | Caps::PROGRESS_OBSOLETE);
        if code == err::PROGRESS && reports && in_sequence {
            return Ok(Event::Progress);
        }
        Ok(Event::Err { code, in_sequence })
    }

    fn unexpected(&self, first: Option<u8>, state: State) -> ProtocolFault {
        let place = match state {
            State::Head => "at its beginning",
            State::Definitions(..) => "among the definitions",
            State::DefinitionsEnd(_) => "after the definitions",
            State::Rows => "among the rows",
            State::Done => "after its end",
        };
        ProtocolFault::Unexpected { first: first.unwrap_or_default(), command: self.command.name(), place }
    }
}

/// The head of the packet that asks for a file.
const LOCAL_INFILE: u8 = 0xFB;
/// The length of an EOF packet's payload.
const EOF: usize = 5;
/// A packet that begins with 0xFE is an EOF packet only if it is shorter than this.
const EOF_BOUND: usize = 9;

#[cfg(test)]
mod tests;
