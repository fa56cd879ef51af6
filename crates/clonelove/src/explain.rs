//! `clonelove explain`: how a statement is understood, and where it would go. Owns the shape of the answer; the
//! understanding is `clonelove-sql`'s. Knows no schema unless it is told of a config whose servers it may ask.

use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use clonelove_proxy::settings::Limits;
use clonelove_proxy::{Told, explain_schema};
use clonelove_sql::{
    Assignment, Dialect, Effect, Facts, Kind, Modes, Resolved, Setting, TableId, TableName, Why, keys,
};
use serde::Serialize;

use crate::cli::{self, FAILURE};
use crate::config;
use crate::output::{complain, complain_of_config, print};

/// The answer for one text; field by field the shape that scripts rely on.
#[derive(Debug, Serialize)]
struct Explanation {
    sql: String,
    kind: &'static str,
    target: &'static str,
    reason: &'static str,
    token: Option<String>,
    tables_read: Vec<String>,
    tables_written: Vec<String>,
    all_tables: bool,
    effects: Vec<String>,
    keys: Vec<KeyValues>,
    digest: String,
    digest_text: String,
    parts: Vec<Part>,
    assumed: Vec<String>,
}

/// Which rows of a table a statement is confined to: values in the form in which they are compared.
#[derive(Debug, Serialize)]
struct KeyValues {
    table: String,
    column: String,
    values: Vec<String>,
}

/// One statement of several sent as one.
#[derive(Debug, Serialize)]
struct Part {
    kind: &'static str,
    target: &'static str,
    reason: &'static str,
    token: Option<String>,
    tables_read: Vec<String>,
    tables_written: Vec<String>,
    all_tables: bool,
    effects: Vec<String>,
}

/// Explains the statement of the command line, or those of standard input.
pub(crate) fn run(options: &cli::Explain) -> ExitCode {
    let told = match options.config.as_deref().map(ask) {
        Some(Ok(told)) => Some(told),
        Some(Err(failed)) => return failed,
        None => None,
    };
    let modes = Modes::from_sql_mode(&options.sql_mode);
    let dialect = match &told {
        Some(told) => Dialect { flavour: told.flavour, version: told.version, modes, ..Dialect::default() },
        None => Dialect { modes, ..Dialect::default() },
    };
    let session = Session { dialect, schema: options.schema.as_deref(), told: told.as_ref() };
    if let Some(sql) = &options.sql {
        return print(&answer(sql.as_bytes(), &session, options.json));
    }
    let mut input = Vec::new();
    if let Err(error) = std::io::stdin().lock().read_to_end(&mut input) {
        return complain(FAILURE, &format!("cannot read the statements from standard input: {error}"));
    }
    let mut answers = String::new();
    for text in texts(&input, options.nul) {
        answers.push_str(&answer(text, &session, options.json));
    }
    print(&answers)
}

/// The session that a statement is supposed to come from.
#[derive(Debug, Default)]
struct Session<'a> {
    dialect: Dialect,
    schema: Option<&'a str>,
    told: Option<&'a Told>,
}

/// What the servers of a config tell of their definitions.
fn ask(path: &Path) -> Result<Told, ExitCode> {
    let settings = config::load(path).map_err(|problems| complain_of_config(&problems))?.settings;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| complain(FAILURE, &format!("cannot start: {error}")))?;
    runtime.block_on(explain_schema(&settings)).map_err(|fault| {
        complain(
            FAILURE,
            &format!(
                "{fault}; without --config the statement is explained as if nothing were known of the schema"
            ),
        )
    })
}

/// The texts of an input: lines, or what NUL bytes separate. Empty ones are passed over.
fn texts(input: &[u8], nul: bool) -> impl Iterator<Item = &[u8]> {
    let end = if nul { b'\0' } else { b'\n' };
    let line = move |text: &'_ [u8]| -> usize {
        // A line may end as Windows ends it; a NUL-separated text is taken byte by byte.
        text.len().saturating_sub(usize::from(!nul && text.ends_with(b"\r")))
    };
    input
        .split(move |byte| *byte == end)
        .filter_map(move |text| text.get(..line(text)))
        .filter(|text| !text.is_empty())
}

fn answer(sql: &[u8], session: &Session<'_>, json: bool) -> String {
    let explanation = explain(sql, session);
    if json {
        // Strings and numbers in vectors: serialising cannot fail.
        serde_json::to_string(&explanation).map(|text| text + "\n").unwrap_or_default()
    } else {
        for_people(&explanation)
    }
}

fn explain(sql: &[u8], session: &Session<'_>) -> Explanation {
    let dialect = &session.dialect;
    let facts = if sql.len() > Limits::default().analyse_up_to {
        Facts { why: Some(Why::TooLarge), all_tables: true, ..Facts::default() }
    } else {
        clonelove_sql::analyse(sql, dialect)
    };
    let digest_text = clonelove_sql::digest_text(sql, dialect);
    let (facts, known) = match session.told {
        Some(told) => with_schema(sql, facts, told, session),
        None => {
            let assumed = without_schema(&facts);
            let (read, written) = (names(&facts.tables_read), names(&facts.tables_written));
            let all_tables = facts.all_tables;
            (facts, Known { read, written, all_tables, keys: Vec::new(), assumed })
        }
    };
    let (target, reason) = destination(&facts);
    Explanation {
        sql: String::from_utf8_lossy(sql).into_owned(),
        kind: facts.kind.as_str(),
        target,
        reason,
        token: token(sql, &facts),
        tables_read: known.read,
        tables_written: known.written,
        all_tables: known.all_tables,
        effects: facts.effects.iter().map(describe).collect(),
        keys: known.keys,
        digest: format!("{:016x}", clonelove_sql::digest_hash(&digest_text)),
        digest_text,
        parts: facts.parts.iter().map(|part| explain_part(sql, part)).collect(),
        assumed: known.assumed,
    }
}

/// What depends on the schema.
struct Known {
    read: Vec<String>,
    written: Vec<String>,
    all_tables: bool,
    keys: Vec<KeyValues>,
    assumed: Vec<String>,
}

fn without_schema(facts: &Facts) -> Vec<String> {
    let mut assumed = facts.assumed.clone();
    for table in &facts.tables_read {
        let table = name_of(table);
        assumed.push(format!("schema unknown: {table} taken as a base table"));
    }
    assumed
}

/// The facts as the schema has them, and what else it adds.
fn with_schema(sql: &[u8], mut facts: Facts, told: &Told, session: &Session<'_>) -> (Facts, Known) {
    let keys = keys_of(sql, &facts, told, session);
    let resolved = told.resolve(&facts, session.schema);
    let all = facts.parts.iter().chain([&facts]);
    let (mut read, mut written) = (Vec::new(), Vec::new());
    for facts in all {
        read.extend(facts.tables_read.iter().cloned());
        written.extend(facts.tables_written.iter().cloned());
    }
    let known = Known {
        read: reached(&read, resolved.read.iter(), told, session),
        written: reached(&written, resolved.written.iter(), told, session),
        all_tables: resolved.all_tables,
        keys,
        assumed: still_assumed(&facts, &resolved, told),
    };
    (facts.kind, facts.why) = (resolved.kind, resolved.why);
    for part in &mut facts.parts {
        let resolved = told.resolve(part, session.schema);
        (part.kind, part.why) = (resolved.kind, resolved.why);
    }
    (facts, known)
}

/// Tables by name: those that the statement names, then those that it reaches through them.
fn reached(
    named: &[TableName],
    ids: impl Iterator<Item = TableId>,
    told: &Told,
    session: &Session<'_>,
) -> Vec<String> {
    let whole = |table: &TableName| match table.schema.as_deref().or(session.schema) {
        Some(schema) => format!("{}.{}", schema.to_lowercase(), table.name),
        None => table.name.clone(),
    };
    let mut all: Vec<String> = named.iter().map(whole).collect();
    let found = ids.filter_map(|id| told.schema.table(id));
    let mut more: Vec<String> = found.map(|table| format!("{}.{}", table.schema, table.name)).collect();
    more.sort();
    for name in more {
        if !all.contains(&name) {
            all.push(name);
        }
    }
    all
}

/// What had to be taken for granted even so.
fn still_assumed(facts: &Facts, resolved: &Resolved, told: &Told) -> Vec<String> {
    let in_doubt = resolved.all_tables || resolved.why == Some(Why::UnknownFunction);
    let mut assumed = if in_doubt { facts.assumed.clone() } else { Vec::new() };
    for table in &resolved.unknown_tables {
        assumed.push(format!("{} is no table that server {} is known to have", name_of(table), told.server));
    }
    for missing in told.missing() {
        let what = missing.cause.as_str();
        assumed.push(format!("the monitoring account may not see all {what}: {}", missing.hint));
    }
    assumed
}

fn keys_of(sql: &[u8], facts: &Facts, told: &Told, session: &Session<'_>) -> Vec<KeyValues> {
    let place = keys::Session { dialect: &session.dialect, schema: session.schema, plain_charsets: true };
    let found = match facts.kind {
        Kind::Read => keys::of_read(sql, facts, &told.schema, place),
        _ => keys::of_write(sql, facts, &told.schema, place),
    };
    let Some((found, table)) =
        found.and_then(|keys| told.schema.table(keys.table).map(|table| (keys, table)))
    else {
        return Vec::new();
    };
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let columns = found.columns.iter().filter_map(|keys| {
        let column = table.columns.get(usize::try_from(keys.place).ok()?)?;
        Some(KeyValues {
            table: format!("{}.{}", table.schema, table.name),
            column: column.name.to_string(),
            values: keys.values.iter().map(text).collect(),
        })
    });
    columns.collect()
}

fn explain_part(sql: &[u8], facts: &Facts) -> Part {
    let (target, reason) = destination(facts);
    Part {
        kind: facts.kind.as_str(),
        target,
        reason,
        token: token(sql, facts),
        tables_read: names(&facts.tables_read),
        tables_written: names(&facts.tables_written),
        all_tables: facts.all_tables,
        effects: facts.effects.iter().map(describe).collect(),
    }
}

/// Where a session without transaction and pins would send it, all servers being well.
fn destination(facts: &Facts) -> (&'static str, &'static str) {
    match facts.why {
        None if facts.kind == Kind::Read => ("replica", "read"),
        None => ("primary", Why::UnknownStatement.as_str()),
        Some(why) => ("primary", why.as_str()),
    }
}

fn token(sql: &[u8], facts: &Facts) -> Option<String> {
    let bytes = sql.get(facts.token.clone()?)?;
    Some(String::from_utf8_lossy(bytes).into_owned())
}

fn names(tables: &[TableName]) -> Vec<String> {
    tables.iter().map(name_of).collect()
}

fn name_of(table: &TableName) -> String {
    match &table.schema {
        Some(schema) => format!("{schema}.{}", table.name),
        None => table.name.clone(),
    }
}

/// An effect as one word, followed by what it acts on.
fn describe(effect: &Effect) -> String {
    let with = |word: &str, name: &str| format!("{word} {name}");
    let lock = |word: &str, name: &Option<Vec<u8>>| match name {
        Some(name) => format!("{word} {}", String::from_utf8_lossy(name)),
        None => word.to_owned(),
    };
    let ending = |word: &str, chain: bool, release: bool| {
        format!("{word}{}{}", if chain { " chain" } else { "" }, if release { " release" } else { "" })
    };
    match effect {
        Effect::Begin { read_only, consistent_snapshot } => {
            let access = match read_only {
                Some(true) => " read_only",
                Some(false) => " read_write",
                None => "",
            };
            format!("begin{access}{}", if *consistent_snapshot { " consistent_snapshot" } else { "" })
        }
        Effect::Commit { chain, release } => ending("commit", *chain, *release),
        Effect::Rollback { chain, release } => ending("rollback", *chain, *release),
        Effect::Settings(assignments) => {
            with("set", &assignments.iter().map(describe_assignment).collect::<Vec<_>>().join(", "))
        }
        Effect::UseSchema(schema) => with("use_schema", schema),
        Effect::CreateTemporary(table) => with("create_temporary", &name_of(table)),
        Effect::DropTables(tables) => with("drop_tables", &names(tables).join(", ")),
        Effect::GetLock(name) => lock("get_lock", name),
        Effect::ReleaseLock(name) => lock("release_lock", name),
        Effect::HandlerOpen(name) => with("handler_open", name),
        Effect::HandlerClose(name) => with("handler_close", name),
        Effect::PrepareText(name) => with("prepare", name),
        Effect::ExecuteText(name) => with("execute", name),
        Effect::DeallocateText(name) => with("deallocate", name),
        other => plain_word(other).to_owned(),
    }
}

fn plain_word(effect: &Effect) -> &'static str {
    match effect {
        Effect::Savepoint => "savepoint",
        Effect::SetTransactionOnce => "set_transaction_once",
        Effect::GlobalSetting => "global_setting",
        Effect::ReleaseAllLocks => "release_all_locks",
        Effect::LockTables => "lock_tables",
        Effect::UnlockTables => "unlock_tables",
        Effect::Xa => "xa",
        Effect::UserVariableWritten => "user_variable",
        Effect::CalcFoundRows => "calc_found_rows",
        Effect::LastInsertIdSet => "last_insert_id",
        Effect::LastVal => "lastval",
        Effect::LocalInfile => "local_infile",
        Effect::AutocommitOff => "autocommit_off",
        Effect::AutocommitOn => "autocommit_on",
        Effect::Kill => "kill",
        Effect::Diagnostics => "diagnostics",
        Effect::Accounts => "accounts",
        _ => "other",
    }
}

fn describe_assignment(assignment: &Assignment) -> String {
    match &assignment.target {
        Setting::Names => "names".to_owned(),
        Setting::CharacterSet => "character_set".to_owned(),
        Setting::Variable(name) => name.clone(),
        Setting::UserVariable(name) => format!("@{name}"),
        Setting::Role => "role".to_owned(),
        Setting::IsolationLevel => "isolation_level".to_owned(),
        Setting::AccessMode => "access_mode".to_owned(),
    }
}

/// The same for a terminal.
fn for_people(explanation: &Explanation) -> String {
    let mut text = format!("{}\n", explanation.sql);
    let mut line = |label: &str, value: &str| {
        if !value.is_empty() {
            text.push_str(&format!("  {label:<9} {value}\n"));
        }
    };
    let Explanation { target, reason, .. } = explanation;
    line("goes to", &format!("{target}, because: {reason} ({})", meaning(reason)));
    line("decided", explanation.token.as_deref().unwrap_or_default());
    line("kind", explanation.kind);
    line("reads", &explanation.tables_read.join(", "));
    line("writes", &explanation.tables_written.join(", "));
    if explanation.all_tables {
        line("touches", "any table, for all that is known");
    }
    for keys in &explanation.keys {
        line("key", &format!("{}.{} = {}", keys.table, keys.column, keys.values.join(", ")));
    }
    line("effects", &explanation.effects.join("; "));
    for (number, part) in (1..).zip(&explanation.parts) {
        line(&format!("part {number}"), &format!("{}, {} ({})", part.kind, part.target, part.reason));
    }
    line("digest", &format!("{} {}", explanation.digest, explanation.digest_text));
    for assumed in &explanation.assumed {
        line("assumed", assumed);
    }
    text
}

/// A reason in words.
fn meaning(reason: &str) -> &'static str {
    match reason {
        "read" => "it is provably a read",
        "write" => "it writes data",
        "ddl" => "it changes definitions",
        "transaction_control" => "it begins, ends or marks a transaction",
        "session_setting" => "it changes the session's state",
        "administrative" => "it acts on the server",
        "locking_read" => "it locks the rows that it reads",
        "side_effect" => "it leaves something behind besides rows",
        "previous_statement" => "it asks about the statement before it",
        "server_specific" => "its answer differs from server to server",
        "unknown_statement" => "it is not understood, and what is not understood is taken for a write",
        "unknown_function" => "it calls a function that is no known built-in and may write",
        "unknown_table" => "its tables cannot be told",
        "multi_statement" => "it is several statements, not all of them reads",
        "too_large" => "it is too long to be analysed",
        _ => "see the documentation",
    }
}

#[cfg(test)]
mod tests;
