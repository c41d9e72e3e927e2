//! Bodies with bounds: of how long they are, and of how long nothing may come.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as HttpBody, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::{Body, BodyError, FramePoll, Side, empty, length};

/// Returns a body that fails once more than `limit` bytes have passed.
pub(crate) fn limited(body: Body, limit: u64) -> Body {
    Body::new(Limited { body, limit, left: limit })
}

/// Returns a body that fails when `side` sends nothing for as long as `after` while the reader
/// waits. A reader that is slow itself never makes it fail.
pub(crate) fn silence_limited(body: Body, after: Duration, side: Side) -> Body {
    Body::new(SilenceLimited { body, after, side, timer: None })
}

/// See [`limited`].
struct Limited {
    body: Body,
    limit: u64,
    left: u64,
}

impl HttpBody for Limited {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> FramePoll {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()) {
            let Some(left) = this.left.checked_sub(length(data)) else {
                // Nothing of the body may be read after the error.
                this.body = empty();
                return Poll::Ready(Some(Err(BodyError::TooLarge { limit: this.limit })));
            };
            this.left = left;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// See [`silence_limited`].
struct SilenceLimited {
    body: Body,
    after: Duration,
    side: Side,
    /// Made at the first wait and re-armed at each further one.
    timer: Option<Timer>,
}

struct Timer {
    sleep: Pin<Box<Sleep>>,
    armed: bool,
}

impl HttpBody for SilenceLimited {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> FramePoll {
        let this = self.get_mut();
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            if let Some(timer) = &mut this.timer {
                timer.armed = false;
            }
            return Poll::Ready(frame);
        }
        let timer = this.timer.get_or_insert_with(|| Timer {
            sleep: Box::pin(sleep_until(Instant::now() + this.after)),
            armed: true,
        });
        if !timer.armed {
            timer.sleep.as_mut().reset(Instant::now() + this.after);
            timer.armed = true;
        }
        ready!(timer.sleep.as_mut().poll(cx));
        Poll::Ready(Some(Err(BodyError::Silent { side: this.side, after: this.after })))
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
    use futures_util::stream;
    use http_body::Frame;
    use http_body_util::{BodyExt as _, StreamBody};

    use super::{
        super::tests::{chunks, read},
        *,
    };

    #[tokio::test]
    async fn a_body_within_its_limit_passes_and_one_beyond_fails() {
        assert_eq!(read(limited(chunks(&["abc", "de"]), 5)).await.unwrap(), "abcde");
        let error = read(limited(chunks(&["abc", "de"]), 4)).await.unwrap_err();
        assert!(matches!(error, BodyError::TooLarge { limit: 4 }));
        assert_eq!(error.side(), Side::Client);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_a_body_and_slow_but_steady_bytes_do_not() {
        let seconds = Duration::from_secs;
        let steady = |pause| {
            let ticks = stream::unfold(0, move |n| async move {
                tokio::time::sleep(pause).await;
                (n < 3).then(|| (Ok(Frame::data(Bytes::from_static(b"x"))), n + 1))
            });
            Body::new(StreamBody::new(Box::pin(ticks)))
        };
        let body = silence_limited(steady(seconds(50)), seconds(60), Side::Upstream);
        assert_eq!(read(body).await.unwrap(), "xxx");
        let body = silence_limited(steady(seconds(61)), seconds(60), Side::Upstream);
        let error = read(body).await.unwrap_err();
        assert_eq!(error.side(), Side::Upstream);
        assert_eq!(error.to_string(), "nothing arrived from the upstream for 60 seconds");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_is_not_mistaken_for_a_silent_sender() {
        let mut body = silence_limited(chunks(&["a", "b"]), Duration::from_secs(1), Side::Upstream);
        body.frame().await.unwrap().unwrap();
        tokio::time::sleep(Duration::from_secs(100)).await;
        assert!(body.frame().await.unwrap().is_ok());
    }
}
