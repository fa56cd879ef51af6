//! Lists of literals, which may be most of a text: passed without making a token of each.

use super::Lexer;
use super::characters::Class;

impl Lexer<'_> {
    /// Passes literals up to the parenthesis that closes them, the opening one having been passed; with `rows`, as many
    /// further such lists as follow, each after a comma. False, and nothing is passed, if there is anything else in the
    /// first list, or if it is spelt so that it takes a closer look.
    pub(crate) fn skip_literals(&mut self, rows: bool) -> bool {
        let Some(mut end) = self.list_end(self.at) else { return false };
        while rows {
            let comma = self.spaces_end(end);
            let open = self.spaces_end(comma.saturating_add(1));
            if self.byte(comma) != b',' || self.byte(open) != b'(' {
                break;
            }
            let Some(further) = self.list_end(open.saturating_add(1)) else { break };
            end = further;
        }
        self.at = end;
        true
    }

    /// Behind the parenthesis that closes a list of literals.
    fn list_end(&self, from: usize) -> Option<usize> {
        let mut at = from;
        loop {
            at = self.spaces_end(self.literal_end(self.spaces_end(at))?);
            let next = self.byte(at);
            at = at.saturating_add(1);
            match next {
                b',' => {}
                b')' => return Some(at),
                _ => return None,
            }
        }
    }

    fn spaces_end(&self, from: usize) -> usize {
        let mut at = from;
        loop {
            let byte = self.byte(at);
            if byte > b' ' || !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return at;
            }
            at = at.saturating_add(1);
        }
    }

    /// Behind a literal of the simplest forms: a string, digits with or without a point, `?`, NULL.
    #[inline]
    fn literal_end(&self, from: usize) -> Option<usize> {
        let end = match self.byte(from) {
            b'\'' => self.text_end(from)?,
            b'0'..=b'9' => self.plain_number_end(from),
            b'-' | b'+' if self.byte(from.saturating_add(1)).is_ascii_digit() => {
                self.plain_number_end(from.saturating_add(1))
            }
            b'?' => from.saturating_add(1),
            b'N' | b'n' => {
                let end = from.saturating_add(4);
                self.sql.get(from..end).filter(|word| word.eq_ignore_ascii_case(b"NULL")).map(|_| end)?
            }
            _ => return None,
        };
        // What else might follow is left to those who look closer.
        let next = self.byte(end);
        (next == b',' || next == b')' || (Class::of(next) == Class::Gap && next != 0)).then_some(end)
    }

    fn plain_number_end(&self, from: usize) -> usize {
        let end = self.digits_end(from);
        if self.byte(end) == b'.' { self.digits_end(end.saturating_add(1)) } else { end }
    }
}
