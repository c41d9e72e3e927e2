//! A body of which something was read before it is asked for.
//!
//! Reading ahead never waits: what has come is handed on at once, and only while the one who takes it
//! is busy with what it was given is more read from the one who sends it.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::{
    Body, BodyError, FramePoll, Inner,
    store::{Memory, Store},
};

/// Returns a body that is read ahead by [`Body::read_ahead`], up to `most` bytes, so that whoever sends
/// it is done with it before a slow reader is.
pub(crate) fn ahead(body: Body, most: u64, memory: &Arc<Memory>) -> Body {
    if matches!(body.0, Inner::Whole(_) | Inner::File(_) | Inner::Kept(_)) {
        return body;
    }
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let ahead = Ahead { store: Store::new(memory), body, end: None, most, refused: false };
    Body(Inner::Ahead(Box::new(ahead)))
}

/// See [`ahead`].
pub(super) struct Ahead {
    store: Store,
    /// What follows the store; nothing once the end is known.
    body: Body,
    end: Option<End>,
    most: usize,
    /// Whether the memory was used up once.
    refused: bool,
}

/// How a body ends that was read to its end.
pub(super) enum End {
    /// With its last byte.
    Plain,
    /// With trailers.
    Trailers(HeaderMap),
    /// Too early.
    Broken(BodyError),
}

impl Ahead {
    /// Returns what was read of a body, followed by the rest of it.
    pub(super) fn followed_by(store: Store, body: Body) -> Self {
        Self { store, body, end: None, most: 0, refused: false }
    }

    /// Returns what was read of a body that ends with trailers.
    pub(super) fn with_trailers(store: Store, trailers: HeaderMap) -> Self {
        let end = Some(End::Trailers(trailers));
        Self { store, body: super::empty(), end, most: 0, refused: false }
    }

    /// Reads what has come, as far as there is room.
    pub(super) fn read_ahead(&mut self, cx: &mut Context<'_>) {
        while self.end.is_none() && self.store.len() < self.most {
            if self.store.memory().is_used_up() {
                if !std::mem::replace(&mut self.refused, true) {
                    self.store.memory().refuse();
                }
                return;
            }
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else { return };
            self.keep(frame);
        }
    }

    fn keep(&mut self, frame: Option<Result<Frame<Bytes>, BodyError>>) {
        let end = match frame {
            None => End::Plain,
            Some(Err(error)) => End::Broken(error),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    self.store.push(&data);
                    if !self.body.is_end_stream() {
                        return;
                    }
                    End::Plain
                }
                Err(frame) => frame.into_trailers().map_or(End::Plain, End::Trailers),
            },
        };
        self.end = Some(end);
        // Whoever waits for its end need not wait for the reader.
        self.body = super::empty();
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> FramePoll {
        let Some(end) = self.end.take() else { return Pin::new(&mut self.body).poll_frame(cx) };
        self.end = Some(End::Plain);
        Poll::Ready(match end {
            End::Plain => None,
            End::Trailers(trailers) => Some(Ok(Frame::trailers(trailers))),
            End::Broken(error) => Some(Err(error)),
        })
    }
}

impl HttpBody for Ahead {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> FramePoll {
        let this = self.get_mut();
        match this.store.pop() {
            Some(piece) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            None => this.poll_end(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        let ended = match &self.end {
            None => self.body.is_end_stream(),
            Some(End::Plain) => true,
            Some(End::Trailers(_) | End::Broken(_)) => false,
        };
        ended && self.store.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let stored = u64::try_from(self.store.len()).unwrap_or(u64::MAX);
        let rest = match &self.end {
            None => self.body.size_hint(),
            Some(End::Plain) => SizeHint::with_exact(0),
            Some(End::Trailers(_) | End::Broken(_)) => SizeHint::default(),
        };
        let mut hint = SizeHint::default();
        hint.set_lower(rest.lower().saturating_add(stored));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(stored));
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures_util::{StreamExt as _, stream};
    use http_body_util::{BodyExt as _, StreamBody};

    use super::{
        super::{Side, chain, full, observe, tests::*},
        *,
    };

    #[tokio::test]
    async fn what_has_come_is_read_ahead_and_its_sender_is_done() {
        let memory = Memory::new(1_000_000);
        let (tell, told) = std::sync::mpsc::channel();
        let source = observe(chunks(&["ab", "cd"]), move |end| tell.send(end.bytes).unwrap());
        let mut body = ahead(source, 100, &memory);
        read_ahead(&mut body).await;
        assert_eq!(told.try_recv(), Ok(4), "the source has ended");
        assert!(memory.used() > 0);
        assert_eq!(read(body).await.unwrap(), "abcd");
        assert_eq!((memory.used(), memory.refused()), (0, 0));
    }

    #[tokio::test]
    async fn no_more_is_read_ahead_than_there_is_room_for() {
        let (small, none) = (Memory::new(1_000_000), Memory::new(0));
        for (most, memory, kept, refused) in [(3, &small, 4, 0), (100, &none, 0, 1)] {
            let mut body = ahead(chunks(&["ab", "cd", "ef"]), most, memory);
            for _ in 0..3 {
                read_ahead(&mut body).await;
            }
            assert_eq!(body.size_hint().lower(), kept);
            assert_eq!(read(body).await.unwrap(), "abcdef");
            assert_eq!((memory.used(), memory.refused()), (0, refused));
        }
    }

    #[tokio::test]
    async fn trailers_and_errors_come_after_what_came_before_them() {
        let memory = Memory::new(1_000_000);
        let trailers = HeaderMap::from_iter([("a".parse().unwrap(), "b".parse().unwrap())]);
        for last in [
            Ok(Frame::trailers(trailers.clone())),
            Err(BodyError::Broken { side: Side::Upstream, source: "gone".into() }),
        ] {
            let broken = last.is_err();
            let frames = stream::iter([Ok(Frame::data(Bytes::from("ab"))), last]);
            let mut body = ahead(Body::new(StreamBody::new(frames.boxed_local())), 100, &memory);
            read_ahead(&mut body).await;
            assert!(!body.is_end_stream());
            let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(first, "ab");
            match body.frame().await.unwrap() {
                Ok(frame) => assert_eq!(frame.into_trailers().unwrap(), trailers),
                Err(error) => assert!(broken && chain(&error).ends_with("gone"), "{error}"),
            }
            assert!(body.is_end_stream() && body.frame().await.is_none());
        }
    }

    #[test]
    fn a_body_that_is_there_is_left_as_it_is() {
        let memory = Memory::new(1_000_000);
        assert!(matches!(ahead(full("abc"), 100, &memory).0, Inner::Whole(_)));
    }

    async fn read_ahead(body: &mut Body) {
        poll_fn(|cx| {
            body.read_ahead(cx);
            Poll::Ready(())
        })
        .await;
    }
}
