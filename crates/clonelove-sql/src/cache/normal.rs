//! The form in which a statement is looked up: its bytes with a mark in place of each literal, and where those stood.
//!
//! Made in one pass of the lexer, into buffers that are used again. Two texts with the same form, read in the same
//! dialect, have the same tokens but for the bytes of literals and the length of lists, which is what soundness of the
//! cache rests on:
//!
//! - whatever is no literal is kept byte by byte, and so is whether there is a gap between two tokens;
//! - a mark begins with NUL, which the lexer lets stand nowhere outside of literals, comments and quoted variables, and
//!   what has a NUL in the latter has no form;
//! - no token's end depends on the bytes of the literal behind it: the lexer looks ahead only for bytes with which no
//!   literal begins, and a dot before digits belongs to an identifier if one touches it.
//!
//! What other versions of a server would read otherwise, or is broken, has no form.

use std::ops::Range;

use crate::dialect::{Charset, Dialect, Flavour};
use crate::lexer::{Common, Lexer, Sorts, Token, TokenKind};

/// Longer forms are not worth keeping.
const LONGEST: usize = 5000;
/// More literals than this outside of lists, and a text is hardly one that comes again.
const MOST_OPERANDS: usize = 4096;

/// Of literals in lists so many are kept by their places; if there are more, they are looked for again.
const MOST_ITEMS: usize = 512;

/// A literal or a list of them, in the order of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Operand {
    pub(crate) start: u32,
    pub(crate) end: u32,
    pub(crate) sort: Sort,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sort {
    /// One literal, without its sign.
    One,
    /// What stands between the parentheses of an IN; the first of its literals among [`Scratch::items`].
    List(u32),
    /// Further rows of an INSERT, each with so many literals as the first one has, whose literals stand before this.
    Rows(u32),
}

/// Buffers for a statement's form, to be used for one statement after another.
#[derive(Debug, Clone, Default)]
pub struct Scratch {
    pub(super) form: Vec<u8>,
    pub(crate) operands: Vec<Operand>,
    /// The literals of lists, signs included.
    items: Vec<(u32, u32)>,
}

impl Operand {
    pub(crate) fn range(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

impl Scratch {
    /// Reads a statement; `front` is put before its form. False if it has none.
    pub(super) fn read(&mut self, sql: &[u8], dialect: &Dialect, front: impl FnOnce(&mut Vec<u8>)) -> bool {
        self.form.clear();
        self.operands.clear();
        self.items.clear();
        front(&mut self.form);
        u32::try_from(sql.len()).is_ok()
            && Reading { sql, span: 0, end: usize::MAX, row: Row::None, scratch: self }
                .read(dialect)
                .is_some()
    }

    /// The literals of a list whose first one is at this place, by where they stand, signs included; `None` if they are
    /// too many to have been kept.
    pub(crate) fn items(&self, list: Operand, first: u32) -> Option<impl Iterator<Item = Range<usize>>> {
        let of_this = move |(_, end): &&(u32, u32)| *end <= list.end;
        let items = self.items.get(first as usize..)?.iter().take_while(of_this);
        Some(items.map(|(start, end)| *start as usize..*end as usize))
    }

    /// Which operand a byte of the statement is in.
    pub(crate) fn operand_at(&self, place: usize) -> Option<(u32, &Operand)> {
        let after = self.operands.partition_point(|operand| operand.start as usize <= place);
        let at = after.checked_sub(1)?;
        let operand = self.operands.get(at)?;
        (place < operand.end as usize).then_some((u32::try_from(at).ok()?, operand))
    }
}

/// What stands for the dialect before a form, and for what else is told in bytes.
pub(super) fn front(dialect: &Dialect, [one, other]: [u8; 2]) -> [u8; 9] {
    let Dialect { flavour, version, modes, charset } = *dialect;
    let flavour = match flavour {
        Flavour::MariaDb => 1,
        Flavour::MySql => 2,
    };
    let charset = match charset {
        Charset::Utf8 => 1,
        Charset::AsciiCompatible => 2,
        Charset::Gbk => 3,
        Charset::Sjis => 4,
        Charset::Big5 => 5,
        Charset::Gb18030 => 6,
    };
    let [a, b, c, d] = version.to_le_bytes();
    [a, b, c, d, flavour, modes.bits(), charset, one, other]
}

/// How far the first row of an INSERT has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Row {
    None,
    /// IN was the last word.
    In,
    /// VALUES was the last word.
    Values,
    /// These literals so far; the next token is to be another.
    Literal(Sorts),
    /// A sign was read: a number is to follow.
    Number(Sorts),
    /// A comma or the end is to follow.
    End(Sorts),
}

/// Keeps where a literal stands, or one too many to say that there were more.
#[inline]
fn keep_item(items: &mut Vec<(u32, u32)>, start: usize, end: usize) {
    if items.len() <= MOST_ITEMS
        && let (Ok(start), Ok(end)) = (u32::try_from(start), u32::try_from(end))
    {
        items.push((start, end));
    }
}

struct Reading<'a, 's> {
    sql: &'a [u8],
    /// From here on, the text is still to be copied.
    span: usize,
    /// The end of the last token; before the first one, beyond any.
    end: usize,
    row: Row,
    scratch: &'s mut Scratch,
}

impl Reading<'_, '_> {
    fn read(&mut self, dialect: &Dialect) -> Option<()> {
        let mut lexer = Lexer::new(self.sql, dialect);
        loop {
            let common = lexer.common();
            if let Common::Simple(kind, start, end) = common {
                self.reach(start, end);
                match kind {
                    TokenKind::Word => self.row = self.word(start..end),
                    TokenKind::Sign(b'(') => self.open(&mut lexer)?,
                    TokenKind::Sign(b')') => self.close(&mut lexer)?,
                    _ if self.row == Row::None => {}
                    other => self.row = self.row.after(other),
                }
                continue;
            }
            let Some(token) = lexer.other(&common) else { break };
            let Range { start, end } = token.range;
            self.reach(start, end);
            match token.kind {
                TokenKind::Text | TokenKind::Number | TokenKind::Parameter => self.literal(&token)?,
                TokenKind::Sign(b'(') => self.open(&mut lexer)?,
                TokenKind::Sign(b')') => self.close(&mut lexer)?,
                TokenKind::Word => self.row = self.word(start..end),
                TokenKind::UserVariable => {
                    self.row = Row::None;
                    if memchr::memchr(0, self.sql.get(start..end)?).is_some() {
                        return None;
                    }
                }
                TokenKind::Error => return None,
                other => self.row = self.row.after(other),
            }
        }
        self.copy(self.end);
        (!lexer.saw_conditional() && self.scratch.form.len() <= LONGEST).then_some(())
    }

    /// Goes on to the next token.
    #[inline(always)]
    fn reach(&mut self, start: usize, end: usize) {
        // A gap of one byte is white space; a longer one may be anything that is passed over.
        if start.wrapping_sub(self.end) > 1 {
            if self.end != usize::MAX {
                self.copy(self.end);
                self.scratch.form.push(b' ');
            }
            self.span = start;
        }
        self.end = end;
    }

    /// Copies what is no literal, up to a place.
    fn copy(&mut self, to: usize) {
        self.scratch.form.extend_from_slice(self.sql.get(self.span..to).unwrap_or_default());
    }

    fn mark(&mut self, mark: u8, range: Range<usize>, sort: Sort) -> Option<()> {
        if self.scratch.operands.len() >= MOST_OPERANDS || self.scratch.form.len() > LONGEST {
            return None;
        }
        self.scratch.form.extend_from_slice(&[0, mark]);
        let (start, end) = (u32::try_from(range.start).ok()?, u32::try_from(range.end).ok()?);
        self.scratch.operands.push(Operand { start, end, sort });
        Some(())
    }

    fn literal(&mut self, token: &Token) -> Option<()> {
        self.copy(token.range.start);
        self.span = token.range.end;
        let mark = match token.kind {
            TokenKind::Text => b'T',
            TokenKind::Number => b'N',
            _ => b'P',
        };
        self.row = match (self.row, token.kind) {
            (Row::Literal(mut sorts), TokenKind::Text | TokenKind::Number)
            | (Row::Number(mut sorts), TokenKind::Number) => {
                sorts.add(token.kind == TokenKind::Text);
                Row::End(sorts)
            }
            _ => Row::None,
        };
        self.mark(mark, token.range.clone(), Sort::One)
    }

    fn word(&self, range: Range<usize>) -> Row {
        let word = self.sql.get(range).unwrap_or_default();
        // Few words begin with one of these.
        if !matches!(word.first(), Some(b'I' | b'i' | b'V' | b'v')) {
            return Row::None;
        }
        if word.eq_ignore_ascii_case(b"IN") {
            Row::In
        } else if word.eq_ignore_ascii_case(b"VALUES") || word.eq_ignore_ascii_case(b"VALUE") {
            Row::Values
        } else {
            Row::None
        }
    }

    /// An opening parenthesis was read.
    fn open(&mut self, lexer: &mut Lexer<'_>) -> Option<()> {
        match std::mem::replace(&mut self.row, Row::None) {
            Row::Values => self.row = Row::Literal(Sorts::default()),
            Row::In => {
                let first = self.scratch.items.len();
                let items = &mut self.scratch.items;
                let Some((close, sorts)) = lexer.pass_list(|start, end| keep_item(items, start, end)) else {
                    self.scratch.items.truncate(first);
                    return Some(());
                };
                let kept = if self.scratch.items.len() > MOST_ITEMS {
                    u32::MAX
                } else {
                    u32::try_from(first).ok()?
                };
                self.copy(self.end);
                let mark = match sorts.uniform() {
                    Some(true) => b't',
                    Some(false) => b'n',
                    None => b'm',
                };
                self.mark(mark, self.end..close, Sort::List(kept))?;
                self.span = close;
                self.end = lexer.at();
            }
            _ => {}
        }
        Some(())
    }

    /// A closing parenthesis was read: perhaps that of the first row.
    fn close(&mut self, lexer: &mut Lexer<'_>) -> Option<()> {
        let Row::End(sorts) = std::mem::replace(&mut self.row, Row::None) else { return Some(()) };
        let Some(literals) = sorts.count() else { return Some(()) };
        if !lexer.pass_rows(sorts) {
            return Some(());
        }
        self.copy(self.end);
        self.mark(b'R', self.end..lexer.at(), Sort::Rows(literals))?;
        self.span = lexer.at();
        self.end = lexer.at();
        Some(())
    }
}

impl Row {
    fn after(self, token: TokenKind) -> Row {
        match (self, token) {
            (Row::End(sorts), TokenKind::Sign(b',')) => Row::Literal(sorts),
            (Row::Literal(sorts), TokenKind::Sign(b'-' | b'+')) => Row::Number(sorts),
            _ => Row::None,
        }
    }
}
