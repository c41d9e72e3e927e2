//! A client of what the edge serves: real TLS that trusts one root only, from any loopback address,
//! with or without a server name, over HTTP/1.1 or HTTP/2.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZstdDecoder};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, Uri, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use portway_testkit::{
    client::{self, Speech},
    frames::client::Client,
    manager::Manager,
};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite},
    net::{TcpSocket, TcpStream},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// How long one exchange may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The versions of HTTP in which everything holds.
pub(crate) const VERSIONS: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

/// Where requests go, and whom they trust.
#[derive(Clone)]
pub(crate) struct Web {
    http: SocketAddr,
    https: SocketAddr,
    root: CertificateDer<'static>,
    root_pem: String,
}

/// A request to be sent.
pub(crate) struct Ask<'a> {
    web: &'a Web,
    tls: bool,
    http2: bool,
    source: Ipv4Addr,
    host: String,
    request: http::request::Builder,
    path: String,
    body: Bytes,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Web {
    /// Returns a client of a manager's edge that trusts the root which the manager gives away.
    pub(crate) async fn of(manager: &Manager) -> Self {
        let root = api(manager, "GET", "/api/v1/ca", None).await;
        assert_eq!(root.status, 200, "{root:?}");
        Self {
            http: (Ipv4Addr::LOCALHOST, manager.http_port()).into(),
            https: (Ipv4Addr::LOCALHOST, manager.https_port()).into(),
            root: CertificateDer::from_pem_slice(&root.body).unwrap(),
            root_pem: root.text(),
        }
    }

    /// Returns a client of another edge with certificates of the same root.
    pub(crate) fn at(&self, http: u16, https: u16) -> Self {
        let at = |port| (Ipv4Addr::LOCALHOST, port).into();
        Self { http: at(http), https: at(https), ..self.clone() }
    }

    /// Begins a request over HTTPS.
    pub(crate) fn ask(&self, method: &str, host: &str, path: &str) -> Ask<'_> {
        Ask {
            web: self,
            tls: true,
            http2: false,
            source: Ipv4Addr::LOCALHOST,
            host: host.to_owned(),
            request: Request::builder().method(method),
            path: path.to_owned(),
            body: Bytes::new(),
        }
    }

    /// Begins a GET over HTTPS.
    pub(crate) fn get(&self, host: &str, path: &str) -> Ask<'_> {
        self.ask("GET", host, path)
    }

    /// Returns a client that keeps its connection, for many requests for one host.
    pub(crate) fn kept(&self, version: Version) -> client::Web {
        let speech = if version == Version::HTTP_2 {
            Speech::http2(&self.root_pem)
        } else {
            Speech::http1_tls(&self.root_pem)
        };
        client::Web::at(self.https, speech.unwrap())
    }

    /// Opens an HTTP/2 connection on which frames are written by hand, and greets the edge.
    pub(crate) async fn frames(&self, host: &str) -> Client<TlsStream<TcpStream>> {
        let stream = self.connect(host, Ipv4Addr::LOCALHOST, b"h2").await.unwrap();
        let mut client = Client::silent(stream, host);
        client.greet(&[]).await.expect("the edge speaks HTTP/2");
        client
    }

    /// Opens a TLS connection to be used by hand.
    pub(crate) async fn connect(
        &self,
        name: &str,
        source: Ipv4Addr,
        alpn: &[u8],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        // rustls sends no server name for an address, as the standard has it.
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let stream = connect(source, self.https).await?;
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }
}

impl Ask<'_> {
    /// Adds a header.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    /// Sends a body.
    pub(crate) fn body(mut self, kind: &str, body: &str) -> Self {
        self.body = Bytes::copy_from_slice(body.as_bytes());
        self.header("content-type", kind)
    }

    /// Comes from another address of this machine.
    pub(crate) fn from(mut self, source: [u8; 4]) -> Self {
        self.source = source.into();
        self
    }

    /// Speaks plain HTTP.
    pub(crate) fn plain(mut self) -> Self {
        self.tls = false;
        self
    }

    /// Speaks HTTP/2.
    pub(crate) fn http2(mut self) -> Self {
        self.http2 = true;
        self
    }

    /// Speaks a version of HTTP.
    pub(crate) fn over(mut self, version: Version) -> Self {
        self.http2 = version == Version::HTTP_2;
        self
    }

    /// Sends it. Panics where there is no answer.
    pub(crate) async fn send(self) -> Answer {
        let what = format!("{} {}", self.host, self.path);
        self.try_send().await.unwrap_or_else(|error| panic!("no answer to {what}: {error}"))
    }

    /// Sends it.
    pub(crate) async fn try_send(self) -> std::io::Result<Answer> {
        let exchange = async {
            if !self.tls {
                let stream = connect(self.source, self.web.http).await?;
                let port = self.web.http.port();
                return self.over1(stream, port).await;
            }
            let alpn: &[u8] = if self.http2 { b"h2" } else { b"http/1.1" };
            let stream = self.web.connect(&self.host, self.source, alpn).await?;
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(alpn), "the protocol is agreed on");
            let port = self.web.https.port();
            if self.http2 { self.over2(stream, port).await } else { self.over1(stream, port).await }
        };
        tokio::time::timeout(PATIENCE, exchange).await?
    }

    async fn over1<S>(self, stream: S, port: u16) -> std::io::Result<Answer>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(std::io::Error::other)?;
        let connection = tokio::spawn(connection);
        let request = self
            .request
            .uri(&self.path)
            .header("host", format!("{}:{port}", self.host))
            .body(Full::new(self.body))
            .unwrap();
        let response = sender.send_request(request).await.map_err(std::io::Error::other)?;
        let answer = Answer::read(response).await;
        connection.abort();
        answer
    }

    async fn over2<S>(self, stream: S, port: u16) -> std::io::Result<Answer>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(std::io::Error::other)?;
        let connection = tokio::spawn(connection);
        let uri = format!("https://{}:{port}{}", self.host, self.path).parse::<Uri>().unwrap();
        let request = self.request.uri(uri).body(Full::new(self.body)).unwrap();
        let response = sender.send_request(request).await.map_err(std::io::Error::other)?;
        let answer = Answer::read(response).await;
        connection.abort();
        answer
    }
}

impl Answer {
    async fn read(response: Response<hyper::body::Incoming>) -> std::io::Result<Self> {
        let (parts, body) = response.into_parts();
        let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
        Ok(Self { status: parts.status.as_u16(), headers: parts.headers, body })
    }

    /// Returns a header, or nothing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Returns the body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Returns the body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.text()))
    }

    /// Returns the body as it was before it was compressed for the way.
    pub(crate) async fn decoded(&self) -> Bytes {
        let mut plain = Vec::new();
        let body = self.body.as_ref();
        let read = match self.header("content-encoding") {
            "gzip" => GzipDecoder::new(body).read_to_end(&mut plain).await,
            "br" => BrotliDecoder::new(body).read_to_end(&mut plain).await,
            "zstd" => ZstdDecoder::new(body).read_to_end(&mut plain).await,
            other => panic!("the answer is encoded as `{other}`"),
        };
        read.unwrap();
        plain.into()
    }
}

/// Asks the API on its loopback address.
pub(crate) async fn api(
    manager: &Manager,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> Answer {
    api_as(manager, method, path, body, None).await
}

/// Asks the API on its loopback address, with a token.
pub(crate) async fn api_as(
    manager: &Manager,
    method: &str,
    path: &str,
    body: Option<&Value>,
    token: Option<&str>,
) -> Answer {
    let exchange = async {
        let stream = TcpStream::connect(manager.api()).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", manager.api().to_string())
            .header("accept", "*/*");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let body = body.map(ToString::to_string).unwrap_or_default();
        let request = request.body(Full::new(Bytes::from(body))).unwrap();
        let answer = Answer::read(sender.send_request(request).await.unwrap()).await.unwrap();
        connection.abort();
        answer
    };
    tokio::time::timeout(PATIENCE, exchange).await.expect("no answer of the API in time")
}

async fn connect(source: Ipv4Addr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((source, 0).into())?;
    socket.connect(to).await
}
