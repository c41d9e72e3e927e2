//! How many retries may be made: a share of the requests of late.
//!
//! Every request puts its share into a bucket, and every retry takes a whole one out. The bucket
//! holds what ten seconds of traffic put in, but at least a few, so that a quiet site can retry.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Moment;

/// Retries that are there without any traffic.
const LEAST: u64 = 10;
/// Retries that are kept at most.
const MOST: u64 = 10_000;
/// One retry, in the unit of the bucket: a hundredth of a request's share.
const RETRY: u64 = 100;
/// The time after which a bucket without traffic is as at the beginning.
const QUIET_MILLIS: u64 = 10_000;

/// A bucket of retries, shared by all threads.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    tokens: AtomicU64,
    /// When there was the last request that was looked at.
    seen: AtomicU64,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { tokens: AtomicU64::new(LEAST * RETRY), seen: AtomicU64::new(0) }
    }
}

impl RetryBudget {
    /// Takes note of a request, which earns `percent` of a retry.
    pub(crate) fn request(&self, now: Moment, percent: u8) {
        self.refill_after_quiet(now);
        let before = self.tokens.load(Ordering::Relaxed);
        if before < MOST * RETRY {
            // A share that is lost between two threads is of no account.
            self.tokens.fetch_add(u64::from(percent), Ordering::Relaxed);
        }
    }

    /// Takes a retry, if there is one.
    pub(crate) fn take(&self, now: Moment) -> bool {
        self.refill_after_quiet(now);
        self.tokens
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |tokens| tokens.checked_sub(RETRY))
            .is_ok()
    }

    fn refill_after_quiet(&self, now: Moment) {
        let seen = self.seen.load(Ordering::Relaxed);
        let now = now.millis();
        // Written at most once in a second, so that threads do not fight over it.
        if now < seen.saturating_add(1_000) {
            return;
        }
        let is_quiet = now >= seen.saturating_add(QUIET_MILLIS);
        if self.seen.compare_exchange(seen, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
            && is_quiet
        {
            self.tokens.store(LEAST * RETRY, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::from_millis(seconds * 1000)
    }

    #[test]
    fn a_quiet_site_can_retry_a_little_and_no_more() {
        let budget = RetryBudget::default();
        let made = (0..100).filter(|_| budget.take(at(20))).count();
        assert_eq!(made, 10);
        assert!(budget.take(at(40)), "after a quiet time there are some again");
    }

    #[test]
    fn retries_are_a_share_of_requests() {
        let budget = RetryBudget::default();
        let mut retries = 0_u32;
        for request in 0..10_000_u64 {
            let now = Moment::from_millis(20_000 + request);
            budget.request(now, 20);
            // Everything fails, and everyone would try three times.
            retries += (0..3).map(|_| u32::from(budget.take(now))).sum::<u32>();
        }
        assert_eq!(retries, 2_000 + 10);
    }
}
