use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::*;

/// An authority, and what it signs.
pub(crate) struct Signer(CertifiedIssuer<'static, KeyPair>);

impl Signer {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn authorities(&self) -> Authorities {
        Authorities::from_pem(self.0.pem().as_bytes(), "ca.pem").unwrap()
    }

    /// Certificate and key, in PEM.
    fn sign(&self, host: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }

    pub(crate) fn acceptor(&self, host: &str) -> Acceptor {
        let (certificate, key) = self.sign(host);
        let identity = Identity::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap();
        Acceptor::new(identity, None, MinVersion::Tls12).unwrap()
    }
}

/// A server with a certificate that signed itself, as an authority's or not, and who trusts just that.
pub(crate) fn signed_by_itself(is_ca: bool) -> (Acceptor, Authorities) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    if is_ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    let certificate = params.self_signed(&key).unwrap().pem();
    let identity = identity(&certificate, &key.serialize_pem()).unwrap();
    let authorities = Authorities::from_pem(certificate.as_bytes(), "ca.pem").unwrap();
    (Acceptor::new(identity, None, MinVersion::Tls12).unwrap(), authorities)
}

fn identity(certificate: &str, key: &str) -> Result<Identity, PemProblem> {
    Identity::from_pem(certificate.as_bytes(), key.as_bytes())
}

#[test]
fn what_is_no_certificate_or_no_key_is_told() {
    let signer = Signer::new();
    let (certificate, key) = signer.sign("localhost");
    let (_, other) = signer.sign("localhost");
    assert!(identity(&certificate, &key).is_ok());
    assert_eq!(identity(&certificate, &other), Err(PemProblem::Mismatch));
    let Err(PemProblem::Certificate(problem)) = identity("", &key) else { panic!("taken") };
    assert_eq!(problem, "has no certificate (in PEM)");
    let Err(PemProblem::Key(problem)) = identity(&certificate, &certificate) else { panic!("taken") };
    assert!(problem.starts_with("has no private key"), "{problem}");
    let Err(PemProblem::Certificate(problem)) = identity("-----BEGIN CERTIFICATE-----\n!\n", &key) else {
        panic!("taken")
    };
    assert!(problem.starts_with("is not PEM"), "{problem}");
    let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(identity(nonsense, &key), Err(PemProblem::Certificate(_))));
    let nonsense = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    assert!(matches!(identity(&certificate, nonsense), Err(PemProblem::Key(_))));
    assert!(Authorities::from_pem(b"", "f").is_err());
}

#[test]
fn parts_that_are_the_same_make_up_the_same() {
    let signer = Signer::new();
    let (certificate, key) = signer.sign("localhost");
    let (other_certificate, other_key) = signer.sign("localhost");
    let one = || identity(&certificate, &key).unwrap();
    let other = || identity(&other_certificate, &other_key).unwrap();
    let make = |identity, version| Acceptor::new(identity, None, version).unwrap();
    assert_eq!(make(one(), MinVersion::Tls12), make(one(), MinVersion::Tls12));
    assert_ne!(make(one(), MinVersion::Tls12), make(one(), MinVersion::Tls13));
    assert_ne!(make(one(), MinVersion::Tls12), make(other(), MinVersion::Tls12));
    let with = Acceptor::new(one(), Some(signer.authorities()), MinVersion::Tls12).unwrap();
    assert_ne!(make(one(), MinVersion::Tls12), with);

    let connect =
        |mode, of: &Signer| Connector::new(mode, Some(of.authorities()), MinVersion::Tls12).unwrap();
    let stranger = Signer::new();
    assert_eq!(connect(ServerTls::VerifyCa, &signer), connect(ServerTls::VerifyCa, &signer));
    assert_ne!(connect(ServerTls::VerifyCa, &signer), connect(ServerTls::VerifyIdentity, &signer));
    assert_ne!(connect(ServerTls::VerifyCa, &signer), connect(ServerTls::VerifyCa, &stranger));
    assert!(Connector::new(ServerTls::VerifyCa, None, MinVersion::Tls12).is_err());
}

#[test]
fn whether_tls_is_asked_for() {
    let tcp = Address::Tcp { host: "db1".to_owned(), port: 3306 };
    let unix = Address::Unix("/run/x.sock".into());
    for (mode, over_tcp, over_unix) in [
        (ServerTls::Disabled, Wanted::Off, Wanted::Off),
        (ServerTls::Preferred, Wanted::Preferred, Wanted::Off),
        (ServerTls::Required, Wanted::Required, Wanted::Required),
        (ServerTls::VerifyCa, Wanted::Required, Wanted::Required),
        (ServerTls::VerifyIdentity, Wanted::Required, Wanted::Required),
    ] {
        let authorities = mode.verifies().then(|| Signer::new().authorities());
        let connector = Connector::new(mode, authorities, MinVersion::Tls12).unwrap();
        assert_eq!((connector.wanted(&tcp), connector.wanted(&unix)), (over_tcp, over_unix), "{mode:?}");
        assert_eq!(connector.config(&tcp).is_some(), mode != ServerTls::Disabled);
    }
}
