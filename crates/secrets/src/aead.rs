//! XChaCha20-Poly1305: its nonce is long enough to be random for every value.

use chacha20poly1305::{
    Key, KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};

use crate::Redacted;

/// The length of a nonce in bytes.
pub(crate) const NONCE_LEN: usize = 24;
/// The length of the tag at the end of a ciphertext.
pub(crate) const TAG_LEN: usize = 16;

/// The tag does not fit: another key, nonce or context, or changed bytes.
#[derive(Debug)]
pub(crate) struct Forged;

/// Encrypts `plain` and authenticates it together with `context`.
#[expect(clippy::expect_used, reason = "fails above 256 GiB only, which no secret has")]
pub(crate) fn encrypt(
    key: &Redacted<[u8; 32]>,
    nonce: &[u8; NONCE_LEN],
    context: &[u8],
    plain: &[u8],
) -> Vec<u8> {
    let payload = Payload { msg: plain, aad: context };
    cipher(key).encrypt(&XNonce::from(*nonce), payload).expect("short enough")
}

/// Returns what was encrypted with the same key, nonce and context.
pub(crate) fn decrypt(
    key: &Redacted<[u8; 32]>,
    nonce: &[u8; NONCE_LEN],
    context: &[u8],
    ciphertext: &[u8],
) -> Result<Redacted<Vec<u8>>, Forged> {
    let payload = Payload { msg: ciphertext, aad: context };
    let plain = cipher(key).decrypt(&XNonce::from(*nonce), payload);
    plain.map(Redacted::new).map_err(|_| Forged)
}

fn cipher(key: &Redacted<[u8; 32]>) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(<&Key>::from(key.expose()))
}
