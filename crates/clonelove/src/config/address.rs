//! Addresses and networks as a config writes them. Pure; resolves no names.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clonelove_proxy::settings::{Address, Network};

/// The longest path a unix socket can have (`sun_path` is 108 bytes with its end).
const UNIX_PATH_LIMIT: usize = 107;

/// Whether an address is to be listened on or to be dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Port 0 lets the system choose.
    Listen,
    /// The port must be a real one.
    Dial,
}

/// Reads `host:port`, `[v6]:port` or `unix:PATH`. The error is a hint.
pub(super) fn parse_address(text: &str, side: Side) -> Result<Address, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return if !path.starts_with('/') {
            Err("a unix socket needs an absolute path: \"unix:/run/…\"".to_owned())
        } else if path.len() > UNIX_PATH_LIMIT {
            Err(format!("a unix socket's path has at most {UNIX_PATH_LIMIT} bytes"))
        } else {
            Ok(Address::Unix(PathBuf::from(path)))
        };
    }
    if text.starts_with('/') {
        return Err(format!("write \"unix:{text}\""));
    }
    let (host, port) = parse_host_port(text)?;
    if port == 0 && side == Side::Dial {
        return Err("the port is 1 to 65535".to_owned());
    }
    Ok(Address::Tcp { host, port })
}

/// Reads `host:port` or `[v6]:port`. The error is a hint.
pub(super) fn parse_host_port(text: &str) -> Result<(String, u16), String> {
    if text.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()) {
        return Err(format!("an IPv6 address needs brackets and a port: \"[{text}]:3306\""));
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(format!("a port is missing: \"{text}:3306\""));
    };
    let port: u16 = port.parse().map_err(|_| "the port is a number up to 65535".to_owned())?;
    if let Some(v6) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return match v6.parse::<IpAddr>() {
            Ok(IpAddr::V6(_)) => Ok((v6.to_owned(), port)),
            _ => Err("what stands in brackets must be an IPv6 address".to_owned()),
        };
    }
    if is_host(host) {
        Ok((host.to_owned(), port))
    } else {
        Err("write \"host:port\", \"[v6]:port\" or \"unix:/PATH\"".to_owned())
    }
}

/// Reads `10.0.0.0/8`, `fd00::/8`, or a lone address. The error is a hint.
pub(super) fn parse_network(text: &str) -> Result<Network, String> {
    const HINT: &str = "a network is written \"10.1.0.0/16\", \"fd00::/8\" or, for one machine, \"10.1.2.3\"";
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| HINT.to_owned())?;
    let width: u8 = if address.is_ipv4() { 32 } else { 128 };
    let bits: u8 = bits.map_or(Ok(width), str::parse).map_err(|_| HINT.to_owned())?;
    if bits > width {
        return Err(format!("the number after the slash is at most {width} here"));
    }
    Ok(Network { address, bits })
}

/// Whether only this machine can reach what listens there. A name other than `localhost` is not looked up:
/// what it means may change.
pub(crate) fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// Whether two listen addresses surely collide.
pub(super) fn same_place(a: &Address, b: &Address) -> bool {
    match (a, b) {
        (Address::Tcp { port: 0, .. }, _) => false,
        (Address::Tcp { host: x, port: p }, Address::Tcp { host: y, port: q }) => {
            let ip = |host: &str| host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, 0));
            p == q && (x.eq_ignore_ascii_case(y) || (ip(x).is_some() && ip(x) == ip(y)))
        }
        (a, b) => a == b,
    }
}

fn is_host(host: &str) -> bool {
    !host.is_empty()
        && host.len() <= 253
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Address {
        Address::Tcp { host: host.to_owned(), port }
    }

    #[test]
    fn addresses() {
        let good = [
            ("127.0.0.1:3307", tcp("127.0.0.1", 3307)),
            ("db1.example.org:3306", tcp("db1.example.org", 3306)),
            ("[::1]:3306", tcp("::1", 3306)),
            ("unix:/run/a b.sock", Address::Unix("/run/a b.sock".into())),
        ];
        for (text, address) in good {
            assert_eq!(parse_address(text, Side::Dial), Ok(address.clone()), "{text}");
            assert_eq!(address.to_string(), text);
        }
        assert_eq!(parse_address("localhost:0", Side::Listen), Ok(tcp("localhost", 0)));
        let bad = [
            ("db1", "a port is missing: \"db1:3306\""),
            ("::1", "an IPv6 address needs brackets and a port: \"[::1]:3306\""),
            ("db1:0", "the port is 1 to 65535"),
            ("db1:70000", "the port is a number up to 65535"),
            ("/run/x.sock", "write \"unix:/run/x.sock\""),
            ("unix:x.sock", "a unix socket needs an absolute path: \"unix:/run/…\""),
            ("[db1]:3306", "what stands in brackets must be an IPv6 address"),
            (":3306", "write \"host:port\", \"[v6]:port\" or \"unix:/PATH\""),
            ("a b:1", "write \"host:port\", \"[v6]:port\" or \"unix:/PATH\""),
        ];
        for (text, hint) in bad {
            assert_eq!(parse_address(text, Side::Dial), Err(hint.to_owned()), "{text}");
        }
        assert!(parse_address(&format!("unix:/{}", "x".repeat(107)), Side::Listen).is_err());
    }

    #[test]
    fn networks() {
        let ten = Network { address: "10.0.0.0".parse().unwrap(), bits: 8 };
        assert_eq!(parse_network("10.0.0.0/8"), Ok(ten));
        assert_eq!(parse_network("::1").map(|net| net.bits), Ok(128));
        for text in ["", "10.0.0.0/33", "10.0.0/8", "db/8", "10.0.0.0/", "10.0.0.0/-1"] {
            assert!(parse_network(text).is_err(), "{text}");
        }
    }

    #[test]
    fn loopback_is_told_by_the_address_alone() {
        for host in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "localhost"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["0.0.0.0", "::", "10.0.0.1", "example.org", ""] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn colliding_listeners() {
        assert!(same_place(&tcp("::1", 1), &tcp("0:0::1", 1)));
        assert!(!same_place(&tcp("::1", 0), &tcp("::1", 0)));
        assert!(!same_place(&tcp("a", 1), &tcp("a", 2)));
    }
}
