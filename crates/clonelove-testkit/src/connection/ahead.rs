//! Many statements in one go. Owns how far the answers may be behind; what an answer is read as is the connection's.

use std::io::Write;

use anyhow::{Context, Result};

use super::{COM_QUERY, Connection, Row, SqlError};

impl Connection {
    /// Sends statements before their answers are read, many at a time; each is carried out whatever came of those before
    /// it.
    ///
    /// # Errors
    /// If the connection is broken; what the server refuses is told in the statement's place.
    pub fn query_ahead(&mut self, statements: &[&str]) -> Result<Vec<Result<Vec<Row>, SqlError>>> {
        /// What a socket takes at once, even if the server reads nothing before it has answered.
        const AT_ONCE: usize = 64;
        let mut answers = Vec::with_capacity(statements.len());
        for some in statements.chunks(AT_ONCE) {
            let mut packets = Vec::new();
            for sql in some {
                let [low, middle, high, _] = u32::try_from(sql.len().saturating_add(1))?.to_le_bytes();
                packets.extend_from_slice(&[low, middle, high, 0, COM_QUERY]);
                packets.extend_from_slice(sql.as_bytes());
            }
            self.stream.get_mut().begin_command();
            self.stream.get_mut().write_all(&packets).context("the server has gone away")?;
            for sql in some {
                answers.push(match self.receive_all() {
                    Ok(result) => Ok(result.rows),
                    Err(error) => match SqlError::of(&error) {
                        Some(refused) => Err(refused.clone()),
                        None => return Err(error.context(format!("in: {sql}"))),
                    },
                });
            }
        }
        Ok(answers)
    }
}
