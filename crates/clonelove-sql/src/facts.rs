//! What an analysis answers: the vocabulary that routing and the session model are written in.
//!
//! Owns the types alone; how they come about is `analyse`'s business, what follows from them is routing's.

use std::ops::Range;

/// What a statement is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Kind {
    /// Answers from data and changes none, as far as the statement's own words go; [`Facts::why`] says whether it
    /// may leave the primary.
    Read,
    /// Changes data, or may.
    Write,
    /// Changes definitions.
    Ddl,
    /// Begins, ends or marks a transaction.
    Transaction,
    /// Changes the state of its session.
    Session,
    /// Acts on the server: maintenance, accounts, KILL.
    Admin,
    /// Not understood: to be taken for a write of anything.
    #[default]
    Unknown,
}

impl Kind {
    /// The name that metrics, logs and `explain` use.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Read => "read",
            Kind::Write => "write",
            Kind::Ddl => "ddl",
            Kind::Transaction => "transaction",
            Kind::Session => "session",
            Kind::Admin => "admin",
            Kind::Unknown => "unknown",
        }
    }
}

/// Why a statement must run on the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// It writes data.
    Write,
    /// It changes definitions.
    Ddl,
    /// It begins, ends or marks a transaction.
    TransactionControl,
    /// It changes session state.
    SessionSetting,
    /// It acts on the server.
    Administrative,
    /// It locks the rows that it reads.
    LockingRead,
    /// It leaves something behind: a lock, a variable, a file, a sequence's next value.
    SideEffect,
    /// It asks about the statement before it: LAST_INSERT_ID(), ROW_COUNT(), warnings.
    PreviousStatement,
    /// Its answer differs from server to server.
    ServerSpecific,
    /// It was not understood.
    UnknownStatement,
    /// It calls a function that is no known built-in.
    UnknownFunction,
    /// Its tables could not be told.
    UnknownTable,
    /// It is one of several statements sent as one, not all of them reads.
    MultiStatement,
    /// It is too long to be analysed.
    TooLarge,
}

impl Why {
    /// The reason's name in metrics, logs and `explain`.
    pub fn as_str(self) -> &'static str {
        match self {
            Why::Write => "write",
            Why::Ddl => "ddl",
            Why::TransactionControl => "transaction_control",
            Why::SessionSetting => "session_setting",
            Why::Administrative => "administrative",
            Why::LockingRead => "locking_read",
            Why::SideEffect => "side_effect",
            Why::PreviousStatement => "previous_statement",
            Why::ServerSpecific => "server_specific",
            Why::UnknownStatement => "unknown_statement",
            Why::UnknownFunction => "unknown_function",
            Why::UnknownTable => "unknown_table",
            Why::MultiStatement => "multi_statement",
            Why::TooLarge => "too_large",
        }
    }
}

/// All that is known of a statement from its text. The default knows nothing: kind unknown.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// What it is.
    pub kind: Kind,
    /// Why it must run on the primary; `None`: provably a read that may leave it (outside transactions and pins).
    pub why: Option<Why>,
    /// Byte range of the token that decided.
    pub token: Option<Range<usize>>,
    /// What it does to session and server, in the order of the text.
    pub effects: Vec<Effect>,
    /// Tables it reads, each once. What asks for definitions (SHOW TABLES, DESCRIBE) reads the table of
    /// information_schema that holds them, and the table described.
    pub tables_read: Vec<TableName>,
    /// Tables it writes or defines, each once; those of an UPDATE or DELETE of several tables count as written all.
    pub tables_written: Vec<TableName>,
    /// It may touch any table: reads of any for a read, reads and writes of any for everything else.
    pub all_tables: bool,
    /// Functions it calls that are not built in, or not known to be, each once: they may do anything, until the
    /// schema tells otherwise.
    pub functions: Vec<TableName>,
    /// Of a statement that calls stored functions or a procedure: what it is but for them.
    pub apart: Option<Box<Apart>>,
    /// What it asks about the statement before it.
    pub previous: Previous,
    /// What may make the rows it counts others than those it sends.
    pub extent: Extent,
    /// Names, in lower case, of the user variables it mentions, each once.
    pub user_variables: Vec<String>,
    /// For several statements sent as one: each of them. Empty for a single one.
    pub parts: Vec<Facts>,
    /// What was taken for granted, in words for `explain`.
    pub assumed: Vec<String>,
}

/// What a statement would be if the stored routines it calls did nothing: where knowledge of those begins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Apart {
    /// What it is.
    pub kind: Kind,
    /// Why it must run on the primary.
    pub why: Option<Why>,
    /// It may touch any table.
    pub all_tables: bool,
}

/// A table, or another object of a schema, as a statement names it: unquoted, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableName {
    /// The schema, where the statement says one; else the session's.
    pub schema: Option<String>,
    /// The table.
    pub name: String,
}

bitflags::bitflags! {
    /// Which traces of the previous statement a statement asks for.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct Previous: u8 {
        /// `LAST_INSERT_ID()`, `@@last_insert_id`, `@@identity`.
        const LAST_INSERT_ID = 1;
        /// `ROW_COUNT()`.
        const ROW_COUNT = 1 << 1;
        /// `FOUND_ROWS()`.
        const FOUND_ROWS = 1 << 2;
        /// SHOW WARNINGS, SHOW ERRORS, GET DIAGNOSTICS, `@@warning_count`, `@@error_count`.
        const DIAGNOSTICS = 1 << 3;
        /// `CONNECTION_ID()`: it is the connection that is asked for, which alone can tell.
        const CONNECTION_ID = 1 << 4;
    }
}

bitflags::bitflags! {
    /// What a statement has, at any depth, that sets the rows of a result apart from those that FOUND_ROWS() tells.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct Extent: u8 {
        /// LIMIT.
        const LIMIT = 1;
        /// LIMIT with two numbers, OFFSET.
        const OFFSET = 1 << 1;
        /// UNION, EXCEPT, INTERSECT.
        const SET_OPERATION = 1 << 2;
    }
}

/// Something a statement does to its session or to the server, beyond reading and writing tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// START TRANSACTION, BEGIN.
    Begin {
        /// READ ONLY (true), READ WRITE (false), or neither said.
        read_only: Option<bool>,
        /// WITH CONSISTENT SNAPSHOT.
        consistent_snapshot: bool,
    },
    /// COMMIT.
    Commit {
        /// AND CHAIN: the next transaction begins at once.
        chain: bool,
        /// RELEASE: the server closes the connection.
        release: bool,
    },
    /// ROLLBACK of the whole transaction.
    Rollback {
        /// AND CHAIN.
        chain: bool,
        /// RELEASE.
        release: bool,
    },
    /// SAVEPOINT, ROLLBACK TO, RELEASE SAVEPOINT.
    Savepoint,
    /// SET TRANSACTION …: for the next transaction only.
    SetTransactionOnce,
    /// SET of session settings, in their order.
    Settings(Vec<Assignment>),
    /// SET GLOBAL, SET PERSIST, SET PASSWORD, SET DEFAULT ROLE and the like.
    GlobalSetting,
    /// USE.
    UseSchema(String),
    /// CREATE TEMPORARY TABLE.
    CreateTemporary(TableName),
    /// DROP TABLE, DROP TEMPORARY TABLE.
    DropTables(Vec<TableName>),
    /// GET_LOCK; the name in lower case where it is a plain literal.
    GetLock(Option<Vec<u8>>),
    /// RELEASE_LOCK; likewise.
    ReleaseLock(Option<Vec<u8>>),
    /// RELEASE_ALL_LOCKS.
    ReleaseAllLocks,
    /// LOCK TABLES, FLUSH TABLES WITH READ LOCK, BACKUP LOCK and the like.
    LockTables,
    /// UNLOCK TABLES.
    UnlockTables,
    /// HANDLER … OPEN, by table or alias.
    HandlerOpen(String),
    /// HANDLER … CLOSE.
    HandlerClose(String),
    /// PREPARE name FROM …
    PrepareText(String),
    /// CALL, of a procedure that may do anything to the session.
    Call(TableName),
    /// EXECUTE name; the name is empty for EXECUTE IMMEDIATE.
    ExecuteText(String),
    /// DEALLOCATE PREPARE name, DROP PREPARE name
    DeallocateText(String),
    /// Any XA statement.
    Xa,
    /// A user variable may get a value, other than by SET of literals alone.
    UserVariableWritten,
    /// SQL_CALC_FOUND_ROWS.
    CalcFoundRows,
    /// LAST_INSERT_ID(expression).
    LastInsertIdSet,
    /// LASTVAL, PREVIOUS VALUE FOR, or NEXTVAL which prepares it.
    LastVal,
    /// LOAD DATA LOCAL, LOAD XML LOCAL: the server will ask the client for a file.
    LocalInfile,
    /// autocommit is switched off (or to what the text does not tell).
    AutocommitOff,
    /// autocommit is switched on, which commits.
    AutocommitOn,
    /// KILL.
    Kill,
    /// Sets or reads the diagnostics area: SIGNAL, RESIGNAL, GET DIAGNOSTICS, SHOW WARNINGS.
    Diagnostics,
    /// GRANT, REVOKE, CREATE USER, FLUSH PRIVILEGES and the like.
    Accounts,
}

/// One assignment of a SET statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// What is set.
    pub target: Setting,
    /// What sort of value it is set to.
    pub value: Value,
}

/// What an assignment sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setting {
    /// SET NAMES.
    Names,
    /// SET CHARACTER SET.
    CharacterSet,
    /// A session variable, in lower case, without scope.
    Variable(String),
    /// A user variable, in lower case.
    UserVariable(String),
    /// SET ROLE.
    Role,
    /// SET SESSION TRANSACTION ISOLATION LEVEL.
    IsolationLevel,
    /// SET SESSION TRANSACTION READ ONLY / READ WRITE.
    AccessMode,
}

/// Whether the text alone tells an assignment's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Value {
    /// A literal, a keyword or a bare identifier: the same wherever and whenever it is executed.
    Literal,
    /// DEFAULT: what the server's global setting is then.
    Default,
    /// Anything with a function, a sub-select, a variable or an operator.
    Computed,
}
