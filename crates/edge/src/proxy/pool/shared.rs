//! Connections that carry many requests at a time: HTTP/2. A request takes one that has a stream
//! left; only when none has, another is opened, and those that come meanwhile wait for it.

use std::{
    cell::Cell,
    future::{Future as _, poll_fn},
    net::IpAddr,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use portway_model::site;
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use super::{Connection, Kept, LocalExecutor, Pool, hold};
use crate::{
    body::Body,
    proxy::{
        dial::{self, DialError, Dialled},
        passage::Passage,
        peer::Peer,
        places::Call,
    },
};

/// How often a connection with requests on it is asked whether it is alive.
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// The shared connections to one destination.
#[derive(Default)]
pub(super) struct Shared {
    open: Vec<Open>,
    opening: Vec<Opening>,
}

struct Open {
    sender: http2::SendRequest<Body>,
    passage: Option<Passage>,
    address: Option<IpAddr>,
    usage: Rc<Usage>,
    /// The requests that it has carried.
    served: u32,
}

struct Opening {
    passage: Option<Passage>,
    outcome: Rc<Outcome>,
}

/// What becomes of a connection that is being opened.
#[derive(Default)]
struct Outcome {
    known: Notify,
    succeeded: Cell<bool>,
}

/// What is going on on a connection.
struct Usage {
    streams: Cell<usize>,
    /// As many as the other side takes.
    most: Cell<usize>,
    unused_since: Cell<Instant>,
}

/// A request on a shared connection, counted until it is dropped.
pub(crate) struct Stream(Rc<Usage>);

impl Stream {
    fn begin(usage: &Rc<Usage>) -> Self {
        usage.streams.set(usage.streams.get() + 1);
        Self(Rc::clone(usage))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get().saturating_sub(1));
        self.0.unused_since.set(Instant::now());
    }
}

impl Shared {
    /// Returns the busiest connection that has a stream left: the others may become unused. Where no
    /// more may be opened, the least busy one, for which the request then waits.
    pub(super) fn take(
        &mut self,
        passage: Option<&Passage>,
        settings: &site::Pool,
    ) -> Option<(http2::SendRequest<Body>, Stream)> {
        self.open.retain(|open| !open.sender.is_closed());
        let fitting = || {
            let all = self.open.iter().enumerate();
            all.filter(|(_, open)| open.passage.as_ref() == passage)
        };
        let streams = |(_, open): &(usize, &Open)| open.usage.streams.get();
        let free = fitting().filter(|(_, open)| open.has_stream()).max_by_key(streams);
        let may_open = settings.max_connections.is_none_or(|most| self.is_below(most));
        let queued = || fitting().min_by_key(streams).filter(|_| !may_open);
        let (at, _) = free.or_else(queued)?;
        let open = self.open.get_mut(at)?;
        open.served = open.served.saturating_add(1);
        let taken = (open.sender.clone(), Stream::begin(&open.usage));
        if settings.max_requests.is_some_and(|most| open.served >= most) {
            // Its requests end; then nobody holds it.
            self.open.swap_remove(at);
        }
        Some(taken)
    }

    /// Closes what was unused for too long; what leads elsewhere ends with its requests.
    pub(super) fn sweep(
        &mut self,
        now: Instant,
        limit: Duration,
        leads_on: impl Fn(Option<IpAddr>) -> bool,
    ) {
        self.open.retain(|open| {
            let unused = open.is_unused() && now - open.usage.unused_since.get() >= limit;
            !unused && !open.sender.is_closed() && leads_on(open.address)
        });
    }

    /// Gives a connection up for others: one that is not used, or else one that ends with its
    /// requests.
    pub(super) fn retire(&mut self) {
        let at = self.open.iter().position(Open::is_unused).unwrap_or_default();
        if at < self.open.len() {
            self.open.swap_remove(at);
        }
    }

    /// Tells whether there is none and none to come.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.opening.is_empty()
    }

    fn is_below(&self, most: u32) -> bool {
        let count = self.open.len() + self.opening.len();
        u32::try_from(count).is_ok_and(|count| count < most)
    }

    fn opening(&self, passage: Option<&Passage>) -> Option<Rc<Outcome>> {
        let opening = self.opening.iter().find(|opening| opening.passage.as_ref() == passage)?;
        Some(Rc::clone(&opening.outcome))
    }
}

impl Open {
    fn has_stream(&self) -> bool {
        self.usage.streams.get() < self.usage.most.get()
    }

    fn is_unused(&self) -> bool {
        self.usage.streams.get() == 0
    }
}

/// A connection that is being opened, until this is dropped; then those that wait for it look again.
struct Attempt<'a> {
    pool: &'a Pool,
    id: u64,
    outcome: Rc<Outcome>,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if let Some(kept) = self.pool.kept.borrow_mut().get_mut(&self.id) {
            kept.shared.opening.retain(|opening| !Rc::ptr_eq(&opening.outcome, &self.outcome));
        }
        self.outcome.known.notify_waiters();
    }
}

impl Pool {
    /// Opens a shared connection, or waits for the one that another request opens.
    pub(super) async fn connect_http2(
        &self,
        peer: &Arc<Peer>,
        passage: Option<&Passage>,
        limit: Duration,
    ) -> Result<Connection, DialError> {
        let deadline = Instant::now() + limit;
        while let Some(outcome) = self.opening(peer, passage) {
            if timeout_at(deadline, outcome.known.notified()).await.is_err() {
                return Err(DialError::TimedOut(limit));
            }
            if let Some(connection) = self.take(peer, passage) {
                return Ok(connection);
            }
            if !outcome.succeeded.get() {
                // Each that waited learns for itself why, and all at once.
                break;
            }
        }
        let attempt = self.attempt(peer, passage);
        let place = match self.place(peer, passage, deadline).await? {
            Some(Call::Open(place)) => Some(place),
            None | Some(Call::Use(_)) => None,
        };
        let left = deadline.duration_since(Instant::now());
        let Dialled { stream, address } = dial::dial(peer, &self.dns, passage, left).await?;
        let handshake = http2::Builder::new(LocalExecutor)
            .timer(TokioTimer::new())
            .adaptive_window(true)
            .keep_alive_interval(PING_INTERVAL)
            .handshake(TokioIo::new(hold(stream, place)));
        let (sender, connection) = handshake.await.map_err(DialError::Http)?;
        let usage = Rc::new(Usage {
            streams: Cell::new(0),
            most: Cell::new(connection.current_max_send_streams()),
            unused_since: Cell::new(Instant::now()),
        });
        drive(connection, Rc::clone(&usage));
        attempt.outcome.succeeded.set(true);
        let open = Open { sender, passage: passage.copied(), address, usage, served: 1 };
        Ok(self.share(peer, open))
    }

    fn opening(&self, peer: &Peer, passage: Option<&Passage>) -> Option<Rc<Outcome>> {
        self.kept.borrow().get(&peer.destination.id())?.shared.opening(passage)
    }

    fn attempt(&self, peer: &Peer, passage: Option<&Passage>) -> Attempt<'_> {
        let (id, outcome) = (peer.destination.id(), Rc::<Outcome>::default());
        let opening = Opening { passage: passage.copied(), outcome: Rc::clone(&outcome) };
        let mut all = self.kept.borrow_mut();
        all.entry(id).or_insert_with(|| Kept::of(peer)).shared.opening.push(opening);
        Attempt { pool: self, id, outcome }
    }

    /// Keeps a new connection for all, and begins the first request on it.
    fn share(&self, peer: &Peer, open: Open) -> Connection {
        let first = Connection::Http2(open.sender.clone(), Stream::begin(&open.usage));
        if peer.pool.max_requests.is_none_or(|most| most > 1) {
            let mut all = self.kept.borrow_mut();
            let kept = all.entry(peer.destination.id()).or_insert_with(|| Kept::of(peer));
            kept.shared.open.push(open);
        }
        first
    }
}

/// Moves a connection's bytes until it ends, and notes how many streams the other side takes. What
/// went wrong is told to the requests on it.
fn drive(
    mut connection: http2::Connection<TokioIo<Box<dyn dial::Stream>>, Body, LocalExecutor>,
    usage: Rc<Usage>,
) {
    tokio::task::spawn_local(async move {
        let ended = poll_fn(|cx| {
            let polled = Pin::new(&mut connection).poll(cx);
            usage.most.set(connection.current_max_send_streams());
            polled
        });
        if let Err(error) = ended.await {
            tracing::debug!(%error, "a connection to an upstream ended");
        }
    });
}
