//! Reading the accounts from the primary with the monitoring account, again and again. Owns the pace, the questions and
//! what their answers mean.

use std::sync::Arc;
use std::time::Duration;

use clonelove_route::report::Flavour;
use clonelove_wire::Command;
use tokio::time::{Instant, sleep_until, timeout};

use super::table::{Account, Table};
use crate::backend::reply::{Reply, Rows};
use crate::cluster::{Snapshot, monitoring_connection};
use crate::error::{Fault, Refusal, ServerFault};
use crate::server::Server;
use crate::settings::{Monitor, Settings, UsersFrom};
use crate::shared::Shared;

/// Never more often than this, however many ask.
const LEAST: Duration = Duration::from_secs(1);
/// How long the primary may take to tell them.
const WITHIN: Duration = Duration::from_secs(10);

const RESOLVES: &str = "SELECT @@global.skip_name_resolve";

/// Ways that are alternatives to the first stand in `auth_or`; an empty one there is the first again. The seventh column
/// tells of accounts that expire before long, or that wrong passwords lock.
const MARIADB: &str = "SELECT User, Host, \
     COALESCE(JSON_VALUE(Priv, '$.account_locked'), ''), COALESCE(JSON_VALUE(Priv, '$.ssl_type'), ''), \
     COALESCE(JSON_VALUE(Priv, '$.max_user_connections'), ''), COALESCE(JSON_VALUE(Priv, '$.is_role'), ''), \
     @@global.max_password_errors < 4294967295 OR JSON_VALUE(Priv, '$.password_last_changed') = 0 \
     OR COALESCE(NULLIF(JSON_VALUE(Priv, '$.password_lifetime'), -1), @@global.default_password_lifetime) > 0 \
     AND COALESCE(NULLIF(JSON_VALUE(Priv, '$.password_lifetime'), -1), @@global.default_password_lifetime) * 86400 \
     + COALESCE(JSON_VALUE(Priv, '$.password_last_changed'), 0) < UNIX_TIMESTAMP() + 86400, \
     JSON_VALUE(Priv, '$.plugin'), HEX(JSON_VALUE(Priv, '$.authentication_string')), \
     JSON_VALUE(Priv, '$.auth_or[0].plugin'), HEX(JSON_VALUE(Priv, '$.auth_or[0].authentication_string')), \
     JSON_VALUE(Priv, '$.auth_or[1].plugin'), HEX(JSON_VALUE(Priv, '$.auth_or[1].authentication_string')), \
     JSON_VALUE(Priv, '$.auth_or[2].plugin'), HEX(JSON_VALUE(Priv, '$.auth_or[2].authentication_string')) \
     FROM mysql.global_priv";

/// The same from the view that has been kept for those who know no other: one way for each account.
const MARIADB_VIEW: &str = "SELECT User, Host, '', ssl_type, max_user_connections, is_role, \
     @@global.max_password_errors < 4294967295 OR password_expired = 'Y', plugin, \
     HEX(authentication_string) FROM mysql.user";

/// The password before the last change is kept beside it, by the same plugin, until it is discarded.
const MYSQL: &str = "SELECT User, Host, account_locked, ssl_type, max_user_connections, '', \
     password_expired = 'Y' OR JSON_EXTRACT(User_attributes, '$.Password_locking.password_lock_time_days') <> 0 \
     OR COALESCE(password_lifetime, @@global.default_password_lifetime) > 0 AND password_last_changed \
     + INTERVAL COALESCE(password_lifetime, @@global.default_password_lifetime) DAY < NOW() + INTERVAL 1 DAY, plugin, \
     HEX(authentication_string), \
     IF(JSON_EXTRACT(User_attributes, '$.additional_password') IS NULL, NULL, plugin), \
     HEX(JSON_UNQUOTE(JSON_EXTRACT(User_attributes, '$.additional_password'))) FROM mysql.user";

/// The columns before the ways in.
const FIXED: usize = 7;

/// The right to read a table is missing.
const TABLE_ACCESS_DENIED: u16 = 1142;

/// Reads the accounts for as long as the proxy runs and the settings want it.
pub(crate) async fn keep(shared: Arc<Shared>) {
    shared.cluster.first_round().await;
    let mut changed = shared.cluster.changed.subscribe();
    loop {
        let settings = shared.settings.load_full();
        let begun = Instant::now();
        let mut good = true;
        if settings.users_from == UsersFrom::Primary {
            good = refresh(&shared, &settings).await;
        }
        let epoch = shared.cluster.snapshot().topology.epoch;
        let mut urgent = false;
        loop {
            let interval = settings.monitor.schema_interval;
            let due = begun + if good { interval } else { LEAST.max(interval / 10) };
            let asked = tokio::select! {
                () = sleep_until(due) => break,
                () = shared.accounts.nudge.notified() => true,
                () = shared.accounts.urgent.notified() => {
                    urgent = true;
                    true
                }
                ended = changed.changed() => {
                    if ended.is_err() {
                        return;
                    }
                    let topology = &shared.cluster.snapshot().topology;
                    topology.primary.is_some() && (!good || topology.epoch != epoch)
                }
            };
            if asked {
                break;
            }
        }
        // What went through here is bounded by itself: each such change is read once.
        if !urgent {
            tokio::select! {
                () = sleep_until(begun + LEAST) => {}
                () = shared.accounts.urgent.notified() => {}
            }
        }
    }
}

async fn refresh(shared: &Shared, settings: &Settings) -> bool {
    let accounts = &shared.accounts;
    accounts.begin();
    let snapshot = shared.cluster.snapshot();
    let Some(server) = whom(&snapshot, accounts.table.load().len() == 0) else {
        let fault = ServerFault::new(&Arc::from("primary"), Fault::NoPrimary, snapshot.why_no_primary());
        accounts.failed(&fault, None);
        return false;
    };
    let late = || {
        let why = format!("it did not tell its accounts within {WITHIN:?}");
        ServerFault::new(&server.name, Fault::ServerConnect, why)
    };
    match timeout(WITHIN, read(server, &settings.monitor)).await.unwrap_or_else(|_| Err((late(), None))) {
        Ok(table) => {
            accounts.publish(table);
            true
        }
        Err((fault, grant)) => {
            accounts.failed(&fault, grant);
            false
        }
    }
}

/// The primary; while there is none and nothing is known yet, any other that is well.
fn whom(snapshot: &Snapshot, first: bool) -> Option<&Arc<Server>> {
    if let Some(primary) = snapshot.topology.primary.and_then(|at| snapshot.servers.get(at)) {
        return Some(primary);
    }
    let mut up = snapshot.servers.iter().zip(&snapshot.topology.servers);
    up.find(|(_, node)| first && node.eligible).map(|(server, _)| server)
}

async fn read(server: &Arc<Server>, monitor: &Monitor) -> Result<Table, (ServerFault, Option<String>)> {
    let plain = |fault: ServerFault| (fault, None);
    let (mut conn, greeting) = monitoring_connection(server, monitor).await.map_err(plain)?;
    let flavour = if greeting.is_mariadb() { Flavour::MariaDb } else { Flavour::MySql };
    let texts: &[&str] = match flavour {
        Flavour::MariaDb => &[MARIADB, MARIADB_VIEW],
        Flavour::MySql => &[MYSQL],
    };
    let resolves = conn.ask(&[(Command::Query, RESOLVES.as_bytes())]).await.map_err(plain)?;
    let resolves = rows(server, resolves).map_err(plain)?;
    let skips = resolves.rows.first().and_then(|row| row.first()?.as_deref()).is_some_and(is_set);
    let mut refused = None;
    for sql in texts {
        let replies = conn.ask(&[(Command::Query, sql.as_bytes())]).await.map_err(plain)?;
        match rows(server, replies) {
            Ok(rows) => {
                let accounts = rows.rows.iter().filter_map(|row| account(row)).collect();
                return Ok(Table::new(accounts, flavour, !skips));
            }
            Err(fault) => refused = refused.or(Some(fault)),
        }
    }
    let fault = refused.unwrap_or_else(|| {
        ServerFault::new(&server.name, Fault::ServerProtocol, "it told nothing of its accounts")
    });
    let denied = fault.refused.as_ref().is_some_and(|refusal| refusal.code == TABLE_ACCESS_DENIED);
    let table = if flavour == Flavour::MariaDb { "mysql.global_priv" } else { "mysql.user" };
    let grant = denied.then(|| format!("GRANT SELECT ON {table} TO '{}'@'…'", monitor.user));
    Err((fault, grant))
}

fn rows(server: &Arc<Server>, replies: Vec<Reply>) -> Result<Rows, ServerFault> {
    match replies.into_iter().next() {
        Some(Reply::Rows(rows)) => Ok(rows),
        Some(Reply::Err { code, state, message }) => {
            let detail = format!("the monitoring account may not read the accounts: {message} ({code})");
            let fault = ServerFault::new(&server.name, Fault::ServerAuth, detail);
            Err(ServerFault { refused: Some(Refusal { code, state, message }), ..fault })
        }
        Some(Reply::Ok) | None => {
            Err(ServerFault::new(&server.name, Fault::ServerProtocol, "rows were asked for, none came"))
        }
    }
}

/// One row; none for a role, which nobody logs in as.
fn account(row: &[Option<String>]) -> Option<Account> {
    let text = |at: usize| row.get(at).and_then(Option::as_deref).unwrap_or_default();
    if is_set(text(5)) {
        return None;
    }
    let mut ways: Vec<(String, Vec<u8>)> = Vec::new();
    for pair in row.get(FIXED..)?.chunks(2) {
        let [plugin, hash] = pair else { continue };
        if plugin.is_some() || ways.is_empty() {
            ways.push((plugin.clone().unwrap_or_default(), unhex(hash.as_deref().unwrap_or_default())?));
        }
    }
    Some(Account {
        user: text(0).to_owned(),
        host: text(1).to_owned(),
        ways,
        locked: is_set(text(2)),
        tls: !matches!(text(3), "" | "0" | "NONE"),
        max_connections: text(4).parse().unwrap_or(0),
        watched: is_set(text(6)),
    })
}

/// Y, 1, true and ON all mean yes.
fn is_set(text: &str) -> bool {
    ["Y", "1", "true", "ON"].iter().any(|yes| yes.eq_ignore_ascii_case(text))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    text.as_bytes()
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => Some((digit(high)? << 4) | digit(low)?),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(fields: &[Option<&str>]) -> Vec<Option<String>> {
        fields.iter().map(|field| field.map(str::to_owned)).collect()
    }

    #[test]
    fn a_row_is_an_account_with_its_ways_in() {
        let plain = row(&[
            Some("app"),
            Some("%"),
            Some("Y"),
            Some("ANY"),
            Some("7"),
            Some(""),
            Some("1"),
            Some("p"),
            Some("4142"),
        ]);
        let read = account(&plain).unwrap();
        assert_eq!(
            (read.name().as_str(), read.locked, read.tls, read.max_connections, read.watched),
            ("'app'@'%'", true, true, 7, true)
        );
        assert_eq!(read.ways, [("p".to_owned(), b"AB".to_vec())]);
        let two = row(&[
            Some("a"),
            Some(""),
            Some(""),
            Some("0"),
            Some("0"),
            Some(""),
            None,
            Some("one"),
            Some("41"),
            None,
            None,
            Some("two"),
            None,
            None,
            None,
        ]);
        let read = account(&two).unwrap();
        assert_eq!(read.ways, [("one".to_owned(), b"A".to_vec()), ("two".to_owned(), Vec::new())]);
        assert!(!read.locked && !read.tls && !read.watched);
        assert!(account(&row(&[Some("r"), Some(""), Some(""), Some(""), Some(""), Some("1")])).is_none());
        assert!(account(&row(&[Some("a")])).is_none() && unhex("4").is_none() && unhex("zz").is_none());
    }
}
