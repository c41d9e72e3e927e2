//! Consistent hashing: a key goes to the first target at or after its place on a ring. When a target
//! goes, only the keys that it had move; when one comes, only those that it gets.
//!
//! The hash is the same on every machine and in every version, so that several edges agree and an
//! upgrade moves nobody.

/// Points of a target of the least weight; more points divide keys more evenly.
const POINTS: u32 = 160;
/// Points in all; with many or heavy targets each has fewer.
const MOST_POINTS: u64 = 1 << 16;

/// A ring of targets.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    /// Places with the targets that stand there, in order.
    points: Vec<(u64, u32)>,
}

impl Ring {
    /// Builds the ring of targets by name and weight; a name must always mean the same target.
    pub(crate) fn new(targets: &[(impl AsRef<str>, u32)]) -> Self {
        let least = targets.iter().map(|(_, weight)| *weight).min().unwrap_or(1).max(1);
        let wanted: u64 = targets.iter().map(|(_, weight)| scaled(*weight, least)).sum();
        let shrink = wanted.div_ceil(MOST_POINTS).max(1);
        let mut points = Vec::new();
        for (index, (name, weight)) in (0..).zip(targets) {
            let name = hash(name.as_ref().as_bytes());
            let count = (scaled(*weight, least) / shrink).max(1);
            points.extend((0..count).map(|point| (mix(name ^ mix(point)), index)));
        }
        points.sort_unstable();
        Self { points }
    }

    /// Returns targets in the order in which they are tried for a key; one may come several times.
    pub(crate) fn walk(&self, key: u64) -> impl Iterator<Item = u32> + '_ {
        let first = self.points.partition_point(|(place, _)| *place < key);
        let (before, after) = self.points.split_at_checked(first).unwrap_or_default();
        after.iter().chain(before).map(|(_, index)| *index)
    }
}

fn scaled(weight: u32, least: u32) -> u64 {
    u64::from(weight) * u64::from(POINTS) / u64::from(least)
}

/// Hashes a key: FNV-1a, then mixed so that near keys lie far apart.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, fnv))
}

/// The finalizer of splitmix64: every bit of the input changes about half of the bits.
pub(super) const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEYS: u32 = 10_000;

    fn ring(names: &[String]) -> Ring {
        let targets: Vec<(&String, u32)> = names.iter().map(|name| (name, 1)).collect();
        Ring::new(&targets)
    }

    fn names(count: u32) -> Vec<String> {
        (0..count).map(|n| format!("10.0.0.{n}:8080")).collect()
    }

    fn owners(ring: &Ring, names: &[String]) -> Vec<String> {
        let owner = |key: u32| {
            let index = ring.walk(hash(&key.to_be_bytes())).next().unwrap();
            names[index as usize].clone()
        };
        (0..KEYS).map(owner).collect()
    }

    #[test]
    fn the_hash_never_changes() {
        assert_eq!(hash(b""), 0xc381_7c01_6ba4_ff30);
        assert_eq!(hash(b"192.0.2.7"), 0x7b1d_c73b_a78d_723c);
    }

    #[test]
    fn heavier_targets_get_more() {
        let ring = Ring::new(&[("a", 3), ("b", 1)]);
        let owner = |key: u32| ring.walk(hash(&key.to_be_bytes())).next();
        let percent = (0..KEYS).filter(|key| owner(*key) == Some(0)).count() * 100 / 10_000;
        assert!((68..82).contains(&percent), "{percent}");
    }

    #[test]
    fn a_thousand_heavy_targets_have_a_bounded_ring() {
        let targets: Vec<(String, u32)> = names(1000).into_iter().zip(1..).collect();
        let ring = Ring::new(&targets);
        assert!(ring.points.len() <= 2 << 16, "{}", ring.points.len());
        let seen: std::collections::BTreeSet<u32> =
            ring.points.iter().map(|(_, index)| *index).collect();
        assert_eq!(seen.len(), 1000);
    }

    #[test]
    fn an_empty_ring_has_nobody() {
        assert_eq!(ring(&[]).walk(7).next(), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn keys_are_divided_evenly(count in 2_u32..30) {
            let names = names(count);
            let owners = owners(&ring(&names), &names);
            let fair = (KEYS / count) as usize;
            for name in &names {
                let got = owners.iter().filter(|owner| *owner == name).count();
                prop_assert!((fair * 3 / 5..fair * 7 / 5).contains(&got), "{name}: {got} of {fair}");
            }
        }

        #[test]
        fn only_the_keys_of_a_target_that_goes_move(count in 2_u32..30, gone in 0_usize..30) {
            let before_names = names(count);
            let gone = before_names[gone % before_names.len()].clone();
            let after_names: Vec<String> =
                before_names.iter().filter(|name| **name != gone).cloned().collect();
            let before = owners(&ring(&before_names), &before_names);
            let after = owners(&ring(&after_names), &after_names);
            let mut moved = 0;
            for (before, after) in before.iter().zip(&after) {
                if before == after {
                    continue;
                }
                prop_assert_eq!(before, &gone, "a key moved although its target stayed");
                moved += 1;
            }
            let fair = (KEYS / count) as usize;
            prop_assert!((fair * 3 / 5..fair * 7 / 5).contains(&moved), "{moved} of {fair}");
        }
    }
}
