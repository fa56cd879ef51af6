//! Literals in the form in which a column's values compare.

use std::io::Write;

use memchr::memchr2;

use super::tokens::Tokens;
use super::{Rules, Values};
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

/// Reads a literal for a column, and adds its value; `None`: it is none that could be a key. What was read is passed
/// only where it was one.
pub(super) fn literal(
    tokens: &mut Tokens<'_>,
    column: &Column,
    rules: Rules,
    into: &mut Values,
) -> Option<()> {
    let read = match (column.values, tokens.peek().kind) {
        (schema::Values::Integer { min, max }, TokenKind::Number | TokenKind::Sign(b'-' | b'+')) => {
            integer(tokens, (min, max), rules, into)
        }
        (schema::Values::Characters { longest }, TokenKind::Text) => text(tokens, longest, rules, into),
        (_, TokenKind::Text | TokenKind::Number) if !rules.contains(Rules::TYPES) => {
            let bytes = tokens.peek().clone();
            let bytes = tokens.bytes(&bytes);
            into.bytes.extend(bytes.iter().filter(|byte| **byte != b'\'').map(u8::to_ascii_lowercase));
            tokens.next();
            Some(())
        }
        _ => None,
    };
    if read.and_then(|()| into.end_value()).is_none() {
        into.drop_value();
        return None;
    }
    Some(())
}

fn integer(tokens: &mut Tokens<'_>, range: (i128, i128), rules: Rules, into: &mut Values) -> Option<()> {
    let sign = tokens.peek().kind;
    let signed = matches!(sign, TokenKind::Sign(_));
    let number = if signed { tokens.peek_after().clone() } else { tokens.peek().clone() };
    let digits = tokens.bytes(&number);
    if number.kind != TokenKind::Number || digits.len() > 30 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let magnitude: i128 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let value = if sign == TokenKind::Sign(b'-') { magnitude.checked_neg()? } else { magnitude };
    let (min, max) = range;
    if !(min..=max).contains(&value) && rules.contains(Rules::RANGE) {
        return None;
    }
    tokens.next();
    if signed {
        tokens.next();
    }
    write!(into.bytes, "{value}").ok()
}

fn text(tokens: &mut Tokens<'_>, longest: u32, rules: Rules, into: &mut Values) -> Option<()> {
    let token = tokens.peek().clone();
    let [quote @ (b'\'' | b'"'), inner @ .., _] = tokens.bytes(&token) else { return None };
    let escapes = !tokens.modes().contains(Modes::NO_BACKSLASH_ESCAPES);
    let start = into.bytes.len();
    into.bytes.reserve(inner.len());
    // Most texts hold nothing of note, and are taken over as a whole.
    let plain = rules == Rules::all()
        && memchr2(*quote, b'\\', inner).is_none()
        && inner.iter().all(|byte| matches!(byte, b' '..=b'~'));
    if plain {
        into.bytes.extend_from_slice(inner);
        into.bytes.get_mut(start..)?.make_ascii_lowercase();
    }
    let mut rest = if plain { [].iter() } else { inner.iter() };
    while let Some(byte) = rest.next() {
        let mut byte = *byte;
        if byte == *quote {
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
    tokens.next();
    Some(())
}
