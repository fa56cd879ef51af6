//! Writing to the terminal. Owns the only place that prints, so that a closed pipe is no panic.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use clonelove_proxy::settings::Settings;
use serde::Serialize;

use crate::cli::{self, FAILURE, USAGE};
use crate::config::{self, Config, Problem};

/// Writes to standard output. The exit code says whether that was possible; a reader that has gone away
/// (`| head`) had enough.
pub(crate) fn print(text: &str) -> ExitCode {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(FAILURE),
    }
}

/// Writes one JSON value to standard output.
pub(crate) fn print_json<T: Serialize>(value: &T) -> ExitCode {
    match serde_json::to_string(value) {
        Ok(text) => print(&format!("{text}\n")),
        Err(error) => complain(FAILURE, &error),
    }
}

/// Writes what went wrong to standard error, and gives the exit code.
pub(crate) fn complain(code: u8, message: &dyn Display) -> ExitCode {
    // Nothing is left to do when even that cannot be written.
    let _ = writeln!(io::stderr().lock(), "clonelove: {message}");
    ExitCode::from(code)
}

/// `clonelove check`.
pub(crate) fn check(options: &cli::Check) -> ExitCode {
    let outcome = config::load(&options.config);
    if options.json {
        return check_json(&outcome);
    }
    match outcome {
        Ok(config) => print(&format!("{}: fine: {}\n", options.config.display(), summary(&config))),
        Err(problems) => complain_of_config(&problems),
    }
}

/// Writes every problem of a config to standard error, and gives the exit code.
pub(crate) fn complain_of_config(problems: &[Problem]) -> ExitCode {
    let mut text = String::new();
    for problem in problems {
        text.push_str(&format!("{problem}\n"));
    }
    // As above.
    let _ = io::stderr().lock().write_all(text.as_bytes());
    ExitCode::from(USAGE)
}

/// One line that says what a config comes to.
pub(crate) fn summary(config: &Config) -> String {
    let Settings { listen, servers, users, .. } = &config.settings;
    let mysql: Vec<String> = listen.mysql.iter().map(|each| each.address.to_string()).collect();
    let http = config.http.as_ref().map_or_else(|| "off".to_owned(), |http| format!("on {}", http.address()));
    let plural = |count: usize, word: &str| match count {
        1 => format!("1 {word}"),
        _ => format!("{count} {word}s"),
    };
    format!(
        "{}, {}, mysql on {}, http {http}",
        plural(servers.len(), "server"),
        plural(users.len(), "user"),
        mysql.join(", ")
    )
}

fn check_json(outcome: &Result<Config, Vec<Problem>>) -> ExitCode {
    #[derive(Serialize)]
    struct Answer<'a> {
        ok: bool,
        problems: &'a [Problem],
    }
    match outcome {
        Ok(_) => print_json(&Answer { ok: true, problems: &[] }),
        Err(problems) => {
            print_json(&Answer { ok: false, problems });
            ExitCode::from(USAGE)
        }
    }
}
