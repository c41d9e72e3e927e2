//! Points in time as numbers, so that they fit into an atomic.

use std::time::Duration;

/// A point in time: milliseconds since the edge began. The caller reads the clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(u64);

impl Moment {
    /// Before everything.
    pub(crate) const ZERO: Self = Self(0);
    /// After everything.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    /// Returns the moment so long after the edge began.
    pub(crate) fn at(since_start: Duration) -> Self {
        Self(u64::try_from(since_start.as_millis()).unwrap_or(u64::MAX))
    }

    /// Returns the milliseconds since the edge began.
    pub(crate) const fn millis(self) -> u64 {
        self.0
    }

    /// Returns the moment so many milliseconds after the edge began.
    pub(crate) const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Returns the moment so much later.
    pub(crate) fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(Self::at(time).0))
    }

    /// Returns the time that passed since `earlier`; none when that is later.
    pub(crate) const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}
