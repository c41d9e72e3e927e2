//! What outlives a change of a site: how busy targets are, how they are, who waits.
//!
//! Everything is found again by a stable name: a target by its address, its condition by its address
//! and the rules by which it is judged, an upstream by its place in the site. What nobody uses any
//! more is forgotten once the site was made ready anew ([`States::forget_unused`]): between a change
//! and the next request nobody uses anything.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
};

use portway_model::site::{Upstream, WeightedTarget};

use super::{Condition, Failure, Moment, Queue, RetryBudget, condition::Change};

/// The states of a site's targets and upstreams.
#[derive(Debug, Default)]
pub(crate) struct States {
    loads: Mutex<HashMap<String, Arc<Load>>>,
    conditions: Mutex<HashMap<String, Arc<Condition>>>,
    upstreams: Mutex<HashMap<String, Arc<UpstreamState>>>,
    signals: Arc<Signals>,
}

/// What upstreams of a site tell each other: they may have targets in common.
#[derive(Debug, Default)]
pub(super) struct Signals {
    /// Counts the changes of conditions, so that who has looked at all of them knows when to look
    /// again.
    changes: AtomicU64,
    /// Where requests may wait.
    queues: Mutex<Vec<Weak<Queue>>>,
    /// How many queues there are, to be read without the lock.
    queue_count: AtomicUsize,
}

/// How busy a target is.
#[derive(Debug, Default)]
pub(crate) struct Load {
    in_flight: AtomicU32,
}

/// What belongs to an upstream as a whole.
#[derive(Debug, Default)]
pub(crate) struct UpstreamState {
    /// Requests in flight, where they are bounded.
    pub(super) load: Load,
    /// The turn of the next request.
    pub(super) turn: AtomicU64,
    /// How many retries may be made.
    pub(super) budget: RetryBudget,
    /// Who waits for a place.
    pub(super) queue: Arc<Queue>,
}

/// A target of an upstream with its states.
#[derive(Debug)]
pub(crate) struct Target {
    /// Its place among the targets of its upstream.
    pub(super) index: u32,
    /// What was declared.
    pub(super) declared: WeightedTarget,
    pub(super) load: Arc<Load>,
    pub(super) condition: Arc<Condition>,
    signals: Arc<Signals>,
}

impl States {
    /// Forgets what is not used by whoever was made ready with it.
    pub(crate) fn forget_unused(&self) {
        lock(&self.loads).retain(|_, state| Arc::strong_count(state) > 1);
        lock(&self.conditions).retain(|_, state| Arc::strong_count(state) > 1);
        lock(&self.upstreams).retain(|_, state| Arc::strong_count(state) > 1);
    }

    /// Returns the state of the upstream at a place of the site.
    pub(super) fn upstream(&self, place: &str) -> Arc<UpstreamState> {
        find(&self.upstreams, place.to_owned())
    }

    /// Returns a target with its states.
    pub(super) fn target(
        &self,
        index: u32,
        declared: &WeightedTarget,
        upstream: &Upstream,
    ) -> Arc<Target> {
        let asked = upstream.health.as_ref();
        let asked = asked.map(|health| (health, upstream.protocol, &upstream.tls));
        let judged_by = format!("{declared} {asked:?} {:?}", upstream.eject);
        Arc::new(Target {
            index,
            declared: declared.clone(),
            load: find(&self.loads, declared.to_string()),
            condition: find(&self.conditions, judged_by),
            signals: Arc::clone(&self.signals),
        })
    }

    pub(super) fn signals(&self) -> Arc<Signals> {
        Arc::clone(&self.signals)
    }
}

impl Signals {
    /// Returns the count of changes of conditions.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Adds a queue to those that are woken.
    pub(super) fn add_queue(&self, queue: &Arc<Queue>) {
        let mut queues = lock(&self.queues);
        queues.retain(|other| other.strong_count() > 0);
        if !queues.iter().any(|other| std::ptr::eq(other.as_ptr(), Arc::as_ptr(queue))) {
            queues.push(Arc::downgrade(queue));
        }
        self.queue_count.store(queues.len(), Ordering::Release);
    }

    /// Wakes the first in each line: a place may have become free.
    pub(super) fn poke(&self) {
        if self.queue_count.load(Ordering::Acquire) == 0 {
            return;
        }
        for queue in lock(&self.queues).iter().filter_map(Weak::upgrade) {
            queue.poke();
        }
    }
}

fn find<T: Default>(known: &Mutex<HashMap<String, Arc<T>>>, name: String) -> Arc<T> {
    Arc::clone(lock(known).entry(name).or_default())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Load {
    /// Returns how many requests are in flight.
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Takes a place, if there is one below `limit`.
    pub(super) fn enter(&self, limit: Option<u32>) -> bool {
        let Some(limit) = limit else {
            self.in_flight.fetch_add(1, Ordering::Relaxed);
            return true;
        };
        let more = |count| (count < limit).then_some(count + 1);
        self.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// Gives a place back. What is written here is seen by whoever is woken because of it.
    pub(super) fn leave(&self) {
        self.in_flight.fetch_sub(1, Ordering::Release);
    }
}

impl Target {
    /// Returns its place among the targets of its upstream.
    pub(crate) const fn index(&self) -> u32 {
        self.index
    }

    /// Returns what was declared.
    pub(crate) const fn declared(&self) -> &WeightedTarget {
        &self.declared
    }

    /// Returns how many requests are in flight.
    pub(crate) fn in_flight(&self) -> u32 {
        self.load.in_flight()
    }

    /// Returns how it is.
    pub(crate) fn condition(&self) -> &Condition {
        &self.condition
    }

    /// Returns the address of its condition: equal for targets that are judged as one.
    pub(crate) fn condition_address(&self) -> usize {
        Arc::as_ptr(&self.condition).addr()
    }

    /// Takes note of a check.
    pub(crate) fn checked(&self, now: Moment, good: bool, upstream: &Upstream) -> Option<Change> {
        let change = self.condition.checked(now, good, upstream.health.as_ref()?);
        self.announce(change)
    }

    /// Takes note of a request that failed.
    pub(super) fn failed(&self, now: Moment, _: Failure, upstream: &Upstream) -> Option<Change> {
        let change = self.condition.failed(now, upstream.eject.as_ref()?);
        self.announce(change)
    }

    /// Takes note of the status of an answer.
    pub(super) fn answered(
        &self,
        now: impl FnOnce() -> Moment,
        status: u16,
        upstream: &Upstream,
    ) -> Option<Change> {
        let rule = upstream.eject.as_ref()?;
        if !rule.statuses.iter().any(|range| range.contains(status)) {
            return None;
        }
        let change = self.condition.failed(now(), rule);
        self.announce(change)
    }

    fn announce(&self, change: Option<Change>) -> Option<Change> {
        if change.is_some() {
            self.signals.changes.fetch_add(1, Ordering::Release);
            self.signals.poke();
        }
        change
    }
}
