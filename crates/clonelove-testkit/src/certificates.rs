//! Certificates for tests of TLS: authorities of their own and what these sign. Knows no servers.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// Who signs certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl Authority {
    /// A new one; each has another key.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(name: &str) -> Result<Self> {
        let mut params = named(name, &[])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Ok(Self(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?))
    }

    /// Its own certificate, in PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for these hosts (names or addresses); `name` is its subject.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn issue(&self, name: &str, hosts: &[&str]) -> Result<Issued> {
        self.sign(&named(name, hosts)?)
    }

    /// The same, but its time was over long ago.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn issue_expired(&self, name: &str, hosts: &[&str]) -> Result<Issued> {
        let mut params = named(name, hosts)?;
        (params.not_before, params.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
        self.sign(&params)
    }

    /// What a client trusts who trusts this authority: to be given to
    /// [`Connection::open_tls`](crate::Connection::open_tls).
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn trusted(&self) -> Result<Arc<ClientConfig>> {
        Ok(Arc::new(ClientConfig::builder().with_root_certificates(self.roots()?).with_no_client_auth()))
    }

    /// The same with a certificate of the client's own.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn trusted_by(&self, own: &Issued) -> Result<Arc<ClientConfig>> {
        let chain = vec![CertificateDer::from_pem_slice(own.certificate.as_bytes())?];
        let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes())?;
        let builder = ClientConfig::builder().with_root_certificates(self.roots()?);
        Ok(Arc::new(builder.with_client_auth_cert(chain, key)?))
    }

    fn roots(&self) -> Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone())?;
        Ok(roots)
    }

    fn sign(&self, params: &CertificateParams) -> Result<Issued> {
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.0)?;
        Ok(Issued { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

impl Issued {
    /// Writes `STEM.pem` and `STEM.key` into a folder, each at once, and gives their paths.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write(&self, folder: &Path, stem: &str) -> Result<(PathBuf, PathBuf)> {
        let paths = (folder.join(format!("{stem}.pem")), folder.join(format!("{stem}.key")));
        fs::write(&paths.0, &self.certificate)?;
        fs::write(&paths.1, &self.key)?;
        Ok(paths)
    }
}

fn named(name: &str, hosts: &[&str]) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(hosts.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}
