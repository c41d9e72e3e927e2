//! Listening: TCP on the loopback addresses, and the local socket that knows its callers.

use std::{convert::Infallible, future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener, UnixStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;
use tracing::{debug, warn};

use crate::{
    peer::{self, Peer},
    router,
    state::ApiState,
};

/// The most connections at a time, of each listener.
const MAX_CONNECTIONS: usize = 1024;
/// How long a connection may be idle or take for the head of a request.
const HEAD_DEADLINE: Duration = Duration::from_secs(75);
/// How long requests may take to end when the API ends.
const GRACE: Duration = Duration::from_secs(10);
/// How long a listener rests when it cannot accept, for want of file descriptors.
const REST: Duration = Duration::from_millis(100);

/// Where the API listens.
#[derive(Debug)]
pub struct Listeners {
    /// Loopback addresses. There is no TLS on them: the console's public name goes through the
    /// edge.
    pub tcp: Vec<TcpListener>,
    /// The local socket.
    pub unix: Option<UnixListener>,
}

/// Why the API does not listen.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Passwords would travel in clear text.
    #[error(
        "the API does not listen on {0}: beyond this machine it is reached through the edge \
         (`portway setup --console-host NAME`)"
    )]
    NotLoopback(SocketAddr),
    /// The address of a listener is unknown.
    #[error("a listener of the API has no address")]
    Address(#[source] io::Error),
}

/// Answers requests until `shutdown`, then lets those end that are under way.
pub async fn serve(
    listeners: Listeners,
    state: ApiState,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    for listener in &listeners.tcp {
        let address = listener.local_addr().map_err(ServeError::Address)?;
        if !address.ip().to_canonical().is_loopback() {
            return Err(ServeError::NotLoopback(address));
        }
    }
    let router = router(state.clone());
    let tasks = TaskTracker::new();
    for listener in listeners.tcp {
        let door = Door::new(&router, &tasks, &shutdown);
        tasks.spawn(async move { door.keep(|| accept_tcp(&listener)).await });
    }
    if let Some(listener) = listeners.unix {
        let door = Door::new(&router, &tasks, &shutdown);
        tasks.spawn(async move { door.keep(|| accept_unix(&listener)).await });
    }
    shutdown.cancelled().await;
    state.closing().cancel();
    tasks.close();
    tasks.wait().await;
    state.writes().close();
    state.writes().wait().await;
    Ok(())
}

/// One listener's way into the API.
struct Door {
    router: Router,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    room: Arc<Semaphore>,
}

impl Door {
    fn new(router: &Router, tasks: &TaskTracker, shutdown: &CancellationToken) -> Self {
        Self {
            router: router.clone(),
            tasks: tasks.clone(),
            shutdown: shutdown.clone(),
            room: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
        }
    }

    async fn keep<F, S>(self, accept: impl Fn() -> F)
    where
        F: Future<Output = io::Result<(S, Peer)>>,
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        loop {
            let next = async {
                let room = Arc::clone(&self.room).acquire_owned().await;
                (room, accept().await)
            };
            // Both are cancel-safe: a connection that is not taken stays in the queue.
            let (room, accepted) = tokio::select! {
                () = self.shutdown.cancelled() => return,
                next = next => next,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let talk = converse(stream, peer, self.router.clone(), self.shutdown.clone());
                    self.tasks.spawn(async move {
                        let _room = room;
                        talk.await;
                    });
                }
                Err(error) => {
                    warn!("cannot accept a connection to the API: {error}");
                    tokio::time::sleep(REST).await;
                }
            }
        }
    }
}

async fn accept_tcp(listener: &TcpListener) -> io::Result<(tokio::net::TcpStream, Peer)> {
    let (stream, address) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, Peer::Tcp(address)))
}

async fn accept_unix(listener: &UnixListener) -> io::Result<(UnixStream, Peer)> {
    let (stream, _) = listener.accept().await?;
    let credentials = stream.peer_cred()?;
    let (uid, gid) = (credentials.uid(), credentials.gid());
    Ok((stream, Peer::Unix { uid, gids: peer::groups_of(uid, gid).await }))
}

/// Answers the requests of one connection.
async fn converse<S>(stream: S, peer: Peer, router: Router, shutdown: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        let answer = router.clone().oneshot(request.map(Body::new));
        async move { Ok::<_, Infallible>(answer.await.unwrap_or_else(|never| match never {})) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let end = tokio::select! {
        end = connection.as_mut() => end,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(GRACE, connection).await {
                Ok(end) => end,
                Err(_) => return warn!("a request did not end within {} s", GRACE.as_secs()),
            }
        }
    };
    if let Err(error) = end {
        debug!("a connection to the API broke: {error}");
    }
}
