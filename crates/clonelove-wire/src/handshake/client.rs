//! The handshake towards a server: we are the client.
//!
//! [`ClientHandshake`] takes the greeting and answers it; [`ClientExchange`] follows whatever authentication the
//! server asks for: `mysql_native_password`, `caching_sha2_password` (fast, and in full: in clear over a secure
//! transport, else encrypted with the server's RSA key), `sha256_password` (as that in full), `client_ed25519`, and
//! `mysql_clear_password` over a secure transport only.

use bytes::BytesMut;
use zeroize::Zeroizing;

use crate::auth::{self, Login, Secret, ed25519, sha2};
use crate::packet::auth::{AuthMore, AuthSwitch};
use crate::packet::change_user::ChangeUser;
use crate::packet::err::Err as ErrPacket;
use crate::packet::ok::Ok as OkPacket;
use crate::packet::{Greeting, Response, err, ok};
use crate::{Caps, Malformed, Status};

/// Who we are, and what we want.
#[derive(Clone, Default)]
pub struct ClientConfig {
    /// The user's name.
    pub user: Vec<u8>,
    /// The password, or what else there is to log in with.
    pub login: Login,
    /// The schema to begin in.
    pub database: Option<Vec<u8>>,
    /// What we want to speak; cut to what the server offers. What the handshake needs is added.
    pub caps: Caps,
    /// The collation, its low byte.
    pub charset: u8,
    /// The connection attributes; sent where the server takes them.
    pub attributes: Vec<(Vec<u8>, Vec<u8>)>,
    /// The longest packet we take, in bytes.
    pub max_packet: u32,
    /// Whether nobody can listen: a unix socket, or TLS from the start.
    pub secure_transport: bool,
    /// Whether to ask for TLS.
    pub tls: Tls,
}

/// Whether to ask a server for TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tls {
    /// No.
    #[default]
    Off,
    /// If it offers it.
    Preferred,
    /// Yes; a server that does not offer it is refused.
    Required,
}

/// What to do next. Every state inside goes on by its own method.
#[must_use]
pub enum ClientStep {
    /// Send this SSLRequest, do the TLS handshake, then [`ClientUpgrade::upgraded`].
    UpgradeTls(BytesMut, ClientUpgrade),
    /// Send this payload, read the server's next packet, then [`ClientExchange::feed`].
    Send(BytesMut, ClientExchange),
    /// Send nothing; read the server's next packet, then [`ClientExchange::feed`].
    Read(ClientExchange),
    /// Encrypt with the server's RSA key (OAEP, SHA-1), then [`AwaitEncrypted::encrypted`].
    Encrypt {
        /// The key as the server sent it (PEM).
        public_key_pem: Vec<u8>,
        /// What is to be encrypted: the password, already XORed with the salt.
        xored_password: Zeroizing<Vec<u8>>,
        /// The state to go on with.
        next: AwaitEncrypted,
    },
    /// We are in.
    Done(Box<Session>),
    /// The server refused, for this reason.
    Refused(ErrPacket<'static>),
}

/// Why a handshake cannot go on, other than by the server's own error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientFault {
    /// A packet was malformed.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The server wants an authentication that is not supported here.
    #[error("the server asks for the authentication plugin {0:?}, which is not supported")]
    UnsupportedPlugin(String),
    /// The password itself is needed, and is not known.
    #[error(
        "the server asks for {0}, which takes the password itself; what the client has proven is not enough for it"
    )]
    PasswordNeeded(String),
    /// The server wants the password in clear where others could listen.
    #[error("the server asks for the password in clear, and the transport is neither TLS nor a unix socket")]
    ClearPasswordRefused,
    /// TLS is required and not on offer.
    #[error("TLS is required, and the server does not offer it")]
    TlsNotOffered,
    /// The server asks again and again.
    #[error("the server's authentication does not come to an end")]
    Endless,
}

/// A connection that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// What the server said of itself.
    pub greeting: Greeting,
    /// What both ends speak.
    pub caps: Caps,
    /// The status in the OK packet that let us in.
    pub status: Status,
    /// The session-state block of that OK packet; read it with [`crate::track::Changes`].
    pub state: Vec<u8>,
    /// The plugin that let us in.
    pub plugin: String,
    /// Whether nobody could listen.
    pub secure_transport: bool,
}

/// The greeting is awaited.
pub struct ClientHandshake(ClientConfig);

impl ClientHandshake {
    /// Begins.
    #[must_use]
    pub fn new(config: ClientConfig) -> Self {
        ClientHandshake(config)
    }

    /// Takes the server's first packet: a greeting, or an error in its place.
    pub fn greeting(self, payload: &[u8]) -> Result<ClientStep, ClientFault> {
        if payload.first() == Some(&err::HEAD) {
            return Ok(ClientStep::Refused(ErrPacket::parse(payload)?.into_owned()));
        }
        let greeting = Greeting::parse(payload)?;
        if !greeting.caps.contains(NEEDED) {
            return Err(malformed("greeting", "the server does not speak the protocol of 4.1").into());
        }
        let tls = match self.0.tls {
            Tls::Off => false,
            Tls::Preferred => greeting.caps.contains(Caps::SSL),
            Tls::Required if !greeting.caps.contains(Caps::SSL) => return Err(ClientFault::TlsNotOffered),
            Tls::Required => true,
        };
        let caps = self.negotiate(greeting.caps, tls);
        let next = ClientUpgrade { config: self.0, greeting, caps };
        if tls {
            let request = next.response(String::new(), Vec::new()).encode_ssl_request();
            return Ok(ClientStep::UpgradeTls(request, next));
        }
        Ok(next.respond())
    }

    fn negotiate(&self, offered: Caps, tls: bool) -> Caps {
        let mut caps = (self.0.caps | NEEDED | Caps::PLUGIN_AUTH | Caps::PLUGIN_AUTH_LENENC) & offered;
        caps.set(Caps::CLIENT_MYSQL, offered.contains(Caps::CLIENT_MYSQL));
        caps.set(Caps::SSL, tls);
        caps.set(Caps::CONNECT_WITH_DB, self.0.database.is_some());
        caps.set(Caps::CONNECT_ATTRS, !self.0.attributes.is_empty() && offered.contains(Caps::CONNECT_ATTRS));
        caps
    }
}

/// The greeting was read; the response goes out, over TLS if that was asked for.
pub struct ClientUpgrade {
    config: ClientConfig,
    greeting: Greeting,
    caps: Caps,
}

impl ClientUpgrade {
    /// TLS is up; goes on over it.
    pub fn upgraded(mut self) -> ClientStep {
        self.config.secure_transport = true;
        self.respond()
    }

    /// What the server said of itself.
    #[must_use]
    pub fn greeting(&self) -> &Greeting {
        &self.greeting
    }

    fn respond(self) -> ClientStep {
        let (plugin, auth) = first_reply(&self.config.login, &self.greeting);
        let payload = self.response(plugin.to_owned(), auth).encode();
        let ClientUpgrade { config, greeting, caps } = self;
        let salt = greeting.salt.to_vec();
        ClientStep::Send(
            payload,
            ClientExchange {
                config,
                greeting,
                caps,
                plugin: plugin.to_owned(),
                salt,
                awaits: Awaits::Any,
                steps: 0,
            },
        )
    }

    fn response(&self, plugin: String, auth: Vec<u8>) -> Response {
        Response {
            caps: self.caps,
            max_packet: self.config.max_packet,
            charset: self.config.charset,
            user: self.config.user.clone(),
            auth,
            database: self.config.database.clone(),
            auth_plugin: self.caps.contains(Caps::PLUGIN_AUTH).then_some(plugin),
            attributes: self.config.attributes.clone(),
            zstd_level: self.caps.contains(Caps::ZSTD).then_some(crate::compress::ZSTD_LEVEL),
        }
    }
}

/// Something was sent; the server's next packet is awaited.
pub struct ClientExchange {
    config: ClientConfig,
    greeting: Greeting,
    caps: Caps,
    plugin: String,
    salt: Vec<u8>,
    awaits: Awaits,
    steps: u8,
}

impl ClientExchange {
    /// Begins a COM_CHANGE_USER on an open session; `config` says who to become. Send the payload, read the
    /// answer, then [`ClientExchange::feed`]. The session's capabilities stay as they are.
    #[must_use]
    pub fn change_user(session: Session, config: ClientConfig) -> (BytesMut, ClientExchange) {
        let Session { greeting, caps, secure_transport, .. } = session;
        let config = ClientConfig { secure_transport, ..config };
        let (plugin, auth) = first_reply(&config.login, &greeting);
        let asked = ChangeUser {
            user: config.user.clone(),
            auth,
            database: config.database.clone(),
            charset: Some(config.charset.into()),
            auth_plugin: Some(plugin.to_owned()),
            attributes: config.attributes.clone(),
        };
        let salt = greeting.salt.to_vec();
        let plugin = plugin.to_owned();
        let exchange = ClientExchange { config, greeting, caps, plugin, salt, awaits: Awaits::Any, steps: 0 };
        (asked.encode(caps), exchange)
    }

    /// Takes the server's packet.
    pub fn feed(mut self, payload: &[u8]) -> Result<ClientStep, ClientFault> {
        self.steps = self.steps.saturating_add(1);
        if self.steps > MAX_STEPS {
            return Err(ClientFault::Endless);
        }
        match payload.first().copied() {
            Some(ok::HEAD) => self.done(payload),
            Some(err::HEAD) => Ok(ClientStep::Refused(ErrPacket::parse(payload)?.into_owned())),
            Some(AuthSwitch::HEAD) => self.switch(payload),
            Some(AuthMore::HEAD) => self.more(payload),
            _ => Err(malformed("authentication packet", "it begins with an unknown byte").into()),
        }
    }

    fn done(self, payload: &[u8]) -> Result<ClientStep, ClientFault> {
        let ok = OkPacket::parse(payload, self.caps)?;
        let (status, state) = (ok.status, ok.state.to_vec());
        let ClientExchange { config, greeting, caps, plugin, .. } = self;
        let secure_transport = config.secure_transport;
        Ok(ClientStep::Done(Box::new(Session { greeting, caps, status, state, plugin, secure_transport })))
    }

    fn switch(mut self, payload: &[u8]) -> Result<ClientStep, ClientFault> {
        let asked = AuthSwitch::parse(payload)?;
        self.plugin = String::from_utf8_lossy(asked.plugin).into_owned();
        self.salt = asked.data.to_vec();
        self.awaits = Awaits::Any;
        if self.plugin == auth::NATIVE {
            let reply = self.config.login.native_reply(&self.salt).ok_or_else(|| self.needs_password())?;
            return Ok(ClientStep::Send(BytesMut::from(reply.as_slice()), self));
        }
        let Some(password) = self.config.login.password() else {
            // MariaDB goes through all the ways into an account: one that is not ours may be followed by one that is.
            return match self.plugin.as_str() {
                auth::ED25519 => Ok(ClientStep::Send(BytesMut::from([0; ed25519::REPLY].as_slice()), self)),
                _ => Err(self.needs_password()),
            };
        };
        let reply = match self.plugin.as_str() {
            auth::SHA2 => Zeroizing::new(sha2_reply(password, &self.salt)),
            auth::SHA256 if password.is_empty() => Zeroizing::new(vec![0]),
            // This one takes a unix socket for a place where others could listen.
            auth::SHA256 if self.caps.contains(Caps::SSL) => sha2::with_nul(password),
            auth::CLEAR if self.config.secure_transport => sha2::with_nul(password),
            auth::SHA256 => {
                self.awaits = Awaits::Key;
                Zeroizing::new(vec![sha2::REQUEST_KEY_SHA256])
            }
            auth::ED25519 => Zeroizing::new(ed25519::sign(password, &self.salt).to_vec()),
            auth::CLEAR => return Err(ClientFault::ClearPasswordRefused),
            _ => return Err(ClientFault::UnsupportedPlugin(self.plugin)),
        };
        Ok(ClientStep::Send(BytesMut::from(reply.as_slice()), self))
    }

    fn needs_password(&self) -> ClientFault {
        ClientFault::PasswordNeeded(self.plugin.clone())
    }

    fn more(mut self, payload: &[u8]) -> Result<ClientStep, ClientFault> {
        let AuthMore(data) = AuthMore::parse(payload)?;
        let known = matches!(self.plugin.as_str(), auth::SHA2 | auth::SHA256);
        if !known || (self.plugin == auth::SHA256 && self.awaits != Awaits::Key) {
            return Err(malformed("AuthMoreData", "this authentication has no further packets").into());
        }
        let password = self.config.login.password().ok_or_else(|| self.needs_password())?;
        match (self.awaits, data) {
            (Awaits::Key, key) => {
                let xored_password = sha2::xor_password_with_salt(password, &self.salt);
                self.awaits = Awaits::Any;
                let next = AwaitEncrypted(self);
                Ok(ClientStep::Encrypt { public_key_pem: key.to_vec(), xored_password, next })
            }
            (Awaits::Any, [sha2::FAST_OK]) => Ok(ClientStep::Read(self)),
            (Awaits::Any, [sha2::FULL]) if self.config.secure_transport => {
                let password = sha2::with_nul(password);
                Ok(ClientStep::Send(BytesMut::from(password.as_slice()), self))
            }
            (Awaits::Any, [sha2::FULL]) => {
                self.awaits = Awaits::Key;
                Ok(ClientStep::Send(BytesMut::from([sha2::REQUEST_KEY].as_slice()), self))
            }
            (Awaits::Any, _) => {
                Err(malformed("AuthMoreData", "caching_sha2_password does not say this").into())
            }
        }
    }
}

/// The caller encrypts; the ciphertext is awaited.
pub struct AwaitEncrypted(ClientExchange);

impl AwaitEncrypted {
    /// Goes on with the ciphertext.
    pub fn encrypted(self, ciphertext: &[u8]) -> ClientStep {
        ClientStep::Send(BytesMut::from(ciphertext), self.0)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Awaits {
    /// Whatever the server has to say.
    Any,
    /// The server's RSA key.
    Key,
}

/// Without these there is no handshake.
const NEEDED: Caps = Caps::PROTOCOL_41.union(Caps::SECURE_CONNECTION);

/// No honest exchange is longer.
const MAX_STEPS: u8 = 16;

/// The plugin and the reply that the response to a greeting has. For a plugin that is not ours the server will ask us
/// to switch anyway.
fn first_reply(login: &Login, greeting: &Greeting) -> (&'static str, Vec<u8>) {
    match (greeting.auth_plugin.as_str(), login.password()) {
        (auth::SHA2, Some(password)) => (auth::SHA2, sha2_reply(password, &greeting.salt)),
        _ => (auth::NATIVE, login.native_reply(&greeting.salt).unwrap_or_default()),
    }
}

/// The empty password is one NUL byte here, as MySQL's own library sends it.
fn sha2_reply(password: &Secret, salt: &[u8]) -> Vec<u8> {
    if password.is_empty() { vec![0] } else { sha2::scramble(password, salt) }
}

fn malformed(packet: &'static str, what: &'static str) -> Malformed {
    Malformed { packet, what }
}

#[cfg(test)]
mod tests;
