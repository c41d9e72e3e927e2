//! What connections are kept apart by. Targets whose connections may stand in for each other share
//! one [`Destination`], in all sites and all worker threads of the process. When the last of them is
//! gone, so is the destination, and connections that were kept for it are closed.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, LazyLock, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use super::places::Places;

/// Where connections lead that may stand in for each other.
pub(crate) struct Destination {
    id: u64,
    /// The connections to it, where they are counted.
    pub(super) places: Places,
}

impl Destination {
    /// Returns a number that no other destination of this process ever has.
    pub(crate) const fn id(&self) -> u64 {
        self.id
    }
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Destination").field(&self.id).finish()
    }
}

/// The destinations that there are, by what tells them apart.
#[derive(Default)]
struct Known {
    by_key: HashMap<String, Weak<Destination>>,
    /// The number of entries at which those that are gone are looked for.
    prune_at: usize,
}

/// Returns the destination of a key.
pub(super) fn of(key: String) -> Arc<Destination> {
    static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(destination) = known.by_key.get(&key).and_then(Weak::upgrade) {
        return destination;
    }
    if known.by_key.len() >= known.prune_at {
        known.by_key.retain(|_, destination| destination.strong_count() > 0);
        known.prune_at = 64 + 2 * known.by_key.len();
    }
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    let destination = Arc::new(Destination { id, places: Places::default() });
    known.by_key.insert(key, Arc::downgrade(&destination));
    destination
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_lives_as_long_as_somebody_leads_there() {
        let key = || "destination of a test".to_owned();
        let first = of(key());
        assert_eq!(first.id(), of(key()).id());
        let id = first.id();
        drop(first);
        assert_ne!(id, of(key()).id());
    }
}
