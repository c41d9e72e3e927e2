//! A stream that cannot hang.
//!
//! russh's session stops sending its keepalives while it waits for a socket to take bytes, and while
//! keys are being agreed on it does not notice that nobody wants the session any more. So the stream
//! below it ends both: a write that nobody takes, and everything once the connection is given up.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// A stream whose writes end in an error when they stall, and which ends when it is told to.
pub(super) struct Guarded<S> {
    inner: S,
    patience: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
    is_over: bool,
}

impl<S> Guarded<S> {
    /// Wraps a stream: a write may stall for `patience`, and `end` ends all.
    pub(super) fn new(inner: S, patience: Duration, end: CancellationToken) -> Self {
        let ended = Box::pin(end.cancelled_owned());
        Self { inner, patience, stalled: None, ended, is_over: false }
    }

    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if !self.is_over {
            ready!(self.ended.as_mut().poll(cx));
            self.is_over = true;
        }
        Poll::Ready(io::Error::new(io::ErrorKind::ConnectionAborted, "the connection was given up"))
    }

    fn poll_stalled<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        let patience = self.patience;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(stalled.as_mut().poll(cx));
        let text = format!("it takes no bytes since {} s", patience.as_secs_f32());
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, text)))
    }

    fn judge<T>(&mut self, cx: &mut Context<'_>, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if done.is_pending() {
            return self.poll_stalled(cx);
        }
        self.stalled = None;
        done
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(error) = self.poll_over(cx) {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(error) = self.poll_over(cx) {
            return Poll::Ready(Err(error));
        }
        let done = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.judge(cx, done)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Poll::Ready(error) = self.poll_over(cx) {
            return Poll::Ready(Err(error));
        }
        let done = Pin::new(&mut self.inner).poll_flush(cx);
        self.judge(cx, done)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.poll_over(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        let done = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.judge(cx, done)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_write_that_nobody_takes_ends() {
        let (near, _far) = duplex(8);
        let mut guarded = Guarded::new(near, Duration::from_secs(9), CancellationToken::new());

        guarded.write_all(b"12345678").await.unwrap();
        let stalled = guarded.write_all(b"9").await;

        assert_eq!(stalled.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_is_taken_in_time_starts_anew() {
        let (near, mut far) = duplex(1);
        let mut guarded = Guarded::new(near, Duration::from_secs(9), CancellationToken::new());

        let slow = async {
            let mut byte = [0];
            for _ in 0..4 {
                sleep(Duration::from_secs(6)).await;
                far.read_exact(&mut byte).await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(guarded.write_all(b"1234"), slow);

        assert!(written.is_ok());
    }

    #[tokio::test]
    async fn a_connection_that_is_given_up_ends_at_once() {
        let (near, _far) = duplex(8);
        let end = CancellationToken::new();
        let mut guarded = Guarded::new(near, Duration::from_secs(9), end.clone());

        let (read, ()) = tokio::join!(guarded.read_u8(), async { end.cancel() });

        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    }
}
