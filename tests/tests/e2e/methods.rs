//! How clients prove who they are, and how we prove it to servers: every method, and every switch between them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use clonelove_testkit::{APP_PASSWORD, APP_USER, Authority, Clonelove, Config, Connection, Flavour};

use crate::clients::{finish, printed};
use crate::support::{kill_connections_of, quick, uniform, uniform_of, value};

/// How a client connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Plain,
    Tls,
    Socket,
}

/// A command-line client of a flavour, asking who it is; `more` are further arguments.
pub(crate) fn ask(
    flavour: Flavour,
    proxy: &Clonelove,
    login: (&str, &str),
    way: Way,
    more: &[&str],
) -> Result<Output> {
    ask_at(flavour, (proxy.port(), &proxy.socket()), login, way, more)
}

/// The same at any port and unix socket.
pub(crate) fn ask_at(
    flavour: Flavour,
    (port, socket): (u16, &Path),
    (user, password): (&str, &str),
    way: Way,
    more: &[&str],
) -> Result<Output> {
    let program = if flavour == Flavour::MySqlSid { "/usr/bin/mysql" } else { "/usr/bin/mariadb" };
    let mut command = flavour.command(Path::new(program))?;
    command.arg("--no-defaults").arg(format!("--user={user}")).env("MYSQL_PWD", password);
    match way {
        Way::Socket => command.arg("--protocol=socket").arg(format!("--socket={}", socket.display())),
        _ => command.args(["--protocol=tcp", "--host=127.0.0.1"]).arg(format!("--port={port}")),
    };
    command.args(match (flavour, way) {
        (Flavour::MySqlSid, Way::Tls) => ["--ssl-mode=REQUIRED", "--enable-cleartext-plugin"],
        (Flavour::MySqlSid, _) => ["--ssl-mode=DISABLED", "--skip-reconnect"],
        (_, Way::Tls) => ["--ssl", "--skip-ssl-verify-server-cert"],
        (_, _) => ["--skip-ssl", "--skip-reconnect"],
    });
    finish(command.args(more).args(["-Ne", "SELECT 'in'"]), None)
}

pub(crate) fn let_in(output: &Output) -> Result<()> {
    let text = printed(output)?;
    ensure!(text.trim() == "in", "{text}");
    Ok(())
}

pub(crate) fn turned_away(output: &Output, code: &str) -> Result<()> {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(!output.status.success() && said.contains(&format!("ERROR {code}")), "{said}");
    Ok(())
}

/// The proxy's config with TLS offered.
pub(crate) fn with_tls(config: Config, folder: &Path) -> Result<Config> {
    let issued = Authority::new("test authority")?.issue("proxy", &["localhost", "127.0.0.1"])?;
    let (cert, key) = issued.write(folder, "proxy")?;
    let quoted = |path: &Path| format!("\"{}\"", path.display());
    Ok(config.set("tls", "cert", &quoted(&cert)).set("tls", "key", &quoted(&key)))
}

#[test]
fn clients_may_sign_as_mariadb_lets_them() -> Result<()> {
    let cluster = uniform(0)?;
    let proxy = Clonelove::start_with(with_tls(quick(&cluster), cluster.folder())?)?;
    let signing = &["--default-auth=client_ed25519"];
    let mut flavours = vec![Flavour::MariaDbDistribution];
    if Flavour::MariaDbSid.covered()? {
        flavours.push(Flavour::MariaDbSid);
    }
    for flavour in flavours {
        for way in [Way::Plain, Way::Tls, Way::Socket] {
            let what = || format!("{flavour:?} {way:?}");
            let_in(&ask(flavour, &proxy, (APP_USER, APP_PASSWORD), way, signing)?).with_context(what)?;
            turned_away(&ask(flavour, &proxy, (APP_USER, "wrong"), way, signing)?, "1045")
                .with_context(what)?;
            turned_away(&ask(flavour, &proxy, ("nobody", "x"), way, signing)?, "1045").with_context(what)?;
        }
    }
    Ok(())
}

#[test]
fn a_server_of_mariadb_may_ask_for_a_signature() -> Result<()> {
    let cluster = uniform(0)?;
    cluster.primary.query("INSTALL SONAME 'auth_ed25519'")?;
    let long =
        "a password that is longer than any block of any hash that is in use here, and then some more of it";
    for (user, password) in [("signs", "s3cret"), ("wordy", long)] {
        cluster
            .primary
            .query(&format!("CREATE USER {user}@'%' IDENTIFIED VIA ed25519 USING PASSWORD('{password}')"))?;
    }
    let config = quick(&cluster).user("signs", "s3cret").user("wordy", long);
    let proxy = Clonelove::start_with(config)?;
    for (user, password) in [("signs", "s3cret"), ("wordy", long)] {
        let mut session = Connection::open_tcp(&proxy.addr(), user, password, None)?;
        ensure!(value(&mut session, "SELECT CURRENT_USER()")? == format!("{user}@%"));
    }
    Ok(())
}

#[test]
fn a_server_of_mysql_may_ask_by_sha256_password() -> Result<()> {
    if !Flavour::MySqlSid.covered()? {
        return Ok(());
    }
    let cluster = uniform_of(Flavour::MySqlSid, 0)?;
    let primary = &cluster.primary;
    primary.query("CREATE USER old@'%' IDENTIFIED WITH sha256_password BY 'old-password'")?;
    primary.query("CREATE USER none@'%' IDENTIFIED WITH sha256_password BY ''")?;
    let socket = format!("unix:{}", primary.socket().display());
    for (address, tls) in
        [(primary.address(), "disabled"), (primary.address(), "required"), (socket, "preferred")]
    {
        let config = quick(&cluster)
            .without_servers()
            .server("primary", &address, &format!("tls = \"{tls}\""))
            .user("old", "old-password")
            .user("none", "");
        let proxy = Clonelove::start_with(config)?;
        for (user, password) in [("old", "old-password"), ("none", "")] {
            let mut session = Connection::open_tcp(&proxy.addr(), user, password, None)?;
            let said = value(&mut session, "SELECT CURRENT_USER()");
            let said = said.with_context(|| format!("{user} by {address}, {tls}"))?;
            ensure!(said == format!("{user}@%"), "by {address}, {tls}: {said}");
        }
    }
    Ok(())
}

/// During a rotation neither side need be first, and each server may be at another point of it.
#[test]
fn a_password_is_changed_without_a_moment_in_which_nobody_gets_in() -> Result<()> {
    let cluster = uniform(1)?;
    let rotating = format!("name = \"{APP_USER}\"\npasswords = [\"new-password\", \"{APP_PASSWORD}\"]\n");
    let config = quick(&cluster).without_users().user_table(&rotating);
    let proxy = Clonelove::start_with(config)?;
    let both = || -> Result<()> {
        for password in ["new-password", APP_PASSWORD] {
            let mut session = Connection::open_tcp(&proxy.addr(), APP_USER, password, Some("app"))?;
            ensure!(value(&mut session, "SELECT CURRENT_USER()")? == format!("{APP_USER}@%"));
            session.query("DO 1")?;
        }
        Ok(())
    };
    both().context("before")?;
    cluster.primary.query(&format!("ALTER USER '{APP_USER}'@'%' IDENTIFIED BY 'new-password'"))?;
    kill_connections_of(&cluster.primary, APP_USER)?;
    both().context("after")?;
    ensure!(Connection::open_tcp(&proxy.addr(), APP_USER, "third", None).is_err());
    Ok(())
}

/// An RSA key in PEM, and its public half, as openssl writes them; in the older form as servers make theirs.
fn rsa_key(folder: &Path, name: &str, older: bool) -> Result<(PathBuf, PathBuf)> {
    let (key, public) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.pub.pem")));
    let run = |command: &mut Command| -> Result<()> { printed(&finish(command, None)?).map(drop) };
    let mut make = Command::new("openssl");
    make.args(["genrsa", "-out"]).arg(&key);
    if older {
        make.arg("-traditional");
    }
    run(make.arg("2048"))?;
    run(Command::new("openssl").args(["rsa", "-pubout", "-in"]).arg(&key).arg("-out").arg(&public))?;
    Ok((key, public))
}

/// A client that keeps the public key need not fetch it, over any start of the proxy.
#[test]
fn a_client_that_keeps_our_public_key_sends_its_password_encrypted() -> Result<()> {
    if !Flavour::MySqlSid.covered()? {
        return Ok(());
    }
    let cluster = uniform_of(Flavour::MySqlSid, 0)?;
    let login = (APP_USER, APP_PASSWORD);
    for older in [false, true] {
        let (key, public) = rsa_key(cluster.folder(), if older { "older" } else { "key" }, older)?;
        let (_, other) = rsa_key(cluster.folder(), "other", older)?;
        let config = quick(&cluster).without_users().set("users", "from", "\"primary\"").set(
            "tls",
            "rsa_key",
            &format!("\"{}\"", key.display()),
        );
        let proxy = Clonelove::start_with(config)?;
        let kept = |path: &Path| {
            let path = format!("--server-public-key-path={}", path.display());
            ask(Flavour::MySqlSid, &proxy, login, Way::Plain, &[&path])
        };
        // Without the key it does not send its password at all; with another one it cannot be read.
        turned_away(&ask(Flavour::MySqlSid, &proxy, login, Way::Plain, &[])?, "2061")?;
        turned_away(&kept(&other)?, "1045")?;
        let_in(&kept(&public)?)?;
    }
    Ok(())
}
