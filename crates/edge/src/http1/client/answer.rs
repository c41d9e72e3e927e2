//! The body of an answer, read from its connection by whoever wants it.

use std::{
    cell::RefCell,
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use portway_http1::{
    Framing,
    body::{Decoder, Frame as Piece},
    reuse::Verdict,
};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::{Conn, Keeper, Line, limits, upload::Upload};
use crate::body::{self, Body, BodyError, FramePoll, Side};

/// The body of an answer that nobody has asked for yet.
pub(crate) struct Receiving {
    pub(super) line: Box<Line>,
    pub(super) framing: Framing,
    /// How long the upstream may send nothing.
    pub(super) silence: Duration,
    /// What the upstream has not taken of the request before it answered.
    pub(super) rest: Option<Box<Upload>>,
}

impl Receiving {
    /// Tells whether the body ends when its connection does.
    pub(crate) fn ends_with_connection(&self) -> bool {
        self.framing == Framing::UntilClose
    }

    /// Returns the body. The keeper is given the connection, if it can be used again, or dropped,
    /// once the body has ended.
    pub(crate) fn into_body<K: Keeper + Unpin + 'static>(self, keeper: K) -> Body {
        let mut body = AnswerBody::begin(self, keeper);
        match body.whole() {
            Some(whole) => body::full(whole),
            None => Body::new(body),
        }
    }
}

/// The body of an answer.
struct AnswerBody<K> {
    /// The connection, until the body has ended.
    held: Option<Held>,
    decoder: Decoder,
    length: Option<u64>,
    /// How long the upstream may send nothing.
    silence: Duration,
    keeper: Option<K>,
}

/// A connection whose answer is being read.
enum Held {
    Alone(Box<Line>),
    /// The upstream answers before it has the whole request: the rest of it goes on beside.
    Beside {
        line: Rc<RefCell<Box<Line>>>,
        _going_on: AbortOnDropHandle<()>,
    },
}

impl<K: Keeper> AnswerBody<K> {
    fn begin(receiving: Receiving, keeper: K) -> Self {
        let Receiving { line, framing, silence, rest } = receiving;
        let held = match rest {
            None => Held::Alone(line),
            Some(upload) => {
                let line = Rc::new(RefCell::new(line));
                let going_on = tokio::task::spawn_local(go_on(Rc::clone(&line), upload));
                Held::Beside { line, _going_on: AbortOnDropHandle::new(going_on) }
            }
        };
        let mut body = Self {
            held: Some(held),
            decoder: Decoder::new(framing, &limits()),
            length: match framing {
                Framing::None => Some(0),
                Framing::Length(length) => Some(length),
                Framing::Chunked | Framing::UntilClose => None,
            },
            silence,
            keeper: Some(keeper),
        };
        body.let_go_at_end();
        body
    }

    /// Returns the whole body if it has arrived already and is in one piece.
    fn whole(&mut self) -> Option<Bytes> {
        if self.held.is_none() {
            return Some(Bytes::new());
        }
        let Some(Held::Alone(line)) = &mut self.held else { return None };
        let arrived = u64::try_from(line.wire.input.len()).unwrap_or(u64::MAX);
        if self.length.is_none_or(|length| length > arrived) {
            return None;
        }
        match self.decoder.decode(&mut line.wire.input) {
            Ok(Some(Piece::Data(data))) => {
                self.let_go_at_end();
                Some(data)
            }
            Ok(Some(Piece::Trailers(_)) | None) | Err(_) => None,
        }
    }

    /// Parts with the connection once the body has ended: it is kept if nothing is left on it.
    fn let_go_at_end(&mut self) {
        if !self.decoder.is_ended() {
            return;
        }
        if let Some(Held::Alone(mut line)) = self.held.take()
            && let Some(keeper) = self.keeper.take()
        {
            line.reuse.response_ended();
            if line.reuse.next(&line.wire.input) == Verdict::Reusable {
                line.deadline.clear();
                line.wire.rest();
                keeper.keep(Conn(line));
            }
        }
        // Whatever waits for the end of the answer, such as its place among those in flight.
        self.keeper = None;
    }

    fn poll_decode(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, BodyError>>> {
        let Some(held) = &mut self.held else { return Poll::Ready(None) };
        let mut shared;
        let line = match held {
            Held::Alone(line) => line,
            Held::Beside { line, .. } => {
                shared = line.borrow_mut();
                &mut *shared
            }
        };
        loop {
            match self.decoder.decode(&mut line.wire.input) {
                Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                Ok(None) if self.decoder.is_ended() => return Poll::Ready(None),
                Ok(None) => {}
                Err(reject) => return Poll::Ready(Some(Err(broken(reject)))),
            }
            match line.wire.poll_fill(cx) {
                Poll::Ready(Ok(0)) => {
                    if let Err(reject) = self.decoder.close() {
                        return Poll::Ready(Some(Err(broken(reject))));
                    }
                }
                Poll::Ready(Ok(_)) => line.deadline.clear(),
                Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(broken(error)))),
                Poll::Pending => {
                    let silence = self.silence;
                    line.deadline.set_once(|| Instant::now() + silence);
                    ready!(line.deadline.poll(cx));
                    let silent = BodyError::Silent { side: Side::Upstream, after: silence };
                    return Poll::Ready(Some(Err(silent)));
                }
            }
        }
    }
}

impl<K: Keeper + Unpin> HttpBody for AnswerBody<K> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> FramePoll {
        let this = self.get_mut();
        let polled = ready!(this.poll_decode(cx));
        if matches!(polled, Some(Err(_))) {
            // Nothing more can be understood of it.
            this.held = None;
            this.keeper = None;
        } else {
            this.let_go_at_end();
        }
        Poll::Ready(polled.map(|frame| match frame? {
            Piece::Data(data) => {
                let read = u64::try_from(data.len()).unwrap_or(u64::MAX);
                this.length = this.length.map(|length| length.saturating_sub(read));
                Ok(Frame::data(data))
            }
            Piece::Trailers(trailers) => Ok(Frame::trailers(trailers)),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// Sends the rest of a request whose answer has begun.
async fn go_on(line: Rc<RefCell<Box<Line>>>, mut upload: Box<Upload>) {
    // Both ends are watched by others: the client's by the body, the upstream's by its answer.
    drop(poll_fn(|cx| upload.poll(cx, &mut line.borrow_mut().wire)).await);
}

fn broken(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> BodyError {
    BodyError::Broken { side: Side::Upstream, source: source.into() }
}
