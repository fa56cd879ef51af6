//! How the demo looks: a table drawn again and again on a terminal, lines elsewhere. Owns the words; asks nobody.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::time::Duration;

use anyhow::Result;
use clonelove_testkit::{Clonelove, Cluster};
use serde_json::Value;

use super::traffic::Tally;
use super::{client_line, program};

/// Longer statements are cut.
const LONGEST: usize = 96;
/// Explanations that stay on the screen.
const SHOWN: usize = 3;

/// What does not change while the demo runs.
pub(super) struct Addresses {
    client: String,
    http: String,
    servers: String,
}

impl Addresses {
    pub(super) fn new(cluster: &Cluster, proxy: &Clonelove) -> Self {
        let servers: Vec<String> =
            cluster.servers().map(|server| format!("{} {}", server.name(), server.address())).collect();
        Self {
            client: client_line(proxy.port()),
            http: format!("http://{}", proxy.http_addr()),
            servers: servers.join(", "),
        }
    }

    fn text(&self) -> String {
        let program = program().map_or_else(|_| "clonelove".to_owned(), |path| path.display().to_string());
        format!(
            "the application's address   {}\nmetrics                     {}/metrics\n\
             status                      {program} status --admin {}\nthe servers behind          {}\n",
            self.client, self.http, self.http, self.servers
        )
    }
}

/// Where it is shown.
pub(super) struct Screen {
    terminal: bool,
    limit: Option<Duration>,
    explained: Vec<String>,
    begun: bool,
}

impl Screen {
    pub(super) fn new(limit: Option<Duration>) -> Self {
        Self { terminal: std::io::stdout().is_terminal(), limit, explained: Vec::new(), begun: false }
    }

    /// Between two looks.
    pub(super) fn pause(&self) -> Duration {
        Duration::from_millis(if self.terminal { 500 } else { 2_000 })
    }

    /// Shows how things stand.
    ///
    /// # Errors
    /// When nobody reads it any more.
    pub(super) fn show(
        &mut self,
        addresses: &Addresses,
        status: &Value,
        tally: &Tally,
        elapsed: Duration,
    ) -> Result<()> {
        let mut text = String::new();
        if self.terminal {
            let of = self.limit.map_or_else(String::new, |limit| format!(" of {}", limit.as_secs()));
            let _ = writeln!(text, "clonelove demo, {} s{of}; Ctrl-C ends all of it\n", elapsed.as_secs());
            let _ = writeln!(text, "{}", addresses.text());
            let _ = writeln!(text, "{}\n\n{}\n{}", requests(tally), routes(status), servers(status));
            for explained in &self.explained {
                let _ = writeln!(text, "\n{explained}");
            }
            text = redrawn(&text);
        } else {
            if !self.begun {
                let _ = writeln!(text, "{}", addresses.text());
            }
            let _ = writeln!(text, "[{:>3} s] {}", elapsed.as_secs(), requests(tally));
            let _ = writeln!(text, "{}\n{}", indented(&routes(status)), indented(&servers(status)));
        }
        self.begun = true;
        put(&text)
    }

    /// Shows what `clonelove explain` said of a statement.
    ///
    /// # Errors
    /// When nobody reads it any more.
    pub(super) fn explained(&mut self, said: &str) -> Result<()> {
        let text = explanation(said);
        if !self.terminal {
            return put(&indented(&format!("for instance {text}\n")));
        }
        self.explained.push(text);
        if self.explained.len() > SHOWN {
            self.explained.remove(0);
        }
        Ok(())
    }
}

/// The last word: what a script looks for stands in it.
pub(super) fn summary(status: &Value, tally: &Tally) -> String {
    format!(
        "summary: {} requests, {} statements, {} of the reads on replicas, {} errors",
        tally.requests,
        tally.statements,
        share(status),
        tally.errors
    )
}

fn requests(tally: &Tally) -> String {
    let mut text = format!(
        "requests {}, each on a connection of its own; statements {}; errors {}",
        tally.requests, tally.statements, tally.errors
    );
    if tally.early > 0 {
        let _ = write!(
            text,
            "\n{} views were older than a save made just before them over another connection: `session` freshness \
             does not reach that far",
            tally.early
        );
    }
    for error in &tally.last_errors {
        let _ = write!(text, "\nERROR: {}", cut(error));
    }
    text
}

/// What went where, and why.
fn routes(status: &Value) -> String {
    let mut rows = Vec::new();
    for target in ["replica", "primary", "local", "refused"] {
        let Some(reasons) = status.pointer(&format!("/queries/{target}")).and_then(Value::as_object) else {
            continue;
        };
        rows.extend(
            reasons.iter().map(|(reason, count)| (target, reason.as_str(), count.as_u64().unwrap_or(0))),
        );
    }
    let all: u64 = rows.iter().map(|(_, _, count)| count).sum();
    rows.sort_by_key(|(target, _, count)| (*target != "replica", std::cmp::Reverse(*count)));
    let mut text = format!("{:<10} {:<22} {:>9} {:>8}\n", "WENT TO", "BECAUSE", "QUERIES", "SHARE");
    for (target, reason, count) in rows {
        let percent = 100.0 * count as f64 / all.max(1) as f64;
        let _ = writeln!(text, "{target:<10} {reason:<22} {count:>9} {percent:>6.1} %");
    }
    let _ = writeln!(text, "of the reads that could go to a replica, {} did", share(status));
    text
}

fn servers(status: &Value) -> String {
    let mut text = format!(
        "{:<9} {:<8} {:<9} {:<6} {:>7} {:<14} {:>8} {:>9} {:>5}\n",
        "SERVER", "ROLE", "STATE", "READS", "LAG", "POSITION", "QUERIES", "IN FLIGHT", "CONNS"
    );
    for server in status.get("servers").and_then(Value::as_array).into_iter().flatten() {
        let at = |pointer: &str| server.pointer(pointer).unwrap_or(&Value::Null);
        let number = |pointer: &str| at(pointer).as_u64().unwrap_or(0);
        let conns: u64 =
            ["idle", "busy", "pinned"].iter().map(|usage| number(&format!("/connections/{usage}"))).sum();
        let reads = if at("/eligible") == &Value::Bool(true) { "yes" } else { "no" };
        let _ = writeln!(
            text,
            "{:<9} {:<8} {:<9} {reads:<6} {:>7} {:<14} {:>8} {:>9} {conns:>5}",
            word(at("/name")),
            word(at("/role")),
            word(at("/state")),
            lag(at("/lag_seconds"), at("/reported_lag_seconds")),
            word(at("/position")),
            number("/queries"),
            number("/in_flight"),
        );
    }
    text
}

/// By positions where that is known, else what the server says.
fn lag(by_positions: &Value, reported: &Value) -> String {
    let seconds = by_positions.as_f64().or_else(|| reported.as_f64());
    seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.1} s"))
}

fn share(status: &Value) -> String {
    let share = status.get("reads_on_replicas").and_then(Value::as_f64);
    share.map_or_else(|| "none".to_owned(), |share| format!("{:.1} %", 100.0 * share))
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

/// The statement and where it goes, of all that `explain` says.
fn explanation(said: &str) -> String {
    let mut lines = said.lines();
    let sql = lines.next().unwrap_or_default();
    let target = lines.map(str::trim).find(|line| line.starts_with("goes to")).unwrap_or_default();
    format!("{}\n    {target}", cut(sql))
}

fn cut(text: &str) -> String {
    let short: String = text.chars().take(LONGEST).collect();
    if short.len() < text.len() { format!("{short}…") } else { short }
}

fn indented(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let _ = writeln!(out, "        {line}");
    }
    out
}

/// Over what stood there before: each line is cleared to its end, and the rest of the screen after the last.
fn redrawn(text: &str) -> String {
    format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n"))
}

fn put(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_tables_have_what_the_status_has() {
        let status = json!({
            "queries": {"primary": {"write": 5}, "replica": {"read": 95}, "refused": {}},
            "reads_on_replicas": 0.98,
            "servers": [{"name": "r1", "role": "replica", "state": "lagging", "eligible": false, "lag_seconds": null,
                "reported_lag_seconds": 31, "position": "0-1-50", "queries": 95, "in_flight": 2,
                "connections": {"idle": 1, "busy": 2, "pinned": 0}}],
        });
        let routes = routes(&status);
        let replica = routes.lines().nth(1).unwrap();
        assert_eq!(replica.split_whitespace().collect::<Vec<_>>(), ["replica", "read", "95", "95.0", "%"]);
        assert!(routes.contains("98.0 % did"), "{routes}");
        let servers = servers(&status);
        let cells: Vec<&str> = servers.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(cells, ["r1", "replica", "lagging", "no", "31.0", "s", "0-1-50", "95", "2", "3"]);
    }

    #[test]
    fn an_explanation_is_the_statement_and_where_it_goes() {
        let said = "SELECT 1\n  goes to   replica, because: read\n  kind      read\n";
        assert_eq!(explanation(said), "SELECT 1\n    goes to   replica, because: read");
    }
}
