//! A stream over a channel to what listens on a node.
//!
//! A session hands what arrives to its channels one after the other, and waits for the slowest. So
//! what arrives here is taken off it at once and waits in memory, up to a bound beyond which the
//! stream ends in an error: a reader that is too slow harms itself and nobody else.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf as _, Bytes};
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, client::Msg};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::timeout,
};
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};

use super::connection::Connection;

/// How much may wait for a reader.
const MAX_WAITING: usize = 8 << 20;
/// How long the far side may take to close what we have left.
const LEAVING: Duration = Duration::from_secs(10);

/// A stream over a channel. The connection lives as long as its streams.
pub(super) struct Forwarded {
    arrived: UnboundedReceiver<io::Result<Bytes>>,
    waiting: Arc<AtomicUsize>,
    piece: Bytes,
    writer: Pin<Box<dyn AsyncWrite + Send>>,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
    is_over: bool,
    _left: DropGuard,
    _connection: Arc<Connection>,
}

impl Forwarded {
    pub(super) fn new(channel: Channel<Msg>, connection: Arc<Connection>) -> Self {
        let (read, write) = channel.split();
        let (arrive, arrived) = unbounded_channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let (left, ended) = (CancellationToken::new(), CancellationToken::new());
        let writer = Box::pin(write.make_writer());
        let pump = Pump {
            read,
            write,
            arrive: Some(arrive),
            waiting: Arc::clone(&waiting),
            left: left.clone(),
        };
        let over = ended.clone().drop_guard();
        // It ends with the channel, which ends with the stream, or with the connection.
        tokio::spawn(async move {
            pump.run().await;
            drop(over);
        });
        Self {
            arrived,
            waiting,
            piece: Bytes::new(),
            writer,
            ended: Box::pin(ended.cancelled_owned()),
            is_over: false,
            _left: left.drop_guard(),
            _connection: connection,
        }
    }

    /// The library waits for ever for a channel that is gone to take more bytes.
    fn or_over<T>(
        &mut self,
        cx: &mut Context<'_>,
        done: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if done.is_ready() {
            return done;
        }
        if !self.is_over {
            ready!(self.ended.as_mut().poll(cx));
            self.is_over = true;
        }
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }
}

impl AsyncRead for Forwarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.piece.is_empty() {
            match ready!(self.arrived.poll_recv(cx)) {
                None => return Poll::Ready(Ok(())),
                Some(piece) => self.piece = piece?,
            }
        }
        let length = self.piece.len().min(buffer.remaining());
        buffer.put_slice(&self.piece.copy_to_bytes(length));
        self.waiting.fetch_sub(length, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Forwarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let done = self.writer.as_mut().poll_write(cx, bytes);
        self.or_over(cx, done)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = self.writer.as_mut().poll_flush(cx);
        self.or_over(cx, done)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = self.writer.as_mut().poll_shutdown(cx);
        self.or_over(cx, done)
    }
}

/// Takes what arrives off the session.
struct Pump {
    read: ChannelReadHalf,
    write: ChannelWriteHalf<Msg>,
    /// Nothing once the reader was told the end.
    arrive: Option<UnboundedSender<io::Result<Bytes>>>,
    waiting: Arc<AtomicUsize>,
    left: CancellationToken,
}

/// How passing on what arrives came to its end.
enum Passed {
    /// The far side has said all; ours may go on.
    All,
    /// The channel is closed, or the connection has ended.
    Closed,
    /// Nobody reads any more.
    Left,
    /// The reader is too slow.
    TooSlow,
}

impl Pump {
    async fn run(mut self) {
        let left = self.left.clone();
        // Both are safe to be cancelled: one waits for a token, the other receives from a queue.
        let mut passed = tokio::select! {
            () = left.cancelled() => Passed::Left,
            passed = self.pass() => passed,
        };
        self.arrive = None;
        if matches!(passed, Passed::All) {
            passed = tokio::select! {
                () = left.cancelled() => Passed::Left,
                () = self.closed() => Passed::Closed,
            };
        }
        match passed {
            Passed::All | Passed::Closed => {}
            Passed::TooSlow => self.close().await,
            Passed::Left => {
                if timeout(LEAVING, self.leave()).await.is_err() {
                    self.close().await;
                }
            }
        }
    }

    /// Passes what arrives to the reader.
    async fn pass(&mut self) -> Passed {
        loop {
            let data = match self.read.wait().await {
                None | Some(ChannelMsg::Close) => return Passed::Closed,
                Some(ChannelMsg::Eof) => return Passed::All,
                Some(ChannelMsg::Data { data }) => data,
                Some(_) => continue,
            };
            let waiting = self.waiting.fetch_add(data.len(), Ordering::Relaxed) + data.len();
            let is_too_slow = waiting > MAX_WAITING;
            let late = || io::Error::other("what arrives is not read in time");
            let piece = if is_too_slow { Err(late()) } else { Ok(data) };
            if self.arrive.as_ref().is_none_or(|arrive| arrive.send(piece).is_err()) {
                return Passed::Left;
            }
            if is_too_slow {
                return Passed::TooSlow;
            }
        }
    }

    /// Drops what arrives until the far side has closed the channel.
    async fn closed(&mut self) {
        while let Some(message) = self.read.wait().await {
            if matches!(message, ChannelMsg::Close) {
                return;
            }
        }
    }

    /// Ends our side, and drops what arrives until the far side has closed the channel: the library
    /// keeps what it knows of a channel that we close first for as long as the connection stands.
    async fn leave(&mut self) {
        if let Err(error) = self.write.eof().await {
            tracing::debug!("the session had ended before its stream: {error}");
        }
        self.closed().await;
    }

    async fn close(&self) {
        if let Err(error) = self.write.close().await {
            tracing::debug!("the session had ended before its stream: {error}");
        }
    }
}
