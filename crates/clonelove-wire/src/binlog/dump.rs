//! Asking for the binary log. Owns the commands by which a replica does: COM_REGISTER_SLAVE, COM_BINLOG_DUMP and
//! COM_BINLOG_DUMP_GTID. Each function gives what follows the command's byte.
//!
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_binlog_dump_gtid.html>

use bytes::BufMut;

/// The transactions of one source: UUID, tag (empty for none), intervals with both ends inside.
pub type Executed<'a> = (&'a [u8; 16], &'a str, &'a [(u64, u64)]);

/// COM_REGISTER_SLAVE: shows up in SHOW REPLICAS under this id, as a replica does that reports no host.
#[must_use]
pub fn register(server_id: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(18);
    out.put_u32_le(server_id);
    // Host, user, password: empty. Port, rank, the source's id: none.
    out.put_slice(&[0; 13]);
    out
}

/// COM_BINLOG_DUMP from a position that was said before by `@slave_connect_state` (MariaDB).
#[must_use]
pub fn from_connect_state(server_id: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(10);
    out.put_u32_le(FIRST_EVENT);
    out.put_u16_le(0);
    out.put_u32_le(server_id);
    out
}

/// COM_BINLOG_DUMP_GTID: everything but these transactions (MySQL).
#[must_use]
pub fn without<'a>(server_id: u32, executed: impl Iterator<Item = Executed<'a>>) -> Vec<u8> {
    const THROUGH_GTID: u16 = 4;
    let set = gtid_set(executed);
    let mut out = Vec::with_capacity(set.len().saturating_add(22));
    out.put_u16_le(THROUGH_GTID);
    out.put_u32_le(server_id);
    out.put_u32_le(0);
    out.put_u64_le(FIRST_EVENT.into());
    out.put_u32_le(u32::try_from(set.len()).unwrap_or(u32::MAX));
    out.extend_from_slice(&set);
    out
}

/// Where the first event of a file begins.
const FIRST_EVENT: u32 = 4;

/// A set as servers write it. Sets with tags have a form of their own, which only servers that know tags can read.
fn gtid_set<'a>(executed: impl Iterator<Item = Executed<'a>>) -> Vec<u8> {
    const TAGGED: u64 = 1;
    let all: Vec<Executed<'a>> = executed.collect();
    let tagged = all.iter().any(|(_, tag, _)| !tag.is_empty());
    let count = u64::try_from(all.len()).unwrap_or(u64::MAX);
    let mut out = Vec::new();
    out.put_u64_le(if tagged { (TAGGED << 56) | (count << 8) | TAGGED } else { count });
    for (uuid, tag, intervals) in all {
        out.put_slice(uuid);
        if tagged {
            // A length below 64 takes one byte, whose last bit is 0.
            out.put_u8(u8::try_from(tag.len().min(63)).unwrap_or(63) << 1);
            out.put_slice(tag.as_bytes().get(..tag.len().min(63)).unwrap_or_default());
        }
        out.put_u64_le(u64::try_from(intervals.len()).unwrap_or(u64::MAX));
        for (first, last) in intervals {
            out.put_u64_le(*first);
            out.put_u64_le(last.saturating_add(1));
        }
    }
    out
}
