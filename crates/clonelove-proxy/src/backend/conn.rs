//! One connection to a server: what it has heard, what it is used for, and the proxy's own statements
//! on it. Must not know the pool, nor clients.

use std::sync::Arc;
use std::time::Duration;

use clonelove_route::journal::Serial;
use clonelove_route::report::{Flavour, Report};
use clonelove_wire::{Caps, Command};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::login::Wish;
use super::reply::{Reply, Rows, read_reply, request};
use super::setup::{self, SERVER_CHARSET, Use};
use crate::error::{Fault, Refusal, ServerFault};
use crate::net::Buffered;

/// A connection to a server. Dropping it closes the socket.
pub(crate) struct BackendConn {
    pub(crate) io: Buffered,
    /// As negotiated with this server.
    pub(crate) caps: Caps,
    /// The server's name.
    pub(crate) server: Arc<str>,
    /// Cancelled when the server is declared down, restarts, or changes its role.
    pub(crate) life: CancellationToken,
    /// What it was set up for.
    pub(crate) usage: Use,
    /// The default schema, as the server last said.
    pub(crate) schema: Option<String>,
    /// The last journal entry of its session it has heard.
    pub(crate) heard: Serial,
    pub(crate) flavour: Flavour,
    pub(crate) wish: Wish,
    pub(crate) born: Instant,
    /// Held for as long as the connection is.
    pub(crate) _slot: Option<OwnedSemaphorePermit>,
}

impl BackendConn {
    /// Sends the proxy's own statements in one go and reads all their replies.
    pub(crate) async fn ask(&mut self, statements: &[(Command, &[u8])]) -> Result<Vec<Reply>, ServerFault> {
        let mut out = bytes::BytesMut::new();
        for (command, body) in statements {
            out.extend_from_slice(&request(*command, body));
        }
        self.io.write_all(&out).await.map_err(|error| ServerFault::lost(&self.server, &error))?;
        let mut replies = Vec::with_capacity(statements.len());
        for _ in statements {
            replies.push(read_reply(&mut self.io, &self.server, self.caps).await?);
        }
        Ok(replies)
    }

    /// One query that must give rows, within a time.
    pub(crate) async fn rows(&mut self, sql: &str, within: Duration) -> Result<Rows, ServerFault> {
        let reply =
            timeout(within, self.ask(&[(Command::Query, sql.as_bytes())])).await.map_err(|_| {
                ServerFault::new(
                    &self.server,
                    Fault::ServerLost,
                    format!("it did not answer within {within:?}"),
                )
            })??;
        match reply.into_iter().next() {
            Some(Reply::Rows(rows)) => Ok(rows),
            Some(Reply::Err { code, state, message }) => {
                Err(self.refusal(sql, Refusal { code, state, message }))
            }
            _ => Err(ServerFault::new(
                &self.server,
                Fault::ServerProtocol,
                format!("no rows in answer to: {sql}"),
            )),
        }
    }

    /// The set-up burst on a new connection, with the check of who answers.
    pub(crate) async fn set_up(
        &mut self,
        report: &Report,
        like: &[(String, String)],
    ) -> Result<(), ServerFault> {
        let mut burst = setup::burst(self.flavour, self.usage, like, self.ignores_space());
        if self.wish.charset == SERVER_CHARSET {
            // MariaDB makes something of its own of it in a handshake.
            burst.extend(setup::set_names(SERVER_CHARSET, self.flavour));
        }
        let mut statements: Vec<(Command, &[u8])> =
            burst.iter().map(|sql| (Command::Query, sql.as_bytes())).collect();
        let identity = setup::identity_statement(self.flavour);
        statements.push((Command::Query, identity.as_bytes()));
        let mut replies = self.ask(&statements).await?;
        let who = replies.pop();
        self.all_ok(&burst, replies)?;
        let Some(Reply::Rows(rows)) = who else {
            return Err(ServerFault::new(&self.server, Fault::ServerProtocol, "it does not say who it is"));
        };
        let row = rows.rows.first().map(Vec::as_slice).unwrap_or_default();
        match setup::check_identity(row, report) {
            None => Err(ServerFault::new(
                &self.server,
                Fault::ServerConnect,
                "another server answers at its address than the one the probe saw; \
                 a name with several addresses must become one server entry each",
            )),
            Some(true) if self.usage == Use::Primary => {
                Err(ServerFault::new(&self.server, Fault::NoPrimary, "it has become read-only"))
            }
            Some(_) => Ok(()),
        }
    }

    /// Makes a connection that served another session fit for this wish: COM_RESET_CONNECTION, which
    /// also switches our trackers off, and the set-up burst again. The schema survives a reset.
    pub(crate) async fn renew(
        &mut self,
        names: &str,
        usage: Use,
        like: &[(String, String)],
    ) -> Result<(), ServerFault> {
        self.usage = usage;
        self.heard = 0;
        let burst = setup::burst(self.flavour, usage, like, self.ignores_space());
        let wanted = self.wish.schema.clone().filter(|wanted| self.schema.as_ref() != Some(wanted));
        let mut statements: Vec<(Command, &[u8])> = vec![(Command::ResetConnection, b"")];
        statements.push((Command::Query, names.as_bytes()));
        statements.extend(burst.iter().map(|sql| (Command::Query, sql.as_bytes())));
        if let Some(schema) = &wanted {
            statements.push((Command::InitDb, schema.as_bytes()));
        }
        let replies = self.ask(&statements).await?;
        self.all_ok(&burst, replies)?;
        if wanted.is_some() {
            self.schema = wanted;
        }
        Ok(())
    }

    /// Whether the client asked for IGNORE_SPACE at log-in.
    fn ignores_space(&self) -> bool {
        self.caps.contains(Caps::IGNORE_SPACE)
    }

    fn all_ok(&self, burst: &[String], replies: Vec<Reply>) -> Result<(), ServerFault> {
        for reply in replies {
            if let Reply::Err { code, state, message } = reply {
                return Err(self.refusal(&burst.join("; "), Refusal { code, state, message }));
            }
        }
        Ok(())
    }

    fn refusal(&self, what: &str, refusal: Refusal) -> ServerFault {
        let detail = format!("it refused `{what}`: {} ({})", refusal.message, refusal.code);
        ServerFault { refused: Some(refusal), ..ServerFault::new(&self.server, Fault::ServerConnect, detail) }
    }

    /// Whether it can still be used, as far as can be told without a round trip.
    pub(crate) fn is_fit(&mut self) -> bool {
        !self.life.is_cancelled() && !self.io.has_unasked()
    }
}
