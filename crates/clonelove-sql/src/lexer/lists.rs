//! Lists of literals, which may be most of a text: passed without making a token of each.

use super::Lexer;
use super::characters::Class;

/// Of the literals of a list: how many there are, and which are strings, not numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Sorts {
    count: u32,
    strings: u32,
    /// A bit for each of the last 64, set for strings; the last one's is the lowest.
    order: u64,
}

impl Sorts {
    pub(crate) fn add(&mut self, string: bool) {
        self.count = self.count.saturating_add(1);
        self.strings = self.strings.saturating_add(u32::from(string));
        self.order = self.order.wrapping_shl(1) | u64::from(string);
    }

    /// How many there are, unless they are so many that not all their sorts are known.
    pub(crate) fn count(self) -> Option<u32> {
        (self.count <= 64).then_some(self.count)
    }

    /// Whether all are strings (true) or numbers (false).
    pub(crate) fn uniform(self) -> Option<bool> {
        match self.strings {
            0 => Some(false),
            strings if strings == self.count => Some(true),
            _ => None,
        }
    }
}

impl Lexer<'_> {
    /// Passes literals up to the parenthesis that closes them, the opening one having been passed; with `rows`, as many
    /// further such lists as follow, each after a comma. False, and nothing is passed, if there is anything else in the
    /// first list, or if it is spelt so that it takes a closer look.
    pub(crate) fn skip_literals(&mut self, rows: bool) -> bool {
        let Some(mut end) = self.list_end(self.at) else { return false };
        while rows && let Some(further) = self.further(end).and_then(|open| self.list_end(open)) {
            end = further;
        }
        self.at = end;
        true
    }

    /// Passes strings and numbers and the parenthesis that closes them, the opening one having been passed; says where
    /// the closing one is, and of what sort they are. `None`, and nothing is passed, as in [`Self::skip_literals`].
    /// Each is told of, by where it stands; also if `None` comes of it in the end.
    pub(crate) fn pass_list(&mut self, each: impl FnMut(usize, usize)) -> Option<(usize, Sorts)> {
        let (end, sorts) = self.counted_end(self.at, false, each)?;
        self.at = end;
        Some((end.checked_sub(1)?, sorts))
    }

    /// Passes further lists of the same sorts, each after a comma, as many as there are; false if there are none.
    pub(crate) fn pass_rows(&mut self, sorts: Sorts) -> bool {
        let begin = self.at;
        while let Some(open) = self.further(self.at) {
            match self.counted_end(open, false, |_, _| ()) {
                Some((end, others)) if others == sorts => self.at = end,
                _ => break,
            }
        }
        self.at > begin
    }

    /// Behind the parenthesis that opens a further list.
    fn further(&self, from: usize) -> Option<usize> {
        let comma = self.spaces_end(from);
        let open = self.spaces_end(comma.saturating_add(1));
        (self.byte(comma) == b',' && self.byte(open) == b'(').then(|| open.saturating_add(1))
    }

    fn list_end(&self, from: usize) -> Option<usize> {
        self.counted_end(from, true, |_, _| ()).map(|(end, _)| end)
    }

    /// Behind the parenthesis that closes a list, and the sorts of its literals; `loose`: which may be NULL and
    /// parameters too.
    #[inline]
    fn counted_end(
        &self,
        from: usize,
        loose: bool,
        mut each: impl FnMut(usize, usize),
    ) -> Option<(usize, Sorts)> {
        let (mut at, mut sorts) = (from, Sorts::default());
        loop {
            let start = self.spaces_end(at);
            sorts.add(matches!(self.byte(start), b'\'' | b'"'));
            let end = self.literal_end(start, loose)?;
            each(start, end);
            at = self.spaces_end(end);
            let next = self.byte(at);
            at = at.wrapping_add(1);
            match next {
                b',' => {}
                b')' => return Some((at, sorts)),
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
            at = at.wrapping_add(1);
        }
    }

    /// Behind a literal of the simplest forms: a string, digits with or without a point, `?`, NULL.
    #[inline]
    fn literal_end(&self, from: usize, loose: bool) -> Option<usize> {
        let end = match self.byte(from) {
            b'\'' => self.text_end(from)?,
            b'"' if !self.ansi => self.text_end(from)?,
            b'0'..=b'9' => self.plain_number_end(from),
            b'-' | b'+' if self.byte(from.saturating_add(1)).is_ascii_digit() => {
                self.plain_number_end(from.saturating_add(1))
            }
            b'?' if loose => from.saturating_add(1),
            b'N' | b'n' if loose => {
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
