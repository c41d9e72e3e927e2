//! Private keys to log in with.

use std::{fmt, sync::Arc};

use portway_secrets::Redacted;
use russh::keys::{
    HashAlg, PrivateKey as Key, decode_secret_key,
    ssh_key::{LineEnding, private::Ed25519Keypair},
};

/// A private key that can be used at once.
#[derive(Clone)]
pub struct PrivateKey(Arc<Key>);

/// Why a text gives no private key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It needs a passphrase.
    #[error("the private key is protected by a passphrase; give that too")]
    Sealed,
    /// The passphrase is another one.
    #[error("the passphrase does not open the private key")]
    WrongPassphrase,
    /// It is a public key.
    #[error("this is a public key; the private one stands in the file without `.pub`")]
    Public,
    /// It is something else.
    #[error("this is no private key in OpenSSH's or PEM form: {0}")]
    Unreadable(String),
}

impl PrivateKey {
    /// Reads a key of OpenSSH's or PEM form, sealed or not.
    pub fn read(text: &str, passphrase: Option<&str>) -> Result<Self, KeyError> {
        if text.trim_start().starts_with("ssh-") || text.trim_start().starts_with("ecdsa-") {
            return Err(KeyError::Public);
        }
        let is_sealed = is_sealed(text);
        if is_sealed && passphrase.is_none() {
            return Err(KeyError::Sealed);
        }
        // A passphrase that is given for an open key says nothing.
        match decode_secret_key(text, passphrase.filter(|_| is_sealed)) {
            Ok(key) => Ok(Self(Arc::new(key))),
            Err(_) if is_sealed => Err(KeyError::WrongPassphrase),
            Err(error) => Err(KeyError::Unreadable(error.to_string())),
        }
    }

    /// Makes an Ed25519 key of 32 random bytes.
    pub fn from_seed(seed: &Redacted<[u8; 32]>) -> Self {
        Self(Arc::new(Ed25519Keypair::from_seed(seed.expose()).into()))
    }

    /// Returns the key in OpenSSH's form, open.
    pub fn to_openssh(&self) -> Result<Redacted<String>, KeyError> {
        let text = self.0.to_openssh(LineEnding::LF);
        let text = text.map_err(|error| KeyError::Unreadable(error.to_string()))?;
        Ok(Redacted::new(text.to_string()))
    }

    /// Returns the public key as one adds it to `authorized_keys`, with a comment of one word.
    pub fn public_line(&self, comment: &str) -> Result<String, KeyError> {
        let mut public = self.0.public_key().clone();
        public.set_comment(comment.split_whitespace().collect::<Vec<_>>().join("-"));
        public.to_openssh().map_err(|error| KeyError::Unreadable(error.to_string()))
    }

    /// Returns the fingerprint of the public key, as `ssh-keygen -l` prints it.
    pub fn fingerprint(&self) -> String {
        self.0.fingerprint(HashAlg::Sha256).to_string()
    }

    pub(super) const fn inner(&self) -> &Arc<Key> {
        &self.0
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.fingerprint())
    }
}

fn is_sealed(text: &str) -> bool {
    let is_openssh = text.contains("BEGIN OPENSSH PRIVATE KEY");
    if is_openssh {
        return Key::from_openssh(text.trim()).is_ok_and(|key| key.is_encrypted());
    }
    text.contains("ENCRYPTED")
        || text.lines().any(|line| line.starts_with("Encryption: ") && line != "Encryption: none")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_a_seed_reads_back() {
        let key = PrivateKey::from_seed(&Redacted::new([7; 32]));

        let again = PrivateKey::read(key.to_openssh().unwrap().expose(), None).unwrap();

        assert_eq!(again.fingerprint(), key.fingerprint());
        assert!(key.fingerprint().starts_with("SHA256:"));
        let line = key.public_line("portway on web1").unwrap();
        assert!(
            line.starts_with("ssh-ed25519 AAAA") && line.ends_with(" portway-on-web1"),
            "{line}"
        );
    }

    #[test]
    fn other_texts_say_what_they_are() {
        let public =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ me";

        assert_eq!(PrivateKey::read(public, None).unwrap_err(), KeyError::Public);
        assert!(matches!(PrivateKey::read("hello", None), Err(KeyError::Unreadable(_))));
        assert!(matches!(PrivateKey::read("", Some("x")), Err(KeyError::Unreadable(_))));
    }

    #[test]
    fn a_key_is_never_shown() {
        let key = PrivateKey::from_seed(&Redacted::new([7; 32]));

        assert_eq!(format!("{key:?}"), format!("PrivateKey({})", key.fingerprint()));
    }
}
