//! Accounts that only the server can judge: their passwords have expired, or too many wrong ones have locked them. What
//! their clients meet through the proxy is what they meet directly.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use clonelove_testkit::{
    Authority, Clonelove, Cluster, ClusterOptions, Connection, Family, Flavour, Opening, SqlError,
};
use rustls::ClientConfig;

use super::from_primary;
use crate::commands::peer::{EXPIRED_PASSWORDS, Peer, Say};
use crate::support::{quick, table};

const OLD: (&str, &str) = ("late", "old-password");
const NEW: (&str, &str) = ("late", "new-password");

/// A server and a proxy that knows its accounts; whoever asks for a password is shown it over TLS.
struct Stage {
    flavour: Flavour,
    /// Of the server and of the proxies, whose sessions of TLS are kept apart.
    trust: [Arc<ClientConfig>; 2],
    proxy: Clonelove,
    /// One that has the account in its configuration.
    configured: Clonelove,
    cluster: Cluster,
}

impl Stage {
    /// None where the flavour is not covered.
    fn begin(flavour: Flavour) -> Result<Option<Self>> {
        if !flavour.covered()? {
            return Ok(None);
        }
        let authority = Authority::new("test authority")?;
        let issued = authority.issue("watched", &["localhost", "127.0.0.1"])?;
        let extra = ["--ssl-cert=s.pem", "--ssl-key=s.key"].map(str::to_owned).to_vec();
        let files =
            vec![("s.pem".to_owned(), issued.certificate.clone()), ("s.key".to_owned(), issued.key.clone())];
        let options =
            ClusterOptions { replicas: 1, uniform: true, extra, files, ..ClusterOptions::default() };
        let cluster = Cluster::start(flavour, options)?;
        table(&cluster, 3)?;
        let (user, password) = OLD;
        cluster.primary.query(&format!("CREATE USER {user}@'%' IDENTIFIED BY '{password}'"))?;
        cluster.primary.query(&format!("GRANT ALL ON *.* TO {user}@'%'"))?;
        cluster.wait_caught_up()?;
        let (cert, key) = issued.write(cluster.folder(), "proxy")?;
        let start = |config: clonelove_testkit::Config| {
            let quoted = |path: &std::path::Path| format!("\"{}\"", path.display());
            let config = config.set("tls", "cert", &quoted(&cert)).set("tls", "key", &quoted(&key));
            // Connections that were opened ahead of use would still be there when no more can be.
            Clonelove::start_with(config.set("monitor", "timeout", "\"20s\"").set("pool", "min_idle", "0"))
        };
        let proxy = start(from_primary(&cluster))?;
        let configured = start(quick(&cluster).user(user, password))?;
        Ok(Some(Self {
            flavour,
            trust: [authority.trusted()?, authority.trusted()?],
            proxy,
            configured,
            cluster,
        }))
    }

    fn is_mysql(&self) -> bool {
        self.flavour.family() == Family::MySql
    }

    fn opening(&self, address: &str, login: (&'static str, &'static str), flags: u64) -> Opening<'static> {
        let [servers, proxies] = &self.trust;
        let trust = if address == self.cluster.primary.address() { servers } else { proxies };
        Opening { login, schema: Some("app"), flags, tls: Some(Arc::clone(trust)), ..Opening::default() }
    }

    fn places(&self) -> [String; 2] {
        [self.cluster.primary.address(), self.proxy.addr()]
    }

    /// Statements by the administrator, which the proxy then hears of: who does not exist has the accounts looked at.
    fn change(&self, statements: &[&str]) -> Result<()> {
        for sql in statements {
            self.cluster.primary.query(sql).with_context(|| (*sql).to_owned())?;
        }
        let address = self.proxy.addr();
        let nobody = Connection::open_as(&address, &self.opening(&address, ("nobody", "x"), 0));
        ensure!(nobody.is_err(), "nobody was let in");
        Ok(())
    }

    /// How a log-in ends.
    fn log_in(&self, address: &str, login: (&'static str, &'static str)) -> Result<String> {
        Ok(match Connection::open_as(address, &self.opening(address, login, 0)) {
            Ok(_) => "in".to_owned(),
            Err(error) => SqlError::of(&error).with_context(|| format!("{error:#}"))?.to_string(),
        })
    }

    /// What is heard from the log-in on.
    fn heard(&self, address: &str, flags: u64, script: &[Say]) -> Result<Vec<String>> {
        let mut peer = match Peer::open(address, &self.opening(address, OLD, flags)) {
            Ok(peer) => peer,
            Err(error) => {
                return Ok(vec![SqlError::of(&error).with_context(|| format!("{error:#}"))?.to_string()]);
            }
        };
        script.iter().map(|say| peer.say(say).with_context(|| format!("{say:?}"))).collect()
    }
}

/// A session that may do nothing but change its password, and then goes on.
fn script(mysql: bool) -> Vec<Say> {
    let command = |bytes: &[u8]| Say::Command(bytes.to_vec());
    let change = match mysql {
        true => Say::Query("SET PASSWORD = 'new-password'"),
        false => Say::Query("SET PASSWORD = PASSWORD('new-password')"),
    };
    vec![
        command(b"\x0e"),
        Say::Query("SELECT v FROM t WHERE id = 1"),
        Say::Query("SET @a = 5"),
        Say::Query("SET NAMES latin1"),
        Say::Query("SET wait_timeout = 1000"),
        Say::Query("USE test"),
        command(b"\x02test"),
        command(b"\x1f"),
        command(b"\x1b\0\0"),
        Say::Prepare("SET @b = 1"),
        Say::Query("KILL 1"),
        Say::Query("BEGIN"),
        Say::Query("INSERT INTO t VALUES (9, 9)"),
        Say::Query("SELECT CONNECTION_ID() > 0"),
        change,
        command(b"\x02test"),
        Say::Query("SELECT DATABASE(), CURRENT_USER()"),
        command(b"\x02app"),
        Say::Query("SELECT @a, @@character_set_client, @@wait_timeout > 0"),
        Say::Query("UPDATE t SET v = v + 1 WHERE id = 2"),
        Say::Query("SELECT COUNT(*) FROM t"),
        Say::Prepare("SELECT v FROM t WHERE id = 1"),
        Say::Query("BEGIN"),
        Say::Query("INSERT INTO t VALUES (8, 8)"),
        Say::Query("ROLLBACK"),
        Say::Query("SELECT id FROM t ORDER BY id"),
    ]
}

fn expired(flavour: Flavour) -> Result<()> {
    let Some(stage) = Stage::begin(flavour)? else { return Ok(()) };
    let expire = "ALTER USER late@'%' IDENTIFIED BY 'old-password' PASSWORD EXPIRE";
    let script = script(stage.is_mysql());
    // Whoever cannot deal with it is turned away, always by MySQL, and by MariaDB if it is told to.
    let settings: &[&str] = match stage.is_mysql() {
        true => &["DO 1"],
        false => &[
            "SET GLOBAL disconnect_on_expired_password = 0",
            "SET GLOBAL disconnect_on_expired_password = 1",
        ],
    };
    for setting in settings {
        for flags in [0, EXPIRED_PASSWORDS] {
            let what = || format!("{setting}, {flags:#x}");
            let mut all = Vec::new();
            for address in stage.places() {
                // There are connections from before, which must not help.
                stage.change(&["ALTER USER late@'%' IDENTIFIED BY 'old-password'"])?;
                ensure!(stage.log_in(&address, OLD)? == "in", "{}", what());
                stage.change(&[*setting, expire])?;
                all.push(stage.heard(&address, flags, &script).with_context(what)?);
                let turned_away = all.last().is_some_and(|heard| heard.len() == 1);
                if !turned_away {
                    ensure!(stage.log_in(&address, NEW)? == "in", "{}: the new password", what());
                    ensure!(stage.log_in(&address, OLD)?.contains("1045"), "{}: the old one", what());
                }
            }
            let [direct, through] = &*all else { continue };
            for (at, (direct, through)) in direct.iter().zip(through).enumerate() {
                ensure!(
                    direct == through,
                    "{}, {at}, {:?}:\n{through}is not\n{direct}",
                    what(),
                    script.get(at)
                );
            }
            ensure!(direct.len() == through.len(), "{}: {direct:?}\n{through:?}", what());
        }
    }
    // Whom the configuration knows learns it in the same words.
    stage.change(&[expire])?;
    let told = |address: &str| stage.log_in(address, OLD);
    let [direct, through] = [told(&stage.cluster.primary.address())?, told(&stage.configured.addr())?];
    ensure!(direct.contains("1862") && direct == through, "{direct}, {through}");
    Ok(())
}

#[test]
fn who_must_change_the_password_meets_what_the_server_says() -> Result<()> {
    expired(Flavour::MariaDbDistribution)
}

#[test]
fn who_must_change_the_password_meets_what_the_server_says_on_mysql_sid() -> Result<()> {
    expired(Flavour::MySqlSid)
}

/// A session whose password is changed, by itself, begins anew several times.
fn beginning_anew(mysql: bool) -> Vec<Say> {
    let reset = || Say::Command(vec![0x1f]);
    let change = match mysql {
        true => Say::Query("SET PASSWORD = 'third-password'"),
        false => Say::Query("SET PASSWORD = PASSWORD('third-password')"),
    };
    vec![
        Say::Query("SET @a = 5"),
        Say::Query("SET NAMES latin1"),
        change,
        Say::Query("UPDATE t SET v = v + 1 WHERE id = 2"),
        Say::Query("SELECT @a, @@character_set_client"),
        reset(),
        Say::Query("SELECT @a, @@collation_connection, DATABASE(), CURRENT_USER()"),
        Say::Query("SET sql_mode = 'ANSI'"),
        Say::Query("UPDATE \"t\" SET v = v + 1 WHERE id = 2"),
        Say::Prepare("SELECT v FROM t WHERE id = 2"),
        Say::Query("SELECT v FROM t WHERE id = 2"),
        Say::Query("BEGIN"),
        Say::Query("INSERT INTO t VALUES (9, 9)"),
        reset(),
        Say::Query("SELECT COUNT(*) FROM t WHERE \"t\" = 't'"),
        Say::Query("CREATE TEMPORARY TABLE of_mine (id INT)"),
        Say::Query("ALTER USER late@'%' IDENTIFIED BY 'new-password'"),
        reset(),
        Say::Query("SELECT id FROM of_mine"),
        Say::Query("UPDATE t SET v = v - 2 WHERE id = 2"),
        Say::Query("SELECT id, v FROM t ORDER BY id"),
    ]
}

/// What let it in lets it in no more, and yet it goes on as it would without a proxy.
fn changed(flavour: Flavour) -> Result<()> {
    let Some(stage) = Stage::begin(flavour)? else { return Ok(()) };
    let script = beginning_anew(stage.is_mysql());
    let mut all = Vec::new();
    let [direct, learnt] = stage.places();
    for address in [&direct, &learnt, &stage.configured.addr()] {
        stage.change(&["ALTER USER late@'%' IDENTIFIED BY 'old-password'"])?;
        all.push(stage.heard(address, 0, &script).with_context(|| address.clone())?);
        let [new, old] = [NEW, OLD].map(|login| stage.log_in(address, login));
        let (new, old) = (new?, old?);
        // The configuration still has the old one, and lets nobody in by another.
        let follows = *address != stage.configured.addr();
        ensure!(if follows { new == "in" } else { new.contains("1045") }, "{address}: {new}");
        ensure!(old.contains("1045"), "{address}: {old}");
    }
    let [direct, others @ ..] = &*all else { return Ok(()) };
    for through in others {
        for (at, (direct, through)) in direct.iter().zip(through).enumerate() {
            ensure!(direct == through, "{at}, {:?}:\n{through}is not\n{direct}", script.get(at));
        }
        ensure!(direct.len() == through.len(), "{direct:?}\n{through:?}");
    }
    Ok(())
}

#[test]
fn who_changed_the_password_may_begin_anew() -> Result<()> {
    changed(Flavour::MariaDbDistribution)
}

#[test]
fn who_changed_the_password_may_begin_anew_on_mysql_sid() -> Result<()> {
    changed(Flavour::MySqlSid)
}

/// Passwords expire by their age as well, and by that of all.
fn aged(flavour: Flavour) -> Result<()> {
    let Some(stage) = Stage::begin(flavour)? else { return Ok(()) };
    let year_old = match stage.is_mysql() {
        true => "UPDATE mysql.user SET password_last_changed = NOW() - INTERVAL 1 YEAR WHERE user = 'late'",
        false => {
            "UPDATE mysql.global_priv SET priv = JSON_SET(priv, '$.password_last_changed', \
             UNIX_TIMESTAMP() - 31536000) WHERE user = 'late'"
        }
    };
    if !stage.is_mysql() {
        stage.change(&["SET GLOBAL disconnect_on_expired_password = 1"])?;
        // The others are not to expire.
        let never = "UPDATE mysql.global_priv SET priv = JSON_SET(priv, '$.password_lifetime', 0) WHERE user <> 'late'";
        stage.change(&[never, "FLUSH PRIVILEGES"])?;
    }
    for (how, ends) in [
        ("ALTER USER late@'%' PASSWORD EXPIRE INTERVAL 30 DAY", "1862"),
        ("ALTER USER late@'%' PASSWORD EXPIRE INTERVAL 400 DAY", "in"),
        ("ALTER USER late@'%' PASSWORD EXPIRE NEVER", "in"),
        ("ALTER USER late@'%' PASSWORD EXPIRE DEFAULT", "in"),
        ("SET GLOBAL default_password_lifetime = 60", "1862"),
        ("ALTER USER late@'%' PASSWORD EXPIRE NEVER", "in"),
    ] {
        stage.change(&[how, year_old, "FLUSH PRIVILEGES"])?;
        for address in stage.places() {
            let ended = stage.log_in(&address, OLD)?;
            ensure!(ended.contains(ends), "{how}, {address}: {ended}");
        }
    }
    Ok(())
}

#[test]
fn passwords_expire_by_their_age() -> Result<()> {
    aged(Flavour::MariaDbDistribution)
}

#[test]
fn passwords_expire_by_their_age_on_mysql_sid() -> Result<()> {
    aged(Flavour::MySqlSid)
}

/// Wrong passwords count on the server, wherever they were tried; a right one takes the count back.
fn locked(flavour: Flavour) -> Result<()> {
    let Some(stage) = Stage::begin(flavour)? else { return Ok(()) };
    let wrong = ("late", "wrong");
    // MariaDB spares those who may do everything.
    stage.change(&["REVOKE ALL ON *.* FROM late@'%'", "GRANT ALL ON app.* TO late@'%'"])?;
    let (limited, unlock) = match stage.is_mysql() {
        true => (
            "ALTER USER late@'%' FAILED_LOGIN_ATTEMPTS 3 PASSWORD_LOCK_TIME 2",
            "ALTER USER late@'%' ACCOUNT UNLOCK",
        ),
        false => ("SET GLOBAL max_password_errors = 3", "FLUSH PRIVILEGES"),
    };
    let [direct, through] = &stage.places();
    for address in [direct, through] {
        ensure!(stage.log_in(address, OLD)? == "in");
    }
    stage.change(&[limited])?;
    let [one, other] = [direct, through].map(|address| -> Result<Vec<String>> {
        let mut all = Vec::new();
        // Two are not enough, and are forgotten with the right one; three are, for the right one too.
        for login in [wrong, wrong, OLD, wrong, wrong, OLD, wrong, wrong, wrong, wrong, OLD] {
            all.push(stage.log_in(address, login)?);
        }
        stage.cluster.primary.query(unlock)?;
        all.push(stage.log_in(address, OLD)?);
        Ok(all)
    });
    let (one, other) = (one?, other?);
    ensure!(one == other, "directly {one:?}\nthrough the proxy {other:?}");
    let blocked = if stage.is_mysql() { "3955" } else { "4150" };
    ensure!(one.iter().filter(|ended| ended.contains(blocked)).count() >= 2, "{one:?}");
    // Here and there.
    for address in [through, direct, through] {
        stage.log_in(address, wrong)?;
    }
    for address in [direct, through] {
        let ended = stage.log_in(address, OLD)?;
        ensure!(ended.contains(blocked), "{address}: {ended}");
    }
    stage.cluster.primary.query(unlock)?;
    ensure!(stage.log_in(through, OLD)? == "in");
    Ok(())
}

#[test]
fn too_many_wrong_passwords_lock_an_account() -> Result<()> {
    locked(Flavour::MariaDbDistribution)
}

#[test]
fn too_many_wrong_passwords_lock_an_account_on_mysql_sid() -> Result<()> {
    locked(Flavour::MySqlSid)
}
