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
    "old_passwords",
    "sql_auto_is_null",
    "tx_isolation",
    "default_week_format",
    "default_regex_flags",
    "sql_big_selects",
    "max_join_size",
    "max_recursive_iterations",
    "sql_quote_show_create",
    "system_versioning_asof",
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
    let values: Vec<String> =
        VARIABLES.iter().map(|name| format!("HEX(CONVERT(@@session.{name} USING utf8mb3))")).collect();
    let reply = client.ask(format!("SELECT {}", values.join(", ")).as_bytes())?;
    let Some(row) = reply.results.first().and_then(|rows| rows.text().into_iter().next()) else {
        return Ok(None);
    };
    let mut state = Vec::new();
    if let Some(schema) = schema {
        state.push(format!("USE `{}`", schema.replace('`', "``")).into_bytes());
    }
    for (name, value) in VARIABLES.iter().zip(row) {
        let value = value.and_then(|value| unhexed(&value.replace('\0', "")));
        match (*name, value) {
            ("system_versioning_asof", Some(value)) if value == "DEFAULT" => {}
            (name, Some(value)) => state.push(assignment(name, &value)),
            (name, None) => state.push(format!("SET SESSION {name} = NULL").into_bytes()),
        }
    }
    if !clock_is_fixed(client)? {
        state.retain(|statement| !statement.starts_with(b"SET SESSION timestamp "));
    }
    match user_variable_statements(client, user_variables)? {
        Some(statements) => state.extend(statements),
        None => return Ok(None),
    }
    Ok(Some(state))
}

/// Whether SET timestamp holds the session's clock.
fn clock_is_fixed(client: &mut Client) -> Result<bool, Fault> {
    let mut clock = || client.value("SELECT HEX(CONVERT(@@timestamp USING utf8mb3))");
    Ok(clock()? == clock()?)
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

/// Statements that give another session the same user variables. information_schema tells names and types; texts it
/// shows in utf8mb3, so they are asked for by their bytes.
fn user_variable_statements(client: &mut Client, rows: &[Vec<u8>]) -> Result<Option<State>, Fault> {
    let rows = Rows { columns: 4, names: Vec::new(), rows: rows.to_vec() }.values();
    let mut statements = Vec::new();
    for row in rows {
        let [Some(name), value, Some(kind), charset] = row.as_slice() else { return Ok(None) };
        let name = String::from_utf8_lossy(name).replace('\0', "");
        if name.contains('`') || !name.is_ascii() {
            return Ok(None);
        }
        let kind: Vec<u8> = kind.iter().copied().filter(|byte| *byte != 0).collect();
        let value =
            value.as_ref().map(|value| value.iter().copied().filter(|byte| *byte != 0).collect::<Vec<u8>>());
        let literal = match (value, kind.as_slice()) {
            (None, _) => "NULL".to_owned(),
            (Some(_), b"VARCHAR") => {
                let charset =
                    String::from_utf8_lossy(charset.as_deref().unwrap_or_default()).replace('\0', "");
                let asked =
                    format!("SELECT HEX(@`{name}`), HEX(CONVERT(COLLATION(@`{name}`) USING utf8mb3))");
                let answer = client.rows(&asked)?.into_iter().next().unwrap_or_default();
                let [Some(bytes), Some(collation)] = answer.as_slice() else { return Ok(None) };
                let collation = unhexed(&collation.replace('\0', "")).unwrap_or_default();
                match bytes.replace('\0', "") {
                    empty if empty.is_empty() => format!("CONVERT('' USING {charset}) COLLATE {collation}"),
                    bytes if charset == "binary" => format!("0x{bytes}"),
                    bytes => format!("_{charset} 0x{bytes} COLLATE {collation}"),
                }
            }
            (Some(value), _) => String::from_utf8_lossy(&value).into_owned(),
        };
        statements.push(format!("SET @`{name}` = {literal}").into_bytes());
    }
    Ok(Some(statements))
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
