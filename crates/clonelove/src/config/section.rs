//! Reading one section of a config: typed values out of TOML ones, each with its own complaint. A value that
//! is wrong is noted and its default taken, so that the rest is still checked. Must not know what keys mean.

use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::keys;
use super::problem::Problems;
use super::value::{format_duration, format_size, nearest, parse_duration, parse_size};

/// One table of the config, or the absence of one.
#[derive(Clone)]
pub(super) struct Section<'a> {
    name: &'static str,
    table: Option<&'a DeTable<'a>>,
    span: Range<usize>,
    problems: &'a Problems<'a>,
}

/// One of the words that a key may have.
#[derive(Clone, Copy)]
pub(super) enum Choice<T> {
    /// It means this.
    Is(T),
}

impl<'a> Section<'a> {
    /// The section `name`, and every key in it that should not be there noted.
    pub(super) fn new(
        name: &'static str,
        table: &'a DeTable<'a>,
        span: Range<usize>,
        problems: &'a Problems<'a>,
    ) -> Self {
        let section = Self { name, table: Some(table), span, problems };
        section.note_unknown_keys(table);
        section
    }

    /// The section `name` of a config that does not have it.
    pub(super) fn absent(name: &'static str, problems: &'a Problems<'a>) -> Self {
        Self { name, table: None, span: 0..0, problems }
    }

    /// Whether the config has this section.
    pub(super) fn is_present(&self) -> bool {
        self.table.is_some()
    }

    /// Where to point for something that concerns `key`: at its value, or else at the section.
    pub(super) fn span_of(&self, key: &str) -> Range<usize> {
        self.get(key).map_or_else(|| self.span.clone(), Spanned::span)
    }

    /// Where the section stands.
    pub(super) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// What was written for `key`.
    pub(super) fn get(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.table?.get(key)
    }

    /// A key's name as messages write it.
    pub(super) fn path(&self, key: &str) -> String {
        format!("{}.{key}", self.name)
    }

    /// Notes that the value of `key` is wrong.
    pub(super) fn wrong(&self, key: &str, problem: &str, hint: impl Into<String>) {
        self.problems.wrong(&self.span_of(key), format!("{} {problem}", self.path(key)), hint);
    }

    /// Notes that `key` must be written.
    pub(super) fn require(&self, key: &str, hint: impl Into<String>) {
        if self.get(key).is_none() {
            self.problems.missing(&self.span, format!("{} is missing", self.path(key)), hint);
        }
    }

    /// A string.
    pub(super) fn text(&self, key: &str) -> Option<&'a str> {
        let value = self.get(key)?;
        self.as_text(key, value)
    }

    /// A string, the same for an element of a list.
    pub(super) fn as_text(&self, key: &str, value: &'a Spanned<DeValue<'a>>) -> Option<&'a str> {
        match value.get_ref() {
            DeValue::String(text) => Some(text),
            other => {
                self.not_a(key, value, "a string", &format!("write {key} = \"…\", not {}", kind(other)));
                None
            }
        }
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, key: &str, default: bool) -> bool {
        let Some(value) = self.get(key) else { return default };
        match value.get_ref() {
            DeValue::Boolean(flag) => *flag,
            other => {
                self.not_a(
                    key,
                    value,
                    "true or false",
                    &format!("write it without quotes, not {}", kind(other)),
                );
                default
            }
        }
    }

    /// A whole number.
    pub(super) fn count(&self, key: &str, default: u64, range: RangeInclusive<u64>) -> u64 {
        let Some(value) = self.get(key) else { return default };
        let hint = format!("write a number from {} to {}, without quotes", range.start(), range.end());
        let DeValue::Integer(integer) = value.get_ref() else {
            self.not_a(key, value, "a whole number", &hint);
            return default;
        };
        match u64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) if range.contains(&number) => number,
            _ => {
                self.wrong(key, &format!("= {integer} is out of range"), hint);
                default
            }
        }
    }

    /// [`Section::count`] for something that is counted in memory.
    pub(super) fn count_usize(&self, key: &str, default: usize, range: RangeInclusive<u64>) -> usize {
        let wide = self.count(key, u64::try_from(default).unwrap_or(u64::MAX), range);
        usize::try_from(wide).unwrap_or(usize::MAX)
    }

    /// A share, from 0 up to, but not including, 1.
    pub(super) fn share(&self, key: &str, default: f64) -> f64 {
        const HINT: &str = "write a number from 0.0 up to, but not including, 1.0, without quotes";
        let Some(value) = self.get(key) else { return default };
        let text = match value.get_ref() {
            DeValue::Float(float) => float.as_str(),
            DeValue::Integer(integer) => integer.as_str(),
            _ => {
                self.not_a(key, value, "a number", HINT);
                return default;
            }
        };
        match text.parse::<f64>() {
            Ok(number) if (0.0..1.0).contains(&number) => number,
            _ => {
                self.wrong(key, &format!("= {text} is out of range"), HINT);
                default
            }
        }
    }

    /// A duration.
    pub(super) fn duration(&self, key: &str, default: Duration, range: RangeInclusive<Duration>) -> Duration {
        let Some(value) = self.get(key) else { return default };
        if let DeValue::Integer(integer) = value.get_ref() {
            self.not_a(
                key,
                value,
                "a duration",
                &format!("a unit is missing: write \"{integer}s\" or \"{integer}ms\""),
            );
            return default;
        }
        let Some(text) = self.as_text(key, value) else { return default };
        let (low, high) = (format_duration(*range.start()), format_duration(*range.end()));
        match parse_duration(text) {
            Ok(duration) if range.contains(&duration) => duration,
            Ok(_) => {
                self.wrong(
                    key,
                    &format!("= {text:?} is out of range"),
                    format!("from \"{low}\" to \"{high}\""),
                );
                default
            }
            Err(hint) => {
                self.wrong(key, &format!("= {text:?} is not a duration"), hint);
                default
            }
        }
    }

    /// A size in bytes.
    pub(super) fn size(&self, key: &str, default: u64, range: RangeInclusive<u64>) -> u64 {
        let Some(value) = self.get(key) else { return default };
        if let DeValue::Integer(integer) = value.get_ref() {
            self.not_a(
                key,
                value,
                "a size",
                &format!("a unit is missing: write \"{integer}B\" or \"{integer}MiB\""),
            );
            return default;
        }
        let Some(text) = self.as_text(key, value) else { return default };
        let (low, high) = (format_size(*range.start()), format_size(*range.end()));
        match parse_size(text) {
            Ok(size) if range.contains(&size) => size,
            Ok(_) => {
                self.wrong(
                    key,
                    &format!("= {text:?} is out of range"),
                    format!("from \"{low}\" to \"{high}\""),
                );
                default
            }
            Err(hint) => {
                self.wrong(key, &format!("= {text:?} is not a size"), hint);
                default
            }
        }
    }

    /// One of a few words; the first is what is taken in place of a wrong one.
    pub(super) fn choice<T: Copy>(&self, key: &str, default: T, choices: &[(&'static str, Choice<T>)]) -> T {
        let Some(text) = self.text(key) else { return default };
        match choices.iter().find(|(word, _)| *word == text) {
            Some((_, Choice::Is(value))) => return *value,
            None => {
                let words = || choices.iter().map(|(word, _)| *word);
                let hint = match nearest(text, words()) {
                    Some(word) => format!("did you mean \"{word}\"?"),
                    None => format!("one of {}", words().collect::<Vec<_>>().join(", ")),
                };
                self.wrong(key, &format!("= {text:?} is not known"), hint);
            }
        }
        default
    }

    /// A list.
    pub(super) fn list(&self, key: &str) -> Option<&'a DeArray<'a>> {
        let value = self.get(key)?;
        match value.get_ref() {
            DeValue::Array(list) => Some(list),
            other => {
                self.not_a(key, value, "a list", &format!("write {key} = [ … ], not {}", kind(other)));
                None
            }
        }
    }

    /// Notes that a value is not of the right kind.
    pub(super) fn not_a(&self, key: &str, value: &Spanned<DeValue<'_>>, wanted: &str, hint: &str) {
        self.problems.wrong(&value.span(), format!("{} must be {wanted}", self.path(key)), hint);
    }

    /// Notes something wrong with one element of a list.
    pub(super) fn wrong_at(&self, span: &Range<usize>, problem: String, hint: impl Into<String>) {
        self.problems.wrong(span, problem, hint);
    }

    /// The list that all problems go to.
    pub(super) fn problems(&self) -> &'a Problems<'a> {
        self.problems
    }

    fn note_unknown_keys(&self, table: &DeTable<'_>) {
        for key in table.keys() {
            let written: &str = key.get_ref();
            if keys::of_section(self.name).any(|known| known == written) {
                continue;
            }
            let hint = match (nearest(written, keys::of_section(self.name)), keys::section_of(written)) {
                (_, Some(section)) => format!("it belongs in [{section}]"),
                (Some(known), None) => format!("did you mean \"{known}\"?"),
                (None, None) => {
                    format!("known here: {}", keys::of_section(self.name).collect::<Vec<_>>().join(", "))
                }
            };
            self.problems.wrong(&key.span(), format!("unknown key \"{}\"", self.path(written)), hint);
        }
    }
}

/// What a TOML value is, in words.
pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
