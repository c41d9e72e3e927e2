//! A body of whose end somebody wants to know.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use http_body::{Body as _, SizeHint};

use super::{Body, BodyError, FramePoll, Inner, Side, chain, length};

/// How a body ended; see [`observe`].
#[derive(Debug)]
pub(crate) struct BodyEnd {
    /// The bytes that passed.
    pub(crate) bytes: u64,
    /// Whether they are all.
    pub(crate) outcome: BodyOutcome,
}

/// Whether a body passed wholly.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BodyOutcome {
    /// To its end.
    Complete,
    /// It broke off on a side, for a reason.
    Broken(Side, String),
    /// The reader went away before the end.
    Abandoned,
}

/// Returns a body that tells `observer`, exactly once, how it ended: after its last byte, at its
/// error, or when it is dropped.
pub(crate) fn observe(body: Body, observer: impl FnOnce(BodyEnd) + 'static) -> Body {
    let expected = body.size_hint().exact();
    Body(Inner::Observed(Box::new(Observed { body, bytes: 0, expected, observer: Some(observer) })))
}

/// What [`observe`] wraps a body in, whoever the observer is.
pub(super) trait Observing {
    fn inner(&mut self) -> &mut Body;
    fn poll(&mut self, cx: &mut Context<'_>) -> FramePoll;
    fn is_ended(&self) -> bool;
    fn size(&self) -> SizeHint;
    fn sent(&mut self, bytes: u64);
    fn broke(&mut self, error: &BodyError);
}

/// See [`observe`].
struct Observed<F: FnOnce(BodyEnd)> {
    body: Body,
    bytes: u64,
    /// The length promised at the start: a connection reads no further than that.
    expected: Option<u64>,
    observer: Option<F>,
}

impl<F: FnOnce(BodyEnd)> Observed<F> {
    fn end(&mut self, outcome: BodyOutcome) {
        if let Some(observer) = self.observer.take() {
            observer(BodyEnd { bytes: self.bytes, outcome });
        }
    }
}

impl<F: FnOnce(BodyEnd)> Observing for Observed<F> {
    fn inner(&mut self) -> &mut Body {
        &mut self.body
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> FramePoll {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => self.bytes += frame.data_ref().map_or(0, length),
            Some(Err(error)) => self.broke(error),
            None => self.end(BodyOutcome::Complete),
        }
        Poll::Ready(frame)
    }

    fn is_ended(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size(&self) -> SizeHint {
        self.body.size_hint()
    }

    fn sent(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.body.sent(bytes);
    }

    fn broke(&mut self, error: &BodyError) {
        self.end(BodyOutcome::Broken(error.side(), chain(error)));
    }
}

impl<F: FnOnce(BodyEnd)> Drop for Observed<F> {
    fn drop(&mut self) {
        let whole = self.body.is_end_stream() || self.expected == Some(self.bytes);
        self.end(if whole { BodyOutcome::Complete } else { BodyOutcome::Abandoned });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use http_body_util::BodyExt as _;

    use super::{
        super::{empty, full, limited, tests::chunks},
        *,
    };

    #[tokio::test]
    async fn the_observer_learns_how_a_body_ended() {
        let end = |read_frames: usize, body: Body| async move {
            let (tell, told) = mpsc::channel();
            let mut body = observe(body, move |end| tell.send(end).unwrap());
            for _ in 0..read_frames {
                if let Some(frame) = body.frame().await {
                    drop(frame);
                }
            }
            drop(body);
            let end = told.recv().unwrap();
            assert!(told.recv().is_err(), "told twice");
            (end.bytes, end.outcome)
        };
        assert_eq!(end(3, chunks(&["ab", "c"])).await, (3, BodyOutcome::Complete));
        assert_eq!(end(1, chunks(&["ab", "c"])).await, (2, BodyOutcome::Abandoned));
        assert_eq!(end(1, full("abc")).await, (3, BodyOutcome::Complete));
        assert_eq!(end(0, empty()).await, (0, BodyOutcome::Complete));
        let (bytes, outcome) = end(3, limited(chunks(&["ab", "c"]), 2)).await;
        assert_eq!(bytes, 2);
        assert!(matches!(outcome, BodyOutcome::Broken(Side::Client, _)));
    }
}
