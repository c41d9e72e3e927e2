//! An answer on its way to the client.

use std::{
    cell::{Cell, RefCell},
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header, response::Parts};
use http_body::{Body as _, Frame};
use jiff::Timestamp;
use portway_http1::{
    Framing, Version, WriteError,
    body::Encoder,
    request::RequestHead,
    response::{self, Asked, ResponseHead},
};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{ClientStream, link::Link};
use crate::{
    body::{Body, BodyError},
    exchange::content_length,
    http1::wire::Wire,
    lists, sendfile,
};

/// When this much waits to be written, it is written before more is asked for.
const FULL: usize = 64 * 1024;

/// What of a request decides how its answer is written.
pub(super) struct Ask {
    asked: Asked,
    version: Version,
    trailers: bool,
}

/// An answer of which nothing more can be written: the client is gone, or the body broke off and
/// the connection must be closed so that what was sent is not taken for the whole.
#[derive(Debug)]
pub(super) struct Unsent;

/// An answer whose head was written.
pub(super) struct Answer {
    body: Body,
    encoder: Encoder,
    trailers: bool,
    persistent: bool,
    stage: Stage,
}

/// How far an answer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// There is more of the body.
    Body,
    /// All of it waits to be written, or was.
    Ended,
    /// It broke off; what came of it is still written.
    Broken,
}

impl Ask {
    /// Reads it from a request.
    pub(super) fn of(head: &RequestHead) -> Self {
        Self {
            asked: Asked::from(head),
            version: head.version,
            trailers: lists::names(&head.headers, &header::TE, "trailers"),
        }
    }

    /// Returns what holds where no request could be read.
    pub(super) fn of_nobody() -> Self {
        Self { asked: Asked::plain(Method::GET), version: Version::Http11, trailers: false }
    }

    fn framing(&self, status: StatusCode, body: &Body) -> Framing {
        let bodiless = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if bodiless || self.asked.method == Method::HEAD {
            return Framing::None;
        }
        match (body.size_hint().exact(), self.version) {
            (Some(length), _) => Framing::Length(length),
            (None, Version::Http11) => Framing::Chunked,
            (None, Version::Http10) => Framing::UntilClose,
        }
    }
}

impl Answer {
    /// Writes the head of an answer to the buffer of a connection.
    pub(super) fn begin<S>(
        wire: &mut Wire<S>,
        ask: &Ask,
        persistent: bool,
        parts: Parts,
        body: Body,
    ) -> Result<Self, WriteError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let framing = ask.framing(parts.status, &body);
        let mut head = ResponseHead {
            status: parts.status,
            version: ask.version,
            content_length: content_length(&parts.headers),
            headers: parts.headers,
            framing,
            persistent: persistent && framing != Framing::UntilClose,
        };
        if !head.headers.contains_key(header::DATE) {
            head.headers.insert(header::DATE, date());
        }
        response::write(&head, &ask.asked, wire.output())?;
        portway_http1::recycle(head.headers);
        Ok(Self {
            body,
            encoder: Encoder::new(framing),
            trailers: ask.trailers,
            persistent: head.persistent,
            stage: if framing == Framing::None { Stage::Ended } else { Stage::Body },
        })
    }

    /// Writes the answer to its last byte; tells whether the connection may go on.
    pub(super) fn poll_send<S>(
        &mut self,
        cx: &mut Context<'_>,
        link: &RefCell<Link<S>>,
    ) -> Poll<Result<bool, Unsent>>
    where
        S: ClientStream,
    {
        while self.stage == Stage::Body {
            ready!(self.poll_room(cx, link))?;
            ready!(self.poll_slices(cx, link))?;
            if self.stage != Stage::Body {
                break;
            }
            // The body may itself read from the connection, so it is not held meanwhile.
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
                let flushed = link.borrow_mut().wire.poll_flush(cx);
                return match flushed {
                    Poll::Ready(Err(_)) => Poll::Ready(Err(Unsent)),
                    Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
                };
            };
            // Whoever watches the body has written down why it broke off.
            if self.take(&mut link.borrow_mut().wire, frame).is_err() {
                self.stage = Stage::Broken;
            }
        }
        let mut link = link.borrow_mut();
        if self.stage == Stage::Ended && !self.persistent {
            link.wire.end_with_next_flush();
        }
        ready!(link.wire.poll_flush(cx)).map_err(|_| Unsent)?;
        Poll::Ready(if self.stage == Stage::Broken { Err(Unsent) } else { Ok(self.persistent) })
    }

    /// Waits until more of the body may be put behind what waits to be written. Meanwhile the body is
    /// read ahead, so that who sends it is done with it before a slow client is.
    fn poll_room<S>(
        &mut self,
        cx: &mut Context<'_>,
        link: &RefCell<Link<S>>,
    ) -> Poll<Result<(), Unsent>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut link = link.borrow_mut();
        if link.wire.waiting() < FULL {
            return Poll::Ready(Ok(()));
        }
        let drained = link.wire.poll_drain(cx);
        drop(link);
        if drained.is_pending() {
            self.body.read_ahead(cx);
        }
        drained.map_err(|_| Unsent)
    }

    /// Lets the system copy what comes next to the connection, for as long as it can.
    fn poll_slices<S>(
        &mut self,
        cx: &mut Context<'_>,
        link: &RefCell<Link<S>>,
    ) -> Poll<Result<(), Unsent>>
    where
        S: ClientStream,
    {
        let mut link = link.borrow_mut();
        while self.stage == Stage::Body && link.wire.sends_files() {
            let Some(slice) = self.body.slice() else { break };
            match ready!(link.wire.poll_send_file(cx, &slice)) {
                Ok(0) => self.break_off(&BodyError::Truncated),
                Ok(sent) => {
                    self.encoder.around(sent).map_err(|_| Unsent)?;
                    self.body.sent(u64::try_from(sent).unwrap_or(u64::MAX));
                    if self.body.is_end_stream() {
                        self.end(&mut link.wire, &HeaderMap::new())?;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                    self.body.refuse_slices();
                }
                Err(error) if sendfile::is_of_file(&error) => {
                    self.break_off(&BodyError::File(error));
                }
                Err(_) => return Poll::Ready(Err(Unsent)),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn break_off(&mut self, error: &BodyError) {
        self.body.broke(error);
        self.stage = Stage::Broken;
    }

    fn take<S>(
        &mut self,
        wire: &mut Wire<S>,
        frame: Option<Result<Frame<Bytes>, BodyError>>,
    ) -> Result<(), Unsent>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Some(frame) = frame else { return self.end(wire, &HeaderMap::new()) };
        let frame = frame.map_err(|_| Unsent)?;
        match frame.into_data() {
            Ok(data) => wire.encode(&mut self.encoder, data).map_err(|_| Unsent)?,
            Err(frame) => {
                let trailers = frame.into_trailers().ok().filter(|_| self.trailers);
                return self.end(wire, &trailers.unwrap_or_default());
            }
        }
        // Saves asking once more for nothing.
        if self.body.is_end_stream() { self.end(wire, &HeaderMap::new()) } else { Ok(()) }
    }

    fn end<S>(&mut self, wire: &mut Wire<S>, trailers: &HeaderMap) -> Result<(), Unsent>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.stage = Stage::Ended;
        self.encoder.end(trailers, wire.output()).map_err(|_| Unsent)
    }
}

/// Writes the head after which a connection leaves HTTP.
pub(super) fn switching<S>(wire: &mut Wire<S>, parts: Parts) -> Result<(), WriteError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let head = ResponseHead {
        status: parts.status,
        version: Version::Http11,
        headers: parts.headers,
        framing: Framing::None,
        content_length: None,
        persistent: true,
    };
    let asked = Asked { method: Method::GET, upgrade: true };
    response::write(&head, &asked, wire.output())
}

/// Returns the date as headers carry it, written once a second.
fn date() -> HeaderValue {
    thread_local! {
        static WRITTEN: Cell<Option<(u64, HeaderValue)>> = const { Cell::new(None) };
    }
    let second = u64::try_from(Timestamp::now().as_second()).unwrap_or_default();
    let written = WRITTEN.take().filter(|(at, _)| *at == second);
    let value = written.map_or_else(|| write_date(second), |(_, value)| value);
    WRITTEN.set(Some((second, value.clone())));
    value
}

fn write_date(second: u64) -> HeaderValue {
    let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(second));
    // The text of a date is a header's value.
    HeaderValue::try_from(date)
        .unwrap_or_else(|_| HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"))
}
