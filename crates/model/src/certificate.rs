//! Certificates as the control plane observes them. They change by themselves and have no revision.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{HostPattern, Id};

/// A certificate that Portway holds. The private key is kept sealed, apart from this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// Its id.
    pub id: Id<Certificate>,
    /// Who issued it.
    pub source: CertificateSource,
    /// The names and addresses it is for, sorted.
    pub names: Vec<HostPattern>,
    /// Not valid before.
    pub not_before: Timestamp,
    /// Not valid after.
    pub not_after: Timestamp,
    /// SHA-256 of the leaf in DER, in lower-case hexadecimal.
    pub fingerprint: String,
    /// The chain in PEM, leaf first.
    pub chain_pem: String,
}

/// Who issues a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateSource {
    /// The root of Portway's own authority.
    LocalRoot,
    /// A leaf of Portway's own authority.
    Local,
}
