//! Every way in: which authentication a client asks for, which one the greeting names, and which one the server
//! behind wants.

use anyhow::{Context, Result, ensure};
use clonelove_testkit::{Clonelove, Cluster, ClusterOptions, Config, Family, Flavour};

use super::cli::Maker;
use super::{Bench, Target, WIDE_PASSWORD, WIDE_USER, finish, printed};

/// Clients that ask for the authentication that the greeting does not name are let in too, by a switch.
fn both_plugins(flavour: Flavour) -> Result<()> {
    if !flavour.covered()? || !Flavour::MySqlSid.covered()? {
        return Ok(());
    }
    let bench = Bench::start(flavour)?;
    for [_, proxied] in bench.pairs() {
        for plugin in ["mysql_native_password", "caching_sha2_password"] {
            for maker in [Maker::MariaDb, Maker::MySql] {
                let asks = || format!("{maker:?} asks for {plugin} at {proxied:?}");
                let mut command = maker.command(&proxied, WIDE_USER, WIDE_PASSWORD)?;
                command.arg(format!("--default-auth={plugin}")).args(["-Ne", "SELECT 'in'", "app"]);
                let text = printed(&finish(&mut command, None)?).with_context(asks)?;
                ensure!(text.trim() == "in", "{}: {text}", asks());

                let mut command = maker.command(&proxied, WIDE_USER, "wrong")?;
                command.arg(format!("--default-auth={plugin}")).args(["-Ne", "SELECT 'in'", "app"]);
                let output = finish(&mut command, None)?;
                let said = String::from_utf8_lossy(&output.stderr);
                ensure!(
                    !output.status.success() && said.contains("ERROR 1045 (28000)"),
                    "{}: {said}",
                    asks()
                );
            }
        }
    }
    Ok(())
}

#[test]
fn both_plugins_where_the_greeting_names_native() -> Result<()> {
    both_plugins(Flavour::MariaDbDistribution)
}

#[test]
fn both_plugins_where_the_greeting_names_caching_sha2() -> Result<()> {
    both_plugins(Flavour::MySqlSid)
}

/// A server that has forgotten a password's hash wants the password itself: encrypted over TCP, as it is over TLS or
/// a unix socket. Whether it has forgotten is told by a client that will not send it.
#[test]
fn a_server_that_wants_the_password_itself_gets_it() -> Result<()> {
    if !Flavour::MySqlSid.covered()? {
        return Ok(());
    }
    let cluster =
        Cluster::start(Flavour::MySqlSid, ClusterOptions { replicas: 0, ..ClusterOptions::default() })?;
    let primary = &cluster.primary;
    primary.query(&format!("CREATE USER '{WIDE_USER}'@'%' IDENTIFIED BY '{WIDE_PASSWORD}'"))?;
    let direct = Target { port: primary.port(), socket: None, heavy: false, family: Family::MySql };
    let remembered = || -> Result<bool> {
        let mut command = Maker::MySql.command(&direct, WIDE_USER, WIDE_PASSWORD)?;
        let output = finish(command.args(["--skip-get-server-public-key", "-e", "SELECT 1"]), None)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success() || said.contains("ERROR 2061"), "{said}");
        Ok(output.status.success())
    };
    let socket = format!("unix:{}", primary.socket().display());
    for (address, tls) in
        [(primary.address(), "disabled"), (primary.address(), "required"), (socket, "preferred")]
    {
        let config = Config::for_cluster(&cluster)
            .without_servers()
            .server("primary", &address, &format!("tls = \"{tls}\""))
            .user(WIDE_USER, WIDE_PASSWORD);
        let proxy = Clonelove::start_with(config)?;
        primary.query("FLUSH PRIVILEGES")?;
        ensure!(!remembered()?, "the server still knows the password");
        let proxied = Target { port: proxy.port(), ..direct.clone() };
        for _ in 0..2 {
            let mut command = Maker::MySql.command(&proxied, WIDE_USER, WIDE_PASSWORD)?;
            let text = printed(&finish(command.args(["-Ne", "SELECT 'in'"]), None)?)?;
            ensure!(text.trim() == "in", "by {address}, {tls}: {text}");
        }
        ensure!(remembered()?, "by {address}, {tls}: nobody has told the server the password");
    }
    Ok(())
}
