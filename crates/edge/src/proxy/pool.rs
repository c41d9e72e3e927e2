//! Connections to targets that are kept for the next request. Each worker has its own pool, so a
//! connection never changes threads.

use std::{cell::RefCell, collections::HashMap, future::Future, rc::Rc, sync::Arc, time::Duration};

use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use portway_model::site::UpstreamProtocol;
use tokio::time::Instant;

use super::{
    dial::{self, DialError},
    dns::Dns,
    peer::Peer,
};
use crate::body::Body;

/// How long an unused connection is kept; below the usual 60 s of servers, so that it is seldom
/// closed by them just when it is used.
const IDLE_TIMEOUT: Duration = Duration::from_secs(55);

/// How often unused connections are looked through.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);

/// The most unused connections to one target.
const MAX_IDLE: usize = 64;

/// The most headers of an answer.
const MAX_HEADERS: usize = 256;

/// How often an HTTP/2 connection with requests on it is asked whether it is alive.
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// The connections of one worker.
#[derive(Default)]
pub(crate) struct Pool {
    dns: Dns,
    idle: RefCell<HashMap<Arc<str>, Vec<Idle>>>,
    shared: RefCell<HashMap<Arc<str>, http2::SendRequest<Body>>>,
}

struct Idle {
    sender: http1::SendRequest<Body>,
    since: Instant,
}

/// A connection that can take a request now.
pub(crate) enum Connection {
    /// HTTP/1.1: one request at a time.
    Http1(http1::SendRequest<Body>),
    /// HTTP/2: many at a time.
    Http2(http2::SendRequest<Body>),
}

/// A request that got no answer.
pub(crate) struct Unanswered {
    /// Why.
    pub(crate) error: hyper::Error,
    /// The request, when not a byte of it was sent.
    pub(crate) unsent: Option<Request<Body>>,
}

impl Pool {
    /// Returns a connection to a target that is open already, if there is one.
    pub(crate) fn take(&self, peer: &Peer) -> Option<Connection> {
        match peer.protocol {
            UpstreamProtocol::Http1 => self.take_idle(&peer.key).map(Connection::Http1),
            UpstreamProtocol::H2c => self.take_shared(&peer.key).map(Connection::Http2),
        }
    }

    /// Opens a connection to a target within a time limit.
    pub(crate) async fn connect(
        &self,
        peer: &Arc<Peer>,
        limit: Duration,
    ) -> Result<Connection, DialError> {
        let io = TokioIo::new(dial::dial(peer, &self.dns, limit).await?);
        match peer.protocol {
            UpstreamProtocol::Http1 => {
                let (sender, connection) = http1::Builder::new()
                    .max_headers(MAX_HEADERS)
                    .handshake(io)
                    .await
                    .map_err(DialError::Http)?;
                drive(connection.with_upgrades());
                Ok(Connection::Http1(sender))
            }
            UpstreamProtocol::H2c => {
                let (sender, connection) = http2::Builder::new(LocalExecutor)
                    .timer(TokioTimer::new())
                    .adaptive_window(true)
                    .keep_alive_interval(PING_INTERVAL)
                    .handshake(io)
                    .await
                    .map_err(DialError::Http)?;
                drive(connection);
                self.shared.borrow_mut().insert(Arc::clone(&peer.key), sender.clone());
                Ok(Connection::Http2(sender))
            }
        }
    }

    /// Keeps a connection once its answer has been read to the end, unless it was closed.
    pub(crate) fn give_back(self: &Rc<Self>, peer: &Peer, connection: Connection) {
        let Connection::Http1(mut sender) = connection else { return };
        let (pool, key) = (Rc::clone(self), Arc::clone(&peer.key));
        tokio::task::spawn_local(async move {
            // Ends with the connection at the latest, whose body has a timeout of its own.
            if sender.ready().await.is_ok() {
                pool.keep(key, sender);
            }
        });
    }

    /// Closes connections that were unused for too long, for as long as the worker runs.
    pub(crate) async fn sweep_forever(self: Rc<Self>) {
        loop {
            tokio::time::sleep(SWEEP_INTERVAL).await;
            let now = Instant::now();
            self.idle.borrow_mut().retain(|_, idle| {
                idle.retain(|idle| is_usable(idle, now));
                !idle.is_empty()
            });
            self.shared.borrow_mut().retain(|_, sender| !sender.is_closed());
        }
    }

    fn take_idle(&self, key: &str) -> Option<http1::SendRequest<Body>> {
        let mut all = self.idle.borrow_mut();
        let idle = all.get_mut(key)?;
        let now = Instant::now();
        // The one used last is the least likely to have been closed.
        while let Some(candidate) = idle.pop() {
            if is_usable(&candidate, now) {
                return Some(candidate.sender);
            }
        }
        all.remove(key);
        None
    }

    fn take_shared(&self, key: &str) -> Option<http2::SendRequest<Body>> {
        let shared = self.shared.borrow();
        shared.get(key).filter(|sender| !sender.is_closed()).cloned()
    }

    fn keep(&self, key: Arc<str>, sender: http1::SendRequest<Body>) {
        let mut all = self.idle.borrow_mut();
        let idle = all.entry(key).or_default();
        if idle.len() < MAX_IDLE {
            idle.push(Idle { sender, since: Instant::now() });
        }
    }
}

fn is_usable(idle: &Idle, now: Instant) -> bool {
    idle.sender.is_ready() && now.duration_since(idle.since) < IDLE_TIMEOUT
}

impl Connection {
    /// Sends a request and returns the head of its answer.
    pub(crate) async fn send(
        &mut self,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, Unanswered> {
        let sent = match self {
            Self::Http1(sender) => sender.try_send_request(request).await,
            Self::Http2(sender) => sender.try_send_request(request).await,
        };
        sent.map_err(|mut failed| Unanswered {
            unsent: failed.take_message(),
            error: failed.into_error(),
        })
    }
}

/// Moves a connection's bytes until it ends. What went wrong is told to the requests on it.
fn drive(connection: impl Future<Output = hyper::Result<()>> + 'static) {
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to an upstream ended");
        }
    });
}

/// Runs the tasks of a connection on the worker's own thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LocalExecutor;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
