//! Sockets: TLS over either kind, compression over all, and the buffer of what was read but not yet used. Must not know
//! packets.

mod packed;
mod records;
mod stream;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use aws_lc_rs::digest::Digest;
use bytes::BytesMut;
use clonelove_wire::compress::Algorithm;
use clonelove_wire::proxied;
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, CommonState};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::tls::Acceptor;
use packed::Packed;
pub(crate) use packed::Speaks;
use records::Records;
pub(crate) use stream::{Stream, tune};

/// What is asked of a socket at one time, at least.
const READ_AT_LEAST: usize = 8 * 1024;
/// What a buffer may hold before the other side must have taken some of it.
const READ_AT_MOST: usize = 64 * 1024;
/// What is encrypted before it is sent.
const WRITE_AT_MOST: usize = 64 * 1024;

/// Buffers that nobody needs at the moment: who waits holds none, and who reads need not have one made.
#[derive(Default)]
pub(crate) struct Room(Mutex<Vec<BytesMut>>);

impl Room {
    /// How many are kept.
    const MOST: usize = 32;

    /// One that holds nothing.
    pub(crate) fn take(&self) -> BytesMut {
        let spare = self.0.lock().pop();
        spare.unwrap_or_else(|| BytesMut::with_capacity(READ_AT_LEAST))
    }

    /// Takes one that holds nothing.
    pub(crate) fn give(&self, mut spare: BytesMut) {
        // Large ones were for large packets; of one that is in use elsewhere, only what is left can be had.
        if spare.capacity() > 2 * READ_AT_LEAST || !spare.try_reclaim(READ_AT_LEAST / 2) {
            return;
        }
        let mut spares = self.0.lock();
        if spares.len() < Self::MOST {
            spares.push(spare);
        }
    }
}

/// A stream, encrypted or not, compressed or not, and what was read from it ahead of use.
pub(crate) struct Buffered {
    stream: Stream,
    /// Where its buffer comes from, and goes to when it holds nothing.
    room: Option<Arc<Room>>,
    tls: Option<Box<Records>>,
    packed: Option<Box<Packed>>,
    /// Read, not yet used.
    pub(crate) input: BytesMut,
    /// A write is under way, or was given up: nothing whole can follow.
    writing: bool,
    /// Another core hears of its socket.
    elsewhere: bool,
    read: u64,
    written: u64,
}

/// Why TLS did not come about.
#[derive(Debug)]
pub(crate) enum NoTls {
    /// The other side left in the middle.
    Left,
    /// Its network failed.
    Network(io::Error),
    /// The two sides could not agree, or one does not trust the other.
    Refused(rustls::Error),
}

impl Buffered {
    /// Takes a connected stream.
    pub(crate) fn new(stream: Stream) -> Self {
        Self {
            stream,
            room: None,
            tls: None,
            packed: None,
            input: BytesMut::new(),
            writing: false,
            elsewhere: false,
            read: 0,
            written: 0,
        }
    }

    /// Says whether it is to be moved to another core before it is used.
    pub(crate) fn is_elsewhere(&mut self, elsewhere: bool) {
        self.elsewhere = elsewhere;
    }

    /// Goes on on the core that calls, if it is not there yet: whoever waits for it is woken there, and by nobody from
    /// elsewhere.
    pub(crate) fn move_here(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.elsewhere) {
            self.stream = std::mem::replace(&mut self.stream, Stream::Gone).moved()?;
        }
        Ok(())
    }

    /// A header of the PROXY protocol for the other side: of a client there, or of ourselves.
    pub(crate) fn proxy_header(&self, client: Option<IpAddr>) -> BytesMut {
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let to = match &self.stream {
            Stream::Tcp(stream) => stream.peer_addr().unwrap_or(nowhere),
            Stream::Unix(_) | Stream::Gone => nowhere,
        };
        // Its port means nothing where others share the connection.
        proxied::encode(client.map(|ip| (SocketAddr::new(ip, 0), to)))
    }

    /// Whether nobody on the way can read or change what is sent.
    pub(crate) fn is_secure(&self) -> bool {
        self.tls.is_some() || self.stream.is_local()
    }

    /// Goes on in compressed packets, from now on and both ways.
    pub(crate) fn compress(&mut self, algorithm: Algorithm, speaks: Speaks) {
        self.packed = Some(Packed::new(algorithm, speaks, std::mem::take(&mut self.input)));
    }

    /// The next frame is to have this number: the numbers in compressed packets mean nothing.
    pub(crate) fn expect(&mut self, next: u8) {
        if let Some(packed) = &mut self.packed {
            packed.expect(next, &mut self.input);
        }
    }

    /// The other side has said all of a command, or of its part in one: what is written next answers that.
    pub(crate) fn turn(&mut self) {
        if let Some(packed) = &mut self.packed {
            packed.turn(!self.input.is_empty());
        }
    }

    /// What is written from now on is no command, but belongs to the one before; or no more.
    pub(crate) fn continues(&mut self, continues: bool) {
        if let Some(packed) = &mut self.packed {
            packed.continues(continues);
        }
    }

    /// What TLS the two sides agreed upon, if it is used.
    pub(crate) fn tls(&self) -> Option<&CommonState> {
        self.tls.as_deref().map(Records::agreed)
    }

    /// The SHA-256 of the certificate that the other side was shown.
    pub(crate) fn shown(&self) -> Option<&Digest> {
        self.tls.as_ref()?.shown()
    }

    /// Goes on over TLS with whoever connected to us. Whatever was read beyond the request for TLS is taken for
    /// TLS, and none of it for anything else: plaintext sent ahead fails the handshake.
    pub(crate) async fn accept_tls(&mut self, acceptor: &Acceptor) -> Result<(), NoTls> {
        let first = std::mem::take(&mut self.input);
        let records = Records::server(acceptor, first).map_err(NoTls::Refused)?;
        self.shake_hands(records).await
    }

    /// Goes on over TLS with whom we connected to. What it has sent ahead of TLS is taken for TLS as well.
    /// Our last words of the handshake leave with the first write.
    pub(crate) async fn connect_tls(
        &mut self,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<(), NoTls> {
        let mut records = Records::client(config, name).map_err(NoTls::Refused)?;
        records.incoming = std::mem::take(&mut self.input);
        self.shake_hands(records).await
    }

    async fn shake_hands(&mut self, records: Box<Records>) -> Result<(), NoTls> {
        let tls = &mut **self.tls.insert(records);
        loop {
            if let Err(error) = tls.decrypt(&mut self.input) {
                // A last word; whoever does not take it now does without.
                let _ = self.stream.try_write(&tls.outgoing);
                self.writing = true;
                return Err(NoTls::Refused(error));
            }
            let done = !tls.agreed().is_handshaking();
            if !done || tls.is_server() {
                self.stream.write_all_buf(&mut tls.outgoing).await.map_err(NoTls::Network)?;
            }
            if done {
                tls.rest();
                return Ok(());
            }
            tls.make_room();
            match self.stream.read_buf(&mut tls.incoming).await {
                Ok(0) => return Err(NoTls::Left),
                Ok(_) => {}
                Err(error) => return Err(NoTls::Network(error)),
            }
        }
    }

    /// Reads more behind what is there; 0 is the end. Cancel safe: what was read is in the buffer.
    pub(crate) async fn fill(&mut self) -> io::Result<usize> {
        if self.packed.is_some() {
            return self.fill_packed().await;
        }
        if self.tls.is_some() {
            return self.fill_tls().await;
        }
        self.make_room();
        let count = self.stream.read_buf(&mut self.input).await?;
        self.read = self.read.wrapping_add(count as u64);
        Ok(count)
    }

    async fn fill_tls(&mut self) -> io::Result<usize> {
        loop {
            let Some(tls) = &mut self.tls else { return Ok(0) };
            if tls.has_ended() {
                return Ok(0);
            }
            tls.make_room();
            if self.stream.read_buf(&mut tls.incoming).await? == 0 {
                return Ok(0);
            }
            let count = self.decrypt()?;
            if count > 0 {
                return Ok(count);
            }
        }
    }

    async fn fill_packed(&mut self) -> io::Result<usize> {
        loop {
            let count = self.unpack()?;
            if count > 0 {
                return Ok(count);
            }
            let Some(packed) = &mut self.packed else { return Ok(0) };
            let into = match &mut self.tls {
                Some(tls) if tls.has_ended() => return Ok(0),
                Some(tls) => {
                    tls.make_room();
                    &mut tls.incoming
                }
                None => {
                    packed.make_room();
                    &mut packed.incoming
                }
            };
            if self.stream.read_buf(into).await? == 0 {
                return Ok(0);
            }
            if self.tls.is_some() {
                self.decrypt()?;
            }
        }
    }

    /// As [`Self::poll_fill_idle`].
    #[cfg(test)]
    pub(crate) async fn fill_idle(&mut self) -> io::Result<usize> {
        std::future::poll_fn(|context| self.poll_fill_idle(context)).await
    }

    /// Waits for something to read while holding no buffer; 0 is the end. May be polled anew at any time.
    pub(crate) fn poll_fill_idle(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if !self.input.is_empty() {
            return pin!(self.fill()).poll(context);
        }
        self.rest();
        self.poll_fill_working(context)
    }

    /// The same, once all that was read is used, but for a command that is being answered: what it was read into is in
    /// use, and given back with it.
    pub(crate) fn poll_fill_working(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            let count = self.unpack()?;
            if count > 0 {
                return Poll::Ready(Ok(count));
            }
            if !self.tls.as_ref().is_some_and(|tls| tls.has_ended()) {
                ready!(self.stream.poll_readable(context))?;
            }
            if self.tls.is_none() && self.packed.is_none() {
                self.make_room();
                // A polled read that is short tells the runtime that no more is there, which saves it a second one.
                let read = pin!(self.stream.read_buf(&mut self.input)).poll(context);
                if let Poll::Ready(Ok(count)) = read {
                    self.read = self.read.wrapping_add(count as u64);
                } else {
                    self.rest();
                }
                return read;
            }
            match self.try_fill(READ_AT_LEAST)? {
                Some(count) => return Poll::Ready(Ok(count)),
                None => self.rest(),
            }
        }
    }

    /// Whether the other side sent anything, or its end, that nobody asked for. Does not wait.
    pub(crate) fn has_unasked(&mut self) -> bool {
        if !self.input.is_empty() || self.packed.as_ref().is_some_and(|packed| !packed.incoming.is_empty()) {
            return true;
        }
        if self.tls.is_none() && !self.stream.may_be_readable() {
            return false;
        }
        // What TLS says for itself, such as a new ticket, is none of it.
        !matches!(self.try_fill(64), Ok(None))
    }

    /// Writes all of it. Not cancel safe: a part may have been written.
    pub(crate) async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written = self.written.wrapping_add(bytes.len() as u64);
        if self.packed.is_none() { self.write_plain(bytes).await } else { self.write_packed(bytes).await }
    }

    async fn write_packed(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while let Some(packed) = self.packed.as_mut().filter(|_| !bytes.is_empty()) {
            let mut out = BytesMut::new();
            while !bytes.is_empty() && out.len() < WRITE_AT_MOST {
                packed.pack(&mut bytes, &mut out);
            }
            self.write_plain(&out).await?;
        }
        Ok(())
    }

    async fn write_plain(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writing = true;
        let Some(tls) = &mut self.tls else {
            self.stream.write_all(bytes).await?;
            self.writing = false;
            return Ok(());
        };
        for part in bytes.chunks(WRITE_AT_MOST) {
            let plain = match &mut self.packed {
                Some(packed) => &mut packed.incoming,
                None => &mut self.input,
            };
            tls.encrypt(part, plain).map_err(invalid)?;
            self.stream.write_all_buf(&mut tls.outgoing).await?;
        }
        tls.outgoing = BytesMut::new();
        self.writing = false;
        Ok(())
    }

    /// Says something that nothing follows, if it can be said at once: never waits, and never behind a part of something
    /// else. What cannot be sent is left unsaid.
    pub(crate) fn say_last(&mut self, mut bytes: &[u8]) {
        if std::mem::replace(&mut self.writing, true) {
            return;
        }
        let mut out = BytesMut::new();
        match &mut self.packed {
            Some(packed) => packed.pack(&mut bytes, &mut out),
            None => out.extend_from_slice(bytes),
        }
        let Some(tls) = &mut self.tls else {
            let _ = self.stream.try_write(&out);
            return;
        };
        if tls.encrypt(&out, &mut BytesMut::new()).is_ok() {
            tls.close();
            let _ = self.stream.try_write(&tls.outgoing);
        }
    }

    /// Bytes read and written since the last call, without what TLS adds, and as they were before compression.
    pub(crate) fn take_counts(&mut self) -> (u64, u64) {
        (std::mem::take(&mut self.read), std::mem::take(&mut self.written))
    }

    /// Reads what is there; nothing when nothing is.
    fn try_fill(&mut self, at_least: usize) -> io::Result<Option<usize>> {
        loop {
            let count = self.unpack()?;
            if count > 0 {
                return Ok(Some(count));
            }
            let into = match (&mut self.tls, &mut self.packed) {
                (Some(tls), _) if tls.has_ended() => return Ok(Some(0)),
                (Some(tls), _) => {
                    tls.make_room();
                    &mut tls.incoming
                }
                (None, Some(packed)) => {
                    packed.make_room();
                    &mut packed.incoming
                }
                (None, None) => {
                    self.input.reserve(at_least);
                    &mut self.input
                }
            };
            let count = match self.stream.try_read_buf(into) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            };
            if count == 0 {
                return Ok(Some(0));
            }
            let count = match (&self.tls, &self.packed) {
                (Some(_), _) => self.decrypt()?,
                (None, Some(_)) => 0,
                (None, None) => {
                    self.read = self.read.wrapping_add(count as u64);
                    count
                }
            };
            if count > 0 {
                return Ok(Some(count));
            }
        }
    }

    /// Takes in what was read packed; answers how many bytes were in it.
    #[inline]
    fn unpack(&mut self) -> io::Result<usize> {
        let Some(packed) = &mut self.packed else { return Ok(0) };
        let count = packed.unpack(&mut self.input)?;
        self.read = self.read.wrapping_add(count as u64);
        Ok(count)
    }

    /// Takes in what was read encrypted; answers how many bytes were in it that may be used at once.
    fn decrypt(&mut self) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return Ok(0) };
        let plain = match &mut self.packed {
            Some(packed) => &mut packed.incoming,
            None => &mut self.input,
        };
        let before = plain.len();
        if let Err(error) = tls.decrypt(plain) {
            if !self.writing {
                let _ = self.stream.try_write(&tls.outgoing);
                self.writing = true;
            }
            return Err(invalid(error));
        }
        let count = plain.len().saturating_sub(before);
        if self.packed.is_some() {
            return Ok(0);
        }
        self.read = self.read.wrapping_add(count as u64);
        Ok(count)
    }

    /// Shares buffers with others.
    pub(crate) fn use_room(&mut self, room: &Arc<Room>) {
        if self.room.as_ref().is_none_or(|own| !Arc::ptr_eq(own, room)) {
            self.room = Some(Arc::clone(room));
        }
    }

    /// Makes sure that some can be read.
    fn make_room(&mut self) {
        if self.input.capacity() - self.input.len() >= READ_AT_LEAST / 2 {
            return;
        }
        if self.input.is_empty() {
            if self.input.try_reclaim(READ_AT_LEAST / 2) {
                return;
            }
            if let Some(room) = &self.room {
                self.input = room.take();
                return;
            }
        }
        let want = self.input.len().clamp(READ_AT_LEAST, READ_AT_MOST);
        self.input.reserve(want);
    }

    /// Lets go of buffers that hold nothing.
    pub(crate) fn rest(&mut self) {
        if self.input.is_empty() && self.input.capacity() > 0 {
            let spare = std::mem::take(&mut self.input);
            if let Some(room) = &self.room {
                room.give(spare);
            }
        }
        if let Some(tls) = &mut self.tls {
            tls.rest();
        }
        if let Some(packed) = &mut self.packed {
            packed.rest();
        }
    }
}

impl Drop for Buffered {
    fn drop(&mut self) {
        // Without it the other side cannot tell an end from a connection that somebody cut.
        if let Some(tls) = &mut self.tls
            && !self.writing
        {
            tls.close();
            let _ = self.stream.try_write(&tls.outgoing);
        }
    }
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests;
