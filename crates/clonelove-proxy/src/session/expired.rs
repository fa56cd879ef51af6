//! Accounts of the primary that only the server can judge: those whose password has expired, and those that too many
//! wrong passwords lock. Their clients come in by a new connection, which the server allows or not, in its own words; wrong
//! passwords are told to it; and whoever may do nothing but change the password has a connection of its own until that is
//! done. Who has changed it keeps the connection. Must not know how accounts are read.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use clonelove_route::reason::Reason;
use clonelove_wire::{Caps, Command};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::connections::{Leased, Unready};
use super::identity::Identity;
use super::needs::Needs;
use super::statement::Statement;
use super::{ClientSession, Next};
use crate::backend::conn::{NotBrought, Target};
use crate::backend::login::{Account, Wish};
use crate::backend::pool::Class;
use crate::cluster::Snapshot;
use crate::error::{ClientError, ServerFault};
use crate::shared::Shared;

/// The server's error for a wrong password, which we have words of our own for: they name the client's address.
const ACCESS_DENIED: u16 = 1045;

/// utf8mb4: an error is all that is heard.
const CHARSET: u8 = 45;

impl ClientSession {
    /// The server itself has to let this client in: what it refuses, the client is told. Without a primary nobody can be
    /// asked; reads go on as they do for others.
    pub(super) async fn ask_to_be_let_in(&mut self) -> Result<(), ClientError> {
        match self.ready_primary(Needs::of_class(Class::Write), None).await {
            Ok(_) => {}
            Err(unready @ Unready::Fault(_)) if unready.is_refusal() => return Err(unready.client_error()),
            Err(_) => return Ok(()),
        }
        if self.is_expired() {
            return Ok(());
        }
        // From here on it is a client like any other, and so is its connection.
        let account = Account { watched: false, ..Account::clone(&self.account) };
        self.account = self.local.accounts.share(Arc::new(account));
        self.key = None;
        let (key, caps) = (self.pool_key(), self.caps);
        if let Some(leased) = &mut self.primary {
            leased.becomes(&key, caps);
        }
        Ok(())
    }

    /// Whether the server takes nothing from this client but a change of its password, as far as was heard.
    pub(super) fn is_expired(&self) -> bool {
        self.primary.as_ref().is_some_and(|leased| leased.conn.expired)
    }

    /// The same for a command that is answered here where nothing has expired, as the server has it now.
    pub(super) async fn refuses_expired(&mut self, command: Command) -> bool {
        let taken = matches!(
            command,
            Command::Query
                | Command::Ping
                | Command::StmtPrepare
                | Command::StmtExecute
                | Command::StmtClose
                | Command::StmtSendLongData
        );
        if taken || !self.is_expired() {
            return false;
        }
        // One that is lost is told of by what the command needs it for.
        let _ = self.ready_primary(Needs::of_class(Class::Write), None).await;
        self.is_expired()
    }

    pub(super) async fn refuse_expired(&mut self, statement: &Statement) -> Next {
        let error = ClientError::must_change_password(self.state.dialect.flavour);
        self.refuse(statement, &error, Reason::NotAllowed).await
    }

    /// Sets the connection up that could not be before, if the password has been changed by now.
    pub(super) async fn set_up_expired(&mut self, snapshot: &Snapshot) -> Result<(), Unready> {
        let Some(leased) = self.primary.as_mut().filter(|leased| leased.conn.expired) else { return Ok(()) };
        let server = Arc::clone(&leased.server);
        let node = snapshot.topology.servers.get(server.index);
        let Some(report) = node.and_then(|node| node.report.as_ref()) else { return Ok(()) };
        let like = snapshot.like_primary(server.index).unwrap_or_default();
        let until = Instant::now() + self.shared.settings.load().pool.connect_timeout;
        let set_up = server.set_up(&mut leased.conn, (report, &like), until).await;
        set_up.map(drop).map_err(|fault| {
            self.lose_primary();
            Unready::StateLost(fault)
        })
    }

    /// Resets the connection of a session that begins anew, and has it keep that: its log-in may open no other.
    pub(super) async fn reset_last(&mut self, mut last: Leased) -> Result<(), ServerFault> {
        let (key, caps) = (self.pool_key(), self.caps);
        last.becomes(&key, caps);
        // Whatever that was, nothing of it stays.
        last.conn.tainted = true;
        let snapshot = self.shared.cluster.snapshot();
        let server = Arc::clone(&last.server);
        let until = Instant::now() + self.shared.settings.load().pool.connect_timeout;
        let target = Target {
            usage: last.conn.usage,
            charset: self.response.charset,
            schema: self.state.schema.as_deref(),
            journal: &self.state.journal,
            like: &|| snapshot.like_primary(server.index).unwrap_or_default(),
            last_insert_id: None,
            no_variables: true,
            no_diagnostics: false,
            no_position: false,
            asks_diagnostics: false,
        };
        match server.bring(&mut last.conn, &target, None, || until).await {
            Ok(_) => {
                self.primary = Some(last);
                self.state.hold_login();
                Ok(())
            }
            Err(NotBrought::Unfit(fault) | NotBrought::Refused(fault) | NotBrought::NoSchema(fault)) => {
                Err(fault)
            }
        }
    }
}

/// Tells the primary of a wrong password, as its client would have: it counts them. What it says of it where that is more
/// than that it was wrong.
pub(super) async fn told_of_failure(
    shared: &Shared,
    identity: &Identity,
    using_password: bool,
    from: Option<IpAddr>,
) -> Option<ClientError> {
    let user = identity.user().filter(|_| identity.is_watched())?;
    let snapshot = shared.cluster.snapshot();
    let server = snapshot.topology.primary.and_then(|at| snapshot.servers.get(at))?;
    let wrong = if using_password { nobodys_password()? } else { Zeroizing::default() };
    let account = Account { from, ..Account::new(&user.name, wrong.as_bytes()) };
    let caps = Caps::TRANSACTIONS | Caps::CONNECT_ATTRS | Caps::PLUGIN_AUTH;
    let wish = Wish { account: Arc::new(account), schema: None, caps, charset: CHARSET };
    let settings = server.settings.load_full();
    let until = Instant::now() + shared.settings.load().pool.connect_timeout;
    let fault = Box::pin(server.log_in(&settings, &wish, until)).await.err()?;
    let refusal = fault.refused.as_ref().filter(|refusal| refusal.code != ACCESS_DENIED)?;
    Some(ClientError::refused(&fault, refusal))
}

/// A password that is nobody's.
fn nobodys_password() -> Option<Zeroizing<String>> {
    let mut bytes = [0; 24];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    let mut text = Zeroizing::new(String::with_capacity(48));
    for byte in bytes {
        write!(text, "{byte:02x}").ok()?;
    }
    Some(text)
}
