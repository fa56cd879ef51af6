//! One client with its connection to the server, and what is on its way between them. Owns the order of the bytes;
//! when they fall due is told from outside.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Instant;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

/// So much may be on its way in one direction; more is left with its sender. Far more than a quarter of a millisecond
/// of what a loopback carries, so that it limits nothing but a receiver that does not take its bytes.
const MOST: usize = 16 * 1024 * 1024;

/// An end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

impl Side {
    /// The link and the end that a token stands for.
    pub(super) fn of(token: Token) -> (usize, Self) {
        (token.0 / 2, if token.0.is_multiple_of(2) { Self::Client } else { Self::Server })
    }

    fn token(self, at: usize) -> Token {
        Token(at * 2 + usize::from(self == Self::Server))
    }

    pub(super) fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// A client and its connection to the server, which comes later.
pub(super) struct Link {
    at: usize,
    client: TcpStream,
    server: Option<TcpStream>,
    server_address: SocketAddr,
    open_at: Instant,
    from_client: Way,
    from_server: Way,
}

/// One direction.
#[derive(Default)]
struct Way {
    chunks: VecDeque<Chunk>,
    held: usize,
    /// No more comes.
    ended: bool,
    /// And that was passed on.
    over: bool,
    /// There may be more, which was left outside.
    left: bool,
}

/// Bytes that came together; none are the end of input.
struct Chunk {
    due: Instant,
    bytes: Vec<u8>,
    sent: usize,
}

impl Link {
    pub(super) fn new(
        mut client: TcpStream,
        server_address: SocketAddr,
        open_at: Instant,
        at: usize,
        registry: &Registry,
    ) -> io::Result<Self> {
        client.set_nodelay(true)?;
        registry.register(&mut client, Side::Client.token(at), Interest::READABLE | Interest::WRITABLE)?;
        let (from_client, from_server) = (Way::default(), Way::default());
        Ok(Self { at, client, server: None, server_address, open_at, from_client, from_server })
    }

    /// Opens the connection to the server, if it is time.
    pub(super) fn open(&mut self, now: Instant, registry: &Registry) -> io::Result<()> {
        if self.server.is_some() || now < self.open_at {
            return Ok(());
        }
        let mut server = TcpStream::connect(self.server_address)?;
        server.set_nodelay(true)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut server, Side::Server.token(self.at), interest)?;
        self.server = Some(server);
        Ok(())
    }

    /// Takes what came from a side, to be passed on when it is due; whether there was anything.
    pub(super) fn take(&mut self, from: Side, due: Instant, buffer: &mut [u8]) -> io::Result<bool> {
        let (stream, way) = match from {
            Side::Client => (Some(&mut self.client), &mut self.from_client),
            Side::Server => (self.server.as_mut(), &mut self.from_server),
        };
        let Some(stream) = stream else { return Ok(false) };
        let mut any = false;
        while !way.ended {
            way.left = way.held >= MOST;
            if way.left {
                break;
            }
            let count = match stream.read(buffer) {
                Ok(count) => count,
                Err(error) if not_now(&error) => break,
                Err(error) => return Err(error),
            };
            way.ended = count == 0;
            way.held += count;
            let bytes = buffer.get(..count).unwrap_or_default().to_vec();
            way.chunks.push_back(Chunk { due, bytes, sent: 0 });
            any = true;
        }
        Ok(any)
    }

    /// Passes on what is due of what came from a side; whether what was left outside may be taken now.
    pub(super) fn pass(&mut self, from: Side, now: Instant) -> io::Result<bool> {
        let (stream, way) = match from {
            Side::Client => (self.server.as_mut(), &mut self.from_client),
            Side::Server => (Some(&mut self.client), &mut self.from_server),
        };
        let Some(stream) = stream else { return Ok(false) };
        while let Some(chunk) = way.chunks.front_mut().filter(|chunk| chunk.due <= now) {
            if chunk.bytes.is_empty() {
                way.over = true;
                way.chunks.clear();
                stream.shutdown(Shutdown::Write)?;
                break;
            }
            match stream.write(chunk.bytes.get(chunk.sent..).unwrap_or_default()) {
                Ok(count) => {
                    chunk.sent += count;
                    way.held = way.held.saturating_sub(count);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if not_now(&error) => break,
                Err(error) => return Err(error),
            }
            if chunk.sent == chunk.bytes.len() {
                way.chunks.pop_front();
            }
        }
        Ok(way.left && way.held < MOST / 2)
    }

    /// Both directions have ended.
    pub(super) fn is_over(&self) -> bool {
        self.from_client.over && self.from_server.over
    }
}

fn not_now(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected | ErrorKind::Interrupted)
}
