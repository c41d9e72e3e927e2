//! A round of targets: each as often as its weight says, as evenly as can be. Going round it by a
//! shared counter is smooth weighted round robin without a lock, and a random place in it is a draw
//! by weight.

/// The longest round. Weights that need more are rounded, to less than a thousandth of the whole.
const LONGEST: u64 = 4096;

/// Working a round out costs its length times the number of targets; many targets have a shorter
/// one.
const MOST_WORK: u64 = 500_000;

/// A round of targets.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    turns: Vec<u32>,
}

impl Schedule {
    /// Builds the round of targets with their weights; those of weight 0 have no turn.
    pub(crate) fn new(targets: &[(u32, u64)]) -> Self {
        let divisor = targets.iter().fold(0, |divisor, (_, weight)| gcd(divisor, *weight)).max(1);
        let total: u64 = targets.iter().map(|(_, weight)| weight / divisor).sum();
        let used = targets.iter().filter(|(_, weight)| *weight > 0);
        let used = used.map(|(index, weight)| (*index, turns_of(weight / divisor, total, targets)));
        Self { turns: smooth(&used.collect::<Vec<_>>()) }
    }

    /// Returns the targets from a turn on, once round.
    pub(crate) fn walk(&self, turn: u64) -> impl Iterator<Item = u32> + '_ {
        let first = self.place(turn);
        let (before, after) = self.turns.split_at_checked(first).unwrap_or_default();
        after.iter().chain(before).copied()
    }

    /// Returns the target whose turn it is.
    pub(crate) fn get(&self, turn: u64) -> Option<u32> {
        self.turns.get(self.place(turn)).copied()
    }

    fn place(&self, turn: u64) -> usize {
        let length = u64::try_from(self.turns.len()).unwrap_or(u64::MAX).max(1);
        usize::try_from(turn % length).unwrap_or_default()
    }
}

fn turns_of(weight: u64, total: u64, targets: &[(u32, u64)]) -> u64 {
    let count = u64::try_from(targets.len()).unwrap_or(u64::MAX).max(1);
    let longest = LONGEST.min((MOST_WORK / count).max(count));
    if total <= longest { weight } else { (weight * longest / total).max(1) }
}

/// Lays the turns out: each time everyone gains its weight, and the one that has most pays the
/// whole (smooth weighted round robin, as nginx does it for each request).
fn smooth(targets: &[(u32, u64)]) -> Vec<u32> {
    let credit = |turns: u64| i64::try_from(turns).unwrap_or(i64::MAX);
    let total: u64 = targets.iter().map(|(_, turns)| turns).sum();
    let mut credits: Vec<(i64, i64, u32)> =
        targets.iter().map(|(index, turns)| (0, credit(*turns), *index)).collect();
    let mut round = Vec::new();
    for _ in 0..total {
        for (has, gains, _) in &mut credits {
            *has += *gains;
        }
        // Of equals the first one, which `max_by_key` on the reverse is.
        if let Some((has, _, index)) = credits.iter_mut().rev().max_by_key(|(has, ..)| *has) {
            *has -= credit(total);
            round.push(*index);
        }
    }
    round
}

const fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round(weights: &[u64]) -> Vec<u32> {
        let targets: Vec<(u32, u64)> = (0..).zip(weights.iter().copied()).collect();
        Schedule::new(&targets).turns
    }

    #[test]
    fn equal_targets_take_turns() {
        assert_eq!(round(&[1, 1, 1]), [0, 1, 2]);
        assert_eq!(round(&[5, 5]), [0, 1]);
    }

    #[test]
    fn a_heavy_target_has_no_streak_that_can_be_avoided() {
        assert_eq!(round(&[5, 1, 1]), [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn many_heavy_targets_have_a_bounded_round_and_keep_their_turns() {
        let weights: Vec<u64> = (1..=1000).collect();
        let turns = round(&weights);
        assert!(turns.len() < 3000, "{}", turns.len());
        let of_last = turns.iter().filter(|index| **index == 999).count();
        assert!(of_last >= 1 && (0..1000).all(|index| turns.contains(&index)));
    }

    #[test]
    fn it_goes_round_from_any_turn() {
        let schedule = Schedule::new(&[(7, 1), (8, 1)]);
        assert_eq!(schedule.walk(3).collect::<Vec<_>>(), [8, 7]);
        assert_eq!(schedule.get(4), Some(7));
        assert_eq!(Schedule::default().get(4), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn everyone_has_its_share_and_nobody_waits_long(weights in proptest::collection::vec(0_u64..40, 1..12)) {
            let turns = round(&weights);
            let divisor = weights.iter().fold(0, |divisor, weight| gcd(divisor, *weight)).max(1);
            let total: u64 = weights.iter().map(|weight| weight / divisor).sum();
            prop_assert_eq!(turns.len() as u64, total);
            for (index, weight) in (0_u32..).zip(&weights) {
                let weight = weight / divisor;
                let places: Vec<usize> =
                    (0..turns.len()).filter(|place| turns[*place] == index).collect();
                prop_assert_eq!(places.len() as u64, weight);
                // Between two turns lies at most twice what would be perfectly even.
                for pair in places.windows(2) {
                    let gap = (pair[1] - pair[0]) as u64;
                    prop_assert!(gap <= 2 * total.div_ceil(weight), "{turns:?}");
                }
            }
        }
    }
}
