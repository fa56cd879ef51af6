//! [`Command`]: what a client asks for, by the first byte of its packet, and the ids and prefixes beside it.
//!
//! Owns the command bytes and where a command's fixed fields lie; never looks into a statement's text. Source:
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/my__command_8h.html>.

use crate::read::Reader;
use crate::{Caps, Malformed};

/// The command of a client packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Command {
    /// COM_QUIT: the client goes; there is no reply.
    Quit,
    /// COM_INIT_DB: change the schema.
    InitDb,
    /// COM_QUERY: a statement as text.
    Query,
    /// COM_FIELD_LIST: the columns of a table.
    FieldList,
    /// COM_CREATE_DB.
    CreateDb,
    /// COM_DROP_DB.
    DropDb,
    /// COM_REFRESH: FLUSH and RESET by number.
    Refresh,
    /// COM_SHUTDOWN.
    Shutdown,
    /// COM_STATISTICS: one line of text, in a packet of its own shape.
    Statistics,
    /// COM_PROCESS_INFO: a process list.
    ProcessInfo,
    /// COM_PROCESS_KILL.
    ProcessKill,
    /// COM_DEBUG.
    Debug,
    /// COM_PING.
    Ping,
    /// COM_CHANGE_USER: authenticate anew.
    ChangeUser,
    /// COM_BINLOG_DUMP.
    BinlogDump,
    /// COM_REGISTER_SLAVE.
    RegisterSlave,
    /// COM_STMT_PREPARE.
    StmtPrepare,
    /// COM_STMT_EXECUTE.
    StmtExecute,
    /// COM_STMT_SEND_LONG_DATA: no reply.
    StmtSendLongData,
    /// COM_STMT_CLOSE: no reply.
    StmtClose,
    /// COM_STMT_RESET.
    StmtReset,
    /// COM_SET_OPTION: multi-statements on or off.
    SetOption,
    /// COM_STMT_FETCH: rows of a cursor.
    StmtFetch,
    /// COM_BINLOG_DUMP_GTID.
    BinlogDumpGtid,
    /// COM_RESET_CONNECTION.
    ResetConnection,
    /// COM_STMT_BULK_EXECUTE (MariaDB).
    StmtBulkExecute,
    /// A byte that is none of these.
    Other(u8),
}

impl Command {
    /// The command that `byte` stands for.
    #[must_use]
    pub fn from_byte(byte: u8) -> Command {
        TABLE.iter().find(|(number, _)| *number == byte).map_or(Command::Other(byte), |(_, command)| *command)
    }

    /// The byte that stands for this command.
    #[must_use]
    pub fn as_byte(self) -> u8 {
        match self {
            Command::Other(byte) => byte,
            known => TABLE.iter().find(|(_, command)| *command == known).map_or(0xFF, |(number, _)| *number),
        }
    }

    /// The command of a client packet; `None` when the packet is empty.
    #[must_use]
    pub fn of(payload: &[u8]) -> Option<Command> {
        payload.first().copied().map(Command::from_byte)
    }

    /// Whether a server answers this command at all.
    #[must_use]
    pub fn has_reply(self) -> bool {
        !matches!(self, Command::Quit | Command::StmtClose | Command::StmtSendLongData)
    }

    /// The command's name in lower case without `COM_`, for labels and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Command::Quit => "quit",
            Command::InitDb => "init_db",
            Command::Query => "query",
            Command::FieldList => "field_list",
            Command::CreateDb => "create_db",
            Command::DropDb => "drop_db",
            Command::Refresh => "refresh",
            Command::Shutdown => "shutdown",
            Command::Statistics => "statistics",
            Command::ProcessInfo => "process_info",
            Command::ProcessKill => "process_kill",
            Command::Debug => "debug",
            Command::Ping => "ping",
            Command::ChangeUser => "change_user",
            Command::BinlogDump => "binlog_dump",
            Command::RegisterSlave => "register_slave",
            Command::StmtPrepare => "stmt_prepare",
            Command::StmtExecute => "stmt_execute",
            Command::StmtSendLongData => "stmt_send_long_data",
            Command::StmtClose => "stmt_close",
            Command::StmtReset => "stmt_reset",
            Command::SetOption => "set_option",
            Command::StmtFetch => "stmt_fetch",
            Command::BinlogDumpGtid => "binlog_dump_gtid",
            Command::ResetConnection => "reset_connection",
            Command::StmtBulkExecute => "stmt_bulk_execute",
            Command::Other(_) => "other",
        }
    }
}

const TABLE: [(u8, Command); 26] = [
    (0x01, Command::Quit),
    (0x02, Command::InitDb),
    (0x03, Command::Query),
    (0x04, Command::FieldList),
    (0x05, Command::CreateDb),
    (0x06, Command::DropDb),
    (0x07, Command::Refresh),
    (0x08, Command::Shutdown),
    (0x09, Command::Statistics),
    (0x0A, Command::ProcessInfo),
    (0x0C, Command::ProcessKill),
    (0x0D, Command::Debug),
    (0x0E, Command::Ping),
    (0x11, Command::ChangeUser),
    (0x12, Command::BinlogDump),
    (0x15, Command::RegisterSlave),
    (0x16, Command::StmtPrepare),
    (0x17, Command::StmtExecute),
    (0x18, Command::StmtSendLongData),
    (0x19, Command::StmtClose),
    (0x1A, Command::StmtReset),
    (0x1B, Command::SetOption),
    (0x1C, Command::StmtFetch),
    (0x1E, Command::BinlogDumpGtid),
    (0x1F, Command::ResetConnection),
    (0xFA, Command::StmtBulkExecute),
];

/// The statement's bytes in the payload of a COM_QUERY, command byte included in `payload`.
///
/// With [`Caps::QUERY_ATTRIBUTES`] the attributes stand before the text and are stepped over
/// (<https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_query.html>).
pub fn query_text(payload: &[u8], caps: Caps) -> Result<&[u8], Malformed> {
    let mut reader = Reader::new(payload, "COM_QUERY");
    if reader.u8()? != Command::Query.as_byte() {
        return Err(reader.malformed("it begins with another command"));
    }
    if caps.contains(Caps::QUERY_ATTRIBUTES) {
        skip_attributes(&mut reader)?;
    }
    Ok(reader.rest())
}

/// The length of what stands before the text of a COM_QUERY: the command byte and the attributes.
pub fn query_prefix_len(payload: &[u8], caps: Caps) -> Result<usize, Malformed> {
    query_text(payload, caps).map(|text| payload.len().saturating_sub(text.len()))
}

/// The statement id in a COM_STMT_EXECUTE, SEND_LONG_DATA, CLOSE, RESET, FETCH or BULK_EXECUTE.
pub fn statement_id(payload: &[u8]) -> Result<u32, Malformed> {
    let mut reader = Reader::new(payload, "prepared statement command");
    reader.u8()?;
    reader.u32()
}

fn skip_attributes(reader: &mut Reader<'_>) -> Result<(), Malformed> {
    let count = reader.lenenc_int()?;
    reader.lenenc_int()?; // parameter_set_count, always 1
    if count == 0 {
        return Ok(());
    }
    let count = usize::try_from(count).map_err(|_| reader.malformed("too many attributes"))?;
    let nulls = reader.bytes(count.div_ceil(8))?;
    if reader.u8()? != 1 {
        return Err(reader.malformed("the attributes' types are missing"));
    }
    // A whole pass over the types stands before the values; kinds are kept in place by a second reader.
    let mut types = *reader;
    for _ in 0..count {
        reader.u16()?;
        reader.lenenc_bytes()?;
    }
    for index in 0..count {
        let [kind, _] = types.u16()?.to_le_bytes();
        types.lenenc_bytes()?;
        let null = nulls.get(index / 8).is_some_and(|byte| byte >> (index % 8) & 1 == 1);
        if !null {
            skip_value(reader, kind)?;
        }
    }
    Ok(())
}

/// Steps over one value in the binary protocol
/// (<https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_binary_resultset.html>).
fn skip_value(reader: &mut Reader<'_>, kind: u8) -> Result<(), Malformed> {
    match kind {
        0x06 => {}                                    // NULL
        0x01 | 0xF4 => drop(reader.bytes(1)?),        // TINY, BOOL
        0x02 | 0x0D => drop(reader.bytes(2)?),        // SHORT, YEAR
        0x03 | 0x04 | 0x09 => drop(reader.bytes(4)?), // LONG, FLOAT, INT24
        0x05 | 0x08 => drop(reader.bytes(8)?),        // DOUBLE, LONGLONG
        0x07 | 0x0A | 0x0B | 0x0C | 0x0E | 0x11..=0x13 => {
            // temporal: a length byte, then that much
            let len = reader.u8()?;
            reader.bytes(len.into())?;
        }
        _ => drop(reader.lenenc_bytes()?),
    }
    Ok(())
}

#[cfg(test)]
mod tests;
