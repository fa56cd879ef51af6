//! sqlparser's idea of MySQL, with the quotes of a session: for the tests here, and for `cargo xtask oracle`.

use std::any::TypeId;

use clonelove_sql::Modes;
use sqlparser::dialect::{Dialect, MySqlDialect};

/// MySQL's dialect, as a session reads it.
#[derive(Debug)]
pub(super) struct Session {
    modes: Modes,
}

impl Session {
    pub(super) fn of(modes: Modes) -> Session {
        Session { modes }
    }
}

impl Dialect for Session {
    fn dialect(&self) -> TypeId {
        TypeId::of::<MySqlDialect>()
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '`' || (ch == '"' && self.modes.contains(Modes::ANSI_QUOTES))
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        MySqlDialect {}.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        MySqlDialect {}.is_identifier_part(ch)
    }

    fn supports_string_literal_backslash_escape(&self) -> bool {
        !self.modes.contains(Modes::NO_BACKSLASH_ESCAPES)
    }

    fn supports_numeric_prefix(&self) -> bool {
        true
    }
}
