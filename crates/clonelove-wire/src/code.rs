//! Error codes and SQLSTATEs that clonelove sends or reacts to. Wording is the caller's affair.
//!
//! Sources: <https://dev.mysql.com/doc/mysql-errors/en/server-error-reference.html>,
//! <https://mariadb.com/kb/en/mariadb-error-code-reference/>. Never a client-side code (2xxx): libraries take those
//! for malformed packets.

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $state:literal;)*) => {
        $($(#[$doc])* pub const $name: u16 = $code;)*

        /// The SQLSTATE that belongs to a code of this module; `HY000` for every other.
        #[must_use]
        pub const fn sqlstate(code: u16) -> [u8; 5] {
            match code {
                $($code => *$state,)*
                _ => *b"HY000",
            }
        }
    };
}

codes! {
    /// ER_CON_COUNT_ERROR: too many connections.
    TOO_MANY_CONNECTIONS = 1040, b"08004";
    /// ER_BAD_HOST_ERROR.
    BAD_HOST = 1042, b"08S01";
    /// ER_HANDSHAKE_ERROR: bad handshake.
    BAD_HANDSHAKE = 1043, b"08S01";
    /// ER_DBACCESS_DENIED_ERROR: no access to the database.
    DATABASE_ACCESS_DENIED = 1044, b"42000";
    /// ER_ACCESS_DENIED_ERROR: wrong user or password.
    ACCESS_DENIED = 1045, b"28000";
    /// ER_NO_DB_ERROR: no database selected.
    NO_DATABASE_SELECTED = 1046, b"3D000";
    /// ER_UNKNOWN_COM_ERROR: unknown command.
    UNKNOWN_COMMAND = 1047, b"08S01";
    /// ER_BAD_DB_ERROR: unknown database.
    UNKNOWN_DATABASE = 1049, b"42000";
    /// ER_TABLE_EXISTS_ERROR.
    TABLE_EXISTS = 1050, b"42S01";
    /// ER_SERVER_SHUTDOWN: no server at all, or draining.
    SERVER_SHUTDOWN = 1053, b"08S01";
    /// ER_DUP_ENTRY.
    DUPLICATE_ENTRY = 1062, b"23000";
    /// ER_PARSE_ERROR.
    PARSE_ERROR = 1064, b"42000";
    /// ER_NO_SUCH_THREAD.
    NO_SUCH_THREAD = 1094, b"HY000";
    /// ER_UNKNOWN_ERROR.
    UNKNOWN_ERROR = 1105, b"HY000";
    /// ER_HOST_IS_BLOCKED.
    HOST_BLOCKED = 1129, b"HY000";
    /// ER_HOST_NOT_PRIVILEGED.
    HOST_NOT_PRIVILEGED = 1130, b"HY000";
    /// ER_TABLEACCESS_DENIED_ERROR.
    TABLE_ACCESS_DENIED = 1142, b"42000";
    /// ER_NO_SUCH_TABLE.
    NO_SUCH_TABLE = 1146, b"42S02";
    /// ER_NET_PACKET_TOO_LARGE: a statement over a limit.
    PACKET_TOO_LARGE = 1153, b"08S01";
    /// ER_NET_PACKETS_OUT_OF_ORDER.
    PACKETS_OUT_OF_ORDER = 1156, b"08S01";
    /// ER_CRASHED_ON_USAGE: the table is crashed.
    TABLE_CRASHED = 1194, b"HY000";
    /// ER_CRASHED_ON_REPAIR: the table is crashed, and the last repair failed.
    TABLE_CRASHED_ON_REPAIR = 1195, b"HY000";
    /// ER_TOO_MANY_USER_CONNECTIONS: also our queue's timeout.
    TOO_MANY_USER_CONNECTIONS = 1203, b"42000";
    /// ER_LOCK_WAIT_TIMEOUT: also a read that was not fresh within its budget.
    LOCK_WAIT_TIMEOUT = 1205, b"HY000";
    /// ER_LOCK_DEADLOCK.
    DEADLOCK = 1213, b"40001";
    /// ER_SPECIFIC_ACCESS_DENIED_ERROR.
    SPECIFIC_ACCESS_DENIED = 1227, b"42000";
    /// ER_UNKNOWN_STMT_HANDLER: unknown prepared statement.
    UNKNOWN_STATEMENT = 1243, b"HY000";
    /// ER_NOT_SUPPORTED_AUTH_MODE: the client asks for an authentication that the server has not.
    UNSUPPORTED_AUTH = 1251, b"08004";
    /// ER_OPTION_PREVENTS_STATEMENT: `--read-only`.
    READ_ONLY_OPTION = 1290, b"HY000";
    /// ER_UNKNOWN_TIME_ZONE.
    UNKNOWN_TIME_ZONE = 1298, b"HY000";
    /// ER_QUERY_INTERRUPTED.
    QUERY_INTERRUPTED = 1317, b"70100";
    /// ER_TABLE_DEF_CHANGED: a transaction's table changed.
    TABLE_DEFINITION_CHANGED = 1412, b"HY000";
    /// ER_MAX_PREPARED_STMT_COUNT_REACHED.
    TOO_MANY_STATEMENTS = 1461, b"42000";
    /// ER_PLUGIN_IS_NOT_LOADED: an authentication plugin that the server does not have.
    PLUGIN_NOT_LOADED = 1524, b"HY000";
    /// ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION.
    READ_ONLY_TRANSACTION = 1792, b"25006";
    /// ER_MALFORMED_PACKET: broken packet.
    MALFORMED_PACKET = 1835, b"HY000";
    /// ER_READ_ONLY_MODE: also "no writable primary".
    READ_ONLY_MODE = 1836, b"HY000";
    /// ER_CONNECTION_KILLED: also "server lost in a statement".
    CONNECTION_KILLED = 1927, b"70100";
    /// ER_CANNOT_UPDATE_GTID_STATE and kin of MariaDB: GTID out of order on a replica.
    GTID_STRICT_OUT_OF_ORDER = 1950, b"HY000";
    /// ER_CLIENT_INTERACTION_TIMEOUT: MySQL closes an idle connection, unasked.
    IDLE_TIMEOUT = 4031, b"HY000";
    /// HA_ERR_CRASHED as MyISAM and Aria report it: index file is crashed.
    INDEX_CRASHED = 126, b"HY000";
    /// HA_ERR_CRASHED_ON_USAGE: table is marked as crashed.
    MARKED_CRASHED = 145, b"HY000";
}

/// Whether a server refused a statement because it is read-only (1290, 1792, 1836).
#[must_use]
pub const fn is_read_only_refusal(code: u16) -> bool {
    matches!(code, READ_ONLY_OPTION | READ_ONLY_TRANSACTION | READ_ONLY_MODE)
}

/// Whether an error is a fault of one server, so that a read may be tried on another
/// (126, 145, 1194, 1412, 1040, 1053, 1927).
#[must_use]
pub const fn is_server_fault(code: u16) -> bool {
    matches!(
        code,
        INDEX_CRASHED
            | MARKED_CRASHED
            | TABLE_CRASHED
            | TABLE_DEFINITION_CHANGED
            | TOO_MANY_CONNECTIONS
            | SERVER_SHUTDOWN
            | CONNECTION_KILLED
    )
}

/// Whether an error says that the account lacks a right (1044, 1045, 1142).
#[must_use]
pub const fn is_access_error(code: u16) -> bool {
    matches!(code, DATABASE_ACCESS_DENIED | ACCESS_DENIED | TABLE_ACCESS_DENIED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_own_error_has_the_sqlstate_of_the_interface() {
        for (code, state) in [
            (1040, b"08004"),
            (1045, b"28000"),
            (1049, b"42000"),
            (1836, b"HY000"),
            (1053, b"08S01"),
            (1203, b"42000"),
            (1927, b"70100"),
            (1153, b"08S01"),
            (1205, b"HY000"),
            (1835, b"HY000"),
        ] {
            assert_eq!(sqlstate(code), *state, "{code}");
        }
    }
}
