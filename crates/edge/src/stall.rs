//! A client's connection that fails when the client stops taking what is sent to it, so that slow
//! readers cannot hold memory and upstream connections for ever.

use std::{
    cell::Cell,
    future::Future,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use portway_model::site::defaults;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use crate::{body::Slice, sendfile::SendFile};

/// How long a client may take nothing, and whether that has come to pass. Shared by whoever watches
/// the client and whoever knows its site.
#[derive(Debug)]
pub(crate) struct Patience {
    limit: Cell<Duration>,
    ended: Cell<bool>,
}

impl Patience {
    /// Sets what the site of the current request allows.
    pub(crate) fn set(&self, limit: Duration) {
        self.limit.set(limit);
    }

    /// Returns how long the client may take nothing.
    pub(crate) fn limit(&self) -> Duration {
        self.limit.get()
    }

    /// Takes note that the client took nothing for so long.
    pub(crate) fn end(&self) {
        self.ended.set(true);
    }

    /// Tells whether the client took nothing for so long.
    pub(crate) fn is_ended(&self) -> bool {
        self.ended.get()
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self { limit: Cell::new(defaults::WRITE_STALL.duration()), ended: Cell::new(false) }
    }
}

/// See the module.
pub(crate) struct StallGuard<S> {
    stream: S,
    patience: Rc<Patience>,
    /// Made at the first wait; armed while waiting.
    timer: Option<Pin<Box<Sleep>>>,
    /// Since when it is waited.
    since: Option<Instant>,
}

impl<S> StallGuard<S> {
    /// Guards a stream.
    pub(crate) fn new(stream: S, patience: Rc<Patience>) -> Self {
        Self { stream, patience, timer: None, since: None }
    }

    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.since = None;
            return polled;
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        let deadline = since + self.patience.limit();
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        match timer.as_mut().poll(cx) {
            Poll::Ready(()) => {
                self.patience.end();
                let reason = "the client takes nothing of what is sent";
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, reason)))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for StallGuard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for StallGuard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.watch(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.watch(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

impl<S: SendFile> SendFile for StallGuard<S> {
    fn sends_files(&self) -> bool {
        self.stream.sends_files()
    }

    fn poll_write_more(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = self.stream.poll_write_more(cx, bytes);
        self.watch(cx, polled)
    }

    fn poll_send_file(
        &mut self,
        cx: &mut Context<'_>,
        slice: &Slice<'_>,
    ) -> Poll<io::Result<usize>> {
        let polled = self.stream.poll_send_file(cx, slice);
        self.watch(cx, polled)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_let_go_after_what_its_site_allows() {
        for seconds in [60, 5] {
            let (ours, _theirs) = tokio::io::duplex(4);
            let patience = Rc::new(Patience::default());
            if seconds != 60 {
                patience.set(Duration::from_secs(seconds));
            }
            let begun = Instant::now();
            let mut guard = StallGuard::new(ours, Rc::clone(&patience));
            let error = guard.write_all(b"more than four").await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert_eq!(begun.elapsed().as_secs(), seconds);
            assert!(patience.is_ended());
        }
    }
}
