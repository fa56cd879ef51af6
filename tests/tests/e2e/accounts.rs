//! Users whom only the servers know: `[users] from = "primary"`. Accounts are learnt, proofs are carried on, and a change
//! on the primary counts at once.

#![expect(clippy::indexing_slicing, reason = "helpers of tests may fail as tests do")]

#[path = "accounts/watched.rs"]
mod watched;

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clonelove_testkit::{
    APP_PASSWORD, APP_USER, Clonelove, Cluster, ClusterOptions, Config, Connection, DEFAULT_TIMEOUT, Family,
    Flavour, wait_until,
};

use crate::clients::{finish, php_extensions, printed};
use crate::methods::{Way, ask, ask_at, let_in, turned_away, with_tls};
use crate::support::{error_of, quick, uniform, uniform_of, value};

const APP: (&str, &str) = (APP_USER, APP_PASSWORD);

/// A config that names no user.
fn from_primary(cluster: &Cluster) -> Config {
    quick(cluster)
        .without_users()
        .set("users", "from", "\"primary\"")
        .set("monitor", "schema_interval", "\"1h\"")
        .set("monitor", "timeout", "\"10s\"")
}

/// A server of this flavour with a proxy that knows its accounts, and TLS; none where the flavour is not covered.
fn begin(flavour: Flavour) -> Result<Option<(Cluster, Clonelove)>> {
    if !flavour.covered()? {
        return Ok(None);
    }
    let cluster = uniform_of(flavour, 0)?;
    let proxy = Clonelove::start_with(with_tls(from_primary(&cluster), cluster.folder())?)?;
    Ok(Some((cluster, proxy)))
}

fn whoami(proxy: &Clonelove, (user, password): (&str, &str)) -> Result<String> {
    value(&mut Connection::open_tcp(&proxy.addr(), user, password, None)?, "SELECT CURRENT_USER()")
}

fn readings(proxy: &Clonelove) -> Result<f64> {
    proxy.metric("clonelove_account_refreshes_total", &["result=\"ok\""])
}

/// Has a client of MySQL fetch the key to encrypt its password with.
fn fetching(flavour: Flavour) -> &'static [&'static str] {
    if flavour == Flavour::MySqlSid { &["--get-server-public-key"] } else { &[] }
}

/// No password and no hash of one is in the log.
fn log_is_clean(proxy: &Clonelove, secrets: &[&str]) -> Result<()> {
    let log = proxy.log();
    for secret in secrets {
        ensure!(!log.contains(secret), "the log has a secret");
    }
    Ok(())
}

/// Real clients get in by what MariaDB keeps of their password, and the servers see them as themselves.
fn native_is_carried(flavour: Flavour) -> Result<()> {
    let Some((cluster, proxy)) = begin(flavour)? else { return Ok(()) };
    for way in [Way::Plain, Way::Tls, Way::Socket] {
        let_in(&ask(flavour, &proxy, APP, way, &[])?).with_context(|| format!("{way:?}"))?;
        turned_away(&ask(flavour, &proxy, (APP_USER, "wrong"), way, &[])?, "1045")?;
    }
    ensure!(whoami(&proxy, APP)? == "app@%");
    let port = proxy.port();
    let python = format!(
        "import pymysql\nc = pymysql.connect(host='127.0.0.1', port={port}, user='{APP_USER}', \
         password='{APP_PASSWORD}', database='app')\nk = c.cursor(); k.execute('SELECT CURRENT_USER()'); \
         print(k.fetchone()[0])"
    );
    let text = printed(&finish(Command::new("/usr/bin/python3").args(["-c", &python]), None)?)?;
    ensure!(text.trim() == "app@%", "{text}");
    let php = format!(
        "$p = new PDO('mysql:host=127.0.0.1;port={port};dbname=app', '{APP_USER}', '{APP_PASSWORD}'); \
         echo $p->query('SELECT CURRENT_USER()')->fetchColumn();"
    );
    let mut command = Command::new("php");
    let text = printed(&finish(command.arg("-n").args(php_extensions()?).args(["-r", &php]), None)?)?;
    ensure!(text.trim() == "app@%", "{text}");
    let hash = cluster.primary.value("SELECT PASSWORD('app-password')")?;
    log_is_clean(&proxy, &[APP_PASSWORD, &hash])?;
    // A change of user goes the same way.
    cluster.primary.query("CREATE USER second@'%' IDENTIFIED BY 'second-password'")?;
    let mut session = Connection::open_tcp(&proxy.addr(), APP_USER, APP_PASSWORD, Some("app"))?;
    session.change_user("second", "second-password", "")?;
    ensure!(value(&mut session, "SELECT CURRENT_USER()")? == "second@%");
    Ok(())
}

#[test]
fn a_proof_by_native_is_carried_on() -> Result<()> {
    native_is_carried(Flavour::MariaDbDistribution)
}

#[test]
fn a_proof_by_native_is_carried_on_mariadb_sid() -> Result<()> {
    native_is_carried(Flavour::MariaDbSid)
}

/// The first log-in of a user shows the password, encrypted by RSA or TLS; the next ones need not.
#[test]
fn a_password_of_caching_sha2_is_shown_once() -> Result<()> {
    let flavour = Flavour::MySqlSid;
    let Some((cluster, proxy)) = begin(flavour)? else { return Ok(()) };
    let fetching = &["--get-server-public-key"];
    // 2061: the client will not show its password to whom it does not know.
    for way in [Way::Plain, Way::Tls, Way::Socket] {
        let user = format!("{way:?}").to_lowercase();
        cluster.primary.query(&format!("CREATE USER {user}@'%' IDENTIFIED BY '{user}-password'"))?;
        let password = format!("{user}-password");
        let login = (user.as_str(), password.as_str());
        turned_away(&ask(flavour, &proxy, login, Way::Plain, &[])?, "2061")?;
        turned_away(&ask(flavour, &proxy, (&user, "wrong"), way, fetching)?, "1045")?;
        let_in(&ask(flavour, &proxy, login, way, fetching)?).with_context(|| format!("{way:?}"))?;
        let_in(&ask(flavour, &proxy, login, Way::Plain, &[])?).with_context(|| format!("after {way:?}"))?;
        turned_away(&ask(flavour, &proxy, (&user, "wrong"), Way::Plain, fetching)?, "1045")?;
        log_is_clean(&proxy, &[&password])?;
    }
    // Other clients do it too.
    let port = proxy.port();
    let python = format!(
        "import pymysql\nc = pymysql.connect(host='127.0.0.1', port={port}, user='{APP_USER}', \
         password='{APP_PASSWORD}', database='app')\nk = c.cursor(); k.execute('SELECT CURRENT_USER()'); \
         print(k.fetchone()[0])"
    );
    let text = printed(&finish(Command::new("/usr/bin/python3").args(["-c", &python]), None)?)?;
    ensure!(text.trim() == "app@%", "{text}");
    Ok(())
}

#[test]
fn an_account_of_sha256_password_gets_in_by_its_password() -> Result<()> {
    let flavour = Flavour::MySqlSid;
    let Some((cluster, proxy)) = begin(flavour)? else { return Ok(()) };
    cluster.primary.query("CREATE USER old@'%' IDENTIFIED WITH sha256_password BY 'old-password'")?;
    for way in [Way::Plain, Way::Tls] {
        let_in(&ask(flavour, &proxy, ("old", "old-password"), way, &["--get-server-public-key"])?)?;
        turned_away(&ask(flavour, &proxy, ("old", "wrong"), way, &["--get-server-public-key"])?, "1045")?;
    }
    Ok(())
}

/// A signature opens no other server: the password is shown once over TLS, and kept.
#[test]
fn who_signs_shows_the_password_once_over_tls() -> Result<()> {
    let flavour = Flavour::MariaDbDistribution;
    let Some((cluster, proxy)) = begin(flavour)? else { return Ok(()) };
    let primary = &cluster.primary;
    primary.query("INSTALL SONAME 'auth_ed25519'")?;
    primary.query("CREATE USER signs@'%' IDENTIFIED VIA ed25519 USING PASSWORD('signed')")?;
    let login = ("signs", "signed");
    turned_away(&ask(flavour, &proxy, login, Way::Plain, &[])?, "1045")?;
    ensure!(proxy.log().contains("its password must be shown once"), "{}", proxy.log());
    turned_away(&ask(flavour, &proxy, ("signs", "wrong"), Way::Tls, &[])?, "1045")?;
    let_in(&ask(flavour, &proxy, login, Way::Tls, &[])?)?;
    let_in(&ask(flavour, &proxy, login, Way::Plain, &["--default-auth=client_ed25519"])?)?;
    turned_away(
        &ask(flavour, &proxy, ("signs", "wrong"), Way::Plain, &["--default-auth=client_ed25519"])?,
        "1045",
    )?;
    // Once the password is another, what was shown is worth nothing.
    primary.query("ALTER USER signs@'%' IDENTIFIED VIA ed25519 USING PASSWORD('another')")?;
    turned_away(
        &ask(flavour, &proxy, ("signs", "another"), Way::Plain, &["--default-auth=client_ed25519"])?,
        "1045",
    )?;
    let_in(&ask(flavour, &proxy, ("signs", "another"), Way::Socket, &[])?)?;
    // One of several ways in is enough.
    primary.query(
        "CREATE USER twoways@'%' IDENTIFIED VIA ed25519 USING PASSWORD('one') OR mysql_native_password USING PASSWORD('two')",
    )?;
    let_in(&ask(flavour, &proxy, ("twoways", "two"), Way::Plain, &[])?)?;
    log_is_clean(&proxy, &["signed"])
}

/// New users, new passwords, and accounts that are gone: the primary need not be asked in vain.
fn changes_count_at_once(flavour: Flavour) -> Result<()> {
    let Some((cluster, proxy)) = begin(flavour)? else { return Ok(()) };
    let primary = &cluster.primary;
    let in_by = |password: &str| ask(flavour, &proxy, ("late", password), Way::Socket, &[]);
    turned_away(&in_by("first")?, "1045")?;
    primary.query("CREATE USER late@'%' IDENTIFIED BY 'first'")?;
    let_in(&in_by("first")?)?;
    primary.query("ALTER USER late@'%' IDENTIFIED BY 'second'")?;
    let_in(&in_by("second")?)?;
    turned_away(&in_by("first")?, "1045")?;
    primary.query("ALTER USER late@'%' ACCOUNT LOCK")?;
    // A failed log-in has them looked at.
    turned_away(&in_by("wrong")?, "1045")?;
    turned_away(&in_by("second")?, if flavour.family() == Family::MySql { "3118" } else { "4151" })?;
    primary.query("ALTER USER late@'%' ACCOUNT UNLOCK; DROP USER late@'%'")?;
    turned_away(&in_by("wrong")?, "1045")?;
    turned_away(&in_by("second")?, "1045")
}

#[test]
fn changes_of_accounts_count_at_once() -> Result<()> {
    changes_count_at_once(Flavour::MariaDbDistribution)
}

#[test]
fn changes_of_accounts_count_at_once_on_mysql_sid() -> Result<()> {
    changes_count_at_once(Flavour::MySqlSid)
}

/// A server tells a connection its rights as it begins: who comes after a change gets none that began before it.
fn rights_are_those_of_now(flavour: Flavour) -> Result<()> {
    let Some((cluster, proxy)) = begin(flavour)? else { return Ok(()) };
    let primary = &cluster.primary;
    primary
        .query("CREATE USER boss@'%' IDENTIFIED BY 'b'; GRANT ALL ON *.* TO boss@'%' WITH GRANT OPTION")?;
    let run = |who, sql: &str| ask(flavour, &proxy, who, Way::Socket, &[&format!("--init-command={sql}")]);
    let by_boss = |sql: &str| let_in(&run(("boss", "b"), sql)?).with_context(|| sql.to_owned());
    let by_late = || run(("late", "l"), "SELECT COUNT(*) FROM mysql.user");
    by_boss("CREATE USER late@'%' IDENTIFIED BY 'l'")?;
    for _ in 0..2 {
        turned_away(&by_late()?, "1142")?;
        by_boss("GRANT SELECT ON *.* TO late@'%'")?;
        let_in(&by_late()?)?;
        by_boss("REVOKE SELECT ON *.* FROM late@'%'")?;
    }
    by_boss("ALTER USER late@'%' ACCOUNT LOCK")?;
    turned_away(&by_late()?, if flavour.family() == Family::MySql { "3118" } else { "4151" })?;
    by_boss("DROP USER late@'%'")?;
    turned_away(&by_late()?, "1045")
}

#[test]
fn rights_are_those_of_now_on_mariadb() -> Result<()> {
    rights_are_those_of_now(Flavour::MariaDbDistribution)
}

#[test]
fn rights_are_those_of_now_on_mysql_sid() -> Result<()> {
    rights_are_those_of_now(Flavour::MySqlSid)
}

#[test]
fn two_passwords_of_mysql_are_valid_until_the_old_one_is_discarded() -> Result<()> {
    let flavour = Flavour::MySqlSid;
    let Some((cluster, proxy)) = begin(flavour)? else { return Ok(()) };
    let primary = &cluster.primary;
    primary.query("CREATE USER turns@'%' IDENTIFIED BY 'old'")?;
    let in_by = |password: &str| ask(flavour, &proxy, ("turns", password), Way::Socket, &[]);
    let_in(&in_by("old")?)?;
    primary.query("ALTER USER turns@'%' IDENTIFIED BY 'new' RETAIN CURRENT PASSWORD")?;
    for password in ["new", "old", "new", "old"] {
        let_in(&in_by(password)?).context(password)?;
    }
    primary.query("ALTER USER turns@'%' DISCARD OLD PASSWORD")?;
    turned_away(&in_by("wrong")?, "1045")?;
    turned_away(&in_by("old")?, "1045")?;
    let_in(&in_by("new")?)
}

/// Hosts are compared with where the client is, in the server's order; what counts is what the server itself says.
fn hosts(flavour: Flavour) -> Result<()> {
    let Some((cluster, proxy)) = begin(flavour)? else { return Ok(()) };
    let primary = &cluster.primary;
    for (host, password) in [("10.%", "far"), ("127.0.0.1", "near"), ("%", "any"), ("localhost", "local")] {
        primary.query(&format!("CREATE USER h@'{host}' IDENTIFIED BY '{password}'"))?;
    }
    primary.query("CREATE USER far@'10.%' IDENTIFIED BY 'far'")?;
    // Who comes by TCP from this machine is localhost to a server that asks for names.
    let resolves = primary.value("SELECT @@global.skip_name_resolve")? == "0";
    let tcp = if resolves { "local" } else { "near" };
    for password in ["far", "near", "any", "local"] {
        let place = (primary.port(), &*primary.socket());
        let direct = ask_at(flavour, place, ("h", password), Way::Plain, fetching(flavour))?;
        ensure!(direct.status.success() == (password == tcp), "{password}: directly {direct:?}");
        let output = ask(flavour, &proxy, ("h", password), Way::Tls, &[])?;
        ensure!(output.status.success() == (password == tcp), "{password} by TCP: {output:?}");
        let output = ask(flavour, &proxy, ("h", password), Way::Socket, &[])?;
        // From there it goes on by TCP, and is taken for what comes by TCP.
        ensure!(
            output.status.success() == (password == "local" && resolves),
            "{password} by the socket: {output:?}"
        );
    }
    turned_away(&ask(flavour, &proxy, ("far", "far"), Way::Tls, &[])?, "1045")
}

#[test]
fn hosts_of_accounts_are_honoured() -> Result<()> {
    hosts(Flavour::MariaDbDistribution)
}

#[test]
fn hosts_of_accounts_are_honoured_on_mysql_sid() -> Result<()> {
    hosts(Flavour::MySqlSid)
}

#[test]
fn the_limit_of_an_account_and_its_wish_for_tls_count() -> Result<()> {
    let flavour = Flavour::MariaDbDistribution;
    let Some((cluster, proxy)) = begin(flavour)? else { return Ok(()) };
    let primary = &cluster.primary;
    primary.query("CREATE USER few@'%' IDENTIFIED BY 'few' WITH MAX_USER_CONNECTIONS 2")?;
    let open = || Connection::open_tcp(&proxy.addr(), "few", "few", None);
    let (one, two) = (open()?, open()?);
    ensure!(error_of(open().map(drop))?.code == 1040);
    drop((one, two));
    wait_until("a place to be free", DEFAULT_TIMEOUT, || Ok::<_, anyhow::Error>(open().is_ok()))?;
    primary.query("CREATE USER safe@'%' IDENTIFIED BY 'safe' REQUIRE SSL")?;
    turned_away(&ask(flavour, &proxy, ("safe", "safe"), Way::Plain, &[])?, "3159")?;
    Ok(())
}

/// However many try, the primary is asked once a second at most.
#[test]
fn failed_log_ins_do_not_wear_the_primary_out() -> Result<()> {
    let Some((_cluster, proxy)) = begin(Flavour::MariaDbDistribution)? else { return Ok(()) };
    let (begun, before) = (Instant::now(), readings(&proxy)?);
    std::thread::scope(|scope| {
        for at in 0..40 {
            let proxy = &proxy;
            scope.spawn(move || whoami(proxy, if at % 2 == 0 { ("app", "wrong") } else { ("nobody", "x") }));
        }
    });
    let asked = readings(&proxy)? - before;
    let allowed = begun.elapsed().as_secs_f64() + 2.0;
    ensure!(asked >= 1.0 && asked <= allowed, "{asked} readings in {allowed} s");
    ensure!(whoami(&proxy, APP)? == "app@%");
    Ok(())
}

/// The missing right is named wherever somebody may look.
fn missing_right(flavour: Flavour, table: &str) -> Result<()> {
    if !flavour.covered()? {
        return Ok(());
    }
    let cluster = uniform_of(flavour, 0)?;
    let primary = &cluster.primary;
    let rights = match flavour.family() {
        Family::MariaDb => "REPLICATION CLIENT, PROCESS, SLAVE MONITOR",
        Family::MySql => "REPLICATION CLIENT, PROCESS",
    };
    primary.query("CREATE USER blind@'%' IDENTIFIED BY 'blind-password'")?;
    primary.query(&format!("GRANT {rights} ON *.* TO blind@'%'"))?;
    let config = from_primary(&cluster)
        .set("monitor", "user", "\"blind\"")
        .set("monitor", "password", "\"blind-password\"")
        .user("named", "named");
    let mut proxy = Clonelove::spawn(config)?;
    proxy.wait_ready()?;
    let grant = format!("GRANT SELECT ON {table} TO 'blind'@");
    let said = || -> Result<serde_json::Value> { Ok(proxy.status()?["users"].clone()) };
    wait_until("the missing right to be named", DEFAULT_TIMEOUT, || {
        Ok::<_, anyhow::Error>(said()?["hint"].as_str().is_some_and(|hint| hint.starts_with(&grant)))
    })?;
    ensure!(proxy.log().contains(&grant), "{}", proxy.log());
    ensure!(proxy.metric("clonelove_account_refreshes_total", &["result=\"no_privilege\""])? >= 1.0);
    turned_away(&ask(flavour, &proxy, APP, Way::Plain, fetching(flavour))?, "1045")?;
    primary.query(&format!("GRANT SELECT ON {table} TO blind@'%'"))?;
    let_in(&ask(flavour, &proxy, APP, Way::Socket, &[])?)?;
    ensure!(
        said()?["hint"].is_null() && said()?["accounts"].as_u64().is_some_and(|count| count > 0),
        "{}",
        said()?
    );
    Ok(())
}

#[test]
fn a_missing_right_is_named() -> Result<()> {
    missing_right(Flavour::MariaDbDistribution, "mysql.global_priv")
}

#[test]
fn a_missing_right_is_named_on_mysql_sid() -> Result<()> {
    missing_right(Flavour::MySqlSid, "mysql.user")
}

/// Whoever is denied learns where the server would have had it come from.
fn denied_from(flavour: Flavour, skips: bool) -> Result<()> {
    if !flavour.covered()? {
        return Ok(());
    }
    let extra = vec![format!("--skip-name-resolve={}", if skips { "ON" } else { "OFF" })];
    let options = ClusterOptions { replicas: 0, uniform: true, extra, ..ClusterOptions::default() };
    let cluster = Cluster::start(flavour, options)?;
    let proxy = Clonelove::start_with(quick(&cluster))?;
    let more = fetching(flavour);
    for way in [Way::Plain, Way::Socket] {
        let denied = (APP_USER, "wrong");
        let place = (cluster.primary.port(), &*cluster.primary.socket());
        let direct = ask_at(flavour, place, denied, way, more)?;
        let through = ask(flavour, &proxy, denied, way, more)?;
        turned_away(&direct, "1045")?;
        ensure!(direct.stderr == through.stderr, "{way:?}, {skips}: {direct:?}, {through:?}");
    }
    Ok(())
}

#[test]
fn who_is_denied_learns_from_where_as_the_server_tells_it() -> Result<()> {
    denied_from(Flavour::MariaDbDistribution, false)?;
    denied_from(Flavour::MariaDbDistribution, true)
}

#[test]
fn who_is_denied_learns_from_where_as_the_server_tells_it_on_mysql_sid() -> Result<()> {
    // The sandbox tells it not to ask for names, which it cannot be talked out of again.
    denied_from(Flavour::MySqlSid, true)
}

/// A user of the configuration goes before an account of that name, and needs none of this.
#[test]
fn users_of_the_configuration_go_first() -> Result<()> {
    let cluster = uniform(0)?;
    cluster.primary.query("CREATE USER other@'%' IDENTIFIED BY 'other'")?;
    let table =
        format!("name = \"{APP_USER}\"\npasswords = [\"{APP_PASSWORD}\"]\nnetworks = [\"10.0.0.0/8\"]\n");
    let proxy = Clonelove::start_with(from_primary(&cluster).user_table(&table))?;
    ensure!(whoami(&proxy, ("other", "other"))? == "other@%");
    ensure!(error_of(whoami(&proxy, APP))?.code == 1045);
    Ok(())
}
