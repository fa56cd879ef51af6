//! A client's way in: greeting, authentication, the schema it asked for. Owns the order and the words
//! of refusals; must not know statements.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use clonelove_wire::auth;
use clonelove_wire::auth::native::certificate_proof;
use clonelove_wire::frame::{Look, look_packet, write_packet};
use clonelove_wire::handshake::server::{Established, Offer, ServerHandshake, ServerStep};
use clonelove_wire::packet::{Greeting, Response};
use clonelove_wire::proxied::is_header;
use clonelove_wire::{Caps, Status};
use zeroize::Zeroizing;

use super::expired::told_of_failure;
use super::identity::Identity;
use crate::backend::login::Account;
use crate::cluster::Snapshot;
use crate::error::{ClientError, Fault};
use crate::listener::Door;
use crate::net::{Buffered, NoTls};
use crate::settings::User;
use crate::shared::Shared;
use crate::tls::{self, Acceptor, ClientTls};

/// A log-in packet is small; more is an attack or a mistake.
const LARGEST: usize = 256 * 1024;

/// COM_QUIT (`Command::Quit`) on the wire.
const COM_QUIT: u8 = 0x01;

/// What is offered to clients, as far as the servers can do it too; TLS, compression and files beside it.
/// MariaDB's cached metadata are of one connection, and clients share those: docs/decisions.
const SUPPORTED: Caps = Caps::CLIENT_MYSQL
    .union(Caps::FOUND_ROWS)
    .union(Caps::LONG_FLAG)
    .union(Caps::CONNECT_WITH_DB)
    .union(Caps::LOCAL_FILES)
    .union(Caps::IGNORE_SPACE)
    .union(Caps::PROTOCOL_41)
    .union(Caps::INTERACTIVE)
    .union(Caps::TRANSACTIONS)
    .union(Caps::SECURE_CONNECTION)
    .union(Caps::MULTI_STATEMENTS)
    .union(Caps::MULTI_RESULTS)
    .union(Caps::PS_MULTI_RESULTS)
    .union(Caps::PLUGIN_AUTH)
    .union(Caps::CONNECT_ATTRS)
    .union(Caps::PLUGIN_AUTH_LENENC)
    .union(Caps::EXPIRED_PASSWORDS)
    .union(Caps::SESSION_TRACK)
    .union(Caps::DEPRECATE_EOF)
    .union(Caps::OPTIONAL_RESULTSET_METADATA)
    .union(Caps::QUERY_ATTRIBUTES)
    .union(Caps::PROGRESS)
    .union(Caps::STMT_BULK)
    .union(Caps::EXTENDED_TYPES)
    .union(Caps::BULK_UNIT_RESULTS);

/// Those that change bytes on the wire, or what a server accepts: the same on both sides, always.
pub(crate) const CARRIED: Caps = Caps::FOUND_ROWS
    .union(Caps::LONG_FLAG)
    .union(Caps::LOCAL_FILES)
    .union(Caps::IGNORE_SPACE)
    .union(Caps::INTERACTIVE)
    .union(Caps::MULTI_STATEMENTS)
    .union(Caps::MULTI_RESULTS)
    .union(Caps::PS_MULTI_RESULTS)
    .union(Caps::DEPRECATE_EOF)
    .union(Caps::OPTIONAL_RESULTSET_METADATA)
    .union(Caps::QUERY_ATTRIBUTES)
    .union(Caps::PROGRESS)
    .union(Caps::STMT_BULK)
    .union(Caps::EXTENDED_TYPES)
    .union(Caps::BULK_UNIT_RESULTS);

/// A client that is in.
pub(crate) struct LoggedIn {
    pub(crate) response: Response,
    pub(crate) caps: Caps,
    pub(crate) user: User,
    /// With what it goes to the servers.
    pub(crate) account: Arc<Account>,
    /// The sequence number of the OK that is still to be sent.
    pub(crate) seq: u8,
    /// The text of that OK.
    pub(crate) info: Vec<u8>,
    /// What the client was asked to answer; libraries answer it again when they change the user.
    pub(crate) salt: [u8; 20],
}

/// Why there is no session.
pub(crate) enum NoLogin {
    /// It left, with or without a word, as health checkers do.
    Left,
    /// Its network failed.
    Network(io::Error),
    /// It got this error.
    Refused(ClientError),
}

impl From<io::Error> for NoLogin {
    fn from(error: io::Error) -> Self {
        NoLogin::Network(error)
    }
}

/// The greeting for clients: the primary's version and character set, what all servers can do.
pub(crate) fn greeting(snapshot: &Snapshot, connection_id: u32, salt: [u8; 20]) -> Option<Greeting> {
    let model = snapshot.greeting.as_ref()?;
    let mut caps = SUPPORTED & snapshot.common_caps;
    caps.set(Caps::CLIENT_MYSQL, model.caps.contains(Caps::CLIENT_MYSQL));
    let auth_plugin = match model.auth_plugin.as_str() {
        auth::SHA2 => auth::SHA2,
        _ => auth::NATIVE,
    };
    Some(Greeting {
        version: model.version.clone(),
        connection_id,
        salt,
        caps,
        charset: model.charset,
        status: Status::AUTOCOMMIT.bits(),
        auth_plugin: auth_plugin.to_owned(),
    })
}

/// What decides how a client may log in, apart from who it is.
struct Terms {
    address: Option<IpAddr>,
    /// What the listener asks for.
    tls: ClientTls,
    /// What TLS is done with, as it was when it was offered.
    acceptor: Option<Arc<Acceptor>>,
    salt: [u8; 20],
    /// Whether we say that we are MariaDB.
    mariadb: bool,
}

impl Terms {
    fn new(
        address: Option<IpAddr>,
        tls: ClientTls,
        acceptor: Option<Arc<Acceptor>>,
        greeting: &Greeting,
    ) -> Self {
        Self { address, tls, acceptor, salt: greeting.salt, mariadb: greeting.is_mariadb() }
    }

    /// What tells a client that cannot verify our certificate that it is ours all the same, where that can be told:
    /// it proves that we know the password.
    fn proof(&self, client: &Buffered, established: &Established) -> Vec<u8> {
        let told = self.mariadb && established.plugin == auth::NATIVE;
        match client.shown() {
            Some(fingerprint) if told => {
                certificate_proof(&established.login, &self.salt, fingerprint.as_ref())
            }
            _ => Vec::new(),
        }
    }
}

/// Sends the greeting and sees the client in. The final OK is left to the caller, who has yet to see
/// whether the schema exists.
pub(crate) async fn log_in(
    shared: &Shared,
    client: &mut Buffered,
    id: u32,
    (address, door): (Option<IpAddr>, Door),
) -> Result<LoggedIn, NoLogin> {
    shared.cluster.first_look().await;
    let snapshot = shared.cluster.snapshot();
    let settings = shared.settings.load_full();
    let acceptor = settings.tls.clone();
    let (compression, local_infile) = (settings.listen.compression, settings.limits.local_infile);
    drop(settings);
    let Some(mut greeting) = greeting(&snapshot, id, salt()) else {
        let error = ClientError::no_server(&snapshot.faults());
        let mut payload = BytesMut::new();
        error.packet().encode_before_handshake(&mut payload);
        send(client, 0, &payload).await?;
        return Err(NoLogin::Refused(error));
    };
    greeting.caps.set(Caps::SSL, acceptor.is_some());
    greeting.caps |= compression;
    if !local_infile {
        greeting.caps.remove(Caps::LOCAL_FILES);
    }
    let handshake = ServerHandshake::new(greeting.clone(), offer(shared, client));
    let mut seq = send(client, 0, &greeting.encode()).await?;
    let payload = receive(client, &mut seq).await?;
    let terms = Terms::new(address, door.tls, acceptor, &greeting);
    authenticate(shared, client, handshake.feed(&payload), &mut seq, &terms).await
}

/// COM_CHANGE_USER, from its payload on.
pub(crate) async fn change_user(
    shared: &Shared,
    client: &mut Buffered,
    payload: &[u8],
    before: &Response,
    (id, address, salt): (u32, Option<IpAddr>, [u8; 20]),
) -> Result<LoggedIn, NoLogin> {
    let snapshot = shared.cluster.snapshot();
    let Some(greeting) = greeting(&snapshot, id, salt) else {
        let error = ClientError::no_server(&snapshot.faults());
        send(client, 1, &error.payload()).await?;
        return Err(NoLogin::Refused(error));
    };
    // The listener's terms were met at the log-in.
    let terms = Terms::new(address, ClientTls::Optional, None, &greeting);
    let handshake = ServerHandshake::new(greeting, offer(shared, client));
    let mut seq = 1;
    authenticate(shared, client, handshake.change_user(payload, before), &mut seq, &terms).await
}

fn offer(shared: &Shared, client: &Buffered) -> Offer {
    Offer {
        plugins: [auth::NATIVE, auth::SHA2, auth::ED25519, auth::CLEAR].map(str::to_owned).to_vec(),
        rsa_public_key_pem: Some(shared.password_key().public_pem().to_vec()),
        secure_transport: client.is_secure(),
        force_full: false,
        ed25519_challenge: challenge(),
        carried: true,
    }
}

async fn authenticate(
    shared: &Shared,
    client: &mut Buffered,
    mut step: ServerStep,
    seq: &mut u8,
    terms: &Terms,
) -> Result<LoggedIn, NoLogin> {
    let settings = shared.settings.load_full();
    let address = terms.address;
    let (mut identity, mut retried) = (Identity::default(), false);
    loop {
        step = match step {
            ServerStep::UpgradeTls(next) => {
                Box::pin(upgrade(client, terms)).await?;
                let payload = receive(client, seq).await?;
                next.upgraded().feed(&payload)
            }
            ServerStep::Authenticate(next) => {
                let who = (next.user(), address);
                identity = Box::pin(Identity::find(shared, &settings, who, terms.mariadb)).await;
                if let Some(error) = too_open(client, terms, identity.user()) {
                    return refuse(client, *seq, error).await;
                }
                next.credentials(identity.credentials())
            }
            ServerStep::Send(payload, next) => {
                *seq = send(client, *seq, &payload).await?;
                // It may be the password.
                let reply = Zeroizing::new(receive(client, seq).await?);
                if next.is_slow() { aside(move || next.feed(&reply)).await? } else { next.feed(&reply) }
            }
            ServerStep::Decrypt(ciphertext, next) => {
                let key = shared.password_key();
                aside(move || next.decrypted(key.decrypt(&ciphertext).ok())).await?
            }
            ServerStep::Done(established) => {
                return done(shared, client, (identity, *established), seq, terms).await;
            }
            ServerStep::Reject(rejected) => {
                let name = rejected.response.user.clone();
                // Once: what is compared then is as new as it can be.
                let again = !std::mem::replace(&mut retried, true);
                let changed = Box::pin(identity.changed(shared, &name, address));
                if again && let Some(now) = changed.await {
                    identity = now;
                    let known = identity.credentials();
                    let again = rejected.again;
                    aside(move || again.credentials(known)).await?
                } else {
                    let user = String::from_utf8_lossy(&name);
                    if identity.must_show() && !client.is_secure() {
                        tracing::info!(%user, "this account signs, which opens no server: its password must be shown once, over TLS or a unix socket");
                    }
                    let using_password = rejected.using_password;
                    let told = told_of_failure(shared, &identity, using_password, address);
                    let denied = || ClientError::access_denied(&user, &host(shared, address), using_password);
                    let error = Box::pin(told).await.unwrap_or_else(denied);
                    return refuse(client, *seq, error).await;
                }
            }
            ServerStep::Malformed(malformed) => {
                return refuse(client, *seq, ClientError::malformed(&malformed.to_string())).await;
            }
        };
    }
}

/// Goes on over TLS, as the client asks.
async fn upgrade(client: &mut Buffered, terms: &Terms) -> Result<(), NoLogin> {
    let acceptor = match &terms.acceptor {
        Some(acceptor) if client.tls().is_none() => acceptor,
        _ => {
            return Err(NoLogin::Refused(ClientError::no_tls(
                "the client asks for TLS where it was not offered",
            )));
        }
    };
    match client.accept_tls(acceptor).await {
        Ok(()) => {
            let agreed = client.tls().map(tls::describe).unwrap_or_default();
            tracing::debug!(client = ?terms.address, agreed, "a client uses TLS");
            Ok(())
        }
        Err(NoTls::Left) => Err(NoLogin::Left),
        Err(NoTls::Network(error)) => Err(NoLogin::Network(error)),
        Err(NoTls::Refused(error)) => Err(NoLogin::Refused(ClientError::no_tls(&tls::client_reason(&error)))),
    }
}

/// Whether somebody else could listen who must not. Told before the password is looked at, so that the client
/// does not send more of it than it has already.
fn too_open(client: &Buffered, terms: &Terms, user: Option<&User>) -> Option<ClientError> {
    if client.is_secure() {
        return None;
    }
    match user {
        _ if terms.tls == ClientTls::Required => Some(ClientError::insecure_transport("the listener")),
        Some(user) if user.tls == ClientTls::Required => {
            Some(ClientError::insecure_transport(&format!("user '{}'", user.name)))
        }
        _ => None,
    }
}

/// Does what takes milliseconds where nobody waits for it.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, NoLogin> {
    tokio::task::spawn_blocking(work).await.map_err(|error| NoLogin::Network(io::Error::other(error)))
}

/// The client's host, as errors of servers name it. We ask nobody for names of other machines.
fn host(shared: &Shared, address: Option<IpAddr>) -> String {
    let resolves = || shared.cluster.snapshot().model().is_some_and(|report| report.resolves_names);
    match address.map(|ip| ip.to_canonical()) {
        Some(ip) if !ip.is_loopback() || !resolves() => ip.to_string(),
        _ => "localhost".to_owned(),
    }
}

async fn done(
    shared: &Shared,
    client: &mut Buffered,
    (identity, established): (Identity, Established),
    seq: &mut u8,
    terms: &Terms,
) -> Result<LoggedIn, NoLogin> {
    if let Some(first) = &established.before_ok {
        *seq = send(client, *seq, first).await?;
    }
    let Some(user) = identity.user() else {
        return refuse(client, *seq, ClientError::internal("a user without an account logged in")).await;
    };
    if identity.is_locked() {
        let error = ClientError::account_locked(&user.name, &host(shared, terms.address), terms.mariadb);
        return refuse(client, *seq, error).await;
    }
    let account = Arc::new(identity.account(shared, &established, terms.address));
    let info = terms.proof(client, &established);
    Ok(LoggedIn {
        caps: established.caps,
        user: user.clone(),
        account,
        response: established.response,
        seq: *seq,
        info,
        salt: terms.salt,
    })
}

/// Tells the client, and the caller.
pub(crate) async fn refuse<T>(client: &mut Buffered, seq: u8, error: ClientError) -> Result<T, NoLogin> {
    send(client, seq, &error.payload()).await?;
    Err(NoLogin::Refused(error))
}

/// Sends one packet; answers the next sequence number.
pub(crate) async fn send(client: &mut Buffered, seq: u8, payload: &[u8]) -> io::Result<u8> {
    let mut out = BytesMut::with_capacity(payload.len().saturating_add(4));
    let next = write_packet(&mut out, seq, payload);
    client.write_all(&out).await?;
    Ok(next)
}

async fn receive(client: &mut Buffered, seq: &mut u8) -> Result<Vec<u8>, NoLogin> {
    client.expect(*seq);
    loop {
        let (payload, used, last) = match look_packet(&client.input, Some(*seq), LARGEST) {
            Look::Packet { payload, used, seq_last, .. } => (payload.into_owned(), used, seq_last),
            Look::Need(_) => {
                if client.fill().await? == 0 {
                    return Err(NoLogin::Left);
                }
                continue;
            }
            // Some health checkers say COM_QUIT instead of logging in, as a new command.
            _ if client.input.as_ref() == [1, 0, 0, 0, COM_QUIT] => return Err(NoLogin::Left),
            _ if is_header(&client.input) => {
                let what =
                    "a header of the PROXY protocol from an address that listen.proxy_protocol does not list";
                return refuse(client, *seq, ClientError::malformed(what)).await;
            }
            Look::TooLarge(..) => {
                return refuse(client, *seq, ClientError::malformed("a log-in packet of this size")).await;
            }
            _ => return refuse(client, *seq, ClientError::malformed("a packet out of sequence")).await,
        };
        client.input.advance(used);
        client.turn();
        *seq = last.wrapping_add(1);
        // Others number it as an answer to the greeting.
        if payload == [COM_QUIT] {
            return Err(NoLogin::Left);
        }
        return Ok(payload);
    }
}

/// Twenty bytes nobody can guess; none is NUL or `$`, which some clients stop at.
fn salt() -> [u8; 20] {
    let mut salt = [0; 20];
    // Without randomness the salt is a constant, and log-ins still need the password.
    let _ = aws_lc_rs::rand::fill(&mut salt);
    salt.map(|byte| match byte & 0x7F {
        0 | b'$' => b'a',
        other => other,
    })
}

/// What `client_ed25519` signs; none where there is no randomness, which alone makes that safe.
fn challenge() -> Option<[u8; 32]> {
    let mut challenge = [0; 32];
    aws_lc_rs::rand::fill(&mut challenge).ok().map(|()| challenge)
}

/// The key of a fault in the metrics of refused clients.
pub(crate) fn fault_of(no_login: &NoLogin) -> Option<Fault> {
    match no_login {
        NoLogin::Left => None,
        NoLogin::Network(_) => Some(Fault::ClientNetwork),
        NoLogin::Refused(error) => Some(error.fault),
    }
}
