//! Requests for the same, of which one asks and the others wait.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasher as _, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use tokio::{sync::watch, time::Instant};

use super::{key::Key, question::Personal, vary::Own};

/// So many locks, that hardly two requests meet at one.
const SHARDS: usize = 64;

/// Requests of whose answers something is to be kept, on their way to upstreams.
#[derive(Debug)]
pub(crate) struct Flights {
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
}

type Shard = HashMap<Key, Vec<(Who, Arc<Flight>)>>;

/// Whose requests may be answered by the same answer.
#[derive(Debug, PartialEq, Eq)]
struct Who {
    own: Own,
    personal: Personal,
}

#[derive(Debug)]
struct Flight {
    landed: watch::Sender<Option<Landed>>,
    /// Whether what it brings was taken away before it came.
    outdated: AtomicBool,
    /// Whether somebody waited for it in vain.
    late: AtomicBool,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Landed {
    /// Its answer is kept.
    Kept,
    /// Its answer is for nobody else.
    NotKept,
    /// It brought none, or only a part.
    Lost,
}

/// The place of a request among those for the same.
pub(crate) enum Join {
    /// It asks.
    Lead(Lead),
    /// Another one asks.
    Wait(Waiting),
    /// Another one asks, for which somebody waited too long already: a client that reads its answer
    /// slowly holds up nobody but those.
    Late,
}

/// The right to ask and to keep the answer. Others wait until it is given back.
#[derive(Debug)]
pub(crate) struct Lead {
    flights: Arc<Flights>,
    key: Key,
    flight: Arc<Flight>,
}

/// A request that another one asks for.
pub(crate) struct Waiting {
    landed: watch::Receiver<Option<Landed>>,
    flight: Arc<Flight>,
}

impl Flights {
    /// Returns a place where nothing is under way.
    pub(super) fn new() -> Arc<Self> {
        let shards = std::iter::repeat_with(Mutex::default).take(SHARDS).collect();
        Arc::new(Self { shards, hasher: RandomState::new() })
    }

    /// Joins those who ask for the same; the first asks.
    pub(crate) fn join(self: &Arc<Self>, key: &Key, own: &Own, personal: Personal) -> Join {
        let Some(mut shard) = self.shard(key) else { return Join::Lead(self.alone(key)) };
        let flights = shard.entry(key.clone()).or_default();
        let is_same = |who: &Who| who.own == *own && who.personal == personal;
        if let Some((_, flight)) = flights.iter().find(|(who, _)| is_same(who)) {
            if flight.late.load(Relaxed) {
                return Join::Late;
            }
            let landed = flight.landed.subscribe();
            return Join::Wait(Waiting { landed, flight: Arc::clone(flight) });
        }
        let lead = self.alone(key);
        flights.push((Who { own: own.clone(), personal }, Arc::clone(&lead.flight)));
        Join::Lead(lead)
    }

    fn alone(self: &Arc<Self>, key: &Key) -> Lead {
        let (outdated, late) = (AtomicBool::new(false), AtomicBool::new(false));
        let flight = Arc::new(Flight { landed: watch::Sender::new(None), outdated, late });
        Lead { flights: Arc::clone(self), key: key.clone(), flight }
    }

    /// Lets nothing be kept of what is under way to some keys.
    pub(super) fn outdate(&self, concerns: impl Fn(&Key) -> bool) {
        for shard in &self.shards {
            for (_, flights) in lock(shard).iter().filter(|(key, _)| concerns(key)) {
                for (_, flight) in flights {
                    flight.outdated.store(true, Relaxed);
                }
            }
        }
    }

    /// The same for one key.
    pub(super) fn outdate_one(&self, key: &Key) {
        let Some(shard) = self.shard(key) else { return };
        for (_, flight) in shard.get(key).into_iter().flatten() {
            flight.outdated.store(true, Relaxed);
        }
    }

    fn shard(&self, key: &Key) -> Option<MutexGuard<'_, Shard>> {
        let hash = self.hasher.hash_one(key);
        let at = usize::try_from(hash % u64::try_from(SHARDS).ok()?).ok()?;
        self.shards.get(at).map(lock)
    }
}

impl Lead {
    /// Tells whether what it brings was taken away before it came.
    pub(crate) fn is_outdated(&self) -> bool {
        self.flight.outdated.load(Relaxed)
    }

    /// Says what became of it, and lets those go on who wait.
    pub(crate) fn land(self, landed: Landed) {
        self.leave();
        self.flight.landed.send_replace(Some(landed));
    }

    fn leave(&self) {
        let Some(mut shard) = self.flights.shard(&self.key) else { return };
        if let Entry::Occupied(mut flights) = shard.entry(self.key.clone()) {
            flights.get_mut().retain(|(_, flight)| !Arc::ptr_eq(flight, &self.flight));
            if flights.get().is_empty() {
                flights.remove();
            }
        }
    }
}

impl Drop for Lead {
    /// Whoever does not say what became of it lost it.
    fn drop(&mut self) {
        self.leave();
        self.flight.landed.send_if_modified(|landed| {
            let is_new = landed.is_none();
            landed.get_or_insert(Landed::Lost);
            is_new
        });
    }
}

impl Waiting {
    /// Waits until it has landed; nothing where that takes too long.
    pub(crate) async fn landed(mut self, deadline: Instant) -> Option<Landed> {
        let landed = self.landed.wait_for(Option::is_some);
        match tokio::time::timeout_at(deadline, landed).await {
            Ok(landed) => landed.map_or(Some(Landed::Lost), |landed| *landed),
            Err(_) => {
                self.flight.late.store(true, Relaxed);
                None
            }
        }
    }
}

/// What the locks hold is whole at any time.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{super::key::tests::key, *};

    fn own(scope: u64) -> Own {
        Own { scope, added: Box::default() }
    }

    fn join(flights: &Arc<Flights>, key: &Key, scope: u64) -> Join {
        flights.join(key, &own(scope), Personal::No)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[tokio::test]
    async fn one_asks_and_the_others_learn_what_became_of_it() {
        let flights = Flights::new();
        let key = key(1, true, "a.example", "/");
        for (landed, expected) in [
            (Some(Landed::Kept), Landed::Kept),
            (Some(Landed::NotKept), Landed::NotKept),
            (None, Landed::Lost),
        ] {
            let Join::Lead(lead) = join(&flights, &key, 1) else { panic!("the first asks") };
            let Join::Wait(waiting) = join(&flights, &key, 1) else { panic!("one asks") };
            let Join::Lead(other) = join(&flights, &key, 2) else { panic!("another route") };
            drop(other);
            let known = flights.join(&key, &own(1), Personal::ByCookie);
            assert!(matches!(known, Join::Lead(_)), "what is for somebody is no answer to others");
            drop(known);
            match landed {
                Some(landed) => lead.land(landed),
                None => drop(lead),
            }
            assert_eq!(waiting.landed(soon()).await, Some(expected));
        }
        assert!(flights.shards.iter().all(|shard| lock(shard).is_empty()), "nothing is left");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_longer_than_they_would() {
        let flights = Flights::new();
        let key = key(1, true, "a.example", "/");
        let lead = join(&flights, &key, 1);
        let Join::Wait(waiting) = join(&flights, &key, 1) else { panic!("one asks") };
        assert_eq!(waiting.landed(Instant::now() + Duration::from_secs(5)).await, None);
        assert!(matches!(join(&flights, &key, 1), Join::Late), "and the next ones not at all");
        drop(lead);
        assert!(matches!(join(&flights, &key, 1), Join::Lead(_)));
    }

    #[test]
    fn what_was_taken_away_is_not_brought_back() {
        let flights = Flights::new();
        let lead = |target: &str| match join(&flights, &key(1, true, "a.example", target), 1) {
            Join::Lead(lead) => lead,
            Join::Wait(_) | Join::Late => panic!("nobody asks"),
        };
        let (one, other) = (lead("/one"), lead("/other"));
        flights.outdate_one(&key(1, true, "a.example", "/one"));
        assert!(one.is_outdated() && !other.is_outdated());
        flights.outdate(|key| key.path() == "/other");
        assert!(other.is_outdated());
    }
}
