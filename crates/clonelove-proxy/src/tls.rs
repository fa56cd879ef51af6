//! TLS as it is configured: who we are towards clients, whom of the servers we trust. Owns certificates, the
//! rules of trust, and the words in which a failure is told. Reads no files and no sockets: PEM comes from
//! whoever makes the settings, handshakes are `net`'s.

mod trust;

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{Digest, SHA256, digest};
use clonelove_wire::handshake::client::Tls as Wanted;
use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, CommonState, Error, HandshakeKind, InconsistentKeys,
    RootCertStore, ServerConfig, SupportedProtocolVersion,
};

use crate::settings::{Address, Secret};

/// `tls` of a listener or a user: whether clients must use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ClientTls {
    /// As the client likes.
    #[default]
    Optional,
    /// Only TLS, or a unix socket.
    Required,
}

/// `tls` of a server: whether it is used, and what its certificate must prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ServerTls {
    /// Never.
    Disabled,
    /// If the server offers it, with any certificate.
    #[default]
    Preferred,
    /// With any certificate.
    Required,
    /// With a certificate of a known authority.
    VerifyCa,
    /// With a certificate of a known authority, for the host that is connected to.
    VerifyIdentity,
}

impl ServerTls {
    /// As the config writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            ServerTls::Disabled => "disabled",
            ServerTls::Preferred => "preferred",
            ServerTls::Required => "required",
            ServerTls::VerifyCa => "verify-ca",
            ServerTls::VerifyIdentity => "verify-identity",
        }
    }

    /// Whether certificates are looked at.
    pub const fn verifies(self) -> bool {
        matches!(self, ServerTls::VerifyCa | ServerTls::VerifyIdentity)
    }
}

/// `[tls] min_version`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum MinVersion {
    /// TLS 1.2 and 1.3.
    #[default]
    Tls12,
    /// TLS 1.3 only.
    Tls13,
}

impl MinVersion {
    fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        const NEW: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
        const BOTH: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];
        match self {
            MinVersion::Tls12 => BOTH,
            MinVersion::Tls13 => NEW,
        }
    }
}

/// What is wrong with PEM that was handed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PemProblem {
    /// With the certificates: what it is.
    Certificate(String),
    /// With the private key: what it is.
    Key(String),
    /// Each may be right, but they do not belong together.
    Mismatch,
}

/// A certificate, the chain above it, and its private key.
#[derive(Clone)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
    /// To be compared with another; the key itself cannot be had back.
    key: Secret,
}

impl Identity {
    /// From PEM: the certificate first, then those between it and the authority; the key is not encrypted.
    ///
    /// # Errors
    /// When one of them is not what it should be, or they do not belong together.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, PemProblem> {
        let chain = certificates(chain).map_err(PemProblem::Certificate)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| {
            PemProblem::Key(match error {
                pem::Error::NoItemsFound => "has no private key (in PEM, not encrypted)".to_owned(),
                other => format!("is not PEM: {other}"),
            })
        })?;
        let secret = Secret::new(key.secret_der());
        match CertifiedKey::from_der(chain, key, &default_provider()) {
            Ok(certified) => Ok(Self { certified: Arc::new(certified), key: secret }),
            Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => Err(PemProblem::Mismatch),
            Err(Error::InvalidCertificate(error)) => {
                Err(PemProblem::Certificate(format!("has a certificate that cannot be used: {error}")))
            }
            Err(error) => Err(PemProblem::Key(format!("has a key that cannot be used: {error}"))),
        }
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.certified.cert == other.certified.cert && self.key == other.key
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(…)")
    }
}

/// Certificates of authorities that are trusted.
#[derive(Clone)]
pub struct Authorities {
    certificates: Vec<CertificateDer<'static>>,
    roots: Arc<RootCertStore>,
    /// Where they came from, to be named in errors.
    source: String,
}

impl Authorities {
    /// From PEM; `source` names it in errors.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_pem(pem: &[u8], source: &str) -> Result<Self, String> {
        let certificates = certificates(pem)?;
        let mut roots = RootCertStore::empty();
        for certificate in &certificates {
            roots
                .add(certificate.clone())
                .map_err(|error| format!("has a certificate that cannot be used: {error}"))?;
        }
        Ok(Self { certificates, roots: Arc::new(roots), source: source.to_owned() })
    }
}

impl PartialEq for Authorities {
    fn eq(&self, other: &Self) -> bool {
        self.certificates == other.certificates && self.source == other.source
    }
}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authorities({})", self.source)
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err("has no certificate (in PEM)".to_owned()),
        Ok(found) => Ok(found),
        Err(error) => Err(format!("is not PEM: {error}")),
    }
}

/// How clients are taken over TLS. Two of the same parts are equal; what clients keep to resume a session fits
/// one only, so an unchanged one should be kept.
pub struct Acceptor {
    identity: Identity,
    client_ca: Option<Authorities>,
    min_version: MinVersion,
    fingerprint: Digest,
    config: Arc<ServerConfig>,
}

impl Acceptor {
    /// Shows `identity`; a certificate of a client must be one of `client_ca`.
    ///
    /// # Errors
    /// When the parts do not make up something that works.
    pub fn new(
        identity: Identity,
        client_ca: Option<Authorities>,
        min_version: MinVersion,
    ) -> Result<Self, String> {
        let provider = Arc::new(default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(min_version.versions())
            .map_err(|error| error.to_string())?;
        let builder = match &client_ca {
            None => builder.with_no_client_auth(),
            Some(authorities) => builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(Arc::clone(&authorities.roots), provider)
                    .allow_unauthenticated()
                    .build()
                    .map_err(|error| error.to_string())?,
            ),
        };
        let certified = CertifiedKey::clone(&identity.certified);
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        // Tickets keep the state of a session with the client; nothing of it is kept here.
        config.ticketer = Ticketer::new().map_err(|error| error.to_string())?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 1;
        let own = identity.certified.cert.first().map(AsRef::as_ref).unwrap_or_default();
        let fingerprint = digest(&SHA256, own);
        Ok(Self { identity, client_ca, min_version, fingerprint, config: Arc::new(config) })
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// SHA-256 of the certificate.
    pub(crate) fn fingerprint(&self) -> &Digest {
        &self.fingerprint
    }
}

impl PartialEq for Acceptor {
    fn eq(&self, other: &Self) -> bool {
        self.identity == other.identity
            && self.client_ca == other.client_ca
            && self.min_version == other.min_version
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").field("min_version", &self.min_version).finish_non_exhaustive()
    }
}

/// How one server is connected to. Two of the same parts are equal; sessions that can be resumed are kept in one,
/// so an unchanged one should be kept.
pub struct Connector {
    mode: ServerTls,
    authorities: Option<Authorities>,
    min_version: MinVersion,
    /// None when TLS is never used.
    config: Option<Arc<ClientConfig>>,
}

impl Connector {
    /// Trusts what `mode` says, by the `authorities` where it verifies.
    ///
    /// # Errors
    /// When the parts do not make up something that works.
    pub fn new(
        mode: ServerTls,
        authorities: Option<Authorities>,
        min_version: MinVersion,
    ) -> Result<Self, String> {
        let config = match mode {
            ServerTls::Disabled => None,
            _ => Some(Arc::new(client_config(mode, authorities.as_ref(), min_version)?)),
        };
        Ok(Self { mode, authorities, min_version, config })
    }

    /// Never TLS.
    pub fn disabled() -> Self {
        let (mode, min_version) = (ServerTls::Disabled, MinVersion::default());
        Self { mode, authorities: None, min_version, config: None }
    }

    /// The mode as configured.
    pub fn mode(&self) -> ServerTls {
        self.mode
    }

    /// Whether to ask a server there for TLS. What stays on this machine is not encrypted without need.
    pub(crate) fn wanted(&self, address: &Address) -> Wanted {
        match (self.mode, address) {
            (ServerTls::Disabled, _) | (ServerTls::Preferred, Address::Unix(_)) => Wanted::Off,
            (ServerTls::Preferred, Address::Tcp { .. }) => Wanted::Preferred,
            _ => Wanted::Required,
        }
    }

    /// What a handshake with the server there needs.
    pub(crate) fn config(&self, address: &Address) -> Option<(Arc<ClientConfig>, ServerName<'static>)> {
        let host = match address {
            Address::Tcp { host, .. } => host.as_str(),
            Address::Unix(_) => "localhost",
        };
        // A host that can be no name in a certificate is only ever connected to without looking at names.
        let name = ServerName::try_from(host.to_owned()).or_else(|_| ServerName::try_from("unnamed"));
        Some((Arc::clone(self.config.as_ref()?), name.ok()?))
    }

    /// What happened and what to do, for whoever runs this.
    pub(crate) fn explain(&self, address: &Address, error: &Error) -> String {
        let mode = self.mode.as_str();
        format!("TLS with {address} failed (tls = \"{mode}\"): {}", self.reason(address, error))
    }

    /// The same where the server does not offer TLS.
    pub(crate) fn not_offered(&self) -> String {
        let mode = self.mode.as_str();
        format!(
            "it does not offer TLS, and tls = \"{mode}\" needs it; give the server a certificate and a key \
             (ssl_cert, ssl_key), or write tls = \"preferred\""
        )
    }

    fn reason(&self, address: &Address, error: &Error) -> String {
        let file = self.authorities.as_ref().map_or("tls_ca", |authorities| &authorities.source);
        match error {
            // The second is what an authority of the right name and another key gives.
            Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
                format!(
                    "no authority in {file} has signed its certificate; \
                 put the certificate of the authority that has into that file"
                )
            }
            Error::InvalidCertificate(
                CertificateError::Expired | CertificateError::ExpiredContext { .. },
            ) => "its certificate has expired; give the server a new one".to_owned(),
            Error::InvalidCertificate(
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
            ) => "its certificate is not valid yet; compare the clocks of both machines".to_owned(),
            Error::InvalidCertificate(CertificateError::NotValidForNameContext { presented, .. }) => format!(
                "its certificate is not for {}, but for {}; use a name that the certificate has in its \
                 subjectAltName as the server's address, or tls = \"verify-ca\"",
                host(address),
                if presented.is_empty() { "no name at all".to_owned() } else { presented.join(", ") }
            ),
            Error::InvalidCertificate(other) => {
                format!("its certificate cannot be verified: {other}; give the server another one")
            }
            Error::AlertReceived(AlertDescription::CertificateRequired) => {
                "it wants a certificate of its client, which clonelove does not have".to_owned()
            }
            Error::PeerIncompatible(_)
            | Error::AlertReceived(AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure) => {
                format!(
                    "there is no version of TLS or no cipher that both sides take ({error}); \
                         let the server take TLS 1.2 or 1.3 (tls_version)"
                )
            }
            other => other.to_string(),
        }
    }
}

impl PartialEq for Connector {
    fn eq(&self, other: &Self) -> bool {
        self.mode == other.mode
            && self.authorities == other.authorities
            && self.min_version == other.min_version
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("mode", &self.mode)
            .field("authorities", &self.authorities)
            .field("min_version", &self.min_version)
            .finish_non_exhaustive()
    }
}

fn client_config(
    mode: ServerTls,
    authorities: Option<&Authorities>,
    min_version: MinVersion,
) -> Result<ClientConfig, String> {
    let provider = Arc::new(default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match (mode.verifies(), authorities) {
        (false, _) => Arc::new(trust::Anyone::new(&provider)),
        (true, Some(authorities)) => {
            let by_name = mode == ServerTls::VerifyIdentity;
            Arc::new(trust::Signed::new(authorities.clone(), by_name, &provider))
        }
        (true, None) => return Err("no authorities are given to verify certificates by".to_owned()),
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(min_version.versions())
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    // There is one server only.
    config.resumption = Resumption::in_memory_sessions(8);
    Ok(config)
}

fn host(address: &Address) -> String {
    match address {
        Address::Tcp { host, .. } => host.clone(),
        Address::Unix(path) => path.display().to_string(),
    }
}

/// What two sides agreed upon, for the log.
pub(crate) fn describe(agreed: &CommonState) -> String {
    let version = agreed.protocol_version().map_or_else(String::new, |version| format!("{version:?}"));
    let cipher =
        agreed.negotiated_cipher_suite().map_or_else(String::new, |suite| format!("{:?}", suite.suite()));
    let how = match agreed.handshake_kind() {
        Some(HandshakeKind::Resumed) => ", resumed",
        _ => "",
    };
    format!("{version}, {cipher}{how}")
}

/// Why a client did not come in, and what to do.
pub(crate) fn client_reason(error: &Error) -> String {
    let hint = match error {
        Error::InvalidMessage(_) => "it sent something else than TLS after it had asked for TLS",
        Error::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired,
        ) => "it does not trust the certificate in tls.cert: give it the certificate of the authority",
        Error::InvalidCertificate(_) => "its certificate is none of tls.client_ca",
        Error::PeerIncompatible(_) => "there is no version of TLS or no cipher that both sides take",
        _ => return format!("TLS with the client failed: {error}"),
    };
    format!("TLS with the client failed: {hint} ({error})")
}

#[cfg(test)]
pub(crate) mod tests;
