//! The small languages inside config strings: durations, sizes, names; and the nearest known word to a
//! mistyped one. Pure; must not know which key it reads.

use std::time::Duration;

/// Units of a duration in nanoseconds, the longest first.
const DURATIONS: [(&str, u64); 6] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
];

/// Units of a size in bytes, the longest first.
const SIZES: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Reads `"250ms"`, `"5m"`, `"1h30m"`. The error is a hint.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    const HINT: &str =
        "a duration is a whole number and a unit: us, ms, s, m, h or d, as in \"250ms\" or \"1h30m\"";
    sum_of_units(text, &DURATIONS, HINT).map(Duration::from_nanos)
}

/// Reads `"16MiB"`. The error is a hint.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    const HINT: &str = "a size is a whole number and a unit: B, KiB, MiB or GiB, as in \"16MiB\"";
    sum_of_units(text, &SIZES, HINT)
}

/// Writes a duration as [`parse_duration`] reads it.
pub(crate) fn format_duration(duration: Duration) -> String {
    let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    in_units(nanos, &DURATIONS, "0s")
}

/// Writes a size as [`parse_size`] reads it.
pub(crate) fn format_size(bytes: u64) -> String {
    in_units(bytes, &SIZES, "0B")
}

/// Names of servers are metric labels and path parts: `[a-z0-9._:-]{1,64}`.
pub(super) fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b':' | b'-'))
}

/// The known word that `word` was probably meant to be.
pub(super) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let word = word.to_ascii_lowercase().replace('-', "_");
    let allowed = match word.len() {
        0..=2 => 0,
        3..=5 => 1,
        6..=9 => 2,
        _ => 3,
    };
    known
        .into_iter()
        .map(|each| (if is_stem(&word, each) { 0 } else { edit_distance(&word, each) }, each))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, _)| *distance <= allowed)
        .map(|(_, each)| each)
}

/// One is the beginning of the other, as in `max_connection` or `pass`.
fn is_stem(word: &str, known: &str) -> bool {
    word.len() >= 4 && (known.starts_with(word) || word.starts_with(known))
}

fn sum_of_units(text: &str, units: &[(&str, u64)], hint: &str) -> Result<u64, String> {
    let fail = || hint.to_owned();
    let mut rest = text;
    let mut total: u64 = 0;
    let mut below = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(fail)?;
        let (number, tail) = rest.split_at_checked(digits).ok_or_else(fail)?;
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(letters).ok_or_else(fail)?;
        let &(_, factor) = units.iter().find(|(name, _)| *name == unit).ok_or_else(fail)?;
        if factor >= below {
            return Err(fail());
        }
        below = factor;
        let number: u64 = number.parse().map_err(|_| fail())?;
        total = number
            .checked_mul(factor)
            .and_then(|product| total.checked_add(product))
            .ok_or_else(|| "that is too large".to_owned())?;
        rest = tail;
    }
    if text.is_empty() { Err(fail()) } else { Ok(total) }
}

fn in_units(mut amount: u64, units: &[(&str, u64)], zero: &str) -> String {
    let mut text = String::new();
    for (unit, factor) in units {
        let count = amount.checked_div(*factor).unwrap_or(0);
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
            amount = amount.checked_rem(*factor).unwrap_or(0);
        }
    }
    if text.is_empty() { zero.to_owned() } else { text }
}

/// Levenshtein's distance, in bytes.
fn edit_distance(a: &str, b: &str) -> usize {
    let b = b.as_bytes();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut left = i.saturating_add(1);
        let mut next = Vec::with_capacity(row.len());
        next.push(left);
        for (pair, y) in row.windows(2).zip(b) {
            let &[diagonal, above] = pair else { continue };
            let replaced = diagonal.saturating_add(usize::from(x != *y));
            left = replaced.min(above.saturating_add(1)).min(left.saturating_add(1));
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let good = [
            ("250ms", 250),
            ("0s", 0),
            ("1s", 1000),
            ("5m", 300_000),
            ("8h", 28_800_000),
            ("1h30m", 5_400_000),
            ("1d", 86_400_000),
            ("1m500ms", 60_500),
        ];
        for (text, millis) in good {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(parse_duration("7us"), Ok(Duration::from_micros(7)));
        for text in [
            "",
            "5",
            "s",
            "5 s",
            "-5s",
            "1.5s",
            "5x",
            "5S",
            "30m1h",
            "1s1s",
            "99999999999999999999s",
            "5s ",
            "٣s",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        assert_eq!(parse_duration("999999999999h"), Err("that is too large".to_owned()));
    }

    #[test]
    fn sizes() {
        let good = [
            ("16MiB", 16 << 20),
            ("1GiB", 1 << 30),
            ("512KiB", 512 << 10),
            ("100B", 100),
            ("1MiB512KiB", 3 << 19),
        ];
        for (text, bytes) in good {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "16", "16MB", "16 MiB", "MiB", "1.5GiB", "-1B", "16mib", "99999999999GiB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn written_values_read_back() {
        for text in ["250ms", "1s", "5m", "8h", "1h30m", "1m30s", "0s", "5ms", "1d2h3m4s5ms6us"] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
        for text in ["16MiB", "1GiB", "0B", "1GiB1B"] {
            assert_eq!(format_size(parse_size(text).unwrap()), text);
        }
    }

    #[test]
    fn names() {
        for name in ["db1", "db-1.eu:3306", "a_b", &"x".repeat(64)] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "DB1", "db 1", "db/1", "ü", &"x".repeat(65)] {
            assert!(!is_name(name), "{name}");
        }
    }

    #[test]
    fn nearest_words() {
        let known = ["interval", "timeout", "fall", "rise", "password", "max_connections", "queue_timeout"];
        let table = [
            ("intervall", Some("interval")),
            ("timout", Some("timeout")),
            ("Fall", Some("fall")),
            ("pasword", Some("password")),
            ("max-connections", Some("max_connections")),
            ("pass", Some("password")),
            ("colour", None),
            ("x", None),
        ];
        for (word, expected) in table {
            assert_eq!(nearest(word, known), expected, "{word}");
        }
    }
}
