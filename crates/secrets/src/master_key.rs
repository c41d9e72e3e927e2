//! One master key, its id, and the keys derived from it.
//!
//! The key itself never encrypts or signs: every use has a sub-key of its own (HKDF-SHA256,
//! RFC 5869), so that a weakness in one use tells nothing about another.

use std::{fmt, str::FromStr};

use hkdf::Hkdf;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::{RandomError, Redacted, random};

/// The length of a master key in bytes.
pub(crate) const KEY_LEN: usize = 32;

/// 32 random bytes from which every key of an installation is derived.
#[derive(Clone)]
pub struct MasterKey {
    bytes: Zeroizing<[u8; KEY_LEN]>,
    id: KeyId,
}

/// Names a master key. It is derived from the key and tells nothing about it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyId([u8; KeyId::LEN]);

/// A text that is no key id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a key id; a key id has 16 hexadecimal digits")]
pub struct KeyIdError(String);

/// What a sub-key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Sealing values at rest.
    Sealing,
    /// Signing the JSON Web Tokens of the API.
    JwtSigning,
    /// Signing the cursors of lists, so that a client cannot make them up.
    CursorSigning,
    /// Signing the cookies that keep visitors with their targets.
    StickyCookies,
}

/// A key for one purpose.
pub type SubKey = Redacted<[u8; 32]>;

impl MasterKey {
    /// Makes a key.
    pub fn generate() -> Result<Self, RandomError> {
        random::bytes().map(Self::from_bytes)
    }

    /// Wraps the bytes of a key.
    pub fn from_bytes(bytes: Zeroizing<[u8; KEY_LEN]>) -> Self {
        let mut id = [0; KeyId::LEN];
        expand(&bytes, b"portway key id v1", &mut id);
        Self { bytes, id: KeyId(id) }
    }

    /// Returns the id of the key.
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// Returns the key for one purpose.
    pub fn derive(&self, purpose: Purpose) -> SubKey {
        let mut key = [0; 32];
        expand(&self.bytes, purpose.label(), &mut key);
        SubKey::new(key)
    }

    pub(crate) fn bytes(&self) -> &[u8; KEY_LEN] {
        &self.bytes
    }
}

impl Purpose {
    /// The labels are part of the stored format: a changed label is a lost key.
    const fn label(self) -> &'static [u8] {
        match self {
            Self::Sealing => b"portway sealing v1",
            Self::JwtSigning => b"portway jwt signing v1",
            Self::CursorSigning => b"portway cursor signing v1",
            Self::StickyCookies => b"portway sticky cookies v1",
        }
    }
}

#[expect(clippy::expect_used, reason = "HKDF-SHA256 gives up to 8160 bytes; 32 at most are asked")]
fn expand(key: &[u8; KEY_LEN], label: &[u8], out: &mut [u8]) {
    Hkdf::<Sha256>::new(None, key).expand(label, out).expect("short output");
}

impl PartialEq for MasterKey {
    fn eq(&self, other: &Self) -> bool {
        self.bytes.ct_eq(other.bytes.as_ref()).into()
    }
}

impl Eq for MasterKey {}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", self.id)
    }
}

impl KeyId {
    /// The length of a key id in bytes.
    pub(crate) const LEN: usize = 8;

    pub(crate) const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl FromStr for KeyId {
    type Err = KeyIdError;

    fn from_str(text: &str) -> Result<Self, KeyIdError> {
        let mut id = [0; Self::LEN];
        let canonical = !text.bytes().any(|b| b.is_ascii_uppercase());
        match hex::decode_to_slice(text, &mut id) {
            Ok(()) if canonical => Ok(Self(id)),
            Ok(()) | Err(_) => Err(KeyIdError(text.to_owned())),
        }
    }
}

impl TryFrom<String> for KeyId {
    type Error = KeyIdError;

    fn try_from(text: String) -> Result<Self, KeyIdError> {
        text.parse()
    }
}

impl From<KeyId> for String {
    fn from(id: KeyId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Derived keys are part of the stored format; the values were computed with Python's `hmac`.
    #[test]
    fn derived_keys_stay_what_they_are() {
        let key = MasterKey::from_bytes(Zeroizing::new([7; 32]));
        assert_eq!(key.id().to_string(), "a0034dcb35e278ff");
        assert_eq!(
            hex::encode(key.derive(Purpose::Sealing).expose()),
            "3c09a53b5e9cc622e2bf13392ed0ed976d24093de741acd93886ab972174de4a"
        );
        assert_eq!(
            hex::encode(key.derive(Purpose::JwtSigning).expose()),
            "9996a4ab21474b7449d8d84c0259b75c9c8c53059b97cfe4fc32196fda9fa83e"
        );
    }

    #[test]
    fn every_purpose_and_every_key_has_its_own() {
        let [one, other] = [MasterKey::generate().unwrap(), MasterKey::generate().unwrap()];
        let purposes =
            [Purpose::Sealing, Purpose::JwtSigning, Purpose::CursorSigning, Purpose::StickyCookies];
        let mut keys: Vec<_> = [&one, &other]
            .iter()
            .flat_map(|key| purposes.map(|p| *key.derive(p).expose()))
            .collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 8);
        assert_ne!(one.id(), other.id());
    }

    #[test]
    fn a_key_shows_its_id_only() {
        let key = MasterKey::generate().unwrap();
        assert_eq!(format!("{key:?}"), format!("MasterKey({})", key.id()));
    }

    #[test]
    fn an_id_is_read_as_printed_and_not_otherwise() {
        let id = MasterKey::generate().unwrap().id();
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in ["", "12", "ABCDEF0123456789", "abcdef012345678g", "abcdef01234567890"] {
            assert!(text.parse::<KeyId>().is_err(), "{text}");
        }
    }
}
