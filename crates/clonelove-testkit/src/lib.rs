//! Real servers, the real daemon and conditions to wait for: what the end-to-end tests stand on.
//!
//! A [`Cluster`] is a primary with replicas in a sandbox of its own: own ports, own data directories, nothing left
//! running when it is dropped or when the test process dies. [`Clonelove`] is the real binary in front of one. This
//! crate knows servers and processes; it must not depend on the crates it helps to test.

#![forbid(unsafe_code)]

mod accounts;
mod certificates;
mod clonelove;
mod cluster;
mod connection;
mod flavour;
mod general_log;
mod http;
mod not_covered;
mod peer;
mod places;
mod plugins;
mod process;
mod root;
mod server;
mod template;
mod wait;

pub use accounts::{
    APP_PASSWORD, APP_SCHEMAS, APP_USER, MONITOR_GRANTS_MARIADB, MONITOR_GRANTS_MYSQL, MONITOR_PASSWORD,
    MONITOR_USER, REPLICATION_PASSWORD, REPLICATION_USER,
};
pub use certificates::{Authority, Issued};
pub use clonelove::{Clonelove, Config};
pub use cluster::{Cluster, ClusterOptions};
pub use connection::{ASKED_FOR_PASSWORD, Compression, Connection, NamedRow, Opening, Row, SqlError};
pub use flavour::{Family, Flavour, Readiness};
pub use general_log::LogEntry;
pub use http::{HttpReply, http_request};
pub use not_covered::{NOT_COVERED_ENV, TEST_BINARY_ENV, not_covered};
pub use peer::{Break, Link, Peer};
pub use places::{CACHE_ENV, Port, Sandbox, cache_folder};
pub use plugins::fetch_plugins;
pub use process::Process;
pub use root::{RootState, make_root, root_state};
pub use server::{ReplicationState, Server};
pub use wait::{DEFAULT_TIMEOUT, Holds, wait_until};
