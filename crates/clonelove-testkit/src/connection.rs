//! A small blocking client for the sandbox's own housekeeping, and for tests that need every packet in their own
//! hand: text protocol, without DEPRECATE_EOF, nothing sent that the test did not ask for.
//!
//! It is written apart from the product's protocol code on purpose, so that a mistake there cannot hide here. What
//! the product promises to clients is tested with real ones.

mod ahead;
mod error;
mod login;
mod stream;

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

pub use error::SqlError;
pub use stream::Compression;

use error::error_of;
use login::{Proof, handshake_response, parse_greeting, switched_proof};
use stream::{Socket, Stream};

/// A row of values as text; `None` is NULL.
pub type Row = Vec<Option<String>>;
/// A row by its columns' names.
pub type NamedRow = BTreeMap<String, Option<String>>;

const LONG_PASSWORD: u32 = 1;
const CONNECT_WITH_DB: u32 = 1 << 3;
const PROTOCOL_41: u32 = 1 << 9;
const COMPRESS: u32 = 1 << 5;
const SSL: u32 = 1 << 11;
const TRANSACTIONS: u32 = 1 << 13;
const SECURE_CONNECTION: u32 = 1 << 15;
const MULTI_STATEMENTS: u32 = 1 << 16;
const MULTI_RESULTS: u32 = 1 << 17;
const PLUGIN_AUTH: u32 = 1 << 19;
const ZSTD: u32 = 1 << 26;
const UTF8MB4_GENERAL_CI: u8 = 45;
const IN_TRANSACTION: u16 = 1;
const MORE_RESULTS_EXIST: u16 = 8;
const COM_QUIT: u8 = 1;
const COM_QUERY: u8 = 3;
const COM_CHANGE_USER: u8 = 0x11;
const WHOLE_FRAME: usize = 0xff_ffff;
/// A server that says nothing for so long is stuck, and the test says so instead of hanging.
const PATIENCE: Duration = Duration::from_secs(120);

/// A session on one server, or on the proxy.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<Stream>,
    sequence: u8,
    version: String,
    charset: u8,
    status: u16,
    greeting: Vec<u8>,
    welcome: Vec<u8>,
}

/// The error where a server wants the password itself over a connection on which others may listen.
pub const ASKED_FOR_PASSWORD: &str = "the password in clear is asked for";

/// How a session is to be opened, where the usual way is not meant.
#[derive(Debug, Clone, Default)]
pub struct Opening<'a> {
    /// The user's name and password.
    pub login: (&'a str, &'a str),
    /// The default schema.
    pub schema: Option<&'a str>,
    /// Capability flags beyond the usual ones, MariaDB's extended ones from bit 32 on. Where they change what replies look
    /// like, as DEPRECATE_EOF does, replies are to be read packet by packet.
    pub flags: u64,
    /// The method that the response names, if not mysql_native_password.
    pub method: Option<&'a str>,
    /// TLS, and whom it trusts.
    pub tls: Option<Arc<ClientConfig>>,
    /// Compression.
    pub compression: Option<Compression>,
}

impl Connection {
    /// Logs in over the unix socket without a password, with `schema` as the default one.
    ///
    /// # Errors
    /// When the server is not there or refuses.
    pub fn open(socket: &Path, user: &str, schema: Option<&str>) -> Result<Self> {
        let stream =
            UnixStream::connect(socket).with_context(|| format!("connect to {}", socket.display()))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Self::open_over(Socket::Unix(stream), user, "", schema)
    }

    /// Logs in over the unix socket with a password.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_unix(socket: &Path, user: &str, password: &str) -> Result<Self> {
        let stream =
            UnixStream::connect(socket).with_context(|| format!("connect to {}", socket.display()))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Self::open_over(Socket::Unix(stream), user, password, None)
    }

    /// Logs in over TCP to `host:port`, with `schema` as the default one.
    ///
    /// # Errors
    /// When the server is not there or refuses; the latter is a [`SqlError`].
    pub fn open_tcp(address: &str, user: &str, password: &str, schema: Option<&str>) -> Result<Self> {
        Self::open_tcp_with(address, (user, password), schema, 0_u32)
    }

    /// As [`open_tcp`](Self::open_tcp), with further capability flags, MariaDB's extended ones from bit 32 on. Where they
    /// change what replies look like, as DEPRECATE_EOF does, replies are to be read packet by packet.
    ///
    /// # Errors
    /// As [`open_tcp`](Self::open_tcp).
    pub fn open_tcp_with(
        address: &str,
        (user, password): (&str, &str),
        schema: Option<&str>,
        flags: impl Into<u64>,
    ) -> Result<Self> {
        let login = (user, password);
        Self::open_as(address, &Opening { login, schema, flags: flags.into(), ..Opening::default() })
    }

    /// Logs in over TLS to `host:port`. The request for TLS and the begin of TLS leave in one segment.
    ///
    /// # Errors
    /// As [`open_tcp`](Self::open_tcp), or when TLS does not come about.
    pub fn open_tls(
        address: &str,
        (user, password): (&str, &str),
        schema: Option<&str>,
        config: &Arc<ClientConfig>,
    ) -> Result<Self> {
        let login = (user, password);
        Self::open_as(
            address,
            &Opening { login, schema, tls: Some(Arc::clone(config)), ..Opening::default() },
        )
    }

    /// Logs in over TCP to `host:port` in any way.
    ///
    /// # Errors
    /// As [`open_tcp`](Self::open_tcp), or when TLS does not come about.
    pub fn open_as(address: &str, opening: &Opening<'_>) -> Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let mut connection = Self::over(Socket::Tcp(stream.try_clone()?));
        let nonce = connection.greeted()?;
        if let Some(config) = &opening.tls {
            connection.begin_tls(stream, config, &handshake_response(opening, "", &[]))?;
        }
        connection.log_in(&nonce, opening)
    }

    fn begin_tls(&mut self, stream: TcpStream, config: &Arc<ClientConfig>, response: &[u8]) -> Result<()> {
        let mut first = vec![32, 0, 0, self.sequence];
        first.extend_from_slice(response.get(..32).unwrap_or_default());
        let mut tls = ClientConnection::new(Arc::clone(config), ServerName::try_from("localhost")?)?;
        tls.write_tls(&mut first)?;
        (&stream).write_all(&first)?;
        let mut tls = StreamOwned::new(tls, stream);
        while tls.conn.is_handshaking() {
            tls.conn.complete_io(&mut tls.sock).context("TLS")?;
        }
        self.stream = BufReader::new(Stream::new(Socket::Tls(Box::new(tls))));
        self.sequence = self.sequence.wrapping_add(1);
        Ok(())
    }

    /// What TLS agreed upon, for a connection over TLS.
    #[must_use]
    pub fn tls(&self) -> Option<&ClientConnection> {
        self.stream.get_ref().tls()
    }

    fn over(socket: Socket) -> Self {
        let stream = BufReader::new(Stream::new(socket));
        let (greeting, welcome) = Default::default();
        Self { stream, sequence: 0, version: String::new(), charset: 0, status: 0, greeting, welcome }
    }

    /// Reads the greeting; answers its nonce.
    fn greeted(&mut self) -> Result<Vec<u8>> {
        let greeting = self.read_packet()?;
        if greeting.first() == Some(&0xff) {
            return Err(error_of(&greeting).into());
        }
        let (version, charset, nonce) = parse_greeting(&greeting)?;
        (self.version, self.charset) = (version, charset);
        self.greeting = greeting;
        Ok(nonce)
    }

    fn open_over(socket: Socket, user: &str, password: &str, schema: Option<&str>) -> Result<Self> {
        let mut connection = Self::over(socket);
        let nonce = connection.greeted()?;
        connection.log_in(&nonce, &Opening { login: (user, password), schema, ..Opening::default() })
    }

    fn log_in(mut self, nonce: &[u8], opening: &Opening<'_>) -> Result<Self> {
        let (user, password) = opening.login;
        let method = opening.method.unwrap_or("mysql_native_password");
        let proof = Proof { method, password }.over(nonce).unwrap_or_default();
        self.write_packet(&handshake_response(opening, method, &proof))?;
        loop {
            let packet = self.read_packet()?;
            match (packet.first(), packet.get(1)) {
                (Some(0x00), _) => {
                    self.note_status(&packet)?;
                    self.welcome = packet;
                    if let Some(how) = opening.compression {
                        self.stream.get_mut().compress(how);
                    }
                    return Ok(self);
                }
                // The server wants the password itself (caching_sha2_password).
                (Some(0x01), Some(0x04)) => {
                    ensure!(self.stream.get_ref().is_secure(), ASKED_FOR_PASSWORD);
                    self.write_packet(&[password.as_bytes(), &[0]].concat())?;
                }
                (Some(0x01), _) => {}
                (Some(0xfe), _) => {
                    let proof = switched_proof(password, &packet)?;
                    self.write_packet(&proof)?;
                }
                _ => return Err(error_of(&packet)).with_context(|| format!("log-in of {user}")),
            }
        }
    }

    /// The payload of the greeting.
    #[must_use]
    pub fn greeting(&self) -> &[u8] {
        &self.greeting
    }

    /// The payload of the OK packet that ended the log-in.
    #[must_use]
    pub fn welcome(&self) -> &[u8] {
        &self.welcome
    }

    /// The version in the greeting.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The collation in the greeting.
    #[must_use]
    pub fn charset(&self) -> u8 {
        self.charset
    }

    /// Whether the status flags of the last reply say that a transaction is open.
    #[must_use]
    pub fn in_transaction(&self) -> bool {
        self.status & IN_TRANSACTION != 0
    }

    /// Becomes a user anew, as persistent connections do (COM_CHANGE_USER).
    ///
    /// # Errors
    /// When the server refuses; that is a [`SqlError`].
    pub fn change_user(&mut self, user: &str, password: &str, schema: &str) -> Result<()> {
        let mut packet = vec![COM_CHANGE_USER];
        packet.extend_from_slice(format!("{user}\0\0{schema}\0").as_bytes());
        packet.extend_from_slice(&[UTF8MB4_GENERAL_CI, 0]);
        packet.extend_from_slice(b"mysql_native_password\0");
        self.sequence = 0;
        self.write_packet(&packet)?;
        loop {
            let packet = self.read_packet()?;
            match packet.first() {
                Some(0x00) => {
                    self.note_status(&packet)?;
                    self.welcome = packet;
                    return Ok(());
                }
                Some(0x01) => {}
                Some(0xfe) => {
                    let proof = switched_proof(password, &packet)?;
                    self.write_packet(&proof)?;
                }
                _ => return Err(error_of(&packet)).with_context(|| format!("change of user to {user}")),
            }
        }
    }

    /// Sends a statement and does not wait for its reply.
    ///
    /// # Errors
    /// When the connection is lost.
    pub fn send(&mut self, sql: &str) -> Result<()> {
        let mut packet = vec![COM_QUERY];
        packet.extend_from_slice(sql.as_bytes());
        self.sequence = 0;
        self.write_packet(&packet)
    }

    /// Sends the payload of any command and does not wait for its reply.
    ///
    /// # Errors
    /// When the connection is lost.
    pub fn send_command(&mut self, payload: &[u8]) -> Result<()> {
        self.sequence = 0;
        self.write_packet(payload)
    }

    /// Sends a packet that goes on from the last one received, such as a part of a file.
    ///
    /// # Errors
    /// When the connection is lost.
    pub fn send_answer(&mut self, payload: &[u8]) -> Result<()> {
        self.write_packet(payload)
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// When the connection is lost.
    pub fn send_raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.get_mut().write_all(bytes).context("the server has gone away")
    }

    /// Reads the reply to a statement that was [sent](Self::send).
    ///
    /// # Errors
    /// As [`query`](Self::query).
    pub fn receive(&mut self) -> Result<Vec<Row>> {
        Ok(self.receive_all()?.rows)
    }

    /// Reads one packet of a reply, whatever it is.
    ///
    /// # Errors
    /// When the connection is lost.
    pub fn receive_packet(&mut self) -> Result<Vec<u8>> {
        self.read_packet()
    }

    /// Whether the other side has closed the connection; waits for it to say something.
    ///
    /// # Errors
    /// When it says something else.
    pub fn is_closed(&mut self) -> Result<bool> {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) if rest.is_empty() => Ok(true),
            Ok(_) => bail!("{} bytes before the end: {:?}", rest.len(), rest.get(..40.min(rest.len()))),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(true),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// How long a read may take.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn set_patience(&self, patience: Duration) -> Result<()> {
        Ok(self.stream.get_ref().set_patience(patience)?)
    }

    /// Leaves without a farewell, whatever is under way.
    pub fn vanish(self) {
        let _ = self.stream.get_ref().shut_down();
    }

    /// Runs SQL and gives the rows of its first result set (none for statements without one). All results of a
    /// text with several statements are read.
    ///
    /// # Errors
    /// The server's error as `number (state): text`, or the loss of the connection.
    pub fn query(&mut self, sql: &str) -> Result<Vec<Row>> {
        self.query_bytes(sql.as_bytes())
    }

    /// As [`query`](Self::query), for SQL that is not UTF-8.
    ///
    /// # Errors
    /// As [`query`](Self::query).
    pub fn query_bytes(&mut self, sql: &[u8]) -> Result<Vec<Row>> {
        Ok(self.run(sql)?.rows)
    }

    /// As [`query`](Self::query), each row with its columns' names.
    ///
    /// # Errors
    /// As [`query`](Self::query).
    pub fn query_named(&mut self, sql: &str) -> Result<Vec<NamedRow>> {
        let ResultSet { columns, rows } = self.run(sql.as_bytes())?;
        Ok(rows.into_iter().map(|row| columns.iter().cloned().zip(row).collect()).collect())
    }

    fn run(&mut self, sql: &[u8]) -> Result<ResultSet> {
        let start = String::from_utf8_lossy(sql.get(..120.min(sql.len())).unwrap_or_default()).into_owned();
        self.run_all(sql).with_context(|| format!("in: {start}"))
    }

    fn run_all(&mut self, sql: &[u8]) -> Result<ResultSet> {
        let mut packet = vec![COM_QUERY];
        packet.extend_from_slice(sql);
        self.sequence = 0;
        self.write_packet(&packet)?;
        self.receive_all()
    }

    fn receive_all(&mut self) -> Result<ResultSet> {
        let mut first = None;
        loop {
            let (result, more) = self.read_result()?;
            if let Some(result) = result {
                first.get_or_insert(result);
            }
            if !more {
                return Ok(first.unwrap_or_default());
            }
        }
    }

    fn read_result(&mut self) -> Result<(Option<ResultSet>, bool)> {
        let head = self.read_packet()?;
        let mut reader = Fields(&head);
        match head.first() {
            Some(0x00) => {
                let more = self.note_status(&head)? & MORE_RESULTS_EXIST != 0;
                return Ok((None, more));
            }
            Some(0xff) => return Err(error_of(&head).into()),
            Some(0xfb) => bail!("the server asks for a local file"),
            _ => {}
        }
        let count = usize::try_from(reader.length()?.context("NULL for a column count")?)?;
        let columns = (0..count).map(|_| self.read_column_name()).collect::<Result<Vec<String>>>()?;
        self.read_packet()?;
        let mut rows = Vec::new();
        loop {
            let packet = self.read_packet()?;
            match packet.first() {
                Some(0xfe) if packet.len() < 9 => {
                    let mut end = Fields(&packet);
                    end.take(3)?;
                    self.status = end.u16()?;
                    let more = self.status & MORE_RESULTS_EXIST != 0;
                    return Ok((Some(ResultSet { columns, rows }), more));
                }
                Some(0xff) => return Err(error_of(&packet).into()),
                _ => {}
            }
            let mut fields = Fields(&packet);
            rows.push((0..count).map(|_| fields.text()).collect::<Result<Row>>()?);
        }
    }

    /// An OK packet: its status flags.
    fn note_status(&mut self, ok: &[u8]) -> Result<u16> {
        let mut reader = Fields(ok);
        reader.take(1)?;
        reader.length()?;
        reader.length()?;
        self.status = reader.u16()?;
        Ok(self.status)
    }

    /// A column definition: catalogue, schema, table, original table, name, …
    fn read_column_name(&mut self) -> Result<String> {
        let packet = self.read_packet()?;
        let mut fields = Fields(&packet);
        for _ in 0..4 {
            fields.text()?;
        }
        Ok(fields.text()?.unwrap_or_default())
    }

    fn read_packet(&mut self) -> Result<Vec<u8>> {
        let mut payload = Vec::new();
        loop {
            let mut header = [0; 4];
            self.stream.read_exact(&mut header).context("the server has gone away")?;
            let [low, middle, high, sequence] = header;
            self.sequence = sequence.wrapping_add(1);
            let length = u32::from_le_bytes([low, middle, high, 0]) as usize;
            let before = payload.len();
            payload.resize(before + length, 0);
            let frame = payload.get_mut(before..).context("a frame of no length")?;
            self.stream.read_exact(frame).context("the server has gone away")?;
            if length < WHOLE_FRAME {
                return Ok(payload);
            }
        }
    }

    fn write_packet(&mut self, payload: &[u8]) -> Result<()> {
        let mut frames: Vec<&[u8]> = payload.chunks(WHOLE_FRAME).collect();
        if payload.len().is_multiple_of(WHOLE_FRAME) {
            frames.push(&[]);
        }
        if self.sequence == 0 {
            self.stream.get_mut().begin_command();
        }
        for frame in frames {
            let [low, middle, high, _] = u32::try_from(frame.len())?.to_le_bytes();
            let stream = self.stream.get_mut();
            let bytes = [&[low, middle, high, self.sequence], frame].concat();
            stream.write_all(&bytes).context("the server has gone away")?;
            self.sequence = self.sequence.wrapping_add(1);
        }
        Ok(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // A server that hears no farewell logs an aborted connection; one that is gone needs none.
        self.sequence = 0;
        let _ = self.write_packet(&[COM_QUIT]);
    }
}

#[derive(Debug, Default)]
struct ResultSet {
    columns: Vec<String>,
    rows: Vec<Row>,
}

/// Reads the parts of a packet (lengths as in "Protocol::LengthEncodedInteger").
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        ensure!(count <= self.0.len(), "a packet ends too early");
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        Ok(taken)
    }

    fn u16(&mut self) -> Result<u16> {
        Ok(u16::try_from(self.number(2)?)?)
    }

    fn number(&mut self, bytes: usize) -> Result<u64> {
        Ok(self.take(bytes)?.iter().rev().fold(0, |value, byte| (value << 8) | u64::from(*byte)))
    }

    fn length(&mut self) -> Result<Option<u64>> {
        Ok(match self.number(1)? {
            0xfb => None,
            0xfc => Some(self.number(2)?),
            0xfd => Some(self.number(3)?),
            0xfe => Some(self.number(8)?),
            small => Some(small),
        })
    }

    fn text(&mut self) -> Result<Option<String>> {
        let Some(length) = self.length()? else { return Ok(None) };
        let bytes = self.take(usize::try_from(length)?)?;
        Ok(Some(String::from_utf8_lossy(bytes).into_owned()))
    }
}
