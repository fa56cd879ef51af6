//! A client's way in: greeting, authentication, the schema it asked for. Owns the order and the words
//! of refusals; must not know statements.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use clonelove_wire::auth::native::certificate_proof;
use clonelove_wire::auth::{self, Secret as Password};
use clonelove_wire::frame::{Look, look_packet, write_packet};
use clonelove_wire::handshake::server::{Established, Offer, ServerHandshake, ServerStep};
use clonelove_wire::packet::{Greeting, Response};
use clonelove_wire::{Caps, Status};

use crate::cluster::Snapshot;
use crate::error::{ClientError, Fault};
use crate::listener::Door;
use crate::net::{Buffered, NoTls};
use crate::settings::{Secret, User};
use crate::shared::Shared;
use crate::tls::{self, Acceptor, ClientTls};

/// A log-in packet is small; more is an attack or a mistake.
const LARGEST: usize = 256 * 1024;

/// COM_QUIT (`Command::Quit`) on the wire.
const COM_QUIT: u8 = 0x01;

/// What is offered to clients, as far as the servers can do it too; TLS, compression and files beside it. Not yet:
/// session tracking. MariaDB's cached metadata are of one connection, and clients share those.
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
        let told = self.mariadb && established.plugin == auth::NATIVE && !established.password.is_empty();
        match client.shown() {
            Some(fingerprint) if told => {
                certificate_proof(&established.password, &self.salt, fingerprint.as_ref())
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
        plugins: vec![auth::NATIVE.to_owned(), auth::SHA2.to_owned(), auth::CLEAR.to_owned()],
        rsa_public_key_pem: Some(shared.password_key.public_pem().to_vec()),
        secure_transport: client.is_secure(),
        force_full: false,
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
    loop {
        step = match step {
            ServerStep::UpgradeTls(next) => {
                Box::pin(upgrade(client, terms)).await?;
                let payload = receive(client, seq).await?;
                next.upgraded().feed(&payload)
            }
            ServerStep::Authenticate(next) => {
                let user = find_user(&settings.users, next.user(), address);
                if let Some(error) = too_open(client, terms, user) {
                    return refuse(client, *seq, error).await;
                }
                next.passwords(user.map(passwords).unwrap_or_default())
            }
            ServerStep::Send(payload, next) => {
                *seq = send(client, *seq, &payload).await?;
                let reply = receive(client, seq).await?;
                next.feed(&reply)
            }
            ServerStep::Decrypt(ciphertext, next) => {
                next.decrypted(shared.password_key.decrypt(&ciphertext).ok())
            }
            ServerStep::Done(established) => {
                return done(&settings.users, client, *established, seq, terms).await;
            }
            ServerStep::Reject(rejected) => {
                let user = String::from_utf8_lossy(&rejected.response.user).into_owned();
                let host = address.map_or_else(|| "localhost".to_owned(), |ip| ip.to_canonical().to_string());
                let error = ClientError::access_denied(&user, &host, rejected.using_password);
                return refuse(client, *seq, error).await;
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

async fn done(
    users: &[User],
    client: &mut Buffered,
    established: Established,
    seq: &mut u8,
    terms: &Terms,
) -> Result<LoggedIn, NoLogin> {
    if let Some(first) = &established.before_ok {
        *seq = send(client, *seq, first).await?;
    }
    let Some(user) = find_user(users, &established.response.user, terms.address) else {
        return refuse(client, *seq, ClientError::internal("a user without an account logged in")).await;
    };
    let info = terms.proof(client, &established);
    Ok(LoggedIn {
        caps: established.caps,
        user: user.clone(),
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

fn find_user<'a>(users: &'a [User], name: &[u8], address: Option<IpAddr>) -> Option<&'a User> {
    users.iter().find(|user| {
        user.name.as_bytes() == name
            && (user.networks.is_empty()
                || address.is_none_or(|ip| user.networks.iter().any(|network| network.contains(ip))))
    })
}

fn passwords(user: &User) -> Vec<Password> {
    user.passwords.iter().map(|secret: &Secret| Password::new(secret.expose())).collect()
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

/// The key of a fault in the metrics of refused clients.
pub(crate) fn fault_of(no_login: &NoLogin) -> Option<Fault> {
    match no_login {
        NoLogin::Left => None,
        NoLogin::Network(_) => Some(Fault::ClientNetwork),
        NoLogin::Refused(error) => Some(error.fault),
    }
}

/// Who the servers see.
pub(crate) fn account(user: &User) -> crate::backend::login::Account {
    let password = user.passwords.first().cloned().unwrap_or_else(|| Secret::new(Vec::new()));
    crate::backend::login::Account { user: Arc::from(user.name.as_str()), password }
}
