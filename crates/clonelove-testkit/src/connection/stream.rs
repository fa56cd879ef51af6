//! What a session is spoken over: a socket, TLS over it, compression over either. Owns bytes and the heads of compressed
//! packets; knows no packets of the protocol.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustls::{ClientConnection, StreamOwned};

/// How a session is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// zlib.
    Zlib,
    /// zstd.
    Zstd,
}

#[derive(Debug)]
pub(super) struct Stream {
    socket: Socket,
    packing: Option<Packing>,
}

#[derive(Debug)]
pub(super) enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// Compression, once it began.
#[derive(Debug)]
struct Packing {
    how: Compression,
    /// The number of the next compressed packet.
    next: u8,
    /// What came and was not read yet.
    plain: io::Cursor<Vec<u8>>,
}

impl Stream {
    pub(super) fn new(socket: Socket) -> Self {
        Self { socket, packing: None }
    }

    pub(super) fn tls(&self) -> Option<&ClientConnection> {
        match &self.socket {
            Socket::Tls(tls) => Some(&tls.conn),
            _ => None,
        }
    }

    pub(super) fn is_secure(&self) -> bool {
        !matches!(self.socket, Socket::Tcp(_))
    }

    /// From now on everything is packed.
    pub(super) fn compress(&mut self, how: Compression) {
        self.packing = Some(Packing { how, next: 0, plain: io::Cursor::default() });
    }

    /// A command begins, and with it the numbers of compressed packets.
    pub(super) fn begin_command(&mut self) {
        if let Some(packing) = &mut self.packing {
            packing.next = 0;
        }
    }

    pub(super) fn set_patience(&self, patience: Duration) -> io::Result<()> {
        match &self.socket {
            Socket::Unix(stream) => stream.set_read_timeout(Some(patience)),
            Socket::Tcp(stream) => stream.set_read_timeout(Some(patience)),
            Socket::Tls(stream) => stream.sock.set_read_timeout(Some(patience)),
        }
    }

    pub(super) fn shut_down(&self) -> io::Result<()> {
        match &self.socket {
            Socket::Unix(stream) => stream.shutdown(Shutdown::Both),
            Socket::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Socket::Tls(stream) => stream.sock.shutdown(Shutdown::Both),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(packing) = &mut self.packing else { return self.socket.read(buffer) };
        loop {
            let count = packing.plain.read(buffer)?;
            if count > 0 || buffer.is_empty() || !packing.take(&mut self.socket)? {
                return Ok(count);
            }
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.packing {
            None => self.socket.write(bytes),
            Some(packing) => packing.put(bytes, &mut self.socket),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

impl Packing {
    /// The head: the length of the body in three bytes, the packet's number, the length of what is in it, 0 if that is the
    /// body itself.
    const HEAD: usize = 7;

    /// Takes one packet from the socket; false when the other side has closed it.
    fn take(&mut self, socket: &mut Socket) -> io::Result<bool> {
        let mut head = [0; Self::HEAD];
        if socket.read(&mut head[..1])? == 0 {
            return Ok(false);
        }
        socket.read_exact(&mut head[1..])?;
        let [a, b, c, number, x, y, z] = head;
        let length = |low, middle, high| u32::from_le_bytes([low, middle, high, 0]) as usize;
        let mut body = vec![0; length(a, b, c)];
        socket.read_exact(&mut body)?;
        self.next = number.wrapping_add(1);
        let plain = match (length(x, y, z), self.how) {
            (0, _) => body,
            (length, how) => {
                let mut plain = Vec::with_capacity(length);
                match how {
                    Compression::Zlib => flate2::read::ZlibDecoder::new(&*body).read_to_end(&mut plain)?,
                    Compression::Zstd => zstd::stream::read::Decoder::new(&*body)?.read_to_end(&mut plain)?,
                };
                if plain.len() != length {
                    return Err(io::Error::other("a compressed packet that lies about its length"));
                }
                plain
            }
        };
        self.plain = io::Cursor::new(plain);
        Ok(true)
    }

    fn put(&mut self, bytes: &[u8], socket: &mut Socket) -> io::Result<usize> {
        let bytes = bytes.get(..0xff_ffff).unwrap_or(bytes);
        // As clients do it: what is short goes as it is.
        let packed = match self.how {
            _ if bytes.len() < 50 => None,
            Compression::Zlib => {
                let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(bytes)?;
                Some(encoder.finish()?)
            }
            Compression::Zstd => Some(zstd::bulk::compress(bytes, 3)?),
        };
        let number = self.next;
        self.next = number.wrapping_add(1);
        let (body, plain) = match &packed {
            Some(packed) => (&**packed, bytes.len()),
            None => (bytes, 0),
        };
        let three = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
        let ([a, b, c, _], [x, y, z, _]) = (three(body.len()), three(plain));
        socket.write_all(&[&[a, b, c, number, x, y, z], body].concat())?;
        Ok(bytes.len())
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Unix(stream) => stream.read(buffer),
            Socket::Tcp(stream) => stream.read(buffer),
            Socket::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Unix(stream) => stream.write(bytes),
            Socket::Tcp(stream) => stream.write(bytes),
            Socket::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Socket::Unix(_) | Socket::Tcp(_) => Ok(()),
            Socket::Tls(stream) => stream.flush(),
        }
    }
}
