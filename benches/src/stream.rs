//! A connection over TCP or a unix socket, encrypted or not, and the addresses of both. Owns nothing of what goes over
//! it.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context, Error, bail};
use mio::event::Source;
use mio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use mio::{Interest, Registry, Token};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

/// `address:port`, or the path of a unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// TCP.
    Tcp(SocketAddr),
    /// A unix socket; its path has a slash.
    Unix(PathBuf),
}

/// A non-blocking connection.
#[derive(Debug)]
pub enum Stream {
    /// TCP, without Nagle's delay.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
    /// TLS over TCP.
    Tls(TcpStream, Box<ClientConnection>),
    /// What it is in the middle of becoming something else.
    None,
}

/// A non-blocking listener.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A unix socket.
    Unix(UnixListener),
}

impl Stream {
    /// Begins to connect.
    ///
    /// # Errors
    /// When that cannot be begun.
    pub fn connect(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => Self::tcp(TcpStream::connect(*address)?),
            Address::Unix(path) => Ok(Self::Unix(UnixStream::connect(path)?)),
        }
    }

    fn tcp(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self::Tcp(stream))
    }

    /// Ends its output.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn end_output(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) | Self::Tls(stream, _) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
            Self::None => Ok(()),
        }
    }

    /// Goes on over TLS with whoever is at 127.0.0.1.
    ///
    /// # Errors
    /// When it is no TCP.
    pub fn encrypt(&mut self, config: &Arc<ClientConfig>) -> Result<(), Error> {
        let Self::Tcp(stream) = std::mem::replace(self, Self::None) else { bail!("TLS is for TCP only") };
        let tls = ClientConnection::new(Arc::clone(config), ServerName::try_from("127.0.0.1")?)?;
        *self = Self::Tls(stream, Box::new(tls));
        Ok(())
    }

    /// Whether a short read says that there is no more (epoll(7)).
    #[must_use]
    pub fn short_read_is_all(&self) -> bool {
        !matches!(self, Self::Tls(..))
    }
}

impl Listener {
    /// Listens.
    ///
    /// # Errors
    /// When the address is not free.
    pub fn bind(address: &Address) -> io::Result<Self> {
        Ok(match address {
            Address::Tcp(address) => Self::Tcp(TcpListener::bind(*address)?),
            Address::Unix(path) => Self::Unix(UnixListener::bind(path)?),
        })
    }

    /// The next client.
    ///
    /// # Errors
    /// When there is none yet.
    pub fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => Stream::tcp(listener.accept()?.0),
            Self::Unix(listener) => Ok(Stream::Unix(listener.accept()?.0)),
        }
    }
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.contains('/') {
            return Ok(Self::Unix(text.into()));
        }
        text.parse().map(Self::Tcp).with_context(|| format!("no address: {text}"))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
            Self::Tls(stream, tls) => loop {
                match tls.reader().read(buffer) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    read => return read,
                }
                if tls.read_tls(stream)? == 0 {
                    return Ok(0);
                }
                tls.process_new_packets().map_err(io::Error::other)?;
                send_records(stream, tls)?;
            },
            Self::None => Ok(0),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(buffer),
            Self::Unix(stream) => stream.write(buffer),
            Self::Tls(stream, tls) => {
                let count = tls.writer().write(buffer)?;
                send_records(stream, tls)?;
                Ok(count)
            }
            Self::None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tls(stream, tls) => send_records(stream, tls),
            _ => Ok(()),
        }
    }
}

/// Sends what can be sent of what is encrypted.
fn send_records(stream: &mut TcpStream, tls: &mut ClientConnection) -> io::Result<()> {
    while tls.wants_write() {
        match tls.write_tls(stream) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl Source for Stream {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        match self {
            Self::Tcp(inner) | Self::Tls(inner, _) => inner.register(registry, token, interests),
            Self::Unix(inner) => inner.register(registry, token, interests),
            Self::None => Ok(()),
        }
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        match self {
            Self::Tcp(inner) | Self::Tls(inner, _) => inner.reregister(registry, token, interests),
            Self::Unix(inner) => inner.reregister(registry, token, interests),
            Self::None => Ok(()),
        }
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match self {
            Self::Tcp(inner) | Self::Tls(inner, _) => inner.deregister(registry),
            Self::Unix(inner) => inner.deregister(registry),
            Self::None => Ok(()),
        }
    }
}

impl Source for Listener {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        match self {
            Self::Tcp(inner) => inner.register(registry, token, interests),
            Self::Unix(inner) => inner.register(registry, token, interests),
        }
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        match self {
            Self::Tcp(inner) => inner.reregister(registry, token, interests),
            Self::Unix(inner) => inner.reregister(registry, token, interests),
        }
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match self {
            Self::Tcp(inner) => inner.deregister(registry),
            Self::Unix(inner) => inner.deregister(registry),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_port_or_a_path() {
        assert!(matches!("127.0.0.1:3306".parse(), Ok(Address::Tcp(_))));
        assert_eq!("/run/a.sock".parse::<Address>().unwrap(), Address::Unix("/run/a.sock".into()));
        assert!("nothing".parse::<Address>().is_err());
    }
}
