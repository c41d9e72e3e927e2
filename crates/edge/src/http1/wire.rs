//! A connection with what was read from it and what is to be written to it.

mod spare;

use std::{
    cell::RefCell,
    io::{self, IoSlice},
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes, BytesMut};
use portway_http1::body::{EncodeError, Encoder};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

use super::server::ClientStream;
use crate::{body::Slice, sendfile::SendFile};

/// How much is asked for at once: at first, and at most when much arrives.
const FIRST_READ: usize = 8 * 1024;
const LARGEST_READ: usize = 128 * 1024;

/// What is not larger is copied behind what is waiting already: one call to the system costs more.
const COPIED: usize = 8 * 1024;

/// The most memory for writing that is kept for the next answer.
const KEPT: usize = 4 * 1024;

/// A connection with its buffers.
#[derive(Debug)]
pub(crate) struct Wire<S> {
    stream: S,
    /// Read and not used yet.
    pub(crate) input: BytesMut,
    /// How much the next read asks for.
    appetite: usize,
    /// To be written first.
    output: BytesMut,
    /// To be written then, without having been copied.
    large: Bytes,
    /// To be written last.
    behind: BytesMut,
    /// How much was handed to the system since [`Self::restart`].
    written: u64,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Takes a connection.
    pub(crate) fn new(stream: S) -> Self {
        Self {
            stream,
            input: BytesMut::new(),
            appetite: FIRST_READ,
            output: BytesMut::new(),
            large: Bytes::new(),
            behind: BytesMut::new(),
            written: 0,
        }
    }

    /// Reads once behind what is there and returns how much; 0 is the end. A connection on which
    /// nothing happens holds no memory for it.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.appetite == FIRST_READ {
            return self.poll_fill_little(cx);
        }
        if self.input.is_empty() {
            self.rest();
            self.input = spare::large(self.appetite);
        } else {
            self.input.reserve(self.appetite);
        }
        let polled = poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.input);
        let Poll::Ready(Ok(read)) = polled else {
            self.rest();
            return polled;
        };
        if read >= self.appetite {
            self.appetite = LARGEST_READ.min(self.appetite * 2);
        } else if read < self.appetite / 4 {
            self.appetite = FIRST_READ.max(self.appetite / 2);
        }
        polled
    }

    /// Reads into memory that all connections of a thread share, and copies what came. What comes is
    /// small mostly, and to copy it costs less than to get and to give back memory for the most that
    /// could come, also when nothing does.
    fn poll_fill_little(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        thread_local! {
            static SHARED: RefCell<Vec<u8>> = RefCell::new(vec![0; FIRST_READ]);
        }
        SHARED.with_borrow_mut(|shared| {
            let mut shared = ReadBuf::new(shared);
            let polled = Pin::new(&mut self.stream).poll_read(cx, &mut shared);
            let read = shared.filled();
            if self.input.is_empty() {
                // Of what was read before, others may hold parts; here nothing of it is kept.
                self.input = BytesMut::from(read);
            } else {
                self.input.extend_from_slice(read);
            }
            if read.len() == FIRST_READ {
                self.appetite = FIRST_READ * 2;
            }
            polled.map_ok(|()| read.len())
        })
    }

    /// Gives back the memory for reading while nothing was read that is not used.
    pub(crate) fn rest(&mut self) {
        if self.input.is_empty() {
            spare::give_large(std::mem::take(&mut self.input));
        }
    }

    /// Returns where small things are written.
    pub(crate) fn output(&mut self) -> &mut BytesMut {
        let output = if self.large.is_empty() { &mut self.output } else { &mut self.behind };
        if output.capacity() == 0 {
            *output = spare::small();
        }
        output
    }

    /// Puts a piece of a body behind what is waiting.
    pub(crate) fn encode(&mut self, encoder: &mut Encoder, data: Bytes) -> Result<(), EncodeError> {
        let around = encoder.around(data.len())?;
        self.output().extend_from_slice(around.before());
        self.put(data);
        self.output().extend_from_slice(around.after());
        Ok(())
    }

    fn put(&mut self, bytes: Bytes) {
        if bytes.len() <= COPIED || !self.large.is_empty() {
            self.output().extend_from_slice(&bytes);
        } else {
            self.large = bytes;
        }
    }

    /// Begins to count anew what is written.
    pub(crate) fn restart(&mut self) {
        self.written = 0;
    }

    /// Returns how much was handed to the system since [`Self::restart`].
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Returns how much waits to be written.
    pub(crate) fn waiting(&self) -> usize {
        self.output.len() + self.large.len() + self.behind.len()
    }

    /// Tells whether everything was handed to the system.
    pub(crate) fn is_drained(&self) -> bool {
        self.output.is_empty() && self.large.is_empty() && self.behind.is_empty()
    }

    /// Writes what is waiting.
    pub(crate) fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.is_drained() {
            let written = ready!(self.poll_write(cx))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written);
        }
        for buffer in [&mut self.output, &mut self.behind] {
            spare::give_small(std::mem::take(buffer));
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what is waiting, and lets the system copy a slice of a file behind it; returns how much
    /// of the slice.
    pub(crate) fn poll_send_file(
        &mut self,
        cx: &mut Context<'_>,
        slice: &Slice<'_>,
    ) -> Poll<io::Result<usize>>
    where
        S: SendFile,
    {
        while !self.is_drained() {
            let written = if self.large.is_empty() && self.behind.is_empty() {
                ready!(self.stream.poll_write_more(cx, &self.output))?
            } else {
                ready!(self.poll_write(cx))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written);
        }
        let sent = ready!(self.stream.poll_send_file(cx, slice))?;
        self.written += u64::try_from(sent).unwrap_or(u64::MAX);
        Poll::Ready(Ok(sent))
    }

    /// Tells whether the system can copy files to the connection.
    pub(crate) fn sends_files(&self) -> bool
    where
        S: SendFile,
    {
        self.stream.sends_files()
    }

    /// Takes note that what is flushed next is the last that is written.
    pub(crate) fn end_with_next_flush(&mut self)
    where
        S: ClientStream,
    {
        self.stream.end_with_next_flush();
    }

    /// Writes what is waiting, also what a layer below still holds.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Tells the other side that nothing more will come.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    /// Reads once and throws it away; returns how much.
    pub(crate) fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut waste = [MaybeUninit::uninit(); FIRST_READ];
        let mut waste = ReadBuf::uninit(&mut waste);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut waste))?;
        Poll::Ready(Ok(waste.filled().len()))
    }

    /// Gives the connection away with what was read from it and not used.
    pub(crate) fn into_parts(self) -> (S, BytesMut) {
        (self.stream, self.input)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let stream = Pin::new(&mut self.stream);
        if self.large.is_empty() && self.behind.is_empty() {
            return stream.poll_write(cx, &self.output);
        }
        let slices =
            [IoSlice::new(&self.output), IoSlice::new(&self.large), IoSlice::new(&self.behind)];
        stream.poll_write_vectored(cx, &slices)
    }

    fn advance(&mut self, mut written: usize) {
        self.written += u64::try_from(written).unwrap_or(u64::MAX);
        for buffer in [&mut self.output as &mut dyn Front, &mut self.large, &mut self.behind] {
            let here = written.min(buffer.length());
            buffer.take(here);
            written -= here;
        }
        if self.large.is_empty() {
            spare::give_piece(std::mem::take(&mut self.large));
        }
        if self.large.is_empty() && self.output.is_empty() {
            std::mem::swap(&mut self.output, &mut self.behind);
        }
    }
}

/// A buffer that is emptied from its front.
trait Front {
    fn length(&self) -> usize;
    fn take(&mut self, amount: usize);
}

impl Front for BytesMut {
    fn length(&self) -> usize {
        self.len()
    }

    fn take(&mut self, amount: usize) {
        if amount == self.len() { self.clear() } else { self.advance(amount) }
    }
}

impl Front for Bytes {
    fn length(&self) -> usize {
        self.len()
    }

    fn take(&mut self, amount: usize) {
        self.advance(amount);
    }
}

/// A connection that left HTTP, with what was read too far.
#[derive(Debug)]
pub(crate) struct Prefixed<S> {
    prefix: BytesMut,
    stream: S,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Prefixed<S> {
    /// Takes over a connection on which nothing waits to be written.
    pub(crate) fn of(wire: Wire<S>) -> Self {
        let (stream, prefix) = wire.into_parts();
        Self { prefix, stream }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Prefixed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.prefix.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let amount = self.prefix.len().min(buffer.remaining());
        buffer.put_slice(&self.prefix.split_to(amount));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Prefixed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn what_is_put_comes_in_its_order_however_large_it_is() {
        for sizes in [[1, 2, 3], [100_000, 1, 100_000], [COPIED, COPIED + 1, 5], [0, 100_000, 0]] {
            let (ours, mut theirs) = tokio::io::duplex(1000);
            let mut wire = Wire::new(ours);
            let mut put = Vec::new();
            for (byte, size) in (b'a'..).zip(sizes) {
                let piece = vec![byte; size];
                put.extend_from_slice(&piece);
                wire.put(piece.into());
                wire.output().extend_from_slice(b"|");
                put.push(b'|');
            }
            assert_eq!(wire.waiting(), put.len());
            let mut read = vec![0; put.len()];
            let (drained, _) =
                tokio::join!(poll_fn(|cx| wire.poll_drain(cx)), theirs.read_exact(&mut read));
            drained.unwrap();
            assert_eq!(read, put, "{sizes:?}");
            assert_eq!(wire.written(), u64::try_from(put.len()).unwrap());
        }
    }

    #[tokio::test]
    async fn an_unused_connection_keeps_no_memory() {
        let (ours, mut theirs) = tokio::io::duplex(1_000_000);
        let mut wire = Wire::new(ours);
        for _ in 0..20 {
            wire.put(vec![b'x'; COPIED].into());
        }
        poll_fn(|cx| wire.poll_drain(cx)).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut theirs, b"one").await.unwrap();
        assert_eq!(poll_fn(|cx| wire.poll_fill(cx)).await.unwrap(), 3);
        wire.input.clear();
        let polled = poll_fn(|cx| Poll::Ready(wire.poll_fill(cx))).await;
        assert!(polled.is_pending());
        let kept = wire.input.capacity() + wire.output.capacity() + wire.behind.capacity();
        assert_eq!((kept, wire.large.len()), (0, 0));
    }
}
