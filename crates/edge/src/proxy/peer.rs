//! One target of an upstream, with everything that makes a connection to it what it is.

use std::sync::{Arc, OnceLock};

use http::HeaderValue;
use portway_model::site::{Target, Upstream, UpstreamProtocol, UpstreamTls};
use portway_policy::{Digest, NetworkGuard};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};

use super::unverified::AcceptAnything;

/// One target of an upstream.
pub(crate) struct Peer {
    /// Where it is.
    pub(crate) target: Target,
    /// Equal for connections that may stand in for each other. The guard is part of it: a
    /// connection that one site may make must not serve another site that may not.
    pub(crate) key: Arc<str>,
    /// What is spoken with it.
    pub(crate) protocol: UpstreamProtocol,
    /// The Host header by which it knows itself.
    pub(crate) authority: HeaderValue,
    /// TLS to it.
    pub(crate) tls: Option<PeerTls>,
    /// Where it may lie.
    pub(crate) guard: Option<NetworkGuard>,
}

/// TLS to a target.
pub(crate) struct PeerTls {
    /// The name asked for and verified.
    pub(crate) name: ServerName<'static>,
    trust: Trust,
    alpn: &'static [u8],
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
    BadAuthority(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// There is none among them.
    #[error("there is no certificate among the authorities")]
    NoAuthority,
    /// The name to verify is not one.
    #[error("`{0}` is not a name that a certificate can carry")]
    BadServerName(String),
    /// The target's name cannot stand in a Host header.
    #[error("`{0}` cannot stand in a Host header")]
    BadHost(String),
    /// The machine's authorities or the parameters cannot be used.
    #[error("TLS to upstreams cannot be set up")]
    Config(#[source] rustls::Error),
}

impl Peer {
    /// Returns a target with all that its upstream says.
    pub(crate) fn of(
        target: &Target,
        upstream: &Upstream,
        guard: Option<&NetworkGuard>,
    ) -> Result<Self, UpstreamTlsError> {
        let authority = match target {
            Target::Tcp(address) => address.to_string(),
            Target::Unix(_) => "localhost".to_owned(),
        };
        let tls = upstream.tls.as_ref();
        let tls = tls.map(|tls| PeerTls::of(target, tls, upstream.protocol)).transpose()?;
        Ok(Self {
            target: target.clone(),
            key: key(target, upstream, guard).into(),
            protocol: upstream.protocol,
            authority: HeaderValue::from_str(&authority)
                .map_err(|_| UpstreamTlsError::BadHost(authority))?,
            tls,
            guard: guard.cloned(),
        })
    }
}

fn key(target: &Target, upstream: &Upstream, guard: Option<&NetworkGuard>) -> String {
    let differs = format!("{:?} {:?} {guard:?}", upstream.protocol, upstream.tls);
    format!("{target} {}", Digest::of(differs.as_bytes()))
}

impl PeerTls {
    fn of(
        target: &Target,
        tls: &UpstreamTls,
        protocol: UpstreamProtocol,
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
            alpn: match protocol {
                UpstreamProtocol::Http1 => b"http/1.1",
                UpstreamProtocol::H2c => b"h2",
            },
            config: OnceLock::new(),
        })
    }

    /// Returns the configuration of connections. The first call may read the machine's
    /// authorities from the disk.
    pub(crate) fn config(&self) -> Result<Arc<ClientConfig>, UpstreamTlsError> {
        if let Some(config) = self.config.get() {
            return Ok(Arc::clone(config));
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
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
        let mut config = builder.with_no_client_auth();
        config.alpn_protocols = vec![self.alpn.to_vec()];
        Ok(Arc::clone(self.config.get_or_init(|| Arc::new(config))))
    }

    /// Tells whether [`Self::config`] returns at once.
    pub(crate) fn is_ready(&self) -> bool {
        self.config.get().is_some()
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sites_with_different_guards_never_share_a_connection() {
        let target = Target::Tcp("127.0.0.1:80".parse().unwrap());
        let upstream = Upstream::of(target.clone());
        let guard = NetworkGuard { allowed: vec![], denied: vec!["127.0.0.0/8".parse().unwrap()] };
        let free = Peer::of(&target, &upstream, None).unwrap();
        let bound = Peer::of(&target, &upstream, Some(&guard)).unwrap();
        assert_ne!(free.key, bound.key);
        assert_eq!(free.key, Peer::of(&target, &upstream, None).unwrap().key);
    }

    #[test]
    fn authorities_that_are_none_are_refused() {
        let target = Target::Tcp("a.example:443".parse().unwrap());
        let tls = UpstreamTls { verify: true, ca_pem: Some("nothing".into()), server_name: None };
        let upstream = Upstream { tls: Some(tls), ..Upstream::of(target.clone()) };
        let refused = Peer::of(&target, &upstream, None).err().unwrap();
        assert!(matches!(refused, UpstreamTlsError::NoAuthority), "{refused}");
    }
}
