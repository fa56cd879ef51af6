//! Compressed packets: what stands between the bytes of a connection and its frames when compression was agreed upon.
//!
//! Owns their heads, their numbers and what is packed in them; knows nothing of the frames inside, which may begin and
//! end anywhere. Source: <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_compression.html>.

use std::io::{Read, Write};

use bytes::BytesMut;

use crate::{Caps, Malformed};

/// The length of a compressed packet's head: the length of its body in three bytes, its number, the length of what is
/// in it in three bytes (0: it stands there as it is).
pub const HEADER: usize = 7;

/// The most that one packet holds, and the longest body.
pub const MAX: usize = 0xFF_FFFF;

/// What is shorter is sent as it is: packing would not make it shorter.
pub const STORED_BELOW: usize = 50;

/// The level of zstd for whoever does not say another.
pub const ZSTD_LEVEL: u8 = 3;

/// How a connection is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// zlib.
    Zlib,
    /// zstd, by this level.
    Zstd(u8),
}

impl Algorithm {
    /// What the two ends agreed upon. Where both are possible it is zlib, as servers have it.
    #[must_use]
    pub fn agreed(caps: Caps, zstd_level: Option<u8>) -> Option<Algorithm> {
        if caps.contains(Caps::COMPRESS) {
            return Some(Algorithm::Zlib);
        }
        let level = zstd_level.filter(|level| (1..=22).contains(level)).unwrap_or(ZSTD_LEVEL);
        caps.contains(Caps::ZSTD).then_some(Algorithm::Zstd(level))
    }
}

/// The head of a compressed packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackedHead {
    /// The length of the body.
    pub len: usize,
    /// The packet's number, counted apart from those of the frames inside.
    pub seq: u8,
    /// The length of what is in it; 0 when it is stored.
    pub plain: usize,
}

impl PackedHead {
    /// Reads a head; `None` when it is not whole.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<PackedHead> {
        let [a, b, c, seq, x, y, z] = *bytes.first_chunk::<HEADER>()?;
        let length = |low, middle, high| u32::from_le_bytes([low, middle, high, 0]) as usize;
        Some(PackedHead { len: length(a, b, c), seq, plain: length(x, y, z) })
    }

    /// The length of head and body.
    #[must_use]
    pub fn whole(&self) -> usize {
        self.len.saturating_add(HEADER)
    }

    fn encode(&self) -> [u8; HEADER] {
        let [a, b, c, _] = u32::try_from(self.len).unwrap_or(u32::MAX).to_le_bytes();
        let [x, y, z, _] = u32::try_from(self.plain).unwrap_or(u32::MAX).to_le_bytes();
        [a, b, c, self.seq, x, y, z]
    }
}

/// Appends `plain`, of which the first [`MAX`] bytes count, as one compressed packet.
pub fn pack(algorithm: Algorithm, seq: u8, plain: &[u8], out: &mut BytesMut) {
    let plain = plain.get(..MAX).unwrap_or(plain);
    if plain.len() >= STORED_BELOW
        && let Some(packed) = packed(algorithm, plain).filter(|packed| packed.len() < plain.len())
    {
        out.extend_from_slice(&PackedHead { len: packed.len(), seq, plain: plain.len() }.encode());
        out.extend_from_slice(&packed);
        return;
    }
    out.extend_from_slice(&PackedHead { len: plain.len(), seq, plain: 0 }.encode());
    out.extend_from_slice(plain);
}

/// Appends what is in a packet's body to `out`, which grows by no more than the head says, and only as far as the body
/// goes.
///
/// # Errors
/// [`Malformed`] when the body cannot be unpacked, or holds more or less than its head says.
pub fn unpack(
    algorithm: Algorithm,
    head: PackedHead,
    body: &[u8],
    out: &mut BytesMut,
) -> Result<(), Malformed> {
    /// What a packet can hold needs no longer memory of what came before.
    const WINDOW_LOG: u32 = 24;
    if head.plain == 0 {
        out.extend_from_slice(body);
        return Ok(());
    }
    match algorithm {
        Algorithm::Zlib => read_exactly(flate2::read::ZlibDecoder::new(body), head.plain, out),
        Algorithm::Zstd(_) => {
            let cannot = |_| malformed("it cannot be unpacked");
            let mut decoder = zstd::stream::read::Decoder::with_buffer(body).map_err(cannot)?;
            decoder.window_log_max(WINDOW_LOG).map_err(cannot)?;
            read_exactly(decoder, head.plain, out)
        }
    }
}

fn read_exactly(mut source: impl Read, plain: usize, out: &mut BytesMut) -> Result<(), Malformed> {
    const PIECE: usize = 64 * 1024;
    let end = out.len().saturating_add(plain);
    while out.len() < end {
        let at = out.len();
        out.resize(end.min(at.saturating_add(PIECE)), 0);
        let read = source.read(out.get_mut(at..).unwrap_or_default());
        let count = read.unwrap_or(0);
        out.truncate(at.saturating_add(count));
        if count == 0 {
            return Err(malformed("it holds less than it says"));
        }
    }
    match source.read(&mut [0]) {
        Ok(0) => Ok(()),
        _ => Err(malformed("it holds more than it says")),
    }
}

fn packed(algorithm: Algorithm, plain: &[u8]) -> Option<Vec<u8>> {
    match algorithm {
        Algorithm::Zlib => {
            let room = Vec::with_capacity(plain.len());
            let mut encoder = flate2::write::ZlibEncoder::new(room, flate2::Compression::default());
            encoder.write_all(plain).ok()?;
            encoder.finish().ok()
        }
        Algorithm::Zstd(level) => zstd::bulk::compress(plain, level.into()).ok(),
    }
}

fn malformed(what: &'static str) -> Malformed {
    Malformed { packet: "compressed packet", what }
}

#[cfg(test)]
mod tests;
