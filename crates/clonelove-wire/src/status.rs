//! [`Status`]: what a server says of its session in every OK and EOF packet.

bitflags::bitflags! {
    /// The server status flags (`SERVER_STATUS_…`), unknown bits included.
    ///
    /// Source: <https://dev.mysql.com/doc/dev/mysql-server/latest/mysql__com_8h.html>; ANSI_QUOTES is MariaDB's.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct Status: u16 {
        /// A transaction is open.
        const IN_TRANS = 0x0001;
        /// autocommit is on.
        const AUTOCOMMIT = 0x0002;
        /// Another result follows in the same reply.
        const MORE_RESULTS = 0x0008;
        /// No good index was used.
        const NO_GOOD_INDEX_USED = 0x0010;
        /// No index was used.
        const NO_INDEX_USED = 0x0020;
        /// A cursor is open: rows are fetched with COM_STMT_FETCH.
        const CURSOR_EXISTS = 0x0040;
        /// The cursor has no more rows.
        const LAST_ROW_SENT = 0x0080;
        /// The database was dropped.
        const DB_DROPPED = 0x0100;
        /// sql_mode has NO_BACKSLASH_ESCAPES.
        const NO_BACKSLASH_ESCAPES = 0x0200;
        /// A re-prepare changed the number of columns.
        const METADATA_CHANGED = 0x0400;
        /// The query was slow.
        const QUERY_WAS_SLOW = 0x0800;
        /// This result set holds the OUT parameters of a procedure.
        const PS_OUT_PARAMS = 0x1000;
        /// The open transaction is READ ONLY.
        const IN_TRANS_READONLY = 0x2000;
        /// The OK packet carries a session-state block.
        const SESSION_STATE_CHANGED = 0x4000;
        /// sql_mode has ANSI_QUOTES (MariaDB).
        const ANSI_QUOTES = 0x8000;
        const _ = !0;
    }
}

impl Status {
    /// Whether a cursor was opened for the client. One with more results to come is of a stored procedure, which has it
    /// open for itself (MariaDB), and the rows follow.
    #[must_use]
    pub fn opens_cursor(self) -> bool {
        self.contains(Status::CURSOR_EXISTS) && !self.contains(Status::MORE_RESULTS)
    }
}
