//! A plan of keys for all texts of one form: the values by which of the text's literals they are.

use super::literal::Written;
use super::plan::{Plan, Planned};
use super::{ColumnId, ColumnKeys, KeyId, Keys, Rules, Values};
use crate::cache::{Scratch, Sort};
use crate::dialect::{Dialect, Modes};
use crate::lexer::{Lexer, TokenKind};
use crate::schema::TableId;

/// Which literals the values of a statement's keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    table: TableId,
    columns: Box<[Column]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Column {
    /// Without its slots, which the sources replace.
    planned: Planned,
    sources: Box<[Source]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// A literal.
    One { operand: u32, negative: bool },
    /// All literals of a list.
    List { operand: u32 },
    /// Of each further row the literal at this place.
    Rows { operand: u32, at: u32 },
}

/// The keys of a statement as hashes, in buffers to be used for one statement after another.
#[derive(Debug, Clone, Default)]
pub struct KeyIds {
    table: Option<TableId>,
    /// Each column, and where its values end.
    columns: Vec<(ColumnId, usize)>,
    ids: Vec<KeyId>,
    values: Values,
}

impl KeyIds {
    /// Forgets what it holds.
    pub fn clear(&mut self) {
        self.table = None;
        self.columns.clear();
        self.ids.clear();
    }

    /// Takes over what was told in full.
    pub fn take(&mut self, keys: Option<&Keys>) {
        self.clear();
        let Some(keys) = keys else { return };
        self.table = Some(keys.table);
        for column in &keys.columns {
            self.ids.extend(column.ids());
            self.columns.push((column.column, self.ids.len()));
        }
    }

    /// The table whose rows are bounded; `None`: none is.
    pub fn table(&self) -> Option<TableId> {
        self.table
    }

    /// Each column that bounds them by itself, with its values. A column may be there more than once.
    pub fn columns(&self) -> impl Iterator<Item = (ColumnId, &[KeyId])> + '_ {
        let mut start = 0usize;
        self.columns.iter().map(move |(column, end)| {
            let ids = self.ids.get(std::mem::replace(&mut start, *end)..*end).unwrap_or_default();
            (*column, ids)
        })
    }
}

impl Pattern {
    /// Of a text's plan, when its literals have been read; `None` if a column is bounded by nothing that could be told
    /// of another text.
    pub(crate) fn of(plan: Plan, scratch: &Scratch) -> Option<Pattern> {
        let column = |mut planned: Planned| {
            let slots = std::mem::take(&mut planned.slots);
            let mut sources: Vec<Source> = Vec::new();
            for slot in slots {
                let (operand, found) = scratch.operand_at(slot.start)?;
                let source = match found.sort {
                    Sort::One => Source::One { operand, negative: slot.negative },
                    Sort::List(_) => Source::List { operand },
                    // The first row's literals stand directly before the further rows.
                    Sort::Rows(literals) => match *sources.first()? {
                        Source::One { operand: first, .. } => {
                            Source::Rows { operand, at: first.checked_sub(operand.checked_sub(literals)?)? }
                        }
                        _ => return None,
                    },
                };
                if matches!(source, Source::One { .. }) || sources.last() != Some(&source) {
                    sources.push(source);
                }
            }
            Some(Column { planned, sources: sources.into() })
        };
        // What a parameter bounds is not told by a text.
        let told = |planned: &Planned| {
            !planned.slots.is_empty() && planned.slots.iter().all(|slot| slot.parameter.is_none())
        };
        let columns: Option<Box<[Column]>> = plan.columns.into_iter().filter(told).map(column).collect();
        let columns = columns?;
        (!columns.is_empty()).then_some(Pattern { table: plan.table, columns })
    }

    /// The keys of a text of this form, whose literals have been read, with their values.
    pub(crate) fn keys_in_full(&self, sql: &[u8], dialect: &Dialect, scratch: &Scratch) -> Option<Keys> {
        let of = |column: &Column| {
            let mut values = Values::default();
            column.gather(sql, dialect, scratch, &mut values)?;
            Some(ColumnKeys { place: column.planned.place, column: column.planned.column, values })
        };
        let columns: Vec<ColumnKeys> = self.columns.iter().filter_map(of).collect();
        (!columns.is_empty()).then_some(Keys { table: self.table, columns })
    }

    /// The keys of a text of this form, whose literals have been read.
    pub(crate) fn keys(&self, sql: &[u8], dialect: &Dialect, scratch: &Scratch, into: &mut KeyIds) {
        into.clear();
        for column in &self.columns {
            into.values.clear();
            if column.gather(sql, dialect, scratch, &mut into.values).is_none() {
                continue;
            }
            into.ids.extend(into.values.ids(column.planned.column));
            into.columns.push((column.planned.column, into.ids.len()));
        }
        into.table = (!into.columns.is_empty()).then_some(self.table);
    }
}

impl Column {
    fn gather(&self, sql: &[u8], dialect: &Dialect, scratch: &Scratch, into: &mut Values) -> Option<()> {
        let law = (dialect.modes, Rules::all());
        for source in &self.sources {
            match *source {
                Source::One { operand, negative } => {
                    let bytes = sql.get(scratch.operands.get(operand as usize)?.range())?;
                    self.planned.add(Written::Literal { bytes, negative }, law, into)?;
                }
                Source::List { operand } => {
                    let list = *scratch.operands.get(operand as usize)?;
                    let Sort::List(first) = list.sort else { return None };
                    let Some(items) = scratch.items(list, first) else {
                        self.gather_list(sql.get(list.range())?, dialect, law, None, into)?;
                        continue;
                    };
                    for item in items {
                        let (negative, bytes) = match sql.get(item)? {
                            [b'-', digits @ ..] => (true, digits),
                            [b'+', digits @ ..] => (false, digits),
                            bytes => (false, bytes),
                        };
                        self.planned.add(Written::Literal { bytes, negative }, law, into)?;
                    }
                }
                Source::Rows { operand, at } => {
                    let rows = sql.get(scratch.operands.get(operand as usize)?.range())?;
                    self.gather_list(rows, dialect, law, Some(at), into)?;
                }
            }
        }
        Some(())
    }

    /// Adds the literals of a list, or of each row the one at a place.
    fn gather_list(
        &self,
        list: &[u8],
        dialect: &Dialect,
        law: (Modes, Rules),
        wanted: Option<u32>,
        into: &mut Values,
    ) -> Option<()> {
        let (mut at, mut negative) = (0u32, false);
        for token in Lexer::new(list, dialect) {
            match token.kind {
                TokenKind::Sign(b'(') => at = 0,
                TokenKind::Sign(b'-') => negative = true,
                TokenKind::Sign(b',') => (at, negative) = (at.saturating_add(1), false),
                TokenKind::Text | TokenKind::Number if wanted.is_none_or(|wanted| wanted == at) => {
                    let bytes = list.get(token.range)?;
                    self.planned.add(Written::Literal { bytes, negative }, law, into)?;
                }
                TokenKind::Error => return None,
                _ => {}
            }
        }
        Some(())
    }
}
