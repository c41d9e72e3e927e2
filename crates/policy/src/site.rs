//! The policy of one site on one node.

use ipnet::IpNet;
use portway_model::{
    HostPattern, Id, Name, Site,
    site::{
        Action, Limits, LogSettings, Maintenance, PathRules, Route, Snippets, TlsVersion, Upstream,
    },
};
use serde::{Deserialize, Serialize};

use crate::Digest;

/// The version of the format in which edges are given sites. A reader takes its own and the one
/// before.
///
/// | format | what it added |
/// |---|---|
/// | 1 | |
/// | 2 | ways to choose, watch and protect targets; splits, mirrors, limits, spellings of paths; limits of requests; maintenance; caches |
///
/// A site is written in the oldest format that says all of it ([`SitePolicy::least_format`]). So an
/// edge of the version before serves every site that it can serve rightly, and refuses, by itself,
/// one that it would serve wrongly because it does not know a setting.
pub const FORMAT: u32 = 2;

/// The oldest format that is read.
pub const OLDEST_FORMAT: u32 = FORMAT - 1;

/// The format of the first edges that know [`NodeSettings::sticky_key`].
pub const STICKY_SINCE: u32 = 2;

/// Everything a node must know to serve one site. Its JSON is the object an edge keeps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SitePolicy {
    /// The oldest format that says all of it, at most [`FORMAT`].
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
    /// What happens to which requests, in the order in which they are tried. Passwords are hashes,
    /// and the keys of client certificates are the keys themselves.
    pub routes: Vec<Route>,
    /// How much and how fast clients may send and must take.
    #[serde(default, skip_serializing_if = "Limits::are_usual")]
    pub limits: Limits,
    /// Which spellings of a path are taken.
    #[serde(default, skip_serializing_if = "PathRules::are_usual")]
    pub paths: PathRules,
    /// What goes as it is to engines that are not Portway's own; an edge has nothing of it.
    #[serde(default, skip_serializing_if = "Snippets::is_empty")]
    pub snippets: Snippets,
    /// Set while the site is worked on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Maintenance>,
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
    /// What signs the cookies that keep clients where they are. Edges with the same key know each
    /// other's cookies; one that is given none makes one up at its start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky_key: Option<StickyKey>,
    /// Whether balancers that ask are told to send nothing new.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub draining: bool,
}

/// A key that signs the cookies that keep clients with their targets.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StickyKey([u8; 32]);

/// A text that is no sticky key. It is not repeated: it may be most of one.
#[derive(Debug, thiserror::Error)]
#[error("a sticky key has 64 hexadecimal digits")]
pub struct StickyKeyError;

impl SitePolicy {
    /// Returns the digest of the policy's canonical bytes.
    pub fn digest(&self) -> Digest {
        digest_of(self)
    }

    /// Returns the oldest format that says all of the site. What an edge of the first format does not
    /// know counts when it is not as usual; what is as usual is not even written.
    pub fn least_format(&self) -> u32 {
        let is_first = self.limits.are_usual()
            && self.paths.are_usual()
            && self.maintenance.is_none()
            && self.routes.iter().all(is_of_first_format);
        if is_first { OLDEST_FORMAT } else { FORMAT }
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

fn is_of_first_format(route: &Route) -> bool {
    let is_plain = |upstream: &Upstream| *upstream == upstream.of_first_format();
    let filters = &route.filters;
    filters.mirror.is_none()
        && filters.rate_limits.is_empty()
        && filters.connection_limit.is_none()
        && filters.cache.is_none()
        && match &route.action {
            Action::Proxy(upstream) => is_plain(upstream),
            Action::Split(_) => false,
            Action::Files(files) => !files.spa && !files.listing && files.precompressed,
            Action::Redirect(_) | Action::Respond(_) => true,
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

impl StickyKey {
    /// Wraps a key.
    pub const fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// Returns the key.
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl TryFrom<String> for StickyKey {
    type Error = StickyKeyError;

    fn try_from(text: String) -> Result<Self, StickyKeyError> {
        let mut key = [0; 32];
        hex::decode_to_slice(&text, &mut key).map_err(|_| StickyKeyError)?;
        Ok(Self(key))
    }
}

impl From<StickyKey> for String {
    fn from(key: StickyKey) -> Self {
        hex::encode(key.0)
    }
}

impl std::fmt::Debug for StickyKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StickyKey(…)")
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

    fn policy(spec: &str) -> SitePolicy {
        let spec: portway_model::SiteSpec = serde_json::from_str(spec).unwrap();
        let (site, findings) = portway_model::site::check(&"blog".parse().unwrap(), &spec);
        let site = site.unwrap_or_else(|| panic!("{findings:?}"));
        crate::compile(Id::from_uuid(uuid::Uuid::nil()), &site, &crate::CompileInput::default()).0
    }

    #[test]
    fn a_site_that_an_older_edge_serves_rightly_has_the_older_format() {
        for spec in [
            r#"{"hosts": ["a.example"], "to": "5000"}"#,
            r#"{"hosts": ["a.example"], "to": ["a:80", "b:80"]}"#,
            r#"{"hosts": ["a.example"], "to": {"targets": ["a:80"], "max_in_flight": 5}}"#,
            r#"{"hosts": ["a.example"], "files": "/srv"}"#,
            r#"{"hosts": ["a.example"], "to": {"targets": ["https://a"], "tls": {"verify": false}}}"#,
        ] {
            let policy = policy(spec);
            assert_eq!(policy.format, 1, "{spec}");
            let text = serde_json::to_string(&policy).unwrap();
            for newer in ["eject", "retries", "buffer", "pool", "limits", "paths", "precompressed"]
            {
                assert!(!text.contains(newer), "{newer} in {text}");
            }
        }
    }

    #[test]
    fn a_site_that_an_older_edge_would_serve_wrongly_has_the_newer_format() {
        for spec in [
            r#"{"hosts": ["a.example"], "split": [{"to": "5000"}, {"to": "6000"}]}"#,
            r#"{"hosts": ["a.example"], "to": "5000", "mirror": {"to": "6000"}}"#,
            r#"{"hosts": ["a.example"], "to": "5000", "cache": "10m"}"#,
            r#"{"hosts": ["a.example"], "to": "5000", "limits": {"headers": 20}}"#,
            r#"{"hosts": ["a.example"], "to": "5000", "rate_limit": "100/min"}"#,
            r#"{"hosts": ["a.example"], "to": "5000", "connection_limit": 20}"#,
            r#"{"hosts": ["a.example"], "to": "5000", "maintenance": true}"#,
            r#"{"hosts": ["a.example"], "to": "5000", "paths": {"encoded_slash": "allow"}}"#,
            r#"{"hosts": ["a.example"], "to": ["a:80", {"to": "b:80", "backup": true}]}"#,
            r#"{"hosts": ["a.example"], "to": [{"to": "a:80", "weight": 2}, "b:80"]}"#,
            r#"{"hosts": ["a.example"], "to": {"targets": ["a:80"], "sticky": true}}"#,
            r#"{"hosts": ["a.example"], "to": {"targets": ["a:80"], "proxy_protocol": "v1"}}"#,
            r#"{"hosts": ["a.example"], "to": {"targets": ["a:80"], "buffer": false}}"#,
            r#"{"hosts": ["a.example"], "files": {"root": "/srv", "spa": true}}"#,
        ] {
            let policy = policy(spec);
            assert_eq!(policy.format, 2, "{spec}");
            let text = serde_json::to_string(&policy).unwrap();
            assert_eq!(serde_json::from_str::<SitePolicy>(&text).unwrap(), policy, "{spec}");
        }
    }

    #[test]
    fn a_client_certificate_without_its_key_is_a_finding_and_with_it_whole() {
        let spec = r#"{"hosts": ["a.example"], "to": {"targets": ["https://a"], "tls": {
            "client_certificate": "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----",
            "client_key": {"secret": "credential-1"}}}}"#;
        let spec: portway_model::SiteSpec = serde_json::from_str(spec).unwrap();
        let (site, _) = portway_model::site::check(&"blog".parse().unwrap(), &spec);
        let site = site.unwrap();
        let id = Id::from_uuid(uuid::Uuid::nil());
        let mut input = crate::CompileInput::default();
        let (_, findings) = crate::compile(id, &site, &input);
        assert!(findings.iter().any(portway_model::Finding::is_error));
        input.client_keys.insert("credential-1".to_owned(), "KEY".to_owned());
        let (policy, findings) = crate::compile(id, &site, &input);
        assert_eq!(findings, []);
        let Action::Proxy(upstream) = &policy.routes[0].action else { panic!("a proxy") };
        let key = portway_model::site::ClientKey::Pem("KEY".to_owned());
        assert_eq!(upstream.client.as_ref().unwrap().key, key);
    }

    #[test]
    fn a_sticky_key_is_kept_and_never_shown() {
        let key = StickyKey::new([171; 32]);
        let settings = NodeSettings { sticky_key: Some(key), ..NodeSettings::default() };
        assert!(!format!("{settings:?}").contains("171"));
        let text = serde_json::to_string(&settings).unwrap();
        assert_eq!(serde_json::from_str::<NodeSettings>(&text).unwrap(), settings);
        let without = serde_json::to_string(&NodeSettings::default()).unwrap();
        assert!(!without.contains("sticky"), "an older edge reads the same bytes: {without}");
    }

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
