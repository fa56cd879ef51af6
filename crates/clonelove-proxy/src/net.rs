//! Sockets: one stream type for TCP and unix sockets, its options, TLS over either, compression over all, and the
//! buffer of what was read but not yet used. Must not know packets.

mod packed;
mod records;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aws_lc_rs::digest::Digest;
use bytes::BytesMut;
use clonelove_wire::compress::Algorithm;
use clonelove_wire::proxied;
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, CommonState};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::settings::Address;
use crate::tls::Acceptor;
use packed::Packed;
pub(crate) use packed::Speaks;
use records::Records;

/// What is asked of a socket at one time, at least.
const READ_AT_LEAST: usize = 8 * 1024;
/// What a buffer may hold before the other side must have taken some of it.
const READ_AT_MOST: usize = 64 * 1024;
/// What is encrypted before it is sent.
const WRITE_AT_MOST: usize = 64 * 1024;

/// A connected socket.
#[derive(Debug)]
pub(crate) enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
}

impl Stream {
    /// Connects, with the options of this proxy. A name with several addresses is tried in order.
    pub(crate) async fn connect(address: &Address) -> io::Result<Stream> {
        match address {
            Address::Tcp { host, port } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                tune(&stream)?;
                Ok(Stream::Tcp(stream))
            }
            Address::Unix(path) => Ok(Stream::Unix(UnixStream::connect(path).await?)),
        }
    }

    /// Whether what is sent stays on this machine, by construction.
    pub(crate) fn is_local(&self) -> bool {
        matches!(self, Stream::Unix(_))
    }

    /// Reads what is there, without waiting.
    pub(crate) fn try_read_buf(&self, buf: &mut BytesMut) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.try_read_buf(buf),
            Stream::Unix(stream) => stream.try_read_buf(buf),
        }
    }

    /// Whether there may be something to read, or the end, as far as is known without asking the kernel.
    fn may_be_readable(&self) -> bool {
        let known = match self {
            Stream::Tcp(stream) => stream.try_io(Interest::READABLE, || Ok(())),
            Stream::Unix(stream) => stream.try_io(Interest::READABLE, || Ok(())),
        };
        known.is_ok()
    }

    /// Writes what can be written, without waiting.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.try_write(bytes),
            Stream::Unix(stream) => stream.try_write(bytes),
        }
    }

    /// Waits until there is something to read, or the end.
    fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Tcp(stream) => stream.poll_read_ready(context),
            Stream::Unix(stream) => stream.poll_read_ready(context),
        }
    }
}

/// No delay for small packets, and an end for peers that vanished without a word.
pub(crate) fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(10))
        .with_retries(6);
    socket2::SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// Buffers that nobody needs at the moment: who waits holds none, and who reads need not have one made.
#[derive(Default)]
pub(crate) struct Room(Mutex<Vec<BytesMut>>);

impl Room {
    /// How many are kept.
    const MOST: usize = 64;

    fn take(&self) -> Option<BytesMut> {
        self.0.lock().pop()
    }

    fn give(&self, mut spare: BytesMut) {
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
            read: 0,
            written: 0,
        }
    }

    /// A header of the PROXY protocol for the other side: of a client there, or of ourselves.
    pub(crate) fn proxy_header(&self, client: Option<IpAddr>) -> BytesMut {
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let to = match &self.stream {
            Stream::Tcp(stream) => stream.peer_addr().unwrap_or(nowhere),
            Stream::Unix(_) => nowhere,
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
        let Some(tls) = &mut self.tls else { return self.stream.write_all(bytes).await };
        self.writing = true;
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
        if self.room.is_none() {
            self.room = Some(Arc::clone(room));
        }
    }

    /// Where its buffers come from.
    pub(crate) fn room(&self) -> Option<&Arc<Room>> {
        self.room.as_ref()
    }

    /// Makes sure that some can be read.
    fn make_room(&mut self) {
        if self.input.capacity() - self.input.len() >= READ_AT_LEAST / 2 {
            return;
        }
        if self.input.is_empty()
            && let Some(spare) = self.room.as_ref().and_then(|room| room.take())
        {
            self.input = spare;
            return;
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
