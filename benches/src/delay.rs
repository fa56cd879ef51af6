//! A relay that is a network: every byte leaves a fixed time after it came, in order, as fast as it came. The benches
//! put it in front of the servers where the kernel has no netem. Owns the queues and the clock; looks at no byte.

mod link;
pub mod probe;

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use mio::net::TcpListener;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use link::{Link, Side};

const TIMER: Token = Token(usize::MAX);
/// Listeners count down from here, links up from 0.
const LISTENERS: usize = usize::MAX - 1;
const BUFFER: usize = 256 * 1024;
/// A TCP connection is there for the server after three ways: SYN, SYN and ACK, ACK.
const WAYS_OF_A_CONNECT: u32 = 3;

/// A wake-up is this late at most, for our reckoning; what is later is a machine that has too much to do.
const LATEST: Duration = Duration::from_micros(60);

/// The relay; one thread, many listeners.
pub struct DelayRelay {
    poll: Poll,
    /// Fires when the next byte is due; epoll's own timeout counts milliseconds.
    timer: OwnedFd,
    /// When the timer is set to fire.
    armed: Option<Instant>,
    /// How late a wake-up is, of late: the kernel, and a virtual processor that has to be woken itself. Bytes came so
    /// much before they are seen, and the timer must fire so much before they are due, or both would add to the delay.
    late: Duration,
    /// What one way takes.
    delay: Duration,
    listeners: Vec<(TcpListener, SocketAddr)>,
    links: Vec<Option<Link>>,
    free: Vec<usize>,
    /// What falls due, in order: all bytes wait for the same time. A link that is gone, or another one in its place,
    /// is no harm: it sends only what is due.
    due: VecDeque<(Instant, usize, Side)>,
    /// The same, of connections to servers that are to be opened.
    opening: VecDeque<(Instant, usize)>,
    buffer: Vec<u8>,
}

impl DelayRelay {
    /// Listens; `delay` is what one way takes, `routes` are the addresses to listen on and the servers behind them.
    ///
    /// # Errors
    /// When an address is not free.
    pub fn new(delay: Duration, routes: &[(SocketAddr, SocketAddr)]) -> io::Result<Self> {
        let poll = Poll::new()?;
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        poll.registry().register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
        let mut listeners = Vec::new();
        for (at, (listen, server)) in routes.iter().enumerate() {
            let mut listener = TcpListener::bind(*listen)?;
            poll.registry().register(&mut listener, Token(LISTENERS - at), Interest::READABLE)?;
            listeners.push((listener, *server));
        }
        Ok(Self {
            poll,
            timer,
            armed: None,
            late: Duration::ZERO,
            delay,
            listeners,
            links: Vec::new(),
            free: Vec::new(),
            due: VecDeque::new(),
            opening: VecDeque::new(),
            buffer: vec![0; BUFFER],
        })
    }

    /// Where it listens, in the order of the routes.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.listeners.iter().map(|(listener, _)| listener.local_addr()).collect()
    }

    /// Relays for good.
    ///
    /// # Errors
    /// When waiting fails. A fault of a connection ends that connection only.
    pub fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for event in &events {
                let token = event.token();
                let listener = LISTENERS.checked_sub(token.0).filter(|at| *at < self.listeners.len());
                match listener {
                    _ if token == TIMER => self.fired(),
                    Some(at) => self.accept_all(at)?,
                    None => self.serve(event),
                }
                // Not only after all events: what is due must not wait for a long list of them.
                self.send_due();
            }
            self.arm()?;
        }
    }

    /// The timer has fired, and tells how late we are.
    fn fired(&mut self) {
        if let Some(armed) = self.armed.take() {
            // A step at a time, so that it is the usual lateness, whatever a busy machine adds at times.
            const STEP: Duration = Duration::from_micros(1);
            let more = armed.elapsed() > self.late;
            self.late = if more { (self.late + STEP).min(LATEST) } else { self.late.saturating_sub(STEP) };
        }
    }

    /// When what is seen now is to leave.
    fn due(&self) -> Instant {
        Instant::now() + self.delay.saturating_sub(self.late)
    }

    fn accept_all(&mut self, listener: usize) -> io::Result<()> {
        while let Some((listener, server)) = self.listeners.get(listener) {
            let client = match listener.accept() {
                Ok((client, _)) => client,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(_) => continue,
            };
            let at = self.free.pop().unwrap_or(self.links.len());
            let open_at = Instant::now() + self.delay * WAYS_OF_A_CONNECT;
            let link = Link::new(client, *server, open_at, at, self.poll.registry())?;
            match self.links.get_mut(at) {
                Some(place) => *place = Some(link),
                None => self.links.push(Some(link)),
            }
            self.opening.push_back((open_at, at));
        }
        Ok(())
    }

    /// Takes what came and sends what could not be sent before.
    fn serve(&mut self, event: &mio::event::Event) {
        let (at, side) = Side::of(event.token());
        let due = self.due();
        let Some(Some(link)) = self.links.get_mut(at) else { return };
        let mut alive = true;
        if event.is_readable() || event.is_error() {
            match link.take(side, due, &mut self.buffer) {
                Ok(false) => {}
                Ok(true) => self.due.push_back((due, at, side)),
                Err(_) => alive = false,
            }
        }
        if alive && event.is_writable() {
            alive = self.pass(at, side.other(), Instant::now());
        }
        if !alive {
            self.drop_link(at);
        }
    }

    /// Sends what is due of what came from one side; false when the link is over. What had to wait outside because
    /// too much was under way is taken now.
    fn pass(&mut self, at: usize, from: Side, now: Instant) -> bool {
        let due = self.due();
        let Some(Some(link)) = self.links.get_mut(at) else { return true };
        match link.pass(from, now) {
            Ok(has_room) if has_room => match link.take(from, due, &mut self.buffer) {
                Ok(true) => self.due.push_back((due, at, from)),
                Ok(false) => {}
                Err(_) => return false,
            },
            Ok(_) => {}
            Err(_) => return false,
        }
        !link.is_over()
    }

    fn send_due(&mut self) {
        loop {
            // What is due before the next wake-up could be.
            let now = Instant::now() + self.late;
            if let Some((_, at)) = self.opening.pop_front_if(|(due, _)| *due <= now) {
                let registry = self.poll.registry();
                let open =
                    self.links.get_mut(at).and_then(Option::as_mut).map(|link| link.open(now, registry));
                if open.is_some_and(|opened| opened.is_err()) {
                    self.drop_link(at);
                }
            } else if let Some((_, at, from)) = self.due.pop_front_if(|(due, ..)| *due <= now) {
                if !self.pass(at, from, now) {
                    self.drop_link(at);
                }
            } else {
                return;
            }
        }
    }

    fn drop_link(&mut self, at: usize) {
        if self.links.get_mut(at).is_some_and(|place| place.take().is_some()) {
            self.free.push(at);
        }
    }

    /// Sets the timer for what falls due next.
    fn arm(&mut self) -> io::Result<()> {
        let next = self.due.front().map(|front| front.0);
        let next = next.into_iter().chain(self.opening.front().map(|front| front.0)).min();
        let Some(next) = next.map(|next| next - self.late) else {
            return Ok(());
        };
        if self.armed.is_some_and(|armed| armed <= next) {
            return Ok(());
        }
        // Zero would switch it off.
        let wait = next.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
        let value = Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(wait.subsec_nanos()),
        };
        let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        timerfd_settime(
            &self.timer,
            TimerfdTimerFlags::empty(),
            &Itimerspec { it_interval, it_value: value },
        )?;
        self.armed = Some(next);
        Ok(())
    }
}
