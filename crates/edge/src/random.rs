//! Random numbers for names that must differ but need not be secret: ids of requests, traces and
//! spans. Each thread has a generator of its own, begun from the system's; it costs a few
//! nanoseconds, where one fit for keys costs ten times as much for each request. Nothing that must
//! not be guessed may come from here.

use std::cell::RefCell;

use rand::{Rng as _, rngs::SmallRng};

/// Returns bytes that nobody had before, but that may be guessed from others.
pub(crate) fn unique<const N: usize>() -> [u8; N] {
    thread_local! {
        static GENERATOR: RefCell<SmallRng> = RefCell::new(rand::make_rng());
    }
    let mut bytes = [0; N];
    GENERATOR.with_borrow_mut(|generator| generator.fill_bytes(&mut bytes));
    bytes
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_thread_gets_what_another_got() {
        let draw = || (0..1000).map(|_| unique::<10>()).collect::<HashSet<_>>();
        let other = std::thread::spawn(draw).join().unwrap();
        let all: HashSet<_> = draw().union(&other).copied().collect();
        assert_eq!(all.len(), 2000);
    }
}
