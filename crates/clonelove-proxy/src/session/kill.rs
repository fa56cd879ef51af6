//! KILL, by the numbers that clients know: each client's is the proxy's own, whatever connections carry its
//! work. Owns whose work may be ended and how, and that no server ever gets a client's number.

mod said;

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use clonelove_route::reason::Reason;
use clonelove_sql::{Facts, Flavour, analyse, substitute};
use clonelove_wire::frame::HEADER;
use clonelove_wire::{Caps, Command};
use tokio::time::{Instant, timeout};

use self::said::{How, Named, Said, Whom, only_reads, said, whom};
use super::connections::life_ended;
use super::prepared::{Prepared, number_bound};
use super::statement::Statement;
use super::{ClientSession, Next};
use crate::backend::conn::QUIT;
use crate::backend::login::Wish;
use crate::backend::reply::{Reply, read_reply, request};
use crate::ending::Why;
use crate::error::{ClientError, Refusal, ServerFault};
use crate::server::Server;
use crate::shared::View;

pub(super) use self::said::speaks_of;

/// How long a server may take to end somebody's work.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whom a KILL is to end.
enum Victim {
    /// Whoever has this number, which need be nobody.
    Client(u64, How),
    /// All of a user, of which there may be none.
    User(Whom, How),
    /// No client: the server may have it as it is.
    Otherwise,
    /// Whom cannot be told.
    Refused(ClientError),
    /// Nor can anything else, with the session's connection gone.
    Gone(ClientError),
}

impl ClientSession {
    /// Carries a KILL of one of the proxy's clients out. Servers number their own connections, so that a client's number
    /// must never come to one: it would hit somebody else.
    pub(super) async fn kill_or_run(&mut self, mut statement: Statement) -> Next {
        if self.refuses_expired(Command::ProcessKill).await {
            return self.refuse_expired(&statement).await;
        }
        let (number, how) = match self.victim(&statement).await {
            Victim::Client(number, how) => (number, how),
            Victim::User(whom, how) => return self.kill_user(statement, &whom, how).await,
            Victim::Otherwise => return self.execute(statement).await,
            Victim::Refused(error) => return self.refuse(&statement, &error, Reason::NotAllowed).await,
            Victim::Gone(error) => {
                self.refuse(&statement, &error, Reason::NoPrimary).await;
                return Next::Close;
            }
        };
        let mysql = self.state.dialect.flavour == Flavour::MySql;
        // As the servers do: MySQL cuts it off.
        let number = if mysql { number & u64::from(u32::MAX) } else { number };
        let target = u32::try_from(number).ok().and_then(|id| self.shared.clients.find(id));
        let Some(target) = target else {
            if statement.command == Command::ProcessKill && mysql {
                // It may know this command no more, and nobody has that number.
                if let Some(id) = statement.frame.get_mut(HEADER.saturating_add(1)..HEADER.saturating_add(5))
                {
                    id.fill(0xFF);
                }
                return self.execute(statement).await;
            }
            return self.nobody(number).await;
        };
        let own = *target.user.lock() == *self.account.user;
        if !own && !self.may_kill_others().await {
            let error = ClientError::not_owner(target.id);
            return self.refuse(&statement, &error, Reason::NotAllowed).await;
        }
        if target.id == self.view.id {
            return self.end_itself(&statement, how, mysql).await;
        }
        self.end(&target, how, None).await;
        self.answer_ok(Reason::AnsweredHere).await
    }

    /// A client that ends itself is interrupted by that before it could be told of success. The server ends its own
    /// connection with it, and counts that.
    async fn end_itself(&mut self, statement: &Statement, how: How, mysql: bool) -> Next {
        if !how.query {
            let _ = Box::pin(self.ask_where_it_is(b"KILL CONNECTION_ID()", &Facts::default())).await;
            self.drop_connections();
        }
        let error = ClientError::killed_itself(how.query, mysql);
        let next = self.refuse(statement, &error, Reason::AnsweredHere).await;
        if how.query { next } else { Next::Close }
    }

    async fn victim(&mut self, statement: &Statement) -> Victim {
        if statement.command == Command::ProcessKill {
            return match of_command(&statement.frame) {
                Some(id) => Victim::Client(id.into(), How::default()),
                None => Victim::Refused(ClientError::malformed("a number that ends too early")),
            };
        }
        let dialect = statement.executes().map_or(self.state.dialect, Prepared::dialect);
        let sql = statement.sql();
        match said(sql, &statement.facts, &dialect) {
            Said::Otherwise => Victim::Otherwise,
            Said::User(how, account) => match whom(account, &dialect) {
                Some(whom) => Victim::User(whom, how),
                None => Victim::Otherwise,
            },
            Said::Hidden => Victim::Refused(ClientError::kill_hidden()),
            _ if statement.command == Command::StmtBulkExecute => Victim::Refused(ClientError::kill_hidden()),
            Said::Kill(how, Named::Number(number)) => Victim::Client(number, how),
            Said::Kill(how, Named::Itself) => Victim::Client(self.view.id.into(), how),
            // A text has none: the server says what is wrong.
            Said::Kill(_, Named::Parameter) if statement.command == Command::Query => Victim::Otherwise,
            Said::Kill(how, Named::Parameter) => match number_bound(statement, self.caps) {
                Some(number) => Victim::Client(number.into(), how),
                None => Victim::Refused(ClientError::kill_hidden()),
            },
            Said::Kill(how, Named::Expression(expression)) => {
                match Box::pin(self.value_of(expression)).await {
                    Ok(number) => Victim::Client(number, how),
                    Err(not) => not,
                }
            }
        }
    }

    /// Asks the server that the session is at what an expression comes to, as a number.
    async fn value_of(&mut self, expression: &[u8]) -> Result<u64, Victim> {
        let mut sql = [b"SELECT CAST((", expression, b") AS SIGNED)"].concat();
        let facts = analyse(&sql, &self.state.dialect);
        if !facts.functions.is_empty() || !facts.tables_read.is_empty() {
            return Err(Victim::Refused(ClientError::kill_by_function(
                self.state.dialect.flavour == Flavour::MySql,
            )));
        }
        if !only_reads(&facts) {
            return Err(Victim::Refused(ClientError::kill_leaves()));
        }
        if self.asks_for_traces(&facts, &sql)
            && let Some(with) = substitute(&sql, &self.state.dialect, &self.traces())
        {
            sql = with;
        }
        let kept = self.state.pin().is_some();
        let reply = match self.ask_where_it_is(&sql, &facts).await {
            Ok(reply) => reply,
            Err(error) if kept => return Err(Victim::Gone(error)),
            Err(error) => return Err(Victim::Refused(error)),
        };
        match reply {
            Some(Reply::Rows(rows)) => {
                let value = rows.rows.into_iter().next().and_then(|row| row.into_iter().next()).flatten();
                Ok(value.and_then(|value| value.parse::<i64>().ok()).unwrap_or_default().cast_unsigned())
            }
            Some(Reply::Err { code, state, message }) => {
                Err(Victim::Refused(ClientError::of_server(&Refusal { code, state, message })))
            }
            _ => Err(Victim::Refused(ClientError::kill_hidden())),
        }
    }

    /// Says something over the connection that the next statement would have.
    async fn ask_where_it_is(&mut self, sql: &[u8], facts: &Facts) -> Result<Option<Reply>, ClientError> {
        let there = self.replica_of_transaction();
        let ready = match there {
            Some(at) => self.ready_in_transaction(at),
            None => self.ready_primary(self.needs(facts, sql), None).await.map(drop),
        };
        ready.map_err(|unready| unready.client_error())?;
        if there.is_none() && self.state.found_rows_are_on_primary() {
            // This takes its place.
            Box::pin(self.save_traces()).await;
        }
        let leased = if there.is_some() { &mut self.replica } else { &mut self.primary };
        let Some(leased) = leased else { return Err(ClientError::kill_hidden()) };
        let (name, life) = (Arc::clone(&leased.server.name), leased.conn.life.clone());
        leased.conn.diagnostics = true;
        let said = [(Command::Query, sql)];
        let asked = timeout(PATIENCE, life.run(leased.conn.ask(&said))).await;
        match asked {
            Ok(Some(Ok(replies))) => Ok(replies.into_iter().next()),
            Ok(Some(Err(fault))) => {
                self.drop_connections();
                Err(ClientError::server_lost(&fault))
            }
            Ok(None) | Err(_) => {
                self.drop_connections();
                Err(ClientError::server_lost(&life_ended(&name)))
            }
        }
    }

    /// What a server says of a number that nobody has, and leaves for whoever asks for errors.
    async fn nobody(&mut self, number: u64) -> Next {
        let sql = format!(
            "SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = {NO_SUCH_THREAD}, MESSAGE_TEXT = 'Unknown thread id: {number}'"
        );
        let frame = request(Command::Query, sql.as_bytes(), self.caps);
        self.query(frame).await
    }

    /// Carries a KILL of a user out: the primary ends what is connected there and says what there is to say, and who is
    /// connected here ends with it, also without a connection there.
    async fn kill_user(&mut self, statement: Statement, Whom { user, host }: &Whom, how: How) -> Next {
        let own = self.account.user.to_string();
        let user = user.as_ref().unwrap_or(&own);
        let mut victims = self.shared.clients.of_user(user);
        victims.retain(|victim| host.as_ref().is_none_or(|host| victim.is_at(host)));
        if let Some(victim) = victims.first().filter(|_| *user != own)
            && !self.may_kill_others().await
        {
            // The primary says so only of those whom it sees.
            let error = ClientError::not_owner(victim.id);
            return self.refuse(&statement, &error, Reason::NotAllowed).await;
        }
        self.state.traces.row_count = 0;
        let next = self.execute(statement).await;
        // Where its own connection was among them, there was no answer.
        if self.state.traces.row_count >= 0 {
            let primary = self.shared.cluster.snapshot().topology.primary;
            for victim in victims {
                // What the primary has ended is not ended twice: the next statement is there by now.
                self.end(&victim, how, primary).await;
            }
        }
        next
    }

    /// Ends what a client does, or all of it, but for what it does on one of the servers.
    async fn end(&mut self, target: &Arc<View>, how: How, but: Option<usize>) {
        let killing = Killing::begin(target);
        let works: Vec<_> = target.work.lock().on.clone();
        for (index, thread) in works.into_iter().filter(|(index, _)| Some(*index) != but) {
            let Some(server) = self.shared.cluster.snapshot().servers.get(index).cloned() else { continue };
            let soft = if how.soft { "SOFT " } else { "" };
            let what = if how.query { "QUERY" } else { "CONNECTION" };
            let told = self.tell(&server, &format!("KILL {soft}{what} {thread}")).await;
            if !matches!(told, Ok(true)) {
                // Whoever had the connection next would be hit by it.
                target.work.lock().expect((index, thread));
            }
            if let Err(fault) = told {
                tracing::warn!(client = %self.view.client(), error = %fault, "a KILL did not reach its server");
            }
        }
        drop(killing);
        if !how.query {
            target.ending.tell(Why::Killed);
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

    /// Ends somebody's work on a server; answers whether that has returned.
    async fn tell(&self, server: &Arc<Server>, sql: &str) -> Result<bool, ServerFault> {
        let reply = self.ask(server, sql).await?;
        // The work may have ended meanwhile (1094), which is as good.
        if let Some(Reply::Err { code, message, .. }) = &reply
            && *code != NO_SUCH_THREAD
        {
            tracing::warn!(server = %server.name, code, message, "a KILL was refused");
        }
        Ok(reply.is_some())
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
        io.say_last(&QUIT);
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

fn of_command(frame: &BytesMut) -> Option<u32> {
    let id = frame.get(HEADER.saturating_add(1)..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*id))
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
