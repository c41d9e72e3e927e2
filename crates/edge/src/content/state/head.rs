//! What routing needs of a site before its policy is read.

use portway_model::{
    HostPattern, Name,
    site::{Limits, TlsVersion},
};
use portway_policy::{Digest, SitePolicy};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{StateError, encode};

/// What routing needs of a site before its policy is read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Head {
    /// The digest of the policy.
    pub(crate) digest: Digest,
    /// The name of the site.
    pub(crate) name: Name,
    /// What it answers to.
    pub(crate) hosts: Vec<HostPattern>,
    /// How handshakes for it are answered; nothing means plain HTTP only.
    pub(crate) tls: Option<TlsHead>,
    /// One number per route that is equal for equal matches, so that conflicts on a shared host
    /// are found without reading the other sites.
    pub(crate) matches: Vec<u64>,
    /// Its limits, where they are not the usual ones: some count before the site is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) limits: Option<Box<Limits>>,
}

/// How handshakes for a site are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TlsHead {
    /// The certificate.
    pub(crate) certificate: Option<Digest>,
    /// The oldest TLS version.
    pub(crate) min_version: TlsVersion,
    /// Whether HTTP/2 is offered.
    pub(crate) http2: bool,
}

impl Head {
    /// Returns the head of a policy.
    pub(crate) fn of(policy: &SitePolicy) -> Result<Self, StateError> {
        let matches = policy.routes.iter().map(|route| {
            let bytes = encode("match", &route.matches)?;
            let digest = <[u8; 32]>::from(Sha256::digest(bytes));
            let first = digest.first_chunk().copied().unwrap_or_default();
            Ok(u64::from_le_bytes(first))
        });
        Ok(Self {
            digest: policy.digest(),
            name: policy.name.clone(),
            hosts: policy.hosts.clone(),
            tls: policy.https.as_ref().map(|https| TlsHead {
                certificate: https.certificate,
                min_version: https.min_version,
                http2: https.http2,
            }),
            matches: matches.collect::<Result<_, StateError>>()?,
            limits: (!policy.limits.are_usual()).then(|| Box::new(policy.limits.clone())),
        })
    }

    /// Returns the certificate that the site needs.
    pub(crate) fn certificate(&self) -> Option<Digest> {
        self.tls.and_then(|tls| tls.certificate)
    }
}
