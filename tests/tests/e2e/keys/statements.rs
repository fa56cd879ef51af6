//! Random reads and writes, with the traps among them.

use super::dice::Dice;
use super::schemas::{Column, Made, Sort};

const TEXTS: [&str; 22] = [
    "'a'",
    "'A'",
    "'b'",
    "'a '",
    "'B  '",
    "'ab'",
    "'AB'",
    "'abc'",
    "'y'",
    "'i'",
    "'w'",
    "'v'",
    "''",
    "'5'",
    "'5abc'",
    "'1'",
    "'á'",
    "'ss'",
    "'ß'",
    "'abcdefghij'",
    "'a''b'",
    "'a\\\\b'",
];
const NUMBERS: [&str; 12] = ["0", "1", "2", "5", "-1", "7", "05", "3", "127", "300", "- 1", "+2"];
const ODD: [&str; 12] = [
    "NULL",
    "1.5",
    "5e0",
    "0x61",
    "'5'",
    "5",
    "N'a'",
    "_utf8mb4'a'",
    "'a' 'b'",
    "DATABASE()",
    "DEFAULT",
    "'a\\0'",
];

/// A literal that mostly suits a column.
pub(super) fn literal(dice: &mut Dice, sort: Sort) -> String {
    let of: &[&str] = match sort {
        _ if dice.percent(5) => &ODD,
        Sort::Text => &TEXTS,
        Sort::Number => &NUMBERS,
        Sort::Other | Sort::Generated if dice.percent(50) => &TEXTS,
        Sort::Other | Sort::Generated => &NUMBERS,
    };
    (dice.pick(of)).to_owned()
}

/// A literal of a small number of them, so that statements meet.
pub(super) fn common(dice: &mut Dice, sort: Sort) -> String {
    match sort {
        _ if dice.percent(12) => literal(dice, sort),
        Sort::Text => (dice.pick(&["'a'", "'A'", "'b'", "'ab'", "'5'", "'y'", "'abc'"])).to_owned(),
        _ => (dice.pick(&["1", "2", "5", "3", "7", "-1"])).to_owned(),
    }
}

fn keyed<'a>(dice: &mut Dice, made: &'a Made) -> &'a Column {
    if dice.percent(92) {
        return &made.columns[made.favourite];
    }
    let keyed: Vec<&Column> =
        made.columns.iter().filter(|column| column.name != "v" || column.sort == Sort::Generated).collect();
    dice.pick(&keyed)
}

fn list(dice: &mut Dice, sort: Sort) -> String {
    let count = 1 + dice.below(2);
    (0..count).map(|_| common(dice, sort)).collect::<Vec<_>>().join(", ")
}

fn comparison(dice: &mut Dice, made: &Made) -> String {
    let column = keyed(dice, made);
    let (name, sort) = (column.name, column.sort);
    match dice.below(10) {
        0..8 => format!("{name} = {}", common(dice, sort)),
        8..9 => format!("{name} IN ({})", list(dice, sort)),
        _ => format!("(`{name}` = {})", common(dice, sort)),
    }
}

/// Anything that compares.
fn other(dice: &mut Dice) -> String {
    let of =
        ["v > 1", "v BETWEEN 0 AND 3", "(v = 1 OR v = 2)", "v IS NOT NULL", "NOT v = 2", "v <> 4", "n < 6"];
    (dice.pick(&of)).to_owned()
}

/// Conditions in which a comparison is not what it looks like.
fn trap(dice: &mut Dice, made: &Made) -> String {
    let one = comparison(dice, made);
    let another = other(dice);
    match dice.below(18) {
        0 => format!("{one} = 0"),
        1 => format!("{one} IS FALSE"),
        2 => format!("v BETWEEN 0 AND {one}"),
        3 => format!("{one} 'c'"),
        4 => format!("{one} || 'x'"),
        5 => format!("{one} COLLATE utf8mb4_swedish_ci"),
        6 => format!("NOT {one}"),
        7 => format!("NOT {one} AND {another}"),
        8 => format!("{another} OR {one}"),
        9 => format!("{one} AND {another} OR {}", comparison(dice, made)),
        10 => format!("({one} OR {another}) AND {another}"),
        11 => format!("{one} XOR {another}"),
        12 => format!("CASE WHEN v > 1 AND {one} AND 1 THEN 0 ELSE 1 END"),
        13 => format!("{one} AND v = (SELECT MAX(v) FROM t)"),
        14 => format!("({one}) IN (0)"),
        15 => format!("! {one}"),
        16 => format!("{another} && {one}"),
        _ => format!("{one} AND v NOT IN (SELECT v FROM o)"),
    }
}

fn condition(dice: &mut Dice, made: &Made) -> String {
    match dice.below(100) {
        0..66 => comparison(dice, made),
        66..72 => format!("{} AND {}", comparison(dice, made), other(dice)),
        72..76 => format!("{} AND {}", other(dice), comparison(dice, made)),
        76..84 => format!("({}) AND ({})", comparison(dice, made), comparison(dice, made)),
        84..86 => other(dice),
        _ => trap(dice, made),
    }
}

/// A read; half of those by key ask for values that the write names.
pub(super) fn read(dice: &mut Dice, made: &Made, write: &str) -> String {
    let columns = if dice.percent(80) { "*" } else { "COUNT(*), MAX(v)" };
    match dice.below(100) {
        0..20 => {
            if let Some(echo) = echo(dice, made, write) {
                return format!("SELECT {columns} FROM t WHERE {echo}");
            }
            format!("SELECT {columns} FROM t WHERE {}", condition(dice, made))
        }
        20..76 => format!("SELECT {columns} FROM t WHERE {}", condition(dice, made)),
        76..82 => format!("SELECT {columns} FROM t"),
        82..85 => format!("SELECT {columns} FROM part WHERE {}", other(dice)),
        85..87 => "SELECT * FROM both_of".to_owned(),
        87..89 => "SELECT * FROM o".to_owned(),
        89..91 => format!("SELECT * FROM o WHERE k = 'a{}'", dice.below(5)),
        91..92 => "SELECT COUNT(*) FROM log".to_owned(),
        92..94 => "SELECT counted()".to_owned(),
        94..96 => format!("SELECT t.v, twice(t.n) FROM t WHERE {}", comparison(dice, made)),
        96..98 => format!(
            "SELECT a.v, b.v FROM t AS a JOIN t AS b ON a.v = b.v WHERE a.{}",
            comparison(dice, made).trim_matches(['(', ')'])
        ),
        _ => format!(
            "SELECT {columns} FROM t AS q WHERE q.k = 'a' UNION ALL SELECT {columns} FROM t WHERE k = 'b'"
        ),
    }
}

/// The first comparison in a write's text, asked for.
fn echo(dice: &mut Dice, made: &Made, write: &str) -> Option<String> {
    let (_, condition) = write.split_once(" WHERE ")?;
    let column = made.columns.iter().find(|column| condition.starts_with(&format!("{} =", column.name)))?;
    let value = condition.split(" = ").nth(1)?.split(" AND ").next()?;
    let name = column.name;
    dice.percent(70).then(|| format!("{name} = {value}"))
}

fn row(dice: &mut Dice, columns: &[&Column]) -> String {
    let values: Vec<String> = columns
        .iter()
        .map(|column| match column.name {
            "p" => "NULL".to_owned(),
            "v" if dice.percent(80) => dice.below(5).to_string(),
            _ => common(dice, column.sort),
        })
        .collect();
    format!("({})", values.join(", "))
}

fn insert(dice: &mut Dice, made: &Made) -> String {
    let writable = made.writable();
    let some: Vec<&Column> = writable
        .iter()
        .copied()
        .filter(|column| column.name == made.columns[made.favourite].name || dice.percent(85))
        .collect();
    let columns = if some.is_empty() { writable } else { some };
    let names: Vec<String> = columns.iter().map(|column| format!("`{}`", column.name)).collect();
    let rows: Vec<String> = (0..1 + dice.below(5) / 4).map(|_| row(dice, &columns)).collect();
    let verb = dice.pick(&[
        "INSERT INTO",
        "INSERT IGNORE INTO",
        "REPLACE INTO",
        "REPLACE",
        "INSERT",
        "INSERT IGNORE",
    ]);
    let mut sql = format!("{verb} t ({}) VALUES {}", names.join(", "), rows.join(", "));
    if !verb.starts_with("REPLACE") && dice.percent(30) {
        let assigned = dice.pick(&columns);
        let name = assigned.name;
        let value = match dice.below(4) {
            0 => format!("VALUES({name})"),
            1 => common(dice, assigned.sort),
            2 => format!("VALUES({})", dice.pick(&columns).name),
            _ => "v".to_owned(),
        };
        sql.push_str(&format!(" ON DUPLICATE KEY UPDATE {name} = {value}, v = v + 1"));
    }
    sql
}

/// A write.
pub(super) fn write(dice: &mut Dice, made: &Made) -> String {
    let ignore = if dice.percent(30) { "IGNORE " } else { "" };
    match dice.below(100) {
        0..24 => insert(dice, made),
        24..58 => {
            let writable = made.writable();
            let assigned = dice.pick(&writable);
            let value = match dice.below(3) {
                0 => "v + 1".to_owned(),
                _ => common(dice, assigned.sort),
            };
            let name = if dice.percent(50) { "v" } else { assigned.name };
            format!("UPDATE {ignore}t SET {name} = {value} WHERE {}", condition(dice, made))
        }
        58..88 => format!("DELETE {ignore}FROM t WHERE {}", condition(dice, made)),
        88..91 => "UPDATE o SET v = v + 1 WHERE id = 2".to_owned(),
        91..93 => "DELETE FROM o WHERE k = 'a1'".to_owned(),
        93..95 => "UPDATE part SET v = 2 WHERE v = 1".to_owned(),
        95..96 => "CALL both_change()".to_owned(),
        96..98 => "UPDATE t JOIN o ON t.v = o.v SET t.v = 7, o.v = 8".to_owned(),
        _ => "INSERT INTO t (k, n, v) SELECT k, v, 1 FROM o".to_owned(),
    }
}
