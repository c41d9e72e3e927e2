//! A body that is copied while it passes.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::{
    Body, BodyError, FramePoll, Inner,
    store::{Memory, Store},
};

/// What became of the copy of a body.
pub(crate) enum Copy {
    /// It is whole.
    Whole(Body),
    /// The body is larger than is copied.
    TooLarge,
    /// There was no memory for it.
    NoMemory,
}

/// Returns the same body, of which `tell` is given a copy once it has passed wholly; nothing when it
/// breaks off. Nothing of what passes is delayed.
pub(crate) fn tee(
    body: Body,
    most: u64,
    memory: &Arc<Memory>,
    tell: impl FnOnce(Copy) + Unpin + 'static,
) -> Body {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    Body::new(Tee { body, most, copying: Some((Store::new(memory), tell)) })
}

/// See [`tee`].
struct Tee<F> {
    body: Body,
    most: usize,
    /// The copy and who gets it, until that is settled.
    copying: Option<(Store, F)>,
}

impl<F: FnOnce(Copy)> Tee<F> {
    fn copy(&mut self, data: &Bytes) {
        let Some((store, _)) = &mut self.copying else { return };
        if data.len() > self.most.saturating_sub(store.len()) {
            self.settle(|_| Copy::TooLarge);
        } else if store.memory().is_used_up() {
            store.memory().refuse();
            self.settle(|_| Copy::NoMemory);
        } else {
            store.push(data);
        }
    }

    fn settle(&mut self, with: impl FnOnce(Store) -> Copy) {
        if let Some((store, tell)) = self.copying.take() {
            tell(with(store));
        }
    }
}

fn whole(store: Store) -> Copy {
    Copy::Whole(Body(Inner::Kept(Box::new(store.into_kept()))))
}

impl<F: FnOnce(Copy) + Unpin> HttpBody for Tee<F> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> FramePoll {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = Frame::data_ref(frame) {
                    this.copy(data);
                }
                // Whoever reads it may not ask again.
                if this.body.is_end_stream() || frame.is_trailers() {
                    this.settle(whole);
                }
            }
            Some(Err(_)) => this.copying = None,
            None => this.settle(whole),
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

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, rc::Rc};

    use super::{super::tests::*, *};

    #[tokio::test]
    async fn the_copy_is_the_body_where_it_is_small_enough_and_passed_wholly() {
        let ample = Memory::new(1_000_000);
        for (most, memory, expected) in
            [(5, &ample, "abcde"), (4, &ample, "too large"), (5, &Memory::new(0), "no memory")]
        {
            let (body, told) = told(chunks(&["abc", "de"]), most, memory);
            assert_eq!(read(body).await.unwrap(), "abcde");
            let copy = match told.take().unwrap() {
                Copy::Whole(body) => read(body).await.unwrap(),
                Copy::TooLarge => "too large".to_owned(),
                Copy::NoMemory => "no memory".to_owned(),
            };
            assert_eq!(copy, expected);
            assert_eq!(memory.used(), 0);
        }
    }

    #[tokio::test]
    async fn of_a_body_that_breaks_off_there_is_no_copy() {
        let memory = Memory::new(1_000_000);
        let broken = super::super::limited(chunks(&["abc", "de"]), 4);
        let (body, told) = told(broken, 100, &memory);
        assert!(read(body).await.is_err());
        assert!(told.take().is_none());
        assert_eq!(memory.used(), 0);
    }

    fn told(body: Body, most: u64, memory: &Arc<Memory>) -> (Body, Rc<RefCell<Option<Copy>>>) {
        let told = Rc::<RefCell<Option<Copy>>>::default();
        let tell = Rc::clone(&told);
        (tee(body, most, memory, move |copy| drop(tell.replace(Some(copy)))), told)
    }
}
