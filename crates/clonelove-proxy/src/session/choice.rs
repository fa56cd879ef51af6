//! Which replica answers a read: one that is eligible and has what the read must reflect, now or in a moment.
//! Owns the wait for it; that a read may go to one at all is the plan's business.

use std::sync::atomic::Ordering;
use std::time::Duration;

use clonelove_route::balance::Balance as How;
use clonelove_route::decide::{Chosen, Moment, choose};
use clonelove_route::reason::Reason;
use clonelove_route::session::OwnWrites;
use tokio::time::Instant;

use super::ClientSession;
use crate::cluster::FreshWait;
use crate::settings::{Balance, Fallback, Freshness, Routing};

/// How long the primary may take to tell its position.
const ASK_PRIMARY: Duration = Duration::from_secs(1);

/// Which replica a read may use.
pub(super) enum Replica {
    /// This one, for this reason.
    Use(usize, Reason),
    /// None: the primary, for this reason.
    Primary(Reason),
    /// None, and the configuration says that the primary is not to be asked.
    Refuse(String),
}

impl ClientSession {
    pub(super) async fn choose_replica(&mut self, not: &[usize], reason: Reason) -> Replica {
        let settings = self.shared.settings.load_full();
        let needs = settings.routing.freshness != Freshness::Eventual;
        if needs && self.state.own_writes == OwnWrites::Unknown {
            match Box::pin(self.shared.cluster.primary_position(ASK_PRIMARY)).await {
                Some(position) => self.state.own_writes = OwnWrites::Known(position),
                None => return Replica::Primary(Reason::Stale),
            }
        }
        match self.choose_now(not, &settings.routing) {
            Chosen::Replica(at) => Replica::Use(at, reason),
            Chosen::NotYet(eligible) => {
                Box::pin(self.wait_for_fresh(&eligible, settings.routing.fresh_wait, reason)).await
            }
            Chosen::None if settings.routing.fallback == Fallback::Error => Replica::Refuse(format!(
                "none is eligible ({}) and routing.fallback is \"error\"",
                self.shared.cluster.snapshot().why_not_eligible()
            )),
            Chosen::None => Replica::Primary(Reason::NoReplica),
        }
    }

    fn choose_now(&mut self, not: &[usize], routing: &Routing) -> Chosen {
        let dice = self.dice.roll();
        let snapshot = self.shared.cluster.snapshot();
        let needs = routing.freshness != Freshness::Eventual;
        let own = match &self.state.own_writes {
            OwnWrites::Known(position) if needs => Some(position),
            _ => None,
        };
        let fresh = |at: usize| {
            let known = snapshot.servers.get(at).and_then(|server| server.known.load_full());
            let has = |need: Option<&_>| {
                need.is_none_or(|need| known.as_ref().is_some_and(|known| known.covers(need)))
            };
            // A session does not go back in time when it changes its replica.
            let seen = self.state.seen.as_ref().filter(|_| needs && self.state.last_replica != Some(at));
            has(own) && has(seen)
        };
        let in_flight =
            |at: usize| snapshot.servers.get(at).map_or(0, |server| server.in_flight.load(Ordering::Relaxed));
        let moment = Moment {
            in_flight: &in_flight,
            fresh: &fresh,
            balance: match routing.balance {
                Balance::LeastInFlight => How::LeastInFlight,
                Balance::WeightedRandom => How::WeightedRandom,
            },
            zone: &routing.zone,
            dice,
        };
        choose(&snapshot.topology, &self.state, not, &moment)
    }

    async fn wait_for_fresh(&mut self, eligible: &[usize], within: Duration, reason: Reason) -> Replica {
        let own = match &self.state.own_writes {
            OwnWrites::Known(position) => Some(position.clone()),
            _ => None,
        };
        let need = match (own, &self.state.seen) {
            (Some(mut own), Some(seen)) => {
                own.union(seen);
                own
            }
            (Some(own), None) => own,
            (None, Some(seen)) => seen.clone(),
            (None, None) => return Replica::Primary(Reason::Stale),
        };
        let begun = Instant::now();
        let wait = FreshWait { servers: eligible, position: &need, within };
        let reached = self.shared.cluster.wait_fresh(wait).await;
        self.shared.metrics.fresh_wait.observe(begun.elapsed().as_secs_f64());
        match reached {
            Some(at) if reason == Reason::Read => Replica::Use(at, Reason::ReadWaited),
            Some(at) => Replica::Use(at, reason),
            None => Replica::Primary(Reason::Stale),
        }
    }
}
