//! Literals in the form in which a column's values compare.

use std::io::Write;

use super::plan::Slot;
use super::tokens::Tokens;
use super::{Bound, Rules, Values};
use crate::dialect::Modes;
use crate::lexer::TokenKind;
use crate::schema::{self, Column};

/// Collations under which two texts of printable ASCII are equal only if they differ in nothing but case and spaces
/// at the end. A test asks the servers.
const CHARSETS: [&str; 5] = ["ascii", "latin1", "utf8", "utf8mb3", "utf8mb4"];

/// What may follow the character set's name.
const ENDINGS: [&str; 25] = [
    "_bin",
    "_nopad_bin",
    "_general_ci",
    "_general_nopad_ci",
    "_general_cs",
    "_general_mysql500_ci",
    "_swedish_ci",
    "_swedish_nopad_ci",
    "_unicode_ci",
    "_unicode_nopad_ci",
    "_unicode_520_ci",
    "_unicode_520_nopad_ci",
    "_0900_bin",
    "_0900_ai_ci",
    "_0900_as_ci",
    "_0900_as_cs",
    "_uca1400_ai_ci",
    "_uca1400_ai_cs",
    "_uca1400_as_ci",
    "_uca1400_as_cs",
    "_uca1400_nopad_ai_ci",
    "_uca1400_nopad_ai_cs",
    "_uca1400_nopad_as_ci",
    "_uca1400_nopad_as_cs",
    "_german1_ci",
];

/// Whether literals may be keys of a column.
pub(super) fn is_keyable(column: &Column, rules: Rules) -> bool {
    if column.generated && rules.contains(Rules::GENERATED) {
        return false;
    }
    column.indexed
        && match column.values {
            schema::Values::Integer { .. } => true,
            schema::Values::Characters { .. } => {
                !rules.contains(Rules::COLLATION) || column.collation.as_deref().is_some_and(is_tested)
            }
            schema::Values::Other => !rules.contains(Rules::TYPES),
        }
}

/// Whether a collation is among the tested ones. Those of a language are only where they are latin1's own: in the
/// others letters of ASCII may be equal.
pub(super) fn is_tested(collation: &str) -> bool {
    CHARSETS.iter().any(|charset| {
        collation.strip_prefix(charset).is_some_and(|ending| match ending {
            "_swedish_ci" | "_swedish_nopad_ci" | "_german1_ci" => *charset == "latin1",
            _ => ENDINGS.contains(&ending),
        })
    })
}

/// Reads a literal, or a parameter, whose value may be a key of a column; `None`: it is none, whatever its value, and
/// is not passed.
pub(super) fn slot(tokens: &mut Tokens<'_>, column: &Column, rules: Rules) -> Option<Slot> {
    let (next, mut negative) = (tokens.peek(), false);
    let fits = match (column.values, next.kind) {
        (schema::Values::Integer { .. }, TokenKind::Sign(b'-' | b'+')) => {
            negative = next.is(b'-');
            let number = tokens.peek_after().kind == TokenKind::Number;
            if number {
                tokens.next();
            }
            number
        }
        (schema::Values::Integer { .. }, TokenKind::Number) => true,
        (schema::Values::Characters { .. }, TokenKind::Text) => true,
        (schema::Values::Integer { .. } | schema::Values::Characters { .. }, TokenKind::Parameter) => true,
        (_, TokenKind::Text | TokenKind::Number) => !rules.contains(Rules::TYPES),
        _ => false,
    };
    if !fits {
        return None;
    }
    let parameter = (tokens.peek().kind == TokenKind::Parameter).then(|| tokens.parameter());
    let token = tokens.next().range;
    Some(Slot { start: token.start, end: token.end, negative, parameter })
}

/// What stands for a value in a statement, and is bound to it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Written<'a> {
    /// A literal's bytes, without its sign.
    Literal { bytes: &'a [u8], negative: bool },
    /// A parameter's value.
    Bound(Bound<'a>),
}

/// Adds a value, in the form in which it compares, to those of a column; `None`: it can be no key.
pub(super) fn add(
    written: Written<'_>,
    values: schema::Values,
    (modes, rules): (Modes, Rules),
    into: &mut Values,
) -> Option<()> {
    let added = match (values, written) {
        (schema::Values::Integer { min, max }, Written::Literal { bytes, negative })
            if bytes.first().is_some_and(u8::is_ascii_digit) =>
        {
            digits(bytes, negative).and_then(|value| integer(value, (min, max), rules, into))
        }
        (schema::Values::Integer { min, max }, Written::Bound(Bound::Integer(value))) => {
            integer(value, (min, max), rules, into)
        }
        (schema::Values::Characters { longest }, Written::Literal { bytes: [b'\'' | b'"', ..], .. }) => {
            text(written, longest, (modes, rules), into)
        }
        (schema::Values::Characters { longest }, Written::Bound(Bound::Text(_))) => {
            text(written, longest, (modes, rules), into)
        }
        (_, Written::Literal { bytes, .. }) if !rules.contains(Rules::TYPES) => {
            into.bytes.extend(bytes.iter().filter(|byte| **byte != b'\'').map(u8::to_ascii_lowercase));
            Some(())
        }
        _ => None,
    };
    if added.and_then(|()| into.end_value()).is_none() {
        into.drop_value();
        return None;
    }
    Some(())
}

fn digits(bytes: &[u8], negative: bool) -> Option<i128> {
    if bytes.len() > 30 || !bytes.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let magnitude: i128 = std::str::from_utf8(bytes).ok()?.parse().ok()?;
    if negative { magnitude.checked_neg() } else { Some(magnitude) }
}

fn integer(value: i128, (min, max): (i128, i128), rules: Rules, into: &mut Values) -> Option<()> {
    if !(min..=max).contains(&value) && rules.contains(Rules::RANGE) {
        return None;
    }
    write!(into.bytes, "{value}").ok()
}

/// Whether there is nothing but printable ASCII, and nothing escaped or doubled if it is quoted.
fn is_plain(bytes: &[u8], quote: Option<u8>) -> bool {
    let (one, other) = quote.map_or((0, 0), |quote| (quote, b'\\'));
    let Some(last) = bytes.last_chunk::<8>() else {
        return bytes.iter().all(|byte| matches!(byte, b' '..=b'~') && *byte != one && *byte != other);
    };
    // By words, the last of which may overlap with the one before it.
    let words = bytes.as_chunks::<8>().0.iter().chain([last]);
    words.fold(0, |found, word| found | special(u64::from_le_bytes(*word), one, other)) == 0
}

/// Of printable ASCII.
fn to_lower_case(bytes: &mut [u8]) {
    if bytes.len() < 8 {
        return bytes.make_ascii_lowercase();
    }
    let lower = |word: &mut [u8; 8]| *word = lower_case(u64::from_le_bytes(*word)).to_le_bytes();
    bytes.as_chunks_mut::<8>().0.iter_mut().for_each(lower);
    // It overlaps with the last but one, and what is in lower case stays so.
    bytes.last_chunk_mut::<8>().into_iter().for_each(lower);
}

fn lower_case(word: u64) -> u64 {
    let all = |byte: u8| u64::from_le_bytes([byte; 8]);
    let (from_a, beyond_z) = (word.wrapping_add(all(0x80 - b'A')), word.wrapping_add(all(0x7f - b'Z')));
    word | (from_a & !beyond_z & all(0x80)).wrapping_shr(2)
}

/// Not 0 if one of a word's bytes is neither printable ASCII nor something other than the two.
fn special(word: u64, one: u8, other: u8) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let all = |byte: u8| u64::from_le_bytes([byte; 8]);
    let below = |word: u64, least: u8| word.wrapping_sub(all(least)) & !word;
    // A borrow may find a byte too many, but only where there is one to be found.
    let unprintable = below(word, b' ') | word | word.wrapping_add(ONES);
    (unprintable | below(word ^ all(one), 1) | below(word ^ all(other), 1)) & HIGH
}

fn text(written: Written<'_>, longest: u32, (modes, rules): (Modes, Rules), into: &mut Values) -> Option<()> {
    // What is bound is not quoted: nothing in it doubles or escapes.
    let (quote, inner) = match written {
        Written::Literal { bytes: [quote @ (b'\'' | b'"'), inner @ .., _], .. } => (Some(*quote), inner),
        Written::Bound(Bound::Text(bytes)) => (None, bytes),
        _ => return None,
    };
    let escapes = quote.is_some() && !modes.contains(Modes::NO_BACKSLASH_ESCAPES);
    let start = into.bytes.len();
    into.bytes.reserve(inner.len());
    // Most texts hold nothing of note, and are taken over as a whole.
    let plain = rules == Rules::all() && is_plain(inner, quote);
    if plain {
        into.bytes.extend_from_slice(inner);
        to_lower_case(into.bytes.get_mut(start..)?);
    }
    let mut rest = if plain { [].iter() } else { inner.iter() };
    while let Some(byte) = rest.next() {
        let mut byte = *byte;
        if Some(byte) == quote {
            rest.next();
        } else if byte == b'\\' && escapes {
            byte = match *rest.next()? {
                b'0' | b'b' | b'n' | b'r' | b't' | b'Z' if rules.contains(Rules::PRINTABLE) => return None,
                // Escapes for LIKE stay as they are elsewhere.
                wild @ (b'%' | b'_') => {
                    into.bytes.push(b'\\');
                    wild
                }
                other => other,
            };
        }
        if !matches!(byte, b' '..=b'~') && rules.contains(Rules::PRINTABLE) {
            return None;
        }
        let folded = if rules.contains(Rules::CASE_FOLDED) { byte.to_ascii_lowercase() } else { byte };
        into.bytes.push(folded);
    }
    let length = into.bytes.len().saturating_sub(start);
    if length > longest as usize && rules.contains(Rules::LENGTH) {
        return None;
    }
    if rules.contains(Rules::SPACE_FOLDED) {
        let spaces = into.bytes.iter().rev().take(length).take_while(|byte| **byte == b' ').count();
        into.bytes.truncate(into.bytes.len().saturating_sub(spaces));
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_looked_at_and_folded_by_words_as_byte_by_byte() {
        for length in 0..30 {
            for place in 0..length {
                for byte in 0..=u8::MAX {
                    let mut text =
                        b"Word, AND Zz@[`{ words of text~".get(..length).unwrap_or_default().to_vec();
                    text[place] = byte;
                    for quote in [None, Some(b'\''), Some(b'"')] {
                        let special = |byte: &u8| {
                            !matches!(byte, b' '..=b'~')
                                || quote.is_some_and(|quote| *byte == quote || *byte == b'\\')
                        };
                        assert_eq!(is_plain(&text, quote), !text.iter().any(special), "{text:?} {quote:?}");
                    }
                    if text.is_ascii() {
                        let mut folded = text.clone();
                        to_lower_case(&mut folded);
                        assert_eq!(folded, text.to_ascii_lowercase());
                    }
                }
            }
        }
    }
}
