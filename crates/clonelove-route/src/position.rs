//! Positions in the replication stream: exact GTID algebra of both flavours.
//!
//! Owns what a position is, how it is written, and which position contains which. A "maximum" of positions is a
//! union: a vector over MariaDB's domains, a set of intervals on MySQL. It knows nothing of servers, watermarks or
//! waiting, and clocks have no part in it.

mod mariadb;
mod mysql;
#[cfg(test)]
mod tests;

use std::fmt;

pub use mariadb::MariaDbPosition;
pub use mysql::MySqlPosition;

use crate::report::{Flavour, FlavourName};

/// What a server has executed, or what a read needs a server to have executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Position {
    /// The last GTID of each replication domain.
    MariaDb(MariaDbPosition),
    /// A set of GTIDs.
    MySql(MySqlPosition),
}

/// A text that is not a position of the flavour it was read as.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a {flavour} GTID position, at `{part}`: {problem}")]
pub struct BadPosition {
    /// `mariadb` or `mysql`.
    pub flavour: &'static str,
    /// The part that could not be read, cut to a readable length.
    pub part: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

impl Position {
    /// The position of a server on which nothing was ever written.
    pub fn empty(flavour: Flavour) -> Self {
        match flavour {
            Flavour::MariaDb => Position::MariaDb(MariaDbPosition::default()),
            Flavour::MySql => Position::MySql(MySqlPosition::default()),
        }
    }

    /// Reads `0-1-50,7-2-9` (`@@gtid_slave_pos`, `last_gtid`) or `uuid:1-5:7,uuid:tag:1-3` (`@@gtid_executed`, the
    /// GTID tracker). White space between the parts is ignored, letters may be of either case, and an empty text is
    /// the empty position.
    ///
    /// # Errors
    /// [`BadPosition`] names the part that cannot be read. Nothing is guessed: a position read too small or too
    /// large would let a read miss a write.
    pub fn parse(flavour: Flavour, text: &str) -> Result<Position, BadPosition> {
        match flavour {
            Flavour::MariaDb => MariaDbPosition::parse(text).map(Position::MariaDb),
            Flavour::MySql => MySqlPosition::parse(text).map(Position::MySql),
        }
    }

    /// The flavour whose servers understand it.
    pub fn flavour(&self) -> Flavour {
        match self {
            Position::MariaDb(_) => Flavour::MariaDb,
            Position::MySql(_) => Flavour::MySql,
        }
    }

    /// Whether it contains no GTID at all.
    pub fn is_empty(&self) -> bool {
        match self {
            Position::MariaDb(position) => position.is_empty(),
            Position::MySql(position) => position.is_empty(),
        }
    }

    /// Raises it to contain everything in `other` too.
    ///
    /// Positions of different flavours have no union: an empty one takes the other's place; otherwise `self` stays
    /// as it is, and since no server covers a need of the other flavour, the caller begins a new epoch instead.
    pub fn union(&mut self, other: &Position) {
        match (self, other) {
            (Position::MariaDb(mine), Position::MariaDb(theirs)) => mine.union(theirs),
            (Position::MySql(mine), Position::MySql(theirs)) => mine.union(theirs),
            (mine, theirs) if mine.is_empty() => mine.clone_from(theirs),
            _ => {}
        }
    }

    /// Whether a server at this position has executed everything in `need`. With different flavours, only an empty
    /// `need` is covered.
    pub fn covers(&self, need: &Position) -> bool {
        match (self, need) {
            (Position::MariaDb(have), Position::MariaDb(need)) => have.covers(need),
            (Position::MySql(have), Position::MySql(need)) => have.covers(need),
            _ => need.is_empty(),
        }
    }

    /// Takes out what `done` contains: what every replica has executed need not be remembered. A server
    /// that covers `done` covers the remainder exactly when it covers the whole.
    pub fn subtract(&mut self, done: &Position) {
        match (self, done) {
            (Position::MariaDb(mine), Position::MariaDb(done)) => mine.subtract(done),
            (Position::MySql(mine), Position::MySql(done)) => mine.subtract(done),
            _ => {}
        }
    }

    /// What of it a server of MySQL wrote itself, by its UUID; all of it on MariaDB, whose domains do not tell.
    #[must_use]
    pub fn written_by(&self, uuid: &str) -> Position {
        match self {
            Position::MySql(position) => Position::MySql(position.written_by(uuid)),
            Position::MariaDb(_) => self.clone(),
        }
    }

    /// How many domains (MariaDB) or intervals (MySQL) it is made of: what it costs to keep. Sets of MySQL grow
    /// with every GTID that is no neighbour of another; [`Position::subtract`] keeps them small.
    pub fn len(&self) -> usize {
        match self {
            Position::MariaDb(position) => position.len(),
            Position::MySql(position) => position.len(),
        }
    }

    /// The text that `MASTER_GTID_WAIT` or `WAIT_FOR_EXECUTED_GTID_SET` accepts. It consists of hexadecimal digits,
    /// letters, digits and `_-:,` only, and can be put between quotes as it is.
    pub fn to_text(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Position::MariaDb(position) => position.fmt(f),
            Position::MySql(position) => position.fmt(f),
        }
    }
}

impl BadPosition {
    fn new(flavour: Flavour, part: &str, problem: &'static str) -> Self {
        /// Enough to recognise the place, little enough for a log line.
        const SHOWN: usize = 80;
        BadPosition { flavour: flavour.as_str(), part: part.chars().take(SHOWN).collect(), problem }
    }
}
