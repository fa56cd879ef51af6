//! One client, from its first command to its end: read a command, decide, relay, learn. Owns the loop;
//! deciding is `clonelove-route`'s, moving bytes is `relay`'s, connections are `connections`'s.

mod choice;
mod commands;
mod connections;
mod definitions;
mod exchange;
mod execute;
mod expired;
mod identity;
mod kill;
pub(crate) mod login;
mod long;
mod moved;
mod needs;
mod prepared;
mod proxied;
mod remembered;
mod settle;
mod statement;
#[cfg(test)]
mod tests;
mod tracking;
mod writes;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::Poll;

use arc_swap::{ArcSwap, Cache};
use bytes::BytesMut;
use clonelove_route::pins::Pin;
use clonelove_route::session::Session;
use clonelove_wire::compress::Algorithm;
use clonelove_wire::frame::{FrameHead, HEADER, MAX_FRAME};
use clonelove_wire::packet::Response;
use clonelove_wire::{Caps, Command};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use crate::backend::login::Account;
use crate::backend::pool::Key;
use crate::ending::Why;
use crate::error::{ClientError, Fault};
use crate::listener::Door;
use crate::net::{Buffered, Speaks};
use crate::settings::{Route, Settings, User};
use crate::shared::{Local, Pinned, Shared, View};
use choice::Observed;
use connections::Leased;
pub(crate) use connections::version_number;
use login::{LoggedIn, NoLogin};
use prepared::Open;
use remembered::{Timeouts, ToCheck};
pub(crate) use tracking::Wishes;
use writes::Wrote;

/// A client that may give commands.
pub(crate) struct ClientSession {
    shared: Arc<Shared>,
    /// As they were when last looked at, and looked at anew each time: cheaper than a look without this.
    settings: Cache<Arc<ArcSwap<Settings>>, Arc<Settings>>,
    client: Buffered,
    address: Option<IpAddr>,
    listener: Route,
    /// Of where it runs.
    local: Arc<Local>,
    view: Arc<View>,
    caps: Caps,
    response: Response,
    /// What its user may do, and where that one's reads may go; the name is the view's.
    admin: bool,
    route: Route,
    user_count: Option<Box<UserCount>>,
    /// How often the client was refused another user.
    refused_users: u8,
    account: Arc<Account>,
    state: Session,
    key: Option<Arc<Key>>,
    /// A setting that was accepted, and is to be looked at before it is remembered.
    to_check: Option<Box<ToCheck>>,
    /// The read that left something to be asked for on a replica.
    left: Option<Box<settle::Left>>,
    /// The client's own word on how long it may be idle.
    timeouts: Option<Box<Timeouts>>,
    /// The statements that the client has prepared, by the numbers it knows them under.
    open: BTreeMap<u32, Open>,
    next_statement: u32,
    last_statement: u32,
    primary: Option<Leased>,
    replica: Option<Leased>,
    out: BytesMut,
    shown: Option<Pin>,
    dice: Dice,
    /// What the client wants to be told of its session; none if it is told nothing, and never asked.
    wishes: Option<Box<Wishes>>,
    /// What the open transaction has written.
    wrote: Option<Box<Wrote>>,
    /// Statements under way that the session may have seen something of.
    observed: Observed,
}

/// Room for a session at work on one command. In a box, so that a client that waits does not hold it; and it goes from
/// session to session without being moved.
struct Turn {
    work: std::pin::Pin<Box<dyn Future<Output = Infallible> + Send>>,
    desk: Arc<Mutex<Desk>>,
}

/// What is on the desk of a [`Turn`].
#[derive(Default)]
enum Desk {
    /// Nothing, or what is being worked on.
    #[default]
    Empty,
    /// A session with a command.
    Given(Box<ClientSession>, Request),
    /// What came of it.
    Done(Box<ClientSession>, Next),
}

impl Turn {
    fn new() -> Self {
        let desk = Arc::<Mutex<Desk>>::default();
        Self { work: Box::pin(Self::work(Arc::clone(&desk))), desk }
    }

    async fn work(desk: Arc<Mutex<Desk>>) -> Infallible {
        loop {
            let given = poll_fn(|_| {
                let mut desk = desk.lock();
                match std::mem::take(&mut *desk) {
                    Desk::Given(session, request) => Poll::Ready((session, request)),
                    other => {
                        // Whoever gives something polls.
                        *desk = other;
                        Poll::Pending
                    }
                }
            });
            let (session, request) = given.await;
            let (session, next) = session.serve_one(request).await;
            *desk.lock() = Desk::Done(session, next);
        }
    }

    /// Serves a command. Given up, it holds the session and what that holds, and is of no further use.
    fn serve(
        &mut self,
        session: Box<ClientSession>,
        request: Request,
    ) -> impl Future<Output = (Box<ClientSession>, Next)> + '_ {
        // Not in a future: who waits for this one keeps no second room for it.
        *self.desk.lock() = Desk::Given(session, request);
        poll_fn(|context| {
            let Poll::Pending = self.work.as_mut().poll(context);
            let on_it = std::mem::take(&mut *self.desk.lock());
            match on_it {
                Desk::Done(session, next) => Poll::Ready((session, next)),
                Desk::Empty | Desk::Given(..) => Poll::Pending,
            }
        })
    }
}

/// Turns that nobody needs at the moment.
#[derive(Default)]
pub(crate) struct Turns(Mutex<Vec<Turn>>);

impl Turns {
    /// How many are kept. What more are made at a time of need costs less than to keep them would.
    const MOST: usize = 16;

    fn begin(&self) -> Turn {
        let spare = self.0.lock().pop();
        spare.unwrap_or_else(Turn::new)
    }

    /// It came to its end: nothing of it is left but the room.
    fn end(&self, turn: Turn) {
        let mut spares = self.0.lock();
        if spares.len() < Self::MOST {
            spares.push(turn);
        }
    }
}

/// A command as it came from the client.
enum Request {
    /// All of it, framed.
    Whole { command: Command, frame: BytesMut },
    /// Its first frame is in the buffer, in part; the rest is to be forwarded as it arrives.
    Long { command: Command },
}

/// What follows a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// The next command.
    Go,
    /// The end of this client.
    Close,
}

/// What a wait for the client came to.
enum Waited {
    /// More from it, or its end.
    Read(io::Result<usize>),
    /// It has to go, and is told why.
    Draining,
    /// Somebody ended it.
    Killed,
    /// It was idle for longer than it may.
    TooLong,
}

/// Sees a client in and serves it to its end.
pub(crate) fn serve(
    shared: Arc<Shared>,
    client: Buffered,
    address: Option<IpAddr>,
    door: (Door, usize),
    view: Arc<View>,
) -> impl Future<Output = ()> + Send {
    // In a box, so that a client that waits holds no room for what was done before.
    let seen_in = Box::pin(see_in(shared, client, address, door, view));
    async move {
        if let Some(session) = seen_in.await {
            session.serve_all().await;
        }
    }
}

/// Greets a client and logs it in; `None` when it is gone.
async fn see_in(
    shared: Arc<Shared>,
    mut client: Buffered,
    address: Option<IpAddr>,
    (door, core): (Door, usize),
    view: Arc<View>,
) -> Option<Box<ClientSession>> {
    if let Err(error) = client.move_here() {
        turned_away(&shared, &view, &NoLogin::Network(error));
        return None;
    }
    let within = shared.settings.load().limits.login_timeout;
    let login = timeout(within, async {
        let address = proxied::behind(&shared, &mut client, address, &view).await?;
        let logged_in = login::log_in(&shared, &mut client, view.id, (address, door)).await?;
        Ok((address, logged_in))
    });
    let (address, logged_in) = match login.await {
        Ok(Ok(found)) => found,
        Ok(Err(no_login)) => {
            turned_away(&shared, &view, &no_login);
            return None;
        }
        Err(_) => {
            let error = io::Error::new(io::ErrorKind::TimedOut, "it did not log in in time");
            turned_away(&shared, &view, &NoLogin::Network(error));
            return None;
        }
    };
    let user_count = match UserCount::enter(&shared, &logged_in.user) {
        Ok(count) => count,
        Err(error) => {
            let _ = login::send(&mut client, logged_in.seq, &error.payload()).await;
            turned_away(&shared, &view, &NoLogin::Refused(error));
            return None;
        }
    };
    let (seq, info) = (logged_in.seq, logged_in.info.clone());
    let mut session = Box::new(ClientSession::new(shared, client, (address, door.route), view, logged_in));
    session.user_count = Some(user_count);
    session.local = session.shared.local(core);
    session.account = session.local.accounts.share(Arc::clone(&session.account));
    if session.enter_schema(seq, &info).await != Next::Go {
        return None;
    }
    if let Some(algorithm) = Algorithm::agreed(session.caps, session.response.zstd_level) {
        tracing::debug!(client = %session.view.client(), ?algorithm, "a client compresses");
        session.client.compress(algorithm, Speaks::Second);
    }
    session.settle().await;
    Some(session)
}

fn turned_away(shared: &Shared, view: &View, why: &NoLogin) {
    match why {
        NoLogin::Left => tracing::debug!(client = %view.client(), "left before logging in"),
        NoLogin::Network(error) => tracing::debug!(client = %view.client(), %error, "lost before logging in"),
        NoLogin::Refused(error) => {
            tracing::info!(client = %view.client(), error = %error.message, "turned away")
        }
    }
    if let Some(fault) = login::fault_of(why) {
        shared.metrics.refused(fault);
    }
}

/// A cheap source of numbers to balance by; nothing depends on their being hard to guess.
struct Dice(u64);

impl Dice {
    fn new(seed: u32) -> Self {
        Self(u64::from(seed).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// The next number, by xorshift64* (Vigna, 2016).
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
}

/// A user's log-in counts until its client is gone or becomes another user, however that comes about.
struct UserCount {
    shared: Arc<Shared>,
    name: String,
}

impl UserCount {
    fn enter(shared: &Arc<Shared>, user: &User) -> Result<Box<Self>, ClientError> {
        shared.clients.enter_user(user)?;
        Ok(Box::new(Self { shared: Arc::clone(shared), name: user.name.clone() }))
    }
}

impl Drop for UserCount {
    fn drop(&mut self) {
        self.shared.clients.leave_user(&self.name);
    }
}

impl ClientSession {
    fn new(
        shared: Arc<Shared>,
        client: Buffered,
        (address, listener): (Option<IpAddr>, Route),
        view: Arc<View>,
        logged_in: LoggedIn,
    ) -> Self {
        let LoggedIn { mut response, caps, user, account, salt, .. } = logged_in;
        // Only what a change of user refers back to is kept.
        response.attributes = Vec::new();
        response.auth = salt.to_vec();
        view.user.lock().clone_from(&user.name);
        let view_id = view.id;
        let mut session = Self {
            state: Session::new(None, clonelove_sql::Dialect::default()),
            settings: Cache::new(Arc::clone(&shared.settings)),
            shared,
            client,
            address,
            listener,
            local: Arc::default(),
            view,
            caps,
            response,
            admin: user.admin,
            route: user.route,
            user_count: None,
            refused_users: 0,
            account,
            key: None,
            to_check: None,
            left: None,
            timeouts: None,
            open: BTreeMap::new(),
            next_statement: 1,
            last_statement: 0,
            primary: None,
            replica: None,
            out: BytesMut::new(),
            shown: None,
            dice: Dice::new(view_id),
            wishes: None,
            wrote: None,
            observed: Observed::default(),
        };
        session.begin_state();
        session
    }

    async fn serve_all(mut self: Box<Self>) {
        loop {
            let next = match self.next_request().await {
                Ok(Some(request)) => {
                    let (local, view) = (Arc::clone(&self.local), Arc::clone(&self.view));
                    let mut turn = local.turns.begin();
                    let served = turn.serve(self, request);
                    // Killed in the middle of something, it goes as it is, with its connections.
                    let Some((session, next)) = view.ending.unless(Why::Killed, served).await else {
                        return;
                    };
                    local.turns.end(turn);
                    self = session;
                    next
                }
                Ok(None) => Next::Close,
                Err(error) => Box::pin(self.broken(&error)).await,
            };
            if next == Next::Close {
                break;
            }
        }
        self.leave();
    }

    /// One command, and what comes after it.
    async fn serve_one(mut self: Box<Self>, request: Request) -> (Box<Self>, Next) {
        if self.out.capacity() == 0 {
            self.out = self.local.room.take();
        }
        let next = self.dispatch(request).await;
        self.count_bytes();
        if next == Next::Go {
            self.settle().await;
            self.show_pin();
        }
        (self, next)
    }

    async fn dispatch(&mut self, request: Request) -> Next {
        match request {
            Request::Whole { command: Command::Quit, .. } => Next::Close,
            Request::Whole { command: Command::Query, frame } => self.query(frame).await,
            Request::Whole { command: Command::StmtExecute, frame } => {
                self.execute_prepared(Command::StmtExecute, frame).await
            }
            Request::Whole { command, frame } => Box::pin(self.command(command, frame)).await,
            Request::Long { command } => Box::pin(self.long(command)).await,
        }
    }

    /// The next command; `None` when the client is gone, or has to go.
    async fn next_request(&mut self) -> Result<Option<Request>, ClientError> {
        let limits = &self.settings.load().limits;
        let max_packet = usize::try_from(limits.max_packet).unwrap_or(usize::MAX);
        let analyse_up_to = limits.analyse_up_to.min(MAX_FRAME).min(max_packet.saturating_add(1));
        self.client.expect(0);
        loop {
            let buffered = self.client.input.len();
            let Some((head, first)) = FrameHead::parse(&self.client.input)
                .and_then(|head| Some((head, *self.client.input.get(HEADER)?)))
                .filter(|(head, _)| head.len > 0)
            else {
                if let Some(FrameHead { len: 0, .. }) = FrameHead::parse(&self.client.input) {
                    return Err(ClientError::malformed("a command without a byte"));
                }
                if !self.more().await? {
                    return Ok(None);
                }
                continue;
            };
            if head.seq != 0 {
                return Err(ClientError::malformed("a command that does not begin with sequence number 0"));
            }
            let command = Command::from_byte(first);
            if head.len >= analyse_up_to {
                return Ok(Some(Request::Long { command }));
            }
            if buffered >= head.whole() {
                let frame = self.client.input.split_to(head.whole());
                self.client.turn();
                return Ok(Some(Request::Whole { command, frame }));
            }
            if !self.more().await? {
                return Ok(None);
            }
        }
    }

    /// Waits for more from the client; false when it is gone, or has to go.
    async fn more(&mut self) -> Result<bool, ClientError> {
        let between = self.client.input.is_empty();
        if between && self.out.is_empty() {
            self.local.room.give(std::mem::take(&mut self.out));
        }
        match self.wait_for_client(between).await {
            Waited::Read(Ok(0)) => {
                if !between {
                    self.shared.metrics.error(Fault::ClientNetwork);
                    tracing::debug!(client = %self.view.client(), "left in the middle of a packet");
                }
                Ok(false)
            }
            Waited::Read(Ok(_)) => Ok(true),
            Waited::Read(Err(error)) => {
                tracing::debug!(client = %self.view.client(), %error, "lost");
                self.shared.metrics.error(Fault::ClientNetwork);
                Ok(false)
            }
            Waited::Draining => Err(ClientError::draining()),
            Waited::Killed => Ok(false),
            Waited::TooLong => {
                tracing::debug!(client = %self.view.client(), "idle for longer than client_idle_timeout");
                Ok(false)
            }
        }
    }

    /// Waits for the client, or for what ends it. The session's task is woken for either: listener::spawn sees to it.
    async fn wait_for_client(&mut self, between: bool) -> Waited {
        let longest = self.settings.load().limits.client_idle_timeout;
        let patience =
            self.timeouts.as_ref().and_then(|set| set.patience).map_or(longest, |own| own.min(longest));
        let may_go = between && !self.state.transaction.open;
        let Self { view, client, .. } = self;
        let ending = &view.ending;
        ending.begin_wait(patience.as_secs().saturating_add(u64::from(patience.subsec_nanos() > 0)));
        let waited = poll_fn(|context| {
            if ending.is(Why::Stopped) || may_go && ending.is(Why::Draining) {
                return Poll::Ready(Waited::Draining);
            }
            if ending.is(Why::Killed) {
                return Poll::Ready(Waited::Killed);
            }
            match client.poll_fill_idle(context) {
                Poll::Ready(read) => Poll::Ready(Waited::Read(read)),
                Poll::Pending if ending.is_too_long() => Poll::Ready(Waited::TooLong),
                Poll::Pending => Poll::Pending,
            }
        });
        let waited = waited.await;
        ending.end_wait();
        waited
    }

    /// The client sent what is no command, or has to go: it is told, and that was all.
    async fn broken(&mut self, error: &ClientError) -> Next {
        if error.fault == Fault::ClientProtocol {
            self.shared.metrics.error(error.fault);
            tracing::info!(client = %self.view.client(), error = %error.message, "protocol violated");
        }
        let _ = login::send(&mut self.client, 0, &error.payload()).await;
        Next::Close
    }

    /// Shows the session's pin to the outside, when it changed.
    fn show_pin(&mut self) {
        let pin = self.state.shown_pin();
        for leased in [&mut self.primary, &mut self.replica].into_iter().flatten() {
            leased.set_pinned(pin.is_some());
        }
        if pin == self.shown {
            if pin.is_none() {
                // What was read back meanwhile pins no longer.
                *self.view.pin.lock() = None;
            }
            return;
        }
        if let Some(gauge) = self.shown.and_then(|pin| self.shared.metrics.pin(pin)) {
            gauge.dec();
        }
        if let Some(gauge) = pin.and_then(|pin| self.shared.metrics.pin(pin)) {
            gauge.inc();
        }
        if pin.is_none() {
            *self.view.pin.lock() = None;
        }
        self.shown = pin;
    }

    /// Names the statement that pinned, for the status.
    fn explain_pin(&self, statement: impl FnOnce() -> String) {
        let pin = self.state.shown_pin();
        if pin == self.shown {
            return;
        }
        if let Some(pin) = pin {
            *self.view.pin.lock() = Some(Pinned { pin, statement: statement(), since: Instant::now() });
        }
    }

    fn count_bytes(&mut self) {
        let bytes = &self.shared.metrics.bytes;
        let (read, written) = self.client.take_counts();
        bytes.client_in.inc_by(read);
        bytes.client_out.inc_by(written);
    }
}

impl Drop for ClientSession {
    fn drop(&mut self) {
        self.count_bytes();
        if let Some(gauge) = self.shown.and_then(|pin| self.shared.metrics.pin(pin)) {
            gauge.dec();
        }
    }
}
