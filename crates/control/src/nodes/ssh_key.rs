//! The key with which the managers of an installation log in to nodes: Ed25519, made at the first
//! start, sealed in the store.

use aws_lc_rs::{
    encoding::AsBigEndian as _,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use base64::{
    Engine as _, engine::general_purpose::STANDARD, engine::general_purpose::STANDARD_NO_PAD,
};
use jiff::Timestamp;
use portway_secrets::{Context, KeyRing, Redacted};
use portway_store::{SealedSecret, Store};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::ControlError;

const KIND: &[u8] = b"ssh-ed25519";
/// What stands behind the key, so that people know whose it is.
const COMMENT: &str = "portway";
const LINE: usize = 70;

/// The key of the managers.
pub(crate) struct SshKey {
    private: Redacted<String>,
    public: [u8; 32],
}

impl std::fmt::Debug for SshKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SshKey").field("fingerprint", &self.fingerprint()).finish_non_exhaustive()
    }
}

impl SshKey {
    /// Under this reference the store keeps it.
    pub(crate) const REFERENCE: &'static str = "installation-ssh-key";

    /// Returns the place at which it is sealed.
    pub(crate) fn context() -> Context {
        Context::new("ssh-key", "installation")
    }

    /// Reads the key, or makes it. Of several managers that start at once, one makes it.
    pub(crate) async fn load_or_create(
        store: &Store,
        keys: &KeyRing,
        now: Timestamp,
    ) -> Result<Self, ControlError> {
        if let Some(secret) = store.secrets().get(&[Self::REFERENCE]).await?.get(Self::REFERENCE) {
            return Self::open(keys, &secret.sealed);
        }
        let pair = Ed25519KeyPair::generate()
            .map_err(|error| ControlError::internal("making the managers' SSH key", error))?;
        let seed = pair
            .seed()
            .and_then(|seed| seed.as_be_bytes())
            .map_err(|error| ControlError::internal("making the managers' SSH key", error))?;
        let sealed = keys
            .seal(&Self::context(), seed.as_ref())
            .map_err(|error| ControlError::internal("sealing the managers' SSH key", error))?;
        let secret = SealedSecret {
            reference: Self::REFERENCE.to_owned(),
            kind: portway_store::SecretKind::PrivateKey,
            owner: None,
            site: None,
            key_id: sealed.key_id().to_string(),
            sealed: sealed.to_bytes(),
            created_at: now,
        };
        store.secrets().put_if_absent(&[secret]).await?;
        // Another manager may have been first; what is kept counts.
        match store.secrets().get(&[Self::REFERENCE]).await?.get(Self::REFERENCE) {
            Some(secret) => Self::open(keys, &secret.sealed),
            None => Err(ControlError::internal("keeping the managers' SSH key", "it was not kept")),
        }
    }

    fn open(keys: &KeyRing, sealed: &[u8]) -> Result<Self, ControlError> {
        let seed = keys
            .open_bytes(&Self::context(), sealed)
            .map_err(|error| ControlError::internal("opening the managers' SSH key", error))?;
        Self::of_seed(seed.expose())
    }

    fn of_seed(seed: &[u8]) -> Result<Self, ControlError> {
        let broken = |error| ControlError::internal("reading the managers' SSH key", error);
        let pair =
            Ed25519KeyPair::from_seed_unchecked(seed).map_err(|error| broken(error.to_string()))?;
        let public = <[u8; 32]>::try_from(pair.public_key().as_ref())
            .map_err(|error| broken(error.to_string()))?;
        Ok(Self { private: Redacted::new(openssh(seed, &public).to_string()), public })
    }

    /// Returns the private key in OpenSSH's form.
    pub(crate) fn private(&self) -> &Redacted<String> {
        &self.private
    }

    /// Returns the line for `authorized_keys`.
    pub(crate) fn public_line(&self) -> String {
        let kind = String::from_utf8_lossy(KIND);
        format!("{kind} {} {COMMENT}", STANDARD.encode(self.blob()))
    }

    /// Returns the fingerprint as OpenSSH prints it.
    pub(crate) fn fingerprint(&self) -> String {
        format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(self.blob())))
    }

    fn blob(&self) -> Vec<u8> {
        public_blob(&self.public)
    }
}

/// Writes a string as SSH does (RFC 4251 §5). Everything here is far shorter than 4 GiB.
fn push(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(bytes);
}

fn public_blob(public: &[u8; 32]) -> Vec<u8> {
    let mut blob = Vec::new();
    push(&mut blob, KIND);
    push(&mut blob, public);
    blob
}

/// Writes a private key that nothing protects (OpenSSH's PROTOCOL.key).
fn openssh(seed: &[u8], public: &[u8; 32]) -> Zeroizing<String> {
    let mut secret = Zeroizing::new(Vec::with_capacity(256));
    // The same number twice tells a right passphrase from a wrong one; here there is none.
    secret.extend_from_slice(&[0; 8]);
    push(&mut secret, KIND);
    push(&mut secret, public);
    let both = Zeroizing::new([seed, public.as_slice()].concat());
    push(&mut secret, &both);
    push(&mut secret, COMMENT.as_bytes());
    for byte in 1..=8 {
        if secret.len() % 8 == 0 {
            break;
        }
        secret.push(byte);
    }
    let mut out = Zeroizing::new(b"openssh-key-v1\0".to_vec());
    out.reserve(512);
    push(&mut out, b"none");
    push(&mut out, b"none");
    push(&mut out, b"");
    out.extend_from_slice(&1_u32.to_be_bytes());
    push(&mut out, &public_blob(public));
    push(&mut out, &secret);
    let encoded = Zeroizing::new(STANDARD.encode(out.as_slice()));
    let mut text = Zeroizing::new(String::with_capacity(1024));
    text.push_str("-----BEGIN OPENSSH PRIVATE KEY-----\n");
    for (at, c) in encoded.chars().enumerate() {
        if at > 0 && at % LINE == 0 {
            text.push('\n');
        }
        text.push(c);
    }
    text.push_str("\n-----END OPENSSH PRIVATE KEY-----\n");
    text
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _, process::Command};

    use super::*;

    /// The key pair of RFC 8032 §7.1, test 1.
    const SEED: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    const PUBLIC: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

    fn key() -> SshKey {
        SshKey::of_seed(&hex::decode(SEED).unwrap()).unwrap()
    }

    #[test]
    fn the_public_key_is_the_seeds() {
        assert_eq!(hex::encode(key().public), PUBLIC);
        assert!(key().public_line().starts_with("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA"));
    }

    #[test]
    fn nothing_of_the_private_key_is_printed() {
        let (key, text) = (key(), format!("{:?}", key()));
        let body = key.private().expose().lines().nth(2).unwrap().to_owned();
        assert!(text.contains("SHA256:") && !text.contains(&body), "{text}");
    }

    /// OpenSSH is the judge of its own format, where it is installed.
    #[test]
    fn openssh_reads_the_private_key_and_prints_the_same_public_one() {
        if Command::new("ssh-keygen").arg("-?").output().is_err() {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "ssh-keygen is needed");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(&path).unwrap();
        file.write_all(key().private().expose().as_bytes()).unwrap();
        drop(file);

        let output = Command::new("ssh-keygen").arg("-yf").arg(&path).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let printed = String::from_utf8(output.stdout).unwrap();
        assert_eq!(printed.trim(), key().public_line());
        let output = Command::new("ssh-keygen").arg("-lf").arg(&path).output().unwrap();
        assert!(String::from_utf8(output.stdout).unwrap().contains(&key().fingerprint()));
    }
}
