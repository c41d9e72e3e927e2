//! Tokens: random texts that open something, kept by us as a hash only.
//!
//! A token is its prefix and 48 characters of base64url: 32 random bytes and 4 of a checksum, so
//! that a mistyped token is told from a wrong one without asking the store, and scanners of
//! repositories can recognise a leaked one. With 256 random bits a plain SHA-256 is the right hash:
//! there is nothing to guess, and a look-up by hash tells nothing through its timing.

use std::{fmt, marker::PhantomData, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::{RandomError, Redacted, random};

const RANDOM_LEN: usize = 32;
const CHECKSUM_LEN: usize = 4;
/// 36 bytes make exactly 48 characters.
const BODY_LEN: usize = 48;

/// What a token is for.
pub trait TokenKind: private::Sealed {
    /// What every token of the kind begins with.
    const PREFIX: &'static str;
    /// The name of the kind in messages.
    const NAME: &'static str;
}

/// A token of one kind; it is shown once, when it is made.
pub struct Token<K> {
    text: Redacted<String>,
    kind: PhantomData<fn() -> K>,
}

/// What is kept of a token.
#[derive(Clone, Copy)]
pub struct TokenHash([u8; 32]);

/// Why a text is not a token of the wanted kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Another kind of text altogether.
    #[error("this is not {name}; one begins with `{prefix}`")]
    Kind {
        /// The name of the wanted kind.
        name: &'static str,
        /// Its prefix.
        prefix: &'static str,
    },
    /// Cut short, lengthened or mistyped.
    #[error("this is not the whole of {0}, or a character of it is wrong; copy it once more")]
    Mistyped(&'static str),
}

/// A token for programs that use the API.
pub type ApiToken = Token<Api>;
/// A token of a one-time link: set-up, invitation, reset.
pub type OneTimeToken = Token<OneTime>;
/// A token of a session of a browser, or one that renews a login.
pub type SessionToken = Token<Session>;

/// A token by which a machine makes itself a node, once.
pub type JoinToken = Token<Join>;

/// The kind of [`ApiToken`].
#[derive(Debug)]
pub enum Api {}
/// The kind of [`OneTimeToken`].
#[derive(Debug)]
pub enum OneTime {}
/// The kind of [`SessionToken`].
#[derive(Debug)]
pub enum Session {}
/// The kind of [`JoinToken`].
#[derive(Debug)]
pub enum Join {}

mod private {
    pub trait Sealed {}
    impl Sealed for super::Api {}
    impl Sealed for super::OneTime {}
    impl Sealed for super::Session {}
    impl Sealed for super::Join {}
}

impl TokenKind for Api {
    const PREFIX: &'static str = "pwt_";
    const NAME: &'static str = "an API token";
}

impl TokenKind for OneTime {
    const PREFIX: &'static str = "pwo_";
    const NAME: &'static str = "a one-time code";
}

impl TokenKind for Session {
    const PREFIX: &'static str = "pws_";
    const NAME: &'static str = "a session token";
}

impl TokenKind for Join {
    const PREFIX: &'static str = "pwj_";
    const NAME: &'static str = "a join token";
}

impl<K: TokenKind> Token<K> {
    /// Makes a token.
    pub fn generate() -> Result<Self, RandomError> {
        Ok(Self::of(&*random::bytes::<RANDOM_LEN>()?))
    }

    fn of(random: &[u8; RANDOM_LEN]) -> Self {
        let body = Zeroizing::new([&random[..], &checksum::<K>(random)].concat());
        let text = format!("{}{}", K::PREFIX, URL_SAFE_NO_PAD.encode(&*body));
        Self { text: Redacted::new(text), kind: PhantomData }
    }

    /// Returns the text, to be shown to whom the token is for.
    pub fn expose(&self) -> &str {
        self.text.expose()
    }

    /// Returns the beginning of the text, by which people tell their tokens apart in a list. It
    /// gives away 24 of 256 bits.
    pub fn hint(&self) -> String {
        self.expose().chars().take(K::PREFIX.len() + 4).collect()
    }

    /// Returns what is to be kept.
    pub fn hash(&self) -> TokenHash {
        TokenHash(Sha256::digest(self.expose().as_bytes()).into())
    }
}

fn checksum<K: TokenKind>(random: &[u8; RANDOM_LEN]) -> [u8; CHECKSUM_LEN] {
    let digest = Sha256::new()
        .chain_update(b"portway token checksum v1")
        .chain_update(K::PREFIX)
        .chain_update(random)
        .finalize();
    let mut sum = [0; CHECKSUM_LEN];
    sum.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    sum
}

impl<K: TokenKind> FromStr for Token<K> {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let wrong_kind = TokenError::Kind { name: K::NAME, prefix: K::PREFIX };
        let body = text.trim().strip_prefix(K::PREFIX).ok_or(wrong_kind)?;
        let mistyped = TokenError::Mistyped(K::NAME);
        if body.len() != BODY_LEN {
            return Err(mistyped);
        }
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(body).map_err(|_| mistyped)?);
        let (random, sum) = bytes.split_first_chunk().ok_or(mistyped)?;
        if bool::from(sum.ct_eq(&checksum::<K>(random))) {
            Ok(Self::of(random))
        } else {
            Err(mistyped)
        }
    }
}

impl<K> Clone for Token<K> {
    fn clone(&self) -> Self {
        Self { text: self.text.clone(), kind: PhantomData }
    }
}

impl<K> fmt::Debug for Token<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token([redacted])")
    }
}

impl TokenHash {
    /// Wraps the bytes of a hash.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes of the hash.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Tells whether this is the hash of a token, in a time that does not depend on it.
    pub fn matches<K: TokenKind>(&self, token: &Token<K>) -> bool {
        *self == token.hash()
    }
}

impl PartialEq for TokenHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for TokenHash {}

impl FromStr for TokenHash {
    type Err = hex::FromHexError;

    fn from_str(text: &str) -> Result<Self, hex::FromHexError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_token_is_found_by_its_hash_and_no_other() {
        let [one, other] = [ApiToken::generate().unwrap(), ApiToken::generate().unwrap()];
        let kept: TokenHash = one.hash().to_string().parse().unwrap();
        let presented: ApiToken = one.expose().parse().unwrap();
        assert!(kept.matches(&presented));
        assert!(!kept.matches(&other));
    }

    #[test]
    fn a_token_of_one_kind_does_not_pass_for_another() {
        let token = OneTimeToken::generate().unwrap();
        let error = token.expose().parse::<ApiToken>().unwrap_err();
        assert_eq!(error.to_string(), "this is not an API token; one begins with `pwt_`");

        let disguised = token.expose().replace("pwo_", "pwt_");
        assert!(matches!(disguised.parse::<ApiToken>(), Err(TokenError::Mistyped(_))));
    }

    #[test]
    fn a_token_is_shown_only_when_asked() {
        let token = ApiToken::generate().unwrap();
        assert_eq!(format!("{token:?}"), "Token([redacted])");
        assert_eq!(token.expose().len(), 52);
        assert_eq!(token.hint().len(), 8);
        assert!(token.expose().starts_with(&token.hint()));
    }

    proptest! {
        #[test]
        fn one_wrong_character_is_noticed(seed: [u8; 32], at in 4..52_usize, by in 1..64_usize) {
            const ALPHABET: &[u8; 64] =
                b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
            let mut text = ApiToken::of(&seed).expose().to_owned().into_bytes();
            let old = ALPHABET.iter().position(|c| *c == text[at]).unwrap();
            text[at] = ALPHABET[(old + by) % 64];
            let text = String::from_utf8(text).unwrap();
            let is_mistyped = matches!(text.parse::<ApiToken>(), Err(TokenError::Mistyped(_)));
            prop_assert!(is_mistyped);
        }

        #[test]
        fn any_text_is_judged_without_harm(text: String) {
            prop_assert!(text.parse::<ApiToken>().is_err());
            let prefixed = format!("pwt_{text}");
            prop_assert!(prefixed.parse::<ApiToken>().is_err());
        }
    }
}
