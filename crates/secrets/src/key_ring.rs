//! The keys of an installation: the one that seals, and older ones that still open.
//!
//! Rotation takes three steps, each safe to be cut off and repeated: [`KeyRing::rotate`] and keep
//! the file; reseal every value that [`KeyRing::is_current`] denies, in one transaction; then
//! [`KeyRing::retire`] and keep the file.

use crate::{
    Context, FormatError, KeyId, MasterKey, Purpose, RandomError, Redacted, Sealed, SubKey,
    aead::Forged,
};

/// The keys of an installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRing {
    current: MasterKey,
    older: Vec<MasterKey>,
}

/// Why a sealed value cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another key sealed it.
    #[error(
        "the data is sealed with the master key {wanted}, and the key file holds {}; \
         run `portway key export` where {wanted} is kept and `portway key import` here",
        list(.held)
    )]
    OtherKey {
        /// The key that sealed it.
        wanted: KeyId,
        /// The keys at hand.
        held: Vec<KeyId>,
    },
    /// The right key, and yet it does not open.
    #[error("`{0}` was changed or moved after it was sealed; restore the data from a backup")]
    Forged(Context),
    /// The bytes are no sealed value.
    #[error("`{context}` cannot be read as a sealed value")]
    Format {
        /// The place it was read from.
        context: Context,
        /// What is wrong with it.
        #[source]
        source: FormatError,
    },
    /// A sealed text is not UTF-8.
    #[error("`{0}` holds something else than text")]
    NotText(Context),
    /// Resealing needs a nonce.
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// What the check value of a store says when it is opened.
const CHECK: &[u8] = b"portway";

impl KeyRing {
    /// Returns a ring of one key.
    pub const fn of(current: MasterKey) -> Self {
        Self { current, older: Vec::new() }
    }

    /// Makes a ring of one new key.
    pub fn generate() -> Result<Self, RandomError> {
        MasterKey::generate().map(Self::of)
    }

    /// Returns a ring of a current key and older ones, each key once.
    pub fn with_older(current: MasterKey, older: impl IntoIterator<Item = MasterKey>) -> Self {
        let mut ring = Self::of(current);
        for key in older {
            if ring.find(key.id()).is_none() {
                ring.older.push(key);
            }
        }
        ring
    }

    /// Returns the key that seals.
    pub const fn current(&self) -> &MasterKey {
        &self.current
    }

    /// Returns the keys that still open, newest first.
    pub fn older(&self) -> &[MasterKey] {
        &self.older
    }

    /// Returns the ids of all keys, the current one first.
    pub fn ids(&self) -> Vec<KeyId> {
        self.keys().map(MasterKey::id).collect()
    }

    /// Seals a value for one place.
    pub fn seal(&self, context: &Context, plain: &[u8]) -> Result<Sealed, RandomError> {
        Sealed::seal(&self.current, context, plain)
    }

    /// Opens a value sealed for this place.
    pub fn open(&self, context: &Context, sealed: &Sealed) -> Result<Redacted<Vec<u8>>, OpenError> {
        let wanted = sealed.key_id();
        let key =
            self.find(wanted).ok_or_else(|| OpenError::OtherKey { wanted, held: self.ids() })?;
        sealed.open(key, context).map_err(|Forged| OpenError::Forged(context.clone()))
    }

    /// Opens bytes as they were kept.
    pub fn open_bytes(
        &self,
        context: &Context,
        bytes: &[u8],
    ) -> Result<Redacted<Vec<u8>>, OpenError> {
        self.open(context, &read(context, bytes)?)
    }

    /// Opens a text as it was kept.
    pub fn open_text(
        &self,
        context: &Context,
        bytes: &[u8],
    ) -> Result<Redacted<String>, OpenError> {
        let plain = self.open_bytes(context, bytes)?;
        let text =
            std::str::from_utf8(plain.expose()).map_err(|_| OpenError::NotText(context.clone()))?;
        Ok(Redacted::new(text.to_owned()))
    }

    /// Tells whether a value is sealed with the current key.
    pub fn is_current(&self, sealed: &Sealed) -> bool {
        sealed.key_id() == self.current.id()
    }

    /// Returns the same value sealed with the current key.
    pub fn reseal(&self, context: &Context, sealed: &Sealed) -> Result<Sealed, OpenError> {
        let plain = self.open(context, sealed)?;
        Ok(self.seal(context, plain.expose())?)
    }

    /// Returns the ring with a new current key; the present one becomes an older one.
    pub fn rotate(&self) -> Result<Self, RandomError> {
        let keys = self.keys().cloned();
        Ok(Self::with_older(MasterKey::generate()?, keys))
    }

    /// Returns the ring without its older keys, for when nothing is sealed with them any more.
    pub fn retire(&self) -> Self {
        Self::of(self.current.clone())
    }

    /// Returns the ring that `imported` brings, with the present keys kept as older ones, so that
    /// an import never makes anything unreadable.
    pub fn adopt(&self, imported: Self) -> Self {
        let older = imported.older.into_iter().chain(self.keys().cloned());
        Self::with_older(imported.current, older)
    }

    /// Returns the current key for one purpose.
    pub fn derive(&self, purpose: Purpose) -> SubKey {
        self.current.derive(purpose)
    }

    /// Returns the keys of all ages for one purpose with their ids, the current one first: what
    /// was signed before a rotation is still verified with the older ones.
    pub fn derive_all(&self, purpose: Purpose) -> Vec<(KeyId, SubKey)> {
        self.keys().map(|key| (key.id(), key.derive(purpose))).collect()
    }

    /// Returns the value by which a store recognises its key.
    pub fn check_value(&self) -> Result<Sealed, RandomError> {
        self.seal(&check_context(), CHECK)
    }

    /// Verifies that this ring opens the store that keeps this check value.
    pub fn verify(&self, check_value: &[u8]) -> Result<(), OpenError> {
        let plain = self.open_bytes(&check_context(), check_value)?;
        if plain.expose() == CHECK { Ok(()) } else { Err(OpenError::Forged(check_context())) }
    }

    fn keys(&self) -> impl Iterator<Item = &MasterKey> {
        std::iter::once(&self.current).chain(&self.older)
    }

    fn find(&self, id: KeyId) -> Option<&MasterKey> {
        self.keys().find(|key| key.id() == id)
    }
}

fn check_context() -> Context {
    Context::new("key-check", "installation")
}

fn read(context: &Context, bytes: &[u8]) -> Result<Sealed, OpenError> {
    Sealed::from_bytes(bytes)
        .map_err(|source| OpenError::Format { context: context.clone(), source })
}

fn list(ids: &[KeyId]) -> String {
    ids.iter().map(KeyId::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ring() -> KeyRing {
        KeyRing::generate().unwrap()
    }

    fn place(name: &str) -> Context {
        Context::new("test", name)
    }

    #[test]
    fn a_value_cannot_be_moved_to_another_place() {
        let ring = ring();
        let sealed = ring.seal(&place("a"), b"value").unwrap();
        assert_eq!(ring.open(&place("a"), &sealed).unwrap().expose(), b"value");
        let moved = ring.open(&place("b"), &sealed).unwrap_err();
        assert!(matches!(moved, OpenError::Forged(_)), "{moved}");
    }

    #[test]
    fn sealing_twice_gives_different_bytes() {
        let ring = ring();
        let [one, other] = [(); 2].map(|()| ring.seal(&place("a"), b"value").unwrap());
        assert_ne!(one.to_bytes(), other.to_bytes());
    }

    #[test]
    fn another_key_is_refused_with_both_names_and_the_remedy() {
        let [here, there] = [ring(), ring()];
        let check = there.check_value().unwrap().to_bytes();
        let message = here.verify(&check).unwrap_err().to_string();
        assert!(message.contains(&there.current().id().to_string()), "{message}");
        assert!(message.contains(&here.current().id().to_string()), "{message}");
        assert!(message.contains("portway key import"), "{message}");
        there.verify(&check).unwrap();
    }

    #[test]
    fn a_check_value_is_not_any_sealed_value() {
        let ring = ring();
        let other = ring.seal(&place("a"), CHECK).unwrap().to_bytes();
        assert!(matches!(ring.verify(&other), Err(OpenError::Forged(_))));
    }

    #[test]
    fn rotation_keeps_everything_readable_until_it_is_resealed() {
        let before = ring();
        let old = before.seal(&place("a"), b"value").unwrap();

        let during = before.rotate().unwrap();
        assert!(!during.is_current(&old));
        assert_eq!(during.open(&place("a"), &old).unwrap().expose(), b"value");
        let new = during.reseal(&place("a"), &old).unwrap();
        assert!(during.is_current(&new));

        let after = during.retire();
        assert_eq!(after.open(&place("a"), &new).unwrap().expose(), b"value");
        assert!(matches!(after.open(&place("a"), &old), Err(OpenError::OtherKey { .. })));
    }

    #[test]
    fn an_import_loses_no_key_and_has_none_twice() {
        let here = ring();
        let there = ring().rotate().unwrap();
        let both = here.adopt(there.clone());
        assert_eq!(both.current().id(), there.current().id());
        assert_eq!(both.ids(), [there.ids(), here.ids()].concat());
        assert_eq!(both.adopt(there), both);
    }

    #[test]
    fn what_was_signed_before_a_rotation_finds_its_key() {
        let before = ring();
        let after = before.rotate().unwrap();
        let keys = after.derive_all(Purpose::JwtSigning);
        assert_eq!(keys[0].1.expose(), after.derive(Purpose::JwtSigning).expose());
        assert_eq!(keys[1].0, before.current().id());
        assert_eq!(keys[1].1.expose(), before.derive(Purpose::JwtSigning).expose());
    }

    #[test]
    fn a_later_format_is_told_from_damage() {
        let ring = ring();
        let mut bytes = ring.seal(&place("a"), b"").unwrap().to_bytes();
        bytes[0] = 9;
        assert_eq!(Sealed::from_bytes(&bytes), Err(FormatError::Version(9)));
        let error = ring.open_bytes(&place("a"), &bytes[..20]).unwrap_err();
        assert!(matches!(error, OpenError::Format { .. }), "{error}");
    }

    proptest! {
        #[test]
        fn what_is_sealed_is_opened(plain: Vec<u8>, name: String) {
            let ring = ring();
            let bytes = ring.seal(&place(&name), &plain).unwrap().to_bytes();
            let opened = ring.open_bytes(&place(&name), &bytes).unwrap();
            prop_assert_eq!(opened.expose(), &plain);
        }

        #[test]
        fn any_changed_bit_is_noticed(plain: Vec<u8>, at: prop::sample::Index, bit in 0..8) {
            let ring = ring();
            let mut bytes = ring.seal(&place("a"), &plain).unwrap().to_bytes();
            let at = at.index(bytes.len());
            bytes[at] ^= 1_u8 << bit;
            prop_assert!(ring.open_bytes(&place("a"), &bytes).is_err());
        }

        #[test]
        fn foreign_bytes_do_no_harm(bytes: Vec<u8>) {
            if let Ok(sealed) = Sealed::from_bytes(&bytes) {
                prop_assert_eq!(sealed.to_bytes(), bytes);
            }
        }
    }
}
