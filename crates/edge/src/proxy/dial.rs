//! A new connection to a target: looked up, judged, connected, announced, encrypted, within one
//! deadline.

use std::{
    io::{self, IoSlice},
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use portway_model::site::{Target, UpstreamProtocol};
use rustls::ClientConfig;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{
    dns::{Dns, LookupError},
    passage::{self, Passage},
    peer::Peer,
    places::Place,
    tls::{PeerTls, UpstreamTlsError},
};

/// How long a connection is idle before the system asks whether the other side is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// How long one address may take before the next one is tried beside it (RFC 8305 §5).
const HEAD_START: Duration = Duration::from_millis(250);

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
    Resolve(#[source] Arc<LookupError>),
    /// There are as many connections to it as may be, and none became free.
    #[error("there are {most} connections to it, and none became free in time")]
    NoPlace {
        /// How many there may be.
        most: u32,
    },
    /// The site's owner may not have upstreams there.
    #[error("{0} is outside the bounds of the site's owner")]
    OutOfBounds(String),
    /// The network.
    #[error("it cannot be reached")]
    Unreachable(#[source] io::Error),
    /// Its certificate is not what was asked for.
    #[error(
        "its certificate is not accepted; `tls` names the authority (`ca`) and the name in it \
         (`server_name`)"
    )]
    Untrusted(#[source] io::Error),
    /// The TLS handshake failed.
    #[error("TLS to it failed")]
    Tls(#[source] io::Error),
    /// It speaks TLS, but not HTTP/2 in it.
    #[error("it does not speak HTTP/2 over TLS; set `protocol: http1`")]
    NoHttp2,
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

/// A new connection.
pub(crate) struct Dialled {
    /// The bytes.
    pub(crate) stream: Box<dyn Stream>,
    /// The address it leads to, where it has one.
    pub(crate) address: Option<IpAddr>,
}

/// Connects to a target, for a client where the target is told of it.
pub(crate) async fn dial(
    peer: &Arc<Peer>,
    dns: &Dns,
    passage: Option<&Passage>,
    limit: Duration,
) -> Result<Dialled, DialError> {
    match timeout(limit, connect(peer, dns, passage)).await {
        Ok(result) => result,
        Err(_) => Err(DialError::TimedOut(limit)),
    }
}

async fn connect(
    peer: &Arc<Peer>,
    dns: &Dns,
    passage: Option<&Passage>,
) -> Result<Dialled, DialError> {
    match &peer.target {
        Target::Unix(path) => {
            if peer.guard.is_some() {
                return Err(DialError::OutOfBounds(peer.target.to_string()));
            }
            let stream = UnixStream::connect(path).await.map_err(refused_or_unreachable)?;
            let stream = speak(peer, stream, passage).await?;
            Ok(Dialled { stream, address: None })
        }
        Target::Tcp(target) => {
            let addresses = dns.resolve(target).await.map_err(DialError::Resolve)?;
            let stream = connect_any(peer, &addresses).await?;
            tune(&stream).map_err(DialError::Unreachable)?;
            let address = stream.peer_addr().map_err(DialError::Unreachable)?.ip();
            let stream = speak(peer, stream, passage).await?;
            Ok(Dialled { stream, address: Some(address) })
        }
    }
}

/// Connects to the first address that answers: each gets a head start before the next one is tried
/// too. Each is judged just before it is dialled: what was looked up may have changed since the site
/// was checked.
async fn connect_any(peer: &Arc<Peer>, addresses: &[SocketAddr]) -> Result<TcpStream, DialError> {
    let mut waiting = addresses.iter();
    let mut attempts = FuturesUnordered::new();
    let mut last = DialError::NoAddress;
    loop {
        match waiting.next() {
            Some(address) if !is_permitted(peer, address) => {
                last = DialError::OutOfBounds(address.to_string());
                continue;
            }
            Some(address) => attempts.push(TcpStream::connect(*address)),
            None if attempts.is_empty() => return Err(last),
            None => {}
        }
        let ended = if waiting.len() == 0 {
            attempts.next().await
        } else {
            let Ok(ended) = timeout(HEAD_START, attempts.next()).await else { continue };
            ended
        };
        match ended {
            Some(Ok(stream)) => return Ok(stream),
            Some(Err(error)) => last = refused_or_unreachable(error),
            None => {}
        }
    }
}

fn is_permitted(peer: &Peer, address: &SocketAddr) -> bool {
    peer.guard.as_ref().is_none_or(|guard| guard.permits(address.ip()))
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

/// Tells for whom the connection is, and encrypts it.
async fn speak<S: Stream + 'static>(
    peer: &Arc<Peer>,
    mut stream: S,
    passage: Option<&Passage>,
) -> Result<Box<dyn Stream>, DialError> {
    if let Some(version) = peer.proxy_protocol {
        let announcement = passage::announcement(version, passage);
        stream.write_all(&announcement).await.map_err(DialError::Unreachable)?;
    }
    let Some(tls) = &peer.tls else { return Ok(Box::new(stream)) };
    let connector = TlsConnector::from(client_config(peer, tls).await?);
    let stream = connector.connect(tls.name.clone(), stream).await.map_err(tls_error)?;
    let agreed = stream.get_ref().1.alpn_protocol();
    match peer.protocol {
        UpstreamProtocol::H2c if agreed != Some(b"h2") => Err(DialError::NoHttp2),
        UpstreamProtocol::H2c | UpstreamProtocol::Http1 => Ok(Box::new(stream)),
    }
}

fn tls_error(error: io::Error) -> DialError {
    use rustls::{AlertDescription, Error};
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<Error>());
    match cause {
        Some(Error::InvalidCertificate(_)) => DialError::Untrusted(error),
        Some(Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => DialError::NoHttp2,
        Some(_) | None => DialError::Tls(error),
    }
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

/// A connection that has a place among a bounded number until it is closed.
pub(super) struct Holding {
    stream: Box<dyn Stream>,
    _place: Place,
}

impl Holding {
    /// Lets a connection hold its place.
    pub(super) fn new(stream: Box<dyn Stream>, place: Place) -> Self {
        Self { stream, _place: place }
    }
}

impl AsyncRead for Holding {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Holding {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
