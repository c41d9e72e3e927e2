//! What is remembered of clients: a number for each, in a table that has an end. All workers read and
//! write it at the same time and none ever waits for another.
//!
//! A client has a place in one set of eight, found by its hash. Where a set has no place left that
//! nobody needs, the next, larger level of the table is asked, which is made when it is first needed: a
//! few clients cost a kilobyte, and a place has 16 bytes. Hashes are keyed, so nobody can choose with
//! whom to share a set.
//!
//! Two workers that see a new client at the same moment may give it two places. From then on both find
//! the same one of the two, so at most one request is counted where it is not looked for again.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering::SeqCst},
};

/// The places of a set: the hashes and the numbers fill two lines of a processor's cache.
const WAYS: usize = 8;

/// The sets of each level.
const LEVELS: [usize; 3] = [8, 256, 32_768];

/// A place that nobody has.
const EMPTY: u64 = 0;

/// A place that is changing hands.
const CHANGING: u64 = 1;

/// Numbers by keyed hash.
#[derive(Debug, Default)]
pub(super) struct Table {
    levels: [OnceLock<Box<[Set]>>; LEVELS.len()],
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Set {
    hashes: [AtomicU64; WAYS],
    numbers: [AtomicU64; WAYS],
}

/// The hash of what is counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key(u64);

/// Where a number stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    level: u8,
    set: u16,
    way: u8,
}

/// What to do where no place is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crowded {
    /// Whoever has the smallest number is forgotten.
    ForgetLeast,
    /// Nobody new is remembered.
    GiveUp,
}

impl Key {
    /// Returns the key of a hash.
    pub(super) fn new(hash: u64) -> Self {
        Self(hash.max(CHANGING + 1))
    }

    fn set(self, level: usize) -> usize {
        let sets = LEVELS.get(level).copied().unwrap_or(1);
        // Each level looks at other bits, so that who shares a set in one does not in the next.
        let bits = self.0.rotate_right(u32::try_from(level * 16).unwrap_or(0));
        usize::try_from(bits).unwrap_or(usize::MAX) & (sets - 1)
    }
}

impl Table {
    /// Returns the number of a key, if it is remembered.
    pub(super) fn number(&self, key: Key) -> Option<&AtomicU64> {
        self.find(key).and_then(|spot| self.at(spot)).map(|(_, number)| number)
    }

    /// Returns the place of a key, given to it if need be: one that is empty or whose number is free,
    /// which then becomes 0.
    pub(super) fn place(
        &self,
        key: Key,
        is_free: impl Fn(u64) -> bool,
        crowded: Crowded,
    ) -> Option<Spot> {
        if let Some(spot) = self.find(key) {
            return Some(spot);
        }
        for level in 0..LEVELS.len() {
            let Some(set) = self.sets(level).get(key.set(level)) else { continue };
            for way in 0..WAYS {
                if set.hand_over(way, key, &is_free) {
                    return spot(level, key.set(level), way);
                }
            }
        }
        match crowded {
            Crowded::ForgetLeast => self.displace(key),
            Crowded::GiveUp => None,
        }
    }

    /// Changes the number of a place until `change` needs no more than one attempt, and returns what it
    /// returned. Nothing where the place belongs to another key by now.
    pub(super) fn update<T>(
        &self,
        (spot, key): (Spot, Key),
        mut change: impl FnMut(u64) -> (T, u64),
    ) -> Option<T> {
        let (hash, number) = self.at(spot)?;
        let mut before = number.load(SeqCst);
        loop {
            if hash.load(SeqCst) != key.0 {
                return None;
            }
            let (result, after) = change(before);
            match number.compare_exchange_weak(before, after, SeqCst, SeqCst) {
                Ok(_) => return Some(result),
                Err(found) => before = found,
            }
        }
    }

    /// Takes one from the number of a place.
    pub(super) fn decrement(&self, spot: Spot) {
        if let Some((_, number)) = self.at(spot) {
            number.fetch_sub(1, SeqCst);
        }
    }

    fn find(&self, key: Key) -> Option<Spot> {
        for (level, sets) in self.levels.iter().enumerate() {
            let Some(set) = sets.get().and_then(|sets| sets.get(key.set(level))) else { break };
            let has_it = |hash: &AtomicU64| hash.load(SeqCst) == key.0;
            if let Some(way) = set.hashes.iter().position(has_it) {
                return spot(level, key.set(level), way);
            }
        }
        None
    }

    fn at(&self, spot: Spot) -> Option<(&AtomicU64, &AtomicU64)> {
        let sets = self.levels.get(usize::from(spot.level))?.get()?;
        let set = sets.get(usize::from(spot.set))?;
        let way = usize::from(spot.way);
        Some((set.hashes.get(way)?, set.numbers.get(way)?))
    }

    fn sets(&self, level: usize) -> &[Set] {
        let make = || {
            let count = LEVELS.get(level).copied().unwrap_or(1);
            (0..count).map(|_| Set::default()).collect()
        };
        self.levels.get(level).map_or(&[], |sets| sets.get_or_init(make))
    }

    /// Gives a key the place with the smallest number of its set in the last level.
    fn displace(&self, key: Key) -> Option<Spot> {
        let level = LEVELS.len() - 1;
        let set = self.sets(level).get(key.set(level))?;
        let numbers = set.numbers.iter().map(|number| number.load(SeqCst));
        let (way, least) = numbers.enumerate().min_by_key(|(_, number)| *number)?;
        let is_least = |number| number <= least;
        if set.hand_over(way, key, &is_least) { spot(level, key.set(level), way) } else { None }
    }
}

impl Set {
    /// Gives a key the place, if its number is free before and after nobody can find it any more.
    fn hand_over(&self, way: usize, key: Key, is_free: &impl Fn(u64) -> bool) -> bool {
        let (Some(hash), Some(number)) = (self.hashes.get(way), self.numbers.get(way)) else {
            return false;
        };
        let before = hash.load(SeqCst);
        let can_go = || before == EMPTY || is_free(number.load(SeqCst));
        if before == CHANGING || !can_go() {
            return false;
        }
        if hash.compare_exchange(before, CHANGING, SeqCst, SeqCst).is_err() {
            return false;
        }
        // Whoever found it before may have changed the number since.
        let found = number.load(SeqCst);
        let is_ours = (before == EMPTY || is_free(found))
            && number.compare_exchange(found, 0, SeqCst, SeqCst).is_ok();
        hash.store(if is_ours { key.0 } else { before }, SeqCst);
        is_ours
    }
}

fn spot(level: usize, set: usize, way: usize) -> Option<Spot> {
    let (level, way) = (u8::try_from(level).ok()?, u8::try_from(way).ok()?);
    Some(Spot { level, set: u16::try_from(set).ok()?, way })
}

#[cfg(test)]
mod tests {
    use std::{
        hash::{BuildHasher as _, RandomState},
        sync::Arc,
    };

    use super::*;

    #[test]
    fn a_key_keeps_its_place_and_number() {
        let table = Table::default();
        let key = Key::new(42);
        assert!(table.number(key).is_none());
        let spot = table.place(key, |_| false, Crowded::GiveUp).unwrap();
        assert_eq!(table.update((spot, key), |before| (before, before + 7)), Some(0));
        assert_eq!(table.place(key, |_| false, Crowded::GiveUp), Some(spot));
        assert_eq!(table.number(key).unwrap().load(SeqCst), 7);
    }

    #[test]
    fn a_place_that_is_free_goes_to_the_next_and_its_old_owner_notices() {
        let table = Table::default();
        // All of one set in every level.
        let keys: Vec<Key> = (0..).map(|n| Key::new(n << 40 | 8)).take(9).collect();
        let take = |key| table.place(key, |number| number == 0, Crowded::GiveUp).unwrap();
        let spots: Vec<Spot> = keys.iter().take(1).map(|key| take(*key)).collect();
        assert_eq!(take(keys[1]), spots[0], "its number was 0");
        assert_eq!(table.update((spots[0], keys[0]), |n| (n, n + 1)), None);
        assert_eq!(table.update((spots[0], keys[1]), |n| (n, n + 1)), Some(0));
        assert_ne!(take(keys[2]), spots[0], "it is in use");
    }

    #[test]
    fn a_table_that_is_full_forgets_the_least_or_gives_up() {
        let table = Table::default();
        let full = u64::try_from(LEVELS.iter().sum::<usize>() * WAYS).unwrap();
        let seed = RandomState::new();
        let hash = |n: u64| seed.hash_one(n);
        let mut given = 0_u64;
        for n in 1..2 * full {
            let key = Key::new(hash(n));
            if let Some(spot) = table.place(key, |number| number == 0, Crowded::GiveUp) {
                table.update((spot, key), |_| ((), n));
                given += 1;
            }
        }
        assert!(given <= full && given > full / 10 * 9, "{given} of {full}");
        let late = Key::new(hash(3 * full));
        if table.find(late).is_none() {
            let spot = table.place(late, |number| number == 0, Crowded::ForgetLeast).unwrap();
            assert_eq!(table.update((spot, late), |n| (n, n)), Some(0));
        }
    }

    #[test]
    fn a_client_costs_few_bytes_also_where_there_are_a_hundred_thousand() {
        let bytes = LEVELS.iter().sum::<usize>() * size_of::<Set>();
        assert_eq!(size_of::<Set>(), 128);
        assert!(bytes / 100_000 < 200, "{bytes} bytes");
        assert!(LEVELS.iter().sum::<usize>() * WAYS > 100_000);
    }

    #[test]
    fn what_many_threads_count_is_counted() {
        let table = Arc::new(Table::default());
        let keys: Vec<Key> = (0..50).map(|n| Key::new(n * 1_000_003 + 5)).collect();
        let count = |table: Arc<Table>, keys: Vec<Key>| {
            for key in keys.iter().cycle().take(50_000) {
                let spot = table.place(*key, |_| false, Crowded::GiveUp).unwrap();
                table.update((spot, *key), |n| ((), n + 1)).unwrap();
            }
        };
        // Places first, so that no key has two.
        count(Arc::clone(&table), keys.clone());
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (table, keys) = (Arc::clone(&table), keys.clone());
                std::thread::spawn(move || count(table, keys))
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        for key in keys {
            assert_eq!(table.number(key).unwrap().load(SeqCst), 5_000);
        }
    }
}
