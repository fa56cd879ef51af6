//! Secrets of a config: by value, from the environment, from a file; certificates and keys from theirs. Owns the only look at the environment and
//! at files other than the config itself; must not print what it finds.

use std::ffi::OsString;
use std::io::Read;
use std::path::Path;

use clonelove_proxy::settings::Secret;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::section::{Section, kind};

/// A longer file is taken for a mistake.
const FILE_LIMIT: u64 = 64 << 10;

/// A bundle of all authorities that a system knows has less.
const PEM_LIMIT: u64 = 4 << 20;

const FORMS: &str = "write \"text\", { env = \"NAME\" } or { file = \"/PATH\" }";

/// Where secrets that are not in the config itself come from.
#[derive(Clone, Copy)]
pub(super) struct Sources<'a> {
    /// Reads an environment variable.
    pub(super) env: &'a dyn Fn(&str) -> Option<OsString>,
    /// Relative paths start here: the config's directory.
    pub(super) base: &'a Path,
}

/// The secret at `key`, if it is there and can be had.
pub(super) fn read(section: &Section<'_>, key: &str, sources: Sources<'_>) -> Option<Secret> {
    resolve(section, key, section.get(key)?, sources)
}

/// The secrets of the list at `key`, those that can be had.
pub(super) fn read_list(section: &Section<'_>, key: &str, sources: Sources<'_>) -> Option<Vec<Secret>> {
    let list = section.list(key)?;
    if list.is_empty() {
        section.wrong(key, "is empty", "give at least one, the current one first");
    }
    Some(list.iter().filter_map(|value| resolve(section, key, value, sources)).collect())
}

fn resolve(
    section: &Section<'_>,
    key: &str,
    value: &Spanned<DeValue<'_>>,
    sources: Sources<'_>,
) -> Option<Secret> {
    let wrong = |problem: String, hint: &str| {
        section.wrong_at(&value.span(), format!("{} {problem}", section.path(key)), hint);
        None
    };
    match value.get_ref() {
        DeValue::String(text) => Some(Secret::new(text.as_bytes())),
        DeValue::Table(table) => match source_of(table) {
            Some(("env", name)) => match (sources.env)(name) {
                Some(text) if !text.is_empty() => Some(Secret::new(text.into_encoded_bytes())),
                Some(_) => wrong(format!("needs ${name}, which is empty"), "set it before the start"),
                None => wrong(
                    format!("needs ${name}, which is not set"),
                    "set it, under systemd by Environment= or EnvironmentFile=",
                ),
            },
            Some((_, path)) => match read_file(&sources.base.join(path)) {
                Ok(secret) => Some(secret),
                Err(problem) => wrong(
                    format!("needs the file {path}, which {problem}"),
                    "put the secret alone on its first line, readable by the user that clonelove runs as",
                ),
            },
            None => wrong("is not a secret".to_owned(), FORMS),
        },
        other => wrong(format!("must be a secret, not {}", kind(other)), FORMS),
    }
}

/// The one entry of `{ env = "NAME" }` or `{ file = "PATH" }`.
fn source_of<'t>(table: &'t DeTable<'_>) -> Option<(&'static str, &'t str)> {
    let mut entries = table.iter();
    let (key, value) = entries.next().filter(|_| table.len() == 1)?;
    let name = ["env", "file"].into_iter().find(|name| *name == key.get_ref())?;
    match value.get_ref() {
        DeValue::String(text) if !text.is_empty() => Some((name, text)),
        _ => None,
    }
}

/// The content of the file that `key` names.
pub(super) fn read_pem(section: &Section<'_>, key: &str, sources: Sources<'_>) -> Option<Secret> {
    let path = section.text(key)?;
    read_bytes(&sources.base.join(path), PEM_LIMIT)
        .map_err(|problem| {
            let hint = "name a PEM file that the user clonelove runs as may read";
            section.wrong(key, &format!("names {path}, which {problem}"), hint);
        })
        .map(Secret::new)
        .ok()
}

fn read_bytes(path: &Path, limit: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(limit.saturating_add(1)).read_to_end(&mut bytes))
        .map_err(|error| format!("cannot be read: {error}"))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit {
        return Err(format!("is longer than {limit} bytes"));
    }
    Ok(bytes)
}

fn read_file(path: &Path) -> Result<Secret, String> {
    let mut bytes = read_bytes(path, FILE_LIMIT)?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    if bytes.is_empty() { Err("is empty".to_owned()) } else { Ok(Secret::new(bytes)) }
}
