//! Reading a server's general log: the witness of which statements reached that server.

use std::collections::HashMap;

/// One line of the log, or several where the statement has several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// The server's connection id.
    pub thread: u64,
    /// Who is logged in on it, when the log has told.
    pub user: Option<String>,
    /// As the server names it: `Query`, `Connect`, `Init DB`, `Prepare`, `Execute`, `Quit`, …
    pub command: String,
    /// The statement, or what else the command carries; bytes that are not UTF-8 are replaced.
    pub text: String,
    /// Where in the log file the entry begins.
    pub offset: u64,
}

impl LogEntry {
    /// Whether this is a statement (sent as text, or executed after a preparation).
    #[must_use]
    pub fn is_statement(&self) -> bool {
        matches!(self.command.as_str(), "Query" | "Execute")
    }
}

/// Reads a whole log file. `users` tells who was connected before it begins.
///
/// An entry begins with a time or two tabs, a thread id, a command, a tab; other lines continue a statement.
pub(crate) fn parse(bytes: &[u8], mut users: HashMap<u64, String>) -> Vec<LogEntry> {
    let mut entries: Vec<LogEntry> = Vec::new();
    let mut offset = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let text = String::from_utf8_lossy(line);
        if let Some((thread, command, argument)) = entry_start(&text) {
            if matches!(command, "Connect" | "Change user")
                && let Some((user, _)) = argument.split_once('@')
            {
                users.insert(thread, user.trim().to_owned());
            }
            let user = users.get(&thread).cloned();
            entries.push(LogEntry {
                thread,
                user,
                command: command.to_owned(),
                text: argument.to_owned(),
                offset,
            });
        } else if let Some(last) = entries.last_mut() {
            last.text.push_str(&text);
        }
        offset += line.len() as u64;
    }
    for entry in &mut entries {
        let end = entry.text.trim_end_matches('\n').len();
        entry.text.truncate(end);
    }
    entries
}

fn entry_start(line: &str) -> Option<(u64, &str, &str)> {
    let (time, rest) = line.split_once('\t')?;
    let rest = rest.strip_prefix('\t').unwrap_or(rest);
    let is_time = time.is_empty() || (time.len() >= 15 && time.starts_with(|c: char| c.is_ascii_digit()));
    let (head, argument) = rest.split_once('\t')?;
    let (thread, command) = head.trim_start().split_once(' ')?;
    let known = command.starts_with(|c: char| c.is_ascii_uppercase()) && command.len() <= 20;
    if !is_time || !known {
        return None;
    }
    Some((thread.parse().ok()?, command, argument))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_both_flavours_with_statements_of_several_lines() {
        let log = b"/usr/sbin/mariadbd, Version: 10.11. started with:\nTcp port: 1\nTime\t\t    Id Command\tArgument\n\
            231122 19:36:00\t     8 Connect\tapp@localhost on app using Socket\n\
            \t\t     8 Query\tSELECT 1,\n\t'x\ty'\n\
            2026-11-22T19:00:00.000000Z\t   12 Query\tINSERT\n";
        let entries = parse(log, HashMap::from([(12, "root".to_owned())]));
        let seen: Vec<_> = entries.iter().map(|e| (e.user.as_deref(), e.text.as_str())).collect();
        let wanted = [
            (Some("app"), "app@localhost on app using Socket"),
            (Some("app"), "SELECT 1,\n\t'x\ty'"),
            (Some("root"), "INSERT"),
        ];
        assert_eq!(seen, wanted);
    }
}
