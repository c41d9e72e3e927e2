//! A client of a proxy: one connection that is kept, over HTTP/1.1 or HTTP/2, and an exact account of
//! what became of each request.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinHandle,
};
use tokio_rustls::TlsConnector;

/// How long an answer may take before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a proxy is spoken to.
#[derive(Clone, Debug)]
pub enum Speech {
    /// HTTP/1.1 without TLS.
    Http1,
    /// HTTP/1.1 over TLS.
    Http1Tls(Arc<ClientConfig>),
    /// HTTP/2 over TLS.
    Http2(Arc<ClientConfig>),
}

/// A connection to a proxy that is opened when it is needed and kept.
pub struct Web {
    address: SocketAddr,
    speech: Speech,
    connection: Option<Connection>,
    /// How often a connection was opened.
    pub opened: u64,
}

struct Connection {
    sender: Sender,
    driver: JoinHandle<()>,
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// What became of a request.
#[derive(Debug)]
pub enum Outcome {
    /// It was answered.
    Answered(Answer),
    /// The connection was gone before the request was written; nobody has lost anything.
    NotSent,
    /// It was written and never answered.
    Lost(String),
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// Tells whether it is the one that was wanted.
    pub fn is(&self, body: &str) -> bool {
        self.status == StatusCode::OK && self.body == body.as_bytes()
    }
}

impl Speech {
    /// Returns HTTP/1.1 over TLS that trusts one authority.
    pub fn http1_tls(root: &str) -> anyhow::Result<Self> {
        Ok(Self::Http1Tls(Arc::new(trust(root, b"http/1.1")?)))
    }

    /// Returns HTTP/2 that trusts one authority.
    pub fn http2(root: &str) -> anyhow::Result<Self> {
        Ok(Self::Http2(Arc::new(trust(root, b"h2")?)))
    }
}

/// Returns the TLS of a client that trusts one authority and speaks one protocol.
pub fn trust(root: &str, protocol: &[u8]) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(root.as_bytes())?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(config)
}

impl Web {
    /// Returns a client of a port of this machine. Nothing is opened yet.
    pub fn new(port: u16, speech: Speech) -> Self {
        Self::at(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), speech)
    }

    /// Returns a client of an address. Nothing is opened yet.
    pub fn at(address: SocketAddr, speech: Speech) -> Self {
        Self { address, speech, connection: None, opened: 0 }
    }

    /// Sends a request. A connection that cannot be opened is an error; what a proxy does to a
    /// request is an outcome.
    pub async fn send(
        &mut self,
        method: Method,
        host: &str,
        body: &str,
    ) -> anyhow::Result<Outcome> {
        self.ask(method, host, "/", Bytes::copy_from_slice(body.as_bytes())).await
    }

    /// Sends a request for a path; see [`Self::send`].
    pub async fn ask(
        &mut self,
        method: Method,
        host: &str,
        path: &str,
        body: Bytes,
    ) -> anyhow::Result<Outcome> {
        let request = self.request(method, host, path, body)?;
        if self.connection.as_ref().is_none_or(Connection::is_closed) {
            self.connection = None;
            self.connection = Some(self.open(host).await?);
            self.opened += 1;
        }
        let Some(connection) = self.connection.as_mut() else { return Ok(Outcome::NotSent) };
        let outcome = connection.exchange(request).await;
        if !matches!(outcome, Outcome::Answered(_)) {
            self.connection = None;
        }
        Ok(outcome)
    }

    /// Closes the connection, so that the next request has another one.
    pub fn close(&mut self) {
        self.connection = None;
    }

    /// Fetches `/`, with a new connection as often as the old one was gone.
    pub async fn get(&mut self, host: &str) -> anyhow::Result<Answer> {
        loop {
            match self.send(Method::GET, host, "").await? {
                Outcome::Answered(answer) => return Ok(answer),
                Outcome::NotSent => {}
                Outcome::Lost(reason) => anyhow::bail!("{host} does not answer: {reason}"),
            }
        }
    }

    fn request(
        &self,
        method: Method,
        host: &str,
        path: &str,
        body: Bytes,
    ) -> anyhow::Result<Request<Full<Bytes>>> {
        let builder = Request::builder().method(method);
        let builder = match self.speech {
            Speech::Http1 | Speech::Http1Tls(_) => builder.uri(path).header(header::HOST, host),
            Speech::Http2(_) => builder.uri(format!("https://{host}{path}")),
        };
        Ok(builder.body(Full::new(body))?)
    }

    async fn open(&self, host: &str) -> anyhow::Result<Connection> {
        let opening = async {
            let stream = TcpStream::connect(self.address).await?;
            stream.set_nodelay(true)?;
            match &self.speech {
                Speech::Http1 => Connection::http1(stream).await,
                Speech::Http1Tls(config) => {
                    Connection::http1(secure(config, host, stream).await?).await
                }
                Speech::Http2(config) => {
                    Connection::http2(secure(config, host, stream).await?).await
                }
            }
        };
        let opened = tokio::time::timeout(PATIENCE, opening).await.context("it takes too long")?;
        opened.with_context(|| format!("cannot connect to {}", self.address))
    }
}

/// Makes a connection one with TLS, for a name.
pub async fn secure(
    config: &Arc<ClientConfig>,
    host: &str,
    stream: TcpStream,
) -> anyhow::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let name = ServerName::try_from(host.to_owned())?;
    Ok(TlsConnector::from(Arc::clone(config)).connect(name, stream).await?)
}

impl Connection {
    async fn http1<S>(stream: S) -> anyhow::Result<Self>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // A fault of the connection reaches the request that meets it.
        let driver = tokio::spawn(async move { drop(connection.await) });
        Ok(Self { sender: Sender::Http1(sender), driver })
    }

    async fn http2<S>(stream: S) -> anyhow::Result<Self>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        let driver = tokio::spawn(async move { drop(connection.await) });
        Ok(Self { sender: Sender::Http2(sender), driver })
    }

    fn is_closed(&self) -> bool {
        match &self.sender {
            Sender::Http1(sender) => sender.is_closed(),
            Sender::Http2(sender) => sender.is_closed(),
        }
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Outcome {
        match &mut self.sender {
            Sender::Http1(sender) => match sender.ready().await {
                Ok(()) => settle(sender.try_send_request(request), PATIENCE).await,
                Err(_) => Outcome::NotSent,
            },
            Sender::Http2(sender) => match sender.ready().await {
                Ok(()) => settle(sender.try_send_request(request), PATIENCE).await,
                Err(_) => Outcome::NotSent,
            },
        }
    }
}

/// Waits until it is known what became of a request.
pub async fn settle(
    sent: impl Future<Output = Result<Response<Incoming>, TrySendError<Request<Full<Bytes>>>>>,
    patience: Duration,
) -> Outcome {
    let settling = async {
        match sent.await {
            Ok(response) => {
                let (head, body) = response.into_parts();
                answer(head.status, body).await
            }
            Err(error) => failed(error),
        }
    };
    let settled = tokio::time::timeout(patience, settling).await;
    settled.unwrap_or_else(|_| Outcome::Lost(format!("no answer in {} s", patience.as_secs())))
}

async fn answer(status: StatusCode, body: Incoming) -> Outcome {
    match body.collect().await {
        Ok(body) => Outcome::Answered(Answer { status, body: body.to_bytes() }),
        Err(error) => Outcome::Lost(format!("the answer broke off: {}", chain(&error))),
    }
}

/// The request comes back only when nothing of it was written.
fn failed(mut error: TrySendError<Request<Full<Bytes>>>) -> Outcome {
    match error.take_message() {
        Some(_) => Outcome::NotSent,
        None => {
            let error = error.into_error();
            if is_sent_away(&error) { Outcome::NotSent } else { Outcome::Lost(chain(&error)) }
        }
    }
}

/// Tells whether the server said that it did not look at the request, which is to be sent over
/// another connection (GOAWAY, RFC 9113 §6.8).
fn is_sent_away(error: &hyper::Error) -> bool {
    let cause =
        std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(|cause| {
        cause.is_go_away() && cause.is_remote() && cause.reason() == Some(h2::Reason::NO_ERROR)
    })
}

/// Returns an error with its causes.
pub fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", chain(cause)),
        None => error.to_string(),
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    #[tokio::test]
    async fn a_request_that_was_written_and_not_answered_is_lost() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 1024];
            assert!(stream.read(&mut buffer).await.unwrap() > 0);
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nyes").await.unwrap();
            assert!(stream.read(&mut buffer).await.unwrap() > 0);
        });
        let mut web = Web::new(port, Speech::Http1);
        assert!(web.get("a.test").await.unwrap().is("yes"));
        let outcome = web.send(Method::POST, "a.test", "x").await.unwrap();
        assert!(matches!(outcome, Outcome::Lost(_)), "{outcome:?}");
        assert_eq!(web.opened, 1);
        server.await.unwrap();
    }

    #[tokio::test]
    async fn a_connection_that_is_closed_between_requests_loses_none() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut buffer = [0; 1024];
                assert!(stream.read(&mut buffer).await.unwrap() > 0);
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nyes";
                stream.write_all(answer).await.unwrap();
            }
        });
        let mut web = Web::new(port, Speech::Http1);
        assert!(web.get("a.test").await.unwrap().is("yes"));
        while !web.connection.as_ref().unwrap().is_closed() {
            tokio::task::yield_now().await;
        }
        assert!(web.get("a.test").await.unwrap().is("yes"));
        assert_eq!(web.opened, 2);
        server.await.unwrap();
    }
}
