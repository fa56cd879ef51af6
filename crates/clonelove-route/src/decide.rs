//! The routing decision: from facts and session to a plan, from a plan and the topology to a server.
//! Total and pure: "no server" is an answer, not an error. Must not know connections.

use std::borrow::Cow;

use clonelove_sql::{Effect, Facts, Previous, Why, is_server_specific_table};

use crate::balance::{Balance, Choice, is_unremarkable, pick};
use crate::reason::Reason;
use crate::session::{Held, Ran, Session};
use crate::topology::Topology;

/// Where a statement belongs, before looking at servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// The primary.
    Primary(Reason),
    /// The replica connection that ran the statement before.
    Stay(usize, Reason),
    /// A replica, if one is eligible and fresh.
    Replica(Reason),
}

/// What the configuration says, as far as a single decision needs it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policy {
    /// Everything to the primary.
    pub primary_only: bool,
    /// The primary's default isolation level shows the same rows throughout a transaction.
    pub repeatable_by_default: bool,
}

/// Where a statement belongs. The first reason that applies: pins and transactions, then the statement.
pub fn plan(facts: &Facts, session: &Session, policy: Policy) -> Plan {
    if session.transaction.open {
        return match session.ran {
            Ran::Replica(at) => Plan::Stay(at, Reason::ReadOnlyTransaction),
            _ => Plan::Primary(Reason::Transaction),
        };
    }
    if session.pin().is_some() {
        return Plan::Primary(Reason::Pinned);
    }
    if policy.primary_only || session.primary_only {
        return Plan::Primary(Reason::Configured);
    }
    match facts.why {
        None if reads_the_server(facts, session) => Plan::Primary(Reason::ServerSpecific),
        None => Plan::Replica(Reason::Read),
        Some(Why::PreviousStatement) => previous(facts, session),
        Some(Why::TransactionControl) if repeatable_read_only(facts, session, policy) => {
            Plan::Replica(Reason::ReadOnlyTransaction)
        }
        Some(why) => Plan::Primary(why.into()),
    }
}

/// The reason a statement alone gives, for `explain`.
pub fn by_statement(facts: &Facts) -> Reason {
    facts.why.map_or(Reason::Read, Reason::from)
}

/// In a schema such as `mysql` a bare name is a table of the server's own state. The text alone does not
/// tell, for it does not know the session's schema.
fn reads_the_server(facts: &Facts, session: &Session) -> bool {
    let Some(schema) = &session.schema else { return false };
    let is_folded = schema.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase());
    let schema = if is_folded { Cow::Borrowed(schema.as_str()) } else { Cow::Owned(schema.to_lowercase()) };
    let of_server = |facts: &Facts| {
        facts
            .tables_read
            .iter()
            .filter(|table| table.schema.is_none())
            .any(|table| is_server_specific_table(&schema, &table.name))
    };
    of_server(facts) || facts.parts.iter().any(of_server)
}

/// What only the connection of the statement before can answer, is asked there while it is kept.
fn previous(facts: &Facts, session: &Session) -> Plan {
    let connection_bound = Previous::ROW_COUNT | Previous::FOUND_ROWS | Previous::DIAGNOSTICS;
    let only_that = !facts.previous.is_empty() && connection_bound.contains(facts.previous);
    match session.held {
        Some(Held { ran: Ran::Replica(at), .. })
            if only_that && facts.effects.iter().all(|e| matches!(e, Effect::Diagnostics)) =>
        {
            Plan::Stay(at, Reason::Read)
        }
        _ => Plan::Primary(Reason::PreviousStatement),
    }
}

/// START TRANSACTION READ ONLY under an isolation level that keeps one snapshot. Under READ COMMITTED
/// each statement would see newer commits, so it stays on the primary.
fn repeatable_read_only(facts: &Facts, session: &Session, policy: Policy) -> bool {
    let read_only = matches!(facts.effects.as_slice(), [Effect::Begin { read_only: Some(true), .. }]);
    let repeatable = match session.journal.isolation() {
        None => policy.repeatable_by_default,
        Some(sql) => {
            let text = String::from_utf8_lossy(sql).to_ascii_uppercase();
            text.contains("REPEATABLE") || text.contains("SERIALIZABLE")
        }
    };
    read_only && repeatable && !session.once && facts.parts.is_empty()
}

/// What distinguishes replicas at the moment of a read, beyond the topology.
pub struct Moment<'a> {
    /// Statements under way, by server.
    pub in_flight: &'a dyn Fn(usize) -> u32,
    /// Whether a server has what the read must reflect.
    pub fresh: &'a dyn Fn(usize) -> bool,
    /// How to choose.
    pub balance: Balance,
    /// The proxy's own zone; empty when zones are not used.
    pub zone: &'a str,
    /// A random number.
    pub dice: u64,
}

/// The replica for a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// This one.
    Replica(usize),
    /// These are eligible, but none has yet what the read must reflect.
    NotYet(Vec<usize>),
    /// None is eligible.
    None,
}

/// Chooses a replica, leaving out those in `not`, which have failed this statement already.
pub fn choose(topology: &Topology, session: &Session, not: &[usize], moment: &Moment<'_>) -> Chosen {
    if let Some(at) = same_again(topology, session, not, moment) {
        return Chosen::Replica(at);
    }
    let eligible: Vec<usize> = topology
        .servers
        .iter()
        .enumerate()
        .filter(|(at, node)| node.eligible && !not.contains(at) && topology.primary != Some(*at))
        .map(|(at, _)| at)
        .collect();
    if eligible.is_empty() {
        return Chosen::None;
    }
    let fresh: Vec<usize> = eligible.iter().copied().filter(|at| (moment.fresh)(*at)).collect();
    let choices: Vec<Choice> = fresh
        .iter()
        .filter_map(|at| topology.servers.get(*at).map(|node| (at, node)))
        .map(|(at, node)| Choice {
            weight: node.weight,
            in_flight: (moment.in_flight)(*at),
            warm: node.warm,
            same_zone: !moment.zone.is_empty() && node.zone == moment.zone,
            recent: session.last_replica == Some(*at),
        })
        .collect();
    match pick(&choices, moment.balance, moment.dice).and_then(|choice| fresh.get(choice)) {
        Some(at) => Chosen::Replica(*at),
        None => Chosen::NotYet(eligible),
    }
}

/// The replica of the read before, when [`pick`] would choose it without looking at the others.
fn same_again(topology: &Topology, session: &Session, not: &[usize], moment: &Moment<'_>) -> Option<usize> {
    let at = session.last_replica?;
    let node = topology.servers.get(at)?;
    let usual = node.eligible && node.weight > 0 && topology.primary != Some(at) && !not.contains(&at);
    let near = moment.zone.is_empty() || node.zone == moment.zone;
    (usual && near && is_unremarkable((moment.in_flight)(at)) && (moment.fresh)(at)).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pins::Pin;
    use crate::session::Heard;
    use clonelove_sql::{Dialect, analyse};

    fn decide(sql: &str, change: impl FnOnce(&mut Session)) -> Plan {
        let mut session = Session::new(Some("d".into()), Dialect::default());
        change(&mut session);
        let policy = Policy { repeatable_by_default: true, ..Policy::default() };
        plan(&analyse(sql.as_bytes(), &session.dialect), &session, policy)
    }

    #[test]
    fn the_first_reason_that_applies() {
        assert_eq!(decide("SELECT 1 FROM t", |_| {}), Plan::Replica(Reason::Read));
        assert_eq!(
            decide("SELECT 1 FROM t", |s| s.transaction.open = true),
            Plan::Primary(Reason::Transaction)
        );
        assert_eq!(
            decide("SELECT 1 FROM t", |s| s.transaction.autocommit = false),
            Plan::Primary(Reason::Pinned)
        );
        assert_eq!(decide("SELECT 1 FROM t", |s| s.pins.hold(Pin::Command)), Plan::Primary(Reason::Pinned));
        assert_eq!(decide("SELECT 1 FROM t", |s| s.primary_only = true), Plan::Primary(Reason::Configured));
        assert_eq!(decide("SELECT 1 FROM t", |s| s.once = true), Plan::Primary(Reason::Pinned));
        assert_eq!(decide("INSERT INTO t VALUES (1)", |_| {}), Plan::Primary(Reason::Write));
        assert_eq!(decide("SELECT 1 FROM t FOR UPDATE", |_| {}), Plan::Primary(Reason::LockingRead));
    }

    #[test]
    fn bare_names_in_the_servers_own_schemas_stay() {
        let within = |schema: &str| {
            let schema = schema.to_owned();
            move |s: &mut Session| s.schema = Some(schema)
        };
        let sql = "SELECT * FROM user";
        assert_eq!(decide(sql, within("d")), Plan::Replica(Reason::Read));
        assert_eq!(decide(sql, within("mysql")), Plan::Primary(Reason::ServerSpecific));
        assert_eq!(
            decide("SELECT * FROM PROCESSLIST", within("INFORMATION_SCHEMA")),
            Plan::Primary(Reason::ServerSpecific)
        );
        assert_eq!(
            decide("SELECT 1; SELECT * FROM user", within("mysql")),
            Plan::Primary(Reason::ServerSpecific)
        );
    }

    #[test]
    fn what_asks_about_the_statement_before_goes_where_that_ran() {
        let on_replica =
            |s: &mut Session| s.held = Some(Held { pin: Pin::Diagnostics, ran: Ran::Replica(2) });
        assert_eq!(decide("SHOW WARNINGS", on_replica), Plan::Stay(2, Reason::Read));
        assert_eq!(decide("SELECT FOUND_ROWS()", on_replica), Plan::Stay(2, Reason::Read));
        assert_eq!(decide("SELECT LAST_INSERT_ID()", on_replica), Plan::Primary(Reason::PreviousStatement));
        assert_eq!(
            decide("SELECT FOUND_ROWS(), LAST_INSERT_ID()", on_replica),
            Plan::Primary(Reason::PreviousStatement)
        );
        assert_eq!(
            decide("SELECT SQL_CALC_FOUND_ROWS * FROM t LIMIT 1", on_replica),
            Plan::Primary(Reason::PreviousStatement)
        );
        assert_eq!(
            decide("SHOW WARNINGS", |s| s.held = Some(Held { pin: Pin::Diagnostics, ran: Ran::Primary })),
            Plan::Primary(Reason::PreviousStatement)
        );
    }

    #[test]
    fn a_read_only_transaction_may_live_on_a_replica() {
        let begin = "START TRANSACTION READ ONLY";
        assert_eq!(decide(begin, |_| {}), Plan::Replica(Reason::ReadOnlyTransaction));
        assert_eq!(decide("START TRANSACTION", |_| {}), Plan::Primary(Reason::TransactionControl));
        assert_eq!(
            decide("SELECT 1 FROM t", |s| {
                s.transaction.open = true;
                s.ran = Ran::Replica(1);
            }),
            Plan::Stay(1, Reason::ReadOnlyTransaction)
        );
        let isolation = |level: &str| {
            let sql = format!("SET SESSION TRANSACTION ISOLATION LEVEL {level}");
            move |s: &mut Session| {
                let facts = analyse(sql.as_bytes(), &Dialect::default());
                s.after(sql.as_bytes(), &facts, Ran::Primary, &Heard::default());
            }
        };
        assert_eq!(decide(begin, isolation("READ COMMITTED")), Plan::Primary(Reason::TransactionControl));
        assert_eq!(decide(begin, isolation("SERIALIZABLE")), Plan::Replica(Reason::ReadOnlyTransaction));
    }
}
