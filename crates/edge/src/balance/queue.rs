//! Where requests wait for a place: first come, first served, bounded in number and time.
//!
//! A request that waits holds a [`Ticket`]. Whoever frees a place wakes the first in line, which then
//! tries to take it; it stays first until it has one or gives up. So no place is lost with a client
//! that went away, and nobody who came later gets in between. The wakers are the standard library's:
//! this knows no runtime and no timer. The caller gives up at [`Ticket::deadline`] by dropping it.

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    task::{Context, Poll, Waker},
};

use portway_model::site::Queue as Rule;

use super::Moment;

/// A line of requests.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    line: Mutex<VecDeque<Arc<Waiter>>>,
    /// The length of the line, to be read without the lock.
    length: AtomicU32,
}

/// As many requests wait as may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueFull;

/// A request in line. Dropping it leaves the line.
#[derive(Debug)]
pub(crate) struct Ticket {
    queue: Arc<Queue>,
    waiter: Arc<Waiter>,
    deadline: Moment,
}

#[derive(Debug)]
struct Waiter {
    /// Whether something happened since it last tried; true at first, so that it tries once.
    poked: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Queue {
    /// Returns how many requests wait.
    pub(crate) fn len(&self) -> u32 {
        self.length.load(Ordering::Acquire)
    }

    /// Joins the line at its end.
    pub(crate) fn join(self: &Arc<Self>, now: Moment, rule: Rule) -> Result<Ticket, QueueFull> {
        let waiter = Arc::new(Waiter { poked: AtomicBool::new(true), waker: Mutex::new(None) });
        let mut line = lock(&self.line);
        if line.len() >= usize::try_from(rule.length).unwrap_or(usize::MAX) {
            return Err(QueueFull);
        }
        line.push_back(Arc::clone(&waiter));
        self.note_length(&line);
        let deadline = now.after(rule.timeout.duration());
        Ok(Ticket { queue: Arc::clone(self), waiter, deadline })
    }

    /// Wakes the first in line: a place may have become free.
    pub(crate) fn poke(&self) {
        if self.len() == 0 {
            return;
        }
        let first = lock(&self.line).front().cloned();
        if let Some(first) = first {
            first.poke();
        }
    }

    fn leave(&self, waiter: &Arc<Waiter>) {
        let mut line = lock(&self.line);
        let was_first = line.pop_front_if(|first| Arc::ptr_eq(first, waiter)).is_some();
        if !was_first {
            line.retain(|other| !Arc::ptr_eq(other, waiter));
        }
        self.note_length(&line);
        drop(line);
        // There may be a place for the next one too.
        if was_first {
            self.poke();
        }
    }

    fn is_first(&self, waiter: &Arc<Waiter>) -> bool {
        lock(&self.line).front().is_some_and(|first| Arc::ptr_eq(first, waiter))
    }

    fn note_length(&self, line: &VecDeque<Arc<Waiter>>) {
        self.length.store(u32::try_from(line.len()).unwrap_or(u32::MAX), Ordering::Release);
    }
}

impl Ticket {
    /// Returns when to give up.
    pub(crate) const fn deadline(&self) -> Moment {
        self.deadline
    }

    /// Waits until it is worth trying: first in line, and something happened since the last time.
    pub(crate) async fn turn(&self) {
        poll_fn(|context| self.poll_turn(context)).await;
    }

    fn poll_turn(&self, context: &Context<'_>) -> Poll<()> {
        // Registered before it is looked, so that nothing that happens in between is missed.
        *lock(&self.waiter.waker) = Some(context.waker().clone());
        if self.queue.is_first(&self.waiter) && self.waiter.poked.swap(false, Ordering::AcqRel) {
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.queue.leave(&self.waiter);
    }
}

impl Waiter {
    fn poke(&self) {
        self.poked.store(true, Ordering::Release);
        let waker = lock(&self.waker).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{pin::pin, task::Wake};

    use portway_model::Seconds;

    use super::*;

    #[derive(Default)]
    struct Bell(AtomicBool);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    impl Bell {
        fn rang(&self) -> bool {
            self.0.swap(false, Ordering::SeqCst)
        }
    }

    fn rule(length: u32) -> Rule {
        Rule { length, timeout: Seconds(5) }
    }

    fn try_turn(ticket: &Ticket, bell: &Arc<Bell>) -> bool {
        let waker = Waker::from(Arc::clone(bell));
        pin!(ticket.turn()).poll(&mut Context::from_waker(&waker)).is_ready()
    }

    fn line(length: u32) -> (Arc<Queue>, Vec<(Ticket, Arc<Bell>)>) {
        let queue = Arc::<Queue>::default();
        let join = |_| (queue.join(Moment::ZERO, rule(length)).unwrap(), Arc::default());
        let tickets = (0..length).map(join).collect();
        (queue, tickets)
    }

    #[test]
    fn a_line_is_bounded_in_number_and_time() {
        let (queue, tickets) = line(2);
        assert_eq!(queue.join(Moment::ZERO, rule(2)).unwrap_err(), QueueFull);
        assert_eq!(tickets[0].0.deadline(), Moment::from_millis(5_000));
        drop(tickets);
        assert_eq!(queue.len(), 0);
        assert!(queue.join(Moment::ZERO, rule(2)).is_ok());
    }

    #[test]
    fn the_first_tries_at_once_and_then_only_when_something_happened() {
        let (queue, tickets) = line(2);
        let (first, bell) = &tickets[0];
        assert!(try_turn(first, bell));
        assert!(!try_turn(first, bell));
        queue.poke();
        assert!(bell.rang());
        assert!(try_turn(first, bell));
    }

    #[test]
    fn nobody_gets_in_before_the_first() {
        let (queue, mut tickets) = line(3);
        for (ticket, bell) in &tickets {
            try_turn(ticket, bell);
        }
        queue.poke();
        let rang: Vec<bool> = tickets.iter().map(|(_, bell)| bell.rang()).collect();
        assert_eq!(rang, [true, false, false]);
        assert!(!try_turn(&tickets[1].0, &tickets[1].1));
        tickets.remove(0);
        assert!(tickets[0].1.rang(), "the next is woken when the first leaves");
        assert!(try_turn(&tickets[0].0, &tickets[0].1));
    }

    #[test]
    fn one_that_gives_up_in_the_middle_wakes_nobody_and_loses_nothing() {
        let (queue, mut tickets) = line(3);
        for (ticket, bell) in &tickets {
            try_turn(ticket, bell);
        }
        tickets.remove(1);
        assert!(!tickets[0].1.rang() && !tickets[1].1.rang());
        assert_eq!(queue.len(), 2);
    }

    #[test]
    fn a_poke_that_the_first_took_with_it_is_passed_on() {
        let (queue, mut tickets) = line(2);
        for (ticket, bell) in &tickets {
            try_turn(ticket, bell);
        }
        queue.poke();
        tickets.remove(0);
        assert!(tickets[0].1.rang());
        assert!(try_turn(&tickets[0].0, &tickets[0].1));
    }
}
