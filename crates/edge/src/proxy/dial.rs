//! A new connection to a target: looked up, judged, connected, encrypted, within one deadline.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use portway_model::site::Target;
use rustls::ClientConfig;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{
    dns::Dns,
    peer::{Peer, PeerTls, UpstreamTlsError},
};

/// How long a connection is idle before the system asks whether the other side is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// A byte stream to a target.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Why a target was not reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// Nobody listens there.
    #[error("nobody listens there")]
    Refused(#[source] io::Error),
    /// Not in time.
    #[error("it could not be connected to within {} seconds", .0.as_secs())]
    TimedOut(Duration),
    /// The name has no address.
    #[error("its name cannot be looked up")]
    Resolve(#[source] io::Error),
    /// The site's owner may not have upstreams there.
    #[error("{0} is outside the bounds of the site's owner")]
    OutOfBounds(String),
    /// The network.
    #[error("it cannot be reached")]
    Unreachable(#[source] io::Error),
    /// The TLS handshake failed, or its certificate is not trusted.
    #[error("TLS to it failed")]
    Tls(#[source] io::Error),
    /// TLS cannot be set up on our side.
    #[error(transparent)]
    TlsSetup(#[from] UpstreamTlsError),
    /// HTTP could not begin.
    #[error("HTTP with it could not begin")]
    Http(#[source] hyper::Error),
    /// Every address was tried and there was none.
    #[error("it has no address")]
    NoAddress,
}

/// Connects to a target.
pub(crate) async fn dial(
    peer: &Arc<Peer>,
    dns: &Dns,
    limit: Duration,
) -> Result<Box<dyn Stream>, DialError> {
    match timeout(limit, connect(peer, dns)).await {
        Ok(result) => result,
        Err(_) => Err(DialError::TimedOut(limit)),
    }
}

async fn connect(peer: &Arc<Peer>, dns: &Dns) -> Result<Box<dyn Stream>, DialError> {
    match &peer.target {
        Target::Unix(path) => {
            if peer.guard.is_some() {
                return Err(DialError::OutOfBounds(peer.target.to_string()));
            }
            let stream = UnixStream::connect(path).await.map_err(refused_or_unreachable)?;
            encrypt(peer, stream).await
        }
        Target::Tcp(target) => {
            let addresses = dns.resolve(target).await.map_err(DialError::Resolve)?;
            let stream = connect_first(peer, &addresses).await?;
            encrypt(peer, stream).await
        }
    }
}

/// Connects to the first address that answers. Each is judged just before it is dialled: what was
/// looked up may have changed since the site was checked.
async fn connect_first(peer: &Arc<Peer>, addresses: &[SocketAddr]) -> Result<TcpStream, DialError> {
    let mut last = DialError::NoAddress;
    for address in addresses {
        if peer.guard.as_ref().is_some_and(|guard| !guard.permits(address.ip())) {
            last = DialError::OutOfBounds(address.to_string());
            continue;
        }
        match TcpStream::connect(address).await {
            Ok(stream) => {
                tune(&stream).map_err(DialError::Unreachable)?;
                return Ok(stream);
            }
            Err(error) => last = refused_or_unreachable(error),
        }
    }
    Err(last)
}

/// Sends small writes at once and notices peers that vanished.
fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))
}

fn refused_or_unreachable(error: io::Error) -> DialError {
    let nobody = matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound);
    if nobody { DialError::Refused(error) } else { DialError::Unreachable(error) }
}

async fn encrypt<S: Stream + 'static>(
    peer: &Arc<Peer>,
    stream: S,
) -> Result<Box<dyn Stream>, DialError> {
    let Some(tls) = &peer.tls else { return Ok(Box::new(stream)) };
    let connector = TlsConnector::from(client_config(peer, tls).await?);
    let stream = connector.connect(tls.name.clone(), stream).await.map_err(DialError::Tls)?;
    Ok(Box::new(stream))
}

/// The first configuration reads the machine's authorities, on a thread for that.
async fn client_config(
    peer: &Arc<Peer>,
    tls: &PeerTls,
) -> Result<Arc<ClientConfig>, UpstreamTlsError> {
    if tls.is_ready() {
        return tls.config();
    }
    let peer = Arc::clone(peer);
    let prepare = move || peer.tls.as_ref().map(PeerTls::config);
    match tokio::task::spawn_blocking(prepare).await {
        Ok(Some(config)) => config,
        Ok(None) | Err(_) => tls.config(),
    }
}
