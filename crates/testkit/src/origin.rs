//! A small application to put behind a proxy. It answers by path:
//!
//! | path | answer |
//! |---|---|
//! | `/big/N` | N bytes |
//! | `/sink` | the number of bytes it was sent |
//! | `/hang` | nothing, ever |
//! | `/ws` | 101, then every byte back |
//! | `/trailers` | the trailers it was sent, as JSON |
//! | `/duplex` | each piece as it comes, then the trailers it was sent and `grpc-status: 0` |
//! | `/who` | its name |
//! | `/slow` | what it was asked, after a while |
//! | `/gzip` | an answer that says it is compressed |
//! | any other | what it was asked, as JSON: method, path, headers, body |

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;

/// How long `/slow` takes.
const SLOWLY: Duration = Duration::from_millis(300);

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What an origin speaks.
#[derive(Clone)]
pub enum Speaks {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 without TLS.
    H2c,
    /// HTTP/1.1 over TLS, and HTTP/2 where that is agreed on.
    Tls(Arc<rustls::ServerConfig>),
}

/// A running origin.
pub struct Origin {
    address: Option<SocketAddr>,
    state: Arc<State>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    name: &'static str,
    /// The status with which everything is answered.
    failing: Option<StatusCode>,
    connections: AtomicUsize,
    open: AtomicUsize,
    produced: Arc<AtomicU64>,
    seen: Mutex<Vec<Seen>>,
}

/// A request that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// The headers, names in lower case, values of one name joined by commas.
    pub headers: BTreeMap<String, String>,
}

impl Origin {
    /// Starts an origin on a free port of 127.0.0.1.
    pub async fn tcp(speaks: Speaks) -> anyhow::Result<Self> {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0)), speaks).await
    }

    /// Starts an origin on an address.
    pub async fn at(address: SocketAddr, speaks: Speaks) -> anyhow::Result<Self> {
        Self::serve(address, speaks, State::default()).await
    }

    async fn serve(address: SocketAddr, speaks: Speaks, state: State) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = Some(listener.local_addr()?);
        let state = Arc::new(state);
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(Arc::clone(&shared).converse(stream, speaks.clone()));
            }
        });
        Ok(Self { address, state, task })
    }

    /// Starts an origin with a name on a free port of 127.0.0.1.
    pub async fn named(name: &'static str) -> anyhow::Result<Self> {
        Self::with(State { name, ..State::default() }).await
    }

    /// Starts an origin that answers everything with a status.
    pub async fn failing(status: u16) -> anyhow::Result<Self> {
        let failing = Some(StatusCode::from_u16(status)?);
        Self::with(State { failing, ..State::default() }).await
    }

    async fn with(state: State) -> anyhow::Result<Self> {
        Self::serve(SocketAddr::from(([127, 0, 0, 1], 0)), Speaks::Http1, state).await
    }

    /// Starts an origin on a unix socket.
    pub fn unix(path: &Path) -> anyhow::Result<Self> {
        let listener = UnixListener::bind(path)?;
        let state = Arc::<State>::default();
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(Arc::clone(&shared).converse(stream, Speaks::Http1));
            }
        });
        Ok(Self { address: None, state, task })
    }

    /// Returns its address; a unix socket has none.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Returns how many connections were made to it.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// Returns how many connections to it are open.
    pub fn open_connections(&self) -> usize {
        self.state.open.load(Ordering::SeqCst)
    }

    /// Returns how many bytes of `/big` answers it has handed to its connections.
    pub fn produced(&self) -> u64 {
        self.state.produced.load(Ordering::SeqCst)
    }

    /// Forgets the requests that arrived, so that a long run does not gather them.
    pub fn forget(&self) {
        self.state.seen.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Returns the requests that arrived.
    pub fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Open(Arc<State>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl State {
    async fn converse<S>(self: Arc<Self>, stream: S, speaks: Speaks)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        self.connections.fetch_add(1, Ordering::SeqCst);
        self.open.fetch_add(1, Ordering::SeqCst);
        let _open = Open(Arc::clone(&self));
        let service = service_fn(move |request| {
            let state = Arc::clone(&self);
            async move { Ok::<_, Infallible>(state.answer(request).await) }
        });
        // A connection that breaks is the test's business, not the origin's.
        match speaks {
            Speaks::Http1 => {
                let connection =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                drop(connection.with_upgrades().await);
            }
            Speaks::H2c => {
                let builder = http2::Builder::new(TokioExecutor::new());
                drop(builder.serve_connection(TokioIo::new(stream), service).await);
            }
            Speaks::Tls(config) => {
                let Ok(stream) = TlsAcceptor::from(config).accept(stream).await else { return };
                if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                    let builder = http2::Builder::new(TokioExecutor::new());
                    drop(builder.serve_connection(TokioIo::new(stream), service).await);
                } else {
                    let connection =
                        http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                    drop(connection.await);
                }
            }
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let seen = Seen::of(&request);
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(seen.clone());
        let path = request.uri().path().to_owned();
        if let Some(status) = self.failing {
            let mut response = text("failing");
            *response.status_mut() = status;
            return response;
        }
        match path.as_str() {
            "/who" => text(self.name),
            "/slow" => {
                tokio::time::sleep(SLOWLY).await;
                echo(&seen, request.into_body()).await
            }
            "/hang" => std::future::pending().await,
            "/events" => one_event(),
            "/ws" => upgrade(request),
            "/sink" => text(&sink(request.into_body()).await.to_string()),
            "/trailers" => trailers(request.into_body()).await,
            "/duplex" => duplex(request.into_body()),
            "/gzip" => {
                let mut response = text("not really compressed");
                let gzip = HeaderValue::from_static("gzip");
                response.headers_mut().insert(header::CONTENT_ENCODING, gzip);
                response
            }
            path => match path.strip_prefix("/big/").and_then(|size| size.parse().ok()) {
                Some(size) => big(size, Arc::clone(&self.produced)),
                None => echo(&seen, request.into_body()).await,
            },
        }
    }
}

impl Seen {
    fn of(request: &Request<Incoming>) -> Self {
        let mut headers = BTreeMap::<String, String>::new();
        for (name, value) in request.headers() {
            let value = String::from_utf8_lossy(value.as_bytes());
            headers
                .entry(name.to_string())
                .and_modify(|all| {
                    all.push_str(", ");
                    all.push_str(&value);
                })
                .or_insert_with(|| value.to_string());
        }
        let target = request.uri().path_and_query().map(ToString::to_string);
        Self { method: request.method().to_string(), target: target.unwrap_or_default(), headers }
    }
}

async fn echo(seen: &Seen, body: Incoming) -> Response<Body> {
    let body = match body.collect().await {
        Ok(body) => String::from_utf8_lossy(&body.to_bytes()).into_owned(),
        Err(error) => format!("broken: {error}"),
    };
    let echo = serde_json::json!({
        "method": seen.method,
        "target": seen.target,
        "headers": seen.headers,
        "body": body,
    });
    let mut response = text(&echo.to_string());
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

async fn sink(mut body: Incoming) -> u64 {
    let mut length = 0;
    while let Some(Ok(frame)) = body.frame().await {
        length += frame.data_ref().map_or(0, |data| data.len() as u64);
    }
    length
}

async fn trailers(body: Incoming) -> Response<Body> {
    let mut found = BTreeMap::new();
    if let Ok(body) = body.collect().await {
        for (name, value) in body.trailers().into_iter().flatten() {
            found.insert(name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned());
        }
    }
    text(&serde_json::json!(found).to_string())
}

/// One event, and then nothing, without an end.
fn one_event() -> Response<Body> {
    let event = Ok(Frame::data(Bytes::from_static(b"data: 1\n\n")));
    let events = futures_util::stream::iter([event]);
    let events = futures_util::StreamExt::chain(events, futures_util::stream::pending());
    Response::new(StreamBody::new(events).boxed_unsync())
}

fn duplex(body: Incoming) -> Response<Body> {
    let frames = futures_util::stream::unfold(Some((body, HeaderMap::new())), |state| async {
        let (mut body, mut trailers) = state?;
        loop {
            match body.frame().await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => return Some((Ok(Frame::data(data)), Some((body, trailers)))),
                    Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
                },
                Some(Err(_)) => return None,
                None => {
                    trailers.insert("grpc-status", HeaderValue::from_static("0"));
                    return Some((Ok(Frame::trailers(trailers)), None));
                }
            }
        }
    });
    Response::new(StreamBody::new(frames).boxed_unsync())
}

fn big(size: u64, produced: Arc<AtomicU64>) -> Response<Body> {
    const CHUNK: u64 = 16 * 1024;
    let mut left = size;
    let chunks = futures_stream(move || {
        if left == 0 {
            return None;
        }
        let length = left.min(CHUNK);
        left -= length;
        produced.fetch_add(length, Ordering::SeqCst);
        Some(Bytes::from(vec![b'x'; usize::try_from(length).unwrap_or_default()]))
    });
    Response::new(StreamBody::new(chunks).boxed_unsync())
}

fn futures_stream(
    mut next: impl FnMut() -> Option<Bytes> + Send + 'static,
) -> impl futures_util::Stream<Item = Result<Frame<Bytes>, Infallible>> + Send {
    futures_util::stream::poll_fn(move |_| Poll::Ready(next().map(|data| Ok(Frame::data(data)))))
}

fn upgrade(mut request: Request<Incoming>) -> Response<Body> {
    let mut response = text("");
    if !request.headers().contains_key(header::UPGRADE) {
        *response.status_mut() = StatusCode::UPGRADE_REQUIRED;
        return response;
    }
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        if let Ok(upgraded) = upgraded.await {
            let (mut read, mut write) = tokio::io::split(TokioIo::new(upgraded));
            // Ends when either side does, which is what the test is about.
            drop(tokio::io::copy(&mut read, &mut write).await);
            drop(tokio::io::AsyncWriteExt::shutdown(&mut write).await);
        }
    });
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    response
}

fn text(text: &str) -> Response<Body> {
    let mut response = Response::new(Full::from(text.to_owned()).boxed_unsync());
    let plain = HeaderValue::from_static("text/plain");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}
