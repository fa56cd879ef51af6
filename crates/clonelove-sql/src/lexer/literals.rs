//! Numbers, strings and quoted names.

use super::characters::find_character;
use super::strings::{closing_quote, either};
use super::{Lexer, Token, TokenKind};

impl Lexer<'_> {
    /// A number, or an identifier that begins with digits.
    pub(super) fn number(&mut self, start: usize) -> Option<Token> {
        let end = self.digits_end(start);
        let plain = self.byte(end) != b'.' && !self.goes_on(end);
        if plain {
            return self.token(TokenKind::Number, start, end);
        }
        if let Some(end) = self.prefixed_number_end(start) {
            return self.token(TokenKind::Number, start, end);
        }
        match self.byte(end) {
            b'.' if self.byte(end.saturating_add(1)) != b'.' => self.real(start, end.saturating_add(1)),
            b'e' | b'E' => match self.exponent_end(end) {
                Some(end) => self.token(TokenKind::Number, start, end),
                None => self.identifier(start, end, TokenKind::Name),
            },
            _ if self.goes_on(end) => self.identifier(start, end, TokenKind::Name),
            _ => self.token(TokenKind::Number, start, end),
        }
    }

    /// The end of `0x1F` or `0b01`, where those digits are all there is.
    fn prefixed_number_end(&self, start: usize) -> Option<usize> {
        let digits = start.saturating_add(2);
        let of_base: fn(&u8) -> bool = match (self.byte(start), self.byte(start.saturating_add(1))) {
            (b'0', b'x') => u8::is_ascii_hexdigit,
            (b'0', b'b') => |byte| matches!(byte, b'0' | b'1'),
            _ => return None,
        };
        let count = self.tail(digits).iter().take_while(|byte| of_base(byte)).count();
        let end = digits.saturating_add(count);
        (count > 0 && !self.goes_on(end)).then_some(end)
    }

    pub(super) fn digits_end(&self, from: usize) -> usize {
        let mut at = from;
        while self.byte(at).is_ascii_digit() {
            at = at.wrapping_add(1);
        }
        at
    }

    /// The end of the exponent at an `e`; `None` if digits are missing.
    fn exponent_end(&self, at: usize) -> Option<usize> {
        let after = at.saturating_add(1);
        let digits = match self.byte(after) {
            b'+' | b'-' => after.saturating_add(1),
            _ => after,
        };
        self.byte(digits).is_ascii_digit().then(|| self.digits_end(digits))
    }

    /// A number whose decimal point is behind us. `1.e(` makes the servers drop the number: an error here.
    pub(super) fn real(&mut self, start: usize, after_point: usize) -> Option<Token> {
        let end = self.digits_end(after_point);
        match self.byte(end) {
            b'e' | b'E' => match self.exponent_end(end) {
                Some(end) => self.token(TokenKind::Number, start, end),
                None => self.error(start),
            },
            _ => self.token(TokenKind::Number, start, end),
        }
    }

    /// `x'1F'` or `b'01'`.
    pub(super) fn digits_in_quotes(&mut self, start: usize, prefix: u8) -> Option<Token> {
        let body = start.saturating_add(2);
        let is_digit = |byte: &u8| match prefix {
            b'x' | b'X' => byte.is_ascii_hexdigit(),
            _ => matches!(byte, b'0' | b'1'),
        };
        let count = self.tail(body).iter().take_while(|byte| is_digit(byte)).count();
        let end = body.saturating_add(count);
        if self.byte(end) == b'\'' {
            return self.token(TokenKind::Number, start, end.saturating_add(1));
        }
        self.error(start)
    }

    /// A string literal whose opening quote stands at `quote_at`.
    pub(super) fn text(&mut self, start: usize, quote_at: usize) -> Option<Token> {
        match self.text_end(quote_at) {
            Some(end) => self.token(TokenKind::Text, start, end),
            None => self.error(start),
        }
    }

    #[inline]
    pub(super) fn text_end(&self, quote_at: usize) -> Option<usize> {
        let quote = self.byte(quote_at);
        if !self.plain {
            return self.multi_byte_text_end(quote_at);
        }
        let mut at = quote_at.wrapping_add(1);
        loop {
            let end = at.wrapping_add(closing_quote(self.tail(at), quote, self.escapes)?).wrapping_add(1);
            if self.byte(end) != quote {
                return Some(end);
            }
            at = end.saturating_add(1);
        }
    }

    fn multi_byte_text_end(&self, quote_at: usize) -> Option<usize> {
        let quote = self.byte(quote_at);
        let escape = self.escapes.then_some(b'\\');
        let mut at = quote_at.saturating_add(1);
        loop {
            let special =
                at.saturating_add(find_character(self.dialect.charset, quote, escape, self.tail(at))?);
            if self.byte(special) == b'\\' {
                // Exactly one byte is escaped, also where it leads a character of several.
                at = special.saturating_add(2);
            } else if self.byte(special.saturating_add(1)) == quote {
                at = special.saturating_add(2);
            } else {
                return Some(special.saturating_add(1));
            }
        }
    }

    /// The end of a name in quotes that holds neither a quote nor a NUL nor, in this character set, anything that could
    /// be taken for one; `None` where it takes a closer look.
    #[inline(always)]
    pub(super) fn plain_name_end(&self, start: usize) -> Option<usize> {
        let (quote, body) = (self.byte(start), start.wrapping_add(1));
        let end = body.wrapping_add(either(self.tail(body), quote, 0)?);
        let after = end.wrapping_add(1);
        (self.byte(end) == quote && self.byte(after) != quote).then_some(after)
    }

    pub(super) fn quoted_name(&mut self, start: usize) -> Option<Token> {
        match self.quoted_name_end(start) {
            Some(end) => self.token(TokenKind::QuotedName, start, end),
            None => self.error(start),
        }
    }

    /// The end of an identifier in backticks or double quotes; it may hold no NUL.
    pub(super) fn quoted_name_end(&self, start: usize) -> Option<usize> {
        let quote = self.byte(start);
        let mut at = start.saturating_add(1);
        loop {
            if !self.plain {
                at = at.saturating_add(find_character(self.dialect.charset, quote, Some(0), self.tail(at))?);
            }
            at = at.wrapping_add(either(self.tail(at), quote, 0)?);
            if self.byte(at) != quote {
                return None;
            }
            at = at.wrapping_add(1);
            if self.byte(at) != quote {
                return Some(at);
            }
            at = at.saturating_add(1);
        }
    }
}
