//! Who is behind a load balancer, and what servers are told of clients: the PROXY protocol on both sides, and connection
//! attributes.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clonelove_testkit::{
    APP_PASSWORD, APP_USER, Clonelove, Cluster, ClusterOptions, Connection, DEFAULT_TIMEOUT, Flavour, Port,
    Process, wait_until,
};

use crate::clients::{finish, printed};
use crate::methods::with_tls;
use crate::support::{quick, uniform, value};

/// Runs a statement from an address of this machine; what it answers, or the error's number.
fn ask_from(address: &str, port: u16, user: &str, sql: &str) -> Result<String> {
    let python = format!(
        "import pymysql\n\
         try:\n c = pymysql.connect(host='127.0.0.1', port={port}, user='{user}', password='{APP_PASSWORD}', \
         bind_address='{address}', program_name='a program', autocommit=True)\n \
         k = c.cursor(); k.execute(\"{sql}\"); print(*k.fetchall()[0], sep='|')\n\
         except pymysql.err.OperationalError as e: print(e.args[0])"
    );
    Ok(printed(&finish(Command::new("/usr/bin/python3").args(["-c", &python]), None)?)?.trim().to_owned())
}

/// A load balancer before the proxy.
struct Balancer {
    port: Port,
    _process: Process,
}

impl Balancer {
    fn start(folder: &Path, to: &str, how: &str) -> Result<Self> {
        let port = Port::reserve()?;
        let config = format!(
            "defaults\n mode tcp\n timeout connect 5s\n timeout client 1m\n timeout server 1m\n\
             listen mysql\n bind 127.0.0.1:{}\n server one {to} {how}\n",
            port.number()
        );
        let file = folder.join(format!("haproxy-{}.cfg", port.number()));
        std::fs::write(&file, config)?;
        let args: [OsString; 3] = ["-db".into(), "-f".into(), file.into()];
        let log = folder.join("haproxy.log");
        let process = Process::spawn("haproxy".as_ref(), &args, &[], &log)?;
        wait_until("haproxy to listen", DEFAULT_TIMEOUT, || {
            Ok::<_, anyhow::Error>(TcpStream::connect(("127.0.0.1", port.number())).is_ok())
        })?;
        Ok(Self { port, _process: process })
    }
}

#[test]
fn a_load_balancer_tells_where_clients_are_in_both_versions() -> Result<()> {
    let cluster = uniform(0)?;
    let table = format!("name = \"{APP_USER}\"\npassword = \"{APP_PASSWORD}\"\nnetworks = [\"127.0.0.2\"]\n");
    let config = with_tls(quick(&cluster), cluster.folder())?.without_users().user_table(&table).set(
        "listen",
        "proxy_protocol",
        "[\"127.0.0.1/32\", \"::1\"]",
    );
    let proxy = Clonelove::start_with(config)?;
    for how in ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id"] {
        let balancer = Balancer::start(cluster.folder(), &proxy.addr(), how)?;
        let port = balancer.port.number();
        // One of the two may come from the address that only the balancer knows.
        ensure!(ask_from("127.0.0.2", port, APP_USER, "SELECT 42")? == "42", "{how}");
        ensure!(ask_from("127.0.0.1", port, APP_USER, "SELECT 42")? == "1045", "{how}");
        ensure!(proxy.log().contains("client=127.0.0.1:"), "{}", proxy.log());
        // TLS begins behind the header.
        let mut command = Command::new("mariadb");
        command.args(["--no-defaults", "--protocol=tcp", "--host=127.0.0.1", "--ssl", "-Ne", "SELECT 1"]);
        command
            .arg(format!("--user={APP_USER}"))
            .arg(format!("--port={port}"))
            .env("MYSQL_PWD", APP_PASSWORD);
        let said = String::from_utf8_lossy(&finish(&mut command, None)?.stderr).into_owned();
        ensure!(said.contains("ERROR 1045 (28000)") && said.contains("'127.0.0.1'"), "{how}: {said}");
    }
    // Who comes from elsewhere comes as who it is.
    ensure!(ask_from("127.0.0.2", proxy.port(), APP_USER, "SELECT 42")? == "42");
    Ok(())
}

/// What the proxy says to these bytes, to its end.
fn said_to(proxy: &Clonelove, bytes: &[u8]) -> Result<String> {
    let mut stream = TcpStream::connect(proxy.addr())?;
    stream.set_read_timeout(Some(DEFAULT_TIMEOUT))?;
    stream.write_all(bytes)?;
    let mut said = Vec::new();
    // It may be cut off with bytes of ours unread.
    let _ = stream.read_to_end(&mut said);
    Ok(String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn nobody_speaks_for_another_unless_listed() -> Result<()> {
    let cluster = uniform(0)?;
    let proxy = Clonelove::start_with(quick(&cluster).set("listen", "proxy_protocol", "[\"10.0.0.0/8\"]"))?;
    let line = b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n";
    let version_2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x0a\0\0\x01\x0a\0\0\x02\0\x01\0\x02";
    for header in [&line[..], version_2] {
        let said = said_to(&proxy, header)?;
        ensure!(said.contains("listen.proxy_protocol does not list"), "{said}");
    }
    ensure!(value(&mut crate::support::client(&proxy)?, "SELECT 1")? == "1");
    Ok(())
}

#[test]
fn who_must_tell_and_does_not_is_not_served() -> Result<()> {
    let cluster = uniform(0)?;
    let config = quick(&cluster).set("listen", "proxy_protocol", "[\"127.0.0.1\"]");
    let proxy = Clonelove::start_with(config.set("limits", "login_timeout", "\"1s\""))?;
    for broken in [&b"PROXY TCP4 10.0.0.1\r\n"[..], b"\x01\0\0\x01\x01", b"PROXY TCP4 ", b"", &[b'P'; 8192]] {
        ensure!(said_to(&proxy, broken)?.is_empty(), "{broken:?}");
    }
    // A check of health speaks for itself.
    let own = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    let mut stream = TcpStream::connect(proxy.addr())?;
    stream.set_read_timeout(Some(DEFAULT_TIMEOUT))?;
    stream.write_all(own)?;
    let mut greeting = [0; 16];
    stream.read_exact(&mut greeting)?;
    ensure!(greeting[4] == 10, "{greeting:?}");
    // Over the unix socket nobody need tell.
    let mut local = Connection::open_unix(&proxy.socket(), APP_USER, APP_PASSWORD)?;
    ensure!(value(&mut local, "SELECT 1")? == "1");
    Ok(())
}

/// A server that is told sees its accounts' hosts and its process list as if clients had come directly.
#[test]
fn servers_are_told_where_clients_are() -> Result<()> {
    let extra = vec!["--proxy-protocol-networks=*".to_owned()];
    let options = ClusterOptions { replicas: 1, uniform: true, extra, ..ClusterOptions::default() };
    let cluster = Cluster::start(Flavour::MariaDbDistribution, options)?;
    for at in ["127.0.0.2", "127.0.0.3"] {
        cluster.primary.query(&format!("CREATE USER far@'{at}' IDENTIFIED BY '{APP_PASSWORD}'"))?;
    }
    cluster.wait_caught_up()?;
    let mut config = quick(&cluster).without_servers().user("far", APP_PASSWORD);
    for server in cluster.servers() {
        config =
            config.server(server.name(), &server.address(), "proxy_protocol = true\ntls = \"preferred\"");
    }
    let proxy = Clonelove::start_with(config)?;
    let sql = "SELECT CURRENT_USER(), SUBSTRING_INDEX(USER(), '@', -1)";
    for _ in 0..2 {
        for at in ["127.0.0.2", "127.0.0.3"] {
            let said = ask_from(at, proxy.port(), "far", sql)?;
            ensure!(said == format!("far@{at}|{at}"), "{said}");
        }
    }
    let listed = cluster.primary.query(
        "SELECT DISTINCT SUBSTRING_INDEX(HOST, ':', 1) FROM information_schema.PROCESSLIST WHERE USER = 'far' ORDER BY 1",
    )?;
    let listed: Vec<String> = listed.into_iter().flatten().flatten().collect();
    ensure!(listed == ["127.0.0.2", "127.0.0.3"], "{listed:?}");
    ensure!(ask_from("127.0.0.4", proxy.port(), "far", "SELECT 1")? != "1");
    Ok(())
}

/// What a server can tell of a connection: us, and the client that it was opened for.
fn attributes(flavour: Flavour) -> Result<()> {
    if !flavour.covered()? {
        return Ok(());
    }
    let extra = vec!["--performance-schema=ON".to_owned()];
    let options = ClusterOptions { replicas: 0, uniform: true, extra, ..ClusterOptions::default() };
    let cluster = Cluster::start(flavour, options)?;
    let proxy = Clonelove::start_with(quick(&cluster).set("pool", "min_idle", "0"))?;
    ask_from("127.0.0.2", proxy.port(), APP_USER, "SELECT 1")?;
    let seen = |name: &str| {
        cluster.primary.query(&format!(
            "SELECT DISTINCT ATTR_VALUE FROM performance_schema.session_connect_attrs WHERE ATTR_NAME = '{name}'"
        ))
    };
    let only = |name: &str| -> Result<String> {
        let rows = seen(name)?;
        ensure!(rows.len() == 1, "{name}: {rows:?}");
        rows.into_iter().flatten().flatten().next().context("nothing")
    };
    ensure!(seen("program_name")?.iter().flatten().flatten().any(|name| name == "clonelove"));
    ensure!(only("opened_for_address")? == "127.0.0.2");
    ensure!(only("opened_for_program")? == "a program");
    ensure!(!only("clonelove_version")?.is_empty());
    Ok(())
}

#[test]
fn a_server_can_tell_whom_a_connection_was_opened_for() -> Result<()> {
    attributes(Flavour::MariaDbDistribution)
}

#[test]
fn a_server_can_tell_whom_a_connection_was_opened_for_on_mysql_sid() -> Result<()> {
    attributes(Flavour::MySqlSid)
}
