//! How fast a client must send a body. Without that, a byte now and then holds a connection, and
//! often an upstream with it, for as long as the client likes.

use std::{
    pin::Pin,
    task::{Context, ready},
    time::Duration,
};

use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;

use super::{Body, BodyError, FramePoll, length};
use crate::http1::Deadline;

/// The time that a client can save by sending fast: so long may it pause, whatever it sent before.
const MOST_SAVED: Duration = Duration::from_secs(60);

/// How fast a body must come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    /// The least bytes in a second, on average; at least one.
    pub(crate) rate: u64,
    /// The time in which a body may be slower.
    pub(crate) grace: Duration,
}

/// Returns a body that fails when the client sends it slower than `pace`. Only time in which the
/// edge waits for the client counts: an upstream that takes the body slowly never makes it fail.
pub(crate) fn paced(body: Body, pace: Pace) -> Body {
    let paced =
        Paced { body, pace, credit: pace.grace, since: None, deadline: Deadline::default() };
    Body::new(paced)
}

struct Paced {
    body: Body,
    pace: Pace,
    /// How long may still be waited for the client; what it sends adds to it.
    credit: Duration,
    /// Since when it is waited for the client.
    since: Option<Instant>,
    deadline: Deadline,
}

impl Paced {
    /// Takes off what was waited, and adds the time that these bytes may take.
    fn settle(&mut self, received: u64) {
        if let Some(since) = self.since.take() {
            self.credit = self.credit.saturating_sub(since.elapsed());
        }
        let most = self.pace.grace.max(MOST_SAVED);
        let micros = received.saturating_mul(1_000_000) / self.pace.rate.max(1);
        self.credit = most.min(self.credit.saturating_add(Duration::from_micros(micros)));
    }
}

impl HttpBody for Paced {
    type Data = bytes::Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> FramePoll {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        if let std::task::Poll::Ready(frame) = &polled {
            let data =
                frame.as_ref().and_then(|frame| frame.as_ref().ok()).and_then(Frame::data_ref);
            this.settle(data.map_or(0, length));
            return polled;
        }
        let since = *this.since.get_or_insert_with(Instant::now);
        this.deadline.set(since + this.credit);
        ready!(this.deadline.poll(cx));
        // Nothing of the body may be read after the error.
        this.body = super::empty();
        std::task::Poll::Ready(Some(Err(BodyError::TooSlow { rate: this.pace.rate })))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::stream;
    use http_body_util::{BodyExt as _, StreamBody};

    use super::{super::Side, *};

    const PACE: Pace = Pace { rate: 1_000, grace: Duration::from_secs(10) };

    #[tokio::test(start_paused = true)]
    async fn a_byte_now_and_then_is_cut_when_the_grace_is_over() {
        let begun = Instant::now();
        let error =
            paced(dripping(1, Duration::from_secs(4), 100), PACE).collect().await.unwrap_err();
        assert!(matches!(error, BodyError::TooSlow { rate: 1_000 }), "{error}");
        assert_eq!(error.side(), Side::Client);
        assert_eq!(begun.elapsed().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_steady_sender_is_never_cut() {
        let body = paced(dripping(5_000, Duration::from_secs(4), 100), PACE);
        assert_eq!(body.collect().await.unwrap().to_bytes().len(), 500_000);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_sent_fast_allows_a_pause_but_no_endless_one() {
        let sent_fast = |pause| {
            let first = stream::iter([Ok(Frame::data(Bytes::from(vec![0; 1_000_000])))]);
            let then = stream::once(async move {
                tokio::time::sleep(pause).await;
                Ok(Frame::data(Bytes::from_static(b"x")))
            });
            let both = futures_util::StreamExt::chain(first, then);
            paced(Body::new(StreamBody::new(Box::pin(both))), PACE)
        };
        assert!(sent_fast(Duration::from_secs(59)).collect().await.is_ok());
        assert!(sent_fast(Duration::from_secs(61)).collect().await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_nobody_asks_for_the_body_does_not_count() {
        let mut body = paced(dripping(1, Duration::from_secs(1), 5), PACE);
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_secs(100)).await;
            assert!(body.frame().await.unwrap().is_ok());
        }
        assert!(body.frame().await.is_none());
    }

    /// Returns a body of pieces with pauses before them.
    fn dripping(size: usize, pause: Duration, pieces: usize) -> Body {
        let drops = stream::unfold(0, move |n| async move {
            if n == pieces {
                return None;
            }
            tokio::time::sleep(pause).await;
            Some((Ok(Frame::data(Bytes::from(vec![b'x'; size]))), n + 1))
        });
        Body::new(StreamBody::new(Box::pin(drops)))
    }
}
