//! The one body type of the edge and the wrappers a body passes through on its way. What flows in flows
//! out, or becomes an error that names the side it arose on. Nothing is kept but what is read ahead on
//! purpose (`gather`, `ahead`), in memory that is bounded (`store`).

mod ahead;
mod file;
mod gather;
mod pace;
mod store;
mod tee;

use std::{
    cell::Cell,
    future::Future,
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
use tokio::time::{Instant, Sleep, sleep_until};

use self::{ahead::Ahead, file::FileBody, store::Kept};
pub(crate) use self::{
    ahead::ahead,
    file::{Piece, Slice, of_file, read, read_at_once},
    gather::gather,
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

/// The side on which something went wrong; it alone decides status, retry and blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The client or its network.
    Client,
    /// The upstream.
    Upstream,
    /// The edge itself, its machine or its files.
    Edge,
}

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// A connection broke or spoke nonsense.
    #[error("the body from the {side} broke off")]
    Broken {
        /// Who sent it.
        side: Side,
        /// What the connection says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Nothing arrived for too long.
    #[error("nothing arrived from the {side} for {} seconds", after.as_secs())]
    Silent {
        /// Who sent nothing.
        side: Side,
        /// How long it was waited for.
        after: Duration,
    },
    /// It came slower than it must.
    #[error("the client sent less than {rate} bytes a second of the body")]
    TooSlow {
        /// The least bytes in a second.
        rate: u64,
    },
    /// More than is allowed.
    #[error("the body is larger than {limit} bytes")]
    TooLarge {
        /// What is allowed.
        limit: u64,
    },
    /// A file could not be read to its end.
    #[error("cannot read the file that is being sent")]
    File(#[source] io::Error),
    /// A file became shorter after its length was promised.
    #[error("the file became shorter while it was sent")]
    Truncated,
    /// A coder failed.
    #[error("cannot compress the answer")]
    Compress(#[source] io::Error),
}

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

/// Returns a body that fails once more than `limit` bytes have passed.
pub(crate) fn limited(body: Body, limit: u64) -> Body {
    Body::new(Limited { body, limit, left: limit })
}

/// Returns a body that fails when `side` sends nothing for as long as `after` while the reader
/// waits. A reader that is slow itself never makes it fail.
pub(crate) fn silence_limited(body: Body, after: Duration, side: Side) -> Body {
    Body::new(SilenceLimited { body, after, side, timer: None })
}

/// Returns a body that tells `observer`, exactly once, how it ended: after its last byte, at its
/// error, or when it is dropped.
pub(crate) fn observe(body: Body, observer: impl FnOnce(BodyEnd) + 'static) -> Body {
    let expected = body.size_hint().exact();
    Body(Inner::Observed(Box::new(Observed { body, bytes: 0, expected, observer: Some(observer) })))
}

impl BodyError {
    fn broken(side: Side, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Broken { side, source: source.into() }
    }

    /// Returns the side on which it arose.
    pub(crate) fn side(&self) -> Side {
        match self {
            Self::Broken { side, .. } | Self::Silent { side, .. } => *side,
            Self::TooSlow { .. } | Self::TooLarge { .. } => Side::Client,
            Self::File(_) | Self::Truncated | Self::Compress(_) => Side::Edge,
        }
    }
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Upstream => "upstream",
            Self::Edge => "edge",
        })
    }
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

/// What [`observe`] wraps a body in, whoever the observer is.
trait Observing {
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

/// Returns an error with its causes in one line, for logs.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn length(data: &Bytes) -> u64 {
    u64::try_from(data.remaining()).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::mpsc;

    use futures_util::stream;
    use http_body_util::{BodyExt as _, StreamBody};

    use super::*;

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
