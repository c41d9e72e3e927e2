//! A certificate authority that lives as long as a test.

use std::sync::Arc;

use anyhow::Context as _;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    server::{NoClientAuth, WebPkiClientVerifier, danger::ClientCertVerifier},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

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

    /// Returns the TLS of a server of this name, with the protocols that it agrees to.
    pub fn server(&self, name: &str, protocols: &[&str]) -> anyhow::Result<Arc<ServerConfig>> {
        self.server_for(Arc::new(NoClientAuth), name, protocols)
    }

    /// Returns the TLS of a server that serves nobody without a certificate of this authority.
    pub fn demanding_server(&self, name: &str) -> anyhow::Result<Arc<ServerConfig>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root())?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        self.server_for(verifier.build()?, name, &[])
    }

    fn server_for(
        &self,
        clients: Arc<dyn ClientCertVerifier>,
        name: &str,
        protocols: &[&str],
    ) -> anyhow::Result<Arc<ServerConfig>> {
        let issued = self.issue(&[name])?;
        let chain = CertificateDer::pem_slice_iter(issued.chain_pem.as_bytes());
        let key = PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes())?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(clients)
            .with_single_cert(chain.collect::<Result<_, _>>()?, key)?;
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(Arc::new(config))
    }
}
