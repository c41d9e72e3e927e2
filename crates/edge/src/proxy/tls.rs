//! TLS to targets: whom to believe, and who we are towards them.

use std::sync::{Arc, OnceLock};

use portway_model::site::{
    ClientCertificate, ClientKey, Target, Upstream, UpstreamProtocol, UpstreamTls,
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::{CryptoProvider, aws_lc_rs},
    sign::{CertifiedKey, SingleCertAndKey},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _};

use super::unverified::AcceptAnything;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// TLS to a target.
pub(crate) struct PeerTls {
    /// The name asked for and verified.
    pub(crate) name: ServerName<'static>,
    trust: Trust,
    identity: Option<Arc<CertifiedKey>>,
    alpn: Option<&'static [u8]>,
    config: OnceLock<Arc<ClientConfig>>,
}

/// Whom to believe.
enum Trust {
    /// The authorities of the machine.
    Machine,
    /// These authorities.
    Own(Arc<RootCertStore>),
    /// Anyone.
    Anyone,
}

/// Why TLS to a target cannot be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpstreamTlsError {
    /// The authorities are not PEM or not certificates.
    #[error("the authorities cannot be read")]
    BadAuthority(#[source] BoxError),
    /// There is none among them.
    #[error("there is no certificate among the authorities")]
    NoAuthority,
    /// The name to verify is not one.
    #[error("`{0}` is not a name that a certificate can carry")]
    BadServerName(String),
    /// The client certificate is not PEM or not a certificate.
    #[error("the client certificate cannot be read")]
    BadClientCertificate(#[source] BoxError),
    /// Its key is not PEM, of an unknown kind, or not there.
    #[error("the key of the client certificate cannot be used")]
    BadClientKey(#[source] BoxError),
    /// They do not belong together.
    #[error("the key does not belong to the client certificate")]
    KeyMismatch,
    /// The machine's authorities or the parameters cannot be used.
    #[error("TLS to upstreams cannot be set up")]
    Config(#[source] rustls::Error),
}

/// A key that was never filled in.
#[derive(Debug, thiserror::Error)]
#[error("it is a reference to a secret, and not the key")]
struct NoKey;

impl PeerTls {
    /// Returns TLS as an upstream says.
    pub(super) fn of(
        target: &Target,
        tls: &UpstreamTls,
        upstream: &Upstream,
    ) -> Result<Self, UpstreamTlsError> {
        let name = match (&tls.server_name, target) {
            (Some(name), _) => name.as_str(),
            (None, Target::Tcp(address)) => address.host.as_str(),
            (None, Target::Unix(_)) => "localhost",
        };
        let trust = match (&tls.ca_pem, tls.verify) {
            (_, false) => Trust::Anyone,
            (Some(pem), true) => Trust::Own(Arc::new(authorities(pem)?)),
            (None, true) => Trust::Machine,
        };
        Ok(Self {
            name: ServerName::try_from(name.to_owned())
                .map_err(|_| UpstreamTlsError::BadServerName(name.to_owned()))?,
            trust,
            identity: upstream.client.as_ref().map(identity).transpose()?.map(Arc::new),
            alpn: Some(match upstream.protocol {
                UpstreamProtocol::Http1 => b"http/1.1",
                UpstreamProtocol::H2c => b"h2",
            }),
            config: OnceLock::new(),
        })
    }

    /// Returns the configuration of connections. The first call may read the machine's
    /// authorities from the disk.
    pub(crate) fn config(&self) -> Result<Arc<ClientConfig>, UpstreamTlsError> {
        if let Some(config) = self.config.get() {
            return Ok(Arc::clone(config));
        }
        let provider = provider();
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(UpstreamTlsError::Config)?;
        let builder = match &self.trust {
            Trust::Machine => builder.with_root_certificates(machine_roots()),
            Trust::Own(roots) => builder.with_root_certificates(Arc::clone(roots)),
            Trust::Anyone => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AcceptAnything::new(&provider))),
        };
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let identity = SingleCertAndKey::from(Arc::clone(identity));
                builder.with_client_cert_resolver(Arc::new(identity))
            }
        };
        config.alpn_protocols = self.alpn.iter().map(|name| name.to_vec()).collect();
        Ok(Arc::clone(self.config.get_or_init(|| Arc::new(config))))
    }

    /// Tells whether [`Self::config`] returns at once.
    pub(crate) fn is_ready(&self) -> bool {
        self.config.get().is_some()
    }
}

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(aws_lc_rs::default_provider())))
}

fn authorities(pem: &str) -> Result<RootCertStore, UpstreamTlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate =
            certificate.map_err(|error| UpstreamTlsError::BadAuthority(Box::new(error)))?;
        roots.add(certificate).map_err(|error| UpstreamTlsError::BadAuthority(Box::new(error)))?;
    }
    if roots.is_empty() { Err(UpstreamTlsError::NoAuthority) } else { Ok(roots) }
}

fn identity(client: &ClientCertificate) -> Result<CertifiedKey, UpstreamTlsError> {
    let chain = CertificateDer::pem_slice_iter(client.chain_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| UpstreamTlsError::BadClientCertificate(Box::new(error)))?;
    let key = match &client.key {
        ClientKey::Pem(pem) => PrivateKeyDer::from_pem_slice(pem.as_bytes())
            .map_err(|error| UpstreamTlsError::BadClientKey(Box::new(error)))?,
        ClientKey::Secret(_) => return Err(UpstreamTlsError::BadClientKey(Box::new(NoKey))),
    };
    let provider = provider();
    let key = provider
        .key_provider
        .load_private_key(key)
        .map_err(|error| UpstreamTlsError::BadClientKey(Box::new(error)))?;
    let identity = CertifiedKey::new(chain, key);
    match identity.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {
            Ok(identity)
        }
        Err(rustls::Error::InconsistentKeys(_)) => Err(UpstreamTlsError::KeyMismatch),
        Err(error) => Err(UpstreamTlsError::BadClientCertificate(Box::new(error))),
    }
}

/// Returns the authorities that the machine trusts, read once. Without any, every verification
/// fails, which the log explains.
fn machine_roots() -> Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let load = || {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!(%error, "cannot read some of the machine's certificate authorities");
        }
        let mut roots = RootCertStore::empty();
        let (added, ignored) = roots.add_parsable_certificates(found.certs);
        tracing::debug!(added, ignored, "read the machine's certificate authorities");
        Arc::new(roots)
    };
    Arc::clone(ROOTS.get_or_init(load))
}
