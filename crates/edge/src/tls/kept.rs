//! What is kept while it is asked for, in bounded room.

use std::{collections::HashMap, hash::Hash, mem};

/// The number of entries at which those that nobody can ask for any more are first looked for.
const FIRST_SWEEP: usize = 256;

/// A map of two generations. What is asked for is in the younger one; when that is full it becomes the
/// older one, and what nobody asked for since is forgotten. So between one and two generations are kept.
pub(super) struct Kept<K, V> {
    younger: HashMap<K, V>,
    older: HashMap<K, V>,
    /// The most entries of a generation.
    most: usize,
    sweep_at: usize,
}

impl<K: Copy + Eq + Hash, V: Clone> Kept<K, V> {
    /// Returns an empty one, which holds at most twice as many entries as `most`.
    pub(super) fn new(most: usize) -> Self {
        let sweep_at = FIRST_SWEEP.min(most);
        Self { younger: HashMap::new(), older: HashMap::new(), most, sweep_at }
    }

    /// Returns what is kept for a key.
    pub(super) fn get(&mut self, key: K) -> Option<V> {
        if let Some(value) = self.younger.get(&key) {
            return Some(value.clone());
        }
        let value = self.older.remove(&key)?;
        self.insert(key, value.clone());
        Some(value)
    }

    /// Keeps a value. Each time the younger generation has doubled, and when it is full, what is not
    /// `wanted` any more is forgotten.
    pub(super) fn put(&mut self, key: K, value: V, wanted: impl Fn(&K) -> bool) {
        if self.younger.len() >= self.sweep_at {
            self.younger.retain(|key, _| wanted(key));
            self.older.retain(|key, _| wanted(key));
            self.sweep_at = (self.younger.len() * 2).clamp(FIRST_SWEEP.min(self.most), self.most);
        }
        self.insert(key, value);
    }

    fn insert(&mut self, key: K, value: V) {
        if self.younger.len() >= self.most {
            self.older = mem::take(&mut self.younger);
        }
        self.younger.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_stays_in_bounded_room() {
        let mut kept = Kept::new(10);
        for key in 0..1000_u32 {
            kept.put(key, key, |_| true);
            assert_eq!(kept.get(0), Some(0), "it is asked for again and again");
            assert_eq!(kept.get(key), Some(key));
            assert!(kept.younger.len() + kept.older.len() <= 20);
        }
        assert_eq!(kept.get(500), None);
        assert!((991..1000).all(|key| kept.get(key) == Some(key)), "the last ones are there");
    }

    #[test]
    fn what_is_not_wanted_is_forgotten() {
        let mut kept = Kept::new(1000);
        for key in 0..=256_u32 {
            kept.put(key, (), |key| key % 2 == 0);
        }
        assert_eq!((kept.get(1), kept.get(2), kept.get(256)), (None, Some(()), Some(())));
    }
}
