//! The one body type of the edge and the wrappers a body passes through on its way. What flows in flows
//! out, or becomes an error that names the side it arose on. Nothing is kept but what is read ahead on
//! purpose (`gather`, `ahead`), in memory that is bounded (`store`).

mod ahead;
mod bounds;
mod error;
mod file;
mod gather;
mod observed;
mod pace;
mod store;
mod tee;

use std::{
    cell::Cell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use http::{HeaderValue, Method, Response, StatusCode, header::CONTENT_LENGTH};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

use self::{ahead::Ahead, file::FileBody, observed::Observing, store::Kept};
pub(crate) use self::{
    ahead::ahead,
    bounds::{limited, silence_limited},
    error::{BodyError, Side, chain},
    file::{Piece, Slice, of_file, read, read_at_once},
    gather::gather,
    observed::{BodyEnd, BodyOutcome, observe},
    pace::{Pace, paced},
    store::Memory,
    tee::{Copy, tee},
};

/// A body on its way through the edge. It stays on the thread of its connection.
pub(crate) struct Body(Inner);

enum Inner {
    /// All of it, or nothing: the usual ones cost no allocation.
    Whole(Bytes),
    /// Pieces of a file.
    File(Box<FileBody>),
    /// All of it, in pieces that were read before it was asked for.
    Kept(Box<Kept>),
    /// One that is read before it is asked for.
    Ahead(Box<Ahead>),
    /// Another one, whose end somebody wants to know of.
    Observed(Box<dyn Observing>),
    /// What arrives bit by bit.
    Stream(Pin<Box<dyn HttpBody<Data = Bytes, Error = BodyError>>>),
}

/// Returns a body of these bytes.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Body(Inner::Whole(bytes.into()))
}

/// Returns a body of nothing.
pub(crate) fn empty() -> Body {
    Body(Inner::Whole(Bytes::new()))
}

/// Returns the body that arrives on an HTTP/2 connection from `side`.
pub(crate) fn incoming(body: Incoming, side: Side) -> Body {
    if body.is_end_stream() { empty() } else { Body::new(OverHttp2 { body, side }) }
}

/// Returns an answer without its body where the protocol allows none: to HEAD, and with a status that
/// has none (RFC 9110 §6.4.1). The answer to HEAD tells the length that GET would have.
pub(crate) fn fit(method: &Method, response: Response<Body>) -> Response<Body> {
    let status = response.status();
    let never = status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if !(never || *method == Method::HEAD) || response.body().is_end_stream() {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    if let Some(length) = body.size_hint().exact().filter(|_| !never) {
        parts.headers.entry(CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
    }
    Response::from_parts(parts, empty())
}

/// What a body returns when it is polled.
pub(crate) type FramePoll = Poll<Option<Result<Frame<Bytes>, BodyError>>>;

impl Body {
    /// Makes a body of one that arrives bit by bit.
    pub(crate) fn new(body: impl HttpBody<Data = Bytes, Error = BodyError> + 'static) -> Self {
        Self(Inner::Stream(Box::pin(body)))
    }

    /// Returns the same body once more, where all of it is there.
    pub(crate) fn again(&self) -> Option<Self> {
        match &self.0 {
            Inner::Whole(bytes) => Some(Self(Inner::Whole(bytes.clone()))),
            Inner::Kept(kept) => Some(Self(Inner::Kept(kept.clone()))),
            Inner::File(_) | Inner::Ahead(_) | Inner::Observed(_) | Inner::Stream(_) => None,
        }
    }

    /// Returns the pieces of a body of which all is there.
    pub(crate) fn into_pieces(self) -> Option<Vec<Bytes>> {
        match self.0 {
            Inner::Whole(bytes) => Some(vec![bytes]),
            Inner::Kept(mut kept) => Some(std::iter::from_fn(|| kept.take()).collect()),
            Inner::File(_) | Inner::Ahead(_) | Inner::Observed(_) | Inner::Stream(_) => None,
        }
    }

    /// Returns the place where the time is counted for which a disk is waited for, of a body that may
    /// have to be read from one.
    pub(crate) fn disk(&self) -> Option<Rc<Cell<Duration>>> {
        match &self.0 {
            Inner::File(file) => Some(file.disk()),
            Inner::Whole(_)
            | Inner::Kept(_)
            | Inner::Ahead(_)
            | Inner::Observed(_)
            | Inner::Stream(_) => None,
        }
    }

    /// Lets a body that may be read ahead take what has come. For whoever cannot take more of it now.
    pub(crate) fn read_ahead(&mut self, cx: &mut Context<'_>) {
        match &mut self.0 {
            Inner::Ahead(ahead) => ahead.read_ahead(cx),
            Inner::Observed(observed) => observed.inner().read_ahead(cx),
            Inner::Whole(_) | Inner::File(_) | Inner::Kept(_) | Inner::Stream(_) => {}
        }
    }

    /// Returns the slice of a file that comes next, where it is one that the system can copy to a
    /// connection by itself. Whoever takes it tells by [`Self::sent`], [`Self::broke`] or
    /// [`Self::refuse_slices`] what became of it.
    pub(crate) fn slice(&mut self) -> Option<Slice<'_>> {
        match &mut self.0 {
            Inner::File(file) => file.slice(),
            Inner::Observed(observed) => observed.inner().slice(),
            Inner::Whole(_) | Inner::Kept(_) | Inner::Ahead(_) | Inner::Stream(_) => None,
        }
    }

    /// Notes that so much of the slice was sent.
    pub(crate) fn sent(&mut self, bytes: u64) {
        match &mut self.0 {
            Inner::File(file) => file.advance(bytes),
            Inner::Observed(observed) => observed.sent(bytes),
            Inner::Whole(_) | Inner::Kept(_) | Inner::Ahead(_) | Inner::Stream(_) => {}
        }
    }

    /// Notes that the slice cannot be sent, and the body breaks off.
    pub(crate) fn broke(&mut self, error: &BodyError) {
        if let Inner::Observed(observed) = &mut self.0 {
            observed.broke(error);
        }
    }

    /// Notes that the system cannot copy the slice, so that it has to be read.
    pub(crate) fn refuse_slices(&mut self) {
        match &mut self.0 {
            Inner::File(file) => file.refuse_slices(),
            Inner::Observed(observed) => observed.inner().refuse_slices(),
            Inner::Whole(_) | Inner::Kept(_) | Inner::Ahead(_) | Inner::Stream(_) => {}
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> FramePoll {
        match &mut self.get_mut().0 {
            Inner::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Inner::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Inner::File(body) => Pin::new(&mut **body).poll_frame(cx),
            Inner::Kept(kept) => Poll::Ready(kept.take().map(|piece| Ok(Frame::data(piece)))),
            Inner::Ahead(body) => Pin::new(&mut **body).poll_frame(cx),
            Inner::Observed(body) => body.poll(cx),
            Inner::Stream(body) => body.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Whole(bytes) => bytes.is_empty(),
            Inner::File(body) => body.is_end_stream(),
            Inner::Kept(kept) => kept.left() == 0,
            Inner::Ahead(body) => body.is_end_stream(),
            Inner::Observed(body) => body.is_ended(),
            Inner::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Whole(bytes) => SizeHint::with_exact(length(bytes)),
            Inner::File(body) => body.size_hint(),
            Inner::Kept(kept) => SizeHint::with_exact(kept.left()),
            Inner::Ahead(body) => body.size_hint(),
            Inner::Observed(body) => body.size(),
            Inner::Stream(body) => body.size_hint(),
        }
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Body").field("size", &self.size_hint()).finish_non_exhaustive()
    }
}

/// See [`incoming`]. hyper takes a reset without an error (`NO_ERROR`) for the end of a body, as one may
/// follow it (RFC 9113 §8.1). But only the flag `END_STREAM` is an end; without it, something is missing.
struct OverHttp2 {
    body: Incoming,
    side: Side,
}

impl HttpBody for OverHttp2 {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> FramePoll {
        let this = self.get_mut();
        let side = this.side;
        Poll::Ready(match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
            Some(frame) => Some(frame.map_err(|error| BodyError::broken(side, error))),
            None if this.body.is_end_stream() => None,
            None => {
                let missing = "the stream was reset before its end";
                let missing = io::Error::new(io::ErrorKind::UnexpectedEof, missing);
                Some(Err(BodyError::broken(side, missing)))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn length(data: &Bytes) -> u64 {
    u64::try_from(data.remaining()).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use futures_util::stream;
    use http_body_util::{BodyExt as _, StreamBody};

    use super::*;

    #[test]
    fn head_and_statuses_without_content_get_no_body() {
        let answer = |method, status| {
            let mut response = Response::new(full("abc"));
            *response.status_mut() = status;
            let response = fit(&method, response);
            let length = response.headers().get(CONTENT_LENGTH).cloned();
            (response.body().is_end_stream(), length)
        };
        assert_eq!(answer(Method::GET, StatusCode::OK), (false, None));
        assert_eq!(answer(Method::HEAD, StatusCode::OK), (true, Some(HeaderValue::from(3))));
        assert_eq!(answer(Method::GET, StatusCode::NO_CONTENT), (true, None));
        assert_eq!(answer(Method::HEAD, StatusCode::NOT_MODIFIED), (true, None));
        let forwarded = fit(&Method::HEAD, Response::new(empty()));
        assert!(forwarded.headers().is_empty(), "the length of an upstream's answer is not known");
    }

    #[test]
    fn wrappers_keep_the_promised_length() {
        let body = observe(
            silence_limited(limited(full("abc"), 9), Duration::from_secs(1), Side::Client),
            drop,
        );
        assert_eq!(body.size_hint().exact(), Some(3));
    }

    /// Returns a body of unknown length in these frames.
    pub(crate) fn chunks(parts: &'static [&'static str]) -> Body {
        let frames = parts.iter().map(|part| Ok(Frame::data(Bytes::from_static(part.as_bytes()))));
        Body::new(StreamBody::new(stream::iter(frames)))
    }

    /// Reads a body of text to its end.
    pub(crate) async fn read(body: Body) -> Result<String, BodyError> {
        let bytes = body.collect().await?.to_bytes();
        Ok(String::from_utf8(bytes.to_vec()).unwrap())
    }
}
