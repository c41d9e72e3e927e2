//! Memory for chunks of files. It is used again by the thread that is done with it, as fresh memory
//! would have to be cleared, by us or by the system, for each chunk.

use std::cell::RefCell;

use bytes::Bytes;

/// How much of a file is read at once.
pub(super) const CHUNK: u64 = 64 * 1024;

/// As [`CHUNK`].
const SIZE: usize = 64 * 1024;

/// How many chunks a thread keeps for later.
const KEPT: usize = 16;

thread_local! {
    static FREE: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// Memory for a chunk of at most [`CHUNK`] bytes.
pub(super) struct Buffer {
    memory: Box<[u8]>,
    length: usize,
}

impl Buffer {
    /// Returns memory for so many bytes. What it holds has no meaning.
    pub(super) fn take(length: u64) -> Self {
        let length = usize::try_from(length).unwrap_or(SIZE).min(SIZE);
        let kept = FREE.with_borrow_mut(Vec::pop);
        Self { memory: kept.unwrap_or_else(|| vec![0; SIZE].into()), length }
    }

    /// Returns the memory to write to.
    pub(super) fn bytes(&mut self) -> &mut [u8] {
        self.memory.get_mut(..self.length).unwrap_or_default()
    }

    /// Returns the first bytes of it. When nobody holds them any more, the memory is used again.
    pub(super) fn filled(mut self, length: usize) -> Bytes {
        self.length = length;
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.memory.get(..self.length).unwrap_or_default()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        let keep = |free: &RefCell<Vec<_>>| {
            let mut free = free.borrow_mut();
            if free.len() < KEPT {
                free.push(memory);
            }
        };
        // A thread that is ending keeps nothing.
        FREE.try_with(keep).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_once_nobody_holds_it() {
        let mut first = Buffer::take(CHUNK);
        first.bytes().fill(b'x');
        let address = first.bytes().as_ptr();
        let bytes = first.filled(3);
        assert_eq!(&bytes[..], b"xxx");
        let mut second = Buffer::take(CHUNK);
        assert_ne!(second.bytes().as_ptr(), address);
        drop(bytes);
        assert_eq!(Buffer::take(1).bytes().as_ptr(), address);
        assert_eq!(Buffer::take(5).bytes().len(), 5);
    }

    #[test]
    fn a_thread_keeps_no_more_than_a_few_chunks() {
        drop((0..3 * KEPT).map(|_| Buffer::take(CHUNK)).collect::<Vec<_>>());
        assert_eq!(FREE.with_borrow(Vec::len), KEPT);
    }
}
