//! The accounts that clients log in with, where they are learnt from the primary: who is who, what a proof can be
//! compared with, passwords that clients have shown, and when to look again. How accounts are read is `read`'s.

mod read;
mod table;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use clonelove_wire::auth::{Credential, Secret as Password};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

pub(crate) use read::keep;
pub(crate) use table::{Account, Table};

use crate::error::ServerFault;
use crate::metrics::{AccountsRead, Metrics};

/// A log-in waits this long for the accounts to be looked at again, at most.
const PATIENCE: Duration = Duration::from_secs(3);

/// The accounts, as all sessions see them.
pub(crate) struct Accounts {
    table: ArcSwap<Table>,
    /// Passwords that clients have shown, by account: the log-ins that follow need not show them again.
    shown: Mutex<HashMap<String, Shown>>,
    state: Mutex<State>,
    /// Somebody wants them looked at.
    nudge: Notify,
    /// Statements that went through here and may have changed accounts.
    changes: AtomicU64,
    /// Somebody waits for what they changed.
    urgent: Notify,
    /// How many readings have come to their end.
    readings: watch::Sender<u64>,
    /// What stands for the hash of an account that does not exist.
    decoy: [u8; 32],
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct State {
    read_at: Option<Instant>,
    /// Readings that were begun.
    begun: u64,
    /// How many changes the last of them has, and the last that came to its end.
    reading: u64,
    read: u64,
    problem: Option<Problem>,
}

/// Why accounts could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// What happened.
    pub(crate) what: String,
    /// The statement that would help, where it is a privilege that is missing.
    pub(crate) grant: Option<String>,
}

/// A password, and the hashes that it was compared with.
struct Shown {
    ways: Vec<(String, Vec<u8>)>,
    passwords: Vec<Password>,
}

impl Accounts {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        let mut decoy = [0; 32];
        // Without randomness it is a hash all the same, and of no password.
        let _ = aws_lc_rs::rand::fill(&mut decoy);
        Self {
            table: ArcSwap::default(),
            shown: Mutex::default(),
            state: Mutex::default(),
            nudge: Notify::new(),
            changes: AtomicU64::new(0),
            urgent: Notify::new(),
            readings: watch::Sender::new(0),
            decoy,
            metrics,
        }
    }

    /// The account of a client of this name and address, if there is one.
    pub(crate) fn find(&self, user: &[u8], address: Option<IpAddr>) -> Option<Arc<Account>> {
        self.table.load().find(user, address).cloned()
    }

    /// What is known of an account's passwords: those that were shown before, and what the server keeps.
    pub(crate) fn credentials(&self, account: &Account) -> Vec<Credential> {
        let shown = self.shown.lock();
        let shown = shown.get(&account.name()).filter(|shown| shown.ways == account.ways);
        let shown = shown.into_iter().flat_map(|shown| shown.passwords.iter().cloned());
        shown.map(Credential::Password).chain(account.credentials()).collect()
    }

    /// What a client's proof is compared with when there is no such account: it fails as any other does.
    pub(crate) fn decoy(&self, mariadb: bool) -> Vec<Credential> {
        if mariadb {
            let mut hash = [0; 20];
            hash.iter_mut().zip(&self.decoy).for_each(|(to, from)| *to = *from);
            return vec![Credential::Native(Box::new(hash))];
        }
        let salt = self.decoy.map(|byte| b'a'.saturating_add(byte % 26));
        let mut kept = b"$A$005$".to_vec();
        kept.extend(salt.iter().take(20).chain(salt.iter().cycle().take(43)));
        Credential::stored(clonelove_wire::auth::SHA2, &kept).into_iter().collect()
    }

    /// A client has shown its password, and it was right. It is kept where the hash alone opens no server.
    pub(crate) fn remember(&self, account: &Account, password: &Password) {
        /// Two are valid at once, at most.
        const MOST: usize = 2;
        let hashed = |known: &Credential| matches!(known, Credential::Crypt(_) | Credential::Ed25519(_));
        if password.is_empty() || !account.credentials().iter().any(hashed) {
            return;
        }
        let mut shown = self.shown.lock();
        let entry = shown
            .entry(account.name())
            .or_insert_with(|| Shown { ways: account.ways.clone(), passwords: Vec::new() });
        if entry.ways != account.ways {
            *entry = Shown { ways: account.ways.clone(), passwords: Vec::new() };
        }
        if !entry.passwords.iter().any(|known| known.matches(password.expose())) {
            entry.passwords.truncate(MOST.saturating_sub(1));
            entry.passwords.insert(0, password.clone());
        }
    }

    /// Waits until the accounts were looked at, if they never were.
    pub(crate) async fn first_reading(&self) {
        let mut readings = self.readings.subscribe();
        let _ = timeout(PATIENCE, readings.wait_for(|readings| *readings > 0)).await;
    }

    /// Has the accounts looked at again, and waits until that is done. However many ask, that is once a second at most.
    pub(crate) async fn look_again(&self) {
        let begun = self.state.lock().begun;
        let mut readings = self.readings.subscribe();
        self.nudge.notify_one();
        let _ = timeout(PATIENCE, readings.wait_for(|readings| *readings > begun)).await;
    }

    /// A statement has gone through here that may have changed accounts or rights: who logs in from now on must be held
    /// against what is so now, and not get a connection that knows the rights of before.
    pub(crate) fn changed(&self) {
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// How often they were changed through here.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Waits until what was changed through here is known.
    pub(crate) async fn catch_up(&self) {
        let changes = self.changes();
        let mut readings = self.readings.subscribe();
        if self.state.lock().read < changes {
            self.urgent.notify_one();
            let _ = timeout(PATIENCE, readings.wait_for(|_| self.state.lock().read >= changes)).await;
        }
    }

    /// They may have changed; nobody waits.
    pub(crate) fn doubt(&self) {
        self.nudge.notify_one();
    }

    /// How many are known, since when, and what is wrong.
    pub(crate) fn told(&self) -> (usize, Option<Duration>, Option<Problem>) {
        let state = self.state.lock();
        (self.table.load().len(), state.read_at.map(|at| at.elapsed()), state.problem.clone())
    }

    fn begin(&self) {
        let changes = self.changes();
        let mut state = self.state.lock();
        state.begun = state.begun.saturating_add(1);
        state.reading = changes;
    }

    fn publish(&self, table: Table) {
        let names: HashMap<String, Arc<Account>> =
            table.iter().map(|account| (account.name(), Arc::clone(account))).collect();
        self.shown.lock().retain(|name, shown| names.get(name).is_some_and(|now| now.ways == shown.ways));
        self.table.store(Arc::new(table));
        let mut state = self.state.lock();
        state.read_at = Some(Instant::now());
        if state.problem.take().is_some() {
            tracing::info!("the accounts are read again");
        }
        drop(state);
        self.metrics.accounts_read(AccountsRead::Ok);
        self.end();
    }

    fn failed(&self, fault: &ServerFault, grant: Option<String>) {
        let read = if grant.is_some() { AccountsRead::NoPrivilege } else { AccountsRead::Failed };
        self.metrics.accounts_read(read);
        let problem = Problem { what: fault.to_string(), grant };
        let mut state = self.state.lock();
        if state.problem.as_ref().is_none_or(|known| known.grant != problem.grant) {
            let grant = problem.grant.as_deref().unwrap_or("none is missing");
            tracing::warn!(server = %fault.server, error = %fault.detail, grant, "the accounts could not be read: those known before are kept");
        }
        state.problem = Some(problem);
        drop(state);
        self.end();
    }

    fn end(&self) {
        let begun = {
            let mut state = self.state.lock();
            state.read = state.reading;
            state.begun
        };
        self.readings.send_replace(begun);
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        // Hashes are as good as passwords to who has time; the passwords wipe themselves.
        for (_, text) in &mut self.ways {
            zeroize::Zeroize::zeroize(text);
        }
    }
}

#[cfg(test)]
mod tests;
