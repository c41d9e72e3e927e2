//! Where bodies are kept that are read ahead of whoever takes them: in memory, of which all bodies of
//! an edge share a bounded amount.
//!
//! What is kept is copied. A piece as it came from a connection may hold on to a buffer many times its
//! size, and a client that sends a byte now and then would so take a thousand times what it sends.

use std::{
    collections::VecDeque,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bytes::{Bytes, BytesMut};

/// The memory of a piece: little at first, and more as a body turns out to be large.
const SMALLEST: usize = 4 * 1024;
const LARGEST: usize = 64 * 1024;

/// The memory that all bodies of an edge share.
#[derive(Debug)]
pub(crate) struct Memory {
    limit: u64,
    used: AtomicU64,
    refused: AtomicU64,
}

/// A part of the memory, given back when it is dropped.
#[derive(Debug)]
struct Share {
    memory: Arc<Memory>,
    bytes: u64,
}

/// What was read of a body and not taken yet.
#[derive(Debug)]
pub(super) struct Store {
    pieces: VecDeque<BytesMut>,
    length: usize,
    share: Share,
}

/// A body that was read whole. It can be sent as often as it must be.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    whole: Rc<Whole>,
    /// The piece that comes next.
    next: usize,
    left: usize,
}

#[derive(Debug)]
struct Whole {
    pieces: Vec<Bytes>,
    _share: Share,
}

impl Memory {
    /// Returns memory of this size. The last piece that is read may go beyond it.
    pub(crate) fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { limit, used: AtomicU64::new(0), refused: AtomicU64::new(0) })
    }

    /// Returns how much of it is used.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// Returns how many bodies were not read ahead, or no further, because there was none left.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// Tells whether there is none left.
    pub(super) fn is_used_up(&self) -> bool {
        self.used() >= self.limit
    }

    /// Counts a body for which there was none left.
    pub(super) fn refuse(&self) {
        self.refused.fetch_add(1, Relaxed);
    }
}

impl Share {
    fn take(&mut self, bytes: usize) {
        let bytes = length(bytes);
        self.bytes += bytes;
        self.memory.used.fetch_add(bytes, Relaxed);
    }

    fn give_back(&mut self, bytes: usize) {
        let bytes = length(bytes).min(self.bytes);
        self.bytes -= bytes;
        self.memory.used.fetch_sub(bytes, Relaxed);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.memory.used.fetch_sub(self.bytes, Relaxed);
    }
}

impl Store {
    /// Returns a store of nothing.
    pub(super) fn new(memory: &Arc<Memory>) -> Self {
        let share = Share { memory: Arc::clone(memory), bytes: 0 };
        Self { pieces: VecDeque::new(), length: 0, share }
    }

    /// Returns the memory in which it is kept.
    pub(super) fn memory(&self) -> &Memory {
        &self.share.memory
    }

    /// Returns how many bytes are kept.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// Tells whether nothing is kept.
    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Keeps a copy.
    pub(super) fn push(&mut self, mut data: &[u8]) {
        self.length += data.len();
        while !data.is_empty() {
            let piece = match self.pieces.back_mut() {
                Some(piece) if piece.len() < piece.capacity() => piece,
                Some(_) | None => self.grow(),
            };
            let room = piece.capacity() - piece.len();
            let (fits, rest) = data.split_at_checked(room).unwrap_or((data, &[]));
            piece.extend_from_slice(fits);
            data = rest;
        }
    }

    fn grow(&mut self) -> &mut BytesMut {
        let have: usize = self.pieces.iter().map(BytesMut::capacity).sum();
        let piece = BytesMut::with_capacity(have.clamp(SMALLEST, LARGEST));
        self.share.take(piece.capacity());
        self.pieces.push_back_mut(piece)
    }

    /// Returns the next piece.
    pub(super) fn pop(&mut self) -> Option<Bytes> {
        let piece = self.pieces.pop_front()?;
        self.length -= piece.len();
        self.share.give_back(piece.capacity());
        Some(piece.freeze())
    }

    /// Returns all of it as a body.
    pub(super) fn into_kept(self) -> Kept {
        let pieces = self.pieces.into_iter().map(BytesMut::freeze).collect();
        let whole = Rc::new(Whole { pieces, _share: self.share });
        Kept { whole, next: 0, left: self.length }
    }
}

impl Kept {
    /// Returns the next piece.
    pub(super) fn take(&mut self) -> Option<Bytes> {
        let piece = self.whole.pieces.get(self.next)?.clone();
        self.next += 1;
        self.left = self.left.saturating_sub(piece.len());
        Some(piece)
    }

    /// Returns how many bytes are still to be taken.
    pub(super) fn left(&self) -> u64 {
        length(self.left)
    }
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn single_bytes_take_little_more_memory_than_they_are() {
        let memory = Memory::new(u64::MAX);
        let mut store = Store::new(&memory);
        for _ in 0..100_000 {
            store.push(b"x");
        }
        assert!(memory.used() < 200_000, "{} bytes for 100,000", memory.used());
    }

    #[test]
    fn a_kept_body_can_be_taken_twice_and_counts_once() {
        let memory = Memory::new(u64::MAX);
        let mut store = Store::new(&memory);
        store.push(&[b'x'; 10_000]);
        let used = memory.used();
        let first = store.into_kept();
        for mut body in [first.clone(), first.clone()] {
            let mut taken = 0;
            while let Some(piece) = body.take() {
                taken += piece.len();
            }
            assert_eq!((taken, body.left(), memory.used()), (10_000, 0, used));
        }
        drop(first);
        assert_eq!(memory.used(), 0);
    }

    proptest! {
        #[test]
        fn what_is_put_in_comes_out_in_its_order_and_all_memory_is_given_back(
            steps in proptest::collection::vec(proptest::option::of(0_usize..20_000), 0..40),
        ) {
            let memory = Memory::new(u64::MAX);
            let mut store = Store::new(&memory);
            let (mut put, mut taken) = (Vec::new(), Vec::new());
            for step in steps {
                match step {
                    Some(size) => {
                        let next = put.len();
                        put.extend((0..size).map(|n| u8::try_from((next + n) % 251).unwrap()));
                        store.push(&put[next..]);
                    }
                    None => taken.extend(store.pop().unwrap_or_default()),
                }
                prop_assert_eq!(store.len(), put.len() - taken.len());
                prop_assert!(memory.used() >= length(store.len()));
            }
            while let Some(piece) = store.pop() {
                taken.extend(piece);
            }
            prop_assert_eq!(memory.used(), 0);
            prop_assert_eq!(put, taken);
        }
    }
}
