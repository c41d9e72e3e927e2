//! One target of an upstream, with everything that makes a connection to it what it is.

use std::sync::Arc;

use http::HeaderValue;
use portway_model::{
    HostPort,
    site::{ClientKey, Pool, ProxyProtocol, Target, Upstream, UpstreamProtocol},
};
use portway_policy::{Digest, NetworkGuard};

use super::{
    destination::{self, Destination},
    passage::Passage,
    tls::{PeerTls, UpstreamTlsError},
};

/// One target of an upstream.
pub(crate) struct Peer {
    /// Where it is.
    pub(crate) target: Target,
    /// The same as logs tell it.
    pub(crate) label: Box<str>,
    /// The same for connections that may stand in for each other.
    pub(crate) destination: Arc<Destination>,
    /// What is spoken with it.
    pub(crate) protocol: UpstreamProtocol,
    /// The Host header by which it knows itself.
    pub(crate) authority: HeaderValue,
    /// TLS to it.
    pub(crate) tls: Option<PeerTls>,
    /// Where it may lie.
    pub(crate) guard: Option<NetworkGuard>,
    /// How its connections are kept.
    pub(crate) pool: Pool,
    /// The PROXY protocol with which they begin.
    pub(crate) proxy_protocol: Option<ProxyProtocol>,
}

/// Why a target cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerError {
    /// Its name cannot stand in a Host header.
    #[error("`{0}` cannot stand in a Host header")]
    BadHost(String),
    /// TLS to it cannot be set up.
    #[error(transparent)]
    Tls(#[from] UpstreamTlsError),
}

impl Peer {
    /// Returns a target with all that its upstream says.
    pub(crate) fn of(
        target: &Target,
        upstream: &Upstream,
        guard: Option<&NetworkGuard>,
    ) -> Result<Self, PeerError> {
        let authority = match target {
            Target::Tcp(address) => address.to_string(),
            Target::Unix(_) => "localhost".to_owned(),
        };
        let tls = upstream.tls.as_ref();
        let tls = tls.map(|tls| PeerTls::of(target, tls, upstream)).transpose()?;
        Ok(Self {
            target: target.clone(),
            label: target.to_string().into(),
            destination: destination::of(key(target, upstream, guard)),
            protocol: upstream.protocol,
            authority: HeaderValue::from_str(&authority)
                .map_err(|_| PeerError::BadHost(authority))?,
            tls,
            guard: guard.cloned(),
            pool: upstream.pool,
            proxy_protocol: upstream.proxy_protocol,
        })
    }

    /// Returns the name that is looked up for it, if it has one.
    pub(crate) fn name(&self) -> Option<&HostPort> {
        match &self.target {
            Target::Tcp(target) if target.ip().is_none() => Some(target),
            Target::Tcp(_) | Target::Unix(_) => None,
        }
    }

    /// Returns whom a connection to it must be made for, to serve this client.
    pub(crate) fn passage(&self, client: &Passage) -> Option<Passage> {
        self.proxy_protocol.map(|_| *client)
    }
}

/// Returns a text that is equal for connections that may stand in for each other. The guard is part
/// of it: a connection that one site may make must not serve another site that may not. So is what
/// the target is told of us, and how many connections there may be.
fn key(target: &Target, upstream: &Upstream, guard: Option<&NetworkGuard>) -> String {
    let Upstream { protocol, tls, client, pool, proxy_protocol, .. } = upstream;
    let client = client.as_ref().map(|client| {
        let (ClientKey::Pem(key) | ClientKey::Secret(key)) = &client.key;
        (&client.chain_pem, Digest::of(key.as_bytes()))
    });
    let differs = format!("{protocol:?} {tls:?} {client:?} {pool:?} {proxy_protocol:?} {guard:?}");
    format!("{target} {}", Digest::of(differs.as_bytes()))
}

#[cfg(test)]
mod tests {
    use portway_model::site::{ClientCertificate, UpstreamTls};

    use super::*;

    fn peer(upstream: &Upstream, guard: Option<&NetworkGuard>) -> Peer {
        Peer::of(&upstream.targets[0].to, upstream, guard).unwrap()
    }

    fn target() -> Target {
        Target::Tcp("a.example:443".parse().unwrap())
    }

    #[test]
    fn sites_with_different_guards_never_share_a_connection() {
        let upstream = Upstream::of(target());
        let guard = NetworkGuard { allowed: vec![], denied: vec!["127.0.0.0/8".parse().unwrap()] };
        let free = peer(&upstream, None);
        let bound = peer(&upstream, Some(&guard));
        assert_ne!(free.destination.id(), bound.destination.id());
        assert_eq!(free.destination.id(), peer(&upstream, None).destination.id());
    }

    #[test]
    fn what_a_target_is_told_keeps_connections_apart() {
        let usual = Upstream::of(target());
        let told = Upstream { proxy_protocol: Some(ProxyProtocol::V1), ..usual.clone() };
        let few = Pool { max_connections: Some(1), ..Pool::default() };
        let bounded = Upstream { pool: few, ..usual.clone() };
        let peers = [&usual, &told, &bounded].map(|upstream| peer(upstream, None));
        let ids: std::collections::BTreeSet<u64> =
            peers.iter().map(|peer| peer.destination.id()).collect();
        assert_eq!(ids.len(), 3);
    }

    #[test]
    fn authorities_and_client_certificates_that_are_none_are_refused() {
        let tls = UpstreamTls { verify: true, ca_pem: None, server_name: None };
        let upstream = Upstream { tls: Some(tls.clone()), ..Upstream::of(target()) };
        let refused = |upstream: &Upstream| Peer::of(&target(), upstream, None).err().unwrap();

        let tls = UpstreamTls { ca_pem: Some("nothing".into()), ..tls };
        let error = refused(&Upstream { tls: Some(tls), ..upstream.clone() });
        assert!(matches!(error, PeerError::Tls(UpstreamTlsError::NoAuthority)), "{error}");

        let client = |chain: &str, key: &str| {
            let key = ClientKey::Pem(key.to_owned());
            Some(ClientCertificate { chain_pem: chain.to_owned(), key })
        };
        let ca = portway_testkit::ca::TestCa::new().unwrap();
        let (one, two) = (ca.issue(&["one"]).unwrap(), ca.issue(&["two"]).unwrap());
        for (client, expected) in [
            (client("nothing", &one.key_pem), "the client certificate cannot be read"),
            (client(&one.chain_pem, "nothing"), "the key of the client certificate"),
            (client(&one.chain_pem, &two.key_pem), "the key does not belong"),
        ] {
            let error = refused(&Upstream { client, ..upstream.clone() }).to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        let client = client(&one.chain_pem, &one.key_pem);
        assert!(Peer::of(&target(), &Upstream { client, ..upstream }, None).is_ok());
    }
}
