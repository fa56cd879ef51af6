//! Certificates for tests of TLS: authorities of their own and what these sign. Knows no servers.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};

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
