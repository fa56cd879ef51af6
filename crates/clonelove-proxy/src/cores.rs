//! The threads that sessions run on: each has a runtime of its own, and a session stays where it was put. Owns the
//! threads and who goes where; must not know what a session does.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

/// All of them.
#[derive(Default)]
pub(crate) struct Cores {
    all: Vec<Core>,
    over: CancellationToken,
}

struct Core {
    runtime: Handle,
    sessions: AtomicUsize,
}

/// Where a session runs; it counts there until this is dropped.
pub(crate) struct Place {
    cores: Arc<Cores>,
    pub(crate) at: usize,
}

impl Cores {
    /// Starts so many threads.
    pub(crate) fn start(count: usize) -> io::Result<Arc<Self>> {
        let mut cores = Self::default();
        for number in 0..count {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            cores.all.push(Core { runtime: runtime.handle().clone(), sessions: AtomicUsize::new(0) });
            let over = cores.over.clone();
            let work = move || runtime.block_on(over.cancelled());
            thread::Builder::new().name(format!("sessions-{number}")).spawn(work)?;
        }
        Ok(Arc::new(cores))
    }

    /// The place for a new session: where there are fewest, and best where it came in.
    pub(crate) fn place(self: &Arc<Self>, here: usize) -> Place {
        let busy = |(at, core): &(usize, &Core)| (core.sessions.load(Ordering::Relaxed), *at != here);
        let least = self.all.iter().enumerate().min_by_key(busy);
        let at = least.map_or(NOWHERE, |(at, core)| {
            core.sessions.fetch_add(1, Ordering::Relaxed);
            at
        });
        Place { cores: Arc::clone(self), at }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.all.len()
    }

    /// The runtime of one of them; the caller's own where there is none.
    pub(crate) fn runtime(&self, at: usize) -> Handle {
        self.all.get(at).map_or_else(Handle::current, |core| core.runtime.clone())
    }

    /// Ends them all; what still runs there is dropped.
    pub(crate) fn end(&self) {
        self.over.cancel();
    }
}

/// For what belongs to no session, and for the sessions of a proxy without such threads.
pub(crate) const NOWHERE: usize = usize::MAX;

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(core) = self.cores.all.get(self.at) {
            core.sessions.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_spread_evenly() {
        let cores = Cores::start(2).unwrap();
        let mut places: Vec<Place> = (0..4).map(|_| cores.place(1)).collect();
        assert_eq!(places.iter().map(|place| place.at).collect::<Vec<_>>(), [1, 0, 1, 0]);
        places.remove(1);
        assert_eq!(cores.place(1).at, 0, "where one has left");
        cores.end();
    }

    #[test]
    fn tasks_run_where_they_are_put() {
        let cores = Cores::start(2).unwrap();
        let name = |at| {
            let task = cores.runtime(at).spawn(async { thread::current().name().map(str::to_owned) });
            cores.runtime(at).block_on(task).unwrap()
        };
        assert_eq!([name(0), name(1)], ["sessions-0", "sessions-1"].map(|name| Some(name.to_owned())));
        cores.end();
    }
}
