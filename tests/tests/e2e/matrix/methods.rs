//! Each method of clients with each of servers, and every switch between them: at the log-in and by COM_CHANGE_USER, for
//! users of the configuration and for those of the primary.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use clonelove_testkit::{
    ASKED_FOR_PASSWORD, Authority, Clonelove, Cluster, Config, Connection, Family, Flavour, Opening, SqlError,
};
use rustls::ClientConfig;

use super::{Account, config, servers};
use crate::support::value;

/// What clients may name: each method there is, and one that nobody knows.
const METHODS: [&str; 5] = [
    "mysql_native_password",
    "caching_sha2_password",
    "client_ed25519",
    "mysql_clear_password",
    "a_method_of_nobodys",
];

/// The accounts of a flavour beside those of the sessions, one for each further method of its servers.
fn further(family: Family) -> &'static [Account] {
    match family {
        Family::MariaDb => &[],
        Family::MySql => &[Account { user: "older", password: "older-password", method: "sha256_password" }],
    }
}

/// A session by this account, for which the client names `method`.
fn open(
    proxy: &Clonelove,
    account: Account,
    method: &str,
    tls: Option<&Arc<ClientConfig>>,
) -> Result<Connection> {
    let login = (account.user, account.password);
    let opening = Opening { login, method: Some(method), tls: tls.cloned(), ..Opening::default() };
    Connection::open_as(&proxy.addr(), &opening)
}

fn is_in(session: &mut Connection, account: Account) -> Result<()> {
    // By the primary; a read may be answered elsewhere.
    let told = value(session, "SELECT CURRENT_USER() FOR UPDATE")?;
    ensure!(told == format!("{}@%", account.user), "it is {told}");
    Ok(())
}

fn is_denied(outcome: Result<Connection>) -> Result<()> {
    let error = outcome.err().context("it was let in")?;
    // Where a hash of a password is all that is known, the password itself is asked for, as by servers: our client sends it
    // over TLS only.
    let asked = error.to_string() == ASKED_FOR_PASSWORD;
    let denied = SqlError::of(&error).is_some_and(|error| error.code == 1045);
    ensure!(denied || asked, "{error:#}");
    Ok(())
}

/// With how many of the methods a wrong password is tried: those of the primary's users make it be asked, at most once a
/// second, and whoever fails waits for that.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wrong {
    ByAll,
    ByOne,
}

/// Each account by each method that a client may name; with a wrong password by none.
fn each_with_each(
    proxy: &Clonelove,
    accounts: &[Account],
    tls: Option<&Arc<ClientConfig>>,
    tried: Wrong,
) -> Result<usize> {
    let mut count = 0;
    for account in accounts {
        // Whoever names it has sent the password by then, which is done over TLS only.
        for method in METHODS.iter().filter(|method| tls.is_some() || **method != "mysql_clear_password") {
            let what = || format!("{account:?} named {method}, TLS: {}", tls.is_some());
            let mut session = open(proxy, *account, method, tls).with_context(what)?;
            is_in(&mut session, *account).with_context(what)?;
            if tried == Wrong::ByAll || *method == METHODS[0] {
                let wrong = Account { password: "wrong", ..*account };
                is_denied(open(proxy, wrong, method, tls)).with_context(what)?;
            }
            count += 1;
        }
    }
    Ok(count)
}

/// From each account to each other and back.
fn each_to_each(
    proxy: &Clonelove,
    accounts: &[Account],
    tls: Option<&Arc<ClientConfig>>,
    tried: Wrong,
) -> Result<()> {
    for from in accounts {
        for to in accounts {
            let what = || format!("from {from:?} to {to:?}, TLS: {}", tls.is_some());
            let mut session = open(proxy, *from, METHODS[0], tls).with_context(what)?;
            for next in [to, from, to] {
                session.change_user(next.user, next.password, "app").with_context(what)?;
                is_in(&mut session, *next).with_context(what)?;
            }
            if tried == Wrong::ByAll {
                let refused = session.change_user(from.user, "wrong", "app");
                ensure!(refused.is_err(), "{}: let in with a wrong password", what());
            }
        }
    }
    Ok(())
}

fn methods(flavour: Flavour) -> Result<()> {
    if !flavour.covered()? {
        return Ok(());
    }
    let authority = Authority::new("test authority")?;
    let issued = authority.issue("methods", &["localhost", "127.0.0.1"])?;
    let cluster = servers(flavour, &issued)?;
    let accounts = [super::accounts(&cluster)?, further(flavour.family())].concat();
    for Account { user, password, method } in further(flavour.family()) {
        cluster.primary.query(&format!("CREATE USER {user}@'%' IDENTIFIED WITH {method} BY '{password}'"))?;
        cluster.primary.query(&format!("GRANT ALL ON app.* TO {user}@'%'"))?;
    }
    cluster.wait_caught_up()?;
    let trusted = authority.trusted()?;
    let each = accounts.len() * METHODS.len();
    for towards_servers in [false, true] {
        let known = |config: Config| {
            further(flavour.family())
                .iter()
                .fold(config, |config, account| config.user(account.user, account.password))
        };
        let theirs = |cluster: &Cluster| config(cluster, &issued, towards_servers, "none");
        let proxy = Clonelove::start_with(known(theirs(&cluster)?))?;
        for tls in [None, Some(&trusted)] {
            let count = each_with_each(&proxy, &accounts, tls, Wrong::ByAll)?;
            ensure!(count == if tls.is_some() { each } else { each - accounts.len() }, "{count} ways in");
            each_to_each(&proxy, &accounts, tls, Wrong::ByAll)?;
        }
        proxy.shut_down()?;
    }
    // What is carried to servers comes from clients alone: over TLS first, where a password may have to be shown once.
    let learning =
        config(&cluster, &issued, true, "none")?.without_users().set("users", "from", "\"primary\"");
    let proxy = Clonelove::start_with(learning)?;
    for tls in [Some(&trusted), None] {
        each_with_each(&proxy, &accounts, tls, Wrong::ByOne).context("users from the primary")?;
        each_to_each(&proxy, &accounts, tls, Wrong::ByOne).context("users from the primary")?;
    }
    proxy.shut_down()?;
    Ok(())
}

#[test]
fn each_method_of_clients_with_each_of_servers() -> Result<()> {
    methods(Flavour::MariaDbDistribution)
}

#[test]
fn each_method_of_clients_with_each_of_servers_on_mariadb_sid() -> Result<()> {
    methods(Flavour::MariaDbSid)
}

#[test]
fn each_method_of_clients_with_each_of_servers_on_mysql_sid() -> Result<()> {
    methods(Flavour::MySqlSid)
}
