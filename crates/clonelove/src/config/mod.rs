//! The config: from a TOML file to checked settings, or to the list of everything that is wrong with it. Owns
//! TOML, defaults and secrets; must not start or change anything.

mod address;
mod check;
mod keys;
mod problem;
mod secret;
mod section;
mod sections;
#[cfg(test)]
mod tests;
mod tls;
mod value;

use std::path::Path;

use clonelove_proxy::settings::{Address, Secret, Settings};

pub(crate) use self::problem::Problem;
pub(crate) use self::value::format_duration;

/// Where the config is looked for when the command line does not say.
pub(crate) const DEFAULT_PATH: &str = "/etc/clonelove/clonelove.toml";

/// A config that was found to be right.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Config {
    /// What the proxy runs on.
    pub(crate) settings: Settings,
    /// The admin port; none when it is switched off.
    pub(crate) http: Option<Http>,
    /// The log.
    pub(crate) log: Log,
}

/// The admin port, `[listen] http…`: needs a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Http {
    /// A name or an address, without brackets.
    pub(crate) host: String,
    /// 0 lets the system choose.
    pub(crate) port: u16,
    /// What POSTs from elsewhere must know.
    pub(crate) token: Option<Secret>,
    /// Refuse every POST.
    pub(crate) read_only: bool,
}

impl Http {
    /// Host and port as a URL has them.
    pub(crate) fn address(&self) -> String {
        Address::Tcp { host: self.host.clone(), port: self.port }.to_string()
    }

    /// Whether only this machine can reach it.
    pub(crate) fn is_loopback(&self) -> bool {
        address::is_loopback(&self.host)
    }
}

/// `[log]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Log {
    /// Nothing below this is logged.
    pub(crate) level: tracing::Level,
    /// How a line looks.
    pub(crate) format: LogFormat,
}

/// `[log] format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// Human for a terminal and the journal, else JSON.
    Auto,
    /// Lines for people.
    Human,
    /// One JSON object a line.
    Json,
}

/// Reads and checks the config at `path`.
pub(crate) fn load(path: &Path) -> Result<Config, Vec<Problem>> {
    let unreadable = |problem: String, hint: &str| {
        vec![Problem { file: path.to_owned(), line: None, column: None, problem, hint: hint.to_owned() }]
    };
    let bytes = std::fs::read(path)
        .map_err(|error| unreadable(format!("cannot be read: {error}"), "name another with --config FILE"))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| unreadable("is not UTF-8 text".to_owned(), "save it as UTF-8"))?;
    check::check(path, &text, sources(path))
}

/// What the config at `path` says of the admin port, however wrong the rest of it may be: the shell of an
/// administrator has not the daemon's environment. `Ok(None)` when the port is switched off, an error when
/// there is no config to read.
pub(crate) fn load_http(path: &Path) -> std::io::Result<Option<Http>> {
    let text = std::fs::read_to_string(path)?;
    Ok(check::check_http(path, &text, sources(path)))
}

fn sources(path: &Path) -> secret::Sources<'_> {
    secret::Sources { env: &|name| std::env::var_os(name), base: path.parent().unwrap_or(Path::new("")) }
}
