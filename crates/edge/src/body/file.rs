//! A body of pieces of a file. Where a connection lets the system copy from the file by itself, it
//! takes slices; otherwise the file is read, at once where it lies in memory, and else on the threads
//! that may block. Nothing holds more than a chunk.

mod buffer;

use std::{
    cell::Cell,
    collections::VecDeque,
    fs::File,
    future::Future,
    io::{self, IoSliceMut},
    os::unix::fs::FileExt,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::Instant,
};

use self::buffer::{Buffer, CHUNK};
use super::{Body, BodyError, FramePoll, Inner};

/// The largest slice that is given away at once.
const WINDOW: u64 = 512 * 1024;

/// Smaller pieces are read: they can be sent in one go with what is around them.
const SMALLEST_SLICE: u64 = 32 * 1024;

/// A piece of a body.
pub(crate) enum Piece {
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

/// A slice of a file that lies in memory.
#[derive(Debug)]
pub(crate) struct Slice<'a> {
    /// The file.
    pub(crate) file: &'a File,
    /// Where it begins.
    pub(crate) offset: u64,
    /// How long it is.
    pub(crate) length: u64,
}

/// Returns a body of these pieces. Its length is kept: when the file has become shorter, the body
/// fails, so that the client does not take half a file for a whole one.
pub(crate) fn of_file(file: Arc<File>, pieces: VecDeque<Piece>) -> Body {
    let left = pieces.iter().map(Piece::length).sum();
    let copied = Copied::Possible { warm: 0 };
    let disk = Rc::default();
    Body(Inner::File(Box::new(FileBody { file, pieces, left, copied, disk, reading: None })))
}

/// Reads exactly `length` bytes from `offset` on. Blocks.
pub(crate) fn read(file: &File, offset: u64, length: u64) -> io::Result<Bytes> {
    let length = usize::try_from(length).map_err(io::Error::other)?;
    let mut buffer = vec![0; length];
    file.read_exact_at(&mut buffer, offset)?;
    Ok(buffer.into())
}

/// Reads what of the file from `offset` on lies in memory, as far as `buffer` reaches; nothing where
/// the disk would have to be waited for, or the file system cannot tell.
pub(crate) fn read_at_once(file: &File, offset: u64, buffer: &mut [u8]) -> Option<usize> {
    loop {
        let mut buffers = [IoSliceMut::new(buffer)];
        match preadv2(file, &mut buffers, offset, ReadWriteFlags::NOWAIT) {
            Ok(read) => return Some(read),
            Err(Errno::INTR) => {}
            Err(_) => return None,
        }
    }
}

/// See [`of_file`].
pub(super) struct FileBody {
    file: Arc<File>,
    pieces: VecDeque<Piece>,
    left: u64,
    copied: Copied,
    /// How long the disk was waited for.
    disk: Rc<Cell<Duration>>,
    reading: Option<Reading>,
}

/// A chunk that is read where a disk may be waited for.
struct Reading {
    begun: Instant,
    task: JoinHandle<io::Result<Bytes>>,
}

/// Whether the system copies from the file by itself.
enum Copied {
    /// It can; the file lies in memory up to `warm`.
    Possible { warm: u64 },
    /// It cannot.
    Impossible,
}

impl FileBody {
    /// Returns the place where the time is counted for which the disk is waited for.
    pub(super) fn disk(&self) -> Rc<Cell<Duration>> {
        Rc::clone(&self.disk)
    }

    /// Returns the slice that comes next, where the system can copy it without waiting for a disk.
    pub(super) fn slice(&mut self) -> Option<Slice<'_>> {
        let Copied::Possible { warm } = &mut self.copied else { return None };
        let Some(&Piece::Slice { offset, length }) = self.pieces.front() else { return None };
        if self.reading.is_some() || length < SMALLEST_SLICE && offset >= *warm {
            return None;
        }
        if offset >= *warm {
            // Files are read from front to back, also by the system ahead of us.
            let end = offset + length.min(WINDOW);
            read_at_once(&self.file, end.saturating_sub(1), &mut [0])?;
            *warm = end;
        }
        let length = length.min(warm.saturating_sub(offset));
        Some(Slice { file: &self.file, offset, length })
    }

    /// Notes that so much of the slice was sent.
    pub(super) fn advance(&mut self, sent: u64) {
        self.left = self.left.saturating_sub(sent);
        if let Some(Piece::Slice { offset, length }) = self.pieces.front_mut() {
            *offset += sent;
            *length = length.saturating_sub(sent);
            if *length == 0 {
                self.pieces.pop_front();
            }
        }
    }

    /// Notes that the system cannot copy from this file.
    pub(super) fn refuse_slices(&mut self) {
        self.copied = Copied::Impossible;
    }

    /// Reads the next chunk of a slice, or begins to.
    fn read(&mut self, offset: u64, length: u64) -> Option<Result<Frame<Bytes>, BodyError>> {
        let chunk = length.min(CHUNK);
        let mut buffer = Buffer::take(chunk);
        match read_at_once(&self.file, offset, buffer.bytes()) {
            Some(0) => Some(self.pass(Err(io::ErrorKind::UnexpectedEof.into()))),
            Some(read) => {
                self.put_back(offset, length, u64::try_from(read).unwrap_or(length));
                Some(self.pass(Ok(buffer.filled(read))))
            }
            None => {
                self.put_back(offset, length, chunk);
                let file = Arc::clone(&self.file);
                let begun = Instant::now();
                let task = spawn_blocking(move || read(&file, offset, chunk));
                self.reading = Some(Reading { begun, task });
                None
            }
        }
    }

    fn put_back(&mut self, offset: u64, length: u64, taken: u64) {
        if length > taken {
            let rest = Piece::Slice { offset: offset + taken, length: length - taken };
            self.pieces.push_front(rest);
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

impl HttpBody for FileBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> FramePoll {
        let this = self.get_mut();
        loop {
            if let Some(Reading { begun, task }) = &mut this.reading {
                let read = ready!(Pin::new(task).poll(cx));
                this.disk.set(this.disk.get() + begun.elapsed());
                this.reading = None;
                let read = read.unwrap_or_else(|error| Err(io::Error::other(error)));
                return Poll::Ready(Some(this.pass(read)));
            }
            match this.pieces.pop_front() {
                None => return Poll::Ready(None),
                Some(Piece::Text(text)) => return Poll::Ready(Some(this.pass(Ok(text)))),
                Some(Piece::Slice { length: 0, .. }) => {}
                Some(Piece::Slice { offset, length }) => {
                    if let Some(frame) = this.read(offset, length) {
                        return Poll::Ready(Some(frame));
                    }
                }
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

impl Piece {
    /// Returns its length in bytes.
    pub(crate) fn length(&self) -> u64 {
        match self {
            Self::Text(text) => u64::try_from(text.len()).unwrap_or(u64::MAX),
            Self::Slice { length, .. } => *length,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn slices_and_reads_give_the_same_bytes_in_whatever_order_they_come() {
        let content: Vec<u8> = (0..WINDOW * 2 + 12_345).map(|n| (n % 251) as u8).collect();
        for takes_slices in
            [[true; 8], [false; 8], [true, false, true, true, false, true, false, true]]
        {
            let mut body = of_file(file(&content), whole(&content));
            let (mut received, mut turn) = (Vec::new(), takes_slices.iter().cycle());
            while !body.is_end_stream() {
                let slice = body.slice().filter(|_| *turn.next().unwrap());
                if let Some(slice) = slice {
                    let length = slice.length.min(100_000);
                    received.extend(read(slice.file, slice.offset, length).unwrap());
                    body.sent(length);
                } else {
                    let frame = body.frame().await.unwrap().unwrap();
                    received.extend_from_slice(frame.data_ref().unwrap());
                }
                let left = u64::try_from(content.len() - received.len()).unwrap();
                assert_eq!(body.size_hint().exact(), Some(left));
            }
            assert!(received == content, "{takes_slices:?}");
        }
    }

    #[tokio::test]
    async fn what_the_system_cannot_copy_is_read() {
        let content = vec![b'x'; 100_000];
        let mut body = of_file(file(&content), whole(&content));
        assert_eq!(body.slice().unwrap().length, 100_000);
        body.refuse_slices();
        assert!(body.slice().is_none());
        assert_eq!(body.collect().await.unwrap().to_bytes().len(), 100_000);
    }

    #[test]
    fn small_pieces_are_no_slices() {
        let mut body = of_file(file(b"0123456789"), whole(b"0123456789"));
        assert!(body.slice().is_none());
    }

    #[tokio::test]
    async fn what_a_disk_is_waited_for_is_counted_and_what_lies_in_memory_is_not() {
        // Files of the kernel's own cannot be asked whether they lie in memory.
        let file = Arc::new(File::open("/proc/self/stat").unwrap());
        let body = of_file(file, [Piece::Slice { offset: 0, length: 4 }].into());
        let disk = body.disk().unwrap();
        assert_eq!(body.collect().await.unwrap().to_bytes().len(), 4);
        assert!(disk.get() > Duration::ZERO);
        assert!(crate::body::full("text").disk().is_none());
    }

    fn whole(content: &[u8]) -> VecDeque<Piece> {
        [Piece::Slice { offset: 0, length: u64::try_from(content.len()).unwrap() }].into()
    }

    fn file(content: &[u8]) -> Arc<File> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        Arc::new(file)
    }
}
