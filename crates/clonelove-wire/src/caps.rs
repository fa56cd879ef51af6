//! [`Caps`]: what the two ends of a connection agreed to speak.

bitflags::bitflags! {
    /// Capability flags: the protocol's 32 bits below, MariaDB's extended 32 bits above them.
    ///
    /// Unknown bits survive: what a newer peer says is kept as it came. Sources:
    /// <https://dev.mysql.com/doc/dev/mysql-server/latest/group__group__cs__capabilities__flags.html> and
    /// <https://mariadb.com/kb/en/connection/#capabilities>.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct Caps: u64 {
        /// The old meaning of bit 0. MariaDB calls it CLIENT_MYSQL, see there.
        const LONG_PASSWORD = 1;
        /// Bit 0 as MariaDB reads it: set, the peer is MySQL; clear, MariaDB's extended flags follow.
        const CLIENT_MYSQL = 1;
        /// "Affected rows" counts the rows found, not those changed.
        const FOUND_ROWS = 1 << 1;
        /// Column flags have two bytes.
        const LONG_FLAG = 1 << 2;
        /// The response names a database.
        const CONNECT_WITH_DB = 1 << 3;
        /// `database.table.column` is refused.
        const NO_SCHEMA = 1 << 4;
        /// zlib compression.
        const COMPRESS = 1 << 5;
        /// The client is an ODBC one.
        const ODBC = 1 << 6;
        /// LOAD DATA LOCAL INFILE.
        const LOCAL_FILES = 1 << 7;
        /// Spaces between a function's name and its parenthesis.
        const IGNORE_SPACE = 1 << 8;
        /// The protocol since 4.1.
        const PROTOCOL_41 = 1 << 9;
        /// interactive_timeout counts instead of wait_timeout.
        const INTERACTIVE = 1 << 10;
        /// TLS.
        const SSL = 1 << 11;
        /// The client ignores SIGPIPE.
        const IGNORE_SIGPIPE = 1 << 12;
        /// Status flags about transactions.
        const TRANSACTIONS = 1 << 13;
        /// Formerly: the 4.1 protocol.
        const RESERVED = 1 << 14;
        /// 4.1 authentication (`CLIENT_RESERVED2` of late).
        const SECURE_CONNECTION = 1 << 15;
        /// Several statements in one COM_QUERY.
        const MULTI_STATEMENTS = 1 << 16;
        /// Several results of one COM_QUERY.
        const MULTI_RESULTS = 1 << 17;
        /// Several results of one COM_STMT_EXECUTE.
        const PS_MULTI_RESULTS = 1 << 18;
        /// Authentication plugins.
        const PLUGIN_AUTH = 1 << 19;
        /// The response carries connection attributes.
        const CONNECT_ATTRS = 1 << 20;
        /// The response's authentication data has a length-encoded length.
        const PLUGIN_AUTH_LENENC = 1 << 21;
        /// The client can deal with an expired password.
        const EXPIRED_PASSWORDS = 1 << 22;
        /// OK packets may carry session-state changes.
        const SESSION_TRACK = 1 << 23;
        /// Result sets end in an OK packet; no EOF packets.
        const DEPRECATE_EOF = 1 << 24;
        /// Column definitions may be left out (MySQL).
        const OPTIONAL_RESULTSET_METADATA = 1 << 25;
        /// zstd compression (MySQL).
        const ZSTD = 1 << 26;
        /// COM_QUERY and COM_STMT_EXECUTE carry attributes (MySQL).
        const QUERY_ATTRIBUTES = 1 << 27;
        /// Several authentication factors (MySQL).
        const MULTI_FACTOR = 1 << 28;
        /// Progress reports, as MariaDB first numbered them; an extension of capabilities in MySQL.
        const PROGRESS_OBSOLETE = 1 << 29;
        /// The client verifies the server's certificate.
        const SSL_VERIFY_SERVER_CERT = 1 << 30;
        /// Options survive a reconnect.
        const REMEMBER_OPTIONS = 1 << 31;
        /// Progress reports (MariaDB).
        const PROGRESS = 1 << 32;
        /// COM_MULTI, never released (MariaDB).
        const COM_MULTI = 1 << 33;
        /// COM_STMT_BULK_EXECUTE (MariaDB).
        const STMT_BULK = 1 << 34;
        /// Column definitions carry extended type names (MariaDB).
        const EXTENDED_TYPES = 1 << 35;
        /// Column definitions of a prepared statement are sent only when they changed (MariaDB).
        const CACHE_METADATA = 1 << 36;
        /// COM_STMT_BULK_EXECUTE answers with a result set, a row for each set of parameters (MariaDB).
        const BULK_UNIT_RESULTS = 1 << 37;
        const _ = !0;
    }
}

impl Caps {
    /// From the protocol's 32 bits and MariaDB's extended ones, nothing dropped.
    #[must_use]
    pub const fn from_halves(base: u32, extended: u32) -> Caps {
        Caps::from_bits_retain(base as u64 | (extended as u64) << 32)
    }

    /// The protocol's 32 bits.
    #[must_use]
    pub const fn base(self) -> u32 {
        (self.bits() & 0xFFFF_FFFF) as u32
    }

    /// MariaDB's extended 32 bits.
    #[must_use]
    pub const fn extended(self) -> u32 {
        (self.bits() >> 32) as u32
    }
}
