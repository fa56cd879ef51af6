use proptest::prelude::*;

use super::defaults::RESULT_AFFECTING;
use super::fixture::primary;
use super::rows::PROBE_MYSQL;
use super::*;

/// Rows as the `mariadb` client prints them with `--batch --raw`.
fn table(text: &str) -> ResultRows {
    let cells = |line: &str| line.split('\t').map(str::to_owned).collect::<Vec<_>>();
    let mut lines = text.lines();
    let columns = lines.next().map(cells).unwrap_or_default();
    let value = |cell: String| (cell != "NULL").then_some(cell);
    ResultRows { columns, rows: lines.map(|line| cells(line).into_iter().map(value).collect()).collect() }
}

/// The results of a probe of a real server, see the files' names.
macro_rules! recorded {
    ($server:literal) => {
        [
            table(include_str!(concat!("recorded/", $server, ".1.tsv"))),
            table(include_str!(concat!("recorded/", $server, ".2.tsv"))),
            table(include_str!(concat!("recorded/", $server, ".3.tsv"))),
            table(include_str!(concat!("recorded/", $server, ".4.tsv"))),
        ]
    };
}

fn mariadb_replica() -> [ResultRows; 4] {
    recorded!("mariadb-10.11-replica")
}

fn mysql_replica() -> [ResultRows; 4] {
    recorded!("mysql-9.7-replica")
}

/// Puts another value into one column of the channel, or one variable.
fn set(results: &mut [ResultRows; 4], name: &str, value: Option<&str>) {
    let channel = &mut results[3];
    if let Some(at) = channel.columns.iter().position(|column| column == name) {
        channel.rows[0][at] = value.map(str::to_owned);
        return;
    }
    let row = results[1].rows.iter_mut().find(|row| row[0].as_deref() == Some(name)).unwrap();
    row[1] = value.map(str::to_owned);
}

fn channel_with(name: &str, value: Option<&str>) -> Channel {
    let mut results = mariadb_replica();
    set(&mut results, name, value);
    report_from(Flavour::MariaDb, &results).unwrap().replication.remove(0)
}

#[test]
fn reads_a_mariadb_replica() {
    let report = report_from(Flavour::MariaDb, &mariadb_replica()).unwrap();
    let Identity::MariaDb { server_id, port, ref server_uid, .. } = report.identity else {
        panic!("flavour")
    };
    assert_eq!((server_id, port, server_uid.len()), (2, 39712, 28));
    assert_eq!(report.server_id(), 2);
    assert!(report.version.starts_with("10.11."));
    assert!(report.read_only);
    assert_eq!(report.position.as_ref().map(Position::to_text).as_deref(), Some("0-1-6"));
    assert_eq!(report.binlog_position, report.position);
    assert_eq!(report.gtid, GtidSupport { writes: true, relays: true, ordered: true, cluster: false });
    assert!(report.server_clock > 1.7e9 && report.uptime_seconds > 0);
    assert_eq!(
        report.default_of("sql_mode"),
        Some("REAL_AS_FLOAT,PIPES_AS_CONCAT,ANSI_QUOTES,IGNORE_SPACE,ANSI")
    );
    let expected = Channel {
        source_host: "127.0.0.1".to_owned(),
        source_port: 39711,
        source_id: Some(1),
        io_running: true,
        sql_running: true,
        lag: Some(0.0),
        uses_gtid: true,
        ..Channel::default()
    };
    assert_eq!(report.replication, [expected]);
    assert_eq!(report.reported_lag(), Some(0.0));
}

#[test]
fn reads_a_mariadb_primary() {
    let report = report_from(Flavour::MariaDb, &recorded!("mariadb-10.11-primary")).unwrap();
    assert!(!report.read_only && report.replication.is_empty());
    assert_eq!(report.position, Some(Position::empty(Flavour::MariaDb)));
    assert_eq!(report.binlog_position.as_ref().map(Position::to_text).as_deref(), Some("0-1-6"));

    assert_eq!(report.reported_lag(), None);
}

#[test]
fn reads_a_mysql_replica() {
    let report = report_from(Flavour::MySql, &mysql_replica()).unwrap();
    assert_eq!(
        report.identity.to_string(),
        "server_uuid 7dada240-e6b1-11f1-9bab-02fc00000001 (server_id 102)"
    );
    assert!(report.read_only);
    let executed = "56841207-e6b1-11f1-9c96-02fc00000001:1-7:taga:1";
    assert_eq!(report.position.as_ref().map(Position::to_text).as_deref(), Some(executed));
    assert_eq!(report.gtid, GtidSupport { writes: true, relays: true, ordered: true, cluster: false });
    let expected = Channel {
        source_host: "127.0.0.1".to_owned(),
        source_port: 39721,
        source_id: Some(101),
        source_uuid: Some("56841207-e6b1-11f1-9c96-02fc00000001".to_owned()),
        io_running: true,
        sql_running: true,
        lag: Some(0.0),
        uses_gtid: true,
        ..Channel::default()
    };
    assert_eq!(report.replication, [expected]);
}

#[test]
fn reads_a_mysql_primary() {
    let report = report_from(Flavour::MySql, &recorded!("mysql-9.7-primary")).unwrap();
    assert!(!report.read_only && report.replication.is_empty());
    assert_eq!(report.position, report.binlog_position);
}

#[test]
fn connecting_is_not_running() {
    for state in ["Connecting", "Preparing"] {
        let channel = channel_with("Slave_IO_Running", Some(state));
        assert!(!channel.io_running && channel.io_connecting && channel.is_started());
    }
    let channel = channel_with("Slave_IO_Running", Some("No"));
    assert!(!channel.io_running && !channel.io_connecting);
    assert!(!channel_with("Slave_SQL_Running", Some("No")).sql_running);
}

#[test]
fn lag_counts_an_intended_delay_and_is_unknown_when_null() {
    assert_eq!(channel_with("Seconds_Behind_Master", None).lag, None);
    let mut results = mariadb_replica();
    set(&mut results, "SQL_Delay", Some("60"));
    let report = report_from(Flavour::MariaDb, &results).unwrap();
    assert_eq!((report.replication[0].intended_delay, report.reported_lag()), (60, Some(60.0)));
    let second = results[3].rows[0].clone();
    results[3].rows.push(second);
    set(&mut results, "Seconds_Behind_Master", None);
    let report = report_from(Flavour::MariaDb, &results).unwrap();
    assert_eq!((report.replication.len(), report.reported_lag()), (2, None), "one of two cannot tell");
}

#[test]
fn any_filter_counts() {
    let filters = [
        "Replicate_Do_DB",
        "Replicate_Ignore_DB",
        "Replicate_Do_Table",
        "Replicate_Ignore_Table",
        "Replicate_Wild_Do_Table",
        "Replicate_Wild_Ignore_Table",
        "Replicate_Do_Domain_Ids",
        "Replicate_Ignore_Domain_Ids",
        "Replicate_Ignore_Server_Ids",
        "Replicate_Rewrite_DB",
    ];
    for filter in filters {
        assert!(channel_with(filter, Some("x")).filtered, "{filter}");
        assert!(!channel_with(filter, Some("")).filtered, "{filter}");
    }
}

#[test]
fn a_source_that_was_never_connected_has_no_identity() {
    let mut results = mysql_replica();
    set(&mut results, "Source_Server_Id", Some("0"));
    set(&mut results, "Source_UUID", Some(""));
    let channel = &report_from(Flavour::MySql, &results).unwrap().replication[0];
    assert_eq!((channel.source_id, &channel.source_uuid), (None, &None));
}

#[test]
fn errors_are_those_of_the_applier_first() {
    assert_eq!(channel_with("Last_IO_Error", Some("io")).last_error, "io");
    let mut results = mariadb_replica();
    set(&mut results, "Last_IO_Error", Some("io"));
    set(&mut results, "Last_SQL_Error", Some("sql"));
    assert_eq!(report_from(Flavour::MariaDb, &results).unwrap().replication[0].last_error, "sql");
}

#[test]
fn read_only_has_many_names() {
    for value in ["ON", "1", "NO_LOCK", "NO_LOCK_NO_ADMIN"] {
        let mut results = mariadb_replica();
        set(&mut results, "read_only", Some(value));
        assert!(report_from(Flavour::MariaDb, &results).unwrap().read_only, "{value}");
    }
    let mut results = mysql_replica();
    set(&mut results, "read_only", Some("OFF"));
    assert!(!report_from(Flavour::MySql, &results).unwrap().read_only);
    set(&mut results, "super_read_only", Some("ON"));
    assert!(report_from(Flavour::MySql, &results).unwrap().read_only);
}

#[test]
fn gtid_promises_hang_on_the_settings() {
    let with = |name, value| {
        let mut results = mysql_replica();
        set(&mut results, name, Some(value));
        report_from(Flavour::MySql, &results).unwrap().gtid
    };
    assert!(!with("gtid_mode", "ON_PERMISSIVE").writes);
    assert!(!with("log_bin", "OFF").writes);
    let mut results = mysql_replica();
    set(&mut results, "replica_preserve_commit_order", Some("OFF"));
    set(&mut results, "slave_preserve_commit_order", Some("OFF"));
    assert!(!report_from(Flavour::MySql, &results).unwrap().gtid.ordered);
    let mut results = mariadb_replica();
    set(&mut results, "log_bin", Some("OFF"));
    let report = report_from(Flavour::MariaDb, &results).unwrap();
    assert!(!report.gtid.writes && report.binlog_position.is_none() && report.position.is_some());
}

#[test]
fn what_cannot_be_understood_is_no_report() {
    let bad = |results: &[ResultRows]| report_from(Flavour::MariaDb, results).unwrap_err().to_string();
    assert!(bad(&mariadb_replica()[..3]).contains("4 statements, but 3 results"));
    assert!(
        bad(&[const { ResultRows { columns: Vec::new(), rows: Vec::new() } }; 4]).contains("gtid_slave_pos")
    );
    for name in ["read_only", "server_id", "hostname", "port", "version"] {
        let mut results = mariadb_replica();
        set(&mut results, name, None);
        assert!(bad(&results).contains(name), "{name}");
    }
    let mut results = mariadb_replica();
    results[0].rows[0][1] = Some("0-1".to_owned());
    assert!(bad(&results).contains("gtid_slave_pos"));
    let channel = channel_from_row(Flavour::MariaDb, &[], &[]);
    assert_eq!(channel, Channel::default());
}

#[test]
fn the_statement_asks_for_every_default() {
    for name in RESULT_AFFECTING {
        assert!(PROBE_MYSQL[1].contains(&format!("'{name}'")), "{name}");
    }
}

#[test]
fn old_servers_are_asked_by_the_old_name() {
    let last = |flavour, version| *probe_statements(flavour, version).last().unwrap();
    assert_eq!(last(Flavour::MySql, 80_021), "SHOW SLAVE STATUS");
    assert_eq!(last(Flavour::MySql, 80_022), "SHOW REPLICA STATUS");
    assert_eq!(last(Flavour::MariaDb, 101_119), "SHOW ALL SLAVES STATUS");
}

#[test]
fn a_clock_between_question_and_answer_is_right() {
    let mut report = primary(Flavour::MariaDb, 1, 1);
    report.server_clock = 1000.0;
    for (sent, received, skew) in [(999.0, 1001.0, 0.0), (990.0, 995.0, 5.0), (1002.0, 1003.0, -2.0)] {
        report.measure_clock(sent, received);
        assert_eq!(report.clock_skew, skew);
    }
}

/// A server with these defaults, and this zone of its system.
fn with_defaults(defaults: &[(&str, &str)], system_zone: &str) -> Report {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let defaults = defaults.iter().map(owned).collect();
    Report { defaults, system_zone: system_zone.to_owned(), ..primary(Flavour::MariaDb, 1, 1) }
}

const UTC: &str = "0,0,0";
const PARIS: &str = "3600,7200,3600";
const DELHI: &str = "19800,19800,19800";

fn settings(
    mine: (&[(&str, &str)], &str),
    theirs: (&[(&str, &str)], &str),
) -> Result<String, UnlikeDefaults> {
    let primary = with_defaults(theirs.0, theirs.1);
    let settings = with_defaults(mine.0, mine.1).settings_like(&primary)?;
    Ok(settings.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" "))
}

#[test]
fn a_session_gets_the_primarys_defaults() {
    let theirs: &[_] =
        &[("sql_mode", "ANSI,STRICT_ALL_TABLES"), ("group_concat_max_len", "1024"), ("old", "x")];
    let mine: &[_] = &[("sql_mode", ""), ("group_concat_max_len", "1048576"), ("new", "y")];
    let expected = "sql_mode='ANSI,STRICT_ALL_TABLES' group_concat_max_len=1024";
    assert_eq!(settings((mine, UTC), (theirs, UTC)).as_deref(), Ok(expected));
    assert_eq!(settings((theirs, UTC), (theirs, UTC)).as_deref(), Ok(""));
    let empty: &[_] = &[("sql_mode", "")];
    assert_eq!(settings((mine, UTC), (empty, UTC)).as_deref(), Ok(""));
    assert_eq!(settings((theirs, UTC), (empty, UTC)).as_deref(), Ok("sql_mode=''"));
}

#[test]
fn join_limits_are_set_together() {
    let theirs: &[_] = &[("max_join_size", "10"), ("sql_big_selects", "ON")];
    let mine: &[_] = &[("max_join_size", "20"), ("sql_big_selects", "ON")];
    assert_eq!(settings((mine, UTC), (theirs, UTC)).as_deref(), Ok("max_join_size=10 sql_big_selects='ON'"));
}

#[test]
fn values_that_need_escapes_are_refused() {
    for value in ["it's", "a\\b", "a\0b", "DEFAULT"] {
        let refused = settings((&[("v", "x")], UTC), (&[("v", value)], UTC));
        assert!(matches!(refused, Err(UnlikeDefaults::Value { .. })), "{value}");
    }
}

#[test]
fn system_zones_are_compared_by_what_they_stand_for() {
    let system: &[_] = &[("time_zone", "SYSTEM")];
    let named: &[_] = &[("time_zone", "Europe/Paris")];
    let cases = [
        ((system, UTC), (system, UTC), Ok("")),
        ((named, PARIS), (named, UTC), Ok("")),
        ((system, PARIS), (named, PARIS), Ok("time_zone='Europe/Paris'")),
        ((named, PARIS), (system, PARIS), Ok("time_zone='SYSTEM'")),
        ((system, PARIS), (system, UTC), Ok("time_zone='+00:00'")),
        ((named, UTC), (system, DELHI), Ok("time_zone='+05:30'")),
        ((system, UTC), (system, PARIS), Err(UnlikeDefaults::Zone)),
        ((named, UTC), (system, PARIS), Err(UnlikeDefaults::Zone)),
    ];
    for (mine, theirs, expected) in cases {
        assert_eq!(settings(mine, theirs), expected.map(str::to_owned), "{mine:?} {theirs:?}");
    }
    assert_eq!(settings((system, UTC), (system, "-12600,-12600")).as_deref(), Ok("time_zone='-03:30'"));
}

proptest! {
    #[test]
    fn no_answer_panics(
        cells in proptest::collection::vec(proptest::option::of("[0-9a-zA-Z_.,:+-]{0,12}|.{0,8}"), 0..12),
        place in 0..4usize,
        row in 0..40usize,
        column in 0..60usize,
    ) {
        for flavour in [Flavour::MariaDb, Flavour::MySql] {
            for (at, cell) in cells.iter().enumerate() {
                let mut results = if flavour == Flavour::MariaDb { mariadb_replica() } else { mysql_replica() };
                let rows = &mut results[place].rows;
                let row = (row + at) % rows.len();
                let column = (column + at) % rows[row].len();
                rows[row][column].clone_from(cell);
                let _ = report_from(flavour, &results);
                results[place].rows[row].truncate(column);
                let _ = report_from(flavour, &results);
            }
        }
    }
}
