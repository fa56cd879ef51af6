//! Positions as events carry them. Owns their three forms; what a position contains is not its business.

use std::fmt;

use super::malformed;
use crate::Malformed;
use crate::read::Reader;

/// The position of a group of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gtid {
    /// MariaDB's.
    MariaDb(MariaDbGtid),
    /// MySQL's.
    MySql(MySqlGtid),
}

/// `domain-server-sequence`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MariaDbGtid {
    /// The replication domain.
    pub domain: u32,
    /// Who wrote it.
    pub server: u32,
    /// Its number in the domain.
    pub sequence: u64,
    /// The group is one statement, and nothing says where it ends.
    pub standalone: bool,
}

/// `uuid:number` or `uuid:tag:number`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MySqlGtid {
    /// Who wrote it.
    pub uuid: [u8; 16],
    /// Empty for one without a tag.
    pub tag: String,
    /// Its number, from 1 up.
    pub number: u64,
}

/// As the servers write it.
impl fmt::Display for Gtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Gtid::MariaDb(gtid) => write!(f, "{}-{}-{}", gtid.domain, gtid.server, gtid.sequence),
            Gtid::MySql(gtid) => {
                for (index, byte) in gtid.uuid.iter().enumerate() {
                    let hyphen = if matches!(index, 4 | 6 | 8 | 10) { "-" } else { "" };
                    write!(f, "{hyphen}{byte:02x}")?;
                }
                if !gtid.tag.is_empty() {
                    write!(f, ":{}", gtid.tag)?;
                }
                write!(f, ":{}", gtid.number)
            }
        }
    }
}

/// GTID_EVENT of MariaDB (162). Who wrote it stands in its header.
pub(super) fn mariadb(server: u32, body: &[u8]) -> Result<Gtid, Malformed> {
    const STANDALONE: u8 = 1;
    let mut reader = Reader::new(body, "GTID event of MariaDB");
    let sequence = reader.u64()?;
    let domain = reader.u32()?;
    let flags = reader.u8()?;
    Ok(Gtid::MariaDb(MariaDbGtid { domain, server, sequence, standalone: flags & STANDALONE != 0 }))
}

/// GTID_LOG_EVENT (33).
pub(super) fn mysql(body: &[u8]) -> Result<Gtid, Malformed> {
    let mut reader = Reader::new(body, "GTID event");
    let _flags = reader.u8()?;
    let uuid = *reader.bytes(16)?.first_chunk().ok_or_else(|| malformed("it has no UUID"))?;
    let number = reader.u64()?;
    Ok(Gtid::MySql(MySqlGtid { uuid, tag: String::new(), number }))
}

/// GTID_TAGGED_LOG_EVENT (42): version, length, the last field that must be known, then fields, each after its number.
/// <https://dev.mysql.com/doc/dev/mysql-server/latest/PageLibsMysqlSerialization.html>
pub(super) fn mysql_tagged(body: &[u8]) -> Result<Gtid, Malformed> {
    const FLAGS: u64 = 0;
    const UUID: u64 = 1;
    const NUMBER: u64 = 2;
    const TAG: u64 = 3;
    let mut reader = Reader::new(body, "tagged GTID event");
    let _version = varlen(&mut reader)?;
    let _length = varlen(&mut reader)?;
    let _last_needed = varlen(&mut reader)?;
    let mut gtid = MySqlGtid { uuid: [0; 16], tag: String::new(), number: 0 };
    // The fields come in order, and nothing after the tag matters here.
    loop {
        match varlen(&mut reader)? {
            FLAGS => {
                varlen(&mut reader)?;
            }
            UUID => {
                for byte in &mut gtid.uuid {
                    let value = varlen(&mut reader)?;
                    *byte =
                        u8::try_from(value).map_err(|_| reader.malformed("a byte of its UUID is none"))?;
                }
            }
            NUMBER => {
                // Signed: the last bit is the sign.
                let number = varlen(&mut reader)?;
                gtid.number = number >> 1;
            }
            TAG => {
                let length = usize::try_from(varlen(&mut reader)?).unwrap_or(usize::MAX);
                let tag = std::str::from_utf8(reader.bytes(length)?);
                tag.map_err(|_| reader.malformed("its tag is no text"))?.clone_into(&mut gtid.tag);
                break;
            }
            _ => return Err(reader.malformed("it has no tag")),
        }
    }
    if gtid.number == 0 {
        return Err(reader.malformed("it has no number"));
    }
    Ok(Gtid::MySql(gtid))
}

/// An integer of MySQL's serialization: as many further bytes as the first has trailing ones.
fn varlen(reader: &mut Reader<'_>) -> Result<u64, Malformed> {
    let first = reader.peek().ok_or_else(|| reader.malformed("it ends too early"))?;
    let ones = first.trailing_ones();
    if ones >= 8 {
        reader.u8()?;
        return reader.u64();
    }
    let count = usize::try_from(ones).unwrap_or(8).saturating_add(1);
    let mut raw = [0_u8; 8];
    for (to, from) in raw.iter_mut().zip(reader.bytes(count)?) {
        *to = *from;
    }
    let shift = ones.saturating_add(1);
    Ok(u64::from_le_bytes(raw).checked_shr(shift).unwrap_or(0))
}
