//! The way of lines from the workers to the writer.
//!
//! Waking a thread costs more than most requests do, so the writer is woken only when it rests
//! because nothing happens. Otherwise it comes by itself, many times a second, and takes all that is
//! there. Lines lie one behind the other in one piece of memory, which goes back and forth.

use std::{
    ops::Range,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

use super::SiteLog;

/// How many lines wait for the writer at most, and how many bytes.
const MOST_LINES: usize = 16 * 1024;
const MOST_BYTES: usize = 32 * 1024 * 1024;

/// How long the writer stays away when it has taken what was there.
const PAUSE: Duration = Duration::from_millis(10);

/// How long the writer rests at most, and how long a file stays open to which nothing is written.
pub(super) const REST: Duration = Duration::from_secs(20);

/// Memory beyond this is given back when a burst is over.
const KEPT: usize = 1024 * 1024;

/// Both ends of the way.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Lines,
    /// The writer waits to be woken.
    resting: bool,
    /// Nothing more is taken.
    closed: bool,
}

/// Lines, one behind the other.
#[derive(Debug, Default)]
pub(super) struct Lines {
    text: Vec<u8>,
    lines: Vec<Line>,
}

/// Which file of a log a line is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Requests.
    Access,
    /// What went wrong.
    Error,
}

/// A line of a log.
#[derive(Debug)]
pub(super) struct Line {
    /// The log.
    pub(super) log: Arc<SiteLog>,
    /// Its file.
    pub(super) kind: Kind,
    /// The time that the line tells.
    pub(super) time: Timestamp,
    at: Range<usize>,
}

/// What the writer finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Lines.
    Lines,
    /// Nothing for now.
    Nothing,
    /// The last lines, if any.
    End,
}

impl Queue {
    /// Hands a line over; false when it is lost, because too many wait or none is taken any more.
    pub(super) fn push(
        &self,
        log: &Arc<SiteLog>,
        kind: Kind,
        time: Timestamp,
        text: &[u8],
    ) -> bool {
        let mut state = self.state();
        if state.closed || !state.waiting.has_room() {
            return false;
        }
        state.waiting.push(log, kind, time, text);
        let resting = std::mem::take(&mut state.resting);
        drop(state);
        if resting {
            self.0.wake.notify_one();
        }
        true
    }

    /// Lets the writer end once it has taken what is there.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.0.wake.notify_one();
    }

    /// Waits for a moment, or where the writer `may_rest` until something comes or it has rested for
    /// long, and exchanges the lines that wait for `read` ones.
    pub(super) fn take(&self, read: &mut Lines, may_rest: bool) -> Found {
        read.clear();
        let mut state = self.state();
        if may_rest {
            state.resting = state.waiting.lines.is_empty();
            let wait = |state: &mut State| state.waiting.lines.is_empty() && !state.closed;
            let waited = self.0.wake.wait_timeout_while(state, REST, wait);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.resting = false;
        } else {
            let waited = self.0.wake.wait_timeout_while(state, PAUSE, |state| !state.closed);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        std::mem::swap(&mut state.waiting, read);
        match (state.closed, read.lines.is_empty()) {
            (true, _) => Found::End,
            (false, true) => Found::Nothing,
            (false, false) => Found::Lines,
        }
    }

    /// A line is pushed whole or not at all, so a panic elsewhere leaves nothing half-done.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    /// Returns the lines in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Line, &[u8])> {
        self.lines.iter().map(|line| (line, self.text.get(line.at.clone()).unwrap_or_default()))
    }

    fn has_room(&self) -> bool {
        self.lines.len() < MOST_LINES && self.text.len() < MOST_BYTES
    }

    fn push(&mut self, log: &Arc<SiteLog>, kind: Kind, time: Timestamp, text: &[u8]) {
        let begin = self.text.len();
        self.text.extend_from_slice(text);
        let at = begin..self.text.len();
        self.lines.push(Line { log: Arc::clone(log), kind, time, at });
    }

    fn clear(&mut self) {
        self.lines.clear();
        self.text.clear();
        self.text.shrink_to(KEPT);
    }
}

#[cfg(test)]
mod tests {
    use portway_model::site::LogSettings;

    use super::*;

    #[test]
    fn lines_come_in_their_order_and_the_last_ones_with_the_end() {
        let (queue, log, mut read) = queue();
        assert!(queue.push(&log, Kind::Access, Timestamp::UNIX_EPOCH, b"one\n"));
        assert!(queue.push(&log, Kind::Error, Timestamp::UNIX_EPOCH, b"two\n"));
        assert_eq!(queue.take(&mut read, true), Found::Lines);
        assert_eq!(texts(&read), ["one\n", "two\n"]);
        assert_eq!(queue.take(&mut read, false), Found::Nothing);
        assert!(queue.push(&log, Kind::Access, Timestamp::UNIX_EPOCH, b"three\n"));
        queue.close();
        assert!(!queue.push(&log, Kind::Access, Timestamp::UNIX_EPOCH, b"four\n"));
        assert_eq!(queue.take(&mut read, true), Found::End);
        assert_eq!(texts(&read), ["three\n"]);
    }

    #[test]
    fn a_writer_that_rests_is_woken() {
        let (queue, log, _) = queue();
        let resting = queue.clone();
        let writer = std::thread::spawn(move || resting.take(&mut Lines::default(), true));
        while !queue.state().resting {
            std::thread::yield_now();
        }
        assert!(queue.push(&log, Kind::Access, Timestamp::UNIX_EPOCH, b"one\n"));
        assert_eq!(writer.join().unwrap(), Found::Lines);
    }

    #[test]
    fn more_than_the_most_are_not_taken() {
        let (queue, log, mut read) = queue();
        let push = || queue.push(&log, Kind::Access, Timestamp::UNIX_EPOCH, b"\n");
        assert_eq!((0..MOST_LINES + 5).filter(|_| push()).count(), MOST_LINES);
        assert_eq!(queue.take(&mut read, false), Found::Lines);
        assert!(push());
    }

    fn texts(lines: &Lines) -> Vec<&str> {
        lines.iter().map(|(_, text)| std::str::from_utf8(text).unwrap()).collect()
    }

    fn queue() -> (Queue, Arc<SiteLog>, Lines) {
        let name = "main".parse().unwrap();
        let log = Arc::new(SiteLog::new("folder", &name, LogSettings::default()));
        (Queue::default(), log, Lines::default())
    }
}
