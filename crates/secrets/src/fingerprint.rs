//! References to secrets: what stands in a site where its secret stood.
//!
//! A reference is the same for the same secret in the same place, so that applying a file twice
//! changes nothing; and it is keyed, so that nobody can try passwords against an export. Its key is
//! not derived from the master key but random and sealed, because a rotation must not change
//! references.

use std::{fmt, str::FromStr};

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::{Context, FormatError, KeyRing, OpenError, RandomError, Redacted, Sealed, random};

/// The key from which references are made.
#[derive(Clone, Debug)]
pub struct FingerprintKey(Redacted<[u8; 32]>);

/// What a secret is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecretKind {
    /// The hash of a password of a site.
    Password,
    /// A private key of a certificate.
    PrivateKey,
    /// What an upstream wants to see: a password, a token, a client key.
    Credential,
}

/// Names a secret of this installation, for example `password-3f0c…` with 32 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference(String);

/// A text that is no reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a reference to a secret; write it as `portway export` gave it")]
pub struct ReferenceError(String);

/// The bytes of a digest that stand in a reference: 128 bits, far from any collision.
const DIGEST_LEN: usize = 16;

impl FingerprintKey {
    /// Makes a key.
    pub fn generate() -> Result<Self, RandomError> {
        Ok(Self(Redacted::new(*random::bytes()?)))
    }

    /// Seals the key, to be kept with the installation.
    pub fn seal(&self, ring: &KeyRing) -> Result<Sealed, RandomError> {
        ring.seal(&context(), self.0.expose())
    }

    /// Opens the key as it was kept.
    pub fn open(ring: &KeyRing, bytes: &[u8]) -> Result<Self, OpenError> {
        let plain = ring.open_bytes(&context(), bytes)?;
        let key = <[u8; 32]>::try_from(plain.expose().as_slice()).map_err(|_| {
            OpenError::Format { context: context(), source: FormatError::Truncated }
        })?;
        Ok(Self(Redacted::new(key)))
    }

    /// Returns the place at which the key is sealed, for resealing.
    pub fn context() -> Context {
        context()
    }

    /// Returns the reference of a secret. Equal secrets in different scopes have different ones.
    pub fn reference(&self, kind: SecretKind, scope: &str, value: &[u8]) -> Reference {
        let mut mac = self.mac();
        for part in [kind.as_str().as_bytes(), scope.as_bytes(), value] {
            // With its length before each part, no two lists of parts read the same.
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        let digest = mac.finalize().into_bytes();
        let digits: String = hex::encode(digest).chars().take(2 * DIGEST_LEN).collect();
        Reference(format!("{kind}-{digits}"))
    }

    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    fn mac(&self) -> Hmac<Sha256> {
        Hmac::new_from_slice(self.0.expose()).expect("any length")
    }
}

fn context() -> Context {
    Context::new("fingerprint-key", "installation")
}

impl SecretKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Password, Self::PrivateKey, Self::Credential];

    /// Returns the name of the kind, as references begin with it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::PrivateKey => "private-key",
            Self::Credential => "credential",
        }
    }
}

impl fmt::Display for SecretKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Reference {
    /// Returns the reference as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns what the secret is.
    pub fn kind(&self) -> Option<SecretKind> {
        kind_of(&self.0)
    }
}

/// Returns the kind that a text begins with, if the rest of it is a digest.
fn kind_of(text: &str) -> Option<SecretKind> {
    let (kind, digits) = text.rsplit_once('-')?;
    let is_digest = digits.len() == 2 * DIGEST_LEN
        && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    SecretKind::ALL.into_iter().find(|known| is_digest && known.as_str() == kind)
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        match kind_of(text) {
            Some(_) => Ok(Self(text.to_owned())),
            None => Err(ReferenceError(text.to_owned())),
        }
    }
}

impl TryFrom<String> for Reference {
    type Error = ReferenceError;

    fn try_from(text: String) -> Result<Self, ReferenceError> {
        text.parse()
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> Self {
        reference.0
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_reference_depends_on_key_kind_scope_and_value() {
        let key = FingerprintKey::generate().unwrap();
        let reference = key.reference(SecretKind::Password, "site", b"value");
        assert_eq!(reference, key.reference(SecretKind::Password, "site", b"value"));

        let other_key = FingerprintKey::generate().unwrap();
        for other in [
            other_key.reference(SecretKind::Password, "site", b"value"),
            key.reference(SecretKind::Credential, "site", b"value"),
            key.reference(SecretKind::Password, "sitev", b"alue"),
            key.reference(SecretKind::Password, "site", b"values"),
        ] {
            assert_ne!(reference, other);
        }
    }

    #[test]
    fn references_survive_a_rotation_of_the_master_key() {
        let ring = KeyRing::generate().unwrap();
        let key = FingerprintKey::generate().unwrap();
        let kept = key.seal(&ring).unwrap();

        let rotated = ring.rotate().unwrap();
        let kept = rotated.reseal(&FingerprintKey::context(), &kept).unwrap();
        let opened = FingerprintKey::open(&rotated.retire(), &kept.to_bytes()).unwrap();

        let reference = |key: &FingerprintKey| key.reference(SecretKind::Password, "s", b"v");
        assert_eq!(reference(&opened), reference(&key));
    }

    #[test]
    fn a_sealed_value_of_another_length_is_no_key() {
        let ring = KeyRing::generate().unwrap();
        let short = ring.seal(&FingerprintKey::context(), b"short").unwrap().to_bytes();
        assert!(matches!(FingerprintKey::open(&ring, &short), Err(OpenError::Format { .. })));
    }

    #[test]
    fn a_text_that_is_no_reference_is_refused() {
        let digits = "0".repeat(32);
        for text in ["", "password-", "password-12", &digits, "$2y$10$abc"] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
        assert!(format!("pony-{digits}").parse::<Reference>().is_err());
        assert!(format!("password-{}", "A".repeat(32)).parse::<Reference>().is_err());
    }

    proptest! {
        #[test]
        fn a_reference_is_read_as_written(scope: String, value: Vec<u8>, kind in 0..3_usize) {
            let kind = SecretKind::ALL[kind];
            let reference = FingerprintKey::generate().unwrap().reference(kind, &scope, &value);
            prop_assert_eq!(reference.to_string().parse(), Ok(reference.clone()));
            prop_assert_eq!(reference.kind(), Some(kind));
        }
    }
}
