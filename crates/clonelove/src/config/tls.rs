//! `[tls]` and the `tls` keys of other sections: certificates and keys from their files, checked as they will be
//! used. What they are used for is the business of the proxy.

use std::sync::Arc;

use clonelove_proxy::PasswordKey;
use clonelove_proxy::settings::Address;
use clonelove_proxy::tls::{
    Acceptor, Authorities, ClientTls, Connector, Identity, MinVersion, PemProblem, ServerTls,
};

use super::secret::{self, Sources};
use super::section::Choice::Is;
use super::section::{Choice, Section};

/// `tls` of a listener or a user.
pub(super) const CLIENT_TLS: [(&str, Choice<ClientTls>); 2] =
    [("optional", Is(ClientTls::Optional)), ("required", Is(ClientTls::Required))];
/// What to do where TLS is asked for and cannot be had.
pub(super) const NEEDS_CERTIFICATE: &str = "give clonelove a certificate: [tls] cert and key";

/// `[tls]`, as far as other sections need it.
#[derive(Default)]
pub(super) struct Tls {
    /// How clients are taken; none without a certificate, or with one that cannot be used.
    pub(super) acceptor: Option<Arc<Acceptor>>,
    /// Whether a certificate was named, usable or not.
    pub(super) offered: bool,
    /// By which clients encrypt passwords without TLS.
    pub(super) rsa_key: Option<Arc<PasswordKey>>,
    min_version: MinVersion,
    server_ca: Option<Authorities>,
}

/// `[tls]`.
pub(super) fn tls(section: &Section<'_>, sources: Sources<'_>) -> Tls {
    let choices = [("1.2", Is(MinVersion::Tls12)), ("1.3", Is(MinVersion::Tls13))];
    let min_version = section.choice("min_version", MinVersion::Tls12, &choices);
    let client_ca = authorities(section, "client_ca", sources);
    let identity = identity(section, sources);
    let acceptor = identity.and_then(|identity| {
        Acceptor::new(identity, client_ca, min_version)
            .map_err(|problem| {
                section.wrong("cert", &format!("cannot be used: {problem}"), NEEDS_CERTIFICATE)
            })
            .ok()
    });
    Tls {
        acceptor: acceptor.map(Arc::new),
        offered: section.get("cert").is_some(),
        rsa_key: rsa_key(section, sources),
        min_version,
        server_ca: authorities(section, "server_ca", sources),
    }
}

/// Whether and how a server is connected to over TLS.
pub(super) fn connector(
    section: &Section<'_>,
    address: Option<&Address>,
    sources: Sources<'_>,
    tls: &Tls,
) -> Connector {
    const MODES: [ServerTls; 5] = [
        ServerTls::Preferred,
        ServerTls::Disabled,
        ServerTls::Required,
        ServerTls::VerifyCa,
        ServerTls::VerifyIdentity,
    ];
    let mode = section.choice("tls", ServerTls::default(), &MODES.map(|mode| (mode.as_str(), Is(mode))));
    let own = authorities(section, "tls_ca", sources);
    let named = section.get("tls_ca").is_some();
    if named && !mode.verifies() {
        let problem = format!("has no effect: tls = \"{}\" looks at no certificate", mode.as_str());
        section.wrong("tls_ca", &problem, "write tls = \"verify-identity\" or \"verify-ca\"");
    }
    let authorities = if named { own } else { tls.server_ca.clone() };
    if mode.verifies() && authorities.is_none() {
        if !named {
            let problem = format!("= \"{}\" needs to know whom to trust", mode.as_str());
            let hint =
                "name the file with the authority's certificate: tls_ca here, or [tls] server_ca for all";
            section.wrong("tls", &problem, hint);
        }
        return Connector::disabled();
    }
    if mode == ServerTls::VerifyIdentity && matches!(address, Some(Address::Unix(_))) {
        let problem = "= \"verify-identity\" needs a host to compare the certificate with";
        section.wrong("tls", problem, "a unix socket has none: write \"verify-ca\", or leave it out");
    }
    let authorities = authorities.filter(|_| mode.verifies());
    Connector::new(mode, authorities, tls.min_version).unwrap_or_else(|problem| {
        section.wrong("tls", &format!("cannot be used: {problem}"), "leave it out");
        Connector::disabled()
    })
}

/// The certificate and its key.
fn identity(section: &Section<'_>, sources: Sources<'_>) -> Option<Identity> {
    let named = |key| section.get(key).is_some();
    match (named("cert"), named("key")) {
        (true, false) => {
            section.wrong("cert", "stands without tls.key", "name the file with its private key")
        }
        (false, true) => {
            section.wrong("key", "stands without tls.cert", "name the file with its certificate")
        }
        (false, false) if named("client_ca") => {
            section.wrong("client_ca", "stands without tls.cert and tls.key", NEEDS_CERTIFICATE);
        }
        _ => {}
    }
    let (chain, key) =
        (secret::read_pem(section, "cert", sources), secret::read_pem(section, "key", sources));
    let (chain, key) = (chain?, key?);
    let path = |key| section.text(key).unwrap_or_default();
    match Identity::from_pem(chain.expose(), key.expose()) {
        Ok(identity) => return Some(identity),
        Err(PemProblem::Certificate(problem)) => {
            let hint = "a PEM file with the certificate first, then those between it and its authority";
            section.wrong("cert", &format!("names {}, which {problem}", path("cert")), hint);
        }
        Err(PemProblem::Key(problem)) => {
            let hint = "a PEM file with a private key (RSA, ECDSA or Ed25519), without a passphrase";
            section.wrong("key", &format!("names {}, which {problem}", path("key")), hint);
        }
        Err(PemProblem::Mismatch) => {
            let problem =
                format!("names {}, which is not the key of the certificate in {}", path("key"), path("cert"));
            section.wrong("key", &problem, "put both in place together: one of the two is an older one");
        }
    }
    None
}

fn rsa_key(section: &Section<'_>, sources: Sources<'_>) -> Option<Arc<PasswordKey>> {
    let pem = secret::read_pem(section, "rsa_key", sources)?;
    let path = section.text("rsa_key").unwrap_or_default();
    PasswordKey::from_pem(pem.expose())
        .map(Arc::new)
        .map_err(|_| {
            let hint = "a PEM file with an RSA key of 2048 to 8192 bits and no passphrase: \
                        openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 makes one";
            section.wrong("rsa_key", &format!("names {path}, which has no RSA key that can be used"), hint);
        })
        .ok()
}

fn authorities(section: &Section<'_>, key: &str, sources: Sources<'_>) -> Option<Authorities> {
    let pem = secret::read_pem(section, key, sources)?;
    let path = section.text(key).unwrap_or_default();
    Authorities::from_pem(pem.expose(), path)
        .map_err(|problem| {
            let hint = "a PEM file with the certificates of the authorities that are trusted";
            section.wrong(key, &format!("names {path}, which {problem}"), hint);
        })
        .ok()
}
