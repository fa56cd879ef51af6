//! The state of a session that clonelove pins, taken to the replica by value, so that its reads are compared too: a
//! file that once selects into a variable would else tell nothing more. Not how clonelove does it; the oracle's own.

use super::client::{Client, Fault, Rows};

/// Session variables that change what a read returns.
const VARIABLES: &[&str] = &[
    "sql_mode",
    "character_set_client",
    "character_set_connection",
    "collation_connection",
    "character_set_results",
    "character_set_filesystem",
    "time_zone",
    "div_precision_increment",
    "group_concat_max_len",
    "sql_select_limit",
    "max_sort_length",
    "lc_time_names",
    "lc_messages",
    "old_mode",
    "sql_auto_is_null",
    "tx_isolation",
    "default_week_format",
    "default_regex_flags",
    "sql_big_selects",
    "max_join_size",
    "max_recursive_iterations",
    "sql_quote_show_create",
    "system_versioning_asof",
    "block_encryption_mode",
    "timestamp",
    "eq_range_index_dive_limit",
    "standard_compliant_cte",
    "optimizer_switch",
    "low_priority_updates",
    "sql_safe_updates",
    "max_error_count",
];

/// What is carried, as the statements that make it so.
pub(super) type State = Vec<Vec<u8>>;

/// Reads the state of a session; `None` where something of it cannot be carried.
pub(super) fn read(
    client: &mut Client,
    user_variables: &[Vec<u8>],
    schema: Option<&str>,
) -> Result<Option<State>, Fault> {
    // Hexadecimal, so that no character set of results gets between.
    let values: Vec<String> = VARIABLES
        .iter()
        .filter(|name| !matches!(**name, "block_encryption_mode" | "default_collation_for_utf8mb4"))
        .map(|name| format!("HEX(CONVERT(@@session.{name} USING utf8mb3))"))
        .collect();
    let reply = client.ask(format!("SELECT {}", values.join(", ")).as_bytes())?;
    let Some(row) = reply.results.first().and_then(|rows| rows.text().into_iter().next()) else {
        return Ok(None);
    };
    let mut state = Vec::new();
    if let Some(schema) = schema {
        state.push(format!("USE `{}`", schema.replace('`', "``")).into_bytes());
    }
    let names = VARIABLES.iter().filter(|name| **name != "block_encryption_mode");
    for (name, value) in names.zip(row) {
        let value = value.and_then(|value| unhexed(&value.replace('\0', "")));
        match (*name, value) {
            // A clock that runs has a fraction.
            ("timestamp", Some(value)) if !value.ends_with(".000000") => {}
            ("system_versioning_asof", Some(value)) if value == "DEFAULT" => {}
            (name, Some(value)) => state.push(assignment(name, &value)),
            (name, None) => state.push(format!("SET SESSION {name} = NULL").into_bytes()),
        }
    }
    for row in user_variables {
        let Some(statement) = user_variable(row) else { return Ok(None) };
        state.push(statement);
    }
    Ok(Some(state))
}

/// Says it to another connection; the first refusal is the answer.
pub(super) fn apply(client: &mut Client, state: &State) -> Result<(), String> {
    // The character set last: the names before are in the client's own.
    let is_charset = |statement: &&Vec<u8>| {
        statement.starts_with(b"SET SESSION char") || statement.starts_with(b"SET SESSION coll")
    };
    client.ask(b"SET NAMES utf8mb4").map_err(|fault| format!("{fault:?}"))?;
    let (last, first): (Vec<_>, Vec<_>) = state.iter().partition(is_charset);
    for statement in first.into_iter().chain(last) {
        match client.ask(statement).map_err(|fault| format!("{fault:?}"))?.error {
            None => {}
            Some((code, message)) => return Err(format!("carrying: {message} ({code})")),
        }
    }
    Ok(())
}

fn assignment(name: &str, value: &str) -> Vec<u8> {
    let number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let literal = if number { value.to_owned() } else { format!("0x{}", hexed(value.as_bytes())) };
    if number || !value.is_empty() {
        format!("SET SESSION {name} = {literal}").into_bytes()
    } else {
        format!("SET SESSION {name} = ''").into_bytes()
    }
}

/// A row of information_schema.user_variables: name, value, type, character set.
fn user_variable(row: &[u8]) -> Option<Vec<u8>> {
    let rows = Rows { columns: 4, names: Vec::new(), rows: vec![row.to_vec()] };
    let values = rows.values().into_iter().next()?;
    let [Some(name), value, Some(kind), charset] = values.as_slice() else { return None };
    if name.contains(&b'`') || !name.is_ascii() {
        return None;
    }
    let mut sql = b"SET @`".to_vec();
    sql.extend_from_slice(name);
    sql.extend_from_slice(b"` = ");
    match (value, kind.as_slice()) {
        (None, _) => sql.extend_from_slice(b"NULL"),
        (Some(value), b"VARCHAR") => {
            let charset = String::from_utf8_lossy(charset.as_deref()?).into_owned();
            if !value.is_ascii() && charset != "binary" {
                return None;
            }
            sql.extend_from_slice(format!("CONVERT(0x{} USING {charset})", hexed(value)).as_bytes());
            if value.is_empty() {
                return Some(
                    [b"SET @`", name.as_slice(), b"` = CONVERT('' USING ", charset.as_bytes(), b")"].concat(),
                );
            }
        }
        (Some(value), _) => sql.extend_from_slice(value),
    }
    Some(sql)
}

fn hexed(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

fn unhexed(text: &str) -> Option<String> {
    let bytes: Option<Vec<u8>> = (0..text.len())
        .step_by(2)
        .map(|at| text.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok()))
        .collect();
    String::from_utf8(bytes?).ok()
}
