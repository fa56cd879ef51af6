//! The binary log as a server sends it to its replicas: from the bytes of events to what they say was written.
//!
//! Owns the shape of events, of both families of servers, and what of it a follower needs: positions, tables, the
//! values of integer and text columns, statements. Everything else is passed over by its type, and what has no known
//! type, or not the shape of its type, is [`Event::Unknown`], which may have written anything. No event makes it
//! keep more than [`MOST_KEPT`] bytes. It knows no positions' algebra and no SQL.
//!
//! Sources: <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_replication.html>,
//! <https://mariadb.com/docs/server/reference/clientserver-protocol/replication-protocol>.

pub mod dump;
mod gtid;
mod packed;
mod query;
mod rows;
mod table;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use flate2::Crc;

use crate::Malformed;
use crate::read::Reader;

pub use gtid::{Gtid, MariaDbGtid, MySqlGtid};
pub use query::Query;
pub use rows::{Cell, Change, Changes, Image, Integer, Rows, Value};
pub use table::TableMap;

/// The length of what every event begins with.
pub const HEADER: usize = 19;
/// What of table maps is kept at a time; more are forgotten, and their rows are of unknown tables.
pub const MOST_KEPT: usize = 16 << 20;
/// What a packed statement or rows may unpack to.
const MOST_UNPACKED: usize = 64 << 20;
const CHECKSUM: usize = 4;
/// A flag of events that may be passed over by who does not know them.
const IGNORABLE: u16 = 0x80;

/// What an event says.
#[derive(Debug, Clone, PartialEq)]
pub enum Event<'a> {
    /// A group of events begins that is committed together under this position; `None`: it has none.
    Gtid(Option<Gtid>),
    /// A statement: one that was logged as such, or one that begins or ends a group.
    Query(Query<'a>),
    /// Rows were written.
    Rows(Rows<'a>),
    /// The group is committed.
    Commit,
    /// The group is prepared as a branch of an XA transaction; with `one_phase` it is committed.
    XaPrepare {
        /// XA COMMIT … ONE PHASE.
        one_phase: bool,
        /// The transaction's name, as the server writes it in XA COMMIT and XA ROLLBACK, in lower case:
        /// `x'61',x'',1`.
        xid: String,
    },
    /// Nothing was written; the server lives.
    Heartbeat,
    /// The server may have failed to log something.
    Incident,
    /// It is not known what it says, or it was cut: anything may have been written.
    Unknown(u8),
}

/// Reads the events of one stream, in their order.
#[derive(Debug, Default)]
pub struct Decoder {
    begun: bool,
    checksums: bool,
    tables: Tables,
}

/// The table maps in force.
#[derive(Debug, Default)]
struct Tables {
    by_id: HashMap<u64, Arc<TableMap>>,
    bytes: usize,
}

/// What every event begins with.
#[derive(Debug, Clone, Copy)]
struct Header {
    kind: u8,
    server: u32,
    size: usize,
    flags: u16,
}

impl Decoder {
    /// For a stream from its begin.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads one event and hands on what it says: nothing, once, or, for a packed transaction, many times. `whole` is
    /// false for an event of which only the begin is at hand.
    ///
    /// # Errors
    /// [`Malformed`] when its bytes are damaged, or it is of those without which the stream is not understood: its
    /// format and the positions.
    pub fn event(
        &mut self,
        bytes: &[u8],
        whole: bool,
        sink: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Malformed> {
        let header = Header::read(bytes)?;
        if whole && header.size != bytes.len() {
            return Err(malformed("its length is not what it says"));
        }
        let body = bytes.get(HEADER..).unwrap_or_default();
        if header.kind == kind::FORMAT_DESCRIPTION {
            return self.format(body);
        }
        if !self.begun {
            // The name of the file, and nothing else, is said before the format.
            return Ok(());
        }
        let body = if self.checksums && whole { checked(bytes)? } else { body };
        self.body(header, body, whole, sink)
    }

    /// The event that says how the others are to be read.
    fn format(&mut self, body: &[u8]) -> Result<(), Malformed> {
        let mut reader = Reader::new(body, "format description event");
        let version = reader.u16()?;
        let _server = reader.bytes(50)?;
        let _created = reader.u32()?;
        let header = reader.u8()?;
        let rest = reader.rest();
        let algorithm_at = rest.len().checked_sub(CHECKSUM.saturating_add(1));
        let (lengths, algorithm) = algorithm_at
            .and_then(|at| Some((rest.get(..at)?, *rest.get(at)?)))
            .ok_or_else(|| reader.malformed("it does not say how events are checked"))?;
        if version != 4 || usize::from(header) != HEADER {
            return Err(reader.malformed("events of another version"));
        }
        let shapes =
            [(kind::QUERY, 13), (kind::TABLE_MAP, 8), (kind::WRITE_ROWS_V1, 8), (kind::WRITE_ROWS, 10)];
        for (kind, length) in shapes {
            // Those that the server does not know have no length.
            let said = lengths.get(usize::from(kind).saturating_sub(1));
            if said.is_some_and(|said| ![0, length].contains(said)) {
                return Err(reader.malformed("events of another shape"));
            }
        }
        if algorithm > 1 {
            return Err(reader.malformed("an unknown checksum"));
        }
        self.begun = true;
        self.checksums = algorithm == 1;
        self.tables = Tables::default();
        Ok(())
    }

    fn body(
        &mut self,
        header: Header,
        body: &[u8],
        whole: bool,
        sink: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Malformed> {
        match header.kind {
            kind::GTID => sink(Event::Gtid(Some(gtid::mysql(body)?))),
            kind::GTID_TAGGED => sink(Event::Gtid(Some(gtid::mysql_tagged(body)?))),
            kind::MARIADB_GTID => sink(Event::Gtid(Some(gtid::mariadb(header.server, body)?))),
            kind::ANONYMOUS_GTID => sink(Event::Gtid(None)),
            kind::XID => sink(Event::Commit),
            kind::HEARTBEAT | kind::HEARTBEAT_V2 => sink(Event::Heartbeat),
            kind::INCIDENT => sink(Event::Incident),
            kind::ROTATE => self.tables = Tables::default(),
            kind if kind::WITHOUT_WRITES.contains(&kind) => {}
            kind => {
                // Not to know what was written is no reason to stop.
                if self.writes(kind, body, whole, sink).is_err() && header.flags & IGNORABLE == 0 {
                    sink(Event::Unknown(kind));
                }
            }
        }
        Ok(())
    }

    /// The events that say what was written.
    fn writes(
        &mut self,
        kind: u8,
        body: &[u8],
        whole: bool,
        sink: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Malformed> {
        if let Some(shape) = rows::Shape::of(kind) {
            return self.rows(shape, body, whole, sink);
        }
        if !whole {
            return Err(malformed("it is too long"));
        }
        match kind {
            kind::TABLE_MAP => {
                let (id, table) = table::TableMap::read(body)?;
                self.tables.keep(id, table);
            }
            kind::QUERY => sink(Event::Query(query::read(body, query::Shape::Plain)?)),
            kind::EXECUTE_LOAD_QUERY => sink(Event::Query(query::read(body, query::Shape::Load)?)),
            kind::QUERY_COMPRESSED => {
                let query = query::read(body, query::Shape::Plain)?;
                let text = packed::mariadb(query.text, MOST_UNPACKED)?;
                sink(Event::Query(Query { text: &text, ..query }));
            }
            kind::XA_PREPARE => {
                let (one_phase, xid) = query::xa_prepare(body)?;
                sink(Event::XaPrepare { one_phase, xid });
            }
            kind::TRANSACTION_PAYLOAD => self.payload(body, sink)?,
            _ => return Err(malformed("it is of an unknown type")),
        }
        Ok(())
    }

    fn rows(
        &mut self,
        shape: rows::Shape,
        body: &[u8],
        whole: bool,
        sink: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Malformed> {
        let head = shape.head(body)?;
        let table = self.tables.by_id.get(&head.table).cloned();
        let unpacked;
        let images = match (whole, shape.packed) {
            (false, _) => None,
            (true, false) => Some(head.images),
            (true, true) => {
                unpacked = packed::mariadb(head.images, MOST_UNPACKED).ok();
                unpacked.as_deref()
            }
        };
        sink(Event::Rows(Rows::new(table, shape, head, images)));
        if head.ends_statement {
            self.tables = Tables::default();
        }
        Ok(())
    }

    /// A whole transaction, packed.
    fn payload(&mut self, body: &[u8], sink: &mut dyn FnMut(Event<'_>)) -> Result<(), Malformed> {
        let mut payload = packed::Payload::open(body)?;
        while let Some((event, whole)) = payload.next_event()? {
            let header = Header::read(event)?;
            let body = event.get(HEADER..).unwrap_or_default();
            if header.kind == kind::TRANSACTION_PAYLOAD {
                return Err(malformed("a packed transaction within another"));
            }
            self.body(header, body, whole, sink)?;
        }
        Ok(())
    }
}

impl Tables {
    fn keep(&mut self, id: u64, table: TableMap) {
        let bytes = self.bytes.saturating_add(table.size());
        if bytes > MOST_KEPT {
            self.by_id.remove(&id);
            return;
        }
        self.bytes = bytes;
        self.by_id.insert(id, Arc::new(table));
    }
}

impl Header {
    fn read(bytes: &[u8]) -> Result<Header, Malformed> {
        let mut reader = Reader::new(bytes, EVENT);
        let _when = reader.u32()?;
        let kind = reader.u8()?;
        let server = reader.u32()?;
        let size = reader.u32()?;
        let _position = reader.u32()?;
        let flags = reader.u16()?;
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if size < HEADER {
            return Err(malformed("it is shorter than its own header"));
        }
        Ok(Header { kind, server, size, flags })
    }
}

/// How long the whole event is whose begin this is, if that much of it is there.
#[must_use]
pub fn size_of_event(begin: &[u8]) -> Option<usize> {
    let size = begin.get(9..13)?.first_chunk::<4>()?;
    usize::try_from(u32::from_le_bytes(*size)).ok()
}

const EVENT: &str = "binlog event";

fn malformed(what: &'static str) -> Malformed {
    Malformed { packet: EVENT, what }
}

/// The body of an event that ends in a checksum, if that is right.
fn checked(bytes: &[u8]) -> Result<&[u8], Malformed> {
    let (content, sum) =
        bytes.split_last_chunk::<CHECKSUM>().ok_or_else(|| malformed("it has no checksum"))?;
    let mut crc = Crc::new();
    crc.update(content);
    if crc.sum() != u32::from_le_bytes(*sum) {
        return Err(malformed("its checksum is wrong"));
    }
    content.get(HEADER..).ok_or_else(|| malformed("it ends too early"))
}

/// The types of events, by the names that servers give them.
mod kind {
    pub(super) const QUERY: u8 = 2;
    pub(super) const ROTATE: u8 = 4;
    pub(super) const FORMAT_DESCRIPTION: u8 = 15;
    pub(super) const XID: u8 = 16;
    pub(super) const EXECUTE_LOAD_QUERY: u8 = 18;
    pub(super) const TABLE_MAP: u8 = 19;
    pub(super) const WRITE_ROWS_V1: u8 = 23;
    pub(super) const INCIDENT: u8 = 26;
    pub(super) const HEARTBEAT: u8 = 27;
    pub(super) const WRITE_ROWS: u8 = 30;
    pub(super) const GTID: u8 = 33;
    pub(super) const ANONYMOUS_GTID: u8 = 34;
    pub(super) const XA_PREPARE: u8 = 38;
    pub(super) const TRANSACTION_PAYLOAD: u8 = 40;
    pub(super) const HEARTBEAT_V2: u8 = 41;
    pub(super) const GTID_TAGGED: u8 = 42;
    pub(super) const MARIADB_GTID: u8 = 162;
    pub(super) const QUERY_COMPRESSED: u8 = 165;

    /// STOP, INTVAR, APPEND_BLOCK, DELETE_FILE, RAND, USER_VAR, BEGIN_LOAD_QUERY, IGNORABLE, ROWS_QUERY,
    /// PREVIOUS_GTIDS, TRANSACTION_CONTEXT, VIEW_CHANGE; MariaDB's ANNOTATE_ROWS, BINLOG_CHECKPOINT, GTID_LIST,
    /// START_ENCRYPTION (events are decrypted before they are sent).
    pub(super) const WITHOUT_WRITES: [u8; 16] =
        [3, 5, 9, 11, 13, 14, 17, 28, 29, 35, 36, 37, 160, 161, 163, 164];
}
