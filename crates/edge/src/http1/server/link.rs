//! The body of a request, read from the connection by whoever wants it.

use std::{
    cell::RefCell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use portway_http1::{
    Framing, Limits,
    body::{self, Decoder},
};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    body::{BodyError, FramePoll, Side},
    http1::wire::Wire,
};

/// The interim answer for which a client waits before it sends its body (RFC 9110 §15.2.1).
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// What a connection and the body of its current request share.
pub(super) struct Link<S> {
    pub(super) wire: Wire<S>,
    /// Whether a byte of the next request has arrived.
    pub(super) began: bool,
    /// The number of the current request. A body that outlives its request reads nothing more.
    request: u64,
    decoder: Decoder,
    state: State,
    /// Whether the client was not told yet that it may send the body.
    awaits_continue: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// There is more to read.
    Open,
    /// It was read to its framed end.
    Ended,
    /// It broke off; nothing that follows can be understood.
    Broken,
}

/// What is left of a request's body that was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// Nothing.
    Nothing,
    /// Something that the client has sent, or will send whatever it is answered.
    Coming,
    /// Something that the client may or may not send, as it waits for leave; or nobody knows where
    /// it ends.
    Unknown,
}

impl Unread {
    /// Tells whether there is nothing.
    pub(super) fn is_nothing(self) -> bool {
        self == Self::Nothing
    }

    /// Tells whether the connection may go on when this has been thrown away.
    pub(super) fn is_bearable(self) -> bool {
        self != Self::Unknown
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Link<S> {
    /// Takes a connection on which nothing was read.
    pub(super) fn new(stream: S) -> Self {
        Self {
            wire: Wire::new(stream),
            began: false,
            request: 0,
            decoder: Decoder::new(Framing::None, &Limits::default()),
            state: State::Ended,
            awaits_continue: false,
        }
    }

    /// Begins the body of the request whose head was just read.
    pub(super) fn begin(&mut self, framing: Framing, awaits_continue: bool, limits: &Limits) {
        let bodiless = matches!(framing, Framing::None | Framing::Length(0));
        self.state = if bodiless { State::Ended } else { State::Open };
        self.awaits_continue = awaits_continue;
        self.began = false;
        self.request += 1;
        if !bodiless {
            self.decoder = Decoder::new(framing, limits);
        }
    }

    /// Returns what is left of the body.
    pub(super) fn unread(&self) -> Unread {
        match self.state {
            State::Ended => Unread::Nothing,
            State::Open if self.awaits_continue => Unread::Unknown,
            State::Open => Unread::Coming,
            State::Broken => Unread::Unknown,
        }
    }

    /// Is ready when the client has gone away while it waits for its answer. What it sends ahead,
    /// up to `ahead` bytes, is read for that.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>, ahead: usize) -> Poll<()> {
        if self.state != State::Ended {
            return Poll::Pending;
        }
        while self.wire.input.len() < ahead {
            match ready!(self.wire.poll_fill(cx)) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(_) => {}
            }
        }
        Poll::Pending
    }

    /// Reads and throws away what is left of the body, but no more than `most` bytes of data; tells
    /// whether that was all.
    pub(super) fn poll_discard(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<bool> {
        let mut left = most;
        loop {
            match ready!(self.poll_frame(cx)) {
                None => return Poll::Ready(true),
                Some(Ok(body::Frame::Trailers(_))) => {}
                Some(Ok(body::Frame::Data(data))) if data.len() <= left => left -= data.len(),
                Some(Ok(body::Frame::Data(_)) | Err(_)) => return Poll::Ready(false),
            }
        }
    }

    /// Returns the next piece of the body, nothing after the last.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<body::Frame, BodyError>>> {
        if self.state == State::Ended {
            return Poll::Ready(None);
        }
        loop {
            let decoded = self.decoder.decode(&mut self.wire.input);
            if self.decoder.is_ended() {
                self.state = State::Ended;
            }
            match decoded {
                Ok(None) if self.state == State::Ended => return Poll::Ready(None),
                Ok(None) => {}
                Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                Err(reject) => return Poll::Ready(Some(Err(self.broken(reject)))),
            }
            self.give_leave(cx);
            let failed = match ready!(self.wire.poll_fill(cx)) {
                Ok(0) => self.decoder.close().err().map(|reject| self.broken(reject)),
                Ok(_) => None,
                Err(error) => Some(self.broken(error)),
            };
            if let Some(error) = failed {
                return Poll::Ready(Some(Err(error)));
            }
        }
    }

    /// Gives the client leave to send its body, once somebody wants it.
    fn give_leave(&mut self, cx: &mut Context<'_>) {
        if std::mem::take(&mut self.awaits_continue) {
            self.wire.output().extend_from_slice(CONTINUE);
        }
        if !self.wire.is_drained() {
            // What goes wrong here is noticed at the next read, and the rest is written with the
            // answer.
            drop(self.wire.poll_flush(cx));
        }
    }

    fn broken(&mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> BodyError {
        self.state = State::Broken;
        BodyError::Broken { side: Side::Client, source: source.into() }
    }
}

/// The body of a request.
pub(super) struct RequestBody<S> {
    link: Rc<RefCell<Link<S>>>,
    request: u64,
    length: Option<u64>,
}

impl<S> RequestBody<S> {
    /// Returns the body of the current request of a connection.
    pub(super) fn new(link: Rc<RefCell<Link<S>>>, framing: Framing) -> Self {
        let length = match framing {
            Framing::Length(length) => Some(length),
            Framing::None | Framing::Chunked | Framing::UntilClose => None,
        };
        let request = link.borrow().request;
        Self { link, request, length }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> HttpBody for RequestBody<S> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> FramePoll {
        let mut link = self.link.borrow_mut();
        if link.request != self.request || link.state == State::Broken {
            let gone = std::io::Error::from(std::io::ErrorKind::ConnectionAborted);
            let error = BodyError::Broken { side: Side::Client, source: gone.into() };
            return Poll::Ready(Some(Err(error)));
        }
        if link.state == State::Ended {
            return Poll::Ready(None);
        }
        let polled = ready!(link.poll_frame(cx));
        drop(link);
        Poll::Ready(polled.map(|frame| match frame? {
            body::Frame::Data(data) => {
                let read = u64::try_from(data.len()).unwrap_or(u64::MAX);
                self.length = self.length.map(|length| length.saturating_sub(read));
                Ok(Frame::data(data))
            }
            body::Frame::Trailers(trailers) => Ok(Frame::trailers(trailers)),
        }))
    }

    fn is_end_stream(&self) -> bool {
        let link = self.link.borrow();
        link.request == self.request && link.state == State::Ended
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
