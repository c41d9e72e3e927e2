//! Host keys: what a machine proves to be itself with.

use std::fmt;

use portway_model::node::HostKeyPin;

/// The public key of a host, as it was offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostKey {
    algorithm: String,
    line: String,
    fingerprint: HostKeyPin,
}

impl HostKey {
    pub(crate) const fn new(algorithm: String, line: String, fingerprint: HostKeyPin) -> Self {
        Self { algorithm, line, fingerprint }
    }

    /// Returns the kind of key: `ssh-ed25519`.
    pub fn algorithm(&self) -> &str {
        &self.algorithm
    }

    /// Returns the key as it stands in files of OpenSSH: `ssh-ed25519 AAAA…`.
    pub fn line(&self) -> &str {
        &self.line
    }

    /// Returns its fingerprint, as OpenSSH prints it and as a node is pinned to it.
    pub const fn fingerprint(&self) -> &HostKeyPin {
        &self.fingerprint
    }
}

/// As one shows it to a person.
impl fmt::Display for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.fingerprint, self.algorithm)
    }
}
