//! Characters of several bytes, by the servers' tables, and identifiers, which may be made of them.

use crate::dialect::Charset;

use super::Lexer;

impl Lexer<'_> {
    /// How many bytes the character at a place outside quotes has; `None` where it is none of the character set's.
    fn character(&self, at: usize) -> Option<usize> {
        let lead = self.byte(at);
        if lead < 0x80 {
            return Some(1);
        }
        match self.dialect.charset {
            Charset::Utf8 => utf8_length(self.tail(at)),
            Charset::AsciiCompatible => None,
            charset => multi_byte_length(charset, self.tail(at)),
        }
    }

    /// The end of the unquoted identifier that goes on at a place; `None` if it runs into bytes that are no
    /// characters.
    pub(super) fn identifier_end(&self, from: usize) -> Option<usize> {
        let mut at = from;
        loop {
            at = self.ascii_end(at);
            if self.byte(at) < 0x80 {
                return Some(at);
            }
            at = at.saturating_add(self.character(at)?);
        }
    }

    /// The end of an identifier of ASCII alone that no dot touches; `None` where it takes a closer look.
    #[inline(always)]
    pub(super) fn plain_word_end(&self, from: usize) -> Option<usize> {
        let end = self.ascii_end(from);
        let next = self.byte(end);
        (next < 0x80 && next != b'.').then_some(end)
    }

    #[inline(always)]
    fn ascii_end(&self, from: usize) -> usize {
        let mut at = from;
        while is_ascii_identifier(self.byte(at)) {
            at = at.wrapping_add(1);
        }
        at
    }

    /// Whether an identifier may go on with the byte at a place.
    pub(super) fn goes_on(&self, at: usize) -> bool {
        let byte = self.byte(at);
        is_ascii_identifier(byte) || byte >= 0x80
    }
}

/// What a byte may begin, outside quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// An identifier, and some literals' prefixes: letters and `_`.
    Letter,
    Digit,
    /// A token of its own, whatever follows it.
    Alone,
    /// A double quote or a backtick.
    Quote,
    /// White space, a comment, the end of the text, or an operator.
    Gap,
    Other,
}

impl Class {
    pub(super) fn of(byte: u8) -> Class {
        CLASSES.get(usize::from(byte)).copied().unwrap_or(Class::Other)
    }
}

/// Looked up with every byte: comparisons take longer.
const CLASSES: [Class; 256] = {
    let mut classes = [Class::Other; 256];
    let mut byte = 0u8;
    while byte < 0x80 {
        #[expect(clippy::indexing_slicing, reason = "a byte is always within 256 places")]
        {
            classes[byte as usize] = match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'_' => Class::Letter,
                b'0'..=b'9' => Class::Digit,
                b'(' | b')' | b',' | b'=' | b'+' | b'%' | b'^' | b'~' | b'[' | b']' | b'{' | b'}' => {
                    Class::Alone
                }
                b'"' | b'`' => Class::Quote,
                0 | b' ' | b'\t'..=b'\r' | b'#' | b'-' | b'/' | b'*' => Class::Gap,
                _ => Class::Other,
            };
        }
        byte = byte.wrapping_add(1);
    }
    classes
};

#[inline]
pub(super) fn is_ascii_identifier(byte: u8) -> bool {
    IDENTIFIERS.get(usize::from(byte)).copied().unwrap_or(false)
}

/// Likewise.
const IDENTIFIERS: [bool; 256] = {
    let mut identifiers = [false; 256];
    let mut byte = 0u8;
    while byte < 0x80 {
        #[expect(clippy::indexing_slicing, reason = "a byte is always within 256 places")]
        {
            identifiers[byte as usize] = byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$');
        }
        byte = byte.wrapping_add(1);
    }
    identifiers
};

/// The first place of one of two ASCII bytes that is a character of its own.
pub(super) fn find_character(charset: Charset, one: u8, other: Option<u8>, bytes: &[u8]) -> Option<usize> {
    let mut at = 0usize;
    loop {
        let byte = *bytes.get(at)?;
        if byte == one || other == Some(byte) {
            return Some(at);
        }
        // As in the server, a lead byte without a fitting tail counts as a character of its own.
        let length = match byte {
            0..0x80 => 1,
            _ => multi_byte_length(charset, bytes.get(at..).unwrap_or_default()).unwrap_or(1),
        };
        at = at.saturating_add(length);
    }
}

/// The length of the UTF-8 character that some bytes begin with.
fn utf8_length(bytes: &[u8]) -> Option<usize> {
    let length = match *bytes.first()? {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return None,
    };
    let tail = bytes.get(1..length)?;
    tail.iter().all(|byte| matches!(byte, 0x80..=0xbf)).then_some(length)
}

/// The length of the character of several bytes that some bytes begin with, by the servers' tables
/// (`strings/ctype-gbk.c`, `ctype-sjis.c`, `ctype-big5.c`, `ctype-gb18030.c`).
fn multi_byte_length(charset: Charset, bytes: &[u8]) -> Option<usize> {
    let (lead, tail) = (*bytes.first()?, *bytes.get(1)?);
    let fits = match charset {
        Charset::Utf8 | Charset::AsciiCompatible => false,
        Charset::Gbk => matches!(lead, 0x81..=0xfe) && matches!(tail, 0x40..=0x7e | 0x80..=0xfe),
        Charset::Sjis => {
            matches!(lead, 0x81..=0x9f | 0xe0..=0xfc) && matches!(tail, 0x40..=0x7e | 0x80..=0xfc)
        }
        Charset::Big5 => matches!(lead, 0xa1..=0xf9) && matches!(tail, 0x40..=0x7e | 0xa1..=0xfe),
        Charset::Gb18030 => {
            if matches!(lead, 0x81..=0xfe) && tail.is_ascii_digit() {
                let rest = (*bytes.get(2)?, *bytes.get(3)?);
                return matches!(rest, (0x81..=0xfe, b'0'..=b'9')).then_some(4);
            }
            matches!(lead, 0x81..=0xfe) && matches!(tail, 0x40..=0x7e | 0x80..=0xfe)
        }
    };
    fits.then_some(2)
}
