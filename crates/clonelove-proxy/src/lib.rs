//! The proxy: the only crate with sockets and tasks. Owns listeners, sessions, pools, the relay and
//! the probes. Must not read files or the environment, and does not know TOML or HTTP: the binary
//! hands in [`settings::Settings`] and steers through [`Proxy`].

mod accounts;
mod backend;
mod by_client;
mod cluster;
pub mod control;
mod cores;
mod crypto;
mod ending;
pub mod error;
mod freshness;
mod known;
mod learned;
mod listener;
pub mod metrics;
mod net;
mod proxy;
mod relay;
mod server;
mod session;
pub mod settings;
mod shared;
mod status;
pub mod tls;

pub use cluster::schema::{Told, explain_schema};
pub use crypto::PasswordKey;
pub use error::StartError;
pub use proxy::{Proxy, Readiness, ServerCall};
