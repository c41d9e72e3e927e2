//! The body of a kept answer, shared by all who get it.

use std::{
    ops::Range,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::body::{self, Body, BodyError, FramePoll};

/// Up to this size a body is kept in one piece, which is sent without more ado.
const ONE_PIECE: usize = 1 << 20;

/// The body of a kept answer.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    pieces: Arc<[Bytes]>,
    length: usize,
}

impl Content {
    /// Keeps pieces. They are copied as far as they hold on to more memory than they are.
    pub(crate) fn of(pieces: Vec<Bytes>) -> Self {
        let length = pieces.iter().map(Bytes::len).sum();
        if length > ONE_PIECE {
            return Self { pieces: pieces.into(), length };
        }
        let mut whole = BytesMut::with_capacity(length);
        for piece in &pieces {
            whole.extend_from_slice(piece);
        }
        Self { pieces: Arc::new([whole.freeze()]), length }
    }

    /// Returns its length.
    pub(crate) fn len(&self) -> u64 {
        u64::try_from(self.length).unwrap_or(u64::MAX)
    }

    /// Returns all of it.
    pub(crate) fn whole(&self) -> Body {
        match &*self.pieces {
            [] => body::empty(),
            [only] => body::full(only.clone()),
            _ => Body::new(Pieces { of: self.clone(), next: 0..self.length }),
        }
    }

    /// Returns a part of it.
    pub(crate) fn part(&self, range: Range<u64>) -> Body {
        let at = |offset| usize::try_from(offset).unwrap_or(usize::MAX).min(self.length);
        let range = at(range.start)..at(range.end).max(at(range.start));
        match &*self.pieces {
            [only] => body::full(only.slice(range)),
            _ => Body::new(Pieces { of: self.clone(), next: range }),
        }
    }
}

/// What is left to be sent of a body of several pieces.
struct Pieces {
    of: Content,
    next: Range<usize>,
}

impl Pieces {
    fn take(&mut self) -> Option<Bytes> {
        let mut begin = 0;
        for piece in self.of.pieces.iter() {
            let end = begin + piece.len();
            if self.next.start < end && self.next.start < self.next.end {
                let upto = self.next.end.min(end);
                let part = piece.slice(self.next.start - begin..upto - begin);
                self.next.start = upto;
                return Some(part);
            }
            begin = end;
        }
        None
    }
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> FramePoll {
        Poll::Ready(self.get_mut().take().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.next.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(u64::try_from(self.next.len()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    async fn read(body: Body) -> Bytes {
        body.collect().await.unwrap().to_bytes()
    }

    #[tokio::test]
    async fn every_part_of_a_body_is_that_part_whatever_its_pieces() {
        let large: Vec<Bytes> = (0..5_u8).map(|n| Bytes::from(vec![n; 300_000])).collect();
        let whole: Vec<u8> = large.concat();
        let content = Content::of(large);
        assert_eq!(content.len(), 1_500_000);
        assert!(read(content.whole()).await == whole);
        for range in [0..1, 299_999..300_001, 0..1_500_000, 1_499_999..1_500_000, 7..7] {
            let part = whole.get(range.start..range.end).unwrap();
            let range = u64::try_from(range.start).unwrap()..u64::try_from(range.end).unwrap();
            let body = content.part(range.clone());
            assert_eq!(body.size_hint().exact(), Some(range.end - range.start));
            assert!(read(body).await == part, "{range:?}");
        }
        let small = Content::of(vec![Bytes::from_static(b"ab"), Bytes::from_static(b"cd")]);
        assert_eq!(read(small.part(1..3)).await, "bc");
        assert_eq!(read(Content::of(vec![]).whole()).await, "");
    }
}
