//! What is wrong with a config: every problem with its place and a hint. Owns the list while a config is
//! checked, and turns byte offsets into lines and columns; must not know what a config means.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// One thing that is wrong with a config.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Problem {
    /// The config file.
    pub(crate) file: PathBuf,
    /// From 1; none when the file could not be read at all.
    pub(crate) line: Option<usize>,
    /// In characters, from 1.
    pub(crate) column: Option<usize>,
    /// What is wrong.
    pub(crate) problem: String,
    /// What to do about it.
    pub(crate) hint: String,
}

/// Collects problems while one text is checked.
#[derive(Debug)]
pub(super) struct Problems<'a> {
    file: &'a Path,
    text: &'a str,
    found: RefCell<Vec<Found>>,
}

/// What sort of problem it is, as far as that decides whether it is worth telling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// The text is not TOML there.
    Syntax,
    /// Something is written twice.
    Twice,
    /// Something is written that cannot be meant.
    Wrong,
    /// Something is not written that must be.
    Missing,
}

#[derive(Debug)]
struct Found {
    at: usize,
    sort: Sort,
    problem: String,
    hint: String,
}

impl<'a> Problems<'a> {
    pub(super) fn new(file: &'a Path, text: &'a str) -> Self {
        Self { file, text, found: RefCell::default() }
    }

    /// Notes that what stands at `span` is wrong.
    pub(super) fn wrong(&self, span: &Range<usize>, problem: impl Into<String>, hint: impl Into<String>) {
        self.note(Sort::Wrong, span, problem, hint);
    }

    /// Notes that something is missing at `span`.
    pub(super) fn missing(&self, span: &Range<usize>, problem: impl Into<String>, hint: impl Into<String>) {
        self.note(Sort::Missing, span, problem, hint);
    }

    pub(super) fn note(
        &self,
        sort: Sort,
        span: &Range<usize>,
        problem: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let found = Found { at: span.start, sort, problem: problem.into(), hint: hint.into() };
        self.found.borrow_mut().push(found);
    }

    /// All problems in the order of the text. Where the text is no TOML, what follows from that (a key that
    /// seems to be missing, a value on the same line that seems to be odd) is left out: it would mislead.
    pub(super) fn into_sorted(self) -> Vec<Problem> {
        let Problems { file, text, found } = self;
        let mut found = found.into_inner();
        found.sort_by_key(|each| each.at);
        let broken: Vec<usize> = found
            .iter()
            .filter(|each| each.sort == Sort::Syntax)
            .map(|each| place(text, each.at).0)
            .collect();
        let mut problems: Vec<Problem> = Vec::new();
        for each in found {
            let (line, column) = place(text, each.at);
            let consequence = match each.sort {
                Sort::Syntax | Sort::Twice => false,
                Sort::Wrong => broken.contains(&line),
                Sort::Missing => !broken.is_empty(),
            };
            let problem = Problem {
                file: file.to_owned(),
                line: Some(line),
                column: Some(column),
                problem: each.problem,
                hint: each.hint,
            };
            if !consequence && problems.last() != Some(&problem) {
                problems.push(problem);
            }
        }
        problems
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, "{line}:{column}:")?;
        }
        write!(f, " {} ({})", self.problem, self.hint)
    }
}

/// Line and column of a byte offset, both from 1, the column in characters.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count().saturating_add(1);
    let start = before.rfind('\n').map_or(0, |newline| newline.saturating_add(1));
    let column = before.get(start..).unwrap_or_default().chars().count().saturating_add(1);
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_characters_from_one() {
        let text = "a = 1\nü = 2\n";
        assert_eq!(place(text, 0), (1, 1));
        assert_eq!(place(text, 4), (1, 5));
        assert_eq!(place(text, 6), (2, 1));
        assert_eq!(place(text, 11), (2, 5));
        assert_eq!(place(text, 999), (3, 1));
    }

    #[test]
    fn consequences_of_broken_syntax_are_left_out() {
        let text = "a = 5x\nb = 1\n";
        let problems = Problems::new(Path::new("f"), text);
        problems.note(Sort::Syntax, &(4..6), "broken", "mend it");
        problems.wrong(&(4..6), "not a number", "x");
        problems.wrong(&(7..8), "unknown key", "y");
        problems.missing(&(0..0), "no c", "z");
        let told: Vec<String> = problems.into_sorted().iter().map(ToString::to_string).collect();
        assert_eq!(told, ["f:1:5: broken (mend it)", "f:2:1: unknown key (y)"]);
    }
}
