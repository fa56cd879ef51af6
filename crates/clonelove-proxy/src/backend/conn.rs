//! One connection to a server: what it has heard, what it is used for, and the proxy's own statements
//! on it. Must not know the pool, nor clients.

use std::sync::Arc;
use std::time::Duration;

use clonelove_route::freshness::Rules;
use clonelove_route::journal::{Journal, Way};
use clonelove_route::position::Position;
use clonelove_route::report::{Flavour, Report};
use clonelove_sql::hash_of;
use clonelove_wire::{Caps, Command};
use tokio::time::{Instant, timeout};

use super::pool::{Pooled, Slot};
use super::reply::{Reply, Rows, read_reply, request};
use super::setup::{self, Manner, SERVER_CHARSET, Use};
use super::statements::Statements;
use crate::ending::Life;
use crate::error::{Fault, Refusal, ServerFault};
use crate::net::Buffered;

/// COM_QUIT, framed.
pub(crate) const QUIT: [u8; 5] = [1, 0, 0, 0, 1];

/// A connection to a server. Dropping it closes the socket.
pub(crate) struct BackendConn {
    pub(crate) io: Buffered,
    /// As negotiated with this server.
    pub(crate) caps: Caps,
    /// The server's name.
    pub(crate) server: Arc<str>,
    /// The server's number for it, as KILL takes it.
    pub(crate) thread: u32,
    /// The core that hears of its socket.
    pub(crate) home: usize,
    /// The life of the server that it belongs to.
    pub(crate) life: Life,
    /// What it was set up for.
    pub(crate) usage: Use,
    pub(crate) flavour: Flavour,
    /// Its variables are called transaction_…, not tx_….
    pub(crate) says_transaction: bool,
    /// Its clients asked for session tracking.
    pub(crate) tracks: bool,
    /// The collation it began with, at log-in or after its last reset.
    pub(crate) charset: u8,
    /// The default schema, as the server last said.
    pub(crate) schema: Option<String>,
    /// The settings it has heard since.
    pub(crate) journal: Journal,
    /// LAST_INSERT_ID() there, where it is known.
    pub(crate) last_insert_id: Option<u64>,
    /// What ran on it may have set user variables that nobody heard of.
    pub(crate) tainted: bool,
    /// A position of what ran on it was not told yet, and would come with the reply to another statement.
    pub(crate) owes_position: bool,
    /// What it has prepared.
    pub(crate) statements: Box<Statements>,
    /// It may still show warnings of a statement before.
    pub(crate) diagnostics: bool,
    /// Its account's password has expired: the server lets it do nothing but change it, and so it is not set up.
    pub(crate) expired: bool,
    /// The last statement on it was its session's own, so what that left can be asked for.
    pub(crate) native: bool,
    pub(crate) born: Instant,
    pub(crate) worn_at: Instant,
    /// Held for as long as the connection is; none for those of the monitor.
    pub(crate) _slot: Option<Slot<Box<BackendConn>>>,
}

/// The state a statement needs.
pub(crate) struct Target<'a> {
    pub(crate) usage: Use,
    pub(crate) charset: u8,
    pub(crate) schema: Option<&'a str>,
    pub(crate) journal: &'a Journal,
    /// The primary's session defaults where they differ, for a connection that begins anew.
    pub(crate) like: &'a (dyn Fn() -> Vec<(String, String)> + Sync),
    /// LAST_INSERT_ID(), where the statement asks for it.
    pub(crate) last_insert_id: Option<u64>,
    /// User variables that were never set must have no value.
    pub(crate) no_variables: bool,
    /// There must be no warnings of before.
    pub(crate) no_diagnostics: bool,
    /// What the reply tells of a position, or does not, will be judged: there must be none of before.
    pub(crate) no_position: bool,
    /// The statement asks for warnings: nor may there be any of what the connection must hear.
    pub(crate) asks_diagnostics: bool,
}

impl Target<'_> {
    /// The number of this state; connections in equal ones share it.
    pub(crate) fn state(&self) -> u64 {
        state_number(self.usage, self.charset, self.schema, self.journal)
    }
}

fn state_number(usage: Use, charset: u8, schema: Option<&str>, journal: &Journal) -> u64 {
    // It need not hold up against anybody: who takes a connection for it compares the states themselves.
    let rest = u64::from(charset) << 1 | u64::from(usage == Use::Reads);
    let schema = schema.map_or(0, |name| hash_of(name.as_bytes(), [rest, 0x9E37_79B9_7F4A_7C15]));
    journal.id().wrapping_add(schema ^ rest)
}

/// What a connection must hear to be in a state; what it is thereby brought to.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    statements: Vec<(Command, Vec<u8>)>,
    /// How many of them, from the first, are the proxy's own affair.
    own: usize,
    reset: bool,
}

impl Steps {
    pub(crate) fn is_empty(&self) -> bool {
        self.statements.is_empty()
    }
}

/// Why a connection did not get into a state.
#[derive(Debug)]
pub(crate) enum NotBrought {
    /// It is not fit for it; another may be.
    Unfit(ServerFault),
    /// The server refuses the state.
    Refused(ServerFault),
    /// The server refuses the default schema, and that was all: the connection is as it says.
    NoSchema(ServerFault),
}

impl Pooled for Box<BackendConn> {
    fn is_fit(&mut self) -> bool {
        BackendConn::is_fit(self)
    }

    fn state(&self) -> u64 {
        state_number(self.usage, self.charset, self.schema.as_deref(), &self.journal)
    }

    fn home(&self) -> usize {
        self.home
    }

    fn born(&self) -> Instant {
        self.born
    }

    fn worn_at(&self) -> Instant {
        self.worn_at
    }

    fn seed(&self) -> u32 {
        self.thread
    }

    fn part(&mut self) {
        BackendConn::part(self);
    }
}

/// Clears warnings and counts of the statement before: it uses a table, if only a derived one. MariaDB does not count this
/// as a SELECT.
const fn clear(flavour: Flavour) -> &'static [u8] {
    match flavour {
        Flavour::MariaDb => b"DO (SELECT 1 FROM (SELECT 1) AS t)",
        Flavour::MySql => b"SELECT 1 FROM (SELECT 1) AS t",
    }
}

/// What a server says to all but a change of the password, where that has expired.
const MUST_CHANGE_PASSWORD: u16 = 1820;

/// Its OK carries a position that no reply before it could. MariaDB tells one with the next change of the session's state,
/// for which it takes any SET: this one changes nothing. MySQL (9.7) never tells it at all.
const FETCH_POSITION: &[u8] = b"SET SESSION session_track_schema = 1";

impl BackendConn {
    /// Whether it can still be used, as far as can be told without a round trip.
    pub(crate) fn is_fit(&mut self) -> bool {
        !self.life.is_over() && !self.io.has_unasked()
    }

    /// Takes leave of the server, which else counts it as a client that was cut off. For one that is in the middle of
    /// nothing but a reply.
    pub(crate) fn part(&mut self) {
        self.io.say_last(&QUIT);
    }

    /// Goes on on this core, which is the caller's.
    pub(crate) fn move_to(&mut self, core: usize) -> std::io::Result<()> {
        self.io.is_elsewhere(true);
        self.io.move_here()?;
        self.home = core;
        Ok(())
    }

    /// Sends the proxy's own statements in one go and reads all their replies.
    pub(crate) async fn ask(&mut self, statements: &[(Command, &[u8])]) -> Result<Vec<Reply>, ServerFault> {
        let mut out = bytes::BytesMut::new();
        for (command, body) in statements {
            out.extend_from_slice(&request(*command, body, self.caps));
        }
        self.native = false;
        self.io.write_all(&out).await.map_err(|error| ServerFault::lost(&self.server, &error))?;
        self.replies(statements.len()).await
    }

    async fn replies(&mut self, count: usize) -> Result<Vec<Reply>, ServerFault> {
        let mut replies = Vec::with_capacity(count);
        for _ in 0..count {
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

    /// The set-up burst on a new connection, with the check of who answers, as far as the rules that are `kept` have it.
    /// Answers what a replica has executed.
    pub(crate) async fn set_up(
        &mut self,
        report: &Report,
        like: &[(String, String)],
        read_only_by_client: &(dyn Fn() -> bool + Sync),
        kept: &(dyn Fn(Rules) -> bool + Sync),
    ) -> Result<Option<Position>, ServerFault> {
        let mut statements = vec![setup::burst(self.flavour, self.usage, like, self.manner())];
        if self.charset == SERVER_CHARSET {
            // MariaDB makes something of its own of it in a handshake.
            statements.extend(setup::set_names(SERVER_CHARSET, self.flavour));
        }
        let texts = statements.join("; ");
        statements.push(setup::identity_statement(self.flavour, self.usage).to_owned());
        let requests: Vec<(Command, &[u8])> =
            statements.iter().map(|sql| (Command::Query, sql.as_bytes())).collect();
        let mut replies = self.ask(&requests).await?;
        self.expired =
            replies.iter().any(|reply| matches!(reply, Reply::Err { code: MUST_CHANGE_PASSWORD, .. }));
        if self.expired {
            return Ok(None);
        }
        let who = replies.pop();
        for reply in replies {
            if let Reply::Err { code, state, message } = reply {
                return Err(self.refusal(&texts, Refusal { code, state, message }));
            }
        }
        let Some(Reply::Rows(rows)) = who else {
            return Err(ServerFault::new(&self.server, Fault::ServerProtocol, "it does not say who it is"));
        };
        let row = rows.rows.first().map(Vec::as_slice).unwrap_or_default();
        match setup::check_identity(row, report) {
            None if kept(Rules::ONE_SERVER) => Err(ServerFault::new(
                &self.server,
                Fault::ServerConnect,
                "another server answers at its address than the one the probe saw; \
                 a name with several addresses must become one server entry each",
            )),
            Some(true)
                if self.usage == Use::Primary && !read_only_by_client() && kept(Rules::FOUND_WRITABLE) =>
            {
                Err(ServerFault::new(&self.server, Fault::NoPrimary, "it has become read-only"))
            }
            _ => {
                let position = row.get(5).and_then(Option::as_deref);
                Ok(position.and_then(|text| Position::parse(self.flavour, text).ok()))
            }
        }
    }

    /// Whether it tells of a schema what a new connection would: a role may open it, and a name is read in the
    /// connection's character set.
    pub(crate) fn tells_of(&self, schema: &str) -> bool {
        !self.journal.outlives_reset() && schema.is_ascii()
    }

    /// What this connection must hear to be in a state; `None` when it cannot get there.
    pub(crate) fn steps(&self, target: &Target<'_>) -> Option<Steps> {
        if target.schema.is_none() && self.schema.is_some() {
            return None;
        }
        let reads = target.usage == Use::Reads;
        let anew = self.charset != target.charset
            || self.usage != target.usage
            || target.no_variables && self.tainted;
        let way = match target.journal.way_from(&self.journal, reads) {
            _ if anew && self.journal.outlives_reset() => Way::Never,
            _ if anew => Way::Reset,
            way => way,
        };
        let mut steps = Steps::default();
        let say = match way {
            Way::Never => return None,
            Way::Reset => {
                // COM_RESET_CONNECTION switches our trackers off, and takes MySQL to its default collation.
                let names = setup::set_names(target.charset, self.flavour)?;
                let burst = setup::burst(self.flavour, target.usage, &(target.like)(), self.manner());
                steps.reset = true;
                steps.statements.push((Command::ResetConnection, Vec::new()));
                steps.statements.push((Command::Query, names.into_bytes()));
                steps.statements.push((Command::Query, burst.into_bytes()));
                target.journal.way_from_nothing(reads)
            }
            Way::Say(say) => say,
        };
        steps.own = steps.statements.len();
        if let Some(schema) = target.schema.filter(|schema| self.schema.as_deref() != Some(schema)) {
            steps.statements.push((Command::InitDb, schema.as_bytes().to_vec()));
        }
        steps.statements.extend(say.into_iter().map(|sql| (Command::Query, sql)));
        let known = if steps.reset { Some(0) } else { self.last_insert_id };
        if let Some(id) = target.last_insert_id.filter(|id| known != Some(*id)) {
            steps.statements.push((Command::Query, format!("SET last_insert_id = {id}").into_bytes()));
        }
        let heard = steps.reset || target.asks_diagnostics && !steps.statements.is_empty();
        if target.no_position && self.owes_position {
            steps.statements.push((Command::Query, FETCH_POSITION.to_vec()));
        }
        if target.no_diagnostics && (self.diagnostics || heard) {
            steps.statements.push((Command::Query, clear(self.flavour).to_vec()));
        }
        Some(steps)
    }

    /// Takes the steps, and sends `along` behind them in the same write. After an error it must be closed,
    /// unless it was the schema alone, and nothing was sent along.
    pub(crate) async fn take(
        &mut self,
        steps: &Steps,
        target: &Target<'_>,
        along: Option<&[u8]>,
    ) -> Result<(), NotBrought> {
        let mut out = bytes::BytesMut::new();
        for (command, body) in &steps.statements {
            out.extend_from_slice(&request(*command, body, self.caps));
        }
        out.extend_from_slice(along.unwrap_or_default());
        self.native = false;
        let lost = |error| NotBrought::Unfit(ServerFault::lost(&self.server, &error));
        self.io.write_all(&out).await.map_err(lost)?;
        let replies = self.replies(steps.statements.len()).await.map_err(NotBrought::Unfit)?;
        let mut no_schema = None;
        for (at, (reply, (command, text))) in replies.into_iter().zip(&steps.statements).enumerate() {
            let Reply::Err { code, state, message } = reply else { continue };
            let fault = self.refusal(&String::from_utf8_lossy(text), Refusal { code, state, message });
            if *command == Command::InitDb && along.is_none() {
                no_schema = Some(fault);
                continue;
            }
            // One that may not do as little as that, as with max_session_mem_used, is worn out.
            let own = [clear(self.flavour), FETCH_POSITION];
            let unfit = at < steps.own || own.contains(&text.as_slice());
            return Err(if unfit { NotBrought::Unfit(fault) } else { NotBrought::Refused(fault) });
        }
        if steps.reset {
            self.statements.clear();
            self.usage = target.usage;
            self.charset = target.charset;
            self.tainted = false;
            self.last_insert_id = Some(0);
        }
        if target.last_insert_id.is_some() {
            self.last_insert_id = target.last_insert_id;
        }
        self.owes_position &= !target.no_position;
        self.diagnostics &= !target.no_diagnostics;
        self.journal = target.journal.clone();
        if let Some(fault) = no_schema {
            // It is still in the one that it was in.
            self.diagnostics = true;
            return Err(NotBrought::NoSchema(fault));
        }
        if let Some(schema) = target.schema.filter(|schema| self.schema.as_deref() != Some(schema)) {
            self.schema = Some(schema.to_owned());
        }
        Ok(())
    }

    /// What the client asked for at log-in that a reset undoes, and how this server calls its variables.
    fn manner(&self) -> Manner {
        Manner {
            ignore_space: self.caps.contains(Caps::IGNORE_SPACE),
            interactive: self.caps.contains(Caps::INTERACTIVE),
            says_transaction: self.says_transaction,
            tracks: self.tracks,
        }
    }

    fn refusal(&self, what: &str, refusal: Refusal) -> ServerFault {
        let detail = format!("it refused `{what}`: {} ({})", refusal.message, refusal.code);
        ServerFault { refused: Some(refusal), ..ServerFault::new(&self.server, Fault::ServerConnect, detail) }
    }
}
