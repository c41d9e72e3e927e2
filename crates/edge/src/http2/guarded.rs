//! A client's connection under watch: [`Calm`] sees all that passes, and what is too much ends it
//! with GOAWAY and `ENHANCE_YOUR_CALM`.

use std::{
    cell::Cell,
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use super::{
    calm::{Calm, Flood},
    frames::GOAWAY,
};
use crate::http1::Deadline;

/// RFC 9113 §7.
const ENHANCE_YOUR_CALM: u32 = 11;

/// See the module.
pub(super) struct Guarded<S> {
    stream: S,
    calm: Calm,
    /// How long the preface, and each head, may take.
    head_time: Duration,
    deadline: Deadline,
    /// The head that the deadline is for.
    timed: Option<u64>,
    ended_by: Rc<Cell<Option<Flood>>>,
}

impl<S: AsyncWrite + Unpin> Guarded<S> {
    /// Guards a connection; tells `ended_by` why it ended it, if it did.
    pub(super) fn new(stream: S, head_time: Duration, ended_by: Rc<Cell<Option<Flood>>>) -> Self {
        let calm = Calm::new(std::time::Instant::now());
        Self { stream, calm, head_time, deadline: Deadline::default(), timed: None, ended_by }
    }

    /// Is ready when the client takes too long to the end of a head.
    fn poll_head_time(&mut self, cx: &mut Context<'_>) -> Poll<Flood> {
        let head = self.calm.head_under_way();
        if head != self.timed {
            self.deadline.clear();
            self.timed = head;
        }
        if head.is_none() {
            return Poll::Pending;
        }
        let limit = self.head_time;
        self.deadline.set_once(|| Instant::now() + limit);
        ready!(self.deadline.poll(cx));
        Poll::Ready(Flood::SlowHead)
    }

    /// Says goodbye, where that breaks no frame, and fails.
    fn end(&mut self, cx: &mut Context<'_>, flood: Flood) -> io::Error {
        self.ended_by.set(Some(flood));
        if self.calm.is_between_frames() {
            let goodbye = goaway(self.calm.last_stream(), ENHANCE_YOUR_CALM, &flood.to_string());
            // Whoever floods may not read; then it is not told.
            if let Poll::Ready(Ok(_)) = Pin::new(&mut self.stream).poll_write(cx, &goodbye) {
                drop(Pin::new(&mut self.stream).poll_flush(cx));
            }
        }
        io::Error::new(io::ErrorKind::ConnectionAborted, flood)
    }
}

/// Returns a GOAWAY frame (RFC 9113 §6.8).
pub(crate) fn goaway(last_stream: u32, code: u32, reason: &str) -> Vec<u8> {
    let length = u32::try_from(8 + reason.len()).unwrap_or(8).to_be_bytes();
    let mut frame = Vec::with_capacity(17 + reason.len());
    frame.extend(length.iter().skip(1));
    frame.extend([GOAWAY, 0, 0, 0, 0, 0]);
    frame.extend(last_stream.to_be_bytes());
    frame.extend(code.to_be_bytes());
    frame.extend(reason.bytes());
    frame
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(cx, buffer);
        let flood = match polled {
            Poll::Pending => ready!(this.poll_head_time(cx)),
            Poll::Ready(Err(_)) => return polled,
            Poll::Ready(Ok(())) => {
                let new = buffer.filled().get(before..).unwrap_or_default();
                match this.calm.received(new, std::time::Instant::now) {
                    Ok(()) => return polled,
                    Err(flood) => flood,
                }
            }
        };
        buffer.set_filled(before);
        Poll::Ready(Err(this.end(cx, flood)))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.stream).poll_write(cx, bytes))?;
        let passed = bytes.get(..written).unwrap_or_default();
        match this.calm.sent(passed, std::time::Instant::now) {
            Ok(()) => Poll::Ready(Ok(written)),
            Err(flood) => Poll::Ready(Err(this.end(cx, flood))),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.stream).poll_write_vectored(cx, slices))?;
        let mut left = written;
        for slice in slices {
            let here = slice.get(..left.min(slice.len())).unwrap_or_default();
            if let Err(flood) = this.calm.sent(here, std::time::Instant::now) {
                return Poll::Ready(Err(this.end(cx, flood)));
            }
            left -= here.len();
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
