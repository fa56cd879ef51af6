//! The proxy: the only crate with sockets and tasks. Owns listeners, sessions, pools, the relay and
//! the probes. Must not read files or the environment, and does not know TOML or HTTP: the binary
//! hands in [`settings::Settings`] and steers through [`Proxy`].

pub mod control;
pub mod settings;
