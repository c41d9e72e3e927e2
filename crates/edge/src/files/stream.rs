//! A body read from a file while it is sent: one chunk at a time, on the threads that may block.

use std::{
    collections::VecDeque,
    fs::File,
    future::Future,
    io,
    os::unix::fs::FileExt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::body::{Body, BodyError};

/// How much is read at once.
const CHUNK: u64 = 64 * 1024;

/// A piece of a body.
pub(super) enum Piece {
    /// These bytes.
    Text(Bytes),
    /// A slice of the file.
    Slice {
        /// Where it begins.
        offset: u64,
        /// How long it is.
        length: u64,
    },
}

/// Returns a body of these pieces. Its length is kept: when the file has become shorter, the body
/// fails, so that the client does not take half a file for a whole one.
pub(super) fn body(file: File, pieces: VecDeque<Piece>) -> Body {
    let left = pieces.iter().map(Piece::length).sum();
    Body::new(FileBody { file: Arc::new(file), pieces, left, reading: None })
}

/// Reads exactly `length` bytes from `offset` on. Blocks.
pub(super) fn read(file: &File, offset: u64, length: u64) -> io::Result<Bytes> {
    let length = usize::try_from(length).map_err(io::Error::other)?;
    let mut buffer = vec![0; length];
    file.read_exact_at(&mut buffer, offset)?;
    Ok(buffer.into())
}

struct FileBody {
    file: Arc<File>,
    pieces: VecDeque<Piece>,
    left: u64,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

impl HttpBody for FileBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        loop {
            if let Some(reading) = &mut this.reading {
                let read = ready!(Pin::new(reading).poll(cx));
                this.reading = None;
                return Poll::Ready(Some(
                    this.pass(read.unwrap_or_else(|e| Err(io::Error::other(e)))),
                ));
            }
            match this.pieces.pop_front() {
                None => return Poll::Ready(None),
                Some(Piece::Text(text)) => return Poll::Ready(Some(this.pass(Ok(text)))),
                Some(Piece::Slice { offset, length }) => this.begin(offset, length),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

impl FileBody {
    /// Begins to read a chunk of a slice and puts back what remains of it.
    fn begin(&mut self, offset: u64, length: u64) {
        let chunk = length.min(CHUNK);
        if length > chunk {
            let rest = Piece::Slice { offset: offset + chunk, length: length - chunk };
            self.pieces.push_front(rest);
        }
        if chunk > 0 {
            let file = Arc::clone(&self.file);
            self.reading = Some(spawn_blocking(move || read(&file, offset, chunk)));
        }
    }

    fn pass(&mut self, read: io::Result<Bytes>) -> Result<Frame<Bytes>, BodyError> {
        match read {
            Ok(bytes) => {
                let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                self.left = self.left.saturating_sub(length);
                Ok(Frame::data(bytes))
            }
            Err(error) => {
                self.pieces.clear();
                let truncated = error.kind() == io::ErrorKind::UnexpectedEof;
                Err(if truncated { BodyError::Truncated } else { BodyError::File(error) })
            }
        }
    }
}

impl Piece {
    /// Returns its length in bytes.
    pub(super) fn length(&self) -> u64 {
        match self {
            Self::Text(text) => u64::try_from(text.len()).unwrap_or(u64::MAX),
            Self::Slice { length, .. } => *length,
        }
    }
}
