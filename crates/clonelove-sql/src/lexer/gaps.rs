//! What stands between tokens: white space, and comments of every form.

use memchr::{memchr2, memmem};

use super::{Conditional, Lexer};
use crate::dialect::{Charset, Flavour};

/// What comes before a token: nothing of note, the end of the text, or something no server accepts.
pub(super) enum Gap {
    Token,
    End,
    Error(usize),
}

impl Lexer<'_> {
    /// Passes over white space and comments.
    pub(super) fn skip_gap(&mut self) -> Gap {
        loop {
            let start = self.at;
            match (self.byte(start), self.byte(start.saturating_add(1))) {
                (b' ' | b'\t'..=b'\r', _) => self.at = start.saturating_add(1),
                (b'#', _) => self.skip_line(start),
                (b'-', b'-') => match self.byte(start.saturating_add(2)) {
                    0..=b' ' | 0x7f => self.skip_line(start),
                    // Which bytes above ASCII are white space differs from set to set.
                    0x80.. if self.dialect.charset != Charset::Utf8 => return Gap::Error(start),
                    _ => return Gap::Token,
                },
                (b'/', b'*') => {
                    if self.skip_comment(start).is_none() {
                        return Gap::Error(start);
                    }
                }
                (b'*', b'/') if self.in_executable_comment => {
                    self.in_executable_comment = false;
                    self.at = start.saturating_add(2);
                }
                _ if start >= self.sql.len() && self.in_executable_comment => return Gap::Error(start),
                _ if start >= self.sql.len() => return Gap::End,
                _ => return Gap::Token,
            }
        }
    }

    /// To the end of the line; a NUL byte ends a comment too, and is then met as the error that it is.
    fn skip_line(&mut self, start: usize) {
        let tail = self.tail(start);
        self.at = start.saturating_add(memchr2(b'\n', 0, tail).unwrap_or(tail.len()));
    }

    /// Passes over `/* … */`, or only over the opening of an executable comment; `None` if it is not closed, or if
    /// servers would not agree where it closes.
    fn skip_comment(&mut self, start: usize) -> Option<()> {
        let body = start.saturating_add(2);
        let marked = match (self.dialect.flavour, self.byte(body), self.byte(body.saturating_add(1))) {
            (_, b'!', _) => Some((body.saturating_add(1), false)),
            (Flavour::MariaDb, b'M', b'!') => Some((body.saturating_add(2), true)),
            _ => None,
        };
        let Some((code, mariadb_only)) = marked else {
            let end = self.plain_comment_end(body)?;
            if self.byte(body) == b'+' && !closed_hint(self.sql.get(body..end).unwrap_or_default()) {
                return None;
            }
            self.at = end;
            return Some(());
        };
        let Some((version, digits)) = self.comment_version(code) else {
            self.in_executable_comment = true;
            self.at = code;
            return Some(());
        };
        self.saw_conditional = true;
        let is_code = match self.conditional {
            Conditional::Code => true,
            Conditional::Comment => false,
            Conditional::ByVersion => self.version_fits(version, mariadb_only),
        };
        if is_code {
            self.in_executable_comment = true;
            self.at = code.saturating_add(digits);
        } else {
            self.at = self.nested_comment_end(code)?;
        }
        Some(())
    }

    /// The version an executable comment asks for, and how many digits it has. MySQL reads a sixth digit as the
    /// version's only before white space, MariaDB always.
    fn comment_version(&self, at: usize) -> Option<(u32, usize)> {
        let digits = self.tail(at).iter().take(6).take_while(|byte| byte.is_ascii_digit()).count();
        let six = match self.dialect.flavour {
            Flavour::MariaDb => digits == 6,
            Flavour::MySql => digits == 6 && is_space(self.byte(at.saturating_add(6))),
        };
        let length = match digits {
            0..5 => return None,
            _ if six => 6,
            _ => 5,
        };
        let version = self.tail(at).iter().take(length).fold(0u32, |version, digit| {
            version.wrapping_mul(10).wrapping_add(u32::from(digit.wrapping_sub(b'0')))
        });
        Some((version, length))
    }

    /// MariaDB passes over what is meant for MySQL 5.7 and later.
    fn version_fits(&self, version: u32, mariadb_only: bool) -> bool {
        let foreign = match self.dialect.flavour {
            Flavour::MariaDb => !mariadb_only && (50_700..=99_999).contains(&version),
            Flavour::MySql => false,
        };
        version <= self.dialect.version && !foreign
    }

    fn plain_comment_end(&self, body: usize) -> Option<usize> {
        memmem::find(self.tail(body), b"*/").map(|at| body.saturating_add(at).saturating_add(2))
    }

    /// The end of an executable comment that is not executed: one level of plain comments may stand in it.
    fn nested_comment_end(&self, body: usize) -> Option<usize> {
        let mut at = body;
        loop {
            at = at.saturating_add(memchr2(b'*', b'/', self.tail(at))?);
            match (self.byte(at), self.byte(at.saturating_add(1))) {
                (b'/', b'*') => at = self.plain_comment_end(at.saturating_add(2))?,
                (b'*', b'/') => return Some(at.saturating_add(2)),
                _ => at = at.saturating_add(1),
            }
        }
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// Whether every quote in an optimizer hint closes in it. A server reads quoted names in hints, and so would find the
/// end of a hint elsewhere than we if `*/` stood in one.
fn closed_hint(hint: &[u8]) -> bool {
    let mut open = None;
    for byte in hint {
        match (open, *byte) {
            (_, b'\\') => return false,
            (None, b'\'' | b'"' | b'`') => open = Some(*byte),
            (Some(quote), byte) if byte == quote => open = None,
            _ => {}
        }
    }
    open.is_none()
}
