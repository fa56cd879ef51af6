//! One client of the load generator: a non-blocking connection that logs in, works through its script and, if the
//! workload says so, leaves and comes again. Owns the connection; what is counted is `drive`'s.

use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};
use clonelove_wire::auth::{native, sha2};
use clonelove_wire::frame::FrameHead;
use clonelove_wire::packet::auth::AuthSwitch;
use clonelove_wire::packet::{Greeting, Response};
use clonelove_wire::{Caps, Command, Secret};
use mio::{Interest, Registry, Token};
use rustls::ClientConfig;

use crate::reply::{End, Follower};
use crate::stream::{Address, Stream};
use crate::workload::{Dice, Statement, Workload, put_command};

/// What mysqlnd, PHP's driver, negotiates.
const CAPS: Caps = Caps::LONG_PASSWORD
    .union(Caps::LONG_FLAG)
    .union(Caps::CONNECT_WITH_DB)
    .union(Caps::PROTOCOL_41)
    .union(Caps::TRANSACTIONS)
    .union(Caps::SECURE_CONNECTION)
    .union(Caps::MULTI_RESULTS)
    .union(Caps::PLUGIN_AUTH)
    .union(Caps::CONNECT_ATTRS);
const UTF8MB4_GENERAL_CI: u8 = 45;
const NATIVE: &str = "mysql_native_password";
const SHA2: &str = "caching_sha2_password";

/// Where to, and as whom.
#[derive(Clone)]
pub struct Target {
    /// The address.
    pub address: Address,
    /// The user.
    pub user: String,
    /// The password.
    pub password: Secret,
    /// Whom to trust; none for no TLS.
    pub tls: Option<Arc<ClientConfig>>,
}

/// A client that is always either waiting for a reply, or resting because nothing more is to be asked yet.
pub struct Client {
    token: Token,
    target: Arc<Target>,
    workload: Arc<Workload>,
    script: usize,
    stream: Stream,
    follower: Follower,
    phase: Phase,
    prepared: u32,
    /// The number of the last packet of the log-in that was sent.
    seq: u8,
    dice: Dice,
    out: Vec<u8>,
    unsent: usize,
    /// When what is under way was asked for.
    began: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Greeting,
    LogIn,
    Before(usize),
    Body(usize),
    /// Logged in and prepared, with nothing under way.
    Resting,
}

/// What a client tells of itself.
#[derive(Debug)]
pub enum News {
    /// It is ready: the script's body can begin, with [`Client::begin`].
    Ready,
    /// So many bytes came.
    Bytes(usize),
    /// A statement was answered.
    Query,
    /// A script was run to its end, by a client that reconnects, or a statement by one that does not; it began then.
    Done(Instant),
    /// A statement was refused.
    Refused(String),
}

impl Client {
    /// Begins to connect.
    ///
    /// # Errors
    /// When no connection can be begun.
    pub fn connect(
        number: usize,
        seed: u64,
        target: &Arc<Target>,
        workload: &Arc<Workload>,
        registry: &Registry,
    ) -> Result<Self> {
        let token = Token(number);
        let script = usize::try_from(seed)? % workload.scripts.len();
        Ok(Self {
            token,
            stream: open(target, token, registry)?,
            target: Arc::clone(target),
            workload: Arc::clone(workload),
            script,
            follower: Follower::default(),
            phase: Phase::Greeting,
            prepared: 0,
            seq: 0,
            dice: Dice::new(seed),
            out: Vec::new(),
            unsent: 0,
            began: Instant::now(),
        })
    }

    /// Begins a run of the body of a client that is [`News::Ready`]; its latency counts from `began`.
    ///
    /// # Errors
    /// When the connection is lost.
    pub fn begin(&mut self, began: Instant) -> Result<()> {
        self.began = began;
        self.phase = Phase::Body(0);
        self.send_statement()
    }

    /// Serves an event, and says what came of it.
    ///
    /// # Errors
    /// When the connection is lost, or what came is no MySQL.
    pub fn serve(
        &mut self,
        event: &mio::event::Event,
        buffer: &mut [u8],
        registry: &Registry,
        tell: &mut dyn FnMut(News),
    ) -> Result<()> {
        if event.is_writable() {
            self.stream.flush()?;
            self.send()?;
        }
        if !event.is_readable() {
            return Ok(());
        }
        loop {
            let count = match self.stream.read(buffer) {
                Ok(0) => bail!("the connection was closed while {:?}", self.phase),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            tell(News::Bytes(count));
            let bytes = buffer.get(..count).unwrap_or_default();
            if let Some(end) = self.follower.feed(bytes)? {
                self.answered(end, registry, tell)?;
            }
            // A short read says that there is no more (epoll(7)); the end of input would be an event of its own.
            if count < buffer.len() && !event.is_read_closed() && self.stream.short_read_is_all() {
                return Ok(());
            }
        }
    }

    fn answered(&mut self, end: End, registry: &Registry, tell: &mut dyn FnMut(News)) -> Result<()> {
        match self.phase {
            Phase::Greeting | Phase::LogIn => {
                let End::Packet(packet) = end else { bail!("no packet of a log-in") };
                return self.log_in(&packet, tell);
            }
            Phase::Resting => bail!("a reply that nobody asked for"),
            Phase::Before(_) | Phase::Body(_) => {}
        }
        match end {
            End::Error(code, text) => tell(News::Refused(format!("{code}: {text}"))),
            End::Prepared(id) => self.prepared = id,
            _ => {}
        }
        let script = self.workload.scripts.get(self.script).context("no such script")?;
        match self.phase {
            Phase::Body(at) if self.workload.reconnect => {
                tell(News::Query);
                if at + 1 == script.body.len() {
                    tell(News::Done(self.began));
                    return self.come_again(registry);
                }
                self.phase = Phase::Body(at + 1);
            }
            Phase::Body(at) => {
                tell(News::Query);
                self.phase = Phase::Resting;
                tell(News::Done(self.began));
                let next = (at + 1) % script.body.len();
                if next > 0 {
                    self.began = Instant::now();
                    self.phase = Phase::Body(next);
                } else {
                    return Ok(());
                }
            }
            Phase::Before(at) if at + 1 < script.before.len() => self.phase = Phase::Before(at + 1),
            _ => {
                self.phase = Phase::Resting;
                tell(News::Ready);
                return Ok(());
            }
        }
        self.send_statement()
    }

    /// Whether the body's next run is to be begun by the caller.
    #[must_use]
    pub fn is_resting(&self) -> bool {
        self.phase == Phase::Resting
    }

    /// The next packet of a log-in.
    fn log_in(&mut self, packet: &[u8], tell: &mut dyn FnMut(News)) -> Result<()> {
        match (self.phase, packet.first()) {
            (_, Some(0xFF)) => {
                bail!("turned away: {}", String::from_utf8_lossy(packet.get(3..).unwrap_or_default()))
            }
            (Phase::Greeting, _) => {
                let greeting = Greeting::parse(packet).map_err(|error| anyhow!("{error}"))?;
                let mut caps = if self.workload.is_drupal { CAPS.union(Caps::FOUND_ROWS) } else { CAPS };
                caps.set(Caps::SSL, self.target.tls.is_some());
                let plugin = if greeting.auth_plugin == SHA2 { SHA2 } else { NATIVE };
                let response = Response {
                    caps,
                    max_packet: 1 << 24,
                    charset: UTF8MB4_GENERAL_CI,
                    user: self.target.user.clone().into_bytes(),
                    auth: self.proof(plugin, &greeting.salt)?,
                    database: Some(self.workload.schema.clone().into_bytes()),
                    attributes: vec![(b"_client_name".to_vec(), b"mysqlnd".to_vec())],
                    auth_plugin: Some(plugin.to_owned()),
                    ..Response::default()
                };
                self.phase = Phase::LogIn;
                let Some(tls) = self.target.tls.clone() else {
                    self.seq = 1;
                    return self.send_packet(&response.encode());
                };
                self.seq = 1;
                self.send_packet(&response.encode_ssl_request())?;
                self.stream.encrypt(&tls)?;
                self.seq = 2;
                self.send_packet(&response.encode())
            }
            (_, Some(&AuthSwitch::HEAD)) => {
                let switch = AuthSwitch::parse(packet).map_err(|error| anyhow!("{error}"))?;
                let proof = self.proof(&String::from_utf8_lossy(switch.plugin), switch.data)?;
                self.seq = self.seq.wrapping_add(2);
                self.send_packet(&proof)
            }
            (_, Some(1)) => {
                bail!("it does not know the password yet: whoever starts it must log in once before")
            }
            (_, Some(0)) => self.logged_in(tell),
            (_, first) => bail!("{first:?} in the middle of a log-in"),
        }
    }

    fn logged_in(&mut self, tell: &mut dyn FnMut(News)) -> Result<()> {
        let script = self.workload.scripts.get(self.script).context("no such script")?;
        if !script.before.is_empty() {
            self.phase = Phase::Before(0);
            return self.send_statement();
        }
        if self.workload.reconnect {
            // Its time began when it connected.
            self.phase = Phase::Body(0);
            return self.send_statement();
        }
        self.phase = Phase::Resting;
        tell(News::Ready);
        Ok(())
    }

    /// Leaves, and connects again with the next script.
    fn come_again(&mut self, registry: &Registry) -> Result<()> {
        self.out.clear();
        put_command(&mut self.out, Command::Quit, &[]);
        self.unsent = 0;
        self.send()?;
        registry.deregister(&mut self.stream)?;
        self.began = Instant::now();
        self.stream = open(&self.target, self.token, registry)?;
        self.follower = Follower::default();
        self.phase = Phase::Greeting;
        // A step that shares no factor with the number of scripts spreads clients over them.
        self.script = (self.script + 7) % self.workload.scripts.len();
        Ok(())
    }

    fn send_statement(&mut self) -> Result<()> {
        let script = self.workload.scripts.get(self.script).context("no such script")?;
        let statement = match self.phase {
            Phase::Before(at) => script.before.get(at),
            Phase::Body(at) => script.body.get(at),
            _ => None,
        };
        let statement = statement.context("no such statement")?;
        statement.write(&mut self.out, &mut self.dice, self.prepared);
        self.unsent = 0;
        match statement {
            Statement::Prepare => self.follower.expect_prepared(),
            _ => self.follower.expect_reply(),
        }
        self.send()
    }

    fn proof(&self, plugin: &str, salt: &[u8]) -> Result<Vec<u8>> {
        match plugin {
            NATIVE => Ok(native::scramble(&self.target.password, salt)),
            SHA2 => Ok(sha2::scramble(&self.target.password, salt)),
            other => bail!("it asks for {other}"),
        }
    }

    /// A packet of the log-in, with the number `seq`.
    fn send_packet(&mut self, payload: &[u8]) -> Result<()> {
        self.out.clear();
        self.out.extend_from_slice(&FrameHead { len: payload.len(), seq: self.seq }.encode());
        self.out.extend_from_slice(payload);
        self.unsent = 0;
        self.follower.expect_packet();
        self.send()
    }

    fn send(&mut self) -> Result<()> {
        while let Some(rest) = self.out.get(self.unsent..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(count) => self.unsent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

fn open(target: &Target, token: Token, registry: &Registry) -> Result<Stream> {
    let mut stream = Stream::connect(&target.address).context("cannot connect")?;
    registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
    Ok(stream)
}
