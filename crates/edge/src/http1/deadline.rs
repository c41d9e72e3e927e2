//! A point in time after which something is given up.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::time::{Instant, Sleep, sleep_until};

/// A deadline that is moved often and hardly ever comes. Moving it on costs nothing: the timer is
/// left where it is and armed anew only when it goes off too early.
#[derive(Debug, Default)]
pub(crate) struct Deadline {
    at: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    /// Sets the deadline.
    pub(crate) fn set(&mut self, at: Instant) {
        self.at = Some(at);
    }

    /// Sets the deadline unless there is one.
    pub(crate) fn set_once(&mut self, at: impl FnOnce() -> Instant) {
        self.at.get_or_insert_with(at);
    }

    /// Takes the deadline away.
    pub(crate) fn clear(&mut self) {
        self.at = None;
    }

    /// Is ready once the deadline is over; never while there is none.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if timer.deadline() > at {
            timer.as_mut().reset(at);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() >= at {
                return Poll::Ready(());
            }
            timer.as_mut().reset(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_is_moved_comes_when_it_was_moved_to() {
        let begun = Instant::now();
        let seconds = Duration::from_secs;
        let mut deadline = Deadline::default();
        deadline.set(begun + seconds(10));
        assert!(poll_once(&mut deadline).await.is_pending());
        deadline.set(begun + seconds(30));
        poll_fn(|cx| deadline.poll(cx)).await;
        assert_eq!(begun.elapsed(), seconds(30));
        deadline.set(begun + seconds(60));
        assert!(poll_once(&mut deadline).await.is_pending());
        deadline.set(begun + seconds(40));
        poll_fn(|cx| deadline.poll(cx)).await;
        assert_eq!(begun.elapsed(), seconds(40));
        deadline.clear();
        assert!(poll_once(&mut deadline).await.is_pending());
    }

    async fn poll_once(deadline: &mut Deadline) -> Poll<()> {
        poll_fn(|cx| Poll::Ready(deadline.poll(cx))).await
    }
}
