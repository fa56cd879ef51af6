//! The statements of a probe, and their rows read into a [`Report`].

use std::collections::BTreeMap;

use super::defaults;
use super::{Channel, Flavour, GtidSupport, Identity, Report};
use crate::position::{BadPosition, Position};

/// The rows of one statement, as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResultRows {
    /// The columns' names.
    pub columns: Vec<String>,
    /// The rows; `None` is NULL.
    pub rows: Vec<Vec<Option<String>>>,
}

/// Answers to a probe that do not make a report.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadReport {
    /// Fewer or more results than the probe has statements.
    #[error("the probe has {expected} statements, but {got} results came")]
    ResultCount {
        /// What [`probe_statements`] asks.
        expected: usize,
        /// What came.
        got: usize,
    },
    /// Something that every server of this flavour says is not there.
    #[error("the server does not say its `{0}`")]
    Missing(&'static str),
    /// A value that is not what it should be.
    #[error("the server's `{name}` cannot be read: `{value}`")]
    Unreadable {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: String,
    },
    /// A position that is none.
    #[error("the server's `{name}`: {source}")]
    Position {
        /// The variable.
        name: &'static str,
        /// What is wrong.
        source: BadPosition,
    },
}

/// Defines the statement with which a probe asks for the clock, the positions and the system's time zone.
///
/// The positions are selected, not shown: SHOW VARIABLES cuts values at 1024 (MySQL) or 2048 (MariaDB) characters.
/// `@@timestamp` is the server's clock in seconds with a fraction, whatever the time zones. The offsets of the
/// system's zone at moments chosen for changes of winter, summer and law tell zones apart, which
/// `system_time_zone` does not: it is the abbreviation of the season in which the server was started.
macro_rules! select_instance {
    ($positions:literal) => {
        concat!(
            "SELECT @@timestamp AS clock, ",
            $positions,
            ", CONCAT_WS(','",
            select_instance!(@offset "1985-01-15"),
            select_instance!(@offset "1985-07-15"),
            select_instance!(@offset "1995-01-15"),
            select_instance!(@offset "1995-07-15"),
            select_instance!(@offset "2005-01-15"),
            select_instance!(@offset "2005-07-15"),
            select_instance!(@offset "2013-01-15"),
            select_instance!(@offset "2013-07-15"),
            select_instance!(@offset "2025-01-15"),
            select_instance!(@offset "2025-07-15"),
            ") AS system_zone"
        )
    };
    (@offset $day:literal) => {
        concat!(", TIMESTAMPDIFF(SECOND, '", $day, "', CONVERT_TZ('", $day, "', '+00:00', 'SYSTEM'))")
    };
}

/// The variables of both flavours; one that a server does not have gives no row, and no error as SELECT would.
const SHOW_VARIABLES: &str = "SHOW GLOBAL VARIABLES WHERE Variable_name IN (\
    'server_id', 'server_uid', 'server_uuid', 'hostname', 'port', 'datadir', 'version', \
    'read_only', 'super_read_only', 'innodb_read_only', \
    'log_bin', 'log_slave_updates', 'log_replica_updates', 'gtid_mode', 'wsrep_on', \
    'rpl_semi_sync_master_enabled', 'rpl_semi_sync_master_wait_point', \
    'rpl_semi_sync_source_enabled', 'rpl_semi_sync_source_wait_point', \
    'slave_preserve_commit_order', 'replica_preserve_commit_order', \
    'slave_parallel_workers', 'replica_parallel_workers', \
    'autocommit', 'block_encryption_mode', 'character_set_collations', 'character_set_filesystem', \
    'completion_type', 'cte_max_recursion_depth', 'default_collation_for_utf8mb4', 'default_regex_flags', \
    'default_week_format', 'div_precision_increment', 'group_concat_max_len', 'lc_messages', 'lc_time_names', \
    'max_allowed_packet', 'session_track_gtids', 'session_track_schema', 'session_track_state_change', \
    'session_track_system_variables', 'session_track_transaction_info', \
    'max_error_count', 'max_join_size', 'max_recursive_iterations', 'max_sort_length', 'old_mode', \
    'old_passwords', 'sql_auto_is_null', 'sql_big_selects', 'sql_mode', 'sql_notes', 'sql_quote_show_create', \
    'sql_safe_updates', 'sql_select_limit', 'sql_warnings', 'system_versioning_asof', 'time_zone', \
    'explain_format', 'explain_json_format_version', 'max_points_in_geometry', 'max_prepared_stmt_count', 'note_verbosity', \
    'skip_name_resolve', 'show_gipk_in_create_table_and_information_schema', 'standard_compliant_cte', \
    'transaction_isolation', 'tx_isolation', 'windowing_use_high_precision')";

const SHOW_UPTIME: &str = "SHOW GLOBAL STATUS LIKE 'Uptime'";

/// The statements of a probe of MariaDB, one result set each. Needs SLAVE MONITOR (before 10.5: REPLICATION CLIENT).
pub const PROBE_MARIADB: &[&str] = &[
    select_instance!(
        "@@global.gtid_slave_pos AS gtid_slave_pos, @@global.gtid_binlog_pos AS gtid_binlog_pos"
    ),
    SHOW_VARIABLES,
    SHOW_UPTIME,
    "SHOW ALL SLAVES STATUS",
];

/// The statements of a probe of MySQL from 8.0.22, one result set each. Needs REPLICATION CLIENT.
pub const PROBE_MYSQL: &[&str] = &[
    select_instance!("@@global.gtid_executed AS gtid_executed"),
    SHOW_VARIABLES,
    SHOW_UPTIME,
    "SHOW REPLICA STATUS",
];

/// The statements of a probe of MySQL before 8.0.22, which has the statement under its old name only.
pub const PROBE_MYSQL_OLD: &[&str] = &[
    select_instance!("@@global.gtid_executed AS gtid_executed"),
    SHOW_VARIABLES,
    SHOW_UPTIME,
    "SHOW SLAVE STATUS",
];

/// The statements of a probe of a server, by its flavour and version (10.11.6 is 101106).
pub fn probe_statements(flavour: Flavour, version: u32) -> &'static [&'static str] {
    match flavour {
        Flavour::MariaDb => PROBE_MARIADB,
        Flavour::MySql if version < 80_022 => PROBE_MYSQL_OLD,
        Flavour::MySql => PROBE_MYSQL,
    }
}

/// Reads the results of [`probe_statements`], in their order.
///
/// # Errors
/// [`BadReport`] when something is missing that every server says, or cannot be read. A server that cannot be
/// understood is not used, so that nothing is guessed here.
pub fn report_from(flavour: Flavour, results: &[ResultRows]) -> Result<Report, BadReport> {
    let [instance, variables, uptime, channels] = results else {
        return Err(BadReport::ResultCount { expected: PROBE_MARIADB.len(), got: results.len() });
    };
    let instance = Values::of_row(instance);
    let variables = Values::of_pairs(variables);
    let uptime = Values::of_pairs(uptime);
    let gtid = gtid_support(flavour, &variables);
    let (position, binlog_position) = positions(flavour, &instance, gtid)?;
    Ok(Report {
        identity: identity(flavour, &variables)?,
        flavour,
        version: variables.need("version")?.to_owned(),
        read_only: is_read_only(&variables)?,
        replication: channels
            .rows
            .iter()
            .map(|row| channel_from_row(flavour, &channels.columns, row))
            .collect(),
        position,
        binlog_position,
        gtid,
        commits_last: commits_last(&variables),
        resolves_names: variables.is_on("skip_name_resolve") == Some(false),
        most_prepared: variables.get("max_prepared_stmt_count").and_then(|value| value.parse().ok()),
        clock_skew: 0.0,
        server_clock: instance.number("clock")?,
        defaults: session_defaults(&variables),
        system_zone: instance.need("system_zone")?.to_owned(),
        uptime_seconds: uptime.number("uptime")?,
    })
}

/// Reads one row of `SHOW ALL SLAVES STATUS` (MariaDB), `SHOW REPLICA STATUS` or `SHOW SLAVE STATUS` (MySQL). A
/// column that is not there reads as the worse case: not running, lag unknown.
pub fn channel_from_row(flavour: Flavour, columns: &[String], row: &[Option<String>]) -> Channel {
    let values = Values::of_columns(columns, row);
    let text = |one, other| values.get(one).or_else(|| values.get(other)).unwrap_or_default();
    let io = text("replica_io_running", "slave_io_running");
    let uuid = text("source_uuid", "master_uuid");
    let gtid = match flavour {
        Flavour::MariaDb => !matches!(text("using_gtid", "").to_ascii_lowercase().as_str(), "" | "no"),
        Flavour::MySql => text("auto_position", "") == "1",
    };
    Channel {
        source_host: text("source_host", "master_host").to_owned(),
        source_port: text("source_port", "master_port").parse().unwrap_or(0),
        source_id: text("source_server_id", "master_server_id").parse().ok().filter(|id| *id != 0),
        source_uuid: (!uuid.is_empty()).then(|| uuid.to_ascii_lowercase()),
        io_running: io.eq_ignore_ascii_case("yes"),
        io_connecting: io.eq_ignore_ascii_case("connecting") || io.eq_ignore_ascii_case("preparing"),
        sql_running: text("replica_sql_running", "slave_sql_running").eq_ignore_ascii_case("yes"),
        lag: text("seconds_behind_source", "seconds_behind_master").parse().ok(),
        intended_delay: text("sql_delay", "").parse().unwrap_or(0),
        filtered: values.any_with_prefix("replicate_"),
        uses_gtid: gtid,
        last_error: last_error(&values),
    }
}

/// Column or variable names in lower case, with their values; NULLs are left out.
struct Values<'a>(BTreeMap<String, &'a str>);

impl<'a> Values<'a> {
    fn of_columns(columns: &[String], row: &'a [Option<String>]) -> Self {
        let named = columns.iter().zip(row);
        Values(
            named.filter_map(|(name, value)| Some((name.to_ascii_lowercase(), value.as_deref()?))).collect(),
        )
    }

    /// The first row, by column.
    fn of_row(result: &'a ResultRows) -> Self {
        Values::of_columns(&result.columns, result.rows.first().map_or(&[], Vec::as_slice))
    }

    /// Rows of a name and a value, as SHOW VARIABLES has them.
    fn of_pairs(result: &'a ResultRows) -> Self {
        let pair = |row: &'a Vec<Option<String>>| match row.as_slice() {
            [Some(name), Some(value), ..] => Some((name.to_ascii_lowercase(), value.as_str())),
            _ => None,
        };
        Values(result.rows.iter().filter_map(pair).collect())
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).copied()
    }

    fn need(&self, name: &'static str) -> Result<&'a str, BadReport> {
        self.get(name).ok_or(BadReport::Missing(name))
    }

    fn number<N: std::str::FromStr>(&self, name: &'static str) -> Result<N, BadReport> {
        let value = self.need(name)?;
        value.parse().map_err(|_| BadReport::Unreadable { name, value: value.to_owned() })
    }

    /// Whether a switch is on; `None` when there is no such variable.
    fn is_on(&self, name: &str) -> Option<bool> {
        self.get(name).map(|value| !matches!(value.to_ascii_lowercase().as_str(), "off" | "0" | "no"))
    }

    fn any_with_prefix(&self, prefix: &str) -> bool {
        self.0.iter().any(|(name, value)| name.starts_with(prefix) && !value.is_empty())
    }
}

fn identity(flavour: Flavour, variables: &Values<'_>) -> Result<Identity, BadReport> {
    let server_id = variables.number("server_id")?;
    Ok(match flavour {
        Flavour::MariaDb => Identity::MariaDb {
            server_id,
            hostname: variables.need("hostname")?.to_owned(),
            port: variables.number("port")?,
            datadir: variables.get("datadir").unwrap_or_default().to_owned(),
            server_uid: variables.get("server_uid").unwrap_or_default().to_owned(),
        },
        Flavour::MySql => {
            Identity::MySql { server_uuid: variables.need("server_uuid")?.to_ascii_lowercase(), server_id }
        }
    })
}

/// Any value but OFF counts: MariaDB 12 knows more than one kind of ON.
fn is_read_only(variables: &Values<'_>) -> Result<bool, BadReport> {
    let read_only = variables.is_on("read_only").ok_or(BadReport::Missing("read_only"))?;
    let others = ["super_read_only", "innodb_read_only"];
    Ok(read_only || others.iter().any(|name| variables.is_on(name) == Some(true)))
}

fn gtid_support(flavour: Flavour, variables: &Values<'_>) -> GtidSupport {
    let on = |name| variables.is_on(name) == Some(true);
    let serial = |name| matches!(variables.get(name), Some("0" | "1"));
    let log_bin = on("log_bin");
    GtidSupport {
        writes: match flavour {
            Flavour::MariaDb => log_bin,
            Flavour::MySql => log_bin && has_gtid_mode(variables),
        },
        relays: log_bin && (on("log_slave_updates") || on("log_replica_updates")),
        ordered: match flavour {
            Flavour::MariaDb => true,
            Flavour::MySql => {
                on("replica_preserve_commit_order")
                    || on("slave_preserve_commit_order")
                    || serial("replica_parallel_workers")
                    || serial("slave_parallel_workers")
            }
        },
        cluster: on("wsrep_on"),
    }
}

/// Plugins of MySQL's that are not there have no variables.
fn commits_last(variables: &Values<'_>) -> bool {
    let waits = |kind: &str| {
        let name = |what: &str| format!("rpl_semi_sync_{kind}_{what}");
        let point = variables.get(&name("wait_point")).unwrap_or_default();
        variables.is_on(&name("enabled")) == Some(true) && point.eq_ignore_ascii_case("AFTER_SYNC")
    };
    waits("master") || waits("source")
}

/// Only ON: with ON_PERMISSIVE some transactions have no GTID.
fn has_gtid_mode(variables: &Values<'_>) -> bool {
    variables.get("gtid_mode").is_some_and(|mode| mode.eq_ignore_ascii_case("on"))
}

type Positions = (Option<Position>, Option<Position>);

fn positions(flavour: Flavour, instance: &Values<'_>, gtid: GtidSupport) -> Result<Positions, BadReport> {
    let read = |name| {
        let parsed = Position::parse(flavour, instance.need(name)?);
        parsed.map(Some).map_err(|source| BadReport::Position { name, source })
    };
    match flavour {
        Flavour::MariaDb => {
            let binlog = if gtid.writes { read("gtid_binlog_pos")? } else { None };
            Ok((read("gtid_slave_pos")?, binlog))
        }
        Flavour::MySql => {
            let executed = read("gtid_executed")?;
            Ok((executed.clone(), executed))
        }
    }
}

fn session_defaults(variables: &Values<'_>) -> Vec<(String, String)> {
    let known = |name: &&str| Some(((*name).to_owned(), variables.get(name)?.to_owned()));
    defaults::RESULT_AFFECTING.iter().chain(defaults::TRACKING).filter_map(known).collect()
}

/// The applier's error before the receiver's: it is the one that replication cannot get over by itself.
fn last_error(values: &Values<'_>) -> String {
    let errors = ["last_sql_error", "last_error", "last_io_error"];
    errors
        .iter()
        .find_map(|name| values.get(name).filter(|text| !text.is_empty()))
        .unwrap_or_default()
        .to_owned()
}
