//! So many requests in a time, as arithmetic: the generic cell rate algorithm. All that is known of a
//! client is one number, the moment at which its whole burst is there again, so it fits into an atomic.
//! nginx and Traefik count in the same way.

use std::time::Duration;

/// So many requests in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quota {
    /// The time after which one more request may come, in nanoseconds; at least one.
    interval: u64,
    /// How far ahead the moment may lie: as many intervals as requests may come at once.
    most: u64,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It may come.
    Yes(Left),
    /// It is too much.
    No {
        /// When the next one may come.
        wait: Duration,
        /// When the whole burst is there again.
        whole: Duration,
    },
}

/// What is left after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    /// How many may come at once.
    pub(crate) requests: u64,
    /// When the whole burst is there again.
    pub(crate) whole: Duration,
}

impl Quota {
    /// Returns the quota of so many requests in a time, of which so many at once. The bounds of the
    /// site file keep both far below what the numbers hold.
    pub(crate) fn new(requests: u32, period: Duration, burst: u32) -> Self {
        let period = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX);
        let interval = (period / u64::from(requests.max(1))).max(1);
        Self { interval, most: interval.saturating_mul(u64::from(burst.max(1))) }
    }

    /// Returns what becomes of a request at the moment `now`, and the moment to remember when it comes.
    /// `full` is the moment that is remembered; whoever was never there has one in the past.
    pub(crate) fn take(self, full: u64, now: u64) -> (Taken, u64) {
        // What lies farther ahead than it may was remembered under a larger quota.
        let ahead = full.saturating_sub(now).min(self.most);
        let next = ahead.saturating_add(self.interval);
        if next > self.most {
            let wait = Duration::from_nanos(next - self.most);
            return (Taken::No { wait, whole: Duration::from_nanos(ahead) }, full);
        }
        let requests = (self.most - next) / self.interval;
        let left = Left { requests, whole: Duration::from_nanos(next) };
        (Taken::Yes(left), now.saturating_add(next))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_burst_comes_at_once_and_then_one_at_a_time() {
        let quota = Quota::new(60, Duration::from_secs(60), 3);
        let mut full = 0;
        let mut come = |at: u64| {
            let (taken, remembered) = quota.take(full, at);
            full = remembered;
            taken
        };
        let left =
            |requests, seconds| Taken::Yes(Left { requests, whole: Duration::from_secs(seconds) });
        let wait = |millis| Duration::from_millis(millis);
        let now = 10 * SECOND;
        assert_eq!(come(now), left(2, 1));
        assert_eq!(come(now), left(1, 2));
        assert_eq!(come(now), left(0, 3));
        assert_eq!(come(now), Taken::No { wait: wait(1000), whole: wait(3000) });
        let half = now + SECOND / 2;
        assert_eq!(come(half), Taken::No { wait: wait(500), whole: wait(2500) });
        assert_eq!(come(now + SECOND), left(0, 3));
        assert_eq!(come(now + 100 * SECOND), left(2, 1));
    }

    #[test]
    fn a_smaller_quota_lets_nobody_wait_longer_than_its_own() {
        let large = Quota::new(1, Duration::from_secs(3600), 10);
        let small = Quota::new(1, Duration::from_secs(1), 1);
        let (_, full) = large.take(0, SECOND);
        let Taken::No { wait, .. } = small.take(full, SECOND).0 else { panic!("it may not") };
        assert_eq!(wait, Duration::from_secs(1));
    }

    proptest! {
        /// Like a bucket of tokens that is filled evenly.
        #[test]
        fn no_more_come_than_a_bucket_of_tokens_has(
            requests in 1_u32..1000,
            period in 1_u64..100,
            burst in 1_u32..50,
            pauses in proptest::collection::vec(0_u64..5_000_000_000, 1..200),
        ) {
            let quota = Quota::new(requests, Duration::from_secs(period), burst);
            let interval = period * SECOND / u64::from(requests);
            let (mut full, mut now, mut tokens) = (0, 1000 * SECOND, u64::from(burst) * interval);
            for pause in pauses {
                now += pause;
                tokens = (tokens + pause).min(u64::from(burst) * interval);
                let (taken, remembered) = quota.take(full, now);
                full = remembered;
                match taken {
                    Taken::Yes(left) => {
                        prop_assert!(tokens >= interval);
                        tokens -= interval;
                        prop_assert_eq!(left.requests, tokens / interval);
                    }
                    Taken::No { wait, .. } => {
                        prop_assert!(tokens < interval);
                        prop_assert_eq!(wait, Duration::from_nanos(interval - tokens));
                    }
                }
            }
        }
    }
}
