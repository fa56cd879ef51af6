//! The PROXY protocol, versions 1 and 2: by which whoever stands in between tells who the client is.
//!
//! The header is the first thing on a connection, before the greeting. Whether one is to be expected, and from whom it
//! is believed, is the caller's to know: nothing here guesses.
//!
//! Source: <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::{BufMut, BytesMut};

use crate::Malformed;

/// What a header says of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proxied {
    /// It is at this address.
    From(SocketAddr),
    /// Nothing: the connection is the sender's own (a check of health), or of a kind without an address.
    Own,
}

/// What the first bytes of a connection are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// The beginning of a header; more must be read.
    Partial,
    /// A header, of this many bytes.
    Whole(Proxied, usize),
}

/// A header is never longer than this: version 1 is at most 107 bytes, and of version 2 no more is taken.
pub const LONGEST: usize = 4096;

/// The first bytes of a header of version 2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The first bytes of a header of version 1.
const WORD: &[u8; 6] = b"PROXY ";
/// A line of version 1 is never longer, its end included.
const LONGEST_LINE: usize = 107;
/// What follows the signature of version 2 at once.
const FIXED: usize = 16;
/// A checksum over the header, among the extensions of version 2.
const CRC32C: u8 = 0x03;

/// Whether these bytes could be the beginning of a header. A packet of the MySQL protocol never is: its sequence
/// number would be wrong.
#[must_use]
pub fn is_header(bytes: &[u8]) -> bool {
    let begins = |with: &[u8]| bytes.iter().zip(with).all(|(one, other)| one == other);
    !bytes.is_empty() && (begins(SIGNATURE) || begins(WORD))
}

/// Reads the header at the beginning of a connection.
///
/// # Errors
/// When the bytes are no header, or one that is broken: its connection cannot be used.
pub fn parse(bytes: &[u8]) -> Result<Header, Malformed> {
    if !is_header(bytes) {
        return if bytes.is_empty() { Ok(Header::Partial) } else { Err(malformed("it is none")) };
    }
    if bytes.first() == SIGNATURE.first() { parse_v2(bytes) } else { parse_v1(bytes) }
}

/// A header of version 2: of a client and where it connected to, or of our own connection.
#[must_use]
pub fn encode(client: Option<(SocketAddr, SocketAddr)>) -> BytesMut {
    let mut out = BytesMut::with_capacity(52);
    out.put_slice(SIGNATURE);
    match client {
        None => out.put_slice(&[0x20, 0x00, 0, 0]),
        Some((from, to)) => match (from.ip().to_canonical(), to.ip().to_canonical()) {
            (IpAddr::V4(source), IpAddr::V4(target)) => {
                out.put_slice(&[0x21, 0x11, 0, 12]);
                out.put_slice(&source.octets());
                out.put_slice(&target.octets());
                put_ports(&mut out, from, to);
            }
            (source, target) => {
                out.put_slice(&[0x21, 0x21, 0, 36]);
                out.put_slice(&as_v6(source).octets());
                out.put_slice(&as_v6(target).octets());
                put_ports(&mut out, from, to);
            }
        },
    }
    out
}

fn put_ports(out: &mut BytesMut, from: SocketAddr, to: SocketAddr) {
    out.put_u16(from.port());
    out.put_u16(to.port());
}

fn as_v6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

/// `PROXY TCP4 source target source-port target-port`, or `PROXY UNKNOWN …`.
fn parse_v1(bytes: &[u8]) -> Result<Header, Malformed> {
    let seen = bytes.get(..LONGEST_LINE.min(bytes.len())).unwrap_or(bytes);
    let Some(end) = seen.windows(2).position(|pair| pair == b"\r\n") else {
        return if seen.len() < LONGEST_LINE {
            Ok(Header::Partial)
        } else {
            Err(malformed("its line does not end"))
        };
    };
    let used = end.checked_add(2).ok_or_else(|| malformed("its line does not end"))?;
    let line = seen.get(..end).and_then(|line| core::str::from_utf8(line).ok());
    let mut words = line.ok_or_else(|| malformed("it is not text"))?.split(' ').skip(1);
    let family = words.next().unwrap_or_default();
    if family == "UNKNOWN" {
        return Ok(Header::Whole(Proxied::Own, used));
    }
    let fields: Vec<&str> = words.collect();
    let [source, target, source_port, target_port] = fields.as_slice() else {
        return Err(malformed("it has not two addresses and two ports"));
    };
    let address = |word: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => word.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => word.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let no_address = || malformed("its addresses are none of its family");
    let (source, _) = (address(source).ok_or_else(no_address)?, address(target).ok_or_else(no_address)?);
    let no_port = || malformed("its ports are none");
    let (from, _) = (port(source_port).ok_or_else(no_port)?, port(target_port).ok_or_else(no_port)?);
    Ok(Header::Whole(Proxied::From(SocketAddr::new(source, from)), used))
}

/// A port as it must be written: digits, without zeros in front.
fn port(word: &str) -> Option<u16> {
    let plain = word.bytes().all(|byte| byte.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    if plain { word.parse().ok() } else { None }
}

fn parse_v2(bytes: &[u8]) -> Result<Header, Malformed> {
    let Some((head, rest)) = bytes.split_at_checked(FIXED) else {
        return Ok(Header::Partial);
    };
    let [.., version_command, family, high, low] = head else { return Ok(Header::Partial) };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let used = length.saturating_add(FIXED);
    if used > LONGEST {
        return Err(malformed("it is too long"));
    }
    let Some(body) = rest.get(..length) else { return Ok(Header::Partial) };
    let local = match version_command {
        0x20 => true,
        0x21 => false,
        _ => return Err(malformed("its version or command is unknown")),
    };
    let short = || malformed("it is too short for its addresses");
    let (from, extensions) = match family {
        _ if local => (None, 0),
        0x11 => (Some(v2_address::<4>(body, 12).ok_or_else(short)?), 12),
        0x21 => (Some(v2_address::<16>(body, 36).ok_or_else(short)?), 36),
        // A unix socket's; or nothing.
        0x31 if body.len() >= 216 => (None, 216),
        0x31 => return Err(short()),
        0x00 => (None, body.len()),
        // UDP, or a family to come: no connection of ours.
        _ => return Err(malformed("its family is not one of connections")),
    };
    if !local {
        check_extensions(bytes.get(..used).unwrap_or_default(), extensions)?;
    }
    Ok(Header::Whole(from.map_or(Proxied::Own, Proxied::From), used))
}

/// The source, of two addresses of `N` bytes and two ports.
fn v2_address<const N: usize>(body: &[u8], whole: usize) -> Option<SocketAddr>
where
    IpAddr: From<[u8; N]>,
{
    let body = body.get(..whole)?;
    let (source, rest) = body.split_first_chunk::<N>()?;
    let (_, ports) = rest.split_first_chunk::<N>()?;
    let [high, low, ..] = ports else { return None };
    Some(SocketAddr::new(IpAddr::from(*source), u16::from_be_bytes([*high, *low])))
}

/// Walks the extensions; a checksum among them must be right.
fn check_extensions(header: &[u8], addresses: usize) -> Result<(), Malformed> {
    let broken = || malformed("its extensions are broken");
    let mut at = FIXED.saturating_add(addresses);
    while at < header.len() {
        let Some([kind, high, low]) = header.get(at..).and_then(<[u8]>::first_chunk::<3>) else {
            return Err(broken());
        };
        let begin = at.saturating_add(3);
        let end = begin.saturating_add(usize::from(u16::from_be_bytes([*high, *low])));
        let value = header.get(begin..end).ok_or_else(broken)?;
        if *kind == CRC32C {
            let said: [u8; 4] = value.try_into().map_err(|_| broken())?;
            // It is computed with itself as zeros.
            let bytes = header.iter().enumerate();
            let zeroed = bytes.map(|(place, byte)| if (begin..end).contains(&place) { 0 } else { *byte });
            if crc32c(zeroed) != u32::from_be_bytes(said) {
                return Err(malformed("its checksum is wrong"));
            }
        }
        at = end;
    }
    Ok(())
}

/// CRC-32C (Castagnoli), RFC 3720 appendix B.4.
fn crc32c(bytes: impl Iterator<Item = u8>) -> u32 {
    let crc = bytes.fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0x82F6_3B78 & (crc & 1).wrapping_neg()))
    });
    !crc
}

fn malformed(what: &'static str) -> Malformed {
    Malformed { packet: "PROXY header", what }
}

#[cfg(test)]
mod tests;
