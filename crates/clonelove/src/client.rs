//! The commands that speak to a running clonelove through its admin port: status, drain, undrain, reload. Owns a
//! small HTTP client; reads only the fields that it shows, so that it may be older than the daemon.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use crate::cli::{self, Access, FAILURE, USAGE};
use crate::config::{self, Http};
use crate::output::{complain, print};
use crate::status;

/// Where a token may be found, so that it need not stand on the command line.
const TOKEN_VARIABLE: &str = "CLONELOVE_HTTP_TOKEN";
const DEFAULT_PORT: u16 = 9307;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A reload may wait for slow files.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// A status is some kilobytes a server.
const ANSWER_LIMIT: u64 = 64 << 20;

/// Where to ask, and with what.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    /// Without brackets.
    host: String,
    port: u16,
    /// What stands before every path, without a slash at its end.
    prefix: String,
    token: Option<String>,
}

/// An answer.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    body: String,
}

/// Why there is no good answer.
#[derive(Debug)]
struct Trouble {
    code: u8,
    message: String,
}

/// `clonelove status`.
pub(crate) fn status(options: &cli::Status) -> ExitCode {
    conclude(&options.access, ask(&options.access, "GET", "/status"), status::for_people)
}

/// `clonelove drain NAME`, `clonelove undrain NAME`.
pub(crate) fn steer_server(options: &cli::Steer, what: &str) -> ExitCode {
    let path = format!("/servers/{}/{what}", percent_encode(&options.name));
    conclude(&options.access, ask(&options.access, "POST", &path), |answer| {
        let field = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or("?").to_owned();
        format!("{}: {}\n", field("server"), field("now"))
    })
}

/// `clonelove reload`.
pub(crate) fn reload(options: &cli::Reload) -> ExitCode {
    conclude(&options.access, ask(&options.access, "POST", "/reload"), |answer| {
        let changes = answer.get("changes").and_then(Value::as_array);
        let changes: Vec<&str> = changes.into_iter().flatten().filter_map(Value::as_str).collect();
        if changes.is_empty() {
            return "reloaded: nothing has changed\n".to_owned();
        }
        format!("reloaded:\n  {}\n", changes.join("\n  "))
    })
}

fn conclude(
    access: &Access,
    answer: Result<Value, Trouble>,
    for_people: impl Fn(&Value) -> String,
) -> ExitCode {
    match answer {
        Ok(answer) if access.json => print(&format!("{answer}\n")),
        Ok(answer) => print(&for_people(&answer)),
        Err(Trouble { code, message }) if access.json => {
            print(&format!("{}\n", serde_json::json!({ "error": message })));
            ExitCode::from(code)
        }
        Err(Trouble { code, message }) => complain(code, &message),
    }
}

fn ask(access: &Access, method: &str, path: &str) -> Result<Value, Trouble> {
    let target = target(access)?;
    let address = format!("{}:{}", target.host, target.port);
    let failed = |message: String| Trouble { code: FAILURE, message };
    let answer = exchange(&target, method, path).map_err(|error| {
        failed(format!(
            "no answer from the admin port at {address}: {error} (is clonelove running there? --admin URL)"
        ))
    })?;
    let body: Option<Value> = serde_json::from_str(&answer.body).ok();
    match (answer.status, body) {
        (200..=299, Some(body)) => Ok(body),
        (200..=299, None) => {
            Err(failed(format!("what listens at {address} does not answer as clonelove does")))
        }
        (status, body) => Err(failed(refusal(&address, status, body.as_ref()))),
    }
}

/// What a refusal says, with its hint, and each problem of a config on a line.
fn refusal(address: &str, status: u16, body: Option<&Value>) -> String {
    let field = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let Some(error) = body.and_then(|body| field(body, "error")) else {
        return format!("what listens at {address} answered with HTTP status {status}");
    };
    let hint = body.and_then(|body| field(body, "hint")).unwrap_or_default();
    let mut text = format!("{error} ({hint})");
    let problems = body.and_then(|body| body.get("problems")).and_then(Value::as_array);
    for problem in problems.into_iter().flatten() {
        let number = |name| problem.get(name).and_then(Value::as_u64);
        let place = match (number("line"), number("column")) {
            (Some(line), Some(column)) => format!("{line}:{column}:"),
            _ => String::new(),
        };
        let field = |name| field(problem, name).unwrap_or_default();
        text.push_str(&format!("\n{}:{place} {} ({})", field("file"), field("problem"), field("hint")));
    }
    text
}

/// Command line first, then environment, then config.
fn target(access: &Access) -> Result<Target, Trouble> {
    let usage = |message: String| Trouble { code: USAGE, message };
    let from_config = config::load_http(&access.config);
    let configured = from_config.as_ref().ok().and_then(Option::as_ref);
    let token = access
        .token
        .clone()
        .or_else(|| std::env::var(TOKEN_VARIABLE).ok().filter(|token| !token.is_empty()))
        .or_else(|| token_for(access, configured));
    if token.as_ref().is_some_and(|token| token.bytes().any(|byte| byte < b' ')) {
        return Err(usage("the admin token has a control character in it".to_owned()));
    }
    if let Some(url) = &access.admin {
        let (host, port, prefix) = parse_url(url).map_err(|hint| usage(format!("--admin {url}: {hint}")))?;
        return Ok(Target { host, port, prefix, token });
    }
    match from_config {
        Ok(None) => {
            Err(usage(format!("{} switches the admin port off: http = false", access.config.display())))
        }
        Ok(Some(http)) => {
            let host = reachable(&http.host).to_owned();
            Ok(Target { host, port: http.port, prefix: String::new(), token })
        }
        Err(_) => {
            Ok(Target { host: "127.0.0.1".to_owned(), port: DEFAULT_PORT, prefix: String::new(), token })
        }
    }
}

/// The config's token is for the config's port: it is not shown to another that --admin names.
fn token_for(access: &Access, configured: Option<&Http>) -> Option<String> {
    let http = configured?;
    if let Some(url) = &access.admin {
        let (host, port, _) = parse_url(url).ok()?;
        if port != http.port || (host != http.host && host != reachable(&http.host)) {
            return None;
        }
    }
    String::from_utf8(http.token.as_ref()?.expose().to_vec()).ok()
}

/// An address that stands for all of a machine's is reached at its loopback one.
fn reachable(host: &str) -> &str {
    match host {
        "0.0.0.0" => "127.0.0.1",
        "::" => "::1",
        other => other,
    }
}

/// Host, port and prefix of `http://host[:port][/prefix]`. The error is a hint.
fn parse_url(url: &str) -> Result<(String, u16, String), &'static str> {
    const HINT: &str = "write http://host:port";
    if url.starts_with("https:") {
        return Err("the admin port speaks http, not https");
    }
    let rest = url.strip_prefix("http://").or_else(|| (!url.contains("://")).then_some(url)).ok_or(HINT)?;
    let (authority, prefix) = match rest.find('/') {
        Some(slash) => rest.split_at_checked(slash).ok_or(HINT)?,
        None => (rest, ""),
    };
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, tail) = rest.split_once(']').ok_or(HINT)?;
            (host, tail.strip_prefix(':'))
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let port = port.map_or(Ok(DEFAULT_PORT), |port| port.parse().map_err(|_| HINT))?;
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'@');
    if host.is_empty() || !plain(host) || !plain(prefix) {
        return Err(HINT);
    }
    Ok((host.to_owned(), port, prefix.trim_end_matches('/').to_owned()))
}

/// One request, one answer. HTTP/1.0, so that the answer comes in one piece and ends with the connection.
fn exchange(target: &Target, method: &str, path: &str) -> io::Result<Answer> {
    let mut stream = connect(&target.host, target.port)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
    let host = if target.host.contains(':') { format!("[{}]", target.host) } else { target.host.clone() };
    let token = target.token.as_ref().map(|token| format!("Authorization: Bearer {token}\r\n"));
    let request = format!(
        "{method} {}{path} HTTP/1.0\r\nHost: {host}:{}\r\nX-Clonelove: 1\r\n{}Content-Length: 0\r\n\r\n",
        target.prefix,
        target.port,
        token.unwrap_or_default()
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_LIMIT).read_to_end(&mut answer)?;
    parse_answer(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "that is no HTTP answer"))
}

fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn parse_answer(bytes: &[u8]) -> Option<Answer> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut words = head.lines().next()?.split_ascii_whitespace();
    words.next().filter(|version| version.starts_with("HTTP/1."))?;
    Some(Answer { status: words.next()?.parse().ok()?, body: body.to_owned() })
}

fn percent_encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b':') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let good = [
            ("http://127.0.0.1:9307", ("127.0.0.1", 9307, "")),
            ("http://proxy", ("proxy", 9307, "")),
            ("proxy:80/love/", ("proxy", 80, "/love")),
            ("http://[::1]:1/", ("::1", 1, "")),
            ("http://[::1]", ("::1", 9307, "")),
        ];
        for (url, (host, port, prefix)) in good {
            assert_eq!(parse_url(url), Ok((host.to_owned(), port, prefix.to_owned())), "{url}");
        }
        for url in [
            "",
            "https://a",
            "ftp://a",
            "http://",
            "http://a:b",
            "http://a b",
            "http://u@h",
            "http://a/\r\nX: 1",
        ] {
            assert!(parse_url(url).is_err(), "{url}");
        }
    }

    #[test]
    fn answers() {
        let good = b"HTTP/1.0 503 Service Unavailable\r\na: b\r\n\r\nbody\r\n\r\nmore";
        assert_eq!(parse_answer(good), Some(Answer { status: 503, body: "body\r\n\r\nmore".to_owned() }));
        for bad in [
            &b""[..],
            b"HTTP/1.1 200 OK\r\n",
            b"SSH-2.0\r\n\r\n",
            b"HTTP/1.1\r\n\r\n",
            b"HTTP/1.1 x\r\n\r\n",
            b"\xff\r\n\r\n",
        ] {
            assert_eq!(parse_answer(bad), None);
        }
    }

    #[test]
    fn names_in_paths_are_encoded() {
        assert_eq!(percent_encode("db1.eu:3306"), "db1.eu:3306");
        assert_eq!(percent_encode("a/b ü"), "a%2Fb%20%C3%BC");
    }

    #[test]
    fn refusals_show_every_problem() {
        let body = serde_json::json!({ "error": "bad", "hint": "mend it", "problems": [
            { "file": "f", "line": 1, "column": 2, "problem": "p", "hint": "h" }, { "file": "g", "problem": "q", "hint": "i" } ] });
        assert_eq!(refusal("a:1", 422, Some(&body)), "bad (mend it)\nf:1:2: p (h)\ng: q (i)");
        assert_eq!(refusal("a:1", 500, None), "what listens at a:1 answered with HTTP status 500");
    }
}
