//! Digests of objects, and the one digest over everything a node was given.

use std::{collections::BTreeMap, fmt, str::FromStr};

use portway_model::{Id, Site};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A SHA-256 digest, written in lower-case hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

/// A text that is no digest.
#[derive(Debug, thiserror::Error)]
#[error("a digest has 64 hexadecimal digits")]
pub struct DigestError;

impl Digest {
    /// Returns the digest of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Returns the bytes of the digest.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Wraps the bytes of a digest.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

/// The number of buckets: a power of two at most 256, so that one byte of an id chooses.
const BUCKETS: usize = 256;

/// The sites of a node with their digests, and one digest over all of them and the settings.
///
/// The digest depends on the content alone, never on the order of changes. A change costs the
/// re-reading of one bucket, a 256th of the index.
#[derive(Clone, Debug)]
pub struct Index {
    settings: Digest,
    buckets: Vec<Bucket>,
    len: usize,
}

#[derive(Clone, Debug)]
struct Bucket {
    digest: Digest,
    sites: BTreeMap<Id<Site>, Digest>,
}

impl Index {
    /// Returns the index of a node without sites.
    pub fn new(settings: Digest) -> Self {
        let empty = Bucket::new();
        Self { settings, buckets: vec![empty; BUCKETS], len: 0 }
    }

    /// Returns the digest over everything.
    pub fn digest(&self) -> Digest {
        let mut hasher = Sha256::new();
        hasher.update(self.settings.0);
        for bucket in &self.buckets {
            hasher.update(bucket.digest.0);
        }
        Digest(hasher.finalize().into())
    }

    /// Returns the digest of a site's policy.
    pub fn get(&self, site: Id<Site>) -> Option<Digest> {
        self.bucket(site).and_then(|bucket| bucket.sites.get(&site)).copied()
    }

    /// Sets or replaces a site.
    pub fn put(&mut self, site: Id<Site>, digest: Digest) {
        if let Some(bucket) = self.bucket_mut(site) {
            let added = bucket.sites.insert(site, digest).is_none();
            bucket.refresh();
            self.len += usize::from(added);
        }
    }

    /// Removes a site.
    pub fn remove(&mut self, site: Id<Site>) {
        if let Some(bucket) = self.bucket_mut(site) {
            let removed = bucket.sites.remove(&site).is_some();
            bucket.refresh();
            self.len -= usize::from(removed);
        }
    }

    /// Sets the digest of the node's settings.
    pub fn set_settings(&mut self, settings: Digest) {
        self.settings = settings;
    }

    /// Returns the number of sites.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Tells whether there is no site.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns every site with its digest.
    pub fn iter(&self) -> impl Iterator<Item = (Id<Site>, Digest)> + '_ {
        self.buckets
            .iter()
            .flat_map(|bucket| bucket.sites.iter().map(|(id, digest)| (*id, *digest)))
    }

    fn bucket(&self, site: Id<Site>) -> Option<&Bucket> {
        self.buckets.get(bucket_of(site))
    }

    fn bucket_mut(&mut self, site: Id<Site>) -> Option<&mut Bucket> {
        self.buckets.get_mut(bucket_of(site))
    }

    /// Builds the index of many sites at once, digesting each bucket once.
    pub fn from_sites(
        settings: Digest,
        sites: impl IntoIterator<Item = (Id<Site>, Digest)>,
    ) -> Self {
        let mut index = Self::new(settings);
        for (site, digest) in sites {
            if let Some(bucket) = index.bucket_mut(site) {
                let added = bucket.sites.insert(site, digest).is_none();
                index.len += usize::from(added);
            }
        }
        index.buckets.iter_mut().for_each(Bucket::refresh);
        index
    }
}

/// The last byte of an id is random in every version of UUID; the first ones are time.
fn bucket_of(site: Id<Site>) -> usize {
    usize::from(site.uuid().as_bytes()[15])
}

impl Bucket {
    fn new() -> Self {
        let mut bucket = Self { digest: Digest([0; 32]), sites: BTreeMap::new() };
        bucket.refresh();
        bucket
    }

    fn refresh(&mut self) {
        let mut hasher = Sha256::new();
        for (id, digest) in &self.sites {
            hasher.update(id.uuid().as_bytes());
            hasher.update(digest.0);
        }
        self.digest = Digest(hasher.finalize().into());
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| DigestError)?;
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, DigestError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(n: u128) -> Id<Site> {
        Id::from_uuid(uuid::Uuid::from_u128(n))
    }

    #[test]
    fn the_digest_depends_on_content_and_not_on_history() {
        let settings = Digest::of(b"settings");
        let mut one = Index::new(settings);
        one.put(site(1), Digest::of(b"a"));
        one.put(site(300), Digest::of(b"x"));
        one.remove(site(300));
        one.put(site(2), Digest::of(b"b"));
        let other =
            Index::from_sites(settings, [(site(2), Digest::of(b"b")), (site(1), Digest::of(b"a"))]);
        assert_eq!(one.digest(), other.digest());
        assert_eq!((one.len(), other.len()), (2, 2));
    }

    #[test]
    fn every_part_counts() {
        let mut index = Index::new(Digest::of(b"settings"));
        let mut seen = vec![index.digest()];
        index.put(site(1), Digest::of(b"a"));
        seen.push(index.digest());
        index.put(site(1), Digest::of(b"b"));
        seen.push(index.digest());
        index.set_settings(Digest::of(b"other"));
        seen.push(index.digest());
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 4);
    }
}
