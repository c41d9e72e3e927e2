//! A mirror, ready for copies of requests.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::Relaxed},
};

use super::site::CompiledUpstream;

/// The most copies on their way to a mirror at once. What a mirror cannot take holds no memory.
const MOST: u32 = 100;

/// An upstream that gets copies of requests.
pub(crate) struct CompiledMirror {
    /// Who gets them.
    pub(crate) upstream: CompiledUpstream,
    /// Requests with larger bodies are not copied.
    pub(crate) max_body: u64,
    percent: u8,
    in_flight: AtomicU32,
}

/// A copy on its way, counted until this is dropped.
pub(crate) struct MirrorPlace(Arc<CompiledMirror>);

impl CompiledMirror {
    /// Returns a mirror to which nothing is on its way.
    pub(super) const fn new(upstream: CompiledUpstream, percent: u8, max_body: u64) -> Self {
        Self { upstream, max_body, percent, in_flight: AtomicU32::new(0) }
    }

    /// Tells whether it gets a copy of a request that drew this number.
    pub(crate) fn takes(&self, drawn: u32) -> bool {
        drawn % 100 < u32::from(self.percent)
    }
}

impl MirrorPlace {
    /// Takes a place, if there is one.
    pub(crate) fn take(mirror: &Arc<CompiledMirror>) -> Option<Self> {
        let one_more = |now| (now < MOST).then_some(now + 1);
        mirror.in_flight.fetch_update(Relaxed, Relaxed, one_more).ok()?;
        Some(Self(Arc::clone(mirror)))
    }
}

impl Drop for MirrorPlace {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}
