//! Replies to the proxy's own statements, read whole. Owns a small reader of text rows for a handful
//! of short answers; the replies that clients get never pass here.

use std::sync::Arc;

use bytes::Buf;
use clonelove_wire::frame::{Look, look_packet, write_packet};
use clonelove_wire::packet::eof::Eof;
use clonelove_wire::packet::err::Err as ErrPacket;
use clonelove_wire::packet::ok::Ok as OkPacket;
use clonelove_wire::read::Reader;
use clonelove_wire::{Caps, Command, Malformed, Status};
use mysql_common::constants::ColumnType;

use crate::error::{Fault, ServerFault};
use crate::net::Buffered;

/// More than this in one answer to the proxy itself is a fault.
const LARGEST: usize = 16 * 1024 * 1024;

/// More than this in an answer that grows with what the server holds.
const LARGEST_LONG: usize = 512 * 1024 * 1024;

/// An answer to one of the proxy's own statements.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// OK; the schema it reported, if it did.
    Ok,
    /// Rows of text.
    Rows(Rows),
    /// The server refused.
    Err { code: u16, state: [u8; 5], message: String },
}

/// A text result set.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rows {
    pub(crate) columns: Vec<String>,
    /// Which of them are numbers.
    pub(crate) numeric: Vec<bool>,
    pub(crate) rows: Vec<Vec<Option<String>>>,
}

/// A request of one command, framed, for a connection that negotiated `caps`.
pub(crate) fn request(command: Command, body: &[u8], caps: Caps) -> bytes::BytesMut {
    /// No attributes, in one set.
    const NO_ATTRIBUTES: [u8; 2] = [0, 1];
    let mut payload = Vec::with_capacity(body.len().saturating_add(3));
    payload.push(command.as_byte());
    if command == Command::Query && caps.contains(Caps::QUERY_ATTRIBUTES) {
        payload.extend_from_slice(&NO_ATTRIBUTES);
    }
    payload.extend_from_slice(body);
    let mut out = bytes::BytesMut::with_capacity(payload.len().saturating_add(4));
    write_packet(&mut out, 0, &payload);
    out
}

/// Reads one packet; `seq` is the number it must have, and is moved on.
pub(crate) async fn read_packet(
    io: &mut Buffered,
    server: &Arc<str>,
    seq: &mut u8,
) -> Result<Vec<u8>, ServerFault> {
    loop {
        let (payload, used, last) = match look_packet(&io.input, Some(*seq), LARGEST) {
            Look::Packet { payload, used, seq_last, .. } => (payload.into_owned(), used, seq_last),
            Look::Need(_) => {
                if io.fill().await.map_err(|error| ServerFault::lost(server, &error))? == 0 {
                    return Err(ServerFault::new(server, Fault::ServerLost, "it closed the connection"));
                }
                continue;
            }
            Look::TooLarge(..) => {
                return Err(ServerFault::new(server, Fault::ServerProtocol, "an answer too large"));
            }
            _ => return Err(ServerFault::new(server, Fault::ServerProtocol, "a packet out of sequence")),
        };
        io.input.advance(used);
        *seq = last.wrapping_add(1);
        return Ok(payload);
    }
}

/// Reads the whole answer to one statement or command of the proxy's own.
pub(crate) async fn read_reply(
    io: &mut Buffered,
    server: &Arc<str>,
    caps: Caps,
) -> Result<Reply, ServerFault> {
    read_reply_up_to(LARGEST, io, server, caps).await
}

/// The same for an answer that may be long: a list of all that a server holds.
pub(crate) async fn read_long_reply(
    io: &mut Buffered,
    server: &Arc<str>,
    caps: Caps,
) -> Result<Reply, ServerFault> {
    read_reply_up_to(LARGEST_LONG, io, server, caps).await
}

async fn read_reply_up_to(
    largest: usize,
    io: &mut Buffered,
    server: &Arc<str>,
    caps: Caps,
) -> Result<Reply, ServerFault> {
    let malformed = |error: Malformed| ServerFault::new(server, Fault::ServerProtocol, error);
    let mut seq = 1;
    io.expect(seq);
    let mut first = read_packet(io, server, &mut seq).await?;
    while is_progress(&first, caps) {
        first = read_packet(io, server, &mut seq).await?;
    }
    let (columns, defined) = match first.first() {
        Some(0x00) => {
            OkPacket::parse(&first, caps).map_err(malformed)?;
            return Ok(Reply::Ok);
        }
        // The answer to COM_SET_OPTION: no result has so many columns.
        Some(0xFE) => return Ok(Reply::Ok),
        Some(0xFF) => return refusal(&first).map_err(malformed),
        Some(_) => column_count(&first, caps).map_err(malformed)?,
        None => return Err(ServerFault::new(server, Fault::ServerProtocol, "an empty packet")),
    };
    let mut rows = Rows::default();
    if !defined {
        rows.columns = vec![String::new(); columns];
        rows.numeric = vec![false; columns];
    }
    for _ in 0..if defined { columns } else { 0 } {
        let definition = read_packet(io, server, &mut seq).await?;
        let (name, numeric) = column(&definition, caps).map_err(malformed)?;
        rows.columns.push(name);
        rows.numeric.push(numeric);
    }
    if !caps.contains(Caps::DEPRECATE_EOF) {
        read_packet(io, server, &mut seq).await?;
    }
    let mut total = 0_usize;
    loop {
        let packet = read_packet(io, server, &mut seq).await?;
        match packet.first() {
            Some(0xFE) if packet.len() < 9 || caps.contains(Caps::DEPRECATE_EOF) => {
                let status = end_of_rows(&packet, caps).map_err(malformed)?;
                if status.contains(Status::MORE_RESULTS) {
                    // What is not read would be taken for the answer to the next one.
                    let detail = "several results to one statement of our own";
                    return Err(ServerFault::new(server, Fault::ServerProtocol, detail));
                }
                return Ok(Reply::Rows(rows));
            }
            Some(0xFF) if is_progress(&packet, caps) => continue,
            Some(0xFF) => return refusal(&packet).map_err(malformed),
            _ => {}
        }
        total = total.saturating_add(packet.len());
        if total > largest {
            return Err(ServerFault::new(server, Fault::ServerProtocol, "an answer too large"));
        }
        rows.rows.push(text_row(&packet, rows.columns.len()).map_err(malformed)?);
    }
}

fn end_of_rows(packet: &[u8], caps: Caps) -> Result<Status, Malformed> {
    if caps.contains(Caps::DEPRECATE_EOF) {
        OkPacket::parse(packet, caps).map(|ok| ok.status)
    } else {
        Eof::parse(packet).map(|eof| eof.status)
    }
}

/// How many columns there are, and whether their definitions follow.
fn column_count(packet: &[u8], caps: Caps) -> Result<(usize, bool), Malformed> {
    let mut reader = Reader::new(packet, "column count");
    let count = reader.lenenc_int()?;
    let count = usize::from(u16::try_from(count).map_err(|_| reader.malformed("too many columns"))?);
    let left_out =
        caps.contains(Caps::OPTIONAL_RESULTSET_METADATA) && !reader.is_empty() && reader.u8()? == 0;
    Ok((count, !left_out))
}

/// A report of how far a long statement is, which looks like an error.
fn is_progress(packet: &[u8], caps: Caps) -> bool {
    caps.contains(Caps::PROGRESS) && packet.starts_with(&[0xFF, 0xFF, 0xFF])
}

fn refusal(packet: &[u8]) -> Result<Reply, Malformed> {
    let err = ErrPacket::parse(packet)?;
    Ok(Reply::Err { code: err.code, state: err.state, message: err.text().into_owned() })
}

/// A column's name, and whether it holds numbers.
fn column(definition: &[u8], caps: Caps) -> Result<(String, bool), Malformed> {
    let mut reader = Reader::new(definition, "column definition");
    for _catalog_schema_table_original in 0..4 {
        reader.lenenc_bytes()?;
    }
    let name = String::from_utf8_lossy(reader.lenenc_bytes()?).into_owned();
    reader.lenenc_bytes()?;
    if caps.contains(Caps::EXTENDED_TYPES) {
        reader.lenenc_bytes()?;
    }
    // Behind the length of what follows: character set and display length.
    reader.lenenc_int()?;
    reader.u16()?;
    reader.u32()?;
    let kind = ColumnType::try_from(reader.u8()?);
    Ok((name, kind.is_ok_and(|kind| kind.is_numeric_type())))
}

fn text_row(packet: &[u8], columns: usize) -> Result<Vec<Option<String>>, Malformed> {
    let mut reader = Reader::new(packet, "row");
    let mut row = Vec::with_capacity(columns);
    for _ in 0..columns {
        if reader.peek() == Some(0xFB) {
            reader.u8()?;
            row.push(None);
        } else {
            row.push(Some(String::from_utf8_lossy(reader.lenenc_bytes()?).into_owned()));
        }
    }
    Ok(row)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::UnixStream;

    use super::*;
    use crate::net::Stream;

    async fn answer(payloads: &[&[u8]], caps: Caps) -> Result<Reply, ServerFault> {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut out = bytes::BytesMut::new();
        for (at, payload) in payloads.iter().enumerate() {
            write_packet(&mut out, u8::try_from(at + 1).unwrap(), payload);
        }
        theirs.write_all(&out).await.unwrap();
        read_reply(&mut Buffered::new(Stream::Unix(ours)), &Arc::from("primary"), caps).await
    }

    #[tokio::test]
    async fn an_answer_that_has_another_behind_it_is_a_fault() {
        let column = b"\x03def\0\0\0\x01a\0\x0C\x3F\0\x15\0\0\0\x08\x81\0\0\0\0";
        let (last, more): (&[u8], &[u8]) = (b"\xFE\0\0\x02\0", b"\xFE\0\0\x0A\0");
        let old = async |end| answer(&[b"\x01", column, last, b"\x017", end], Caps::empty()).await;
        assert!(matches!(old(last).await, Ok(Reply::Rows(rows)) if rows.rows == [[Some("7".to_owned())]]));
        assert!(old(more).await.is_err());
        let (last, more): (&[u8], &[u8]) = (b"\xFE\0\0\x02\0\0\0", b"\xFE\0\0\x0A\0\0\0");
        let caps = Caps::PROTOCOL_41 | Caps::DEPRECATE_EOF;
        let new = async |end| answer(&[b"\x01", column, b"\x017", end], caps).await;
        assert!(matches!(new(last).await, Ok(Reply::Rows(_))));
        assert!(new(more).await.is_err());
    }
}
