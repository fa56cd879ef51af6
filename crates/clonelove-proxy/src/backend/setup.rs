//! What a backend connection must hear before it serves a session: our session trackers, the
//! primary's defaults, read-only on replicas, and who it is. Owns the texts; sends nothing.

use clonelove_route::report::{Flavour, Identity, Report};
use mysql_common::collations::Collation;

/// What the connection will be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Use {
    /// As the primary: anything.
    Primary,
    /// Reads only.
    Reads,
}

/// What is special about a connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Manner {
    /// Its client negotiated IGNORE_SPACE.
    pub(crate) ignore_space: bool,
    /// Its client negotiated INTERACTIVE.
    pub(crate) interactive: bool,
    /// Its variables are called transaction_…, not tx_….
    pub(crate) says_transaction: bool,
    /// Its clients are told what they ask for of their sessions.
    pub(crate) tracks: bool,
}

/// The one SET that makes a new connection, or one after a reset, fit for sessions.
pub(crate) fn burst(
    flavour: Flavour,
    usage: Use,
    settings: &[(String, String)],
    Manner { ignore_space, interactive, says_transaction, tracks }: Manner,
) -> String {
    let mut parts = vec![trackers(flavour, tracks)];
    let mut sql_mode = None;
    if usage == Use::Reads {
        for (name, value) in settings {
            if name == "sql_mode" && ignore_space {
                sql_mode = Some(value.as_str());
            } else {
                parts.push(format!("SESSION {name} = {value}"));
            }
        }
        // Hidden from clients: what slips through as a read and writes after all is refused (1792).
        let name = if says_transaction { "transaction_read_only" } else { "tx_read_only" };
        parts.push(format!("SESSION {name} = 1"));
    }
    if interactive {
        // Only a log-in does that by itself.
        parts.push("SESSION wait_timeout = @@global.interactive_timeout".to_owned());
    }
    if ignore_space {
        // What the capability does at log-in, a reset and the primary's sql_mode undo.
        let mode = sql_mode.unwrap_or("@@session.sql_mode");
        parts.push(format!("SESSION sql_mode = CONCAT('IGNORE_SPACE,', {mode})"));
    }
    format!("SET {}", parts.join(", "))
}

/// What replies are to report from now on. COM_RESET_CONNECTION takes it back, on MySQL too. `all`: whatever any client
/// may want to be told, but for what costs in each reply.
pub(crate) fn trackers(flavour: Flavour, all: bool) -> String {
    let (gtids, variables) = match flavour {
        Flavour::MariaDb => ("", "sql_mode,character_set_client,last_gtid"),
        Flavour::MySql => ("SESSION session_track_gtids = 'OWN_GTID', ", "sql_mode,character_set_client"),
    };
    format!(
        "SESSION session_track_schema = 1, SESSION session_track_state_change = 1, \
         SESSION session_track_transaction_info = 'OFF', {gtids}SESSION session_track_system_variables = '{}'",
        if all { "*" } else { variables }
    )
}

/// Asks a server who it is and whether it accepts writes; a replica also what it has executed. Needs no privilege.
pub(crate) fn identity_statement(flavour: Flavour, usage: Use) -> &'static str {
    match (flavour, usage) {
        (Flavour::MariaDb, Use::Primary) => {
            "SELECT @@server_id, @@hostname, @@port, @@datadir, @@global.read_only"
        }
        (Flavour::MariaDb, Use::Reads) => {
            "SELECT @@server_id, @@hostname, @@port, @@datadir, @@global.read_only, @@global.gtid_slave_pos"
        }
        (Flavour::MySql, Use::Primary) => {
            "SELECT @@server_id, @@server_uuid, '', '', @@global.read_only OR @@global.super_read_only"
        }
        (Flavour::MySql, Use::Reads) => {
            "SELECT @@server_id, @@server_uuid, '', '', @@global.read_only OR @@global.super_read_only, \
             @@global.gtid_executed"
        }
    }
}

/// Whether the row of [`identity_statement`] is of the server that the probe saw, and whether that
/// server refuses writes.
pub(crate) fn check_identity(row: &[Option<String>], report: &Report) -> Option<bool> {
    let field = |at: usize| row.get(at).and_then(Option::as_deref).unwrap_or_default();
    let same = match &report.identity {
        Identity::MariaDb { server_id, hostname, port, datadir, .. } => {
            field(0) == server_id.to_string()
                && field(1) == hostname
                && field(2) == port.to_string()
                && field(3) == datadir
        }
        Identity::MySql { server_uuid, server_id } => {
            field(0) == server_id.to_string() && field(1) == server_uuid
        }
    };
    same.then(|| !matches!(field(4), "0" | "OFF"))
}

/// The collation of no character set: servers take it, as any that they do not know, for their own default.
pub(crate) const SERVER_CHARSET: u8 = 0;

/// The SET NAMES that means the same as this collation in a handshake; none for one whose name is
/// not known here.
///
/// MariaDB takes a character set's default collation in a handshake for the character set alone, and
/// goes by its character_set_collations, so its name must not be said.
pub(crate) fn set_names(charset: u8, flavour: Flavour) -> Option<String> {
    if charset == SERVER_CHARSET {
        return Some("SET NAMES DEFAULT".to_owned());
    }
    let collation = Collation::resolve(u16::from(charset).into());
    let (charset, name) = (collation.charset(), collation.collation());
    if charset == "unknown" || name == "unknown" {
        return None;
    }
    let default = match (flavour, charset) {
        (Flavour::MySql, _) => false,
        (Flavour::MariaDb, "utf8mb4") => name == "utf8mb4_general_ci",
        (Flavour::MariaDb, _) => collation.is_default(),
    };
    if default {
        return Some(format!("SET NAMES {charset}"));
    }
    Some(format!("SET NAMES {charset} COLLATE {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_collation_has_its_set_names() {
        let rows = [
            (45, Flavour::MySql, Some("SET NAMES utf8mb4 COLLATE utf8mb4_general_ci")),
            (45, Flavour::MariaDb, Some("SET NAMES utf8mb4")),
            (224, Flavour::MariaDb, Some("SET NAMES utf8mb4 COLLATE utf8mb4_unicode_ci")),
            (8, Flavour::MySql, Some("SET NAMES latin1 COLLATE latin1_swedish_ci")),
            (8, Flavour::MariaDb, Some("SET NAMES latin1")),
            (0, Flavour::MariaDb, Some("SET NAMES DEFAULT")),
            (17, Flavour::MariaDb, None),
        ];
        for (charset, flavour, expected) in rows {
            assert_eq!(set_names(charset, flavour).as_deref(), expected, "{charset} {flavour:?}");
        }
    }

    #[test]
    fn replicas_hear_the_primarys_defaults_and_are_read_only() {
        let settings = vec![("sql_mode".to_owned(), "'ANSI'".to_owned())];
        let set = burst(Flavour::MariaDb, Use::Reads, &settings, Manner::default());
        assert!(set.ends_with("SESSION sql_mode = 'ANSI', SESSION tx_read_only = 1"), "{set}");
        let set = burst(
            Flavour::MariaDb,
            Use::Reads,
            &settings,
            Manner { ignore_space: true, ..Manner::default() },
        );
        assert!(set.ends_with("SESSION sql_mode = CONCAT('IGNORE_SPACE,', 'ANSI')"), "{set}");
        assert!(!set.contains("sql_mode = 'ANSI'"), "{set}");
        let set = burst(
            Flavour::MySql,
            Use::Primary,
            &settings,
            Manner { ignore_space: true, interactive: true, says_transaction: true, tracks: false },
        );
        assert!(set.ends_with("CONCAT('IGNORE_SPACE,', @@session.sql_mode)"), "{set}");
        assert!(set.contains("SESSION wait_timeout = @@global.interactive_timeout"), "{set}");
        assert!(!set.contains("read_only"), "{set}");
    }
}
