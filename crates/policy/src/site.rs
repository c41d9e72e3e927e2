//! The policy of one site on one node.

use ipnet::IpNet;
use portway_model::{
    HostPattern, Id, Name, Site,
    site::{LogSettings, Route, TlsVersion},
};
use serde::{Deserialize, Serialize};

use crate::Digest;

/// The version of the format in which edges are given their content. A reader takes its own and
/// the one before.
pub const FORMAT: u32 = 1;

/// Everything a node must know to serve one site. Its JSON is the object an edge keeps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SitePolicy {
    /// [`FORMAT`] of the writer.
    pub format: u32,
    /// The site.
    pub id: Id<Site>,
    /// Its name, for logs and people.
    pub name: Name,
    /// What it answers to.
    pub hosts: Vec<HostPattern>,
    /// HTTPS; nothing means plain HTTP only.
    pub https: Option<HttpsPolicy>,
    /// How its logs are written.
    pub log: LogSettings,
    /// What happens to which requests, in the order in which they are tried. Passwords are hashes.
    pub routes: Vec<Route>,
    /// Set while an administrator keeps the site from being used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked: Option<Blocked>,
    /// Where upstreams may lie; nothing means anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guard: Option<NetworkGuard>,
}

/// How a node serves HTTPS for a site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HttpsPolicy {
    /// Whether plain HTTP is sent on to HTTPS.
    pub redirect: bool,
    /// The oldest TLS version.
    pub min_version: TlsVersion,
    /// Whether HTTP/2 is offered.
    pub http2: bool,
    /// The certificate; nothing while there is none yet, then handshakes fail for this site alone.
    pub certificate: Option<Digest>,
}

/// A site that is kept from being used: every request is answered 403.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocked {
    /// What its visitors read.
    pub reason: String,
}

/// Bounds of upstream connections, judged on the address that is dialled, after names are looked
/// up. An address is allowed when it is in none of `denied` and, unless `allowed` is empty, in one
/// of `allowed`. Networks listed in `allowed` win over `denied`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkGuard {
    /// The only networks that may be dialled; empty means all but `denied`.
    pub allowed: Vec<IpNet>,
    /// Networks that may not be dialled.
    pub denied: Vec<IpNet>,
}

/// A certificate with its key, referred to by sites through the digest of its JSON.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateObject {
    /// The chain in PEM, leaf first.
    pub chain_pem: String,
    /// The private key in PEM (PKCS #8).
    pub key_pem: String,
}

/// What holds for a node as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSettings {
    /// Networks whose `X-Forwarded-*` headers are believed.
    #[serde(default)]
    pub trusted_proxies: Vec<IpNet>,
    /// The certificate for handshakes that name no site; without it they are refused.
    #[serde(default)]
    pub fallback_certificate: Option<Digest>,
}

impl SitePolicy {
    /// Returns the digest of the policy's canonical bytes.
    pub fn digest(&self) -> Digest {
        digest_of(self)
    }

    /// Returns the certificates that the site needs.
    pub fn certificates(&self) -> impl Iterator<Item = Digest> + '_ {
        self.https.iter().filter_map(|https| https.certificate)
    }

    /// Returns the folder of the site's logs below the node's log folder. The end of the id keeps
    /// the logs of a later site of the same name apart.
    pub fn log_folder(&self) -> String {
        log_folder(&self.name, self.id)
    }
}

/// Returns the folder of a site's logs below the node's log folder.
pub fn log_folder(name: &Name, id: Id<Site>) -> String {
    let id = id.uuid().simple().to_string();
    let tail: String = id.chars().skip(24).collect();
    format!("{name}-{tail}")
}

impl CertificateObject {
    /// Returns the digest that sites refer to.
    pub fn digest(&self) -> Digest {
        digest_of(self)
    }
}

impl NodeSettings {
    /// Returns the digest of the settings.
    pub fn digest(&self) -> Digest {
        digest_of(self)
    }
}

/// The JSON of these types is built from ordered maps only, so it is canonical.
#[expect(
    clippy::expect_used,
    reason = "these types have string keys only and no custom serializer"
)]
fn digest_of<T: Serialize>(value: &T) -> Digest {
    Digest::of(&serde_json::to_vec(value).expect("policy types serialize"))
}

impl NetworkGuard {
    /// Tells whether an address may be dialled.
    pub fn permits(&self, address: std::net::IpAddr) -> bool {
        let address = address.to_canonical();
        let within = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&address));
        within(&self.allowed) || (self.allowed.is_empty() && !within(&self.denied))
    }
}

impl std::fmt::Debug for CertificateObject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CertificateObject").field("digest", &self.digest()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_address_does_not_slip_past_the_guard() {
        let guard = NetworkGuard { allowed: vec![], denied: vec!["127.0.0.0/8".parse().unwrap()] };
        assert!(!guard.permits("::ffff:127.0.0.1".parse().unwrap()));
        assert!(guard.permits("192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn an_allowed_network_is_the_only_one() {
        let guard = NetworkGuard {
            allowed: vec!["10.0.0.0/8".parse().unwrap()],
            denied: vec!["10.0.0.0/8".parse().unwrap()],
        };
        assert!(guard.permits("10.1.2.3".parse().unwrap()));
        assert!(!guard.permits("192.0.2.1".parse().unwrap()));
    }
}
