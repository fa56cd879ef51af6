//! The accounts of the sandboxes' servers, with the privileges that docs/operations.md asks of a real installation.
//!
//! Beside them there is `root`, without a password, over the unix socket only.

use crate::flavour::Family;

/// The account that replicas replicate with.
pub const REPLICATION_USER: &str = "replication";
/// Its password.
pub const REPLICATION_PASSWORD: &str = "replication-password";
/// The account that clonelove watches servers with.
pub const MONITOR_USER: &str = "clonelove";
/// Its password.
pub const MONITOR_PASSWORD: &str = "monitor-password";
/// The application's account: everything on its schemas, nothing beyond.
pub const APP_USER: &str = "app";
/// Its password.
pub const APP_PASSWORD: &str = "app-password";
/// Schemas the application owns; they exist on every server, empty.
pub const APP_SCHEMAS: &[&str] = &["app", "test", "drupal7", "drupal10"];

/// What the monitoring account needs on MariaDB, on `*.*`, and what for.
///
/// `SLAVE MONITOR`: SHOW SLAVE STATUS. `BINLOG MONITOR`: SHOW MASTER STATUS, SHOW BINARY LOGS. `SELECT`: tables,
/// columns and keys in information_schema, and routine bodies. `SHOW VIEW`, `TRIGGER`: the definitions of those.
pub const MONITOR_GRANTS_MARIADB: &[&str] =
    &["SLAVE MONITOR", "BINLOG MONITOR", "SELECT", "SHOW VIEW", "TRIGGER"];

/// What the monitoring account needs on MySQL, on `*.*`, and what for.
///
/// `REPLICATION CLIENT`: SHOW REPLICA STATUS. `SELECT`: tables, columns and keys in information_schema.
/// `SHOW VIEW`, `TRIGGER`, `SHOW_ROUTINE`: the definitions of those.
pub const MONITOR_GRANTS_MYSQL: &[&str] =
    &["REPLICATION CLIENT", "SELECT", "SHOW VIEW", "TRIGGER", "SHOW_ROUTINE"];

/// The monitoring account's privileges on servers of `family`.
pub(crate) fn monitor_grants(family: Family) -> &'static [&'static str] {
    match family {
        Family::MariaDb => MONITOR_GRANTS_MARIADB,
        Family::MySql => MONITOR_GRANTS_MYSQL,
    }
}

/// The statements that make accounts and schemas on a fresh server.
pub(crate) fn statements(family: Family) -> Vec<String> {
    let mut all =
        vec!["DROP SCHEMA IF EXISTS test".to_owned(), "DROP USER IF EXISTS ''@'localhost'".to_owned()];
    for (user, password) in
        [(REPLICATION_USER, REPLICATION_PASSWORD), (MONITOR_USER, MONITOR_PASSWORD), (APP_USER, APP_PASSWORD)]
    {
        all.push(format!("CREATE USER '{user}'@'%' IDENTIFIED BY '{password}'"));
    }
    all.push(format!("GRANT REPLICATION SLAVE ON *.* TO '{REPLICATION_USER}'@'%'"));
    for privilege in monitor_grants(family) {
        all.push(format!("GRANT {privilege} ON *.* TO '{MONITOR_USER}'@'%'"));
    }
    for schema in APP_SCHEMAS {
        all.push(format!("CREATE SCHEMA `{schema}` CHARACTER SET utf8mb4"));
        all.push(format!("GRANT ALL PRIVILEGES ON `{schema}`.* TO '{APP_USER}'@'%'"));
    }
    all
}
