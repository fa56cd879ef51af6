//! The program as an administrator meets it: exit codes, what it prints, signals, systemd. Needs no server: the
//! only one configured is one that nobody listens at.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests may fail as tests do"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A directory of this test's own, gone at its end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("clonelove-program-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clonelove"));
    command
        .args(args)
        .env_remove("JOURNAL_STREAM")
        .env_remove("NOTIFY_SOCKET")
        .env_remove("CLONELOVE_HTTP_TOKEN");
    command
}

fn run(args: &[&str], input: &[u8]) -> Output {
    let mut child =
        program(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Whoever does not read his input has closed it.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

const GOOD: &str = r#"
[listen]
mysql = ["127.0.0.1:0"]
http = "127.0.0.1:0"
[[server]]
name = "db1"
address = "127.0.0.1:1"
[monitor]
user = "m"
password = "p"
[[user]]
name = "u"
password = "p"
"#;

const FIVE_MISTAKES: &str = r#"
[[server]]
address = "db1"
weight = "heavy"
[monitor]
user = "m"
pasword = "p"
interval = "1 s"
[[user]]
name = "u"
password = { file = "absent" }
"#;

#[test]
fn check_tells_all_of_five_mistakes_and_exits_64() {
    let directory = Directory::new("five");
    let config = directory.write("five.toml", FIVE_MISTAKES);
    for command in ["check", "run"] {
        let output = run(&[command, "--config", &config], b"");
        assert_eq!(output.status.code(), Some(64));
        let told = text(&output.stderr);
        for place in ["3:11:", "4:10:", "7:1:", "8:12:", "11:12:"] {
            let line = told.lines().find(|line| line.starts_with(&format!("{config}:{place} ")));
            assert!(line.is_some_and(|line| line.contains(" (") && line.ends_with(')')), "{place}: {told}");
        }
    }
    let output = run(&["check", "--json", "--config", &config], b"");
    assert_eq!(output.status.code(), Some(64));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let problem = &answer["problems"][0];
    assert_eq!(answer["ok"], false);
    assert!(problem["line"].is_u64() && problem["column"].is_u64() && problem["hint"].is_string());
}

#[test]
fn check_accepts_a_good_config() {
    let directory = Directory::new("good");
    let config = directory.write("good.toml", GOOD);
    let output = run(&["check", "--config", &config], b"");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("fine: 1 server, 1 user, mysql on 127.0.0.1:0"));
    let output = run(&["check", "--json", "--config", &config], b"");
    assert_eq!(text(&output.stdout), "{\"ok\":true,\"problems\":[]}\n");
}

#[test]
fn exit_codes() {
    let table = [
        (&["--help"][..], 0),
        (&["--version"], 0),
        (&["run", "--help"], 0),
        (&[], 64),
        (&["frobnicate"], 64),
        (&["check", "--frob"], 64),
        (&["drain"], 64),
        (&["check", "--config", "/nonexistent/clonelove.toml"], 64),
        (&["run", "--config", "/nonexistent/clonelove.toml"], 64),
        (&["explain", "DROP TABLE x"], 0),
        (&["explain", "no sql at all"], 0),
        (&["status", "--admin", "https://x"], 64),
        (&["status", "--admin", "http://127.0.0.1:1"], 1),
        (&["drain", "db1", "--admin", "http://127.0.0.1:1", "--json"], 1),
    ];
    for (args, code) in table {
        let output = run(args, b"");
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", text(&output.stderr));
    }
}

#[test]
fn explain_reads_lines_or_nul_separated_texts() {
    let output = run(&["explain", "--json"], b"SELECT 1\n\nINSERT INTO t VALUES (1)\n");
    assert_eq!(text(&output.stdout).lines().count(), 2);
    let output = run(&["explain", "--json", "-0"], b"SELECT\n1\0-- c\nSELECT 2\0");
    let answers: Vec<Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), 2);
    assert_eq!(answers[1]["sql"], "-- c\nSELECT 2");
    let output = run(&["explain", "-- a comment first\nSELECT 1", "--json"], b"");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["sql"], "-- a comment first\nSELECT 1");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let mut child =
        program(&["explain", "--json"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let lines = "SELECT 1\n".repeat(20_000);
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// A running daemon; killed when the test is over, however it ends.
struct Daemon {
    child: Child,
    log: BufReader<std::process::ChildStderr>,
    seen: Vec<Value>,
    systemd: UnixDatagram,
    admin: String,
}

impl Daemon {
    fn start(directory: &Directory, config: &str) -> Self {
        let socket = directory.0.join("notify");
        let systemd = UnixDatagram::bind(&socket).unwrap();
        systemd.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut child = program(&["run", "--config", config])
            .env("NOTIFY_SOCKET", &socket)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut daemon = Self { child, log, seen: Vec::new(), systemd, admin: String::new() };
        let ready = daemon.logged("ready");
        daemon.admin = format!("http://{}", ready["http"].as_str().unwrap());
        daemon
    }

    /// The next log line whose message contains `words`.
    fn logged(&mut self, words: &str) -> Value {
        let mut line = String::new();
        while self.log.read_line(&mut line).unwrap() > 0 {
            let entry: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line}"));
            line.clear();
            self.seen.push(entry.clone());
            if entry["message"].as_str().is_some_and(|message| message.contains(words)) {
                return entry;
            }
        }
        panic!("{words:?} is not in {:#?}", self.seen);
    }

    /// What systemd is told next.
    fn told(&self) -> String {
        let mut buffer = [0; 4096];
        let length = self.systemd.recv(&mut buffer).unwrap();
        text(&buffer[..length])
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// A client command against this daemon: exit code and standard output and error.
    fn ask(&self, args: &[&str]) -> (i32, String, String) {
        let output = run(&[args, &["--admin", &self.admin]].concat(), b"");
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_daemon_lives_reloads_and_ends() {
    let directory = Directory::new("life");
    let config = directory.write("c.toml", GOOD);
    let mut daemon = Daemon::start(&directory, &config);
    assert_eq!(daemon.told(), "READY=1\n");

    let (code, out, err) = daemon.ask(&["status", "--json"]);
    assert_eq!(code, 0, "{err}");
    let status: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        Some(daemon.admin.as_str()),
        status["listen"]["http"].as_str().map(|at| format!("http://{at}")).as_deref()
    );
    assert_eq!(daemon.ask(&["status"]).0, 0);

    let (code, out, err) = daemon.ask(&["drain", "db1"]);
    assert_eq!((code, out.as_str()), (0, "db1: draining\n"), "{err}");
    assert_eq!(daemon.ask(&["undrain", "db1"]).1, "db1: in use\n");
    let (code, _, err) = daemon.ask(&["drain", "nobody"]);
    assert_eq!((code, err.contains("no server is named \"nobody\"")), (1, true), "{err}");

    directory.write("c.toml", &format!("{GOOD}[log]\nlevel = \"debug\"\n"));
    let (code, out, err) = daemon.ask(&["reload"]);
    assert_eq!((code, out.contains("log.level: info -> debug")), (0, true), "{out}{err}");
    assert!(daemon.told().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert_eq!(daemon.told(), "READY=1\n");
    daemon.logged("config reloaded");

    daemon.signal(Signal::Term);
    daemon.logged("stopped");
    assert!(daemon.told().starts_with("STOPPING=1\n"));
    assert_eq!(daemon.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_bad_reload_leaves_the_old_config() {
    let directory = Directory::new("reload");
    let config = directory.write("c.toml", GOOD);
    let mut daemon = Daemon::start(&directory, &config);
    directory
        .write("c.toml", &GOOD.replace("[[user]]", "[[user]]\nmax_conections = 5\nroute = \"somewhere\""));
    let (code, _, err) = daemon.ask(&["reload"]);
    assert_eq!(code, 1);
    assert!(err.contains("c.toml:12:1: unknown key \"user.max_conections\""), "{err}");
    assert!(err.contains("c.toml:13:9: user.route = \"somewhere\""), "{err}");

    directory.write("c.toml", &GOOD.replace("mysql = [\"127.0.0.1:0\"]", "mysql = [\"127.0.0.2:0\"]"));
    daemon.signal(Signal::Hup);
    let refused = daemon.logged("listen.mysql cannot change while clonelove runs");
    assert!(refused["hint"].as_str().unwrap().contains("restart"));
    assert_eq!(daemon.ask(&["status"]).0, 0);
    daemon.signal(Signal::Int);
    daemon.logged("stopped");
}

#[test]
fn a_port_that_is_taken_ends_the_start() {
    let directory = Directory::new("taken");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    for key in ["http = \"127.0.0.1:0\"", "mysql = [\"127.0.0.1:0\"]"] {
        let config = directory.write("c.toml", &GOOD.replace(key, &key.replace("127.0.0.1:0", &address)));
        let output = run(&["run", "--config", &config], b"");
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains(&address), "{}", text(&output.stderr));
    }
}

#[test]
fn files_of_unix_sockets_come_and_go() {
    let directory = Directory::new("socket");
    let path = directory.0.join("mysql.sock");
    let listen = format!("mysql = [\"unix:{}\"]\nunix_mode = \"0750\"", path.display());
    let config = directory.write("c.toml", &GOOD.replace("mysql = [\"127.0.0.1:0\"]", &listen));

    // What a killed process leaves behind: a file that nobody listens at.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let mut daemon = Daemon::start(&directory, &config);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o750);
    assert!(std::os::unix::net::UnixStream::connect(&path).is_ok());

    let output = run(&["run", "--config", &config], b"");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("another process listens on"), "{}", text(&output.stderr));

    daemon.signal(Signal::Term);
    daemon.logged("stopped");
    assert_eq!(daemon.child.wait().unwrap().code(), Some(0));
    assert!(!path.exists());

    std::fs::write(&path, "precious").unwrap();
    let output = run(&["run", "--config", &config], b"");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("is no socket"), "{}", text(&output.stderr));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn the_admin_commands_take_port_and_token_from_the_config() {
    let directory = Directory::new("token");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let listen = format!("[listen]\nhttp = \"0.0.0.0:{port}\"\nhttp_token = {{ file = \"token\" }}\n");
    directory.write("token", "geheim\n");
    // Not a config to run on: the shell of an administrator lacks the daemon's environment.
    let config =
        directory.write("c.toml", &format!("{listen}[monitor]\npassword = {{ env = \"NOT_SET\" }}\n"));
    let asked = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut buffer = [0; 1024];
        while !request.ends_with(b"\r\n\r\n") {
            let length = stream.read(&mut buffer).unwrap();
            request.extend_from_slice(&buffer[..length]);
        }
        stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n{\"changes\":[\"a: 1 -> 2\"]}").unwrap();
        text(&request)
    });
    let output = run(&["reload", "--config", &config], b"");
    assert_eq!(text(&output.stdout), "reloaded:\n  a: 1 -> 2\n", "{}", text(&output.stderr));
    let request = asked.join().unwrap();
    assert!(request.starts_with("POST /reload HTTP/1.0\r\n"), "{request}");
    for line in ["X-Clonelove: 1", "Authorization: Bearer geheim"] {
        assert!(request.lines().any(|each| each == line), "{request}");
    }
    assert!(Path::new(&config).exists());
}
