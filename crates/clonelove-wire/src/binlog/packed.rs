//! What events carry packed: MariaDB's statements and rows, MySQL's transactions. Owns the unpacking, in bounded
//! memory whatever the bytes say.

use std::io::Read;

use flate2::read::ZlibDecoder;

use super::{HEADER, malformed, size_of_event};
use crate::Malformed;
use crate::read::Reader;

/// A statement or rows that MariaDB packed (`log_bin_compress`): the length in so many bytes as the first one says,
/// then a zlib stream.
pub(super) fn mariadb(bytes: &[u8], most: usize) -> Result<Vec<u8>, Malformed> {
    const ALGORITHM: u8 = 0x70;
    const LENGTH: u8 = 0x07;
    let mut reader = Reader::new(bytes, "packed event");
    let first = reader.u8()?;
    if first & ALGORITHM != 0 {
        return Err(reader.malformed("it is packed in an unknown way"));
    }
    let length = reader.bytes(usize::from(first & LENGTH))?;
    let length =
        length.iter().fold(0_usize, |sum, byte| sum.saturating_mul(256).saturating_add((*byte).into()));
    if length > most {
        return Err(reader.malformed("it is too long"));
    }
    let mut unpacked = Vec::new();
    let limit = u64::try_from(length).unwrap_or(u64::MAX);
    let read = ZlibDecoder::new(reader.rest()).take(limit).read_to_end(&mut unpacked);
    if read.is_err() || unpacked.len() != length {
        return Err(reader.malformed("it cannot be unpacked"));
    }
    Ok(unpacked)
}

/// A transaction that MySQL packed (`binlog_transaction_compression`): its events, one after the other.
/// <https://dev.mysql.com/doc/dev/mysql-server/latest/classmysql_1_1binlog_1_1event_1_1Transaction__payload__event.html>
pub(super) struct Payload<'a> {
    source: Source<'a>,
    event: Vec<u8>,
}

enum Source<'a> {
    Plain(&'a [u8]),
    Zstd(Box<zstd::stream::read::Decoder<'static, &'a [u8]>>),
}

/// An event longer than this is cut.
const LONGEST: usize = 4 << 20;

impl<'a> Payload<'a> {
    pub(super) fn open(body: &'a [u8]) -> Result<Self, Malformed> {
        const END: u64 = 0;
        const TYPE: u64 = 2;
        const ZSTD: u64 = 0;
        const NONE: u64 = 255;
        /// What the unpacker may look back on; servers use less up to level 19 of `binlog_transaction_compression_level_zstd`.
        const WINDOW_LOG: u32 = 25;
        let mut reader = Reader::new(body, "transaction payload event");
        let mut packed = None;
        loop {
            let field = reader.lenenc_int()?;
            if field == END {
                break;
            }
            let mut content = Reader::new(reader.lenenc_bytes()?, "transaction payload event");
            if field == TYPE {
                packed = Some(content.lenenc_int()?);
            }
        }
        let rest = reader.rest();
        let source = match packed {
            Some(ZSTD) => {
                let cannot = |_| reader.malformed("it cannot be unpacked");
                let mut decoder = zstd::stream::read::Decoder::with_buffer(rest).map_err(cannot)?;
                decoder.window_log_max(WINDOW_LOG).map_err(cannot)?;
                Source::Zstd(Box::new(decoder))
            }
            Some(NONE) => Source::Plain(rest),
            _ => return Err(reader.malformed("it is packed in an unknown way")),
        };
        Ok(Payload { source, event: Vec::new() })
    }

    /// The next event, and whether it is whole.
    pub(super) fn next_event(&mut self) -> Result<Option<(&[u8], bool)>, Malformed> {
        self.event.clear();
        self.read(HEADER)?;
        if self.event.is_empty() {
            return Ok(None);
        }
        let size = size_of_event(&self.event).filter(|size| *size >= HEADER);
        let size = size.ok_or_else(|| malformed("it is shorter than its own header"))?;
        let kept = size.min(LONGEST);
        self.read(kept.saturating_sub(HEADER))?;
        if self.event.len() != kept {
            return Err(malformed("it ends too early"));
        }
        self.skip(size.saturating_sub(kept))?;
        Ok(Some((&self.event, kept == size)))
    }

    fn read(&mut self, count: usize) -> Result<(), Malformed> {
        let limit = u64::try_from(count).unwrap_or(u64::MAX);
        let read = match &mut self.source {
            Source::Plain(plain) => plain.take(limit).read_to_end(&mut self.event),
            Source::Zstd(decoder) => decoder.take(limit).read_to_end(&mut self.event),
        };
        read.map(drop).map_err(|_| malformed("it cannot be unpacked"))
    }

    fn skip(&mut self, count: usize) -> Result<(), Malformed> {
        let limit = u64::try_from(count).unwrap_or(u64::MAX);
        let skipped = match &mut self.source {
            Source::Plain(plain) => std::io::copy(&mut plain.take(limit), &mut std::io::sink()),
            Source::Zstd(decoder) => std::io::copy(&mut decoder.take(limit), &mut std::io::sink()),
        };
        let whole = skipped.is_ok_and(|skipped| skipped == limit);
        if whole { Ok(()) } else { Err(malformed("it ends too early")) }
    }
}
