//! Values put into the only row of a result that was gathered whole. Owns the two forms of rows, as far as that needs;
//! which values is its caller's business.

use bytes::BytesMut;
use clonelove_wire::Caps;
use clonelove_wire::frame::{FrameHead, HEADER};
use clonelove_wire::read::Reader;

/// A column's type, as far as its values' length goes.
type Kind = u8;

/// Puts values into the only row of a reply that is here whole, in place of those of each column that has one; `binary`:
/// the row is of a prepared statement. A reply of another shape stays as it is.
pub(crate) fn replace_values(out: &mut BytesMut, caps: Caps, values: &[Option<String>], binary: bool) {
    if let Some(replaced) = replaced(out, caps, values, binary) {
        *out = replaced;
    }
}

fn replaced(out: &[u8], caps: Caps, values: &[Option<String>], binary: bool) -> Option<BytesMut> {
    let mut rest = Packets { out, at: 0 };
    let (_, count) = rest.next()?;
    let optional = caps.intersects(Caps::OPTIONAL_RESULTSET_METADATA | Caps::CACHE_METADATA);
    let (count, left_out) = match count {
        [count] => (*count, false),
        [count, follow] if optional => (*count, *follow == 0),
        _ => return None,
    };
    if usize::from(count) != values.len() || left_out && binary {
        return None;
    }
    let mut kinds = Vec::with_capacity(values.len());
    for _ in values.iter().filter(|_| !left_out) {
        kinds.push(kind(rest.next()?.1, caps)?);
    }
    if !caps.contains(Caps::DEPRECATE_EOF) {
        rest.next()?;
    }
    let start = rest.at;
    let (head, row) = rest.next()?;
    let row = if binary { binary_row(row, values, &kinds) } else { text_row(row, values) }?;
    let mut whole = BytesMut::with_capacity(out.len().saturating_add(row.len()));
    whole.extend_from_slice(out.get(..start)?);
    whole.extend_from_slice(&FrameHead { len: row.len(), seq: head.seq }.encode());
    whole.extend_from_slice(&row);
    whole.extend_from_slice(out.get(rest.at..)?);
    Some(whole)
}

struct Packets<'a> {
    out: &'a [u8],
    at: usize,
}

impl<'a> Packets<'a> {
    fn next(&mut self) -> Option<(FrameHead, &'a [u8])> {
        let rest = self.out.get(self.at..)?;
        let head = FrameHead::parse(rest)?;
        let payload = rest.get(HEADER..head.whole())?;
        self.at = self.at.saturating_add(head.whole());
        Some((head, payload))
    }
}

/// The type that a column's definition tells: after six names, a length, a character set and another length.
fn kind(definition: &[u8], caps: Caps) -> Option<Kind> {
    let mut reader = Reader::new(definition, "column definition");
    // MariaDB tells more of a type where that was agreed on.
    let more = u8::from(caps.contains(Caps::EXTENDED_TYPES));
    for _ in 0..more.saturating_add(6) {
        reader.lenenc_bytes().ok()?;
    }
    (reader.lenenc_int().ok()? == 0x0C).then_some(())?;
    reader.bytes(6).ok()?;
    reader.u8().ok()
}

fn text_row(row: &[u8], values: &[Option<String>]) -> Option<Vec<u8>> {
    const NULL: u8 = 0xFB;
    let mut reader = Reader::new(row, "row");
    let mut whole = Vec::with_capacity(row.len().saturating_add(32));
    for value in values {
        let own = reader;
        if reader.peek()? == NULL {
            reader.u8().ok()?;
        } else {
            reader.lenenc_bytes().ok()?;
        }
        match value {
            Some(value) => {
                whole.push(u8::try_from(value.len()).ok().filter(|len| *len <= 250)?);
                whole.extend_from_slice(value.as_bytes());
            }
            None => whole.extend_from_slice(between(own, &reader)?),
        }
    }
    Some(whole)
}

/// A head, a bit for each NULL behind two that are not used, the values.
fn binary_row(row: &[u8], values: &[Option<String>], kinds: &[Kind]) -> Option<Vec<u8>> {
    let mut reader = Reader::new(row, "row");
    let nulls_at = reader.u8().ok().map(|_| 1_usize)?;
    let bits = reader.bytes(values.len().saturating_add(9).wrapping_shr(3)).ok()?;
    let mut whole = row.get(..nulls_at)?.to_vec();
    whole.extend_from_slice(bits);
    for (at, (value, kind)) in values.iter().zip(kinds).enumerate() {
        let bit = at.saturating_add(2);
        let null = bits.get(bit.wrapping_shr(3))?.wrapping_shr(u32::try_from(bit & 7).ok()?) & 1 != 0;
        if null {
            value.is_none().then_some(())?;
            continue;
        }
        let own = reader;
        skip(*kind, &mut reader)?;
        let bytes = between(own, &reader)?;
        match value {
            Some(value) => {
                matches!(kind, 1 | 2 | 3 | 8 | 9).then_some(())?;
                whole.extend_from_slice(value.parse::<i128>().ok()?.to_le_bytes().get(..bytes.len())?);
            }
            None => whole.extend_from_slice(bytes),
        }
    }
    reader.is_empty().then_some(whole)
}

/// Passes a value in binary.
fn skip(kind: Kind, reader: &mut Reader<'_>) -> Option<()> {
    let fixed = match kind {
        1 => 1,
        2 | 13 => 2,
        3 | 4 | 9 => 4,
        5 | 8 => 8,
        7 | 10..=12 => reader.u8().ok()?.into(),
        0 | 15 | 16 | 245..=255 => return reader.lenenc_bytes().ok().map(drop),
        _ => return None,
    };
    reader.bytes(fixed).ok().map(drop)
}

/// What was read between two states of a reader.
fn between<'a>(before: Reader<'a>, after: &Reader<'a>) -> Option<&'a [u8]> {
    let mut before = before;
    let length = before.remaining().checked_sub(after.remaining())?;
    before.bytes(length).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clonelove_wire::frame::write_packet;

    fn definition(kind: Kind, caps: Caps) -> Vec<u8> {
        let extended: &[u8] = if caps.contains(Caps::EXTENDED_TYPES) { b"\x06\0\x04json" } else { b"" };
        let fixed = [&b"\x0C\x3F\0\x15\0\0\0"[..], &[kind, 0x81, 0, 0, 0, 0]].concat();
        [&b"\x03def\0\0\0\x01a\0"[..], extended, &fixed].concat()
    }

    fn reply(kinds: &[Kind], row: &[u8], caps: Caps) -> BytesMut {
        let mut out = BytesMut::new();
        write_packet(&mut out, 1, &[u8::try_from(kinds.len()).unwrap()]);
        for (at, kind) in kinds.iter().enumerate() {
            write_packet(&mut out, u8::try_from(at + 2).unwrap(), &definition(*kind, caps));
        }
        if !caps.contains(Caps::DEPRECATE_EOF) {
            write_packet(&mut out, 8, &[0xFE, 0, 0, 2, 0]);
        }
        write_packet(&mut out, 9, row);
        write_packet(&mut out, 10, &[0xFE, 0, 0, 2, 0]);
        out
    }

    #[test]
    fn values_are_put_into_rows_of_either_form() {
        let values = [Some("-1".to_owned()), None, Some("77".to_owned())];
        for caps in [Caps::empty(), Caps::DEPRECATE_EOF, Caps::EXTENDED_TYPES] {
            let mut text = reply(&[8, 253, 3], b"\x0212\xFB\x019", caps);
            replace_values(&mut text, caps, &values, false);
            assert_eq!(text, reply(&[8, 253, 3], b"\x02-1\xFB\x0277", caps));
            let row = [&[0, 0][..], &5_i64.to_le_bytes(), b"\x02ab", &[9, 0, 0, 0]].concat();
            let wanted = [&[0, 0][..], &(-1_i64).to_le_bytes(), b"\x02ab", &[77, 0, 0, 0]].concat();
            let mut binary = reply(&[8, 253, 3], &row, caps);
            replace_values(&mut binary, caps, &values, true);
            assert_eq!(binary, reply(&[8, 253, 3], &wanted, caps));
        }
    }

    #[test]
    fn replies_of_another_shape_stay_as_they_are() {
        let values = [Some("7".to_owned())];
        let caps = Caps::empty();
        let error = {
            let mut out = BytesMut::new();
            write_packet(&mut out, 1, b"\xFF\x15\x04#28000no");
            out
        };
        let several = reply(&[8, 8], b"\x011\x012", caps);
        let text_for_binary = reply(&[253], b"\0\0\x01x", caps);
        for whole in [error, several, text_for_binary, BytesMut::new()] {
            let mut out = whole.clone();
            replace_values(&mut out, caps, &values, true);
            assert_eq!(out, whole);
            // Cut anywhere, nothing panics.
            for end in 0..whole.len() {
                let mut out = BytesMut::from(&whole[..end]);
                replace_values(&mut out, caps, &values, false);
            }
        }
    }
}
