//! The clock by which targets are judged: what [`crate::balance`] decides by is a number that fits
//! into an atomic, and this is where it comes from.

use std::time::Duration;

use tokio::time::Instant;

use crate::balance::Moment;

/// Counts the time since the edge began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    /// Begins to count.
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// Returns the moment that is now.
    pub(crate) fn now(self) -> Moment {
        self.moment(Instant::now())
    }

    /// Returns the nanoseconds since the edge began, for what happens many times in a millisecond.
    pub(crate) fn nanoseconds(self) -> u64 {
        let passed = Instant::now().saturating_duration_since(self.0);
        u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX)
    }

    /// Returns the moment of an instant.
    pub(crate) fn moment(self, instant: Instant) -> Moment {
        Moment::at(instant.saturating_duration_since(self.0))
    }

    /// Returns the instant of a moment; far ahead for one that is out of reach.
    pub(crate) fn instant(self, moment: Moment) -> Instant {
        let far = Instant::now() + Duration::from_hours(24);
        self.0.checked_add(Duration::from_millis(moment.millis())).unwrap_or(far)
    }
}
