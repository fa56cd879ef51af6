//! A relay that looks at nothing: it copies bytes both ways between its clients and one server, with one epoll loop
//! per thread. What it costs is the least that any process in the middle costs; the benches' floor.
//!
//! `blind_relay LISTEN[,LISTEN] SERVER`, each an `address:port` or the path of a unix socket.
#![forbid(unsafe_code)]

use std::io::{self, ErrorKind, Read, Write};

use anyhow::{Context, Result, bail};
use clonelove_benches::stream::{Address, Listener, Stream};
use mio::{Events, Interest, Poll, Registry, Token};

/// Listeners count down from here, the ends of pairs up from 0.
const LISTENERS: usize = usize::MAX;
const BUFFER: usize = 64 * 1024;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [listen, server] = args.as_slice() else { bail!("usage: blind_relay LISTEN[,LISTEN] SERVER") };
    let mut listeners = Vec::new();
    for address in listen.split(',') {
        let listener = Listener::bind(&address.parse()?);
        listeners.push(listener.with_context(|| format!("cannot listen on {address}"))?);
    }
    Ok(Relay::new(listeners, server.parse()?)?.run()?)
}

/// One loop with the pairs that it accepted.
struct Relay {
    poll: Poll,
    listeners: Vec<Listener>,
    server: Address,
    pairs: Vec<Option<Pair>>,
    free: Vec<usize>,
    buffer: Vec<u8>,
}

/// A client and its connection to the server; the client has the even token.
struct Pair {
    ends: [End; 2],
}

struct End {
    stream: Stream,
    /// Bytes that this end did not take yet. While there are any, nothing more is read from the other end.
    unsent: Vec<u8>,
    /// Its input is over, and so is the other end's output.
    ended: bool,
}

impl Relay {
    fn new(mut listeners: Vec<Listener>, server: Address) -> Result<Self> {
        let poll = Poll::new()?;
        for (at, listener) in listeners.iter_mut().enumerate() {
            poll.registry().register(listener, Token(LISTENERS - at), Interest::READABLE)?;
        }
        Ok(Self { poll, listeners, server, pairs: Vec::new(), free: Vec::new(), buffer: vec![0; BUFFER] })
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for event in &events {
                let listener = LISTENERS - event.token().0;
                if listener < self.listeners.len() {
                    self.accept_all(listener)?;
                    continue;
                }
                let (at, side) = (event.token().0 / 2, event.token().0 % 2);
                let Some(Some(pair)) = self.pairs.get_mut(at) else { continue };
                if !pair.serve(side, event, &mut self.buffer) {
                    self.pairs.get_mut(at).map(Option::take);
                    self.free.push(at);
                }
            }
        }
    }

    fn accept_all(&mut self, listener: usize) -> io::Result<()> {
        while let Some(listener) = self.listeners.get(listener) {
            match listener.accept() {
                Ok(client) => self.add(client)?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(_) => {}
            }
        }
        Ok(())
    }

    fn add(&mut self, client: Stream) -> io::Result<()> {
        let server = Stream::connect(&self.server)?;
        let at = self.free.pop().unwrap_or(self.pairs.len());
        let pair = Pair::new(client, server, at, self.poll.registry())?;
        match self.pairs.get_mut(at) {
            Some(place) => *place = Some(pair),
            None => self.pairs.push(Some(pair)),
        }
        Ok(())
    }
}

impl Pair {
    fn new(client: Stream, server: Stream, at: usize, registry: &Registry) -> io::Result<Self> {
        let mut ends = [client, server].map(|stream| End { stream, unsent: Vec::new(), ended: false });
        for (side, end) in ends.iter_mut().enumerate() {
            registry.register(
                &mut end.stream,
                Token(at * 2 + side),
                Interest::READABLE | Interest::WRITABLE,
            )?;
        }
        Ok(Self { ends })
    }

    /// Moves what can be moved after an event on one side; false when the pair is over.
    fn serve(&mut self, side: usize, event: &mio::event::Event, buffer: &mut [u8]) -> bool {
        let [client, server] = &mut self.ends;
        let (here, there) = if side == 0 { (client, server) } else { (server, client) };
        let moved = (|| {
            if event.is_writable() && !here.unsent.is_empty() && here.send_rest()? {
                copy(there, here, buffer, true)?;
            }
            if event.is_readable() {
                copy(here, there, buffer, event.is_read_closed())?;
            }
            io::Result::Ok(())
        })();
        moved.is_ok() && !event.is_error() && !(here.ended && there.ended)
    }
}

impl End {
    /// Writes what is left; true when nothing is.
    fn send_rest(&mut self) -> io::Result<bool> {
        let sent = send(&mut self.stream, &self.unsent)?;
        self.unsent.drain(..sent);
        Ok(self.unsent.is_empty())
    }
}

/// Copies until `from` has no more or `to` takes no more. A short read says that there is no more, as epoll(7) has
/// it, except that the end of input behind it (`to_the_end`) must be fetched.
fn copy(from: &mut End, to: &mut End, buffer: &mut [u8], to_the_end: bool) -> io::Result<()> {
    while to.unsent.is_empty() && !from.ended {
        let count = match from.stream.read(buffer) {
            Ok(0) => {
                from.ended = true;
                return to.stream.end_output();
            }
            Ok(count) => count,
            Err(error) if not_now(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        let bytes = buffer.get(..count).unwrap_or_default();
        let sent = send(&mut to.stream, bytes)?;
        to.unsent.extend_from_slice(bytes.get(sent..).unwrap_or_default());
        if count < buffer.len() && !to_the_end {
            return Ok(());
        }
    }
    Ok(())
}

/// Writes what the socket takes now; a server that is still being connected to takes nothing.
fn send(stream: &mut Stream, bytes: &[u8]) -> io::Result<usize> {
    let mut sent = 0;
    while let Some(rest) = bytes.get(sent..).filter(|rest| !rest.is_empty()) {
        match stream.write(rest) {
            Ok(count) => sent += count,
            Err(error) if not_now(&error) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(sent)
}

fn not_now(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected | ErrorKind::Interrupted)
}
