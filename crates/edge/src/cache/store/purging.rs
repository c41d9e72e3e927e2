//! Purges: those that are under way, and what they mean.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use portway_policy::bundle::PurgeWhat;

use super::{super::key::Key, kept::Kept};

/// The purges that are under way, and how many ever were. Whoever writes meanwhile takes back what it
/// wrote, so that nobody has to wait for a purge.
#[derive(Debug, Default)]
pub(super) struct Purging {
    under_way: AtomicU64,
    ever: AtomicU64,
}

/// A purge under way, until it is dropped.
pub(super) struct Purge<'a>(&'a Purging);

impl Purging {
    pub(super) fn begin(&self) -> Purge<'_> {
        self.under_way.fetch_add(1, SeqCst);
        self.ever.fetch_add(1, SeqCst);
        Purge(self)
    }

    /// Returns how many ever were; nothing while one is under way.
    pub(super) fn begun(&self) -> Option<u64> {
        let ever = self.ever.load(SeqCst);
        (self.under_way.load(SeqCst) == 0).then_some(ever)
    }

    /// Tells whether none was under way since.
    pub(super) fn is_still(&self, before: Option<u64>) -> bool {
        before == Some(self.ever.load(SeqCst))
    }
}

impl Drop for Purge<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, SeqCst);
    }
}

/// Tells whether a URL is meant; nothing where that depends on the answers.
pub(super) fn is_meant(what: &PurgeWhat, key: &Key) -> Option<bool> {
    Some(match what {
        PurgeWhat::All => true,
        PurgeWhat::Url(url) => {
            let own = if url.starts_with('/') { key.path() } else { key.bare() };
            // What is kept without its query is the answer to every query.
            own == url || (!own.contains('?') && url.split('?').next() == Some(own))
        }
        PurgeWhat::Prefix(prefix) => {
            let own = if prefix.starts_with('/') { key.path() } else { key.bare() };
            own.starts_with(prefix.as_str())
        }
        PurgeWhat::Tags(_) => return None,
    })
}

pub(super) fn is_tagged(what: &PurgeWhat, kept: &Kept) -> bool {
    match what {
        PurgeWhat::Tags(tags) => tags.iter().any(|tag| kept.tags.iter().any(|own| **own == **tag)),
        PurgeWhat::All | PurgeWhat::Url(_) | PurgeWhat::Prefix(_) => false,
    }
}
