//! What happens between two statements: values are read back, what others must not see is saved, and the
//! connections go back to where others can use them. Owns the order of these; must not decide routing.

use std::time::Duration;

use clonelove_route::decide::Plan;
use clonelove_route::freshness::Rules;
use clonelove_route::pins::Pin;
use clonelove_route::report::Flavour;
use clonelove_route::session::{Heard, Held, Ran};
use clonelove_sql::Kind;
use clonelove_wire::Command;
use tokio::time::{Instant, timeout};

use super::ClientSession;
use super::connections::{Leased, life_ended};
use super::needs::Needs;
use super::prepared::{NotPut, Open, address};
use super::remembered::ToCheck;
use super::statement::Statement;
use crate::backend::pool::Class;
use crate::backend::reply::{Reply, Rows};
use crate::error::ServerFault;

/// How long a server may take to tell a value of its own.
const ASK: Duration = Duration::from_secs(5);

/// A read that left something on a replica. In a box, for few sessions have one.
pub(super) struct Left {
    statement: Statement,
    /// What was executed, with its values.
    open: Option<Open>,
}

impl ClientSession {
    /// The connection that ran a statement is in the state that this led to.
    pub(super) fn note_on_connection(
        &mut self,
        ran: Ran,
        statement: &Statement,
        heard: &Heard,
        moved_id: bool,
    ) {
        let leased = match ran {
            Ran::Replica(_) => &mut self.replica,
            _ => &mut self.primary,
        };
        let Some(Leased { conn, .. }) = leased else { return };
        conn.native = true;
        conn.diagnostics = self.state.held.is_some();
        conn.tainted |= !statement.is_read();
        conn.owes_position |= !statement.only_looks()
            && (heard.failed || heard.plain_eofs)
            && conn.flavour == Flavour::MariaDb
            && self.shared.cluster.freshness.keeps(Rules::LATE_POSITION);
        if moved_id {
            conn.last_insert_id = None;
        }
        if statement.facts.kind == Kind::Session && conn.journal != self.state.journal {
            conn.journal = self.state.journal.clone();
        }
    }

    /// After a command: the connections go back, unless the session's state lives on them.
    pub(super) async fn settle(&mut self) {
        if self.primary.is_none() && self.replica.is_none() {
            return;
        }
        if !self.state.unread.is_empty()
            && self.state.held.is_some()
            && self.state.dialect.flavour == clonelove_sql::Flavour::MySql
        {
            // To ask for the values would clear what the next statement may ask for.
            self.state.read_back(None);
        }
        let unread = !self.state.unread.is_empty();
        let asks = unread || self.to_check.is_some();
        if self.state.found_rows_are_on_replica() && !self.replica_stays() {
            Box::pin(self.save_found_rows()).await;
        }
        if asks && self.state.found_rows_are_on_primary() && self.primary.is_some() {
            // What is asked for ourselves would take its place.
            Box::pin(self.save_traces()).await;
        }
        if unread {
            Box::pin(self.read_back()).await;
        }
        if let Some(check) = self.to_check.take() {
            Box::pin(self.check(*check)).await;
        }
        let moved = self.state.traces.last_insert_id_moved || self.state.found_rows_are_on_primary();
        if moved && self.primary.is_some() && !self.primary_stays() {
            Box::pin(self.save_traces()).await;
        }
        self.give_back_what_may(Instant::now());
    }

    /// The part of it that asks no server: done before the last of a reply is sent, so that a client which
    /// has its reply finds the connection free, were it only for its own next log-in.
    pub(super) fn settle_early(&mut self, now: Instant) {
        let asks = self.to_check.is_some() || self.traces_moved();
        if self.state.unread.is_empty() && !asks {
            self.give_back_what_may(now);
        }
    }

    fn primary_stays(&self) -> bool {
        self.state.held.is_some_and(|held| held.ran == Ran::Primary) || self.state.pin().is_some()
    }

    fn replica_stays(&self) -> bool {
        let held = self.state.held.is_some_and(|held| matches!(held.ran, Ran::Replica(_)));
        held || self.state.transaction.open && matches!(self.state.ran, Ran::Replica(_))
    }

    fn give_back_what_may(&mut self, now: Instant) {
        if self.replica.is_some() && !self.replica_stays() {
            self.give_back_replica(now);
        }
        if self.primary.is_some() && !self.primary_stays() {
            self.give_back_primary(now);
        }
    }

    /// What the connection's next user must not be asked for.
    pub(super) async fn save_traces(&mut self) {
        let rows = self.state.found_rows_are_on_primary();
        self.state.traces.found_rows_moved &= !rows;
        // MySQL warns whoever asks for FOUND_ROWS().
        let asks = if rows { "SELECT LAST_INSERT_ID(), FOUND_ROWS()" } else { "SELECT LAST_INSERT_ID()" };
        let told = self.ask_primary(asks).await;
        let row = told.as_ref().and_then(|told| told.rows.first()).map(Vec::as_slice).unwrap_or_default();
        let number = |at: usize| row.get(at)?.as_ref()?.parse::<u64>().ok();
        let moved = std::mem::take(&mut self.state.traces.last_insert_id_moved);
        let (Some(id), Some(leased)) = (number(0), &mut self.primary) else { return self.lose_primary() };
        if moved {
            // Else it is what somebody else left there.
            self.state.traces.last_insert_id = id;
        }
        self.state.traces.found_rows = number(1).unwrap_or(self.state.traces.found_rows);
        leased.conn.last_insert_id = Some(id);
        leased.conn.diagnostics |= rows;
    }

    /// How many rows a read found, where only the replica's connection knows. It is asked when it is not kept any longer:
    /// few ask for it themselves.
    async fn save_found_rows(&mut self) {
        let Some(leased) = &mut self.replica else { return };
        let life = leased.conn.life.clone();
        leased.conn.diagnostics = true;
        let statement = [(Command::Query, b"SELECT FOUND_ROWS()".as_slice())];
        let asked = timeout(ASK, life.run(leased.conn.ask(&statement))).await;
        let Ok(Some(Ok(replies))) = asked else { return self.lose_replica() };
        self.state.traces.found_rows_moved = false;
        if let Some(Reply::Rows(rows)) = replies.first()
            && let Some(found) = rows.rows.first().and_then(|row| row.first()?.as_ref()?.parse().ok())
        {
            self.state.traces.found_rows = found;
        }
    }

    /// A connection that is kept for nothing but what this statement ends is given back before another is waited
    /// for: two sessions that each keep what the other wants would wait in vain. An error ends the client: what was kept
    /// for it is gone.
    pub(super) async fn let_go_for(&mut self, plan: Plan, statement: &Statement) -> Result<(), ServerFault> {
        let Some(held) = self.state.held.filter(|_| !self.state.transaction.open) else { return Ok(()) };
        let elsewhere = matches!(
            (plan, held.ran),
            (Plan::Replica(_), Ran::Primary) | (Plan::Primary(_), Ran::Replica(_))
        );
        let only_counted = self.left.is_none() && self.state.found_rows_are_on_replica();
        if elsewhere && (only_counted || self.state.ends_hold(&statement.facts)) {
            self.state.held = None;
            self.settle().await;
        } else if elsewhere && self.left.is_some() {
            return self.leave_on_primary().await;
        }
        Ok(())
    }

    /// Keeps a read that left warnings or an error on a replica, to be said once more.
    pub(super) fn note_left(&mut self, statement: &Statement, heard: &Heard) {
        let on_replica = self.state.held.is_some_and(|held| matches!(held.ran, Ran::Replica(_)));
        if !on_replica {
            self.left = None;
        } else if heard.failed || heard.warnings > 0 {
            let executes = statement.executes().is_some();
            let open = if executes { self.open.get_mut(&statement.number).map(Open::again) } else { None };
            let again = statement.is_read() && !statement.frame.is_empty() && executes == open.is_some();
            self.left = again.then(|| Box::new(Left { statement: statement.again(), open }));
        } else if self.state.ends_hold(&statement.facts) {
            // It is kept for how many rows this one found, and what was left before is gone.
            self.left = None;
        }
    }

    /// What a read left on a replica is left on the primary, where the next statement runs and leaves it, or asks for it:
    /// by the same read, however long that takes. An error is that of a server that broke under it.
    pub(super) async fn leave_on_primary(&mut self) -> Result<(), ServerFault> {
        let replica = self.state.held.is_some_and(|held| matches!(held.ran, Ran::Replica(_)));
        let left = replica && self.left.is_some();
        if !left || self.ready_primary(Needs::of_class(Class::Write), None).await.is_err() {
            return Ok(());
        }
        let (Some(left), Some(mut leased)) = (self.left.take(), self.primary.take()) else { return Ok(()) };
        let Left { mut statement, open } = *left;
        if let Err(fault) = self.say_again(&mut leased, &mut statement, open.as_ref()).await {
            self.lose_primary();
            return Err(fault);
        }
        leased.conn.diagnostics = true;
        self.primary = Some(leased);
        self.give_back_replica(Instant::now());
        self.state.held = Some(Held { pin: Pin::Diagnostics, ran: Ran::Primary });
        Ok(())
    }

    /// Has a server run what another one has run, `open` being what that executed.
    async fn say_again(
        &self,
        leased: &mut Leased,
        statement: &mut Statement,
        open: Option<&Open>,
    ) -> Result<(), ServerFault> {
        if let Some(open) = open {
            match self.put_on(leased, &open.put).await {
                Ok(()) => address(leased, &open.put, open, statement),
                Err(NotPut::Fault(fault)) => return Err(fault),
                // That is what it leaves.
                Err(NotPut::Refused(_)) => return Ok(()),
            }
        }
        let whole = [&statement.ahead[..], &statement.frame[..]].concat();
        let life = leased.conn.life.clone();
        let said = leased.conn.say_again(statement.command, (&whole, statement.reply_sequence()));
        life.run(said).await.unwrap_or_else(|| Err(life_ended(&leased.server.name)))
    }

    fn traces_moved(&self) -> bool {
        self.state.traces.last_insert_id_moved || self.state.traces.found_rows_moved
    }

    /// A setting is remembered once the server has told what it came to, and that is what was understood.
    async fn check(&mut self, check: ToCheck) {
        let names: Vec<String> = check.names().map(|name| self.local_name(name)).collect();
        if !names.is_empty() {
            let list: Vec<String> = names.iter().map(|name| format!("@@session.{name}")).collect();
            let Some(rows) = self.ask_primary(&format!("SELECT {}", list.join(", "))).await else { return };
            let row = rows.rows.first().map(Vec::as_slice).unwrap_or_default();
            let told = names.iter().map(String::as_str).zip(row.iter().map(Option::as_deref));
            if !check.agrees_with(told) {
                tracing::warn!(client = %self.view.client(), "a setting came to something else than its text says");
                self.state.pins.hold(Pin::SessionSetting);
                return;
            }
        }
        self.shared.metrics.settings.learnt.inc();
        self.shared.known.learn(check.before, &check.sql, check.after);
    }

    /// The values of settings whose text does not tell them.
    async fn read_back(&mut self) {
        let names: Vec<String> = self.state.unread.iter().map(|name| self.local_name(name)).collect();
        let list: Vec<String> = names.iter().map(|name| format!("@@session.{name}")).collect();
        let rows = self.ask_primary(&format!("SELECT {}", list.join(", "))).await;
        let values = rows.and_then(|rows| literals(&names, &rows));
        self.state.read_back(values.as_deref());
        if let (Some(leased), Some(_)) = (&mut self.primary, values) {
            leased.conn.journal = self.state.journal.clone();
        }
    }

    /// The name that this server has for a variable.
    fn local_name(&self, name: &str) -> String {
        let modern = self.primary.as_ref().is_some_and(|leased| leased.conn.says_transaction);
        match name.strip_prefix("tx_") {
            Some(rest) if modern => format!("transaction_{rest}"),
            _ => name.to_owned(),
        }
    }

    async fn ask_primary(&mut self, sql: &str) -> Option<Rows> {
        let leased = self.primary.as_mut()?;
        let life = leased.conn.life.clone();
        let statement = [(Command::Query, sql.as_bytes())];
        let asked = leased.conn.ask(&statement);
        let replies = timeout(ASK, life.run(asked)).await.ok()??.ok()?;
        match replies.into_iter().next() {
            Some(Reply::Rows(rows)) => Some(rows),
            _ => None,
        }
    }
}

/// A row of variables as SQL literals; none when one cannot be written plainly.
fn literals(names: &[String], rows: &Rows) -> Option<Vec<(String, String)>> {
    let row = rows.rows.first()?;
    let plain = |text: &str| text.chars().all(|c| c != '\'' && c != '\\' && !c.is_control());
    names
        .iter()
        .zip(row)
        .zip(&rows.numeric)
        .map(|((name, value), numeric)| {
            let literal = match value {
                None => "NULL".to_owned(),
                Some(text) if *numeric => text.clone(),
                Some(text) if plain(text) => format!("'{text}'"),
                Some(_) => return None,
            };
            Some((name.clone(), literal))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_their_variables_take_them() {
        let names = ["sql_mode", "group_concat_max_len", "character_set_results"].map(str::to_owned);
        let rows = |mode: &str| Rows {
            columns: Vec::new(),
            numeric: vec![false, true, false],
            rows: vec![vec![Some(mode.to_owned()), Some("7".to_owned()), None]],
        };
        let values = literals(&names, &rows("ANSI")).unwrap();
        let texts: Vec<&str> = values.iter().map(|(_, value)| value.as_str()).collect();
        assert_eq!(texts, ["'ANSI'", "7", "NULL"]);
        assert_eq!(literals(&names, &rows("a'b")), None);
    }
}
