//! A connection to an upstream: one request and its answer at a time.

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use portway_http1::{
    Framing, Limits, Reject, WriteError,
    body::{Decoder, Encoder, Frame as Piece},
    request::{self, RequestHead},
    response::{Answer, Asked, Parser, ResponseHead},
};
use portway_model::site::Timeouts;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::{
    Deadline,
    wire::{Prefixed, Wire},
};
use crate::{
    body::{self, Body, BodyError, FramePoll, Side},
    proxy::{BodyFault, Expired, Stream},
};

/// When this much waits to be written, it is written before more is asked for.
const FULL: usize = 64 * 1024;

/// A connection to an upstream on which nothing is going on.
pub(crate) struct Conn(Box<Line>);

struct Line {
    wire: Wire<Box<dyn Stream>>,
    parser: Parser,
    deadline: Deadline,
}

/// What an upstream answered.
pub(crate) enum Answered {
    /// An answer whose body is still to come.
    Response(Response<Receiving>),
    /// The head after which the connection carries another protocol.
    Tunnel(Response<()>, Prefixed<Box<dyn Stream>>),
}

/// A request that got no answer.
pub(crate) struct Unanswered {
    /// Why.
    pub(crate) error: SendError,
    /// The body, when not a byte of the request has left.
    pub(crate) unsent: Option<Body>,
    /// Whether not a byte of an answer has come.
    pub(crate) silent: bool,
}

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// The connection broke.
    #[error("the connection broke")]
    Broken(#[source] io::Error),
    /// It was closed before an answer.
    #[error("the connection was closed without an answer")]
    Closed,
    /// What came is no answer, or could be read in more than one way.
    #[error("the answer is refused")]
    Refused(#[source] Reject),
    /// The request cannot be written.
    #[error("the request cannot be written")]
    Unwritable(#[source] WriteError),
    /// It took too long.
    #[error("it took too long")]
    TimedOut(Expired),
    /// The client's body broke off.
    #[error("the body of the request broke off")]
    Body(BodyFault),
}

/// Gets a connection back when its answer was read to the framed end.
pub(crate) trait Keeper {
    /// Takes it back.
    fn keep(&self, conn: Conn);
}

impl Conn {
    /// Takes a connection that was just opened.
    pub(crate) fn new(stream: Box<dyn Stream>) -> Self {
        let (wire, parser, deadline) = (Wire::new(stream), Parser::new(), Deadline::default());
        Self(Box::new(Line { wire, parser, deadline }))
    }

    /// Tells whether an unused connection is still open and silent. Whatever comes unasked, its end
    /// included, makes it unusable.
    pub(crate) fn is_quiet(&mut self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        self.0.wire.poll_fill(&mut context).is_pending()
    }

    /// Sends a request and waits for the head of its answer.
    pub(crate) async fn send(
        self,
        head: &RequestHead,
        body: Body,
        timeouts: &Timeouts,
    ) -> Result<Answered, Box<Unanswered>> {
        let mut sending = Sending::begin(self.0, head, body, timeouts)?;
        let answered = poll_fn(|cx| sending.poll(cx)).await;
        match answered {
            Ok(answer) => Ok(sending.answered(answer)),
            Err(error) => Err(Box::new(sending.unanswered(error))),
        }
    }
}

/// A request on its way.
struct Sending {
    line: Box<Line>,
    upload: Upload,
    asked: Asked,
    limits: Limits,
    timeouts: Timeouts,
    turn: Option<Turn>,
    silent: bool,
}

/// Whose turn it is to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// The client's: it has more to send.
    Client,
    /// The upstream's: it has to take what was written so far.
    Take(u64),
    /// The upstream's: it has the whole request.
    Answer,
}

impl Sending {
    fn begin(
        mut line: Box<Line>,
        head: &RequestHead,
        body: Body,
        timeouts: &Timeouts,
    ) -> Result<Self, Box<Unanswered>> {
        line.wire.restart();
        if let Err(error) = request::write(head, line.wire.output()) {
            let error = SendError::Unwritable(error);
            return Err(Box::new(Unanswered { error, unsent: None, silent: true }));
        }
        Ok(Self {
            line,
            upload: Upload::new(body, head.framing),
            asked: Asked::from(head),
            limits: Limits::default(),
            timeouts: *timeouts,
            turn: None,
            silent: true,
        })
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Answer, SendError>> {
        let moved = self.upload.poll(cx, &mut self.line.wire);
        if let Poll::Ready(Err(fault)) = moved {
            return Poll::Ready(Err(SendError::Body(fault)));
        }
        // An upstream that takes no more may have answered before, so that is read first.
        match self.poll_answer(cx) {
            Poll::Ready(Err(SendError::Closed | SendError::Broken(_)))
                if self.upload.is_broken() =>
            {
                return Poll::Ready(Err(self.upload.broken()));
            }
            Poll::Ready(answered) => return Poll::Ready(answered),
            Poll::Pending => {}
        }
        self.poll_time(cx).map(Err)
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<Answer, SendError>> {
        loop {
            if !self.line.wire.input.is_empty() {
                let Line { wire, parser, .. } = &mut *self.line;
                match parser.parse(&mut wire.input, &self.asked, &self.limits) {
                    Ok(Some(Answer::Interim(_))) => continue,
                    Ok(Some(answer)) => return Poll::Ready(Ok(answer)),
                    Ok(None) => {}
                    Err(reject) => return Poll::Ready(Err(SendError::Refused(reject))),
                }
            }
            match ready!(self.line.wire.poll_fill(cx)) {
                Ok(0) => return Poll::Ready(Err(SendError::Closed)),
                Ok(_) => self.silent = false,
                Err(error) => return Poll::Ready(Err(SendError::Broken(error))),
            }
        }
    }

    fn poll_time(&mut self, cx: &mut Context<'_>) -> Poll<SendError> {
        let turn = self.upload.turn(&self.line.wire);
        if self.turn != Some(turn) {
            self.turn = Some(turn);
            match turn {
                // A silent client is the body's to notice.
                Turn::Client => self.line.deadline.clear(),
                Turn::Take(_) => self.allow(self.timeouts.send.duration()),
                Turn::Answer => self.allow(self.timeouts.first_byte.duration()),
            }
        }
        ready!(self.line.deadline.poll(cx));
        Poll::Ready(SendError::TimedOut(match turn {
            Turn::Client | Turn::Take(_) => Expired::Send,
            Turn::Answer => Expired::FirstByte,
        }))
    }

    fn allow(&mut self, time: Duration) {
        self.line.deadline.set(Instant::now() + time);
    }

    fn unanswered(self, error: SendError) -> Unanswered {
        let untouched = self.line.wire.written() == 0 && self.upload.untouched;
        let unsent = untouched.then_some(self.upload.body);
        Unanswered { error, unsent, silent: self.silent }
    }

    fn answered(mut self, answer: Answer) -> Answered {
        self.line.deadline.clear();
        match answer {
            Answer::Tunnel(head) => {
                Answered::Tunnel(response(head, ()), Prefixed::of(self.line.wire))
            }
            Answer::Interim(head) | Answer::Final(head) => {
                let receiving = Receiving {
                    framing: head.framing,
                    persistent: head.persistent && self.upload.is_done(),
                    silence: self.timeouts.silence.duration(),
                    rest: self.upload.is_going_on().then(|| Box::new(self.upload)),
                    line: self.line,
                };
                Answered::Response(response(head, receiving))
            }
        }
    }
}

/// The body of an answer that nobody has asked for yet.
pub(crate) struct Receiving {
    line: Box<Line>,
    framing: Framing,
    /// Whether the connection can be kept.
    persistent: bool,
    /// How long the upstream may send nothing.
    silence: Duration,
    /// What the upstream has not taken of the request before it answered.
    rest: Option<Box<Upload>>,
}

impl Receiving {
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

fn response<B>(head: ResponseHead, body: B) -> Response<B> {
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    response
}

/// The way of a request's body to the upstream.
struct Upload {
    body: Body,
    encoder: Encoder,
    stage: Stage,
    /// Whether nothing was taken from the body.
    untouched: bool,
}

#[derive(Debug)]
enum Stage {
    /// There is more of the body.
    Body,
    /// All of it was taken from the client; some waits to be written.
    Drain,
    /// All of it was written.
    Done,
    /// The upstream takes no more of it.
    Broken(Option<io::Error>),
}

impl Upload {
    fn new(body: Body, framing: Framing) -> Self {
        let stage = if body.is_end_stream() { Stage::Drain } else { Stage::Body };
        Self { body, encoder: Encoder::new(framing), stage, untouched: true }
    }

    /// Moves the request on. Is ready when there is nothing left to do.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        wire: &mut Wire<Box<dyn Stream>>,
    ) -> Poll<Result<(), BodyFault>> {
        while matches!(self.stage, Stage::Body) {
            if wire.waiting() >= FULL {
                ready!(self.poll_write(cx, wire));
                continue;
            }
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
                // What is there goes out while more is awaited.
                let written = self.poll_write(cx, wire);
                return if self.is_broken() { written.map(Ok) } else { Poll::Pending };
            };
            self.untouched = false;
            self.take(wire, frame)?;
        }
        if matches!(self.stage, Stage::Drain) {
            ready!(self.poll_write(cx, wire));
        }
        Poll::Ready(Ok(()))
    }

    fn take(
        &mut self,
        wire: &mut Wire<Box<dyn Stream>>,
        frame: Option<Result<Frame<Bytes>, BodyError>>,
    ) -> Result<(), BodyFault> {
        let encoded = match frame.transpose().map_err(|error| BodyFault::from(&error))? {
            Some(frame) => match frame.into_data() {
                Ok(data) => wire.encode(&mut self.encoder, data),
                Err(frame) => {
                    self.stage = Stage::Drain;
                    let trailers = frame.into_trailers().unwrap_or_default();
                    self.encoder.end(&trailers, wire.output())
                }
            },
            None => Ok(()),
        };
        let encoded = encoded.and_then(|()| {
            if matches!(self.stage, Stage::Body) && self.body.is_end_stream() {
                self.stage = Stage::Drain;
                self.encoder.end(&HeaderMap::new(), wire.output())?;
            }
            Ok(())
        });
        encoded.map_err(|error| BodyFault::Broken(error.to_string()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, wire: &mut Wire<Box<dyn Stream>>) -> Poll<()> {
        match ready!(wire.poll_flush(cx)) {
            Ok(()) if matches!(self.stage, Stage::Drain) => self.stage = Stage::Done,
            Ok(()) => {}
            Err(error) => self.stage = Stage::Broken(Some(error)),
        }
        Poll::Ready(())
    }

    fn turn(&self, wire: &Wire<Box<dyn Stream>>) -> Turn {
        match self.stage {
            Stage::Done | Stage::Broken(_) => Turn::Answer,
            Stage::Body if wire.is_drained() => Turn::Client,
            Stage::Body | Stage::Drain => Turn::Take(wire.written()),
        }
    }

    fn is_broken(&self) -> bool {
        matches!(self.stage, Stage::Broken(_))
    }

    /// Tells whether there is more that the upstream may take.
    fn is_going_on(&self) -> bool {
        matches!(self.stage, Stage::Body | Stage::Drain)
    }

    fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done)
    }

    /// Returns why the upstream takes no more.
    fn broken(&mut self) -> SendError {
        match &mut self.stage {
            Stage::Broken(error) => error.take().map_or(SendError::Closed, SendError::Broken),
            Stage::Body | Stage::Drain | Stage::Done => SendError::Closed,
        }
    }
}

/// The body of an answer.
struct AnswerBody<K> {
    /// The connection, until the body has ended.
    held: Option<Held>,
    decoder: Decoder,
    length: Option<u64>,
    /// Whether the connection can be kept.
    persistent: bool,
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
        let Receiving { line, framing, persistent, silence, rest } = receiving;
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
            decoder: Decoder::new(framing, &Limits::default()),
            length: match framing {
                Framing::None => Some(0),
                Framing::Length(length) => Some(length),
                Framing::Chunked | Framing::UntilClose => None,
            },
            persistent,
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
            && self.persistent
            && line.wire.input.is_empty()
            && let Some(keeper) = self.keeper.take()
        {
            line.deadline.clear();
            keeper.keep(Conn(line));
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
