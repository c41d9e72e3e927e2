//! Which node gets a revision in which wave.

use super::Strategy;

/// Returns for each node the number of its wave, from 0 without gaps. The nodes stand in the order in
/// which they are taken; `true` marks a canary, of which all are in the first wave.
pub fn waves_of(strategy: &Strategy, canaries: &[bool]) -> Vec<u32> {
    let all = canaries.len();
    let mut waves = vec![None; all];
    let mut wave = 0;
    let chosen = canaries.iter().filter(|is_canary| **is_canary).count();
    if chosen > 0 {
        for (place, is_canary) in waves.iter_mut().zip(canaries) {
            *place = is_canary.then_some(wave);
        }
        wave += 1;
    }
    let mut have = chosen;
    let whole = std::iter::once(all);
    for target in strategy.sizes().into_iter().map(|size| size.of(all)).chain(whole) {
        let wanted = target.saturating_sub(have);
        if wanted == 0 {
            continue;
        }
        for place in waves.iter_mut().filter(|place| place.is_none()).take(wanted) {
            *place = Some(wave);
        }
        have = target;
        wave += 1;
    }
    waves.into_iter().map(Option::unwrap_or_default).collect()
}

#[cfg(test)]
mod tests {
    use proptest::{
        prelude::{any, prop_assert, prop_assert_eq, prop_oneof, proptest},
        strategy::Strategy as _,
    };

    use super::*;
    use crate::rollout::WaveSize;

    fn waves(sizes: &[&str], canaries: &[bool]) -> Vec<u32> {
        let waves = sizes.iter().map(|size| size.parse().unwrap()).collect();
        waves_of(&Strategy { waves, ..Strategy::default() }, canaries)
    }

    #[test]
    fn without_a_word_one_node_comes_first_then_a_quarter_then_all() {
        assert_eq!(waves(&[], &[false; 8]), [0, 1, 2, 2, 2, 2, 2, 2]);
        assert_eq!(waves(&[], &[false; 2]), [0, 1]);
        assert_eq!(waves(&[], &[false]), [0]);
        assert_eq!(waves(&[], &[]), Vec::<u32>::new());
    }

    #[test]
    fn canaries_come_first_and_count() {
        assert_eq!(waves(&[], &[false, false, true, false, false]), [1, 2, 0, 2, 2]);
        assert_eq!(waves(&["100%"], &[false, true]), [1, 0]);
        assert_eq!(waves(&["1", "2"], &[true, true, false]), [0, 0, 1]);
    }

    #[test]
    fn sizes_say_how_many_have_it_afterwards_and_the_rest_comes_last() {
        assert_eq!(waves(&["2", "3"], &[false; 5]), [0, 0, 1, 2, 2]);
        assert_eq!(waves(&["50%"], &[false; 5]), [0, 0, 0, 1, 1]);
        assert_eq!(waves(&["3", "1", "9"], &[false; 5]), [0, 0, 0, 1, 1]);
    }

    #[test]
    fn sizes_are_written_as_they_are_read() {
        for text in ["1", "25%", "100%", "4000000000"] {
            assert_eq!(text.parse::<WaveSize>().unwrap().to_string(), text);
        }
        for text in ["", "0", "0%", "101%", "-1", "1.5", "%", "25 %", "all"] {
            assert!(text.parse::<WaveSize>().is_err(), "{text}");
        }
    }

    fn size() -> impl proptest::strategy::Strategy<Value = WaveSize> {
        prop_oneof![(1_u32..12).prop_map(WaveSize::Count), (1_u8..=100).prop_map(WaveSize::Percent)]
    }

    proptest! {
        #[test]
        fn every_node_has_a_wave_and_no_wave_is_empty(
            canaries in proptest::collection::vec(any::<bool>(), 1..30),
            waves in proptest::collection::vec(size(), 0..6),
        ) {
            let strategy = Strategy { waves, ..Strategy::default() };
            let found = waves_of(&strategy, &canaries);
            prop_assert_eq!(found.len(), canaries.len());
            let last = found.iter().copied().max().unwrap();
            for wave in 0..=last {
                prop_assert!(found.contains(&wave), "{:?} has no wave {}", found, wave);
            }
            if canaries.contains(&true) {
                for (wave, is_canary) in found.iter().zip(&canaries) {
                    prop_assert_eq!(*wave == 0, *is_canary);
                }
            }
        }
    }
}
