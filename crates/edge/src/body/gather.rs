//! Bodies of requests, read before anybody is asked to take them, so that a slow client holds nobody
//! but the edge.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as _, Frame};
use tokio::time::Instant;

use super::{
    Body, BodyError, Inner,
    ahead::Ahead,
    full,
    store::{Memory, Store},
};
use crate::http1::Deadline;

/// How long a client may pause in a body whose length it did not tell, before what has come of it is
/// sent on: it may wait for an answer to that before it sends more.
const PAUSE: Duration = Duration::from_secs(2);

/// Reads a body to its end, but no more of it than about `most` bytes. What was read whole can be sent
/// more than once ([`Body::again`]). Of a larger one, and where the memory is used up, what was read
/// comes first and the rest as it arrives.
pub(crate) async fn gather(body: Body, most: u64, memory: &Arc<Memory>) -> Result<Body, BodyError> {
    let mut gathering = Gathering {
        tells_length: body.size_hint().exact().is_some(),
        body,
        store: Store::new(memory),
        most: usize::try_from(most).unwrap_or(usize::MAX),
        pause: Deadline::default(),
    };
    let gathered = poll_fn(|cx| gathering.poll(cx)).await?;
    Ok(gathering.finish(gathered))
}

struct Gathering {
    body: Body,
    store: Store,
    most: usize,
    tells_length: bool,
    pause: Deadline,
}

/// How far a body was read.
enum Gathered {
    /// To its end.
    Whole,
    /// To its end, in one piece.
    AtOnce(Bytes),
    /// To the trailers at its end.
    Trailers(http::HeaderMap),
    /// Not to its end.
    Partly,
}

impl Gathering {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Gathered, BodyError>> {
        loop {
            if self.body.is_end_stream() {
                return Poll::Ready(Ok(Gathered::Whole));
            }
            if self.store.len() >= self.most {
                return Poll::Ready(Ok(Gathered::Partly));
            }
            if self.store.memory().is_used_up() {
                self.store.memory().refuse();
                return Poll::Ready(Ok(Gathered::Partly));
            }
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
                if !self.tells_length {
                    self.pause.set_once(|| Instant::now() + PAUSE);
                }
                ready!(self.pause.poll(cx));
                return Poll::Ready(Ok(Gathered::Partly));
            };
            self.pause.clear();
            let Some(frame) = frame.transpose()? else {
                return Poll::Ready(Ok(Gathered::Whole));
            };
            if let Some(ended) = self.take(frame) {
                return Poll::Ready(Ok(ended));
            }
        }
    }

    fn take(&mut self, frame: Frame<Bytes>) -> Option<Gathered> {
        match frame.into_data() {
            // The usual small one: it came in one piece, and needs no copy.
            Ok(data) if self.store.is_empty() && self.body.is_end_stream() => {
                Some(Gathered::AtOnce(data))
            }
            Ok(data) => {
                self.store.push(&data);
                None
            }
            Err(frame) => frame.into_trailers().ok().map(Gathered::Trailers),
        }
    }

    fn finish(self, gathered: Gathered) -> Body {
        let Self { body, store, .. } = self;
        match gathered {
            Gathered::AtOnce(data) => full(data),
            Gathered::Whole if store.is_empty() => super::empty(),
            Gathered::Whole => Body(Inner::Kept(Box::new(store.into_kept()))),
            Gathered::Trailers(trailers) => {
                Body(Inner::Ahead(Box::new(Ahead::with_trailers(store, trailers))))
            }
            Gathered::Partly if store.is_empty() => body,
            Gathered::Partly => Body(Inner::Ahead(Box::new(Ahead::followed_by(store, body)))),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt as _, stream};
    use http_body_util::StreamBody;

    use super::{super::tests::*, *};

    #[tokio::test]
    async fn a_whole_body_has_a_length_and_can_be_sent_again() {
        let memory = Memory::new(1_000_000);
        for (parts, text) in [(&["abc"][..], "abc"), (&["abc", "de"], "abcde"), (&[], "")] {
            let body = gather(chunks(parts), 100, &memory).await.unwrap();
            assert_eq!(body.size_hint().exact(), Some(text.len() as u64));
            let again = body.again().unwrap();
            assert_eq!(read(body).await.unwrap(), text);
            assert_eq!(read(again).await.unwrap(), text);
        }
        assert_eq!((memory.used(), memory.refused()), (0, 0));
    }

    #[tokio::test]
    async fn of_a_larger_body_the_first_part_is_read_and_the_rest_streams() {
        let (ample, none) = (Memory::new(1_000_000), Memory::new(0));
        for (memory, kept, refused) in [(&ample, 4, 0), (&none, 0, 1)] {
            let body = gather(chunks(&["ab", "cd", "ef"]), 3, memory).await.unwrap();
            assert_eq!(body.size_hint().lower(), kept);
            assert!(body.again().is_none(), "the rest cannot be had twice");
            assert_eq!(read(body).await.unwrap(), "abcdef");
            assert_eq!((memory.used(), memory.refused()), (0, refused));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_waits_for_an_answer_within_its_body_is_not_held_up() {
        let memory = Memory::new(1_000_000);
        let pausing = |pause| {
            let parts = stream::iter(["ab", "cd", "ef"]).then(move |part| async move {
                tokio::time::sleep(pause).await;
                Ok(Frame::data(Bytes::from(part)))
            });
            Body::new(StreamBody::new(parts.boxed_local()))
        };
        let begun = Instant::now();
        let body = gather(pausing(Duration::from_secs(1)), 100, &memory).await.unwrap();
        assert_eq!((body.size_hint().exact(), begun.elapsed().as_secs()), (Some(6), 3));

        let begun = Instant::now();
        let body = gather(pausing(Duration::from_secs(9)), 100, &memory).await.unwrap();
        assert_eq!((body.size_hint().exact(), begun.elapsed()), (None, PAUSE));
        assert_eq!(read(body).await.unwrap(), "abcdef");
    }
}
