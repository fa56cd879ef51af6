//! From the text of a config to [`Config`], or to every problem in it. Owns the order of the checks and those
//! that concern several sections; each section's own are in `sections`.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use clonelove_proxy::settings::{Address, RoleSetting, ServerSettings, Settings, User, UsersFrom};
use toml::de::{DeTable, DeValue};

use super::address::same_place;
use super::problem::{Problem, Problems, Sort};
use super::secret::Sources;
use super::section::{Section, kind};
use super::sections::{self, Placed};
use super::tls::{self, Tls};
use super::value::nearest;
use super::{Config, Http, keys};

/// Checks the text of a config whole.
pub(super) fn check(file: &Path, text: &str, sources: Sources<'_>) -> Result<Config, Vec<Problem>> {
    let problems = Problems::new(file, text);
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        note_syntax(&problems, text, &error);
    }
    let config = check_document(document.get_ref(), &problems, sources);
    let problems = problems.into_sorted();
    if problems.is_empty() { Ok(config) } else { Err(problems) }
}

/// The admin port alone, its problems passed over.
pub(super) fn check_http(file: &Path, text: &str, sources: Sources<'_>) -> Option<Http> {
    let problems = Problems::new(file, text);
    let (document, _) = DeTable::parse_recoverable(text);
    let (_, http) =
        sections::listen(&table(document.get_ref(), "listen", &problems), sources, &Tls::default());
    http
}

fn check_document<'a>(document: &'a DeTable<'a>, problems: &'a Problems<'a>, sources: Sources<'_>) -> Config {
    note_unknown_sections(document, problems);
    let table = |name| table(document, name, problems);
    let tls = tls::tls(&table("tls"), sources);
    let (listen, http) = sections::listen(&table("listen"), sources, &tls);
    let servers: Vec<Placed<ServerSettings>> = list(document, "server", problems)
        .iter()
        .map(|section| sections::server(section, sources, &tls))
        .collect();
    let users: Vec<Placed<User>> = list(document, "user", problems)
        .iter()
        .map(|section| sections::user(section, sources, &listen, &tls))
        .collect();
    let users_from = sections::users(&table("users"));
    check_servers(&servers, problems);
    check_users(&users, users_from, problems);
    let settings = Settings {
        rules: clonelove_proxy::settings::Rules::all(),
        listen,
        servers: servers.into_iter().map(|placed| placed.value).collect(),
        monitor: sections::monitor(&table("monitor"), sources),
        users: users.into_iter().map(|placed| placed.value).collect(),
        users_from,
        routing: sections::routing(&table("routing")),
        pool: sections::pool(&table("pool")),
        limits: sections::limits(&table("limits")),
        tls: tls.acceptor,
        rsa_key: tls.rsa_key,
    };
    Config { settings, http, log: sections::log(&table("log")) }
}

/// A config without servers, or whose servers can never be the primary, routes nothing.
fn check_servers(servers: &[Placed<ServerSettings>], problems: &Problems<'_>) {
    if servers.is_empty() {
        let hint = "add [[server]] with address = \"host:3306\", the primary and each replica";
        problems.missing(&(0..0), "no server is configured", hint);
        return;
    }
    if let Some(last) = servers.last()
        && servers.iter().all(|server| server.value.role == RoleSetting::Replica)
    {
        let problem = "every server is pinned to role = \"replica\", so that nothing could ever be written";
        problems.wrong(
            &last.keys.role,
            problem,
            "leave role out: clonelove finds out which one is the primary",
        );
    }
    let mut primaries = servers.iter().filter(|server| server.value.role == RoleSetting::Primary);
    if let Some(first) = primaries.next() {
        for other in primaries {
            problems.wrong(
                &other.keys.role,
                format!("a second server is pinned to role = \"primary\" beside \"{}\"", first.value.name),
                "pin one at most; best, leave role out",
            );
        }
    }
    let names = servers.iter().map(|server| (server.value.name.as_str(), &server.keys.name));
    note_repeated("server name", names, "give each server a name of its own", problems);
    let mut seen: Vec<&Address> = Vec::new();
    for Placed { value, keys } in servers {
        if seen.iter().any(|other| same_place(other, &value.address)) {
            problems.wrong(
                &keys.address,
                format!("the address {} is configured twice", value.address),
                "one server, one entry; use weight to give it more reads",
            );
        }
        seen.push(&value.address);
    }
}

fn check_users(users: &[Placed<User>], from: UsersFrom, problems: &Problems<'_>) {
    if users.is_empty() && from == UsersFrom::Config {
        let hint = "add [[user]] with the name and password that the application logs in with, \
                    or [users] from = \"primary\"";
        problems.missing(&(0..0), "no user is configured, so that nobody could log in", hint);
    }
    let names = users.iter().map(|user| (user.value.name.as_str(), &user.keys.name));
    note_repeated(
        "user",
        names,
        "keep one of them; passwords = [ … ] takes several during a rotation",
        problems,
    );
}

fn note_repeated<'n>(
    what: &str,
    names: impl Iterator<Item = (&'n str, &'n Range<usize>)>,
    hint: &str,
    problems: &Problems<'_>,
) {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, span) in names.filter(|(name, _)| !name.is_empty()) {
        let count = seen.entry(name).or_default();
        *count = count.saturating_add(1);
        if *count > 1 {
            problems.wrong(span, format!("the {what} \"{name}\" is configured twice"), hint);
        }
    }
}

fn note_syntax(problems: &Problems<'_>, text: &str, error: &toml::de::Error) {
    let span = error.span().unwrap_or(0..0);
    let mut message = error.message().to_owned();
    if message == "duplicate key"
        && let Some(key) = text.get(span.clone())
    {
        message = format!("duplicate key \"{key}\"");
    }
    let (sort, hint) = match &message {
        _ if message.starts_with("duplicate key") => (Sort::Twice, "keep one of them"),
        _ if message.starts_with("string values must be quoted") => {
            (Sort::Syntax, "put it between double quotes")
        }
        _ => (Sort::Syntax, "TOML is written name = \"text\", name = 5, name = [ … ], [section] or [[list]]"),
    };
    problems.note(sort, &span, message, hint);
}

fn note_unknown_sections(document: &DeTable<'_>, problems: &Problems<'_>) {
    let known = || keys::TABLES.iter().chain(&keys::LISTS).copied();
    for (key, value) in document.iter() {
        let written: &str = key.get_ref();
        if known().any(|name| name == written) {
            continue;
        }
        let bracket = |name: &str| match keys::LISTS.contains(&name) {
            true => format!("[[{name}]]"),
            false => format!("[{name}]"),
        };
        let section = matches!(value.get_ref(), DeValue::Table(_) | DeValue::Array(_));
        let hint = match (keys::section_of(written), nearest(written, known())) {
            (Some(home), _) if !section => format!("it belongs below {}", bracket(home)),
            (_, Some(name)) => format!("did you mean {}?", bracket(name)),
            _ => format!("known: {}", known().map(bracket).collect::<Vec<_>>().join(", ")),
        };
        let what = if section { "section" } else { "key" };
        problems.wrong(&key.span(), format!("unknown {what} \"{written}\""), hint);
    }
}

/// The section written `[name]`.
fn table<'a>(document: &'a DeTable<'a>, name: &'static str, problems: &'a Problems<'a>) -> Section<'a> {
    let Some(value) = document.get(name) else { return Section::absent(name, problems) };
    match value.get_ref() {
        DeValue::Table(table) => Section::new(name, table, value.span(), problems),
        other => {
            let hint = match (name, other) {
                ("users", DeValue::Array(_)) => "did you mean [[user]]?".to_owned(),
                _ => format!("write [{name}], with its keys below"),
            };
            problems.wrong(&value.span(), format!("{name} must be a section, not {}", kind(other)), hint);
            Section::absent(name, problems)
        }
    }
}

/// The sections written `[[name]]`.
fn list<'a>(document: &'a DeTable<'a>, name: &'static str, problems: &'a Problems<'a>) -> Vec<Section<'a>> {
    let hint = format!("write [[{name}]], with the keys of one below, and so on for each");
    let not_a_list = |span: Range<usize>, what: &DeValue<'_>| {
        problems.wrong(
            &span,
            format!("{name} must be a list of sections, not {}", kind(what)),
            hint.as_str(),
        );
    };
    let Some(value) = document.get(name) else { return Vec::new() };
    match value.get_ref() {
        DeValue::Array(elements) => elements
            .iter()
            .filter_map(|element| match element.get_ref() {
                DeValue::Table(table) => Some(Section::new(name, table, element.span(), problems)),
                other => {
                    not_a_list(element.span(), other);
                    None
                }
            })
            .collect(),
        DeValue::Table(table) => {
            not_a_list(value.span(), value.get_ref());
            vec![Section::new(name, table, value.span(), problems)]
        }
        other => {
            not_a_list(value.span(), other);
            Vec::new()
        }
    }
}
