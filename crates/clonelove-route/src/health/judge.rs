//! What a report says of a server's replication.

use super::{HealthRules, State, Surroundings};
use crate::freshness::Rules;
use crate::report::{Channel, Report};

/// Up, lagging or broken, and why. `lag` is the best that is known of it, in seconds.
pub(super) fn judge(
    report: &Report,
    lag: Option<f64>,
    surroundings: Surroundings,
    rules: &HealthRules,
) -> (State, String) {
    let fine = (State::Up, String::new());
    if surroundings.is_primary || report.replication.is_empty() {
        return fine;
    }
    for channel in &report.replication {
        if let Some(why) = fault(channel, surroundings.primary_up, rules.kept) {
            return (State::Broken, why);
        }
    }
    let delay = report.replication.iter().map(|channel| channel.intended_delay).max().unwrap_or(0);
    let delay = if rules.kept.contains(Rules::INTENDED_DELAY) { delay } else { 0 };
    let limit = rules.max_lag.as_secs_f64();
    match lag {
        _ if delay as f64 > limit => (
            State::Lagging,
            format!("delayed by {delay} s on purpose, which is more than max_lag ({limit} s)"),
        ),
        Some(lag) if lag > limit => {
            (State::Lagging, format!("{lag:.0} s behind, which is more than max_lag ({limit} s)"))
        }
        None if surroundings.primary_up && rules.kept.contains(Rules::BROKEN) => {
            (State::Broken, "replication has not connected to its source yet".to_owned())
        }
        _ => fine,
    }
}

fn fault(channel: &Channel, primary_up: bool, kept: Rules) -> Option<String> {
    let source = format!("{}:{}", channel.source_host, channel.source_port);
    let error = match channel.last_error.as_str() {
        "" => String::new(),
        error => format!(": {error}"),
    };
    if channel.filtered {
        return Some(format!("replication from {source} is filtered, so that rows are missing unseen"));
    }
    if !kept.contains(Rules::BROKEN) {
        return None;
    }
    if !channel.sql_running {
        return Some(format!("the applying (SQL) thread of replication from {source} does not run{error}"));
    }
    // With the primary gone there is nothing to receive, and replication gives up trying after a while.
    if primary_up && !channel.io_running && !channel.io_connecting {
        return Some(format!("the receiving (IO) thread of replication from {source} does not run{error}"));
    }
    None
}
