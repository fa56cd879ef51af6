//! The log: one line per event on standard error, for people or as JSON, both changeable while it runs. Owns the
//! subscriber; what is logged is everybody's own business.

use std::io::{IsTerminal, stderr};

use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::{Layered, SubscriberExt};
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::config::{Log, LogFormat};

type Filtered = Layered<reload::Layer<LevelFilter, Registry>, Registry>;
type Lines = Box<dyn Layer<Filtered> + Send + Sync>;

/// Changes the log while it runs.
#[derive(Clone)]
pub(crate) struct LogHandle {
    level: reload::Handle<LevelFilter, Registry>,
    lines: reload::Handle<Lines, Filtered>,
}

impl LogHandle {
    /// Applies `[log]`.
    pub(crate) fn apply(&self, log: Log) {
        // Fails only when the subscriber is gone, and with it anybody who could read about it.
        let _ = self.level.reload(LevelFilter::from_level(log.level));
        let _ = self.lines.reload(lines(log.format, Surroundings::look()));
    }
}

/// Starts logging.
pub(crate) fn start(log: Log) -> Result<LogHandle, tracing::subscriber::SetGlobalDefaultError> {
    let (level, level_handle) = reload::Layer::new(LevelFilter::from_level(log.level));
    let (lines, lines_handle) = reload::Layer::new(lines(log.format, Surroundings::look()));
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(level).with(lines))?;
    Ok(LogHandle { level: level_handle, lines: lines_handle })
}

/// The word for a level, as the config has it.
pub(crate) fn level_name(level: Level) -> String {
    level.as_str().to_ascii_lowercase()
}

/// Where the log goes to.
#[derive(Clone, Copy, Debug)]
struct Surroundings {
    /// A person is looking.
    terminal: bool,
    /// The journal takes the lines, with a time of its own.
    journal: bool,
    /// Colours are not wanted.
    no_color: bool,
}

impl Surroundings {
    fn look() -> Self {
        Self {
            terminal: stderr().is_terminal(),
            journal: std::env::var_os("JOURNAL_STREAM").is_some_and(|stream| !stream.is_empty()),
            no_color: std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()),
        }
    }
}

fn lines(format: LogFormat, around: Surroundings) -> Lines {
    if wants_json(format, around) {
        return Box::new(
            fmt::layer().json().flatten_event(true).with_current_span(false).with_writer(stderr),
        );
    }
    let human =
        fmt::layer().with_target(false).with_ansi(around.terminal && !around.no_color).with_writer(stderr);
    if around.journal && !around.terminal { Box::new(human.without_time()) } else { Box::new(human) }
}

fn wants_json(format: LogFormat, around: Surroundings) -> bool {
    match format {
        LogFormat::Human => false,
        LogFormat::Json => true,
        LogFormat::Auto => !around.terminal && !around.journal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_is_for_people_where_people_look() {
        let around = |terminal, journal| Surroundings { terminal, journal, no_color: false };
        assert!(!wants_json(LogFormat::Auto, around(true, false)));
        assert!(!wants_json(LogFormat::Auto, around(false, true)));
        assert!(wants_json(LogFormat::Auto, around(false, false)));
        assert!(wants_json(LogFormat::Json, around(true, true)));
        assert!(!wants_json(LogFormat::Human, around(false, false)));
    }
}
