//! KILL, by the numbers that clients know: each client's is the proxy's own, whatever connections carry its
//! work. Owns whose work may be ended and how; a number that is no client's is left to the primary.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use clonelove_route::reason::Reason;
use clonelove_sql::{Dialect, Effect, Facts, Lexer, TokenKind};
use clonelove_wire::frame::HEADER;
use clonelove_wire::{Caps, Command};
use tokio::time::{Instant, timeout};

use super::prepared::number_bound;
use super::statement::Statement;
use super::{ClientSession, Next};
use crate::backend::login::Wish;
use crate::backend::reply::{Reply, read_reply, request};
use crate::ending::Why;
use crate::error::{ClientError, ServerFault};
use crate::server::Server;
use crate::shared::View;

/// How long a server may take to end somebody's work.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a KILL asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kill {
    id: u32,
    /// Only the statement; else the connection too.
    query: bool,
}

/// Whom it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    /// By this number.
    Number(u32),
    /// By what is bound to its only parameter.
    Parameter,
    /// Itself: CONNECTION_ID().
    Itself,
}

impl ClientSession {
    /// A KILL of one of the proxy's clients is carried out here; answers the statement back when it is of
    /// something else.
    pub(super) async fn kill(&mut self, statement: Statement) -> Result<Next, Statement> {
        let kill = match statement.command {
            Command::ProcessKill => of_command(&statement.frame),
            _ => of_text(statement.sql(), &statement.facts, &self.state.dialect)
                .and_then(|(named, query)| Some(Kill { id: self.number_of(named, &statement)?, query })),
        };
        let target = kill.and_then(|kill| Some((kill, self.shared.clients.find(kill.id)?)));
        let Some((kill, target)) = target else { return Err(statement) };
        let own = *target.user.lock() == *self.account.user;
        if !own && !self.may_kill_others().await {
            let error = ClientError::not_owner(kill.id);
            return Ok(self.refuse(&statement, &error, Reason::NotAllowed).await);
        }
        let killing = Killing::begin(&target);
        let works: Vec<_> = target.work.lock().on.clone();
        for (index, thread) in works {
            let Some(server) = self.shared.cluster.snapshot().servers.get(index).cloned() else { continue };
            let what = if kill.query { format!("KILL QUERY {thread}") } else { format!("KILL {thread}") };
            if let Err(fault) = self.tell(&server, &what).await {
                tracing::warn!(client = %self.view.client(), error = %fault, "a KILL did not reach its server");
            }
        }
        drop(killing);
        if !kill.query {
            target.ending.tell(Why::Killed);
        }
        Ok(self.answer_ok(Reason::AnsweredHere).await)
    }

    fn number_of(&self, named: Named, statement: &Statement) -> Option<u32> {
        match named {
            Named::Number(id) => Some(id),
            Named::Itself => Some(self.view.id),
            Named::Parameter => number_bound(statement, self.caps),
        }
    }

    /// Whether the primary lets this user end the work of others.
    async fn may_kill_others(&self) -> bool {
        let snapshot = self.shared.cluster.snapshot();
        let primary = snapshot.topology.primary.and_then(|at| snapshot.servers.get(at)).cloned();
        let Some(primary) = primary else { return false };
        match self.ask(&primary, "SHOW GRANTS").await {
            Ok(Some(Reply::Rows(rows))) => {
                rows.rows.iter().flatten().flatten().any(|grant| kills_others(grant))
            }
            _ => false,
        }
    }

    /// Ends somebody's work on a server.
    async fn tell(&self, server: &Arc<Server>, sql: &str) -> Result<(), ServerFault> {
        // The work may have ended meanwhile (1094), which is as good.
        if let Some(Reply::Err { code, message, .. }) = self.ask(server, sql).await?
            && code != NO_SUCH_THREAD
        {
            tracing::warn!(server = %server.name, code, message, "a KILL was refused");
        }
        Ok(())
    }

    /// Says one thing to a server, over a connection of its own: those of the pool may all be busy. None when it does
    /// not answer in time.
    async fn ask(&self, server: &Arc<Server>, sql: &str) -> Result<Option<Reply>, ServerFault> {
        let wish = Wish {
            account: Arc::clone(&self.account),
            schema: None,
            caps: Caps::TRANSACTIONS | Caps::DEPRECATE_EOF | Caps::PLUGIN_AUTH,
            charset: self.response.charset,
        };
        let settings = server.settings.load_full();
        let until = Instant::now() + PATIENCE;
        let (mut io, session) = server.log_in(&settings, &wish, until).await?;
        let lost = |error| ServerFault::lost(&server.name, &error);
        io.write_all(&request(Command::Query, sql.as_bytes(), session.caps)).await.map_err(lost)?;
        let reply = timeout(PATIENCE, read_reply(&mut io, &server.name, session.caps)).await;
        Ok(reply.ok().and_then(Result::ok))
    }
}

const NO_SUCH_THREAD: u16 = 1094;

/// While this lasts, the target's connections are not given to others.
struct Killing(Arc<View>);

impl Killing {
    fn begin(target: &Arc<View>) -> Self {
        let mut work = target.work.lock();
        work.kills = work.kills.saturating_add(1);
        drop(work);
        Self(Arc::clone(target))
    }
}

impl Drop for Killing {
    fn drop(&mut self) {
        let mut work = self.0.work.lock();
        work.kills = work.kills.saturating_sub(1);
    }
}

/// Whether a line of SHOW GRANTS gives the right to end the work of others.
fn kills_others(grant: &str) -> bool {
    let Some((rights, _)) = grant.split_once(" ON *.*") else { return false };
    let rights = rights.strip_prefix("GRANT ").unwrap_or(rights);
    rights.split(',').any(|right| {
        matches!(right.trim(), "ALL PRIVILEGES" | "SUPER" | "CONNECTION ADMIN" | "CONNECTION_ADMIN")
    })
}

fn of_command(frame: &BytesMut) -> Option<Kill> {
    let id = frame.get(HEADER.saturating_add(1)..)?.first_chunk::<4>()?;
    Some(Kill { id: u32::from_le_bytes(*id), query: false })
}

/// `KILL [HARD | SOFT] [CONNECTION | QUERY] number`; true: the statement only.
fn of_text(sql: &[u8], facts: &Facts, dialect: &Dialect) -> Option<(Named, bool)> {
    if facts.effects.as_slice() != [Effect::Kill] {
        return None;
    }
    let mut tokens = Lexer::new(sql, dialect).skip(1);
    let mut query = false;
    let named = loop {
        let token = tokens.next()?;
        let text = sql.get(token.range)?;
        let is = |word: &[u8]| text.eq_ignore_ascii_case(word);
        match token.kind {
            TokenKind::Word if is(b"QUERY") => query = true,
            TokenKind::Word if is(b"HARD") || is(b"SOFT") || is(b"CONNECTION") => {}
            TokenKind::Word if is(b"CONNECTION_ID") => {
                let mut is_sign = |sign| tokens.next().is_some_and(|next| next.kind == TokenKind::Sign(sign));
                break (is_sign(b'(') && is_sign(b')')).then_some(Named::Itself)?;
            }
            TokenKind::Number => break Named::Number(std::str::from_utf8(text).ok()?.parse().ok()?),
            TokenKind::Parameter => break Named::Parameter,
            _ => return None,
        }
    };
    let end = tokens.next().is_none_or(|last| last.kind == TokenKind::Sign(b';'));
    end.then_some((named, query))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clonelove_sql::analyse;

    #[test]
    fn who_may_end_the_work_of_others_stands_in_the_grants() {
        for grant in [
            "GRANT ALL PRIVILEGES ON *.* TO `a`@`%` WITH GRANT OPTION",
            "GRANT SELECT, SUPER, CREATE ON *.* TO `a`@`%`",
            "GRANT PROCESS, CONNECTION ADMIN ON *.* TO `a`@`%`",
            "GRANT BACKUP_ADMIN,CONNECTION_ADMIN ON *.* TO `a`@`%`",
        ] {
            assert!(kills_others(grant), "{grant}");
        }
        for grant in [
            "GRANT PROCESS ON *.* TO `a`@`%`",
            "GRANT ALL PRIVILEGES ON `app`.* TO `a`@`%`",
            "GRANT `SUPER`@`%` TO `a`@`%`",
        ] {
            assert!(!kills_others(grant), "{grant}");
        }
    }

    #[test]
    fn a_kill_names_a_client_and_how_much_of_it() {
        let kill = |sql: &str| {
            let dialect = Dialect::default();
            of_text(sql.as_bytes(), &analyse(sql.as_bytes(), &dialect), &dialect)
        };
        assert_eq!(kill("KILL 7"), Some((Named::Number(7), false)));
        assert_eq!(kill("kill connection 7;"), Some((Named::Number(7), false)));
        assert_eq!(kill("KILL HARD QUERY 7"), Some((Named::Number(7), true)));
        assert_eq!(kill("KILL QUERY ?"), Some((Named::Parameter, true)));
        assert_eq!(kill("KILL CONNECTION_ID()"), Some((Named::Itself, false)));
        for sql in [
            "KILL QUERY ID 7",
            "KILL USER a",
            "KILL 7 + 1",
            "KILL ? + 1",
            "KILL CONNECTION_ID() + 1",
            "KILL @a",
            "KILL",
            "SELECT 7",
        ] {
            assert_eq!(kill(sql), None, "{sql}");
        }
    }
}
