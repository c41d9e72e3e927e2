//! A connection to an upstream: one request and its answer at a time.

mod answer;
mod upload;

use std::{
    future::poll_fn,
    io,
    net::IpAddr,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use http::Response;
use portway_http1::{
    Limits, Reject, WriteError,
    request::{self, RequestHead},
    response::{Answer, Asked, Parser, ResponseHead},
    reuse::{Reuse, Side},
};
use portway_model::site::Timeouts;
use tokio::time::Instant;

pub(crate) use self::answer::Receiving;
use self::upload::Upload;
use super::{
    Deadline,
    wire::{Prefixed, Wire},
};
use crate::{
    body::Body,
    proxy::{BodyFault, Expired, Stream},
};

/// The most headers of an answer: applications are the operator's, and some set dozens of cookies.
const MOST_FIELDS: usize = 256;

/// A connection to an upstream on which nothing is going on.
pub(crate) struct Conn(Box<Line>);

struct Line {
    wire: Wire<Box<dyn Stream>>,
    parser: Parser,
    /// Decides whether another request may follow.
    reuse: Reuse,
    deadline: Deadline,
    /// How many requests were sent over it.
    served: u32,
    /// The address it leads to.
    address: Option<IpAddr>,
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
    /// Takes a connection that was just opened, and the address it leads to, where it has one.
    pub(crate) fn new(stream: Box<dyn Stream>, address: Option<IpAddr>) -> Self {
        Self(Box::new(Line {
            wire: Wire::new(stream),
            parser: Parser::new(),
            reuse: Reuse::new(Side::Client),
            deadline: Deadline::default(),
            served: 0,
            address,
        }))
    }

    /// Returns the address it leads to, where it has one.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.0.address
    }

    /// Returns how many requests were sent over it.
    pub(crate) fn served(&self) -> u32 {
        self.0.served
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
        line.served = line.served.saturating_add(1);
        if let Err(error) = request::write(head, line.wire.output()) {
            let error = SendError::Unwritable(error);
            return Err(Box::new(Unanswered { error, unsent: None, silent: true }));
        }
        line.reuse.request(head);
        Ok(Self {
            line,
            upload: Upload::new(body, head.framing),
            asked: Asked::from(head),
            limits: limits(),
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
                let Line { wire, parser, reuse, .. } = &mut *self.line;
                match parser.parse(&mut wire.input, &self.asked, &self.limits) {
                    Ok(Some(answer)) => {
                        reuse.response(&answer);
                        if !matches!(answer, Answer::Interim(_)) {
                            return Poll::Ready(Ok(answer));
                        }
                        continue;
                    }
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
        if self.upload.is_done() {
            self.line.reuse.request_ended();
        }
        match answer {
            Answer::Tunnel(head) => {
                Answered::Tunnel(response(head, ()), Prefixed::of(self.line.wire))
            }
            Answer::Interim(head) | Answer::Final(head) => {
                let receiving = Receiving {
                    framing: head.framing,
                    silence: self.timeouts.silence.duration(),
                    rest: self.upload.is_going_on().then(|| Box::new(self.upload)),
                    line: self.line,
                };
                Answered::Response(response(head, receiving))
            }
        }
    }
}

/// What an upstream may send as the head of an answer.
fn limits() -> Limits {
    Limits { fields: MOST_FIELDS, ..super::limits() }
}

fn response<B>(head: ResponseHead, body: B) -> Response<B> {
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    response
}
