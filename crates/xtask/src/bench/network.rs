//! What lies between the application's machine and the servers: nothing, or a relay of our own that delays. It stands
//! in front of the servers for every contender alike: the application talks to a proxy beside it over the loopback,
//! and the proxy to servers over the network; who goes without a proxy has the network in its own way.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clonelove_testkit::{Cluster, Port, Process, Sandbox};
use serde_json::Value;

use super::contender::built;
use crate::shell::read;

/// A round-trip time; zero is the loopback as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rtt(Duration);

/// Where a workload goes: those who can have one server only have a replica, or the primary if it writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Site {
    pub(crate) rtt: Rtt,
    pub(crate) writes: bool,
    /// All ways are encrypted, that from a proxy to its servers too.
    pub(crate) tls: bool,
}

/// Servers, and the way to them.
pub(crate) struct Network<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) site: Site,
    servers: Vec<Endpoint>,
    _relay: Option<Process>,
    _ports: Vec<Port>,
    _folder: Sandbox,
}

/// A server as it is reached.
pub(crate) struct Endpoint {
    pub(crate) name: String,
    pub(crate) port: u16,
}

impl Rtt {
    /// `0.5ms`.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let number = text.strip_suffix("ms").and_then(|number| number.parse::<f64>().ok());
        let number = number.with_context(|| format!("no round-trip time: {text:?}; such as 0.5ms"))?;
        Ok(Self(Duration::try_from_secs_f64(number / 1000.0)?))
    }

    pub(crate) fn is_zero(self) -> bool {
        self.0.is_zero()
    }

    /// What one way takes, in microseconds.
    fn way(self) -> String {
        (self.0 / 2).as_micros().to_string()
    }

    /// The delay as measured on this machine at this time, for the report.
    pub(crate) fn measured(self) -> Result<String> {
        let text = read(std::process::Command::new(built("delay_relay")).args(["probe", &self.way()]))?;
        let told: Value = serde_json::from_str(&text)?;
        let number = |path: &str| told.pointer(path).and_then(Value::as_f64).unwrap_or(f64::NAN);
        Ok(format!(
            "delaying relay, {self} of round-trip time: a byte there and back takes {:.0} us in the median ({:.0} us at the \
             least, {:.0} us p99) and {:.0} us without the relay; connecting and a server's first byte {:.0} us; it carries \
             {:.0} MiB/s one way",
            number("/rtt_us/p50"),
            number("/rtt_us/min"),
            number("/rtt_us/p99"),
            number("/loopback_rtt_us/p50"),
            number("/connect_and_greeting_us/p50"),
            number("/mib_per_second"),
        ))
    }
}

impl fmt::Display for Rtt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0.as_secs_f64() * 1000.0)
    }
}

impl<'a> Network<'a> {
    /// The way to the servers; the relay runs as long as this lives.
    pub(crate) fn new(cluster: &'a Cluster, site: Site) -> Result<Self> {
        let rtt = site.rtt;
        let folder = Sandbox::new()?;
        let mut network =
            Self { cluster, site, servers: Vec::new(), _relay: None, _ports: Vec::new(), _folder: folder };
        let mut args = vec![rtt.way()];
        for server in cluster.servers() {
            let mut port = server.port();
            if !rtt.is_zero() {
                let own = Port::reserve()?;
                port = own.number();
                args.extend([format!("127.0.0.1:{port}"), server.address()]);
                network._ports.push(own);
            }
            network.servers.push(Endpoint { name: server.name().to_owned(), port });
        }
        if !rtt.is_zero() {
            let args: Vec<OsString> = args.into_iter().map(OsString::from).collect();
            let log = network._folder.path().join("log");
            network._relay = Some(Process::spawn(built("delay_relay").as_os_str(), &args, &[], &log)?);
        }
        Ok(network)
    }

    /// The primary, then the replicas.
    pub(crate) fn servers(&self) -> &[Endpoint] {
        &self.servers
    }

    /// Where those go who can have one server only.
    pub(crate) fn single(&self) -> Result<String> {
        let at = usize::from(!self.site.writes);
        Ok(self.servers.get(at).context("no such server")?.address())
    }

    /// Its unix socket, where nothing is between.
    pub(crate) fn single_socket(&self) -> Option<PathBuf> {
        let server = self.cluster.servers().nth(usize::from(!self.site.writes))?;
        self.site.rtt.is_zero().then(|| server.socket())
    }
}

impl Endpoint {
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_times() {
        let half = Rtt::parse("0.5ms").unwrap();
        assert_eq!((half.to_string().as_str(), half.way().as_str()), ("0.5 ms", "250"));
        assert!(Rtt::parse("0.5").is_err() && Rtt::parse("-1ms").is_err());
    }
}
