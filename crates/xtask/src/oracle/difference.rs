//! How two answers to one statement differ. Owns the comparison; what may differ is `classes`'s business.

use super::client::Rows;

/// How two answers differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Difference {
    /// The same rows in another order.
    Order,
    /// As many rows, but others.
    Values,
    /// More or fewer rows, columns or results.
    Count,
}

pub(super) fn difference(one: &[Rows], other: &[Rows]) -> Option<Difference> {
    if one == other {
        return None;
    }
    let shape =
        |results: &[Rows]| results.iter().map(|rows| (rows.columns, rows.rows.len())).collect::<Vec<_>>();
    if shape(one) != shape(other) {
        return Some(Difference::Count);
    }
    let sorted = |results: &[Rows]| {
        let sort = |rows: &Rows| {
            let mut rows = rows.rows.clone();
            rows.sort_unstable();
            rows
        };
        results.iter().map(sort).collect::<Vec<_>>()
    };
    if sorted(one) != sorted(other) {
        return Some(Difference::Values);
    }
    let same_order = one.iter().zip(other).all(|(one, other)| one.rows == other.rows);
    // Names of columns may hold an expression's text, which is no row.
    (!same_order).then_some(Difference::Order)
}

pub(super) fn first_difference(one: &[Rows], other: &[Rows]) -> String {
    for (ours, theirs) in one.iter().zip(other) {
        let odd = |here: &Rows, there: &Rows| {
            let rows = here.values();
            let others = there.values();
            rows.into_iter().find(|row| !others.contains(row))
        };
        let (here, there) = (odd(ours, theirs), odd(theirs, ours));
        if here.is_some() || there.is_some() || ours.rows.len() != theirs.rows.len() {
            let column =
                here.iter().flatten().zip(there.iter().flatten()).position(|(one, other)| one != other);
            let shown = |row: &Option<Vec<Option<Vec<u8>>>>| match (row, column) {
                (None, _) => "nothing".to_owned(),
                (Some(row), Some(column)) => {
                    format!("column {column}: {}", brief(row.get(column).and_then(Option::as_deref)))
                }
                (Some(row), None) => {
                    row.iter().map(|value| brief(value.as_deref())).collect::<Vec<_>>().join(" | ")
                }
            };
            let (ours, theirs) = (ours.rows.len(), theirs.rows.len());
            return format!("{ours} rows against {theirs}: {} against {}", shown(&here), shown(&there));
        }
    }
    "the order alone".to_owned()
}

fn brief(value: Option<&[u8]>) -> String {
    match value {
        None => "NULL".to_owned(),
        Some(bytes) => {
            let start = bytes.get(..80.min(bytes.len())).unwrap_or_default();
            format!("{:?} ({} bytes)", String::from_utf8_lossy(start), bytes.len())
        }
    }
}

/// Text of a one-column row that some character sets interleave with NULs.
pub(super) fn plain(row: &[u8]) -> String {
    row.iter().skip(1).filter(|byte| **byte != 0).map(|byte| char::from(*byte)).collect()
}
