//! MySQL: a set of GTIDs, kept as intervals per source UUID and tag.
//! Grammar: "GTID Sets" in the reference manual, `uuid:[tag:]interval[:interval]…[,…]`.

use std::collections::BTreeMap;
use std::fmt;

use super::BadPosition;
use crate::report::Flavour;

/// A set of GTIDs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MySqlPosition {
    /// By UUID and tag (empty for GTIDs without one): never an empty vector, see [`Intervals`].
    sources: BTreeMap<Source, Intervals>,
}

/// The UUID of the server that wrote, and the tag, folded to lower case.
type Source = ([u8; 16], String);

/// First and last transaction number, both inside. In a [`MySqlPosition`] sorted, apart by at least one number,
/// so that equal sets are equal values.
type Intervals = Vec<(u64, u64)>;

/// The largest transaction number is 2^63 - 2.
const LAST_NUMBER: u64 = i64::MAX as u64 - 1;

/// `[a-z_][a-z0-9_]{0,31}`
const LONGEST_TAG: usize = 32;

impl MySqlPosition {
    pub(super) fn parse(text: &str) -> Result<Self, BadPosition> {
        let mut read: BTreeMap<Source, Intervals> = BTreeMap::new();
        // The server itself writes and accepts commas with nothing between them.
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            parse_source(part, &mut read)?;
        }
        let sources = read.into_iter().map(|(source, intervals)| (source, normal(intervals))).collect();
        Ok(MySqlPosition { sources })
    }

    /// Whether the set has no member.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// How many intervals the set is made of.
    pub fn len(&self) -> usize {
        self.sources.values().map(Vec::len).sum()
    }

    /// Each UUID and tag (empty for none) with its intervals, both ends inside, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8; 16], &str, &[(u64, u64)])> + '_ {
        self.sources.iter().map(|((uuid, tag), intervals)| (uuid, tag.as_str(), intervals.as_slice()))
    }

    /// What of it one server wrote; nothing, if that is no UUID.
    pub(super) fn written_by(&self, uuid: &str) -> Self {
        let uuid = parse_uuid(uuid);
        let of_it = self.sources.iter().filter(|((one, _), _)| Some(*one) == uuid);
        MySqlPosition { sources: of_it.map(|(source, numbers)| (source.clone(), numbers.clone())).collect() }
    }

    pub(super) fn union(&mut self, other: &Self) {
        for (source, intervals) in &other.sources {
            if let Some(mine) = self.sources.get_mut(source) {
                join(mine, intervals);
            } else {
                self.sources.insert(source.clone(), intervals.clone());
            }
        }
    }

    pub(super) fn covers(&self, need: &Self) -> bool {
        need.sources
            .iter()
            .all(|(source, need)| self.sources.get(source).is_some_and(|have| contains(have, need)))
    }

    pub(super) fn subtract(&mut self, done: &Self) {
        for (source, done) in &done.sources {
            if let Some(mine) = self.sources.get_mut(source) {
                *mine = without(mine, done);
                if mine.is_empty() {
                    self.sources.remove(source);
                }
            }
        }
    }
}

impl fmt::Display for MySqlPosition {
    /// As the server prints it, but without its line breaks: the tags of one UUID follow one another.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut previous: Option<&[u8; 16]> = None;
        for ((uuid, tag), intervals) in &self.sources {
            if previous != Some(uuid) {
                f.write_str(if previous.is_some() { "," } else { "" })?;
                write_uuid(f, uuid)?;
            }
            if !tag.is_empty() {
                write!(f, ":{tag}")?;
            }
            for (first, last) in intervals {
                if first == last { write!(f, ":{first}") } else { write!(f, ":{first}-{last}") }?;
            }
            previous = Some(uuid);
        }
        Ok(())
    }
}

/// Reads a UUID as the server writes it (8-4-4-4-12), or its 32 digits without hyphens; either case.
fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    const HYPHENS: [usize; 4] = [8, 13, 18, 23];
    if text.len() != 32 && text.len() != 36 {
        return None;
    }
    let mut uuid = [0u8; 16];
    let mut digits = 0usize;
    for (index, byte) in text.bytes().enumerate() {
        if text.len() == 36 && HYPHENS.contains(&index) {
            if byte != b'-' {
                return None;
            }
            continue;
        }
        let digit = u8::try_from(char::from(byte).to_digit(16)?).ok()?;
        let place = uuid.get_mut(digits / 2)?;
        *place = (*place << 4) | digit;
        digits = digits.saturating_add(1);
    }
    Some(uuid)
}

fn write_uuid(f: &mut fmt::Formatter<'_>, uuid: &[u8; 16]) -> fmt::Result {
    for (index, byte) in uuid.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            f.write_str("-")?;
        }
        write!(f, "{byte:02x}")?;
    }
    Ok(())
}

/// One UUID with its intervals; a tag holds for the intervals after it, up to the next tag.
fn parse_source(part: &str, into: &mut BTreeMap<Source, Intervals>) -> Result<(), BadPosition> {
    let bad = |problem| BadPosition::new(Flavour::MySql, part, problem);
    let mut fields = part.split(':').map(str::trim);
    let uuid = fields.next().and_then(parse_uuid).ok_or_else(|| bad("it does not begin with a UUID"))?;
    let mut tag = String::new();
    let mut awaited = true;
    for field in fields {
        if field.starts_with(|first: char| first.is_ascii_digit()) {
            let interval =
                parse_interval(field).ok_or_else(|| bad("an interval is n or first-last, from 1 up"))?;
            into.entry((uuid, tag.clone())).or_default().push(interval);
            awaited = false;
        } else {
            if awaited && !tag.is_empty() {
                return Err(bad("a tag has no interval"));
            }
            tag = parse_tag(field).ok_or_else(|| bad("neither an interval nor a tag"))?;
            awaited = true;
        }
    }
    if awaited { Err(bad("an interval is missing")) } else { Ok(()) }
}

fn parse_tag(field: &str) -> Option<String> {
    let fits = !field.is_empty() && field.len() <= LONGEST_TAG;
    let begins = field.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let goes_on = field.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    (fits && begins && goes_on).then(|| field.to_ascii_lowercase())
}

fn parse_interval(field: &str) -> Option<(u64, u64)> {
    let (first, last) = match field.split_once('-') {
        Some((first, last)) => (number(first.trim())?, number(last.trim())?),
        None => (number(field)?, number(field)?),
    };
    (first <= last).then_some((first, last))
}

fn number(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = plain.then(|| text.parse().ok()).flatten()?;
    (1..=LAST_NUMBER).contains(&number).then_some(number)
}

/// Sorted, with overlapping and neighbouring intervals made one.
fn normal(mut intervals: Intervals) -> Intervals {
    intervals.sort_unstable();
    let mut joined: Intervals = Vec::with_capacity(intervals.len());
    for (first, last) in intervals {
        match joined.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
            _ => joined.push((first, last)),
        }
    }
    joined
}

fn join(mine: &mut Intervals, other: &[(u64, u64)]) {
    // The usual case by far: the next transaction follows the last interval, or prolongs it.
    if let ([(first, last)], Some((start, end))) = (other, mine.last_mut())
        && first >= start
    {
        if *first <= end.saturating_add(1) {
            *end = (*last).max(*end);
        } else {
            mine.push((*first, *last));
        }
        return;
    }
    let mut all = std::mem::take(mine);
    all.extend_from_slice(other);
    *mine = normal(all);
}

/// Both normal: each needed interval must lie in one of those at hand.
fn contains(have: &[(u64, u64)], need: &[(u64, u64)]) -> bool {
    need.iter().all(|(first, last)| {
        let at = have.partition_point(|(_, end)| end < first);
        have.get(at).is_some_and(|(start, end)| start <= first && last <= end)
    })
}

fn without(mine: &[(u64, u64)], done: &[(u64, u64)]) -> Intervals {
    let mut rest = Vec::new();
    for &(first, last) in mine {
        let mut next = first;
        let from = done.partition_point(|(_, end)| *end < first);
        for &(start, end) in done.iter().skip(from).take_while(|(start, _)| *start <= last) {
            if start > next {
                rest.push((next, start.saturating_sub(1)));
            }
            next = next.max(end.saturating_add(1));
        }
        if next <= last {
            rest.push((next, last));
        }
    }
    rest
}
