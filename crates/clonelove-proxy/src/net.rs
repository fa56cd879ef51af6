//! Sockets: one stream type for TCP and unix sockets (TLS will be a third), its options, and the
//! buffer of what was read but not yet used. Must not know packets.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::settings::Address;

/// What is asked of a socket at one time, at least.
const READ_AT_LEAST: usize = 8 * 1024;
/// What a buffer may hold before the other side must have taken some of it.
const READ_AT_MOST: usize = 64 * 1024;

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

    /// Waits until there is something to read, or the end. Cancel safe.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.ready(Interest::READABLE).await.map(drop),
            Stream::Unix(stream) => stream.ready(Interest::READABLE).await.map(drop),
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

/// A stream and what was read from it ahead of use.
#[derive(Debug)]
pub(crate) struct Buffered {
    stream: Stream,
    /// Read, not yet used.
    pub(crate) input: BytesMut,
    read: u64,
    written: u64,
}

impl Buffered {
    /// Takes a connected stream.
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, input: BytesMut::new(), read: 0, written: 0 }
    }

    /// The stream itself, to look at.
    pub(crate) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Reads more behind what is there; 0 is the end. Cancel safe: what was read is in the buffer.
    pub(crate) async fn fill(&mut self) -> io::Result<usize> {
        if self.input.capacity() - self.input.len() < READ_AT_LEAST / 2 {
            let want = self.input.len().clamp(READ_AT_LEAST, READ_AT_MOST);
            self.input.reserve(want);
        }
        let count = self.stream.read_buf(&mut self.input).await?;
        self.read = self.read.wrapping_add(count as u64);
        Ok(count)
    }

    /// Waits for something to read while holding no buffer; 0 is the end. Cancel safe.
    pub(crate) async fn fill_idle(&mut self) -> io::Result<usize> {
        if !self.input.is_empty() {
            return self.fill().await;
        }
        self.input = BytesMut::new();
        loop {
            self.stream.readable().await?;
            self.input.reserve(READ_AT_LEAST);
            match self.stream.try_read_buf(&mut self.input) {
                Ok(count) => {
                    self.read = self.read.wrapping_add(count as u64);
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.input = BytesMut::new(),
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether the other side sent anything, or its end, that nobody asked for. Does not wait.
    pub(crate) fn has_unasked(&mut self) -> bool {
        if !self.input.is_empty() {
            return true;
        }
        self.input.reserve(64);
        match self.stream.try_read_buf(&mut self.input) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Ok(_) | Err(_) => true,
        }
    }

    /// Writes all of it. Not cancel safe: a part may have been written.
    pub(crate) async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written = self.written.wrapping_add(bytes.len() as u64);
        self.stream.write_all(bytes).await
    }

    /// Bytes read and written since the last call.
    pub(crate) fn take_counts(&mut self) -> (u64, u64) {
        (std::mem::take(&mut self.read), std::mem::take(&mut self.written))
    }
}
