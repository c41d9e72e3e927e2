//! The memory of headers that nobody needs any more, for the next head that the same thread reads: to
//! get and to give back this much for every message costs more than to keep a little of it.

use std::cell::RefCell;

use http::HeaderMap;

/// How many maps a thread keeps, and for how many headers at most. Requests come in bursts: as many as
/// connections are ready at once are read one after the other, and answered one after the other.
const MOST: usize = 64;
const LARGEST: usize = 64;

thread_local! {
    static KEPT: RefCell<Vec<HeaderMap>> = const { RefCell::new(Vec::new()) };
}

/// Gives the memory of headers that are no longer needed to a later head.
pub fn recycle(mut headers: HeaderMap) {
    if headers.capacity() > LARGEST {
        return;
    }
    headers.clear();
    KEPT.with_borrow_mut(|kept| {
        if kept.len() < MOST {
            kept.push(headers);
        }
    });
}

/// Returns an empty map.
pub(crate) fn take() -> HeaderMap {
    KEPT.with_borrow_mut(Vec::pop).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header};

    use super::*;

    #[test]
    fn a_recycled_map_keeps_its_memory_and_nothing_else() {
        let mut headers = HeaderMap::with_capacity(20);
        headers.insert(header::COOKIE, HeaderValue::from_static("secret"));
        let capacity = headers.capacity();
        recycle(headers);
        let again = take();
        assert!(again.is_empty());
        assert_eq!(again.capacity(), capacity);
        assert_eq!(take().capacity(), 0);
    }

    #[test]
    fn what_is_kept_has_a_bound() {
        recycle(HeaderMap::with_capacity(LARGEST * 4));
        assert_eq!(take().capacity(), 0);
        (0..100).for_each(|_| recycle(HeaderMap::with_capacity(8)));
        assert_eq!(KEPT.with_borrow(Vec::len), MOST);
    }
}
