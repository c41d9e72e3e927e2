//! Values sealed at rest: XChaCha20-Poly1305 with a random nonce, bound to their place.
//!
//! The bytes are `version (1) · key id (8) · nonce (24) · ciphertext and tag`. Version and key id
//! are authenticated together with the context, so that nothing of it can be exchanged.

use std::fmt;

use crate::{
    KeyId, MasterKey, Purpose, RandomError, Redacted, Reference,
    aead::{self, Forged, NONCE_LEN, TAG_LEN},
    random,
};

const VERSION: u8 = 1;

/// A value that only a holder of the right master key can read, and only in its place.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    key: KeyId,
    nonce: [u8; NONCE_LEN],
    ciphertext: Vec<u8>,
}

/// The place a sealed value belongs to; a value sealed for one cannot be opened at another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Context(String);

/// Bytes that are no sealed value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Too short to be one.
    #[error("a sealed value is cut short")]
    Truncated,
    /// Written by a later version of Portway.
    #[error("a sealed value has the format {0}, which a later version of Portway writes; update")]
    Version(u8),
}

impl Context {
    /// Names a place by the kind of thing and its name there. The kind has no colon, so different
    /// places have different texts.
    pub fn new(kind: &'static str, name: impl fmt::Display) -> Self {
        debug_assert!(!kind.contains(':'), "`{kind}` would be ambiguous");
        Self(format!("{kind}:{name}"))
    }

    /// The place of a secret that is referred to by `reference`.
    pub fn secret(reference: &Reference) -> Self {
        Self::new("secret", reference)
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Sealed {
    /// Returns the id of the key that opens the value.
    pub const fn key_id(&self) -> KeyId {
        self.key
    }

    /// Returns the bytes to be kept.
    pub fn to_bytes(&self) -> Vec<u8> {
        [&[VERSION][..], self.key.as_bytes(), &self.nonce, &self.ciphertext].concat()
    }

    /// Reads bytes that were kept.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FormatError> {
        let (version, rest) = bytes.split_first().ok_or(FormatError::Truncated)?;
        if *version != VERSION {
            return Err(FormatError::Version(*version));
        }
        let (key, rest) = rest.split_first_chunk().ok_or(FormatError::Truncated)?;
        let (nonce, ciphertext) = rest.split_first_chunk().ok_or(FormatError::Truncated)?;
        if ciphertext.len() < TAG_LEN {
            return Err(FormatError::Truncated);
        }
        let key = KeyId::from_bytes(*key);
        Ok(Self { key, nonce: *nonce, ciphertext: ciphertext.to_vec() })
    }

    pub(crate) fn seal(
        key: &MasterKey,
        context: &Context,
        plain: &[u8],
    ) -> Result<Self, RandomError> {
        let nonce = *random::bytes::<NONCE_LEN>()?;
        let data = associated_data(key.id(), context);
        let ciphertext = aead::encrypt(&key.derive(Purpose::Sealing), &nonce, &data, plain);
        Ok(Self { key: key.id(), nonce, ciphertext })
    }

    pub(crate) fn open(
        &self,
        key: &MasterKey,
        context: &Context,
    ) -> Result<Redacted<Vec<u8>>, Forged> {
        let data = associated_data(self.key, context);
        aead::decrypt(&key.derive(Purpose::Sealing), &self.nonce, &data, &self.ciphertext)
    }
}

fn associated_data(key: KeyId, context: &Context) -> Vec<u8> {
    [&[VERSION][..], key.as_bytes(), context.0.as_bytes()].concat()
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({}, {} bytes)", self.key, self.ciphertext.len())
    }
}
