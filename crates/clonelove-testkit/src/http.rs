//! Requests to the admin port: one a connection, nothing reused.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result};

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpReply {
    /// The status code.
    pub status: u16,
    /// The header lines as they came.
    pub headers: Vec<String>,
    /// The body as text.
    pub body: String,
}

/// Sends one request and reads the reply to its end.
///
/// # Errors
/// When the connection fails, or what comes back is not HTTP.
pub fn http_request(address: &str, method: &str, path: &str, headers: &[(&str, &str)]) -> Result<HttpReply> {
    let mut stream = TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut request = format!("{method} {path} HTTP/1.0\r\nHost: {address}\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    // Version 1.0 has no chunks: the body ends with the connection.
    request.push_str("\r\n");
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).with_context(|| format!("{method} {path} from {address}"))?;
    parse(&String::from_utf8_lossy(&bytes))
        .with_context(|| format!("{method} {path} from {address}: not HTTP"))
}

fn parse(text: &str) -> Option<HttpReply> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    Some(HttpReply { status, headers: lines.map(str::to_owned).collect(), body: body.to_owned() })
}
