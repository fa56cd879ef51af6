//! Positions that a reply could not carry: MariaDB tells them with the next reply that tells of the session's state, which
//! may be another's. MySQL (9.7) never tells them.

use anyhow::{Result, ensure};
use clonelove_testkit::{APP_PASSWORD, APP_USER, Clonelove, Cluster, ClusterOptions, Connection, Flavour};

use super::super::support::wait_known;
use super::rule::{Scene, perform};

const SESSION_TRACK: u32 = 1 << 23;
/// What is written here is not logged.
const QUIET: &str = "--binlog-ignore-db=quiet";
const TABLES: i32 = 6;
/// Writes that have a position, by whether result sets end in packets that could tell it.
const SILENT: [(bool, &str); 3] = [
    (true, "!1644 CALL fails()"),
    (false, "!1644 CALL fails()"),
    (false, "INSERT INTO aside (v) VALUES (1) RETURNING v"),
];

/// A proxy that has one connection to each server, so that whoever comes next has that of who was there before.
fn scene(flavour: Flavour) -> Result<Scene> {
    let extra = vec![QUIET.to_owned()];
    let options = ClusterOptions { replicas: 1, uniform: true, extra, ..ClusterOptions::default() };
    let cluster = Cluster::start(flavour, options)?;
    for server in cluster.servers() {
        // Where nothing is logged, nothing comes to a replica: neither do definitions.
        let mut root = server.connect()?;
        root.query("SET sql_log_bin = 0; CREATE SCHEMA quiet; GRANT ALL ON quiet.* TO app@'%'")?;
        for table in 0..TABLES {
            root.query(&format!("CREATE TABLE quiet.t{table} (id INT PRIMARY KEY) ENGINE = InnoDB"))?;
            root.query(&format!("INSERT INTO quiet.t{table} VALUES (0)"))?;
            // The reply to a write tells of the session's state.
            let acts = format!("CREATE TRIGGER quiet.acts{table} BEFORE UPDATE ON quiet.t{table}");
            root.query(&format!("{acts} FOR EACH ROW SET @seen = NEW.id"))?;
        }
    }
    let given = [
        "CREATE TABLE aside (id INT AUTO_INCREMENT PRIMARY KEY, v INT)",
        "CREATE PROCEDURE fails() BEGIN INSERT INTO aside (v) VALUES (1); SIGNAL SQLSTATE '45000'; END",
    ];
    let servers: Vec<_> =
        cluster.servers().map(|server| (server.name().to_owned(), server.address())).collect();
    Scene::on(cluster, &given.map(str::to_owned), |config| {
        let config = config.set("routing", "freshness", "\"table\"").set("pool", "min_idle", "0");
        servers.iter().fold(config.without_servers(), |config, (name, address)| {
            config.server(name, address, "max_connections = 1")
        })
    })
}

/// What is written next over the same connection is never logged, so that it has no position: the one that comes with its
/// reply is not its own. Replicas have that one, and never the change.
pub(super) fn a_position_that_comes_late(flavour: Flavour) -> Result<()> {
    let scene = scene(flavour)?;
    let ways = SILENT.iter().flat_map(|way| [(way, false), (way, true)]);
    for (((deprecate_eof, silent), another), table) in ways.zip(0..TABLES) {
        let way = format!("{silent}, with DEPRECATE_EOF: {deprecate_eof}, another session: {another}");
        write_after(&scene, silent, (table, *deprecate_eof, another)).map_err(|error| error.context(way))?;
    }
    Ok(())
}

fn write_after(
    scene: &Scene,
    silent: &str,
    (table, deprecate_eof, another): (i32, bool, bool),
) -> Result<()> {
    let read = format!("SELECT id FROM quiet.t{table}");
    let before = scene.told(&read)?;
    ensure!(before == ("0".to_owned(), true), "{before:?} before anything was done");
    let mut session = scene.client(deprecate_eof)?;
    perform(&mut session, &[silent], str::to_owned)?;
    if another {
        drop(session);
        session = scene.client(deprecate_eof)?;
    }
    // Before an INSERT the session's own LAST_INSERT_ID() may be set, and that brings the position out already.
    perform(&mut session, &[&format!("UPDATE quiet.t{table} SET id = 1")], str::to_owned)?;
    drop(session);
    wait_known(&scene.proxy, &scene.cluster.replicas[0], &scene.cluster.primary)?;
    let told = scene.told(&read)?;
    ensure!(told == ("1".to_owned(), false), "{read} gave a new session {told:?}, not 1 from the primary");
    Ok(())
}

/// Nor is it shown to another session, which may ask for positions to read its own writes by.
pub(super) fn a_position_that_comes_to_another(flavour: Flavour) -> Result<()> {
    let scene = scene(flavour)?;
    let mut other = tracking(&scene.proxy)?;
    other.query("SET SESSION session_track_system_variables = 'last_gtid'")?;
    let mut writer = tracking(&scene.proxy)?;
    ensure!(writer.query("CALL fails()").is_err(), "it should fail");
    drop(writer);
    let position = scene.cluster.primary.value("SELECT @@gtid_binlog_pos")?;
    other.send("UPDATE quiet.t0 SET id = 1")?;
    let reply = other.receive_packet()?;
    ensure!(reply.first() == Some(&0), "{reply:?}");
    let told = reply.windows(position.len()).any(|bytes| bytes == position.as_bytes());
    ensure!(!told, "a session was told another's position");
    Ok(())
}

/// A session that hears what changes.
fn tracking(proxy: &Clonelove) -> Result<Connection> {
    Connection::open_tcp_with(&proxy.addr(), (APP_USER, APP_PASSWORD), Some("app"), SESSION_TRACK)
}
