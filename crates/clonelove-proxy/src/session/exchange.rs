//! One statement over one connection, and what a server's error codes say of that server. Owns no decision.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use clonelove_sql::{Flavour, Kind};
use clonelove_wire::Command;
use clonelove_wire::reply::ReplyTracker;

use super::Wishes;
use super::connections::Leased;
use super::statement::Statement;
use crate::backend::conn::BackendConn;
use crate::error::{Fault, ServerFault};
use crate::relay::{Outcome, Relay, RelayFault, Side, replace_values};

/// Sends a statement and relays its reply.
pub(super) async fn exchange(
    client: &mut crate::net::Buffered,
    (client_caps, wishes): (clonelove_wire::Caps, Option<&Wishes>),
    leased: &mut Leased,
    out: &mut BytesMut,
    statement: &mut Statement,
    (sent, hold): (bool, fn(u16) -> bool),
) -> Result<Outcome, RelayFault> {
    let _in_flight = leased.server.begin();
    if !sent {
        let ahead = leased.conn.statements.take_closing();
        let request = request(ahead, statement);
        let BackendConn { life, io, .. } = &mut *leased.conn;
        let Some(written) = life.within(io.write_all(&request)).await else {
            return Err(RelayFault::before(Side::LifeEnded(Arc::clone(&leased.server.name))));
        };
        if let Err(error) = written {
            let fault = ServerFault::lost(&leased.server.name, &error);
            leased.server.note_fault(&fault);
            return Err(RelayFault::before(Side::Server(fault)));
        }
    }
    let mut tracker = ReplyTracker::new(statement.command, leased.conn.caps);
    tracker.expect_sequence(statement.reply_sequence());
    let gather = statement.values.is_some();
    let conn = &mut leased.conn;
    let pending = statement.pending.as_ref();
    let mut relay = Relay {
        client,
        client_caps,
        as_it_wishes: statement.tracking,
        wishes: wishes.filter(|_| client_caps.contains(clonelove_wire::Caps::SESSION_TRACK)),
        conn,
        out,
        hold,
        gather,
        pending,
        to_the_end: pending.is_some(),
        gone: false,
        loads_file: statement.loads_file(),
        prepare_as: statement.number,
        waited: Duration::ZERO,
    };
    let result = relay.reply(tracker).await;
    let waited = relay.waited;
    statement.waited += waited;
    if let (Some(values), Ok(Outcome { error: None, .. })) = (&statement.values, &result) {
        let binary = statement.command == Command::StmtExecute;
        replace_values(out, leased.conn.caps, values, binary);
    }
    if let Err(RelayFault { side: Side::Server(fault), .. }) = &result {
        leased.server.note_fault(fault);
    }
    result
}

/// What is to be written: the statement, behind what must go before it.
fn request(closing: Option<BytesMut>, statement: &Statement) -> Cow<'_, [u8]> {
    if closing.is_none() && statement.ahead.is_empty() {
        return Cow::Borrowed(&statement.frame);
    }
    let mut whole = closing.unwrap_or_default().to_vec();
    whole.extend_from_slice(&statement.ahead);
    whole.extend_from_slice(&statement.frame);
    Cow::Owned(whole)
}

pub(super) fn vanished() -> RelayFault {
    let name = Arc::from("primary");
    RelayFault::before(Side::Server(ServerFault::new(&name, Fault::Internal, "the connection is not there")))
}

pub(super) fn writes(kind: Kind) -> bool {
    matches!(kind, Kind::Write | Kind::Ddl | Kind::Admin | Kind::Unknown)
}

/// Errors of a replica that its client must not see while another server can answer.
pub(super) fn held_back(code: u16) -> bool {
    is_read_only(code) || is_access(code) || is_missing(code) || is_damage(code) || is_replicas_own(code)
}

/// It refuses a write for being read-only, not for the transaction's being so.
pub(super) fn refuses_as_replica(code: u16) -> bool {
    matches!(code, 1290 | 1836)
}

pub(super) fn is_read_only(code: u16) -> bool {
    matches!(code, 1290 | 1792 | 1836)
}

/// Rights may differ, or have not arrived yet.
pub(super) fn is_access(code: u16) -> bool {
    matches!(code, 1044 | 1045 | 1142 | 1143 | 1370)
}

/// A table or schema that it does not have. The primary may: not all that is made there is replicated.
pub(super) fn is_missing(code: u16) -> bool {
    matches!(code, 1049 | 1146)
}

/// A table or a file of this one server is broken or missing, or it has no room for one; its connection is well. Small
/// numbers are those of the storage engines and of the system, which servers pass on.
pub(super) fn is_damage(code: u16) -> bool {
    let of_system = matches!(code, 1..=29);
    let of_engines = matches!(code, 126 | 127 | 130 | 134 | 136 | 144 | 145 | 155 | 157 | 175 | 176 | 190);
    let of_files = matches!(code, 1016 | 1017 | 1021 | 1023 | 1024 | 1026 | 1030 | 1033..=1035 | 1114);
    let of_tables = matches!(code, 1194 | 1195 | 1712 | 1812 | 1814 | 1877 | 1932);
    of_system || of_engines || of_files || of_tables
}

/// Overload or the end of this one server.
fn is_replicas_own(code: u16) -> bool {
    matches!(code, 1412 | 1040 | 1053 | 1927 | 4031 | 1298)
}

/// After these the server closes the connection. 4031 is about a trigger on MariaDB.
pub(super) fn ends_connection(code: u16, flavour: Flavour) -> bool {
    matches!(code, 1053 | 1927 | 1080 | 1152..=1161) || code == 4031 && flavour == Flavour::MySql
}
