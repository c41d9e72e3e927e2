//! Whether a target can be used: what checks found, and what requests found.
//!
//! Both are state machines that are told what happened and when. Being well is read by every
//! request and costs two atomic loads; what is written is written by checks and failures, which are
//! rare.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use portway_model::site::{Ejection, Health};

use super::Moment;

/// A target that failed again and again is out at most so many times as long as the first time.
const LONGEST: u32 = 10;

/// What is known of a target. It outlives changes of the site.
#[derive(Debug, Default)]
pub(crate) struct Condition {
    /// What checks found; see [`Checked`].
    checked: AtomicU32,
    /// Until when failures of requests keep it out; 0 when they never did.
    ejected_until: AtomicU64,
    /// When checks brought it back; 0 when they never did.
    back_at: AtomicU64,
    failures: Mutex<Failures>,
}

/// How a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No connection.
    Connect,
    /// No answer in time.
    Timeout,
    /// An answer that is none, or a connection that broke before one.
    Invalid,
}

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It was used and is not any more, because of checks.
    Down,
    /// It was not used because of checks and is again.
    Up,
    /// Failures of requests took it out.
    Ejected {
        /// Until when.
        until: Moment,
    },
}

#[derive(Debug, Default)]
struct Failures {
    /// When they happened; at most as many as it takes.
    times: VecDeque<Moment>,
    /// Ejections in a row.
    row: u32,
    /// How long the last one was.
    last: Duration,
}

/// What checks found, in one number: whether there was an answer at all, whether the target is well,
/// and how many answers in a row said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Checked {
    known: bool,
    well: bool,
    against: u32,
}

impl Checked {
    const KNOWN: u32 = 1 << 31;
    const ILL: u32 = 1 << 30;

    const fn unpack(bits: u32) -> Self {
        Self {
            known: bits & Self::KNOWN != 0,
            well: bits & Self::ILL == 0,
            against: bits & !(Self::KNOWN | Self::ILL),
        }
    }

    const fn pack(self) -> u32 {
        let known = if self.known { Self::KNOWN } else { 0 };
        let ill = if self.well { 0 } else { Self::ILL };
        known | ill | self.against
    }

    /// The first answer decides at once; later ones must repeat themselves to change anything.
    const fn next(self, good: bool, needed: u32) -> Self {
        if !self.known {
            return Self { known: true, well: good, against: 0 };
        }
        if good == self.well {
            return Self { against: 0, ..self };
        }
        if self.against + 1 >= needed {
            return Self { well: good, against: 0, ..self };
        }
        Self { against: self.against + 1, ..self }
    }
}

impl Condition {
    /// Tells whether it can be used.
    pub(crate) fn is_well(&self, now: Moment) -> bool {
        Checked::unpack(self.checked.load(Ordering::Relaxed)).well && !self.is_ejected(now)
    }

    /// Tells whether checks say that it is well; so it is before the first one.
    pub(crate) fn passes_checks(&self) -> bool {
        Checked::unpack(self.checked.load(Ordering::Relaxed)).well
    }

    /// Tells whether failures of requests keep it out.
    pub(crate) fn is_ejected(&self, now: Moment) -> bool {
        now.millis() < self.ejected_until.load(Ordering::Relaxed)
    }

    /// Returns when its ejection ends, if it has not.
    pub(crate) fn returns_at(&self, now: Moment) -> Option<Moment> {
        let until = Moment::from_millis(self.ejected_until.load(Ordering::Relaxed));
        (until > now).then_some(until)
    }

    /// Returns when it came back last, by a check or by the end of an ejection.
    pub(crate) fn back_since(&self, now: Moment) -> Option<Moment> {
        let ejected = self.ejected_until.load(Ordering::Relaxed);
        let ejected = if ejected <= now.millis() { ejected } else { 0 };
        let back = ejected.max(self.back_at.load(Ordering::Relaxed));
        (back > 0).then_some(Moment::from_millis(back))
    }

    /// Takes note of a check. One check at a time runs for a target.
    pub(crate) fn checked(&self, now: Moment, good: bool, health: &Health) -> Option<Change> {
        let before = Checked::unpack(self.checked.load(Ordering::Relaxed));
        let after = before.next(good, if good { health.rise } else { health.fall });
        if good && !before.well && after.well {
            self.back_at.store(now.millis().max(1), Ordering::Relaxed);
        }
        self.checked.store(after.pack(), Ordering::Relaxed);
        match (before.well, after.well) {
            (true, false) => Some(Change::Down),
            (false, true) => Some(Change::Up),
            (true, true) | (false, false) => None,
        }
    }

    /// Takes note of a failure. A target that is out already is not taken out for longer by what was
    /// on its way.
    pub(crate) fn failed(&self, now: Moment, rule: &Ejection) -> Option<Change> {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_ejected(now) || !failures.are_enough(now, rule) {
            return None;
        }
        let until = Moment::from_millis(self.ejected_until.load(Ordering::Relaxed));
        let time = failures.eject(now.since(until), rule);
        let until = now.after(time);
        self.ejected_until.store(until.millis(), Ordering::Relaxed);
        Some(Change::Ejected { until })
    }
}

impl Failures {
    /// Adds a failure and tells whether there were as many as it takes within the time.
    fn are_enough(&mut self, now: Moment, rule: &Ejection) -> bool {
        let needed = usize::try_from(rule.failures).unwrap_or(usize::MAX).max(1);
        self.times.push_back(now);
        while self.times.len() > needed {
            self.times.pop_front();
        }
        let first = self.times.front().copied().unwrap_or(now);
        self.times.len() == needed && now.since(first) <= rule.within.duration()
    }

    /// Returns for how long the target is out. It was in for `well` before; as long as the last
    /// ejection was, and the row ends.
    fn eject(&mut self, well: Duration, rule: &Ejection) -> Duration {
        self.times.clear();
        let is_in_a_row = self.row > 0 && well < self.last.max(rule.within.duration());
        self.row = if is_in_a_row { self.row.saturating_add(1) } else { 1 };
        let factor = 1_u32.checked_shl(self.row - 1).unwrap_or(LONGEST).min(LONGEST);
        self.last = rule.lasts.duration().saturating_mul(factor);
        self.last
    }
}

#[cfg(test)]
mod tests {
    use portway_model::Seconds;

    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::from_millis(seconds * 1000)
    }

    fn rule(failures: u32) -> Ejection {
        Ejection { failures, within: Seconds(30), lasts: Seconds(30), statuses: Vec::new() }
    }

    /// Fails until it is out, and returns for how many seconds.
    fn eject(condition: &Condition, now: Moment, rule: &Ejection) -> u64 {
        for _ in 0..rule.failures {
            if let Some(Change::Ejected { until }) = condition.failed(now, rule) {
                return until.since(now).as_secs();
            }
        }
        panic!("it is not out");
    }

    #[test]
    fn the_first_answer_decides_and_later_ones_must_repeat_themselves() {
        let health = Health::http("/");
        let condition = Condition::default();
        assert!(condition.is_well(at(0)));
        assert_eq!(condition.checked(at(1), false, &health), Some(Change::Down));
        assert_eq!(condition.checked(at(2), true, &health), None);
        assert_eq!(condition.checked(at(3), false, &health), None);
        assert_eq!(condition.checked(at(4), true, &health), None);
        assert!(!condition.is_well(at(4)));
        assert_eq!(condition.checked(at(5), true, &health), Some(Change::Up));
        assert_eq!(condition.back_since(at(9)), Some(at(5)));
        for now in 6..8 {
            assert_eq!(condition.checked(at(now), false, &health), None);
        }
        assert_eq!(condition.checked(at(8), false, &health), Some(Change::Down));
    }

    #[test]
    fn a_target_that_is_well_from_the_start_never_came_back() {
        let condition = Condition::default();
        assert_eq!(condition.checked(at(1), true, &Health::http("/")), None);
        assert_eq!(condition.back_since(at(9)), None);
    }

    #[test]
    fn failures_that_lie_too_far_apart_take_nothing_out() {
        let condition = Condition::default();
        for now in 0..50 {
            assert_eq!(condition.failed(at(16 * now), &rule(3)), None);
        }
    }

    #[test]
    fn enough_failures_take_a_target_out_and_it_comes_back_by_itself() {
        let condition = Condition::default();
        assert_eq!(condition.failed(at(0), &rule(3)), None);
        assert_eq!(condition.failed(at(10), &rule(3)), None);
        let out = condition.failed(at(20), &rule(3));
        assert_eq!(out, Some(Change::Ejected { until: at(50) }));
        assert!(!condition.is_well(at(49)));
        assert_eq!(condition.returns_at(at(49)), Some(at(50)));
        assert!(condition.is_well(at(50)));
        assert_eq!(condition.back_since(at(50)), Some(at(50)));
    }

    #[test]
    fn what_was_on_its_way_does_not_make_it_longer() {
        let condition = Condition::default();
        assert_eq!(eject(&condition, at(0), &rule(2)), 30);
        assert_eq!(condition.failed(at(1), &rule(2)), None);
        assert_eq!(condition.failed(at(2), &rule(2)), None);
        assert!(condition.is_well(at(30)));
    }

    #[test]
    fn each_time_in_a_row_is_longer_up_to_ten_times() {
        let condition = Condition::default();
        let mut now = at(0);
        let mut seconds = Vec::new();
        for _ in 0..7 {
            let out = eject(&condition, now, &rule(2));
            seconds.push(out);
            now = now.after(Duration::from_secs(out + 1));
        }
        assert_eq!(seconds, [30, 60, 120, 240, 300, 300, 300]);
    }

    #[test]
    fn a_row_ends_when_the_target_was_well_for_as_long() {
        let condition = Condition::default();
        assert_eq!(eject(&condition, at(0), &rule(2)), 30);
        assert_eq!(eject(&condition, at(31), &rule(2)), 60);
        assert_eq!(eject(&condition, at(91 + 60), &rule(2)), 30);
    }
}
