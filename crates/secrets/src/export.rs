//! Keys on paper: the text in which a ring leaves one machine and reaches another.
//!
//! The keys are sealed with XChaCha20-Poly1305 under a passphrase stretched by Argon2id (RFC 9106);
//! the header, which says how, is authenticated with them. The text survives mail and paper: line
//! ends and blanks around lines do not matter.

use argon2::{Algorithm, Argon2, Params};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    KeyId, KeyRing, RandomError, Redacted,
    aead::{self, Forged, NONCE_LEN},
    key_file::{self, KeyTextError},
    random,
};

/// A passphrase that protects exported keys: at least [`Passphrase::MIN_CHARS`] characters.
#[derive(Clone, Debug)]
pub struct Passphrase(Redacted<String>);

/// A passphrase that is too short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a passphrase has at least {} characters", Passphrase::MIN_CHARS)]
pub struct PassphraseError;

/// Why keys cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// No salt or nonce.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// Stretching failed, which for us means no memory.
    #[error("there is not enough memory to protect the key")]
    Memory(#[source] argon2::Error),
}

/// Why an exported text does not give its keys.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// There is no such text in what was given.
    #[error("this is not an exported key; it begins with `{BEGIN}` and ends with `{END}`")]
    NotAnExport,
    /// A later version made it.
    #[error(
        "the exported key has the format `{0}`, which a later version of Portway writes; update"
    )]
    Version(String),
    /// A line is not what it should be.
    #[error("the exported key is damaged: {0}")]
    Damaged(&'static str),
    /// It asks for more work than any export of ours.
    #[error("the exported key asks for {memory} KiB and {passes} passes, more than Portway spends")]
    TooCostly {
        /// Memory in KiB.
        memory: u32,
        /// Passes over it.
        passes: u32,
    },
    /// Another passphrase, or changed bytes: nobody can tell which.
    #[error("the passphrase is wrong, or the exported key {0} was changed")]
    Passphrase(KeyId),
    /// It opened, but holds no keys.
    #[error("the exported key holds something else")]
    Content(#[source] KeyTextError),
    /// Stretching failed.
    #[error("there is not enough memory to open the key")]
    Memory(#[source] argon2::Error),
}

/// The work that stretches a passphrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cost {
    /// Memory in KiB.
    memory: u32,
    /// Passes over the memory.
    passes: u32,
}

/// The second recommendation of RFC 9106 §4 (64 MiB, 3 passes), with one lane.
const COST: Cost = Cost { memory: 64 * 1024, passes: 3 };
/// What a text from elsewhere may ask for.
const MAX_COST: Cost = Cost { memory: 1024 * 1024, passes: 16 };

const BEGIN: &str = "-----BEGIN PORTWAY MASTER KEY-----";
const END: &str = "-----END PORTWAY MASTER KEY-----";
const FORMAT: &str = "1";
const SALT_LEN: usize = 16;
const LINE_LEN: usize = 64;

impl Passphrase {
    /// The fewest characters.
    pub const MIN_CHARS: usize = 12;

    /// Checks a passphrase.
    pub fn new(text: String) -> Result<Self, PassphraseError> {
        let text = Redacted::new(text);
        if text.expose().chars().count() < Self::MIN_CHARS {
            return Err(PassphraseError);
        }
        Ok(Self(text))
    }
}

/// Returns all keys of a ring as text that opens with the passphrase.
pub fn export(ring: &KeyRing, passphrase: &Passphrase) -> Result<String, ExportError> {
    export_at(COST, ring, passphrase)
}

/// Returns the keys of an exported text.
pub fn import(text: &str, passphrase: &Passphrase) -> Result<KeyRing, ImportError> {
    let envelope = Envelope::parse(text)?;
    let key = stretch(passphrase, &envelope.salt, envelope.cost).map_err(ImportError::Memory)?;
    let header = envelope.header();
    let plain = aead::decrypt(&key, &envelope.nonce, header.as_bytes(), &envelope.ciphertext)
        .map_err(|Forged| ImportError::Passphrase(envelope.id))?;
    let text = std::str::from_utf8(plain.expose())
        .map_err(|_| ImportError::Content(KeyTextError::Header))?;
    key_file::parse(text).map_err(ImportError::Content)
}

/// Returns the id of the current key of an exported text, without opening it.
pub fn exported_id(text: &str) -> Result<KeyId, ImportError> {
    Envelope::parse(text).map(|envelope| envelope.id)
}

fn export_at(cost: Cost, ring: &KeyRing, passphrase: &Passphrase) -> Result<String, ExportError> {
    let mut envelope = Envelope {
        id: ring.current().id(),
        cost,
        salt: *random::bytes()?,
        nonce: *random::bytes()?,
        ciphertext: Vec::new(),
    };
    let key = stretch(passphrase, &envelope.salt, cost).map_err(ExportError::Memory)?;
    let keys = key_file::format(ring);
    let header = envelope.header();
    envelope.ciphertext =
        aead::encrypt(&key, &envelope.nonce, header.as_bytes(), keys.expose().as_bytes());
    Ok(envelope.print())
}

fn stretch(
    passphrase: &Passphrase,
    salt: &[u8; SALT_LEN],
    cost: Cost,
) -> Result<Redacted<[u8; 32]>, argon2::Error> {
    let params = Params::new(cost.memory, cost.passes, 1, None)?;
    let mut key = [0; 32];
    Argon2::new(Algorithm::Argon2id, argon2::Version::V0x13, params).hash_password_into(
        passphrase.0.expose().as_bytes(),
        salt,
        &mut key,
    )?;
    Ok(Redacted::new(key))
}

/// An exported text, taken apart.
struct Envelope {
    id: KeyId,
    cost: Cost,
    salt: [u8; SALT_LEN],
    nonce: [u8; NONCE_LEN],
    ciphertext: Vec<u8>,
}

impl Envelope {
    /// The lines that say how to open it; they are authenticated as they stand here.
    fn header(&self) -> String {
        let Cost { memory, passes } = self.cost;
        format!(
            "Format: {FORMAT}\nKey: {}\nStretched-By: argon2id m={memory} t={passes} p=1\nSalt: {}\n",
            self.id,
            STANDARD.encode(self.salt),
        )
    }

    fn print(&self) -> String {
        let body = STANDARD.encode([&self.nonce[..], &self.ciphertext].concat());
        let mut text = format!("{BEGIN}\n{}\n", self.header());
        for (index, character) in body.chars().enumerate() {
            if index > 0 && index % LINE_LEN == 0 {
                text.push('\n');
            }
            text.push(character);
        }
        text.push('\n');
        text.push_str(END);
        text.push('\n');
        text
    }

    fn parse(text: &str) -> Result<Self, ImportError> {
        let (_, rest) = text.split_once(BEGIN).ok_or(ImportError::NotAnExport)?;
        let (inside, _) = rest.split_once(END).ok_or(ImportError::NotAnExport)?;
        let mut lines = inside.lines().map(str::trim).filter(|line| !line.is_empty());
        let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(": ");

        let format = field("Format").ok_or(ImportError::Damaged("the format is missing"))?;
        if format != FORMAT {
            return Err(ImportError::Version(format.to_owned()));
        }
        let id = field("Key").and_then(|id| id.parse().ok());
        let id = id.ok_or(ImportError::Damaged("the id of the key is wrong or missing"))?;
        let cost = field("Stretched-By").and_then(parse_cost);
        let cost = cost.ok_or(ImportError::Damaged("the line `Stretched-By` is wrong"))?;
        if cost.memory > MAX_COST.memory || cost.passes > MAX_COST.passes {
            return Err(ImportError::TooCostly { memory: cost.memory, passes: cost.passes });
        }
        let salt = field("Salt").and_then(|salt| STANDARD.decode(salt).ok()?.try_into().ok());
        let salt = salt.ok_or(ImportError::Damaged("the salt is wrong or missing"))?;

        let body: String = lines.collect();
        let body = STANDARD.decode(body).map_err(|_| ImportError::Damaged("a line is wrong"))?;
        let (nonce, ciphertext) =
            body.split_first_chunk().ok_or(ImportError::Damaged("it is cut short"))?;
        Ok(Self { id, cost, salt, nonce: *nonce, ciphertext: ciphertext.to_vec() })
    }
}

fn parse_cost(text: &str) -> Option<Cost> {
    let mut words = text.strip_prefix("argon2id ")?.strip_suffix(" p=1")?.split(' ');
    let memory = words.next()?.strip_prefix("m=")?.parse().ok()?;
    let passes = words.next()?.strip_prefix("t=")?.parse().ok()?;
    words.next().is_none().then_some(Cost { memory, passes })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Stretching is what makes an export slow; what these tests are about does not depend on it.
    const CHEAP: Cost = Cost { memory: 8, passes: 1 };

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::new(text.to_owned()).unwrap()
    }

    fn exported() -> (KeyRing, String) {
        let ring = KeyRing::generate().unwrap().rotate().unwrap();
        let text = export_at(CHEAP, &ring, &passphrase("correct horse")).unwrap();
        (ring, text)
    }

    #[test]
    fn keys_come_back_whole_at_the_real_cost() {
        let ring = KeyRing::generate().unwrap().rotate().unwrap();
        let text = export(&ring, &passphrase("correct horse battery")).unwrap();
        assert!(text.contains("argon2id m=65536 t=3 p=1"), "{text}");
        assert_eq!(exported_id(&text).unwrap(), ring.current().id());
        assert_eq!(import(&text, &passphrase("correct horse battery")).unwrap(), ring);
    }

    #[test]
    fn a_text_survives_mail() {
        let (ring, text) = exported();
        let mailed = format!("Dear me,\r\n{}\r\nyours", text.replace('\n', "  \r\n  "));
        assert_eq!(import(&mailed, &passphrase("correct horse")).unwrap(), ring);
    }

    #[test]
    fn a_wrong_passphrase_opens_nothing() {
        let (ring, text) = exported();
        let error = import(&text, &passphrase("correct house")).unwrap_err();
        assert!(matches!(error, ImportError::Passphrase(id) if id == ring.current().id()));
    }

    #[test]
    fn a_changed_header_is_noticed() {
        let (_, text) = exported();
        let other = KeyRing::generate().unwrap().current().id().to_string();
        let id = exported_id(&text).unwrap().to_string();
        let error = import(&text.replace(&id, &other), &passphrase("correct horse")).unwrap_err();
        assert!(matches!(error, ImportError::Passphrase(_)), "{error}");
    }

    #[test]
    fn a_text_cannot_ask_for_endless_work() {
        let (_, text) = exported();
        let costly = text.replace("m=8 t=1", "m=4294967295 t=1");
        let error = import(&costly, &passphrase("correct horse")).unwrap_err();
        assert!(matches!(error, ImportError::TooCostly { .. }), "{error}");
    }

    #[test]
    fn each_fault_of_the_text_is_named() {
        let (_, text) = exported();
        let message =
            |text: &str| import(text, &passphrase("correct horse")).unwrap_err().to_string();
        assert!(message("").contains("not an exported key"));
        assert!(message(&text.replace("Format: 1", "Format: 2")).contains("later version"));
        assert!(message(&text.replace("Key: ", "Key: x")).contains("id of the key"));
        assert!(message(&text.replace("argon2id", "scrypt")).contains("Stretched-By"));
        assert!(message(&text.replace("Salt: ", "Salt: x")).contains("salt"));
        assert!(message(&text.replace("\n-----END", "!\n-----END")).contains("a line is wrong"));
    }

    #[test]
    fn a_short_passphrase_is_refused() {
        assert_eq!(Passphrase::new("elevenchars".to_owned()).unwrap_err(), PassphraseError);
        Passphrase::new("äöüäöüäöüäöü".to_owned()).unwrap();
    }

    #[test]
    fn nothing_secret_stands_in_the_text() {
        let (ring, text) = exported();
        let key = STANDARD.encode(ring.current().bytes());
        assert!(!text.contains(&key));
        assert_eq!(format!("{:?}", passphrase("correct horse")), "Passphrase([redacted])");
    }

    proptest! {
        #[test]
        fn any_text_is_judged_without_harm(text: String) {
            let passphrase = passphrase("correct horse");
            prop_assert!(import(&text, &passphrase).is_err());
            let framed = format!("{BEGIN}\nFormat: 1\n{text}\n{END}");
            prop_assert!(import(&framed, &passphrase).is_err());
        }
    }
}
