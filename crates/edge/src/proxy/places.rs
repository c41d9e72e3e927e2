//! The connections to a destination where their number is bounded: over all worker threads, and first
//! come, first served. A connection takes a place from before it is dialled until it is closed.
//!
//! Who finds no place gets in line. A worker whose connection becomes free gives it to the first in
//! line if that is one of its own, and closes it if it is another worker's, which then may open one:
//! a connection cannot change threads. Workers that keep unused connections are told that somebody
//! waits, and close some.

use std::{
    collections::VecDeque,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
    thread::{self, ThreadId},
};

use tokio::sync::{oneshot, watch};

use super::destination::Destination;
use crate::http1::client::Conn;

/// The connections to a destination.
#[derive(Default)]
pub(super) struct Places(Mutex<State>);

#[derive(Default)]
struct State {
    taken: u32,
    line: VecDeque<Waiting>,
}

struct Waiting {
    worker: ThreadId,
    call: oneshot::Sender<Call>,
}

/// What the first in line gets.
pub(super) enum Call {
    /// It may open a connection.
    Open(Place),
    /// A connection that became free.
    Use(Conn),
}

/// A place, free again when it is dropped.
pub(super) struct Place(Option<Arc<Destination>>);

/// What to do with a connection that became free.
pub(super) enum Fate {
    /// Nobody waits.
    Keep(Conn),
    /// Somebody else has it, or gets its place once it is dropped.
    Gone,
}

impl Destination {
    /// Takes a place, or gets in line.
    pub(super) fn enter(self: &Arc<Self>, most: u32) -> Result<Place, oneshot::Receiver<Call>> {
        let mut state = self.places.lock();
        state.line.retain(|waiting| !waiting.call.is_closed());
        if state.taken < most && state.line.is_empty() {
            state.taken += 1;
            return Ok(Place(Some(Arc::clone(self))));
        }
        let (call, called) = oneshot::channel();
        state.line.push_back(Waiting { worker: thread::current().id(), call });
        drop(state);
        wanted().send_modify(|count| *count = count.wrapping_add(1));
        Err(called)
    }

    /// Decides on a connection that became free. One that was made for a certain client serves no
    /// other, so it is of no use to who waits.
    pub(super) fn hand_over(&self, mut conn: Conn, is_for_anyone: bool) -> Fate {
        let mut state = self.places.lock();
        let own = thread::current().id();
        while let Some(first) = state.line.pop_front() {
            if first.call.is_closed() {
                continue;
            }
            if !is_for_anyone || first.worker != own {
                state.line.push_front(first);
                drop(state);
                drop(conn);
                return Fate::Gone;
            }
            match first.call.send(Call::Use(conn)) {
                Err(Call::Use(back)) => conn = back,
                Ok(()) | Err(Call::Open(_)) => return Fate::Gone,
            }
        }
        Fate::Keep(conn)
    }

    /// Returns how many wait for a place.
    pub(super) fn waiting(&self) -> usize {
        let state = self.places.lock();
        state.line.iter().filter(|waiting| !waiting.call.is_closed()).count()
    }
}

impl Places {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(destination) = self.0.take() else { return };
        let mut state = destination.places.lock();
        while let Some(first) = state.line.pop_front() {
            let place = Self(Some(Arc::clone(&destination)));
            match first.call.send(Call::Open(place)) {
                Ok(()) => return,
                // Not dropped as a place: the lock is held, and the next in line gets it.
                Err(Call::Open(mut place)) => drop(place.0.take()),
                Err(Call::Use(_)) => {}
            }
        }
        state.taken = state.taken.saturating_sub(1);
    }
}

/// Returns a signal for every time that somebody gets in line, anywhere in this process.
pub(super) fn watch_wanted() -> watch::Receiver<u64> {
    wanted().subscribe()
}

fn wanted() -> &'static watch::Sender<u64> {
    static WANTED: LazyLock<watch::Sender<u64>> = LazyLock::new(|| watch::Sender::new(0));
    &WANTED
}

#[cfg(test)]
mod tests {
    use super::{super::destination, *};

    #[test]
    fn places_are_given_in_the_order_of_arrival() {
        let destination = destination::of("places, in order".to_owned());
        let Ok(first) = destination.enter(1) else { panic!("it is free") };
        let mut second = destination.enter(1).err().unwrap();
        let mut third = destination.enter(1).err().unwrap();
        assert_eq!(destination.waiting(), 2);
        drop(first);
        let Ok(Call::Open(place)) = second.try_recv() else { panic!("it is the second's") };
        assert!(third.try_recv().is_err());
        drop(place);
        assert!(third.try_recv().is_ok());
    }

    #[test]
    fn who_left_the_line_gets_nothing() {
        let destination = destination::of("places, left".to_owned());
        let Ok(first) = destination.enter(1) else { panic!("it is free") };
        drop(destination.enter(1));
        let called = destination.enter(1).err().unwrap();
        drop(first);
        // What nobody takes is free again.
        drop(called);
        assert!(destination.enter(1).is_ok());
    }
}
