//! What a replica has shown, and when the primary shows it too: where acknowledgements of replicas are awaited before the
//! commit, replicas are first. Owns the questions about it; who waits for the answer is the sessions' affair.

use std::sync::Arc;
use std::time::Duration;

use clonelove_route::position::Position;
use clonelove_route::report::Identity;
use tokio::time::{Instant, timeout_at};

use super::Cluster;
use super::positions::FreshWait;
use crate::backend::conn::BackendConn;
use crate::backend::reply::Rows;
use crate::error::ServerFault;

/// How long one of these questions may take on the server's side.
const ANSWERED: Duration = Duration::from_secs(2);

/// A place in the binary log of a MariaDB server: the number of the file and the offset there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LogPlace(u64, u64);

/// All that a replica may have shown to anybody.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) position: Arc<Position>,
    /// MariaDB: from which server (by its `server_id`) it has received the log up to where.
    pub(super) received: Option<(u32, LogPlace)>,
}

impl Cluster {
    /// Whether replicas may show what the primary does not show yet: it commits when they have acknowledged.
    pub(crate) fn replicas_are_first(&self) -> bool {
        let snapshot = self.snapshot();
        let report = snapshot.topology.primary_node().and_then(|node| node.report.as_ref());
        report.is_some_and(|report| report.commits_last)
    }

    /// All that a replica may have shown, asked now.
    pub(crate) async fn shown_by(&self, replica: usize, within: Duration) -> Option<Shown> {
        let snapshot = self.snapshot();
        let receiver = snapshot.servers.get(replica)?.waiters.shown()?;
        timeout_at(Instant::now() + within, receiver).await.ok()?.ok()
    }

    /// Waits until the primary shows all that a replica has shown; whether it does.
    ///
    /// MySQL's `gtid_executed` has what is committed. MariaDB's `gtid_binlog_pos` has what is logged, which is too much;
    /// what is committed it tells as a place in its log, and a replica tells how much of that log it has.
    pub(crate) async fn primary_shows(&self, replica: usize, within: Duration) -> bool {
        let until = Instant::now() + within;
        let shows = async {
            let shown = self.shown_by(replica, within).await?;
            let snapshot = self.snapshot();
            let at = snapshot.topology.primary?;
            let report = snapshot.topology.primary_node()?.report.as_ref()?;
            if let Identity::MySql { server_uuid, .. } = &report.identity {
                // What a replica wrote by itself the primary will never have.
                let position = &shown.position.written_by(server_uuid);
                return self.wait_fresh(FreshWait { servers: &[at], position, within }).await.map(drop);
            }
            let (from, place) = shown.received?;
            let receiver = snapshot.servers.get(at).filter(|_| from == report.server_id())?;
            receiver.waiters.committed(place)?.await.ok()
        };
        timeout_at(until, shows).await.ok().flatten().is_some()
    }
}

/// How much of which server's log a replica of MariaDB has received: no less than what it has shown. `None` with several
/// sources, or none.
pub(super) async fn received(conn: &mut BackendConn) -> Result<Option<(u32, LogPlace)>, ServerFault> {
    let rows = conn.rows("SHOW ALL SLAVES STATUS", ANSWERED).await?;
    let [row] = rows.rows.as_slice() else { return Ok(None) };
    let value = |name: &str| {
        let at = rows.columns.iter().position(|column| column.eq_ignore_ascii_case(name))?;
        row.get(at)?.as_deref()
    };
    let source = value("Master_Server_Id").and_then(|id| id.parse().ok());
    let place = LogPlace::read(value("Master_Log_File"), value("Read_Master_Log_Pos"));
    Ok(source.zip(place))
}

/// Up to where in its log a server of MariaDB has committed. Outside of a snapshot that is the last transaction.
pub(super) async fn committed(conn: &mut BackendConn) -> Result<Option<LogPlace>, ServerFault> {
    let rows = conn.rows("SHOW GLOBAL STATUS LIKE 'Binlog\\_snapshot\\_%'", ANSWERED).await?;
    Ok(LogPlace::read(value_of(&rows, "Binlog_snapshot_file"), value_of(&rows, "Binlog_snapshot_position")))
}

fn value_of<'a>(rows: &'a Rows, name: &str) -> Option<&'a str> {
    rows.rows.iter().find_map(|row| match row.as_slice() {
        [Some(one), Some(value), ..] if one.eq_ignore_ascii_case(name) => Some(value.as_str()),
        _ => None,
    })
}

impl LogPlace {
    /// Files of a log are numbered: `name.000017`.
    fn read(file: Option<&str>, offset: Option<&str>) -> Option<Self> {
        let (_, number) = file?.rsplit_once('.')?;
        Some(LogPlace(number.parse().ok()?, offset?.parse().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::LogPlace;

    #[test]
    fn files_are_in_the_order_of_their_numbers() {
        let place = |file, offset| LogPlace::read(Some(file), Some(offset));
        assert!(place("log.999999", "4") < place("log.1000000", "4"));
        assert!(place("a.b.000002", "900") < place("a.b.000002", "1000"));
        assert_eq!(place("log", "4"), None);
        assert_eq!(place("log.000001", ""), None);
    }
}
