//! Host keys: what a machine proves to be itself with.

use std::{fmt, str::FromStr};

/// The public key of a host, as it was offered or confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostKey {
    algorithm: String,
    line: String,
    fingerprint: Fingerprint,
}

/// The SHA-256 of a public key, as OpenSSH prints it: `SHA256:` and 43 characters of base64.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(String);

/// A text that is no fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no fingerprint: it looks like SHA256:… with 43 characters, as `ssh-keygen -lf` prints it"
)]
pub struct FingerprintError(String);

/// The key that a host must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPin {
    fingerprint: Fingerprint,
    algorithm: Option<String>,
}

impl HostKey {
    /// Makes a key of its kind, its line and its fingerprint, which must be of one key.
    pub const fn new(algorithm: String, line: String, fingerprint: Fingerprint) -> Self {
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

    /// Returns its fingerprint.
    pub const fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }
}

impl HostPin {
    /// Pins a key of which the fingerprint is known. Where the kind of key is known too, the host is
    /// asked for that kind first; otherwise each kind is asked for until one fits.
    pub const fn new(fingerprint: Fingerprint, algorithm: Option<String>) -> Self {
        Self { fingerprint, algorithm }
    }

    /// Returns the fingerprint of the key.
    pub const fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// Returns the kind of key, where it is known.
    pub fn algorithm(&self) -> Option<&str> {
        self.algorithm.as_deref()
    }
}

impl From<&HostKey> for HostPin {
    fn from(key: &HostKey) -> Self {
        Self::new(key.fingerprint.clone(), Some(key.algorithm.clone()))
    }
}

impl Fingerprint {
    /// Returns the fingerprint as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let is_base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/');
        let digits = text.strip_prefix("SHA256:").map(|digits| digits.trim_end_matches('='));
        match digits {
            Some(digits) if digits.len() == 43 && digits.chars().all(is_base64) => {
                Ok(Self(format!("SHA256:{digits}")))
            }
            Some(_) | None => Err(FingerprintError(text.to_owned())),
        }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// As one shows it to a person.
impl fmt::Display for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.fingerprint, self.algorithm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_read_as_openssh_prints_it() {
        let text = "SHA256:uNiVztksCsDhcc0u9e8BgrJXVGDv3Kl0ChoEW7CPiJo";

        assert_eq!(text.parse::<Fingerprint>().unwrap().as_str(), text);
        assert_eq!(format!("{text}=").parse::<Fingerprint>().unwrap().as_str(), text);
    }

    #[test]
    fn other_texts_are_no_fingerprints() {
        for text in
            ["", "SHA256:", "MD5:16:27:ac:a5:76:28:2d:36:63:1b:56:4d:eb:df:a6:48", "SHA256:abc"]
        {
            assert!(text.parse::<Fingerprint>().is_err(), "{text}");
        }
    }
}
