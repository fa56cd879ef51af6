//! Connecting and logging in to a server. Owns the order of connect, greeting, authentication; what a
//! connection must hear before it serves anybody is `setup`'s business.

use std::net::IpAddr;
use std::sync::Arc;

use clonelove_wire::Caps;
use clonelove_wire::auth::{Login, Secret as Password};
use clonelove_wire::compress::Algorithm;
use clonelove_wire::frame::write_packet;
use clonelove_wire::handshake::client::{ClientConfig, ClientFault, ClientHandshake, ClientStep, Session};
use tokio::time::{Instant, timeout_at};

use super::reply::read_packet;
use crate::crypto;
use crate::error::{Fault, Refusal, ServerFault};
use crate::net::{Buffered, NoTls, Speaks, Stream};
use crate::settings::{Address, ServerSettings};
use crate::tls::{self, Connector};

/// Who logs in, with what, and for whom.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Account {
    pub(crate) user: Arc<str>,
    /// The account of the primary that let the client in, if that is who decides.
    pub(crate) name: Option<Arc<str>>,
    /// Any of these may be right: a password that is being changed is not changed everywhere at once.
    pub(crate) logins: Vec<Login>,
    /// Where the client is that the connection is opened for.
    pub(crate) from: Option<IpAddr>,
    /// How often rights had been changed when that client came: servers tell them to connections as these begin.
    pub(crate) rights: u64,
    /// The server itself has to let that client in, by a new connection: `session::expired` has it do so.
    pub(crate) watched: bool,
    /// What that client calls itself.
    pub(crate) program: Option<String>,
}

impl Account {
    /// An account with one password.
    pub(crate) fn new(user: &str, password: &[u8]) -> Self {
        let logins = vec![Login::Password(Password::new(password))];
        Self { user: Arc::from(user), logins, ..Self::default() }
    }

    /// The same for a connection that no client waits for. Where servers are told where clients are, it is kept for
    /// those at `from`.
    pub(crate) fn for_nobody(&self, from: Option<IpAddr>) -> Self {
        Self { from, program: None, ..self.clone() }
    }
}

/// What a connection is opened for.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) account: Arc<Account>,
    pub(crate) schema: Option<String>,
    /// What bytes on the wire should look like.
    pub(crate) caps: Caps,
    pub(crate) charset: u8,
}

/// The server's error for a wrong password.
const ACCESS_DENIED: u16 = 1045;

/// The longest packet we say we take, in bytes; servers only look at it in passing.
const MAX_PACKET: u32 = 1 << 30;

/// Connects and logs in with whatever of the account's the server takes, `first` before the others. Answers which it
/// was.
pub(crate) async fn log_in(
    server: &Arc<str>,
    settings: &ServerSettings,
    wish: &Wish,
    first: usize,
    deadline: Instant,
) -> Result<(Buffered, Session, usize), ServerFault> {
    let count = wish.account.logins.len();
    let mut outcome = ServerFault::new(server, Fault::ServerAuth, "there is nothing to log in to it with");
    for at in (0..count).map(|step| step.wrapping_add(first) % count) {
        let Some(login) = wish.account.logins.get(at) else { continue };
        match log_in_with(server, settings, wish, login, deadline).await {
            Ok((io, session)) => return Ok((io, session, at)),
            Err(fault) if fault.refused.as_ref().is_some_and(|refusal| refusal.code == ACCESS_DENIED) => {
                outcome = fault;
            }
            Err(fault) => return Err(fault),
        }
    }
    Err(outcome)
}

/// Connects and logs in with one password.
async fn log_in_with(
    server: &Arc<str>,
    settings: &ServerSettings,
    wish: &Wish,
    login: &Login,
    deadline: Instant,
) -> Result<(Buffered, Session), ServerFault> {
    let ServerSettings { address, tls, compression, proxy_protocol, .. } = settings;
    let too_long =
        |what: &str| ServerFault::new(server, Fault::ServerConnect, format!("{what} took too long"));
    let stream = timeout_at(deadline, Stream::connect(address))
        .await
        .map_err(|_| too_long("connecting"))?
        .map_err(|error| {
            ServerFault::new(server, Fault::ServerConnect, format!("cannot connect to {address}: {error}"))
        })?;
    let mut io = Buffered::new(stream);
    if *proxy_protocol {
        let header = io.proxy_header(wish.account.from);
        io.write_all(&header).await.map_err(|error| ServerFault::lost(server, &error))?;
    }
    // Boxed: a session must not carry the room for it all its life.
    let how = (address, &**tls, *compression);
    timeout_at(deadline, Box::pin(authenticate(server, io, how, (wish, login))))
        .await
        .map_err(|_| too_long("logging in"))?
}

async fn authenticate(
    server: &Arc<str>,
    mut io: Buffered,
    (address, tls, compression): (&Address, &Connector, Caps),
    (wish, login): (&Wish, &Login),
) -> Result<(Buffered, Session), ServerFault> {
    let config = ClientConfig {
        user: wish.account.user.as_bytes().to_vec(),
        login: login.clone(),
        database: wish.schema.as_ref().map(|schema| schema.as_bytes().to_vec()),
        caps: wish.caps | compression,
        charset: wish.charset,
        attributes: attributes(&wish.account),
        max_packet: MAX_PACKET,
        secure_transport: io.is_secure(),
        tls: tls.wanted(address),
    };
    let mut seq = 0;
    let greeting = read_packet(&mut io, server, &mut seq).await?;
    let mut step = ClientHandshake::new(config).greeting(&greeting).map_err(|fault| match fault {
        ClientFault::TlsNotOffered => ServerFault::new(server, Fault::Tls, tls.not_offered()),
        fault => ServerFault::new(server, Fault::ServerProtocol, fault),
    })?;
    loop {
        let (payload, next) = match step {
            ClientStep::Send(payload, next) => (Some(payload), next),
            ClientStep::Read(next) => (None, next),
            ClientStep::Encrypt { public_key_pem, xored_password, next } => {
                let ciphertext = crypto::encrypt(&public_key_pem, &xored_password)
                    .map_err(|_| ServerFault::new(server, Fault::ServerAuth, "its RSA key cannot be used"))?;
                step = next.encrypted(&ciphertext);
                continue;
            }
            ClientStep::Done(session) => {
                if let Some(algorithm) = Algorithm::agreed(session.caps, None) {
                    io.compress(algorithm, Speaks::First);
                }
                return Ok((io, *session));
            }
            ClientStep::Refused(err) => return Err(refused(server, wish, &err)),
            ClientStep::UpgradeTls(request, next) => {
                seq = send(&mut io, server, seq, &request).await?;
                upgrade(&mut io, server, address, tls).await?;
                step = next.upgraded();
                continue;
            }
        };
        if let Some(payload) = payload {
            seq = send(&mut io, server, seq, &payload).await?;
        }
        let packet = read_packet(&mut io, server, &mut seq).await?;
        step = next.feed(&packet).map_err(|fault| ServerFault::new(server, Fault::ServerAuth, fault))?;
    }
}

/// What the server may tell of the connection, in performance_schema.session_connect_attrs: us, and for whom we opened
/// it. Others may share it later, which cannot be told there.
fn attributes(account: &Account) -> Vec<(Vec<u8>, Vec<u8>)> {
    let pair = |name: &str, value: &str| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
    let mut all =
        vec![pair("program_name", "clonelove"), pair("clonelove_version", env!("CARGO_PKG_VERSION"))];
    let from = account.from.map(|ip| pair("opened_for_address", &ip.to_canonical().to_string()));
    let program = account.program.as_deref().map(|program| pair("opened_for_program", program));
    all.extend(from.into_iter().chain(program));
    all
}

/// Sends one packet; answers the next sequence number.
async fn send(io: &mut Buffered, server: &Arc<str>, seq: u8, payload: &[u8]) -> Result<u8, ServerFault> {
    let mut out = bytes::BytesMut::with_capacity(payload.len().saturating_add(4));
    let next = write_packet(&mut out, seq, payload);
    io.write_all(&out).await.map_err(|error| ServerFault::lost(server, &error))?;
    Ok(next)
}

/// Goes on over TLS, as we have asked.
async fn upgrade(
    io: &mut Buffered,
    server: &Arc<str>,
    address: &Address,
    tls: &Connector,
) -> Result<(), ServerFault> {
    let fault = |detail: String| ServerFault::new(server, Fault::Tls, detail);
    let (config, name) = tls.config(address).ok_or_else(|| fault("TLS is switched off for it".to_owned()))?;
    io.connect_tls(config, name).await.map_err(|no_tls| match no_tls {
        NoTls::Refused(error) => fault(tls.explain(address, &error)),
        NoTls::Left => {
            fault(format!("it closed the connection in the middle of the TLS handshake with {address}"))
        }
        NoTls::Network(error) => ServerFault::lost(server, &error),
    })?;
    let agreed = io.tls().map(tls::describe).unwrap_or_default();
    tracing::debug!(server = %server, agreed, "connected over TLS");
    Ok(())
}

fn refused(server: &Arc<str>, wish: &Wish, err: &clonelove_wire::packet::err::Err<'_>) -> ServerFault {
    let detail = format!("it refused user '{}': {} ({})", wish.account.user, err.text(), err.code);
    ServerFault {
        refused: Some(Refusal { code: err.code, state: err.state, message: err.text().into_owned() }),
        ..ServerFault::new(server, Fault::ServerAuth, detail)
    }
}
