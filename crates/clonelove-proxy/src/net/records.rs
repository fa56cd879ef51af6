//! The TLS side of a stream: what came encrypted becomes bytes, what is to go out becomes records. Owns the state
//! of one TLS connection and what of its records is not whole yet; reads and writes no socket, knows no
//! certificates.
//!
//! rustls is used by its unbuffered interface: records are decrypted where they were read, in reads as large as
//! those without TLS, and a connection at rest holds no buffer at all.

use std::sync::Arc;

use aws_lc_rs::digest::Digest;
use bytes::{Buf, BytesMut};
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{ClientConfig, CommonState, Error};

use crate::tls::Acceptor;

/// The longest record with its head, RFC 8446 section 5.2 (RFC 5246 allows as much).
const RECORD: usize = 5 + (1 << 14) + 256;
/// What is asked of a socket when more is surely to come.
const MANY_RECORDS: usize = 64 * 1024;
/// What encryption may add to a write of one record, more than any cipher does.
const OVERHEAD: usize = 256;

/// One TLS connection, without its socket.
pub(crate) struct Records {
    side: Side,
    /// Read, not yet decrypted: parts of records, as far as they came.
    pub(crate) incoming: BytesMut,
    /// To be sent, in this order.
    pub(crate) outgoing: BytesMut,
    /// The other side has said that nothing follows.
    ended: bool,
    /// Of the certificate that we have shown.
    shown: Option<Digest>,
}

enum Side {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

/// What a look at the incoming bytes came to.
enum Step {
    /// There may be more to do.
    Again,
    /// All is done that can be done with these bytes.
    Rest,
    /// The bytes handed in were encrypted.
    Encrypted,
    /// The other side sends nothing more.
    Ended,
}

impl Records {
    /// The side that connected; the first flight is ready to be sent after the first [`Records::decrypt`].
    pub(crate) fn client(config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<Box<Self>, Error> {
        let side = Side::Client(UnbufferedClientConnection::new(config, name)?);
        Ok(Box::new(Self::new(side, BytesMut::new())))
    }

    /// The side that was connected to. `first` is what came behind the request for TLS: it must be TLS.
    pub(crate) fn server(acceptor: &Acceptor, first: BytesMut) -> Result<Box<Self>, Error> {
        let side = Side::Server(UnbufferedServerConnection::new(acceptor.config())?);
        Ok(Box::new(Self { shown: Some(*acceptor.fingerprint()), ..Self::new(side, first) }))
    }

    fn new(side: Side, incoming: BytesMut) -> Self {
        Self { side, incoming, outgoing: BytesMut::new(), ended: false, shown: None }
    }

    /// What the two sides agreed upon.
    pub(crate) fn agreed(&self) -> &CommonState {
        match &self.side {
            Side::Client(connection) => connection,
            Side::Server(connection) => connection,
        }
    }

    /// The SHA-256 of the certificate that we have shown.
    pub(crate) fn shown(&self) -> Option<&Digest> {
        self.shown.as_ref()
    }

    /// Whether the other side has said that nothing follows.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether a write by us must follow before the other side goes on.
    pub(crate) fn is_server(&self) -> bool {
        matches!(self.side, Side::Server(_))
    }

    /// Room for what the next read of the socket brings.
    pub(crate) fn make_room(&mut self) {
        self.incoming.reserve(if self.incoming.is_empty() { RECORD } else { MANY_RECORDS });
    }

    /// Lets go of buffers that hold nothing.
    pub(crate) fn rest(&mut self) {
        for buffer in [&mut self.incoming, &mut self.outgoing] {
            if buffer.is_empty() {
                *buffer = BytesMut::new();
            }
        }
    }

    /// Takes in what has come, and appends what was in it to `plain`. Whatever has to be answered is in
    /// `outgoing` then, also after an error (which is for good).
    pub(crate) fn decrypt(&mut self, plain: &mut BytesMut) -> Result<(), Error> {
        loop {
            match self.step(plain, &[]) {
                Ok(Step::Again) => {}
                Ok(Step::Ended) => self.ended = true,
                Ok(Step::Rest | Step::Encrypted) => break,
                Err(error) => {
                    self.take_alert(plain);
                    return Err(error);
                }
            }
        }
        if self.incoming.is_empty() {
            self.incoming = BytesMut::new();
        }
        Ok(())
    }

    /// Encrypts `bytes` behind what is to be sent already. What came meanwhile is appended to `plain`.
    pub(crate) fn encrypt(&mut self, bytes: &[u8], plain: &mut BytesMut) -> Result<(), Error> {
        loop {
            match self.step(plain, bytes)? {
                Step::Encrypted => return Ok(()),
                Step::Again => {}
                Step::Ended => self.ended = true,
                Step::Rest if bytes.is_empty() => return Ok(()),
                Step::Rest => return Err(Error::HandshakeNotComplete),
            }
        }
    }

    /// Appends the word that nothing follows.
    pub(crate) fn close(&mut self) {
        let mut alert = [0; OVERHEAD];
        let written = match &mut self.side {
            Side::Client(connection) => {
                farewell(connection.process_tls_records(&mut self.incoming), &mut alert)
            }
            Side::Server(connection) => {
                farewell(connection.process_tls_records(&mut self.incoming), &mut alert)
            }
        };
        self.outgoing.extend_from_slice(alert.get(..written).unwrap_or_default());
    }

    /// The alert that tells the other side of an error. One that is waiting comes before anything is looked at.
    fn take_alert(&mut self, plain: &mut BytesMut) {
        // Each round takes one message off a short queue; the bound is only there to be one.
        for _ in 0..8 {
            if !self.agreed().wants_write() || self.step(plain, &[]).is_err() {
                return;
            }
        }
    }

    /// One step; `bytes` are encrypted as soon as that is allowed.
    fn step(&mut self, plain: &mut BytesMut, bytes: &[u8]) -> Result<Step, Error> {
        let (discard, step) = match &mut self.side {
            Side::Client(connection) => {
                take(connection.process_tls_records(&mut self.incoming), bytes, plain, &mut self.outgoing)
            }
            Side::Server(connection) => {
                take(connection.process_tls_records(&mut self.incoming), bytes, plain, &mut self.outgoing)
            }
        };
        self.incoming.advance(discard.min(self.incoming.len()));
        step
    }
}

fn take<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    bytes: &[u8],
    plain: &mut BytesMut,
    outgoing: &mut BytesMut,
) -> (usize, Result<Step, Error>) {
    let UnbufferedStatus { mut discard, state } = status;
    let step = match state {
        Err(error) => Err(error),
        Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
            match traffic.next_record() {
                None => break Ok(Step::Again),
                Some(Err(error)) => break Err(error),
                Some(Ok(record)) => {
                    plain.extend_from_slice(record.payload);
                    discard = discard.saturating_add(record.discard);
                }
            }
        },
        Ok(ConnectionState::EncodeTlsData(mut data)) => append(outgoing, OVERHEAD, |room| {
            data.encode(room).map_err(|error| match error {
                EncodeError::InsufficientSize(size) => Some(size.required_size),
                EncodeError::AlreadyEncoded => None,
            })
        })
        .map(|()| Step::Again),
        Ok(ConnectionState::TransmitTlsData(data)) => {
            // It stands in `outgoing`, from where everything goes out in order.
            data.done();
            Ok(Step::Again)
        }
        Ok(ConnectionState::WriteTraffic(mut traffic)) if !bytes.is_empty() => {
            let records = bytes.len().div_ceil(1 << 14);
            let room = bytes.len().saturating_add(records.saturating_mul(OVERHEAD));
            append(outgoing, room, |room| {
                traffic.encrypt(bytes, room).map_err(|error| match error {
                    EncryptError::InsufficientSize(size) => Some(size.required_size),
                    EncryptError::EncryptExhausted => None,
                })
            })
            .map(|()| Step::Encrypted)
        }
        Ok(
            ConnectionState::WriteTraffic(_) | ConnectionState::BlockedHandshake | ConnectionState::Closed,
        ) => Ok(Step::Rest),
        Ok(ConnectionState::PeerClosed) => Ok(Step::Ended),
        // Early data is not switched on; whatever else there may be one day was not asked for.
        Ok(_) => Err(Error::General("an unexpected state of TLS".to_owned())),
    };
    (discard, step)
}

/// Lets `write` write behind what is there, with room for `room` bytes, or as many as it says it needs.
fn append(
    outgoing: &mut BytesMut,
    mut room: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, Option<usize>>,
) -> Result<(), Error> {
    let before = outgoing.len();
    loop {
        outgoing.resize(before.saturating_add(room), 0);
        let written = write(outgoing.get_mut(before..).unwrap_or_default());
        outgoing.truncate(before.saturating_add(*written.as_ref().unwrap_or(&0)));
        match written {
            Ok(_) => return Ok(()),
            Err(Some(needed)) if needed > room => room = needed,
            Err(_) => return Err(Error::EncryptError),
        }
    }
}

/// Writes the word that nothing follows, if it can be said now; answers its length.
fn farewell<Data>(status: UnbufferedStatus<'_, '_, Data>, alert: &mut [u8]) -> usize {
    match status.state {
        Ok(ConnectionState::WriteTraffic(mut traffic)) => traffic.queue_close_notify(alert).unwrap_or(0),
        _ => 0,
    }
}
