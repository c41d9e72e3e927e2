//! A worker: one thread with its own runtime, its own listening sockets and its own connections
//! to upstreams. A connection stays on the thread that accepted it.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::{Arc, OnceLock},
    time::Duration,
};

use http::HeaderValue;
use jiff::Timestamp;
use portway_policy::bundle::ListenerStatus;
use portway_telemetry::{
    RequestSpans,
    access::{ErrorKind, ErrorLevel, ErrorRecord},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc::UnboundedSender,
    task::LocalSet,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    access::Authenticator,
    body::{self, Memory},
    cache::Store,
    content::Content,
    files::Shelf,
    headers, http1, http2,
    log::Logs,
    metrics::{ConnectionGuard, ListenerConnections, Metrics},
    proxy::{Dns, NameServers, Pool},
    stall::{Patience, StallGuard},
    tls::{FailedHandshake, HandshakeError, TlsAcceptor, TlsFacts},
};

/// Pauses after errors of accepting, such as too many open files: doubled up to a second.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How long, after another edge took the place of this one, a connection that is unused may still
/// bring a request, which is then answered with `Connection: close`. Were it closed at once, a
/// request that is under way would be lost.
const LAST_CALL: Duration = Duration::from_secs(15);

/// What all workers share.
pub(crate) struct Shared {
    /// What is served.
    pub(crate) content: Arc<Content>,
    /// TLS towards clients.
    pub(crate) tls: TlsAcceptor,
    /// Access and error logs.
    pub(crate) logs: Logs,
    /// Counters.
    pub(crate) metrics: Metrics,
    /// The memory for bodies that are read ahead.
    pub(crate) memory: Arc<Memory>,
    /// Kept answers.
    pub(crate) cache: Arc<Store>,
    /// Places in traces.
    pub(crate) spans: RequestSpans,
    /// Passwords.
    pub(crate) authenticator: Authenticator,
    /// The port under which clients reach HTTPS.
    pub(crate) https_port: u16,
    /// Set when connections are accepted.
    pub(crate) open: CancellationToken,
    /// Set when the edge was told to stop.
    pub(crate) told: CancellationToken,
    /// Set when the edge is to stop: it was told so, or another one took its place.
    pub(crate) stop: CancellationToken,
    /// Where an edge that took the place of this one listens.
    pub(crate) successor: OnceLock<Vec<ListenerStatus>>,
    /// How long requests in flight may take to end when it was told to stop.
    pub(crate) drain: Duration,
    /// Where names of upstreams are looked up.
    pub(crate) name_servers: NameServers,
    /// How long they may take after another one took its place.
    pub(crate) drain_succeeded: Duration,
}

impl Shared {
    /// Another edge takes the place of this one, and listens there.
    pub(crate) fn succeeded(&self, listeners: Vec<ListenerStatus>) {
        self.successor.get_or_init(|| listeners);
        self.stop.cancel();
    }

    /// Tells whether another edge took the place of this one.
    pub(crate) fn is_succeeded(&self) -> bool {
        self.successor.get().is_some()
    }
}

/// One thread's own.
pub(crate) struct Worker {
    /// What all share.
    pub(crate) shared: Arc<Shared>,
    /// Connections to upstreams.
    pub(crate) pool: Rc<Pool>,
    /// What is remembered of files.
    pub(crate) files: Shelf,
    /// Connections of clients, and tunnels.
    pub(crate) tasks: TaskTracker,
    /// Set when connections that are unused are to be closed.
    pub(crate) last_call: CancellationToken,
}

/// A socket to accept from.
pub(crate) struct Listener {
    /// The socket.
    pub(crate) socket: std::net::TcpListener,
    /// Its address, and whether TLS is spoken on it.
    pub(crate) status: ListenerStatus,
    /// Its open connections.
    pub(crate) connections: ListenerConnections,
}

/// What is known of a client's connection.
#[derive(Debug)]
pub(crate) struct Connection {
    /// The other end.
    pub(crate) peer: SocketAddr,
    /// Its address, as headers tell it.
    pub(crate) peer_value: HeaderValue,
    /// Our end.
    pub(crate) local: SocketAddr,
    /// TLS, where it is spoken.
    pub(crate) tls: Option<TlsFacts>,
    /// How long the client may take nothing of what is sent.
    pub(crate) patience: Rc<Patience>,
}

/// Runs a worker on this thread until the edge stops. Says so when nothing stands between it and
/// its first connection.
pub(crate) fn run(
    shared: Arc<Shared>,
    listeners: Vec<Listener>,
    prepared: UnboundedSender<()>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, work(shared, listeners, prepared))
}

async fn work(
    shared: Arc<Shared>,
    listeners: Vec<Listener>,
    prepared: UnboundedSender<()>,
) -> io::Result<()> {
    let pool = Rc::new(Pool::new(Dns::new(&shared.name_servers)));
    let (files, tasks) = (Shelf::default(), TaskTracker::new());
    let last_call = CancellationToken::new();
    let worker = Rc::new(Worker { shared, pool, files, tasks, last_call });
    let mut doors = Vec::with_capacity(listeners.len());
    for Listener { socket, status, connections } in listeners {
        doors.push(Door { socket: TcpListener::from_std(socket)?, status, connections });
    }
    // Whoever does not wait for it has given up, and stops the edge.
    prepared.send(()).ok();
    drop(prepared);
    let stop = worker.shared.stop.clone();
    if stop.run_until_cancelled(worker.shared.open.cancelled()).await.is_none() {
        return Ok(());
    }
    // Both end with this thread at the latest.
    let sweep = tokio::task::spawn_local(Rc::clone(&worker.pool).sweep_forever());
    let mut accepting = tokio::task::JoinSet::new();
    for door in doors {
        accepting.spawn_local(accept_forever(Rc::clone(&worker), door));
    }
    while accepting.join_next().await.is_some() {}
    stop.cancelled().await;
    drain(&worker).await;
    sweep.abort();
    Ok(())
}

/// A socket that is accepted from.
struct Door {
    socket: TcpListener,
    status: ListenerStatus,
    connections: ListenerConnections,
}

/// Lets what has begun come to its end, within the time there is for it.
async fn drain(worker: &Worker) {
    let shared = &worker.shared;
    worker.tasks.close();
    if shared.is_succeeded() && drain_succeeded(worker).await {
        return;
    }
    worker.last_call.cancel();
    let rest = if shared.told.is_cancelled() { shared.drain } else { Duration::ZERO };
    if timeout(rest, worker.tasks.wait()).await.is_err() {
        let open = worker.tasks.len();
        tracing::warn!(open, "closing connections whose requests did not end in time");
    }
}

/// After another edge took the place of this one, nobody waits for its end, and clients that come
/// again reach the other one: there is time. Tells whether everything ended, rather than that the
/// time is over or the edge was told to stop.
async fn drain_succeeded(worker: &Worker) -> bool {
    let shared = &worker.shared;
    let last_call = LAST_CALL.min(shared.drain_succeeded);
    let patiently = async {
        if timeout(last_call, worker.tasks.wait()).await.is_ok() {
            return true;
        }
        worker.last_call.cancel();
        let rest = shared.drain_succeeded.saturating_sub(last_call);
        timeout(rest, worker.tasks.wait()).await.is_ok()
    };
    shared.told.run_until_cancelled(patiently).await.unwrap_or(false)
}

/// Accepts until the edge stops. No error of one connection ends it.
async fn accept_forever(worker: Rc<Worker>, door: Door) {
    let mut pause = FIRST_PAUSE;
    loop {
        // Accepting is cancel safe.
        let accepted = tokio::select! {
            biased;
            () = worker.shared.stop.cancelled() => return accept_last(&worker, door),
            accepted = door.socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                pause = FIRST_PAUSE;
                welcome(&worker, &door.status, &door.connections, stream, peer);
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::error!(%error, "cannot accept connections, trying again in {pause:?}");
                sleep(pause).await;
                pause = LONGEST_PAUSE.min(pause * 2);
            }
        }
    }
}

fn welcome(
    worker: &Rc<Worker>,
    status: &ListenerStatus,
    connections: &ListenerConnections,
    stream: TcpStream,
    peer: SocketAddr,
) {
    let guard = connections.connection();
    worker.tasks.spawn_local(connect(Rc::clone(worker), stream, peer, status.tls, guard));
}

/// Lets in who waits already: closing the socket would reset them. At a socket that another edge
/// has now, they wait for that one.
fn accept_last(worker: &Rc<Worker>, door: Door) {
    let Door { socket, status, connections } = door;
    let taken = worker.shared.successor.get();
    if taken.is_some_and(|taken| taken.iter().any(|one| one.address == status.address)) {
        return;
    }
    let Ok(socket) = socket.into_std() else { return };
    // The first error says that nobody waits, as a rule.
    while let Ok((stream, peer)) = socket.accept() {
        let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
        if let Ok(stream) = stream {
            welcome(worker, &status, &connections, stream, peer);
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}

async fn connect(
    worker: Rc<Worker>,
    stream: TcpStream,
    peer: SocketAddr,
    tls: bool,
    _open: ConnectionGuard,
) {
    let ends = stream.set_nodelay(true).and_then(|()| stream.local_addr());
    let Ok(local) = ends else {
        // The client is gone already.
        return;
    };
    let patience = Rc::<Patience>::default();
    let stream = StallGuard::new(stream, Rc::clone(&patience));
    let peer_value = headers::address_value(peer.ip().to_canonical());
    let mut connection = Connection { peer, peer_value, local, tls: None, patience };
    if !tls {
        return http1::server::serve(worker, Rc::new(connection), stream).await;
    }
    let accepted = worker.shared.tls.accept(stream, local.ip().to_canonical());
    match Box::pin(accepted).await {
        Ok((stream, facts)) => {
            let http2 = facts.http2;
            connection.tls = Some(facts);
            if http2 {
                // Boxed, as what it needs is not what a connection of HTTP/1.1 should pay for.
                Box::pin(http2::serve(worker, Rc::new(connection), stream)).await;
            } else {
                http1::server::serve(worker, Rc::new(connection), stream).await;
            }
        }
        Err(failed) => Box::pin(log_handshake(&worker.shared, peer.ip(), failed)).await,
    }
}

/// A handshake that failed stands in the log of the site it meant.
async fn log_handshake(shared: &Shared, client: IpAddr, failed: FailedHandshake) {
    if matches!(failed.error, HandshakeError::Nothing) {
        return;
    }
    shared.metrics.handshake_failed();
    let table = match &failed.entry {
        Some(entry) => shared.content.table(entry).await.ok(),
        None => None,
    };
    let site = table.as_ref().and_then(|table| table.sites.first());
    let log = site.map_or_else(|| shared.logs.edge(), |site| &site.log);
    let record = ErrorRecord {
        time: Timestamp::now(),
        level: ErrorLevel::Info,
        kind: ErrorKind::Handshake,
        request_id: None,
        client: Some(client.to_canonical()),
        host: failed.server_name.map(String::from),
        code: "handshake_failed".to_owned(),
        message: body::chain(&failed.error),
    };
    shared.logs.error(log, &record);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tens of thousands of connections are open at a time on which nothing happens.
    #[test]
    fn a_connection_pays_only_for_what_it_needs_while_nothing_happens() {
        let size = future_size(connect);
        assert!(size <= 2_048, "{size} bytes");
    }

    fn future_size<A, B, C, D, E, F>(_: impl Fn(A, B, C, D, E) -> F) -> usize {
        size_of::<F>()
    }
}
