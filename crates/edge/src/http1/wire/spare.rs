//! Memory that connections of a thread pass on to each other. To get it from the system's allocator
//! and to give it back for every message costs more than to keep a little of it: large pieces go back
//! to the kernel, which has to clear them page by page when they are asked for again. And a connection
//! on which nothing happens need not keep any.

use std::cell::RefCell;

use bytes::{Bytes, BytesMut};

use super::{KEPT, LARGEST_READ};

/// How much a thread keeps: pieces for heads and small bodies, of which as many are in use at once as
/// connections are ready at once, and pieces for large reads.
const MOST_SMALL: usize = 64;
const MOST_LARGE: usize = 4;

thread_local! {
    static SMALL: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
    static LARGE: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// Returns an empty buffer for writing.
pub(super) fn small() -> BytesMut {
    SMALL.with_borrow_mut(Vec::pop).unwrap_or_default()
}

/// Returns an empty buffer with room for a large read.
pub(super) fn large(room: usize) -> BytesMut {
    let mut buffer = LARGE.with_borrow_mut(Vec::pop).unwrap_or_default();
    buffer.reserve(room);
    buffer
}

/// Takes back a buffer for writing.
pub(super) fn give_small(mut buffer: BytesMut) {
    buffer.clear();
    if (1..=KEPT).contains(&buffer.capacity()) {
        keep(&SMALL, MOST_SMALL, buffer);
    }
}

/// Takes back a buffer for reading, unless somebody holds a part of what was read.
pub(super) fn give_large(mut buffer: BytesMut) {
    buffer.clear();
    // What was taken from its front is part of it again.
    if buffer.try_reclaim(LARGEST_READ) && buffer.capacity() <= 2 * LARGEST_READ {
        keep(&LARGE, MOST_LARGE, buffer);
    }
}

/// Takes back the memory of a piece of a body, unless somebody holds another part of it.
pub(super) fn give_piece(piece: Bytes) {
    if let Ok(buffer) = piece.try_into_mut() {
        give_large(buffer);
    }
}

fn keep(
    place: &'static std::thread::LocalKey<RefCell<Vec<BytesMut>>>,
    most: usize,
    buffer: BytesMut,
) {
    place.with_borrow_mut(|kept| {
        if kept.len() < most {
            kept.push(buffer);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_buffer_comes_back_whole_when_nobody_holds_a_part_of_it() {
        let mut buffer = large(LARGEST_READ);
        let place = buffer.as_ptr();
        buffer.extend_from_slice(&[b'x'; 1000]);
        let head = buffer.split_to(100).freeze();
        let body = buffer.split_to(900).freeze();
        drop(buffer);
        give_piece(head.clone());
        assert_ne!(large(LARGEST_READ).as_ptr(), place, "a part of it is held");
        drop(head);
        give_piece(body);
        let again = large(LARGEST_READ);
        assert!(again.is_empty() && again.capacity() >= LARGEST_READ);
        assert_eq!(again.as_ptr(), place);
    }

    #[test]
    fn what_is_kept_has_a_bound() {
        for size in [KEPT, LARGEST_READ, 4 * LARGEST_READ] {
            let buffers: Vec<_> = (0..100).map(|_| BytesMut::with_capacity(size)).collect();
            for buffer in buffers {
                let give = if size > KEPT { give_large } else { give_small };
                give(buffer);
            }
        }
        assert_eq!(SMALL.with_borrow(Vec::len), MOST_SMALL);
        assert_eq!(LARGE.with_borrow(Vec::len), MOST_LARGE);
        let most = MOST_LARGE * 2 * LARGEST_READ;
        let kept = LARGE.with_borrow(|kept| kept.iter().map(BytesMut::capacity).sum::<usize>());
        assert!(kept <= most, "{kept} bytes");
    }
}
