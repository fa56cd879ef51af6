//! The session defaults that change what a read returns, and what a connection to a replica must hear so that the
//! same statement gives the same rows there as on the primary.

use super::Report;

/// The variables concerned, of either flavour. Not among them: character sets and collations of the connection,
/// which the handshake sets, and limits that end a statement without changing its rows.
pub(super) const RESULT_AFFECTING: &[&str] = &[
    "autocommit",
    "block_encryption_mode",
    "character_set_collations",
    "character_set_filesystem",
    "completion_type",
    "cte_max_recursion_depth",
    "default_collation_for_utf8mb4",
    "default_regex_flags",
    "default_week_format",
    "div_precision_increment",
    "explain_format",
    "explain_json_format_version",
    "group_concat_max_len",
    "lc_messages",
    "lc_time_names",
    MAX_PACKET,
    "max_error_count",
    "max_join_size",
    "max_points_in_geometry",
    "max_recursive_iterations",
    "max_sort_length",
    "note_verbosity",
    "old_mode",
    "old_passwords",
    "show_gipk_in_create_table_and_information_schema",
    "sql_auto_is_null",
    "sql_big_selects",
    "sql_mode",
    "sql_notes",
    "sql_quote_show_create",
    "sql_safe_updates",
    "sql_select_limit",
    "sql_warnings",
    "standard_compliant_cte",
    "system_versioning_asof",
    "time_zone",
    "transaction_isolation",
    "tx_isolation",
    "windowing_use_high_precision",
];

/// Those that say what clients are told of their sessions. Servers track for us, and have others.
pub(super) const TRACKING: &[&str] = &[
    "session_track_gtids",
    "session_track_schema",
    "session_track_state_change",
    "session_track_system_variables",
    "session_track_transaction_info",
];

/// Longer results of functions are NULL, and no session can set it for itself.
const MAX_PACKET: &str = "max_allowed_packet";

/// Why no setting makes a replica's sessions like the primary's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnlikeDefaults {
    /// `time_zone` is SYSTEM on the primary, and its system's zone cannot be named to the replica.
    #[error(
        "time_zone is SYSTEM on the primary and stands for another zone here; \
         set time_zone to a named zone or an offset on the primary, or give both systems the same zone"
    )]
    Zone,
    /// A value that sessions cannot set for themselves.
    #[error("{name} is {theirs} on the primary and {mine} here, which changes results: set both alike")]
    Fixed {
        /// The variable.
        name: &'static str,
        /// The primary's value.
        theirs: String,
        /// This server's.
        mine: String,
    },
    /// A value that cannot be put into a SET safely.
    #[error("the primary's {name} cannot be set here: `{value}`")]
    Value {
        /// The variable.
        name: String,
        /// The primary's value.
        value: String,
    },
}

impl Report {
    /// The settings, as names and SQL literals, that give a session on this server the defaults of one on `primary`.
    /// Variables that only one of the two has are left alone.
    ///
    /// # Errors
    /// [`UnlikeDefaults`] when that cannot be done; the server is then not fit for reads.
    pub fn settings_like(&self, primary: &Report) -> Result<Vec<(String, String)>, UnlikeDefaults> {
        let mut settings = Vec::new();
        for (name, theirs) in primary.defaults.iter().filter(|(name, _)| !TRACKING.contains(&name.as_str())) {
            let Some(mine) = self.default_of(name) else { continue };
            if name == MAX_PACKET {
                if mine != theirs {
                    let (theirs, mine) = (theirs.clone(), mine.to_owned());
                    return Err(UnlikeDefaults::Fixed { name: MAX_PACKET, theirs, mine });
                }
            } else if name == "time_zone" {
                if let Some(zone) = self.zone_like(mine, primary, theirs)? {
                    settings.push((name.clone(), literal(name, &zone)?));
                }
            } else if mine != theirs {
                settings.push((name.clone(), literal(name, theirs)?));
            }
        }
        // Setting the one moves the other.
        let has = |name: &str| settings.iter().any(|(known, _): &(String, String)| known == name);
        if has("max_join_size") && !has("sql_big_selects") {
            let theirs = primary.default_of("sql_big_selects").unwrap_or("ON");
            settings.push(("sql_big_selects".to_owned(), literal("sql_big_selects", theirs)?));
        }
        Ok(settings)
    }

    /// The default of one of the variables that change what a read returns.
    pub fn default_of(&self, name: &str) -> Option<&str> {
        self.defaults.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn zone_like(
        &self,
        mine: &str,
        primary: &Report,
        theirs: &str,
    ) -> Result<Option<String>, UnlikeDefaults> {
        let is_system = |zone: &str| zone.eq_ignore_ascii_case("SYSTEM");
        if !is_system(theirs) {
            return Ok((mine != theirs).then(|| theirs.to_owned()));
        }
        if self.system_zone == primary.system_zone {
            return Ok((!is_system(mine)).then(|| theirs.to_owned()));
        }
        constant_offset(&primary.system_zone).map(Some).ok_or(UnlikeDefaults::Zone)
    }
}

/// `+05:30`, for a zone whose offset is the same at all the moments asked for.
fn constant_offset(system_zone: &str) -> Option<String> {
    let mut offsets = system_zone.split(',');
    let first = offsets.next()?;
    if !offsets.all(|offset| offset == first) {
        return None;
    }
    let seconds: i64 = first.parse().ok()?;
    let minutes = seconds.unsigned_abs() / 60;
    let whole = seconds.unsigned_abs().is_multiple_of(60) && minutes < 14 * 60;
    let sign = if seconds < 0 { '-' } else { '+' };
    whole.then(|| format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60))
}

/// Numbers stand bare, since integer variables refuse strings; all else is quoted. What would need an escape, whose
/// meaning hangs on the session's sql_mode, is refused.
fn literal(name: &str, value: &str) -> Result<String, UnlikeDefaults> {
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(value.to_owned());
    }
    let plain = |c: char| c != '\'' && c != '\\' && !c.is_control();
    // What system_versioning_asof is by default cannot be set by that name.
    if value != "DEFAULT" && value.chars().all(plain) {
        return Ok(format!("'{value}'"));
    }
    Err(UnlikeDefaults::Value { name: name.to_owned(), value: value.to_owned() })
}
