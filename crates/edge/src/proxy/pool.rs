//! Connections to targets that are kept for the next request. Each worker has its own pool, so a
//! connection never changes threads: what is said of idle connections holds for each worker. Only
//! the most connections at once are counted over all of them ([`super::places`]).

mod shared;

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet, VecDeque},
    future::Future,
    net::IpAddr,
    rc::Rc,
    sync::{Arc, Weak},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use hyper::client::conn::http2;
use portway_model::{
    HostPort,
    site::{self, UpstreamProtocol},
};
use tokio::time::{Instant, timeout_at};

use self::shared::Shared;
pub(super) use self::shared::Stream as SharedStream;
use super::{
    destination::Destination,
    dial::{self, DialError, Dialled},
    dns::Dns,
    passage::Passage,
    peer::Peer,
    places::{self, Call, Fate, Place},
};
use crate::{body::Body, http1::client::Conn};

/// How often unused connections are looked through.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);

/// How many names are looked up at once while unused connections are looked through.
const LOOKUPS: usize = 16;

/// The connections of one worker.
pub(crate) struct Pool {
    dns: Dns,
    kept: RefCell<HashMap<u64, Kept>>,
}

/// The connections to one destination.
struct Kept {
    destination: Weak<Destination>,
    /// The name that is looked up for it.
    name: Option<HostPort>,
    settings: site::Pool,
    /// Unused ones, the one used last at the end.
    idle: VecDeque<Idle>,
    shared: Shared,
}

struct Idle {
    conn: Conn,
    passage: Option<Passage>,
    since: Instant,
}

/// A connection that can take a request now.
pub(crate) enum Connection {
    /// HTTP/1.1: one request at a time.
    Http1(Conn),
    /// HTTP/2: many at a time.
    Http2(http2::SendRequest<Body>, SharedStream),
}

impl Pool {
    /// Returns a pool without connections.
    pub(crate) fn new(dns: Dns) -> Self {
        Self { dns, kept: RefCell::default() }
    }

    /// Returns a connection to a target that is open already, if there is one.
    pub(crate) fn take(&self, peer: &Peer, passage: Option<&Passage>) -> Option<Connection> {
        let mut all = self.kept.borrow_mut();
        let kept = all.get_mut(&peer.destination.id())?;
        match peer.protocol {
            UpstreamProtocol::Http1 => kept.take_idle(passage).map(Connection::Http1),
            UpstreamProtocol::H2c => {
                let (sender, stream) = kept.shared.take(passage, &kept.settings)?;
                Some(Connection::Http2(sender, stream))
            }
        }
    }

    /// Opens a connection to a target within a time limit. Where there may be no more, it waits for
    /// one as long.
    pub(crate) async fn connect(
        &self,
        peer: &Arc<Peer>,
        passage: Option<&Passage>,
        limit: Duration,
    ) -> Result<Connection, DialError> {
        match peer.protocol {
            UpstreamProtocol::Http1 => self.connect_http1(peer, passage, limit).await,
            UpstreamProtocol::H2c => self.connect_http2(peer, passage, limit).await,
        }
    }

    async fn connect_http1(
        &self,
        peer: &Arc<Peer>,
        passage: Option<&Passage>,
        limit: Duration,
    ) -> Result<Connection, DialError> {
        let deadline = Instant::now() + limit;
        let place = loop {
            match self.place(peer, passage, deadline).await? {
                None => break None,
                Some(Call::Open(place)) => break Some(place),
                Some(Call::Use(mut conn)) => {
                    if conn.is_quiet() {
                        return Ok(Connection::Http1(conn));
                    }
                    // It ended just then, and its place is free.
                }
            }
        };
        let left = deadline.duration_since(Instant::now());
        let Dialled { stream, address } = dial::dial(peer, &self.dns, passage, left).await?;
        Ok(Connection::Http1(Conn::new(hold(stream, place), address)))
    }

    /// Takes a place among the connections to a target, where they are counted.
    async fn place(
        &self,
        peer: &Peer,
        passage: Option<&Passage>,
        deadline: Instant,
    ) -> Result<Option<Call>, DialError> {
        let Some(most) = peer.pool.max_connections else { return Ok(None) };
        let called = match peer.destination.enter(most) {
            Ok(place) => return Ok(Some(Call::Open(place))),
            Err(called) => called,
        };
        if passage.is_some() {
            self.make_room(&peer.destination);
        }
        match timeout_at(deadline, called).await {
            Ok(Ok(call)) => Ok(Some(call)),
            Ok(Err(_)) | Err(_) => Err(DialError::NoPlace { most }),
        }
    }

    /// Keeps a connection whose answer was read to its end.
    pub(crate) fn keep(&self, peer: &Peer, passage: Option<Passage>, conn: Conn) {
        let settings = &peer.pool;
        let is_spent = settings.max_requests.is_some_and(|most| conn.served() >= most);
        if is_spent || !self.leads_on(peer.name(), conn.address()) {
            return;
        }
        let mut conn = conn;
        if settings.max_connections.is_some() {
            match peer.destination.hand_over(conn, passage.is_none()) {
                Fate::Keep(back) => conn = back,
                Fate::Gone => return,
            }
        }
        let idle = Idle { conn, passage, since: Instant::now() };
        let mut all = self.kept.borrow_mut();
        let kept = all.entry(peer.destination.id()).or_insert_with(|| Kept::of(peer));
        kept.idle.push_back(idle);
        // The one unused for longest goes first.
        if kept.idle.len() > usize::try_from(settings.max_idle).unwrap_or(usize::MAX) {
            kept.idle.pop_front();
        }
    }

    /// Tells whether an address is still one of the name's.
    fn leads_on(&self, name: Option<&HostPort>, address: Option<IpAddr>) -> bool {
        name.zip(address).is_none_or(|(name, address)| self.dns.is_current(name, address))
    }

    /// Closes connections that were unused for too long, whose target no site has any more or that
    /// lead to an address that its name has no more, or for whose place somebody waits, for as long
    /// as the worker runs.
    pub(crate) async fn sweep_forever(self: Rc<Self>) {
        let mut wanted = places::watch_wanted();
        let mut next = Instant::now() + SWEEP_INTERVAL;
        loop {
            // The sender lives as long as the process.
            if timeout_at(next, wanted.changed()).await.is_ok() {
                self.kept.borrow_mut().values_mut().for_each(Kept::make_room);
            }
            // However often somebody waits.
            if Instant::now() >= next {
                self.refresh_names().await;
                self.sweep();
                next = Instant::now() + SWEEP_INTERVAL;
            }
        }
    }

    /// Looks up the names of open connections whose time is over.
    async fn refresh_names(&self) {
        let names: HashSet<HostPort> =
            self.kept.borrow().values().filter_map(|kept| kept.name.clone()).collect();
        let refreshed = stream::iter(&names)
            .for_each_concurrent(LOOKUPS, |name| async { self.dns.refresh(name).await });
        refreshed.await;
    }

    fn sweep(&self) {
        let now = Instant::now();
        self.kept.borrow_mut().retain(|_, kept| {
            let name = kept.name.take();
            let leads_on = |address| self.leads_on(name.as_ref(), address);
            // What is still in use where nobody leads any more ends by itself.
            let is_left = kept.destination.strong_count() > 0 && kept.sweep(now, leads_on);
            kept.name = name;
            is_left
        });
    }

    fn make_room(&self, destination: &Destination) {
        if let Some(kept) = self.kept.borrow_mut().get_mut(&destination.id()) {
            kept.make_room();
        }
    }
}

impl Kept {
    fn of(peer: &Peer) -> Self {
        Self {
            destination: Arc::downgrade(&peer.destination),
            name: peer.name().cloned(),
            settings: peer.pool,
            idle: VecDeque::new(),
            shared: Shared::default(),
        }
    }

    /// The one used last is the least likely to have been closed.
    fn take_idle(&mut self, passage: Option<&Passage>) -> Option<Conn> {
        let now = Instant::now();
        loop {
            let at = self.idle.iter().rposition(|idle| idle.passage.as_ref() == passage)?;
            let mut candidate = self.idle.remove(at)?;
            if candidate.is_usable(now, self.settings.idle_timeout.duration()) {
                return Some(candidate.conn);
            }
        }
    }

    /// Closes what was unused for too long or leads elsewhere; tells whether anything is left.
    fn sweep(&mut self, now: Instant, leads_on: impl Fn(Option<IpAddr>) -> bool) -> bool {
        let limit = self.settings.idle_timeout.duration();
        self.idle.retain_mut(|idle| leads_on(idle.conn.address()) && idle.is_usable(now, limit));
        self.shared.sweep(now, limit, leads_on);
        !self.idle.is_empty() || !self.shared.is_empty()
    }

    /// Closes as many unused connections as there are others that wait to be opened.
    fn make_room(&mut self) {
        if self.settings.max_connections.is_none() {
            return;
        }
        let waiting = self.destination.upgrade().map_or(0, |destination| destination.waiting());
        for _ in 0..waiting {
            if self.idle.pop_front().is_none() {
                self.shared.retire();
                return;
            }
        }
    }
}

impl Idle {
    fn is_usable(&mut self, now: Instant, limit: Duration) -> bool {
        now.duration_since(self.since) < limit && self.conn.is_quiet()
    }
}

/// Lets a connection hold its place until it is closed, whoever has it then.
fn hold(stream: Box<dyn dial::Stream>, place: Option<Place>) -> Box<dyn dial::Stream> {
    match place {
        None => stream,
        Some(place) => Box::new(dial::Holding::new(stream, place)),
    }
}

/// Runs the tasks of a connection on the worker's own thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LocalExecutor;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
