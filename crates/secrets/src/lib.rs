//! Sealing at rest, key files, tokens and redaction.
//!
//! Everything an installation keeps secret is [`Sealed`] with a [`KeyRing`], which lives in one file
//! (see [`key_file`]) and leaves the machine only as text protected by a passphrase (see
//! [`export`]). Sealed values name their key and are bound to their place by a [`Context`].
//!
//! This crate deliberately knows no database and no clock, and does not judge passwords of users:
//! those are hashed where users are kept.

mod aead;
pub mod export;
mod fingerprint;
pub mod key_file;
mod key_ring;
mod master_key;
mod random;
mod redacted;
mod sealed;
mod token;

pub use fingerprint::{FingerprintKey, Reference, ReferenceError, SecretKind};
pub use key_ring::{KeyRing, OpenError};
pub use master_key::{KeyId, KeyIdError, MasterKey, Purpose, SubKey};
pub use random::RandomError;
pub use redacted::Redacted;
pub use sealed::{Context, FormatError, Sealed};
pub use token::{
    ApiToken, JoinToken, OneTimeToken, SessionToken, Token, TokenError, TokenHash, TokenKind,
};
