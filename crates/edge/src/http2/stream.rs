//! One request of an HTTP/2 connection, and what becomes of it when the client does not take its
//! answer: flow control would let it hold the answer, and the upstream's connection with it, for
//! ever. Its stream is reset; the others go on.

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, sleep};

use crate::{
    body::{self, Body, BodyError, FramePoll},
    http1::Deadline,
    stall::Patience,
};

/// What is handed over at once. What was handed over last waits in the connection's memory when the
/// client takes no more, so it is bounded.
const PIECE: usize = 64 * 1024;

/// Starts the requests of a connection.
///
/// hyper calls the service for a request and starts what it returned right after, so what is left
/// here by the one is found by the other.
#[derive(Clone, Default)]
pub(super) struct Streams(Rc<Shared>);

struct Shared {
    next: RefCell<Option<Rc<Watch>>>,
    /// How many requests are under way.
    running: Cell<usize>,
    /// When the last one ended.
    ended: Cell<Instant>,
}

/// An answer on its way.
pub(super) struct Watch {
    patience: Rc<Patience>,
    /// What of the answer hyper has not asked for yet.
    body: RefCell<Body>,
    /// Counts the pieces that were handed over.
    handed: Cell<u64>,
    /// Whether the last one waits for the client to open its window.
    waits: Cell<bool>,
}

impl Watch {
    fn new(patience: Rc<Patience>) -> Rc<Self> {
        Rc::new(Self {
            patience,
            body: RefCell::new(body::empty()),
            handed: Cell::default(),
            waits: Cell::default(),
        })
    }
}

impl Streams {
    /// Begins a request.
    pub(super) fn begin(&self, patience: Rc<Patience>) -> Rc<Watch> {
        let watch = Watch::new(patience);
        self.0.next.replace(Some(Rc::clone(&watch)));
        watch
    }

    /// Waits until nothing was asked for as long as `time`.
    pub(super) async fn rest(&self, time: Duration) {
        loop {
            let rested = match self.0.running.get() {
                0 => self.0.ended.get().elapsed(),
                _ => Duration::ZERO,
            };
            match time.checked_sub(rested) {
                None | Some(Duration::ZERO) => return,
                Some(left) => sleep(left).await,
            }
        }
    }
}

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Streams {
    fn execute(&self, future: F) {
        let watch = self.0.next.take().unwrap_or_else(|| Watch::new(Rc::default()));
        self.0.running.set(self.0.running.get() + 1);
        let running = Running(self.clone());
        tokio::task::spawn_local(async move {
            watched(future, watch).await;
            drop(running);
        });
    }
}

/// Counts a request until it is dropped.
struct Running(Streams);

impl Drop for Running {
    fn drop(&mut self) {
        let shared = &self.0.0;
        shared.running.set(shared.running.get().saturating_sub(1));
        shared.ended.set(Instant::now());
    }
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            next: RefCell::default(),
            running: Cell::default(),
            ended: Cell::new(Instant::now()),
        }
    }
}

/// Carries a request with its answer. When it ends before the answer does, the stream is reset.
async fn watched(future: impl Future<Output = ()>, watch: Rc<Watch>) {
    let mut future = pin!(future);
    let mut deadline = Deadline::default();
    // The piece for which the deadline is set.
    let mut armed = 0;
    poll_fn(|cx| {
        if future.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if !watch.waits.get() {
            return Poll::Pending;
        }
        watch.body.borrow_mut().read_ahead(cx);
        if armed != watch.handed.get() {
            armed = watch.handed.get();
            deadline.set(Instant::now() + watch.patience.limit());
        }
        ready!(deadline.poll(cx));
        watch.patience.end();
        Poll::Ready(())
    })
    .await;
}

/// The body of an answer: it is asked for its next piece when the client has taken the last one.
pub(super) struct Taken {
    rest: Bytes,
    watch: Rc<Watch>,
}

impl Taken {
    /// Watches a body.
    pub(super) fn new(body: Body, watch: Rc<Watch>) -> Self {
        watch.body.replace(body);
        Self { rest: Bytes::new(), watch }
    }

    fn hand_over(&mut self, mut data: Bytes) -> Frame<Bytes> {
        if data.len() > PIECE {
            self.rest = data.split_off(PIECE);
        }
        self.watch.handed.set(self.watch.handed.get() + 1);
        self.watch.waits.set(true);
        Frame::data(data)
    }
}

impl HttpBody for Taken {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> FramePoll {
        let this = self.get_mut();
        this.watch.waits.set(false);
        if !this.rest.is_empty() {
            let rest = std::mem::take(&mut this.rest);
            return Poll::Ready(Some(Ok(this.hand_over(rest))));
        }
        let polled = ready!(Pin::new(&mut *this.watch.body.borrow_mut()).poll_frame(cx));
        Poll::Ready(polled.map(|frame| {
            Ok(match frame?.into_data() {
                Ok(data) => this.hand_over(data),
                Err(trailers) => trailers,
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.watch.body.borrow().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.watch.body.borrow().size_hint();
        let rest = u64::try_from(self.rest.len()).unwrap_or(u64::MAX);
        match hint.exact() {
            Some(exact) => hint.set_exact(exact.saturating_add(rest)),
            None => hint.set_lower(hint.lower().saturating_add(rest)),
        }
        hint
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        // The watch may outlive the answer; what the answer holds does not.
        drop(self.watch.body.replace(body::empty()));
    }
}
