//! The dialect a session speaks: server flavour and version, SQL modes, connection character set.
//!
//! Owns everything outside the statement that changes how its bytes are split into tokens, and nothing else.

/// Which family of servers reads the statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Flavour {
    /// MariaDB Server.
    #[default]
    MariaDb,
    /// MySQL Server and its builds by others (Percona, cloud services).
    MySql,
}

bitflags::bitflags! {
    /// The parts of `sql_mode` that change how a statement is read.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct Modes: u8 {
        /// `"x"` is an identifier, not a string.
        const ANSI_QUOTES = 1;
        /// A backslash in a string is an ordinary character.
        const NO_BACKSLASH_ESCAPES = 1 << 1;
        /// White space is allowed between a built-in function's name and its parenthesis.
        const IGNORE_SPACE = 1 << 2;
        /// `||` joins strings.
        const PIPES_AS_CONCAT = 1 << 3;
        /// `NOT` binds as tightly as `!`.
        const HIGH_NOT_PRECEDENCE = 1 << 4;
    }
}

impl Modes {
    /// Reads a value of `@@sql_mode`, with the combination modes (`ANSI`, `ORACLE`, …) expanded as the server does.
    /// Names that do not concern the lexer are passed over.
    pub fn from_sql_mode(sql_mode: &str) -> Modes {
        sql_mode.split(',').map(|mode| Self::from_one(mode.trim())).fold(Modes::empty(), Modes::union)
    }

    fn from_one(mode: &str) -> Modes {
        /// Combination modes that MariaDB, and MySQL up to 5.7, expand to these three and others of no concern here.
        const COMBINED: [&str; 6] = ["ANSI", "ORACLE", "MSSQL", "POSTGRESQL", "DB2", "MAXDB"];
        const SINGLE: [(&str, Modes); 5] = [
            ("ANSI_QUOTES", Modes::ANSI_QUOTES),
            ("NO_BACKSLASH_ESCAPES", Modes::NO_BACKSLASH_ESCAPES),
            ("IGNORE_SPACE", Modes::IGNORE_SPACE),
            ("PIPES_AS_CONCAT", Modes::PIPES_AS_CONCAT),
            ("HIGH_NOT_PRECEDENCE", Modes::HIGH_NOT_PRECEDENCE),
        ];
        if COMBINED.iter().any(|name| mode.eq_ignore_ascii_case(name)) {
            return Modes::ANSI_QUOTES | Modes::IGNORE_SPACE | Modes::PIPES_AS_CONCAT;
        }
        if mode.eq_ignore_ascii_case("MYSQL323") || mode.eq_ignore_ascii_case("MYSQL40") {
            return Modes::HIGH_NOT_PRECEDENCE;
        }
        SINGLE
            .iter()
            .find(|(name, _)| mode.eq_ignore_ascii_case(name))
            .map_or(Modes::empty(), |(_, flag)| *flag)
    }
}

/// How the bytes of a statement form characters (`character_set_client`), as far as that moves token boundaries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Charset {
    /// utf8mb3 and utf8mb4: bytes from 0x80 up only ever belong to characters outside ASCII.
    #[default]
    Utf8,
    /// Any other set in which bytes below 0x80 always are ASCII (latin1, ujis, …). Which bytes above are white space
    /// differs from set to set, so outside quotes they make a statement unknown.
    AsciiCompatible,
    /// gbk: a backslash or a backtick may be the second byte of a character.
    Gbk,
    /// sjis and cp932: likewise.
    Sjis,
    /// big5: likewise.
    Big5,
    /// gb18030: likewise, and characters of four bytes.
    Gb18030,
}

impl Charset {
    /// The set of a server's character set name (`utf8mb4`, `cp932`, …), case-insensitive.
    pub fn from_name(name: &str) -> Charset {
        const NAMES: [(&str, Charset); 8] = [
            ("utf8mb4", Charset::Utf8),
            ("utf8mb3", Charset::Utf8),
            ("utf8", Charset::Utf8),
            ("gbk", Charset::Gbk),
            ("sjis", Charset::Sjis),
            ("cp932", Charset::Sjis),
            ("big5", Charset::Big5),
            ("gb18030", Charset::Gb18030),
        ];
        NAMES
            .iter()
            .find(|(known, _)| name.eq_ignore_ascii_case(known))
            .map_or(Charset::AsciiCompatible, |(_, charset)| *charset)
    }
}

/// What a session's statements are read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Dialect {
    /// Family of the primary.
    pub flavour: Flavour,
    /// Version of the primary as executable comments write it: 101119 is 10.11.19, 80400 is 8.4.0.
    pub version: u32,
    /// The session's `sql_mode`.
    pub modes: Modes,
    /// The session's `character_set_client`.
    pub charset: Charset,
}

impl Default for Dialect {
    fn default() -> Self {
        Dialect { flavour: Flavour::MariaDb, version: 101_100, modes: Modes::empty(), charset: Charset::Utf8 }
    }
}
