//! The handshake towards a client: we are the server.
//!
//! [`ServerHandshake`] holds the greeting that was sent and takes the response. The caller looks the user up and
//! hands in what is known of the passwords that count (several during a rotation, none for an unknown user); what
//! follows is the same exchange for a user whose passwords are known and for one who does not exist, so that nothing
//! tells which. `caching_sha2_password` goes its fast path where the password is known, and the full one where only
//! a hash is, or [`Offer::force_full`].

use bytes::BytesMut;
use zeroize::Zeroizing;

use crate::auth::{self, Credential, Login, Secret, ed25519, native, sha2};
use crate::packet::auth::{AuthMore, AuthSwitch};
use crate::packet::change_user::ChangeUser;
use crate::packet::{Greeting, Response};
use crate::{Caps, Malformed};

/// What authentication is on offer to a client.
#[derive(Debug, Clone, Default)]
pub struct Offer {
    /// The plugins, the preferred one first. One of them should be the greeting's.
    pub plugins: Vec<String>,
    /// The public key (PEM) of the RSA pair by which passwords are sent without TLS; without it that is refused.
    pub rsa_public_key_pem: Option<Vec<u8>>,
    /// Whether nobody can listen: a unix socket, or TLS from the start.
    pub secure_transport: bool,
    /// Ask for the password itself even where the scramble would do; to test clients with.
    pub force_full: bool,
    /// The challenge of `client_ed25519`: bytes that nobody can guess. Without it that is not offered.
    pub ed25519_challenge: Option<[u8; ed25519::CHALLENGE]>,
    /// Whether a proof must leave something to log in to servers with: then `client_ed25519` does only for
    /// passwords that are known, else the password itself is asked for, over a secure transport.
    pub carried: bool,
}

/// What to do next. Every state inside goes on by its own method.
#[must_use]
pub enum ServerStep {
    /// The client asks for TLS: do the TLS handshake, then [`UpgradeTls::upgraded`]. Bytes that came after this
    /// packet and before TLS must be refused.
    UpgradeTls(UpgradeTls),
    /// The client said who it is: look the user up, then [`Authenticate::passwords`].
    Authenticate(Authenticate),
    /// Send this payload, read the client's next packet, then [`AwaitReply::feed`].
    Send(BytesMut, AwaitReply),
    /// Decrypt this with the RSA key (OAEP, SHA-1), then [`AwaitDecrypted::decrypted`].
    Decrypt(Vec<u8>, AwaitDecrypted),
    /// The client is who it says. Send `before_ok` if there is one, then an OK packet.
    Done(Box<Established>),
    /// The client is not who it says: send error 1045.
    Reject(Rejected),
    /// The client broke the protocol: send error 1043 (1156, 1835) and close.
    Malformed(Malformed),
}

/// A client that proved who it is.
pub struct Established {
    /// What it said of itself.
    pub response: Response,
    /// What both ends speak: what the client asked for and the greeting offered.
    pub caps: Caps,
    /// The plugin that was used.
    pub plugin: String,
    /// What is now known to log in to servers with.
    pub login: Login,
    /// A payload to be sent before the OK packet, in a packet of its own.
    pub before_ok: Option<BytesMut>,
}

/// A client that did not prove who it is.
pub struct Rejected {
    /// What it said of itself.
    pub response: Response,
    /// Whether it sent a password at all, as the text of error 1045 says.
    pub using_password: bool,
    /// To look at what it sent once more.
    pub again: Box<Again>,
}

/// What a client sent, to be compared with something else: its password may have been changed a moment ago.
pub struct Again {
    exchange: Exchange,
    last: Last,
}

impl Again {
    /// Compares it with these. The client may be asked for more, as if that had been known from the start.
    pub fn credentials(self, known: Vec<Credential>) -> ServerStep {
        let Again { mut exchange, last } = self;
        exchange.known = known;
        match last {
            Last::Nothing => exchange.reject(),
            Last::Reply(reply) => exchange.first_reply(&reply),
            Last::Password(password) => exchange.clear_reply(password.expose()),
        }
    }
}

/// A client's last word.
#[derive(Clone, Default)]
enum Last {
    #[default]
    Nothing,
    /// A reply to the challenge.
    Reply(Vec<u8>),
    /// The password, perhaps with a NUL byte behind it.
    Password(Secret),
}

/// The greeting was sent; the response is awaited.
pub struct ServerHandshake {
    greeting: Greeting,
    offer: Offer,
}

impl ServerHandshake {
    /// Begins; the caller sends [`Greeting::encode`] of the same greeting.
    #[must_use]
    pub fn new(greeting: Greeting, offer: Offer) -> Self {
        ServerHandshake { greeting, offer }
    }

    /// The greeting to be sent.
    #[must_use]
    pub fn greeting(&self) -> &Greeting {
        &self.greeting
    }

    /// Takes the client's response, or its SSLRequest.
    pub fn feed(self, payload: &[u8]) -> ServerStep {
        if Response::is_ssl_request(payload) {
            return if self.greeting.caps.contains(Caps::SSL) {
                ServerStep::UpgradeTls(UpgradeTls(self))
            } else {
                ServerStep::Malformed(fault("the client asks for TLS, which was not offered"))
            };
        }
        match Response::parse(payload, self.greeting.caps) {
            Ok(response) => ServerStep::Authenticate(Authenticate::new(self, response, First::Response)),
            Err(error) => ServerStep::Malformed(error),
        }
    }

    /// Goes on after a COM_CHANGE_USER of a client that logged in with `before`.
    ///
    /// The client is always asked to answer a challenge anew: which one it remembers from before, the
    /// greeting's or a switch's, differs from library to library.
    pub fn change_user(self, payload: &[u8], before: &Response) -> ServerStep {
        let caps = before.caps & self.greeting.caps;
        match ChangeUser::parse(payload, caps) {
            Ok(asked) => {
                let response = Response {
                    caps: before.caps,
                    max_packet: before.max_packet,
                    charset: asked.charset.map_or(before.charset, |both| both.to_le_bytes()[0]),
                    user: asked.user,
                    auth: asked.auth,
                    database: asked.database,
                    auth_plugin: asked.auth_plugin,
                    attributes: asked.attributes,
                    zstd_level: before.zstd_level,
                };
                ServerStep::Authenticate(Authenticate::new(self, response, First::ChangeUser))
            }
            Err(error) => ServerStep::Malformed(error),
        }
    }
}

/// The client asked for TLS.
pub struct UpgradeTls(ServerHandshake);

impl UpgradeTls {
    /// TLS is up; the response is awaited, now over TLS.
    #[must_use]
    pub fn upgraded(mut self) -> ServerHandshake {
        self.0.offer.secure_transport = true;
        self.0
    }
}

/// The client said who it is; its passwords are awaited.
pub struct Authenticate {
    exchange: Exchange,
    first: First,
}

impl Authenticate {
    fn new(handshake: ServerHandshake, response: Response, first: First) -> Self {
        let ServerHandshake { greeting, offer } = handshake;
        let using_password = !matches!(response.auth.as_slice(), [] | [0]);
        let plugin = String::new();
        let exchange = Exchange {
            greeting,
            offer,
            response,
            plugin,
            known: Vec::new(),
            using_password,
            last: Last::Nothing,
        };
        Authenticate { exchange, first }
    }

    /// What the client said of itself.
    #[must_use]
    pub fn response(&self) -> &Response {
        &self.exchange.response
    }

    /// The user's name.
    #[must_use]
    pub fn user(&self) -> &[u8] {
        &self.exchange.response.user
    }

    /// Goes on with the passwords that the user may have; none if there is no such user.
    pub fn passwords(self, passwords: Vec<Secret>) -> ServerStep {
        self.credentials(passwords.into_iter().map(Credential::Password).collect())
    }

    /// The same, with whatever is known of them.
    pub fn credentials(self, known: Vec<Credential>) -> ServerStep {
        let Authenticate { mut exchange, first } = self;
        exchange.known = known;
        let (plugin, fits) = exchange.choose();
        exchange.plugin = plugin;
        let can_switch = exchange.response.caps.contains(Caps::PLUGIN_AUTH)
            && exchange.greeting.caps.contains(Caps::PLUGIN_AUTH);
        match first {
            First::Response if fits => {
                let auth = core::mem::take(&mut exchange.response.auth);
                exchange.first_reply(&auth)
            }
            _ if can_switch => {
                let mut out = BytesMut::new();
                AuthSwitch { plugin: exchange.plugin.as_bytes(), data: exchange.challenge() }
                    .encode(&mut out);
                ServerStep::Send(out, AwaitReply { exchange, awaits: Awaits::Scramble })
            }
            // A client that knows no plugins scrambles as it always did, with the greeting's salt.
            First::ChangeUser if exchange.plugin == auth::NATIVE => {
                let auth = core::mem::take(&mut exchange.response.auth);
                exchange.first_reply(&auth)
            }
            _ => exchange.reject(),
        }
    }
}

/// A packet was sent; the client's next one is awaited.
pub struct AwaitReply {
    exchange: Exchange,
    awaits: Awaits,
}

impl AwaitReply {
    /// Whether the next packet may take milliseconds to check.
    #[must_use]
    pub fn is_slow(&self) -> bool {
        let hashed = self.exchange.known.iter().any(|one| matches!(one, Credential::Crypt(_)));
        hashed && (matches!(self.awaits, Awaits::Full) || self.exchange.plugin == auth::CLEAR)
    }

    /// Takes the client's packet.
    pub fn feed(self, payload: &[u8]) -> ServerStep {
        let AwaitReply { mut exchange, awaits } = self;
        match awaits {
            Awaits::Scramble => {
                exchange.using_password = !matches!(payload, [] | [0]);
                exchange.first_reply(payload)
            }
            Awaits::Full => exchange.full_reply(payload),
        }
    }
}

/// The caller decrypts; the plaintext is awaited.
pub struct AwaitDecrypted(Exchange);

impl AwaitDecrypted {
    /// Goes on with the plaintext; `None` if it could not be decrypted.
    pub fn decrypted(self, plaintext: Option<Vec<u8>>) -> ServerStep {
        let Some(plaintext) = plaintext else {
            return self.0.reject();
        };
        let mut plaintext = Zeroizing::new(plaintext);
        sha2::xor_with_salt(&mut plaintext, &self.0.greeting.salt);
        self.0.clear_reply(&plaintext)
    }
}

/// By which packet the client said who it is.
enum First {
    Response,
    ChangeUser,
}

enum Awaits {
    /// The reply to a challenge.
    Scramble,
    /// The password, a request for the RSA key, or the encrypted password.
    Full,
}

struct Exchange {
    greeting: Greeting,
    offer: Offer,
    response: Response,
    plugin: String,
    known: Vec<Credential>,
    using_password: bool,
    last: Last,
}

impl Exchange {
    /// The plugin to go on with, and whether what the client sent already is a reply by it to the greeting.
    fn choose(&self) -> (String, bool) {
        let named = match &self.response.auth_plugin {
            Some(plugin) => plugin.as_str(),
            None => auth::NATIVE,
        };
        let greeted = self.greeting.auth_plugin.as_str();
        if self.offers(named) {
            // A client that named another plugin than the greeting's had no challenge for it.
            let fits = named == greeted && reply_fits(named, &self.response.auth);
            return (named.to_owned(), fits);
        }
        let own = self.known.iter().filter_map(Credential::own_plugin).find(|own| self.offers(own));
        let listed = self.offer.plugins.iter().map(String::as_str);
        let preferred = || listed.clone().find(|plugin| *plugin != auth::CLEAR && self.offers(plugin));
        let greeted = self.offers(greeted).then_some(greeted);
        // Who signs, and must show the password, does so by what asks for it.
        let asked = (self.is_sealed() && self.offer.secure_transport).then_some(auth::SHA2);
        (asked.or(own).or(greeted).or_else(preferred).unwrap_or(auth::NATIVE).to_owned(), false)
    }

    fn offers(&self, plugin: &str) -> bool {
        let listed = self.offer.plugins.iter().any(|offered| offered == plugin);
        let known = match plugin {
            auth::NATIVE | auth::SHA2 => true,
            auth::ED25519 => self.offer.ed25519_challenge.is_some() && !self.is_sealed(),
            auth::CLEAR => self.offer.secure_transport,
            _ => false,
        };
        let serves = self.known.is_empty() || self.known.iter().any(|known| known.serves(plugin));
        listed && known && serves
    }

    /// Whether a proof that the client could give would open no server.
    fn is_sealed(&self) -> bool {
        let sealed = |known: &Credential| matches!(known, Credential::Ed25519(_));
        self.offer.carried && !self.known.is_empty() && self.known.iter().all(sealed)
    }

    fn challenge(&self) -> &[u8] {
        match (self.plugin.as_str(), &self.offer.ed25519_challenge) {
            // A clear password needs no challenge.
            (auth::CLEAR, _) => &[],
            (auth::ED25519, Some(challenge)) => challenge,
            _ => &self.greeting.salt,
        }
    }

    fn first_reply(mut self, reply: &[u8]) -> ServerStep {
        self.last = Last::Reply(reply.to_vec());
        match self.plugin.as_str() {
            auth::NATIVE => {
                let found = self.find(|known, salt| by_native(known, salt, reply));
                self.finish(found, None)
            }
            auth::SHA2 => self.sha2_reply(reply),
            auth::ED25519 => {
                let found = self.find(|known, challenge| by_ed25519(known, challenge, reply));
                self.finish(found, None)
            }
            auth::CLEAR => self.clear_reply(reply),
            _ => self.reject(),
        }
    }

    fn sha2_reply(self, reply: &[u8]) -> ServerStep {
        if matches!(reply, [] | [0]) {
            // Whoever claims the empty password does not wait for "fast path went well".
            let found = self.find(|known, _| by_password(known, b""));
            return self.finish(found, None);
        }
        let mut found = None;
        if !self.offer.force_full {
            found = self.find(|known, salt| match known {
                Credential::Password(password) => {
                    by_password_if(password, sha2::verify(password, salt, reply))
                }
                _ => None,
            });
        }
        let hashed = self.known.iter().any(|known| !matches!(known, Credential::Password(_)));
        if found.is_none() && (self.offer.force_full || hashed) {
            return ServerStep::Send(
                more(&[sha2::FULL]),
                AwaitReply { exchange: self, awaits: Awaits::Full },
            );
        }
        self.finish(found, Some(more(&[sha2::FAST_OK])))
    }

    /// A reply in the full path: the password itself, a request for the key, or the encrypted password.
    fn full_reply(self, payload: &[u8]) -> ServerStep {
        if self.offer.secure_transport {
            return self.clear_reply(payload);
        }
        let Some(key) = &self.offer.rsa_public_key_pem else {
            return self.reject();
        };
        if payload == [sha2::REQUEST_KEY] {
            return ServerStep::Send(more(key), AwaitReply { exchange: self, awaits: Awaits::Full });
        }
        ServerStep::Decrypt(payload.to_vec(), AwaitDecrypted(self))
    }

    /// The password itself, with its NUL byte.
    fn clear_reply(mut self, payload: &[u8]) -> ServerStep {
        self.last = Last::Password(Secret::new(payload));
        let given = payload.strip_suffix(&[0]).unwrap_or(payload);
        let found = self.find(|known, _| by_password(known, given));
        self.finish(found, None)
    }

    /// What the proof leaves in hand. All that is known is tried, so that time does not tell which one it was.
    fn find(&self, proof: impl Fn(&Credential, &[u8]) -> Option<Login>) -> Option<Login> {
        let challenge = self.challenge();
        let mut found: Option<Login> = None;
        if self.known.is_empty() {
            // An unknown user costs as much time as a known one.
            let _ = proof(&Credential::Password(Secret::new("unknown")), challenge);
        }
        for known in &self.known {
            if let Some(login) = proof(known, challenge)
                && found.as_ref().is_none_or(|found| found.password().is_none())
            {
                found = Some(login);
            }
        }
        found
    }

    fn finish(self, found: Option<Login>, before_ok: Option<BytesMut>) -> ServerStep {
        // What opens no server lets nobody in where it must.
        let enough = |login: &Login| !(self.offer.carried && matches!(login, Login::Nothing));
        let Some(login) = found.filter(enough) else {
            return self.reject();
        };
        let caps = self.response.caps & self.greeting.caps;
        let Exchange { response, plugin, .. } = self;
        ServerStep::Done(Box::new(Established { response, caps, plugin, login, before_ok }))
    }

    fn reject(self) -> ServerStep {
        let (response, using_password) = (self.response.clone(), self.using_password);
        let mut exchange = self;
        let last = core::mem::take(&mut exchange.last);
        ServerStep::Reject(Rejected { response, using_password, again: Box::new(Again { exchange, last }) })
    }
}

fn by_password_if(password: &Secret, is_it: bool) -> Option<Login> {
    is_it.then(|| Login::Password(password.clone()))
}

fn by_native(known: &Credential, salt: &[u8], reply: &[u8]) -> Option<Login> {
    match known {
        Credential::Password(password) => by_password_if(password, native::verify(password, salt, reply)),
        Credential::Native(stored) => native::recover(stored, salt, reply).map(Login::Native),
        Credential::Ed25519(_) | Credential::Crypt(_) => None,
    }
}

fn by_ed25519(known: &Credential, challenge: &[u8], reply: &[u8]) -> Option<Login> {
    match known {
        Credential::Password(password) => {
            by_password_if(password, ed25519::verify(&ed25519::public_key(password), challenge, reply))
        }
        Credential::Ed25519(key) => ed25519::verify(key, challenge, reply).then_some(Login::Nothing),
        Credential::Native(_) | Credential::Crypt(_) => None,
    }
}

fn by_password(known: &Credential, given: &[u8]) -> Option<Login> {
    known.is_of(given).then(|| Login::Password(Secret::new(given)))
}

/// Whether `reply` has the shape of a reply by this plugin.
fn reply_fits(plugin: &str, reply: &[u8]) -> bool {
    match plugin {
        auth::NATIVE => matches!(reply.len(), 0 | native::REPLY),
        auth::SHA2 => matches!(reply, [] | [0]) || reply.len() == sha2::REPLY,
        _ => true,
    }
}

fn more(data: &[u8]) -> BytesMut {
    let mut out = BytesMut::with_capacity(data.len().saturating_add(1));
    AuthMore(data).encode(&mut out);
    out
}

fn fault(what: &'static str) -> Malformed {
    Malformed { packet: "handshake", what }
}

#[cfg(test)]
mod tests;
