//! A status as an administrator reads it. Pure: JSON in, text out; a field that is missing or odd is shown as
//! a hyphen, never an error.

use std::fmt::Write;
use std::time::Duration;

use serde_json::Value;

use crate::config::format_duration;

const TITLES: [&str; 10] =
    ["SERVER", "ROLE", "STATE", "READS", "WEIGHT", "LAG", "IN FLIGHT", "CONNECTIONS", "QUERIES", "NOTE"];

/// Lists longer than this are cut; `--json` has more.
const SHOWN: usize = 10;

/// The status for a terminal.
pub(crate) fn for_people(status: &Value) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write_head(&mut text, status);
    let _ = write_queries(&mut text, status);
    text.push('\n');
    text.push_str(&table(&rows(status)));
    let _ = write_lists(&mut text, status);
    text
}

fn write_head(text: &mut String, status: &Value) -> std::fmt::Result {
    let listen = list(at(status, &["listen", "mysql"])).map(word).collect::<Vec<_>>().join(", ");
    let draining = if status.get("draining") == Some(&Value::Bool(true)) { ", DRAINING" } else { "" };
    writeln!(
        text,
        "clonelove {}, pid {}, up {}, on {listen}{draining}",
        word(at(status, &["version"])),
        word(at(status, &["pid"])),
        seconds(at(status, &["uptime_seconds"])),
    )?;
    let primary = match at(status, &["primary"]) {
        Value::String(name) => format!("primary {name}"),
        _ => "NO PRIMARY: writes fail".to_owned(),
    };
    writeln!(
        text,
        "{primary}, epoch {}, mode {}, freshness {}",
        word(at(status, &["epoch"])),
        word(at(status, &["mode"])),
        word(at(status, &["freshness", "mode"]))
    )?;
    for degraded in list(at(status, &["freshness", "degraded"])) {
        let (cause, hint) = (word(at(degraded, &["cause"])), word(at(degraded, &["hint"])));
        writeln!(text, "freshness is degraded: {cause}: {hint}")?;
    }
    writeln!(
        text,
        "clients {} of {}, {} since the start",
        word(at(status, &["clients", "now"])),
        word(at(status, &["clients", "limit"])),
        word(at(status, &["clients", "total"]))
    )
}

fn write_queries(text: &mut String, status: &Value) -> std::fmt::Result {
    let share = match at(status, &["reads_on_replicas"]).as_f64() {
        Some(share) => format!("{:.1} % of the reads on replicas", share * 100.0),
        None => "no reads yet".to_owned(),
    };
    writeln!(text, "queries: {share}")?;
    for target in ["primary", "replica", "local", "refused"] {
        let Some(reasons) = at(status, &["queries", target]).as_object() else { continue };
        let mut counts: Vec<(&str, u64)> =
            reasons.iter().filter_map(|(reason, count)| Some((reason.as_str(), count.as_u64()?))).collect();
        counts.retain(|(_, count)| *count > 0);
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let total: u64 = counts.iter().map(|(_, count)| *count).fold(0, u64::saturating_add);
        if total > 0 {
            let reasons: Vec<String> =
                counts.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
            writeln!(text, "  {target:<8} {total:>10}  {}", reasons.join(", "))?;
        }
    }
    Ok(())
}

fn rows(status: &Value) -> Vec<Vec<String>> {
    let mut rows = vec![TITLES.map(str::to_owned).to_vec()];
    for server in list(at(status, &["servers"])) {
        let connections = |uses: &str| word(at(server, &["connections", uses]));
        let eligible = at(server, &["eligible"]).as_bool();
        let mut notes: Vec<String> = Vec::new();
        let (why, error) = (at(server, &["why"]), at(server, &["last_error"]));
        if eligible != Some(true) {
            notes.push(word(why));
        }
        // What a server that is up had once is for --json; what one is down for may be said by why.
        if error.is_string() && error != why && at(server, &["state"]) != "up" {
            notes.push(format!("last error: {}", word(error)));
        }
        rows.push(vec![
            word(at(server, &["name"])),
            word(at(server, &["role"])),
            word(at(server, &["state"])),
            eligible.map_or("-", |eligible| if eligible { "yes" } else { "no" }).to_owned(),
            word(at(server, &["weight"])),
            seconds(at(server, &["lag_seconds"])),
            word(at(server, &["in_flight"])),
            format!("{}+{} of {}", connections("busy"), connections("idle"), connections("max")),
            word(at(server, &["queries"])),
            notes.join("; "),
        ]);
    }
    rows
}

fn write_lists(text: &mut String, status: &Value) -> std::fmt::Result {
    let total = |name: &str, shown: usize| {
        at(status, &[name]).as_u64().and_then(|total| usize::try_from(total).ok()).unwrap_or(shown)
    };
    let pins: Vec<&Value> = list(at(status, &["pins"])).collect();
    if !pins.is_empty() {
        writeln!(text, "\n{} sessions pinned to the primary:", total("pins_total", pins.len()))?;
    }
    for pin in pins.iter().take(SHOWN) {
        let [session, user, client, why, statement] =
            ["session", "user", "client", "pin", "statement"].map(|name| word(at(pin, &[name])));
        let since = seconds(at(pin, &["seconds"]));
        writeln!(text, "  {session} {user}@{client} for {since}: {why}: {statement}")?;
    }
    let learned: Vec<&Value> = list(at(status, &["learned"])).collect();
    if !learned.is_empty() {
        let total = total("learned_total", learned.len());
        writeln!(text, "\n{total} statements that replicas refused, now sent to the primary:")?;
    }
    for each in learned.iter().take(SHOWN) {
        let [digest, count, statement] = ["digest", "count", "statement"].map(|name| word(at(each, &[name])));
        writeln!(text, "  {digest} {count} times: {statement}")?;
    }
    Ok(())
}

/// Rows under each other, each column as wide as its widest cell.
fn table(rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        let line: Vec<String> =
            row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn at<'v>(value: &'v Value, path: &[&str]) -> &'v Value {
    path.iter().fold(value, |value, name| value.get(name).unwrap_or(&Value::Null))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// A value as a word; control characters, which a terminal might obey, are left out.
fn word(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.chars().filter(|c| !c.is_control()).collect(),
        other => other.to_string(),
    }
}

/// Seconds as a person says them.
fn seconds(value: &Value) -> String {
    let Some(duration) = value.as_f64().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) else {
        return "-".to_owned();
    };
    let whole = Duration::from_secs(duration.as_secs());
    match duration.as_secs() {
        0..10 => format!("{:.1}s", duration.as_secs_f64()),
        10..3600 => format_duration(whole),
        // Seconds of an hour, hours of a day are noise.
        secs => format_duration(Duration::from_secs(secs - secs % if secs < 86_400 { 60 } else { 3600 })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_as_people_read_it() {
        let status = serde_json::json!({
            "version": "0.1.0", "pid": 7, "uptime_seconds": 11_580.5, "draining": false,
            "listen": { "mysql": ["127.0.0.1:3307"] }, "primary": "db1", "epoch": 1, "mode": "split",
            "freshness": { "mode": "session", "degraded": [{ "cause": "no_gtid", "hint": "switch log_bin on" }] },
            "clients": { "now": 3, "total": 100, "limit": 10_000 },
            "queries": { "primary": { "write": 5, "ddl": 0 }, "replica": { "read": 95 }, "local": {}, "refused": {} },
            "reads_on_replicas": 0.98,
            "servers": [
                { "name": "db1", "role": "primary", "state": "up", "eligible": false, "why": "is the primary",
                  "weight": 100, "lag_seconds": null, "in_flight": 0,
                  "connections": { "idle": 2, "busy": 0, "max": 200 }, "queries": 100, "last_error": "an hour ago" },
                { "name": "db2", "role": "replica", "state": "lagging", "eligible": false, "why": "too far behind",
                  "weight": 100, "lag_seconds": 75.04, "in_flight": 1,
                  "connections": { "idle": 3, "busy": 1, "max": 200 }, "queries": 95, "last_error": "gone \u{1b}[31maway" },
            ],
            "pins": [{ "session": 9, "user": "drupal", "client": "127.0.0.1:5", "pin": "temporary_table",
                       "statement": "CREATE TEMPORARY TABLE ?", "seconds": 75.0 }], "pins_total": 1,
            "learned": [], "learned_total": 0,
        });
        let expected = "\
clonelove 0.1.0, pid 7, up 3h13m, on 127.0.0.1:3307
primary db1, epoch 1, mode split, freshness session
freshness is degraded: no_gtid: switch log_bin on
clients 3 of 10000, 100 since the start
queries: 98.0 % of the reads on replicas
  primary           5  write 5
  replica          95  read 95

SERVER  ROLE     STATE    READS  WEIGHT  LAG    IN FLIGHT  CONNECTIONS  QUERIES  NOTE
db1     primary  up       no     100     -      0          0+2 of 200   100      is the primary
db2     replica  lagging  no     100     1m15s  1          1+3 of 200   95       too far behind; last error: gone [31maway

1 sessions pinned to the primary:
  9 drupal@127.0.0.1:5 for 1m15s: temporary_table: CREATE TEMPORARY TABLE ?
";
        assert_eq!(for_people(&status), expected);
    }

    #[test]
    fn a_status_of_another_version_is_still_shown() {
        for status in [
            serde_json::json!({}),
            serde_json::json!([1]),
            serde_json::json!({ "servers": [1, {}], "pins": 7 }),
        ] {
            assert!(for_people(&status).contains("SERVER"));
        }
    }
}
