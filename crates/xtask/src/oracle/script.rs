//! Reads files in mysqltest's language into steps: where a statement begins and ends, which lines are commands of
//! the tester. Owns the syntax alone; what a step does is `play`'s.
//!
//! Source: the manual of mysqltest ("mysqltest Input Conventions", "mysqltest Commands"), and the behaviour of
//! client/mysqltest.cc as described there.

/// One step of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    /// The line it begins at, from 1.
    pub(super) line: usize,
    /// What it is.
    pub(super) what: What,
}

/// What a step is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    /// SQL for the server.
    Statement(Vec<u8>),
    /// A command of the tester, in lower case, and what follows it.
    Command(String, Vec<u8>),
    /// `while (…)` or `if (…)`, with the condition.
    Open {
        /// It repeats.
        repeats: bool,
        /// What stands in the parentheses.
        condition: Vec<u8>,
    },
    /// `}`
    Close,
}

/// Commands of mysqltest. Anything else is SQL.
const COMMANDS: &[&str] = &[
    "append_file",
    "cat_file",
    "change_user",
    "character_set",
    "chmod",
    "connect",
    "connection",
    "copy_file",
    "copy_files_wildcard",
    "dec",
    "delimiter",
    "die",
    "diff_files",
    "dirty_close",
    "disable_abort_on_error",
    "disable_connect_log",
    "disable_cursor_protocol",
    "disable_info",
    "disable_metadata",
    "disable_non_blocking_api",
    "disable_parsing",
    "disable_prepare_warnings",
    "disable_ps2_protocol",
    "disable_ps_protocol",
    "disable_query_log",
    "disable_reconnect",
    "disable_result_log",
    "disable_rpl_parse",
    "disable_service_connection",
    "disable_session_track_info",
    "disable_testcase",
    "disable_view_protocol",
    "disable_warnings",
    "disable_column_names",
    "disable_optimizer_trace",
    "enable_optimizer_trace",
    "disable_ps",
    "enable_ps",
    "disconnect",
    "echo",
    "enable_abort_on_error",
    "enable_column_names",
    "enable_connect_log",
    "enable_cursor_protocol",
    "enable_info",
    "enable_metadata",
    "enable_non_blocking_api",
    "enable_parsing",
    "enable_prepare_warnings",
    "enable_ps2_protocol",
    "enable_ps_protocol",
    "enable_query_log",
    "enable_reconnect",
    "enable_result_log",
    "enable_rpl_parse",
    "enable_service_connection",
    "enable_session_track_info",
    "enable_testcase",
    "enable_view_protocol",
    "enable_warnings",
    "end_timer",
    "error",
    "eval",
    "evalp",
    "exec",
    "execw",
    "exit",
    "file_exists",
    "force-cpdir",
    "force-rmdir",
    "horizontal_results",
    "inc",
    "let",
    "list_files",
    "list_files_append_file",
    "list_files_write_file",
    "lowercase_result",
    "mkdir",
    "move_file",
    "output",
    "perl",
    "ping",
    "query",
    "query_attributes",
    "query_get_value",
    "query_horizontal",
    "query_vertical",
    "real_sleep",
    "reap",
    "remove_file",
    "remove_files_wildcard",
    "replace_column",
    "replace_numeric_round",
    "replace_regex",
    "replace_result",
    "require",
    "reset_connection",
    "result",
    "result_format",
    "rmdir",
    "rpl_parse",
    "save_master_pos",
    "send",
    "send_eval",
    "send_quit",
    "send_shutdown",
    "shutdown_server",
    "skip",
    "sleep",
    "sorted_result",
    "partially_sorted_result",
    "source",
    "start_timer",
    "sync_slave_with_master",
    "sync_with_master",
    "system",
    "vertical_results",
    "wait_for_slave_to_stop",
    "write_file",
    "write_line",
    "query_cache_disable",
    "enable_log",
    "disable_log",
    "optimizer_trace",
    "ps_protocol",
];

/// Reads a whole file. `delimiter` is what ends a statement at its beginning, and at its end.
pub(super) fn steps(text: &[u8], delimiter: &mut Vec<u8>) -> Vec<Step> {
    let mut reader = Reader { text, at: 0, line: 1 };
    let mut steps = Vec::new();
    let mut parsing = true;
    while let Some((line, raw, is_line)) = reader.next_raw(delimiter) {
        let Some(what) = understand(&raw, is_line, &mut reader) else { continue };
        match &what {
            What::Command(name, _) if name == "disable_parsing" => parsing = false,
            What::Command(name, _) if name == "enable_parsing" => parsing = true,
            What::Command(name, rest) if name == "delimiter" && parsing => {
                let new = first_word(rest);
                if !new.is_empty() {
                    *delimiter = new.to_vec();
                }
            }
            _ if parsing => steps.push(Step { line, what }),
            _ => {}
        }
    }
    steps
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    line: usize,
}

impl Reader<'_> {
    fn rest(&self) -> &[u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn skip(&mut self, count: usize) {
        let end = self.at.saturating_add(count).min(self.text.len());
        let passed = self.text.get(self.at..end).unwrap_or_default();
        self.line += passed.iter().filter(|byte| **byte == b'\n').count();
        self.at = end;
    }

    /// The rest of this line, which is passed with its end.
    fn take_line(&mut self) -> Vec<u8> {
        let rest = self.rest();
        let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        let line = rest.get(..end).unwrap_or_default().to_vec();
        self.skip(end.saturating_add(1));
        line
    }

    /// The next line of its own (`true`), or text up to the delimiter.
    fn next_raw(&mut self, delimiter: &[u8]) -> Option<(usize, Vec<u8>, bool)> {
        loop {
            let first = *self.rest().first()?;
            if first.is_ascii_whitespace() {
                self.skip(1);
            } else if self.rest().starts_with(delimiter) {
                self.skip(delimiter.len());
            } else if first == b'#' {
                self.take_line();
            } else if first == b'-' {
                let line = self.line;
                return Some((line, self.take_line(), true));
            } else if first == b'}' {
                self.skip(1);
                return Some((self.line, b"}".to_vec(), false));
            } else if first == b'{' {
                self.skip(1);
            } else {
                let line = self.line;
                return Some((line, self.take_statement(delimiter), false));
            }
        }
    }

    fn take_statement(&mut self, delimiter: &[u8]) -> Vec<u8> {
        let rest = self.rest();
        let block = starts_with_word(rest, b"while") || starts_with_word(rest, b"if");
        let (mut quote, mut escaped) = (None, false);
        let mut end = rest.len();
        let mut passed = rest.len();
        for (at, byte) in rest.iter().copied().enumerate() {
            let tail = rest.get(at..).unwrap_or_default();
            if let Some(open) = quote {
                if byte == open && !escaped {
                    quote = None;
                }
            } else if tail.starts_with(delimiter) {
                (end, passed) = (at, at.saturating_add(delimiter.len()));
                break;
            } else if block && byte == b'{' {
                (end, passed) = (at, at.saturating_add(1));
                break;
            } else if matches!(byte, b'\'' | b'"' | b'`') && !escaped {
                quote = Some(byte);
            }
            escaped = byte == b'\\' && !escaped;
        }
        let statement = rest.get(..end).unwrap_or_default().to_vec();
        self.skip(passed);
        statement
    }

    /// Lines up to one that begins with `end`.
    fn take_document(&mut self, end: &[u8]) {
        while !self.rest().is_empty() {
            if self.take_line().starts_with(end) {
                return;
            }
        }
    }
}

fn understand(raw: &[u8], is_line: bool, reader: &mut Reader) -> Option<What> {
    if raw == b"}" && !is_line {
        return Some(What::Close);
    }
    let text =
        if is_line { raw.iter().position(|byte| *byte != b'-').and_then(|at| raw.get(at..))? } else { raw };
    let text = text.trim_ascii();
    let word = first_command(text);
    let rest = text.get(word.len()..).unwrap_or_default().trim_ascii_start();
    let name = String::from_utf8_lossy(word).to_ascii_lowercase();
    match name.as_str() {
        "while" | "if" if rest.starts_with(b"(") => {
            let condition = rest.get(1..).unwrap_or_default();
            let end = condition.iter().rposition(|byte| *byte == b')').unwrap_or(condition.len());
            let condition = condition.get(..end).unwrap_or_default().to_vec();
            return Some(What::Open { repeats: name == "while", condition });
        }
        "perl" | "write_file" | "append_file" => {
            let words: Vec<&[u8]> =
                rest.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect();
            let end = words.last().filter(|_| name == "perl" || words.len() > 1).copied().unwrap_or(b"EOF");
            let end = end.strip_suffix(b";").unwrap_or(end);
            reader.take_document(if end.is_empty() { b"EOF" } else { end });
        }
        _ => {}
    }
    if COMMANDS.contains(&name.as_str()) {
        let rest =
            if is_line && name != "delimiter" { rest.strip_suffix(b";").unwrap_or(rest) } else { rest };
        return Some(What::Command(name, rest.to_vec()));
    }
    // A line that is no command of ours is a comment, or one of a tester to come.
    (!is_line && !text.is_empty()).then(|| What::Statement(text.to_vec()))
}

fn starts_with_word(text: &[u8], word: &[u8]) -> bool {
    let head = text.get(..word.len()).unwrap_or_default();
    let after = text.get(word.len()).copied().unwrap_or(b' ');
    head.eq_ignore_ascii_case(word) && (after.is_ascii_whitespace() || after == b'(')
}

fn first_command(text: &[u8]) -> &[u8] {
    let end = text.iter().position(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')));
    text.get(..end.unwrap_or(text.len())).unwrap_or_default()
}

/// Up to the first white space.
pub(super) fn first_word(text: &[u8]) -> &[u8] {
    text.split(u8::is_ascii_whitespace).find(|word| !word.is_empty()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(usize, What)> {
        steps(text.as_bytes(), &mut b";".to_vec()).into_iter().map(|step| (step.line, step.what)).collect()
    }

    fn statement(sql: &str) -> What {
        What::Statement(sql.as_bytes().to_vec())
    }

    fn command(name: &str, rest: &str) -> What {
        What::Command(name.to_owned(), rest.as_bytes().to_vec())
    }

    #[test]
    fn statements_commands_and_comments_are_told_apart() {
        let text = "# a comment; with 'quotes\n--error 1064\nselect 1,\n'a;b' ;select 2;\nlet $x= 5;\n--  just words\n";
        let expected = vec![
            (2, command("error", "1064")),
            (3, statement("select 1,\n'a;b'")),
            (4, statement("select 2")),
            (5, command("let", "$x= 5")),
        ];
        assert_eq!(read(text), expected);
    }

    #[test]
    fn delimiters_change() {
        let text = "delimiter |;\nbegin not atomic select 1; end|\ndelimiter ;|\nselect 2;";
        assert_eq!(
            read(text),
            vec![(2, statement("begin not atomic select 1; end")), (4, statement("select 2"))]
        );
    }

    #[test]
    fn blocks_and_documents_are_found() {
        let text = "while ($i)\n{\n  eval select $i;\n}\n--perl\nprint 'it;\nEOF\nif (!$x) { --skip why\n}\nselect 1;";
        let open = |repeats, condition: &[u8]| What::Open { repeats, condition: condition.to_vec() };
        let expected = vec![
            open(true, b"$i"),
            command("eval", "select $i"),
            What::Close,
            command("perl", ""),
            open(false, b"!$x"),
            command("skip", "why"),
            What::Close,
            statement("select 1"),
        ];
        assert_eq!(read(text).into_iter().map(|step| step.1).collect::<Vec<_>>(), expected);
    }
}
