//! An answer on its way to the client.

use std::{
    cell::{Cell, RefCell},
    pin::Pin,
    task::{Context, Poll, ready},
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header, response::Parts};
use http_body::{Body as _, Frame};
use portway_http1::{
    Framing, Version, WriteError,
    body::Encoder,
    request::RequestHead,
    response::{self, Asked, ResponseHead},
};
use tokio::io::{AsyncRead, AsyncWrite};

use super::link::Link;
use crate::{
    body::{Body, BodyError},
    exchange::content_length,
    headers,
    http1::wire::Wire,
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
    ended: bool,
}

impl Ask {
    /// Reads it from a request.
    pub(super) fn of(head: &RequestHead) -> Self {
        Self {
            asked: Asked::from(head),
            version: head.version,
            trailers: headers::names(&head.headers, &header::TE, "trailers"),
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
        Ok(Self {
            body,
            encoder: Encoder::new(framing),
            trailers: ask.trailers,
            persistent: head.persistent,
            ended: framing == Framing::None,
        })
    }

    /// Writes the answer to its last byte; tells whether the connection may go on.
    pub(super) fn poll_send<S>(
        &mut self,
        cx: &mut Context<'_>,
        link: &RefCell<Link<S>>,
    ) -> Poll<Result<bool, Unsent>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        while !self.ended {
            // The body may itself read from the connection, so it is not held meanwhile.
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
                let flushed = link.borrow_mut().wire.poll_flush(cx);
                return match flushed {
                    Poll::Ready(Err(_)) => Poll::Ready(Err(Unsent)),
                    Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
                };
            };
            let mut link = link.borrow_mut();
            self.take(&mut link.wire, frame)?;
            if link.wire.waiting() >= FULL {
                ready!(link.wire.poll_drain(cx)).map_err(|_| Unsent)?;
            }
        }
        ready!(link.borrow_mut().wire.poll_flush(cx)).map_err(|_| Unsent)?;
        Poll::Ready(Ok(self.persistent))
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
        // Whoever watches the body has written down why it broke off.
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
        self.ended = true;
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
    let now = SystemTime::now();
    let second = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let written = WRITTEN.take().filter(|(at, _)| *at == second);
    let value = written.map_or_else(|| write_date(now), |(_, value)| value);
    WRITTEN.set(Some((second, value.clone())));
    value
}

fn write_date(now: SystemTime) -> HeaderValue {
    // The text of a date is a header's value.
    HeaderValue::try_from(httpdate::fmt_http_date(now))
        .unwrap_or_else(|_| HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"))
}
