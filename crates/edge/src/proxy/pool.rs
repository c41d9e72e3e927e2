//! Connections to targets that are kept for the next request. Each worker has its own pool, so a
//! connection never changes threads.

use std::{cell::RefCell, collections::HashMap, future::Future, rc::Rc, sync::Arc, time::Duration};

use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use portway_model::site::UpstreamProtocol;
use tokio::time::Instant;

use super::{
    dial::{self, DialError},
    dns::Dns,
    peer::Peer,
};
use crate::{body::Body, http1::client::Conn};

/// How long an unused connection is kept; below the usual 60 s of servers, so that it is seldom
/// closed by them just when it is used.
const IDLE_TIMEOUT: Duration = Duration::from_secs(55);

/// How often unused connections are looked through.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);

/// The most unused connections to one target.
const MAX_IDLE: usize = 64;

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
    conn: Conn,
    since: Instant,
}

/// A connection that can take a request now.
pub(crate) enum Connection {
    /// HTTP/1.1: one request at a time.
    Http1(Conn),
    /// HTTP/2: many at a time.
    Http2(http2::SendRequest<Body>),
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
        let stream = dial::dial(peer, &self.dns, limit).await?;
        match peer.protocol {
            UpstreamProtocol::Http1 => Ok(Connection::Http1(Conn::new(stream))),
            UpstreamProtocol::H2c => {
                let (sender, connection) = http2::Builder::new(LocalExecutor)
                    .timer(TokioTimer::new())
                    .adaptive_window(true)
                    .keep_alive_interval(PING_INTERVAL)
                    .handshake(TokioIo::new(stream))
                    .await
                    .map_err(DialError::Http)?;
                drive(connection);
                self.shared.borrow_mut().insert(Arc::clone(&peer.key), sender.clone());
                Ok(Connection::Http2(sender))
            }
        }
    }

    /// Keeps a connection whose answer was read to its end.
    pub(crate) fn keep(&self, key: &Arc<str>, conn: Conn) {
        let idle = Idle { conn, since: Instant::now() };
        let mut all = self.idle.borrow_mut();
        match all.get_mut(key) {
            Some(others) if others.len() < MAX_IDLE => others.push(idle),
            Some(_) => {}
            None => drop(all.insert(Arc::clone(key), vec![idle])),
        }
    }

    /// Closes connections that were unused for too long, for as long as the worker runs.
    pub(crate) async fn sweep_forever(self: Rc<Self>) {
        loop {
            tokio::time::sleep(SWEEP_INTERVAL).await;
            let now = Instant::now();
            self.idle.borrow_mut().retain(|_, idle| {
                idle.retain_mut(|idle| idle.is_usable(now));
                !idle.is_empty()
            });
            self.shared.borrow_mut().retain(|_, sender| !sender.is_closed());
        }
    }

    fn take_idle(&self, key: &str) -> Option<Conn> {
        let mut all = self.idle.borrow_mut();
        let idle = all.get_mut(key)?;
        let now = Instant::now();
        // The one used last is the least likely to have been closed.
        while let Some(mut candidate) = idle.pop() {
            if candidate.is_usable(now) {
                return Some(candidate.conn);
            }
        }
        None
    }

    fn take_shared(&self, key: &str) -> Option<http2::SendRequest<Body>> {
        let shared = self.shared.borrow();
        shared.get(key).filter(|sender| !sender.is_closed()).cloned()
    }
}

impl Idle {
    fn is_usable(&mut self, now: Instant) -> bool {
        now.duration_since(self.since) < IDLE_TIMEOUT && self.conn.is_quiet()
    }
}

/// Moves an HTTP/2 connection's bytes until it ends. What went wrong is told to the requests on it.
fn drive(connection: impl Future<Output = hyper::Result<()>> + 'static) {
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to an upstream ended");
        }
    });
}

/// Runs the tasks of a connection on the worker's own thread.
#[derive(Clone, Copy, Debug)]
struct LocalExecutor;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
