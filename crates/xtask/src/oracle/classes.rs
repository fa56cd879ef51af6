//! The written lists: why a statement is not run at all, why an answer may differ between two servers, why a read
//! belongs on the primary. Apart from the analysis on purpose: it knows words outside quotes and comments, no grammar.

use clonelove_sql::Facts;

use super::site::Site;

/// The words and signs of a statement outside quotes and comments, in upper case.
#[derive(Debug, Clone, Default)]
pub(super) struct Text {
    words: Vec<String>,
}

impl Text {
    /// Takes a statement apart. Executable comments count as code.
    pub(super) fn of(sql: &[u8]) -> Self {
        let mut words: Vec<String> = Vec::new();
        let mut rest = sql.get(..20_000.min(sql.len())).unwrap_or_default();
        while let Some(first) = rest.first().copied() {
            let second = rest.get(1).copied().unwrap_or(0);
            let passed = match (first, second) {
                (b'\'' | b'"', _) => quoted(rest),
                (b'`', _) => {
                    let end = quoted(rest);
                    let inner = rest.get(1..end.saturating_sub(1)).unwrap_or_default();
                    words.push(String::from_utf8_lossy(inner).to_ascii_uppercase());
                    end
                }
                (b'/', b'*') if matches!(rest.get(2), Some(b'!' | b'M')) => {
                    let body = rest.iter().skip(3).take_while(|b| b.is_ascii_digit() || **b == b'!').count();
                    3 + body
                }
                (b'/', b'*') => find(rest, b"*/").map_or(rest.len(), |at| at + 2),
                (b'*', b'/') => 2,
                (b'#', _) => find(rest, b"\n").unwrap_or(rest.len()),
                (b'-', b'-') if rest.get(2).is_none_or(u8::is_ascii_whitespace) => {
                    find(rest, b"\n").unwrap_or(rest.len())
                }
                (b':', b'=') | (b'@', b'@') => {
                    words.push(String::from_utf8_lossy(rest.get(..2).unwrap_or_default()).into_owned());
                    2
                }
                _ if first.is_ascii_alphanumeric() || matches!(first, b'_' | b'$') || first >= 0x80 => {
                    let end = rest
                        .iter()
                        .position(|b| !(b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$') || *b >= 0x80))
                        .unwrap_or(rest.len());
                    words.push(
                        String::from_utf8_lossy(rest.get(..end).unwrap_or_default()).to_ascii_uppercase(),
                    );
                    end
                }
                _ => {
                    if !first.is_ascii_whitespace() {
                        words.push(char::from(first).to_string());
                    }
                    1
                }
            };
            rest = rest.get(passed.max(1)..).unwrap_or_default();
        }
        Self { words }
    }

    /// Whether the word stands anywhere.
    pub(super) fn has(&self, word: &str) -> bool {
        self.words.iter().any(|known| known == word)
    }

    /// Whether one of the words stands anywhere.
    pub(super) fn has_any(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.has(word))
    }

    fn has_row(&self, row: &[&str]) -> bool {
        self.words.windows(row.len()).any(|window| window.iter().zip(row).all(|(one, other)| one == other))
    }

    /// The first word, parentheses left out.
    pub(super) fn first(&self) -> &str {
        self.words.iter().find(|word| *word != "(").map_or("", String::as_str)
    }

    /// The word after the first.
    fn second(&self) -> &str {
        self.words.get(1).map_or("", String::as_str)
    }

    /// Whether it is a query by its first word.
    pub(super) fn is_select(&self) -> bool {
        matches!(self.first(), "SELECT" | "WITH" | "VALUES" | "TABLE")
    }

    /// Whether it is a SET, which writes nothing.
    pub(super) fn is_set(&self) -> bool {
        self.first() == "SET" && !self.has_any(&["SELECT", "PASSWORD", "STATEMENT", "("])
    }

    /// Whether it writes rows and defines nothing.
    pub(super) fn is_plain_write(&self) -> bool {
        matches!(self.first(), "INSERT" | "UPDATE" | "DELETE" | "REPLACE" | "SELECT" | "DO" | "SHOW")
    }

    /// Whether it changes what sessions begin with.
    pub(super) fn sets_global(&self) -> bool {
        self.first() == "SET" && self.has("GLOBAL")
    }

    fn begins(&self, row: &[&str]) -> bool {
        self.words.iter().zip(row).filter(|(one, other)| one == other).count() == row.len()
    }
}

fn quoted(text: &[u8]) -> usize {
    let quote = text.first().copied().unwrap_or(0);
    let mut at = 1;
    while let Some(byte) = text.get(at) {
        if *byte == b'\\' && quote != b'`' {
            at += 1;
        } else if *byte == quote {
            return at + 1;
        }
        at += 1;
    }
    text.len()
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

/// Why a statement is not run: it would end, replace or unhinge the servers that the others run on.
pub(super) fn not_run(text: &Text, sql: &[u8]) -> Option<&'static str> {
    acts_on_servers(text).or_else(|| sets(text)).or_else(|| harms_objects(text)).or_else(|| hides(text, sql))
}

/// Whole statements.
fn acts_on_servers(text: &Text) -> Option<&'static str> {
    const REPLICATION: &str = "replication control";
    match text.first() {
        "SHUTDOWN" | "RESTART" => Some("ends the server"),
        "KILL" => Some("KILL: may hit a connection of ours"),
        "CHANGE" if text.second() == "MASTER" => Some(REPLICATION),
        "START" | "STOP" if matches!(text.second(), "SLAVE" | "REPLICA" | "ALL") => Some(REPLICATION),
        "RESET" if matches!(text.second(), "MASTER" | "SLAVE" | "REPLICA") => Some(REPLICATION),
        "PURGE" | "BINLOG" => Some(REPLICATION),
        "INSTALL" | "UNINSTALL" => Some("plugins: a replica without them breaks"),
        _ => None,
    }
}

/// Settings.
fn sets(text: &Text) -> Option<&'static str> {
    #[rustfmt::skip]
    const REPLICATION: &[&str] = &[
        "SQL_LOG_BIN", "READ_ONLY", "SERVER_ID", "SKIP_REPLICATION", "LOG_BIN", "LOG_SLAVE_UPDATES", "REPORT_HOST",
        "PSEUDO_SLAVE_MODE", "SYNC_BINLOG", "MAX_BINLOG_SIZE", "EXPIRE_LOGS_DAYS", "RELAY_LOG_PURGE",
    ];
    const PREFIXES: &[&str] = &["GTID_", "BINLOG_", "SLAVE_", "RPL_", "REPLICATE_", "WSREP_", "LOG_BIN_"];
    #[rustfmt::skip]
    const LOCK_OUT: &[&str] = &[
        "MAX_CONNECTIONS", "INIT_CONNECT", "DEFAULT_TMP_STORAGE_ENGINE", "LOG_OUTPUT", "DATADIR", "GENERAL_LOG_FILE",
        "INNODB_FAST_SHUTDOWN",
    ];
    if text.first() != "SET" {
        return None;
    }
    let replication = |word: &String| {
        REPLICATION.contains(&word.as_str())
            || PREFIXES.iter().any(|prefix| word.starts_with(prefix) && word.len() > prefix.len())
    };
    if text.words.iter().any(replication) {
        return Some("settings of replication");
    }
    if text.has("EVENT_SCHEDULER") {
        return Some("the event scheduler: writes that no statement makes");
    }
    if text.has("GLOBAL") && text.has("MAX_ALLOWED_PACKET") {
        return Some("max_allowed_packet: cuts values, and no session can be given another server's");
    }
    (text.has("GLOBAL") && text.has_any(LOCK_OUT)).then_some("global settings that would lock the oracle out")
}

/// In a text to be prepared, or in a body, where quotes hide words.
fn hides(text: &Text, sql: &[u8]) -> Option<&'static str> {
    #[rustfmt::skip]
    const HIDDEN: &[&str] = &[
        "RESET MASTER", "RESET SLAVE", "START SLAVE", "STOP SLAVE", "CHANGE MASTER", "PURGE BINARY", "PURGE MASTER",
        "SQL_LOG_BIN", "SHUTDOWN", "INSTALL PLUGIN", "INSTALL SONAME", "START ALL SLAVES", "STOP ALL SLAVES",
        "GLOBAL READ_ONLY", "GTID_", "KILL ", "BINLOG_FORMAT",
    ];
    let may_hide = matches!(text.first(), "PREPARE" | "EXECUTE" | "CREATE" | "SET" | "BEGIN" | "SELECT");
    if !may_hide || sql.len() > 100_000 {
        return None;
    }
    let all = String::from_utf8_lossy(sql).to_ascii_uppercase();
    let prepares = text.first() != "SELECT" || all.contains("INTO @");
    (prepares && HIDDEN.iter().any(|hidden| all.contains(hidden)))
        .then_some("the like in a text to be prepared or in a body")
}

/// Accounts, schemas and tables that the servers or the oracle need.
fn harms_objects(text: &Text) -> Option<&'static str> {
    let account = text.has_any(&["USER", "PASSWORD", "REVOKE", "RENAME"])
        && matches!(text.first(), "DROP" | "SET" | "ALTER" | "REVOKE" | "RENAME");
    if account && (text.has("ROOT") || text.begins(&["SET", "PASSWORD", "="])) {
        return Some("the account that the oracle uses");
    }
    if text.has("MYSQL") && text.has_any(&["GTID_SLAVE_POS", "GLOBAL_PRIV"]) && !text.is_select() {
        return Some("tables that replication or log-in need");
    }
    if text.has_any(&["DATA", "INDEX"]) && text.has("DIRECTORY") && matches!(text.first(), "CREATE" | "ALTER")
    {
        return Some("DATA DIRECTORY: one folder for both servers");
    }
    if text.first() == "DROP"
        && matches!(text.second(), "DATABASE" | "SCHEMA")
        && text.has_any(&["MYSQL", "MTR"])
    {
        return Some("schemas that the server needs");
    }
    if matches!(text.first(), "ALTER" | "DROP" | "RENAME" | "TRUNCATE" | "CREATE")
        && text.has_row(&["MYSQL", "."])
    {
        return Some("tables that the server needs");
    }
    None
}

/// Why the rows of two servers with the same data may differ, where they do.
pub(super) fn may_differ(text: &Text, order_alone: bool, other_count: bool) -> Option<&'static str> {
    const CHANCE: &[&str] =
        &["RAND", "UUID", "UUID_SHORT", "SYS_GUID", "RANDOM_BYTES", "ENCRYPT", "UUIDV4", "UUIDV7"];
    const CLOCK: &[&str] = &[
        "NOW",
        "SYSDATE",
        "CURDATE",
        "CURTIME",
        "CURRENT_DATE",
        "CURRENT_TIME",
        "CURRENT_TIMESTAMP",
        "LOCALTIME",
        "LOCALTIMESTAMP",
        "UTC_DATE",
        "UTC_TIME",
        "UTC_TIMESTAMP",
        "UNIX_TIMESTAMP",
    ];
    const STATISTICS: &[&str] = &["TABLES", "PARTITIONS", "STATISTICS"];
    if text.has_any(CHANCE) {
        return Some("chance (RAND, UUID, ...)");
    }
    if text.has_any(CLOCK) {
        return Some("clock (NOW, CURDATE, ...)");
    }
    if text.has("DEFAULT") {
        return Some("DEFAULT(column), where the default is a clock or chance");
    }
    if matches!(text.first(), "EXPLAIN" | "DESCRIBE" | "DESC" | "ANALYZE") {
        return Some("plans (EXPLAIN): they follow each server's statistics");
    }
    if text.first() == "SHOW" && text.has_any(&["INDEX", "INDEXES", "KEYS"]) {
        return Some("statistics (SHOW INDEX: cardinality)");
    }
    if text.has("INFORMATION_SCHEMA") && text.has_any(STATISTICS) {
        return Some("statistics (information_schema.tables, partitions, statistics)");
    }
    if order_alone {
        return Some("rows that tie under ORDER BY");
    }
    if text.has_row(&["ROWS", "EXAMINED"]) {
        return Some("LIMIT ROWS EXAMINED: it ends where the plan happens to be");
    }
    if text.has("LIMIT") && !other_count {
        return Some("LIMIT over rows that tie");
    }
    if text.has_any(&["GROUP_CONCAT", "JSON_ARRAYAGG", "JSON_OBJECTAGG"]) {
        return Some("the order within an aggregate");
    }
    if text.has("OVER") {
        return Some("windows over rows that tie");
    }
    None
}

/// Why a replica may refuse alone what the primary answered.
pub(super) fn may_be_refused(code: u16) -> Option<&'static str> {
    match code {
        1168 => {
            Some("MERGE tables: the default engine is not replicated, so that the parts are of another one")
        }
        1367 => Some("a geometry in a user variable of a pinned session, carried as plain bytes"),
        _ => None,
    }
}

/// Whether a query names what belongs on the primary by the design (section 6) or differs by server (freshness,
/// section 6).
pub(super) fn names_an_exclusion(site: &mut Site, text: &Text, facts: &Facts) -> bool {
    const FUNCTIONS: &[&str] = &[
        "GET_LOCK",
        "RELEASE_LOCK",
        "RELEASE_ALL_LOCKS",
        "IS_FREE_LOCK",
        "IS_USED_LOCK",
        "LAST_INSERT_ID",
        "ROW_COUNT",
        "FOUND_ROWS",
        "SQL_CALC_FOUND_ROWS",
        "CONNECTION_ID",
        "NEXTVAL",
        "LASTVAL",
        "SETVAL",
        "LOAD_FILE",
        "MASTER_GTID_WAIT",
        "MASTER_POS_WAIT",
        "BINLOG_GTID_POS",
        "VERSION",
        "USER",
        "CURRENT_USER",
        "SESSION_USER",
        "SYSTEM_USER",
        "CURRVAL",
        "DES_ENCRYPT",
        "DES_DECRYPT",
    ];
    const OWN: &[&str] = &["PERFORMANCE_SCHEMA", "SYS", "MYSQL"];
    let locks = text.has_row(&["FOR", "UPDATE"])
        || text.has_row(&["FOR", "SHARE"])
        || text.has_row(&["LOCK", "IN", "SHARE"]);
    let own_table = text
        .words
        .windows(2)
        .any(|pair| matches!(pair, [schema, dot] if dot == "." && OWN.contains(&schema.as_str())));
    let sequence = text.has_row(&["NEXT", "VALUE"]) || text.has_row(&["PREVIOUS", "VALUE"]);
    if locks || own_table || sequence || text.has_any(FUNCTIONS) || text.has_any(&["INTO", ":=", "@@"]) {
        return true;
    }
    let state = facts.tables_read.iter().any(|table| {
        table.schema.as_deref() == Some("information_schema")
            && clonelove_sql::is_server_specific_table("information_schema", &table.name)
    });
    state || facts.functions.iter().any(|function| is_stored(site, &function.name))
}

fn is_stored(site: &mut Site, name: &str) -> bool {
    let name = name.replace('\'', "''").replace('\\', "\\\\");
    let sql = format!(
        "SELECT (SELECT COUNT(*) FROM mysql.proc WHERE LOWER(name) = '{name}') + \
         (SELECT COUNT(*) FROM mysql.func WHERE LOWER(name) = '{name}')"
    );
    site.side.value(&sql).is_ok_and(|count| count != "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(sql: &str) -> Option<&'static str> {
        not_run(&Text::of(sql.as_bytes()), sql.as_bytes())
    }

    #[test]
    fn what_would_unhinge_the_servers_is_not_run() {
        assert_eq!(class("  shutdown"), Some("ends the server"));
        assert_eq!(class("/* x */ SET @@session.server_id= 5"), Some("settings of replication"));
        assert_eq!(class("set global  read_only=1"), Some("settings of replication"));
        assert_eq!(
            class("PREPARE s FROM 'reset master'"),
            Some("the like in a text to be prepared or in a body")
        );
        assert_eq!(class("reset master"), Some("replication control"));
        assert_eq!(class("SELECT 'shutdown', 1 FROM t"), None);
        assert_eq!(class("SET sql_mode = 'ANSI'"), None);
        assert_eq!(class("DROP USER root@localhost"), Some("the account that the oracle uses"));
    }

    #[test]
    fn words_are_those_outside_quotes_and_comments() {
        let text = Text::of(b"( SELECT 'rand()' /* now() */, `a` -- uuid\n FROM t /*!50000 FOR UPDATE */)");
        assert!(text.is_select() && text.has_row(&["FOR", "UPDATE"]) && text.has("A"));
        assert!(!text.has_any(&["RAND", "NOW", "UUID"]));
    }
}
