//! Many clients on a few threads for a while, and what that came to. Owns time, threads and counting.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use hdrhistogram::Histogram;
use mio::{Events, Poll};

use crate::client::{Client, News, Target};
use crate::workload::Workload;

/// What is read at one time. Large enough for most replies to be read at once.
const BUFFER: usize = 256 * 1024;
/// What logging in and preparing may take, altogether.
const LOG_IN: Duration = Duration::from_secs(60);
/// So many clients of a thread log in at the same time.
const LOGGING_IN: usize = 64;
/// More than this many lost connections, and the run says nothing any more.
const MOST_LOST: u64 = 1000;

const WARMING: u8 = 0;
const MEASURING: u8 = 1;
const OVER: u8 = 2;

/// How the load is to be.
#[derive(Clone)]
pub struct Load {
    /// Where to.
    pub target: Arc<Target>,
    /// What.
    pub workload: Arc<Workload>,
    /// From how many connections.
    pub clients: usize,
    /// How many more are logged in, and ask nothing.
    pub beside: usize,
    /// On how many threads.
    pub threads: usize,
    /// For how long before anything counts.
    pub warm_up: Duration,
    /// For how long it counts.
    pub time: Duration,
    /// So many scripts, or statements, per second from all clients together; else as many as they can.
    pub rate: Option<f64>,
}

/// What was counted.
#[derive(Debug)]
pub struct Tally {
    /// Statements answered.
    pub queries: u64,
    /// Scripts run by clients that reconnect, else statements.
    pub requests: u64,
    /// Bytes received, log-ins included.
    pub bytes: u64,
    /// Statements refused.
    pub refused: u64,
    /// Connections lost.
    pub lost: u64,
    /// What the first refusal or loss was.
    pub first_error: Option<String>,
    /// What a request took, in nanoseconds.
    pub latency: Histogram<u64>,
}

impl Tally {
    fn new() -> Result<Self> {
        let latency = Histogram::new_with_bounds(1_000, 60_000_000_000, 3)?;
        Ok(Self { queries: 0, requests: 0, bytes: 0, refused: 0, lost: 0, first_error: None, latency })
    }

    fn add(&mut self, other: Tally) -> Result<()> {
        self.queries += other.queries;
        self.requests += other.requests;
        self.bytes += other.bytes;
        self.refused += other.refused;
        self.lost += other.lost;
        self.first_error = self.first_error.take().or(other.first_error);
        self.latency.add(&other.latency)?;
        Ok(())
    }
}

/// What happens at the edges of a run.
pub trait Observer {
    /// All clients are logged in and warm; from now on it counts.
    fn begin(&mut self) -> Result<()>;
    /// It counts no more.
    fn end(&mut self) -> Result<()>;
}

/// Runs the load, and counts. `observer` is called at both ends of the time that counts.
///
/// # Errors
/// When clients cannot log in, or too many connections are lost.
pub fn run(load: &Load, observer: &mut dyn Observer) -> Result<(Tally, Duration)> {
    let phase = Arc::new(AtomicU8::new(WARMING));
    let (sender, events) = channel();
    let threads: Vec<_> = (0..load.threads)
        .map(|index| {
            let (load, phase, sender) = (load.clone(), Arc::clone(&phase), sender.clone());
            std::thread::spawn(move || {
                let outcome = Worker::new(index, load, phase).and_then(|mut worker| worker.run(&sender));
                // The main thread is there until all threads have told.
                let _ = sender.send(Told::Over(outcome));
            })
        })
        .collect();
    drop(sender);
    for _ in 0..load.threads {
        match wait(&events, LOG_IN)? {
            Some(Told::Ready) => {}
            Some(Told::Over(outcome)) => {
                outcome?;
                bail!("a thread ended early");
            }
            None => bail!("not all clients were logged in within {LOG_IN:?}"),
        }
    }
    must_be_quiet(wait(&events, load.warm_up)?)?;
    observer.begin()?;
    phase.store(MEASURING, Ordering::Release);
    let begun = Instant::now();
    must_be_quiet(wait(&events, load.time)?)?;
    phase.store(OVER, Ordering::Release);
    let took = begun.elapsed();
    observer.end()?;
    let mut tally = Tally::new()?;
    for thread in threads {
        if let Some(Told::Over(outcome)) = wait(&events, LOG_IN)? {
            tally.add(outcome?)?;
        }
        drop(thread);
    }
    Ok((tally, took))
}

/// Something a thread says.
enum Told {
    /// Its clients are logged in.
    Ready,
    /// It has ended.
    Over(Result<Tally>),
}

fn wait(events: &Receiver<Told>, time: Duration) -> Result<Option<Told>> {
    match events.recv_timeout(time) {
        Ok(told) => Ok(Some(told)),
        Err(RecvTimeoutError::Timeout) => Ok(None),
        Err(RecvTimeoutError::Disconnected) => bail!("all threads have ended"),
    }
}

fn must_be_quiet(told: Option<Told>) -> Result<()> {
    match told {
        Some(Told::Over(Err(error))) => Err(error),
        Some(_) => bail!("a thread ended early"),
        None => Ok(()),
    }
}

/// One thread with its clients.
struct Worker {
    poll: Poll,
    load: Load,
    /// How many clients it is to have.
    share: usize,
    /// How many of them, the first ones, rest for good.
    beside: usize,
    clients: Vec<Client>,
    phase: Arc<AtomicU8>,
    tally: Tally,
    seeds: u64,
    ready: usize,
    pace: Option<Pace>,
    resting: Vec<usize>,
}

/// A fixed rate: requests come due whether or not a client is free.
struct Pace {
    every: Duration,
    next: Instant,
    /// Due, and no client was free; latency counts from here.
    late: VecDeque<Instant>,
}

impl Worker {
    fn new(index: usize, load: Load, phase: Arc<AtomicU8>) -> Result<Self> {
        let part = |of: usize| of / load.threads + usize::from(index < of % load.threads);
        let beside = part(load.beside);
        let share = part(load.clients) + beside;
        let poll = Poll::new()?;
        let pace = load.rate.map(|rate| Pace {
            every: Duration::from_secs_f64(load.threads as f64 / rate),
            next: Instant::now(),
            late: VecDeque::new(),
        });
        Ok(Self {
            poll,
            share,
            beside,
            clients: Vec::with_capacity(share),
            phase,
            tally: Tally::new()?,
            seeds: (index as u64) << 32,
            ready: 0,
            pace,
            resting: Vec::new(),
            load,
        })
    }

    /// Opens the next clients, a few at a time: what is measured is not how a queue of new clients overflows.
    fn open_next(&mut self) -> Result<()> {
        let at_once = if self.load.workload.reconnect { self.share } else { LOGGING_IN };
        while self.clients.len() < self.share && self.clients.len() < self.ready + at_once {
            let client = self.open(self.clients.len())?;
            self.clients.push(client);
        }
        Ok(())
    }

    fn open(&mut self, number: usize) -> Result<Client> {
        self.seeds += 1;
        Client::connect(number, self.seeds, &self.load.target, &self.load.workload, self.poll.registry())
    }

    fn run(&mut self, sender: &Sender<Told>) -> Result<Tally> {
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; BUFFER];
        // Clients that reconnect are never all logged in at once: they run from the start.
        let mut told = self.load.workload.reconnect;
        if told {
            sender.send(Told::Ready)?;
        }
        loop {
            self.open_next()?;
            let phase = self.phase.load(Ordering::Acquire);
            if phase == OVER {
                return Ok(std::mem::replace(&mut self.tally, Tally::new()?));
            }
            match self.poll.poll(&mut events, Some(self.patience())) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.into()),
                _ => {}
            }
            for event in &events {
                self.serve(event, &mut buffer, phase == MEASURING)?;
            }
            if !told && self.ready == self.share {
                told = true;
                sender.send(Told::Ready)?;
            }
            self.begin_due()?;
        }
    }

    fn serve(&mut self, event: &mio::event::Event, buffer: &mut [u8], counts: bool) -> Result<()> {
        let at = event.token().0;
        let Some(client) = self.clients.get_mut(at) else { return Ok(()) };
        let (tally, ready) = (&mut self.tally, &mut self.ready);
        let outcome = client.serve(event, buffer, self.poll.registry(), &mut |news| match news {
            News::Ready => *ready += 1,
            News::Bytes(count) => tally.bytes += if counts { count as u64 } else { 0 },
            News::Query => tally.queries += u64::from(counts),
            News::Done(began) if counts => {
                tally.requests += 1;
                tally
                    .latency
                    .saturating_record(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX));
            }
            News::Done(_) => {}
            News::Refused(text) => {
                tally.refused += 1;
                tally.first_error.get_or_insert(text);
            }
        });
        let outcome = outcome.and_then(|()| {
            if client.is_resting() && at >= self.beside && has_body(&self.load.workload) {
                match &mut self.pace {
                    None => client.begin(Instant::now())?,
                    Some(_) => self.resting.push(at),
                }
            }
            Ok(())
        });
        match outcome {
            Ok(()) => Ok(()),
            Err(error) => self.lost(at, &error),
        }
    }

    /// A lost connection is counted, and made anew.
    fn lost(&mut self, at: usize, error: &anyhow::Error) -> Result<()> {
        self.tally.lost += 1;
        if self.tally.lost > MOST_LOST || self.ready < self.share && !self.load.workload.reconnect {
            bail!("a connection was lost: {error:#}");
        }
        self.tally.first_error.get_or_insert(format!("{error:#}"));
        let client = self.open(at)?;
        if let Some(place) = self.clients.get_mut(at) {
            *place = client;
        }
        Ok(())
    }

    /// Begins what the pace says is due, as far as clients are free.
    fn begin_due(&mut self) -> Result<()> {
        let Some(pace) = &mut self.pace else { return Ok(()) };
        let now = Instant::now();
        while pace.next <= now {
            // A timer's wake-up is up to a millisecond late, which is not the server's fault.
            let fair = now.duration_since(pace.next) < Duration::from_millis(2) && !self.resting.is_empty();
            pace.late.push_back(if fair { now } else { pace.next });
            pace.next += pace.every;
        }
        while let (Some(at), Some(_)) = (self.resting.last().copied(), pace.late.front()) {
            self.resting.pop();
            let Some(began) = pace.late.pop_front() else { break };
            if let Some(client) = self.clients.get_mut(at) {
                client.begin(began)?;
            }
        }
        Ok(())
    }

    /// How long to wait for events.
    fn patience(&self) -> Duration {
        let most = Duration::from_millis(20);
        match &self.pace {
            Some(pace) => pace.next.saturating_duration_since(Instant::now()).min(most),
            None => most,
        }
    }
}

fn has_body(workload: &Workload) -> bool {
    workload.scripts.iter().any(|script| !script.body.is_empty())
}
