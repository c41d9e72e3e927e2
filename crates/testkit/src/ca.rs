//! A certificate authority that lives as long as a test.

use anyhow::Context as _;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls_pki_types::CertificateDer;

/// A certificate authority.
pub struct TestCa {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate with its key, both in PEM.
#[derive(Clone, Debug)]
pub struct TestCertificate {
    /// The chain, leaf first.
    pub chain_pem: String,
    /// The private key (PKCS #8).
    pub key_pem: String,
}

impl TestCa {
    /// Makes an authority.
    pub fn new() -> anyhow::Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        Ok(Self { issuer })
    }

    /// Returns the authority's certificate in PEM.
    pub fn root_pem(&self) -> String {
        self.issuer.pem()
    }

    /// Returns the authority's certificate.
    pub fn root(&self) -> CertificateDer<'static> {
        self.issuer.der().clone()
    }

    /// Issues a certificate for names and addresses.
    pub fn issue(&self, names: &[&str]) -> anyhow::Result<TestCertificate> {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let key = KeyPair::generate()?;
        let params = CertificateParams::new(names).context("names of the certificate")?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(TestCertificate { chain_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }
}
