//! A read-only transaction on a replica, and what must not be said there: the transaction goes on on the primary. Owns
//! which statements these are, and the move.

use clonelove_route::journal::Carry;
use clonelove_route::reason::Reason;
use clonelove_route::session::Ran;
use clonelove_sql::{Effect, Facts, Kind, Previous, Why};
use clonelove_wire::Command;
use tokio::time::Instant;

use super::connections::life_ended;
use super::needs::Needs;
use super::statement::Statement;
use super::{ClientSession, Next};
use crate::backend::pool::Class;
use crate::backend::reply::Reply;
use crate::error::{ClientError, Fault, ServerFault};

const BEGIN: &[u8] = b"START TRANSACTION READ ONLY";

impl ClientSession {
    /// Whether a statement in a transaction on a replica leaves what later ones will want on the primary, or asks for
    /// what a replica cannot tell. What is only prepared is prepared where it would run.
    pub(super) fn must_leave_replica(&self, statement: &Statement) -> bool {
        self.replica_of_transaction().is_some() && !self.may_stay(statement)
    }

    fn may_stay(&self, statement: &Statement) -> bool {
        let facts = &*statement.facts;
        if facts.why.is_none() {
            return true;
        }
        if !facts.parts.is_empty() || !facts.effects.iter().all(is_carried) {
            return false;
        }
        match facts.kind {
            Kind::Transaction => true,
            // It will be refused.
            Kind::Write | Kind::Ddl => facts.effects.is_empty() && facts.functions.is_empty(),
            Kind::Session if sets(facts) => {
                let dialect = &self.state.dialect;
                matches!(self.state.journal.note(statement.sql(), facts, dialect), Carry::Replay(_))
            }
            Kind::Session => true,
            Kind::Read => {
                facts.why == Some(Why::PreviousStatement) && facts.previous == Previous::DIAGNOSTICS
            }
            _ => false,
        }
    }

    /// The transaction goes on on the primary, which shows it what is there now. Without a primary it stays where it is.
    pub(super) async fn move_transaction(&mut self) -> Result<(), ServerFault> {
        if self.ready_primary(Needs::of_class(Class::Write), None).await.is_err() {
            return Ok(());
        }
        let Some(leased) = &mut self.primary else { return Ok(()) };
        let life = leased.conn.life.clone();
        let begin = [(Command::Query, BEGIN)];
        let begun = life.run(leased.conn.ask(&begin)).await;
        let begun = match begun.unwrap_or_else(|| Err(life_ended(&leased.server.name))) {
            Ok(replies) if matches!(replies.as_slice(), [Reply::Ok]) => Ok(()),
            Ok(_) => {
                let why = "it does not begin a transaction";
                Err(ServerFault::new(&leased.server.name, Fault::ServerProtocol, why))
            }
            Err(fault) => Err(fault),
        };
        if begun.is_err() {
            self.lose_primary();
            return begun;
        }
        self.leave_on_primary().await?;
        // As long as the transaction counts as its own, the connection to the replica is closed.
        self.give_back_replica(Instant::now());
        self.state.ran = Ran::Primary;
        Ok(())
    }

    /// The connection that a statement needed was lost before that could be said.
    pub(super) async fn lost_before(&mut self, statement: &Statement, fault: &ServerFault) -> Next {
        self.refuse(statement, &ClientError::server_lost(fault), Reason::NoPrimary).await;
        Next::Close
    }
}

/// Whether what a statement does to its session is known, and done again on whatever connection is next.
fn is_carried(effect: &Effect) -> bool {
    matches!(
        effect,
        Effect::Begin { .. }
            | Effect::Commit { .. }
            | Effect::Rollback { .. }
            | Effect::Diagnostics
            | Effect::UseSchema(_)
            | Effect::Settings(_)
    )
}

fn sets(facts: &Facts) -> bool {
    facts.effects.iter().any(|effect| matches!(effect, Effect::Settings(_)))
}
