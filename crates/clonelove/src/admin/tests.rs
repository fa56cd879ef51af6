use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use clonelove_proxy::settings::Secret;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;

/// A daemon that notes what it was told.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Control for Told {
    fn status(&self) -> Status {
        crate::daemon::tests::status()
    }

    fn ready(&self, writes: bool) -> Result<(), String> {
        if writes { Err("no primary:\nmore".to_owned()) } else { Ok(()) }
    }

    fn drain_server(&self, name: &str) -> bool {
        self.0.lock().push(format!("drain {name}"));
        name == "db:1"
    }

    fn undrain_server(&self, name: &str) -> bool {
        self.0.lock().push(format!("undrain {name}"));
        name == "db:1"
    }

    fn refresh_metrics(&self) {
        self.0.lock().push("refresh".to_owned());
    }

    fn reload(&self) -> Result<Vec<String>, Refused> {
        self.0.lock().push("reload".to_owned());
        let problem = Problem {
            file: "f".into(),
            line: Some(1),
            column: Some(2),
            problem: "wrong".to_owned(),
            hint: "mend".to_owned(),
        };
        Err(Refused { error: "bad".to_owned(), hint: "see".to_owned(), problems: vec![problem] })
    }
}

/// A served admin port.
struct Port {
    address: SocketAddr,
    told: Arc<Told>,
    stop: CancellationToken,
    tasks: TaskTracker,
    _runtime: tokio::runtime::Runtime,
}

impl Port {
    /// Listens on loopback whatever `http` says: the rules go by what is configured.
    fn open(host: &str, token: Option<&str>, read_only: bool) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let told = Arc::new(Told::default());
        let registry = Registry::new();
        let gauge = prometheus::IntGauge::new("test_gauge", "A gauge.").unwrap();
        registry.register(Box::new(gauge)).unwrap();
        let http = Http {
            host: host.to_owned(),
            port: 0,
            token: token.map(|token| Secret::new(token.as_bytes())),
            read_only,
        };
        let router = router(Arc::clone(&told), registry, &http);
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        tasks.spawn_on(serve(listener, router, tasks.clone(), stop.clone()), runtime.handle());
        Self { address, told, stop, tasks, _runtime: runtime }
    }

    /// The answer to raw bytes, until the connection closes.
    fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        // A reset after an early refusal may cut the end off.
        let _ = stream.read_to_string(&mut answer);
        answer
    }

    /// Status and body of a request with these header lines.
    fn ask(&self, method: &str, path: &str, headers: &str) -> (u16, String) {
        let answer = self.raw(&format!("{method} {path} HTTP/1.0\r\n{headers}\r\n"));
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }
}

const OURS: &str = "X-Clonelove: 1\r\n";

#[test]
fn questions_are_answered() {
    let port = Port::open("127.0.0.1", None, false);
    assert_eq!(port.ask("GET", "/healthz", ""), (200, "ok\n".to_owned()));
    assert_eq!(port.ask("GET", "/readyz", ""), (200, "ready\n".to_owned()));
    assert_eq!(port.ask("GET", "/readyz?writes=0", "").0, 200);
    assert_eq!(port.ask("GET", "/readyz?writes=1", ""), (503, "no primary: more\n".to_owned()));
    let (status, body) = port.ask("GET", "/metrics", "");
    assert_eq!((status, body.contains("test_gauge 0\n")), (200, true), "{body}");
    assert_eq!(*port.told.0.lock(), ["refresh"]);
    let (status, body) = port.ask("GET", "/status", "");
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, body["clients"]["limit"].as_u64()), (200, Some(10_000)));
    assert!(port.raw("GET /metrics HTTP/1.0\r\n\r\n").contains("content-type: text/plain; version=0.0.4"));
}

#[test]
fn what_is_not_there_is_told_in_json() {
    let port = Port::open("127.0.0.1", None, false);
    for (method, path, expected) in [
        ("GET", "/", 404),
        ("GET", "/status/", 404),
        ("GET", "/servers/db:1", 404),
        ("POST", "/nothing", 404),
        ("POST", "/status", 405),
        ("DELETE", "/metrics", 405),
        ("GET", "/reload", 405),
        ("GET", "/servers/db:1/drain", 405),
    ] {
        let (status, body) = port.ask(method, path, OURS);
        assert_eq!(status, expected, "{method} {path}");
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert!(body["error"].is_string() && body["hint"].is_string(), "{body}");
    }
}

#[test]
fn servers_are_steered_by_name() {
    let port = Port::open("127.0.0.1", None, false);
    let answer = port.ask("POST", "/servers/db:1/drain", OURS);
    assert_eq!(answer, (200, r#"{"now":"draining","server":"db:1"}"#.to_owned()));
    assert_eq!(port.ask("POST", "/servers/db%3A1/undrain", OURS).0, 200);
    let (status, body) = port.ask("POST", "/servers/other/drain", OURS);
    assert_eq!((status, body.contains("no server is named")), (404, true), "{body}");
    assert_eq!(*port.told.0.lock(), ["drain db:1", "undrain db:1", "drain other"]);
}

#[test]
fn a_refused_reload_tells_every_problem() {
    let port = Port::open("127.0.0.1", None, false);
    let expected = r#"{"error":"bad","hint":"see","problems":[{"file":"f","line":1,"column":2,"problem":"wrong","hint":"mend"}]}"#;
    assert_eq!(port.ask("POST", "/reload", OURS), (422, expected.to_owned()));
}

#[test]
fn a_post_needs_the_header_that_browsers_cannot_send() {
    let port = Port::open("127.0.0.1", None, false);
    for headers in ["", "X-Clonelove: 0\r\n", "X-Clonelove: \r\n", "Authorization: Bearer geheim\r\n"] {
        assert_eq!(port.ask("POST", "/reload", headers).0, 403, "{headers}");
    }
    for host in ["evil.example.org", "evil.example.org:9307", "localhost.evil.org", "[evil]:1"] {
        assert_eq!(port.ask("POST", "/reload", &format!("{OURS}Host: {host}\r\n")).0, 403, "{host}");
    }
    assert!(port.told.0.lock().is_empty());
    for host in ["localhost", "LOCALHOST:9307", "127.0.0.1:9307", "[::1]:9307", "10.0.0.1"] {
        assert_eq!(port.ask("POST", "/reload", &format!("{OURS}Host: {host}\r\n")).0, 422, "{host}");
    }
}

#[test]
fn off_loopback_a_post_needs_the_token() {
    let port = Port::open("0.0.0.0", Some("geheim"), false);
    for token in [
        "",
        "Authorization: geheim\r\n",
        "Authorization: Bearer gehei\r\n",
        "Authorization: Bearer geheim2\r\n",
        "Authorization: Basic geheim\r\n",
    ] {
        let (status, body) = port.ask("POST", "/reload", &format!("{OURS}{token}"));
        assert_eq!(status, 401, "{token}");
        assert!(!body.contains("geheim"));
    }
    assert_eq!(port.ask("POST", "/reload", "Authorization: Bearer geheim\r\n").0, 403);
    assert!(port.told.0.lock().is_empty());
    let good = format!("{OURS}Authorization: Bearer geheim\r\nHost: proxy.example.org\r\n");
    assert_eq!(port.ask("POST", "/reload", &good).0, 422);
    assert_eq!(port.ask("GET", "/status", "").0, 200);
    assert!(port.raw("POST /reload HTTP/1.0\r\nX-Clonelove: 1\r\n\r\n").contains("www-authenticate: Bearer"));
}

#[test]
fn a_read_only_port_refuses_every_post() {
    for (host, token) in [("127.0.0.1", None), ("0.0.0.0", None), ("0.0.0.0", Some("geheim"))] {
        let port = Port::open(host, token, true);
        for path in ["/reload", "/servers/db:1/drain", "/servers/db:1/undrain"] {
            assert_eq!(port.ask("POST", path, &format!("{OURS}Authorization: Bearer geheim\r\n")).0, 403);
        }
        assert!(port.told.0.lock().is_empty());
        assert_eq!(port.ask("GET", "/metrics", "").0, 200);
    }
}

#[test]
fn heads_and_bodies_have_limits() {
    let port = Port::open("127.0.0.1", None, false);
    let long = format!("GET /status HTTP/1.1\r\nA: {}\r\n\r\n", "x".repeat(20_000));
    let many = format!("GET /status HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(100));
    for request in [long, many] {
        assert!(port.raw(&request).starts_with("HTTP/1.1 431"));
    }
    let body = format!("{OURS}Content-Length: 100000\r\n");
    assert_eq!(port.ask("POST", "/reload", &body).0, 413);
    assert!(port.raw("SSH-2.0-OpenSSH\r\n\r\n").starts_with("HTTP/1.1 400"));
}

#[test]
fn stopping_ends_idle_connections() {
    let port = Port::open("127.0.0.1", None, false);
    let mut idle = TcpStream::connect(port.address).unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut first = [0; 15];
    idle.read_exact(&mut first).unwrap();
    port.stop.cancel();
    port.tasks.close();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).unwrap();
    assert!(rest.ends_with(b"ok\n"));
    port._runtime.block_on(port.tasks.wait());
}
