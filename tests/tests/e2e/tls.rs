//! TLS on both sides: real clients and real servers, every mode, both versions, certificates of both sides, reload,
//! resumption, and who must not be let in.

#![expect(clippy::indexing_slicing, reason = "helpers of tests may fail as tests do")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clonelove_testkit::{
    APP_PASSWORD, APP_USER, Authority, Clonelove, Cluster, ClusterOptions, Config, Connection,
    DEFAULT_TIMEOUT, Flavour, Issued, MONITOR_USER, Peer, wait_until,
};
use rustls::HandshakeKind;

use crate::clients::{finish, php_extensions, printed};
use crate::support::{client, error_of, hasty, quick, said_of, uniform, value, wait_said};

const LOGIN: (&str, &str) = (APP_USER, APP_PASSWORD);
/// What the proxy counts for those who were turned away because of TLS.
const REFUSED: (&str, &[&str]) = ("clonelove_client_connections_refused_total", &["fault=\"tls\""]);

fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display())
}

/// A config that offers TLS with this certificate.
fn offering(config: Config, folder: &Path, issued: &Issued) -> Result<Config> {
    let (cert, key) = issued.write(folder, "proxy")?;
    Ok(config.set("tls", "cert", &quoted(&cert)).set("tls", "key", &quoted(&key)))
}

/// One server and a proxy that offers TLS with a certificate for this machine.
fn begin(change: impl FnOnce(Config, &Path) -> Result<Config>) -> Result<(Cluster, Clonelove, Authority)> {
    let cluster = uniform(0)?;
    let authority = Authority::new("test authority")?;
    std::fs::write(cluster.folder().join("ca.pem"), authority.pem())?;
    let issued = authority.issue("proxy", &["localhost", "127.0.0.1"])?;
    let config = change(offering(quick(&cluster), cluster.folder(), &issued)?, cluster.folder())?;
    Ok((cluster, Clonelove::start_with(config)?, authority))
}

fn refused(proxy: &Clonelove) -> Result<f64> {
    proxy.metric(REFUSED.0, REFUSED.1)
}

/// The whole text of an openssl client that speaks TLS to the proxy; the proxy ends it.
fn openssl(proxy: &Clonelove, args: &[&str]) -> Result<String> {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-starttls", "mysql", "-connect", &proxy.addr(), "-ign_eof"]).args(args);
    let output = command.stdin(Stdio::null()).output().context("openssl: is it installed?")?;
    Ok(format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
}

/// The MariaDB client, over TLS unless told otherwise.
fn mariadb(proxy: &Clonelove, folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("mariadb");
    command.arg("--no-defaults").arg(format!("--user={APP_USER}")).env("MYSQL_PWD", APP_PASSWORD);
    command.args(["--protocol=tcp", "--host=127.0.0.1"]).arg(format!("--port={}", proxy.port()));
    command.arg(format!("--ssl-ca={}", folder.join("ca.pem").display())).args(args);
    command
}

#[test]
fn the_mariadb_client_verifies_us_and_speaks_both_versions() -> Result<()> {
    let (cluster, proxy, _authority) = begin(|config, _| Ok(config))?;
    for version in ["TLSv1.2", "TLSv1.3"] {
        let wanted = format!("--tls-version={version}");
        let mut command = mariadb(
            &proxy,
            cluster.folder(),
            &["--ssl-verify-server-cert", &wanted, "-e", "status; SELECT 40+2"],
        );
        let text = printed(&finish(&mut command, None)?).context(version)?;
        ensure!(text.contains("Cipher in use") && text.contains("42"), "{version}: {text}");
    }
    std::fs::write(cluster.folder().join("ca.pem"), Authority::new("another")?.pem())?;
    let mut command = mariadb(&proxy, cluster.folder(), &["--ssl-verify-server-cert", "-e", "SELECT 1"]);
    let output = finish(&mut command, None)?;
    ensure!(!output.status.success(), "it trusts an authority that it does not know");
    Ok(())
}

#[test]
fn the_mysql_client_verifies_us_and_may_use_any_method() -> Result<()> {
    if !Flavour::MySqlSid.covered()? {
        return Ok(());
    }
    let (cluster, proxy, _authority) = begin(|config, _| Ok(config))?;
    let ca = format!("--ssl-ca={}", cluster.folder().join("ca.pem").display());
    for method in ["caching_sha2_password", "mysql_clear_password"] {
        for version in ["TLSv1.2", "TLSv1.3"] {
            let mut command = Flavour::MySqlSid.command(Path::new("/usr/bin/mysql"))?;
            command.arg("--no-defaults").arg(format!("--user={APP_USER}")).env("MYSQL_PWD", APP_PASSWORD);
            command.args(["--protocol=tcp", "--host=127.0.0.1", "--enable-cleartext-plugin"]);
            command.arg(format!("--port={}", proxy.port())).arg(&ca).arg("--ssl-mode=VERIFY_IDENTITY");
            command.arg(format!("--tls-version={version}")).arg(format!("--default-auth={method}"));
            command.args(["-Ne", "SELECT 40+2"]);
            let text =
                printed(&finish(&mut command, None)?).with_context(|| format!("{method} {version}"))?;
            ensure!(text.trim() == "42", "{method} {version}: {text}");
            let agreed = format!("agreed=\"{}", version.replace('.', "_"));
            ensure!(proxy.log().contains(&agreed), "{agreed}: {}", proxy.log());
        }
    }
    Ok(())
}

#[test]
fn a_password_in_clear_is_taken_over_tls_only() -> Result<()> {
    let (_cluster, proxy, _authority) = begin(|config, _| Ok(config))?;
    let mut packet = ssl_request();
    packet.extend_from_slice(format!("{APP_USER}\0").as_bytes());
    packet.push(u8::try_from(APP_PASSWORD.len())? + 1);
    packet.extend_from_slice(format!("{APP_PASSWORD}\0mysql_clear_password\0").as_bytes());
    packet[0] = u8::try_from(packet.len() - 4)?;
    let mut stream = greeted(&proxy)?;
    stream.write_all(&packet)?;
    let mut answer = [0; 26];
    stream.read_exact(&mut answer)?;
    // Another method is asked for.
    ensure!(answer[4..].starts_with(b"\xfemysql_native_password"), "{answer:?}");
    Ok(())
}

/// MariaDB's clients of today verify the certificate without being told by what: the proof is the password.
#[test]
fn a_client_without_an_authority_trusts_us_by_the_password() -> Result<()> {
    if !Flavour::MariaDbSid.covered()? {
        return Ok(());
    }
    let (cluster, proxy, _authority) = begin(|config, _| Ok(config.user("open", "")))?;
    cluster.primary.query("CREATE USER 'open'@'%'")?;
    let run = |user: &str, password: &str| -> Result<std::process::Output> {
        let mut command = Flavour::MariaDbSid.command(Path::new("/usr/bin/mariadb"))?;
        // Another spelling of 127.0.0.1, towards which it trusts everybody.
        command.args(["--no-defaults", "--protocol=tcp", "--host=::ffff:127.0.0.1", "-Ne", "SELECT 'in'"]);
        command.args([
            "--ssl-verify-server-cert",
            &format!("--user={user}"),
            &format!("--password={password}"),
        ]);
        command.arg(format!("--port={}", proxy.port()));
        finish(&mut command, None)
    };
    ensure!(printed(&run(APP_USER, APP_PASSWORD)?)?.trim() == "in");
    // Without a password there is no proof.
    let stranger = run("open", "")?;
    let said = String::from_utf8_lossy(&stranger.stderr).into_owned();
    ensure!(!stranger.status.success() && said.contains("ERROR 2026"), "{said}");
    Ok(())
}

#[test]
fn php_and_python_verify_us() -> Result<()> {
    let (cluster, proxy, _authority) = begin(|config, _| Ok(config))?;
    let ca = cluster.folder().join("ca.pem");
    let (port, ca) = (proxy.port(), ca.display());
    let python = format!(
        "import pymysql\n\
         c = pymysql.connect(host='127.0.0.1', port={port}, user='{APP_USER}', password='{APP_PASSWORD}', \
         ssl={{'ca': '{ca}', 'check_hostname': True}})\n\
         k = c.cursor(); k.execute(\"SELECT REPEAT('x', 3000000)\"); v = k.fetchone()[0]\n\
         print(c._sock.version(), len(v), set(v))"
    );
    let text = printed(&finish(Command::new("/usr/bin/python3").args(["-c", &python]), None)?)?;
    ensure!(text.trim() == "TLSv1.3 3000000 {'x'}", "{text}");

    let php = format!(
        "$m = mysqli_init(); $m->ssl_set(null, null, '{ca}', null, null); \
         $m->real_connect('127.0.0.1', '{APP_USER}', '{APP_PASSWORD}', 'app', {port}, null, MYSQLI_CLIENT_SSL); \
         echo $m->query('SELECT 42')->fetch_row()[0], ' ', $m->query(\"SELECT REPEAT('y', 100000)\")->fetch_row()[0] \
         === str_repeat('y', 100000) ? 'whole' : 'broken', \"\\n\"; \
         $p = new PDO('mysql:host=127.0.0.1;port={port};dbname=app', '{APP_USER}', '{APP_PASSWORD}', \
         [PDO::MYSQL_ATTR_SSL_CA => '{ca}']); echo $p->query('SELECT 43')->fetchColumn();"
    );
    let mut command = Command::new("php");
    command.arg("-n").args(php_extensions()?).args(["-dextension=openssl.so", "-r", &php]);
    let text = printed(&finish(&mut command, None)?)?;
    ensure!(text.trim().ends_with("42 whole\n43"), "{text}");
    Ok(())
}

#[test]
fn tls_that_begins_in_the_segment_of_its_request_works_and_carries_everything() -> Result<()> {
    let (cluster, proxy, authority) = begin(|config, _| Ok(config))?;
    let mut over_tls = Connection::open_tls(&proxy.addr(), LOGIN, Some("app"), &authority.trusted()?)?;
    over_tls.query("CREATE TABLE app.t (id INT PRIMARY KEY, v LONGTEXT)")?;
    // Larger than any record, any buffer, and a packet's frame.
    let large = "clonelove ".repeat(2_000_000);
    over_tls.query(&format!("INSERT INTO app.t VALUES (1, '{large}')"))?;
    ensure!(value(&mut over_tls, "SELECT v FROM app.t")? == large, "a large value came back as another");
    ensure!(cluster.primary.value("SELECT MD5(v) = MD5(REPEAT('clonelove ', 2000000)) FROM app.t")? == "1");
    // Beside it, without TLS.
    ensure!(value(&mut client(&proxy)?, "SELECT 1")? == "1");
    Ok(())
}

#[test]
fn many_small_statements_go_over_tls() -> Result<()> {
    let (_cluster, proxy, authority) = begin(|config, _| Ok(config))?;
    let mut over_tls = Connection::open_tls(&proxy.addr(), LOGIN, Some("app"), &authority.trusted()?)?;
    for number in 0..2000 {
        ensure!(value(&mut over_tls, &format!("SELECT {number}"))? == number.to_string());
    }
    Ok(())
}

/// The first bytes of a client that asks for TLS: its flags, with TLS among them.
fn ssl_request() -> Vec<u8> {
    let flags = 1_u32 | 1 << 9 | 1 << 11 | 1 << 15 | 1 << 19;
    let mut packet = vec![32, 0, 0, 1];
    packet.extend_from_slice(&flags.to_le_bytes());
    packet.extend_from_slice(&(1_u32 << 24).to_le_bytes());
    packet.push(45);
    packet.extend_from_slice(&[0; 23]);
    packet
}

/// A response in plain text, for a user whose password is the empty one.
fn plain_response(sequence: u8) -> Vec<u8> {
    let mut packet = ssl_request();
    packet.extend_from_slice(b"open\0\0mysql_native_password\0");
    let length = u8::try_from(packet.len() - 4).unwrap_or(u8::MAX);
    (packet[0], packet[3]) = (length, sequence);
    packet
}

fn greeted(proxy: &Clonelove) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(proxy.addr())?;
    stream.set_nodelay(true)?;
    let mut head = [0; 4];
    stream.read_exact(&mut head)?;
    let mut greeting = vec![0; usize::from(head[0]) + 256 * usize::from(head[1])];
    stream.read_exact(&mut greeting)?;
    Ok(stream)
}

/// Whatever the other side has to say until it closes.
fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut said = Vec::new();
    // A reset is an end too.
    let _ = stream.read_to_end(&mut said);
    said
}

#[test]
fn plaintext_sent_early_is_refused() -> Result<()> {
    let (cluster, proxy, _authority) = begin(|config, _| Ok(config.user("open", "")))?;
    cluster.primary.query("CREATE USER 'open'@'%'")?;
    // Without TLS this user is let in by the same bytes.
    let mut stream = greeted(&proxy)?;
    stream.write_all(&plain_response(1))?;
    let mut ok = [0; 5];
    stream.read_exact(&mut ok)?;
    ensure!(ok[4] == 0, "no OK: {ok:?}");
    drop(stream);

    let together = [ssl_request(), plain_response(2)].concat();
    let numbered_as_first = [ssl_request(), plain_response(1)].concat();
    for (what, bytes) in [("response", together), ("numbered anew", numbered_as_first)] {
        let before = refused(&proxy)?;
        let mut stream = greeted(&proxy)?;
        stream.write_all(&bytes)?;
        let said = rest(&mut stream);
        // An alert (21), or nothing; no packet of the protocol, and nobody is let in.
        ensure!(said.is_empty() || said[0] == 21, "{what}: {said:?}");
        ensure!(refused(&proxy)? == before + 1.0, "{what}: it is not counted");
    }
    ensure!(proxy.log().contains("it sent something else than TLS"), "{}", proxy.log());
    Ok(())
}

#[test]
fn tls_within_tls_and_nonsense_for_tls_are_refused() -> Result<()> {
    let (_cluster, proxy, _authority) = begin(|config, _| Ok(config))?;
    for bytes in [
        &[0_u8; 600][..],
        b"\x16\x03\x01\xff\xff",
        b"\x16\x03\x01\0\x05\x01\0\0\x01\0",
        b"GET / HTTP/1.1\r\n\r\n",
    ] {
        let mut stream = greeted(&proxy)?;
        stream.write_all(&[&ssl_request(), bytes].concat())?;
        stream.shutdown(std::net::Shutdown::Write)?;
        let said = rest(&mut stream);
        ensure!(said.is_empty() || said[0] == 21, "{bytes:?}: {said:?}");
    }
    ensure!(value(&mut client(&proxy)?, "SELECT 1")? == "1");
    ensure!(proxy.metric("clonelove_panics_total", &[])? == 0.0);
    Ok(())
}

#[test]
fn without_a_certificate_tls_is_not_offered() -> Result<()> {
    let cluster = uniform(0)?;
    let proxy = Clonelove::start_with(quick(&cluster))?;
    let mut stream = greeted(&proxy)?;
    stream.write_all(&ssl_request())?;
    let said = rest(&mut stream);
    ensure!(said.get(4) == Some(&0xff), "no error packet: {said:?}");
    Ok(())
}

#[test]
fn who_must_use_tls_and_does_not_is_told() -> Result<()> {
    let (cluster, proxy, authority) = begin(|config, _| {
        Ok(config.user_with("careful", "secret", "tls = \"required\"").set(
            "listen",
            "mysql",
            "[{ address = \"127.0.0.1:0\", tls = \"required\" }]",
        ))
    })?;
    cluster.primary.query("CREATE USER careful@'%' IDENTIFIED BY 'secret'")?;
    let before = refused(&proxy)?;
    let error = error_of(Connection::open_tcp(&proxy.addr(), "careful", "secret", None))?;
    ensure!((error.code, error.state.as_str()) == (3159, "HY000"), "{error}");
    ensure!(
        error.message.starts_with("clonelove: Connections using insecure transport are prohibited"),
        "{error}"
    );
    // The password does not matter.
    ensure!(error_of(Connection::open_tcp(&proxy.addr(), "careful", "wrong", None))?.code == 3159);
    let mut over_tls =
        Connection::open_tls(&proxy.addr(), ("careful", "secret"), None, &authority.trusted()?)?;
    ensure!(value(&mut over_tls, "SELECT 1")? == "1");

    let status = proxy.status()?;
    let listener =
        status["listen"]["mysql"].as_array().and_then(|all| all.last()).and_then(|one| one.as_str());
    let listener = listener.context("no listener in the status")?;
    let error = error_of(Connection::open_tcp(listener, APP_USER, APP_PASSWORD, None))?;
    ensure!(error.code == 3159 && error.message.contains("the listener"), "{error}");
    Connection::open_tls(listener, LOGIN, None, &authority.trusted()?)?;
    ensure!(refused(&proxy)? == before + 3.0);

    // Who becomes another user must keep to what that user must.
    let mut command = Command::new("/usr/bin/python3");
    let script = format!(
        "import MySQLdb\n\
         c = MySQLdb.connect(host='127.0.0.1', port={}, user='{APP_USER}', passwd='{APP_PASSWORD}')\n\
         try:\n    c.change_user('careful', 'secret')\n    print('in')\n\
         except Exception as e:\n    print(e.args[0])",
        proxy.port()
    );
    let text = printed(&finish(command.args(["-c", &script]), None)?)?;
    ensure!(text.trim() == "3159", "{text}");

    // Over a unix socket nobody listens.
    let mut command = Command::new("mariadb");
    command.args(["--no-defaults", "--user=careful", "--protocol=socket", "-Ne", "SELECT 'in'"]);
    command.arg(format!("--socket={}", proxy.socket().display())).env("MYSQL_PWD", "secret");
    ensure!(printed(&finish(&mut command, None)?)?.trim() == "in");
    Ok(())
}

#[test]
fn certificates_of_clients_are_verified_if_shown() -> Result<()> {
    let clients = Authority::new("clients")?;
    let pem = clients.pem();
    let (_cluster, proxy, authority) = begin(|config, folder| {
        let path = folder.join("clients.pem");
        std::fs::write(&path, &pem)?;
        Ok(config.set("tls", "client_ca", &quoted(&path)))
    })?;
    let known = authority.trusted_by(&clients.issue("client", &[])?)?;
    ensure!(value(&mut Connection::open_tls(&proxy.addr(), LOGIN, None, &known)?, "SELECT 1")? == "1");
    let none = authority.trusted()?;
    ensure!(value(&mut Connection::open_tls(&proxy.addr(), LOGIN, None, &none)?, "SELECT 1")? == "1");
    let before = refused(&proxy)?;
    for stranger in [Authority::new("clients")?.issue("client", &[])?, clients.issue_expired("client", &[])?]
    {
        let refusal = Connection::open_tls(&proxy.addr(), LOGIN, None, &authority.trusted_by(&stranger)?);
        ensure!(refusal.is_err(), "a client with a bad certificate is let in");
    }
    ensure!(refused(&proxy)? == before + 2.0, "{}", proxy.log());
    Ok(())
}

#[test]
fn a_session_of_tls_is_resumed_in_both_versions() -> Result<()> {
    let (cluster, proxy, authority) =
        begin(|config, _| Ok(config.set("limits", "login_timeout", "\"300ms\"")))?;
    for version in ["-tls1_2", "-tls1_3"] {
        let kept = cluster.folder().join(format!("session{version}"));
        let kept = kept.to_str().context("a path")?;
        let first = openssl(&proxy, &[version, "-sess_out", kept])?;
        ensure!(first.contains("\nNew, TLSv1."), "{version}: {first}");
        let second = openssl(&proxy, &[version, "-sess_in", kept])?;
        ensure!(second.contains("\nReused, TLSv1."), "{version}: {second}");
    }
    // A reload that changes nothing of it leaves what clients keep good.
    let config = authority.trusted()?;
    let kind = |connection: &Connection| connection.tls().and_then(|tls| tls.handshake_kind());
    let first = Connection::open_tls(&proxy.addr(), LOGIN, None, &config)?;
    ensure!(kind(&first) == Some(HandshakeKind::Full), "{:?}", kind(&first));
    ensure!(proxy.http_post("/reload")?.status == 200);
    let second = Connection::open_tls(&proxy.addr(), LOGIN, None, &config)?;
    ensure!(kind(&second) == Some(HandshakeKind::Resumed), "{:?}", kind(&second));
    Ok(())
}

#[test]
fn only_the_new_version_on_demand() -> Result<()> {
    let (_cluster, proxy, _authority) = begin(|config, _| {
        Ok(config.set("tls", "min_version", "\"1.3\"").set("limits", "login_timeout", "\"300ms\""))
    })?;
    let old = openssl(&proxy, &["-tls1_2"])?;
    ensure!(old.contains("alert protocol version"), "{old}");
    let new = openssl(&proxy, &["-tls1_3"])?;
    ensure!(new.contains("\nNew, TLSv1.3"), "{new}");
    Ok(())
}

#[test]
fn a_reload_changes_the_certificate_and_drops_nobody() -> Result<()> {
    let (cluster, proxy, authority) = begin(|config, _| Ok(config))?;
    let shown = |connection: &Connection| -> Option<Vec<u8>> {
        Some(connection.tls()?.peer_certificates()?.first()?.to_vec())
    };
    let open = || Connection::open_tls(&proxy.addr(), LOGIN, Some("app"), &authority.trusted()?);
    let mut before = open()?;
    before.query("CREATE TABLE app.t (id INT PRIMARY KEY)")?;
    before.query("BEGIN")?;
    before.query("INSERT INTO app.t VALUES (1)")?;

    let new = authority.issue("new", &["localhost"])?;
    new.write(cluster.folder(), "proxy")?;
    let reload = proxy.http_post("/reload")?;
    ensure!(reload.status == 200 && reload.body.contains("[tls] changed"), "{reload:?}");
    let after = open()?;
    ensure!(shown(&after).is_some() && shown(&after) != shown(&before), "the old certificate is still shown");
    before.query("COMMIT")?;
    ensure!(value(&mut before, "SELECT COUNT(*) FROM app.t")? == "1");

    // A key that is not the certificate's: the reload is refused whole, and told where.
    let other = authority.issue("other", &["localhost"])?;
    std::fs::write(cluster.folder().join("proxy.key"), &other.key)?;
    let reload = proxy.http_post("/reload")?;
    ensure!(reload.status != 200 && reload.body.contains("proxy.key"), "{reload:?}");
    std::fs::write(cluster.folder().join("proxy.pem"), "nothing")?;
    let reload = proxy.http_post("/reload")?;
    ensure!(reload.status != 200 && reload.body.contains("has no certificate"), "{reload:?}");
    ensure!(shown(&open()?) == shown(&after), "a refused reload has changed the certificate");
    Ok(())
}

/// Servers with a certificate of this authority for these hosts.
fn servers(authority: &Authority, hosts: &[&str], extra: &[&str]) -> Result<Cluster> {
    servers_with(&authority.issue("server", hosts)?, extra)
}

/// Servers with this certificate.
fn servers_with(issued: &Issued, extra: &[&str]) -> Result<Cluster> {
    Cluster::start(
        Flavour::MariaDbDistribution,
        ClusterOptions {
            replicas: 1,
            uniform: true,
            extra: ["--ssl-cert=s.pem", "--ssl-key=s.key"]
                .iter()
                .chain(extra)
                .map(ToString::to_string)
                .collect(),
            files: files(issued),
            ..ClusterOptions::default()
        },
    )
}

fn files(issued: &Issued) -> Vec<(String, String)> {
    vec![("s.pem".to_owned(), issued.certificate.clone()), ("s.key".to_owned(), issued.key.clone())]
}

/// The servers of a cluster, each with these lines in its table.
fn with_servers(cluster: &Cluster, host: &str, more: &str) -> Config {
    let mut config = hasty(Config::for_cluster(cluster).without_servers());
    for server in cluster.servers() {
        config = config.server(server.name(), &format!("{host}:{}", server.port()), more);
    }
    config
}

/// Which version of TLS carries a session's statements to the primary.
fn tls_version(session: &mut Connection) -> Result<String> {
    let rows = session.query("SHOW SESSION STATUS LIKE 'Ssl_version'")?;
    rows.into_iter().next().and_then(|row| row.into_iter().nth(1).flatten()).context("no Ssl_version")
}

/// Lets the servers demand TLS of our two accounts, or not.
fn demand_tls(cluster: &Cluster, must: bool) -> Result<()> {
    let demand = if must { "SSL" } else { "NONE" };
    for user in [MONITOR_USER, APP_USER] {
        let known = format!("SELECT host FROM mysql.user WHERE user = '{user}'");
        for row in cluster.primary.query(&known)? {
            let host = row.first().and_then(Option::as_deref).context("an account without a host")?;
            cluster.primary.query(&format!("ALTER USER '{user}'@'{host}' REQUIRE {demand}"))?;
        }
    }
    cluster.wait_caught_up()
}

#[test]
fn every_mode_towards_servers_with_a_good_certificate() -> Result<()> {
    let authority = Authority::new("servers")?;
    let cluster = servers(&authority, &["localhost", "127.0.0.1"], &[])?;
    let ca = cluster.folder().join("server-ca.pem");
    std::fs::write(&ca, authority.pem())?;
    let ca = format!("tls_ca = {}", quoted(&ca));
    for (host, mode, ca, encrypted) in [
        ("127.0.0.1", "disabled", "", false),
        ("127.0.0.1", "preferred", "", true),
        ("127.0.0.1", "required", "", true),
        ("127.0.0.1", "verify-ca", ca.as_str(), true),
        ("127.0.0.1", "verify-identity", ca.as_str(), true),
        ("localhost", "verify-identity", ca.as_str(), true),
    ] {
        // Probes as well as clients are only let in as the mode says.
        demand_tls(&cluster, encrypted)?;
        let config = with_servers(&cluster, host, &format!("tls = \"{mode}\"\n{ca}"));
        let proxy = Clonelove::start_with(config)?;
        let version = tls_version(&mut client(&proxy)?)?;
        ensure!(version == if encrypted { "TLSv1.3" } else { "" }, "{mode}: {version:?}");
        wait_said(&proxy, "replica1", "state", "up")?;
    }
    Ok(())
}

#[test]
fn both_sides_over_tls_in_all_pairs_of_versions() -> Result<()> {
    let authority = Authority::new("all")?;
    for behind in ["TLSv1.2", "TLSv1.3"] {
        let cluster = servers(&authority, &["127.0.0.1"], &[&format!("--tls-version={behind}")])?;
        let ca = cluster.folder().join("ca.pem");
        std::fs::write(&ca, authority.pem())?;
        let issued = authority.issue("proxy", &["localhost", "127.0.0.1"])?;
        let config = with_servers(&cluster, "127.0.0.1", "tls = \"verify-identity\"").set(
            "tls",
            "server_ca",
            &quoted(&ca),
        );
        let proxy = Clonelove::start_with(offering(config, cluster.folder(), &issued)?)?;
        for before in ["TLSv1.2", "TLSv1.3"] {
            let wanted = format!("--tls-version={before}");
            let sql = "SHOW SESSION STATUS LIKE 'Ssl_version'; SELECT MD5(REPEAT('z', 1000000)); \
                       SELECT REPEAT('z', 1000000)";
            let args = ["--ssl-verify-server-cert", &wanted, "-Ne", sql];
            let text = printed(&finish(&mut mariadb(&proxy, cluster.folder(), &args), None)?)?;
            let lines: Vec<&str> = text.lines().collect();
            ensure!(lines[0] == format!("Ssl_version\t{behind}"), "{before}: {}", lines[0]);
            ensure!(lines[2] == "z".repeat(1_000_000), "{before} and {behind}: a value came back as another");
            let agreed = format!("agreed=\"{}", before.replace('.', "_"));
            ensure!(proxy.log().contains(&agreed), "{agreed}: {}", proxy.log());
        }
    }
    Ok(())
}

/// What the proxy says of a server that it cannot get on with.
fn complaint(config: Config) -> Result<String> {
    let proxy = Clonelove::spawn(config)?;
    wait_until("the server's error", DEFAULT_TIMEOUT, || {
        let said = said_of(&proxy, "primary")?;
        anyhow::Ok(said["last_error"].as_str().map(str::to_owned))
    })
}

#[test]
fn what_is_wrong_with_a_servers_certificate_is_told() -> Result<()> {
    let (authority, stranger) = (Authority::new("servers")?, Authority::new("servers")?);
    let good = servers(&authority, &["db.example.org"], &[])?;
    let folder = good.folder();
    std::fs::write(folder.join("ca.pem"), authority.pem())?;
    std::fs::write(folder.join("other.pem"), stranger.pem())?;
    let told = |cluster: &Cluster, mode: &str, ca: &str| {
        let more = format!("tls = \"{mode}\"\ntls_ca = {}", quoted(&folder.join(ca)));
        complaint(with_servers(cluster, "127.0.0.1", &more))
    };
    for (mode, ca, words) in [
        ("verify-ca", "other.pem", "has signed its certificate"),
        ("verify-identity", "other.pem", "has signed its certificate"),
        ("verify-identity", "ca.pem", "its certificate is not for 127.0.0.1, but for"),
    ] {
        let said = told(&good, mode, ca)?;
        ensure!(said.contains(words) && said.contains(mode), "{mode} {ca}: {said}");
    }
    ensure!(told(&good, "verify-ca", "other.pem")?.contains("other.pem"), "the file is not named");
    // The name does not matter there.
    let more = format!("tls = \"verify-ca\"\ntls_ca = {}", quoted(&folder.join("ca.pem")));
    Clonelove::start_with(with_servers(&good, "127.0.0.1", &more))?;

    let old = servers_with(&authority.issue_expired("server", &["127.0.0.1"])?, &[])?;
    let said = told(&old, "verify-ca", "ca.pem")?;
    ensure!(said.contains("has expired"), "{said}");

    let plain = uniform(0)?;
    let said = complaint(with_servers(&plain, "127.0.0.1", "tls = \"required\""))?;
    ensure!(said.contains("does not offer TLS"), "{said}");
    Ok(())
}

#[test]
fn sessions_of_tls_with_servers_are_resumed() -> Result<()> {
    let authority = Authority::new("servers")?;
    let each = Flavour::ALL.map(|flavour| (flavour, "TLSv1.3"));
    for (flavour, version) in each.into_iter().chain([(Flavour::MariaDbDistribution, "TLSv1.2")]) {
        if !flavour.covered()? {
            continue;
        }
        let issued = authority.issue("server", &["127.0.0.1"])?;
        let only = format!("--tls-version={version}");
        let options = ClusterOptions {
            replicas: 0,
            extra: ["--ssl-cert=s.pem", "--ssl-key=s.key", &only].map(str::to_owned).to_vec(),
            files: files(&issued),
            ..ClusterOptions::default()
        };
        let cluster = Cluster::start(flavour, options)?;
        let ca = cluster.folder().join("ca.pem");
        std::fs::write(&ca, authority.pem())?;
        let more = format!("tls = \"verify-identity\"\ntls_ca = {}", quoted(&ca));
        let proxy = Clonelove::start_with(with_servers(&cluster, "127.0.0.1", &more))?;
        let mut sessions = Vec::new();
        for _ in 0..3 {
            let mut session = client(&proxy)?;
            value(&mut session, "SELECT @@hostname FOR UPDATE")?;
            sessions.push(session);
        }
        let log = proxy.log();
        let name = version.replace('.', "_");
        let resumed = log.lines().any(|line| line.contains(", resumed") && line.contains(&name));
        ensure!(resumed, "{}, {version}: no session was resumed:\n{log}", flavour.name());
    }
    Ok(())
}

#[test]
fn certificates_that_servers_made_for_themselves_do() -> Result<()> {
    for flavour in [Flavour::MariaDbSid, Flavour::MySqlSid] {
        if !flavour.covered()? {
            continue;
        }
        let cluster = Cluster::start(flavour, ClusterOptions { replicas: 1, ..ClusterOptions::default() })?;
        let proxy = Clonelove::start_with(with_servers(&cluster, "127.0.0.1", "tls = \"required\""))?;
        ensure!(tls_version(&mut client(&proxy)?)? == "TLSv1.3", "{}", flavour.name());
        if flavour == Flavour::MySqlSid {
            let ca = cluster.folder().join("mysql-ca.pem");
            std::fs::write(&ca, cluster.primary.read_file("ca.pem")?)?;
            let more = format!("tls = \"verify-ca\"\ntls_ca = {}", quoted(&ca));
            let config = hasty(Config::for_cluster(&cluster).without_servers()).server(
                "primary",
                &cluster.primary.address(),
                &more,
            );
            ensure!(tls_version(&mut client(&Clonelove::start_with(config)?)?)? == "TLSv1.3");
        }
    }
    Ok(())
}

#[test]
fn a_server_that_speaks_plaintext_after_the_request_for_tls_is_none() -> Result<()> {
    let mut greeting = b"\x0a10.11.0-MariaDB\0\x01\0\0\0abcdefgh\0".to_vec();
    // TLS among the capabilities.
    greeting.extend_from_slice(&[0xfe, 0xff, 45, 2, 0, 0xff, 0x81, 21]);
    greeting.extend_from_slice(&[0; 10]);
    greeting.extend_from_slice(b"abcdefghijkl\0mysql_native_password\0");
    let mut packet = vec![u8::try_from(greeting.len())?, 0, 0, 0];
    packet.extend_from_slice(&greeting);
    let ok = b"\x07\0\0\x02\0\0\0\x02\0\0\0";
    let cluster = uniform(0)?;
    for early in [false, true] {
        let hello = if early { [&packet[..], ok].concat() } else { packet.clone() };
        let peer = Peer::start(move |mut stream| {
            let mut request = [0; 36];
            let _ = stream.write_all(&hello);
            if stream.read_exact(&mut request).is_ok() && !early {
                let _ = stream.write_all(ok);
            }
            let _ = stream.read_to_end(&mut Vec::new());
        })?;
        for mode in ["preferred", "required"] {
            let config = hasty(Config::for_cluster(&cluster).without_servers()).server(
                "primary",
                &peer.address(),
                &format!("tls = \"{mode}\""),
            );
            let said = complaint(config)?;
            // "preferred" does not fall back when TLS fails, or whoever is in between could make it.
            ensure!(said.contains("TLS with") && said.contains("failed"), "{mode}: {said}");
        }
    }
    Ok(())
}

#[test]
fn a_reload_asks_for_safer_connections() -> Result<()> {
    let authority = Authority::new("servers")?;
    let cluster = servers(&authority, &["127.0.0.1"], &[])?;
    let ca = cluster.folder().join("ca.pem");
    std::fs::write(&ca, authority.pem())?;
    let proxy = Clonelove::start_with(with_servers(&cluster, "127.0.0.1", "tls = \"disabled\""))?;
    ensure!(tls_version(&mut client(&proxy)?)?.is_empty());
    let text = std::fs::read_to_string(proxy.config_path())?;
    let safer = format!("tls = \"verify-ca\"\ntls_ca = {}", quoted(&ca));
    std::fs::write(proxy.config_path(), text.replace("tls = \"disabled\"", &safer))?;
    let reload = proxy.http_post("/reload")?;
    ensure!(reload.status == 200, "{reload:?}");
    let version = tls_version(&mut client(&proxy)?)?;
    if version != "TLSv1.3" {
        bail!("a connection from before the reload is used: {version:?}");
    }
    Ok(())
}
