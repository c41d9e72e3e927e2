//! What was done, and what went wrong.

use std::{
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// As many failures are told.
const EXAMPLES: usize = 20;

/// What is done in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A request on a kept connection.
    Kept,
    /// A request on a connection of its own.
    New,
    /// A GET for a site of which one target lives and one dies again and again.
    Pair,
    /// A request for a fixed answer or a file.
    Content,
    /// A download that is read slowly, to its end.
    Download,
    /// An upload that is too large to be kept in memory.
    Upload,
    /// A message through a tunnel and back.
    Tunnel,
    /// A request for a site that was just added or changed.
    Changed,
    /// A request for a site whose only target dies again and again; any answer will do.
    Lone,
    /// A malformed request over HTTP/1.1.
    Malformed1,
    /// A malformed request, or frames against the rules, over HTTP/2.
    Malformed2,
    /// A client that is too slow.
    Slow,
    /// A request whose client goes away before it has its answer.
    Aborted,
    /// A handshake that fails.
    Handshake,
    /// A change of the sites.
    Change,
    /// A death of the application that toggles.
    Death,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Kept,
        Self::New,
        Self::Pair,
        Self::Content,
        Self::Download,
        Self::Upload,
        Self::Tunnel,
        Self::Changed,
        Self::Lone,
        Self::Malformed1,
        Self::Malformed2,
        Self::Slow,
        Self::Aborted,
        Self::Handshake,
        Self::Change,
        Self::Death,
    ];

    /// Returns what it is, in words.
    pub fn title(self) -> &'static str {
        match self {
            Self::Kept => "requests on kept connections",
            Self::New => "requests on connections of their own",
            Self::Pair => "GETs beside a target that dies",
            Self::Content => "fixed answers and files",
            Self::Download => "slow downloads",
            Self::Upload => "large uploads",
            Self::Tunnel => "messages through tunnels",
            Self::Changed => "requests for sites just changed",
            Self::Lone => "requests whose only target dies",
            Self::Malformed1 => "malformed over HTTP/1.1",
            Self::Malformed2 => "malformed over HTTP/2",
            Self::Slow => "clients that are too slow",
            Self::Aborted => "clients that go away",
            Self::Handshake => "handshakes that fail",
            Self::Change => "changes of sites",
            Self::Death => "deaths of a target",
        }
    }

    /// Tells whether it is a good request: one whose site has a target that lives.
    pub fn is_good(self) -> bool {
        match self {
            Self::Kept
            | Self::New
            | Self::Pair
            | Self::Content
            | Self::Download
            | Self::Upload
            | Self::Tunnel
            | Self::Changed => true,
            Self::Lone
            | Self::Malformed1
            | Self::Malformed2
            | Self::Slow
            | Self::Aborted
            | Self::Handshake
            | Self::Change
            | Self::Death => false,
        }
    }

    /// Tells whether it is a request that breaks the rules.
    pub fn is_malformed(self) -> bool {
        matches!(self, Self::Malformed1 | Self::Malformed2)
    }

    /// Tells whether it is a request that keeps the rules. What passes through a tunnel is none.
    pub fn is_request(self) -> bool {
        (self.is_good() && self != Self::Tunnel) || self == Self::Lone
    }
}

/// Counts of what was done, and what went wrong.
#[derive(Debug, Default)]
pub(super) struct Tally {
    counts: [AtomicU64; Kind::ALL.len()],
    failures: AtomicU64,
    examples: Mutex<Vec<String>>,
}

impl Tally {
    /// Notes that something was done.
    pub(super) fn done(&self, kind: Kind) {
        if let Some(count) = self.slot(kind) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// Notes that something went wrong.
    pub(super) fn failed(&self, kind: Kind, why: &str) {
        self.failures.fetch_add(1, Relaxed);
        let mut examples = self.examples.lock().unwrap_or_else(PoisonError::into_inner);
        if examples.len() < EXAMPLES {
            examples.push(format!("{}: {why}", kind.title()));
        }
    }

    /// Returns how often something was done.
    pub(super) fn count(&self, kind: Kind) -> u64 {
        self.slot(kind).map_or(0, |count| count.load(Relaxed))
    }

    /// Returns how often something of a sort was done.
    pub(super) fn sum(&self, wanted: fn(Kind) -> bool) -> u64 {
        Kind::ALL.iter().filter(|kind| wanted(**kind)).map(|kind| self.count(*kind)).sum()
    }

    /// Returns how many times something went wrong, and the first of them.
    pub(super) fn failures(&self) -> (u64, Vec<String>) {
        let examples = self.examples.lock().unwrap_or_else(PoisonError::into_inner);
        (self.failures.load(Relaxed), examples.clone())
    }

    fn slot(&self, kind: Kind) -> Option<&AtomicU64> {
        let place = Kind::ALL.iter().position(|known| *known == kind)?;
        self.counts.get(place)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (good, malformed) = (self.sum(Kind::is_good), self.sum(Kind::is_malformed));
        let (changes, failures) = (self.count(Kind::Change), self.failures.load(Relaxed));
        write!(f, "{good} good, {malformed} malformed, {changes} changes, {failures} failures")
    }
}

/// Returns a count as a number to divide.
#[expect(clippy::cast_precision_loss, reason = "counts below 2^52")]
pub(super) fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_counted_by_itself() {
        let tally = Tally::default();
        for (number, kind) in Kind::ALL.iter().enumerate() {
            for _ in 0..=number {
                tally.done(*kind);
            }
        }
        for (number, kind) in (1..).zip(Kind::ALL) {
            assert_eq!(tally.count(kind), number);
        }
        assert_eq!(tally.sum(Kind::is_malformed), 10 + 11);
    }

    #[test]
    fn failures_are_counted_and_the_first_are_told() {
        let tally = Tally::default();
        for number in 0..30 {
            tally.failed(Kind::New, &number.to_string());
        }
        let (failures, examples) = tally.failures();
        assert_eq!((failures, examples.len()), (30, EXAMPLES));
        assert_eq!(examples[0], "requests on connections of their own: 0");
    }
}
