//! Whether a connection may carry another message: a rule book without I/O.
//!
//! A connection that is used again by mistake hands one visitor's answer to another. So everything
//! that must have happened is asked for, and whatever was not told counts as not having happened.

use crate::{meaning::Framing, request::RequestHead, response::Answer};

/// Which end of a connection is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// We answer. Bytes after a request are the next one.
    Server,
    /// We ask. Bytes after an answer belong to nothing that was asked.
    Client,
}

/// Follows one connection through its exchanges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reuse {
    side: Side,
    request: Progress,
    response: Progress,
    broken: Option<Close>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Nothing,
    Body,
    Ended,
}

/// What may be done with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// No exchange has begun since the connection was made or the last one ended.
    Idle,
    /// An exchange is under way.
    Busy,
    /// The exchange is complete, and the connection may carry another one: call [`Reuse::next`].
    Reusable,
    /// The connection carries nothing more than what is under way, for this reason.
    Close(Close),
}

/// Why a connection is not used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    /// The request asked for it.
    ByRequest,
    /// The answer asked for it.
    ByResponse,
    /// The answer ends with the connection.
    UntilClose,
    /// The connection carries another protocol.
    Upgraded,
    /// Bytes came that belong to nothing that was asked.
    LeftOver,
    /// The answer came to its end before the request did, so what comes next on the connection is
    /// still the rest of the request.
    RequestUnfinished,
    /// The steps did not come in their order.
    OutOfOrder,
    /// A message was malformed, cut off or given up.
    Failed,
}

impl Reuse {
    /// Returns the state of a connection that was just made.
    pub fn new(side: Side) -> Self {
        let (request, response) = (Progress::Nothing, Progress::Nothing);
        Self { side, request, response, broken: None }
    }

    /// Takes in the head of a request that was read or written.
    pub fn request(&mut self, head: &RequestHead) {
        if self.request != Progress::Nothing {
            self.close(Close::OutOfOrder);
        }
        if !head.persistent {
            self.close(Close::ByRequest);
        }
        self.request = progress(head.framing);
    }

    /// Takes in that the body of the request was read or written to its framed end.
    pub fn request_ended(&mut self) {
        match self.request {
            Progress::Body | Progress::Ended => self.request = Progress::Ended,
            Progress::Nothing => self.close(Close::OutOfOrder),
        }
    }

    /// Takes in the head of an answer that was read or written.
    pub fn response(&mut self, answer: &Answer) {
        if self.request == Progress::Nothing || self.response != Progress::Nothing {
            self.close(Close::OutOfOrder);
        }
        match answer {
            Answer::Interim(_) => {}
            Answer::Tunnel(_) => self.close(Close::Upgraded),
            Answer::Final(head) => {
                if head.framing == Framing::UntilClose {
                    self.close(Close::UntilClose);
                } else if !head.persistent {
                    self.close(Close::ByResponse);
                }
                self.response = progress(head.framing);
            }
        }
    }

    /// Takes in that the body of the answer was read or written to its framed end.
    pub fn response_ended(&mut self) {
        match self.response {
            Progress::Body | Progress::Ended => self.response = Progress::Ended,
            Progress::Nothing => self.close(Close::OutOfOrder),
        }
    }

    /// Takes in that a message was malformed, cut off or given up.
    pub fn failed(&mut self) {
        self.close(Close::Failed);
    }

    /// Returns what may be done with the connection, given the bytes that were read and belong to no
    /// message yet.
    pub fn verdict(&self, left_over: &[u8]) -> Verdict {
        if let Some(why) = self.broken {
            return Verdict::Close(why);
        }
        let awaits_answer = self.request != Progress::Nothing && self.response != Progress::Ended;
        let expects_bytes = self.side == Side::Server || awaits_answer;
        if !expects_bytes && !left_over.is_empty() {
            return Verdict::Close(Close::LeftOver);
        }
        match (self.request, self.response) {
            (Progress::Nothing, _) => Verdict::Idle,
            (Progress::Ended, Progress::Ended) => Verdict::Reusable,
            (Progress::Body, Progress::Ended) => Verdict::Close(Close::RequestUnfinished),
            (Progress::Body | Progress::Ended, Progress::Nothing | Progress::Body) => Verdict::Busy,
        }
    }

    /// Begins the next exchange if the connection may carry one, and returns what was judged.
    pub fn next(&mut self, left_over: &[u8]) -> Verdict {
        let verdict = self.verdict(left_over);
        match verdict {
            Verdict::Reusable => {
                self.request = Progress::Nothing;
                self.response = Progress::Nothing;
            }
            Verdict::Close(why) => self.close(why),
            Verdict::Idle | Verdict::Busy => {}
        }
        verdict
    }

    /// Remembers the first reason; nothing makes the connection good again.
    fn close(&mut self, why: Close) {
        self.broken.get_or_insert(why);
    }
}

fn progress(framing: Framing) -> Progress {
    match framing {
        Framing::None | Framing::Length(0) => Progress::Ended,
        Framing::Length(_) | Framing::Chunked | Framing::UntilClose => Progress::Body,
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use proptest::prelude::*;

    use super::*;
    use crate::{Limits, request, response};

    fn asked(text: &str) -> RequestHead {
        let mut input = BytesMut::from(format!("{text}Host: a\r\n\r\n").as_bytes());
        request::Parser::new().parse(&mut input, &Limits::default()).unwrap().unwrap()
    }

    fn get() -> RequestHead {
        asked("GET / HTTP/1.1\r\n")
    }

    fn post() -> RequestHead {
        asked("POST / HTTP/1.1\r\nContent-Length: 3\r\n")
    }

    fn answer(request: &RequestHead, text: &str) -> Answer {
        let mut input = BytesMut::from(format!("{text}\r\n\r\n").as_bytes());
        let mut parser = response::Parser::new();
        parser.parse(&mut input, &request.into(), &Limits::default()).unwrap().unwrap()
    }

    /// Runs an exchange to its end on a new connection of each side.
    fn verdict(request: &RequestHead, text: &str) -> Verdict {
        let run = |side| {
            let mut reuse = Reuse::new(side);
            reuse.request(request);
            reuse.request_ended();
            reuse.response(&answer(request, text));
            reuse.response_ended();
            reuse.verdict(b"")
        };
        assert_eq!(run(Side::Client), run(Side::Server));
        run(Side::Client)
    }

    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2";

    #[test]
    fn a_complete_exchange_leaves_the_connection_reusable() {
        for request in [get(), post()] {
            assert_eq!(verdict(&request, OK), Verdict::Reusable);
            assert_eq!(verdict(&request, "HTTP/1.1 204 No Content"), Verdict::Reusable);
        }
        let keep_alive = asked("GET / HTTP/1.0\r\nConnection: keep-alive\r\n");
        assert_eq!(verdict(&keep_alive, OK), Verdict::Reusable);
    }

    #[test]
    fn either_side_can_ask_for_the_end() {
        let close = asked("GET / HTTP/1.1\r\nConnection: close\r\n");
        assert_eq!(verdict(&close, OK), Verdict::Close(Close::ByRequest));
        assert_eq!(verdict(&asked("GET / HTTP/1.0\r\n"), OK), Verdict::Close(Close::ByRequest));
        let text = format!("{OK}\r\nConnection: close");
        assert_eq!(verdict(&get(), &text), Verdict::Close(Close::ByResponse));
        let text = "HTTP/1.0 200 OK\r\nContent-Length: 0";
        assert_eq!(verdict(&get(), text), Verdict::Close(Close::ByResponse));
        assert_eq!(verdict(&get(), "HTTP/1.1 200 OK"), Verdict::Close(Close::UntilClose));
    }

    #[test]
    fn a_tunnel_is_never_used_again() {
        let upgrade = asked("GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: x\r\n");
        let text = "HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x";
        assert_eq!(verdict(&upgrade, text), Verdict::Close(Close::Upgraded));
    }

    #[test]
    fn an_answer_before_the_end_of_the_request_closes() {
        let (request, mut reuse) = (post(), Reuse::new(Side::Client));
        reuse.request(&request);
        reuse.response(&answer(&request, OK));
        assert_eq!(reuse.verdict(b""), Verdict::Busy);
        reuse.response_ended();
        assert_eq!(reuse.verdict(b""), Verdict::Close(Close::RequestUnfinished));
        reuse.request_ended();
        assert_eq!(reuse.verdict(b""), Verdict::Reusable);
    }

    #[test]
    fn bytes_left_over_are_a_request_to_a_server_and_poison_to_a_client() {
        for (side, expected) in
            [(Side::Server, Verdict::Reusable), (Side::Client, Verdict::Close(Close::LeftOver))]
        {
            let mut reuse = Reuse::new(side);
            reuse.request(&get());
            reuse.response(&answer(&get(), OK));
            reuse.response_ended();
            assert_eq!(reuse.verdict(b"x"), expected);
        }
        assert_eq!(Reuse::new(Side::Client).verdict(b"x"), Verdict::Close(Close::LeftOver));
    }

    #[test]
    fn interim_answers_change_nothing() {
        let mut reuse = Reuse::new(Side::Client);
        reuse.request(&get());
        reuse.response(&answer(&get(), "HTTP/1.1 103 Early Hints"));
        reuse.response(&answer(&get(), "HTTP/1.1 100 Continue"));
        assert_eq!(reuse.verdict(b""), Verdict::Busy);
    }

    #[test]
    fn steps_out_of_order_close() {
        let closed = Verdict::Close(Close::OutOfOrder);
        let mut reuse = Reuse::new(Side::Client);
        reuse.response(&answer(&get(), OK));
        assert_eq!(reuse.verdict(b""), closed);
        let mut reuse = Reuse::new(Side::Server);
        reuse.request(&get());
        reuse.request(&get());
        assert_eq!(reuse.verdict(b""), closed);
        let mut reuse = Reuse::new(Side::Client);
        reuse.request_ended();
        assert_eq!(reuse.verdict(b""), closed);
        let mut reuse = Reuse::new(Side::Client);
        reuse.request(&get());
        reuse.response_ended();
        assert_eq!(reuse.verdict(b""), closed);
    }

    #[derive(Debug, Clone, Copy)]
    enum Event {
        Get,
        Post,
        PostEnded,
        Answer,
        AnswerEnded,
        Failed,
        Next,
    }

    proptest! {
        /// Whatever happens in whatever order: between two requests that are accepted on one
        /// connection, everything of the first exchange has happened, once.
        #[test]
        fn a_connection_is_reused_only_after_a_whole_exchange(
            events in proptest::collection::vec(event(), 0..24),
        ) {
            let mut reuse = Reuse::new(Side::Client);
            let mut since: Vec<Event> = Vec::new();
            for event in events {
                match event {
                    Event::Get => reuse.request(&get()),
                    Event::Post => reuse.request(&post()),
                    Event::PostEnded => reuse.request_ended(),
                    Event::Answer => reuse.response(&answer(&get(), OK)),
                    Event::AnswerEnded => reuse.response_ended(),
                    Event::Failed => reuse.failed(),
                    Event::Next => {
                        if reuse.next(b"") == Verdict::Reusable {
                            prop_assert!(is_whole_exchange(&since), "{since:?}");
                            since.clear();
                        }
                        continue;
                    }
                }
                since.push(event);
            }
        }
    }

    fn is_whole_exchange(events: &[Event]) -> bool {
        let count = |wanted: fn(&Event) -> bool| events.iter().filter(|it| wanted(it)).count();
        let gets = count(|it| matches!(it, Event::Get));
        let posts = count(|it| matches!(it, Event::Post));
        gets + posts == 1
            && count(|it| matches!(it, Event::Answer)) == 1
            && count(|it| matches!(it, Event::AnswerEnded)) >= 1
            && count(|it| matches!(it, Event::PostEnded)) >= posts
            && count(|it| matches!(it, Event::Failed)) == 0
            && matches!(events.first(), Some(Event::Get | Event::Post))
    }

    fn event() -> impl Strategy<Value = Event> {
        use Event::{Answer, AnswerEnded, Failed, Get, Next, Post, PostEnded};
        prop_oneof![
            3 => prop_oneof![Just(Get), Just(Post)],
            3 => Just(PostEnded),
            3 => Just(Answer),
            3 => Just(AnswerEnded),
            4 => Just(Next),
            1 => Just(Failed),
        ]
    }
}
