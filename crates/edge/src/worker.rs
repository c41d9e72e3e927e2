//! A worker: one thread with its own runtime, its own listening sockets and its own connections
//! to upstreams. A connection stays on the thread that accepted it.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use http::HeaderValue;
use jiff::Timestamp;
use portway_telemetry::{
    RequestSpans,
    access::{ErrorKind, ErrorLevel, ErrorRecord},
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::LocalSet,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    access::Authenticator,
    body::{self, Memory},
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
    /// Places in traces.
    pub(crate) spans: RequestSpans,
    /// Passwords.
    pub(crate) authenticator: Authenticator,
    /// The port under which clients reach HTTPS.
    pub(crate) https_port: u16,
    /// Set when the edge is to stop.
    pub(crate) stop: CancellationToken,
    /// How long requests in flight may take to end then.
    pub(crate) drain: Duration,
    /// Where names of upstreams are looked up.
    pub(crate) name_servers: NameServers,
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
}

/// A socket to accept from.
pub(crate) struct Listener {
    /// The socket.
    pub(crate) socket: std::net::TcpListener,
    /// Whether TLS is spoken on it.
    pub(crate) tls: bool,
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

/// Runs a worker on this thread until the edge stops.
pub(crate) fn run(shared: Arc<Shared>, listeners: Vec<Listener>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, work(shared, listeners))
}

async fn work(shared: Arc<Shared>, listeners: Vec<Listener>) -> io::Result<()> {
    let pool = Rc::new(Pool::new(Dns::new(&shared.name_servers)));
    let (files, tasks) = (Shelf::default(), TaskTracker::new());
    let worker = Rc::new(Worker { shared, pool, files, tasks });
    // Both end with this thread at the latest.
    let sweep = tokio::task::spawn_local(Rc::clone(&worker.pool).sweep_forever());
    let mut accepting = tokio::task::JoinSet::new();
    for listener in listeners {
        let socket = TcpListener::from_std(listener.socket)?;
        let (worker, connections) = (Rc::clone(&worker), listener.connections);
        accepting.spawn_local(accept_forever(worker, socket, listener.tls, connections));
    }
    while accepting.join_next().await.is_some() {}
    worker.shared.stop.cancelled().await;
    worker.tasks.close();
    if timeout(worker.shared.drain, worker.tasks.wait()).await.is_err() {
        let open = worker.tasks.len();
        tracing::warn!(open, "closing connections whose requests did not end in time");
    }
    sweep.abort();
    Ok(())
}

/// Accepts until the edge stops. No error of one connection ends it.
async fn accept_forever(
    worker: Rc<Worker>,
    socket: TcpListener,
    tls: bool,
    connections: ListenerConnections,
) {
    let mut pause = FIRST_PAUSE;
    loop {
        // Accepting is cancel safe.
        let accepted = tokio::select! {
            biased;
            () = worker.shared.stop.cancelled() => return,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                pause = FIRST_PAUSE;
                let guard = connections.connection();
                worker.tasks.spawn_local(connect(Rc::clone(&worker), stream, peer, tls, guard));
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
                http2::serve(worker, Rc::new(connection), stream).await;
            } else {
                http1::server::serve(worker, Rc::new(connection), stream).await;
            }
        }
        Err(failed) => log_handshake(&worker.shared, peer.ip(), failed).await,
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
