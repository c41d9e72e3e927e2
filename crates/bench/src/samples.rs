//! Durations that were measured, and what is said of them.

use std::time::Duration;

/// Durations that were measured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples {
    sorted: Vec<Duration>,
}

impl FromIterator<Duration> for Samples {
    fn from_iter<I: IntoIterator<Item = Duration>>(durations: I) -> Self {
        let mut sorted: Vec<Duration> = durations.into_iter().collect();
        sorted.sort_unstable();
        Self { sorted }
    }
}

impl Samples {
    /// Returns how many there are.
    pub(crate) fn count(&self) -> usize {
        self.sorted.len()
    }

    /// Returns the smallest duration that is not exceeded by `percent` of all (nearest rank);
    /// nothing where nothing was measured.
    pub(crate) fn percentile(&self, percent: usize) -> Option<Duration> {
        let rank = (self.sorted.len() * percent).div_ceil(100);
        self.sorted.get(rank.max(1) - 1).copied()
    }

    /// Returns the longest.
    pub(crate) fn longest(&self) -> Option<Duration> {
        self.sorted.last().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(millis: impl IntoIterator<Item = u64>) -> Samples {
        millis.into_iter().map(Duration::from_millis).collect()
    }

    #[test]
    fn a_percentile_is_a_duration_that_was_measured() {
        let hundred = of((1..=100).rev());
        assert_eq!(hundred.percentile(50), Some(Duration::from_millis(50)));
        assert_eq!(hundred.percentile(99), Some(Duration::from_millis(99)));
        assert_eq!(hundred.percentile(100), hundred.longest());
        let three = of([5, 1, 3]);
        assert_eq!(three.percentile(50), Some(Duration::from_millis(3)));
        assert_eq!(three.percentile(99), Some(Duration::from_millis(5)));
        assert_eq!(three.count(), 3);
    }

    #[test]
    fn nothing_is_said_of_nothing() {
        assert_eq!(of([]).percentile(99), None);
        assert_eq!(of([]).longest(), None);
    }
}
