//! Error packets, as this client reads them.

use std::fmt;

use anyhow::{Result, ensure};

use super::Fields;

/// An error packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlError {
    /// The number.
    pub code: u16,
    /// SQLSTATE; empty in the place of a greeting.
    pub state: String,
    /// The text.
    pub message: String,
}

impl SqlError {
    /// The error packet behind a failure of this client, if there was one; else the connection was lost.
    #[must_use]
    pub fn of(error: &anyhow::Error) -> Option<&Self> {
        error.downcast_ref()
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.code, self.state, self.message)
    }
}

impl std::error::Error for SqlError {}

pub(super) fn error_of(packet: &[u8]) -> SqlError {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut fields = Fields(packet);
    let parsed = (|| -> Result<SqlError> {
        ensure!(fields.take(1)? == [0xff], "an unexpected packet");
        let code = fields.u16()?;
        if fields.0.first() == Some(&b'#') {
            let state = text(fields.take(6)?).replace('#', "");
            return Ok(SqlError { code, state, message: text(fields.0) });
        }
        Ok(SqlError { code, state: String::new(), message: text(fields.0) })
    })();
    parsed.unwrap_or_else(|error| SqlError {
        code: 0,
        state: String::new(),
        message: format!("{error}: {:?}", packet.get(..40.min(packet.len()))),
    })
}
