//! What a client may do on an HTTP/2 connection beside asking and sending: floods of small frames
//! cost their sender nothing and a server much. h2 bounds some of them; these bounds hold for all,
//! are counted on the bytes themselves, and say what happened. No I/O, no clock.

use std::time::Instant;

use super::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, Frames, HEADERS, PADDED, RST_STREAM,
    SETTINGS, WINDOW_UPDATE,
};

/// Codes of our own resets that are not the client's fault: `NO_ERROR`, `INTERNAL_ERROR`, `CANCEL`.
const BLAMELESS: [u32; 3] = [0, 2, 8];

/// How often a client may do something: so many at once, so many more each second.
const RESETS: Rate = Rate { at_once: 200, each_second: 20 };
const FAULTS: Rate = Rate { at_once: 100, each_second: 10 };
const SETTINGS_FRAMES: Rate = Rate { at_once: 100, each_second: 10 };
const CONTROL: Rate = Rate { at_once: 1_000, each_second: 100 };
const WINDOWS: Rate = Rate { at_once: 2_000, each_second: 200 };
const EMPTY: Rate = Rate { at_once: 100, each_second: 10 };

/// How many updates of windows the client may send for each frame of data that it gets.
const WINDOWS_FOR_DATA: u32 = 4;

/// A padded frame that is not longer may be nothing but padding.
const MOST_PADDING: usize = 256;

/// What a client did too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Flood {
    /// CVE-2023-44487, "rapid reset".
    #[error("the client reset more streams than it let be answered")]
    Resets,
    /// "MadeYouReset": the client makes the server do it.
    #[error("the client made more streams be reset than it let be answered")]
    Faults,
    /// CVE-2019-9515.
    #[error("the client sent too many SETTINGS frames")]
    Settings,
    /// CVE-2019-9512 and CVE-2019-9513.
    #[error("the client sent too many PING, PRIORITY or unknown frames")]
    Control,
    /// Windows that are opened in tiny steps.
    #[error("the client sent more WINDOW_UPDATE frames than the data it got explains")]
    Windows,
    /// CVE-2019-9518.
    #[error("the client sent too many empty frames")]
    Empty,
    /// A preface or head that does not come to its end.
    #[error("the head of the request, or what comes before the first one, took too long")]
    SlowHead,
}

/// Watches both directions of a connection.
#[derive(Debug)]
pub(super) struct Calm {
    incoming: Frames,
    outgoing: Frames,
    budgets: Budgets,
    /// How many heads have begun.
    heads: u64,
    /// Whether the last frame is of a head.
    is_of_head: bool,
    /// Whether a head has begun whose last frame has not.
    in_head: bool,
    /// The last stream that the client has opened.
    last_stream: u32,
    flood: Option<Flood>,
}

#[derive(Debug)]
struct Budgets {
    resets: Budget,
    faults: Budget,
    settings: Budget,
    control: Budget,
    windows: Budget,
    empty: Budget,
}

#[derive(Clone, Copy, Debug)]
struct Rate {
    at_once: u32,
    each_second: u32,
}

/// What is left of a rate.
#[derive(Debug)]
struct Budget {
    rate: Rate,
    left: u32,
    counted: Instant,
}

impl Calm {
    /// Begins with a connection.
    pub(super) fn new(now: Instant) -> Self {
        let budget = |rate: Rate| Budget { rate, left: rate.at_once, counted: now };
        Self {
            incoming: Frames::of_client(),
            outgoing: Frames::of_server(),
            budgets: Budgets {
                resets: budget(RESETS),
                faults: budget(FAULTS),
                settings: budget(SETTINGS_FRAMES),
                control: budget(CONTROL),
                windows: budget(WINDOWS),
                empty: budget(EMPTY),
            },
            heads: 0,
            is_of_head: false,
            in_head: false,
            last_stream: 0,
            flood: None,
        }
    }

    /// Takes what the client sent.
    pub(super) fn received(
        &mut self,
        bytes: &[u8],
        now: impl Fn() -> Instant,
    ) -> Result<(), Flood> {
        let Self { incoming, budgets, heads, is_of_head, in_head, last_stream, flood, .. } = self;
        incoming.pass(bytes, |frame| {
            *is_of_head = matches!(frame.kind, HEADERS | CONTINUATION);
            if *is_of_head {
                *in_head = frame.flags & END_HEADERS == 0;
            }
            if frame.kind == HEADERS {
                *heads += 1;
                *last_stream = frame.stream.max(*last_stream);
            }
            if flood.is_none() {
                *flood = budgets.receive(frame, &now).err();
            }
        });
        self.flood.map_or(Ok(()), Err)
    }

    /// Takes what was sent to the client.
    pub(super) fn sent(&mut self, bytes: &[u8], now: impl Fn() -> Instant) -> Result<(), Flood> {
        let Self { outgoing, budgets, flood, .. } = self;
        outgoing.pass(bytes, |frame| {
            if flood.is_none() {
                *flood = budgets.send(frame, &now).err();
            }
        });
        self.flood.map_or(Ok(()), Err)
    }

    /// Returns the number of the head that the client is in the middle of; its preface is none yet, 0.
    pub(super) fn head_under_way(&self) -> Option<u64> {
        let in_last_frame = self.is_of_head && self.incoming.is_in_payload();
        let in_head = self.in_head || in_last_frame || self.incoming.is_in_preface();
        in_head.then_some(self.heads)
    }

    /// Tells whether a frame may be sent now without breaking another.
    pub(super) fn is_between_frames(&self) -> bool {
        self.outgoing.is_between_frames()
    }

    /// Returns the last stream that the client has opened.
    pub(super) fn last_stream(&self) -> u32 {
        self.last_stream
    }
}

impl Budgets {
    fn receive(&mut self, frame: Frame, now: impl Fn() -> Instant) -> Result<(), Flood> {
        let (budget, flood) = match frame.kind {
            DATA | HEADERS | CONTINUATION if !is_empty(frame) => return Ok(()),
            DATA | HEADERS | CONTINUATION => (&mut self.empty, Flood::Empty),
            RST_STREAM => (&mut self.resets, Flood::Resets),
            SETTINGS => (&mut self.settings, Flood::Settings),
            WINDOW_UPDATE => (&mut self.windows, Flood::Windows),
            // PING, PRIORITY, and whatever the protocol is extended by.
            _ => (&mut self.control, Flood::Control),
        };
        if budget.take(now) { Ok(()) } else { Err(flood) }
    }

    fn send(&mut self, frame: Frame, now: impl Fn() -> Instant) -> Result<(), Flood> {
        match frame.kind {
            HEADERS => {
                self.resets.give(1);
                self.faults.give(1);
            }
            DATA => self.windows.give(WINDOWS_FOR_DATA),
            RST_STREAM if !BLAMELESS.contains(&frame.code) => {
                return if self.faults.take(now) { Ok(()) } else { Err(Flood::Faults) };
            }
            _ => {}
        }
        Ok(())
    }
}

/// Tells whether a frame moves nothing on: no data, no end, no piece of a head.
fn is_empty(frame: Frame) -> bool {
    let ends = match frame.kind {
        DATA => END_STREAM,
        _ => END_HEADERS,
    };
    let is_padding =
        frame.kind == DATA && frame.flags & PADDED != 0 && frame.length <= MOST_PADDING;
    frame.flags & ends == 0 && (frame.length == 0 || is_padding)
}

impl Budget {
    /// Takes one, if there is one. The clock is looked at only when the budget runs low.
    fn take(&mut self, now: impl Fn() -> Instant) -> bool {
        if self.left == 0 {
            self.refill(now());
        }
        let taken = self.left > 0;
        self.left = self.left.saturating_sub(1);
        taken
    }

    fn give(&mut self, more: u32) {
        self.left = self.rate.at_once.min(self.left.saturating_add(more));
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.counted);
        let millis = u32::try_from(passed.as_millis()).unwrap_or(u32::MAX);
        let more = millis.saturating_mul(self.rate.each_second) / 1_000;
        if more > 0 {
            self.counted = now;
            self.give(more);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::{
        super::frames::{PING, PREFACE, PRIORITY, tests::bytes},
        *,
    };

    #[test]
    fn each_flood_is_ended_and_told_apart() {
        let ping = bytes(PING, 0, 0, &[0; 8]);
        let window = bytes(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes());
        for (frame, flood, most) in [
            (bytes(RST_STREAM, 0, 1, &8_u32.to_be_bytes()), Flood::Resets, 200),
            (bytes(SETTINGS, 0, 0, &[]), Flood::Settings, 100),
            (ping, Flood::Control, 1_000),
            (bytes(PRIORITY, 0, 1, &[0; 5]), Flood::Control, 1_000),
            (bytes(0x42, 0, 1, &[]), Flood::Control, 1_000),
            (window, Flood::Windows, 2_000),
            (bytes(DATA, 0, 1, &[]), Flood::Empty, 100),
            (bytes(DATA, PADDED, 1, &[3, 0, 0, 0]), Flood::Empty, 100),
            (bytes(HEADERS, 0, 1, &[]), Flood::Empty, 100),
            (bytes(CONTINUATION, 0, 1, &[]), Flood::Empty, 100),
        ] {
            let begun = Instant::now();
            let mut calm = begin(begun);
            for count in 0..most {
                assert_eq!(calm.received(&frame, || begun), Ok(()), "{flood}: {count}");
            }
            assert_eq!(calm.received(&frame, || begun), Err(flood));
            assert_eq!(calm.received(&[], || begun), Err(flood), "once is for ever");
        }
    }

    #[test]
    fn what_moves_on_is_never_too_much() {
        let begun = Instant::now();
        let mut calm = begin(begun);
        for _ in 0..10_000 {
            for (kind, flags, payload) in
                [(HEADERS, END_HEADERS, &b"x"[..]), (DATA, 0, b"x"), (DATA, END_STREAM, b"")]
            {
                assert_eq!(calm.received(&bytes(kind, flags, 1, payload), || begun), Ok(()));
            }
        }
    }

    #[test]
    fn an_answer_allows_a_reset_and_data_allows_updates() {
        let begun = Instant::now();
        let mut calm = begin(begun);
        let reset = bytes(RST_STREAM, 0, 1, &8_u32.to_be_bytes());
        let window = bytes(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes());
        for _ in 0..10_000 {
            for sent in [bytes(HEADERS, END_HEADERS, 1, b"x"), bytes(DATA, 0, 1, b"x")] {
                assert_eq!(calm.sent(&sent, || begun), Ok(()));
            }
            let received = [&reset[..], &window, &window].concat();
            assert_eq!(calm.received(&received, || begun), Ok(()));
        }
    }

    #[test]
    fn a_client_that_makes_streams_be_reset_is_ended_and_an_upstreams_fault_is_not_its() {
        let begun = Instant::now();
        let mut calm = begin(begun);
        let reset = |code: u32| bytes(RST_STREAM, 0, 1, &code.to_be_bytes());
        for _ in 0..10_000 {
            assert_eq!(calm.sent(&reset(2), || begun), Ok(()));
        }
        for _ in 0..100 {
            assert_eq!(calm.sent(&reset(1), || begun), Ok(()));
        }
        assert_eq!(calm.sent(&reset(7), || begun), Err(Flood::Faults));
        assert_eq!(calm.received(&[], || begun), Err(Flood::Faults));
    }

    #[test]
    fn time_gives_more() {
        let begun = Instant::now();
        let mut calm = begin(begun);
        let settings = bytes(SETTINGS, 0, 0, &[]);
        for second in 0..100 {
            let now = begun + Duration::from_secs(second);
            for _ in 0..10 {
                assert_eq!(calm.received(&settings, || now), Ok(()), "{second}");
            }
        }
    }

    #[test]
    fn a_head_is_open_until_its_last_byte() {
        let begun = Instant::now();
        let mut calm = Calm::new(begun);
        assert_eq!(calm.head_under_way(), Some(0), "there is no preface yet");
        calm.received(PREFACE, || begun).unwrap();
        assert_eq!(calm.head_under_way(), None);
        calm.received(&bytes(HEADERS, 0, 7, b"x"), || begun).unwrap();
        assert_eq!(calm.head_under_way(), Some(1));
        let last = bytes(CONTINUATION, END_HEADERS, 7, b"xy");
        let (most, rest) = last.split_at(last.len() - 1);
        calm.received(most, || begun).unwrap();
        assert_eq!(calm.head_under_way(), Some(1));
        calm.received(rest, || begun).unwrap();
        assert_eq!(calm.head_under_way(), None);
        let next = bytes(HEADERS, END_HEADERS, 9, b"xy");
        calm.received(&next[..next.len() - 1], || begun).unwrap();
        assert_eq!(calm.head_under_way(), Some(2), "another one");
        assert_eq!(calm.last_stream(), 9);
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_and_their_splits_change_nothing(
            wire in proptest::collection::vec(any::<u8>(), 0..2_000),
            at in 0_usize..2_000,
        ) {
            let begun = Instant::now();
            let (mut whole, mut split) = (begin(begun), begin(begun));
            let first = &wire[..at.min(wire.len())];
            let whole_ends = whole.received(&wire, || begun);
            let split_ends = split.received(first, || begun);
            let split_ends = split_ends.and(split.received(&wire[first.len()..], || begun));
            prop_assert_eq!(whole_ends, split_ends);
            prop_assert_eq!(whole.head_under_way(), split.head_under_way());
        }
    }

    fn begin(now: Instant) -> Calm {
        let mut calm = Calm::new(now);
        calm.received(PREFACE, || now).unwrap();
        calm
    }
}
