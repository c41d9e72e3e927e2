//! What is counted for the limits of a site. It outlives changes of the site, and all workers share it.

use std::{
    hash::{BuildHasher as _, RandomState},
    net::IpAddr,
    sync::{Arc, atomic::Ordering::SeqCst},
};

use super::{
    quota::{Quota, Taken},
    table::{Crowded, Key, Spot, Table},
};

/// How often a place is looked for anew that another client got meanwhile.
const TRIES: usize = 4;

/// What is counted for the limits of a site.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    seed: RandomState,
    /// When the whole burst of each is there again, in nanoseconds since the edge began.
    rates: Table,
    /// How many requests of each are being answered.
    flights: Table,
}

/// Who or what is counted together.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub(crate) enum Counted<'a> {
    /// A client, or the network that is one.
    Client(IpAddr),
    /// A value of a header.
    Header(&'a [u8]),
    /// Everybody.
    All,
}

/// A request that is being answered, counted until this is dropped.
#[derive(Debug)]
pub(crate) struct Flight {
    tally: Arc<Tally>,
    spot: Spot,
}

impl Tally {
    /// Returns the key under which a limit counts.
    pub(super) fn key(&self, limit: u64, counted: Counted<'_>) -> Key {
        Key::new(self.seed.hash_one((limit, counted)))
    }

    /// Counts a request, if it may come. Where too many clients are known to remember one more, who
    /// would be forgotten soonest is forgotten.
    pub(super) fn take(&self, key: Key, quota: Quota, now: u64) -> Taken {
        for _ in 0..TRIES {
            let is_past = |full| full <= now;
            let Some(spot) = self.rates.place(key, is_past, Crowded::ForgetLeast) else { continue };
            let taken = self.rates.update((spot, key), |full| quota.take(full, now));
            if let Some(taken) = taken {
                return taken;
            }
        }
        // Others come faster than this one is remembered: it counts as new.
        quota.take(0, now).0
    }

    /// Tells what would become of a request, and counts nothing.
    pub(super) fn look(&self, key: Key, quota: Quota, now: u64) -> Taken {
        let full = self.rates.number(key).map_or(0, |full| full.load(SeqCst));
        quota.take(full, now).0
    }

    /// Counts a request that begins to be answered; nothing where as many are as may be.
    pub(super) fn enter(self: &Arc<Self>, key: Key, most: u32) -> Result<Option<Flight>, Full> {
        for _ in 0..TRIES {
            let is_nobody = |count| count == 0;
            let Some(spot) = self.flights.place(key, is_nobody, Crowded::GiveUp) else {
                // More clients than places are being answered; they are not counted.
                return Ok(None);
            };
            let more = |count: u64| {
                if count < u64::from(most) { (Ok(()), count + 1) } else { (Err(Full), count) }
            };
            match self.flights.update((spot, key), more) {
                Some(Ok(())) => return Ok(Some(Flight { tally: Arc::clone(self), spot })),
                Some(Err(full)) => return Err(full),
                None => {}
            }
        }
        Ok(None)
    }

    /// Returns how many requests are being answered.
    pub(super) fn in_flight(&self, key: Key) -> u64 {
        self.flights.number(key).map_or(0, |count| count.load(SeqCst))
    }
}

/// As many requests are being answered as may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Drop for Flight {
    fn drop(&mut self) {
        self.tally.flights.decrement(self.spot);
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, time::Duration};

    use super::*;

    #[test]
    fn a_hundred_thousand_clients_are_counted_apart() {
        let tally = Tally::default();
        let quota = Quota::new(2, Duration::from_secs(60), 2);
        let clients = || (0..100_000_u32).map(|n| Counted::Client(Ipv4Addr::from(n).into()));
        for round in 0..3 {
            let refused = clients()
                .filter(|client| {
                    matches!(tally.take(tally.key(1, *client), quota, 5), Taken::No { .. })
                })
                .count();
            // Who shares a crowded set may be forgotten once.
            let expected = if round < 2 { 0..=0 } else { 99_000..=100_000 };
            assert!(expected.contains(&refused), "{refused} in round {round}");
        }
    }

    #[test]
    fn requests_that_end_make_room() {
        let tally = Arc::<Tally>::default();
        let key = tally.key(1, Counted::All);
        let first = tally.enter(key, 2).unwrap();
        let second = tally.enter(key, 2).unwrap();
        assert!(first.is_some() && second.is_some());
        assert_eq!(tally.enter(key, 2).unwrap_err(), Full);
        drop(first);
        assert_eq!(tally.in_flight(key), 1);
        assert!(tally.enter(key, 2).unwrap().is_some());
    }

    #[test]
    fn workers_that_count_at_once_let_in_no_more_than_may() {
        let tally = Arc::<Tally>::default();
        let quota = Quota::new(1_000, Duration::from_secs(3600), 1_000);
        let key = tally.key(1, Counted::All);
        tally.take(key, quota, 1);
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let tally = Arc::clone(&tally);
                let come = move || {
                    let taken = (0..1_000).map(|_| tally.take(key, quota, 1));
                    taken.filter(|taken| matches!(taken, Taken::Yes(_))).count()
                };
                std::thread::spawn(come)
            })
            .collect();
        let come: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!(come, 999);
    }
}
