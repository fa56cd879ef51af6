//! Where a string ends: the first quote that nothing escapes, found by words and blocks without a branch for each byte.
//!
//! Serialized data is full of escaped quotes, and a search that stops at each of them costs more than it saves.

use memchr::memchr2;

/// Bytes in a block.
const BLOCK: usize = 64;

/// So many words are looked at one by one: most strings are short.
const WORDS: usize = 3;

/// The place of the first quote that no backslash before it escapes; a doubled quote is found like any other.
#[inline]
pub(super) fn closing_quote(bytes: &[u8], quote: u8, escapes: bool) -> Option<usize> {
    let escape = if escapes { b'\\' } else { quote };
    let (mut at, mut rest) = (0usize, bytes);
    for _ in 0..WORDS {
        let Some((word, after)) = rest.split_first_chunk::<8>() else { break };
        let word = u64::from_le_bytes(*word);
        let found = begins_equal(word, quote) | begins_equal(word, escape);
        if found != 0 {
            let place = found.trailing_zeros();
            at = at.wrapping_add(place as usize / 8);
            if word.wrapping_shr(place & 0x38) as u8 == quote {
                return Some(at);
            }
            return in_blocks(bytes, at, quote, escapes);
        }
        at = at.wrapping_add(8);
        rest = after;
    }
    further(bytes, at, quote, escape)
}

/// The same from a place on, before which there is neither.
#[inline(never)]
fn further(bytes: &[u8], from: usize, quote: u8, escape: u8) -> Option<usize> {
    let rest = bytes.get(from..)?;
    let at = from.wrapping_add(memchr2(quote, escape, rest)?);
    if bytes.get(at) == Some(&quote) { Some(at) } else { in_blocks(bytes, at, quote, true) }
}

/// The first place of one of two bytes.
#[inline(always)]
pub(super) fn either(bytes: &[u8], one: u8, other: u8) -> Option<usize> {
    let (mut at, mut rest) = (0usize, bytes);
    while let Some((word, after)) = rest.split_first_chunk::<8>() {
        let word = u64::from_le_bytes(*word);
        let found = begins_equal(word, one) | begins_equal(word, other);
        if found != 0 {
            return Some(at.wrapping_add(found.trailing_zeros() as usize / 8));
        }
        at = at.wrapping_add(8);
        rest = after;
    }
    let found = rest.iter().position(|byte| *byte == one || *byte == other)?;
    Some(at.wrapping_add(found))
}

#[inline(never)]
fn in_blocks(bytes: &[u8], from: usize, quote: u8, escapes: bool) -> Option<usize> {
    let (mut at, mut rest, mut first_escaped) = (from, bytes.get(from..)?, 0u64);
    while let Some((block, after)) = rest.split_first_chunk::<BLOCK>() {
        let (quotes, backslashes) = places(block, quote);
        let escaped = if escapes { escaped(backslashes, &mut first_escaped) } else { 0 };
        let closing = quotes & !escaped;
        if closing != 0 {
            return Some(at.saturating_add(closing.trailing_zeros() as usize));
        }
        at = at.saturating_add(BLOCK);
        rest = after;
    }
    let mut escaped = first_escaped != 0;
    for byte in rest {
        match *byte {
            _ if escaped => escaped = false,
            b'\\' if escapes => escaped = true,
            byte if byte == quote => return Some(at),
            _ => {}
        }
        at = at.saturating_add(1);
    }
    None
}

/// One bit for each byte of a block that is the quote, and one for each that is a backslash.
fn places(block: &[u8; BLOCK], quote: u8) -> (u64, u64) {
    let (words, _) = block.as_chunks::<8>();
    let (mut quotes, mut backslashes) = (0u64, 0u64);
    for word in words.iter().rev() {
        let word = u64::from_le_bytes(*word);
        quotes = quotes.wrapping_shl(8) | gathered(equal(word, quote));
        backslashes = backslashes.wrapping_shl(8) | gathered(equal(word, b'\\'));
    }
    (quotes, backslashes)
}

/// The places that a backslash before them escapes: of a run of backslashes every other one does, which a subtraction
/// tells for all runs at once. (From simdjson's `json_escape_scanner`, <https://github.com/simdjson/simdjson>, described
/// in Langdale and Lemire, "Parsing Gigabytes of JSON per Second", <https://arxiv.org/abs/1902.08318>.)
fn escaped(backslashes: u64, first_escaped: &mut u64) -> u64 {
    const ODD: u64 = 0xaaaa_aaaa_aaaa_aaaa;
    let begin = backslashes & !*first_escaped;
    let odd_series = begin.wrapping_shl(1) | ODD;
    let code = odd_series.wrapping_sub(begin) ^ ODD;
    let escaped = code ^ (backslashes | *first_escaped);
    *first_escaped = (code & backslashes).wrapping_shr(63);
    escaped
}

/// The highest bit of each byte of a word that equals another.
fn equal(word: u64, byte: u8) -> u64 {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    let differs = word ^ u64::from_le_bytes([byte; 8]);
    !((differs & LOW).wrapping_add(LOW) | differs | LOW)
}

/// The highest bits of a word's bytes, side by side.
fn gathered(bits: u64) -> u64 {
    bits.wrapping_shr(7).wrapping_mul(0x0102_0408_1020_4080).wrapping_shr(56)
}

/// The same as [`equal`], but right only up to the first byte that is equal.
fn begins_equal(word: u64, byte: u8) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let differs = word ^ u64::from_le_bytes([byte; 8]);
    differs.wrapping_sub(ONES) & !differs & 0x8080_8080_8080_8080
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What [`closing_quote`] should find, byte by byte.
    fn plainly(bytes: &[u8], quote: u8, escapes: bool) -> Option<usize> {
        let mut at = 0;
        while at < bytes.len() {
            match bytes[at] {
                b'\\' if escapes => at += 2,
                byte if byte == quote => return Some(at),
                _ => at += 1,
            }
        }
        None
    }

    /// A little of everything that matters, by a generator of its own so that each run sees the same.
    fn some_bytes(seed: &mut u64, length: usize, often: u64) -> Vec<u8> {
        let mut byte = || {
            *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let dice = *seed >> 40;
            if !dice.is_multiple_of(often) {
                b"xyz\xa7\xdc\0\x80"[(dice % 7) as usize]
            } else {
                b"\\\\'\""[(dice / often % 4) as usize]
            }
        };
        (0..length).map(|_| byte()).collect()
    }

    #[test]
    fn strings_end_where_they_end_byte_by_byte() {
        let mut seed = 1;
        for length in 0..400 {
            for often in [1, 2, 5, 40, 200] {
                let bytes = some_bytes(&mut seed, length, often);
                for (quote, escapes) in [(b'\'', true), (b'\'', false), (b'"', true), (b'"', false)] {
                    let found = closing_quote(&bytes, quote, escapes);
                    assert_eq!(found, plainly(&bytes, quote, escapes), "{bytes:?} {quote} {escapes}");
                }
                let place = bytes.iter().position(|byte| *byte == b'"' || *byte == 0);
                assert_eq!(either(&bytes, b'"', 0), place);
            }
        }
    }

    #[test]
    fn long_runs_of_backslashes_are_counted() {
        for run in 0..200 {
            for before in 0..70 {
                let bytes =
                    [vec![b'x'; before], vec![b'\\'; run], b"'".to_vec(), vec![b'y'; 70], b"'".to_vec()]
                        .concat();
                assert_eq!(
                    closing_quote(&bytes, b'\'', true),
                    plainly(&bytes, b'\'', true),
                    "{before} {run}"
                );
            }
        }
    }
}
