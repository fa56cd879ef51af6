//! Reports for the tests of whatever reads them.

use super::{Channel, Flavour, GtidSupport, Identity, Report};
use crate::position::Position;

pub(crate) const FLAVOURS: [Flavour; 2] = [Flavour::MariaDb, Flavour::MySql];

/// The UUID of server `id`.
pub(crate) fn uuid(id: u32) -> String {
    format!("{id:08x}-71ca-11e1-9e33-c80aa9429562")
}

/// All that server `by` wrote up to number `last`, as that flavour writes it.
pub(crate) fn written(flavour: Flavour, by: u32, last: u64) -> Position {
    let text = match flavour {
        Flavour::MariaDb => format!("0-{by}-{last}"),
        Flavour::MySql => format!("{}:1-{last}", uuid(by)),
    };
    Position::parse(flavour, &text).unwrap()
}

/// A server that stands by itself, writable, and has written up to `last`. It calls itself `host<id>`.
pub(crate) fn primary(flavour: Flavour, id: u32, last: u64) -> Report {
    let written = written(flavour, id, last);
    let position = if flavour == Flavour::MariaDb { Position::empty(flavour) } else { written.clone() };
    Report {
        identity: match flavour {
            Flavour::MariaDb => Identity::MariaDb {
                server_id: id,
                hostname: format!("host{id}"),
                port: 3306,
                datadir: "/data/".to_owned(),
                server_uid: String::new(),
            },
            Flavour::MySql => Identity::MySql { server_uuid: uuid(id), server_id: id },
        },
        flavour,
        version: "1".to_owned(),
        read_only: false,
        replication: Vec::new(),
        position: Some(position),
        binlog_position: Some(written),
        gtid: GtidSupport { writes: true, relays: true, ordered: true, cluster: false },
        commits_last: false,
        resolves_names: false,
        most_prepared: None,
        clock_skew: 0.0,
        server_clock: 0.0,
        defaults: vec![("sql_mode".to_owned(), "ANSI".to_owned())],
        system_zone: "0,0".to_owned(),
        uptime_seconds: 1000,
    }
}

/// A read-only server that replicates from `source` and has executed all that it wrote up to `last`.
pub(crate) fn replica(flavour: Flavour, id: u32, source: u32, last: u64) -> Report {
    let position = written(flavour, source, last);
    Report {
        read_only: true,
        replication: vec![channel(flavour, source)],
        position: Some(position.clone()),
        binlog_position: Some(position),
        ..primary(flavour, id, 1)
    }
}

/// A running channel from server `source`.
pub(crate) fn channel(flavour: Flavour, source: u32) -> Channel {
    Channel {
        source_host: format!("host{source}"),
        source_port: 3306,
        source_id: Some(source),
        source_uuid: (flavour == Flavour::MySql).then(|| uuid(source)),
        io_running: true,
        sql_running: true,
        lag: Some(0.0),
        uses_gtid: true,
        ..Channel::default()
    }
}
